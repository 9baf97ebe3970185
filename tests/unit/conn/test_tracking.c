/* Client-side caching over the conn layer: who is told to forget what, with 1 to 5 workers turned in any order. The model: whoever has read a value
 * and was told nothing since must have the value that is there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

static void tracking_up(struct server *s, uint32_t count, uint64_t max_keys)
{
    server_config(s);
    s->config.tracking_max_keys = max_keys;
    server_start(s, count);
}

static struct tcp_conn *connect_resp3(struct server *s, uint32_t worker)
{
    struct tcp_conn *tc = fake_connect(s->net[worker]);
    say(tc, "HELLO 3\r\n");
    settle(s);
    tc->out_len = 0;
    return tc;
}

static void readers_are_told_wherever_they_are(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MAX_WORKERS; count++) {
        struct server s;
        tracking_up(&s, count, 1000);
        for (uint32_t home = 0; home < count; home++) {
            struct tcp_conn *a = connect_resp3(&s, home), *b = fake_connect(s.net[0]);
            expect(&s, a, "CLIENT TRACKING ON\r\nGET k\r\nMGET x y\r\n",
                   "+OK\r\n_\r\n*2\r\n_\r\n_\r\n");
            expect(&s, b, "SET k 1\r\nSET x 1\r\nSET z 1\r\n", "+OK\r\n+OK\r\n+OK\r\n");
            assert_int_equal(a->out_len,
                             2 * strlen(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"));
            a->out_len = 0;
            expect(&s, b, "SET k 2\r\n", "+OK\r\n");
            expect_out(a, "");
            expect(&s, a, "GET k\r\n", "$1\r\n2\r\n");
            expect(&s, a, "SET k 3\r\n", "+OK\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
            expect(&s, b, "FLUSHALL\r\n", "+OK\r\n");
            expect_out(a, ">2\r\n$10\r\ninvalidate\r\n_\r\n");
            leave(a);
            leave(b);
        }
        server_down(&s);
    }
}

static void broadcast_tells_in_one_message(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        tracking_up(&s, count, 1000);
        struct tcp_conn *a = connect_resp3(&s, count - 1), *n = connect_resp3(&s, 0),
                        *b = fake_connect(s.net[0]);
        expect(&s, a, "CLIENT TRACKING ON BCAST PREFIX p: PREFIX q:\r\n", "+OK\r\n");
        expect(&s, n, "CLIENT TRACKING ON BCAST NOLOOP\r\n", "+OK\r\n");
        expect(&s, b, "SET p:{x}2 1\r\nSET p:{x}1 1\r\nSET r 1\r\n", "+OK\r\n+OK\r\n+OK\r\n");
        expect_out(a, ">2\r\n$10\r\ninvalidate\r\n*2\r\n$6\r\np:{x}1\r\n$6\r\np:{x}2\r\n");
        assert_true(n->out_len > 0);
        n->out_len = 0;
        expect(&s, n, "SET p:1 x\r\n", "+OK\r\n");
        a->out_len = 0;
        leave(a);
        leave(n);
        expect(&s, b, "SET p:1 1\r\nSET p:1 2\r\n", "+OK\r\n+OK\r\n");
        for (uint32_t i = 0; i < count; i++) /* nobody listens any more */
            assert_false(s.w[i]->shard.listen & LISTEN_BROADCAST && s.w[i]->shard.stats.dirty > 3 &&
                         shard_of_key(SPAN("p:1"), count) == i);
        leave(b);
        server_down(&s);
    }
}

static void a_redirect_leads_to_another_worker(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count++) {
        struct server s;
        tracking_up(&s, count, 1000);
        struct tcp_conn *a = connect_resp3(&s, 0), *r = fake_connect(s.net[count - 1]),
                        *b = fake_connect(s.net[0]);
        say(r, "CLIENT ID\r\n");
        settle(&s);
        char text[64];
        snprintf(text, sizeof(text), "CLIENT TRACKING ON REDIRECT %.*s\r\n", (int)r->out_len - 3,
                 (char *)r->out + 1);
        r->out_len = 0;
        expect(&s, r, "SUBSCRIBE __redis__:invalidate\r\n",
               "*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n");
        expect(&s, a, text, "+OK\r\n");
        expect(&s, a, "CLIENT TRACKING ON REDIRECT 999999\r\n",
               "-ERR The client ID you want redirect to does not exist\r\n");
        expect(&s, a, "GET k\r\n", "_\r\n");
        expect(&s, b, "SET k 1\r\n", "+OK\r\n");
        expect_out(r, "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n");
        leave(r);
        expect(&s, a, "GET k\r\n", "$1\r\n1\r\n");
        expect(&s, b, "SET k 2\r\n", "+OK\r\n");
        assert_int_equal(strncmp((char *)a->out, ">2\r\n$21\r\ntracking-redir-broken\r\n:", 33), 0);
        leave(a);
        leave(b);
        server_down(&s);
    }
}

