/* stream_range.c: XRANGE and XREVRANGE.
 *
 * Where in the flow: cmd_call -> here -> engine/ds/stream_walk.c, on the lease holder's thread. */
#include "engine/cmd/command_table.h"
#include "engine/cmd/long_reply.h"
#include "engine/cmd/stream_cmd.h"

#define ENTRY_BYTES 32 /* about what an entry takes in a reply beside its fields and values */

static bool more_entries(struct held *h, struct reply *out, size_t budget)
{
    struct long_reply *r = long_reply_of(h);
    for (size_t done = 0; done < budget;) {
        done += stream_reply_entry(out, &r->entries, &r->entry) + ENTRY_BYTES;
        if (--r->entries_left == 0 || !stream_walk_next(&r->entries, &r->entry))
            return true;
    }
    return false;
}

void stream_reply_range_of(struct cmd *c, const struct stream_key *sk, struct stream_id from,
                           struct stream_id to, uint64_t most, bool back)
{
    struct stream_walk w;
    struct stream_entry e;
    stream_walk_init(&w, sk->st, from, to, back);
    uint64_t n = stream_walk_next(&w, &e) ? 1 + stream_walk_left(&w, most - 1) : 0;
    struct long_reply *r =
        n ? long_reply_begin(c, sk->k.shard, sk->e, n, sk->st->length, more_entries) : NULL;
    if (likely_(!r)) {
        stream_reply_rest(c->out, &w, &e, n);
        return;
    }
    reply_array(c->out, n);
    r->entries = w;
    r->entry = e;
    r->entries_left = n;
}

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
        stream_reply_range_of(c, &sk, from, to, count < 0 ? UINT64_MAX : (uint64_t)count, back);
}

void cmd_xrange(struct cmd *c)
{
    range(c, false);
}
void cmd_xrevrange(struct cmd *c)
{
    range(c, true);
}
