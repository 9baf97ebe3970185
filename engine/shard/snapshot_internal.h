/* What snapshot.c (the walk, changes) and snapshot_out.c (bytes that wait to be sent) share. */
#pragma once

#include "engine/base/list.h"
#include "engine/shard/snapshot.h"

#define POSITION_SHIFT (64 - DICT_POSITION_BITS)

enum db_state { DB_AHEAD, DB_WALKING, DB_DONE };

struct snapshot_db { /* by shard_db.id */
    uint8_t number;  /* of the database at the cut */
    uint8_t state;   /* enum db_state */
    bool flushed;    /* since the cut: the walk is over what follows */
    struct dict *keys, *expires;
};

/* A large value that is to be written in parts. */
struct snapshot_large {
    struct list node; /* snapshot.wanted, gone or met; in none while it is being written */
    struct entry *e;
    uint64_t hash, bytes; /* bytes: of shard.lazy_bytes, when it is gone */
    uint8_t id;           /* of its database */
    bool wanted;          /* requests wait until it is written */
    bool gone;            /* in no dict any more: the snapshot frees it */
};

/* Early entries, whole. */
struct snapshot_block {
    struct snapshot_block *next;
    struct mem_block b;
};

struct snapshot {
    const struct snapshot_ops *ops;
    struct rdb_writer out;    /* of the walk */
    struct rdb_writer early;  /* of entries that are about to change */
    int32_t out_db, early_db; /* database that was selected last in them; -1: none */
    size_t sent;              /* of out */
    /* What was early before: follows, before `early`, when `out` stands between keys. Blocks, so that none grows by being copied. */
    struct snapshot_block *blocks, *last_block;
    uint64_t block_bytes;
    struct snapshot_db db[LIMIT_DATABASES];
    uint32_t id; /* being walked */
    uint64_t cursor;
    struct list wanted, gone,
        met; /* struct snapshot_large, in the order in which they are written */
    struct snapshot_large *current; /* being written; NULL: none */
    bool in_value;                  /* `out` ends inside it */
    bool ended, failed, muted;
    uint64_t keys, keys_early, most_bytes, answered;
    struct mem *mem;
    _Alignas(16) uint8_t state[SNAPSHOT_STATE_BYTES];
};

void snapshot_note_size(struct snapshot *sn);
/* Entries were written early, whole. */
void snapshot_early_end(struct snapshot *sn);
void snapshot_output_free(struct shard *s);
