/* Private to dataplane/net: TCP's records and what tcp_*.c call of each other.
 *
 * struct tcp_conn is what every segment touches: two cache lines. struct tcp_cold is the rest.
 * Both live in arrays with the same index; neither moves. A record that died keeps its memory until
 * tcp_reap, at the end of the outermost net_* call, so callbacks may close anything at any time. */
#pragma once

#include "dataplane/net/net_internal.h"
#include "dataplane/net/tcp_cc.h"
#include "dataplane/net/tcp_loss.h"

/* ---- sequence numbers, RFC 9293 3.4 ---- */
static inline bool seq_lt(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}
static inline bool seq_le(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) <= 0;
}

/* RFC 9293 3.3.2. LISTEN has no record. */
enum tcp_state {
    TCP_CLOSED,
    TCP_SYN_SENT,
    TCP_SYN_RCVD,
    TCP_ESTABLISHED,
    TCP_CLOSE_WAIT,
    TCP_FIN_WAIT_1,
    TCP_FIN_WAIT_2,
    TCP_CLOSING,
    TCP_LAST_ACK,
    TCP_TIME_WAIT,
};

#define TF_DIRTY   (1u << 0) /* in net->dirty */
#define TF_REAP    (1u << 1) /* in net->reap */
#define TF_NOTIFY  (1u << 2) /* `closed` is owed */
#define TF_ACK_NOW (1u << 3) /* an ACK must leave in this pass */
#define TF_ACK_DELAYED \
    (1u << 4) /* an ACK is owed: it rides on a reply of this turn, or the timer runs */
#define TF_TS          (1u << 5)  /* RFC 7323 timestamps negotiated */
#define TF_MAC_KNOWN   (1u << 6)  /* the template has the peer's MAC */
#define TF_WANT_WRITE  (1u << 7)  /* `writable` is owed */
#define TF_APP_CLOSED  (1u << 8)  /* tcp_close was called: FIN follows the queue */
#define TF_FIN_SENT    (1u << 9)  /* our FIN has a sequence number, snd_nxt - 1 */
#define TF_FIN_LOST    (1u << 10) /* and must be sent again */
#define TF_RECOVERY    (1u << 11) /* fast recovery, RFC 6582 */
#define TF_LOSS        (1u << 12) /* after a retransmission timeout */
#define TF_SYN_DUE     (1u << 13) /* SYN or SYN-ACK must leave in this pass */
#define TF_ACTIVE      (1u << 14) /* opened by tcp_connect */
#define TF_WND_CHECK   (1u << 15) /* the window may have opened: tell the peer if it pays */
#define TF_KEEP_DUE    (1u << 16) /* a keepalive probe must leave in this pass */
#define TF_PROBE_DUE   (1u << 17) /* the persist timer lets one piece past the window */
#define TF_CWND_FULL   (1u << 18) /* the last pass was stopped by cwnd: it may grow */
#define TF_HALF_OPEN   (1u << 19) /* counted in net->half_open */
#define TF_ESTAB       (1u << 20) /* counted in tcp_curr_estab */
#define TF_CONN_OWED   (1u << 21) /* `connected` is owed (with close_err) */
#define TF_WSCALE      (1u << 22) /* window scaling negotiated */
#define TF_DUP_ACKS    (1u << 23) /* dup_acks_due of them must leave in this pass */
#define TF_SACK        (1u << 24) /* RFC 2018 negotiated */
#define TF_CARE        (1u << 25) /* something is SACKed, probed or owed (tcp_loss.h): no short ways */
#define TF_ECN         (1u << 26) /* RFC 3168 negotiated */
#define TF_ECE         (1u << 27) /* what we send says ECE */
#define TF_SPLIT       (1u << 28) /* unsent segments may be larger than mss: it was lowered */
#define TF_V6          (1u << 29) /* an IPv6 connection */
#define TF_PARKED      (1u << 30) /* the send queue has parked segments (tcp_pressure.c) */
#define TF_TRACE       (1u << 31) /* each segment leaves an event: no short ways */

/* ---- send queue ----
 * One mbuf per segment. Its bookkeeping stands at the start of its headroom, the payload at
 * TX_PAYLOAD_OFF, so that every header combination fits between:
 *     buf_addr | tx_seg | ... eth ip tcp opts | payload ... |
 * A segment that was sent is never appended to, nor changed but for its headers. A parked one stands on the heap, its payload right
 * behind it: m is NULL, and what leaves is a copy. */
