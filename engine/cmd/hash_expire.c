/* Expiry of single fields, as Redis 7.4 has it: HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT, HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME, HPERSIST.
 *
 *   HEXPIRE key seconds [NX|XX|GT|LT] FIELDS numfields field [field ...]
 *
 * One integer for each field: -2 no such field, 0 the condition does not hold, 1 set, 2 deleted (the time is not in the future). A hash
 * with such a field is a fieldmap, whatever its size; the expiry is 8 bytes of that field only.
 * Where in the flow: cmd_call -> here -> engine/ds/fieldmap.c, on the lease holder's thread. */
#include "engine/cmd/hash_expire.h"

#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"

enum condition { ALWAYS, IF_NONE, IF_SOME, IF_GREATER, IF_LESS };

enum answer { NO_FIELD = -2, NO_TTL = -1, NOT_MET = 0, DONE = 1, DELETED = 2 };

bool hash_expire_time(struct cmd *c, uint32_t i, int64_t unit_ms, int64_t base_ms, int64_t *ret)
{
    int64_t v;
    if (!cmd_arg_i64(c, i, &v))
        return false;
    if (v < 0) {
        reply_error(c->out, "ERR invalid expire time, must be >= 0");
        return false;
    }
    if (v > HASH_EXPIRE_MAX_MS / unit_ms || v * unit_ms > HASH_EXPIRE_MAX_MS - base_ms) {
        cmd_reply_expire_time(c);
        return false;
    }
    *ret = v * unit_ms + base_ms;
    return true;
}

bool hash_expire_fields(struct cmd *c, uint32_t at, const char *not_positive,
                        struct hash_fields *ret)
{
    int64_t n;
    if (at >= c->argc || !span_is(c->argv[at], "fields")) {
        reply_error(c->out,
                    "ERR Mandatory argument FIELDS is missing or not at the right position");
        return false;
    }
    if (at + 1 >= c->argc || !num_parse_i64(c->argv[at + 1], &n) || n < 1) {
        reply_error(c->out, not_positive);
        return false;
    }
    if (n != (int64_t)c->argc - at - 2) {
        reply_error(c->out, "ERR The `numfields` parameter must match the number of arguments");
        return false;
    }
    *ret = (struct hash_fields){at + 2, c->argc - 1, 1};
    return true;
}

bool hash_expire_field(struct hash_ref *r, struct span field, int64_t when_ms)
{
    if (!hash_set_expire(&r->h, field, when_ms))
        return false;
    if (when_ms >= 0)
        field_timer_earlier(hash_map(&r->h), when_ms);
    return true;
}

void hash_say_expire(struct cmd *c, const struct hash_ref *r, struct span field, int64_t when_ms)
{
    char number[NUM_I64_CHARS];
    if (when_ms < 0)
        CMD_SAY(c, SPAN("HPERSIST"), r->k.key, SPAN("FIELDS"), SPAN("1"), field);
    else
        CMD_SAY(c, SPAN("HPEXPIREAT"), r->k.key, effect_number(number, when_ms), SPAN("FIELDS"),
                SPAN("1"), field);
}

void hash_expire_done(struct cmd *c, struct hash_ref *r)
{
    if (r->e &&
        !hash_is_packed(&r->h)) /* without memory for a timer it expires when it is asked for */
        field_timer_bind(r->k.shard, c->db, r->k.key, hash_map(&r->h));
}

/* ---- setting ---- */

static enum condition read_condition(struct span word)
{
    return span_is(word, "nx")   ? IF_NONE
           : span_is(word, "xx") ? IF_SOME
           : span_is(word, "gt") ? IF_GREATER
           : span_is(word, "lt") ? IF_LESS
                                 : ALWAYS;
}

/* No expiry counts as infinitely late. */
static bool holds(enum condition cond, int64_t current, int64_t when)
{
    switch (cond) {
    case IF_NONE: return current < 0;
    case IF_SOME: return current >= 0;
    case IF_GREATER: return current >= 0 && when > current;
    case IF_LESS: return current < 0 || when < current;
    default: return true;
    }
}

/* Sets one field's expiry. False: no memory. */
static bool expire_one(struct hash_ref *r, struct span field, enum condition cond, int64_t when,
                       int8_t *ret)
{
    struct lp_value v;
    int64_t current;
    if (!hash_find_expire(&r->h, field, &v, &current)) {
        *ret = NO_FIELD;
    } else if (!holds(cond, current, when)) {
        *ret = NOT_MET;
    } else if (when <= r->k.shard->now_ms && !r->k.shard->loading) {
        hash_remove(&r->h, field);
        *ret = DELETED;
    } else {
        *ret = DONE;
        return hash_expire_field(r, field, when);
    }
    return true;
}

static void reply_answers(struct cmd *c, const int8_t *answers, uint32_t n)
{
    reply_array(c->out, n);
    for (uint32_t i = 0; i < n; i++)
        reply_int(c->out, answers ? answers[i] : NO_FIELD);
}

