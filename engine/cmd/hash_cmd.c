/* Hashes: HSET, HSETNX, HMSET, HDEL, HINCRBY, HINCRBYFLOAT, and what reads single fields: HGET, HMGET, HEXISTS, HSTRLEN, HLEN.
 *
 * A write of several fields that runs out of memory half way has set those before (as Redis would have died).
 * Where in the flow: cmd_call -> here -> engine/ds/hash.c, on the lease holder's thread. */
#include <math.h>

#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/hash.h"

#define NEW_ROOM_MAX 4096 /* bytes that a new listpack is given at once */

/* ---- reading ---- */

static struct hash_fields one(uint32_t i)
{
    return (struct hash_fields){i, i, 1};
}

void cmd_hget(struct cmd *c)
{
    struct hash_ref r;
    struct lp_value v;
    if (!hash_read(c, &r))
        return;
    hash_settle(c, &r, one(2));
    if (r.e && hash_find(&r.h, c->argv[2], &v))
        hash_reply(c->out, &v);
    else
        reply_null(c->out);
}

void cmd_hmget(struct cmd *c)
{
    struct hash_ref r;
    struct lp_value v;
    if (!hash_read(c, &r))
        return;
    hash_settle(c, &r, (struct hash_fields){2, c->argc - 1, 1});
    reply_array(c->out, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) {
        if (r.e && hash_find(&r.h, c->argv[i], &v))
            hash_reply(c->out, &v);
        else
            reply_null(c->out);
    }
}

void cmd_hexists(struct cmd *c)
{
    struct hash_ref r;
    struct lp_value v;
    if (!hash_read(c, &r))
        return;
    hash_settle(c, &r, one(2));
    reply_int(c->out, r.e && hash_find(&r.h, c->argv[2], &v));
}

void cmd_hstrlen(struct cmd *c)
{
    struct hash_ref r;
    struct lp_value v;
    char text[NUM_I64_CHARS];
    if (!hash_read(c, &r))
        return;
    hash_settle(c, &r, one(2));
    if (!r.e || !hash_find(&r.h, c->argv[2], &v))
        reply_int(c->out, 0);
    else
        reply_int(c->out, (int64_t)(v.text.p ? v.text.n : num_format_i64(text, v.number)));
}

void cmd_hlen(struct cmd *c)
{
    struct hash_ref r;
    if (!hash_read(c, &r))
        return;
    hash_settle_all(c, &r);
    reply_int(c->out, r.e ? (int64_t)hash_count(&r.h) : 0);
}

/* ---- writing ---- */

/* Opens the hash for the fields and values from argument `first` on; a new one is made. False: the error was written. */
static bool write_args(struct cmd *c, struct hash_ref *r, uint32_t first)
{
    size_t room = 0;
    if (!hash_write(c, r))
        return false;
    hash_settle(c, r, (struct hash_fields){first, c->argc - 2, 2});
    if (r->e)
        return true;
    for (uint32_t i = first; i < c->argc && room < NEW_ROOM_MAX; i++)
        room += c->argv[i].n + 2;
    if (hash_begin(c, r, room < NEW_ROOM_MAX ? room : NEW_ROOM_MAX))
        return true;
    cmd_reply_oom(c);
    return false;
}

/* Sets the pairs from argument 2 on. Returns how many fields are new; -1: the error was written. */
static int64_t set_pairs(struct cmd *c)
{
    struct hash_ref r;
    int64_t created = 0;
    if (c->argc % 2) {
        reply_errorf(c->out, "ERR wrong number of arguments for '%s' command", c->desc->full);
        return -1;
    }
    if (!write_args(c, &r, 2))
        return -1;
    for (uint32_t i = 2; i < c->argc; i += 2) {
        enum fieldmap_put put = hash_put(&r.h, c->argv[i], c->argv[i + 1], FIELDMAP_NO_TTL);
        if (put == FIELDMAP_NO_MEMORY) {
            hash_abandon(c, &r);
            if (r.e && i > 2)
                keyref_changed(c, &r.k, KS_HASH, "hset");
            return -1;
        }
        created += put == FIELDMAP_NEW;
    }
    if (!hash_commit(c, &r)) {
        cmd_reply_oom(c);
        return -1;
    }
    keyref_changed(c, &r.k, KS_HASH, "hset");
    return created;
}

void cmd_hset(struct cmd *c)
{
    int64_t created = set_pairs(c);
    if (created >= 0)
        reply_int(c->out, created);
}

void cmd_hmset(struct cmd *c)
{
    if (set_pairs(c) >= 0)
        reply_ok(c->out);
}

