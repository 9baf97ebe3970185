/* Strings as numbers: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT.
 *
 * Where in the flow: cmd_call -> here -> keyspace, on the lease holder's thread. The key keeps its time to live. */
#include <math.h>

#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/keyref.h"

static bool entry_as_i64(const struct entry *e, int64_t *ret)
{
    char scratch[NUM_I64_CHARS];
    return entry_int(e, ret) || num_parse_i64(entry_string(e, scratch), ret);
}

static void incr_by(struct cmd *c, int64_t by)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = keyref_write(c, &k);
    int64_t v = 0;
    if (e && !cmd_is_string(c, e))
        return;
    if (e && !entry_as_i64(e, &v)) {
        reply_error(c->out, "ERR value is not an integer or out of range");
        return;
    }
    if (__builtin_add_overflow(v, by, &v)) {
        reply_error(c->out, "ERR increment or decrement would overflow");
        return;
    }
    if (!ks_set_int(k.shard, c->db, k.key, k.hash, v, KS_KEEP_TTL)) {
        cmd_reply_oom(c);
        return;
    }
    keyref_changed(c, &k, KS_STRING, "incrby");
    reply_int(c->out, v);
}

void cmd_incr(struct cmd *c)
{
    incr_by(c, 1);
}

void cmd_decr(struct cmd *c)
{
    incr_by(c, -1);
}

void cmd_incrby(struct cmd *c)
{
    int64_t by;
    if (cmd_arg_i64(c, 2, &by))
        incr_by(c, by);
}

void cmd_decrby(struct cmd *c)
{
    int64_t by;
    if (!cmd_arg_i64(c, 2, &by))
        return;
    if (by == INT64_MIN) /* has no negative */
        reply_error(c->out, "ERR decrement would overflow");
    else
        incr_by(c, -by);
}

void cmd_incrbyfloat(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = keyref_write(c, &k);
    long double v = 0, by;
    char scratch[NUM_I64_CHARS], text[NUM_LONG_DOUBLE_CHARS];
    if (e && !cmd_is_string(c, e))
        return;
    if ((e && !num_parse_long_double(entry_string(e, scratch), &v)) ||
        !num_parse_long_double(c->argv[2], &by)) {
        reply_error(c->out, "ERR value is not a valid float");
        return;
    }
    v += by;
    if (isnan(v) || isinf(v)) {
        reply_error(c->out, "ERR increment would produce NaN or Infinity");
        return;
    }
    struct span s = span_of(text, num_format_long_double(text, v));
    if (!ks_set_text(k.shard, c->db, k.key, k.hash, s, KS_KEEP_TTL)) {
        cmd_reply_oom(c);
        return;
    }
    keyref_changed(c, &k, KS_STRING, "incrbyfloat");
    CMD_SAY(c, SPAN("SET"), k.key, s, SPAN("KEEPTTL"));
    reply_bulk(c->out, s);
}
