/* Room in the file that the journal writes: with always alone, behind whole groups alone, and in no file that nobody writes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
static uint8_t *file;
static size_t file_bytes;

static int setup(void **state)
{
    rings_begin(&r, 2);
    disk_begin();
    j = journal_open(FSYNC_ALWAYS);
    assert_non_null(j);
    assert_int_equal(journal_file(j, r.path, 1, 1), 0);
    assert_int_equal(journal_attach(j, r.control, NULL, (struct span){0}), 0);
    return 0;
}

static int teardown(void **state)
{
    journal_free(j);
    disk_end();
    rings_end(&r);
    free(file);
    file = NULL;
    return 0;
}

static size_t size_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (size_t)st.st_size;
}

static struct aof_check look(const char *path)
{
    struct aof_check c;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    free(file);
    file_bytes = size_of(path);
    file = malloc(file_bytes + 1);
    assert_int_equal(read(fd, file, file_bytes), file_bytes);
    close(fd);
    aof_check(span_of(file, file_bytes), 0, &c);
    assert_int_equal(c.verdict, AOF_WHOLE);
    return c;
}

static uint64_t durable(uint32_t shard)
{
    return __atomic_load_n(&link_journal(r.control)->durable[shard], __ATOMIC_ACQUIRE);
}

static uint32_t error(void)
{
    return __atomic_load_n(&link_journal(r.control)->error, __ATOMIC_ACQUIRE);
}

/* On the disk when it returns. */
static void put(const char *key, size_t bytes)
{
    rings_put(&r, 0, 1, key, 'v', bytes);
    link_journal_wake(r.dataplane);
    RINGS_UNTIL(durable(0) == r.seq[0]);
}

static void test_file_becomes_longer_once_in_many_groups(void **state)
{
    int grew = 0;
    put("k", 100);
    for (size_t i = 0, before = size_of(r.path); i < 300; i++) {
        put("k", 4000);
        size_t n = size_of(r.path);
        grew += n != before;
        before = n;
        struct aof_check c = look(r.path);
        assert_true(c.room && file_bytes - c.text_bytes <= 2 * FILE_PIECE_BYTES);
        assert_int_equal(file_bytes % FILE_PIECE_BYTES, 0);
        assert_int_equal(c.commands, i + 3); /* and a SELECT */
    }
    assert_true(grew > 3 && grew < 12);
    struct aof_check c;
    aof_check(span_of(disk.image, disk.image_bytes), 0, &c); /* the room is on the disk as well */
    assert_true(c.verdict == AOF_WHOLE && c.room && disk.image_bytes == file_bytes);
    assert_int_equal(c.commands, 302);
}

static void test_no_group_ends_where_its_sector_does(void **state)
{
    for (size_t i = 0; i < 2 * AOF_SECTOR_BYTES; i++) {
        put("k", i);
        if (i % 16 == 0)
            assert_true(aof_may_end(look(r.path).text_bytes));
    }
    look(r.path);
    size_t ends = 0, fillers = 0;
    for (uint8_t *p = file; (p = memmem(p, file_bytes - (size_t)(p - file), "#BW:", 4)); p++) {
        uint8_t *end = memchr(p, '\n', file_bytes - (size_t)(p - file));
        assert_true(aof_may_end((uint64_t)(end + 1 - file)));
        fillers += memcmp(p - 3, AOF_FILLER, 3) == 0;
        ends++;
    }
    assert_int_equal(ends, 2 * AOF_SECTOR_BYTES);
    assert_true(fillers > 0 && fillers < 30);
}

static void test_close_leaves_none(void **state)
{
    put("k", 100);
    assert_true(look(r.path).room);
    assert_int_equal(journal_close_file(j, true), 0);
    struct aof_check c = look(r.path);
    assert_true(c.closed && !c.room && c.good_bytes == file_bytes);
    aof_check(span_of(disk.image, disk.image_bytes), 0, &c);
    assert_true(c.closed && !c.room);
}

static void test_close_without_an_end_leaves_none(void **state)
{
    put("k", 100);
    assert_int_equal(journal_close_file(j, false), 0);
    struct aof_check c = look(r.path);
    assert_true(!c.closed && !c.room);
}

static void test_drained_rings_close_without_room(void **state)
{
    put("k", 100);
    journal_drain(j, true);
    RINGS_UNTIL(journal_status(j).drained);
    assert_true(look(r.path).closed);
}

static void test_another_policy_has_none(void **state)
{
    put("k", 100);
    journal_policy(j, FSYNC_EVERYSEC);
    RINGS_UNTIL(!look(r.path).room);
    rings_put(&r, 0, 1, "k", 'v', 100);
    __atomic_store_n(&link_journal(r.control)->asked, 1, __ATOMIC_RELAXED);
    link_journal_wake(r.dataplane);
    RINGS_UNTIL(durable(0) == 2);
    assert_false(look(r.path).room);
    journal_policy(j, FSYNC_ALWAYS);
    put("k", 100);
    assert_true(look(r.path).room);
}

