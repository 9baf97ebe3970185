/* tcp_output: what leaves. net_output calls tcp_output once per pass for each connection that has
 * something to say: lost segments first, then new data as far as the windows allow, FIN, and an ACK
 * only if nothing else carried it. There is no Nagle and no transmit delay.
 *
 * A frame is a copy of the connection's header template plus a few stores in front of the payload;
 * the mbuf is lent to the wire (refcnt + 1) and stays in the send queue. */
#include "dataplane/net/tcp_frame.h"

#define IDLE_MIN_NS (200 * NSEC_PER_MS)
#define GAP_HOLD_NS 1 /* at the next tick of the wheel: half a millisecond at most */

/* RFC 9293 3.9.1.2: FIN takes a sequence number behind the last octet. */
static void fin_sent(struct tcp_conn *tc)
{
    tc->flags |= TF_FIN_SENT;
    tc->snd_nxt++;
    tc->state = tc->state == TCP_CLOSE_WAIT ? TCP_LAST_ACK : TCP_FIN_WAIT_1;
}

static inline void arm_rexmit(const struct net *net, struct tcp_conn *tc, struct tcp_cold *c)
{
    c->deadline_ns[TT_PERSIST] = UINT64_MAX;
    if (c->deadline_ns[TT_REXMIT] == UINT64_MAX)
        tcp_timer_set_at(tc, c, TT_REXMIT, net->now_ns + c->rto_ns);
}

/* New text, and long enough: what is sent again is always summed here, so that no port can hold a connection up. */
static inline bool port_sums(const struct tcp_conn *tc, uint32_t len)
{
    return tc->net->tx_offload && len >= OFFLOAD_MIN &&
           offload_on(tc->net, OFFLOAD_SUM, tcp_is6(tc));
}

/* Sends a segment of the queue, for the first time or again. False: no buffer for the copy. */
static __attribute__((noinline)) bool send_seg(struct tcp_conn *tc, struct tx_seg *s)
{
    struct net *net = tc->net;
    struct tcp_cold *c = tc->cold;
    struct rte_mbuf *m = s->m;
    unsigned off = (unsigned)(TX_PAYLOAD_OFF + s->off);
    bool again = s->flags & TXS_SENT, port = !again && port_sums(tc, s->len);
    uint32_t flags = TH_ACK | tcp_ece_due(tc);
    if (unlikely_(!m ||
                  rte_mbuf_refcnt_read(m) > 1)) { /* parked, or the wire has it: its bytes stay */
        m = net_alloc_data(net);
        if (!m)
            return false;
        off = TX_PAYLOAD_OFF;
        memcpy((uint8_t *)m->buf_addr + off, tx_seg_data(s), s->len);
    } else {
        tx_seg_unchain(s);
        rte_mbuf_refcnt_set(m, 2);
    }
    if (!s->next) {
        flags |= TH_PSH; /* RFC 9293 3.9.1.2: the end of what is queued */
        if (tc->flags & (again ? TF_FIN_SENT : TF_APP_CLOSED))
            flags |= TH_FIN;
    }
    if ((tc->flags & TF_ECN) && !again && c->loss->cwr_due) { /* RFC 3168 6.1.2 */
        flags |= TH_CWR;
        c->loss->cwr_due = false;
    }
    tcp_build(tc, m, off, s->len, s->seq, flags, port);
    if (port)
        offload_note(net, s, tcp_is6(tc));
    tcp_trace_out(tc, again, (uint8_t)flags, s->seq, s->len, 0);
    if ((tc->flags & TF_ECN) && (again || (tc->flags & TF_PROBE_DUE)))
        tcp_clear_ect(tc, m);
    tcp_ack_sent(tc, c);
    s->sent_ns = net->now_ns;
    c->last_tx_ns = net->now_ns;
    tcp_hand_over(tc, m);
    return true;
}

