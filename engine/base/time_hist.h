/* time_hist: how long something took, 8 buckets for each doubling from 16 ns to 17 s. One writer, readable by another process meanwhile:
 * a bucket is all there is to a sample. */
#pragma once

#include <stdint.h>

#define TIME_HIST_SUB     8
#define TIME_HIST_FIRST   4 /* 2^4 ns: what is shorter counts as this */
#define TIME_HIST_LAST    33
#define TIME_HIST_BUCKETS ((TIME_HIST_LAST - TIME_HIST_FIRST + 1) * TIME_HIST_SUB)

struct time_hist {
    uint64_t bucket[TIME_HIST_BUCKETS];
};

static inline uint32_t time_hist_bucket(uint64_t ns)
{
    ns |= 1u << TIME_HIST_FIRST;
    uint32_t e = 63 - (uint32_t)__builtin_clzll(ns);
    uint32_t b = (e - TIME_HIST_FIRST) * TIME_HIST_SUB + ((ns >> (e - 3)) & (TIME_HIST_SUB - 1));
    return b < TIME_HIST_BUCKETS ? b : TIME_HIST_BUCKETS - 1;
}

/* n samples of one length. */
static inline void time_hist_add(struct time_hist *h, uint64_t ns, uint64_t n)
{
    uint64_t *b = &h->bucket[time_hist_bucket(ns)];
    __atomic_store_n(b, *b + n, __ATOMIC_RELAXED);
}

/* The largest time that falls into the bucket. */
static inline uint64_t time_hist_top(uint32_t b)
{
    uint32_t e = TIME_HIST_FIRST + b / TIME_HIST_SUB, sub = b % TIME_HIST_SUB;
    return ((uint64_t)(TIME_HIST_SUB + sub + 1) << (e - 3)) - 1;
}

static inline uint64_t time_hist_count(const struct time_hist *h)
{
    uint64_t n = 0;
    for (uint32_t b = 0; b < TIME_HIST_BUCKETS; b++)
        n += __atomic_load_n(&h->bucket[b], __ATOMIC_RELAXED);
    return n;
}

static inline void time_hist_add_all(struct time_hist *to, const struct time_hist *from)
{
    for (uint32_t b = 0; b < TIME_HIST_BUCKETS; b++)
        to->bucket[b] += __atomic_load_n(&from->bucket[b], __ATOMIC_RELAXED);
}

/* The time below or at which `percent` of the samples lie; 0: there are none. */
static inline uint64_t time_hist_percentile(const struct time_hist *h, double percent)
{
    uint64_t n = time_hist_count(h), seen = 0;
    double want = percent / 100 * (double)n;
    for (uint32_t b = 0; b < TIME_HIST_BUCKETS; b++) {
        seen += __atomic_load_n(&h->bucket[b], __ATOMIC_RELAXED);
        if (seen && (double)seen >= want)
            return time_hist_top(b);
    }
    return 0;
}
