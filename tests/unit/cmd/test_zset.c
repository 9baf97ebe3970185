/* Sorted sets and geo beyond what compat compares: events, memory, slices of freeing, keys of several shards, the core of the blocking pops. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/cmd/geo.h"
#include "engine/cmd/zset_pop.h"
#include "engine/shard/shard_internal.h"
#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

/* ---- events ---- */

static char told[4096];

static void hear(void *ctx, struct shard *s, uint32_t db, struct span key, enum ks_class cls,
                 const char *event)
{
    size_t n = strlen(told);
    snprintf(told + n, sizeof(told) - n, "%s%s:%.*s", n ? " " : "",
             cls == KS_ZSET      ? event
             : cls == KS_GENERIC ? event
                                 : "?",
             (int)key.n, (const char *)key.p);
}

static void expect_events(struct harness *h, const char *line, const char *want)
{
    for (uint32_t i = 0; i < h->count; i++)
        shard_hook(&h->shards[i], hear, NULL);
    told[0] = 0;
    harness_run(h, line);
    if (strcmp(told, want) != 0)
        fail_msg("%s: events %s, want %s", line, told, want);
}

static void test_events(void **state)
{
    struct harness *h = *state;
    expect_events(h, "ZADD z 1 a 2 b 3 c", "zadd:z");
    expect_events(h, "ZADD z 1 a", "");
    expect_events(h, "ZADD z XX 1 none", "");
    expect_events(h, "ZADD none XX 1 a", "");
    expect_events(h, "ZADD z INCR 1 a", "zincr:z");
    expect_events(h, "ZINCRBY z 1 a", "zincr:z");
    expect_events(h, "ZREM z none", "");
    expect_events(h, "ZREM z a", "zrem:z");
    expect_events(h, "ZREM z b c", "zrem:z del:z");
    expect_events(h, "ZADD z 1 a 2 b 3 c 4 d 5 e", "zadd:z");
    expect_events(h, "ZPOPMIN z", "zpopmin:z");
    expect_events(h, "ZPOPMAX z 0", "");
    expect_events(h, "ZREMRANGEBYRANK z 0 0", "zremrangebyrank:z");
    expect_events(h, "ZREMRANGEBYSCORE z 9 9", "");
    expect_events(h, "ZRANGESTORE d z 0 -1", "zrangestore:d");
    expect_events(h, "ZRANGESTORE d z 5 9", "del:d");
    expect_events(h, "ZRANGESTORE d z 5 9", "");
    expect_events(h, "ZUNIONSTORE d 1 z", "zunionstore:d");
    expect_events(h, "ZINTERSTORE d 2 z z", "zinterstore:d");
    expect_events(h, "ZDIFFSTORE d 2 z none", "zdiffstore:d");
    expect_events(h, "ZDIFFSTORE d 2 z z", "del:d");
    expect_events(h, "ZMPOP 1 z MAX COUNT 9", "zpopmax:z del:z");
    expect_events(h, "GEOADD g 13 38 a", "zadd:g");
    expect_events(h, "GEORADIUS g 13 38 1 km STORE e", "georadiusstore:e");
    expect_events(h, "GEOSEARCHSTORE e g FROMMEMBER a BYRADIUS 1 km", "geosearchstore:e");
    expect_events(h, "GEOSEARCHSTORE e g FROMLONLAT 1 1 BYRADIUS 1 km", "del:e");
}

/* ---- large ones ---- */

static void add_many(struct harness *h, const char *key, int n)
{
    char line[100];
    for (int i = 0; i < n; i++) {
        snprintf(line, sizeof(line), "ZADD %s %d member:%d", key, i * 7 % n, i);
        harness_run(h, line);
    }
}

