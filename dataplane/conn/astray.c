/* astray: frames about connections of another worker.
 *
 * A port spreads flows over queues by what it reads in their frames, and a peer may change that: Linux takes a new flow label (RFC 6437), and on a
 * virtual port a new hash, after a timeout. A router's error (RFC 1191, RFC 8201) comes by the hash of its own addresses. The stack that
 * knows no such connection asks the other workers, one after the other, and only when none has it a reset leaves.
 *
 *   home: taken --ring--> asked: on_ring, then inject: net_stray_input --not there: ring--> the next one ... --ring--> home: returned
 *
 * Of each flow one frame asks; those behind it are dropped until it is back (TCP sends them again), and then go straight to where it was found. How many ask
 * is bounded for each class of sources and in all. Thread: the worker's. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"

#define FLOWS      512  /* remembered */
#define ASKED_MOST 64   /* frames that ask, under way */
#define SENT_MOST  1024 /* frames in all, under way */
#define ASKING     UINT32_MAX

struct astray_flow {
    uint64_t flow; /* 0: empty */
    uint32_t at;   /* worker; ASKING: not known yet */
};

struct astray_table {
    struct astray_flow flow[FLOWS];
};

/* A frame under way. One allocation, freed by home; in between it belongs to who looks at it. */
struct astray {
    struct mail_event ev; /* first: an event's record is what is freed */
    uint32_t home;
    bool asks; /* home does not know whose it is */
    bool found;
    uint64_t visited; /* workers, a bit each */
    struct net_stray s;
    uint8_t frame[];
};

static struct astray_flow *flow_at(struct worker *w, uint64_t flow)
{
    if (!w->astray.table)
        w->astray.table = calloc(1, sizeof(*w->astray.table));
    return w->astray.table && flow ? &w->astray.table->flow[flow % FLOWS] : NULL;
}

static void returned(struct worker *w, struct mail_event *ev)
{
    struct astray *a = (struct astray *)ev;
    struct astray_flow *f = flow_at(w, a->s.flow);
    w->astray.sent--;
    w->astray.asked -= a->asks;
    if (f && f->flow == a->s.flow) {
        if (a->found)
            f->at = ev->from;
        else
            f->flow = 0;
    }
    free(a);
}

/* The next worker that has not looked at it; w->count: all have. */
static uint32_t next_of(const struct worker *w, const struct astray *a)
{
    uint32_t to = (w->id + 1) % w->count;
    for (; to != w->id && (a->visited >> to & 1); to = (to + 1) % w->count)
        ;
    return to == w->id ? w->count : to;
}

static void inject(struct worker *w, struct mail_event *ev)
{
    struct astray *a = (struct astray *)ev;
    a->visited |= 1ull << w->id;
    a->found = true; /* unless `taken` hears otherwise */
    w->astray.now = a;
    if (!net_stray_input(w->net, &a->s, w->now_ns)) {
        a->found = false; /* no memory: lost, as on a wire */
        a->visited = UINT64_MAX;
    }
    w->astray.now = NULL;
    batch_run(w);
    net_input_done(w->net);
    STAT_ADD(w->stats->stray_found, a->found);
    uint32_t to = a->found ? w->count : next_of(w, a);
    ev->run = to == w->count ? returned : astray_on_ring;
    event_send(w, to == w->count ? a->home : to, ev);
}

/* Mail is taken in between commands: frames come in where a turn takes events. */
void astray_on_ring(struct worker *w, struct mail_event *ev)
{
    ev->run = inject;
    list_push_back(&w->events, &ev->node);
}

/* Whom to send it to; w->count: nobody now. */
static uint32_t whom(struct worker *w, const struct net_stray *s, bool *ret_asks)
{
    struct astray_flow *f = flow_at(w, s->flow);
    bool known = f && f->flow == s->flow;
    if (w->astray.sent >= SENT_MOST || (known && f->at == ASKING))
        return w->count;
    *ret_asks = !known;
    if (known)
        return f->at;
    if (w->astray.asked >= ASKED_MOST)
        return w->count;
    if (f)
        *f = (struct astray_flow){.flow = s->flow, .at = ASKING};
    return (w->id + 1) % w->count;
}

bool astray_taken(void *worker, const struct net_stray *s)
{
    struct worker *w = worker;
    bool asks = false;
    if (w->astray.now) {
        w->astray.now->found = false;
        return next_of(w, w->astray.now) != w->count;
    }
    struct astray_flow *f = flow_at(w, s->flow);
    if (!(f && f->flow == s->flow) && !net_stray_allow(w->net, s->from))
        return false;
    uint32_t to = whom(w, s, &asks);
    struct astray *a = to == w->count ? NULL : malloc(sizeof(*a) + s->len);
    if (!a) {
        STAT_INC(w->stats->drop_stray);
        if (asks && f)
            f->flow = 0;
        return true;
    }
    *a = (struct astray){
        .ev.run = astray_on_ring, .home = w->id, .asks = asks, .visited = 1ull << w->id, .s = *s};
    memcpy(a->frame, s->frame, s->len);
    a->s.frame = a->frame;
    list_init(&a->ev.node);
    w->astray.sent++;
    w->astray.asked += asks;
    STAT_INC(w->stats->stray_frames);
    event_send(w, to, &a->ev);
    return true;
}

void astray_fini(struct worker *w)
{
    free(w->astray.table);
}
