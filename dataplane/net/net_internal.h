/* Private to dataplane/net: the stack's state, packet headers, and what its files call of each other.
 *
 *   net_input:  eth_classify -> ip4_check | ip6_check -> flow lookup -> tcp_input
 *                                -> icmp_input, icmp6_input (ndp_input, mld_input, pmtu_error), arp_input
 *   net_output: tcp_output per dirty connection -> net_send -> wire
 * Thread: the worker's. No file has state of its own. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <rte_mbuf.h>

#include "dataplane/net/flow.h"
#include "dataplane/net/net.h"
#include "dataplane/net/offload.h"
#include "dataplane/net/tcp_trace.h"
#include "dataplane/net/wheel.h"
#include "engine/base/assert.h"
#include "engine/base/be.h"
#include "engine/base/limits.h"
#include "engine/base/siphash.h"

#define NSEC_PER_MS    1000000ull
#define NSEC_PER_S     1000000000ull

/* ---- headers on the wire ---- */

#define ETH_TYPE_IP4   0x0800
#define ETH_TYPE_ARP   0x0806
#define ETH_TYPE_VLAN  0x8100
#define ETH_TYPE_IP6   0x86dd
#define IP_PROTO_ICMP  1
#define IP_PROTO_TCP   6
#define IP_PROTO_UDP   17
#define IP_PROTO_ICMP6 58

struct eth_hdr {
    uint8_t dst[6], src[6];
    be16_t type;
} __attribute__((packed));
static_assert(sizeof(struct eth_hdr) == 14, "IEEE 802.3");

struct vlan_hdr { /* between the addresses' type 0x8100 and the payload */
    be16_t tci, type;
} __attribute__((packed));
static_assert(sizeof(struct vlan_hdr) == 4, "IEEE 802.1Q");

struct arp_pkt { /* RFC 826, Ethernet and IPv4 */
    be16_t htype, ptype;
    uint8_t hlen, plen;
    be16_t op;
    uint8_t sha[6];
    be32_t spa;
    uint8_t tha[6];
    be32_t tpa;
} __attribute__((packed));
static_assert(sizeof(struct arp_pkt) == 28, "RFC 826");

struct ip4_hdr { /* RFC 791 3.1 */
    uint8_t ver_ihl, tos;
    be16_t total_len, id, frag;
    uint8_t ttl, proto;
    uint16_t csum; /* as csum_finish gives it */
    be32_t src, dst;
} __attribute__((packed));
static_assert(sizeof(struct ip4_hdr) == 20, "RFC 791");
#define IP_ECT0 2 /* RFC 3168 5 */
#define IP_CE   3

struct ip6_hdr { /* RFC 8200 3 */
    be32_t ver_flow;
    be16_t payload_len;
    uint8_t next, hops;
    uint8_t src[16], dst[16];
} __attribute__((packed));
static_assert(sizeof(struct ip6_hdr) == 40, "RFC 8200");

struct icmp_hdr { /* RFC 792, RFC 4443 2.1: the last four bytes by type */
    uint8_t type, code;
    uint16_t csum;
    be16_t id, seq;
} __attribute__((packed));
static_assert(sizeof(struct icmp_hdr) == 8, "RFC 792");

struct tcp_hdr { /* RFC 9293 3.1 */
    be16_t sport, dport;
    be32_t seq, ack;
    uint8_t off, flags; /* off: data offset in the high nibble */
    be16_t wnd;
    uint16_t csum;
    be16_t urg;
} __attribute__((packed));
static_assert(sizeof(struct tcp_hdr) == 20, "RFC 9293");

#define TH_FIN 0x01
#define TH_SYN 0x02
#define TH_RST 0x04
#define TH_PSH 0x08
#define TH_ACK 0x10
#define TH_URG 0x20
#define TH_ECE 0x40
#define TH_CWR 0x80

/* ---- a received TCP segment, as the stages hand it on ---- */

