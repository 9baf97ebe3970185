/* The flow table against an array: insert, find, remove at full load, with hashes that collide, and
 * how the hash spreads. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/flow.h"
#include "tests/unit/net/check.h"

#define MAX 3000

struct record {
    struct flow_key key;
    uint32_t live;
};

static const struct siphash_key secret = {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};

static struct flow_key key_of(uint32_t i)
{
    return (struct flow_key){0x0a000000u + i / 7, 0xc0a80001u, (uint16_t)(1024 + i * 13), 6379};
}

/* Neighbouring ports and addresses spread evenly over buckets and tags, under several secrets. */
static void test_hash_spreads(void **state)
{
    (void)state;
    struct record r = {0};
    for (uint64_t seed = 1; seed < 20; seed++) {
        struct flow f;
        struct siphash_key k = {seed * 0x9e3779b97f4a7c15ull, ~seed * 0xbf58476d1ce4e5b9ull};
        uint32_t *load = calloc(4096, sizeof(*load)), tags[256] = {0}, most = 0;
        assert_int_equal(flow_init(&f, 20000, &r, sizeof(r), &k), 0);
        assert_int_equal(f.mask + 1, 4096);
        for (uint32_t i = 0; i < 16384; i++) {
            struct flow_key key = {0x0a000000u + i / 4096, 0xc0a80001u, (uint16_t)(32768 + i),
                                   6379};
            uint64_t h = flow_hash(&f, &key);
            load[h & f.mask]++;
            tags[flow_tag(h)]++;
        }
        for (uint32_t i = 0; i < 4096; i++)
            most = load[i] > most ? load[i] : most;
        assert_true(most <= 20); /* mean 4: a random function stays under 17 */
        for (uint32_t t = 2; t < 256; t++)
            assert_true(tags[t] > 16 && tags[t] < 128); /* mean 64 */
        flow_fini(&f);
        free(load);
    }
}

/* hash_mask narrows the hash, so that many keys share a bucket and its tag. */
static void model(uint64_t hash_mask, uint32_t rounds)
{
    struct record *r = calloc(MAX, sizeof(*r));
    struct flow f;
    uint64_t rng = 42;
    assert_int_equal(flow_init(&f, MAX, r, sizeof(*r), &secret), 0);
    for (uint32_t i = 0; i < MAX; i++)
        r[i].key = key_of(i);
    for (uint32_t n = 0; n < rounds; n++) {
        rng = rng * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t i = (uint32_t)(rng >> 33) % MAX;
        uint64_t h = flow_hash(&f, &r[i].key) & hash_mask;
        assert_int_equal(flow_find(&f, &r[i].key, h), r[i].live ? i : FLOW_NONE);
        if (r[i].live)
            flow_remove(&f, h, i);
        else
            flow_insert(&f, h, i);
        r[i].live ^= 1;
    }
    uint32_t live = 0;
    for (uint32_t i = 0; i < MAX; i++) { /* fill up, check all, then empty */
        uint64_t h = flow_hash(&f, &r[i].key) & hash_mask;
        live += r[i].live;
        if (!r[i].live)
            flow_insert(&f, h, i);
    }
    assert_true(live > 0);
    for (uint32_t i = 0; i < MAX; i++)
        assert_int_equal(flow_find(&f, &r[i].key, flow_hash(&f, &r[i].key) & hash_mask), i);
    assert_int_equal(f.count, MAX);
    for (uint32_t i = 0; i < MAX; i++)
        flow_remove(&f, flow_hash(&f, &r[i].key) & hash_mask, i);
    assert_int_equal(f.count, 0);
    for (uint32_t b = 0; b <= f.mask; b++) {
        assert_int_equal(f.bucket[b].overflow, 0);
        for (int w = 0; w < FLOW_WAYS; w++)
            assert_int_equal(f.bucket[b].tag[w], 0);
    }
    flow_fini(&f);
    free(r);
}

static void test_model(void **state)
{
    (void)state;
    model(UINT64_MAX, 200000);
}

static void test_model_collisions(void **state)
{
    (void)state;
    model(0x7, 4000);                   /* eight home buckets, one tag */
    model(0x0300000000000003ull, 8000); /* four homes, four tags */
}

static void test_miss_in_empty(void **state)
{
    (void)state;
    struct flow f;
    struct record r = {0};
    struct flow_key k = key_of(5);
    assert_int_equal(flow_init(&f, 1, &r, sizeof(r), &secret), 0);
    assert_int_equal(flow_find(&f, &k, flow_hash(&f, &k)), FLOW_NONE);
    assert_int_equal(flow_guess(flow_bucket(&f, flow_hash(&f, &k)), flow_tag(flow_hash(&f, &k))),
                     FLOW_NONE);
    flow_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_spreads),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_model_collisions),
        cmocka_unit_test(test_miss_in_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
