/* Requests on their way from bytes to replies: what staging writes and what the batch loops read (stage.c, batch.c, route.c).
 *
 *   bytes -> struct known (how such a request began before) -> struct staged -> look up, ask for the entry -> execute
 *
 * The worker's own; one batch, emptied before the turn ends. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/limits.h"
#include "engine/cmd/cmd.h"

struct conn;
struct dict;
struct dict_bucket;
struct entry;

struct staged {
    struct conn *conn;           /* NULL: put back */
    const struct cmd_desc *desc; /* NULL: unknown command, wrong arity, or no request at all */
    struct span *argv;
    union {
        struct {
            uint32_t argc;
            uint8_t owner; /* shard of the first key */
            bool keyed;    /* hash and owner are set */
            bool big;      /* the parser holds streamed arguments of this request */
            uint8_t way;   /* enum way */
        };
        uint64_t kind; /* the same as one word, to be copied from a struct known */
    };
    uint64_t hash;
    union { /* beside hash, as in struct cmd: they are copied as one */
        const struct dict_bucket *bucket; /* until the entries are prefetched */
        struct entry *candidate;          /* then */
    };
    struct dict
        *dict; /* my own shard's, free to touch: where `hash` is looked up; NULL: not known yet */
    const char *protocol_error; /* WAY_ERROR */
};
_Static_assert(sizeof(struct staged) == 64, "positions in a batch are found by shifts");

/* How far a request may go without being asked anything again. */
enum way {
    WAY_DIRECT =
        1, /* one worker, and nothing of the command refuses it: runs in place unless its client says otherwise */
    WAY_PLAIN =
        2, /* and it touches nothing but its key and its reply: not its session, not its client */
    WAY_ERROR = 4, /* not a request: answer protocol_error and close */
    WAY_TIMED = 8, /* plain but for the clock: runs as one, alone */
    WAY_HOP = 16,  /* it would be plain, but its shard is another's, or not free (hop.c) */
};

/* What staging must know of a command, worked out when the configuration changes. */
enum how {
    HOW_KEYED = 1,   /* hash its first key */
    HOW_DIRECT = 2,  /* WAY_DIRECT */
    HOW_BARRIER = 4, /* may pause its client: ends the batch */
    HOW_ASK = 8,     /* rows of the table share this index: ask each one */
    HOW_PLAIN = 16,  /* WAY_PLAIN, on the shard's own worker */
    HOW_TIMED = 32,  /* the clock is read around it (times.c) */
};

/* How a request began that was looked up before: "*2\r\n$3\r\nGET". Requests that begin with the same bytes need no look-up. */
struct known {
    uint64_t head, name,
        name_mask; /* the first 8 bytes; the next 8, of which the mask's are the name */
    const struct cmd_desc *desc;
    uint64_t kind;     /* of struct staged */
    uint64_t hop_kind; /* the same for another's shard, without its owner */
    uint32_t argc;
    uint8_t name_len;
    bool keyed; /* argument 1 is the first key */
    bool one;   /* and the last */
};
#define KNOWN_SLOTS 16

struct batch {
    struct staged *end, *full; /* behind the last request of cmd; where cmd ends */
    struct span *args_end, *args_full;
    uint32_t scratch_used;
    bool running;
    struct dict *dict; /* candidates of this dict are good as long as its `departed` is this */
    uint64_t departed;
    bool mixed;                /* requests of several commands */
    bool cut;                  /* stage_known: what is left over may be the start of one more */
    const struct known *known; /* the last one that was met */
    struct staged cmd[LIMIT_BATCH_CMDS];
    struct span args[LIMIT_BATCH_ARGS];
    uint8_t scratch[LIMIT_BATCH_SCRATCH_BYTES];
    struct known known_slot[KNOWN_SLOTS];
};
