/* tcp_open: handshakes: a SYN for the listener (RFC 9293 3.10.7.2), the answer to ours (3.10.7.3), and
 * the ACK that completes a passive or simultaneous open (3.10.7.4, SYN-RECEIVED). */
#include <errno.h>

#include "dataplane/net/tcp_internal.h"
#include "engine/shard/config.h"

static uint32_t backlog_limit(const struct net *net)
{
    const struct engine_config *e = net->cfg.engine;
    uint32_t n = net->cfg.backlog;
    return e && e->tcp_backlog && e->tcp_backlog < n ? e->tcp_backlog : n;
}

/* Which MAC to answer to: the one that spoke, when the peer is our neighbour or speaks through the
 * gateway; NULL when an off-link source came from elsewhere: then the gateway is asked for. */
static const uint8_t *reply_mac(struct net *net, const struct tcp_seg *seg)
{
    struct ip_addr peer = tcp_seg_peer(seg), hop = net_next_hop(net, peer);
    if (ip_equal(hop, peer) || ip_is_unspecified(hop))
        return seg->mac;
    const struct neigh *g = neigh_find(net, hop);
    if (!g || g->state != NEIGH_KNOWN || memcmp(g->mac, seg->mac, 6) == 0)
        return seg->mac;
    return NULL;
}

static void take_peer_syn(struct tcp_conn *tc, const struct tcp_seg *seg,
                          const struct tcp_syn_opts *opts)
{
    uint32_t buf = tc->net->cfg.rcv_buf_bytes;
    tc->cold->irs = seg->seq;
    tc->rcv_nxt = tc->rcv_acked = seg->seq + 1;
    tc->rcv_edge = tc->rcv_nxt + (buf < 0xffff ? buf : 0xffff);
    tc->snd_wnd = seg->wnd; /* RFC 7323 2.2: the window in a SYN is never scaled */
    tc->cold->snd_wnd_max = seg->wnd;
    tc->snd_wl1 = seg->seq;
    tc->snd_wl2 = seg->ack;
    tcp_opt_negotiate(tc, seg, opts);
}

static bool cookie_came(struct net *net, struct tcp_seg *seg, struct tcp_syn_opts *opts, bool *ecn)
{
    return mac_is_unicast(seg->mac) && tcp_cookie_open(net, seg, opts, ecn);
}

/* An ACK that brought a cookie back: a connection in SYN-RECEIVED is made as if it had waited for it, and takes the segment. Where there
 * is no room nothing is said: the peer sends its text, and with it the cookie, again. */
static void cookie_input(struct net *net, struct tcp_seg *seg, const struct tcp_syn_opts *opts,
                         bool ecn)
{
    struct tcp_conn *tc =
        net_admits(net) ? tcp_conn_new(net, &seg->key, seg->hash, seg->peer6) : NULL;
    if (!tc) {
        STAT_INC(net->stats->drop_tcp_nomem);
        return;
    }
    STAT_INC(net->stats->tcp_passive_opens);
    tcp_state_set(tc, TCP_SYN_RCVD);
    if (ecn)
        tc->flags |= TF_ECN;
    tc->cold->iss = seg->ack - 1;
    tc->snd_una = tc->cold->recover = tc->cold->iss;
    tc->snd_nxt = seg->ack;
    struct tcp_seg syn = *seg;
    syn.seq--;
    take_peer_syn(tc, &syn, opts);
    tcp_conn_template(tc, reply_mac(net, seg));
    seg->tc = tc;
    tcp_input(net, seg);
}

void tcp_listen_input(struct net *net, struct tcp_seg *seg)
{
    struct stats_worker *st = net->stats;
    if (seg->flags & TH_RST) {
        (void)net_stray(net, seg->hash, tcp_seg_peer(seg));
        return;
    }
    if (!net->cfg.listen_port ||
        (uint16_t)(seg->key.local_port - net->cfg.listen_port) > net->cfg.listen_more) {
        STAT_INC(st->drop_tcp_port);
        if (!net->cfg.shared) /* else it is Linux's: one that came before the XDP program stood */
            tcp_send_rst_for(net, seg);
        return;
    }
    struct tcp_syn_opts opts;
    if (seg->flags & TH_ACK) {
        bool ecn;
        if (cookie_came(net, seg, &opts, &ecn)) {
            cookie_input(net, seg, &opts, ecn);
            return;
        }
        if (net_stray(net, seg->hash, tcp_seg_peer(seg)))
            return;
        STAT_INC(st->drop_tcp_flags);
        tcp_send_rst_for(net, seg);
        return;
    }
    if ((seg->flags & (TH_SYN | TH_FIN)) != TH_SYN || !mac_is_unicast(seg->mac)) {
        STAT_INC(st->drop_tcp_flags);
        return;
    }
    if (!tcp_opt_parse(seg, &opts)) {
        STAT_INC(st->drop_tcp_header);
        return;
    }
    /* In place of a connection in TIME-WAIT no cookie will do: the number must lie beyond the old ones. */
    if (net->half_open >= backlog_limit(net) && !seg->reuses && net_admits(net)) {
        tcp_cookie_send(net, seg, &opts, reply_mac(net, seg));
        return;
    }
    struct tcp_conn *tc =
        net_admits(net) ? tcp_conn_new(net, &seg->key, seg->hash, seg->peer6) : NULL;
    if (!tc) {
        STAT_INC(st->drop_tcp_nomem);
        return;
    }
    STAT_INC(st->tcp_passive_opens);
    tcp_state_set(tc, TCP_SYN_RCVD);
    tcp_trace_in(tc, seg);
    tc->flags |= TF_HALF_OPEN | TF_SYN_DUE;
    if ((seg->flags & (TH_ECE | TH_CWR)) == (TH_ECE | TH_CWR) && !net->cfg.no_ecn)
        tc->flags |= TF_ECN; /* RFC 3168 6.1.1 */
    net->half_open++;
    tc->cold->iss = tcp_isn(net, &seg->key, seg->peer6);
    /* RFC 9293 3.6.1 MAY-2 (1): the old connection may have sent more than the clock has ticked. */
    if (seg->reuses && seq_lt(tc->cold->iss, seg->reused_nxt))
        tc->cold->iss = seg->reused_nxt;
    tc->snd_una = tc->snd_nxt = tc->cold->recover = tc->cold->iss;
    take_peer_syn(tc, seg, &opts);
    tcp_conn_template(tc, reply_mac(net, seg));
    tcp_mark(tc);
}

