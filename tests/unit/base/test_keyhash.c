/* key_hash: reads its key and no byte more, spreads, and depends on the secret. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/keyhash.h"
#include "tests/unit/unit.h"

static const struct siphash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};

static void test_reads_only_its_bytes(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *m = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(m != MAP_FAILED);
    assert_int_equal(mprotect(m + page, page, PROT_READ | PROT_WRITE), 0);
    uint8_t copy[300];
    for (size_t i = 0; i < sizeof(copy); i++)
        copy[i] = (uint8_t)(i * 37);
    for (size_t n = 0; n <= 257; n++) {
        memcpy(m + page, copy, n);
        uint64_t low = key_hash(&key, m + page, n);
        memcpy(m + 2 * page - n, copy, n);
        assert_true(low == key_hash(&key, m + 2 * page - n, n));
    }
    munmap(m, 3 * page);
}

/* Each bit of the key flips each bit of the hash about every second time. */
static void test_every_bit_reaches_every_bit(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 48; n++) {
        int flips[64] = {0}, trials = 0;
        for (int r = 0; r < 64; r++) {
            uint8_t m[48];
            for (size_t i = 0; i < n; i++)
                m[i] = (uint8_t)((size_t)r * 101 + i * 29 + n);
            uint64_t h = key_hash(&key, m, n);
            for (size_t bit = 0; bit < n * 8; bit++, trials++) {
                m[bit / 8] ^= (uint8_t)(1 << bit % 8);
                uint64_t d = h ^ key_hash(&key, m, n);
                m[bit / 8] ^= (uint8_t)(1 << bit % 8);
                for (int b = 0; b < 64; b++)
                    flips[b] += (int)(d >> b & 1);
            }
        }
        for (int b = 0; b < 64; b++)
            assert_true(flips[b] > trials * 35 / 100 && flips[b] < trials * 65 / 100);
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_similar_keys_do_not_collide(void **state)
{
    (void)state;
    size_t count = 400000;
    uint64_t *h = malloc(count * sizeof(*h));
    for (size_t i = 0; i < count; i++) {
        char text[40];
        int n = i % 2 ? snprintf(text, sizeof(text), "key:%012zu", i)
                      : snprintf(text, sizeof(text), "%zu", i);
        h[i] = key_hash(&key, text, (size_t)n);
    }
    qsort(h, count, sizeof(*h), by_value);
    for (size_t i = 1; i < count; i++)
        assert_true(h[i] != h[i - 1]);
    free(h);
}

static void test_length_and_secret_matter(void **state)
{
    (void)state;
    uint8_t zeros[64] = {0};
    struct siphash_key other = {key.k0, key.k1 ^ 1};
    for (size_t n = 0; n < 64; n++) {
        assert_true(key_hash(&key, zeros, n) != key_hash(&key, zeros, n + 1));
        assert_true(key_hash(&key, zeros, n) != key_hash(&other, zeros, n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_only_its_bytes),
        cmocka_unit_test(test_every_bit_reaches_every_bit),
        cmocka_unit_test(test_similar_keys_do_not_collide),
        cmocka_unit_test(test_length_and_secret_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
