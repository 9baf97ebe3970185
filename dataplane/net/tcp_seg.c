/* tcp_seg: a received TCP header, checked before anything is looked up (RFC 9293 3.1). Third stage
 * of net_input; stateless. */
#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_internal.h"

static bool tcp_checksum_ok(struct net *net, const struct rte_mbuf *m, const uint8_t *l3, bool v6,
                            const uint8_t *p, uint32_t len)
{
    uint64_t pseudo = v6 ? ip6_pseudo_sum((const void *)l3, len, IP_PROTO_TCP)
                         : ip4_pseudo_sum((const void *)l3, (uint16_t)len);
    if (net->wire.rx_checksum)
        return offload_rx_sum(net, m->ol_flags, p, len, pseudo);
    return csum_fold(csum_add(p, len, pseudo)) == 0xffff;
}

static void addresses(struct tcp_seg *seg, const struct net *net, const uint8_t *l3, bool v6)
{
    seg->v6 = v6;
    if (v6) {
        const struct ip6_hdr *ip = (const void *)l3;
        seg->peer6 = ip_load(ip->src);
        seg->key.peer_ip = flow_peer6(&net->flow, seg->peer6);
        seg->key.local_ip = (uint32_t)ip6_local_find(net, ip_load(ip->dst));
        seg->ecn = from_be32(ip->ver_flow) >> 20 & 3;
    } else {
        const struct ip4_hdr *ip = (const void *)l3;
        seg->peer6 = (struct ip_addr){{0, 0}};
        seg->key.peer_ip = from_be32(ip->src);
        seg->key.local_ip = net->cfg.ip;
        seg->ecn = ip->tos & 3;
    }
}

bool tcp_seg_check(struct net *net, const struct rte_mbuf *m, const uint8_t *l3, const uint8_t *p,
                   uint32_t len, struct tcp_seg *seg)
{
    bool v6 = l3[0] >> 4 == 6;
    const struct tcp_hdr *th = (const void *)p;
    if (unlikely_(len < sizeof(*th))) {
        STAT_INC(net->stats->drop_tcp_header);
        return false;
    }
    uint32_t doff = (th->off >> 4) * 4u;
    if (unlikely_(doff < sizeof(*th) || doff > len || !th->sport.raw || !th->dport.raw)) {
        STAT_INC(net->stats->drop_tcp_header);
        return false;
    }
    if (unlikely_(!tcp_checksum_ok(net, m, l3, v6, p, len))) {
        STAT_INC(net->stats->drop_tcp_checksum);
        return false;
    }
    tcp_seg_fill(seg, th, len, doff);
    addresses(seg, net, l3, v6);
    return true;
}
