/* tcp_cc: the table of congestion control algorithms (tcp_cc.h) and the slow start they share. */
#include "dataplane/net/tcp_internal.h"

const struct tcp_cc *tcp_cc_get(unsigned congestion)
{
    static const struct tcp_cc *const table[TCP_CC_COUNT] = {
        [TCP_CC_CUBIC] = &tcp_cc_cubic,
        [TCP_CC_NEWRENO] = &tcp_cc_newreno,
        [TCP_CC_DCTCP] = &tcp_cc_dctcp,
    };
    return congestion < TCP_CC_COUNT ? table[congestion] : NULL;
}

bool tcp_cc_slow_start(struct tcp_conn *tc, uint32_t *bytes)
{
    struct tcp_cold *c = tc->cold;
    if (tc->cwnd >= c->ssthresh)
        return false;
    /* Bytes, not ACKs, are counted (RFC 3465): our peers and we acknowledge whole bursts.
     * After a timeout one segment per ACK at most (RFC 3465 2.3). */
    uint32_t step = (tc->flags & TF_LOSS) && *bytes > tc->mss ? tc->mss : *bytes;
    uint32_t room = c->ssthresh - tc->cwnd;
    if (step > room)
        step = room;
    tc->cwnd += step;
    *bytes -= step;
    return tc->cwnd < c->ssthresh || (tc->flags & TF_LOSS) || !*bytes;
}
