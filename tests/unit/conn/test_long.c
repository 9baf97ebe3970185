/* Replies in parts, over a fake TCP: a client that reads slowly gets what was there when it asked, and the server does not keep all of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

#define MOST      3 /* workers */
#define ELEMENTS  60
#define ELEMENT   100000
/* What the server may hold of a reply: the output of a client and the part on its way, each some of LIMIT_REPLY_PART_BYTES. */
#define HELD_MOST (4 * LIMIT_REPLY_PART_BYTES + 2 * ELEMENT)

/* What LRANGE l 0 -1 answers. */
static uint8_t want[ELEMENTS * (ELEMENT + 32)];
static size_t want_n;

static void ask(struct server *s, struct tcp_conn *tc, const char *text)
{
    say(tc, text);
    settle(s);
}

/* With a list of six megabytes. */
static void list_up(struct server *s, uint32_t count)
{
    char head[64], *body = malloc(ELEMENT);
    server_up(s, count);
    struct tcp_conn *tc = fake_connect(s->net[0]);
    want_n = (size_t)sprintf((char *)want, "*%d\r\n", ELEMENTS);
    for (int i = 0; i < ELEMENTS; i++) {
        memset(body, 'a' + i % 26, ELEMENT);
        int n = snprintf(head, sizeof(head), "*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$%d\r\n", ELEMENT);
        fake_send(tc, head, (size_t)n);
        fake_send(tc, body, ELEMENT);
        size_t before = tc->out_len;
        fake_send(tc, "\r\n", 2);
        while (tc->out_len == before)
            turns(s, 1);
        want_n += (size_t)sprintf((char *)want + want_n, "$%d\r\n", ELEMENT);
        memcpy(want + want_n, body, ELEMENT);
        memcpy(want + want_n + ELEMENT, "\r\n", 2);
        want_n += ELEMENT + 2;
    }
    free(body);
    leave(tc);
}

static uint64_t held_bytes_all(const struct server *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->count; i++)
        sum += s->w[i]->out_total;
    return sum;
}

static void clean_down(struct server *s)
{
    settle(s);
    for (uint32_t i = 0; i < s->count; i++) {
        assert_int_equal(s->w[i]->shard.held_count, 0);
        assert_true(list_empty(&s->w[i]->shard.held_all));
        assert_true(list_empty(&s->w[i]->longs));
        assert_int_equal(s->w[i]->out_total, 0);
    }
    server_down(s);
}

/* The client takes `step` more bytes a round, until it has n. */
static void read_slowly(struct server *s, struct tcp_conn *tc, size_t n, size_t step, uint64_t most)
{
    for (int idle = 0; tc->out_len < n && idle < 100; idle++) {
        size_t before = tc->out_len;
        fake_open_window(tc, tc->out_len + step);
        turns(s, 1);
        assert_true(held_bytes_all(s) <= most);
        if (tc->out_len != before)
            idle = 0;
    }
    assert_int_equal(tc->out_len, n);
}

static void expect_list(const struct tcp_conn *tc)
{
    assert_true(tc->out_len >= want_n);
    assert_memory_equal(tc->out, want, want_n);
}

static void test_slow_reader(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MOST; count++) {
        for (uint32_t home = 0; home < count; home++) {
            struct server s;
            list_up(&s, count);
            struct tcp_conn *tc = fake_connect(s.net[home]);
            fake_open_window(tc, 0);
            ask(&s, tc, "LRANGE l 0 -1\r\nPING\r\nGET nosuch\r\n");
            static const char then[] = "+PONG\r\n$-1\r\n";
            read_slowly(&s, tc, want_n + strlen(then), 50000, HELD_MOST);
            expect_list(tc);
            assert_memory_equal(tc->out + want_n, then, strlen(then));
            leave(tc);
            clean_down(&s);
        }
    }
}

