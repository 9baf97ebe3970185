/* conn_scale: what a connection costs: memory of an idle one, a request among many of them, opening and closing.
 *
 *   scripted peers (frames made here) --> rx() -> worker_turn -> tx() --> the numbers that the peers must know
 *
 * One whole worker (net, conn, a shard) on a port made of two arrays, no driver and no kernel. Only worker_turn is timed. Steps:
 *   1. for each population P (1,000, 100,000 and so on up to N): open up to P connections, then ask PINGs of connections drawn at random
 *   2. idle: virtual time passes, keepalive timers of all of them included; the longest turn is told
 *   3. connects and closes with N others open
 *   4. reset all; nothing may be left
 *
 *   conn_scale [--connections N] [--cycles C] [--max-bytes B] [--max-process-bytes B] [--json]
 *   conn_scale --crowd N
 * --max-bytes, --max-process-bytes: exit 1 when an idle connection, or the process with all of them, takes more. Anything left at the
 * end, or a wrong answer, is exit 1 always.
 * --crowd: instead, what N ill-behaved peers cost 16 others that ask PINGs all the time. Of each kind of crowd: every PING must be
 * answered in the turn that it comes in, and the worker's memory for packets must stay within its bounds (crowd_checks).
 * The clock is virtual: 5 us a frame. */
#include <getopt.h>
#include <jemalloc/jemalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_mbuf.h>

#include "dataplane/conn/conn_internal.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_internal.h"

#define SERVER_IP    0x0a000002
#define PEERS_IP     0x0a010001
#define PORT         6379
#define PORTS_PER_IP 50000
#define FIRST_PORT   10000
#define NS_PER_FRAME 5000
#define BURST        LIMIT_BURST_PKTS
#define SAMPLES      20000 /* bursts of PINGs a population */
#define IDLE_S       400   /* longer than tcp-keepalive */
#define FLOW_BURSTS  100000
#define SETTLE_NS    3000000000ull
#define WITNESSES    (BURST / 2)
#define CROWD_MS     5000
#define CROWD_BYTES  4000 /* of the value that it asks for, 16 times a request */

struct peer { /* the far end of one connection */
    uint32_t seq, ack;
};

enum crowd {
    CROWD_NONE,
    CROWD_NEVER_READ, /* asks for replies and takes the first window of them only */
    CROWD_TRICKLE,    /* a byte of a request a second */
    CROWD_SACK,       /* acknowledges nothing, and any blocks of it */
    CROWD_TINY_MSS,   /* offers an MSS of 1 and asks for much */
    CROWD_KINDS
};

static struct {
    struct worker *worker;
    struct stats_worker *stats;
    struct rte_mempool *rx_pool, *pool, *reserve;
    struct peer *peer;
    uint32_t connections, cycles, opened;
    double max_bytes;
    bool json;
    uint64_t now_ns, busy_tsc, rng;
    struct rte_mbuf *rx[BURST];
    uint16_t rx_n;
    uint64_t frames_out, resets_out, pongs;
    double max_process_bytes;
    enum crowd kind;
    uint32_t crowd, *base; /* base: each peer's first number of text that it is sent */
} b = {.connections = 1000000, .cycles = 200000, .rng = 0x9e3779b97f4a7c15ull};

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {2, 0, 0, 0, 0, 2};

static void fail(const char *text)
{
    fprintf(stderr, "conn_scale: %s\n", text);
    exit(1);
}

static uint64_t draw(void)
{
    b.rng ^= b.rng << 13;
    b.rng ^= b.rng >> 7;
    b.rng ^= b.rng << 17;
    return b.rng;
}

/* ---- the wire ---- */

static uint16_t bench_rx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    (void)ctx;
    uint16_t got = b.rx_n < n ? b.rx_n : n;
    memcpy(pkts, b.rx, got * sizeof(pkts[0]));
    b.rx_n = 0;
    return got;
}

