/* Sets and hashes where the compared runs against redis-server cannot look: order of small hashes, scans step by step, chance, limits, and
 * what freeing a large one costs a turn. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

static struct harness h;

static int setup(void **state)
{
    harness_init(&h, *state ? 3 : 1);
    return 0;
}

static int teardown(void **state)
{
    harness_run(&h, "FLUSHALL SYNC");
    harness_fini(&h);
    return 0;
}

static void fill(const char *head, const char *form, size_t n)
{
    char line[128], item[64];
    for (size_t i = 0; i < n; i++) {
        snprintf(item, sizeof(item), form, i, i);
        snprintf(line, sizeof(line), "%s %s", head, item);
        harness_run(&h, line);
    }
}

static void test_small_hash_keeps_its_order(void **state)
{
    EXPECT(&h, "HSET k b 1 a x 3 y", ":3\r\n");
    EXPECT(&h, "HSET k b 2 c z", ":1\r\n");
    EXPECT(&h, "HGETALL k",
           "*8\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\na\r\n$1\r\nx\r\n$1\r\n3\r\n$1\r\ny\r\n"
           "$1\r\nc\r\n$1\r\nz\r\n");
    EXPECT(&h, "HDEL k a", ":1\r\n");
    EXPECT(&h, "HKEYS k", "*3\r\n$1\r\nb\r\n$1\r\n3\r\n$1\r\nc\r\n");
    EXPECT(&h, "HVALS k", "*3\r\n$1\r\n2\r\n$1\r\ny\r\n$1\r\nz\r\n");
    EXPECT(&h, "HRANDFIELD k 9 WITHVALUES",
           "*6\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\ny\r\n$1\r\nc\r\n$1\r\nz\r\n");
    EXPECT(&h, "SADD s 3 -1 2 70000", ":4\r\n");
    EXPECT(&h, "SMEMBERS s", "*4\r\n$2\r\n-1\r\n$1\r\n2\r\n$1\r\n3\r\n$5\r\n70000\r\n");
}

/* Goes through all of it with the command's cursor and counts what matches. */
static size_t scan_all(const char *command, const char *options, size_t step, size_t most_answers)
{
    char line[128], cursor[32] = "0";
    size_t n = 0, calls = 0;
    do {
        snprintf(line, sizeof(line), "%s big %s %s", command, cursor, options);
        const char *p = harness_run(&h, line), *bulk = strstr(p, "\r\n$");
        int used = 0;
        size_t answered = 0;
        assert_int_equal(sscanf(p, "*2\r\n$%*d\r\n%31[0-9]\r\n*%zu%n", cursor, &answered, &used),
                         2);
        assert_non_null(bulk);
        assert_true(answered <= most_answers);
        n += answered / step;
        assert_true(++calls < 10000);
        assert_true(strtoull(cursor, NULL, 10) < 1ull << 48);
    } while (strcmp(cursor, "0") != 0);
    return n;
}

static void test_scan_in_steps(void **state)
{
    fill("SADD big", "member:%zu", 3000);
    assert_int_equal(scan_all("SSCAN", "", 1, 60), 3000);
    assert_int_equal(scan_all("SSCAN", "COUNT 500", 1, 560), 3000);
    assert_int_equal(scan_all("SSCAN", "MATCH *7", 1, 60), 300);
    EXPECT(&h, "DEL big", ":1\r\n");
    fill("HSET big", "field:%zu value:%zu", 3000);
    assert_int_equal(scan_all("HSCAN", "", 2, 120), 3000);
    assert_int_equal(scan_all("HSCAN", "MATCH *:1??", 2, 120), 100);
}

static void test_chance(void **state)
{
    size_t seen[8] = {0};
    fill("SADD s", "m%zu", 8);
    for (int i = 0; i < 8000; i++) {
        const char *p = harness_run(&h, "SRANDMEMBER s");
        seen[p[5] - '0']++;
    }
    for (int i = 0; i < 8; i++)
        assert_true(seen[i] > 850 && seen[i] < 1150); /* 1000, deviation 30 */
    memset(seen, 0, sizeof(seen));
    for (int i = 0; i < 4000; i++) { /* two distinct of eight */
        const char *p = harness_run(&h, "SRANDMEMBER s 2");
        assert_true(p[9] != p[17]);
        seen[p[9] - '0']++;
        seen[p[17] - '0']++;
    }
    for (int i = 0; i < 8; i++)
        assert_true(seen[i] > 850 && seen[i] < 1150);
    EXPECT(&h, "SRANDMEMBER s -16777217", "-ERR value is out of range\r\n");
    EXPECT(&h, "HRANDFIELD none -16777217", "-ERR value is out of range\r\n");
    for (int left = 8; left; left--) {
        char want[16];
        snprintf(want, sizeof(want), ":%d\r\n", left);
        harness_expect(&h, "SCARD s", span_str(want), __FILE__, __LINE__);
        harness_run(&h, "SPOP s");
    }
    EXPECT(&h, "EXISTS s", ":0\r\n");
}

/* SPOP of nearly all of a large set, which shrinks under it. */
static void test_pop_many(void **state)
{
    fill("SADD s", "member:%zu", 5000);
    harness_run(&h, "SPOP s 4990");
    EXPECT(&h, "SCARD s", ":10\r\n");
    harness_run(&h, "SRANDMEMBER s 10");
    EXPECT(&h, "SPOP s 0", "*0\r\n");
    harness_run(&h, "SPOP s 10");
    EXPECT(&h, "EXISTS s", ":0\r\n");
}

static void test_large_values_are_freed_in_slices(void **state)
{
    struct shard *s = &h.shards[0];
    fill("HSET big", "field:%zu value:%zu", 20000);
    size_t full = s->mem.used_bytes, turns = 0;
    EXPECT(&h, "DEL big", ":1\r\n");
    assert_true(s->mem.used_bytes > full - full / 10);
    while (s->lazy_pending) {
        size_t before = s->mem.used_bytes;
        shard_tick(s, 16);
        assert_true(before - s->mem.used_bytes <= 17 * 4096 + 4096);
        turns++;
    }
    assert_true(turns > 10);
    assert_true(s->mem.used_bytes < full / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small_hash_keeps_its_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scan_in_steps, setup, teardown),
        cmocka_unit_test_prestate_setup_teardown(test_scan_in_steps, setup, teardown, (void *)1),
        cmocka_unit_test_setup_teardown(test_chance, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pop_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_values_are_freed_in_slices, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