#define TX_PAYLOAD_OFF 168
#define TXS_SENT       1
#define TXS_LOST       2
#define TXS_RETX       4 /* sent more than once: no RTT sample (Karn, RFC 6298 3) */
#define TXS_SACKED     8 /* the peer says that it has all of it */
#define TXS_PARKED     16
#define TXS_NOTED      32 /* its acknowledgment tells of an offload (offload.h) */
#define TXS_TSO        64 /* went in a packet that the port cuts: m may be linked (tcp_tso.c) */

struct tx_seg {
    struct tx_seg *next;
    struct rte_mbuf *m;
    uint64_t sent_ns;
    uint32_t seq;
    int16_t off; /* of the payload from TX_PAYLOAD_OFF: acknowledged bytes are cut off the front */
    uint16_t len;
    uint16_t parked; /* TXS_PARKED: payload bytes that were allocated */
    uint8_t flags;
    uint8_t round; /* TXS_NOTED */
};
static_assert(sizeof(struct tx_seg) <= 48, "leaves room for 14+4+40+60 header bytes");

static inline uint8_t *tx_seg_data(const struct tx_seg *s)
{
    return (uint8_t *)s + TX_PAYLOAD_OFF + s->off; /* s stands at buf_addr */
}

static_assert(offsetof(struct tx_seg, off) + 7 == offsetof(struct tx_seg, round),
              "what is said of the octets is one word");
/* Nothing is in it, and it was not sent. */
static inline void tx_seg_clear(struct tx_seg *s)
{
    memset((uint8_t *)s + offsetof(struct tx_seg, off), 0, 8);
}
static inline bool tx_seg_clean(const struct tx_seg *s)
{
    uint64_t word;
    memcpy(&word, (const uint8_t *)s + offsetof(struct tx_seg, off), sizeof(word));
    return word == 0;
}

/* m is to be used or freed: it is no part of a chain any more, if nobody else holds it. */
static inline void tx_seg_unchain(struct tx_seg *s)
{
    if (!(s->flags & TXS_TSO) || rte_mbuf_refcnt_read(s->m) != 1)
        return;
    s->m->next = NULL;
    s->m->nb_segs = 1;
}

/* ---- reassembly ---- */
struct tcp_ooo {
    struct tcp_ooo *next; /* ascending, disjoint */
    uint32_t seq, len;
    bool fin;
    uint8_t data[];
};

/* ---- timers ---- */
enum tcp_timer { TT_REXMIT, TT_PERSIST, TT_DELACK, TT_STARVED, TT_LIFE, TT_REO, TT_COUNT };
/* TT_LIFE: keepalive, FIN_WAIT_2 and TIME_WAIT, by state. TT_REO: RACK's reordering window. */

#define TCP_HDR_MAX  118 /* 14 + 4 + 40 + 60 */
#define TCP_TMPL_MAX 72

struct tcp_conn {
    struct flow_key key;
    uint8_t state, snd_wscale, rcv_wscale, dupacks;
    uint32_t flags;
    uint32_t rcv_nxt;
    uint32_t rcv_edge;  /* right edge of the offered window: never moves left */
    uint32_t rcv_acked; /* rcv_nxt in the last ACK sent */
    uint32_t snd_una, snd_nxt;
    uint32_t snd_wnd; /* scaled */
    uint32_t snd_wl1, snd_wl2;
    uint32_t ts_recent;
    void *cookie;
    /* ---- */
    struct net *net;
    struct tcp_cold *cold;
    struct tx_seg *q_head, *q_tail, *q_unsent; /* q_unsent: first never sent */
    uint32_t tx_queued;                        /* data bytes in the queue */
    uint32_t rx_hold;                          /* bytes the application sits on */
    uint32_t ooo_bytes;
    uint32_t cwnd;
    uint16_t mss;     /* largest payload we send, options taken off */
    uint16_t rcv_mss; /* largest payload seen: estimate of the peer's */
    uint32_t generation;
};
static_assert(sizeof(struct tcp_conn) == 128, "two cache lines");
static_assert(offsetof(struct tcp_conn, key) == 0, "flow table reads it");

