/* Strings: whole values. GET, SET and their relatives, MGET, MSET.
 *
 *   SET key value [NX|XX|IFEQ comparison-value] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]
 *   GETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST]
 *
 * Where in the flow: cmd_call -> here -> keyspace; on the thread that holds the lease of the shards involved. Replies are those of
 * Redis 7.0.15; IFEQ and DELIFEQ are those of Valkey 8.1 and 9.0. A command that answers the old value and stores a new one answers last: storing may fail, and a reply that was
 * begun cannot be taken back. */
#include "engine/base/assert.h"
#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/found_inline.h"
#include "engine/cmd/keyref.h"
#include "engine/cmd/long_reply.h"
#include "engine/resp/parse.h"
#include "engine/resp/reply_inline.h"
#include "engine/shard/access_inline.h"

/* A value that the parser streamed into a block of its own is taken over instead of copied. NULL: no memory, nothing changed. */
static __attribute__((noinline)) struct entry *store_big(struct cmd *c, const struct keyref *k,
                                                         uint32_t i, int64_t expire_ms)
{
    uint8_t *block;
    size_t cap;
    if (!c->parser || k->shard != c->shard || !resp_take_big(c->parser, i, &block, &cap))
        return ks_set(k->shard, c->db, k->key, k->hash, c->argv[i], expire_ms);
    if (c->parser->mem != &k->shard->mem)
        mem_adopt(&k->shard->mem, c->parser->mem, cap); /* the query buffers' arena gives it away */
    struct entry *e =
        ks_set_block(k->shard, c->db, k->key, k->hash, block, c->argv[i].n, cap, expire_ms);
    if (!e) {
        mem_free(&k->shard->mem, block, cap);
        c->argv[i] = span_of(NULL, 0);
    }
    return e;
}

/* Stores argument i under the key. NULL: no memory, nothing changed. */
static inline struct entry *store_arg(struct cmd *c, const struct keyref *k, uint32_t i,
                                      int64_t expire_ms)
{
    if (unlikely_(c->argv[i].n >= LIMIT_BIG_ARG_BYTES))
        return store_big(c, k, i, expire_ms);
    return ks_set(k->shard, c->db, k->key, k->hash, c->argv[i], expire_ms);
}

/* ---- the value before a change ---- */

/* A copy, so that it can be answered after the change. */
struct kept {
    bool found;
    uint8_t *block; /* when it does not fit `small` */
    size_t n;
    uint8_t small[512];
};

/* False: no memory. e may be NULL. */
static bool kept_take(struct kept *k, struct shard *s, const struct entry *e)
{
    k->found = e != NULL;
    k->block = NULL;
    if (!e)
        return true;
    char scratch[NUM_I64_CHARS];
    struct span v = entry_string(e, scratch);
    k->n = v.n;
    if (v.n > sizeof(k->small) && !(k->block = mem_alloc(&s->mem, v.n)))
        return false;
    if (v.n)
        memcpy(k->block ? k->block : k->small, v.p, v.n);
    return true;
}

static void kept_free(struct kept *k, struct shard *s)
{
    if (k->block)
        mem_free(&s->mem, k->block, k->n);
    k->block = NULL;
}

static void kept_reply(const struct kept *k, struct reply *out)
{
    if (k->found)
        reply_bulk(out, span_of(k->block ? k->block : k->small, k->n));
    else
        reply_null(out);
}

/* ---- options of SET and GETEX ---- */

enum set_flags {
    SET_NX = 1 << 0,
    SET_XX = 1 << 1,
    SET_GET = 1 << 2,
    SET_KEEPTTL = 1 << 3,
    SET_PERSIST = 1 << 4,
    SET_EX = 1 << 5,
    SET_PX = 1 << 6,
    SET_EXAT = 1 << 7,
    SET_PXAT = 1 << 8,
    SET_IFEQ = 1 << 9,
};
#define SET_SECONDS  (SET_EX | SET_EXAT)
#define SET_RELATIVE (SET_EX | SET_PX)
#define SET_TIMES    (SET_EX | SET_PX | SET_EXAT | SET_PXAT)

struct set_option {
    const char *word;
    uint16_t flag, excludes; /* an option may come twice, but not beside these */
    bool of_set, of_getex, value;
};

