/* block.c: clients that wait for a key: BLPOP and its kin, XREAD BLOCK, WAIT; CLIENT UNBLOCK.
 *
 *   block_staged   makes the client's record, stops parsing, runs the command: here, by mail on its keys' owner, or under leases
 *     the command  answers at once, or puts the record into the wait tables of its keys (engine/cmd/block.h)
 *   on_told        home: it waits; from now on its time runs
 *   block_serve    the holder of a shard whose keys have changed (after.c): claims the record, fills its reply, sends it home
 *   served         home: the reply goes into the client's slot, parsing goes on
 *
 * Who claims the record (engine/shard/wait.h) owns it until it is home again. Home ends a wait in the same way: its time is up, CLIENT
 * UNBLOCK, the client is gone. Nodes in the tables of other shards are taken out by their owners (drops), then the record is freed.
 *
 * BLMOVE to a shard that the server of its key does not hold: the record keeps its place at the head of the queue (WAIT_SERVED), home takes the
 * leases of both and moves the element; if it is gone meanwhile the client goes on waiting. Thread: each function says whose. */
#include "engine/cmd/block.h"

#include <stdlib.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"

struct block {
    struct mail_event ev; /* first. To its home, of whoever has claimed it */
    struct lease_job job;
    struct block_wait b;
    struct worker *home; /* what follows is the home's */
    struct conn *conn;   /* NULL: gone */
    struct slot *slot;   /* of its reply; NULL: it has left */
    struct client_timer timer;
    uint64_t deadline_ns;
    struct list node;     /* worker.blocks */
    struct mail *request; /* its arguments, as long as leases are asked for */
    bool told;            /* home knows whether it waits */
    bool counted;         /* in worker.blocked */
    bool answered;        /* b.reply is there */
    bool ended;           /* claimed by home */
    bool late, error;     /* time ran out, or CLIENT UNBLOCK, while an element was being moved */
    uint32_t drops;       /* that have not come back */
    /* what must be safe before the reply leaves; of whoever served it */
    struct {
        uint32_t shard;
        uint64_t gate;
    } gate[2];
    uint32_t gates;
    uint8_t durability;     /* of its client */
    struct disk_call *disk; /* WAITAOF; NULL: it waits for something else, or no more */
};

/* WAITAOF: what was done when it began to wait. */
struct disk_call {
    struct list node; /* journal.callers */
    struct block *block;
    uint64_t seq[]; /* by shard */
};

/* Nodes of a record in the table of another shard. */
struct drop {
    struct mail_event ev;
    struct list node; /* worker.block_drops */
    struct block *block;
};

static struct block *block_of(struct block_wait *b)
{
    return list_entry(b, struct block, b);
}

/* ---- the end of a record; home ---- */

static void disk_end(struct block *b)
{
    struct disk_call *d = b->disk;
    if (!d)
        return;
    b->home->journal.asks -= b->b.local;
    list_remove(&d->node);
    free(d);
    b->disk = NULL;
}

static void block_free(struct block *b)
{
    disk_end(b);
    list_remove(&b->node);
    block_wait_fini(&b->b);
    if (b->request)
        mail_delete(b->request);
    free(b);
}

static void drop_done(struct worker *w, struct mail_event *ev)
{
    struct drop *d = (struct drop *)ev;
    struct block *b = d->block;
    (void)w;
    free(d);
    if (--b->drops == 0)
        block_free(b);
}

/* The owner, when the shard is its own. */
void block_drops(struct worker *w)
{
    struct list *n;
    if (w->lease.holder != LEASE_FREE)
        return;
    while ((n = list_pop_front(&w->block_drops)) != NULL) {
        struct drop *d = list_entry(n, struct drop, node);
        wait_remove_held(w->set.v, &d->block->b.w, false);
        d->ev.run = drop_done;
        event_send(w, d->block->home->id, &d->ev);
    }
    after_command(w, &w->shard);
}

static void drop_here(struct worker *w, struct mail_event *ev)
{
    list_push_back(&w->block_drops, &((struct drop *)ev)->node);
    block_drops(w);
}

