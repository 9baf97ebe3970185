/* IPv6 below TCP: every reason to drop a packet by its own counter, extension headers, echo and errors, neighbour discovery with its
 * lies, duplicate address detection, routers, group reports, and the rates of what anyone can provoke. */
#include <stdlib.h>
#include <string.h>

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
#define TAKEN(p, frame, len)                                  \
    do {                                                      \
        uint64_t all = all_drops(&(p)->stack->stats);         \
        peer_inject(p, frame, len);                           \
        assert_int_equal(all_drops(&(p)->stack->stats), all); \
    } while (0)

static struct ip6_hdr *ip_of(uint8_t *f)
{
    return (struct ip6_hdr *)(void *)(f + 14);
}

static uint32_t syn_frame(struct peer *p, uint8_t *f)
{
    return peer_frame(p, f, PEER_SYN, p->seq, 0, NULL, 0);
}

static struct ip_addr addr(const char *text)
{
    struct ip_addr a = {{0, 0}};
    if (!ip_parse(span_str(text), &a))
        fail_msg("%s is no address", text);
    return a;
}

static struct ip_addr own(const struct peer *p)
{
    return wire_ip6(p->stack_ip);
}

static void tune_dad(struct net_config *c)
{
    c->dad_probes = 1;
}

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

static uint32_t icmp_frame(struct peer *p, uint8_t *f, struct ip_addr src, struct ip_addr dst,
                           uint8_t hops, const void *body, uint32_t len)
{
    memcpy(f, p->stack->mac, 6);
    if (ip_is_multicast6(dst))
        ip6_multicast_mac(f, dst);
    memcpy(f + 6, p->mac, 6);
    f[12] = 0x86;
    f[13] = 0xdd;
    ip6_write(ip_of(f), src, dst, IP_PROTO_ICMP6, hops, (uint16_t)len);
    memcpy(f + 54, body, len);
    peer_fix_checksums(f, 14);
    return 54 + len;
}

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

/* ---- neighbour discovery ---- */

#define NS 135
#define NA 136

/* A solicitation or advertisement; mac NULL: without option. */
static uint32_t nd_frame(struct peer *p, uint8_t *f, uint8_t type, struct ip_addr src,
                         struct ip_addr dst, struct ip_addr target, uint8_t flags,
                         const uint8_t *mac)
{
    uint8_t b[32] = {type, 0, 0, 0, flags};
    ip_store(b + 8, target);
    b[24] = type == NS ? 1 : 2;
    b[25] = 1;
    if (mac)
        memcpy(b + 26, mac, 6);
    return icmp_frame(p, f, src, dst, 255, b, mac ? 32 : 24);
}

static uint32_t solicit(struct peer *p, uint8_t *f)
{
    return nd_frame(p, f, NS, peer_addr(p), ip6_solicited_node(own(p)), own(p), 0, p->mac);
}

static void test_solicitation_is_answered_and_learned(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    uint32_t n = solicit(&p, f);
    TAKEN(&p, f, n);
    assert_int_equal(p.icmps, 1);
    assert_int_equal(p.last_icmp[54], NA);
    assert_int_equal(p.last_icmp[58], 0x60); /* solicited, override */
    assert_int_equal(p.last_icmp[21], 255);
    assert_memory_equal(p.last_icmp, p.mac, 6);
    assert_memory_equal(p.last_icmp + 80, p.stack->mac, 6);
    assert_true(ip_equal(ip_load(p.last_icmp + 62), own(&p)));
    struct neigh *e = neigh_find(p.stack->net, peer_addr(&p));
    assert_non_null(e);
    assert_memory_equal(e->mac, p.mac, 6);

    /* Fresh: another MAC does not take it over, neither by a solicitation nor unasked. */
    p.mac[5] = 0x77;
    n = solicit(&p, f);
    TAKEN(&p, f, n);
    assert_int_equal(e->mac[5], 0x99);
    n = nd_frame(&p, f, NA, peer_addr(&p), addr("ff02::1"), peer_addr(&p), 0x20, p.mac);
    DROPS(&p, f, n, drop_ndp);
    n = nd_frame(&p, f, NA, peer_addr(&p), own(&p), peer_addr(&p), 0x60, p.mac);
    DROPS(&p, f, n, drop_ndp); /* an answer nobody asked for */
    assert_int_equal(e->mac[5], 0x99);
    /* Grown old: what is said unasked may change it, with the override flag. */
    peer_wait(&p, (LIMIT_NET_NEIGH_FRESH_S + 1) * WIRE_SEC);
    n = nd_frame(&p, f, NA, peer_addr(&p), addr("ff02::1"), peer_addr(&p), 0, p.mac);
    DROPS(&p, f, n, drop_ndp);
    n = nd_frame(&p, f, NA, peer_addr(&p), addr("ff02::1"), peer_addr(&p), 0x20, p.mac);
    TAKEN(&p, f, n);
    assert_int_equal(e->mac[5], 0x77);
    peer_down(&p);
}

