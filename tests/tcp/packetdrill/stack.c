/* stack: see stack.h. */
#include "tests/tcp/packetdrill/stack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "dataplane/net/net_internal.h"
#include "tests/sim/eal.h"

#define LINK_HEADER 14

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {2, 0, 0, 0, 0, 2};

static struct rte_mempool *pool_new(const char *name, unsigned n, unsigned room)
{
    return rte_pktmbuf_pool_create(name, n, 0, 0, (uint16_t)room, SOCKET_ID_ANY);
}

/* "local_ip=A.B.C.D" among the words of --so_flags. */
static struct ip_addr local_of(const char *flags)
{
    struct ip_addr a = ip_from_v4(0xc0a80001); /* 192.168.0.1: the tool's own default */
    const char *at = flags ? strstr(flags, "local_ip=") : NULL;
    char text[IP_TEXT_BYTES];
    if (at && sscanf(at + 9, "%47[0-9a-fA-F.:]", text) == 1)
        (void)ip_parse(span_of(text, strlen(text)), &a);
    return a;
}

struct pd *pd_new(const char *flags)
{
    struct pd *pd = calloc(1, sizeof(*pd));
    if (!pd)
        return NULL;
    test_eal_init("packetdrill");
    pthread_mutex_init(&pd->lock, NULL);
    pthread_cond_init(&pd->changed, NULL);
    net_config_defaults(&pd->cfg);
    pd->now_ns = 1000 * NSEC_PER_S;
    pd->local = local_of(flags);
    pd->cfg.netmask = 0; /* everyone is a neighbour: packets have no Ethernet of their own */
    pd->cfg.max_conns = 256;
    pd->cfg.dad_probes = 0;
    pd->cfg.secret[0] = 0x7061636b65746472ull;
    pd->cfg.secret[1] = 0x696c6c2d73656564ull;
    memcpy(pd->cfg.mac, our_mac, 6);
    pd->cfg.pool = pool_new("pd-data", 8191, 2048 + RTE_PKTMBUF_HEADROOM);
    pd->cfg.reserve = pool_new("pd-reserve", 255, 512);
    pd_app_init(pd);
    if (!pd->cfg.pool || !pd->cfg.reserve) {
        free(pd);
        return NULL;
    }
    return pd;
}

void pd_delete(struct pd *pd)
{
    size_t n = 1u << 16;
    uint8_t *sink = malloc(n);
    uint64_t at;
    while (sink && pd->out_count) {
        n = 1u << 16;
        pd_take(pd, sink, &n, &at);
    }
    free(sink);
    if (pd->net)
        net_destroy(pd->net);
    for (unsigned i = 0; i < PD_SOCKETS; i++)
        free(pd->socket[i].rx);
    rte_mempool_free(pd->cfg.pool);
    rte_mempool_free(pd->cfg.reserve);
    pthread_cond_destroy(&pd->changed);
    pthread_mutex_destroy(&pd->lock);
    free(pd);
}

/* What is TCP or ICMP goes to the tool without its Ethernet header; ARP and neighbour discovery have nobody to ask. */
static void keep(struct pd *pd, const uint8_t *f, uint32_t len)
{
    bool v4 = f[12] == 0x08 && f[13] == 0x00, v6 = f[12] == 0x86 && f[13] == 0xdd;
    if (len <= LINK_HEADER || (!v4 && !v6) || (v6 && f[LINK_HEADER + 6] != IP_PROTO_TCP) ||
        pd->out_count == PD_PACKETS)
        return;
    struct pd_packet k = {malloc(len - LINK_HEADER), len - LINK_HEADER, pd->now_ns};
    if (!k.data)
        return;
    memcpy(k.data, f + LINK_HEADER, k.len);
    pd->out[(pd->out_head + pd->out_count++) % PD_PACKETS] = k;
}

static uint16_t wire_tx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    struct pd *pd = ctx;
    for (uint16_t i = 0; i < n; i++) {
        keep(pd, rte_pktmbuf_mtod(pkts[i], const uint8_t *), pkts[i]->data_len);
        rte_pktmbuf_free(pkts[i]);
    }
    pd->changes += n;
    return n;
}

