/* What is about no connection of this stack is offered to others before anything is answered (struct net_stray), and comes in there as if from the wire. */
#include <string.h>

#include <rte_mempool.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

struct taker {
    unsigned calls;
    bool take;
    struct net_stray last;
    uint8_t frame[2048];
};

static bool taken(void *ctx, const struct net_stray *s)
{
    struct taker *t = ctx;
    t->calls++;
    t->last = *s;
    assert_true(s->len <= sizeof(t->frame));
    memcpy(t->frame, s->frame, s->len);
    t->last.frame = t->frame;
    return t->take;
}

static void up(struct peer *p, struct taker *t, peer_tune tune)
{
    *t = (struct taker){.take = true};
    peer_up(p, tune);
    net_set_stray_taker(p->stack->net, taken, t);
}

static void test_segments_without_connection(void **state)
{
    (void)state;
    struct peer p;
    struct taker t;
    up(&p, &t, NULL);
    peer_seg(&p, PEER_ACK | PEER_PSH, 1000, 2000, "PING\r\n", 6);
    peer_none(&p);
    assert_int_equal(t.calls, 1);
    assert_true(t.last.flow != 0);
    assert_memory_equal((const uint8_t *)t.last.frame + t.last.len - 6, "PING\r\n", 6);
    struct ip_addr from = peer_addr(&p);
    assert_true(ip_equal(t.last.from, from));
    uint64_t flow = t.last.flow;
    peer_seg(&p, PEER_RST, 1006, 0, NULL, 0);
    peer_none(&p);
    assert_int_equal(t.calls, 2);
    assert_int_equal(t.last.flow, flow);
    p.port++;
    peer_seg(&p, PEER_ACK | PEER_FIN, 1000, 2000, NULL, 0);
    assert_int_equal(t.calls, 3);
    assert_true(t.last.flow != flow);
    /* Nobody's: RFC 9293 3.10.7.1. */
    t.take = false;
    peer_seg(&p, PEER_ACK, 1000, 2000, NULL, 0);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->flags, PEER_RST);
    assert_int_equal(k->seq, 2000);
    peer_seg(&p, PEER_RST, 1000, 0, NULL, 0);
    peer_none(&p);
    assert_int_equal(t.calls, 5);
    assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
    peer_down(&p);
}

static void test_not_offered(void **state)
{
    (void)state;
    struct peer p;
    struct taker t;
    up(&p, &t, NULL);
    p.stack_port++; /* nobody listens there */
    peer_seg(&p, PEER_ACK, 1000, 2000, NULL, 0);
    assert_int_equal(peer_get(&p)->flags, PEER_RST);
    p.stack_port--;
    peer_handshake(&p, 1460, -1, false);
    peer_data(&p, peer_octets(0), 100);
    peer_seg(&p, PEER_ACK, p.seq + 1000000, p.ack, NULL, 0); /* outside the window, but its own */
    assert_int_equal(t.calls, 0);
    assert_int_equal(p.s->rx_seen, 100);
    peer_down(&p);
}

static void tune_one(struct net_config *c)
{
    c->backlog = 1;
}

static void test_cookie_is_ours(void **state)
{
    (void)state;
    struct peer p;
    struct taker t;
    up(&p, &t, tune_one);
    p.port = 30000;
    peer_syn(&p, 1460, -1, false);
    assert_int_equal(peer_get(&p)->flags, PEER_SYN | PEER_ACK);
    p.port = 40000;
    p.ack = 0;
    peer_syn(&p, 1460, -1, false);
    struct pkt *k = peer_get(&p);
    assert_int_equal(p.stack->stats.tcp_syncookies_sent, 1);
    p.seq++;
    p.ack = k->seq + 1;
    peer_ack(&p);
    assert_int_equal(t.calls, 0);
    assert_int_equal(p.stack->stats.tcp_curr_estab, 1);
    peer_down(&p);
}

/* Two handshakes of a SYN that came by two queues: what completes the other one is not answered by a reset here. */
static void test_other_handshake(void **state)
{
    (void)state;
    struct peer p;
    struct taker t;
    up(&p, &t, NULL);
    peer_syn(&p, 1460, -1, false);
    struct pkt *k = peer_get(&p);
    peer_seg(&p, PEER_ACK, p.seq + 1, k->seq + 77777, NULL, 0);
    peer_none(&p);
    assert_int_equal(t.calls, 1);
    t.take = false;
    peer_seg(&p, PEER_ACK, p.seq + 1, k->seq + 77777, NULL, 0);
    assert_int_equal(peer_get(&p)->flags, PEER_RST);
    peer_down(&p);
}

