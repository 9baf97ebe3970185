/* rdb_load.c: values out of RDB bytes. Where in the flow: RESTORE, and later recovery -> here -> engine/log/rdb_read.c.
 *
 * Each type has a builder that takes one element after the other, whatever form they came in; packed forms that are already as we keep them are
 * checked and taken as they are. An empty collection, a duplicate or a NaN is an error, as in Redis. */
#include <math.h>

#include "engine/cmd/rdb_object.h"
#include "engine/cmd/rdb_packed.h"
#include "engine/cmd/rdb_row.h"
#include "engine/cmd/rdb_stream.h"
#include "engine/cmd/zset_value.h"
#include "engine/ds/hash.h"
#include "engine/ds/list_value.h"
#include "engine/ds/set.h"

/* More elements than of this size would not be all different: no room is made for what an input only claims. */
#define ELEMENT_BYTES_LEAST 3

/* Where an object is being made. `failed` of the reader ends it. */
struct load {
    struct rdb_reader *r;
    struct shard *s;
    struct rdb_object *ret;
};

static bool bad(struct load *l)
{
    l->r->failed = true;
    return false;
}
static bool no_memory(struct load *l)
{
    l->r->out_of_memory = true;
    return bad(l);
}

/* Of n elements of so many texts each, which are all that is left to read: what takes ELEMENT_BYTES_LEAST each at least. */
static void reserve(struct load *l, struct fieldmap *fm, uint64_t n, size_t texts)
{
    size_t left = rdb_left(l->r);
    if (n <= left / ELEMENT_BYTES_LEAST)
        fieldmap_reserve(fm, n, left - n * texts);
}

static struct span value_text(struct lp_value v, char *scratch)
{
    return v.text.p ? v.text : span_of(scratch, num_format_i64(scratch, v.number));
}

/* One after the other out of a listpack, ziplist or zipmap. */
typedef bool feed_fn(void *ctx, struct span text);

static bool feed_listpack(struct load *l, struct span b, feed_fn *fn, void *ctx)
{
    struct mem_block lp = {(uint8_t *)(uintptr_t)b.p, b.n, b.n};
    char scratch[NUM_I64_CHARS];
    if (!lp_valid(b.p, b.n))
        return bad(l);
    for (const uint8_t *at = lp_first(&lp); at; at = lp_next(&lp, at))
        if (!fn(ctx, value_text(lp_get(at), scratch)))
            return false;
    return true;
}

static bool feed_row(struct load *l, struct rdb_row *row, feed_fn *fn, void *ctx)
{
    struct lp_value v;
    char scratch[NUM_I64_CHARS];
    while (rdb_row_next(row, &v))
        if (!fn(ctx, value_text(v, scratch)))
            return false;
    return !row->failed || bad(l);
}

/* A blob that holds a listpack, a ziplist or a zipmap. */
static bool feed_blob(struct load *l, uint8_t type, feed_fn *fn, void *ctx)
{
    struct rdb_text t;
    struct rdb_row row;
    bool good;
    if (!rdb_get_string(l->r, &t))
        return false;
    switch (type) {
    case RDB_LIST_ZIPLIST:
    case RDB_ZSET_ZIPLIST:
    case RDB_HASH_ZIPLIST:
        good = (rdb_row_ziplist(&row, t.s) || bad(l)) && feed_row(l, &row, fn, ctx);
        break;
    case RDB_HASH_ZIPMAP:
        good = (rdb_row_zipmap(&row, t.s) || bad(l)) && feed_row(l, &row, fn, ctx);
        break;
    default: good = feed_listpack(l, t.s, fn, ctx);
    }
    rdb_text_free(l->r, &t);
    return good;
}

/* n strings. */
static bool feed_strings(struct load *l, uint64_t n, feed_fn *fn, void *ctx)
{
    bool good = true;
    for (; n && good; n--) {
        struct rdb_text t;
        if (!rdb_get_string(l->r, &t))
            return false;
        good = fn(ctx, t.s);
        rdb_text_free(l->r, &t);
    }
    return good;
}

/* ---- lists ---- */

struct list_load {
    struct load *l;
    struct list_value list;
};

static bool list_add(void *ctx, struct span text)
{
    struct list_load *b = ctx;
    if (!lv_push(&b->list, true, text))
        return no_memory(b->l);
    lv_shape(&b->list);
    return true;
}

