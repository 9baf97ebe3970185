/* wire: see wire.h. */
#include "tests/unit/net/wire.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "tests/unit/net/check.h"

/* EAL makes a directory per process even without shared configuration. */
static void eal_gone(void)
{
    char dir[256];
    snprintf(dir, sizeof(dir), "%s", rte_eal_get_runtime_dir());
    rte_eal_cleanup();
    rmdir(dir);
}

int wire_eal_init(void)
{
    char prefix[48], lcores[512] = "--lcores=0@(";
    cpu_set_t set;
    size_t n = strlen(lcores);
    const char *sep = "";
    sched_getaffinity(0, sizeof(set), &set);
    for (int i = 0; i < CPU_SETSIZE && n < sizeof(lcores) - 16; i++) {
        if (CPU_ISSET(i, &set)) {
            n += (size_t)snprintf(lcores + n, sizeof(lcores) - n, "%s%d", sep, i);
            sep = ",";
        }
    }
    snprintf(lcores + n, sizeof(lcores) - n, ")");
    snprintf(prefix, sizeof(prefix), "--file-prefix=bw-unit-%d", (int)getpid());
    char *argv[] = {
        "unit",           "--no-huge",      "--no-pci", "--no-shconf",       "-m",   "256",
        "--no-telemetry", "--iova-mode=va", prefix,     "--log-level=error", lcores, NULL};
    if (rte_eal_init((int)(sizeof(argv) / sizeof(argv[0])) - 1, argv) < 0)
        return -1;
    atexit(eal_gone);
    return 0;
}

uint64_t wire_random(struct wire *w)
{
    uint64_t z = (w->rng += 0x9e3779b97f4a7c15ull);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static bool chance(struct wire *w, uint32_t ppm)
{
    return ppm && wire_random(w) % 1000000 < ppm;
}

/* ---- frames in flight: a binary heap by arrival ---- */

static bool earlier(const struct wire_frame *a, const struct wire_frame *b)
{
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->order < b->order);
}

