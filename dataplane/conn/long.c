/* Replies that are written in parts (engine/shard/held.h), so that a client that reads slowly does not have all of it in memory.
 *
 *   home                                     owner of the key (perhaps the same worker)
 *   the reply's head leaves
 *   ask  ----------------------------------> part of about LIMIT_REPLY_PART_BYTES, when the shard is free to touch
 *   part -> output  <----------------------
 *   the output has drained: ask ...          the value changes meanwhile: the rest is written down there, at once
 *
 * Meanwhile the client is throttled and nothing else is written for it: what comes waits in slots. Thread: the worker's. */
#include <stdlib.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/shard/held.h"

struct conn_long {
    struct list node; /* w->longs */
    struct conn *c;   /* NULL: it is gone, and the part under way is the last one */
    struct held *held;
    uint32_t at;
    bool asked;
};

struct long_ask {
    struct mail_event ev;
    struct conn_long *to; /* NULL: nobody wants the rest */
    struct held *held;
    uint32_t home;
};

struct long_part {
    struct mail_event ev;
    struct conn_long *to;
    struct held *held; /* NULL: that was all */
    bool failed;
    size_t len, cap;
    uint8_t data[];
};

static struct long_part *part_sized(struct long_part *p, size_t cap)
{
    p = realloc(p, sizeof(*p) + cap);
    CHECK(p); /* 128 KB */
    p->cap = cap;
    return p;
}

static void part_more(struct reply *r, size_t hint)
{
    struct long_part **p = r->ctx;
    (*p)->len = (size_t)(r->cur - (*p)->data);
    *p = part_sized(*p, (*p)->len + (hint > (*p)->cap ? hint : (*p)->cap));
    r->cur = (*p)->data + (*p)->len;
    r->end = (*p)->data + (*p)->cap;
}

/* ---- home ---- */

static void on_ask(struct worker *w, struct mail_event *ev);

static void ask(struct worker *w, uint32_t at, struct conn_long *to, struct held *held)
{
    struct long_ask *a = malloc(sizeof(*a));
    CHECK(a);
    *a = (struct long_ask){.ev.run = on_ask, .to = to, .held = held, .home = w->id};
    event_send(w, at, &a->ev);
}

void long_more(struct conn *c)
{
    struct conn_long *l = c->longer;
    if (l->asked || c->out_bytes >= LIMIT_REPLY_PART_BYTES)
        return;
    l->asked = true;
    ask(c->w, l->at, l, l->held);
}

void long_begin(struct conn *c, struct held *held, uint32_t at)
{
    struct conn_long *l = malloc(sizeof(*l));
    CHECK(l);
    *l = (struct conn_long){.c = c, .held = held, .at = at};
    list_push_back(&c->w->longs, &l->node);
    c->longer = l;
    c->throttled = true;
    STAT_INC(c->w->stats->long_replies);
    long_more(c);
}

void long_forget(struct worker *w, struct held *held, uint32_t at)
{
    ask(w, at, NULL, held);
}

static void end(struct conn_long *l)
{
    list_remove(&l->node);
    free(l);
}

void long_drop(struct conn *c)
{
    struct conn_long *l = c->longer;
    c->longer = NULL;
    l->c = NULL;
    if (l->asked)
        return; /* on_part ends it */
    if (l->held)
        long_forget(c->w, l->held, l->at);
    end(l);
}

static void go_on(struct conn *c)
{
    struct conn_long *l = c->longer;
    if (l->held) {
        long_more(c);
    } else {
        c->longer = NULL;
        end(l);
        slots_flush(c);
    }
    conn_mark(c);
}

static void on_part(struct worker *w, struct mail_event *ev)
{
    struct long_part *p = (struct long_part *)ev;
    struct conn_long *l = p->to;
    struct conn *c = l->c;
    l->asked = false;
    l->held = p->held;
    if (!c) {
        if (l->held)
            long_forget(w, l->held, l->at);
        end(l);
    } else if (p->failed) {
        conn_kill(c); /* it cannot be given what its head has promised */
    } else {
        reply_raw(out_open(c), p->data, p->len);
        out_close(w); /* may kill it, and l with it */
        if (c->longer)
            go_on(c);
    }
    free(p);
}

void longs_free(struct worker *w)
{
    for (struct list *n; (n = list_pop_front(&w->longs)) != NULL;)
        free(list_entry(n, struct conn_long, node));
}

/* ---- owner ---- */

static const struct reply_sink part_sink = {part_more};

static void send_part(struct worker *w, struct long_ask *a)
{
    struct long_part *p = part_sized(NULL, LIMIT_REPLY_PART_BYTES + LIMIT_REPLY_PART_BYTES / 4);
    struct reply r = {.sink = &part_sink, .ctx = &p, .resp = a->held->resp};
    r.cur = p->data;
    r.end = p->data + p->cap;
    p->ev.run = on_part;
    p->to = a->to;
    p->held = held_take(a->held, &r, LIMIT_REPLY_PART_BYTES) ? NULL : a->held;
    p->failed = r.failed;
    p->len = (size_t)(r.cur - p->data);
    event_send(w, a->home, &p->ev);
}

/* The value is looked at only while the shard is this worker's to touch; a lease is over soon. */
static void on_ask(struct worker *w, struct mail_event *ev)
{
    struct long_ask *a = (struct long_ask *)ev;
    if (w->lease.holder != LEASE_FREE) {
        event_send(w, w->id, ev);
        return;
    }
    if (a->to)
        send_part(w, a);
    else
        held_drop(a->held);
    free(a);
}
