/* dict_grow.c: a dict becomes larger and smaller: segments, the directory, and what finds no slot. Picture: dict.c.
 *
 * Where in the flow: dict_insert (dict_make_room), dict_remove and dict_scan (dict_merge), each change while the directory is exchanged
 * (dict_dir_slice); loading a file says beforehand how many come (dict_reserve). Every allocation may fail, and then the dict is as it
 * was. Thread: the lease holder's. */
#include "engine/base/limits.h"
#include "engine/ds/dict_internal.h"

/* Of 256, of a fresh segment: buddies that fill it to less are united. */
#define MERGE_LOAD 128
/* Words of the directory that one insert or removal copies while it doubles or halves: 8 KB read, 16 KB written. */
#define DIR_SLICE  1024

/* ---- memory ---- */

void *dict_block_alloc(struct dict *d, size_t n)
{
    void *p = mem_alloc(d->mem, n);
    if (p)
        d->bytes += mem_size_class(n);
    return p;
}
void dict_block_free(struct dict *d, void *p, size_t n)
{
    if (!p)
        return;
    d->bytes -= mem_size_class(n);
    mem_free(d->mem, p, n);
}

struct dict_bucket *dict_segment_alloc(struct dict *d, uint32_t nb)
{
    size_t n = (size_t)nb * DICT_BUCKET_BYTES;
    struct dict_bucket *b = mem_alloc_aligned(d->mem, n, DICT_BUCKET_BYTES);
    if (!b)
        return NULL;
    ASSERT(((uintptr_t)b & ~0xffffffffffc0ull) == 0);
    memset(b, 0, n);
    d->bytes += mem_size_class(n);
    return b;
}
void dict_segment_free(struct dict *d, struct dict_bucket *b, uint32_t nb)
{
    size_t n = (size_t)nb * DICT_BUCKET_BYTES;
    d->bytes -= mem_size_class(n);
    mem_free_aligned(d->mem, b, n, DICT_BUCKET_BYTES);
}

/* All entries of a segment with their hashes. The entries are asked for before the first is read: they lie all over
 * the memory, and a split should cost some cache misses in parallel instead of hundreds in a row. */
static uint32_t segment_collect(const struct dict *d, uint64_t w, struct dict_item *to)
{
    const struct dict_bucket *b = dict_word_buckets(w);
    uint32_t n = 0;
    for (uint32_t i = 0; i < dict_word_nb(w); i++)
        for (uint32_t m = ~dict_bucket_match(b + i, 0) & 0x1ff; m; m &= m - 1) {
            void *e = dict_slot_get(b + i, (uint32_t)__builtin_ctz(m));
            __builtin_prefetch(e);
            to[n++].entry = e;
        }
    for (uint32_t i = 0; i < n; i++)
        to[i].hash = d->type.hash(to[i].entry, d->type.ctx);
    return n;
}

static void dir_fill(struct dict *d, uint64_t *dir, size_t from, size_t n, uint64_t w)
{
    for (size_t i = from; i < from + n; i++)
        dir[i] = w;
    d->dir_words += n;
}
static void dir_set(struct dict *d, size_t first, uint64_t w)
{
    size_t n = dir_span(d, w), end = first + n < d->next_done ? first + n : d->next_done;
    dir_fill(d, d->dir, first, n, w);
    if (first < end) {
        size_t to = next_index(d, first);
        dir_fill(d, d->next, to, next_index(d, end) - to, w);
    }
}

/* ---- spilled entries ---- */

/* Takes spilled entries back into the new segment at `hash` while it has room, and marks the homes of the others. */
static void spill_reclaim(struct dict *d, uint64_t hash)
{
    size_t first = first_index(d, dict_dir_index(d, hash));
    for (size_t i = d->spilled_n; i-- > 0;) {
        struct dict_item it = d->spilled[i];
        if (first_index(d, dict_dir_index(d, it.hash)) != first)
            continue;
        uint64_t w = d->dir[first];
        if (word_count(w) == segment_slots(w)) {
            state_displace(dict_word_buckets(w) + dict_home_index(w, it.hash), REACH_ALL, true);
            continue;
        }
        segment_place(w, it.hash, it.entry);
        count_add(d, first, 1);
        d->spilled[i] = d->spilled[--d->spilled_n];
    }
}

