/* maxmemory: each policy takes what it should and nothing else, memory comes back under the limit in a bounded number of steps, and what
 * eviction remembers of entries may go stale in every way without harm. */
/* cmocka.h needs these before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
/* clang-format on */

#include "engine/base/assert.h"
#include "engine/ds/dict_inline.h"
#include "engine/shard/shard_internal.h"

#define KEYS  4000
#define VALUE 200

static struct shard s;
static struct engine_config config;
static char evicted[16][32]; /* the last ones */
static uint32_t evictions;

static void heard(void *ctx, struct shard *shard, uint32_t db, struct span key, enum ks_class cls,
                  const char *event)
{
    if (cls != KS_EVICTED)
        return;
    assert_string_equal(event, "evicted");
    snprintf(evicted[evictions++ % ARRAY_LEN(evicted)], sizeof(evicted[0]), "%.*s", (int)key.n,
             (const char *)key.p);
}

static int setup(void **state)
{
    struct siphash_key key = {1, 2};
    engine_config_defaults(&config);
    shard_init(&s, 0, 1, &key, &config, 7);
    s.now_ms = 1700000000000;
    shard_hook(&s, heard, NULL);
    evictions = 0;
    return 0;
}

static int teardown(void **state)
{
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++)
        ks_flush(&s, db, false);
    config.maxmemory_policy = POLICY_NOEVICTION;
    for (int i = 0; i < 100000 && shard_tick(&s, 64); i++)
        ;
    assert_int_equal(s.lazy_bytes, 0);
    assert_int_equal(s.mem.used_bytes, 0); /* queues and ghosts too */
    shard_fini(&s);
    return 0;
}

static struct span name(char *text, const char *prefix, uint32_t i)
{
    return span_of(text, (size_t)sprintf(text, "%s%u", prefix, i));
}

static struct entry *put(uint32_t db, const char *prefix, uint32_t i, int64_t expire_ms)
{
    static const uint8_t value[VALUE];
    char text[32];
    struct span k = name(text, prefix, i);
    struct entry *e =
        ks_set(&s, db, k, shard_hash(&s, k), span_of(value, sizeof(value)), expire_ms);
    return e;
}

static struct entry *find(uint32_t db, const char *prefix, uint32_t i)
{
    char text[32];
    struct span k = name(text, prefix, i);
    return ks_peek(&s, db, k, shard_hash(&s, k));
}

static bool touch(uint32_t db, const char *prefix, uint32_t i)
{
    char text[32];
    struct span k = name(text, prefix, i);
    return ks_read(&s, db, k, shard_hash(&s, k)) != NULL;
}

static void drop(uint32_t db, const char *prefix, uint32_t i)
{
    char text[32];
    struct span k = name(text, prefix, i);
    uint64_t hash = shard_hash(&s, k);
    ks_delete(&s, db, ks_peek(&s, db, k, hash), hash, false);
}

/* Lets the policy take about that part of the memory. */
static void squeeze(double part)
{
    config.maxmemory_bytes = (uint64_t)((double)s.mem.used_bytes * (1 - part));
    for (int i = 0; shard_full(&s); i++, s.now_ms++) {
        assert_true(i < 1000);
        assert_true(shard_make_room(&s));
    }
}

static uint32_t left(uint32_t db, const char *prefix, uint32_t from, uint32_t to)
{
    uint32_t n = 0;
    for (uint32_t i = from; i < to; i++)
        n += find(db, prefix, i) != NULL;
    return n;
}

/* ---- each policy ---- */

static void lru_takes_what_was_not_used(void **state)
{
    config.maxmemory_policy = POLICY_ALLKEYS_LRU;
    for (uint32_t i = 0; i < KEYS; i++)
        put(i % 3, "k", i, KS_NO_TTL);
    s.now_ms += 100000;
    for (uint32_t i = 0; i < KEYS / 2; i++)
        assert_true(touch(i % 3, "k", i));
    squeeze(0.3);
    uint32_t used = 0, unused = 0;
    for (uint32_t i = 0; i < KEYS; i++)
        *(i < KEYS / 2 ? &used : &unused) += find(i % 3, "k", i) != NULL;
    assert_true(used > KEYS / 2 * 99 / 100);
    assert_true(unused < KEYS / 2 * 60 / 100);
    assert_int_equal(s.stats.evicted_keys, evictions);
    assert_int_equal(KEYS - used - unused, evictions);
}

