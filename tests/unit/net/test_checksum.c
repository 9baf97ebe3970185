/* csum_add against a byte-wise sum (RFC 1071), at every length and alignment that the code branches
 * on, and the carries that a 64-bit sum could lose. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/checksum.h"
#include "tests/unit/net/check.h"

static uint16_t naive(const uint8_t *p, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += i & 1 ? (uint32_t)p[i] << 8 : p[i];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

/* 0 and 0xffff are the same number in one's complement. */
static void same(uint16_t a, uint16_t b)
{
    assert_int_equal(a == 0xffff ? 0 : a, b == 0xffff ? 0 : b);
}

static void test_all_lengths(void **state)
{
    (void)state;
    uint64_t rng = 88172645463325252ull;
    for (size_t n = 0; n <= 1600; n++) {
        for (size_t off = 0; off < 3; off++) {
            uint8_t *block = malloc(n + off + 8), *p = block + 8; /* csum_add may look back 8 */
            memset(block, 0xa5, n + off + 8);
            for (size_t i = 0; i < n; i++) {
                rng ^= rng << 13;
                rng ^= rng >> 7;
                rng ^= rng << 17;
                p[off + i] = n % 3 == 0 ? 0xff : n % 3 == 1 ? (uint8_t)rng : (uint8_t)(rng & 1);
            }
            same(csum_fold(csum_add(p + off, n, 0)), naive(p + off, n));
            free(block);
        }
    }
}

static void test_partial_sums_join(void **state)
{
    (void)state;
    uint8_t block[309], *p = block + 8;
    const size_t n = sizeof(block) - 8;
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (uint8_t)(i * 37 + 11);
    for (size_t cut = 0; cut <= n; cut += 2) /* parts meet at even offsets */
        same(csum_fold(csum_add(p + cut, n - cut, csum_add(p, cut, 0))), naive(p, n));
}

static void test_verify_of_finished(void **state)
{
    (void)state;
    uint8_t p[64];
    for (unsigned v = 0; v < 5000; v++) {
        for (size_t i = 0; i < sizeof(p); i++)
            p[i] = (uint8_t)(v * (i + 1));
        p[10] = p[11] = 0;
        uint16_t c = csum_finish(csum_add(p, sizeof(p), 0));
        memcpy(p + 10, &c, 2);
        assert_int_equal(csum_fold(csum_add(p, sizeof(p), 0)), 0xffff);
        p[v % 64] ^= (uint8_t)(1 + v % 255);
        if (csum_fold(csum_add(p, sizeof(p), 0)) == 0xffff) /* only 0x00/0xff pairs may pass */
            assert_true((1 + v % 255) == 255);
    }
}

static void test_ip4_header(void **state)
{
    (void)state;
    /* RFC 1071-style worked example: a header whose checksum is 0xb861. */
    const uint8_t h[20] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                           0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
    assert_int_equal(csum_fold(csum_ip4_20(h)), 0xffff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_lengths),
        cmocka_unit_test(test_partial_sums_join),
        cmocka_unit_test(test_verify_of_finished),
        cmocka_unit_test(test_ip4_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
