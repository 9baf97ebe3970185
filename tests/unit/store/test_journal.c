/* journal: what the writer makes of records, and what is left of them when the disk or the other process lets it down. Each bug that was found has its test. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/store/file_ops.h"
#include "control/store/journal.h"
#include "engine/link/layout.h"
#include "engine/log/aof.h"
#include "tests/unit/store/disk.h"
#include "tests/unit/store/rings.h"
#include "tests/unit/unit.h"

#define MB (1024 * 1024)

static struct rings r;
static struct journal *j;
static char *file;
static size_t file_bytes;

static void begin(uint32_t workers, enum journal_fsync policy)
{
    rings_begin(&r, workers);
    disk_begin();
    j = journal_open(policy);
    assert_non_null(j);
    assert_int_equal(journal_file(j, r.path, 1, 1), 0);
}

static void attach(const uint64_t *written)
{
    assert_int_equal(journal_attach(j, r.control, written, (struct span){0}), 0);
}

static int setup(void **state)
{
    begin(2, FSYNC_EVERYSEC);
    return 0;
}

static int teardown(void **state)
{
    journal_free(j);
    j = NULL;
    disk_end();
    rings_end(&r);
    free(file);
    file = NULL;
    return 0;
}

static struct aof_check read_file(const char *path)
{
    struct aof_check c;
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    free(file);
    file_bytes = (size_t)st.st_size;
    file = malloc(file_bytes + 1);
    for (size_t n = 0; n < file_bytes;) {
        ssize_t got = read(fd, file + n, file_bytes - n);
        assert_true(got > 0);
        n += (size_t)got;
    }
    close(fd);
    aof_check(span_of(file, file_bytes), 0, &c);
    return c;
}

/* In the good part of the file. */
static bool file_has(const struct aof_check *c, const char *key, char letter, size_t n)
{
    size_t bytes;
    char *text = rings_text(key, letter, n, &bytes);
    bool has = memmem(file, c->good_bytes, text, bytes) != NULL;
    free(text);
    return has;
}

static bool on_disk(const char *key, char letter, size_t n)
{
    size_t bytes;
    char *text = rings_text(key, letter, n, &bytes);
    bool has = disk_has(text, bytes);
    free(text);
    return has;
}

static uint64_t durable(uint32_t shard)
{
    return __atomic_load_n(&link_journal(r.control)->durable[shard], __ATOMIC_ACQUIRE);
}

static uint64_t written(uint32_t shard)
{
    return __atomic_load_n(&link_journal(r.control)->written[shard], __ATOMIC_ACQUIRE);
}

static uint32_t error(void)
{
    return __atomic_load_n(&link_journal(r.control)->error, __ATOMIC_ACQUIRE);
}

static void ask(void)
{
    __atomic_store_n(&link_journal(r.control)->asked, 1, __ATOMIC_RELAXED);
    link_journal_wake(r.dataplane);
}

static void test_records_of_two_workers_in_one_order(void **state)
{
    attach(NULL);
    rings_put(&r, 1, 2, "b1", 'x', 10);
    r.seq[0]++; /* number 1 of shard 0 comes after number 2 */
    rings_put(&r, 1, 3, "both", 'x', 10);
    RINGS_UNTIL(written(1) == 1);
    r.seq[0] = 0;
    rings_put(&r, 0, 1, "a1", 'x', 10);
    r.seq[0] = 2;
    RINGS_UNTIL(written(0) == 2 && written(1) == 2);
    struct aof_check c = read_file(r.path);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_true(strstr(file, "a1") < strstr(file, "both"));
    RINGS_UNTIL(rings_backlog(&r) == 0);
}

/* A group ends where the batch is full, or in front of a long record; what comes behind it may be lost while it is there. Rings were emptied one after the
 * other: a group held what worker 0 had done without what worker 1 had answered long before. */