static void lfu_takes_what_is_seldom_used(void **state)
{
    config.maxmemory_policy = POLICY_ALLKEYS_LFU;
    for (uint32_t i = 0; i < KEYS; i++)
        put(0, "k", i, KS_NO_TTL);
    for (uint32_t n = 0; n < 30; n++)
        for (uint32_t i = 0; i < KEYS / 2; i++)
            touch(0, "k", i);
    for (uint32_t i = KEYS / 2; i < KEYS; i++) /* the last used, but once */
        touch(0, "k", i);
    squeeze(0.3);
    assert_true(left(0, "k", 0, KEYS / 2) >
                KEYS / 2 * 90 / 100); /* a few have not counted beyond one */
    assert_true(left(0, "k", KEYS / 2, KEYS) < KEYS / 2 * 60 / 100);
}

static void ttl_takes_what_ends_first(void **state)
{
    config.maxmemory_policy = POLICY_VOLATILE_TTL;
    for (uint32_t i = 0; i < KEYS; i++)
        put(0, "k", i, i % 4 == 3 ? KS_NO_TTL : s.now_ms + 1000000 + 1000 * (int64_t)i);
    squeeze(0.2);
    uint32_t first = 0, last = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        if (i % 4 == 3)
            assert_non_null(find(0, "k", i));
        else
            *(i < KEYS / 2 ? &first : &last) += find(0, "k", i) != NULL;
    }
    assert_true(last > KEYS / 2 * 3 / 4 * 99 / 100);
    assert_true(first < KEYS / 2 * 3 / 4 * 60 / 100);
}

static void random_takes_all_alike(void **state)
{
    config.maxmemory_policy = POLICY_ALLKEYS_RANDOM;
    for (uint32_t i = 0; i < KEYS; i++)
        put(0, "k", i, KS_NO_TTL);
    squeeze(0.4);
    uint32_t a = left(0, "k", 0, KEYS / 2), b = left(0, "k", KEYS / 2, KEYS);
    assert_in_range(a, b * 85 / 100, b * 115 / 100);
}

static void volatile_policies_never_take_others(void **state)
{
    static const uint32_t policies[] = {POLICY_VOLATILE_LRU, POLICY_VOLATILE_LFU,
                                        POLICY_VOLATILE_RANDOM, POLICY_VOLATILE_TTL};
    config.maxmemory_policy = policies[(uintptr_t)*state];
    for (uint32_t i = 0; i < KEYS; i++) {
        put(i % 2, "for-ever", i, KS_NO_TTL);
        put(i % 2, "for-now", i, s.now_ms + 1000000 + i);
    }
    squeeze(0.25);
    assert_true(evictions > 0);
    config.maxmemory_bytes = 1;
    for (int i = 0; shard_make_room(&s); i++, s.now_ms++)
        assert_true(i < 1000);
    assert_int_equal(ks_count_expires(&s, 0) + ks_count_expires(&s, 1), 0);
    assert_int_equal(ks_count(&s, 0) + ks_count(&s, 1), KEYS);
    assert_int_equal(evictions, KEYS);
    assert_false(shard_make_room(&s)); /* nothing left that it may take */
}

static void noeviction_takes_nothing(void **state)
{
    for (uint32_t i = 0; i < KEYS; i++)
        put(0, "k", i, i % 2 ? KS_NO_TTL : s.now_ms + 100000);
    config.maxmemory_bytes = s.mem.used_bytes - 1;
    assert_false(shard_make_room(&s));
    for (int i = 0; i < 10; i++, s.now_ms++)
        shard_tick(&s, 64);
    assert_int_equal(ks_count(&s, 0), KEYS);
    config.maxmemory_bytes = s.mem.used_bytes;
    assert_false(shard_full(&s));
    assert_true(shard_make_room(&s));
}

