/* The short way of a plain request (WAY_PLAIN) over several workers: its key is another shard's, or it comes behind one whose key is.
 *
 *   hop_run    home: a row of one client's. Other shards' are copied into mail; those of my own shard run now, and where the client awaits
 *              a reply before theirs, their replies are kept aside
 *   hop_serve  owner: runs them as a batch runs its own, all replies in one piece of memory
 *   row_take   home (row.c): straight from the mail to the client, unless another reply comes first: then the mail is pinned until that has left
 *
 * Everything else goes by route.c and remote.c, which do the same with any command. Order, lines and intents are theirs: docs/threads.md.
 * Thread: the worker's. */
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"
#include "engine/cmd/effect.h"

#define ASIDE_BYTES (16u << 10) /* then the next one is begun: it is freed with its last slot */

/* ---- at home ---- */

/* Nothing about the client asks for the long way. */
static inline bool client_is_plain(const struct conn *c)
{
    return likely_(c->state == 0 && (c->ses.mode & ~(uint32_t)SESSION_NODE) == 0 &&
                   c->ses.authenticated && c->ses.reply_mode == SESSION_REPLY_ON &&
                   (c->writes_pending | c->reads_pending) == 0);
}

/* memcpy, of what is short as a rule. */
static inline void copy_bytes(uint8_t *to, const uint8_t *from, size_t n)
{
    if (unlikely_(n - 16 > 16)) {
        memcpy(to, from, n);
        return;
    }
    memcpy(to, from, 16);
    memcpy(to + n - 16, from + n - 16, 16);
}

/* The arguments of a request lie in one piece of a packet, or of the batch's scratch: they are copied with what stands between them.
 * NULL: no memory. */
static inline __attribute__((always_inline)) struct mail_cmd *copy_request(struct mail *m,
                                                                           const struct staged *s)
{
    uint32_t argc = s->argc;
    const uint8_t *from = s->argv[0].p;
    size_t n = (size_t)(s->argv[argc - 1].p - from) + s->argv[argc - 1].n;
    struct mail_cmd *mc = mail_bytes(m, sizeof(*mc) + argc * sizeof(struct span) + n);
    if (unlikely_(!mc))
        return NULL;
    struct span *argv = (struct span *)(mc + 1), *last = argv + argc - 1;
    uint8_t *to = (uint8_t *)(argv + argc);
    copy_bytes(to, from, n);
    argv[0] = span_of(to, s->argv[0].n);
    for (uint32_t i = 1; i < argc - 1; i++) {
        ASSERT(s->argv[i].p >= from && s->argv[i].p + s->argv[i].n <= from + n);
        argv[i] = span_of(to + (s->argv[i].p - from), s->argv[i].n);
    }
    *last = span_of(to + (s->argv[argc - 1].p - from), s->argv[argc - 1].n);
    /* The rest is written by who serves it. */
    mc->next = NULL;
    mc->desc = s->desc;
    mc->argv = argv;
    mc->argc = argc;
    mc->hash = s->hash;
    mc->gate = 0;
    mc->part = mc->tracks = false;
    mc->keyed = mc->may_hold = mc->plain = true;
    mc->held = NULL;
    mc->took = 0;
    return mc;
}

/* Where replies of my own are kept. */
static struct mail *aside_mail(struct worker *w)
{
    if (w->aside && unlikely_(w->aside->replies.len > ASIDE_BYTES)) {
        mail_unpin(w, w->aside);
        w->aside = NULL;
    }
    if (!w->aside)
        w->aside = mail_new(w, w->id);
    return w->aside;
}

static __attribute__((noinline)) void refuse(struct worker *w, struct row *row)
{
    struct mail *m = aside_mail(w);
    struct reply r;
    size_t off = m->replies.len;
    reply_heap_append(&r, &m->replies, row->slot.conn->ses.resp);
    reply_error(&r, "OOM out of memory");
    reply_heap_finish(&r, &m->replies);
    row_add(row, m, off, m->replies.len - off);
}