struct tcp_seg {
    const struct tcp_hdr *th;
    const uint8_t *data;
    const uint8_t *mac;     /* who sent the frame */
    uint32_t seq, ack, wnd; /* wnd: unscaled */
    uint32_t len;           /* data bytes; SYN and FIN not counted */
    uint8_t flags, doff;    /* doff in bytes */
    uint8_t ecn;            /* RFC 3168 5: the two bits of the IP header */
    uint8_t sack_n;         /* blocks of a SACK option at `sack` */
    const uint8_t *sack;
    bool v6;
    struct ip_addr peer6; /* v6: the peer's address */
    bool has_ts;
    bool reuses; /* a SYN that ended a connection in TIME-WAIT: reused_nxt was its SND.NXT */
    uint32_t tsval, tsecr, reused_nxt;
    struct flow_key key;
    uint64_t hash;
    struct tcp_conn *tc;
};

/* ---- neighbours ---- */

enum neigh_state { NEIGH_FREE, NEIGH_PENDING, NEIGH_KNOWN };

struct neigh {
    struct ip_addr ip;
    uint8_t mac[6];
    uint8_t state, tries;
    uint8_t queued;
    bool asked; /* a request of ours is out: its reply may change the entry */
    uint64_t updated_ns, asked_ns, used_ns;
    struct rte_mbuf *queue[LIMIT_NET_NEIGH_QUEUE];
};

#define NEIGH_WAYS 8
#define NEIGH_SETS (LIMIT_NET_NEIGHBOURS / NEIGH_WAYS)

/* ---- IPv6 ---- */

enum ip6_state { IP6_TENTATIVE, IP6_VALID, IP6_DUPLICATE }; /* RFC 4862 5.4 */

/* The flow key of an IPv6 connection has the index of our address where an IPv4 key has the address (0.0.0.x is nobody's), and a
 * secret hash of the peer's address, which stands in the cold record in full. */
struct ip6_local {
    struct ip_addr addr;
    unsigned bits;
    uint8_t state, probes; /* DAD probes sent */
    uint64_t due_ns;       /* tentative: next probe, or the end of waiting */
};

struct ip6_router { /* RFC 4861 6.3.4 */
    struct ip_addr addr;
    uint64_t until_ns; /* 0: free */
};

struct ip6 {
    uint32_t count;                                   /* of local; 0: IPv6 is not spoken */
    struct ip6_local local[1 + LIMIT_NET_ADDRESSES6]; /* [0]: link-local */
    struct ip6_router router[LIMIT_NET_ROUTERS];
    uint16_t mtu;              /* the port's, or less as routers say */
    uint8_t solicits, reports; /* sent of RFC 4861 6.3.7, RFC 3810 9.14 */
    bool announced;
    uint64_t solicit_ns, report_ns; /* next one; UINT64_MAX: none */
    uint64_t reported_ns;           /* last one */
    uint64_t next_ns;               /* the earliest thing to do */
};

/* Answers that anyone can ask for: a bucket for each class of sources, so that nobody learns from his own answers what others get
 * (RFC 5927, and the lesson of CVE-2016-5696 and SAD DNS: never a shared counter). */
enum rate_kind { RATE_ECHO, RATE_RST, RATE_ERROR, RATE_NDP, RATE_STRAY, RATE_KINDS };

/* What must stay secret, in pages of their own that no core dump has (RFC 6528 3). Each use has its own key, so that what one
 * of them gives away says nothing of the others. */
struct net_keys {
    struct siphash_key isn, cookie, rate, neigh;
};

#define NET_TX_SLOTS   512
#define NET_HELD_SLOTS 1024

