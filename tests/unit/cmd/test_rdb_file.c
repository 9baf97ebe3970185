/* RDB files as a whole: what is written is read again, byte by byte; what is cut or flipped is told; what other servers write is known. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/cmd/rdb_object.h"
#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

static const char *const setup_lines[] = {"SET s value",
                                          "SET n 12345",
                                          "SET t 1 PX 100000",
                                          "SETRANGE long 900 x",
                                          "RPUSH l a b 3 -7000",
                                          "SADD ints 1 2 3",
                                          "SADD set a b c",
                                          "ZADD z 1 a 2.5 b inf c",
                                          "HSET h f v g 12",
                                          "XADD x 1-1 f v",
                                          "XGROUP CREATE x g 0",
                                          "XREADGROUP GROUP g c STREAMS x >",
                                          "SELECT 5",
                                          "SET other there",
                                          "SELECT 0",
                                          "HSET ttl f v g w",
                                          "HPEXPIREAT ttl 1900000000000 FIELDS 1 f"};

struct bytes {
    struct mem mem;
    struct rdb_writer w;
};

static void put_entry(void *ctx, void *entry)
{
    struct rdb_writer *w = ctx;
    rdb_put_key_facts(w, entry_expire_fast(entry), -1, -1);
    w->key = entry_key_fast(entry);
    rdb_save_object(w, entry);
    w->key.p = NULL;
}

/* A file of all that the lines make. */
static void make(struct bytes *b, bool checksum)
{
    struct harness h;
    harness_init(&h, 1);
    assert_int_equal(mem_init(&b->mem), 0);
    rdb_writer_init(&b->w, &b->mem, true);
    for (size_t i = 0; i < ARRAY_LEN(setup_lines); i++)
        harness_run(&h, setup_lines[i]);
    rdb_put_header(&b->w, &(struct rdb_file_facts){.version = 12, .now_s = 1700000000});
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++) {
        struct dict *keys = h.shards[0].db[db].keys;
        uint64_t cursor = 0;
        if (!keys)
            continue;
        rdb_put_select(&b->w, db);
        rdb_put_sizes(&b->w, dict_count(keys), 1);
        do
            cursor = dict_scan(keys, cursor, put_entry, &b->w);
        while (cursor);
    }
    rdb_put_end(&b->w, crc64(0, b->w.out.p, b->w.out.len), checksum);
    assert_false(b->w.failed);
    harness_fini(&h);
}

static void drop(struct bytes *b)
{
    rdb_writer_free(&b->w);
    mem_fini(&b->mem);
}

/* How a reader that gets `chunk` bytes more whenever it asks fares: keys met, or -1. Values are made on a shard. */
static int read_all(struct span file, size_t chunk, char *error)
{
    struct harness h;
    struct rdb_file f;
    struct rdb_item item;
    size_t have = 0, at = 0;
    int keys = 0;
    harness_init(&h, 1);
    rdb_file_init(&f, file.n, true);
    f.gathers = chunk % 2;
    for (;;) {
        /* An exact copy, so that a sanitizer sees a byte too far. */
        uint8_t *copy = malloc(have - at + 1);
        memcpy(copy, file.p + at, have - at);
        enum rdb_file_status st = rdb_file_next(&f, copy, have - at, &item);
        if (st == RDB_FILE_ITEM && item.kind == RDB_ITEM_KEY) {
            struct rdb_reader r;
            struct rdb_text key;
            struct rdb_object o;
            bool good = rdb_body_key(&r, item.body, &h.shards[0].mem, &key);
            if (good) {
                if ((good = rdb_load_object(&r, &h.shards[0], item.type, &o)))
                    rdb_object_free(&r, &h.shards[0], &o);
                rdb_text_free(&r, &key);
            }
            keys++;
            if (!good)
                st = RDB_FILE_BAD;
        }
        rdb_file_settle(&f);
        free(copy);
        if (st == RDB_FILE_END)
            break;
        if (st == RDB_FILE_BAD) {
            snprintf(error, 200, "%s", f.error);
            keys = -1;
            break;
        }
        if (st == RDB_FILE_ITEM) {
            assert_true(item.bytes && item.bytes <= have - at);
            at += item.bytes;
            assert_int_equal(f.offset, at);
        } else {
            assert_true(item.need > have - at && at + item.need <= file.n);
            size_t want = at + item.need > have + chunk ? at + item.need : have + chunk;
            have = want < file.n ? want : file.n;
        }
    }
    harness_fini(&h);
    return keys;
}

