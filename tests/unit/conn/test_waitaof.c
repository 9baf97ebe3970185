/* CLIENT DURABILITY and WAITAOF: each client says what its replies wait for. Control is played by the test, which says what is written and durable. */
#include <stdio.h>
#include <string.h>

#include "engine/link/msg.h"
#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

#define WORKERS 3
#define NO_LOG  "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n"

static void up(struct server *s, uint32_t count, uint32_t mode)
{
    server_config(s);
    s->config.journal = mode;
    server_link(s, count);
    server_start(s, count);
    settle(s);
}

static void set_mode(struct server *s, uint32_t mode)
{
    s->config.journal = mode;
    link_config_publish(s->control, &s->config);
    settle(s);
}

/* The writer has all that there is; `durable`: so has the disk. */
static void write_down(struct server *s, bool durable)
{
    struct link_journal *page = link_journal(s->control);
    settle(s);
    for (uint32_t i = 0; i < s->count; i++) {
        page->written[i] = s->w[i]->shard.journal_seq;
        if (durable)
            page->durable[i] = s->w[i]->shard.journal_seq;
    }
    settle(s);
}

static bool is_asked(struct server *s)
{
    uint32_t was = __atomic_exchange_n(&link_journal(s->control)->asked, 0, __ATOMIC_RELAXED);
    return was != 0;
}

static bool has_come(const struct tcp_conn *tc, const char *text)
{
    return tc->out_len && memmem(tc->out, tc->out_len, text, strlen(text));
}

/* A key of that shard. */
static void name_key(char to[16], uint32_t shard, uint32_t count)
{
    for (int k = 0;; k++) {
        int n = snprintf(to, 16, "k%d", k);
        if (shard_of_key(span_of(to, (size_t)n), count) == shard)
            return;
    }
}

/* ---- CLIENT DURABILITY ---- */

static const char *const requests[][2] = {
    {"SET %s v\r\n", "+OK\r\n"},
    {"MSET {%s}1 v {%s}2 v\r\n", "+OK\r\n"},
    {"MSET %s v a 1 b 2 c 3\r\n", "+OK\r\n"},
    {"MULTI\r\nSET %s v\r\nSET a v\r\nSET b v\r\nEXEC\r\n",
     "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n+OK\r\n+OK\r\n"},
    {"DEL %s\r\n", ":1\r\n"},
    {"FLUSHALL\r\n", "+OK\r\n"},
};

static void one_waits_the_other_does_not(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= WORKERS; count++) {
        for (uint32_t at = 0; at < count * count; at++) {
            struct server s;
            char key[16], line[128], get[32];
            up(&s, count, JOURNAL_ON);
            struct tcp_conn *a = fake_connect(s.net[at % count]), *b = fake_connect(s.net[0]);
            name_key(key, at / count, count);
            snprintf(get, sizeof(get), "GET %s\r\n", key);
            expect(&s, a, "CLIENT DURABILITY ALWAYS\r\n", "+OK\r\n");
            for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
                snprintf(line, sizeof(line), requests[i][0], key, key);
                expect(&s, b, "SET x y\r\n", "+OK\r\n");
                write_down(&s, false);
                is_asked(&s);
                say(a, line);
                write_down(&s, false);
                assert_true(a->out_len < strlen(requests[i][1]));
                assert_true(is_asked(&s));
                settle(&s);
                assert_true(is_asked(&s)); /* as long as it waits */
                expect(&s, b, line, requests[i][1][0] == ':' ? ":0\r\n" : requests[i][1]);
                write_down(&s, true);
                expect_out(a, requests[i][1]);
                is_asked(&s);
                settle(&s);
                assert_false(is_asked(&s));
            }
            leave(a);
            leave(b);
            server_down(&s);
        }
    }
}

