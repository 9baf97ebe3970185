/* CONFIG SET in Redis's words, all or nothing; CONFIG REWRITE keeps what a person wrote. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/config/config_internal.h"
#include "tests/unit/unit.h"

static char err[CONFIG_ERROR_BYTES];

static int set(struct config *c, const char *const *words)
{
    struct span v[16];
    uint32_t n = 0;
    for (; words[n]; n++)
        v[n] = span_str(words[n]);
    err[0] = 0;
    return config_set(c, v, n, err, sizeof(err));
}

#define SET(c, ...) set(c, (const char *const[]){__VA_ARGS__, NULL})
#define REFUSED(c, text, ...)                           \
    do {                                                \
        assert_int_equal(SET(c, __VA_ARGS__), -EINVAL); \
        assert_string_equal(err, text);                 \
    } while (0)
#define FAILED(arg, why) "ERR CONFIG SET failed (possibly related to argument '" arg "') - " why

static void expect(const struct config *c, const char *name, const char *value)
{
    char *v = config_get(c, config_find(span_str(name)), NULL);
    assert_string_equal(v, value);
    free(v);
}

/* The texts were taken from redis-server 7.0.15. */
static void test_texts(void **state)
{
    struct config *c = config_new();
    REFUSED(c, "ERR Unknown option or number of arguments for CONFIG SET - 'foo'", "foo", "bar");
    REFUSED(c, "ERR Unknown option or number of arguments for CONFIG SET - 'foo'", "maxmemory",
            "100", "foo", "bar");
    REFUSED(c, "ERR Unknown option or number of arguments for CONFIG SET - 'user'", "user", "x");
    REFUSED(c, FAILED("databases", "can't set immutable config"), "databases", "4", "foo", "1");
    REFUSED(c, "ERR Unknown option or number of arguments for CONFIG SET - 'foo'", "foo", "1",
            "databases", "3");
    REFUSED(c, FAILED("dir", "can't set protected config"), "dir", "/tmp");
    REFUSED(c, FAILED("HZ", "duplicate parameter"), "hz", "10", "HZ", "20");
    REFUSED(c, FAILED("maxmemory", "argument must be a memory value"), "maxmemory", "x");
    REFUSED(c, FAILED("hz", "argument couldn't be parsed into an integer"), "hz", " 10");
    REFUSED(c, FAILED("timeout", "argument must be between 0 and 2147483647 inclusive"), "timeout",
            "-1");
    REFUSED(c, FAILED("protected-mode", "argument must be 'yes' or 'no'"), "protected-mode",
            "yes ");
    REFUSED(c,
            FAILED("loglevel",
                   "argument(s) must be one of the following: debug, verbose, notice, warning"),
            "loglevel", "");
    REFUSED(c,
            FAILED("client-output-buffer-limit",
                   "Wrong number of arguments in buffer limit configuration."),
            "client-output-buffer-limit", "normal 1 2");
    REFUSED(c,
            FAILED("client-output-buffer-limit",
                   "Wrong number of arguments in buffer limit configuration."),
            "client-output-buffer-limit", "normal 1  2 3"); /* every blank separates here */
    REFUSED(c, FAILED("enable-debug-command", "can't set immutable config"), "enable-debug-command",
            "yes");
    REFUSED(c, FAILED("unixsocket", "can't set immutable config"), "unixsocket", "foo");
    config_free(c);
}

static void test_changes(void **state)
{
    struct config *c = config_new();
    assert_int_equal(SET(c, "maxmemory", "1gb", "HZ", "1000", "client-output-buffer-limit",
                         "pubsub 1 2 3", "net-allow", "10.0.0.0/8 1.2.3.4"),
                     0);
    expect(c, "maxmemory", "1073741824");
    expect(c, "hz", "500");
    expect(c, "client-output-buffer-limit",
           "normal 0 0 0 slave 268435456 67108864 60 pubsub 1 2 3");
    expect(c, "net-allow", "10.0.0.0/8 1.2.3.4/32");
    assert_int_equal(SET(c, "maxmemory", "", "client-output-buffer-limit", "", "net-allow", ""), 0);
    expect(c, "maxmemory", "0");
    expect(c, "net-allow", "");
    config_free(c);
}

static void test_all_or_nothing(void **state)
{
    struct config *c = config_new();
    struct engine_config before = c->engine;
    REFUSED(c, FAILED("timeout", "argument couldn't be parsed into an integer"), "maxmemory", "5",
            "requirepass", "x", "hz", "20", "timeout", "z");
    assert_memory_equal(&before, &c->engine, sizeof(before));
    config_free(c);
}

static void test_warnings_survive(void **state)
{
    struct config *c = config_new();
    assert_int_equal(config_load_text(c, SPAN("repl-diskless-sync yes"), err, sizeof(err)), 0);
    assert_int_equal(SET(c, "hz", "20"), 0);
    assert_int_equal(c->warnings_count, 1);
    config_free(c);
}

