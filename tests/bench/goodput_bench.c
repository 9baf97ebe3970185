/* goodput_bench: values from one of our stacks to another over a bad wire on a virtual clock: no machine, no kernel and no scheduler in
 * the times, so that a change of loss recovery or congestion control shows as what it is.
 *
 *   goodput_bench [--loss PPM] [--corrupt PPM] [--mbit N] [--delay-us N] [--jitter-us N] [--queue FRAMES] [--connections N] [--values N]
 *                 [--bytes N] [--seeds N]
 *
 * Each connection asks for a value, reads it, asks for the next. The wire is that of the relay's "rate=", "delay=", "queue=": a frame that
 * finds so many on their way (those that are only delayed included) is lost. Prints seconds of virtual time, the share of the wire that
 * was used, and what recovery did, for each seed and as the median. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/wire.h"

#define CLIENT_IP 0x0a000001u
#define SERVER_IP 0x0a000002u
#define ASK_BYTES 40
#define QUEUE_MAX 8192
#define SEEDS_MAX 1000

static struct {
    uint64_t loss, corrupt, mbit, delay_us, jitter_us, queue, connections, values, bytes, seeds;
} opt = {.delay_us = 100, .connections = 4, .values = 32, .bytes = 1 << 20, .seeds = 5};

struct pipe { /* frames of one direction that have not arrived */
    uint64_t due_ns[QUEUE_MAX], head, tail, free_ns, refused;
};

struct line {
    struct wire w;
    struct stream_app *client, *server;
    struct wire_host *host_c, *host_s;
    struct pipe pipe[2];
    uint64_t asked;
};

/* The queue of the relay: its frames are those that have not left it yet. */
static bool queue_has_room(void *ctx, struct wire_host *from, const uint8_t *p, uint32_t len)
{
    struct line *l = ctx;
    struct pipe *q = &l->pipe[from->id & 1];
    uint64_t now = l->w.now_ns;
    (void)p;
    while (q->head != q->tail && q->due_ns[q->head % QUEUE_MAX] <= now)
        q->head++;
    if (q->tail - q->head >= opt.queue) {
        q->refused++;
        return false;
    }
    if (q->free_ns < now)
        q->free_ns = now;
    if (opt.mbit)
        q->free_ns += (uint64_t)len * 8000 / opt.mbit;
    q->due_ns[q->tail++ % QUEUE_MAX] = q->free_ns + opt.delay_us * 1000;
    return true;
}

/* Who has read its value asks for the next while there is one. */
static void ask(void *ctx, struct wire_host *h)
{
    struct line *l = ctx;
    struct stream_app *a = l->client;
    (void)h;
    for (unsigned i = 0; i < a->used; i++) {
        struct stream *s = &a->stream[i];
        if (s->rx_seen < s->rx_total || l->asked == opt.values)
            continue;
        s->rx_total += opt.bytes;
        s->tx_total += ASK_BYTES;
        l->asked++;
    }
    for (unsigned i = 0; i < a->used; i++)
        if (a->stream[i].connected)
            stream_push(&a->stream[i]);
}

static void answer(void *ctx, struct wire_host *h)
{
    struct line *l = ctx;
    (void)h;
    for (unsigned i = 0; i < l->server->used; i++) {
        struct stream *s = &l->server->stream[i];
        s->tx_total = s->rx_seen / ASK_BYTES * opt.bytes;
        stream_push(s);
    }
}

static bool all_read(void *ctx)
{
    struct line *l = ctx;
    for (unsigned i = 0; i < l->client->used; i++)
        if (l->client->stream[i].rx_seen < l->client->stream[i].rx_total)
            return false;
    return l->asked == opt.values;
}

static struct wire_host *host(struct line *l, uint32_t ip, struct stream_app *a)
{
    struct net_config c;
    wire_config(&c, ip);
    c.listen_port = 6379;
    c.rcv_buf_bytes = c.snd_buf_bytes = 4 << 20;
    stream_app_init(a);
    struct wire_host *h = wire_host_net(&l->w, &c, &a->app);
    stream_app_attach(a, h);
    h->impair = (struct wire_impair){.loss_ppm = (uint32_t)opt.loss,
                                     .corrupt_ppm = (uint32_t)opt.corrupt,
                                     .delay_ns = opt.delay_us * 1000,
                                     .jitter_ns = opt.jitter_us * 1000,
                                     .bytes_per_s = opt.mbit * 125000};
    h->step_ctx = l;
    return h;
}

