/* icmp: answers echo requests (RFC 792, RFC 1122 3.2.2.6) within a rate, hands errors about our segments to pmtu.c, and says of
 * datagrams for us that nobody takes them. Whatever else comes is counted. */
#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"

#define ECHO_REPLY    0
#define UNREACHABLE   3
#define ECHO_REQUEST  8
#define TIME_EXCEEDED 11
#define PARAMETER     12
#define CODE_FRAG     4

void icmp_input(struct net *net, const struct ip4_hdr *ip, const uint8_t *p, uint32_t len,
                const uint8_t src[6])
{
    struct stats_worker *st = net->stats;
    const struct icmp_hdr *ic = (const void *)p;
    if (len < sizeof(*ic) || csum_fold(csum_add(p, len, 0)) != 0xffff) {
        STAT_INC(st->drop_icmp);
        return;
    }
    switch (ic->type) {
    case UNREACHABLE: /* RFC 1191 4: the next hop's MTU where the sequence number of an echo is */
        pmtu_error(net, false, p + 8, len - 8,
                   ic->code == CODE_FRAG ? from_be16(ic->seq) : PMTU_NONE);
        return;
    case TIME_EXCEEDED:
    case PARAMETER: pmtu_error(net, false, p + 8, len - 8, PMTU_NONE); return;
    case ECHO_REQUEST: break;
    default: STAT_INC(st->drop_icmp); return;
    }
    if (ic->code != 0 || !mac_is_unicast(src) || net->cfg.shared) {
        STAT_INC(st->drop_icmp);
        return;
    }
    if (!ip4_allowed(net, from_be32(ip->src))) {
        STAT_INC(st->drop_not_allowed);
        return;
    }
    if (!rate_allow(net, RATE_ECHO, ip_from_v4(from_be32(ip->src)))) {
        STAT_INC(st->drop_icmp_rate);
        return;
    }
    struct rte_mbuf *m = net_alloc_control(net);
    if (!m)
        return;
    unsigned l2 = eth_len(net);
    uint32_t n = l2 + (uint32_t)sizeof(*ip) + len;
    uint8_t *frame = n <= UINT16_MAX ? (uint8_t *)rte_pktmbuf_append(m, (uint16_t)n) : NULL;
    if (!frame) {
        STAT_INC(st->drop_icmp);
        rte_pktmbuf_free(m);
        return;
    }
    struct ip4_hdr *rip = (struct ip4_hdr *)(void *)(frame + l2);
    struct icmp_hdr *ric = (struct icmp_hdr *)(void *)(rip + 1);
    eth_write(net, (uint8_t *)rip, src, ETH_TYPE_IP4);
    ip4_write(rip, net->cfg.ip, from_be32(ip->src), IP_PROTO_ICMP, (uint16_t)len);
    memcpy(ric, p, len);
    ric->type = ECHO_REPLY;
    ric->csum = 0;
    ric->csum = csum_finish(csum_add(ric, len, 0));
    STAT_INC(st->icmp_echo);
    net_send_or_drop(net, m);
}

void icmp_send_unreachable(struct net *net, const struct ip4_hdr *ip, uint32_t total, uint8_t code,
                           const uint8_t src[6])
{
    uint32_t peer = from_be32(ip->src), hl = (ip->ver_ihl & 15u) * 4;
    if (net->cfg.shared || !mac_is_unicast(src) || !ip4_allowed(net, peer) ||
        !rate_allow(net, RATE_ERROR, ip_from_v4(peer)))
        return;
    struct rte_mbuf *m = net_alloc_control(net);
    if (!m)
        return;
    unsigned l2 = eth_len(net);
    uint32_t quoted = total < hl + 8 ? total : hl + 8; /* RFC 792: the header and 64 bits */
    uint8_t *frame = (uint8_t *)rte_pktmbuf_append(
        m, (uint16_t)(l2 + sizeof(*ip) + sizeof(struct icmp_hdr) + quoted));
    if (!frame) {
        rte_pktmbuf_free(m);
        return;
    }
    struct ip4_hdr *rip = (struct ip4_hdr *)(void *)(frame + l2);
    struct icmp_hdr *ric = (struct icmp_hdr *)(void *)(rip + 1);
    eth_write(net, (uint8_t *)rip, src, ETH_TYPE_IP4);
    ip4_write(rip, net->cfg.ip, peer, IP_PROTO_ICMP, (uint16_t)(sizeof(*ric) + quoted));
    *ric = (struct icmp_hdr){.type = UNREACHABLE, .code = code};
    memcpy(ric + 1, ip, quoted);
    ric->csum = csum_finish(csum_add(ric, sizeof(*ric) + quoted, 0));
    STAT_INC(net->stats->icmp_errors_out);
    net_send_or_drop(net, m);
}
