/* Every reason to drop a frame, by a crafted frame in an exact-size heap block: the counter of that
 * reason moves and no other drop counter does, nothing is answered that must not be, nothing leaks.
 * And what must be answered below TCP: ARP, echo. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mempool.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"
#include "dataplane/net/tcp_internal.h"
#include "engine/shard/config.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

static uint64_t all_drops(const struct stats_worker *s)
{
    uint64_t n = 0;
#define SECTION_DROPS(name) n += s->name;
#define SECTION_OTHER(name)
#define METRIC(name, kind, section, field, help) SECTION_##section(name)
#define SECTION_STATS(name)
#define SECTION_CLIENTS(name)
#define SECTION_CLIENTS_MAX(name)
#define SECTION_NONE(name)
#define SECTION_PERSISTENCE(name)
#define SECTION_MEMORY(name)
#define SECTION_DATAPLANE(name)
#define SECTION_DATAPLANE_MAX(name)
#define SECTION_TCP(name)
#include "engine/link/metrics.def"
#undef METRIC
    return n;
}

/* Sends the frame; exactly one drop, of that reason. */
#define DROPS(p, frame, len, reason)                                                     \
    do {                                                                                 \
        uint64_t before = (p)->stack->stats.reason, all = all_drops(&(p)->stack->stats); \
        peer_inject(p, frame, len);                                                      \
        assert_int_equal((p)->stack->stats.reason, before + 1);                          \
        assert_int_equal(all_drops(&(p)->stack->stats), all + 1);                        \
    } while (0)

static struct ip4_hdr *ip_of(uint8_t *f)
{
    return (struct ip4_hdr *)(void *)(f + 14);
}
static struct tcp_hdr *tcp_of(uint8_t *f)
{
    return (struct tcp_hdr *)(void *)(f + 34);
}

static uint32_t syn_frame(struct peer *p, uint8_t *f)
{
    return peer_frame(p, f, PEER_SYN, p->seq, 0, NULL, 0);
}

static void test_ethernet(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    uint32_t n = syn_frame(&p, f);
    for (uint32_t len = 1; len < 14; len++)
        DROPS(&p, f, len, drop_short);
    for (uint32_t len = 14; len < 34; len++)
        DROPS(&p, f, len, drop_short);
    f[5] ^= 1;
    DROPS(&p, f, n, drop_dst_mac);
    memset(f, 0xff, 6); /* unicast IP in a broadcast frame */
    DROPS(&p, f, n, drop_dst_mac);
    n = syn_frame(&p, f);
    f[12] = 0x86;
    f[13] = 0xdd;
    DROPS(&p, f, n, drop_ethertype);
    f[12] = 0x81; /* a tag cut short, then a tag of a VLAN that is not ours */
    f[13] = 0x00;
    DROPS(&p, f, 17, drop_short);
    f[14] = 0;
    f[15] = 5;
    DROPS(&p, f, n, drop_ethertype);
    peer_none(&p);
    peer_down(&p);
}

static void test_ip4_lengths_that_lie(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    uint32_t n = syn_frame(&p, f);
    for (unsigned ihl = 0; ihl < 5; ihl++) {
        ip_of(f)->ver_ihl = (uint8_t)(0x40 | ihl);
        DROPS(&p, f, n, drop_ip_header);
    }
    for (unsigned v = 0; v < 16; v++) {
        if (v == 4)
            continue;
        ip_of(f)->ver_ihl = (uint8_t)(v << 4 | 5);
        DROPS(&p, f, n, drop_ip_header);
    }
    syn_frame(&p, f);
    for (uint32_t total = 0; total < 20; total++) { /* shorter than its own header */
        ip_of(f)->total_len = be16((uint16_t)total);
        DROPS(&p, f, n, drop_ip_length);
    }
    ip_of(f)->total_len = be16((uint16_t)(n - 14 + 1)); /* longer than the frame */
    DROPS(&p, f, n, drop_ip_length);
    ip_of(f)->total_len = be16(0xffff);
    DROPS(&p, f, n, drop_ip_length);
    syn_frame(&p, f);
    ip_of(f)->ver_ihl = 0x4f; /* options beyond the total length */
    DROPS(&p, f, n, drop_ip_length);
    syn_frame(&p, f);
    ip_of(f)->ttl ^= 1;
    DROPS(&p, f, n, drop_ip_checksum);
    peer_none(&p);
    peer_down(&p);
}