struct tcp_cold {
    uint8_t
        tmpl[TCP_TMPL_MAX]; /* Ethernet, IP (IPv6: less its addresses), TCP, timestamp option: what
                                 * does not change */
    uint8_t tmpl_len, l2_len; /* tmpl_len: of all headers */
    uint8_t backoff, keep_sent;
    uint8_t pmtu_changes;     /* ICMP errors obeyed */
    uint8_t quick_acks;       /* ACKs that will not be delayed: text was lost a moment ago */
    bool ts_copied;           /* loss->ts_copy may be what stands in the record's ts_recent */
    uint32_t ip_sum, tcp_sum; /* checksums of the template's constant part */
    struct wheel_node timer;
    uint64_t timer_ns; /* when the wheel entry fires; UINT64_MAX: none */
    uint64_t deadline_ns[TT_COUNT];
    uint64_t last_rx_ns;
    uint64_t rto_ns; /* RTO << backoff, within bounds */
    /* In units of 1.024 us (ns >> 10): SRTT * 8, RTTVAR * 4, RTO. 0: no sample yet. */
    uint32_t srtt_x8, rttvar_x4, rto_u;
    uint32_t rtt_floor_u; /* samples below this leave the RTO at its floor; 0: any may move it */
    uint32_t ts_offset;
    uint32_t q_parked;     /* of q_segs */
    uint64_t ts_recent_ns; /* when ts_recent was taken */
    uint32_t iss, irs;
    uint32_t snd_wnd_max;
    uint32_t ssthresh, cc_acked; /* cc_acked: bytes since cwnd last grew */
    uint32_t recover;            /* RFC 6582: snd_nxt when loss was seen */
    uint32_t lost_bytes;         /* marked lost and not sent again */
    uint32_t sacked_bytes;       /* marked TXS_SACKED */
    struct tx_seg *rtx;          /* where to look for lost segments; NULL: head */
    uint32_t q_segs, q_segs_max;
    uint64_t rtx_since_ns; /* first timeout without progress; 0: none */
    uint64_t last_tx_ns;
    const struct tcp_cc *cc;
    struct tcp_ooo *ooo, *ooo_tail; /* ooo_tail: the last, while ooo is not NULL */
    uint16_t ooo_segs, dup_acks_due;
    uint32_t retrans;
    uint32_t challenge_ms; /* start of the throttle's second */
    uint32_t challenge_count;
    uint16_t peer_mss;
    int16_t close_err;
    struct list link; /* of net->time_wait, or of net->ooo_conns while there is out-of-order data */
    union tcp_cc_state cc_state;
    struct tcp_loss *loss; /* its entry of net->loss: not touched while all goes well */
    struct ip_addr peer6;  /* of an IPv6 connection: its key has only a hash */
};

/* state, snd_wscale, rcv_wscale, dupacks and flags as one word, for tests of several of them. */
static_assert(offsetof(struct tcp_conn, flags) == offsetof(struct tcp_conn, state) + 4, "one word");
#define TCP_STATE_WORD(state, flags) ((uint64_t)(flags) << 32 | (state))
#define TCP_STATE_WORD_DUPACKS       (0xffull << 24)
static inline uint64_t tcp_state_word(const struct tcp_conn *tc)
{
    uint64_t w;
    memcpy(&w, &tc->state, sizeof(w));
    return w;
}

