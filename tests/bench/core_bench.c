/* core_bench: what the machine charges for two cores that talk, and for memory. docs/scaling.md computes with these.
 *
 *   core_bench [--cpus A,B] [--json]
 *
 *   ring      two threads hand one pointer to and fro over two mail rings (engine/shard/mail.h): half a round trip, median and p99
 *   mail      the producer writes a mail of 1 KiB and passes it on, the consumer reads it and writes a line of each: a line of 64 bytes, both ways
 *   memory    a dependent walk through 256 MiB, and sums over 256 MiB by one thread and by both
 * Wall time: on a busy machine the medians hold and the p99 says what the others took. */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/assert.h"
#include "engine/shard/mail.h"

#define ROUNDS     200000
#define MAILS      200000
#define MAIL_BYTES 1024
#define MAIL_COUNT 64 /* in flight at most */
#define LINE       64
#define WALK_BYTES (256u << 20)
#define WALK_STEPS 2000000

static struct {
    int cpu[2];
    bool json;
    struct mail_ring ring[2];
    uint8_t *mails, *walk;
    uint64_t sum[2];
    pthread_barrier_t start;
    double sum_ns[2];
} bench = {.cpu = {0, 1}};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        perror("core_bench: not pinned");
}

static void *wait_for(struct mail_ring *r)
{
    void *m;
    uint64_t spins = 0;
    while (!(m = mail_pop(r)))
        if ((++spins & 0xffff) == 0)
            sched_yield(); /* both threads may share a core */
    return m;
}

static void pass(struct mail_ring *r, void *m)
{
    while (!mail_push(r, m))
        sched_yield();
    mail_flush(r);
}

/* ---- one pointer to and fro ---- */

static void *echo(void *arg)
{
    (void)arg;
    pin(bench.cpu[1]);
    for (int i = 0; i < ROUNDS; i++)
        pass(&bench.ring[1], wait_for(&bench.ring[0]));
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void ring(double *median, double *p99)
{
    static double half[ROUNDS];
    pthread_t t;
    int token;
    CHECK(pthread_create(&t, NULL, echo, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = now_ns();
        pass(&bench.ring[0], &token);
        wait_for(&bench.ring[1]);
        half[i] = (double)(now_ns() - start) / 2;
    }
    pthread_join(t, NULL);
    qsort(half, ROUNDS, sizeof(half[0]), by_value);
    *median = half[ROUNDS / 2];
    *p99 = half[ROUNDS - ROUNDS / 100];
}

/* ---- mails with something in them ---- */

static void *reader(void *arg)
{
    (void)arg;
    pin(bench.cpu[1]);
    for (int i = 0; i < MAILS; i++) {
        uint8_t *m = wait_for(&bench.ring[0]);
        for (size_t k = 0; k < MAIL_BYTES; k += LINE)
            m[k]++;
        pass(&bench.ring[1], m);
    }
    return NULL;
}

static double mail_line_ns(void)
{
    pthread_t t;
    CHECK(pthread_create(&t, NULL, reader, NULL) == 0);
    uint64_t start = now_ns();
    for (int i = 0, back = 0; back < MAILS;) {
        for (; i < MAILS && i - back < MAIL_COUNT; i++) {
            uint8_t *m = bench.mails + (size_t)(i % MAIL_COUNT) * MAIL_BYTES;
            memset(m, i, MAIL_BYTES);
            pass(&bench.ring[0], m);
        }
        const uint8_t *m = wait_for(&bench.ring[1]);
        for (size_t k = 0; k < MAIL_BYTES; k += LINE)
            bench.sum[0] += m[k];
        back++;
    }
    double ns = (double)(now_ns() - start);
    pthread_join(t, NULL);
    return ns / MAILS / (MAIL_BYTES / LINE);
}

/* ---- memory ---- */

static double walk_ns(void)
{
    uint64_t *at = (uint64_t *)(void *)bench.walk, n = WALK_BYTES / LINE, x = 88172645463325252ull;
    for (uint64_t i = 0; i < n; i++)
        at[i * 8] = i;
    for (uint64_t i = n - 1; i > 0; i--) { /* one cycle over all lines (Sattolo) */
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint64_t j = x % i, v = at[i * 8];
        at[i * 8] = at[j * 8];
        at[j * 8] = v;
    }
    uint64_t i = 0, start = now_ns();
    for (int k = 0; k < WALK_STEPS; k++)
        i = at[i * 8];
    bench.sum[0] += i;
    return (double)(now_ns() - start) / WALK_STEPS;
}

static void *sum_up(void *arg)
{
    size_t who = (size_t)arg;
    const uint64_t *at = (const uint64_t *)(const void *)bench.walk;
    uint64_t sum = 0;
    pin(bench.cpu[who]);
    pthread_barrier_wait(&bench.start);
    uint64_t start = now_ns();
    for (size_t i = 0; i < WALK_BYTES / 8; i += 4)
        sum += at[i] + at[i + 1] + at[i + 2] + at[i + 3];
    bench.sum_ns[who] = (double)(now_ns() - start);
    bench.sum[who] += sum;
    return NULL;
}

/* GB/s of all threads together. */
static double bandwidth(unsigned threads)
{
    pthread_t t[2];
    double most = 0;
    pthread_barrier_init(&bench.start, NULL, threads);
    for (size_t i = 0; i < threads; i++)
        CHECK(pthread_create(&t[i], NULL, sum_up, (void *)i) == 0);
    for (size_t i = 0; i < threads; i++)
        pthread_join(t[i], NULL);
    pthread_barrier_destroy(&bench.start);
    for (size_t i = 0; i < threads; i++)
        most = bench.sum_ns[i] > most ? bench.sum_ns[i] : most;
    return (double)threads * WALK_BYTES / most;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"cpus", required_argument, NULL, 'c'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'j') {
            bench.json = true;
        } else if (o != 'c' || sscanf(optarg, "%d,%d", &bench.cpu[0], &bench.cpu[1]) != 2) {
            fprintf(stderr, "core_bench [--cpus A,B] [--json]\n");
            return 2;
        }
    }
    double median, p99;
    bench.mails = aligned_alloc(LINE, (size_t)MAIL_COUNT * MAIL_BYTES);
    bench.walk = aligned_alloc(4096, WALK_BYTES);
    CHECK(bench.mails && bench.walk);
    pin(bench.cpu[0]);
    ring(&median, &p99);
    double line = mail_line_ns(), walk = walk_ns(), one = bandwidth(1), two = bandwidth(2);
    printf(bench.json ? "{\"ring_ns\": %.1f, \"ring_p99_ns\": %.1f, \"line_ns\": %.2f, "
                        "\"memory_ns\": %.1f, \"one_gb_s\": %.2f, \"two_gb_s\": %.2f}\n"
                      : "ring, one way: %.0f ns (p99 %.0f)\nmail, a line there and back: %.1f ns\n"
                        "memory: %.0f ns a miss, %.1f GB/s by one core, %.1f by two\n",
           median, p99, line, walk, one, two);
    free(bench.mails);
    free(bench.walk);
    return bench.sum[0] + bench.sum[1] == 1; /* so that nothing is left out */
}