bool dict_spill(struct dict *d, uint64_t hash, void *entry)
{
    if (d->spilled_n == d->spilled_cap) {
        size_t cap = d->spilled_cap ? d->spilled_cap * 2 : 16;
        struct dict_item *grown = dict_block_alloc(d, cap * sizeof(*grown));
        if (!grown)
            return false;
        if (d->spilled_n)
            memcpy(grown, d->spilled, d->spilled_n * sizeof(*grown));
        dict_block_free(d, d->spilled, d->spilled_cap * sizeof(*grown));
        d->spilled = grown;
        d->spilled_cap = cap;
    }
    d->spilled[d->spilled_n++] = (struct dict_item){hash, entry};
    return true;
}

/* ---- growing and shrinking ---- */

void dict_dir_cancel(struct dict *d)
{
    if (d->next)
        dict_block_free(d, d->next, sizeof(*d->next) << d->next_depth);
    d->next = NULL;
    d->next_done = 0;
}

/* Nothing of the two lowest levels is in use: the next split does not double a halved directory again. */
static bool dir_too_deep(const struct dict *d)
{
    return d->depth > 1 && !d->at_depth[d->depth] && !d->at_depth[d->depth - 1];
}

/* Begins to double or halve it. False: no memory. */
static bool dir_begin(struct dict *d, uint32_t depth)
{
    ASSERT(!d->next && (depth == d->depth + 1 || depth + 1 == d->depth));
    d->next = dict_block_alloc(d, sizeof(*d->next) << depth);
    d->next_depth = depth;
    return d->next != NULL;
}

void dict_dir_slice(struct dict *d)
{
    size_t words = (size_t)1 << d->depth, i = d->next_done;
    size_t end = words - i > DIR_SLICE ? i + DIR_SLICE : words;
    d->dir_words += end - i;
    if (d->next_depth > d->depth)
        for (; i < end; i++)
            d->next[2 * i] = d->next[2 * i + 1] = d->dir[i];
    else
        for (; i < end; i += 2)
            d->next[i / 2] = d->dir[i];
    d->next_done = end;
    if (end < words)
        return;
    dict_block_free(d, d->dir, sizeof(*d->dir) << d->depth);
    d->dir = d->next;
    d->depth = d->next_depth;
    d->shift = 63 - d->depth;
    d->next = NULL;
    d->next_done = 0;
}

static void dir_shrink(struct dict *d)
{
    while (!d->next && dir_too_deep(d) && dir_begin(d, d->depth - 1))
        dict_dir_slice(d); /* a small directory is done with one */
}

/* Some levels more than an even spread of the entries needs: random hashes never get there, equal ones soon. */
static uint32_t depth_bound(const struct dict *d)
{
    uint32_t bound = 63 - (uint32_t)__builtin_clzll(d->count / 64 + 1) + 4;
    return bound < DICT_MAX_DEPTH ? bound : DICT_MAX_DEPTH;
}

/* DONE when a segment may have this depth, USELESS when the directory is on its way there. */
static enum growth dir_make_deep(struct dict *d, uint32_t depth)
{
    if (d->next && d->next_depth < depth)
        dict_dir_cancel(d); /* it was about to halve */
    if (depth <= d->depth)
        return GROWTH_DONE;
    if (!d->next) {
        if (!dir_begin(d, depth))
            return GROWTH_NO_MEMORY;
        dict_dir_slice(d);
    }
    return depth <= d->depth ? GROWTH_DONE : GROWTH_USELESS;
}

static enum growth segment_grow(struct dict *d, uint64_t hash, uint32_t nb)
{
    size_t first = first_index(d, dict_dir_index(d, hash));
    uint64_t old = d->dir[first];
    struct dict_bucket *b = dict_segment_alloc(d, nb);
    if (!b)
        return GROWTH_NO_MEMORY;
    struct dict_item items[MAX_ITEMS];
    uint32_t n = segment_collect(d, old, items);
    uint64_t w = word_make(b, dict_word_depth(old), nb, n);
    for (uint32_t i = 0; i < n; i++)
        segment_place(w, items[i].hash, items[i].entry);
    dir_set(d, first, w);
    dict_segment_free(d, dict_word_buckets(old), dict_word_nb(old));
    if (d->spilled_n)
        spill_reclaim(d, hash);
    return GROWTH_DONE;
}

