/* eth: Ethernet II and 802.1Q in and out (IEEE 802.3, 802.1Q). First stage of net_input.
 * Padding behind the packet is cut by the lengths of the layer above, never here. */
#include "dataplane/net/net_internal.h"

bool mac_is_broadcast(const uint8_t m[6])
{
    return (m[0] & m[1] & m[2] & m[3] & m[4] & m[5]) == 0xff;
}

/* The VLAN that the frame came with must be the one we are configured for; a tag of VLAN 0 only
 * carries a priority (802.1Q 9.6) and counts as untagged. */
static bool vlan_matches(const struct net *net, uint16_t tci)
{
    return (tci & 0xfff) == net->cfg.vlan;
}

/* The port says that it has taken the tag out: does the same tag stand in the frame all the same? */
static bool still_tagged(struct net *net, const struct rte_mbuf *m, uint16_t type, const uint8_t *p,
                         uint32_t n)
{
    const struct vlan_hdr *vh = (const void *)p;
    bool lie = type == ETH_TYPE_VLAN && n >= sizeof(*vh) && from_be16(vh->tci) == m->vlan_tci;
    offload_vlan_seen(net, lie);
    return lie;
}

const uint8_t *eth_classify(struct net *net, const struct rte_mbuf *m, uint16_t *type,
                            uint32_t *len)
{
    struct stats_worker *st = net->stats;
    uint32_t n = m->data_len;
    if (unlikely_(n < sizeof(struct eth_hdr))) {
        STAT_INC(st->drop_short);
        return NULL;
    }
    const struct eth_hdr *eh = rte_pktmbuf_mtod(m, const struct eth_hdr *);
    const uint8_t *p = (const uint8_t *)(eh + 1);
    n -= sizeof(*eh);
    uint16_t t = from_be16(eh->type), tci = 0;
    bool tagged = false;
    if ((m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) && !still_tagged(net, m, t, p, n)) {
        tci = m->vlan_tci;
        tagged = true;
    } else if (t == ETH_TYPE_VLAN) {
        if (n < sizeof(struct vlan_hdr)) {
            STAT_INC(st->drop_short);
            return NULL;
        }
        const struct vlan_hdr *vh = (const void *)p;
        tci = from_be16(vh->tci);
        t = from_be16(vh->type);
        tagged = true;
        p += sizeof(*vh);
        n -= sizeof(*vh);
        if (net->wire.rx_vlan_strip && vlan_matches(net, tci))
            offload_vlan_seen(net, true);
    }
    if (unlikely_((tagged || net->cfg.vlan) && !(tagged && vlan_matches(net, tci)))) {
        STAT_INC(st->drop_ethertype);
        return NULL;
    }
    /* RFC 1122 3.3.6: a link broadcast never carries a unicast datagram of ours; ARP may. */
    bool for_us = memcmp(eh->dst, net->cfg.mac, 6) == 0 ||
                  (t == ETH_TYPE_ARP && mac_is_broadcast(eh->dst)) ||
                  /* RFC 2464 7; ip6.c knows the groups */
                  (t == ETH_TYPE_IP6 && ip6_on(net) && eh->dst[0] == 0x33 && eh->dst[1] == 0x33);
    if (unlikely_(!for_us)) {
        STAT_INC(st->drop_dst_mac);
        return NULL;
    }
    if (unlikely_(t != ETH_TYPE_IP4 && t != ETH_TYPE_ARP && !(t == ETH_TYPE_IP6 && ip6_on(net)))) {
        STAT_INC(st->drop_ethertype);
        return NULL;
    }
    *type = t;
    *len = n;
    return p;
}

unsigned eth_write(const struct net *net, uint8_t *l3, const uint8_t dst[6], uint16_t type)
{
    if (net->cfg.vlan) {
        struct vlan_hdr *vh = (struct vlan_hdr *)(void *)(l3 - sizeof(*vh));
        vh->tci = be16(net->cfg.vlan);
        vh->type = be16(type);
        type = ETH_TYPE_VLAN;
    }
    struct eth_hdr *eh = (struct eth_hdr *)(void *)(l3 - eth_len(net));
    memcpy(eh->dst, dst, 6);
    memcpy(eh->src, net->cfg.mac, 6);
    eh->type = be16(type);
    return eth_len(net);
}
