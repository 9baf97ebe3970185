/* When memory fails: every command of sorted sets and geo, with each of its allocations failing in turn, over listpacks and trees. Nobody
 * may crash or leak, and a command that answers an error has changed nothing (ZADD of several pairs may have added those before the one
 * that failed). */
#include <stdio.h>

#include "engine/base/assert.h"
#include "tests/unit/cmd/memory_script.h"
#include "tests/unit/unit.h"

#define LONG_MEMBER "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm"
#define LINE_CHARS  400

/* K stands for a small sorted set and for a large one in turn. */
static const char *const script[] = {
    "ZADD new 1 a",
    "ZADD new 1 " LONG_MEMBER,
    "ZADD new 1 a 2 " LONG_MEMBER " 3 c",
    "ZADD K 1 fresh",
    "ZADD K 1.25 fresh",
    "ZADD K 1 " LONG_MEMBER,
    "ZADD K 99 m1",
    "ZADD K 0.5 m9",
    "ZADD K -123456789012 m5",
    "ZADD K XX CH 3 m5",
    "ZINCRBY K 2.5 m3",
    "ZINCRBY new 1 a",
    "ZREM K m1 m2 m3",
    "ZREMRANGEBYRANK K 1 5",
    "ZREMRANGEBYRANK K 0 -1",
    "ZREMRANGEBYSCORE K 2 4",
    "ZREMRANGEBYLEX K [m3 [m5",
    "ZPOPMIN K",
    "ZPOPMAX K 1000",
    "ZMPOP 2 none K MIN COUNT 3",
    "ZSCORE K m1",
    "ZMSCORE K m1 none",
    "ZRANK K m1",
    "ZREVRANK K m1",
    "ZCARD K",
    "ZCOUNT K 1 3",
    "ZCOUNT K "
    "                                                                                            1 "
    "2",
    "ZLEXCOUNT K [m [n",
    "ZRANGE K 0 -1 WITHSCORES",
    "ZRANGE K 1 3 BYSCORE LIMIT 1 2",
    "ZREVRANGE K 0 3",
    "ZRANGEBYLEX K - +",
    "ZRANGESTORE new K 0 -1",
    "ZRANGESTORE K K 1 2",
    "ZRANGESTORE s K 1 3 BYSCORE",
    "ZRANDMEMBER K",
    "ZRANDMEMBER K -5",
    "ZRANDMEMBER K 2 WITHSCORES",
    "ZRANDMEMBER K 300",
    "ZSCAN K 0 COUNT 1000",
    "ZUNION 3 K small set",
    "ZINTER 2 K small WITHSCORES",
    "ZDIFF 2 K set",
    "ZINTERCARD 2 K large",
    "ZUNIONSTORE new 2 K set WEIGHTS 2 3",
    "ZUNIONSTORE small 2 K large AGGREGATE MAX",
    "ZINTERSTORE new 2 K large",
    "ZINTERSTORE large 2 K none",
    "ZDIFFSTORE new 2 K set",
    "GEOADD new 13.3 38.1 a",
    "GEOADD K 13.3 38.1 a",
    "GEOPOS K m1",
    "GEOHASH K m1",
    "GEODIST K m1 m2",
    "GEORADIUS places 13 38 200 km WITHDIST WITHCOORD WITHHASH",
    "GEORADIUS places 13 38 200 km STORE new",
    "GEORADIUSBYMEMBER places p1 200 km STOREDIST K COUNT 5",
    "GEOSEARCH places FROMMEMBER p1 BYBOX 100 100 km COUNT 3",
    "GEOSEARCHSTORE K places FROMMEMBER p1 BYRADIUS 100 km",
    "COPY K new",
    "COPY K s REPLACE",
    "RENAME K new",
    "MOVE K 5",
    "DEL K",
    "UNLINK K",
    "FLUSHDB ASYNC",
};

static const char *const keys[] = {"small", "large", "places", "set", "new", "s", NULL};

/* The line with a key's name for each K that stands alone. */
static void put_key(char *to, const char *line, const char *key)
{
    for (const char *p = line; *p; p++) {
        if (*p == 'K' && p > line && p[-1] == ' ' && (p[1] == ' ' || !p[1]))
            to += sprintf(to, "%s", key);
        else
            *to++ = *p;
    }
    *to = 0;
}

static const char *zadd(char *to, const char *key, int n)
{
    char *end = to + sprintf(to, "ZADD %s", key);
    for (int i = 0; i < n; i++)
        end += sprintf(end, " %d m%d", i % 5 + 1, i);
    return to;
}

static const char *geoadd(char *to, int n)
{
    char *end = to + sprintf(to, "GEOADD places");
    for (int i = 0; i < n; i++)
        end += sprintf(end, " %f %f p%d", 13 + i * 0.01, 38 + i * 0.007, i);
    return to;
}

static void test_each_allocation_fails(void **state)
{
    static char small[200], large[4000], places[2000], text[ARRAY_LEN(script)][LINE_CHARS];
    const char *setup[] = {zadd(small, "small", 12), zadd(large, "large", 230),
                           geoadd(places, 40),       "SADD set m1 m2 x y z 1 2",
                           "SET s value EX 100",     NULL};
    const char *lines[ARRAY_LEN(script) + 1] = {0};
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < ARRAY_LEN(script); i++) {
            put_key(text[i], script[i], turn ? "large" : "small");
            lines[i] = text[i];
        }
        const struct memory_script m = {setup, keys, lines, NULL, NULL};
        for (uint32_t shards = 1; shards <= 3; shards += 2) {
            size_t failures = memory_script_run(&m, shards);
            print_message("%zu failed allocations in %zu commands\n", failures, ARRAY_LEN(script));
            assert_true(failures > 100);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
