/* Frames for test_steer.c, by hand: Ethernet, 802.1Q, ARP, IPv4, IPv6, TCP, ICMP, NDP. Checksums are not looked at and stay zero. */
#pragma once

#include <arpa/inet.h>
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define OUR_PORT 6379

static const uint32_t our_ip = 0x0a000002, their_ip = 0x0a000001, linux_ip = 0x0a000003;
static const uint8_t our_ip6[16] = {0x20, 1, 0x0d, 0xb8, [15] = 2};
static const uint8_t their_ip6[16] = {0x20, 1, 0x0d, 0xb8, [15] = 1};
static const uint8_t linux_ip6[16] = {0x20, 1, 0x0d, 0xb8, [15] = 3};
static const uint8_t our_group6[16] = {0xff, 2, [11] = 1, 0xff, 0, 0, 2};
static const uint8_t all_nodes6[16] = {0xff, 2, [15] = 1};

struct frame {
    uint8_t b[1200];
    size_t n, l3, l4; /* where the headers begin */
};

static inline void put(struct frame *f, const void *p, size_t n)
{
    assert(f->n + n <= sizeof(f->b));
    memcpy(f->b + f->n, p, n);
    f->n += n;
}

static inline void put16(struct frame *f, uint16_t v)
{
    uint8_t b[2] = {(uint8_t)(v >> 8), (uint8_t)v};

    put(f, b, 2);
}

static inline void put32(struct frame *f, uint32_t v)
{
    put16(f, (uint16_t)(v >> 16));
    put16(f, (uint16_t)v);
}

static inline void zeros(struct frame *f, size_t n)
{
    static const uint8_t none[1200];

    put(f, none, n);
}

static inline struct frame ethernet(uint16_t type)
{
    struct frame f = {.n = 0};

    zeros(&f, 12);
    put16(&f, type);
    f.l3 = f.n;
    return f;
}

static inline struct frame tagged(uint16_t tci, uint16_t type)
{
    struct frame f = ethernet(0x8100);

    put16(&f, tci);
    put16(&f, type);
    f.l3 = f.n;
    return f;
}

static inline void add_ip4(struct frame *f, uint32_t dst, uint8_t protocol, size_t options,
                           size_t payload)
{
    uint8_t vihl = (uint8_t)(0x45 + options / 4);

    f->l3 = f->n;
    put(f, &vihl, 1);
    zeros(f, 1);
    put16(f, (uint16_t)(20 + options + payload));
    put32(f, 0x00004000); /* id, DF */
    uint8_t ttl[2] = {64, protocol};
    put(f, ttl, 2);
    put16(f, 0);
    put32(f, their_ip);
    put32(f, dst);
    zeros(f, options);
    f->l4 = f->n;
}

static inline void add_ip6(struct frame *f, const uint8_t dst[16], uint8_t next, size_t payload)
{
    uint8_t next_hops[2] = {next, 64};

    f->l3 = f->n;
    put32(f, 6u << 28);
    put16(f, (uint16_t)payload);
    put(f, next_hops, 2);
    put(f, their_ip6, 16);
    put(f, dst, 16);
    f->l4 = f->n;
}

static inline void add_tcp(struct frame *f, uint16_t dport, uint8_t flags)
{
    uint8_t offset[2] = {5 << 4, flags};

    f->l4 = f->n;
    put16(f, 40000);
    put16(f, dport);
    put32(f, 1);
    put32(f, 0);
    put(f, offset, 2);
    put16(f, 1000);
    put32(f, 0);
}

#define SYN 0x02
#define ACK 0x10

static inline struct frame tcp4(uint32_t dst, uint16_t dport, uint8_t flags)
{
    struct frame f = ethernet(0x0800);

    add_ip4(&f, dst, 6, 0, 20);
    add_tcp(&f, dport, flags);
    return f;
}

static inline struct frame tcp6(const uint8_t dst[16], uint16_t dport, uint8_t flags)
{
    struct frame f = ethernet(0x86dd);

    add_ip6(&f, dst, 6, 20);
    add_tcp(&f, dport, flags);
    return f;
}

