/* A client's writer opened and closed, inline where replies are made; the odd cases are out.c's. Thread: the worker's. */
#pragma once

#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "dataplane/net/tcp_write.h"

/* out_open where no writer is open. */
static inline void out_begin(struct worker *w, struct conn *c)
{
    struct reply *r = &w->out;    /* its sink was filled in by worker_create */
    uint64_t start = c->ses.resp; /* not failed, not muted, no errors: one word */
    w->out_conn = c;
    r->ctx = c;
    memcpy(&r->resp, &start, sizeof(start));
    struct tcp_conn *tc = c->tc;
    struct tx_seg *s = likely_(tc && !c->out_first) ? tcp_write_first(tc) : NULL;
    w->out_seg = s;
    if (unlikely_(!s)) {
        out_begin_other(c);
        return;
    }
    c->room_heap = false;
    c->room = r->cur = tcp_write_room(s);
    r->end = r->cur + tcp_write_most(tc);
}
_Static_assert(offsetof(struct reply, errors) + sizeof(uint32_t) ==
                   offsetof(struct reply, resp) + sizeof(uint64_t),
               "resp, failed, muted, errors");
/* out_open where the writer is not c's. */
static inline void out_start(struct worker *w, struct conn *c)
{
    out_close(w);
    out_begin(w, c);
}
/* out_close where the writer is open. True: all that was written is in the transport's queue. */
static inline bool out_end(struct worker *w)
{
    struct conn *c = w->out_conn;
    struct tx_seg *s = w->out_seg;
    if (unlikely_(!c || !s || w->out.failed || c->state)) /* !c: the client was closed meanwhile */
        return out_end_other(w);
    struct stats_worker *stats = w->stats;
    size_t n = (size_t)(w->out.cur - tcp_write_room(s));
    w->out_conn = NULL;
    STAT_INC(stats->writes);
    STAT_ADD(stats->net_output_bytes, n);
    tcp_write_end(c->tc, s, n);
    return true;
}
