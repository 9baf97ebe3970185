/* SORT when memory fails. */
#include "tests/unit/cmd/memory_script.h"
#include "tests/unit/unit.h"

static const char *const setup[] = {
    "RPUSH l 3 1 2 10", "SADD s a b c",         "SADD ints 5 3 9", "ZADD z 1 a 2 b",   "SET w_1 5",
    "SET w_2 1",        "SET w_10 70000000000", "HSET h_1 f 4",    "SET d old EX 100", NULL};
static const char *const keys[] = {"l", "s", "ints", "d", "new", NULL};
static const char *const lines[] = {
    "SORT l",
    "SORT l ALPHA DESC LIMIT 1 2",
    "SORT l BY w_* GET # GET w_* GET h_*->f",
    "SORT l BY w_* ALPHA STORE d",
    "SORT l BY w_* STORE new",
    "SORT l STORE l",
    "SORT s ALPHA STORE new",
    "SORT s BY nosort STORE d",
    "SORT ints STORE ints",
    "SORT z ALPHA",
    "SORT z BY nosort DESC STORE new",
    "SORT_RO l GET h_*->f",
    NULL,
};

static void test_each_allocation_fails(void **state)
{
    const struct memory_script m = {setup, keys, lines, NULL, NULL};
    assert_true(memory_script_run(&m, 1) > 20);
    assert_true(memory_script_run(&m, 3) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