/* The client has its answer, or is gone: the record leaves the tables it is still in. */
static void release(struct block *b)
{
    struct worker *w = b->home;
    uint64_t shards = b->b.w.shards;
    if (!shards) {
        block_free(b);
        return;
    }
    if (w->count == 1) {
        wait_remove_held(w->set.v, &b->b.w, false);
        block_free(b);
        return;
    }
    b->drops = (uint32_t)__builtin_popcountll(shards);
    for (; shards; shards &= shards - 1) {
        struct drop *d = calloc(1, sizeof(*d));
        CHECK(d);
        *d = (struct drop){.ev.run = drop_here, .block = b};
        list_init(&d->node);
        event_send(w, (uint32_t)__builtin_ctzll(shards), &d->ev);
    }
}

/* It waits no more, whatever the reply. */
static void detach(struct block *b)
{
    struct worker *w = b->home;
    if (list_linked(&b->timer.node.link))
        wheel_cancel(&w->timers, &b->timer.node);
    disk_end(b);
    if (!b->conn)
        return;
    if (b->counted) {
        STAT_SET(w->stats->clients_blocked, --w->blocked);
        STAT_ADD(w->stats->clients_in_timeout_table, -(uint64_t)(b->b.timeout_ms != 0));
    }
    b->conn->block = NULL;
    b->conn = NULL;
}

static void account(struct block *b, const struct reply_heap *reply, uint32_t errors,
                    const char *code)
{
    struct worker *w = b->home;
    if (errors) {
        STAT_ADD(w->stats->error_replies, errors);
        stats_count_error(w->stats, code);
        w->cmd_failed[b->b.desc->index]++;
    }
    slot_bytes(b->slot, span_of(reply->p, reply->len));
}

/* The holder of the shards: what it did there is in a record that is being made. */
static void note_gate(struct worker *w, struct block *b, uint32_t shard)
{
    struct journal_need need = journal_need(b->durability, (b->b.desc->flags & CMD_WRITE) != 0);
    uint64_t gate = journal_gate(w, shard, need);
    if (!gate)
        return;
    b->gate[b->gates].shard = shard;
    b->gate[b->gates++].gate = gate;
}

static void note_gates(struct worker *w, struct block *b)
{
    b->gates = 0;
    note_gate(w, b, b->b.served_by);
    if (b->b.form == BLOCK_MOVE && shard_of_key(b->b.to, w->count) != b->b.served_by)
        note_gate(w, b, shard_of_key(b->b.to, w->count));
}

static void wait_for_gates(struct block *b, struct slot *slot)
{
    for (uint32_t i = 0; i < b->gates; i++) {
        if (!journal_pending(b->home, b->gate[i].shard, b->gate[i].gate))
            continue;
        slot->parts++;
        journal_wait(b->home, slot, b->gate[i].shard, b->gate[i].gate);
    }
}

/* The slot has its reply, which leaves when it is durable. */
static void close_slot(struct block *b)
{
    struct slot *slot = b->slot;
    b->slot = NULL;
    wait_for_gates(b, slot);
    if (--slot->parts == 0)
        slot_ready(slot);
}

static void served(struct worker *w, struct mail_event *ev)
{
    struct block *b = (struct block *)ev;
    (void)w;
    b->answered = true;
    if (!b->told)
        return; /* on_told is on its way and goes on here */
    account(b, &b->b.reply, b->b.errors, b->b.error_code);
    detach(b);
    close_slot(b);
    release(b);
}

#define UNBLOCKED "UNBLOCKED client unblocked via CLIENT UNBLOCK"

/* Claimed by home: the answer is that of a time that has run out, or an error; NULL: none. */
static void give_up(struct block *b, const char *error)
{
    struct reply_heap h = {0};
    struct reply r;
    b->ended = true;
    reply_heap_init(&r, &h, b->b.resp);
    b->b.durable = b->disk && journal_on_disk(b->home, b->disk->seq);
    if (error)
        reply_error(&r, error);
    else
        block_reply_timeout(&b->b, &r);
    reply_heap_finish(&r, &h);
    account(b, &h, r.errors, r.error_code);
    reply_heap_free(&h);
    detach(b);
    close_slot(b);
    release(b);
}

/* ---- waiting; home ---- */

static void time_is_up(struct worker *w, struct client_timer *t)
{
    struct block *b = list_entry(t, struct block, timer);
    if (w->now_ns < b->deadline_ns)
        client_timer_set(w, t, b->deadline_ns); /* the wheel reaches no further */
    else if (wait_claim(&b->b.w, WAIT_OVER))
        give_up(b, NULL);
    else if (wait_claimed(&b->b.w) == WAIT_SERVED)
        b->late = true;
}

