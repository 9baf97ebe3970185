/* tcp_rack: RACK-TLP (RFC 8985): a segment is lost when one that was sent later has arrived and a
 * reordering window has passed; what has nothing behind it is asked for by a tail loss probe.
 *
 * Called by tcp_ack.c for what is delivered, by tcp_recovery.c once per output pass for what is lost
 * (a burst of ACKs walks the send queue once), by tcp_timer.c for probes. Needs SACK; the clock is our
 * own time of sending, timestamps only tell copies apart. Names are the RFC's. */
#include "dataplane/net/tcp_internal.h"

#define REO_WND_MULT_MAX 20
#define REO_WND_PERSIST  16 /* recoveries for which a wider window stays, 6.2 step 4 */
#define MIN_RTT_AGE_NS   (300 * NSEC_PER_S) /* RFC 8985 6.2 step 1 leaves the filter open */
#define PTO_MIN_NS       (4 * NSEC_PER_MS)
#define PEER_DELACK_NS   (40 * NSEC_PER_MS) /* by which Linux delays the ACK of a lone segment */
#define TLP_DELAYS_MAX   5

/* RFC 8985 6.2 step 2, RACK_sent_after. */
static inline bool sent_after(uint64_t t1, uint32_t seq1, uint64_t t2, uint32_t seq2)
{
    return t1 > t2 || (t1 == t2 && seq_lt(seq2, seq1));
}

static void min_rtt_update(struct tcp_conn *tc, uint64_t rtt)
{
    struct tcp_loss *l = tc->cold->loss;
    uint64_t now = tc->net->now_ns;
    if (!l->min_rtt_ns || rtt <= l->min_rtt_ns || now - l->min_rtt_at_ns > MIN_RTT_AGE_NS) {
        l->min_rtt_ns = rtt ? rtt : 1;
        l->min_rtt_at_ns = now;
    }
}

/* 6.2 steps 1 to 3. */
void tcp_rack_delivered(struct tcp_conn *tc, const struct tx_seg *s, const struct tcp_seg *seg)
{
    struct tcp_loss *l = tc->cold->loss;
    uint64_t rtt = tc->net->now_ns - s->sent_ns;
    uint32_t end = s->seq + s->len;
    if (s->flags & TXS_RETX) {
        /* Perhaps the first copy arrived, late: then the time of the second says nothing. The echo tells
         * only where SND.UNA moved: while there is a hole it stays what it was before (RFC 7323 4.3 (2)),
         * and every retransmission SACKed behind a hole would be taken for such a copy. */
        uint32_t sent_ts = (uint32_t)(s->sent_ns / NSEC_PER_MS) + tc->cold->ts_offset;
        if (seg && seg->has_ts && seg->tsecr && seq_lt(seg->tsecr, sent_ts))
            return;
        if (rtt < l->min_rtt_ns)
            return;
    } else {
        min_rtt_update(tc, rtt);
        if (seq_lt(end, l->rack_fack) && !l->reordering_seen) {
            l->reordering_seen = true;
            STAT_INC(tc->net->stats->tcp_sack_reorder);
        }
    }
    if (seq_lt(l->rack_fack, end))
        l->rack_fack = end;
    if (!l->rack_xmit_ns || sent_after(s->sent_ns, end, l->rack_xmit_ns, l->rack_end_seq)) {
        l->rack_xmit_ns = s->sent_ns;
        l->rack_end_seq = end;
        l->rack_rtt_ns = rtt;
    }
}

static uint64_t srtt_ns(const struct tcp_conn *tc)
{
    return (uint64_t)(tc->cold->srtt_x8 >> 3) << TCP_RTT_SHIFT;
}

