/* fieldmap_page.c: pages are made, filled, packed, split and merged here.
 *
 * A page grows by size classes to FM_PAGE_MAX, with the number of groups that it will need when it is full, so that growing is a copy of
 * bytes. Hashes are computed again only when a page splits, merges or needs another number of groups. What can fail (allocations,
 * the directory) comes before what changes anything. */
#include "engine/ds/fieldmap_internal.h"

/* Live bytes of items. */
static uint32_t live_bytes(uint64_t w)
{
    const struct fm_head *h = fm_head(w);
    return h->end - fm_data(w) - h->dead;
}

/* A class that has room for n bytes. */
static size_t page_class(size_t n)
{
    n = (n + FM_ALIGN - 1) & ~(size_t)(FM_ALIGN - 1);
    return n < 2 * FM_ALIGN ? 2 * FM_ALIGN : mem_size_class(n);
}

/* Groups for n items of `bytes` in all: room for twice as many, but no more than a full page has of that size. */
static uint32_t groups_for(size_t n, size_t bytes)
{
    size_t each = n ? bytes / n + 1 : 16;
    size_t full = (FM_PAGE_MAX - sizeof(struct fm_head)) * FM_SLOTS_AIM /
                  (each * FM_SLOTS_AIM + sizeof(struct fm_group));
    size_t want = 2 * n < full ? 2 * n : full > n ? full : n;
    size_t groups = (want + FM_SLOTS_AIM - 1) / FM_SLOTS_AIM;
    if (2 * n <= FM_SLOTS && groups > 1)
        groups = 1;
    return groups < 1 ? 1 : groups > FM_GROUPS_MAX ? FM_GROUPS_MAX : (uint32_t)groups;
}

/* An empty page, not yet in the directory. 0: no memory. */
static uint64_t page_new(struct fieldmap *fm, uint32_t groups, size_t bytes, uint32_t depth)
{
    uint8_t *p = fm_alloc(fm, bytes);
    if (!p)
        return 0;
    uint64_t w = fm_word(p, groups, depth);
    memset(p, 0, (size_t)groups * sizeof(struct fm_group));
    *fm_head(w) = (struct fm_head){
        .cap64 = (uint16_t)(bytes / FM_ALIGN), .end = (uint16_t)fm_data(w), .min_due = INT64_MAX};
    fm->pages++;
    return w;
}

static void page_drop(struct fieldmap *fm, uint64_t w)
{
    fm_free(fm, fm_page(w), fm_page_bytes(w));
    fm->pages--;
}

static int32_t find_slot(uint64_t w, uint64_t hash, uint32_t most)
{
    uint32_t groups = fm_groups(w), g = fm_home(w, hash);
    for (uint32_t k = 0; k <= most && k < groups; k++) {
        uint32_t free = fm_match(fm_group(w, g), 0);
        if (likely_(free != 0))
            return (int32_t)(g * FM_SLOTS + (uint32_t)__builtin_ctz(free));
        g = g + 1 == groups ? 0 : g + 1;
    }
    return -1;
}

int32_t fm_page_slot(uint64_t w, uint64_t hash)
{
    return find_slot(w, hash, FM_REACH_AIM);
}

/* Copies an item to the end of a page that has the room and the slots. */
static void page_append(const struct fieldmap *fm, uint64_t w, uint64_t hash, const uint8_t *item)
{
    struct fm_head *h = fm_head(w);
    size_t n = fm_item_bytes(fm, item);
    int32_t at = find_slot(w, hash, FM_GROUPS_MAX);
    ASSERT(at >= 0 && h->end + n <= fm_page_bytes(w));
    uint32_t g = (uint32_t)at / FM_SLOTS, home = fm_home(w, hash), groups = fm_groups(w);
    uint32_t reach = g >= home ? g - home : g + groups - home;
    struct fm_group *to = fm_group(w, g), *from = fm_group(w, home);
    to->tag[(uint32_t)at % FM_SLOTS] = fm_tag(hash);
    to->off[(uint32_t)at % FM_SLOTS] = h->end;
    if (reach > from->reach)
        from->reach = (uint8_t)reach;
    memcpy(fm_page(w) + h->end, item, n);
    h->end = (uint16_t)(h->end + n);
    h->live++;
    int64_t when = fm_item_expire(fm, item);
    if (when >= 0 && when < h->min_due)
        h->min_due = when;
}

static uint64_t hash_item(const struct fieldmap *fm, const uint8_t *item)
{
    struct fieldmap_item it;
    fm_item_read(fm, item, &it);
    return key_hash(fm->key, it.field.p, it.field.n);
}

/* Appends all items of a page to others: to `low`, or to `high` when the bit of the hash is set. */
static void page_pour(const struct fieldmap *fm, uint64_t from, uint64_t low, uint64_t high,
                      uint64_t bit)
{
    for (uint32_t g = 0; g < fm_groups(from); g++) {
        const struct fm_group *grp = fm_group(from, g);
        for (uint32_t m = fm_occupied(grp); m; m &= m - 1) {
            const uint8_t *item = fm_page(from) + grp->off[__builtin_ctz(m)];
            uint64_t hash = hash_item(fm, item);
            page_append(fm, hash & bit ? high : low, hash, item);
        }
    }
}