static void test_ip4_fragments_and_addresses(void **state)
{
    (void)state;
    static const uint32_t martian[] = {0, 0x00010203, 0x7f000001, 0xf0000001};
    static const uint32_t group[] = {0xe0000001, 0xffffffff, 0x0a0000ff};
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    uint32_t n = syn_frame(&p, f);
    static const uint16_t frags[] = {0x2000, 0x0001, 0x1fff, 0x2001};
    for (unsigned i = 0; i < ARRAY_LEN(frags); i++) {
        ip_of(f)->frag = be16(frags[i]);
        peer_fix_checksums(f, 14);
        DROPS(&p, f, n, drop_ip_fragment);
    }
    for (unsigned i = 0; i < ARRAY_LEN(martian); i++) {
        syn_frame(&p, f);
        ip_of(f)->src = be32(martian[i]);
        peer_fix_checksums(f, 14);
        DROPS(&p, f, n, drop_ip_source);
    }
    for (unsigned i = 0; i < ARRAY_LEN(group); i++) {
        syn_frame(&p, f);
        ip_of(f)->src = be32(group[i]);
        peer_fix_checksums(f, 14);
        DROPS(&p, f, n, drop_ip_source_group);
    }
    syn_frame(&p, f);
    ip_of(f)->src = be32(p.stack_ip);
    peer_fix_checksums(f, 14);
    DROPS(&p, f, n, drop_ip_land);
    syn_frame(&p, f);
    ip_of(f)->dst = be32(p.stack_ip + 1);
    peer_fix_checksums(f, 14);
    DROPS(&p, f, n, drop_ip_destination);
    syn_frame(&p, f);
    ip_of(f)->proto = 17;
    peer_fix_checksums(f, 14);
    DROPS(&p, f, n, drop_ip_protocol);
    peer_none(&p);
    peer_down(&p);
}

/* A SYN whose IP header carries `n` bytes of options. */
static uint32_t with_ip_options(struct peer *p, uint8_t *f, const uint8_t *opt, uint32_t n)
{
    uint32_t len = syn_frame(p, f);
    memmove(f + 34 + n, f + 34, len - 34);
    memcpy(f + 34, opt, n);
    ip_of(f)->ver_ihl = (uint8_t)(0x45 + n / 4);
    ip_of(f)->total_len = be16((uint16_t)(len - 14 + n));
    peer_fix_checksums(f, 14);
    return len + n;
}

static void test_ip4_options(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    uint32_t n = with_ip_options(&p, f, (const uint8_t *)"\203\7\4\12\0\0\1\0", 8);
    DROPS(&p, f, n, drop_ip_options); /* loose source route */
    n = with_ip_options(&p, f, (const uint8_t *)"\1\211\7\4\12\0\0\1", 8);
    DROPS(&p, f, n, drop_ip_options); /* strict, behind a no-op */
    n = with_ip_options(&p, f, (const uint8_t *)"\7\1\0\0", 4);
    DROPS(&p, f, n, drop_ip_header); /* option length 1 */
    n = with_ip_options(&p, f, (const uint8_t *)"\7\5\0\0", 4);
    DROPS(&p, f, n, drop_ip_header); /* option longer than the header */
    n = with_ip_options(&p, f, (const uint8_t *)"\1\1\1\7", 4);
    DROPS(&p, f, n, drop_ip_header); /* length byte missing */
    peer_none(&p);
    n = with_ip_options(&p, f, (const uint8_t *)"\224\4\0\0", 4); /* router alert: harmless */
    peer_inject(&p, f, n);
    assert_int_equal(peer_get(&p)->flags, PEER_SYN | PEER_ACK);
    peer_down(&p);
}

static void test_net_allow(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    struct engine_config *e = calloc(1, sizeof(*e));
    peer_up(&p, NULL);
    e->net_allow_count = 2;
    e->net_allow[0] = (struct allow_prefix){0xc0a80000, 0xffff0000};
    e->net_allow[1] = (struct allow_prefix){0x0a000080, 0xffffff80};
    p.stack->net->cfg.engine = e;
    uint32_t n = syn_frame(&p, f);
    DROPS(&p, f, n, drop_not_allowed);
    peer_none(&p);
    p.ip = 0x0a000081;
    n = syn_frame(&p, f);
    peer_inject(&p, f, n);
    assert_int_equal(peer_get(&p)->flags, PEER_SYN | PEER_ACK);
    peer_down(&p);
    free(e);
}

