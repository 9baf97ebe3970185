/* steer: the XDP program on an AF_XDP port. Runs in the kernel's receive path, on the processor of the queue, before Linux sees a frame:
 *
 *   frame -> ours? -> net-allow, net-syn-limit -> the queue's AF_XDP socket      (XDP_REDIRECT)
 *         -> all others, and ours while nobody has that queue's socket           (XDP_PASS: on to Linux)
 *
 * Ours is TCP to our addresses and ports. With an address of our own also ARP and NDP that ask for it or answer us, and ICMP to it;
 * with Linux's address (STEER_KERNEL) Linux keeps those, but for ICMP errors that quote a segment of ours: path MTU
 * discovery lives on them. Errors come from routers on the way: net-allow, which speaks of clients, does not hold for them. What is cut short, lies about its lengths or cannot be walked within bounds is Linux's to judge: passed, counted.
 * Nothing is written to a frame. Formats: RFC 791, 8200, 826, 792, 4443, 4861, 9293, IEEE 802.1Q.
 *
 * The loader (dataplane/port/steer.c) puts the driver's own XSKMAP in the place of xsks_map.
 *
 * License string: BSD-3-Clause is compatible with the GPL, and the kernel asks for the word: before Linux 5.8 bpf_ktime_get_ns is refused to
 * programs that do not say so. "Dual BSD/GPL" is the one of its words that is true. */
#include "dataplane/bpf/steer.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <stdbool.h>

char steer_license[] SEC("license") = "Dual BSD/GPL";

struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u32);
} xsks_map SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct steer_config);
} config SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct steer_counts);
} counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, STEER_PREFIXES);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct steer_prefix4);
    __type(value, __u8);
} allow4 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, STEER_PREFIXES);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct steer_prefix6);
    __type(value, __u8);
} allow6 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, STEER_SYN_SOURCES);
    __type(key, struct steer_source);
    __type(value, __u64); /* time until which the source's tokens are spent */
} syn_sources SEC(".maps");

/* ---- headers, as far as they are looked at ---- */

struct vlan {
    __be16 tci, type;
};
struct arp {
    __be16 htype, ptype;
    __u8 hlen, plen;
    __be16 op;
    __u8 sha[6], spa[4], tha[6];
    __be32 tpa;
} __attribute__((packed));
struct ip4 {
    __u8 version_ihl, tos;
    __be16 total, id, fragment;
    __u8 ttl, protocol;
    __be16 checksum;
    __be32 src, dst;
};
struct ip6 {
    __be32 version;
    __be16 payload;
    __u8 next, hops;
    struct steer_address6 src, dst;
};
struct extension { /* hop-by-hop, destination options, routing; AH has its length in other units */
    __u8 next, length;
    __be16 rest[3];
};
struct tcp {
    __be16 sport, dport;
    __be32 seq, ack;
    __u8 offset, flags;
    __be16 window, checksum, urgent;
};
struct icmp {
    __u8 type, code;
    __be16 checksum;
    __be32 rest;
};
struct ndp { /* neighbour solicitation and advertisement */
    struct icmp icmp;
    struct steer_address6 target;
};

#define TYPE_VLAN         bpf_htons(0x8100)
#define TYPE_ARP          bpf_htons(0x0806)
#define TYPE_IP4          bpf_htons(0x0800)
#define TYPE_IP6          bpf_htons(0x86dd)
#define PROTOCOL_ICMP6    58
#define IP4_OFFSET        bpf_htons(0x1fff)
#define IP6_OFFSET        bpf_htons(0xfff8)
#define TCP_SYN           0x02
#define TCP_ACK           0x10
#define ICMP_UNREACHABLE  3
#define ICMP_TIME         11
#define ICMP_PARAMETER    12
#define ICMP6_LAST_ERROR  4 /* 1 to 4: unreachable, too big, time exceeded, parameter problem */
#define MLD_QUERY         130
#define ND_ROUTER_ADVERT  134
#define ND_SOLICIT        135
#define ND_ADVERT         136
#define EXT_HOP_BY_HOP    0
#define EXT_ROUTING       43
#define EXT_FRAGMENT      44
#define EXT_AUTHENTICATED 51
#define EXT_DESTINATION   60

struct packet {
    struct xdp_md *ctx;
    void *end;
    const struct steer_config *config;
    struct steer_counts *counts;
};

/* ---- verdicts ---- */

static __always_inline int pass(struct packet *p)
{
    p->counts->passed++;
    return XDP_PASS;
}

