/* Frames into a live server worker with established connections. An input is a program of small steps: segments,
 * commands, handshakes, acknowledgments, ARP, neighbour discovery, ICMP of both families, damaged headers, extension headers, raw bytes,
 * time. The harness knows what the
 * server expects next (it looks into the connection) and mends addresses, numbers and checksums unless the
 * input says not to, so that mutations reach deep states. Every frame is a block of exactly its size behind an mbuf: a
 * sanitizer sees each byte read beyond it.
 *
 * What must hold: no crash, no sanitizer report; one connection that is never touched answers PING at the end;
 * after the worker is gone every mbuf is back in its pool.
 *
 *     step: [ kind (4 bits) | peer (2) | joins the next burst (1) | over IPv6 (1) ] [ choice ] then operands */
#include <stdio.h>
#include <stdlib.h>

#include <rte_mempool.h>

#include "dataplane/conn/conn_internal.h"
#include "dataplane/net/tcp_internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/eal.h"

#define PEERS       7 /* the last ones speak IPv6 */
#define WITNESS     3
#define PEER_V6     4 /* the first that does */
#define SERVER_IP   0x0a000001u
#define PEER_IP     0x0a000002u
#define SERVER_PORT 6379
#define PORT_FIRST  40000
#define FRAME_MAX   2048
#define START_NS    (1ull << 58)
#define UNIX_US     1700000000000000ll
#define BLOCK_HEAD  sizeof(struct rte_mbuf_ext_shared_info)

enum choice {                  /* of a segment; each asks for an operand */
              CH_SEQ = 1,      /* i8: added to the sequence number */
              CH_SEQ_FAR = 2,  /* and scaled */
              CH_ACK = 4,      /* i8: the same of the acknowledgment */
              CH_FLAGS = 8,    /* u8 instead of ACK|PSH */
              CH_WINDOW = 16,  /* u8: the window's high octet */
              CH_OPTIONS = 32, /* u8 and so many octets instead of the timestamps */
              CH_DAMAGE =
                  64, /* u8 offset, u8 xor, somewhere in the headers; mended if the offset is even */
              CH_CUT = 128, /* u8: the frame loses or gains so many octets at its end */
};

struct input {
    const uint8_t *p;
    size_t left;
};

struct server {
    struct worker *worker;
    uint64_t now_ns;
    struct rte_mbuf *burst[LIMIT_BURST_PKTS];
    uint16_t burst_len;
    uint32_t seq[PEERS], ack[PEERS], tsval; /* where no record tells */
    uint32_t synack[PEERS];                 /* sequence number of the last SYN-ACK */
    uint8_t heard[256];                     /* what the witness received last */
    size_t heard_len;
    uint32_t witness_next;
    bool own; /* the harness speaks for the witness */
};

static struct rte_mempool *pool, *reserve, *shells;
static struct server srv;
static uint64_t frames_total, inputs_total, live_total;
static struct host_ops ops;

static const uint8_t server_mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t server_ip6[16] = {0xfd, [15] = 1}, peer_ip6[16] = {0xfd, [15] = 2};

static bool is6(unsigned peer)
{
    return peer >= PEER_V6;
}

/* Where TCP begins in a frame of ours. */
static size_t l4_at(unsigned peer)
{
    return is6(peer) ? 54 : 34;
}

/* ---- input ---- */

static uint8_t take(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->p++;
}

static size_t take_bytes(struct input *in, uint8_t *to, size_t n)
{
    n = n < in->left ? n : in->left;
    memcpy(to, in->p, n);
    in->p += n;
    in->left -= n;
    return n;
}

/* ---- frames in ---- */

static void block_free(void *addr, void *opaque)
{
    (void)addr;
    free(opaque);
}

static void turn(void)
{
    srv.now_ns += 10000;
    worker_turn(srv.worker, srv.now_ns, UNIX_US + (int64_t)((srv.now_ns - START_NS) / 1000));
}

