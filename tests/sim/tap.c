/* tap: see tap.h. One record per 4-tuple, two directions; a SYN with another sequence number starts it
 * anew. */
#include "tests/sim/tap.h"

#include <stdio.h>
#include <stdlib.h>

#define BUCKETS 4096

struct tap_dir {
    bool open;                                       /* a SYN was seen */
    bool has_wscale, fin, acked_any, heard_any, ecn; /* ecn: its SYN asked or agreed */
    uint8_t wscale;
    uint32_t iss, max;   /* max: end of all that was sent */
    uint32_t fin_seq;    /* of the FIN itself */
    uint32_t una;        /* acknowledged, as far as the sender has heard */
    uint32_t edge;       /* largest right edge the sender has heard */
    uint32_t ack, right; /* last ACK number and right edge that it has sent itself */
    uint16_t mss;        /* that it announced */
    uint8_t *rec;        /* octets [una, max) at their sequence number modulo cap */
    uint32_t cap;
};

struct tap_flow {
    struct tap_flow *next;
    uint32_t ip[2];
    uint16_t port[2];
    struct tap_dir dir[2]; /* dir[i] is sent by ip[i] */
};

struct tap {
    struct tap_flow *bucket[BUCKETS];
    uint64_t segments;
};

struct tap_seg {
    uint32_t src, dst, seq, ack, len;
    uint16_t sport, dport, wnd, mss;
    uint8_t flags, wscale, opt_len, tos, sack_n;
    bool has_wscale;
    uint32_t sack[4][2];
    const uint8_t *ip, *data;
};

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

uint16_t tap_checksum(const uint8_t *p, uint32_t len, uint32_t sum)
{
    uint64_t s = sum;
    uint16_t w;
    uint32_t i = 0;
    for (; i + 1 < len; i += 2) {
        memcpy(&w, p + i, 2);
        s += w;
    }
    if (i < len)
        s += p[i]; /* little-endian: the octet is the low half of a word padded with 0 */
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return (uint16_t)~s;
}

static unsigned l2_of(const struct sim_node *n)
{
    return n->cfg.vlan ? 18 : 14;
}

/* False: not TCP over IP. Trusts nothing but that the frame has `len` bytes. */
static bool dissect(const struct sim_node *n, const uint8_t *p, uint32_t len, struct tap_seg *g)
{
    unsigned l2 = l2_of(n);
    const uint8_t *ip = p + l2;
    bool v6 = len >= l2 + 60 && get16(ip - 2) == 0x86dd && ip[0] >> 4 == 6 && ip[6] == 6;
    if (!v6 && (len < l2 + 40 || get16(ip - 2) != 0x0800 || ip[9] != 6 || ip[0] != 0x45))
        return false;
    uint32_t hl = sim_ip_bytes(ip), total = v6 ? 40u + get16(ip + 4) : get16(ip + 2);
    const uint8_t *th = ip + hl;
    uint32_t doff = (th[12] >> 4) * 4u;
    if (total > len - l2 || total < hl + doff || doff < 20)
        return false;
    *g = (struct tap_seg){.src = get32(ip + (v6 ? 20 : 12)), /* IPv6: what differs of it */
                          .dst = get32(ip + (v6 ? 36 : 16)),
                          .sport = get16(th),
                          .dport = get16(th + 2),
                          .seq = get32(th + 4),
                          .ack = get32(th + 8),
                          .flags = th[13],
                          .tos = v6 ? (uint8_t)(get16(ip) >> 4) : ip[1],
                          .wnd = get16(th + 14),
                          .opt_len = (uint8_t)(doff - 20),
                          .len = total - hl - doff,
                          .ip = ip,
                          .data = th + doff};
    for (uint32_t i = 20; i + 1 < doff && th[i];) {
        if (th[i] == 1) {
            i++;
            continue;
        }
        if (th[i] == 5) {
            for (uint32_t k = i + 2; k + 8 <= i + th[i + 1] && k + 8 <= doff && g->sack_n < 4;
                 k += 8) {
                g->sack[g->sack_n][0] = get32(th + k);
                g->sack[g->sack_n++][1] = get32(th + k + 4);
            }
        }
        if (th[i] == 2 && i + 4 <= doff)
            g->mss = get16(th + i + 2);
        if (th[i] == 3 && i + 3 <= doff) {
            g->has_wscale = true;
            g->wscale = th[i + 2];
        }
        if (th[i + 1] < 2)
            return false;
        i += th[i + 1];
    }
    return true;
}

