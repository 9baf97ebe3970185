/* The congestion control algorithms alone, against their formulas in floating point. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"

#define MSS 1448u
#define MS  1000000ull

struct rig {
    struct net *net;
    struct tcp_cold cold;
    struct tcp_loss loss;
    struct tcp_conn tc;
};

static void rig_up(struct rig *r, const struct tcp_cc *cc, uint32_t cwnd, uint32_t ssthresh)
{
    memset(r, 0, sizeof(*r));
    r->net = calloc(1, sizeof(*r->net));
    r->net->cfg.initial_window_segs = 10;
    r->net->now_ns = 1000 * MS;
    r->cold.loss = &r->loss;
    r->tc = (struct tcp_conn){.net = r->net, .cold = &r->cold, .mss = MSS, .flags = TF_CWND_FULL};
    r->cold.cc = cc;
    r->cold.srtt_x8 = (uint32_t)((20 * MS >> TCP_RTT_SHIFT) << 3);
    r->cold.rto_ns = 200 * MS;
    cc->init(&r->tc);
    r->tc.cwnd = cwnd;
    r->cold.ssthresh = ssthresh;
}

/* One round trip of 20 ms in which a whole window is acknowledged, two segments an ACK. */
static void round_trip(struct rig *r)
{
    uint32_t acks = r->tc.cwnd / (2 * MSS);
    for (uint32_t i = 0; i < acks; i++) {
        r->net->now_ns += 20 * MS / acks;
        r->cold.cc->acked(&r->tc, 2 * MSS);
    }
}

static void lose(struct rig *r)
{
    r->cold.ssthresh = r->cold.cc->ssthresh(&r->tc, r->tc.cwnd, TCP_CC_LOSS);
    r->tc.cwnd = r->cold.ssthresh;
}

static void test_table(void **state)
{
    (void)state;
    assert_string_equal(tcp_cc_get(TCP_CC_CUBIC)->name, "cubic");
    assert_string_equal(tcp_cc_get(TCP_CC_NEWRENO)->name, "newreno");
    assert_string_equal(tcp_cc_get(TCP_CC_DCTCP)->name, "dctcp");
    assert_null(tcp_cc_get(TCP_CC_COUNT));
}

/* RFC 5681 3.1: doubled in slow start, a segment a round trip after; half on loss, two segments at least. */
static void test_newreno(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r, &tcp_cc_newreno, 10 * MSS, 40 * MSS);
    round_trip(&r);
    assert_int_equal(r.tc.cwnd, 20 * MSS);
    round_trip(&r);
    assert_int_equal(r.tc.cwnd, 40 * MSS);
    for (uint32_t i = 1; i <= 10; i++) {
        round_trip(&r);
        assert_in_range(r.tc.cwnd, (40 + i - 1) * MSS, (40 + i) * MSS);
    }
    uint32_t cwnd = r.tc.cwnd;
    lose(&r);
    assert_int_equal(r.tc.cwnd, cwnd / 2);
    assert_int_equal(tcp_cc_newreno.ssthresh(&r.tc, MSS, TCP_CC_TIMEOUT), 2 * MSS);
    r.tc.flags = 0; /* a window that is not used does not grow */
    cwnd = r.tc.cwnd;
    round_trip(&r);
    assert_int_equal(r.tc.cwnd, cwnd);
    free(r.net);
}

/* RFC 9438 4.2, 4.3: after a loss at 1,000 segments the window follows C (t - K)^3 + W_max, or NewReno's
 * estimate where that is more. */
static void test_cubic_curve(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r, &tcp_cc_cubic, 1000 * MSS, 1000 * MSS);
    lose(&r);
    assert_int_equal(r.tc.cwnd, 700 * MSS); /* 4.6: beta 0.7 */
    double k = cbrt(300 / 0.4), t0 = (double)r.net->now_ns / 1e9, worst = 0, est = 700;
    for (int i = 0; i < 700; i++) { /* 14 s: through the plateau and out of it */
        round_trip(&r);
        double t = (double)r.net->now_ns / 1e9 - t0, want = 0.4 * pow(t - k, 3) + 1000;
        est += est < 1000 ? 9 / 17.0 : 1;
        want = want > est ? want : est;
        double got = (double)r.tc.cwnd / MSS, off = fabs(got - want) / want;
        worst = off > worst ? off : worst;
    }
    assert_true(r.tc.cwnd > 1030 * MSS);
    assert_true(worst < 0.02);
    free(r.net);
}

