#include "tests/unit/conn/fake_net.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"

struct net {
    struct tcp_app app;
    net_stray_fn stray_fn;
    void *stray_ctx;
    struct list conns;
    uint8_t **kept; /* bytes of this burst: freed by net_input_done */
    size_t nkept, kept_cap;
};

static struct net *last_net;

struct net *fake_last_net(void)
{
    return last_net;
}

void net_config_defaults(struct net_config *c)
{
    memset(c, 0, sizeof(*c));
}

int net_create(struct net **ret, const struct net_config *cfg, const struct net_wire *wire,
               const struct tcp_app *app, struct stats_worker *stats, uint64_t now_ns)
{
    (void)cfg, (void)wire, (void)stats, (void)now_ns;
    struct net *n = calloc(1, sizeof(*n));
    n->app = *app;
    list_init(&n->conns);
    *ret = last_net = n;
    return 0;
}

void net_destroy(struct net *net)
{
    struct list *n;
    while ((n = list_pop_front(&net->conns)) != NULL)
        list_entry(n, struct tcp_conn, node)->gone = true;
    free(net->kept);
    free(net);
}

struct tcp_conn *fake_connect(struct net *net)
{
    struct tcp_conn *tc = calloc(1, sizeof(*tc));
    tc->net = net;
    tc->window = SIZE_MAX;
    list_push_back(&net->conns, &tc->node);
    tc->cookie = net->app.accepted(net->app.ctx, tc);
    if (!tc->cookie) {
        list_remove(&tc->node);
        free(tc);
        return NULL;
    }
    return tc;
}

void fake_send(struct tcp_conn *tc, const void *p, size_t n)
{
    if (n == 0)
        return;
    tc->in = realloc(tc->in, tc->in_len + n);
    memcpy(tc->in + tc->in_len, p, n);
    tc->in_len += n;
}

void fake_fin(struct tcp_conn *tc)
{
    tc->deliver_fin = true;
}

static void end(struct tcp_conn *tc, int err)
{
    if (tc->gone)
        return;
    tc->gone = true;
    list_remove(&tc->node);
    tc->net->app.closed(tc->cookie, err);
}

void fake_reset(struct tcp_conn *tc)
{
    end(tc, -104);
}

void fake_open_window(struct tcp_conn *tc, size_t total)
{
    tc->window = total;
    if (tc->want_writable && !tc->gone) {
        tc->want_writable = false;
        tc->net->app.writable(tc->cookie);
    }
}

static void keep(struct net *net, uint8_t *burst)
{
    if (net->nkept == net->kept_cap) {
        net->kept_cap = net->kept_cap ? net->kept_cap * 2 : 16;
        net->kept = realloc(net->kept, net->kept_cap * sizeof(*net->kept));
    }
    net->kept[net->nkept++] = burst;
}

bool fake_deliver(struct net *net, size_t max)
{
    bool any = false;
    list_for_each_safe(n, next, &net->conns)
    {
        struct tcp_conn *tc = list_entry(n, struct tcp_conn, node);
        size_t len = tc->in_len < max ? tc->in_len : max;
        if (len) {
            any = true;
            /* exact-size and poisoned by its end: a span that outlives the burst is seen by ASan */
            uint8_t *burst = malloc(len);
            memcpy(burst, tc->in, len);
            memmove(tc->in, tc->in + len, tc->in_len - len);
            tc->in_len -= len;
            keep(net, burst);
            net->app.received(tc->cookie, burst, len);
        } else if (tc->deliver_fin && !tc->fin_in) {
            any = true;
            tc->fin_in = true;
            net->app.peer_closed(tc->cookie);
        }
    }
    return any;
}

void fake_free(struct tcp_conn *tc)
{
    if (!tc->gone) {
        tc->gone = true;
        list_remove(&tc->node);
    }
    free(tc->in);
    free(tc->out);
    free(tc);
}

void net_input(struct net *net, struct rte_mbuf **pkts, uint16_t n, uint64_t now_ns)
{
    (void)pkts, (void)n, (void)now_ns;
    fake_deliver(net, 1448);
}

void net_input_done(struct net *net)
{
    while (net->nkept)
        free(net->kept[--net->nkept]);
}

void net_timers(struct net *net, uint64_t now_ns)
{
    (void)net, (void)now_ns;
}

/* Orderly closes end here, as FIN and its ACK would. */
unsigned net_output(struct net *net, uint64_t now_ns)
{
    (void)now_ns;
    unsigned sent = 0;
    list_for_each_safe(n, next, &net->conns)
    {
        struct tcp_conn *tc = list_entry(n, struct tcp_conn, node);
        if (tc->closed_by_app) {
            end(tc, 0);
            sent++;
        }
    }
    return sent;
}

uint64_t net_next_timer_ns(const struct net *net)
{
    (void)net;
    return UINT64_MAX;
}

