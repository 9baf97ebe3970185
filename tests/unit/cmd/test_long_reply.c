/* Replies of large values in parts: put together they are what the command would have written at once, whatever happens to the value between
 * two parts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cmd/long_reply.h"
#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

#define ELEMENTS 1600

static const char *const reads[] = {
    "LRANGE list 0 -1",
    "LRANGE list 100 -200",
    "LRANGE plain 0 -1",
    "LRANGE lzf 0 -1",
    "LRANGE lzf 100 -200",
    "SMEMBERS set",
    "HGETALL hash",
    "HKEYS hash",
    "HVALS hash",
    "ZRANGE zset 0 -1 WITHSCORES",
    "ZRANGE zset 0 -1",
    "ZREVRANGE zset 5 -5",
    "ZRANGEBYSCORE zset -inf +inf WITHSCORES",
    "ZRANGE zset (10 +inf BYSCORE LIMIT 3 -1",
    "ZRANGE zset + - BYLEX REV",
    "XRANGE stream - +",
    "XREVRANGE stream + -",
    "XRANGE stream (10-0 +",
    "XREAD COUNT 1500 STREAMS stream 5",
    "XREAD STREAMS few stream 0 0",
    "GET text",
};
#define READS (sizeof(reads) / sizeof(reads[0]))

/* The first word after the command. */
static void key_of(const char *line, char *to)
{
    if (strncmp(line, "XREAD", 5) == 0)
        strcpy(to, "stream");
    else
        sscanf(line, "%*s %15s", to);
}

static void run_if(struct harness *h, const char *only, const char *format, const char *pad, int i)
{
    char line[2048], key[16];
    sscanf(format, "%*s %15s", key);
    if (only && strcmp(key, only) != 0)
        return;
    snprintf(line, sizeof(line), format, i, pad, pad);
    harness_run(h, line);
}

/* Elements that have a block each. */
static void fill_plain(struct harness *h)
{
    for (int i = 0; i < 40; i++) {
        harness_run(h, "SETRANGE long 100000 e");
        struct span argv[] = {SPAN("RPUSH"), SPAN("plain"), {0}};
        struct span got = harness_runv(h, (struct span[]){SPAN("GET"), SPAN("long")}, 2);
        uint8_t *copy = malloc(got.n);
        memcpy(copy, got.p, got.n);
        argv[2] = span_of(copy + 9, 100001);
        harness_runv(h, argv, 3);
        free(copy);
    }
}

/* `only`: the key, which is made anew; NULL: all of them. */
static void fill(struct harness *h, const char *only)
{
    char pad[801];
    memset(pad, 'x', sizeof(pad) - 1);
    pad[sizeof(pad) - 1] = 0;
    bool was = h->may_hold;
    h->may_hold = false;
    if (only)
        harness_runv(h, (struct span[]){SPAN("DEL"), span_str(only)}, 2);
    else
        harness_run(h, "FLUSHALL SYNC");
    for (int i = 0; i < ELEMENTS; i++) {
        run_if(h, only, "RPUSH list %1$d%2$s", pad, i);
        h->config.list_compress_depth = 1;
        run_if(h, only, "RPUSH lzf %1$d%2$s", pad, i);
        h->config.list_compress_depth = 0;
        run_if(h, only, i % 7 ? "XADD stream %1$d-2 f %1$d%2$s g v" : "XADD stream %1$d-2 o %2$s",
               pad, i);
        run_if(h, only, "SADD set %1$d%2$s", pad, i);
        run_if(h, only, "HSET hash f%1$d%2$s v%1$d%3$s", pad, i);
        run_if(h, only, "ZADD zset %1$d %1$d%2$s", pad, i);
    }
    harness_run(h, "XADD few 1-1 f v");
    if (!only || strcmp(only, "text") == 0)
        harness_run(h, "SETRANGE text 3000000 end");
    if (!only || strcmp(only, "plain") == 0)
        fill_plain(h);
    h->may_hold = was;
}

static int setup(void **state)
{
    struct harness *h = calloc(1, sizeof(*h));
    harness_init(h, 1);
    fill(h, NULL);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct harness *h = *state;
    harness_run(h, "FLUSHALL SYNC");
    harness_fini(h);
    free(h);
    return 0;
}

struct bytes {
    uint8_t *p;
    size_t n;
};

