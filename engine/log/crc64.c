/* crc64.c: the checksum of RDB files: CRC-64/Jones, reflected polynomial 0x95ac9329ac4bc9b5, start 0. Eight bytes a step by tables; long runs, where the CPU
 * multiplies without carries, 64 bytes a step.
 *
 *   block of 128 bits: byte 0 first, its lowest bit the highest power, x^127
 *   a block n bits further on is worth block * x^n mod P:  its first half times x^(n + 63), its second times x^(n - 1), one x less because the
 *   product of two reversed words lies one place too far
 *
 * What is left in the end, 16 bytes, goes through the tables. Pure functions, any thread. */
#include "engine/log/rdb.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define POLYNOMIAL 0x95ac9329ac4bc9b5ull
#define FOLD_FROM  256 /* bytes; shorter runs are not worth it */

static uint64_t table[8][256];
/* By how many bits a block is moved: 512, 128. */
static uint64_t fold[2][2];
static bool folds;

/* x^n mod P, reflected. */
static uint64_t power_of_x(unsigned n)
{
    uint64_t c = 1ull << 63;
    for (; n; n--)
        c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
    return c;
}

__attribute__((constructor)) static void build(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
        table[0][i] = c;
    }
    for (unsigned i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            table[k][i] = table[0][table[k - 1][i] & 0xff] ^ table[k - 1][i] >> 8;
    for (unsigned i = 0; i < 2; i++) {
        fold[i][0] = power_of_x((i ? 128 : 512) + 63);
        fold[i][1] = power_of_x((i ? 128 : 512) - 1);
    }
#if defined(__x86_64__)
    folds = __builtin_cpu_supports("pclmul");
#endif
}

static uint64_t by_tables(uint64_t crc, const uint8_t *p, size_t n)
{
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        w ^= crc;
        crc = 0;
        for (int k = 0; k < 8; k++)
            crc ^= table[7 - k][w >> (8 * k) & 0xff];
    }
    for (; n; n--, p++)
        crc = table[0][(crc ^ *p) & 0xff] ^ crc >> 8;
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("pclmul,sse4.1"))) static __m128i move_block(__m128i block,
                                                                   const uint64_t *by)
{
    __m128i k = _mm_loadu_si128((const __m128i *)(const void *)by);
    return _mm_xor_si128(_mm_clmulepi64_si128(block, k, 0x00),
                         _mm_clmulepi64_si128(block, k, 0x11));
}

/* n: at least 64. Returns how many bytes are in *crc now. */
__attribute__((target("pclmul,sse4.1"))) static size_t by_folding(uint64_t *crc, const uint8_t *p,
                                                                  size_t n)
{
    __m128i x[4];
    const uint8_t *at = p;
    for (int i = 0; i < 4; i++)
        x[i] = _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * i));
    x[0] = _mm_xor_si128(x[0], _mm_cvtsi64_si128((long long)*crc));
    for (at += 64, n -= 64; n >= 64; at += 64, n -= 64)
        for (int i = 0; i < 4; i++)
            x[i] = _mm_xor_si128(move_block(x[i], fold[0]),
                                 _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * i)));
    for (int i = 1; i < 4; i++)
        x[i] = _mm_xor_si128(move_block(x[i - 1], fold[1]), x[i]);
    uint8_t rest[16];
    _mm_storeu_si128((__m128i *)(void *)rest, x[3]);
    *crc = by_tables(0, rest, sizeof rest);
    return (size_t)(at - p);
}
#endif

uint64_t crc64(uint64_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
#if defined(__x86_64__)
    if (n >= FOLD_FROM && folds) {
        size_t done = by_folding(&crc, p, n);
        p += done;
        n -= done;
    }
#endif
    return by_tables(crc, p, n);
}
