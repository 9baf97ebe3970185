/* core_bench: what the machine charges for two cores that talk, and for memory. docs/scaling.md computes with these.
 *
 *   core_bench [--cpus A,B] [--json]
 *   core_bench --gets
 *   core_bench --fill
 *   core_bench --noise NS [--cpus A]
 *
 *   ring      two threads hand one pointer to and fro over two mail rings (engine/shard/mail.h): half a round trip, median and p99
 *   mail      the producer writes a mail of 1 KiB and passes it on, the consumer reads it and writes a line of each: a line of 64 bytes, both ways
 *   memory    a dependent walk through 256 MiB, and sums over 256 MiB by one thread and by both
 *   gets      what the memory alone charges a GET, by keys, keys at once and pages (of 4 KB, of 2 MB for the buckets, for the entries, for both): a
 *             bucket's line at random and an entry's two behind it, asked for in batches as dataplane/conn/batch.c does, and nothing else done.
 *             Before that, one line after the other: lines that the second-level cache holds, packed and each on a page of its own, which tells what a
 *             page that is not in the translation buffers costs; and lines anywhere in a gigabyte
 *   fill      a mem that grows by 150 MB a second to a gigabyte, in blocks of 96 bytes: how long 32 of them take, with memory that was there, on pages
 *             of 4 KB, on pages of 2 MB that come when they are touched, and on such that another thread has touched before (mem_ahead)
 *   noise     what the machine adds to turns that do nothing: work of NS ns in registers, again and again for ten seconds on processor A, and how long
 *             each piece took. Interrupts and the machine's host are in it, our code and its memory are not
 * Wall time: on a busy machine the medians hold and the p99 says what the others took. */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/assert.h"
#include "engine/base/mem.h"
#include "engine/base/mem_ahead.h"
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

/* A dependent walk over n lines, `stride` bytes apart, in one random cycle (Sattolo). */
static double cycle_ns(uint8_t *base, uint64_t n, size_t stride)
{
    uint64_t x = 88172645463325252ull;
    for (uint64_t i = 0; i < n; i++)
        *(uint64_t *)(void *)(base + i * stride) = i;
    for (uint64_t i = n - 1; i > 0; i--) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint64_t *a = (uint64_t *)(void *)(base + i * stride),
                 *b = (uint64_t *)(void *)(base + x % i * stride), v = *a;
        *a = *b;
        *b = v;
    }
    uint64_t i = 0, start = 0;
    for (int k = -(int)WALK_STEPS / 10; k < WALK_STEPS; k++) {
        if (k == 0)
            start = now_ns();
        i = *(uint64_t *)(void *)(base + i * stride);
    }
    bench.sum[0] += i;
    return (double)(now_ns() - start) / WALK_STEPS;
}

