/* icmp: answers echo requests (RFC 792, RFC 1122 3.2.2.6) within a rate. Errors that peers or routers
 * report about our segments are counted and not believed: PMTU discovery is not there yet. */
#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"

#define ECHO_BURST 128

/* Token bucket kept as a time: each reply moves it by 1/rate, and it may lead by a burst. */
static bool echo_allowed(struct net *net)
{
    const uint64_t step = NSEC_PER_S / LIMIT_NET_ECHO_PER_S;
    if (net->icmp_tokens_ns < net->now_ns)
        net->icmp_tokens_ns = net->now_ns;
    if (net->icmp_tokens_ns - net->now_ns > step * ECHO_BURST)
        return false;
    net->icmp_tokens_ns += step;
    return true;
}

void icmp_input(struct net *net, const struct ip4_hdr *ip, const uint8_t *p, uint32_t len,
                const uint8_t src[6])
{
    struct stats_worker *st = net->stats;
    const struct icmp_hdr *ic = (const void *)p;
    if (len < sizeof(*ic) || csum_fold(csum_add(p, len, 0)) != 0xffff || ic->type != 8 ||
        ic->code != 0 || !mac_is_unicast(src) || net->cfg.shared) {
        STAT_INC(st->drop_icmp);
        return;
    }
    if (!echo_allowed(net)) {
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
    ric->type = 0;
    ric->csum = 0;
    ric->csum = csum_finish(csum_add(ric, len, 0));
    STAT_INC(st->icmp_echo);
    net_send_or_drop(net, m);
}
