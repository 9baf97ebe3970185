/* For test_ip6*.c: frames of IPv6 and ICMPv6, addresses of both ends, and the counters of dropped packets: one frame, one reason. */
#pragma once

#include <string.h>

#include "dataplane/net/net_internal.h"
#include "engine/link/stats.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

static inline uint64_t all_drops(const struct stats_worker *s)
{
    uint64_t n = 0;
#define SECTION_DROPS(name) n += s->name;
#define SECTION_OTHER(name)
#define METRIC(name, kind, section, field, help) SECTION_##section(name)
#define SECTION_STATS(name)
#define SECTION_CLIENTS(name)
#define SECTION_CLIENTS_MAX(name)
#define SECTION_NONE(name)
#define SECTION_PERSISTENCE(name)
#define SECTION_MEMORY(name)
#define SECTION_DATAPLANE(name)
#define SECTION_DATAPLANE_MAX(name)
#define SECTION_TCP(name)
#include "engine/link/metrics.def"
#undef METRIC
    return n;
}

/* Sends the frame; exactly one drop, of that reason. */
#define DROPS(p, frame, len, reason)                                                     \
    do {                                                                                 \
        uint64_t before = (p)->stack->stats.reason, all = all_drops(&(p)->stack->stats); \
        peer_inject(p, frame, len);                                                      \
        assert_int_equal((p)->stack->stats.reason, before + 1);                          \
        assert_int_equal(all_drops(&(p)->stack->stats), all + 1);                        \
    } while (0)
#define TAKEN(p, frame, len)                                  \
    do {                                                      \
        uint64_t all = all_drops(&(p)->stack->stats);         \
        peer_inject(p, frame, len);                           \
        assert_int_equal(all_drops(&(p)->stack->stats), all); \
    } while (0)

static inline struct ip6_hdr *ip_of(uint8_t *f)
{
    return (struct ip6_hdr *)(void *)(f + 14);
}

static inline uint32_t syn_frame(struct peer *p, uint8_t *f)
{
    return peer_frame(p, f, PEER_SYN, p->seq, 0, NULL, 0);
}

static inline struct ip_addr addr(const char *text)
{
    struct ip_addr a = {{0, 0}};
    if (!ip_parse(span_str(text), &a))
        fail_msg("%s is no address", text);
    return a;
}

static inline struct ip_addr own(const struct peer *p)
{
    return wire_ip6(p->stack_ip);
}

static inline void tune_dad(struct net_config *c)
{
    c->dad_probes = 1;
}

static inline uint32_t icmp_frame(struct peer *p, uint8_t *f, struct ip_addr src,
                                  struct ip_addr dst, uint8_t hops, const void *body, uint32_t len)
{
    memcpy(f, p->stack->mac, 6);
    if (ip_is_multicast6(dst))
        ip6_multicast_mac(f, dst);
    memcpy(f + 6, p->mac, 6);
    f[12] = 0x86;
    f[13] = 0xdd;
    ip6_write(ip_of(f), src, dst, IP_PROTO_ICMP6, hops, (uint16_t)len);
    memcpy(f + 54, body, len);
    peer_fix_checksums(f, 14);
    return 54 + len;
}