/* Segments that are taken for lost, as far as cwnd allows; the first always goes. */
static __attribute__((noinline)) bool output_lost(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    for (struct tx_seg *s = c->rtx ? c->rtx : tc->q_head; s && c->lost_bytes; s = s->next) {
        c->rtx = s;
        if (!(s->flags & TXS_SENT))
            break;
        if (!(s->flags & TXS_LOST))
            continue;
        /* Without SACK the head always goes; PRR and the timeout leave room for what must. */
        if ((s != tc->q_head || (tc->flags & TF_SACK)) && tcp_pipe(tc) &&
            tcp_pipe(tc) + s->len > tc->cwnd)
            return true;
        if (unlikely_(s->len > tc->mss) && !tcp_queue_split(tc, s, tc->mss))
            return false;
        if (net_tx_full(tc->net) || !send_seg(tc, s))
            return false;
        s->flags = (uint8_t)((s->flags & ~TXS_LOST) | TXS_RETX);
        c->lost_bytes -= s->len;
        if (!s->next && (tc->flags & TF_FIN_LOST)) { /* it took the FIN along */
            tc->flags &= ~TF_FIN_LOST;
            c->lost_bytes--;
        }
        tcp_retransmitted(tc, s);
        if (s == tc->q_head) /* its ACK is a round trip away again */
            tcp_timer_set(tc, TT_REXMIT, tc->net->now_ns + tcp_rto_ns(tc));
        else
            arm_rexmit(tc->net, tc, c);
    }
    if (!(tc->flags & TF_FIN_LOST))
        return true;
    if (tc->q_head && (tc->q_tail->flags & TXS_LOST)) /* data in front of it waits for cwnd */
        return true;
    if (net_tx_full(tc->net) || !tcp_send_bare(tc, tc->snd_nxt - 1, TH_FIN | TH_ACK))
        return false;
    tc->flags &= ~TF_FIN_LOST;
    c->lost_bytes--;
    tcp_retransmitted(tc, NULL);
    arm_rexmit(tc->net, tc, c);
    return true;
}

/* A tail loss probe, RFC 8985 7.3; cwnd is not asked. Always the last segment again, also where new data
 * could go: a lone new segment is acknowledged late (40 ms by Linux), a doubled one at once. */
static bool output_probe(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    struct tx_seg *s = tc->q_head;
    if (net_tx_full(tc->net))
        return false;
    while (s && s->next != tc->q_unsent)
        s = s->next;
    if (!s || !(s->flags & TXS_SENT) || tc->snd_una == tc->snd_nxt) {
        c->loss->tlp_due = false; /* it was acknowledged meanwhile */
        return true;
    }
    if (!send_seg(tc, s))
        return false;
    s->flags |= TXS_RETX;
    tcp_retransmitted(tc, s);
    tcp_tlp_sent(tc);
    arm_rexmit(tc->net, tc, c);
    return true;
}

/* RFC 9293 3.8.6.2.1: how much of a segment that does not fit the peer's window may go. A piece of
 * at least half the largest window ever seen is worth it; the persist timer overrides. */
static uint32_t window_piece(struct tcp_conn *tc, uint32_t len)
{
    int32_t left = (int32_t)(tc->snd_una + tc->snd_wnd - tc->snd_nxt);
    if (left >= (int32_t)len)
        return len;
    if (tc->flags & TF_PROBE_DUE)
        return left > 0 ? (uint32_t)left : 1; /* 3.8.6.1: at least one octet of new data */
    if (left > 0 && (uint32_t)left >= tc->cold->snd_wnd_max / 2)
        return (uint32_t)left;
    return 0;
}

/* RFC 5681 4.1: after an idle time of an RTO the old cwnd says little any more, and less with each
 * further one: halved for each, down to the initial window. What it was is not forgotten: slow start
 * leads back to three quarters of it (RFC 2861). An RTO of 20 ms, or of 20 ms more than a long round trip,
 * is for repairs: a client that thinks for a moment between two answers is not idle. */
