/* replay: the commands of append-only files, given to worker 0 as the requests of a client that nobody answers.
 *
 *   file (checked by aof_check) -> runs of commands, without lines of '#', MULTI and EXEC -> MSG_DOOR_DATA -> worker 0 -> owners of the keys
 *   at the end: CLIENT REPLY ON, PING -> its +PONG says that everything before has run
 *
 * Credit as any door client: LINK_DOOR_WINDOW bytes. Thread: the main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "control/bridge.h"
#include "engine/base/bytes.h"

struct replay;

struct replay_file {
    struct span bytes; /* mapped until the end */
    uint64_t from, to; /* the commands */
};

/* Files in order; `done` is called once. NULL: no memory. */
struct replay *replay_start(struct bridge *b, const struct replay_file *files, uint32_t n,
                            void (*done)(void *ctx), void *ctx);
/* A message of a door. False: not ours. */
bool replay_message(struct replay *r, uint32_t worker, uint32_t type, struct span payload);
void replay_room(struct replay *r, uint32_t worker);
uint64_t replay_bytes(const struct replay *r); /* so far */
void replay_free(struct replay *r);            /* NULL is fine */
