/* block_list.c: BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH: what is there is given at once, by the cores of their kin that do not wait.
 *
 * Where in the flow: cmd_call -> here -> list_pop.c, or block.c. Thread: the holder's of the leases of all keys. The order of checks and the
 * forms of nothing are those of Redis 7.0.15. */
#include "engine/cmd/block.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/list_cmd.h"

static void bpop(struct cmd *c, bool tail)
{
    int64_t timeout_ms;
    if (!block_arg_s(c, c->argc - 1, &timeout_ms))
        return;
    for (uint32_t i = 1; i < c->argc - 1; i++) {
        struct list_key lk;
        if (!list_open_at(c, i, &lk))
            return;
        if (!lk.e)
            continue;
        if (list_pop_one(&lk, tail, &lk.key, c->out))
            block_say_pop(c, lk.key, tail, 0);
        else
            cmd_reply_oom(c);
        return;
    }
    struct block_wait *b = block_on_keys(c, WAIT_LIST, BLOCK_POP, 1, c->argc - 2, timeout_ms);
    if (b)
        b->tail = tail;
}

void cmd_blpop(struct cmd *c)
{
    bpop(c, false);
}
void cmd_brpop(struct cmd *c)
{
    bpop(c, true);
}

void cmd_blmpop(struct cmd *c)
{
    uint32_t keys;
    int64_t count, timeout_ms;
    bool tail;
    if (!list_mpop_args(c, 2, &keys, &tail, &count) || !block_arg_s(c, 1, &timeout_ms))
        return;
    for (uint32_t i = 3; i < 3 + keys; i++) {
        struct list_key lk;
        if (!list_open_at(c, i, &lk))
            return;
        if (!lk.e)
            continue;
        if (list_pop_many(&lk, tail, (uint64_t)count, &lk.key, c->out))
            block_say_pop(c, lk.key, tail, (uint64_t)count);
        else
            cmd_reply_oom(c);
        return;
    }
    struct block_wait *b = block_on_keys(c, WAIT_LIST, BLOCK_MPOP, 3, keys, timeout_ms);
    if (b) {
        b->tail = tail;
        b->count = (uint64_t)count;
    }
}

static void bmove(struct cmd *c, bool from_tail, bool to_tail, uint32_t timeout_at)
{
    struct list_key from, to;
    int64_t timeout_ms;
    if (!block_arg_s(c, timeout_at, &timeout_ms) || !list_open_at(c, 1, &from))
        return;
    if (from.e) {
        if (!list_open_at(c, 2, &to))
            return;
        if (list_move(&from, from_tail, &to, to_tail, c->out))
            block_say_move(c, from.key, to.key, from_tail, to_tail);
        else
            cmd_reply_oom(c);
        return;
    }
    struct block_wait *b = block_on_keys(c, WAIT_LIST, BLOCK_MOVE, 1, 1, timeout_ms);
    if (b) {
        b->tail = from_tail;
        b->to_tail = to_tail;
    }
}

void cmd_blmove(struct cmd *c)
{
    bool from_tail, to_tail;
    if (list_arg_where(c, 3, &from_tail) && list_arg_where(c, 4, &to_tail))
        bmove(c, from_tail, to_tail, 5);
}
void cmd_brpoplpush(struct cmd *c)
{
    bmove(c, true, false, 3);
}
