/* net-share kernel, seen from the stack: what is Linux's is met with silence, our port works, and neighbours are asked of Linux. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

static struct {
    unsigned asked;
    struct ip_addr about;
} linux_;

static void resolve(void *ctx, struct ip_addr ip)
{
    assert_ptr_equal(ctx, &linux_);
    linux_.asked++;
    linux_.about = ip;
}

static void tune(struct net_config *c)
{
    c->shared = true;
}

static void up(struct peer *p)
{
    peer_up(p, tune);
    memset(&linux_, 0, sizeof(linux_));
    net_set_neigh_resolver(p->stack->net, resolve, &linux_);
}

/* Sent as it is; nothing comes back, and `counter` counts it. */
#define SILENT(p, frame, len, counter)                           \
    do {                                                         \
        uint64_t sent = (p)->stack->stats.tx_pkts;               \
        uint64_t before = (p)->stack->stats.counter;             \
        peer_inject(p, frame, len);                              \
        assert_int_equal((p)->stack->stats.counter, before + 1); \
        assert_int_equal((p)->stack->stats.tx_pkts, sent);       \
    } while (0)

static void test_arp_is_linux_s(void **state)
{
    struct peer p;
    uint8_t f[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, [12] = 8, [13] = 6};
    up(&p);
    struct arp_pkt *a = (struct arp_pkt *)(void *)(f + 14);
    *a = (struct arp_pkt){.htype = be16(1),
                          .ptype = be16(0x0800),
                          .hlen = 6,
                          .plen = 4,
                          .op = be16(1),
                          .spa = be32(p.ip),
                          .tpa = be32(p.stack_ip)};
    memcpy(f + 6, p.mac, 6);
    memcpy(a->sha, p.mac, 6);
    SILENT(&p, f, 60, drop_arp);
    a->op = be16(2);
    SILENT(&p, f, 60, drop_arp);
    uint64_t sent = p.stack->stats.tx_pkts;
    net_announce(p.stack->net, p.w.now_ns);
    wire_turn(&p.w);
    assert_int_equal(p.stack->stats.tx_pkts, sent);
    peer_down(&p);
}

static void test_echo_is_linux_s(void **state)
{
    struct peer p;
    uint8_t f[128];
    up(&p);
    peer_frame(&p, f, PEER_SYN, p.seq, 0, NULL, 0);
    struct ip4_hdr *ip = (struct ip4_hdr *)(void *)(f + 14);
    struct icmp_hdr *ic = (struct icmp_hdr *)(void *)(f + 34);
    ip->proto = 1;
    ip->total_len = be16(28);
    peer_fix_checksums(f, 14);
    *ic = (struct icmp_hdr){.type = 8, .id = be16(7), .seq = be16(1)};
    ic->csum = csum_finish(csum_add(ic, 8, 0));
    SILENT(&p, f, 42, drop_icmp);
    peer_down(&p);
}

/* A RST of ours would end a connection of Linux's. */
static void test_other_ports_are_linux_s(void **state)
{
    static const uint8_t flags[] = {PEER_SYN, PEER_ACK, PEER_ACK | PEER_PSH, PEER_FIN | PEER_ACK};
    struct peer p;
    up(&p);
    uint16_t ours = p.stack_port;
    p.stack_port = 22;
    for (size_t i = 0; i < sizeof(flags); i++) {
        uint8_t f[128];
        uint32_t n = peer_frame(&p, f, flags[i], p.seq, 7, "x", 1);
        SILENT(&p, f, n, drop_tcp_port);
    }
    p.stack_port = ours;
    peer_handshake(&p, 1460, -1, false);
    peer_down(&p);
}

/* The frame waits until Linux tells; asked once a second. */
static void test_neighbours_are_asked_of_linux(void **state)
{
    struct peer p;
    up(&p);
    struct stream *s = &p.app->stream[p.app->used++];
    s->tc = tcp_connect(p.stack->net, p.ip, 80, 5555, s, p.w.now_ns);
    wire_turn(&p.w);
    assert_int_equal(linux_.asked, 1);
    assert_true(ip_equal(linux_.about, ip_from_v4(p.ip)));
    assert_int_equal(p.arps, 0);
    peer_none(&p);
    peer_wait(&p, 1200 * WIRE_MS);
    assert_int_equal(linux_.asked, 2);
    assert_int_equal(p.arps, 0);
    net_neigh_learn(p.stack->net, ip_from_v4(p.ip), p.mac, p.w.now_ns);
    wire_turn(&p.w);
    assert_true(peer_get(&p)->flags & PEER_SYN);
    peer_down(&p);
}

/* What waited is given up at once, and the next frame asks anew. */
static void test_a_lost_neighbour(void **state)
{
    struct peer p;
    up(&p);
    struct stream *s = &p.app->stream[p.app->used++];
    s->tc = tcp_connect(p.stack->net, p.ip, 80, 5555, s, p.w.now_ns);
    wire_turn(&p.w);
    assert_int_equal(linux_.asked, 1);
    net_neigh_lost(p.stack->net, ip_from_v4(p.ip), p.w.now_ns);
    assert_int_equal(p.stack->stats.drop_neigh_queue, 1);
    assert_null(neigh_find(p.stack->net, ip_from_v4(p.ip)));
    net_neigh_lost(p.stack->net, ip_from_v4(p.ip), p.w.now_ns); /* not known any more */
    net_neigh_lost(p.stack->net, ip_from_v4(0x08080808), p.w.now_ns);
    while (linux_.asked < 2 && !s->closed)
        peer_wait(&p, 100 * WIRE_MS);
    assert_int_equal(linux_.asked, 2);
    net_neigh_learn(p.stack->net, ip_from_v4(p.ip), p.mac, p.w.now_ns);
    wire_turn(&p.w);
    assert_true(peer_get(&p)->flags & PEER_SYN);
    peer_down(&p);
}

/* After timeouts in a row Linux is asked, and what it says is believed. */
static void test_peer_moves(void **state)
{
    struct peer p;
    up(&p);
    peer_handshake(&p, 1460, -1, false);
    p.raw->mac[5] = p.mac[5] = 0x55;
    peer_app_write(&p, 10);
    while (!linux_.asked) {
        peer_wait(&p, WIRE_MS);
        peer_none(&p);
    }
    net_neigh_learn(p.stack->net, ip_from_v4(p.ip), p.mac, p.w.now_ns);
    uint64_t timeouts = p.stack->stats.tcp_timeouts;
    while (p.stack->stats.tcp_timeouts == timeouts)
        peer_wait(&p, WIRE_MS);
    assert_int_equal(peer_get(&p)->len, 10);
    peer_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arp_is_linux_s),
        cmocka_unit_test(test_echo_is_linux_s),
        cmocka_unit_test(test_other_ports_are_linux_s),
        cmocka_unit_test(test_neighbours_are_asked_of_linux),
        cmocka_unit_test(test_a_lost_neighbour),
        cmocka_unit_test(test_peer_moves),
    };
    if (wire_eal_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