static void take_frame(const struct rte_mbuf *m)
{
    const uint8_t *f = rte_pktmbuf_mtod(m, const uint8_t *);
    const struct ip4_hdr *ip = (const void *)(f + 14);
    const struct tcp_hdr *th = (const void *)(ip + 1);
    if (from_be16(*(const be16_t *)(const void *)(f + 12)) != ETH_TYPE_IP4 ||
        ip->proto != IP_PROTO_TCP)
        return; /* the announcement */
    uint32_t i = (from_be32(ip->dst) - PEERS_IP) * PORTS_PER_IP + from_be16(th->dport) - FIRST_PORT;
    uint32_t doff = (th->off >> 4) * 4u, len = from_be16(ip->total_len) - 20 - doff;
    b.frames_out++;
    b.resets_out += (th->flags & TH_RST) != 0;
    uint32_t next = from_be32(th->seq) + len + !!(th->flags & (TH_SYN | TH_FIN));
    if ((th->flags & TH_SYN) || (int32_t)(next - b.peer[i].ack) > 0)
        b.peer[i].ack = next;
    if (len == 7 && memcmp((const uint8_t *)th + doff, "+PONG\r\n", 7) == 0)
        b.pongs++;
    else if (len && (!b.crowd || i < WITNESSES))
        fail("a wrong reply");
}

static uint16_t bench_tx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    (void)ctx;
    for (uint16_t i = 0; i < n; i++) {
        take_frame(pkts[i]);
        rte_pktmbuf_free(pkts[i]);
    }
    return n;
}

struct says { /* beside the text */
    uint32_t ack;
    uint16_t wnd, mss;
    unsigned blocks;
    uint32_t block[3][2];
};

static void push_as(uint32_t i, uint8_t flags, const char *text, uint32_t len,
                    const struct says *says)
{
    struct peer *p = &b.peer[i];
    bool syn = flags & TH_SYN;
    uint32_t opt = syn ? 20 : 12 + (says->blocks ? 4 + 8 * says->blocks : 0);
    struct rte_mbuf *m = rte_pktmbuf_alloc(b.rx_pool);
    if (!m || b.rx_n == BURST)
        fail("no buffer for a frame");
    uint8_t *f = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(54 + opt + len));
    struct ip4_hdr *ip = (struct ip4_hdr *)(void *)(f + 14);
    struct tcp_hdr *th = (struct tcp_hdr *)(void *)(ip + 1);
    memcpy(f, our_mac, 6);
    memcpy(f + 6, peer_mac, 6);
    f[12] = 8;
    f[13] = 0;
    ip4_write(ip, PEERS_IP + i / PORTS_PER_IP, SERVER_IP, IP_PROTO_TCP, (uint16_t)(20 + opt + len));
    *th = (struct tcp_hdr){.sport = be16((uint16_t)(FIRST_PORT + i % PORTS_PER_IP)),
                           .dport = be16(PORT),
                           .seq = be32(p->seq),
                           .ack = be32(flags & TH_ACK ? says->ack : 0),
                           .off = (uint8_t)((20 + opt) / 4 << 4),
                           .flags = flags,
                           .wnd = be16(says->wnd)};
    be32_t ts[2] = {be32((uint32_t)(b.now_ns / 1000000)), be32(0)};
    uint8_t *o = (uint8_t *)(th + 1);
    if (syn) {
        memcpy(o, "\2\4\0\0\3\3\7\1\4\2\10\12", 12);
        memcpy(o + 2, &(be16_t){be16(says->mss).raw}, 2);
        memcpy(o + 12, ts, 8);
    } else {
        memcpy(o, "\1\1\10\12", 4);
        memcpy(o + 4, ts, 8);
    }
    if (!syn && says->blocks) {
        memcpy(o + 12, (uint8_t[]){1, 1, 5, (uint8_t)(2 + 8 * says->blocks)}, 4);
        for (unsigned k = 0; k < says->blocks; k++) {
            be32_t v[2] = {be32(says->block[k][0]), be32(says->block[k][1])};
            memcpy(o + 16 + 8 * (size_t)k, v, sizeof(v));
        }
    }
    memcpy(o + opt, text, len);
    th->csum =
        csum_finish(csum_add(th, 20 + opt + len, ip4_pseudo_sum(ip, (uint16_t)(20 + opt + len))));
    p->seq += len + syn + !!(flags & TH_FIN);
    b.rx[b.rx_n++] = m;
}

static void push(uint32_t i, uint8_t flags, const char *text, uint32_t len)
{
    struct says says = {.ack = b.peer[i].ack, .wnd = 0xffff, .mss = 1460};
    if (b.kind == CROWD_TINY_MSS && i >= WITNESSES)
        says.mss = 1;
    push_as(i, flags, text, len, &says);
}