static void test_tcp_header(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    uint32_t n = syn_frame(&p, f);
    for (uint16_t l4 = 0; l4 < 20; l4++) {
        ip_of(f)->total_len = be16((uint16_t)(20 + l4));
        ip_of(f)->csum = 0;
        ip_of(f)->csum = csum_finish(csum_ip4_20(ip_of(f)));
        DROPS(&p, f, 34u + l4, drop_tcp_header);
    }
    for (unsigned off = 0; off < 16; off++) {
        if (off == 5)
            continue;
        syn_frame(&p, f);
        tcp_of(f)->off = (uint8_t)(off << 4);
        peer_fix_checksums(f, 14);
        DROPS(&p, f, n, drop_tcp_header);
    }
    syn_frame(&p, f);
    tcp_of(f)->sport = be16(0);
    peer_fix_checksums(f, 14);
    DROPS(&p, f, n, drop_tcp_header);
    for (uint32_t i = 34; i < n; i++) {
        syn_frame(&p, f);
        f[i] ^= 0x10;
        if (i == 46 || i == 34 || i == 35 || i == 36 || i == 37)
            continue; /* offset and ports are judged before */
        DROPS(&p, f, n, drop_tcp_checksum);
    }
    peer_none(&p);
    peer_down(&p);
}

/* Options that lie, in a SYN and on an open connection. */
static void test_tcp_options(void **state)
{
    (void)state;
    static const char *const bad[] = {"\2\1\0\0", "\2\0\0\0", "\1\1\1\2", "\2\5\0\0", "\1\1\10\12"};
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        uint32_t n = peer_frame(&p, f, PEER_SYN, p.seq, 0, bad[i], 4);
        tcp_of(f)->off = 6 << 4;
        peer_fix_checksums(f, 14);
        DROPS(&p, f, n, drop_tcp_header);
    }
    peer_none(&p);
    peer_handshake(&p, 1460, -1, false);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        uint32_t n = peer_frame(&p, f, PEER_ACK, p.seq, p.ack, bad[i], 4);
        tcp_of(f)->off = 6 << 4;
        peer_fix_checksums(f, 14);
        DROPS(&p, f, n, drop_tcp_header);
    }
    assert_int_equal(p.s->rx_seen, 0);
    peer_none(&p);
    peer_down(&p);
}

static void test_padding_is_not_data(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    peer_handshake(&p, 1460, -1, false);
    uint32_t n = peer_frame(&p, f, PEER_ACK, p.seq, p.ack, peer_octets(0), 3);
    memset(f + n, 0xaa, 60 - n + 20);
    peer_inject(&p, f, 60 + 20);
    assert_int_equal(p.s->rx_seen, 3);
    assert_false(p.s->mismatch);
    peer_down(&p);
}

static void test_no_listener(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    p.stack_port = 80;
    uint32_t n = syn_frame(&p, f);
    DROPS(&p, f, n, drop_tcp_port);
    struct pkt *k = peer_get(&p); /* RFC 9293 3.10.7.1 */
    assert_int_equal(k->flags, PEER_RST | PEER_ACK);
    assert_int_equal(k->seq, 0);
    assert_int_equal(k->ack, p.seq + 1);
    peer_seg(&p, PEER_ACK, p.seq, 777, "xyz", 3);
    k = peer_get(&p);
    assert_int_equal(k->flags, PEER_RST);
    assert_int_equal(k->seq, 777);
    peer_seg(&p, PEER_RST, p.seq, 0, NULL, 0);
    peer_none(&p);
    peer_down(&p);
}