/* Also what the worker's other clients were answered: one group of the log more, at most. */
static void wait_for_disk(struct block *b)
{
    struct worker *w = b->home;
    struct disk_call *d = malloc(sizeof(*d) + w->count * sizeof(d->seq[0]));
    CHECK(d);
    d->block = b;
    journal_note(w, d->seq);
    b->disk = d;
    w->journal.seen = 0;
    list_push_back(&w->journal.callers, &d->node);
    w->journal.asks += b->b.local;
}

void block_disk(struct worker *w)
{
    list_for_each_safe(n, next, &w->journal.callers)
    {
        struct disk_call *d = list_entry(n, struct disk_call, node);
        struct block *b = d->block;
        bool over = w->journal.on ? !b->b.replicas && journal_on_disk(w, d->seq) : b->b.local;
        if (over && wait_claim(&b->b.w, WAIT_OVER))
            give_up(b, w->journal.on ? NULL : BLOCK_NO_LOG);
    }
}

static void begin_to_wait(struct block *b)
{
    struct worker *w = b->home;
    uint64_t ms = (uint64_t)b->b.timeout_ms;
    b->counted = true;
    STAT_SET(w->stats->clients_blocked, ++w->blocked);
    conn_name(b->conn);
    conn_mark(b->conn); /* its peer may have left before */
    if (b->b.form == BLOCK_DISK)
        wait_for_disk(b);
    if (!ms)
        return;
    STAT_ADD(w->stats->clients_in_timeout_table, 1);
    b->deadline_ns =
        ms < (UINT64_MAX - w->now_ns) / 1000000 ? w->now_ns + ms * 1000000 : UINT64_MAX;
    b->timer.fire = time_is_up;
    client_timer_set(w, &b->timer, b->deadline_ns);
}

/* The command has run. True: the slot has its reply, and is the caller's to close. */
static bool told(struct block *b, struct span bytes)
{
    b->told = true;
    if (!b->b.waits)
        slot_bytes(b->slot, bytes);
    else if (b->answered) {
        account(b, &b->b.reply, b->b.errors, b->b.error_code);
        wait_for_gates(b, b->slot);
    } else if (b->conn)
        begin_to_wait(b);
    if (b->b.waits && !b->answered && !b->ended)
        return false;
    detach(b);
    b->slot = NULL;
    release(b);
    return true;
}

/* slot.take: by mail. The caller takes one part off. */
static void on_told(struct worker *w, struct slot *slot, struct span bytes, uint32_t from)
{
    (void)w, (void)from;
    if (!told(block_of(slot->wait), bytes))
        slot->parts++;
}

/* The client is gone, or being closed. */
void block_gone(struct conn *c)
{
    struct block *b = c->block;
    struct slot *slot = b->slot;
    detach(b);
    if (slot->conn) {
        list_remove(&slot->node);
        c->nslots--;
        slot->conn = NULL;
    }
    b->ended = wait_claim(&b->b.w, WAIT_OVER);
    if (!b->told || !b->ended)
        return; /* on_told, served or move_run goes on */
    close_slot(b);
    release(b);
}

bool block_waits(const struct conn *c)
{
    return c->block && c->block->told && c->block->b.waits;
}

struct unblock {
    struct mail_event ev;
    struct block *block;
    bool error;
};

/* Between two commands: the writer is free. */
static void unblock_run(struct worker *w, struct mail_event *ev)
{
    struct unblock *u = (struct unblock *)ev;
    (void)w;
    if (u->block->conn) {
        give_up(u->block, u->error ? UNBLOCKED : NULL);
    } else { /* it left in the same turn */
        close_slot(u->block);
        release(u->block);
    }
    free(u);
}

bool block_unblock(struct worker *w, uint64_t client, bool error)
{
    struct conn *c = conn_find(w, client);
    struct block *b = c && block_waits(c) ? c->block : NULL;
    if (!b)
        return false;
    if (!wait_claim(&b->b.w, WAIT_OVER)) {
        b->error = error;
        b->late = wait_claimed(&b->b.w) == WAIT_SERVED;
        return b->late;
    }
    struct unblock *u = calloc(1, sizeof(*u));
    CHECK(u);
    *u = (struct unblock){.ev.run = unblock_run, .block = b, .error = error};
    event_send(w, w->id, &u->ev);
    return true;
}

