/* ip: an address of either family as 128 bits in the order of the wire; IPv4 is mapped (RFC 4291 2.5.5.2: ::ffff:a.b.c.d). Texts both ways:
 * dotted quads and RFC 5952, prefixes with /length, endpoints as Redis shows them (a.b.c.d:port, [v6]:port). Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/bytes.h"

struct ip_addr {
    uint64_t w[2]; /* the sixteen bytes as they lie on the wire */
};

#define IP_TEXT_BYTES     48 /* an address and its end */
#define IP_ENDPOINT_BYTES 56 /* with brackets and port */

static inline struct ip_addr ip_load(const void *p)
{
    struct ip_addr a;
    memcpy(&a, p, sizeof(a));
    return a;
}
static inline void ip_store(void *p, struct ip_addr a)
{
    memcpy(p, &a, sizeof(a));
}
static inline uint8_t ip_byte(struct ip_addr a, unsigned i)
{
    return (uint8_t)(a.w[i / 8] >> 8 * (i & 7));
}
static inline bool ip_equal(struct ip_addr a, struct ip_addr b)
{
    return ((a.w[0] ^ b.w[0]) | (a.w[1] ^ b.w[1])) == 0;
}
/* v4: host byte order. */
static inline struct ip_addr ip_from_v4(uint32_t v4)
{
    return (struct ip_addr){{0, (uint64_t)__builtin_bswap32(v4) << 32 | 0xffff0000u}};
}
static inline bool ip_is_v4(struct ip_addr a)
{
    return a.w[0] == 0 && (uint32_t)a.w[1] == 0xffff0000u;
}
static inline uint32_t ip_v4(struct ip_addr a)
{
    return __builtin_bswap32((uint32_t)(a.w[1] >> 32));
}
static inline bool ip_is_unspecified(struct ip_addr a)
{
    return (a.w[0] | a.w[1]) == 0;
}
static inline bool ip_is_multicast6(struct ip_addr a)
{
    return (uint8_t)a.w[0] == 0xff;
}
/* fe80::/10 */
static inline bool ip_is_link_local(struct ip_addr a)
{
    return (a.w[0] & 0xc0ff) == 0x80fe;
}
/* The first `bits` of 128, the others zero. */
struct ip_addr ip_mask(unsigned bits);
static inline struct ip_addr ip_and(struct ip_addr a, struct ip_addr m)
{
    return (struct ip_addr){{a.w[0] & m.w[0], a.w[1] & m.w[1]}};
}
static inline bool ip_in(struct ip_addr a, struct ip_addr prefix, unsigned bits)
{
    struct ip_addr m = ip_mask(bits);
    return (((a.w[0] ^ prefix.w[0]) & m.w[0]) | ((a.w[1] ^ prefix.w[1]) & m.w[1])) == 0;
}

/* An address without a zone; false: it is none. */
bool ip_parse(struct span text, struct ip_addr *ret);
/* "ADDRESS/LENGTH", or the address alone if `bare` allows that (then all its bits). *ret_bits counts in 128: IPv4's /24 is 120. */
bool ip_parse_prefix(struct span text, bool bare, struct ip_addr *ret, unsigned *ret_bits);
/* An address that a host may have: not zero, loopback, multicast, mapped within IPv6, or above 223/8. */
bool ip_is_host(struct ip_addr a);
void ip_format(char to[IP_TEXT_BYTES], struct ip_addr a);
void ip_format_prefix(char to[IP_TEXT_BYTES], struct ip_addr a, unsigned bits);
void ip_format_endpoint(char to[IP_ENDPOINT_BYTES], struct ip_addr a, uint16_t port);
