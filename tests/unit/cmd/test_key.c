/* Keys: expiry, renames and copies (over databases and shards), SCAN's cursor, OBJECT, the whole keyspace. The edge cases of every reply
 * are compared with redis-server itself by tests/compat. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/cmd/scan.h"
#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

#define OK     "+OK\r\n"
#define NIL    "$-1\r\n"
#define ZERO   ":0\r\n"
#define ONE    ":1\r\n"
#define SYNTAX "-ERR syntax error\r\n"

static int setup(void **state, uint32_t shards)
{
    static struct harness h;
    harness_init(&h, shards);
    *state = &h;
    return 0;
}

static int setup_one(void **state)
{
    return setup(state, 1);
}

static int setup_three(void **state)
{
    return setup(state, 3);
}

static int teardown(void **state)
{
    harness_run(*state, "FLUSHALL SYNC");
    harness_fini(*state);
    return 0;
}

static void test_expire(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "EXPIRE none 10", ZERO);
    EXPECT(h, "TTL none", ":-2\r\n");
    EXPECT(h, "SET k v", OK);
    EXPECT(h, "TTL k", ":-1\r\n");
    EXPECT(h, "PEXPIRE k 1500", ONE);
    EXPECT(h, "PTTL k", ":1500\r\n");
    EXPECT(h, "TTL k", ":2\r\n");
    EXPECT(h, "PEXPIRETIME k", ":1700000001500\r\n");
    EXPECT(h, "EXPIRETIME k", ":1700000002\r\n");
    harness_advance_ms(h, 1500);
    EXPECT(h, "EXISTS k", ONE); /* the last millisecond */
    harness_advance_ms(h, 1);
    EXPECT(h, "EXISTS k", ZERO);
    EXPECT(h, "SET k v", OK);
    EXPECT(h, "EXPIRE k -1", ONE);
    EXPECT(h, "EXISTS k", ZERO);
    EXPECT(h, "SET k v", OK);
    EXPECT(h, "EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n");
    EXPECT(h, "PEXPIRE k 9223372036854775807", "-ERR invalid expire time in 'pexpire' command\r\n");
    EXPECT(h, "EXPIREAT k -9223372036854776", "-ERR invalid expire time in 'expireat' command\r\n");
    EXPECT(h, "PEXPIREAT k 9223372036854775807", ONE);
    EXPECT(h, "PEXPIRETIME k", ":9223372036854775807\r\n");
    EXPECT(h, "PERSIST k", ONE);
    EXPECT(h, "PERSIST k", ZERO);
}

static void test_expire_options(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "SET k v", OK);
    EXPECT(h, "EXPIRE k 10 XX", ZERO);
    EXPECT(h, "EXPIRE k 10 GT", ZERO);
    EXPECT(h, "EXPIRE k 10 LT", ONE);
    EXPECT(h, "EXPIRE k 20 NX", ZERO);
    EXPECT(h, "EXPIRE k 10 GT", ZERO);
    EXPECT(h, "EXPIRE k 11 GT XX", ONE);
    EXPECT(h, "EXPIRE k 11 LT", ZERO);
    EXPECT(h, "EXPIRE k 5 LT", ONE);
    EXPECT(h, "TTL k", ":5\r\n");
    EXPECT(h, "EXPIRE k -1 GT", ZERO);
    EXPECT(h, "EXPIRE k 10 NX XX",
           "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n");
    EXPECT(h, "EXPIRE k 10 GT LT",
           "-ERR GT and LT options at the same time are not compatible\r\n");
    EXPECT(h, "EXPIRE k x \"a\\r\\nb\\x00c\"", "-ERR Unsupported option a  b\r\n");
    EXPECT(h, "EXPIRE k -1 LT", ONE);
    EXPECT(h, "EXISTS k", ZERO);
}

static void test_several(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "MSET a 1 b 2 c 3 d 4 e 5", OK);
    EXPECT(h, "DBSIZE", ":5\r\n");
    EXPECT(h, "EXISTS a b c d e f a", ":6\r\n");
    EXPECT(h, "TOUCH a b f", ":2\r\n");
    EXPECT(h, "DEL a b a f", ":2\r\n");
    EXPECT(h, "UNLINK c d c", ":2\r\n");
    EXPECT(h, "KEYS *", "*1\r\n$1\r\ne\r\n");
    EXPECT(h, "KEYS [a-d]", "*0\r\n");
    EXPECT(h, "RANDOMKEY", "$1\r\ne\r\n");
    EXPECT(h, "TYPE e", "+string\r\n");
    EXPECT(h, "TYPE a", "+none\r\n");
    EXPECT(h, "PEXPIRE e 5", ONE);
    harness_advance_ms(h, 6);
    EXPECT(h, "RANDOMKEY", NIL);
    EXPECT(h, "KEYS *", "*0\r\n");
    EXPECT(h, "DBSIZE", ZERO);
}

