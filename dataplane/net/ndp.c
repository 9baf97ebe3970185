/* ndp: neighbour discovery for IPv6 (RFC 4861): solicitations and advertisements, duplicate address detection before an address is
 * used (RFC 4862 5.4), and the default router, by advertisement or by configuration.
 *
 *   ndp_start -> ndp_timers: report groups, probe each address -> valid: advertise, solicit routers
 *   icmp6_input -> ndp_input: solicitation -> answer, learn | advertisement -> learn | router advertisement -> default router, MTU
 *
 * Who may teach us an address: the same as with ARP: a solicitation for us, or the answer that we asked for; what is said unasked
 * refreshes at most an entry that has grown old. A packet whose hop limit is not 255 came through a router and counts nothing.
 * Not done: addresses by autoconfiguration, redirects (dropped), secure ND. Thread: the worker's. */
#include "dataplane/net/net_internal.h"

#define ROUTER_SOLICIT  133
#define ROUTER_ADVERT   134
#define NEIGH_SOLICIT   135
#define NEIGH_ADVERT    136
#define OPT_SOURCE_MAC  1
#define OPT_TARGET_MAC  2
#define OPT_MTU         5
#define FLAG_SOLICITED  0x40
#define FLAG_OVERRIDE   0x20
#define ND_HOPS         255
#define RETRANS_NS      NSEC_PER_S       /* RFC 4861 10 RETRANS_TIMER */
#define RTR_INTERVAL_NS (4 * NSEC_PER_S) /* RTR_SOLICITATION_INTERVAL */
#define RTR_SOLICITS    3                /* MAX_RTR_SOLICITATIONS */
#define START_JITTER_MS 64               /* stations that boot together do not speak at once */

struct nd_options {
    const uint8_t *mac[3]; /* by option type */
    uint32_t mtu;
};

/* False: a length of 0 or beyond the packet (RFC 4861 6.1.1, 7.1.1). Unknown options are skipped. */
static bool options_parse(const uint8_t *p, uint32_t n, struct nd_options *o)
{
    *o = (struct nd_options){.mtu = 0};
    for (uint32_t i = 0; i < n;) {
        if (n - i < 8 || !p[i + 1] || p[i + 1] * 8u > n - i)
            return false;
        if (p[i] == OPT_SOURCE_MAC || p[i] == OPT_TARGET_MAC)
            o->mac[p[i]] = p + i + 2;
        if (p[i] == OPT_MTU) {
            be32_t mtu;
            memcpy(&mtu, p + i + 4, 4);
            o->mtu = from_be32(mtu);
        }
        i += p[i + 1] * 8u;
    }
    return true;
}

static struct ip_addr all_nodes(void)
{
    static const uint8_t a[16] = {0xff, 0x02, [15] = 0x01};
    return ip_load(a);
}

/* ---- what we send ---- */

static void put_mac(uint8_t *opt, uint8_t type, const struct net *net)
{
    opt[0] = type;
    opt[1] = 1;
    memcpy(opt + 2, net->cfg.mac, 6);
}

static void advertise(struct net *net, int local, struct ip_addr dst, const uint8_t *dst_mac,
                      uint8_t flags)
{
    struct ip_addr own = net->ip6.local[local].addr;
    uint8_t *b;
    struct rte_mbuf *m = icmp6_new(net, own, dst, ND_HOPS, 32, &b);
    if (!m)
        return;
    memset(b, 0, 32);
    b[0] = NEIGH_ADVERT;
    b[4] = flags;
    ip_store(b + 8, own);
    put_mac(b + 24, OPT_TARGET_MAC, net);
    STAT_INC(net->stats->ndp_out);
    icmp6_finish(net, m, 32, dst_mac);
}

void ndp_solicit(struct net *net, struct ip_addr target, const uint8_t *dst)
{
    int local = ip6_source_for(net, target);
    if (local < 0) /* nothing to ask from yet */
        return;
    uint8_t *b;
    struct rte_mbuf *m = icmp6_new(net, net->ip6.local[local].addr,
                                   dst ? target : ip6_solicited_node(target), ND_HOPS, 32, &b);
    if (!m)
        return;
    memset(b, 0, 32);
    b[0] = NEIGH_SOLICIT;
    ip_store(b + 8, target);
    put_mac(b + 24, OPT_SOURCE_MAC, net);
    STAT_INC(net->stats->ndp_out);
    icmp6_finish(net, m, 32, dst);
}