static __always_inline int malformed(struct packet *p)
{
    p->counts->malformed++;
    return XDP_PASS;
}

static __always_inline int take(struct packet *p)
{
    int verdict = bpf_redirect_map(&xsks_map, p->ctx->rx_queue_index, XDP_PASS);
    if (verdict == XDP_REDIRECT)
        p->counts->taken++;
    else
        p->counts->no_socket++;
    return verdict;
}

/* A token bucket kept as one time: a SYN moves it on by 1/limit of a second, it may lead the clock by a second's worth. Two processors
 * that see the same source at once may both take the last token. */
static __always_inline bool syn_allowed(const struct steer_config *c, const struct steer_source *s)
{
    __u64 step = c->syn_step_ns, burst = c->syn_burst_ns;
    if (!step)
        return true;
    __u64 now = bpf_ktime_get_ns(), first = now + step;
    __u64 *spent = bpf_map_lookup_elem(&syn_sources, s);
    if (!spent) {
        bpf_map_update_elem(&syn_sources, s, &first, BPF_ANY);
        return true;
    }
    __u64 until = *spent;
    if (until <= now) {
        *spent = first;
        return true;
    }
    if (until - now + step > burst)
        return false;
    __sync_fetch_and_add(spent, step);
    return true;
}

/* The end of the way of a segment or message that is ours. tcp NULL: not TCP. */
static __always_inline int admit(struct packet *p, bool allowed, const struct steer_source *s,
                                 const struct tcp *tcp)
{
    if (!allowed) {
        p->counts->drop_allow++;
        return XDP_DROP;
    }
    if (tcp && (tcp->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && !syn_allowed(p->config, s)) {
        p->counts->drop_syn_limit++;
        return XDP_DROP;
    }
    return take(p);
}

static __always_inline bool port_is_ours(const struct steer_config *c, __be16 port)
{
    __u16 n = bpf_ntohs(port);
#pragma unroll
    for (__u32 i = 0; i < STEER_PORTS; i++)
        if (i < c->port_count && c->port[i] == n)
            return true;
    return c->port_count == 0;
}

/* ---- IPv4 ---- */

static __always_inline int arp(struct packet *p, const struct arp *a)
{
    if ((const void *)(a + 1) > p->end)
        return malformed(p);
    if (p->config->flags & STEER_KERNEL || a->htype != bpf_htons(1) || a->ptype != TYPE_IP4 ||
        a->hlen != 6 || a->plen != 4 || !p->config->ip4 || a->tpa != p->config->ip4)
        return pass(p);
    return take(p);
}

static __always_inline bool allowed4(const struct steer_config *c, __be32 src)
{
    struct steer_prefix4 key = {.bits = 32};
    if (!(c->flags & STEER_ALLOW))
        return true;
    __builtin_memcpy(key.byte, &src, sizeof(key.byte));
    return bpf_map_lookup_elem(&allow4, &key);
}

static __always_inline bool is_error4(__u8 type)
{
    return type == ICMP_UNREACHABLE || type == ICMP_TIME || type == ICMP_PARAMETER;
}

/* Does this error quote a segment of ours? */
static __always_inline bool quotes_us4(struct packet *p, const struct icmp *ic)
{
    const struct ip4 *q = (const void *)(ic + 1);
    if ((const void *)(q + 1) > p->end)
        return false;
    __u32 length = (q->version_ihl & 15) * 4;
    if (q->version_ihl >> 4 != 4 || length < sizeof(*q) || q->protocol != IPPROTO_TCP ||
        q->src != p->config->ip4)
        return false;
    const __be16 *sport = (const void *)q + length;
    return (const void *)(sport + 1) <= p->end && port_is_ours(p->config, *sport);
}

static __always_inline int ip4(struct packet *p, const struct ip4 *ip)
{
    const struct steer_config *c = p->config;
    if ((const void *)(ip + 1) > p->end)
        return malformed(p);
    if (!c->ip4 || ip->dst != c->ip4)
        return pass(p);
    __u32 length = (ip->version_ihl & 15) * 4, total = bpf_ntohs(ip->total);
    if (ip->version_ihl >> 4 != 4 || length < sizeof(*ip) || total < length ||
        (const void *)ip + total > p->end)
        return malformed(p);
    if (ip->fragment & IP4_OFFSET) {
        p->counts->fragments++;
        return XDP_PASS;
    }
    struct steer_source source = {.low = (__u64)ip->src << 32 | 0xffff0000};
    const void *l4 = (const void *)ip + length;
    if (ip->protocol == IPPROTO_TCP) {
        const struct tcp *tcp = l4;
        if ((const void *)(tcp + 1) > p->end || total < length + sizeof(*tcp))
            return malformed(p);
        if (!port_is_ours(c, tcp->dport))
            return pass(p);
        return admit(p, allowed4(c, ip->src), &source, tcp);
    }
    if (ip->protocol == IPPROTO_ICMP) {
        const struct icmp *ic = l4;
        if ((const void *)(ic + 1) > p->end || total < length + sizeof(*ic))
            return malformed(p);
        if (c->flags & STEER_KERNEL)
            return is_error4(ic->type) && quotes_us4(p, ic) ? take(p) : pass(p);
        return admit(p, is_error4(ic->type) || allowed4(c, ip->src), &source, NULL);
    }
    return pass(p);
}

/* ---- IPv6 ---- */

static __always_inline bool same6(const struct steer_address6 *a, const struct steer_address6 *b)
{
    const __u32 *x = (const __u32 *)a->byte, *y = (const __u32 *)b->byte;
    return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]));
}