static enum growth segment_split(struct dict *d, uint64_t hash)
{
    size_t first = first_index(d, dict_dir_index(d, hash));
    uint64_t old = d->dir[first];
    uint32_t depth = dict_word_depth(old) + 1;
    if (depth > depth_bound(d))
        return GROWTH_USELESS;
    enum growth deep = dir_make_deep(d, depth);
    if (deep != GROWTH_DONE)
        return deep;
    first = first_index(d, dict_dir_index(d, hash));
    uint64_t bit = 1ull << (64 - depth); /* tells the halves apart */
    uint64_t hash0 = hash & ~(bit | (bit - 1)), hash1 = hash0 | bit;
    uint32_t nb0 = base_buckets(depth, hash0), nb1 = base_buckets(depth, hash1);
    struct dict_bucket *b0 = dict_segment_alloc(d, nb0);
    if (!b0)
        return GROWTH_NO_MEMORY;
    struct dict_bucket *b1 = dict_segment_alloc(d, nb1);
    if (!b1) {
        dict_segment_free(d, b0, nb0);
        return GROWTH_NO_MEMORY;
    }
    struct dict_item items[MAX_ITEMS];
    uint32_t n = segment_collect(d, old, items), n0 = 0, n1 = 0, kept = 0;
    uint64_t w0 = word_make(b0, depth, nb0, 0), w1 = word_make(b1, depth, nb1, 0);
    for (uint32_t i = 0; i < n; i++) {
        bool right = items[i].hash & bit;
        if (right ? n1 < segment_slots(w1) : n0 < segment_slots(w0)) {
            segment_place(right ? w1 : w0, items[i].hash, items[i].entry);
            right ? n1++ : n0++;
        } else {
            items[kept++] = items[i];
        }
    }
    /* All on one side, and a half is smaller than the grown whole: those left over spill, or nothing happens. */
    while (kept && dict_spill(d, items[kept - 1].hash, items[kept - 1].entry))
        kept--;
    if (kept) {
        d->spilled_n -= n - n0 - n1 - kept;
        dict_segment_free(d, b0, nb0);
        dict_segment_free(d, b1, nb1);
        return GROWTH_NO_MEMORY;
    }
    dir_set(d, first, w0 + ((uint64_t)n0 << 54));
    dir_set(d, first + dir_span(d, w0), w1 + ((uint64_t)n1 << 54));
    d->at_depth[depth - 1]--;
    d->at_depth[depth] += 2;
    dict_segment_free(d, dict_word_buckets(old), dict_word_nb(old));
    if (d->spilled_n) {
        spill_reclaim(d, hash0);
        spill_reclaim(d, hash1);
    }
    return GROWTH_DONE;
}

void dict_merge(struct dict *d, uint64_t hash)
{
    for (;;) {
        size_t first = first_index(d, dict_dir_index(d, hash));
        uint64_t w = d->dir[first];
        uint32_t depth = dict_word_depth(w);
        if (depth == 0)
            return;
        uint32_t nb = base_buckets(depth - 1, hash);
        uint32_t limit = nb * DICT_SLOTS * MERGE_LOAD / 256;
        if (word_count(w) > limit)
            return;
        size_t other = first ^ dir_span(d, w);
        uint64_t ow = d->dir[other];
        if (dict_word_depth(ow) != depth || word_count(w) + word_count(ow) > limit)
            return;
        struct dict_bucket *b = dict_segment_alloc(d, nb);
        if (!b)
            return;
        struct dict_item items[MAX_ITEMS];
        uint32_t n = segment_collect(d, w, items);
        n += segment_collect(d, ow, items + n);
        uint64_t merged = word_make(b, depth - 1, nb, n);
        for (uint32_t i = 0; i < n; i++)
            segment_place(merged, items[i].hash, items[i].entry);
        dir_set(d, first < other ? first : other, merged);
        dict_segment_free(d, dict_word_buckets(w), dict_word_nb(w));
        dict_segment_free(d, dict_word_buckets(ow), dict_word_nb(ow));
        d->at_depth[depth] -= 2;
        d->at_depth[depth - 1]++;
        dir_shrink(d);
        if (d->spilled_n)
            spill_reclaim(d, hash);
    }
}

