/* Publish/subscribe over the conn layer: who gets what, in which order, with 1 to 5 workers turned in any order; slow subscribers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

static uint64_t conflated(struct server *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->count; i++)
        n += s->w[i]->stats->pubsub_conflated;
    return n;
}

#define MESSAGE_A1 "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n1\r\n"

static void messages_reach_all_workers(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MAX_WORKERS; count++) {
        struct server s;
        server_up(&s, count);
        for (uint32_t home = 0; home < count; home++) {
            struct tcp_conn *sub = fake_connect(s.net[home]), *pat = fake_connect(s.net[0]),
                            *pub = fake_connect(s.net[count - 1]);
            expect(&s, sub, "SUBSCRIBE a b\r\n",
                   "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:"
                   "2\r\n");
            expect(&s, pat, "PSUBSCRIBE a* ?\r\n",
                   "*3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:1\r\n*3\r\n$10\r\npsubscribe\r\n$1\r\n?"
                   "\r\n:2\r\n");
            expect(&s, pub,
                   "PUBLISH a 1\r\nPUBLISH zz 2\r\nPUBSUB NUMPAT\r\nPUBSUB NUMSUB a b c\r\n",
                   ":3\r\n:0\r\n:2\r\n*6\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:1\r\n$1\r\nc\r\n:0\r\n");
            expect_out(sub, MESSAGE_A1);
            expect_out(pat, "*4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$1\r\n1\r\n"
                            "*4\r\n$8\r\npmessage\r\n$1\r\n?\r\n$1\r\na\r\n$1\r\n1\r\n");
            expect(&s, pub, "PUBSUB CHANNELS a*\r\nPUBSUB SHARDCHANNELS\r\nSPUBLISH a 1\r\n",
                   "*1\r\n$1\r\na\r\n*0\r\n:0\r\n");
            leave(sub);
            leave(pat);
            expect(&s, pub, "PUBLISH a 1\r\nPUBSUB CHANNELS\r\nPUBSUB NUMPAT\r\n",
                   ":0\r\n*0\r\n:0\r\n");
            leave(pub);
        }
        server_down(&s);
    }
}

/* Workers turned in an order that a seed draws: each publisher's messages arrive in its order, all of them, and after what it wrote before. */
static void order_holds_under_any_interleaving(void **state)
{
    (void)state;
    enum { SUBS = 5, PUBS = 4, MESSAGES = 60 };
    for (uint32_t seed = 1; seed <= 60; seed++) {
        struct server s;
        uint32_t rng = seed * 2654435761u, count = 2 + seed % 4;
        server_up(&s, count);
        struct tcp_conn *sub[SUBS], *pub[PUBS];
        int sent[PUBS] = {0};
        for (int i = 0; i < SUBS; i++) {
            sub[i] = fake_connect(s.net[(uint32_t)i % count]);
            say(sub[i], "SUBSCRIBE c\r\n");
        }
        for (int i = 0; i < PUBS; i++)
            pub[i] = fake_connect(s.net[(uint32_t)i % count]);
        settle(&s);
        for (int i = 0; i < SUBS; i++)
            sub[i]->out_len = 0;
        for (int k = 0; k < 40000; k++) {
            rng = rng * 1664525 + 1013904223;
            turn(&s, (rng >> 8) % count);
            int p = (int)((rng >> 16) % PUBS);
            if (sent[p] < MESSAGES && rng % 5 == 0) {
                char text[64];
                snprintf(text, sizeof(text), "SET k%d %d\r\nPUBLISH c %d:%02d\r\n", p, sent[p], p,
                         sent[p]);
                say(pub[p], text);
                sent[p]++;
            }
        }
        settle(&s);
        for (int i = 0; i < SUBS; i++) {
            int next[PUBS] = {0};
            size_t at = 0, each = strlen("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n0:00\r\n");
            for (; at < sub[i]->out_len; at += each) {
                const char *m = (char *)sub[i]->out + at + each - 6;
                int p = m[0] - '0', n = (m[2] - '0') * 10 + m[3] - '0';
                assert_in_range(p, 0, PUBS - 1);
                assert_int_equal(n, next[p]);
                next[p]++;
            }
            for (int p = 0; p < PUBS; p++)
                assert_int_equal(next[p], MESSAGES);
            leave(sub[i]);
        }
        for (int p = 0; p < PUBS; p++) {
            assert_int_equal(pub[p]->out_len, MESSAGES * strlen("+OK\r\n:5\r\n"));
            leave(pub[p]);
        }
        server_down(&s);
    }
}

