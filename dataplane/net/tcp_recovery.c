/* tcp_recovery: what losses do to the congestion window where the peer SACKs: fast recovery paced by
 * PRR (RFC 6937), the timeout (RFC 8985 6.3), and their undo when the retransmissions prove to have
 * been in vain (Eifel: RFC 3522, 4015; D-SACK: RFC 3708).
 *
 *   open --a segment is lost--> TF_RECOVERY --SND.UNA reaches `recover`--> open
 *     |                            |   undo: back to open with the window of before
 *     +------- timeout ---------> TF_LOSS (slow start) --the same-------> open
 * Without SACK tcp_ack.c does NewReno; timeout and undo are shared. TF_CARE keeps a connection on the
 * ways that look at all this; it is taken off when nothing is SACKed, probed or owed any more. */
#include "dataplane/net/tcp_internal.h"

#define UNDO_AGE_NS (60 * NSEC_PER_S) /* longer than any copy of a segment lives on a sane path */

void tcp_care(struct tcp_conn *tc)
{
    tc->flags |= TF_CARE;
    tc->cold->loss->due = true;
    tcp_mark(tc);
}

void tcp_loss_acked(struct tcp_conn *tc, const struct tx_seg *s, const struct tcp_seg *seg)
{
    tc->cold->loss->delivered += s->len;
    if (tc->flags & TF_SACK)
        tcp_rack_delivered(tc, s, seg);
}

/* ---- undo ---- */

static void undo_begin(struct tcp_conn *tc, bool rto)
{
    struct tcp_cold *c = tc->cold;
    struct tcp_loss *l = c->loss;
    l->undo = l->undo_first = true;
    l->undo_rto = rto;
    l->retrans_ts_set = false;
    l->undo_una = tc->snd_una;
    l->undo_end = tc->snd_nxt;
    l->undo_ns = tc->net->now_ns;
    l->undo_cwnd = tc->cwnd;
    l->undo_ssthresh = c->ssthresh;
    l->undo_bytes = 0;
}

/* The retransmissions were in vain: what is out is not lost, and the network did not ask to go back. */
static void undo_now(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    struct tcp_loss *l = c->loss;
    uint32_t iw = tc->net->cfg.initial_window_segs * tc->mss, cwnd;
    for (struct tx_seg *s = tc->q_head; s && (s->flags & TXS_SENT); s = s->next)
        s->flags &= (uint8_t)~TXS_LOST;
    c->lost_bytes = 0;
    tc->flags &= ~(TF_RECOVERY | TF_LOSS | TF_FIN_LOST);
    /* RFC 4015 3.2 (Response to spurious timeouts): no burst of the whole old window at once. */
    cwnd = l->undo_rto ? tcp_pipe(tc) + iw : l->undo_cwnd;
    cwnd = cwnd < l->undo_cwnd ? cwnd : l->undo_cwnd;
    tc->cwnd = tc->cwnd > cwnd ? tc->cwnd : cwnd;
    c->ssthresh = c->ssthresh > l->undo_ssthresh ? c->ssthresh : l->undo_ssthresh;
    if (c->cc->undo)
        c->cc->undo(tc);
    c->backoff = 0;
    tcp_rto_update(tc);
    c->recover = tc->snd_una - 1;
    tc->dupacks = 0;
    l->undo = false;
    tcp_trace(tc, TR_UNDO, 0, tc->cwnd);
    tcp_mark(tc);
}

void tcp_recovery_advance(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    struct tcp_loss *l = tc->cold->loss;
    if (!l->undo || !l->undo_first)
        return;
    l->undo_first = false;
    /* RFC 3522 3.2 step 5: the first ACK after the retransmission echoes a timestamp from before it. */
    if (!l->retrans_ts_set || !seg->has_ts || !seg->tsecr || !seq_lt(seg->tsecr, l->retrans_ts))
        return;
    if (l->undo_rto)
        STAT_INC(tc->net->stats->tcp_spurious_rtos);
    else
        STAT_INC(tc->net->stats->tcp_full_undo);
    undo_now(tc);
}

