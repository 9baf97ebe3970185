/* object.c: the table of kinds of values that are not strings, and those that are one block of bytes (listpack, intset).
 *
 * Where in the flow: entry.c and lazy.c call the rows; commands put objects in place. Thread: the lease holder's. */
#include "engine/shard/object.h"

#include "engine/ds/fieldmap.h"
#include "engine/ds/quicklist.h"
#include "engine/ds/stream.h"
#include "engine/ds/zset.h"
#include "engine/shard/field_timer.h"
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

/* ---- lists beyond one listpack ---- */

static struct quicklist *quicklist_of(const struct mem_block *b)
{
    return (struct quicklist *)(void *)b->p;
}
static size_t quicklist_bytes(const struct mem_block *b)
{
    return quicklist_of(b)->bytes;
}
static size_t quicklist_pieces(const struct mem_block *b)
{
    return quicklist_of(b)->n + 1;
}
static size_t quicklist_free_slice(struct mem *mem, struct mem_block *b, size_t budget)
{
    size_t freed;
    (void)mem; /* its own, since it was told */
    if (ql_free_slice(quicklist_of(b), budget, &freed))
        b->p = NULL;
    return freed + 1;
}
static bool quicklist_copy(struct mem *mem, const struct mem_block *from, struct mem_block *ret)
{
    struct quicklist *q = ql_copy(mem, quicklist_of(from));
    if (q)
        *ret = (struct mem_block){.p = (uint8_t *)q};
    return q != NULL;
}
static void quicklist_rehome(struct mem_block *b, struct mem *mem)
{
    quicklist_of(b)->mem = mem;
}
static const struct object_ops quicklist = {quicklist_bytes, quicklist_pieces, quicklist_free_slice,
                                            quicklist_copy, quicklist_rehome};

/* ---- sets and hashes beyond an intset or a listpack ---- */

static struct fieldmap *map_of(const struct mem_block *b)
{
    return (struct fieldmap *)(void *)b->p;
}
static size_t map_ops_bytes(const struct mem_block *b)
{
    return fieldmap_bytes(map_of(b));
}
static size_t map_ops_pieces(const struct mem_block *b)
{
    return fieldmap_pieces(map_of(b));
}
static size_t map_ops_free_slice(struct mem *mem, struct mem_block *b, size_t budget)
{
    size_t work = 0;
    (void)mem; /* it knows its own */
    field_timer_drop(map_of(b));
    if (fieldmap_free_slice(map_of(b), budget, &work))
        b->p = NULL;
    return work;
}
static bool map_ops_copy(struct mem *mem, const struct mem_block *from, struct mem_block *ret)
{
    struct fieldmap *fm = fieldmap_copy(mem, map_of(from));
    if (!fm)
        return false;
    *ret = (struct mem_block){(uint8_t *)fm, 0, 0};
    return true;
}
static void map_ops_rehome(struct mem_block *b, struct mem *mem)
{
    fieldmap_rehome(map_of(b), mem);
}
static const struct object_ops map_ops = {map_ops_bytes, map_ops_pieces, map_ops_free_slice,
                                          map_ops_copy, map_ops_rehome};

/* ---- streams ---- */

static struct stream *stream_of(const struct mem_block *b)
{
    return (struct stream *)(void *)b->p;
}
static size_t stream_ops_bytes(const struct mem_block *b)
{
    return stream_bytes(stream_of(b));
}
static size_t stream_ops_pieces(const struct mem_block *b)
{
    return stream_pieces(stream_of(b));
}
static size_t stream_ops_free_slice(struct mem *mem, struct mem_block *b, size_t budget)
{
    size_t work = 0;
    (void)mem; /* it knows its own */
    if (stream_free_slice(stream_of(b), budget, &work))
        b->p = NULL;
    return work;
}
static bool stream_ops_copy(struct mem *mem, const struct mem_block *from, struct mem_block *ret)
{
    struct stream *s = stream_copy(mem, stream_of(from));
    if (!s)
        return false;
    *ret = (struct mem_block){(uint8_t *)s, 0, 0};
    return true;
}
static void stream_ops_rehome(struct mem_block *b, struct mem *mem)
{
    stream_rehome(stream_of(b), mem);
}
static const struct object_ops stream_ops = {
    stream_ops_bytes, stream_ops_pieces, stream_ops_free_slice, stream_ops_copy, stream_ops_rehome};

/* ---- the table ---- */

static const struct object_ops *const ops[OBJ_TYPES][ENC_STREAM + 1] = {
    [OBJ_LIST][ENC_LISTPACK] = &flat,       [OBJ_LIST][ENC_QUICKLIST] = &quicklist,
    [OBJ_SET][ENC_INTSET] = &flat,          [OBJ_ZSET][ENC_LISTPACK] = &flat,
    [OBJ_ZSET][ENC_SKIPLIST] = &zset_ops,   [OBJ_HASH][ENC_LISTPACK] = &flat,
    [OBJ_SET][ENC_HASHTABLE] = &map_ops,    [OBJ_HASH][ENC_HASHTABLE] = &map_ops,
    [OBJ_STREAM][ENC_STREAM] = &stream_ops,
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
