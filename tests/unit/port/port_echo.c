/* A server of a few lines on port alone: answers ARP for one address and sends UDP datagrams back, on every worker.
 * port_net.py runs it against real interfaces in network namespaces. Prints "ready", and at the end one line of frames per worker.
 *
 *   port_echo INSTANCE NET-PORT WORKERS MTU ADDRESS auto|yes|no */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>

#include "dataplane/port/port.h"
#include "engine/base/limits.h"

static volatile sig_atomic_t stopping;
static uint32_t address; /* network byte order */
static struct port_info info;

struct echo_worker {
    struct port_queue *queue;
    unsigned long long udp_frames;
};

static void on_signal(int sig)
{
    stopping = 1;
}

static bool answer_arp(struct rte_mbuf *m, struct rte_ether_hdr *eth)
{
    struct rte_arp_hdr *arp = (struct rte_arp_hdr *)(eth + 1);

    if (m->data_len < sizeof(*eth) + sizeof(*arp) || arp->arp_data.arp_tip != address ||
        arp->arp_opcode != htons(RTE_ARP_OP_REQUEST))
        return false;
    arp->arp_opcode = htons(RTE_ARP_OP_REPLY);
    arp->arp_data.arp_tha = arp->arp_data.arp_sha;
    arp->arp_data.arp_tip = arp->arp_data.arp_sip;
    memcpy(&arp->arp_data.arp_sha, info.mac, 6);
    arp->arp_data.arp_sip = address;
    return true;
}

/* Swapping addresses and ports leaves both checksums as they were. */
static bool answer_udp(struct rte_mbuf *m, struct rte_ether_hdr *eth)
{
    struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(eth + 1);
    struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);

    if (m->data_len < sizeof(*eth) + sizeof(*ip) + sizeof(*udp) || ip->dst_addr != address ||
        ip->next_proto_id != IPPROTO_UDP || ip->version_ihl != 0x45)
        return false;
    ip->dst_addr = ip->src_addr;
    ip->src_addr = address;
    uint16_t port = udp->dst_port;
    udp->dst_port = udp->src_port;
    udp->src_port = port;
    return true;
}

static int echo_run(void *arg)
{
    struct echo_worker *w = arg;
    struct rte_mbuf *in[LIMIT_BURST_PKTS], *out[LIMIT_BURST_PKTS];

    while (!stopping) {
        uint16_t n = port_rx(w->queue, in, LIMIT_BURST_PKTS), k = 0;
        for (uint16_t i = 0; i < n; i++) {
            struct rte_ether_hdr *eth = rte_pktmbuf_mtod(in[i], struct rte_ether_hdr *);
            bool udp = eth->ether_type == htons(RTE_ETHER_TYPE_IPV4) && answer_udp(in[i], eth);
            bool arp = eth->ether_type == htons(RTE_ETHER_TYPE_ARP) && answer_arp(in[i], eth);
            if (!udp && !arp) {
                rte_pktmbuf_free(in[i]);
                continue;
            }
            w->udp_frames += udp;
            eth->dst_addr = eth->src_addr;
            memcpy(&eth->src_addr, info.mac, 6);
            /* Every other answer leaves in a buffer of the stack's pools, as data and ACKs do. */
            struct rte_mempool *pool = i & 1 ? w->queue->pool : w->queue->reserve;
            struct rte_mbuf *copy = rte_pktmbuf_copy(in[i], pool, 0, UINT32_MAX);
            if (copy) {
                rte_pktmbuf_free(in[i]);
                in[i] = copy;
            }
            out[k++] = in[i];
        }
        for (uint16_t sent = 0; sent < k && !stopping;)
            sent += port_tx(w->queue, out + sent, k - sent);
        if (n == 0)
            usleep(50);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct echo_worker workers[LIMIT_WORKERS];
    struct port_config c = {0};
    struct port *port;
    char err[1024] = "";

    if (argc != 7)
        return 2;
    c.instance = argv[1];
    c.net_port = argv[2];
    c.workers = (uint32_t)atoi(argv[3]);
    c.mtu = (uint16_t)atoi(argv[4]);
    address = inet_addr(argv[5]);
    c.hugepages = !strcmp(argv[6], "yes")  ? PORT_HUGE_YES
                  : !strcmp(argv[6], "no") ? PORT_HUGE_NO
                                           : PORT_HUGE_AUTO;
    c.mbufs = 2048;
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    if (port_start(&port, &c, &info, err, sizeof(err)) < 0) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    for (uint32_t i = 0; i < c.workers; i++)
        workers[i].queue = port_queue(port, i);
    for (uint32_t i = 1; i < c.workers; i++)
        port_launch(i, echo_run, &workers[i]);
    printf("driver %s device %s queues %u mtu %u huge %d rss %d txip %d txtcp %d rx %d multi %d "
           "promisc %d link %d mac %02x:%02x:%02x:%02x:%02x:%02x\ndegraded: %s\nready\n",
           info.driver, info.device, info.queues, info.mtu, info.hugepages, info.rss,
           info.tx_ip_checksum, info.tx_tcp_checksum, info.rx_checksum, info.tx_multi_seg,
           info.promiscuous, port_link_up(port), info.mac[0], info.mac[1], info.mac[2], info.mac[3],
           info.mac[4], info.mac[5], info.degraded);
    fflush(stdout);
    port_launch(0, echo_run, &workers[0]);
    port_join();
    for (uint32_t i = 0; i < c.workers; i++)
        printf("worker %u udp %llu\n", i, workers[i].udp_frames);
    port_stop(port);
    return 0;
}
