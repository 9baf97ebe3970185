/* frame_bench: what one request costs the server from frame in to frame out, with no kernel, driver or client in the account.
 *
 *   client stack (a struct net, active open) -- frames copied --> rx() -> worker_turn -> tx() -- frames copied --> client stack
 *
 * Workers (one unless told) on ports made of two arrays, each turned in its turn by one thread, connections dealt out among them; no offloads, as on AF_XDP. The client keeps one pipeline of P requests under way on each
 * connection, as redis-benchmark does; every reply is checked. Only measured_turn() counts, and it does nothing but call worker_turn:
 *   valgrind --tool=callgrind --toggle-collect=measured_turn frame_bench ...     instructions (tests/bench/instructions does it)
 *   frame_bench ...                                                              busy nanoseconds of worker_turn by rdtsc
 *
 *   frame_bench [--command get|set|mget|mset|incr|hset|lpush|zadd] [--workers N] [--pipeline P] [--connections C] [--burst B] [--keys N] [--requests R] [--core-addressed] [--json]
 * --burst: frames a turn receives at most (1 to 32): 1 is a server that is not loaded, 32 one that is saturated.
 * --core-addressed: connections go to the port of their worker's node and ask for its keys (GET, SET, INCR, LPUSH), as a cluster client does with `core-addressed yes`.
 * The clock is virtual: 5 us a frame, so that timers, delayed ACKs and housekeeping come as often as they do on a real port. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_mbuf.h>

#include "dataplane/worker.h"
#include "engine/base/assert.h"
#include "engine/base/limits.h"
#include "engine/shard/shard.h"

#define SERVER_IP       0x0a000002
#define CLIENT_IP       0x0a000001
#define PORT            6379
#define FIRST_PORT      20000 /* the clients' */
#define VALUE_BYTES     64
#define KEY_BYTES       16
#define QUEUE           4096 /* frames between the stacks */
#define MAX_CONNECTIONS 1024
#define MAX_PIPELINE    256
#define MAX_REQUEST     1200 /* bytes */
#define MAX_WORKERS     8
#define MANY            10 /* keys of an MGET and an MSET */
#define NS_PER_FRAME    5000
#define NS_PER_TURN     500
#define MAX_SAMPLES     (1u << 20)
#define STUCK_TURNS     1000000

#define VALUE           "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* What each asks, and how its reply begins and how long it is; 0: a line. Keys of the other types are made as they are asked. */
static const struct {
    const char *name, *head;
    const char *key, *rest; /* repeated `many` times: a drawn key and what stands behind it */
    uint32_t words, many;   /* words: behind the name, each time */
    const char *reply;
    size_t reply_bytes;
} commands[] = {
    {"get", "$3\r\nGET\r\n", "$16\r\nkey:%012llu\r\n", "", 1, 1, "$64\r\n", 5 + VALUE_BYTES + 2},
    {"set", "$3\r\nSET\r\n", "$16\r\nkey:%012llu\r\n", "$64\r\n" VALUE "\r\n", 2, 1, "+OK\r\n", 5},
    {"mget", "$4\r\nMGET\r\n", "$16\r\nkey:%012llu\r\n", "", 1, MANY, "*10\r\n",
     5 + MANY *(5 + VALUE_BYTES + 2)},
    {"mset", "$4\r\nMSET\r\n", "$16\r\nkey:%012llu\r\n", "$64\r\n" VALUE "\r\n", 2, MANY, "+OK\r\n",
     5},
    {"incr", "$4\r\nINCR\r\n", "$16\r\nnum:%012llu\r\n", "", 1, 1, ":", 0},
    {"hset", "$4\r\nHSET\r\n$8\r\nthe-hash\r\n", "$16\r\nfld:%012llu\r\n", "$5\r\nvalue\r\n", 3, 1,
     ":", 0},
    {"lpush", "$5\r\nLPUSH\r\n", "$16\r\nlst:%012llu\r\n", "$5\r\nvalue\r\n", 2, 1, ":", 0},
    {"zadd", "$4\r\nZADD\r\n$8\r\nthe-zset\r\n$1\r\n7\r\n", "$16\r\nmem:%012llu\r\n", "", 3, 1, ":",
     0},
};
enum { GET, SET };