static inline void restart_idle(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    uint32_t iw = tc->net->cfg.initial_window_segs * tc->mss, old = tc->cwnd;
    uint64_t idle = tc->net->now_ns - c->last_tx_ns, rto = tcp_rto_ns(tc);
    uint64_t thinks = ((uint64_t)(c->srtt_x8 >> 3) << TCP_RTT_SHIFT) + IDLE_MIN_NS;
    rto = rto > thinks ? rto : thinks;
    if (old <= iw || idle <= rto)
        return;
    for (; idle > rto && tc->cwnd > iw; idle -= rto)
        tc->cwnd = tc->cwnd / 2 > iw ? tc->cwnd / 2 : iw;
    if (c->ssthresh < old / 4 * 3)
        c->ssthresh = old / 4 * 3;
}

/* Several segments as one packet that the port cuts, as far as both windows go. 0: *ps goes alone. */
static uint32_t output_cut(struct tcp_conn *tc, struct tx_seg **ps, uint32_t cwnd)
{
    uint32_t pipe = tcp_pipe(tc), room = tc->snd_una + tc->snd_wnd - tc->snd_nxt;
    if (pipe >= cwnd || (int32_t)room <= 0)
        return 0;
    uint32_t sent = tcp_tso_send(tc, ps, tc->snd_nxt, room < cwnd - pipe ? room : cwnd - pipe);
    if (!sent)
        return 0;
    tcp_ack_sent(tc, tc->cold);
    tc->cold->last_tx_ns = tc->net->now_ns;
    return sent;
}

static __attribute__((noinline)) bool output_new(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    struct net *net = tc->net;
    if (tc->snd_una == tc->snd_nxt)
        restart_idle(tc);
    tc->flags &= ~TF_CWND_FULL;
    /* RFC 3042: the first two duplicate ACKs each let a new segment out. */
    uint32_t cwnd = tc->cwnd;
    if (tc->dupacks && tc->dupacks < 3 && !(tc->flags & (TF_RECOVERY | TF_LOSS)))
        cwnd += tc->dupacks * (uint32_t)tc->mss;
    for (struct tx_seg *s; (s = tc->q_unsent) != NULL && s->len;) {
        if (tcp_pipe(tc) && tcp_pipe(tc) + s->len > cwnd) {
            tc->flags |= TF_CWND_FULL;
            break;
        }
        uint32_t n = window_piece(tc, s->len);
        if (!n)
            break;
        if (unlikely_(n > tc->mss))
            n = tc->mss;
        if (net_tx_full(net) || (n < s->len && !tcp_queue_split(tc, s, (uint16_t)n)))
            return false;
        s->seq = tc->snd_nxt;
        uint32_t sent = net->tso ? output_cut(tc, &s, cwnd) : 0;
        if (!sent) {
            if (!send_seg(tc, s))
                return false;
            s->flags |= TXS_SENT;
            sent = s->len;
        }
        tc->snd_nxt += sent;
        tc->q_unsent = s->next;
        if (tc->flags & TF_RECOVERY)
            c->loss->prr_out += sent;
        tc->flags &= ~TF_PROBE_DUE;
        if (!s->next && (tc->flags & TF_APP_CLOSED))
            fin_sent(tc);
        arm_rexmit(tc->net, tc, tc->cold);
    }
    tc->flags &= ~TF_PROBE_DUE;
    /* In slow start half a window in use is evidence for the whole: the last flight of an answer
     * seldom fills it. */
    if (tc->cwnd < c->ssthresh && tcp_flight(tc) >= tc->cwnd / 2)
        tc->flags |= TF_CWND_FULL;
    if (!tc->q_unsent)
        tc->flags &= ~TF_SPLIT;
    if (tc->q_unsent) {
        /* Nothing in flight whose ACK could open the window: the persist timer asks. */
        if (tc->q_unsent->len && tc->snd_una == tc->snd_nxt &&
            c->deadline_ns[TT_PERSIST] == UINT64_MAX)
            tcp_timer_set(tc, TT_PERSIST, net->now_ns + tcp_rto_ns(tc));
        if (tc->q_unsent->len || !(tc->flags & TF_APP_CLOSED))
            return true;
    }
    if ((tc->flags & TF_APP_CLOSED) && !(tc->flags & TF_FIN_SENT)) {
        if (net_tx_full(net) || !tcp_send_bare(tc, tc->snd_nxt, TH_FIN | TH_ACK))
            return false;
        fin_sent(tc);
        arm_rexmit(tc->net, tc, tc->cold);
    }
    return true;
}