static uint64_t thread_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void turn(void)
{
    uint64_t n = b.rx_n, start = rte_rdtsc();
    worker_turn(b.worker, b.now_ns, 1700000000000000ll + (int64_t)(b.now_ns / 1000));
    b.busy_tsc += rte_rdtsc() - start;
    b.now_ns += n * NS_PER_FRAME + 1000;
}

/* ---- what is measured ---- */

static double ns(uint64_t tsc)
{
    return (double)tsc * 1e9 / (double)rte_get_tsc_hz();
}

static uint64_t resident_bytes(void)
{
    unsigned long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu %lu", &size, &resident) != 2)
        fail("/proc/self/statm");
    fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t heap_bytes(void)
{
    uint64_t epoch = 1;
    size_t allocated, n = sizeof(allocated);
    mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
    if (mallctl("stats.allocated", &allocated, &n, NULL, 0) != 0)
        fail("jemalloc has no statistics");
    return allocated;
}

static void open_some(uint32_t from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        b.peer[from + i].seq = (uint32_t)draw();
        push(from + i, TH_SYN, "", 0);
    }
    turn();
    for (uint32_t i = 0; i < n; i++)
        push(from + i, TH_ACK, "", 0);
    turn();
}

static void open_to(uint32_t population)
{
    while (b.opened < population) {
        uint32_t n = population - b.opened < BURST ? population - b.opened : BURST;
        open_some(b.opened, n);
        b.opened += n;
    }
    if (STAT_GET(b.stats->tcp_curr_estab) != population || STAT_GET(b.stats->clients) != population)
        fail("not all connections opened");
}

/* PINGs of connections drawn at random: ns of worker_turn a request. */
static double ask_some(void)
{
    uint64_t tsc = 0, pongs = b.pongs;
    for (int i = 0; i < SAMPLES; i++) {
        uint32_t first = (uint32_t)draw(), who[BURST];
        uint32_t stride = 2654435761u;
        for (uint32_t k = 0; k < BURST; k++) {
            who[k] = (first + k * stride) % b.opened;
            for (uint32_t j = 0; j < k; j++)
                if (who[j] == who[k])
                    who[k] = UINT32_MAX;
            if (who[k] != UINT32_MAX)
                push(who[k], TH_ACK | TH_PSH, "*1\r\n$4\r\nPING\r\n", 14);
        }
        uint64_t before = b.busy_tsc;
        turn();
        tsc += b.busy_tsc - before;
        for (uint32_t k = 0; k < BURST; k++)
            if (who[k] != UINT32_MAX)
                push(who[k], TH_ACK, "", 0);
        turn();
    }
    return ns(tsc) / (double)(b.pongs - pongs);
}

/* The table alone, in the stages of net_burst: buckets asked for, then records, then the keys compared. */
static double look_up(const struct net *net)
{
    struct flow_key key[BURST];
    uint64_t hash[BURST], found = 0, start = rte_rdtsc();
    for (int i = 0; i < FLOW_BURSTS; i++) {
        for (int k = 0; k < BURST; k++) {
            uint32_t who = (uint32_t)(((draw() & UINT32_MAX) * b.opened) >> 32);
            key[k] = (struct flow_key){PEERS_IP + who / PORTS_PER_IP, SERVER_IP,
                                       (uint16_t)(FIRST_PORT + who % PORTS_PER_IP), PORT};
            hash[k] = flow_hash(&net->flow, &key[k]);
            rte_prefetch0(flow_bucket(&net->flow, hash[k]));
        }
        for (int k = 0; k < BURST; k++) {
            uint32_t index = flow_guess(flow_bucket(&net->flow, hash[k]), flow_tag(hash[k]));
            if (index != FLOW_NONE)
                rte_prefetch0(&net->conns[index]);
        }
        for (int k = 0; k < BURST; k++)
            found += flow_find(&net->flow, &key[k], hash[k]) != FLOW_NONE;
    }
    if (found != (uint64_t)FLOW_BURSTS * BURST)
        fail("a connection is not found");
    return ns(rte_rdtsc() - start) / (double)found;
}

