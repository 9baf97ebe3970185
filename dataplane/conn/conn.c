/* Life of a client: accept, input that has to wait, backpressure, close.
 *
 * Called from net (TCP) and door.c (link). Bytes are parsed where they lie; what cannot be parsed now, because the client
 * is paused or its output is over budget, waits on the heap and narrows the window offered to the peer.
 * A conn is freed at the end of the turn in which its transport went: staged requests may still name it until then. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"
#include "engine/cmd/multi.h"

#define REST_MS 2000 /* of silence: a client is at rest */

void inq_append(struct inq *q, const void *p, size_t n)
{
    if (q->off == q->len)
        q->off = q->len = 0;
    if (q->len + n > q->cap) {
        size_t cap = q->cap ? q->cap : 4096;
        while (cap < q->len + n)
            cap *= 2;
        uint8_t *np = realloc(q->p, cap);
        CHECK(np); /* bounded by the receive window: a few MB at most */
        q->p = np;
        q->cap = cap;
    }
    memcpy(q->p + q->len, p, n);
    q->len += n;
}

static size_t inq_left(const struct inq *q)
{
    return q->len - q->off;
}

size_t conn_held(const struct conn *c)
{
    return inq_left(&c->inq) + inq_left(&c->backlog);
}

static bool conn_blocked(const struct conn *c)
{
    return c->paused || c->throttled;
}

void conn_mark(struct conn *c)
{
    if (!c->dirty && !c->dead) {
        c->dirty = true;
        list_push_back(&c->w->dirty, &c->dirty_node);
    }
}

static void update_hold(struct conn *c)
{
    if (c->kind == CONN_TCP && c->tc)
        tcp_rx_hold(c->tc, conn_held(c));
}

struct conn *conn_create(struct worker *w, enum conn_kind kind, enum session_source source)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->w = w;
    c->kind = (uint8_t)kind;
    session_init(&c->ses, w->next_client++ * w->count + w->id + 1, source, w->now_ms);
    c->ses.worker = w->id;
    c->ses.authenticated = w->config.requirepass_len == 0;
    list_init(&c->slots);
    list_init(&c->dirty_node);
    list_init(&c->leaving_node);
    list_push_back(&w->conns, &c->node);
    w->clients++;
    STAT_SET(w->stats->clients, w->clients);
    STAT_INC(w->stats->connections_received);
    return c;
}

/* Out of every list that others walk; counts it as gone. */
static void conn_unlist(struct conn *c)
{
    struct worker *w = c->w;
    if (!list_linked(&c->node))
        return;
    if (w->sweep == &c->node)
        w->sweep = c->node.next;
    list_remove(&c->node);
    conn_unname(c);
    pubsub_leave(&w->pubsub, &c->ses);
    monitor_drop(c);
    tracking_free(&w->tracking, &c->ses);
    w->clients--;
    STAT_SET(w->stats->clients, w->clients);
    if (c->kind == CONN_DOOR) {
        w->doors--;
        STAT_SET(w->stats->clients_door, w->doors);
    }
}

