/* block_zset.c: BZPOPMIN, BZPOPMAX, BZMPOP. As block_list.c, for sorted sets. */
#include "engine/cmd/block.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/zset_pop.h"

static void bzpop(struct cmd *c, bool max)
{
    struct keyref k;
    struct zval v;
    int64_t timeout_ms;
    if (!block_arg_s(c, c->argc - 1, &timeout_ms))
        return;
    int found = zset_pop_find(c, 1, c->argc - 2, &k, &v);
    if (found > 0) {
        zset_pop(c, &k, &v, max, 1, ZPOP_KEYED);
        block_say_zpop(c, k.key, max, 0);
    }
    if (found)
        return;
    struct block_wait *b = block_on_keys(c, WAIT_ZSET, BLOCK_ZPOP, 1, c->argc - 2, timeout_ms);
    if (b) {
        b->tail = max;
        b->count = 1;
    }
}

void cmd_bzpopmin(struct cmd *c)
{
    bzpop(c, false);
}
void cmd_bzpopmax(struct cmd *c)
{
    bzpop(c, true);
}

void cmd_bzmpop(struct cmd *c)
{
    struct zset_mpop m;
    struct keyref k;
    struct zval v;
    int64_t timeout_ms;
    if (!zset_mpop_parse(c, 2, &m) || !block_arg_s(c, 1, &timeout_ms))
        return;
    int found = zset_pop_find(c, m.first, m.keys, &k, &v);
    if (found > 0) {
        zset_pop(c, &k, &v, m.max, m.count, ZPOP_MULTI);
        block_say_zpop(c, k.key, m.max, m.count);
    }
    if (found)
        return;
    struct block_wait *b = block_on_keys(c, WAIT_ZSET, BLOCK_ZMPOP, m.first, m.keys, timeout_ms);
    if (b) {
        b->tail = m.max;
        b->count = m.count;
    }
}