/* The witness must stay untouched, whatever the input makes of ports and addresses. */
static void spare_witness(uint8_t *p, size_t n)
{
    size_t l2 = n >= 18 && p[12] == 0x81 && p[13] == 0 ? 18 : 14;
    if (n < l2 + 20)
        return;
    size_t th = l2 + (p[l2] & 15u) * 4;
    if (n >= th + 2 && p[th] == (PORT_FIRST + WITNESS) >> 8 &&
        p[th + 1] == ((PORT_FIRST + WITNESS) & 0xff))
        p[th] ^= 1;
}

static void deliver(uint8_t *p, size_t n, bool join)
{
    if (!srv.own)
        spare_witness(p, n);
    uint8_t *block = malloc(BLOCK_HEAD + n);
    struct rte_mbuf *m = rte_pktmbuf_alloc(shells);
    CHECK(block && m);
    struct rte_mbuf_ext_shared_info *info = (void *)block;
    info->free_cb = block_free;
    info->fcb_opaque = block;
    rte_mbuf_ext_refcnt_set(info, 1);
    memcpy(block + BLOCK_HEAD, p, n);
    rte_pktmbuf_attach_extbuf(m, block + BLOCK_HEAD, 0, (uint16_t)n, info);
    m->data_len = (uint16_t)n;
    m->pkt_len = (uint32_t)n;
    srv.burst[srv.burst_len++] = m;
    frames_total++;
    if (!join || srv.burst_len == LIMIT_BURST_PKTS)
        turn();
}

static uint16_t rx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    (void)ctx;
    uint16_t got = srv.burst_len < n ? srv.burst_len : n;
    memcpy(pkts, srv.burst, got * sizeof(*pkts));
    srv.burst_len = 0;
    return got;
}

/* ---- frames out ---- */

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void look_at6(const uint8_t *p, size_t n)
{
    if (n < 74 || p[20] != 6)
        return;
    size_t head = 54 + (p[66] >> 4) * 4u, total = 54u + ((size_t)p[18] << 8 | p[19]);
    CHECK(head <= total && total == n && p[14] >> 4 == 6);
    unsigned peer = (unsigned)(p[56] << 8 | p[57]) - PORT_FIRST;
    if (peer < PEERS && (p[67] & (TH_SYN | TH_ACK)) == (TH_SYN | TH_ACK))
        srv.synack[peer] = get32(p + 58);
}

static void look_at(const uint8_t *p, size_t n)
{
    if (n >= 14 && p[12] == 0x86 && p[13] == 0xdd)
        look_at6(p, n);
    if (n < 54 || p[12] != 8 || p[13] != 0 || p[23] != 6)
        return;
    unsigned peer = (unsigned)(p[36] << 8 | p[37]) - PORT_FIRST;
    if (peer >= PEERS)
        return;
    size_t head = 34 + (p[46] >> 4) * 4u, total = 14u + ((size_t)p[16] << 8 | p[17]);
    CHECK(head <= total && total <= n);
    if ((p[47] & (TH_SYN | TH_ACK)) == (TH_SYN | TH_ACK))
        srv.synack[peer] = get32(p + 38);
    if (peer != WITNESS || total == head || get32(p + 38) != srv.witness_next)
        return;
    srv.heard_len = total - head < sizeof(srv.heard) ? total - head : sizeof(srv.heard);
    memcpy(srv.heard, p + head, srv.heard_len);
    srv.witness_next += (uint32_t)(total - head);
}

static uint16_t tx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    (void)ctx;
    for (uint16_t i = 0; i < n; i++) {
        CHECK(pkts[i]->nb_segs == 1 && pkts[i]->pkt_len == pkts[i]->data_len);
        look_at(rte_pktmbuf_mtod(pkts[i], const uint8_t *), pkts[i]->data_len);
        rte_pktmbuf_free(pkts[i]);
    }
    return n;
}

