/* Two whole stacks on a simulated wire: handshake, data both ways, teardown, and the same under loss,
 * reordering, duplication and corruption, bit-exact and repeatable by seed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mempool.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/pair.h"

static bool transferred(void *ctx)
{
    struct pair *p = ctx;
    struct stream *s = &p->server->stream[0];
    return p->c->rx_seen >= p->c->rx_total && p->server->used && s->rx_seen >= s->rx_total;
}

static bool both_closed(void *ctx)
{
    struct pair *p = ctx;
    return p->c->closed && p->server->used && p->server->stream[0].closed;
}

static void test_handshake_and_echo(void **state)
{
    (void)state;
    struct pair p;
    pair_up(&p, 1, NULL, NULL, NULL);
    struct stream *s = pair_connect(&p, 5, 5);
    assert_true(wire_run(&p.w, p.w.now_ns + WIRE_SEC, transferred, &p));
    assert_true(s->connected);
    assert_false(s->mismatch);
    assert_false(p.server->stream[0].mismatch);
    struct tcp_info ti;
    tcp_info(s->tc, &ti);
    assert_string_equal(tcp_state_name(ti.state), "ESTABLISHED");
    assert_int_equal(ti.mss, 1448);
    s->want_close = true;
    assert_true(wire_run(&p.w, p.w.now_ns + WIRE_SEC, both_closed, &p));
    assert_int_equal(s->err, 0);
    assert_int_equal(p.server->stream[0].err, 0);
    assert_int_equal(p.hc->stats.tcp_time_wait, 1);
    assert_int_equal(p.hs->stats.tcp_conns, 0);
    wire_run(&p.w, p.w.now_ns + 70 * WIRE_SEC, NULL, NULL);
    assert_int_equal(p.hc->stats.tcp_conns, 0);
    assert_int_equal(p.hc->stats.tcp_retrans_segs, 0);
    pair_down(&p);
}

static void test_bulk_both_ways(void **state)
{
    (void)state;
    struct pair p;
    pair_up(&p, 2, NULL, NULL, NULL);
    struct stream *s = pair_connect(&p, 8 << 20, 8 << 20);
    assert_true(wire_run(&p.w, p.w.now_ns + 60 * WIRE_SEC, transferred, &p));
    assert_false(s->mismatch);
    assert_false(p.server->stream[0].mismatch);
    assert_int_equal(s->rx_seen, 8 << 20);
    assert_int_equal(p.hc->stats.tcp_retrans_segs + p.hs->stats.tcp_retrans_segs, 0);
    pair_down(&p);
}

static uint64_t tune_seed; /* what the stacks of a lossy run are like */
static bool tune_traced;   /* every segment goes the general way */
static bool
    tune_smooth; /* no impairment, and nothing outside the stacks depends on the number of turns */

static void tune_lossy(struct net_config *c, bool server)
{
    static const uint32_t rcv[] = {3000, 20000, 65535, 262144, 1 << 20};
    static const uint16_t mtu[] = {1500, 1500, 576, 1400};
    uint64_t r = (tune_seed + server) * 0x9e3779b97f4a7c15ull;
    c->rcv_buf_bytes = rcv[(r >> 20) % 5];
    c->snd_buf_bytes = rcv[(r >> 30) % 5];
    c->mtu = mtu[(r >> 40) % 4];
    if (c->ip6_count && c->mtu < 1280)
        c->mtu = 1280;
    c->ooo_segs = 4 + (uint32_t)(r >> 50) % 60;
    if (tune_traced)
        c->trace = TCP_TRACE_YES;
}

/* One transfer both ways over a bad line, a slow reader now and then, then the end in one of three
 * orders; everything is back where it was afterwards. Returns the trace's hash. */