static void test_group_ended_behind_a_record_without_older_ones(void **state)
{
    enum { most = 40 };
    char key[16];
    for (int i = 0; i < most; i++) {
        r.at_ns = 1000 + 2 * (uint64_t)i;
        snprintf(key, sizeof key, "w0:%d", i);
        rings_put(&r, 0, 1, key, 'z', 50000);
        r.at_ns++;
        snprintf(key, sizeof key, "w1:%d", i);
        rings_put(&r, 1, 2, key, 'o', 100);
    }
    r.at_ns = 5000;
    rings_put(&r, 1, 2, "older", 'o', 100);
    r.at_ns = 6000;
    rings_put(&r, 0, 1, "newer", 'n', 100);
    rings_put(&r, 0, 1, "long", 'l', 3 * MB);
    attach(NULL);
    RINGS_UNTIL(written(0) == most + 2 && written(1) == most + 1);
    struct aof_check c = read_file(r.path);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_true(journal_status(j).groups > 2);
    const char *at = file, *next;
    for (int i = 0; i < most; i++) {
        for (int w = 0; w < 2; w++) {
            snprintf(key, sizeof key, "\nw%d:%d\r", w, i);
            next = memmem(at, file_bytes - (size_t)(at - file), key, strlen(key));
            assert_non_null(next);
            at = next;
        }
    }
    assert_true(strstr(at, "older") < strstr(at, "newer"));
    assert_true(strstr(at, "newer") < strstr(at, "long"));
}

/* A clock that was wrong once must not stop the log. */
static void test_record_of_the_future_is_written(void **state)
{
    attach(NULL);
    r.at_ns = UINT64_MAX;
    rings_put(&r, 0, 1, "future", 'f', 100);
    r.at_ns = 1ull << 63;
    rings_put(&r, 1, 2, "other", 'o', 100);
    RINGS_UNTIL(written(0) == 1 && written(1) == 1);
}

static void test_record_longer_than_the_ring_stopped_the_journal(void **state)
{
    attach(NULL);
    rings_put(&r, 0, 1, "small", 's', 100);
    rings_put(&r, 0, 1, "long", 'l', 11 * MB);
    rings_put(&r, 0, 1, "more", 'm', 3 * MB);
    rings_put(&r, 1, 2, "other", 'o', 100);
    RINGS_UNTIL(written(0) == 3 && written(1) == 1);
    struct aof_check c = read_file(r.path);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_true(file_has(&c, "small", 's', 100));
    assert_true(file_has(&c, "long", 'l', 11 * MB));
    assert_true(file_has(&c, "more", 'm', 3 * MB));
    assert_true(file_has(&c, "other", 'o', 100));
    RINGS_UNTIL(rings_backlog(&r) == 0);
}

/* Up to 1 MB at once: five times the processor time that it takes in pieces, and nobody else had that processor meanwhile. */
static void test_group_went_into_the_file_in_one_call(void **state)
{
    attach(NULL);
    rings_put(&r, 0, 1, "odd", 'o', 100);
    RINGS_UNTIL(written(0) == 1);
    rings_put(&r, 0, 1, "long", 'l', 3 * MB);
    RINGS_UNTIL(written(0) == 2);
    assert_int_equal(disk.write_longest, FILE_PIECE_BYTES);
    assert_false(disk.write_straddles);
    struct aof_check c = read_file(r.path);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_true(file_has(&c, "long", 'l', 3 * MB));
}

static void test_whole_records_were_dropped_with_one_that_has_no_end(void **state)
{
    rings_put(&r, 0, 1, "whole", 'w', 1000);
    assert_true(rings_put_parts(&r, 0, 1, "half", 'h', 3 * MB, 0, 2));
    attach(NULL);
    journal_drain(j, false);
    RINGS_UNTIL(journal_status(j).drained);
    assert_int_equal(journal_close_file(j, true), 0);
    struct aof_check c = read_file(r.path);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_true(c.closed);
    assert_true(file_has(&c, "whole", 'w', 1000));
    assert_null(memmem(file, file_bytes, "half", 4));
}

/* More of it is in the file than in the ring when its worker dies. */
static void test_long_record_without_end_leaves_nothing(void **state)
{
    attach(NULL);
    rings_put(&r, 0, 1, "whole", 'w', 1000);
    assert_true(rings_put_parts(&r, 0, 1, "half", 'h', 11 * MB, 0, 100));
    journal_drain(j, false);
    RINGS_UNTIL(journal_status(j).drained);
    assert_int_equal(journal_close_file(j, true), 0);
    struct aof_check c = read_file(r.path);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_true(c.closed);
    assert_true(file_has(&c, "whole", 'w', 1000));
    assert_true(file_bytes < 3000);
}

