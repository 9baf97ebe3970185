/* sim_net: two whole TCP stacks over a bad wire, by seed: several connections that stream, ask and
 * answer, read slowly, abort, die silently. What arrives must be what was sent, every connection must
 * end, and nothing may be left in either stack. The rules of tap.h hold for every segment.
 *
 *     sim_net [--seeds FROM..TO] [--trace] [--once]     a long run: --seeds 1..100000 --once */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_mempool.h>

#include "tests/sim/sim.h"
#include "tests/sim/tap.h"

#define CONNS_MAX   12
#define PORT_LISTEN 7000
#define PORT_FIRST  20000
#define PERIOD      65521 /* of the octet pattern: a prime, so that no round shift goes unnoticed */
#define NEVER       UINT64_MAX

enum pattern {
    STREAM,   /* both directions at once, as fast as they can */
    REQUESTS, /* the client asks, the server answers, several requests at a time */
    UPLOAD,   /* the client sends all and closes; the server only reads */
    DOWNLOAD, /* the server sends all and closes first */
    DISCARD,  /* the client closes while the server still sends: RST (RFC 9293 3.6.1) */
    ABORT,    /* one side resets in the middle */
    SILENT,   /* the line dies for both or for one direction and never comes back */
    REFUSED,  /* nobody listens there */
    DENIED,   /* the listener's application does not want it */
    CROSSED,  /* both sides open at the same time */
    PATTERNS
};

struct conn_plan;
struct end {
    struct conn_plan *plan;
    bool server;
    struct tcp_conn *tc;
    uint64_t tx_total, tx_done, rx_total, rx_seen, held;
    uint64_t drain_bytes, drain_every_ns, drain_next_ns; /* a slow reader; 0: not */
    uint32_t chunk;                                      /* largest single write */
    bool started, open, peer_closed, close_said, closed, aborted;
    bool closes_first;
    int err;
};

struct conn_plan {
    enum pattern pattern;
    uint16_t cport, sport;
    uint32_t req, resp, depth;
    uint64_t start_ns, dead_ns; /* SILENT: from then on nothing passes */
    bool dead_up, dead_down;
    uint64_t abort_at_bytes; /* received by the one that aborts */
    bool server_aborts;
    uint32_t base;
    struct end end[2];
};

struct run {
    struct sim sim;
    struct sim_node *client, *server;
    struct conn_plan plan[CONNS_MAX];
    unsigned conns;
    bool bad_line; /* a handshake may fail */
};

static uint8_t pattern[PERIOD * 2];
static struct run run;
static struct {
    uint64_t conns, bytes, segments, frames, resets, timeouts, handshakes, retrans;
} total;

/* ---- octets ---- */

static uint64_t pattern_at(const struct end *e, bool by_server, uint64_t off)
{
    return (e->plan->base + (by_server ? PERIOD / 2u : 0) + off) % PERIOD;
}

static void pattern_fill(const struct end *e, uint8_t *p, size_t n)
{
    for (size_t i = 0, step; i < n; i += step) {
        step = n - i < PERIOD ? n - i : PERIOD;
        memcpy(p + i, pattern + pattern_at(e, e->server, e->tx_done + i), step);
    }
}

static bool pattern_equal(const struct end *e, const uint8_t *p, size_t n)
{
    for (size_t i = 0, step; i < n; i += step) {
        step = n - i < PERIOD ? n - i : PERIOD;
        if (memcmp(p + i, pattern + pattern_at(e, !e->server, e->rx_seen + i), step) != 0)
            return false;
    }
    return true;
}

/* ---- one end of a connection ---- */

static void event(const struct end *e, uint64_t what, uint64_t v)
{
    sim_mix(&run.sim,
            (uint64_t)(e->plan - run.plan) << 32 ^ (uint64_t)e->server << 48 ^ what << 56 ^ v);
}

