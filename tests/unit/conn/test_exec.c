/* Transactions over 1 to 5 workers: streams cut at every byte, clients that go at any moment, what is left behind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cmd/multi.h"
#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

/* Nothing of a transaction or of a watch is left anywhere. */
static void assert_clean(struct server *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        assert_int_equal(s->w[i]->shard.watch.count, 0);
        assert_int_equal(s->w[i]->shard.listen & LISTEN_WATCH, 0);
        assert_int_equal(s->w[i]->posted, 0);
        assert_int_equal(s->w[i]->lease.holder, LEASE_FREE);
        assert_true(list_empty(&s->w[i]->lease_jobs) && !s->w[i]->lease_asking);
    }
}

static void clean_down(struct server *s)
{
    settle(s);
    assert_clean(s);
    server_down(s);
}

static const char stream[] =
    "WATCH a b c d\r\nMULTI\r\nMSET a 1 b 2 c 3 d 4\r\nGET a\r\nINCR b\r\nEXEC\r\nMGET a b c d\r\n"
    "WATCH a z\r\nSET a 9\r\nMULTI\r\nSET a 10\r\nEXEC\r\nGET a\r\n"
    "MULTI\r\nNOSUCH\r\nSET a 11\r\nEXEC\r\nMULTI\r\nSET a 12\r\nDISCARD\r\nGET a\r\n"
    "WATCH a b\r\nUNWATCH\r\nSET b 1\r\nMULTI\r\nDEL a b c d\r\nEXEC\r\nEXEC\r\nEXISTS a b c d\r\n";
static const char stream_want[] =
    "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n$1\r\n1\r\n:3\r\n"
    "*4\r\n$1\r\n1\r\n$1\r\n3\r\n$1\r\n3\r\n$1\r\n4\r\n"
    "+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*-1\r\n$1\r\n9\r\n"
    "+OK\r\n-ERR unknown command 'NOSUCH', with args beginning with: \r\n+QUEUED\r\n"
    "-EXECABORT Transaction discarded because of previous errors.\r\n"
    "+OK\r\n+QUEUED\r\n+OK\r\n$1\r\n9\r\n"
    "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:4\r\n-ERR EXEC without MULTI\r\n:0\r\n";

static void test_streams(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MAX_WORKERS; count++) {
        struct server s;
        server_up(&s, count);
        for (uint32_t home = 0; home < count; home++) {
            struct tcp_conn *tc = fake_connect(s.net[home]);
            say(tc, stream);
            turns(&s, 80);
            expect_out(tc, stream_want);
            leave(tc);
        }
        clean_down(&s);
    }
}

static void test_cut_at_every_byte(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 3);
    for (size_t at = 1; at < sizeof(stream) - 1; at++) {
        struct tcp_conn *tc = fake_connect(s.net[at % 3]);
        fake_send(tc, stream, at);
        turns(&s, 2);
        fake_send(tc, stream + at, sizeof(stream) - 1 - at);
        turns(&s, 80);
        expect_out(tc, stream_want);
        leave(tc);
    }
    clean_down(&s);
}

/* After every number of single turns of one of the workers: nothing is left, and what was set was set whole. */
static void test_client_goes_at_any_moment(void **state)
{
    (void)state;
    static const char text[] = "WATCH a b c d e f\r\nMULTI\r\nMSET a 1 b 1 c 1 d 1\r\nEXEC\r\n"
                               "WATCH a b\r\nMULTI\r\nDEL a b c d\r\nEXEC\r\nWATCH c\r\n";
    for (int gone = 0; gone < 60; gone++) {
        struct server s;
        server_up(&s, 3);
        struct tcp_conn *tc = fake_connect(s.net[gone % 3]), *other = fake_connect(s.net[0]);
        say(tc, text);
        for (int k = 0; k < gone; k++) {
            s.now_ns += 1000;
            worker_turn(s.w[(k * 7 + gone) % 3], s.now_ns, 1700000000000000ll);
        }
        fake_reset(tc);
        turns(&s, 40);
        assert_clean(&s);
        say(other, "EXISTS a b c d\r\n");
        turns(&s, 40);
        if (memcmp(other->out, ":0", 2) != 0 && memcmp(other->out, ":4", 2) != 0)
            fail_msg("a torn transaction: %.*s", (int)other->out_len, (char *)other->out);
        fake_free(tc);
        leave(other);
        clean_down(&s);
    }
}

/* More watched keys of one shard than go back in one message, while that shard is another's. */
static void test_many_watches_go_back(void **state)
{
    (void)state;
    struct server s;
    char text[64];
    server_up(&s, 2);
    struct tcp_conn *tc = fake_connect(s.net[0]);
    for (int i = 0; i < 300; i++) {
        snprintf(text, sizeof(text), "WATCH k%d\r\n", i);
        say(tc, text);
        turns(&s, 3);
    }
    turns(&s, 20);
    assert_int_equal(s.w[0]->shard.watch.count + s.w[1]->shard.watch.count, 300);
    leave(tc);
    clean_down(&s);
}

/* What is queued is input that waits: over client-query-buffer-limit the client is closed. */
static void test_queue_is_bounded(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 2; count++) {
        struct server s;
        server_config(&s);
        s.config.client_query_buffer_bytes = 1 << 20;
        server_start(&s, count);
        struct tcp_conn *tc = fake_connect(s.net[0]);
        static char text[70000];
        int n = snprintf(text, sizeof(text), "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$60000\r\n");
        memset(text + n, 'x', 60000);
        memcpy(text + n + 60000, "\r\n", 3);
        say(tc, "MULTI\r\n");
        for (int i = 0; i < 30 && !tc->aborted; i++) {
            say(tc, text);
            turns(&s, 60);
        }
        assert_true(tc->aborted);
        assert_int_equal(worker_stats(s.w[0])->query_buffer_limit_closed, 1);
        fake_free(tc);
        clean_down(&s);
    }
}