static void test_freed_in_slices(void **state)
{
    struct harness *h = *state;
    struct shard *s = &h->shards[shard_of_key(SPAN("big"), h->count)];
    static const char *const ways[] = {"DEL big", "SET big v", "UNLINK big", "FLUSHALL ASYNC",
                                       "ZINTERSTORE big 1 none"};
    for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
        harness_run(h, "DEL big");
        while (s->lazy_pending)
            shard_tick(s, 1000000);
        add_many(h, "big", 3000);
        size_t before = s->mem.used_bytes;
        harness_run(h, ways[w]);
        assert_true(s->lazy_pending > 0);
        assert_true(s->mem.used_bytes > before / 2); /* not yet */
        size_t ticks = 0;
        for (; s->lazy_pending; ticks++)
            shard_tick(s, 100);
        assert_true(ticks > 20);
        assert_true(s->mem.used_bytes < before / 4);
    }
}

/* 13-byte members at random: at most 0.6 of the 109.7 bytes that redis-server 7.0.15 takes for each of a million. */
static void test_memory_per_member(void **state)
{
    struct harness *h = *state;
    const int n = 50000;
    size_t before = 0, after = 0;
    for (uint32_t i = 0; i < h->count; i++)
        before += h->shards[i].mem.used_bytes;
    char line[100];
    for (int i = 0; i < n; i++) {
        snprintf(line, sizeof(line), "ZADD big %d member:%06d", (int)((i * 2654435761u) >> 4), i);
        harness_run(h, line);
    }
    for (uint32_t i = 0; i < h->count; i++)
        after += h->shards[i].mem.used_bytes;
    double per = (double)(after - before) / n;
    print_message("%.1f bytes per member\n", per);
    assert_true(per < 109.7 * 0.6);
}

/* ---- keys on several shards ---- */

/* The word of a key specification is in upper case; the router compared it with the request's word as if it were in lower case, and
 * GEORADIUS ... STORE then ran without its destination's shard. Of several STORE the last one counts. */
static void test_store_behind_a_word_is_leased(void **state)
{
    struct harness *h = *state;
    char line[200];
    EXPECT(h, "GEOADD g 13.361389 38.115556 a 15.087269 37.502669 b", ":2\r\n");
    for (int i = 0; i < 12; i++) {
        snprintf(line, sizeof(line), "GEORADIUS g 15 37 200 km store d%d", i);
        EXPECT(h, line, ":2\r\n");
        snprintf(line, sizeof(line), "GEORADIUSBYMEMBER g a 200 km STORE x%d STORE y%d", i, i);
        EXPECT(h, line, ":2\r\n");
        snprintf(line, sizeof(line), "EXISTS x%d", i);
        EXPECT(h, line, ":0\r\n");
        snprintf(line, sizeof(line), "ZCARD y%d", i);
        EXPECT(h, line, ":2\r\n");
        snprintf(line, sizeof(line), "ZUNIONSTORE u%d 3 d%d y%d g WEIGHTS 0 0 0", i, i, i);
        EXPECT(h, line, ":2\r\n");
    }
}

/* ---- what the blocking forms will call ---- */

static void run_pop(struct harness *h, const char *key, bool max, size_t count,
                    enum zset_pop_form form, const char *want)
{
    struct span argv[2] = {SPAN("ZPOPMIN"), span_str(key)};
    struct shard *s = &h->shards[0];
    struct reply out;
    struct reply_heap heap = {0};
    struct shard_set set = {.v = {s}, .count = 1};
    struct keyref k;
    struct zval v;
    reply_heap_init(&out, &heap, 2);
    struct cmd c = {.argv = argv,
                    .argc = 2,
                    .out = &out,
                    .shards = &set,
                    .shard = s,
                    .hash = shard_hash(s, argv[1]),
                    .host = &h->host};
    assert_int_equal(zset_pop_find(&c, 1, 1, &k, &v), 1);
    zset_pop(&c, &k, &v, max, count, form);
    reply_heap_finish(&out, &heap);
    assert_int_equal(heap.len, strlen(want));
    assert_memory_equal(heap.p, want, heap.len);
    reply_heap_free(&heap);
}

static void test_pop_forms(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "ZADD z 1 a 2 b 3 c 4 d", ":4\r\n");
    run_pop(h, "z", false, 1, ZPOP_KEYED, "*3\r\n$1\r\nz\r\n$1\r\na\r\n$1\r\n1\r\n");
    run_pop(h, "z", true, 1, ZPOP_MULTI, "*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\nd\r\n$1\r\n4\r\n");
    run_pop(h, "z", true, 9, ZPOP_FLAT, "*4\r\n$1\r\nc\r\n$1\r\n3\r\n$1\r\nb\r\n$1\r\n2\r\n");
    EXPECT(h, "EXISTS z", ":0\r\n");
}