/* How far this end may write by now. */
static uint64_t tx_allowed(const struct end *e)
{
    const struct conn_plan *p = e->plan;
    if (p->pattern != REQUESTS)
        return e->tx_total;
    uint64_t n =
        e->server ? e->rx_seen / p->req * p->resp : (e->rx_seen / p->resp + p->depth) * p->req;
    return n < e->tx_total ? n : e->tx_total;
}

static bool wants_close(const struct end *e)
{
    if (e->tx_done < e->tx_total || e->held)
        return false;
    if (e->plan->pattern == DISCARD && !e->server)
        return true;
    return e->rx_seen >= e->rx_total && (e->closes_first || e->peer_closed);
}

static void end_pump(struct end *e)
{
    while (e->tc && e->open && e->tx_done < tx_allowed(e)) {
        size_t room, left = tx_allowed(e) - e->tx_done;
        uint8_t *p = tcp_tx_reserve(e->tc, &room);
        if (!p)
            return;
        if (room > left)
            room = left;
        if (room > e->chunk)
            room = e->chunk;
        pattern_fill(e, p, room);
        tcp_tx_commit(e->tc, room);
        e->tx_done += room;
    }
    if (e->tc && e->open && !e->close_said && wants_close(e)) {
        e->close_said = true;
        tcp_close(e->tc);
    }
}

static void end_abort(struct end *e)
{
    struct tcp_conn *tc = e->tc;
    event(e, 1, e->rx_seen);
    e->aborted = e->closed = true;
    e->tc = NULL;
    tcp_abort(tc);
}

static void end_open(struct end *e, struct tcp_conn *tc)
{
    e->tc = tc;
    e->open = true;
    event(e, 2, 0);
    end_pump(e);
}

static void *on_accepted(void *ctx, struct tcp_conn *tc)
{
    struct tcp_addr a;
    tcp_addr(tc, &a);
    (void)ctx;
    for (unsigned i = 0; i < run.conns; i++) {
        struct conn_plan *p = &run.plan[i];
        if (p->cport != a.peer_port)
            continue;
        if (p->pattern == DENIED)
            return NULL;
        struct end *e = &p->end[1];
        SIM_CHECK(&run.sim, !e->started, "port %u is accepted twice", p->cport);
        e->started = true;
        end_open(e, tc);
        return e;
    }
    sim_fail(&run.sim, "accepted a connection from port %u that nobody opened", a.peer_port);
}

static void on_connected(void *cookie, struct tcp_conn *tc, int err)
{
    struct end *e = cookie;
    event(e, 3, (uint64_t)err);
    SIM_CHECK(&run.sim, !e->open && !e->closed, "connected twice");
    if (err) {
        e->err = err;
        e->closed = true;
        e->tc = NULL;
        return;
    }
    end_open(e, tc);
}

static void on_received(void *cookie, const uint8_t *p, size_t n)
{
    struct end *e = cookie;
    SIM_CHECK(&run.sim, n && e->open && !e->closed && !e->peer_closed,
              "port %u: %zu octets out of turn", e->plan->cport, n);
    SIM_CHECK(&run.sim, e->rx_seen + n <= e->rx_total && pattern_equal(e, p, n),
              "port %u: octets %llu+%zu of %llu are not what was sent", e->plan->cport,
              (unsigned long long)e->rx_seen, n, (unsigned long long)e->rx_total);
    e->rx_seen += n;
    if (e->plan->pattern == ABORT && e->plan->server_aborts == e->server &&
        e->rx_seen >= e->plan->abort_at_bytes) {
        end_abort(e);
        return;
    }
    if (e->drain_bytes) {
        e->held += n;
        tcp_rx_hold(e->tc, e->held);
        if (e->drain_next_ns == NEVER)
            e->drain_next_ns = run.sim.now_ns + e->drain_every_ns;
    }
    end_pump(e);
}

