/* When memory fails: every command of strings and keys, with each of its allocations failing in turn. Nobody may crash or leak, and a
 * command that answers an error has changed nothing (MSET and MSETNX may have set the pairs before the one that failed). And big
 * arguments, which change hands between the parser and the keyspace. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/resp/parse.h"
#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

#define BIG "[100 bytes]"

static const char *const script[] = {
    "SET new v",
    "SET new " BIG,
    "SET s w",
    "SET s " BIG,
    "SET big v",
    "SET t " BIG " KEEPTTL",
    "SET new v EX 10",
    "SET s v PX 10",
    "SET t v",
    "SET s w GET",
    "SET big x GET",
    "SET s v XX EX 9",
    "SET new v NX",
    "SETNX new v",
    "SETEX new 10 v",
    "PSETEX s 10 v",
    "GETSET s v",
    "GETSET big v",
    "GETSET new v",
    "GET big",
    "GETDEL big",
    "SET s other IFEQ text",
    "SET big other GET IFEQ nothing",
    "DELIFEQ s nothing",
    "GETEX s EX 10",
    "GETEX big PX 10",
    "GETEX t PERSIST",
    "GETEX s EXAT 1",
    "MGET s big n none",
    "MSET s 1 new1 2 new2 3 big 4",
    "MSETNX new1 1 new2 2 new3 " BIG,
    "APPEND new v",
    "APPEND s v",
    "APPEND s " BIG,
    "APPEND big " BIG,
    "APPEND n 1",
    "STRLEN big",
    "GETRANGE big 1 3",
    "SUBSTR n 0 0",
    "SETRANGE new 5 v",
    "SETRANGE new 500 v",
    "SETRANGE s 0 v",
    "SETRANGE s 500 v",
    "SETRANGE n 3 v",
    "INCR new",
    "INCR n",
    "INCRBY raw 5",
    "DECR t5",
    "DECRBY n 1",
    "INCRBYFLOAT new 1.5",
    "INCRBYFLOAT n 0.5",
    "INCRBYFLOAT raw 1e100",
    "LCS s big",
    "LCS s big IDX",
    "LCS s big LEN",
    "DEL s big",
    "UNLINK s big",
    "EXISTS s n",
    "TOUCH s n",
    "TYPE s",
    "EXPIRE s 10",
    "EXPIRE t 10",
    "PEXPIRE big 10",
    "EXPIREAT n 1800000000",
    "PEXPIREAT s 1800000000000",
    "EXPIRE s -1",
    "EXPIRE s 1 " BIG,
    "TTL t",
    "PERSIST t",
    "RENAME s new",
    "RENAME big new",
    "RENAME t big",
    "RENAME s t",
    "RENAMENX s new",
    "COPY s new",
    "COPY big new",
    "COPY t new",
    "COPY s t REPLACE",
    "COPY big s DB 5",
    "COPY s t DB 1 REPLACE",
    "MOVE s 5",
    "MOVE big 1",
    "MOVE t 9",
    "KEYS *",
    "SCAN 0 COUNT 100",
    "RANDOMKEY",
    "DBSIZE",
    "OBJECT ENCODING s",
    "FLUSHDB",
    "FLUSHDB ASYNC",
    "FLUSHALL SYNC",
    "SWAPDB 0 1",
};

static const char *const keys[] = {"s",  "big", "n",    "raw",  "t",
                                   "t5", "new", "new1", "new2", "new3"};

static char *expand(const char *line)
{
    static char text[4096];
    char big[101];
    memset(big, 'b', 100);
    big[100] = 0;
    const char *at = strstr(line, BIG);
    if (at)
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - line), line, big, at + strlen(BIG));
    else
        snprintf(text, sizeof(text), "%s", line);
    return text;
}

static void prepare(struct harness *h, uint32_t shards)
{
    harness_init(h, shards);
    harness_run(h, "SET s value");
    harness_run(h, "SETRANGE big 3000 x");
    harness_run(h, "SET n 12");
    harness_run(h, "APPEND raw 1");
    harness_run(h, "APPEND raw 2");
    harness_run(h, "SET t value EX 100");
    harness_run(h, "SET t5 5 EX 100");
    harness_run(h, "COPY s t DB 1");
}

/* All that a client can see of the keys, as one number. */
static uint64_t fingerprint(struct harness *h)
{
    static const char *const views[] = {"GET", "PEXPIRETIME", "OBJECT ENCODING"};
    static const uint32_t dbs[] = {0, 1, 5, 9};
    struct siphash_key k = {1, 2};
    uint64_t sum = 0;
    for (size_t d = 0; d < sizeof(dbs) / sizeof(dbs[0]); d++) {
        h->session->db = dbs[d];
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
            for (size_t v = 0; v < sizeof(views) / sizeof(views[0]); v++) {
                char line[64];
                snprintf(line, sizeof(line), "%s %s", views[v], keys[i]);
                harness_run(h, line);
                uint64_t part[2] = {sum, siphash13(&k, h->reply.p, h->reply.len)};
                sum = siphash13(&k, part, sizeof(part));
            }
        }
    }
    h->session->db = 0;
    return sum;
}

static void arm(struct harness *h, uint64_t n)
{
    for (uint32_t i = 0; i < h->count; i++)
        h->shards[i].mem.fail_after = n;
}

