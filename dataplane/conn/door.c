/* The link, seen from a worker: door clients, and requests that the control process answers.
 *
 * A door client is one more conn whose bytes come from and go to the link's rings instead of TCP. Everything read from the link is
 * checked before use; what lies is dropped and counted. When control is gone, door clients are dropped and waiting admin requests are
 * answered with an error; network clients notice nothing. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"
#include "engine/link/msg.h"

#define DOOR_CHUNK    (32 * 1024)
#define NO_GENERATION 0 /* link_control_generation counts from 1 */
#define ADMIN_PATIENCE_NS \
    (30ull * 1000000000) /* a request that was lost with a damaged ring is answered by then */

static const char no_control[] =
    "-ERR the control process does not answer: this command needs it\r\n";

static struct conn *find_door(struct worker *w, uint64_t door)
{
    list_for_each (n, &w->conns) {
        struct conn *c = list_entry(n, struct conn, node);
        if (c->kind == CONN_DOOR && c->door == door)
            return c;
    }
    return NULL;
}

static void bad_message(struct worker *w)
{
    STAT_INC(w->stats->link_bad_messages);
}

static void on_open(struct worker *w, struct span p)
{
    struct msg_door_open m;
    if (p.n != sizeof(m)) {
        bad_message(w);
        return;
    }
    memcpy(&m, p.p, sizeof(m));
    if (m.door >> 32 != link_control_generation(w->link))
        return; /* left over from a dead control */
    if ((m.source != SESSION_DOOR_UNIX && m.source != SESSION_DOOR_TCP) || find_door(w, m.door)) {
        bad_message(w);
        return;
    }
    struct conn *c = conn_create(w, CONN_DOOR, (enum session_source)m.source);
    if (c) {
        w->doors++; /* conn_gone counts it down */
        STAT_SET(w->stats->clients_door, w->doors);
    }
    m.peer[sizeof(m.peer) - 1] = m.local[sizeof(m.local) - 1] = 0;
    if (!c || !session_set_ends(&c->ses, m.peer, m.local)) {
        if (c)
            conn_gone(c);
        struct msg_door closed = {m.door};
        ring_send(link_from_worker(w->link, w->id), MSG_DOOR_CLOSED, &closed, sizeof(closed));
        return;
    }
    c->door = m.door;
    if (m.flags & MSG_DOOR_LOADER) {
        c->loader = true;
        c->ses.authenticated = true;
        c->ses.reply_mode = SESSION_REPLY_OFF;
    }
}

static void on_data(struct worker *w, struct span p)
{
    struct msg_door m;
    if (p.n < sizeof(m)) {
        bad_message(w);
        return;
    }
    memcpy(&m, p.p, sizeof(m));
    struct conn *c = find_door(w, m.door);
    if (!c)
        return; /* closed a moment ago */
    c->door_unacked += p.n - sizeof(m);
    conn_receive(c, p.p + sizeof(m), p.n - sizeof(m));
    batch_run(w); /* the bytes lie in the ring only until ring_release */
    conn_mark(c);
}

static void on_door_close(struct worker *w, struct span p)
{
    struct msg_door m;
    if (p.n != sizeof(m)) {
        bad_message(w);
        return;
    }
    memcpy(&m, p.p, sizeof(m));
    struct conn *c = find_door(w, m.door);
    if (c) {
        c->peer_fin = true;
        conn_mark(c);
    }
}

static struct admin_wait *find_admin(struct worker *w, uint64_t id)
{
    list_for_each (n, &w->admin) {
        struct admin_wait *a = list_entry(n, struct admin_wait, node);
        if (a->id == id)
            return a;
    }
    return NULL;
}

static void admin_done(struct admin_wait *a)
{
    struct slot *slot = a->slot;
    list_remove(&a->node);
    free(a->msg);
    free(a);
    slot->parts = 0;
    slot_ready(slot);
}

/* Answers requests that control will not: all of them, or those that were put to a control process before `generation`. */
static void fail_admin(struct worker *w, uint32_t generation)
{
    list_for_each_safe(n, next, &w->admin)
    {
        struct admin_wait *a = list_entry(n, struct admin_wait, node);
        if (a->generation == generation)
            continue;
        slot_bytes(a->slot, span_str(no_control));
        admin_done(a);
    }
}