static void heap_push(struct wire *w, struct wire_frame f)
{
    if (w->heap_len == w->heap_cap) {
        w->heap_cap = w->heap_cap ? 2 * w->heap_cap : 256;
        w->heap = realloc(w->heap, w->heap_cap * sizeof(*w->heap));
        assert_non_null(w->heap);
    }
    size_t i = w->heap_len++;
    for (; i && earlier(&f, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = f;
}

static struct wire_frame heap_pop(struct wire *w)
{
    struct wire_frame top = w->heap[0], last = w->heap[--w->heap_len];
    size_t i = 0;
    for (size_t c; (c = 2 * i + 1) < w->heap_len; i = c) {
        if (c + 1 < w->heap_len && earlier(&w->heap[c + 1], &w->heap[c]))
            c++;
        if (!earlier(&w->heap[c], &last))
            break;
        w->heap[i] = w->heap[c];
    }
    if (w->heap_len)
        w->heap[i] = last;
    return top;
}

static void post(struct wire *w, unsigned from, unsigned to, const void *p, uint32_t len,
                 uint64_t at_ns)
{
    struct wire_frame f = {.at_ns = at_ns, .order = w->order++, .to = to, .from = from, .len = len};
    f.data = malloc(len ? len : 1);
    assert_non_null(f.data);
    memcpy(f.data, p, len);
    heap_push(w, f);
}

void wire_inject(struct wire *w, unsigned to, const void *p, uint32_t len, uint64_t delay_ns)
{
    post(w, WIRE_HOSTS, to, p, len, w->now_ns + delay_ns);
}

static void trace(struct wire *w, unsigned from, const uint8_t *p, uint32_t len)
{
    uint64_t h = w->hash ^ w->now_ns ^ ((uint64_t)from << 56);
    for (uint32_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 0x100000001b3ull;
    w->hash = h;
}

/* One copy of a frame on its way, with what the line does to it. */
static void carry(struct wire *w, struct wire_host *h, unsigned to, const uint8_t *p, uint32_t len)
{
    const struct wire_impair *im = &h->impair;
    if (chance(w, im->loss_ppm)) {
        h->lost_frames++;
        return;
    }
    uint64_t at = w->now_ns + im->delay_ns;
    if (im->bytes_per_s) {
        if (h->busy_until_ns < w->now_ns)
            h->busy_until_ns = w->now_ns;
        h->busy_until_ns += (uint64_t)len * WIRE_SEC / im->bytes_per_s;
        at = h->busy_until_ns + im->delay_ns;
    }
    if (im->jitter_ns)
        at += wire_random(w) % im->jitter_ns;
    if (chance(w, im->reorder_ppm))
        at += (im->delay_ns ? im->delay_ns : WIRE_MS) * (1 + wire_random(w) % 4);
    else if (at < h->last_at_ns)
        at = h->last_at_ns;
    else
        h->last_at_ns = at;
    post(w, h->id, to, p, len, at);
    if (chance(w, im->corrupt_ppm)) {
        for (size_t i = 0; i < w->heap_len; i++) {
            if (w->heap[i].order == w->order - 1)
                w->heap[i].data[wire_random(w) % len] ^= (uint8_t)(1 + wire_random(w) % 255);
        }
    }
}

static void send_frame(struct wire *w, struct wire_host *h, const uint8_t *p, uint32_t len)
{
    trace(w, h->id, p, len);
    h->sent_frames++;
    if (w->filter && !w->filter(w->filter_ctx, h, p, len))
        return;
    for (unsigned i = 0; i < w->hosts; i++) {
        if (i == h->id || (!(p[0] & 1) && memcmp(p, w->host[i].mac, 6) != 0))
            continue;
        carry(w, h, i, p, len);
        if (chance(w, h->impair.dup_ppm))
            carry(w, h, i, p, len);
    }
}

static void wire_out(void *ctx, const uint8_t *p, uint32_t len)
{
    struct wire_host *h = ctx;
    assert_true(len <= h->cfg.mtu + 18u || h->nic.whole);
    send_frame(h->wire, h, p, len);
}

static uint16_t wire_tx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    struct wire_host *h = ctx;
    uint16_t take = h->tx_refuse_after && n > h->tx_refuse_after ? h->tx_refuse_after : n;
    for (uint16_t i = 0; i < take; i++) {
        struct rte_mbuf *m = pkts[i];
        assert_true(rte_mbuf_refcnt_read(m) >= 1);
        const char *bad = nic_send(&h->nic, m, h->cfg.vlan ? 18 : 14, wire_out, h);
        if (bad)
            fail_msg("the port is asked for %s", bad);
        if (!h->nic_hold) {
            rte_pktmbuf_free(m);
            continue;
        }
        if (h->held_count == h->nic_hold) {
            rte_pktmbuf_free(h->held[0]);
            memmove(h->held, h->held + 1, (h->held_count - 1) * sizeof(h->held[0]));
            h->held_count--;
        }
        h->held[h->held_count++] = m;
    }
    return take;
}

/* ---- hosts ---- */

struct rte_mempool *wire_pool(unsigned n, unsigned room)
{
    static unsigned serial;
    char name[32];
    snprintf(name, sizeof(name), "wire%u", serial++);
    struct rte_mempool *p = rte_pktmbuf_pool_create(name, n, 0, 0, (uint16_t)room, SOCKET_ID_ANY);
    assert_non_null(p);
    return p;
}

void wire_init(struct wire *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    w->rng = seed;
    w->now_ns = WIRE_SEC;
    w->shells = wire_pool(1024, 0);
}

bool wire_v6(void)
{
    return getenv("BAREWIRE_TEST_V6") != NULL;
}

struct ip_addr wire_ip6(uint32_t ip)
{
    uint8_t b[16] = {0xfd, [12] = (uint8_t)(ip >> 24), (uint8_t)(ip >> 16), (uint8_t)(ip >> 8),
                     (uint8_t)ip};
    return ip_load(b);
}

void wire_config(struct net_config *c, uint32_t ip)
{
    net_config_defaults(c);
    c->ip = ip;
    if (wire_v6()) {
        c->ip6[0] = (struct net_prefix){wire_ip6(ip), 64};
        c->ip6_count = 1;
        c->dad_probes = 0; /* test_ip6.c looks at that */
        c->mtu = 1520;     /* the longer header: the same segments as over IPv4 */
    }
    c->max_conns = 256;
    c->rto_min_ms = 20; /* the scripts count on these, whatever the defaults are */
    c->delayed_ack_ms = 10;
    c->secret[0] = 0x0706050403020100ull;
    c->secret[1] = 0x0f0e0d0c0b0a0908ull;
    c->pool = NULL;
}

static struct wire_host *host_new(struct wire *w, const uint8_t mac[6])
{
    assert_true(w->hosts < WIRE_HOSTS);
    struct wire_host *h = &w->host[w->hosts];
    *h = (struct wire_host){.wire = w, .id = w->hosts++};
    memcpy(h->mac, mac, 6);
    return h;
}

struct wire_host *wire_host_net(struct wire *w, const struct net_config *cfg, struct tcp_app *app)
{
    return wire_host_nic(w, cfg, app, &(struct nic){0});
}

struct wire_host *wire_host_nic(struct wire *w, const struct net_config *cfg, struct tcp_app *app,
                                const struct nic *nic)
{
    static const uint8_t none[6];
    uint8_t mac[6] = {2, 0, 0, 0, 0, (uint8_t)(w->hosts + 1)};
    struct wire_host *h = host_new(w, memcmp(cfg->mac, none, 6) ? cfg->mac : mac);
    h->cfg = *cfg;
    memcpy(h->cfg.mac, h->mac, 6);
    h->pool = cfg->pool ? cfg->pool : wire_pool(4095, 2048 + RTE_PKTMBUF_HEADROOM);
    h->reserve = cfg->reserve ? cfg->reserve : wire_pool(255, 512);
    h->cfg.pool = h->pool;
    h->cfg.reserve = h->reserve;
    h->nic = *nic;
    struct net_wire nw = {.tx = wire_tx,
                          .ctx = h,
                          .tx_ip_checksum = nic->ip_sum,
                          .tx_tcp_checksum = nic->tcp_sum,
                          .tx_multi_seg = nic->tso,
                          .tx_tso = nic->tso,
                          .tx_max_segs = nic->max_segs,
                          .rx_checksum = nic->rx_sum,
                          .rx_vlan_strip = nic->strip};
    assert_int_equal(net_create(&h->net, &h->cfg, &nw, app, &h->stats, w->now_ns), 0);
    return h;
}

struct wire_host *wire_host_raw(struct wire *w, const uint8_t mac[6])
{
    return host_new(w, mac);
}

void wire_fini(struct wire *w)
{
    while (w->heap_len)
        free(heap_pop(w).data);
    free(w->heap);
    for (unsigned i = 0; i < w->hosts; i++) {
        struct wire_host *h = &w->host[i];
        if (!h->net)
            continue;
        net_destroy(h->net);
        for (uint32_t k = 0; k < h->held_count; k++)
            rte_pktmbuf_free(h->held[k]);
        assert_int_equal(rte_mempool_in_use_count(h->pool), 0);
        assert_int_equal(rte_mempool_in_use_count(h->reserve), 0);
        rte_mempool_free(h->pool);
        rte_mempool_free(h->reserve);
    }
    assert_int_equal(rte_mempool_in_use_count(w->shells), 0);
    rte_mempool_free(w->shells);
}

/* ---- delivery ---- */

struct ext {
    struct rte_mbuf_ext_shared_info info;
    uint8_t *data;
};

static void ext_free(void *addr, void *opaque)
{
    struct ext *e = opaque;
    (void)addr;
    free(e->data);
    free(e);
}

/* The same frame as a chain. */
static struct rte_mbuf *in_pieces(struct wire *w, struct rte_mbuf *m, uint32_t piece)
{
    struct rte_mbuf *tail = m;
    uint32_t len = m->pkt_len, n = piece < len ? piece : len;
    m->data_len = (uint16_t)n;
    for (uint32_t at = n; at < len; at += n) {
        struct rte_mbuf *s = rte_pktmbuf_alloc(w->shells);
        assert_non_null(s);
        n = len - at < piece ? len - at : piece;
        rte_pktmbuf_attach(s, m);
        s->data_off = (uint16_t)(m->data_off + at);
        s->data_len = (uint16_t)n;
        s->next = NULL;
        s->nb_segs = 1;
        tail = tail->next = s;
        m->nb_segs++;
    }
    return m;
}

static struct rte_mbuf *frame_mbuf(struct wire *w, struct wire_frame *f)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(w->shells);
    struct ext *e = calloc(1, sizeof(*e));
    assert_non_null(m);
    assert_non_null(e);
    e->data = f->data;
    e->info.free_cb = ext_free;
    e->info.fcb_opaque = e;
    rte_mbuf_ext_refcnt_set(&e->info, 1);
    rte_pktmbuf_attach_extbuf(m, f->data, 0, (uint16_t)f->len, &e->info);
    m->data_len = (uint16_t)f->len;
    m->pkt_len = f->len;
    nic_receive(&w->host[f->to].nic, m);
    return w->host[f->to].rx_piece ? in_pieces(w, m, w->host[f->to].rx_piece) : m;
}

static void host_turn(struct wire *w, struct wire_host *h, struct rte_mbuf **pkts, uint16_t n)
{
    net_input(h->net, pkts, n, w->now_ns);
    net_input_done(h->net);
    net_timers(h->net, w->now_ns);
    if (h->step)
        h->step(h->step_ctx, h);
    net_output(h->net, w->now_ns);
}

/* All frames due now, in bursts, each burst one turn of its receiver. */
static void deliver_due(struct wire *w)
{
    bool touched[WIRE_HOSTS] = {false};
    while (w->heap_len && w->heap[0].at_ns <= w->now_ns) {
        unsigned to = w->heap[0].to;
        struct wire_host *h = &w->host[to];
        struct rte_mbuf *burst[32];
        uint16_t n = 0;
        while (n < 32 && w->heap_len && w->heap[0].at_ns <= w->now_ns && w->heap[0].to == to) {
            struct wire_frame f = heap_pop(w);
            if (h->net) {
                burst[n++] = frame_mbuf(w, &f);
            } else {
                if (h->on_frame)
                    h->on_frame(h->frame_ctx, h, f.data, f.len);
                free(f.data);
            }
        }
        if (h->net) {
            host_turn(w, h, burst, n);
            touched[to] = true;
        }
    }
    for (unsigned i = 0; i < w->hosts; i++) {
        if (w->host[i].net && !touched[i])
            host_turn(w, &w->host[i], NULL, 0);
    }
}

void wire_turn(struct wire *w)
{
    deliver_due(w);
    deliver_due(w); /* what the last stacks of the first round sent */
}

bool wire_run(struct wire *w, uint64_t until_ns, bool (*done)(void *ctx), void *ctx)
{
    for (;;) {
        deliver_due(w);
        if (done && done(ctx))
            return true;
        uint64_t next = w->heap_len ? w->heap[0].at_ns : UINT64_MAX;
        for (unsigned i = 0; i < w->hosts; i++) {
            if (!w->host[i].net)
                continue;
            uint64_t t = net_next_timer_ns(w->host[i].net);
            if (net_output_pending(w->host[i].net))
                t = w->now_ns + 1000;
            next = t < next ? t : next;
        }
        if (next > until_ns) {
            if (until_ns > w->now_ns && until_ns != UINT64_MAX)
                w->now_ns = until_ns;
            return !done;
        }
        if (next > w->now_ns)
            w->now_ns = next;
    }
}

/* ---- streams ---- */

uint8_t stream_octet(uint64_t seed, uint64_t i)
{
    uint64_t z = (seed + i / 8) * 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 29) * 0xbf58476d1ce4e5b9ull;
    return (uint8_t)(z >> (8 * (i % 8)));
}

