/* appendonly: the files of a log over the lives of several control processes. Each bug that was found has its test. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/store/appendonly.h"
#include "engine/link/layout.h"
#include "tests/unit/store/disk.h"
#include "tests/unit/store/rings.h"
#include "tests/unit/unit.h"

static struct rings r;
static uv_loop_t loop;
static struct bridge bridge;
static struct config *config;
static struct appendonly *a;
static bool failed;

static void on_event(void *ctx)
{
}

static void on_failed(void *ctx)
{
    failed = true;
}

static const struct appendonly_ops ops = {on_event, on_event, on_failed, on_event};

static int setup(void **state)
{
    char text[400], err[300] = "";
    rings_begin(&r, 2);
    disk_begin();
    snprintf(text, sizeof text, "appendonly yes\nappendfsync no\ndir %s\ninstance %s\n", r.dir,
             r.instance);
    config = config_new();
    if (config_load_text(config, span_of(text, strlen(text)), err, sizeof err))
        fail_msg("%s", err);
    uv_loop_init(&loop);
    failed = false;
    return 0;
}

static void open_log(void)
{
    bridge.link = r.control;
    a = appendonly_open(&loop, &bridge, config, &ops, NULL);
    assert_non_null(a);
}

static int close_log(void)
{
    int rc = appendonly_close(a);
    uv_run(&loop, UV_RUN_DEFAULT);
    appendonly_free(a);
    a = NULL;
    return rc;
}

static int teardown(void **state)
{
    if (a)
        close_log();
    uv_loop_close(&loop);
    config_free(config);
    disk_end();
    rings_end(&r);
    return 0;
}

/* What workers say of themselves. */
static void journaling(bool on)
{
    for (uint32_t i = 0; i < link_workers(r.dataplane); i++)
        STAT_SET(link_stats(r.dataplane, i)->journaling, on);
}

static void begin_log(void)
{
    char base[9000];
    open_log();
    assert_int_equal(appendonly_plan(a, base, sizeof base), APPENDONLY_EMPTY);
    appendonly_begin(a, NULL);
    assert_false(failed);
    journaling(true);
}

static uint64_t durable(uint32_t shard)
{
    return __atomic_load_n(&link_journal(r.dataplane)->durable[shard], __ATOMIC_ACQUIRE);
}

static uint64_t written(uint32_t shard)
{
    return __atomic_load_n(&link_journal(r.dataplane)->written[shard], __ATOMIC_ACQUIRE);
}

static void test_directory_of_the_log_was_not_made_durable(void **state)
{
    disk_watch_dir(r.dir);
    begin_log();
    assert_true(disk.dir_fsyncs > 0);
}

static void test_what_an_earlier_control_wrote_was_never_fsynced(void **state)
{
    size_t n;
    char *text = rings_text("k", 'v', 1000, &n);
    begin_log();
    __atomic_store_n(&disk.fsync_lies, true, __ATOMIC_SEQ_CST); /* it dies before its first */
    rings_put(&r, 0, 1, "k", 'v', 1000);
    RINGS_UNTIL(written(0) == 1);
    close_log();
    __atomic_store_n(&link_journal(r.dataplane)->durable[0], 0, __ATOMIC_RELAXED);
    assert_false(disk_has(text, n));
    __atomic_store_n(&disk.fsync_lies, false, __ATOMIC_SEQ_CST);

    disk_hold(); /* the file of before stays the one that is looked at */
    open_log();
    appendonly_adopt(a);
    assert_false(failed);
    assert_int_equal(durable(0), 1); /* clients of before wait for it */
    assert_true(disk_has(text, n));
    free(text);
}

/* A control dies while a record longer than the ring goes through it. */
static void test_record_lost_its_begin_with_the_control(void **state)
{
    size_t n;
    char *text = rings_text("long", 'l', 11 << 20, &n);
    begin_log();
    assert_true(rings_put_parts(&r, 0, 1, "long", 'l', 11 << 20, 0, 100));
    close_log();
    config->control.aof_load_truncated = false; /* it is nobody's damage */
    open_log();
    appendonly_adopt(a);
    assert_false(failed);
    rings_put_parts(&r, 0, 1, "long", 'l', 11 << 20, 100, UINT16_MAX);
    __atomic_store_n(&link_journal(r.dataplane)->asked, 1, __ATOMIC_RELAXED);
    RINGS_UNTIL(durable(0) == 1);
    assert_true(disk_has(text, n));
    free(text);
}

