/* peer: see peer.h. */
#include "tests/unit/net/peer.h"

#include <stdlib.h>
#include <string.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"
#include "tests/unit/net/check.h"

#define PEER_GOT 4096

static uint32_t rd32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void parse_options(struct pkt *k, const uint8_t *o, uint32_t n)
{
    for (uint32_t i = 0; i < n && o[i];) {
        if (o[i] == 1) {
            i++;
            continue;
        }
        assert_true(i + 1 < n && o[i + 1] >= 2 && i + o[i + 1] <= n);
        if (o[i] == 2)
            k->mss = (uint16_t)(o[i + 2] << 8 | o[i + 3]);
        if (o[i] == 3) {
            k->has_wscale = true;
            k->wscale = o[i + 2];
        }
        if (o[i] == 4)
            k->sack_ok = true;
        if (o[i] == 5) {
            k->sack_n = (uint8_t)((o[i + 1] - 2) / 8);
            assert_true(k->sack_n >= 1 && k->sack_n <= 4 && o[i + 1] == 2 + 8 * k->sack_n);
            for (unsigned b = 0; b < k->sack_n; b++) {
                k->sack[b][0] = rd32(o + i + 2 + 8 * b);
                k->sack[b][1] = rd32(o + i + 6 + 8 * b);
            }
        }
        if (o[i] == 8) {
            k->has_ts = true;
            k->tsval = rd32(o + i + 2);
            k->tsecr = rd32(o + i + 6);
        }
        i += o[i + 1];
    }
}

static const uint8_t *ip4_of_stack(const uint8_t *f, uint32_t len, uint8_t *proto, uint8_t *tos,
                                   uint16_t *l4)
{
    const struct ip4_hdr *ip = (const void *)(f + 14);
    assert_int_equal(f[12] << 8 | f[13], ETH_TYPE_IP4);
    assert_int_equal(from_be16(ip->total_len) + 14, len);
    assert_int_equal(csum_fold(csum_ip4_20(ip)), 0xffff);
    *l4 = (uint16_t)(len - 34);
    if (ip->proto == IP_PROTO_TCP)
        assert_int_equal(csum_fold(csum_add(ip + 1, *l4, ip4_pseudo_sum(ip, *l4))), 0xffff);
    *proto = ip->proto;
    *tos = ip->tos;
    return (const uint8_t *)(ip + 1);
}

static const uint8_t *ip6_of_stack(const uint8_t *f, uint32_t len, uint8_t *proto, uint8_t *tos,
                                   uint16_t *l4)
{
    const struct ip6_hdr *ip = (const void *)(f + 14);
    uint32_t skip = ip->next == 0 ? 8 : 0; /* hop-by-hop: a group report */
    assert_int_equal(from_be16(ip->payload_len) + 54, len);
    assert_int_equal(f[14] >> 4, 6);
    *proto = skip ? f[54] : ip->next;
    *l4 = (uint16_t)(len - 54 - skip);
    assert_int_equal(csum_fold(csum_add(f + 54 + skip, *l4, ip6_pseudo_sum(ip, *l4, *proto))),
                     0xffff);
    *tos = (uint8_t)(from_be32(ip->ver_flow) >> 20);
    return f + 54 + skip;
}

/* Everything that the stack sends is checked: lengths, checksums, addresses. */
static void on_frame(void *ctx, struct wire_host *h, const uint8_t *f, uint32_t len)
{
    struct peer *p = ctx;
    (void)h;
    assert_true(len >= 14);
    assert_memory_equal(f + 6, p->stack->mac, 6);
    uint16_t type = (uint16_t)(f[12] << 8 | f[13]);
    if (type == ETH_TYPE_ARP) {
        p->arps++;
        memcpy(p->last_arp, f, len < 64 ? len : 64);
        p->last_arp_len = len;
        return;
    }
    uint8_t proto, tos;
    uint16_t l4;
    const uint8_t *l4_at = type == ETH_TYPE_IP6 ? ip6_of_stack(f, len, &proto, &tos, &l4)
                                                : ip4_of_stack(f, len, &proto, &tos, &l4);
    if (proto != IP_PROTO_TCP) {
        memcpy(p->last_icmp, f, len < 2048 ? len : 2048);
        p->last_icmp_len = len;
        p->icmps++;
        return;
    }
    const struct tcp_hdr *th = (const void *)l4_at;
    assert_true(p->got_len < PEER_GOT);
    struct pkt *k = &p->got[p->got_len++];
    uint32_t doff = (th->off >> 4) * 4u;
    *k = (struct pkt){.at_ns = p->w.now_ns,
                      .seq = from_be32(th->seq),
                      .ack = from_be32(th->ack),
                      .wnd = from_be16(th->wnd),
                      .len = l4 - doff,
                      .sport = from_be16(th->sport),
                      .dport = from_be16(th->dport),
                      .flags = th->flags,
                      .tos = tos};
    assert_true(k->len <= sizeof(k->data));
    memcpy(k->data, (const uint8_t *)th + doff, k->len);
    parse_options(k, (const uint8_t *)(th + 1), doff - 20);
}

