/* tcp_cc_cubic: CUBIC, RFC 9438, in integers. Slow start is RFC 5681's: no HyStart, whose delay samples
 * mean little where a round trip is a few turns of a poll loop.
 *
 *   W_cubic(t) = C (t - K)^3 + W_max        segments, seconds; here bytes and milliseconds
 *   K = cbrt((W_max - cwnd_epoch) / C)      beta 0.7, C 0.4
 * W_est is what NewReno would have (4.3): on short round trips it is the larger, and cwnd follows it. */
#include "dataplane/net/tcp_internal.h"

#define BETA_NUM 7 /* of 10 */
#define DT_MAX_MS \
    100000 /* C (t-K)^3 stays within 64 bits; the window has met its bound long before */

static uint64_t now_ms(const struct tcp_conn *tc)
{
    return tc->net->now_ns / NSEC_PER_MS + 1; /* never 0 */
}

/* The largest r with r^3 <= v. */
static uint32_t cube_root(uint64_t v)
{
    uint64_t r = 0;
    for (int bit = 20; bit >= 0; bit--) {
        uint64_t t = r | 1ull << bit;
        if (t * t * t <= v)
            r = t;
    }
    return (uint32_t)r;
}

/* 4.2: C t^3 in bytes, for t in ms: 0.4 mss t^3 / 10^9. */
static int64_t cubic_bytes(const struct tcp_conn *tc, int64_t t_ms)
{
    if (t_ms > DT_MAX_MS)
        t_ms = DT_MAX_MS;
    if (t_ms < -DT_MAX_MS)
        t_ms = -DT_MAX_MS;
    return t_ms * t_ms * t_ms / 1000 * (4 * tc->mss) / 10000000;
}

static void epoch_start(struct tcp_conn *tc, uint64_t now)
{
    struct tcp_cubic *q = &tc->cold->cc_state.cubic;
    q->epoch_ms = now;
    q->w_est = tc->cwnd;
    q->est_acked = 0;
    q->origin = q->w_max > tc->cwnd ? q->w_max : tc->cwnd;
    /* K^3 = (W_max - cwnd) / (0.4 mss) seconds cubed, 10^9 ms cubed each */
    q->k_ms = cube_root((uint64_t)(q->origin - tc->cwnd) * 10 / 4 * 1000000 / tc->mss * 1000);
}

static void cubic_init(struct tcp_conn *tc)
{
    tc->cold->cc_state.cubic = (struct tcp_cubic){0};
}

/* 4.3: alpha_cubic = 3 (1 - beta) / (1 + beta) = 9/17 until the window of before the loss is reached. */
static void friendly(struct tcp_conn *tc, uint32_t bytes)
{
    struct tcp_cubic *q = &tc->cold->cc_state.cubic;
    q->est_acked += bytes;
    if (q->est_acked < tc->cwnd)
        return;
    q->est_acked -= tc->cwnd;
    uint32_t step = q->w_est < q->cwnd_prior ? tc->mss * 9u / 17u : tc->mss;
    if (q->w_est < TCP_CWND_MAX)
        q->w_est += step;
}

static void cubic_acked(struct tcp_conn *tc, uint32_t bytes)
{
    struct tcp_cold *c = tc->cold;
    struct tcp_cubic *q = &c->cc_state.cubic;
    if (!(tc->flags & (TF_CWND_FULL | TF_LOSS)) || tc->cwnd >= TCP_CWND_MAX)
        return;
    uint64_t now = now_ms(tc), idle = now - q->last_ms, rto_ms = c->rto_ns / NSEC_PER_MS + 1;
    if (q->epoch_ms && idle > rto_ms) /* 5.8: time in which cwnd was no limit does not count */
        q->epoch_ms += idle;
    q->last_ms = now;
    if (tcp_cc_slow_start(tc, &bytes))
        return;
    if (!q->epoch_ms)
        epoch_start(tc, now);
    friendly(tc, bytes);
    /* 4.2, 4.4, 4.5: where the curve is a round trip from now, within half a window of here. */
    int64_t srtt_ms = (int64_t)(((uint64_t)(c->srtt_x8 >> 3) << TCP_RTT_SHIFT) / NSEC_PER_MS);
    int64_t target = q->origin + cubic_bytes(tc, (int64_t)(now - q->epoch_ms) + srtt_ms - q->k_ms);
    int64_t most = (int64_t)tc->cwnd + tc->cwnd / 2;
    target = target > most ? most : target;
    if (target > tc->cwnd) {
        c->cc_acked += bytes;
        uint64_t step = (uint64_t)(target - tc->cwnd) * c->cc_acked / tc->cwnd;
        if (step) {
            tc->cwnd += (uint32_t)step;
            c->cc_acked = 0;
        }
    }
    if (q->w_est > tc->cwnd)
        tc->cwnd = q->w_est;
}

/* 4.6, 4.7. */
static uint32_t cubic_ssthresh(struct tcp_conn *tc, uint32_t flight, enum tcp_cc_event event)
{
    struct tcp_cold *c = tc->cold;
    struct tcp_cubic *q = &c->cc_state.cubic;
    uint32_t cwnd = tc->cwnd, floor = 2u * tc->mss;
    (void)event;
    /* 4.6 leaves the choice: the last flight of an answer is small and says nothing of the path, and
     * cwnd does not grow where it is no limit. */
    (void)flight;
    q->before_w_max = q->w_max;
    q->cwnd_prior = cwnd;
    /* Fast convergence: a flow that did not come back to its old plateau makes room for others. */
    q->w_max = cwnd < q->w_max ? (uint32_t)((uint64_t)cwnd * (10 + BETA_NUM) / 20) : cwnd;
    q->epoch_ms = 0;
    c->cc_acked = 0;
    uint32_t next = (uint32_t)((uint64_t)cwnd * BETA_NUM / 10);
    return next > floor ? next : floor;
}

static void cubic_undo(struct tcp_conn *tc)
{
    struct tcp_cubic *q = &tc->cold->cc_state.cubic;
    q->w_max = q->before_w_max;
    q->epoch_ms = 0;
}

const struct tcp_cc tcp_cc_cubic = {
    .name = "cubic",
    .init = cubic_init,
    .acked = cubic_acked,
    .ssthresh = cubic_ssthresh,
    .undo = cubic_undo,
};
