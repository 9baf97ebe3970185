/* Leases: the right to touch a shard.
 *
 * What needs several shards at once (a request whose keys lie apart, an EXEC, a snapshot's cut) is a job. The jobs of a worker wait in one
 * line; a round asks for the leases of all that wait, one after the other in shard order (so no two rounds wait for each other), runs
 * the jobs as ordinary single-threaded code, and gives the shards back. What comes meanwhile is the next round's. While a shard is leased
 * its worker goes on with packets; commands for the shard are deferred, in order. On release the deferred commands run first, then the
 * next waiting round is granted: neither side starves. Holder and owner meet only in mail: the ring's release/acquire pair carries the
 * shard's memory over. The protocol and its invariants are in docs/threads.md; tests/model has them checked. */
#include <stdlib.h>

#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"
#include "engine/shard/snapshot.h"

static void round_run(struct worker *w, struct lease *l);

static void ask_next(struct worker *w, struct lease *l)
{
    uint64_t left = l->want & ~l->have;
    if (left == 0) {
        round_run(w, l);
        return;
    }
    uint32_t next = (uint32_t)__builtin_ctzll(left);
    if (next == w->id)
        lease_on_request(w, l);
    else
        remote_send(w, next, l, MAIL_LEASE_REQUEST);
}

/* ---- rounds ---- */

/* Commands that were posted before go ahead of the round: the same rings carry both, in order. */
static void send_posted(struct worker *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        struct mail *m = w->outbox[i].cur;
        w->outbox[i].cur = NULL;
        if (m && i == w->id)
            lease_defer(w, m);
        else if (m)
            remote_send(w, i, m, MAIL_CMDS);
    }
}

void lease_round_now(struct worker *w)
{
    struct lease *l = &w->lease_round;
    *l = (struct lease){.holder = w->id};
    list_init(&l->q.node);
    list_init(&l->jobs);
    for (uint32_t n = 0; n < LIMIT_LEASE_JOBS && !list_empty(&w->lease_jobs); n++) {
        struct lease_job *j = list_entry(list_pop_front(&w->lease_jobs), struct lease_job, node);
        l->want |= j->want;
        list_push_back(&l->jobs, &j->node);
    }
    w->lease_asking = true;
    send_posted(w);
    ask_next(w, l);
}

void lease_submit(struct worker *w, struct lease_job *j)
{
    ASSERT(j->want);
    list_push_back(&w->lease_jobs, &j->node);
    if (w->count == 1)
        lease_rounds(w); /* nobody to wait for */
}

static void give_back(struct worker *w, uint64_t shards)
{
    for (uint64_t m = shards; m; m &= m - 1)
        w->lease_set.v[__builtin_ctzll(m)] = NULL;
    for (uint64_t m = shards; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        if (i == w->id)
            lease_on_release(w);
        else
            remote_send(w, i, NULL, MAIL_LEASE_RELEASE);
    }
}

/* All shards are here. A job may submit others: they are for the next round. */
static void round_run(struct worker *w, struct lease *l)
{
    uint64_t shards = l->want;
    for (uint64_t m = shards; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        w->lease_set.v[i] = &w->all[i]->shard;
        w->lease_set.v[i]->now_ms = w->now_ms;
    }
    if (unlikely_(w->journal.on))
        journal_lease_begin(w, shards);
    for (struct list *n; (n = list_pop_front(&l->jobs)) != NULL;) {
        struct lease_job *j = list_entry(n, struct lease_job, node);
        if (j->waits && hold_job(w, j))
            continue;
        j->run(w, j);
        if (unlikely_(w->journal.on))
            journal_lease_next(w, shards);
        after_leased(w, shards);
        STAT_INC(w->stats->lease_jobs);
    }
    STAT_INC(w->stats->leases_taken);
    if (unlikely_(w->journal.on))
        journal_lease_end(w, shards);
    w->lease_asking = false;
    give_back(w, shards);
}

/* ---- jobs that are no requests ---- */

struct lease_call {
    struct lease_job job;
    void (*call)(struct worker *w, void *ctx);
    void *ctx;
};

static void call_run(struct worker *w, struct lease_job *j)
{
    struct lease_call *q = (struct lease_call *)j;
    q->call(w, q->ctx);
    free(q);
}

bool lease_call(struct worker *w, void (*call)(struct worker *w, void *ctx), void *ctx)
{
    struct lease_call *q = calloc(1, sizeof(*q));
    if (!q)
        return false;
    q->job = (struct lease_job){.want = worker_all(w), .run = call_run};
    q->call = call;
    q->ctx = ctx;
    lease_submit(w, &q->job);
    return true;
}

/* ---- the owner's side ---- */

/* False: the keys of requests under way are in the way. */
static bool grant(struct worker *w, struct lease *l)
{
    if (intents_any(w))
        return false;
    if (unlikely_(w->journal.on))
        journal_close(w);
    w->lease.holder = l->holder;
    if (l->holder == w->id)
        lease_on_grant(w, l);
    else
        remote_send(w, l->holder, l, MAIL_LEASE_GRANT);
    return true;
}

/* On the owner of the next shard wanted. */
void lease_on_request(struct worker *w, struct lease *l)
{
    l->q.kind = LINE_LEASE;
    list_push_back(&w->lease.queue, &l->q.node);
    lease_pump(w);
}

/* On the holder: the shard it asked last is its own now. */
void lease_on_grant(struct worker *w, struct lease *l)
{
    ASSERT(l->holder == w->id);
    uint64_t left = l->want & ~l->have;
    l->have |= left & -left;
    ask_next(w, l);
}

void lease_defer(struct worker *w, struct mail *m)
{
    m->q.kind = LINE_MAIL;
    m->at = m->first;
    list_push_back(&w->lease.queue, &m->q.node);
}

/* On the owner: the shard is its own again. */
void lease_on_release(struct worker *w)
{
    w->lease.holder = LEASE_FREE;
    w->hold.on |= snapshot_watches(&w->shard); /* snapshot_turn ends it, and tells who waits */
    lease_pump(w);
}

static bool serve(struct worker *w, struct in_line *q)
{
    switch (q->kind) {
    case LINE_MAIL: return remote_serve(w, (struct mail *)q);
    case LINE_PART: return part_turn(w, (struct part *)q);
    case LINE_LEASE: return grant(w, (struct lease *)q);
    }
    return true;
}

/* While the shard is free: what stands in its line, one after the other, up to the first that has to wait. */
void lease_pump(struct worker *w)
{
    struct list *n;
    if (w->lease.pumping)
        return; /* serving may post to this worker again: the outer call sees it */
    w->lease.pumping = true;
    while (w->lease.holder == LEASE_FREE && (n = list_pop_front(&w->lease.queue)) != NULL) {
        w->lease.served++;
        if (!serve(w, list_entry(n, struct in_line, node))) {
            list_push_front(&w->lease.queue, n);
            break;
        }
    }
    w->lease.pumping = false;
}
