/* tcp_ack: what a peer's acknowledgment and window do to our send side (RFC 9293 3.10.7.4 step five):
 * the send queue, RTT, congestion window; and fast retransmit and recovery for a peer without SACK
 * (RFC 5681 3.2, RFC 6582). With SACK the blocks are taken here and the losses are found and repaired
 * once per output pass (tcp_recovery.c). */
#include "dataplane/net/tcp_internal.h"

/* What was sent again: the echoed timestamp tells the copies apart (RFC 7323 4). But a peer that has the
 * text, and whose ACKs were lost, may echo the first copy (appendix E), which waited for as many timeouts
 * as it took: they would be a round trip of seconds, and the RTO would grow with each lost ACK. A D-SACK
 * says that the last copy has just arrived. */
static __attribute__((noinline)) void take_rtt_of_copies(struct tcp_conn *tc,
                                                         const struct tcp_seg *seg)
{
    const struct tcp_loss *l = tc->cold->loss;
    uint32_t ms = tcp_ts_now(tc) - seg->tsecr;
    if (ms > 60000)
        return;
    uint64_t rtt = ms ? ms * NSEC_PER_MS : NSEC_PER_MS / 2, since = tc->net->now_ns - l->retrans_ns;
    if ((tc->flags & TF_SACK) && since < rtt && tcp_sack_of_copy(seg))
        rtt = since;
    tcp_rtt_sample(tc, rtt);
}

/* One sample per ACK: from our own clock if all it covers was sent once (Karn, RFC 6298 3), else from
 * the echo. A sample ends the back-off. */
static inline void take_rtt(struct tcp_conn *tc, const struct tcp_seg *seg, uint64_t sent_ns)
{
    if (sent_ns)
        tcp_rtt_sample(tc, tc->net->now_ns - sent_ns);
    else if (seg->has_ts && seg->tsecr)
        take_rtt_of_copies(tc, seg);
}

static void newreno_enter(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    tcp_recovery_begin(tc);
    tc->cwnd = c->ssthresh + 3u * tc->mss;
    tcp_queue_mark_lost(tc, false);
}

/* RFC 6582 3.2 step 3: an ACK of new data during recovery. */
static void newreno_advance(struct tcp_conn *tc, uint32_t acked)
{
    struct tcp_cold *c = tc->cold;
    if (seq_le(c->recover, tc->snd_una)) { /* full */
        uint32_t flight = tcp_flight(tc), fl = (flight > tc->mss ? flight : tc->mss) + tc->mss;
        tc->cwnd = c->ssthresh < fl ? c->ssthresh : fl;
        tc->flags &= ~TF_RECOVERY;
        /* Recovery by partial ACKs resends only what was lost, so there are no duplicates of ours
         * in flight whose ACKs could be mistaken: the next loss may be repaired fast again. */
        c->recover = tc->snd_una - 1;
        return;
    }
    /* partial: the next hole is lost too; deflate by what left, let one segment out */
    tc->cwnd = tc->cwnd > acked ? tc->cwnd - acked : 0;
    if (acked >= tc->mss)
        tc->cwnd += tc->mss;
    if (tc->cwnd < tc->mss)
        tc->cwnd = tc->mss;
    tcp_queue_mark_lost(tc, false);
}

void tcp_ack_advance(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    struct tcp_cold *c = tc->cold;
    uint32_t acked = seg->ack - tc->snd_una;
    uint64_t sent_ns;
    tcp_queue_ack(tc, seg, &sent_ns);
    tc->snd_una = seg->ack;
    if (unlikely_(tc->flags & TF_FIN_LOST) && tcp_fin_acked(tc)) {
        tc->flags &= ~TF_FIN_LOST;
        c->lost_bytes--;
    }
    take_rtt(tc, seg, sent_ns);
    c->rtx_since_ns = 0;
    tc->dupacks = 0;
    if (unlikely_(tc->flags & (TF_CARE | TF_RECOVERY | TF_LOSS))) {
        c->loss->advanced = true;
        tcp_care(tc);
        tcp_recovery_advance(tc, seg);
    }
    if (unlikely_(tc->flags & TF_RECOVERY)) {
        if (!(tc->flags & TF_SACK))
            newreno_advance(tc, acked);
    } else {
        if (unlikely_(tc->flags & TF_LOSS) && seq_le(c->recover, tc->snd_una))
            tc->flags &= ~TF_LOSS;
        c->cc->acked(tc, acked);
    }
    if (tc->snd_una == tc->snd_nxt) /* RFC 6298 5.2, 5.3 */
        tcp_timer_clear(tc, TT_REXMIT);
    else
        tcp_timer_set(tc, TT_REXMIT, tc->net->now_ns + tcp_rto_ns(tc));
    if (tc->q_unsent || c->lost_bytes || (tc->flags & TF_APP_CLOSED))
        tcp_mark(tc);
}

