/* key_hash: the hash of keys that peers choose, for dicts that live and die with the process.
 *
 * On CPUs with AES instructions: AES rounds under a 128-bit secret drawn at start (the construction that language runtimes use for
 * their maps), about 30 instructions for a short key; elsewhere SipHash-1-3. Never stored, never sent: the two may differ.
 * Nobody who does not know the secret can aim at a bucket; it is no message authentication code. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/siphash.h"

typedef uint64_t key_hash_fn(const struct siphash_key *key, const void *p, size_t n);

/* Chosen once, before main: by a constructor of priority KEY_HASH_CHOSEN - 1, so that later ones may ask. */
extern key_hash_fn *key_hash;
extern bool key_hash_is_aes; /* it is key_hash_aes_short and what goes on from there */
#define KEY_HASH_CHOSEN 201

#if defined(__x86_64__)
#include <smmintrin.h>
#include <string.h>
#include <wmmintrin.h>

#define KEY_HASH_AES       \
    __attribute__((target( \
        "aes,sse4.1,pclmul"))) /* of every CPU with the first: for key_slot_inline.h beside it */

/* Up to 16 bytes as one block. */
KEY_HASH_AES static inline __m128i key_hash_block(const uint8_t *p, size_t n)
{
    uint64_t lo = 0, hi = 0;
    if (__builtin_expect(n >= 8, 1)) {
        memcpy(&lo, p, 8);
        memcpy(&hi, p + n - 8, 8);
    } else if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        lo = a;
        hi = b;
    } else if (n) {
        lo = p[0] | (uint64_t)p[n / 2] << 8 | (uint64_t)p[n - 1] << 16;
    }
    return _mm_set_epi64x((long long)hi, (long long)lo);
}

/* What key_hash points at on CPUs with AES: keys of up to 16 bytes. */
KEY_HASH_AES static inline uint64_t key_hash_aes_short(const struct siphash_key *key, const void *p,
                                                       size_t n)
{
    __m128i secret = _mm_loadu_si128((const __m128i *)(const void *)key);
    __m128i state =
        _mm_xor_si128(secret, _mm_set_epi64x((long long)n, (long long)(n * 0x9e3779b97f4a7c15ull)));
    state = _mm_xor_si128(state, key_hash_block(p, n));
    state = _mm_aesenc_si128(state, secret);
    state = _mm_aesenc_si128(state, secret);
    state = _mm_aesenc_si128(state, secret);
    return (uint64_t)_mm_cvtsi128_si64(state) ^ (uint64_t)_mm_extract_epi64(state, 1);
}
#endif
