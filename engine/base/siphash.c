/* SipHash (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012), in two strengths.
 *
 * Where in the flow: every key of every request is hashed once with the 1-3 variant; the 2-4 variant
 * draws initial sequence numbers (RFC 6528). Pure functions, any thread.
 *
 *   input:  little-endian 64-bit words, the last one padded:  [ tail bytes | 0.. | n mod 256 ]
 *
 * The tail is read with overlapping loads rather than byte by byte: most keys are not a multiple of
 * eight bytes long, and a loop with a data-dependent count costs a misprediction for each key. Keys of 8 to 23
 * bytes, the common ones, go ways of their own without a loop. */
#include "engine/base/siphash.h"

#include <string.h>

#include "engine/base/assert.h"

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

#define SIPROUND                \
    do {                        \
        v0 += v1;               \
        v1 = ROTL(v1, 13) ^ v0; \
        v0 = ROTL(v0, 32);      \
        v2 += v3;               \
        v3 = ROTL(v3, 16) ^ v2; \
        v0 += v3;               \
        v3 = ROTL(v3, 21) ^ v0; \
        v2 += v1;               \
        v1 = ROTL(v1, 17) ^ v2; \
        v2 = ROTL(v2, 32);      \
    } while (0)

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

/* The last 0..7 bytes at p as a little-endian number; `n` is the whole length: with eight bytes or more the
 * word that ends the input holds the tail in its upper bytes. */
static inline uint64_t load_tail(const uint8_t *p, size_t n)
{
    size_t rest = n & 7;
    if (rest == 0)
        return 0;
    if (n >= 8)
        return load64(p + rest - 8) >> (8 * (8 - rest));
    if (rest >= 4)
        return (uint64_t)load32(p) | (uint64_t)load32(p + rest - 4) << (8 * (rest - 4));
    return (uint64_t)p[0] | (uint64_t)p[rest / 2] << (8 * (rest / 2)) |
           (uint64_t)p[rest - 1] << (8 * (rest - 1));
}

#define ABSORB(m)                          \
    do {                                   \
        uint64_t word = (m);               \
        v3 ^= word;                        \
        for (int i = 0; i < c_rounds; i++) \
            SIPROUND;                      \
        v0 ^= word;                        \
    } while (0)

/* `words` is what is known of n: 1 or 2 for that many whole words, 0 for any number. */
static inline __attribute__((always_inline)) uint64_t siphash(const struct siphash_key *key,
                                                              const uint8_t *p, size_t n,
                                                              int c_rounds, int d_rounds, int words)
{
    uint64_t v0 = key->k0 ^ 0x736f6d6570736575ULL;
    uint64_t v1 = key->k1 ^ 0x646f72616e646f6dULL;
    uint64_t v2 = key->k0 ^ 0x6c7967656e657261ULL;
    uint64_t v3 = key->k1 ^ 0x7465646279746573ULL;

    if (words == 0)
        for (const uint8_t *end = p + (n & ~(size_t)7); p != end; p += 8)
            ABSORB(load64(p));
    if (words >= 1)
        ABSORB(load64(p));
    if (words == 2)
        ABSORB(load64(p + 8));
    ABSORB((uint64_t)n << 56 | load_tail(p + 8 * words, n));
    v2 ^= 0xff;
    SIPROUND;
    SIPROUND;
    SIPROUND;
    if (d_rounds == 4)
        SIPROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

static __attribute__((noinline)) uint64_t siphash13_any(const struct siphash_key *key,
                                                        const void *p, size_t n)
{
    return siphash(key, p, n, 1, 3, 0);
}
static __attribute__((noinline)) uint64_t siphash13_one(const struct siphash_key *key,
                                                        const void *p, size_t n)
{
    return siphash(key, p, n, 1, 3, 1);
}

uint64_t siphash13(const struct siphash_key *key, const void *p, size_t n)
{
    if (likely_(n == 16))
        return siphash(key, p, 16, 1, 3, 2);
    if (n > 16 && n < 24)
        return siphash(key, p, n, 1, 3, 2);
    return n - 8 < 8 ? siphash13_one(key, p, n) : siphash13_any(key, p, n);
}

uint64_t siphash24(const struct siphash_key *key, const void *p, size_t n)
{
    return siphash(key, p, n, 2, 4, 0);
}
