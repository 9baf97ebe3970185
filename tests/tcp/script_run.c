/* script_run: the statements of a script against a stack. See script.h and README.md. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/tcp/script.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

#define TOLERANCE_NS \
    (2 * WIRE_MS) /* of a segment's time: a tick of the timing wheel and rounding */
#define PATIENCE_NS (1000 * WIRE_SEC)

struct run {
    struct peer p;
    bool up, ours_known;
    const struct script *s;
    const struct script_line *line;
    char words[512], *word[40]; /* of the statement; word[words_n] is NULL */
    unsigned n;
    struct net_config cfg; /* what config statements gave */
    uint64_t at_ns;        /* time of the last event */
    uint32_t ours, theirs; /* ISNs: numbers in scripts are relative to them */
    uint32_t ts_base;      /* of the peer's timestamps */
    uint64_t ts_start_ns;
    uint32_t ts_ours; /* 0, or the timestamp that we should have at the first SYN */
    bool want_ts_ours, want_isn;
};

static struct run *running; /* cmocka's setup has no place for it */

#define FAIL(r, ...)                                                                \
    do {                                                                            \
        char why_[256];                                                             \
        snprintf(why_, sizeof(why_), __VA_ARGS__);                                  \
        fail_msg("%s:%u: %s [%s] at %.6f s", (r)->s->file, (r)->line->number, why_, \
                 (r)->line->text, (double)(r)->p.w.now_ns / 1e9);                   \
    } while (0)

static uint64_t number(struct run *r, const char *s, char **end)
{
    char *e;
    uint64_t v = strtoull(s, &e, 0);
    if (e == s || (!end && *e))
        FAIL(r, "%s is no number", s);
    if (end)
        *end = e;
    return v;
}

static bool is(const struct run *r, unsigned i, const char *word)
{
    return i < r->n && strcmp(r->word[i], word) == 0;
}

/* The word after this one, as a number; or the default. */
static uint64_t option(struct run *r, const char *word, uint64_t none)
{
    for (unsigned i = 0; i + 1 < r->n; i++)
        if (is(r, i, word))
            return number(r, r->word[i + 1], NULL);
    return none;
}

static bool has(const struct run *r, const char *word)
{
    for (unsigned i = 0; i < r->n; i++)
        if (is(r, i, word))
            return true;
    return false;
}

/* ---- the stack ---- */

static void tune(struct net_config *c)
{
    const struct net_config *w = &running->cfg;
    c->max_conns = w->max_conns;
    c->mtu = w->mtu;
    c->backlog = w->backlog;
    c->rcv_buf_bytes = w->rcv_buf_bytes;
    c->snd_buf_bytes = w->snd_buf_bytes;
    c->ooo_bytes = w->ooo_bytes;
    c->ooo_segs = w->ooo_segs;
    c->rto_min_ms = w->rto_min_ms;
    c->rto_max_ms = w->rto_max_ms;
    c->delayed_ack_ms = w->delayed_ack_ms;
    c->time_wait_ms = w->time_wait_ms;
    c->keepalive_s = w->keepalive_s;
    c->keepalive_interval_s = w->keepalive_interval_s;
    c->keepalive_probes = w->keepalive_probes;
    c->initial_window_segs = w->initial_window_segs;
    c->congestion = w->congestion;
    c->no_sack = w->no_sack;
    c->no_ecn = w->no_ecn;
}

static struct flow_key key_of(const struct run *r)
{
    const struct peer *p = &r->p;
    struct net *net = p->stack->net;
    struct flow_key key = {p->ip, net->cfg.ip, p->port, p->stack_port};
    if (p->v6) {
        key.peer_ip = flow_peer6(&net->flow, peer_addr(p));
        key.local_ip = (uint32_t)ip6_local_find(net, wire_ip6(p->stack_ip));
    }
    return key;
}

