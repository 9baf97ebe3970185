/* IPv6 below TCP: every reason to drop a packet by its own counter, extension headers, echo and errors, the rates of what anyone can
 * provoke, VLAN. Neighbours, our addresses, routers and groups: test_ip6_nd.c. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"
#include "dataplane/net/tcp_internal.h"
#include "engine/shard/config.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/ip6_frames.h"
#include "tests/unit/net/peer.h"

/* ---- the header ---- */

static void test_lengths_that_lie(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    uint32_t n = syn_frame(&p, f);
    for (uint32_t len = 14; len < 54; len++)
        DROPS(&p, f, len, drop_short);
    for (unsigned v = 0; v < 16; v++) {
        f[14] = (uint8_t)(v << 4);
        if (v != 6)
            DROPS(&p, f, n, drop_ip_header);
    }
    syn_frame(&p, f);
    ip_of(f)->payload_len = be16(0);
    DROPS(&p, f, n, drop_ip_length);
    ip_of(f)->payload_len = be16((uint16_t)(n - 54 + 1));
    DROPS(&p, f, n, drop_ip_length);
    ip_of(f)->payload_len = be16(0xffff);
    DROPS(&p, f, n, drop_ip_length);
    for (uint16_t l4 = 1; l4 < 20; l4++) {
        syn_frame(&p, f);
        ip_of(f)->payload_len = be16(l4);
        DROPS(&p, f, 54u + l4, drop_tcp_header);
    }
    for (uint32_t i = 66; i < n; i++) { /* behind ports and offset, which are judged before */
        syn_frame(&p, f);
        f[i] ^= 0x01;
        DROPS(&p, f, n, drop_tcp_checksum);
    }
    peer_none(&p);
    peer_down(&p);
}

static void test_addresses(void **state)
{
    (void)state;
    static const char *const martian[] = {"::", "::1", "::10.0.0.1"};
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    uint32_t n = syn_frame(&p, f);
    for (unsigned i = 0; i < ARRAY_LEN(martian); i++) {
        ip_store(ip_of(f)->src, addr(martian[i]));
        peer_fix_checksums(f, 14);
        DROPS(&p, f, n, drop_ip_source);
    }
    ip_store(ip_of(f)->src, ip_from_v4(0x0a000001)); /* mapped: RFC 4038 4.2 */
    DROPS(&p, f, n, drop_ip_source);
    ip_store(ip_of(f)->src, addr("ff02::1"));
    DROPS(&p, f, n, drop_ip_source_group);
    ip_store(ip_of(f)->src, own(&p));
    DROPS(&p, f, n, drop_ip_land);
    ip_store(ip_of(f)->src, p.stack->net->ip6.local[0].addr);
    DROPS(&p, f, n, drop_ip_land);
    syn_frame(&p, f);
    ip_store(ip_of(f)->dst, addr("fd00::77"));
    DROPS(&p, f, n, drop_ip_destination);
    ip_store(ip_of(f)->dst, addr("ff02::77"));
    DROPS(&p, f, n, drop_ip_destination);
    ip_store(ip_of(f)->dst, addr("ff02::1")); /* a group of ours, but TCP is unicast */
    DROPS(&p, f, n, drop_ip_destination);
    syn_frame(&p, f);
    f[0] = f[1] = 0x33; /* a unicast packet in a link multicast */
    DROPS(&p, f, n, drop_ip_destination);
    f[0] = 0x01;
    DROPS(&p, f, n, drop_dst_mac);
    peer_none(&p);
    peer_down(&p);
}

/* Without an IPv6 address its frames are no frames of ours. */
static void tune_none(struct net_config *c)
{
    c->ip6_count = 0;
}
static void test_not_spoken(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, tune_none);
    p.v6 = true;
    uint32_t n = syn_frame(&p, f);
    DROPS(&p, f, n, drop_ethertype);
    f[0] = f[1] = 0x33;
    DROPS(&p, f, n, drop_dst_mac);
    net_announce(p.stack->net, p.w.now_ns);
    wire_turn(&p.w);
    assert_int_equal(p.stack->stats.ndp_out, 0);
    peer_down(&p);
}

