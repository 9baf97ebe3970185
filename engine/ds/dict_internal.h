/* dict_internal.h: words, buckets and segments, for the files dict*.c. The picture is in dict.c.
 *
 *   dict.c       look-ups and changes of one entry      dict_grow.c     segments and the directory become larger and smaller; room at once
 *   dict_scan.c  all entries, some at a time            dict_sample.c   some entries from a random place, or by their hash alone
 *
 * Thread: the lease holder's. */
#pragma once

#include <string.h>

#include "engine/ds/dict_inline.h"

#define MAX_BUCKETS   40 /* of a segment, after it grew */
#define MAX_ITEMS     (2 * MAX_BUCKETS * DICT_SLOTS)
#define REACH_ALL     DICT_REACH_ALL
#define DISPLACED_MAX 15
/* Of 256: beyond it a segment grows or splits. Measured by tests/bench/dict_bench.c. */
#define MAX_LOAD      242

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
static inline void state_displace(struct dict_bucket *home, uint32_t distance, bool for_ever)
{
    uint32_t displaced = home->state >> 4, reach = dict_state_reach(home);
    displaced = for_ever || displaced + 1 > DISPLACED_MAX ? DISPLACED_MAX : displaced + 1;
    if (distance > REACH_ALL)
        distance = REACH_ALL;
    home->state = (uint8_t)(displaced << 4 | (distance > reach ? distance : reach));
}
static inline void state_return(struct dict_bucket *home)
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

static inline uint32_t segment_slots(uint64_t w)
{
    return dict_word_nb(w) * DICT_SLOTS;
}
static inline uint32_t segment_limit(uint64_t w)
{
    return segment_slots(w) * MAX_LOAD / 256;
}
/* Buckets of a fresh segment: by the quarter of the hash space, once a segment lies within one. */
static inline uint32_t base_buckets(uint32_t depth, uint64_t hash)
{
    return depth < 2 ? 16 : 16 + 4 * (uint32_t)(hash >> 62);
}
/* The size that a full segment grows to; 0: it splits. */
static inline uint32_t grown_buckets(uint64_t w, uint64_t hash)
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
static inline void segment_place(uint64_t w, uint64_t hash, void *entry)
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

/* The word of `dir` at i in `next`. */
static inline size_t next_index(const struct dict *d, size_t i)
{
    return d->next_depth > d->depth ? i << 1 : i >> 1;
}
static inline void count_add(struct dict *d, size_t first, int n)
{
    d->dir[first] += (uint64_t)(int64_t)n << 54;
    /* next_done is 0 without a next, which the analyzer cannot see. */
    if (unlikely_(first < d->next_done))
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
        d->next[next_index(d, first)] += (uint64_t)(int64_t)n << 54;
}

/* ---- dict_grow.c ---- */

/* Counted in d->bytes. NULL: no memory. */
void *dict_block_alloc(struct dict *d, size_t n);
void dict_block_free(struct dict *d, void *p, size_t n);
/* Of nb buckets, all free. NULL: no memory. */
struct dict_bucket *dict_segment_alloc(struct dict *d, uint32_t nb);
void dict_segment_free(struct dict *d, struct dict_bucket *b, uint32_t nb);
/* False: no memory. */
bool dict_spill(struct dict *d, uint64_t hash, void *entry);
/* The next words of a directory that is being filled; at its end it becomes the directory. */
void dict_dir_slice(struct dict *d);
/* Forgets a directory that is being filled, if there is one. */
void dict_dir_cancel(struct dict *d);

enum growth {
    GROWTH_DONE,
    GROWTH_USELESS, /* or not yet possible: what finds no slot is spilled */
    GROWTH_NO_MEMORY,
};
/* Makes room where `hash` belongs, while that helps. */
enum growth dict_make_room(struct dict *d, uint64_t hash);
/* After a removal: unites the segment at `hash` with its buddy while both together hold little. */
void dict_merge(struct dict *d, uint64_t hash);