/* Time passes in steps of 1 ms; probes are answered. The longest turn is what a request would have waited. */
static double idle(uint64_t for_ns)
{
    uint64_t end = b.now_ns + for_ns, longest = 0;
    while (b.now_ns < end) {
        uint64_t start = thread_ns(); /* others may have the core meanwhile */
        turn();
        uint64_t took = thread_ns() - start;
        longest = took > longest ? took : longest;
        b.now_ns += 1000000;
    }
    return (double)longest / 1000;
}

/* A connection from SYN to the last ACK, 32 side by side; they close first, so nothing stays in TIME_WAIT here. */
static double connect_and_close(uint32_t cycles)
{
    uint64_t before = b.busy_tsc, passive = STAT_GET(b.stats->tcp_passive_opens);
    uint32_t done = 0;
    for (; done < cycles; done += BURST) {
        uint32_t at = b.connections + done % (2 * PORTS_PER_IP / BURST * BURST);
        open_some(at, BURST);
        for (uint32_t i = 0; i < BURST; i++)
            push(at + i, TH_FIN | TH_ACK, "", 0);
        turn();
        turn();
        for (uint32_t i = 0; i < BURST; i++)
            push(at + i, TH_ACK, "", 0);
        turn();
    }
    if (STAT_GET(b.stats->tcp_passive_opens) - passive != done ||
        STAT_GET(b.stats->tcp_conns) != b.opened)
        fail("connections that were closed are left");
    return 1e9 / (ns(b.busy_tsc - before) / done);
}

static void reset_all(void)
{
    for (uint32_t i = 0; i < b.opened; i++) {
        push(i, TH_RST, "", 0);
        if (b.rx_n == BURST)
            turn();
    }
    turn();
    turn();
    b.opened = 0;
}

/* ---- a crowd ---- */

struct crowd_sum {
    uint64_t pings, turns, tsc, tsc_most, frames_most, mbufs_most, parked_most, ooo_most;
    uint64_t heap_before, heap_most;
    uint64_t late, late_ms, wait_most_ns; /* late_ms: when the last one was, from the start */
};

/* Sixteen GETs at once. */
static void crowd_request(uint32_t i)
{
    static const char get[] = "*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n";
    char text[16 * sizeof(get)];
    for (size_t k = 0; k < 16; k++)
        memcpy(text + k * (sizeof(get) - 1), get, sizeof(get) - 1);
    push(i, TH_ACK | TH_PSH, text, 16 * (sizeof(get) - 1));
}

/* One frame of a member of the crowd, now and then. */
static void crowd_act(uint32_t i, uint64_t round)
{
    static const char trickle[] = "*1\r\n$4\r\nPING\r\n";
    struct says says = {.ack = b.peer[i].ack, .wnd = 0xffff};
    switch (b.kind) {
    case CROWD_NEVER_READ:
        says.wnd = 0;
        push_as(i, TH_ACK, "", 0, &says);
        break;
    case CROWD_TRICKLE: push(i, TH_ACK | TH_PSH, &trickle[round % 14], 1); break;
    case CROWD_SACK:
        says.ack = b.base[i];
        says.blocks = 3;
        for (unsigned k = 0; k < 3; k++) {
            says.block[k][0] = b.base[i] + (uint32_t)(draw() % 20000);
            says.block[k][1] = says.block[k][0] + 1 + (uint32_t)(draw() % 3000);
        }
        push_as(i, TH_ACK, "", 0, &says);
        break;
    default: push(i, TH_ACK, "", 0);
    }
}

static void crowd_turn(struct crowd_sum *c)
{
    const struct net *net = b.worker->net;
    uint64_t tsc = b.busy_tsc, frames = b.frames_out;
    turn();
    tsc = b.busy_tsc - tsc;
    frames = b.frames_out - frames;
    c->turns++;
    c->tsc += tsc;
    c->tsc_most = RTE_MAX(c->tsc_most, tsc);
    c->frames_most = RTE_MAX(c->frames_most, frames);
    c->mbufs_most = RTE_MAX(c->mbufs_most, (uint64_t)rte_mempool_in_use_count(b.pool));
    c->parked_most = RTE_MAX(c->parked_most, net->parked_bytes);
    c->ooo_most = RTE_MAX(c->ooo_most, net->ooo_total_bytes);
}