static const struct set_option set_options[] = {
    {"nx", SET_NX, SET_XX | SET_IFEQ, true, false, false},
    {"xx", SET_XX, SET_NX | SET_IFEQ, true, false, false},
    {"ifeq", SET_IFEQ, SET_NX | SET_XX | SET_IFEQ, true, false, true},
    {"get", SET_GET, 0, true, false, false},
    {"keepttl", SET_KEEPTTL, SET_PERSIST | SET_TIMES, true, false, false},
    {"persist", SET_PERSIST, SET_KEEPTTL | SET_TIMES, false, true, false},
    {"ex", SET_EX, SET_KEEPTTL | SET_PERSIST | (SET_TIMES & ~SET_EX), true, true, true},
    {"px", SET_PX, SET_KEEPTTL | SET_PERSIST | (SET_TIMES & ~SET_PX), true, true, true},
    {"exat", SET_EXAT, SET_KEEPTTL | SET_PERSIST | (SET_TIMES & ~SET_EXAT), true, true, true},
    {"pxat", SET_PXAT, SET_KEEPTTL | SET_PERSIST | (SET_TIMES & ~SET_PXAT), true, true, true},
};

struct options {
    unsigned flags;
    uint32_t time, equal; /* arguments: the time given last; what IFEQ compares with */
};

/* Reads the options from argument `i` on. False: the error was written. */
static bool parse_options(struct cmd *c, uint32_t i, bool getex, struct options *ret)
{
    struct options got = {0};
    for (; i < c->argc; i++) {
        const struct set_option *o = set_options;
        const struct set_option *end = set_options + ARRAY_LEN(set_options);
        while (o < end && !((getex ? o->of_getex : o->of_set) && span_is(c->argv[i], o->word)))
            o++;
        if (o == end || (got.flags & o->excludes) || (o->value && i + 1 == c->argc)) {
            cmd_reply_syntax(c);
            return false;
        }
        got.flags |= o->flag;
        if (o->value)
            *(o->flag == SET_IFEQ ? &got.equal : &got.time) = ++i;
    }
    *ret = got;
    return true;
}

/* The absolute time in ms that argument i means. False: the error was written. */
static bool parse_time(struct cmd *c, uint32_t i, unsigned flags, int64_t *ret_ms)
{
    int64_t ms;
    if (!cmd_arg_i64(c, i, &ms))
        return false;
    int64_t now = flags & SET_RELATIVE ? c->shard->now_ms : 0;
    if (ms <= 0 || ((flags & SET_SECONDS) && __builtin_mul_overflow(ms, 1000, &ms)) ||
        __builtin_add_overflow(ms, now, &ms)) {
        cmd_reply_expire_time(c);
        return false;
    }
    *ret_ms = ms;
    return true;
}

/* ---- SET ---- */

/* Argument `value` was set; expire_ms 0: without a time of its own. */
static void set_changed(struct cmd *c, const struct keyref *k, uint32_t value, int64_t expire_ms)
{
    keyref_changed(c, k, KS_STRING, "set");
    if (expire_ms <= 0)
        return;
    keyref_changed(c, k, KS_GENERIC, "expire");
    char number[NUM_I64_CHARS];
    CMD_SAY(c, SPAN("SET"), k->key, c->argv[value], SPAN("PXAT"), effect_number(number, expire_ms));
}

/* The same of SET with options; IFEQ has held here, and Redis 7.0 does not know it. */
static void set_done(struct cmd *c, const struct keyref *k, const struct options *o,
                     int64_t expire_ms)
{
    set_changed(c, k, 2, o->flags & SET_TIMES ? expire_ms : 0);
    if ((o->flags & (SET_IFEQ | SET_TIMES)) != SET_IFEQ)
        return;
    if (o->flags & SET_KEEPTTL)
        CMD_SAY(c, SPAN("SET"), k->key, c->argv[2], SPAN("KEEPTTL"));
    else
        CMD_SAY(c, SPAN("SET"), k->key, c->argv[2]);
}

/* The string e is the bytes of argument i. */
static bool equals_arg(const struct cmd *c, const struct entry *e, uint32_t i)
{
    char scratch[NUM_I64_CHARS];
    return span_eq(entry_string(e, scratch), c->argv[i]);
}

/* Do the conditions let it be set? e, a string for IFEQ, may be NULL. */
static bool set_may(const struct cmd *c, const struct entry *e, const struct options *o)
{
    if (o->flags & SET_NX)
        return !e;
    if (o->flags & SET_XX)
        return e;
    return !(o->flags & SET_IFEQ) || (e && equals_arg(c, e, o->equal));
}

