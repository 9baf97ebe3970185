/* rdb_object: values to RDB bytes and back, for DUMP and RESTORE, and for the files of persistence.
 *
 * Written: RDB version 10, what Redis 7.0 writes and reads. Read: every form from version 1 to 12, but modules. Bytes from outside are checked as
 * they are read: lengths against what is left, listpacks, intsets and ziplists through and through, duplicates, NaN. */
#pragma once

#include "engine/ds/fieldmap.h"
#include "engine/ds/idtree.h"
#include "engine/ds/zset.h"
#include "engine/log/rdb.h"
#include "engine/shard/object.h"
#include "engine/shard/snapshot.h"

/* A value that no key has yet. */
struct rdb_object {
    enum obj_type type;
    enum obj_enc enc;       /* not of strings */
    struct mem_block block; /* not of strings */
    struct rdb_text text;   /* strings */
};

/* Appends the type byte and the value. w->failed: no memory. */
void rdb_save_object(struct rdb_writer *w, const struct entry *e);

/* How far a stream is written: its nodes; then of each group its waiting list, and those of its consumers. */
struct rdb_save_stream {
    struct id_at at; /* in the nodes, or in a waiting list */
    bool in_groups, in_consumer;
    uint32_t group, consumer;
};

/* The same in parts, for values that take longer than a turn of the loop. The value must not change in between. */
struct rdb_save {
    const struct entry *e;
    uint8_t kind; /* of rdb_save.c */
    size_t at;    /* bytes of a string, nodes of a list, members left of a sorted set */
    int64_t first_ms;
    struct fieldmap_iter map;
    struct zset_at zset;
    struct rdb_save_stream stream;
};
/* Type and what comes before the elements. True: that was all. */
bool rdb_save_begin(struct rdb_save *s, struct rdb_writer *w, const struct entry *e);
/* About `budget` elements, bytes of long strings counted by 64. True: done, or failed. */
bool rdb_save_some(struct rdb_save *s, struct rdb_writer *w, size_t budget);
extern const struct snapshot_ops rdb_snapshot_ops; /* rdb_snapshot.c */
/* Reads a value whose type byte was `type`, on the shard's memory and by its thresholds. False: r->out_of_memory, or the bytes are no such value;
 * nothing is left behind. */
bool rdb_load_object(struct rdb_reader *r, struct shard *s, uint8_t type, struct rdb_object *ret);
void rdb_object_free(struct rdb_reader *r, struct shard *s, struct rdb_object *o);
/* Puts it under a key that is not there. NULL: no memory; the object is still the caller's. */
struct entry *rdb_object_add(struct rdb_reader *r, struct shard *s, uint32_t db, struct span key,
                             uint64_t hash, struct rdb_object *o, int64_t expire_ms);
/* Puts it under the key, replacing what is there. NULL: no memory; the object is still the caller's. */
struct entry *rdb_object_put(struct rdb_reader *r, struct shard *s, uint32_t db, struct span key,
                             uint64_t hash, struct rdb_object *o, int64_t expire_ms);