/* Our ISN or our timestamps begin where the script wants them: both come of clocks, so one waits. */
static void wait_for_numbers(struct run *r)
{
    struct peer *p = &r->p;
    struct net *net = p->stack->net;
    struct flow_key key = key_of(r);
    net_set_now(net, p->w.now_ns);
    if (r->want_isn) {
        uint32_t ticks = r->ours - tcp_isn(net, &key, peer_addr(p));
        p->w.now_ns += (uint64_t)ticks << 12;
    } else if (r->want_ts_ours) {
        uint32_t offset = (uint32_t)(flow_hash(&net->flow, &key) >> 24) * 2654435761u;
        p->w.now_ns += (uint32_t)(r->ts_ours - offset - net->now_ms) * WIRE_MS;
    }
    r->at_ns = p->w.now_ns;
    wire_turn(&p->w);
    p->got_at = p->got_len; /* IPv6 speaks up when it begins */
}

static void up(struct run *r)
{
    if (r->up)
        return;
    running = r;
    peer_up(&r->p, tune);
    r->up = true;
    r->p.tsval = 0;
    wire_turn(&r->p.w);
    net_neigh_learn(r->p.stack->net, peer_addr(&r->p), r->p.mac, r->p.w.now_ns);
    wait_for_numbers(r);
    net_neigh_learn(r->p.stack->net, peer_addr(&r->p), r->p.mac, r->p.w.now_ns);
    r->ts_start_ns = r->at_ns;
}

static void config(struct run *r)
{
    struct net_config *c = &r->cfg;
    struct {
        const char *name;
        uint32_t *at;
    } const table[] = {
        {"rcv_buf", &c->rcv_buf_bytes},
        {"snd_buf", &c->snd_buf_bytes},
        {"ooo_bytes", &c->ooo_bytes},
        {"ooo_segs", &c->ooo_segs},
        {"rto_min", &c->rto_min_ms},
        {"rto_max", &c->rto_max_ms},
        {"delayed_ack", &c->delayed_ack_ms},
        {"time_wait", &c->time_wait_ms},
        {"keepalive", &c->keepalive_s},
        {"keepalive_interval", &c->keepalive_interval_s},
        {"probes", &c->keepalive_probes},
        {"initial_window", &c->initial_window_segs},
        {"backlog", &c->backlog},
        {"max_conns", &c->max_conns},
    };
    const char *const cc[] = {
        [TCP_CC_CUBIC] = "cubic", [TCP_CC_NEWRENO] = "newreno", [TCP_CC_DCTCP] = "dctcp"};
    if (r->up)
        FAIL(r, "config after the stack began");
    for (unsigned i = 1; i < r->n; i++) {
        bool known = true;
        if (is(r, i, "no_sack")) {
            c->no_sack = true;
        } else if (is(r, i, "no_ecn")) {
            c->no_ecn = true;
        } else if (is(r, i, "mtu")) {
            c->mtu = (uint16_t)number(r, r->word[++i], NULL);
        } else {
            known = false;
            for (unsigned k = 0; k < ARRAY_LEN(cc); k++) {
                if (is(r, i, cc[k])) {
                    c->congestion = (enum tcp_congestion)k;
                    known = true;
                }
            }
            for (unsigned k = 0; !known && k < ARRAY_LEN(table); k++) {
                if (is(r, i, table[k].name) && i + 1 < r->n) {
                    *table[k].at = (uint32_t)number(r, r->word[++i], NULL);
                    known = true;
                    break;
                }
            }
        }
        if (!known)
            FAIL(r, "unknown setting %s", r->word[i]);
    }
}

/* ---- segments ---- */

struct segment { /* as a line tells it */
    uint8_t flags;
    bool psh, ranged;
    uint32_t seq, end, len; /* relative; len: of each segment of a series */
};

