/* fieldmap_walk.c: what concerns the whole map: iteration, scans, random items, copying, freeing. */
#include "engine/ds/fieldmap_internal.h"

_Static_assert(FIELDMAP_SOME >= FM_SLOTS, "a group");

#define RANDOM_TRIES \
    4096 /* draws before the next item that is met will do; a draw succeeds in about a third of cases */

/* ---- iteration ---- */

/* Its items lie anywhere in the page: all of them are asked for before the first is read. */
static void load_group(struct fieldmap_iter *it)
{
    const struct fm_group *grp = fm_group(it->word, it->group);
    const uint8_t *page = fm_page(it->word);
    it->mask = fm_occupied(grp);
    for (uint32_t m = it->mask; m; m &= m - 1)
        __builtin_prefetch(page + grp->off[__builtin_ctz(m)]);
}

void fieldmap_iter_init(struct fieldmap_iter *it, const struct fieldmap *fm)
{
    *it = (struct fieldmap_iter){.fm = fm, .word = fm_dir_get(fm, 0)};
    if (it->word)
        load_group(it);
    else
        it->last = true;
}

/* To the next page. False: there is none. */
static bool next_page(struct fieldmap_iter *it)
{
    it->pos = it->last ? 0 : fm_behind(it->pos, fm_depth(it->word));
    if (!it->pos) {
        it->last = true;
        return false;
    }
    it->word = fm_dir_get(it->fm, it->pos);
    it->group = 0;
    uint64_t ahead = fm_behind(it->pos, fm_depth(it->word));
    if (ahead) { /* the page after this one: its groups by the time that this one is read */
        const uint8_t *p = fm_page(fm_dir_get(it->fm, ahead));
        for (size_t i = 0; i < 512; i += 64)
            __builtin_prefetch(p + i);
    }
    load_group(it);
    return true;
}

/* To a group of which items are left. False: there is none. */
static bool find_group(struct fieldmap_iter *it)
{
    while (unlikely_(!it->mask)) {
        if (!it->last && it->group + 1 < fm_groups(it->word)) {
            it->group++;
            load_group(it);
        } else if (!next_page(it)) {
            return false;
        }
    }
    return true;
}

bool fieldmap_next(struct fieldmap_iter *it, struct fieldmap_item *ret)
{
    if (unlikely_(!it->mask) && !find_group(it))
        return false;
    const struct fm_group *grp = fm_group(it->word, it->group);
    fm_item_read(it->fm, fm_page(it->word) + grp->off[__builtin_ctz(it->mask)], ret);
    it->mask &= it->mask - 1;
    return true;
}

uint32_t fieldmap_next_some(struct fieldmap_iter *it, struct fieldmap_item ret[FIELDMAP_SOME])
{
    uint32_t n = 0;
    if (unlikely_(!it->mask) && !find_group(it))
        return 0;
    const struct fm_group *grp = fm_group(it->word, it->group);
    const uint8_t *page = fm_page(it->word);
    for (; it->mask; it->mask &= it->mask - 1)
        fm_item_read(it->fm, page + grp->off[__builtin_ctz(it->mask)], &ret[n++]);
    return n;
}

/* ---- scan ---- */

#define CURSOR_SHIFT (64 - FIELDMAP_CURSOR_BITS)

/* The items whose home is group g and whose position is not before pos. Returns their number. */
static size_t scan_group(const struct fieldmap *fm, uint64_t w, uint32_t g, uint64_t pos,
                         void (*fn)(void *ctx, const struct fieldmap_item *item), void *ctx)
{
    uint32_t at = g, reach = fm_group(w, g)->reach;
    size_t n = 0;
    for (;; at = at + 1 == fm_groups(w) ? 0 : at + 1) {
        const struct fm_group *grp = fm_group(w, at);
        for (uint32_t m = fm_occupied(grp); m; m &= m - 1) {
            struct fieldmap_item it;
            fm_item_read(fm, fm_page(w) + grp->off[__builtin_ctz(m)], &it);
            uint64_t hash = fieldmap_hash(fm, it.field);
            if (fm_home(w, hash) != g || hash >> CURSOR_SHIFT < pos >> CURSOR_SHIFT)
                continue;
            fn(ctx, &it);
            n++;
        }
        if (reach-- == 0)
            return n;
    }
}

