/* COMMAND, DEBUG, MEMORY: shapes of redis-server 7.0.15. Every row is compared with a real server by tests/compat/command_info.py. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

static int setup(void **state)
{
    struct harness *h = malloc(sizeof(*h));
    assert_non_null(h);
    harness_init(h, 1);
    h->config.enable_debug_command = DEBUG_CMD_YES;
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    harness_fini(*state);
    free(*state);
    return 0;
}

/* Reads one reply; returns where it ends, NULL when it is not well-formed. */
static const char *reply_end(const char *p, const char *end)
{
    const char *crlf = p < end ? memchr(p, '\r', (size_t)(end - p)) : NULL;
    if (!crlf || crlf + 1 >= end || crlf[1] != '\n')
        return NULL;
    long n = strtol(p + 1, NULL, 10);
    char type = *p;
    p = crlf + 2;
    if (type == '$' || type == '=')
        return n < 0 ? p : p + n + 2 <= end ? p + n + 2 : NULL;
    if (type == '%')
        n *= 2;
    if (type == '*' || type == '%' || type == '~')
        for (; p && n > 0; n--)
            p = reply_end(p, end);
    return p;
}

static void all_replies_are_whole(void **state)
{
    static const char *const lines[] = {"COMMAND",      "COMMAND INFO", "COMMAND DOCS",
                                        "COMMAND LIST", "COMMAND HELP", "CLIENT HELP",
                                        "OBJECT HELP",  "MEMORY HELP",  "DEBUG HELP"};
    struct harness *h = *state;
    for (uint8_t resp = 2; resp <= 3; resp++) {
        h->session->resp = resp;
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
            const char *reply = harness_run(h, lines[i]), *end = reply + h->reply.len - 1;
            assert_ptr_equal(reply_end(reply, end), end);
        }
    }
}

static void info(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "COMMAND INFO GeT nosuch post debug|object",
           "*4\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
           "*3\r\n+@read\r\n+@string\r\n+@fast\r\n*0\r\n*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n"
           "+access\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n"
           "*2\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n"
           "$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n"
           "*0\r\n$-1\r\n$-1\r\n$-1\r\n");
    h->session->resp = 3;
    EXPECT(h, "COMMAND INFO client|list",
           "*1\r\n*10\r\n$11\r\nclient|list\r\n:-2\r\n~4\r\n+admin\r\n+noscript\r\n+loading\r\n"
           "+stale\r\n:0\r\n:0\r\n:0\r\n~4\r\n+@admin\r\n+@slow\r\n+@dangerous\r\n+@connection\r\n"
           "~1\r\n$23\r\nnondeterministic_output\r\n~0\r\n~0\r\n");
}

static void count_is_the_length_of_the_list(void **state)
{
    struct harness *h = *state;
    int count = atoi(harness_run(h, "COMMAND COUNT") + 1);
    assert_int_equal(atoi(harness_run(h, "COMMAND") + 1), count);
    assert_int_equal(atoi(harness_run(h, "COMMAND DOCS") + 1), 2 * count);
    int top = 0;
    for (const struct cmd_desc *d = cmd_next(NULL); d; d = cmd_next(d))
        top++;
    assert_int_equal(count, top);
    int all = atoi(harness_run(h, "COMMAND LIST") + 1);
    assert_true(all > count && all < CMD_COUNT);
    assert_null(strstr(harness_run(h, "COMMAND LIST"), "post"));
    assert_null(strstr(harness_run(h, "COMMAND LIST"), "debug|"));
}

static void list(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "COMMAND LIST FILTERBY PATTERN OBJECT|?re*", "*1\r\n$11\r\nobject|freq\r\n");
    EXPECT(h, "COMMAND LIST FILTERBY MODULE x", "*0\r\n");
    EXPECT(h, "COMMAND LIST FILTERBY ACLCAT nosuch", "*0\r\n");
    assert_non_null(strstr(harness_run(h, "COMMAND LIST FILTERBY ACLCAT DANGEROUS"), "flushall"));
    assert_null(strstr(harness_run(h, "COMMAND LIST FILTERBY ACLCAT dangerous"), "$3\r\nget\r"));
    EXPECT(h, "COMMAND LIST FILTERBY x y", "-ERR syntax error\r\n");
    EXPECT(h, "COMMAND LIST FILTERBY", "-ERR syntax error\r\n");
}