/* A node that is a block of ours. False: it is not, or there is no memory; nothing is read. */
static bool list_take_node(struct list_load *b)
{
    struct rdb_reader before = *b->l->r;
    struct quicklist *q = lv_ql(&b->list);
    struct rdb_packed want = {q->block_bytes, q->block_elements, SIZE_MAX, false, false};
    struct mem_block lp;
    if (!rdb_take_packed(b->l->r, &want, &lp))
        return false;
    if (ql_push_listpack(q, &lp)) {
        ql_shape(q);
        return true;
    }
    mem_free(q->mem, lp.p, lp.cap);
    *b->l->r = before;
    return false;
}

static bool list_node(struct list_load *b, uint8_t type)
{
    uint64_t container = type == RDB_LIST_QUICKLIST_2 ? rdb_get_len(b->l->r) : 2;
    if (container == 1)
        return feed_strings(b->l, 1, list_add, b);
    if (container != 2)
        return bad(b->l);
    if (type == RDB_LIST_QUICKLIST_2 && b->list.quick && list_take_node(b))
        return true;
    return feed_blob(b->l, type == RDB_LIST_QUICKLIST ? RDB_LIST_ZIPLIST : RDB_HASH_LISTPACK,
                     list_add, b);
}

/* One node that is a short list of ours. False: it is not; nothing is read. */
static bool take_short_list(struct load *l)
{
    struct rdb_reader before = *l->r;
    int64_t fill = l->s->config->list_max_listpack_size;
    struct rdb_packed want = {LIST_FLAT_BYTES, fill < 0 ? SIZE_MAX : (size_t)fill, SIZE_MAX, false,
                              false};
    l->ret->enc = ENC_LISTPACK;
    uint64_t nodes = rdb_get_len(l->r), kind = rdb_get_len(l->r);
    if (nodes == 1 && kind == 2 && rdb_take_packed(l->r, &want, &l->ret->block))
        return true;
    *l->r = before;
    return false;
}

static bool load_list(struct load *l, uint8_t type)
{
    struct list_load b = {.l = l};
    struct ql_limits limits = {l->s->config->list_max_listpack_size,
                               l->s->config->list_compress_depth};
    if (type == RDB_LIST_QUICKLIST_2 && take_short_list(l))
        return true;
    if (!lv_init(&b.list, &l->s->mem, &limits, NULL, 0))
        return no_memory(l);
    bool good = true;
    if (type == RDB_LIST_ZIPLIST) {
        good = feed_blob(l, type, list_add, &b);
    } else {
        uint64_t n = rdb_get_count(l->r, 1);
        if (type == RDB_LIST)
            good = feed_strings(l, n, list_add, &b);
        else
            for (; n && good; n--)
                good = list_node(&b, type);
    }
    if (!good || l->r->failed || lv_count(&b.list) == 0) {
        lv_free(&b.list);
        return bad(l);
    }
    l->ret->enc = b.list.quick ? ENC_QUICKLIST : ENC_LISTPACK;
    l->ret->block = b.list.b;
    return true;
}

/* ---- sets ---- */

struct set_load {
    struct load *l;
    struct set set;
};

static bool set_load_add(void *ctx, struct span text)
{
    struct set_load *b = ctx;
    switch (set_add(&b->set, text)) {
    case SET_NEW: return true;
    case SET_THERE: return bad(b->l);
    default: return no_memory(b->l);
    }
}

static bool feed_intset(struct load *l, struct set_load *b)
{
    struct rdb_text t;
    char scratch[NUM_I64_CHARS];
    if (!rdb_get_string(l->r, &t))
        return false;
    bool good = intset_valid(t.s.p, t.s.n) || bad(l);
    struct mem_block is = {(uint8_t *)(uintptr_t)t.s.p, t.s.n, t.s.n};
    for (size_t i = 0; good && i < intset_count(&is); i++)
        good = set_load_add(b, span_of(scratch, num_format_i64(scratch, intset_get(&is, i))));
    rdb_text_free(l->r, &t);
    return good;
}

