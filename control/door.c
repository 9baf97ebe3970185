/* door: the clients. Listeners in door_listen.c; what a door is and its rules in door.h.
 *
 * Life of a client: accepted -> (MSG_DOOR_OPEN) -> reading <-> waiting for credit or ring room -> end of input (MSG_DOOR_CLOSE) ->
 * MSG_DOOR_CLOSED from the worker -> last bytes written -> freed. Either side may begin the end. Its slot, and so its id, is free
 * again only when the worker has said MSG_DOOR_CLOSED (or is dead) and the socket is closed: no late message can meet a stranger. */
#include <stdlib.h>
#include <string.h>

#include "control/door_internal.h"
#include "control/log.h"

static struct link_control *stats(struct door *d)
{
    return link_control_stats(d->bridge->link);
}

static void conn_free(struct door_conn *c)
{
    struct door *d = c->door;
    list_remove(&c->node);
    list_remove(&c->wait);
    if (c->slot != DOOR_NO_SLOT)
        d->slots[c->slot] = NULL;
    d->clients--;
    STAT_SET(stats(d)->door_clients, d->clients);
    free(c);
}

static void on_closed(uv_handle_t *h)
{
    struct door_conn *c = h->data;
    c->socket_closed = true;
    if (c->worker_done)
        conn_free(c);
}

void door_conn_close(struct door_conn *c)
{
    if (uv_is_closing((uv_handle_t *)&c->h))
        return;
    c->reading = false;
    uv_close((uv_handle_t *)&c->h, on_closed);
}

/* The worker will say nothing more on it. */
static void worker_is_done(struct door_conn *c)
{
    if (c->worker_done)
        return;
    c->worker_done = true;
    c->open_due = c->close_due = false;
    list_remove(&c->wait);
    if (c->socket_closed)
        conn_free(c);
    else if (!c->out_bytes)
        door_conn_close(c);
    else if (c->reading) { /* on_written closes */
        uv_read_stop(&c->h.stream);
        c->reading = false;
    }
}

static void wait_for_room(struct door_conn *c)
{
    if (!list_linked(&c->wait))
        list_push_back(&c->door->waiting, &c->wait);
    bridge_want_room(c->door->bridge, c->worker);
}

/* ---- towards the worker ---- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    struct door_conn *c = h->data;
    struct door *d = c->door;
    *buf = uv_buf_init(NULL, 0);
    if (c->refused || c->worker_done) {
        *buf = uv_buf_init(d->waste, sizeof d->waste);
        return;
    }
    size_t n = LINK_DOOR_WINDOW - c->in_flight;
    if (n > LIMIT_LINK_MSG_BYTES - sizeof(struct msg_door))
        n = LIMIT_LINK_MSG_BYTES - sizeof(struct msg_door);
    /* Straight into the ring: libuv reads between this call and on_read, nothing else can reserve in between. */
    uint8_t *to =
        n ? ring_reserve(bridge_ring(d->bridge, c->worker), (uint32_t)(sizeof(struct msg_door) + n))
          : NULL;
    c->reserved = to;
    if (to)
        *buf = uv_buf_init((char *)to + sizeof(struct msg_door), (unsigned)n);
}

static void input_ended(struct door_conn *c, bool broken)
{
    c->eof = true;
    if (c->reading)
        uv_read_stop(&c->h.stream);
    c->reading = false;
    if (c->refused || broken)
        door_conn_close(c);
    if (!c->worker_done) {
        c->close_due = true;
        door_conn_push(c);
    }
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct door_conn *c = s->data;
    struct door *d = c->door;
    if (n == UV_ENOBUFS) {
        uv_read_stop(s);
        c->reading = false;
        if (c->in_flight < LINK_DOOR_WINDOW)
            wait_for_room(c);
        return;
    }
    if (n < 0) {
        input_ended(c, n != UV_EOF);
        return;
    }
    if (n == 0)
        return;
    if (c->refused) {
        door_refuse_now(c);
        return;
    }
    if (c->worker_done)
        return;
    memcpy(c->reserved, &(struct msg_door){.door = c->id}, sizeof(struct msg_door));
    ring_publish(bridge_ring(d->bridge, c->worker), MSG_DOOR_DATA,
                 (uint32_t)(sizeof(struct msg_door) + (size_t)n));
    c->in_flight += (uint64_t)n;
    STAT_ADD(stats(d)->door_input_bytes, (uint64_t)n);
    if (c->in_flight >= LINK_DOOR_WINDOW) {
        uv_read_stop(s);
        c->reading = false;
    }
}

static void start_reading(struct door_conn *c)
{
    if (!c->reading && !c->eof && !uv_is_closing((uv_handle_t *)&c->h))
        c->reading = uv_read_start(&c->h.stream, on_alloc, on_read) == 0;
}

void door_conn_push(struct door_conn *c)
{
    struct bridge *b = c->door->bridge;
    struct msg_door m = {.door = c->id};
    if (c->refused) {
        start_reading(c);
        return;
    }
    if (c->open_due) {
        struct msg_door_open o = {.door = c->id, .source = c->source};
        memcpy(o.peer, c->peer, sizeof o.peer);
        memcpy(o.local, c->local, sizeof o.local);
        if (!bridge_send(b, c->worker, MSG_DOOR_OPEN, &o, sizeof o, NULL, 0)) {
            wait_for_room(c);
            return;
        }
        c->open_due = false;
    }
    if (c->close_due) {
        if (!bridge_send(b, c->worker, MSG_DOOR_CLOSE, &m, sizeof m, NULL, 0)) {
            wait_for_room(c);
            return;
        }
        c->close_due = false;
    } else if (c->in_flight < LINK_DOOR_WINDOW) {
        start_reading(c);
    }
}

