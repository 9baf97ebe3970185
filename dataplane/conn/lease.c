/* Leases: the right to touch a shard.
 *
 * A request whose keys lie on several shards takes their leases one after the other in shard order (so no two holders wait for each other),
 * runs as ordinary single-threaded code over all of them on its home worker, and gives them back. While a shard is leased its worker goes on
 * with packets; commands for the shard are deferred, in order. On release the deferred commands run first, then the next waiting lease is
 * granted: neither side starves. Holder and owner meet only in mail: the ring's release/acquire pair carries the shard's memory over.
 * The protocol and its invariants are in docs/threads.md. */
#include <stdlib.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"

static void lease_run(struct worker *w, struct lease *l);

static void ask_next(struct worker *w, struct lease *l)
{
    uint64_t left = l->want & ~l->have;
    if (left == 0) {
        lease_run(w, l);
        return;
    }
    uint32_t next = (uint32_t)__builtin_ctzll(left);
    if (next == w->id)
        lease_on_request(w, l);
    else
        remote_send(w, next, l, MAIL_LEASE_REQUEST);
}

bool lease_start(struct worker *w, uint64_t want, struct slot *slot, const struct staged *s)
{
    struct lease *l = calloc(1, sizeof(*l));
    if (!l)
        return false;
    l->mail = mail_new(w, w->id);
    struct mail_cmd *mc = mail_add(l->mail, slot, s->desc, s->argv, s->argc);
    if (!mc) {
        mail_delete(l->mail);
        free(l);
        return false;
    }
    mc->db = s->conn->ses.db;
    mc->resp = s->conn->ses.resp;
    mc->client = s->conn->ses.id;
    mc->hash = s->hash;
    mc->keyed = s->keyed;
    l->holder = w->id;
    l->want = want;
    list_init(&l->node);
    /* Commands this client has posted before go ahead of the lease: the same rings carry both, in order. */
    for (uint32_t i = 0; i < w->count; i++) {
        struct mail *m = w->outbox[i].cur;
        if (!m || i == w->id)
            continue;
        w->outbox[i].cur = NULL;
        remote_send(w, i, m, MAIL_CMDS);
    }
    struct mail *self = w->outbox[w->id].cur;
    if (self) {
        w->outbox[w->id].cur = NULL;
        lease_defer(w, self);
    }
    ask_next(w, l);
    return true;
}

static void grant(struct worker *w, struct lease *l)
{
    w->lease.holder = l->holder;
    if (l->holder == w->id)
        lease_on_grant(w, l);
    else
        remote_send(w, l->holder, l, MAIL_LEASE_GRANT);
}

/* On the owner of the next shard wanted. */
void lease_on_request(struct worker *w, struct lease *l)
{
    list_push_back(&w->lease.waiting, &l->node);
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

static uint64_t all_shards(const struct worker *w)
{
    return w->count == 64 ? UINT64_MAX : (1ull << w->count) - 1;
}

bool lease_call(struct worker *w, void (*call)(struct worker *w, void *ctx), void *ctx)
{
    struct lease *l = calloc(1, sizeof(*l));
    if (!l)
        return false;
    l->call = call;
    l->ctx = ctx;
    l->holder = w->id;
    l->want = all_shards(w);
    list_init(&l->node);
    ask_next(w, l);
    return true;
}

static void give_back(struct worker *w, uint64_t shards)
{
    for (; shards; shards &= shards - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(shards);
        w->lease_set.v[i] = NULL;
        if (i == w->id)
            lease_on_release(w);
        else
            remote_send(w, i, NULL, MAIL_LEASE_RELEASE);
    }
}

/* What is no request. */
static void run_call(struct worker *w, struct lease *l)
{
    uint64_t shards = l->want;
    l->call(w, l->ctx);
    STAT_INC(w->stats->leases_taken);
    free(l);
    give_back(w, shards);
}

static void lease_run(struct worker *w, struct lease *l)
{
    for (uint64_t m = l->want; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        w->lease_set.v[i] = &w->all[i]->shard;
        w->lease_set.v[i]->now_ms = w->now_ms;
    }
    if (!l->mail) {
        run_call(w, l);
        return;
    }
    struct mail_cmd *mc = l->mail->first;
    struct slot *slot = mc->slot;
    struct reply_heap h = {0};
    struct reply r;
    reply_heap_init(&r, &h, mc->resp);
    struct cmd cmd = route_cmd(w, mc->desc, mc->argv, mc->argc, &r);
    cmd.shards = &w->lease_set;
    cmd.shard = mc->keyed ? w->lease_set.v[shard_of_key(mc->argv[mc->desc->first_key], w->count)]
                          : w->lease_set.v[__builtin_ctzll(l->want)];
    cmd.session = slot->conn ? &slot->conn->ses : NULL;
    cmd.db = mc->db;
    cmd.hash = mc->hash;
    cmd.client = mc->client;
    cmd_call(&cmd);
    reply_heap_finish(&r, &h);
    if (r.errors) {
        STAT_ADD(w->stats->error_replies, r.errors);
        stats_count_error(w->stats, r.error_code);
    }
    uint64_t shards = l->want;
    STAT_INC(w->stats->leases_taken);
    slot_bytes(slot, span_of(h.p, h.len));
    reply_heap_free(&h);
    mail_delete(l->mail);
    free(l);
    after_leased(w, shards);
    give_back(w, shards);
    slot->parts = 0;
    slot_ready(slot);
}

void lease_defer(struct worker *w, struct mail *m)
{
    list_push_back(&w->lease.deferred, &m->node);
}

/* On the owner: the shard is its own again. */
void lease_on_release(struct worker *w)
{
    w->lease.holder = LEASE_FREE;
    lease_pump(w);
}

/* While the shard is free: what was deferred runs, then the next waiting lease is granted. */
void lease_pump(struct worker *w)
{
    struct list *n;
    if (w->lease.pumping)
        return; /* serving may post to this worker again: the outer call sees it */
    w->lease.pumping = true;
    while (w->lease.holder == LEASE_FREE) {
        if ((n = list_pop_front(&w->lease.deferred)) != NULL)
            remote_serve(w, list_entry(n, struct mail, node));
        else if ((n = list_pop_front(&w->lease.waiting)) != NULL)
            grant(w, list_entry(n, struct lease, node));
        else
            break;
    }
    w->lease.pumping = false;
}