/* SET with GET: answers the value before, whether or not it is replaced. */
static void set_and_get(struct cmd *c, const struct keyref *k, const struct options *o,
                        int64_t expire_ms)
{
    struct entry *e = keyref_read(c, k);
    if (e && !cmd_is_string(c, e))
        return;
    struct kept old;
    if (!kept_take(&old, k->shard, e)) {
        cmd_reply_oom(c);
        return;
    }
    bool store = set_may(c, e, o);
    if (store && !store_arg(c, k, 2, expire_ms)) {
        cmd_reply_oom(c);
    } else {
        if (store)
            set_done(c, k, o, expire_ms);
        kept_reply(&old, c->out);
    }
    kept_free(&old, k->shard);
}

static void set_with_options(struct cmd *c, const struct keyref *k)
{
    struct options o;
    int64_t expire_ms = KS_NO_TTL;
    if (!parse_options(c, 3, false, &o))
        return;
    if (o.flags & SET_KEEPTTL)
        expire_ms = KS_KEEP_TTL;
    if ((o.flags & SET_TIMES) && !parse_time(c, o.time, o.flags, &expire_ms))
        return;
    if (o.flags & SET_GET) {
        set_and_get(c, k, &o, expire_ms);
        return;
    }
    if (o.flags & (SET_NX | SET_XX | SET_IFEQ)) {
        const struct entry *e = keyref_write(c, k);
        if (e && (o.flags & SET_IFEQ) && !cmd_is_string(c, e))
            return;
        if (!set_may(c, e, &o)) {
            reply_null(c->out);
            return;
        }
    }
    if (!store_arg(c, k, 2, expire_ms)) {
        cmd_reply_oom(c);
        return;
    }
    set_done(c, k, &o, expire_ms);
    reply_ok(c->out);
}

static __attribute__((noinline)) void set_any(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    if (c->argc > 3) {
        set_with_options(c, &k);
        return;
    }
    if (unlikely_(!store_arg(c, &k, 2, KS_NO_TTL))) {
        cmd_reply_oom(c);
        return;
    }
    keyref_changed(c, &k, KS_STRING, "set");
    reply_ok(c->out);
}

void cmd_set(struct cmd *c)
{
    const struct span *argv = c->argv;
    if (unlikely_(c->argc != 3) ||
        unlikely_(!found_set(c->shard, argv[1], argv[2], c->candidate, c->out)))
        set_any(c);
}

void cmd_setnx(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    if (keyref_write(c, &k)) {
        reply_int(c->out, 0);
        return;
    }
    if (!store_arg(c, &k, 2, KS_NO_TTL)) {
        cmd_reply_oom(c);
        return;
    }
    keyref_changed(c, &k, KS_STRING, "set");
    reply_int(c->out, 1);
}

static void set_expiring(struct cmd *c, unsigned unit)
{
    struct keyref k = keyref_first(c, 1);
    int64_t expire_ms;
    if (!parse_time(c, 2, unit, &expire_ms))
        return;
    if (!store_arg(c, &k, 3, expire_ms)) {
        cmd_reply_oom(c);
        return;
    }
    set_changed(c, &k, 3, expire_ms);
    reply_ok(c->out);
}

void cmd_setex(struct cmd *c)
{
    set_expiring(c, SET_EX);
}

void cmd_psetex(struct cmd *c)
{
    set_expiring(c, SET_PX);
}

/* ---- GET ---- */

static __attribute__((noinline)) void get_any(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = keyref_read(c, &k);
    char scratch[NUM_I64_CHARS];
    if (!e)
        reply_null(c->out);
    else if (cmd_is_string(c, e)) {
        struct span text = entry_string(e, scratch);
        if (likely_(text.n < LIMIT_LONG_REPLY_BYTES) || !long_reply_text(c, k.shard, e, text))
            reply_bulk(c->out, text);
    }
}

void cmd_get(struct cmd *c)
{
    if (unlikely_(!found_get(c->shard, c->argv[1], c->candidate, c->out)))
        get_any(c);
}

void cmd_getset(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    static const struct options none;
    set_and_get(c, &k, &none, KS_NO_TTL);
}

void cmd_getdel(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = keyref_read(c, &k);
    char scratch[NUM_I64_CHARS];
    if (!e) {
        reply_null(c->out);
        return;
    }
    if (!cmd_is_string(c, e))
        return;
    reply_bulk(c->out, entry_string(e, scratch));
    ks_delete(k.shard, c->db, e, k.hash, false);
    keyref_changed(c, &k, KS_GENERIC, "del");
}

