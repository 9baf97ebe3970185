/* GET of a text whose entry the batch has found, without a call: what most requests of a cache are. Shared by cmd_get and by who runs rows of requests
 * (dataplane/conn/batch.c). Thread: the shard's. */
#pragma once

#include "engine/resp/reply_inline.h"
#include "engine/shard/access_inline.h"

/* `candidate` may be NULL. True: the key's value is in `out`, and the entry is touched. False: nothing was done, cmd_get will tell. */
static inline __attribute__((always_inline)) bool
get_found(struct shard *s, struct span key, struct entry *candidate, struct reply *out)
{
    const struct entry *e = access_read_text(s, key, candidate);
    if (unlikely_(!e))
        return false;
    reply_bulk_inline(out, span_of(e->body + key.n, e->value_len));
    return true;
}
