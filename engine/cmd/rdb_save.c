/* rdb_save.c: values as RDB bytes, at once or in parts. Where in the flow: DUMP and snapshots -> here -> engine/log/rdb_write.c.
 *
 * A value begins with its type and what is known of the whole; then come elements, as many as there is time for. Values that are one block of
 * bytes (listpacks, intsets, short strings) are done with their beginning. */
#include "engine/cmd/rdb_object.h"
#include "engine/cmd/rdb_stream.h"
#include "engine/ds/hash.h"
#include "engine/ds/list_value.h"
#include "engine/ds/set.h"

/* A node of LIST_QUICKLIST_2. */
enum { NODE_PLAIN = 1, NODE_PACKED = 2 };

/* What is left to do after the beginning. */
enum save_kind {
    SAVE_NOTHING,
    SAVE_STRING,
    SAVE_LIST,
    SAVE_SET,
    SAVE_ZSET,
    SAVE_HASH,
    SAVE_HASH_TTL,
    SAVE_STREAM
};

#define LONG_STRING_BYTES (64u << 10) /* from here on in parts, and not compressed */
#define BYTES_PER_ELEMENT 64

static void save_flat(struct rdb_writer *w, enum rdb_type type, const struct mem_block *b)
{
    rdb_put_type(w, type);
    rdb_put_blob(w, span_of(b->p, b->len));
}

/* ---- strings ---- */

static enum save_kind begin_string(struct rdb_save *s, struct rdb_writer *w)
{
    char scratch[NUM_I64_CHARS];
    int64_t v;
    rdb_put_type(w, RDB_STRING);
    if (entry_int(s->e, &v)) {
        rdb_put_i64_string(w, v);
        return SAVE_NOTHING;
    }
    struct span text = entry_string(s->e, scratch);
    if (text.n <= LONG_STRING_BYTES || !w->parts) {
        rdb_put_string(w, text);
        return SAVE_NOTHING;
    }
    rdb_put_len(w, text.n);
    return SAVE_STRING;
}

static bool some_string(struct rdb_save *s, struct rdb_writer *w, size_t budget)
{
    struct span text = entry_bytes_span(s->e);
    size_t n = text.n - s->at;
    if (n / BYTES_PER_ELEMENT > budget)
        n = budget * BYTES_PER_ELEMENT;
    rdb_put(w, text.p + s->at, n);
    s->at += n;
    return s->at == text.n;
}

/* ---- lists ---- */

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

static enum save_kind begin_list(struct rdb_writer *w, const struct mem_block *b, enum obj_enc enc)
{
    rdb_put_type(w, RDB_LIST_QUICKLIST_2);
    if (enc == ENC_LISTPACK) {
        rdb_put_len(w, 1);
        rdb_put_len(w, NODE_PACKED);
        rdb_put_blob(w, span_of(b->p, b->len));
        return SAVE_NOTHING;
    }
    rdb_put_len(w, ql_view((const struct quicklist *)(const void *)b->p).n);
    return SAVE_LIST;
}

static bool some_list(struct rdb_save *s, struct rdb_writer *w, size_t budget)
{
    struct ql_view v = ql_view((const struct quicklist *)object_ptr(s->e));
    for (size_t work = 0; s->at < v.n && work < budget && !w->failed; s->at++) {
        const struct ql_block *b = &v.v[s->at];
        if (b->lzf) {
            rdb_put_len(w, b->plain ? NODE_PLAIN : NODE_PACKED);
            rdb_put_lzf(w, span_of(b->p, b->start), b->len + (b->plain ? 0 : LP_HEADER_BYTES));
        } else if (b->plain) {
            rdb_put_len(w, NODE_PLAIN);
            rdb_put_blob(w, span_of(b->p, b->len));
        } else {
            save_packed_node(w, b);
        }
        work += 1 + b->len / BYTES_PER_ELEMENT;
    }
    return s->at == v.n;
}

/* ---- sets ---- */

static enum save_kind begin_set(struct rdb_save *s, struct rdb_writer *w, const struct mem_block *b,
                                enum obj_enc enc)
{
    if (enc == ENC_INTSET) {
        save_flat(w, RDB_SET_INTSET, b);
        return SAVE_NOTHING;
    }
    const struct fieldmap *fm = (const struct fieldmap *)(const void *)b->p;
    rdb_put_type(w, RDB_SET);
    rdb_put_len(w, fieldmap_count(fm));
    fieldmap_iter_init(&s->map, fm);
    return SAVE_SET;
}

static bool some_set(struct rdb_save *s, struct rdb_writer *w, size_t budget)
{
    struct fieldmap_item item;
    for (; budget && !w->failed; budget--) {
        if (!fieldmap_next(&s->map, &item))
            return true;
        rdb_put_string(w, item.field);
    }
    return false;
}

/* ---- sorted sets ---- */

