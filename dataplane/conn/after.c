/* After a command: what it has left in the shards it held is done before the next one runs.
 *
 * Listeners of the keyspace (engine/shard/listen.c) set bits of shard.after while a command runs; here they are served, by whoever holds the
 * shard. Thread: the holder's. */
#include "dataplane/conn/conn_internal.h"
#include "engine/cmd/block.h"
#include "engine/shard/held.h"

/* The reply of the command that has just run is to be written in parts; it held this worker's shard and answered in place. */
static void begin_long(struct worker *w)
{
    struct held *h = w->shard.held_new;
    w->hold.on = true;
    long_begin(h->session, h, w->id);
}

/* Clients that wait for what has changed. What they are given changes keys as well: whatever that leaves to be done comes after. */
void after_waiters(struct worker *w, struct shard_set *set)
{
    struct cmd c = route_cmd(w, NULL, NULL, 0, NULL);
    c.shards = set;
    block_serve(&c);
}

/* Events of the keyspace. Clients that cache have been told of what has changed, or, with `steps`, are told in between, as the command went. */
static void tell_events(struct worker *w, struct shard_set *set, bool steps)
{
    struct notice_seen n;
    for (struct shard *s; (s = notify_first(set->v, set->count, &n)) != NULL;) {
        if (steps)
            tracking_before(w, set, n.at);
        notify_tell(w, w->config.notify_events | n.cls, &n);
        notices_pass(&s->notices);
    }
}

void after_now(struct worker *w, struct shard_set *set)
{
    uint32_t after = AFTER_NONE;
    out_close(w);
    for (uint32_t i = 0; i < set->count; i++)
        after |= set->v[i] ? set->v[i]->after : AFTER_NONE;
    if (after & AFTER_WAIT)
        after_waiters(w, set);
    for (uint32_t i = 0; i < set->count; i++) {
        struct shard *s = set->v[i];
        if (!s)
            continue;
        after |= s->after;
        s->after = AFTER_NONE;
    }
    if (after & AFTER_HELD)
        begin_long(w);
    if (after & AFTER_STEPS)
        tell_events(w, set, true);
    if (after & AFTER_TRACK)
        tracking_after(w, set);
    if (after & AFTER_NOTIFY)
        tell_events(w, set, false);
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
