/* watch: keys whose changes somebody wants to know of later (WATCH).
 *
 * A shard keeps one record for each watched (database, key), with a version that every change moves on and a count of those who look.
 * Who watches remembers the record and the version it saw; the two are compared under the shard's lease. A record stays where it is
 * while it is watched, so a reference is good on any worker, but only the lease holder looks behind it. Without records nothing here is
 * told of any change. Thread: the lease holder's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"

struct shard;
struct watch;

/* What a client remembers of a key it watches. */
struct watch_ref {
    struct watch *watch;
    uint64_t version;
};

/* Of a shard. */
struct watch_table {
    struct watch **buckets; /* chains; a power of two of them, or none */
    uint32_t cap, count;
    uint64_t clock; /* the last version given */
};

/* Watches the key from now on: one more reference. False: no memory. A key whose time has passed is removed first: nobody sees it. */
bool watch_take(struct shard *s, uint32_t db, struct span key, struct watch_ref *ret);
/* Whether the key has changed since; that its time has passed is a change. */
bool watch_changed(struct shard *s, struct watch_ref r);
/* Gives one reference back. */
void watch_release(struct shard *s, struct watch *w);
/* What a reference takes of memory, for the account of who holds it. */
static inline uint64_t watch_bytes(struct span key)
{
    return 64 + key.n;
}

/* From listen.c and keyspace.c, while s->listen has LISTEN_WATCH. */
void watch_tell(struct shard *s, uint32_t db, struct span key);
/* Before databases a and b change places; a == b: before a is emptied. Keys that are not there before and after have not changed. */
void watch_tell_db(struct shard *s, uint32_t a, uint32_t b);
void watch_fini(struct shard *s);