/* 4.7: a second loss below the last plateau gives up more: W_max = cwnd (1 + beta) / 2. */
static void test_cubic_fast_convergence(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r, &tcp_cc_cubic, 1000 * MSS, 1000 * MSS);
    lose(&r);
    assert_int_equal(r.cold.cc_state.cubic.w_max, 1000 * MSS);
    lose(&r);
    assert_int_equal(r.cold.cc_state.cubic.w_max, 595 * MSS);
    assert_int_equal(r.tc.cwnd, 490 * MSS);
    tcp_cc_cubic.undo(&r.tc);
    assert_int_equal(r.cold.cc_state.cubic.w_max, 1000 * MSS);
    free(r.net);
}

/* 4.3: with a short round trip and a small window NewReno's estimate leads: 9/17 of a segment a round
 * trip up to the old window, then a whole one. */
static void test_cubic_friendly(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r, &tcp_cc_cubic, 20 * MSS, 20 * MSS);
    r.cold.srtt_x8 = 8;
    lose(&r);
    assert_int_equal(r.tc.cwnd, 14 * MSS);
    unsigned trips = 0;
    for (; r.tc.cwnd < 20 * MSS && trips < 100; trips++) {
        uint32_t acks = r.tc.cwnd / MSS;
        for (uint32_t i = 0; i < acks; i++)
            tcp_cc_cubic.acked(&r.tc, MSS); /* no time passes: the curve stays where it is */
    }
    assert_in_range(trips, 10, 13); /* 6 / (9/17) = 11.3 */
    uint32_t cwnd = r.tc.cwnd;
    for (unsigned i = 0; i < 5; i++) {
        uint32_t acks = r.tc.cwnd / MSS + 1;
        for (uint32_t k = 0; k < acks; k++)
            tcp_cc_cubic.acked(&r.tc, MSS);
    }
    assert_in_range(r.tc.cwnd - cwnd, 4 * MSS, 6 * MSS);
    free(r.net);
}

/* 5.8: minutes without a full window do not move the curve. */
static void test_cubic_idle(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r, &tcp_cc_cubic, 1000 * MSS, 1000 * MSS);
    lose(&r);
    for (int i = 0; i < 10; i++)
        round_trip(&r);
    uint32_t cwnd = r.tc.cwnd;
    r.net->now_ns += 300 * 1000 * MS;
    round_trip(&r);
    assert_true(r.tc.cwnd < cwnd + cwnd / 20);
    free(r.net);
}

/* Nothing overflows at the largest windows and the longest times. */
static void test_cubic_extremes(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r, &tcp_cc_cubic, TCP_CWND_MAX, TCP_CWND_MAX);
    r.tc.mss = 64;
    lose(&r);
    uint32_t last = r.tc.cwnd;
    for (int i = 0; i < 5000; i++) {
        r.net->now_ns += 100 * MS;
        tcp_cc_cubic.acked(&r.tc, r.tc.cwnd / 4);
        assert_true(r.tc.cwnd >= last && r.tc.cwnd <= TCP_CWND_MAX / 2 * 3);
        last = r.tc.cwnd;
    }
    free(r.net);
    rig_up(&r, &tcp_cc_cubic, 2 * 64, 2 * 64);
    r.tc.mss = 64;
    lose(&r);
    assert_int_equal(r.tc.cwnd, 128);
    free(r.net);
}

