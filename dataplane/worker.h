/* worker: one lcore that polls. It owns a queue pair, a TCP stack, the clients that arrived there, and one shard.
 *
 * The loop is the poem of the project and stays on one screen (worker.c, worker_turn). Tests drive worker_turn themselves with a
 * port of their own (rx/wire) and, when several workers live in one process, turn them in any order they like. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/net/net.h"
#include "engine/link/link.h"
#include "engine/shard/config.h"

struct worker;

struct worker_config {
    uint32_t id, count;
    struct worker **all; /* count pointers, shared by all workers; complete before the first turn */
    struct link *link;   /* NULL in tests: no door, no control, statistics in private memory */
    const struct engine_config *config; /* first values; later ones come from the link */
    uint16_t (*rx)(void *ctx, struct rte_mbuf **pkts,
                   uint16_t n); /* the way in: port_rx of the worker's queue */
    void *rx_ctx;
    int wait_fd; /* readable when rx has frames: worker_run sleeps on it; 0 or less: none, it sleeps in short steps */
    struct net_wire wire;  /* the way out and what the port can do */
    struct net_config net; /* pool, addresses */
    uint64_t hash_seed[2]; /* the same in all workers */
    uint64_t seed;         /* this worker's own randomness */
    bool loading;          /* clients wait until control has loaded the dataset */
};

/* 0 or -errno. Runs on the thread that sets up; worker_run may be another one. */
int worker_create(struct worker **ret, const struct worker_config *c);
/* Until worker_stop_all. Fits port_launch. */
int worker_run(void *worker);
/* One turn of the loop at monotonic time `now_ns` and unix time `unix_us`. True when there was something to do. */
bool worker_turn(struct worker *w, uint64_t now_ns, int64_t unix_us);
void worker_stop_all(struct worker **all, uint32_t count); /* async-signal-safe */
/* After every worker has returned from worker_run. */
void worker_destroy(struct worker *w);
struct stats_worker *worker_stats(struct worker *w);
