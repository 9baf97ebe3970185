/* Clients that wait, on workers with threads of their own: who claims whom, moves between shards, drops. Run under ThreadSanitizer too. */
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

/* Keys of several shards; every request is answered, if only because its time has run out. */
static void ask(struct thread *t, int c)
{
    static const char *const requests[] = {"BLPOP a b d 0.001\r\n",
                                           "BRPOP d a 0.002\r\n",
                                           "BLMOVE a b LEFT RIGHT 0.001\r\n",
                                           "BLMOVE d a LEFT LEFT 0.002\r\n",
                                           "BLMPOP 0.001 2 b d LEFT COUNT 2\r\n",
                                           "RPUSH a x\r\n",
                                           "RPUSH b x\r\n",
                                           "RPUSH d x\r\n",
                                           "LMOVE b d LEFT RIGHT\r\n"};
    const char *text = requests[draw(&t->rng, sizeof(requests) / sizeof(requests[0]))];
    fake_send(t->client[c], text, strlen(text));
}

/* Takes whole replies from the client's output: a line, and as many as its first one says. */
static void take(struct thread *t, int c)
{
    struct tcp_conn *tc = t->client[c];
    size_t at = 0, n = 0;
    for (int more = 1; at < tc->out_len; more = 1, n = 0) {
        const char *p = (const char *)tc->out + at;
        size_t left = tc->out_len - at;
        for (; more && n < left; more--) {
            const char *nl = memchr(p + n, '\n', left - n);
            if (!nl)
                break;
            if (p[n] == '$' && p[n + 1] != '-')
                more++;
            else if (p[n] == '*' && p[n + 1] != '-')
                more += p[n + 1] - '0';
            t->torn += p[n] == '-';
            n = (size_t)(nl - p) + 1;
        }
        if (more)
            break;
        t->answered[c]++;
        at += n;
    }
    if (at)
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
        now += 10000;
        worker_turn(t->w, now, (int64_t)(now / 1000));
        if (all && !done) {
            done = true;
            __atomic_fetch_add(&finished, 1, __ATOMIC_ACQ_REL);
        }
    }
    return NULL;
}

static void test_waiting_over_threads(void **state)
{
    (void)state;
    struct engine_config config;
    engine_config_defaults(&config);
    config.protected_mode = 0;
    for (uint32_t i = 0; i < WORKERS; i++) {
        fake_worker(workers, i, WORKERS, &config, NULL);
        wheel_init(&workers[i]->timers, 1000000000); /* the test's clock is its own */
        threads[i] = (struct thread){.w = workers[i], .net = fake_last_net(), .rng = 77 + i};
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        for (int c = 0; c < CLIENTS; c++)
            threads[i].client[c] = fake_connect(threads[i].net);
    }
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_waiting_over_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