void tcp_recovery_dsack(struct tcp_conn *tc, uint32_t start, uint32_t end)
{
    struct tcp_loss *l = tc->cold->loss;
    if (!l->undo || seq_lt(start, l->undo_una) || seq_lt(l->undo_end, end) ||
        tc->net->now_ns - l->undo_ns > UNDO_AGE_NS)
        return;
    l->undo_bytes -= (int32_t)(end - start);
    if (l->undo_bytes > 0 || !l->retrans_ts_set)
        return;
    /* Each retransmission of the episode was a second copy. */
    STAT_INC(tc->net->stats->tcp_dsack_undo);
    if (l->undo_rto)
        STAT_INC(tc->net->stats->tcp_spurious_rtos);
    undo_now(tc);
}

void tcp_retransmitted(struct tcp_conn *tc, const struct tx_seg *s)
{
    struct tcp_cold *c = tc->cold;
    struct tcp_loss *l = c->loss;
    c->retrans++;
    STAT_INC(tc->net->stats->tcp_retrans_segs);
    l->undo_bytes += s ? s->len : 1;
    l->prr_out += s ? s->len : 1;
    l->retrans_ns = tc->net->now_ns;
    if (!l->retrans_ts_set) {
        l->retrans_ts_set = true;
        l->retrans_ts = tcp_ts_now(tc);
    }
}

/* ---- recovery ---- */

/* cwnd was reduced for what is in flight now. */
static void cwr_begin(struct tcp_conn *tc)
{
    struct tcp_loss *l = tc->cold->loss;
    if (!(tc->flags & TF_ECN))
        return;
    l->cwr_due = l->cwr_round = true;
    l->cwr_end = tc->snd_nxt;
    tcp_care(tc);
}

/* RFC 6937 3.1 with the slow start reduction bound. */
static void prr(struct tcp_conn *tc, bool lost_more)
{
    struct tcp_cold *c = tc->cold;
    struct tcp_loss *l = c->loss;
    uint32_t pipe = tcp_pipe(tc);
    int64_t send;
    l->prr_delivered += l->delivered;
    if (pipe > c->ssthresh) {
        uint64_t fs = l->recover_fs ? l->recover_fs : 1;
        send = (int64_t)(((uint64_t)l->prr_delivered * c->ssthresh + fs - 1) / fs) - l->prr_out;
    } else {
        int64_t limit = (int64_t)l->prr_delivered - l->prr_out;
        if (limit < l->delivered)
            limit = l->delivered;
        if (l->advanced && !lost_more)
            limit += tc->mss;
        send = (int64_t)c->ssthresh - pipe;
        send = send < limit ? send : limit;
    }
    if (!l->prr_out && send < tc->mss)
        send = tc->mss; /* the fast retransmit itself */
    tc->cwnd = pipe + (uint32_t)(send > 0 ? send : 0);
    if (tc->cwnd < tc->mss)
        tc->cwnd = tc->mss;
}

void tcp_recovery_begin(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    struct tcp_loss *l = c->loss;
    STAT_INC(tc->net->stats->tcp_fast_retrans);
    tcp_trace(tc, TR_RECOVERY, 0, tc->cwnd);
    undo_begin(tc, false);
    c->recover = tc->snd_nxt;
    l->recover_fs = tcp_flight(tc);
    l->prr_delivered = l->prr_out = 0;
    /* RFC 3168 6.1.2: one reaction per window, whatever asks for it. */
    if (!l->cwr_round || seq_le(l->cwr_end, tc->snd_una))
        c->ssthresh = c->cc->ssthresh(tc, tcp_flight(tc), TCP_CC_LOSS);
    cwr_begin(tc);
    tc->flags |= TF_RECOVERY;
}

static void recovery_enter(struct tcp_conn *tc)
{
    STAT_INC(tc->net->stats->tcp_sack_recovery);
    tcp_recovery_begin(tc);
    prr(tc, true);
}

