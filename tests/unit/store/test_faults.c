/* Every call of the journal's writer that can fail does fail, one after another: the n-th call to the disk with EIO or ENOSPC, or in the middle of a write, once or three times
 * running; the n-th allocation. Whatever it is: at no moment is more told as durable than a power cut would leave, or as written than the file holds; and when the disk is well
 * again, all of it gets there, each record once and in order.
 *
 * n counts until a run ends without having reached it, so no call is left out. disk.h keeps what a power cut would leave; nanosleep is shortened. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "control/store/file_ops.h"
#include "control/store/journal.h"
#include "control/store/manifest.h"
#include "engine/log/aof.h"
#include "tests/unit/store/disk.h"
#include "tests/unit/store/rings.h"
#include "tests/unit/unit.h"

#define RECORDS 12

enum kind { KIND_EIO, KIND_ENOSPC, KIND_SHORT };

static struct {
    int at, times, calls; /* the at-th call fails, and those behind it; 0: none */
    enum kind kind;
    int fired;
    int alloc_at, alloc_times, allocs; /* alloc_times 0: once */
    bool looks;                        /* at the promises before each call */
} fault;

static struct rings r;
static struct file_ops below;
static __thread bool of_test; /* allocations here are the test's own */

/* ---- promises ---- */

struct found {
    uint64_t seq[LIMIT_WORKERS];
};

static void note(void *ctx, uint32_t shard, uint64_t seq)
{
    struct found *f = ctx;
    if (seq > f->seq[shard])
        f->seq[shard] = seq;
}

/* The numbers in the good part of such a file. */
static void find(struct span file, struct found *ret)
{
    struct aof_check c;
    uint32_t argc, generation;
    *ret = (struct found){{0}};
    aof_check(file, 0, &c);
    for (uint64_t at = 0, n; at < c.good_bytes && (n = aof_next(file, at, NULL, 0, &argc)); at += n)
        if (!argc)
            aof_read_shards(span_of(file.p + at, n), &generation, note, ret);
}

static struct span read_file(void)
{
    static uint8_t bytes[1 << 20];
    int fd = open(r.path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, bytes, sizeof bytes);
    if (fd >= 0)
        close(fd);
    return span_of(bytes, n > 0 ? (size_t)n : 0);
}

/* Told first, then looked up: what is told in between is there all the more. */
static void look(void)
{
    const struct link_journal *page = link_journal(r.control);
    uint64_t durable[2], written[2];
    struct found disk_has_it, file_has_it;
    for (int i = 0; i < 2; i++) {
        durable[i] = __atomic_load_n(&page->durable[i], __ATOMIC_ACQUIRE);
        written[i] = __atomic_load_n(&page->written[i], __ATOMIC_ACQUIRE);
    }
    find(span_of(disk.image, disk.image_bytes), &disk_has_it);
    find(read_file(), &file_has_it);
    for (int i = 0; i < 2; i++) {
        if (durable[i] > disk_has_it.seq[i])
            fail_msg("shard %d: %d is told as durable, a power cut would leave %d", i,
                     (int)durable[i], (int)disk_has_it.seq[i]);
        if (written[i] > file_has_it.seq[i])
            fail_msg("shard %d: %d is told as written, the file has %d", i, (int)written[i],
                     (int)file_has_it.seq[i]);
    }
}

/* ---- calls that fail ---- */

static bool fails(void)
{
    if (fault.looks)
        look();
    int n = __atomic_add_fetch(&fault.calls, 1, __ATOMIC_SEQ_CST);
    if (!fault.at || n < fault.at || n >= fault.at + fault.times)
        return false;
    fault.fired++;
    errno = fault.kind == KIND_EIO ? EIO : ENOSPC;
    return true;
}

static int bad_open(const char *path, int flags, mode_t mode)
{
    return fails() ? -1 : below.open(path, flags, mode);
}

static ssize_t bad_read(int fd, void *to, size_t n)
{
    return fails() ? -1 : below.read(fd, to, n);
}

static ssize_t bad_write(int fd, const void *p, size_t n)
{
    if (!fails())
        return below.write(fd, p, n);
    if (fault.kind == KIND_SHORT && n > 1)
        return below.write(fd, p, n / 2);
    return -1;
}

/* What was not written back is forgotten, as disk.h says. */
static int bad_fdatasync(int fd)
{
    if (fails())
        __atomic_store_n(&disk.fsync_fails, 1, __ATOMIC_SEQ_CST);
    disk.error = fault.kind == KIND_EIO ? EIO : ENOSPC;
    return below.fdatasync(fd);
}

