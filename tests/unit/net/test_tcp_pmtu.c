/* What ICMP says about the path of a connection: believed about segments in flight within bounds, lowered MSS, data sent again in
 * pieces that fit; what is forged or soft changes nothing. Over IPv4 and, with BAREWIRE_TEST_V6, IPv6. */
#include <string.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"
#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

#define UNREACHABLE PEER_UNREACHABLE
#define TOO_BIG     PEER_TOO_BIG
#define TIME        PEER_TIME

static unsigned headers(const struct peer *p)
{
    return peer_ip_bytes(p) + 20;
}

static void error(struct peer *p, int kind, uint32_t mtu, uint32_t seq, uint32_t bytes)
{
    uint8_t f[512];
    uint32_t n = peer_error_frame(p, f, kind, mtu, seq, bytes);
    peer_inject(p, f, n);
}

static uint32_t mss_of(const struct peer *p)
{
    struct tcp_info ti;
    tcp_info(p->s->tc, &ti);
    return ti.mss;
}

static void open_with_flight(struct peer *p, uint32_t bytes)
{
    peer_up(p, NULL);
    peer_handshake(p, 1460, -1, false);
    peer_app_write(p, bytes);
}

static void test_too_big_cuts_what_is_in_flight(void **state)
{
    (void)state;
    struct peer p;
    uint8_t seen[8000];
    open_with_flight(&p, 4000);
    uint32_t start = p.got[p.got_at].seq;
    assert_int_equal(peer_get(&p)->len, 1460);
    assert_int_equal(peer_get(&p)->len, 1460);
    assert_int_equal(peer_get(&p)->len, 1080);
    error(&p, TOO_BIG, 1300, start, 1460 + headers(&p));
    uint32_t mss = 1300 - headers(&p);
    assert_int_equal(mss_of(&p), mss);
    assert_int_equal(p.stack->stats.tcp_pmtu_lowered, 1);
    assert_int_equal(p.stack->stats.icmp_errors_in, 1);
    /* The two that did not fit go again in pieces, the one that did does not; what follows is small. */
    peer_app_write(&p, 3000);
    memset(seen, 0, sizeof(seen));
    p.got_at = 1; /* behind the SYN-ACK */
    while (p.got_at < p.got_len) {
        struct pkt *k = peer_get(&p);
        if (p.got_at > 4)
            assert_true(k->len <= mss);
        for (uint32_t i = 0; i < k->len; i++) {
            assert_int_equal(k->data[i], stream_octet(3, k->seq - start + i));
            if (p.got_at > 4)
                seen[k->seq - start + i]++;
        }
    }
    for (uint32_t i = 0; i < 7000; i++)
        assert_int_equal(seen[i], i < 2920 || i >= 4000);
    assert_int_equal(p.stack->stats.tcp_timeouts, 0);
    p.ack = start + 7000;
    peer_ack(&p);
    assert_int_equal(tcp_tx_queued(p.s->tc), 0);
    assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
    peer_down(&p);
}

/* What waits unsent, larger than the new MSS, is cut before it leaves. */
static void test_too_big_cuts_what_waits(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    p.wnd = 1460;
    peer_handshake(&p, 1460, -1, false);
    peer_app_write(&p, 6000);
    struct pkt *k = peer_get(&p);
    uint32_t start = k->seq;
    peer_none(&p);
    error(&p, TOO_BIG, 1290, start, 1460 + headers(&p));
    p.wnd = 0xffff;
    for (int i = 0; i < 20 && p.ack != start + 6000; i++) {
        while (p.got_at < p.got_len)
            assert_true(peer_get(&p)->len <= 1290 - headers(&p));
        peer_ack(&p);
        peer_wait(&p, WIRE_MS);
    }
    assert_int_equal(p.ack, start + 6000);
    peer_down(&p);
}

static void test_forged_errors(void **state)
{
    (void)state;
    struct peer p;
    open_with_flight(&p, 1460);
    uint32_t seq = peer_get(&p)->seq, bytes = 1460 + headers(&p);
    struct stats_worker *st = &p.stack->stats;
    uint64_t stale = 0;
    error(&p, TOO_BIG, 1300, seq - 1, bytes); /* acknowledged before */
    assert_int_equal(st->drop_icmp_stale, ++stale);
    error(&p, TOO_BIG, 1300, seq + 1460, bytes); /* never sent */
    assert_int_equal(st->drop_icmp_stale, ++stale);
    error(&p, TOO_BIG, 1300, seq + 0x80000000u, bytes);
    assert_int_equal(st->drop_icmp_stale, ++stale);
    error(&p, TOO_BIG, bytes, seq, bytes); /* it would have fitted */
    assert_int_equal(st->drop_icmp_stale, ++stale);
    error(&p, TOO_BIG, 67, seq, bytes); /* no path has that */
    assert_int_equal(st->drop_icmp_stale, ++stale);
    p.port++; /* another connection */
    error(&p, TOO_BIG, 1300, seq, bytes);
    assert_int_equal(st->drop_icmp_stale, ++stale);
    p.port--;
    p.ip += 7;
    error(&p, TOO_BIG, 1300, seq, bytes);
    assert_int_equal(st->drop_icmp_stale, ++stale);
    p.ip -= 7;
    assert_int_equal(mss_of(&p), 1460);
    assert_int_equal(st->icmp_errors_in, 0);
    uint8_t f[512]; /* cut short anywhere: counted, nothing read beyond */
    uint32_t n = peer_error_frame(&p, f, TOO_BIG, 1300, seq, bytes);
    for (uint32_t len = 15; len < n; len++)
        peer_inject(&p, f, len);
    assert_int_equal(mss_of(&p), 1460);
    peer_none(&p);
    peer_down(&p);
}

