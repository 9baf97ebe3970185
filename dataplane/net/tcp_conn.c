/* tcp_conn: life and death of connection records, and the application's calls on them.
 *
 *   tcp_conn_new -> (handshake) -> tcp_conn_established -> ... -> tcp_conn_kill -> tcp_reap
 * tcp_conn_kill makes a record inert at once (CLOSED, out of the flow table, queues freed); tcp_reap
 * tells the application and gives the record back when no caller can hold a pointer to it any more.
 * So callbacks may close any connection, the current one included. */
#include <errno.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_internal.h"
#include "engine/shard/config.h"

/* RFC 6528 3: ISN = M + F(4-tuple, secret), M ticking every 4 us. */
uint32_t tcp_isn(const struct net *net, const struct flow_key *key, struct ip_addr peer)
{
    uint32_t f = (uint32_t)siphash24(&net->keys->isn, key, sizeof(*key));
    if (flow_key_is6(key))
        f += (uint32_t)siphash24(&net->keys->isn, &peer, sizeof(peer));
    return (uint32_t)(net->now_ns >> 12) + f;
}

static void time_wait_leave(struct tcp_conn *tc)
{
    list_remove(&tc->cold->link);
    tc->net->time_wait_count--;
    STAT_SET(tc->net->stats->tcp_time_wait, tc->net->time_wait_count);
}

/* Its entry of net->loss, all zero; memory that was never written stays so. */
static struct tcp_loss *loss_of(struct net *net, uint32_t index)
{
    static const struct tcp_loss none;
    struct tcp_loss *l = &net->loss[index];
    /* Padding may differ too: then it is written in vain. */
    if (memcmp(l, &none, sizeof(none)) != 0) /* NOLINT(bugprone-suspicious-memory-comparison) */
        *l = none;
    return l;
}

/* The oldest ends early. */
static void time_wait_recycle(struct net *net)
{
    struct tcp_cold *oldest = list_entry(net->time_wait.next, struct tcp_cold, link);
    struct tcp_conn *tw = &net->conns[oldest - net->cold];
    STAT_INC(net->stats->tcp_time_wait_recycled);
    tcp_conn_kill(tw, 0, tw->flags & TF_NOTIFY);
}

struct tcp_conn *tcp_conn_new(struct net *net, const struct flow_key *key, uint64_t hash,
                              struct ip_addr peer)
{
    /* Ahead of need, because a record that ends now is free only after the next reap. */
    uint32_t low = net->cfg.max_conns / 4 < 32 ? net->cfg.max_conns / 4 : 32;
    if (unlikely_(net->free_count <= low) && !list_empty(&net->time_wait))
        time_wait_recycle(net);
    if (unlikely_(!net->free_count))
        return NULL;
    uint32_t index = net->free_conns[--net->free_count];
    if (unlikely_(index >= net->conns_used))
        net->conns_used = index + 1;
    struct tcp_conn *tc = &net->conns[index];
    struct tcp_cold *c = &net->cold[index];
    uint32_t generation = tc->generation + 1;
    *tc = (struct tcp_conn){.key = *key,
                            .flags = flow_key_is6(key) ? TF_V6 : 0,
                            .net = net,
                            .cold = c,
                            .generation = generation};
    *c = (struct tcp_cold){.loss = loss_of(net, index),
                           .peer6 = peer,
                           .timer_ns = UINT64_MAX,
                           .cc = tcp_cc_get(net->cfg.congestion)};
    for (int i = 0; i < TT_COUNT; i++)
        c->deadline_ns[i] = UINT64_MAX;
    wheel_node_init(&c->timer);
    list_init(&c->link);
    c->last_rx_ns = net->now_ns;
    c->ts_offset = tcp_ts_offset(hash);
    tc->rcv_mss = 536;
    tcp_rtt_init(tc);
    if (unlikely_(net->trace.all))
        tc->flags |= TF_TRACE;
    tcp_trace(tc, TR_OPEN, 0, 0);
    flow_insert(&net->flow, hash, index);
    STAT_ADD(net->stats->tcp_conns, 1);
    return tc;
}

/* The template's IP header, in IPv6 without its addresses, and where it ends; *sum: its share of the TCP checksum (the pseudo
 * header less the length). */
