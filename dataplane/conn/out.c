/* Replies. A client's writer stands on the tail of its transmit queue as long as the queue has room, then on heap blocks that out_pump
 * moves there. While a reply is awaited from elsewhere, later ones are kept in slots, so that replies leave in request order. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "dataplane/conn/out_inline.h"
#include "engine/base/assert.h"

static inline void commit(struct conn *c, struct reply *r)
{
    c->w->out_seg = NULL;
    size_t n = (size_t)(r->cur - c->room);
    if (unlikely_(n == 0))
        return;
    STAT_ADD(c->w->stats->net_output_bytes, n);
    c->room = r->cur;
    if (likely_(!c->room_heap)) {
        tcp_tx_commit(c->tc, n);
        return;
    }
    c->out_last->len += (uint32_t)n;
    c->out_bytes += n;
    c->w->out_total += n;
    conn_mark(c);
}

static void heap_room(struct conn *c, struct reply *r, size_t hint)
{
    struct out_block *b = c->out_last;
    if (!b || b->len == b->cap) {
        size_t cap = hint < LIMIT_REPLY_CHUNK_BYTES ? LIMIT_REPLY_CHUNK_BYTES : hint;
        if (cap > LIMIT_OUT_BLOCK_BYTES)
            cap = LIMIT_OUT_BLOCK_BYTES;
        bool over = c->w->out_total + cap > LIMIT_WORKER_OUT_BYTES / c->w->count;
        b = over ? NULL : malloc(sizeof(*b) + cap);
        if (!b) {
            r->failed = true;
            return;
        }
        *b = (struct out_block){.cap = (uint32_t)cap};
        if (c->out_last)
            c->out_last->next = b;
        else
            c->out_first = b;
        c->out_last = b;
    }
    c->room = r->cur = b->data + b->len;
    r->end = b->data + b->cap;
    c->room_heap = true;
}

/* What client-output-buffer-limit looks at: as in Redis the first block is free. Messages that wait behind a reply or to be conflated count
 * as well. */
static uint64_t counted_bytes(const struct conn *c)
{
    uint64_t bytes = c->out_bytes + conflate_bytes(c);
    if (c->ses.mode & SESSION_SUBSCRIBED)
        bytes += c->slot_bytes;
    return bytes > LIMIT_REPLY_CHUNK_BYTES ? bytes - LIMIT_REPLY_CHUNK_BYTES : 0;
}

/* Class normal or pubsub; it may change from one request to the next. */
static const struct output_limit *limit_of(const struct conn *c)
{
    return &c->w->config.output_limit[c->ses.mode & SESSION_SUBSCRIBED ? 2 : 0];
}

/* Over the client's own hard limit: it is closed at the end of the turn; stop filling memory for it. */
static bool over_hard_limit(struct conn *c)
{
    uint64_t hard = limit_of(c)->hard_bytes;
    return hard && counted_bytes(c) > hard;
}

static void sink_more(struct reply *r, size_t hint)
{
    struct conn *c = r->ctx;
    commit(c, r);
    c->room = r->cur = r->end = NULL;
    if (c->dead || (c->kind == CONN_TCP && !c->tc) || over_hard_limit(c)) {
        r->failed = true;
        return;
    }
    if (c->kind == CONN_TCP && !c->out_first) {
        size_t room;
        uint8_t *p = tcp_tx_reserve(c->tc, &room);
        if (p) {
            c->room = r->cur = p;
            r->end = p + room;
            c->room_heap = false;
            return;
        }
    }
    heap_room(c, r, hint);
}

const struct reply_sink conn_sink = {.more = sink_more};

struct reply *out_open(struct conn *c)
{
    struct worker *w = c->w;
    if (w->out_conn != c)
        out_start(w, c);
    return &w->out;
}

void out_begin_other(struct conn *c)
{
    struct reply *r = &c->w->out;
    size_t room;
    uint8_t *p = c->tc && !c->out_first ? tcp_tx_reserve(c->tc, &room) : NULL;
    c->room = r->cur = p;
    r->end = p ? p + room : NULL;
    c->room_heap = !p;
}

static void close_odd(struct worker *w, struct conn *c)
{
    if (w->out.failed) {
        STAT_INC(w->stats->output_buffer_limit_closed);
        conn_kill(c);
        return;
    }
    if (c->out_bytes > LIMIT_CONN_OUT_PAUSE_BYTES)
        c->throttled = true;
    if (c->kind == CONN_DOOR || c->closing)
        conn_mark(c);
}

void out_close_now(struct worker *w)
{
    struct conn *c = w->out_conn;
    w->out_conn = NULL;
    STAT_INC(w->stats->writes);
    commit(c, &w->out);
    if (unlikely_(w->out.failed || c->out_bytes || c->kind == CONN_DOOR || c->state))
        close_odd(w, c);
}

bool out_end_other(struct worker *w)
{
    struct conn *c = w->out_conn;
    if (!c || c->room_heap) {
        out_close(w);
        return false;
    }
    w->out_conn = NULL;
    STAT_INC(w->stats->writes);
    commit(c, &w->out);
    if (unlikely_(w->out.failed || c->state)) { /* out of blocks: it holds none */
        close_odd(w, c);
        return false;
    }
    return true;
}

