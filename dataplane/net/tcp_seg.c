/* tcp_seg: a received TCP header, checked before anything is looked up (RFC 9293 3.1). Third stage
 * of net_input; stateless. */
#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_internal.h"

static bool tcp_checksum_ok(const struct net *net, const struct rte_mbuf *m,
                            const struct ip4_hdr *ip, const uint8_t *p, uint32_t len)
{
    if (net->wire.rx_checksum) {
        uint64_t f = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
        /* NONE: not in the packet, but the data is known to be whole (virtio, local peers). */
        if (f == RTE_MBUF_F_RX_L4_CKSUM_GOOD || f == RTE_MBUF_F_RX_L4_CKSUM_NONE)
            return true;
        if (f == RTE_MBUF_F_RX_L4_CKSUM_BAD)
            return false;
    }
    return csum_fold(csum_add(p, len, ip4_pseudo_sum(ip, (uint16_t)len))) == 0xffff;
}

bool tcp_seg_check(struct net *net, const struct rte_mbuf *m, const struct ip4_hdr *ip,
                   const uint8_t *p, uint32_t len, struct tcp_seg *seg)
{
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
    if (unlikely_(!tcp_checksum_ok(net, m, ip, p, len))) {
        STAT_INC(net->stats->drop_tcp_checksum);
        return false;
    }
    tcp_seg_fill(seg, net, ip, th, len, doff);
    return true;
}
