/* Mail between workers: commands for a shard that another worker owns, and their replies.
 *
 * One mail per turn and target carries many commands; argv is copied into it, so packets can go. The owner runs the commands and sends the
 * same memory back with the replies; the home worker frees it. A worker that cannot touch its own shard now (it is leased, or others
 * wait before) posts to itself, so order per key holds. What does not fit a ring waits in the sender's queue: nothing is dropped. */
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"
#include "engine/shard/entry_inline.h"

#define BLOCK_BYTES   8192
#define SPARE_MAILS   64
#define SPARE_REPLIES (64u << 10) /* what a spare mail keeps of their room */

struct mail *mail_new(struct worker *w, uint32_t to)
{
    struct mail *m;
    if (likely_(!list_empty(&w->spare_mails))) {
        m = list_entry(list_pop_front(&w->spare_mails), struct mail, q.node);
        w->spare_mail_count--;
    } else {
        m = calloc(1, sizeof(*m));
        CHECK(m);
    }
    m->from = w->id;
    m->to = to;
    m->pins = 1;
    m->born = rte_rdtsc();
    return m;
}

/* Empty again, with a block and some room for replies. */
static void mail_clear(struct mail *m)
{
    struct mail_block *first = m->blocks;
    struct reply_heap replies = m->replies;
    while (first && first->next) {
        struct mail_block *next = first->next;
        free(first);
        first = next;
    }
    if (first && first->cap != BLOCK_BYTES) {
        free(first);
        first = NULL;
    }
    if (first)
        first->used = 0;
    if (replies.cap > SPARE_REPLIES)
        reply_heap_free(&replies);
    replies.len = 0;
    *m = (struct mail){.blocks = first, .replies = replies};
}

void mail_unpin(struct worker *w, struct mail *m)
{
    if (--m->pins)
        return;
    if (w->spare_mail_count == SPARE_MAILS) {
        mail_delete(m);
        return;
    }
    mail_clear(m);
    list_push_front(&w->spare_mails, &m->q.node);
    w->spare_mail_count++;
}

void mail_delete(struct mail *m)
{
    for (struct mail_block *b = m->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    reply_heap_free(&m->replies);
    free(m);
}

void *mail_bytes_more(struct mail *m, size_t n)
{
    size_t cap = n > BLOCK_BYTES ? n : BLOCK_BYTES;
    struct mail_block *b = malloc(sizeof(*b) + cap);
    if (!b)
        return NULL;
    *b = (struct mail_block){.next = m->blocks, .used = n, .cap = cap};
    m->blocks = b;
    return b->data;
}

struct mail_cmd *mail_add(struct mail *m, struct slot *slot, const struct cmd_desc *d,
                          const struct span *argv, uint32_t argc)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < argc; i++)
        bytes += argv[i].n;
    struct mail_cmd *mc = mail_bytes(m, sizeof(*mc) + argc * sizeof(struct span) + bytes);
    if (!mc)
        return NULL;
    *mc = (struct mail_cmd){.slot = slot, .desc = d, .argc = argc, .argv = (struct span *)(mc + 1)};
    mc->durability = slot && slot->conn ? slot->conn->ses.durability : DURABILITY_DEFAULT;
    mc->tracks = slot && slot->conn && tracking_remembers(&slot->conn->ses);
    uint8_t *to = (uint8_t *)(mc->argv + argc);
    for (uint32_t i = 0; i < argc; i++) {
        memcpy(to, argv[i].p, argv[i].n);
        mc->argv[i] = span_of(to, argv[i].n);
        to += argv[i].n;
    }
    mail_append(m, mc);
    return mc;
}

