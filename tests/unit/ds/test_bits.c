/* bits against a model that looks at one bit at a time. */
#include <stdlib.h>
#include <string.h>

#include "engine/ds/bits.h"
#include "tests/unit/unit.h"

static uint64_t seed = 42;
static uint64_t draw(uint64_t below)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (seed >> 33) % below;
}

static bool model_bit(const uint8_t *p, uint64_t at)
{
    return p[at / 8] >> (7 - at % 8) & 1;
}

/* An exact-size block, so that a sanitizer sees a byte too many; mostly of one value, so that searches go far. */
static uint8_t *draw_block(size_t n)
{
    uint8_t *p = malloc(n);
    assert_non_null(p);
    memset(p, draw(2) ? 0xff : 0, n);
    for (uint64_t i = draw(4); i; i--)
        p[draw(n)] = (uint8_t)draw(256);
    return p;
}

static void test_count_and_find(void **state)
{
    for (int round = 0; round < 20000; round++) {
        size_t n = 1 + draw(100);
        uint8_t *p = draw_block(n);
        uint64_t from = draw(n * 8), to = from + draw(n * 8 - from), count = 0;
        int64_t first[2] = {-1, -1};
        for (uint64_t i = from; i <= to; i++) {
            count += model_bit(p, i);
            if (first[model_bit(p, i)] < 0)
                first[model_bit(p, i)] = (int64_t)i;
        }
        assert_int_equal(bits_count_range(p, from, to), count);
        assert_int_equal(bits_find(p, from, to, false), first[0]);
        assert_int_equal(bits_find(p, from, to, true), first[1]);
        free(p);
    }
}

static void test_get_and_set(void **state)
{
    for (int round = 0; round < 20000; round++) {
        size_t n = 1 + draw(30);
        uint8_t *p = draw_block(n), *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, p, n);
        unsigned width = 1 + (unsigned)draw(64);
        uint64_t at = draw(n * 8 + 20), want = 0;
        for (unsigned i = 0; i < width; i++)
            want = want << 1 | (at + i < n * 8 && model_bit(p, at + i));
        assert_true(bits_get(p, n, at, width) == want);
        if (at + width <= n * 8) {
            uint64_t v = draw(1 << 30) * draw(1 << 30) * 16 + draw(16);
            bits_set(p, at, width, v);
            assert_true(bits_get(p, n, at, width) == (v & (UINT64_MAX >> (64 - width))));
            for (uint64_t i = 0; i < n * 8; i++)
                if (i < at || i >= at + width)
                    assert_int_equal(model_bit(p, i), model_bit(copy, i));
        }
        free(p);
        free(copy);
    }
}

static void test_combine(void **state)
{
    for (int round = 0; round < 3000; round++) {
        size_t n = draw(200);
        uint8_t *a = draw_block(n + 1), *b = draw_block(n + 1), *want = malloc(n + 1);
        assert_non_null(want);
        a = realloc(a, n ? n : 1); /* exactly as long as said */
        b = realloc(b, n ? n : 1);
        assert_true(a && b);
        enum bits_op op = (enum bits_op)draw(3);
        for (size_t i = 0; i < n; i++)
            want[i] = op == BITS_AND ? a[i] & b[i] : op == BITS_OR ? a[i] | b[i] : a[i] ^ b[i];
        bits_combine(a, b, n, op);
        assert_memory_equal(a, want, n);
        for (size_t i = 0; i < n; i++)
            want[i] = (uint8_t)~a[i];
        bits_invert_in_place(a, n);
        assert_memory_equal(a, want, n);
        free(a);
        free(b);
        free(want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_count_and_find),
        cmocka_unit_test(test_get_and_set),
        cmocka_unit_test(test_combine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
