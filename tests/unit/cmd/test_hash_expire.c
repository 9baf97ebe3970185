/* Fields that expire: replies and errors as the documentation of Redis 7.4 and 8.0 has them, exactness on access, the timers behind it. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/shard/field_timer.h"
#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

static struct harness h;
static char events[4096];

static void heard(void *ctx, struct shard *s, uint32_t db, struct span key, enum ks_class cls,
                  const char *event)
{
    size_t n = strlen(events);
    (void)ctx, (void)s, (void)db, (void)cls;
    snprintf(events + n, sizeof(events) - n, "%s:%.*s ", event, (int)key.n, (const char *)key.p);
}

static int setup(void **state)
{
    harness_init(&h, *state ? 3 : 1);
    for (uint32_t i = 0; i < h.count; i++)
        shard_hook(&h.shards[i], heard, NULL);
    events[0] = 0;
    return 0;
}

static int teardown(void **state)
{
    harness_run(&h, "FLUSHALL SYNC");
    for (uint32_t i = 0; i < h.count; i++)
        assert_int_equal(field_timers_count(&h.shards[i]), 0);
    harness_fini(&h);
    return 0;
}

static void tick(size_t turns)
{
    for (size_t t = 0; t < turns; t++)
        for (uint32_t i = 0; i < h.count; i++)
            shard_tick(&h.shards[i], 64);
}

#define EVENTS(want)                       \
    do {                                   \
        assert_string_equal(events, want); \
        events[0] = 0;                     \
    } while (0)

static void test_replies(void **state)
{
    EXPECT(&h, "HSET k a 1 b 2 c 3", ":3\r\n");
    EXPECT(&h, "OBJECT ENCODING k", "$8\r\nlistpack\r\n");
    EXPECT(&h, "HTTL k FIELDS 2 a z", "*2\r\n:-1\r\n:-2\r\n");
    EXPECT(&h, "HEXPIRE k 100 FIELDS 3 a z b", "*3\r\n:1\r\n:-2\r\n:1\r\n");
    EXPECT(&h, "HTTL k FIELDS 3 a b c", "*3\r\n:100\r\n:100\r\n:-1\r\n");
    EXPECT(&h, "HPTTL k FIELDS 1 a", "*1\r\n:100000\r\n");
    EXPECT(&h, "HEXPIRETIME k FIELDS 1 a", "*1\r\n:1700000100\r\n");
    EXPECT(&h, "HPEXPIRETIME k FIELDS 1 a", "*1\r\n:1700000100000\r\n");
    harness_advance_ms(&h, 1);
    EXPECT(&h, "HTTL k FIELDS 1 a", "*1\r\n:100\r\n");
    EXPECT(&h, "HEXPIRE k 50 NX FIELDS 2 a c", "*2\r\n:0\r\n:1\r\n");
    EXPECT(&h, "HEXPIRE k 40 XX FIELDS 1 c", "*1\r\n:1\r\n");
    EXPECT(&h, "HEXPIRE k 30 GT FIELDS 1 c", "*1\r\n:0\r\n");
    EXPECT(&h, "HEXPIRE k 60 gt FIELDS 1 c", "*1\r\n:1\r\n");
    EXPECT(&h, "HEXPIRE k 70 LT FIELDS 1 c", "*1\r\n:0\r\n");
    EXPECT(&h, "HPEXPIRE k 20000 LT FIELDS 1 c", "*1\r\n:1\r\n");
    EXPECT(&h, "HPERSIST k FIELDS 3 c c z", "*3\r\n:1\r\n:-1\r\n:-2\r\n");
    EXPECT(&h, "HEXPIRE k 70 GT FIELDS 1 c", "*1\r\n:0\r\n");
    EXPECT(&h, "HEXPIRE k 70 XX FIELDS 1 c", "*1\r\n:0\r\n");
    EXPECT(&h, "HEXPIRE k 70 LT FIELDS 1 c", "*1\r\n:1\r\n");
    EXPECT(&h, "HEXPIREAT k 1700000200 FIELDS 1 c", "*1\r\n:1\r\n");
    EXPECT(&h, "HPEXPIREAT k 1700000300000 FIELDS 1 c", "*1\r\n:1\r\n");
    EXPECT(&h, "HPEXPIRETIME k FIELDS 1 c", "*1\r\n:1700000300000\r\n");
    events[0] = 0;
    EXPECT(&h, "HEXPIRE k 0 FIELDS 1 c", "*1\r\n:2\r\n");
    EVENTS("hdel:k ");
    EXPECT(&h, "HEXPIREAT k 1 FIELDS 2 a b", "*2\r\n:2\r\n:2\r\n");
    EVENTS("hdel:k del:k ");
    EXPECT(&h, "EXISTS k", ":0\r\n");
    EXPECT(&h, "HEXPIRE k 10 FIELDS 2 a b", "*2\r\n:-2\r\n:-2\r\n");
    EXPECT(&h, "HTTL k FIELDS 1 a", "*1\r\n:-2\r\n");
    EXPECT(&h, "HPERSIST k FIELDS 1 a", "*1\r\n:-2\r\n");
    EVENTS("");
}

static void test_errors(void **state)
{
    static const char where[] =
        "-ERR Mandatory argument FIELDS is missing or not at the right position\r\n";
    static const char match[] =
        "-ERR The `numfields` parameter must match the number of arguments\r\n";
    static const char positive[] = "-ERR Number of fields must be a positive integer\r\n";
    EXPECT(&h, "HSET k a 1", ":1\r\n");
    EXPECT(&h, "SET s v", "+OK\r\n");
    EXPECT(&h, "HEXPIRE s x FIELDS 1 a",
           "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    EXPECT(&h, "HEXPIRE k x FIELDS 1 a", "-ERR value is not an integer or out of range\r\n");
    EXPECT(&h, "HEXPIRE k -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0\r\n");
    EXPECT(&h, "HEXPIRE k 70368744178 FIELDS 1 a",
           "-ERR invalid expire time in 'hexpire' command\r\n");
    EXPECT(&h, "HPEXPIREAT k 70368744177664 FIELDS 1 a",
           "-ERR invalid expire time in 'hpexpireat' command\r\n");
    EXPECT(&h, "HPEXPIREAT k 70368744177663 FIELDS 1 a", "*1\r\n:1\r\n");
    EXPECT(&h, "HEXPIRE k 9223372036854775807 FIELDS 1 a",
           "-ERR invalid expire time in 'hexpire' command\r\n");
    harness_expect(&h, "HEXPIRE k 1 ZZ FIELDS 1 a", span_str(where), __FILE__, __LINE__);
    harness_expect(&h, "HEXPIRE k 1 NX XX 1 a b", span_str(where), __FILE__, __LINE__);
    harness_expect(&h, "HTTL k FIELD 1 a", span_str(where), __FILE__, __LINE__);
    harness_expect(&h, "HEXPIRE k 1 FIELDS 2 a", span_str(match), __FILE__, __LINE__);
    harness_expect(&h, "HTTL k FIELDS 1 a b", span_str(match), __FILE__, __LINE__);
    EXPECT(&h, "HEXPIRE k 1 FIELDS 0 a", "-ERR Parameter `numFields` should be greater than 0\r\n");
    EXPECT(&h, "HEXPIRE k 1 FIELDS x a", "-ERR Parameter `numFields` should be greater than 0\r\n");
    harness_expect(&h, "HTTL k FIELDS 0 a", span_str(positive), __FILE__, __LINE__);
    harness_expect(&h, "HPERSIST k FIELDS -1 a", span_str(positive), __FILE__, __LINE__);
    harness_expect(&h, "HGETDEL k FIELDS 0 a", span_str(positive), __FILE__, __LINE__);
    harness_expect(&h, "HGETEX k FIELDS 9223372036854775808 a", span_str(positive), __FILE__,
                   __LINE__);
    harness_expect(&h, "HGETEX k EX 10 FIELD 1 a", span_str(where), __FILE__, __LINE__);
    harness_expect(&h, "HGETEX k PX 10 FIELDS 2 a", span_str(match), __FILE__, __LINE__);
    EXPECT(&h, "HGETEX k EX x FIELDS 1 a", "-ERR value is not an integer or out of range\r\n");
    EXPECT(&h, "HEXPIRE k 1 FIELDS 1", "-ERR wrong number of arguments for 'hexpire' command\r\n");
    EXPECT(&h, "HSETEX k FIELDS 1 a", "-ERR wrong number of arguments for 'hsetex' command\r\n");
    EXPECT(&h, "HSETEX k FIELDS 2 a 1", "-ERR wrong number of arguments for 'hsetex' command\r\n");
    EXPECT(&h, "HSETEX k FIELDS 0 a 1", "-ERR invalid number of fields\r\n");
    EXPECT(&h, "HSETEX k EX 1 PX 1 FIELDS 1 a 1",
           "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified\r\n");
    EXPECT(&h, "HSETEX k FNX FXX FIELDS 1 a 1",
           "-ERR Only one of FXX or FNX arguments can be specified\r\n");
    EXPECT(&h, "HSETEX k foo FIELDS 1 a 1", "-ERR unknown argument: foo\r\n");
    EXPECT(&h, "HSETEX k FNX FNX KEEPTTL EX",
           "-ERR Only one of FXX or FNX arguments can be specified\r\n");
    EXPECT(&h, "HSETEX k FNX FIELDS2 a EX", "-ERR unknown argument: FIELDS2\r\n");
}

static void test_get_and_set(void **state)
{
    EXPECT(&h, "HSETEX k EX 10 FIELDS 2 a 1 b 2", ":1\r\n");
    EVENTS("hset:k hexpire:k ");
    EXPECT(&h, "HTTL k FIELDS 2 a b", "*2\r\n:10\r\n:10\r\n");
    EXPECT(&h, "HSETEX k FNX FIELDS 2 a 5 c 3", ":0\r\n");
    EXPECT(&h, "HSETEX k FXX FIELDS 2 a 5 c 3", ":0\r\n");
    EXPECT(&h, "HSETEX k FXX KEEPTTL FIELDS 1 a 5", ":1\r\n");
    EXPECT(&h, "HPTTL k FIELDS 1 a", "*1\r\n:10000\r\n");
    EXPECT(&h, "HSETEX k FIELDS 1 a 6", ":1\r\n");
    EXPECT(&h, "HPTTL k FIELDS 1 a", "*1\r\n:-1\r\n");
    EXPECT(&h, "HSETEX new FXX FIELDS 1 a 6", ":0\r\n");
    EXPECT(&h, "EXISTS new", ":0\r\n");
    EXPECT(&h, "HSETEX new FNX PXAT 1 FIELDS 1 a 6", ":1\r\n");
    EXPECT(&h, "EXISTS new", ":0\r\n");
    events[0] = 0;
    EXPECT(&h, "HGETEX k FIELDS 3 a b z", "*3\r\n$1\r\n6\r\n$1\r\n2\r\n$-1\r\n");
    EVENTS("");
    EXPECT(&h, "HGETEX k PX 500 FIELDS 2 a z", "*2\r\n$1\r\n6\r\n$-1\r\n");
    EVENTS("hexpire:k ");
    EXPECT(&h, "HPTTL k FIELDS 2 a b", "*2\r\n:500\r\n:10000\r\n");
    EXPECT(&h, "HGETEX k PERSIST FIELDS 2 a b", "*2\r\n$1\r\n6\r\n$1\r\n2\r\n");
    EVENTS("hpersist:k ");
    EXPECT(&h, "HPTTL k FIELDS 2 a b", "*2\r\n:-1\r\n:-1\r\n");
    EXPECT(&h, "HGETEX k EXAT 1 FIELDS 1 a", "*1\r\n$1\r\n6\r\n");
    EVENTS("hdel:k ");
    EXPECT(&h, "HGETDEL k FIELDS 3 b b z", "*3\r\n$1\r\n2\r\n$-1\r\n$-1\r\n");
    EVENTS("hdel:k del:k ");
    EXPECT(&h, "EXISTS k", ":0\r\n");
    EXPECT(&h, "HGETDEL k FIELDS 1 a", "*1\r\n$-1\r\n");
    EXPECT(&h, "HGETEX k EX 5 FIELDS 1 a", "*1\r\n$-1\r\n");
}

/* Nobody sees a field that is due, whatever they ask. */
static void test_exact_on_access(void **state)
{
    EXPECT(&h, "HSET k a 1 b 2 c 3", ":3\r\n");
    EXPECT(&h, "HPEXPIRE k 100 FIELDS 2 a b", "*2\r\n:1\r\n:1\r\n");
    harness_advance_ms(&h, 100);
    EXPECT(&h, "HGET k a", "$1\r\n1\r\n");
    harness_advance_ms(&h, 1);
    events[0] = 0;
    EXPECT(&h, "HGET k a", "$-1\r\n");
    EVENTS("hexpired:k ");
    EXPECT(&h, "HLEN k", ":1\r\n");
    EVENTS("hexpired:k ");
    EXPECT(&h, "HGETALL k", "*2\r\n$1\r\nc\r\n$1\r\n3\r\n");
    EXPECT(&h, "HPEXPIRE k 5 FIELDS 1 c", "*1\r\n:1\r\n");
    harness_advance_ms(&h, 6);
    events[0] = 0;
    EXPECT(&h, "HSCAN k 0", "*2\r\n$1\r\n0\r\n*0\r\n");
    EXPECT(&h, "HSET k c 9", ":1\r\n");
    EVENTS("hexpired:k del:k hset:k ");
    EXPECT(&h, "HTTL k FIELDS 1 c", "*1\r\n:-1\r\n");
    EXPECT(&h, "HSETEX k PX 5 FIELDS 2 d 1 e 1", ":1\r\n");
    harness_advance_ms(&h, 6);
    EXPECT(&h, "HINCRBY k d 5", ":5\r\n");
    EXPECT(&h, "HSETNX k e 7", ":1\r\n");
    EXPECT(&h, "HSETEX k PX 5 FIELDS 2 d 1 e 1", ":1\r\n");
    EXPECT(&h, "HINCRBY k d 5", ":6\r\n");
    EXPECT(&h, "HPTTL k FIELDS 1 d", "*1\r\n:5\r\n"); /* a number keeps its expiry */
    harness_advance_ms(&h, 6);
    EXPECT(&h, "HMGET k c d e", "*3\r\n$1\r\n9\r\n$-1\r\n$-1\r\n");
    EXPECT(&h, "HEXPIRE k 10 FIELDS 2 d c", "*2\r\n:-2\r\n:1\r\n");
    EXPECT(&h, "HSET k c 9", ":0\r\n"); /* a plain HSET takes it away */
    EXPECT(&h, "HTTL k FIELDS 1 c", "*1\r\n:-1\r\n");
    EXPECT(&h, "HPEXPIRE k 5 FIELDS 1 c", "*1\r\n:1\r\n");
    harness_advance_ms(&h, 6);
    EXPECT(&h, "HRANDFIELD k", "$-1\r\n");
    EXPECT(&h, "EXISTS k", ":0\r\n");
}