/* Returns true when the n-th allocation of some shard did fail. */
static bool run_failing(const char *line, uint32_t shards, uint64_t n)
{
    static struct harness h;
    prepare(&h, shards);
    uint64_t before = fingerprint(&h);
    arm(&h, n);
    harness_run(&h, expand(line));
    bool fired = false;
    for (uint32_t i = 0; i < shards; i++)
        fired |= h.shards[i].mem.fail_after == 0;
    arm(&h, 0);
    bool pairs = strncmp(line, "MSET", 4) == 0;
    if (h.errors && !pairs && strncmp(line, "EXPIRE s 1 ", 11) != 0) {
        assert_true(fired);
        assert_non_null(strstr((const char *)h.reply.p,
                               line[0] == 'L' ? "Insufficient memory" : "OOM command"));
        assert_true(fingerprint(&h) == before);
    }
    harness_run(&h, "FLUSHALL SYNC");
    harness_fini(&h); /* fails when something leaked */
    return fired;
}

static void test_each_allocation_fails(void **state)
{
    uint32_t shards = (uint32_t)(uintptr_t)*state;
    size_t failures = 0;
    for (size_t i = 0; i < sizeof(script) / sizeof(script[0]); i++) {
        uint64_t n = 1;
        while (run_failing(script[i], shards, n))
            n++;
        failures += n - 1;
        assert_true(n < 100);
    }
    print_message("%zu failed allocations in %zu commands\n", failures,
                  sizeof(script) / sizeof(script[0]));
    assert_true(failures > 50);
}

/* ---- arguments that the parser streamed into blocks of their own ---- */

/* SET big <n bytes>, in pieces of 7000 bytes; answers through the parser as the dataplane does. */
static void set_streamed(struct harness *h, size_t n, uint64_t fail_after, const char *name,
                         const char *want)
{
    struct resp_parser parser;
    struct resp_limits limits = {
        .max_bulk_bytes = 1 << 29, .max_query_bytes = 1 << 30, .authenticated = true};
    struct resp_cmd cmd;
    struct span arena[16];
    struct shard *s = &h->shards[0];
    char *wire = malloc(n + 100);
    assert_non_null(wire);
    size_t len =
        (size_t)sprintf(wire, "*3\r\n$%zu\r\n%s\r\n$3\r\nbig\r\n$%zu\r\n", strlen(name), name, n);
    memset(wire + len, 'z', n);
    len += n;
    memcpy(wire + len, "\r\n", 2);
    len += 2;
    resp_parser_init(&parser, &s->mem);
    enum resp_status status = RESP_MORE;
    for (size_t at = 0; at < len; at += 7000) {
        const uint8_t *cur = (uint8_t *)wire + at, *end = cur + (len - at < 7000 ? len - at : 7000);
        assert_int_equal(status, RESP_MORE);
        status = resp_parse(&parser, &limits, &cur, end, arena, 16, &cmd);
    }
    assert_int_equal(status, RESP_DONE);
    struct reply out;
    struct reply_heap heap = {0};
    reply_heap_init(&out, &heap, 2);
    struct shard_set set = {.v = {s}, .count = 1};
    struct cmd c = {.argv = cmd.argv,
                    .argc = cmd.argc,
                    .session = h->session,
                    .out = &out,
                    .shards = &set,
                    .shard = s,
                    .hash = shard_hash(s, cmd.argv[1]),
                    .host = &h->host,
                    .now_us = h->now_us,
                    .parser = &parser};
    c.desc = cmd_lookup(c.argv, c.argc, &out);
    s->mem.fail_after = fail_after;
    cmd_call(&c);
    s->mem.fail_after = 0;
    reply_heap_finish(&out, &heap);
    assert_int_equal(heap.len, strlen(want));
    assert_memory_equal(heap.p, want, heap.len);
    reply_heap_free(&heap);
    resp_parser_fini(&parser);
    free(wire);
}

static void test_big_arguments(void **state)
{
    struct harness *h = *state;
    static const char oom[] = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    size_t base = h->shards[0].mem.used_bytes;
    set_streamed(h, 100000, 1, "SET", oom);
    EXPECT(h, "EXISTS big", ":0\r\n");
    set_streamed(h, 100000, 0, "SET", "+OK\r\n");
    EXPECT(h, "STRLEN big", ":100000\r\n");
    EXPECT(h, "GETRANGE big 99998 -1", "$2\r\nzz\r\n");
    EXPECT(h, "OBJECT ENCODING big", "$3\r\nraw\r\n");
    set_streamed(h, 200000, 0, "SET", "+OK\r\n");
    EXPECT(h, "STRLEN big", ":200000\r\n");
    set_streamed(h, 50000, 0, "SETNX", ":0\r\n");
    EXPECT(h, "STRLEN big", ":200000\r\n");
    EXPECT(h, "SET big 1", "+OK\r\n");
    set_streamed(h, 50000, 0, "GETSET", "$1\r\n1\r\n");
    EXPECT(h, "STRLEN big", ":50000\r\n");
    set_streamed(h, 50000, 0, "APPEND", ":100000\r\n");
    set_streamed(h, 40000, 0, "MSET", "+OK\r\n");
    EXPECT(h, "STRLEN big", ":40000\r\n");
    EXPECT(h, "DEL big", ":1\r\n");
    set_streamed(h, 40000, 0, "MSETNX", ":1\r\n");
    EXPECT(h, "FLUSHALL SYNC", "+OK\r\n");
    assert_true(h->shards[0].mem.used_bytes <= base);
}

static int setup_big(void **state)
{
    static struct harness h;
    harness_init(&h, 1);
    *state = &h;
    return 0;
}

static int teardown_big(void **state)
{
    harness_run(*state, "FLUSHALL SYNC");
    harness_fini(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_each_allocation_fails, (void *)1),
        cmocka_unit_test_prestate(test_each_allocation_fails, (void *)3),
        cmocka_unit_test_setup_teardown(test_big_arguments, setup_big, teardown_big),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