static void test_net_allow(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    struct engine_config *e = calloc(1, sizeof(*e));
    peer_up(&p, NULL);
    p.stack->net->cfg.engine = e;
    uint32_t n = syn_frame(&p, f);
    e->net_allow_count = 1; /* IPv4 only: nobody of IPv6 */
    e->net_allow[0] = (struct allow_prefix){0x0a000000, 0xff000000};
    DROPS(&p, f, n, drop_not_allowed);
    e->net_allow6_count = 2;
    e->net_allow6[0] = (struct allow_prefix6){addr("fd01::"), 16};
    e->net_allow6[1] = (struct allow_prefix6){addr("fd00::b00:0"), 104};
    DROPS(&p, f, n, drop_not_allowed);
    peer_none(&p);
    e->net_allow6[1].addr = addr("fd00::a00:0");
    TAKEN(&p, f, n);
    assert_int_equal(peer_get(&p)->flags, PEER_SYN | PEER_ACK);
    e->net_allow_count = 0; /* IPv6 only: nobody of IPv4 */
    p.v6 = false;
    n = syn_frame(&p, f);
    DROPS(&p, f, n, drop_not_allowed);
    peer_down(&p);
    free(e);
}

/* ---- extension headers ---- */

/* A SYN behind `n` bytes of extension headers, the first of type `first`. */
static uint32_t with_extensions(struct peer *p, uint8_t *f, uint8_t first, const void *ext,
                                uint32_t n)
{
    uint32_t len = syn_frame(p, f);
    memmove(f + 54 + n, f + 54, len - 54);
    memcpy(f + 54, ext, n);
    ip_of(f)->next = first;
    ip_of(f)->payload_len = be16((uint16_t)(len - 54 + n));
    return len + n;
}

static void test_extension_headers(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[2048], many[1024] = {0};
    peer_up(&p, NULL);
    uint32_t n = with_extensions(&p, f, 44, "\6\0\0\1\0\0\0\7", 8);
    DROPS(&p, f, n, drop_ip_fragment);
    n = with_extensions(&p, f, 44, "\6\0\0\0\0\0\0\7", 8); /* an atomic one too */
    DROPS(&p, f, n, drop_ip_fragment);
    n = with_extensions(&p, f, 43, "\6\0\0\1\0\0\0\0", 8);
    DROPS(&p, f, n, drop_ip_options);
    n = with_extensions(&p, f, 60, "\0\0\1\4\0\0\0\0\6\0\1\4\0\0\0\0", 16);
    DROPS(&p, f, n, drop_ip6_extension); /* hop-by-hop not in front */
    n = with_extensions(&p, f, 60, "\6\4\1\4\0\0\0\0", 8);
    DROPS(&p, f, n, drop_ip6_extension); /* longer than the packet */
    n = with_extensions(&p, f, 60, "\6\0\1\5\0\0\0\0", 8);
    DROPS(&p, f, n, drop_ip6_extension); /* an option longer than its header */
    n = with_extensions(&p, f, 60, "\6\0\0\0\0\0\0\1", 8);
    DROPS(&p, f, n, drop_ip6_extension); /* one without its length */
    n = with_extensions(&p, f, 60, "\6\0\100\4\0\0\0\0", 8);
    DROPS(&p, f, n, drop_ip6_option); /* 01: drop in silence */
    for (unsigned i = 0; i < 7; i++)
        many[8 * i] = i < 6 ? 60 : 6, many[8 * i + 2] = 1, many[8 * i + 3] = 4;
    n = with_extensions(&p, f, 60, many, 56);
    DROPS(&p, f, n, drop_ip6_extension); /* one too many */
    memset(many, 0, sizeof(many));
    many[0] = 6;
    many[1] = LIMIT_IP6_EXT_BYTES / 8;
    n = with_extensions(&p, f, 60, many, LIMIT_IP6_EXT_BYTES + 8);
    DROPS(&p, f, n, drop_ip6_extension);
    peer_none(&p);
    assert_int_equal(p.icmps, 0);
    n = with_extensions(&p, f, 60, "\6\0\200\4\0\0\0\0", 8); /* 10: say so */
    DROPS(&p, f, n, drop_ip6_option);
    assert_int_equal(p.icmps, 1);
    assert_int_equal(p.last_icmp[54], 4);
    assert_int_equal(p.last_icmp[55], 2);
    assert_int_equal(p.last_icmp[61], 42); /* points at the option */
    assert_memory_equal(p.last_icmp + 62, f + 14, 60);
    static const uint8_t good[] = {
        60, 0, 5,  2, 0, 0, 1, 0,  /* hop-by-hop, router alert */
        43, 0, 1,  4, 0, 0, 0, 0,  /* destination options */
        60, 0, 0,  0, 0, 0, 0, 0,  /* a routing header that is done with */
        6,  0, 30, 4, 1, 2, 3, 4}; /* an option that may be skipped */
    n = with_extensions(&p, f, 0, good, sizeof(good));
    TAKEN(&p, f, n);
    assert_int_equal(peer_get(&p)->flags, PEER_SYN | PEER_ACK);
    for (uint32_t len = 54; len < n; len++) { /* and cut anywhere */
        ip_of(f)->payload_len = be16((uint16_t)(len - 54));
        uint64_t all = all_drops(&p.stack->stats);
        peer_inject(&p, f, len);
        assert_int_equal(all_drops(&p.stack->stats), all + 1);
    }
    peer_none(&p);
    peer_down(&p);
}

