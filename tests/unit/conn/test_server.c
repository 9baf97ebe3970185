/* Functions of the server over the conn layer: SLOWLOG and LATENCY of all workers, MONITOR, core-addressed clients, SCAN while others write. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/crc.h"
#include "engine/cmd/command_table.h"
#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

static const char *ask(struct server *s, struct tcp_conn *tc, const char *line)
{
    static char text[1 << 16];
    tc->out_len = 0;
    fake_send(tc, line, strlen(line));
    fake_send(tc, "\r\n", 2);
    settle(s);
    assert_true(tc->out_len < sizeof(text));
    memcpy(text, tc->out, tc->out_len);
    text[tc->out_len] = 0;
    tc->out_len = 0;
    return text;
}

static void test_slowlog_has_what_any_worker_ran(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MAX_WORKERS; count += 2) {
        struct server s;
        char line[64];
        server_config(&s);
        s.config.slowlog_slower_than_us = 0;
        s.config.slowlog_max_len = 20;
        server_start(&s, count);
        struct tcp_conn *tc = client(&s, 0, 6379), *other = client(&s, count - 1, 6379);
        for (int i = 0; i < 12; i++) {
            snprintf(line, sizeof(line), "SET k%d v", i);
            assert_string_equal(ask(&s, i & 1 ? tc : other, line), "+OK\r\n");
        }
        assert_string_equal(ask(&s, tc, "SLOWLOG LEN"), ":12\r\n");
        /* the newest first, whoever ran it: what was asked last comes first */
        const char *at = ask(&s, other, "SLOWLOG GET 13");
        for (int i = 11; i >= 0; i--) {
            snprintf(line, sizeof(line), "\r\nk%d\r\n", i);
            const char *found = strstr(at, line);
            assert_non_null(found);
            at = found;
        }
        /* no more than slowlog-max-len, however many workers have kept some */
        for (int i = 0; i < 60; i++) {
            snprintf(line, sizeof(line), "GET k%d", i);
            ask(&s, tc, line);
        }
        assert_string_equal(ask(&s, tc, "SLOWLOG LEN"), ":20\r\n");
        assert_memory_equal(ask(&s, tc, "SLOWLOG GET -1"), "*20\r\n", 5);
        assert_memory_equal(ask(&s, tc, "SLOWLOG GET 1 WITHQUEUE"), "*1\r\n*7\r\n", 8);
        assert_string_equal(ask(&s, tc, "SLOWLOG GET -2"),
                            "-ERR count should be greater than or equal to -1\r\n");
        ask(&s, tc, "SLOWLOG RESET");
        ask(&s, tc, "AUTH secret");
        const char *text = ask(&s, tc, "SLOWLOG GET");
        assert_non_null(strstr(text, "(redacted)"));
        assert_null(strstr(text, "secret"));
        leave(tc);
        leave(other);
        server_down(&s);
    }
}

static void test_latency_histogram_counts_every_call(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        char line[64];
        server_up(&s, count);
        struct tcp_conn *tc = client(&s, 0, 6379);
        for (int i = 0; i < 30; i++) {
            snprintf(line, sizeof(line), "LPUSH l%d v\r\nLRANGE l%d 0 -1", i, i);
            ask(&s, tc, line);
        }
        assert_memory_equal(ask(&s, tc, "LATENCY HISTOGRAM lrange"),
                            "*2\r\n$6\r\nlrange\r\n*4\r\n$5\r\ncalls\r\n:30\r\n", 36);
        assert_string_equal(ask(&s, tc, "LATENCY HISTOGRAM nosuch"), "*0\r\n");
        assert_string_equal(ask(&s, tc, "LATENCY LATEST"), "*0\r\n");
        for (uint32_t i = 0; i < count; i++) /* the same second on every worker: one sample */
            latency_add(s.w[i]->latency, LATENCY_COMMAND, 1700000001000000, 5 + i);
        snprintf(line, sizeof(line), "*1\r\n*4\r\n$7\r\ncommand\r\n:1700000001\r\n:%u\r\n:%u\r\n",
                 4 + count, 4 + count);
        assert_string_equal(ask(&s, tc, "LATENCY LATEST"), line);
        assert_string_equal(ask(&s, tc, "LATENCY RESET"), ":1\r\n");
        assert_string_equal(ask(&s, tc, "LATENCY RESET"), ":0\r\n");
        assert_string_equal(ask(&s, tc, "LATENCY GRAPH command"),
                            "-ERR No samples available for event 'command'\r\n");
        leave(tc);
        server_down(&s);
    }
}