static inline uint32_t tcp_index(const struct tcp_conn *tc)
{
    return (uint32_t)(tc - tc->net->conns);
}
static inline bool tcp_is6(const struct tcp_conn *tc)
{
    return tc->flags & TF_V6;
}
static inline struct ip_addr tcp_peer_ip(const struct tcp_conn *tc)
{
    return tcp_is6(tc) ? tc->cold->peer6 : ip_from_v4(tc->key.peer_ip);
}
static inline struct ip_addr tcp_local_ip(const struct tcp_conn *tc)
{
    return tcp_is6(tc) ? tc->net->ip6.local[tc->key.local_ip].addr : ip_from_v4(tc->key.local_ip);
}
static inline uint32_t tcp_ip_bytes(const struct tcp_conn *tc)
{
    return tcp_is6(tc) ? 40 : 20;
}
/* The first `n` bytes of our headers. */
static inline void tcp_headers6(const struct tcp_conn *tc, uint8_t *frame, unsigned n)
{
    const struct tcp_cold *c = tc->cold;
    unsigned front = c->l2_len + (unsigned)offsetof(struct ip6_hdr, src);
    memcpy(frame, c->tmpl, front);
    ip_store(frame + front, tc->net->ip6.local[tc->key.local_ip].addr);
    ip_store(frame + front + 16, c->peer6);
    memcpy(frame + front + 32, c->tmpl + front, n - front - 32);
}
static inline uint32_t tcp_flight(const struct tcp_conn *tc)
{
    return tc->snd_nxt - tc->snd_una;
}
/* Bytes taken to be in the network: RFC 6675's pipe. */
static inline uint32_t tcp_pipe(const struct tcp_conn *tc)
{
    return tc->snd_nxt - tc->snd_una - tc->cold->lost_bytes - tc->cold->sacked_bytes;
}
static inline bool tcp_fin_acked(const struct tcp_conn *tc)
{
    return (tc->flags & TF_FIN_SENT) && tc->snd_una == tc->snd_nxt;
}
static inline void tcp_mark_in(struct net *net, struct tcp_conn *tc)
{
    if (!(tc->flags & TF_DIRTY)) {
        tc->flags |= TF_DIRTY;
        net->dirty[net->dirty_count++] = tc;
    }
}
static inline void tcp_mark(struct tcp_conn *tc)
{
    tcp_mark_in(tc->net, tc);
}
static inline void tcp_ack_now(struct tcp_conn *tc)
{
    tc->flags |= TF_ACK_NOW;
    tcp_mark(tc);
}
/* RFC 7323 7.1: an offset per connection; of the flow's hash, so that it is known before there is a record. */
static inline uint32_t tcp_ts_offset(uint64_t flow_hash)
{
    return (uint32_t)(flow_hash >> 24) * 2654435761u;
}
/* RFC 7323 4.1: a millisecond clock, offset per connection (7.1). */
static inline uint32_t tcp_ts_now(const struct tcp_conn *tc)
{
    return tc->net->now_ms + tc->cold->ts_offset;
}

/* ---- tcp_trace.c ---- */
/* Only while net->trace.ring is there. Time, connection and state are filled in. */
void tcp_trace_put(struct tcp_conn *tc, struct tcp_event e);
/* A connection ends by an error: a copy of its events. */
void tcp_trace_keep(struct tcp_conn *tc, int err);
static inline bool tcp_traced(const struct tcp_conn *tc)
{
    return tc->net->trace.ring != NULL;
}
static inline void tcp_trace(struct tcp_conn *tc, enum tcp_event_kind kind, uint8_t what,
                             uint32_t wnd)
{
    if (tcp_traced(tc))
        tcp_trace_put(tc, (struct tcp_event){.kind = (uint8_t)kind,
                                             .what = what,
                                             .seq = tc->snd_una,
                                             .ack = tc->snd_nxt,
                                             .wnd = wnd});
}
static inline void tcp_trace_in(struct tcp_conn *tc, const struct tcp_seg *seg)
{
    if (tcp_traced(tc))
        tcp_trace_put(tc, (struct tcp_event){.kind = TR_IN,
                                             .flags = seg->flags,
                                             .seq = seg->seq,
                                             .ack = seg->ack,
                                             .wnd = seg->wnd << tc->snd_wscale,
                                             .len = (uint16_t)seg->len,
                                             .sack_n = seg->sack_n});
}
/* After its headers were built: the window is the one they tell. */
static inline void tcp_trace_out(struct tcp_conn *tc, bool again, uint8_t flags, uint32_t seq,
                                 uint32_t len, unsigned sack_n)
{
    if (tcp_traced(tc))
        tcp_trace_put(tc, (struct tcp_event){.kind = again ? TR_AGAIN : TR_OUT,
                                             .flags = flags,
                                             .seq = seq,
                                             .ack = tc->rcv_nxt,
                                             .wnd = tc->rcv_edge - tc->rcv_nxt,
                                             .len = (uint16_t)len,
                                             .sack_n = (uint8_t)sack_n});
}
static inline void tcp_trace_drop(struct tcp_conn *tc, enum tcp_drop why, uint32_t seq)
{
    if (tcp_traced(tc))
        tcp_trace_put(tc, (struct tcp_event){.kind = TR_DROP, .what = (uint8_t)why, .seq = seq});
}
static inline void tcp_state_set(struct tcp_conn *tc, enum tcp_state state)
{
    uint8_t was = tc->state;
    tc->state = (uint8_t)state;
    tcp_trace(tc, TR_STATE, was, 0);
}

