/* The promise about memory: a million keys of 16 bytes with values of 64 cost at most 32 bytes each beyond key and
 * value, everything included; and all of it comes back, at once or in slices. Deterministic: fixed keys, fixed hash key. */
/* cmocka.h needs these before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
/* clang-format on */

#include "engine/shard/shard.h"

#define KEYS       1000000
#define KEY_BYTES  16
#define DATA_BYTES 64

static struct shard s;
static struct engine_config config;

static void fill(uint32_t n, int64_t expire_ms)
{
    uint8_t data[DATA_BYTES];
    char key[KEY_BYTES + 1];
    memset(data, 'v', sizeof(data));
    for (uint32_t i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "key:%012u", i);
        struct span k = span_of(key, KEY_BYTES);
        assert_non_null(ks_set(&s, 0, k, shard_hash(&s, k), span_of(data, DATA_BYTES), expire_ms));
    }
}

static void bytes_per_key(void **state)
{
    fill(KEYS, KS_NO_TTL);
    double overhead = (double)s.mem.used_bytes / KEYS - KEY_BYTES - DATA_BYTES;
    print_message("%.2f bytes per key beyond key and value\n", overhead);
    assert_true(overhead <= 32);
    size_t before = s.mem.used_bytes;
    fill(KEYS, KS_NO_TTL);
    assert_int_equal(s.mem.used_bytes, before); /* overwritten in place */
}

/* On top of the keys of the test before. */
static void lazy_flush_in_slices(void **state)
{
    size_t used = s.mem.used_bytes, ticks = 0;
    ks_flush(&s, 0, true);
    assert_int_equal(s.lazy_pending, KEYS);
    assert_int_equal(ks_count(&s, 0), 0);
    assert_true(s.mem.used_bytes >= used); /* counts as used until it is free */
    for (size_t done; (done = shard_tick(&s, 1000)) > 0; ticks++)
        assert_true(done < 1000 + 400); /* a slice ends with a segment */
    assert_in_range(ticks, KEYS / 1400, KEYS / 1000 + 2);
    assert_int_equal(s.lazy_pending, 0);
    assert_int_equal(s.stats.lazyfreed, KEYS);
    assert_int_equal(s.mem.used_bytes, 0);
}

static void flush_with_expires(void **state)
{
    for (int lazy = 0; lazy < 2; lazy++) {
        fill(50000, s.now_ms + 1000);
        assert_int_equal(ks_count_expires(&s, 0), 50000);
        ks_flush(&s, 0, lazy);
        while (shard_tick(&s, 500))
            ;
        assert_int_equal(s.mem.used_bytes, 0);
    }
}

static int setup(void **state)
{
    static const struct siphash_key key = {3, 4};
    engine_config_defaults(&config);
    s.now_ms = 0;
    return shard_init(&s, 0, 1, &key, &config, 1);
}
static int teardown(void **state)
{
    shard_fini(&s);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_per_key),
        cmocka_unit_test(lazy_flush_in_slices),
        cmocka_unit_test(flush_with_expires),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
