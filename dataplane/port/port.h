/* port: the only place that includes EAL and ethdev. Turns `net-port` into EAL arguments, starts the ports, gives each worker its queues.
 *
 * net-port: af_xdp:IFACE | tap:NAME | af_packet:IFACE | pci:0000:03:00.0 | any EAL vdev string. On AF_XDP there is one vdev per queue; on other
 * drivers one port with one queue pair per worker where it can, RSS over them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;

enum port_hugepages {
    PORT_HUGE_AUTO,
    PORT_HUGE_YES,
    PORT_HUGE_NO
}; /* auto: used if enough free ones are there */

struct port_config {
    const char *net_port; /* "" or NULL: no network, the workers serve the door only */
    uint32_t workers;
    uint16_t mtu; /* 0: that of the interface, as far as the driver carries it; else 1500 */
    enum port_hugepages hugepages;
    const char *eal_args; /* extra, from eal-args; may be NULL */
    const char *instance; /* EAL file prefix */
    uint32_t mbufs;       /* in `pool` of each worker, for data to be sent; 0: default */
};

struct port_info { /* what came out of it, for banner and INFO */
    char driver[32], device[64];
    uint8_t mac[6];
    uint16_t mtu;
    uint32_t queues;
    bool hugepages, rss, tx_ip_checksum, tx_tcp_checksum, rx_checksum, tx_multi_seg, promiscuous;
    char degraded[512]; /* plain words, "" when nothing is */
};

struct port_queue { /* one worker's way in and out */
    uint16_t port_id, queue_id;
    int wait_fd; /* readable when frames wait: an idle worker sleeps on it; -1: the driver has none */
    struct rte_mempool *
        pool; /* frames that the stack builds. Received frames come from a pool of the port's own, so that */
    struct rte_mempool *
        reserve; /* full send queues never stop reception (on AF_XDP the pool is the umem of both directions) */
};

struct port;

int port_start(struct port **ret, const struct port_config *c, struct port_info *info, char *err,
               size_t err_len);
void port_stop(struct port *p);
struct port_queue *port_queue(struct port *p, uint32_t worker);
/* ctx is a struct port_queue: they fit worker_config.rx and net_wire.tx. */
uint16_t port_rx(void *ctx, struct rte_mbuf **pkts, uint16_t n);
uint16_t port_tx(void *ctx, struct rte_mbuf **pkts, uint16_t n);
bool port_link_up(struct port *p);
/* Runs fn(arg) on worker lcore i (1..); 0 runs on the caller. */
int port_launch(uint32_t worker, int (*fn)(void *), void *arg);
void port_join(void);
