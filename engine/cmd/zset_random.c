/* zset_random.c: ZRANDMEMBER and ZSCAN: members of a sorted set in no order.
 *
 * Where in the flow: cmd_call -> here -> zset_value.c. Thread: the lease holder's. */
#include <limits.h>
#include <stdlib.h>

#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/scan.h"
#include "engine/cmd/zset_value.h"

/* ---- ZRANDMEMBER ---- */

static void random_one(struct cmd *c, const struct zval *v, struct zval_item *ret)
{
    struct zval_walk w;
    zval_walk_from(&w, v, shard_random(c->shard) % zval_count(v), 1, false);
    zval_walk_next(&w, ret);
}

/* n of all members, each with the same chance, in their order: Knuth's selection sampling for many, a sorted draw of ranks for few. */
static void random_many(struct cmd *c, const struct zval *v, size_t n, bool with_scores)
{
    struct zval_walk w;
    struct zval_item i;
    size_t left = zval_count(v);
    zval_walk_from(&w, v, 0, left, false);
    for (; n && zval_walk_next(&w, &i); left--) {
        if (shard_random(c->shard) % left >= n)
            continue;
        zval_reply_item(c->out, &i, with_scores);
        n--;
    }
}

static int rank_cmp(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Few of many: different ranks by Floyd's drawing, over a sorted array. False: no memory. */
static bool random_few(struct cmd *c, const struct zval *v, size_t n, bool with_scores)
{
    uint64_t *rank = mem_alloc(&c->shard->mem, n * sizeof(*rank));
    if (!rank)
        return false;
    size_t have = 0, count = zval_count(v);
    while (have <
           n) { /* draw, sort, drop what came twice: a few rounds, n is below a third of all */
        for (size_t i = have; i < n; i++)
            rank[i] = shard_random(c->shard) % count;
        qsort(rank, n, sizeof(*rank), rank_cmp);
        have = 1;
        for (size_t i = 1; i < n; i++)
            if (rank[i] != rank[have - 1])
                rank[have++] = rank[i];
    }
    zval_reply_head(c->out, n, with_scores);
    for (size_t i = 0; i < n; i++) {
        struct zval_walk w;
        struct zval_item item;
        zval_walk_from(&w, v, rank[i], 1, false);
        if (zval_walk_next(&w, &item))
            zval_reply_item(c->out, &item, with_scores);
    }
    mem_free(&c->shard->mem, rank, n * sizeof(*rank));
    return true;
}

static void random_count(struct cmd *c, const struct zval *v, int64_t count, bool with_scores)
{
    size_t have = zval_count(v);
    struct zval_item i;
    if (!have || count == 0) {
        reply_array(c->out, 0);
    } else if (count < 0) {
        zval_reply_head(c->out, (size_t)-count, with_scores);
        for (; count < 0 && !c->out->failed; count++) {
            random_one(c, v, &i);
            zval_reply_item(c->out, &i, with_scores);
        }
    } else if ((size_t)count >= have || (size_t)count * 3 > have || !v->z ||
               !random_few(c, v, (size_t)count, with_scores)) {
        size_t n = (size_t)count < have ? (size_t)count : have;
        zval_reply_head(c->out, n, with_scores);
        random_many(c, v, n, with_scores);
    }
}

void cmd_zrandmember(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct zval v;
    struct zval_item i;
    int64_t count = 0;
    bool with_scores = c->argc == 4;
    if (c->argc > 2) {
        if (!cmd_arg_i64(c, 2, &count))
            return;
        if (count == INT64_MIN) {
            reply_errorf(c->out, "ERR value is out of range, value must between %ld and %ld",
                         -LONG_MAX, LONG_MAX);
            return;
        }
        if (c->argc > 4 || (with_scores && !span_is(c->argv[3], "withscores"))) {
            cmd_reply_syntax(c);
            return;
        }
        if (with_scores && (count < -INT64_MAX / 2 || count > INT64_MAX / 2)) {
            reply_error(c->out, "ERR value is out of range");
            return;
        }
    }
    if (!zval_read(c, &k, &v))
        return;
    if (c->argc > 2) {
        random_count(c, &v, count, with_scores);
    } else if (zval_exists(&v)) {
        random_one(c, &v, &i);
        zval_reply_member(c->out, &i);
    } else {
        reply_null(c->out);
    }
}

/* ---- ZSCAN ---- */

#define SCAN_COUNT           10
#define SCAN_STEPS_PER_COUNT 10 /* over empty buckets, before a call gives up */

struct zscan {
    struct span pattern;
    bool has_pattern;
    int64_t count;
    struct mem *mem;
    const struct zset_member **found;
    size_t n, cap, seen;
    bool failed;
};

static void zscan_add(void *ctx, const struct zset_member *m)
{
    struct zscan *s = ctx;
    s->seen++;
    if (s->has_pattern && !glob_match(s->pattern, zset_member_text(m), false))
        return;
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        void *grown = s->failed ? NULL
                                : mem_realloc(s->mem, s->found, s->cap * sizeof(*s->found),
                                              cap * sizeof(*s->found));
        if (!grown) {
            s->failed = true;
            return;
        }
        s->found = grown;
        s->cap = cap;
    }
    s->found[s->n++] = m;
}