/* ---- what block_serve asks for; the holder of the shard ---- */

void block_over(struct worker *w, struct block_wait *bw)
{
    struct block *b = block_of(bw);
    b->ev.run = served;
    if (unlikely_(w->journal.on)) {
        if (b->home != w)
            journal_publish(w); /* its client may be told at once */
        note_gates(w, b);
    }
    if (b->home == w)
        served(w, &b->ev);
    else
        event_send(w, b->home->id, &b->ev);
}

/* Home, under the leases of both lists. */
static void move_run(struct worker *w, struct lease_job *job)
{
    struct block *b = list_entry(job, struct block, job);
    struct wait_node *n = &b->b.w.nodes[0];
    uint32_t from = n->shard;
    struct span argv[] = {SPAN("blmove"), n->key->name, b->b.to};
    struct reply r;
    reply_heap_init(&r, &b->b.reply, b->b.resp);
    struct cmd cmd = route_cmd(w, &block_move_desc, argv, 3, &r);
    cmd.shards = &w->lease_set;
    cmd.shard = w->lease_set.v[n->shard];
    cmd.db = b->b.db;
    cmd.hash = n->key->hash;
    cmd.client = b->conn ? b->conn->ses.id : 0;
    cmd.wait = &b->b;
    b->b.gone = !b->conn;
    cmd_call(&cmd);
    reply_heap_finish(&r, &b->b.reply);
    if (!cmd.waits) {
        b->b.errors = r.errors;
        memcpy(b->b.error_code, r.error_code, sizeof(b->b.error_code));
        b->b.served_by = from;
        if (unlikely_(w->journal.on))
            note_gates(w, b);
        served(w, &b->ev);
    } else if (b->late && wait_claim(&b->b.w, WAIT_OVER)) {
        give_up(b, b->error ? UNBLOCKED : NULL);
    }
}

static bool move_waits(struct worker *w, struct lease_job *job)
{
    const struct block *b = list_entry(job, struct block, job);
    bool from = hold_key(w, b->b.db, b->b.w.nodes[0].key->name);
    return hold_key(w, b->b.db, b->b.to) || from;
}

static void move_ask(struct worker *w, struct mail_event *ev)
{
    struct block *b = (struct block *)ev;
    b->job.want = 1ull << b->b.w.nodes[0].shard | 1ull << shard_of_key(b->b.to, w->count);
    b->job.run = move_run;
    b->job.waits = move_waits;
    lease_submit(w, &b->job);
}

void block_move(struct worker *w, struct block_wait *bw)
{
    struct block *b = block_of(bw);
    b->ev.run = move_ask;
    event_send(w, b->home->id, &b->ev);
}

/* ---- requests; home ---- */

static struct block *block_new(struct worker *w, struct conn *c)
{
    struct block *b = calloc(1, sizeof(*b));
    CHECK(b);
    b->home = w;
    b->conn = c;
    b->durability = c->ses.durability;
    b->b.w.shared = w->count > 1;
    wheel_node_init(&b->timer.node);
    list_init(&b->ev.node);
    list_init(&b->job.node);
    list_push_back(&w->blocks, &b->node);
    b->slot = route_slot(c, 1);
    b->slot->resumes = true;
    b->slot->wait = &b->b;
    b->slot->take = on_told;
    c->block = b;
    c->paused = true;
    return b;
}

/* `shards`: that the command may have changed. */
static void run(struct worker *w, struct block *b, struct cmd *cmd, uint64_t shards)
{
    struct reply_heap h = {0};
    struct reply r;
    struct slot *slot = b->slot;
    uint8_t who = b->durability; /* told may free it */
    reply_heap_init(&r, &h, cmd->out->resp);
    cmd->out = &r;
    cmd->wait = &b->b;
    if (times_each(w, cmd->desc)) {
        struct times_request t = {
            .desc = cmd->desc, .argv = cmd->argv, .argc = cmd->argc, .session = cmd->session};
        times_begin(w, &t, false);
        cmd_call(cmd);
        times_end(w, &t);
    } else {
        cmd_call(cmd);
    }
    reply_heap_finish(&r, &h);
    if (r.errors) {
        STAT_ADD(w->stats->error_replies, r.errors);
        stats_count_error(w->stats, r.error_code);
    }
    if (told(b, span_of(h.p, h.len)))
        journal_ready(w, slot, shards, journal_need(who, (cmd->desc->flags & CMD_WRITE) != 0));
    reply_heap_free(&h);
}