void stream_push(struct stream *s)
{
    while (s->tc && s->tx_done < s->tx_total) {
        size_t room;
        uint8_t *p = tcp_tx_reserve(s->tc, &room);
        if (!p)
            return;
        if (room > s->tx_total - s->tx_done)
            room = s->tx_total - s->tx_done;
        for (size_t i = 0; i < room; i++)
            p[i] = stream_octet(s->tx_seed, s->tx_done + i);
        tcp_tx_commit(s->tc, room);
        s->tx_done += room;
    }
    if (s->tc && s->want_close && !s->close_sent) {
        s->close_sent = true;
        tcp_close(s->tc);
    }
}

static void *on_accepted(void *ctx, struct tcp_conn *tc)
{
    struct stream_app *a = ctx;
    if (a->refuse || a->used == STREAMS)
        return NULL;
    struct stream *s = &a->stream[a->used++];
    *s = a->accept_as;
    s->tc = tc;
    s->host = a->host;
    s->accepted = true;
    a->accepted++;
    return s;
}

static void on_connected(void *cookie, struct tcp_conn *tc, int err)
{
    struct stream *s = cookie;
    s->connect_err = err;
    s->connected = !err;
    s->tc = err ? NULL : tc;
    s->closed = err != 0;
}

static void on_received(void *cookie, const uint8_t *p, size_t n)
{
    struct stream *s = cookie;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != stream_octet(s->rx_seed, s->rx_seen + i))
            s->mismatch = true;
    }
    s->rx_seen += n;
    if (s->hold_all) {
        s->rx_held += n;
        tcp_rx_hold(s->tc, s->rx_held);
    }
}