/* durable-reads: whether a client that wants to be sure sees what is not safe yet. */
static void reads_wait_as_configured(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= WORKERS; count++) {
        for (uint32_t at = 0; at < count; at++) {
            for (uint32_t mode = JOURNAL_ON; mode <= JOURNAL_ALWAYS; mode++) {
                for (int waits = 0; waits <= 1; waits++) {
                    struct server s;
                    char key[16], line[64];
                    up(&s, count, mode);
                    s.config.durable_reads = (uint8_t)waits;
                    set_mode(&s, mode);
                    struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[0]);
                    name_key(key, at, count);
                    expect(&s, b, "CLIENT DURABILITY EVERYSEC\r\n", "+OK\r\n");
                    if (mode == JOURNAL_ON)
                        expect(&s, a, "CLIENT DURABILITY ALWAYS\r\n", "+OK\r\n");
                    snprintf(line, sizeof(line), "SET %s v\r\n", key);
                    expect(&s, b, line, "+OK\r\n");
                    write_down(&s, false);
                    snprintf(line, sizeof(line), "GET %s\r\n", key);
                    expect(&s, b, line, "$1\r\nv\r\n");
                    expect(&s, a, line, waits ? "" : "$1\r\nv\r\n");
                    write_down(&s, true);
                    expect_out(a, waits ? "$1\r\nv\r\n" : "");
                    leave(a);
                    leave(b);
                    server_down(&s);
                }
            }
        }
    }
}

/* CONFIG SET appendfsync everysec left replies waiting for a disk that is slow. */
static void replies_that_waited_when_the_policy_changed(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= WORKERS; count++) {
        struct server s;
        up(&s, count, JOURNAL_ALWAYS);
        struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[0]);
        expect(&s, b, "CLIENT DURABILITY ALWAYS\r\n", "+OK\r\n");
        expect(&s, a, "SET a v\r\nSET b v\r\nSET c v\r\nMGET a b\r\n", "");
        expect(&s, b, "SET a w\r\nSET b w\r\n", "");
        write_down(&s, false);
        expect_out(a, "");
        is_asked(&s);
        set_mode(&s, JOURNAL_ON);
        expect_out(a, "+OK\r\n+OK\r\n+OK\r\n*2\r\n$1\r\nv\r\n$1\r\nv\r\n");
        expect_out(b, "");
        assert_true(is_asked(&s)); /* the writer makes no fsync of its own any more */
        expect(&s, a, "SET a x\r\n", "+OK\r\n");
        write_down(&s, true);
        expect_out(b, "+OK\r\n+OK\r\n");
        set_mode(&s, JOURNAL_ALWAYS);
        expect(&s, a, "SET a y\r\n", "");
        write_down(&s, true);
        expect_out(a, "+OK\r\n");
        leave(a);
        leave(b);
        server_down(&s);
    }
}

static void what_a_client_may_say(void **state)
{
    (void)state;
    struct server s;
    up(&s, 1, JOURNAL_ON);
    struct tcp_conn *a = fake_connect(s.net[0]);
    expect(&s, a, "CLIENT DURABILITY sometimes\r\n", "-ERR syntax error\r\n");
    expect(&s, a, "CLIENT DURABILITY always\r\n", "+OK\r\n");
    expect(&s, a, "SET a v\r\n", "");
    write_down(&s, true);
    expect_out(a, "+OK\r\n");
    expect(&s, a, "CLIENT DURABILITY default\r\nSET a v\r\n", "+OK\r\n+OK\r\n");
    expect(&s, a, "CLIENT DURABILITY always\r\nRESET\r\nSET a v\r\n", "+OK\r\n+RESET\r\n+OK\r\n");
    expect(&s, a, "MULTI\r\nCLIENT DURABILITY always\r\nEXEC\r\n",
           "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    expect(&s, a, "GET a\r\n", ""); /* not safe yet */
    set_mode(&s, JOURNAL_OFF);
    expect_out(a, "$1\r\nv\r\n"); /* nobody waits for a log that is no more */
    expect(&s, a, "SET a v\r\n", "+OK\r\n");
    expect(&s, a, "CLIENT DURABILITY always\r\n",
           "-ERR CLIENT DURABILITY ALWAYS cannot be used when appendonly is disabled.\r\n");
    leave(a);
    server_down(&s);
}

/* ---- WAITAOF ---- */

static void waitaof_refuses(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"WAITAOF x 0 0\r\n", "-ERR value is not an integer or out of range\r\n"},
        {"WAITAOF 2 0 0\r\n", "-ERR value is out of range, value must between 0 and 1\r\n"},
        {"WAITAOF -1 x 0\r\n", "-ERR value is out of range, value must between 0 and 1\r\n"},
        {"WAITAOF 1 x 0\r\n", "-ERR value is not an integer or out of range\r\n"},
        {"WAITAOF 0 -1 0\r\n", "-ERR value is out of range, must be positive\r\n"},
        {"WAITAOF 1 0 x\r\n", "-ERR timeout is not an integer or out of range\r\n"},
        {"WAITAOF 1 0 -1\r\n", "-ERR timeout is negative\r\n"},
        {"WAITAOF 1 0\r\n", "-ERR wrong number of arguments for 'waitaof' command\r\n"},
        {"WAITAOF 1 0 0\r\n", NO_LOG},
        {"WAITAOF 0 0 0\r\n", "*2\r\n:0\r\n:0\r\n"},
    };
    struct server s;
    up(&s, 1, JOURNAL_OFF);
    struct tcp_conn *a = fake_connect(s.net[0]);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        expect(&s, a, wrong[i][0], wrong[i][1]);
    leave(a);
    server_down(&s);
}