/* RFC 8257 3.3: alpha follows the marked part with a gain of 1/16, and cwnd loses half of it. */
static void test_dctcp_alpha(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r, &tcp_cc_dctcp, 100 * MSS, 100 * MSS);
    r.tc.flags |= TF_ECN;
    tcp_cc_dctcp.init(&r.tc);
    assert_true(r.tc.flags & TF_CARE);
    assert_int_equal(tcp_cc_dctcp.ssthresh(&r.tc, 0, TCP_CC_ECN), 50 * MSS); /* alpha 1 */
    double alpha = 1;
    for (int round = 0; round < 200; round++) {
        unsigned marks = round < 100 ? 25 : 0;
        for (unsigned i = 0; i < 100; i++) {
            if (i == 0)
                r.tc.snd_nxt = r.tc.snd_una + 100 * MSS;
            r.tc.snd_una += MSS;
            bool watch = tcp_cc_dctcp.marked(&r.tc, MSS, i < marks);
            assert_true(watch || round > 100);
        }
        alpha += (marks / 100.0 - alpha) / 16;
        if (round == 99) {
            double got = r.cold.cc_state.dctcp.alpha / 1024.0;
            assert_true(fabs(got - alpha) < 0.03);
            uint32_t next = tcp_cc_dctcp.ssthresh(&r.tc, 0, TCP_CC_ECN);
            assert_in_range(next, 85 * MSS, 90 * MSS); /* 1 - 0.25 / 2 */
        }
    }
    assert_int_equal(r.cold.cc_state.dctcp.alpha, 0); /* and then it need not look any more */
    assert_false(tcp_cc_dctcp.marked(&r.tc, MSS, false));
    assert_int_equal(tcp_cc_dctcp.ssthresh(&r.tc, 100 * MSS, TCP_CC_LOSS), 50 * MSS); /* 3.5 */
    free(r.net);
}

/* What rtt_floor_u promises to input_fast: a sample below it needs no look at the RTO, which stays where RFC 6298 2.3 and 2.4 put
 * it, whatever came before: at its floor. */
static void test_rtt_floor(void **state)
{
    (void)state;
    struct rig r;
    uint64_t rng = 1, below = 0;
    rig_up(&r, &tcp_cc_newreno, 10 * MSS, 40 * MSS);
    r.net->rto_max_ns = 60000 * MS;
    for (uint32_t i = 0; i < 300000; i++) {
        rng = rng * 6364136223846793005ull + 1442695040888963407ull;
        if (i % 1000 == 0) { /* another floor, down to none at all; nothing known */
            r.net->rto_min_ns = (uint64_t)(i / 1000 % 30) * MS + 1;
            r.net->rto_min_u = (uint32_t)(r.net->rto_min_ns >> TCP_RTT_SHIFT);
            tcp_rtt_init(&r.tc);
            assert_int_equal(r.cold.rtt_floor_u, 0);
        }
        if (i % 97 == 0) { /* timeouts, until a sample ends the back-off */
            r.cold.backoff = (uint8_t)(1 + i % 3);
            tcp_rto_update(&r.tc);
            assert_int_equal(r.cold.rtt_floor_u, 0);
        }
        uint32_t rare = (rng >> 60) == 0 ? 64 : 1;
        uint64_t rtt = (rng >> 20) % (r.net->rto_min_ns / 8 * rare + 1);
        uint64_t u = rtt >> TCP_RTT_SHIFT;
        if (u >= r.cold.rtt_floor_u) {
            tcp_rtt_sample(&r.tc, rtt);
            continue;
        }
        below++;
        tcp_rtt_smooth(&r.cold, (uint32_t)u + 1);
        uint64_t rto = (uint64_t)((r.cold.srtt_x8 >> 3) + r.cold.rttvar_x4) << TCP_RTT_SHIFT;
        assert_true(rto <= r.net->rto_min_ns && !r.cold.backoff);
        assert_int_equal(r.cold.rto_ns, r.net->rto_min_ns);
    }
    assert_true(below > 100000); /* or it is of no use */
    free(r.net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),          cmocka_unit_test(test_newreno),
        cmocka_unit_test(test_cubic_curve),    cmocka_unit_test(test_cubic_fast_convergence),
        cmocka_unit_test(test_cubic_friendly), cmocka_unit_test(test_cubic_idle),
        cmocka_unit_test(test_cubic_extremes), cmocka_unit_test(test_dctcp_alpha),
        cmocka_unit_test(test_rtt_floor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
