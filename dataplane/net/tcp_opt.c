/* tcp_opt: TCP options in and out: MSS, window scale, timestamps (RFC 9293 3.2, RFC 7323 2 and 3), SACK
 * permitted and the place of SACK blocks (RFC 2018 2, 3; what they mean: tcp_sack.c). */
#include "dataplane/net/tcp_internal.h"

#define OPT_END    0
#define OPT_NOP    1
#define OPT_MSS    2
#define OPT_WSCALE 3
#define OPT_SACKOK 4
#define OPT_SACK   5
#define OPT_TS     8

static uint32_t load_be32(const uint8_t *p)
{
    be32_t v;
    memcpy(&v, p, sizeof(v));
    return from_be32(v);
}

static void take_option(struct tcp_seg *seg, struct tcp_syn_opts *syn, const uint8_t *p, uint8_t n)
{
    switch (p[0]) {
    case OPT_MSS:
        if (syn && n == 4)
            syn->mss = (uint16_t)(p[2] << 8 | p[3]);
        break;
    case OPT_WSCALE:
        if (syn && n == 3) {
            syn->has_wscale = true;
            syn->wscale = p[2] > 14 ? 14 : p[2]; /* RFC 7323 2.3 */
        }
        break;
    case OPT_SACKOK:
        if (syn && n == 2)
            syn->sack_ok = true;
        break;
    case OPT_SACK:
        if (n >= 10 && (n - 2) % 8 == 0) {
            seg->sack = p + 2;
            seg->sack_n = (uint8_t)((n - 2) / 8);
        }
        break;
    case OPT_TS:
        if (n == 10) {
            seg->has_ts = true;
            seg->tsval = load_be32(p + 2);
            seg->tsecr = load_be32(p + 6);
            if (syn)
                syn->has_ts = true;
        }
        break;
    default: /* RFC 9293 3.2 MUST-6: unknown options are skipped by their length */ break;
    }
}

bool tcp_opt_parse(struct tcp_seg *seg, struct tcp_syn_opts *syn)
{
    const uint8_t *p = (const uint8_t *)(seg->th + 1);
    uint32_t n = seg->doff - (uint32_t)sizeof(*seg->th);
    seg->has_ts = false;
    seg->sack_n = 0;
    if (syn)
        *syn = (struct tcp_syn_opts){0};
    for (uint32_t i = 0; i < n;) {
        if (p[i] == OPT_END)
            return true;
        if (p[i] == OPT_NOP) {
            i++;
            continue;
        }
        if (i + 1 >= n || p[i + 1] < 2 || p[i + 1] > n - i)
            return false; /* RFC 9293 3.1 MUST-7: illegal lengths do no harm */
        take_option(seg, syn, p + i, p[i + 1]);
        i += p[i + 1];
    }
    return true;
}

uint16_t tcp_opt_mtu_mss(const struct net *net, bool v6)
{
    uint32_t mtu = v6 ? net->ip6.mtu : net->cfg.mtu, ip = v6 ? 40 : 20;
    return (uint16_t)(mtu - ip - (uint32_t)sizeof(struct tcp_hdr));
}

uint16_t tcp_opt_peer_mss(const struct net *net, uint16_t mss, bool v6)
{
    uint16_t most = tcp_opt_mtu_mss(net, v6);
    if (!mss) /* RFC 9293 3.7.1 MUST-15; RFC 8200 5 */
        mss = v6 ? 1220 : 536;
    if (mss < LIMIT_TCP_MSS_MIN)
        mss = LIMIT_TCP_MSS_MIN; /* a peer's MSS of 1 must not cost a packet a byte */
    return mss < most ? mss : most;
}

unsigned tcp_opt_write(const struct tcp_syn_out *o, uint8_t *p)
{
    unsigned n = 0;
    p[n++] = OPT_MSS;
    p[n++] = 4;
    p[n++] = (uint8_t)(o->mss >> 8);
    p[n++] = (uint8_t)o->mss;
    if (o->has_wscale) {
        p[n++] = OPT_NOP;
        p[n++] = OPT_WSCALE;
        p[n++] = 3;
        p[n++] = o->wscale;
    }
    if (o->has_ts) {
        be32_t val = be32(o->tsval), ecr = be32(o->tsecr);
        p[n++] = o->sack ? OPT_SACKOK : OPT_NOP;
        p[n++] = o->sack ? 2 : OPT_NOP;
        p[n++] = OPT_TS;
        p[n++] = 10;
        memcpy(p + n, &val, 4);
        memcpy(p + n + 4, &ecr, 4);
        n += 8;
    } else if (o->sack) {
        p[n++] = OPT_NOP;
        p[n++] = OPT_NOP;
        p[n++] = OPT_SACKOK;
        p[n++] = 2;
    }
    return n;
}

unsigned tcp_opt_write_syn(const struct tcp_conn *tc, uint8_t *p, bool first)
{
    const struct tcp_syn_out o = {
        .mss = tcp_opt_mtu_mss(tc->net, tcp_is6(tc)),
        .has_wscale = first || (tc->flags & TF_WSCALE),
        .wscale = tc->rcv_wscale,
        .has_ts = first || (tc->flags & TF_TS),
        .tsval = tcp_ts_now(tc),
        .tsecr = tc->ts_recent,
        .sack = first ? !tc->net->cfg.no_sack : tc->flags & TF_SACK,
    };
    return tcp_opt_write(&o, p);
}

uint8_t tcp_opt_wscale(uint32_t bytes)
{
    uint8_t s = 0;
    while (s < 14 && bytes >> s > 0xffff)
        s++;
    return s;
}

void tcp_opt_negotiate(struct tcp_conn *tc, const struct tcp_seg *seg,
                       const struct tcp_syn_opts *opts)
{
    struct net *net = tc->net;
    uint16_t mss = tcp_opt_peer_mss(net, opts->mss, tcp_is6(tc));
    tc->cold->peer_mss = mss;
    if (opts->has_ts) {
        tc->flags |= TF_TS;
        tc->ts_recent = seg->tsval;
        tc->cold->ts_recent_ns = net->now_ns;
        mss = (uint16_t)(mss - 12); /* RFC 9293 3.7.1: SEND.MSS less the options */
    }
    /* A segment is one mbuf: what does not fit its buffer is not sent in one piece. */
    uint32_t room = rte_pktmbuf_data_room_size(net->cfg.pool) - TX_PAYLOAD_OFF;
    tcp_mss_set(tc, mss < room ? mss : (uint16_t)room);
    if (opts->sack_ok && !net->cfg.no_sack)
        tc->flags |= TF_SACK;
    if (opts->has_wscale)
        tc->flags |= TF_WSCALE;
    tc->rcv_wscale = opts->has_wscale ? tcp_opt_wscale(net->cfg.rcv_buf_bytes) : 0;
    tc->snd_wscale = opts->has_wscale ? opts->wscale : 0;
}
