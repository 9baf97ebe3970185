/* tcp_queue: the send queue of a connection: one mbuf per segment, written by the application in
 * place, kept by reference until it is acknowledged.
 *
 *     q_head --> [sent] --> [sent] --> [unsent] --> [unsent, room left] <-- q_tail
 *                                      ^ q_unsent
 * Only the last unsent segment grows; what was sent once keeps its bounds, so a retransmission is
 * the same octets (less what was acknowledged at its front). */
#include <stdlib.h>

#include "dataplane/net/tcp_internal.h"

static inline bool may_write(const struct tcp_conn *tc)
{
    static_assert(TCP_CLOSE_WAIT == TCP_ESTABLISHED + 1, "one range");
    return (uint8_t)(tc->state - TCP_ESTABLISHED) <= 1 && !(tc->flags & TF_APP_CLOSED);
}

static inline bool queue_full(const struct tcp_conn *tc)
{
    uint32_t buf = tc->net->cfg.snd_buf_bytes;
    return tc->tx_queued >= buf || tc->cold->q_segs >= tc->cold->q_segs_max;
}

/* A dynamic threshold (Choudhury, Hahne 1998): a connection may hold half of what is free, so that a few peers that acknowledge nothing,
 * or shrink the segments by a small MSS, cannot take the pool from the others. Two segments are always granted; who is refused
 * has some on the way, and their acknowledgement asks again. With very many connections half of what is free is nothing: what lies over
 * the mark of pressure is for those with fewer than two segments, so that who reads is answered, however many do not. And who was parked
 * stood still: it gets no more until that is taken. Where half of the heap is parked already, who has shown no sign of reading (cwnd has
 * not grown) gets two segments as well: or a few thousand who come and never read fill the heap, and then the pool for all. */
static inline bool share_used(const struct tcp_conn *tc)
{
    const struct net *net = tc->net;
    uint32_t q = tc->cold->q_segs - tc->cold->q_parked;
    bool unproven = net->parked_bytes > LIMIT_NET_HEAP_BYTES / 2 &&
                    tc->cwnd <= net->cfg.initial_window_segs * tc->mss;
    if (net->q_segs >= net->pressure_on || tc->cold->q_parked || unproven) /* parked ones count */
        return tc->cold->q_segs >= 2;
    return q >= 2 && (uint64_t)2 * q + net->q_segs >= net->pool_mbufs;
}

/* An empty segment in m. */
static inline struct tx_seg *seg_init(struct tcp_conn *tc, struct rte_mbuf *m)
{
    struct tx_seg *s = m->buf_addr;
    s->next = NULL;
    s->m = m;
    tx_seg_clear(s);
    tc->cold->q_segs++;
    tc->net->q_segs++;
    return s;
}

static inline struct tx_seg *seg_append(struct tcp_conn *tc, struct rte_mbuf *m)
{
    struct tx_seg *s = seg_init(tc, m);
    if (tc->q_tail)
        tc->q_tail->next = s;
    else
        tc->q_head = s;
    tc->q_tail = s;
    if (!tc->q_unsent)
        tc->q_unsent = s;
    return s;
}

static inline uint8_t *seg_room(const struct tcp_conn *tc, const struct tx_seg *s, size_t *room)
{
    uint32_t left = (uint32_t)tc->mss - s->len;
    uint32_t budget = tc->net->cfg.snd_buf_bytes - tc->tx_queued;
    *room = left < budget ? left : budget;
    return tx_seg_data(s) + s->len;
}

/* Nothing can be written now: when to say `writable`. */
static __attribute__((noinline)) uint8_t *reserve_refused(struct tcp_conn *tc)
{
    if (!may_write(tc)) {
        /* Not yet open: told when it is. Over: nothing will follow. */
        if (tc->state == TCP_SYN_SENT || tc->state == TCP_SYN_RCVD)
            tc->flags |= TF_WANT_WRITE;
        return NULL;
    }
    tc->flags |= TF_WANT_WRITE;
    if (!queue_full(tc) &&
        !share_used(tc)) /* the pool's state, not this connection's ACKs, decides: ask soon */
        tcp_timer_set(tc, TT_STARVED, tc->net->now_ns + NSEC_PER_MS);
    return NULL;
}