bool net_output_pending(const struct net *net)
{
    (void)net;
    return true;
}

struct fake_neigh fake_neigh;

void net_neigh_learn(struct net *net, struct ip_addr ip, const uint8_t mac[6], uint64_t now_ns)
{
    (void)net, (void)now_ns;
    fake_neigh.learned++;
    fake_neigh.ip = ip;
    memcpy(fake_neigh.mac, mac, 6);
}

void net_neigh_lost(struct net *net, struct ip_addr ip, uint64_t now_ns)
{
    (void)net, (void)now_ns;
    fake_neigh.lost++;
    fake_neigh.ip = ip;
}

void net_set_neigh_resolver(struct net *net, void (*fn)(void *ctx, struct ip_addr ip), void *ctx)
{
    (void)net;
    fake_neigh.resolve = fn;
    fake_neigh.resolve_ctx = ctx;
}

void net_set_neigh_listener(struct net *net, net_neigh_fn fn, void *ctx)
{
    (void)net, (void)fn, (void)ctx;
}

struct fake_stray fake_stray;

void net_set_stray_taker(struct net *net, net_stray_fn fn, void *ctx)
{
    net->stray_fn = fn;
    net->stray_ctx = ctx;
}

bool net_stray_allow(struct net *net, struct ip_addr from)
{
    (void)net, (void)from;
    return !fake_stray.denied;
}

static void arrives(struct net *net, const struct net_stray *s)
{
    if (fake_stray.owner == net)
        fake_stray.found++;
    else if (!net->stray_fn || !net->stray_fn(net->stray_ctx, s))
        fake_stray.reset++;
}

bool net_stray_input(struct net *net, const struct net_stray *s, uint64_t now_ns)
{
    (void)now_ns;
    assert_int_equal(s->len, sizeof(s->flow));
    assert_memory_equal(s->frame, &s->flow, sizeof(s->flow));
    if (fake_stray.no_memory)
        return false;
    arrives(net, s);
    return true;
}

void fake_stray_frame(struct net *net, uint64_t flow)
{
    struct net_stray s = {.frame = &flow, .len = sizeof(flow), .flow = flow};
    arrives(net, &s);
}

void net_announce(struct net *net, uint64_t now_ns)
{
    (void)net, (void)now_ns;
}

uint16_t fake_local_port = 6379;

void tcp_addr(const struct tcp_conn *tc, struct tcp_addr *ret)
{
    (void)tc;
    *ret =
        (struct tcp_addr){ip_from_v4(0x0a000001), ip_from_v4(0x0a000002), fake_local_port, 40000};
}

void tcp_info(const struct tcp_conn *tc, struct tcp_info *ret)
{
    (void)tc;
    memset(ret, 0, sizeof(*ret));
}

unsigned tcp_trace_read(const struct tcp_conn *tc, uint64_t id, tcp_trace_fn *fn, void *ctx)
{
    (void)tc;
    (void)id;
    fn(ctx, "open", 4);
    fn(ctx, "more", 4);
    return 2;
}

unsigned tcp_trace_read_kept(const struct net *net, uint64_t id, tcp_trace_fn *fn, void *ctx)
{
    (void)net;
    if (id != 4711)
        return 0;
    fn(ctx, "kept", 4);
    return 1;
}

const char *tcp_state_name(uint8_t state)
{
    (void)state;
    return "ESTABLISHED";
}

uint8_t *tcp_tx_reserve(struct tcp_conn *tc, size_t *room)
{
    if (tc->out_len >= tc->window) {
        tc->want_writable = true;
        return NULL;
    }
    size_t n = tc->window - tc->out_len;
    *room = n < sizeof(tc->chunk) ? n : sizeof(tc->chunk);
    return tc->chunk;
}

void tcp_tx_commit(struct tcp_conn *tc, size_t n)
{
    if (tc->out_len + n > tc->out_cap) {
        tc->out_cap = (tc->out_len + n) * 2;
        tc->out = realloc(tc->out, tc->out_cap);
    }
    memcpy(tc->out + tc->out_len, tc->chunk, n);
    tc->out_len += n;
    memmove(tc->chunk, tc->chunk + n,
            sizeof(tc->chunk) - n); /* the next room starts behind what was written */
}

size_t tcp_tx_queued(const struct tcp_conn *tc)
{
    (void)tc;
    return 0;
}

void tcp_rx_hold(struct tcp_conn *tc, size_t bytes)
{
    tc->hold = bytes;
}

void tcp_close(struct tcp_conn *tc)
{
    if (tc->hold)
        tc->out_len =
            0; /* RFC 2525 2.17: unread data makes it a reset, and what was queued is lost */
    tc->closed_by_app = true;
}

void tcp_abort(struct tcp_conn *tc)
{
    tc->aborted = true;
    if (!tc->gone) {
        tc->gone = true;
        list_remove(&tc->node);
    }
}
