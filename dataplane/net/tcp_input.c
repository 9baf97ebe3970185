/* tcp_input: a segment for a connection, in the order of RFC 9293 3.10.7.4. The common case (open
 * connection, next in order, nothing odd) is decided by one test and takes the short way. */
#include <errno.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_internal.h"

#define TS_HEAD      0x0a080101                   /* NOP NOP 8 10 as a load: RFC 7323 appendix A */
#define PAWS_IDLE_NS (24ull * 86400 * NSEC_PER_S) /* RFC 7323 5.5 */

/* RFC 5961 7: challenge ACKs (and ACKs for segments outside the window that carry no data, which two
 * confused ends could exchange for ever) are throttled per connection, never by a shared counter. */
void tcp_challenge_ack(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    uint64_t now = tc->net->now_ns;
    if (now - c->challenge_ns >= NSEC_PER_S) {
        c->challenge_ns = now;
        c->challenge_count = 0;
    }
    if (c->challenge_count >= LIMIT_TCP_CHALLENGE_PER_S)
        return;
    c->challenge_count++;
    STAT_INC(tc->net->stats->tcp_challenge_acks);
    tcp_ack_now(tc);
}

/* RFC 9293 3.4 table 6. */
static bool acceptable(const struct tcp_conn *tc, const struct tcp_seg *seg)
{
    uint32_t len = seg->len + !!(seg->flags & TH_SYN) + !!(seg->flags & TH_FIN);
    uint32_t wnd = tc->rcv_edge - tc->rcv_nxt;
    bool first_in = seg->seq - tc->rcv_nxt < wnd;
    if (!len)
        return wnd ? first_in : seg->seq == tc->rcv_nxt;
    /* With no window a segment at its edge still counts for its ACK, its text is cut off. */
    if (!wnd)
        return seg->seq == tc->rcv_nxt;
    return first_in || seg->seq + len - 1 - tc->rcv_nxt < wnd;
}

/* RFC 7323 5.3 R1-R3 and 3.2. False: dropped. */
static bool timestamps_ok(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    struct tcp_cold *c = tc->cold;
    uint64_t now = tc->net->now_ns;
    if (!(tc->flags & TF_TS) || (seg->flags & TH_RST))
        return true;
    if (!seg->has_ts) {
        STAT_INC(tc->net->stats->drop_tcp_no_timestamp);
        return false;
    }
    if (seq_lt(seg->tsval, tc->ts_recent)) {
        if (now - c->ts_recent_ns < PAWS_IDLE_NS) {
            STAT_INC(tc->net->stats->drop_tcp_paws);
            tcp_ack_now(tc);
            return false;
        }
        tc->ts_recent = seg->tsval; /* older than the clock can tell: RFC 7323 5.5 */
        c->ts_recent_ns = now;
    }
    return true;
}

/* RFC 7323 4.3: the echo is the timestamp of the segment that our next ACK answers. */
static inline void take_timestamp(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    if (seq_le(seg->seq, tc->rcv_acked) && seq_le(tc->ts_recent, seg->tsval)) {
        tc->ts_recent = seg->tsval;
        tc->cold->ts_recent_ns = tc->net->now_ns;
    }
}

/* Step one failed: not in the window. */
static void not_acceptable(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    if (seg->len == 0 || seg->seq + seg->len != tc->rcv_nxt)
        STAT_INC(tc->net->stats->drop_tcp_window);
    if (seg->flags & TH_RST)
        return;
    if (tc->state == TCP_SYN_RCVD && (seg->flags & (TH_SYN | TH_ACK)) == TH_SYN &&
        seg->seq == tc->cold->irs) { /* our SYN-ACK was lost, or went to a damaged address */
        if (mac_is_unicast(seg->mac) && net_on_link(tc->net, tc->key.peer_ip))
            memcpy(tc->cold->tmpl, seg->mac, 6);
        tc->flags |= TF_SYN_DUE;
        tcp_mark(tc);
        return;
    }
    if (tc->state == TCP_TIME_WAIT && (seg->flags & TH_FIN)) /* our last ACK was lost */
        tcp_timer_set(tc, TT_LIFE, tc->net->now_ns + tc->net->cfg.time_wait_ms * NSEC_PER_MS);
    if (seg->len || (seg->flags & TH_FIN))
        tcp_ack_now(tc); /* data tells of a lost ACK: answered always, once per pass */
    else
        tcp_challenge_ack(tc);
}

