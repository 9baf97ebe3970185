/* DUMP and RESTORE: what they make of every type, what fails when memory does, and what a damaged payload is answered. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/cmd/rdb_object.h"
#include "engine/ds/listpack_inline.h"
#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

static const char *const setup[] = {
    "SET s value",
    "SET n 12345",
    "SETRANGE long 5000 x",
    "RPUSH l a b 3 -70000",
    "RPUSH big 1 2 3",
    "SADD ints 1 2 3",
    "SADD set a b c",
    "ZADD z 1 a 2.5 b inf c",
    "HSET h f v g 12",
    "HSET ttl f v g w",
    "HPEXPIREAT ttl 1900000000000 FIELDS 1 f",
    "XADD stream 1-1 f v g 12",
    "XADD stream 2-0 other value",
    "XADD stream 3-0 f w g 300",
    "XDEL stream 2-0",
    "XGROUP CREATE stream group 0 ENTRIESREAD 1",
    "XREADGROUP GROUP group alice COUNT 1 STREAMS stream >",
    "XREADGROUP GROUP group bob STREAMS stream >",
    "XGROUP CREATECONSUMER stream group idler",
    "XGROUP CREATE stream second $",
    NULL,
};
static const char *const keys[] = {"s", "n",   "long", "l",     "big",   "ints",   "set",   "z",
                                   "h", "ttl", "many", "zmany", "hmany", "stream", "xmany", NULL};

static void prepare(struct harness *h)
{
    char line[100];
    harness_init(h, 1);
    for (const char *const *l = setup; *l; l++)
        harness_run(h, *l);
    for (int i = 0; i < 600; i++) {
        snprintf(line, sizeof(line), "RPUSH big element-number-%d", i);
        harness_run(h, line);
        snprintf(line, sizeof(line), "SADD many member-number-%d", i);
        harness_run(h, line);
        snprintf(line, sizeof(line), "ZADD zmany %d member-number-%d", i % 7, i);
        harness_run(h, line);
        snprintf(line, sizeof(line), "HSET hmany field-%d value-%d", i, i);
        harness_run(h, line);
        snprintf(line, sizeof(line), "XADD xmany %d-%d field-%d value-%d", i + 1, i, i % 50 / 49,
                 i);
        harness_run(h, line);
    }
    harness_run(h, "XGROUP CREATE xmany g 0");
    harness_run(h, "XREADGROUP GROUP g c COUNT 300 STREAMS xmany >");
}

static struct span dump(struct harness *h, const char *key)
{
    struct span argv[] = {SPAN("DUMP"), span_str(key)};
    struct span r = harness_runv(h, argv, 2);
    const uint8_t *lf = memchr(r.p, '\n', r.n);
    assert_true(r.n > 12 && r.p[0] == '$' && lf);
    size_t n = (size_t)(r.p + r.n - lf - 3);
    uint8_t *p = malloc(n);
    assert_non_null(p);
    memcpy(p, lf + 1, n);
    return span_of(p, n);
}

static const char *restore(struct harness *h, const char *key, struct span payload)
{
    struct span argv[] = {SPAN("RESTORE"), span_str(key), SPAN("0"), payload, SPAN("REPLACE")};
    return (const char *)harness_runv(h, argv, 5).p;
}

static char *answer(struct harness *h, const char *format, const char *key)
{
    char line[100];
    snprintf(line, sizeof(line), format, key);
    return strdup(harness_run(h, line));
}

static void test_every_type_comes_back(void **state)
{
    static const char *const views[] = {"TYPE %s",
                                        "OBJECT ENCODING %s",
                                        "GET %s",
                                        "LRANGE %s 0 -1",
                                        "SCARD %s",
                                        "ZRANGE %s 0 -1 WITHSCORES",
                                        "HLEN %s",
                                        "HGET %s f",
                                        "HPEXPIRETIME %s FIELDS 2 f g",
                                        "XRANGE %s - +",
                                        "XINFO STREAM %s FULL COUNT 0"};
    struct harness h;
    prepare(&h);
    for (const char *const *key = keys; *key; key++) {
        struct span p = dump(&h, *key);
        assert_string_equal(restore(&h, "back", p), "+OK\r\n");
        for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
            char *a = answer(&h, views[i], *key), *b = answer(&h, views[i], "back");
            assert_string_equal(a, b);
            free(a);
            free(b);
        }
        free((void *)(uintptr_t)p.p);
    }
    EXPECT(&h, "SINTERCARD 2 many back",
           "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    harness_run(&h, "FLUSHALL SYNC");
    harness_fini(&h);
}

static void test_each_allocation_fails(void **state)
{
    struct harness h;
    size_t failures = 0;
    prepare(&h);
    for (const char *const *key = keys; *key; key++) {
        struct span p = dump(&h, *key);
        uint64_t n = 1;
        for (bool fired = true; fired; n++) {
            size_t before = h.shards[0].mem.used_bytes;
            h.shards[0].mem.fail_after = n;
            const char *said = restore(&h, "back", p);
            fired = h.shards[0].mem.fail_after == 0;
            h.shards[0].mem.fail_after = 0;
            failures += fired;
            if (fired && said[0] == '-') {
                assert_non_null(strstr(said, "OOM command"));
                assert_int_equal(h.shards[0].mem.used_bytes, before);
            }
            harness_run(&h, "DEL back");
            shard_tick(&h.shards[0], SIZE_MAX);
        }
        for (n = 1;; n++) { /* DUMP as well */
            struct span argv[] = {SPAN("DUMP"), span_str(*key)};
            size_t before = h.shards[0].mem.used_bytes;
            h.shards[0].mem.fail_after = n;
            harness_runv(&h, argv, 2);
            bool fired = h.shards[0].mem.fail_after == 0;
            h.shards[0].mem.fail_after = 0;
            assert_int_equal(h.shards[0].mem.used_bytes, before);
            if (!fired)
                break;
        }
        free((void *)(uintptr_t)p.p);
    }
    assert_true(failures > 100);
    harness_run(&h, "FLUSHALL SYNC");
    harness_fini(&h);
}

