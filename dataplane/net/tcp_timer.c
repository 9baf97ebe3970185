/* tcp_timer: a connection's deadlines behind its one wheel entry, RTT and RTO (RFC 6298).
 *
 * Setting a deadline is a store unless it is earlier than the wheel entry; clearing one never touches
 * the wheel. The entry fires at the earliest deadline it was ever given, finds out what is really due
 * and is set again: once per entry instead of once per segment. */
#include <errno.h>

#include "dataplane/net/tcp_internal.h"
#include "engine/shard/config.h"

#define RTO_INITIAL_NS NSEC_PER_S /* RFC 6298 2.1 */
#define RTT_MAX_U      (1u << 26) /* 68 s */
#define BACKOFF_MAX    16
#define ORPHAN_PROBES  8 /* zero-window probes for a connection the application has left */
#define KEEP_OFF_NS    (60 * NSEC_PER_S) /* how often a switched-off keepalive looks at its config */

void tcp_rtt_init(struct tcp_conn *tc)
{
    tc->cold->srtt_x8 = 0;
    tc->cold->rttvar_x4 = 0;
    tc->cold->rto_u = RTO_INITIAL_NS >> TCP_RTT_SHIFT;
    tcp_rto_update(tc);
}

/* While SRTT, RTTVAR and all samples are at most m, both stay so, and the RTO (SRTT + 4 RTTVAR, each
 * rounded by less than a unit) is at most 5m + 3: at its floor, if that is no less. */
static void note_floor(const struct net *net, struct tcp_cold *c)
{
    uint32_t m = net->rto_min_u > 3 ? (net->rto_min_u - 3) / 5 : 0;
    bool low = c->srtt_x8 && c->srtt_x8 >> 3 <= m && c->rttvar_x4 >> 2 <= m;
    c->rtt_floor_u = low && c->rto_ns == net->rto_min_ns && !c->backoff ? m : 0;
}

void tcp_rto_update(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    uint64_t rto = ((uint64_t)c->rto_u << TCP_RTT_SHIFT) << c->backoff; /* RFC 6298 5.5 */
    uint64_t max = tc->net->rto_max_ns;
    c->rto_ns = rto < max ? rto : max;
    note_floor(tc->net, c);
}

void tcp_rto_from_rtt(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    const struct net *net = tc->net;
    uint64_t srtt = (uint64_t)(c->srtt_x8 >> 3) << TCP_RTT_SHIFT, min = net->rto_min_ns;
    uint64_t margin = (uint64_t)c->rttvar_x4 << TCP_RTT_SHIFT;
    /* On a long path whose RTT hardly varies 4 RTTVAR is next to nothing, and a queue that fills adds more
     * than that in a round trip: at least two round trips, but for these no more than the smallest RTO. */
    uint64_t least = 2 * srtt < min ? 2 * srtt : min;
    uint64_t rto = srtt + (margin > least ? margin : least);
    rto = rto < min ? min : rto > net->rto_max_ns ? net->rto_max_ns : rto;
    c->backoff = 0; /* a valid sample ends the back-off (Karn's algorithm, RFC 6298 5.7) */
    c->rto_u = (uint32_t)((rto + (1u << TCP_RTT_SHIFT) - 1) >> TCP_RTT_SHIFT);
    c->rto_ns = rto;
    note_floor(net, c);
}

/* RFC 6298 2.2 and 2.3. */
void tcp_rtt_sample(struct tcp_conn *tc, uint64_t rtt_ns)
{
    struct tcp_cold *c = tc->cold;
    uint64_t u = (rtt_ns >> TCP_RTT_SHIFT) + 1;
    uint32_t r = u > RTT_MAX_U ? RTT_MAX_U : (uint32_t)u;
    if (likely_(c->srtt_x8)) {
        tcp_rtt_smooth(c, r);
    } else {
        c->srtt_x8 = r << 3;
        c->rttvar_x4 = r << 1;
    }
    tcp_rto_from_rtt(tc);
}

void tcp_timer_hasten(struct tcp_conn *tc, uint64_t at_ns)
{
    uint64_t probe_ns = tcp_tlp_at_ns(tc); /* has no deadline of its own */
    if (probe_ns < at_ns)
        at_ns = probe_ns;
    tc->cold->timer_ns = at_ns;
    wheel_set(&tc->net->wheel, &tc->cold->timer, at_ns);
}

static void back_off(struct tcp_conn *tc)
{
    if (tc->cold->backoff < BACKOFF_MAX)
        tc->cold->backoff++;
    tcp_rto_update(tc);
}

/* Timeouts in a row: perhaps the peer moved (failover, migration), or what we learned was damaged, for
 * no checksum covers an Ethernet header or ARP. Takes what the neighbour table says, and asks. */