static void test_rename(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "RENAME a b", "-ERR no such key\r\n");
    EXPECT(h, "RENAME a a", "-ERR no such key\r\n");
    /* Some of these pairs lie on two shards, whatever the hash. */
    for (int i = 0; i < 20; i++) {
        char line[64];
        snprintf(line, sizeof(line), "SET a%d %d EX 100", i, i);
        EXPECT(h, line, OK);
        snprintf(line, sizeof(line), "SET b%d old", i);
        EXPECT(h, line, OK);
        snprintf(line, sizeof(line), "RENAMENX a%d b%d", i, i);
        EXPECT(h, line, ZERO);
        snprintf(line, sizeof(line), "RENAME a%d b%d", i, i);
        EXPECT(h, line, OK);
        snprintf(line, sizeof(line), "RENAMENX b%d c%d", i, i);
        EXPECT(h, line, ONE);
        snprintf(line, sizeof(line), "TTL c%d", i);
        EXPECT(h, line, ":100\r\n");
        snprintf(line, sizeof(line), "RENAMENX c%d c%d", i, i);
        EXPECT(h, line, ZERO);
    }
    EXPECT(h, "DBSIZE", ":20\r\n");
    EXPECT(h, "GET c7", "$1\r\n7\r\n");
}

static void test_copy_and_move(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "SET a 1 EX 50", OK);
    EXPECT(h, "COPY a b", ONE);
    EXPECT(h, "COPY a b", ZERO);
    EXPECT(h, "SET a 2", OK);
    EXPECT(h, "COPY a b REPLACE", ONE);
    EXPECT(h, "TTL b", ":-1\r\n");
    EXPECT(h, "COPY a a", "-ERR source and destination objects are the same\r\n");
    EXPECT(h, "COPY a a DB 1", ONE);
    EXPECT(h, "COPY a a DB 16", "-ERR DB index is out of range\r\n");
    EXPECT(h, "COPY a b DB 2147483648",
           "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n");
    EXPECT(h, "COPY a b DB", SYNTAX);
    EXPECT(h, "COPY none b", ZERO);
    EXPECT(h, "MOVE a 1", ZERO);
    EXPECT(h, "MOVE b 1", ONE);
    EXPECT(h, "MOVE a 0", "-ERR source and destination objects are the same\r\n");
    EXPECT(h, "MOVE a -1", "-ERR DB index is out of range\r\n");
    EXPECT(h, "EXISTS b", ZERO);
    EXPECT(h, "SWAPDB 0 1", OK);
    EXPECT(h, "GET b", "$1\r\n2\r\n");
    EXPECT(h, "SWAPDB 0 x", "-ERR invalid second DB index\r\n");
    EXPECT(h, "SWAPDB x 0", "-ERR invalid first DB index\r\n");
    EXPECT(h, "SWAPDB 0 16", "-ERR DB index is out of range\r\n");
    EXPECT(h, "FLUSHDB foo", SYNTAX);
    EXPECT(h, "FLUSHDB SYNC ASYNC", SYNTAX);
    EXPECT(h, "FLUSHDB ASYNC", OK);
    EXPECT(h, "DBSIZE", ZERO);
    EXPECT(h, "SWAPDB 0 1", OK);
    EXPECT(h, "DBSIZE", ONE);
}

static void test_object(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "OBJECT ENCODING none", NIL);
    EXPECT(h, "SET k 44444444444444444444444444444444444444444444", OK);
    EXPECT(h, "OBJECT ENCODING k", "$6\r\nembstr\r\n");
    EXPECT(h, "APPEND k 5", ":45\r\n");
    EXPECT(h, "OBJECT ENCODING k", "$3\r\nraw\r\n");
    EXPECT(h, "SET k 9999", OK);
    EXPECT(h, "OBJECT ENCODING k", "$3\r\nint\r\n");
    EXPECT(h, "OBJECT REFCOUNT k", ":2147483647\r\n");
    EXPECT(h, "INCR k", ":10000\r\n");
    EXPECT(h, "OBJECT REFCOUNT k", ONE);
    EXPECT(h, "OBJECT IDLETIME k", ZERO);
    harness_advance_ms(h, 5000);
    EXPECT(h, "OBJECT IDLETIME k", ":5\r\n");
    EXPECT(h, "TTL k", ":-1\r\n");
    EXPECT(h, "EXISTS k", ONE);
    EXPECT(h, "OBJECT IDLETIME k", ":5\r\n");
    EXPECT(h, "TOUCH k", ONE);
    EXPECT(h, "OBJECT IDLETIME k", ZERO);
    harness_run(h, "OBJECT FREQ k");
    assert_int_equal(h->errors, 1);
    h->config.maxmemory_policy = POLICY_ALLKEYS_LFU;
    harness_run(h, "OBJECT FREQ k");
    assert_int_equal(h->errors, 0);
    harness_run(h, "OBJECT IDLETIME k");
    assert_int_equal(h->errors, 1);
}

/* ---- SCAN ---- */