void remote_post(struct worker *w, uint32_t to, struct slot *slot, const struct staged *s,
                 struct span *argv, uint32_t argc, bool part)
{
    struct conn *c = s->conn;
    struct mail_cmd *mc = mail_add(mail_to(w, to), slot, s->desc, argv, argc);
    if (!mc) {
        if (slot->agg)
            agg_part(slot->agg, SPAN("-OOM out of memory\r\n"), 0);
        else
            slot_bytes(slot, SPAN("-OOM out of memory\r\n"));
        if (--slot->parts == 0)
            slot_ready(slot);
        return;
    }
    mc->db = c->ses.db;
    mc->resp = c->ses.resp;
    mc->client = c->ses.id;
    mc->part = part;
    mc->may_hold = !part && !slot->muted && !slot->agg && !slot->take;
    mc->keyed = s->keyed;
    if (s->keyed)
        mc->hash = part ? shard_hash(&w->shard, argv[s->desc->first_key]) : s->hash;
    w->posted++;
    count_hops(w, s->desc, 1ull << to);
    STAT_INC(w->stats->mail_sent);
}

void remote_tell(struct worker *w, uint32_t to, const struct cmd_desc *d, const struct span *argv,
                 uint32_t argc)
{
    struct mail_cmd *mc = mail_add(mail_to(w, to), NULL, d, argv, argc);
    CHECK(mc);
    mc->part = true;
    mc->resp = 2;
    w->posted++;
}

/* ---- sending ---- */

void remote_send(struct worker *w, uint32_t to, void *ptr, enum mail_tag tag)
{
    struct outbox *o = &w->outbox[to];
    void *tagged = (void *)((uintptr_t)ptr | tag);
    ASSERT(to != w->id && ((uintptr_t)ptr & MAIL_TAG_MASK) == 0);
    if (o->queue_len == 0 && mail_push(&w->all[to]->in[w->id], tagged))
        return;
    STAT_INC(w->stats->mail_full);
    if (o->queue_len == o->queue_cap) {
        o->queue_cap = o->queue_cap ? o->queue_cap * 2 : 64;
        o->queue = realloc(o->queue, o->queue_cap * sizeof(*o->queue));
        CHECK(o->queue);
    }
    o->queue[o->queue_len++] = tagged;
}

static void push_queue(struct worker *w, uint32_t to)
{
    struct outbox *o = &w->outbox[to];
    size_t sent = 0;
    while (sent < o->queue_len && mail_push(&w->all[to]->in[w->id], o->queue[sent]))
        sent++;
    memmove(o->queue, o->queue + sent, (o->queue_len - sent) * sizeof(*o->queue));
    o->queue_len -= sent;
}

void remote_flush(struct worker *w)
{
    if (w->count == 1)
        return;
    lease_rounds(w);
    struct mail *self = w->outbox[w->id].cur;
    w->outbox[w->id].cur = NULL;
    if (self)
        lease_defer(w, self);
    lease_pump(w);
    out_close(w);
    for (uint32_t i = 0; i < w->count; i++) {
        struct outbox *o = &w->outbox[i];
        if (i == w->id)
            continue;
        if (o->queue_len)
            push_queue(w, i);
        struct mail *m = o->cur;
        o->cur = NULL;
        if (m)
            remote_send(w, i, m, MAIL_CMDS);
        if (o->parts)
            remote_send(w, i, o->parts, MAIL_PARTS);
        o->parts = o->last_part = NULL;
        struct mail_ring *ring = &w->all[i]->in[w->id];
        if (ring->prod_pos != ring->head) { /* head is written by this worker only */
            mail_flush(ring);
            worker_wake(w->all[i]);
        }
    }
}

/* ---- replies at home ---- */

/* The reply goes on in parts. */
static void slot_hold(struct worker *w, struct slot *slot, struct held *held, uint32_t at)
{
    if (!slot->conn) {
        long_forget(w, held, at);
        return;
    }
    slot->held = held;
    slot->held_at = at;
}