static void test_unknown_protocols(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    uint32_t n = syn_frame(&p, f);
    ip_of(f)->next = 59; /* none: in silence */
    DROPS(&p, f, n, drop_ip_protocol);
    assert_int_equal(p.icmps, 0);
    ip_of(f)->next = 17;
    DROPS(&p, f, n, drop_ip_protocol);
    assert_int_equal(p.last_icmp[54] << 8 | p.last_icmp[55], 0x0104); /* port unreachable */
    ip_of(f)->next = 132;
    DROPS(&p, f, n, drop_ip_protocol);
    assert_int_equal(p.last_icmp[54] << 8 | p.last_icmp[55], 0x0401);
    assert_int_equal(p.last_icmp[61], 6);
    unsigned told = p.icmps;
    for (int i = 0; i < 1000; i++) /* within a rate */
        wire_inject(&p.w, p.stack->id, f, n, 0);
    wire_turn(&p.w);
    assert_in_range(p.icmps - told, 5, 20);
    peer_down(&p);
}

/* ---- ICMPv6 ---- */

static uint32_t echo_frame(struct peer *p, uint8_t *f, uint32_t len)
{
    uint8_t b[2048] = {128, 0, 0, 0, 0, 7, 0, 1};
    for (uint32_t i = 0; i < len; i++)
        b[8 + i] = (uint8_t)i;
    return icmp_frame(p, f, peer_addr(p), own(p), 64, b, 8 + len);
}

static void test_echo(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[1600];
    peer_up(&p, NULL);
    for (uint32_t len = 0; len <= 1400; len += 23) {
        uint32_t n = echo_frame(&p, f, len);
        TAKEN(&p, f, n);
        assert_int_equal(p.last_icmp_len, n);
        assert_int_equal(p.last_icmp[54], 129);
        assert_memory_equal(p.last_icmp + 58, f + 58, len + 4);
    }
    uint32_t n = echo_frame(&p, f, 10);
    f[57] ^= 1;
    DROPS(&p, f, n, drop_icmp);
    n = icmp_frame(&p, f, peer_addr(&p), own(&p), 64, "\200\0\0\0\0\0\0", 7);
    DROPS(&p, f, n, drop_icmp);
    n = icmp_frame(&p, f, addr("::"), own(&p), 64, "\200\0\0\0\0\7\0\1", 8);
    DROPS(&p, f, n, drop_icmp);
    n = icmp_frame(&p, f, peer_addr(&p), addr("ff02::1"), 64, "\200\0\0\0\0\7\0\1", 8);
    TAKEN(&p, f, n); /* RFC 4443 4.2: answered from our own address */
    assert_memory_equal(p.last_icmp + 22, ip_of(echo_frame(&p, f, 0) ? f : f)->dst, 16);
    peer_down(&p);
}