static void test_monitor_sees_all_workers(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MAX_WORKERS; count += 2) {
        struct server s;
        char line[64];
        server_up(&s, count);
        struct tcp_conn *watcher = client(&s, count - 1, 6379);
        assert_string_equal(ask(&s, watcher, "MONITOR"), "+OK\r\n");
        for (uint32_t i = 0; i < count; i++) {
            struct tcp_conn *tc = client(&s, i, 6379);
            snprintf(line, sizeof(line), "SET k%u \"a\\\"\\n\\x00\\xff\"", i);
            ask(&s, tc, line);
            assert_non_null(
                memmem(watcher->out, watcher->out_len, "[0 10.0.0.2:40000] \"SET\"", 24));
            assert_non_null(
                memmem(watcher->out, watcher->out_len, " \"a\\\"\\n\\x00\\xff\"\r\n", 18));
            watcher->out_len = 0;
            ask(&s, tc, "AUTH secret");
            assert_non_null(
                memmem(watcher->out, watcher->out_len, "\"AUTH\" \"(redacted)\"\r\n", 21));
            watcher->out_len = 0;
            ask(&s, tc, "CLIENT LIST"); /* administrative: not shown */
            assert_int_equal(watcher->out_len, 0);
            ask(&s, tc, "MULTI\r\nGET k");
            watcher->out_len = 0;
            ask(&s, tc, "EXEC");
            const char *get = memmem(watcher->out, watcher->out_len, "\"GET\" \"k\"", 9);
            const char *exec = memmem(watcher->out, watcher->out_len, "\"EXEC\"", 6);
            assert_true(get && exec && get < exec);
            watcher->out_len = 0;
            leave(tc);
        }
        assert_string_equal(ask(&s, watcher, "GET k0"),
                            "-ERR Replica can't interact with the keyspace\r\n");
        leave(watcher);
        struct tcp_conn *tc = client(&s, 0, 6379);
        for (int i = 0; i < 3; i++)
            ask(&s, tc, "GET k0");
        for (uint32_t i = 0; i < count; i++) /* nobody watches: the short way is open again */
            assert_false(i == 0 && s.w[i]->careful);
        leave(tc);
        server_down(&s);
    }
}

/* A GET began as ones before MONITOR did, and went their short way: nobody saw it, and CLIENT PAUSE did not hold it up. */
static void test_known_get_behind_monitor(void **state)
{
    static const char get[] = "*2\r\n$3\r\nGET\r\n$10\r\nkey:000000\r\n";
    (void)state;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        server_up(&s, count);
        struct tcp_conn *tc = client(&s, 0, 6379), *watcher = client(&s, count - 1, 6379);
        expect(&s, tc, get, "$-1\r\n");
        assert_string_equal(ask(&s, watcher, "MONITOR"), "+OK\r\n");
        watcher->out_len = 0;
        expect(&s, tc, get, "$-1\r\n");
        assert_non_null(memmem(watcher->out, watcher->out_len, "\"GET\" \"key:000000\"\r\n", 20));
        leave(watcher);
        settle(&s);
        assert_string_equal(ask(&s, tc, "CLIENT PAUSE 1000000 ALL"), "+OK\r\n");
        tc->out_len = 0;
        expect(&s, tc, get, "");
        leave(tc);
        server_down(&s);
    }
}

