/* What IPv6 says about its link: neighbour discovery with its lies, duplicate address detection, routers, group reports. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"
#include "dataplane/net/tcp_internal.h"
#include "engine/shard/config.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/ip6_frames.h"
#include "tests/unit/net/peer.h"

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

static struct net_dad dad;

static void tune_shared_dad(struct net_config *c)
{
    c->dad_probes = 1;
    c->dad = &dad;
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

/* A client that one worker answers is answered by each: a ping that came to another in the first moments was lost. */
static void test_address_that_another_worker_answers_for(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    dad = (struct net_dad){{0}};
    peer_up(&p, tune_shared_dad);
    net_announce(p.stack->net, p.w.now_ns);
    peer_wait(&p, 200 * WIRE_MS);
    uint32_t n = syn_frame(&p, f);
    DROPS(&p, f, n, drop_ip_destination);
    dad.passed[1] = 1;
    n = syn_frame(&p, f);
    TAKEN(&p, f, n);
    assert_int_equal(peer_get(&p)->flags, PEER_SYN | PEER_ACK);
    assert_int_equal(p.stack->net->ip6.local[0].state, IP6_TENTATIVE);
    peer_down(&p);

    dad = (struct net_dad){{0}}; /* and this one says it itself, of each of its addresses */
    peer_up(&p, tune_shared_dad);
    net_announce(p.stack->net, p.w.now_ns);
    peer_wait(&p, 200 * WIRE_MS);
    assert_int_equal(dad.passed[0] + dad.passed[1], 0);
    peer_wait(&p, 1100 * WIRE_MS);
    assert_int_equal(dad.passed[0] + dad.passed[1], 2);
    peer_down(&p);

    dad = (struct net_dad){{0}}; /* what is somebody else's is nobody's here */
    peer_up(&p, tune_shared_dad);
    duplicate(&p, f, nd_frame(&p, f, NA, peer_addr(&p), addr("ff02::1"), own(&p), 0x20, p.mac));
    assert_int_equal(dad.passed[1], 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_solicitation_is_answered_and_learned),
        cmocka_unit_test(test_solicitations_that_lie),
        cmocka_unit_test(test_learning_is_bounded),
        cmocka_unit_test(test_neighbour_is_asked_for),
        cmocka_unit_test(test_duplicate_address_detection),
        cmocka_unit_test(test_address_that_another_worker_answers_for),
        cmocka_unit_test(test_another_has_our_address),
        cmocka_unit_test(test_conflict_is_passed_on),
        cmocka_unit_test(test_routers),
        cmocka_unit_test(test_configured_gateway_holds),
        cmocka_unit_test(test_group_reports),
    };
    setenv("BAREWIRE_TEST_V6", "1", 1);
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