static void parse_segment(struct run *r, unsigned i, struct segment *g)
{
    static const char letters[] = "FSRP.UEW";
    *g = (struct segment){0};
    if (i >= r->n)
        FAIL(r, "no flags");
    for (const char *c = r->word[i]; *c; c++) {
        const char *at = strchr(letters, *c);
        if (*c == '-')
            continue;
        if (!at)
            FAIL(r, "unknown flag %c", *c);
        g->flags |= (uint8_t)(1u << (at - letters));
    }
    g->psh = g->flags & PEER_PSH;
    if (i + 1 < r->n && isdigit((unsigned char)r->word[i + 1][0])) {
        char *e;
        g->seq = (uint32_t)number(r, r->word[i + 1], &e);
        g->end = g->seq;
        if (*e == ':') {
            g->end = (uint32_t)number(r, e + 1, &e);
            g->len = g->end - g->seq;
            g->ranged = true;
        }
        if (*e == '(')
            g->len = (uint32_t)number(r, e + 1, &e);
        if (g->ranged && g->end != g->seq && !g->len)
            FAIL(r, "a range without length");
    }
}

static uint32_t hex_option(const char *s, uint8_t *o)
{
    uint32_t n = 0;
    for (; isxdigit((unsigned char)s[0]) && isxdigit((unsigned char)s[1]); s += 2) {
        char b[3] = {s[0], s[1], 0};
        o[n++] = (uint8_t)strtoul(b, NULL, 16);
    }
    return n;
}

static uint32_t put32(uint8_t *o, uint32_t v)
{
    be32_t b = be32(v);
    memcpy(o, &b, 4);
    return 4;
}

/* Options of a segment to send, from the words behind '<'. */
static uint32_t put_options(struct run *r, uint8_t *o)
{
    struct peer *p = &r->p;
    uint32_t n = 0;
    bool ts = p->ts && !has(r, "nots");
    uint32_t ms = (uint32_t)((p->w.now_ns - r->ts_start_ns) / WIRE_MS);
    for (unsigned i = 0; i < r->n; i++) {
        if (is(r, i, "mss")) {
            uint32_t v = (uint32_t)number(r, r->word[++i], NULL);
            memcpy(o + n, (uint8_t[]){2, 4, (uint8_t)(v >> 8), (uint8_t)v}, 4);
            n += 4;
        } else if (is(r, i, "wscale")) {
            memcpy(o + n, (uint8_t[]){1, 3, 3, (uint8_t)number(r, r->word[++i], NULL)}, 4);
            n += 4;
        } else if (is(r, i, "sackOK")) {
            memcpy(o + n, "\1\1\4\2", 4);
            n += 4;
        } else if (is(r, i, "sack")) {
            uint32_t at = n + 3, blocks = 0;
            for (n += 4; i + 1 < r->n && strchr(r->word[i + 1], ':'); i++, blocks++) {
                char *e;
                n += put32(o + n, r->ours + (uint32_t)number(r, r->word[i + 1], &e));
                n += put32(o + n, r->ours + (uint32_t)number(r, e + 1, NULL));
            }
            memcpy(o + at - 3, (uint8_t[]){1, 1, 5, (uint8_t)(2 + 8 * blocks)}, 4);
        } else if (is(r, i, "TS")) {
            ts = true;
        } else if (is(r, i, "raw")) {
            n += hex_option(r->word[++i], o + n);
        }
    }
    if (ts) {
        memcpy(o + n, "\1\1\10\12", 4);
        n += 4;
        n += put32(o + n, r->ts_base + (uint32_t)option(r, "val", ms));
        n += put32(o + n, has(r, "ecr") ? (uint32_t)option(r, "ecr", 0) : p->tsecr);
    }
    while (n % 4)
        o[n++] = 0;
    return n;
}

