/* checksum: the one's complement sum of RFC 1071, 64 bits at a time.
 *
 * Called for every TCP segment in and out when the port has no checksum offload. A 64-bit one's
 * complement sum folds to the 16-bit one because 2^16-1 divides 2^64-1. On x86-64 the carry chain is
 * written out (one instruction per 8 bytes); sanitized builds take the C loop, whose loads they see. */
#include "dataplane/net/checksum.h"

static inline uint64_t add_carry(uint64_t sum, uint64_t v)
{
    sum += v;
    return sum + (sum < v);
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t add_64_bytes(const uint8_t *p, uint64_t sum)
{
#if defined(__x86_64__) && !defined(BAREWIRE_SANITIZE)
    __asm__("addq 0(%1), %0\n\t"
            "adcq 8(%1), %0\n\t"
            "adcq 16(%1), %0\n\t"
            "adcq 24(%1), %0\n\t"
            "adcq 32(%1), %0\n\t"
            "adcq 40(%1), %0\n\t"
            "adcq 48(%1), %0\n\t"
            "adcq 56(%1), %0\n\t"
            "adcq $0, %0"
            : "+r"(sum)
            : "r"(p), "m"(*(const uint8_t(*)[64])p)
            : "cc");
#else
    for (int i = 0; i < 8; i++)
        sum = add_carry(sum, load64(p + 8 * i));
#endif
    return sum;
}

uint64_t csum_add(const void *data, size_t n, uint64_t sum)
{
    const uint8_t *p = data;
    for (; n >= 64; n -= 64, p += 64)
        sum = add_64_bytes(p, sum);
    for (; n >= 8; n -= 8, p += 8)
        sum = add_carry(sum, load64(p));
    sum = (sum >> 32) + (uint32_t)sum;
    if (n & 4) {
        uint32_t v;
        memcpy(&v, p, sizeof(v));
        sum += v;
        p += 4;
    }
    if (n & 2) {
        uint16_t v;
        memcpy(&v, p, sizeof(v));
        sum += v;
        p += 2;
    }
    if (n & 1)
        sum += *p; /* padded with a zero byte behind it */
    return sum;
}
