/* multi: a client's transaction: requests queued since MULTI, keys watched since WATCH.
 *
 * A session without either has none. Queued requests are copies: packets do not outlive their burst. In the flow: the router queues
 * (multi_queue), EXEC gathers the shards it needs (dataplane/conn/exec.c) and runs the queue over them (multi_run), as one step. */
#pragma once

#include "engine/cmd/cmd.h"
#include "engine/shard/watch.h"

struct multi_cmd {
    struct multi_cmd *next;
    const struct cmd_desc *desc;
    struct span *argv; /* behind this record, with their bytes */
    uint32_t argc;
};

struct multi_watch {
    uint32_t shard;
    struct watch_ref ref;
};

struct multi {
    struct multi_cmd *first, *last;
    uint32_t n, watched, watch_cap;
    uint32_t flags, lacks; /* that some request of the queue has, or has not: enum cmd_flags */
    bool failed;           /* a request was refused while queueing: EXEC will be */
    uint64_t bytes, watch_bytes; /* of what is queued, and of what is watched */
    struct multi_watch *watch;
    uint32_t
        *watch_index; /* twice watch_cap, a hash of records: positions in `watch` plus 1, or 0 */
};

/* What a part of WATCH answers for each of its keys; the last one says that these are all: it has no record. */
struct multi_watch_answer {
    struct watch_ref ref;
    uint64_t bytes;
};
enum multi_watch_result { MULTI_WATCHED, MULTI_WATCHED_BEFORE, MULTI_WATCH_NO_MEMORY };

/* The session's, made when there is none. NULL: no memory. */
struct multi *multi_of(struct session *s);
/* Whether the request is queued between MULTI and EXEC, not run. */
bool multi_queues(const struct cmd_desc *d);
/* Copies the request. False: no memory. */
bool multi_queue(struct session *s, const struct cmd_desc *d, const struct span *argv,
                 uint32_t argc);
/* Remembers a reference. Only then, MULTI_WATCHED, it belongs to the session. */
enum multi_watch_result multi_watch_add(struct session *s, uint32_t shard, struct watch_ref ref,
                                        uint64_t bytes);
/* It watches nothing any more: the references were given back. */
void multi_watch_none(struct multi *m);
/* Ends MULTI: what was queued is forgotten. Watches stay. */
void multi_discard(struct session *s);
/* Takes all of it from the session, which is out of MULTI then. NULL: there was nothing. */
struct multi *multi_take(struct session *s);
/* Frees it; its watches were given back before. */
void multi_free(struct multi *m);

/* ---- running; c is the EXEC, its shards are held ---- */

/* Whether a queued request is not run over shards: the control process answers it, or all workers do. */
static inline bool multi_foreign(const struct multi_cmd *m, uint32_t workers)
{
    return m->desc->route == ROUTE_CONTROL ||
           (workers > 1 && (m->desc->route == ROUTE_WORKERS || m->desc->route == ROUTE_CHANNEL));
}
/* Gives the watches back to their shards, all of which are held. True: a key has changed. */
bool multi_unwatch(struct multi *m, struct shard_set *set);
/* What changes between the two is one unit for the journal. */
void multi_unit_begin(struct cmd *c);
void multi_unit_end(struct cmd *c);
/* All that EXEC may answer instead of running. True: answered. */
bool multi_refuses(struct cmd *c, const struct multi *m, bool changed);
/* Runs requests from `from` on; returns the foreign one it came to, or NULL. */
const struct multi_cmd *multi_run(struct cmd *c, const struct multi_cmd *from);