static void test_others_change_it_meanwhile(void **state)
{
    (void)state;
    static const char *const change[] = {"LPOP l\r\n", "DEL l\r\n", "FLUSHALL\r\n",
                                         "RENAME l m\r\n", "RPUSH l x\r\nLTRIM l 1 0\r\n"};
    for (uint32_t count = 1; count <= MOST; count++) {
        for (size_t k = 0; k < sizeof(change) / sizeof(change[0]); k++) {
            struct server s;
            list_up(&s, count);
            struct tcp_conn *tc = fake_connect(s.net[k % count]), *other = fake_connect(s.net[0]);
            fake_open_window(tc, 0);
            ask(&s, tc, "LRANGE l 0 -1\r\n");
            read_slowly(&s, tc, 1000000, 50000, HELD_MOST);
            ask(&s, other, change[k]);
            assert_true(other->out_len > 0);
            read_slowly(&s, tc, want_n, 50000, HELD_MOST);
            expect_list(tc);
            leave(tc);
            leave(other);
            clean_down(&s);
        }
    }
}

/* The rest of a long reply was written down in one turn when its value changed: 60 to 170 ms of nobody being served, for a list of a million elements. */
static void test_change_waits_in_slices(void **state)
{
    (void)state;
    static const char *const change[] = {"LPOP l\r\n", "DEL l\r\n", "RPUSH l x\r\n",
                                         "MULTI\r\nLPOP l\r\nEXEC\r\n"};
    for (uint32_t count = 1; count <= MOST; count++) {
        for (size_t k = 0; k < sizeof(change) / sizeof(change[0]); k++) {
            struct server s;
            list_up(&s, count);
            struct tcp_conn *tc = fake_connect(s.net[k % count]), *other = fake_connect(s.net[0]),
                            *third = fake_connect(s.net[0]);
            fake_open_window(tc, 0);
            ask(&s, tc, "LRANGE l 0 -1\r\n");
            uint64_t held = 0, waited = 0;
            for (uint32_t i = 0; i < count; i++)
                held += s.w[i]->shard.held_count;
            assert_int_equal(held, 1);
            say(other, change[k]);
            for (int i = 0; i < 20; i++)
                turns(&s, 1);
            say(third, "PING\r\n");
            turns(&s, 2);
            assert_true(third->out_len > 0);
            settle(&s);
            assert_true(other->out_len > 0);
            for (uint32_t i = 0; i < count; i++)
                waited += s.w[i]->shard.held_answered;
            assert_int_equal(waited, 1);
            read_slowly(&s, tc, want_n, 50000, HELD_MOST);
            expect_list(tc);
            leave(tc);
            leave(other);
            leave(third);
            clean_down(&s);
        }
    }
}

/* A change waited for a long reply that a transaction with FLUSHALL had written down at once meanwhile: nobody told it, and it waited until the next long reply. */
static void test_change_waits_when_a_lease_ends_the_reply(void **state)
{
    (void)state;
    static const char *const change[] = {"LPOP l\r\n", "DEL l\r\n", "MULTI\r\nLPOP l\r\nEXEC\r\n",
                                         "RENAME l m\r\n"};
    for (uint32_t count = 1; count <= MOST; count++) {
        for (size_t k = 0; k < 4 * sizeof(change) / sizeof(change[0]); k++) {
            struct server s;
            list_up(&s, count);
            struct tcp_conn *tc = fake_connect(s.net[k % count]), *other = fake_connect(s.net[0]),
                            *third = fake_connect(s.net[count - 1]);
            fake_open_window(tc, 0);
            ask(&s, tc, "LRANGE l 0 -1\r\n");
            say(other, change[k / 4]);
            turns(&s, (int)(k % 4) + 1);
            say(third, "MULTI\r\nFLUSHALL\r\nEXEC\r\n");
            settle(&s);
            assert_true(third->out_len > 0);
            assert_true(other->out_len > (k / 4 == 2 ? strlen("+OK\r\n+QUEUED\r\n") : 0));
            read_slowly(&s, tc, want_n, 1000000, SIZE_MAX);
            expect_list(tc);
            leave(tc);
            leave(other);
            leave(third);
            clean_down(&s);
        }
    }
}

/* At every moment of the reply. */
static void test_client_goes_away(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MOST; count += 2) {
        struct server s;
        list_up(&s, count);
        for (int at = 0; at < 40; at++) {
            struct tcp_conn *tc = fake_connect(s.net[(uint32_t)at % count]);
            fake_open_window(tc, 300000);
            fake_send(tc, "LRANGE l 0 -1\r\n", 15);
            for (int i = 0; i < at; i++)
                turns(&s, 1);
            if (at & 1)
                ask(&s, tc, ""); /* it may be waiting for the client to read */
            leave(tc);
            settle(&s);
            assert_int_equal(held_bytes_all(&s), 0);
        }
        clean_down(&s);
    }
}

