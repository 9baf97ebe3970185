/* shadow: a server of one worker that knows nothing but the journal of another: what a start after a crash at that moment would find.
 *
 *   workers -> journal rings -> records in an order in which control's writer may take them (merge.c) -> the shadow runs their effects */
#pragma once

#include "tests/unit/conn/server.h"

struct shadow {
    struct server s;
    struct tcp_conn *tc;
    struct link *control, *dataplane;
    struct ring ring[MAX_WORKERS];
    uint64_t next[MAX_WORKERS]; /* number of the next record of each shard */
    uint32_t count;
    char instance[32];
    uint32_t draw; /* of whom the next record is, where several may be */
};

/* Before the workers are made, whose link is h->dataplane and whose configuration this one becomes, with a journal. */
void shadow_link(struct shadow *h, uint32_t count, struct engine_config *config);
/* Or of workers that have a link: control's side of it, which stays the caller's. */
void shadow_attach(struct shadow *h, uint32_t count, struct link *control);
/* After the workers are made. */
void shadow_up(struct shadow *h);
void shadow_down(struct shadow *h);
/* Runs all that has been published. Each record must find those before it: a crash leaves none that nobody can take. */
void shadow_follow(struct shadow *h, uint64_t now_ns);
/* What it replies, valid until the next one. */
const char *shadow_ask(struct shadow *h, const char *request);
