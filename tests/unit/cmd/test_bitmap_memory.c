/* Bitmaps when memory fails; and what a reply does not show: events. */
#include <stdio.h>

#include "tests/unit/cmd/memory_script.h"
#include "tests/unit/unit.h"

static const char *const setup[] = {"SET s value", "SETBIT b 20000 1", "SET n 12", "SET t v EX 100",
                                    NULL};
static const char *const keys[] = {"s", "b", "n", "t", "new", NULL};
static const char *const lines[] = {
    "SETBIT new 5 1",
    "SETBIT new 100000 1",
    "SETBIT s 3 1",
    "SETBIT s 50000 1",
    "SETBIT n 1 1",
    "SETBIT t 9000 1",
    "SETBIT b 200000 1",
    "BITOP AND new s b",
    "BITOP OR s s b n",
    "BITOP NOT t b",
    "BITOP XOR n missing",
    "BITFIELD new SET u8 0 1 GET u8 0",
    "BITFIELD n SET u8 0 1 INCRBY i64 100 5",
    "BITFIELD s INCRBY u8 5000 5",
    "BITFIELD_RO b GET u8 0",
    "BITCOUNT b",
    "BITPOS b 1",
    "GETBIT b 3",
    NULL,
};

static void test_each_allocation_fails(void **state)
{
    const struct memory_script m = {setup, keys, lines, NULL, NULL};
    assert_true(memory_script_run(&m, 1) > 8);
    assert_true(memory_script_run(&m, 3) > 8);
}

/* A field at the end of a value of a block of its own was read with the bytes behind it. ASan sees it. */
static void test_bitfield_reads_within_the_value(void **state)
{
    struct harness h;
    harness_init(&h, 1);
    EXPECT(&h, "BITFIELD one SET u8 0 200", "*1\r\n:0\r\n");
    EXPECT(&h, "BITFIELD one INCRBY u8 0 1", "*1\r\n:201\r\n");
    EXPECT(&h, "BITFIELD nine SET i64 8 -1 GET u1 71", "*2\r\n:0\r\n:1\r\n");
    harness_run(&h, "FLUSHALL SYNC");
    harness_fini(&h);
}

static size_t events;
static char last_event[32];
static void note(void *ctx, struct shard *s, uint32_t db, struct span key, enum ks_class cls,
                 const char *event)
{
    events++;
    snprintf(last_event, sizeof(last_event), "%s", event);
}

static void expect_events(struct harness *h, const char *line, size_t n, const char *event)
{
    events = 0;
    harness_run(h, line);
    assert_int_equal(events, n);
    if (n)
        assert_string_equal(last_event, event);
}

static void test_events(void **state)
{
    struct harness h;
    harness_init(&h, 1);
    shard_hook(&h.shards[0], note, NULL);
    expect_events(&h, "SETBIT k 1 0", 1, "setbit"); /* the key is new */
    expect_events(&h, "SETBIT k 1 0", 0, NULL);
    expect_events(&h, "SETBIT k 1 1", 1, "setbit");
    expect_events(&h, "SETBIT k 100 0", 1, "setbit"); /* longer */
    expect_events(&h, "BITFIELD k GET u8 0", 0, NULL);
    expect_events(&h, "BITFIELD k SET u8 0 64", 0, NULL);
    expect_events(&h, "BITFIELD k SET u8 0 1 SET u8 8 1", 1, "setbit");
    expect_events(&h, "BITFIELD k OVERFLOW FAIL INCRBY u1 0 9", 0, NULL);
    expect_events(&h, "BITOP NOT d k", 1, "set");
    expect_events(&h, "BITOP OR d missing", 1, "del");
    expect_events(&h, "BITOP OR d missing", 0, NULL);
    shard_hook(&h.shards[0], NULL, NULL);
    harness_run(&h, "FLUSHALL SYNC");
    harness_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_fails),
        cmocka_unit_test(test_bitfield_reads_within_the_value),
        cmocka_unit_test(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
