/* icmp6: RFC 4443. Echo within a rate; errors about us go to pmtu.c, neighbour and router messages to ndp.c, group queries to mld.c.
 * What we say of packets that nobody takes is rate-limited for each class of sources. Thread: the worker's. */
#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"

#define UNREACHABLE   1
#define TOO_BIG       2
#define TIME_EXCEEDED 3
#define PARAMETER     4
#define ECHO_REQUEST  128
#define ECHO_REPLY    129
#define MLD_QUERY     130
#define MLD_LAST      132
#define ND_FIRST      133
#define ND_LAST       137
#define MLD2_REPORT   143

struct rte_mbuf *icmp6_new(struct net *net, struct ip_addr src, struct ip_addr dst, uint8_t hops,
                           uint32_t len, uint8_t **ret_body)
{
    struct rte_mbuf *m = net_alloc_control(net);
    if (!m)
        return NULL;
    unsigned l2 = eth_len(net);
    uint32_t n = l2 + (uint32_t)sizeof(struct ip6_hdr) + len;
    uint8_t *frame = n <= UINT16_MAX ? (uint8_t *)rte_pktmbuf_append(m, (uint16_t)n) : NULL;
    if (!frame) {
        rte_pktmbuf_free(m);
        return NULL;
    }
    struct ip6_hdr *ip = (struct ip6_hdr *)(void *)(frame + l2);
    ip6_write(ip, src, dst, IP_PROTO_ICMP6, hops, (uint16_t)len);
    *ret_body = (uint8_t *)(ip + 1);
    return m;
}

void icmp6_finish(struct net *net, struct rte_mbuf *m, uint32_t len, const uint8_t *dst_mac)
{
    static const uint8_t unknown[6];
    unsigned l2 = eth_len(net);
    struct ip6_hdr *ip = rte_pktmbuf_mtod_offset(m, struct ip6_hdr *, l2);
    struct icmp_hdr *ic = (struct icmp_hdr *)(void *)(ip + 1);
    struct ip_addr dst = ip_load(ip->dst);
    uint8_t mac[6];
    if (ip_is_multicast6(dst)) {
        ip6_multicast_mac(mac, dst);
        dst_mac = mac;
    }
    eth_write(net, (uint8_t *)ip, dst_mac ? dst_mac : unknown, ETH_TYPE_IP6);
    /* The message may stand behind an extension header: its checksum is then the writer's. */
    if (ip->next == IP_PROTO_ICMP6) {
        ic->csum = 0;
        ic->csum = csum_finish(csum_add(ic, len, ip6_pseudo_sum(ip, len, IP_PROTO_ICMP6)));
    }
    if (dst_mac) {
        net_send_or_drop(net, m);
        return;
    }
    struct ip_addr hop = net_next_hop(net, dst);
    if (ip_is_unspecified(hop)) {
        STAT_INC(net->stats->drop_neigh_queue);
        rte_pktmbuf_free(m);
        return;
    }
    neigh_send(net, m, hop);
}

void icmp6_send_error(struct net *net, const struct ip6_hdr *ip, uint32_t have, uint8_t type,
                      uint8_t code, uint32_t word, const struct eth_hdr *eh)
{
    struct ip_addr src = ip_load(ip->src), dst = ip_load(ip->dst);
    int local = ip6_local_find(net, dst);
    /* Unicast both ways; an error message is never met here: only packets without upper layer. */
    if (net->cfg.shared || local < 0 || ip_is_unspecified(src) || !mac_is_unicast(eh->src) ||
        !ip6_allowed(net, src) || !rate_allow(net, RATE_ERROR, src))
        return;
    uint8_t *body;
    uint32_t quoted =
        have < 512 ? have : 512; /* 3.1 asks for as much as fits 1280: less tells enough */
    uint32_t room =
        rte_pktmbuf_data_room_size(net->cfg.reserve ? net->cfg.reserve : net->cfg.pool) -
        RTE_PKTMBUF_HEADROOM - 80;
    if (quoted > room)
        quoted = room;
    struct rte_mbuf *m = icmp6_new(net, dst, src, 64, 8 + quoted, &body);
    if (!m)
        return;
    be32_t w = be32(word);
    body[0] = type;
    body[1] = code;
    memcpy(body + 4, &w, 4);
    memcpy(body + 8, ip, quoted);
    STAT_INC(net->stats->icmp_errors_out);
    icmp6_finish(net, m, 8 + quoted, eh->src);
}

static void echo(struct net *net, const struct ip6_hdr *ip, const uint8_t *p, uint32_t len,
                 const uint8_t src_mac[6])
{
    struct stats_worker *st = net->stats;
    struct ip_addr src = ip_load(ip->src), dst = ip_load(ip->dst);
    int local = ip_is_multicast6(dst) ? ip6_source_for(net, src) : ip6_local_find(net, dst);
    if (local < 0 || ip_is_unspecified(src) || !mac_is_unicast(src_mac)) {
        STAT_INC(st->drop_icmp);
        return;
    }
    if (!ip6_allowed(net, src)) {
        STAT_INC(st->drop_not_allowed);
        return;
    }
    if (!rate_allow(net, RATE_ECHO, src)) {
        STAT_INC(st->drop_icmp_rate);
        return;
    }
    uint8_t *body;
    struct rte_mbuf *m = icmp6_new(net, net->ip6.local[local].addr, src, 64, len, &body);
    if (!m) {
        STAT_INC(st->drop_icmp);
        return;
    }
    memcpy(body, p, len);
    body[0] = ECHO_REPLY;
    STAT_INC(st->icmp_echo);
    icmp6_finish(net, m, len, src_mac);
}

void icmp6_input(struct net *net, const struct ip6_hdr *ip, const uint8_t *p, uint32_t len,
                 const struct eth_hdr *eh)
{
    struct stats_worker *st = net->stats;
    const struct icmp_hdr *ic = (const void *)p;
    if (len < sizeof(*ic) ||
        csum_fold(csum_add(p, len, ip6_pseudo_sum(ip, len, IP_PROTO_ICMP6))) != 0xffff) {
        STAT_INC(st->drop_icmp);
        return;
    }
    switch (ic->type) {
    case UNREACHABLE:
    case TIME_EXCEEDED:
    case PARAMETER: pmtu_error(net, true, p + 8, len - 8, PMTU_NONE); return;
    case TOO_BIG: {
        be32_t mtu;
        memcpy(&mtu, p + 4, 4);
        uint32_t v = from_be32(mtu);
        pmtu_error(net, true, p + 8, len - 8, v < UINT16_MAX ? v : UINT16_MAX);
        return;
    }
    default: break;
    }
    if (net->cfg.shared) { /* the rest is Linux's to answer */
        STAT_INC(st->drop_icmp);
        return;
    }
    switch (ic->type) {
    case ECHO_REQUEST:
        if (ic->code == 0) {
            echo(net, ip, p, len, eh->src);
            return;
        }
        break;
    case MLD_QUERY: mld_input(net, ip, p, len); return;
    case MLD_QUERY + 1:
    case MLD_LAST:
    case MLD2_REPORT: return; /* other stations' reports: theirs */
    default:
        if (ic->type >= ND_FIRST && ic->type <= ND_LAST) {
            ndp_input(net, ip, p, len, eh->src);
            return;
        }
    }
    STAT_INC(st->drop_icmp);
}