/* The next string; it is not read. */
static bool begins_with_int(struct load *l)
{
    struct rdb_reader peek = *l->r;
    struct rdb_text t;
    int64_t v;
    if (!rdb_get_string(&peek, &t))
        return false; /* whoever reads it says so */
    bool is_int = num_parse_i64(t.s, &v);
    rdb_text_free(&peek, &t);
    return is_int;
}

static bool load_set(struct load *l, uint8_t type)
{
    struct set_load b = {.l = l};
    uint64_t most = l->s->config->set_max_intset_entries, n = 0;
    b.set = (struct set){.mem = &l->s->mem,
                         .key = &l->s->hash_key,
                         .max_ints = most < INTSET_MAX ? (size_t)most : INTSET_MAX};
    if (type == RDB_SET_INTSET && rdb_take_intset(l->r, b.set.max_ints, &l->ret->block)) {
        l->ret->enc = ENC_INTSET;
        return true;
    }
    if (type == RDB_SET)
        n = rdb_get_count(l->r, 1);
    if (l->r->failed || !set_init(&b.set, n <= most && (type != RDB_SET || begins_with_int(l))))
        return l->r->failed ? false : no_memory(l);
    if (!set_is_ints(&b.set))
        reserve(l, set_map(&b.set), n, 1);
    bool good = type == RDB_SET          ? feed_strings(l, n, set_load_add, &b)
                : type == RDB_SET_INTSET ? feed_intset(l, &b)
                                         : feed_blob(l, type, set_load_add, &b);
    if (!good || l->r->failed || set_count(&b.set) == 0) {
        set_free(&b.set);
        return bad(l);
    }
    l->ret->enc = set_is_ints(&b.set) ? ENC_INTSET : ENC_HASHTABLE;
    l->ret->block = b.set.b;
    return true;
}

/* ---- sorted sets ---- */

struct zset_load {
    struct load *l;
    struct zval v;
    struct rdb_text member; /* of a packed form: waits for its score */
    bool has_member;
    size_t longest;
};

static bool zset_load_add(struct zset_load *b, struct span member, double score)
{
    double old;
    if (isnan(score) || zval_score(&b->v, member, &old))
        return bad(b->l);
    if (member.n > b->longest)
        b->longest = member.n;
    return zval_add(&b->v, score, member) || no_memory(b->l);
}

/* Until the next text of the same packed block comes: borrowed from the block, but for numbers, which are in the scratch space of the feeder. */
static void keep_text(struct rdb_text *t, struct span text)
{
    *t = (struct rdb_text){.s = text};
    if (text.n < sizeof(t->number)) {
        memcpy(t->number, text.p, text.n);
        t->s = span_of(t->number, text.n);
    }
}

/* Member, score, member, score ... */
static bool zset_feed(void *ctx, struct span text)
{
    struct zset_load *b = ctx;
    struct rdb_text *m = &b->member;
    double score;
    if (!b->has_member) {
        keep_text(m, text);
        b->has_member = true;
        return true;
    }
    b->has_member = false;
    return (num_parse_double(text, &score) || bad(b->l)) && zset_load_add(b, m->s, score);
}

static bool zset_stage_pair(struct zset_load *b, struct span member, double score)
{
    bool there = false;
    if (isnan(score))
        return bad(b->l);
    if (member.n > b->longest)
        b->longest = member.n;
    if (zset_stage_new(b->v.z, score, member, &there))
        return true;
    return there ? bad(b->l) : no_memory(b->l);
}

static bool zset_pairs(struct zset_load *b, uint8_t type, uint64_t n)
{
    bool good = true;
    for (; n && good; n--) {
        struct rdb_text t;
        if (!rdb_get_string(b->l->r, &t))
            return false;
        double score = type == RDB_ZSET_2 ? rdb_get_double(b->l->r) : rdb_get_old_double(b->l->r);
        good = !b->l->r->failed && zset_stage_pair(b, t.s, score);
        rdb_text_free(b->l->r, &t);
    }
    return good && (zset_settle(b->v.z) || no_memory(b->l));
}

