/* MULTI and WATCH of clients: queueing, and EXEC.
 *
 * Between MULTI and EXEC requests are copied into the session's queue (engine/cmd/multi.c). EXEC runs in place when this worker's shard is
 * all it needs (with one worker always); otherwise it is a lease job over the shards of its keys and of the watched ones, whose versions
 * are compared under the leases. Requests of the queue that other workers or the control process answer are issued, in order, when those
 * over shards have run: then the reply of EXEC is several slots, "*n" and the replies so far, one for such a request, and so on.
 *
 *   route_staged -> exec_staged -> queue | run in place (cmd_exec) | lease_submit -> exec_run
 *
 * Thread: the client's home worker. */
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/multi.h"
#include "engine/cmd/scan.h"

/* ---- queueing ---- */

void exec_failed(struct conn *c)
{
    if (unlikely_(c->ses.mode & SESSION_MULTI) && c->ses.multi)
        c->ses.multi->failed = true;
}

uint32_t exec_flags(const struct conn *c, const struct cmd_desc *d)
{
    const struct multi *m = d == &cmd_table[CMD_exec] ? c->ses.multi : NULL;
    return m ? (d->flags & ~m->lacks) | (m->flags & (CMD_WRITE | CMD_MAY_REPLICATE)) : d->flags;
}

/* What is queued or watched counts as input that waits. False: counted, the client is to be closed. */
static bool within_limit(struct conn *c)
{
    const struct multi *m = c->ses.multi;
    if (!m || m->bytes + m->watch_bytes <= c->w->config.client_query_buffer_bytes)
        return true;
    STAT_INC(c->w->stats->query_buffer_limit_closed);
    return false;
}

void exec_watched(struct host *h, struct session *s)
{
    (void)h;
    if (!within_limit((struct conn *)s))
        s->close_asap = true;
}

static bool room_to_queue(struct worker *w)
{
    struct shard *s = &w->shard;
    return w->lease.holder != LEASE_FREE || !shard_full(s) || shard_make_room(s);
}

static void queue_request(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    const struct cmd_desc *d = s->desc;
    const char *error = NULL;
    batch_uncounted(w->batch, s);
    if (d->flags & CMD_NO_MULTI)
        error = "ERR Command not allowed inside a transaction";
    else if (!room_to_queue(w))
        error = "OOM command not allowed when used memory > 'maxmemory'.";
    else if (!multi_queue(&c->ses, d, s->argv, s->argc))
        error = "OOM out of memory";
    if (error) {
        w->cmd_rejected[d->index]++;
        exec_failed(c);
    } else if (!within_limit(c)) {
        conn_kill(c);
        return;
    }
    route_answer(w, c, error ? error : "+QUEUED");
}

/* ---- which shards ---- */

static uint64_t shards_of(const struct worker *w, const struct session *s,
                          const struct multi_cmd *m)
{
    uint64_t cursor;
    if (unlikely_(cmd_of_node(m->desc, s)))
        return 1ull << (s->node - 1);
    switch (m->desc->route) {
    case ROUTE_KEY:
    case ROUTE_KEYS: return route_shards(w, m->desc, m->argv, m->argc);
    case ROUTE_ALL: return worker_all(w);
    case ROUTE_CURSOR:
        if (scan_cursor_parse(m->argv[1], &cursor))
            return 1ull << scan_cursor_shard(cursor, w->count);
        return 0; /* the command refuses it */
    default:
        if (m->desc == &cmd_table[CMD_client_tracking] && tracking_leases(m->argv, m->argc))
            return worker_all(w);
        return 0;
    }
}

static uint64_t shards_of_all(const struct worker *w, const struct session *s)
{
    const struct multi *m = s->multi;
    uint64_t mask = 0;
    for (uint32_t i = 0; i < m->watched; i++)
        mask |= 1ull << m->watch[i].shard;
    for (const struct multi_cmd *mc = m->first; mc; mc = mc->next)
        mask |= shards_of(w, s, mc);
    return mask;
}

/* ---- EXEC that waits, or whose reply is several slots ---- */

struct exec_job {
    struct lease_job job;
    struct multi *multi;
    uint32_t nslots;
    struct slot *slots[]; /* replies so far, a foreign request's, replies behind it, ... */
};

static struct exec_job *job_new(struct conn *c, uint32_t foreign)
{
    uint32_t n = 1 + 2 * foreign;
    struct exec_job *e = calloc(1, sizeof(*e) + n * sizeof(e->slots[0]));
    CHECK(e);
    struct slot *last;
    do /* all of them now: a message must not come between */
        last = e->slots[e->nslots++] = route_slot(c, 1);
    while (e->nslots < n);
    last->resumes = true;
    c->paused = true;
    e->multi = multi_take(&c->ses);
    return e;
}