/* The same slots, the items packed. */
static void page_pack(const struct fieldmap *fm, uint64_t from, uint64_t to)
{
    struct fm_head *h = fm_head(to);
    memcpy(fm_page(to), fm_page(from), fm_groups(from) * sizeof(struct fm_group));
    for (uint32_t g = 0; g < fm_groups(to); g++) {
        struct fm_group *grp = fm_group(to, g);
        for (uint32_t m = fm_occupied(grp); m; m &= m - 1) {
            uint16_t *off = &grp->off[__builtin_ctz(m)];
            const uint8_t *item = fm_page(from) + *off;
            size_t n = fm_item_bytes(fm, item);
            memcpy(fm_page(to) + h->end, item, n);
            *off = h->end;
            h->end = (uint16_t)(h->end + n);
            int64_t when = fm_item_expire(fm, item);
            if (when >= 0 && when < h->min_due)
                h->min_due = when;
        }
    }
    h->live = fm_head(from)->live;
}

/* The page anew, with so many groups and bytes. */
static bool page_rebuild(struct fieldmap *fm, uint64_t hash, uint64_t w, uint32_t groups,
                         size_t bytes)
{
    uint64_t to = page_new(fm, groups, bytes, fm_depth(w));
    if (!to)
        return false;
    if (groups != fm_groups(w)) {
        page_pour(fm, w, to, to, 0);
    } else if (fm_head(w)->dead) {
        page_pack(fm, w, to);
    } else {
        memcpy(fm_page(to), fm_page(w), fm_head(w)->end);
        fm_head(to)->cap64 = (uint16_t)(bytes / FM_ALIGN);
    }
    fm_dir_set(fm, hash, to);
    page_drop(fm, w);
    return true;
}

/* What the items of a page with this bit in their hash take. */
static void measure(const struct fieldmap *fm, uint64_t w, uint64_t bit, size_t *n, size_t *bytes)
{
    *n = *bytes = 0;
    for (uint32_t g = 0; g < fm_groups(w); g++) {
        const struct fm_group *grp = fm_group(w, g);
        for (uint32_t m = fm_occupied(grp); m; m &= m - 1) {
            const uint8_t *item = fm_page(w) + grp->off[__builtin_ctz(m)];
            if (hash_item(fm, item) & bit) {
                *n += 1;
                *bytes += fm_item_bytes(fm, item);
            }
        }
    }
}

static uint64_t page_for(struct fieldmap *fm, size_t n, size_t bytes, uint32_t depth)
{
    uint32_t groups = groups_for(n, bytes);
    size_t total = groups * sizeof(struct fm_group) + sizeof(struct fm_head) + bytes;
    return page_new(fm, groups, page_class(total + total / 8), depth);
}

static bool page_split(struct fieldmap *fm, uint64_t hash, uint64_t w)
{
    uint32_t depth = fm_depth(w) + 1;
    uint64_t bit = 1ull << (64 - depth), first = fm_first(hash, depth - 1);
    size_t n, bytes;
    if (!fm_dir_deepen(fm, hash, depth))
        return false;
    measure(fm, w, bit, &n, &bytes);
    uint64_t low = page_for(fm, fm_head(w)->live - n, live_bytes(w) - bytes, depth);
    uint64_t high = low ? page_for(fm, n, bytes, depth) : 0;
    if (!high) {
        if (low)
            page_drop(fm, low);
        return false;
    }
    page_pour(fm, w, low, high, bit);
    fm_dir_set(fm, first, low);
    fm_dir_set(fm, first | bit, high);
    page_drop(fm, w);
    return true;
}

/* One step towards room for the item. */
static bool page_reshape(struct fieldmap *fm, uint64_t hash, uint64_t w, size_t size, bool slot_ok)
{
    const struct fm_head *h = fm_head(w);
    uint32_t groups = fm_groups(w);
    size_t need = live_bytes(w) + size;
    if (!slot_ok) {
        uint32_t want = groups_for(h->live + 1u, need);
        groups = want > groups ? want : groups + 1;
    }
    size_t total = groups * sizeof(struct fm_group) + sizeof(struct fm_head) + need,
           most = FM_PAGE_MAX;
    if (h->dead && fm_page_bytes(w) == FM_PAGE_MAX)
        most -= FM_PAGE_MAX / 8; /* packing for a few bytes would come again at once */
    if (unlikely_(fm_depth(w) >= FM_DEPTH_MAX))
        most = FM_PAGE_LIMIT;
    if (groups > FM_GROUPS_MAX || total > most)
        return fm_depth(w) < FM_DEPTH_MAX && page_split(fm, hash, w);
    size_t bytes = page_class(total + total / 8);
    if (total <= FM_PAGE_MAX && bytes > FM_PAGE_MAX)
        bytes = FM_PAGE_MAX;
    return page_rebuild(fm, hash, w, groups, bytes);
}