static void on_peer_closed(void *cookie)
{
    struct end *e = cookie;
    event(e, 4, e->rx_seen);
    SIM_CHECK(&run.sim, !e->peer_closed, "the peer's FIN is told twice");
    SIM_CHECK(&run.sim, e->rx_seen == e->rx_total || e->plan->pattern == DISCARD,
              "port %u: FIN after %llu of %llu octets", e->plan->cport,
              (unsigned long long)e->rx_seen, (unsigned long long)e->rx_total);
    e->peer_closed = true;
    end_pump(e);
}

static void on_writable(void *cookie)
{
    end_pump(cookie);
}

static void on_closed(void *cookie, int err)
{
    struct end *e = cookie;
    event(e, 5, (uint64_t)err);
    SIM_CHECK(&run.sim, !e->closed, "closed twice");
    e->closed = true;
    e->err = err;
    e->tc = NULL;
}

static const struct tcp_app app = {.accepted = on_accepted,
                                   .connected = on_connected,
                                   .received = on_received,
                                   .peer_closed = on_peer_closed,
                                   .writable = on_writable,
                                   .closed = on_closed};

/* ---- the application's own clock ---- */

static void end_start(struct end *e, struct sim_node *n, uint16_t local, uint32_t ip, uint16_t port)
{
    e->started = true;
    e->tc = tcp_connect_to(n->net, sim_address(&run.sim, ip), port, local, e, run.sim.now_ns);
    SIM_CHECK(&run.sim, e->tc != NULL, "no record for port %u", local);
}

static void step(void *ctx, uint64_t now)
{
    struct sim_node *n = ctx;
    bool server = n == run.server;
    uint64_t next = NEVER;
    for (unsigned i = 0; i < run.conns; i++) {
        struct conn_plan *p = &run.plan[i];
        struct end *e = &p->end[server];
        if (!e->started && (!server || p->pattern == CROSSED)) {
            if (p->start_ns <= now)
                end_start(e, n, server ? p->sport : p->cport,
                          server ? run.client->cfg.ip : run.server->cfg.ip,
                          server ? p->cport : p->sport);
            else if (p->start_ns < next)
                next = p->start_ns;
        }
        if (!e->tc || !e->held)
            continue;
        if (e->drain_next_ns <= now) {
            e->held -= e->held < e->drain_bytes ? e->held : e->drain_bytes;
            tcp_rx_hold(e->tc, e->held);
            e->drain_next_ns = e->held ? now + e->drain_every_ns : NEVER;
            end_pump(e);
        }
        if (e->held && e->drain_next_ns < next)
            next = e->drain_next_ns;
    }
    n->step_next_ns = next;
}

/* SILENT: frames of a connection whose line is dead vanish. */
static bool alive(void *ctx, const struct sim_node *from, const uint8_t *p, uint32_t len)
{
    (void)ctx;
    bool up = from == run.client;
    const uint8_t *port = sim_tcp(from, p, len);
    if (!port)
        return true;
    port += up ? 0 : 2; /* the client's */
    unsigned i = (unsigned)(port[0] << 8 | port[1]) - PORT_FIRST;
    if (i >= run.conns || run.plan[i].pattern != SILENT || run.sim.now_ns < run.plan[i].dead_ns)
        return true;
    return up ? !run.plan[i].dead_up : !run.plan[i].dead_down;
}

/* ---- what a seed means ---- */

static uint64_t some_bytes(struct sim *s, unsigned max_log2)
{
    uint64_t top = 1ull << sim_between(s, 0, max_log2);
    return sim_between(s, 0, top);
}

/* In less time than LIMIT_TCP_FIN_WAIT2_S: a peer that has closed does not wait longer for our FIN. */
static void slow_reader(struct sim *s, struct end *e)
{
    uint64_t steps = sim_between(s, 1, 200);
    e->drain_bytes = e->rx_total / steps + 1;
    e->drain_every_ns = sim_between(s, 1, 200) * SIM_MS / (1 + sim_random(s) % 100);
}