struct tap *tap_new(struct sim *s)
{
    struct tap *t = calloc(1, sizeof(*t));
    CHECK(t);
    s->tap = t;
    return t;
}

void tap_free(struct tap *t)
{
    for (unsigned b = 0; b < BUCKETS; b++) {
        for (struct tap_flow *f = t->bucket[b], *next; f; f = next) {
            next = f->next;
            free(f->dir[0].rec);
            free(f->dir[1].rec);
            free(f);
        }
    }
    free(t);
}

uint64_t tap_segments(const struct tap *t)
{
    return t->segments;
}

/* The flow, and in *side which direction is the sender's. */
static struct tap_flow *flow_get(struct tap *t, const struct tap_seg *g, unsigned *side)
{
    uint64_t h = ((uint64_t)g->src + g->dst + ((uint64_t)(g->sport + g->dport) << 20) +
                  ((uint64_t)(g->sport ^ g->dport) << 40)) *
                 0x9e3779b97f4a7c15ull;
    struct tap_flow **b = &t->bucket[h >> 52];
    for (struct tap_flow *f = *b; f; f = f->next) {
        for (unsigned i = 0; i < 2; i++) {
            if (f->ip[i] == g->src && f->port[i] == g->sport && f->ip[!i] == g->dst &&
                f->port[!i] == g->dport) {
                *side = i;
                return f;
            }
        }
    }
    struct tap_flow *f = calloc(1, sizeof(*f));
    CHECK(f);
    *f = (struct tap_flow){.next = *b, .ip = {g->src, g->dst}, .port = {g->sport, g->dport}};
    *b = f;
    *side = 0;
    return f;
}

static void dir_restart(struct tap_dir *d, const struct tap_seg *g)
{
    uint8_t *rec = d->rec;
    uint32_t cap = d->cap;
    *d = (struct tap_dir){.open = true,
                          .has_wscale = g->has_wscale,
                          .ecn = g->flags & TH_ECE,
                          .wscale = g->wscale,
                          .iss = g->seq,
                          .max = g->seq,
                          .una = g->seq + 1,
                          .mss = g->mss,
                          .rec = rec,
                          .cap = cap};
}

static unsigned window_shift(const struct tap_flow *f, unsigned side, const struct tap_seg *g)
{
    bool scaled = f->dir[0].has_wscale && f->dir[1].has_wscale && !(g->flags & TH_SYN);
    return scaled ? f->dir[side].wscale : 0;
}

static uint32_t window_of(const struct tap_flow *f, unsigned side, const struct tap_seg *g)
{
    return (uint32_t)g->wnd << window_shift(f, side, g);
}

/* ---- the record of sent octets ---- */

static void ring_copy(uint8_t *to, uint32_t cap, uint32_t seq, const uint8_t *p, uint32_t n)
{
    uint32_t at = seq & (cap - 1), first = n < cap - at ? n : cap - at;
    memcpy(to + at, p, first);
    memcpy(to, p + first, n - first);
}

static void ring_grow(struct tap_dir *d, uint32_t need)
{
    uint32_t cap = d->cap ? d->cap : 1024;
    while (cap < need)
        cap *= 2;
    if (cap == d->cap)
        return;
    uint8_t *rec = malloc(cap);
    CHECK(rec);
    for (uint32_t seq = d->una; seq_lt(seq, d->max); seq++)
        rec[seq & (cap - 1)] = d->rec[seq & (d->cap - 1)];
    free(d->rec);
    d->rec = rec;
    d->cap = cap;
}