struct frames { /* on their way to one of the two stacks: mbufs of its own pool */
    struct rte_mbuf *at[QUEUE];
    uint32_t head, count;
    struct rte_mempool *pool;
};

struct client {
    struct tcp_conn *tc;
    uint32_t awaited;   /* replies */
    size_t reply_bytes; /* of the reply at hand */
};

static struct {
    uint32_t command; /* of commands[] */
    uint32_t pipeline, connections, burst, keys;
    uint64_t requests;
    bool json, core_addressed;
    struct worker *worker[MAX_WORKERS];
    uint32_t workers;
    struct net *net; /* the client's */
    struct frames to_server[MAX_WORKERS], to_client;
    struct rte_mbuf *sent[QUEUE]; /* by the server in this turn */
    uint32_t nsent;
    struct client client[MAX_CONNECTIONS];
    uint32_t connected;
    uint64_t now_ns, rng,
        next_key[MAX_WORKERS]; /* by worker: the first one's, unless core-addressed */
    bool loading;              /* keys in order, by SET */
    uint64_t replies, frames_in, frames_out, turns;
} bench = {.command = GET,
           .workers = 1,
           .pipeline = 1,
           .connections = 50,
           .burst = 1,
           .keys = 1000000,
           .requests = 200000,
           .rng = 0x9e3779b97f4a7c15ull};

static void fail(const char *text)
{
    fprintf(stderr, "frame_bench: %s\n", text);
    exit(1);
}

/* ---- the wire ---- */

static void push_copy(struct frames *to, const struct rte_mbuf *m)
{
    struct rte_mbuf *copy = rte_pktmbuf_alloc(to->pool);
    if (!copy || to->count == QUEUE || m->nb_segs != 1)
        fail("the wire is full");
    memcpy(rte_pktmbuf_append(copy, m->data_len), rte_pktmbuf_mtod(m, const void *), m->data_len);
    to->at[(to->head + to->count++) % QUEUE] = copy;
}

static uint16_t pop(struct frames *from, struct rte_mbuf **pkts, uint16_t n)
{
    uint32_t head = from->head % QUEUE, whole = QUEUE - head;
    if (n > from->count)
        n = (uint16_t)from->count;
    uint32_t first = n < whole ? n : whole;
    memcpy(pkts, from->at + head, first * sizeof(pkts[0]));
    memcpy(pkts + first, from->at, (n - first) * sizeof(pkts[0]));
    from->head = (head + n) % QUEUE;
    from->count -= n;
    return n;
}

static uint16_t server_rx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    uint16_t got = pop(ctx, pkts, n < bench.burst ? n : (uint16_t)bench.burst);
    bench.frames_in += got;
    return got;
}

static uint16_t server_tx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    (void)ctx;
    if (n > QUEUE - bench.nsent)
        n = (uint16_t)(QUEUE - bench.nsent);
    memcpy(bench.sent + bench.nsent, pkts, n * sizeof(pkts[0]));
    bench.nsent += n;
    return n;
}

/* By the client's port, as RSS would. */
static uint32_t queue_of(const struct rte_mbuf *m)
{
    const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
    return m->data_len > 36 && p[12] == 8 && p[13] == 0 ? p[35] % bench.workers : 0;
}

static uint16_t client_tx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    (void)ctx;
    for (uint16_t i = 0; i < n; i++) {
        push_copy(&bench.to_server[queue_of(pkts[i])], pkts[i]);
        rte_pktmbuf_free(pkts[i]);
    }
    return n;
}

/* What a driver does outside of the stack: carries the frames off and gives the buffers back. */
static void carry_replies(void)
{
    for (uint32_t i = 0; i < bench.nsent; i++) {
        push_copy(&bench.to_client, bench.sent[i]);
        rte_pktmbuf_free(bench.sent[i]);
    }
    bench.frames_out += bench.nsent;
    bench.nsent = 0;
}

