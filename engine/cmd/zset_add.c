/* zset_add.c: members in and out of sorted sets: ZADD, ZINCRBY, ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX.
 *
 * Where in the flow: cmd_call -> here -> zset_value.c; GEOADD ends in zset_add_pairs as well. Thread: the lease holder's. */
#include "engine/cmd/zset_add.h"

#include <math.h>

#include "engine/cmd/command_table.h"

/* Options in front of the first score. Returns its position, or 0 after an error. */
static uint32_t zadd_options(struct cmd *c, struct zset_add *a)
{
    uint32_t i = 2;
    for (; i < c->argc; i++) {
        struct span o = c->argv[i];
        if (span_is(o, "nx"))
            a->nx = true;
        else if (span_is(o, "xx"))
            a->xx = true;
        else if (span_is(o, "ch"))
            a->ch = true;
        else if (span_is(o, "incr"))
            a->incr = true;
        else if (span_is(o, "gt"))
            a->gt = true;
        else if (span_is(o, "lt"))
            a->lt = true;
        else
            break;
    }
    uint32_t left = c->argc - i;
    if (left == 0 || left % 2)
        cmd_reply_syntax(c);
    else if (a->nx && a->xx)
        reply_error(c->out, "ERR XX and NX options at the same time are not compatible");
    else if ((a->gt && a->nx) || (a->lt && a->nx) || (a->gt && a->lt))
        reply_error(c->out, "ERR GT, LT, and/or NX options at the same time are not compatible");
    else if (a->incr && left > 2)
        reply_error(c->out, "ERR INCR option supports a single increment-element pair");
    else
        return i;
    return 0;
}

/* One pair. False: no memory, or (with INCR) not a number. */
static bool add_pair(struct cmd *c, struct zset_add *a, struct zval *v, double score,
                     struct span member)
{
    double old;
    if (!zval_find(v, member, &old)) {
        if (a->xx)
            return true;
        if (!zval_add(v, score, member))
            goto no_memory;
        a->added++;
        a->processed = true;
        a->score = score;
        return true;
    }
    if (a->nx)
        return true;
    if (a->incr) {
        score += old;
        if (isnan(score)) {
            reply_error(c->out, "ERR resulting score is not a number (NaN)");
            return false;
        }
    }
    if ((a->lt && score >= old) || (a->gt && score <= old))
        return true;
    if (score != old) {
        if (!zval_rescore(v, score, member))
            goto no_memory;
        a->updated++;
    }
    a->processed = true;
    a->score = score;
    return true;
no_memory:
    cmd_reply_oom(c);
    return false;
}

/* Of a key that is not there yet. */
static bool add_to_new(struct cmd *c, const struct keyref *k, struct zset_add *a, struct zval *v,
                       uint32_t pairs)
{
    if (!zval_create(v, k->shard, 1, a->pair(c, a, 0, &a->score).n)) {
        cmd_reply_oom(c);
        return false;
    }
    for (uint32_t i = 0; i < pairs; i++) {
        double score;
        struct span member = a->pair(c, a, i, &score);
        if (!add_pair(c, a, v, score, member)) {
            zval_discard(v);
            return false;
        }
    }
    return zval_store(c, k, v, a->incr ? "zincr" : "zadd");
}

static bool add_to_old(struct cmd *c, const struct keyref *k, struct zset_add *a, struct zval *v,
                       uint32_t pairs)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < pairs; i++) {
        double score;
        struct span member = a->pair(c, a, i, &score);
        ok = add_pair(c, a, v, score, member);
    }
    if (a->added || a->updated)
        keyref_changed(c, k, KS_ZSET, a->incr ? "zincr" : "zadd");
    return ok;
}

void zset_add_pairs(struct cmd *c, struct zset_add *a, uint32_t pairs)
{
    struct keyref k = keyref_first(c, 1);
    struct zval v;
    if (!zval_write(c, &k, &v))
        return;
    if (zval_exists(&v) ? !add_to_old(c, &k, a, &v, pairs)
                        : !a->xx && !add_to_new(c, &k, a, &v, pairs))
        return;
    if (!a->incr)
        reply_int(c->out, (int64_t)(a->ch ? a->added + a->updated : a->added));
    else if (a->processed)
        zval_reply_score(c->out, a->score);
    else
        reply_null(c->out);
}

/* ---- scores from the arguments ---- */

struct zadd {
    struct zset_add add;
    uint32_t first;
    double score; /* the first, of all */
};

/* Scores are read twice, so that thousands of them need no memory: once all must be right, then each as it is its turn. */
static struct span zadd_pair(struct cmd *c, struct zset_add *a, uint32_t i, double *ret)
{
    struct zadd *z = (struct zadd *)a;
    uint32_t at = z->first + 2 * i;
    if (i == 0)
        *ret = z->score;
    else
        zval_arg_score(c, at, ret);
    return c->argv[at + 1];
}

static void zadd_generic(struct cmd *c, bool incr)
{
    struct zadd z = {.add = {.pair = zadd_pair, .incr = incr}};
    z.first = zadd_options(c, &z.add);
    if (!z.first)
        return;
    for (uint32_t i = c->argc - 2; i >= z.first; i -= 2)
        if (!zval_arg_score(c, i, &z.score))
            return;
    zset_add_pairs(c, &z.add, (c->argc - z.first) / 2);
}

void cmd_zadd(struct cmd *c)
{
    zadd_generic(c, false);
}

void cmd_zincrby(struct cmd *c)
{
    zadd_generic(c, true);
}

/* ---- out ---- */

void cmd_zrem(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct zval v;
    int64_t n = 0;
    if (!zval_write(c, &k, &v))
        return;
    for (uint32_t i = 2; zval_exists(&v) && i < c->argc && zval_count(&v); i++)
        n += zval_remove(&v, c->argv[i]);
    if (n)
        zval_removed(c, &k, &v, "zrem");
    reply_int(c->out, n);
}

static void remove_range(struct cmd *c, const struct keyref *k, struct zval *v, struct zval_range r,
                         const char *event)
{
    if (r.n) {
        zval_remove_ranks(v, r.from, r.n);
        zval_removed(c, k, v, event);
    }
    reply_int(c->out, (int64_t)r.n);
}

void cmd_zremrangebyrank(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct zval v;
    int64_t start, end;
    if (cmd_arg_i64(c, 2, &start) && cmd_arg_i64(c, 3, &end) && zval_write(c, &k, &v))
        remove_range(c, &k, &v, zval_rank_range(zval_count(&v), start, end), "zremrangebyrank");
}

static void remove_ends(struct cmd *c, bool lex, const char *event)
{
    struct keyref k = keyref_first(c, 1);
    struct zval_ends ends;
    struct zval v;
    if (zval_ends_parse(c, 2, 3, lex, &ends) && zval_write(c, &k, &v))
        remove_range(c, &k, &v, zval_find_range(&v, &ends, false), event);
}

void cmd_zremrangebyscore(struct cmd *c)
{
    remove_ends(c, false, "zremrangebyscore");
}

void cmd_zremrangebylex(struct cmd *c)
{
    remove_ends(c, true, "zremrangebylex");
}
