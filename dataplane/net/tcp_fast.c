/* tcp_fast: a burst of frames, and the segment that a connection expects.
 *
 *   net_burst: prefetch -> compare headers, hash all -> guess records -> input_fast each; what that
 *              declines: net_frame_general, where each thing is looked at and counted by its own reason
 *
 * input_fast is the header prediction of RFC 7323's appendix and of every stack since: an open connection
 * without trouble, the next segment in order, ACK and perhaps PSH. It decides without a side effect, so
 * that the general way may begin anew. Thread: the worker's. */
#include <rte_mempool.h>
#include <rte_prefetch.h>
#if defined(__SSE4_1__)
#include <smmintrin.h>
#endif

#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_internal.h"
#include "engine/shard/config.h"

#define TS_HEAD  0x0a080101 /* NOP NOP 8 10 as a load: RFC 7323 appendix A */

/* Offsets in an untagged frame; `p` points 14 bytes in front of the IP header, tagged or not. */
#define AT_IP    14
#define AT_TOTAL 16
#define AT_FRAG  20
#define AT_ADDRS 26
#define AT_PORTS 34
#define AT_SEQ   38
#define AT_ACK   42
#define AT_OFF   46
#define AT_WND   48
#define AT_OPT   54

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}
static inline uint16_t load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}
static inline uint32_t get_be32(const uint8_t *p)
{
    return from_be32((be32_t){load32(p)});
}
static inline uint32_t get_be16(const uint8_t *p)
{
    return from_be16((be16_t){load16(p)});
}

/* ---- the acknowledgment ---- */

/* tcp_rtt_sample where the RTO is at its floor and stays there, as it does in a datacenter. */
static inline __attribute__((always_inline)) void rtt_sample(struct tcp_conn *tc,
                                                             struct tcp_cold *c, uint64_t rtt_ns)
{
    uint64_t u = rtt_ns >> TCP_RTT_SHIFT;
    if (likely_(u < c->rtt_floor_u))
        tcp_rtt_smooth(c, (uint32_t)u + 1);
    else
        tcp_rtt_sample(tc, rtt_ns);
}

/* The common ACK, of exactly the first segment in flight, sent once. False: not that. text: the same
 * segment brings some. */
static inline __attribute__((always_inline)) bool
ack_one(struct tcp_conn *tc, struct net *net, struct tcp_cold *c, uint32_t ack, bool text)
{
    struct tx_seg *s = tc->q_head;
    if (unlikely_(!s || s->flags != TXS_SENT || s->seq + s->len != ack ||
                  (tc->flags & TF_CWND_FULL)))
        return false;
    struct tx_seg *next = s->next;
    tc->tx_queued -= s->len;
    tc->snd_una = ack;
    c->rtx = NULL; /* the next search for what is lost begins at the head */
    c->rtx_since_ns = 0;
    rtt_sample(tc, c, net->now_ns - s->sent_ns);
    if (!next) { /* RFC 6298 5.2: all is acknowledged */
        c->deadline_ns[TT_REXMIT] = UINT64_MAX;
        if (likely_(text && rte_mbuf_refcnt_read(s->m) == 1)) {
            tx_seg_again(tc, s); /* for the answer; the output pass drops it if there is none */
            return true;
        }
        tc->q_tail = NULL;
    }
    tc->q_head = next;
    c->q_segs--;
    net->q_segs--;
    net_free_segment(net, s->m);
    if (!next)
        return true;
    if (ack == tc->snd_nxt)
        c->deadline_ns[TT_REXMIT] = UINT64_MAX;
    else /* 5.3 */
        tcp_timer_set(tc, TT_REXMIT, net->now_ns + c->rto_ns);
    if (tc->q_unsent)
        tcp_mark(tc);
    return true;
}

/* Any other ACK of new data in a segment that is expected. */
static __attribute__((noinline)) void ack_other(struct tcp_conn *tc, const uint8_t *p, uint32_t ack)
{
    struct tcp_seg seg = {.ack = ack, .has_ts = tc->flags & TF_TS};
    if (seg.has_ts)
        seg.tsecr = get_be32(p + AT_OPT + 8);
    tcp_ack_advance(tc, &seg);
}

/* A new window in a segment that is expected. */
static inline __attribute__((always_inline)) void
take_window(struct tcp_conn *tc, struct tcp_cold *c, uint32_t wnd, bool text)
{
    if (wnd > c->snd_wnd_max)
        c->snd_wnd_max = wnd;
    tc->snd_wnd = wnd;
    if (!text && tc->q_unsent) /* who has text to deliver marks it there */
        tcp_mark(tc);
}

/* ---- the segment ---- */