static void test_solicitations_that_lie(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256], mac[6];
    peer_up(&p, NULL);
    uint32_t n = solicit(&p, f);
    for (unsigned hops = 0; hops < 255; hops += 17) { /* it came through a router */
        ip_of(f)->hops = (uint8_t)hops;
        DROPS(&p, f, n, drop_ndp);
    }
    solicit(&p, f);
    f[55] = 1; /* code */
    peer_fix_checksums(f, 14);
    DROPS(&p, f, n, drop_ndp);
    solicit(&p, f);
    f[79] = 0; /* an option of length 0, then one beyond the end */
    peer_fix_checksums(f, 14);
    DROPS(&p, f, n, drop_ndp);
    f[79] = 2;
    peer_fix_checksums(f, 14);
    DROPS(&p, f, n, drop_ndp);
    n = nd_frame(&p, f, NS, peer_addr(&p), own(&p), addr("fd00::99"), 0, p.mac);
    DROPS(&p, f, n, drop_ndp); /* another's address */
    n = nd_frame(&p, f, NS, addr("::"), own(&p), own(&p), 0, NULL);
    DROPS(&p, f, n, drop_ndp); /* DAD goes to the solicited-node group */
    n = nd_frame(&p, f, NS, addr("::"), ip6_solicited_node(own(&p)), own(&p), 0, p.mac);
    DROPS(&p, f, n, drop_ndp); /* nobody has no MAC */
    n = nd_frame(&p, f, NA, peer_addr(&p), own(&p), own(&p), 0x20, p.mac);
    DROPS(&p, f, n, drop_ndp); /* our own address in another's hands */
    n = icmp_frame(&p, f, peer_addr(&p), own(&p), 255, "\211\0\0\0\0\0\0\0", 8);
    DROPS(&p, f, n, drop_ndp); /* a redirect */
    for (uint32_t len = 8; len < 24; len++) {
        uint8_t b[24] = {NS};
        ip_store(b + 8, own(&p));
        n = icmp_frame(&p, f, peer_addr(&p), own(&p), 255, b, len);
        DROPS(&p, f, n, drop_ndp);
    }
    assert_int_equal(p.icmps, 0);
    memcpy(mac, p.mac, 6); /* the option names another than the frame: answered, not learned */
    mac[3] ^= 1;
    n = nd_frame(&p, f, NS, peer_addr(&p), own(&p), own(&p), 0, mac);
    TAKEN(&p, f, n);
    assert_int_equal(p.icmps, 1);
    assert_null(neigh_find(p.stack->net, peer_addr(&p)));
    n = nd_frame(&p, f, NS, addr("2001:db8::1"), own(&p), own(&p), 0, p.mac);
    TAKEN(&p, f, n); /* off-link: the same */
    assert_null(neigh_find(p.stack->net, addr("2001:db8::1")));
    peer_down(&p);
}

/* Made-up neighbours are learned within a rate and never in the place of fresh ones. */
static void test_learning_is_bounded(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    peer_inject(&p, f, solicit(&p, f));
    for (uint32_t i = 0; i < 20000; i++) {
        p.ip = 0x0a010000 + i;
        wire_inject(&p.w, p.stack->id, f, solicit(&p, f), 0);
        if (i % 16 == 0)
            peer_wait(&p, WIRE_MS * 20);
    }
    wire_turn(&p.w);
    p.ip = 0x0a000001;
    assert_true(p.stack->stats.drop_neigh_learn > 18000);
    assert_non_null(neigh_find(p.stack->net, peer_addr(&p)));
    for (uint32_t i = 0; i < 1000; i++) {
        p.ip = 0x0b010000 + i;
        wire_inject(&p.w, p.stack->id, f, solicit(&p, f), 0);
    }
    peer_down(&p);
}

