/* tcp_frame: a segment's window and headers, and the frame's way to the wire: what tcp_output.c, tcp_bare.c and tcp_tso.c share. Inline is
 * what a reply of the common pass takes; a frame is a copy of the connection's header template plus a few stores in front of the payload. */
#pragma once

#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_internal.h"

/* RFC 9293 3.8.6.2.2 (silly window avoidance, receiver): the edge moves only by a useful step. */
static inline int32_t tcp_window_step(const struct tcp_conn *tc)
{
    return (int32_t)tc->net->window_step;
}

/* Bytes that may be offered; negative when more is held than the buffer's size. */
static inline int32_t tcp_window_free(const struct tcp_conn *tc)
{
    return (int32_t)(tc->net->rcv_buf - tc->rx_hold - tc->ooo_bytes);
}

/* The window field of the segment that is being built; moves rcv_edge, never to the left (RFC 9293 3.8.6: SHLD-14). */
uint32_t tcp_window_select(struct tcp_conn *tc);

/* The same where the edge stays but for rounding, which is decided without telling how far off it is:
 * room for the window is left, but less than a step. A field that fits the buffer fits 16 bits. */
static inline uint32_t tcp_window_field(struct tcp_conn *tc, const struct net *net)
{
    uint8_t s = tc->rcv_wscale;
    uint32_t nxt = tc->rcv_nxt;
    /* Rounded up: of what is 1 less rounded down, and a unit more; signed, for a window of 0. */
    uint32_t field = (uint32_t)((int32_t)(tc->rcv_edge - nxt - 1) >> s) + 1, wnd = field << s;
    uint32_t rest = net->rcv_buf - tc->rx_hold - tc->ooo_bytes - wnd;
    if (unlikely_(rest >= net->window_rest)) /* or negative */
        return tcp_window_select(tc);
    ASSERT(field <= 0xffff);
    tc->rcv_edge = nxt + wnd;
    return field;
}

/* Is a window update worth a segment of its own? */
bool tcp_window_update_due(const struct tcp_conn *tc);

/* Headers in front of the `len` bytes at buf_addr + off. l2, ts, sums (a short one is likely) and port (its
 * sum is the port's) are constants in the common case, so that all offsets are. */
static inline __attribute__((always_inline)) void
tcp_build_at(const struct net *net, struct tcp_conn *tc, struct tcp_cold *c, struct rte_mbuf *m,
             uint8_t *buf, unsigned off, uint32_t len, uint32_t seq, uint32_t flags, unsigned l2,
             bool ts, bool sums, bool port)
{
    const unsigned hdr = l2 + 40u + (ts ? 12u : 0u);
    uint8_t *payload = buf + off, *frame = payload - hdr;
    memcpy(frame, c->tmpl, hdr - (ts ? 8u : 0u)); /* but for the timestamps */
    struct ip4_hdr *ip = (struct ip4_hdr *)(void *)(frame + l2);
    struct tcp_hdr *th = (struct tcp_hdr *)(void *)(ip + 1);
    uint32_t total = be32(hdr - l2 + len).raw >> 16; /* be16 */
    ip->total_len.raw = (uint16_t)total;
    /* Offset, flags and window as one word. */
    uint32_t word = (ts ? 0x80u : 0x50u) | flags << 8 | be32(tcp_window_field(tc, net)).raw;
    be32_t wire_seq = be32(seq), ack = be32(tc->rcv_nxt);
    th->seq = wire_seq;
    th->ack = ack;
    memcpy(&th->off, &word, sizeof(word));
    /* Words of 32 bits in a sum of 64: no carry is lost. The pseudo header's length is the packet's less
     * 20, which in one's complement may be taken from the field. */
    uint64_t sum = (uint64_t)c->tcp_sum + total + (uint16_t)(0xffff - be16(sizeof(*ip)).raw);
    sum += (uint64_t)word + wire_seq.raw + ack.raw;
    if (ts) {
        be32_t *stamp = (be32_t *)(void *)((uint8_t *)(th + 1) + 4);
        be32_t sent = be32(net->now_ms + c->ts_offset), echo = be32(tc->ts_recent);
        stamp[0] = sent;
        stamp[1] = echo;
        sum += (uint64_t)sent.raw + echo.raw;
    }
    m->ol_flags = 0;
    m->data_len = (uint16_t)(hdr + len);
    m->pkt_len = hdr + len;
    uint32_t ip_sum = c->ip_sum + total; /* two of 16 bits */
    ip->csum = (uint16_t) ~(ip_sum + (ip_sum >> 16));
    if (!port)
        th->csum = csum_finish(sums && likely_(len <= CSUM_SHORT) ? csum_short(payload, len, sum)
                                                                  : csum_add(payload, len, sum));
    else
        offload_sum(net, m, frame + l2, sizeof(*ip), hdr - l2 - (uint32_t)sizeof(*ip) + len, len);
}

/* RFC 3168 6.1.4 to 6.1.6: only new text may be marked on its way. */
void tcp_clear_ect(const struct tcp_conn *tc, struct rte_mbuf *m);

/* Every segment but the first SYN acknowledges all we have: an owed ACK is paid. */
static inline void tcp_ack_sent(struct tcp_conn *tc, struct tcp_cold *c)
{
    tc->flags &= ~(TF_ACK_NOW | TF_ACK_DELAYED | TF_WND_CHECK);
    tc->rcv_acked = tc->rcv_nxt;
    c->deadline_ns[TT_DELACK] = UINT64_MAX;
}

/* The peer's MAC is not known yet: the neighbour table sends the frame or keeps it. */
void tcp_hand_to_neigh(struct tcp_conn *tc, struct rte_mbuf *m);

/* Hands a frame to the wire. */
static inline void tcp_hand_over(struct tcp_conn *tc, struct rte_mbuf *m)
{
    struct net *net = tc->net;
    net->out_segs++;
    if (unlikely_(!(tc->flags & TF_MAC_KNOWN)))
        tcp_hand_to_neigh(tc, m);
    else if (unlikely_(!net_send(net, m)))
        net_send_or_drop(net, m); /* a RST: for the others tcp_output has looked for room */
}

static inline uint8_t tcp_ece_due(const struct tcp_conn *tc)
{
    return tc->flags & TF_ECE ? TH_ECE : 0;
}

/* A segment without data: ACK, FIN, RST, keepalive. False: no buffer. */
bool tcp_send_bare(struct tcp_conn *tc, uint32_t seq, uint8_t flags);
/* SYN, or SYN and ACK of a connection in SYN-RECEIVED. False: no buffer. */
bool tcp_send_syn(struct tcp_conn *tc);