static void test_chains_and_overlong_bursts(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    struct rte_mbuf *a = rte_pktmbuf_alloc(p.pool), *b = rte_pktmbuf_alloc(p.pool);
    rte_pktmbuf_append(a, 100);
    rte_pktmbuf_append(b, 100);
    rte_pktmbuf_chain(a, b);
    a->pkt_len++; /* lengths that lie; test_tcp_offload.c has those that do not */
    net_input(p.stack->net, &a, 1, p.w.now_ns);
    net_input_done(p.stack->net);
    assert_int_equal(p.stack->stats.drop_multi_seg, 1);
    enum { N = NET_HELD_SLOTS + 10 };
    struct rte_mbuf **many = calloc(N, sizeof(*many));
    for (int i = 0; i < N; i++) {
        many[i] = rte_pktmbuf_alloc(p.pool);
        rte_pktmbuf_append(many[i], 5);
    }
    net_input(p.stack->net, many, N, p.w.now_ns);
    net_input_done(p.stack->net);
    assert_int_equal(p.stack->stats.drop_burst, 10);
    assert_int_equal(p.stack->stats.drop_short, N - 10);
    free(many);
    peer_down(&p); /* and every mbuf came back */
}

static void tune_vlan(struct net_config *c)
{
    c->vlan = 42;
}

static void test_vlan(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256], t[260];
    peer_up(&p, tune_vlan);
    uint32_t n = syn_frame(&p, f);
    DROPS(&p, f, n, drop_ethertype); /* untagged */
    memcpy(t, f, 12);
    memcpy(t + 12, "\x81\x00\x60\x2a", 4); /* priority 3, VLAN 42 */
    memcpy(t + 16, f + 12, n - 12);
    p.raw->on_frame = NULL;
    uint64_t sent = p.stack->stats.tx_pkts;
    peer_inject(&p, t, n + 4);
    assert_int_equal(p.stack->stats.tx_pkts, sent + 1);
    assert_int_equal(p.stack->stats.tcp_passive_opens, 1);
    t[15] = 43;
    DROPS(&p, t, n + 4, drop_ethertype);
    peer_down(&p);
}

static void arp_frame(struct peer *p, uint8_t *f, uint16_t op, uint32_t spa, uint32_t tpa)
{
    memset(f, 0, 60);
    memset(f, 0xff, 6);
    memcpy(f + 6, p->mac, 6);
    f[12] = 8;
    f[13] = 6;
    struct arp_pkt *a = (struct arp_pkt *)(void *)(f + 14);
    *a = (struct arp_pkt){.htype = be16(1),
                          .ptype = be16(0x0800),
                          .hlen = 6,
                          .plen = 4,
                          .op = be16(op),
                          .spa = be32(spa),
                          .tpa = be32(tpa)};
    memcpy(a->sha, p->mac, 6);
}

static void test_arp_answer_and_learn(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[60];
    peer_up(&p, NULL);
    arp_frame(&p, f, 1, p.ip, p.stack_ip);
    peer_inject(&p, f, 60);
    assert_int_equal(p.arps, 1);
    const struct arp_pkt *a = (const void *)(p.last_arp + 14);
    assert_int_equal(from_be16(a->op), 2);
    assert_int_equal(from_be32(a->spa), p.stack_ip);
    assert_memory_equal(a->sha, p.stack->mac, 6);
    assert_memory_equal(p.last_arp, p.mac, 6);
    struct neigh *n = neigh_find(p.stack->net, ip_from_v4(p.ip));
    assert_non_null(n);
    assert_memory_equal(n->mac, p.mac, 6);

    /* Fresh: another MAC does not take it over, neither by a request nor unasked. */
    p.mac[5] = 0x77;
    arp_frame(&p, f, 1, p.ip, p.stack_ip);
    peer_inject(&p, f, 60);
    assert_int_equal(neigh_find(p.stack->net, ip_from_v4(p.ip))->mac[5], 0x99);
    arp_frame(&p, f, 1, p.ip, p.ip);
    DROPS(&p, f, 60, drop_arp);
    arp_frame(&p, f, 2, p.ip, p.stack_ip);
    DROPS(&p, f, 60, drop_arp); /* a reply nobody asked for */
    assert_int_equal(neigh_find(p.stack->net, ip_from_v4(p.ip))->mac[5], 0x99);

    /* Grown old: a gratuitous announcement may refresh it. */
    peer_wait(&p, (LIMIT_NET_NEIGH_FRESH_S + 1) * WIRE_SEC);
    arp_frame(&p, f, 1, p.ip, p.ip);
    peer_inject(&p, f, 60);
    assert_int_equal(neigh_find(p.stack->net, ip_from_v4(p.ip))->mac[5], 0x77);
    peer_down(&p);
}

