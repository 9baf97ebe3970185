/* maxmemory as commands see it: writes of every type stay under the limit, on one shard and on three; a write is refused only when nothing
 * is left that the policy may take; commands over several shards make room on each of them or change nothing. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/shard/field_timer.h"
#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

#define OOM "-OOM command not allowed when used memory > 'maxmemory'.\r\n"

static void ticks(struct harness *h, int n)
{
    for (int i = 0; i < n; i++) {
        for (uint32_t k = 0; k < h->count; k++)
            shard_tick(&h->shards[k], 64);
        harness_advance_ms(h, 1);
    }
}

static void end(struct harness *h)
{
    h->config.maxmemory_bytes = 0;
    harness_run(h, "FLUSHALL SYNC");
    h->config.maxmemory_policy = POLICY_NOEVICTION;
    ticks(h, 3000);
    harness_fini(h);
}

static uint64_t evicted(const struct harness *h)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < h->count; i++)
        n += h->shards[i].stats.evicted_keys;
    return n;
}

/* A command that adds some, of any type; small and large values. */
static void any_write(char *line, size_t cap)
{
    static const char *const forms[] = {
        "SET s%d %0*d",      "APPEND a%d %0*d",     "RPUSH l%d %0*d",      "SADD u%d %0*d x y",
        "SADD i%d 1 2 3",    "ZADD z%d 1 %0*d 2 b", "HSET h%d f %0*d g 1", "SETBIT b%d 4000 1",
        "PFADD p%d a b c d", "GEOADD g%d 13 38 m",  "SETRANGE r%d 2000 x", "SET t%d %0*d EX 100000",
        "HSET h%d k%0*d v",  "ZADD z%d 5 m%0*d",    "SADD u%d m%0*d",
    };
    snprintf(line, cap, forms[(size_t)rand() % ARRAY_LEN(forms)], rand() % 3000, rand() % 300,
             rand());
}

static void used_stays_under(const struct harness *h, uint64_t slack)
{
    for (uint32_t i = 0; i < h->count; i++) {
        const struct shard *s = &h->shards[i];
        assert_true(s->mem.used_bytes - s->lazy_bytes <=
                    h->config.maxmemory_bytes / h->count + slack);
    }
}

static void all_types(uint32_t policy, uint32_t shards)
{
    struct harness h;
    char line[512];
    bool all = policy == POLICY_ALLKEYS_LRU || policy == POLICY_ALLKEYS_LFU ||
               policy == POLICY_ALLKEYS_RANDOM || policy == POLICY_ALLKEYS_S3FIFO;
    uint32_t refused = 0;
    harness_init(&h, shards);
    srand(policy + 10 * shards);
    h.config.maxmemory_policy = policy;
    h.config.maxmemory_bytes = 300000ull * shards;
    for (uint32_t i = 0; i < 4000; i++) {
        any_write(line, sizeof(line));
        bool oom = strcmp(harness_run(&h, line), OOM) == 0;
        refused += oom;
        assert_true(!oom || !all);
        if (rand() % 3) {
            snprintf(line, sizeof(line), "EXPIRE %c%d 100000", "saluizhbpgrt"[rand() % 12],
                     rand() % 3000);
            harness_run(&h, line);
        }
        if (rand() % 50 == 0) {
            snprintf(line, sizeof(line), "HEXPIRE h%d %d FIELDS 2 f g", rand() % 3000,
                     1 + rand() % 20);
            harness_run(&h, line);
        }
        if (rand() % 8 == 0)
            ticks(&h, 1);
        used_stays_under(&h, 16384); /* the largest of these, or what a dict takes to grow */
    }
    print_message("policy %u, %u shards: %lu evicted, %u refused\n", policy, shards, evicted(&h),
                  refused);
    assert_true(evicted(&h) > (all ? 1000 : 30));
    ticks(&h, 1000);
    used_stays_under(&h, all ? 0 : 16384);
    if (all)
        assert_int_equal(refused, 0);
    end(&h);
}

static void test_all_types(void **state)
{
    for (uint32_t policy = POLICY_ALLKEYS_LRU; policy <= POLICY_ALLKEYS_S3FIFO; policy++) {
        all_types(policy, 1);
        all_types(policy, 3);
    }
}