/* ---- the client ---- */

/* The worker of a connection: queue_of its port. */
static uint32_t home_of(uint32_t connection)
{
    return (FIRST_PORT + connection) % 256 % bench.workers;
}

static uint64_t draw(void)
{
    bench.rng ^= bench.rng << 13;
    bench.rng ^= bench.rng >> 7;
    bench.rng ^= bench.rng << 17;
    return bench.rng;
}

static uint64_t next_number(uint32_t home)
{
    return bench.loading ? bench.next_key[home]++ % bench.keys : draw() % bench.keys;
}

/* A key with the bulk string's head around it, one of worker `home` if that is asked for. */
static int key_text(char *to, size_t size, const char *format, uint32_t home)
{
    for (;;) {
        int n = snprintf(to, size, format, (unsigned long long)next_number(home));
        const char *key = strchr(to, '\n') + 1;
        if (!bench.core_addressed || shard_of_key(span_of(key, KEY_BYTES), bench.workers) == home)
            return n;
    }
}

static size_t request(char *to, uint32_t home)
{
    uint32_t command = bench.loading ? SET : bench.command, many = commands[command].many;
    int n = snprintf(to, MAX_REQUEST, "*%u\r\n%s", 1 + many * commands[command].words,
                     commands[command].head);
    for (uint32_t i = 0; i < many; i++) {
        n += key_text(to + n, MAX_REQUEST - (size_t)n, commands[command].key, home);
        n += snprintf(to + n, MAX_REQUEST - (size_t)n, "%s", commands[command].rest);
    }
    return (size_t)n;
}

static void ask(struct client *c, uint32_t pipeline)
{
    static char text[MAX_PIPELINE * MAX_REQUEST];
    size_t len = 0, done = 0;
    uint32_t home = bench.core_addressed ? home_of((uint32_t)(c - bench.client)) : 0;
    for (uint32_t i = 0; i < pipeline; i++)
        len += request(text + len, home);
    while (done < len) {
        size_t room;
        uint8_t *p = tcp_tx_reserve(c->tc, &room);
        if (!p)
            fail("the client's send queue is full");
        if (room > len - done)
            room = len - done;
        memcpy(p, text + done, room);
        tcp_tx_commit(c->tc, room);
        done += room;
    }
    c->awaited = pipeline;
}

static void on_connected(void *cookie, struct tcp_conn *tc, int err)
{
    struct client *c = cookie;
    if (err)
        fail("no connection");
    c->tc = tc;
    bench.connected++;
}

/* How many of the n bytes are of the reply at hand; *ret_whole: it ends with them. */
static size_t reply_part(const struct client *c, size_t whole, const uint8_t *p, size_t n,
                         bool *ret_whole)
{
    const uint8_t *end = whole ? NULL : memchr(p, '\n', n);
    size_t left = whole ? whole - c->reply_bytes : end ? (size_t)(end + 1 - p) : n + 1;
    *ret_whole = left <= n;
    return *ret_whole ? left : n;
}

static void on_received(void *cookie, const uint8_t *p, size_t n)
{
    struct client *c = cookie;
    uint32_t command = bench.loading ? SET : bench.command;
    const char *head = commands[command].reply;
    size_t head_bytes = strlen(head);
    for (size_t i = 0; i < n;) {
        bool whole;
        size_t part = reply_part(c, commands[command].reply_bytes, p + i, n - i, &whole);
        for (size_t k = 0; k < part && c->reply_bytes + k < head_bytes; k++) {
            if (p[i + k] != (uint8_t)head[c->reply_bytes + k])
                fail("a wrong reply");
        }
        i += part;
        c->reply_bytes += part;
        if (!whole)
            continue;
        c->reply_bytes = 0;
        if (c->awaited-- == 0)
            fail("a reply that was not asked for");
        bench.replies++;
    }
}

static void on_closed(void *cookie, int err)
{
    (void)cookie, (void)err;
    fail("the server closed a connection");
}

