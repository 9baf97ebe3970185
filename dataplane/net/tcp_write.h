/* The send queue, written in place: net.h's tcp_tx_reserve and tcp_tx_commit for the reply to a request that came with the acknowledgment of
 * all replies before it. Its segment is there already (tx_seg_again), so that a few compares and stores are left, inline where replies
 * are written. Thread: the worker's. */
#pragma once

#include "dataplane/net/tcp_internal.h"

/* The only segment of the queue, with nothing in it, where the connection may be written to. NULL: tcp_tx_reserve finds room. */
static inline struct tx_seg *tcp_write_first(const struct tcp_conn *tc)
{
    struct tx_seg *s = tc->q_tail;
    bool open = (tcp_state_word(tc) & TCP_STATE_WORD(0xff, TF_APP_CLOSED)) ==
                TCP_STATE_WORD(TCP_ESTABLISHED, 0);
    return likely_(open && s) && likely_(s == tc->q_head) && likely_(tx_seg_clean(s)) ? s : NULL;
}

static inline uint8_t *tcp_write_room(struct tx_seg *s)
{
    return (uint8_t *)s + TX_PAYLOAD_OFF;
}
static inline size_t tcp_write_most(const struct tcp_conn *tc)
{
    return tc->mss; /* no more than snd_buf_bytes */
}

/* tcp_tx_commit of the first n octets of that segment; the connection was not closed meanwhile. */
static inline void tcp_write_end(struct tcp_conn *tc, struct tx_seg *s, size_t n)
{
    s->len = (uint16_t)n;
    tc->tx_queued = (uint32_t)n;
    if (unlikely_(!(tc->flags & TF_DIRTY))) /* who brought text is marked already */
        tcp_mark(tc);
}
