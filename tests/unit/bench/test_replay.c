/* Logs that the load generator asks again (replay.h), and memcached's protocol. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/bench/replay.h"
#include "dataplane/bench/skip.h"
#include "dataplane/bench/workload.h"
#include "tests/unit/unit.h"

static bool load_text(struct replay *r, const char *text, size_t n, char *err)
{
    char path[] = "/tmp/bw-replay-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
    bool ok = replay_load(r, path, err, 256);
    unlink(path);
    return ok;
}

static void expect_line(const struct replay *r, size_t i, const char *want, size_t n)
{
    assert_true(i < r->lines);
    assert_int_equal(r->line[i].len, n);
    assert_memory_equal(r->text + r->line[i].off, want, n);
}
#define EXPECT(r, i, want) expect_line(r, i, want, sizeof(want) - 1)

static void test_monitor(void **state)
{
    static const char text[] =
        "OK\n"
        "1339518083.107412 [0 127.0.0.1:60866] \"set\" \"a \\\"b\\\\\" \"x\\r\\n\\x00\\xfe\\t\"\n"
        "1339518083.207412 [0 lua] \"get\" \"a\"\n"
        "1339518083.200000 [1 [::1]:60866] \"del\" \"a\" \"\"\n"
        "1339518084.107412 [0 unix:/tmp/s] \"BLPOP\" \"l\" \"0\"\n";
    struct replay r;
    char err[256];
    (void)state;
    assert_true(load_text(&r, text, sizeof(text) - 1, err));
    assert_int_equal(r.lines, 3);
    assert_int_equal(r.left_out, 1);
    assert_true(r.timed);
    EXPECT(&r, 0, "*3\r\n$3\r\nset\r\n$5\r\na \"b\\\r\n$6\r\nx\r\n\0\xfe\t\r\n");
    EXPECT(&r, 1, "*2\r\n$3\r\nget\r\n$1\r\na\r\n");
    EXPECT(&r, 2, "*3\r\n$3\r\ndel\r\n$1\r\na\r\n$0\r\n\r\n");
    assert_int_equal(r.line[0].at_ns, 0);
    assert_in_range(r.line[1].at_ns, 99000000, 101000000);
    assert_int_equal(r.line[2].at_ns, r.line[1].at_ns); /* time does not run back */
    assert_true(r.length_ns > r.line[2].at_ns);
    replay_free(&r);
}

static void test_append_only_file(void **state)
{
    static const char text[] = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n#TS:1700000000\r\n"
                               "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\r\n*1\r\n"
                               "#TS:1700000002\r\n*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n";
    struct replay r;
    char err[256];
    (void)state;
    assert_true(load_text(&r, text, sizeof(text) - 1, err));
    assert_int_equal(r.lines, 2);
    assert_int_equal(r.left_out, 1);
    EXPECT(&r, 0, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\r\n*1\r\n");
    assert_int_equal(r.line[1].at_ns, 2000000000);
    replay_free(&r);
}

static void test_trace(void **state)
{
    static const char text[] = "0,k1,3,set\n5,k1,3,get\n7.5,k2,0,DEL\r\n";
    struct replay r;
    char err[256];
    (void)state;
    assert_true(load_text(&r, text, sizeof(text) - 1, err));
    assert_int_equal(r.lines, 3);
    EXPECT(&r, 0, "*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$3\r\nxxx\r\n");
    EXPECT(&r, 1, "*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n");
    EXPECT(&r, 2, "*2\r\n$3\r\nDEL\r\n$2\r\nk2\r\n");
    assert_int_equal(r.line[2].at_ns, 7500000);
    replay_free(&r);
}

/* Every damaged log is refused with its line, and none reads beyond its end. */
static void test_what_is_no_log_is_refused(void **state)
{
    static const char *const text[] = {
        "",
        "hello\n",
        "1.0 [0 x] \"get\n",
        "1.0 [0 x] \"get\\\n",
        "1.0 [0 x] get a\n",
        "1.0 [0 x\n",
        "1,k,3\n",
        "1,k,x,get\n",
        "1,k,3,put\n",
        "*2\r\n$3\r\nGET\r\n",
        "*2\r\n$3\r\nGET\r\n$5\r\nab\r\n",
        "*0\r\n",
        "*99999999999\r\n",
        "*1\r\n$99999999999999\r\nx\r\n",
        "*1\r\n$5\r\nMULTI\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
        struct replay r;
        char err[256] = "";
        assert_false(load_text(&r, text[i], strlen(text[i]), err));
        assert_non_null(strstr(err, "/tmp/bw-replay-"));
        replay_free(&r);
    }
    struct replay r;
    char err[256];
    assert_false(replay_load(&r, "/nonexistent/log", err, sizeof(err)));
    assert_non_null(strstr(err, "No such file"));
    replay_free(&r);
}

static void expect_memcached(const char *test, const char *sizes, const char *want)
{
    static uint8_t to[4096];
    struct workload w;
    struct draw d;
    char err[256];
    workload_init(&w);
    w.memcached = true;
    draw_seed(&d, 1);
    assert_true(size_draw_parse(&w.sizes, sizes));
    assert_true(workload_add_named(&w, test, 1, err, sizeof(err)));
    assert_true(workload_ready(&w, 1));
    size_t n = workload_write(&w, 0, &d, to);
    assert_true(n <= w.longest);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(to, want, n);
    workload_fini(&w);
}

static void test_memcached_requests(void **state)
{
    struct workload w;
    char err[256];
    (void)state;
    expect_memcached("set", "3", "set key:000000000000 0 0 3\r\naho\r\n");
    expect_memcached("set", "2-2", "set key:000000000000 0 0 2\r\nah\r\n");
    expect_memcached("get", "3", "get key:000000000000\r\n");
    workload_init(&w);
    w.memcached = true;
    assert_false(workload_add_named(&w, "lpush", 1, err, sizeof(err)));
    workload_fini(&w);
}

static void test_memcached_replies_at_every_cut(void **state)
{
    static const char text[] = "STORED\r\nVALUE k 0 5\r\nEND\r\n\r\nEND\r\nEND\r\nERROR\r\n"
                               "SERVER_ERROR out of memory storing object\r\nNOT_STORED\r\n";
    static const char want[] = "RRNEEE";
    (void)state;
    for (size_t step = 1; step < sizeof(text); step++) {
        struct skip s;
        char got[16];
        size_t n = 0;
        skip_init(&s);
        s.memcached = true;
        for (size_t off = 0; off < sizeof(text) - 1; off += step) {
            size_t len = sizeof(text) - 1 - off < step ? sizeof(text) - 1 - off : step;
            uint8_t *piece = malloc(len); /* exact: ASan sees what is read beyond */
            memcpy(piece, text + off, len);
            for (const uint8_t *p = piece; p < piece + len;) {
                enum skip_status status = skip_reply(&s, &p, piece + len);
                if (status == SKIP_MORE)
                    break;
                assert_int_equal(status, SKIP_REPLY);
                got[n++] = s.error ? 'E' : s.null ? 'N' : 'R';
            }
            free(piece);
        }
        got[n] = 0;
        assert_string_equal(got, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monitor),
        cmocka_unit_test(test_append_only_file),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_what_is_no_log_is_refused),
        cmocka_unit_test(test_memcached_requests),
        cmocka_unit_test(test_memcached_replies_at_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