static void test_record_is_gone_on_with_by_the_next_control(void **state)
{
    char next[140];
    attach(NULL);
    rings_put(&r, 0, 1, "whole", 'w', 1000);
    assert_true(rings_put_parts(&r, 0, 1, "long", 'l', 11 * MB, 0, 100));
    journal_close_file(j, false); /* the file now ends in the middle */
    journal_free(j);
    struct aof_check c = read_file(r.path);
    assert_int_equal(c.verdict, AOF_TORN);
    assert_true(file_has(&c, "whole", 'w', 1000));
    rings_put_parts(&r, 0, 1, "long", 'l', 11 * MB, 100, 110); /* the dataplane goes on meanwhile */

    uint64_t before[LIMIT_WORKERS] = {1};
    j = journal_open(FSYNC_ALWAYS);
    snprintf(next, sizeof next, "%s/2.aof", r.dir);
    assert_int_equal(journal_file(j, next, 2, c.last_group + 1), 0);
    assert_int_equal(journal_attach(j, r.control, before,
                                    span_of(file + c.good_bytes, file_bytes - c.good_bytes)),
                     0);
    rings_put_parts(&r, 0, 1, "long", 'l', 11 * MB, 110, UINT16_MAX);
    rings_put(&r, 0, 1, "behind", 'b', 100);
    RINGS_UNTIL(durable(0) == 3);
    c = read_file(next);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_true(file_has(&c, "long", 'l', 11 * MB));
    assert_true(file_has(&c, "behind", 'b', 100));
}

static void test_ring_that_begins_in_the_middle_is_refused_without_the_begin(void **state)
{
    attach(NULL);
    assert_true(rings_put_parts(&r, 0, 1, "long", 'l', 11 * MB, 0, 100));
    journal_close_file(j, false);
    assert_int_equal(journal_attach(j, r.control, NULL, (struct span){0}), -ENODATA);
}

/* A control that died behind the first cut of a log leaves a half of a record whose first half was in a file that is none. */
static void test_log_could_not_begin_in_the_middle_of_a_record(void **state)
{
    attach(NULL);
    assert_true(rings_put_parts(&r, 0, 3, "long", 'l', 11 * MB, 0, 100));
    journal_close_file(j, false);
    journal_free(j);
    j = journal_open(FSYNC_ALWAYS);
    uint64_t before[LIMIT_WORKERS] = {0};
    assert_int_equal(journal_attach_late(j, r.control, before), 0);
    RINGS_UNTIL(written(0) == 1 && written(1) == 1); /* told before its rest is there */
    rings_put_parts(&r, 0, 3, "long", 'l', 11 * MB, 100, UINT16_MAX);
    rings_put(&r, 1, 2, "behind", 'b', 100);
    rings_put(&r, 0, 1, "behind", 'b', 100);
    RINGS_UNTIL(written(0) == 2 && written(1) == 2 && rings_backlog(&r) == 0);
    assert_int_equal(error(), 0);
}

static int open_next(void *ctx, uint64_t first_group, struct journal_file *ret)
{
    uint64_t *n = ctx;
    char path[128];
    snprintf(path, sizeof path, "%s/cut-%d.aof", r.dir, (int)(++*n % 2));
    unlink(path);
    return journal_new_file(ret, path, *n + 1, first_group);
}

/* What was waited for was read before the rings were, and what came into them meanwhile was taken too: the rewrite waited for ever. */
static void test_cut_was_passed_over_by_a_writer_at_work(void **state)
{
    uint64_t files = 0;
    for (uint64_t id = 1; id <= 60; id++) {
        uint64_t before[LIMIT_WORKERS] = {written(0), written(1)};
        assert_int_equal(journal_attach_late(j, r.control, before), 0);
        /* as much as wakes him, and a little more each time */
        for (uint64_t n = 0; n < LIMIT_LINK_JOURNAL_BYTES / 4 / 160 + id * 100; n++)
            rings_put(&r, 0, 1, "k", 'v', 10);
        journal_cut_arm(j, &(struct journal_cut){.id = id, .open = open_next, .ctx = &files});
        rings_put_cut(&r, 0, 3, id);
        RINGS_UNTIL(journal_cut_state(j) == CUT_DONE);
        assert_int_equal(files, id);
    }
}