static void s3fifo_keeps_what_is_used_twice(void **state)
{
    config.maxmemory_policy = POLICY_ALLKEYS_S3FIFO;
    for (uint32_t i = 0; i < KEYS; i++)
        put(0, "hot", i, KS_NO_TTL);
    for (uint32_t n = 0; n < 2; n++)
        for (uint32_t i = 0; i < KEYS; i++)
            assert_true(touch(0, "hot", i));
    config.maxmemory_bytes = s.mem.used_bytes * 11 / 10;
    for (uint32_t i = 0; i < 10 * KEYS; i++, s.now_ms++) { /* a scan, each key once */
        if (shard_full(&s))
            assert_true(shard_make_room(&s));
        put(0, "scan", i, KS_NO_TTL);
    }
    assert_true(left(0, "hot", 0, KEYS) > KEYS * 95 / 100);
    assert_int_equal(ks_count(&s, 0), KEYS + 10 * KEYS - evictions);
}

static void s3fifo_knows_a_ghost(void **state)
{
    config.maxmemory_policy = POLICY_ALLKEYS_S3FIFO;
    for (uint32_t i = 0; i < KEYS; i++)
        put(0, "k", i, KS_NO_TTL);
    squeeze(0.05);
    uint64_t before = s.evict.s3.main.count;
    assert_null(find(0, "k", 0)); /* first in, never used: first out */
    assert_non_null(find(0, "k", KEYS - 1));
    put(0, "k", 0, KS_NO_TTL);
    assert_int_equal(s.evict.s3.main.count, before + 1);
    put(0, "new", 0, KS_NO_TTL);
    assert_int_equal(s.evict.s3.main.count, before + 1);
    drop(0, "k", 0);
    put(0, "k", 0, KS_NO_TTL); /* a ghost is good for one return */
    assert_int_equal(s.evict.s3.main.count, before + 1);
}

/* ---- bounds ---- */

static void a_command_evicts_a_bounded_number(void **state)
{
    config.maxmemory_policy = (uint32_t)(uintptr_t)*state;
    for (uint32_t i = 0; i < 10 * KEYS; i++)
        put(i % 16, "k", i, s.now_ms + 1000000000);
    for (int i = 0; i < 5000 && (!i || s.evict.s3.adopting); i++)
        shard_tick(&s, 64);
    config.maxmemory_bytes = s.mem.used_bytes / 2;
    for (int i = 0; i < 5; i++) {
        uint32_t before = evictions;
        assert_true(shard_make_room(&s)); /* too little, yet more can be done: the command runs */
        assert_in_range(evictions - before, i ? 8 : 200, i ? 8 : 8 + 512);
    }
    assert_int_equal(s.stats.over_now_ms, 0);
    s.now_ms += 5;
    uint32_t before = evictions;
    shard_tick(&s, 64);
    assert_in_range(evictions - before, 1, 512);
    assert_int_equal(s.stats.over_now_ms, 5);
    for (int i = 0; shard_full(&s); i++, s.now_ms++) {
        assert_true(i < 1000);
        shard_tick(&s, 64);
    }
    shard_tick(&s, 64);
    assert_int_equal(s.stats.over_now_ms, 0);
    assert_true(s.stats.over_ms > 5);
}

