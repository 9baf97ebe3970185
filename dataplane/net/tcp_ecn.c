/* tcp_ecn: explicit congestion notification, RFC 3168 6.1, and the exact echo of RFC 8257 3.2.
 *
 *   as receiver: CE on text -> TF_ECE: every segment we send says ECE, until the peer says CWR
 *                (exact: ECE tells the mark of the text it acknowledges; a change sends an ACK at once)
 *   as sender:   ECE -> cwnd goes back, once per window; the next new segment says CWR
 * Only text is sent as ECT; bare ACKs, retransmissions and probes are not (6.1.4 to 6.1.6). */
#include "dataplane/net/tcp_internal.h"

static void exact_echo(struct tcp_conn *tc, bool ce)
{
    if (ce == !!(tc->flags & TF_ECE))
        return;
    /* RFC 8257 3.2: what came before has the other mark: its ACK must not say this one. */
    if (tc->rcv_acked != tc->rcv_nxt)
        tcp_send_ack(tc);
    tc->flags ^= TF_ECE;
    tcp_ack_now(tc);
}

void tcp_ecn_input(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    bool ce = seg->ecn == IP_CE;
    if (!seg->len)
        return;
    if (ce)
        STAT_INC(tc->net->stats->tcp_ecn_ce_in);
    if (tc->cold->cc->exact_ecn) {
        exact_echo(tc, ce);
        return;
    }
    if (seg->flags & TH_CWR) /* 6.1.3: heard; a mark on this very segment counts anew */
        tc->flags &= ~TF_ECE;
    if (ce && !(tc->flags & TF_ECE)) {
        tc->flags |= TF_ECE;
        tcp_ack_now(tc);
    }
}

void tcp_ecn_ack(struct tcp_conn *tc, const struct tcp_seg *seg, uint32_t acked)
{
    struct tcp_cold *c = tc->cold;
    bool ece = seg->flags & TH_ECE;
    if (c->cc->marked) {
        c->loss->ecn_watch = c->cc->marked(tc, acked, ece);
        tcp_care(tc);
    }
    if (!ece)
        return;
    STAT_INC(tc->net->stats->tcp_ecn_ece_in);
    if (c->loss->cwr_round && seq_le(c->loss->cwr_end, tc->snd_una))
        c->loss->cwr_round = false;
    if (c->loss->cwr_round) /* 6.1.2: once per window */
        return;
    STAT_INC(tc->net->stats->tcp_ecn_reduced);
    tcp_cwnd_reduce(tc, acked + tcp_flight(tc), true);
}
