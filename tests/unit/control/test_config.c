/* Configuration text to values: grammar, units, includes, the command line, every form of error, Debian's redis.conf, the sample. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/config/config_internal.h"
#include "engine/base/assert.h"
#include "tests/unit/unit.h"

static char err[CONFIG_ERROR_BYTES];

static int load(struct config *c, const char *text)
{
    return config_load_text(c, span_str(text), err, sizeof(err));
}

static void expect(const struct config *c, const char *name, const char *value)
{
    uint32_t i = config_find(span_str(name));
    assert_int_not_equal(i, UINT32_MAX);
    char *v = config_get(c, i, NULL);
    assert_non_null(v);
    assert_string_equal(v, value);
    free(v);
}

/* Loads one line as line 2 of a file and wants Redis's whole report. */
static void refused(const char *line, const char *shown, const char *why)
{
    char text[2048], want[2048];
    struct config *c = config_new();
    snprintf(text, sizeof(text), "# first\n  %s  \r\n", line);
    assert_int_equal(load(c, text), -EINVAL);
    snprintf(want, sizeof(want),
             "\n*** FATAL CONFIG FILE ERROR ***\nReading the configuration file, at line 2\n>>> "
             "'%s'\n%s\n",
             shown, why);
    assert_string_equal(err, want);
    config_free(c);
}

static void one(const char *text, const char *name, const char *value)
{
    struct config *c = config_new();
    assert_int_equal(load(c, text), 0);
    expect(c, name, value);
    config_free(c);
}

static void test_defaults_agree_with_the_engine(void **state)
{
    struct engine_config d;
    struct config *c = config_new();
    memset(&d, 0, sizeof(d));
    engine_config_defaults(&d);
    assert_memory_equal(&d, &c->engine, sizeof(d));
    expect(c, "maxclients", "10000");
    expect(c, "client-output-buffer-limit",
           "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60");
    expect(c, "idle", "adaptive");
    assert_int_equal(c->warnings_count, 0);
    config_free(c);
}

static void test_values(void **state)
{
    one("maxmemory 1k", "maxmemory", "1000");
    one("maxmemory 1KB", "maxmemory", "1024");
    one("maxmemory 2m", "maxmemory", "2000000");
    one("maxmemory 2mb", "maxmemory", "2097152");
    one("maxmemory 3g", "maxmemory", "3000000000");
    one("maxmemory 3Gb", "maxmemory", "3221225472");
    one("maxmemory 7b", "maxmemory", "7");
    one("maxmemory 99999999999999999999", "maxmemory", "18446744073709551615");
    one("HZ 100", "hz", "100");
    one("hz 0", "hz", "1");
    one("hz 1000", "hz", "500");
    one("unixsocketperm 770", "unixsocketperm", "770");
    one("protected-mode NO", "protected-mode", "no");
    one("enable-debug-command local", "enable-debug-command", "local");
    one("maxmemory-policy NoEviction", "maxmemory-policy", "noeviction");
    one("maxmemory-policy allkeys-lru", "maxmemory-policy", "allkeys-lru");
    one("maxmemory-policy allkeys-s3fifo", "maxmemory-policy", "allkeys-s3fifo");
    one("port 1\nport 2", "port", "2");
    one("net-address 10.1.2.3/24\nnet-gateway 10.1.2.1", "net-address", "10.1.2.3/24");
    one("net-address fd00::2/64   10.1.2.3/24", "net-address", "fd00::2/64 10.1.2.3/24");
    one("net-address \"10.1.2.3/24 fd00::2/64\"", "net-address", "10.1.2.3/24 fd00::2/64");
    one("net-address 2001:db8::7/127", "net-address", "2001:db8::7/127");
    one("net-address 10.1.2.3/24\nnet-address \"\"", "net-address", "");
    one("net-gateway fe80::1 10.1.2.1", "net-gateway", "fe80::1 10.1.2.1");
    one("net-allow fd00:1:2::3/48 10.1.2.3/8 ::1", "net-allow", "10.0.0.0/8 fd00:1:2::/48 ::1/128");
    one("net-port af_xdp:eth0.5", "net-port", "af_xdp:eth0.5");
    one("net-port net_memif0,role=server", "net-port", "net_memif0,role=server");
    one("net-allow 10.1.2.3/8 192.168.0.7", "net-allow", "10.0.0.0/8 192.168.0.7/32");
    one("net-allow 10.0.0.0/8\nnet-allow \"\"", "net-allow", "");
    one("net-allow \"10.0.0.0/8  1.2.3.4/0\"", "net-allow", "10.0.0.0/8 0.0.0.0/0");
    one("client-output-buffer-limit replica 1mb 1k 5", "client-output-buffer-limit",
        "normal 0 0 0 slave 1048576 1000 5 pubsub 33554432 8388608 60");
    one("client-output-buffer-limit \"normal 1 2 3 pubsub 4 5 6\"", "client-output-buffer-limit",
        "normal 1 2 3 slave 268435456 67108864 60 pubsub 4 5 6");
}

