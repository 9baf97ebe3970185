/* zset_algebra.c: ZUNION, ZINTER, ZDIFF, their STORE forms and ZINTERCARD.
 *
 * Where in the flow: cmd_call -> here, on the thread that holds the leases of all keys. The result is built apart, on the destination's shard,
 * and put in place when it is complete. The inputs are taken in the order of their sizes, as Redis does: sums of floating point numbers
 * depend on it. */
#include <math.h>

#include "engine/cmd/command_table.h"
#include "engine/cmd/zset_source.h"

enum zset_op { OP_UNION, OP_INTER, OP_DIFF, OP_COUNT };
enum zset_aggregate { AGGREGATE_SUM, AGGREGATE_MIN, AGGREGATE_MAX };

struct algebra {
    enum zset_op op;
    bool store;
    uint32_t numkeys; /* its argument; the keys follow */
    size_t n;
    struct zset_source *src;
    enum zset_aggregate aggregate;
    bool with_scores;
    uint64_t limit; /* 0: none */
    struct zset *result;
    size_t longest; /* member of the result */
};

/* ---- arguments ---- */

static bool arg_weights(struct cmd *c, struct algebra *a, uint32_t at)
{
    for (size_t i = 0; i < a->n; i++) {
        if (!num_parse_double(c->argv[at + i], &a->src[i].weight)) {
            reply_error(c->out, "ERR weight value is not a float");
            return false;
        }
    }
    return true;
}

static bool arg_aggregate(struct cmd *c, struct algebra *a, struct span word)
{
    if (span_is(word, "sum"))
        a->aggregate = AGGREGATE_SUM;
    else if (span_is(word, "min"))
        a->aggregate = AGGREGATE_MIN;
    else if (span_is(word, "max"))
        a->aggregate = AGGREGATE_MAX;
    else
        return cmd_reply_syntax(c), false;
    return true;
}

static bool arg_limit(struct cmd *c, struct algebra *a, uint32_t i)
{
    int64_t limit;
    if (!num_parse_i64(c->argv[i], &limit) || limit < 0) {
        reply_error(c->out, "ERR LIMIT can't be negative");
        return false;
    }
    a->limit = (uint64_t)limit;
    return true;
}