void peer_up(struct peer *p, peer_tune tune)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 0x99};
    struct net_config c;
    memset(p, 0, sizeof(*p));
    p->ip = 0x0a000001;
    p->stack_ip = 0x0a000002;
    p->port = 40000;
    p->stack_port = 6379;
    p->wnd = 0xffff;
    p->seq = 1000000;
    memcpy(p->mac, mac, 6);
    p->app = malloc(sizeof(*p->app));
    p->got = malloc(PEER_GOT * sizeof(*p->got));
    wire_init(&p->w, 1);
    wire_config(&c, p->stack_ip);
    c.listen_port = 6379;
    if (tune)
        tune(&c);
    p->v6 = c.ip6_count != 0;
    stream_app_init(p->app);
    p->app->accept_as = (struct stream){.tx_seed = 3, .rx_seed = 5};
    p->stack = wire_host_net(&p->w, &c, &p->app->app);
    p->pool = p->stack->pool;
    stream_app_attach(p->app, p->stack);
    p->s = &p->app->stream[0];
    p->raw = wire_host_raw(&p->w, mac);
    p->raw->on_frame = on_frame;
    p->raw->frame_ctx = p;
}

struct ip_addr peer_addr(const struct peer *p)
{
    return p->v6 ? wire_ip6(p->ip) : ip_from_v4(p->ip);
}

void peer_down(struct peer *p)
{
    wire_fini(&p->w);
    free(p->app);
    free(p->got);
}

static void fix_checksum6(struct ip6_hdr *ip)
{
    uint16_t l4 = from_be16(ip->payload_len), csum;
    uint8_t *p = (uint8_t *)(ip + 1), *at = p + (ip->next == IP_PROTO_TCP ? 16 : 2);
    if (ip->next != IP_PROTO_TCP && ip->next != IP_PROTO_ICMP6)
        return;
    memset(at, 0, 2);
    csum = csum_finish(csum_add(p, l4, ip6_pseudo_sum(ip, l4, ip->next)));
    memcpy(at, &csum, 2);
}

void peer_fix_checksums(uint8_t *frame, uint32_t l2_len)
{
    if (frame[l2_len] >> 4 == 6) {
        fix_checksum6((struct ip6_hdr *)(void *)(frame + l2_len));
        return;
    }
    struct ip4_hdr *ip = (struct ip4_hdr *)(void *)(frame + l2_len);
    uint32_t hl = (ip->ver_ihl & 15u) * 4;
    uint16_t l4 = (uint16_t)(from_be16(ip->total_len) - hl);
    ip->csum = 0;
    ip->csum = csum_finish(csum_add(ip, hl, 0));
    if (ip->proto != IP_PROTO_TCP)
        return;
    struct tcp_hdr *th = (struct tcp_hdr *)(void *)((uint8_t *)ip + hl);
    th->csum = 0;
    th->csum = csum_finish(csum_add(th, l4, ip4_pseudo_sum(ip, l4)));
}

static void put_ip(const struct peer *p, uint8_t *l3, uint32_t l4)
{
    if (p->v6) {
        struct ip6_hdr *ip = (struct ip6_hdr *)(void *)l3;
        ip6_write(ip, peer_addr(p), wire_ip6(p->stack_ip), IP_PROTO_TCP, 64, (uint16_t)l4);
        ip->ver_flow = be32(6u << 28 | (uint32_t)p->tos << 20);
        return;
    }
    struct ip4_hdr *ip = (struct ip4_hdr *)(void *)l3;
    *ip = (struct ip4_hdr){.ver_ihl = 0x45,
                           .tos = p->tos,
                           .total_len = be16((uint16_t)(20 + l4)),
                           .ttl = 64,
                           .proto = IP_PROTO_TCP,
                           .src = be32(p->ip),
                           .dst = be32(p->stack_ip)};
}