static void test_neighbour_is_asked_for(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    struct stream *s = &p.app->stream[p.app->used++];
    s->tc = tcp_connect_to(p.stack->net, peer_addr(&p), 80, 5555, s, p.w.now_ns);
    wire_turn(&p.w);
    assert_int_equal(p.icmps, 1);
    assert_int_equal(p.last_icmp[54], NS);
    assert_true(ip_equal(ip_load(p.last_icmp + 38), ip6_solicited_node(peer_addr(&p))));
    assert_int_equal(p.last_icmp[0] << 8 | p.last_icmp[1], 0x3333);
    peer_none(&p);
    peer_wait(&p, 1200 * WIRE_MS);
    assert_int_equal(p.icmps, 2); /* once a second */
    p.stack->net->cfg.ip = 0x0a000002;
    tcp_connect(p.stack->net, 0x0a000005, 80, 0, s, p.w.now_ns); /* an ARP request is out: */
    wire_turn(&p.w);
    uint32_t mapped =
        nd_frame(&p, f, NA, peer_addr(&p), own(&p), ip_from_v4(0x0a000005), 0x60, p.mac);
    DROPS(&p, f, mapped, drop_ndp); /* NDP does not answer it */
    uint32_t n = nd_frame(&p, f, NA, peer_addr(&p), own(&p), peer_addr(&p), 0x60, p.mac);
    TAKEN(&p, f, n);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->flags & PEER_SYN, PEER_SYN);
    assert_int_equal(k->mss, p.stack->net->cfg.mtu - 60);
    peer_down(&p);
}

/* ---- our addresses ---- */

static void test_duplicate_address_detection(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, tune_dad);
    uint32_t n = solicit(&p, f);
    DROPS(&p, f, n, drop_ndp); /* tentative: not answered */
    n = syn_frame(&p, f);
    DROPS(&p, f, n, drop_ip_destination);
    assert_null(tcp_connect_to(p.stack->net, peer_addr(&p), 80, 0, NULL, p.w.now_ns));
    net_announce(p.stack->net, p.w.now_ns);
    peer_wait(&p, 200 * WIRE_MS);
    assert_int_equal(p.icmps, 3); /* groups, two probes */
    assert_int_equal(p.last_icmp[54], NS);
    assert_true(ip_is_unspecified(ip_load(p.last_icmp + 22)));
    assert_int_equal(p.last_icmp_len, 14 + 40 + 24); /* without our MAC */
    peer_wait(&p, 1100 * WIRE_MS);
    assert_int_equal(p.stack->net->ip6.local[1].state, IP6_VALID);
    n = syn_frame(&p, f);
    TAKEN(&p, f, n);
    assert_int_equal(peer_get(&p)->flags, PEER_SYN | PEER_ACK);
    /* Someone's probe for an address in use is answered to all; a claim does not take it away. */
    n = nd_frame(&p, f, NS, addr("::"), ip6_solicited_node(own(&p)), own(&p), 0, NULL);
    TAKEN(&p, f, n);
    assert_true(ip_equal(ip_load(p.last_icmp + 38), addr("ff02::1")));
    assert_int_equal(p.last_icmp[58], 0x20);
    n = nd_frame(&p, f, NA, own(&p), addr("ff02::1"), own(&p), 0x20, p.mac);
    DROPS(&p, f, n, drop_ip_land);
    n = nd_frame(&p, f, NA, peer_addr(&p), addr("ff02::1"), own(&p), 0x20, p.mac);
    DROPS(&p, f, n, drop_ndp);
    assert_int_equal(p.stack->net->ip6.local[1].state, IP6_VALID);
    peer_down(&p);
}

static void duplicate(struct peer *p, uint8_t *f, uint32_t n)
{
    net_announce(p->stack->net, p->w.now_ns);
    peer_wait(p, 200 * WIRE_MS);
    peer_inject(p, f, n);
    assert_int_equal(p->stack->stats.ndp_duplicate, 1);
    peer_wait(p, 5 * WIRE_SEC);
    assert_int_equal(p->stack->net->ip6.local[1].state, IP6_DUPLICATE);
    assert_int_equal(p->stack->net->ip6.local[0].state, IP6_VALID);
    n = syn_frame(p, f);
    DROPS(p, f, n, drop_ip_destination);
    peer_down(p);
}