/* CLIENT TRACKING ON BCAST queued between MULTI and EXEC was heard of by the shards of the transaction's keys only. */
static void broadcast_from_within_a_transaction_hears_of_all_shards(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MAX_WORKERS; count++) {
        struct server s;
        tracking_up(&s, count, 1000);
        struct tcp_conn *a = connect_resp3(&s, count - 1), *b = fake_connect(s.net[0]);
        expect(&s, a, "MULTI\r\nCLIENT TRACKING ON BCAST\r\nGET p1\r\nEXEC\r\n",
               "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n_\r\n");
        for (int i = 1; i <= 9; i++) { /* keys of every shard */
            char set[32], told[64];
            snprintf(set, sizeof(set), "SET p%d 1\r\n", i);
            snprintf(told, sizeof(told), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\np%d\r\n", i);
            expect(&s, b, set, "+OK\r\n");
            expect_out(a, told);
        }
        leave(a);
        leave(b);
        server_down(&s);
    }
}

/* A REDIRECT to a client of another worker, queued between MULTI and EXEC, was answered that there is none. */
static void redirect_from_within_a_transaction_finds_its_client(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count++) {
        struct server s;
        tracking_up(&s, count, 1000);
        struct tcp_conn *a = connect_resp3(&s, 0), *r = fake_connect(s.net[count - 1]);
        say(r, "CLIENT ID\r\n");
        settle(&s);
        char text[128];
        snprintf(text, sizeof(text),
                 "MULTI\r\nGET k\r\nCLIENT TRACKING ON REDIRECT %.*s\r\nGET k\r\nEXEC\r\n",
                 (int)r->out_len - 3, (char *)r->out + 1);
        r->out_len = 0;
        expect(&s, r, "SUBSCRIBE __redis__:invalidate\r\n",
               "*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n");
        expect(&s, a, text, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n_\r\n+OK\r\n_\r\n");
        expect(&s, a, "SET k 1\r\n", "+OK\r\n");
        expect_out(r, "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n");
        expect(
            &s, a, "MULTI\r\nCLIENT TRACKING ON REDIRECT 999999\r\nEXEC\r\n",
            "+OK\r\n+QUEUED\r\n*1\r\n-ERR The client ID you want redirect to does not exist\r\n");
        leave(a);
        leave(r);
        server_down(&s);
    }
}

