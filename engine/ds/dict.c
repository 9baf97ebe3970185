/* dict.c: the hash table of keyspaces (and later of large sets and hashes).
 *
 * Where a hash goes. All positions are ordered as the hashes are, which is what makes the scan cursor simple:
 *
 *   63            40            24      8        0
 *   | directory ...| bucket ...  |      |  tag   |        position = hash >> 24 (40 bits) = the scan cursor
 *    <- depth bits ->< 16 bits ->
 *
 *   segment = directory[top bits];  home bucket = (next 16 bits * buckets of the segment) >> 16
 *
 *   directory word:   | count:10 | buckets:6 | address of the segment, 64-byte aligned | depth:6 |
 *   bucket, 64 bytes: | 9 tags | state | 9 pointers of 48 bits |     tag 0 = free slot
 *   state:            | displaced:4 | reach:4 |
 *
 * The word carries what a lookup needs of a segment, so that one touches the directory and one bucket, nothing else.
 * (The count is kept only in the first word of those that share a segment.) A full home bucket overflows into the
 * buckets behind it; `reach` of the home says how far a lookup must follow, 15 meaning "everywhere", and falls back
 * to 0 when the last displaced entry (`displaced`, sticky at 15) is gone.
 *
 * Growth. A segment filled to MAX_LOAD first becomes larger by half, then splits in two of the first size. The four
 * quarters of the hash space use different sizes (16, 20, 24, 28 buckets, each an exact size class of jemalloc), so
 * segments do not all split at the same count of keys and the bytes per key stay flat over the size of the dict.
 * Equal hashes cannot be split apart: the depth is bounded by the count, beyond that entries go to one spill array.
 *
 * The directory doubles when a segment of full depth wants to split, without a pause: a new one is filled beside it,
 * DIR_SLICE words with each insert or removal, and takes its place when it is complete. Look-ups know only the old one
 * until then. The split that asked waits; its segment has free slots for far more inserts than the copy takes.
 *
 *   dir   | w0 | w1 | w2 | w3 | w4 ...          below next_done a change of dir is made in both
 *   next  | w0 | w0 | w1 | w1 |    ...          it halves in the same way
 *                ^ next_done = 2
 *
 * Memory: every allocation may fail; growth that fails is postponed while the segment has a free slot.
 * Thread: the lease holder's. Does not own entries and does not know what they are. */
#include <string.h>

#include "engine/base/limits.h"
#include "engine/ds/dict_inline.h"

#define MAX_BUCKETS   40 /* of a segment, after it grew */
#define MAX_ITEMS     (2 * MAX_BUCKETS * DICT_SLOTS)
#define REACH_ALL     DICT_REACH_ALL
#define DISPLACED_MAX 15
/* Of 256: beyond it a segment grows or splits. Measured by tests/bench/dict_bench.c. */
#define MAX_LOAD      242
/* Words of the directory that one insert or removal copies while it doubles or halves: 8 KB read, 16 KB written. */
#define DIR_SLICE     1024

/* A place in a segment; bucket NULL: not found. */
struct slot {
    struct dict_bucket *bucket, *home;
    uint32_t i;
};

/* ---- words and buckets ---- */

static inline uint32_t word_count(uint64_t w)
{
    return w >> 54;
}
static inline uint64_t word_make(struct dict_bucket *b, uint32_t depth, uint32_t nb, uint32_t count)
{
    return (uint64_t)(uintptr_t)b | depth | (uint64_t)nb << 48 | (uint64_t)count << 54;
}

/* The first word of those that share the segment. */
static inline size_t first_index(const struct dict *d, size_t index)
{
    return index >> (d->depth - dict_word_depth(d->dir[index]))
                        << (d->depth - dict_word_depth(d->dir[index]));
}
static inline size_t dir_span(const struct dict *d, uint64_t w)
{
    return (size_t)1 << (d->depth - dict_word_depth(w));
}

static inline void slot_set(struct dict_bucket *b, uint32_t i, void *entry)
{
    uint64_t v = (uintptr_t)entry;
    for (uint32_t k = 0; k < 6; k++)
        b->ptr[6 * i + k] = (uint8_t)(v >> 8 * k);
}

