/* zset_pop.c: ZPOPMIN, ZPOPMAX, ZMPOP, and what their blocking forms share with them.
 *
 * Where in the flow: cmd_call -> here -> zset_value.c. Thread: the lease holder's. */
#include "engine/cmd/zset_pop.h"

#include "engine/base/num.h"
#include "engine/cmd/command_table.h"

void zset_pop(struct cmd *c, const struct keyref *k, struct zval *v, bool max, size_t count,
              enum zset_pop_form form)
{
    size_t have = zval_count(v), n = count < have ? count : have;
    struct zval_walk w;
    struct zval_item i;
    switch (form) {
    case ZPOP_FLAT: reply_array(c->out, n * 2); break;
    case ZPOP_PAIRS: reply_array(c->out, n); break;
    case ZPOP_KEYED:
        reply_array(c->out, n * 2 + 1);
        reply_bulk(c->out, k->key);
        break;
    case ZPOP_MULTI:
        reply_array(c->out, 2);
        reply_bulk(c->out, k->key);
        reply_array(c->out, n);
    }
    zval_walk_from(&w, v, max ? have - 1 : 0, n, max);
    while (zval_walk_next(&w, &i)) {
        if (form == ZPOP_PAIRS || form == ZPOP_MULTI)
            reply_array(c->out, 2);
        zval_reply_member(c->out, &i);
        zval_reply_score(c->out, i.score);
    }
    zval_remove_ranks(v, max ? have - n : 0, n);
    zval_removed(c, k, v, max ? "zpopmax" : "zpopmin");
}

int zset_pop_find(struct cmd *c, uint32_t first, uint32_t n, struct keyref *k, struct zval *v)
{
    for (uint32_t i = first; i < first + n; i++) {
        *k = i == 1 ? keyref_first(c, i) : keyref_at(c, i);
        if (!zval_write(c, k, v))
            return -1;
        if (zval_exists(v))
            return 1;
    }
    return 0;
}

/* A number that must not be negative. */
static bool arg_count(struct cmd *c, uint32_t i, int64_t *ret)
{
    if (num_parse_i64(c->argv[i], ret) && *ret >= 0)
        return true;
    reply_error(c->out, "ERR value is out of range, must be positive");
    return false;
}

static void pop_generic(struct cmd *c, bool max)
{
    struct keyref k;
    struct zval v;
    int64_t count = 1;
    if (c->argc > 3) {
        cmd_reply_syntax(c);
        return;
    }
    if (c->argc == 3 && !arg_count(c, 2, &count))
        return;
    int found = zset_pop_find(c, 1, 1, &k, &v);
    if (found < 0)
        return;
    if (!found || count == 0)
        reply_array(c->out, 0);
    else
        zset_pop(c, &k, &v, max, (size_t)count,
                 c->argc == 3 && c->out->resp > 2 ? ZPOP_PAIRS : ZPOP_FLAT);
}

void cmd_zpopmin(struct cmd *c)
{
    pop_generic(c, false);
}

void cmd_zpopmax(struct cmd *c)
{
    pop_generic(c, true);
}

/* At least 1. */
static bool arg_positive(struct cmd *c, uint32_t i, int64_t *ret, const char *error)
{
    if (num_parse_i64(c->argv[i], ret) && *ret >= 1)
        return true;
    reply_error(c->out, error);
    return false;
}

bool zset_mpop_parse(struct cmd *c, uint32_t at, struct zset_mpop *ret)
{
    int64_t keys, count = -1;
    if (!arg_positive(c, at, &keys, "ERR numkeys should be greater than 0"))
        return false;
    if (keys >= (int64_t)c->argc - at - 1) {
        cmd_reply_syntax(c);
        return false;
    }
    uint32_t where = at + 1 + (uint32_t)keys;
    bool max = span_is(c->argv[where], "max");
    if (!max && !span_is(c->argv[where], "min")) {
        cmd_reply_syntax(c);
        return false;
    }
    for (uint32_t i = where + 1; i < c->argc; i += 2) {
        if (count != -1 || !span_is(c->argv[i], "count") || i + 1 == c->argc) {
            cmd_reply_syntax(c);
            return false;
        }
        if (!arg_positive(c, i + 1, &count, "ERR count should be greater than 0"))
            return false;
    }
    *ret = (struct zset_mpop){at + 1, (uint32_t)keys, max, count == -1 ? 1 : (size_t)count};
    return true;
}

void cmd_zmpop(struct cmd *c)
{
    struct zset_mpop m;
    struct keyref k;
    struct zval v;
    if (!zset_mpop_parse(c, 1, &m))
        return;
    int found = zset_pop_find(c, m.first, m.keys, &k, &v);
    if (found > 0)
        zset_pop(c, &k, &v, m.max, m.count, ZPOP_MULTI);
    else if (found == 0)
        reply_null_array(c->out);
}