static char next_path[160];

static int open_next(void *ctx, uint64_t first_group, struct journal_file *ret)
{
    return journal_new_file(ret, next_path, 2, first_group);
}

static void test_next_file_leaves_none_in_the_one_before(void **state)
{
    snprintf(next_path, sizeof next_path, "%s/next.aof", r.dir);
    put("k", 100);
    journal_cut_arm(j, &(struct journal_cut){.id = 7, .open = open_next});
    rings_put_cut(&r, 0, 1, 7);
    link_journal_wake(r.dataplane);
    RINGS_UNTIL(journal_cut_state(j) == CUT_DONE);
    assert_false(look(r.path).room);
    put("k", 100);
    assert_true(look(next_path).room);
    unlink(next_path);
}

/* It begins a group that is written in parts, and between them the file ends in the middle. */
static void test_part_of_a_group_has_none_behind_it(void **state)
{
    put("k", 100);
    assert_true(rings_put_parts(&r, 0, 1, "long", 'l', 11 * MB, 0, 100));
    link_journal_wake(r.dataplane);
    RINGS_UNTIL(rings_backlog(&r) < MB);
    RINGS_UNTIL(size_of(r.path) > 4 * MB);
    journal_free(j); /* as kill -9, but for what it is doing */
    j = journal_open(FSYNC_ALWAYS);
    struct aof_check c;
    int fd = open(r.path, O_RDONLY);
    free(file);
    file_bytes = size_of(r.path);
    file = malloc(file_bytes);
    assert_int_equal(read(fd, file, file_bytes), file_bytes);
    close(fd);
    aof_check(span_of(file, file_bytes), 0, &c);
    assert_int_equal(c.verdict, AOF_TORN);
    assert_true(!c.room && c.last_group == 1);
}

/* Nobody hears of it, and what was written of it is given back. */
static void test_no_space_for_room(void **state)
{
    __atomic_store_n(&disk.full_at, 64 * 1024, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 10; i++) {
        put("k", 1000);
        struct aof_check c = look(r.path);
        assert_true(!c.room && c.good_bytes == file_bytes);
    }
    assert_int_equal(error(), 0);
    assert_int_equal(journal_status(j).failures, 0);
    __atomic_store_n(&disk.full_at, 0, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 12; i++)
        put("k", 100 * 1024); /* tried again behind a MB */
    assert_true(look(r.path).room);
}

/* Where the file cannot become longer groups go on over the room, and the one that does not fit is refused without a trace. */
static void test_full_disk_takes_what_goes_over_room(void **state)
{
    put("k", 100);
    size_t room = file_bytes = size_of(r.path);
    __atomic_store_n(&disk.full_at, room, __ATOMIC_SEQ_CST);
    disk.error = ENOSPC;
    for (int i = 0; i < 10; i++)
        put("k", 10 * 1024);
    assert_int_equal(journal_status(j).failures, 0);
    rings_put(&r, 0, 1, "l", 'v', 300 * 1024);
    link_journal_wake(r.dataplane);
    RINGS_UNTIL(error() == ENOSPC);
    struct aof_check c = look(r.path);
    assert_true(!c.room && c.good_bytes == file_bytes && c.last_group == 11);
    __atomic_store_n(&disk.full_at, 0, __ATOMIC_SEQ_CST);
    RINGS_UNTIL(durable(0) == r.seq[0] && error() == 0);
    assert_int_equal(look(r.path).last_group, 12);
}

/* The room may be lost with what was to be synced: it is no longer written over. */
static void test_fsync_that_fails_ends_room(void **state)
{
    struct aof_check c;
    for (int fails = 1; fails <= 3; fails++) {
        size_t longer = (size_t)fails * 200 * 1024; /* with new room, and over old one */
        put("k", longer);
        __atomic_store_n(&disk.fsync_fails, fails, __ATOMIC_SEQ_CST);
        put("k", 1000);
        put("k", longer);
        aof_check(span_of(disk.image, disk.image_bytes), 0, &c);
        assert_int_equal(c.verdict, AOF_WHOLE);
        assert_int_equal(c.last_group, fails * 3);
        assert_true(c.room);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_file_becomes_longer_once_in_many_groups),
        TEST(test_no_group_ends_where_its_sector_does),
        TEST(test_close_leaves_none),
        TEST(test_close_without_an_end_leaves_none),
        TEST(test_drained_rings_close_without_room),
        TEST(test_another_policy_has_none),
        TEST(test_next_file_leaves_none_in_the_one_before),
        TEST(test_part_of_a_group_has_none_behind_it),
        TEST(test_no_space_for_room),
        TEST(test_full_disk_takes_what_goes_over_room),
        TEST(test_fsync_that_fails_ends_room),
    };
    return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}