uint32_t peer_frame_with(struct peer *p, uint8_t *buf, uint8_t flags, uint32_t seq, uint32_t ack,
                         const uint8_t *opt, uint32_t opt_len, const void *data, uint32_t len)
{
    struct eth_hdr *eh = (void *)buf;
    struct tcp_hdr *th = (struct tcp_hdr *)(void *)(buf + 14 + peer_ip_bytes(p));
    memcpy(eh->dst, p->stack->mac, 6);
    memcpy(eh->src, p->mac, 6);
    eh->type = be16(p->v6 ? ETH_TYPE_IP6 : ETH_TYPE_IP4);
    put_ip(p, buf + 14, 20 + opt_len + len);
    *th = (struct tcp_hdr){.sport = be16(p->port),
                           .dport = be16(p->stack_port),
                           .seq = be32(seq),
                           .ack = be32(ack),
                           .off = (uint8_t)((20 + opt_len) / 4 << 4),
                           .flags = flags,
                           .wnd = be16((uint16_t)p->wnd)};
    if (opt_len)
        memcpy(th + 1, opt, opt_len);
    if (len)
        memcpy((uint8_t *)(th + 1) + opt_len, data, len);
    peer_fix_checksums(buf, 14);
    return 34 + peer_ip_bytes(p) + opt_len + len;
}

static uint32_t put_ts(const struct peer *p, uint8_t *o)
{
    be32_t v = be32(p->tsval), e = be32(p->tsecr);
    memcpy(o, "\1\1\10\12", 4);
    memcpy(o + 4, &v, 4);
    memcpy(o + 8, &e, 4);
    return 12;
}

uint32_t peer_frame(struct peer *p, uint8_t *buf, uint8_t flags, uint32_t seq, uint32_t ack,
                    const void *data, uint32_t len)
{
    uint8_t opt[40];
    uint32_t n = p->ts ? put_ts(p, opt) : 0;
    if (p->blocks_n) {
        uint8_t head[4] = {1, 1, 5, (uint8_t)(2 + 8 * p->blocks_n)};
        memcpy(opt + n, head, 4);
        n += 4;
        for (unsigned i = 0; i < 2 * p->blocks_n; i++, n += 4) {
            be32_t v = be32(p->blocks[i / 2][i % 2]);
            memcpy(opt + n, &v, 4);
        }
    }
    return peer_frame_with(p, buf, flags, seq, ack, opt, n, data, len);
}

void peer_inject(struct peer *p, const void *frame, uint32_t len)
{
    wire_inject(&p->w, p->stack->id, frame, len, 0);
    wire_turn(&p->w);
}

void peer_seg(struct peer *p, uint8_t flags, uint32_t seq, uint32_t ack, const void *data,
              uint32_t len)
{
    uint8_t buf[2048];
    peer_inject(p, buf, peer_frame(p, buf, flags, seq, ack, data, len));
}

void peer_data(struct peer *p, const void *data, uint32_t len)
{
    peer_seg(p, PEER_ACK | PEER_PSH, p->seq, p->ack, data, len);
    p->seq += len;
}

void peer_sack(struct peer *p, uint32_t ack, unsigned n, const uint32_t (*blocks)[2])
{
    memcpy(p->blocks, blocks, n * sizeof(p->blocks[0]));
    p->blocks_n = n;
    peer_seg(p, PEER_ACK, p->seq, ack, NULL, 0);
    p->blocks_n = 0;
}

void peer_ack(struct peer *p)
{
    peer_seg(p, PEER_ACK, p->seq, p->ack, NULL, 0);
}

void peer_syn(struct peer *p, uint16_t mss, int wscale, bool ts)
{
    uint8_t opt[40], buf[2048];
    uint32_t n = 0;
    if (mss) {
        uint8_t m[4] = {2, 4, (uint8_t)(mss >> 8), (uint8_t)mss};
        memcpy(opt, m, 4);
        n = 4;
    }
    if (wscale >= 0) {
        uint8_t m[4] = {1, 3, 3, (uint8_t)wscale};
        memcpy(opt + n, m, 4);
        n += 4;
    }
    if (ts) {
        p->tsval = 5000;
        n += put_ts(p, opt + n);
    }
    if (p->sack) {
        memcpy(opt + n, "\1\1\4\2", 4);
        n += 4;
    }
    peer_inject(p, buf,
                peer_frame_with(p, buf, PEER_SYN | p->syn_flags, p->seq, 0, opt, n, NULL, 0));
}

