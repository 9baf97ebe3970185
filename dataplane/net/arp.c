/* arp: RFC 826 for Ethernet and IPv4, with the manners of RFC 5227 (probes, conflicts).
 *
 * Who may teach us an address: a request that is for us, or the reply we asked for. What is said
 * unasked (gratuitous) at most refreshes an entry that has grown old. */
#include "dataplane/net/net_internal.h"

#define ARP_REQUEST 1
#define ARP_REPLY   2

static void arp_send(struct net *net, uint16_t op, const uint8_t dst[6], const uint8_t tha[6],
                     uint32_t tpa)
{
    struct rte_mbuf *m = net_alloc_control(net);
    if (!m)
        return;
    unsigned l2 = eth_len(net);
    uint8_t *frame = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(l2 + sizeof(struct arp_pkt)));
    if (!frame) {
        rte_pktmbuf_free(m);
        return;
    }
    struct arp_pkt *a = (struct arp_pkt *)(void *)(frame + l2);
    eth_write(net, (uint8_t *)a, dst, ETH_TYPE_ARP);
    *a = (struct arp_pkt){.htype = be16(1),
                          .ptype = be16(ETH_TYPE_IP4),
                          .hlen = 6,
                          .plen = 4,
                          .op = be16(op),
                          .spa = be32(net->cfg.ip),
                          .tpa = be32(tpa)};
    memcpy(a->sha, net->cfg.mac, 6);
    memcpy(a->tha, tha, 6);
    STAT_INC(net->stats->arp_out);
    net_send_or_drop(net, m);
}

void arp_request(struct net *net, uint32_t ip, const uint8_t *dst)
{
    static const uint8_t zero[6], all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    arp_send(net, ARP_REQUEST, dst ? dst : all, zero, ip);
}

static bool arp_valid(const struct net *net, const struct arp_pkt *a, uint32_t len,
                      const uint8_t src[6])
{
    if (len < sizeof(*a) || from_be16(a->htype) != 1 || from_be16(a->ptype) != ETH_TYPE_IP4 ||
        a->hlen != 6 || a->plen != 4)
        return false;
    uint16_t op = from_be16(a->op);
    if (op != ARP_REQUEST && op != ARP_REPLY)
        return false;
    /* The sender names itself twice; a packet that disagrees with its frame lies. */
    if (!mac_is_unicast(a->sha) || memcmp(a->sha, src, 6) != 0)
        return false;
    /* Our own address in another's hands is a conflict (RFC 5227 2.4): nothing is learned. Without an
     * address of ours there is nothing to say either. */
    return net->cfg.ip && from_be32(a->spa) != net->cfg.ip;
}

void arp_input(struct net *net, const uint8_t *p, uint32_t len, const uint8_t src[6])
{
    const struct arp_pkt *a = (const void *)p;
    struct stats_worker *st = net->stats;
    if (net->cfg.shared || !arp_valid(net, a, len, src)) { /* shared: Linux's to answer */
        STAT_INC(st->drop_arp);
        return;
    }
    STAT_INC(st->arp_in);
    uint32_t spa = from_be32(a->spa), tpa = from_be32(a->tpa);
    bool learnable = spa != 0 && net_on_link(net, spa);
    struct neigh *n = learnable ? neigh_find(net, ip_from_v4(spa)) : NULL;

    if (from_be16(a->op) == ARP_REPLY) {
        if (n && n->asked)
            neigh_set(net, n, a->sha, true);
        else
            STAT_INC(st->drop_arp);
        return;
    }
    if (tpa != net->cfg.ip) { /* not for us; gratuitous requests have spa == tpa */
        if (spa == tpa && n && n->state == NEIGH_KNOWN && !neigh_fresh(net, n))
            neigh_set(net, n, a->sha, true);
        else
            STAT_INC(st->drop_arp);
        return;
    }
    if (learnable && (!n || n->state == NEIGH_PENDING || !neigh_fresh(net, n) ||
                      memcmp(n->mac, a->sha, 6) == 0)) {
        n = neigh_get_unasked(net, ip_from_v4(spa));
        if (n)
            neigh_set(net, n, a->sha, true);
    }
    arp_send(net, ARP_REPLY, a->sha, a->sha, spa);
}