static void test_quotes(void **state)
{
    static const char bytes[] = "a\"b\\c\n\r\t\b\a\x01z q";
    struct config *c = config_new();
    assert_int_equal(load(c, "requirepass \"a\\\"b\\\\c\\n\\r\\t\\b\\a\\x01\\z q\""), 0);
    assert_int_equal(c->engine.requirepass_len, sizeof(bytes) - 1);
    assert_memory_equal(c->engine.requirepass, bytes, sizeof(bytes) - 1);
    assert_int_equal(load(c, "requirepass 'it\\'s \\n'"), 0);
    expect(c, "requirepass", "it's \\n");
    assert_int_equal(load(c, "requirepass ab\"cd e\""), 0);
    expect(c, "requirepass", "abcd e");
    assert_int_equal(load(c, "requirepass \"\\x00\\xff\""), 0);
    assert_int_equal(c->engine.requirepass_len, 2);
    assert_memory_equal(c->engine.requirepass, "\0\xff", 2);
    assert_int_equal(load(c, "requirepass \"\""), 0);
    assert_int_equal(c->engine.requirepass_len, 0);
    config_free(c);
}

static void test_errors(void **state)
{
    char line[700];
    refused("port abc", "port abc", "argument couldn't be parsed into an integer");
    refused("port 70000", "port 70000", "argument must be between 0 and 65535 inclusive");
    refused("port  1 2", "port  1 2", "wrong number of arguments");
    refused("hz", "hz", "wrong number of arguments");
    refused("hz -1", "hz -1", "argument must be between 0 and 2147483647 inclusive");
    refused("maxclients 0", "maxclients 0", "argument must be between 1 and 4294967295 inclusive");
    refused("maxmemory 1x", "maxmemory 1x", "argument must be a memory value");
    refused("maxmemory -1", "maxmemory -1", "argument must be a memory value");
    refused("proto-max-bulk-len 5", "proto-max-bulk-len 5",
            "argument must be between 1048576 and 9223372036854775807 inclusive");
    refused("protected-mode maybe", "protected-mode maybe", "argument must be 'yes' or 'no'");
    refused("loglevel foo", "loglevel foo",
            "argument(s) must be one of the following: debug, verbose, notice, warning");
    refused("maxmemory-policy foo", "maxmemory-policy foo",
            "argument(s) must be one of the following: volatile-lru, volatile-lfu, "
            "volatile-random, volatile-ttl, "
            "allkeys-lru, allkeys-lfu, allkeys-random, noeviction, allkeys-s3fifo");
    refused("enable-debug-command foo", "enable-debug-command foo",
            "argument(s) must be one of the following: no, yes, local");
    refused("port \"1", "port \"1", "Unbalanced quotes in configuration line");
    refused("port \"1\"2", "port \"1\"2", "Unbalanced quotes in configuration line");
    refused("port 'a", "port 'a", "Unbalanced quotes in configuration line");
    refused("unixsocketperm 999", "unixsocketperm 999",
            "argument couldn't be parsed as an octal number");
    refused("unixsocketperm 1000", "unixsocketperm 1000",
            "argument must be between 0 and 777 inclusive");
    refused("dir /nonexistent-dir", "dir /nonexistent-dir", "No such file or directory");
    refused("client-output-buffer-limit normal 1", "client-output-buffer-limit normal 1",
            "Wrong number of arguments in buffer limit configuration.");
    refused("client-output-buffer-limit foo 1 1 1", "client-output-buffer-limit foo 1 1 1",
            "Invalid client class specified in buffer limit configuration.");
    refused("client-output-buffer-limit normal x 1 1", "client-output-buffer-limit normal x 1 1",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
    refused("client-output-buffer-limit normal 1 1 -1", "client-output-buffer-limit normal 1 1 -1",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
    refused("maxmemry 1", "maxmemry 1",
            "Bad directive or wrong number of arguments (unknown directive; the nearest is "
            "'maxmemory')");
    refused("net_port x", "net_port x",
            "Bad directive or wrong number of arguments (unknown directive; the nearest is "
            "'net-port')");
    refused("zzzzzzzzzzzz x", "zzzzzzzzzzzz x",
            "Bad directive or wrong number of arguments (unknown directive)");
    refused("workers 65", "workers 65", "argument must be between 1 and 64 inclusive");
    refused("databases 17", "databases 17", "argument must be between 1 and 16 inclusive");
    refused("net-address 10.0.0.1", "net-address 10.0.0.1",
            "argument must be addresses with their prefix lengths, as 10.0.0.2/24 fd00::2/64");
    refused("net-address fe80::1/64", "net-address fe80::1/64",
            "argument must be addresses with their prefix lengths, as 10.0.0.2/24 fd00::2/64");
    refused("net-address ::1/128", "net-address ::1/128",
            "argument must be addresses with their prefix lengths, as 10.0.0.2/24 fd00::2/64");
    refused("net-address fd00::2/129", "net-address fd00::2/129",
            "argument must be addresses with their prefix lengths, as 10.0.0.2/24 fd00::2/64");
    refused("net-address fd00::2/64 10.0.0.1/8 10.0.0.2/8",
            "net-address fd00::2/64 10.0.0.1/8 10.0.0.2/8", "argument may have one IPv4 address");
    refused("net-address fd00::2/64 fd00::2/32", "net-address fd00::2/64 fd00::2/32",
            "argument names an address twice");
    refused("net-address fd00::/64", "net-address fd00::/64",
            "argument is the network or broadcast address of its prefix, not a host's");
    refused("net-address fd00::1/64 fd00::2/64 fd00::3/64 fd00::4/64 fd00::5/64",
            "net-address fd00::1/64 fd00::2/64 fd00::3/64 fd00::4/64 fd00::5/64",
            "argument has too many IPv6 addresses (4 at most)");
    refused("net-address 10.0.0.0/24", "net-address 10.0.0.0/24",
            "argument is the network or broadcast address of its prefix, not a host's");
    refused("net-gateway 10.0.0.0/8", "net-gateway 10.0.0.0/8",
            "argument must be an IPv4 address, an IPv6 address, or one of each");
    refused("net-gateway fe80::1 fe80::2", "net-gateway fe80::1 fe80::2",
            "argument may have one address of each family");
    refused("net-allow 10.0.0.0/33", "net-allow 10.0.0.0/33",
            "argument must be a list of prefixes, as 10.0.0.0/8 192.168.1.7 fd00::/8");
    refused("net-port eth0", "net-port eth0",
            "argument must be af_xdp:IFACE, tap:NAME, af_packet:IFACE, pci:ADDRESS or an EAL vdev "
            "(net_...)");
    refused("instance ../x", "instance ../x",
            "argument must be 1 to 64 letters, digits, '.', '_' or '-'");
    refused("requirepass secret secret", "requirepass",
            "wrong number of arguments"); /* not into the log */
    memset(line, 0, sizeof(line));
    memset(line, 'x', 513);
    memcpy(line, "requirepass ", 12);
    memset(line + 12, 'p', 513);
    refused(line, "requirepass", "the password is longer than 512 bytes");
}

static void test_a_failed_line_changes_nothing(void **state)
{
    struct config *c = config_new();
    assert_int_equal(load(c, "client-output-buffer-limit normal 1 1 1 foo 1 1 1"), -EINVAL);
    assert_int_equal(load(c, "net-allow 1.2.3.4 x"), -EINVAL);
    expect(c, "client-output-buffer-limit",
           "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60");
    expect(c, "net-allow", "");
    config_free(c);
}

static void test_too_many_prefixes(void **state)
{
    char line[2048] = "net-allow";
    for (int i = 0; i < LIMIT_NET_ALLOW; i++)
        strcat(line, " 10.0.0.0/8");
    struct config *c = config_new();
    assert_int_equal(load(c, line), 0);
    assert_int_equal(c->engine.net_allow_count, LIMIT_NET_ALLOW);
    strcat(line, " 10.0.0.0/8");
    assert_int_equal(load(c, line), -EINVAL);
    assert_non_null(strstr(err, "too many prefixes"));
    config_free(c);
}

static void test_nul_byte(void **state)
{
    struct config *c = config_new();
    assert_int_equal(config_load_text(c, SPAN("port 1\0 2"), err, sizeof(err)), -EINVAL);
    assert_non_null(strstr(err, "NUL byte"));
    config_free(c);
}

/* ---- the command line ---- */

static int args(struct config *c, const char *const *v)
{
    int n = 0;
    while (v[n])
        n++;
    return config_load_args(c, n, (char **)(uintptr_t)v, err, sizeof(err));
}

#define ARGS(c, ...) args(c, (const char *const[]){__VA_ARGS__, NULL})

static void test_command_line(void **state)
{
    struct config *c = config_new();
    assert_int_equal(ARGS(c, "--port", "1234", "--client-output-buffer-limit", "normal", "1", "2",
                          "3", "--hz 20", "--requirepass", "a b\"c"),
                     0);
    expect(c, "port", "1234");
    expect(c, "client-output-buffer-limit",
           "normal 1 2 3 slave 268435456 67108864 60 pubsub 33554432 8388608 60");
    expect(c, "hz", "20");
    expect(c, "requirepass", "a b\"c");
    assert_string_equal(c->file, "");
    /* a bare option takes the next word whatever it looks like; --save alone may go without */
    assert_int_equal(ARGS(c, "--port", "--hz"), -EINVAL);
    assert_non_null(strstr(err, "at line 2\n>>> 'port \"--hz\"'\n"));
    assert_int_equal(ARGS(c, "--save", "--port", "77"), 0);
    expect(c, "port", "77");
    expect(c, "save", "");
    assert_int_equal(c->warnings_count, 0);
    assert_int_equal(ARGS(c, "--port", "1", "2"), -EINVAL);
    assert_non_null(strstr(err, ">>> 'port \"1\" \"2\"'\nwrong number of arguments"));
    assert_int_equal(ARGS(c, "/nonexistent.conf"), -ENOENT);
    assert_string_equal(
        err,
        "Fatal error, can't open config file '/nonexistent.conf': No such file or directory\n");
    config_free(c);
}

struct folder {
    char path[64];
};

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int folder_new(void **state)
{
    struct folder *d = calloc(1, sizeof(*d));
    strcpy(d->path, "/tmp/barewire-test-config-XXXXXX");
    *state = d;
    return mkdtemp(d->path) ? 0 : -1;
}

static int folder_gone(void **state)
{
    struct folder *d = *state;
    char cmd[128];
    snprintf(cmd, sizeof(cmd), "rm -r %s", d->path);
    int failed = system(cmd);
    free(d);
    return failed;
}

static void test_file_then_directives(void **state)
{
    struct folder *d = *state;
    char main_path[128], text[512];
    struct config *c = config_new();

    snprintf(main_path, sizeof(main_path), "%s/main.conf", d->path);
    snprintf(text, sizeof(text), "port 1\nhz 50\ninclude %s/part-*.conf\ninclude %s/none-*.conf\n",
             d->path, d->path);
    write_file(main_path, text);
    snprintf(text, sizeof(text), "%s/part-1.conf", d->path);
    write_file(text, "timeout 5\ntcp-keepalive 6\n");
    snprintf(text, sizeof(text), "%s/part-2.conf", d->path);
    write_file(text, "tcp-keepalive 7\n");
    assert_int_equal(ARGS(c, main_path, "--port", "2"), 0);
    expect(c, "port", "2");
    expect(c, "hz", "50");
    expect(c, "timeout", "5");
    expect(c, "tcp-keepalive", "7");
    assert_string_equal(c->file, main_path);
    assert_int_equal(ARGS(c, main_path, "--port", "x"), -EINVAL);
    assert_non_null(strstr(
        err,
        "at line 6\n")); /* four lines, an empty one, then the directives: as redis-server counts */
    config_free(c);
}

static void test_include_errors(void **state)
{
    struct folder *d = *state;
    char path[128], text[256];
    struct config *c = config_new();

    snprintf(path, sizeof(path), "%s/loop.conf", d->path);
    snprintf(text, sizeof(text), "include %s\n", path);
    write_file(path, text);
    assert_int_equal(ARGS(c, path), -EINVAL);
    assert_non_null(strstr(err, "files include each other too deeply"));
    assert_true(load(c, "include /nonexistent.conf") != 0);
    assert_string_equal(
        err,
        "Fatal error, can't open config file '/nonexistent.conf': No such file or directory\n");
    assert_int_equal(load(c, "include a b"), -EINVAL);
    assert_non_null(strstr(err, "Bad directive or wrong number of arguments"));
    config_free(c);
}

static void test_stdin(void **state)
{
    int p[2], old = dup(STDIN_FILENO);
    struct config *c = config_new();
    assert_int_equal(pipe(p), 0);
    assert_int_equal(write(p[1], "port 7\nhz 11\n", 13), 13);
    close(p[1]);
    dup2(p[0], STDIN_FILENO);
    int ret = ARGS(c, "--port", "8", "-");
    dup2(old, STDIN_FILENO);
    close(old);
    close(p[0]);
    assert_int_equal(ret, 0);
    expect(c, "port", "8"); /* directives come after standard input wherever the "-" stands */
    expect(c, "hz", "11");
    config_free(c);
}

/* ---- whole files ---- */

static void test_debian_redis_conf(void **state)
{
    struct config *c = config_new();
    if (access("/etc/redis/redis.conf", R_OK) != 0) {
        config_free(c);
        skip();
    }
    int ret = ARGS(c, "/etc/redis/redis.conf");
    if (ret)
        print_error("%s", err);
    assert_int_equal(ret, 0);
    expect(c, "port", "6379");
    expect(c, "dir", "/var/lib/redis");
    expect(c, "logfile", "/var/log/redis/redis-server.log");
    expect(c, "appendonly", "no");
    expect(c, "save", "");
    bool bind = false, port = false;
    for (uint32_t i = 0; i < c->warnings_count; i++) {
        bind = bind || strncmp(c->warnings[i], "bind: ", 6) == 0;
        port = port || strncmp(c->warnings[i], "port: ", 6) == 0;
    }
    assert_true(bind);
    assert_false(port);
    config_free(c);
}

static void test_foreign_directives_warn_once_and_tell_the_truth(void **state)
{
    struct config *c = config_new();
    assert_int_equal(load(c, "repl-diskless-sync yes\nrepl-diskless-sync yes\nsave 900 1\nsave 300 "
                             "10\nrename-command FLUSHALL \"\"\n"
                             "user default on nopass\nio-threads 4"),
                     0);
    assert_int_equal(c->warnings_count, 4);
    expect(c, "repl-diskless-sync", "no");
    expect(c, "save", "900 1 300 10"); /* lines of a file add up */
    expect(c, "io-threads", "1");
    config_free(c);
}

/* Every directive of the sample, its comment sign taken away, must load and mean the default. */
static void test_sample_is_the_defaults(void **state)
{
    char *sample = config_sample(), *save = NULL;
    struct config *c = config_new(), *d = config_new();
    unsigned lines = 0;
    assert_non_null(sample);
    assert_int_equal(load(c, sample), 0); /* as it is: all comments */
    for (char *l = strtok_r(sample, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        struct config_words w;
        if (strncmp(l, "# ", 2) != 0 || !config_split(span_str(l + 2), &w))
            continue;
        uint32_t i = w.n ? config_find(w.v[0]) : UINT32_MAX;
        config_words_free(&w);
        if (i == UINT32_MAX || l[2] < 'a' || l[2] > 'z')
            continue;
        if (load(c, l + 2) != 0)
            fail_msg("%s: %s", l, err);
        lines++;
    }
    assert_true(lines > 40);
    assert_memory_equal(&c->engine, &d->engine, sizeof(d->engine));
    for (uint32_t i = 0; i < config_count(); i++) {
        if (!config_item(i)->name)
            continue;
        char *v = config_get(d, i, NULL);
        expect(c, config_item(i)->name, v);
        free(v);
    }
    free(sample);
    config_free(c);
    config_free(d);
}

static void test_names_are_unique_and_documented(void **state)
{
    char *docs = config_docs(), cell[128], range[256];
    for (uint32_t i = 0; i < config_count(); i++) {
        const struct config_item *it = config_item(i);
        if (!it->name)
            continue;
        assert_int_equal(config_find(span_str(it->name)), i);
        assert_true(it->help[0]);
        snprintf(cell, sizeof(cell), "| `%s`", it->name);
        assert_non_null(strstr(docs, cell));
        config_range(i, range, sizeof(range));
        assert_true(it->kind == CONFIG_FOREIGN || range[0]);
    }
    free(docs);
}

/* Bytes at random, and good lines with a byte changed: no crash, no leak, an answer. */
static void test_garbage(void **state)
{
    static const char good[] =
        "client-output-buffer-limit \"normal 1mb 2 3\"\nnet-allow 10.0.0.0/8 1.2.3.4\nport '12'\n"
        "requirepass \"\\x41\\n\"\ninclude /nonexistent-*\nmaxmemory 10gb\n";
    uint64_t seed = 42;
    unsigned ok = 0, bad = 0;
    for (int round = 0; round < 3000; round++) {
        size_t n = sizeof(good) - 1;
        char *text = malloc(n);
        memcpy(text, good, n);
        for (int k = 0; k < 1 + round % 3; k++) {
            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            text[(seed >> 33) % n] = (char)(seed >> 55);
        }
        struct config *c = config_new();
        if (config_load_text(c, span_of(text, n), err, sizeof(err)) == 0)
            ok++;
        else
            bad++;
        config_free(c);
        free(text);
    }
    assert_int_equal(ok + bad, 3000);
    assert_true(ok > 0 && bad > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_agree_with_the_engine),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_quotes),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_a_failed_line_changes_nothing),
        cmocka_unit_test(test_too_many_prefixes),
        cmocka_unit_test(test_nul_byte),
        cmocka_unit_test(test_command_line),
        cmocka_unit_test_setup_teardown(test_file_then_directives, folder_new, folder_gone),
        cmocka_unit_test_setup_teardown(test_include_errors, folder_new, folder_gone),
        cmocka_unit_test(test_stdin),
        cmocka_unit_test(test_debian_redis_conf),
        cmocka_unit_test(test_foreign_directives_warn_once_and_tell_the_truth),
        cmocka_unit_test(test_sample_is_the_defaults),
        cmocka_unit_test(test_names_are_unique_and_documented),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