static void all_careful(struct server *s, enum careful why, bool on)
{
    for (uint32_t i = 0; i < s->count; i++) {
        careful_set(s->w[i], why, on);
        s->w[i]->journal.error = on && why == CAREFUL_JOURNAL ? 28 : 0; /* ENOSPC */
    }
}

/* A request that was held back between MULTI and EXEC was left out, and the rest ran; an EXEC of writes ran where a write was refused. */
static void test_what_is_held_back_aborts_the_transaction(void **state)
{
    (void)state;
#define LOADING "LOADING Redis is loading the dataset in memory\r\n"
#define NO_AOF  "MISCONF Errors writing to the AOF file: No space left on device\r\n"
#define ABORTED "-EXECABORT Transaction discarded because of previous errors.\r\n"
#define BECAUSE "-EXECABORT Transaction discarded because of: "
    static const struct {
        enum careful why;
        const char *text;
    } held[] = {{CAREFUL_LOADING, LOADING}, {CAREFUL_JOURNAL, NO_AOF}};
    for (uint32_t count = 1; count <= 3; count += 2) {
        for (size_t i = 0; i < ARRAY_LEN(held); i++) {
            struct server s;
            char want[256];
            server_up(&s, count);
            struct tcp_conn *tc = fake_connect(s.net[0]);
            expect(&s, tc, "MULTI\r\n", "+OK\r\n");
            all_careful(&s, held[i].why, true);
            snprintf(want, sizeof(want), "-%s", held[i].text);
            expect(&s, tc, "SET a 1\r\n", want);
            all_careful(&s, held[i].why, false);
            expect(&s, tc, "SET b 1\r\nEXEC\r\n", "+QUEUED\r\n" ABORTED);

            expect(&s, tc, "WATCH a\r\nMULTI\r\nSET a 1\r\n", "+OK\r\n+OK\r\n+QUEUED\r\n");
            all_careful(&s, held[i].why, true);
            snprintf(want, sizeof(want), BECAUSE "%s", held[i].text);
            expect(&s, tc, "EXEC\r\n", want);
            assert_clean(&s);
            if (held[i].why == CAREFUL_JOURNAL) /* what only reads may go on */
                expect(&s, tc, "MULTI\r\nGET a\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n");
            all_careful(&s, held[i].why, false);
            expect(&s, tc, "EXEC\r\nEXISTS a b\r\n", "-ERR EXEC without MULTI\r\n:0\r\n");
            leave(tc);
            clean_down(&s);
        }
    }
}

static const struct multi *multi_at(const struct tcp_conn *tc)
{
    return ((const struct conn *)tc->cookie)->ses.multi;
}

/* A shard without memory for a key that is to be watched: WATCH said OK, and EXEC ran whatever had become of the key. */
static void test_watch_without_memory_is_no_watch(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 2; count++) {
        for (uint32_t at = 1; at <= 3; at++) {
            struct server s;
            server_up(&s, count);
            struct tcp_conn *tc = fake_connect(s.net[0]);
            struct mem *mem = &s.w[count - 1]->shard.mem;
            mem->fail_after = at;
            expect(&s, tc, "WATCH a b c d e f g h\r\n",
                   "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
            mem->fail_after = 0;
            expect(&s, tc, "UNWATCH\r\n", "+OK\r\n");
            assert_clean(&s);
            expect(&s, tc, "WATCH a b c d e f g h\r\n", "+OK\r\n");
            assert_int_equal(multi_at(tc)->watched, 8);
            leave(tc);
            clean_down(&s);
        }
    }
}

/* A key watched again took another reference each time, and nobody counted what a client watches. */
static void test_watch_is_bounded(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count++) {
        struct server s;
        static char text[20100];
        server_config(&s);
        s.config.client_query_buffer_bytes = 1 << 20;
        server_start(&s, count);
        struct tcp_conn *tc = fake_connect(s.net[0]);
        for (int i = 0; i < 20; i++)
            expect(&s, tc, "WATCH a b c d a b\r\nWATCH d c e\r\n", "+OK\r\n+OK\r\n");
        assert_int_equal(multi_at(tc)->watched, 5);
        assert_int_equal(multi_at(tc)->watch_bytes, 5 * watch_bytes(SPAN("a")));
        expect(&s, tc, "UNWATCH\r\n", "+OK\r\n");
        assert_clean(&s);
        size_t before = conn_memory(tc->cookie);
        for (int i = 0; i < 100 && !tc->aborted && !tc->closed_by_app; i++) {
            memset(text, 'k', 20000);
            memcpy(text, "WATCH ", 6);
            snprintf(text + 20000, 100, "%d\r\n", i);
            say(tc, text);
            settle(&s);
            if (i == 20)
                assert_true(conn_memory(tc->cookie) - before > (size_t)20 * 20000);
        }
        assert_true(tc->aborted || tc->closed_by_app);
        assert_int_equal(worker_stats(s.w[0])->query_buffer_limit_closed, 1);
        leave(tc);
        clean_down(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_client_goes_at_any_moment),
        cmocka_unit_test(test_many_watches_go_back),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_what_is_held_back_aborts_the_transaction),
        cmocka_unit_test(test_watch_without_memory_is_no_watch),
        cmocka_unit_test(test_watch_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
