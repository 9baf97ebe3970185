/* INFO and CONFIG as control answers them, over a real link whose pages the test writes as the workers would. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/admin/admin.h"
#include "engine/cmd/command_table.h"
#include "tests/unit/unit.h"

#define START_MS 1700000000000
#define WORKERS  2

struct fix {
    char instance[32];
    struct link *link, *dp;
    struct config *config;
    struct admin *admin;
    struct reply_heap h;
    int64_t now_ms;
    uint8_t resp;
    unsigned changed;
};

static void on_change(void *ctx, struct config *c)
{
    struct fix *f = ctx;
    f->changed++;
}

static int fix_new(void **state)
{
    struct fix *f = calloc(1, sizeof(*f));
    char err[256];
    bool fresh;
    *state = f;
    snprintf(f->instance, sizeof(f->instance), "test-info-%d", getpid());
    link_unlink(f->instance);
    if (link_open_control(&f->link, f->instance, WORKERS, &fresh, err, sizeof(err)) != 0 ||
        link_open_dataplane(&f->dp, f->instance, err, sizeof(err)) != 0)
        fail_msg("%s", err);
    link_dp_begin(f->dp, getpid());
    link_refresh(f->link);
    f->config = config_new();
    f->now_ms = START_MS;
    f->resp = 2;
    struct admin_env env = {.config = f->config,
                            .link = f->link,
                            .executable = "/usr/bin/barewire-control",
                            .version = "9.8.7",
                            .start_ms = START_MS,
                            .config_changed = on_change,
                            .ctx = f};
    f->admin = admin_new(&env, f->now_ms);
    return f->config && f->admin ? 0 : -1;
}

static int fix_gone(void **state)
{
    struct fix *f = *state;
    reply_heap_free(&f->h);
    admin_free(f->admin);
    config_free(f->config);
    link_close(f->dp);
    link_close(f->link);
    link_unlink(f->instance);
    free(f);
    return 0;
}

/* Runs words as a client's; the answer's bytes, NUL-terminated, live until the next call. */
static const char *run(struct fix *f, const char *const *words)
{
    struct msg_admin_request req = {.resp = f->resp};
    struct span argv[16];
    struct reply out;
    uint32_t n = 0;

    for (; words[n]; n++)
        argv[n] = span_str(words[n]);
    reply_heap_free(&f->h);
    reply_heap_init(&out, &f->h, f->resp);
    admin_execute(f->admin, &req, argv, n, &out, f->now_ms);
    reply_raw(&out, "", 1);
    reply_heap_finish(&out, &f->h);
    return (const char *)f->h.p;
}

#define RUN(f, ...) run(f, (const char *const[]){__VA_ARGS__, NULL})

static void info_has(struct fix *f, const char *section, const char *line)
{
    char want[512];
    const char *text = RUN(f, "INFO", section);
    snprintf(want, sizeof(want), "\r\n%s\r\n", line);
    if (!strstr(text, want))
        fail_msg("no '%s' in:\n%s", line, text);
}

static void test_sections(void **state)
{
    struct fix *f = *state;
    assert_string_equal(RUN(f, "INFO", "nonsense"), "$0\r\n\r\n");
    assert_string_equal(RUN(f, "INFO", "CLUSTER"), "$30\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n");
    f->resp = 3;
    assert_string_equal(RUN(f, "INFO", "cluster"),
                        "=34\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n");
    f->resp = 2;
    const char *two = RUN(f, "INFO", "keyspace", "nonsense", "cluster");
    assert_non_null(strstr(two, "# Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\n"));
    const char *usual = RUN(f, "INFO");
    static const char *const heads[] = {"Server",     "Clients",     "Memory",   "Persistence",
                                        "Stats",      "Replication", "CPU",      "Modules",
                                        "Errorstats", "Cluster",     "Keyspace", "Dataplane"};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        char head[32];
        snprintf(head, sizeof(head), "# %s\r\n", heads[i]);
        usual = strstr(usual, head); /* each after the one before */
        assert_non_null(usual);
    }
    assert_null(strstr(RUN(f, "INFO", "default"), "# Commandstats"));
    assert_non_null(strstr(RUN(f, "INFO", "all"), "# Commandstats\r\n"));
    assert_non_null(strstr(RUN(f, "INFO", "everything"), "# TCP\r\n"));
}

