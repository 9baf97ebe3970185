/* latency: what took longer than latency-monitor-threshold, by event and second; one a worker. LATENCY gathers those of all workers.
 * Thread: the worker's. */
#pragma once

#include "engine/cmd/cmd.h"

#define LATENCY_SAMPLES 160 /* of an event, as in Redis */

/* Events that exist here, in the order in which they are told of. */
enum latency_event {
    LATENCY_COMMAND,      /* a command */
    LATENCY_EXPIRE_CYCLE, /* a slice of expiry, eviction and lazy freeing */
    LATENCY_FAST_COMMAND, /* a command that should not take long, whatever the data */
    LATENCY_EVENTS
};

struct latency_sample {
    uint32_t time_s, ms; /* time_s 0: none */
};

struct latency_series {
    uint32_t next, max_ms;
    struct latency_sample v[LATENCY_SAMPLES]; /* a ring: `next` is the oldest */
};

struct latency {
    struct latency_series series[LATENCY_EVENTS];
};

void latency_add(struct latency *l, enum latency_event event, int64_t now_us, uint64_t ms);
