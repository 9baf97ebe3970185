/* Fields and their expiry in one step, as Redis 8.0 has it: HGETEX, HSETEX, HGETDEL.
 *
 *   HGETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST] FIELDS numfields field [field ...]
 *   HSETEX key [FNX|FXX] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL] FIELDS numfields field value [field value ...]
 *   HGETDEL key FIELDS numfields field [field ...]
 *
 * Where in the flow: cmd_call -> here -> engine/ds/hash.c, on the lease holder's thread. */
#include <limits.h>

#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/hash_expire.h"

static const char not_positive[] = "ERR Number of fields must be a positive integer";

/* What EX, PX, EXAT and PXAT mean. */
struct unit {
    const char *word;
    int64_t ms;
    bool relative;
};
static const struct unit units[] = {
    {"ex", 1000, true}, {"px", 1, true}, {"exat", 1000, false}, {"pxat", 1, false}};

static const struct unit *unit_of(struct span word)
{
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (span_is(word, units[i].word))
            return &units[i];
    return NULL;
}

static bool unit_time(struct cmd *c, const struct unit *u, uint32_t i, int64_t *ret)
{
    return hash_expire_time(c, i, u->ms, u->relative ? c->shard->now_ms : 0, ret);
}

static void reply_field(struct cmd *c, const struct hash_ref *r, struct span field)
{
    struct lp_value v;
    if (r->e && hash_find(&r->h, field, &v))
        hash_reply(c->out, &v);
    else
        reply_null(c->out);
}

static void reply_fields(struct cmd *c, const struct hash_ref *r, struct hash_fields named)
{
    reply_array(c->out, named.last - named.first + 1);
    for (uint32_t i = named.first; i <= named.last; i++)
        reply_field(c, r, c->argv[i]);
}

/* ---- HGETDEL ---- */

void cmd_hgetdel(struct cmd *c)
{
    struct hash_ref r;
    struct hash_fields named;
    uint32_t removed = 0;
    if (!hash_write(c, &r) || !hash_expire_fields(c, 2, not_positive, &named))
        return;
    hash_settle(c, &r, named);
    if (!r.e) {
        reply_fields(c, &r, named);
        return;
    }
    reply_array(c->out, named.last - named.first + 1);
    for (uint32_t i = named.first; i <= named.last; i++) {
        reply_field(c, &r, c->argv[i]);
        if (!hash_remove(&r.h, c->argv[i]))
            continue;
        removed++;
        CMD_SAY(c, SPAN("HDEL"), r.k.key, c->argv[i]);
    }
    hash_commit(c, &r);
    if (removed) {
        keyref_changed(c, &r.k, KS_HASH, "hdel");
        hash_drop_if_empty(c, &r);
    }
}

/* ---- HGETEX ---- */

/* Gives the fields that are there another expiry (-1: none). Returns how many; -1: no memory. */
static int64_t touch_fields(struct cmd *c, struct hash_ref *r, struct hash_fields named,
                            int64_t when)
{
    int64_t n = 0;
    for (uint32_t i = named.first; i <= named.last; i++) {
        struct lp_value v;
        int64_t old;
        if (!hash_find_expire(&r->h, c->argv[i], &v, &old) || (when < 0 && old < 0))
            continue;
        if (!hash_expire_field(r, c->argv[i], when))
            return -1;
        hash_say_expire(c, r, c->argv[i], when);
        n++;
    }
    return n;
}

static void remove_fields(struct cmd *c, struct hash_ref *r, struct hash_fields named)
{
    uint32_t n = 0;
    for (uint32_t i = named.first; i <= named.last; i += named.step) {
        if (!hash_remove(&r->h, c->argv[i]))
            continue;
        n++;
        CMD_SAY(c, SPAN("HDEL"), r->k.key, c->argv[i]);
    }
    hash_commit(c, r);
    if (n) {
        keyref_changed(c, &r->k, KS_HASH, "hdel");
        hash_drop_if_empty(c, r);
    }
}

void cmd_hgetex(struct cmd *c)
{
    struct hash_ref r;
    struct hash_fields named;
    int64_t when = 0;
    const struct unit *u = unit_of(c->argv[2]);
    bool persist = span_is(c->argv[2], "persist");
    if (!hash_write(c, &r) || (u && !unit_time(c, u, 3, &when)) ||
        !hash_expire_fields(c,
                            u         ? 4
                            : persist ? 3
                                      : 2,
                            not_positive, &named))
        return;
    hash_settle(c, &r, named);
    if (!r.e || (!u && !persist)) {
        reply_fields(c, &r, named);
        return;
    }
    if (u && when <= c->shard->now_ms && !c->shard->loading) {
        reply_fields(c, &r, named);
        remove_fields(c, &r, named);
        return;
    }
    int64_t n = touch_fields(c, &r, named, persist ? -1 : when);
    hash_commit(c, &r);
    hash_expire_done(c, &r);
    if (n < 0) {
        cmd_reply_oom(c);
        return;
    }
    reply_fields(c, &r, named);
    if (n)
        keyref_changed(c, &r.k, KS_HASH, persist ? "hpersist" : "hexpire");
}

/* ---- HSETEX ---- */

