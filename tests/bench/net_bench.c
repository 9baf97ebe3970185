/* net_bench: what one request and its reply cost the network stack: a data segment in (with the ACK
 * of the last reply), an application that answers at once, a data segment out. No ethdev, no RESP.
 *
 *   net_bench [requests] [conns] [request bytes] [reply bytes] [burst] [trace: no errors yes]
 * prints nanoseconds per request; under
 *   valgrind --tool=callgrind --toggle-collect=bench_run net_bench 2000
 * the instructions of bench_run divided by the requests are the figure that holds on a noisy machine.
 * The frames are written by the bench, so only the stack's own share is inside bench_stack. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_mbuf.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"

#define BURST_MAX 32

struct client { /* the far end of one connection */
    struct bench *bench;
    uint32_t seq, ack;
    uint16_t port;
    struct tcp_conn *tc;
};

struct bench {
    struct net *net;
    struct stats_worker stats;
    struct rte_mempool *pool;
    struct client *client;
    uint32_t conns, req_len, rep_len;
    struct tcp_conn *accepted;
    uint64_t now_ns, answered;
};

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {2, 0, 0, 0, 0, 2};

static uint16_t bench_tx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    struct bench *b = ctx;
    for (uint16_t i = 0; i < n; i++) {
        const uint8_t *f = rte_pktmbuf_mtod(pkts[i], const uint8_t *);
        const struct tcp_hdr *th = (const void *)(f + 34);
        uint16_t port = from_be16(th->dport);
        struct client *c = &b->client[port - 1024u];
        uint32_t len = pkts[i]->pkt_len - 34 - (th->off >> 4) * 4u;
        c->ack = from_be32(th->seq) + len + !!(th->flags & TH_SYN);
        rte_pktmbuf_free(pkts[i]);
    }
    return n;
}

/* The far end's next segment. */
static struct rte_mbuf *frame(struct bench *b, struct client *c, uint8_t flags, uint32_t len)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(b->pool);
    bool syn = flags & TH_SYN;
    uint32_t opt = syn ? 20 : 12;
    uint8_t *f = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(54 + opt + len));
    struct ip4_hdr *ip = (struct ip4_hdr *)(void *)(f + 14);
    struct tcp_hdr *th = (struct tcp_hdr *)(void *)(ip + 1);
    memcpy(f, our_mac, 6);
    memcpy(f + 6, peer_mac, 6);
    f[12] = 8;
    f[13] = 0;
    ip4_write(ip, 0x0a000001, 0x0a000002, IP_PROTO_TCP, (uint16_t)(20 + opt + len));
    *th = (struct tcp_hdr){.sport = be16(c->port),
                           .dport = be16(6379),
                           .seq = be32(c->seq),
                           .ack = be32(c->ack),
                           .off = (uint8_t)((20 + opt) / 4 << 4),
                           .flags = flags,
                           .wnd = be16(0xffff)};
    memcpy((uint8_t *)(th + 1) + opt - 12, "\1\1\10\12\0\0\0\1\0\0\0\1", 12);
    if (syn)
        memcpy(th + 1, "\2\4\5\264\1\3\3\7", 8);
    memset((uint8_t *)(th + 1) + opt, 'x', len);
    th->csum =
        csum_finish(csum_add(th, 20 + opt + len, ip4_pseudo_sum(ip, (uint16_t)(20 + opt + len))));
    c->seq += len + syn;
    return m;
}

static void *on_accepted(void *ctx, struct tcp_conn *tc)
{
    struct bench *b = ctx;
    struct tcp_addr a;
    tcp_addr(tc, &a);
    struct client *c = &b->client[a.peer_port - 1024u];
    c->tc = tc;
    return c;
}

static void on_received(void *cookie, const uint8_t *p, size_t n)
{
    struct client *c = cookie;
    size_t room;
    (void)p;
    if (n != c->bench->req_len)
        return;
    uint8_t *w = tcp_tx_reserve(c->tc, &room);
    if (!w || room < c->bench->rep_len)
        return;
    memset(w, 'y', c->bench->rep_len);
    tcp_tx_commit(c->tc, c->bench->rep_len);
    c->bench->answered++;
}
static void on_nothing(void *cookie)
{
    (void)cookie;
}
static void on_closed(void *cookie, int err)
{
    (void)cookie;
    (void)err;
}

/* One turn of a worker's loop around the stack. */
__attribute__((noinline)) static void bench_stack(struct bench *b, struct rte_mbuf **pkts,
                                                  uint16_t n)
{
    net_input(b->net, pkts, n, b->now_ns);
    net_input_done(b->net);
    net_timers(b->net, b->now_ns);
    net_output(b->net, b->now_ns);
}

static void bench_open(struct bench *b)
{
    for (uint32_t i = 0; i < b->conns; i++) {
        struct client *c = &b->client[i];
        *c = (struct client){.bench = b, .seq = 1000, .port = (uint16_t)(1024 + i)};
        struct rte_mbuf *m = frame(b, c, TH_SYN, 0);
        bench_stack(b, &m, 1);
        m = frame(b, c, TH_ACK, 0);
        bench_stack(b, &m, 1);
    }
}