/* Our SYN is acknowledged: the connection is open. */
static bool open_now(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    struct net *net = tc->net;
    struct tcp_cold *c = tc->cold;
    if (!c->retrans && c->last_tx_ns) /* else more than one was sent, or a cookie */
        tcp_rtt_sample(tc, net->now_ns - c->last_tx_ns);
    tc->snd_una = seg->ack;
    tc->snd_wl1 = seg->seq;
    tc->snd_wl2 = seg->ack;
    tcp_conn_established(tc);
    if (tc->flags & TF_ACTIVE) {
        net->app.connected(tc->cookie, tc, 0);
    } else {
        tc->cookie = net->app.accepted(net->app.ctx, tc);
        if (!tc->cookie) {
            STAT_INC(net->stats->connections_rejected);
            tcp_conn_reset(tc, 0, false);
        }
    }
    if (tc->state != TCP_CLOSED)
        tcp_ack_writable(tc);
    return tc->state != TCP_CLOSED;
}

bool tcp_syn_rcvd_ack(struct tcp_conn *tc, struct tcp_seg *seg)
{
    struct tcp_syn_opts opts;
    bool ecn;
    if (!seq_lt(tc->snd_una, seg->ack) || seq_lt(tc->snd_nxt, seg->ack)) {
        /* A SYN that was answered by a cookie and sent again before that came, when there was room: the
         * peer completes the first handshake. */
        if (!(tc->flags & TF_ACTIVE) && cookie_came(tc->net, seg, &opts, &ecn)) {
            struct net *net = tc->net;
            tcp_conn_kill(tc, 0, false); /* back to LISTEN */
            cookie_input(net, seg, &opts, ecn);
            return false;
        }
        STAT_INC(tc->net->stats->drop_tcp_ack);
        /* A SYN that came twice, by two queues, began two handshakes; the peer completed the other one. */
        if (!net_stray(tc->net, seg->hash, tcp_seg_peer(seg)))
            tcp_send_rst_for(tc->net, seg);
        return false;
    }
    tc->snd_wnd = seg->wnd << tc->snd_wscale;
    if (tc->snd_wnd > tc->cold->snd_wnd_max)
        tc->cold->snd_wnd_max = tc->snd_wnd;
    return open_now(tc, seg);
}

void tcp_syn_sent_input(struct tcp_conn *tc, struct tcp_seg *seg)
{
    struct net *net = tc->net;
    struct tcp_syn_opts opts;
    bool ack = seg->flags & TH_ACK;
    if (!tcp_opt_parse(seg, &opts)) {
        STAT_INC(net->stats->drop_tcp_header);
        return;
    }
    if (ack && seg->ack != tc->snd_nxt) { /* SND.UNA < SEG.ACK =< SND.NXT, one SYN in flight */
        STAT_INC(net->stats->drop_tcp_ack);
        tcp_send_rst_for(net, seg);
        return;
    }
    if (seg->flags & TH_RST) {
        if (ack) {
            STAT_INC(net->stats->tcp_in_rsts);
            tcp_conn_kill(tc, -ECONNREFUSED, true);
        }
        return;
    }
    if ((seg->flags & (TH_SYN | TH_FIN)) != TH_SYN || !mac_is_unicast(seg->mac)) {
        STAT_INC(net->stats->drop_tcp_flags);
        return;
    }
    tc->cold->last_rx_ns = net->now_ns;
    take_peer_syn(tc, seg, &opts);
    if (ack && (seg->flags & (TH_ECE | TH_CWR)) == TH_ECE && !net->cfg.no_ecn)
        tc->flags |= TF_ECN;
    tcp_conn_template(tc, reply_mac(net, seg));
    if (ack) {
        tcp_ack_now(tc);
        open_now(tc, seg);
        return; /* text in a SYN-ACK is sent again */
    }
    tcp_state_set(tc, TCP_SYN_RCVD); /* simultaneous open, RFC 9293 3.5 figure 8 */
    tc->flags |= TF_SYN_DUE;
    tcp_mark(tc);
}
