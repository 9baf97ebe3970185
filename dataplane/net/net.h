/* net: one worker's network stack: Ethernet, VLAN, IPv4 with ARP and ICMP, IPv6 with NDP and ICMPv6, and TCP over one transmit function.
 *
 * Reentrant: all state is in struct net; several stacks run in one process in tests, on a virtual clock. Time (monotonic ns) is an argument.
 * Knows nothing of RESP, of EAL or of ethdev: packets come in as mbufs, go out through net_wire, and byte streams go up through tcp_app.
 * Thread: the worker's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "engine/base/ip.h"
#include "engine/base/limits.h"
#include "engine/link/stats.h"

struct net;
struct tcp_conn;

struct net_wire {
    /* Sends up to n frames, returns how many were taken; ownership of those passes. The stack keeps and retries the rest. */
    uint16_t (*tx)(void *ctx, struct rte_mbuf **pkts, uint16_t n);
    void *ctx;
    bool tx_ip_checksum,
        tx_tcp_checksum; /* the port does them: ol_flags are set, pseudo-header filled. IP's is asked for with TSO only */
    bool rx_checksum;     /* ol_flags of received mbufs tell of TCP's; else software */
    bool tx_multi_seg;    /* chains may be sent; else every frame is one linear mbuf */
    bool tx_tso;          /* and are cut into segments of tso_segsz, each with its sums */
    uint16_t tx_max_segs; /* of such a chain; 0: no limit of the port's */
    bool rx_vlan_strip;   /* the tag of a received frame is in vlan_tci */
};

/* Byte-stream callbacks to the application (conn). They may call any tcp_* function below on any connection of the same net. */
struct tcp_app {
    void *ctx;
    /* A handshake completed on a listening port. Returns the cookie for later calls; NULL refuses (RST). */
    void *(*accepted)(void *ctx, struct tcp_conn *tc);
    /* Active open completed (err 0) or failed (-ECONNREFUSED, -ETIMEDOUT ...). */
    void (*connected)(void *cookie, struct tcp_conn *tc, int err);
    /* In-order bytes, valid until net_input_done (they lie in the burst's mbufs or in reassembly memory of that burst). */
    void (*received)(void *cookie, const uint8_t *p, size_t n);
    /* The peer has sent FIN; everything before it was delivered. The connection can still send. */
    void (*peer_closed)(void *cookie);
    /* Acknowledged data left the send queue, there is room again. Only called after tcp_tx_reserve returned NULL. */
    void (*writable)(void *cookie);
    /* The connection is gone for good; `err` 0 after an orderly close, else -ECONNRESET, -ETIMEDOUT, ... The cookie is forgotten.
     * Told at the end of net_input_done, net_timers or net_output, never from inside another callback. */
    void (*closed)(void *cookie, int err);
    /* What traces call a connection: CLIENT ID. NULL: none is kept of those that end. */
    uint64_t (*trace_id)(void *cookie);
};

/* net_config.congestion; what there is by what name: dataplane/options.c, control/config/config.def. */
enum tcp_congestion { TCP_CC_CUBIC, TCP_CC_NEWRENO, TCP_CC_DCTCP, TCP_CC_COUNT };

/* What connections leave in the worker's ring of events (tcp_trace.h). */
enum tcp_trace_mode {
    TCP_TRACE_NO,
    TCP_TRACE_ERRORS, /* all but the segments that were expected */
    TCP_TRACE_YES
};

struct net_prefix {
    struct ip_addr addr;
    unsigned bits; /* of 128 */
};

/* The workers of a port have the same IPv6 addresses, and each probes for them when it starts: whoever is first through with one says so
 * here before it answers anybody (atomics; [0]: the link-local address, then net_config.ip6). Zeroed; lives as long as the stacks. */
struct net_dad {
    uint8_t passed[1 + LIMIT_NET_ADDRESSES6];
};

