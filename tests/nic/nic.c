/* nic: see nic.h. Sums are made word by word here, by nothing that the stack uses. */
#include "tests/nic/nic.h"

#include <stdlib.h>
#include <string.h>

#define PSEUDO_TCP 6

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void add32(uint8_t *p, uint32_t v)
{
    uint32_t n = ((uint32_t)get16(p) << 16 | get16(p + 2)) + v;
    put16(p, n >> 16);
    put16(p + 2, n);
}

static uint32_t sum_of(const uint8_t *p, uint32_t n, uint32_t sum)
{
    for (uint32_t i = 0; i < n; i += 2) {
        sum += (uint32_t)p[i] << 8 | (i + 1 < n ? p[i + 1] : 0);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static uint32_t pseudo_sum(const uint8_t *ip, uint32_t l4_len)
{
    bool v6 = ip[0] >> 4 == 6;
    uint32_t sum = sum_of(ip + (v6 ? 8 : 12), v6 ? 32 : 8, PSEUDO_TCP + l4_len);
    return sum;
}

/* One frame's lengths and sums. */
static void finish(const struct nic *nic, uint8_t *ip, uint32_t ip_hl, uint32_t l4_len, bool ip_sum)
{
    uint8_t *th = ip + ip_hl;
    if (ip_sum) {
        put16(ip + 10, 0);
        put16(ip + 10, (uint16_t)~sum_of(ip, 20, 0));
    }
    put16(th + 16, 0);
    put16(th + 16, (uint16_t)~sum_of(th, l4_len, pseudo_sum(ip, l4_len)));
    if (nic->lie == NIC_WRONG_SUM)
        th[16] ^= 0x40;
    if (nic->lie == NIC_CORRUPTS)
        th[l4_len - 1] ^= 1;
}

static bool same_sum(uint32_t a, uint32_t b)
{
    return a == b || (a % 0xffff == 0 && b % 0xffff == 0);
}

/* The rules of rte_mbuf_core.h for what is asked of m. */
static const char *request_bad(const struct nic *nic, const struct rte_mbuf *m, const uint8_t *f,
                               uint32_t l2)
{
    uint64_t seg = m->ol_flags & RTE_MBUF_F_TX_TCP_SEG;
    uint64_t sum = m->ol_flags & RTE_MBUF_F_TX_L4_MASK;
    bool v6 = f[l2] >> 4 == 6;
    uint32_t l4_len = m->pkt_len - l2 - m->l3_len;
    if (!nic->tcp_sum || (seg && !nic->tso) || sum != RTE_MBUF_F_TX_TCP_CKSUM)
        return "an offload that is not there";
    if ((m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM) && (!nic->ip_sum || v6))
        return "a sum of the IP header that is not there";
    if (!(m->ol_flags & (v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4)))
        return "no family";
    if (m->l2_len != l2 || m->l3_len != (v6 ? 40 : 20) || f[l2 + (v6 ? 6 : 9)] != PSEUDO_TCP)
        return "headers";
    const uint8_t *th = f + l2 + m->l3_len;
    if (m->l4_len != (th[12] >> 4) * 4u)
        return "length of the TCP header";
    if ((v6 ? 40u + get16(f + l2 + 4) : get16(f + l2 + 2)) != m->pkt_len - l2)
        return "length of the packet";
    if (!same_sum(get16(th + 16), pseudo_sum(f + l2, seg ? 0 : l4_len)))
        return "sum of the pseudo header";
    if (!seg)
        return NULL;
    if (m->nb_segs > nic->max_segs || m->pkt_len > UINT16_MAX)
        return "more than a packet to be cut may have";
    if (m->tso_segsz < 64 || m->pkt_len <= l2 + m->l3_len + m->l4_len + m->tso_segsz)
        return "nothing to cut";
    if (th[13] & (0x01 | 0x02 | 0x04 | 0x80)) /* FIN, SYN, RST, CWR: not for every piece */
        return "flags of a packet to be cut";
    return NULL;
}

/* Every piece of a chain that is to be cut is one segment of the send queue. */
static const char *chain_bad(const struct nic *nic, const struct rte_mbuf *m, uint32_t head)
{
    uint32_t n = 0, sum = 0;
    for (const struct rte_mbuf *s = m; s; s = s->next, n++) {
        uint32_t text = s->data_len - (s == m ? head : 0);
        sum += s->data_len;
        if (!s->data_len || rte_mbuf_refcnt_read(s) < 1)
            return "an empty piece";
        if ((m->ol_flags & RTE_MBUF_F_TX_TCP_SEG) &&
            (s->next ? text != m->tso_segsz : text > m->tso_segsz))
            return "a piece of another size";
    }
    if (n != m->nb_segs || sum != m->pkt_len)
        return "a chain whose lengths lie";
    return n > 1 && !nic->tso ? "a chain" : NULL;
}

static void cut(struct nic *nic, uint8_t *f, uint32_t len, const struct rte_mbuf *m, nic_out *out,
                void *ctx)
{
    uint32_t l2 = m->l2_len, hl = m->l3_len, head = l2 + hl + m->l4_len;
    uint8_t *one = malloc(head + m->tso_segsz);
    nic->packets_cut++;
    for (uint32_t at = head; one && at < len; at += m->tso_segsz) {
        uint32_t n = len - at < m->tso_segsz ? len - at : m->tso_segsz;
        bool last = at + n == len, v6 = hl == 40;
        uint8_t *ip = one + l2, *th = ip + hl;
        memcpy(one, f, head);
        memcpy(one + head, f + at, n);
        put16(ip + (v6 ? 4 : 2), m->l4_len + n + (v6 ? 0 : 20));
        if (nic->lie != NIC_SAME_SEQ)
            add32(th + 4, at - head);
        if (!last)
            th[13] &= (uint8_t)~0x08; /* PSH */
        if (nic->lie == NIC_CUT_NO_SUM)
            ip[10] ^= 1;
        else
            finish(nic, ip, hl, m->l4_len + n, !v6);
        nic->pieces++;
        out(ctx, one, head + n);
    }
    free(one);
}

const char *nic_send(struct nic *nic, const struct rte_mbuf *m, uint32_t l2, nic_out *out,
                     void *ctx)
{
    uint64_t seg = m->ol_flags & RTE_MBUF_F_TX_TCP_SEG;
    uint64_t asks = seg | (m->ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_IP_CKSUM));
    uint32_t head = l2 + m->l3_len + m->l4_len, len = 0;
    const char *bad = chain_bad(nic, m, asks ? head : 0);
    if (bad)
        return bad;
    uint8_t *f = malloc(m->pkt_len);
    if (!f)
        return "no memory";
    for (const struct rte_mbuf *s = m; s; s = s->next) {
        memcpy(f + len, rte_pktmbuf_mtod(s, const uint8_t *), s->data_len);
        len += s->data_len;
    }
    bad = asks ? request_bad(nic, m, f, l2) : NULL;
    bool lost = (nic->lie == NIC_LOSES_SUMMED && asks) || (nic->lie == NIC_LOSES_CUT && seg) ||
                (nic->lie == NIC_NO_CUT && seg);
    if (bad || lost) {
        free(f);
        return bad;
    }
    if (nic->whole) {
        nic->packets_cut += seg != 0;
        out(ctx, f, len);
    } else if (seg) {
        cut(nic, f, len, m, out, ctx);
    } else {
        nic->summed += asks != 0;
        if (asks && nic->lie != NIC_LEAVES_SUM)
            finish(nic, f + l2, m->l3_len, len - l2 - m->l3_len,
                   m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM);
        out(ctx, f, len);
    }
    free(f);
    return NULL;
}

static void strip(const struct nic *nic, struct rte_mbuf *m)
{
    uint8_t *f = rte_pktmbuf_mtod(m, uint8_t *);
    if (m->data_len < 18 || f[12] != 0x81 || f[13] != 0 || nic->lie == NIC_NO_STRIP)
        return;
    m->vlan_tci = get16(f + 14);
    m->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    if (nic->lie == NIC_TAG_STAYS)
        return;
    memmove(f + 4, f, 12);
    rte_pktmbuf_adj(m, 4);
}

/* 1: TCP and its sum is right, 0: TCP, -1: something else. */
static int tcp_whole(const uint8_t *f, uint32_t len)
{
    uint32_t l2 = len > 18 && f[12] == 0x81 && f[13] == 0 ? 18 : 14;
    const uint8_t *ip = f + l2;
    if (len < l2 + 40)
        return -1;
    bool v6 = ip[0] >> 4 == 6;
    uint32_t hl = v6 ? 40 : (ip[0] & 15) * 4u, total = v6 ? 40u + get16(ip + 4) : get16(ip + 2);
    if (ip[v6 ? 6 : 9] != PSEUDO_TCP || total > len - l2 || hl < 20 || total < hl + 20)
        return -1;
    return same_sum(sum_of(ip + hl, total - hl, pseudo_sum(ip, total - hl)), 0);
}

void nic_receive(const struct nic *nic, struct rte_mbuf *m)
{
    int whole = tcp_whole(rte_pktmbuf_mtod(m, const uint8_t *), m->data_len);
    bool none = nic->rx_none && (whole || nic->whole);
    if (nic->lie == NIC_ALL_GOOD)
        whole = 1;
    if (nic->lie == NIC_ALL_BAD)
        whole = 0;
    if (nic->rx_sum && whole >= 0)
        m->ol_flags |= none    ? RTE_MBUF_F_RX_L4_CKSUM_NONE
                       : whole ? RTE_MBUF_F_RX_L4_CKSUM_GOOD
                               : RTE_MBUF_F_RX_L4_CKSUM_BAD;
    if (nic->strip)
        strip(nic, m);
}
