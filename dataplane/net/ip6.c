/* ip6: RFC 8200 with the addresses of RFC 4291. Second stage of net_input beside ip4.c: whatever is not a whole, unfragmented packet
 * from a believable source to us is dropped by its own reason.
 *
 *     fixed header 40 | hop-by-hop, destination options, routing, ... (at most LIMIT_IP6_EXT_HEADERS, _BYTES) | TCP or ICMPv6
 *
 * Fragments are refused as in IPv4 (our own packets never need them), atomic ones too (RFC 8021: nothing makes them any more). */
#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"
#include "engine/shard/config.h"

#define EXT_HOP_BY_HOP 0
#define EXT_ROUTING    43
#define EXT_FRAGMENT   44
#define EXT_DEST_OPTS  60
#define IP_PROTO_NONE  59

void ip6_init(struct net *net)
{
    const struct net_config *c = &net->cfg;
    struct ip6 *v6 = &net->ip6;
    v6->mtu = c->mtu;
    v6->solicit_ns = v6->report_ns = v6->next_ns = UINT64_MAX;
    if (!c->ip6_count)
        return;
    /* RFC 4291 appendix A: the interface identifier is the MAC with ff:fe in its middle. */
    uint8_t ll[16] = {0xfe, 0x80, [11] = 0xff, [12] = 0xfe};
    ll[8] = c->mac[0] ^ 2;
    memcpy(ll + 9, c->mac + 1, 2);
    memcpy(ll + 13, c->mac + 3, 3);
    v6->local[0] = (struct ip6_local){.addr = ip_load(ll), .bits = 64};
    for (uint32_t i = 0; i < c->ip6_count; i++)
        v6->local[1 + i] = (struct ip6_local){.addr = c->ip6[i].addr, .bits = c->ip6[i].bits};
    v6->count = 1 + c->ip6_count;
    for (uint32_t i = 0; i < v6->count; i++) {
        v6->local[i].state = c->dad_probes && !c->shared ? IP6_TENTATIVE : IP6_VALID;
        v6->local[i].due_ns = UINT64_MAX;
    }
}

int ip6_local_find(const struct net *net, struct ip_addr a)
{
    for (uint32_t i = 0; i < net->ip6.count; i++)
        if (ip_equal(net->ip6.local[i].addr, a))
            return (int)i;
    return -1;
}

int ip6_source_for(const struct net *net, struct ip_addr to)
{
    const struct ip6 *v6 = &net->ip6;
    int any = -1;
    if (ip_is_link_local(to))
        return v6->local[0].state == IP6_VALID ? 0 : -1;
    for (uint32_t i = 1; i < v6->count; i++) {
        if (v6->local[i].state != IP6_VALID)
            continue;
        if (ip_in(to, v6->local[i].addr, v6->local[i].bits))
            return (int)i;
        if (any < 0)
            any = (int)i;
    }
    return any;
}

bool net_on_link_ip(const struct net *net, struct ip_addr ip)
{
    if (ip_is_v4(ip))
        return net_on_link(net, ip_v4(ip));
    for (uint32_t i = 0; i < net->ip6.count; i++)
        if (ip_in(ip, net->ip6.local[i].addr, net->ip6.local[i].bits))
            return true;
    return false;
}

struct ip_addr net_next_hop(const struct net *net, struct ip_addr ip)
{
    if (net_on_link_ip(net, ip))
        return ip;
    if (!ip_is_v4(ip))
        return ndp_router(net);
    return net->cfg.gateway ? ip_from_v4(net->cfg.gateway) : ip;
}

struct ip_addr ip6_solicited_node(struct ip_addr a)
{
    uint8_t g[16] = {0xff, 0x02, [11] = 0x01, [12] = 0xff}, b[16];
    ip_store(b, a);
    memcpy(g + 13, b + 13, 3);
    return ip_load(g);
}

void ip6_multicast_mac(uint8_t mac[6], struct ip_addr group)
{
    uint8_t b[16];
    ip_store(b, group);
    mac[0] = mac[1] = 0x33;
    memcpy(mac + 2, b + 12, 4);
}

