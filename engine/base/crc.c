/* Checksums and the cluster slot of a key.
 *
 * Where in the flow: key_slot runs once for each key when there is more than one shard: eight bytes a step where the CPU
 * multiplies without carry, four by tables elsewhere. crc32c guards link records and the journal: three times eight bytes a step
 * there, eight elsewhere. Pure functions, any thread. */
#include "engine/base/crc.h"

#include <stdbool.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/crc16_table.h"
#include "engine/base/key_slot_inline.h"
#include "engine/base/limits.h"

#ifdef __x86_64__
#include <wmmintrin.h>
#endif

#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

uint16_t crc16(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint16_t crc = 0;
    for (; n >= 4; n -= 4, p += 4) {
        crc = (uint16_t)(crc16_table[3][p[0] ^ (crc >> 8)] ^ crc16_table[2][p[1] ^ (crc & 0xff)] ^
                         crc16_table[1][p[2]] ^ crc16_table[0][p[3]]);
    }
    for (; n; n--)
        crc = (uint16_t)(crc << 8) ^ crc16_table[0][(crc >> 8) ^ *p++];
    return crc;
}

#ifdef __x86_64__
static bool has_clmul;
#endif

#ifdef __SSE4_2__
/* A chain of the instruction takes three cycles for eight bytes, and three chains take no longer than one: a run is cut into three parts of as many words.
 * What the sum of a part is worth at the run's end is its product with x^(8 n), n bytes further on. The product of two reflected words of 32 bits is one x
 * short, and the step of the run's last word, which takes both products in, is worth x^32 of it: hence x^(8 n - 33), by n in words. */
#define PART_WORDS 128
#define PARTS_FROM 128 /* bytes; shorter runs are not worth it */

static uint32_t move_by_words[2 * PART_WORDS + 1];

static void build_moves(void)
{
    uint32_t c = 1; /* x^31, reflected */
    for (unsigned words = 1; words <= 2 * PART_WORDS; words++) {
        move_by_words[words] = c;
        for (int bit = 0; bit < 64; bit++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
    }
}

static inline uint64_t word_at(const uint8_t *p, size_t index)
{
    uint64_t word;
    memcpy(&word, p + 8 * index, 8);
    return word;
}

/* Three parts of `words` words each. */
__attribute__((target("sse4.2,pclmul"))) static uint64_t
crc32c_parts(uint64_t crc, const uint8_t *p, size_t words)
{
    const uint8_t *q = p + 8 * words, *r = q + 8 * words;
    uint64_t a = crc, b = 0, c = 0;
    size_t last = words - 1;
    for (size_t i = 0; i < last; i++) {
        a = _mm_crc32_u64(a, word_at(p, i));
        b = _mm_crc32_u64(b, word_at(q, i));
        c = _mm_crc32_u64(c, word_at(r, i));
    }
    a = _mm_crc32_u64(a, word_at(p, last));
    b = _mm_crc32_u64(b, word_at(q, last));
    __m128i move_a = _mm_cvtsi64_si128(move_by_words[2 * words]),
            move_b = _mm_cvtsi64_si128(move_by_words[words]);
    __m128i moved = _mm_xor_si128(_mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)a), move_a, 0),
                                  _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)b), move_b, 0));
    return _mm_crc32_u64(c, word_at(r, last) ^ (uint64_t)_mm_cvtsi128_si64(moved));
}

uint32_t crc32c(uint32_t seed, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint64_t crc = (uint32_t)~seed;
    while (n >= PARTS_FROM && has_clmul) {
        size_t words = n / 24 < PART_WORDS ? n / 24 : PART_WORDS;
        crc = crc32c_parts(crc, p, words);
        p += 24 * words;
        n -= 24 * words;
    }
    for (; n >= 8; n -= 8, p += 8)
        crc = _mm_crc32_u64(crc, word_at(p, 0));
    for (; n; n--)
        crc = _mm_crc32_u8((uint32_t)crc, *p++);
    return ~(uint32_t)crc;
}
#else
uint32_t crc32c(uint32_t seed, const void *data, size_t n)
{
    /* Reflected polynomial 0x82f63b78, a nibble at a time: only for CPUs without the instruction. */
    static const uint32_t nibble[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const uint8_t *p = data;
    uint32_t crc = ~seed;
    for (; n; n--) {
        crc ^= *p++;
        crc = (crc >> 4) ^ nibble[crc & 15];
        crc = (crc >> 4) ^ nibble[crc & 15];
    }
    return ~crc;
}
#endif

/* Only what stands between the first '{' and the first '}' after it is hashed, if that is not empty: keys
 * with the same tag share a slot. */
static uint16_t slot_by_table(const uint8_t *key, size_t n)
{
    const uint8_t *open = memchr(key, '{', n);
    if (open) {
        const uint8_t *tag = open + 1;
        const uint8_t *close = memchr(tag, '}', n - (size_t)(tag - key));
        if (close && close != tag)
            return crc16(tag, (size_t)(close - tag)) & (LIMIT_CLUSTER_SLOTS - 1);
    }
    return crc16(key, n) & (LIMIT_CLUSTER_SLOTS - 1);
}

#ifdef __x86_64__
/* Up to seven bytes as a number; zeros in front of a message do not change its sum. */
static inline uint64_t load_short(const uint8_t *p, size_t n)
{
    if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        return (uint64_t)__builtin_bswap32(a) << (8 * (n - 4)) | __builtin_bswap32(b);
    }
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

/* Has one of its bytes an opening brace? May say so of one that has none. */
static inline uint64_t may_open(uint64_t word)
{
    uint64_t x = word ^ 0x7b7b7b7b7b7b7b7bull;
    return (x - 0x0101010101010101ull) & ~x & 0x8080808080808080ull;
}

KEY_SLOT_CLMUL static uint16_t slot_by_words(const uint8_t *key, size_t n)
{
    const uint8_t *p = key, *end = key + n;
    uint64_t crc = 0, open = 0;
    if (likely_(n - 9 <= 7)) {
        uint32_t slot = key_slot_short(key, n);
        return likely_(slot != KEY_SLOT_NONE) ? (uint16_t)slot : slot_by_table(key, n);
    }
    if (n & 7) {
        crc = load_short(p, n & 7);
        open = may_open(crc);
        crc = crc16_word(crc);
        p += n & 7;
    }
    for (; p != end; p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        word = __builtin_bswap64(word);
        open |= may_open(word);
        crc = crc16_word(word ^ crc << 48);
    }
    if (unlikely_(open != 0))
        return slot_by_table(key, n);
    return (uint16_t)(crc & (LIMIT_CLUSTER_SLOTS - 1));
}

__attribute__((constructor)) static void look_for_clmul(void)
{
#ifdef __SSE4_2__
    build_moves();
#endif
    __builtin_cpu_init();
    has_clmul = __builtin_cpu_supports("pclmul");
}
#endif

uint16_t key_slot(const void *key, size_t n)
{
#ifdef __x86_64__
    if (likely_(has_clmul))
        return slot_by_words(key, n);
#endif
    return slot_by_table(key, n);
}