/* RFC 5681 2: a duplicate ACK. The third means loss; more of them mean segments that have left. */
static void duplicate_ack(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    STAT_INC(tc->net->stats->tcp_dup_acks_in);
    if (tc->flags & TF_SACK) /* its blocks say what it means */
        return;
    if (tc->dupacks < UINT8_MAX)
        tc->dupacks++;
    if (tc->flags & TF_RECOVERY) {
        /* Never more than what could have left: forged duplicates gain nothing (RFC 5681 3.2). */
        if (tc->cwnd < c->ssthresh + tcp_flight(tc))
            tc->cwnd += tc->mss;
    } else if (tc->dupacks == 3 && seq_lt(c->recover, tc->snd_una)) { /* RFC 6582 3.2 step 2 */
        newreno_enter(tc);
    }
    if (tc->q_unsent)
        tcp_mark(tc);
}

/* The window was shut and is open again. What was sent beyond it (a probe) the peer threw away. */
static void window_opened(struct tcp_conn *tc)
{
    tc->cold->backoff = 0;
    tc->cold->rtx_since_ns = 0; /* that the window was shut is no fault of the path's */
    tcp_rto_update(tc);
    tcp_timer_clear(tc, TT_PERSIST);
    if (tc->snd_una != tc->snd_nxt) {
        tcp_queue_mark_lost(tc, true);
        tcp_timer_set(tc, TT_REXMIT, tc->net->now_ns + tcp_rto_ns(tc));
    }
    tcp_mark(tc);
}

bool tcp_ack_input(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    struct tcp_cold *c = tc->cold;
    /* RFC 5961 5.2: neither beyond what was sent nor older than a window. */
    if (seq_lt(tc->snd_nxt, seg->ack) || seq_lt(seg->ack, tc->snd_una - c->snd_wnd_max)) {
        STAT_INC(tc->net->stats->drop_tcp_ack);
        tcp_trace_drop(tc, DROP_ACK, seg->seq);
        tcp_challenge_ack(tc);
        return false;
    }
    if (seq_lt(seg->ack, tc->snd_una))
        return true; /* an old duplicate: its window says nothing, its data may */
    uint32_t wnd = seg->wnd << tc->snd_wscale, old = tc->snd_wnd;
    bool advances = seg->ack != tc->snd_una;
    bool dup = !advances && tc->snd_una != tc->snd_nxt && !seg->len &&
               !(seg->flags & (TH_SYN | TH_FIN)) && wnd == old && old;
    uint32_t una = tc->snd_una;
    if (advances)
        tcp_ack_advance(tc, seg);
    else if (dup)
        duplicate_ack(tc);
    if ((tc->flags & TF_SACK) && (seg->sack_n || c->loss->tlp_out))
        tcp_sack_input(tc, seg, advances);
    if (tc->flags & TF_ECN)
        tcp_ecn_ack(tc, seg, seg->ack - una);
    /* A new acknowledgment brings its window even in a segment with an old SEQ (a retransmission): the
     * window of before, counted from the new SND.UNA, would reach further than the peer has said. */
    if (advances || seq_lt(tc->snd_wl1, seg->seq) ||
        (tc->snd_wl1 == seg->seq && seq_le(tc->snd_wl2, seg->ack))) {
        tc->snd_wnd = wnd;
        if (unlikely_(!old != !wnd))
            tcp_trace(tc, TR_WINDOW, 0, wnd);
        tc->snd_wl1 = seg->seq;
        tc->snd_wl2 = seg->ack;
        if (wnd > c->snd_wnd_max)
            c->snd_wnd_max = wnd;
        if (!old && wnd)
            window_opened(tc);
        else if (wnd != old && tc->q_unsent)
            tcp_mark(tc);
    }
    return true;
}

void tcp_ack_writable(struct tcp_conn *tc)
{
    uint32_t buf = tc->net->cfg.snd_buf_bytes;
    if (!(tc->flags & TF_WANT_WRITE) || tc->tx_queued > buf / 4 * 3)
        return;
    if (tc->state != TCP_ESTABLISHED && tc->state != TCP_CLOSE_WAIT)
        return;
    tc->flags &= ~TF_WANT_WRITE;
    if (tc->cookie && !(tc->flags & TF_APP_CLOSED))
        tc->net->app.writable(tc->cookie);
}