/* Whatever the sizes, and in no time at all: what commands write while the shard is over is made up for by those that come next. */
static void large_values_in_place_of_small_ones_stay_in_the_limit(void **state)
{
    static const uint8_t value[100000];
    static const uint32_t bytes[] = {3000, 20000, sizeof(value)};
    config.maxmemory_policy = (uint32_t)(uintptr_t)*state;
    for (uint32_t k = 0; k < ARRAY_LEN(bytes); k++) {
        config.maxmemory_bytes = 0;
        for (uint32_t i = 0; i < 10 * KEYS; i++)
            put(0, "k", i, s.now_ms + 1000000000);
        shard_tick(&s, 64);
        config.maxmemory_bytes = s.mem.used_bytes;
        uint64_t most = 0;
        for (uint32_t i = 0; i < 3 * config.maxmemory_bytes / bytes[k]; i++) {
            if (shard_full(&s))
                assert_true(shard_make_room(&s));
            char text[32];
            struct span key = name(text, "large", i);
            assert_non_null(ks_set(&s, 0, key, shard_hash(&s, key), span_of(value, bytes[k]),
                                   s.now_ms + 1000000000));
            most = s.mem.used_bytes > most ? s.mem.used_bytes : most;
        }
        assert_true(left(0, "k", 0, 10 * KEYS) < KEYS);
        assert_in_range(most, config.maxmemory_bytes,
                        config.maxmemory_bytes + config.maxmemory_bytes / 64 + 2 * bytes[k]);
        ks_flush(&s, 0, false);
    }
}

static void an_expired_key_is_not_evicted(void **state)
{
    config.maxmemory_policy = POLICY_ALLKEYS_RANDOM;
    config.active_expire = 0;
    for (uint32_t i = 0; i < 100; i++)
        put(0, "k", i, s.now_ms + 10);
    s.now_ms += 20;
    config.maxmemory_bytes = 1;
    for (int i = 0; shard_make_room(&s) && i < 100; i++)
        ;
    assert_int_equal(s.stats.expired_keys, 100);
    assert_int_equal(s.stats.evicted_keys, 0);
}

/* ---- what went stale ---- */

/* Candidates in the pool are deleted, moved to other memory, put into other databases, or came back as other keys. */
static void stale_candidates(void **state)
{
    config.maxmemory_policy = (uint32_t)(uintptr_t)*state;
    srand(1);
    for (uint32_t round = 0; round < 60; round++, s.now_ms += 1500) {
        for (uint32_t i = 0; i < 300; i++) {
            uint32_t n = (uint32_t)rand() % 1000, db = n % 3;
            switch (rand() % 7) {
            case 0: drop(db, "k", n); break;
            case 1: {
                struct entry *e = find(db, "k", n);
                char text[32];
                struct span k = name(text, "k", n);
                if (e)
                    ks_set_expire(&s, db, &e, shard_hash(&s, k), s.now_ms + 100000);
                break;
            }
            case 2: {
                struct entry *e = find(db, "k", n);
                char from[32], to[32];
                struct span f = name(from, "k", n), t = name(to, "k", n + 3);
                if (e)
                    ks_move(&s, db, e, shard_hash(&s, f), &s, db, t, shard_hash(&s, t));
                break;
            }
            case 3: touch(db, "k", n); break;
            default: put(db, "k", n, KS_NO_TTL); break;
            }
        }
        if (round % 5 == 4)
            ks_swap(&s, round % 3, (round + 1) % 3);
        if (round % 20 == 19)
            ks_flush(&s, round % 3, round % 40 == 19);
        config.maxmemory_bytes = s.mem.used_bytes * 9 / 10;
        for (int i = 0; i < 3; i++)
            shard_make_room(&s);
        shard_tick(&s, 64);
    }
    squeeze(0.5);
    assert_true(evictions > 100);
}

static void swapdb_takes_the_queues_along(void **state)
{
    config.maxmemory_policy = POLICY_ALLKEYS_S3FIFO;
    for (uint32_t i = 0; i < KEYS; i++)
        put(1, "k", i, KS_NO_TTL);
    ks_swap(&s, 1, 5);
    squeeze(0.1);
    assert_int_equal(ks_count(&s, 5), KEYS - evictions);
    for (uint32_t i = 0; i < evictions; i++) /* in order: found by their records */
        assert_null(find(5, "k", i));
    assert_non_null(find(5, "k", evictions));
}

static void queues_of_deleted_keys_are_swept(void **state)
{
    config.maxmemory_policy = POLICY_ALLKEYS_S3FIFO;
    for (uint32_t i = 0; i < 200000; i++) {
        put(0, "k", i % 10, KS_NO_TTL);
        drop(0, "k", i % 10);
    }
    assert_true(s.evict.s3.small.count + s.evict.s3.main.count < 3 * 511);
    for (uint32_t i = 0; i < KEYS; i++)
        put(0, "k", i, KS_NO_TTL);
    ks_flush(&s, 0, false);
    for (int i = 0; i < 1000; i++)
        shard_tick(&s, 64);
    assert_true(s.evict.s3.small.count + s.evict.s3.main.count <= 511);
}

