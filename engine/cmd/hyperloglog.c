/* HyperLogLog: PFADD, PFCOUNT, PFMERGE, PFDEBUG, PFSELFTEST.
 *
 * Where in the flow: cmd_call -> here -> keyspace and engine/ds/hll, on the lease holder's thread. The values are strings; PFCOUNT and
 * PFMERGE may find their keys on several shards. A value that is looked at for writing, or whose count is cached in it, becomes "raw". */
#include <stdio.h>

#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/keyref.h"
#include "engine/ds/hll.h"

#define CORRUPT "INVALIDOBJ Corrupted HLL object detected"

/* A HyperLogLog as its string holds it. */
struct sketch {
    struct keyref key;
    struct entry *e;
    uint8_t *p;
    size_t n;
};

static struct span sketch_span(const struct sketch *s)
{
    return span_of(s->p, s->n);
}

/* False after an error unless e holds one. */
static bool is_sketch(struct cmd *c, const struct entry *e)
{
    char scratch[NUM_I64_CHARS];
    if (!cmd_is_string(c, e))
        return false;
    if (hll_valid(entry_string(e, scratch)))
        return true;
    reply_error(c->out, "WRONGTYPE Key is not a valid HyperLogLog string value.");
    return false;
}

/* Makes the bytes writable, n of them. False: the error was written. */
static bool sketch_resize(struct cmd *c, struct sketch *s, size_t n)
{
    uint8_t *p = cmd_string_bytes(c, &s->key, &s->e, n);
    if (!p)
        return false;
    s->p = p;
    s->n = n;
    return true;
}

/* The key's sketch for writing, s->e NULL: no such key. False: the error was written. */
static bool sketch_open(struct cmd *c, struct keyref k, struct sketch *s)
{
    *s = (struct sketch){.key = k, .e = keyref_write(c, &k)};
    return !s->e || (is_sketch(c, s->e) && sketch_resize(c, s, entry_string_len(s->e)));
}

/* An empty one under a key that is not there. */
static bool sketch_create(struct cmd *c, struct sketch *s)
{
    struct mem *mem = &s->key.shard->mem;
    uint8_t *p = mem_alloc(mem, HLL_EMPTY_BYTES);
    if (p) {
        hll_create(p);
        s->e = ks_set_block(s->key.shard, c->db, s->key.key, s->key.hash, p, HLL_EMPTY_BYTES,
                            HLL_EMPTY_BYTES, KS_NO_TTL);
    }
    if (!s->e) {
        if (p)
            mem_free(mem, p, HLL_EMPTY_BYTES);
        cmd_reply_oom(c);
        return false;
    }
    s->p = p;
    s->n = HLL_EMPTY_BYTES;
    return true;
}

static bool sketch_make_dense(struct cmd *c, struct sketch *s)
{
    uint8_t dense[HLL_DENSE_BYTES];
    if (hll_is_dense(s->p))
        return true;
    if (!hll_to_dense(sketch_span(s), dense)) {
        reply_error(c->out, CORRUPT);
        return false;
    }
    if (!sketch_resize(c, s, sizeof(dense)))
        return false;
    memcpy(s->p, dense, sizeof(dense));
    return true;
}

/* In the sparse form. A value on a block of its own is changed in place, with room made and given back, which cannot fail; an embedded one is
 * changed beside it. False: the error was written. */
static bool raise_sparse(struct cmd *c, struct sketch *s, struct hll_spot spot, enum hll_set *ret)
{
    uint8_t beside[ENTRY_EMBED_MAX + HLL_GROWTH_BYTES];
    size_t n = s->n, max = c->host->config->hll_sparse_max_bytes;
    bool in_place = s->e->flags & ENTRY_BLOCK;
    int now = hll_register(sketch_span(s), spot.index);
    *ret = now < 0 ? HLL_CORRUPT : now >= spot.count ? HLL_SAME : HLL_CHANGED;
    if (*ret != HLL_CHANGED)
        return true;
    if (in_place) {
        if (!sketch_resize(c, s, n + HLL_GROWTH_BYTES))
            return false;
        *ret = hll_sparse_set(s->p, &n, spot, max);
        return sketch_resize(c, s, n);
    }
    memcpy(beside, s->p, n);
    *ret = hll_sparse_set(beside, &n, spot, max);
    if (*ret != HLL_CHANGED)
        return true;
    if (!sketch_resize(c, s, n))
        return false;
    memcpy(s->p, beside, n);
    return true;
}