static bool ring_equal(const struct tap_dir *d, uint32_t seq, const uint8_t *p, uint32_t n)
{
    uint32_t at = seq & (d->cap - 1), first = n < d->cap - at ? n : d->cap - at;
    return memcmp(d->rec + at, p, first) == 0 && memcmp(d->rec, p + first, n - first) == 0;
}

static void check_octets(struct sim *s, struct tap_dir *d, const struct tap_seg *g)
{
    uint32_t seq = g->seq, n = g->len;
    const uint8_t *p = g->data;
    if (seq_lt(seq,
               d->una)) { /* the sender has heard that this arrived: the record has let it go */
        uint32_t cut = d->una - seq < n ? d->una - seq : n;
        seq += cut;
        p += cut;
        n -= cut;
    }
    if (!n)
        return;
    uint32_t old = seq_lt(seq, d->max) ? d->max - seq : 0;
    if (old > n)
        old = n;
    SIM_CHECK(s, !old || ring_equal(d, seq, p, old), "octets of %u+%u changed between two sendings",
              seq, old);
    if (old == n)
        return;
    ring_grow(d, seq + n - d->una);
    ring_copy(d->rec, d->cap, seq + old, p + old, n - old);
}

/* ---- the rules ---- */

static void check_headers(struct sim *s, const struct sim_node *from, const struct tap_seg *g)
{
    uint32_t l4 = 20u + g->opt_len + g->len;
    uint32_t pseudo = 0;
    uint32_t hl = sim_ip_bytes(g->ip);
    for (unsigned i = hl == 20 ? 12 : 8; i < hl; i += 2) {
        uint16_t w;
        memcpy(&w, g->ip + i, 2);
        pseudo += w;
    }
    pseudo += 6u << 8;
    pseudo += (uint32_t)__builtin_bswap16((uint16_t)l4);
    SIM_CHECK(s, hl == 40 || tap_checksum(g->ip, 20, 0) == 0, "node %u: bad IP checksum", from->id);
    SIM_CHECK(s, tap_checksum(g->ip + hl, l4, pseudo) == 0, "node %u: bad TCP checksum", from->id);
    struct ip_addr own = sim_address(s, from->cfg.ip);
    SIM_CHECK(
        s, g->src == from->cfg.ip && (hl == 20 ? ip_is_v4(own) : ip_equal(own, ip_load(g->ip + 8))),
        "node %u: sends from a strange address", from->id);
}

/* RFC 5681 and 6582 say what may be in the network. Only for data that is new and was built in this pass: what
 * the wire refused before was right then. */
static void check_cwnd(struct sim *s, const struct sim_node *from, const struct tap_seg *g)
{
    const struct flow *flow = &from->net->flow;
    struct flow_key key = {g->dst, g->src, g->dport, g->sport};
    struct ip_addr peer = sim_address(s, g->dst);
    bool v6 = !ip_is_v4(peer);
    if (v6) {
        key.peer_ip = flow_peer6(flow, peer);
        key.local_ip = 1;
    }
    uint64_t hash = flow_hash(flow, &key);
    uint32_t index = v6 ? flow_find6(flow, &key, hash, peer) : flow_find(flow, &key, hash);
    if (from->stale || index == FLOW_NONE)
        return;
    const struct tcp_conn *tc = &from->net->conns[index];
    uint32_t pipe = tcp_pipe(tc), limit = tc->cwnd + 1;
    if (tc->dupacks && tc->dupacks < 3)
        limit += tc->dupacks * (uint32_t)tc->mss;
    SIM_CHECK(s, pipe <= limit || pipe <= tc->mss + 1u,
              "port %u: %u bytes in the network, cwnd %u, mss %u, duplicate ACKs %u", g->sport,
              pipe, tc->cwnd, tc->mss, tc->dupacks);
    uint32_t buf = from->cfg.snd_buf_bytes, least = from->cfg.mtu; /* a segment has room, always */
    SIM_CHECK(s, tcp_flight(tc) <= (buf < least ? least : buf) + 1, "port %u: %u bytes in flight",
              g->sport, tcp_flight(tc));
}