/* Apart, so that the usual way calls nothing and saves no register. */
static __attribute__((noinline)) uint8_t *reserve_other(struct tcp_conn *tc, size_t *room)
{
    struct tx_seg *s = tc->q_tail;
    if (unlikely_(!may_write(tc) || queue_full(tc)))
        return reserve_refused(tc);
    if (!s || (s->flags & (TXS_SENT | TXS_PARKED)) || s->len >= tc->mss) {
        if (unlikely_(share_used(tc)))
            return reserve_refused(tc);
        struct rte_mbuf *m = net_alloc_data(tc->net);
        if (unlikely_(!m))
            return reserve_refused(tc);
        s = seg_append(tc, m);
    }
    return seg_room(tc, s, room);
}

uint8_t *tcp_tx_reserve(struct tcp_conn *tc, size_t *room)
{
    struct net *net = tc->net;
    struct rte_mbuf *m;
    bool open = (tcp_state_word(tc) & TCP_STATE_WORD(0xff, TF_APP_CLOSED)) ==
                TCP_STATE_WORD(TCP_ESTABLISHED, 0);
    if (unlikely_(tc->q_tail || !open || !(m = net_alloc_cached(net))))
        return reserve_other(tc, room);
    /* The first reply after all others were acknowledged: no limit is near. */
    struct tx_seg *s = seg_init(tc, m);
    tc->q_head = tc->q_tail = tc->q_unsent = s;
    *room = tc->mss;
    return tx_seg_data(s);
}

void tcp_tx_commit(struct tcp_conn *tc, size_t n)
{
    struct tx_seg *s = tc->q_tail;
    if (unlikely_(!n || !s || (s->flags & (TXS_SENT | TXS_PARKED)) || !may_write(tc)))
        return;
    ASSERT(s->len + n <= tc->mss);
    s->len = (uint16_t)(s->len + n);
    tc->tx_queued += (uint32_t)n;
    tcp_mark(tc);
}

/* An empty segment that stands alone: no answer has come (tx_seg_again). */
void tcp_queue_trim(struct tcp_conn *tc)
{
    struct tx_seg *s = tc->q_head;
    if (likely_(!s || s != tc->q_unsent || s->len || s->next))
        return;
    tc->q_head = tc->q_tail = tc->q_unsent = NULL;
    tcp_queue_drop(tc, s);
}

size_t tcp_tx_queued(const struct tcp_conn *tc)
{
    return tc->tx_queued;
}

/* What was thought of so many bytes of s is over. */
static inline void unmark(struct tcp_conn *tc, const struct tx_seg *s, uint32_t bytes)
{
    if (s->flags & TXS_LOST)
        tc->cold->lost_bytes -= bytes;
    if (s->flags & TXS_SACKED)
        tc->cold->sacked_bytes -= bytes;
}

void tcp_queue_drop(struct tcp_conn *tc, struct tx_seg *s)
{
    struct net *net = tc->net;
    tc->cold->q_segs--;
    if (likely_(!(s->flags & (TXS_PARKED | TXS_TSO)))) {
        net->q_segs--;
        net_free_own(net, s->m);
        return;
    }
    if (!(s->flags & TXS_PARKED)) {
        net->q_segs--;
        tx_seg_unchain(s);
        net_free_own(net, s->m);
        return;
    }
    if (--tc->cold->q_parked == 0)
        tc->flags &= ~TF_PARKED;
    net->parked_bytes -= sizeof(*s) + s->parked;
    STAT_SET(net->stats->tcp_parked_bytes, net->parked_bytes);
    free(s);
}

static __attribute__((noinline)) void acked_marked(struct tcp_conn *tc, struct tx_seg *s,
                                                   const struct tcp_seg *seg, uint64_t *sent_ns)
{
    if (!(s->flags & TXS_SACKED))
        *sent_ns = s->sent_ns;
    if (s->flags & TXS_NOTED)
        offload_outcome(tc, s, seg);
}