static void plan_sizes(struct sim *s, struct conn_plan *p, unsigned max_log2)
{
    struct end *c = &p->end[0], *v = &p->end[1];
    uint64_t up = some_bytes(s, max_log2), down = some_bytes(s, max_log2), n;
    switch (p->pattern) {
    case REQUESTS:
        p->req = (uint32_t)sim_between(s, 1, 1u << sim_between(s, 0, 12));
        p->resp = (uint32_t)sim_between(s, 1, 1u << sim_between(s, 0, 14));
        p->depth = (uint32_t)sim_between(s, 1, 16);
        n = sim_between(s, 1, 60);
        up = n * p->req;
        down = n * p->resp;
        break;
    case UPLOAD: down = 0; break;
    case DOWNLOAD: up = 0; break;
    case ABORT:
        up += 1000;
        down += 1000;
        p->server_aborts = sim_random(s) & 1;
        p->abort_at_bytes = sim_between(s, 1, p->server_aborts ? up : down);
        break;
    default: break;
    }
    c->tx_total = v->rx_total = up;
    v->tx_total = c->rx_total = down;
    c->closes_first = p->pattern != DOWNLOAD && (sim_random(s) & 1);
    v->closes_first = !c->closes_first || sim_random(s) % 4 == 0;
}

static void plan_one(struct sim *s, struct conn_plan *p, unsigned i, unsigned max_log2)
{
    static const enum pattern often[] = {STREAM, STREAM, REQUESTS, REQUESTS, UPLOAD, DOWNLOAD};
    uint64_t pick = sim_random(s) % (PATTERNS + ARRAY_LEN(often));
    *p = (struct conn_plan){
        .pattern = pick < PATTERNS ? (enum pattern)pick : often[pick - PATTERNS],
        .cport = (uint16_t)(PORT_FIRST + i),
        .sport = PORT_LISTEN,
        .start_ns = SIM_START + sim_random(s) % (50 * SIM_MS),
        .base = (uint32_t)(sim_random(s) % PERIOD),
    };
    if (p->pattern == REFUSED)
        p->sport = PORT_LISTEN + 1;
    if (p->pattern == CROSSED)
        p->sport = (uint16_t)(PORT_LISTEN + 2 + i);
    for (unsigned k = 0; k < 2; k++)
        p->end[k] = (struct end){.plan = p,
                                 .server = k == 1,
                                 .drain_next_ns = NEVER,
                                 .chunk = sim_random(s) % 4 ? UINT32_MAX
                                                            : (uint32_t)sim_between(s, 1, 3000)};
    plan_sizes(s, p, max_log2);
    for (unsigned k = 0; k < 2; k++) {
        if (sim_random(s) % 4 == 0)
            slow_reader(s, &p->end[k]);
    }
    if (p->pattern == SILENT) {
        p->dead_ns = p->start_ns + sim_random(s) % (20 * SIM_MS);
        p->dead_up = sim_random(s) % 3 != 0;
        p->dead_down = !p->dead_up || sim_random(s) % 2;
    }
}