static void test_sums(void **state)
{
    struct fix *f = *state;
    struct stats_worker *a = link_stats(f->dp, 0), *b = link_stats(f->dp, 1);
    a->commands = 5;
    b->commands = 7;
    a->clients = 2;
    b->clients = 1;
    a->client_recent_max_input = 10;
    b->client_recent_max_input = 30;
    a->used_memory = 1000;
    b->used_memory = 1048576;
    a->dataset_memory = 600;
    a->drop_tcp_checksum = 3;
    b->drop_tcp_checksum = 4;
    a->tcp_retrans_segs = 9;
    a->busy_ns = 77;
    a->db_keys[0] = 3;
    b->db_keys[0] = 4;
    a->db_expires[0] = 1;
    a->db_avg_ttl_ms[0] = 1000;
    b->db_expires[0] = 3;
    b->db_avg_ttl_ms[0] = 2000;
    b->db_keys[9] = 1;
    info_has(f, "stats", "total_commands_processed:12");
    info_has(f, "clients", "connected_clients:3");
    info_has(f, "clients", "client_recent_max_input_buffer:30");
    info_has(f, "memory", "used_memory:1049576");
    info_has(f, "memory", "used_memory_human:1.00M");
    info_has(f, "memory", "used_memory_overhead:1048976");
    info_has(f, "drops", "drop_tcp_checksum:7");
    info_has(f, "tcp", "tcp_retrans_segs:9");
    info_has(f, "keyspace", "db0:keys=7,expires=4,avg_ttl=1750");
    info_has(f, "keyspace", "db9:keys=1,expires=0,avg_ttl=0");
    assert_null(strstr(RUN(f, "INFO", "keyspace"), "db1:"));
    assert_non_null(strstr(RUN(f, "INFO", "dataplane"), "worker0:busy_ns=77,poll_ns=0,"));
    for (int i = 0; i < 2000; i++)
        hist_add(&a->loop_busy_ns, i == 7 ? 123456 : 500);
    assert_non_null(strstr(RUN(f, "INFO", "dataplane"),
                           ",loop_busy_p50_ns=511,loop_busy_p99_ns=511,loop_busy_"
                           "p999_ns=511,loop_busy_max_ns=123456,"));
    f->now_ms += 90061000;
    info_has(f, "server", "uptime_in_seconds:90061");
    info_has(f, "server", "uptime_in_days:1");
    info_has(f, "server", "redis_version:7.0.15");
    info_has(f, "server", "barewire_version:9.8.7");
}

static void test_human_sizes(void **state)
{
    static const struct {
        uint64_t n;
        const char *text;
    } v[] = {
        {0, "0B"},          {1023, "1023B"},         {1024, "1.00K"},       {941072, "919.02K"},
        {1048576, "1.00M"}, {25276510208, "23.54G"}, {1ull << 41, "2.00T"}, {1ull << 51, "2.00P"}};
    struct fix *f = *state;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        char line[64];
        link_stats(f->dp, 0)->used_memory = v[i].n;
        snprintf(line, sizeof(line), "used_memory_human:%s", v[i].text);
        info_has(f, "memory", line);
    }
}