static void recovery_exit(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    tc->flags &= ~TF_RECOVERY;
    /* RFC 6937 3: PRR ends at ssthresh. The burst that a small pipe would allow is what slow start does. */
    tc->cwnd = c->ssthresh > tc->mss ? c->ssthresh : tc->mss;
    tcp_rack_recovery_over(tc);
}

/* Is there still anything that the short ways must not miss? */
static void care_settle(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    struct tcp_loss *l = c->loss;
    if (c->sacked_bytes || l->tlp_due || l->tlp_out || l->cwr_due || l->cwr_round || l->ecn_watch ||
        c->deadline_ns[TT_REO] != UINT64_MAX)
        return;
    tc->flags &= ~TF_CARE;
    l->hint = NULL;
    l->seen_n = 0;
}

void tcp_recovery_pass(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    struct tcp_loss *l = c->loss;
    if (!l->due)
        return;
    l->due = false;
    if (l->dsack)
        tcp_rack_dsack_seen(tc);
    if (tc->flags & TF_SACK) {
        /* A receiver that has SND.UNA's octet would have acknowledged it: it threw SACKed data away. */
        if (tc->q_head && (tc->q_head->flags & TXS_SACKED))
            tcp_sack_renege(tc);
        bool more = tcp_rack_detect(tc) > 0;
        if (tc->flags & TF_RECOVERY) {
            if (seq_le(c->recover, tc->snd_una))
                recovery_exit(tc);
            else
                prr(tc, more);
        }
        if (!(tc->flags & (TF_RECOVERY | TF_LOSS)) && more)
            recovery_enter(tc);
    }
    if (l->cwr_round && seq_le(l->cwr_end, tc->snd_una))
        l->cwr_round = false;
    l->delivered = 0;
    l->advanced = l->dsack = false;
    care_settle(tc);
}

void tcp_recovery_timeout(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    struct tcp_loss *l = c->loss;
    if (!(tc->flags & TF_LOSS) || seq_le(c->recover, tc->snd_una)) {
        undo_begin(tc, true);
    } else {
        l->undo_first = true; /* RFC 3522 3.2 step 1: each timeout asks anew */
        l->retrans_ts_set = false;
    }
    /* RFC 5681 3.1: ssthresh is not lowered again for a segment that was sent again by timeout. */
    if (!c->backoff) {
        /* A second time for this window (4.3), of what recovery goes to: cwnd is what PRR let out last. */
        if ((tc->flags & TF_RECOVERY) && tc->cwnd < c->ssthresh)
            tc->cwnd = c->ssthresh;
        c->ssthresh = c->cc->ssthresh(tc, tcp_flight(tc), TCP_CC_TIMEOUT);
    }
    c->recover = tc->snd_nxt;
    tc->flags = (tc->flags & ~TF_RECOVERY) | TF_LOSS;
    tc->dupacks = 0;
    l->tlp_due = l->tlp_out = false;
    cwr_begin(tc);
    if (!(tc->flags & TF_SACK)) {
        tcp_queue_mark_lost(tc, true);
        tc->cwnd = tc->mss;
        return;
    }
    tcp_rack_timeout(tc);
    tcp_queue_mark_fin_lost(tc);
    tc->cwnd = tcp_pipe(tc) + tc->mss;
}

void tcp_cwnd_reduce(struct tcp_conn *tc, uint32_t flight, bool ecn)
{
    struct tcp_cold *c = tc->cold;
    if (tc->flags & (TF_RECOVERY | TF_LOSS))
        return; /* cwnd was reduced for this window already */
    uint32_t now = tcp_flight(tc);
    c->ssthresh = c->cc->ssthresh(tc, flight > now ? flight : now, ecn ? TCP_CC_ECN : TCP_CC_LOSS);
    if (tc->cwnd > c->ssthresh)
        tc->cwnd = c->ssthresh;
    cwr_begin(tc);
}