/* RFC 4862 5.4.2: from nobody, so without our MAC. */
static void probe(struct net *net, const struct ip6_local *l)
{
    uint8_t *b;
    struct rte_mbuf *m =
        icmp6_new(net, (struct ip_addr){{0, 0}}, ip6_solicited_node(l->addr), ND_HOPS, 24, &b);
    if (!m)
        return;
    memset(b, 0, 24);
    b[0] = NEIGH_SOLICIT;
    ip_store(b + 8, l->addr);
    STAT_INC(net->stats->ndp_out);
    icmp6_finish(net, m, 24, NULL);
}

static void solicit_routers(struct net *net)
{
    static const uint8_t all_routers[16] = {0xff, 0x02, [15] = 0x02};
    uint8_t *b;
    struct rte_mbuf *m =
        icmp6_new(net, net->ip6.local[0].addr, ip_load(all_routers), ND_HOPS, 16, &b);
    if (!m)
        return;
    memset(b, 0, 16);
    b[0] = ROUTER_SOLICIT;
    put_mac(b + 8, OPT_SOURCE_MAC, net);
    STAT_INC(net->stats->ndp_out);
    icmp6_finish(net, m, 16, NULL);
}

/* ---- our addresses ---- */

static void schedule(struct ip6 *v6)
{
    uint64_t next = v6->solicit_ns < v6->report_ns ? v6->solicit_ns : v6->report_ns;
    for (uint32_t i = 0; i < v6->count; i++)
        next = v6->local[i].due_ns < next ? v6->local[i].due_ns : next;
    v6->next_ns = next;
}

static void valid_now(struct net *net, int i)
{
    struct ip6 *v6 = &net->ip6;
    if (net->cfg.dad)
        __atomic_store_n(&net->cfg.dad->passed[i], 1, __ATOMIC_RELEASE);
    v6->local[i].state = IP6_VALID;
    v6->local[i].due_ns = UINT64_MAX;
    advertise(net, i, all_nodes(), NULL, FLAG_OVERRIDE); /* RFC 4861 7.2.6: we may have moved */
    if (i == 0 && ip_is_unspecified(net->cfg.gateway6))
        v6->solicit_ns = net->now_ns;
}

bool ndp_valid(struct net *net, int i)
{
    struct ip6_local *l = &net->ip6.local[i];
    if (unlikely_(l->state == IP6_TENTATIVE) && net->cfg.dad &&
        __atomic_load_n(&net->cfg.dad->passed[i], __ATOMIC_ACQUIRE)) {
        valid_now(net, i);
        schedule(&net->ip6);
    }
    return l->state == IP6_VALID;
}

void ndp_start(struct net *net)
{
    struct ip6 *v6 = &net->ip6;
    if (!v6->count || v6->announced)
        return;
    v6->announced = true;
    uint64_t at = net->now_ns + (net->keys->neigh.k0 >> 8) % START_JITTER_MS * NSEC_PER_MS;
    v6->report_ns = net->now_ns;
    for (uint32_t i = 0; i < v6->count; i++) {
        if (v6->local[i].state == IP6_TENTATIVE)
            v6->local[i].due_ns = at;
        else if (v6->local[i].state == IP6_VALID)
            valid_now(net, (int)i);
    }
    v6->next_ns = net->now_ns;
}

void ndp_conflict(struct net *net, int i)
{
    struct ip6_local *l = &net->ip6.local[i];
    if (l->state != IP6_TENTATIVE) /* an address in use is not given up because someone says so */
        return;
    l->state = IP6_DUPLICATE;
    l->due_ns = UINT64_MAX;
    STAT_INC(net->stats->ndp_duplicate);
    schedule(&net->ip6);
}