/* Replies that did not leave in the turn of their requests: the pool was empty. */
static void crowd_wait(struct crowd_sum *c, uint64_t pongs, uint64_t ms)
{
    uint64_t since = b.now_ns;
    c->late += pongs - b.pongs;
    c->late_ms = ms;
    for (int i = 0; b.pongs < pongs; i++) {
        if (i == 10000)
            fail("a PING is not answered");
        b.now_ns += 20000;
        crowd_turn(c);
    }
    c->wait_most_ns = RTE_MAX(c->wait_most_ns, b.now_ns - since);
}

/* Half a burst of the others' PINGs, and half a burst of the crowd. */
static void crowd_step(struct crowd_sum *c, uint32_t *at, uint64_t round)
{
    uint64_t pongs = b.pongs;
    bool asks = b.kind != CROWD_NONE;
    for (uint32_t i = 0; i < WITNESSES; i++)
        push(i, TH_ACK | TH_PSH, "*1\r\n$4\r\nPING\r\n", 14);
    uint32_t trickle = b.crowd / 1000 / 2 + 1; /* a frame of each a second */
    uint32_t most = b.kind == CROWD_TRICKLE || b.kind == CROWD_NEVER_READ ? trickle : BURST;
    for (int half = 0; half < 2; half++) {
        for (uint32_t n = 0; asks && n < most && b.rx_n < BURST; n++, (*at)++)
            crowd_act(WITNESSES + *at % b.crowd, round);
        crowd_turn(c);
        if (half == 0) {
            c->pings += WITNESSES;
            if (b.pongs - pongs < WITNESSES)
                crowd_wait(c, pongs + WITNESSES, round);
            for (uint32_t i = 0; i < WITNESSES; i++)
                push(i, TH_ACK, "", 0);
        }
    }
}

static void crowd_open(struct crowd_sum *c)
{
    for (uint32_t i = 0; i < b.crowd; i += WITNESSES) {
        uint32_t first = WITNESSES + i;
        open_some(first, WITNESSES);
        for (uint32_t k = 0; k < WITNESSES; k++) {
            b.base[first + k] = b.peer[first + k].ack;
            if (b.kind != CROWD_TRICKLE)
                crowd_request(first + k);
        }
        crowd_turn(c);
        for (uint32_t k = 0; k < WITNESSES && b.kind == CROWD_NEVER_READ; k++)
            crowd_act(first + k, 0);
        crowd_turn(c);
    }
}

static void crowd_checks(const struct crowd_sum *c)
{
    uint64_t asked =
        b.crowd * 16ull * CROWD_BYTES; /* replies that wait in conn; a quarter on top for blocks */
    if (c->late)
        fail("a PING waited for its reply");
    if (c->parked_most + c->ooo_most > LIMIT_NET_HEAP_BYTES ||
        c->ooo_most > LIMIT_NET_OOO_TOTAL_BYTES || c->mbufs_most >= b.pool->size)
        fail("packets take more memory than they may");
    if (c->heap_most - c->heap_before > LIMIT_NET_HEAP_BYTES + asked / 4 * 5)
        fail("more heap than what was asked for");
}

static void crowd_kind(void)
{
    static const char *const names[] = {"nobody else", "never read", "a byte a second",
                                        "SACK blocks at random", "an MSS of 1"};
    struct crowd_sum opening = {0}, c = {.heap_before = heap_bytes()};
    uint32_t at = 0;
    if (b.kind)
        crowd_open(&opening);
    c.parked_most = opening.parked_most;
    c.ooo_most = opening.ooo_most;
    c.mbufs_most = opening.mbufs_most;
    for (uint64_t ms = 0; ms < CROWD_MS; ms++) {
        crowd_step(&c, &at, b.kind == CROWD_TRICKLE ? ms / 1000 : ms);
        b.now_ns += 1000000;
        if (ms % 500 == 0)
            c.heap_most = RTE_MAX(c.heap_most, heap_bytes());
    }
    c.heap_most = RTE_MAX(c.heap_most, c.heap_before);
    printf(
        "%u of %s: %llu PINGs of others, %llu not answered in their turn (the last at %llu ms, the "
        "longest wait %.1f ms); a turn %.1f us, the longest %.0f; frames out in one at most %llu; "
        "packet buffers %llu of %u, parked %llu bytes, early text %llu, heap %+lld\n",
        b.kind ? b.crowd : 0, names[b.kind], (unsigned long long)c.pings,
        (unsigned long long)c.late, (unsigned long long)c.late_ms, (double)c.wait_most_ns / 1e6,
        ns(c.tsc) / 1000 / (double)c.turns, ns(c.tsc_most) / 1000,
        (unsigned long long)c.frames_most, (unsigned long long)c.mbufs_most, b.pool->size,
        (unsigned long long)c.parked_most, (unsigned long long)c.ooo_most,
        (long long)(c.heap_most - c.heap_before));
    crowd_checks(&c);
}