struct net {
    struct net_config cfg; /* without its secret: see keys */
    struct net_keys *keys;
    uint32_t pool_mbufs, q_segs; /* frames in cfg.pool; segments that send queues hold of them */
    /* Memory pressure (tcp_pressure.c): send queues hold too much of the pool. */
    uint32_t pressure_on, pressure_off; /* in segments of q_segs */
    uint32_t rcv_buf;                   /* cfg.rcv_buf_bytes, under pressure a fraction of it */
    uint32_t walk_at;                   /* next record to be looked at */
    uint64_t walk_ns;                   /* when; UINT64_MAX: no round is to be made */
    uint64_t parked_bytes;              /* heap that parked segments take */
    bool pressure;
    struct net_wire wire;
    struct tcp_app app;
    struct stats_worker *stats;
    struct stats_worker *own_stats; /* when the caller has none */
    uint64_t now_ns;
    uint32_t now_ms;   /* the timestamp option's clock */
    uint32_t out_segs; /* of this pass: added to the statistics at its end */
    bool tx_offload;   /* the port sums something */
    bool tso;          /* and cuts */
    struct offload off;
    uint64_t rto_min_ns, rto_max_ns;
    uint32_t rto_min_u; /* in units of 1.024 us, rounded down */
    uint32_t broadcast;
    uint32_t window_step; /* RFC 9293 3.8.6.2.2: the receive window's edge moves by this at least */
    /* Free receive buffer beyond the window, from which on it is worth thought: a step less what the
     * field's rounding may hide. */
    uint32_t window_rest;
    uint64_t mac_wide; /* cfg.mac in the upper 48 bits: a frame's first eight bytes << 16 */
    uint64_t delack_ns;
    uint32_t l2_len;    /* of every frame: Ethernet and perhaps a VLAN tag */
    uint32_t rx_l2_len; /* of received ones, less what the port takes out */
    /* cfg.pool's cache of the lcore that runs the loop, or net_no_cache. Found anew by net_input,
     * used in place: what rte_mempool's inlines do, without their look-up each time. */
    struct rte_mempool_cache *cache;
    uint32_t admission_mark; /* free mbufs below which SYNs are refused */

    /* connections */
    struct tcp_conn *conns;
    struct tcp_cold *cold;
    struct tcp_loss *loss;
    size_t conns_bytes, cold_bytes, loss_bytes;
    uint32_t *free_conns; /* stack of indexes */
    uint32_t free_count;
    uint32_t conns_used; /* records from here on were never in use */
    uint32_t half_open, time_wait_count;
    uint64_t cookie_ns;    /* when the last SYN cookie was sent; 0: never */
    struct list time_wait; /* oldest first: recycled when records run out */
    struct flow flow;
    struct wheel wheel;
    struct tcp_conn **dirty; /* connections with TF_DIRTY */
    uint32_t dirty_count;
    uint32_t *reap; /* indexes of connections with TF_REAP */
    uint32_t reap_count;
    struct tcp_ooo *ooo_done; /* reassembly blocks delivered in this burst */
    struct list ooo_conns;    /* cold records with out-of-order data, the first for longest */
    uint64_t ooo_total_bytes; /* heap that all of it takes */

    /* frames */
    struct rte_mbuf *tx[NET_TX_SLOTS]; /* built, not yet taken by the wire; in order */
    uint32_t tx_count, tx_refused;     /* tx_refused: of those, offered before */
    struct rte_mbuf *held[NET_HELD_SLOTS];
    uint32_t held_count;

    struct neigh neigh[NEIGH_SETS][NEIGH_WAYS];
    uint32_t neigh_pending;
    uint64_t neigh_next_ns;
    uint64_t learn_ns; /* token bucket of unasked learning, kept as a time */
    net_stray_fn stray_fn;
    void *stray_ctx;
    const struct rte_mbuf *general; /* the frame that net_frame_general looks at */
    net_neigh_fn neigh_fn;
    void *neigh_ctx;
    void (*resolve_fn)(void *ctx, struct ip_addr ip); /* cfg.shared */
    void *resolve_ctx;

    struct ip6 ip6;
    struct tcp_trace trace;
    uint64_t rate_ns[RATE_KINDS][LIMIT_NET_RATE_CLASSES]; /* token buckets, kept as times */
    uint16_t ephemeral_port;
};

