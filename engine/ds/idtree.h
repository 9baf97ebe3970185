/* idtree: records in the order of 128-bit ids: a B+tree whose leaves hold the records themselves.
 *
 *   inner [ (least id, child) x 42 ]  -> ... ->  leaf <-> leaf <-> leaf       leaf: [ prev next n cap | record record ... ]
 *
 * A record is `width` bytes and begins with its id; what follows is its owner's. Ids mostly come in ascending order: an append writes
 * behind the last record, and leaves and inner nodes that are split at their end stay full. A leaf that is alone is as large as it must be. A node that
 * lost most of what it had is joined with its neighbour.
 * Records move when others are added or removed: a pointer to one is good until the next change. Every block is counted in
 * struct mem_count, which is the owner's. Functions that add return NULL when there is no memory and have changed nothing then.
 * Used by streams: nodes by their first id, entries that wait for an acknowledgement. Thread: the lease holder's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/mem.h"

struct stream_id {
    uint64_t ms, seq;
};
#define STREAM_ID_MIN ((struct stream_id){0, 0})
#define STREAM_ID_MAX ((struct stream_id){UINT64_MAX, UINT64_MAX})

static inline int stream_id_cmp(struct stream_id a, struct stream_id b)
{
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    return a.seq < b.seq ? -1 : a.seq > b.seq;
}
static inline bool stream_id_less(struct stream_id a, struct stream_id b)
{
    return a.ms < b.ms || (a.ms == b.ms && a.seq < b.seq);
}
static inline bool stream_id_is_zero(struct stream_id a)
{
    return (a.ms | a.seq) == 0;
}
/* The next one, the one before. False: there is none, and *id is what comes behind it in a circle. */
static inline bool stream_id_incr(struct stream_id *id)
{
    id->ms += ++id->seq == 0;
    return (id->ms | id->seq) != 0;
}
static inline bool stream_id_decr(struct stream_id *id)
{
    bool there = (id->ms | id->seq) != 0;
    id->ms -= id->seq-- == 0;
    return there;
}

/* ---- memory with an account ---- */

struct mem_count {
    struct mem *mem;
    size_t bytes; /* size classes of all blocks */
};
void *mem_count_alloc(struct mem_count *m, size_t n);
/* As mem_realloc: on failure the old block stands. */
void *mem_count_realloc(struct mem_count *m, void *p, size_t old_n, size_t n);
void mem_count_free(struct mem_count *m, void *p, size_t n);

/* ---- the tree ---- */

struct id_leaf {
    struct id_leaf *prev, *next;
    uint32_t n, cap;
    uint8_t v[];
};

struct idtree {
    void *root; /* NULL: empty; a leaf while height is 0 */
    struct id_leaf *first, *last;
    uint64_t count;
    uint32_t width, height;
};

/* A record. leaf NULL: none. */
struct id_at {
    struct id_leaf *leaf;
    uint32_t i;
};

/* An empty one, without a block. */
static inline struct idtree idtree_empty(uint32_t width)
{
    return (struct idtree){.width = width};
}
/* Frees about `budget` leaves; true when nothing is left. */
bool idtree_free_slice(struct mem_count *m, struct idtree *t, size_t budget, size_t *freed);
/* `ret` has its width and is empty. False: no memory, and it is empty still. */
bool idtree_copy(struct mem_count *m, struct idtree *ret, const struct idtree *from);

/* The record of that id; a new one is zeros behind its id. NULL: no memory. */
void *idtree_insert(struct mem_count *m, struct idtree *t, struct stream_id id, bool *is_new);
/* A new record behind all others: id is greater than theirs. */
void *idtree_append(struct mem_count *m, struct idtree *t, struct stream_id id);
/* False: there is none. Never fails. */
bool idtree_remove(struct mem_count *m, struct idtree *t, struct stream_id id);
/* Where leaves go that are left to be freed later. */
struct id_gone {
    struct mem_count *m; /* their bytes are its from then on */
    struct idtree *t;    /* was empty, as wide; all that may be done with it is idtree_free_slice */
};
/* Removes all that `ids` has, a leaf at a time. gone NULL: leaves that became empty are freed. Never fails. */
void idtree_subtract(struct mem_count *m, struct idtree *t, const struct idtree *ids,
                     const struct id_gone *gone);
/* The last one of a tree that is not empty. */
void idtree_drop_last(struct mem_count *m, struct idtree *t);

void *idtree_find(const struct idtree *t, struct stream_id id);
/* The first record whose id is not less; the last one whose id is not greater. */
struct id_at idtree_seek(const struct idtree *t, struct stream_id id);
struct id_at idtree_seek_back(const struct idtree *t, struct stream_id id);

static inline void *idtree_record(const struct idtree *t, struct id_at at)
{
    return at.leaf->v + (size_t)at.i * t->width;
}
static inline struct id_at idtree_first(const struct idtree *t)
{
    return (struct id_at){t->first, 0};
}
static inline struct id_at idtree_last(const struct idtree *t)
{
    return (struct id_at){t->last, t->last ? t->last->n - 1 : 0};
}
static inline struct id_at idtree_next(struct id_at at)
{
    if (++at.i < at.leaf->n)
        return at;
    return (struct id_at){at.leaf->next, 0};
}
static inline struct id_at idtree_prev(struct id_at at)
{
    if (at.i-- > 0)
        return at;
    return (struct id_at){at.leaf->prev, at.leaf->prev ? at.leaf->prev->n - 1 : 0};
}
/* What its blocks take: goes to each of them. */
size_t idtree_bytes(const struct idtree *t);
/* Leaves, as an estimate. */
static inline size_t idtree_pieces(const struct idtree *t)
{
    return t->count / 32 + (t->count != 0);
}
