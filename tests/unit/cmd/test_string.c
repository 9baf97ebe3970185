/* Strings: SET and its options, GETEX, numbers, ranges, LCS; and what each command tells ks_changed. The edge cases of every reply are
 * compared with redis-server itself by tests/compat; here is what a reader should know, and what a reply does not show. */
#include <stdio.h>

#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

#define OK       "+OK\r\n"
#define NIL      "$-1\r\n"
#define ZERO     ":0\r\n"
#define ONE      ":1\r\n"
#define SYNTAX   "-ERR syntax error\r\n"
#define NOT_INT  "-ERR value is not an integer or out of range\r\n"
#define BAD_TIME "-ERR invalid expire time in 'set' command\r\n"

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

/* As the documentation of Valkey 8.1 and 9.0 has it; redis-server 7.0 knows neither. */
static void test_set_if_equal(void **state)
{
    static const char wrong[] =
        "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    struct harness *h = *state;
    EXPECT(h, "SET k v IFEQ v", NIL); /* there is none */
    EXPECT(h, "SET k v IFEQ v GET", NIL);
    EXPECT(h, "EXISTS k", ZERO);
    EXPECT(h, "SET k v", OK);
    EXPECT(h, "SET k w IFEQ other", NIL);
    EXPECT(h, "SET k w IFEQ v", OK);
    EXPECT(h, "SET k x GET IFEQ v", "$1\r\nw\r\n"); /* the old value either way */
    EXPECT(h, "GET k", "$1\r\nw\r\n");
    EXPECT(h, "SET k 10 ifeq w get EX 100", "$1\r\nw\r\n");
    EXPECT(h, "TTL k", ":100\r\n");
    EXPECT(h, "SET k 11 IFEQ 010 KEEPTTL", NIL); /* text, not numbers */
    EXPECT(h, "SET k 11 IFEQ 10 KEEPTTL", OK);
    EXPECT(h, "TTL k", ":100\r\n");
    EXPECT(h, "SET k 12 PX 5000 IFEQ 11", OK);
    EXPECT(h, "PTTL k", ":5000\r\n");
    EXPECT(h, "SET k 13 IFEQ 12", OK);
    EXPECT(h, "TTL k", ":-1\r\n");
    EXPECT(h, "SET k \"\" IFEQ 13", OK);
    EXPECT(h, "SET k v IFEQ \"\"", OK);
    EXPECT(h, "SET k v IFEQ", SYNTAX);
    EXPECT(h, "SET k v IFEQ v NX", SYNTAX);
    EXPECT(h, "SET k v XX IFEQ v", SYNTAX);
    EXPECT(h, "SET k v IFEQ v XX", SYNTAX);
    EXPECT(h, "SET k v IFEQ v IFEQ v", SYNTAX);
    EXPECT(h, "SET k v IFEQ v EX 0", BAD_TIME);
    EXPECT(h, "SET k v IFEQ nx EX", SYNTAX);
    EXPECT(h, "GETEX k IFEQ v", SYNTAX);
    EXPECT(h, "LPUSH l a", ONE);
    EXPECT(h, "SET l v IFEQ a", wrong);
    EXPECT(h, "SET l v IFEQ a GET", wrong);
    EXPECT(h, "TYPE l", "+list\r\n");
    EXPECT(h, "DELIFEQ l a", wrong);
    EXPECT(h, "DELIFEQ none a", ZERO);
    EXPECT(h, "DELIFEQ k w", ZERO);
    EXPECT(h, "GET k", "$1\r\nv\r\n");
    EXPECT(h, "DELIFEQ k v", ONE);
    EXPECT(h, "EXISTS k", ZERO);
    EXPECT(h, "SET n 7", OK);
    EXPECT(h, "DELIFEQ n 7", ONE);
    EXPECT(h, "DELIFEQ n", "-ERR wrong number of arguments for 'delifeq' command\r\n");
}

static void test_set_conditions(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "SET k v XX", NIL);
    EXPECT(h, "SET k v NX", OK);
    EXPECT(h, "SET k w NX", NIL);
    EXPECT(h, "SET k w XX", OK);
    EXPECT(h, "GET k", "$1\r\nw\r\n");
    EXPECT(h, "SET k v NX XX", SYNTAX);
    EXPECT(h, "SET k v NX NX", NIL);
    EXPECT(h, "SET k v GET", "$1\r\nw\r\n");
    EXPECT(h, "SET k x NX GET", "$1\r\nv\r\n");
    EXPECT(h, "SET new x NX GET", NIL);
    EXPECT(h, "GET new", "$1\r\nx\r\n");
    EXPECT(h, "SET none x XX GET", NIL);
    EXPECT(h, "EXISTS none", ZERO);
    EXPECT(h, "SETNX k v", ZERO);
    EXPECT(h, "SETNX k2 v", ONE);
    EXPECT(h, "GETSET k 5", "$1\r\nv\r\n");
    EXPECT(h, "GETDEL k", "$1\r\n5\r\n");
    EXPECT(h, "GETDEL k", NIL);
}