static uint8_t *template_ip(struct tcp_conn *tc, uint8_t *l3, uint64_t *sum)
{
    struct tcp_cold *c = tc->cold;
    if (tcp_is6(tc)) {
        struct ip6_hdr ip;
        ip6_write(&ip, tcp_local_ip(tc), c->peer6, IP_PROTO_TCP, 64, 0);
        if (tc->flags & TF_ECN)
            ip.ver_flow = be32(6u << 28 | IP_ECT0 << 20);
        memcpy(l3, &ip, offsetof(struct ip6_hdr, src));
        *sum = ip6_pseudo_sum(&ip, 0, IP_PROTO_TCP);
        return l3 + offsetof(struct ip6_hdr, src);
    }
    struct ip4_hdr *ip = (struct ip4_hdr *)(void *)l3;
    ip4_write(ip, tc->key.local_ip, tc->key.peer_ip, IP_PROTO_TCP, 0);
    if (tc->flags & TF_ECN)
        ip->tos = IP_ECT0; /* of new text; tcp_output.c takes it off the rest */
    ip->total_len = be16(0);
    ip->csum = 0;
    c->ip_sum = csum_fold(csum_ip4_20(ip));
    *sum = ip4_pseudo_sum(ip, 0);
    return l3 + sizeof(*ip);
}

/* Fills what never changes in our headers and sums it once. mac NULL: not known yet. */
void tcp_conn_template(struct tcp_conn *tc, const uint8_t *mac)
{
    static const uint8_t unknown[6];
    struct net *net = tc->net;
    struct tcp_cold *c = tc->cold;
    unsigned l2 = eth_len(net);
    uint8_t *l3 = c->tmpl + l2;
    uint64_t pseudo;
    struct tcp_hdr *th = (struct tcp_hdr *)(void *)template_ip(tc, l3, &pseudo);
    uint8_t *opt = (uint8_t *)(th + 1);
    unsigned opt_len = tc->flags & TF_TS ? 12 : 0;

    eth_write(net, l3, mac ? mac : unknown, tcp_is6(tc) ? ETH_TYPE_IP6 : ETH_TYPE_IP4);
    if (mac)
        tc->flags |= TF_MAC_KNOWN;
    *th = (struct tcp_hdr){.sport = be16(tc->key.local_port), .dport = be16(tc->key.peer_port)};
    th->off = (uint8_t)((sizeof(*th) + opt_len) / 4 << 4);
    if (opt_len) {
        static const uint8_t ts[4] = {1, 1, 8, 10}; /* RFC 7323 appendix A */
        memcpy(opt, ts, sizeof(ts));
        memset(opt + 4, 0, 8);
    }
    /* The pseudo header's length and the offset, flags and window word are added per segment. */
    uint8_t off = th->off;
    th->off = 0;
    c->tcp_sum = csum_fold(csum_add(th, sizeof(*th) + opt_len, pseudo));
    th->off = off;
    c->l2_len = (uint8_t)l2;
    c->tmpl_len = (uint8_t)(l2 + tcp_ip_bytes(tc) + sizeof(*th) + opt_len);
}

static void half_open_leave(struct tcp_conn *tc)
{
    if (tc->flags & TF_HALF_OPEN) {
        tc->flags &= ~TF_HALF_OPEN;
        tc->net->half_open--;
    }
}

/* The handshake is complete: MSS and template are final, the clocks of an open connection start. */
void tcp_conn_established(struct tcp_conn *tc)
{
    struct net *net = tc->net;
    half_open_leave(tc);
    tcp_state_set(tc, TCP_ESTABLISHED);
    tc->flags |= TF_ESTAB;
    STAT_ADD(net->stats->tcp_curr_estab, 1);
    tc->cold->backoff = 0;
    tcp_rto_update(tc);
    /* RFC 5681 3.1: after a lost SYN the initial window is one segment. */
    tc->cwnd = (tc->cold->retrans ? 1 : net->cfg.initial_window_segs) * tc->mss;
    tc->cold->ssthresh = TCP_CWND_MAX;
    tc->cold->cc->init(tc);
    tcp_timer_clear(tc, TT_REXMIT);
    tcp_keepalive_start(tc);
}

void tcp_reap_later(struct tcp_conn *tc)
{
    if (!(tc->flags & TF_REAP)) {
        tc->flags |= TF_REAP;
        tc->net->reap[tc->net->reap_count++] = tcp_index(tc);
    }
}

static void estab_leave(struct tcp_conn *tc)
{
    if (tc->flags & TF_ESTAB) {
        tc->flags &= ~TF_ESTAB;
        STAT_ADD(tc->net->stats->tcp_curr_estab, -1ull);
    }
}