/* ---- net.c ---- */
static inline void net_set_now(struct net *net, uint64_t now_ns)
{
    if (now_ns == net->now_ns) /* a turn has one time for all its calls */
        return;
    net->now_ns = now_ns;
    net->now_ms = (uint32_t)(now_ns / NSEC_PER_MS);
}
extern struct rte_mempool_cache net_no_cache; /* has nothing and takes nothing */
static inline void net_find_cache(struct net *net)
{
    struct rte_mempool_cache *cache = rte_mempool_default_cache(net->cfg.pool, rte_lcore_id());
    net->cache = likely_(cache != NULL) ? cache : &net_no_cache;
}
/* Queues a finished frame; false (and the frame is the caller's still) when the array is full. */
static inline bool net_tx_full(const struct net *net)
{
    return net->tx_count >= NET_TX_SLOTS;
}
static inline bool net_send(struct net *net, struct rte_mbuf *m)
{
    if (unlikely_(net_tx_full(net)))
        return false;
    net->tx[net->tx_count++] = m;
    return true;
}
/* Offers the array to the wire, oldest first; what is refused moves to the front. */
unsigned net_flush(struct net *net);
/* Sends or frees: for frames that belong to no connection. */
void net_send_or_drop(struct net *net, struct rte_mbuf *m);
/* A buffer for ACK, RST, ARP, ICMP: pool, then reserve. NULL: both are empty. */
struct rte_mbuf *net_alloc_control(struct net *net);
/* rte_pktmbuf_alloc without touching the mbuf's second line: `next` is NULL in the pool. Whoever
 * builds a frame sets data_off, the lengths and ol_flags. */
static inline struct rte_mbuf *net_alloc_cached(struct net *net)
{
    struct rte_mempool_cache *cache = net->cache;
    return likely_(cache->len) ? cache->objs[--cache->len] : NULL;
}
/* The cache is empty or there is none; NULL (counted): the pool is empty too. */
struct rte_mbuf *net_alloc_uncached(struct net *net);
static inline struct rte_mbuf *net_alloc_data(struct net *net)
{
    struct rte_mbuf *m = net_alloc_cached(net);
    return likely_(m) ? m : net_alloc_uncached(net);
}
/* Gives back a linear, direct mbuf of ours: its second line stays cold. */
static inline void net_free_own(struct net *net, struct rte_mbuf *m)
{
    struct rte_mempool_cache *cache = net->cache;
    if (unlikely_(rte_mbuf_refcnt_read(m) != 1))
        rte_pktmbuf_free_seg(m);
    else if (likely_(m->pool == net->cfg.pool && cache->len < cache->flushthresh))
        cache->objs[cache->len++] = m;
    else
        rte_mbuf_raw_free(m);
}
/* The same for the buffer of a segment that was sent: cfg.pool's, for data comes from nowhere else. */
static inline __attribute__((always_inline)) void net_free_segment(struct net *net,
                                                                   struct rte_mbuf *m)
{
    struct rte_mempool_cache *cache = net->cache;
    if (likely_(rte_mbuf_refcnt_read(m) == 1 && cache->len < cache->flushthresh))
        cache->objs[cache->len++] = m;
    else
        rte_pktmbuf_free_seg(m);
}
/* Any frame, each thing about it looked at and counted by its own reason. */
void net_frame_general(struct net *net, struct rte_mbuf *m);
/* One linear frame of a chain, kept until net_input_done; NULL: dropped and counted. */
struct rte_mbuf *net_join(struct net *net, const struct rte_mbuf *m);
bool net_admits(const struct net *net);
void *net_map(size_t bytes);
void net_unmap(void *p, size_t bytes);

/* ---- tcp_fast.c ---- */
void net_burst(struct net *net, struct rte_mbuf **pkts, uint16_t n);

/* ---- eth.c ---- */
/* Ethernet and VLAN: returns the L3 bytes and their count, or NULL (counted). *type: ethertype. */
const uint8_t *eth_classify(struct net *net, const struct rte_mbuf *m, uint16_t *type,
                            uint32_t *len);
/* Writes the L2 header that ends at `l3`; returns its length. */
unsigned eth_write(const struct net *net, uint8_t *l3, const uint8_t dst[6], uint16_t type);
static inline unsigned eth_len(const struct net *net)
{
    return net->cfg.vlan ? 18 : 14;
}
static inline bool mac_is_unicast(const uint8_t m[6])
{
    return !(m[0] & 1) && (m[0] | m[1] | m[2] | m[3] | m[4] | m[5]);
}
bool mac_is_broadcast(const uint8_t m[6]);