static void test_monitor_drops_and_says_so(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 2);
    struct tcp_conn *watcher = client(&s, 0, 6379), *tc = client(&s, 1, 6379);
    ask(&s, watcher, "MONITOR");
    fake_open_window(watcher, 1);
    char *big = malloc(70000);
    memset(big, 'x', 69999);
    memcpy(big, "*2\r\n$3\r\nGET\r\n$20000\r\n", 21);
    big[21 + 20000] = 0;
    for (int i = 0; i < 80; i++)
        assert_string_equal(ask(&s, tc, big), "$-1\r\n");
    free(big);
    watcher->out_len = 0;
    fake_open_window(watcher, SIZE_MAX);
    settle(&s);
    watcher->out_len = 0;
    ask(&s, tc, "PING");
    const char *said = memmem(watcher->out, watcher->out_len, "[0 barewire] \"dropped\" \"", 24);
    assert_non_null(said);
    assert_true(strtol(said + 24, NULL, 10) > 0);
    leave(watcher);
    leave(tc);
    server_down(&s);
}

/* Requests of a transaction, and those that may make their client wait, were not timed. */
static void test_transactions_and_waiting_are_timed(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count++) {
        struct server s;
        server_config(&s);
        s.config.slowlog_slower_than_us = 0;
        s.config.slowlog_max_len = 100;
        server_start(&s, count);
        struct tcp_conn *tc = client(&s, 0, 6379);
        ask(&s, tc, "MULTI\r\nSET ka 1\r\nGET kb\r\nINCR kc\r\nSET kd 1\r\nEXEC");
        ask(&s, tc, "RPUSH q 1 2 3 4");
        ask(&s, tc, "BLPOP q 0\r\nBLPOP none q 0\r\nBRPOP other none q 0");
        const char *at = ask(&s, tc, "SLOWLOG GET 100");
        static const char *const noted[] = {"other", "BLPOP", "BLPOP", "RPUSH",
                                            "kd",    "kc",    "kb",    "ka"};
        for (size_t i = 0; i < ARRAY_LEN(noted); i++) {
            at = strstr(at, noted[i]);
            assert_non_null(at);
            at++;
        }
        static const char *const calls[] = {"set", ":2",    "get", ":1",    "exec",
                                            ":1",  "blpop", ":2",  "brpop", ":1"};
        for (size_t i = 0; i < ARRAY_LEN(calls); i += 2) {
            char line[64], want[64];
            snprintf(line, sizeof(line), "LATENCY HISTOGRAM %s", calls[i]);
            snprintf(want, sizeof(want), "calls\r\n%s\r\n", calls[i + 1]);
            if (!strstr(at = ask(&s, tc, line), want))
                fail_msg("%u workers, %s: %s", count, line, at);
        }
        leave(tc);
        server_down(&s);
    }
}

static bool heard(struct tcp_conn *watcher, const char *what)
{
    bool yes = memmem(watcher->out, watcher->out_len, what, strlen(what)) != NULL;
    watcher->out_len = 0;
    return yes;
}

/* MONITOR while the shard at home is another's: lines came before there was a watcher, their worker was told that there is none, and then there was. */
static void test_monitor_while_the_shard_is_leased(void **state)
{
    (void)state;
    struct server s;
    char line[64], key[2][16];
    server_up(&s, 3);
    for (uint32_t i = 0; i < 2; i++) {
        for (int k = 0;; k++) {
            int n = snprintf(key[i], sizeof(key[i]), "k%d", k);
            if (shard_of_key(span_of(key[i], (size_t)n), 3) == 2 * i)
                break;
        }
    }
    struct tcp_conn *watcher = client(&s, 0, 6379), *holder = client(&s, 1, 6379),
                    *other = client(&s, 2, 6379);
    snprintf(line, sizeof(line), "RENAME %s %s\r\n", key[0], key[1]);
    say(holder, line);
    turn(&s, 1);
    turn(&s, 0);
    assert_int_equal(s.w[0]->lease.holder, 1);
    say(watcher, "MONITOR\r\n");
    turn(&s, 0);
    turn(&s, 2);
    say(other, "PING\r\n");
    turn(&s, 2);
    turn(&s, 0);
    turn(&s, 2);
    settle(&s);
    assert_true(heard(watcher, "+OK"));
    ask(&s, other, "ECHO there");
    assert_true(heard(watcher, "there"));
    leave(watcher);
    leave(holder);
    leave(other);
    server_down(&s);
}