bool ip6_allowed(const struct net *net, struct ip_addr src)
{
    const struct engine_config *e = net->cfg.engine;
    if (!e || !(e->net_allow_count | e->net_allow6_count))
        return true;
    for (uint32_t i = 0; i < e->net_allow6_count && i < LIMIT_NET_ALLOW; i++) {
        if (ip_in(src, e->net_allow6[i].addr, e->net_allow6[i].bits))
            return true;
    }
    return false;
}

void ip6_write(struct ip6_hdr *ip, struct ip_addr src, struct ip_addr dst, uint8_t next,
               uint8_t hops, uint16_t payload_len)
{
    ip->ver_flow = be32(6u << 28);
    ip->payload_len = be16(payload_len);
    ip->next = next;
    ip->hops = hops;
    ip_store(ip->src, src);
    ip_store(ip->dst, dst);
}

uint64_t ip6_pseudo_sum(const struct ip6_hdr *ip, uint32_t l4_len, uint8_t proto)
{
    uint64_t sum = (uint64_t)be32(l4_len).raw + be16(proto).raw;
    return csum_add(ip->src, 32, sum);
}

/* Groups that we listen to: all nodes, and the solicited-node groups of our addresses, tentative ones too. */
static bool group_is_ours(const struct net *net, struct ip_addr g)
{
    static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 0x01};
    if (ip_equal(g, ip_load(all_nodes)))
        return true;
    for (uint32_t i = 0; i < net->ip6.count; i++)
        if (ip_equal(g, ip6_solicited_node(net->ip6.local[i].addr)))
            return true;
    return false;
}

/* RFC 4291 2.5.3, 2.7; RFC 4038 4.2. Unspecified passes here: ICMPv6 judges it. */
static bool source_ok(struct net *net, struct ip_addr src)
{
    struct stats_worker *st = net->stats;
    if (unlikely_(ip_is_multicast6(src))) {
        STAT_INC(st->drop_ip_source_group);
        return false;
    }
    if (unlikely_(ip6_local_find(net, src) >= 0)) {
        STAT_INC(st->drop_ip_land);
        return false;
    }
    /* A mapped one would be an IPv4 neighbour's name in our tables. */
    if (unlikely_((!ip_is_host(src) && !ip_is_unspecified(src)) || ip_is_v4(src))) {
        STAT_INC(st->drop_ip_source);
        return false;
    }
    return true;
}

static bool destination_ok(struct net *net, struct ip_addr dst, const struct eth_hdr *eh)
{
    bool ok;
    if (ip_is_multicast6(dst)) {
        ok = group_is_ours(net, dst);
    } else { /* RFC 1122 3.3.6's rule for IPv6: no unicast packet in a link multicast */
        int i = ip6_local_find(net, dst);
        ok = i >= 0 && ndp_valid(net, i) && !(eh->dst[0] & 1);
    }
    if (!ok)
        STAT_INC(net->stats->drop_ip_destination);
    return ok;
}

/* RFC 8200 4.2: the options of a hop-by-hop or destination header. False: counted. */
static bool options_ok(struct net *net, const struct ip6_hdr *ip, uint32_t have, const uint8_t *p,
                       uint32_t n, const struct eth_hdr *eh)
{
    for (uint32_t i = 2; i < n;) {
        if (p[i] == 0) {
            i++;
            continue;
        }
        if (i + 1 >= n || p[i + 1] > n - i - 2) {
            STAT_INC(net->stats->drop_ip6_extension);
            return false;
        }
        /* PadN, router alert (RFC 2711), and what may be skipped by its two highest bits */
        if (p[i] != 1 && p[i] >> 6 != 0) {
            STAT_INC(net->stats->drop_ip6_option);
            if (p[i] >> 6 != 1) /* 4.2: 10, 11: say so */
                icmp6_send_error(net, ip, have, 4, 2, (uint32_t)(p + i - (const uint8_t *)ip), eh);
            return false;
        }
        i += 2u + p[i + 1];
    }
    return true;
}

