/* After a command: what it has left in the shards it held is done before the next one runs.
 *
 * Listeners of the keyspace (engine/shard/listen.c) set bits of shard.after while a command runs; here they are served, by whoever holds the
 * shard. Thread: the holder's. */
#include "dataplane/conn/conn_internal.h"
#include "engine/shard/held.h"

/* The reply of the command that has just run is to be written in parts; it held this worker's shard and answered in place. */
static void begin_long(struct worker *w)
{
    struct held *h = w->shard.held_new;
    long_begin(h->session, h, w->id);
}

void after_now(struct worker *w, struct shard_set *set)
{
    out_close(w);
    uint32_t after = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        struct shard *s = set->v[i];
        if (!s)
            continue;
        after |= s->after;
        s->after = AFTER_NONE;
    }
    if (after & AFTER_TRACK)
        tracking_after(w, set);
    if (after & AFTER_HELD)
        begin_long(w);
    if (after & AFTER_NOTIFY)
        notify_take(set->v, set->count, notify_publish, w);
}

void after_leased(struct worker *w, uint64_t shards)
{
    uint32_t after = 0;
    for (uint64_t m = shards; m; m &= m - 1)
        after |= w->lease_set.v[__builtin_ctzll(m)]->after;
    if (after)
        after_now(w, &w->lease_set);
}

void careful_set(struct worker *w, enum careful why, bool on)
{
    uint32_t was = w->careful;
    w->careful = on ? w->careful | (uint32_t)why : w->careful & ~(uint32_t)why;
    if (!was == !w->careful)
        return;
    batch_prepare(w);
    for (struct staged *s = w->batch->cmd; w->careful && s != w->batch->end; s++)
        s->way &= WAY_ERROR;
}