void tcp_conn_kill(struct tcp_conn *tc, int err, bool notify)
{
    struct net *net = tc->net;
    if (tc->state == TCP_CLOSED)
        return;
    if (tc->state == TCP_TIME_WAIT)
        time_wait_leave(tc);
    if (tc->state == TCP_SYN_SENT || tc->state == TCP_SYN_RCVD)
        STAT_INC(net->stats->tcp_attempt_fails);
    else if (err == -ECONNRESET && (tc->flags & TF_ESTAB))
        STAT_INC(net->stats->tcp_estab_resets);
    tcp_trace(tc, TR_CLOSED, 0, (uint32_t)-err);
    if (err && notify && (tc->flags & TF_ESTAB) && tcp_traced(tc))
        tcp_trace_keep(tc, err);
    half_open_leave(tc);
    estab_leave(tc);
    flow_remove(&net->flow, flow_hash(&net->flow, &tc->key), tcp_index(tc));
    wheel_cancel(&net->wheel, &tc->cold->timer);
    tc->cold->timer_ns = UINT64_MAX;
    tcp_queue_free(tc);
    tcp_ooo_free(tc);
    if (notify && tc->cookie) {
        tc->flags |= TF_NOTIFY;
        if (err && (tc->state == TCP_SYN_SENT || tc->state == TCP_SYN_RCVD))
            tc->flags |= TF_CONN_OWED; /* an active open: the others have no cookie yet */
        tc->cold->close_err = (int16_t)err;
    } else if (!notify) {
        tc->flags &= ~TF_NOTIFY;
    }
    tc->state = TCP_CLOSED;
    tcp_reap_later(tc);
}

void tcp_conn_reset(struct tcp_conn *tc, int err, bool notify)
{
    if (tc->state == TCP_CLOSED)
        return;
    tcp_send_rst(tc);
    tcp_conn_kill(tc, err, notify);
}

/* RFC 9293 3.6.1: both FINs are acknowledged; the record stays to answer what was delayed. */
void tcp_conn_time_wait(struct tcp_conn *tc)
{
    struct net *net = tc->net;
    estab_leave(tc);
    tcp_queue_free(tc);
    tcp_ooo_free(tc);
    tcp_state_set(tc, TCP_TIME_WAIT);
    list_push_back(&net->time_wait, &tc->cold->link);
    net->time_wait_count++;
    if (net->cfg.time_wait_max && net->time_wait_count > net->cfg.time_wait_max)
        time_wait_recycle(net);
    STAT_SET(net->stats->tcp_time_wait, net->time_wait_count);
    for (int i = 0; i < TT_COUNT; i++)
        tcp_timer_clear(tc, (enum tcp_timer)i);
    tcp_timer_set(tc, TT_LIFE, net->now_ns + net->cfg.time_wait_ms * NSEC_PER_MS);
    if (tc->cookie) {
        tc->flags |= TF_NOTIFY;
        tc->cold->close_err = 0;
        tcp_reap_later(tc);
    }
}

/* Tells the application and frees records. A callback may add to the list: the loop takes that in. */
void tcp_reap(struct net *net)
{
    for (uint32_t i = 0; i < net->reap_count; i++) {
        struct tcp_conn *tc = &net->conns[net->reap[i]];
        tc->flags &= ~TF_REAP;
        if (tc->flags & TF_NOTIFY) {
            void *cookie = tc->cookie;
            tc->flags &= ~TF_NOTIFY;
            tc->cookie = NULL;
            if (tc->flags & TF_CONN_OWED)
                net->app.connected(cookie, tc, tc->cold->close_err);
            else
                net->app.closed(cookie, tc->cold->close_err);
        }
        /* A dirty one is still in net->dirty: net_output hands it in again. */
        if (tc->state != TCP_CLOSED || (tc->flags & (TF_REAP | TF_DIRTY)))
            continue;
        STAT_ADD(net->stats->tcp_conns, -1ull);
        net->free_conns[net->free_count++] = net->reap[i];
    }
    net->reap_count = 0;
}

void tcp_conns_free(struct net *net)
{
    for (uint32_t i = 0; i < net->cfg.max_conns; i++) {
        struct tcp_conn *tc = &net->conns[i];
        if (!tc->net)
            continue;
        tcp_queue_free(tc);
        tcp_ooo_free(tc);
    }
}

/* ---- the application's calls ---- */

struct tcp_conn *tcp_connect(struct net *net, uint32_t peer_ip, uint16_t peer_port,
                             uint16_t local_port, void *cookie, uint64_t now_ns)
{
    return tcp_connect_to(net, ip_from_v4(peer_ip), peer_port, local_port, cookie, now_ns);
}

