/* The conn layer over a fake TCP: order of replies, splits at every byte, backpressure, leases and mail under any interleaving of workers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

static const char mixed[] =
    "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
    "GET a\r\n"
    "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n"
    "PING\r\nNOSUCH x\r\n"
    "*5\r\n$4\r\nMSET\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\nc\r\n$1\r\n3\r\n"
    "MGET a b c d\r\nDEL a b zz\r\nEXISTS a b c c\r\nRENAME c e\r\nGET e\r\nDBSIZE\r\n"
    "SELECT 3\r\nGET e\r\nSET q 1\r\nSELECT 0\r\nKEYS *\r\nFLUSHALL\r\nDBSIZE\r\n";
static const char mixed_want[] =
    "+OK\r\n$1\r\n1\r\n:2\r\n+PONG\r\n-ERR unknown command 'NOSUCH', with args beginning with: 'x' "
    "\r\n+OK\r\n"
    "*4\r\n$1\r\n2\r\n$1\r\n2\r\n$1\r\n3\r\n$-1\r\n:2\r\n:2\r\n+OK\r\n$1\r\n3\r\n:1\r\n"
    "+OK\r\n$-1\r\n+OK\r\n+OK\r\n*1\r\n$1\r\ne\r\n+OK\r\n:0\r\n";

static void test_pipeline_keeps_order(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MAX_WORKERS; count += 2) {
        struct server s;
        server_up(&s, count);
        for (uint32_t home = 0; home < count; home++) {
            struct tcp_conn *tc = fake_connect(s.net[home]);
            say(tc, mixed);
            settle(&s);
            expect_out(tc, mixed_want);
            assert_int_equal(tc->hold, 0);
            fake_reset(tc);
            fake_free(tc);
        }
        server_down(&s);
    }
}

static void test_split_at_every_byte(void **state)
{
    (void)state;
    size_t n = sizeof(mixed) - 1;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        server_up(&s, count);
        for (size_t at = 1; at < n; at++) {
            struct tcp_conn *tc = fake_connect(s.net[0]);
            fake_send(tc, mixed, at);
            turn(&s, 0);
            fake_send(tc, mixed + at, n - at);
            settle(&s);
            expect_out(tc, mixed_want);
            fake_reset(tc);
            fake_free(tc);
        }
        server_down(&s);
    }
}

static void test_one_byte_at_a_time(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 2);
    struct tcp_conn *tc = fake_connect(s.net[1]);
    for (size_t i = 0; i < sizeof(mixed) - 1; i++) {
        fake_send(tc, mixed + i, 1);
        turn(&s, 1);
        turn(&s, 0);
    }
    settle(&s);
    expect_out(tc, mixed_want);
    fake_reset(tc);
    fake_free(tc);
    server_down(&s);
}

/* ---- the same streams on one worker and on several, in any order of turns ---- */

static uint64_t draw(uint64_t *rng, uint64_t n)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return *rng % n;
}

/* Random commands over keys that belong to one client alone: the replies do not depend on what other clients do. */
static size_t make_stream(char *to, size_t cap, int client, uint64_t *rng)
{
    size_t n = 0;
    for (int i = 0; i < 120; i++) {
        int a = (int)draw(rng, 12), b = (int)draw(rng, 12), v = (int)draw(rng, 1000);
        switch (draw(rng, 12)) {
        case 0: n += (size_t)snprintf(to + n, cap - n, "SET k%d:%d v%d\r\n", client, a, v); break;
        case 1: n += (size_t)snprintf(to + n, cap - n, "GET k%d:%d\r\n", client, a); break;
        case 2:
            n += (size_t)snprintf(to + n, cap - n, "MSET k%d:%d %d k%d:%d %d\r\n", client, a, v,
                                  client, b, v + 1);
            break;
        case 3:
            n += (size_t)snprintf(to + n, cap - n, "MGET k%d:%d k%d:%d k%d:1\r\n", client, a,
                                  client, b, client);
            break;
        case 4:
            n += (size_t)snprintf(to + n, cap - n, "DEL k%d:%d k%d:%d\r\n", client, a, client, b);
            break;
        case 5:
            n +=
                (size_t)snprintf(to + n, cap - n, "RENAME k%d:%d k%d:%d\r\n", client, a, client, b);
            break;
        case 6:
            n += (size_t)snprintf(to + n, cap - n, "APPEND k%d:%d x%d\r\n", client, a, v);
            break;
        case 7:
            n += (size_t)snprintf(to + n, cap - n, "EXISTS k%d:%d k%d:%d k%d:2 k%d:2\r\n", client,
                                  a, client, b, client, client);
            break;
        case 8:
            n += (size_t)snprintf(to + n, cap - n, "COPY k%d:%d k%d:%d REPLACE\r\n", client, a,
                                  client, b);
            break;
        case 9:
            n += (size_t)snprintf(to + n, cap - n, "MSETNX k%d:%d %d k%d:%d 1\r\n", client, a, v,
                                  client, b);
            break;
        case 10: n += (size_t)snprintf(to + n, cap - n, "PING p%d\r\n", v); break;
        default:
            n += (size_t)snprintf(to + n, cap - n, "LCS k%d:%d k%d:%d\r\n", client, a, client, b);
        }
    }
    return n;
}

