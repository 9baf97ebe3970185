/* percentile: histogram of latencies with three significant digits, in the layout of HdrHistogram: 2,048 values of one nanosecond, then 1,024
 * for every further power of two. Values beyond about 137 s count as that. One thread. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#define PERCENTILE_SUB_BITS 10
#define PERCENTILE_SUB      (1u << PERCENTILE_SUB_BITS)
#define PERCENTILE_BUCKETS  27
#define PERCENTILE_SLOTS    ((PERCENTILE_BUCKETS + 1) * PERCENTILE_SUB)

struct percentile {
    uint64_t count, max, min;
    double sum, squares; /* for mean and deviation */
    uint64_t slot[PERCENTILE_SLOTS];
};

void percentile_reset(struct percentile *p);
void percentile_add(struct percentile *p, uint64_t ns);
void percentile_merge(struct percentile *into, const struct percentile *from);
/* The value that `share` (0..1) of the samples do not exceed, as the end of its slot but never more than the largest; 0: no samples. */
uint64_t percentile_at(const struct percentile *p, double share);
double percentile_mean(const struct percentile *p);
double percentile_deviation(const struct percentile *p);
/* Percentile distribution as HdrHistogram prints it (five steps per halving of the distance), values in milliseconds. */
void percentile_print(const struct percentile *p, FILE *to);