static void drop_output(struct conn *c)
{
    for (struct out_block *b = c->out_first, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    c->w->out_total -= c->out_bytes;
    c->out_first = c->out_last = NULL;
    c->out_bytes = 0;
}

void conn_gone(struct conn *c)
{
    if (c->dead)
        return;
    struct worker *w = c->w;
    if (w->out_conn == c)
        w->out_conn = NULL; /* its room goes with the transport */
    if (c->longer)
        long_drop(c);
    c->tc = NULL;
    c->closing = true;
    conn_unlist(c);
    list_remove(&c->leaving_node);
    exec_drop(c);
    if (c->block)
        block_gone(c);
    slots_drop(c);
    drop_output(c);
    if (c->dirty)
        list_remove(&c->dirty_node);
    c->dirty = false;
    c->dead = true;
    list_push_back(&w->dead, &c->dirty_node);
}

struct partial *conn_part_make(struct conn *c)
{
    struct partial *part = c->w->spare_part = malloc(sizeof(*part));
    if (part)
        resp_parser_init(&part->parser, &c->w->conn_mem);
    else
        conn_kill(c);
    return part;
}

static void part_free(struct conn *c)
{
    if (!c->part)
        return;
    resp_parser_fini(&c->part->parser);
    free(c->part);
    c->part = NULL;
}

static void conn_free(struct conn *c)
{
    conflate_free(c);
    part_free(c);
    session_fini(&c->ses);
    free(c->inq.p);
    free(c->backlog.p);
    free(c);
}

void conn_close(struct conn *c)
{
    c->closing = true;
    if (unlikely_(c->block != NULL))
        block_gone(c);
    conn_mark(c);
}

void conn_kill(struct conn *c)
{
    if (c->dead)
        return;
    if (c->w->out_conn == c)
        c->w->out_conn = NULL;
    if (c->kind == CONN_DOOR) {
        if (c->block)
            block_gone(c);
        slots_drop(c);
        drop_output(c);
        conn_close(c); /* turn end tells control, then conn_gone */
        return;
    }
    if (c->tc)
        tcp_abort(c->tc);
    conn_gone(c);
}

/* Bytes that cannot be parsed now. */
static __attribute__((noinline)) void input_waits(struct conn *c, const uint8_t *p, size_t n)
{
    struct worker *w = c->w;
    if (conn_held(c) + n > w->config.client_query_buffer_bytes) {
        STAT_INC(w->stats->query_buffer_limit_closed);
        conn_kill(c);
        return;
    }
    inq_append(&c->inq, p, n);
    if (inq_left(&c->inq) > w->stats->client_recent_max_input)
        STAT_SET(w->stats->client_recent_max_input, inq_left(&c->inq));
    update_hold(c);
}

void conn_input_waits(struct conn *c, const uint8_t *p, const uint8_t *end)
{
    if (unlikely_(p != end) && !c->closing)
        input_waits(c, p, (size_t)(end - p));
}

void conn_input_on(struct conn *c, const uint8_t *p, const uint8_t *end)
{
    if (likely_(c->state == 0) || (!conn_blocked(c) && !c->closing)) {
        if (likely_(!c->inq.p && !c->backlog.p) || conn_held(c) == 0)
            p = batch_feed(c, p, end);
    }
    conn_input_waits(c, p, end);
}

/* Feeds one waiting queue; false: the client is blocked again (or gone) and the rest was put back. */
static bool feed_queue(struct conn *c, struct inq *q)
{
    if (inq_left(q) == 0)
        return true;
    struct inq took =
        *q; /* requests put back during the feed go into a fresh queue, in front of the rest */
    memset(q, 0, sizeof(*q));
    const uint8_t *end = took.p + took.len, *cur = batch_feed(c, took.p + took.off, end);
    batch_run(c->w);
    if (cur < end && !c->closing)
        inq_append(q, cur, (size_t)(end - cur));
    free(took.p);
    return !c->closing && !conn_blocked(c) && inq_left(q) == 0;
}

static void inq_drop(struct inq *q)
{
    free(q->p);
    *q = (struct inq){0};
}

void conn_resume(struct conn *c)
{
    while (!c->closing && !conn_blocked(c) && conn_held(c) > 0) {
        if (feed_queue(c, &c->backlog))
            feed_queue(c, &c->inq);
    }
    if (c->closing)
        inq_drop(&c->inq); /* a close with unread input would be a reset */
    if (!c->dead)
        update_hold(c);
    conn_mark(c);
}

/* All that was asked is answered and on its way: the transport may close. */
static bool conn_drained(const struct conn *c)
{
    return list_empty(&c->slots) && !c->out_first && !c->longer;
}

static void finish_close(struct conn *c)
{
    conn_unlist(c);
    if (c->kind == CONN_TCP) {
        struct tcp_conn *tc = c->tc;
        if (tc && !c->fin_said) {
            c->fin_said = true; /* once; `closed` frees the conn */
            list_push_back(&c->w->leaving, &c->leaving_node);
            tcp_close(tc);
        }
    } else {
        door_flush_conn(c);
    }
}

static void turn_end_one(struct conn *c)
{
    out_close(c->w); /* an open writer stands in blocks that are about to be sent and freed */
    if (c->dead)
        return;
    if (c->out_first)
        out_pump(c);
    if (unlikely_(c->conflate))
        conflate_drain(c);
    if (c->dead)
        return;
    conn_out_limits(c);
    if (c->dead)
        return;
    if (c->longer)
        long_more(c);
    else if (c->throttled && c->out_bytes < LIMIT_CONN_OUT_PAUSE_BYTES / 2 &&
             c->slot_bytes < LIMIT_CONN_OUT_PAUSE_BYTES / 2 && c->nslots < LIMIT_CONN_SLOTS / 2)
        c->throttled = false;
    if (!c->closing && !conn_blocked(c) && conn_held(c) > 0) {
        conn_resume(c);
        out_close(c->w);
        if (c->dead)
            return;
    }
    if (unlikely_(c->peer_fin && !c->closing && block_waits(c)))
        conn_close(c); /* as in Redis: who waits and says goodbye is given nothing more */
    if (c->peer_fin && !c->closing && !conn_blocked(c) && conn_held(c) == 0 &&
        list_empty(&c->slots))
        c->closing = true;
    if (c->kind == CONN_DOOR)
        door_flush_conn(c);
    else if (c->closing && conn_drained(c))
        finish_close(c);
    else
        update_hold(c);
}

void conns_turn_end_now(struct worker *w)
{
    struct list *n;
    while ((n = list_pop_front(&w->dirty)) != NULL) {
        struct conn *c = list_entry(n, struct conn, dirty_node);
        c->dirty = false;
        turn_end_one(c);
    }
    out_close(w);
    while ((n = list_pop_front(&w->dead)) != NULL)
        conn_free(list_entry(n, struct conn, dirty_node));
}

static void inq_rest(struct inq *q)
{
    if (q->off != q->len)
        return;
    free(q->p);
    *q = (struct inq){0};
}

/* A client that has said nothing for a while gives back what it does not need at rest. Between turns nothing points into it. */
static void conn_rest(struct conn *c)
{
    if (c->paused || !list_empty(&c->slots))
        return;
    if (c->part && !c->tail_len && resp_parser_idle(&c->part->parser))
        part_free(c);
    inq_rest(&c->inq);
    inq_rest(&c->backlog);
}

/* A few clients per call: buffers of those that are at rest; `timeout` closes those that said nothing for so long. */
void conns_sweep(struct worker *w)
{
    int64_t now_ms = w->now_ms;
    for (int i = 0; i < 16; i++) {
        if (!w->sweep || w->sweep == &w->conns)
            w->sweep = w->conns.next;
        if (w->sweep == &w->conns)
            return;
        struct conn *c = list_entry(w->sweep, struct conn, node);
        w->sweep = w->sweep->next;
        if (now_ms - c->ses.last_ms > REST_MS)
            conn_rest(c);
        if (unlikely_(c->out_soft_since_ms))
            conn_mark(c); /* a soft limit passes without a word of the client */
        if (w->config.timeout_s && !c->closing && !c->paused &&
            now_ms - c->ses.last_ms > (int64_t)w->config.timeout_s * 1000) {
            STAT_INC(w->stats->timeout_closed);
            conn_close(c);
        }
    }
}

/* ---- maxmemory-clients ---- */

size_t conn_memory(const struct conn *c)
{
    size_t n = sizeof(*c) + c->inq.cap + c->backlog.cap + c->out_bytes + c->slot_bytes;
    if (c->part)
        n += sizeof(*c->part) + resp_parser_held(&c->part->parser);
    if (c->ses.multi)
        n += c->ses.multi->bytes + c->ses.multi->watch_bytes;
    return n;
}

/* Over this worker's share of the limit: the largest clients are closed until it holds, but for those that asked to be spared. */
void conns_evict(struct worker *w)
{
    const struct engine_config *e = &w->config;
    uint64_t limit = e->client_memory_bytes;
    if (e->client_memory_percent)
        limit = e->maxmemory_bytes / 100 * e->client_memory_percent;
    if (!limit)
        return;
    limit /= w->count;
    for (int i = 0; i < 64; i++) {
        struct conn *largest = NULL;
        uint64_t sum = 0, most = 0;
        list_for_each (n, &w->conns) {
            struct conn *c = list_entry(n, struct conn, node);
            uint64_t bytes = conn_memory(c);
            sum += bytes;
            if (bytes > most && !c->ses.no_evict && !c->closing) {
                most = bytes;
                largest = c;
            }
        }
        if (sum <= limit || !largest)
            return;
        STAT_INC(w->stats->evicted_clients);
        conn_kill(largest);
    }
}

/* ---- callbacks of the TCP stack ---- */

static uint64_t server_clients(const struct worker *w)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < w->count; i++)
        sum += STAT_GET(w->all[i]->stats->clients);
    return sum;
}