/* One worker: what is on its way to another one is nobody's when the process ends. */
static void test_destroyed_in_the_middle(void **state)
{
    (void)state;
    for (int at = 0; at < 12; at++) {
        struct server s;
        list_up(&s, 1);
        struct tcp_conn *tc = fake_connect(s.net[0]);
        fake_open_window(tc, 0);
        fake_send(tc, "LRANGE l 0 -1\r\n", 15);
        for (int i = 0; i < at; i++)
            turns(&s, 1);
        worker_destroy(s.w[0]);
        fake_free(tc);
    }
}

/* Behind a reply that is awaited, before others; a transaction's is written whole. */
static void test_order_among_other_replies(void **state)
{
    (void)state;
    struct server s;
    list_up(&s, 3);
    for (uint32_t home = 0; home < 3; home++) {
        struct tcp_conn *tc = fake_connect(s.net[home]);
        fake_open_window(tc, 0);
        ask(&s, tc, "MSET a 1 b 2 c 3\r\nGET a\r\nLRANGE l 0 -1\r\nMGET a b c\r\nDBSIZE\r\n");
        static const char first[] = "+OK\r\n$1\r\n1\r\n",
                          last[] = "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n:4\r\n";
        size_t n = strlen(first) + want_n + strlen(last);
        read_slowly(&s, tc, n, 100000, HELD_MOST);
        assert_memory_equal(tc->out, first, strlen(first));
        assert_memory_equal(tc->out + strlen(first), want, want_n);
        assert_memory_equal(tc->out + strlen(first) + want_n, last, strlen(last));
        leave(tc);
    }
    struct tcp_conn *tc = fake_connect(s.net[1]);
    fake_open_window(tc, SIZE_MAX);
    ask(&s, tc, "MULTI\r\nLRANGE l 0 -1\r\nEXEC\r\n");
    static const char before[] = "+OK\r\n+QUEUED\r\n*1\r\n";
    assert_int_equal(tc->out_len, strlen(before) + want_n);
    assert_memory_equal(tc->out + strlen(before), want, want_n);
    leave(tc);
    clean_down(&s);
}

#define ROW 40 /* more than a struct row has room for */

/* Requests of every shard in one pipeline, two of them for the long list; what they answer. */
static size_t say_row(char *ask_text, uint8_t *answer)
{
    size_t n = 0;
    *ask_text = 0;
    for (int i = 0; i < ROW; i++) {
        if (i % 17 == 9) {
            strcat(ask_text, "*4\r\n$6\r\nLRANGE\r\n$1\r\nl\r\n$1\r\n0\r\n$2\r\n-1\r\n");
            memcpy(answer + n, want, want_n);
            n += want_n;
        } else {
            sprintf(ask_text + strlen(ask_text), "*2\r\n$3\r\nGET\r\n$10\r\nkey:%06d\r\n", i);
            n += (size_t)sprintf((char *)answer + n, "$2\r\n%02d\r\n", i);
        }
    }
    return n;
}

static struct tcp_conn *row_up(struct server *s)
{
    list_up(s, 3);
    struct tcp_conn *tc = fake_connect(s->net[0]);
    for (int i = 0; i < ROW; i++) {
        char text[64];
        snprintf(text, sizeof(text), "SET key:%06d %02d\r\n", i, i);
        ask(s, tc, text);
    }
    tc->out_len = 0;
    return tc;
}

/* Replies of a row leave in order although some of them go on in parts; no part waits for ever. */
static void test_long_replies_in_a_row(void **state)
{
    (void)state;
    struct server s;
    static char text[ROW * 64];
    uint8_t *answer = malloc(ROW * 16 + 3 * sizeof(want));
    leave(row_up(&s));
    size_t n = say_row(text, answer);
    for (uint32_t home = 0; home < 3; home++) {
        struct tcp_conn *tc = fake_connect(s.net[home]);
        for (int round = 0; round < 2; round++) {
            tc->out_len = 0;
            fake_open_window(tc, 0);
            ask(&s, tc, text);
            read_slowly(&s, tc, n, 200000, UINT64_MAX);
            assert_memory_equal(tc->out, answer, n);
        }
        leave(tc);
    }
    clean_down(&s);
    free(answer);
}

