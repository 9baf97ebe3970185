/* What one worker tells another beside requests and replies, and the clients that are named by their id.
 *
 * An event travels on the same rings as mail, so it comes after what was sent before it. Only clients that somebody may name (blocked,
 * subscribed, tracking ...) are in the table: an idle one costs nothing. Thread: the worker's. */
#include <stdlib.h>

#include "dataplane/conn/conn_internal.h"

void event_send(struct worker *w, uint32_t to, struct mail_event *ev)
{
    ev->from = w->id;
    if (to == w->id)
        list_push_back(&w->events, &ev->node);
    else
        remote_send(w, to, ev, MAIL_EVENT);
}

bool events_run(struct worker *w)
{
    struct list now;
    list_init(&now);
    for (struct list *n; (n = list_pop_front(&w->events)) != NULL;)
        list_push_back(&now, n); /* what these send to themselves is for the next turn */
    bool any = !list_empty(&now);
    for (struct list *n; (n = list_pop_front(&now)) != NULL;) {
        struct mail_event *ev = list_entry(n, struct mail_event, node);
        ev->run(w, ev);
    }
    out_close(w);
    return any;
}

void client_timer_set(struct worker *w, struct client_timer *t, uint64_t at_ns)
{
    if (w->timers.count == 0)
        wheel_advance(&w->timers, w->now_ns); /* an empty one stands still */
    wheel_set(&w->timers, &t->node, at_ns);
}

bool client_timers_run(struct worker *w)
{
    bool any = false;
    wheel_advance(&w->timers, w->now_ns);
    for (struct wheel_node *n; (n = wheel_pop(&w->timers)) != NULL; any = true) {
        struct client_timer *t = list_entry(n, struct client_timer, node);
        t->fire(w, t);
    }
    out_close(w);
    return any;
}

/* ---- clients by id ---- */

#define NAMED_FIRST 64

static uint32_t named_home(const struct worker *w, uint64_t id)
{
    return (uint32_t)((id * 0x9e3779b97f4a7c15ull) >> 32) & (w->named_cap - 1);
}

static void named_put(struct worker *w, struct conn *c)
{
    uint32_t i = named_home(w, c->ses.id);
    while (w->named[i])
        i = (i + 1) & (w->named_cap - 1);
    w->named[i] = c;
}

static void named_grow(struct worker *w)
{
    struct conn **old = w->named;
    uint32_t n = w->named_cap;
    w->named_cap = n ? n * 2 : NAMED_FIRST;
    w->named = calloc(w->named_cap, sizeof(*w->named));
    CHECK(w->named);
    for (uint32_t i = 0; i < n; i++) {
        if (old[i])
            named_put(w, old[i]);
    }
    free(old);
}

void conn_name(struct conn *c)
{
    struct worker *w = c->w;
    if (c->named)
        return;
    if (w->named_count * 2 >= w->named_cap)
        named_grow(w);
    named_put(w, c);
    w->named_count++;
    c->named = true;
}

void conn_unname(struct conn *c)
{
    struct worker *w = c->w;
    if (!c->named)
        return;
    c->named = false;
    w->named_count--;
    uint32_t mask = w->named_cap - 1, i = named_home(w, c->ses.id);
    while (w->named[i] != c)
        i = (i + 1) & mask;
    w->named[i] = NULL;
    for (uint32_t k = (i + 1) & mask; w->named[k]; k = (k + 1) & mask) {
        struct conn *moved = w->named[k];
        w->named[k] = NULL;
        named_put(w, moved);
    }
}

struct conn *conn_find(struct worker *w, uint64_t id)
{
    if (w->named_count == 0)
        return NULL;
    for (uint32_t i = named_home(w, id); w->named[i]; i = (i + 1) & (w->named_cap - 1)) {
        struct conn *c = w->named[i];
        if (c->ses.id == id)
            return c->closing || c->dead ? NULL : c;
    }
    return NULL;
}

/* No reply has to leave first. One that waits for a key, with nothing before it, may wait for ever: as in Redis it is told meanwhile. */
bool conn_push_now(const struct conn *c)
{
    if (c->longer)
        return false;
    return list_empty(&c->slots) ||
           (list_entry(c->slots.next, struct slot, node)->wait && block_waits(c));
}

void conn_push(struct conn *c, struct span bytes)
{
    if (c->closing || c->dead)
        return;
    if (conn_push_now(c)) {
        reply_raw(out_open(c), bytes.p, bytes.n);
        out_close(c->w);
    } else { /* behind the replies that are awaited */
        slot_bytes(slot_new(c), bytes);
    }
    conn_mark(c);
}
