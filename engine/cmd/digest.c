/* DEBUG DIGEST and DEBUG DIGEST-VALUE: what a dataset holds as 20 bytes, by the algorithm of Redis 7.0, so that two servers can be compared.
 *
 *   xor(d, bytes): d ^= SHA1(bytes)             elements without an order
 *   mix(d, bytes): d = SHA1(d ^ SHA1(bytes))    what has one
 *   key:     mix key, mix type, then the value; with an expiry xor "!!expire!!"
 *   dataset: for each database that is not empty, in order: mix its number, xor the digest of every key
 *
 * The keys of a database are xored, so shards do theirs apart and home puts them together (gather.h). The type numbers and the text forms are
 * those of Redis. Thread: the lease holder's. */
#include <sha1.h>
#include <stdio.h>

#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/gather_internal.h"
#include "engine/cmd/keyref.h"
#include "engine/cmd/zset_value.h"
#include "engine/ds/hash.h"
#include "engine/ds/list_value.h"
#include "engine/ds/listpack_inline.h"
#include "engine/ds/set.h"
#include "engine/ds/stream.h"
#include "engine/shard/object.h"

#define REDIS_STREAM 6 /* the others have our numbers */

struct digest {
    uint8_t v[SHA1_DIGEST_LENGTH];
};

static void sha1(struct span bytes, struct digest *ret)
{
    SHA1_CTX ctx;
    SHA1Init(&ctx);
    SHA1Update(&ctx, bytes.p, bytes.n);
    SHA1Final(ret->v, &ctx);
}

static void digest_add(struct digest *d, const struct digest *other)
{
    for (size_t i = 0; i < sizeof(d->v); i++)
        d->v[i] ^= other->v[i];
}

static void digest_xor(struct digest *d, struct span bytes)
{
    struct digest h;
    sha1(bytes, &h);
    digest_add(d, &h);
}

static void digest_mix(struct digest *d, struct span bytes)
{
    digest_xor(d, bytes);
    sha1(span_of(d->v, sizeof(d->v)), d);
}

