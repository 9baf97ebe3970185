/* zset_read.c: single facts of sorted sets: ZCARD, ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZCOUNT, ZLEXCOUNT.
 *
 * Where in the flow: cmd_call -> here -> zset_value.c. Thread: the lease holder's. */
#include "engine/cmd/command_table.h"
#include "engine/cmd/zset_value.h"

void cmd_zcard(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct zval v;
    if (zval_read(c, &k, &v))
        reply_int(c->out, (int64_t)zval_count(&v));
}

void cmd_zscore(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct zval v;
    double score;
    if (!zval_read(c, &k, &v))
        return;
    if (zval_score(&v, c->argv[2], &score))
        zval_reply_score(c->out, score);
    else
        reply_null(c->out);
}

void cmd_zmscore(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct zval v;
    if (!zval_read(c, &k, &v))
        return;
    reply_array(c->out, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) {
        double score;
        if (zval_score(&v, c->argv[i], &score))
            zval_reply_score(c->out, score);
        else
            reply_null(c->out);
    }
}

static void rank_generic(struct cmd *c, bool back)
{
    struct keyref k = keyref_first(c, 1);
    struct zval v;
    size_t rank;
    if (!zval_read(c, &k, &v))
        return;
    if (zval_rank(&v, c->argv[2], &rank))
        reply_int(c->out, (int64_t)(back ? zval_count(&v) - 1 - rank : rank));
    else
        reply_null(c->out);
}

void cmd_zrank(struct cmd *c)
{
    rank_generic(c, false);
}

void cmd_zrevrank(struct cmd *c)
{
    rank_generic(c, true);
}

static void count_generic(struct cmd *c, bool lex)
{
    struct keyref k = keyref_first(c, 1);
    struct zval_ends ends;
    struct zval v;
    if (zval_ends_parse(c, 2, 3, lex, &ends) && zval_read(c, &k, &v))
        reply_int(c->out, (int64_t)zval_find_range(&v, &ends, false).n);
}

void cmd_zcount(struct cmd *c)
{
    count_generic(c, false);
}

void cmd_zlexcount(struct cmd *c)
{
    count_generic(c, true);
}
