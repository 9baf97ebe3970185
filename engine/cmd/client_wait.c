/* client_wait.c: CLIENT UNBLOCK, PAUSE and UNPAUSE: each worker does its part for its own clients (ROUTE_WORKERS).
 *
 * Where in the flow: cmd_call -> here -> host_ops (dataplane/conn/block.c, pause.c). Order of checks and texts are those of Redis 7.0.15. */
#include "engine/cmd/block.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/keyref.h"

static bool too_many(struct cmd *c)
{
    struct span word = c->argv[1];
    if (c->argc <= 4)
        return false;
    reply_errorf(c->out,
                 "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try CLIENT HELP.",
                 span_shown(word, 128), (const char *)word.p);
    return true;
}

void cmd_client_unblock(struct cmd *c)
{
    int64_t id;
    bool error = false;
    if (too_many(c))
        return;
    if (c->argc == 4) {
        error = span_is(c->argv[3], "error");
        if (!error && !span_is(c->argv[3], "timeout")) {
            reply_error(c->out, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
            return;
        }
    }
    if (!cmd_arg_i64(c, 2, &id))
        return;
    reply_int(c->out, id > 0 && c->host->ops->unblock(c->host, (uint64_t)id, error));
}

void cmd_client_pause(struct cmd *c)
{
    int64_t ms, now_ms = c->now_us / 1000;
    bool all = true;
    if (too_many(c))
        return;
    if (c->argc == 4) {
        all = !span_is(c->argv[3], "write");
        if (all && !span_is(c->argv[3], "all")) {
            reply_error(c->out, "ERR CLIENT PAUSE mode must be WRITE or ALL");
            return;
        }
    }
    if (!block_arg_ms(c, 2, &ms))
        return;
    c->host->ops->pause(c->host, !ms ? 0 : ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + ms, all);
    reply_ok(c->out);
}

void cmd_client_unpause(struct cmd *c)
{
    c->host->ops->unpause(c->host);
    reply_ok(c->out);
}
