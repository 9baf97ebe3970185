/* pmtu: what ICMP errors and repeated silence say about the path of a connection (RFC 1191, RFC 8201, in short RFC 4821).
 *
 *   "too big" about a segment in flight -> mss lowered -> segments that no longer fit count as lost, are cut and sent again (tcp_output.c)
 *
 * An ICMP error is easily forged, so (RFC 5927): it must quote one of our connections and a sequence number in flight; the MTU must be
 * less than the packet that it quotes and not below what any path has; a connection obeys a bounded number; and no error ever ends
 * one: those other than "too big" are soft (RFC 5927 4.2, 5461 4.1), retransmission sees to what is really broken. The MSS is not
 * raised again (RFC 1191 6.3 asks for ten minutes at least). Thread: the worker's. */
#include "dataplane/net/tcp_internal.h"

#define MTU_LEAST_4 \
    552 /* RFC 791 says 68; less than this no path has, and it would cost a packet a few bytes */
#define MTU_LEAST_6       1280 /* RFC 8200 5 */
#define MTU_BASE_4        1024 /* RFC 4821 7.2 */
#define BLACKHOLE_BACKOFF 5    /* timeouts in a row */

void tcp_mss_set(struct tcp_conn *tc, uint16_t mss)
{
    tc->mss = mss;
    /* Small segments in flight hold a whole mbuf each: they are bounded by number as well. */
    tc->cold->q_segs_max = 32 + 4 * (tc->net->cfg.snd_buf_bytes / mss);
}

/* The next lower MTU that networks have, for routers that tell none (RFC 1191 7.1). */
static uint32_t plateau_below(uint32_t bytes)
{
    static const uint16_t plateaus[] = {8166, 4352, 2002, 1492, 1006, MTU_LEAST_4};
    for (unsigned i = 0; i < ARRAY_LEN(plateaus); i++)
        if (plateaus[i] < bytes)
            return plateaus[i];
    return MTU_LEAST_4;
}

/* False: it is not lower. */
static bool lower(struct tcp_conn *tc, uint32_t mtu)
{
    struct tcp_cold *c = tc->cold;
    uint32_t headers =
        tcp_ip_bytes(tc) + (uint32_t)sizeof(struct tcp_hdr) + (tc->flags & TF_TS ? 12u : 0u);
    if (mtu - headers >= tc->mss)
        return false;
    tcp_mss_set(tc, (uint16_t)(mtu - headers));
    for (struct tx_seg *s = tc->q_head; s; s = s->next) {
        if (s->len <= tc->mss)
            continue;
        if (!(s->flags & TXS_SENT)) {
            tc->flags |= TF_SPLIT;
        } else if (!(s->flags & (TXS_LOST | TXS_SACKED))) { /* it cannot have arrived */
            s->flags |= TXS_LOST;
            c->lost_bytes += s->len;
        }
    }
    c->rtx = NULL;
    tcp_mark(tc);
    return true;
}

void tcp_pmtu_blackhole(struct tcp_conn *tc)
{
    const struct tx_seg *s = tc->q_head;
    uint32_t base = tcp_is6(tc) ? MTU_LEAST_6 : MTU_BASE_4;
    if (tc->cold->backoff < BLACKHOLE_BACKOFF || !s ||
        s->len + tcp_ip_bytes(tc) + sizeof(struct tcp_hdr) <= base)
        return;
    if (lower(tc, base))
        STAT_INC(tc->net->stats->tcp_pmtu_blackhole);
}

/* What an error quotes: the start of a packet of ours. */
struct quoted {
    struct flow_key key;
    struct ip_addr peer;
    uint32_t seq, bytes; /* bytes: of the whole packet */
};

/* The TCP header's first eight bytes are all that IPv4 promises. */
static bool quoted_ports(struct quoted *q, const uint8_t *th)
{
    be16_t port[2];
    be32_t seq;
    memcpy(port, th, 4);
    memcpy(&seq, th + 4, 4);
    q->key.local_port = from_be16(port[0]);
    q->key.peer_port = from_be16(port[1]);
    q->seq = from_be32(seq);
    return true;
}

