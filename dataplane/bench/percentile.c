/* See percentile.h. */
#include "dataplane/bench/percentile.h"

#include <math.h>
#include <string.h>

#define TICKS 5 /* of percentile_print, per halving */

void percentile_reset(struct percentile *p)
{
    memset(p, 0, sizeof(*p));
    p->min = UINT64_MAX;
}

static uint32_t slot_of(uint64_t v)
{
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(v | (2 * PERCENTILE_SUB - 1));
    shift -= PERCENTILE_SUB_BITS;
    uint64_t slot = (uint64_t)shift * PERCENTILE_SUB + (v >> shift);
    return slot < PERCENTILE_SLOTS ? (uint32_t)slot : PERCENTILE_SLOTS - 1;
}

/* The largest value of a slot. */
static uint64_t slot_end(uint32_t slot)
{
    if (slot < 2 * PERCENTILE_SUB)
        return slot;
    uint32_t shift = slot / PERCENTILE_SUB - 1;
    uint64_t sub = slot % PERCENTILE_SUB + PERCENTILE_SUB;
    return ((sub + 1) << shift) - 1;
}

void percentile_add(struct percentile *p, uint64_t ns)
{
    p->count++;
    p->sum += (double)ns;
    p->squares += (double)ns * (double)ns;
    if (ns > p->max)
        p->max = ns;
    if (ns < p->min)
        p->min = ns;
    p->slot[slot_of(ns)]++;
}

void percentile_merge(struct percentile *into, const struct percentile *from)
{
    into->count += from->count;
    into->sum += from->sum;
    into->squares += from->squares;
    if (from->max > into->max)
        into->max = from->max;
    if (from->min < into->min)
        into->min = from->min;
    for (uint32_t i = 0; i < PERCENTILE_SLOTS; i++)
        into->slot[i] += from->slot[i];
}

static uint64_t bounded(const struct percentile *p, uint32_t slot)
{
    uint64_t v = slot_end(slot);
    return v < p->max ? v : p->max;
}

/* How many samples a share means: at least one. */
static uint64_t rank_of(const struct percentile *p, double share)
{
    double want = ceil(share * (double)p->count - 1e-9);
    if (want < 1)
        return 1;
    return want < (double)p->count ? (uint64_t)want : p->count;
}

uint64_t percentile_at(const struct percentile *p, double share)
{
    if (p->count == 0)
        return 0;
    uint64_t want = rank_of(p, share), seen = 0;
    for (uint32_t i = 0; i < PERCENTILE_SLOTS; i++) {
        seen += p->slot[i];
        if (seen >= want)
            return bounded(p, i);
    }
    return p->max;
}

double percentile_mean(const struct percentile *p)
{
    return p->count ? p->sum / (double)p->count : 0;
}

double percentile_deviation(const struct percentile *p)
{
    if (p->count == 0)
        return 0;
    double mean = percentile_mean(p), variance = p->squares / (double)p->count - mean * mean;
    return variance > 0 ? sqrt(variance) : 0;
}

void percentile_print(const struct percentile *p, FILE *to)
{
    fprintf(to, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    uint64_t seen = 0;
    uint32_t slot = 0;
    double level = 0;
    while (p->count && seen < p->count) {
        uint64_t want = rank_of(p, level);
        while (seen < want)
            seen += p->slot[slot++];
        double share = (double)seen / (double)p->count, value = (double)bounded(p, slot - 1) / 1e6;
        if (seen == p->count) {
            fprintf(to, "%12.6f %2.12f %10llu\n", value, 1.0, (unsigned long long)seen);
            break;
        }
        fprintf(to, "%12.6f %2.12f %10llu %14.2f\n", value, level, (unsigned long long)seen,
                1 / (1 - level));
        double from = share > level ? share : level;
        double half = exp2(floor(log2(1 / (1 - from))) + 1);
        level = from + 1 / (TICKS * half);
    }
    fprintf(to, "#[Mean    = %12.6f, StdDeviation   = %12.6f]\n", percentile_mean(p) / 1e6,
            percentile_deviation(p) / 1e6);
    fprintf(to, "#[Max     = %12.6f, Total count    = %12llu]\n", (double)p->max / 1e6,
            (unsigned long long)p->count);
    fprintf(to, "#[Buckets = %12u, SubBuckets     = %12u]\n", PERCENTILE_BUCKETS,
            2 * PERCENTILE_SUB);
}