/* Both checksums of a plain frame. The addresses stand in front of the TCP header, so one pass sums them
 * with it. The pseudo header's TCP length is the packet's less 20, which one's complement lets us take
 * from the field as it stands on the wire. */
static inline __attribute__((always_inline)) bool
checksums_ok(struct net *net, const struct rte_mbuf *m, const uint8_t *p, uint32_t total)
{
    uint64_t pseudo = (uint64_t)load16(p + AT_TOTAL) +
                      (uint16_t)(be16(IP_PROTO_TCP).raw + (0xffff - be16(20).raw));
    if (unlikely_(!csum_good(csum_ip4_20(p + AT_IP))))
        return false;
    if (net->wire.rx_checksum) {
        int whole = offload_rx_told(net, m->ol_flags);
        if (whole >= 0)
            return whole;
    }
    uint32_t n = total - 12;
    return csum_good(likely_(n <= CSUM_SHORT) ? csum_short(p + AT_ADDRS, n, pseudo)
                                              : csum_add(p + AT_ADDRS, n, pseudo));
}

/* What must hold of the record, in one compare of the eight bytes from `state` on. */
#define FAST_TROUBLE (TF_APP_CLOSED | TF_RECOVERY | TF_LOSS | TF_CARE | TF_ECE | TF_TRACE)
#define FAST_MASK    TCP_STATE_WORD(0xff | TCP_STATE_WORD_DUPACKS, FAST_TROUBLE | TF_TS)

/* A segment that may be just what tc expects next, in a frame that net_plain_tcp and the key let pass;
 * lengths and checksums are looked at here. False: it is not, and nothing has happened. */
static inline __attribute__((always_inline)) bool
input_at(struct net *net, struct tcp_conn *tc, const struct rte_mbuf *m, const uint8_t *p, bool ts)
{
    const uint32_t doff = ts ? 32 : 20;
    struct tcp_cold *c = tc->cold;
    uint32_t total = get_be32(p + AT_TOTAL) >> 16, len = total - 20 - doff;
    uint32_t rcv_nxt = tc->rcv_nxt, una = tc->snd_una, tsval = 0;

    /* The whole segment, of the length that its options ask for; ACK and perhaps PSH; next in order; text
     * inside our window (a packet shorter than its headers has a length beyond any); an ACK inside the
     * flight, of new data or with data; a window of the peer's that is open and stays so. */
    if (unlikely_((load16(p + AT_OFF) & ~(TH_PSH << 8)) != (TH_ACK << 8 | doff << 2) ||
                  total + net->rx_l2_len > m->data_len || get_be32(p + AT_SEQ) != rcv_nxt ||
                  len > tc->rcv_edge - rcv_nxt || tc->ooo_bytes))
        return false;
    uint32_t ack = get_be32(p + AT_ACK), wnd = get_be16(p + AT_WND) << tc->snd_wscale;
    if (unlikely_(ack - una > tc->snd_nxt - una || !((ack - una) | len) || !wnd || !tc->snd_wnd))
        return false;
    if (ts) {
        tsval = get_be32(p + AT_OPT + 4);
        if (unlikely_(load32(p + AT_OPT) != TS_HEAD || seq_lt(tsval, tc->ts_recent)))
            return false;
    }
    if (unlikely_(!checksums_ok(net, m, p, total)))
        return false;

    const uint64_t now = net->now_ns;
    c->last_rx_ns = now;
    if (ts && rcv_nxt == tc->rcv_acked) { /* take_timestamp */
        tc->ts_recent = tsval;
        c->ts_recent_ns = now;
    }
    if (ack != una && unlikely_(!ack_one(tc, net, c, ack, len)))
        ack_other(tc, p, ack);
    if (wnd != tc->snd_wnd)
        take_window(tc, c, wnd, len);
    tc->snd_wl1 = rcv_nxt;
    tc->snd_wl2 = ack;
    if (len)
        tcp_deliver(net, tc, p + AT_IP + 20 + doff, len);
    if (unlikely_(tc->flags & TF_WANT_WRITE))
        tcp_ack_writable(tc);
    return true;
}

static __attribute__((noinline)) bool input_no_ts(struct net *net, struct tcp_conn *tc,
                                                  const struct rte_mbuf *m, const uint8_t *p)
{
    return input_at(net, tc, m, p, false);
}

static inline __attribute__((always_inline)) bool
input_fast(struct net *net, struct tcp_conn *tc, const struct rte_mbuf *m, const uint8_t *p)
{
    uint64_t word = tcp_state_word(tc) & FAST_MASK;
    if (likely_(word == TCP_STATE_WORD(TCP_ESTABLISHED, TF_TS)))
        return input_at(net, tc, m, p, true);
    return word == TCP_STATE_WORD(TCP_ESTABLISHED, 0) && input_no_ts(net, tc, m, p);
}