static __attribute__((noinline)) bool output_ack_due(struct tcp_conn *tc)
{
    struct net *net = tc->net;
    if (tc->flags & TF_KEEP_DUE) { /* RFC 1122 4.2.3.6: one below what the peer expects */
        if (net_tx_full(net) || !tcp_send_bare(tc, tc->snd_una - 1, TH_ACK))
            return false;
        tc->flags &= ~TF_KEEP_DUE;
        STAT_INC(net->stats->tcp_keepalives);
    }
    if ((tc->flags & TF_WND_CHECK) && tcp_window_update_due(tc))
        tc->flags |= TF_ACK_NOW;
    tc->flags &= ~TF_WND_CHECK;
    bool again = false;
    if (unlikely_(tc->cold->quick_acks)) {
        again = (tc->flags & TF_SACK) &&
                (tc->rcv_nxt - tc->rcv_acked > tc->rcv_mss || tc->cold->loss->gap_held > 1);
        if (tc->flags & TF_ACK_DELAYED) {
            tc->cold->quick_acks--;
            tc->flags |= TF_ACK_NOW;
        }
    }
    if ((tc->flags & TF_ACK_DELAYED) && tc->cold->deadline_ns[TT_DELACK] == UINT64_MAX)
        tcp_timer_set(tc, TT_DELACK, net->now_ns + net->delack_ns);
    if (!(tc->flags & (TF_ACK_NOW | TF_DUP_ACKS)))
        return true;
    if (!(tc->flags & TF_ACK_NOW) && tc->cold->loss->gap_held) { /* early_ack */
        if (tc->cold->deadline_ns[TT_DELACK] == UINT64_MAX)
            tcp_timer_set(tc, TT_DELACK, net->now_ns + GAP_HOLD_NS);
        return true;
    }
    /* An ACK of new data is none of the duplicates that follow it. */
    bool own = (tc->flags & TF_ACK_NOW) || tc->rcv_acked != tc->rcv_nxt;
    uint32_t sent = 0;
    for (; own || tc->cold->dup_acks_due; own = false) {
        if (net_tx_full(net) || !tcp_send_bare(tc, tc->snd_nxt, TH_ACK))
            return false;
        STAT_INC(net->stats->tcp_pure_acks_out);
        sent++;
        if (!(tc->flags & TF_SACK)) /* else it knows whether there is more to tell */
            tc->cold->dup_acks_due -= !own;
    }
    tc->flags &= ~TF_DUP_ACKS;
    /* A path that loses text loses ACKs, and this one spoke for several segments. */
    if (again && sent == 1 && !net_tx_full(net) && tcp_send_bare(tc, tc->snd_nxt, TH_ACK))
        STAT_INC(net->stats->tcp_pure_acks_out);
    return true;
}

static inline bool output_ack(struct tcp_conn *tc)
{
    const uint32_t due = TF_ACK_NOW | TF_ACK_DELAYED | TF_WND_CHECK | TF_KEEP_DUE | TF_DUP_ACKS;
    return likely_(!(tc->flags & due)) || output_ack_due(tc);
}

/* What keeps a connection from the common pass. */
#define OUTPUT_TROUBLE                                                                        \
    (TF_APP_CLOSED | TF_PROBE_DUE | TF_RECOVERY | TF_LOSS | TF_CWND_FULL | TF_CARE | TF_ECE | \
     TF_SPLIT | TF_PARKED | TF_TRACE)

/* data_off, refcnt (ours and the wire's), nb_segs, port */
static const uint64_t rearm_plain = (TX_PAYLOAD_OFF - 66) | 2u << 16 | 1ull << 32 | 0xffffull << 48;

/* The common pass: an open connection without trouble whose new segments all fit cwnd and window. plain:
 * untagged frames with timestamps, summed here. False: something is left for the general way, which
 * begins where this one stopped. */