static void refresh_mac(struct tcp_conn *tc)
{
    struct net *net = tc->net;
    struct ip_addr hop = net_next_hop(net, tcp_peer_ip(tc));
    if (tc->cold->backoff < 2 || !net_on_link_ip(net, hop))
        return;
    const struct neigh *n = neigh_find(net, hop);
    if (n && neigh_fresh(net, n)) {
        memcpy(tc->cold->tmpl, n->mac, 6);
        tc->flags |= TF_MAC_KNOWN;
    }
    neigh_confirm(net, hop); /* the next timeout sees the answer */
}

static void syn_timeout(struct tcp_conn *tc)
{
    uint32_t limit = tc->flags & TF_ACTIVE ? LIMIT_TCP_SYN_RETRIES : LIMIT_TCP_SYNACK_RETRIES;
    if (tc->cold->retrans >= limit) {
        tcp_conn_kill(tc, -ETIMEDOUT, true);
        return;
    }
    back_off(tc);
    refresh_mac(tc);
    tc->cold->retrans++;
    STAT_INC(tc->net->stats->tcp_retrans_segs);
    tc->flags |= TF_SYN_DUE;
    tcp_mark(tc);
    tcp_timer_set(tc, TT_REXMIT, tc->net->now_ns + tcp_rto_ns(tc));
}

/* tcp-stall-timeout, our policy: the output is full, and for so long not an octet of it was acknowledged. */
static bool stalled(const struct tcp_conn *tc)
{
    const struct engine_config *e = tc->net->cfg.engine;
    uint64_t most = e ? e->tcp_stall_timeout_s : tc->net->cfg.stall_timeout_s;
    uint64_t since = tc->cold->rtx_since_ns;
    return most && since && (tc->flags & TF_WANT_WRITE) &&
           tc->net->now_ns - since >= most * NSEC_PER_S;
}

/* RFC 9293 3.8.3 R2 and 3.8.6.1: no end for a zero window that is acknowledged, unless the application
 * has left; else an end after tcp-user-timeout without progress. */
static bool given_up(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    uint64_t now = tc->net->now_ns, since = tc->snd_wnd ? c->rtx_since_ns : c->last_rx_ns;
    bool orphan = !tc->snd_wnd && (tc->flags & TF_APP_CLOSED) && c->backoff >= ORPHAN_PROBES;
    if (stalled(tc)) {
        STAT_INC(tc->net->stats->tcp_abort_stalled);
        tcp_conn_reset(tc, -ETIMEDOUT, true);
        return true;
    }
    const struct engine_config *e = tc->net->cfg.engine;
    uint64_t most = e ? e->tcp_user_timeout_s : tc->net->cfg.user_timeout_s;
    if (!orphan && (!since || now - since < most * NSEC_PER_S))
        return false;
    STAT_INC(tc->net->stats->tcp_abort_timeout);
    tcp_conn_reset(tc, -ETIMEDOUT, true);
    return true;
}

static void on_rexmit(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    struct net *net = tc->net;
    if (tc->state == TCP_SYN_SENT || tc->state == TCP_SYN_RCVD) {
        syn_timeout(tc);
        return;
    }
    if (tc->snd_una == tc->snd_nxt || tcp_tlp_fire(tc))
        return;
    if (!c->rtx_since_ns)
        c->rtx_since_ns = net->now_ns;
    if (given_up(tc))
        return;
    if (!tc->snd_wnd) { /* what is out is a probe: not congestion */
        STAT_INC(net->stats->tcp_zero_window_probes);
        tcp_queue_mark_lost(tc, false);
    } else {
        STAT_INC(net->stats->tcp_timeouts);
        tcp_recovery_timeout(tc);
        tcp_pmtu_blackhole(tc);
    }
    back_off(tc);
    refresh_mac(tc);
    tcp_timer_set(tc, TT_REXMIT, net->now_ns + tcp_rto_ns(tc));
    tcp_mark(tc);
}

static void on_persist(struct tcp_conn *tc)
{
    if (!tc->q_unsent || tc->snd_una != tc->snd_nxt)
        return;
    if (!tc->cold->rtx_since_ns)
        tc->cold->rtx_since_ns = tc->net->now_ns;
    if (given_up(tc))
        return;
    STAT_INC(tc->net->stats->tcp_zero_window_probes);
    tc->flags |= TF_PROBE_DUE;
    back_off(tc);
    tcp_mark(tc);
}

static void on_starved(struct tcp_conn *tc)
{
    if (!(tc->flags & TF_WANT_WRITE))
        return;
    if (net_admits(tc->net))
        tcp_ack_writable(tc);
    else
        tcp_timer_set(tc, TT_STARVED, tc->net->now_ns + NSEC_PER_MS);
}

