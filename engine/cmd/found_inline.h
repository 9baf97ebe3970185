/* GET and SET of a text whose entry the batch has found, without a call: what most requests of a cache are. Shared by cmd_get and cmd_set and by
 * who runs rows of requests (dataplane/conn/batch.c). `candidate` may be NULL, as in struct cmd. True: done, and answered in `out`. False:
 * nothing was done, the command will tell. Thread: the shard's. */
#pragma once

#include "engine/resp/reply_inline.h"
#include "engine/shard/access_inline.h"

static inline __attribute__((always_inline)) bool
found_get(struct shard *s, struct span key, struct entry *candidate, struct reply *out)
{
    const struct entry *e = access_read_text(s, key, candidate);
    if (unlikely_(!e))
        return false;
    reply_bulk_inline(out, span_of(e->body + key.n, e->value_len));
    return true;
}

/* Of three arguments, and with room for what it writes (shard_full). */
static inline __attribute__((always_inline)) bool found_set(struct shard *s, struct span key,
                                                            struct span value,
                                                            struct entry *candidate,
                                                            struct reply *out)
{
    if (unlikely_(s->listen) || unlikely_(!access_overwrite(s, key, candidate, value)))
        return false;
    s->stats.dirty++; /* ks_changed, and nobody listens */
    reply_ok_inline(out);
    return true;
}
