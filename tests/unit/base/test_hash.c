/* SipHash and checksums: published vectors, and independent slow versions. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/crc.h"
#include "engine/base/crc16_table.h"
#include "engine/base/siphash.h"
#include "tests/unit/unit.h"

/* As the paper writes it: bytes into words one at a time. */
static uint64_t siphash_slow(const struct siphash_key *k, const uint8_t *p, size_t n, int c, int d)
{
    uint64_t v[4] = {k->k0 ^ 0x736f6d6570736575u, k->k1 ^ 0x646f72616e646f6du,
                     k->k0 ^ 0x6c7967656e657261u, k->k1 ^ 0x7465646279746573u};
    for (size_t word = 0; word <= n / 8 + 1; word++) {
        bool finish = word == n / 8 + 1;
        uint64_t m = 0;
        for (size_t i = 0; i < 8 && !finish; i++) {
            size_t at = word * 8 + i;
            uint64_t byte = at < n ? p[at] : i == 7 ? n & 0xff : 0;
            m |= byte << (8 * i);
        }
        v[3] ^= m;
        v[2] ^= finish ? 0xff : 0;
        for (int r = 0; r < (finish ? d : c); r++) {
            static const int turn[4][4] = {
                {0, 1, 13, 32}, {2, 3, 16, 0}, {0, 3, 21, 0}, {2, 1, 17, 32}};
            for (int s = 0; s < 4; s++) {
                uint64_t *a = &v[turn[s][0]], *b = &v[turn[s][1]];
                int by = turn[s][2], then = turn[s][3];
                *a += *b;
                *b = (*b << by | *b >> (64 - by)) ^ *a;
                if (then)
                    *a = *a << then | *a >> (64 - then);
            }
        }
        v[0] ^= m;
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void siphash_vectors(void **state)
{
    /* Key 00..0f, message 00..(n-1): the reference implementation's table, and the paper's example (n = 15). */
    static const struct {
        size_t n;
        uint64_t hash;
    } vectors[] = {
        {0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd}, {2, 0x0d6c8009d9a94f5a},
        {3, 0x85676696d7fb7e2d}, {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5},
    };
    const struct siphash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    uint8_t message[64];
    for (size_t i = 0; i < sizeof(message); i++)
        message[i] = (uint8_t)i;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        assert_true(siphash_slow(&key, message, vectors[i].n, 2, 4) == vectors[i].hash);
        assert_true(siphash24(&key, message, vectors[i].n) == vectors[i].hash);
    }
}

static void siphash_of_every_length(void **state)
{
    const struct siphash_key key = {0x123456789abcdef0, 0xfedcba9876543210};
    for (size_t n = 0; n < 300; n++) {
        /* Exact size: the tail's overlapping loads must stay inside. */
        uint8_t *m = malloc(n + !n);
        for (size_t i = 0; i < n; i++)
            m[i] = (uint8_t)(i * 167 + n);
        assert_true(siphash13(&key, m, n) == siphash_slow(&key, m, n, 1, 3));
        assert_true(siphash24(&key, m, n) == siphash_slow(&key, m, n, 2, 4));
        free(m);
    }
}

static uint16_t crc16_slow(const uint8_t *p, size_t n)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < n; i++) {
        crc ^= (uint16_t)(p[i] << 8);
        for (int b = 0; b < 8; b++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

static uint32_t crc32c_slow(const uint8_t *p, size_t n)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int b = 0; b < 8; b++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

static void checksums(void **state)
{
    assert_int_equal(crc16("123456789", 9), 0x31c3);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
    for (size_t n = 0; n < 300; n++) {
        uint8_t *m = malloc(n + !n);
        for (size_t i = 0; i < n; i++)
            m[i] = (uint8_t)(i * 59 + n * 3);
        assert_int_equal(crc16(m, n), crc16_slow(m, n));
        assert_int_equal(crc32c(0, m, n), crc32c_slow(m, n));
        free(m);
    }
}

/* Cut into three parts where it is long, and into several runs of parts where it is longer. */
static void crc32c_of_long_runs(void **state)
{
    enum { BYTES = 10000 };
    uint8_t *m = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        m[i] = (uint8_t)(i * 59 + (i >> 8) * 7);
    for (size_t n = 0; n < BYTES; n += n < 700 ? 1 : 83) {
        const uint8_t *p = m + BYTES - n;
        uint32_t slow = crc32c_slow(p, n);
        assert_int_equal(crc32c(0, p, n), slow);
        assert_int_equal(crc32c(crc32c(0, p, n / 3), p + n / 3, n - n / 3), slow);
    }
    free(m);
}

static void crc16_table_is_the_polynomial(void **state)
{
    for (unsigned k = 0; k < 4; k++) {
        for (unsigned b = 0; b < 256; b++) {
            uint8_t m[4] = {(uint8_t)b};
            assert_int_equal(crc16_table[k][b], crc16_slow(m, k + 1));
        }
    }
}

/* As CLUSTER KEYSLOT of redis-server 7.0.15 answers. */
static void slots(void **state)
{
    static const struct {
        const char *key;
        uint16_t slot;
    } facts[] = {
        {"foo", 12182},
        {"bar", 5061},
        {"", 0},
        {"{user1000}.following", 3443},
        {"foo{}{bar}", 8363},
        {"foo{{bar}}zap", 4015},
        {"foo{bar}{zap}", 5061},
        {"{", 4092},
        {"}{", 12793},
        {"{}", 15257},
        {"a{b", 13340},
        {"a}b{c}", 7365},
        {"key:000000000001", 8924},
        {"{a", 10276},

    };
    for (size_t i = 0; i < ARRAY_LEN(facts); i++)
        assert_int_equal(key_slot(facts[i].key, strlen(facts[i].key)), facts[i].slot);
    assert_int_equal(key_slot("{user1000}.following", 20), key_slot("{user1000}.followers", 20));
}

/* Whichever way sums it: keys of every length, at the end of their block, with a tag at every place or none. */
static void slots_of_every_length(void **state)
{
    for (size_t n = 0; n < 100; n++) {
        uint8_t *m = malloc(n + !n);
        for (size_t i = 0; i < n; i++)
            m[i] = (uint8_t)(i * 59 + n * 3) | 0x80;
        assert_int_equal(key_slot(m, n), crc16_slow(m, n) & 16383);
        for (size_t at = 0; at + 3 <= n; at++) {
            uint8_t was[3];
            memcpy(was, m + at, 3);
            memcpy(m + at, "{x}", 3);
            assert_int_equal(key_slot(m, n), crc16_slow((const uint8_t *)"x", 1) & 16383);
            memcpy(m + at, was, 3);
        }
        free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_vectors),
        cmocka_unit_test(siphash_of_every_length),
        cmocka_unit_test(checksums),
        cmocka_unit_test(crc32c_of_long_runs),
        cmocka_unit_test(crc16_table_is_the_polynomial),
        cmocka_unit_test(slots),
        cmocka_unit_test(slots_of_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