void ndp_timers(struct net *net)
{
    struct ip6 *v6 = &net->ip6;
    if (likely_(net->now_ns < v6->next_ns))
        return;
    if (v6->report_ns <= net->now_ns) {
        mld_report(net);
        v6->reported_ns = net->now_ns;
        v6->report_ns = ++v6->reports < 2 ? net->now_ns + RETRANS_NS : UINT64_MAX;
    }
    for (uint32_t i = 0; i < v6->count; i++) {
        struct ip6_local *l = &v6->local[i];
        if (l->state != IP6_TENTATIVE || l->due_ns > net->now_ns)
            continue;
        if (l->probes < net->cfg.dad_probes) {
            l->probes++;
            l->due_ns = net->now_ns + RETRANS_NS;
            probe(net, l);
        } else {
            valid_now(net, (int)i);
        }
    }
    if (v6->solicit_ns <= net->now_ns) {
        solicit_routers(net);
        v6->solicit_ns = ++v6->solicits < RTR_SOLICITS ? net->now_ns + RTR_INTERVAL_NS : UINT64_MAX;
    }
    schedule(v6);
}

struct ip_addr ndp_router(const struct net *net)
{
    if (!ip_is_unspecified(net->cfg.gateway6))
        return net->cfg.gateway6;
    for (int i = 0; i < LIMIT_NET_ROUTERS; i++)
        if (net->ip6.router[i].until_ns > net->now_ns)
            return net->ip6.router[i].addr;
    return (struct ip_addr){{0, 0}};
}

/* ---- what others send ---- */

/* Said in passing by someone who speaks to us. */
static void learn(struct net *net, struct ip_addr ip, const uint8_t *opt_mac, const uint8_t src[6])
{
    /* The sender names its MAC twice; a packet that disagrees with its frame lies. */
    if (!opt_mac || !mac_is_unicast(opt_mac) || memcmp(opt_mac, src, 6) != 0 ||
        !net_on_link_ip(net, ip))
        return;
    struct neigh *n = neigh_find(net, ip);
    if (n && n->state == NEIGH_KNOWN && neigh_fresh(net, n) && memcmp(n->mac, opt_mac, 6) != 0)
        return;
    n = neigh_get_unasked(net, ip);
    if (n)
        neigh_set(net, n, opt_mac, true);
}

static bool solicitation(struct net *net, const struct ip6_hdr *ip, const uint8_t *p, uint32_t len,
                         const uint8_t mac[6])
{
    struct nd_options o;
    if (len < 24 || !options_parse(p + 24, len - 24, &o))
        return false;
    struct ip_addr target = ip_load(p + 8), src = ip_load(ip->src), dst = ip_load(ip->dst);
    int local = ip6_local_find(net, target);
    if (local < 0 || !mac_is_unicast(mac))
        return false;
    struct ip6_local *l = &net->ip6.local[local];
    bool valid = ndp_valid(net, local);
    if (ip_is_unspecified(src)) { /* RFC 4861 7.1.1: someone's DAD */
        if (!ip_equal(dst, ip6_solicited_node(target)) || o.mac[OPT_SOURCE_MAC] ||
            memcmp(mac, net->cfg.mac, 6) == 0) /* our own, come back (RFC 7527) */
            return false;
        if (l->state == IP6_TENTATIVE) {
            ndp_conflict(net, local);
            if (net->neigh_fn)
                net->neigh_fn(net->neigh_ctx, target, mac);
        } else if (valid && rate_allow(net, RATE_NDP, target)) {
            advertise(net, local, all_nodes(), NULL, FLAG_OVERRIDE);
        }
        return true;
    }
    if (!valid)
        return false;
    learn(net, src, o.mac[OPT_SOURCE_MAC], mac);
    if (!rate_allow(net, RATE_NDP, src)) {
        STAT_INC(net->stats->drop_icmp_rate);
        return true;
    }
    advertise(net, local, src, mac, FLAG_SOLICITED | FLAG_OVERRIDE);
    return true;
}