static void test_expires_by_itself(void **state)
{
    char line[64];
    harness_run(&h, "HSETEX other PX 50 FIELDS 1 f v");
    harness_run(&h, "COPY other copy");
    harness_run(&h, "HSETEX gone PX 50 FIELDS 1 f v");
    harness_run(&h, "RENAME gone renamed");
    harness_run(&h, "HSETEX five PX 50 FIELDS 1 f v");
    harness_run(&h, "MOVE five 5");
    harness_run(&h, "SWAPDB 5 6");
    harness_run(&h, "HSETEX string PX 50 FIELDS 1 f v");
    harness_run(&h, "SET string v");
    harness_run(&h, "HSETEX whole EX 50 FIELDS 1 f v");
    harness_run(&h, "PEXPIRE whole 20");
    events[0] = 0;
    harness_advance_ms(&h, 60);
    tick(200);
    EXPECT(&h, "EXISTS other copy renamed gone whole", ":0\r\n");
    EXPECT(&h, "GET string", "$1\r\nv\r\n");
    EXPECT(&h, "SELECT 6", "+OK\r\n");
    EXPECT(&h, "EXISTS five", ":0\r\n");
    EXPECT(&h, "SELECT 0", "+OK\r\n");
    assert_non_null(strstr(events, "hexpired:other del:other "));
    for (int i = 0; i < 3000; i++) {
        snprintf(line, sizeof(line), "HSETEX big PX %d FIELDS 1 f%d v", 10 + i % 100, i);
        harness_run(&h, line);
    }
    harness_run(&h, "HSET big stays 1");
    for (int i = 0; i < 100; i++) {
        harness_advance_ms(&h, 5);
        tick(5);
    }
    size_t timers = 0;
    for (uint32_t i = 0; i < h.count; i++)
        timers += field_timers_count(&h.shards[i]);
    assert_int_equal(timers, 0);
    EXPECT(&h, "HGETALL big", "*2\r\n$5\r\nstays\r\n$1\r\n1\r\n");
    EXPECT(&h, "OBJECT ENCODING big", "$9\r\nhashtable\r\n");
}

/* A turn looks at a bounded number of pages, however many fields are due. */
static void test_bounded_turns(void **state)
{
    char line[64];
    for (int i = 0; i < 20000; i++) {
        snprintf(line, sizeof(line), "HSETEX big PX 10 FIELDS 1 field:%d value", i);
        harness_run(&h, line);
    }
    harness_advance_ms(&h, 20);
    shard_hook(&h.shards[0], NULL, NULL);
    size_t turns = 0, before = ks_count(&h.shards[0], 0);
    assert_int_equal(before, 1);
    while (ks_count(&h.shards[0], 0)) {
        shard_tick(&h.shards[0], 8);
        turns++;
        assert_true(turns < 10000);
    }
    assert_true(turns > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_replies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_get_and_set, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exact_on_access, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expires_by_itself, setup, teardown),
        cmocka_unit_test_prestate_setup_teardown(test_expires_by_itself, setup, teardown,
                                                 (void *)1),
        cmocka_unit_test_prestate_setup_teardown(test_replies, setup, teardown, (void *)1),
        cmocka_unit_test_setup_teardown(test_bounded_turns, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
