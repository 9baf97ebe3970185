/* Error replies and number arguments that the data commands have in common.
 *
 * Where in the flow: called by the command functions, on the lease holder's thread. Texts are those of Redis 7.0.15. */
#include <limits.h>

#include "engine/base/num.h"
#include "engine/cmd/keyref.h"

void cmd_reply_wrongtype(struct cmd *c)
{
    reply_error(c->out, "WRONGTYPE Operation against a key holding the wrong kind of value");
}

void cmd_reply_syntax(struct cmd *c)
{
    reply_error(c->out, "ERR syntax error");
}

void cmd_reply_oom(struct cmd *c)
{
    reply_error(c->out, "OOM command not allowed when used memory > 'maxmemory'.");
}

void cmd_reply_expire_time(struct cmd *c)
{
    reply_errorf(c->out, "ERR invalid expire time in '%s' command", c->desc->full);
}

void cmd_reply_unsupported_option(struct cmd *c, struct span option)
{
    static const char text[] = "ERR Unsupported option ";
    /* As far as a C string goes, which is what Redis prints. */
    size_t n = strnlen((const char *)option.p, option.n), head = sizeof(text) - 1;
    uint8_t *msg = mem_alloc(&c->shard->mem, head + n);
    if (!msg) {
        reply_error(c->out, text);
        return;
    }
    memcpy(msg, text, head);
    memcpy(msg + head, option.p, n);
    reply_error_span(c->out, span_of(msg, head + n));
    mem_free(&c->shard->mem, msg, head + n);
}

uint8_t *cmd_string_bytes(struct cmd *c, const struct keyref *k, struct entry **e, size_t n)
{
    if (entry_enc_fast(*e) == ENC_RAW && !((*e)->flags & ENTRY_BLOCK) && (*e)->value_len == n)
        return entry_value(*e);
    uint8_t *p = ks_string_resize(k->shard, c->db, e, k->hash, n);
    if (!p)
        cmd_reply_oom(c);
    return p;
}

bool cmd_arg_i64(struct cmd *c, uint32_t i, int64_t *ret)
{
    if (num_parse_i64(c->argv[i], ret))
        return true;
    reply_error(c->out, "ERR value is not an integer or out of range");
    return false;
}

bool cmd_arg_int(struct cmd *c, uint32_t i, int *ret, const char *error)
{
    int64_t v;
    if (!num_parse_i64(c->argv[i], &v)) {
        reply_error(c->out, error ? error : "ERR value is not an integer or out of range");
        return false;
    }
    if (v < INT_MIN || v > INT_MAX) {
        if (error)
            reply_error(c->out, error);
        else
            reply_errorf(c->out, "ERR value is out of range, value must between %d and %d", INT_MIN,
                         INT_MAX);
        return false;
    }
    *ret = (int)v;
    return true;
}