static void on_admin_reply(struct worker *w, struct span p)
{
    struct msg_admin_reply m;
    if (p.n < sizeof(m)) {
        bad_message(w);
        return;
    }
    memcpy(&m, p.p, sizeof(m));
    struct admin_wait *a = find_admin(w, m.request);
    if (!a || a->msg) {
        bad_message(w);
        return;
    }
    a->asked_ns = w->now_ns; /* without bytes: it is still at work on it (SAVE) */
    if (p.n > sizeof(m))
        slot_bytes(a->slot, span_of(p.p + sizeof(m), p.n - sizeof(m)));
    if (m.flags & MSG_ADMIN_LAST)
        admin_done(a);
}

/* ---- neighbours of an address that is Linux's ---- */

static void on_neigh(struct worker *w, struct span p)
{
    struct msg_neigh m;
    if (p.n != sizeof(m)) {
        bad_message(w);
        return;
    }
    memcpy(&m, p.p, sizeof(m));
    if (m.known)
        net_neigh_learn(w->net, ip_load(m.addr), m.mac, w->now_ns);
    else
        net_neigh_lost(w->net, ip_load(m.addr), w->now_ns);
}

/* A full ring: the stack asks again in a second. */
void door_ask_neigh(void *worker, struct ip_addr ip)
{
    struct worker *w = worker;
    struct msg_neigh m = {.known = 0};
    ip_store(m.addr, ip);
    if (!w->link || !ring_send(link_from_worker(w->link, w->id), MSG_NEIGH_ASK, &m, sizeof(m)))
        STAT_INC(w->stats->link_full);
}

static void dispatch(struct worker *w, const struct ring_record *r)
{
    switch (r->type) {
    case MSG_DOOR_OPEN: on_open(w, r->payload); break;
    case MSG_DOOR_DATA: on_data(w, r->payload); break;
    case MSG_DOOR_CLOSE: on_door_close(w, r->payload); break;
    case MSG_ADMIN_REPLY: on_admin_reply(w, r->payload); break;
    case MSG_NEIGH: on_neigh(w, r->payload); break;
    case MSG_SNAPSHOT: snapshot_on_message(w, r->payload); break;
    case MSG_LOADED: load_set(w, false); break;
    case MSG_SHUTDOWN: worker_stop_all(w->all, w->count); break;
    default: bad_message(w);
    }
}

/* A few records a turn: the network goes on in between. */
bool door_receive(struct worker *w)
{
    struct ring *ring = link_to_worker(w->link, w->id);
    for (int i = 0; i < 16; i++) {
        struct ring_record r;
        enum ring_status st = ring_peek(ring, &r);
        if (st == RING_EMPTY)
            return i > 0;
        if (st == RING_CORRUPT) {
            bad_message(w);
            ring_resync(ring);
            fail_admin(w, NO_GENERATION); /* a reply may have been among what was skipped */
            return true;
        }
        dispatch(w, &r);
        ring_release(ring);
    }
    return true;
}

/* ---- output ---- */

static bool send_ack(struct conn *c, struct ring *ring)
{
    size_t held = conn_held(c);
    if (c->door_unacked <= held)
        return true;
    struct msg_door_ack ack = {.door = c->door, .bytes = (uint32_t)(c->door_unacked - held)};
    if (!ring_send(ring, MSG_DOOR_ACK, &ack, sizeof(ack)))
        return false;
    c->door_unacked = held;
    return true;
}

static bool send_block(struct conn *c, struct ring *ring, struct out_block *b)
{
    while (b->sent < b->len) {
        uint32_t n = b->len - b->sent;
        if (n > DOOR_CHUNK)
            n = DOOR_CHUNK;
        struct msg_door *m = ring_reserve(ring, (uint32_t)sizeof(*m) + n);
        if (!m)
            return false;
        m->door = c->door;
        memcpy(m + 1, b->data + b->sent, n);
        ring_publish(ring, MSG_DOOR_REPLY, (uint32_t)sizeof(*m) + n);
        b->sent += n;
        c->out_bytes -= n;
        c->w->out_total -= n;
    }
    return true;
}

/* Sends what the ring takes; the rest is tried again next turn. */
void door_flush_conn(struct conn *c)
{
    struct worker *w = c->w;
    struct ring *ring = link_from_worker(w->link, w->id);
    bool all = true;
    if (unlikely_(w->journal.on))
        journal_close(w); /* control may tell a client at once */
    while (all && c->out_first) {
        struct out_block *b = c->out_first;
        all = send_block(c, ring, b);
        if (all) {
            c->out_first = b->next;
            if (!c->out_first)
                c->out_last = NULL;
            free(b);
        }
    }
    all = all && (c->closing || send_ack(c, ring));
    if (all && c->closing && list_empty(&c->slots)) {
        struct msg_door m = {c->door};
        all = ring_send(ring, MSG_DOOR_CLOSED, &m, sizeof(m));
        if (all) {
            conn_gone(c);
            return;
        }
    }
    if (!all || (c->throttled && c->out_bytes < LIMIT_CONN_OUT_PAUSE_BYTES / 2)) {
        STAT_INC(w->stats->link_full);
        c->door_retry = true;
        w->door_retry = true;
    }
}

