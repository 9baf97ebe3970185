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

#define CSUM_SHORT 136

/* The bytes that the addition reads, for the compiler: of a length that gcc leaves open and clang wants to know. */
#ifdef __clang__
#define CSUM_OPERAND(p) (*(const struct { uint8_t byte[CSUM_SHORT]; } *)(const void *)(p))
#else
#define CSUM_OPERAND(p) (*(const uint8_t(*)[])(p))
#endif

/* csum_add for 1 to CSUM_SHORT bytes: whole words, and the last eight bytes less those that are not ours
 * or summed with the words. One jump into a chain whose instructions have four bytes each: no test for
 * each power of two, which costs more than the adding. */
static inline uint64_t csum_short(const uint8_t *p, size_t n, uint64_t sum)
{
#if defined(__x86_64__) && !defined(BAREWIRE_SANITIZE)
    uint64_t tail, words, at;
    const uint8_t *end = p;
    __asm__("movq -8(%[p],%[n]), %[t]\n\t"
            "leaq -1(%[n]), %[w]\n\t"
            "shll $3, %k[n]\n\t"
            "negl %k[n]\n\t"
            "shrq %%cl, %[t]\n\t" /* by 64 - 8 * (n % 8), modulo 64 */
            "andq $-8, %[w]\n\t"
            "addq %[w], %[p]\n\t"
            "leaq 1f(%%rip), %[at]\n\t"
            "shrq $1, %[w]\n\t"
            "subq %[w], %[at]\n\t" /* never borrows: the carry is clear */
            "notrack jmp *%[at]\n\t"
            "adcq -128(%[p]), %[s]\n\t"
            "adcq -120(%[p]), %[s]\n\t"
            "adcq -112(%[p]), %[s]\n\t"
            "adcq -104(%[p]), %[s]\n\t"
            "adcq -96(%[p]), %[s]\n\t"
            "adcq -88(%[p]), %[s]\n\t"
            "adcq -80(%[p]), %[s]\n\t"
            "adcq -72(%[p]), %[s]\n\t"
            "adcq -64(%[p]), %[s]\n\t"
            "adcq -56(%[p]), %[s]\n\t"
            "adcq -48(%[p]), %[s]\n\t"
            "adcq -40(%[p]), %[s]\n\t"
            "adcq -32(%[p]), %[s]\n\t"
            "adcq -24(%[p]), %[s]\n\t"
            "adcq -16(%[p]), %[s]\n\t"
            "adcq -8(%[p]), %[s]\n"
            "1:\n\t"
            "adcq %[t], %[s]\n\t"
            "adcq $0, %[s]"
            /* p is not rsp or r12, whose encodings are longer */
            : [s] "+r"(sum), [p] "+S"(end), [n] "+c"(n), [t] "=&r"(tail), [w] "=&r"(words),
              [at] "=&r"(at)
            : "m"(CSUM_OPERAND(p))
            : "cc");
    return sum;
#else
    uint64_t tail = csum_load64(p + n - 8) >> ((0 - 8 * n) & 63);
    for (; n > 8; n -= 8, p += 8)
        sum = csum_carry(sum, csum_load64(p));
    return csum_carry(sum, tail);
#endif
}

/* Adds n bytes at p to a partial sum; p must be at an even offset of the data that is summed. Either
 * n is at least 8 or the 8 bytes before p are readable too (packets: a header stands there). More may
 * be added to the result with csum_carry only. */
static inline uint64_t csum_add(const void *data, size_t n, uint64_t sum)
{
    const uint8_t *p = data;
    for (; n > CSUM_SHORT; n -= 128, p += 128)
        sum = csum_64_bytes(p + 64, csum_64_bytes(p, sum));
    return n ? csum_short(p, n, sum) : sum;
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
 * 2^16-1; it is none if the product with the inverse of 2^16-1 modulo 2^64 is as small as a quotient
 * can be (gcc divides here). A sum of data that is not all zero is never 0. */
static inline bool csum_good(uint64_t sum)
{
    const uint64_t largest = UINT64_MAX / 0xffff, inverse = 0 - largest;
    return sum * inverse <= largest;
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