/* The first position of the group behind g. */
static uint64_t group_behind(uint64_t pos, uint64_t w, uint32_t g)
{
    uint32_t groups = fm_groups(w), depth = fm_depth(w);
    if (g + 1 == groups)
        return fm_behind(pos, depth);
    uint64_t part = (((uint64_t)(g + 1) << 16) + groups - 1) / groups;
    return fm_first(pos, depth) + (part << (48 - depth));
}

uint64_t fieldmap_scan(const struct fieldmap *fm, uint64_t cursor, size_t count,
                       void (*fn)(void *ctx, const struct fieldmap_item *item), void *ctx)
{
    uint64_t pos = cursor << CURSOR_SHIFT;
    size_t seen = 0, steps = 0, most = count > SIZE_MAX / 10 ? SIZE_MAX : count * 10;
    if (!fm->top)
        return 0;
    do {
        uint64_t w = fm_dir_get(fm, pos);
        uint32_t g = fm_home(w, pos);
        seen += scan_group(fm, w, g, pos, fn, ctx);
        pos = group_behind(pos, w, g);
    } while (pos && seen < count && ++steps < most);
    return pos >> CURSOR_SHIFT;
}

/* ---- random ---- */

/* Every item of a page is as likely as any other of it: a slot is drawn until it is taken. */
static void random_in_page(const struct fieldmap *fm, uint64_t w, uint64_t (*rnd)(void *),
                           void *rnd_ctx, struct fieldmap_item *ret)
{
    for (;;) {
        uint64_t r = rnd(rnd_ctx);
        uint32_t g = (uint32_t)(((r >> 32) * fm_groups(w)) >> 32);
        uint32_t i = (uint32_t)(((r & 0xffffffff) * FM_SLOTS) >> 32);
        const struct fm_group *grp = fm_group(w, g);
        if (!grp->tag[i])
            continue;
        fm_item_read(fm, fm_page(w) + grp->off[i], ret);
        return;
    }
}

/* A page is drawn with the probability 2^-depth and taken with the probability live * 2^depth / (2 * count): the product is live in
 * proportion. Hashes are spread evenly, so live * 2^depth is about count in every page, and twice that is (nearly) never passed. */
void fieldmap_random(const struct fieldmap *fm, uint64_t (*rnd)(void *), void *rnd_ctx,
                     struct fieldmap_item *ret)
{
    ASSERT(fm->count);
    uint64_t w = 0;
    for (uint32_t tries = 0; tries < RANDOM_TRIES; tries++) {
        w = fm_dir_get(fm, rnd(rnd_ctx));
        uint64_t live = fm_head(w)->live;
        if (!fm_depth(w) || (live << fm_depth(w)) >= rnd(rnd_ctx) % (2 * (uint64_t)fm->count) + 1)
            break;
    }
    for (uint64_t pos = 0; fm_head(w)->live == 0;) { /* after an unlikely row of empty pages */
        w = fm_dir_get(fm, pos);
        pos = fm_behind(pos, fm_depth(w));
    }
    random_in_page(fm, w, rnd, rnd_ctx, ret);
}

/* ---- copy ---- */

static void drop_blocks(struct fieldmap *fm, uint64_t w)
{
    for (uint32_t g = 0; g < fm_groups(w); g++) {
        const struct fm_group *grp = fm_group(w, g);
        for (uint32_t m = fm_occupied(grp); m; m &= m - 1)
            fm_item_drop(fm, fm_page(w) + grp->off[__builtin_ctz(m)]);
    }
}

/* The big items of a page that was copied byte by byte get blocks of their own. False: no memory; those from the failed one on have
 * left the page. */