/* Step two: RFC 9293 3.10.7.4 with RFC 5961 3.2. */
static void rst_input(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    if (seg->seq != tc->rcv_nxt) { /* inside the window, but not where the peer must be */
        tcp_challenge_ack(tc);
        return;
    }
    STAT_INC(tc->net->stats->tcp_in_rsts);
    switch (tc->state) {
    case TCP_SYN_RCVD: tcp_conn_kill(tc, -ECONNREFUSED, true); return;
    case TCP_CLOSING:
    case TCP_LAST_ACK: tcp_conn_kill(tc, 0, true); return;
    case TCP_TIME_WAIT: tcp_conn_kill(tc, 0, tc->flags & TF_NOTIFY); return;
    default: tcp_conn_kill(tc, -ECONNRESET, true); return;
    }
}

/* What an acknowledged FIN does to the state. */
static void fin_acked(struct tcp_conn *tc)
{
    switch (tc->state) {
    case TCP_FIN_WAIT_1:
        tc->state = TCP_FIN_WAIT_2;
        tcp_timer_set(tc, TT_LIFE, tc->net->now_ns + LIMIT_TCP_FIN_WAIT2_S * NSEC_PER_S);
        return;
    case TCP_CLOSING: tcp_conn_time_wait(tc); return;
    case TCP_LAST_ACK: tcp_conn_kill(tc, 0, true); return;
    default: return;
    }
}

/* Steps seven and eight, by state. */
static void text_and_fin(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    bool fin = seg->flags & TH_FIN;
    switch (tc->state) {
    case TCP_ESTABLISHED:
    case TCP_FIN_WAIT_1:
    case TCP_FIN_WAIT_2:
        if (!seg->len && !fin)
            return;
        /* RFC 9293 3.6.1: new data for an application that has left is lost: say so. */
        if ((tc->flags & TF_APP_CLOSED) && seg->len && seq_lt(tc->rcv_nxt, seg->seq + seg->len)) {
            tcp_conn_reset(tc, -ECONNRESET, true);
            return;
        }
        tcp_text_input(tc, seg->seq, seg->data, seg->len, fin);
        return;
    case TCP_TIME_WAIT:
        if (fin)
            tcp_timer_set(tc, TT_LIFE, tc->net->now_ns + tc->net->cfg.time_wait_ms * NSEC_PER_MS);
        if (fin || seg->len)
            tcp_ack_now(tc);
        return;
    default: return; /* the peer's FIN was seen: no text can follow it */
    }
}

static void input_slow(struct tcp_conn *tc, struct tcp_seg *seg)
{
    struct net *net = tc->net;
    if (tc->state == TCP_SYN_SENT) {
        tcp_syn_sent_input(tc, seg);
        return;
    }
    if (!tcp_opt_parse(seg, NULL)) {
        STAT_INC(net->stats->drop_tcp_header);
        return;
    }
    /* TIME_WAIT gives way to a new incarnation that cannot be mistaken for the old one (RFC 6191,
     * RFC 9293 3.6.1 MAY-2): newer timestamp or sequence number beyond all that was received. */
    if (tc->state == TCP_TIME_WAIT && (seg->flags & (TH_SYN | TH_ACK | TH_RST)) == TH_SYN &&
        (seg->has_ts && (tc->flags & TF_TS) ? seq_lt(tc->ts_recent, seg->tsval)
                                            : seq_lt(tc->rcv_nxt, seg->seq))) {
        tcp_conn_kill(tc, 0, tc->flags & TF_NOTIFY);
        tcp_listen_input(net, seg);
        return;
    }
    if (!timestamps_ok(tc, seg))
        return;
    if (!acceptable(tc, seg)) { /* one */
        not_acceptable(tc, seg);
        return;
    }
    tc->cold->last_rx_ns = net->now_ns;
    if (seg->flags & TH_RST) { /* two */
        rst_input(tc, seg);
        return;
    }
    if (seg->has_ts && (tc->flags & TF_TS))
        take_timestamp(tc, seg);
    if (seg->flags & TH_SYN) { /* four: RFC 5961 4.2 */
        if (tc->state == TCP_SYN_RCVD && !(tc->flags & TF_ACTIVE))
            tcp_conn_kill(tc, 0, false); /* back to LISTEN */
        else
            tcp_challenge_ack(tc);
        return;
    }
    if (!(seg->flags & TH_ACK)) { /* five */
        STAT_INC(net->stats->drop_tcp_flags);
        return;
    }
    if (tc->state == TCP_SYN_RCVD && !tcp_syn_rcvd_ack(tc, seg))
        return;
    if (!tcp_ack_input(tc, seg))
        return;
    if (tcp_fin_acked(tc))
        fin_acked(tc);
    if (tc->state == TCP_CLOSED)
        return;
    text_and_fin(tc, seg); /* seven, eight; urgent data is ordinary data (RFC 6093) */
    if (tc->flags & TF_WANT_WRITE)
        tcp_ack_writable(tc);
}