static bool first_page(struct fieldmap *fm, size_t size)
{
    uint64_t w =
        page_new(fm, 1, page_class(sizeof(struct fm_group) + sizeof(struct fm_head) + size), 0);
    fm->top = w;
    return w != 0;
}

bool fm_page_room(struct fieldmap *fm, uint64_t hash, size_t size, bool slot)
{
    if (unlikely_(!fm->top) && !first_page(fm, size))
        return false;
    for (;;) {
        uint64_t w = fm_dir_get(fm, hash);
        bool slot_ok = !slot || fm_page_slot(w, hash) >= 0;
        if (likely_(slot_ok && fm_head(w)->end + size <= fm_page_bytes(w)))
            return true;
        if (!page_reshape(fm, hash, w, size, slot_ok))
            return false;
    }
}

/* ---- room for many ---- */

/* Pages of 2^depth hold n items of `bytes` in all with an eighth to spare, which an even spread does not need. */
static uint32_t reserve_depth(size_t n, size_t bytes)
{
    size_t all = bytes + n * sizeof(struct fm_group) / FM_SLOTS_AIM;
    uint32_t depth = 0;
    while (depth < FM_DEPTH_MAX && (all >> depth) > FM_PAGE_MAX * 7 / 8 - sizeof(struct fm_head))
        depth++;
    return depth;
}

static void reserve_undo(struct fieldmap *fm, uint64_t pages, uint32_t depth)
{
    for (uint64_t i = 0; i < pages; i++)
        page_drop(fm, fm_dir_get(fm, i << (64 - depth)));
    fm_dir_free(fm);
}

void fieldmap_reserve(struct fieldmap *fm, size_t n, size_t bytes)
{
    if (fm->top || n == 0 || n > UINT32_MAX || bytes / FM_ITEM_MAX > n)
        return;
    bytes += n * (1u + fm->values);
    uint32_t depth = reserve_depth(n, bytes);
    n = (n >> depth) + (depth > 0);
    bytes = (bytes >> depth) + (depth > 0);
    uint32_t groups = n <= FM_SLOTS ? 1 : groups_for(n, bytes);
    size_t total = groups * sizeof(struct fm_group) + sizeof(struct fm_head) + bytes;
    for (uint64_t i = 0; i < 1ull << depth; i++) {
        uint64_t pos = depth ? i << (64 - depth) : 0, w = 0;
        if (!depth || fm_dir_deepen(fm, pos, depth))
            w = page_new(fm, groups, page_class(total), depth);
        if (!w) {
            reserve_undo(fm, i, depth);
            return;
        }
        fm_dir_set(fm, pos, w);
    }
}

/* ---- removal ---- */

void fm_page_remove(struct fieldmap *fm, uint64_t w, uint32_t group, uint32_t slot)
{
    struct fm_group *grp = fm_group(w, group);
    struct fm_head *h = fm_head(w);
    const uint8_t *item = fm_page(w) + grp->off[slot];
    size_t n = fm_item_bytes(fm, item);
    if (fm_item_expire(fm, item) >= 0)
        fm->ttl_fields--;
    fm_item_drop(fm, item);
    grp->tag[slot] = 0;
    if (grp->off[slot] + n == h->end)
        h->end = (uint16_t)(h->end - n);
    else
        h->dead = (uint16_t)(h->dead + n);
    h->live--;
    fm->count--;
}

/* Makes one page of w and its buddy when they are both nearly empty. */
static bool page_merge(struct fieldmap *fm, uint64_t hash, uint64_t w)
{
    uint32_t depth = fm_depth(w);
    uint64_t bit = 1ull << (64 - depth), other = fm_dir_get(fm, hash ^ bit);
    if (fm_depth(other) != depth)
        return false;
    size_t bytes = (size_t)live_bytes(w) + live_bytes(other);
    if (fm_data(w) + fm_data(other) + bytes > FM_PAGE_MAX / 2)
        return false;
    uint64_t to = page_for(fm, fm_head(w)->live + (size_t)fm_head(other)->live, bytes, depth - 1);
    if (!to)
        return false;
    page_pour(fm, w, to, to, 0);
    page_pour(fm, other, to, to, 0);
    fm_dir_set(fm, hash, to);
    page_drop(fm, w);
    page_drop(fm, other);
    if (fm->pages == 1 || (fm->pages & (fm->pages - 1)) == 0) /* now and then */
        fm_dir_trim(fm);
    return true;
}

void fm_page_tidy(struct fieldmap *fm, uint64_t hash)
{
    uint64_t w = fm_dir_get(fm, hash);
    const struct fm_head *h = fm_head(w);
    uint32_t live = live_bytes(w);
    if (fm_depth(w) && fm_data(w) + live < FM_PAGE_MAX / 4 && page_merge(fm, hash, w))
        return;
    if (h->dead < 256 || h->dead < live)
        return;
    uint32_t groups = groups_for(h->live, live);
    size_t total = groups * sizeof(struct fm_group) + sizeof(struct fm_head) + live;
    size_t bytes = page_class(total + total / 8);
    if (bytes <= fm_page_bytes(w))
        page_rebuild(fm, hash, w, groups, bytes); /* no memory for it: the holes stay */
}
