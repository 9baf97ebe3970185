/* request_inline.h: the arguments of a request that lies whole in the input, for the loop that stages requests (conn/stage.c).
 *
 *   $16\r\nkey:000000000001\r\n
 *   ^ q  ^ text              ^ the next q        a header of one or two digits: one load, one subtraction, one comparison
 *
 * As in parse.c: only what is well-formed is known here, no parser state is touched, and at anything else the caller hands the request
 * from its first byte to resp_parse, which alone says what an error is. The byte behind the CR of a header and the two behind an
 * argument are skipped unseen, as Redis does. */
#pragma once

#include "engine/base/assert.h"
#include "engine/base/bytes.h"

#define RESP_ARG_MIN   6    /* "$0\r\n\r\n" */
#define RESP_ARG_KNOWN 9999 /* longest argument that is known here */

static inline uint32_t resp_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

/* Three and four digits. */
static __attribute__((noinline, unused)) const uint8_t *
resp_arg_longer(const uint8_t *q, const uint8_t *end, struct span *ret)
{
    size_t n = 0, digits = 1;
    if (end - q < 8 || q[0] != '$' || q[1] == '0')
        return NULL;
    for (; digits <= 4; digits++) {
        unsigned d = (unsigned)q[digits] - '0';
        if (d > 9)
            break;
        n = n * 10 + d;
    }
    if (digits == 1 || q[digits] != '\r')
        return NULL;
    q += digits + 2;
    *ret = span_of(q, n);
    return (size_t)(end - q) < n + 2 ? NULL : q + n + 2;
}

/* Could these fewer than RESP_ARG_MIN bytes be the start of an argument that resp_arg reads? Where they cannot, the client is to hear it
 * now, not when it sends more. */
static __attribute__((noinline, unused)) bool resp_arg_begins(const uint8_t *q, size_t n)
{
    if (n && q[0] != '$')
        return false;
    for (size_t i = 1; i < n; i++) {
        if (i > 1 && q[i] == '\r')
            return true; /* a byte more and the text begin */
        if (q[i] < '0' || q[i] > '9' || (i == 2 && q[1] == '0'))
            return false;
    }
    return true;
}

/* The first four bytes of an argument are the header of one of 10 to 99 bytes: its length less 10 is resp_two_length(x). "$10\r" subtracted:
 * two digits leave 0..8 and 0..9 in the middle bytes, and adding 7 and 6 carries into no upper half. */
#define RESP_TWO_DIGITS ('$' | '1' << 8 | '0' << 16 | (uint32_t)'\r' << 24)
static inline __attribute__((always_inline)) bool resp_two_digits(uint32_t x)
{
    uint32_t two = x - RESP_TWO_DIGITS;
    return ((two | (two + 0x00060700)) & 0xfff0f0ff) == 0;
}
static inline __attribute__((always_inline)) uint32_t resp_two_length(uint32_t x)
{
    return ((x - RESP_TWO_DIGITS) * 0xa01) >> 16 & 0xff;
}

/* Reads one argument at q. Returns the byte behind it, which may lie beyond `end` (by less than 128): the caller looks before it takes
 * the request. NULL: look closer. */
static inline __attribute__((always_inline)) const uint8_t *
resp_arg(const uint8_t *q, const uint8_t *end, struct span *ret)
{
    if (unlikely_(end - q < RESP_ARG_MIN))
        return NULL;
    uint32_t x = resp_load32(q);
    if (likely_(resp_two_digits(x))) {
        size_t n = resp_two_length(x) + 10;
        ret->p = q + 5;
        ret->n = n;
        return q + 7 + n;
    }
    uint32_t one = x - ('$' | '0' << 8 | '\r' << 16 | (uint32_t)'\n' << 24);
    one = one >> 8 | one << 24;
    if (likely_(one <= 9)) {
        ret->p = q + 4;
        ret->n = one;
        return q + 6 + one;
    }
    return resp_arg_longer(q, end, ret);
}