static bool advertisement(struct net *net, const struct ip6_hdr *ip, const uint8_t *p, uint32_t len,
                          const uint8_t mac[6])
{
    struct nd_options o;
    if (len < 24 || !options_parse(p + 24, len - 24, &o))
        return false;
    struct ip_addr target = ip_load(p + 8);
    const uint8_t *tmac = o.mac[OPT_TARGET_MAC];
    if (!ip_is_host(target) || ip_is_v4(target) ||
        (ip_is_multicast6(ip_load(ip->dst)) && (p[4] & FLAG_SOLICITED)))
        return false;
    int local = ip6_local_find(net, target);
    if (local >= 0) { /* RFC 4862 5.4.4 */
        if (net->ip6.local[local].state != IP6_TENTATIVE || memcmp(mac, net->cfg.mac, 6) == 0)
            return false;
        ndp_conflict(net, local);
        if (net->neigh_fn)
            net->neigh_fn(net->neigh_ctx, target, mac);
        return true;
    }
    struct neigh *n = neigh_find(net, target);
    if (!n || (tmac && (!mac_is_unicast(tmac) || memcmp(tmac, mac, 6) != 0)))
        return false;
    if (!tmac) { /* RFC 4861 7.2.4: may be left out when we asked by unicast: all is as it was */
        if (n->state != NEIGH_KNOWN || !n->asked || memcmp(n->mac, mac, 6) != 0)
            return false;
        tmac = mac;
    }
    bool same = n->state == NEIGH_KNOWN && memcmp(n->mac, tmac, 6) == 0;
    if (!n->asked && !same && (n->state != NEIGH_KNOWN || neigh_fresh(net, n)))
        return false;
    if (n->state == NEIGH_KNOWN && !same && !(p[4] & FLAG_OVERRIDE)) /* 7.2.5 */
        return false;
    if (same && !n->asked) /* nothing new; nor does it keep an entry fresh unasked */
        return true;
    neigh_set(net, n, tmac, true);
    return true;
}

static bool router(struct net *net, const struct ip6_hdr *ip, const uint8_t *p, uint32_t len,
                   const uint8_t mac[6])
{
    struct ip6 *v6 = &net->ip6;
    struct nd_options o;
    struct ip_addr src = ip_load(ip->src);
    if (len < 16 || !ip_is_link_local(src) || !options_parse(p + 16, len - 16, &o))
        return false;
    if (!ip_is_unspecified(net->cfg.gateway6)) /* the configured one holds */
        return true;
    struct ip6_router *slot = NULL;
    for (int i = 0; i < LIMIT_NET_ROUTERS; i++) {
        struct ip6_router *r = &v6->router[i];
        if (r->until_ns && ip_equal(r->addr, src)) {
            slot = r;
            break;
        }
        if (!slot && r->until_ns <= net->now_ns)
            slot = r;
    }
    uint32_t lifetime_s = (uint32_t)p[6] << 8 | p[7];
    if (!slot) /* a router more than is kept: those that were first stay */
        return false;
    if (!lifetime_s) {
        if (slot->until_ns && ip_equal(slot->addr, src))
            slot->until_ns = 0;
        return true;
    }
    *slot = (struct ip6_router){src, net->now_ns + lifetime_s * NSEC_PER_S};
    if (o.mtu >= 1280 && o.mtu <= net->cfg.mtu)
        v6->mtu = (uint16_t)o.mtu;
    learn(net, src, o.mac[OPT_SOURCE_MAC], mac);
    v6->solicit_ns = UINT64_MAX;
    schedule(v6);
    return true;
}

void ndp_input(struct net *net, const struct ip6_hdr *ip, const uint8_t *p, uint32_t len,
               const uint8_t src[6])
{
    bool taken = false;
    if (ip->hops == ND_HOPS && p[1] == 0) {
        switch (p[0]) {
        case NEIGH_SOLICIT: taken = solicitation(net, ip, p, len, src); break;
        case NEIGH_ADVERT: taken = advertisement(net, ip, p, len, src); break;
        case ROUTER_ADVERT: taken = router(net, ip, p, len, src); break;
        default: break;
        }
    }
    if (taken)
        STAT_INC(net->stats->ndp_in);
    else
        STAT_INC(net->stats->drop_ndp);
}
