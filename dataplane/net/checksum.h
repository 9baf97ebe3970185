/* Internet checksum (RFC 1071), 64 bits at a time: sums are kept as native-order partial sums in 64
 * bits and folded once; a 64-bit one's complement sum folds to the 16-bit one because 2^16-1 divides
 * 2^64-1. Little-endian machines only, as engine/base/be.h. Inline: every segment passes here twice
 * when the port has no checksum offload. On x86-64 the carry chain is written out (one instruction
 * per 8 bytes); sanitized builds take the C loop, whose loads they see. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t csum_carry(uint64_t sum, uint64_t v)
{
    sum += v;
    return sum + (sum < v);
}

static inline uint64_t csum_load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t csum_64_bytes(const uint8_t *p, uint64_t sum)
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
        sum = csum_carry(sum, csum_load64(p + 8 * i));
#endif
    return sum;
}

static inline uint64_t csum_16_bytes(const uint8_t *p, uint64_t sum)
{
#if defined(__x86_64__) && !defined(BAREWIRE_SANITIZE)
    __asm__("addq 0(%1), %0\n\t"
            "adcq 8(%1), %0\n\t"
            "adcq $0, %0"
            : "+r"(sum)
            : "r"(p), "m"(*(const uint8_t(*)[16])p)
            : "cc");
#else
    sum = csum_carry(csum_carry(sum, csum_load64(p)), csum_load64(p + 8));
#endif
    return sum;
}

/* Adds n bytes at p to a partial sum; p must be at an even offset of the data that is summed. Either
 * n is at least 8 or the 8 bytes before p are readable too (packets: a header stands there). More may
 * be added to the result with csum_carry only. */
static inline uint64_t csum_add(const void *data, size_t n, uint64_t sum)
{
    const uint8_t *p = data;
    for (; n >= 128; n -= 128, p += 128)
        sum = csum_64_bytes(p + 64, csum_64_bytes(p, sum));
    if (n & 64) {
        sum = csum_64_bytes(p, sum);
        p += 64;
    }
    if (n & 32) {
        sum = csum_16_bytes(p + 16, csum_16_bytes(p, sum));
        p += 32;
    }
    if (n & 16) {
        sum = csum_16_bytes(p, sum);
        p += 16;
    }
    if (n & 8) {
        sum = csum_carry(sum, csum_load64(p));
        p += 8;
    }
    n &= 7;
    if (n) /* the last eight bytes, less those that are not ours or summed already */
        sum = csum_carry(sum, csum_load64(p + n - 8) >> (64 - 8 * n));
    return sum;
}

/* Folds a partial sum to 16 bits (not complemented). */
static inline uint16_t csum_fold(uint64_t sum)
{
    /* Adding the halves crosswise leaves their sum, end-around carry included, in the upper half. */
    sum += sum << 32 | sum >> 32;
    uint32_t w = (uint32_t)(sum >> 32);
    w += w << 16 | w >> 16;
    return (uint16_t)(w >> 16);
}

/* Does the sum over data and its checksum tell that both are whole? Folding is the remainder by
 * 2^16-1, which a multiplication tests; a sum of data that is not all zero is never 0. */
static inline bool csum_good(uint64_t sum)
{
    return sum % 0xffff == 0;
}

/* A whole checksum, ready to be stored in the header. */
static inline uint16_t csum_finish(uint64_t sum)
{
    return (uint16_t)~csum_fold(sum);
}

/* The 20 bytes of an IPv4 header without options. */
static inline uint64_t csum_ip4_20(const void *p)
{
    uint32_t last;
    memcpy(&last, (const uint8_t *)p + 16, sizeof(last));
    return csum_carry(csum_carry(csum_load64(p), csum_load64((const uint8_t *)p + 8)), last);
}