int pd_need_net(struct pd *pd, struct ip_addr local)
{
    struct net_wire wire = {.tx = wire_tx, .ctx = pd};
    if (pd->net)
        return 0;
    if (!ip_is_unspecified(local))
        pd->local = local;
    if (ip_is_v4(pd->local)) {
        pd->cfg.ip = ip_v4(pd->local);
    } else {
        pd->cfg.ip = 0;
        pd->cfg.ip6[0] = (struct net_prefix){pd->local, 1};
        pd->cfg.ip6_count = 1;
    }
    int rc = net_create(&pd->net, &pd->cfg, &wire, &pd->app, &pd->stats, pd->now_ns);
    if (!rc)
        net_announce(pd->net, pd->now_ns);
    return rc;
}

static void turn(struct pd *pd, struct rte_mbuf *m)
{
    if (!pd->net)
        return;
    net_input(pd->net, &m, m ? 1 : 0, pd->now_ns);
    net_input_done(pd->net);
    net_timers(pd->net, pd->now_ns);
    net_output(pd->net, pd->now_ns);
    pthread_cond_broadcast(&pd->changed);
}

void pd_turn(struct pd *pd)
{
    turn(pd, NULL);
}

void pd_know_peer(struct pd *pd, struct ip_addr peer)
{
    net_neigh_learn(pd->net, peer, peer_mac, pd->now_ns);
}

/* Source and destination of a raw packet. */
static bool addresses(const uint8_t *p, size_t n, struct ip_addr *src, struct ip_addr *dst)
{
    if (n >= 20 && p[0] >> 4 == 4) {
        be32_t a, b;
        memcpy(&a, p + 12, 4);
        memcpy(&b, p + 16, 4);
        *src = ip_from_v4(from_be32(a));
        *dst = ip_from_v4(from_be32(b));
        return true;
    }
    if (n < 40 || p[0] >> 4 != 6)
        return false;
    *src = ip_load(p + 8);
    *dst = ip_load(p + 24);
    return true;
}

int pd_inject(struct pd *pd, const void *packet, size_t n)
{
    struct ip_addr src, dst;
    if (n > 2000 || !addresses(packet, n, &src, &dst) || pd_need_net(pd, dst) != 0)
        return -1;
    struct rte_mbuf *m = rte_pktmbuf_alloc(pd->cfg.pool);
    uint8_t *f = m ? (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(LINK_HEADER + n)) : NULL;
    if (!f)
        return -1;
    pd_know_peer(pd, src);
    memcpy(f, our_mac, 6);
    memcpy(f + 6, peer_mac, 6);
    memcpy(f + 12, ip_is_v4(dst) ? "\x08\x00" : "\x86\xdd", 2);
    memcpy(f + LINK_HEADER, packet, n);
    pd->changes++;
    turn(pd, m);
    return 0;
}

bool pd_take(struct pd *pd, void *p, size_t *n, uint64_t *at_ns)
{
    struct pd_packet *k = &pd->out[pd->out_head];
    if (!pd->out_count)
        return false;
    if (*n > k->len)
        *n = k->len;
    memcpy(p, k->data, *n);
    *at_ns = k->at_ns;
    free(k->data);
    pd->out_head = (pd->out_head + 1) % PD_PACKETS;
    pd->out_count--;
    return true;
}

void pd_advance(struct pd *pd, uint64_t to_ns)
{
    while (pd->now_ns < to_ns) {
        uint64_t next = pd->net ? net_next_timer_ns(pd->net) : UINT64_MAX;
        if (pd->net && net_output_pending(pd->net))
            next = pd->now_ns + 1000;
        if (next > to_ns)
            next = to_ns;
        pd->now_ns = next > pd->now_ns ? next : pd->now_ns + 1;
        turn(pd, NULL);
    }
    pthread_cond_broadcast(&pd->changed);
}