/* Keys of the time before the policy are adopted; back and forth again; nothing is left of the queues. */
static void policies_change_at_run_time(void **state)
{
    static const uint32_t policies[] = {POLICY_ALLKEYS_LRU,    POLICY_ALLKEYS_S3FIFO,
                                        POLICY_ALLKEYS_LFU,    POLICY_VOLATILE_TTL,
                                        POLICY_ALLKEYS_S3FIFO, POLICY_ALLKEYS_RANDOM};
    for (uint32_t i = 0; i < KEYS; i++)
        put(i % 16, "k", i, i % 2 ? KS_NO_TTL : s.now_ms + 10000000);
    for (uint32_t p = 0; p < ARRAY_LEN(policies); p++) {
        config.maxmemory_policy = policies[p];
        squeeze(0.02); /* at once, before a tick */
        config.maxmemory_bytes = 0;
        for (int i = 0; i < 2000; i++, s.now_ms++)
            shard_tick(&s, 64);
        bool queues = policies[p] == POLICY_ALLKEYS_S3FIFO;
        uint64_t keys = 0;
        for (uint32_t db = 0; db < 16; db++)
            keys += ks_count(&s, db);
        assert_int_equal(s.evict.s3.on, queues);
        assert_true(s.evict.s3.small.count + s.evict.s3.main.count >= (queues ? keys : 0));
        assert_null(s.evict.s3.trash);
        squeeze(0.1);
    }
    assert_null(s.evict.s3.main.head);
    assert_null(s.evict.s3.ghost);
}

/* ---- memory ---- */

static void no_memory_for_queues(void **state)
{
    config.maxmemory_policy = POLICY_ALLKEYS_S3FIFO;
    uint32_t stored = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        s.mem.fail_after = 1 + i % 7;
        stored += put(0, "k", i, KS_NO_TTL) != NULL;
        s.mem.fail_after = i % 3;
        if (i % 50 == 49) {
            config.maxmemory_bytes = s.mem.used_bytes * 95 / 100;
            shard_make_room(&s);
            config.maxmemory_bytes = 0;
        }
        shard_tick(&s, 1);
        s.mem.fail_after = 0;
    }
    assert_int_equal(ks_count(&s, 0), stored - evictions);
    assert_true(evictions > 100);
    config.maxmemory_bytes = 0;
    for (int i = 0; i < 5000; i++)
        shard_tick(&s, 64);
    assert_true(s.evict.s3.small.count + s.evict.s3.main.count >=
                ks_count(&s, 0)); /* all have one */
    squeeze(0.3);
}

/* A bucket's candidates are spread over the dict, and those at the end of a full bucket have their turn. */
static void sampling_is_fair(void **state)
{
    for (uint32_t i = 0; i < KEYS; i++)
        put(0, "k", i, KS_NO_TTL);
    static uint32_t drawn[KEYS];
    memset(drawn, 0, sizeof(drawn));
    for (uint32_t i = 0; i < 100 * KEYS; i++) {
        void *e[5];
        assert_int_equal(dict_sample(s.db[0].keys, shard_random(&s), e, 5), 5);
        for (int k = 0; k < 5; k++) {
            struct span key = entry_key(e[k]);
            drawn[strtoul((const char *)key.p + 1, NULL, 10) % KEYS]++;
        }
    }
    uint32_t least = UINT32_MAX, most = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        least = drawn[i] < least ? drawn[i] : least;
        most = drawn[i] > most ? drawn[i] : most;
    }
    print_message("drawn %u to %u times, 500 on average\n", least, most);
    assert_true(least > 150);
    assert_true(most < 1500);
    for (uint32_t i = 3; i < KEYS; i++)
        drop(0, "k", i);
    void *few[64];
    for (int i = 0; i < 1000; i++)
        assert_true(dict_sample(s.db[0].keys, shard_random(&s), few, 64) <= 64);
    assert_int_equal(dict_sample(s.db[0].keys, 0, few, 0), 0);
}

