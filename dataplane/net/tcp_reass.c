/* tcp_reass: segment text, in order and out of it (RFC 9293 3.10.7.4 step seven).
 *
 * In-order octets go to the application straight from the received mbuf. What comes early is copied
 * (an mbuf does not outlive its burst) into blocks, disjoint and ascending, bounded per connection in
 * bytes and in number and per worker in bytes; of overlapping copies the first that came stays.
 * Blocks that were delivered are kept until net_input_done, for `received` promises that. */
#include <errno.h>
#include <stdlib.h>

#include "dataplane/net/tcp_internal.h"

#define QUICK_ACKS \
    16 /* after text that was lost or came twice: the sender's window is a few segments, often an odd number */
#define GAP_TOLD 3  /* segments behind a gap answered one by one: the third starts a repair */
#define GAP_HELD 32 /* segments behind it that wait */

/* Of heap, the allocator's own share included. */
static inline uint64_t block_bytes(uint32_t len)
{
    return sizeof(struct tcp_ooo) + 16 + len;
}

/* The first block. */
static void block_unlink(struct tcp_conn *tc, struct tcp_ooo *o)
{
    tc->cold->ooo = o->next;
    tc->cold->ooo_segs--;
    tc->ooo_bytes -= o->len;
    tc->net->ooo_total_bytes -= block_bytes(o->len);
    if (!o->next)
        list_remove(&tc->cold->link);
}

void tcp_ooo_free(struct tcp_conn *tc)
{
    for (struct tcp_ooo *o; (o = tc->cold->ooo) != NULL;) {
        block_unlink(tc, o);
        free(o);
    }
}

bool tcp_ooo_prune_oldest(struct net *net, const struct tcp_conn *but)
{
    list_for_each (n, &net->ooo_conns) {
        struct tcp_cold *c = list_entry(n, struct tcp_cold, link);
        struct tcp_conn *tc = &net->conns[c - net->cold];
        if (tc == but)
            continue;
        STAT_ADD(net->stats->tcp_ofo_pruned, c->ooo_segs);
        tcp_ooo_free(tc);
        c->loss->recent_n = c->loss->fresh = 0;
        return true;
    }
    return false;
}

/* Room for a block: within the connection's bounds, and where all of them are over the worker's, what was kept for longest makes it. */
static bool block_room(struct tcp_conn *tc, uint32_t n)
{
    struct net *net = tc->net;
    if (tc->cold->ooo_segs >= net->cfg.ooo_segs || n > net->cfg.ooo_bytes - tc->ooo_bytes)
        return false;
    while (net->ooo_total_bytes + block_bytes(n) > LIMIT_NET_OOO_TOTAL_BYTES)
        if (!tcp_ooo_prune_oldest(net, tc))
            return false;
    return true;
}

void tcp_ooo_done_free(struct net *net)
{
    for (struct tcp_ooo *o; (o = net->ooo_done) != NULL;) {
        net->ooo_done = o->next;
        free(o);
    }
}

/* Puts one block in front of *pp; false: over a bound. */
static bool block_insert(struct tcp_conn *tc, struct tcp_ooo **pp, uint32_t seq, const uint8_t *p,
                         uint32_t n, bool fin)
{
    struct net *net = tc->net;
    struct tcp_ooo *o = block_room(tc, n) ? malloc(sizeof(*o) + n) : NULL;
    if (!o) {
        STAT_INC(net->stats->drop_tcp_ooo);
        tcp_trace_drop(tc, DROP_OOO, seq);
        return false;
    }
    o->next = *pp;
    o->seq = seq;
    o->len = n;
    o->fin = fin;
    memcpy(o->data, p, n);
    *pp = o;
    if (!o->next)
        tc->cold->ooo_tail = o;
    tc->cold->ooo_segs++;
    tc->ooo_bytes += n;
    net->ooo_total_bytes += block_bytes(n);
    if (!list_linked(&tc->cold->link))
        list_push_back(&net->ooo_conns, &tc->cold->link);
    STAT_INC(net->stats->tcp_ofo_queued);
    return true;
}

