/* tcp_cookie: SYN cookies (RFC 4987 3.6): over the half-open cap a SYN is answered without keeping anything of it. What the
 * connection will need stands in what the peer must send back:
 *
 *     our sequence number   | MAC 27 bits                  | epoch 2 | MSS class 3 |
 *     our timestamp         | milliseconds, the lower 6 bits of them: | ECN 1 | SACK 1 | scale 4 |
 *
 * The MAC is SipHash-2-4 over addresses, ports, the peer's sequence number, the epoch (68.7 s; this and the last one count) and the class,
 * under a key of its own: an ACK whose number was guessed opens a connection once in 2^27. The peer's options come back only in a
 * timestamp; without one the connection has neither scale, SACK nor ECN. The timestamp is rounded down, so it never runs ahead of
 * the connection's clock. Its lower bits are not signed: who changes them changes his own options.
 *
 *   tcp_listen_input, half-open cap reached: tcp_cookie_send
 *   tcp_listen_input, an ACK of no connection: tcp_cookie_open -> a record in SYN-RECEIVED, as if it had waited
 * Thread: the worker's. */
#include "dataplane/net/tcp_internal.h"
#include "engine/base/siphash.h"

#define EPOCH_SHIFT  36 /* of nanoseconds */
#define CLASS_BITS   3
#define EPOCH_BITS   2
#define MAC_SHIFT    (CLASS_BITS + EPOCH_BITS)
#define TS_BITS      6
#define TS_NO_SCALE  15u
#define TS_SACK      (1u << 4)
#define TS_ECN       (1u << 5)
#define ECHO_LATE_MS (2u << (EPOCH_SHIFT - 20)) /* no cookie is that old */

/* What peers say (RFC 9293 3.7.1, 6691): the floor, the defaults of both families, tunnels, Ethernet, jumbo frames. */
static const uint16_t mss_class[1 << CLASS_BITS] = {
    LIMIT_TCP_MSS_MIN, 536, 1220, 1360, 1400, 1440, 1460, 8900};

static unsigned class_of(uint16_t mss)
{
    unsigned i = 0;
    while (i + 1 < ARRAY_LEN(mss_class) && mss_class[i + 1] <= mss)
        i++;
    return i;
}

static uint32_t cookie(const struct net *net, const struct tcp_seg *seg, uint32_t irs,
                       uint64_t epoch, unsigned class)
{
    struct {
        struct ip_addr peer;
        uint64_t epoch;
        struct flow_key key;
        uint32_t irs, class, zero;
    } in = {seg->peer6, epoch, seg->key, irs, class, 0};
    static_assert(sizeof(in) == 48, "no padding is hashed");
    uint32_t mac = (uint32_t)(siphash24(&net->keys->cookie, &in, sizeof(in)) >> 37);
    return mac << MAC_SHIFT | (uint32_t)(epoch & ((1 << EPOCH_BITS) - 1)) << CLASS_BITS | class;
}

static uint32_t clock_for(const struct net *net, uint64_t hash)
{
    return net->now_ms + tcp_ts_offset(hash);
}

/* The connection's clock with the options in its lower bits, not ahead of it. */
static uint32_t cookie_tsval(const struct net *net, uint64_t hash, uint32_t bits)
{
    uint32_t now = clock_for(net, hash), ts = (now & ~((1u << TS_BITS) - 1)) | bits;
    return seq_lt(now, ts) ? ts - (1u << TS_BITS) : ts;
}

void tcp_cookie_send(struct net *net, const struct tcp_seg *seg, const struct tcp_syn_opts *opts,
                     const uint8_t *mac)
{
    struct rte_mbuf *m;
    struct tcp_hdr *th = tcp_reply_new(net, seg, &m);
    if (!th) {
        STAT_INC(net->stats->drop_tcp_backlog);
        return;
    }
    bool ts = opts->has_ts, sack = ts && opts->sack_ok && !net->cfg.no_sack;
    bool ecn = ts && (seg->flags & (TH_ECE | TH_CWR)) == (TH_ECE | TH_CWR) && !net->cfg.no_ecn;
    uint32_t bits = opts->has_wscale ? opts->wscale : TS_NO_SCALE;
    bits |= (sack ? TS_SACK : 0) | (ecn ? TS_ECN : 0);
    unsigned class = class_of(tcp_opt_peer_mss(net, opts->mss, seg->v6));
    uint32_t buf = net->cfg.rcv_buf_bytes;
    th->seq = be32(cookie(net, seg, seg->seq, net->now_ns >> EPOCH_SHIFT, class));
    th->ack = be32(seg->seq + 1);
    th->flags = TH_SYN | TH_ACK | (ecn ? TH_ECE : 0);
    th->wnd = be16(buf < 0xffff ? (uint16_t)buf : 0xffff);
    struct tcp_syn_out o = {.mss = tcp_opt_mtu_mss(net, seg->v6),
                            .has_wscale = ts && opts->has_wscale,
                            .wscale = tcp_opt_wscale(buf),
                            .has_ts = ts,
                            .tsval = cookie_tsval(net, seg->hash, bits),
                            .tsecr = seg->tsval,
                            .sack = sack};
    unsigned n = tcp_opt_write(&o, (uint8_t *)(th + 1));
    net->cookie_ns = net->now_ns;
    STAT_INC(net->stats->tcp_syncookies_sent);
    tcp_reply_send(net, seg, mac, m, th, n);
}

/* Is this the number that we sent for it? Returns the MSS class, or -1. */
static int cookie_class(const struct net *net, const struct tcp_seg *seg)
{
    uint32_t c = seg->ack - 1;
    unsigned class = c & ((1 << CLASS_BITS) - 1);
    uint64_t epoch = net->now_ns >> EPOCH_SHIFT;
    uint32_t age = (uint32_t)(epoch - (c >> CLASS_BITS)) & ((1 << EPOCH_BITS) - 1);
    if (age > 1 || age > epoch || cookie(net, seg, seg->seq - 1, epoch - age, class) != c)
        return -1;
    return (int)class;
}

bool tcp_cookie_open(struct net *net, struct tcp_seg *seg, struct tcp_syn_opts *opts, bool *ret_ecn)
{
    if (!net->cookie_ns || net->now_ns - net->cookie_ns > 2ull << EPOCH_SHIFT ||
        (seg->flags & (TH_SYN | TH_RST | TH_ACK)) != TH_ACK)
        return false;
    int class = tcp_opt_parse(seg, NULL) ? cookie_class(net, seg) : -1;
    uint32_t bits = seg->has_ts ? seg->tsecr & ((1u << TS_BITS) - 1) : TS_NO_SCALE;
    if (class < 0 || (seg->has_ts && clock_for(net, seg->hash) - seg->tsecr > ECHO_LATE_MS)) {
        STAT_INC(net->stats->tcp_syncookies_failed);
        return false;
    }
    uint8_t scale = bits & 15;
    *opts = (struct tcp_syn_opts){.mss = mss_class[class],
                                  .has_ts = seg->has_ts,
                                  .has_wscale = scale != TS_NO_SCALE,
                                  .wscale = scale != TS_NO_SCALE ? scale : 0,
                                  .sack_ok = bits & TS_SACK};
    *ret_ecn = bits & TS_ECN;
    STAT_INC(net->stats->tcp_syncookies_recv);
    return true;
}