static void later(struct server *s, uint64_t ms)
{
    s->now_ns += ms * 1000000;
    settle(s);
}

static void waitaof_waits_for_the_disk(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= WORKERS; count++) {
        for (uint32_t at = 0; at < count * count; at++) {
            struct server s;
            char key[16], line[64];
            up(&s, count, JOURNAL_ON);
            struct tcp_conn *a = fake_connect(s.net[at % count]);
            expect(&s, a, "WAITAOF 1 0 0\r\n", "*2\r\n:1\r\n:0\r\n"); /* of nothing */
            name_key(key, at / count, count);
            snprintf(line, sizeof(line), "SET %s v\r\nWAITAOF 1 0 0\r\nPING\r\n", key);
            expect(&s, a, line, "+OK\r\n");
            assert_true(is_asked(&s));
            write_down(&s, false);
            expect_out(a, "");
            write_down(&s, true);
            expect_out(a, "*2\r\n:1\r\n:0\r\n+PONG\r\n");
            is_asked(&s);
            settle(&s);
            assert_false(is_asked(&s));

            snprintf(line, sizeof(line), "SET %s v\r\n", key);
            expect(&s, a, line, "+OK\r\n");
            expect(&s, a, "WAITAOF 0 0 0\r\n", "*2\r\n:0\r\n:0\r\n");
            expect(&s, a, "MULTI\r\nWAITAOF 1 0 0\r\nEXEC\r\n",
                   "+OK\r\n+QUEUED\r\n*1\r\n*2\r\n:0\r\n:0\r\n");
            expect(&s, a, "WAITAOF 1 0 50\r\n", "");
            later(&s, 60);
            expect_out(a, "*2\r\n:0\r\n:0\r\n");
            expect(&s, a, "WAITAOF 1 1 50\r\n", "");
            write_down(&s, true);
            expect_out(a, ""); /* there is no replica */
            later(&s, 60);
            expect_out(a, "*2\r\n:1\r\n:0\r\n");
            expect(&s, a, "WAITAOF 0 0 0\r\nMULTI\r\nWAITAOF 1 0 0\r\nEXEC\r\n",
                   "*2\r\n:1\r\n:0\r\n+OK\r\n+QUEUED\r\n*1\r\n*2\r\n:1\r\n:0\r\n");
            leave(a);
            server_down(&s);
        }
    }
}