uint32_t tcp_queue_ack(struct tcp_conn *tc, const struct tcp_seg *seg, uint64_t *sent_ns)
{
    uint32_t removed = 0, ack = seg->ack;
    bool again = false, care = tc->flags & (TF_CARE | TF_RECOVERY | TF_LOSS);
    struct tx_seg *s = tc->q_head;
    *sent_ns = 0;
    while (s && (s->flags & TXS_SENT) && seq_lt(s->seq, ack)) {
        uint32_t n = ack - s->seq;
        again |= (s->flags & TXS_RETX) != 0;
        if (n < s->len) { /* the peer took part of it */
            unmark(tc, s, n);
            s->seq = ack;
            s->off = (int16_t)(s->off + (int32_t)n);
            s->len = (uint16_t)(s->len - n);
            removed += n;
            break;
        }
        removed += s->len;
        unmark(tc, s, s->len);
        if (likely_(!(s->flags & (TXS_SACKED | TXS_NOTED))))
            *sent_ns = s->sent_ns;
        else
            acked_marked(tc, s, seg, sent_ns);
        struct tx_seg *next = s->next;
        if (unlikely_(care)) {
            if (!(s->flags & TXS_SACKED))
                tcp_loss_acked(tc, s, seg);
            if (tc->cold->loss->hint == s)
                tc->cold->loss->hint = NULL;
        }
        if (tc->cold->rtx == s)
            tc->cold->rtx = next;
        tcp_queue_drop(tc, s);
        s = next;
    }
    tc->q_head = s;
    if (!s)
        tc->q_tail = NULL;
    tc->tx_queued -= removed;
    if (again)
        *sent_ns = 0;
    return removed;
}

bool tcp_queue_split(struct tcp_conn *tc, struct tx_seg *s, uint16_t n)
{
    struct rte_mbuf *m = net_alloc_data(tc->net);
    if (!m)
        return false;
    struct tx_seg *rest = seg_init(tc, m);
    rest->len = (uint16_t)(s->len - n);
    rest->seq = s->seq + n;
    rest->flags =
        s->flags & ~(TXS_PARKED | TXS_NOTED |
                     TXS_TSO); /* a segment that was sent is cut only when the path's MTU shrank */
    rest->sent_ns = s->sent_ns;
    memcpy(tx_seg_data(rest), tx_seg_data(s) + n, rest->len);
    rest->next = s->next;
    s->next = rest;
    s->len = n;
    if (tc->q_tail == s)
        tc->q_tail = rest;
    return true;
}

void tcp_queue_mark_lost(struct tcp_conn *tc, bool all)
{
    struct tcp_cold *c = tc->cold;
    struct tx_seg *s = tc->q_head;
    for (; s && (s->flags & TXS_SENT); s = s->next) {
        if (!(s->flags & (TXS_LOST | TXS_SACKED))) {
            s->flags |= TXS_LOST;
            c->lost_bytes += s->len;
        }
        if (!all)
            break;
    }
    c->rtx = NULL;
    tcp_trace(tc, TR_LOST, 0, c->lost_bytes);
    bool data_in_flight = tc->q_head && (tc->q_head->flags & TXS_SENT);
    if (all || !data_in_flight)
        tcp_queue_mark_fin_lost(tc);
    tcp_mark(tc);
}

void tcp_queue_mark_fin_lost(struct tcp_conn *tc)
{
    if ((tc->flags & TF_FIN_SENT) && !(tc->flags & TF_FIN_LOST) && !tcp_fin_acked(tc)) {
        tc->flags |= TF_FIN_LOST;
        tc->cold->lost_bytes++;
    }
}

void tcp_queue_free(struct tcp_conn *tc)
{
    struct tx_seg *s = tc->q_head;
    while (s) {
        struct tx_seg *next = s->next;
        tcp_queue_drop(tc, s);
        s = next;
    }
    tc->q_head = tc->q_tail = tc->q_unsent = NULL;
    tc->tx_queued = 0;
    tc->cold->rtx = NULL;
    tc->cold->lost_bytes = 0;
    tc->cold->sacked_bytes = 0;
    if (tc->cold->loss->hint)
        tc->cold->loss->hint = NULL;
}