static bool quoted_ip4(const struct net *net, struct quoted *q, const uint8_t *p, uint32_t len)
{
    struct ip4_hdr ip;
    if (len < sizeof(ip) + 8)
        return false;
    memcpy(&ip, p, sizeof(ip));
    uint32_t hl = (ip.ver_ihl & 15u) * 4;
    /* Ours have no options, are never fragments, and come from us. */
    if (ip.ver_ihl != 0x45 || ip.proto != IP_PROTO_TCP || (from_be16(ip.frag) & IP_FRAG_MASK) ||
        from_be32(ip.src) != net->cfg.ip || !net->cfg.ip)
        return false;
    q->key.peer_ip = from_be32(ip.dst);
    q->key.local_ip = net->cfg.ip;
    q->peer = ip_from_v4(q->key.peer_ip);
    q->bytes = from_be16(ip.total_len);
    return quoted_ports(q, p + hl);
}

static bool quoted_ip6(const struct net *net, struct quoted *q, const uint8_t *p, uint32_t len)
{
    struct ip6_hdr ip;
    if (len < sizeof(ip) + 8)
        return false;
    memcpy(&ip, p, sizeof(ip));
    int local = ip6_local_find(net, ip_load(ip.src));
    if (p[0] >> 4 != 6 || ip.next != IP_PROTO_TCP || local < 0)
        return false;
    q->peer = ip_load(ip.dst);
    q->key.peer_ip = flow_peer6(&net->flow, q->peer);
    q->key.local_ip = (uint32_t)local;
    q->bytes = from_be16(ip.payload_len) + (uint32_t)sizeof(ip);
    return quoted_ports(q, p + sizeof(ip));
}

static struct tcp_conn *find(struct net *net, bool v6, const struct quoted *q)
{
    uint64_t hash = flow_hash(&net->flow, &q->key);
    uint32_t i =
        v6 ? flow_find6(&net->flow, &q->key, hash, q->peer) : flow_find(&net->flow, &q->key, hash);
    return i == FLOW_NONE ? NULL : &net->conns[i];
}

/* The MTU to use, or 0: the message cannot be true (RFC 5927 7.2, RFC 8201 4). */
static uint32_t believable(bool v6, const struct quoted *q, uint32_t mtu)
{
    if (v6)
        return mtu >= MTU_LEAST_6 && mtu < q->bytes ? mtu : 0;
    if (mtu == 0)
        mtu = plateau_below(q->bytes);
    if (mtu >= q->bytes || mtu < 68) /* RFC 791 3.2 */
        return 0;
    return mtu < MTU_LEAST_4 ? MTU_LEAST_4 : mtu;
}

void pmtu_error(struct net *net, bool v6, const uint8_t *quoted, uint32_t len, uint32_t mtu)
{
    struct stats_worker *st = net->stats;
    struct quoted q = {0};
    struct tcp_conn *tc = NULL;
    if (v6 ? quoted_ip6(net, &q, quoted, len) : quoted_ip4(net, &q, quoted, len)) {
        tc = find(net, v6, &q);
        if (!tc && net_stray(net, 0, q.peer))
            return;
    }
    /* RFC 5927 4.1: only what could still be on its way. */
    if (!tc || q.seq - tc->snd_una >= tc->snd_nxt - tc->snd_una) {
        STAT_INC(st->drop_icmp_stale);
        return;
    }
    if (mtu != PMTU_NONE) {
        mtu = believable(v6, &q, mtu);
        if (!mtu || tc->cold->pmtu_changes >= LIMIT_TCP_PMTU_CHANGES) {
            STAT_INC(st->drop_icmp_stale);
            return;
        }
        if (lower(tc, mtu)) {
            tc->cold->pmtu_changes++;
            STAT_INC(st->tcp_pmtu_lowered);
        }
    }
    STAT_INC(st->icmp_errors_in);
}