static inline __attribute__((always_inline)) void post(struct worker *w, const struct staged *s,
                                                       struct row *row)
{
    const struct session *ses = &s->conn->ses;
    struct mail *m = mail_to(w, s->owner);
    struct mail_cmd *mc = copy_request(m, s);
    if (unlikely_(!mc)) {
        refuse(w, row);
        return;
    }
    mc->slot = &row->slot;
    mc->piece = (uint8_t)row->n;
    mc->db = ses->db;
    mc->resp = ses->resp;
    mc->client = ses->id;
    mc->durability = ses->durability;
    mail_append(m, mc);
    row->piece[row->n++].mail = NULL;
    row->slot.parts++;
    w->posted++;
    w->cmd_hops[s->desc->index] += s->owner != w->id;
    STAT_INC(w->stats->mail_sent);
}

/* Runs one plain command; its reply goes to cmd->out. */
static inline void call(struct worker *w, struct cmd *cmd)
{
    const struct cmd_desc *d = cmd->desc;
    struct reply *r = cmd->out;
    if (unlikely_((d->flags & CMD_DENYOOM) && shard_full(&w->shard)) && !cmd_has_room(cmd)) {
        route_refused(w, r);
        return;
    }
    d->fn(cmd);
    cmd_ended(cmd);
    w->cmd_calls[d->index]++;
    if (unlikely_(r->errors))
        route_errors(w, r, d);
}

/* A request of a node's client. Its owner was not asked for where it was staged for this worker's own shard (stage.c). */
static bool of_node(const struct worker *w, const struct staged *s)
{
    const struct conn *c = s->conn;
    uint32_t owner = c->at_node ? shard_of_key(s->argv[1], w->count) : s->owner;
    return owner + 1u == c->ses.node;
}

/* False: MOVED (cluster.c). */
static inline bool is_asked_here(const struct worker *w, const struct staged *s)
{
    return likely_(!s->conn->ses.node) || of_node(w, s);
}

/* On my own shard, while replies of others are awaited before them: all that follow each other, their replies in one piece of memory.
 * Returns the first that does not. */
static inline struct staged *run_aside(struct worker *w, struct batch *b, struct staged *s,
                                       const struct staged *end, struct row *row)
{
    struct conn *c = s->conn;
    struct cmd *cmd = &w->cmd;
    struct mail *m = aside_mail(w);
    struct reply r;
    size_t off = m->replies.len;
    reply_heap_append(&r, &m->replies, c->ses.resp);
    cmd->out = &r;
    cmd->session = &c->ses;
    cmd->db = c->ses.db;
    cmd->parser = NULL;
    cmd->may_hold = false; /* what comes before is not there yet */
    do {
        cmd->argv = s->argv;
        cmd->argc = s->argc;
        cmd->desc = s->desc;
        cmd->hash = s->hash;
        cmd->candidate = likely_(b->dict->departed == b->departed) ? s->candidate : NULL;
        call(w, cmd);
        size_t there = (size_t)(r.cur - m->replies.p);
        row_add(row, m, off, there - off);
        off = there;
        s++;
    } while (likely_(!w->shard.after) && s != end && s->conn == c && s->owner == w->id &&
             (s->way & WAY_PLAIN) && row->n != ROW_MOST && c->state == 0 && is_asked_here(w, s));
    cmd->may_hold = true;
    cmd->out = &w->out; /* where batch.c lets it be */
    reply_heap_finish(&r, &m->replies);
    return s;
}