static void test_another_has_our_address(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256], own_mac[6];
    peer_up(&p, tune_dad); /* it answers our probe */
    duplicate(&p, f, nd_frame(&p, f, NA, peer_addr(&p), addr("ff02::1"), own(&p), 0x20, p.mac));
    peer_up(&p, tune_dad); /* it probes as we do */
    duplicate(&p, f,
              nd_frame(&p, f, NS, addr("::"), ip6_solicited_node(own(&p)), own(&p), 0, NULL));
    peer_up(&p, tune_dad); /* our own probe comes back: not another */
    net_announce(p.stack->net, p.w.now_ns);
    peer_wait(&p, 200 * WIRE_MS);
    memcpy(own_mac, p.mac, 6);
    memcpy(p.mac, p.stack->mac, 6);
    uint32_t n = nd_frame(&p, f, NS, addr("::"), ip6_solicited_node(own(&p)), own(&p), 0, NULL);
    memcpy(p.mac, own_mac, 6);
    DROPS(&p, f, n, drop_ndp);
    peer_wait(&p, 5 * WIRE_SEC);
    assert_int_equal(p.stack->net->ip6.local[1].state, IP6_VALID);
    peer_down(&p);
}

static void told(void *ctx, struct ip_addr ip, const uint8_t mac[6])
{
    struct peer *p = ctx;
    (void)mac;
    p->tsval += ip_equal(ip, own(p));
}

/* The answer to a probe reaches one worker: the others hear of it. */
static void test_conflict_is_passed_on(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, tune_dad);
    net_set_neigh_listener(p.stack->net, told, &p);
    uint32_t n = nd_frame(&p, f, NA, peer_addr(&p), addr("ff02::1"), own(&p), 0x20, p.mac);
    TAKEN(&p, f, n);
    assert_int_equal(p.tsval, 1);
    peer_down(&p);
    peer_up(&p, tune_dad);
    net_neigh_learn(p.stack->net, own(&p), p.mac, p.w.now_ns);
    assert_int_equal(p.stack->net->ip6.local[1].state, IP6_DUPLICATE);
    peer_down(&p);
}

/* ---- routers ---- */

static uint32_t advert(struct peer *p, uint8_t *f, const char *src, uint16_t lifetime_s,
                       uint32_t mtu)
{
    uint8_t b[32] = {134, 0, 0, 0, 64, 0, (uint8_t)(lifetime_s >> 8), (uint8_t)lifetime_s};
    be32_t m = be32(mtu);
    b[16] = 1;
    b[17] = 1;
    memcpy(b + 18, p->mac, 6);
    b[24] = 5;
    b[25] = 1;
    memcpy(b + 28, &m, 4);
    return icmp_frame(p, f, addr(src), addr("ff02::1"), 255, b, 32);
}

static void test_routers(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    const struct net *net = p.stack->net;
    struct ip_addr far = addr("2001:db8::9");
    assert_true(ip_is_unspecified(net_next_hop(net, far)));
    net_announce(p.stack->net, p.w.now_ns);
    peer_wait(&p, 30 * WIRE_SEC); /* groups twice, two addresses advertised, three solicitations */
    assert_int_equal(p.icmps, 7);
    assert_int_equal(p.last_icmp[54], 133);
    assert_true(ip_equal(ip_load(p.last_icmp + 38), addr("ff02::2")));
    uint32_t n = advert(&p, f, "fd00::1", 100, 1400);
    DROPS(&p, f, n, drop_ndp); /* not from a link-local address */
    n = advert(&p, f, "fe80::1", 100, 1400);
    ip_of(f)->hops = 254;
    DROPS(&p, f, n, drop_ndp);
    ip_of(f)->hops = 255;
    TAKEN(&p, f, n);
    assert_true(ip_equal(net_next_hop(net, far), addr("fe80::1")));
    assert_int_equal(net->ip6.mtu, 1400);
    assert_non_null(neigh_find(p.stack->net, addr("fe80::1")));
    n = advert(&p, f, "fe80::2", 100, 1279); /* a second one: in reserve; no MTU below the least */
    TAKEN(&p, f, n);
    assert_true(ip_equal(net_next_hop(net, far), addr("fe80::1")));
    assert_int_equal(net->ip6.mtu, 1400);
    n = advert(&p, f, "fe80::3", 100, 0);
    TAKEN(&p, f, n);
    n = advert(&p, f, "fe80::4", 100, 0);
    TAKEN(&p, f, n);
    n = advert(&p, f, "fe80::5", 100, 0); /* more than are kept */
    DROPS(&p, f, n, drop_ndp);
    n = advert(&p, f, "fe80::1", 0, 0); /* the first one stops */
    TAKEN(&p, f, n);
    assert_true(ip_equal(net_next_hop(net, far), addr("fe80::2")));
    peer_wait(&p, 101 * WIRE_SEC);
    assert_true(ip_is_unspecified(net_next_hop(net, far)));
    assert_true(ip_equal(net_next_hop(net, addr("fd00::99")), addr("fd00::99")));
    peer_down(&p);
}

