/* port: the only place that includes EAL and ethdev. Turns `net-port` into EAL arguments, starts the ports, gives each worker its queues.
 *
 * net-port: af_xdp:IFACE | tap:NAME | af_packet:IFACE | pci:0000:03:00.0 | any EAL vdev string. On AF_XDP there is one vdev per queue; on other
 * drivers one port with one queue pair per worker where it can, RSS over them. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/limits.h"

struct rte_mbuf;
struct rte_mempool;
struct steer_counts; /* dataplane/bpf/steer.h */

enum port_hugepages {
    PORT_HUGE_AUTO,
    PORT_HUGE_YES,
    PORT_HUGE_NO
}; /* auto: used if enough free ones are there */

#define PORT_ADDRESSES6 8

/* What of an AF_XDP interface is ours; all the rest of it stays Linux's. */
struct port_steer {
    bool kernel;   /* net-share kernel: the addresses are Linux's, ours is the TCP port of them */
    uint32_t ip;   /* host byte order; 0: none */
    uint16_t vlan; /* 0: untagged */
    uint16_t tcp_port; /* 0: every port of an address of our own */
    uint32_t ip6_count;
    uint8_t ip6[PORT_ADDRESSES6]
               [16]; /* without the link-local one, which port adds if it is not Linux's */
};

struct port_prefix {
    uint8_t addr[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint8_t bits;     /* of 128 */
};

/* What is refused before it reaches us; may change while we run. */
struct port_filter {
    uint32_t syn_per_s;                            /* of one source; 0: no limit */
    uint32_t allow_count;                          /* 0: everyone */
    struct port_prefix allow[2 * LIMIT_NET_ALLOW]; /* LIMIT_NET_ALLOW of each family */
};

struct port_config {
    const char *net_port; /* "" or NULL: no network, the workers serve the door only */
    uint32_t workers;
    uint16_t mtu; /* 0: that of the interface, as far as the driver carries it; else 1500 */
    enum port_hugepages hugepages;
    const char *eal_args;    /* extra, from eal-args; may be NULL */
    const char *instance;    /* EAL file prefix */
    uint16_t vlan;           /* 0: untagged */
    uint32_t mbufs;          /* in `pool` of each worker, for data to be sent; 0: default */
    struct port_steer steer; /* AF_XDP; without an address every frame is ours */
};

struct port_info { /* what came out of it, for banner and INFO */
    char driver[32], device[64];
    uint8_t mac[6];
    uint16_t mtu;
    uint32_t queues;
    bool hugepages, rss, tx_ip_checksum, tx_tcp_checksum, rx_checksum, tx_multi_seg, promiscuous;
    bool tx_tso, rx_vlan_strip;
    uint16_t tx_max_segs; /* of a packet that is cut */
    char degraded[512];   /* plain words, "" when nothing is */
    char steering[64];    /* how frames are told apart from Linux's; "": all are ours */
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
/* The same for a port with tx_tcp_checksum: the driver first brings what the flags ask into the form that its device wants. */
uint16_t port_tx_offloaded(void *ctx, struct rte_mbuf **pkts, uint16_t n);
bool port_link_up(struct port *p);
/* Is there an XDP program of ours? The next two: one thread at a time, and not a worker: they make system calls. 0 or -errno. */
bool port_steers(const struct port *p);
int port_filter(struct port *p, const struct port_filter *f);
int port_steer_counts(struct port *p, struct steer_counts *ret);
/* A thread beside the workers, on the other cores if there are any. 0 or -errno. */
int port_thread(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg);
/* Runs fn(arg) on worker lcore i (1..); 0 runs on the caller. */
int port_launch(uint32_t worker, int (*fn)(void *), void *arg);
void port_join(void);
