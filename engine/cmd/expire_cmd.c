/* Time to live: the EXPIRE family, TTL and EXPIRETIME, PERSIST.
 *
 *   EXPIRE key seconds [NX|XX|GT|LT]      a time that is not in the future deletes the key
 *
 * Where in the flow: cmd_call -> here -> keyspace, on the lease holder's thread. Inside, every expiry is an absolute unix time in
 * ms; what arrives in other units is turned into it here, with Redis's overflow errors. */
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/keyref.h"

enum expire_flags { EXPIRE_NX = 1, EXPIRE_XX = 2, EXPIRE_GT = 4, EXPIRE_LT = 8 };

static bool expire_options(struct cmd *c, unsigned *ret)
{
    unsigned flags = 0;
    for (uint32_t i = 3; i < c->argc; i++) {
        struct span o = c->argv[i];
        if (span_is(o, "nx")) {
            flags |= EXPIRE_NX;
        } else if (span_is(o, "xx")) {
            flags |= EXPIRE_XX;
        } else if (span_is(o, "gt")) {
            flags |= EXPIRE_GT;
        } else if (span_is(o, "lt")) {
            flags |= EXPIRE_LT;
        } else {
            cmd_reply_unsupported_option(c, o);
            return false;
        }
    }
    if ((flags & EXPIRE_NX) && (flags & ~EXPIRE_NX)) {
        reply_error(c->out, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if ((flags & EXPIRE_GT) && (flags & EXPIRE_LT)) {
        reply_error(c->out, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    *ret = flags;
    return true;
}

/* Whether the options let `when` replace the expiry `current`. No expiry counts as infinitely late. */
static bool expire_admits(unsigned flags, int64_t current, int64_t when)
{
    bool has = current != KS_NO_TTL;
    if (((flags & EXPIRE_NX) && has) || ((flags & EXPIRE_XX) && !has))
        return false;
    if ((flags & EXPIRE_GT) && (!has || when <= current))
        return false;
    return !((flags & EXPIRE_LT) && has && when >= current);
}

/* `unit_ms`: of the time given; `base_ms`: what it is relative to, 0 for absolute. */
static void expire_generic(struct cmd *c, int64_t unit_ms, int64_t base_ms)
{
    struct keyref k = keyref_first(c, 1);
    unsigned flags;
    int64_t when;
    if (!expire_options(c, &flags) || !cmd_arg_i64(c, 2, &when))
        return;
    if (__builtin_mul_overflow(when, unit_ms, &when) ||
        __builtin_add_overflow(when, base_ms, &when)) {
        cmd_reply_expire_time(c);
        return;
    }
    struct entry *e = keyref_write(c, &k);
    if (!e || !expire_admits(flags, entry_expire_ms(e), when)) {
        reply_int(c->out, 0);
        return;
    }
    if (when <= k.shard->now_ms && !k.shard->loading) {
        ks_delete(k.shard, c->db, e, k.hash, false);
        keyref_changed(c, &k, KS_GENERIC, "del");
        CMD_SAY(c, SPAN("DEL"), k.key);
    } else if (ks_set_expire(k.shard, c->db, &e, k.hash, when)) {
        keyref_changed(c, &k, KS_GENERIC, "expire");
        cmd_say_expire(c, k.key, when);
    } else {
        cmd_reply_oom(c);
        return;
    }
    reply_int(c->out, 1);
}

void cmd_expire(struct cmd *c)
{
    expire_generic(c, 1000, c->shard->now_ms);
}

void cmd_pexpire(struct cmd *c)
{
    expire_generic(c, 1, c->shard->now_ms);
}

void cmd_expireat(struct cmd *c)
{
    expire_generic(c, 1000, 0);
}

void cmd_pexpireat(struct cmd *c)
{
    expire_generic(c, 1, 0);
}

/* -2: no key, -1: no expiry; else the expiry less `base_ms`, in ms or in seconds rounded to the nearest. */
static void ttl_generic(struct cmd *c, int64_t base_ms, bool seconds)
{
    struct keyref k = keyref_first(c, 1);
    const struct entry *e = keyref_look(c, &k);
    int64_t at = e ? entry_expire_ms(e) : KS_NO_TTL;
    if (at == KS_NO_TTL) {
        reply_int(c->out, e ? -1 : -2);
        return;
    }
    int64_t left = at > base_ms ? at - base_ms : 0;
    reply_int(c->out, seconds ? left / 1000 + (left % 1000 >= 500) : left);
}

void cmd_ttl(struct cmd *c)
{
    ttl_generic(c, c->shard->now_ms, true);
}

void cmd_pttl(struct cmd *c)
{
    ttl_generic(c, c->shard->now_ms, false);
}

void cmd_expiretime(struct cmd *c)
{
    ttl_generic(c, 0, true);
}

void cmd_pexpiretime(struct cmd *c)
{
    ttl_generic(c, 0, false);
}

void cmd_persist(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = keyref_write(c, &k);
    if (!e || entry_expire_ms(e) == KS_NO_TTL) {
        reply_int(c->out, 0);
        return;
    }
    if (!ks_set_expire(k.shard, c->db, &e, k.hash, KS_NO_TTL)) {
        cmd_reply_oom(c);
        return;
    }
    keyref_changed(c, &k, KS_GENERIC, "persist");
    reply_int(c->out, 1);
}