void out_pump(struct conn *c)
{
    if (c->kind != CONN_TCP || !c->tc)
        return;
    ASSERT(c->w->out_conn != c);
    while (c->out_first) {
        struct out_block *b = c->out_first;
        size_t room;
        uint8_t *p = tcp_tx_reserve(c->tc, &room);
        if (!p)
            return;
        size_t n = b->len - b->sent;
        if (n > room)
            n = room;
        memcpy(p, b->data + b->sent, n);
        tcp_tx_commit(c->tc, n);
        b->sent += (uint32_t)n;
        c->out_bytes -= n;
        c->w->out_total -= n;
        if (b->sent == b->len) {
            c->out_first = b->next;
            if (!c->out_first)
                c->out_last = NULL;
            free(b);
        }
    }
}

/* client-output-buffer-limit: hard at once, soft when it lasts. */
void conn_out_limits(struct conn *c)
{
    struct worker *w = c->w;
    const struct output_limit *lim = limit_of(c);
    int64_t now_ms = w->now_ms;
    if (c->out_bytes > w->stats->client_recent_max_output)
        STAT_SET(w->stats->client_recent_max_output, c->out_bytes);
    bool kill = over_hard_limit(c);
    if (lim->soft_bytes && counted_bytes(c) > lim->soft_bytes) {
        if (c->out_soft_since_ms == 0)
            c->out_soft_since_ms = (uint64_t)now_ms;
        kill |= (uint64_t)now_ms - c->out_soft_since_ms > (uint64_t)lim->soft_s * 1000;
    } else {
        c->out_soft_since_ms = 0;
    }
    if (kill) {
        STAT_INC(w->stats->output_buffer_limit_closed);
        conn_kill(c);
    }
}

/* ---- slots ---- */

#define SPARE_SLOTS 1024

struct slot *slot_new(struct conn *c)
{
    struct worker *w = c->w;
    struct slot *s;
    if (likely_(!list_empty(&w->spare_slots))) {
        s = list_entry(list_pop_front(&w->spare_slots), struct slot, node);
        w->spare_slot_count--;
    } else {
        s = malloc(sizeof(*s));
        CHECK(s); /* 150 bytes: the batch bounds how many are made in a turn */
    }
    *s = (struct slot){.home = w, .conn = c};
    list_push_back(&c->slots, &s->node);
    c->nslots++;
    return s;
}

void slot_free(struct slot *s)
{
    if (s->row) {
        row_free(row_of(s));
        return;
    }
    if (s->agg) {
        agg_free(s->agg);
        free(s->agg);
    }
    if (s->bytes.p)
        reply_heap_free(&s->bytes);
    struct worker *w = s->home;
    if (unlikely_(w->spare_slot_count == SPARE_SLOTS)) {
        free(s);
        return;
    }
    list_push_front(&w->spare_slots, &s->node);
    w->spare_slot_count++;
}

void slot_count(struct conn *c, size_t n)
{
    c->slot_bytes += n;
    if (unlikely_(c->slot_bytes > LIMIT_CONN_OUT_PAUSE_BYTES))
        c->throttled = true;
}

/* Appends a part of a plain reply. */
void slot_bytes(struct slot *s, struct span bytes)
{
    if (s->muted || !s->conn)
        return;
    struct reply r;
    reply_heap_append(&r, &s->bytes, 2);
    reply_raw(&r, bytes.p, bytes.n);
    reply_heap_finish(&r, &s->bytes);
    slot_count(s->conn, bytes.n);
}

void slots_flush(struct conn *c)
{
    while (!list_empty(&c->slots)) {
        struct slot *s = list_entry(c->slots.next, struct slot, node);
        if (c->longer)
            return;
        if (s->row) {
            if (!row_write(row_of(s)))
                return;
            row_free(row_of(s));
            continue;
        }
        if (s->parts)
            return;
        list_remove(&s->node);
        c->nslots--;
        struct reply *r = out_open(c);
        if (!s->muted && s->bytes.len)
            reply_raw(r, s->bytes.p, s->bytes.len);
        if (unlikely_(s->held != NULL))
            long_begin(c, s->held, s->held_at);
        slot_free(s);
    }
    c->slot_bytes = 0;
}

void slot_ready(struct slot *s)
{
    struct conn *c = s->conn;
    if (!c) {
        slot_free(s);
        return;
    }
    if (s->agg) {
        struct reply r;
        reply_heap_append(&r, &s->bytes, s->agg->resp);
        agg_finish(s->agg, &r);
        reply_heap_finish(&r, &s->bytes);
    }
    bool resumes = s->resumes;
    slots_flush(c);
    conn_mark(c);
    if (resumes)
        c->paused = false; /* the end of the turn parses what waited */
}

void slots_drop(struct conn *c)
{
    struct list *n;
    c->nslots = 0;
    while ((n = list_pop_front(&c->slots)) != NULL) {
        struct slot *s = list_entry(n, struct slot, node);
        s->conn = NULL;
        if (s->row)
            row_forget(row_of(s));
        if (s->held)
            long_forget(c->w, s->held, s->held_at);
        s->held = NULL;
        if (s->parts == 0)
            slot_free(s);
    }
}