static void test_commands_and_errors(void **state)
{
    struct fix *f = *state;
    struct stats_worker *a = link_stats(f->dp, 0), *b = link_stats(f->dp, 1);
    link_cmdstats(f->dp, 0)[CMD_get] =
        (struct link_cmdstat){.calls = 3, .usec = 6, .failed = 1, .hops = 2};
    link_cmdstats(f->dp, 1)[CMD_get] =
        (struct link_cmdstat){.calls = 1, .usec = 1, .rejected = 2, .failed = 0};
    link_cmdstats(f->dp, 1)[CMD_client_list] =
        (struct link_cmdstat){.calls = 1, .usec = 5, .rejected = 0, .failed = 0};
    strcpy(a->errors[0].code, "WRONGTYPE");
    a->errors[0].count = 2;
    strcpy(b->errors[0].code, "ERR");
    b->errors[0].count = 1;
    strcpy(b->errors[1].code, "WRONGTYPE");
    b->errors[1].count = 4;
    memset(b->errors[2].code, 'X', 16); /* no NUL, and bytes that have no place in INFO */
    b->errors[2].code[3] = '\n';
    b->errors[2].count = 1;
    info_has(f, "commandstats",
             "cmdstat_get:calls=4,usec=7,usec_per_call=1.75,rejected_calls=2,failed_calls=1");
    link_cmdstats(f->dp, 0)[CMD_get].hops = 3;
    info_has(f, "commandhops", "cmdhops_get:calls=4,hops=3,hops_per_call=0.7500");
    assert_null(strstr(RUN(f, "INFO", "commandhops"), "cmdhops_set:"));
    info_has(
        f, "commandstats",
        "cmdstat_client|list:calls=1,usec=5,usec_per_call=5.00,rejected_calls=0,failed_calls=0");
    assert_string_equal(strstr(RUN(f, "INFO", "errorstats"), "# "),
                        "# Errorstats\r\nerrorstat_ERR:count=1\r\nerrorstat_WRONGTYPE:count=6\r\n"
                        "errorstat_XXX_XXXXXXXXXXXX:count=1\r\n\r\n");
    RUN(f, "CONFIG", "SET", "nonsense", "1"); /* control's own errors and commands count too */
    info_has(f, "errorstats", "errorstat_ERR:count=2");
    info_has(f, "stats", "total_error_replies:1");
    assert_non_null(strstr(RUN(f, "INFO", "commandstats"), "cmdstat_config|set:calls=1,"));
}

static void test_resetstat(void **state)
{
    struct fix *f = *state;
    struct stats_worker *a = link_stats(f->dp, 0);
    a->commands = 10;
    a->clients = 3;
    a->dirty = 8;
    strcpy(a->errors[0].code, "ERR");
    a->errors[0].count = 2;
    link_cmdstats(f->dp, 0)[CMD_get] =
        (struct link_cmdstat){.calls = 3, .usec = 6, .failed = 1, .hops = 2};
    assert_string_equal(RUN(f, "CONFIG", "RESETSTAT"), "+OK\r\n");
    a->commands += 2;
    a->errors[0].count += 1;
    link_cmdstats(f->dp, 0)[CMD_get].calls++;
    info_has(f, "stats", "total_commands_processed:2");
    info_has(f, "clients", "connected_clients:3");               /* a gauge stays */
    info_has(f, "persistence", "rdb_changes_since_last_save:8"); /* it tells about the data */
    info_has(f, "errorstats", "errorstat_ERR:count=1");
    assert_non_null(strstr(RUN(f, "INFO", "commandstats"), "cmdstat_get:calls=1,usec=0,"));
    info_has(f, "commandhops", "cmdhops_get:calls=1,hops=0,hops_per_call=0.0000");
    /* another dataplane in the link counts from zero: the baselines are void */
    link_dp_begin(f->dp, getpid());
    a->commands = 1;
    info_has(f, "stats", "total_commands_processed:1");
}

static void test_rates(void **state)
{
    struct fix *f = *state;
    struct stats_worker *a = link_stats(f->dp, 0);
    for (int i = 0; i < 20; i++) {
        f->now_ms += 100;
        a->commands += 50;
        a->net_input_bytes += 1024;
        a->busy_ns += 25000000;
        a->sleep_ns += 75000000;
        admin_tick(f->admin, f->now_ms);
        admin_tick(f->admin, f->now_ms + 1); /* too early: no sample */
    }
    info_has(f, "stats", "instantaneous_ops_per_sec:500");
    info_has(f, "stats", "instantaneous_input_kbps:10.00");
    assert_non_null(strstr(RUN(f, "INFO", "dataplane"), ",busy_pct=25.00,"));
    a->commands = 0; /* goes backwards: another process */
    f->now_ms += 100;
    admin_tick(f->admin, f->now_ms);
    info_has(f, "stats", "instantaneous_ops_per_sec:468");
    assert_string_equal(RUN(f, "CONFIG", "RESETSTAT"), "+OK\r\n");
    info_has(f, "stats", "instantaneous_ops_per_sec:0");
}

