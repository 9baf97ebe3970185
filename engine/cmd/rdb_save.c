/* rdb_save.c: values as RDB bytes. Where in the flow: DUMP, and later snapshots -> here -> engine/log/rdb_write.c. */
#include "engine/cmd/rdb_object.h"
#include "engine/cmd/rdb_stream.h"
#include "engine/ds/hash.h"
#include "engine/ds/list_value.h"
#include "engine/ds/set.h"
#include "engine/ds/zset.h"

/* A node of LIST_QUICKLIST_2. */
enum { NODE_PLAIN = 1, NODE_PACKED = 2 };

static void save_flat(struct rdb_writer *w, enum rdb_type type, const struct mem_block *b)
{
    rdb_put_type(w, type);
    rdb_put_blob(w, span_of(b->p, b->len));
}

static void save_string(struct rdb_writer *w, const struct entry *e)
{
    char scratch[NUM_I64_CHARS];
    int64_t v;
    rdb_put_type(w, RDB_STRING);
    if (entry_int(e, &v))
        rdb_put_i64_string(w, v);
    else
        rdb_put_string(w, entry_string(e, scratch));
}

/* A packed block is a listpack without its first six bytes. */
static void save_packed_node(struct rdb_writer *w, const struct ql_block *b)
{
    size_t n = LP_HEADER_BYTES + b->len;
    uint8_t *lp = mem_alloc(w->mem, n);
    if (!lp) {
        w->failed = true;
        return;
    }
    uint32_t bytes = (uint32_t)n;
    uint16_t count = b->count < UINT16_MAX ? (uint16_t)b->count : UINT16_MAX;
    memcpy(lp, &bytes, 4);
    memcpy(lp + 4, &count, 2);
    memcpy(lp + LP_HEADER_BYTES, b->p + b->start, b->len);
    rdb_put_len(w, NODE_PACKED);
    rdb_put_blob(w, span_of(lp, n));
    mem_free(w->mem, lp, n);
}

static void save_list(struct rdb_writer *w, const struct mem_block *b, enum obj_enc enc)
{
    rdb_put_type(w, RDB_LIST_QUICKLIST_2);
    if (enc == ENC_LISTPACK) {
        rdb_put_len(w, 1);
        rdb_put_len(w, NODE_PACKED);
        rdb_put_blob(w, span_of(b->p, b->len));
        return;
    }
    struct ql_view v = ql_view((const struct quicklist *)(const void *)b->p);
    rdb_put_len(w, v.n);
    for (uint32_t i = 0; i < v.n && !w->failed; i++) {
        if (v.v[i].plain) {
            rdb_put_len(w, NODE_PLAIN);
            rdb_put_blob(w, span_of(v.v[i].p, v.v[i].len));
        } else {
            save_packed_node(w, &v.v[i]);
        }
    }
}

static void save_set(struct rdb_writer *w, const struct mem_block *b, enum obj_enc enc)
{
    if (enc == ENC_INTSET) {
        save_flat(w, RDB_SET_INTSET, b);
        return;
    }
    struct set s = {.b = *b, .mem = w->mem};
    struct set_iter it;
    struct set_member m;
    rdb_put_type(w, RDB_SET);
    rdb_put_len(w, set_count(&s));
    set_iter_init(&it, &s);
    while (set_next(&it, &m) && !w->failed)
        rdb_put_string(w, set_member_text(&m));
}

/* The highest first, as Redis does: a reader that inserts at the head never has to search. */
static void save_zset(struct rdb_writer *w, const struct mem_block *b, enum obj_enc enc)
{
    if (enc == ENC_LISTPACK) {
        save_flat(w, RDB_ZSET_LISTPACK, b);
        return;
    }
    const struct zset *z = (const struct zset *)(const void *)b->p;
    size_t n = zset_count(z);
    rdb_put_type(w, RDB_ZSET_2);
    rdb_put_len(w, n);
    struct zset_at at = zset_seek(z, n - 1);
    for (; n && !w->failed; n--, zset_prev(&at)) {
        rdb_put_string(w, zset_member_text(at.leaf->member[at.i]));
        rdb_put_double(w, at.leaf->score[at.i]);
    }
}

/* HASH_METADATA: expiries are told as their distance from the earliest one, plus 1; 0: none. */
static void save_hash_ttl(struct rdb_writer *w, const struct fieldmap *fm)
{
    struct fieldmap_iter it;
    struct fieldmap_item item;
    int64_t first = INT64_MAX;
    fieldmap_iter_init(&it, fm);
    while (fieldmap_next(&it, &item))
        if (item.expire_ms >= 0 && item.expire_ms < first)
            first = item.expire_ms;
    w->version = RDB_VERSION_HASH_TTL;
    rdb_put_type(w, RDB_HASH_METADATA);
    rdb_put_u64(w, (uint64_t)first);
    rdb_put_len(w, fieldmap_count(fm));
    fieldmap_iter_init(&it, fm);
    while (fieldmap_next(&it, &item) && !w->failed) {
        rdb_put_len(w, item.expire_ms < 0 ? 0 : (uint64_t)(item.expire_ms - first) + 1);
        rdb_put_string(w, item.field);
        rdb_put_string(w, item.value);
    }
}

static void save_hash(struct rdb_writer *w, const struct mem_block *b, enum obj_enc enc)
{
    if (enc == ENC_LISTPACK) {
        save_flat(w, RDB_HASH_LISTPACK, b);
        return;
    }
    const struct fieldmap *fm = (const struct fieldmap *)(const void *)b->p;
    if (fieldmap_ttl_fields(fm)) {
        save_hash_ttl(w, fm);
        return;
    }
    struct fieldmap_iter it;
    struct fieldmap_item item;
    rdb_put_type(w, RDB_HASH);
    rdb_put_len(w, fieldmap_count(fm));
    fieldmap_iter_init(&it, fm);
    while (fieldmap_next(&it, &item) && !w->failed) {
        rdb_put_string(w, item.field);
        rdb_put_string(w, item.value);
    }
}

void rdb_save_object(struct rdb_writer *w, const struct entry *e)
{
    enum obj_enc enc = entry_enc(e);
    if (entry_type(e) == OBJ_STRING) {
        save_string(w, e);
        return;
    }
    struct mem_block b = object_block(e);
    switch (entry_type(e)) {
    case OBJ_LIST: save_list(w, &b, enc); break;
    case OBJ_SET: save_set(w, &b, enc); break;
    case OBJ_ZSET: save_zset(w, &b, enc); break;
    case OBJ_HASH: save_hash(w, &b, enc); break;
    case OBJ_STREAM: rdb_save_stream(w, (const struct stream *)(const void *)b.p); break;
    default: w->failed = true;
    }
}
