/* held: a large value whose reply is written in parts, while its client takes them, as it was when it was asked for.
 *
 *   command   writes the reply's head and begins a held (engine/cmd/long_reply.h), which is written by `more` from then on
 *   change    who is about to change, move or remove the entry (snapshot_touch: the same places) has the rest written down first
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
    struct reply_heap rest; /* what was written early */
    size_t rest_off;
    void *session; /* of the client that asked, where the command had it */
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
/* Memory that the rest takes. */
size_t held_bytes(const struct held *h);

void held_touch_now(struct shard *s, const struct entry *e); /* e NULL: all of them */
/* e is about to change or leave. */
static inline void held_touch(struct shard *s, const struct entry *e)
{
    if (unlikely_(s->held_count != 0))
        held_touch_now(s, e);
}