/* ---- making frames ---- */

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v);
}

static uint32_t sum16(const uint8_t *p, size_t n, uint32_t sum)
{
    for (size_t i = 0; i < n; i++)
        sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* The checksum of TCP or ICMPv6 behind extension headers, as the lengths say. */
static void mend6(uint8_t *f, size_t n)
{
    size_t len = (size_t)f[18] << 8 | f[19];
    uint8_t *p = f + 54, next = f[20];
    if (len > n - 54)
        return;
    while ((next == 0 || next == 43 || next == 60) && len >= 8 && 8u + 8u * p[1] <= len) {
        size_t ext = 8u + 8u * p[1];
        next = p[0];
        p += ext;
        len -= ext;
    }
    size_t at = next == IP_PROTO_TCP ? 16 : 2;
    if ((next != IP_PROTO_TCP && next != IP_PROTO_ICMP6) || len < at + 2)
        return;
    put16(p + at, 0);
    put16(p + at, fold(sum16(p, len, sum16(f + 22, 32, next + (uint32_t)len))));
}

/* Checksums of the IP header and of what is in it, as its lengths say; nothing if they lie. */
static void mend(uint8_t *f, size_t n)
{
    if (n >= 54 && f[12] == 0x86 && f[13] == 0xdd) {
        mend6(f, n);
        return;
    }
    size_t hl = n > 14 ? (f[14] & 15u) * 4 : 0, total = n >= 34 ? (size_t)f[16] << 8 | f[17] : 0;
    if (n < 34 || hl < 20 || total < hl || total > n - 14)
        return;
    uint8_t *ip = f + 14, *l4 = ip + hl;
    size_t len = total - hl;
    put16(ip + 10, 0);
    put16(ip + 10, fold(sum16(ip, hl, 0)));
    if (ip[9] == IP_PROTO_TCP && len >= 20) {
        put16(l4 + 16, 0);
        put16(l4 + 16, fold(sum16(l4, len, sum16(ip + 12, 8, IP_PROTO_TCP + (uint32_t)len))));
    } else if (ip[9] == IP_PROTO_ICMP && len >= 4) {
        put16(l4 + 2, 0);
        put16(l4 + 2, fold(sum16(l4, len, 0)));
    }
}

/* Ethernet and IP; returns the frame's length. */
static size_t envelope(uint8_t *f, uint8_t proto, size_t l4_len)
{
    memcpy(f, server_mac, 6);
    memcpy(f + 6, peer_mac, 6);
    put16(f + 12, ETH_TYPE_IP4);
    uint8_t *ip = f + 14;
    memset(ip, 0, 20);
    ip[0] = 0x45;
    put16(ip + 2, (uint32_t)(20 + l4_len));
    ip[8] = 64;
    ip[9] = proto;
    put32(ip + 12, PEER_IP);
    put32(ip + 16, SERVER_IP);
    return 34 + l4_len;
}

static size_t envelope6(uint8_t *f, uint8_t next, size_t l4_len)
{
    memcpy(f, server_mac, 6);
    memcpy(f + 6, peer_mac, 6);
    put16(f + 12, ETH_TYPE_IP6);
    put32(f + 14, 6u << 28);
    put16(f + 18, (uint32_t)l4_len);
    f[20] = next;
    f[21] = 64;
    memcpy(f + 22, peer_ip6, 16);
    memcpy(f + 38, server_ip6, 16);
    return 54 + l4_len;
}

static struct tcp_conn *record_of(unsigned peer)
{
    struct net *net = srv.worker->net;
    if (is6(peer)) {
        struct ip_addr a = ip_load(peer_ip6);
        struct flow_key k = {flow_peer6(&net->flow, a), 1, (uint16_t)(PORT_FIRST + peer),
                             SERVER_PORT};
        uint32_t at = flow_find6(&net->flow, &k, flow_hash(&net->flow, &k), a);
        return at == FLOW_NONE ? NULL : &net->conns[at];
    }
    struct flow_key key = {PEER_IP, SERVER_IP, (uint16_t)(PORT_FIRST + peer), SERVER_PORT};
    uint32_t i = flow_find(&net->flow, &key, flow_hash(&net->flow, &key));
    return i == FLOW_NONE ? NULL : &net->conns[i];
}

/* The next in order: what the server's own record expects. */
static void refresh(unsigned peer)
{
    const struct tcp_conn *tc = record_of(peer);
    if (!tc)
        return;
    srv.seq[peer] = tc->rcv_nxt;
    srv.ack[peer] = tc->snd_nxt;
}

/* A TCP segment with its options and payload in place behind 20 octets of header at l4_at. */
static size_t segment(uint8_t *f, unsigned peer, uint8_t flags, uint16_t wnd, size_t opts,
                      size_t len)
{
    uint8_t *th = f + l4_at(peer);
    put16(th, PORT_FIRST + peer);
    put16(th + 2, SERVER_PORT);
    put32(th + 4, srv.seq[peer]);
    put32(th + 8, srv.ack[peer]);
    th[12] = (uint8_t)((20 + opts) / 4 << 4);
    th[13] = flags;
    put16(th + 14, wnd);
    put32(th + 16, 0);
    return is6(peer) ? envelope6(f, IP_PROTO_TCP, 20 + opts + len)
                     : envelope(f, IP_PROTO_TCP, 20 + opts + len);
}

static size_t timestamps(uint8_t *opt)
{
    static const uint8_t head[4] = {1, 1, 8, 10};
    memcpy(opt, head, 4);
    put32(opt + 4, ++srv.tsval);
    put32(opt + 8, 0);
    return 12;
}

static void plain(unsigned peer, uint8_t flags, const void *p, size_t n, bool join)
{
    uint8_t f[FRAME_MAX];
    const struct tcp_conn *tc = record_of(peer);
    uint8_t *opt = f + l4_at(peer) + 20;
    size_t opts = tc && (tc->flags & TF_TS) ? timestamps(opt) : 0;
    if (n)
        memcpy(opt + opts, p, n);
    size_t len = segment(f, peer, flags, 0xffff, opts, n);
    mend(f, len);
    deliver(f, len, join);
}

/* SYN, SYN-ACK, ACK. */
static void open_peer(unsigned peer, uint8_t choice, uint8_t mss)
{
    uint8_t f[FRAME_MAX], *opt = f + l4_at(peer) + 20;
    size_t n = 0;
    if (choice & 1) {
        opt[n++] = 2;
        opt[n++] = 4;
        put16(opt + n, mss * 8u);
        n += 2;
    }
    if (choice & 2) {
        static const uint8_t ws[4] = {1, 3, 3, 2};
        memcpy(opt + n, ws, 4);
        n += 4;
    }
    if (choice & 4)
        n += timestamps(opt + n);
    srv.seq[peer] += 64000 * (1u + (choice >> 4));
    srv.ack[peer] = 0;
    size_t len = segment(f, peer, TH_SYN, (uint16_t)(choice & 8 ? 100 : 0xffff), n, 0);
    mend(f, len);
    srv.synack[peer] = 0;
    deliver(f, len, false);
    srv.seq[peer]++;
    srv.ack[peer] = srv.synack[peer] + 1;
    plain(peer, TH_ACK, NULL, 0, false);
}

/* ---- steps ---- */

static void step_segment(struct input *in, unsigned peer, bool join)
{
    uint8_t f[FRAME_MAX], *opt = f + l4_at(peer) + 20, choice = take(in), flags = TH_ACK | TH_PSH;
    uint16_t wnd = 0xffff;
    size_t opts;
    refresh(peer);
    const struct tcp_conn *tc = record_of(peer);
    if (choice & CH_SEQ) {
        int32_t by = (int8_t)take(in);
        srv.seq[peer] += (uint32_t)(choice & CH_SEQ_FAR ? by * 1000 : by);
    }
    if (choice & CH_ACK) {
        int32_t by = (int8_t)take(in);
        srv.ack[peer] += (uint32_t)(choice & CH_SEQ_FAR ? by * 1000 : by);
    }
    if (choice & CH_FLAGS)
        flags = take(in);
    if (choice & CH_WINDOW)
        wnd = (uint16_t)(take(in) << 8);
    if (choice & CH_OPTIONS) {
        opts = take_bytes(in, opt, take(in) % 41u);
        while (opts & 3)
            opt[opts++] = 0;
    } else {
        opts = tc && (tc->flags & TF_TS) ? timestamps(opt) : 0;
    }
    uint8_t len = take(in);
    size_t n = take_bytes(in, opt + opts, len < 200 ? len : 0);
    if (len >= 200) {
        n = (len - 199u) * 24;
        memset(opt + opts, 'x', n);
    }
    size_t total = segment(f, peer, flags, wnd, opts, n);
    mend(f, total);
    if (choice & CH_DAMAGE) {
        uint8_t at = take(in);
        f[at % total] ^= take(in);
        if (!(at & 1))
            mend(f, total);
    }
    if (choice & CH_CUT) {
        int by = (int8_t)take(in);
        memset(f + total, 0, 128);
        total = (int)total + by > 0 ? (size_t)((int)total + by) : 1;
    }
    deliver(f, total, join);
}

/* A whole command, or one cut in two segments. */
static void step_command(struct input *in, unsigned peer, bool join)
{
    static const char *const text[] = {
        "PING\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n",
        "*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
        "*3\r\n$6\r\nAPPEND\r\n$1\r\na\r\n$3\r\nabc\r\n",
        "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n",
        "*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n",
        "*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
        "*4\r\n$8\r\nSETRANGE\r\n$1\r\nr\r\n$5\r\n30000\r\n$1\r\nx\r\n",
        "*2\r\n$3\r\nGET\r\n$1\r\nr\r\n",
        "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$40000\r\n",
        "*1\r\n$4\r\nQUIT\r\n",
        "*2\r\n$6\r\nCLIENT\r\n$4\r\nLIST\r\n",
        "*2\r\n$7\r\nCOMMAND\r\n$4\r\nDOCS\r\n",
        "*2\r\n$4\r\nINFO\r\n$10\r\neverything\r\n",
        "*3\r\n$6\r\nEXPIRE\r\n$1\r\na\r\n$1\r\n1\r\n",
    };
    uint8_t choice = take(in);
    const char *s = text[choice % ARRAY_LEN(text)];
    size_t n = strlen(s), cut = choice & 16 ? take(in) % n : 0;
    refresh(peer);
    if (cut)
        plain(peer, TH_ACK, s, cut, false);
    refresh(peer);
    plain(peer, TH_ACK | TH_PSH, s + cut, n - cut, join);
}

static void step_arp(struct input *in, bool join)
{
    uint8_t f[64] = {0};
    uint8_t choice = take(in);
    memcpy(f, server_mac, 6);
    if (choice & 1)
        memset(f, 0xff, 6);
    memcpy(f + 6, peer_mac, 6);
    put16(f + 12, ETH_TYPE_ARP);
    size_t n = 14 + take_bytes(in, f + 14, 28);
    if (choice & 2) { /* a request or reply that makes sense */
        static const uint8_t head[8] = {0, 1, 8, 0, 6, 4, 0, 1};
        memcpy(f + 14, head, 8);
        f[21] = choice & 4 ? 2 : 1;
        memcpy(f + 22, peer_mac, 6);
        put32(f + 28, PEER_IP + (choice >> 5));
        put32(f + 38, choice & 8 ? SERVER_IP : PEER_IP);
        n = choice & 16 ? 60 : 42;
    }
    deliver(f, n, join);
}

/* The start of a packet of the server's to this peer that may be in flight, as an ICMP error quotes it. */
static size_t quote(uint8_t *to, unsigned peer, struct input *in)
{
    uint8_t f[FRAME_MAX];
    const struct tcp_conn *tc = record_of(peer);
    uint32_t seq = tc ? tc->snd_una + (uint32_t)(int8_t)take(in) : 0;
    size_t len = segment(f, peer, TH_ACK, 0, 0, 1400);
    uint8_t *ip = f + 14, *th = f + l4_at(peer);
    put16(th, SERVER_PORT);
    put16(th + 2, PORT_FIRST + peer);
    put32(th + 4, seq);
    memcpy(ip + (is6(peer) ? 8 : 12), is6(peer) ? server_ip6 : ip + 16, is6(peer) ? 16 : 4);
    if (is6(peer))
        memcpy(ip + 24, peer_ip6, 16);
    else
        put32(ip + 16, PEER_IP);
    size_t n = (len - 1400 - 14) - take(in) % 20u;
    memcpy(to, ip, n);
    return n;
}

/* Errors about a segment in flight, with any MTU. */
static void step_icmp_error(struct input *in, unsigned peer, bool join)
{
    uint8_t f[FRAME_MAX], *ic = f + l4_at(peer), choice = take(in);
    memset(ic, 0, 8);
    ic[0] = is6(peer) ? 1 + choice % 4 : choice & 1 ? 3 : 11;
    ic[1] = is6(peer) ? 0 : choice & 2 ? 4 : choice >> 5;
    put16(ic + 6, take(in) * 8u);
    size_t n = 8 + quote(ic + 8, peer, in);
    size_t len = is6(peer) ? envelope6(f, IP_PROTO_ICMP6, n) : envelope(f, IP_PROTO_ICMP, n);
    if (choice & 16) {
        uint8_t at = take(in);
        f[14 + at % (len - 14)] ^= take(in);
    }
    mend(f, len);
    deliver(f, len, join);
}

/* ICMPv6: echo, neighbours, routers, groups. */
static void step_icmp6(struct input *in, bool join)
{
    static const uint8_t types[8] = {128, 135, 136, 134, 130, 135, 137, 0};
    uint8_t f[FRAME_MAX], choice = take(in), *ic = f + 54;
    memset(ic, 0, 8);
    ic[0] = types[choice & 7];
    if (!ic[0])
        ic[0] = take(in);
    size_t n = 8;
    if (choice & 8) { /* a target: an address of ours or of a neighbour */
        memcpy(ic + 8, choice & 16 ? server_ip6 : peer_ip6, 16);
        n += 16;
        ic[4] = (uint8_t)(choice << 3);
    }
    n += take_bytes(in, ic + n, take(in) % 100u);
    size_t len = envelope6(f, IP_PROTO_ICMP6, n);
    f[21] = 255;
    if (choice & 32) { /* to a group: all nodes, or ours */
        static const uint8_t all[16] = {0xff, 2, [15] = 1};
        static const uint8_t group[16] = {0xff, 2, [11] = 1, 0xff, [15] = 1};
        memcpy(f + 38, choice & 16 ? group : all, 16);
        memset(f, 0x33, 2);
        memcpy(f + 2, f + 50, 4);
    }
    if (choice & 64) { /* from a router, from nobody */
        memset(f + 22, 0, 16);
        if (choice & 128)
            put16(f + 22, 0xfe80);
    }
    mend(f, len);
    deliver(f, len, join);
}

/* A segment behind extension headers. */
static void step_extensions(struct input *in, unsigned peer, bool join)
{
    uint8_t f[FRAME_MAX], choice = take(in), ext[256];
    static const uint8_t first[4] = {0, 60, 43, 44};
    refresh(peer);
    memcpy(f + l4_at(peer) + 20, "PING\r\n", 6);
    size_t len = segment(f, peer, TH_ACK | TH_PSH, 0xffff, 0, 6);
    size_t n = take_bytes(in, ext, take(in)) & ~(size_t)7;
    if ((choice & 4) && n) { /* chained as they should be */
        for (size_t at = 0; at < n; at += 8) {
            ext[at] = at + 8 < n ? 60 : IP_PROTO_TCP;
            ext[at + 1] = 0;
        }
    }
    memmove(f + 54 + n, f + 54, len - 54);
    memcpy(f + 54, ext, n);
    f[20] = n ? first[choice & 3] : choice;
    put16(f + 18, (uint32_t)(len + n - 54));
    mend(f, len + n);
    deliver(f, len + n, join);
}

static void step_icmp(struct input *in, bool join)
{
    uint8_t f[FRAME_MAX], choice = take(in), n = take(in);
    memset(f + 34, 0, 8);
    f[34] = choice & 1 ? 8 : take(in);
    size_t len = envelope(f, IP_PROTO_ICMP, 8 + take_bytes(in, f + 42, n));
    if (!(choice & 2))
        mend(f, len);
    deliver(f, len, join);
}

static void step_raw(struct input *in, bool join)
{
    uint8_t f[FRAME_MAX], choice = take(in);
    size_t n = take_bytes(in, f, take(in));
    if ((choice & 1) && n >= 14) { /* for us */
        memcpy(f, server_mac, 6);
        memcpy(f + 6, peer_mac, 6);
        put16(f + 12, choice & 2 ? ETH_TYPE_ARP : choice & 4 ? ETH_TYPE_VLAN : ETH_TYPE_IP4);
    }
    if ((choice & 8) && n >= 34) {
        put32(f + 30, SERVER_IP);
        f[14] = choice & 16 ? f[14] : 0x45;
        put16(f + 16, (uint32_t)n - 14);
    }
    if (choice & 32)
        mend(f, n);
    if (n)
        deliver(f, n, join);
}

/* Milliseconds for ever: retransmission, persist, keepalive, TIME_WAIT. */
static void step_time(struct input *in)
{
    uint8_t v = take(in);
    srv.now_ns += (uint64_t)(v < 128 ? v : (v - 127u) * (v - 127u) * 50) * 1000000;
    turn();
}

static void run_steps(struct input *in)
{
    while (in->left) {
        uint8_t op = take(in);
        bool v6 = op & 0x80;
        unsigned peer = (op >> 4 & 3) % WITNESS + (v6 ? PEER_V6 : 0);
        bool join = op & 0x40;
        live_total += record_of(peer) != NULL;
        switch (op & 15) {
        default: step_segment(in, peer, join); break;
        case 5:
            if (v6)
                step_extensions(in, peer, join);
            else
                step_icmp_error(in, peer, join);
            break;
        case 6:
        case 7:
        case 8: step_command(in, peer, join); break;
        case 9: {
            uint8_t choice = take(in);
            open_peer(peer, choice, take(in));
            break;
        }
        case 10:
            refresh(peer);
            plain(peer, TH_ACK, NULL, 0, join);
            break;
        case 11:
            refresh(peer);
            plain(peer, TH_ACK | TH_FIN, NULL, 0, join);
            break;
        case 12:
            if (v6)
                step_icmp_error(in, peer, join);
            else
                step_arp(in, join);
            break;
        case 13:
            if (v6)
                step_icmp6(in, join);
            else
                step_icmp(in, join);
            break;
        case 14: step_raw(in, join); break;
        case 15: step_time(in); break;
        }
    }
}

/* ---- the server ---- */

/* CLIENT KILL may end anyone but the witness. */
static void kill_others(struct host *h, struct session *s)
{
    const struct tcp_conn *tc = ((struct conn *)s)->tc;
    struct tcp_addr a = {0};
    if (tc)
        tcp_addr(tc, &a);
    if (a.peer_port == PORT_FIRST + WITNESS)
        return;
    conn_close((struct conn *)s);
    (void)h;
}

static void at_exit(void)
{
    printf("%llu inputs, %llu frames, %llu steps on live connections\n",
           (unsigned long long)inputs_total, (unsigned long long)frames_total,
           (unsigned long long)live_total);
}

static void once(void)
{
    test_eal_init("fuzz");
    pool = rte_pktmbuf_pool_create("fuzz-data", 2047, 0, 0, 2048, SOCKET_ID_ANY);
    reserve = rte_pktmbuf_pool_create("fuzz-reserve", 127, 0, 0, 512, SOCKET_ID_ANY);
    shells = rte_pktmbuf_pool_create("fuzz-shells", 63, 0, 0, 0, SOCKET_ID_ANY);
    CHECK(pool && reserve && shells);
    atexit(at_exit);
}

static void server_up(void)
{
    static struct engine_config cfg;
    engine_config_defaults(&cfg);
    cfg.protected_mode = 0;
    memset(&srv, 0, sizeof(srv));
    srv.now_ns = START_NS;
    struct worker_config c = {.count = 1,
                              .all = &srv.worker,
                              .config = &cfg,
                              .rx = rx,
                              .wire = {.tx = tx},
                              .hash_seed = {1, 2},
                              .seed = 3};
    net_config_defaults(&c.net);
    memcpy(c.net.mac, server_mac, 6);
    c.net.ip = SERVER_IP;
    c.net.ip6[0] = (struct net_prefix){ip_load(server_ip6), 64};
    c.net.ip6_count = 1;
    c.net.dad_probes = 0;
    c.net.listen_port = SERVER_PORT;
    c.net.max_conns = 64;
    c.net.backlog = 16;
    c.net.rcv_buf_bytes = 128 * 1024;
    c.net.snd_buf_bytes = 128 * 1024;
    c.net.ooo_bytes = 32 * 1024;
    c.net.ooo_segs = 16;
    c.net.secret[0] = 4;
    c.net.secret[1] = 5;
    c.net.pool = pool;
    c.net.reserve = reserve;
    CHECK(worker_create(&srv.worker, &c) == 0);
    ops = *srv.worker->host.ops;
    ops.session_kill = kill_others;
    srv.worker->host.ops = &ops;
    srv.own = true;
    for (unsigned i = 0; i < PEERS; i++) {
        srv.seq[i] = 1000000u * i;
        open_peer(i, (uint8_t)(i % 4 == 1 ? 7 : i % 4 == 2 ? 1 : 3), 182);
        CHECK(record_of(i) && record_of(i)->state == TCP_ESTABLISHED);
    }
    srv.witness_next = srv.ack[WITNESS];
    srv.own = false;
}

/* The witness must have been left alone by all that. */
static void witness_answers(void)
{
    turn(); /* what is left of a burst */
    const struct tcp_conn *tc = record_of(WITNESS);
    if (!tc) {
        /* Silent for longer than keepalive allows: as it must be. */
        CHECK(srv.worker->stats->tcp_keepalive_drops);
        return;
    }
    srv.own = true;
    refresh(WITNESS);
    plain(WITNESS, TH_ACK | TH_PSH, "PING\r\n", 6, false);
    CHECK(srv.heard_len == 7 && memcmp(srv.heard, "+PONG\r\n", 7) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!pool)
        once();
    struct input in = {data, n};
    inputs_total++;
    server_up();
    run_steps(&in);
    witness_answers();
    worker_destroy(srv.worker);
    CHECK(rte_mempool_in_use_count(pool) == 0);
    CHECK(rte_mempool_in_use_count(reserve) == 0);
    CHECK(rte_mempool_in_use_count(shells) == 0);
    return 0;
}
