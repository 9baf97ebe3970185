/* stream_range.c: XRANGE and XREVRANGE.
 *
 * Where in the flow: cmd_call -> here -> engine/ds/stream_walk.c, on the lease holder's thread. */
#include "engine/cmd/command_table.h"
#include "engine/cmd/stream_cmd.h"

/* COUNT n from argument i on; -1: not given. Less than 0 is 0. False: the error was written. */
static bool arg_count(struct cmd *c, uint32_t i, int64_t *count)
{
    for (*count = -1; i < c->argc; i += 2) {
        if (!span_is(c->argv[i], "count") || i + 1 == c->argc) {
            cmd_reply_syntax(c);
            return false;
        }
        if (!cmd_arg_i64(c, i + 1, count))
            return false;
        if (*count < 0)
            *count = 0;
    }
    return true;
}

static inline void range(struct cmd *c, bool back)
{
    struct stream_id from, to;
    struct stream_key sk;
    int64_t count;
    if (!stream_arg_from(c, back ? 3 : 2, &from) || !stream_arg_to(c, back ? 2 : 3, &to) ||
        !arg_count(c, 4, &count) || !stream_open_read(c, 1, &sk))
        return;
    if (!sk.e)
        reply_array(c->out, 0);
    else if (count == 0)
        reply_null_array(c->out);
    else
        stream_reply_range(c->out, sk.st, from, to, count < 0 ? UINT64_MAX : (uint64_t)count, back);
}

void cmd_xrange(struct cmd *c)
{
    range(c, false);
}
void cmd_xrevrange(struct cmd *c)
{
    range(c, true);
}