#define CLIENTS 6

static void run_streams(uint32_t count, uint64_t seed, char *stream[CLIENTS], size_t len[CLIENTS],
                        struct tcp_conn *got[CLIENTS])
{
    struct server s;
    uint64_t rng = seed * 2654435761u + 1;
    server_up(&s, count);
    size_t sent[CLIENTS] = {0};
    for (int c = 0; c < CLIENTS; c++)
        got[c] = fake_connect(s.net[(uint32_t)c % count]);
    for (int k = 0; k < 4000; k++) {
        int c = (int)draw(&rng, CLIENTS);
        size_t n = draw(&rng, 200);
        if (n > len[c] - sent[c])
            n = len[c] - sent[c];
        if (n)
            fake_send(got[c], stream[c] + sent[c], n);
        sent[c] += n;
        turn(&s, (uint32_t)draw(&rng, count));
    }
    for (int c = 0; c < CLIENTS; c++)
        fake_send(got[c], stream[c] + sent[c], len[c] - sent[c]);
    settle(&s);
    settle(&s);
    for (int c = 0; c < CLIENTS; c++)
        fake_reset(got[c]);
    server_down(&s);
}

static void test_replies_do_not_depend_on_workers(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        char *stream[CLIENTS];
        size_t len[CLIENTS];
        uint64_t rng = seed;
        for (int c = 0; c < CLIENTS; c++) {
            stream[c] = malloc(16384);
            len[c] = make_stream(stream[c], 16384, c, &rng);
        }
        struct tcp_conn *one[CLIENTS], *many[CLIENTS];
        run_streams(1, seed, stream, len, one);
        run_streams(2 + seed % 4, seed, stream, len, many);
        for (int c = 0; c < CLIENTS; c++) {
            if (one[c]->out_len != many[c]->out_len ||
                memcmp(one[c]->out, many[c]->out, one[c]->out_len) != 0)
                fail_msg("seed %llu client %d: %zu bytes with one worker, %zu with %d",
                         (unsigned long long)seed, c, one[c]->out_len, many[c]->out_len,
                         (int)(2 + seed % 4));
            fake_free(one[c]);
            fake_free(many[c]);
            free(stream[c]);
        }
    }
}

/* MSET of a pair on two shards, seen by MGET: both new or both old, whatever the order of turns. */
static void test_mset_is_atomic_over_shards(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct server s;
        uint64_t rng = seed;
        server_up(&s, 3);
        struct tcp_conn *writer[2] = {fake_connect(s.net[0]), fake_connect(s.net[1])};
        struct tcp_conn *reader[2] = {fake_connect(s.net[2]), fake_connect(s.net[0])};
        for (int i = 0; i < 400; i++) {
            char text[64];
            snprintf(text, sizeof(text), "MSET a %d b %d d %d\r\n", i, i, i);
            say(writer[draw(&rng, 2)], text);
            say(reader[draw(&rng, 2)], "MGET a b d\r\n");
            for (int k = 0; k < 4; k++)
                turn(&s, (uint32_t)draw(&rng, 3));
        }
        for (int k = 0; k < 100; k++)
            settle(&s);
        int seen = 0;
        for (int r = 0; r < 2; r++) {
            reader[r]->out = realloc(reader[r]->out, reader[r]->out_len + 1);
            reader[r]->out[reader[r]->out_len] = 0;
            for (char *p = (char *)reader[r]->out; (p = strstr(p, "*3\r\n")) != NULL; p += 4) {
                char a[16], b[16], d[16];
                if (strncmp(p, "*3\r\n$-1\r\n", 9) != 0 &&
                    sscanf(p, "*3\r\n$%*d\r\n%15s\r\n$%*d\r\n%15s\r\n$%*d\r\n%15s", a, b, d) == 3) {
                    assert_string_equal(a, b);
                    assert_string_equal(a, d);
                    seen++;
                }
            }
        }
        assert_true(seen > 300);
        for (int i = 0; i < 2; i++) {
            fake_reset(writer[i]);
            fake_reset(reader[i]);
            fake_free(writer[i]);
            fake_free(reader[i]);
        }
        server_down(&s);
    }
}