/* `appendonly no` by CONFIG SET, yes in the file: what was written since is in no record, and the records that come next would stand behind a hole. */
static void test_log_that_was_switched_off_was_gone_on_with(void **state)
{
    struct appendonly_info info;
    begin_log();
    rings_put(&r, 0, 1, "k", 'v', 1000);
    RINGS_UNTIL(written(0) == 1);
    close_log();
    journaling(false);
    open_log();
    appendonly_adopt(a);
    assert_false(failed);
    appendonly_info(a, &info);
    assert_false(info.on);
    appendonly_tick(a, true);
    appendonly_info(a, &info);
    assert_true(info.on && !info.begun);
}

static void both_die(void)
{
    link_close(r.control);
    link_close(r.dataplane);
    r.control = r.dataplane = NULL;
}

static void test_rescue_that_failed_was_called_done(void **state)
{
    size_t n;
    char *text = rings_text("k", 'v', 1000, &n);
    begin_log();
    close_log();
    rings_put(&r, 0, 1, "k", 'v', 1000);
    both_die();
    disk.error = ENOSPC;
    __atomic_store_n(&disk.write_fails, 1 << 30, __ATOMIC_SEQ_CST);
    assert_int_not_equal(appendonly_rescue(config), 0);
    __atomic_store_n(&disk.write_fails, 0, __ATOMIC_SEQ_CST);
    assert_int_equal(appendonly_rescue(config), 0);
    assert_true(disk_has(text, n));
    free(text);
}

static void test_rescue_without_the_log_was_called_done(void **state)
{
    char command[160];
    begin_log();
    close_log();
    rings_put(&r, 0, 1, "k", 'v', 1000);
    both_die();
    snprintf(command, sizeof command, "mv %s/appendonlydir %s/elsewhere", r.dir, r.dir);
    assert_int_equal(system(command), 0);
    assert_int_not_equal(appendonly_rescue(config), 0);
    snprintf(command, sizeof command, "mv %s/elsewhere %s/appendonlydir", r.dir, r.dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(appendonly_rescue(config), 0);
    struct link *l;
    assert_int_equal(link_open_leftover(&l, r.instance), 0);
    struct ring view;
    assert_int_equal(link_journal_ring(l, 0, &view), 0);
    assert_int_equal(ring_backlog(&view), 0);
    link_close(l);
}

static void write_text(const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/appendonlydir/%s", r.dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

static void test_size_of_the_base_was_counted_twice(void **state)
{
    static const char commands[] = "*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n";
    char base[9000], path[160];
    struct appendonly_info info;
    snprintf(path, sizeof path, "%s/appendonlydir", r.dir);
    assert_int_equal(mkdir(path, 0755), 0);
    write_text("appendonly.aof.1.base.aof", commands);
    write_text("appendonly.aof.1.incr.aof", commands);
    write_text("appendonly.aof.manifest", "file appendonly.aof.1.base.aof seq 1 type b\n"
                                          "file appendonly.aof.1.incr.aof seq 1 type i\n");
    open_log();
    assert_int_equal(appendonly_plan(a, base, sizeof base), APPENDONLY_LOG);
    appendonly_info(a, &info);
    assert_int_equal(info.current_bytes, 2 * strlen(commands));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_directory_of_the_log_was_not_made_durable),
        TEST(test_what_an_earlier_control_wrote_was_never_fsynced),
        TEST(test_record_lost_its_begin_with_the_control),
        TEST(test_log_that_was_switched_off_was_gone_on_with),
        TEST(test_rescue_that_failed_was_called_done),
        TEST(test_rescue_without_the_log_was_called_done),
        TEST(test_size_of_the_base_was_counted_twice),
    };
    return cmocka_run_group_tests_name("appendonly", tests, NULL, NULL);
}
