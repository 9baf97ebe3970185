/* pubsub: who of a worker's clients has subscribed to what.
 *
 *     name (channel, pattern, shard channel)  <- subscription ->  subscriber (a session)
 *
 * A name is found by its hash, a subscription by its two ends, so no operation walks a list that a client can make long but the ones that
 * answer it. Patterns are compiled: a literal beginning is compared first, and they are kept apart by its first byte.
 *
 * A worker publishes to others only what they may want: each has a filter, a bit per hashed name, that all others read.
 *
 * One per worker, on its thread; only `filter` is read by others. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/list.h"
#include "engine/base/siphash.h"
#include "engine/cmd/session.h"

enum pubsub_kind { PUBSUB_CHANNEL, PUBSUB_PATTERN, PUBSUB_SHARD, PUBSUB_KINDS };

#define PUBSUB_FILTER_BITS 16384
#define PUBSUB_FIRST_BYTES 257 /* of patterns; the last: begins with no literal */

/* What the clients of a worker may want. Writer: the worker, before it answers the SUBSCRIBE; readers: all. Who publishes after that
 * answer, in whatever order that is known, sees the bit. */
struct pubsub_filter {
    _Alignas(64) uint64_t bits[PUBSUB_FILTER_BITS / 64];
    uint64_t patterns; /* any: every channel is wanted */
};

struct pubsub_name;
struct subscription;

struct pubsub {
    struct pubsub_filter filter;
    struct siphash_key key; /* the same on all workers */
    uint32_t *filter_count; /* names behind each bit; NULL: none yet */
    struct pubsub_name **names;
    struct subscription **subs; /* both: chains, a power of two */
    size_t names_cap, names_count, subs_cap, subs_count;
    uint64_t count[PUBSUB_KINDS];  /* names of that kind */
    uint64_t *gauge[PUBSUB_KINDS]; /* where they are told, or NULL */
    struct list patterns[PUBSUB_FIRST_BYTES];
    uint32_t walking; /* pubsub_deliver is on the stack: who leaves is removed after it */
    struct list doomed;
};

void pubsub_init(struct pubsub *p, const struct siphash_key *key);
void pubsub_fini(struct pubsub *p); /* all sessions have left */

enum pubsub_status { PUBSUB_KNOWN, PUBSUB_ADDED, PUBSUB_NO_MEMORY };
enum pubsub_status pubsub_subscribe(struct pubsub *p, struct session *s, enum pubsub_kind kind,
                                    struct span name);
/* False: it was not subscribed. */
bool pubsub_unsubscribe(struct pubsub *p, struct session *s, enum pubsub_kind kind,
                        struct span name);
/* The one it has subscribed to first; false: none. Valid until it is unsubscribed. */
bool pubsub_first(const struct session *s, enum pubsub_kind kind, struct span *ret);
/* From everything: it resets, or is gone. */
void pubsub_leave(struct pubsub *p, struct session *s);
/* How many of a kind it has subscribed to. */
uint32_t pubsub_count(const struct session *s, enum pubsub_kind kind);

uint64_t pubsub_hash(const struct pubsub *p, enum pubsub_kind kind, struct span name);
/* May clients of that worker want what is published there? */
static inline bool pubsub_wanted(const struct pubsub_filter *f, enum pubsub_kind kind,
                                 uint64_t hash)
{
    uint64_t bit = hash % PUBSUB_FILTER_BITS;
    /* Relaxed: a subscriber is promised what is published after its SUBSCRIBE was answered, and that answer came here, if at all, by
     * ways that order more than this. */
    return (__atomic_load_n(&f->bits[bit / 64], __ATOMIC_RELAXED) >> (bit % 64) & 1) ||
           (kind == PUBSUB_CHANNEL && __atomic_load_n(&f->patterns, __ATOMIC_RELAXED));
}

/* `pattern`: by which it is subscribed; p NULL: by the channel itself. fn may make its own session leave. */
typedef void pubsub_fn(void *ctx, struct session *s, struct span pattern);
/* Calls fn for every subscriber: of the channel in order of subscription, then of each pattern. Returns how many. */
uint64_t pubsub_deliver(struct pubsub *p, enum pubsub_kind kind, struct span channel, uint64_t hash,
                        pubsub_fn *fn, void *ctx);
/* Calls fn with every name of the kind. */
void pubsub_each(const struct pubsub *p, enum pubsub_kind kind,
                 void (*fn)(void *ctx, struct span name), void *ctx);
/* Subscribers of a channel, without those by pattern. */
uint64_t pubsub_subscribers(const struct pubsub *p, enum pubsub_kind kind, struct span name);