/* What one source was granted tells nothing about another. */
static void test_rates_are_not_shared(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    uint32_t n = echo_frame(&p, f, 8);
    for (int i = 0; i < 1000; i++) /* at one instant */
        wire_inject(&p.w, p.stack->id, f, n, 0);
    wire_turn(&p.w);
    assert_in_range(p.stack->stats.icmp_echo, 100, 140);
    assert_int_equal(p.stack->stats.drop_icmp_rate, 1000 - p.stack->stats.icmp_echo);
    uint64_t before = p.stack->stats.icmp_echo;
    p.ip += 2;
    n = echo_frame(&p, f, 8);
    TAKEN(&p, f, n);
    assert_int_equal(p.stack->stats.icmp_echo, before + 1);
    p.stack_port = 80; /* RSTs without a connection */
    for (int i = 0; i < 2000; i++) {
        n = peer_frame(&p, f, PEER_ACK, 5, 6, NULL, 0);
        wire_inject(&p.w, p.stack->id, f, n, 0);
    }
    wire_turn(&p.w);
    assert_in_range(p.stack->stats.tcp_out_rsts, 250, 260);
    assert_int_equal(p.stack->stats.drop_rst_rate, 2000 - p.stack->stats.tcp_out_rsts);
    peer_down(&p);
}

/* ---- VLAN ---- */

static void tune_vlan(struct net_config *c)
{
    c->vlan = 42;
}

/* Tagged both ways, and with the tag taken off by the port. */
static void test_vlan(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256], t[260];
    peer_up(&p, tune_vlan);
    p.raw->on_frame = NULL;
    uint32_t n = syn_frame(&p, f);
    DROPS(&p, f, n, drop_ethertype);
    memcpy(t, f, 12);
    memcpy(t + 12, "\x81\x00\xe0\x2a", 4); /* priority 7 */
    memcpy(t + 16, f + 12, n - 12);
    TAKEN(&p, t, n + 4);
    assert_int_equal(p.stack->stats.tcp_passive_opens, 1);
    p.port++;
    n = syn_frame(&p, f);
    struct rte_mbuf *m = rte_pktmbuf_alloc(p.pool);
    memcpy(rte_pktmbuf_append(m, (uint16_t)n), f, n);
    m->ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    m->vlan_tci = 0x602a;
    net_input(p.stack->net, &m, 1, p.w.now_ns);
    net_input_done(p.stack->net);
    assert_int_equal(p.stack->stats.tcp_passive_opens, 2);
    wire_turn(&p.w);
    peer_down(&p);
}

/* Peers whose addresses have the same hash in their key are told apart by the address. */
static void test_equal_keys(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    struct net *net = p.stack->net;
    struct ip_addr a = addr("fd00::1"), b = addr("fd00::2:1");
    struct flow_key k = {flow_peer6(&net->flow, a), 1, 40000, 6379};
    uint64_t hash = flow_hash(&net->flow, &k);
    struct tcp_conn *ca = tcp_conn_new(net, &k, hash, a), *cb = tcp_conn_new(net, &k, hash, b);
    assert_ptr_equal(&net->conns[flow_find6(&net->flow, &k, hash, a)], ca);
    assert_ptr_equal(&net->conns[flow_find6(&net->flow, &k, hash, b)], cb);
    assert_int_equal(flow_find6(&net->flow, &k, hash, addr("fd00::3")), FLOW_NONE);
    assert_int_not_equal(tcp_isn(net, &k, a), tcp_isn(net, &k, b));
    peer_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths_that_lie),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_not_spoken),
        cmocka_unit_test(test_net_allow),
        cmocka_unit_test(test_extension_headers),
        cmocka_unit_test(test_unknown_protocols),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_rates_are_not_shared),
        cmocka_unit_test(test_vlan),
        cmocka_unit_test(test_equal_keys),
    };
    setenv("BAREWIRE_TEST_V6", "1", 1);
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