static void run_here(struct worker *w, struct block *b, const struct staged *s)
{
    struct reply resp = {.resp = s->conn->ses.resp};
    struct cmd cmd = route_cmd(w, s->desc, s->argv, s->argc, &resp);
    cmd.session = &s->conn->ses;
    cmd.db = s->conn->ses.db;
    cmd.hash = s->hash;
    run(w, b, &cmd, s->desc->route == ROUTE_LOCAL ? 0 : 1ull << w->id);
    if (w->lease.holder == LEASE_FREE) /* WAIT runs whoever has it */
        after_command(w, &w->shard);
}

static void run_leased(struct worker *w, struct lease_job *job)
{
    struct block *b = list_entry(job, struct block, job);
    struct mail *m = b->request;
    struct mail_cmd *mc = m->first;
    struct reply resp = {.resp = mc->resp};
    struct cmd cmd = route_cmd(w, mc->desc, mc->argv, mc->argc, &resp);
    cmd.shards = &w->lease_set;
    cmd.shard = mc->keyed ? w->lease_set.v[shard_of_key(mc->argv[mc->desc->first_key], w->count)]
                          : w->lease_set.v[__builtin_ctzll(job->want)];
    cmd.session = b->conn ? &b->conn->ses : NULL;
    cmd.db = mc->db;
    cmd.hash = mc->hash;
    cmd.client = mc->client;
    b->request = NULL;
    run(w, b, &cmd, job->want);
    mail_delete(m);
}

static bool waits_leased(struct worker *w, struct lease_job *job)
{
    const struct mail_cmd *mc = list_entry(job, struct block, job)->request->first;
    return hold_keys(w, mc->db, mc->desc, mc->argv, mc->argc);
}

static void ask_leases(struct worker *w, struct block *b, const struct staged *s, uint64_t want)
{
    b->request = mail_new(w, w->id);
    struct mail_cmd *mc = mail_add(b->request, b->slot, s->desc, s->argv, s->argc);
    CHECK(mc);
    mc->db = s->conn->ses.db;
    mc->resp = s->conn->ses.resp;
    mc->client = s->conn->ses.id;
    mc->hash = s->hash;
    mc->keyed = s->keyed;
    b->job.want = want;
    b->job.run = run_leased;
    b->job.waits = waits_leased;
    b->job.client = mc->client;
    lease_submit(w, &b->job);
}

void block_staged(struct worker *w, struct staged *s)
{
    out_close(w);
    struct block *b = block_new(w, s->conn);
    uint64_t want = w->count == 1 || s->desc->route == ROUTE_LOCAL
                        ? 1ull << w->id
                        : route_shards(w, s->desc, s->argv, s->argc);
    uint32_t owner = (uint32_t)__builtin_ctzll(want);
    if (want & (want - 1)) {
        ask_leases(w, b, s, want);
    } else if (owner == w->id && (s->desc->route == ROUTE_LOCAL || shard_free_for(w, s))) {
        run_here(w, b, s);
    } else {
        uint32_t posted = w->posted;
        remote_post(w, owner, b->slot, s, s->argv, s->argc, false);
        if (w->posted != posted)
            return;
        b->slot = NULL; /* no memory: it was answered */
        detach(b);
        block_free(b);
    }
}

void block_fini(struct worker *w)
{
    list_for_each_safe(n, next, &w->blocks)
    {
        struct block *b = list_entry(n, struct block, node);
        if (b->conn)
            b->conn->block = NULL;
        if (b->slot && !b->slot->conn)
            slot_free(b->slot);
        else if (b->slot)
            b->slot->parts = 0; /* goes with its client */
        list_remove(&b->ev.node);
        list_remove(&b->job.node);
        block_free(b);
    }
    for (struct list *n; (n = list_pop_front(&w->block_drops)) != NULL;)
        free(list_entry(n, struct drop, node));
}