/* At every moment: what was answered for it meanwhile is nobody's. */
static void test_client_of_a_row_goes_away(void **state)
{
    (void)state;
    struct server s;
    static char text[ROW * 64];
    uint8_t *answer = malloc(ROW * 16 + 3 * sizeof(want));
    leave(row_up(&s));
    say_row(text, answer);
    for (int at = 0; at < 60; at++) {
        struct tcp_conn *tc = fake_connect(s.net[at % 3]);
        fake_open_window(tc, at & 1 ? 0 : 3000000);
        fake_send(tc, text, strlen(text));
        for (int i = 0; i < at / 2; i++)
            turn(&s, (uint32_t)(i + at) % 3);
        leave(tc);
        settle(&s);
        assert_int_equal(held_bytes_all(&s), 0);
    }
    clean_down(&s);
    free(answer);
}

static void test_two_readers_of_one_value(void **state)
{
    (void)state;
    struct server s;
    list_up(&s, 2);
    struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[1]);
    fake_open_window(a, 0);
    fake_open_window(b, 0);
    ask(&s, a, "LRANGE l 0 -1\r\n");
    ask(&s, b, "LRANGE l 0 -1\r\n");
    read_slowly(&s, a, want_n, 70000, 2 * HELD_MOST);
    expect_list(a);
    read_slowly(&s, b, want_n, 70000, 2 * HELD_MOST);
    expect_list(b);
    leave(a);
    leave(b);
    clean_down(&s);
}

/* What stood behind a long reply was put back while the parser held the start of the next request, and became part of that. */
static void test_start_of_a_request_behind_what_is_put_back(void **state)
{
    static const char head[] = "LRANGE l 0 -1\r\nGET nosuch\r\nPING\r\n",
                      cut[] = "*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n",
                      then[] = "$-1\r\n+PONG\r\n$5\r\nhello\r\n+PONG\r\n";
    (void)state;
    for (uint32_t count = 1; count <= MOST; count++) {
        struct server s;
        list_up(&s, count);
        for (size_t at = 1; at < strlen(cut); at++) {
            char text[128];
            struct tcp_conn *tc = fake_connect(s.net[at % count]);
            fake_open_window(tc, 0);
            snprintf(text, sizeof(text), "%s%.*s", head, (int)at, cut);
            ask(&s, tc, text);
            snprintf(text, sizeof(text), "%sPING\r\n", cut + at);
            ask(&s, tc, text);
            read_slowly(&s, tc, want_n + strlen(then), 1000000, SIZE_MAX);
            expect_list(tc);
            assert_memory_equal(tc->out + want_n, then, strlen(then));
            leave(tc);
        }
        /* what is no request ends the connection, but not before them */
        struct tcp_conn *tc = fake_connect(s.net[0]);
        fake_open_window(tc, 0);
        ask(&s, tc, "LRANGE l 0 -1\r\nGET nosuch\r\nPING\r\n*x\r\n");
        static const char bad[] =
            "$-1\r\n+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n";
        read_slowly(&s, tc, want_n + strlen(bad), 1000000, SIZE_MAX);
        expect_list(tc);
        assert_memory_equal(tc->out + want_n, bad, strlen(bad));
        leave(tc);
        clean_down(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_others_change_it_meanwhile),
        cmocka_unit_test(test_change_waits_in_slices),
        cmocka_unit_test(test_change_waits_when_a_lease_ends_the_reply),
        cmocka_unit_test(test_client_goes_away),
        cmocka_unit_test(test_destroyed_in_the_middle),
        cmocka_unit_test(test_order_among_other_replies),
        cmocka_unit_test(test_long_replies_in_a_row),
        cmocka_unit_test(test_client_of_a_row_goes_away),
        cmocka_unit_test(test_two_readers_of_one_value),
        cmocka_unit_test(test_start_of_a_request_behind_what_is_put_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