static bool load_zset(struct load *l, uint8_t type)
{
    struct zset_load b = {.l = l};
    bool packed = type == RDB_ZSET_ZIPLIST || type == RDB_ZSET_LISTPACK;
    const struct engine_config *cfg = l->s->config;
    struct rdb_packed want = {LP_BYTES_MAX, cfg->zset_max_listpack_entries * 2,
                              cfg->zset_max_listpack_value, true, true};
    l->ret->enc = ENC_LISTPACK;
    if (type == RDB_ZSET_LISTPACK && rdb_take_packed(l->r, &want, &l->ret->block))
        return true;
    uint64_t n = packed ? 0 : rdb_get_count(l->r, 2);
    if (l->r->failed || !zval_create(&b.v, l->s, packed ? 0 : SIZE_MAX, 0))
        return l->r->failed ? false : no_memory(l);
    if (!packed)
        zset_reserve(b.v.z, n);
    bool good = packed ? feed_blob(l, type, zset_feed, &b) && (!b.has_member || bad(l))
                       : zset_pairs(&b, type, n);
    if (good && b.v.z && !zval_compact(&b.v, b.longest))
        good = no_memory(l);
    if (!good || l->r->failed || zval_count(&b.v) == 0) {
        zval_discard(&b.v);
        return bad(l);
    }
    l->ret->enc = b.v.z ? ENC_SKIPLIST : ENC_LISTPACK;
    l->ret->block = b.v.z ? (struct mem_block){.p = (uint8_t *)b.v.z} : b.v.lp;
    return true;
}

/* ---- hashes ---- */

struct hash_load {
    struct load *l;
    struct hash h;
    struct rdb_text field;
    bool has_field, has_value; /* has_value: with expiries, which come third */
    bool ttl;
    struct rdb_text value;
    int64_t first_ms;
};

static bool hash_load_put(struct hash_load *b, struct span field, struct span value, int64_t when)
{
    if ((when >= 0 || hash_outgrows(&b->h, (struct span[]){field, value}, 2)) &&
        hash_is_packed(&b->h) && !hash_to_map(&b->h))
        return no_memory(b->l);
    switch (hash_put(&b->h, field, value, when)) {
    case FIELDMAP_NEW: return true;
    case FIELDMAP_REPLACED: return bad(b->l);
    default: return no_memory(b->l);
    }
}

/* Field, value, and with expiries: unix ms, 0 for none. */
static bool hash_feed(void *ctx, struct span text)
{
    struct hash_load *b = ctx;
    if (!b->has_field) {
        keep_text(&b->field, text);
        b->has_field = true;
        return true;
    }
    if (b->ttl && !b->has_value) {
        keep_text(&b->value, text);
        b->has_value = true;
        return true;
    }
    int64_t when = 0;
    if (b->ttl && (!num_parse_i64(text, &when) || when < 0))
        return bad(b->l);
    b->has_field = b->has_value = false;
    return hash_load_put(b, b->field.s, b->ttl ? b->value.s : text, when ? when : FIELDMAP_NO_TTL);
}

/* n fields with their values, each a string of its own; with expiries a distance from the earliest one goes before. */
static bool hash_pairs(struct hash_load *b, uint64_t n)
{
    struct rdb_reader *r = b->l->r;
    bool good = true;
    for (; n && good; n--) {
        struct rdb_text field, value;
        uint64_t after = b->ttl ? rdb_get_len(r) : 0;
        if (after > INT64_MAX / 2 || !rdb_get_string(r, &field))
            return bad(b->l);
        good = rdb_get_string(r, &value);
        if (good) {
            good = hash_load_put(b, field.s, value.s,
                                 after ? b->first_ms + (int64_t)after - 1 : FIELDMAP_NO_TTL);
            rdb_text_free(r, &value);
        }
        rdb_text_free(r, &field);
    }
    return good;
}

static bool hash_elements(struct hash_load *b, uint8_t type)
{
    struct rdb_reader *r = b->l->r;
    if (type == RDB_HASH_METADATA || type == RDB_HASH_LISTPACK_EX) {
        uint64_t first = rdb_get_u64(r);
        if (r->failed || first > INT64_MAX / 2)
            return bad(b->l);
        b->first_ms = (int64_t)first;
        b->ttl = true;
    }
    if (type == RDB_HASH || type == RDB_HASH_METADATA) {
        uint64_t n = rdb_get_count(r, 2);
        if (n > b->h.max_entries) {
            if (!hash_to_map(&b->h))
                return no_memory(b->l);
            reserve(b->l, hash_map(&b->h), n, 2);
        }
        return hash_pairs(b, n);
    }
    return feed_blob(b->l, type, hash_feed, b) && (!b->has_field || bad(b->l));
}

