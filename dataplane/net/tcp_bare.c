/* tcp_bare: segments without data: SYN, ACK with what SACK tells, FIN, RST, keepalives. */
#include "dataplane/net/tcp_frame.h"

/* A SACK option of `len` bytes stands where the payload would: the header's length says so. */
static void options_end(const struct tcp_conn *tc, struct rte_mbuf *m, unsigned len)
{
    struct tcp_hdr *th =
        rte_pktmbuf_mtod_offset(m, struct tcp_hdr *, tc->cold->l2_len + tcp_ip_bytes(tc));
    uint16_t old, new;
    memcpy(&old, &th->off, sizeof(old));
    th->off = (uint8_t)(th->off + (len / 4 << 4));
    memcpy(&new, &th->off, sizeof(new));
    th->csum = csum_finish((uint64_t)(uint16_t)~th->csum + (uint16_t)~old + new); /* RFC 1624 */
}

__attribute__((noinline)) bool tcp_send_bare(struct tcp_conn *tc, uint32_t seq, uint8_t flags)
{
    struct rte_mbuf *m = net_alloc_control(tc->net);
    unsigned opt = 0;
    if (unlikely_(!m))
        return false;
    /* RFC 2018 3: every ACK tells of the islands; with data there is no room set aside for it. */
    if ((tc->flags & TF_SACK) && flags == TH_ACK && (tc->cold->ooo || tc->cold->loss->dsack_due)) {
        opt = tcp_sack_write(tc, (uint8_t *)m->buf_addr + TX_PAYLOAD_OFF);
        tc->cold->loss->gap_held = 0;
        tc->cold->dup_acks_due = tc->cold->loss->fresh != 0;
    } else if (tc->flags & TF_SACK) {
        tc->cold->dup_acks_due = 0;
    }
    tcp_build(tc, m, TX_PAYLOAD_OFF, opt, seq, flags | tcp_ece_due(tc), false);
    if (opt)
        options_end(tc, m, opt);
    if (tc->flags & TF_ECN)
        tcp_clear_ect(tc, m);
    if (flags != TH_ACK || opt || (tc->flags & TF_TRACE) || tc->rcv_edge == tc->rcv_nxt)
        tcp_trace_out(tc, (tc->flags & TF_FIN_LOST) && (flags & TH_FIN), flags, seq, 0, opt / 8);
    tcp_ack_sent(tc, tc->cold);
    tcp_hand_over(tc, m);
    return true;
}

void tcp_send_ack(struct tcp_conn *tc)
{
    if (!net_tx_full(tc->net) && tcp_send_bare(tc, tc->snd_nxt, TH_ACK))
        STAT_INC(tc->net->stats->tcp_pure_acks_out);
}

/* Length and checksum of the IP header in front of l4_len bytes; returns the pseudo header's sum. */
static uint64_t ip_for(const struct tcp_conn *tc, uint8_t *l3, uint16_t l4_len)
{
    if (tcp_is6(tc)) {
        struct ip6_hdr *ip = (struct ip6_hdr *)(void *)l3;
        ip->ver_flow = be32(6u << 28); /* RFC 3168 6.1.1: no ECT on a SYN */
        ip->payload_len = be16(l4_len);
        return ip6_pseudo_sum(ip, l4_len, IP_PROTO_TCP);
    }
    struct ip4_hdr *ip = (struct ip4_hdr *)(void *)l3;
    ip4_write(ip, tc->key.local_ip, tc->key.peer_ip, IP_PROTO_TCP, l4_len);
    return ip4_pseudo_sum(ip, l4_len);
}

bool tcp_send_syn(struct tcp_conn *tc)
{
    struct net *net = tc->net;
    struct tcp_cold *c = tc->cold;
    bool passive = tc->state == TCP_SYN_RCVD;
    struct rte_mbuf *m = net_alloc_control(net);
    if (!m)
        return false;
    /* Before the options are settled: the template without options, then our own. */
    unsigned l3_len = tcp_ip_bytes(tc);
    uint8_t *frame = (uint8_t *)m->buf_addr + TX_PAYLOAD_OFF - TCP_HDR_MAX, *l3 = frame + c->l2_len;
    struct tcp_hdr *th = (struct tcp_hdr *)(void *)(l3 + l3_len);
    if (tcp_is6(tc))
        tcp_headers6(tc, frame, c->l2_len + l3_len + (unsigned)sizeof(*th));
    else
        memcpy(frame, c->tmpl, c->l2_len + l3_len + sizeof(*th));
    unsigned opt = tcp_opt_write_syn(tc, (uint8_t *)(th + 1), !passive);
    uint16_t l4_len = (uint16_t)(sizeof(*th) + opt);
    uint32_t buf = net->cfg.rcv_buf_bytes;
    uint32_t wnd = buf < 0xffff ? buf : 0xffff; /* never scaled in a SYN */
    uint64_t pseudo = ip_for(tc, l3, l4_len);
    th->seq = be32(c->iss);
    th->ack = be32(passive ? tc->rcv_nxt : 0);
    th->off = (uint8_t)(l4_len / 4 << 4);
    th->flags = passive ? TH_SYN | TH_ACK : TH_SYN;
    if (passive && (tc->flags & TF_ECN))
        th->flags |= TH_ECE;
    else if (!passive && !net->cfg.no_ecn && !c->retrans) /* RFC 3168 6.1.1.1: once */
        th->flags |= TH_ECE | TH_CWR;
    th->wnd = be16((uint16_t)wnd);
    th->csum = 0;
    th->csum = csum_finish(csum_add(th, l4_len, pseudo));
    if (passive && tc->rcv_edge - tc->rcv_nxt < wnd)
        tc->rcv_edge = tc->rcv_nxt + wnd;
    m->data_off = (uint16_t)(frame - (uint8_t *)m->buf_addr);
    m->data_len = (uint16_t)(c->l2_len + l3_len + l4_len);
    m->pkt_len = m->data_len;
    tc->flags &= ~TF_SYN_DUE;
    if (passive)
        tcp_ack_sent(tc, tc->cold);
    tc->snd_nxt = c->iss + 1;
    c->last_tx_ns = net->now_ns;
    tcp_trace_out(tc, c->retrans != 0, passive ? TH_SYN | TH_ACK : TH_SYN, c->iss, 0, 0);
    if (c->deadline_ns[TT_REXMIT] == UINT64_MAX)
        tcp_timer_set(tc, TT_REXMIT, net->now_ns + tcp_rto_ns(tc));
    tcp_hand_over(tc, m);
    return true;
}

void tcp_send_rst(struct tcp_conn *tc)
{
    if (tc->state < TCP_SYN_RCVD || tc->state == TCP_TIME_WAIT)
        return;
    /* Behind all that was sent, so that it is exactly what the peer waits for or near it. */
    if (tcp_send_bare(tc, tc->snd_nxt, TH_RST | TH_ACK))
        STAT_INC(tc->net->stats->tcp_out_rsts);
}