/* An error about a connection of another worker reached the queue that the router's address hashes to, and nobody else: its MTU was not heard of. */
static void test_bug_error_came_by_another_queue(void **state)
{
    (void)state;
    struct peer here, there;
    struct taker t;
    uint8_t f[2048];
    up(&here, &t, NULL);
    peer_up(&there, NULL);
    peer_handshake(&there, 1460, -1, false);
    there.wnd = 65000;
    peer_ack(&there);
    peer_app_write(&there, 3000);
    struct pkt *k = peer_get(&there);
    uint32_t mss = there.s->tc->mss;
    uint32_t n = peer_error_frame(&there, f, PEER_TOO_BIG, 1300, k->seq, 1500);
    peer_inject(&here, f, n);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.last.flow, 0);
    assert_int_equal(here.stack->stats.drop_icmp_stale, 0);
    assert_true(net_stray_input(there.stack->net, &t.last, there.w.now_ns));
    net_input_done(there.stack->net);
    assert_int_equal(there.stack->stats.tcp_pmtu_lowered, 1);
    assert_true(there.s->tc->mss < mss);
    t.take = false;
    peer_inject(&here, f, n);
    assert_int_equal(here.stack->stats.drop_icmp_stale, 1);
    peer_down(&there);
    peer_down(&here);
}

/* A connection whose segments come by another queue since the peer changed its flow label was reset. */
static void test_bug_flow_that_moved_was_reset(void **state)
{
    (void)state;
    struct peer here, there;
    struct taker t;
    uint8_t f[4096];
    up(&here, &t, NULL);
    peer_up(&there, NULL);
    peer_handshake(&there, 1460, -1, false);
    for (uint32_t i = 0, len = 1; i < 20; i++, len = len * 7 % 1400 + 1) {
        uint32_t n = peer_frame(&there, f, PEER_ACK | PEER_PSH, there.seq, there.ack,
                                peer_octets(there.s->rx_seen), len);
        peer_inject(&here, f, n);
        peer_none(&here);
        assert_int_equal(t.calls, i + 1);
        assert_true(net_stray_input(there.stack->net, &t.last, there.w.now_ns));
        net_input_done(there.stack->net);
        there.seq += len;
        assert_int_equal(there.s->rx_seen, there.seq - (there.s->tc->cold->irs + 1));
        assert_false(there.s->mismatch);
    }
    /* What no buffer of the pool holds goes to the heap, and is no frame at all. */
    static uint8_t large[60000];
    struct net_stray s = {.frame = large, .len = sizeof(large)};
    assert_true(net_stray_input(there.stack->net, &s, there.w.now_ns));
    net_input_done(there.stack->net);
    peer_wait(&there, 100 * WIRE_MS);
    assert_int_equal(rte_mempool_in_use_count(there.pool), 0);
    assert_int_equal(rte_mempool_in_use_count(here.pool), 0);
    peer_down(&there);
    peer_down(&here);
}

static void test_sources_are_bounded(void **state)
{
    (void)state;
    struct peer p;
    struct taker t;
    unsigned granted = 0;
    up(&p, &t, NULL);
    for (int i = 0; i < 10000; i++)
        granted += net_stray_allow(p.stack->net, peer_addr(&p));
    assert_in_range(granted, 200, 300);
    peer_wait(&p, WIRE_SEC / 10);
    unsigned later = 0;
    for (int i = 0; i < 10000; i++)
        later += net_stray_allow(p.stack->net, peer_addr(&p));
    assert_in_range(later, 50, 150);
    peer_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments_without_connection),
        cmocka_unit_test(test_not_offered),
        cmocka_unit_test(test_cookie_is_ours),
        cmocka_unit_test(test_other_handshake),
        cmocka_unit_test(test_bug_error_came_by_another_queue),
        cmocka_unit_test(test_bug_flow_that_moved_was_reset),
        cmocka_unit_test(test_sources_are_bounded),
    };
    if (wire_eal_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