/* RESET and MONITOR in one piece: it was taken for a watcher that leaves. */
static void test_monitor_right_behind_reset(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 2; count++) {
        struct server s;
        server_up(&s, count);
        struct tcp_conn *watcher = client(&s, 0, 6379), *other = client(&s, count - 1, 6379);
        ask(&s, watcher, "MONITOR");
        ask(&s, watcher, "RESET\r\nMONITOR");
        ask(&s, other, "ECHO once");
        watcher->out_len = 0;
        ask(&s, other, "ECHO there");
        assert_true(heard(watcher, "there"));
        leave(watcher);
        leave(other);
        server_down(&s);
    }
}

/* PUBLISH and PFCOUNT are what a replica would hear of: a watcher may not, and CLIENT PAUSE WRITE holds them. */
static void test_what_may_replicate(void **state)
{
    (void)state;
    static const char *const requests[] = {"PUBLISH a b", "SPUBLISH a b", "PFCOUNT k"};
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        server_up(&s, count);
        struct tcp_conn *watcher = client(&s, 0, 6379), *tc = client(&s, 0, 6379);
        ask(&s, watcher, "MONITOR");
        for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
            assert_string_equal(ask(&s, watcher, requests[i]),
                                "-ERR Replica can't interact with the keyspace\r\n");
            ask(&s, tc, "CLIENT PAUSE 100000 WRITE");
            assert_string_equal(ask(&s, tc, requests[i]), "");
            settle(&s);
            leave(tc);
            tc = client(&s, 0, 6379);
            ask(&s, tc, "CLIENT UNPAUSE");
            assert_string_equal(ask(&s, tc, requests[i]), ":0\r\n");
            watcher->out_len = 0;
        }
        leave(watcher);
        leave(tc);
        server_down(&s);
    }
}

static void test_core_addressed(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MAX_WORKERS; count += 2) {
        struct server s;
        char line[128], want[128];
        server_config(&s);
        s.core_addressed = true;
        server_start(&s, count);
        for (uint32_t home = 0; home < count; home++) {
            for (uint32_t node = 0; node < count; node++) { /* whatever steering does */
                struct tcp_conn *tc = client(&s, home, (uint16_t)(6380 + node));
                uint32_t mine = 0;
                for (int k = 0; k < 40; k++) {
                    int n = snprintf(line, sizeof(line), "key:%d", k);
                    struct span key = span_of(line, (size_t)n);
                    uint32_t owner = shard_of_key(key, count);
                    snprintf(want, sizeof(want), "-MOVED %u 10.0.0.1:%u\r\n",
                             key_slot(key.p, key.n), 6380 + owner);
                    memmove(line + 4, line, (size_t)n + 1);
                    memcpy(line, "SET ", 4);
                    strcat(line, " v");
                    assert_string_equal(ask(&s, tc, line), owner == node ? "+OK\r\n" : want);
                    mine += owner == node;
                }
                snprintf(want, sizeof(want), ":%u\r\n", mine);
                assert_string_equal(ask(&s, tc, "DBSIZE"), want); /* of its shard */
                assert_string_equal(ask(&s, tc, "MSET a 1 b 2"),
                                    "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
                assert_string_equal(ask(&s, tc, "SELECT 1"),
                                    "-ERR SELECT is not allowed in cluster mode\r\n");
                leave(tc);
            }
        }
        struct tcp_conn *tc = client(&s, 0, 6379); /* the main port knows nothing of it */
        assert_string_equal(ask(&s, tc, "MSET a 1 b 2"), "+OK\r\n");
        assert_string_equal(ask(&s, tc, "DBSIZE"), ":42\r\n");
        assert_string_equal(ask(&s, tc, "CLUSTER KEYSLOT a"), ":15495\r\n");
        assert_string_equal(ask(&s, tc, "CLUSTER COUNTKEYSINSLOT 15495"), ":1\r\n");
        assert_string_equal(ask(&s, tc, "CLUSTER GETKEYSINSLOT 15495 10"), "*1\r\n$1\r\na\r\n");
        assert_string_equal(ask(&s, tc, "CLUSTER COUNTKEYSINSLOT 16384"), "-ERR Invalid slot\r\n");
        leave(tc);
        server_down(&s);
    }
}

