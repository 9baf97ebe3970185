/* cache_bench: hit ratios of the maxmemory policies side by side, on a trace.
 *
 *   cache_bench [--keys N] [--requests N] [--theta T] [--scans PERCENT] [--size BYTES] [--per-second N] [--seed N]
 *               [--trace FILE] [--write FILE] [--memory PERCENT[,PERCENT...]] [--samples N]
 *
 * Without --trace the requests are made: Zipf over --keys, mixed with scans over twice as many keys of their own. --memory is a part of
 * what all keys of the trace take together. "exact" is LRU by the true order of accesses, computed apart from the engine. The access
 * clock of LRU has a resolution of a second, as in Redis: --per-second says how many requests fall into one. With one expiry for all keys,
 * volatile-ttl is first in, first out. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "tests/bench/cache_sim.h"

static const struct {
    const char *name;
    uint32_t policy;
} columns[] = {
    {"random", POLICY_ALLKEYS_RANDOM}, {"ttl", POLICY_VOLATILE_TTL},
    {"lru", POLICY_ALLKEYS_LRU},       {"lfu", POLICY_ALLKEYS_LFU},
    {"s3fifo", POLICY_ALLKEYS_S3FIFO},
};

static const struct option options[] = {
    {"keys", 1, NULL, 'k'},   {"requests", 1, NULL, 'n'}, {"theta", 1, NULL, 't'},
    {"scans", 1, NULL, 's'},  {"size", 1, NULL, 'b'},     {"per-second", 1, NULL, 'p'},
    {"seed", 1, NULL, 'x'},   {"trace", 1, NULL, 'f'},    {"write", 1, NULL, 'w'},
    {"memory", 1, NULL, 'm'}, {"samples", 1, NULL, 'a'},  {0},
};

static double percent(const struct cache_result *r)
{
    return r->gets ? 100.0 * (double)r->hits / (double)r->gets : 0;
}

static void print_row(const struct trace *t, double part, size_t footprint, uint32_t samples)
{
    size_t bytes = (size_t)((double)footprint * part / 100);
    struct cache_result exact = cache_exact_lru(t, bytes, footprint);
    printf("| %g%% | %.1f MB |", part, (double)bytes / 1e6);
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        struct cache_result r = cache_run(t, columns[i].policy, bytes, samples);
        printf(" %.2f |", percent(&r));
        fflush(stdout);
    }
    printf(" %.2f |\n", percent(&exact));
}

static int open_trace(struct trace *t, const char *file, const struct trace_shape *shape)
{
    if (!file)
        return trace_make(t, shape) ? 0 : -1;
    FILE *f = fopen(file, "r");
    if (!f) {
        perror(file);
        return -1;
    }
    long line = trace_read(t, f);
    fclose(f);
    if (line > 0)
        fprintf(stderr, "%s:%ld: not time,key,size,op\n", file, line);
    return line ? -1 : 0;
}

int main(int argc, char **argv)
{
    struct trace_shape shape = {.keys = 100000,
                                .requests = 1000000,
                                .theta = 0.99,
                                .scan_percent = 20,
                                .scan_length = 1000,
                                .size = 100,
                                .per_second = 1000,
                                .seed = 1};
    const char *file = NULL, *to = NULL;
    char memory[256] = "1,5,10,25";
    uint32_t samples = 5;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 'k': shape.keys = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'n': shape.requests = strtoul(optarg, NULL, 10); break;
        case 't': shape.theta = strtod(optarg, NULL); break;
        case 's': shape.scan_percent = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'b': shape.size = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'p': shape.per_second = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'x': shape.seed = strtoul(optarg, NULL, 10); break;
        case 'f': file = optarg; break;
        case 'w': to = optarg; break;
        case 'm': snprintf(memory, sizeof(memory), "%s", optarg); break;
        case 'a': samples = (uint32_t)strtoul(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    if (shape.keys < 2 || !shape.per_second || shape.theta <= 0 || shape.theta >= 1 ||
        shape.scan_percent > 99 || shape.size > CACHE_SIZE_MAX || !samples) {
        fprintf(stderr,
                "cache_bench: at least 2 keys, a theta between 0 and 1, at most 99 %% scans\n");
        return 2;
    }
    struct trace t;
    if (open_trace(&t, file, &shape) != 0)
        return 1;
    FILE *out = to ? fopen(to, "w") : NULL;
    if (out) {
        trace_write(&t, out);
        fclose(out);
    }
    size_t footprint = cache_footprint(&t);
    printf("%zu requests, %u keys, %.1f MB in all; hit ratios in percent\n\n| memory | |", t.n,
           t.keys, (double)footprint / 1e6);
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        printf(" %s |", columns[i].name);
    printf(" exact LRU |\n|---|---|---|---|---|---|---|---|\n");
    for (char *p = strtok(memory, ","); p; p = strtok(NULL, ","))
        print_row(&t, strtod(p, NULL), footprint, samples);
    trace_free(&t);
    return 0;
}
