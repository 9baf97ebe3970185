/* Internet checksum (RFC 1071): sums are kept as native-order partial sums in 64 bits and folded
 * once. Little-endian machines only, as engine/base/be.h. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Adds n bytes at p to a partial sum; the result is below 2^34, so a few hundred 32-bit words may be
 * added to it by plain addition. p must be at an even offset of the data that is summed. */
uint64_t csum_add(const void *p, size_t n, uint64_t sum);

/* Folds a partial sum to 16 bits (not complemented). */
static inline uint16_t csum_fold(uint64_t sum)
{
    sum = (sum >> 32) + (uint32_t)sum;
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)((sum >> 16) + (sum & 0xffff));
}

/* A whole checksum, ready to be stored in the header. */
static inline uint16_t csum_finish(uint64_t sum)
{
    return (uint16_t)~csum_fold(sum);
}

/* The 20 bytes of an IPv4 header without options. */
static inline uint64_t csum_ip4_20(const void *p)
{
    uint32_t w[5];
    memcpy(w, p, sizeof(w));
    return (uint64_t)w[0] + w[1] + w[2] + w[3] + w[4];
}
