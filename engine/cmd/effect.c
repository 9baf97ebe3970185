/* The end of a command, as the journal sees it. See effect.h. */
#include "engine/cmd/effect.h"

#include "engine/cmd/command_table.h"

void cmd_say_expire(struct cmd *c, struct span key, int64_t when_ms)
{
    char number[NUM_I64_CHARS];
    if (when_ms == KS_NO_TTL)
        CMD_SAY(c, SPAN("PERSIST"), key);
    else
        CMD_SAY(c, SPAN("PEXPIREAT"), key, effect_number(number, when_ms));
}

/* A command that has no shard in hand must not look at the sink: another worker may hold it. A read that removed what was expired has said so, and
 * its words are nobody's business. */
void cmd_effects_end(struct cmd *c)
{
    const struct cmd_desc *d = c->desc;
    if (d->route != ROUTE_KEY && d->route != ROUTE_KEYS && d->route != ROUTE_ALL &&
        d->route != ROUTE_CURSOR)
        return;
    if (!(d->flags & (CMD_WRITE | CMD_MAY_REPLICATE)))
        c->shard->effects->changed = false;
    effects_command_end(c->shard->effects, c->db, c->argv, c->argc);
}
