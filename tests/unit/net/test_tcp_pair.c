/* Two whole stacks on a simulated wire: handshake, data both ways, teardown, and the same under loss,
 * reordering, duplication and corruption, bit-exact and repeatable by seed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/net/check.h"
#include "tests/unit/net/wire.h"

#define IP_A 0x0a000001u
#define IP_B 0x0a000002u

struct pair {
    struct wire w;
    struct stream_app *client, *server;
    struct wire_host *hc, *hs;
    struct stream *c; /* the client's stream */
};

static void pair_up(struct pair *p, uint64_t seed, void (*tune)(struct net_config *c, bool server))
{
    struct net_config cc, cs;
    memset(p, 0, sizeof(*p));
    p->client = malloc(sizeof(*p->client));
    p->server = malloc(sizeof(*p->server));
    wire_init(&p->w, seed);
    wire_config(&cc, IP_A);
    wire_config(&cs, IP_B);
    cs.listen_port = 6379;
    if (tune) {
        tune(&cc, false);
        tune(&cs, true);
    }
    stream_app_init(p->client);
    stream_app_init(p->server);
    p->hc = wire_host_net(&p->w, &cc, &p->client->app);
    p->hs = wire_host_net(&p->w, &cs, &p->server->app);
    stream_app_attach(p->client, p->hc);
    stream_app_attach(p->server, p->hs);
    p->hc->impair.delay_ns = p->hs->impair.delay_ns = 50000;
}

static void pair_down(struct pair *p)
{
    wire_fini(&p->w);
    free(p->client);
    free(p->server);
}

static struct stream *connect_stream(struct pair *p, uint64_t up, uint64_t down)
{
    struct stream *s = &p->client->stream[p->client->used++];
    *s = (struct stream){
        .host = p->hc, .tx_seed = 7, .rx_seed = 9, .tx_total = up, .rx_total = down};
    p->server->accept_as = (struct stream){
        .tx_seed = 9, .rx_seed = 7, .tx_total = down, .rx_total = up, .close_on_peer_close = true};
    s->tc = tcp_connect(p->hc->net, IP_B, 6379, 0, s, p->w.now_ns);
    assert_non_null(s->tc);
    p->c = s;
    return s;
}

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
    pair_up(&p, 1, NULL);
    struct stream *s = connect_stream(&p, 5, 5);
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
    pair_up(&p, 2, NULL);
    struct stream *s = connect_stream(&p, 8 << 20, 8 << 20);
    assert_true(wire_run(&p.w, p.w.now_ns + 60 * WIRE_SEC, transferred, &p));
    assert_false(s->mismatch);
    assert_false(p.server->stream[0].mismatch);
    assert_int_equal(s->rx_seen, 8 << 20);
    assert_int_equal(p.hc->stats.tcp_retrans_segs + p.hs->stats.tcp_retrans_segs, 0);
    pair_down(&p);
}

static uint64_t lossy_run(uint64_t seed, uint64_t bytes)
{
    struct pair p;
    pair_up(&p, seed, NULL);
    struct wire_impair im = {.loss_ppm = (uint32_t)(wire_random(&p.w) % 100000),
                             .dup_ppm = (uint32_t)(wire_random(&p.w) % 20000),
                             .corrupt_ppm = (uint32_t)(wire_random(&p.w) % 20000),
                             .reorder_ppm = (uint32_t)(wire_random(&p.w) % 100000),
                             .delay_ns = 20000 + wire_random(&p.w) % 2000000,
                             .jitter_ns = 1 + wire_random(&p.w) % 100000};
    p.hc->impair = p.hs->impair = im;
    p.hc->nic_hold = p.hs->nic_hold = (uint32_t)(wire_random(&p.w) % 64);
    p.hs->tx_refuse_after = (uint16_t)(wire_random(&p.w) % 12);
    struct stream *s = connect_stream(&p, bytes, bytes);
    bool ok = wire_run(&p.w, p.w.now_ns + 600 * WIRE_SEC, transferred, &p);
    if (!ok || s->mismatch)
        print_error("seed %lu: up %lu down %lu of %lu err %d/%d loss %u\n", (unsigned long)seed,
                    (unsigned long)p.server->stream[0].rx_seen, (unsigned long)s->rx_seen,
                    (unsigned long)bytes, s->err, s->connect_err, im.loss_ppm);
    assert_true(ok);
    assert_false(s->mismatch);
    assert_false(p.server->stream[0].mismatch);
    s->want_close = true;
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
    for (uint64_t seed = 1; seed <= 60; seed++)
        lossy_run(seed, 100000);
}

static void test_same_seed_same_trace(void **state)
{
    (void)state;
    uint64_t a = lossy_run(4711, 200000), b = lossy_run(4711, 200000), c = lossy_run(4712, 200000);
    assert_int_equal(a, b);
    assert_int_not_equal(a, c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_and_echo),
        cmocka_unit_test(test_bulk_both_ways),
        cmocka_unit_test(test_lossy_seeds),
        cmocka_unit_test(test_same_seed_same_trace),
    };
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