static bool copy_blocks(struct fieldmap *to, uint64_t w)
{
    bool ok = true;
    for (uint32_t g = 0; g < fm_groups(w); g++) {
        struct fm_group *grp = fm_group(w, g);
        for (uint32_t m = fm_occupied(grp); m; m &= m - 1) {
            uint8_t *item = fm_page(w) + grp->off[__builtin_ctz(m)];
            const uint8_t *block = fm_item_block(item);
            if (!block)
                continue;
            size_t n = fm_block_bytes(block);
            uint8_t *copy = ok ? mem_alloc(to->mem, n) : NULL;
            if (!copy) {
                ok = false;
                grp->tag[__builtin_ctz(m)] = 0;
                continue;
            }
            memcpy(copy, block, n);
            memcpy(item + 1, &copy, sizeof(copy));
            to->bytes += mem_size_class(n);
        }
    }
    return ok;
}

/* Frees the pages from position `from` to `to` (0: the end), about `budget` of them; returns where it stopped. */
static uint64_t free_pages(struct fieldmap *fm, uint64_t from, uint64_t to, size_t budget,
                           size_t *work)
{
    do {
        uint64_t w = fm_dir_get(fm, from);
        if (fm->any_big) {
            drop_blocks(fm, w);
            *work += fm_head(w)->live;
            budget -= fm_head(w)->live < budget ? fm_head(w)->live : budget;
        }
        from = fm_behind(from, fm_depth(w));
        fm_free(fm, fm_page(w), (size_t)fm_head(w)->cap64 * FM_ALIGN);
        fm->pages--;
        *work += 1;
        budget -= budget > 0;
    } while (from != to && budget);
    return from;
}

static void free_shell(struct fieldmap *fm)
{
    fm_dir_free(fm);
    mem_free(fm->mem, fm, sizeof(*fm));
}

static bool copy_page(struct fieldmap *to, uint64_t pos, uint64_t w)
{
    size_t bytes = (size_t)fm_head(w)->cap64 * FM_ALIGN;
    uint8_t *p = fm_alloc(to, bytes);
    if (!p)
        return false;
    memcpy(p, fm_page(w), fm_head(w)->end);
    uint64_t copy = fm_word(p, fm_groups(w), fm_depth(w));
    if (to->any_big && !copy_blocks(to, copy)) {
        drop_blocks(to, copy);
        fm_free(to, p, bytes);
        return false;
    }
    to->pages++;
    fm_dir_set(to, pos, copy);
    return true;
}

struct fieldmap *fieldmap_copy(struct mem *mem, const struct fieldmap *fm)
{
    struct fieldmap *to = fieldmap_create(mem, fm->key, fm->values);
    if (!to)
        return NULL;
    if (!fm->top)
        return to;
    to->any_big = fm->any_big;
    if (!fm_dir_clone(to, fm)) {
        free_shell(to);
        return NULL;
    }
    uint64_t pos = 0;
    do {
        uint64_t w = fm_dir_get(fm, pos);
        if (!copy_page(to, pos, w)) {
            size_t work = 0;
            if (pos)
                free_pages(to, 0, pos, SIZE_MAX, &work);
            free_shell(to);
            return NULL;
        }
        pos = fm_behind(pos, fm_depth(w));
    } while (pos);
    to->count = fm->count;
    to->ttl_fields = fm->ttl_fields;
    to->next_due = fm->next_due;
    return to;
}

/* ---- free ---- */

bool fieldmap_free_slice(struct fieldmap *fm, size_t budget, size_t *work)
{
    if (fm->key) { /* the first slice */
        fm->key = NULL;
        fm->freed = 0;
    }
    if (fm->pages)
        fm->freed = free_pages(fm, fm->freed, 0, budget ? budget : 1, work);
    if (fm->pages)
        return false;
    free_shell(fm);
    return true;
}

void fieldmap_destroy(struct fieldmap *fm)
{
    size_t work = 0;
    if (fm)
        fieldmap_free_slice(fm, SIZE_MAX, &work);
}
