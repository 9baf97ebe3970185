/* block: commands that wait for a key (BLPOP and its kin), and what their clients are given once it has something.
 *
 *   request -> cmd_blpop ... -> there is something: answered like LPOP
 *                            -> block_on_keys: nodes in the wait tables of its keys' shards (engine/shard/wait.h); c->waits, no reply
 *   change of a key -> block_serve: clients in their order, by the same cores as LPOP, ZPOPMIN, XREAD ... -> host_ops.wait_over
 *
 * The record is made by the client's home before the command runs, and freed by it. Where a client may not wait (in MULTI, in a script)
 * there is none: the command answers as when its time has run out at once. Thread: the holder's of the leases; afterwards the home's. */
#pragma once

#include "engine/cmd/cmd.h"
#include "engine/shard/wait.h"

enum block_form {
    BLOCK_POP,      /* BLPOP, BRPOP: [key, element] */
    BLOCK_MPOP,     /* BLMPOP: [key, [element ...]] */
    BLOCK_MOVE,     /* BLMOVE, BRPOPLPUSH: the element */
    BLOCK_ZPOP,     /* BZPOPMIN, BZPOPMAX */
    BLOCK_ZMPOP,    /* BZMPOP */
    BLOCK_XREAD,    /* and XREADGROUP */
    BLOCK_REPLICAS, /* WAIT: nobody but time */
    BLOCK_DISK      /* WAITAOF */
};

struct block_wait {
    struct waiter w;
    const struct cmd_desc *desc;
    uint32_t db;
    uint8_t resp, form;
    bool tail, to_tail; /* ends; tail of sorted sets: the greatest */
    bool noack;
    bool waits; /* it is in the tables, or its client has left before it could be */
    bool gone;  /* of the home: its client is no more, nothing is to be done for it */
    bool local, replicas,
        durable; /* BLOCK_DISK: what is waited for, and whether it is on the disk */
    uint64_t count;
    struct span to, group, consumer; /* in `text` */
    uint8_t *text;
    int64_t timeout_ms; /* 0: for ever */
    /* what it was given */
    struct reply_heap reply;
    uint32_t served_by; /* shard */
    uint32_t errors;
    char error_code[16];
};

#define BLOCK_NO_LOG "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."

/* Ends of what block_on_keys has allocated; nobody has its nodes in a table. */
void block_wait_fini(struct block_wait *b);
/* The reply of one whose time has run out. */
void block_reply_timeout(const struct block_wait *b, struct reply *out);

/* BLOCK_*: seconds with a fraction; milliseconds. 0: for ever. False: the error was written. */
bool block_arg_s(struct cmd *c, uint32_t i, int64_t *ms);
bool block_arg_ms(struct cmd *c, uint32_t i, int64_t *ms);

/* Nothing is there: the client waits for n keys from argument `first` on, `kind` of them. Returns its record, to be completed before the shards
 * are given back; NULL: it may not wait or there is no memory, and the answer was written. */
struct block_wait *block_on_keys(struct cmd *c, enum wait_kind kind, enum block_form form,
                                 uint32_t first, uint32_t n, int64_t timeout_ms);
/* For XREAD and XREADGROUP. */
struct block_streams {
    const struct stream_id *after; /* of the first key; NULL: a group's */
    size_t stride;                 /* bytes to that of the next */
    struct span group, consumer;
    uint64_t count;
    bool noack;
};
void block_on_streams(struct cmd *c, uint32_t first, uint32_t n, const struct block_streams *s,
                      int64_t timeout_ms);

/* What was done, for the journal (effect.h): LPOP, ZPOPMIN and the like. count 0: none was asked for. */
void block_say_pop(struct cmd *c, struct span key, bool tail, uint64_t count);
void block_say_zpop(struct cmd *c, struct span key, bool max, uint64_t count);
void block_say_move(struct cmd *c, struct span from, struct span to, bool from_tail, bool to_tail);

/* Whether the request may make its client wait at all: XREAD only with BLOCK. */
bool cmd_may_wait(const struct cmd_desc *d, const struct span *argv, uint32_t argc);

/* Serves the clients of keys that have changed in the shards of c->shards that are set, until nothing is left. c: what commands have of their
 * worker; argv, client and reply are not looked at. */
void block_serve(struct cmd *c);
/* The element for one whose destination lies elsewhere, under the leases of both (host_ops.wait_move): c->wait is it, arguments 1 and 2 are the
 * keys. Nothing there: c->waits. */
extern const struct cmd_desc block_move_desc;