/* ---- rate.c ---- */
/* May this source be answered now? Counts the answer. */
bool rate_allow(struct net *net, enum rate_kind kind, struct ip_addr to);

/* ---- arp.c ---- */
void arp_input(struct net *net, const uint8_t *p, uint32_t len, const uint8_t src[6]);
/* dst NULL: broadcast. */
void arp_request(struct net *net, uint32_t ip, const uint8_t *dst);

/* ---- neigh.c ---- */
struct neigh *neigh_find(struct net *net, struct ip_addr ip);
/* Finds or makes the entry; takes the place of the one unused for longest. */
struct neigh *neigh_get(struct net *net, struct ip_addr ip);
/* The same for what was heard without being asked for: within a rate, and never in the place of an
 * entry that is fresh or waited for. NULL: not now (counted). */
struct neigh *neigh_get_unasked(struct net *net, struct ip_addr ip);
/* The address is known now; queued frames go out. tell: inform the listener. */
void neigh_set(struct net *net, struct neigh *n, const uint8_t mac[6], bool tell);
/* The MAC for a next hop, or NULL: asked for. */
const uint8_t *neigh_lookup(struct net *net, struct ip_addr next_hop);
/* Sends a frame whose L2 header lacks only its destination; queues it (bounded) until that is known.
 * Takes ownership. */
void neigh_send(struct net *net, struct rte_mbuf *m, struct ip_addr next_hop);
/* Asks everyone who has the address, although an entry may be there: what we know seems wrong. */
void neigh_confirm(struct net *net, struct ip_addr ip);
bool neigh_fresh(const struct net *net, const struct neigh *n);
void neigh_timers(struct net *net);
void neigh_free_all(struct net *net);
void neigh_release(struct net *net, struct neigh *n); /* what waits for it is given up */
static inline bool net_on_link(const struct net *net, uint32_t ip)
{
    return (ip & net->cfg.netmask) == (net->cfg.ip & net->cfg.netmask);
}
bool net_on_link_ip(const struct net *net, struct ip_addr ip);
/* Where a packet goes next: the address itself, or the gateway of its family; unspecified: there is no way. */
struct ip_addr net_next_hop(const struct net *net, struct ip_addr ip);

/* ---- ip4.c ---- */
/* Validates the header; returns the L4 bytes and their count, or NULL (counted). */
const uint8_t *ip4_check(struct net *net, const struct rte_mbuf *m, const uint8_t *p, uint32_t len,
                         uint32_t *l4_len);
/* net-allow lets this source in. */
bool ip4_allowed(const struct net *net, uint32_t src);
#define IP_FRAG_MASK 0x3fff /* MF and offset; DF is allowed */
/* RFC 1122 3.2.1.3: addresses that must not be a source; our own covers the land attack. */
static inline bool ip4_source_ok(const struct net *net, uint32_t src)
{
    uint8_t top = (uint8_t)(src >> 24);
    return src != net->cfg.ip && src != net->broadcast && (uint8_t)(top - 1) < 223 && top != 127;
}
/* A header without options in front of `l4_len` bytes. */
void ip4_write(struct ip4_hdr *ip, uint32_t src, uint32_t dst, uint8_t proto, uint16_t l4_len);
static inline uint64_t ip4_pseudo_sum(const struct ip4_hdr *ip, uint16_t l4_len)
{
    return (uint64_t)ip->src.raw + ip->dst.raw + be16(ip->proto).raw + be16(l4_len).raw;
}

/* ---- icmp.c ---- */
void icmp_input(struct net *net, const struct ip4_hdr *ip, const uint8_t *p, uint32_t len,
                const uint8_t src[6]);
/* Tells the sender of a datagram for us that nobody takes it (RFC 1122 3.2.2.1), within a rate. */
void icmp_send_unreachable(struct net *net, const struct ip4_hdr *ip, uint32_t total, uint8_t code,
                           const uint8_t src[6]);

