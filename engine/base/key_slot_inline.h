/* The cluster slot of a short key by carry-less multiplication, for who has CPUs with it (target "pclmul") and wants no call: crc.h's key_slot
 * without its other cases. */
#pragma once

#if defined(__x86_64__)
#include <smmintrin.h>
#include <stdint.h>
#include <string.h>
#include <wmmintrin.h>

#include "engine/base/limits.h"

#define KEY_SLOT_CLMUL __attribute__((target("pclmul")))
#define KEY_SLOT_NONE  UINT32_MAX

/* Eight bytes a step (Barrett): with P = x^16 + x^12 + x^5 + 1 and a word W of 64 bits, the quotient of
 * W x^16 by P is the upper half of W times floor(x^80 / P), and what is left are the lower 16 bits of the quotient times P. */
#define CRC16_MU       0x11303471a041b343ll /* floor(x^80 / P) without its x^64 */

KEY_SLOT_CLMUL static inline uint64_t crc16_word(uint64_t word)
{
    __m128i w = _mm_cvtsi64_si128((long long)word);
    __m128i product = _mm_clmulepi64_si128(w, _mm_cvtsi64_si128(CRC16_MU), 0);
    uint64_t q = word ^ (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi64(product, product));
    return q ^ q << 5 ^ q << 12; /* the lower 16 bits are meant */
}

/* Slot of a key of 9 to 16 bytes, the most usual lengths, in two words that may overlap; KEY_SLOT_NONE where it has an opening brace. */
KEY_SLOT_CLMUL static inline uint32_t key_slot_short(const uint8_t *key, size_t n)
{
    uint64_t a, b;
    memcpy(&a, key, 8);
    memcpy(&b, key + n - 8, 8);
    __m128i both = _mm_set_epi64x((long long)a, (long long)b);
    if (__builtin_expect(_mm_movemask_epi8(_mm_cmpeq_epi8(both, _mm_set1_epi8('{'))) != 0, 0))
        return KEY_SLOT_NONE;
    a = __builtin_bswap64(a) >> (128 - 8 * n);
    return crc16_word(__builtin_bswap64(b) ^ crc16_word(a) << 48) & (LIMIT_CLUSTER_SLOTS - 1);
}
#endif
