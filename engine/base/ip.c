/* ip: see ip.h. The C library's inet_pton and inet_ntop do the texts: functions of their arguments alone. */
#include "engine/base/ip.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "engine/base/num.h"

struct ip_addr ip_mask(unsigned bits)
{
    struct ip_addr m = {{0, 0}};
    for (unsigned i = 0; i < 2; i++) {
        unsigned n = bits < 64 * i ? 0 : bits - 64 * i;
        m.w[i] = n == 0 ? 0 : n >= 64 ? UINT64_MAX : __builtin_bswap64(UINT64_MAX << (64 - n));
    }
    return m;
}

bool ip_parse(struct span text, struct ip_addr *ret)
{
    char buf[IP_TEXT_BYTES];
    struct in_addr v4;
    uint8_t v6[16];
    if (text.n == 0 || text.n >= sizeof(buf) || memchr(text.p, 0, text.n))
        return false;
    memcpy(buf, text.p, text.n);
    buf[text.n] = 0;
    if (inet_pton(AF_INET, buf, &v4) == 1) {
        *ret = ip_from_v4(ntohl(v4.s_addr));
        return true;
    }
    if (inet_pton(AF_INET6, buf, v6) != 1)
        return false;
    struct ip_addr a = ip_load(v6);
    if (ip_is_v4(a)) /* ::ffff:1.2.3.4 is no address on a wire (RFC 4038 4.2) */
        return false;
    *ret = a;
    return true;
}

bool ip_parse_prefix(struct span text, bool bare, struct ip_addr *ret, unsigned *ret_bits)
{
    const uint8_t *slash = text.n ? memchr(text.p, '/', text.n) : NULL;
    size_t n = slash ? (size_t)(slash - text.p) : text.n;
    struct ip_addr a;
    if ((!slash && !bare) || !ip_parse(span_of(text.p, n), &a))
        return false;
    uint64_t most = ip_is_v4(a) ? 32 : 128, len = most;
    if (slash && (!num_parse_u64(span_of(slash + 1, text.n - n - 1), &len) || len > most))
        return false;
    *ret = a;
    *ret_bits = (unsigned)(128 - most + len);
    return true;
}

bool ip_is_host(struct ip_addr a)
{
    if (ip_is_v4(a)) {
        uint32_t v = ip_v4(a);
        return v >> 24 != 0 && v >> 24 != 127 && v >> 28 < 14;
    }
    /* ::/96 holds unspecified, loopback and the old compatible addresses. */
    bool low = a.w[0] == 0 && ((uint32_t)a.w[1] == 0 || (uint32_t)a.w[1] == 0xffff0000u);
    return !low && !ip_is_multicast6(a);
}

void ip_format(char to[IP_TEXT_BYTES], struct ip_addr a)
{
    if (ip_is_v4(a)) {
        uint32_t v = ip_v4(a);
        snprintf(to, IP_TEXT_BYTES, "%u.%u.%u.%u", v >> 24, v >> 16 & 255, v >> 8 & 255, v & 255);
        return;
    }
    uint8_t b[16];
    ip_store(b, a);
    inet_ntop(AF_INET6, b, to, IP_TEXT_BYTES);
}

void ip_format_prefix(char to[IP_TEXT_BYTES], struct ip_addr a, unsigned bits)
{
    ip_format(to, a);
    size_t n = strlen(to);
    snprintf(to + n, IP_TEXT_BYTES - n, "/%u", ip_is_v4(a) ? bits - 96 : bits);
}

void ip_format_endpoint(char to[IP_ENDPOINT_BYTES], struct ip_addr a, uint16_t port)
{
    char text[IP_TEXT_BYTES];
    ip_format(text, a);
    snprintf(to, IP_ENDPOINT_BYTES, ip_is_v4(a) ? "%s:%u" : "[%s]:%u", text, port);
}