struct tcp_conn *tcp_connect_to(struct net *net, struct ip_addr peer, uint16_t peer_port,
                                uint16_t local_port, void *cookie, uint64_t now_ns)
{
    net_set_now(net, now_ns);
    struct flow_key key = {ip_v4(peer), net->cfg.ip, peer_port, local_port};
    if (ip_is_v4(peer) ? !ip4_source_ok(net, ip_v4(peer)) /* RFC 9293 3.9.2.3 MUST-46 */
                       : ip_is_multicast6(peer) || ip_is_unspecified(peer))
        return NULL;
    if (!ip_is_v4(peer)) {
        int local = ip6_source_for(net, peer);
        if (local < 0)
            return NULL;
        key.peer_ip = flow_peer6(&net->flow, peer);
        key.local_ip = (uint32_t)local;
    } else if (!net->cfg.ip) {
        return NULL;
    }
    uint64_t hash = 0;
    for (uint32_t tries = local_port ? 1 : 16384;; tries--) {
        if (!tries)
            return NULL;
        if (!local_port) /* RFC 6056: the dynamic range, from a start that is not told */
            key.local_port = (uint16_t)(49152 + net->ephemeral_port++ % 16384);
        hash = flow_hash(&net->flow, &key);
        if ((flow_key_is6(&key) ? flow_find6(&net->flow, &key, hash, peer)
                                : flow_find(&net->flow, &key, hash)) == FLOW_NONE)
            break;
    }
    struct tcp_conn *tc = tcp_conn_new(net, &key, hash, peer);
    if (!tc)
        return NULL;
    struct tcp_cold *c = tc->cold;
    tc->cookie = cookie;
    tcp_state_set(tc, TCP_SYN_SENT);
    tc->flags |= TF_ACTIVE | TF_SYN_DUE;
    tc->rcv_wscale = tcp_opt_wscale(net->cfg.rcv_buf_bytes);
    c->iss = tcp_isn(net, &key, peer);
    tc->snd_una = c->iss;
    tc->snd_nxt = c->iss;
    c->recover = c->iss;
    tcp_mss_set(tc, 536);
    tcp_conn_template(tc, NULL);
    STAT_INC(net->stats->tcp_active_opens);
    tcp_mark(tc);
    return tc;
}

void tcp_addr(const struct tcp_conn *tc, struct tcp_addr *ret)
{
    *ret =
        (struct tcp_addr){tcp_local_ip(tc), tcp_peer_ip(tc), tc->key.local_port, tc->key.peer_port};
}

void tcp_info(const struct tcp_conn *tc, struct tcp_info *ret)
{
    uint32_t fin = tc->flags & TF_FIN_SENT ? 1 : 0, flight = tcp_flight(tc);
    uint32_t unacked = flight > fin ? flight - fin : 0;
    if (unacked > tc->tx_queued) /* a SYN in flight */
        unacked = tc->tx_queued;
    *ret = (struct tcp_info){.state = tc->state,
                             .srtt_us = (uint32_t)(((uint64_t)tc->cold->srtt_x8 << 7) / 1000),
                             .rto_us = (uint32_t)(((uint64_t)tc->cold->rto_u << 10) / 1000),
                             .cwnd = tc->cwnd,
                             .ssthresh = tc->cold->ssthresh,
                             .snd_wnd = tc->snd_wnd,
                             .rcv_wnd = tc->rcv_edge - tc->rcv_nxt,
                             .mss = tc->mss,
                             .unacked_bytes = unacked,
                             .unsent_bytes = tc->tx_queued - unacked,
                             .ooo_bytes = tc->ooo_bytes,
                             .retrans = tc->cold->retrans,
                             .sacked_bytes = tc->cold->sacked_bytes,
                             .lost_bytes = tc->cold->lost_bytes,
                             .congestion = tc->cold->cc->name};
}

const char *tcp_state_name(uint8_t state)
{
    static const char *const names[] = {"CLOSED",     "SYN_SENT",   "SYN_RCVD",   "ESTABLISHED",
                                        "CLOSE_WAIT", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSING",
                                        "LAST_ACK",   "TIME_WAIT"};
    return state < ARRAY_LEN(names) ? names[state] : "?";
}

void tcp_rx_hold(struct tcp_conn *tc, size_t bytes)
{
    uint32_t held = bytes > 1u << 30 ? 1u << 30 : (uint32_t)bytes;
    if (held < tc->rx_hold && tc->state != TCP_CLOSED) {
        tc->flags |= TF_WND_CHECK;
        tcp_mark(tc);
    }
    tc->rx_hold = held;
}

void tcp_close(struct tcp_conn *tc)
{
    if (tc->flags & TF_APP_CLOSED)
        return;
    switch (tc->state) {
    case TCP_SYN_SENT:
        tcp_conn_kill(tc, 0, true); /* RFC 9293 3.10.4: delete the TCB */
        return;
    case TCP_SYN_RCVD:
    case TCP_ESTABLISHED:
    case TCP_CLOSE_WAIT:
        if (tc->rx_hold) { /* RFC 9293 3.6.1, RFC 2525 2.17: data was lost, say so */
            tcp_conn_reset(tc, 0, true);
            return;
        }
        tc->flags |= TF_APP_CLOSED;
        tcp_mark(tc);
        return;
    default: return;
    }
}

void tcp_abort(struct tcp_conn *tc)
{
    tc->flags &= ~(TF_NOTIFY | TF_CONN_OWED);
    tc->cookie = NULL;
    if (tc->state == TCP_TIME_WAIT)
        return;
    tcp_conn_reset(tc, 0, false);
}