/* 6.2 step 4. */
static uint64_t reo_wnd(const struct tcp_conn *tc)
{
    const struct tcp_loss *l = tc->cold->loss;
    uint64_t srtt = srtt_ns(tc), min_rtt = l->min_rtt_ns ? l->min_rtt_ns : srtt, wnd;
    if (!l->reordering_seen &&
        ((tc->flags & (TF_RECOVERY | TF_LOSS)) || tc->cold->sacked_bytes >= 3u * tc->mss))
        return 0; /* DupThresh segments: no reason to wait */
    wnd = min_rtt / 4 * (l->reo_wnd_mult ? l->reo_wnd_mult : 1);
    return wnd < srtt ? wnd : srtt;
}

void tcp_rack_dsack_seen(struct tcp_conn *tc)
{
    struct tcp_loss *l = tc->cold->loss;
    if (l->in_dsack_round && seq_le(l->dsack_round, tc->snd_una))
        l->in_dsack_round = false;
    if (l->in_dsack_round)
        return;
    l->in_dsack_round = true;
    l->dsack_round = tc->snd_nxt;
    if (l->reo_wnd_mult < REO_WND_MULT_MAX)
        l->reo_wnd_mult = (uint8_t)(l->reo_wnd_mult + (l->reo_wnd_mult ? 1 : 2));
    l->reo_wnd_persist = REO_WND_PERSIST;
}

void tcp_rack_recovery_over(struct tcp_conn *tc)
{
    struct tcp_loss *l = tc->cold->loss;
    if (l->reo_wnd_persist && !--l->reo_wnd_persist)
        l->reo_wnd_mult = 1;
}

static void mark_lost(struct tcp_conn *tc, struct tx_seg *s)
{
    struct tcp_cold *c = tc->cold;
    if (s->flags & TXS_RETX)
        STAT_INC(tc->net->stats->tcp_lost_retransmit);
    s->flags |= TXS_LOST;
    c->lost_bytes += s->len;
    c->rtx = NULL;
}

/* 6.2 step 5. */
uint32_t tcp_rack_detect(struct tcp_conn *tc)
{
    struct tcp_loss *l = tc->cold->loss;
    uint64_t now = tc->net->now_ns, wait = 0;
    uint32_t marked = 0;
    if (!l->rack_xmit_ns)
        return 0;
    uint64_t patience = l->rack_rtt_ns + reo_wnd(tc);
    for (struct tx_seg *s = tc->q_head; s && (s->flags & TXS_SENT); s = s->next) {
        if (s->flags & (TXS_SACKED | TXS_LOST))
            continue;
        if (!sent_after(l->rack_xmit_ns, l->rack_end_seq, s->sent_ns, s->seq + s->len)) {
            if (!(s->flags & TXS_RETX))
                break; /* all behind it were sent later still, for the first time or again */
            continue;
        }
        uint64_t until = s->sent_ns + patience;
        if (until <= now) {
            mark_lost(tc, s);
            marked += s->len;
        } else if (until - now > wait) {
            wait = until - now;
        }
    }
    if (wait)
        tcp_timer_set(tc, TT_REO, now + wait);
    else
        tcp_timer_clear(tc, TT_REO);
    if (marked)
        tcp_trace(tc, TR_LOST, 0, marked);
    return marked;
}

void tcp_rack_timeout(struct tcp_conn *tc)
{
    struct tcp_loss *l = tc->cold->loss;
    uint64_t now = tc->net->now_ns, srtt = srtt_ns(tc);
    uint64_t patience = (l->rack_rtt_ns > srtt ? l->rack_rtt_ns : srtt) + reo_wnd(tc);
    for (struct tx_seg *s = tc->q_head; s && (s->flags & TXS_SENT); s = s->next) {
        if (s->flags & (TXS_SACKED | TXS_LOST))
            continue;
        if (s == tc->q_head || s->sent_ns + patience <= now)
            mark_lost(tc, s);
    }
    tcp_trace(tc, TR_LOST, 0, tc->cold->lost_bytes);
    tcp_timer_clear(tc, TT_REO);
}

/* ---- tail loss probe, RFC 8985 7 ---- */

