/* slowlog: the commands that took long, newest first; one a worker. The worker notes them (dataplane/conn/times.c), SLOWLOG gathers those of
 * all workers by their ids. An entry is one allocation that already has the form of a part (gather.h). Thread: the worker's. */
#pragma once

#include "engine/base/list.h"
#include "engine/cmd/cmd.h"

#define SLOWLOG_ARGS      32  /* shown of a command */
#define SLOWLOG_ARG_BYTES 128 /* shown of an argument */

struct slowlog {
    struct list entries;
    uint64_t count, bytes;
    uint64_t *
        next_id; /* of the whole server; several workers draw from it (relaxed: all that matters is that no number comes twice) */
};

/* One of them, before it is kept. */
struct slow_command {
    const struct cmd_desc *desc;
    const struct span *argv;
    uint32_t argc;
    const char *peer, *name; /* of the client; name may be NULL */
    int64_t now_us;
    uint64_t took_us, queued_us;
};

void slowlog_init(struct slowlog *s, uint64_t *next_id);
void slowlog_reset(struct slowlog *s);
/* Keeps it, and the newest `most` in all. Without memory it is not kept. */
void slowlog_add(struct slowlog *s, const struct slow_command *c, uint64_t most);

/* Passwords are not shown, here and in MONITOR: argument i of this command is one (or a name that goes with it). */
bool cmd_arg_secret(const struct cmd_desc *d, const struct span *argv, uint32_t argc, uint32_t i);
