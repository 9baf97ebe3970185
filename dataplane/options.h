/* The command line of barewire-dataplane, which the control process writes (control/supervise.c) and an operator may. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/net/net.h"
#include "dataplane/port/port.h"

enum option_type {
    OPTION_TEXT,
    OPTION_NUMBER,
    OPTION_ADDRESSES,
    OPTION_GATEWAYS,
    OPTION_AUTO,
    OPTION_SHARE
};

/* OPTION(name, type, field, least, most, help). Numbers that are 0 or absent mean net_config's default. */
#define OPTION_TABLE(OPTION)                                                                    \
    OPTION("instance", TEXT, instance, 0, 0, "Name of the link and of DPDK's files")            \
    OPTION("workers", NUMBER, workers, 1, LIMIT_WORKERS, "Workers; as many as the link has")    \
    OPTION("net-port", TEXT, net_port, 0, 0,                                                    \
           "af_xdp:IFACE, tap:NAME, af_packet:IFACE, pci:ADDRESS or an EAL vdev string")        \
    OPTION("net-address", ADDRESSES, address, 0, 0,                                             \
           "Our addresses with prefix lengths, one IPv4 at most: \"10.0.0.2/24 fd00::2/64\"")   \
    OPTION("net-gateway", GATEWAYS, gateway, 0, 0,                                              \
           "Way out of those prefixes, one of a family; IPv6: as routers advertise")            \
    OPTION("net-mtu", NUMBER, mtu, 0, 9198, "Largest IP packet; 0: what the port has")          \
    OPTION("net-vlan", NUMBER, vlan, 0, 4094, "802.1Q tag; 0: none")                            \
    OPTION("net-share", SHARE, share_kernel, 0, 0,                                              \
           "none, or kernel: net-address stays Linux's but for the TCP port")                   \
    OPTION("port", NUMBER, listen_port, 0, 65535, "TCP port; 0: no listener")                   \
    OPTION("core-addressed", NUMBER, core_addressed, 0, 1,                                      \
           "1: each worker has a TCP port of its own too, port + 1 and on")                     \
    OPTION("hugepages", AUTO, hugepages, 0, 0, "auto, yes or no")                               \
    OPTION("heap-large-pages", NUMBER, heap_large_pages, 0, 1,                                  \
           "1: large shards on pages of 2 MB, touched ahead")                                   \
    OPTION("eal-args", TEXT, eal_args, 0, 0, "Further arguments for the EAL")                   \
    OPTION("mbufs", NUMBER, mbufs, 0, 4194304,                                                  \
           "Packet buffers of each worker's send queues; 0: 16384")                             \
    OPTION("load", NUMBER, load, 0, 1, "1: clients wait until control has loaded the dataset")  \
    OPTION("tcp-rto-min-ms", NUMBER, rto_min_ms, 0, 60000, "Least retransmission timeout")      \
    OPTION("tcp-rto-max-ms", NUMBER, rto_max_ms, 0, 600000, "Largest retransmission timeout")   \
    OPTION("tcp-delayed-ack-ms", NUMBER, delayed_ack_ms, 0, 500, "Delay of a lone ACK")         \
    OPTION("tcp-time-wait-ms", NUMBER, time_wait_ms, 0, 600000, "Length of TIME_WAIT")          \
    OPTION("tcp-time-wait-max", NUMBER, time_wait_max, 0, 67108864,                             \
           "Connections in TIME_WAIT; 0: as many as there are records")                         \
    OPTION("tcp-keepalive-interval", NUMBER, keepalive_interval_s, 0, 86400,                    \
           "Seconds between keepalive probes")                                                  \
    OPTION("tcp-keepalive-probes", NUMBER, keepalive_probes, 0, 1000,                           \
           "Probes before a peer is given up")                                                  \
    OPTION("tcp-initial-window", NUMBER, initial_window_segs, 0, 1000,                          \
           "Initial congestion window in segments")                                             \
    OPTION("tcp-congestion", CC, congestion, 0, 0, "cubic, newreno or dctcp")                   \
    OPTION("tcp-ecn", NO, no_ecn, 0, 0, "yes or no: explicit congestion notification")          \
    OPTION("tcp-trace", TRACE, trace, 0, 0, "no, errors or yes: what DEBUG TCPTRACE can tell")  \
    OPTION("tcp-trace-events", NUMBER, trace_events, 0, 16777216, "Events of a worker's trace") \
    OPTION("tcp-receive-buffer", NUMBER, rcv_buf_bytes, 0, 1073741824,                          \
           "Largest window offered, in bytes")                                                  \
    OPTION("tcp-send-buffer", NUMBER, snd_buf_bytes, 0, 1073741824,                             \
           "Unsent and unacknowledged bytes per connection")

struct options {
    const char *instance, *net_port, *eal_args;
    uint32_t ip, netmask, gateway; /* host byte order; 0: not given */
    struct net_prefix ip6[LIMIT_NET_ADDRESSES6];
    uint32_t ip6_count;
    struct ip_addr gateway6;
    enum port_hugepages hugepages;
    enum tcp_congestion congestion;
    enum tcp_trace_mode trace;
    bool no_ecn;
    bool share_kernel;
    uint64_t workers, mtu, vlan, listen_port, core_addressed, heap_large_pages, mbufs, load;
    uint64_t rto_min_ms, rto_max_ms, delayed_ack_ms, time_wait_ms, time_wait_max,
        keepalive_interval_s, keepalive_probes;
    uint64_t trace_events, initial_window_segs, rcv_buf_bytes, snd_buf_bytes;
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_DONE,
    OPTIONS_BAD
}; /* DONE: --version or --help was answered */

/* BAD: err says why. Texts point into argv. */
enum options_result options_parse(struct options *ret, int argc, char **argv, char *err,
                                  size_t err_len);
/* Lays what was given over net_config's defaults. */
void options_to_net(const struct options *o, struct net_config *c);
