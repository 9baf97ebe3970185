/* tcp_input: a segment for a connection, in the order of RFC 9293 3.10.7.4. The common case (open
 * connection, next in order, nothing odd) does not come here: tcp_fast.c. */
#include <errno.h>

#include "dataplane/net/tcp_internal.h"

#define PAWS_IDLE_NS (24ull * 86400 * NSEC_PER_S) /* RFC 7323 5.5 */
#define PAWS_SLACK   1 /* ticks of the peer's clock that a segment may be late by, docs/tcp.md */

/* RFC 5961 7: challenge ACKs (and ACKs for segments outside the window that carry no data, which two
 * confused ends could exchange for ever) are throttled per connection, never by a shared counter. */
void tcp_challenge_ack(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    uint32_t now = tc->net->now_ms;
    if (now - c->challenge_ms >= 1000) {
        c->challenge_ms = now;
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

/* RFC 7323's TS.Recent. What we echo is another while it is of a copy of old text. */
static inline uint32_t ts_recent(const struct tcp_conn *tc)
{
    const struct tcp_cold *c = tc->cold;
    return likely_(!c->ts_copied) || c->loss->ts_copy != tc->ts_recent ? tc->ts_recent
                                                                       : c->loss->ts_recent;
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
        tcp_trace_drop(tc, DROP_NO_TIMESTAMP, seg->seq);
        return false;
    }
    if (seq_lt(seg->tsval, tc->ts_recent) && seq_lt(seg->tsval + PAWS_SLACK, ts_recent(tc))) {
        if (now - c->ts_recent_ns < PAWS_IDLE_NS) {
            STAT_INC(tc->net->stats->drop_tcp_paws);
            tcp_trace_drop(tc, DROP_PAWS, seg->seq);
            tcp_ack_now(tc);
            return false;
        }
        tc->ts_recent = seg->tsval; /* older than the clock can tell: RFC 7323 5.5 */
        c->ts_recent_ns = now;
        c->ts_copied = false;
    }
    return true;
}

/* RFC 7323 4.3: the echo is the timestamp of the segment that our next ACK answers. */
static inline void take_timestamp(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    if (seq_le(seg->seq, tc->rcv_acked) && seq_le(ts_recent(tc), seg->tsval)) {
        tc->ts_recent = seg->tsval;
        tc->cold->ts_recent_ns = tc->net->now_ns;
        tc->cold->ts_copied = false;
    }
}

/* Text that we have, sent again because our ACK was lost: the copy that asks is the one to echo, or the
 * peer measures from the first copy on, and its RTO grows to seconds where ACKs are lost (RFC 7323 4.3,
 * appendix H). As near and as well acknowledged as new text must be (RFC 5961 5.2), for a timestamp
 * of another's would be no round trip. It is echoed and no more (R2 comes before R3): text that the copy
 * overtook is older and still on its way. */
static void take_timestamp_of_copy(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    struct tcp_loss *l = tc->cold->loss;
    if (!seg->has_ts || !seq_le(seg->seq, tc->rcv_acked) || !seq_lt(tc->ts_recent, seg->tsval) ||
        (seg->flags & (TH_ACK | TH_SYN)) != TH_ACK || !seq_le(seg->ack, tc->snd_nxt) ||
        !seq_le(tc->snd_una - tc->cold->snd_wnd_max, seg->ack) ||
        tc->rcv_nxt - seg->seq > tc->net->rcv_buf)
        return;
    l->ts_recent = ts_recent(tc);
    l->ts_copy = tc->ts_recent = seg->tsval;
    tc->cold->ts_copied = true;
}

/* Step one failed: not in the window. */
static void not_acceptable(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    if (seg->len == 0 || seg->seq + seg->len != tc->rcv_nxt)
        STAT_INC(tc->net->stats->drop_tcp_window);
    tcp_trace_drop(tc, DROP_WINDOW, seg->seq);
    if (seg->flags & TH_RST)
        return;
    if (tc->state == TCP_SYN_RCVD && (seg->flags & (TH_SYN | TH_ACK)) == TH_SYN &&
        seg->seq == tc->cold->irs) { /* our SYN-ACK was lost, or went to a damaged address */
        if (mac_is_unicast(seg->mac) && net_on_link_ip(tc->net, tcp_peer_ip(tc)))
            memcpy(tc->cold->tmpl, seg->mac, 6);
        tc->flags |= TF_SYN_DUE;
        tcp_mark(tc);
        return;
    }
    if (tc->state == TCP_TIME_WAIT && (seg->flags & TH_FIN)) /* our last ACK was lost */
        tcp_timer_set(tc, TT_LIFE, tc->net->now_ns + tc->net->cfg.time_wait_ms * NSEC_PER_MS);
    if (seg->len && seq_le(seg->seq + seg->len, tc->rcv_nxt)) {
        take_timestamp_of_copy(tc, seg);
        tcp_dup_text(tc, seg->seq, seg->len);
    }
    if (seg->len || (seg->flags & TH_FIN))
        tcp_ack_now(tc); /* data tells of a lost ACK: answered always, once per pass */
    else
        tcp_challenge_ack(tc);
}

/* Step two: RFC 9293 3.10.7.4 with RFC 5961 3.2. */
static void rst_input(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    if (seg->seq != tc->rcv_nxt) { /* inside the window, but not where the peer must be */
        tcp_trace_drop(tc, DROP_RST, seg->seq);
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
        tcp_state_set(tc, TCP_FIN_WAIT_2);
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
    bool options = tcp_opt_parse(seg, NULL);
    tcp_trace_in(tc, seg);
    if (!options) {
        STAT_INC(net->stats->drop_tcp_header);
        tcp_trace_drop(tc, DROP_OPTIONS, seg->seq);
        return;
    }
    /* TIME_WAIT gives way to a new incarnation that cannot be mistaken for the old one (RFC 6191,
     * RFC 9293 3.6.1 MAY-2): newer timestamp or sequence number beyond all that was received. */
    if (tc->state == TCP_TIME_WAIT && (seg->flags & (TH_SYN | TH_ACK | TH_RST)) == TH_SYN &&
        (seg->has_ts && (tc->flags & TF_TS) ? seq_lt(tc->ts_recent, seg->tsval)
                                            : seq_lt(tc->rcv_nxt, seg->seq))) {
        seg->reuses = true;
        seg->reused_nxt = tc->snd_nxt;
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
    if (seg->flags & TH_SYN) { /* four: RFC 5961 4.2 */
        if (tc->state == TCP_SYN_RCVD && !(tc->flags & TF_ACTIVE))
            tcp_conn_kill(tc, 0, false); /* back to LISTEN */
        else
            tcp_challenge_ack(tc);
        tcp_trace_drop(tc, DROP_SYN, seg->seq);
        return;
    }
    if (!(seg->flags & TH_ACK)) { /* five */
        STAT_INC(net->stats->drop_tcp_flags);
        tcp_trace_drop(tc, DROP_FLAGS, seg->seq);
        return;
    }
    if (tc->state == TCP_SYN_RCVD && !tcp_syn_rcvd_ack(tc, seg))
        return;
    if (!tcp_ack_input(tc, seg))
        return;
    /* Only now: who cannot say an ACK that holds must not move TS.Recent either, or PAWS would shut the
     * true peer out (RFC 7323 5.3 R3 with RFC 5961 5). */
    if (seg->has_ts && (tc->flags & TF_TS))
        take_timestamp(tc, seg);
    if (tc->flags & TF_ECN)
        tcp_ecn_input(tc, seg);
    if (tcp_fin_acked(tc))
        fin_acked(tc);
    if (tc->state == TCP_CLOSED)
        return;
    text_and_fin(tc, seg); /* seven, eight; urgent data is ordinary data (RFC 6093) */
    if (tc->flags & TF_WANT_WRITE)
        tcp_ack_writable(tc);
}

void tcp_input(struct net *net, struct tcp_seg *seg)
{
    if (seg->tc)
        input_slow(seg->tc, seg);
    else
        tcp_listen_input(net, seg);
}