static void node_config(struct sim *s, struct sim_node *n)
{
    struct net_config *c = &n->cfg;
    if (sim_random(s) % 3 == 0)
        c->rcv_buf_bytes = (uint32_t)sim_between(s, 600, 1u << sim_between(s, 10, 20));
    if (sim_random(s) % 3 == 0)
        c->snd_buf_bytes = (uint32_t)sim_between(s, 600, 1u << sim_between(s, 10, 20));
    if (sim_random(s) % 4 == 0)
        c->ooo_bytes = (uint32_t)sim_between(s, 0, 65536);
    if (sim_random(s) % 4 == 0)
        c->ooo_segs = (uint32_t)sim_between(s, 0, 20);
    if (sim_random(s) % 4 == 0)
        c->initial_window_segs = (uint32_t)sim_between(s, 1, 10);
    if (sim_random(s) % 4 == 0)
        c->rto_min_ms = (uint32_t)sim_between(s, 5, 200);
    c->congestion = (enum tcp_congestion)(sim_random(s) % TCP_CC_COUNT);
    c->no_sack = sim_random(s) % 4 == 0;
    c->no_ecn = sim_random(s) % 4 == 0;
    if (sim_random(s) % 4 == 0)
        c->delayed_ack_ms = (uint32_t)sim_between(s, 1, 200);
    if (sim_random(s) % 4 == 0)
        n->nic_hold = (uint32_t)sim_between(s, 1, ARRAY_LEN(n->held));
    if (sim_random(s) % 4 == 0)
        n->refuse_ppm = (uint32_t)sim_between(s, 1000, 500000);
    sim_node_card(n);
    n->step = step;
    n->step_ctx = n;
    n->step_next_ns = SIM_START;
    sim_profile(s, &n->impair);
    run.bad_line |=
        n->impair.loss_ppm || n->impair.burst_ppm || n->impair.corrupt_ppm || n->impair.queue_ns;
}

static void setup(uint64_t seed, bool verbose)
{
    struct sim *s = &run.sim;
    memset(&run, 0, sizeof(run));
    sim_init(s, seed);
    s->verbose = verbose;
    s->alive = alive;
    tap_new(s);
    run.client = sim_node(s, 0x0a000001, NULL);
    run.server = sim_node(s, 0x0a000002, NULL);
    run.server->cfg.listen_port = PORT_LISTEN;
    node_config(s, run.client);
    node_config(s, run.server);
    run.client->cfg.vlan = run.server->cfg.vlan = sim_random(s) % 8 ? 0 : 42;
    run.client->cfg.mtu = run.server->cfg.mtu =
        sim_random(s) % 4 ? 1500 : (uint16_t)sim_between(s, 576, 4000);
    run.conns = (unsigned)sim_between(s, 1, CONNS_MAX);
    unsigned max_log2 = (unsigned)sim_between(s, 8, 20);
    for (unsigned i = 0; i < run.conns; i++)
        plan_one(s, &run.plan[i], i, max_log2);
    sim_node_net(run.client, &app);
    sim_node_net(run.server, &app);
}

/* ---- how it must end ---- */

static bool end_over(const struct end *e)
{
    return e->closed || !e->started;
}

static bool all_over(void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < run.conns; i++) {
        const struct conn_plan *p = &run.plan[i];
        if (!p->end[0].closed || !end_over(&p->end[1]))
            return false;
    }
    return true;
}

static void check_transfer(const struct conn_plan *p)
{
    for (unsigned k = 0; k < 2; k++) {
        const struct end *e = &p->end[k];
        SIM_CHECK(&run.sim, e->started && e->open, "port %u: side %u was never open", p->cport, k);
        SIM_CHECK(&run.sim, !e->err, "port %u (pattern %d): side %u ended with %s", p->cport,
                  p->pattern, k, strerror(-e->err));
        SIM_CHECK(&run.sim, e->rx_seen == e->rx_total && e->tx_done == e->tx_total,
                  "port %u: side %u has %llu of %llu octets", p->cport, k,
                  (unsigned long long)e->rx_seen, (unsigned long long)e->rx_total);
        total.bytes += e->rx_seen;
    }
}

