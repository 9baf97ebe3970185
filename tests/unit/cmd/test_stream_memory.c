/* When memory fails: every command of streams with each of its allocations failing in turn, over a stream of one node and one of several with
 * a group that waits for much. Nobody may crash or leak, and a command that answers an error has changed nothing. (Without memory for the
 * next entry XREADGROUP, XCLAIM and XAUTOCLAIM answer those that they have.) */
#include <stdio.h>

#include "engine/base/assert.h"
#include "tests/unit/cmd/memory_script.h"
#include "tests/unit/unit.h"

#define ENTRIES    330
#define LINE_CHARS 220
#define LONG_TEXT \
    "tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt"
#define MANY_IDS "1-0 2-0 3-0 4-0 5-0 6-0 7-0 8-0 9-0 10-0 11-0 12-0"

/* K stands for a small stream and for a large one in turn. */
static const char *const script[] = {
    "XADD new 1-1 f v",
    "XADD new * f " LONG_TEXT " g 12",
    "XADD new MAXLEN 0 1-1 f v",
    "XADD K 9999-* f v",
    "XADD K 9999-1 field " LONG_TEXT,
    "XADD K * 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 "
    "32 33 34",
    "XADD K MAXLEN ~ 2 * f v",
    "XADD K MINID = 5 * f v",
    "XDEL K 1-0",
    "XDEL K 7-0 3-0 5-0",
    "XDEL K " MANY_IDS,
    "XTRIM K MAXLEN 3",
    "XTRIM K MAXLEN ~ 3",
    "XTRIM K MINID 150",
    "XTRIM K MAXLEN 0",
    "XSETID K 99999-1 ENTRIESADDED 1000 MAXDELETEDID 5-5",
    "XLEN K",
    "XRANGE K - +",
    "XREVRANGE K + 5 COUNT 10",
    "XREAD STREAMS K 0",
    "XREAD COUNT 2 STREAMS K new small large s1 s2 s3 s4 s5 s6 0 0 0 0 0 0 0 0 0 0",
    "XGROUP CREATE K fresh $",
    "XGROUP CREATE new fresh $ MKSTREAM",
    "XGROUP SETID K g 5-0 ENTRIESREAD 3",
    "XGROUP CREATECONSUMER K g fresh",
    "XGROUP DELCONSUMER K g alice",
    "XGROUP DESTROY K g",
    "XGROUP DESTROY K none",
    "XREADGROUP GROUP g bob STREAMS K >",
    "XREADGROUP GROUP g fresh COUNT 1 STREAMS K >",
    "XREADGROUP GROUP g fresh NOACK STREAMS K >",
    "XREADGROUP GROUP g alice STREAMS K 0",
    "XREADGROUP GROUP g fresh STREAMS K 0",
    "XREADGROUP GROUP g fresh COUNT 60 STREAMS K K > >",
    "XREADGROUP GROUP none fresh STREAMS K >",
    "XACK K g " MANY_IDS,
    "XACK K g 1-0",
    "XPENDING K g",
    "XPENDING K g - + 100 alice",
    "XPENDING K none",
    "XCLAIM K g bob 0 " MANY_IDS,
    "XCLAIM K g fresh 0 " MANY_IDS,
    "XCLAIM K g fresh 0 300-0 301-0 302-0 FORCE RETRYCOUNT 5 LASTID 400",
    "XCLAIM K g fresh 0 1-0 JUSTID",
    "XAUTOCLAIM K g fresh 0 - COUNT 50",
    "XAUTOCLAIM K g bob 0 5-0 JUSTID",
    "XINFO STREAM K",
    "XINFO STREAM K FULL",
    "XINFO GROUPS K",
    "XINFO CONSUMERS K g",
    "XINFO CONSUMERS K none",
    "COPY K new",
    "COPY K text REPLACE",
    "RENAME K new",
    "MOVE K 5",
    "DUMP K",
    "DEL K",
    "UNLINK K",
    "FLUSHDB ASYNC",
};

static const char *const keys[] = {"small", "large", "text", "new", NULL};

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

static const char *setup_lines[ENTRIES + 32];

static void make_setup(void)
{
    static char text[ENTRIES][64];
    static const char *const rest[] = {
        "XADD small 1-0 f v",
        "XADD small 3-0 f w",
        "XADD small 5-0 other 1 f 2",
        "XADD small 7-0 f v",
        "XDEL small 5-0",
        "XGROUP CREATE small g 0",
        "XREADGROUP GROUP g alice COUNT 2 STREAMS small >",
        "XGROUP CREATE large g 0",
        "XREADGROUP GROUP g alice COUNT 120 STREAMS large >",
        "XREADGROUP GROUP g bob COUNT 60 STREAMS large >",
        "XDEL large 7-0 8-0",
        "SET text value EX 100",
        NULL,
    };
    size_t n = 0;
    for (int i = 0; i < ENTRIES; i++) {
        snprintf(text[i], sizeof(text[i]), "XADD large %d-0 f value-%d %s %d", i + 1, i,
                 i % 9 ? "g" : "h", i);
        setup_lines[n++] = text[i];
    }
    for (size_t i = 0; rest[i]; i++)
        setup_lines[n++] = rest[i];
    setup_lines[n] = NULL;
}

static void test_each_allocation_fails(void **state)
{
    static char text[ARRAY_LEN(script)][LINE_CHARS];
    const char *lines[ARRAY_LEN(script) + 1] = {0};
    make_setup();
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < ARRAY_LEN(script); i++) {
            put_key(text[i], script[i], turn ? "large" : "small");
            lines[i] = text[i];
        }
        const struct memory_script m = {setup_lines, keys, lines, NULL, NULL};
        for (uint32_t shards = 1; shards <= 3; shards += 2) {
            size_t failures = memory_script_run(&m, shards);
            print_message("%zu failed allocations in %zu commands\n", failures, ARRAY_LEN(script));
            assert_true(failures > 50);
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
