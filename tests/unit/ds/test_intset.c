/* intset against a naive model: a plain array of the values that are there. */
#include <stdlib.h>
#include <string.h>

#include "engine/ds/intset.h"
#include "tests/unit/unit.h"

static const int64_t pool[] = {0,
                               1,
                               -1,
                               5,
                               127,
                               128,
                               -128,
                               300,
                               -300,
                               INT16_MAX,
                               INT16_MIN,
                               INT16_MAX + 1,
                               INT16_MIN - 1,
                               70000,
                               -70000,
                               INT32_MAX,
                               INT32_MIN,
                               INT32_MAX + 1LL,
                               INT32_MIN - 1LL,
                               INT64_MAX,
                               INT64_MIN,
                               2,
                               3,
                               4};
#define POOL (sizeof(pool) / sizeof(pool[0]))

static void check(const struct mem_block *is, const bool *there)
{
    size_t n = 0;
    for (size_t i = 0; i < POOL; i++) {
        assert_int_equal(intset_has(is, pool[i]), there[i]);
        n += there[i];
    }
    assert_int_equal(intset_count(is), n);
    assert_true(intset_valid(is->p, is->len));
    for (size_t i = 1; i < n; i++)
        assert_true(intset_get(is, i - 1) < intset_get(is, i));
}

static void test_model(void **state)
{
    struct mem mem;
    assert_int_equal(mem_init(&mem), 0);
    srand(7);
    for (int round = 0; round < 300; round++) {
        struct mem_block is;
        bool there[POOL] = {0};
        size_t narrow = round % 3 == 0 ? 10 : POOL;
        assert_true(intset_init(&mem, &is, (size_t)round % 5));
        for (int step = 0; step < 100; step++) {
            size_t i = (size_t)rand() % narrow;
            if (rand() % 3) {
                mem.fail_after = (uint64_t)(rand() % 4);
                enum intset_added added = intset_add(&mem, &is, pool[i]);
                mem.fail_after = 0;
                if (added == INTSET_NO_MEMORY)
                    continue;
                assert_int_equal(added, there[i] ? INTSET_THERE : INTSET_NEW);
                there[i] = true;
            } else {
                assert_int_equal(intset_remove(&mem, &is, pool[i]), there[i]);
                there[i] = false;
            }
            check(&is, there);
        }
        intset_free(&mem, &is);
    }
    assert_int_equal(mem.used_bytes, 0);
    mem_fini(&mem);
}

/* The bytes that Redis's RDB files carry. */
static void test_format(void **state)
{
    struct mem mem;
    struct mem_block is;
    static const uint8_t two[] = {2, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 5, 0};
    static const uint8_t four[] = {4,    0,    0, 0, 3, 0, 0, 0, 0xff, 0xff,
                                   0xff, 0xff, 5, 0, 0, 0, 0, 0, 1,    0};
    assert_int_equal(mem_init(&mem), 0);
    assert_true(intset_init(&mem, &is, 0));
    intset_add(&mem, &is, 5);
    intset_add(&mem, &is, -1);
    assert_int_equal(is.len, sizeof(two));
    assert_memory_equal(is.p, two, sizeof(two));
    intset_add(&mem, &is, 65536);
    assert_int_equal(is.len, sizeof(four));
    assert_memory_equal(is.p, four, sizeof(four));
    assert_false(intset_valid(four, sizeof(four) - 1));
    assert_false(intset_valid(four, 7));
    uint8_t bad[sizeof(four)];
    memcpy(bad, four, sizeof(four));
    bad[0] = 3;
    assert_false(intset_valid(bad, sizeof(bad)));
    memcpy(bad, four, sizeof(four));
    bad[12] = 0xfe, bad[13] = bad[14] = bad[15] = 0xff; /* -2 behind -1 */
    assert_false(intset_valid(bad, sizeof(bad)));
    intset_free(&mem, &is);
    mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model), cmocka_unit_test(test_format)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