__attribute__((noinline)) static void bench_run(struct bench *b, uint64_t requests, uint16_t burst)
{
    struct rte_mbuf *pkts[BURST_MAX];
    uint64_t at = 0;
    for (uint64_t done = 0; done < requests; done += burst) {
        for (uint16_t i = 0; i < burst; i++, at++)
            pkts[i] = frame(b, &b->client[at * 7919 % b->conns], TH_ACK | TH_PSH, b->req_len);
        b->now_ns += 1000u * burst;
        bench_stack(b, pkts, burst);
    }
}

/* EAL without hugepages and root, its one lcore allowed on every CPU that we are. */
static int eal_up(void)
{
    char prefix[48], lcores[1024] = "--lcores=0@(";
    size_t n = strlen(lcores);
    cpu_set_t set;
    const char *sep = "";
    sched_getaffinity(0, sizeof(set), &set);
    for (int i = 0; i < CPU_SETSIZE && n < sizeof(lcores) - 16; i++) {
        if (CPU_ISSET(i, &set)) {
            n += (size_t)snprintf(lcores + n, sizeof(lcores) - n, "%s%d", sep, i);
            sep = ",";
        }
    }
    snprintf(lcores + n, sizeof(lcores) - n, ")");
    snprintf(prefix, sizeof(prefix), "--file-prefix=bw-bench-%d", (int)getpid());
    char *eal[] = {"net_bench",         "--no-huge", "--no-pci", "--no-shconf",
                   "--no-telemetry",    "-m",        "128",      "--iova-mode=va",
                   "--log-level=error", prefix,      lcores,     NULL};
    return rte_eal_init((int)(sizeof(eal) / sizeof(eal[0])) - 1, eal);
}

int main(int argc, char **argv)
{
    uint64_t requests = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000000;
    uint32_t conns = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 50;
    uint32_t req = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 36;
    uint32_t rep = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 71;
    uint16_t burst = argc > 5 ? (uint16_t)strtoul(argv[5], NULL, 10) : 16;
    if (!conns || conns > 60000 || !burst || burst > BURST_MAX || !req || req > 1400 || !rep ||
        rep > 1400) {
        fprintf(stderr,
                "usage: net_bench [requests] [conns] [request] [reply] [burst 1-32] [trace]\n");
        return 2;
    }
    if (eal_up() < 0)
        return 1;
    struct bench b = {.now_ns = 1000000000, .conns = conns, .req_len = req, .rep_len = rep};
    b.pool = rte_pktmbuf_pool_create("bench", 16383, 256, 0, 2048 + 128, SOCKET_ID_ANY);
    b.client = calloc(conns, sizeof(*b.client));
    struct net_config cfg;
    net_config_defaults(&cfg);
    memcpy(cfg.mac, our_mac, 6);
    cfg.ip = 0x0a000002;
    cfg.listen_port = 6379;
    cfg.max_conns = 65536;
    cfg.secret[0] = 1;
    cfg.secret[1] = 2;
    cfg.pool = b.pool;
    if (argc > 6)
        cfg.trace = argv[6][0] == 'y'   ? TCP_TRACE_YES
                    : argv[6][0] == 'n' ? TCP_TRACE_NO
                                        : TCP_TRACE_ERRORS;
    struct net_wire wire = {.tx = bench_tx, .ctx = &b};
    struct tcp_app app = {.ctx = &b,
                          .accepted = on_accepted,
                          .received = on_received,
                          .peer_closed = on_nothing,
                          .writable = on_nothing,
                          .closed = on_closed};
    if (!b.pool || !b.client || net_create(&b.net, &cfg, &wire, &app, &b.stats, b.now_ns))
        return 1;
    bench_open(&b);
    bench_run(&b, 1000, burst);
    uint64_t before = b.answered;
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    bench_run(&b, requests, burst);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    double ns = (double)(t1.tv_sec - t0.tv_sec) * 1e9 + (double)(t1.tv_nsec - t0.tv_nsec);
    uint64_t n = b.answered - before;
    printf("{\"requests\": %lu, \"answered\": %lu, \"ns_per_request_with_far_end\": %.1f, "
           "\"retransmitted\": %lu, \"pure_acks\": %lu}\n",
           (unsigned long)requests, (unsigned long)n, ns / (double)(n ? n : 1),
           (unsigned long)b.stats.tcp_retrans_segs, (unsigned long)b.stats.tcp_pure_acks_out);
    bool ok = n >= requests;
    net_destroy(b.net);
    ok = ok && rte_mempool_in_use_count(b.pool) == 0;
    char dir[256];
    snprintf(dir, sizeof(dir), "%s", rte_eal_get_runtime_dir());
    rte_eal_cleanup();
    rmdir(dir);
    free(b.client);
    return ok ? 0 : 1;
}