static struct bytes copy_of(struct span s)
{
    struct bytes b = {malloc(s.n + 1), s.n};
    memcpy(b.p, s.p, s.n);
    return b;
}

/* What the request would answer whole. */
static struct bytes whole(struct harness *h, const char *line)
{
    h->may_hold = false;
    harness_run(h, line);
    return copy_of(span_of(h->reply.p, h->reply.len - 1));
}

/* The head it wrote, and the record of the rest. */
static struct held *begin(struct harness *h, const char *line, struct bytes *head)
{
    h->may_hold = true;
    harness_run(h, line);
    h->may_hold = false;
    *head = copy_of(span_of(h->reply.p, h->reply.len - 1));
    struct held *held = h->shards[0].held_new;
    assert_non_null(held);
    assert_true(h->shards[0].after & AFTER_HELD);
    h->shards[0].after = 0;
    h->shards[0].held_new = NULL;
    return held;
}

/* Takes parts up to `parts` of them; true: it was all. */
static bool take(struct harness *h, struct held *held, struct reply *r, struct reply_heap *got,
                 size_t budget, int parts)
{
    while (parts--) {
        size_t before = got->len;
        harness_run(h, "LINDEX lzf 800"); /* others read meanwhile */
        bool done = held_take(held, r, budget);
        reply_heap_finish(r, got);
        assert_true(got->len - before <= (budget < 1 << 20 ? budget : SIZE_MAX / 2) + 210000);
        if (done)
            return true;
    }
    return false;
}

static void expect_parts(struct harness *h, const char *line, size_t budget, int before,
                         const char *change)
{
    struct reply_heap got = {0};
    struct reply r;
    struct bytes want = whole(h, line), head;
    struct held *held = begin(h, line, &head);
    reply_heap_init(&r, &got, h->session->resp);
    reply_raw(&r, head.p, head.n);
    reply_heap_finish(&r, &got);
    bool done = take(h, held, &r, &got, budget, before);
    if (change && !done) {
        harness_run(h, change);
        assert_null(held->e);
    }
    assert_true(done || take(h, held, &r, &got, budget, 1 << 30));
    assert_int_equal(h->shards[0].held_count, 0);
    assert_int_equal(got.len, want.n);
    assert_memory_equal(got.p, want.p, want.n);
    reply_heap_free(&got);
    free(want.p);
    free(head.p);
}

static void test_parts_are_the_whole(void **state)
{
    struct harness *h = *state;
    static const size_t budget[] = {1, 1000, 65536, 1 << 20, SIZE_MAX};
    for (size_t i = 0; i < READS; i++) {
        for (size_t k = 0; k < sizeof(budget) / sizeof(budget[0]); k++) {
            if (budget[k] == 1 && strncmp(reads[i], "GET", 3) == 0)
                continue; /* three million parts */
            expect_parts(h, reads[i], budget[k], 1 << 30, NULL);
        }
    }
    h->session->resp = 3;
    for (size_t i = 0; i < READS; i++)
        expect_parts(h, reads[i], 10000, 1 << 30, NULL);
    h->session->resp = 2;
}

static void test_a_value_that_changes_is_answered_as_it_was(void **state)
{
    struct harness *h = *state;
    static const char *const changes[] = {
        "DEL %s",
        "UNLINK %s",
        "RENAME %s other",
        "EXPIRE %s 100",
        "SET %s v",
        "FLUSHDB ASYNC",
        "FLUSHALL SYNC",
        "PEXPIRE %s -1",
        "COPY small %s REPLACE",
        "RPUSH list tail",
        "LPOP list",
        "LSET list 500 v",
        "LTRIM list 1 0",
        "RPUSH plain 1",
        "LREM lzf 1 nosuch",
        "LINSERT lzf BEFORE nosuch a",
        "LSET lzf 700 v",
        "SADD set m",
        "SPOP set",
        "HSET hash f v",
        "HDEL hash nosuch",
        "HPEXPIRE hash 1 FIELDS 1 nosuch",
        "ZADD zset 1 m",
        "ZPOPMIN zset",
        "ZREMRANGEBYRANK zset 0 -1",
        "XADD stream * f v",
        "XDEL stream 700-1",
        "XTRIM stream MAXLEN 10",
        "XSETID stream 99999999999999-1",
        "APPEND text x",
        "SETRANGE text 0 y",
    };
    for (size_t i = 0; i < READS; i++) {
        char key[16];
        key_of(reads[i], key);
        for (size_t k = 0; k < sizeof(changes) / sizeof(changes[0]); k++) {
            char line[128], named[16] = "";
            snprintf(line, sizeof(line), changes[k], key);
            sscanf(changes[k], "%*s %15s", named);
            if (strcmp(named, "%s") != 0 && strcmp(named, key) != 0 && named[0] != 'A' &&
                named[0] != 'S' && strcmp(named, "small") != 0)
                continue; /* of another key */
            harness_run(h, "SET small v");
            expect_parts(h, reads[i], 50000, 3, line);
            harness_run(h, "DEL other");
            char exists[32];
            snprintf(exists, sizeof(exists), "MEMORY USAGE %s", key);
            if (strtol(harness_run(h, exists) + 1, NULL, 10) < LIMIT_LONG_REPLY_BYTES ||
                strncmp(changes[k], "EXPIRE", 6) == 0)
                fill(h, strncmp(changes[k], "FLUSH", 5) == 0 ? NULL : key);
        }
    }
    fill(h, NULL);
}