/* ---- the burst ---- */

/* What the stages of a burst hand on about a frame. */
struct rx_frame {
    const uint8_t *p;
    const struct flow_bucket *bucket; /* nowhere: the general way */
    struct tcp_conn *guess;           /* a record that may be the frame's, or nobody's */
    struct flow_key key;
    uint8_t tag;
};

/* Set in a congestion mark (RFC 3168 5: CE is 3), and in ECT(1), which no stack of today sends. */
#define TOS_ODD 1u

/* What frames are compared with; the same for the whole burst. */
struct rx_want {
    uint32_t min_len;
    uint16_t vlan;
    const struct net *net;
    uint64_t mac_wide;
#if defined(__SSE4_1__)
    __m128i head, head_mask;
#endif
};

static inline void want_init(struct rx_want *w, const struct net *net)
{
    w->min_len = net->rx_l2_len + 40;
    w->vlan = net->cfg.vlan;
    w->net = net;
    w->mac_wide = net->mac_wide;
#if defined(__SSE4_1__)
    const uint8_t mask[16] = {[0] = 0xff, 0xff,        0xff, 0xff, 0xff,
                              0xff,       [12] = 0xff, 0xff, 0xff, TOS_ODD};
    uint8_t head[16] = {[12] = 0x08, 0x00, 0x45};
    memcpy(head, net->cfg.mac, 6);
    w->head_mask = _mm_loadu_si128((const __m128i *)(const void *)mask);
    w->head = _mm_loadu_si128((const __m128i *)(const void *)head);
#endif
}

static bool vlan_plain(const struct rx_want *w, const uint8_t *p)
{
    const struct vlan_hdr *vh = (const void *)(p + 10);
    const struct eth_hdr *eh = (const void *)(p - sizeof(*vh));
    return from_be16(eh->type) == ETH_TYPE_VLAN && (from_be16(vh->tci) & 0xfff) == w->vlan &&
           csum_load64((const uint8_t *)eh) << 16 == w->mac_wide &&
           (load32(p + 12) & (0xffffff | TOS_ODD << 24)) == 0x450008; /* 08 00 45 on the wire */
}

/* The port has taken the tag out; p: the frame. */
static __attribute__((noinline)) bool stripped_plain(const struct rx_want *w,
                                                     const struct rte_mbuf *m, const uint8_t *p)
{
    return w->net->off.rx_vlan == OFFLOAD_ON && m->data_len >= w->min_len && m->nb_segs == 1 &&
           (m->vlan_tci & 0xfff) == w->vlan && csum_load64(p) << 16 == w->mac_wide &&
           (load32(p + AT_FRAG) & 0xff00ff3f) == IP_PROTO_TCP << 24 &&
           (load32(p + 12) & (0xffffff | TOS_ODD << 24)) == 0x450008;
}

/* To our MAC, in our VLAN, IPv4 without options or fragments, TCP. The rest (lengths, checksums,
 * addresses, ports) is the business of who takes the frame. p: 14 bytes in front of what should be the
 * IP header. */
static inline __attribute__((always_inline)) bool
plain_tcp(const struct rx_want *w, bool vlan, const struct rte_mbuf *m, const uint8_t *p)
{
    const uint32_t frag_proto = IP_PROTO_TCP << 24, frag_proto_mask = 0xff00ff3f;
    if (unlikely_(m->data_len < w->min_len || (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED)))
        return stripped_plain(w, m, p);
    if (unlikely_((load32(p + AT_FRAG) & frag_proto_mask) != frag_proto))
        return false;
    if (vlan && w->vlan)
        return !w->net->wire.rx_vlan_strip && vlan_plain(w, p);
#if defined(__SSE4_1__)
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm_testz_si128(_mm_xor_si128(v, w->head), w->head_mask);
#else
    return ((csum_load64(p) << 16 ^ w->mac_wide) |
            ((load32(p + 12) ^ 0x450008) & (0xffffff | TOS_ODD << 24))) == 0;
#endif
}

/* Source and destination address and both ports stand in a row, in the order of struct flow_key. */
static inline void frame_key(const uint8_t *p, struct flow_key *key)
{
    uint64_t ips = __builtin_bswap64(csum_load64(p + AT_ADDRS));
    uint32_t ports = __builtin_bswap32(load32(p + AT_PORTS));
    ips = ips << 32 | ips >> 32;
    ports = ports << 16 | ports >> 16;
    memcpy(key, &ips, sizeof(ips));
    memcpy((uint8_t *)key + 8, &ports, sizeof(ports));
}

