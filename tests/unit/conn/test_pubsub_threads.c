/* Publish/subscribe, keyspace notifications and client-side caching with workers on threads of their own. Run under ThreadSanitizer too. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

#define WORKERS  3
#define MESSAGES 400 /* of each publisher */

struct thread {
    pthread_t id;
    struct worker *w;
    struct net *net;
    struct tcp_conn *sub, *pub, *reader, *comer;
    int next[WORKERS]; /* message awaited of each publisher */
    int sent, replies, told, events;
};

static struct worker *workers[WORKERS];
static struct thread threads[WORKERS];
static int finished; /* atomic */

/* "message" "c" "P:NNN": 43 bytes each; events of keys are counted. */
static void take_messages(struct thread *t)
{
    struct tcp_conn *tc = t->sub;
    size_t at = 0;
    for (;;) {
        const char *p = (char *)tc->out + at;
        size_t left = tc->out_len - at, n = 0, lines = 0;
        while (n < left && lines < 7)
            lines += p[n++] == '\n';
        if (lines < 7)
            break;
        const char *body = p + n - 7;
        if (memcmp(p + 17, "$1\r\nc\r\n", 7) == 0) {
            int from = body[0] - '0', number = atoi(body + 2);
            assert_in_range(from, 0, WORKERS - 1);
            assert_int_equal(number, t->next[from]);
            t->next[from]++;
        } else {
            t->events++;
        }
        at += n;
    }
    memmove(tc->out, tc->out + at, tc->out_len - at);
    tc->out_len -= at;
}

/* Lines that begin with one of these bytes. */
static int count(struct tcp_conn *tc, const char *what)
{
    int n = 0;
    for (size_t i = 0; i < tc->out_len; i++)
        n += strchr(what, tc->out[i]) && (i == 0 || tc->out[i - 1] == '\n');
    tc->out_len = 0;
    return n;
}

static void *run(void *arg)
{
    struct thread *t = arg;
    uint64_t now = 2000000000;
    bool done = false;
    uint32_t me = t->w->id;
    for (int turns = 0; !done || __atomic_load_n(&finished, __ATOMIC_ACQUIRE) < WORKERS; turns++) {
        char text[96];
        if (t->sent < MESSAGES && t->sent - t->replies / 2 < 20) {
            snprintf(text, sizeof(text), "SET k%d %d\r\nPUBLISH c %u:%03d\r\n", t->sent % 7,
                     t->sent, me, t->sent);
            say(t->pub, text);
            t->sent++;
            say(t->reader, "GET k1\r\nGET k2\r\nGET k3\r\n");
            say(t->comer, turns & 1 ? "SUBSCRIBE c x y\r\n" : "RESET\r\n");
        }
        now += 1000;
        worker_turn(t->w, now, (int64_t)(now / 1000));
        t->replies += count(t->pub, "+:");
        t->told += count(t->reader, ">");
        t->comer->out_len = 0;
        take_messages(t);
        bool all = t->sent == MESSAGES;
        for (int i = 0; i < WORKERS; i++)
            all &= t->next[i] == MESSAGES;
        if (all && !done) {
            done = true;
            __atomic_fetch_add(&finished, 1, __ATOMIC_ACQ_REL);
        }
    }
    return NULL;
}

static void settle_all(void)
{
    for (int k = 0; k < 300; k++)
        for (uint32_t i = 0; i < WORKERS; i++)
            worker_turn(workers[i], 1000000000 + (uint64_t)k, 1000000 + k);
}

/* Every reader who has the keys now is told of each of them once. */
static void check_readers(void)
{
    for (uint32_t i = 0; i < WORKERS; i++)
        say(threads[i].reader, "GET k1\r\nGET k2\r\nGET k3\r\n");
    settle_all();
    for (uint32_t i = 0; i < WORKERS; i++)
        threads[i].reader->out_len = 0;
    say(threads[0].pub, "SET k1 a\r\nSET k2 a\r\nSET k3 a\r\n");
    settle_all();
    say(threads[1].pub, "SET k1 b\r\nSET k2 b\r\nSET k3 b\r\n");
    settle_all();
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(count(threads[i].reader, ">"), 3);
}

static void threads_share_nothing_but_events_and_filters(void **state)
{
    (void)state;
    struct engine_config config;
    engine_config_defaults(&config);
    config.protected_mode = 0;
    config.notify_events = NOTIFY_KEYEVENT | KS_STRING;
    for (uint32_t i = 0; i < WORKERS; i++) {
        fake_worker(workers, i, WORKERS, &config, NULL);
        threads[i] = (struct thread){.w = workers[i], .net = fake_last_net()};
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct thread *t = &threads[i];
        t->sub = fake_connect(t->net);
        t->pub = fake_connect(t->net);
        t->reader = fake_connect(t->net);
        t->comer = fake_connect(t->net);
        say(t->sub, "SUBSCRIBE c __keyevent@0__:set\r\n");
        say(t->reader, "HELLO 3\r\nCLIENT TRACKING ON\r\n");
        if (i == 0)
            say(t->comer, "CLIENT TRACKING ON BCAST PREFIX k\r\n");
    }
    settle_all();
    for (uint32_t i = 0; i < WORKERS; i++)
        threads[i].sub->out_len = threads[i].reader->out_len = threads[i].comer->out_len = 0;
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i].id, NULL, run, &threads[i]), 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i].id, NULL);
    settle_all();
    for (uint32_t i = 0; i < WORKERS; i++)
        take_messages(&threads[i]);
    int events_before = 0;
    for (uint32_t i = 0; i < WORKERS; i++)
        events_before += threads[i].events;
    assert_int_equal(events_before, WORKERS * WORKERS * MESSAGES); /* each SET, to each of them */
    check_readers();
    int events = 0, told = 0;
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct thread *t = &threads[i];
        take_messages(t);
        told += t->told;
        events += t->events;
        fake_reset(t->sub);
        fake_reset(t->pub);
        fake_reset(t->reader);
        fake_reset(t->comer);
        fake_free(t->sub);
        fake_free(t->pub);
        fake_free(t->reader);
        fake_free(t->comer);
    }
    assert_int_equal(events, events_before + 6 * WORKERS);
    assert_true(told > 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        worker_destroy(workers[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_nothing_but_events_and_filters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