/* ---- pure parts of geo ---- */

static void test_geo_sort(void **state)
{
    srand(1);
    for (int round = 0; round < 300; round++) {
        size_t n = 1 + (size_t)rand() % 300, wanted = 1 + (size_t)rand() % n;
        int kinds = 1 + rand() % 400;
        bool down = rand() & 1;
        struct geo_found v[300], all[300];
        for (size_t i = 0; i < n; i++)
            all[i] = v[i] = (struct geo_found){.distance = rand() % kinds, .number = (int64_t)i};
        geo_sort(all, n, n, down);
        geo_sort(v, n, wanted, down);
        for (size_t i = 0; i < wanted; i++)
            assert_true(v[i].distance == all[i].distance);
        for (size_t i = 1; i < n; i++) {
            bool same = all[i - 1].distance == all[i].distance;
            assert_true(same ? all[i - 1].number < all[i].number
                             : (all[i - 1].distance < all[i].distance) != down);
        }
        char seen[300] = {0}; /* none lost, none twice */
        for (size_t i = 0; i < n; i++)
            assert_int_equal(seen[v[i].number]++, 0);
    }
}

/* Every place within a shape lies in one of its cells (but for what Redis itself misses beyond the poles and the date line). */
static void test_geo_cells_cover_the_circle(void **state)
{
    srand(2);
    size_t within = 0;
    for (int round = 0; round < 2000; round++) {
        struct geo_shape s = {.conversion = 1, .radius = pow(10, 1 + rand() % 6)};
        s.center = (struct geo_point){rand() % 200 - 100, rand() % 100 - 50};
        struct geo_cover cover;
        geo_cover(&s, &cover);
        for (int i = 0; i < 20; i++) {
            double reach = s.radius / 111000.0;
            struct geo_point p = {s.center.lon + reach * (rand() % 2001 - 1000) / 1000.0,
                                  s.center.lat + reach * (rand() % 2001 - 1000) / 1000.0};
            double distance, score = (double)geo_encode(p);
            p = geo_decode(score);
            if (!geo_within(&s, p, &distance))
                continue;
            within++;
            bool found = false;
            for (int k = 0; k < GEO_CELLS; k++) {
                double min, max;
                if (!cover.cell[k].step)
                    continue;
                geo_cell_range(cover.cell[k], &min, &max);
                found |= score >= min && score < max;
            }
            assert_true(found);
        }
    }
    assert_true(within > 10000);
}

static int setup(void **state, uint32_t shards)
{
    static struct harness h;
    harness_init(&h, shards);
    *state = &h;
    return 0;
}
static int setup_1(void **state)
{
    return setup(state, 1);
}
static int setup_4(void **state)
{
    return setup(state, 4);
}
static int teardown(void **state)
{
    struct harness *h = *state;
    for (uint32_t i = 0; i < h->count; i++)
        shard_hook(&h->shards[i], NULL, NULL);
    harness_run(h, "FLUSHALL SYNC");
    for (uint32_t i = 0; i < h->count; i++)
        while (h->shards[i].lazy_pending)
            shard_tick(&h->shards[i], 1000000);
    harness_fini(h);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_events, setup_1, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup_4, teardown),
        cmocka_unit_test_setup_teardown(test_freed_in_slices, setup_1, teardown),
        cmocka_unit_test_setup_teardown(test_freed_in_slices, setup_4, teardown),
        cmocka_unit_test_setup_teardown(test_memory_per_member, setup_1, teardown),
        cmocka_unit_test_setup_teardown(test_store_behind_a_word_is_leased, setup_4, teardown),
        cmocka_unit_test_setup_teardown(test_pop_forms, setup_1, teardown),
        cmocka_unit_test(test_geo_sort),
        cmocka_unit_test(test_geo_cells_cover_the_circle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