static void test_fields_that_expire_by_themselves(void **state)
{
    struct harness *h = *state;
    struct reply_heap got = {0};
    struct reply r;
    struct bytes want, head;
    harness_run(h, "HSET hash dying v");
    harness_run(h, "HPEXPIRE hash 50 FIELDS 1 dying");
    want = whole(h, "HGETALL hash");
    struct held *held = begin(h, "HGETALL hash", &head);
    reply_heap_init(&r, &got, 2);
    reply_raw(&r, head.p, head.n);
    assert_false(take(h, held, &r, &got, 10000, 2));
    harness_advance_ms(h, 100);
    for (int i = 0; i < 100 && held->e; i++)
        shard_tick(&h->shards[0], 64);
    assert_null(held->e);
    assert_true(take(h, held, &r, &got, 10000, 1 << 30));
    assert_int_equal(got.len, want.n);
    assert_memory_equal(got.p, want.p, want.n);
    reply_heap_free(&got);
    free(want.p);
    free(head.p);
}

static void test_nobody_takes_the_rest(void **state)
{
    struct harness *h = *state;
    struct bytes head;
    for (size_t i = 0; i < READS; i++) {
        struct held *held = begin(h, reads[i], &head);
        free(head.p);
        held_drop(held);
        assert_int_equal(h->shards[0].held_count, 0);
    }
}

static void test_several_clients_ask_for_one_value(void **state)
{
    struct harness *h = *state;
    enum { N = 5 };
    struct reply_heap got[N] = {0};
    struct reply r[N];
    struct held *held[N];
    struct bytes want = whole(h, "LRANGE list 0 -1"), head;
    for (int i = 0; i < N; i++) {
        held[i] = begin(h, "LRANGE list 0 -1", &head);
        reply_heap_init(&r[i], &got[i], 2);
        reply_raw(&r[i], head.p, head.n);
        free(head.p);
        assert_false(take(h, held[i], &r[i], &got[i], 1000, i));
    }
    harness_run(h, "LPUSH list new");
    for (int i = 0; i < N; i++) {
        assert_true(take(h, held[i], &r[i], &got[i], 1000, 1 << 30));
        assert_int_equal(got[i].len, want.n);
        assert_memory_equal(got[i].p, want.p, want.n);
        reply_heap_free(&got[i]);
    }
    free(want.p);
    fill(h, NULL);
}

static void test_small_replies_are_whole(void **state)
{
    struct harness *h = *state;
    static const char *const lines[] = {"LRANGE list 0 99", "ZRANGE zset 5 100",
                                        "GET small",        "LRANGE nosuch 0 -1",
                                        "SMEMBERS nosuch",  "HGETALL nosuch"};
    harness_run(h, "SET small v");
    h->may_hold = true;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        harness_run(h, lines[i]);
        assert_null(h->shards[0].held_new);
    }
    h->may_hold = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_are_the_whole),
        cmocka_unit_test(test_a_value_that_changes_is_answered_as_it_was),
        cmocka_unit_test(test_fields_that_expire_by_themselves),
        cmocka_unit_test(test_nobody_takes_the_rest),
        cmocka_unit_test(test_several_clients_ask_for_one_value),
        cmocka_unit_test(test_small_replies_are_whole),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
