/* wait: clients that wait for keys of this shard (BLPOP and its kin): who, in which order, and which keys have changed since.
 *
 *   wait_table: (db, key) -> wait_key -> a queue for each kind of value -> wait_node, one for each key of a waiter -> waiter
 *
 * A waiter may have nodes in the tables of several shards. `claim` says who ends its wait: the first shard that has something for it, or its
 * home (time is up, the client is gone). Whoever holds a shard and meets a waiter that is claimed elsewhere takes its node out; the rest is
 * taken out at its home's request. Thread: the lease holder's; `claim` is shared between those of all shards and the home. */
#pragma once

#include "engine/base/list.h"
#include "engine/ds/stream.h"
#include "engine/shard/shard.h"

/* What is waited for. */
enum wait_kind {
    WAIT_LIST,
    WAIT_ZSET,
    WAIT_STREAM,
    WAIT_GROUP /* of consumers of a stream */,
    WAIT_KINDS
};

enum wait_claim {
    WAIT_OPEN,
    WAIT_SERVED, /* its home moves an element for it: it keeps its place, and those behind it wait (only several workers) */
    WAIT_OVER,
};

/* Waiters of one group of a stream: the first one that is served tells what is left for the others. */
struct wait_group {
    struct list node;  /* wait_key.groups */
    struct list queue; /* struct wait_node */
    struct span name;  /* behind this record */
};

struct wait_key {
    struct wait_key *next; /* of its bucket */
    uint64_t hash, order;  /* when it became ready */
    struct list ready;     /* wait_table.ready; linked to itself: nothing has changed */
    struct list queue[WAIT_GROUP];
    struct list groups; /* struct wait_group */
    uint32_t db, nodes;
    bool pinned; /* stays, though nobody waits any more */
    struct span name;
};

struct waiter;
struct wait_node {
    struct list node; /* in a queue, first come first; linked to itself: in none */
    struct waiter *waiter;
    struct wait_key *key;
    struct wait_group *group; /* WAIT_GROUP */
    uint32_t shard;           /* whose holder may look at the fields above */
    struct stream_id after;   /* WAIT_STREAM: entries behind it are waited for */
};

struct waiter {
    uint32_t claim;  /* enum wait_claim; writers: the holder of a shard it has nodes in, its home */
    bool shared;     /* those may be several threads */
    uint32_t nnodes; /* this and what follows is written before any node is in a table */
    struct wait_node *nodes;
    uint64_t shards; /* that have nodes of it: a bit each; afterwards of whoever has claimed it */
};

struct wait_table {
    struct wait_key **bucket;
    uint32_t buckets, keys;
    struct list ready; /* struct wait_key, in the order in which they changed */
};

void wait_fini(struct shard *s);
/* Puts n, whose waiter is set, at the end of the queue. Of a key that is named twice only the first node waits. False: no memory. */
bool wait_add(struct shard *s, uint32_t db, struct span key, uint64_t hash, enum wait_kind kind,
              struct span group, struct wait_node *n);
void wait_remove(struct shard *s, struct wait_node *n);
/* Takes out w's nodes in the shards that are set; `again`: what has happened to their keys is looked at once more. */
void wait_remove_held(struct shard **v, struct waiter *w, bool again);
/* The key is looked at when the command is over. */
void wait_mark(struct shard *s, struct wait_key *k);
/* listen.c: a change of a key, or of a whole database. */
void wait_note(struct shard *s, uint32_t db, struct span key, enum ks_class cls, const char *event);
void wait_note_db(struct shard *s, uint32_t db);
/* The key that became ready first in any of the n shards that are set; NULL: none. wait_take takes it off that list and pins it. */
struct wait_key *wait_ready(struct shard **v, uint32_t n, struct shard **ret);
void wait_take(struct wait_key *k);
void wait_done(struct shard *s, struct wait_key *k);

static inline struct wait_node *wait_first(const struct list *queue)
{
    return queue->next == queue ? NULL : list_entry(queue->next, struct wait_node, node);
}

/* From OPEN to something else. False: somebody else was there first. */
static inline bool wait_claim(struct waiter *w, enum wait_claim to)
{
    uint32_t open = WAIT_OPEN;
    if (w->shared) /* what the winner finds, it finds by the lease or by mail; the word only decides */
        return __atomic_compare_exchange_n(&w->claim, &open, (uint32_t)to, false, __ATOMIC_ACQ_REL,
                                           __ATOMIC_ACQUIRE);
    if (w->claim != WAIT_OPEN)
        return false;
    w->claim = (uint32_t)to;
    return true;
}
static inline enum wait_claim wait_claimed(const struct waiter *w)
{
    return (enum wait_claim)__atomic_load_n(&w->claim, __ATOMIC_ACQUIRE);
}
/* Of whoever has claimed it. */
static inline void wait_set_claim(struct waiter *w, enum wait_claim to)
{
    __atomic_store_n(&w->claim, (uint32_t)to, __ATOMIC_RELEASE);
}