static double one(struct line *l, uint64_t seed)
{
    memset(l, 0, sizeof(*l));
    l->client = malloc(sizeof(*l->client));
    l->server = malloc(sizeof(*l->server));
    wire_init(&l->w, seed);
    l->host_c = host(l, CLIENT_IP, l->client);
    l->host_s = host(l, SERVER_IP, l->server);
    l->host_c->step = ask;
    l->host_s->step = answer;
    if (opt.queue) {
        l->w.filter = queue_has_room;
        l->w.filter_ctx = l;
    }
    uint64_t start = l->w.now_ns;
    for (uint64_t i = 0; i < opt.connections; i++) {
        struct stream *s = &l->client->stream[l->client->used++];
        *s = (struct stream){.host = l->host_c, .tx_seed = 7, .rx_seed = 9};
        s->tc = tcp_connect_to(l->host_c->net, ip_from_v4(SERVER_IP), 6379, 0, s, l->w.now_ns);
    }
    l->server->accept_as = (struct stream){.tx_seed = 9, .rx_seed = 7};
    bool done = wire_run(&l->w, start + 3600 * WIRE_SEC, all_read, l);
    double seconds = (double)(l->w.now_ns - start) / 1e9;
    const struct stats_worker *s = &l->host_s->stats;
    for (unsigned i = 0; i < l->client->used; i++)
        done = done && !l->client->stream[i].mismatch;
    printf("seed %-3" PRIu64 " %s %.3f s, %.1f MB/s, %.0f %% of the wire; sent again %" PRIu64
           ", recoveries %" PRIu64 ", timeouts %" PRIu64 " (in vain %" PRIu64 "), probes %" PRIu64
           ", lost again %" PRIu64 ", queue refused %" PRIu64 "\n",
           seed, done ? "ok" : "NOT DONE", seconds,
           (double)(opt.values * opt.bytes) / seconds / 1e6,
           opt.mbit ? (double)(opt.values * opt.bytes) * 8 / seconds / (double)opt.mbit / 1e4 : 0,
           s->tcp_retrans_segs, s->tcp_fast_retrans, s->tcp_timeouts, s->tcp_spurious_rtos,
           s->tcp_loss_probes, s->tcp_lost_retransmit, l->pipe[1].refused);
    wire_fini(&l->w);
    free(l->client);
    free(l->server);
    return seconds;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool parse(int argc, char **argv)
{
    const struct {
        const char *name;
        uint64_t *to;
    } options[] = {{"--loss", &opt.loss},           {"--corrupt", &opt.corrupt},
                   {"--mbit", &opt.mbit},           {"--delay-us", &opt.delay_us},
                   {"--jitter-us", &opt.jitter_us}, {"--queue", &opt.queue},
                   {"--values", &opt.values},       {"--connections", &opt.connections},
                   {"--bytes", &opt.bytes},         {"--seeds", &opt.seeds}};
    for (int i = 1; i < argc; i += 2) {
        size_t k = 0;
        while (k < ARRAY_LEN(options) && strcmp(argv[i], options[k].name) != 0)
            k++;
        if (k == ARRAY_LEN(options) || i + 1 == argc)
            return false;
        *options[k].to = strtoull(argv[i + 1], NULL, 10);
    }
    return opt.queue < QUEUE_MAX && opt.seeds >= 1 && opt.seeds <= SEEDS_MAX &&
           opt.connections >= 1 && opt.connections < 1000 && opt.bytes >= 1;
}

int main(int argc, char **argv)
{
    static struct line l;
    static double seconds[SEEDS_MAX];
    if (!parse(argc, argv)) {
        fprintf(stderr, "goodput_bench: see the head of tests/bench/goodput_bench.c\n");
        return 2;
    }
    if (wire_eal_init())
        return 1;
    for (uint64_t i = 0; i < opt.seeds; i++)
        seconds[i] = one(&l, i + 1);
    qsort(seconds, opt.seeds, sizeof(seconds[0]), by_value);
    printf("median %.3f s [%.3f-%.3f]\n", seconds[opt.seeds / 2], seconds[0],
           seconds[opt.seeds - 1]);
    return 0;
}