static __always_inline bool is_ours6(const struct steer_config *c, const struct steer_address6 *a)
{
#pragma unroll
    for (__u32 i = 0; i < STEER_ADDRESSES6; i++)
        if (i < c->address6_count && same6(&c->address6[i], a))
            return true;
    return false;
}

static __always_inline bool allowed6(const struct steer_config *c, const struct steer_address6 *src)
{
    struct steer_prefix6 key = {.bits = 128};
    if (!(c->flags & STEER_ALLOW))
        return true;
    __builtin_memcpy(key.byte, src->byte, sizeof(key.byte));
    return bpf_map_lookup_elem(&allow6, &key);
}

static __always_inline bool is_error6(__u8 type)
{
    return type >= 1 && type <= ICMP6_LAST_ERROR;
}

static __always_inline bool quotes_us6(struct packet *p, const struct icmp *ic)
{
    const struct ip6 *q = (const void *)(ic + 1);
    if ((const void *)(q + 1) > p->end)
        return false;
    const __be16 *sport = (const void *)(q + 1);
    return q->next == IPPROTO_TCP && is_ours6(p->config, &q->src) &&
           (const void *)(sport + 1) <= p->end && port_is_ours(p->config, *sport);
}

/* A router asks who listens to which group: ICMPv6 behind a hop-by-hop header of eight bytes, the router alert (RFC 3810 5). */
static __always_inline int query6(struct packet *p, const struct ip6 *ip)
{
    const struct extension *alert = (const void *)(ip + 1);
    const struct icmp *ic = (const void *)(alert + 1);
    if ((const void *)(ic + 1) > p->end)
        return malformed(p);
    return alert->next == PROTOCOL_ICMP6 && alert->length == 0 && ic->type == MLD_QUERY ? take(p)
                                                                                        : pass(p);
}

/* What was sent to all nodes or to a solicited-node group. NDP with a header between IPv6's and its own is Linux's to judge: nobody
 * sends it. */
static __always_inline int group6(struct packet *p, const struct ip6 *ip)
{
    const struct ndp *nd = (const void *)(ip + 1);
    if (ip->next == EXT_HOP_BY_HOP && p->config->flags & STEER_ROUTERS)
        return query6(p, ip);
    if (ip->next != PROTOCOL_ICMP6 || p->config->flags & STEER_KERNEL)
        return pass(p);
    if ((const void *)(&nd->icmp + 1) > p->end)
        return malformed(p);
    if (nd->icmp.type == ND_ROUTER_ADVERT && p->config->flags & STEER_ROUTERS)
        return take(p);
    if (nd->icmp.type != ND_SOLICIT && nd->icmp.type != ND_ADVERT)
        return pass(p);
    if ((const void *)(nd + 1) > p->end)
        return malformed(p);
    return is_ours6(p->config, &nd->target) ? take(p) : pass(p);
}

/* Unicast NDP: a solicitation for an address of ours, or an answer to us. Linux may have the same address only as STEER_KERNEL. */
static __always_inline bool is_ndp(__u8 type)
{
    return type >= 133 && type <= 137;
}

static __always_inline int message6(struct packet *p, const struct ip6 *ip, const struct icmp *ic,
                                    const struct steer_source *source)
{
    if ((const void *)(ic + 1) > p->end)
        return malformed(p);
    if (p->config->flags & STEER_KERNEL)
        return is_error6(ic->type) && quotes_us6(p, ic) ? take(p) : pass(p);
    bool always = is_error6(ic->type) || is_ndp(ic->type);
    return admit(p, always || allowed6(p->config, &ip->src), source, NULL);
}