/* Every kind in turn; between them the crowd is reset, and all that it took must be back. */
static void crowds(void)
{
    char set[CROWD_BYTES + 64];
    int n = snprintf(set, sizeof(set), "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%u\r\n", CROWD_BYTES);
    memset(set + n, 'x', CROWD_BYTES);
    memcpy(set + n + CROWD_BYTES, "\r\n", 2);
    open_some(WITNESSES, 1);
    for (size_t at = 0, end = (size_t)n + CROWD_BYTES + 2; at < end; at += 1400)
        push(WITNESSES, TH_ACK | TH_PSH, set + at, (uint32_t)RTE_MIN(end - at, (size_t)1400));
    turn();
    push(WITNESSES, TH_RST, "", 0);
    open_some(0, WITNESSES);
    for (int kind = 0; kind < CROWD_KINDS; kind++) {
        b.kind = (enum crowd)kind;
        crowd_kind();
        for (uint32_t i = 0; kind && i < b.crowd; i++) {
            push(WITNESSES + i, TH_RST, "", 0);
            if (b.rx_n == BURST)
                turn();
        }
        turn();
        idle(2000000000ull);
        if (STAT_GET(b.stats->clients) != WITNESSES || rte_mempool_in_use_count(b.pool) > 0)
            fail("something is left of a crowd");
    }
    b.kind = CROWD_NONE;
    b.opened = WITNESSES;
}

/* ---- set-up ---- */

static void eal_up(void)
{
    char prefix[48];
    snprintf(prefix, sizeof(prefix), "--file-prefix=bw-scale-%d", (int)getpid());
    char *argv[] = {"conn_scale", "--no-huge", "--no-pci",       "--no-shconf",
                    "-m",         "256",       "--no-telemetry", "--iova-mode=va",
                    "-l",         "0",         prefix,           "--log-level=error",
                    NULL};
    if (rte_eal_init((int)ARRAY_LEN(argv) - 1, argv) < 0)
        fail("EAL does not start");
}

static void eal_down(void)
{
    char dir[256];
    snprintf(dir, sizeof(dir), "%s", rte_eal_get_runtime_dir());
    rte_eal_cleanup();
    rmdir(dir);
}

