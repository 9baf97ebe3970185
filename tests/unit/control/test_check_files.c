/* barewire check-files: whole files, damaged ones, and what --fix keeps. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "control/check_files.h"
#include "engine/log/rdb_file.h"
#include "tests/unit/unit.h"

struct fix {
    char dir[64], path[96], damaged[112];
    char text[4096]; /* what the last check said */
};

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof(*f));
    strcpy(f->dir, "/tmp/test-check-files-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/f", f->dir);
    snprintf(f->damaged, sizeof(f->damaged), "%s/f.damaged", f->dir);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;
    unlink(f->path);
    unlink(f->damaged);
    assert_int_equal(rmdir(f->dir), 0); /* nothing else is left behind */
    free(f);
    return 0;
}

static void put(struct fix *f, const void *p, size_t n)
{
    FILE *to = fopen(f->path, "w");
    assert_int_equal(fwrite(p, 1, n, to), n);
    fclose(to);
}

static int check(struct fix *f, bool mend)
{
    FILE *out = fmemopen(f->text, sizeof(f->text), "w");
    int rc = check_file(f->path, mend, out);
    fclose(out);
    return rc;
}

static void expect_said(struct fix *f, const char *what)
{
    if (!strstr(f->text, what))
        fail_msg("'%s' is not in: %s", what, f->text);
}

/* Three keys; the second is a list whose listpack can be damaged without the file's frame being so. */
static const char body[] = "REDIS0010\xfe\x00\x00\x01"
                           "a\x01"
                           "1\x12\x01"
                           "l\x01\x02\x0a\x0a\x00\x00\x00\x01\x00\x81x\x02\xff\x00\x01"
                           "c\x01"
                           "3\xff";

static size_t make(uint8_t *to)
{
    size_t n = sizeof(body) - 1;
    memcpy(to, body, n);
    uint64_t crc = crc64(0, to, n);
    memcpy(to + n, &crc, 8);
    return n + 8;
}

static void test_a_whole_file(void **state)
{
    struct fix *f = *state;
    uint8_t b[200];
    put(f, b, make(b));
    assert_int_equal(check(f, false), 0);
    expect_said(f, "RDB version 10, 3 keys, 0 of them with an expiry");
    expect_said(f, ": OK\n");
    assert_int_equal(check(f, true), 0); /* nothing to mend: no file is made */
    assert_int_not_equal(access(f->damaged, F_OK), 0);
}

static void test_a_cut_file(void **state)
{
    struct fix *f = *state;
    uint8_t b[200];
    size_t n = make(b);
    for (size_t cut = 9; cut < n; cut++) {
        put(f, b, cut);
        assert_int_equal(check(f, false), 1);
        expect_said(f, "DAMAGED");
        assert_int_equal(check(f, true), 0);
        assert_int_equal(check(f, false), 0);
        expect_said(f, ": OK\n");
        unlink(f->damaged);
    }
}

static void test_a_damaged_value_is_left_out(void **state)
{
    struct fix *f = *state;
    uint8_t b[200];
    size_t n = make(b);
    uint8_t *lp = memmem(b, n, "\x81x\x02", 3);
    assert_non_null(lp);
    lp[2] = 9; /* the entry's length from behind */
    put(f, b, n);
    assert_int_equal(check(f, false), 1);
    expect_said(f, "the value of a key (type 18) is damaged");
    expect_said(f, "2 keys can be kept (--fix)");
    assert_int_equal(check(f, true), 0);
    assert_int_equal(access(f->damaged, F_OK), 0);
    assert_int_equal(check(f, false), 0);
    expect_said(f, "2 keys");
    /* a second one of that name is not written over */
    put(f, b, n);
    assert_int_equal(check(f, true), 1);
    expect_said(f, "in the way");
}

static void test_only_the_checksum_is_wrong(void **state)
{
    struct fix *f = *state;
    uint8_t b[200];
    size_t n = make(b);
    b[13] ^= 1; /* a letter of a key */
    put(f, b, n);
    assert_int_equal(check(f, false), 1);
    expect_said(f, "the checksum is wrong");
    expect_said(f, "every key can be read, but one of them is not what was written");
    assert_int_equal(check(f, true), 0);
    assert_int_equal(check(f, false), 0);
}

static void test_append_only_files(void **state)
{
    struct fix *f = *state;
    static const char aof[] =
        "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
    uint8_t b[400];
    put(f, aof, sizeof(aof) - 1);
    assert_int_equal(check(f, false), 0);
    expect_said(f, "append-only file without checksums, 2 commands");
    put(f, aof, sizeof(aof) - 6); /* torn */
    assert_int_equal(check(f, false), 1);
    expect_said(f, "TORN");
    assert_int_equal(check(f, true), 0);
    assert_int_equal(check(f, false), 0);
    expect_said(f, "1 commands");
    unlink(f->damaged);
    /* behind an RDB */
    size_t n = make(b);
    memcpy(b + n, aof, sizeof(aof) - 1);
    put(f, b, n + sizeof(aof) - 1);
    assert_int_equal(check(f, false), 0);
    expect_said(f, "2 commands");
}

static void test_what_is_neither(void **state)
{
    struct fix *f = *state;
    put(f, "hello", 5);
    assert_int_equal(check(f, true), 1);
    expect_said(f, "neither a snapshot (RDB) nor an append-only file");
    put(f, "", 0);
    assert_int_equal(check(f, true), 1);
    expect_said(f, "empty");
    unlink(f->path);
    assert_int_equal(check(f, true), 1);
    expect_said(f, "No such file");
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_a_whole_file),
        T(test_a_cut_file),
        T(test_a_damaged_value_is_left_out),
        T(test_only_the_checksum_is_wrong),
        T(test_append_only_files),
        T(test_what_is_neither),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