/* Both checksums of a plain frame; l4: TCP bytes. The addresses stand in front of the TCP header, so
 * one pass sums them with it. */
static inline bool checksums_ok(const struct net *net, const struct rte_mbuf *m,
                                const struct ip4_hdr *ip, uint32_t l4)
{
    const uint64_t good = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
    const uint64_t bad = RTE_MBUF_F_RX_IP_CKSUM_BAD | RTE_MBUF_F_RX_L4_CKSUM_BAD;
    if (net->wire.rx_checksum) {
        if (m->ol_flags & bad) /* or one of the codes that share the bit */
            return false;
        if ((m->ol_flags & good) == good)
            return true;
    }
    uint64_t pseudo = (uint64_t)be16(IP_PROTO_TCP).raw + be16((uint16_t)l4).raw;
    return csum_good(csum_ip4_20(ip)) && csum_good(csum_add(&ip->src, 8 + l4, pseudo));
}

/* tcp_rtt_sample where the RTO is at its floor and stays there, as it does in a datacenter. */
static inline void rtt_sample(struct tcp_conn *tc, const struct net *net, struct tcp_cold *c,
                              uint64_t rtt_ns)
{
    uint64_t u = (rtt_ns >> TCP_RTT_SHIFT) + 1;
    if (unlikely_(!c->srtt_x8 || u > net->rto_min_ns >> TCP_RTT_SHIFT)) {
        tcp_rtt_sample(tc, rtt_ns);
        return;
    }
    tcp_rtt_smooth(c, (uint32_t)u);
    uint64_t rto = (uint64_t)((c->srtt_x8 >> 3) + c->rttvar_x4) << TCP_RTT_SHIFT;
    if (unlikely_(rto > net->rto_min_ns || c->rto_ns != net->rto_min_ns || c->backoff))
        tcp_rto_from_rtt(tc);
}

/* The common ACK, of exactly the first segment in flight, sent once. False: not that. */
static inline bool ack_one(struct tcp_conn *tc, struct net *net, struct tcp_cold *c, uint32_t ack)
{
    struct tx_seg *s = tc->q_head;
    if (unlikely_(!s || s->flags != TXS_SENT || s->seq + s->len != ack ||
                  (tc->flags & TF_CWND_FULL) || c->lost_bytes))
        return false;
    struct tx_seg *next = s->next;
    struct rte_mbuf *m = s->m;
    uint64_t sent_ns = s->sent_ns;
    tc->q_head = next;
    if (!next)
        tc->q_tail = NULL;
    tc->tx_queued -= s->len;
    c->q_segs--;
    tc->net->q_segs--;
    c->rtx = NULL; /* nothing is lost: the next search begins at the head */
    c->rtx_since_ns = 0;
    tc->snd_una = ack;
    tc->dupacks = 0;
    net_free_own(net, m);
    rtt_sample(tc, net, c, net->now_ns - sent_ns);
    if (ack == tc->snd_nxt) /* RFC 6298 5.2, 5.3 */
        c->deadline_ns[TT_REXMIT] = UINT64_MAX;
    else
        tcp_timer_set(tc, TT_REXMIT, net->now_ns + c->rto_ns);
    if (tc->q_unsent)
        tcp_mark(tc);
    return true;
}

