/* replay: the commands of append-only files, given to the workers that own their keys as the requests of clients that nobody answers.
 *
 *   file (checked by aof_check) -> command -> its keys -> one shard:   the lane of its worker: MSG_DOOR_DATA, run in place there
 *                                                      -> several:      DEL, UNLINK, MSET are taken apart; else through lane 0 alone
 *
 * A lane is a client of one worker, so the commands of a shard keep their order. Before lane 0 is given a command over several shards, and
 * before the others go on behind it, all lanes are asked for a +PONG: everything before has run. Between two such commands that are near each other
 * all goes through lane 0. Credit as any door client: LINK_DOOR_WINDOW bytes a lane. Thread: the main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "control/bridge.h"
#include "engine/base/bytes.h"

struct replay;

struct replay_file {
    struct span bytes; /* mapped until the end */
    uint64_t from, to; /* the commands */
    const char *name;  /* of the file; for what is said of it */
};

/* Files in order; `done` is called once, later. `error`: NULL, or why no more was given: the dataset is not whole then. NULL: no memory. */
struct replay *replay_start(struct bridge *b, const struct replay_file *files, uint32_t n,
                            void (*done)(void *ctx, const char *error), void *ctx);
/* A message of a door. False: not ours. */
bool replay_message(struct replay *r, uint32_t worker, uint32_t type, struct span payload);
void replay_room(struct replay *r, uint32_t worker);
uint64_t replay_bytes(const struct replay *r); /* so far */
void replay_free(struct replay *r);            /* NULL is fine */