static void docs(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "COMMAND DOCS nosuch client|id",
           "*2\r\n$9\r\nclient|id\r\n*8\r\n$7\r\nsummary\r\n$38\r\nAnswers the number of this "
           "connection.\r\n$5\r\nsince\r\n$5\r\n5.0.0\r\n$5\r\ngroup\r\n$10\r\nconnection\r\n"
           "$10\r\ncomplexity\r\n$4\r\nO(1)\r\n");
    EXPECT(h, "COMMAND DOCS nosuch", "*0\r\n");
}

static void getkeys(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "COMMAND GETKEYS mset a 1 b 2", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    EXPECT(h, "COMMAND GETKEYS object encoding x", "*1\r\n$1\r\nx\r\n");
    EXPECT(h, "COMMAND GETKEYS get a b",
           "-ERR Invalid number of arguments specified for command\r\n");
    EXPECT(h, "COMMAND GETKEYS nosuch a", "-ERR Invalid command specified\r\n");
    EXPECT(h, "COMMAND GETKEYS object|encoding x", "-ERR Invalid command specified\r\n");
    EXPECT(h, "COMMAND GETKEYS post x", "-ERR Invalid command specified\r\n");
    EXPECT(h, "COMMAND GETKEYS client foo", "-ERR Invalid command specified\r\n");
    EXPECT(h, "COMMAND GETKEYS debug object x", "-ERR The command has no key arguments\r\n");
    EXPECT(h, "COMMAND GETKEYSANDFLAGS set a b", "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+OW\r\n+update\r\n");
    EXPECT(h, "COMMAND GETKEYSANDFLAGS set get b EX 9 get",
           "*1\r\n*2\r\n$3\r\nget\r\n*3\r\n+RW\r\n+access\r\n+update\r\n");
    EXPECT(
        h, "COMMAND GETKEYSANDFLAGS rename a b",
        "*2\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+delete\r\n*2\r\n$1\r\nb\r\n*2\r\n+OW\r\n"
        "+update\r\n");
}

static void debug(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "DEBUG FOO x",
           "-ERR unknown subcommand or wrong number of arguments for 'FOO'. Try DEBUG HELP.\r\n");
    EXPECT(h, "DEBUG SLEEP",
           "-ERR unknown subcommand or wrong number of arguments for 'SLEEP'. Try DEBUG HELP.\r\n");
    EXPECT(h, "DEBUG ERROR \"x\\ny\"", "-x y\r\n");
    EXPECT(h, "DEBUG SLEEP -1", "+OK\r\n");
    EXPECT(h, "DEBUG SLEEP nan", "+OK\r\n");
    assert_int_equal(h->slept_ms, 0);
    EXPECT(h, "DEBUG SLEEP 1e300", "+OK\r\n");
    assert_int_equal(h->slept_ms, INT32_MAX);
    EXPECT(h, "DEBUG OBJECT missing", "-ERR no such key\r\n");
    harness_run(h, "SET k abc");
    const char *reply = harness_run(h, "DEBUG OBJECT k");
    assert_int_equal(strncmp(reply, "+Value at:0x", 12), 0);
    assert_non_null(strstr(reply, " refcount:1 encoding:embstr serializedlength:4 lru:"));
    assert_non_null(strstr(reply, " lru_seconds_idle:0\r\n"));
    EXPECT(
        h, "DEBUG OBJECT k x",
        "-ERR unknown subcommand or wrong number of arguments for 'OBJECT'. Try DEBUG HELP.\r\n");
    EXPECT(h, "DEBUG PROTOCOL map", "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n");
    EXPECT(h, "DEBUG PROTOCOL push", "-ERR RESP2 is not supported by this command\r\n");
    h->session->resp = 3;
    EXPECT(h, "DEBUG PROTOCOL map", "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n");
    EXPECT(h, "DEBUG PROTOCOL bignum", "(1234567999999999999999999999999999999\r\n");
    EXPECT(h, "DEBUG PROTOCOL attrib",
           "|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n$39\r\nSome real reply "
           "following the attribute\r\n");
}

