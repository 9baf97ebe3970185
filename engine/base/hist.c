/* Log-linear histogram.
 *
 *   value < 16             bucket = value                         (exact)
 *   2^e <= value < 2^(e+1) bucket = (e - 3) * 16 + next four bits (16 sub-buckets, width 2^(e-4))
 *   value >= 2^48          the last bucket, whose quantile is the largest value seen
 *
 * Where in the flow: one writer (a worker, each loop), readers anywhere, also in another process. Fields are
 * stored relaxed and whole: a reader may see a sample counted in a bucket and not yet in `count`, and so
 * walks the buckets' own total rather than trust `count`. */
#include "engine/base/hist.h"

#include <string.h>

static inline unsigned bucket_of(uint64_t v)
{
    if (v < HIST_SUB)
        return (unsigned)v;
    unsigned e = 63 - (unsigned)__builtin_clzll(v);
    unsigned b = (e - 3) * HIST_SUB + (unsigned)((v >> (e - 4)) & (HIST_SUB - 1));
    return b < HIST_BUCKETS ? b : HIST_BUCKETS - 1;
}

/* The largest value that falls into bucket b. */
static inline uint64_t bucket_top(unsigned b)
{
    if (b < HIST_SUB)
        return b;
    unsigned e = b / HIST_SUB + 3, sub = b % HIST_SUB;
    return ((uint64_t)(HIST_SUB + sub + 1) << (e - 4)) - 1;
}

/* Relaxed is enough: one writer, and no field says anything about another. */
static inline uint64_t get(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}
static inline void set(uint64_t *p, uint64_t v)
{
    __atomic_store_n(p, v, __ATOMIC_RELAXED);
}

void hist_add(struct hist *h, uint64_t value)
{
    uint64_t *b = &h->bucket[bucket_of(value)];
    set(b, *b + 1);
    set(&h->sum, h->sum + value);
    if (value > h->max)
        set(&h->max, value);
    set(&h->count, h->count + 1);
}

uint64_t hist_quantile(const struct hist *h, unsigned permille)
{
    uint64_t total = 0;
    for (unsigned b = 0; b < HIST_BUCKETS; b++)
        total += get(&h->bucket[b]);
    if (total == 0)
        return 0;
    if (permille > 1000)
        permille = 1000;
    /* Rank of the sample asked for, 1..total, rounded up, without total * permille overflowing. */
    uint64_t rank = total / 1000 * permille + (total % 1000 * permille + 999) / 1000;
    if (rank == 0)
        rank = 1;
    uint64_t seen = 0, max = get(&h->max);
    for (unsigned b = 0; b < HIST_BUCKETS; b++) {
        seen += get(&h->bucket[b]);
        if (seen >= rank) {
            uint64_t top = bucket_top(b);
            return b == HIST_BUCKETS - 1 || top > max ? max : top;
        }
    }
    return max;
}

void hist_reset(struct hist *h)
{
    for (unsigned b = 0; b < HIST_BUCKETS; b++)
        set(&h->bucket[b], 0);
    set(&h->count, 0);
    set(&h->sum, 0);
    set(&h->max, 0);
}