/* ---- backpressure ---- */

static void test_slow_reader_pauses_its_requests(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        server_up(&s, count);
        struct tcp_conn *tc = fake_connect(s.net[0]);
        size_t big = 300000;
        char *v = malloc(big + 1);
        memset(v, 'x', big);
        v[big] = 0;
        char head[64];
        snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%zu\r\n", big);
        say(tc, head);
        say(tc, v);
        say(tc, "\r\n");
        for (int k = 0; k < 1000; k++)
            turn(&s, 0);
        settle(&s);
        expect_out(tc, "+OK\r\n");
        fake_open_window(tc, 1000);
        int asked = 200;
        for (int i = 0; i < asked; i++)
            say(tc, "GET big\r\n");
        say(tc, "PING\r\n");
        settle(&s);
        struct conn *c = tc->cookie;
        assert_true(c->out_bytes < (count == 1 ? 3u : 256u) * 1024 * 1024);
        for (int k = 0; k < 100000 && tc->out_len < (size_t)asked * (big + 11) + 7; k++) {
            fake_open_window(tc, tc->out_len + 100000);
            turn(&s, 0);
            for (uint32_t i = 1; i < count; i++)
                turn(&s, i);
        }
        assert_int_equal(tc->out_len, (size_t)asked * (big + 11) + 7);
        assert_memory_equal(tc->out + tc->out_len - 7, "+PONG\r\n", 7);
        assert_int_equal(c->out_bytes, 0);
        assert_int_equal(tc->hold, 0);
        free(v);
        fake_reset(tc);
        fake_free(tc);
        server_down(&s);
    }
}

static void test_output_hard_limit_closes_that_client(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 1);
    s.w[0]->config.output_limit[0].hard_bytes = 100000;
    struct tcp_conn *tc = fake_connect(s.net[0]), *other = fake_connect(s.net[0]);
    say(tc, "SETRANGE k 299999 x\r\n");
    settle(&s);
    expect_out(tc, ":300000\r\n");
    fake_open_window(tc, 10);
    say(tc, "GET k\r\nGET k\r\n");
    say(other, "PING\r\n");
    settle(&s);
    assert_true(tc->aborted);
    expect_out(other, "+PONG\r\n");
    assert_true(s.w[0]->stats->output_buffer_limit_closed > 0);
    fake_free(tc);
    fake_reset(other);
    fake_free(other);
    server_down(&s);
}

static void test_query_buffer_limit_closes_that_client(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 1);
    s.w[0]->config.client_query_buffer_bytes = 1024 * 1024;
    struct tcp_conn *tc = fake_connect(s.net[0]);
    say(tc, "*2\r\n$3\r\nGET\r\n$2000000\r\n");
    char *v = malloc(2000001);
    memset(v, 'y', 2000000);
    v[2000000] = 0;
    say(tc, v);
    for (int k = 0; k < 2000; k++)
        turn(&s, 0);
    assert_true(tc->aborted);
    assert_int_equal(s.w[0]->stats->query_buffer_limit_closed, 1);
    free(v);
    fake_free(tc);
    server_down(&s);
}

/* ---- ends ---- */

static void test_protocol_error_answers_and_closes(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 3);
    struct tcp_conn *tc = fake_connect(s.net[1]);
    say(tc, "SET a 1\r\nGET a\r\n*1\r\n+x\r\nGET a\r\n");
    settle(&s);
    expect_out(tc, "+OK\r\n$1\r\n1\r\n-ERR Protocol error: expected '$', got '+'\r\n");
    assert_true(tc->gone);
    fake_free(tc);
    server_down(&s);
}

static void test_quit_answers_what_came_before(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 3);
    struct tcp_conn *tc = fake_connect(s.net[2]);
    say(tc, "SET a 1\r\nGET a\r\nMGET a b c\r\nQUIT\r\nGET a\r\n");
    settle(&s);
    expect_out(tc, "+OK\r\n$1\r\n1\r\n*3\r\n$1\r\n1\r\n$-1\r\n$-1\r\n+OK\r\n");
    assert_true(tc->gone);
    fake_free(tc);
    server_down(&s);
}

