/* tcp_cc_dctcp: Data Center TCP, RFC 8257: the part of a window that was marked says how far to go back.
 * Growth and the reaction to loss are NewReno's (3.4, 3.5). Without ECN (the peer did not agree) nothing
 * else is left of it. */
#include "dataplane/net/tcp_internal.h"

#define DCTCP_ONE 1024 /* alpha 1.0 */
#define G_SHIFT   4    /* g = 1/16, 4.2 */

static void dctcp_init(struct tcp_conn *tc)
{
    /* 3.3: alpha starts at 1: the first mark halves the window. */
    tc->cold->cc_state.dctcp = (struct tcp_dctcp){.alpha = DCTCP_ONE, .window_end = tc->snd_nxt};
    if (tc->flags & TF_ECN) {
        tc->cold->loss->ecn_watch = true;
        tc->flags |= TF_CARE;
    }
}

static void dctcp_acked(struct tcp_conn *tc, uint32_t bytes)
{
    tcp_cc_newreno.acked(tc, bytes);
}

static uint32_t dctcp_ssthresh(struct tcp_conn *tc, uint32_t flight, enum tcp_cc_event event)
{
    struct tcp_dctcp *d = &tc->cold->cc_state.dctcp;
    uint32_t floor = 2u * tc->mss;
    if (event != TCP_CC_ECN) /* 3.5: loss is loss */
        return tcp_cc_newreno.ssthresh(tc, flight, event);
    tc->cold->cc_acked = 0;
    /* 3.3 step 9: cwnd (1 - alpha / 2) */
    uint32_t next = tc->cwnd - (uint32_t)((uint64_t)tc->cwnd * d->alpha / (2 * DCTCP_ONE));
    return next > floor ? next : floor;
}

/* 3.3 steps 1 to 8. */
static bool dctcp_marked(struct tcp_conn *tc, uint32_t bytes, bool ece)
{
    struct tcp_dctcp *d = &tc->cold->cc_state.dctcp;
    d->acked += bytes;
    if (ece)
        d->marked += bytes;
    if (seq_lt(d->window_end, tc->snd_una) && d->acked) {
        uint32_t m = (uint32_t)((uint64_t)d->marked * DCTCP_ONE / d->acked);
        /* alpha (1 - g) + g M, rounded so that it does reach 0 */
        uint32_t decay = (d->alpha + (1u << G_SHIFT) - 1) >> G_SHIFT;
        d->alpha = d->alpha - decay + (m >> G_SHIFT);
        if (d->alpha > DCTCP_ONE)
            d->alpha = DCTCP_ONE;
        d->acked = d->marked = 0;
        d->window_end = tc->snd_nxt;
    }
    return d->alpha || d->marked;
}

const struct tcp_cc tcp_cc_dctcp = {
    .name = "dctcp",
    .exact_ecn = true,
    .init = dctcp_init,
    .acked = dctcp_acked,
    .ssthresh = dctcp_ssthresh,
    .marked = dctcp_marked,
};