/* Every bit of the payloads, and every shorter length: without a good checksum nothing gets in. */
static void test_damage_is_refused(void **state)
{
    struct harness h;
    prepare(&h);
    for (const char *const *key = keys; *key; key++) {
        struct span p = dump(&h, *key);
        uint8_t *bytes = (uint8_t *)(uintptr_t)p.p;
        size_t step = p.n > 500 ? p.n / 100 : 1;
        for (size_t i = 0; i < p.n; i += step) {
            bytes[i] ^= (uint8_t)(1 << i % 8);
            assert_string_equal(restore(&h, "back", p),
                                "-ERR DUMP payload version or checksum are wrong\r\n");
            bytes[i] ^= (uint8_t)(1 << i % 8);
            assert_string_equal(restore(&h, "back", span_of(p.p, i)),
                                "-ERR DUMP payload version or checksum are wrong\r\n");
        }
        assert_string_equal(restore(&h, "back", p), "+OK\r\n");
        free(bytes);
    }
    harness_run(&h, "FLUSHALL SYNC");
    harness_fini(&h);
}

static void test_crc64_of_the_check_string(void **state)
{
    assert_true(crc64(0, "123456789", 9) == 0xe9c6d914c4b8d9ca);
    uint64_t crc = 0;
    for (int i = 0; i < 9; i++)
        crc = crc64(crc, &"123456789"[i], 1);
    assert_true(crc == 0xe9c6d914c4b8d9ca);
}

/* A value of that type out of a listpack that another server may have written: elements in their longest forms, none made into an integer. NULL: refused;
 * otherwise what the command then answers. */
static const char *ask_of_listpack(struct harness *h, uint8_t type, const char *const *elements,
                                   const char *command)
{
    static char reply[400];
    uint8_t lp[400];
    uint32_t n = LP_HEADER_BYTES;
    uint16_t count = 0;
    struct shard *s = &h->shards[0];
    struct rdb_writer w;
    struct rdb_reader r;
    struct rdb_object o;
    for (; *elements; elements++, count++) {
        uint32_t len = (uint32_t)strlen(*elements);
        lp[n] = 0xe0;
        lp[n + 1] = (uint8_t)len;
        memcpy(lp + n + 2, *elements, len);
        lp[n + 2 + len] = (uint8_t)(len + 2);
        n += len + 3;
    }
    lp[n++] = LP_END;
    memcpy(lp, &n, 4);
    memcpy(lp + 4, &count, 2);
    rdb_writer_init(&w, &s->mem, false);
    if (type == RDB_LIST_QUICKLIST_2)
        rdb_put(&w, "\1\2", 2);
    rdb_put_blob(&w, span_of(lp, n));
    rdb_reader_init(&r, &s->mem, span_of(w.out.p, w.out.len));
    bool good = rdb_load_object(&r, s, type, &o);
    rdb_writer_free(&w);
    if (!good)
        return NULL;
    assert_non_null(
        rdb_object_put(&r, s, 0, SPAN("packed"), shard_hash(s, SPAN("packed")), &o, -1));
    snprintf(reply, sizeof(reply), "%s", harness_run(h, command));
    harness_run(h, "DEL packed");
    return reply;
}