static int bad_fsync(int fd)
{
    if (fails())
        __atomic_store_n(&disk.fsync_fails, 1, __ATOMIC_SEQ_CST);
    disk.error = fault.kind == KIND_EIO ? EIO : ENOSPC;
    int rc = below.fsync(fd);
    if (!rc && __atomic_exchange_n(&disk.fsync_fails, 0, __ATOMIC_SEQ_CST)) { /* a directory */
        errno = disk.error;
        return -1;
    }
    return rc;
}

static int bad_ftruncate(int fd, off_t n)
{
    return fails() ? -1 : below.ftruncate(fd, n);
}

static int bad_rename(const char *from, const char *to)
{
    return fails() ? -1 : below.rename(from, to);
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t of);
void *__real_realloc(void *p, size_t n);
int __real_nanosleep(const struct timespec *t, struct timespec *left);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t of);
void *__wrap_realloc(void *p, size_t n);
int __wrap_nanosleep(const struct timespec *t, struct timespec *left);

static bool no_memory(void)
{
    if (!fault.alloc_at || of_test)
        return false;
    int n = __atomic_add_fetch(&fault.allocs, 1, __ATOMIC_SEQ_CST);
    return n >= fault.alloc_at && n <= fault.alloc_at + fault.alloc_times && ++fault.fired;
}

void *__wrap_malloc(size_t n)
{
    return no_memory() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t of)
{
    return no_memory() ? NULL : __real_calloc(n, of);
}

void *__wrap_realloc(void *p, size_t n)
{
    return no_memory() ? NULL : __real_realloc(p, n);
}

int __wrap_nanosleep(const struct timespec *t, struct timespec *left)
{
    struct timespec less = {0, t->tv_nsec / 50};
    return __real_nanosleep(&less, left);
}

/* ---- a run ---- */

static void begin(void)
{
    rings_begin(&r, 2);
    disk_begin();
    below = file_ops;
    file_ops.open = bad_open;
    file_ops.read = bad_read;
    file_ops.write = bad_write;
    file_ops.fsync = bad_fsync;
    file_ops.fdatasync = bad_fdatasync;
    file_ops.ftruncate = bad_ftruncate;
    file_ops.rename = bad_rename;
}

static void end(void)
{
    file_ops = below;
    disk_end();
    rings_end(&r);
}

static bool told(const uint64_t *page)
{
    for (int i = 0; i < 2; i++)
        if (__atomic_load_n(&page[i], __ATOMIC_ACQUIRE) != r.seq[i])
            return false;
    return true;
}

/* Records of both workers, of one shard and of two, short and long. */
static void put_record(int i)
{
    char key[16];
    sprintf(key, "k%d", i);
    uint64_t shards = i % 3 == 2 ? 3 : 1ull << i % 2;
    rings_put(&r, i % 2, shards, key, (char)('a' + i), i % 5 == 4 ? 150000 : 50 + (size_t)i);
}

/* Each once, those of one worker in their order. `closed`: that is what was told of it; else its last line may be missing. */
static void check_file(bool closed)
{
    struct aof_check c;
    struct span argv[3], f = read_file();
    uint32_t argc;
    int next[2] = {0, 1};
    aof_check(f, 0, &c);
    assert_true(c.verdict != AOF_DAMAGED);
    assert_true(!closed || (c.verdict == AOF_WHOLE && c.closed));
    f.n = c.good_bytes;
    for (uint64_t at = 0, n; (n = aof_next(f, at, argv, 3, &argc)); at += n) {
        if (argc < 3)
            continue;
        int i = argv[2].p[0] - 'a';
        char key[16];
        assert_true(i >= 0 && i < RECORDS);
        assert_int_equal(next[i % 2], i);
        sprintf(key, "k%d", i);
        assert_true(span_is(argv[1], key));
        next[i % 2] += 2;
    }
    assert_int_equal(next[0], RECORDS);
    assert_int_equal(next[1], RECORDS + 1);
}

/* The file may not be had: then the server does not start, and somebody tries again. */
static struct journal *open_journal(enum journal_fsync policy)
{
    struct journal *j = NULL;
    of_test = false;
    for (int i = 0; !j && i < 8; i++) {
        j = journal_open(policy);
        if (j && (journal_file(j, r.path, 1, 1) ||
                  journal_attach(j, r.control, NULL, (struct span){0}))) {
            journal_free(j);
            j = NULL;
        }
    }
    of_test = true;
    assert_non_null(j);
    return j;
}

/* Closes it and looks at the file. Whether a fault was met. */
static bool finish(struct journal *j)
{
    of_test = false;
    bool closed = journal_close_file(j, true) == 0;
    of_test = true;
    journal_free(j);
    fault.looks = false;
    check_file(closed);
    bool fired = fault.fired;
    end();
    return fired;
}

