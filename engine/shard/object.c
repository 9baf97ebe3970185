/* object.c: the table of kinds of values that are not strings, and those that are one block of bytes (listpack, intset).
 *
 * Where in the flow: entry.c and lazy.c call the rows; commands put objects in place. Thread: the lease holder's. */
#include "engine/shard/object.h"

#include "engine/ds/zset.h"
#include "engine/shard/shard_internal.h"

/* ---- one block of bytes ---- */

static size_t flat_bytes(const struct mem_block *b)
{
    return mem_size_class(b->cap);
}
static size_t flat_pieces(const struct mem_block *b)
{
    (void)b;
    return 1;
}
static size_t flat_free_slice(struct mem *mem, struct mem_block *b, size_t budget)
{
    (void)budget;
    mem_free(mem, b->p, b->cap);
    b->p = NULL;
    return 1;
}
static bool flat_copy(struct mem *mem, const struct mem_block *from, struct mem_block *ret)
{
    uint8_t *p = mem_alloc(mem, from->len);
    if (!p)
        return false;
    memcpy(p, from->p, from->len);
    *ret = (struct mem_block){p, from->len, from->len};
    return true;
}
static void flat_rehome(struct mem_block *b, struct mem *mem)
{
    (void)b;
    (void)mem;
}
static const struct object_ops flat = {flat_bytes, flat_pieces, flat_free_slice, flat_copy,
                                       flat_rehome};

/* ---- sorted sets ---- */

static size_t zset_ops_bytes(const struct mem_block *b)
{
    return zset_bytes((const struct zset *)(const void *)b->p);
}
static size_t zset_ops_pieces(const struct mem_block *b)
{
    return zset_pieces((const struct zset *)(const void *)b->p);
}
static size_t zset_ops_free_slice(struct mem *mem, struct mem_block *b, size_t budget)
{
    bool done;
    size_t work = zset_free_slice((struct zset *)(void *)b->p, budget, &done);
    (void)mem; /* it knows its own */
    if (done)
        b->p = NULL;
    return work;
}
static bool zset_ops_copy(struct mem *mem, const struct mem_block *from, struct mem_block *ret)
{
    struct zset *z = zset_copy(mem, (const struct zset *)(const void *)from->p);
    if (!z)
        return false;
    *ret = (struct mem_block){(uint8_t *)z, 0, 0};
    return true;
}
static void zset_ops_rehome(struct mem_block *b, struct mem *mem)
{
    zset_rehome((struct zset *)(void *)b->p, mem);
}
static const struct object_ops zset_ops = {zset_ops_bytes, zset_ops_pieces, zset_ops_free_slice,
                                           zset_ops_copy, zset_ops_rehome};

/* ---- the table ---- */

static const struct object_ops *const ops[OBJ_TYPES][ENC_STREAM + 1] = {
    [OBJ_LIST][ENC_LISTPACK] = &flat, [OBJ_SET][ENC_INTSET] = &flat,
    [OBJ_ZSET][ENC_LISTPACK] = &flat, [OBJ_ZSET][ENC_SKIPLIST] = &zset_ops,
    [OBJ_HASH][ENC_LISTPACK] = &flat,
};

const struct object_ops *object_ops_of(enum obj_type type, enum obj_enc enc)
{
    return (unsigned)type < OBJ_TYPES && (unsigned)enc <= ENC_STREAM ? ops[type][enc] : NULL;
}

void object_update(struct entry *e, enum obj_enc enc, const struct mem_block *b)
{
    struct value v = {.type = entry_type_fast(e), .enc = enc, .has_block = true, .block = *b};
    entry_put_value(e, &v);
}