/* SET and PUBLISH in one go: when the message is there the value is, wherever key, subscriber and publisher live. */
static void a_message_is_not_faster_than_the_write_before_it(void **state)
{
    (void)state;
    enum { WORKERS = 3 };
    struct server s;
    server_up(&s, WORKERS);
    for (uint32_t seed = 1; seed <= 600; seed++) {
        uint32_t rng = seed * 2246822519u;
        struct tcp_conn *sub = fake_connect(s.net[seed % WORKERS]),
                        *pub = fake_connect(s.net[seed / 3 % WORKERS]);
        expect(&s, pub, "FLUSHALL\r\n", "+OK\r\n");
        expect(&s, sub, "SUBSCRIBE c\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
        char text[64];
        snprintf(text, sizeof(text), "SET k%u 1\r\nPUBLISH c 1\r\n", seed);
        say(pub, text);
        for (int k = 0; k < 400 && !sub->out_len; k++) {
            rng = rng * 1664525 + 1013904223;
            turn(&s, (rng >> 8) % WORKERS);
        }
        size_t keys = 0;
        for (int i = 0; i < WORKERS; i++)
            keys += ks_count(&s.w[i]->shard, 0);
        assert_int_not_equal(sub->out_len, 0);
        assert_int_equal(keys, 1);
        leave(sub);
        leave(pub);
    }
    server_down(&s);
}

static void a_subscriber_may_do_little_else(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 2; count++) {
        struct server s;
        server_up(&s, count);
        struct tcp_conn *tc = fake_connect(s.net[0]);
        expect(&s, tc, "SUBSCRIBE a\r\nGET k\r\nPING\r\nPING x\r\nUNSUBSCRIBE\r\nPING\r\n",
               "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
               "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
               "RESET are allowed in this context\r\n"
               "*2\r\n$4\r\npong\r\n$0\r\n\r\n*2\r\n$4\r\npong\r\n$1\r\nx\r\n"
               "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n+PONG\r\n");
        expect(&s, tc, "SSUBSCRIBE s\r\nRESET\r\nPUBSUB SHARDCHANNELS\r\n",
               "*3\r\n$10\r\nssubscribe\r\n$1\r\ns\r\n:1\r\n+RESET\r\n*0\r\n");
        leave(tc);
        server_down(&s);
    }
}

/* As in Redis 7.0 the publisher's own message comes before its reply. */
static void one_hears_oneself_first(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count++) {
        struct server s;
        server_up(&s, count);
        struct tcp_conn *tc = fake_connect(s.net[0]);
        say(tc, "HELLO 3\r\n");
        settle(&s);
        tc->out_len = 0;
        expect(&s, tc, "SUBSCRIBE a\r\nPUBLISH a 1\r\nCLIENT REPLY OFF\r\nPUBLISH a 2\r\n",
               ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
               ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n1\r\n:1\r\n"
               ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n2\r\n");
        leave(tc);
        server_down(&s);
    }
}

static void publish_bytes(struct server *s, struct tcp_conn *pub, const char *channel, size_t bytes)
{
    char head[64];
    char *body = malloc(bytes);
    assert_non_null(body);
    memset(body, 'x', bytes);
    snprintf(head, sizeof(head), "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(channel),
             channel, bytes);
    say(pub, head);
    fake_send(pub, body, bytes);
    say(pub, "\r\n");
    free(body);
    settle(s);
}

