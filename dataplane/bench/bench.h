/* bench: what the command line asks for, and how it is run: on one thread or several, once or until a rate no longer holds. */
#pragma once

#include "dataplane/bench/replay.h"
#include "dataplane/bench/report.h"
#include "dataplane/bench/transports.h"
#include "dataplane/options.h"

#define BENCH_THREADS_MOST 64

struct bench {
    struct load_config cfg;
    struct report_head head;
    struct workload work;
    struct replay replay;
    struct options net;
    struct transport *t[BENCH_THREADS_MOST]; /* one a thread */
    const char *host, *path, *json, *csv, *hgrm, *plot, *replay_path;
    const char *command[OPS_MOST];
    const char *tests, *sizes, *law, *search;
    uint32_t commands, get_share, set_share, threads, channels;
    uint64_t port, keys;
    bool sockets, list, load, quiet;
    char *net_argv[64];
    int net_argc, cpu;
    char target[128], line[1024];
};

/* args.c. Ends the process with 2 when the command line is wrong. */
void bench_parse(struct bench *b, int argc, char **argv);
__attribute__((noreturn, format(printf, 1, 2))) void bench_bad(const char *fmt, ...);
/* One more option of barewire-dataplane, for our own stack. */
void bench_net_option(struct bench *b, const char *name, const char *arg);
/* The operations of one run: a test by name, or (NULL) the log, the ratio or the user's own; workload_fini. */
void bench_workload(struct bench *b, const char *test);

/* threads.c. b->work by cfg on b->threads threads, each with its share of clients, requests and rate. False: said on stderr, and nothing is in *ret.
 * load_result_free. */
bool bench_run(struct bench *b, const struct load_config *cfg, struct load_result *ret);

/* The files that were asked for: JSON, CSV, HdrHistogram's log. */
bool bench_files(struct bench *b, const struct load_result *r);

/* search.c. Runs of rising rate until --search's goal no longer holds; --plot. */
bool bench_search(struct bench *b, const char *test);