/* False: the error was written. *changed is set when the register was raised. */
static bool sketch_raise(struct cmd *c, struct sketch *s, struct hll_spot spot, bool *changed)
{
    enum hll_set result = HLL_NEEDS_DENSE;
    if (!hll_is_dense(s->p) && !raise_sparse(c, s, spot, &result))
        return false;
    if (result == HLL_NEEDS_DENSE) {
        if (!sketch_make_dense(c, s))
            return false;
        result = hll_dense_set(s->p, spot);
    }
    if (result == HLL_CORRUPT) {
        reply_error(c->out, CORRUPT);
        return false;
    }
    *changed |= result == HLL_CHANGED;
    return true;
}

void cmd_pfadd(struct cmd *c)
{
    struct sketch s;
    bool changed = false;
    if (!sketch_open(c, keyref_first(c, 1), &s))
        return;
    if (!s.e) {
        if (!sketch_create(c, &s))
            return;
        changed = true;
    }
    for (uint32_t i = 2; i < c->argc; i++)
        if (!sketch_raise(c, &s, hll_spot_of(c->argv[i]), &changed))
            return;
    if (changed) {
        hll_make_stale(s.p);
        keyref_changed(c, &s.key, KS_STRING, "pfadd");
    }
    reply_int(c->out, changed);
}

/* Adds the registers of argument i's key; true when there is none. *dense: it was dense. False: the error was written. */
static bool merge_key(struct cmd *c, uint32_t i, struct hll_registers *r, bool *dense)
{
    struct keyref k = keyref_at(c, i);
    struct entry *e = keyref_read(c, &k);
    char scratch[NUM_I64_CHARS];
    if (!e)
        return true;
    if (!is_sketch(c, e))
        return false;
    struct span v = entry_string(e, scratch);
    *dense |= hll_is_dense(v.p);
    if (hll_merge(r, v))
        return true;
    reply_error(c->out, CORRUPT);
    return false;
}

static void count_union(struct cmd *c)
{
    struct hll_registers r = {{0}};
    bool dense = false;
    for (uint32_t i = 1; i < c->argc; i++)
        if (!merge_key(c, i, &r, &dense))
            return;
    reply_int(c->out, (int64_t)hll_count_registers(&r));
}

void cmd_pfcount(struct cmd *c)
{
    struct sketch s = {.key = keyref_first(c, 1)};
    uint64_t n;
    if (c->argc > 2) {
        count_union(c);
        return;
    }
    s.e = keyref_read(c, &s.key);
    if (!s.e) {
        reply_int(c->out, 0);
        return;
    }
    if (!is_sketch(c, s.e) || !sketch_resize(c, &s, entry_string_len(s.e)))
        return;
    if (!hll_cached(s.p, &n)) {
        if (!hll_count(sketch_span(&s), &n)) {
            reply_error(c->out, CORRUPT);
            return;
        }
        hll_cache(s.p, n);
        ks_changed(s.key.shard, c->db, s.key.key, KS_NONE, "pfcount"); /* the bytes have changed */
        CMD_SAY(c, SPAN("PFCOUNT"), s.key.key);
    }
    reply_int(c->out, (int64_t)n);
}

/* Puts what r has into a sparse sketch, as long as it stays one. */
static bool raise_all(struct cmd *c, struct sketch *s, const struct hll_registers *r)
{
    bool changed = false;
    for (uint32_t i = 0; i < HLL_REGISTERS && !hll_is_dense(s->p); i++)
        if (r->v[i] && !sketch_raise(c, s, (struct hll_spot){i, r->v[i]}, &changed))
            return false;
    return true;
}

void cmd_pfmerge(struct cmd *c)
{
    struct hll_registers r = {{0}};
    struct sketch s;
    bool dense = false;
    for (uint32_t i = 1; i < c->argc; i++)
        if (!merge_key(c, i, &r, &dense))
            return;
    if (!sketch_open(c, keyref_at(c, 1), &s) || (!s.e && !sketch_create(c, &s)))
        return;
    if ((dense && !sketch_make_dense(c, &s)) || !raise_all(c, &s, &r))
        return;
    if (hll_is_dense(s.p))
        hll_dense_raise(s.p, &r);
    hll_make_stale(s.p);
    keyref_changed(c, &s.key, KS_STRING, "pfadd"); /* Redis's name for it */
    reply_ok(c->out);
}

/* ---- PFDEBUG ---- */

struct text {
    char *p;
    size_t n, cap;
};