static void test_config_get(void **state)
{
    struct fix *f = *state;
    assert_string_equal(RUN(f, "CONFIG", "GET", "HZ"),
                        "*2\r\n$2\r\nHZ\r\n$2\r\n10\r\n"); /* the name as it was asked for */
    assert_string_equal(RUN(f, "CONFIG", "GET", "nonsense"), "*0\r\n");
    assert_string_equal(RUN(f, "CONFIG", "GET", "user", "rename-command"), "*0\r\n");
    assert_string_equal(RUN(f, "CONFIG", "GET", "h?", "hz", "save"),
                        "*4\r\n$2\r\nhz\r\n$2\r\n10\r\n$4\r\nsave\r\n$0\r\n\r\n");
    assert_string_equal(RUN(f, "CONFIG", "GET", "MAXMEMORY-P*"),
                        "*2\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n");
    f->resp = 3;
    assert_string_equal(RUN(f, "CONFIG", "GET", "appendonly"),
                        "%1\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
    assert_string_equal(RUN(f, "CONFIG", "GET", "nonsense"), "%0\r\n");
}

static void test_config_set_reaches_the_workers(void **state)
{
    struct fix *f = *state;
    struct engine_config c;
    uint64_t version;
    assert_string_equal(RUN(f, "CONFIG", "SET", "maxmemory", "5mb", "timeout", "7"), "+OK\r\n");
    assert_int_equal(f->changed, 1);
    assert_true(link_config_read(f->dp, &c, &version));
    assert_int_equal(c.maxmemory_bytes, 5 << 20);
    assert_int_equal(c.timeout_s, 7);
    assert_string_equal(RUN(f, "CONFIG", "SET", "maxmemory", "1", "timeout", "x"),
                        "-ERR CONFIG SET failed (possibly related to argument 'timeout') - "
                        "argument couldn't be parsed into an "
                        "integer\r\n");
    assert_int_equal(f->changed, 1);
    assert_int_equal(link_config_version(f->dp), version);
    info_has(f, "memory", "maxmemory_human:5.00M");
}

static void test_config_errors(void **state)
{
    struct fix *f = *state;
    assert_string_equal(RUN(f, "CONFIG", "SET", "hz", "10", "foo"), "-ERR syntax error\r\n");
    assert_string_equal(RUN(f, "CONFIG", "SET", "foo", "bar"),
                        "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'\r\n");
    assert_string_equal(RUN(f, "CONFIG", "REWRITE"),
                        "-ERR The server is running without a config file\r\n");
    assert_string_equal(RUN(f, "CONFIG", "GET"),
                        "-ERR wrong number of arguments for 'config|get' command\r\n");
    assert_string_equal(RUN(f, "CONFIG", "foo"),
                        "-ERR unknown subcommand 'foo'. Try CONFIG HELP.\r\n");
    assert_string_equal(RUN(f, "CONFIG"),
                        "-ERR wrong number of arguments for 'config' command\r\n");
    assert_non_null(
        strstr(RUN(f, "CONFIG", "HELP"), "*11\r\n+CONFIG <subcommand> [<arg> [value] [opt] ...]."));
}

/* A worker may send what no worker should: control answers with an error and goes on. */
static void test_requests_that_make_no_sense(void **state)
{
    struct fix *f = *state;
    struct msg_admin_request req = {.resp = 2};
    struct reply out;
    assert_string_equal(RUN(f, "GET", "x"),
                        "-ERR 'get' is not a command of the control process\r\n");
    assert_string_equal(RUN(f, "nonsense", "x"),
                        "-ERR unknown command 'nonsense', with args beginning with: 'x' \r\n");
    reply_heap_free(&f->h);
    reply_heap_init(&out, &f->h, 2);
    admin_execute(f->admin, &req, NULL, 0, &out, f->now_ms);
    reply_heap_finish(&out, &f->h);
    assert_int_equal(f->h.p[0], '-');
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fix_new, fix_gone)
    const struct CMUnitTest tests[] = {
        T(test_sections),      T(test_sums),
        T(test_human_sizes),   T(test_commands_and_errors),
        T(test_resetstat),     T(test_rates),
        T(test_config_get),    T(test_config_set_reaches_the_workers),
        T(test_config_errors), T(test_requests_that_make_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