/* A close with unread input would be a reset that cuts the replies short. */
static void test_quit_behind_a_lease(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 3);
    struct tcp_conn *tc = fake_connect(s.net[0]);
    say(tc, "MSET a 1 b 2 d 3\r\n");
    turn(&s, 0);
    say(tc, "QUIT\r\nGET a\r\nGET b\r\n");
    turn(&s, 0);
    assert_true(tc->hold > 0);
    settle(&s);
    expect_out(tc, "+OK\r\n+OK\r\n");
    assert_true(tc->gone);
    fake_free(tc);
    server_down(&s);
}

static void test_half_close_is_answered_first(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 3);
    struct tcp_conn *tc = fake_connect(s.net[0]);
    say(tc, "MSET a 1 b 2 c 3\r\nMGET a b c\r\n");
    fake_fin(tc);
    settle(&s);
    expect_out(tc, "+OK\r\n*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    assert_true(tc->gone);
    fake_free(tc);
    server_down(&s);
}

static void test_client_dies_with_requests_elsewhere(void **state)
{
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        struct server s;
        server_up(&s, 3);
        struct tcp_conn *tc = fake_connect(s.net[0]), *other = fake_connect(s.net[1]);
        say(tc, "SET a 1\r\nSET b 1\r\nSET d 1\r\nMSET a 5 b 5 d 5\r\nDEL x y z w\r\nKEYS *\r\nGET "
                "a\r\n");
        for (int i = 0; i < turns; i++)
            turn(&s, (uint32_t)i % 3);
        fake_reset(tc);
        settle(&s);
        say(other, "PING\r\nMGET a b d\r\n");
        settle(&s);
        assert_true(other->out_len > 7);
        assert_int_equal(s.w[0]->posted, 0);
        assert_int_equal(s.w[0]->clients, 0);
        fake_free(tc);
        fake_reset(other);
        fake_free(other);
        server_down(&s);
    }
}

static void test_maxclients(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 2);
    s.w[0]->config.maxclients = s.w[1]->config.maxclients = 2;
    struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[1]),
                    *c = fake_connect(s.net[0]);
    settle(&s);
    expect_out(c, "-ERR max number of clients reached\r\n");
    assert_true(c->gone);
    assert_false(a->gone || b->gone);
    fake_free(c);
    fake_reset(a);
    fake_reset(b);
    fake_free(a);
    fake_free(b);
    server_down(&s);
}

static void test_client_kill_and_list_over_workers(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 3);
    struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[1]),
                    *c = fake_connect(s.net[2]);
    say(a, "CLIENT ID\r\n");
    say(b, "CLIENT SETNAME bee\r\n");
    settle(&s);
    b->out_len = a->out_len = 0;
    say(a, "CLIENT LIST\r\n");
    settle(&s);
    a->out = realloc(a->out, a->out_len + 1);
    a->out[a->out_len] = 0;
    int lines = 0;
    for (char *p = (char *)a->out; (p = strstr(p, "id=")) != NULL; p++)
        lines++;
    assert_non_null(strstr((char *)a->out, "name=bee"));
    assert_int_equal(lines, 3);
    a->out_len = 0;
    say(a, "CLIENT KILL TYPE normal\r\nPING\r\n");
    settle(&s);
    expect_out(a, ":2\r\n+PONG\r\n");
    assert_true(b->gone && c->gone);
    say(a, "CLIENT KILL TYPE normal SKIPME no\r\nPING\r\n");
    settle(&s);
    expect_out(a, ":1\r\n");
    assert_true(a->gone);
    fake_free(a);
    fake_free(b);
    fake_free(c);
    server_down(&s);
}

/* A client's trace is where its connection is; one that has ended is remembered by the stack alone. */
static void test_tcp_trace_over_workers(void **state)
{
    (void)state;
    struct server s;
    char text[64];
    server_up(&s, 3);
    for (uint32_t i = 0; i < s.count; i++)
        s.w[i]->config.enable_debug_command = DEBUG_CMD_YES;
    struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[2]);
    say(b, "CLIENT ID\r\n");
    settle(&s);
    assert_true(b->out_len > 3 && b->out_len < 30 && b->out[0] == ':');
    snprintf(text, sizeof(text), "DEBUG TCPTRACE %.*s", (int)b->out_len - 1, (char *)b->out + 1);
    say(a, text);
    settle(&s);
    expect_out(a, "*2\r\n$4\r\nopen\r\n$4\r\nmore\r\n");
    say(a, "DEBUG TCPTRACE 99999\r\n");
    settle(&s);
    expect_out(a, "*0\r\n");
    say(a, "DEBUG TCPTRACE 4711\r\n");
    settle(&s);
    expect_out(a, "*3\r\n$4\r\nkept\r\n$4\r\nkept\r\n$4\r\nkept\r\n");
    say(a, "DEBUG TCPTRACE x\r\n");
    settle(&s);
    expect_out(a, "-ERR Invalid client ID\r\n");
    fake_free(a);
    fake_free(b);
    server_down(&s);
}