/* Walks what stands between the fixed header and the upper layer. NULL: counted. */
static const uint8_t *extensions(struct net *net, const struct ip6_hdr *ip, const uint8_t *p,
                                 uint32_t len, uint8_t *next, const struct eth_hdr *eh)
{
    struct stats_worker *st = net->stats;
    const uint8_t *start = p, *end = p + len;
    uint32_t have = (uint32_t)sizeof(*ip) + len, named_at = 6; /* offset of what names `type` */
    for (unsigned count = 0;; count++) {
        uint8_t type = *next;
        if (type == IP_PROTO_TCP || type == IP_PROTO_ICMP6)
            return p;
        if (type == EXT_FRAGMENT) {
            STAT_INC(st->drop_ip_fragment);
            return NULL;
        }
        if (type != EXT_HOP_BY_HOP && type != EXT_DEST_OPTS && type != EXT_ROUTING) {
            STAT_INC(st->drop_ip_protocol);
            if (type == IP_PROTO_UDP) /* RFC 4443 3.1 */
                icmp6_send_error(net, ip, have, 1, 4, 0, eh);
            else if (type != IP_PROTO_NONE) /* 3.4: unrecognised next header */
                icmp6_send_error(net, ip, have, 4, 1, named_at, eh);
            return NULL;
        }
        uint32_t left = (uint32_t)(end - p), n = left >= 2 ? 8u + 8u * p[1] : UINT32_MAX;
        if (n > left || count >= LIMIT_IP6_EXT_HEADERS ||
            (uint32_t)(p - start) + n > LIMIT_IP6_EXT_BYTES ||
            (type == EXT_HOP_BY_HOP && count)) { /* 4.1: only right behind the fixed header */
            STAT_INC(st->drop_ip6_extension);
            return NULL;
        }
        if (type == EXT_ROUTING) {
            if (p[3]) { /* segments left: RFC 5095, and we route for nobody */
                STAT_INC(st->drop_ip_options);
                return NULL;
            }
        } else if (!options_ok(net, ip, have, p, n, eh)) {
            return NULL;
        }
        *next = p[0];
        named_at = (uint32_t)(p - (const uint8_t *)ip);
        p += n;
    }
}

const uint8_t *ip6_check(struct net *net, const uint8_t *p, uint32_t len, const struct eth_hdr *eh,
                         uint32_t *l4_len, uint8_t *proto)
{
    struct stats_worker *st = net->stats;
    const struct ip6_hdr *ip = (const void *)p;
    if (unlikely_(len < sizeof(*ip))) {
        STAT_INC(st->drop_short);
        return NULL;
    }
    if (unlikely_(p[0] >> 4 != 6)) {
        STAT_INC(st->drop_ip_header);
        return NULL;
    }
    uint32_t payload = from_be16(ip->payload_len);
    /* 0 would be a jumbogram (RFC 2675), which no frame of ours holds, or nothing at all. */
    if (unlikely_(!payload || payload > len - sizeof(*ip))) {
        STAT_INC(st->drop_ip_length);
        return NULL;
    }
    struct ip_addr src = ip_load(ip->src), dst = ip_load(ip->dst);
    if (unlikely_(!destination_ok(net, dst, eh) || !source_ok(net, src)))
        return NULL;
    *proto = ip->next;
    const uint8_t *l4 = p + sizeof(*ip);
    if (unlikely_(*proto != IP_PROTO_TCP && *proto != IP_PROTO_ICMP6)) {
        l4 = extensions(net, ip, l4, payload, proto, eh);
        if (!l4)
            return NULL;
    }
    if (*proto == IP_PROTO_TCP) {
        if (unlikely_(ip_is_multicast6(dst))) { /* RFC 9293 3.10: TCP is unicast */
            STAT_INC(st->drop_ip_destination);
            return NULL;
        }
        if (unlikely_(ip_is_unspecified(src))) {
            STAT_INC(st->drop_ip_source);
            return NULL;
        }
        if (unlikely_(!ip6_allowed(net, src))) {
            STAT_INC(st->drop_not_allowed);
            return NULL;
        }
    }
    *l4_len = payload - (uint32_t)(l4 - p - (ptrdiff_t)sizeof(*ip));
    return l4;
}