static void *on_accepted(void *ctx, struct tcp_conn *tc)
{
    struct worker *w = ctx;
    bool full = server_clients(w) >= w->config.maxclients;
    struct conn *c = conn_create(w, CONN_TCP, SESSION_NETWORK);
    if (!c)
        return NULL;
    struct tcp_addr a;
    tcp_addr(tc, &a);
    c->tc = tc;
    c->ses.ip[SESSION_PEER] = a.peer;
    c->ses.ip[SESSION_LOCAL] = a.local;
    c->ses.port[SESSION_PEER] = a.peer_port;
    c->ses.port[SESSION_LOCAL] = a.local_port;
    if (unlikely_(w->cfg.net.listen_more != 0))
        cluster_accept(w, c);
    if (full) {
        STAT_INC(w->stats->connections_rejected);
        reply_raw(out_open(c), "-ERR max number of clients reached\r\n", 36);
        out_close(w);
        conn_close(c);
    }
    return c;
}

static void on_received(void *cookie, const uint8_t *p, size_t n)
{
    conn_receive(cookie, p, n);
}

static void on_peer_closed(void *cookie)
{
    struct conn *c = cookie;
    c->peer_fin = true;
    conn_mark(c);
}

static void on_writable(void *cookie)
{
    conn_mark(cookie);
}

static void on_closed(void *cookie, int err)
{
    (void)err;
    conn_gone(cookie);
}

static uint64_t on_trace_id(void *cookie)
{
    return ((const struct conn *)cookie)->ses.id;
}

const struct tcp_app *conn_tcp_app(void)
{
    static const struct tcp_app app = {
        .accepted = on_accepted,
        .received = on_received,
        .peer_closed = on_peer_closed,
        .writable = on_writable,
        .closed = on_closed,
        .trace_id = on_trace_id,
    };
    return &app;
}