/* The fields of an existing hash. */
static void expire_all(struct cmd *c, struct hash_ref *r, struct hash_fields named,
                       enum condition cond, int64_t when)
{
    uint32_t n = named.last - named.first + 1, count[3] = {0};
    struct mem *mem = r->h.mem;
    int8_t *answers = mem_alloc(mem, n);
    bool ok = answers != NULL;
    for (uint32_t i = 0; ok && i < n; i++) {
        struct span field = c->argv[named.first + i];
        ok = expire_one(r, field, cond, when, &answers[i]);
        if (ok && answers[i] >= 0)
            count[answers[i]]++;
        if (ok && answers[i] == DONE)
            hash_say_expire(c, r, field, when);
        else if (ok && answers[i] == DELETED)
            CMD_SAY(c, SPAN("HDEL"), r->k.key, field);
    }
    hash_commit(c, r);
    hash_expire_done(c, r);
    if (count[DONE] + count[DELETED])
        keyref_changed(c, &r->k, KS_HASH, count[DELETED] ? "hdel" : "hexpire");
    if (count[DELETED])
        hash_drop_if_empty(c, r);
    if (ok)
        reply_answers(c, answers, n);
    else
        cmd_reply_oom(c);
    if (answers)
        mem_free(mem, answers, n);
}

static void expire_generic(struct cmd *c, int64_t unit_ms, int64_t base_ms)
{
    struct hash_ref r;
    struct hash_fields named;
    int64_t when;
    if (!hash_write(c, &r) || !hash_expire_time(c, 2, unit_ms, base_ms, &when))
        return;
    enum condition cond = read_condition(c->argv[3]);
    if (!hash_expire_fields(c, cond == ALWAYS ? 3 : 4,
                            "ERR Parameter `numFields` should be greater than 0", &named))
        return;
    hash_settle(c, &r, named);
    if (r.e)
        expire_all(c, &r, named, cond, when);
    else
        reply_answers(c, NULL, named.last - named.first + 1);
}

void cmd_hexpire(struct cmd *c)
{
    expire_generic(c, 1000, c->shard->now_ms);
}

void cmd_hpexpire(struct cmd *c)
{
    expire_generic(c, 1, c->shard->now_ms);
}

void cmd_hexpireat(struct cmd *c)
{
    expire_generic(c, 1000, 0);
}

void cmd_hpexpireat(struct cmd *c)
{
    expire_generic(c, 1, 0);
}

/* ---- asking ---- */

static const char not_positive[] = "ERR Number of fields must be a positive integer";

static void ttl_generic(struct cmd *c, int64_t unit_ms, int64_t base_ms)
{
    struct hash_ref r;
    struct hash_fields named;
    if (!hash_read(c, &r) || !hash_expire_fields(c, 2, not_positive, &named))
        return;
    hash_settle(c, &r, named);
    reply_array(c->out, named.last - named.first + 1);
    for (uint32_t i = named.first; i <= named.last; i++) {
        struct lp_value v;
        int64_t when;
        if (!r.e || !hash_find_expire(&r.h, c->argv[i], &v, &when))
            reply_int(c->out, NO_FIELD);
        else if (when < 0)
            reply_int(c->out, NO_TTL);
        else
            reply_int(c->out, (when - base_ms + unit_ms - 1) / unit_ms); /* rounded up */
    }
}

void cmd_httl(struct cmd *c)
{
    ttl_generic(c, 1000, c->shard->now_ms);
}

void cmd_hpttl(struct cmd *c)
{
    ttl_generic(c, 1, c->shard->now_ms);
}

void cmd_hexpiretime(struct cmd *c)
{
    ttl_generic(c, 1000, 0);
}

void cmd_hpexpiretime(struct cmd *c)
{
    ttl_generic(c, 1, 0);
}

/* Taking an expiry away makes the item smaller: it needs no memory. */
void cmd_hpersist(struct cmd *c)
{
    struct hash_ref r;
    struct hash_fields named;
    uint32_t done = 0;
    if (!hash_write(c, &r) || !hash_expire_fields(c, 2, not_positive, &named))
        return;
    hash_settle(c, &r, named);
    reply_array(c->out, named.last - named.first + 1);
    for (uint32_t i = named.first; i <= named.last; i++) {
        struct lp_value v;
        int64_t when;
        enum answer answer = NO_FIELD;
        if (r.e && hash_find_expire(&r.h, c->argv[i], &v, &when))
            answer = when >= 0 && hash_expire_field(&r, c->argv[i], -1) ? DONE : NO_TTL;
        done += answer == DONE;
        reply_int(c->out, answer);
    }
    hash_expire_done(c, &r);
    if (done)
        keyref_changed(c, &r.k, KS_HASH, "hpersist");
}
