/* hll: sparse, dense and plain registers agree; vectors and plain code agree; damaged bytes are found out, never followed. */
#include <stdlib.h>

#include "engine/ds/hll.h"
#include "tests/unit/unit.h"

static uint64_t seed = 7;
static uint64_t draw(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return seed >> 16;
}

static void model_add(struct hll_registers *r, struct hll_spot s)
{
    if (r->v[s.index] < s.count)
        r->v[s.index] = s.count;
}

static void test_forms_agree(void **state)
{
    uint8_t *sparse = malloc(40000), dense[HLL_DENSE_BYTES], from_sparse[HLL_DENSE_BYTES];
    assert_non_null(sparse);
    for (int round = 0; round < 20; round++) {
        struct hll_registers model = {{0}};
        size_t n = HLL_EMPTY_BYTES;
        hll_create(sparse);
        assert_true(hll_to_dense(span_of(sparse, n), dense));
        unsigned elements = (unsigned)(draw() % 3000), changes = 0;
        for (unsigned i = 0; i < elements; i++) {
            struct hll_spot s = {(uint32_t)(draw() % HLL_REGISTERS), (uint8_t)(1 + draw() % 32)};
            if (round % 2)
                s.index %= 50; /* runs of values that meet */
            enum hll_set a = hll_dense_set(dense, s);
            assert_int_equal(hll_sparse_set(sparse, &n, s, 40000), a);
            changes += a == HLL_CHANGED;
            model_add(&model, s);
            assert_int_equal(hll_register(span_of(sparse, n), s.index), model.v[s.index]);
            assert_int_equal(hll_register(span_of(dense, sizeof(dense)), s.index),
                             model.v[s.index]);
        }
        uint64_t a = 0, b = 0;
        assert_true(hll_count(span_of(sparse, n), &a) &&
                    hll_count(span_of(dense, sizeof(dense)), &b));
        assert_true(a == b && a == hll_count_registers(&model));
        assert_true(hll_to_dense(span_of(sparse, n), from_sparse));
        assert_memory_equal(from_sparse + HLL_HEADER_BYTES, dense + HLL_HEADER_BYTES,
                            HLL_DENSE_BYTES - HLL_HEADER_BYTES);
        assert_true(changes > 0 || elements < 5);
    }
    free(sparse);
}

/* Exact-size blocks: a vector that reads or writes beyond them is seen by the sanitizer. */
static void test_vector_and_plain_agree(void **state)
{
    uint8_t *a = malloc(HLL_DENSE_BYTES), *b = malloc(HLL_DENSE_BYTES);
    assert_true(a && b);
    for (int round = 0; round < 50; round++) {
        struct hll_registers fast, plain;
        for (unsigned i = 0; i < HLL_REGISTERS; i++)
            fast.v[i] = plain.v[i] = (uint8_t)(draw() % 52);
        hll_create(a);
        for (unsigned i = HLL_HEADER_BYTES; i < HLL_DENSE_BYTES; i++)
            a[i] = (uint8_t)draw();
        a[4] = 0;
        memcpy(b, a, HLL_DENSE_BYTES);
        hll_use_scalar(false);
        assert_true(hll_merge(&fast, span_of(a, HLL_DENSE_BYTES)));
        hll_dense_raise(a, &plain);
        hll_use_scalar(true);
        assert_true(hll_merge(&plain, span_of(b, HLL_DENSE_BYTES)));
        hll_dense_raise(b, &plain);
        hll_use_scalar(false);
        assert_memory_equal(&fast, &plain, sizeof(fast));
        assert_memory_equal(a, b, HLL_DENSE_BYTES);
        for (uint32_t i = 0; i < HLL_REGISTERS; i++)
            assert_int_equal(hll_register(span_of(a, HLL_DENSE_BYTES), i), plain.v[i]);
    }
    free(a);
    free(b);
}

static void test_damage(void **state)
{
    for (int round = 0; round < 20000; round++) {
        size_t n = HLL_HEADER_BYTES + draw() % 60, whole = n;
        uint8_t *p = malloc(n + HLL_GROWTH_BYTES), *exact, dense[HLL_DENSE_BYTES];
        assert_non_null(p);
        hll_create(dense);
        memcpy(p, dense, HLL_HEADER_BYTES);
        for (size_t i = HLL_HEADER_BYTES; i < n; i++)
            p[i] = (uint8_t)draw();
        exact = malloc(n);
        assert_non_null(exact);
        memcpy(exact, p, n);
        struct hll_registers r = {{0}};
        uint64_t count;
        bool good = hll_count(span_of(exact, n), &count);
        assert_int_equal(hll_merge(&r, span_of(exact, n)), good);
        assert_int_equal(hll_to_dense(span_of(exact, n), dense), good);
        struct hll_spot s = {(uint32_t)(draw() % HLL_REGISTERS), 5};
        enum hll_set set = hll_sparse_set(p, &n, s, SIZE_MAX);
        assert_true(n <= whole + HLL_GROWTH_BYTES);
        if (set == HLL_CORRUPT)
            assert_false(good);
        free(exact);
        free(p);
    }
}

static void test_estimate(void **state)
{
    struct hll_registers r = {{0}};
    for (uint64_t i = 1; i <= 200000; i++) {
        model_add(&r, hll_spot_of(span_of(&i, sizeof(i))));
        if (i == 10 || i == 1000 || i == 200000) {
            uint64_t n = hll_count_registers(&r), off = n > i ? n - i : i - n;
            assert_true(off * 30 <= i);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms_agree),
        cmocka_unit_test(test_vector_and_plain_agree),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_estimate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
