/* Workers on threads of their own, as in the real server: mail rings, leases, the sleeping flag. Run under ThreadSanitizer too. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

#define WORKERS  3
#define CLIENTS  4   /* of each worker */
#define REQUESTS 250 /* of each client */

struct thread {
    pthread_t id;
    struct worker *w;
    struct net *net;
    struct tcp_conn *client[CLIENTS];
    int answered[CLIENTS];
    uint64_t rng, torn;
};

static struct worker *workers[WORKERS];
static struct thread threads[WORKERS];
static int finished; /* atomic: threads whose clients have all their replies */

static uint64_t draw(uint64_t *rng, uint64_t n)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return *rng % n;
}

/* Every request has one reply whose first byte tells its kind. MSET writes the same number to keys of several shards; MGET must
 * see three equal ones. */
static void ask(struct thread *t, int c)
{
    char text[96];
    int v = (int)draw(&t->rng, 1000) + 1000;
    switch (draw(&t->rng, 5)) {
    case 0: snprintf(text, sizeof(text), "MSET a %d b %d d %d\r\n", v, v, v); break;
    case 1: snprintf(text, sizeof(text), "SET own%d:%d %d\r\n", c, v % 50, v); break;
    case 2: snprintf(text, sizeof(text), "DEL own%d:%d own%d:%d\r\n", c, v % 50, c, v % 37); break;
    default: snprintf(text, sizeof(text), "MGET a b d\r\n");
    }
    fake_send(t->client[c], text, strlen(text));
}

/* Takes whole replies from the client's output. */
static void take(struct thread *t, int c)
{
    struct tcp_conn *tc = t->client[c];
    size_t at = 0;
    if (tc->out_len == 0)
        return;
    for (;;) {
        char *p = (char *)tc->out + at;
        size_t left = tc->out_len - at;
        int lines = left && *p == '*' ? 7 : 1;
        size_t n = 0;
        for (int i = 0; i < lines && n < left; i++) {
            char *nl = memchr(p + n, '\n', left - n);
            n = nl ? (size_t)(nl - p) + 1 : left + 1;
        }
        if (left == 0 || n > left)
            break;
        if (lines == 7 && (memcmp(p + 8, p + 18, 4) != 0 || memcmp(p + 8, p + 28, 4) != 0))
            t->torn++;
        t->answered[c]++;
        at += n;
    }
    memmove(tc->out, tc->out + at, tc->out_len - at);
    tc->out_len -= at;
}

static void *run(void *arg)
{
    struct thread *t = arg;
    int asked[CLIENTS] = {0};
    uint64_t now = 1000000000;
    bool done = false;
    while (!done || __atomic_load_n(&finished, __ATOMIC_ACQUIRE) < WORKERS) {
        bool all = true;
        for (int c = 0; c < CLIENTS; c++) {
            for (int k = 0; k < 8 && asked[c] < REQUESTS && asked[c] - t->answered[c] < 32;
                 k++, asked[c]++)
                ask(t, c);
            take(t, c);
            all &= t->answered[c] == REQUESTS;
        }
        now += 1000;
        worker_turn(t->w, now, (int64_t)(now / 1000));
        if (all && !done) {
            done = true;
            __atomic_fetch_add(&finished, 1, __ATOMIC_ACQ_REL);
        }
    }
    return NULL;
}

static void test_threads_share_nothing_but_mail(void **state)
{
    (void)state;
    struct engine_config config;
    engine_config_defaults(&config);
    config.protected_mode = 0;
    for (uint32_t i = 0; i < WORKERS; i++) {
        fake_worker(workers, i, WORKERS, &config, NULL);
        threads[i] = (struct thread){.w = workers[i], .net = fake_last_net(), .rng = 77 + i};
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        for (int c = 0; c < CLIENTS; c++)
            threads[i].client[c] = fake_connect(threads[i].net);
    }
    fake_send(threads[0].client[0], "MSET a 1000 b 1000 d 1000\r\n", 27);
    for (int k = 0; k < 300; k++) {
        for (uint32_t i = 0; i < WORKERS; i++)
            worker_turn(workers[i], 1000000 + (uint64_t)k, 1000 + k);
    }
    take(&threads[0], 0);
    assert_int_equal(threads[0].answered[0], 1);
    threads[0].answered[0] = 0;
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i].id, NULL, run, &threads[i]), 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i].id, NULL);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(threads[i].torn, 0);
        for (int c = 0; c < CLIENTS; c++) {
            assert_int_equal(threads[i].answered[c], REQUESTS);
            fake_reset(threads[i].client[c]);
            fake_free(threads[i].client[c]);
        }
        assert_int_equal(workers[i]->posted, 0);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        worker_destroy(workers[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads_share_nothing_but_mail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