/* An entry of this home went `distance` buckets further; `for_ever` when nobody will tell that it left. */
static void state_displace(struct dict_bucket *home, uint32_t distance, bool for_ever)
{
    uint32_t displaced = home->state >> 4, reach = dict_state_reach(home);
    displaced = for_ever || displaced + 1 > DISPLACED_MAX ? DISPLACED_MAX : displaced + 1;
    if (distance > REACH_ALL)
        distance = REACH_ALL;
    home->state = (uint8_t)(displaced << 4 | (distance > reach ? distance : reach));
}
static void state_return(struct dict_bucket *home)
{
    uint32_t displaced = home->state >> 4;
    if (displaced == DISPLACED_MAX)
        return; /* lost count */
    ASSERT(displaced > 0);
    home->state = displaced == 1 ? 0 : (uint8_t)(home->state - 16);
}
/* How many buckets behind the home a lookup visits. */
static inline uint32_t probe_limit(const struct dict_bucket *home, uint32_t nb)
{
    uint32_t reach = dict_state_reach(home);
    return reach == REACH_ALL || reach >= nb ? nb - 1 : reach;
}

/* ---- segments ---- */

static void *dict_alloc(struct dict *d, size_t n)
{
    void *p = mem_alloc(d->mem, n);
    if (p)
        d->bytes += mem_size_class(n);
    return p;
}
static void dict_free(struct dict *d, void *p, size_t n)
{
    if (!p)
        return;
    d->bytes -= mem_size_class(n);
    mem_free(d->mem, p, n);
}

static struct dict_bucket *segment_alloc(struct dict *d, uint32_t nb)
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
static void segment_free(struct dict *d, struct dict_bucket *b, uint32_t nb)
{
    size_t n = (size_t)nb * DICT_BUCKET_BYTES;
    d->bytes -= mem_size_class(n);
    mem_free_aligned(d->mem, b, n, DICT_BUCKET_BYTES);
}

static inline uint32_t segment_slots(uint64_t w)
{
    return dict_word_nb(w) * DICT_SLOTS;
}
static inline uint32_t segment_limit(uint64_t w)
{
    return segment_slots(w) * MAX_LOAD / 256;
}
/* Buckets of a fresh segment: by the quarter of the hash space, once a segment lies within one. */
static uint32_t base_buckets(uint32_t depth, uint64_t hash)
{
    return depth < 2 ? 16 : 16 + 4 * (uint32_t)(hash >> 62);
}
/* The size that a full segment grows to; 0: it splits. */
static uint32_t grown_buckets(uint64_t w, uint64_t hash)
{
    uint32_t nb = dict_word_nb(w), base = base_buckets(dict_word_depth(w), hash);
    if (nb < base)
        return nb * 2;
    if (nb > base)
        return 0;
    return base == 24   ? 32
           : base == 28 ? 40
                        : base + 8; /* size classes: 16 24, 20 28, 24 32, 28 40 */
}

/* Puts an entry into a segment that has a free slot. */
static void segment_place(uint64_t w, uint64_t hash, void *entry)
{
    struct dict_bucket *b = dict_word_buckets(w);
    uint32_t nb = dict_word_nb(w), home = dict_home_index(w, hash), i = home, distance = 0,
             free_slots;
    while (!(free_slots = dict_bucket_match(b + i, 0))) {
        i = i + 1 == nb ? 0 : i + 1;
        distance++;
        ASSERT(distance < nb);
    }
    uint32_t at = (uint32_t)__builtin_ctz(free_slots);
    b[i].tag[at] = dict_tag_of(hash);
    slot_set(b + i, at, entry);
    if (distance)
        state_displace(b + home, distance, false);
}