/* The reply goes on in that slot. */
static void segment_open(struct reply *r, struct slot *slot, uint8_t resp)
{
    struct reply_heap *h = &slot->bytes;
    reply_heap_append(r, h, resp);
    r->muted = slot->muted;
}

static void segment_close(struct worker *w, struct reply *r, struct slot *slot)
{
    reply_heap_finish(r, &slot->bytes);
    slot->conn->slot_bytes += slot->bytes.len;
    if (r->errors) {
        STAT_ADD(w->stats->error_replies, r->errors);
        stats_count_error(w->stats, r->error_code);
    }
}

/* Writes the replies of what runs over shards; notes the others. */
static void run_queue(struct worker *w, struct exec_job *e, struct shard_set *set, bool changed,
                      const struct multi_cmd **ret_foreign)
{
    struct conn *c = e->slots[0]->conn;
    struct reply r;
    uint32_t k = 0;
    uint64_t start = rte_rdtsc();
    segment_open(&r, e->slots[0], c->ses.resp);
    struct cmd cmd = route_cmd(w, &cmd_table[CMD_exec], NULL, 0, &r);
    cmd.shards = set;
    cmd.session = &c->ses;
    for (uint32_t i = 0; i < set->count; i++)
        cmd.shard = set->v[i] ? set->v[i] : cmd.shard;
    w->cmd_calls[CMD_exec]++;
    if (!multi_refuses(&cmd, e->multi, changed)) {
        const struct multi_cmd *at = e->multi->first;
        reply_array(&r, e->multi->n);
        multi_unit_begin(&cmd);
        while ((at = multi_run(&cmd, at)) != NULL) {
            segment_close(w, &r, e->slots[k]);
            ret_foreign[k / 2] = at;
            k += 2;
            segment_open(&r, e->slots[k], c->ses.resp);
            at = at->next;
        }
        multi_unit_end(&cmd);
    }
    segment_close(w, &r, e->slots[k]);
    times_took(w, &cmd_table[CMD_exec], rte_rdtsc() - start);
}

static void issue(struct worker *w, struct slot *slot, const struct multi_cmd *m)
{
    struct staged s = {.conn = slot->conn, .desc = m->desc, .argv = m->argv, .argc = m->argc};
    route_foreign(w, &s, slot);
}

/* `shards`: those of `set` that it holds. */
static void exec_run(struct worker *w, struct exec_job *e, struct shard_set *set, uint64_t shards)
{
    uint32_t n = e->nslots / 2;
    size_t effects = w->journal.fx.len;
    const struct multi_cmd **foreign = calloc(n + 1, sizeof(*foreign));
    CHECK(foreign);
    bool changed = multi_unwatch(e->multi, set);
    uint8_t who = e->slots[0]->conn ? e->slots[0]->conn->ses.durability : DURABILITY_DEFAULT;
    if (e->slots[0]->conn) /* a client that is gone asks for nothing */
        run_queue(w, e, set, changed, foreign);
    for (uint32_t i = 0; i < e->nslots; i++) {
        struct slot *slot = e->slots[i];
        if ((i & 1) && slot->conn && foreign[i / 2]) {
            issue(w, slot, foreign[i / 2]);
            continue;
        }
        journal_ready(w, slot, shards, journal_need(who, w->journal.fx.len != effects));
    }
    free(foreign);
    multi_free(e->multi);
    free(e);
}

static void run_leased(struct worker *w, struct lease_job *j)
{
    exec_run(w, (struct exec_job *)j, &w->lease_set, j->want);
}

static bool waits_leased(struct worker *w, struct lease_job *j)
{
    const struct exec_job *e = (const struct exec_job *)j;
    const struct conn *c = e->slots[0]->conn;
    return c && hold_queue(w, c->ses.db, e->multi);
}

static void start(struct worker *w, struct conn *c, uint64_t want, uint32_t foreign)
{
    out_close(w);
    struct exec_job *e = job_new(c, foreign);
    if (w->count > 1 && want) {
        count_hops(w, &cmd_table[CMD_exec], want);
        e->job = (struct lease_job){
            .want = want, .run = run_leased, .waits = waits_leased, .client = c->ses.id};
        lease_submit(w, &e->job);
        return;
    }
    exec_run(w, e, &w->set, w->count == 1 ? 1 : 0);
    if (w->count == 1)
        after_command(w, &w->shard);
}

/* What EXEC has to ask another worker before it runs: the clients of each REDIRECT, one after the other. */
static bool asks_first(struct worker *w, struct staged *s, const struct multi *m)
{
    for (const struct multi_cmd *mc = m->first; mc; mc = mc->next)
        if (mc->desc == &cmd_table[CMD_client_tracking] && tracking_asks(w, s, mc->argv, mc->argc))
            return true;
    return false;
}