/* ---- tcp_conn.c ---- */
/* peer: counts for an IPv6 key only. */
struct tcp_conn *tcp_conn_new(struct net *net, const struct flow_key *key, uint64_t hash,
                              struct ip_addr peer);
void tcp_conn_template(struct tcp_conn *tc, const uint8_t *mac);
void tcp_conn_established(struct tcp_conn *tc);
/* The connection is gone: out of the table, queues freed; the record goes at tcp_reap. notify: the
 * application hears `closed` (or `connected`) with err then. */
void tcp_conn_kill(struct tcp_conn *tc, int err, bool notify);
void tcp_conn_reset(struct tcp_conn *tc, int err, bool notify); /* the same with a RST */
void tcp_conn_time_wait(struct tcp_conn *tc);
void tcp_reap_later(struct tcp_conn *tc);
void tcp_reap(struct net *net);
uint32_t tcp_isn(const struct net *net, const struct flow_key *key, struct ip_addr peer);
void tcp_conns_free(struct net *net);

/* ---- tcp_opt.c ---- */
struct tcp_syn_opts {
    uint16_t mss; /* 0: absent */
    uint8_t wscale;
    bool has_wscale, has_ts, sack_ok;
};
/* Walks the options; false: they lie. Fills seg's timestamp, and *syn when not NULL. */
bool tcp_opt_parse(struct tcp_seg *seg, struct tcp_syn_opts *syn);
/* Smallest shift that lets 16 bits tell a window of that many bytes (RFC 7323 2.2). */
uint8_t tcp_opt_wscale(uint32_t bytes);
struct tcp_syn_out { /* the options of a SYN or SYN-ACK */
    uint16_t mss;
    uint8_t wscale;
    bool has_wscale, has_ts, sack;
    uint32_t tsval, tsecr;
};
unsigned tcp_opt_write(const struct tcp_syn_out *o, uint8_t *p);
/* RFC 6691: the MSS option ignores options; both fixed headers count. */
uint16_t tcp_opt_mtu_mss(const struct net *net, bool v6);
/* What a peer's MSS option (0: it sent none) comes to. */
uint16_t tcp_opt_peer_mss(const struct net *net, uint16_t mss, bool v6);
/* first: what a SYN offers; else what was agreed on. */
unsigned tcp_opt_write_syn(const struct tcp_conn *tc, uint8_t *p, bool first);
/* What a SYN's options settle: MSS, scale, timestamps, SACK. */
void tcp_opt_negotiate(struct tcp_conn *tc, const struct tcp_seg *seg,
                       const struct tcp_syn_opts *opts);

/* ---- tcp_seg.c ---- */
static inline void tcp_seg_fill(struct tcp_seg *seg, const struct tcp_hdr *th, uint32_t len,
                                uint32_t doff)
{
    seg->th = th;
    seg->data = (const uint8_t *)th + doff;
    seg->len = len - doff;
    seg->seq = from_be32(th->seq);
    seg->ack = from_be32(th->ack);
    seg->wnd = from_be16(th->wnd);
    seg->flags = th->flags;
    seg->doff = (uint8_t)doff;
    seg->key.peer_port = from_be16(th->sport);
    seg->key.local_port = from_be16(th->dport);
}
/* Header, ports and checksum of a segment; l3: the checked IP header of either family. False: dropped
 * and counted. Options are not looked at. */
bool tcp_seg_check(struct net *net, const struct rte_mbuf *m, const uint8_t *l3, const uint8_t *p,
                   uint32_t len, struct tcp_seg *seg);
static inline struct ip_addr tcp_seg_peer(const struct tcp_seg *seg)
{
    return seg->v6 ? seg->peer6 : ip_from_v4(seg->key.peer_ip);
}

