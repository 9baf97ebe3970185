/* Clients that wait, on workers with threads of their own: who claims whom, moves between shards, drops. Run under ThreadSanitizer too. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

#define WORKERS  3
#define CLIENTS  4                              /* of each worker */
#define REQUESTS 250                            /* of each client */
#define ELEMENTS (WORKERS * CLIENTS * REQUESTS) /* more than are pushed */

struct thread {
    pthread_t id;
    struct worker *w;
    struct net *net;
    struct tcp_conn *client[CLIENTS];
    int answered[CLIENTS];
    uint64_t rng, torn;
    uint32_t pushed;          /* element "eN" of worker w: N = pushed * WORKERS + w */
    uint8_t popped[ELEMENTS]; /* how often its clients were given it */
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
                                           "RPUSH a e%u\r\n",
                                           "RPUSH b e%u\r\n",
                                           "RPUSH d e%u\r\n",
                                           "LMOVE b d LEFT RIGHT\r\n"};
    const char *text = requests[draw(&t->rng, sizeof(requests) / sizeof(requests[0]))];
    char line[64];
    int n = snprintf(line, sizeof(line), "%s", text);
    if (strchr(text, '%'))
        n = snprintf(line, sizeof(line), "RPUSH %c e%u\r\n", text[6],
                     t->pushed++ * WORKERS + t->w->id);
    fake_send(t->client[c], line, (size_t)n);
}

/* Elements in an array have left their list; one that is moved is a string. */
static void note_elements(uint8_t *times, const char *p, size_t n)
{
    for (size_t i = 0; *p == '*' && i + 1 < n; i++)
        if (p[i] == '\n' && p[i + 1] == 'e')
            times[strtoul(p + i + 2, NULL, 10)]++;
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
        note_elements(t->popped, p, n);
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

/* All that was pushed was given to one client, or is still there, once. */
static void check_elements(void)
{
    static uint8_t left[ELEMENTS];
    struct tcp_conn *tc = fake_connect(threads[0].net);
    uint64_t pushed = 0;
    memset(left, 0, sizeof(left));
    for (int key = 0; key < 3; key++) {
        char line[32];
        int n = snprintf(line, sizeof(line), "LRANGE %c 0 -1\r\n", "abd"[key]);
        fake_send(tc, line, (size_t)n);
        for (int k = 0; k < 300; k++)
            for (uint32_t i = 0; i < WORKERS; i++)
                worker_turn(workers[i], 2000000000ull + (uint64_t)k, 2000000 + k);
        note_elements(left, (char *)tc->out, tc->out_len);
        tc->out_len = 0;
    }
    leave(tc);
    for (uint32_t i = 0; i < WORKERS; i++) {
        for (uint32_t e = i; e < ELEMENTS; e += WORKERS) {
            uint32_t times = left[e];
            for (uint32_t w = 0; w < WORKERS; w++)
                times += threads[w].popped[e];
            assert_int_equal(times, e / WORKERS < threads[i].pushed);
        }
        pushed += threads[i].pushed;
    }
    assert_true(pushed > 0);
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
    check_elements();
    for (uint32_t i = 0; i < WORKERS; i++)
        worker_destroy(workers[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_waiting_over_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