static void active_expire_switch(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "DEBUG SET-ACTIVE-EXPIRE 0", "+OK\r\n");
    assert_true(h->shards[0].expire_paused);
    EXPECT(h, "DEBUG SET-ACTIVE-EXPIRE 1", "+OK\r\n");
    assert_false(h->shards[0].expire_paused);
}

static void populate_checks(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "DEBUG POPULATE -1", "-ERR value is out of range, must be positive\r\n");
    EXPECT(h, "DEBUG POPULATE 1 a 99999999999999",
           "-ERR value is out of range, must be positive\r\n");
    harness_run(h, "SET a:0 mine");
    EXPECT(h, "DEBUG POPULATE 3 a 10", "+OK\r\n");
    EXPECT(h, "GET a:0", "$4\r\nmine\r\n"); /* what is there stays */
    EXPECT(h, "GET a:2", "$10\r\nvalue:2\0\0\0\r\n");
    EXPECT(h, "DEBUG POPULATE 1 b 3", "+OK\r\n");
    EXPECT(h, "GET b:0", "$3\r\nval\r\n");
    EXPECT(h, "DEBUG POPULATE 0", "+OK\r\n");
    EXPECT(h, "DBSIZE", ":4\r\n");
}

/* Each shard makes the keys it owns; together they are all there. */
static void populate_over_shards(void **state)
{
    struct harness h;
    harness_init(&h, 3);
    h.config.enable_debug_command = DEBUG_CMD_YES;
    EXPECT(&h, "DEBUG POPULATE 1000", "+OK\r\n");
    EXPECT(&h, "DBSIZE", ":1000\r\n");
    for (int i = 0; i < 3; i++)
        assert_in_range(ks_count(&h.shards[i], 0), 200, 500);
    EXPECT(&h, "GET key:999", "$9\r\nvalue:999\r\n");
    EXPECT(&h, "DEBUG SET-ACTIVE-EXPIRE 0", "+OK\r\n");
    assert_true(h.shards[2].expire_paused);
    harness_fini(&h);
}

static void populate_without_memory(void **state)
{
    struct harness *h = *state;
    h->shards[0].mem.fail_after = 20;
    EXPECT(h, "DEBUG POPULATE 100", "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    h->shards[0].mem.fail_after = 0;
    EXPECT(h, "PING", "+PONG\r\n");
}

static void memory_usage(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "MEMORY USAGE k", "$-1\r\n");
    harness_run(h, "SET k v");
    size_t used = h->shards[0].mem.used_bytes;
    int usage = atoi(harness_run(h, "MEMORY USAGE k SAMPLES 0") + 1);
    harness_run(h, "DEL k");
    assert_int_equal(used - h->shards[0].mem.used_bytes, usage);
    EXPECT(h, "MEMORY USAGE k SAMPLES", "-ERR syntax error\r\n");
    EXPECT(h, "MEMORY USAGE k SAMPLES -1", "-ERR syntax error\r\n");
    EXPECT(h, "MEMORY USAGE k SAMPLES x", "-ERR value is not an integer or out of range\r\n");
    EXPECT(h, "MEMORY USAGE k FOO 1", "-ERR syntax error\r\n");
    EXPECT(h, "MEMORY FOO", "-ERR unknown subcommand 'FOO'. Try MEMORY HELP.\r\n");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(all_replies_are_whole),
        T(info),
        T(count_is_the_length_of_the_list),
        T(list),
        T(docs),
        T(getkeys),
        T(debug),
        T(active_expire_switch),
        T(populate_checks),
        cmocka_unit_test(populate_over_shards),
        T(populate_without_memory),
        T(memory_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