/* RFC 2018 3 and 4, RFC 2883 4: islands behind the ACK, of what the other side did send, apart from each other; a first
 * block below the ACK or inside the second tells of text that came twice. */
static void check_sack(struct sim *s, const struct tap_dir *peer, const struct tap_seg *g)
{
    for (unsigned i = 0; i < g->sack_n; i++) {
        uint32_t from = g->sack[i][0], to = g->sack[i][1];
        SIM_CHECK(s, seq_lt(from, to) && seq_le(to, peer->max), "SACK %u-%u of what was never sent",
                  from, to);
        bool dup = i == 0 && (seq_le(to, g->ack) || (g->sack_n > 1 && seq_le(g->sack[1][0], from) &&
                                                     seq_le(to, g->sack[1][1])));
        SIM_CHECK(s, dup || seq_lt(g->ack, from), "SACK %u-%u touches ACK %u", from, to, g->ack);
        for (unsigned k = dup ? i : 0; k < i; k++)
            SIM_CHECK(s,
                      (k == 0 && seq_le(g->sack[0][1], g->ack)) || seq_lt(to, g->sack[k][0]) ||
                          seq_lt(g->sack[k][1], from) ||
                          (k == 0 && seq_le(from, g->sack[0][0]) && seq_le(g->sack[0][1], to)),
                      "SACK %u-%u overlaps another", from, to);
    }
}

/* RFC 3168 6.1: only new text of connections whose both ends agreed may be marked. */
static void check_ecn(struct sim *s, const struct tap_flow *f, const struct tap_seg *g, bool fresh)
{
    bool agreed = f->dir[0].ecn && f->dir[1].ecn;
    SIM_CHECK(s, !(g->tos & 3) || (agreed && fresh && g->len), "ECT on what may not be marked (%u)",
              g->seq);
    SIM_CHECK(s, agreed || (g->flags & TH_SYN) || !(g->flags & (TH_ECE | TH_CWR)),
              "ECE or CWR without agreement");
}

static void check_acks(struct sim *s, struct tap_flow *f, unsigned side, const struct tap_seg *g)
{
    struct tap_dir *d = &f->dir[side], *peer = &f->dir[!side];
    uint32_t right = g->ack + window_of(f, side, g), unit = 1u << window_shift(f, side, g);
    SIM_CHECK(s, !peer->open || seq_le(g->ack, peer->max), "ACK %u for what was never sent (%u)",
              g->ack, peer->max);
    if (d->acked_any) {
        SIM_CHECK(s, seq_le(d->ack, g->ack), "the ACK number moved back from %u to %u", d->ack,
                  g->ack);
        /* The field cannot tell less than a unit of the scale (RFC 7323 2.4). */
        /* A SYN's window is not scaled: when a crossed one is sent again it tells less. */
        SIM_CHECK(s, seq_lt(d->right, right + unit) || (g->flags & TH_SYN),
                  "the window shrank: right edge %u to %u (ack %u)", d->right, right, g->ack);
    }
    check_sack(s, peer, g);
    bool had = d->acked_any;
    d->acked_any = true;
    d->ack = g->ack;
    if (seq_lt(d->right, right) || !had)
        d->right = right;
}