static uint64_t lossy_run(uint64_t seed, uint64_t bytes)
{
    struct pair p;
    tune_seed = seed;
    pair_up(&p, seed, NULL, NULL, tune_lossy);
    struct wire_impair im = {.loss_ppm = (uint32_t)(wire_random(&p.w) % 100000),
                             .dup_ppm = (uint32_t)(wire_random(&p.w) % 20000),
                             .corrupt_ppm = (uint32_t)(wire_random(&p.w) % 20000),
                             .reorder_ppm = (uint32_t)(wire_random(&p.w) % 100000),
                             .delay_ns = 20000 + wire_random(&p.w) % 2000000,
                             .jitter_ns = 1 + wire_random(&p.w) % 100000};
    p.hc->impair = p.hs->impair = im;
    p.hc->nic_hold = p.hs->nic_hold = (uint32_t)(wire_random(&p.w) % 64);
    p.hs->tx_refuse_after = (uint16_t)(wire_random(&p.w) % 12);
    struct stream *s = pair_connect(&p, bytes, bytes);
    s->hold_all = wire_random(&p.w) % 3 == 0;
    s->drain_every = 1 + (unsigned)(wire_random(&p.w) % 10);
    if (tune_smooth) {
        p.hc->impair = p.hs->impair =
            (struct wire_impair){.delay_ns = im.delay_ns, .jitter_ns = im.jitter_ns};
        p.hs->tx_refuse_after = 0;
        s->hold_all = false;
    }
    bool ok = wire_run(&p.w, p.w.now_ns + 3600 * WIRE_SEC, transferred, &p);
    struct stream *t = &p.server->stream[0];
    if (!ok || s->mismatch)
        print_error("seed %lu: up %lu down %lu of %lu err %d/%d loss %u\n", (unsigned long)seed,
                    (unsigned long)t->rx_seen, (unsigned long)s->rx_seen, (unsigned long)bytes,
                    s->err, s->connect_err, im.loss_ppm);
    assert_true(ok);
    assert_false(s->mismatch);
    assert_false(t->mismatch);
    if (s->tc && s->rx_held)
        tcp_rx_hold(s->tc, 0);
    s->hold_all = false;
    uint64_t order = wire_random(&p.w) % 3; /* client first, server first, both at once */
    s->want_close = order != 1;
    t->want_close = order != 0;
    s->close_on_peer_close = true;
    assert_true(wire_run(&p.w, p.w.now_ns + 600 * WIRE_SEC, both_closed, &p));
    wire_run(&p.w, p.w.now_ns + 300 * WIRE_SEC, NULL, NULL);
    assert_int_equal(p.hc->stats.tcp_conns, 0);
    assert_int_equal(p.hs->stats.tcp_conns, 0);
    uint64_t hash = p.w.hash;
    pair_down(&p);
    return hash;
}

static void test_lossy_seeds(void **state)
{
    (void)state;
    const char *n = getenv("NET_SEEDS"); /* more of them by hand */
    uint64_t seeds = n ? strtoull(n, NULL, 10) : 60;
    for (uint64_t seed = 1; seed <= seeds; seed++)
        lossy_run(seed, 60000);
}

/* Many connections at once over a bad line, opened and closed in waves: records, timers and mbufs are
 * back at the baseline between waves. */
static bool wave_done(void *ctx)
{
    struct pair *p = ctx;
    for (unsigned i = 0; i < p->client->used; i++) {
        if (!p->client->stream[i].closed)
            return false;
    }
    for (unsigned i = 0; i < p->server->used; i++) {
        if (!p->server->stream[i].closed)
            return false;
    }
    return true;
}

static void tune_churn(struct net_config *c, bool server)
{
    (void)server;
    c->time_wait_ms = 500;
    c->max_conns = 1024;
}

static void test_churn(void **state)
{
    (void)state;
    struct pair p;
    pair_up(&p, 77, NULL, NULL, tune_churn);
    p.hc->impair = p.hs->impair = (struct wire_impair){
        .loss_ppm = 30000, .dup_ppm = 10000, .reorder_ppm = 30000, .delay_ns = 100000};
    for (int wave = 0; wave < 8; wave++) {
        p.client->used = p.server->used = 0;
        for (int i = 0; i < 150; i++)
            pair_connect(&p, 100 + 40u * (unsigned)i, 3000)->want_close = i % 3 != 0;
        for (int i = 0; i < 150; i++) {
            p.client->stream[i].close_on_peer_close = true;
            p.client->stream[i].tx_total = p.server->accept_as.rx_total;
        }
        p.server->accept_as.want_close = true; /* after its 3000 octets: a third closes first */
        bool done = wire_run(&p.w, p.w.now_ns + 900 * WIRE_SEC, wave_done, &p);
        assert_true(done);
        wire_run(&p.w, p.w.now_ns + 10 * WIRE_SEC, NULL, NULL);
        assert_int_equal(p.hc->stats.tcp_conns + p.hs->stats.tcp_conns, 0);
        assert_int_equal(p.hc->stats.tcp_curr_estab + p.hs->stats.tcp_curr_estab, 0);
        assert_int_equal(p.hc->stats.tcp_time_wait + p.hs->stats.tcp_time_wait, 0);
        assert_int_equal(rte_mempool_in_use_count(p.hc->pool), 0);
        assert_int_equal(rte_mempool_in_use_count(p.hs->pool), 0);
    }
    pair_down(&p);
}