/* ---- admin ---- */

static uint8_t *encode_admin(struct worker *w, struct conn *c, const struct staged *s, uint64_t id,
                             uint32_t *ret_len)
{
    size_t len = sizeof(struct msg_admin_request);
    for (uint32_t i = 0; i < s->argc; i++)
        len += 4 + s->argv[i].n;
    if (len > LIMIT_ADMIN_REQUEST_BYTES)
        return NULL;
    uint8_t *msg = malloc(len);
    if (!msg)
        return NULL;
    struct msg_admin_request m = {.request = id,
                                  .client = c->ses.id,
                                  .db = c->ses.db,
                                  .resp = c->ses.resp,
                                  .source = c->ses.source,
                                  .argc = s->argc};
    static_assert(sizeof(m.peer) >= SESSION_END_BYTES, "holds an end");
    session_end_text(&c->ses, SESSION_PEER, m.peer);
    memcpy(msg, &m, sizeof(m));
    uint8_t *to = msg + sizeof(m);
    for (uint32_t i = 0; i < s->argc; i++) {
        uint32_t n = (uint32_t)s->argv[i].n;
        memcpy(to, &n, 4);
        memcpy(to + 4, s->argv[i].p, n);
        to += 4 + n;
    }
    (void)w;
    *ret_len = (uint32_t)len;
    return msg;
}

/* False: the slot holds an error. */
bool admin_send(struct worker *w, struct conn *c, struct slot *slot, const struct staged *s)
{
    if (!w->link || !link_control_alive(w->link)) {
        slot_bytes(slot, span_str(no_control));
        return false;
    }
    struct admin_wait *a = calloc(1, sizeof(*a));
    uint32_t len = 0;
    uint8_t *msg = a ? encode_admin(w, c, s, w->next_admin, &len) : NULL;
    if (!msg) {
        free(a);
        slot_bytes(slot, SPAN("-ERR the request is too long for the control process\r\n"));
        return false;
    }
    a->id = w->next_admin++;
    a->slot = slot;
    a->asked_ns = w->now_ns;
    a->generation = link_control_generation(w->link);
    list_push_back(&w->admin, &a->node);
    if (!w->admin_unsent &&
        ring_send(link_from_worker(w->link, w->id), MSG_ADMIN_REQUEST, msg, len)) {
        free(msg);
        return true;
    }
    a->msg = msg;
    a->msg_len = len;
    w->admin_unsent = true;
    return true;
}

static void retry_admin(struct worker *w)
{
    w->admin_unsent = false;
    list_for_each (n, &w->admin) {
        struct admin_wait *a = list_entry(n, struct admin_wait, node);
        if (!a->msg)
            continue;
        if (!ring_send(link_from_worker(w->link, w->id), MSG_ADMIN_REQUEST, a->msg, a->msg_len)) {
            w->admin_unsent = true;
            return;
        }
        free(a->msg);
        a->msg = NULL;
    }
}

/* The upper half of a door's number is the generation of the control process that made it. */
static void drop_doors(struct worker *w, uint32_t generation)
{
    list_for_each_safe(n, next, &w->conns)
    {
        struct conn *c = list_entry(n, struct conn, node);
        if (c->kind == CONN_DOOR && c->door >> 32 != generation)
            conn_gone(c);
    }
}

/* Once a turn: what did not fit goes again. */
void door_turn_end(struct worker *w)
{
    if (w->admin_unsent)
        retry_admin(w);
    if (w->door_retry) {
        w->door_retry = false;
        list_for_each (n, &w->conns) {
            struct conn *c = list_entry(n, struct conn, node);
            if (c->door_retry) {
                c->door_retry = false;
                conn_mark(c);
            }
        }
    }
}

/* Every few milliseconds: is control the one we knew? */
void door_check_control(struct worker *w)
{
    uint32_t gen = link_control_generation(w->link);
    if (gen != w->control_generation) {
        w->control_generation = gen;
        drop_doors(w, gen);
        fail_admin(w, gen);
    } else if (!list_empty(&w->admin)) {
        struct admin_wait *oldest = list_entry(w->admin.next, struct admin_wait, node);
        if (w->now_ns - oldest->asked_ns > ADMIN_PATIENCE_NS || !link_control_alive(w->link))
            fail_admin(w, NO_GENERATION);
    }
}