static void test_arp_lies(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[60];
    peer_up(&p, NULL);
    arp_frame(&p, f, 1, p.ip, p.stack_ip);
    DROPS(&p, f, 14 + 27, drop_arp);
    for (int byte = 14; byte < 22; byte++) { /* types, lengths, operation */
        arp_frame(&p, f, 1, p.ip, p.stack_ip);
        f[byte] ^= 0x10;
        DROPS(&p, f, 60, drop_arp);
    }
    arp_frame(&p, f, 1, p.ip, p.stack_ip);
    f[14 + 8] ^= 2; /* sender's MAC is not the frame's */
    DROPS(&p, f, 60, drop_arp);
    arp_frame(&p, f, 1, p.stack_ip, p.stack_ip); /* our own address */
    DROPS(&p, f, 60, drop_arp);
    arp_frame(&p, f, 1, p.ip, p.stack_ip + 9); /* for another host */
    DROPS(&p, f, 60, drop_arp);
    assert_null(neigh_find(p.stack->net, ip_from_v4(p.ip)));
    assert_int_equal(p.arps, 0);
    arp_frame(&p, f, 1, 0, p.stack_ip); /* a probe (RFC 5227) is answered, nothing learned */
    peer_inject(&p, f, 60);
    assert_int_equal(p.arps, 1);
    assert_null(neigh_find(p.stack->net, ip_from_v4(0)));
    arp_frame(&p, f, 1, 0xc0a80001, p.stack_ip); /* off-link: answered, not learned */
    peer_inject(&p, f, 60);
    assert_null(neigh_find(p.stack->net, ip_from_v4(0xc0a80001)));
    peer_down(&p);
}

static void test_neighbour_resolution(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[60];
    peer_up(&p, NULL);
    struct stream *s = &p.app->stream[p.app->used++];
    s->tc = tcp_connect(p.stack->net, p.ip, 80, 5555, s, p.w.now_ns);
    wire_turn(&p.w);
    assert_int_equal(p.arps, 1); /* asked, the SYN waits */
    peer_none(&p);
    peer_wait(&p, 1200 * WIRE_MS);
    assert_int_equal(p.arps, 2); /* once a second */
    arp_frame(&p, f, 2, p.ip, p.stack_ip);
    memcpy(f, p.stack->mac, 6);
    peer_inject(&p, f, 60);
    assert_int_equal(peer_get(&p)->flags, PEER_SYN | PEER_ECE | PEER_CWR);
    peer_down(&p);
}

static void test_neighbour_never_answers(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    struct stream *s = &p.app->stream[p.app->used++];
    s->tc = tcp_connect(p.stack->net, p.ip, 80, 5555, s, p.w.now_ns);
    peer_wait(&p, 200 * WIRE_SEC);
    assert_true(s->closed);
    assert_int_equal(s->connect_err, -ETIMEDOUT);
    assert_true(p.stack->stats.drop_neigh_queue > 0);
    assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
    peer_down(&p);
}

/* The peer's address moves to another station: after timeouts in a row ARP is asked and believed. */
static void test_peer_moves(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[60];
    peer_up(&p, NULL);
    p.mac[5] = 0x77; /* a SYN with a damaged source: the answer goes astray */
    peer_syn(&p, 1460, -1, false);
    peer_none(&p);
    p.mac[5] = 0x99; /* sent again whole: answered there */
    peer_handshake(&p, 1460, -1, false);
    p.raw->mac[5] = p.mac[5] = 0x55;
    peer_app_write(&p, 10);
    while (p.stack->stats.tcp_timeouts < 3) {
        peer_wait(&p, WIRE_MS);
        peer_none(&p);
    }
    assert_int_equal(p.arps, 1);
    arp_frame(&p, f, 2, p.ip, p.stack_ip);
    memcpy(f, p.stack->mac, 6);
    peer_inject(&p, f, 60);
    while (p.stack->stats.tcp_timeouts < 4)
        peer_wait(&p, WIRE_MS);
    assert_int_equal(peer_get(&p)->len, 10);
    peer_down(&p);
}