static void inject(struct run *r, const struct segment *g, uint32_t seq, uint32_t len)
{
    struct peer *p = &r->p;
    uint8_t frame[2200], data[2048], opt[60];
    uint32_t opt_len = put_options(r, opt);
    if (len > 1500 || opt_len > 40)
        FAIL(r, "does not fit a frame");
    for (uint32_t i = 0; i < len; i++)
        data[i] = (uint8_t)(stream_octet(5, seq - 1 + i) ^ (has(r, "forge") ? 0xff : 0));
    p->wnd = (uint32_t)option(r, "win", p->wnd);
    p->tos = has(r, "ce") ? 3 : has(r, "ect0") ? 2 : 0;
    uint32_t n = peer_frame_with(p, frame, g->flags, r->theirs + seq,
                                 g->flags & PEER_ACK ? r->ours + (uint32_t)option(r, "ack", 0) : 0,
                                 opt, opt_len, data, len);
    struct tcp_hdr *th = (struct tcp_hdr *)(void *)(frame + 14 + peer_ip_bytes(p));
    if (has(r, "urg"))
        th->urg = be16((uint16_t)option(r, "urg", 0));
    if (has(r, "doff"))
        th->off = (uint8_t)(option(r, "doff", 5) << 4);
    peer_fix_checksums(frame, 14);
    if (has(r, "badsum"))
        th->csum ^= 0x5555;
    if (has(r, "burst"))
        wire_inject(&p->w, p->stack->id, frame, n, 0);
    else
        peer_inject(p, frame, n);
}

static void send_segments(struct run *r)
{
    struct segment g;
    parse_segment(r, 1, &g);
    if (g.flags & PEER_SYN && has(r, "TS"))
        r->p.ts = true;
    uint32_t seq = g.seq, left = g.end - g.seq;
    if (!g.len || g.len >= left) {
        inject(r, &g, seq, g.len);
        return;
    }
    for (; left; seq += g.len, left -= g.len) {
        if (g.len > left)
            g.len = left;
        inject(r, &g, seq, g.len);
    }
    wire_turn(&r->p.w);
}

/* The next segment that the stack sends, waiting until then if need be; NULL: none. */
static struct pkt *next_segment(struct run *r, uint64_t until_ns)
{
    struct peer *p = &r->p;
    while (p->got_at == p->got_len) {
        uint64_t next = net_next_timer_ns(p->stack->net);
        if (p->w.now_ns >= until_ns)
            return NULL;
        if (net_output_pending(p->stack->net))
            next = p->w.now_ns + 1000;
        peer_wait(p, (next < until_ns && next > p->w.now_ns ? next : until_ns) - p->w.now_ns);
    }
    return &p->got[p->got_at++];
}

static void check_blocks(struct run *r, const struct pkt *k)
{
    unsigned blocks = 0;
    for (unsigned i = 0; i < r->n; i++) {
        if (!is(r, i, "sack"))
            continue;
        for (; i + 1 < r->n && strchr(r->word[i + 1], ':'); i++, blocks++) {
            char *e;
            uint32_t from = r->theirs + (uint32_t)number(r, r->word[i + 1], &e);
            uint32_t to = r->theirs + (uint32_t)number(r, e + 1, NULL);
            if (blocks >= k->sack_n || k->sack[blocks][0] != from || k->sack[blocks][1] != to)
                FAIL(r, "block %u of %u is %u:%u", blocks, k->sack_n,
                     blocks < k->sack_n ? k->sack[blocks][0] - r->theirs : 0,
                     blocks < k->sack_n ? k->sack[blocks][1] - r->theirs : 0);
        }
        if (k->sack_n != blocks)
            FAIL(r, "%u SACK blocks", k->sack_n);
    }
    if (has(r, "nosack") && k->sack_n)
        FAIL(r, "has SACK blocks");
}

