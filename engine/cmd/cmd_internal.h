/* What the files of connection and server commands share. */
#pragma once

#include "engine/cmd/command_table.h"

/* Ends the client's MULTI, forgets what it watches. */
void cmd_multi_reset(struct cmd *c);
/* Checks and sets the client's name. False: the error was written. */
bool cmd_set_name(struct cmd *c, struct span name);
/* RESET: from all channels and from tracking, without a word. */
void pubsub_reset(struct host *h, struct session *s);
/* What OBJECT REFCOUNT and DEBUG OBJECT tell. */
int object_refcount(const struct cmd *c, const struct entry *e);
/* Length of s as a C string, `cap` at most: what Redis shows of an argument in an error. */
static inline int span_shown(struct span s, size_t cap)
{
    return s.n ? (int)strnlen((const char *)s.p, s.n < cap ? s.n : cap) : 0;
}
/* Subcommands that COMMAND tells of. */
static inline uint16_t cmd_shown_subs(const struct cmd_desc *d)
{
    return d->nsubs && !(d->subs[0].flags & CMD_HIDDEN) ? d->nsubs : 0;
}