/* A value that is freed in slices is gone at once for eviction: one is enough. */
static void test_a_large_value_is_one_eviction(void **state)
{
    struct harness h;
    char line[64];
    harness_init(&h, 1);
    struct shard *s = &h.shards[0];
    for (int i = 0; i < 20000; i++) {
        snprintf(line, sizeof(line), "ZADD old %d member:%d", i, i);
        harness_run(&h, line);
    }
    harness_advance_ms(&h, 1000000);
    for (int i = 0; i < 1000; i++) {
        snprintf(line, sizeof(line), "SET k%d v", i);
        harness_run(&h, line);
    }
    h.config.maxmemory_policy = POLICY_ALLKEYS_LRU;
    h.config.maxmemory_samples = 64;
    h.config.maxmemory_bytes = s->mem.used_bytes - 100000;
    for (int i = 0; i < 20 && !evicted(&h); i++)
        EXPECT(&h, "SET one more", "+OK\r\n");
    EXPECT(&h, "EXISTS old", ":0\r\n");
    uint64_t before = evicted(&h);
    assert_true(s->lazy_bytes > 500000); /* and is still there */
    assert_true(s->mem.used_bytes > h.config.maxmemory_bytes);
    for (int i = 0; i < 20; i++)
        EXPECT(&h, "SET one more", "+OK\r\n");
    assert_int_equal(evicted(&h), before);
    assert_true(before < 40);
    ticks(&h, 3000);
    assert_int_equal(s->lazy_bytes, 0);
    assert_int_equal(evicted(&h), before);
    end(&h);
}

/* noeviction: what is on its way out leaves room. */
static void test_a_flush_leaves_room(void **state)
{
    struct harness h;
    char line[64];
    harness_init(&h, 1);
    for (int i = 0; i < 5000; i++) {
        snprintf(line, sizeof(line), "SET key:%d {value}", i);
        harness_run(&h, line);
    }
    h.config.maxmemory_bytes = h.shards[0].mem.used_bytes / 2;
    EXPECT(&h, "SET k v", OOM);
    EXPECT(&h, "FLUSHALL ASYNC", "+OK\r\n");
    assert_true(h.shards[0].mem.used_bytes > h.config.maxmemory_bytes);
    EXPECT(&h, "SET k v", "+OK\r\n");
    ticks(&h, 1000);
    assert_int_equal(h.shards[0].lazy_bytes, 0);
    end(&h);
}

static void fill_shard(struct harness *h, uint32_t shard, const char *prefix, size_t bytes)
{
    char line[64], key[32];
    struct shard *s = &h->shards[shard];
    for (int i = 0; s->mem.used_bytes < bytes; i++) {
        int n = snprintf(key, sizeof(key), "%s:%d", prefix, i);
        if (shard_of_key(span_of(key, (size_t)n), h->count) != shard)
            continue;
        snprintf(line, sizeof(line), "SET %s {value-of-some-bytes}", key);
        EXPECT(h, line, "+OK\r\n");
    }
}

static const char *key_of_shard(const struct harness *h, uint32_t shard, char *key)
{
    for (int i = 0;; i++) {
        int n = sprintf(key, "new:%d", i);
        if (shard_of_key(span_of(key, (size_t)n), h->count) == shard)
            return key;
    }
}

