/* fsync_bench: ways to get a group of the log onto the disk, beside one another: what decisions/0008 quotes.
 *
 *     build/tests/bench/fsync_bench DIR [ROUNDS] [busy]
 *
 * Each way appends groups of as many bytes as 1, 16, 128 and 256 SETs of 64 bytes make, in turns of 32 groups, so that what else happens on the machine happens to all.
 * "us": from the group's write to its end on the disk, median and 90 of a hundred (several in flight: a group's share of the turn); "CPU": of this process, the
 * kernel's io_uring workers included. "zeros": over bytes that were written before, where no journal of the file system takes part. busy: each core has something
 * else to do as well. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/assert.h"

#define TURN        32
#define MAX_ROUNDS  1000
#define MAX_FLIGHT  3
#define SET_BYTES   110 /* a SET of 16 + 64 bytes, with its share of the group's end */
#define ZEROS_BYTES (4u << 20)

/* ---- io_uring, by its system calls ---- */

struct uring {
    int fd; /* -errno: the kernel refuses it */
    unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
};

static void *map(int fd, size_t n, uint64_t offset)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)offset);
    CHECK(p != MAP_FAILED);
    return p;
}

static struct uring uring_open(void)
{
    struct io_uring_params p = {.flags = 0};
    struct uring u = {.fd = (int)syscall(SYS_io_uring_setup, 16, &p)};
    if (u.fd < 0) {
        u.fd = -errno;
        return u;
    }
    uint8_t *sq = map(u.fd, p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    uint8_t *cq = map(u.fd, p.cq_off.cqes + p.cq_entries * sizeof(*u.cqes), IORING_OFF_CQ_RING);
    u.sqes = map(u.fd, p.sq_entries * sizeof(*u.sqes), IORING_OFF_SQES);
    u.sq_tail = (unsigned *)(sq + p.sq_off.tail);
    u.sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
    u.sq_array = (unsigned *)(sq + p.sq_off.array);
    u.cq_head = (unsigned *)(cq + p.cq_off.head);
    u.cq_tail = (unsigned *)(cq + p.cq_off.tail);
    u.cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
    u.cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    return u;
}

static struct io_uring_sqe *uring_next(struct uring *u, int op, int fd)
{
    unsigned tail = *u->sq_tail, i = tail & *u->sq_mask;
    struct io_uring_sqe *e = &u->sqes[i];
    memset(e, 0, sizeof(*e));
    e->opcode = (uint8_t)op;
    e->fd = fd;
    u->sq_array[i] = i;
    __atomic_store_n(u->sq_tail, tail + 1, __ATOMIC_RELEASE);
    return e;
}

static void uring_enter(struct uring *u, unsigned submit, unsigned wait)
{
    long rc;
    do
        rc = syscall(SYS_io_uring_enter, u->fd, submit, wait, wait ? IORING_ENTER_GETEVENTS : 0,
                     NULL, 0);
    while (rc < 0 && errno == EINTR);
    CHECK(rc >= 0);
}

/* What has ended. */
static unsigned uring_reap(struct uring *u)
{
    unsigned n = 0, head = *u->cq_head;
    for (; head != __atomic_load_n(u->cq_tail, __ATOMIC_ACQUIRE); head++, n++)
        CHECK(u->cqes[head & *u->cq_mask].res >= 0);
    __atomic_store_n(u->cq_head, head, __ATOMIC_RELEASE);
    return n;
}

/* ---- the ways ---- */

enum how { SYNC, DSYNC, LINKED, URING_DSYNC, THREADS };

struct way {
    const char *name;
    enum how how;
    unsigned flight;
    bool zeros;
    int fd;
    uint64_t at;
    double us[MAX_ROUNDS * TURN];
    size_t n;
    double cpu_us, wall_us;
};

static uint8_t group[256 * SET_BYTES];
static struct uring uring;

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double cpu_us(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

/* The next group's chain; returns how many ends it has. */
static unsigned uring_put(struct way *w, size_t n)
{
    bool linked = w->how == LINKED;
    struct io_uring_sqe *e = uring_next(&uring, IORING_OP_WRITE, w->fd);
    e->addr = (uint64_t)(uintptr_t)group;
    e->len = (unsigned)n;
    e->off = w->at;
    e->flags = linked ? IOSQE_IO_LINK : 0;
    e->rw_flags = linked ? 0 : RWF_DSYNC;
    if (linked)
        uring_next(&uring, IORING_OP_FSYNC, w->fd)->fsync_flags = IORING_FSYNC_DATASYNC;
    w->at += n;
    return linked ? 2 : 1;
}

static void one_group(struct way *w, size_t n)
{
    struct iovec v = {.iov_base = group, .iov_len = n};
    if (w->how == LINKED || w->how == URING_DSYNC) {
        unsigned ends = uring_put(w, n);
        uring_enter(&uring, ends, ends);
        while (ends)
            ends -= uring_reap(&uring);
        return;
    }
    CHECK(pwritev2(w->fd, &v, 1, (off_t)w->at, w->how == DSYNC ? RWF_DSYNC : 0) == (ssize_t)n);
    CHECK(w->how == DSYNC || fdatasync(w->fd) == 0);
    w->at += n;
}

static void turn_of_one(struct way *w, size_t n)
{
    for (int i = 0; i < TURN; i++) {
        double begin = now_us();
        one_group(w, n);
        w->us[w->n++] = now_us() - begin;
    }
}

static void turn_of_uring(struct way *w, size_t n)
{
    unsigned open = 0, begun = 0, each = w->how == LINKED ? 2 : 1;
    while (begun < TURN || open) {
        unsigned put = 0;
        for (; begun < TURN && open < w->flight * each; begun++, open += each)
            put += uring_put(w, n);
        uring_enter(&uring, put, 1);
        open -= uring_reap(&uring);
    }
}

struct syncer {
    struct way *w;
    size_t n;
    int left;
};

static pthread_mutex_t append = PTHREAD_MUTEX_INITIALIZER;

static void *sync_some(void *arg)
{
    struct syncer *s = arg;
    for (bool more = true; more;) {
        pthread_mutex_lock(&append);
        more = s->left-- > 0;
        if (more) {
            CHECK(pwrite(s->w->fd, group, s->n, (off_t)s->w->at) == (ssize_t)s->n);
            s->w->at += s->n;
        }
        pthread_mutex_unlock(&append);
        CHECK(!more || fdatasync(s->w->fd) == 0);
    }
    return NULL;
}

static void turn_of_threads(struct way *w, size_t n)
{
    pthread_t thread[MAX_FLIGHT];
    struct syncer s = {.w = w, .n = n, .left = TURN};
    for (unsigned i = 0; i < w->flight; i++)
        CHECK(pthread_create(&thread[i], NULL, sync_some, &s) == 0);
    for (unsigned i = 0; i < w->flight; i++)
        pthread_join(thread[i], NULL);
}

static void turn(struct way *w, size_t n)
{
    if (w->zeros && w->at + TURN * n > ZEROS_BYTES)
        w->at = 0;
    double begin = now_us(), cpu = cpu_us();
    if (w->flight == 1)
        turn_of_one(w, n);
    else if (w->how == THREADS)
        turn_of_threads(w, n);
    else
        turn_of_uring(w, n);
    double took = now_us() - begin;
    w->cpu_us += cpu_us() - cpu;
    w->wall_us += took;
    if (w->flight > 1)
        w->us[w->n++] = took / TURN;
}

/* ---- the rows ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void prepare(struct way *w, const char *dir)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/fsync_bench.tmp", dir);
    w->fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(w->fd >= 0 && unlink(path) == 0);
    w->at = w->n = 0;
    w->cpu_us = w->wall_us = 0;
    for (size_t at = 0; w->zeros && at < ZEROS_BYTES; at += 1u << 16) {
        static const uint8_t zeros[1u << 16];
        CHECK(pwrite(w->fd, zeros, sizeof(zeros), (off_t)at) == sizeof(zeros));
    }
    CHECK(fsync(w->fd) == 0);
}

static struct way ways[] = {
    {.name = "write, fdatasync", .how = SYNC, .flight = 1},
    {.name = "write with RWF_DSYNC", .how = DSYNC, .flight = 1},
    {.name = "io_uring: write -> fdatasync", .how = LINKED, .flight = 1},
    {.name = "io_uring: write with RWF_DSYNC", .how = URING_DSYNC, .flight = 1},
    {.name = "3 threads: write, fdatasync", .how = THREADS, .flight = 3},
    {.name = "io_uring, 3 in flight: write -> fdatasync", .how = LINKED, .flight = 3},
    {.name = "io_uring, 3 in flight: RWF_DSYNC", .how = URING_DSYNC, .flight = 3},
    {.name = "zeros: write, fdatasync", .how = SYNC, .flight = 1, .zeros = true},
    {.name = "zeros: write with RWF_DSYNC", .how = DSYNC, .flight = 1, .zeros = true},
    {.name = "zeros, io_uring: write -> fdatasync", .how = LINKED, .flight = 1, .zeros = true},
    {.name = "zeros, io_uring, 3: write -> fdatasync", .how = LINKED, .flight = 3, .zeros = true},
};

static void rows(const char *dir, unsigned rounds, unsigned sets)
{
    for (size_t i = 0; i < ARRAY_LEN(ways); i++)
        prepare(&ways[i], dir);
    for (unsigned r = 0; r < rounds; r++)
        for (size_t i = 0; i < ARRAY_LEN(ways); i++)
            if (uring.fd >= 0 || (ways[i].how != LINKED && ways[i].how != URING_DSYNC))
                turn(&ways[i], (size_t)sets * SET_BYTES);
    printf("\n%u SETs, %u bytes a group %24s %8s %8s\n", sets, sets * SET_BYTES, "us", "90 %",
           "CPU");
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct way *w = &ways[i];
        close(w->fd);
        if (!w->n)
            continue;
        qsort(w->us, w->n, sizeof(w->us[0]), by_size);
        printf("%-44s %10.0f %8.0f %8.0f\n", w->name, w->us[w->n / 2], w->us[w->n * 9 / 10],
               w->cpu_us / rounds / TURN);
    }
}

static void keep_busy(int core)
{
    cpu_set_t set;
    if (fork())
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    sched_setaffinity(0, sizeof(set), &set);
    for (;;)
        __asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 20;
    if (argc < 2 || !rounds || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: fsync_bench DIR [ROUNDS, at most %d] [busy]\n", MAX_ROUNDS);
        return 2;
    }
    for (long i = 0; argc > 3 && i < sysconf(_SC_NPROCESSORS_ONLN); i++)
        keep_busy((int)i);
    memset(group, 'x', sizeof(group));
    uring = uring_open();
    if (uring.fd < 0)
        printf("io_uring_setup: %s\n", strerror(-uring.fd));
    static const unsigned sets[] = {1, 16, 128, 256};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        rows(argv[1], rounds, sets[i]);
    return 0;
}