static void test_same_seed_same_trace(void **state)
{
    (void)state;
    uint64_t a = lossy_run(4711, 200000), b = lossy_run(4711, 200000), c = lossy_run(4712, 200000);
    assert_int_equal(a, b);
    assert_int_not_equal(a, c);
}

/* The short ways of input and output only save work: with the trace on nothing takes them, and the wire carries the same octets at the
 * same times. (But for losses: when a probe goes depends on when the timer's entry was last looked at.) */
static void test_short_ways_say_the_same(void **state)
{
    (void)state;
    const char *n = getenv("NET_SEEDS");
    uint64_t seeds = n ? strtoull(n, NULL, 10) : 40;
    tune_smooth = true;
    for (uint64_t seed = 5000; seed < 5000 + seeds; seed++) {
        uint64_t with = lossy_run(seed, 30000);
        tune_traced = true;
        uint64_t without = lossy_run(seed, 30000);
        tune_traced = false;
        if (with != without)
            print_error("seed %lu\n", (unsigned long)seed);
        assert_int_equal(with, without);
    }
    tune_smooth = false;
}

/* ---- numbers that wrap ---- */

#define WRAP_BYTES 200000u

/* Before its SYN or SYN-ACK leaves: sequence numbers wrap in the middle of the transfer, timestamps after 8 ms. */
static void near_the_wrap(struct tcp_conn *tc, uint32_t before)
{
    struct tcp_cold *c = tc->cold;
    c->iss = tc->snd_una = tc->snd_nxt = c->recover = 0u - before;
    c->ts_offset = 0u - tc->net->now_ms - 8;
}

static void (*wrap_app_step)(void *ctx, struct wire_host *h);
static uint32_t wrap_before;

static void wrap_step(void *ctx, struct wire_host *h)
{
    struct tcp_conn *tc = &h->net->conns[0];
    if (tc->net && tc->state == TCP_SYN_RCVD && (tc->flags & TF_SYN_DUE) && !tc->cold->retrans)
        near_the_wrap(tc, wrap_before);
    wrap_app_step(ctx, h);
}

/* RFC 9293 3.4, RFC 7323 5.2: both sequence numbers and both timestamps pass zero while 5 % of the segments are lost both ways. */
static void test_wraps_under_loss(void **state)
{
    (void)state;
    unsigned long lost = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct pair p;
        pair_up(&p, seed, NULL, NULL, NULL);
        p.hc->impair = p.hs->impair = (struct wire_impair){
            .loss_ppm = 50000, .reorder_ppm = 20000, .dup_ppm = 5000, .delay_ns = 1000000};
        wrap_before = 1 + (uint32_t)(wire_random(&p.w) % (WRAP_BYTES - 1));
        wrap_app_step = p.hs->step;
        p.hs->step = wrap_step;
        struct stream *s = pair_connect(&p, WRAP_BYTES, WRAP_BYTES), *t = p.server->stream;
        near_the_wrap(s->tc, 1 + (uint32_t)(wire_random(&p.w) % (WRAP_BYTES - 1)));
        assert_true(wire_run(&p.w, p.w.now_ns + 600 * WIRE_SEC, transferred, &p));
        assert_false(s->mismatch || t->mismatch);
        assert_int_equal(s->rx_seen, WRAP_BYTES);
        assert_int_equal(t->rx_seen, WRAP_BYTES);
        wire_run(&p.w, p.w.now_ns + 20 * WIRE_SEC, NULL, NULL); /* the last ACKs */
        struct tcp_conn *const end[] = {s->tc, t->tc};
        for (unsigned i = 0; i < 2; i++) {
            const struct tcp_cold *c = end[i]->cold;
            assert_true(c->iss > end[i]->snd_una && end[i]->snd_una - c->iss == WRAP_BYTES + 1);
            assert_true(c->irs > end[i]->rcv_nxt); /* the other's have wrapped here too */
            assert_true(end[i]->ts_recent < 1u << 30);
        }
        lost += p.hc->lost_frames + p.hs->lost_frames;
        s->want_close = true;
        assert_true(wire_run(&p.w, p.w.now_ns + 600 * WIRE_SEC, both_closed, &p));
        assert_int_equal(s->err | t->err, 0);
        pair_down(&p);
    }
    print_message("60 connections wrapped, %lu frames were lost\n", lost);
    assert_true(lost > 60 * 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_and_echo),   cmocka_unit_test(test_bulk_both_ways),
        cmocka_unit_test(test_lossy_seeds),          cmocka_unit_test(test_churn),
        cmocka_unit_test(test_same_seed_same_trace), cmocka_unit_test(test_short_ways_say_the_same),
        cmocka_unit_test(test_wraps_under_loss),
    };
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