/* ---- ip6.c ---- */
void ip6_init(struct net *net);
static inline bool ip6_on(const struct net *net)
{
    return net->ip6.count != 0;
}
/* Validates the header and walks the extension headers; returns the upper layer's bytes, count and
 * protocol (TCP or ICMPv6), or NULL (counted). mac: the frame's destination and source. */
const uint8_t *ip6_check(struct net *net, const uint8_t *p, uint32_t len, const struct eth_hdr *eh,
                         uint32_t *l4_len, uint8_t *proto);
bool ip6_allowed(const struct net *net, struct ip_addr src);
/* Index of our address in any state, or -1. */
int ip6_local_find(const struct net *net, struct ip_addr a);
/* The address that packets to `to` come from: link-local to link-local, else the one of the same prefix, else the first. -1: none is valid. */
int ip6_source_for(const struct net *net, struct ip_addr to);
void ip6_write(struct ip6_hdr *ip, struct ip_addr src, struct ip_addr dst, uint8_t next,
               uint8_t hops, uint16_t payload_len);
/* ff02::1:ffXX:XXXX of an address (RFC 4291 2.7.1). */
struct ip_addr ip6_solicited_node(struct ip_addr a);
/* 33:33 and the last four bytes (RFC 2464 7). */
void ip6_multicast_mac(uint8_t mac[6], struct ip_addr group);
uint64_t ip6_pseudo_sum(const struct ip6_hdr *ip, uint32_t l4_len, uint8_t proto);

/* ---- icmp6.c ---- */
void icmp6_input(struct net *net, const struct ip6_hdr *ip, const uint8_t *p, uint32_t len,
                 const struct eth_hdr *eh);
/* An ICMPv6 message of `len` bytes to be written behind the headers: *ret_body points to its first byte; the caller fills it and
 * calls icmp6_finish. NULL: no buffer. dst_mac NULL: the neighbour table finds it. */
struct rte_mbuf *icmp6_new(struct net *net, struct ip_addr src, struct ip_addr dst, uint8_t hops,
                           uint32_t len, uint8_t **ret_body);
void icmp6_finish(struct net *net, struct rte_mbuf *m, uint32_t len, const uint8_t *dst_mac);
/* RFC 4443 2.4 (e), (f): an error about the packet at ip of which `have` bytes are here, within a rate and never about an error or
 * a multicast. */
void icmp6_send_error(struct net *net, const struct ip6_hdr *ip, uint32_t have, uint8_t type,
                      uint8_t code, uint32_t word, const struct eth_hdr *eh);

/* ---- ndp.c ---- */
/* Neighbour and router messages (RFC 4861), hop limit checked; types 133 to 137. */
void ndp_input(struct net *net, const struct ip6_hdr *ip, const uint8_t *p, uint32_t len,
               const uint8_t src[6]);
/* Asks for a neighbour; dst NULL: all who may have it, else this station. */
void ndp_solicit(struct net *net, struct ip_addr target, const uint8_t *dst);
/* The port is up: DAD, group reports, router solicitation begin. */
void ndp_start(struct net *net);
void ndp_timers(struct net *net);
/* May our address `index` be used? Yes from the moment on when any worker of the port was through with it. */
bool ndp_valid(struct net *net, int index);
/* Another station has our address (told by another worker). */
void ndp_conflict(struct net *net, int index);
/* The router in use, or unspecified. */
struct ip_addr ndp_router(const struct net *net);

/* ---- mld.c ---- */
/* RFC 3810: reports of our groups, for switches that watch; queries are answered by a report of all. */
void mld_report(struct net *net);
void mld_input(struct net *net, const struct ip6_hdr *ip, const uint8_t *p, uint32_t len);

/* ---- pmtu.c ---- */
/* An ICMP error that quotes `len` bytes of a packet of ours. mtu: of a "too big" message (0: an old router, told by none), PMTU_NONE
 * for other errors, which are soft. */
#define PMTU_NONE UINT32_MAX
/* What net_frame_general looks at belongs to no connection here; `flow`: net_stray. True: another worker is asked. */
bool net_stray(struct net *net, uint64_t flow, struct ip_addr from);
void pmtu_error(struct net *net, bool v6, const uint8_t *quoted, uint32_t len, uint32_t mtu);
