/* port_pair: a client of one connection on our own stack over any port: values up, the same values down, octet for octet, many times.
 *
 *   port_pair NET-PORT MTU VLAN BYTES ROUNDS
 *
 * 10.9.0.1 asks 10.9.0.2:6379. Prints what the port did as name:value lines, for port_pair.py. Exit status 1: something was not as it was sent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_mempool.h>

#include "dataplane/net/net.h"
#include "dataplane/port/port.h"
#include "dataplane/wire.h"

#define LONGEST_S 60

static struct {
    struct tcp_conn *tc;
    uint64_t bytes;
    unsigned rounds, round;
    bool get, closed, wrong;
    char head[64], expect[64]; /* of this request, of its reply */
    size_t head_len, expect_len;
    uint64_t sent, seen; /* octets of the request and of the reply */
} client;

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint8_t octet(uint64_t i)
{
    uint64_t z = (client.round + i / 8 + 1) * 0x9e3779b97f4a7c15ull;
    return (uint8_t)(z >> 24 >> i % 8);
}

/* Octet i of "<head><value>\r\n", or of the head alone. */
static uint8_t octet_of(const char *head, size_t head_len, uint64_t i)
{
    if (i < head_len)
        return (uint8_t)head[i];
    i -= head_len;
    return i < client.bytes ? octet(i) : (uint8_t) "\r\n"[i - client.bytes];
}

static uint64_t request_len(void)
{
    return client.head_len + (client.get ? 0 : client.bytes + 2);
}

static uint64_t reply_len(void)
{
    return client.expect_len + (client.get ? client.bytes + 2 : 0);
}

static void request(void)
{
    unsigned long n = client.bytes;
    client.sent = client.seen = 0;
    snprintf(client.head, sizeof(client.head),
             client.get ? "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
                        : "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%lu\r\n",
             n);
    snprintf(client.expect, sizeof(client.expect), client.get ? "$%lu\r\n" : "+OK\r\n", n);
    client.head_len = strlen(client.head);
    client.expect_len = strlen(client.expect);
}

static void push(void)
{
    while (client.tc && client.sent < request_len()) {
        size_t room;
        uint8_t *p = tcp_tx_reserve(client.tc, &room);
        if (!p)
            return;
        if (room > request_len() - client.sent)
            room = request_len() - client.sent;
        for (size_t i = 0; i < room; i++)
            p[i] = octet_of(client.head, client.head_len, client.sent + i);
        tcp_tx_commit(client.tc, room);
        client.sent += room;
    }
}

static void on_connected(void *cookie, struct tcp_conn *tc, int err)
{
    client.tc = err ? NULL : tc;
    client.closed = err;
    client.wrong |= err != 0;
    if (!err)
        push();
}

static void on_received(void *cookie, const uint8_t *p, size_t n)
{
    static const char loading[] = "-LOADING ";
    if (client.seen == 0 && n >= sizeof(loading) && !memcmp(p, loading, sizeof(loading) - 1)) {
        request(); /* the server waits for its dataset: again */
        push();
        return;
    }
    for (size_t i = 0; i < n; i++)
        client.wrong |= client.seen + i >= reply_len() ||
                        p[i] != octet_of(client.expect, client.expect_len, client.seen + i);
    if (client.wrong)
        fprintf(stderr, "octets %lu on: %.*s\n", client.seen, (int)(n < 80 ? n : 80), p);
    client.seen += n;
    if (client.wrong || client.seen < reply_len())
        return;
    client.round += client.get;
    client.get = !client.get;
    request();
    if (client.round < client.rounds)
        push();
    else
        tcp_close(client.tc);
}

static void on_peer_closed(void *cookie)
{
    client.wrong |= client.round < client.rounds;
}

static void on_writable(void *cookie)
{
    push();
}

static void on_closed(void *cookie, int err)
{
    client.wrong |= err != 0;
    client.closed = true;
    client.tc = NULL;
}

static void turn(struct net *net, struct port_queue *q)
{
    struct rte_mbuf *pkts[LIMIT_BURST_PKTS];
    uint64_t now = now_ns();
    uint16_t n = port_rx(q, pkts, LIMIT_BURST_PKTS);
    net_input(net, pkts, n, now);
    net_input_done(net);
    net_timers(net, now);
    net_output(net, now);
}

static int run(struct net *net, struct port_queue *q, const struct stats_worker *stats)
{
    uint64_t start = now_ns();
    while (!client.closed && !client.wrong && now_ns() - start < LONGEST_S * 1000000000ull)
        turn(net, q);
    printf("rounds:%u\nwrong:%d\nclosed:%d\n", client.round, client.wrong, client.closed);
    for (int k = 0; k < STATS_OFFLOADS; k++)
        printf("%s:%s\n", stats_offload_names[k], stats_offload_states[stats->offload[k]]);
    printf("rx_packets:%lu\nrx_bytes:%lu\nrx_joined:%lu\ndrop_multi_seg:%lu\nretrans:%lu\n",
           stats->rx_pkts, stats->rx_bytes, stats->rx_joined, stats->drop_multi_seg,
           stats->tcp_retrans_segs);
    printf("seconds:%.3f\n", (double)(now_ns() - start) / 1e9);
    return client.wrong || !client.closed || client.round < client.rounds;
}

int main(int argc, char **argv)
{
    static const struct tcp_app app = {.connected = on_connected,
                                       .received = on_received,
                                       .peer_closed = on_peer_closed,
                                       .writable = on_writable,
                                       .closed = on_closed};
    static struct stats_worker stats;
    struct port_info info;
    struct port *port;
    struct net *net;
    char err[512] = "";
    if (argc != 6)
        return 2;
    struct port_config pc = {.net_port = argv[1],
                             .workers = 1,
                             .mtu = (uint16_t)atoi(argv[2]),
                             .vlan = (uint16_t)atoi(argv[3]),
                             .hugepages = PORT_HUGE_NO,
                             .mbufs = 4096,
                             .instance = "port-pair"};
    client.bytes = strtoull(argv[4], NULL, 10);
    client.rounds = (unsigned)atoi(argv[5]);
    request();
    if (port_start(&port, &pc, &info, err, sizeof(err)) < 0) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    struct port_queue *q = port_queue(port, 0);
    struct net_wire wire = port_wire(&info);
    struct net_config c;
    wire.ctx = q;
    net_config_defaults(&c);
    memcpy(c.mac, info.mac, sizeof(c.mac));
    c.ip = 0x0a090001;
    c.mtu = info.mtu;
    c.vlan = pc.vlan;
    c.time_wait_ms = 1;
    c.pool = q->pool;
    c.reserve = q->reserve;
    int r = net_create(&net, &c, &wire, &app, &stats, now_ns()) != 0;
    if (r == 0) {
        tcp_connect(net, 0x0a090002, 6379, 0, &client, now_ns());
        r = run(net, q, &stats);
        net_destroy(net);
    }
    port_stop(port);
    return r;
}