static void test_set_times(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "SET k v EX 10", OK);
    EXPECT(h, "PTTL k", ":10000\r\n");
    EXPECT(h, "SET k v KEEPTTL", OK);
    EXPECT(h, "PTTL k", ":10000\r\n");
    EXPECT(h, "SET k v PX 1500", OK);
    EXPECT(h, "TTL k", ":2\r\n");
    harness_advance_ms(h, 1499);
    EXPECT(h, "PTTL k", ":1\r\n");
    EXPECT(h, "TTL k", ZERO);
    harness_advance_ms(h, 1); /* the last millisecond */
    EXPECT(h, "PTTL k", ZERO);
    harness_advance_ms(h, 1);
    EXPECT(h, "GET k", NIL);
    EXPECT(h, "SET k v EXAT 1700000100", OK);
    EXPECT(h, "EXPIRETIME k", ":1700000100\r\n");
    EXPECT(h, "SET k v PXAT 1700000100500", OK);
    EXPECT(h, "EXPIRETIME k", ":1700000101\r\n");
    EXPECT(h, "SET k v", OK);
    EXPECT(h, "TTL k", ":-1\r\n");
    EXPECT(h, "SET k v EX 1 PX 1", SYNTAX);
    EXPECT(h, "SET k v EX 1 KEEPTTL", SYNTAX);
    EXPECT(h, "SET k v EX", SYNTAX);
    EXPECT(h, "SET k v PERSIST", SYNTAX);
    EXPECT(h, "SET k v EX 0", BAD_TIME);
    EXPECT(h, "SET k v PX -1", BAD_TIME);
    EXPECT(h, "SET k v EX 9223372036854776", BAD_TIME);
    EXPECT(h, "SET k v PX 9223372036854775807", BAD_TIME);
    EXPECT(h, "SET k v EX x", NOT_INT);
    EXPECT(h, "SETEX k 0 v", "-ERR invalid expire time in 'setex' command\r\n");
    EXPECT(h, "PSETEX k 0 v", "-ERR invalid expire time in 'psetex' command\r\n");
    EXPECT(h, "SETEX k 5 v", OK);
    EXPECT(h, "PSETEX k 5 v", OK);
    EXPECT(h, "PTTL k", ":5\r\n");
    EXPECT(h, "SET k v PXAT 1", OK);
    EXPECT(h, "GET k", NIL);
}

static void test_getex(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "SET k v", OK);
    EXPECT(h, "GETEX k EX 10", "$1\r\nv\r\n");
    EXPECT(h, "TTL k", ":10\r\n");
    EXPECT(h, "GETEX k", "$1\r\nv\r\n");
    EXPECT(h, "GETEX k PERSIST", "$1\r\nv\r\n");
    EXPECT(h, "TTL k", ":-1\r\n");
    EXPECT(h, "GETEX k KEEPTTL", SYNTAX);
    EXPECT(h, "GETEX k NX", SYNTAX);
    EXPECT(h, "GETEX k PERSIST EX 1", SYNTAX);
    EXPECT(h, "GETEX k EX 0", "-ERR invalid expire time in 'getex' command\r\n");
    EXPECT(h, "GETEX none EX 0", NIL);
    EXPECT(h, "GETEX k EXAT 1", "$1\r\nv\r\n");
    EXPECT(h, "EXISTS k", ZERO);
}

static void test_numbers(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "INCR n", ONE);
    EXPECT(h, "DECRBY n 3", ":-2\r\n");
    EXPECT(h, "OBJECT ENCODING n", "$3\r\nint\r\n");
    EXPECT(h, "SET n 9223372036854775807", OK);
    EXPECT(h, "INCR n", "-ERR increment or decrement would overflow\r\n");
    EXPECT(h, "DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n");
    EXPECT(h, "INCRBY n -9223372036854775808", ":-1\r\n");
    EXPECT(h, "INCRBY n 1.0", NOT_INT);
    EXPECT(h, "SET s \" 1\"", OK);
    EXPECT(h, "INCR s", NOT_INT);
    EXPECT(h, "INCRBYFLOAT f 10.5", "$4\r\n10.5\r\n");
    EXPECT(h, "INCRBYFLOAT f -0.5", "$2\r\n10\r\n");
    EXPECT(h, "OBJECT ENCODING f", "$6\r\nembstr\r\n");
    EXPECT(h, "INCR f", ":11\r\n");
    EXPECT(h, "OBJECT ENCODING f", "$3\r\nint\r\n");
    EXPECT(h, "INCRBYFLOAT f nan", "-ERR value is not a valid float\r\n");
    EXPECT(h, "INCRBYFLOAT f inf", "-ERR increment would produce NaN or Infinity\r\n");
    EXPECT(h, "INCRBYFLOAT g 3.0e3", "$4\r\n3000\r\n");
    EXPECT(h, "GET f", "$2\r\n11\r\n");
    EXPECT(h, "EXPIRE f 100", ONE);
    EXPECT(h, "INCRBYFLOAT f 1", "$2\r\n12\r\n");
    EXPECT(h, "INCR f", ":13\r\n");
    EXPECT(h, "TTL f", ":100\r\n");
}