static void take_replies(struct worker *w, struct mail *m)
{
    for (struct mail_cmd *mc = m->first, *next; mc; mc = next) {
        struct slot *slot = mc->slot;
        if (likely_(slot && slot->row)) {
            next = row_take(w, m, mc);
            continue;
        }
        next = mc->next;
        w->posted--;
        if (!slot)
            continue; /* remote_tell */
        times_remote(w, mc);
        struct span bytes = span_of(m->replies.p + mc->reply_off, mc->reply_len);
        if (slot->agg)
            agg_part(slot->agg, bytes, w->rng);
        else if (slot->take)
            slot->take(w, slot, bytes, m->to);
        else
            slot_bytes(slot, bytes);
        if (unlikely_(mc->held != NULL))
            slot_hold(w, slot, mc->held, m->to);
        if (unlikely_(mc->gate != 0) && (!slot->take || slot->wait) &&
            journal_pending(w, m->to, mc->gate))
            journal_wait(w, slot, m->to, mc->gate);
        else if (--slot->parts == 0)
            slot_ready(slot);
    }
    mail_unpin(w, m);
}

/* ---- serving ---- */

uint64_t mail_gate(struct worker *w, const struct mail_cmd *mc)
{
    return journal_gate(w, w->id, journal_need(mc->durability, (mc->desc->flags & CMD_WRITE) != 0));
}

static void serve_one(struct worker *w, struct mail *m, struct mail_cmd *mc)
{
    struct reply r;
    if (unlikely_(w->journal.on) && mc->desc == &cmd_table[CMD_spop] && mc->argc > 2)
        journal_much_begin(w);
    reply_heap_append(&r, &m->replies, mc->resp);
    mc->reply_off = m->replies.len;
    struct cmd cmd = route_cmd(w, mc->desc, mc->argv, mc->argc, &r);
    cmd.db = mc->db;
    cmd.hash = mc->hash;
    cmd.part = mc->part;
    cmd.may_hold = mc->may_hold;
    cmd.client = mc->client;
    cmd.tracks = mc->tracks;
    cmd.wait = mc->slot ? mc->slot->wait : NULL;
    if (times_each(w, mc->desc)) {
        uint64_t start = rte_rdtsc();
        cmd_call(&cmd);
        mc->took = rte_rdtsc() - start;
        mc->queued = start - m->born;
        times_took(w, mc->desc, mc->took);
    } else {
        cmd_call(&cmd);
    }
    if (unlikely_(w->shard.after & AFTER_HELD)) {
        mc->held = w->shard.held_new;
        w->hold.on = true;
        w->shard.after &= ~(uint32_t)AFTER_HELD;
    }
    reply_heap_finish(&r, &m->replies);
    mc->reply_len = m->replies.len - mc->reply_off;
    if (r.errors) {
        STAT_ADD(w->stats->error_replies, r.errors);
        stats_count_error(w->stats, r.error_code);
    }
    STAT_INC(w->stats->mail_served);
    mc->gate = mail_gate(w, mc);
    after_command(w, &w->shard);
}

/* The buckets, then the entries. */
static struct hop_look prefetch(struct worker *w, struct mail_cmd *first)
{
    struct hop_look look = {NULL, 0};
    for (struct mail_cmd *mc = first; mc; mc = mc->next) {
        const struct dict *dict = mc->keyed ? w->shard.db[mc->db].keys : NULL;
        mc->bucket = likely_(dict != NULL) ? dict_bucket_of(dict, mc->hash) : NULL;
        __builtin_prefetch(mc->bucket);
    }
    if (first && (look.dict = w->shard.db[first->db].keys) != NULL)
        look.departed = look.dict->departed;
    for (struct mail_cmd *mc = first; mc; mc = mc->next) {
        const struct dict_bucket *bucket = mc->bucket;
        if (unlikely_(!bucket))
            continue;
        struct entry *e = dict_candidate(bucket, mc->hash);
        bool here = mc->db == first->db;
        if (unlikely_(!e) && unlikely_(dict_state_reach(bucket)) && here)
            e = dict_candidate_displaced(look.dict, mc->hash);
        entry_prefetch(e);
        mc->candidate = likely_(here) ? e : NULL;
    }
    return look;
}

