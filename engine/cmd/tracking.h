/* tracking: clients that cache what they read (CLIENT TRACKING), on their home worker.
 *
 * What they have read is remembered by the shards (engine/shard/track.h), but for those in broadcast mode: these name prefixes, and each worker
 * keeps its own. What has changed under a prefix is gathered for a turn and told in one message, as Redis does before it sleeps.
 * Thread: the worker's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/list.h"
#include "engine/cmd/session.h"

enum tracking_flags {
    TRACKING_BCAST = 1 << 0,
    TRACKING_OPTIN = 1 << 1,
    TRACKING_OPTOUT = 1 << 2,
    TRACKING_NOLOOP = 1 << 3,
    TRACKING_CACHING = 1 << 4, /* CLIENT CACHING was said for the next command */
    TRACKING_BROKEN = 1 << 5,  /* the client that it redirects to is gone */
};

#define TRACKING_ASKED 8 /* REDIRECTs of a transaction to different clients */

/* Of a session that has ever tracked; on: SESSION_TRACKING in its mode. */
struct tracking {
    struct list node;        /* tracking_table.clients, while on */
    struct session *session; /* NULL: it has left, and a walk is going on */
    struct list prefixes;    /* struct prefix_client */
    uint64_t redirect;       /* 0: to itself */
    uint32_t flags;
    /* clients of other workers whose existence its so-manyth request, and no other, has asked for */
    uint32_t asked_n;
    uint64_t asked_at;
    struct tracking_asked {
        uint64_t id;
        bool found; /* the answer */
    } asked[TRACKING_ASKED];
};

struct broadcast_key;

struct tracking_prefix {
    struct list node;               /* tracking_table.prefixes, by name */
    struct list clients;            /* struct prefix_client */
    struct broadcast_key **changed; /* in this turn */
    size_t n, cap;
    uint32_t len;
    uint8_t bytes[];
};

struct prefix_client {
    struct list by_prefix, by_client;
    struct tracking_prefix *prefix;
    struct tracking *who;
};

/* One per worker. */
struct tracking_table {
    struct list clients, prefixes, doomed;
    uint32_t walking; /* who leaves stays until the walk is over */
    bool changed;     /* some prefix has changes to tell */
    uint64_t *gauge_clients,
        *gauge_prefixes;       /* where they are told, or NULL; read by other workers */
    uint64_t *gauge_broadcast; /* clients in broadcast mode */
};

void tracking_init(struct tracking_table *t);
/* From everything: OFF, RESET, or it is gone. */
void tracking_off(struct tracking_table *t, struct session *s);
void tracking_free(struct tracking_table *t, struct session *s); /* and what is kept of it */

/* What it reads with the next command is remembered. */
static inline bool tracking_remembers(const struct session *s)
{
    return __builtin_expect(s->mode & SESSION_TRACKING, 0) &&
           !(s->tracking->flags & TRACKING_BCAST) &&
           !((s->tracking->flags & TRACKING_OPTIN) && !(s->tracking->flags & TRACKING_CACHING)) &&
           !((s->tracking->flags & TRACKING_OPTOUT) && (s->tracking->flags & TRACKING_CACHING));
}

/* CLIENT GETREDIR. */
static inline int64_t tracking_redirect(const struct session *s)
{
    return s->mode & SESSION_TRACKING ? (int64_t)s->tracking->redirect : -1;
}
/* Made at first; NULL: no memory. */
struct tracking *tracking_of(struct session *s);

/* A key has changed, by client `by` (0: nobody's command): for those whose prefixes it has. */
void tracking_note(struct tracking_table *t, struct span key, uint64_t by);
/* Sends keys: an array of them in RESP, or a null. */
typedef void tracking_send(void *ctx, struct session *s, struct span keys);
/* What was noted, one message for each prefix and client. */
void tracking_broadcast(struct tracking_table *t, tracking_send *send, void *ctx);
/* Calls fn for each client that tracks. */
void tracking_each(struct tracking_table *t, void (*fn)(void *ctx, struct session *s), void *ctx);
