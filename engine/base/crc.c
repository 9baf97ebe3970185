/* Checksums and the cluster slot of a key.
 *
 * Where in the flow: key_slot runs once for each key when there is more than one shard, so crc16 folds four
 * bytes a step. crc32c guards link records and the journal. Pure functions, any thread. */
#include "engine/base/crc.h"

#include <string.h>

#include "engine/base/crc16_table.h"
#include "engine/base/limits.h"

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

#ifdef __SSE4_2__
uint32_t crc32c(uint32_t seed, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint64_t crc = (uint32_t)~seed;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        crc = _mm_crc32_u64(crc, word);
    }
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
uint16_t key_slot(const void *key, size_t n)
{
    const uint8_t *open = memchr(key, '{', n);
    if (open) {
        const uint8_t *tag = open + 1;
        const uint8_t *close = memchr(tag, '}', n - (size_t)(tag - (const uint8_t *)key));
        if (close && close != tag)
            return crc16(tag, (size_t)(close - tag)) & (LIMIT_CLUSTER_SLOTS - 1);
    }
    return crc16(key, n) & (LIMIT_CLUSTER_SLOTS - 1);
}