static uint64_t one_hash(const void *entry, const void *ctx)
{
    return 0x1234567890abcdef;
}
static bool never_equal(const void *entry, struct span key)
{
    return false;
}
static bool is_address(const void *entry, const void *ctx)
{
    return entry == ctx;
}

/* Equal hashes overflow into a list beside the segments. */
static void spilled_entries_are_drawn_and_found(void **state)
{
    static const struct dict_type type = {one_hash, never_equal, NULL};
    static char entry[3000];
    struct dict *d = dict_create(&s.mem, &type);
    for (size_t i = 0; i < sizeof(entry); i++)
        assert_true(dict_insert(d, one_hash(NULL, NULL), entry + i));
    assert_true(d->spilled_n > 100);
    for (size_t i = 0; i < sizeof(entry); i++)
        assert_ptr_equal(dict_find_if(d, one_hash(NULL, NULL), is_address, entry + i), entry + i);
    assert_null(dict_find_if(d, one_hash(NULL, NULL), is_address, entry + sizeof(entry)));
    static uint8_t seen[sizeof(entry)];
    size_t found = 0;
    for (int i = 0; i < 20000; i++) {
        void *e[5];
        size_t n = dict_sample(d, shard_random(&s), e, 5);
        assert_in_range(n, 1, 5);
        for (size_t k = 0; k < n; k++)
            seen[(char *)e[k] - entry] = 1;
    }
    for (size_t i = 0; i < sizeof(entry); i++)
        found += seen[i];
    assert_true(found > sizeof(entry) * 9 / 10);
    dict_destroy(d);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define WITH(f, n)                                                 \
    {                                                              \
#f " " #n, f, setup_with, teardown, (void *)(uintptr_t)(n) \
    }

static int setup_with(void **state)
{
    return setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lru_takes_what_was_not_used),
        TEST(lfu_takes_what_is_seldom_used),
        TEST(ttl_takes_what_ends_first),
        TEST(random_takes_all_alike),
        WITH(volatile_policies_never_take_others, 0),
        WITH(volatile_policies_never_take_others, 1),
        WITH(volatile_policies_never_take_others, 2),
        WITH(volatile_policies_never_take_others, 3),
        TEST(noeviction_takes_nothing),
        TEST(s3fifo_keeps_what_is_used_twice),
        TEST(s3fifo_knows_a_ghost),
        WITH(a_command_evicts_a_bounded_number, POLICY_ALLKEYS_LRU),
        WITH(a_command_evicts_a_bounded_number, POLICY_ALLKEYS_RANDOM),
        WITH(a_command_evicts_a_bounded_number, POLICY_VOLATILE_TTL),
        WITH(a_command_evicts_a_bounded_number, POLICY_ALLKEYS_S3FIFO),
        WITH(large_values_in_place_of_small_ones_stay_in_the_limit, POLICY_ALLKEYS_LRU),
        WITH(large_values_in_place_of_small_ones_stay_in_the_limit, POLICY_ALLKEYS_RANDOM),
        WITH(large_values_in_place_of_small_ones_stay_in_the_limit, POLICY_VOLATILE_TTL),
        WITH(large_values_in_place_of_small_ones_stay_in_the_limit, POLICY_ALLKEYS_S3FIFO),
        TEST(an_expired_key_is_not_evicted),
        WITH(stale_candidates, POLICY_ALLKEYS_LRU),
        WITH(stale_candidates, POLICY_ALLKEYS_LFU),
        WITH(stale_candidates, POLICY_ALLKEYS_S3FIFO),
        TEST(swapdb_takes_the_queues_along),
        TEST(queues_of_deleted_keys_are_swept),
        TEST(policies_change_at_run_time),
        TEST(no_memory_for_queues),
        TEST(sampling_is_fair),
        TEST(spilled_entries_are_drawn_and_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