static void tune_gateway(struct net_config *c)
{
    c->gateway = 0x0a0000fe;
}

static void test_off_link_goes_to_gateway(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, tune_gateway);
    struct stream *s = &p.app->stream[p.app->used++];
    s->tc = tcp_connect(p.stack->net, 0x08080808, 80, 5555, s, p.w.now_ns);
    wire_turn(&p.w);
    const struct arp_pkt *a = (const void *)(p.last_arp + 14);
    assert_int_equal(from_be32(a->tpa), 0x0a0000fe);
    peer_down(&p);
}

static void test_announce(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    net_announce(p.stack->net, p.w.now_ns);
    wire_turn(&p.w);
    const struct arp_pkt *a = (const void *)(p.last_arp + 14);
    assert_int_equal(from_be32(a->spa), p.stack_ip);
    assert_int_equal(from_be32(a->tpa), p.stack_ip);
    peer_down(&p);
}

/* ---- ICMP ---- */

static uint32_t echo_frame(struct peer *p, uint8_t *f, uint32_t len)
{
    syn_frame(p, f);
    ip_of(f)->proto = 1;
    ip_of(f)->total_len = be16((uint16_t)(28 + len));
    peer_fix_checksums(f, 14);
    struct icmp_hdr *ic = (struct icmp_hdr *)(void *)(f + 34);
    *ic = (struct icmp_hdr){.type = 8, .id = be16(7), .seq = be16(1)};
    for (uint32_t i = 0; i < len; i++)
        f[42 + i] = (uint8_t)i;
    ic->csum = csum_finish(csum_add(ic, 8 + len, 0));
    return 42 + len;
}

/* RFC 9293 3.9.2.2 MUST-55, RFC 6633: source quench slows nobody down. */
static void test_source_quench(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[512];
    peer_up(&p, NULL);
    peer_handshake(&p, 1460, -1, false);
    peer_app_write(&p, 1000);
    uint32_t cwnd = p.s->tc->cwnd, n = peer_error_frame(&p, f, PEER_UNREACHABLE, 0, p.ack, 1040);
    peer_get(&p);
    struct icmp_hdr *ic = (struct icmp_hdr *)(void *)(f + 34);
    ic->type = 4;
    ic->code = 0;
    ic->csum = 0;
    ic->csum = csum_finish(csum_add(ic, n - 34, 0));
    DROPS(&p, f, n, drop_icmp);
    assert_int_equal(p.s->tc->cwnd, cwnd);
    assert_string_equal(tcp_state_name(p.s->tc->state), "ESTABLISHED");
    peer_ack(&p);
    peer_down(&p);
}

static void test_echo(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[1600];
    peer_up(&p, NULL);
    for (uint32_t len = 0; len <= 1472; len += 23) {
        uint32_t n = echo_frame(&p, f, len);
        peer_inject(&p, f, n);
        assert_int_equal(p.last_icmp_len, n);
        assert_int_equal(p.last_icmp[34], 0);
        assert_memory_equal(p.last_icmp + 42, f + 42, len);
        assert_int_equal(csum_fold(csum_add(p.last_icmp + 34, 8 + len, 0)), 0xffff);
    }
    uint32_t n = echo_frame(&p, f, 10);
    f[45] ^= 1;
    DROPS(&p, f, n, drop_icmp);
    n = echo_frame(&p, f, 10);
    ip_of(f)->total_len = be16(27);
    peer_fix_checksums(f, 14);
    DROPS(&p, f, n, drop_icmp);
    peer_down(&p);
}