static void test_numbers_that_were_written_already_were_never_given_back(void **state)
{
    uint64_t before[LIMIT_WORKERS] = {3};
    for (int i = 0; i < 3; i++)
        rings_put(&r, 0, 1, "old", 'o', 1000);
    attach(before);
    RINGS_UNTIL(rings_backlog(&r) == 0);
    assert_int_equal(read_file(r.path).last_group, 0);
}

static void test_ring_that_makes_no_sense_was_taken_for_an_empty_one(void **state)
{
    rings_put(&r, 0, 1, "first", 'f', 100);
    uint64_t at = r.ring[0].pos;
    rings_put(&r, 0, 1, "second", 's', 100);
    r.ring[0].data[at + 100] ^= 1;
    attach(NULL);
    RINGS_UNTIL(error() == EBADMSG &&
                written(0) == 1); /* told before what stands in front of it is written */
    rings_put(&r, 1, 2, "other", 'o', 100);
    RINGS_UNTIL(written(1) == 1);
    assert_int_equal(error(), EBADMSG); /* another ring's success does not hide it */
    journal_drain(j, false);
    RINGS_UNTIL(journal_status(j).drained);
    assert_int_equal(journal_close_file(j, true), -EBADMSG);
}

static void test_everysec_never_synced_under_load(void **state)
{
    attach(NULL);
    int puts = 0;
    for (; !durable(0) && puts < 10000000; puts++)
        rings_put(&r, 0, 1, "k", 'v', 600 * 1024 / 8);
    assert_true(durable(0) > 0);
    assert_int_equal(error(), 0);
}

static void test_writing_goes_on_while_an_fsync_is_under_way(void **state)
{
    __atomic_store_n(&disk.fsync_waits, true, __ATOMIC_SEQ_CST);
    attach(NULL);
    rings_put(&r, 0, 1, "first", 'f', 100);
    ask();
    RINGS_UNTIL(written(0) == 1);
    for (int i = 0; i < 100; i++)
        rings_put(&r, 0, 1, "more", 'm', 100 * 1024);
    RINGS_UNTIL(written(0) == 101);
    assert_int_equal(durable(0), 0);
    __atomic_store_n(&disk.fsync_waits, false, __ATOMIC_SEQ_CST);
    RINGS_UNTIL(durable(0) >= 1);
    ask();
    RINGS_UNTIL(durable(0) == 101);
}

static void test_client_that_asks_need_not_wait_for_the_second(void **state)
{
    journal_policy(j, FSYNC_NO);
    attach(NULL);
    rings_put(&r, 0, 1, "k", 'v', 100);
    RINGS_UNTIL(written(0) == 1);
    ask();
    RINGS_UNTIL(durable(0) == 1);
    assert_true(on_disk("k", 'v', 100));
}

static void test_fsync_after_one_that_failed_called_lost_bytes_durable(void **state)
{
    journal_policy(j, FSYNC_ALWAYS);
    disk.fsync_fails = 3;
    attach(NULL);
    rings_put(&r, 0, 1, "k", 'v', 1000);
    RINGS_UNTIL(durable(0) == 1);
    assert_true(on_disk("k", 'v', 1000));
    assert_true(journal_status(j).failures >= 3);
}

/* The same with everysec: the fsync that fails is the other thread's. */
static void test_fsync_thread_failed_and_lost_bytes_were_called_durable(void **state)
{
    disk.fsync_fails = 2;
    attach(NULL);
    rings_put(&r, 0, 1, "k", 'v', 1000);
    RINGS_UNTIL(written(0) == 1);
    ask();
    RINGS_UNTIL(durable(0) == 1);
    assert_true(on_disk("k", 'v', 1000));
}

static void test_no_space_while_writing_again_lost_what_was_answered(void **state)
{
    attach(NULL);
    rings_put(&r, 0, 1, "a", 'a', 1000);
    rings_put(&r, 1, 2, "b", 'b', 200 * 1024);
    RINGS_UNTIL(written(0) == 1 && written(1) == 1);
    disk.error = ENOSPC;
    disk.write_has = 0;
    __atomic_store_n(&disk.fsync_fails, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&disk.write_fails, 2, __ATOMIC_SEQ_CST);
    ask();
    RINGS_UNTIL(durable(0) == 1 && durable(1) == 1);
    assert_true(on_disk("a", 'a', 1000));
    assert_true(on_disk("b", 'b', 200 * 1024));
    rings_put(&r, 0, 1, "c", 'c', 1000);
    ask();
    RINGS_UNTIL(durable(0) == 2);
    struct aof_check c = read_file(r.path);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_true(file_has(&c, "b", 'b', 200 * 1024) && file_has(&c, "c", 'c', 1000));
}