/* Keeps what fills gaps between the blocks that are there. */
static void keep_early(struct tcp_conn *tc, uint32_t seq, const uint8_t *p, uint32_t len, bool fin)
{
    struct tcp_ooo **pp = &tc->cold->ooo;
    uint32_t dup_start = seq, dup_end = seq; /* of it, what is here already */
    if (*pp && seq_le(tc->cold->ooo_tail->seq + tc->cold->ooo_tail->len, seq))
        pp = &tc->cold->ooo_tail->next; /* as it comes behind one gap */
    while (len) {
        while (*pp && seq_le((*pp)->seq + (*pp)->len, seq))
            pp = &(*pp)->next;
        struct tcp_ooo *o = *pp;
        if (o && seq_le(o->seq, seq)) { /* its start is here already */
            uint32_t have = o->seq + o->len - seq, cut = have < len ? have : len;
            if (dup_end != seq)
                dup_start = seq;
            dup_end = seq + cut;
            seq += cut;
            p += cut;
            len -= cut;
            continue;
        }
        uint32_t n = o && o->seq - seq < len ? o->seq - seq : len;
        if (!block_insert(tc, pp, seq, p, n, fin && n == len))
            break;
        seq += n;
        p += n;
        len -= n;
    }
    if (dup_start != dup_end)
        tcp_sack_note_dup(tc, dup_start, dup_end);
}

/* RFC 9293 3.10.7.4 step eight. */
static void fin_received(struct tcp_conn *tc)
{
    tc->rcv_nxt++;
    if (seq_lt(tc->rcv_edge, tc->rcv_nxt)) /* FIN needs no window */
        tc->rcv_edge = tc->rcv_nxt;
    tcp_ack_now(tc);
    tcp_ooo_free(tc); /* nothing can follow */
    switch (tc->state) {
    case TCP_ESTABLISHED:
        tcp_state_set(tc, TCP_CLOSE_WAIT);
        if (tc->cookie && !(tc->flags & TF_APP_CLOSED))
            tc->net->app.peer_closed(tc->cookie);
        break;
    case TCP_FIN_WAIT_1:
        if (tcp_fin_acked(tc))
            tcp_conn_time_wait(tc);
        else
            tcp_state_set(tc, TCP_CLOSING);
        break;
    case TCP_FIN_WAIT_2: tcp_conn_time_wait(tc); break;
    default: break;
    }
}

/* What was kept and is next in order now, or was before. */
static void drain(struct tcp_conn *tc)
{
    for (struct tcp_ooo *o; (o = tc->cold->ooo) != NULL && seq_le(o->seq, tc->rcv_nxt);) {
        block_unlink(tc, o);
        o->next = tc->net->ooo_done;
        tc->net->ooo_done = o;
        uint32_t skip = tc->rcv_nxt - o->seq;
        if (skip < o->len) {
            if (tc->flags &
                TF_APP_CLOSED) { /* as text_and_fin has it: the application left meanwhile */
                tcp_conn_reset(tc, -ECONNRESET, true);
                return;
            }
            tcp_deliver(tc->net, tc, o->data + skip, o->len - skip);
        }
        if (tc->state == TCP_CLOSED)
            return;
        if (o->fin && tc->rcv_nxt == o->seq + o->len) {
            fin_received(tc);
            return;
        }
        tcp_ack_now(tc); /* RFC 5681 4.2: at once when a gap was filled */
    }
}

/* RFC 5681 4.2: an ACK for each segment behind a gap. They are counted, not folded into the pass's
 * one ACK: a sender without SACK needs three to repair the gap before its timer does. */
static void duplicate_ack(struct tcp_conn *tc)
{
    tc->cold->quick_acks = QUICK_ACKS;
    if (tc->cold->dup_acks_due < LIMIT_TCP_DUP_ACKS) /* with SACK one tells of the whole burst */
        tc->cold->dup_acks_due++;
    tc->flags |= TF_DUP_ACKS;
    tcp_mark(tc);
}