/* The record at hand was another's, with the same tag. */
static __attribute__((noinline)) struct tcp_conn *find_other(struct net *net,
                                                             const struct rx_frame *f)
{
    uint32_t index = flow_find(&net->flow, &f->key, flow_hash(&net->flow, &f->key));
    return index != FLOW_NONE ? &net->conns[index] : NULL;
}

static const struct flow_bucket nowhere; /* without an entry: no tag is 0 */
static struct tcp_conn nobody;           /* closed, of a key that no frame has; never written to */

/* Second stage: headers are compared, and the buckets of the connections asked for. Returns the bytes of all frames, of a
 * chain those of its first part, which may hold the whole packet.
 * odd: frames have a tag, or (chosen) not every source may come. */
static inline __attribute__((always_inline)) uint64_t
find_buckets(struct net *net, const struct rx_want *want, struct rx_frame *frames,
             struct rte_mbuf **pkts, uint16_t n, bool odd, bool chosen)
{
    uint64_t bytes = 0;
    for (struct rx_frame *f = frames, *end = frames + n; f != end; f++) {
        const struct rte_mbuf *m = *pkts++;
        bytes += m->data_len;
        if (unlikely_(!plain_tcp(want, odd, m, f->p)))
            goto general;
        frame_key(f->p, &f->key);
        if (chosen && !ip4_allowed(net, f->key.peer_ip))
            goto general;
        uint64_t hash = flow_hash(&net->flow, &f->key);
        f->tag = flow_tag(hash);
        f->bucket = flow_bucket(&net->flow, hash);
        rte_prefetch0(f->bucket);
        continue;
    general:
        f->bucket = &nowhere;
        f->tag = 1;
        f->key = nobody.key;
    }
    return bytes;
}

static __attribute__((noinline)) uint64_t
find_buckets_odd(struct net *net, const struct rx_want *want, struct rx_frame *frames,
                 struct rte_mbuf **pkts, uint16_t n, bool chosen)
{
    return find_buckets(net, want, frames, pkts, n, true, chosen);
}

void net_burst(struct net *net, struct rte_mbuf **pkts, uint16_t n)
{
    struct rx_frame frames[LIMIT_BURST_PKTS];
    struct rte_mbuf **held = net->held + net->held_count;
    struct rx_want want;
    uint32_t fast = n;
    uint64_t bytes;
    const struct engine_config *e = net->cfg.engine;
    bool chosen = e && (e->net_allow_count | e->net_allow6_count);
    unsigned tag = net->rx_l2_len - (unsigned)sizeof(struct eth_hdr);

    for (uint16_t i = 0; i < n; i++) {
        struct rte_mbuf *m = pkts[i];
        held[i] = m;
        frames[i].p = rte_pktmbuf_mtod(m, const uint8_t *) + tag;
        rte_prefetch0(frames[i].p);
    }
    net->held_count += n;
    want_init(&want, net);
    if (likely_(!(chosen | want.vlan)))
        bytes = find_buckets(net, &want, frames, pkts, n, false, false);
    else
        bytes = find_buckets_odd(net, &want, frames, pkts, n, chosen);
    STAT_ADD(net->stats->rx_pkts, n);
    STAT_ADD(net->stats->rx_bytes, bytes);
    for (uint16_t i = 0; i < n; i++) {
        struct rx_frame *f = &frames[i];
        unsigned found = flow_match(f->bucket, f->tag);
        if (unlikely_(!found)) {
            f->guess = &nobody;
            continue;
        }
        uint32_t index = f->bucket->index[(unsigned)__builtin_ctz(found)];
        f->guess = &net->conns[index];
        rte_prefetch0(f->guess);
        rte_prefetch0((const uint8_t *)f->guess + 64);
        rte_prefetch0(&net->cold[index].timer);
    }
    for (uint16_t i = 0; i < n; i++) {
        struct rx_frame *f = &frames[i];
        /* Compared now, not earlier: a segment before this one may have made or ended the record. An
         * open record with this key says that addresses and ports are good: it was made of them. */
        struct tcp_conn *tc = f->guess;
        if (unlikely_(!flow_key_equal(&tc->key, &f->key)) && !(tc = find_other(net, f)))
            goto general;
        if (likely_(input_fast(net, tc, pkts[i], f->p)))
            continue;
    general:
        STAT_ADD(net->stats->rx_bytes, pkts[i]->pkt_len - pkts[i]->data_len); /* of a chain */
        net_frame_general(net, pkts[i]);
        fast--;
    }
    STAT_ADD(net->stats->tcp_in_segs, fast);
}