static __always_inline bool is_extension(__u8 next)
{
    return next == EXT_HOP_BY_HOP || next == EXT_ROUTING || next == EXT_FRAGMENT ||
           next == EXT_AUTHENTICATED || next == EXT_DESTINATION;
}

enum walk { WALK_END, WALK_SHORT, WALK_LATER, WALK_LONG };

/* Over the extension headers: *next and *at become those of the upper layer. */
static __always_inline enum walk walk6(struct packet *p, const struct ip6 *ip, __u8 *next,
                                       __u32 *at)
{
#pragma unroll
    for (int i = 0; i < STEER_EXTENSIONS; i++) {
        if (!is_extension(*next))
            return WALK_END;
        if (*at > STEER_EXTENSION_ROOM)
            return WALK_LONG;
        const struct extension *e = (const void *)ip + *at;
        if ((const void *)(e + 1) > p->end)
            return WALK_SHORT;
        if (*next == EXT_FRAGMENT) {
            if (e->rest[0] & IP6_OFFSET)
                return WALK_LATER;
            *at += sizeof(*e);
        } else if (*next == EXT_AUTHENTICATED) {
            *at += (e->length + 2) * 4;
        } else {
            *at += (e->length + 1) * 8;
        }
        *next = e->next;
    }
    return is_extension(*next) ? WALK_LONG : WALK_END;
}

static __always_inline int ip6(struct packet *p, const struct ip6 *ip)
{
    const struct steer_config *c = p->config;
    if ((const void *)(ip + 1) > p->end)
        return malformed(p);
    if (!c->address6_count)
        return pass(p);
    if (ip->dst.byte[0] == 0xff)
        return group6(p, ip);
    if (!is_ours6(c, &ip->dst))
        return pass(p);
    __u32 payload = bpf_ntohs(ip->payload), at = sizeof(*ip);
    if (*(const __u8 *)ip >> 4 != 6 || (const void *)(ip + 1) + payload > p->end)
        return malformed(p);
    __u8 next = ip->next;
    switch (walk6(p, ip, &next, &at)) {
    case WALK_END: break;
    case WALK_SHORT: return malformed(p);
    case WALK_LATER: p->counts->fragments++; return XDP_PASS;
    case WALK_LONG: p->counts->extensions++; return XDP_PASS;
    }
    if (at > STEER_EXTENSION_ROOM) {
        p->counts->extensions++;
        return XDP_PASS;
    }
    struct steer_source source = {};
    __builtin_memcpy(&source.high, ip->src.byte, sizeof(source.high));
    const void *l4 = (const void *)ip + at;
    if (next == IPPROTO_TCP) {
        const struct tcp *tcp = l4;
        if ((const void *)(tcp + 1) > p->end || payload + sizeof(*ip) < at + sizeof(*tcp))
            return malformed(p);
        if (!port_is_ours(c, tcp->dport))
            return pass(p);
        return admit(p, allowed6(c, &ip->src), &source, tcp);
    }
    if (next == PROTOCOL_ICMP6)
        return message6(p, ip, l4, &source);
    return pass(p);
}

/* ---- the frame ---- */

SEC("xdp")
int barewire_steer(struct xdp_md *ctx)
{
    __u32 zero = 0;
    struct packet p = {.ctx = ctx,
                       .end = (void *)(long)ctx->data_end,
                       .config = bpf_map_lookup_elem(&config, &zero),
                       .counts = bpf_map_lookup_elem(&counts, &zero)};
    const struct ethhdr *eth = (void *)(long)ctx->data;
    const void *l3 = eth + 1;
    __u16 vlan = 0;

    if (!p.config || !p.counts)
        return XDP_PASS;
    if (l3 > p.end)
        return malformed(&p);
    __be16 type = eth->h_proto;
    if (type == TYPE_VLAN) {
        const struct vlan *tag = l3;
        l3 = tag + 1;
        if (l3 > p.end)
            return malformed(&p);
        vlan = bpf_ntohs(tag->tci) & 0xfff; /* 0 only gives a priority (802.1Q 9.6) */
        type = tag->type;
    }
    if (vlan != p.config->vlan)
        return pass(&p);
    if (type == TYPE_IP4)
        return ip4(&p, l3);
    if (type == TYPE_IP6)
        return ip6(&p, l3);
    if (type == TYPE_ARP)
        return arp(&p, l3);
    return pass(&p);
}