static inline __attribute__((always_inline)) bool output_fast(struct net *net, struct tcp_conn *tc,
                                                              bool plain)
{
    struct tcp_cold *c = tc->cold;
    struct tx_seg *s = tc->q_unsent;
    uint32_t una = tc->snd_una, nxt = tc->snd_nxt;
    uint32_t limit = una + (tc->cwnd < tc->snd_wnd ? tc->cwnd : tc->snd_wnd);
    if (c->lost_bytes || (nxt == una && net->now_ns - c->last_tx_ns > c->rto_ns)) /* restart_idle */
        return false;
    for (; s && s->len; s = s->next) {
        struct rte_mbuf *m = s->m;
        uint32_t len = s->len, flags = s->next ? TH_ACK : TH_ACK | TH_PSH;
        if (unlikely_(seq_lt(limit, nxt + len) || net_tx_full(net)))
            break;
        uint32_t cut = !plain && net->tso ? tcp_tso_send(tc, &s, nxt, limit - nxt) : 0;
        if (cut) {
            nxt += cut;
            continue;
        }
        s->seq = nxt;
        s->flags = TXS_SENT;
        s->sent_ns = net->now_ns;
        if (plain) { /* s stands at buf_addr; never sent before, so that nothing is cut off */
            memcpy((uint8_t *)m + offsetof(struct rte_mbuf, rearm_data), &rearm_plain,
                   sizeof(rearm_plain));
            tcp_build_at(net, tc, c, m, (uint8_t *)s, TX_PAYLOAD_OFF, len, nxt, flags, 14, true,
                         true, false);
        } else {
            bool port = port_sums(tc, len);
            rte_mbuf_refcnt_set(m, 2);
            tcp_build(tc, m, TX_PAYLOAD_OFF, len, nxt, flags, port);
            if (port)
                offload_note(net, s, tcp_is6(tc));
        }
        net->tx[net->tx_count++] = m;
        nxt += len;
        net->out_segs++;
    }
    if (unlikely_(nxt == tc->snd_nxt))
        return !s;
    tc->snd_nxt = nxt;
    tc->q_unsent = s;
    c->last_tx_ns = net->now_ns;
    tcp_ack_sent(tc, c);
    arm_rexmit(net, tc, c);
    return !s;
}

bool tcp_output(struct tcp_conn *tc)
{
    const uint64_t mask =
        TCP_STATE_WORD(0xff | TCP_STATE_WORD_DUPACKS, OUTPUT_TROUBLE | TF_MAC_KNOWN);
    if (likely_((tcp_state_word(tc) & mask) == TCP_STATE_WORD(TCP_ESTABLISHED, TF_MAC_KNOWN)) &&
        output_fast(tc->net, tc, false))
        return output_ack(tc);
    switch (tc->state) {
    case TCP_CLOSED: return true;
    case TCP_SYN_SENT:
    case TCP_SYN_RCVD:
        if ((tc->flags & TF_SYN_DUE) && (net_tx_full(tc->net) || !tcp_send_syn(tc)))
            return false;
        return tc->state == TCP_SYN_SENT || output_ack(tc);
    case TCP_TIME_WAIT:
    case TCP_FIN_WAIT_2: return output_ack(tc);
    default: break;
    }
    if (tc->flags & (TF_CARE | TF_RECOVERY | TF_LOSS)) {
        tcp_recovery_pass(tc);
        if (tc->cold->loss->tlp_due && !output_probe(tc))
            return false;
    }
    if (unlikely_(tc->cold->lost_bytes) && !output_lost(tc))
        return false;
    if ((tc->q_unsent || (tc->flags & TF_APP_CLOSED)) && !output_new(tc))
        return false;
    return output_ack(tc);
}