static void text_run(void *ctx, bool wide, unsigned value, unsigned len)
{
    struct text *t = ctx;
    if (t->cap - t->n < 16)
        return;
    if (value)
        t->n += (size_t)snprintf(t->p + t->n, t->cap - t->n, "v:%u,%u ", value, len);
    else
        t->n += (size_t)snprintf(t->p + t->n, t->cap - t->n, "%c:%u ", wide ? 'Z' : 'z', len);
}

static void debug_decode(struct cmd *c, const struct sketch *s)
{
    if (hll_is_dense(s->p)) {
        reply_error(c->out, "ERR HLL encoding is not sparse");
        return;
    }
    struct mem *mem = &s->key.shard->mem;
    struct text t = {.cap = (s->n + 1) * 16};
    t.p = mem_alloc(mem, t.cap);
    if (!t.p) {
        cmd_reply_oom(c);
        return;
    }
    hll_decode(sketch_span(s), text_run, &t);
    reply_bulk(c->out, span_of(t.p, t.n ? t.n - 1 : 0));
    mem_free(mem, t.p, t.cap);
}

static void debug_getreg(struct cmd *c, struct sketch *s)
{
    if (!sketch_make_dense(c, s))
        return;
    reply_array(c->out, HLL_REGISTERS);
    for (uint32_t i = 0; i < HLL_REGISTERS; i++)
        reply_int(c->out, hll_register(sketch_span(s), i));
}

static void debug_todense(struct cmd *c, struct sketch *s)
{
    bool sparse = !hll_is_dense(s->p);
    if (!sketch_make_dense(c, s))
        return;
    if (sparse)
        keyref_changed(c, &s->key, KS_NONE, "pfdebug");
    reply_int(c->out, sparse);
}

void cmd_pfdebug(struct cmd *c)
{
    struct sketch s;
    struct span word = c->argv[1];
    if (!sketch_open(c, keyref_first(c, 2), &s))
        return;
    if (!s.e)
        reply_error(c->out, "ERR The specified key does not exist");
    else if (span_is(word, "getreg"))
        debug_getreg(c, &s);
    else if (span_is(word, "decode"))
        debug_decode(c, &s);
    else if (span_is(word, "encoding"))
        reply_simple(c->out, hll_is_dense(s.p) ? "dense" : "sparse");
    else if (span_is(word, "todense"))
        debug_todense(c, &s);
    else
        reply_errorf(c->out, "ERR Unknown PFDEBUG subcommand '%.*s'",
                     (int)strnlen((const char *)word.p, word.n < 128 ? word.n : 128),
                     (const char *)word.p);
}

/* ---- PFSELFTEST ---- */

#define SELFTEST_ELEMENTS 20000
#define SELFTEST_ROOM     (HLL_DENSE_BYTES * 2)

/* Counts the same elements sparse for as long as it goes, dense, and by plain registers. NULL: all agree and the estimate is near. */
static const char *selftest(void)
{
    static _Thread_local uint8_t sparse[SELFTEST_ROOM], dense[HLL_DENSE_BYTES];
    struct hll_registers plain = {{0}}, merged = {{0}};
    size_t n = HLL_EMPTY_BYTES;
    bool is_sparse = true;
    hll_create(sparse);
    hll_to_dense(span_of(sparse, n), dense);
    for (uint64_t i = 1; i <= SELFTEST_ELEMENTS; i++) {
        struct hll_spot s = hll_spot_of(span_of(&i, sizeof(i)));
        uint64_t a, b, c;
        hll_dense_set(dense, s);
        is_sparse = is_sparse && hll_sparse_set(sparse, &n, s, HLL_DENSE_BYTES) <= HLL_CHANGED;
        if (plain.v[s.index] < s.count)
            plain.v[s.index] = s.count;
        if (i % 1000)
            continue;
        c = hll_count_registers(&plain);
        if (!hll_count(span_of(dense, sizeof(dense)), &a) || a != c)
            return "ERR TESTFAILED dense registers differ";
        if (is_sparse && (!hll_count(span_of(sparse, n), &b) || b != c))
            return "ERR TESTFAILED sparse registers differ";
        if (c > i + i / 20 || c + i / 20 < i)
            return "ERR TESTFAILED the estimate is off by more than six standard errors";
    }
    hll_merge(&merged, span_of(dense, sizeof(dense)));
    return memcmp(&merged, &plain, sizeof(plain)) ? "ERR TESTFAILED merged registers differ" : NULL;
}

void cmd_pfselftest(struct cmd *c)
{
    const char *error = selftest();
    if (error)
        reply_error(c->out, error);
    else
        reply_ok(c->out);
}