static void test_error_stayed_after_an_fsync_that_failed(void **state)
{
    journal_policy(j, FSYNC_ALWAYS);
    disk.fsync_fails = 2;
    attach(NULL);
    rings_put(&r, 0, 1, "k", 'v', 10);
    RINGS_UNTIL(error() != 0);
    RINGS_UNTIL(error() == 0); /* though nobody writes any more */
    assert_int_equal(journal_status(j).error, 0);
}

/* The log had just been switched on: a power cut could have taken the manifest away that names it. */
static void test_directory_that_was_not_synced_was_left_so(void **state)
{
    char dir[512];
    journal_policy(j, FSYNC_ALWAYS);
    attach(NULL);
    rings_put(&r, 0, 1, "k", 'v', 1000);
    RINGS_UNTIL(durable(0) == 1);
    snprintf(dir, sizeof dir, "%s", r.dir);
    disk_watch_dir(dir);
    __atomic_store_n(&disk.fsync_fails, 2, __ATOMIC_SEQ_CST);
    journal_named(j, 2, r.path, dir);
    RINGS_UNTIL(error() != 0);
    RINGS_UNTIL(error() == 0);
    assert_int_not_equal(__atomic_load_n(&disk.dir_fsyncs, __ATOMIC_SEQ_CST), 0);
    rings_put(&r, 0, 1, "l", 'w', 1000);
    RINGS_UNTIL(durable(0) == 2);
    assert_true(on_disk("k", 'v', 1000) && on_disk("l", 'w', 1000));
}

static void test_group_was_written_behind_half_of_one(void **state)
{
    disk.error = ENOSPC;
    disk.write_has = 500;
    disk.write_fails = 4; /* half of the group, and then nothing more of it, twice */
    disk.truncate_fails = 2;
    attach(NULL);
    rings_put(&r, 0, 1, "k", 'v', 1000);
    RINGS_UNTIL(written(0) == 1);
    rings_put(&r, 0, 1, "l", 'w', 10);
    RINGS_UNTIL(written(0) == 2 && error() == 0);
    struct aof_check c = read_file(r.path);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_int_equal(c.good_bytes, file_bytes);
    assert_true(file_has(&c, "k", 'v', 1000) && file_has(&c, "l", 'w', 10));
}

static void test_disk_that_is_full_leaves_whole_groups(void **state)
{
    attach(NULL);
    rings_put(&r, 0, 1, "k", 'v', 1000);
    RINGS_UNTIL(written(0) == 1);
    disk.error = ENOSPC;
    disk.write_has = 0;
    __atomic_store_n(&disk.write_fails, 1000000, __ATOMIC_SEQ_CST);
    rings_put(&r, 0, 1, "l", 'w', 1000);
    RINGS_UNTIL(error() == ENOSPC);
    assert_int_equal(written(0), 1);
    assert_true(rings_backlog(&r) > 1000);
    struct aof_check c = read_file(r.path);
    assert_int_equal(c.good_bytes, file_bytes);
    __atomic_store_n(&disk.write_fails, 0, __ATOMIC_SEQ_CST);
    RINGS_UNTIL(written(0) == 2 && error() == 0);
}

static void test_backlog_was_dropped_at_the_end(void **state)
{
    for (int i = 0; i < 30; i++) {
        rings_put(&r, 0, 1, "a", 'a', 100 * 1024);
        rings_put(&r, 1, 2, "b", 'b', 100 * 1024);
    }
    attach(NULL);
    assert_int_equal(journal_close_file(j, true), 0);
    struct aof_check c = read_file(r.path);
    assert_true(c.verdict == AOF_WHOLE && c.closed);
    assert_int_equal(c.commands,
                     60 * 2); /* each in a group of its own, which begins with a SELECT */
    assert_int_equal(rings_backlog(&r), 0);
}