static void tune_gateway(struct net_config *c)
{
    c->gateway6 = addr("fe80::9");
}

static void test_configured_gateway_holds(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, tune_gateway);
    net_announce(p.stack->net, p.w.now_ns);
    peer_wait(&p, 20 * WIRE_SEC);
    assert_int_not_equal(p.last_icmp[54], 133); /* nobody was asked */
    uint32_t n = advert(&p, f, "fe80::1", 100, 0);
    TAKEN(&p, f, n);
    assert_true(ip_equal(net_next_hop(p.stack->net, addr("2001:db8::9")), addr("fe80::9")));
    /* A client from afar is answered through it. */
    struct stream *s = &p.app->stream[p.app->used++];
    s->tc = tcp_connect_to(p.stack->net, addr("2001:db8::9"), 80, 5555, s, p.w.now_ns);
    wire_turn(&p.w);
    assert_int_equal(p.last_icmp[54], NS);
    assert_true(ip_equal(ip_load(p.last_icmp + 62), addr("fe80::9")));
    peer_down(&p);
}

/* ---- groups ---- */

static void test_group_reports(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256], query[28] = {130};
    peer_up(&p, tune_dad);
    net_announce(p.stack->net, p.w.now_ns);
    wire_run(&p.w, p.w.now_ns, NULL, NULL);
    peer_wait(&p, 1);
    assert_true(p.icmps >= 1);
    peer_wait(&p, 15 * WIRE_SEC); /* behind the last router solicitation */
    uint32_t n = icmp_frame(&p, f, addr("fe80::1"), addr("ff02::1"), 1, query, 28);
    TAKEN(&p, f, n);
    TAKEN(&p, f, n); /* a second one is answered by the same report */
    unsigned reports = p.icmps;
    peer_wait(&p, 100 * WIRE_MS);
    assert_int_equal(p.icmps, reports + 1);
    assert_int_equal(p.last_icmp[54], 58); /* behind the router alert */
    assert_int_equal(p.last_icmp[56], 5);
    assert_int_equal(p.last_icmp[62], 143);
    assert_int_equal(p.last_icmp[69], 2);
    assert_true(ip_equal(ip_load(p.last_icmp + 38), addr("ff02::16")));
    assert_true(ip_equal(ip_load(p.last_icmp + 62 + 8 + 20 + 4), ip6_solicited_node(own(&p))));
    for (int i = 0; i < 50; i++) { /* at most once a second */
        peer_inject(&p, f, n);
        peer_wait(&p, 100 * WIRE_MS);
    }
    assert_in_range(p.icmps - reports, 4, 7);
    n = icmp_frame(&p, f, addr("fd00::7"), addr("ff02::1"), 1, query, 28);
    DROPS(&p, f, n, drop_icmp);
    n = icmp_frame(&p, f, addr("fe80::1"), addr("ff02::1"), 1, query, 23);
    DROPS(&p, f, n, drop_icmp);
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
        cmocka_unit_test(test_solicitation_is_answered_and_learned),
        cmocka_unit_test(test_solicitations_that_lie),
        cmocka_unit_test(test_learning_is_bounded),
        cmocka_unit_test(test_neighbour_is_asked_for),
        cmocka_unit_test(test_duplicate_address_detection),
        cmocka_unit_test(test_another_has_our_address),
        cmocka_unit_test(test_conflict_is_passed_on),
        cmocka_unit_test(test_routers),
        cmocka_unit_test(test_configured_gateway_holds),
        cmocka_unit_test(test_group_reports),
        cmocka_unit_test(test_vlan),
        cmocka_unit_test(test_equal_keys),
    };
    setenv("BAREWIRE_TEST_V6", "1", 1);
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