static void on_nothing(void *cookie)
{
    (void)cookie;
}

static void client_turn(uint32_t pipeline)
{
    struct rte_mbuf *pkts[LIMIT_BURST_PKTS];
    do {
        uint16_t n = pop(&bench.to_client, pkts, LIMIT_BURST_PKTS);
        net_input(bench.net, pkts, n, bench.now_ns);
        net_input_done(bench.net);
    } while (bench.to_client.count);
    net_timers(bench.net, bench.now_ns);
    for (uint32_t i = 0; pipeline && i < bench.connections; i++) {
        struct client *c = &bench.client[i];
        if (c->tc && c->awaited == 0)
            ask(c, pipeline);
    }
    net_output(bench.net, bench.now_ns);
}

/* ---- turns ---- */

/* Its own function, called through a pointer that no optimiser sees through: callgrind collects between its entry and its return. */
__attribute__((noinline)) bool measured_turn(struct worker *w, uint64_t now_ns);
static bool (*volatile the_turn)(struct worker *w, uint64_t now_ns) = measured_turn;
bool measured_turn(struct worker *w, uint64_t now_ns)
{
    return worker_turn(w, now_ns, 1700000000000000ll + (int64_t)(now_ns / 1000));
}

static uint64_t step(uint32_t pipeline, bool measured)
{
    uint64_t before = bench.frames_in, start;
    client_turn(pipeline);
    uint64_t took = 0;
    for (uint32_t i = 0; i < bench.workers; i++) {
        struct worker *w = bench.worker[i];
        start = rte_rdtsc();
        bool busy = measured ? the_turn(w, bench.now_ns)
                             : worker_turn(w, bench.now_ns,
                                           1700000000000000ll + (int64_t)(bench.now_ns / 1000));
        if (busy || bench.workers == 1)
            took += rte_rdtsc() - start;
    }
    carry_replies();
    bench.now_ns += NS_PER_TURN + (bench.frames_in - before) * NS_PER_FRAME;
    bench.turns++;
    return took;
}

/* At least `n` more replies, unmeasured. */
static void run_until(uint64_t n, uint32_t pipeline)
{
    uint64_t end = bench.replies + n, still = 0, last = bench.replies;
    while (bench.replies < end) {
        step(pipeline, false);
        still = bench.replies == last ? still + 1 : 0;
        last = bench.replies;
        if (still > STUCK_TURNS)
            fail("no replies");
    }
}

static void drain(void)
{
    for (bool waits = true; waits;) {
        step(0, false);
        waits = bench.to_client.count > 0;
        for (uint32_t i = 0; i < bench.connections; i++)
            waits |= bench.client[i].awaited > 0;
    }
}

static void connect_all(void)
{
    /* Fifty SYNs would not fit the queue behind one ARP request. */
    net_neigh_learn(bench.net, ip_from_v4(SERVER_IP), (uint8_t[]){2, 0, 0, 0, 0, 2}, bench.now_ns);
    for (uint32_t i = 0; i < bench.connections; i++)
        tcp_connect(bench.net, SERVER_IP,
                    (uint16_t)(bench.core_addressed ? PORT + 1 + home_of(i) : PORT),
                    (uint16_t)(FIRST_PORT + i), &bench.client[i], bench.now_ns);
    for (uint32_t i = 0; bench.connected < bench.connections; i++) {
        step(0, false);
        if (i > STUCK_TURNS)
            fail("the connections do not open");
    }
}

