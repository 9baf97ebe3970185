/* The keyed hash of short strings (keyhash.h).
 *
 *   state = secret ^ (length, length * odd)      the length keeps overlapping loads apart
 *   n <= 16   one block: two loads that overlap in the middle
 *   n > 16    two rounds a block, the last block ends at the last byte
 *   then three rounds: every output bit depends on every input bit after two
 *
 * A round of AES is a permutation of 128 bits, so short keys of one length never collide before the fold to 64. */
#include "engine/base/keyhash.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

#define AES_TARGET __attribute__((target("aes,sse4.1")))

AES_TARGET static inline __m128i short_block(const uint8_t *p, size_t n)
{
    uint64_t lo = 0, hi = 0;
    if (n >= 8) {
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

AES_TARGET static uint64_t hash_aes(const struct siphash_key *key, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    __m128i secret = _mm_set_epi64x((long long)key->k1, (long long)key->k0);
    __m128i state =
        _mm_xor_si128(secret, _mm_set_epi64x((long long)n, (long long)(n * 0x9e3779b97f4a7c15ull)));
    if (n <= 16) {
        state = _mm_xor_si128(state, short_block(p, n));
    } else {
        const uint8_t *last = p + n - 16;
        for (; p < last; p += 16) {
            state = _mm_xor_si128(state, _mm_loadu_si128((const __m128i *)p));
            state = _mm_aesenc_si128(_mm_aesenc_si128(state, secret), secret);
        }
        state = _mm_xor_si128(state, _mm_loadu_si128((const __m128i *)last));
    }
    state = _mm_aesenc_si128(state, secret);
    state = _mm_aesenc_si128(state, secret);
    state = _mm_aesenc_si128(state, secret);
    return (uint64_t)_mm_cvtsi128_si64(state) ^ (uint64_t)_mm_extract_epi64(state, 1);
}
#endif

key_hash_fn *key_hash = siphash13;

__attribute__((constructor)) static void choose(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("aes") && __builtin_cpu_supports("sse4.1"))
        key_hash = hash_aes;
#endif
}
