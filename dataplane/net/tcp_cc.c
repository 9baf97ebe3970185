/* tcp_cc: congestion control behind one small table (struct tcp_cc). Here: slow start, congestion
 * avoidance and the reaction to loss of RFC 5681 with NewReno (RFC 6582). What is inflated and
 * deflated during recovery is tcp_ack.c's. */
#include "dataplane/net/tcp_internal.h"

#define CWND_MAX (1u << 30)

static void newreno_init(struct tcp_conn *tc)
{
    /* RFC 5681 3.1: after a lost SYN the initial window is one segment. */
    uint32_t segs = tc->cold->retrans ? 1 : tc->net->cfg.initial_window_segs;
    tc->cwnd = segs * tc->mss;
    tc->cold->ssthresh = CWND_MAX;
}

static void newreno_acked(struct tcp_conn *tc, uint32_t bytes)
{
    struct tcp_cold *c = tc->cold;
    /* RFC 7661 in short: a window that was not used is not evidence for a larger one. */
    if (!(tc->flags & (TF_CWND_FULL | TF_LOSS)) || tc->cwnd >= CWND_MAX)
        return;
    if (tc->cwnd < c->ssthresh) {
        /* Bytes, not ACKs, are counted (RFC 3465): our peers and we acknowledge whole bursts.
         * After a timeout one segment per ACK at most (RFC 3465 2.3). */
        uint32_t step = (tc->flags & TF_LOSS) && bytes > tc->mss ? tc->mss : bytes;
        if (step > c->ssthresh - tc->cwnd)
            step = c->ssthresh - tc->cwnd;
        tc->cwnd += step;
        return;
    }
    c->cc_acked += bytes;
    if (c->cc_acked >= tc->cwnd) { /* RFC 5681 3.1: one segment per window */
        c->cc_acked -= tc->cwnd;
        tc->cwnd += tc->mss;
    }
}

static void newreno_loss(struct tcp_conn *tc, uint32_t flight, bool timeout)
{
    struct tcp_cold *c = tc->cold;
    uint32_t half = flight / 2, floor = 2u * tc->mss;
    c->ssthresh = half > floor ? half : floor; /* RFC 5681 (4) */
    c->cc_acked = 0;
    tc->cwnd = timeout ? tc->mss : c->ssthresh + 3u * tc->mss;
}

const struct tcp_cc tcp_cc_newreno = {
    .name = "newreno",
    .init = newreno_init,
    .acked = newreno_acked,
    .loss = newreno_loss,
};