/* What it waits for ends otherwise: its client leaves, is let go, the log is turned off. */
static void waitaof_ends_without_the_disk(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= WORKERS; count++) {
        struct server s;
        char line[64];
        up(&s, count, JOURNAL_ON);
        struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[0]),
                        *c = fake_connect(s.net[count - 1]);
        expect(&s, a, "SET a v\r\nCLIENT ID\r\n", "+OK\r\n:1\r\n");
        say(a, "WAITAOF 1 0 0\r\n");
        say(b, "WAITAOF 1 0 0\r\n");
        settle(&s);
        leave(b);
        settle(&s);
        snprintf(line, sizeof(line), "CLIENT UNBLOCK 1 ERROR\r\n");
        expect(&s, c, line, ":1\r\n");
        expect_out(a, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
        say(a, "WAITAOF 1 0 0\r\n");
        settle(&s);
        expect(&s, c, "CLIENT UNBLOCK 1\r\n", ":1\r\n");
        expect_out(a, "*2\r\n:0\r\n:0\r\n");
        say(a, "WAITAOF 1 0 0\r\n");
        say(c, "WAITAOF 0 1 10\r\n");
        settle(&s);
        set_mode(&s, JOURNAL_OFF);
        expect_out(a, NO_LOG);
        expect_out(c, "");
        later(&s, 20);
        expect_out(c, "*2\r\n:0\r\n:0\r\n");
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(s.w[i]->journal.asks, 0);
        leave(a);
        leave(c);
        server_down(&s);
    }
}

/* Until the first base of a log that begins while the server runs is there, a crash goes back to the last snapshot: nothing is safe, whatever fsyncs say. */
static void nothing_is_safe_while_the_log_begins(void **state)
{
    (void)state;
    struct server s;
    up(&s, 2, JOURNAL_BEGINS);
    struct tcp_conn *a = fake_connect(s.net[0]);
    expect(&s, a, "CLIENT DURABILITY ALWAYS\r\nSET a v\r\n", "+OK\r\n+OK\r\n");
    write_down(&s, true);
    expect(&s, a, "WAITAOF 1 0 10\r\n", "");
    later(&s, 20);
    expect_out(a, "*2\r\n:0\r\n:0\r\n");
    expect(&s, a, "WAITAOF 1 0 0\r\n", "");
    set_mode(&s, JOURNAL_ON);
    expect_out(a, "*2\r\n:1\r\n:0\r\n");
    leave(a);
    server_down(&s);
}

/* Requests of a client that has not been answered yet: WAITAOF is about them too, wherever they run. */
static void waitaof_comes_behind_what_is_under_way(void **state)
{
    (void)state;
    for (uint32_t count = 2; count <= WORKERS; count++) {
        for (uint32_t first = 0; first < count; first++) {
            struct server s;
            char key[16], line[128];
            up(&s, count, JOURNAL_ON);
            struct tcp_conn *a = fake_connect(s.net[0]);
            name_key(key, first, count);
            snprintf(line, sizeof(line),
                     "SET %s v\r\nMSET a 1 b 2 c 3 d 4\r\nRENAME a b\r\nWAITAOF 1 0 0\r\n", key);
            say(a, line);
            for (int i = 0; i < 200 && !has_come(a, ":1"); i++) {
                for (uint32_t k = 0; k < count; k++)
                    turn(&s, k);
                uint64_t sum = 0, safe = 0;
                for (uint32_t k = 0; k < count; k++) {
                    sum += s.w[k]->shard.journal_seq;
                    safe += link_journal(s.control)->durable[k];
                }
                if (i % 7 == 6) { /* at any moment, and not the newest */
                    for (uint32_t k = 0; k < count; k++)
                        link_journal(s.control)->durable[k] = s.w[k]->shard.journal_seq;
                } else if (sum > safe) {
                    assert_false(has_come(a, "*2"));
                }
            }
            write_down(&s, true);
            expect_out(a, "+OK\r\n+OK\r\n+OK\r\n*2\r\n:1\r\n:0\r\n");
            leave(a);
            server_down(&s);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_waits_the_other_does_not),
        cmocka_unit_test(reads_wait_as_configured),
        cmocka_unit_test(replies_that_waited_when_the_policy_changed),
        cmocka_unit_test(what_a_client_may_say),
        cmocka_unit_test(waitaof_refuses),
        cmocka_unit_test(waitaof_waits_for_the_disk),
        cmocka_unit_test(waitaof_ends_without_the_disk),
        cmocka_unit_test(nothing_is_safe_while_the_log_begins),
        cmocka_unit_test(waitaof_comes_behind_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