static void mix_u32(struct digest *d, uint32_t v)
{
    uint8_t be[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    digest_mix(d, span_of(be, sizeof(be)));
}

static void mix_value(struct digest *d, struct lp_value v)
{
    char scratch[NUM_I64_CHARS];
    digest_mix(d, v.text.p ? v.text : span_of(scratch, num_format_i64(scratch, v.number)));
}

/* ---- values ---- */

static void digest_string(struct digest *d, const struct entry *e)
{
    char scratch[NUM_I64_CHARS];
    digest_mix(d, entry_string(e, scratch));
}

static void digest_list(struct digest *d, const struct list_value *l)
{
    struct ql_view w;
    struct ql_at at;
    lv_view(l, &w);
    if (!ql_seek(&w, 0, &at))
        return;
    do {
        mix_value(d, ql_get(&w, at));
    } while (ql_next(&w, &at));
}

static void digest_set(struct digest *d, const struct set *s)
{
    struct set_iter it;
    struct set_member m;
    set_iter_init(&it, s);
    while (set_next(&it, &m))
        digest_xor(d, set_member_text(&m));
}

static void digest_zset(struct digest *d, const struct zval *v)
{
    struct zval_walk w;
    struct zval_item item;
    char scratch[NUM_I64_CHARS], score[64];
    zval_walk_from(&w, v, 0, zval_count(v), false);
    while (zval_walk_next(&w, &item)) {
        struct digest one = {{0}};
        digest_mix(&one, zval_item_text(&item, scratch));
        int n = snprintf(score, sizeof(score), "%.17g", item.score);
        digest_mix(&one, span_of(score, (size_t)n));
        digest_xor(d, span_of(one.v, sizeof(one.v)));
    }
}

static void digest_hash(struct digest *d, const struct hash *h)
{
    struct hash_iter it;
    struct hash_pair pair;
    hash_iter_init(&it, h);
    while (hash_next(&it, &pair)) {
        struct digest one = {{0}};
        mix_value(&one, pair.field);
        mix_value(&one, pair.value);
        digest_xor(d, span_of(one.v, sizeof(one.v)));
    }
}

static void digest_stream(struct digest *d, const struct stream *st)
{
    struct stream_walk w;
    struct stream_entry e;
    char id[64];
    static const struct stream_id first = {0, 0}, last = {UINT64_MAX, UINT64_MAX};
    stream_walk_init(&w, st, first, last, false);
    while (stream_walk_next(&w, &e)) {
        int n = snprintf(id, sizeof(id), "%llu.%llu", (unsigned long long)e.id.ms,
                         (unsigned long long)e.id.seq);
        digest_mix(d, span_of(id, (size_t)n));
        const uint8_t *at = e.at, *field = e.same ? e.master : NULL;
        for (uint64_t i = 0; i < e.fields; i++) {
            mix_value(d, lp_get(field ? field : at));
            if (field)
                field = lp_skip(field);
            else
                at = lp_skip(at);
            mix_value(d, lp_get(at));
            at = lp_skip(at);
        }
    }
}

/* Onto what d already holds of the key. */
static void digest_entry(struct digest *d, struct shard *s, struct entry *e)
{
    struct mem_block b = {0};
    if (entry_type(e) != OBJ_STRING)
        b = object_block(e);
    mix_u32(d, entry_type(e) == OBJ_STREAM ? REDIS_STREAM : (uint32_t)entry_type(e));
    switch (entry_type(e)) {
    case OBJ_STRING: digest_string(d, e); break;
    case OBJ_LIST: {
        struct list_value l = {.mem = &s->mem, .b = b, .quick = entry_enc(e) == ENC_QUICKLIST};
        digest_list(d, &l);
        break;
    }
    case OBJ_SET: {
        struct set set = {.mem = &s->mem, .key = &s->hash_key, .b = b};
        digest_set(d, &set);
        break;
    }
    case OBJ_ZSET: {
        struct zval v;
        zval_open(&v, s, e);
        digest_zset(d, &v);
        break;
    }
    case OBJ_HASH: {
        struct hash h = {.mem = &s->mem, .key = &s->hash_key, .b = b};
        digest_hash(d, &h);
        break;
    }
    case OBJ_STREAM: digest_stream(d, (const struct stream *)(const void *)b.p); break;
    default: break;
    }
    if (entry_expire_fast(e) >= 0)
        digest_xor(d, SPAN("!!expire!!"));
}

static void reply_digest(struct reply *out, const struct digest *d)
{
    char hex[2 * sizeof(d->v) + 1];
    for (size_t i = 0; i < sizeof(d->v); i++)
        snprintf(hex + 2 * i, 3, "%02x", d->v[i]);
    reply_simple(out, hex);
}

/* DEBUG DIGEST-VALUE key ...: of each value alone; zeros where there is none. */
void cmd_debug_digest_value(struct cmd *c)
{
    reply_array(c->out, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) {
        struct keyref k = keyref_nth(c, i, 2);
        struct entry *e = keyref_peek(c, &k);
        struct digest d = {{0}};
        if (e)
            digest_entry(&d, k.shard, e);
        reply_digest(c->out, &d);
    }
}

/* ---- the dataset ---- */

struct digest_walk {
    struct shard *s;
    struct digest sum;
};

static void digest_key(void *ctx, struct entry *e)
{
    struct digest_walk *w = ctx;
    struct digest d = {{0}};
    digest_mix(&d, entry_key(e));
    digest_entry(&d, w->s, e);
    digest_xor(&w->sum, span_of(d.v, sizeof(d.v)));
}

void cmd_debug_digest(struct cmd *c)
{
    struct gather g;
    gather_begin(&g);
    for (uint32_t db = 0; db < cmd_databases(c); db++) {
        struct digest_walk w = {0};
        uint64_t keys = 0;
        for (uint32_t i = 0; i < cmd_shards_count(c); i++) {
            uint64_t cursor = 0;
            w.s = cmd_shards_nth(c, i);
            do {
                cursor = ks_scan(w.s, db, cursor, digest_key, &w);
            } while (cursor);
            keys += ks_count(w.s, db);
        }
        gather_put_u64(&g, keys);
        gather_put(&g, w.sum.v, sizeof(w.sum.v));
    }
    gather_end(c, &g);
}

void digest_finish(struct reply *out, struct gather_part *part, uint32_t n)
{
    struct digest all = {{0}};
    for (uint32_t db = 0; n && part[0].p != part[0].end; db++) {
        struct digest sum = {{0}}, one;
        uint64_t keys = 0;
        for (uint32_t i = 0; i < n; i++) {
            keys += gather_get_u64(&part[i]);
            gather_get(&part[i], one.v, sizeof(one.v));
            digest_add(&sum, &one);
        }
        if (!keys)
            continue;
        mix_u32(&all, db);
        digest_add(&all, &sum);
    }
    reply_digest(out, &all);
}