void tap_sent(struct sim *s, struct sim_node *from, const uint8_t *p, uint32_t len)
{
    struct tap_seg seg, *g = &seg;
    if (!s->tap || !dissect(from, p, len, g))
        return;
    s->tap->segments++;
    check_headers(s, from, g);
    if (g->flags & TH_RST)
        return;
    unsigned side;
    struct tap_flow *f = flow_get(s->tap, g, &side);
    struct tap_dir *d = &f->dir[side], *peer = &f->dir[!side];
    if (g->flags & TH_SYN) {
        if (!d->open || d->iss != g->seq)
            dir_restart(d, g);
        if (!(g->flags & TH_ACK) && peer->open && peer->acked_any && peer->ack != g->seq + 1)
            peer->open = false; /* of an earlier life */
    }
    if (!d->open)
        return;
    if (g->flags & TH_ACK)
        check_acks(s, f, side, g);
    check_ecn(s, f, g, seq_lt(d->max, g->seq + g->len));
    uint32_t syn = !!(g->flags & TH_SYN), fin = !!(g->flags & TH_FIN);
    uint32_t data_end = g->seq + syn + g->len, end = data_end + fin;
    if (g->len) {
        bool fresh = seq_lt(d->max, data_end);
        SIM_CHECK(s, !peer->mss || g->len + g->opt_len <= peer->mss, "%u bytes over a MSS of %u",
                  g->len + g->opt_len, peer->mss);
        SIM_CHECK(s, !fresh || g->seq == d->max, "new data at %u leaves a gap after %u", g->seq,
                  d->max);
        SIM_CHECK(s, d->heard_any && seq_le(data_end, d->edge + 1),
                  "data to %u, the peer's window ends at %u", data_end, d->edge);
        check_octets(s, d, g);
        if (fresh)
            check_cwnd(s, from, g);
    }
    if (d->fin)
        SIM_CHECK(s,
                  seq_le(g->seq, d->fin_seq + 1) && (!g->len || seq_le(data_end, d->fin_seq)) &&
                      (!fin || data_end == d->fin_seq),
                  "data or FIN at %u beyond a FIN at %u", data_end, d->fin_seq);
    if (fin && !d->fin) {
        SIM_CHECK(s, data_end == d->max || seq_lt(d->max, data_end), "FIN at %u inside data (%u)",
                  data_end, d->max);
        d->fin = true;
        d->fin_seq = data_end;
    }
    SIM_CHECK(s, seq_le(g->seq, d->max) || g->len || syn || fin,
              "an empty segment at %u beyond what was sent (%u)", g->seq, d->max);
    if (seq_lt(d->max, end))
        d->max = end;
}

void tap_heard(struct sim *s, struct sim_node *by, const uint8_t *p, uint32_t len)
{
    struct tap_seg seg, *g = &seg;
    if (!s->tap || !dissect(by, p, len, g) || (g->flags & TH_RST) ||
        !(g->flags & (TH_ACK | TH_SYN)))
        return;
    unsigned side; /* the one that spoke; the listener is the other */
    struct tap_flow *f = flow_get(s->tap, g, &side);
    struct tap_dir *d = &f->dir[!side], *peer = &f->dir[side];
    if (!d->open && (g->flags & (TH_SYN | TH_ACK)) == TH_SYN)
        return; /* the answer's direction opens later: its window is taken from the first ACK */
    if (!d->open || !peer->open || !(g->flags & TH_ACK))
        return;
    if (seq_lt(g->ack, d->una) ? seq_lt(g->ack, d->iss + 1) : seq_lt(d->max, g->ack))
        return; /* of an earlier life */
    uint32_t edge = g->ack + window_of(f, side, g);
    if (!d->heard_any || seq_lt(d->edge, edge))
        d->edge = edge;
    d->heard_any = true;
    if (seq_lt(d->una, g->ack))
        d->una = g->ack;
}

void tap_describe(const struct sim_log *log, char *line, size_t cap)
{
    struct tap_seg g;
    line[0] = 0;
    if (!log->from)
        return;
    double at = (double)(log->at_ns - SIM_START) / 1e9;
    if (!dissect(log->from, log->head, log->len, &g)) {
        snprintf(line, cap, "%.6f node %u: type %04x, %u bytes", at, log->from->id,
                 get16(log->head + l2_of(log->from) - 2), log->len);
        return;
    }
    snprintf(line, cap, "%.6f node %u: %u > %u %s%s%s%s%s seq %u len %u ack %u wnd %u", at,
             log->from->id, g.sport, g.dport, g.flags & TH_SYN ? "S" : "",
             g.flags & TH_FIN ? "F" : "", g.flags & TH_RST ? "R" : "", g.flags & TH_PSH ? "P" : "",
             g.flags & TH_ACK ? "." : "", g.seq, g.len, g.ack, g.wnd);
}