/* ---- tcp_input.c, tcp_open.c, tcp_ack.c, tcp_reass.c ---- */
void tcp_input(struct net *net, struct tcp_seg *seg);
void tcp_listen_input(struct net *net, struct tcp_seg *seg);
void tcp_syn_sent_input(struct tcp_conn *tc, struct tcp_seg *seg);
/* The ACK that completes a handshake; false: the connection is not open. */
bool tcp_syn_rcvd_ack(struct tcp_conn *tc, struct tcp_seg *seg);
/* RFC 9293 3.10.7.4 step five. False: stop processing the segment. */
bool tcp_ack_input(struct tcp_conn *tc, const struct tcp_seg *seg);
/* ACK-dependent work of the fast path: seg->ack > snd_una, window unchanged. */
void tcp_ack_advance(struct tcp_conn *tc, const struct tcp_seg *seg);
void tcp_ack_writable(struct tcp_conn *tc);
/* In-order or not: delivers, keeps or drops; fin: the segment's last octet is followed by FIN. */
void tcp_text_input(struct tcp_conn *tc, uint32_t seq, const uint8_t *p, uint32_t len, bool fin);
/* Text that was received before came again (RFC 2883). */
void tcp_dup_text(struct tcp_conn *tc, uint32_t seq, uint32_t len);
void tcp_ooo_free(struct tcp_conn *tc);
/* Throws out-of-order data away, which a receiver may (RFC 2018 8): that of the connection that has had some for longest, `but` it. False:
 * there is none. */
bool tcp_ooo_prune_oldest(struct net *net, const struct tcp_conn *but);
void tcp_ooo_done_free(struct net *net);
void tcp_challenge_ack(struct tcp_conn *tc);

/* ---- tcp_queue.c ---- */
/* Removes what seg->ack covers. *sent_ns: when the last segment that this ACK, and no SACK before it,
 * covers wholly was sent; 0 if none or if one of them was retransmitted. Returns data bytes removed. */
uint32_t tcp_queue_ack(struct tcp_conn *tc, const struct tcp_seg *seg, uint64_t *sent_ns);
/* Cuts a segment: it keeps the first n bytes, a new one behind it takes the rest. */
bool tcp_queue_split(struct tcp_conn *tc, struct tx_seg *s, uint16_t n);
/* The last segment, acknowledged and nobody else's any more, is the first of the next flight: what is asked now is answered in it. */
static inline void tx_seg_again(struct tcp_conn *tc, struct tx_seg *s)
{
    tx_seg_clear(s);
    tc->q_unsent = s; /* head and tail as well */
}
/* The output pass: such a segment that stayed empty is dropped. */
void tcp_queue_trim(struct tcp_conn *tc);
/* Gives back a segment that has left the queue. */
void tcp_queue_drop(struct tcp_conn *tc, struct tx_seg *s);
void tcp_queue_free(struct tcp_conn *tc);
void tcp_queue_mark_lost(struct tcp_conn *tc, bool all);
void tcp_queue_mark_fin_lost(struct tcp_conn *tc);

/* ---- tcp_pressure.c ---- */
/* First step of an output pass while something is to be done about memory. */
void tcp_pressure_pass(struct net *net);

/* ---- pmtu.c ---- */
/* Timeouts in a row of a large segment: perhaps a router swallows it and says nothing (RFC 4821 7.7 in short). */
void tcp_pmtu_blackhole(struct tcp_conn *tc);
/* Segments are bounded by number as well as by bytes; after a change of mss. */
void tcp_mss_set(struct tcp_conn *tc, uint16_t mss);

/* ---- tcp_output.c ---- */
/* False: the wire or the pool is full, come again. */
bool tcp_output(struct tcp_conn *tc);
/* The same for each connection in net->dirty; returns frames that had to make room meanwhile. */
unsigned tcp_output_dirty(struct net *net);

/* ---- tcp_frame.c ---- */
/* Headers in front of the `len` octets at buf_addr + off; port: their sum is the port's. */
void tcp_build(struct tcp_conn *tc, struct rte_mbuf *m, unsigned off, uint32_t len, uint32_t seq,
               uint32_t flags, bool port);

/* ---- tcp_bare.c ---- */
void tcp_send_rst(struct tcp_conn *tc);
/* An ACK of what was received up to now, ahead of the output pass; left out when there is no room. */
void tcp_send_ack(struct tcp_conn *tc);

/* ---- tcp_tso.c ---- */
/* Sends segments from *ps on, which was never sent, as one packet with sequence number seq; `room`: octets that the windows allow.
 * Returns the octets sent, and in *ps the last segment; 0: the first must go alone. */
uint32_t tcp_tso_send(struct tcp_conn *tc, struct tx_seg **ps, uint32_t seq, uint32_t room);