static void on_peer_closed(void *cookie)
{
    struct stream *s = cookie;
    s->peer_closed = true;
    if (s->close_on_peer_close)
        s->want_close = true;
}

static void on_writable(void *cookie)
{
    struct stream *s = cookie;
    s->writable_calls++;
    stream_push(s);
}

static void on_closed(void *cookie, int err)
{
    struct stream *s = cookie;
    s->closed = true;
    s->err = err;
    s->tc = NULL;
}

void stream_app_init(struct stream_app *a)
{
    memset(a, 0, sizeof(*a));
    a->app = (struct tcp_app){.ctx = a,
                              .accepted = on_accepted,
                              .connected = on_connected,
                              .received = on_received,
                              .peer_closed = on_peer_closed,
                              .writable = on_writable,
                              .closed = on_closed};
}

static void app_step(void *ctx, struct wire_host *h)
{
    struct stream_app *a = ctx;
    (void)h;
    for (unsigned i = 0; i < a->used; i++) {
        struct stream *s = &a->stream[i];
        if (!s->tc || !(s->connected || s->accepted))
            continue;
        if (s->rx_held && s->drain_every && ++s->steps % s->drain_every == 0) {
            s->rx_held = 0;
            tcp_rx_hold(s->tc, 0);
        }
        stream_push(s);
    }
}

void stream_app_attach(struct stream_app *a, struct wire_host *h)
{
    a->host = h;
    h->step = app_step;
    h->step_ctx = a;
}