static bool zscan_options(struct cmd *c, struct zscan *s)
{
    for (uint32_t i = 3; i < c->argc; i += 2) {
        struct span o = c->argv[i];
        if (i + 1 < c->argc && span_is(o, "count")) {
            if (!cmd_arg_i64(c, i + 1, &s->count))
                return false;
            if (s->count >= 1)
                continue;
        } else if (i + 1 < c->argc && span_is(o, "match")) {
            s->pattern = c->argv[i + 1];
            s->has_pattern = !span_eq(s->pattern, SPAN("*"));
            continue;
        }
        cmd_reply_syntax(c);
        return false;
    }
    return true;
}

static void reply_score_text(struct reply *out, double score)
{
    char text[128];
    reply_bulk(out, span_of(text, num_format_double(text, score)));
}

static void zscan_tree(struct cmd *c, const struct zval *v, struct zscan *s, uint64_t cursor)
{
    uint64_t want = (uint64_t)s->count;
    uint64_t steps =
        want > UINT64_MAX / SCAN_STEPS_PER_COUNT ? UINT64_MAX : want * SCAN_STEPS_PER_COUNT;
    char text[NUM_I64_CHARS];
    s->mem = &c->shard->mem;
    do
        cursor = zset_scan(v->z, cursor, zscan_add, s);
    while (cursor && !s->failed && s->seen < want && steps--);
    if (s->failed) {
        cmd_reply_oom(c);
    } else {
        reply_array(c->out, 2);
        reply_bulk(c->out, span_of(text, num_format_u64(text, cursor)));
        reply_array(c->out, s->n * 2);
        for (size_t i = 0; i < s->n; i++) {
            reply_bulk(c->out, zset_member_text(s->found[i]));
            reply_score_text(c->out, s->found[i]->score);
        }
    }
    if (s->found)
        mem_free(s->mem, s->found, s->cap * sizeof(*s->found));
}

/* A listpack is answered whole: twice walked, since the number comes first. */
static void zscan_listpack(struct cmd *c, const struct zval *v, const struct zscan *s)
{
    struct zval_walk w;
    struct zval_item i;
    char scratch[NUM_I64_CHARS];
    size_t n = 0;
    zval_walk_from(&w, v, 0, SIZE_MAX, false);
    while (zval_walk_next(&w, &i))
        n += !s->has_pattern || glob_match(s->pattern, zval_item_text(&i, scratch), false);
    reply_array(c->out, 2);
    reply_bulk(c->out, SPAN("0"));
    reply_array(c->out, n * 2);
    zval_walk_from(&w, v, 0, SIZE_MAX, false);
    while (zval_walk_next(&w, &i)) {
        if (s->has_pattern && !glob_match(s->pattern, zval_item_text(&i, scratch), false))
            continue;
        zval_reply_member(c->out, &i);
        int64_t whole; /* the element as it is, which is an integer where that is possible */
        if (zval_score_whole(i.score, &whole))
            reply_bulk_int(c->out, whole);
        else
            reply_score_text(c->out, i.score);
    }
}

void cmd_zscan(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct zscan s = {.count = SCAN_COUNT};
    struct zval v;
    uint64_t cursor;
    if (!scan_cursor_parse(c->argv[2], &cursor)) {
        reply_error(c->out, "ERR invalid cursor");
        return;
    }
    if (!zval_read(c, &k, &v))
        return;
    if (!zval_exists(&v)) { /* options are not looked at */
        reply_array(c->out, 2);
        reply_bulk(c->out, SPAN("0"));
        reply_array(c->out, 0);
        return;
    }
    if (!zscan_options(c, &s))
        return;
    if (v.z)
        zscan_tree(c, &v, &s, cursor);
    else
        zscan_listpack(c, &v, &s);
}