static void test_read_in_any_pieces(void **state)
{
    struct bytes b;
    char error[200] = "";
    (void)state;
    make(&b, true);
    struct span file = span_of(b.w.out.p, b.w.out.len);
    assert_int_equal(read_all(file, 1, error), 12);
    assert_int_equal(read_all(file, 7, error), 12);
    assert_int_equal(read_all(file, 1 << 20, error), 12);
    drop(&b);
    make(&b, false); /* rdbchecksum no */
    assert_int_equal(read_all(span_of(b.w.out.p, b.w.out.len), 100, error), 12);
    drop(&b);
}

static void test_a_cut_at_every_byte_is_told(void **state)
{
    struct bytes b;
    (void)state;
    make(&b, true);
    for (size_t n = 0; n < b.w.out.len; n++) {
        char error[200] = "";
        if (read_all(span_of(b.w.out.p, n), 1 << 20, error) != -1 || !strstr(error, "ends"))
            fail_msg("cut at %zu: '%s'", n, error);
    }
    drop(&b);
}

static void test_every_flipped_bit_is_told(void **state)
{
    struct bytes b;
    (void)state;
    make(&b, true);
    for (size_t i = 0; i < b.w.out.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            char error[200] = "";
            b.w.out.p[i] ^= (uint8_t)(1 << bit);
            if (read_all(span_of(b.w.out.p, b.w.out.len), 1 << 20, error) != -1)
                fail_msg("bit %d of byte %zu", bit, i);
            b.w.out.p[i] ^= (uint8_t)(1 << bit);
        }
    drop(&b);
}

/* What is not of Redis 7.0, piece by piece. */
static int read_text(const char *p, size_t n, char *error)
{
    return read_all(span_of((const uint8_t *)p, n), 1 << 20, error);
}
#define READ(text) read_text(text, sizeof(text) - 1, error)
#define END        "\xff\0\0\0\0\0\0\0\0"

static void test_what_other_servers_write(void **state)
{
    char error[200] = "";
    (void)state;
    /* versions 1 to 4 have no checksum; expiry in seconds */
    assert_int_equal(READ("REDIS0003\xfe\x00\xfd\xff\xff\xff\x7f\x00\x01k\x01v\xff"), 1);
    /* slot sizes (Redis 8, Valkey 8), a function library, values of a module outside keys */
    assert_int_equal(READ("REDIS0011\xfe\x00\xf4\x05\x01\x00\x00\x01k\x01v" END), 1);
    assert_int_equal(READ("REDIS0010\xf5\x03#!l\xfe\x00\x00\x01k\x01v" END), 1);
    assert_int_equal(
        READ("REDIS0010\xf7\x81\x00\x00\x00\x00\x00\x00\x00\x01\x02\x02\x05\x01x\x00" END), 0);
    /* idle time and counter before a key */
    assert_int_equal(READ("REDIS0010\xf8\x05\x00\x01k\x01v\xf9\x07\x00\x01l\x01v" END), 2);
    assert_int_equal(READ("REDIS0000" END), -1);
    assert_string_equal(error, "RDB version 0; versions 1 to 12 are read");
    assert_int_equal(READ("REDIS0080" END), -1);
    assert_string_equal(error, "RDB version 80; versions 1 to 12 are read");
    assert_int_equal(READ("RODIS0010" END), -1);
    assert_string_equal(error, "it does not begin with REDIS: this is no RDB file");
    assert_int_equal(READ("REDIS0010\xf6\x01x" END), -1);
    assert_non_null(strstr(error, "release candidate of Redis 7.0"));
    /* "ReJSON-RL" version 3 */
    assert_int_equal(READ("REDIS0010\x07\x01k\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03\x00" END), -1);
    assert_non_null(strstr(error, "module "));
    assert_int_equal(READ("REDIS0010\x1e\x01k\x01v" END), -1);
    assert_string_equal(error, "value type 30 is not known");
    assert_int_equal(READ("REDIS0010\xfe\x81\x00\x00\x00\x01\x00\x00\x00\x00" END), -1);
    assert_string_equal(error, "database number 4294967296");
    /* a length beyond the file is told at once, not waited for */
    assert_int_equal(READ("REDIS0010\x00\x01k\x81\x7f\xff\xff\xff\xff\xff\xff\xff" END), -1);
    assert_string_equal(error, "the file ends in the middle of a key");
}

static void test_module_names(void **state)
{
    char name[10];
    uint64_t id = 0;
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (void)state;
    for (const char *c = "ReJSON-RL"; *c; c++)
        id = id << 6 | (uint64_t)(strchr(set, *c) - set);
    rdb_module_name(id << 10 | 3, name);
    assert_string_equal(name, "ReJSON-RL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_in_any_pieces),
        cmocka_unit_test(test_a_cut_at_every_byte_is_told),
        cmocka_unit_test(test_every_flipped_bit_is_told),
        cmocka_unit_test(test_what_other_servers_write),
        cmocka_unit_test(test_module_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
