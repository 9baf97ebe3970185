/* SipHash-1-3 (Aumasson, Bernstein 2012; the reduced-round variant) with a 128-bit key: hashes of
 * keys that peers choose. The key is drawn at start, so nobody can aim at a bucket. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t k0, k1;
};

uint64_t siphash13(const struct siphash_key *key, const void *p, size_t n);
/* SipHash-2-4, for ISN generation (RFC 6528). */
uint64_t siphash24(const struct siphash_key *key, const void *p, size_t n);