static void test_end_on_a_full_disk_was_called_clean(void **state)
{
    disk.error = ENOSPC;
    disk.write_has = 0;
    rings_put(&r, 0, 1, "a", 'a', 1000);
    __atomic_store_n(&disk.write_fails, 1000000, __ATOMIC_SEQ_CST);
    attach(NULL);
    assert_int_equal(journal_close_file(j, true), -ENOSPC);
    assert_false(read_file(r.path).closed);
    assert_true(rings_backlog(&r) > 1000);
}

static void test_records_behind_numbers_never_published_were_dropped_silently(void **state)
{
    r.seq[0] = 1; /* given out, and its worker died before it was in the ring */
    rings_put(&r, 1, 3, "both", 'x', 100);
    rings_put(&r, 0, 1, "behind", 'y', 100);
    attach(NULL);
    journal_drain(j, false);
    RINGS_UNTIL(journal_status(j).drained);
    assert_int_equal(journal_status(j).missing, 1);
    assert_int_equal(journal_close_file(j, true), 0);
    struct aof_check c = read_file(r.path);
    assert_true(file_has(&c, "both", 'x', 100) && file_has(&c, "behind", 'y', 100));
}

/* Worker 1 wrote behind what worker 0 published later; and behind what nobody ever published. */
static void test_record_behind_that_of_another(void **state)
{
    attach(NULL);
    rings_put_behind(&r, 1, 0, 1, "second");
    for (int k = 0; k < 50; k++)
        rings_nap();
    assert_int_equal(written(1), 0);
    rings_put(&r, 0, 1, "first", 'x', 10);
    RINGS_UNTIL(written(1) == 1);
    rings_put_behind(&r, 1, 0, 3, "third");
    rings_put_behind(&r, 1, 0, 2, "fourth");
    for (int k = 0; k < 50; k++)
        rings_nap();
    assert_int_equal(written(1), 1);
    journal_drain(j, false);
    RINGS_UNTIL(journal_status(j).drained);
    assert_int_equal(journal_status(j).missing, 2);
    assert_int_equal(journal_close_file(j, true), 0);
    read_file(r.path);
    const char *at = file, *name[] = {"first", "second", "third", "fourth"};
    for (int k = 0; k < 4; k++) {
        at = memmem(at, file_bytes - (size_t)(at - file), name[k], strlen(name[k]));
        assert_non_null(at);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_records_of_two_workers_in_one_order),
        TEST(test_group_ended_behind_a_record_without_older_ones),
        TEST(test_record_of_the_future_is_written),
        TEST(test_record_longer_than_the_ring_stopped_the_journal),
        TEST(test_group_went_into_the_file_in_one_call),
        TEST(test_whole_records_were_dropped_with_one_that_has_no_end),
        TEST(test_long_record_without_end_leaves_nothing),
        TEST(test_record_is_gone_on_with_by_the_next_control),
        TEST(test_ring_that_begins_in_the_middle_is_refused_without_the_begin),
        TEST(test_log_could_not_begin_in_the_middle_of_a_record),
        TEST(test_cut_was_passed_over_by_a_writer_at_work),
        TEST(test_numbers_that_were_written_already_were_never_given_back),
        TEST(test_ring_that_makes_no_sense_was_taken_for_an_empty_one),
        TEST(test_everysec_never_synced_under_load),
        TEST(test_writing_goes_on_while_an_fsync_is_under_way),
        TEST(test_client_that_asks_need_not_wait_for_the_second),
        TEST(test_fsync_after_one_that_failed_called_lost_bytes_durable),
        TEST(test_fsync_thread_failed_and_lost_bytes_were_called_durable),
        TEST(test_no_space_while_writing_again_lost_what_was_answered),
        TEST(test_error_stayed_after_an_fsync_that_failed),
        TEST(test_directory_that_was_not_synced_was_left_so),
        TEST(test_group_was_written_behind_half_of_one),
        TEST(test_disk_that_is_full_leaves_whole_groups),
        TEST(test_backlog_was_dropped_at_the_end),
        TEST(test_end_on_a_full_disk_was_called_clean),
        TEST(test_records_behind_numbers_never_published_were_dropped_silently),
        TEST(test_record_behind_that_of_another),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