static void test_ranges(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "APPEND k 12", ":2\r\n");
    EXPECT(h, "OBJECT ENCODING k", "$3\r\nint\r\n");
    EXPECT(h, "APPEND k \"\"", ":2\r\n");
    EXPECT(h, "OBJECT ENCODING k", "$3\r\nraw\r\n");
    EXPECT(h, "SETRANGE k 4 x", ":5\r\n");
    EXPECT(h, "GET k", "$5\r\n12\0\0x\r\n");
    EXPECT(h, "SETRANGE k 100 \"\"", ":5\r\n");
    EXPECT(h, "SETRANGE none 5 \"\"", ZERO);
    EXPECT(h, "SETRANGE none -1 x", "-ERR offset is out of range\r\n");
    EXPECT(h, "SETRANGE k 536870912 x",
           "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
    EXPECT(h, "SETRANGE k 9223372036854775807 x",
           "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
    h->config.proto_max_bulk_bytes = 6;
    EXPECT(h, "APPEND k yz", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
    EXPECT(h, "APPEND k y", ":6\r\n");
    EXPECT(h, "SETRANGE new 6 x",
           "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
    EXPECT(h, "SETRANGE new 5 x", ":6\r\n");
    EXPECT(h, "GET new", "$6\r\n\0\0\0\0\0x\r\n");
    EXPECT(h, "SET k abcdef", OK);
    EXPECT(h, "GETRANGE k 1 -2", "$4\r\nbcde\r\n");
    EXPECT(h, "GETRANGE k 0 -100", "$1\r\na\r\n");
    EXPECT(h, "GETRANGE k -1 -3", "$0\r\n\r\n");
    EXPECT(h, "GETRANGE k -9223372036854775808 9223372036854775807", "$6\r\nabcdef\r\n");
    EXPECT(h, "SUBSTR k 6 9", "$0\r\n\r\n");
    EXPECT(h, "STRLEN k", ":6\r\n");
    EXPECT(h, "STRLEN none", ZERO);
    EXPECT(h, "GETRANGE none a 1", NOT_INT);
}

static void test_many(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "MSET a 1 b 2 c 3 a 4", OK);
    EXPECT(h, "MGET a none b c a", "*5\r\n$1\r\n4\r\n$-1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n");
    EXPECT(h, "MSETNX d 1 b 2", ZERO);
    EXPECT(h, "EXISTS d", ZERO);
    EXPECT(h, "MSETNX d 1 e 2 f 3", ONE);
    EXPECT(h, "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n");
    EXPECT(h, "MSETNX a 1 b", "-ERR wrong number of arguments for 'msetnx' command\r\n");
    EXPECT(h, "EXPIRE a 10", ONE);
    EXPECT(h, "MSET a 5", OK);
    EXPECT(h, "TTL a", ":-1\r\n");
    h->session->resp = 3;
    EXPECT(h, "MGET none a", "*2\r\n_\r\n$1\r\n5\r\n");
    EXPECT(h, "GET none", "_\r\n");
}

static void test_lcs(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "MSET a ohmytext b mynewtext", OK);
    EXPECT(h, "LCS a b", "$6\r\nmytext\r\n");
    EXPECT(h, "LCS b a", "$6\r\nmytext\r\n");
    EXPECT(h, "LCS a b LEN", ":6\r\n");
    EXPECT(h, "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
           "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n"
           "$3\r\nlen\r\n:6\r\n");
    EXPECT(h, "LCS a none", "$0\r\n\r\n");
    EXPECT(h, "LCS a none IDX", "*4\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:0\r\n");
    EXPECT(h, "LCS a b LEN IDX",
           "-ERR If you want both the length and indexes, please just use IDX.\r\n");
    EXPECT(h, "LCS a b MINMATCHLEN", SYNTAX);
    h->session->resp = 3;
    EXPECT(h, "LCS a b IDX",
           "%2\r\n$7\r\nmatches\r\n*2\r\n*2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n"
           "*2\r\n*2\r\n:2\r\n:3\r\n*2\r\n:0\r\n:1\r\n$3\r\nlen\r\n:6\r\n");
    h->config.proto_max_bulk_bytes = 100;
    EXPECT(h, "LCS a b",
           "-ERR Insufficient memory, transient memory for LCS exceeds "
           "proto-max-bulk-len\r\n");
}

/* ---- what is told of each change ---- */

static char events[512];

static void record(void *ctx, struct shard *s, uint32_t db, struct span key, enum ks_class cls,
                   const char *event)
{
    size_t n = strlen(events);
    const char *class = cls == KS_STRING ? "string" : cls == KS_EXPIRED ? "expired" : "generic";
    snprintf(events + n, sizeof(events) - n, "%s%u:%.*s:%s:%s", n ? " " : "", db, (int)key.n,
             (const char *)key.p, class, event);
}

static void expect_events(struct harness *h, const char *line, const char *want)
{
    events[0] = 0;
    harness_run(h, line);
    if (strcmp(events, want) != 0)
        fail_msg("%s: \"%s\" instead of \"%s\"", line, events, want);
}

static void test_events(void **state)
{
    struct harness *h = *state;
    for (uint32_t i = 0; i < h->count; i++)
        shard_hook(&h->shards[i], record, NULL);
    expect_events(h, "SET k v", "0:k:string:set");
    expect_events(h, "SET k v NX", "");
    expect_events(h, "SET k v IFEQ w", "");
    expect_events(h, "SET k v IFEQ v PX 10000", "0:k:string:set 0:k:generic:expire");
    expect_events(h, "DELIFEQ k w", "");
    expect_events(h, "DELIFEQ k v", "0:k:generic:del");
    expect_events(h, "SET k v", "0:k:string:set");
    expect_events(h, "SET k v EX 100", "0:k:string:set 0:k:generic:expire");
    expect_events(h, "SET k v EX 0", "");
    expect_events(h, "SET k v XX GET", "0:k:string:set");
    expect_events(h, "GET k", "");
    expect_events(h, "GETEX k", "");
    expect_events(h, "GETEX k PERSIST", "");
    expect_events(h, "GETEX k EX 9", "0:k:generic:expire");
    expect_events(h, "GETEX k PERSIST", "0:k:generic:persist");
    expect_events(h, "GETSET k v", "0:k:string:set");
    expect_events(h, "APPEND k w", "0:k:string:append");
    expect_events(h, "SETRANGE k 0 x", "0:k:string:setrange");
    expect_events(h, "SETRANGE k 0 \"\"", "");
    expect_events(h, "INCR k", "");
    expect_events(h, "GETDEL k", "0:k:generic:del");
    expect_events(h, "DECR k", "0:k:string:incrby");
    expect_events(h, "INCRBYFLOAT k 1", "0:k:string:incrbyfloat");
    expect_events(h, "MSET a 1 b 2", "0:a:string:set 0:b:string:set");
    expect_events(h, "MSETNX a 1 c 2", "");
    expect_events(h, "EXPIRE a 10", "0:a:generic:expire");
    expect_events(h, "EXPIRE a 5 GT", "");
    expect_events(h, "PERSIST a", "0:a:generic:persist");
    expect_events(h, "PERSIST a", "");
    expect_events(h, "EXPIREAT a 1", "0:a:generic:del");
    expect_events(h, "RENAME b c", "0:b:generic:rename_from 0:c:generic:rename_to");
    expect_events(h, "RENAME c c", "");
    expect_events(h, "RENAMENX c k", "");
    expect_events(h, "COPY c d", "0:d:generic:copy_to");
    expect_events(h, "COPY c e DB 2", "2:e:generic:copy_to");
    expect_events(h, "MOVE c 3", "0:c:generic:move_from 3:c:generic:move_to");
    expect_events(h, "DEL d d none", "0:d:generic:del");
    expect_events(h, "PSETEX p 5 v", "0:p:string:set 0:p:generic:expire");
    harness_advance_ms(h, 6);
    expect_events(h, "GET p", "0:p:expired:expired");
    expect_events(h, "PSETEX p 5 v", "0:p:string:set 0:p:generic:expire");
    harness_advance_ms(h, 6);
    expect_events(h, "SETNX p v", "0:p:expired:expired 0:p:string:set");
}

int main(void)
{
#define BOTH(f)                                          \
    {#f, f, setup_one, teardown, NULL},                  \
    {                                                    \
#f " (3 shards)", f, setup_three, teardown, NULL \
    }
    const struct CMUnitTest tests[] = {
        BOTH(test_set_conditions), BOTH(test_set_if_equal), BOTH(test_set_times),
        BOTH(test_getex),          BOTH(test_numbers),      BOTH(test_ranges),
        BOTH(test_many),           BOTH(test_lcs),          BOTH(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