void door_room(struct door *d, uint32_t worker)
{
    struct list again;
    list_init(&again);
    struct list *n;
    while ((n = list_pop_front(&d->waiting))) {
        struct door_conn *c = list_entry(n, struct door_conn, wait);
        list_push_back(&again, n);
        if (c->worker == worker) {
            list_remove(n);
            door_conn_push(c);
            if (list_linked(n)) { /* pushed itself back */
                list_remove(n);
                list_push_back(&again, n);
            }
        }
    }
    while ((n = list_pop_front(&again)))
        list_push_back(&d->waiting, n);
}

/* ---- towards the client ---- */

struct door_write {
    uv_write_t req;
    size_t n;
    char bytes[];
};

static void on_written(uv_write_t *req, int status)
{
    struct door_write *w = (struct door_write *)req;
    struct door_conn *c = req->handle->data;
    c->out_bytes -= w->n;
    c->door->out_bytes -= w->n;
    free(w);
    if (status < 0) {
        if (status != UV_ECANCELED)
            input_ended(c, true);
    } else if (!c->out_bytes && c->worker_done) {
        door_conn_close(c);
    }
}

void door_conn_write(struct door_conn *c, const uint8_t *p, size_t n)
{
    struct door *d = c->door;
    if (uv_is_closing((uv_handle_t *)&c->h))
        return;
    STAT_ADD(stats(d)->door_output_bytes, n);
    if (!c->out_bytes) {
        uv_buf_t buf = uv_buf_init((char *)p, (unsigned)n);
        int rc = uv_try_write(&c->h.stream, &buf, 1);
        if (rc < 0 && rc != UV_EAGAIN) {
            input_ended(c, true);
            return;
        }
        if (rc > 0) {
            p += rc;
            n -= (size_t)rc;
        }
        if (!n)
            return;
    }
    bool room =
        c->out_bytes + n <= d->output_limit && d->out_bytes + n <= LIMIT_DOOR_OUTPUT_TOTAL_BYTES;
    struct door_write *w = room ? malloc(sizeof *w + n) : NULL;
    if (!w) {
        log_warning("Door client %s is closed: %s (%llu bytes wait)", c->peer,
                    room ? "no memory" : "it does not read its replies",
                    (unsigned long long)c->out_bytes);
        input_ended(c, true);
        return;
    }
    w->n = n;
    memcpy(w->bytes, p, n);
    uv_buf_t buf = uv_buf_init(w->bytes, (unsigned)n);
    if (uv_write(&w->req, &c->h.stream, &buf, 1, on_written)) {
        free(w);
        input_ended(c, true);
        return;
    }
    c->out_bytes += n;
    d->out_bytes += n;
}

/* ---- from the bridge ---- */

static struct door_conn *find(struct door *d, uint32_t worker, uint64_t id)
{
    struct door_conn *c = d->slots[id % DOOR_SLOTS];
    return c && c->id == id && c->worker == worker && !c->worker_done ? c : NULL;
}

void door_message(struct door *d, uint32_t worker, uint32_t type, struct span payload)
{
    struct msg_door_ack m = {0};
    memcpy(&m, payload.p, type == MSG_DOOR_ACK ? sizeof m : sizeof(struct msg_door));
    struct door_conn *c = find(d, worker, m.door);
    if (!c) {
        /* Doors of a control process before us, and those that door_damaged gave up, may still be answered. */
        if (m.door >> 32 == d->generation && (uint32_t)m.door / DOOR_SLOTS >= d->serial)
            bridge_bad(d->bridge, worker, type, "no such door client");
        return;
    }
    switch (type) {
    case MSG_DOOR_REPLY:
        if (payload.n > sizeof(struct msg_door))
            door_conn_write(c, payload.p + sizeof(struct msg_door),
                            payload.n - sizeof(struct msg_door));
        break;
    case MSG_DOOR_ACK:
        if (m.bytes > c->in_flight) {
            bridge_bad(d->bridge, worker, type, "acknowledges more than was sent");
            break;
        }
        c->in_flight -= m.bytes;
        if (!list_linked(&c->wait))
            door_conn_push(c);
        break;
    case MSG_DOOR_CLOSED: worker_is_done(c); break;
    }
}

void door_drop_all(struct door *d)
{
    list_for_each_safe(n, next, &d->conns)
    {
        struct door_conn *c = list_entry(n, struct door_conn, node);
        if (!c->refused)
            door_conn_drop(c);
    }
}

void door_conn_drop(struct door_conn *c)
{
    door_conn_close(c);
    worker_is_done(c);
}

void door_damaged(struct door *d, uint32_t worker)
{
    list_for_each_safe(n, next, &d->conns)
    {
        struct door_conn *c = list_entry(n, struct door_conn, node);
        struct msg_door m = {.door = c->id};
        if (c->worker_done || c->worker != worker)
            continue;
        /* The worker's MSG_DOOR_CLOSED may be what was lost, so it is waited for only if our own message has to wait. */
        if (c->open_due || bridge_send(d->bridge, worker, MSG_DOOR_CLOSE, &m, sizeof m, NULL, 0))
            door_conn_drop(c);
        else
            input_ended(c, true);
    }
}

void door_refuse_now(struct door_conn *c)
{
    char text[256];
    if (c->answered)
        return;
    c->answered = true;
    int n = c->too_many ? snprintf(text, sizeof text, "-ERR max number of clients reached\r\n")
                        : snprintf(text, sizeof text,
                                   "-LOADING The dataplane is not running: %s\r\n", c->door->why);
    STAT_INC(stats(c->door)->door_refused);
    door_conn_write(c, (const uint8_t *)text, (size_t)n);
    if (!c->out_bytes)
        door_conn_close(c);
}

uint32_t door_clients(const struct door *d)
{
    return d->clients;
}
