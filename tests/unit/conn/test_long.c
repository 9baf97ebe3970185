/* Replies in parts, over a fake TCP: a client that reads slowly gets what was there when it asked, and the server does not keep all of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "tests/unit/conn/fake_net.h"
#include "tests/unit/unit.h"

#define MAX_WORKERS 3
#define ELEMENTS    60
#define ELEMENT     100000
/* What the server may hold of a reply: the output of a client and the part on its way, each some of LIMIT_REPLY_PART_BYTES. */
#define HELD_MOST   (4 * LIMIT_REPLY_PART_BYTES + 2 * ELEMENT)

struct server {
    uint32_t count;
    struct worker *w[MAX_WORKERS];
    struct net *net[MAX_WORKERS];
    struct engine_config config;
    uint64_t now_ns;
    uint8_t *want;
    size_t want_n;
};

static uint16_t rx_one(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    (void)ctx, (void)pkts, (void)n;
    return 1;
}

static void turn(struct server *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        s->now_ns += 1000;
        worker_turn(s->w[i], s->now_ns, 1700000000000000ll + (int64_t)(s->now_ns / 1000));
    }
}

static void settle(struct server *s)
{
    for (int k = 0; k < 60; k++)
        turn(s);
}

static void ask(struct server *s, struct tcp_conn *tc, const char *text)
{
    fake_send(tc, text, strlen(text));
    settle(s);
}

/* Lists and a text of six megabytes; `want` is what LRANGE answers. */
static void server_up(struct server *s, uint32_t count)
{
    char head[64], *body = malloc(ELEMENT);
    memset(s, 0, sizeof(*s));
    s->count = count;
    s->now_ns = 1000000000;
    engine_config_defaults(&s->config);
    s->config.protected_mode = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct worker_config c = {.id = i,
                                  .count = count,
                                  .all = s->w,
                                  .config = &s->config,
                                  .rx = rx_one,
                                  .hash_seed = {1, 2},
                                  .seed = i + 7};
        assert_int_equal(worker_create(&s->w[i], &c), 0);
        s->net[i] = fake_last_net();
    }
    struct tcp_conn *tc = fake_connect(s->net[0]);
    s->want = malloc(ELEMENTS * (ELEMENT + 32));
    s->want_n = (size_t)sprintf((char *)s->want, "*%d\r\n", ELEMENTS);
    for (int i = 0; i < ELEMENTS; i++) {
        memset(body, 'a' + i % 26, ELEMENT);
        int n = snprintf(head, sizeof(head), "*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$%d\r\n", ELEMENT);
        fake_send(tc, head, (size_t)n);
        fake_send(tc, body, ELEMENT);
        size_t before = tc->out_len;
        fake_send(tc, "\r\n", 2);
        while (tc->out_len == before)
            turn(s);
        s->want_n += (size_t)sprintf((char *)s->want + s->want_n, "$%d\r\n", ELEMENT);
        memcpy(s->want + s->want_n, body, ELEMENT);
        memcpy(s->want + s->want_n + ELEMENT, "\r\n", 2);
        s->want_n += ELEMENT + 2;
    }
    free(body);
    fake_reset(tc);
    fake_free(tc);
}

static uint64_t held_bytes_all(const struct server *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->count; i++)
        sum += s->w[i]->out_total;
    return sum;
}

static void server_down(struct server *s)
{
    settle(s);
    for (uint32_t i = 0; i < s->count; i++) {
        assert_int_equal(s->w[i]->shard.held_count, 0);
        assert_true(list_empty(&s->w[i]->shard.held_all));
        assert_true(list_empty(&s->w[i]->longs));
        assert_int_equal(s->w[i]->out_total, 0);
    }
    for (uint32_t i = 0; i < s->count; i++)
        worker_destroy(s->w[i]);
    free(s->want);
}

/* The client takes `step` more bytes a round, until it has n. */
static void read_slowly(struct server *s, struct tcp_conn *tc, size_t n, size_t step, uint64_t most)
{
    for (int idle = 0; tc->out_len < n && idle < 100; idle++) {
        size_t before = tc->out_len;
        fake_open_window(tc, tc->out_len + step);
        turn(s);
        assert_true(held_bytes_all(s) <= most);
        if (tc->out_len != before)
            idle = 0;
    }
    assert_int_equal(tc->out_len, n);
}

static void expect_list(const struct server *s, const struct tcp_conn *tc)
{
    assert_true(tc->out_len >= s->want_n);
    assert_memory_equal(tc->out, s->want, s->want_n);
}

static void test_slow_reader(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MAX_WORKERS; count++) {
        for (uint32_t home = 0; home < count; home++) {
            struct server s;
            server_up(&s, count);
            struct tcp_conn *tc = fake_connect(s.net[home]);
            fake_open_window(tc, 0);
            ask(&s, tc, "LRANGE l 0 -1\r\nPING\r\nGET nosuch\r\n");
            static const char then[] = "+PONG\r\n$-1\r\n";
            read_slowly(&s, tc, s.want_n + strlen(then), 50000, HELD_MOST);
            expect_list(&s, tc);
            assert_memory_equal(tc->out + s.want_n, then, strlen(then));
            fake_reset(tc);
            fake_free(tc);
            server_down(&s);
        }
    }
}