/* ---- tcp_reply.c: answers without a connection ---- */
/* RFC 9293 3.10.7.1: the reset for a segment that belongs to no connection. */
void tcp_send_rst_for(struct net *net, const struct tcp_seg *seg);
/* A segment in answer to seg: the caller writes numbers, flags, window, and opt_len bytes of options. NULL: no buffer. */
struct tcp_hdr *tcp_reply_new(struct net *net, const struct tcp_seg *seg, struct rte_mbuf **ret_m);
/* Lengths, checksum, addresses; mac NULL: the neighbour table finds the way. */
void tcp_reply_send(struct net *net, const struct tcp_seg *seg, const uint8_t *mac,
                    struct rte_mbuf *m, struct tcp_hdr *th, unsigned opt_len);

/* ---- tcp_cookie.c ---- */
/* Answers a SYN and keeps nothing of it. mac: as tcp_reply_send. */
void tcp_cookie_send(struct net *net, const struct tcp_seg *seg, const struct tcp_syn_opts *opts,
                     const uint8_t *mac);
/* seg is an ACK of no connection: does it bring back a cookie? True: *opts and *ret_ecn are what its SYN had. */
bool tcp_cookie_open(struct net *net, struct tcp_seg *seg, struct tcp_syn_opts *opts,
                     bool *ret_ecn);

/* ---- tcp_timer.c ---- */
/* Moves the wheel entry forward to at_ns. */
void tcp_timer_hasten(struct tcp_conn *tc, uint64_t at_ns);
static inline void tcp_timer_set_at(struct tcp_conn *tc, struct tcp_cold *c, enum tcp_timer t,
                                    uint64_t at_ns)
{
    c->deadline_ns[t] = at_ns;
    if (unlikely_(at_ns < c->timer_ns))
        tcp_timer_hasten(tc, at_ns);
}
static inline void tcp_timer_set(struct tcp_conn *tc, enum tcp_timer t, uint64_t at_ns)
{
    tcp_timer_set_at(tc, tc->cold, t, at_ns);
}
static inline void tcp_timer_clear(struct tcp_conn *tc, enum tcp_timer t)
{
    tc->cold->deadline_ns[t] = UINT64_MAX;
}
void tcp_timers_run(struct net *net);
#define TCP_RTT_SHIFT 10
void tcp_rtt_sample(struct tcp_conn *tc, uint64_t rtt_ns);
/* RTO from SRTT and RTTVAR, RFC 6298 2.3. */
void tcp_rto_from_rtt(struct tcp_conn *tc);
/* RFC 6298 2.3 with alpha 1/8 and beta 1/4, in Jacobson's scaled integers; not the first sample. */
static inline void tcp_rtt_smooth(struct tcp_cold *c, uint32_t r)
{
    int32_t err = (int32_t)(r - (c->srtt_x8 >> 3));
    c->srtt_x8 += (uint32_t)err;
    c->rttvar_x4 += (uint32_t)((err < 0 ? -err : err) - (int32_t)(c->rttvar_x4 >> 2));
}
void tcp_rtt_init(struct tcp_conn *tc);
/* RFC 6298 2.3 and 5.5: with its back-off. */
static inline uint64_t tcp_rto_ns(const struct tcp_conn *tc)
{
    return tc->cold->rto_ns;
}
/* After a change of rto_u or backoff. */
void tcp_rto_update(struct tcp_conn *tc);
void tcp_keepalive_start(struct tcp_conn *tc);

/* ---- text in order ---- */

/* RFC 9293 3.8.6.3: an ACK for at least every second full segment, else within delayed_ack_ms. The output
 * pass sends the first, and starts the timer where no reply of this turn has carried the other. */
static inline void tcp_schedule_ack(struct net *net, struct tcp_conn *tc)
{
    uint32_t was = tc->flags;
    tc->flags = was | TF_ACK_DELAYED | TF_DIRTY;
    if (unlikely_(tc->rcv_nxt - tc->rcv_acked >= 2u * tc->rcv_mss))
        tc->flags |= TF_ACK_NOW;
    if (!(was & TF_DIRTY))
        net->dirty[net->dirty_count++] = tc;
}
/* The next octets in order: counts, schedules the ACK, calls `received`. */
static inline void tcp_deliver(struct net *net, struct tcp_conn *tc, const uint8_t *p, uint32_t len)
{
    if (unlikely_(len > tc->rcv_mss)) /* or several, put together on their way */
        tc->rcv_mss = (uint16_t)(len > net->cfg.mtu - 40u ? net->cfg.mtu - 40u : len);
    tc->rcv_nxt += len;
    tcp_schedule_ack(net, tc);
    net->app.received(tc->cookie, p, len);
}
