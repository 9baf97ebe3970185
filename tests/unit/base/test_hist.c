/* Histogram: quantiles against sorted samples. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/hist.h"
#include "tests/unit/unit.h"

static struct hist h;

static void empty(void **state)
{
    memset(&h, 0xff, sizeof(h));
    hist_reset(&h);
    assert_int_equal(hist_quantile(&h, 500), 0);
    assert_int_equal(h.count, 0);
}

static void small_values_are_exact(void **state)
{
    hist_reset(&h);
    for (uint64_t v = 1; v <= 10; v++)
        hist_add(&h, v);
    assert_int_equal(hist_quantile(&h, 0), 1);
    assert_int_equal(hist_quantile(&h, 100), 1);
    assert_int_equal(hist_quantile(&h, 101), 2);
    assert_int_equal(hist_quantile(&h, 500), 5);
    assert_int_equal(hist_quantile(&h, 900), 9);
    assert_int_equal(hist_quantile(&h, 1000), 10);
    assert_int_equal(hist_quantile(&h, 5000), 10);
    assert_int_equal(h.sum, 55);
    assert_int_equal(h.max, 10);
}

/* One sample at a time: never below the value, never 6.25 % above it. */
static void error_of_a_bucket(void **state)
{
    for (uint64_t v = 1; v < 1ull << 47; v += v / 37 + 1) {
        hist_reset(&h);
        hist_add(&h, v);
        hist_add(&h, 1ull << 50);
        uint64_t q = hist_quantile(&h, 500);
        assert_true(q >= v && q - v <= v / 16);
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void quantiles_of_many(void **state)
{
    enum { N = 10007 };
    static uint64_t sample[N];
    uint64_t seed = 42;
    hist_reset(&h);
    for (size_t i = 0; i < N; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        sample[i] = seed >> (24 + seed % 31);
        hist_add(&h, sample[i]);
    }
    qsort(sample, N, sizeof(sample[0]), by_value);
    for (unsigned permille = 1; permille <= 1000; permille++) {
        uint64_t exact = sample[(N * (uint64_t)permille + 999) / 1000 - 1];
        uint64_t q = hist_quantile(&h, permille);
        assert_true(q >= exact && q - exact <= exact / 16);
    }
}

static void beyond_the_scale(void **state)
{
    hist_reset(&h);
    hist_add(&h, UINT64_MAX);
    hist_add(&h, 1ull << 60);
    assert_true(hist_quantile(&h, 500) == UINT64_MAX);
    assert_true(h.max == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(error_of_a_bucket),
        cmocka_unit_test(quantiles_of_many),
        cmocka_unit_test(beyond_the_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