static struct rte_mempool *pool(const char *name, unsigned n)
{
    struct rte_mempool *p =
        rte_pktmbuf_pool_create(name, n, 256, 0, 2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
    if (!p)
        fail("no packet buffers");
    return p;
}

static void server_up(struct engine_config *engine)
{
    static struct worker *all[1];
    struct worker_config wc = {.count = 1,
                               .all = all,
                               .config = engine,
                               .rx = bench_rx,
                               .wire = {.tx = bench_tx},
                               .hash_seed = {1, 2},
                               .seed = 7};
    struct timespec ts;
    engine_config_defaults(engine);
    engine->protected_mode = 0;
    engine->maxclients = b.connections + BURST;
    b.rx_pool = pool("rx", 8191);
    b.pool = pool("data", 16383);
    b.reserve = pool("reserve", 1023);
    net_config_defaults(&wc.net);
    memcpy(wc.net.mac, our_mac, 6);
    wc.net.ip = SERVER_IP;
    wc.net.netmask = 0xff000000;
    wc.net.secret[0] = 11;
    wc.net.secret[1] = 12;
    wc.net.listen_port = PORT;
    wc.net.pool = b.pool;
    wc.net.reserve = b.reserve;
    wc.net.max_conns = b.connections + b.connections / 2 + 1024; /* as main.c has it */
    clock_gettime(CLOCK_MONOTONIC, &ts);
    b.now_ns = (uint64_t)(ts.tv_sec + 1) * 1000000000ull;
    if (worker_create(&b.worker, &wc) < 0)
        fail("no worker");
    all[0] = b.worker;
    b.stats = worker_stats(b.worker);
    size_t bytes = (b.connections + 2ull * PORTS_PER_IP) * sizeof(*b.peer);
    b.peer = malloc(bytes);
    if (!b.peer)
        fail("no memory");
    memset(b.peer, 1, bytes);
    b.base = b.crowd ? calloc(b.connections, sizeof(*b.base)) : NULL;
    if (b.crowd && !b.base)
        fail("no memory");
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    uint64_t v = strtoull(text, &end, 10);
    if (*end || end == text || v < least || v > most)
        fail("a number is out of range; see the head of conn_scale.c");
    return v;
}

static void options(int argc, char **argv)
{
    static const struct option known[] = {{"connections", required_argument, NULL, 'n'},
                                          {"cycles", required_argument, NULL, 'c'},
                                          {"max-bytes", required_argument, NULL, 'm'},
                                          {"max-process-bytes", required_argument, NULL, 'p'},
                                          {"crowd", required_argument, NULL, 'w'},
                                          {"json", no_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (o) {
        case 'n': b.connections = (uint32_t)number(optarg, 1000, 10000000); break;
        case 'c': b.cycles = (uint32_t)number(optarg, 32, 100000000); break;
        case 'm': b.max_bytes = (double)number(optarg, 1, 1000000); break;
        case 'p': b.max_process_bytes = (double)number(optarg, 1, 1ull << 40); break;
        case 'w': b.crowd = (uint32_t)number(optarg, 1000, 100000) / WITNESSES * WITNESSES; break;
        case 'j': b.json = true; break;
        default: exit(2);
        }
    }
    if (optind < argc)
        fail("a word that is no option");
}

/* The steps in their order; prints what each came to. */
static double measure(const struct net *net)
{
    uint64_t base = resident_bytes();
    for (uint32_t p = 1000;; p = p > b.connections / 100 ? b.connections : p * 100) {
        open_to(p < b.connections ? p : b.connections);
        double table = look_up(net), request = ask_some();
        printf(b.json ? "{\"connections\": %u, \"lookup_ns\": %.1f, \"request_ns\": %.1f}\n"
                      : "%u connections: %.1f ns a look-up, %.0f ns a request (frame in to frame "
                        "out)\n",
               b.opened, table, request);
        if (b.opened == b.connections)
            break;
    }
    double longest = idle(SETTLE_NS + (uint64_t)b.connections / 16 * 1000000);
    uint64_t all = resident_bytes();
    double each = (double)(all - base) / b.connections;
    longest = idle((uint64_t)IDLE_S * 1000000000ull);
    uint64_t heap = heap_bytes();
    double rate = connect_and_close(b.cycles);
    idle(SETTLE_NS);
    int64_t leaked = (int64_t)(heap_bytes() - heap);
    printf(b.json ? "{\"bytes_per_idle_connection\": %.0f, \"resident_bytes\": %llu, "
                    "\"longest_idle_turn_us\": %.0f, \"connects_per_s\": %.0f, \"heap_after\": "
                    "%lld}\n"
                  : "an idle connection: %.0f bytes; the whole process %llu bytes\nlongest turn of "
                    "400 idle seconds: %.0f us\n%.0f connects and closes a second of one core; "
                    "heap after them %+lld bytes\n",
           each, (unsigned long long)all, longest, rate, (long long)leaked);
    if (leaked > 65536)
        fail("memory is left of connections that were closed");
    if (b.max_process_bytes > 0 && (double)all > b.max_process_bytes)
        fail("the process takes more memory than it may");
    return each;
}

int main(int argc, char **argv)
{
    struct engine_config engine;
    options(argc, argv);
    eal_up();
    if (b.crowd)
        b.connections = b.crowd + WITNESSES;
    server_up(&engine);
    double each = 0;
    if (b.crowd)
        crowds();
    else
        each = measure(b.worker->net);
    reset_all();
    idle(SETTLE_NS);
    if (STAT_GET(b.stats->tcp_conns) || STAT_GET(b.stats->clients) ||
        rte_mempool_in_use_count(b.pool) || rte_mempool_in_use_count(b.reserve) ||
        rte_mempool_in_use_count(b.rx_pool))
        fail("something is left of the connections");
    worker_destroy(b.worker);
    free(b.peer);
    free(b.base);
    eal_down();
    if (b.max_bytes > 0 && each > b.max_bytes)
        fail("an idle connection takes more memory than it may");
    return 0;
}