static void test_without_core_addressed_there_is_no_cluster(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 2);
    struct tcp_conn *tc = client(&s, 1, 6380); /* a port like any other */
    assert_string_equal(ask(&s, tc, "CLUSTER INFO"),
                        "-ERR This instance has cluster support disabled\r\n");
    assert_string_equal(ask(&s, tc, "READONLY"),
                        "-ERR This instance has cluster support disabled\r\n");
    assert_string_equal(ask(&s, tc, "MSET a 1 b 2"), "+OK\r\n");
    leave(tc);
    server_down(&s);
}

/* Keys that are there all the time are met, whatever is written meanwhile and however the dicts grow. */
static void test_scan_meets_what_stays(void **state)
{
    (void)state;
    enum { STAY = 400 };
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        char line[128];
        static bool met[STAY];
        memset(met, 0, sizeof(met));
        server_up(&s, count);
        struct tcp_conn *scan = client(&s, 0, 6379), *writer = client(&s, count - 1, 6379);
        for (int i = 0; i < STAY; i++) {
            snprintf(line, sizeof(line), "SET stay:%d v", i);
            fake_send(writer, line, strlen(line));
            fake_send(writer, "\r\n", 2);
        }
        settle(&s);
        char cursor[32] = "0";
        int rounds = 0;
        do {
            snprintf(line, sizeof(line), "SCAN %s COUNT 10", cursor);
            const char *at = ask(&s, scan, line);
            assert_memory_equal(at, "*2\r\n$", 5);
            assert_int_equal(sscanf(strchr(at + 5, '\n') + 1, "%31[0-9]", cursor), 1);
            while ((at = strstr(at, "stay:")) != NULL) {
                int i = atoi(at + 5);
                assert_true(i >= 0 && i < STAY);
                met[i] = true;
                at += 5;
            }
            for (int k = 0; k < 60; k++) { /* grows: segments split under the cursor; and shrinks */
                snprintf(line, sizeof(line), "%s go:%d v\r\n", k % 3 ? "SET" : "GETSET",
                         rounds * 60 + k);
                fake_send(writer, line, strlen(line));
                if (k % 4 == 0) {
                    snprintf(line, sizeof(line), "DEL go:%d\r\n", rounds * 30 + k);
                    fake_send(writer, line, strlen(line));
                }
            }
            settle(&s);
            writer->out_len = 0;
        } while (strcmp(cursor, "0") != 0 && ++rounds < 2000);
        assert_true(rounds < 2000);
        for (int i = 0; i < STAY; i++)
            assert_true(met[i]);
        leave(scan);
        leave(writer);
        server_down(&s);
    }
}

static void test_the_largest_client_goes(void **state)
{
    (void)state;
    struct server s;
    server_config(&s);
    s.config.client_memory_bytes = 400000;
    server_start(&s, 1);
    struct tcp_conn *large = client(&s, 0, 6379), *spared = client(&s, 0, 6379),
                    *small = client(&s, 0, 6379);
    assert_string_equal(ask(&s, spared, "CLIENT NO-EVICT ON"), "+OK\r\n");
    char *part = malloc(100000);
    memset(part, 'x', 100000);
    for (int k = 0; k < 2; k++) {
        struct tcp_conn *tc = k ? large : spared;
        fake_send(tc, "*2\r\n$3\r\nGET\r\n", 13);
        fake_send(tc, k ? "$390000\r\n" : "$120000\r\n", 9);
        for (int i = 0; i < (k ? 3 : 1); i++) {
            fake_send(tc, part, 100000);
            for (int t = 0; t < 80; t++)
                turn(&s, 0);
        }
    }
    s.now_ns += 40000000;
    for (int i = 0; i < 40; i++) {
        s.now_ns += 1000000;
        turn(&s, 0);
    }
    assert_true(large->aborted);
    assert_false(spared->aborted);
    assert_string_equal(ask(&s, small, "PING"), "+PONG\r\n");
    assert_int_equal(s.w[0]->stats->evicted_clients, 1);
    free(part);
    fake_free(large);
    leave(spared);
    leave(small);
    server_down(&s);
}