static void check_end(const struct conn_plan *p)
{
    const struct end *c = &p->end[0], *v = &p->end[1];
    total.conns++;
    if (run.bad_line && p->pattern != REFUSED && p->pattern != DENIED && !(c->open && v->open) &&
        c->err && (!v->started || v->err || v->aborted)) {
        /* Five SYN-ACKs lost: the odds of a bad line. Rare, unless the line is dead. */
        total.handshakes += p->pattern != SILENT && p->pattern != ABORT;
        return;
    }
    switch (p->pattern) {
    case REFUSED:
        SIM_CHECK(&run.sim, c->err == -ECONNREFUSED && !c->open, "a closed port: %d", c->err);
        return;
    case DENIED:
        SIM_CHECK(&run.sim, c->err == -ECONNRESET || c->err == -ETIMEDOUT, "not wanted: %d",
                  c->err);
        return;
    case DISCARD:
        SIM_CHECK(&run.sim, v->rx_seen == v->rx_total || v->err, "data cut without an error");
        return;
    case ABORT:
        SIM_CHECK(&run.sim, c->aborted != v->aborted, "exactly one side aborts");
        SIM_CHECK(&run.sim, (c->aborted ? v : c)->err, "an abort that looks like a close");
        return;
    case SILENT:
        for (unsigned k = 0; k < 2; k++)
            SIM_CHECK(&run.sim,
                      p->end[k].err || !p->end[k].open || p->end[k].rx_seen == p->end[k].rx_total,
                      "port %u: silence taken for a close", p->cport);
        total.timeouts += c->err == -ETIMEDOUT || v->err == -ETIMEDOUT;
        return;
    case CROSSED: /* a SYN that came before the other side opened was refused */
        if (c->err == -ECONNREFUSED || v->err == -ECONNREFUSED || !v->started)
            return;
        check_transfer(p);
        return;
    default: check_transfer(p);
    }
}

static uint64_t one(uint64_t seed, bool verbose)
{
    struct sim *s = &run.sim;
    setup(seed, verbose);
    if (!sim_run(s, SIM_START + 2 * SIM_HOUR, all_over, NULL)) {
        for (unsigned i = 0; i < run.conns; i++) {
            for (unsigned k = 0; k < 2; k++) {
                struct end *e = &run.plan[i].end[k];
                if (end_over(e))
                    continue;
                fprintf(
                    stderr,
                    "port %u side %u pattern %d: rx %llu/%llu tx %llu/%llu held %llu state %s\n",
                    run.plan[i].cport, k, run.plan[i].pattern, (unsigned long long)e->rx_seen,
                    (unsigned long long)e->rx_total, (unsigned long long)e->tx_done,
                    (unsigned long long)e->tx_total, (unsigned long long)e->held,
                    e->tc ? tcp_state_name(e->tc->state) : "-");
            }
        }
        sim_fail(s, "connections that never end");
    }
    for (unsigned i = 0; i < run.conns; i++)
        check_end(&run.plan[i]);
    sim_run(s, s->now_ns + SIM_HOUR, NULL, NULL); /* TIME_WAIT, what is still on the wire */
    sim_check_idle(s);
    for (unsigned i = 0; i < s->nodes; i++) {
        total.resets += s->node[i].stats->tcp_out_rsts;
        total.retrans += s->node[i].stats->tcp_retrans_segs;
        sim_mix(s, s->node[i].stats->tcp_in_segs);
    }
    total.segments += tap_segments(s->tap);
    total.frames += s->frames;
    uint64_t hash = s->hash;
    sim_fini(s);
    tap_free(s->tap);
    return hash;
}

static void summary(void)
{
    printf(": %llu connections, %llu bytes in %llu segments, %llu sent again, %llu resets, "
           "%llu timeouts, %llu failed handshakes\n",
           (unsigned long long)total.conns, (unsigned long long)total.bytes,
           (unsigned long long)total.segments, (unsigned long long)total.retrans,
           (unsigned long long)total.resets, (unsigned long long)total.timeouts,
           (unsigned long long)total.handshakes);
}

int main(int argc, char **argv)
{
    uint64_t z = 1;
    for (size_t i = 0; i < PERIOD; i++) {
        z = z * 6364136223846793005ull + 1442695040888963407ull;
        pattern[i] = pattern[PERIOD + i] = (uint8_t)(z >> 56);
    }
    return sim_main(argc, argv, one, summary);
}