void peer_handshake(struct peer *p, uint16_t mss, int wscale, bool ts)
{
    peer_syn(p, mss, wscale, ts);
    struct pkt *k = peer_get(p);
    assert_int_equal(k->flags & ~PEER_ECE, PEER_SYN | PEER_ACK);
    assert_int_equal(k->sack_ok, p->sack);
    assert_int_equal(k->ack, p->seq + 1);
    assert_int_equal(k->has_ts, ts);
    assert_int_equal(k->has_wscale, wscale >= 0);
    p->seq++;
    p->ack = k->seq + 1;
    p->ts = ts;
    p->tsecr = k->tsval;
    peer_ack(p);
    peer_none(p);
    assert_int_equal(p->app->accepted, 1);
}

struct pkt *peer_get(struct peer *p)
{
    if (p->got_at == p->got_len)
        fail_msg("the stack sent nothing");
    struct pkt *k = &p->got[p->got_at++];
    if (k->seq == p->ack)
        p->ack += k->len + !!(k->flags & PEER_SYN) + !!(k->flags & PEER_FIN);
    if (k->has_ts)
        p->tsecr = k->tsval;
    return k;
}

void peer_none(struct peer *p)
{
    if (p->got_at < p->got_len) {
        struct pkt *k = &p->got[p->got_at];
        fail_msg("the stack sent flags %02x seq %u ack %u len %u", k->flags, k->seq, k->ack,
                 k->len);
    }
}

void peer_wait(struct peer *p, uint64_t ns)
{
    wire_run(&p->w, p->w.now_ns + ns, NULL, NULL);
    wire_turn(&p->w);
}

void peer_app_write(struct peer *p, uint64_t n)
{
    p->s->tx_total += n;
    wire_turn(&p->w);
}

const uint8_t *peer_octets(uint64_t from)
{
    static uint8_t buf[65536 + 4096];
    for (uint64_t i = 0; i < sizeof(buf); i++)
        buf[i] = stream_octet(5, from + i);
    return buf;
}

uint32_t peer_error_frame(struct peer *p, uint8_t *f, int kind, uint32_t mtu, uint32_t seq,
                          uint32_t bytes)
{
    uint8_t quoted[256];
    struct peer mirror = *p; /* our own headers: the peer's with the ends exchanged */
    uint32_t n = peer_ip_bytes(p) + 20;
    peer_frame(&mirror, quoted, PEER_ACK, seq, 0, NULL, 0);
    uint8_t *q = quoted + 14, *th = q + peer_ip_bytes(p);
    uint16_t ports[2];
    memcpy(ports, th, 4);
    memcpy(th, &ports[1], 2);
    memcpy(th + 2, &ports[0], 2);
    memcpy(f, quoted, 14);
    if (p->v6) {
        struct ip6_hdr *ip = (struct ip6_hdr *)(void *)q;
        ip6_write(ip, wire_ip6(p->stack_ip), peer_addr(p), IP_PROTO_TCP, 60,
                  (uint16_t)(bytes - 40));
        struct ip6_hdr *out = (struct ip6_hdr *)(void *)(f + 14);
        ip6_write(out, wire_ip6(0x0a0000fe), wire_ip6(p->stack_ip), IP_PROTO_ICMP6, 64,
                  (uint16_t)(8 + n));
        uint8_t *ic = f + 54;
        be32_t m = be32(mtu);
        memset(ic, 0, 8);
        ic[0] = (uint8_t)kind;
        if (kind == PEER_TOO_BIG)
            memcpy(ic + 4, &m, 4);
        memcpy(ic + 8, q, n);
        peer_fix_checksums(f, 14);
        return 62 + n;
    }
    struct ip4_hdr *ip = (struct ip4_hdr *)(void *)q;
    ip4_write(ip, p->stack_ip, p->ip, IP_PROTO_TCP, (uint16_t)(bytes - 20));
    struct ip4_hdr *out = (struct ip4_hdr *)(void *)(f + 14);
    struct icmp_hdr *ic = (struct icmp_hdr *)(void *)(out + 1);
    ip4_write(out, 0x0a0000fe, p->stack_ip, IP_PROTO_ICMP, (uint16_t)(8 + n));
    *ic =
        (struct icmp_hdr){.type = kind == PEER_TIME ? 11 : 3, .code = kind == PEER_TOO_BIG ? 4 : 1};
    if (kind == PEER_TOO_BIG)
        ic->seq = be16((uint16_t)mtu);
    memcpy(ic + 1, q, n);
    ic->csum = csum_finish(csum_add(ic, 8 + n, 0));
    return 42 + n;
}