/* RFC 1122 3.2.2.1: who sends what nobody takes hears of it, within a rate; fragments, broadcasts and errors are not answered. */
static void test_unreachable(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    uint32_t n = syn_frame(&p, f);
    ip_of(f)->proto = 17;
    peer_fix_checksums(f, 14);
    DROPS(&p, f, n, drop_ip_protocol);
    assert_int_equal(p.last_icmp[34] << 8 | p.last_icmp[35], 0x0303);
    assert_memory_equal(p.last_icmp + 42, f + 14, 28);
    assert_int_equal(csum_fold(csum_add(p.last_icmp + 34, p.last_icmp_len - 34, 0)), 0xffff);
    ip_of(f)->proto = 47;
    peer_fix_checksums(f, 14);
    DROPS(&p, f, n, drop_ip_protocol);
    assert_int_equal(p.last_icmp[34] << 8 | p.last_icmp[35], 0x0302);
    unsigned told = p.icmps;
    ip_of(f)->frag = be16(0x2000);
    peer_fix_checksums(f, 14);
    DROPS(&p, f, n, drop_ip_fragment);
    assert_int_equal(p.icmps, told);
    ip_of(f)->frag = be16(0);
    peer_fix_checksums(f, 14);
    for (int i = 0; i < 1000; i++)
        wire_inject(&p.w, p.stack->id, f, n, 0);
    wire_turn(&p.w);
    assert_in_range(p.icmps - told, 5, 20);
    static const uint8_t other[] = {0,  5,  9,  10,
                                    13, 15, 17, 42}; /* replies, redirects, ...: in silence */
    told = p.icmps;
    for (unsigned i = 0; i < sizeof(other); i++) {
        n = echo_frame(&p, f, 8);
        f[34] = other[i];
        f[36] = f[37] = 0;
        struct icmp_hdr *ic = (struct icmp_hdr *)(void *)(f + 34);
        ic->csum = csum_finish(csum_add(ic, 16, 0));
        DROPS(&p, f, n, drop_icmp);
    }
    assert_int_equal(p.icmps, told);
    peer_down(&p);
}

/* ARP teaches as NDP does: within a rate, and never in the place of a fresh one. */
static void test_arp_learning_is_bounded(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[60];
    peer_up(&p, NULL);
    p.stack->net->cfg.netmask = 0xff000000;
    arp_frame(&p, f, 1, p.ip, p.stack_ip);
    peer_inject(&p, f, 60);
    for (uint32_t i = 0; i < 20000; i++) {
        arp_frame(&p, f, 1, 0x0a010000 + i, p.stack_ip);
        wire_inject(&p.w, p.stack->id, f, 60, 0);
        if (i % 16 == 0)
            peer_wait(&p, WIRE_MS * 20);
    }
    wire_turn(&p.w);
    assert_true(p.stack->stats.drop_neigh_learn > 18000);
    assert_non_null(neigh_find(p.stack->net, ip_from_v4(p.ip)));
    assert_int_equal(p.arps, 20001); /* answered all the same */
    peer_down(&p);
}

static void test_echo_rate(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[100];
    peer_up(&p, NULL);
    uint32_t n = echo_frame(&p, f, 8);
    for (int i = 0; i < 1000; i++) /* at one instant */
        wire_inject(&p.w, p.stack->id, f, n, 0);
    wire_turn(&p.w);
    assert_true(p.stack->stats.icmp_echo >= 100 && p.stack->stats.icmp_echo <= 140);
    assert_int_equal(p.stack->stats.drop_icmp_rate, 1000 - p.stack->stats.icmp_echo);
    peer_wait(&p, WIRE_SEC);
    uint64_t before = p.stack->stats.icmp_echo;
    peer_inject(&p, f, n);
    assert_int_equal(p.stack->stats.icmp_echo, before + 1);
    peer_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ethernet),
        cmocka_unit_test(test_ip4_lengths_that_lie),
        cmocka_unit_test(test_ip4_fragments_and_addresses),
        cmocka_unit_test(test_ip4_options),
        cmocka_unit_test(test_net_allow),
        cmocka_unit_test(test_tcp_header),
        cmocka_unit_test(test_tcp_options),
        cmocka_unit_test(test_padding_is_not_data),
        cmocka_unit_test(test_no_listener),
        cmocka_unit_test(test_chains_and_overlong_bursts),
        cmocka_unit_test(test_vlan),

        cmocka_unit_test(test_arp_answer_and_learn),
        cmocka_unit_test(test_arp_lies),
        cmocka_unit_test(test_neighbour_resolution),
        cmocka_unit_test(test_neighbour_never_answers),
        cmocka_unit_test(test_peer_moves),
        cmocka_unit_test(test_off_link_goes_to_gateway),
        cmocka_unit_test(test_announce),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_source_quench),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_arp_learning_is_bounded),
        cmocka_unit_test(test_echo_rate),
    };
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
