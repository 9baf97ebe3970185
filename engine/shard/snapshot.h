/* snapshot: the state of a shard at one moment as RDB bytes, made while the shard goes on being changed.
 *
 *   cut       snapshot_begin: nothing is copied
 *   slices    snapshot_step walks the databases in the order of hashes, one place of the dict a call, a part of a large value a call
 *   first     who is about to change or remove an entry that the walk has not met calls snapshot_touch: it is written down as it is now
 *
 *   hash order of a database:   | written ........ cursor | still as at the cut, but for ENTRY_SAVED |
 *
 * ENTRY_SAVED, on entries behind the cursor only: it was written early, or is younger than the cut; the walk takes the bit away and goes on. So no entry
 * has it between snapshots. A database that is flushed gives its entries to the snapshot, which frees them when it has met them.
 *
 * A large value (ENTRY_PENDING) is written in parts, and a change has to wait until it is: who knows before what he will change asks
 * snapshot_wants, and comes again. One that leaves whole (DEL, expiry, eviction, SET) becomes the snapshot's, which frees it when it is written.
 * Who changes one without having asked has the rest of it written at once.
 *
 * The bytes wait in a block until the worker has sent them (snapshot_output); a new snapshot_step is made when few wait, so only early entries make
 * it grow. Positions: engine/ds/dict.h. Thread: the lease holder's. */
#pragma once

#include "engine/base/assert.h"
#include "engine/log/rdb_file.h"
#include "engine/shard/entry_inline.h"
#include "engine/shard/held.h"
#include "engine/shard/shard.h"

#define SNAPSHOT_STATE_BYTES 256

/* How values become bytes (engine/cmd/rdb_object.h, which this layer does not know). */
struct snapshot_ops {
    bool (*begin)(void *state, struct rdb_writer *w, const struct entry *e); /* true: done */
    bool (*some)(void *state, struct rdb_writer *w, size_t budget);          /* true: done */
};

struct snapshot_facts { /* of the cut */
    uint64_t keys[LIMIT_DATABASES], expires[LIMIT_DATABASES];
    uint32_t version; /* of the format that its values need */
};

/* 0; -EBUSY: one is going on; -ENOMEM. */
int snapshot_begin(struct shard *s, const struct snapshot_ops *ops, bool compress,
                   struct snapshot_facts *ret);
/* A little of the walk. False: it is at its end. */
bool snapshot_step(struct shard *s);
/* What waits to be sent; whole keys when `*ret_whole`, and nothing more of it then has to follow. */
struct span snapshot_output(struct shard *s, bool *ret_whole);
void snapshot_sent(struct shard *s, size_t n);
/* At its end, and all was sent. */
bool snapshot_done(const struct shard *s);
bool snapshot_failed(const struct shard *s); /* no memory, or more waited than may */
/* Nobody wants it any more: what is left of the walk only tidies up. */
void snapshot_give_up(struct shard *s);
bool snapshot_given_up(const struct shard *s);
/* Keys written, and of them early; the most bytes that have waited. */
void snapshot_counts(const struct shard *s, uint64_t *ret_keys, uint64_t *ret_early,
                     uint64_t *ret_most_bytes);
/* Requests wait for a value: it is written even if nothing is being sent. */
bool snapshot_awaited(const struct shard *s);
/* How many values that were wanted have been written. */
uint64_t snapshot_answered(const struct shard *s);
/* When it is done or failed or at its end: forgets it. Not at its end (shard_fini): everything at once. */
void snapshot_end(struct shard *s);

/* ---- for keyspace*.c ---- */

void snapshot_touch_now(struct shard *s, uint32_t db, uint64_t hash, struct entry *e);
bool snapshot_takes_now(struct shard *s, uint32_t db, uint64_t hash, struct entry *e);
bool snapshot_wants_now(struct shard *s, uint32_t db, uint64_t hash, struct entry *e);
void snapshot_born_now(struct shard *s, uint32_t db, uint64_t hash, struct entry *e);
/* The dicts of a database that is being flushed become the snapshot's. False: it has no use for them. */
bool snapshot_keeps(struct shard *s, uint32_t db, struct dict *keys, struct dict *expires);

/* e is about to change or leave. */
static inline void snapshot_touch(struct shard *s, uint32_t db, uint64_t hash, struct entry *e)
{
    if (unlikely_(s->snapshot != NULL))
        snapshot_touch_now(s, db, hash, e);
    held_touch(s, e);
}
/* e leaves, whole. True: the snapshot frees it, value and entry. */
static inline bool snapshot_takes(struct shard *s, uint32_t db, uint64_t hash, struct entry *e)
{
    held_touch(s, e);
    return unlikely_(s->snapshot != NULL) && snapshot_takes_now(s, db, hash, e);
}
/* Must a change of e wait? Then its value is written next, and counted by snapshot_answered when it is. */
static inline bool snapshot_wants(struct shard *s, uint32_t db, uint64_t hash, struct entry *e)
{
    return unlikely_(s->snapshot != NULL) && snapshot_wants_now(s, db, hash, e);
}
/* How a request changes a value. */
enum snapshot_change {
    CHANGE_READS, /* not, but for a hash whose fields are due */
    CHANGE_WRITES,
    CHANGE_REPLACES, /* it leaves whole: only a long reply of it waits (held.h) */
};
/* The same of the entry of a key, also of long replies. */
bool snapshot_wants_key(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                        enum snapshot_change change);
/* Somebody wants to know before entries change. */
static inline bool snapshot_watches(const struct shard *s)
{
    return s->snapshot || s->held_count;
}
/* e is new. */
static inline void snapshot_born(struct shard *s, uint32_t db, uint64_t hash, struct entry *e)
{
    if (unlikely_(s->snapshot != NULL))
        snapshot_born_now(s, db, hash, e);
}