static double walk_ns(void)
{
    return cycle_ns(bench.walk, WALK_BYTES / LINE, LINE);
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

/* ---- what a GET waits for ---- */

#define ENTRY_BYTES 96 /* a key of 16 bytes with 64: the size class of 8 + 16 + 64 */
#define BUCKET_KEYS 7  /* of 9, as a dict that has grown holds them */
#define GETS        4000000
#define GETS_WARM   200000

struct gets {
    uint8_t *buckets, *entries;
    uint64_t nbuckets, nentries, x;
};

static uint64_t draw(struct gets *g)
{
    g->x ^= g->x << 13, g->x ^= g->x >> 7, g->x ^= g->x << 17;
    return g->x;
}

/* A batch: buckets asked for, then the entries that they name, then both lines of each read. */
static uint64_t get_batch(struct gets *g, uint32_t n)
{
    const uint8_t *p[64];
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        p[i] = g->buckets + (draw(g) >> 20) % g->nbuckets * LINE;
        __builtin_prefetch(p[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t entry;
        memcpy(&entry, p[i], sizeof(entry));
        p[i] = g->entries + (uint64_t)entry * ENTRY_BYTES;
        __builtin_prefetch(p[i]);
        __builtin_prefetch(p[i] + LINE);
    }
    for (uint32_t i = 0; i < n; i++)
        sum += p[i][0] + p[i][87];
    return sum;
}

/* Memory on pages of 4 KB or of 2 MB. */
static uint8_t *mapped(size_t bytes, bool large)
{
    uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    madvise(p, bytes, large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return p;
}

static double get_ns(uint64_t keys, uint32_t n, bool large_buckets, bool large_entries)
{
    struct gets g = {.nbuckets = keys / BUCKET_KEYS, .nentries = keys, .x = 88172645463325252ull};
    size_t buckets = g.nbuckets * LINE, entries = keys * ENTRY_BYTES;
    g.buckets = mapped(buckets, large_buckets);
    g.entries = mapped(entries, large_entries);
    memset(g.entries, 1, entries);
    for (uint64_t i = 0; i < g.nbuckets; i++) {
        uint32_t entry = (uint32_t)((draw(&g) >> 20) % keys);
        memcpy(g.buckets + i * LINE, &entry, sizeof(entry));
    }
    uint64_t start = 0;
    for (int i = -GETS_WARM; i < GETS; i += (int)n) {
        if (!start && i >= 0)
            start = now_ns();
        bench.sum[0] += get_batch(&g, n);
    }
    double took = (double)(now_ns() - start);
    munmap(g.buckets, buckets);
    munmap(g.entries, entries);
    return took / GETS;
}

/* Lines of which the second-level cache has room, and a gigabyte of them. */
#define NEAR_LINES  8192
#define FAR_BYTES   ((size_t)1 << 30)
#define PAGE_STRIDE (FAR_BYTES / NEAR_LINES - LINE) /* not always the same set of a cache */

static void lines(void)
{
    for (int large = 0; large <= 1; large++) {
        uint8_t *p = mapped(FAR_BYTES, large);
        double packed = cycle_ns(p, NEAR_LINES, LINE),
               spread = cycle_ns(p, NEAR_LINES, PAGE_STRIDE),
               far = cycle_ns(p, FAR_BYTES / LINE, LINE);
        printf("pages of %s, a line after the other: near %.1f ns, near and on a page of its own "
               "%.1f, of a "
               "gigabyte %.1f\n",
               large ? "2 MB" : "4 KB", packed, spread, far);
        munmap(p, FAR_BYTES);
    }
}

static void gets(void)
{
    static const uint64_t keys[] = {10000, 1000000, 10000000};
    pin(bench.cpu[0]);
    lines();
    for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
        for (uint32_t n = 1; n <= 64; n *= n == 1 ? 16 : 4)
            printf("%9llu keys, %2u at once: %6.1f ns a key; 2 MB for buckets %6.1f, entries "
                   "%6.1f, both "
                   "%6.1f\n",
                   (unsigned long long)keys[k], n, get_ns(keys[k], n, false, false),
                   get_ns(keys[k], n, true, false), get_ns(keys[k], n, false, true),
                   get_ns(keys[k], n, true, true));
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* ---- what new memory charges ---- */

#define FILL_BURST  32
#define FILL_BLOCKS 10000000
#define FILL_NS     (FILL_BURST * ENTRY_BYTES * 1000 / 150) /* a burst */

enum fill { FILL_THERE, FILL_SMALL, FILL_LARGE, FILL_AHEAD, FILLS };

static void *look_ahead(void *arg)
{
    (void)arg;
    struct timespec nap = {.tv_nsec = 1000000};
    pin(bench.cpu[1]);
    for (;;) {
        mem_ahead_run();
        nanosleep(&nap, NULL);
    }
    return NULL;
}

/* A machine's host may have to find memory of its own first: that is not asked for. */
static void warm_up(void)
{
    size_t bytes = (size_t)FILL_BLOCKS * ENTRY_BYTES * 5 / 4;
    uint8_t *p = mapped(bytes, false);
    memset(p, 1, bytes);
    munmap(p, bytes);
}

static void fill(enum fill how)
{
    static const char *const names[] = {"memory that was there", "4 KB", "2 MB when touched",
                                        "2 MB touched ahead"};
    static uint32_t took[FILL_BLOCKS / FILL_BURST];
    struct mem m;
    pthread_t t;
    uint8_t *there = NULL;
    pin(bench.cpu[0]);
    memset(took, 0, sizeof(took));
    warm_up();
    if (how >= FILL_LARGE)
        mem_ahead_enable();
    CHECK(mem_init(&m) == 0);
    if (how == FILL_AHEAD)
        CHECK(pthread_create(&t, NULL, look_ahead, NULL) == 0);
    if (how == FILL_THERE) {
        there = mapped((size_t)FILL_BLOCKS * ENTRY_BYTES, false);
        memset(there, 1, (size_t)FILL_BLOCKS * ENTRY_BYTES);
    }
    uint64_t due = now_ns(), sum = 0;
    size_t n = sizeof(took) / sizeof(took[0]);
    for (size_t i = 0; i < n; i++) {
        uint64_t start;
        while ((start = now_ns()) < due) {
        }
        for (int k = 0; k < FILL_BURST; k++) {
            uint8_t *p = there ? there + (i * FILL_BURST + (size_t)k) * ENTRY_BYTES
                               : mem_alloc(&m, ENTRY_BYTES);
            CHECK(p);
            memset(p, 1, ENTRY_BYTES);
        }
        took[i] = (uint32_t)(now_ns() - start);
        sum += took[i];
        due += FILL_NS;
    }
    qsort(took, n, sizeof(took[0]), by_number);
    printf("%-22s %d blocks: mean %.2f us, p50 %.2f, p99 %.2f, p99.9 %.1f, p99.99 %.0f, longest "
           "%.0f\n",
           names[how], FILL_BURST, (double)sum / (double)n / 1e3, took[n / 2] / 1e3,
           took[n - 1 - n / 100] / 1e3, took[n - 1 - n / 1000] / 1e3, took[n - 1 - n / 10000] / 1e3,
           took[n - 1] / 1e3);
    fflush(stdout);
    _exit(0); /* the thread with it */
}

/* A process each: what a mem takes its memory from is decided once. */
static void fills(void)
{
    for (int how = 0; how < FILLS; how++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            fill((enum fill)how);
        waitpid(pid, NULL, 0);
    }
}

/* ---- noise ---- */

#define NOISE_NS 10000000000ull

static uint64_t work(uint64_t steps)
{
    uint64_t x = 1;
    for (uint64_t i = 0; i < steps; i++) {
        x = x * 0x9e3779b97f4a7c15ull + i;
        __asm__ volatile("" : "+r"(x));
    }
    return x;
}

static uint64_t took_ns(uint64_t steps)
{
    uint64_t start = now_ns();
    bench.sum[0] += work(steps);
    return now_ns() - start;
}

/* So many steps that the shortest of many pieces takes ns. */
static uint64_t steps_of(uint64_t ns)
{
    uint64_t least = UINT64_MAX, steps = 1000;
    for (int i = 0; i < 1000; i++) {
        uint64_t t = took_ns(steps);
        least = t < least ? t : least;
    }
    return ns * steps / least;
}

static void noise(uint64_t ns)
{
    size_t most = NOISE_NS / ns, n = 0;
    uint32_t *took = malloc(most * sizeof(*took));
    CHECK(took);
    memset(took, 0, most * sizeof(*took)); /* its pages, before they count */
    pin(bench.cpu[0]);
    uint64_t steps = steps_of(ns), end = now_ns() + NOISE_NS;
    while (n < most && now_ns() < end)
        took[n++] = (uint32_t)took_ns(steps);
    qsort(took, n, sizeof(took[0]), by_number);
    printf("%zu pieces of %llu ns: p50 %.2f us, p99 %.2f, p99.9 %.2f, p99.99 %.2f, longest %.0f\n",
           n, (unsigned long long)ns, took[n / 2] / 1e3, took[n - 1 - n / 100] / 1e3,
           took[n - 1 - n / 1000] / 1e3, took[n - 1 - n / 10000] / 1e3, took[n - 1] / 1e3);
    free(took);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"cpus", required_argument, NULL, 'c'},  {"json", no_argument, NULL, 'j'},
        {"gets", no_argument, NULL, 'g'},        {"fill", no_argument, NULL, 'f'},
        {"noise", required_argument, NULL, 'n'}, {NULL, 0, NULL, 0}};
    uint64_t noise_ns = 0;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'j') {
            bench.json = true;
        } else if (o == 'g') {
            gets();
            return bench.sum[0] == 1;
        } else if (o == 'f') {
            fills();
            return 0;
        } else if (o == 'n' && atoi(optarg) >= 100) {
            noise_ns = (uint64_t)atoi(optarg);
        } else if (o != 'c' || sscanf(optarg, "%d,%d", &bench.cpu[0], &bench.cpu[1]) < 1) {
            fprintf(stderr, "core_bench [--cpus A,B] [--json | --gets | --fill | --noise NS]\n");
            return 2;
        }
    }
    if (noise_ns) {
        noise(noise_ns);
        return bench.sum[0] == 1;
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