/* Options behind the keys. */
static bool algebra_options(struct cmd *c, struct algebra *a)
{
    bool scores = a->op == OP_UNION || a->op == OP_INTER;
    for (uint32_t i = a->numkeys + 1 + (uint32_t)a->n; i < c->argc;) {
        struct span o = c->argv[i++];
        uint32_t left = c->argc - i;
        if (scores && left >= a->n && span_is(o, "weights")) {
            if (!arg_weights(c, a, i))
                return false;
            i += (uint32_t)a->n;
        } else if (scores && left >= 1 && span_is(o, "aggregate")) {
            if (!arg_aggregate(c, a, c->argv[i++]))
                return false;
        } else if (!a->store && a->op != OP_COUNT && span_is(o, "withscores")) {
            a->with_scores = true;
        } else if (a->op == OP_COUNT && left >= 1 && span_is(o, "limit")) {
            if (!arg_limit(c, a, i++))
                return false;
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    return true;
}

/* The number of keys; *a stays without sources. */
static bool algebra_numkeys(struct cmd *c, struct algebra *a)
{
    int64_t n;
    if (!cmd_arg_i64(c, a->numkeys, &n))
        return false;
    if (n < 1) {
        reply_errorf(c->out, "ERR at least 1 input key is needed for '%s' command", c->desc->full);
        return false;
    }
    if (n > (int64_t)c->argc - a->numkeys - 1) {
        cmd_reply_syntax(c);
        return false;
    }
    a->n = (size_t)n;
    return true;
}

static bool algebra_open(struct cmd *c, struct algebra *a)
{
    for (size_t i = 0; i < a->n; i++) {
        struct keyref k = keyref_at(c, a->numkeys + 1 + (uint32_t)i);
        if (!zset_source_open(c, &k, &a->src[i]))
            return false;
    }
    return true;
}

/* Smallest first; those of one size stay in their order. */
static void sort_sources(struct algebra *a)
{
    for (size_t i = 1; i < a->n; i++) {
        struct zset_source s = a->src[i];
        size_t at = i;
        for (; at > 0 && a->src[at - 1].count > s.count; at--)
            a->src[at] = a->src[at - 1];
        a->src[at] = s;
    }
}

/* ---- the operations; false: no memory ---- */

static double aggregate(const struct algebra *a, double have, double other)
{
    switch (a->aggregate) {
    case AGGREGATE_SUM: have += other; return isnan(have) ? 0 : have;
    case AGGREGATE_MIN: return other < have ? other : have;
    default: return other > have ? other : have;
    }
}

static double weighted(const struct zset_source *s, double score)
{
    score *= s->weight;
    return isnan(score) ? 0 : score;
}

static bool result_add(struct algebra *a, double score, struct span member)
{
    if (member.n > a->longest)
        a->longest = member.n;
    return zset_stage(a->result, score, member) != NULL;
}

static bool run_union(struct algebra *a)
{
    for (size_t i = 0; i < a->n; i++) {
        struct zset_source_walk w;
        struct zset_source_item item;
        zset_source_begin(&w, &a->src[i]);
        while (zset_source_next(&w, &item)) {
            double score = weighted(&a->src[i], item.score);
            struct zset_member *m = i ? zset_find(a->result, item.member) : NULL;
            if (m)
                zset_stage_score(m, aggregate(a, m->score, score));
            else if (!result_add(a, score, item.member))
                return false;
        }
    }
    return true;
}

/* The member's score in the intersection. False: one input does not have it. */
static bool inter_score(const struct algebra *a, const struct zset_source_item *item, double *ret)
{
    double score = weighted(&a->src[0], item->score), other;
    for (size_t i = 1; i < a->n; i++) {
        if (!zset_source_find(&a->src[i], item->member, &other))
            return false;
        score = aggregate(a, score, other * a->src[i].weight);
    }
    *ret = score;
    return true;
}

static bool run_inter(struct algebra *a)
{
    struct zset_source_walk w;
    struct zset_source_item item;
    double score;
    zset_source_begin(&w, &a->src[0]);
    while (a->src[0].count && zset_source_next(&w, &item))
        if (inter_score(a, &item, &score) && !result_add(a, score, item.member))
            return false;
    return true;
}

static uint64_t run_count(const struct algebra *a)
{
    struct zset_source_walk w;
    struct zset_source_item item;
    uint64_t n = 0;
    double score;
    zset_source_begin(&w, &a->src[0]);
    while (a->src[0].count && zset_source_next(&w, &item)) {
        n += inter_score(a, &item, &score);
        if (a->limit && n == a->limit)
            break;
    }
    return n;
}

static bool run_diff(struct algebra *a)
{
    struct zset_source_walk w;
    struct zset_source_item item;
    zset_source_begin(&w, &a->src[0]);
    while (zset_source_next(&w, &item)) {
        size_t i = 1;
        double other;
        while (i < a->n && !zset_source_find(&a->src[i], item.member, &other))
            i++;
        if (i == a->n && !result_add(a, item.score, item.member))
            return false;
    }
    return true;
}

/* ---- results ---- */

static void reply_result(struct cmd *c, const struct algebra *a)
{
    struct zval v = {.shard = c->shard, .z = a->result};
    struct zval_walk w;
    struct zval_item i;
    zval_reply_head(c->out, zval_count(&v), a->with_scores);
    zval_walk_from(&w, &v, 0, SIZE_MAX, false);
    while (zval_walk_next(&w, &i))
        zval_reply_item(c->out, &i, a->with_scores);
}

static void store_result(struct cmd *c, struct algebra *a)
{
    static const char *const events[] = {"zunionstore", "zinterstore", "zdiffstore"};
    struct keyref to = keyref_first(c, 1);
    struct zval v = {.shard = to.shard, .z = a->result};
    int64_t n = (int64_t)zval_count(&v);
    a->result = NULL;
    if (!zval_compact(&v, a->longest)) {
        zval_discard(&v);
        cmd_reply_oom(c);
    } else if (zval_store(c, &to, &v, events[a->op])) {
        reply_int(c->out, n);
    }
}

/* The sources are open. */
static void algebra_run(struct cmd *c, struct algebra *a)
{
    bool ok = true;
    if (a->op != OP_DIFF)
        sort_sources(a);
    if (a->op == OP_COUNT) {
        reply_int(c->out, (int64_t)run_count(a));
        return;
    }
    struct shard *s = c->shard; /* the destination's, when there is one */
    a->result = zset_create(&s->mem, &s->hash_key);
    if (a->result) {
        switch (a->op) {
        case OP_UNION: ok = run_union(a); break;
        case OP_INTER: ok = run_inter(a); break;
        default: ok = run_diff(a);
        }
    }
    if (!a->result || !ok || !zset_settle(a->result))
        cmd_reply_oom(c);
    else if (a->store)
        store_result(c, a);
    else
        reply_result(c, a);
    zset_destroy(a->result);
}

static void algebra(struct cmd *c, enum zset_op op, bool store)
{
    struct algebra a = {.op = op, .store = store, .numkeys = store ? 2 : 1};
    if (!algebra_numkeys(c, &a))
        return;
    a.src = mem_alloc(&c->shard->mem, a.n * sizeof(*a.src));
    if (!a.src) {
        cmd_reply_oom(c);
        return;
    }
    if (algebra_open(c, &a) && algebra_options(c, &a))
        algebra_run(c, &a);
    mem_free(&c->shard->mem, a.src, a.n * sizeof(*a.src));
}

void cmd_zunion(struct cmd *c)
{
    algebra(c, OP_UNION, false);
}

void cmd_zunionstore(struct cmd *c)
{
    algebra(c, OP_UNION, true);
}

void cmd_zinter(struct cmd *c)
{
    algebra(c, OP_INTER, false);
}

void cmd_zinterstore(struct cmd *c)
{
    algebra(c, OP_INTER, true);
}

void cmd_zdiff(struct cmd *c)
{
    algebra(c, OP_DIFF, false);
}

void cmd_zdiffstore(struct cmd *c)
{
    algebra(c, OP_DIFF, true);
}

void cmd_zintercard(struct cmd *c)
{
    algebra(c, OP_COUNT, false);
}
