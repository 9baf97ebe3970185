/* tcp_trace: see tcp_trace.h. Where in the flow: the general ways of tcp_input, tcp_output and the timers call the inlines of
 * tcp_internal.h; tcp_conn_kill calls tcp_trace_keep; DEBUG TCPTRACE (engine/cmd) reads by way of conn. Thread: the worker's. */
#include "dataplane/net/tcp_trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/net/tcp_internal.h"

#define KEEP_EVERY_NS (10 * NSEC_PER_MS)
#define LINE_BYTES    200

static size_t ring_bytes(const struct tcp_trace *t)
{
    return ((size_t)t->mask + 1) * sizeof(*t->ring);
}

bool tcp_trace_init(struct tcp_trace *t, enum tcp_trace_mode mode, uint32_t events)
{
    *t = (struct tcp_trace){.all = mode == TCP_TRACE_YES};
    if (mode == TCP_TRACE_NO || !events)
        return true;
    uint32_t size = TCP_TRACE_EVENTS;
    while (size < events && size < 1u << 24)
        size *= 2;
    t->mask = size - 1;
    /* Anonymous pages: resident only once they are written. */
    t->ring = net_map(ring_bytes(t));
    t->kept = net_map(TCP_TRACE_KEPT * sizeof(*t->kept));
    return t->ring && t->kept;
}

void tcp_trace_fini(struct tcp_trace *t)
{
    net_unmap(t->ring, ring_bytes(t));
    net_unmap(t->kept, TCP_TRACE_KEPT * sizeof(*t->kept));
    *t = (struct tcp_trace){0};
}

void tcp_trace_put(struct tcp_conn *tc, struct tcp_event e)
{
    struct net *net = tc->net;
    struct tcp_trace *t = &net->trace;
    e.at_ns = net->now_ns;
    e.conn = (uint32_t)(tc - net->conns);
    e.state = tc->state;
    t->ring[t->next++ & t->mask] = e;
}

/* The newest events of a record, oldest first. */
static uint32_t gather(const struct tcp_trace *t, uint32_t conn, struct tcp_event *to)
{
    uint32_t n = 0;
    uint64_t have = t->next <= t->mask ? t->next : (uint64_t)t->mask + 1;
    for (uint64_t i = 1; i <= have && n < TCP_TRACE_EVENTS; i++) {
        const struct tcp_event *e = &t->ring[(t->next - i) & t->mask];
        if (e->conn != conn)
            continue;
        to[n++] = *e;
        if (e->kind == TR_OPEN) /* before it the record was another's */
            break;
    }
    for (uint32_t i = 0; i < n / 2; i++) {
        struct tcp_event x = to[i];
        to[i] = to[n - 1 - i];
        to[n - 1 - i] = x;
    }
    return n;
}

void tcp_trace_keep(struct tcp_conn *tc, int err)
{
    struct net *net = tc->net;
    struct tcp_trace *t = &net->trace;
    if (net->now_ns < t->keep_next_ns || !tc->cookie || !net->app.trace_id)
        return;
    t->keep_next_ns = net->now_ns + KEEP_EVERY_NS;
    struct tcp_trace_kept *k = &t->kept[t->kept_count++ % TCP_TRACE_KEPT];
    k->id = net->app.trace_id(tc->cookie);
    k->at_ns = net->now_ns;
    k->err = err;
    tcp_addr(tc, &k->addr);
    k->n = gather(t, tcp_index(tc), k->event);
}

/* ---- lines ---- */

struct lines {
    tcp_trace_fn *fn;
    void *ctx;
    unsigned n;
};

