/* The policies keep the order that is known of them, with generous margins; and trace files are read, or refused with their line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/cache_sim.h"
#include "tests/unit/unit.h"

static double ratio(const struct trace *t, uint32_t policy, size_t bytes)
{
    struct cache_result r = cache_run(t, policy, bytes, 5);
    double hits = (double)r.hits / (double)r.gets;
    print_message("policy %u: %.4f, %lu evicted\n", policy, hits, (unsigned long)r.evicted);
    assert_int_equal(r.refused, 0);
    assert_true(r.evicted > 1000);
    assert_true(r.peak_bytes < bytes + 8192); /* a segment of the dict */
    return hits;
}

static void policies_on_zipf(void **state)
{
    struct trace t;
    struct trace_shape shape = {.keys = 20000,
                                .requests = 200000,
                                .theta = 0.99,
                                .scan_length = 500,
                                .size = 100,
                                .per_second = 1000,
                                .seed = 1};
    assert_true(trace_make(&t, &shape));
    size_t all = cache_footprint(&t), bytes = all / 10;
    double random = ratio(&t, POLICY_ALLKEYS_RANDOM, bytes);
    double lru = ratio(&t, POLICY_ALLKEYS_LRU, bytes), lfu = ratio(&t, POLICY_ALLKEYS_LFU, bytes);
    double s3fifo = ratio(&t, POLICY_ALLKEYS_S3FIFO, bytes);
    double ttl = ratio(&t, POLICY_VOLATILE_TTL, bytes);
    struct cache_result r = cache_exact_lru(&t, bytes, all);
    double exact = (double)r.hits / (double)r.gets;
    print_message("exact LRU: %.4f\n", exact);
    assert_true(lru >= random - 0.005);
    assert_true(lfu > random);
    assert_true(s3fifo > random);
    assert_true(ttl > random - 0.05);
    assert_true(lru > exact - 0.04 && lru < exact + 0.03);
    trace_free(&t);
}

static void scans_do_not_flush_s3fifo(void **state)
{
    struct trace t;
    struct trace_shape shape = {.keys = 20000,
                                .requests = 200000,
                                .theta = 0.99,
                                .scan_percent = 30,
                                .scan_length = 1000,
                                .size = 100,
                                .per_second = 1000,
                                .seed = 2};
    assert_true(trace_make(&t, &shape));
    size_t bytes = cache_footprint(&t) / 20;
    double lru = ratio(&t, POLICY_ALLKEYS_LRU, bytes);
    double s3fifo = ratio(&t, POLICY_ALLKEYS_S3FIFO, bytes);
    assert_true(s3fifo >= lru);
    trace_free(&t);
}

static FILE *file_of(const char *text)
{
    FILE *f = tmpfile();
    assert_non_null(f);
    fputs(text, f);
    rewind(f);
    return f;
}

static void trace_files(void **state)
{
    static const char *const bad[] = {"1,k,5",     "x,k,5,get", "1,k,,get",  "1,,5,get",
                                      "1,k,5,put", "",          "1,k,5,getx"};
    struct trace t, again;
    FILE *f = file_of("0,a,100,set\n5,some key,20,get\r\n7,a,100,get\n9,a,0,del\n9,b,99999999,get");
    assert_int_equal(trace_read(&t, f), 0);
    fclose(f);
    assert_int_equal(t.n, 5);
    assert_int_equal(t.keys, 3);
    assert_int_equal(t.op[2].key, t.op[0].key);
    assert_int_equal(t.op[3].kind, TRACE_DEL);
    assert_int_equal(t.op[4].size, CACHE_SIZE_MAX);
    struct cache_result r = cache_run(&t, POLICY_ALLKEYS_LRU, 0, 5);
    assert_int_equal(r.gets, 3);
    assert_int_equal(r.hits, 1);
    f = tmpfile();
    assert_non_null(f);
    trace_write(&t, f);
    rewind(f);
    assert_int_equal(trace_read(&again, f), 0);
    fclose(f);
    assert_int_equal(again.n, t.n);
    for (size_t i = 0; i < t.n; i++)
        assert_true(again.op[i].key == t.op[i].key && again.op[i].time_ms == t.op[i].time_ms &&
                    again.op[i].size == t.op[i].size && again.op[i].kind == t.op[i].kind);
    trace_free(&t);
    trace_free(&again);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[64];
        snprintf(text, sizeof(text), "1,k,5,get\n%s\n", bad[i]);
        f = file_of(text);
        assert_int_equal(trace_read(&t, f), 2);
        fclose(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies_on_zipf),
        cmocka_unit_test(scans_do_not_flush_s3fifo),
        cmocka_unit_test(trace_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