static inline struct frame from4(struct frame f, uint32_t src)
{
    src = htonl(src);
    memcpy(f.b + f.l3 + 12, &src, 4);
    return f;
}

static inline struct frame from6(struct frame f, const uint8_t src[16])
{
    memcpy(f.b + f.l3 + 8, src, 16);
    return f;
}

static inline struct frame icmp4(uint32_t dst, uint8_t type)
{
    struct frame f = ethernet(0x0800);
    uint8_t type_code[2] = {type, 0};

    add_ip4(&f, dst, 1, 0, 8);
    put(&f, type_code, 2);
    zeros(&f, 6);
    return f;
}

/* An error that quotes a TCP segment from src, sport. */
static inline struct frame error4(uint32_t src, uint16_t sport, uint8_t type, size_t options)
{
    struct frame f = ethernet(0x0800);
    uint8_t type_code[2] = {type, 4};

    add_ip4(&f, our_ip, 1, 0, 8 + 28 + options);
    put(&f, type_code, 2);
    zeros(&f, 6);
    add_ip4(&f, their_ip, 6, options, 1000);
    src = htonl(src);
    memcpy(f.b + f.l3 + 12, &src, 4);
    put16(&f, sport);
    put16(&f, 40000);
    put32(&f, 1);
    return f;
}

static inline struct frame icmp6(const uint8_t dst[16], uint8_t type, const uint8_t *target)
{
    struct frame f = ethernet(0x86dd);
    uint8_t type_code[2] = {type, 0};

    add_ip6(&f, dst, 58, target ? 24 : 8);
    put(&f, type_code, 2);
    zeros(&f, 6);
    if (target)
        put(&f, target, 16);
    return f;
}

/* A multicast listener query or report with its router alert. */
static inline struct frame query6(uint8_t type)
{
    static const uint8_t alert[8] = {58, 0, 5, 2};
    struct frame f = ethernet(0x86dd);
    uint8_t type_code[2] = {type, 0};

    add_ip6(&f, all_nodes6, 0, sizeof(alert) + 28);
    put(&f, alert, sizeof(alert));
    f.l4 = f.n;
    put(&f, type_code, 2);
    zeros(&f, 26);
    return f;
}

static inline struct frame error6(const uint8_t src[16], uint16_t sport, uint8_t type)
{
    struct frame f = ethernet(0x86dd);
    uint8_t type_code[2] = {type, 0};

    add_ip6(&f, our_ip6, 58, 8 + 40 + 8);
    put(&f, type_code, 2);
    zeros(&f, 6);
    add_ip6(&f, their_ip6, 6, 1000);
    memcpy(f.b + f.l3 + 8, src, 16);
    put16(&f, sport);
    put16(&f, 40000);
    put32(&f, 1);
    return f;
}

static inline struct frame arp(uint16_t op, uint32_t spa, uint32_t tpa)
{
    struct frame f = ethernet(0x0806);

    put16(&f, 1);
    put16(&f, 0x0800);
    put16(&f, 0x0604);
    put16(&f, op);
    zeros(&f, 6);
    put32(&f, spa);
    zeros(&f, 6);
    put32(&f, tpa);
    return f;
}

/* `n` extension headers of `kind` and `bytes` each in front of a segment to us. */
static inline struct frame extended(unsigned n, uint8_t kind, unsigned bytes)
{
    struct frame f = ethernet(0x86dd);

    add_ip6(&f, our_ip6, n ? kind : 6, n * bytes + 20);
    for (unsigned i = 0; i < n; i++) {
        uint8_t head[2] = {i + 1 < n ? kind : 6, 0};
        head[1] = (uint8_t)(kind == 51 ? bytes / 4 - 2 : kind == 44 ? 0 : bytes / 8 - 1);
        put(&f, head, 2);
        zeros(&f, bytes - 2);
    }
    add_tcp(&f, OUR_PORT, SYN);
    return f;
}