static void check_options(struct run *r, const struct pkt *k)
{
    if (!(k->flags & PEER_SYN) && (k->mss || k->has_wscale || k->sack_ok)) /* MUST-65 */
        FAIL(r, "says in a later segment what belongs into a SYN");
    if (has(r, "mss") && k->mss != option(r, "mss", 0))
        FAIL(r, "MSS %u", k->mss);
    if (has(r, "wscale") && (!k->has_wscale || k->wscale != option(r, "wscale", 0)))
        FAIL(r, "window scale %d", k->has_wscale ? k->wscale : -1);
    if (has(r, "nowscale") && k->has_wscale)
        FAIL(r, "has a window scale");
    if (has(r, "sackOK") && !k->sack_ok)
        FAIL(r, "no SACK permitted");
    if (has(r, "nosackOK") && k->sack_ok)
        FAIL(r, "SACK permitted");
    if ((has(r, "TS") && !k->has_ts) || (has(r, "nots") && k->has_ts))
        FAIL(r, "timestamp: %d", k->has_ts);
    if (has(r, "ecr") && k->tsecr != r->ts_base + (uint32_t)option(r, "ecr", 0))
        FAIL(r, "echoes %u", k->tsecr - r->ts_base);
    if (has(r, "tsval") && k->tsval != option(r, "tsval", 0))
        FAIL(r, "timestamp %u", k->tsval);
    check_blocks(r, k);
}

static void check_segment(struct run *r, const struct segment *g, const struct pkt *k, uint32_t seq,
                          uint32_t len)
{
    if (k->flags & PEER_SYN && (!r->ours_known || has(r, "new"))) {
        if (r->want_isn && !has(r, "new") && k->seq - r->ours > 2)
            FAIL(r, "our ISN is %u", k->seq);
        r->ours = k->seq;
        r->ours_known = true;
    }
    uint8_t want = g->flags & (uint8_t)~PEER_PSH, got = k->flags & (uint8_t)~PEER_PSH;
    bool bare_rst = (k->flags & PEER_RST) && has(r, "abs");
    uint32_t got_seq = bare_rst ? k->seq : k->seq - r->ours, got_ack = k->ack - r->theirs;
    if (got != want || (g->psh && !(k->flags & PEER_PSH)) || got_seq != seq || k->len != len)
        FAIL(r, "sent flags %02x seq %u len %u ack %u win %u", k->flags, got_seq, k->len, got_ack,
             k->wnd);
    if (has(r, "ack") && (!(k->flags & PEER_ACK) || got_ack != (uint32_t)option(r, "ack", 0)))
        FAIL(r, "acknowledges %u", got_ack);
    if (has(r, "win") && k->wnd != option(r, "win", 0))
        FAIL(r, "window %u", k->wnd);
    if ((has(r, "ect0") && k->tos != 2) || (has(r, "noect") && k->tos != 0))
        FAIL(r, "ECN field %u", k->tos);
    check_options(r, k);
    for (uint32_t i = 0; i < len; i++) {
        if (k->data[i] != stream_octet(3, seq - 1 + i))
            FAIL(r, "octet %u differs", seq + i);
    }
    if (k->has_ts)
        r->p.tsecr = k->tsval;
}

/* "+t", "+a~b" or "*": earliest and latest time of what follows. */
static void parse_time(struct run *r, uint64_t *from, uint64_t *to)
{
    const char *w = r->word[0];
    char *e;
    *from = *to = r->at_ns;
    if (strcmp(w, "*") == 0) {
        *to = r->at_ns + PATIENCE_NS;
        return;
    }
    if (*w != '+')
        FAIL(r, "no time");
    *from += (uint64_t)(strtod(w + 1, &e) * 1e9 + 0.5);
    *to = *from + TOLERANCE_NS;
    if (*e == '~')
        *to = r->at_ns + (uint64_t)(strtod(e + 1, &e) * 1e9 + 0.5);
    if (*e)
        FAIL(r, "what time is that");
}

static void expect_segments(struct run *r, uint64_t from, uint64_t to)
{
    struct segment g;
    parse_segment(r, 1, &g);
    uint32_t seq = g.seq, left = g.end - g.seq;
    if (!g.len || g.len > left)
        left = g.len;
    do {
        struct pkt *k = next_segment(r, to);
        if (!k)
            FAIL(r, "nothing was sent");
        if (k->at_ns < from || k->at_ns > to)
            FAIL(r, "came %+.6f s off", ((double)k->at_ns - (double)from) / 1e9);
        uint32_t len = g.len < left ? g.len : left;
        check_segment(r, &g, k, seq, len);
        r->at_ns = k->at_ns;
        seq += len;
        left -= len;
    } while (left);
}