/* What ours would not look like is made anew: lists, hashes and sorted sets find what is in it. */
static void test_listpacks_of_others(void **state)
{
    static const char *const hash[] = {"12", "a", "f", "-7", NULL};
    static const char *const twice[] = {"f", "1", "g", "2", "f", "3", NULL};
    static const char *const odd[] = {"f", "1", "g", NULL};
    static const char *const zset[] = {"b", "2.5", "a", "1", NULL}; /* not in order */
    static const char *const nan[] = {"a", "nan", NULL};
    static const char *const no_score[] = {"a", "1x", NULL};
    static const char *const list[] = {"300", "x", "5", NULL};
    struct harness h;
    harness_init(&h, 1);
    assert_string_equal(ask_of_listpack(&h, RDB_HASH_LISTPACK, hash, "HINCRBY packed 12b 1"),
                        ":1\r\n");
    assert_string_equal(ask_of_listpack(&h, RDB_HASH_LISTPACK, hash, "HGET packed 12"),
                        "$1\r\na\r\n");
    assert_string_equal(ask_of_listpack(&h, RDB_HASH_LISTPACK, hash, "HINCRBY packed f 9"),
                        ":2\r\n");
    assert_null(ask_of_listpack(&h, RDB_HASH_LISTPACK, twice, "PING"));
    assert_null(ask_of_listpack(&h, RDB_HASH_LISTPACK, odd, "PING"));
    assert_string_equal(ask_of_listpack(&h, RDB_ZSET_LISTPACK, zset, "ZRANGE packed 0 -1"),
                        "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert_null(ask_of_listpack(&h, RDB_ZSET_LISTPACK, twice, "PING"));
    assert_null(ask_of_listpack(&h, RDB_ZSET_LISTPACK, nan, "PING"));
    assert_null(ask_of_listpack(&h, RDB_ZSET_LISTPACK, no_score, "PING"));
    assert_string_equal(ask_of_listpack(&h, RDB_LIST_QUICKLIST_2, list, "LPOS packed 300"),
                        ":0\r\n");
    harness_fini(&h);
}

/* A list is what its listpack says, or refused: whichever of its bytes is another one. */
static void test_each_byte_of_a_listpack(void **state)
{
    static const char *const elements[] = {"element:1", "element:2", "element:3", "1x",
                                           "-y",        "element:4", "",          "12345",
                                           "z",         "element:5"};
    struct harness h;
    harness_init(&h, 1);
    struct shard *s = &h.shards[0];
    struct mem_block lp;
    uint8_t bytes[200];
    assert_true(lp_init(&s->mem, &lp, 0));
    for (size_t i = 0; i < ARRAY_LEN(elements); i++)
        assert_non_null(lp_insert(&s->mem, &lp, NULL, span_str(elements[i])));
    assert_true(lp.len <= sizeof(bytes));
    for (size_t i = 0; i < lp.len; i++) {
        for (unsigned v = 0; v < 256; v++) {
            struct rdb_writer w;
            struct rdb_reader r;
            struct rdb_object o;
            memcpy(bytes, lp.p, lp.len);
            bytes[i] = (uint8_t)v;
            rdb_writer_init(&w, &s->mem, false);
            rdb_put(&w, "\1\2", 2);
            rdb_put_blob(&w, span_of(bytes, lp.len));
            rdb_reader_init(&r, &s->mem, span_of(w.out.p, w.out.len));
            bool good = rdb_load_object(&r, s, RDB_LIST_QUICKLIST_2, &o);
            assert_int_equal(good, lp_valid(bytes, lp.len));
            if (good)
                rdb_object_free(&r, s, &o);
            rdb_writer_free(&w);
        }
    }
    mem_free(&s->mem, lp.p, lp.cap);
    harness_fini(&h);
}

/* Long runs are folded; every length and every start agree with a byte at a time. */
static void test_crc64_of_long_runs(void **state)
{
    uint8_t bytes[1200];
    uint64_t slow[1200] = {0};
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * i * 31 + i * 7 + 3);
    for (size_t from = 0; from < 20; from++) {
        uint64_t crc = from * 0x9e3779b97f4a7c15;
        for (size_t n = 0; from + n < sizeof(bytes); n++) {
            slow[n] = crc;
            crc = crc64(crc, bytes + from + n, 1);
        }
        for (size_t n = 0; from + n < sizeof(bytes); n++)
            assert_true(crc64(from * 0x9e3779b97f4a7c15, bytes + from, n) == slow[n]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_comes_back),
        cmocka_unit_test(test_each_allocation_fails),
        cmocka_unit_test(test_damage_is_refused),
        cmocka_unit_test(test_listpacks_of_others),
        cmocka_unit_test(test_each_byte_of_a_listpack),
        cmocka_unit_test(test_crc64_of_the_check_string),
        cmocka_unit_test(test_crc64_of_long_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