/* The highest first, as Redis does: a reader that inserts at the head never has to search. */
static enum save_kind begin_zset(struct rdb_save *s, struct rdb_writer *w,
                                 const struct mem_block *b, enum obj_enc enc)
{
    if (enc == ENC_LISTPACK) {
        save_flat(w, RDB_ZSET_LISTPACK, b);
        return SAVE_NOTHING;
    }
    const struct zset *z = (const struct zset *)(const void *)b->p;
    s->at = zset_count(z);
    rdb_put_type(w, RDB_ZSET_2);
    rdb_put_len(w, s->at);
    s->zset = zset_seek(z, s->at - 1);
    return SAVE_ZSET;
}

static bool some_zset(struct rdb_save *s, struct rdb_writer *w, size_t budget)
{
    for (; s->at && budget && !w->failed; s->at--, budget--, zset_prev(&s->zset)) {
        rdb_put_string(w, zset_member_text(s->zset.leaf->member[s->zset.i]));
        rdb_put_double(w, s->zset.leaf->score[s->zset.i]);
    }
    return s->at == 0;
}

/* ---- hashes ---- */

/* HASH_METADATA: expiries are told as their distance from the earliest one, plus 1; 0: none. In parts: from a time before which there is none,
 * since looking for the earliest is a walk over the whole hash. */
static void begin_hash_ttl(struct rdb_save *s, struct rdb_writer *w, const struct fieldmap *fm)
{
    struct fieldmap_item item;
    int64_t first = INT64_MAX;
    fieldmap_iter_init(&s->map, fm);
    if (w->parts)
        first = fieldmap_next_due(fm);
    while (!w->parts && fieldmap_next(&s->map, &item))
        if (item.expire_ms >= 0 && item.expire_ms < first)
            first = item.expire_ms;
    w->version = RDB_VERSION_HASH_TTL;
    rdb_put_type(w, RDB_HASH_METADATA);
    rdb_put_u64(w, (uint64_t)first);
    s->first_ms = first;
}

static enum save_kind begin_hash(struct rdb_save *s, struct rdb_writer *w,
                                 const struct mem_block *b, enum obj_enc enc)
{
    if (enc == ENC_LISTPACK) {
        save_flat(w, RDB_HASH_LISTPACK, b);
        return SAVE_NOTHING;
    }
    const struct fieldmap *fm = (const struct fieldmap *)(const void *)b->p;
    bool ttl = fieldmap_ttl_fields(fm) != 0;
    if (ttl)
        begin_hash_ttl(s, w, fm);
    else
        rdb_put_type(w, RDB_HASH);
    rdb_put_len(w, fieldmap_count(fm));
    fieldmap_iter_init(&s->map, fm);
    return ttl ? SAVE_HASH_TTL : SAVE_HASH;
}

static bool some_hash(struct rdb_save *s, struct rdb_writer *w, size_t budget)
{
    struct fieldmap_item item;
    for (; budget && !w->failed; budget--) {
        if (!fieldmap_next(&s->map, &item))
            return true;
        if (s->kind == SAVE_HASH_TTL)
            rdb_put_len(w, item.expire_ms < 0 ? 0 : (uint64_t)(item.expire_ms - s->first_ms) + 1);
        rdb_put_string(w, item.field);
        rdb_put_string(w, item.value);
    }
    return false;
}

/* ---- all types ---- */

bool rdb_save_begin(struct rdb_save *s, struct rdb_writer *w, const struct entry *e)
{
    enum obj_enc enc = entry_enc(e);
    *s = (struct rdb_save){.e = e};
    struct mem_block b = {0};
    if (entry_type(e) != OBJ_STRING)
        b = object_block(e);
    switch (entry_type(e)) {
    case OBJ_STRING: s->kind = begin_string(s, w); break;
    case OBJ_LIST: s->kind = begin_list(w, &b, enc); break;
    case OBJ_SET: s->kind = begin_set(s, w, &b, enc); break;
    case OBJ_ZSET: s->kind = begin_zset(s, w, &b, enc); break;
    case OBJ_HASH: s->kind = begin_hash(s, w, &b, enc); break;
    case OBJ_STREAM:
        rdb_save_stream_begin(w, (const struct stream *)(const void *)b.p, &s->stream);
        s->kind = SAVE_STREAM;
        break;
    default: w->failed = true;
    }
    return w->failed || s->kind == SAVE_NOTHING;
}

bool rdb_save_some(struct rdb_save *s, struct rdb_writer *w, size_t budget)
{
    bool done = true;
    switch (s->kind) {
    case SAVE_STRING: done = some_string(s, w, budget); break;
    case SAVE_LIST: done = some_list(s, w, budget); break;
    case SAVE_SET: done = some_set(s, w, budget); break;
    case SAVE_ZSET: done = some_zset(s, w, budget); break;
    case SAVE_HASH:
    case SAVE_HASH_TTL: done = some_hash(s, w, budget); break;
    case SAVE_STREAM:
        done = rdb_save_stream_some(w, (const struct stream *)object_ptr(s->e), &s->stream, budget);
        break;
    default: break;
    }
    return w->failed || done;
}

void rdb_save_object(struct rdb_writer *w, const struct entry *e)
{
    struct rdb_save s;
    if (!rdb_save_begin(&s, w, e))
        rdb_save_some(&s, w, SIZE_MAX);
}