static void test_bounds(void **state)
{
    (void)state;
    struct peer p;
    open_with_flight(&p, 1460);
    uint32_t seq = peer_get(&p)->seq, bytes = 1460 + headers(&p), least = p.v6 ? 1280 : 552;
    error(&p, TOO_BIG, p.v6 ? 1279 : 300, seq, bytes);
    /* IPv6: below what every link carries, so it lies (RFC 8201 4); IPv4: raised to the bound. */
    assert_int_equal(mss_of(&p), p.v6 ? 1460 : least - headers(&p));
    error(&p, TOO_BIG, least, seq, bytes);
    assert_int_equal(mss_of(&p), least - headers(&p));
    error(&p, TOO_BIG, 1400, seq, bytes); /* never raised */
    assert_int_equal(mss_of(&p), least - headers(&p));
    assert_int_equal(p.stack->stats.tcp_pmtu_lowered, 1);
    peer_down(&p);
}

/* A connection obeys a bounded number of errors, however small their steps. */
static void test_steps_are_bounded(void **state)
{
    (void)state;
    struct peer p;
    open_with_flight(&p, 1460);
    uint32_t seq = peer_get(&p)->seq, bytes = 1460 + headers(&p);
    for (uint32_t i = 1; i <= 3 * LIMIT_TCP_PMTU_CHANGES; i++)
        error(&p, TOO_BIG, bytes - i, seq, bytes);
    assert_int_equal(mss_of(&p), 1460 - LIMIT_TCP_PMTU_CHANGES);
    assert_int_equal(p.stack->stats.tcp_pmtu_lowered, LIMIT_TCP_PMTU_CHANGES);
    peer_down(&p);
}

/* RFC 1191 7.1: a router that names no MTU. */
static void test_old_routers(void **state)
{
    (void)state;
    struct peer p;
    open_with_flight(&p, 1460);
    uint32_t seq = peer_get(&p)->seq, bytes = 1460 + headers(&p);
    error(&p, TOO_BIG, 0, seq, bytes);
    if (p.v6)
        assert_int_equal(mss_of(&p), 1460);
    else
        assert_int_equal(mss_of(&p), 1492 - headers(&p));
    peer_down(&p);
}

/* RFC 5461: no ICMP error ends a connection, neither an open one nor a handshake. */
static void test_soft_errors(void **state)
{
    (void)state;
    struct peer p;
    open_with_flight(&p, 100);
    uint32_t seq = peer_get(&p)->seq;
    error(&p, UNREACHABLE, 0, seq, 100 + headers(&p));
    error(&p, TIME, 0, seq, 100 + headers(&p));
    assert_int_equal(p.stack->stats.icmp_errors_in, 2);
    assert_false(p.s->closed);
    assert_int_equal(mss_of(&p), 1460);
    peer_ack(&p);
    peer_data(&p, peer_octets(0), 10);
    assert_int_equal(p.s->rx_seen, 10);
    peer_down(&p);

    peer_up(&p, NULL); /* a half-open one */
    peer_syn(&p, 1460, -1, false);
    struct pkt *k = peer_get(&p);
    error(&p, UNREACHABLE, 0, k->seq, 4 + headers(&p));
    assert_int_equal(p.stack->stats.icmp_errors_in, 1);
    p.seq++;
    p.ack = k->seq + 1;
    peer_ack(&p);
    assert_int_equal(p.app->accepted, 1);
    peer_down(&p);
}

/* RFC 4821: a path that swallows what is large and says nothing. */
static void test_black_hole(void **state)
{
    (void)state;
    struct peer p;
    open_with_flight(&p, 6000);
    uint32_t start = p.got[p.got_at].seq, base = p.v6 ? 1280 : 1024;
    for (int i = 0; i < 5000 && p.ack != start + 6000; i++) {
        peer_wait(&p, 10 * WIRE_MS);
        uint32_t have = p.ack;
        for (; p.got_at < p.got_len; p.got_at++) {
            struct pkt *k = &p.got[p.got_at];
            if (k->len + headers(&p) <= base && k->seq == p.ack)
                p.ack += k->len;
        }
        if (p.ack != have)
            peer_ack(&p);
    }
    assert_int_equal(p.ack, start + 6000);
    assert_int_equal(p.stack->stats.tcp_pmtu_blackhole, 1);
    assert_int_equal(mss_of(&p), base - headers(&p));
    peer_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_too_big_cuts_what_is_in_flight),
        cmocka_unit_test(test_too_big_cuts_what_waits),
        cmocka_unit_test(test_forged_errors),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_steps_are_bounded),
        cmocka_unit_test(test_old_routers),
        cmocka_unit_test(test_soft_errors),
        cmocka_unit_test(test_black_hole),
    };
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