static void load(void)
{
    bench.loading = true;
    uint32_t burst = bench.burst;
    bench.burst = LIMIT_BURST_PKTS;
    run_until(bench.keys, 64);
    for (uint32_t i = 0; bench.core_addressed && i < bench.workers; i++)
        while (bench.next_key[i] < bench.keys)
            run_until(1, 64);
    drain();
    bench.burst = burst;
    bench.loading = false;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Turns are sampled one by one: on a shared machine a mean counts the time that other processes had the core. */
static void measure(void)
{
    static uint32_t turn_tsc[MAX_SAMPLES];
    uint64_t samples = 0, all_tsc = 0;
    bool makes = commands[bench.command].reply_bytes == 0; /* the values, so first most of them */
    run_until(bench.requests / 10 + 1 + (makes ? 2 * bench.keys : 0), bench.pipeline);
    uint64_t first = bench.replies, end = first + bench.requests;
    bench.frames_in = bench.frames_out = bench.turns = 0;
    while (bench.replies < end) {
        uint64_t took = step(bench.pipeline, true);
        all_tsc += took;
        turn_tsc[samples++ % MAX_SAMPLES] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    }
    if (samples > MAX_SAMPLES)
        samples = MAX_SAMPLES;
    qsort(turn_tsc, samples, sizeof(turn_tsc[0]), by_value);
    double n = (double)(bench.replies - first), ns = 1e9 / (double)rte_get_tsc_hz();
    double turns_ns = (double)bench.turns / n * ns; /* cycles of a turn -> ns of a request */
    printf(
        bench.json
            ? "{\"command\": \"%s\", \"workers\": %u, \"pipeline\": %u, \"connections\": %u, "
              "\"burst\": %u, "
              "\"keys\": %u, \"requests\": %.0f, \"turns\": %llu, \"frames_in\": %llu, "
              "\"frames_out\": %llu, \"ns_median\": %.1f, \"ns_p10\": %.1f, \"ns_mean\": %.1f}\n"
            : "%s, %u workers, -P %u, %u connections, burst %u, %u keys: %.0f requests in %llu "
              "turns, %llu "
              "frames in, %llu out; busy ns a request: median turn %.1f, 10 %% %.1f, mean %.1f\n",
        commands[bench.command].name, bench.workers, bench.pipeline, bench.connections, bench.burst,
        bench.keys, n, (unsigned long long)bench.turns, (unsigned long long)bench.frames_in,
        (unsigned long long)bench.frames_out, turn_tsc[samples / 2] * turns_ns,
        turn_tsc[samples / 10] * turns_ns, (double)all_tsc * ns / n);
}

/* ---- set-up ---- */

static void eal_up(void)
{
    char prefix[48];
    snprintf(prefix, sizeof(prefix), "--file-prefix=bw-bench-%d", (int)getpid());
    char *argv[] = {"frame_bench", "--no-huge", "--no-pci",       "--no-shconf",
                    "-m",          "512",       "--no-telemetry", "--iova-mode=va",
                    "-l",          "0",         prefix,           "--log-level=error",
                    NULL};
    if (rte_eal_init((int)ARRAY_LEN(argv) - 1, argv) < 0)
        fail("EAL does not start");
}

static void eal_down(void)
{
    char dir[256];
    snprintf(dir, sizeof(dir), "%s", rte_eal_get_runtime_dir());
    rte_eal_cleanup();
    rmdir(dir); /* EAL makes it even without shared configuration */
}

static struct rte_mempool *pool(const char *name)
{
    struct rte_mempool *p =
        rte_pktmbuf_pool_create(name, 8191, 256, 0, 2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
    if (!p)
        fail("no packet buffers");
    return p;
}

static void net_defaults(struct net_config *c, uint8_t last_octet, uint32_t ip)
{
    net_config_defaults(c);
    memcpy(c->mac, (uint8_t[]){2, 0, 0, 0, 0, last_octet}, 6);
    c->ip = ip;
    c->secret[0] = 0x0706050403020100ull + last_octet;
    c->secret[1] = 0x0f0e0d0c0b0a0908ull;
}

static void stacks_up(struct engine_config *engine)
{
    static struct worker *all[MAX_WORKERS];
    struct worker_config wc = {.count = bench.workers,
                               .all = all,
                               .config = engine,
                               .rx = server_rx,
                               .wire = {.tx = server_tx},
                               .hash_seed = {1, 2},
                               .seed = 7};
    struct net_config cc;
    struct net_wire wire = {.tx = client_tx};
    struct tcp_app app = {.connected = on_connected,
                          .received = on_received,
                          .peer_closed = on_nothing,
                          .writable = on_nothing,
                          .closed = on_closed};
    struct timespec ts;

    engine_config_defaults(engine);
    engine->protected_mode = 0;
    engine->slowlog_slower_than_us =
        -1; /* under valgrind any turn may be slow: what is counted must not depend on it */
    struct rte_mempool *to_server = pool("to_server");
    for (uint32_t i = 0; i < bench.workers; i++)
        bench.to_server[i].pool = to_server;
    bench.to_client.pool = pool("to_client");
    net_defaults(&wc.net, 2, SERVER_IP);
    wc.net.listen_port = PORT;
    wc.net.listen_more = bench.core_addressed ? (uint16_t)bench.workers : 0;
    wc.net.pool = pool("server");
    net_defaults(&cc, 1, CLIENT_IP);
    cc.pool = pool("client");
    for (uint32_t i = 0; i < bench.workers; i++) {
        wc.id = i;
        wc.rx_ctx = &bench.to_server[i];
        if (worker_create(&all[i], &wc) < 0)
            fail("no worker");
        bench.worker[i] = all[i];
    }
    /* worker_create has started its timers at that clock. A round time behind it, so that the slots of the timing wheel do not depend on when this runs. */
    clock_gettime(CLOCK_MONOTONIC, &ts);
    bench.now_ns = (((uint64_t)ts.tv_sec * 1000000000ull >> 40) + 1) << 40;
    if (net_create(&bench.net, &cc, &wire, &app, NULL, bench.now_ns) < 0)
        fail("no client stack");
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    uint64_t v = strtoull(text, &end, 10);
    if (*end || end == text || v < least || v > most)
        fail("a number is out of range; see the head of frame_bench.c");
    return v;
}

static void options(int argc, char **argv)
{
    static const struct option known[] = {
        {"command", required_argument, NULL, 'c'},  {"workers", required_argument, NULL, 'w'},
        {"pipeline", required_argument, NULL, 'P'}, {"connections", required_argument, NULL, 'n'},
        {"burst", required_argument, NULL, 'b'},    {"keys", required_argument, NULL, 'k'},
        {"requests", required_argument, NULL, 'r'}, {"core-addressed", no_argument, NULL, 'a'},
        {"json", no_argument, NULL, 'j'},           {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (o) {
        case 'c':
            for (bench.command = 0; strcmp(optarg, commands[bench.command].name) != 0;)
                if (++bench.command == ARRAY_LEN(commands))
                    fail("--command: one of those in the head of frame_bench.c");
            break;
        case 'w': bench.workers = (uint32_t)number(optarg, 1, MAX_WORKERS); break;
        case 'P': bench.pipeline = (uint32_t)number(optarg, 1, MAX_PIPELINE); break;
        case 'n': bench.connections = (uint32_t)number(optarg, 1, MAX_CONNECTIONS); break;
        case 'b': bench.burst = (uint32_t)number(optarg, 1, LIMIT_BURST_PKTS); break;
        case 'k': bench.keys = (uint32_t)number(optarg, 1, 100000000); break;
        case 'r': bench.requests = number(optarg, 1, 1000000000); break;
        case 'a': bench.core_addressed = true; break;
        case 'j': bench.json = true; break;
        default: exit(2);
        }
    }
    if (optind < argc)
        fail("a word that is no option");
    bool alone = commands[bench.command].many == 1 && !strstr(commands[bench.command].head, "the-");
    if (bench.core_addressed && !alone)
        fail("--core-addressed: for requests with one key, which is drawn");
}

int main(int argc, char **argv)
{
    struct engine_config engine;
    options(argc, argv);
    eal_up();
    stacks_up(&engine);
    connect_all();
    load();
    measure();
    drain();
    net_destroy(bench.net);
    for (uint32_t i = 0; i < bench.workers; i++)
        worker_destroy(bench.worker[i]);
    eal_down();
    return 0;
}