/* client-output-buffer-limit pubsub: hard at once, soft when it lasts. A subscriber that is closed is one less. */
static void slow_subscribers_are_closed(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        server_config(&s);
        s.config.output_limit[2] = (struct output_limit){1 << 20, 300 << 10, 2, 0};
        server_start(&s, count);
        struct tcp_conn *hard = fake_connect(s.net[0]), *soft = fake_connect(s.net[count - 1]),
                        *pub = fake_connect(s.net[0]);
        expect(&s, hard, "SUBSCRIBE h\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nh\r\n:1\r\n");
        expect(&s, soft, "SUBSCRIBE s\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\ns\r\n:1\r\n");
        hard->window = soft->window = 100;
        for (int i = 0; i < 20; i++)
            publish_bytes(&s, pub, "h", 100000);
        assert_true(hard->aborted);
        for (int i = 0; i < 5; i++)
            publish_bytes(&s, pub, "s", 100000);
        assert_false(soft->aborted);
        for (int i = 0; i < 40; i++) {
            s.now_ns += 100000000;
            settle(&s);
        }
        assert_true(soft->aborted);
        pub->out_len = 0;
        expect(&s, pub, "PUBLISH h x\r\nPUBLISH s x\r\n", ":0\r\n:0\r\n");
        fake_free(hard);
        fake_free(soft);
        leave(pub);
        server_down(&s);
    }
}

/* The newest message of each channel, in the order in which they were published; the rest is counted. */
static void conflation_keeps_the_newest(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        server_up(&s, count);
        struct tcp_conn *sub = fake_connect(s.net[count - 1]), *pub = fake_connect(s.net[0]);
        expect(&s, sub, "CLIENT CONFLATE ON\r\nPSUBSCRIBE p*\r\n",
               "+OK\r\n*3\r\n$10\r\npsubscribe\r\n$2\r\np*\r\n:1\r\n");
        sub->window = 0;
        uint64_t sent = 0;
        for (int i = 0; i < 400; i++, sent++) { /* until the output waits */
            char text[64];
            snprintf(text, sizeof(text), "PUBLISH p%d %04d\r\n", i % 3, i);
            say(pub, text);
            settle(&s);
        }
        sub->window = SIZE_MAX;
        fake_open_window(sub, SIZE_MAX);
        settle(&s);
        uint64_t got = 0;
        int last = -1;
        size_t each = strlen("*4\r\n$8\r\npmessage\r\n$2\r\np*\r\n$2\r\np0\r\n$4\r\n0000\r\n");
        for (size_t at = 0; at < sub->out_len; at += each, got++) {
            int n = atoi((char *)sub->out + at + each - 6);
            assert_true(n > last);
            last = n;
        }
        assert_int_equal(last, 399);
        assert_true(conflated(&s) > 0);
        assert_int_equal(got + conflated(&s), sent);
        sub->out_len = 0;
        expect(&s, sub, "PUNSUBSCRIBE p*\r\nCLIENT CONFLATE OFF\r\n",
               "*3\r\n$12\r\npunsubscribe\r\n$2\r\np*\r\n:0\r\n+OK\r\n");
        leave(sub);
        leave(pub);
        server_down(&s);
    }
}