struct net_config {
    uint8_t mac[6];
    uint32_t ip, netmask, gateway; /* host byte order; ip 0: no IPv4; gateway 0: none */
    /* IPv6 is spoken when there is an address; the link-local one (fe80::/10, made of the MAC) comes along. */
    struct net_prefix ip6[LIMIT_NET_ADDRESSES6];
    uint32_t ip6_count;
    struct ip_addr gateway6; /* unspecified: as routers advertise */
    uint32_t dad_probes;     /* RFC 4862 5.1 DupAddrDetectTransmits; 0: addresses count at once */
    struct net_dad *dad;     /* shared by the stacks of a port; NULL: there is no other */
    uint16_t mtu;            /* IP packet bytes */
    uint16_t vlan;           /* 0: untagged */
    uint16_t listen_port;    /* 0: no listener (a client stack) */
    uint16_t listen_more;    /* so many ports behind it are listened on too */
    /* net-share kernel: the addresses are Linux's too. It keeps ARP, NDP, echo and all other ports; we are silent there, and neighbours
     * are asked of it (net_set_neigh_resolver). */
    bool shared;
    uint32_t max_conns;
    uint32_t backlog;       /* half-open connections */
    uint32_t rcv_buf_bytes; /* largest window offered */
    uint32_t snd_buf_bytes; /* unsent + unacknowledged bytes per connection; a segment at least */
    uint32_t ooo_bytes, ooo_segs; /* out-of-order bound per connection */
    uint32_t rto_min_ms, rto_max_ms, delayed_ack_ms, time_wait_ms, keepalive_s,
        keepalive_interval_s, keepalive_probes;
    uint32_t stall_timeout_s; /* full output without progress: reset; 0: never */
    uint32_t user_timeout_s;  /* retransmission without progress: reset (R2) */
    uint32_t time_wait_max;   /* records in TIME-WAIT; 0: as many as there are */
    uint32_t initial_window_segs;
    enum tcp_congestion congestion;
    bool no_sack, no_ecn; /* neither offered nor agreed to */
    enum tcp_trace_mode trace;
    uint32_t trace_events; /* of the ring; rounded up to a power of two */
    uint64_t secret
        [2]; /* every key is made of it; the stack keeps no copy where a core dump would find one */
    struct rte_mempool *pool; /* frames, data */
    struct rte_mempool
        *reserve; /* ACK, RST, ARP, ICMP when `pool` is empty; may be NULL in tests */
    const struct engine_config *
        engine; /* net-allow, tcp-backlog, keepalive, tcp-stall-timeout, tcp-user-timeout as configured; may be NULL */
    int socket; /* NUMA node or -1 */
};
void net_config_defaults(struct net_config *c);

int net_create(struct net **ret, const struct net_config *cfg, const struct net_wire *wire,
               const struct tcp_app *app, struct stats_worker *stats, uint64_t now_ns);
/* Drops everything without a word to peers; every mbuf goes back. */
void net_destroy(struct net *net);

/* The loop, in this order. net_input takes ownership of the frames; they stay readable until net_input_done. */
void net_input(struct net *net, struct rte_mbuf **pkts, uint16_t n, uint64_t now_ns);
void net_input_done(struct net *net);
void net_timers(struct net *net, uint64_t now_ns);
/* One transmit pass: every connection with something to say, ACKs riding on data, then the wire. Returns frames sent. */
unsigned net_output(struct net *net, uint64_t now_ns);
/* When net_timers has something to do next; UINT64_MAX: never. Bounds the idle sleep. */
uint64_t net_next_timer_ns(const struct net *net);
bool net_output_pending(const struct net *net);

/* A neighbour learned elsewhere (another worker's queue saw the answer); one of our own addresses: another station has it. */
typedef void (*net_neigh_fn)(void *ctx, struct ip_addr ip, const uint8_t mac[6]);
void net_neigh_learn(struct net *net, struct ip_addr ip, const uint8_t mac[6], uint64_t now_ns);
void net_set_neigh_listener(struct net *net, net_neigh_fn fn, void *ctx);
/* cfg.shared: who resolves neighbours; answers come by net_neigh_learn and net_neigh_lost. Called at most once a second per address. */
void net_set_neigh_resolver(struct net *net, void (*fn)(void *ctx, struct ip_addr ip), void *ctx);
/* It does not answer: what waits for it is given up, and the next frame asks again. */
void net_neigh_lost(struct net *net, struct ip_addr ip, uint64_t now_ns);
/* A frame about a connection that is not here: a segment that begins none, an ICMP error. Another worker may have it: a peer may change what ports spread
 * flows by (the flow label, RFC 6437), a router's error has addresses of its own. One range of bytes, good during the call. */
