/* tcp_tso: new segments of one connection as one packet, which the port cuts (TSO).
 *
 *   mbuf of segment 1     2                3
 *   | hdr | payload | --> | payload | --> | payload |     m->next; pkt_len of all, nb_segs 3, tso_segsz mss
 *
 * Each segment stays what it is: its own mbuf (lent: refcnt 2), number, time and marks, so acknowledgment and loss know nothing of this. The
 * driver gives every mbuf back when it likes and leaves next and nb_segs as they are in one that somebody else holds too: whoever uses or
 * frees a segment's mbuf that is ours alone undoes the chain (tx_seg_unchain). What is sent again goes alone and is summed here, so a port
 * that does not cut, or cuts wrongly, costs time and no connection. */
#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_internal.h"

#define TSO_MSS_MIN   512   /* ports have a least size of their own, of 64 to 256 */
#define TSO_BYTES_MAX 65535 /* a packet, Ethernet's header included: 16 bits in many drivers */

/* What the header of segment 1 says becomes true of all of them. */
static void widen(const struct net *net, const struct tcp_conn *tc, struct rte_mbuf *m,
                  uint32_t bytes, unsigned n)
{
    uint8_t *l3 = rte_pktmbuf_mtod_offset(m, uint8_t *, tc->cold->l2_len);
    uint32_t l4_len = m->l4_len + bytes;
    struct tcp_hdr *th = (struct tcp_hdr *)(void *)(l3 + tcp_ip_bytes(tc));
    /* The pseudo header's sum without the length, which each cut segment has its own of (rte_ipv4_phdr_cksum). */
    if (tcp_is6(tc)) {
        struct ip6_hdr *ip = (struct ip6_hdr *)(void *)l3;
        ip->payload_len = be16((uint16_t)l4_len);
        th->csum = csum_fold(ip6_pseudo_sum(ip, 0, IP_PROTO_TCP));
    } else {
        struct ip4_hdr *ip = (struct ip4_hdr *)(void *)l3;
        ip->total_len = be16((uint16_t)(sizeof(*ip) + l4_len));
        ip->csum = 0;
        if (net->wire.tx_ip_checksum)
            m->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
        else /* a port of the virtual kind: whoever cuts there knows IP */
            ip->csum = csum_finish(csum_ip4_20(ip));
        th->csum = csum_fold(ip4_pseudo_sum(ip, 0));
    }
    m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    m->tso_segsz = tc->mss;
    m->nb_segs = (uint16_t)n;
    m->pkt_len = tc->cold->l2_len + tcp_ip_bytes(tc) + l4_len;
}

/* May s go in one packet behind segments of the full size? */
static bool fits(const struct tcp_conn *tc, const struct tx_seg *s)
{
    bool fin = !s->next && (tc->flags & TF_APP_CLOSED);
    return s->len && s->len <= tc->mss && s->m && !fin;
}

static void send_one(struct tcp_conn *tc, struct tx_seg *s, uint32_t seq)
{
    struct net *net = tc->net;
    s->seq = seq;
    s->flags = TXS_SENT | TXS_TSO;
    s->sent_ns = net->now_ns;
    offload_note(net, s, tcp_is6(tc));
    ASSERT(rte_mbuf_refcnt_read(s->m) == 1);
    rte_mbuf_refcnt_set(s->m, 2);
}

uint32_t tcp_tso_send(struct tcp_conn *tc, struct tx_seg **ps, uint32_t seq, uint32_t room)
{
    struct net *net = tc->net;
    struct tx_seg *first = *ps, *last = first;
    const struct tcp_loss *l = tc->cold->loss;
    uint32_t most = TSO_BYTES_MAX - tc->cold->tmpl_len, n = 1;
    if (!(tc->flags & TF_MAC_KNOWN) || (tc->flags & (TF_PROBE_DUE | TF_RECOVERY | TF_LOSS)) ||
        tc->mss < TSO_MSS_MIN || !offload_on(net, OFFLOAD_CUT, tcp_is6(tc)) ||
        ((tc->flags & TF_ECN) && l->cwr_due) || !fits(tc, first) || net_tx_full(net))
        return 0;
    room = room < most ? room : most;
    uint32_t bytes = first->len;
    /* All but the last are of exactly the size that the port cuts to. */
    for (struct tx_seg *s; n < net->off.max_segs && last->len == tc->mss; last = s, n++) {
        s = last->next;
        if (!s || !fits(tc, s) || bytes + s->len > room)
            break;
        bytes += s->len;
    }
    if (n < 2)
        return 0;
    uint8_t flags = TH_ACK | (last->next ? 0 : TH_PSH) | (tc->flags & TF_ECE ? TH_ECE : 0);
    struct rte_mbuf *m = first->m, *tail = m;
    tcp_build(tc, m, (unsigned)(TX_PAYLOAD_OFF + first->off), first->len, seq, flags, true);
    widen(net, tc, m, bytes, n);
    uint32_t at = seq;
    for (struct tx_seg *s = first;; s = s->next) {
        send_one(tc, s, at);
        tcp_trace_out(tc, false, s == last ? flags : (uint8_t)(flags & ~TH_PSH), at, s->len, 0);
        at += s->len;
        if (s != first) {
            s->m->data_off = (uint16_t)(TX_PAYLOAD_OFF + s->off);
            s->m->data_len = s->len;
            s->m->pkt_len = s->len;
            s->m->ol_flags = 0;
            tail = tail->next = s->m;
        }
        if (s == last)
            break;
    }
    net->tx[net->tx_count++] = m;
    net->out_segs += n;
    STAT_INC(net->stats->tso_packets);
    STAT_ADD(net->stats->tso_segs, n);
    *ps = last;
    return bytes;
}