/* Early text of a peer that takes SACKs. The first segments behind a gap are answered one by one, also those
 * of one burst: each lets a sender that does not know of a loss yet send a new segment (RFC 3042), which is a
 * part of the same recovery then. After them, what only makes the last island longer waits for the repair of
 * the hole, or a moment. Linux's receiver compresses its SACKs so, and the windows of Linux's senders need it:
 * what a sender hears of during recovery does not let cwnd grow, what the ACK that ends it tells does. */
static void early_ack(struct tcp_conn *tc, bool longer)
{
    struct tcp_loss *l = tc->cold->loss;
    if (l->gap_seq != tc->rcv_nxt) {
        l->gap_seq = tc->rcv_nxt;
        l->gap_told = l->gap_held = 0;
    }
    tc->cold->quick_acks = QUICK_ACKS;
    if (l->gap_told < GAP_TOLD && !net_tx_full(tc->net)) {
        l->gap_told++;
        tc->cold->dup_acks_due = 1; /* until it is sent */
        tcp_send_ack(tc);
        if (!tc->cold->dup_acks_due) /* else no buffer, or more islands than one ACK has room for */
            return;
    } else if (!longer || l->dsack_due || l->gap_held == GAP_HELD ||
               ((tc->flags & TF_DUP_ACKS) && !l->gap_held)) {
        tcp_ack_now(tc);
        return;
    } else {
        l->gap_held++;
    }
    tc->flags |= TF_DUP_ACKS;
    tcp_mark(tc);
}

void tcp_dup_text(struct tcp_conn *tc, uint32_t seq, uint32_t len)
{
    if (!len || !(tc->flags & TF_SACK))
        return;
    tcp_sack_note_dup(tc, seq, seq + len);
    duplicate_ack(tc); /* on a bare ACK, for only that has room for the block */
}

void tcp_text_input(struct tcp_conn *tc, uint32_t seq, const uint8_t *p, uint32_t len, bool fin)
{
    uint32_t old = seq_lt(seq, tc->rcv_nxt) ? tc->rcv_nxt - seq : 0;
    if (old) { /* the left part was received before */
        STAT_INC(tc->net->stats->tcp_dup_data);
        tcp_ack_now(tc);
        tcp_dup_text(tc, seq, old < len ? old : len);
        if (old > len)
            return; /* its FIN too, if it had one */
        seq += old;
        p += old;
        len -= old;
    }
    uint32_t ahead = seq - tc->rcv_nxt, wnd = tc->rcv_edge - tc->rcv_nxt;
    if (len && (ahead >= wnd || len > wnd - ahead)) { /* the right part is outside the window */
        len = ahead < wnd ? wnd - ahead : 0;
        fin = false;
        if (!ahead) /* else the ACK for text ahead of order says it: one per segment */
            tcp_ack_now(tc);
        STAT_INC(tc->net->stats->drop_tcp_window);
        tcp_trace_drop(tc, DROP_WINDOW, seq);
    }
    if (ahead) {
        /* A FIN alone ahead of data is not kept: it is sent again. */
        const struct tcp_cold *c = tc->cold;
        bool longer = c->ooo && c->ooo_tail->seq + c->ooo_tail->len == seq;
        if (len && (tc->flags & TF_SACK))
            tcp_sack_note(tc, seq, len);
        keep_early(tc, seq, p, len, fin);
        if (tc->flags & TF_SACK)
            early_ack(tc, longer);
        else
            duplicate_ack(tc);
        return;
    }
    if (len) {
        if (tc->cold->ooo) {
            tcp_ack_now(tc);
            if (!tc->cold->loss->dsack_due)
                tc->cold->dup_acks_due = 0; /* they would tell of a gap that is filled */
        }
        tcp_deliver(tc->net, tc, p, len);
        if (tc->state == TCP_CLOSED)
            return;
    }
    if (fin) {
        fin_received(tc);
        return;
    }
    if (tc->cold->ooo)
        drain(tc);
}
