/* What a command has done, where its own words do not say it: SPOP removes a member that chance has chosen, EX is a time from now on.
 *
 * A command that changed something (ks_changed) and says nothing here is written down in the words it came in. One that says something is
 * written down as that and nothing else; several effects become one transaction. What is said is RESP for redis-server 7.0 where it knows the
 * command's type. Who serves a client outside of its command (one that was blocked) says so too, then calls effects_command_end.
 *
 * With appendonly no, cmd_journals is one load and one test. Thread: the holder of the shards. */
#pragma once

#include "engine/base/assert.h"
#include "engine/base/num.h"
#include "engine/cmd/cmd.h"
#include "engine/log/effect.h"

static inline bool shard_journals(const struct shard *s)
{
    return unlikely_(s->listen & LISTEN_JOURNAL);
}
static inline bool cmd_journals(const struct cmd *c)
{
    return shard_journals(c->shard);
}
static inline void shard_say(struct shard *s, uint32_t db, const struct span *argv, uint32_t argc)
{
    if (shard_journals(s))
        effects_say(s->effects, db, argv, argc);
}
static inline void cmd_say(struct cmd *c, const struct span *argv, uint32_t argc)
{
    shard_say(c->shard, c->db, argv, argc);
}
#define CMD_SAY(c, ...)                                                          \
    do {                                                                         \
        if (cmd_journals(c))                                                     \
            cmd_say((c), (struct span[]){__VA_ARGS__},                           \
                    sizeof((struct span[]){__VA_ARGS__}) / sizeof(struct span)); \
    } while (0)

/* A number as an argument; `to` has NUM_I64_CHARS. */
static inline struct span effect_number(char *to, int64_t v)
{
    return span_of(to, num_format_i64(to, v));
}

/* An expiry of a key, or that it has none. */
void cmd_say_expire(struct cmd *c, struct span key, int64_t when_ms);
/* The command is over: whoever runs a command calls it behind it (cmd_call does). */
void cmd_effects_end(struct cmd *c);
/* of a command that ran on one shard */
static inline void cmd_ended_on(struct cmd *c, const struct shard *s)
{
    if (unlikely_(s->listen & LISTEN_JOURNAL))
        cmd_effects_end(c);
}
static inline void cmd_ended(struct cmd *c)
{
    if (unlikely_(c->shard && (c->shard->listen & LISTEN_JOURNAL)))
        cmd_effects_end(c);
}
