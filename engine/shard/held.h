/* held: a large value whose reply is written in parts, while its client takes them, as it was when it was asked for.
 *
 *   command   writes the reply's head and begins a held (engine/cmd/long_reply.h), which is written by `more` from then on
 *   change    who is about to change, move or remove the entry (snapshot_touch: the same places) has the rest written down first. Who knows before what
 *             he will change asks held_wants, as of a snapshot, and comes again when held_step has written it down, a little at a time
 *   client    takes parts with held_take until it has all, or goes away: held_drop
 *
 * So the memory of a long reply is bounded as long as nobody writes to the value meanwhile. Thread: the lease holder's. */
#pragma once

#include <stdbool.h>

#include "engine/base/assert.h"
#include "engine/base/list.h"
#include "engine/resp/reply.h"
#include "engine/shard/entry.h"
#include "engine/shard/shard.h"

struct held {
    struct list node; /* shard->held_all */
    struct shard *shard;
    const struct entry *e; /* NULL: the rest is written */
    /* Writes elements until the reply has about `budget` bytes more; true: that was the last one. */
    bool (*more)(struct held *h, struct reply *out, size_t budget);
    uint8_t resp;
    bool
        failed; /* there was no memory for the rest: the client cannot be given what it was promised */
    bool wanted;      /* a change waits until the rest is written down */
    struct list rest; /* what was written early: struct held_text; never moved when it grows */
    void *session;    /* of the client that asked, where the command had it */
};

/* h: its first member fields are filled in here. The entry stays as it is until held_take says so. */
void held_begin(struct held *h, struct shard *s, const struct entry *e, uint8_t resp,
                bool (*more)(struct held *h, struct reply *out, size_t budget));
/* The next part, about `budget` bytes. True: the reply is whole, or it cannot be (out->failed), and h is freed. */
bool held_take(struct held *h, struct reply *out, size_t budget);
/* Nobody wants the rest. Frees it. */
void held_drop(struct held *h);
/* All of them: their clients are gone. */
void held_fini(struct shard *s);

/* Must a change of e wait? Then it is counted by held_answered when it need not any more. It waits once: for some ms after that nothing waits, or clients that
 * go on asking for the value would hold it for ever. */
bool held_wants_now(struct shard *s, const struct entry *e);
static inline bool held_wants(struct shard *s, const struct entry *e)
{
    return unlikely_(s->held_count != 0) && held_wants_now(s, e);
}
/* A little of what is wanted; more of it while held_wanted is not 0. */
void held_step(struct shard *s);
void held_touch_now(struct shard *s, const struct entry *e); /* e NULL: all of them */
/* e is about to change or leave. */
static inline void held_touch(struct shard *s, const struct entry *e)
{
    if (unlikely_(s->held_count != 0))
        held_touch_now(s, e);
}