struct setex {
    const struct unit *unit; /* NULL: no time was given */
    int64_t when;
    bool keep, only_new, only_old;
    struct hash_fields named;
};

/* FIELDS and what follows. False: the error was written. */
static bool setex_fields(struct cmd *c, uint32_t i, struct setex *x)
{
    int64_t n;
    if (i + 3 >= c->argc) {
        reply_errorf(c->out, "ERR wrong number of arguments for '%s' command", c->desc->full);
        return false;
    }
    if (!num_parse_i64(c->argv[i + 1], &n) || n < 1 || n > INT_MAX) {
        reply_error(c->out, "ERR invalid number of fields");
        return false;
    }
    if (n * 2 != (int64_t)c->argc - i - 2) {
        reply_errorf(c->out, "ERR wrong number of arguments for '%s' command", c->desc->full);
        return false;
    }
    x->named = (struct hash_fields){i + 2, c->argc - 2, 2};
    return true;
}

static bool setex_parse(struct cmd *c, struct setex *x)
{
    for (uint32_t i = 2; i < c->argc; i++) {
        struct span o = c->argv[i];
        const struct unit *u = unit_of(o);
        if (span_is(o, "fields"))
            return setex_fields(c, i, x);
        if (u || span_is(o, "keepttl")) {
            if (x->unit || x->keep) {
                reply_error(c->out, "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can "
                                    "be specified");
                return false;
            }
            x->unit = u;
            x->keep = !u;
            if (u && i + 1 == c->argc) {
                reply_error(c->out, "ERR missing expire time");
                return false;
            }
            if (u && !unit_time(c, u, ++i, &x->when))
                return false;
        } else if (span_is(o, "fxx") || span_is(o, "fnx")) {
            if (x->only_old || x->only_new) {
                reply_error(c->out, "ERR Only one of FXX or FNX arguments can be specified");
                return false;
            }
            x->only_old = span_is(o, "fxx");
            x->only_new = !x->only_old;
        } else {
            reply_errorf(c->out, "ERR unknown argument: %.*s", span_shown(o, 128),
                         (const char *)o.p);
            return false;
        }
    }
    reply_errorf(c->out, "ERR wrong number of arguments for '%s' command", c->desc->full);
    return false;
}

/* Whether FNX and FXX let it happen. */
static bool setex_admits(const struct cmd *c, const struct hash_ref *r, const struct setex *x)
{
    if (!x->only_new && !x->only_old)
        return true;
    for (uint32_t i = x->named.first; i <= x->named.last; i += 2) {
        struct lp_value v;
        bool there = r->e && hash_find(&r->h, c->argv[i], &v);
        if (there ? x->only_new : x->only_old)
            return false;
    }
    return true;
}

static void setex_say(struct cmd *c, const struct hash_ref *r, const struct setex *x, uint32_t i)
{
    char number[NUM_I64_CHARS];
    struct span key = r->k.key, field = c->argv[i], value = c->argv[i + 1];
    if (x->unit)
        CMD_SAY(c, SPAN("HSETEX"), key, SPAN("PXAT"), effect_number(number, x->when),
                SPAN("FIELDS"), SPAN("1"), field, value);
    else if (x->keep)
        CMD_SAY(c, SPAN("HSETEX"), key, SPAN("KEEPTTL"), SPAN("FIELDS"), SPAN("1"), field, value);
    else
        CMD_SAY(c, SPAN("HSET"), key, field, value);
}

/* False: no memory. */
static bool setex_put(struct cmd *c, struct hash_ref *r, const struct setex *x)
{
    int64_t ttl = x->keep ? FIELDMAP_KEEP_TTL : x->unit ? x->when : FIELDMAP_NO_TTL;
    for (uint32_t i = x->named.first; i <= x->named.last; i += 2) {
        if (hash_put(&r->h, c->argv[i], c->argv[i + 1], ttl) == FIELDMAP_NO_MEMORY)
            return false;
        setex_say(c, r, x, i);
    }
    return true;
}

void cmd_hsetex(struct cmd *c)
{
    struct setex x = {0};
    struct hash_ref r;
    if (!setex_parse(c, &x) || !hash_write(c, &r))
        return;
    hash_settle(c, &r, x.named);
    if (!setex_admits(c, &r, &x)) {
        reply_int(c->out, 0);
        return;
    }
    if (x.unit && x.when <= c->shard->now_ms &&
        !c->shard->loading) { /* set and gone in the same moment */
        if (r.e)
            remove_fields(c, &r, x.named);
        reply_int(c->out, 1);
        return;
    }
    bool ready = r.e || hash_begin(c, &r, 64);
    if (!ready || !setex_put(c, &r, &x)) {
        hash_abandon(c, &r);
        hash_expire_done(c, &r);
        return;
    }
    if (!hash_commit(c, &r)) {
        cmd_reply_oom(c);
        return;
    }
    if (x.unit)
        field_timer_earlier(hash_map(&r.h), x.when);
    hash_expire_done(c, &r);
    keyref_changed(c, &r.k, KS_HASH, "hset");
    if (x.unit)
        keyref_changed(c, &r.k, KS_HASH, "hexpire");
    reply_int(c->out, 1);
}