/* What INFO commandhops tells: to how many other workers requests went. */
static void test_hops_are_counted_by_command(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 3);
    struct tcp_conn *a = client(&s, 0, 6379), *b = client(&s, 2, 6379);
    const uint64_t *hops = s.w[0]->cmd_hops;
    uint64_t want = 0;
    for (int i = 0; i < 30; i++) {
        char line[32];
        snprintf(line, sizeof(line), "GET k%d", i);
        ask(&s, a, line);
        want += shard_of_key(span_of(line + 4, strlen(line + 4)), 3) != 0;
    }
    assert_in_range(want, 1, 29);
    assert_int_equal(hops[CMD_get], want);
    assert_string_equal(ask(&s, a, "PING"), "+PONG\r\n");
    assert_int_equal(hops[CMD_ping], 0);
    ask(&s, b, "SUBSCRIBE c");
    assert_string_equal(ask(&s, a, "PUBLISH c 1"), ":1\r\n");
    assert_string_equal(ask(&s, a, "PUBLISH nobody 1"), ":0\r\n");
    assert_int_equal(hops[CMD_publish], 1);
    ask(&s, a, "MULTI");
    for (int i = 0; i < 30; i++)
        ask(&s, a, i & 1 ? "INCR {a}1" : "INCR {b}1");
    ask(&s, a, "EXEC");
    uint32_t x = shard_of_key(SPAN("a"), 3), y = shard_of_key(SPAN("b"), 3);
    assert_int_equal(hops[CMD_exec], (x != 0) + (y != 0 && y != x));
    assert_int_equal(hops[CMD_incr], 0);
    leave(a);
    leave(b);
    server_down(&s);
}

/* The worker writes the histogram of its turns, so it is the one to empty it. */
static void test_resetstat_empties_the_turns(void **state)
{
    (void)state;
    struct server s;
    server_config(&s);
    server_link(&s, 1);
    server_start(&s, 1);
    struct hist *turns_ns = &link_stats(s.link, 0)->loop_busy_ns;
    hist_add(turns_ns, 5000);
    settle(&s);
    assert_int_equal(turns_ns->count, 1);
    s.config.stats_epoch++;
    link_config_publish(s.control, &s.config);
    settle(&s);
    assert_int_equal(turns_ns->count, 0);
    assert_int_equal(hist_quantile(turns_ns, 1000), 0);
    server_down(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slowlog_has_what_any_worker_ran),
        cmocka_unit_test(test_latency_histogram_counts_every_call),
        cmocka_unit_test(test_monitor_sees_all_workers),
        cmocka_unit_test(test_known_get_behind_monitor),
        cmocka_unit_test(test_monitor_drops_and_says_so),
        cmocka_unit_test(test_transactions_and_waiting_are_timed),
        cmocka_unit_test(test_monitor_while_the_shard_is_leased),
        cmocka_unit_test(test_monitor_right_behind_reset),
        cmocka_unit_test(test_what_may_replicate),
        cmocka_unit_test(test_core_addressed),
        cmocka_unit_test(test_without_core_addressed_there_is_no_cluster),
        cmocka_unit_test(test_scan_meets_what_stays),
        cmocka_unit_test(test_hops_are_counted_by_command),
        cmocka_unit_test(test_the_largest_client_goes),
        cmocka_unit_test(test_resetstat_empties_the_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