/* The common case of the common pass, said out: one segment, the last of the queue. The frame goes to *tx. Takes tc off the dirty list. */
static inline __attribute__((always_inline)) bool output_one(struct net *net, struct tcp_conn *tc,
                                                             struct rte_mbuf **tx)
{
    struct tcp_cold *c = tc->cold;
    struct tx_seg *s = tc->q_unsent;
    if (unlikely_(!s || s->next || !s->len || c->lost_bytes))
        return false;
    uint32_t len = s->len, nxt = tc->snd_nxt, flight = nxt - tc->snd_una, then = flight + len;
    uint64_t now = net->now_ns;
    if (unlikely_(then > tc->cwnd || then > tc->snd_wnd))
        return false;
    if (!flight) { /* no timer runs */
        uint64_t rto = c->rto_ns;
        if (unlikely_(now - c->last_tx_ns > rto)) /* restart_idle */
            return false;
        tcp_timer_set_at(tc, c, TT_REXMIT, now + rto);
        c->deadline_ns[TT_PERSIST] = UINT64_MAX;
    } else {
        arm_rexmit(net, tc, c);
    }
    struct rte_mbuf *m = s->m;
    s->seq = nxt;
    s->flags = TXS_SENT;
    s->sent_ns = now;
    memcpy((uint8_t *)m + offsetof(struct rte_mbuf, rearm_data), &rearm_plain, sizeof(rearm_plain));
    *tx = m;
    tc->snd_nxt = nxt + len;
    tc->q_unsent = NULL;
    c->last_tx_ns = now;
    tcp_build_at(net, tc, c, m, (uint8_t *)s, TX_PAYLOAD_OFF, len, nxt, TH_ACK | TH_PSH, 14, true,
                 true, false);
    tc->flags &= ~TF_DIRTY;
    tcp_ack_sent(tc, c);
    return true;
}

static __attribute__((noinline)) bool output_several(struct net *net, struct tcp_conn *tc)
{
    if (!output_fast(net, tc, true) || (tc->flags & TF_ACK_NOW))
        return false;
    tc->flags &= ~TF_DIRTY;
    return true;
}

/* tcp_output for what nearly every dirty connection is: replies to send and nothing else. */
static inline bool replies_only(const struct tcp_conn *tc)
{
    const uint64_t mask =
        TCP_STATE_WORD(0xff | TCP_STATE_WORD_DUPACKS,
                       OUTPUT_TROUBLE | TF_MAC_KNOWN | TF_TS | TF_KEEP_DUE | TF_DUP_ACKS | TF_V6);
    return (tcp_state_word(tc) & mask) == TCP_STATE_WORD(TCP_ESTABLISHED, TF_MAC_KNOWN | TF_TS);
}

/* One of the list in any way. False: it stays there. */
static __attribute__((noinline)) bool output_any(struct net *net, struct tcp_conn *tc, bool plain,
                                                 unsigned *sent)
{
    tcp_queue_trim(tc);
    if (plain && tc->q_unsent && replies_only(tc) && output_several(net, tc))
        return true;
    if (unlikely_(net_tx_full(net)))
        *sent += net_flush(net);
    if (!tcp_output(tc))
        return false;
    tc->flags &= ~TF_DIRTY;
    if (unlikely_(tc->state == TCP_CLOSED))
        tcp_reap_later(tc);
    return true;
}

unsigned tcp_output_dirty(struct net *net)
{
    bool plain = !net->tx_offload && net->l2_len == sizeof(struct eth_hdr);
    struct tcp_conn **kept = net->dirty, **p = kept, **end = p + net->dirty_count;
    unsigned sent = 0;
    while (p != end) {
        if (likely_(plain)) {
            /* As long as nothing else is to be done, with room for a frame each. */
            struct rte_mbuf **first = net->tx + net->tx_count, **tx = first,
                            **full = net->tx + NET_TX_SLOTS;
            while (likely_(tx != full && replies_only(*p) && output_one(net, *p, tx))) {
                tx++;
                if (++p == end)
                    break;
            }
            net->tx_count += (uint32_t)(tx - first);
            net->out_segs += (uint32_t)(tx - first);
            if (likely_(p == end))
                break;
        }
        if (!output_any(net, *p, plain, &sent))
            *kept++ = *p;
        p++;
    }
    net->dirty_count = (uint32_t)(kept - net->dirty);
    STAT_ADD(net->stats->tcp_out_segs, net->out_segs);
    net->out_segs = 0;
    return sent;
}