/* They are one record: what seemed to have room may have none together with the others. */
static void gate_again(struct worker *w, struct mail *m)
{
    for (struct mail_cmd *mc = m->first; mc; mc = mc->next)
        if (!mc->gate)
            mc->gate = mail_gate(w, mc);
}

/* Around what may be more than there is room for: what was done before is told already, and must not wait for room with it. */
static bool writes_much(const struct mail *m)
{
    size_t n = 0;
    for (const struct mail_block *b = m->blocks; b; b = b->next)
        n += b->used;
    return n > LIMIT_BIG_ARG_BYTES;
}

bool remote_serve(struct worker *w, struct mail *m)
{
    if (unlikely_(w->hold.on))
        hold_mail(w, m);
    if (unlikely_(w->journal.on) && writes_much(m))
        journal_much_begin(w);
    struct hop_look look = prefetch(w, m->at);
    for (struct mail_cmd *mc = m->at; mc; m->at = mc) {
        if (intents_any(w) && part_meets(w, mc->desc, mc->argv, mc->argc, mc->hash))
            return false;
        if (likely_(mc->plain)) {
            mc = hop_serve(w, m, mc, &look);
            continue;
        }
        serve_one(w, m, mc);
        look.dict = NULL; /* it may have emptied the shard */
        mc = mc->next;
    }
    if (unlikely_(w->journal.on)) {
        journal_close(w); /* the replies may be read at once */
        if (w->journal.queue_at < w->journal.queue_len)
            gate_again(w, m);
    }
    if (m->from == w->id)
        take_replies(w, m);
    else
        remote_send(w, m->from, m, MAIL_REPLIES);
    return true;
}

/* ---- neighbours ---- */

/* An answer to ARP or a neighbour solicitation reaches one queue; the other workers hear of it from here. */
void remote_neigh(void *worker, struct ip_addr ip, const uint8_t mac[6])
{
    struct worker *w = worker;
    for (uint32_t i = 0; i < w->count; i++) {
        if (i == w->id)
            continue;
        struct mail_neigh *n = malloc(sizeof(*n));
        if (!n)
            return;
        n->ip = ip;
        memcpy(n->mac, mac, 6);
        remote_send(w, i, n, MAIL_NEIGH);
    }
}

static void on_neigh(struct worker *w, struct mail_neigh *n)
{
    net_neigh_learn(w->net, n->ip, n->mac, w->now_ns);
    free(n);
}

/* False: it waits for its turn, with all behind it on its ring. */
static inline bool dispatch(struct worker *w, void *tagged, uint32_t from)
{
    void *p = (void *)((uintptr_t)tagged & ~(uintptr_t)MAIL_TAG_MASK);
    switch ((enum mail_tag)((uintptr_t)tagged & MAIL_TAG_MASK)) {
    case MAIL_CMDS:
        lease_defer(w, p);
        lease_pump(w);
        break;
    case MAIL_REPLIES: take_replies(w, p); break;
    case MAIL_LEASE_REQUEST: lease_on_request(w, p); break;
    case MAIL_LEASE_GRANT: lease_on_grant(w, p); break;
    case MAIL_LEASE_RELEASE: lease_on_release(w); break;
    case MAIL_NEIGH: on_neigh(w, p); break;
    case MAIL_EVENT: ((struct mail_event *)p)->run(w, p); return !(w->rings_closed >> from & 1);
    case MAIL_PARTS: part_receive(w, p); break;
    }
    return true;
}

bool remote_receive(struct worker *w)
{
    bool worked = false;
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->rings_closed >> i & 1)
            continue;
        void *tagged;
        for (int k = 0; k < 256 && (tagged = mail_pop(&w->in[i])) != NULL; k++) {
            worked = true;
            journal_look_at_others(w);
            if (unlikely_(!dispatch(w, tagged, i)))
                break;
        }
    }
    out_close(w);
    return worked;
}
