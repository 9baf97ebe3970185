/* tcp_pressure: what is done when send queues hold too much of the packet pool: ten thousand peers that acknowledge nothing need two
 * segments each to empty it.
 *
 *   net->q_segs over 3/4 of the pool -> pressure: windows are offered out of a sixteenth of the buffer, and rounds over all records begin
 *   each output pass: WALK_CONNS records of the round
 *     of a connection that stands still the segments move to the heap ("parked"): q_head .. q_tail, sent or not
 *     no heap for them: out-of-order data goes first (that kept for longest), then who stands still for a second is reset
 *   under 5/8: over; one more round tells the peers whose window was shut
 *
 * Peers that acknowledge keep their mbufs: their queues are short, and the dynamic threshold (tcp_queue.c) bounds each of them.
 * A connection stands still when a timeout ran out without progress, when its window is shut, or when nothing was acknowledged for two
 * round trips; where hardly any mbuf is left, for 5 ms: thousands of far peers with two segments each, that all read, fill it too. In output passes only, because no writer of the application's has a segment open then. Thread: the worker's. */
#include <errno.h>
#include <stdlib.h>

#include "dataplane/net/tcp_internal.h"

#define WALK_CONNS  256
#define ROUND_NS    NSEC_PER_MS       /* from one round to the next */
#define STILL_NS    (5 * NSEC_PER_MS) /* at least */
#define RESET_NS    NSEC_PER_S
#define WINDOW_PART 16

static void begin_round(struct net *net)
{
    net->walk_at = 0;
    net->walk_ns = net->now_ns;
}

static void pressure_set(struct net *net, bool on)
{
    uint32_t buf = net->cfg.rcv_buf_bytes, part = buf / WINDOW_PART, step = 2 * net->window_step;
    part = part > step ? part : step;
    net->pressure = on;
    net->rcv_buf = on && part < buf ? part : buf;
    if (on)
        STAT_INC(net->stats->tcp_memory_pressures);
    begin_round(net);
}

static bool stands_still(const struct tcp_conn *tc)
{
    const struct tcp_cold *c = tc->cold;
    const struct tx_seg *s = tc->q_head;
    if (!s)
        return false;
    if (c->rtx_since_ns || !tc->snd_wnd)
        return true;
    uint64_t two_rtts = (uint64_t)(c->srtt_x8 >> 2) << TCP_RTT_SHIFT;
    if (tc->net->q_segs > tc->net->pool_mbufs / 8 * 7)
        two_rtts = 0;
    return (s->flags & TXS_SENT) &&
           tc->net->now_ns - s->sent_ns > (two_rtts > STILL_NS ? two_rtts : STILL_NS);
}

static bool heap_has(struct net *net, size_t bytes)
{
    while (net->parked_bytes + net->ooo_total_bytes + bytes > LIMIT_NET_HEAP_BYTES)
        if (!tcp_ooo_prune_oldest(net, NULL))
            return false;
    return true;
}

/* Puts a copy on the heap in the place of *pp. False: there is no room. */
static bool park(struct tcp_conn *tc, struct tx_seg **pp)
{
    struct net *net = tc->net;
    struct tcp_cold *c = tc->cold;
    struct tx_seg *s = *pp;
    size_t bytes = sizeof(*s) + s->len;
    struct tx_seg *h = heap_has(net, bytes) ? malloc(bytes) : NULL;
    if (!h)
        return false;
    *h = *s;
    h->m = NULL;
    h->off = (int16_t)sizeof(*h) - TX_PAYLOAD_OFF;
    h->parked = s->len;
    h->flags |= TXS_PARKED;
    memcpy(tx_seg_data(h), tx_seg_data(s), s->len);
    *pp = h;
    if (tc->q_tail == s)
        tc->q_tail = h;
    if (tc->q_unsent == s)
        tc->q_unsent = h;
    if (c->rtx == s)
        c->rtx = h;
    if (c->loss->hint == s)
        c->loss->hint = h;
    c->q_parked++;
    tc->flags |= TF_PARKED;
    net->q_segs--;
    net->parked_bytes += bytes;
    tx_seg_unchain(s);
    net_free_own(net, s->m);
    STAT_INC(net->stats->tcp_parked_segs);
    return true;
}

/* Parks what the wire has let go of. */
static void park_queue(struct tcp_conn *tc)
{
    struct net *net = tc->net;
    for (struct tx_seg **pp = &tc->q_head; *pp; pp = &(*pp)->next) {
        const struct tx_seg *s = *pp;
        if ((s->flags & TXS_PARKED) || !s->len || rte_mbuf_refcnt_read(s->m) > 1 || park(tc, pp))
            continue;
        uint64_t since = tc->cold->rtx_since_ns;
        if (since && net->now_ns - since >= RESET_NS) {
            STAT_INC(net->stats->tcp_abort_memory);
            tcp_conn_reset(tc, -ENOBUFS, true);
        }
        break;
    }
    STAT_SET(net->stats->tcp_parked_bytes, net->parked_bytes);
}

/* Its window may have been kept shut: the end of the pass tells, if it pays. */
static void reopen(struct tcp_conn *tc)
{
    if (tc->state >= TCP_ESTABLISHED && tc->rcv_edge - tc->rcv_nxt < tc->net->rcv_buf / 4) {
        tc->flags |= TF_WND_CHECK;
        tcp_mark(tc);
    }
}

void tcp_pressure_pass(struct net *net)
{
    if (!net->pressure && net->q_segs > net->pressure_on)
        pressure_set(net, true);
    else if (net->pressure && net->q_segs < net->pressure_off)
        pressure_set(net, false);
    if (net->walk_ns > net->now_ns)
        return;
    uint32_t end = net->walk_at + WALK_CONNS;
    if (end > net->conns_used)
        end = net->conns_used;
    for (; net->walk_at < end; net->walk_at++) {
        struct tcp_conn *tc = &net->conns[net->walk_at];
        if (tc->state == TCP_CLOSED)
            continue;
        if (!net->pressure)
            reopen(tc);
        else if (stands_still(tc))
            park_queue(tc);
    }
    if (end < net->conns_used)
        return;
    net->walk_at = 0;
    net->walk_ns = net->pressure ? net->now_ns + ROUND_NS : UINT64_MAX;
}