struct net_stray {
    const void *frame;
    uint32_t len;
    uint16_t vlan_tci;
    uint64_t ol_flags; /* what the port said of it */
    uint64_t
        flow; /* of a segment: the same for each of its connection, at this stack; 0: an error */
    struct ip_addr from; /* who sent it */
};
/* True: taken, and nothing is answered; false: it is nobody's. */
typedef bool (*net_stray_fn)(void *ctx, const struct net_stray *s);
void net_set_stray_taker(struct net *net, net_stray_fn fn, void *ctx);
/* May one more of these sources' be asked about? Bounded for each class of sources, as resets are. */
bool net_stray_allow(struct net *net, struct ip_addr from);
/* One that another stack could not place, as if it had come from the wire; between two net_input_done. False: no memory. */
bool net_stray_input(struct net *net, const struct net_stray *s, uint64_t now_ns);

/* Once the port is up: gratuitous ARP; for IPv6 duplicate address detection, group reports and router solicitation begin. */
void net_announce(struct net *net, uint64_t now_ns);

/* ---- TCP connections, for the application ---- */

struct tcp_addr {
    struct ip_addr local, peer;
    uint16_t local_port, peer_port;
};
struct tcp_info {
    uint8_t state;
    uint32_t srtt_us, rto_us, cwnd, ssthresh, snd_wnd, rcv_wnd, mss;
    uint32_t unacked_bytes, unsent_bytes, ooo_bytes, retrans;
    uint32_t sacked_bytes, lost_bytes;
    const char *congestion;
};

/* Active open. NULL: no record. `connected` tells the outcome. */
struct tcp_conn *tcp_connect(struct net *net, uint32_t peer_ip, uint16_t peer_port,
                             uint16_t local_port, void *cookie, uint64_t now_ns);
/* The same by an address of either family. */
struct tcp_conn *tcp_connect_to(struct net *net, struct ip_addr peer, uint16_t peer_port,
                                uint16_t local_port, void *cookie, uint64_t now_ns);
void tcp_addr(const struct tcp_conn *tc, struct tcp_addr *ret);
void tcp_info(const struct tcp_conn *tc, struct tcp_info *ret);
const char *tcp_state_name(uint8_t state);
/* The last events of a connection as lines, oldest first, after one that names it; returns their number. */
typedef void tcp_trace_fn(void *ctx, const char *line, size_t n);
unsigned tcp_trace_read(const struct tcp_conn *tc, uint64_t id, tcp_trace_fn *fn, void *ctx);
/* The same of a connection that an error ended not long ago; 0: none of that id. */
unsigned tcp_trace_read_kept(const struct net *net, uint64_t id, tcp_trace_fn *fn, void *ctx);

/* Room at the tail of the send queue: a pointer into the last mbuf (a new one when that is full), *room bytes of it. NULL: snd_buf or the pool
 * is used up; `writable` will be called. Written bytes count from tcp_tx_commit on; nothing leaves before net_output, and no pointer
 * is good beyond it. */
uint8_t *tcp_tx_reserve(struct tcp_conn *tc, size_t *room);
void tcp_tx_commit(struct tcp_conn *tc, size_t n);
size_t tcp_tx_queued(const struct tcp_conn *tc); /* unsent + unacknowledged */
/* Bytes the application has been given and not digested: they narrow the offered window. 0 opens it again. */
void tcp_rx_hold(struct tcp_conn *tc, size_t bytes);
/* Sends what is queued, then FIN. `closed` follows when both directions are done. Input is discarded meanwhile (RST for new data, RFC 9293 3.6.1). */
void tcp_close(struct tcp_conn *tc);
/* RST now. `closed` is NOT called: the caller knows. */
void tcp_abort(struct tcp_conn *tc);
