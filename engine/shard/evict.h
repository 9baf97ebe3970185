/* evict: what a shard keeps for maxmemory: candidates of the sampling policies, the queues of S3-FIFO, its allowance for this millisecond.
 *
 *   write command -> shard_full? -> shard_make_room -> a victim by policy -> ks_evict_now
 *   shard_tick    -> evict_tick: what the commands left over
 *
 * Nothing here points at an entry in earnest: one is remembered by hash and address (or hash and number), and is looked for in the dict
 * before it is touched, so that whoever deletes, moves, flushes or swaps need not know of it. Thread: the lease holder's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct entry;
struct shard;
struct s3_block; /* 4 KB of queue or ghosts (s3fifo.c) */

#define EVICT_POOL        16 /* candidates, as in Redis */
#define EVICT_SAMPLES_MAX 64 /* of maxmemory-samples, what is drawn of a database at once */

struct evict_candidate {
    uint64_t score; /* the higher the sooner it goes */
    uint64_t hash;
    const struct entry *e; /* only compared */
    uint8_t db;            /* struct shard_db.id */
};

struct s3_queue {
    struct s3_block *head, *tail; /* records are put in at the head */
    uint32_t head_n, tail_at;     /* used of the head; taken from the tail */
    uint64_t count;               /* records, stale ones too */
};

struct s3fifo {
    bool on;
    bool adopting; /* entries that are older than the policy are being taken into the main queue */
    uint8_t adopt_db;
    uint32_t number; /* of the last record */
    uint64_t adopt_cursor;
    uint64_t sweep_at; /* records from here on: many are stale */
    struct s3_queue small, main;
    struct s3_block *spare;
    /* ghosts: hashes of what left the small queue */
    struct s3_block **ghost, *ghost_first, *ghost_last;
    uint32_t ghost_buckets;
    uint64_t ghost_for;     /* keys that it was made for */
    uint64_t ghost_time;    /* ghosts put in */
    struct s3_block *trash; /* freed in slices */
};

struct evict {
    uint32_t policy; /* that the pool is for */
    uint32_t pool_n;
    struct evict_candidate pool[EVICT_POOL]; /* by score, the best last */
    uint32_t next_db;                        /* random policies take turns */
    uint32_t allowance; /* evictions beyond a command's own, in this millisecond */
    int64_t allowance_ms;
    int64_t over_since_ms; /* -1: not over */
    uint64_t seen_bytes;   /* of the shard that stay, when eviction last looked */
    uint64_t owed_bytes;   /* written while the shard was over, and not made up for */
    struct s3fifo s3;
};

enum evict_found { EVICT_FOUND, EVICT_LATER, EVICT_NOTHING };

/* evict_tick: bounded work; returns what it did. */
size_t evict_tick(struct shard *s, size_t budget);
void evict_init(struct shard *s);
void evict_fini(struct shard *s);

/* ---- s3fifo.c ---- */

/* A new entry under the policy allkeys-s3fifo: its clock and its record. */
void s3_insert(struct shard *s, uint32_t db, uint64_t hash, struct entry *e);
/* On: begins with empty queues and adopts what is there. Off: the queues go in slices. */
void s3_switch(struct shard *s, bool on);
/* Who is to go; a bounded number of records is looked at. LATER: the bound was met; NOTHING: the queues are empty. */
enum evict_found s3_victim(struct shard *s, uint32_t *ret_db, uint64_t *ret_hash,
                           struct entry **ret);
size_t s3_tick(struct shard *s, size_t budget);
void s3_fini(struct shard *s);