/* Of two REDIRECTs in one transaction the second one's client was not found; redis-server answers OK to both, and the second holds. */
static void two_redirects_of_a_transaction_find_their_clients(void **state)
{
    (void)state;
    struct server s;
    char text[192];
    tracking_up(&s, 3, 1000);
    struct tcp_conn *a = connect_resp3(&s, 0), *r[2];
    unsigned long long id[2];
    for (int i = 0; i < 2; i++) {
        r[i] = fake_connect(s.net[i + 1]);
        id[i] = ((struct conn *)r[i]->cookie)->ses.id;
        expect(&s, r[i], "SUBSCRIBE __redis__:invalidate\r\n",
               "*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n");
    }
    snprintf(text, sizeof(text),
             "MULTI\r\nCLIENT TRACKING ON REDIRECT %llu\r\nCLIENT TRACKING ON REDIRECT %llu\r\n"
             "GET k\r\nEXEC\r\n",
             id[0], id[1]);
    expect(&s, a, text, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n+OK\r\n_\r\n");
    expect(&s, a, "SET k 1\r\n", "+OK\r\n");
    expect_out(r[0], "");
    expect_out(r[1], "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n");
    leave(a);
    leave(r[0]);
    leave(r[1]);
    server_down(&s);
}

/* tracking-table-max-keys: what is given up is told. */
static void a_full_table_gives_keys_up(void **state)
{
    (void)state;
    struct server s;
    tracking_up(&s, 2, 10);
    struct tcp_conn *a = connect_resp3(&s, 0);
    expect(&s, a, "CLIENT TRACKING ON\r\n", "+OK\r\n");
    for (int i = 0; i < 100; i++) {
        char text[32];
        snprintf(text, sizeof(text), "GET key%02d\r\n", i);
        say(a, text);
    }
    settle(&s);
    size_t told = 0, kept = 0;
    for (size_t i = 0; i + 1 < a->out_len; i++)
        told += a->out[i] == '>' && a->out[i + 1] == '2';
    for (int i = 0; i < 2; i++)
        kept += s.w[i]->shard.track.count;
    assert_in_range(kept, 5, 10);
    assert_int_equal(told + kept, 100);
    leave(a);
    server_down(&s);
}

#define KEYS    4
#define READERS 4

struct reader {
    struct tcp_conn *tc;
    int cached[KEYS]; /* -1: nothing */
    int asked[64];    /* keys whose replies are awaited */
    unsigned first, last;
};

/* Takes what has come: values, and what to forget. */
static void reader_take(struct reader *r)
{
    size_t at = 0;
    while (at < r->tc->out_len) {
        const char *p = (char *)r->tc->out + at;
        if (p[0] == '$') { /* $4\r\nNNNN\r\n */
            r->cached[r->asked[r->first++ % 64]] = atoi(p + 4);
            at += 10;
        } else { /* >2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\nkN\r\n */
            assert_int_equal(p[0], '>');
            r->cached[p[30] - '0'] = -1;
            at += 33;
        }
    }
    r->tc->out_len = 0;
}

static void caches_agree_under_any_interleaving(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 60; seed++) {
        uint32_t rng = seed * 2654435761u, count = 1 + seed % 5;
        struct server s;
        struct reader r[READERS];
        int value[KEYS], next = 1000;
        tracking_up(&s, count, 1000);
        memset(r, 0, sizeof(r));
        struct tcp_conn *writer = fake_connect(s.net[seed % count]);
        expect(&s, writer, "MSET k0 1000 k1 1000 k2 1000 k3 1000\r\n", "+OK\r\n");
        for (int i = 0; i < KEYS; i++)
            value[i] = 1000;
        for (int i = 0; i < READERS; i++) {
            r[i].tc = connect_resp3(&s, (uint32_t)i % count);
            expect(&s, r[i].tc, "CLIENT TRACKING ON\r\n", "+OK\r\n");
            for (int k = 0; k < KEYS; k++)
                r[i].cached[k] = -1;
        }
        for (int step = 0; step < 6000; step++) {
            char text[64];
            rng = rng * 1664525 + 1013904223;
            uint32_t what = (rng >> 8) % 12;
            int k = (int)(rng >> 20) % KEYS;
            if (what == 0) {
                snprintf(text, sizeof(text), "SET k%d %04d\r\n", k, next = 1000 + step);
                value[k] = next;
                say(writer, text);
            } else if (what <= 2) {
                struct reader *x = &r[(rng >> 16) % READERS];
                if (x->last - x->first < 60) {
                    snprintf(text, sizeof(text), "GET k%d\r\n", k);
                    x->asked[x->last++ % 64] = k;
                    say(x->tc, text);
                }
            }
            turn(&s, (rng >> 12) % count);
            for (int i = 0; i < READERS; i++)
                reader_take(&r[i]);
        }
        settle(&s);
        for (int i = 0; i < READERS; i++) {
            reader_take(&r[i]);
            assert_int_equal(r[i].first, r[i].last);
            for (int k = 0; k < KEYS; k++)
                assert_true(r[i].cached[k] == -1 || r[i].cached[k] == value[k]);
            leave(r[i].tc);
        }
        leave(writer);
        server_down(&s);
    }
}

/* That a client exists was believed later, when it was gone: the answer had not been wanted, for the request was wrong before its REDIRECT. */
static void a_stale_answer_is_not_believed(void **state)
{
    (void)state;
    struct server s;
    char line[128];
    tracking_up(&s, 2, 1000);
    struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[1]);
    unsigned long long id = ((struct conn *)b->cookie)->ses.id;
    snprintf(line, sizeof(line), "CLIENT TRACKING ON NONSENSE REDIRECT %llu\r\n", id);
    expect(&s, a, line, "-ERR syntax error\r\n");
    leave(b);
    settle(&s);
    snprintf(line, sizeof(line), "CLIENT TRACKING ON REDIRECT %llu\r\n", id);
    expect(&s, a, line, "-ERR The client ID you want redirect to does not exist\r\n");
    leave(a);
    server_down(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_are_told_wherever_they_are),
        cmocka_unit_test(broadcast_tells_in_one_message),
        cmocka_unit_test(a_redirect_leads_to_another_worker),
        cmocka_unit_test(two_redirects_of_a_transaction_find_their_clients),
        cmocka_unit_test(broadcast_from_within_a_transaction_hears_of_all_shards),
        cmocka_unit_test(redirect_from_within_a_transaction_finds_its_client),
        cmocka_unit_test(a_stale_answer_is_not_believed),
        cmocka_unit_test(a_full_table_gives_keys_up),
        cmocka_unit_test(caches_agree_under_any_interleaving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