/* One call; returns the cursor and counts the keys "key:N" it answers. */
static uint64_t scan_step(struct harness *h, uint64_t cursor, const char *options, unsigned *seen)
{
    char line[128];
    snprintf(line, sizeof(line), "SCAN %llu %s", (unsigned long long)cursor, options);
    const char *p = harness_run(h, line);
    uint64_t next = 0;
    int n = 0, used = 0;
    assert_int_equal(sscanf(p, "*2\r\n$%*d\r\n%lu\r\n*%d\r\n%n", &next, &n, &used), 2);
    for (p += used; n > 0; n--) {
        unsigned i;
        assert_int_equal(sscanf(p, "$%*d\r\nkey:%u\r\n%n", &i, &used), 1);
        assert_true(i < 1000);
        seen[i]++;
        p += used;
    }
    return next;
}

static void fill(struct harness *h, int n)
{
    char line[64];
    for (int i = 0; i < n; i++) {
        snprintf(line, sizeof(line), "SET key:%d x", i);
        EXPECT(h, line, OK);
    }
}

static void test_scan(void **state)
{
    struct harness *h = *state;
    static const char *options[] = {"", "COUNT 1", "COUNT 100000", "MATCH key:*", "TYPE STRING"};
    fill(h, 1000);
    for (size_t o = 0; o < sizeof(options) / sizeof(options[0]); o++) {
        unsigned seen[1000] = {0}, steps = 0;
        uint64_t cursor = 0;
        do {
            cursor = scan_step(h, cursor, options[o], seen);
        } while (cursor && ++steps < 5000);
        assert_true(steps < 5000);
        for (int i = 0; i < 1000; i++)
            assert_int_equal(seen[i], 1);
    }
}

/* What is there from the first call to the last is found, whatever comes and goes meanwhile. */
static void test_scan_while_changing(void **state)
{
    struct harness *h = *state;
    char line[64];
    unsigned seen[1000] = {0};
    int other = 0;
    uint64_t cursor = 0;
    fill(h, 300);
    do {
        cursor = scan_step(h, cursor, "COUNT 5 MATCH key:*", seen);
        for (int i = 0; i < 40; i++, other++) {
            snprintf(line, sizeof(line), other % 80 < 40 ? "SET o:%d x" : "DEL o:%d",
                     other % 80 < 40 ? other : other - 40);
            harness_run(h, line);
        }
    } while (cursor && other < 100000);
    assert_int_equal(cursor, 0);
    for (int i = 0; i < 300; i++)
        assert_true(seen[i] >= 1);
}

/* A client may send any 64 bits as a cursor: the scan goes on somewhere, and ends. */
static void test_scan_any_cursor(void **state)
{
    struct harness *h = *state;
    uint64_t r = 88172645463325252ull;
    fill(h, 200);
    for (int i = 0; i < 200; i++) {
        unsigned seen[1000] = {0}, steps = 0;
        r ^= r << 13, r ^= r >> 7, r ^= r << 17;
        uint64_t cursor = i == 0 ? UINT64_MAX : r >> i % 60;
        assert_true(scan_cursor_shard(cursor, h->count) < h->count);
        while ((cursor = scan_step(h, cursor, "COUNT 50", seen)) && steps++ < 1000)
            ;
        assert_int_equal(cursor, 0);
    }
}

static void test_scan_arguments(void **state)
{
    struct harness *h = *state;
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } cursors[] = {
        {"0", true, 0},
        {"", true, 0},
        {"007", true, 7},
        {"+7", true, 7},
        {"-1", true, UINT64_MAX},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"-18446744073709551616", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"-", false, 0},
        {"+", false, 0},
        {"0x1", false, 0},
        {"1.0", false, 0},
        {"abc", false, 0},
        {"--1", false, 0},
    };
    for (size_t i = 0; i < sizeof(cursors) / sizeof(cursors[0]); i++) {
        uint64_t v = 0;
        assert_int_equal(scan_cursor_parse(span_str(cursors[i].text), &v), cursors[i].good);
        assert_int_equal(v, cursors[i].value);
    }
    EXPECT(h, "SCAN 1x", "-ERR invalid cursor\r\n");
    EXPECT(h, "SCAN 0 COUNT 0", SYNTAX);
    EXPECT(h, "SCAN 0 COUNT x", "-ERR value is not an integer or out of range\r\n");
    EXPECT(h, "SCAN 0 COUNT", SYNTAX);
    EXPECT(h, "SCAN 0 foo bar", SYNTAX);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(scan_cursor_shard(i, 64), i);
    assert_int_equal(scan_cursor_shard(UINT64_MAX, 1), 0);
}

int main(void)
{
#define BOTH(f)                                          \
    {#f, f, setup_one, teardown, NULL},                  \
    {                                                    \
#f " (3 shards)", f, setup_three, teardown, NULL \
    }
    const struct CMUnitTest tests[] = {
        BOTH(test_expire),         BOTH(test_expire_options),      BOTH(test_several),
        BOTH(test_rename),         BOTH(test_copy_and_move),       BOTH(test_object),
        BOTH(test_scan),           BOTH(test_scan_while_changing), BOTH(test_scan_any_cursor),
        BOTH(test_scan_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