/* What waits for a client that lags is from before its RESET: it came behind, where the reply to the next request belongs. */
static void nothing_conflated_comes_behind_reset(void **state)
{
    (void)state;
    static const char *const last[] = {"RESET\r\n", "MULTI\r\nUNSUBSCRIBE\r\nEXEC\r\n"};
    static const char *const said[] = {"+RESET\r\n$-1\r\n", ":0\r\n_\r\n"};
    for (uint32_t k = 0; k < 2; k++) {
        struct server s;
        server_up(&s, 2);
        struct tcp_conn *sub = fake_connect(s.net[1]), *pub = fake_connect(s.net[0]);
        if (k)
            say(sub, "HELLO 3\r\n");
        say(sub, "CLIENT CONFLATE ON\r\nSUBSCRIBE p0 p1 p2\r\n");
        settle(&s);
        sub->out_len = 0;
        sub->window = 0;
        for (int i = 0; i < 400; i++) {
            char text[64];
            snprintf(text, sizeof(text), "PUBLISH p%d %04d\r\n", i % 3, i);
            say(pub, text);
            settle(&s);
        }
        assert_true(conflated(&s) > 0);
        say(sub, last[k]);
        say(sub, "GET x\r\n");
        settle(&s);
        fake_open_window(sub, SIZE_MAX);
        settle(&s);
        size_t n = strlen(said[k]);
        assert_true(sub->out_len > n);
        assert_memory_equal(sub->out + sub->out_len - n, said[k], n);
        assert_non_null(memmem(sub->out, sub->out_len, "0399", 4));
        leave(sub);
        leave(pub);
        server_down(&s);
    }
}

/* A PUBLISH that waits for replies was accounted each time it came: it took CLIENT REPLY SKIP from itself, MONITOR saw it twice. */
static void a_publish_that_waits_counts_once(void **state)
{
    (void)state;
    struct server s;
    char line[160], key[16];
    server_up(&s, 2);
    struct tcp_conn *tc = fake_connect(s.net[0]), *watcher = fake_connect(s.net[0]);
    for (int k = 0;; k++)
        if (shard_of_key(span_of(key, (size_t)snprintf(key, sizeof(key), "k%d", k)), 2) == 1)
            break;
    snprintf(line, sizeof(line), "SET %s v\r\nCLIENT REPLY SKIP\r\nPUBLISH c m\r\nPING\r\n", key);
    expect(&s, tc, line, "+OK\r\n+PONG\r\n");
    expect(&s, watcher, "MONITOR\r\n", "+OK\r\n");
    uint64_t before = ((struct conn *)tc->cookie)->ses.commands;
    snprintf(line, sizeof(line), "SET %s v\r\nPUBLISH c m\r\nPING\r\n", key);
    expect(&s, tc, line, "+OK\r\n:0\r\n+PONG\r\n");
    assert_int_equal(((struct conn *)tc->cookie)->ses.commands - before, 3);
    char *once = memmem(watcher->out, watcher->out_len, "PUBLISH", 7);
    assert_non_null(once);
    assert_null(memmem(once + 7, (size_t)((char *)watcher->out + watcher->out_len - once - 7),
                       "PUBLISH", 7));
    leave(watcher);
    /* CLIENT TRACKING asks another worker of the client it redirects to */
    watcher = fake_connect(s.net[1]);
    struct conn *other = watcher->cookie;
    snprintf(line, sizeof(line),
             "CLIENT REPLY SKIP\r\nCLIENT TRACKING ON REDIRECT %llu\r\nPING\r\n",
             (unsigned long long)other->ses.id);
    expect(&s, tc, line, "+PONG\r\n");
    snprintf(line, sizeof(line), ":%llu\r\n", (unsigned long long)other->ses.id);
    expect(&s, tc, "CLIENT GETREDIR\r\n", line);
    leave(watcher);
    leave(tc);
    server_down(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_reach_all_workers),
        cmocka_unit_test(order_holds_under_any_interleaving),
        cmocka_unit_test(a_message_is_not_faster_than_the_write_before_it),
        cmocka_unit_test(a_subscriber_may_do_little_else),
        cmocka_unit_test(one_hears_oneself_first),
        cmocka_unit_test(slow_subscribers_are_closed),
        cmocka_unit_test(conflation_keeps_the_newest),
        cmocka_unit_test(a_publish_that_waits_counts_once),
        cmocka_unit_test(nothing_conflated_comes_behind_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