static bool load_hash(struct load *l, uint8_t type)
{
    struct hash_load b = {.l = l};
    const struct engine_config *cfg = l->s->config;
    b.h = (struct hash){.mem = &l->s->mem,
                        .key = &l->s->hash_key,
                        .max_entries = cfg->hash_max_listpack_entries,
                        .max_value = cfg->hash_max_listpack_value};
    struct rdb_packed want = {LP_BYTES_MAX, cfg->hash_max_listpack_entries * 2,
                              cfg->hash_max_listpack_value, true, false};
    l->ret->enc = ENC_LISTPACK;
    if (type == RDB_HASH_LISTPACK && rdb_take_packed(l->r, &want, &l->ret->block))
        return true;
    if (!hash_init(&b.h, 0))
        return no_memory(l);
    if (!hash_elements(&b, type) || l->r->failed || hash_count(&b.h) == 0) {
        hash_free(&b.h);
        return bad(l);
    }
    l->ret->enc = hash_is_packed(&b.h) ? ENC_LISTPACK : ENC_HASHTABLE;
    l->ret->block = b.h.b;
    return true;
}

/* ---- all types ---- */

bool rdb_load_object(struct rdb_reader *r, struct shard *s, uint8_t type, struct rdb_object *ret)
{
    struct load l = {r, s, ret};
    *ret = (struct rdb_object){0};
    switch (type) {
    case RDB_STRING: ret->type = OBJ_STRING; return rdb_get_string(r, &ret->text);
    case RDB_LIST:
    case RDB_LIST_ZIPLIST:
    case RDB_LIST_QUICKLIST:
    case RDB_LIST_QUICKLIST_2: ret->type = OBJ_LIST; return load_list(&l, type);
    case RDB_SET:
    case RDB_SET_INTSET:
    case RDB_SET_LISTPACK: ret->type = OBJ_SET; return load_set(&l, type);
    case RDB_ZSET:
    case RDB_ZSET_2:
    case RDB_ZSET_ZIPLIST:
    case RDB_ZSET_LISTPACK: ret->type = OBJ_ZSET; return load_zset(&l, type);
    case RDB_HASH:
    case RDB_HASH_ZIPMAP:
    case RDB_HASH_ZIPLIST:
    case RDB_HASH_LISTPACK:
    case RDB_HASH_METADATA:
    case RDB_HASH_LISTPACK_EX: ret->type = OBJ_HASH; return load_hash(&l, type);
    case RDB_STREAM_LISTPACKS:
    case RDB_STREAM_LISTPACKS_2:
    case RDB_STREAM_LISTPACKS_3: ret->type = OBJ_STREAM; return rdb_load_stream(r, s, type, ret);
    default: r->failed = true; return false;
    }
}

void rdb_object_free(struct rdb_reader *r, struct shard *s, struct rdb_object *o)
{
    const struct object_ops *ops = object_ops_of(o->type, o->enc);
    rdb_text_free(r, &o->text);
    while (ops && o->block.p)
        ops->free_slice(&s->mem, &o->block, SIZE_MAX);
}

struct entry *rdb_object_put(struct rdb_reader *r, struct shard *s, uint32_t db, struct span key,
                             uint64_t hash, struct rdb_object *o, int64_t expire_ms)
{
    struct entry *e;
    if (o->type != OBJ_STRING)
        return ks_set_object(s, db, key, hash, o->type, o->enc, &o->block, expire_ms);
    e = ks_set(s, db, key, hash, o->text.s, expire_ms);
    if (e)
        rdb_text_free(r, &o->text);
    return e;
}

struct entry *rdb_object_add(struct rdb_reader *r, struct shard *s, uint32_t db, struct span key,
                             uint64_t hash, struct rdb_object *o, int64_t expire_ms)
{
    if (o->type != OBJ_STRING)
        return ks_add_object(s, db, key, hash, o->type, o->enc, &o->block, expire_ms);
    struct entry *e = ks_add(s, db, key, hash, o->text.s, expire_ms);
    if (e)
        rdb_text_free(r, &o->text);
    return e;
}
