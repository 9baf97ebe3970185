/* TIME and MEMORY. */
#include "engine/base/num.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/keyref.h"

void cmd_time(struct cmd *c)
{
    reply_array(c->out, 2);
    reply_bulk_int(c->out, c->now_us / 1000000);
    reply_bulk_int(c->out, c->now_us % 1000000);
}

/* Each worker begins to note what it runs; the client's home makes it a watcher. */
void cmd_monitor(struct cmd *c)
{
    if (c->host->ops->monitor)
        c->host->ops->monitor(c->host, cmd_client(c));
    reply_ok(c->out);
}

/* Strings are measured, not sampled; SAMPLES is checked as Redis checks it. */
void cmd_memory_usage(struct cmd *c)
{
    for (uint32_t i = 3; i < c->argc; i += 2) {
        int64_t samples;
        if (!span_is(c->argv[i], "samples") || i + 1 == c->argc) {
            cmd_reply_syntax(c);
            return;
        }
        if (!cmd_arg_i64(c, i + 1, &samples))
            return;
        if (samples < 0) {
            cmd_reply_syntax(c);
            return;
        }
    }
    struct keyref k = keyref_first(c, 2);
    const struct entry *e = keyref_look(c, &k);
    if (e)
        reply_int(c->out, (int64_t)entry_bytes(e));
    else
        reply_null(c->out);
}
