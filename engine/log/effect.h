/* effect: what writes have done, as requests that do the same again: the bytes of the journal, of append-only files and of replication.
 *
 *   "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"  where the database changes; the first one is told beside the bytes (first_db)
 *   "*3\r\n$3\r\nSET\r\n..."             one command: as it was asked, or what it said instead
 *   "*1\r\n$5\r\nMULTI\r\n" ... EXEC     around what one command did in several, and around an EXEC
 *
 * In the flow: keyspace (expired, evicted, changed) and commands write here while a command runs; effects_command_end decides whether its words
 * are its effect; the worker empties it into its journal ring. One sink belongs to one thread: it is what that thread does to the shards it
 * holds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"

#define EFFECTS_NO_DB UINT32_MAX

struct effects {
    uint8_t *p;
    size_t len, cap;
    uint32_t first_db, db; /* of the first command and of the last; EFFECTS_NO_DB: empty */
    uint32_t commands;
    bool changed;   /* the command that runs has changed something */
    uint32_t said;  /* effects it has said itself */
    size_t said_at; /* where the first of them begins */
    uint8_t multi;  /* enum effects_multi */
};

enum effects_multi { EFFECTS_SINGLE, EFFECTS_MULTI_ASKED, EFFECTS_MULTI_OPEN };

void effects_init(struct effects *f);
void effects_fini(struct effects *f);
/* Empty again; what was large is given back. */
void effects_reset(struct effects *f);

/* Whatever it is that runs. */
void effects_append(struct effects *f, uint32_t db, const struct span *argv, uint32_t argc);
/* A key that went by itself: DEL, or UNLINK. */
void effects_gone(struct effects *f, uint32_t db, struct span key, bool unlink);
/* A field of a hash that went by itself. */
void effects_field_gone(struct effects *f, uint32_t db, struct span key, struct span field);

/* Said by a command whose words are not its effect. It may say several: they become one transaction. */
void effects_say(struct effects *f, uint32_t db, const struct span *argv, uint32_t argc);
/* The command is over. Its words count when it changed something and said nothing itself. */
void effects_command_end(struct effects *f, uint32_t db, const struct span *argv, uint32_t argc);
/* Around the commands of an EXEC (or a script): they become one transaction. */
void effects_multi_begin(struct effects *f);
void effects_multi_end(struct effects *f);
