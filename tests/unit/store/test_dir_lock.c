/* dir_lock: one server a directory. Two struct dir_locks are two servers: flock belongs to what was opened. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/store/dir_lock.h"
#include "engine/link/layout.h"
#include "tests/unit/store/rings.h"
#include "tests/unit/unit.h"

static struct rings r;
static struct dir_locks one, two;
static char err[8192];

static int setup(void **state)
{
    rings_begin(&r, 1);
    one = two = (struct dir_locks){0};
    err[0] = 0;
    return 0;
}

static int teardown(void **state)
{
    dir_locks_free(&one, true);
    dir_locks_free(&two, true);
    rings_end(&r);
    return 0;
}

static void test_the_second_is_refused_and_told_the_first_ones_pid(void **state)
{
    char pid[40];
    assert_int_equal(dir_locks_hold(&one, r.dir, "a", 0, err, sizeof err), 1);
    assert_int_equal(dir_locks_hold(&one, r.dir, "a", 0, err, sizeof err), 0);
    assert_int_equal(dir_locks_hold(&two, r.dir, "b", 0, err, sizeof err), -EWOULDBLOCK);
    snprintf(pid, sizeof pid, "pid %d, instance a", (int)getpid());
    assert_non_null(strstr(err, pid));
    dir_locks_free(&one, true);
    assert_int_equal(dir_locks_hold(&two, r.dir, "b", 0, err, sizeof err), 1);
}

static void test_another_name_of_the_directory_is_the_same_one(void **state)
{
    char name[300];
    snprintf(name, sizeof name, "%s/../%s", r.dir, strrchr(r.dir, '/') + 1);
    assert_int_equal(dir_locks_hold(&one, r.dir, "a", 0, err, sizeof err), 1);
    assert_int_equal(dir_locks_hold(&one, name, "a", 0, err, sizeof err), 0);
    assert_int_equal(one.count, 1);
    assert_int_equal(dir_locks_hold(&two, name, "b", 0, err, sizeof err), -EWOULDBLOCK);
}

/* kill -9 of the holder; `patience` while it still lives. */
static void test_a_killed_holder_leaves_no_lock(void **state)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (dir_locks_hold(&one, r.dir, "a", 0, err, sizeof err) == 1 &&
            write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(dir_locks_hold(&two, r.dir, "b", 0, err, sizeof err), -EWOULDBLOCK);
    kill(pid, SIGKILL);
    assert_int_equal(dir_locks_hold(&two, r.dir, "b", 60000, err, sizeof err), 1);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ready[0]);
    close(ready[1]);
}

/* Control is dead, its dataplane serves on: what is in its rings belongs into this directory. */
static void test_a_dataplane_without_control_keeps_its_directory(void **state)
{
    assert_int_equal(dir_locks_hold(&one, r.dir, r.instance, 0, err, sizeof err), 1);
    dir_locks_free(&one, false);
    assert_int_equal(dir_locks_hold(&two, r.dir, "another", 0, err, sizeof err), -EWOULDBLOCK);
    assert_non_null(strstr(err, r.instance));
    assert_int_equal(dir_locks_hold(&one, r.dir, r.instance, 0, err, sizeof err), 1);
    dir_locks_free(&one, true); /* ended in order: its name is not there any more */
    assert_int_equal(dir_locks_hold(&two, r.dir, "another", 0, err, sizeof err), 1);
}

static void test_a_directory_that_is_not_there_is_no_other_server(void **state)
{
    assert_int_equal(dir_locks_hold(&one, "/nowhere/at/all", "a", 0, err, sizeof err), -ENOENT);
    assert_non_null(strstr(err, "/nowhere/at/all"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_second_is_refused_and_told_the_first_ones_pid),
        TEST(test_another_name_of_the_directory_is_the_same_one),
        TEST(test_a_killed_holder_leaves_no_lock),
        TEST(test_a_dataplane_without_control_keeps_its_directory),
        TEST(test_a_directory_that_is_not_there_is_no_other_server),
    };
    return cmocka_run_group_tests_name("dir_lock", tests, NULL, NULL);
}
