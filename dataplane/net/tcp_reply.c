/* tcp_reply: answers to segments that belong to no connection: the reset of RFC 9293 3.10.7.1, and the frame under a SYN cookie
 * (tcp_cookie.c). Built from the segment alone. Thread: the worker's. */
#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_internal.h"

static unsigned ip_bytes(const struct tcp_seg *seg)
{
    return seg->v6 ? sizeof(struct ip6_hdr) : sizeof(struct ip4_hdr);
}

/* Writes the IP header; returns the pseudo header's sum. */
static uint64_t reply_ip(const struct net *net, const struct tcp_seg *seg, uint8_t *l3,
                         uint16_t l4_len)
{
    if (seg->v6) {
        struct ip6_hdr *ip = (struct ip6_hdr *)(void *)l3;
        ip6_write(ip, net->ip6.local[seg->key.local_ip].addr, seg->peer6, IP_PROTO_TCP, 64, l4_len);
        return ip6_pseudo_sum(ip, l4_len, IP_PROTO_TCP);
    }
    struct ip4_hdr *ip = (struct ip4_hdr *)(void *)l3;
    ip4_write(ip, net->cfg.ip, seg->key.peer_ip, IP_PROTO_TCP, l4_len);
    return ip4_pseudo_sum(ip, l4_len);
}

struct tcp_hdr *tcp_reply_new(struct net *net, const struct tcp_seg *seg, struct rte_mbuf **ret_m)
{
    struct rte_mbuf *m = net_alloc_control(net);
    if (!m)
        return NULL;
    struct tcp_hdr *th = (struct tcp_hdr *)(void *)((uint8_t *)m->buf_addr + TX_PAYLOAD_OFF);
    *th = (struct tcp_hdr){.sport = be16(seg->key.local_port), .dport = be16(seg->key.peer_port)};
    *ret_m = m;
    return th;
}

void tcp_reply_send(struct net *net, const struct tcp_seg *seg, const uint8_t *mac,
                    struct rte_mbuf *m, struct tcp_hdr *th, unsigned opt_len)
{
    uint16_t l4_len = (uint16_t)(sizeof(*th) + opt_len);
    unsigned l3_len = ip_bytes(seg);
    uint8_t *l3 = (uint8_t *)th - l3_len;
    unsigned l2 = eth_write(net, l3, mac ? mac : seg->mac, seg->v6 ? ETH_TYPE_IP6 : ETH_TYPE_IP4);
    uint64_t pseudo = reply_ip(net, seg, l3, l4_len);
    th->off = (uint8_t)(l4_len / 4 << 4);
    th->csum = csum_finish(csum_add(th, l4_len, pseudo));
    m->data_off = (uint16_t)(l3 - l2 - (uint8_t *)m->buf_addr);
    m->data_len = (uint16_t)(l2 + l3_len + l4_len);
    m->pkt_len = m->data_len;
    net->out_segs++;
    if (mac)
        net_send_or_drop(net, m);
    else
        neigh_send(net, m, net_next_hop(net, tcp_seg_peer(seg)));
}

void tcp_send_rst_for(struct net *net, const struct tcp_seg *seg)
{
    if ((seg->flags & TH_RST) || !mac_is_unicast(seg->mac))
        return;
    if (!rate_allow(net, RATE_RST, tcp_seg_peer(seg))) {
        STAT_INC(net->stats->drop_rst_rate);
        return;
    }
    struct rte_mbuf *m;
    struct tcp_hdr *th = tcp_reply_new(net, seg, &m);
    if (!th)
        return;
    th->flags = TH_RST;
    if (seg->flags & TH_ACK) {
        th->seq = be32(seg->ack);
    } else {
        uint32_t len = seg->len + !!(seg->flags & TH_SYN) + !!(seg->flags & TH_FIN);
        th->flags |= TH_ACK;
        th->ack = be32(seg->seq + len);
    }
    STAT_INC(net->stats->tcp_out_rsts);
    tcp_reply_send(net, seg, seg->mac, m, th, 0);
}
