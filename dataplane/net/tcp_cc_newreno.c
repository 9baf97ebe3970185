/* tcp_cc_newreno: slow start, congestion avoidance and the reaction to loss of RFC 5681 (appropriate
 * byte counting by RFC 3465). How recovery goes on is tcp_ack.c's (RFC 6582) or tcp_recovery.c's. */
#include "dataplane/net/tcp_internal.h"

static void newreno_init(struct tcp_conn *tc)
{
    (void)tc;
}

static void newreno_acked(struct tcp_conn *tc, uint32_t bytes)
{
    struct tcp_cold *c = tc->cold;
    /* RFC 7661 in short: a window that was not used is not evidence for a larger one. */
    if (!(tc->flags & (TF_CWND_FULL | TF_LOSS)) || tc->cwnd >= TCP_CWND_MAX)
        return;
    if (tcp_cc_slow_start(tc, &bytes))
        return;
    c->cc_acked += bytes;
    if (c->cc_acked >= tc->cwnd) { /* RFC 5681 3.1: one segment per window */
        c->cc_acked -= tc->cwnd;
        tc->cwnd += tc->mss;
    }
}

static uint32_t newreno_ssthresh(struct tcp_conn *tc, uint32_t flight, enum tcp_cc_event event)
{
    uint32_t half = flight / 2, floor = 2u * tc->mss;
    (void)event;
    tc->cold->cc_acked = 0;
    return half > floor ? half : floor; /* RFC 5681 (4) */
}

const struct tcp_cc tcp_cc_newreno = {
    .name = "newreno",
    .init = newreno_init,
    .acked = newreno_acked,
    .ssthresh = newreno_ssthresh,
};