/* Whether a fault was met. Every third record is waited for, so that there are several groups. */
static bool run(enum journal_fsync policy)
{
    const struct link_journal *page;
    of_test = true;
    begin();
    fault.calls = fault.allocs = fault.fired = 0;
    fault.looks = true;
    page = link_journal(r.control);
    struct journal *j = open_journal(policy);
    for (int i = 0; i < RECORDS; i++) {
        put_record(i);
        link_journal_wake(r.dataplane);
        if (i % 3 == 2)
            RINGS_UNTIL(told(policy == FSYNC_ALWAYS ? page->durable : page->written));
        look();
    }
    journal_drain(j, false);
    RINGS_UNTIL(journal_status(j).drained);
    look();
    assert_true(told(page->durable));
    assert_int_equal(page->error, 0);
    return finish(j);
}

static void every_call(enum journal_fsync policy)
{
    int runs = 0;
    for (int kind = KIND_EIO; kind <= KIND_SHORT; kind++)
        for (int times = 1; times <= 3; times += 2)
            for (int n = 1, more = 1; more; n++, runs++) {
                memset(&fault, 0, sizeof fault);
                fault.at = n;
                fault.kind = (enum kind)kind;
                fault.times = times;
                more = run(policy);
            }
    print_message("%d runs\n", runs);
    assert_true(runs > 60);
}

static void test_every_call_fails_always(void **state)
{
    every_call(FSYNC_ALWAYS);
}

static void test_every_call_fails_everysec(void **state)
{
    every_call(FSYNC_EVERYSEC);
}

static void test_every_allocation_fails(void **state)
{
    int n = 1;
    do {
        memset(&fault, 0, sizeof fault);
        fault.alloc_at = n;
    } while (run(n % 2 ? FSYNC_ALWAYS : FSYNC_EVERYSEC) && n++ < 10000);
    print_message("%d allocations\n", n - 1);
    memset(&fault, 0, sizeof fault);
    assert_true(n > 3);
}

/* The dataplane is dead, and all it has written is in the rings. Whether a fault was met. */
static bool run_drain(void)
{
    of_test = true;
    begin();
    fault.calls = fault.allocs = fault.fired = 0;
    fault.looks = true;
    for (int i = 0; i < RECORDS; i++)
        put_record(i);
    struct journal *j = open_journal(FSYNC_EVERYSEC);
    journal_drain(j, false);
    RINGS_UNTIL(journal_status(j).drained);
    assert_true(told(link_journal(r.control)->durable));
    return finish(j);
}

/* No memory for a record was taken for the end of all: the rings were called drained, and what was still in them went with the next dataplane. */
static void test_drained_without_memory(void **state)
{
    int runs = 0;
    for (int times = 0; times <= 3; times++)
        for (int n = 1, more = 1; more; n++, runs++) {
            memset(&fault, 0, sizeof fault);
            fault.alloc_at = n;
            fault.alloc_times = times;
            more = run_drain();
        }
    for (int n = 1, more = 1; more; n++, runs++) {
        memset(&fault, 0, sizeof fault);
        fault.at = n;
        fault.times = 2;
        fault.kind = (enum kind)(n % 3);
        more = run_drain();
    }
    memset(&fault, 0, sizeof fault);
    print_message("%d runs\n", runs);
    assert_true(runs > 20);
}

/* The manifest is the old one or the new one, never a part of either; when it was said to be written it is the new one. */
static void test_manifest_every_call_fails(void **state)
{
    static struct manifest m, got;
    char err[9000];
    int n = 1;
    for (bool more = true; more; n++) {
        memset(&fault, 0, sizeof fault);
        begin();
        memset(&m, 0, sizeof m);
        snprintf(m.dir, sizeof m.dir, "%s", r.dir);
        snprintf(m.prefix, sizeof m.prefix, "log");
        assert_true(manifest_add_incr(&m));
        assert_int_equal(manifest_write(&m, NULL), 0);
        assert_true(manifest_add_incr(&m));
        fault.at = n;
        fault.times = 1;
        fault.calls = 0;
        fault.kind = (enum kind)(n % 3);
        int rc = manifest_write(&m, NULL);
        fault.at = 0;
        assert_int_equal(manifest_read(&got, r.dir, ".", "log", err, sizeof err), 0);
        assert_true(got.incrs == 2 || (rc && got.incrs == 1));
        assert_true(rc < 0 || !fault.fired || fault.kind == KIND_SHORT);
        more = fault.fired;
        assert_int_equal(manifest_write(&m, NULL), 0);
        assert_int_equal(manifest_read(&got, r.dir, ".", "log", err, sizeof err), 0);
        assert_int_equal(got.incrs, 2);
        end();
    }
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_fails_always),
        cmocka_unit_test(test_every_call_fails_everysec),
        cmocka_unit_test(test_every_allocation_fails),
        cmocka_unit_test(test_drained_without_memory),
        cmocka_unit_test(test_manifest_every_call_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