__attribute__((format(printf, 2, 3))) static void put(struct lines *l, const char *fmt, ...)
{
    char text[LINE_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    l->fn(l->ctx, text, n < LINE_BYTES ? (size_t)n : LINE_BYTES - 1);
    l->n++;
}

/* "FA": in the order of the header's bits, as tcpdump's letters but for ACK. */
static const char *flag_text(uint8_t flags, char text[9])
{
    static const char letters[] = "FSRPAUEC";
    unsigned n = 0;
    for (unsigned i = 0; i < 8; i++)
        if (flags & (1u << i))
            text[n++] = letters[i];
    text[n] = 0;
    return n ? text : "-";
}

static void put_segment(struct lines *l, const char *when, const struct tcp_event *e)
{
    static const char *const way[] = {[TR_IN] = "in", [TR_OUT] = "out", [TR_AGAIN] = "again"};
    char flags[9];
    put(l, "%s %s %s seq %u ack %u len %u win %u sack %u state %s", when, way[e->kind],
        flag_text(e->flags, flags), e->seq, e->ack, e->len, e->wnd, e->sack_n,
        tcp_state_name(e->state));
}

static const char *drop_name(uint8_t why)
{
    static const char *const names[] = {
        [DROP_PAWS] = "timestamp from before (PAWS)",
        [DROP_NO_TIMESTAMP] = "no timestamp",
        [DROP_WINDOW] = "outside the window",
        [DROP_ACK] = "ACK of nothing that was sent",
        [DROP_FLAGS] = "no ACK",
        [DROP_OPTIONS] = "options that lie",
        [DROP_OOO] = "no room for early text",
        [DROP_RST] = "RST not at the edge",
        [DROP_SYN] = "SYN on an open connection",
    };
    return why < ARRAY_LEN(names) ? names[why] : "?";
}

static const char *timer_name(uint8_t timer)
{
    static const char *const names[TT_COUNT] = {
        [TT_REXMIT] = "retransmission", [TT_PERSIST] = "persist", [TT_DELACK] = "delayed ACK",
        [TT_STARVED] = "no buffers",    [TT_LIFE] = "life",       [TT_REO] = "reordering",
    };
    return timer < TT_COUNT ? names[timer] : "?";
}

static void put_event(struct lines *l, const struct tcp_event *e)
{
    char when[32];
    snprintf(when, sizeof(when), "%llu.%06u", (unsigned long long)(e->at_ns / NSEC_PER_S),
             (unsigned)(e->at_ns % NSEC_PER_S / 1000));
    switch (e->kind) {
    case TR_OPEN: put(l, "%s open", when); break;
    case TR_STATE:
        put(l, "%s state %s from %s", when, tcp_state_name(e->state), tcp_state_name(e->what));
        break;
    case TR_IN:
    case TR_OUT:
    case TR_AGAIN: put_segment(l, when, e); break;
    case TR_DROP: put(l, "%s drop seq %u: %s", when, e->seq, drop_name(e->what)); break;
    case TR_TIMER:
        put(l, "%s timer %s una %u nxt %u cwnd %u rto_ms %u", when, timer_name(e->what), e->seq,
            e->ack, e->wnd, e->len);
        break;
    case TR_LOST: put(l, "%s lost %u bytes una %u nxt %u", when, e->wnd, e->seq, e->ack); break;
    case TR_RECOVERY:
        put(l, "%s recovery una %u nxt %u cwnd %u", when, e->seq, e->ack, e->wnd);
        break;
    case TR_UNDO: put(l, "%s undo una %u nxt %u cwnd %u", when, e->seq, e->ack, e->wnd); break;
    case TR_WINDOW: put(l, "%s window %u una %u nxt %u", when, e->wnd, e->seq, e->ack); break;
    case TR_CLOSED:
        put(l, "%s closed: %s", when, e->wnd ? strerror((int)e->wnd) : "orderly");
        break;
    default: break;
    }
}

static void put_head(struct lines *l, uint64_t id, const struct tcp_addr *a, const char *how)
{
    char peer[IP_ENDPOINT_BYTES], local[IP_ENDPOINT_BYTES];
    ip_format_endpoint(peer, a->peer, a->peer_port);
    ip_format_endpoint(local, a->local, a->local_port);
    put(l, "id=%llu addr=%s laddr=%s %s", (unsigned long long)id, peer, local, how);
}

unsigned tcp_trace_read(const struct tcp_conn *tc, uint64_t id, tcp_trace_fn *fn, void *ctx)
{
    const struct tcp_trace *t = &tc->net->trace;
    struct lines l = {.fn = fn, .ctx = ctx};
    struct tcp_event event[TCP_TRACE_EVENTS];
    struct tcp_addr a;
    if (!t->ring)
        return 0;
    tcp_addr(tc, &a);
    put_head(&l, id, &a, tcp_state_name(tc->state));
    uint32_t n = gather(t, tcp_index(tc), event);
    for (uint32_t i = 0; i < n; i++)
        put_event(&l, &event[i]);
    return l.n;
}

unsigned tcp_trace_read_kept(const struct net *net, uint64_t id, tcp_trace_fn *fn, void *ctx)
{
    const struct tcp_trace *t = &net->trace;
    struct lines l = {.fn = fn, .ctx = ctx};
    uint64_t have = t->kept_count < TCP_TRACE_KEPT ? t->kept_count : TCP_TRACE_KEPT;
    for (uint64_t i = 1; i <= have; i++) { /* the newest first */
        const struct tcp_trace_kept *k = &t->kept[(t->kept_count - i) % TCP_TRACE_KEPT];
        if (k->id != id)
            continue;
        put_head(&l, id, &k->addr, strerror(-k->err));
        for (uint32_t e = 0; e < k->n; e++)
            put_event(&l, &k->event[e]);
        break;
    }
    return l.n;
}
