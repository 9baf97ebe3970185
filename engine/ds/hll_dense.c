/* hll_dense.c: all registers of a dense HyperLogLog at once, with AVX2 where the CPU has it.
 *
 * Four registers are the 24 bits of three bytes. The vector code spreads groups of three bytes over the four bytes of a lane, and back. */
#include <stdbool.h>
#include <string.h>

#include "engine/ds/hll.h"
#include "engine/ds/hll_internal.h"

#define GROUPS (HLL_REGISTERS / 4)

static bool scalar_only;

void hll_use_scalar(bool scalar)
{
    scalar_only = scalar;
}

static void merge_scalar(uint8_t *max, const uint8_t *regs, unsigned groups)
{
    for (unsigned i = 0; i < groups; i++, regs += 3, max += 4) {
        uint32_t t = regs[0] | (uint32_t)regs[1] << 8 | (uint32_t)regs[2] << 16;
        for (unsigned k = 0; k < 4; k++) {
            uint8_t v = t >> (6 * k) & 63;
            max[k] = max[k] > v ? max[k] : v;
        }
    }
}

static void pack_scalar(uint8_t *regs, const uint8_t *v, unsigned groups)
{
    for (unsigned i = 0; i < groups; i++, regs += 3, v += 4) {
        uint32_t t = (v[0] & 63u) | (v[1] & 63u) << 6 | (v[2] & 63u) << 12 | (v[3] & 63u) << 18;
        regs[0] = (uint8_t)t;
        regs[1] = (uint8_t)(t >> 8);
        regs[2] = (uint8_t)(t >> 16);
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Eight groups a step. The loads and stores of 16 bytes reach four bytes beyond the 24 that are used, so the last groups are done plainly. */
#define STEP          8
#define VECTOR_GROUPS (GROUPS - STEP)

__attribute__((target("avx2"))) static void merge_avx2(uint8_t *max, const uint8_t *regs)
{
    const __m256i spread = _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 0,
                                            1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    for (unsigned i = 0; i < VECTOR_GROUPS; i += STEP, regs += 24, max += 32) {
        __m256i t =
            _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)regs)),
                                    _mm_loadu_si128((const __m128i *)(regs + 12)), 1);
        t = _mm256_shuffle_epi8(t, spread);
        __m256i v = _mm256_and_si256(t, _mm256_set1_epi32(0x3f));
        v = _mm256_or_si256(v,
                            _mm256_and_si256(_mm256_slli_epi32(t, 2), _mm256_set1_epi32(0x3f00)));
        v = _mm256_or_si256(v,
                            _mm256_and_si256(_mm256_slli_epi32(t, 4), _mm256_set1_epi32(0x3f0000)));
        v = _mm256_or_si256(
            v, _mm256_and_si256(_mm256_slli_epi32(t, 6), _mm256_set1_epi32(0x3f000000)));
        __m256i old = _mm256_loadu_si256((const __m256i *)max);
        _mm256_storeu_si256((__m256i *)max, _mm256_max_epu8(old, v));
    }
    merge_scalar(max, regs, STEP);
}

__attribute__((target("avx2"))) static void pack_avx2(uint8_t *regs, const uint8_t *v)
{
    const __m256i gather = _mm256_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1,
                                            0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    for (unsigned i = 0; i < VECTOR_GROUPS; i += STEP, regs += 24, v += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)v);
        __m256i t = _mm256_and_si256(x, _mm256_set1_epi32(0x3f));
        t = _mm256_or_si256(t,
                            _mm256_srli_epi32(_mm256_and_si256(x, _mm256_set1_epi32(0x3f00)), 2));
        t = _mm256_or_si256(t,
                            _mm256_srli_epi32(_mm256_and_si256(x, _mm256_set1_epi32(0x3f0000)), 4));
        t = _mm256_or_si256(
            t, _mm256_srli_epi32(_mm256_and_si256(x, _mm256_set1_epi32(0x3f000000)), 6));
        t = _mm256_shuffle_epi8(t, gather);
        _mm_storeu_si128((__m128i *)regs, _mm256_castsi256_si128(t));
        _mm_storeu_si128((__m128i *)(regs + 12), _mm256_extracti128_si256(t, 1));
    }
    pack_scalar(regs, v, STEP);
}

static bool has_avx2(void)
{
    return !scalar_only && __builtin_cpu_supports("avx2");
}
#else
static bool has_avx2(void)
{
    return false;
}
#define merge_avx2(max, regs) merge_scalar((max), (regs), GROUPS)
#define pack_avx2(regs, v)    pack_scalar((regs), (v), GROUPS)
#endif

void dense_merge(uint8_t *max, const uint8_t *regs)
{
    if (has_avx2())
        merge_avx2(max, regs);
    else
        merge_scalar(max, regs, GROUPS);
}

void dense_pack(uint8_t *regs, const uint8_t *v)
{
    if (has_avx2())
        pack_avx2(regs, v);
    else
        pack_scalar(regs, v, GROUPS);
}