enum growth dict_make_room(struct dict *d, uint64_t hash)
{
    for (;;) {
        uint64_t w = d->dir[first_index(d, dict_dir_index(d, hash))];
        if (word_count(w) < segment_limit(w))
            return GROWTH_DONE;
        uint32_t nb = grown_buckets(w, hash);
        enum growth growth = nb ? segment_grow(d, hash, nb) : segment_split(d, hash);
        if (growth != GROWTH_DONE)
            return growth;
    }
}

/* ---- room at once ---- */

/* How deep segments of that quarter of the hash space lie, and of how many buckets they are, when n entries are spread over all of it: as if it had grown, with
 * some room for uneven hashes. */
static uint32_t reserve_depth(size_t n, uint64_t quarter, uint32_t *ret_nb)
{
    for (uint32_t depth = 2;; depth++) {
        size_t each = (n >> depth) + (n >> (depth + 3));
        uint32_t base = base_buckets(depth, quarter << 62);
        uint64_t w = word_make(NULL, depth, base, 0);
        uint32_t grown = grown_buckets(w, quarter << 62);
        *ret_nb = each <= segment_limit(w) ? base : grown;
        if (each <= segment_limit(word_make(NULL, depth, grown, 0)) || depth == DICT_MAX_DEPTH)
            return depth;
    }
}

/* The segments of a quarter. False: no memory; those before stay in the directory. */
static bool reserve_quarter(struct dict *d, uint64_t *dir, uint32_t dir_depth, uint64_t quarter,
                            size_t n)
{
    uint32_t nb, depth = reserve_depth(n, quarter, &nb);
    size_t from = quarter << (dir_depth - 2), span = (size_t)1 << (dir_depth - depth);
    for (size_t i = 0; i < (size_t)1 << (dir_depth - 2); i += span) {
        struct dict_bucket *b = dict_segment_alloc(d, nb);
        if (!b)
            return false;
        dir_fill(d, dir, from + i, span, word_make(b, depth, nb, 0));
    }
    return true;
}

static void reserve_undo(struct dict *d, uint64_t *dir, uint32_t dir_depth)
{
    for (size_t i = 0; i < (size_t)1 << dir_depth && dir[i]; i++)
        if (i == 0 || dir[i] != dir[i - 1])
            dict_segment_free(d, dict_word_buckets(dir[i]), dict_word_nb(dir[i]));
    dict_block_free(d, dir, sizeof(*dir) << dir_depth);
}

void dict_reserve(struct dict *d, size_t n)
{
    uint32_t depth = 0, nb;
    bool good = d->count == 0 && d->depth == 0 && !d->next;
    if (n > LIMIT_DICT_RESERVE_SEGMENTS * 128)
        n = LIMIT_DICT_RESERVE_SEGMENTS * 128;
    if (!good || n < 4 * MAX_ITEMS)
        return;
    for (uint64_t q = 0; q < 4; q++) {
        uint32_t want = reserve_depth(n, q, &nb);
        depth = want > depth ? want : depth;
    }
    uint64_t *dir = dict_block_alloc(d, sizeof(*dir) << depth);
    if (!dir)
        return;
    memset(dir, 0, sizeof(*dir) << depth);
    for (uint64_t q = 0; q < 4 && good; q++)
        good = reserve_quarter(d, dir, depth, q, n);
    if (!good) {
        reserve_undo(d, dir, depth);
        return;
    }
    dict_segment_free(d, dict_word_buckets(d->dir[0]), dict_word_nb(d->dir[0]));
    dict_block_free(d, d->dir, sizeof(*d->dir));
    d->dir = dir;
    d->depth = depth;
    d->shift = 63 - depth;
    d->at_depth[0] = 0;
    for (uint64_t q = 0; q < 4; q++) {
        uint32_t at = reserve_depth(n, q, &nb);
        d->at_depth[at] += 1u << (at - 2);
    }
}