/* Puts one field; a hash that is not there yet is made. False: the error was written. */
static bool put_one(struct cmd *c, struct hash_ref *r, struct span value, int64_t expire,
                    const char *event)
{
    bool ready = true;
    if (!r->e) {
        ready = hash_begin(c, r, c->argv[2].n + value.n + 4);
    }
    if (!ready || hash_put(&r->h, c->argv[2], value, expire) == FIELDMAP_NO_MEMORY) {
        hash_abandon(c, r);
        return false;
    }
    if (!hash_commit(c, r)) {
        cmd_reply_oom(c);
        return false;
    }
    keyref_changed(c, &r->k, KS_HASH, event);
    return true;
}

void cmd_hsetnx(struct cmd *c)
{
    struct hash_ref r;
    struct lp_value v;
    if (!hash_write(c, &r))
        return;
    hash_settle(c, &r, one(2));
    if (r.e && hash_find(&r.h, c->argv[2], &v))
        reply_int(c->out, 0);
    else if (put_one(c, &r, c->argv[3], FIELDMAP_NO_TTL, "hset"))
        reply_int(c->out, 1);
}

void cmd_hdel(struct cmd *c)
{
    struct hash_ref r;
    int64_t removed = 0;
    if (!hash_write(c, &r))
        return;
    hash_settle(c, &r, (struct hash_fields){2, c->argc - 1, 1});
    if (!r.e) {
        reply_int(c->out, 0);
        return;
    }
    for (uint32_t i = 2; i < c->argc && hash_count(&r.h); i++)
        removed += hash_remove(&r.h, c->argv[i]);
    hash_commit(c, &r);
    if (removed) {
        keyref_changed(c, &r.k, KS_HASH, "hdel");
        hash_drop_if_empty(c, &r);
    }
    reply_int(c->out, removed);
}

/* ---- numbers ---- */

void cmd_hincrby(struct cmd *c)
{
    struct hash_ref r;
    struct lp_value v;
    int64_t by, number = 0;
    char text[NUM_I64_CHARS];
    if (!cmd_arg_i64(c, 3, &by) || !hash_write(c, &r))
        return;
    hash_settle(c, &r, one(2));
    if (r.e && hash_find(&r.h, c->argv[2], &v)) {
        number = v.number;
        if (v.text.p && !num_parse_i64(v.text, &number)) {
            reply_error(c->out, "ERR hash value is not an integer");
            return;
        }
    }
    if (__builtin_add_overflow(number, by, &number)) {
        reply_error(c->out, "ERR increment or decrement would overflow");
        return;
    }
    struct span value = span_of(text, num_format_i64(text, number));
    if (put_one(c, &r, value, FIELDMAP_KEEP_TTL, "hincrby"))
        reply_int(c->out, number);
}

/* The number a field holds. False: it is none. */
static bool value_as_float(const struct lp_value *v, long double *ret)
{
    if (v->text.p)
        return num_parse_long_double(v->text, ret);
    *ret = (long double)v->number;
    return true;
}

void cmd_hincrbyfloat(struct cmd *c)
{
    struct hash_ref r;
    struct lp_value v;
    long double by, number = 0;
    char text[NUM_LONG_DOUBLE_CHARS];
    if (!num_parse_long_double(c->argv[3], &by)) {
        reply_error(c->out, "ERR value is not a valid float");
        return;
    }
    if (isnan(by) || isinf(by)) {
        reply_error(c->out, "ERR value is NaN or Infinity");
        return;
    }
    if (!hash_write(c, &r))
        return;
    hash_settle(c, &r, one(2));
    if (r.e && hash_find(&r.h, c->argv[2], &v) && !value_as_float(&v, &number)) {
        reply_error(c->out, "ERR hash value is not a float");
        return;
    }
    number += by;
    if (isnan(number) || isinf(number)) {
        reply_error(c->out, "ERR increment would produce NaN or Infinity");
        return;
    }
    struct span value = span_of(text, num_format_long_double(text, number));
    if (!put_one(c, &r, value, FIELDMAP_KEEP_TTL, "hincrbyfloat"))
        return;
    reply_bulk(c->out, value);
    int64_t expire_ms = -1;
    if (cmd_journals(c))
        hash_find_expire(&r.h, c->argv[2], &v, &expire_ms);
    if (expire_ms < 0) /* HSET takes a field's expiry away, and Redis 7.0 knows no HSETEX */
        CMD_SAY(c, SPAN("HSET"), r.k.key, c->argv[2], value);
    else
        CMD_SAY(c, SPAN("HSETEX"), r.k.key, SPAN("KEEPTTL"), SPAN("FIELDS"), SPAN("1"), c->argv[2],
                value);
}