static void test_unsupported(void **state)
{
    struct config *c = config_new();
    assert_int_equal(SET(c, "save", "", "appendonly", "NO", "bind", ""), 0);
    REFUSED(c, FAILED("repl-diskless-sync", "not supported by Barewire: no replication yet"),
            "repl-diskless-sync", "yes");
    REFUSED(c, FAILED("daemonize", "can't set immutable config"), "daemonize", "no");
    config_free(c);
}

/* ---- REWRITE ---- */

static void rewrites(struct config *c, const char *old, const char *want)
{
    size_t n = 0;
    char *text = config_rewrite_text(c, span_str(old), &n);
    assert_non_null(text);
    assert_string_equal(text, want);
    /* again: nothing more to do; and the text means what c means */
    char *again = config_rewrite_text(c, span_of(text, n), NULL);
    assert_string_equal(again, text);
    struct config *back = config_new();
    assert_int_equal(config_load_text(back, span_of(text, n), err, sizeof(err)), 0);
    assert_memory_equal(&back->engine, &c->engine, sizeof(c->engine));
    config_free(back);
    free(again);
    free(text);
}

static void test_rewrite(void **state)
{
    static const char old[] =
        "# my server\n\nmaxmemory   1gb   \n  hz '10'\nhz 20\nappendonly yes\n# tail\ntimeout 0\n";
    struct config *c = config_new();
    assert_int_equal(config_load_text(c, span_str(old), err, sizeof(err)), 0);
    rewrites(c, old, old); /* as it was written */
    assert_int_equal(SET(c, "hz", "30"), 0);
    rewrites(c, old,
             "# my server\n\nmaxmemory   1gb   \nhz 30\nappendonly yes\n# tail\ntimeout 0\n");
    assert_int_equal(
        SET(c, "hz", "10", "maxmemory", "0", "requirepass", "a b\n", "tcp-keepalive", "7"), 0);
    rewrites(c, old,
             "# my server\n\nmaxmemory 0\nhz 10\nappendonly yes\n# tail\ntimeout 0\n# Generated by "
             "CONFIG REWRITE\n"
             "tcp-keepalive 7\nrequirepass \"a b\\n\"\n");
    config_free(c);
}

static void test_rewrite_of_several_lines(void **state)
{
    static const char old[] = "client-output-buffer-limit normal 0 0 0\n# "
                              "between\nclient-output-buffer-limit pubsub 32mb 8mb 60\n";
    struct config *c = config_new();
    rewrites(c, old, old);
    assert_int_equal(SET(c, "client-output-buffer-limit", "normal 1 2 3"), 0);
    rewrites(
        c, old,
        "client-output-buffer-limit normal 1 2 3\n# between\nclient-output-buffer-limit replica "
        "268435456 67108864 60\n"
        "# Generated by CONFIG REWRITE\nclient-output-buffer-limit pubsub 33554432 8388608 60\n");
    assert_int_equal(SET(c, "net-allow", "10.0.0.0/8 1.2.3.4"), 0);
    rewrites(c, "net-allow 1.1.1.1\nnet-allow 2.2.2.2",
             "net-allow 10.0.0.0/8 1.2.3.4/32\n# Generated by CONFIG REWRITE\n"
             "client-output-buffer-limit normal 1 2 3\nclient-output-buffer-limit replica "
             "268435456 67108864 60\n"
             "client-output-buffer-limit pubsub 33554432 8388608 60\n");
    config_free(c);
}

static void test_rewrite_of_a_file(void **state)
{
    char dir[] = "/tmp/barewire-test-rewrite-XXXXXX", path[64], cmd[64];
    struct config *c = config_new();
    struct stat st;
    char *text;
    size_t n;

    assert_int_equal(config_rewrite(c, err, sizeof(err)), -ENOENT);
    assert_string_equal(err, "ERR The server is running without a config file");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/x.conf", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("# hello\nhz 10", f);
    fclose(f);
    assert_int_equal(chmod(path, 0640), 0);
    char *argv[] = {path, "--hz", "40"};
    assert_int_equal(config_load_args(c, 3, argv, err, sizeof(err)), 0);
    assert_int_equal(config_rewrite(c, err, sizeof(err)), 0);
    assert_int_equal(config_read_file(path, -1, &text, &n), 0);
    assert_string_equal(text, "# hello\nhz 40\n");
    free(text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(unlink(path), 0); /* gone: it is made anew */
    assert_int_equal(config_rewrite(c, err, sizeof(err)), 0);
    assert_int_equal(config_read_file(path, -1, &text, &n), 0);
    assert_string_equal(text, "# Generated by CONFIG REWRITE\nhz 40\n");
    free(text);
    snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
    assert_int_equal(system(cmd), 0);
    assert_true(config_rewrite(c, err, sizeof(err)) != 0); /* no directory */
    assert_string_equal(err, "ERR Rewriting config file: No such file or directory");
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_all_or_nothing),
        cmocka_unit_test(test_warnings_survive),
        cmocka_unit_test(test_unsupported),
        cmocka_unit_test(test_rewrite),
        cmocka_unit_test(test_rewrite_of_several_lines),
        cmocka_unit_test(test_rewrite_of_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