struct staged *hop_run(struct worker *w, struct batch *b, struct staged *s, struct staged *end)
{
    struct conn *c = s->conn;
    const struct staged *first = s;
    struct row *row = NULL;
    bool looked = false, free = false, meets = false; /* whose my shard is */
    if (!client_is_plain(c))
        return s;
    out_close(w);
    c->ses.last_ms = w->now_ms;
    do {
        bool mine = s->owner == w->id;
        if (mine && !looked) {
            free = remote_shard_free(w);
            meets = intents_any(w);
            looked = true;
        }
        mine &= free;
        if ((mine && (!(s->way & WAY_PLAIN) || !(c->nslots | (row != NULL)) || meets)) ||
            !is_asked_here(w, s))
            break;
        if (unlikely_(!row || row->n == ROW_MOST)) {
            if (row)
                row_end(row);
            row = row_new(c);
        }
        if (!mine) {
            post(w, s++, row);
            continue;
        }
        s = run_aside(w, b, s, end, row);
        if (unlikely_(w->shard.after)) {
            w->host.asker = c->ses.id;
            after_command(w, &w->shard);
            looked = false; /* more than commands may have run */
        }
    } while (s != end && s->conn == c && (s->way & (WAY_PLAIN | WAY_HOP)) && c->state == 0);
    if (!row)
        return s;
    c->ses.last_cmd = s[-1].desc;
    c->ses.commands += (uint64_t)(s - first);
    row_end(row);
    return s;
}

/* ---- at the owner ---- */

/* What a row of one command took: its own account, and the slow log's if it was long. */
static inline void account(struct worker *w, const struct cmd_desc *d, struct mail *m,
                           struct mail_cmd *first, uint64_t start)
{
    uint64_t cycles = rte_rdtsc() - start;
    w->cmd_usec[d->index] += cycles;
    if (likely_(cycles < w->look_cycles))
        return;
    first->took = cycles;
    first->queued = start - m->born;
    if (cycles >= w->latency_cycles)
        times_event(w, LATENCY_FAST_COMMAND, cycles);
}

static void after_served(struct worker *w, struct mail_cmd *mc)
{
    if (w->shard.after & AFTER_HELD) {
        mc->held = w->shard.held_new;
        w->hold.on = true;
        w->shard.after &= ~(uint32_t)AFTER_HELD;
    }
    w->host.asker = mc->client;
    after_command(w, &w->shard);
}

struct mail_cmd *hop_serve(struct worker *w, struct mail *m, struct mail_cmd *mc,
                           const struct hop_look *look)
{
    struct cmd *cmd = &w->cmd;
    struct mail_cmd *first = mc;
    const struct cmd_desc *d = mc->desc;
    uint64_t start = rte_rdtsc(), n = 0;
    struct reply r;
    reply_heap_append(&r, &m->replies, 2);
    size_t off = m->replies.len;
    cmd->session = NULL;
    cmd->parser = NULL;
    cmd->out = &r;
    cmd->desc = d;
    cmd->now_us = w->unix_us;
    do {
        r.resp = mc->resp;
        cmd->argv = mc->argv;
        cmd->argc = mc->argc;
        cmd->db = mc->db;
        cmd->hash = mc->hash;
        cmd->client = mc->client;
        bool good = look->dict && look->dict->departed == look->departed;
        cmd->candidate = likely_(good) ? mc->candidate : NULL;
        call(w, cmd);
        mc->reply_off = off;
        off = (size_t)(r.cur - m->replies.p);
        mc->reply_len = off - mc->reply_off;
        if (unlikely_(w->journal.on)) {
            reply_heap_finish(&r, &m->replies);
            mc->gate = mail_gate(w, mc);
        }
        if (unlikely_(w->shard.after))
            after_served(w, mc);
        n++;
        mc = mc->next;
    } while (mc && mc->plain && mc->desc == d && !intents_any(w));
    reply_heap_finish(&r, &m->replies);
    STAT_ADD(w->stats->mail_served, n);
    cmd->client = 0;
    cmd->out = &w->out;
    account(w, d, m, first, start);
    return mc;
}

void hop_fini(struct worker *w)
{
    struct list *n;
    if (w->aside)
        mail_unpin(w, w->aside);
    while ((n = list_pop_front(&w->spare_mails)) != NULL)
        mail_delete(list_entry(n, struct mail, q.node));
    while ((n = list_pop_front(&w->spare_slots)) != NULL)
        free(list_entry(n, struct slot, node));
    while ((n = list_pop_front(&w->spare_rows)) != NULL)
        free(list_entry(n, struct row, slot.node));
}