static void test_reply_off_and_skip(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        server_up(&s, count);
        struct tcp_conn *tc = fake_connect(s.net[0]);
        say(tc, "CLIENT REPLY SKIP\r\nSET a 1\r\nGET a\r\nCLIENT REPLY OFF\r\nGET a\r\nMGET a b "
                "c\r\nGET b\r\nCLIENT REPLY ON\r\nGET a\r\n");
        settle(&s);
        expect_out(tc, "$1\r\n1\r\n+OK\r\n$1\r\n1\r\n");
        fake_reset(tc);
        fake_free(tc);
        server_down(&s);
    }
}

static void test_auth_limits_before_password(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 1);
    memcpy(s.w[0]->config.requirepass, "pw", 2);
    s.w[0]->config.requirepass_len = 2;
    struct tcp_conn *tc = fake_connect(s.net[0]);
    say(tc, "GET a\r\nAUTH pw\r\nMSET a 1 b 1 c 1 d 1 e 1 f 1 g 1\r\nGET a\r\n");
    settle(&s);
    expect_out(tc, "-NOAUTH Authentication required.\r\n+OK\r\n+OK\r\n$1\r\n1\r\n");
    struct tcp_conn *bad = fake_connect(s.net[0]);
    say(bad, "*11\r\n");
    settle(&s);
    expect_out(bad, "-ERR Protocol error: unauthenticated multibulk length\r\n");
    fake_reset(tc);
    fake_free(tc);
    fake_free(bad);
    server_down(&s);
}

/* Rows of the table that share an index (DEBUG's subcommands) lost their key: DEBUG OBJECT asked the home shard only. */
static void test_bug_debug_object_finds_its_owner(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 3);
    for (int i = 0; i < 3; i++) {
        s.w[i]->config.enable_debug_command = DEBUG_CMD_YES;
        batch_prepare(s.w[i]);
    }
    struct tcp_conn *tc = fake_connect(s.net[0]);
    say(tc, "MSET a 1 b 1 c 1 d 1 e 1\r\n");
    settle(&s);
    tc->out_len = 0;
    for (const char *k = "abcde"; *k; k++) {
        char text[32];
        snprintf(text, sizeof(text), "DEBUG OBJECT %c\r\n", *k);
        say(tc, text);
        settle(&s);
        assert_memory_equal(tc->out, "+Value at:", 10);
        tc->out_len = 0;
    }
    fake_reset(tc);
    fake_free(tc);
    server_down(&s);
}

/* The aggregate of a split command was written in the protocol that the client had switched to behind it. */
static void test_bug_hello_behind_a_split_command(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 3);
    struct tcp_conn *tc = fake_connect(s.net[0]);
    say(tc, "RANDOMKEY\r\nHELLO 3\r\n");
    settle(&s);
    assert_memory_equal(tc->out, "$-1\r\n%7", 7);
    fake_reset(tc);
    fake_free(tc);
    server_down(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipeline_keeps_order),
        cmocka_unit_test(test_split_at_every_byte),
        cmocka_unit_test(test_one_byte_at_a_time),
        cmocka_unit_test(test_replies_do_not_depend_on_workers),
        cmocka_unit_test(test_mset_is_atomic_over_shards),
        cmocka_unit_test(test_slow_reader_pauses_its_requests),
        cmocka_unit_test(test_output_hard_limit_closes_that_client),
        cmocka_unit_test(test_query_buffer_limit_closes_that_client),
        cmocka_unit_test(test_protocol_error_answers_and_closes),
        cmocka_unit_test(test_quit_answers_what_came_before),
        cmocka_unit_test(test_quit_behind_a_lease),
        cmocka_unit_test(test_half_close_is_answered_first),
        cmocka_unit_test(test_client_dies_with_requests_elsewhere),
        cmocka_unit_test(test_maxclients),
        cmocka_unit_test(test_client_kill_and_list_over_workers),
        cmocka_unit_test(test_tcp_trace_over_workers),
        cmocka_unit_test(test_reply_off_and_skip),
        cmocka_unit_test(test_auth_limits_before_password),
        cmocka_unit_test(test_bug_debug_object_finds_its_owner),
        cmocka_unit_test(test_bug_hello_behind_a_split_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