/* ---- what the application does, and sees ---- */

static uint64_t variable(struct run *r, const char *name)
{
    const struct peer *p = &r->p;
    const struct stats_worker *st = &p->stack->stats;
    struct tcp_info ti = {0};
    if (p->s && p->s->tc)
        tcp_info(p->s->tc, &ti);
    const struct {
        const char *name;
        uint64_t value;
    } values[] = {
        {"rx", p->s ? p->s->rx_seen : 0},
        {"err", p->s ? (uint64_t)(uint32_t)-p->s->err : 0},
        {"connect_err", p->s ? (uint64_t)(uint32_t)-p->s->connect_err : 0},
        {"closed", p->s ? p->s->closed : 0},
        {"connected", p->s ? p->s->connected : 0},
        {"peer_closed", p->s ? p->s->peer_closed : 0},
        {"mismatch", p->s ? p->s->mismatch : 0},
        {"writable", p->s ? p->s->writable_calls : 0},
        {"accepted", p->app->accepted},
        {"icmps", p->icmps},
        {"cwnd", ti.cwnd},
        {"ssthresh", ti.ssthresh},
        {"srtt_ms", (ti.srtt_us + 500) / 1000},
        {"rto_ms", (ti.rto_us + 500) / 1000},
        {"mss", ti.mss},
        {"snd_wnd", ti.snd_wnd},
        {"rcv_wnd", ti.rcv_wnd},
        {"unacked", ti.unacked_bytes},
        {"unsent", ti.unsent_bytes},
        {"ooo", ti.ooo_bytes},
        {"retrans", ti.retrans},
        {"sacked", ti.sacked_bytes},
        {"lost", ti.lost_bytes},
#define METRIC(field, kind, section, shown, help) {#field, st->field},
#include "engine/link/metrics.def"
#undef METRIC
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        if (strcmp(values[i].name, name) == 0)
            return values[i].value;
    FAIL(r, "unknown variable %s", name);
    return 0;
}

static const char *state_now(const struct run *r)
{
    struct net *net = r->p.stack->net;
    struct flow_key key = key_of(r);
    for (uint32_t i = 0; i < net->cfg.max_conns; i++) {
        const struct tcp_conn *tc = &net->conns[i];
        if (tc->net && tc->state != TCP_CLOSED && flow_key_equal(&tc->key, &key))
            return tcp_state_name(tc->state);
    }
    return "CLOSED";
}

static void expect(struct run *r)
{
    for (unsigned i = 2; i < r->n; i++) {
        char *op = strpbrk(r->word[i], "<>=");
        if (!op)
            FAIL(r, "expect NAME=VALUE");
        char kind = *op;
        *op = 0;
        if (strcmp(r->word[i], "state") == 0) {
            if (strcmp(state_now(r), op + 1) != 0)
                FAIL(r, "the state is %s", state_now(r));
            continue;
        }
        uint64_t got = variable(r, r->word[i]), want = number(r, op + 1, NULL);
        if (kind == '<' ? got >= want : kind == '>' ? got <= want : got != want)
            FAIL(r, "%s is %llu", r->word[i], (unsigned long long)got);
    }
}

static void connect_out(struct run *r)
{
    struct peer *p = &r->p;
    p->s = &p->app->stream[p->app->used++];
    *p->s = (struct stream){.tx_seed = 3, .rx_seed = 5, .host = p->stack};
    p->s->tc =
        tcp_connect_to(p->stack->net, peer_addr(p), p->port, p->stack_port, p->s, p->w.now_ns);
    wire_turn(&p->w);
}

static void icmp(struct run *r)
{
    uint8_t f[512];
    struct peer *p = &r->p;
    int kind = is(r, 2, "toobig")        ? PEER_TOO_BIG
               : is(r, 2, "unreachable") ? PEER_UNREACHABLE
                                         : PEER_TIME;
    uint32_t bytes = (uint32_t)option(r, "payload", 1000) + peer_ip_bytes(p) + 20;
    if (p->ts)
        bytes += 12;
    uint32_t n = peer_error_frame(p, f, kind, (uint32_t)option(r, "mtu", 0),
                                  r->ours + (uint32_t)option(r, "seq", 1), bytes);
    peer_inject(p, f, n);
}

/* The handshake that most scripts begin with. */
static void open_now(struct run *r)
{
    struct peer *p = &r->p;
    uint8_t opt[60], frame[128];
    uint32_t n = 0, mss = (uint32_t)option(r, "mss", 1000);
    up(r);
    memcpy(opt, (uint8_t[]){2, 4, (uint8_t)(mss >> 8), (uint8_t)mss}, 4);
    n = 4;
    if (has(r, "wscale")) {
        memcpy(opt + n, (uint8_t[]){1, 3, 3, (uint8_t)option(r, "wscale", 0)}, 4);
        n += 4;
    }
    if (!has(r, "nosack")) {
        memcpy(opt + n, "\1\1\4\2", 4);
        n += 4;
    }
    p->ts = has(r, "ts");
    if (p->ts) {
        memcpy(opt + n, "\1\1\10\12", 4);
        n += 4;
        n += put32(opt + n, r->ts_base);
        n += put32(opt + n, 0);
    }
    uint8_t flags = PEER_SYN | (has(r, "ecn") ? PEER_ECE | PEER_CWR : 0);
    peer_inject(p, frame, peer_frame_with(p, frame, flags, r->theirs, 0, opt, n, NULL, 0));
    struct pkt *k = next_segment(r, p->w.now_ns);
    if (!k || (k->flags & (PEER_SYN | PEER_ACK)) != (PEER_SYN | PEER_ACK))
        FAIL(r, "no SYN-ACK");
    r->ours = k->seq;
    r->ours_known = true;
    p->tsecr = k->tsval;
    if (has(r, "rtt"))
        peer_wait(p, option(r, "rtt", 0) * WIRE_MS);
    p->wnd = (uint32_t)option(r, "win", 0xffff);
    p->tsval = r->ts_base + (uint32_t)((p->w.now_ns - r->ts_start_ns) / WIRE_MS);
    peer_seg(p, PEER_ACK, r->theirs + 1, r->ours + 1, NULL, 0);
    r->at_ns = p->w.now_ns;
    if (p->app->accepted == 0)
        FAIL(r, "not accepted");
}

/* ---- statements ---- */

static void act(struct run *r, uint64_t from, uint64_t to)
{
    struct peer *p = &r->p;
    const char *verb = r->n > 1 ? r->word[1] : "";
    if (strcmp(verb, ">") == 0) {
        memmove(&r->word[1], &r->word[2], (r->n - 1) * sizeof(r->word[0]));
        r->n--;
        expect_segments(r, from, to);
        return;
    }
    if (from > p->w.now_ns)
        peer_wait(p, from - p->w.now_ns);
    r->at_ns = p->w.now_ns;
    if (p->got_at < p->got_len) {
        const struct pkt *k = &p->got[p->got_at];
        FAIL(r, "unexpected: flags %02x seq %u len %u ack %u at %.6f", k->flags, k->seq - r->ours,
             k->len, k->ack - r->theirs, (double)k->at_ns / 1e9);
    }
    if (!p->s && p->app->used)
        p->s = &p->app->stream[0];
    if (strcmp(verb, "<") == 0) {
        memmove(&r->word[1], &r->word[2], (r->n - 1) * sizeof(r->word[0]));
        r->n--;
        send_segments(r);
    } else if (strcmp(verb, "expect") == 0) {
        expect(r);
    } else if (strcmp(verb, "write") == 0) {
        peer_app_write(p, number(r, r->word[2], NULL));
    } else if (strcmp(verb, "close") == 0) {
        p->s->want_close = true;
        if (!p->s->connected && !p->s->accepted)
            tcp_close(p->s->tc);
        wire_turn(&p->w);
    } else if (strcmp(verb, "abort") == 0) {
        struct tcp_conn *tc = p->s->tc;
        p->s->tc = NULL;
        tcp_abort(tc);
        wire_turn(&p->w);
    } else if (strcmp(verb, "hold") == 0) {
        p->s->hold_all = true;
    } else if (strcmp(verb, "digest") == 0) {
        p->s->rx_held -= number(r, r->word[2], NULL);
        tcp_rx_hold(p->s->tc, p->s->rx_held);
        wire_turn(&p->w);
    } else if (strcmp(verb, "refuse") == 0) {
        p->app->refuse = true;
    } else if (strcmp(verb, "connect") == 0) {
        connect_out(r);
    } else if (strcmp(verb, "icmp") == 0) {
        icmp(r);
    } else if (strcmp(verb, "stream") ==
               0) { /* the application's view moves to its next connection */
        p->s = &p->app->stream[p->app->used - 1];
    } else if (strcmp(verb, "peer") == 0) { /* the next incarnation's numbers */
        r->theirs = (uint32_t)option(r, "isn", r->theirs);
        p->port = (uint16_t)option(r, "port", p->port);
        p->ts = false;
    } else if (*verb) {
        FAIL(r, "unknown statement");
    }
}

static void split(struct run *r)
{
    char *save;
    snprintf(r->words, sizeof(r->words), "%s", r->line->text);
    r->n = 0;
    for (char *w = strtok_r(r->words, " ,\t", &save); w; w = strtok_r(NULL, " ,\t", &save)) {
        if (r->n + 1 == ARRAY_LEN(r->word))
            FAIL(r, "too many words");
        if (strcmp(w, "<") != 0 || r->n < 2) {
            if (r->n >= 2 && *w == '<')
                w++;
            size_t len = strlen(w);
            if (r->n >= 2 && len > 1 && w[len - 1] == '>')
                w[len - 1] = 0;
        }
        r->word[r->n++] = w;
    }
    r->word[r->n] = NULL;
}

static void statement(struct run *r)
{
    uint64_t from, to;
    split(r);
    if (is(r, 0, "config")) {
        config(r);
    } else if (is(r, 0, "isn")) {
        r->theirs = (uint32_t)option(r, "peer", r->theirs);
        r->ours = (uint32_t)option(r, "us", 0);
        r->want_isn = has(r, "us");
    } else if (is(r, 0, "tsclock")) {
        r->ts_base = (uint32_t)option(r, "peer", r->ts_base);
        r->ts_ours = (uint32_t)option(r, "us", 0);
        r->want_ts_ours = has(r, "us");
    } else if (
        is(r, 0,
           "ports")) { /* no listener at the port that the peer sends to; or an active open's */
        up(r);
        r->p.stack_port = (uint16_t)number(r, r->word[1], NULL);
    } else if (is(r, 0, "open")) {
        open_now(r);
    } else {
        up(r);
        parse_time(r, &from, &to);
        act(r, from, to);
    }
}

void script_run(const struct script *s)
{
    struct run *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->s = s;
    r->theirs = 5000;
    r->ts_base = 100000;
    wire_config(&r->cfg, 0);
    r->cfg.rto_min_ms = 20;
    for (size_t i = 0; i < s->count; i++) {
        r->line = &s->lines[i];
        statement(r);
    }
    if (r->p.got_at < r->p.got_len)
        FAIL(r, "the stack sent more than the script tells");
    for (unsigned i = 0; i < r->p.app->used; i++)
        assert_false(r->p.app->stream[i].mismatch);
    peer_down(&r->p);
    free(r);
}