static void test_others_change_it_meanwhile(void **state)
{
    (void)state;
    static const char *const change[] = {"LPOP l\r\n", "DEL l\r\n", "FLUSHALL\r\n",
                                         "RENAME l m\r\n", "RPUSH l x\r\nLTRIM l 1 0\r\n"};
    for (uint32_t count = 1; count <= MAX_WORKERS; count++) {
        for (size_t k = 0; k < sizeof(change) / sizeof(change[0]); k++) {
            struct server s;
            server_up(&s, count);
            struct tcp_conn *tc = fake_connect(s.net[k % count]), *other = fake_connect(s.net[0]);
            fake_open_window(tc, 0);
            ask(&s, tc, "LRANGE l 0 -1\r\n");
            read_slowly(&s, tc, 1000000, 50000, HELD_MOST);
            ask(&s, other, change[k]);
            assert_true(other->out_len > 0);
            read_slowly(&s, tc, s.want_n, 50000, HELD_MOST);
            expect_list(&s, tc);
            fake_reset(tc);
            fake_free(tc);
            fake_reset(other);
            fake_free(other);
            server_down(&s);
        }
    }
}

/* At every moment of the reply. */
static void test_client_goes_away(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MAX_WORKERS; count += 2) {
        struct server s;
        server_up(&s, count);
        for (int turns = 0; turns < 40; turns++) {
            struct tcp_conn *tc = fake_connect(s.net[(uint32_t)turns % count]);
            fake_open_window(tc, 300000);
            fake_send(tc, "LRANGE l 0 -1\r\n", 15);
            for (int i = 0; i < turns; i++)
                turn(&s);
            if (turns & 1)
                ask(&s, tc, ""); /* it may be waiting for the client to read */
            fake_reset(tc);
            fake_free(tc);
            settle(&s);
            assert_int_equal(held_bytes_all(&s), 0);
        }
        server_down(&s);
    }
}

/* One worker: what is on its way to another one is nobody's when the process ends. */
static void test_destroyed_in_the_middle(void **state)
{
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        struct server s;
        server_up(&s, 1);
        struct tcp_conn *tc = fake_connect(s.net[0]);
        fake_open_window(tc, 0);
        fake_send(tc, "LRANGE l 0 -1\r\n", 15);
        for (int i = 0; i < turns; i++)
            turn(&s);
        worker_destroy(s.w[0]);
        free(s.want);
        fake_free(tc);
    }
}

/* Behind a reply that is awaited, before others; a transaction's is written whole. */
static void test_order_among_other_replies(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 3);
    for (uint32_t home = 0; home < 3; home++) {
        struct tcp_conn *tc = fake_connect(s.net[home]);
        fake_open_window(tc, 0);
        ask(&s, tc, "MSET a 1 b 2 c 3\r\nGET a\r\nLRANGE l 0 -1\r\nMGET a b c\r\nDBSIZE\r\n");
        static const char first[] = "+OK\r\n$1\r\n1\r\n",
                          last[] = "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n:4\r\n";
        size_t n = strlen(first) + s.want_n + strlen(last);
        read_slowly(&s, tc, n, 100000, HELD_MOST);
        assert_memory_equal(tc->out, first, strlen(first));
        assert_memory_equal(tc->out + strlen(first), s.want, s.want_n);
        assert_memory_equal(tc->out + strlen(first) + s.want_n, last, strlen(last));
        fake_reset(tc);
        fake_free(tc);
    }
    struct tcp_conn *tc = fake_connect(s.net[1]);
    fake_open_window(tc, SIZE_MAX);
    ask(&s, tc, "MULTI\r\nLRANGE l 0 -1\r\nEXEC\r\n");
    static const char before[] = "+OK\r\n+QUEUED\r\n*1\r\n";
    assert_int_equal(tc->out_len, strlen(before) + s.want_n);
    assert_memory_equal(tc->out + strlen(before), s.want, s.want_n);
    fake_reset(tc);
    fake_free(tc);
    server_down(&s);
}

static void test_two_readers_of_one_value(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 2);
    struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[1]);
    fake_open_window(a, 0);
    fake_open_window(b, 0);
    ask(&s, a, "LRANGE l 0 -1\r\n");
    ask(&s, b, "LRANGE l 0 -1\r\n");
    read_slowly(&s, a, s.want_n, 70000, 2 * HELD_MOST);
    expect_list(&s, a);
    read_slowly(&s, b, s.want_n, 70000, 2 * HELD_MOST);
    expect_list(&s, b);
    fake_reset(a);
    fake_free(a);
    fake_reset(b);
    fake_free(b);
    server_down(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_others_change_it_meanwhile),
        cmocka_unit_test(test_client_goes_away),
        cmocka_unit_test(test_destroyed_in_the_middle),
        cmocka_unit_test(test_order_among_other_replies),
        cmocka_unit_test(test_two_readers_of_one_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
