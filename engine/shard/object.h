/* object: a value that is no string: the bytes of a listpack or an intset, or a structure of engine/ds.
 *
 *   entry -> struct mem_block { p, len, cap }
 *     listpack, intset   p: the bytes, len of them in use, cap asked of mem
 *     structures         p: the structure (struct quicklist *, ...), whose own memory it accounts for; len 0, cap 0
 *
 * What every kind can do (be freed in slices, copied, measured, change hands) is a row of struct object_ops, found by type and encoding in
 * object.c: the only place that lists them all. Thread: the lease holder's. */
#pragma once

#include "engine/shard/entry_inline.h"
#include "engine/shard/shard.h"

/* A value of more pieces than this is freed in slices, whoever drops it: DEL, UNLINK, expiry, eviction, overwriting, FLUSHALL. */
#define OBJECT_FREE_NOW_PIECES 64

struct object_ops {
    /* All bytes it takes, each block rounded up to its size class: exactly what mem counts for it. */
    size_t (*bytes)(const struct mem_block *b);
    /* Blocks it consists of, as an estimate that costs nothing: the work of freeing it. */
    size_t (*pieces)(const struct mem_block *b);
    /* Frees about `budget` pieces; b->p becomes NULL when nothing is left. Returns the pieces freed. Nobody reads b in between. */
    size_t (*free_slice)(struct mem *mem, struct mem_block *b, size_t budget);
    /* A deep copy on `mem`. False: no memory, nothing is left behind. */
    bool (*copy)(struct mem *mem, const struct mem_block *from, struct mem_block *ret);
    /* The value belongs to `mem` from now on; what it points at may be told so. The bytes are moved to the other account by the caller. */
    void (*rehome)(struct mem_block *b, struct mem *mem);
};
/* NULL: strings, and what does not exist. */
const struct object_ops *object_ops_of(enum obj_type type, enum obj_enc enc);

/* The block of a value that is no string. */
static inline struct mem_block object_block(const struct entry *e)
{
    return entry_get_block(e);
}
static inline void *object_ptr(const struct entry *e)
{
    return entry_get_block(e).p;
}

/* Puts an object under the key, replacing whatever was there (ks_set says what of expiry). The block is taken over. NULL: no memory, the old
 * value stands and the block is still the caller's. Does not call ks_changed. */
struct entry *ks_set_object(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                            enum obj_type type, enum obj_enc enc, const struct mem_block *b,
                            int64_t expire_ms);
/* The same of a key that is not there, as who asks has made sure. */
struct entry *ks_add_object(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                            enum obj_type type, enum obj_enc enc, const struct mem_block *b,
                            int64_t expire_ms);
/* The object of e, which stays where it is, has another encoding or other memory now. What was there before is the caller's. */
void object_update(struct entry *e, enum obj_enc enc, const struct mem_block *b);
/* The same encoding, other memory. */
static inline void object_set_block(struct entry *e, const struct mem_block *b)
{
    memcpy(entry_value(e), b, sizeof(*b));
}
/* An object that hangs on no key any more: freed now when it is small, otherwise in slices. */
void object_drop(struct shard *s, enum obj_type type, enum obj_enc enc, const struct mem_block *b);