bool exec_staged(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    const struct multi *m = c->ses.multi;
    uint32_t foreign = 0;
    if (w->count > 1 && s->desc == &cmd_table[CMD_exec] && m && !m->failed && asks_first(w, s, m))
        return true;
    if (unlikely_(w->careful & CAREFUL_MONITOR))
        monitor_note_exec(w, s);
    if (multi_queues(s->desc)) {
        queue_request(w, s);
        return true;
    }
    if (s->desc != &cmd_table[CMD_exec] || !m || m->failed)
        return false;
    for (const struct multi_cmd *mc = m->first; mc; mc = mc->next)
        foreign += multi_foreign(mc, w->count);
    uint64_t want = w->count > 1 ? shards_of_all(w, &c->ses) : 0;
    bool mine = want == 0 || (want == 1ull << w->id && remote_shard_free(w) && !intents_any(w));
    if (mine && !foreign)
        return false;
    start(w, c, want, foreign);
    return true;
}

/* ---- WATCH over several workers ---- */

/* Gives references back to a shard that may be in other hands now. */
static void give_back(struct worker *w, uint32_t shard, struct watch **v, size_t n)
{
    struct span argv[] = {SPAN("UNWATCH"), span_of(v, n * sizeof(*v))};
    if (n)
        remote_tell(w, shard, &cmd_table[CMD_unwatch], argv, 2);
}

static void unwatch_shard(struct worker *w, uint32_t shard, struct multi *m)
{
    struct watch *v[64];
    size_t n = 0;
    bool mine = shard == w->id && w->lease.holder == LEASE_FREE;
    for (uint32_t i = 0; i < m->watched; i++) {
        if (m->watch[i].shard != shard)
            continue;
        if (mine) {
            watch_release(&w->shard, m->watch[i].ref.watch);
            continue;
        }
        v[n++] = m->watch[i].ref.watch;
        if (n == ARRAY_LEN(v)) {
            give_back(w, shard, v, n);
            n = 0;
        }
    }
    give_back(w, shard, v, n);
}

void exec_unwatch(struct host *h, struct session *s)
{
    struct worker *w = ((struct conn *)s)->w;
    struct multi *m = s->multi;
    (void)h;
    for (uint32_t i = 0; i < w->count; i++)
        unwatch_shard(w, i, m);
    multi_watch_none(m);
    if (!(s->mode & SESSION_MULTI))
        multi_discard(s); /* nothing is left */
}

void exec_drop(struct conn *c)
{
    if (!c->ses.multi)
        return;
    if (c->ses.multi->watched)
        exec_unwatch(&c->w->host, &c->ses);
    if (c->ses.multi)
        multi_discard(&c->ses);
}

/* References from an owner. False: it had no memory for all, or there is none here. */
static bool take_some(struct worker *w, struct slot *slot, struct span bytes, uint32_t from)
{
    struct multi_watch_answer a = {.ref.watch = NULL};
    bool kept = true, ended = false;
    for (size_t at = 0; at + sizeof(a) <= bytes.n; at += sizeof(a)) {
        memcpy(&a, bytes.p + at, sizeof(a));
        ended = a.ref.watch == NULL;
        if (ended)
            break;
        enum multi_watch_result r = MULTI_WATCH_NO_MEMORY;
        if (slot->conn)
            r = multi_watch_add(&slot->conn->ses, from, a.ref, a.bytes);
        if (r != MULTI_WATCHED)
            give_back(w, from, &a.ref.watch, 1);
        kept &= r != MULTI_WATCH_NO_MEMORY;
    }
    return kept && ended;
}

static void take_refs(struct worker *w, struct slot *slot, struct span bytes, uint32_t from)
{
    struct conn *c = slot->conn;
    if (!take_some(w, slot, bytes, from) && !slot->bytes.len)
        slot_bytes(slot, SPAN("-OOM command not allowed when used memory > 'maxmemory'.\r\n"));
    if (slot->parts > 1)
        return;
    if (!slot->bytes.len)
        slot_bytes(slot, SPAN("+OK\r\n"));
    if (c && !within_limit(c))
        conn_kill(c);
}

void exec_watch(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    struct span *argv = malloc(s->argc * sizeof(*argv));
    uint64_t mask = 0;
    CHECK(argv);
    for (uint32_t i = 1; i < s->argc; i++)
        mask |= 1ull << shard_of_key(s->argv[i], w->count);
    struct slot *slot = route_slot(c, (uint32_t)__builtin_popcountll(mask));
    slot->take = take_refs;
    slot->resumes = true;
    c->paused = true;
    argv[0] = s->argv[0];
    for (uint32_t shard = 0; shard < w->count; shard++) {
        uint32_t argc = 1;
        if (!(mask & 1ull << shard))
            continue;
        for (uint32_t i = 1; i < s->argc; i++) {
            if (shard_of_key(s->argv[i], w->count) == shard)
                argv[argc++] = s->argv[i];
        }
        remote_post(w, shard, slot, s, argv, argc, true);
    }
    free(argv);
}