void cmd_delifeq(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = keyref_write(c, &k);
    if (e && !cmd_is_string(c, e))
        return;
    bool gone = e && equals_arg(c, e, 2);
    if (gone) {
        ks_delete(k.shard, c->db, e, k.hash, false);
        keyref_changed(c, &k, KS_GENERIC, "del");
        CMD_SAY(c, SPAN("DEL"), k.key);
    }
    reply_int(c->out, gone);
}

void cmd_getex(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct options o;
    int64_t expire_ms = KS_NO_TTL;
    char scratch[NUM_I64_CHARS];
    if (!parse_options(c, 2, true, &o))
        return;
    struct entry *e = keyref_read(c, &k);
    if (!e) {
        reply_null(c->out);
        return;
    }
    if (!cmd_is_string(c, e) ||
        ((o.flags & SET_TIMES) && !parse_time(c, o.time, o.flags, &expire_ms)))
        return;
    if ((o.flags & SET_TIMES) && expire_ms <= k.shard->now_ms) {
        reply_bulk(c->out, entry_string(e, scratch));
        ks_delete(k.shard, c->db, e, k.hash, false);
        keyref_changed(c, &k, KS_GENERIC, "del");
        CMD_SAY(c, SPAN("DEL"), k.key);
        return;
    }
    bool persist = (o.flags & SET_PERSIST) && entry_expire_ms(e) != KS_NO_TTL;
    if ((o.flags & SET_TIMES) || persist) {
        if (!ks_set_expire(k.shard, c->db, &e, k.hash, expire_ms)) {
            cmd_reply_oom(c);
            return;
        }
        keyref_changed(c, &k, KS_GENERIC, persist ? "persist" : "expire");
        cmd_say_expire(c, k.key, expire_ms);
    }
    reply_bulk(c->out, entry_string(e, scratch));
}

/* ---- several at once ---- */

/* A part of one: its keys were looked up with those of all other parts. */
static void mget_part(struct cmd *c)
{
    char scratch[NUM_I64_CHARS];
    const struct cmd_key *k = c->keys;
    const struct span *key = c->argv + 1, *end = c->argv + c->argc;
    struct shard *s = c->shard;
    uint64_t expired = s->stats.expired_keys;
    bool there = true;
    for (; key != end; key++, k++) {
        struct entry *e = likely_(there) ? access_read_text(s, *key, k->candidate) : NULL;
        if (likely_(e != NULL)) {
            reply_bulk_inline(c->out, span_of(e->body + key->n, e->value_len));
            continue;
        }
        e = ks_read(s, c->db, *key, k->hash);
        there = s->stats.expired_keys == expired; /* what has gone may be another's candidate */
        if (e && entry_type(e) == OBJ_STRING)
            reply_bulk(c->out, entry_string(e, scratch));
        else
            reply_null(c->out);
    }
}

void cmd_mget(struct cmd *c)
{
    char scratch[NUM_I64_CHARS];
    if (c->keys) {
        mget_part(c);
        return;
    }
    reply_array(c->out, c->argc - 1);
    for (uint32_t i = 1; i < c->argc; i++) {
        struct keyref k = keyref_nth(c, i, 1);
        struct entry *e = keyref_read(c, &k);
        if (e && entry_type(e) == OBJ_STRING)
            reply_bulk(c->out, entry_string(e, scratch));
        else
            reply_null(c->out);
    }
}

/* False: the error was written. When memory runs out in the middle the pairs before stay set. */
static bool set_pairs(struct cmd *c)
{
    for (uint32_t i = 1; i < c->argc; i += 2) {
        struct keyref k = keyref_nth(c, i, 1);
        if (!store_arg(c, &k, i + 1, KS_NO_TTL)) {
            cmd_reply_oom(c);
            return false;
        }
        keyref_changed(c, &k, KS_STRING, "set");
    }
    if (c->argc > 3)
        keyref_told_in_steps(c);
    return true;
}

static bool pairs_complete(struct cmd *c)
{
    if (c->argc % 2 == 1)
        return true;
    reply_errorf(c->out, "ERR wrong number of arguments for '%s' command", c->desc->full);
    return false;
}

void cmd_mset(struct cmd *c)
{
    if (pairs_complete(c) && set_pairs(c))
        reply_ok(c->out);
}

void cmd_msetnx(struct cmd *c)
{
    if (!pairs_complete(c))
        return;
    for (uint32_t i = 1; i < c->argc; i += 2) {
        struct keyref k = keyref_nth(c, i, 1);
        if (keyref_write(c, &k)) {
            reply_int(c->out, 0);
            return;
        }
    }
    if (set_pairs(c))
        reply_int(c->out, 1);
}