static uint64_t keepalive_ns(const struct net *net)
{
    const struct engine_config *e = net->cfg.engine;
    return (e ? e->tcp_keepalive_s : net->cfg.keepalive_s) * NSEC_PER_S;
}

void tcp_keepalive_start(struct tcp_conn *tc)
{
    uint64_t period = keepalive_ns(tc->net);
    tcp_timer_set(tc, TT_LIFE, tc->net->now_ns + (period ? period : KEEP_OFF_NS));
}

/* RFC 1122 4.2.3.6: probes only an idle connection; one answer of any kind starts anew. */
static void on_keepalive(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    struct net *net = tc->net;
    uint64_t period = keepalive_ns(net), idle = net->now_ns - c->last_rx_ns;
    if (!period || tc->snd_una != tc->snd_nxt || idle < period) {
        c->keep_sent = 0;
        uint64_t left = !period || idle >= period ? 0 : period - idle;
        tcp_timer_set(tc, TT_LIFE, net->now_ns + (left ? left : period ? period : KEEP_OFF_NS));
        return;
    }
    if (c->keep_sent >= net->cfg.keepalive_probes) {
        STAT_INC(net->stats->tcp_keepalive_drops);
        tcp_conn_reset(tc, -ETIMEDOUT, true);
        return;
    }
    c->keep_sent++;
    tc->flags |= TF_KEEP_DUE;
    tcp_mark(tc);
    uint64_t interval = net->cfg.keepalive_interval_s * NSEC_PER_S;
    tcp_timer_set(tc, TT_LIFE, net->now_ns + (interval ? interval : NSEC_PER_S));
}

static void on_life(struct tcp_conn *tc)
{
    switch (tc->state) {
    case TCP_ESTABLISHED:
    case TCP_CLOSE_WAIT: on_keepalive(tc); return;
    case TCP_FIN_WAIT_2: tcp_conn_kill(tc, -ETIMEDOUT, true); return;
    case TCP_TIME_WAIT: tcp_conn_kill(tc, 0, tc->flags & TF_NOTIFY); return;
    default: return; /* the retransmission timer sees to the others */
    }
}

static void on_reo(struct tcp_conn *tc)
{
    tcp_care(tc); /* the output pass of this turn looks */
}

static void on_delack(struct tcp_conn *tc)
{
    if (!(tc->flags & (TF_ACK_DELAYED | TF_DUP_ACKS)))
        return;
    if (tc->flags & TF_ACK_DELAYED)
        STAT_INC(tc->net->stats->tcp_delayed_acks);
    tcp_ack_now(tc);
}

static void trace_timer(struct tcp_conn *tc, int t)
{
    uint64_t rto_ms = tc->cold->rto_ns / NSEC_PER_MS;
    if (tcp_traced(tc))
        tcp_trace_put(
            tc, (struct tcp_event){.kind = TR_TIMER,
                                   .what = (uint8_t)t,
                                   .seq = tc->snd_una,
                                   .ack = tc->snd_nxt,
                                   .wnd = tc->cwnd,
                                   .len = rto_ms < UINT16_MAX ? (uint16_t)rto_ms : UINT16_MAX});
}

static void conn_timers(struct tcp_conn *tc)
{
    static void (*const handler[TT_COUNT])(struct tcp_conn *) = {
        [TT_REXMIT] = on_rexmit,   [TT_PERSIST] = on_persist, [TT_DELACK] = on_delack,
        [TT_STARVED] = on_starved, [TT_LIFE] = on_life,       [TT_REO] = on_reo,
    };
    struct tcp_cold *c = tc->cold;
    c->timer_ns = UINT64_MAX;
    if (tcp_tlp_at_ns(tc) <= tc->net->now_ns)
        tcp_tlp_fire(tc);
    for (int t = 0; t < TT_COUNT; t++) {
        if (c->deadline_ns[t] > tc->net->now_ns)
            continue;
        c->deadline_ns[t] = UINT64_MAX;
        if (t != TT_DELACK)
            trace_timer(tc, t);
        handler[t](tc);
        if (tc->state == TCP_CLOSED)
            return;
    }
    uint64_t next = tcp_tlp_at_ns(tc);
    for (int t = 0; t < TT_COUNT; t++)
        next = c->deadline_ns[t] < next ? c->deadline_ns[t] : next;
    if (next < c->timer_ns) {
        c->timer_ns = next;
        wheel_set(&tc->net->wheel, &c->timer, next);
    }
}

void tcp_timers_run(struct net *net)
{
    wheel_advance(&net->wheel, net->now_ns);
    struct wheel_node *n;
    for (uint32_t left = WHEEL_BUDGET; left && (n = wheel_pop(&net->wheel)) != NULL; left--) {
        struct tcp_cold *c = list_entry(n, struct tcp_cold, timer);
        conn_timers(&net->conns[c - net->cold]);
    }
}
