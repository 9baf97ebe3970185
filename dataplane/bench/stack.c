/* The load generator over our own TCP stack: active opens on one queue of any port. Polls; yields the processor when there is nothing to do. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "dataplane/bench/cluster.h"
#include "dataplane/bench/transports.h"
#include "dataplane/net/net.h"
#include "dataplane/options.h"
#include "dataplane/port/port.h"
#include "dataplane/wire.h"
#include "engine/base/assert.h"

#define FIRST_PORT 1024
#define SPIN_NS    50000 /* without a frame: from then on it sleeps until there is one */

/* A connection outlives its client's interest in it until TCP has ended it. */
struct stack_conn {
    struct load_client *client;
    struct tcp_conn *tc;
};

struct stack {
    struct transport t;
    struct port *port;
    struct port_queue *q;
    struct net *net;
    struct stats_worker stats;
    struct place {
        struct ip_addr ip;
        uint16_t port;
    } place[CLUSTER_NODES_MOST];
    int places;
    uint32_t next_port;
    uint64_t now_ns, worked_ns;
    bool polling;
};

static struct stack *of(struct transport *t)
{
    return (struct stack *)t;
}

static uint64_t stack_now(struct transport *t)
{
    struct timespec ts;
    (void)t;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void stack_connect(struct transport *t, struct load_client *c)
{
    struct stack *s = of(t);
    struct stack_conn *k = calloc(1, sizeof(*k));
    CHECK(k);
    k->client = c;
    for (int i = 0; i < 64 && !k->tc; i++) { /* a port may be in TIME-WAIT */
        uint16_t local = (uint16_t)(FIRST_PORT + s->next_port++ % (65536 - FIRST_PORT));
        k->tc = tcp_connect_to(s->net, s->place[c->target].ip, s->place[c->target].port, local, k,
                               s->now_ns);
    }
    if (!k->tc) {
        free(k);
        load_connected(c, -EADDRNOTAVAIL);
        return;
    }
    c->tc = k;
}

/* Without a host: that of the first place. */
static int stack_target(struct transport *t, const char *host, uint16_t port)
{
    struct stack *s = of(t);
    struct place p = {s->place[0].ip, port};
    if (*host && !ip_parse(span_str(host), &p.ip))
        return -EHOSTUNREACH;
    for (int i = 0; i < s->places; i++)
        if (s->place[i].port == port && ip_equal(s->place[i].ip, p.ip))
            return i;
    if (s->places == CLUSTER_NODES_MOST)
        return -E2BIG;
    s->place[s->places] = p;
    return s->places++;
}

static size_t stack_write(struct transport *t, struct load_client *c, const uint8_t *p, size_t n)
{
    struct stack_conn *k = c->tc;
    size_t done = 0, room;
    (void)t;
    while (done < n) {
        uint8_t *to = tcp_tx_reserve(k->tc, &room);
        if (!to)
            break;
        size_t part = n - done < room ? n - done : room;
        memcpy(to, p + done, part);
        tcp_tx_commit(k->tc, part);
        done += part;
    }
    return done;
}

static void stack_flush(struct transport *t, struct load_client *c)
{
    (void)t;
    (void)c; /* poll ends with a transmit pass */
}

static void stack_close(struct transport *t, struct load_client *c)
{
    struct stack_conn *k = c->tc;
    (void)t;
    k->client = NULL;
    c->tc = NULL;
    tcp_close(k->tc); /* on_closed frees it */
}

/* ---- callbacks of TCP ---- */

static void on_connected(void *cookie, struct tcp_conn *tc, int err)
{
    struct stack_conn *k = cookie;
    struct load_client *c = k->client;
    (void)tc;
    if (!c)
        return;
    if (err) {
        k->client = NULL;
        c->tc = NULL;
    }
    load_connected(c, err);
}

static void on_received(void *cookie, const uint8_t *p, size_t n)
{
    struct stack_conn *k = cookie;
    if (k->client)
        load_received(k->client, p, n);
}

static void on_ended(struct stack_conn *k, int err)
{
    struct load_client *c = k->client;
    if (!c)
        return;
    k->client = NULL;
    load_closed(c, err);
}

static void on_peer_closed(void *cookie)
{
    struct stack_conn *k = cookie;
    on_ended(k, 0);
    tcp_close(k->tc);
}

static void on_writable(void *cookie)
{
    struct stack_conn *k = cookie;
    if (k->client)
        load_writable(k->client);
}

static void on_closed(void *cookie, int err)
{
    on_ended(cookie, err);
    free(cookie);
}

/* ---- the loop ---- */

static void wait_for_frames(struct stack *s, uint64_t until_ns)
{
    uint64_t timer = net_next_timer_ns(s->net);
    if (timer < until_ns)
        until_ns = timer;
    if (s->q->wait_fd <= 0 || s->now_ns - s->worked_ns < SPIN_NS || until_ns <= s->now_ns + 20000) {
        sched_yield();
        return;
    }
    uint64_t ns = until_ns - s->now_ns;
    struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    struct pollfd fd = {.fd = s->q->wait_fd, .events = POLLIN};
    ppoll(&fd, 1, &ts, NULL);
}

static uint64_t stack_poll(struct transport *t, uint64_t until_ns)
{
    struct stack *s = of(t);
    struct rte_mbuf *pkts[LIMIT_BURST_PKTS];
    uint64_t start = stack_now(t);
    s->now_ns = start;
    uint16_t n = port_rx(s->q, pkts, LIMIT_BURST_PKTS);
    if (n) {
        net_input(s->net, pkts, n, start);
        net_input_done(s->net);
    }
    net_timers(s->net, start);
    unsigned sent = n || net_output_pending(s->net) ? net_output(s->net, start) : 0;
    if (n || sent) {
        s->worked_ns = start;
        uint64_t end = stack_now(t);
        t->busy_ns += end - start;
        return end;
    }
    wait_for_frames(s, until_ns);
    return start;
}

static void stack_destroy(struct transport *t)
{
    struct stack *s = of(t);
    uint64_t end = stack_now(t) + 200000000; /* for the FINs */
    while (s->stats.tcp_curr_estab && stack_now(t) < end)
        stack_poll(t, stack_now(t) + 1000000);
    net_destroy(s->net);
    port_stop(s->port);
    free(s);
}

/* A server's first worker is on the first processor: we poll on the last one, or on the one that was named. */
static bool choose_cpu(int cpu)
{
    cpu_set_t set, one;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return cpu < 0;
    for (int i = 0; i < CPU_SETSIZE && cpu < 0; i++)
        if (CPU_ISSET(CPU_SETSIZE - 1 - i, &set))
            cpu = CPU_SETSIZE - 1 - i;
    if (cpu >= CPU_SETSIZE)
        return false;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    return sched_setaffinity(0, sizeof(one), &one) == 0;
}

static int net_up(struct stack *s, const struct options *o, const struct port_info *info)
{
    struct net_config c;
    struct net_wire wire = port_wire(info);
    struct tcp_app app = {.ctx = s,
                          .connected = on_connected,
                          .received = on_received,
                          .peer_closed = on_peer_closed,
                          .writable = on_writable,
                          .closed = on_closed};
    net_config_defaults(&c);
    wire.ctx = s->q;
    options_to_net(o, &c);
    memcpy(c.mac, info->mac, sizeof(c.mac));
    c.mtu = info->mtu;
    c.listen_port = 0;
    c.max_conns = 262144;
    if (!o->time_wait_ms)
        c.time_wait_ms =
            100; /* thousands of connections a second from one address: a lab's choice */
    c.pool = s->q->pool;
    c.reserve = s->q->reserve;
    if (getrandom(c.secret, sizeof(c.secret), 0) != sizeof(c.secret))
        return -EIO;
    return net_create(&s->net, &c, &wire, &app, &s->stats, s->now_ns);
}

struct transport *transport_stack(const struct options *o, const char *host, uint16_t port, int cpu,
                                  char *err, size_t err_len)
{
    static const struct transport_ops ops = {
        .connect = stack_connect,
        .target = stack_target,
        .write = stack_write,
        .flush = stack_flush,
        .close = stack_close,
        .poll = stack_poll,
        .now = stack_now,
        .destroy = stack_destroy,
    };
    struct port_config pc = {.net_port = o->net_port,
                             .workers = 1,
                             .mtu = (uint16_t)o->mtu,
                             .hugepages = o->hugepages,
                             .eal_args = o->eal_args,
                             .instance = o->instance,
                             .vlan = (uint16_t)o->vlan,
                             .mbufs = (uint32_t)o->mbufs,
                             .steer = {.ip = o->ip, .vlan = (uint16_t)o->vlan}};
    struct port_info info;
    struct stack *s = calloc(1, sizeof(*s));
    CHECK(s);
    s->t = (struct transport){.ops = &ops, .name = "own stack"};
    s->place[0].port = port;
    s->places = 1;
    s->now_ns = s->worked_ns = stack_now(&s->t);
    s->next_port = (uint32_t)(s->now_ns / 1000000);
    if (!ip_parse(span_str(host), &s->place[0].ip)) {
        snprintf(err, err_len, "%s is no address (names are not resolved without kernel sockets)",
                 host);
        goto fail;
    }
    if (!choose_cpu(cpu)) {
        snprintf(err, err_len, "there is no processor %d for us", cpu);
        goto fail;
    }
    if (port_start(&s->port, &pc, &info, err, err_len) < 0)
        goto fail;
    s->q = port_queue(s->port, 0);
    int r = net_up(s, o, &info);
    if (r == 0) {
        net_announce(s->net, s->now_ns);
        return &s->t;
    }
    snprintf(err, err_len, "the stack could not be set up: %s", strerror(-r));
    port_stop(s->port);
fail:
    free(s);
    return NULL;
}
