/* cache_sim: plays a trace against one shard under a maxmemory policy, as an application does that fills its cache on a miss.
 *
 *   trace   lines of time,key,size,op        time in ms, any key, size of the value in bytes, op: get, set or del
 *           a get that misses is followed by a set of that size
 *
 * For tests/bench/cache_bench.c and its unit test. Everything is deterministic. */
#pragma once

#include <stdio.h>

#include "engine/shard/shard.h"

#define CACHE_SIZE_MAX (1u << 20) /* larger values are taken as this */

enum trace_kind { TRACE_GET, TRACE_SET, TRACE_DEL };

struct trace_op {
    uint64_t time_ms;
    uint32_t key, size; /* keys are numbered from 0 */
    uint8_t kind;
};

struct trace {
    struct trace_op *op;
    size_t n, cap;
    uint32_t keys;
};

struct trace_shape {
    uint32_t keys;         /* of the Zipf part */
    size_t requests;       /* all */
    double theta;          /* Zipf exponent, below 1 */
    uint32_t scan_percent; /* of the requests, in scans over keys of their own */
    uint32_t scan_length;
    uint32_t size, per_second;
    uint64_t seed;
};

struct cache_result {
    uint64_t gets, hits, evicted, refused;
    size_t peak_bytes; /* after a command */
};

/* False: no memory. */
bool trace_make(struct trace *t, const struct trace_shape *shape);
/* Reads lines until the end. 0, or the number of the line that is none, or -1: no memory. */
long trace_read(struct trace *t, FILE *f);
void trace_write(const struct trace *t, FILE *f);
void trace_free(struct trace *t);

/* What all keys of the trace take together, in a shard without limit. */
size_t cache_footprint(const struct trace *t);
struct cache_result cache_run(const struct trace *t, uint32_t policy, size_t bytes,
                              uint32_t samples);
/* LRU that knows the order exactly, with the same bytes for a key as `footprint` says they take. */
struct cache_result cache_exact_lru(const struct trace *t, size_t bytes, size_t footprint);
