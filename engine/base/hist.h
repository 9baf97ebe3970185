/* hist: log-linear histogram of durations (16 sub-buckets per power of two, error under 6.25 %),
 * fixed size, one writer, readable by another process while it is written. */
#pragma once

#include <stdint.h>

#define HIST_SUB     16
#define HIST_BUCKETS (HIST_SUB * 45)

struct hist {
    uint64_t count, sum, max;
    uint64_t bucket[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t value);
/* Value at or below which `permille`/1000 of the samples lie (upper bound of the bucket); 0 if empty. */
uint64_t hist_quantile(const struct hist *h, unsigned permille);
void hist_reset(struct hist *h);