/* Any other ACK of new data in a segment that is expected. */
static __attribute__((noinline)) void ack_other(struct tcp_conn *tc, const struct tcp_hdr *th,
                                                uint32_t ack)
{
    struct tcp_seg seg = {.ack = ack, .has_ts = tc->flags & TF_TS};
    if (seg.has_ts) {
        be32_t tsecr;
        memcpy(&tsecr, (const uint8_t *)(th + 1) + 8, sizeof(tsecr));
        seg.tsecr = from_be32(tsecr);
    }
    tcp_ack_advance(tc, &seg);
}

/* A new window in a segment that is expected. */
static inline void take_window(struct tcp_conn *tc, struct tcp_cold *c, uint32_t wnd)
{
    if (wnd == tc->snd_wnd)
        return;
    if (wnd > c->snd_wnd_max)
        c->snd_wnd_max = wnd;
    tc->snd_wnd = wnd;
    if (tc->q_unsent)
        tcp_mark(tc);
}

bool tcp_input_fast(struct tcp_conn *tc, const struct rte_mbuf *m, const uint8_t *frame)
{
    const struct ip4_hdr *ip = (const void *)(frame + sizeof(struct eth_hdr));
    const struct tcp_hdr *th = (const void *)(ip + 1);
    struct net *net = tc->net;
    struct tcp_cold *c = tc->cold;
    uint32_t flags = tc->flags, doff = flags & TF_TS ? 32 : 20, tsval = 0;
    uint32_t total = from_be16(ip->total_len), l4 = total - (uint32_t)sizeof(*ip), len = l4 - doff;
    uint32_t seq = from_be32(th->seq), ack = from_be32(th->ack), wnd = from_be16(th->wnd);
    uint32_t rcv_nxt = tc->rcv_nxt, una = tc->snd_una;
    uint16_t off_flags;
    memcpy(&off_flags, &th->off, sizeof(off_flags));

    /* An open connection without trouble; the whole segment, of the length that its options ask for;
     * ACK and perhaps PSH; next in order; an ACK inside the flight, of new data or with data; text
     * inside our window; a window of the peer's that is open and stays so. */
    if (tc->state != TCP_ESTABLISHED || (flags & (TF_APP_CLOSED | TF_RECOVERY | TF_LOSS)) ||
        tc->ooo_bytes || total > m->data_len - net->l2_len || total < sizeof(*ip) + doff ||
        (off_flags & ~(TH_PSH << 8)) != (TH_ACK << 8 | doff << 2) || seq != rcv_nxt ||
        ack - una > tc->snd_nxt - una || (!len && ack == una) || len > tc->rcv_edge - rcv_nxt ||
        !wnd || !tc->snd_wnd)
        return false;
    if (likely_(flags & TF_TS)) {
        uint32_t head;
        memcpy(&head, th + 1, sizeof(head));
        memcpy(&tsval, (const uint8_t *)(th + 1) + 4, sizeof(tsval));
        tsval = from_be32((be32_t){tsval});
        if (head != TS_HEAD || seq_lt(tsval, tc->ts_recent))
            return false;
    }
    if (unlikely_(!checksums_ok(net, m, ip, l4)))
        return false;

    c->last_rx_ns = net->now_ns;
    if ((flags & TF_TS) && rcv_nxt == tc->rcv_acked) { /* take_timestamp */
        tc->ts_recent = tsval;
        c->ts_recent_ns = net->now_ns;
    }
    if (ack != una && unlikely_(!ack_one(tc, net, c, ack)))
        ack_other(tc, th, ack);
    take_window(tc, c, wnd << tc->snd_wscale);
    tc->snd_wl1 = seq;
    tc->snd_wl2 = ack;
    if (len)
        tcp_deliver(tc, (const uint8_t *)th + doff, len);
    if (unlikely_(tc->flags & TF_WANT_WRITE))
        tcp_ack_writable(tc);
    return true;
}

void tcp_input(struct net *net, struct tcp_seg *seg)
{
    if (seg->tc)
        input_slow(seg->tc, seg);
    else
        tcp_listen_input(net, seg);
}
