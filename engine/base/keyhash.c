/* The keyed hash of short strings (keyhash.h).
 *
 *   state = secret ^ (length, length * odd)      the length keeps overlapping loads apart
 *   n <= 16   one block: two loads that overlap in the middle
 *   n > 16    two rounds a block, the last block ends at the last byte
 *   then three rounds: every output bit depends on every input bit after two
 *
 * A round of AES is a permutation of 128 bits, so short keys of one length never collide before the fold to 64. */
#include "engine/base/keyhash.h"

#if defined(__x86_64__)
KEY_HASH_AES static uint64_t hash_aes(const struct siphash_key *key, const void *bytes, size_t n)
{
    if (n <= 16)
        return key_hash_aes_short(key, bytes, n);
    const uint8_t *p = bytes, *last = p + n - 16;
    __m128i secret = _mm_loadu_si128((const __m128i *)(const void *)key);
    __m128i state =
        _mm_xor_si128(secret, _mm_set_epi64x((long long)n, (long long)(n * 0x9e3779b97f4a7c15ull)));
    for (; p < last; p += 16) {
        state = _mm_xor_si128(state, _mm_loadu_si128((const __m128i *)p));
        state = _mm_aesenc_si128(_mm_aesenc_si128(state, secret), secret);
    }
    state = _mm_xor_si128(state, _mm_loadu_si128((const __m128i *)last));
    state = _mm_aesenc_si128(state, secret);
    state = _mm_aesenc_si128(state, secret);
    state = _mm_aesenc_si128(state, secret);
    return (uint64_t)_mm_cvtsi128_si64(state) ^ (uint64_t)_mm_extract_epi64(state, 1);
}
#endif

key_hash_fn *key_hash = siphash13;
bool key_hash_is_aes;

__attribute__((constructor(KEY_HASH_CHOSEN - 1))) static void choose(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("aes") && __builtin_cpu_supports("sse4.1") &&
        __builtin_cpu_supports("pclmul"))
        key_hash = hash_aes;
    key_hash_is_aes = key_hash == hash_aes;
#endif
}