static struct slot segment_locate(uint64_t w, uint64_t hash, const void *entry)
{
    struct dict_bucket *b = dict_word_buckets(w);
    uint32_t nb = dict_word_nb(w), home = dict_home_index(w, hash), i = home;
    uint32_t left = probe_limit(b + home, nb);
    for (;;) {
        for (uint32_t m = dict_bucket_match(b + i, dict_tag_of(hash)); m; m &= m - 1) {
            uint32_t at = (uint32_t)__builtin_ctz(m);
            if (dict_slot_get(b + i, at) == entry)
                return (struct slot){b + i, b + home, at};
        }
        if (!left--)
            return (struct slot){NULL, NULL, 0};
        i = i + 1 == nb ? 0 : i + 1;
    }
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
/* The word of `dir` at i in `next`. */
static inline size_t next_index(const struct dict *d, size_t i)
{
    return d->next_depth > d->depth ? i << 1 : i >> 1;
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
static void count_add(struct dict *d, size_t first, int n)
{
    d->dir[first] += (uint64_t)(int64_t)n << 54;
    /* next_done is 0 without a next, which the analyzer cannot see. */
    if (unlikely_(first < d->next_done))
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
        d->next[next_index(d, first)] += (uint64_t)(int64_t)n << 54;
}

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

static bool spill_push(struct dict *d, uint64_t hash, void *entry)
{
    if (d->spilled_n == d->spilled_cap) {
        size_t cap = d->spilled_cap ? d->spilled_cap * 2 : 16;
        struct dict_item *grown = dict_alloc(d, cap * sizeof(*grown));
        if (!grown)
            return false;
        if (d->spilled_n)
            memcpy(grown, d->spilled, d->spilled_n * sizeof(*grown));
        dict_free(d, d->spilled, d->spilled_cap * sizeof(*grown));
        d->spilled = grown;
        d->spilled_cap = cap;
    }
    d->spilled[d->spilled_n++] = (struct dict_item){hash, entry};
    return true;
}

/* ---- growing and shrinking ---- */

static void dir_cancel(struct dict *d)
{
    if (d->next)
        dict_free(d, d->next, sizeof(*d->next) << d->next_depth);
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
    d->next = dict_alloc(d, sizeof(*d->next) << depth);
    d->next_depth = depth;
    return d->next != NULL;
}

/* The next words of a directory that is being filled; at its end it becomes the directory. */
static void dir_slice(struct dict *d)
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
    dict_free(d, d->dir, sizeof(*d->dir) << d->depth);
    d->dir = d->next;
    d->depth = d->next_depth;
    d->shift = 63 - d->depth;
    d->next = NULL;
    d->next_done = 0;
}

static void dir_shrink(struct dict *d)
{
    while (!d->next && dir_too_deep(d) && dir_begin(d, d->depth - 1))
        dir_slice(d); /* a small directory is done with one */
}

/* Some levels more than an even spread of the entries needs: random hashes never get there, equal ones soon. */
static uint32_t depth_bound(const struct dict *d)
{
    uint32_t bound = 63 - (uint32_t)__builtin_clzll(d->count / 64 + 1) + 4;
    return bound < DICT_MAX_DEPTH ? bound : DICT_MAX_DEPTH;
}

enum growth {
    GROWTH_DONE,
    GROWTH_USELESS, /* or not yet possible: what finds no slot is spilled */
    GROWTH_NO_MEMORY,
};

/* DONE when a segment may have this depth, USELESS when the directory is on its way there. */
static enum growth dir_make_deep(struct dict *d, uint32_t depth)
{
    if (d->next && d->next_depth < depth)
        dir_cancel(d); /* it was about to halve */
    if (depth <= d->depth)
        return GROWTH_DONE;
    if (!d->next) {
        if (!dir_begin(d, depth))
            return GROWTH_NO_MEMORY;
        dir_slice(d);
    }
    return depth <= d->depth ? GROWTH_DONE : GROWTH_USELESS;
}

static enum growth segment_grow(struct dict *d, uint64_t hash, uint32_t nb)
{
    size_t first = first_index(d, dict_dir_index(d, hash));
    uint64_t old = d->dir[first];
    struct dict_bucket *b = segment_alloc(d, nb);
    if (!b)
        return GROWTH_NO_MEMORY;
    struct dict_item items[MAX_ITEMS];
    uint32_t n = segment_collect(d, old, items);
    uint64_t w = word_make(b, dict_word_depth(old), nb, n);
    for (uint32_t i = 0; i < n; i++)
        segment_place(w, items[i].hash, items[i].entry);
    dir_set(d, first, w);
    segment_free(d, dict_word_buckets(old), dict_word_nb(old));
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
    struct dict_bucket *b0 = segment_alloc(d, nb0);
    if (!b0)
        return GROWTH_NO_MEMORY;
    struct dict_bucket *b1 = segment_alloc(d, nb1);
    if (!b1) {
        segment_free(d, b0, nb0);
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
    while (kept && spill_push(d, items[kept - 1].hash, items[kept - 1].entry))
        kept--;
    if (kept) {
        d->spilled_n -= n - n0 - n1 - kept;
        segment_free(d, b0, nb0);
        segment_free(d, b1, nb1);
        return GROWTH_NO_MEMORY;
    }
    dir_set(d, first, w0 + ((uint64_t)n0 << 54));
    dir_set(d, first + dir_span(d, w0), w1 + ((uint64_t)n1 << 54));
    d->at_depth[depth - 1]--;
    d->at_depth[depth] += 2;
    segment_free(d, dict_word_buckets(old), dict_word_nb(old));
    if (d->spilled_n) {
        spill_reclaim(d, hash0);
        spill_reclaim(d, hash1);
    }
    return GROWTH_DONE;
}

/* Unites the segment at `hash` with its buddy while both together hold at most `limit_256`/256 of a fresh segment. */
static void segment_merge(struct dict *d, uint64_t hash, uint32_t limit_256)
{
    for (;;) {
        size_t first = first_index(d, dict_dir_index(d, hash));
        uint64_t w = d->dir[first];
        uint32_t depth = dict_word_depth(w);
        if (depth == 0)
            return;
        uint32_t nb = base_buckets(depth - 1, hash);
        uint32_t limit = nb * DICT_SLOTS * limit_256 / 256;
        if (word_count(w) > limit)
            return;
        size_t other = first ^ dir_span(d, w);
        uint64_t ow = d->dir[other];
        if (dict_word_depth(ow) != depth || word_count(w) + word_count(ow) > limit)
            return;
        struct dict_bucket *b = segment_alloc(d, nb);
        if (!b)
            return;
        struct dict_item items[MAX_ITEMS];
        uint32_t n = segment_collect(d, w, items);
        n += segment_collect(d, ow, items + n);
        uint64_t merged = word_make(b, depth - 1, nb, n);
        for (uint32_t i = 0; i < n; i++)
            segment_place(merged, items[i].hash, items[i].entry);
        dir_set(d, first < other ? first : other, merged);
        segment_free(d, dict_word_buckets(w), dict_word_nb(w));
        segment_free(d, dict_word_buckets(ow), dict_word_nb(ow));
        d->at_depth[depth] -= 2;
        d->at_depth[depth - 1]++;
        dir_shrink(d);
        if (d->spilled_n)
            spill_reclaim(d, hash);
    }
}

/* ---- public ---- */

struct dict *dict_create(struct mem *mem, const struct dict_type *type)
{
    struct dict *d = mem_calloc(mem, sizeof(*d));
    if (!d)
        return NULL;
    d->mem = mem;
    d->type = *type;
    d->shift = 63;
    d->bytes = mem_size_class(sizeof(*d));
    d->dir = dict_alloc(d, sizeof(*d->dir));
    if (!d->dir)
        goto free_dict;
    struct dict_bucket *b = segment_alloc(d, 4);
    if (!b)
        goto free_dir;
    d->dir[0] = word_make(b, 0, 4, 0);
    d->at_depth[0] = 1;
    return d;
free_dir:
    mem_free(mem, d->dir, sizeof(*d->dir));
free_dict:
    mem_free(mem, d, sizeof(*d));
    return NULL;
}

void dict_destroy(struct dict *d)
{
    if (!d)
        return;
    for (size_t i = d->freed, step; i < (size_t)1 << d->depth; i += step) {
        uint64_t w = d->dir[i];
        step = dir_span(d, w);
        segment_free(d, dict_word_buckets(w), dict_word_nb(w));
    }
    dir_cancel(d);
    dict_free(d, d->spilled, d->spilled_cap * sizeof(*d->spilled));
    dict_free(d, d->dir, sizeof(*d->dir) << d->depth);
    mem_free(d->mem, d, sizeof(*d));
}

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
        struct dict_bucket *b = segment_alloc(d, nb);
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
            segment_free(d, dict_word_buckets(dir[i]), dict_word_nb(dir[i]));
    dict_free(d, dir, sizeof(*dir) << dir_depth);
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
    uint64_t *dir = dict_alloc(d, sizeof(*dir) << depth);
    if (!dir)
        return;
    memset(dir, 0, sizeof(*dir) << depth);
    for (uint64_t q = 0; q < 4 && good; q++)
        good = reserve_quarter(d, dir, depth, q, n);
    if (!good) {
        reserve_undo(d, dir, depth);
        return;
    }
    segment_free(d, dict_word_buckets(d->dir[0]), dict_word_nb(d->dir[0]));
    dict_free(d, d->dir, sizeof(*d->dir));
    d->dir = dir;
    d->depth = depth;
    d->shift = 63 - depth;
    d->at_depth[0] = 0;
    for (uint64_t q = 0; q < 4; q++) {
        uint32_t at = reserve_depth(n, q, &nb);
        d->at_depth[at] += 1u << (at - 2);
    }
}

size_t dict_count(const struct dict *d)
{
    return d->count;
}
size_t dict_bytes(const struct dict *d)
{
    return d->bytes;
}
void dict_rehome(struct dict *d, struct mem *mem)
{
    d->mem = mem;
}

void *dict_candidate_displaced(const struct dict *d, uint64_t hash)
{
    uint64_t w = d->dir[dict_dir_index(d, hash)];
    const struct dict_bucket *b = dict_word_buckets(w);
    uint32_t nb = dict_word_nb(w), i = dict_home_index(w, hash);
    for (uint32_t left = probe_limit(b + i, nb); left; left--) {
        i = i + 1 == nb ? 0 : i + 1;
        uint32_t m = dict_bucket_match(b + i, dict_tag_of(hash));
        if (m)
            return dict_slot_get(b + i, (uint32_t)__builtin_ctz(m));
    }
    return NULL;
}

void *dict_find_rest(const struct dict *d, uint64_t hash, struct span key)
{
    uint64_t w = d->dir[dict_dir_index(d, hash)];
    const struct dict_bucket *b = dict_word_buckets(w);
    uint32_t nb = dict_word_nb(w), home = dict_home_index(w, hash), i = home;
    for (uint32_t left = probe_limit(b + home, nb) + 1; left; left--) {
        for (uint32_t m = dict_bucket_match(b + i, dict_tag_of(hash)); m; m &= m - 1) {
            void *e = dict_slot_get(b + i, (uint32_t)__builtin_ctz(m));
            if (d->type.equal(e, key))
                return e;
        }
        i = i + 1 == nb ? 0 : i + 1;
    }
    if (dict_state_reach(b + home) == REACH_ALL)
        for (size_t s = 0; s < d->spilled_n; s++)
            if (d->spilled[s].hash == hash && d->type.equal(d->spilled[s].entry, key))
                return d->spilled[s].entry;
    return NULL;
}

void *dict_find(const struct dict *d, uint64_t hash, struct span key)
{
    return dict_find_inline(d, hash, key, d->type.equal);
}

void dict_prefetch_bucket(const struct dict *d, uint64_t hash)
{
    __builtin_prefetch(dict_bucket_of(d, hash));
}

void dict_prefetch_entry(const struct dict *d, uint64_t hash)
{
    uint64_t w = d->dir[dict_dir_index(d, hash)];
    const struct dict_bucket *b = dict_word_buckets(w) + dict_home_index(w, hash);
    uint32_t m = dict_bucket_match(b, dict_tag_of(hash));
    if (likely_(m))
        __builtin_prefetch(dict_slot_get(b, (uint32_t)__builtin_ctz(m)));
    else if (dict_state_reach(b))
        __builtin_prefetch(b + 1);
}

/* Makes room where `hash` belongs, while that helps. */
static __attribute__((noinline)) enum growth make_room(struct dict *d, uint64_t hash)
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

bool dict_insert(struct dict *d, uint64_t hash, void *entry)
{
    ASSERT(((uintptr_t)entry & ~0xffffffffffffull) == 0);
    enum growth growth = GROWTH_DONE;
    if (unlikely_(d->next != NULL))
        dir_slice(d);
    size_t first = first_index(d, dict_dir_index(d, hash));
    uint64_t w = d->dir[first];
    if (unlikely_(word_count(w) >= segment_limit(w))) {
        growth = make_room(d, hash);
        first = first_index(d, dict_dir_index(d, hash));
        w = d->dir[first];
    }
    if (likely_(word_count(w) < segment_slots(w))) {
        segment_place(w, hash, entry);
        count_add(d, first, 1);
    } else {
        if (growth == GROWTH_NO_MEMORY || !spill_push(d, hash, entry))
            return false;
        state_displace(dict_word_buckets(w) + dict_home_index(w, hash), REACH_ALL, true);
    }
    d->count++;
    return true;
}

void dict_replace(struct dict *d, uint64_t hash, void *old_entry, void *new_entry)
{
    d->departed++;
    struct slot at = segment_locate(d->dir[dict_dir_index(d, hash)], hash, old_entry);
    if (at.bucket) {
        slot_set(at.bucket, at.i, new_entry);
        return;
    }
    for (size_t s = 0; s < d->spilled_n; s++)
        if (d->spilled[s].entry == old_entry)
            d->spilled[s].entry = new_entry;
}

bool dict_remove(struct dict *d, uint64_t hash, void *entry)
{
    if (unlikely_(d->next != NULL))
        dir_slice(d);
    d->departed++;
    size_t first = first_index(d, dict_dir_index(d, hash));
    struct slot at = segment_locate(d->dir[first], hash, entry);
    if (at.bucket) {
        at.bucket->tag[at.i] = 0;
        if (at.bucket != at.home)
            state_return(at.home);
        count_add(d, first, -1);
    } else {
        size_t s = 0;
        while (s < d->spilled_n && d->spilled[s].entry != entry)
            s++;
        if (s == d->spilled_n)
            return false;
        d->spilled[s] = d->spilled[--d->spilled_n];
    }
    d->count--;
    if (!d->paused)
        segment_merge(d, hash, 128);
    return true;
}

/* Calls fn on what lies in [from, to) and has its home in bucket `home`. Returns how many. */
static size_t scan_bucket(struct dict *d, uint64_t w, uint32_t home, uint64_t from, uint64_t to,
                          void (*fn)(void *ctx, void *entry), void *ctx)
{
    struct dict_item found[MAX_ITEMS];
    const struct dict_bucket *b = dict_word_buckets(w);
    uint32_t nb = dict_word_nb(w), n = 0, i = home;
    for (uint32_t left = probe_limit(b + home, nb) + 1; left; left--) {
        for (uint32_t m = ~dict_bucket_match(b + i, 0) & 0x1ff; m; m &= m - 1) {
            found[n].entry = dict_slot_get(b + i, (uint32_t)__builtin_ctz(m));
            __builtin_prefetch(found[n++].entry);
        }
        i = i + 1 == nb ? 0 : i + 1;
    }
    bool all = dict_state_reach(b + home) == REACH_ALL;
    size_t called = 0;
    d->paused++;
    for (uint32_t k = 0; k < n; k++) {
        uint64_t position = d->type.hash(found[k].entry, d->type.ctx) >> (64 - DICT_POSITION_BITS);
        if (position < from || position >= to)
            continue;
        fn(ctx, found[k].entry);
        called++;
    }
    /* Backwards: a removal fills the gap with the last one, which has been seen. */
    for (size_t s = all ? d->spilled_n : 0; s-- > 0;) {
        uint64_t position = d->spilled[s].hash >> (64 - DICT_POSITION_BITS);
        if (position < from || position >= to)
            continue;
        fn(ctx, d->spilled[s].entry);
        called++;
    }
    d->paused--;
    return called;
}

uint64_t dict_scan(struct dict *d, uint64_t cursor, void (*fn)(void *ctx, void *entry), void *ctx)
{
    cursor &= (1ull << DICT_POSITION_BITS) - 1;
    for (uint32_t visited = 0; visited < 16; visited++) {
        uint64_t hash = cursor << (64 - DICT_POSITION_BITS), w = d->dir[dict_dir_index(d, hash)];
        uint32_t below = DICT_POSITION_BITS - dict_word_depth(w), nb = dict_word_nb(w),
                 home = dict_home_index(w, hash);
        uint64_t start = cursor >> below << below;
        /* The first position whose home is the next bucket. */
        uint64_t end = home + 1 == nb
                           ? start + (1ull << below)
                           : start + ((((uint64_t)(home + 1) << 16) + nb - 1) / nb << (below - 16));
        size_t before = d->count, called = scan_bucket(d, w, home, cursor, end, fn, ctx);
        if (d->count < before)
            segment_merge(d, hash, 128);
        cursor = end & ((1ull << DICT_POSITION_BITS) - 1);
        if (called || cursor == 0)
            break;
    }
    return cursor;
}

void *dict_random(const struct dict *d, uint64_t (*rnd)(void *), void *rnd_ctx)
{
    if (!d->count)
        return NULL;
    if (d->spilled_n) {
        uint64_t k = rnd(rnd_ctx) % d->count;
        if (k < d->spilled_n)
            return d->spilled[k].entry;
    }
    /* Every segment is hit with the same chance (at its first word only), and every slot of MAX_BUCKETS buckets,
     * whether the segment has it or not: so every entry has the same chance. */
    for (uint32_t tries = 0; tries < 4096; tries++) {
        uint64_t r = rnd(rnd_ctx);
        size_t index = (size_t)(r >> 1 >> d->shift);
        uint64_t w = d->dir[index];
        uint32_t slot = (uint32_t)((r & 0xffffffff) * (MAX_BUCKETS * DICT_SLOTS) >> 32);
        const struct dict_bucket *b = dict_word_buckets(w) + slot / DICT_SLOTS;
        if (slot >= segment_slots(w) || index != first_index(d, index) ||
            !b->tag[slot % DICT_SLOTS])
            continue;
        return dict_slot_get(b, slot % DICT_SLOTS);
    }
    /* Nearly empty, or degenerate: the next entry after a random place. */
    size_t mask = ((size_t)1 << d->depth) - 1, index = rnd(rnd_ctx) & mask;
    for (size_t k = 0; k <= mask; k++, index = (index + 1) & mask) {
        uint64_t w = d->dir[index];
        for (uint32_t i = 0; i < dict_word_nb(w); i++) {
            uint32_t m = ~dict_bucket_match(dict_word_buckets(w) + i, 0) & 0x1ff;
            if (m)
                return dict_slot_get(dict_word_buckets(w) + i, (uint32_t)__builtin_ctz(m));
        }
    }
    return d->spilled_n ? d->spilled[0].entry : NULL;
}

/* Calls fn on the entries of a segment and frees it. */
static size_t segment_destroy(struct dict *d, uint64_t w, void (*fn)(void *ctx, void *entry),
                              void *ctx)
{
    struct dict_bucket *b = dict_word_buckets(w);
    for (uint32_t i = 0; fn && i < dict_word_nb(w); i++) {
        uint32_t full = ~dict_bucket_match(b + i, 0) & 0x1ff;
        for (uint32_t m = full; m; m &= m - 1)
            __builtin_prefetch(dict_slot_get(b + i, (uint32_t)__builtin_ctz(m)));
        for (uint32_t m = full; m; m &= m - 1)
            fn(ctx, dict_slot_get(b + i, (uint32_t)__builtin_ctz(m)));
    }
    segment_free(d, b, dict_word_nb(w));
    return word_count(w);
}

bool dict_free_slice(struct dict *d, size_t budget, void (*fn)(void *ctx, void *entry), void *ctx)
{
    size_t done = 0, words = (size_t)1 << d->depth;
    while (d->spilled_n && done < budget) {
        d->count--;
        done++;
        d->spilled_n--;
        if (fn)
            fn(ctx, d->spilled[d->spilled_n].entry);
    }
    /* An empty segment is work too. */
    for (; d->freed < words && done < budget; done++) {
        uint64_t w = d->dir[d->freed];
        size_t n = segment_destroy(d, w, fn, ctx);
        d->count -= n;
        done += n;
        d->freed += dir_span(d, w);
    }
    if (d->freed < words)
        return false;
    dict_destroy(d);
    return true;
}

uint64_t dict_dir_words(const struct dict *d)
{
    return d->dir_words;
}