/* 7.2: in the open state, nothing SACKed, something of the queue in flight, an RTT known. */
static inline bool tlp_may(const struct tcp_conn *tc)
{
    const struct tcp_cold *c = tc->cold;
    return (tc->flags & TF_SACK) && !(tc->flags & (TF_RECOVERY | TF_LOSS)) && !c->loss->tlp_out &&
           !c->sacked_bytes && !c->lost_bytes && !c->backoff && c->srtt_x8 && tc->snd_wnd &&
           tc->q_head && (tc->q_head->flags & TXS_SENT);
}

static inline bool lone(const struct tcp_conn *tc)
{
    const struct tx_seg *second = tc->q_head->next;
    return !second || !(second->flags & TXS_SENT);
}

/* The worst delay of the ACK of a lone segment, as far as this peer has shown one: without it the last
 * reply to every client that delays would be sent twice; with it from the start, the loss of a last
 * reply would always cost those 40 ms. */
static inline uint64_t peer_delay(const struct tcp_conn *tc)
{
    return tc->cold->loss->tlp_delays ? PEER_DELACK_NS : 0;
}

uint64_t tcp_tlp_at_ns(const struct tcp_conn *tc)
{
    const struct tcp_cold *c = tc->cold;
    if (!tlp_may(tc) || lone(tc) || c->deadline_ns[TT_REXMIT] == UINT64_MAX)
        return UINT64_MAX; /* of a lone segment the probe goes when the timer runs out */
    uint64_t rto_at = c->deadline_ns[TT_REXMIT], base = rto_at - c->rto_ns;
    uint64_t pto = 2 * srtt_ns(tc);
    if (base < c->last_tx_ns)
        base = c->last_tx_ns;
    base += pto > PTO_MIN_NS ? pto : PTO_MIN_NS;
    return base < rto_at ? base : rto_at;
}

bool tcp_tlp_fire(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    uint64_t now = tc->net->now_ns;
    if (!tlp_may(tc))
        return false;
    uint64_t delay = peer_delay(tc), sent = tc->q_head->sent_ns;
    if (delay && lone(tc) && now - sent < c->rto_ns + delay) {
        tcp_timer_set(tc, TT_REXMIT, sent + c->rto_ns + delay);
        return true;
    }
    c->loss->tlp_due = true;
    tc->flags |= TF_CARE;
    tcp_timer_set(tc, TT_REXMIT, now + c->rto_ns); /* 7.3: after a probe the timeout runs */
    tcp_mark(tc);
    return true;
}

void tcp_tlp_sent(struct tcp_conn *tc)
{
    struct tcp_loss *l = tc->cold->loss;
    STAT_INC(tc->net->stats->tcp_loss_probes);
    l->tlp_due = false;
    l->tlp_out = true;
    l->tlp_end_seq = tc->snd_nxt - !!(tc->flags & TF_FIN_SENT);
    l->tlp_flight = tcp_flight(tc);
}

/* 7.4.2. */
void tcp_tlp_ack(struct tcp_conn *tc, const struct tcp_seg *seg, bool advances, bool dsack_of_probe)
{
    struct tcp_loss *l = tc->cold->loss;
    if (seq_lt(seg->ack, l->tlp_end_seq))
        return;
    if (dsack_of_probe) {
        /* Both copies arrived: the ACK was only slow. */
        l->tlp_out = false;
        if (l->tlp_flight <= tc->mss && l->tlp_delays < TLP_DELAYS_MAX)
            l->tlp_delays++;
    } else if (seq_lt(l->tlp_end_seq, seg->ack)) {
        /* The probe repaired a loss that nobody saw: cwnd answers for it (7.4.2). */
        l->tlp_out = false;
        STAT_INC(tc->net->stats->tcp_loss_probe_recovery);
        tcp_cwnd_reduce(tc, l->tlp_flight, false);
    } else if (!advances && !seg->sack_n && !seg->len) {
        l->tlp_out = false;
    }
    tcp_care(tc);
}
