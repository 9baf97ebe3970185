/* zset_range.c: the ZRANGE family: ZRANGE, ZRANGESTORE, ZREVRANGE, ZRANGEBYSCORE, ZREVRANGEBYSCORE, ZRANGEBYLEX, ZREVRANGEBYLEX.
 *
 * One command with options, of which the older ones are fixed cases. Every range is a rank and a number of members (zset_range_find.c), from
 * which LIMIT takes its part; then it is walked. Where in the flow: cmd_call -> here. Thread: the lease holder's. */
#include "engine/cmd/command_table.h"
#include "engine/cmd/long_reply.h"
#include "engine/cmd/zset_value.h"

enum range_by { BY_OPTION, BY_RANK, BY_SCORE, BY_LEX };
enum range_way { WAY_OPTION, WAY_UP, WAY_DOWN };

struct range_args {
    uint32_t key; /* the source's argument; min and max follow */
    bool store;
    enum range_by by;
    enum range_way way;
    bool with_scores;
    int64_t offset, limit; /* limit -1: all */
    int64_t start, end;    /* BY_RANK */
    struct zval_ends ends;
};

/* False: the error was written. */
static bool range_options(struct cmd *c, struct range_args *a)
{
    for (uint32_t i = a->key + 3; i < c->argc; i++) {
        struct span o = c->argv[i];
        if (!a->store && span_is(o, "withscores")) {
            a->with_scores = true;
        } else if (span_is(o, "limit") && i + 2 < c->argc) {
            if (!cmd_arg_i64(c, i + 1, &a->offset) || !cmd_arg_i64(c, i + 2, &a->limit))
                return false;
            i += 2;
        } else if (a->way == WAY_OPTION && span_is(o, "rev")) {
            a->way = WAY_DOWN;
        } else if (a->by == BY_OPTION && span_is(o, "bylex")) {
            a->by = BY_LEX;
        } else if (a->by == BY_OPTION && span_is(o, "byscore")) {
            a->by = BY_SCORE;
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    if (a->by == BY_OPTION)
        a->by = BY_RANK;
    if (a->limit != -1 && a->by == BY_RANK) {
        reply_error(c->out, "ERR syntax error, LIMIT is only supported in combination with either "
                            "BYSCORE or BYLEX");
        return false;
    }
    if (a->with_scores && a->by == BY_LEX) {
        reply_error(c->out, "ERR syntax error, WITHSCORES not supported in combination with BYLEX");
        return false;
    }
    return true;
}

static bool range_parse(struct cmd *c, struct range_args *a)
{
    if (!range_options(c, a))
        return false;
    uint32_t min = a->key + 1, max = a->key + 2;
    if (a->by == BY_RANK)
        return cmd_arg_i64(c, min, &a->start) && cmd_arg_i64(c, max, &a->end);
    if (a->way == WAY_DOWN)
        return zval_ends_parse(c, max, min, a->by == BY_LEX, &a->ends);
    return zval_ends_parse(c, min, max, a->by == BY_LEX, &a->ends);
}

/* Where the walk starts and how far it goes. */
static struct zval_range range_find(const struct range_args *a, const struct zval *v)
{
    bool back = a->way == WAY_DOWN;
    struct zval_range r;
    if (a->by == BY_RANK) {
        r = zval_rank_range(zval_count(v), a->start, a->end);
        if (back && r.n) /* ranks count from the top */
            r.from = zval_count(v) - 1 - r.from;
        return r;
    }
    r = zval_find_range(v, &a->ends, back);
    if (a->offset < 0 || (uint64_t)a->offset >= r.n)
        return (struct zval_range){0, 0};
    size_t skip = (size_t)a->offset, left = r.n - skip;
    r.from = back ? r.from + left - 1 : r.from + skip;
    r.n = a->limit >= 0 && (uint64_t)a->limit < left ? (size_t)a->limit : left;
    return r;
}

static bool more_range(struct held *h, struct reply *out, size_t budget)
{
    struct long_reply *r = long_reply_of(h);
    struct zval_item i;
    for (size_t done = 0; done < budget; done += i.member.n + REPLY_ELEMENT_BYTES) {
        if (!zval_walk_next(&r->walk, &i))
            return true;
        zval_reply_item(out, &i, r->with_scores);
    }
    return false;
}

/* A large one, and much of it is asked for. */
static bool range_held(struct cmd *c, const struct zval *v, const struct zval_range *range,
                       const struct range_args *a)
{
    struct long_reply *r =
        v->z ? long_reply_begin(c, v->shard, v->e, range->n, zval_count(v), more_range) : NULL;
    if (likely_(!r))
        return false;
    r->zval = *v;
    r->with_scores = a->with_scores;
    zval_walk_from(&r->walk, &r->zval, range->from, range->n, a->way == WAY_DOWN);
    return true;
}

static void range_generic(struct cmd *c, struct range_args a)
{
    struct keyref k = keyref_first(c, a.key);
    struct zval v;
    a.limit = -1;
    if (!range_parse(c, &a) || !zval_read(c, &k, &v))
        return;
    struct zval_range r = range_find(&a, &v);
    struct zval_walk w;
    struct zval_item i;
    zval_reply_head(c->out, r.n, a.with_scores);
    if (range_held(c, &v, &r, &a))
        return;
    zval_walk_from(&w, &v, r.from, r.n, a.way == WAY_DOWN);
    while (zval_walk_next(&w, &i))
        zval_reply_item(c->out, &i, a.with_scores);
}

void cmd_zrange(struct cmd *c)
{
    range_generic(c, (struct range_args){.key = 1});
}

void cmd_zrevrange(struct cmd *c)
{
    range_generic(c, (struct range_args){.key = 1, .by = BY_RANK, .way = WAY_DOWN});
}

void cmd_zrangebyscore(struct cmd *c)
{
    range_generic(c, (struct range_args){.key = 1, .by = BY_SCORE, .way = WAY_UP});
}

void cmd_zrevrangebyscore(struct cmd *c)
{
    range_generic(c, (struct range_args){.key = 1, .by = BY_SCORE, .way = WAY_DOWN});
}

void cmd_zrangebylex(struct cmd *c)
{
    range_generic(c, (struct range_args){.key = 1, .by = BY_LEX, .way = WAY_UP});
}

void cmd_zrevrangebylex(struct cmd *c)
{
    range_generic(c, (struct range_args){.key = 1, .by = BY_LEX, .way = WAY_DOWN});
}

/* ---- into another key ---- */

void cmd_zrangestore(struct cmd *c)
{
    struct range_args a = {.key = 2, .store = true, .limit = -1};
    struct keyref to = keyref_first(c, 1), from = keyref_at(c, 2);
    struct zval v, result;
    struct zval_walk w;
    struct zval_item i;
    char scratch[NUM_I64_CHARS];
    if (!range_parse(c, &a) || !zval_read(c, &from, &v))
        return;
    struct zval_range r = range_find(&a, &v);
    /* By rank Redis knows the number before it begins and makes no listpack for many. */
    bool ok = zval_create(&result, to.shard, a.by == BY_RANK ? r.n : 0, 0);
    zval_walk_from(&w, &v, r.from, r.n, a.way == WAY_DOWN);
    while (ok && zval_walk_next(&w, &i))
        ok = zval_add(&result, i.score, zval_item_text(&i, scratch));
    if (!ok) {
        zval_discard(&result);
        cmd_reply_oom(c);
        return;
    }
    if (zval_store(c, &to, &result, "zrangestore"))
        reply_int(c->out, (int64_t)r.n);
}
