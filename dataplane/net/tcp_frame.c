/* tcp_frame.c: see tcp_frame.h. */
#include "dataplane/net/tcp_frame.h"

/* Scaling rounds: up while there is memory for it, so that the edge the peer sees does not
 * move back either; down (by less than a unit, RFC 7323 2.4) only when there is none. */
__attribute__((noinline)) uint32_t tcp_window_select(struct tcp_conn *tc)
{
    int32_t wnd = (int32_t)(tc->rcv_edge - tc->rcv_nxt), free = tcp_window_free(tc);
    uint8_t s = tc->rcv_wscale;
    if (free - wnd >= tcp_window_step(tc))
        wnd = free;
    uint32_t field = ((uint32_t)wnd + (1u << s) - 1) >> s;
    if ((int32_t)(field << s) > free)
        field = (uint32_t)wnd >> s;
    if (field > 0xffff)
        field = 0xffff;
    uint32_t edge = tc->rcv_nxt + (field << s);
    if (seq_lt(tc->rcv_edge, edge))
        tc->rcv_edge = edge;
    return field;
}

bool tcp_window_update_due(const struct tcp_conn *tc)
{
    int32_t cur = (int32_t)(tc->rcv_edge - tc->rcv_nxt), free = tcp_window_free(tc);
    int32_t most = 0xffff << tc->rcv_wscale; /* that the field can tell */
    if (free > most)
        free = most;
    int32_t buf = (int32_t)tc->net->rcv_buf;
    if (free - cur < tcp_window_step(tc))
        return false;
    return cur < buf / 4 || free - cur >= buf / 2;
}

/* tcp_build_at over IPv6, whose header has no checksum. */
static __attribute__((noinline)) void build6(struct tcp_conn *tc, struct rte_mbuf *m, unsigned off,
                                             uint32_t len, uint32_t seq, uint32_t flags, bool port)
{
    const struct net *net = tc->net;
    const struct tcp_cold *c = tc->cold;
    unsigned l2 = c->l2_len, hdr = c->tmpl_len;
    uint8_t *payload = (uint8_t *)m->buf_addr + off, *frame = payload - hdr, *l3 = frame + l2;
    struct tcp_hdr *th = (struct tcp_hdr *)(void *)(l3 + sizeof(struct ip6_hdr));
    tcp_headers6(tc, frame, hdr);
    uint32_t l4_len = hdr - l2 - (uint32_t)sizeof(struct ip6_hdr) + len;
    ((struct ip6_hdr *)(void *)l3)->payload_len = be16((uint16_t)l4_len);
    th->seq = be32(seq);
    th->ack = be32(tc->rcv_nxt);
    th->flags = (uint8_t)flags;
    th->wnd = be16((uint16_t)tcp_window_field(tc, net));
    uint32_t word;
    memcpy(&word, &th->off, sizeof(word));
    uint64_t sum = (uint64_t)c->tcp_sum + be16((uint16_t)l4_len).raw + word;
    sum += (uint64_t)th->seq.raw + th->ack.raw;
    if (tc->flags & TF_TS) {
        uint32_t v[2] = {be32(net->now_ms + c->ts_offset).raw, be32(tc->ts_recent).raw};
        memcpy((uint8_t *)(th + 1) + 4, v, sizeof(v));
        sum += (uint64_t)v[0] + v[1];
    }
    m->ol_flags = 0;
    m->data_off = (uint16_t)(frame - (uint8_t *)m->buf_addr);
    m->data_len = (uint16_t)(hdr + len);
    m->pkt_len = hdr + len;
    if (port)
        offload_sum(net, m, l3, sizeof(struct ip6_hdr), l4_len, len);
    else
        th->csum = csum_finish(csum_add(payload, len, sum));
}

/* The same for any frame. */
__attribute__((noinline)) void tcp_build(struct tcp_conn *tc, struct rte_mbuf *m, unsigned off,
                                         uint32_t len, uint32_t seq, uint32_t flags, bool port)
{
    bool ts = tc->flags & TF_TS;
    unsigned l2 = tc->cold->l2_len;
    if (unlikely_(tcp_is6(tc))) {
        build6(tc, m, off, len, seq, flags, port);
        return;
    }
    tcp_build_at(tc->net, tc, tc->cold, m, m->buf_addr, off, len, seq, flags, l2, ts, false, port);
    m->data_off = (uint16_t)(off - l2 - 40u - (ts ? 12u : 0u));
}

__attribute__((noinline)) void tcp_clear_ect(const struct tcp_conn *tc, struct rte_mbuf *m)
{
    struct ip4_hdr *ip = rte_pktmbuf_mtod_offset(m, struct ip4_hdr *, tc->cold->l2_len);
    if (tcp_is6(tc)) {
        ((struct ip6_hdr *)(void *)ip)->ver_flow = be32(6u << 28);
        return;
    }
    ip->tos = 0;
    ip->csum = 0;
    ip->csum = csum_finish(csum_ip4_20(ip));
}

__attribute__((noinline)) void tcp_hand_to_neigh(struct tcp_conn *tc, struct rte_mbuf *m)
{
    struct net *net = tc->net;
    struct ip_addr hop = net_next_hop(net, tcp_peer_ip(tc));
    if (unlikely_(ip_is_unspecified(hop))) { /* IPv6 without a router: as if it were lost */
        STAT_INC(net->stats->drop_neigh_queue);
        rte_pktmbuf_free(m);
        return;
    }
    const uint8_t *mac = neigh_lookup(net, hop);
    if (mac) {
        memcpy(tc->cold->tmpl, mac, 6);
        tc->flags |= TF_MAC_KNOWN;
    }
    neigh_send(net, m, hop);
}