static void test_several_shards(void **state)
{
    struct harness h;
    char a[32], b[32], line[128];
    harness_init(&h, 3);
    fill_shard(&h, 0, "old", 200000);
    key_of_shard(&h, 0, a);
    key_of_shard(&h, 2, b);
    h.config.maxmemory_bytes = 3 * 100000; /* the first is over its share, the others are not */
    snprintf(line, sizeof(line), "MSET %s 1 %s 2", b, a);
    EXPECT(&h, line, OOM);
    assert_int_equal(h.rejected[CMD_mset], 1);
    snprintf(line, sizeof(line), "MGET %s %s", a, b);
    EXPECT(&h, line, "*2\r\n$-1\r\n$-1\r\n");
    snprintf(line, sizeof(line), "SET %s 3", b);
    EXPECT(&h, line, "+OK\r\n");
    snprintf(line, sizeof(line), "COPY %s %s", b, a);
    EXPECT(&h, line, OOM);
    snprintf(line, sizeof(line), "RPUSH %s 3", a);
    EXPECT(&h, line, OOM);
    h.config.maxmemory_policy = POLICY_VOLATILE_LRU; /* there is nothing volatile */
    snprintf(line, sizeof(line), "MSET %s 1 %s 2", b, a);
    EXPECT(&h, line, OOM);
    h.config.maxmemory_policy = POLICY_ALLKEYS_LRU;
    EXPECT(&h, line, "+OK\r\n");
    ticks(&h, 100);
    used_stays_under(&h, 0);
    assert_true(h.shards[0].stats.evicted_keys > 0);
    assert_int_equal(h.shards[1].stats.evicted_keys + h.shards[2].stats.evicted_keys, 0);
    snprintf(line, sizeof(line), "MGET %s %s", b, a);
    EXPECT(&h, line, "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    end(&h);
}

/* Hashes with fields that expire are evicted; their timers do not outlive them. */
static void test_timers_of_fields(void **state)
{
    struct harness h;
    char line[128];
    harness_init(&h, 1);
    h.config.maxmemory_policy = POLICY_ALLKEYS_RANDOM;
    h.config.maxmemory_bytes = 200000;
    for (int i = 0; i < 3000; i++) {
        snprintf(line, sizeof(line), "HSET h%d a 1 b 2 c 3", i);
        EXPECT(&h, line, ":3\r\n");
        snprintf(line, sizeof(line), "HPEXPIRE h%d %d FIELDS 1 a", i, 1 + i % 1000);
        harness_run(&h, line);
    }
    assert_true(evicted(&h) > 100);
    ticks(&h, 2000);
    assert_int_equal(field_timers_count(&h.shards[0]), 0);
    end(&h);
}

static void test_object_by_policy(void **state)
{
    static const char note[] =
        " Please note that when switching between policies at runtime LRU and LFU data will "
        "take some time to adjust.\r\n";
    struct harness h;
    char want[256];
    harness_init(&h, 1);
    h.config.maxmemory_policy = POLICY_ALLKEYS_S3FIFO;
    harness_run(&h, "SET k v");
    EXPECT(&h, "OBJECT FREQ k", ":0\r\n");
    for (int i = 0; i < 5; i++)
        harness_run(&h, "GET k");
    EXPECT(&h, "OBJECT FREQ k", ":3\r\n");
    snprintf(want, sizeof(want),
             "-ERR The allkeys-s3fifo maxmemory policy is selected, idle time not tracked.%s",
             note);
    assert_string_equal(harness_run(&h, "OBJECT IDLETIME k"), want);
    EXPECT(&h, "RENAME k l", "+OK\r\n");
    EXPECT(&h, "OBJECT FREQ l", ":3\r\n");
    h.config.maxmemory_policy = POLICY_VOLATILE_TTL;
    snprintf(want, sizeof(want),
             "-ERR An LFU maxmemory policy is not selected, access frequency not tracked.%s", note);
    assert_string_equal(harness_run(&h, "OBJECT FREQ l"), want);
    h.config.maxmemory_policy = POLICY_VOLATILE_LFU;
    snprintf(want, sizeof(want),
             "-ERR An LFU maxmemory policy is selected, idle time not tracked.%s", note);
    assert_string_equal(harness_run(&h, "OBJECT IDLETIME l"), want);
    end(&h);
}

/* With memory running out now and then in the middle of it all. */
static void test_allocations_fail(void **state)
{
    char line[512];
    for (uint32_t policy = POLICY_ALLKEYS_LRU; policy <= POLICY_ALLKEYS_S3FIFO; policy++) {
        struct harness h;
        harness_init(&h, 2);
        srand(policy);
        h.config.maxmemory_policy = policy;
        h.config.maxmemory_bytes = 200000;
        for (uint32_t i = 0; i < 4000; i++) {
            any_write(line, sizeof(line));
            h.shards[rand() % 2].mem.fail_after = (uint64_t)(rand() % 6);
            harness_run(&h, line);
            if (rand() % 4 == 0)
                ticks(&h, 1);
            if (rand() % 500 == 0)
                harness_run(&h, rand() % 2 ? "FLUSHDB ASYNC" : "SWAPDB 0 1");
            h.shards[0].mem.fail_after = h.shards[1].mem.fail_after = 0;
        }
        end(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_types),
        cmocka_unit_test(test_a_large_value_is_one_eviction),
        cmocka_unit_test(test_a_flush_leaves_room),
        cmocka_unit_test(test_several_shards),
        cmocka_unit_test(test_timers_of_fields),
        cmocka_unit_test(test_object_by_policy),
        cmocka_unit_test(test_allocations_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
