/* HyperLogLog when memory fails. PFADD and PFMERGE may have raised some of their registers: nobody can tell that from an element added before. */
#include "tests/unit/cmd/memory_script.h"
#include "tests/unit/unit.h"

static const char *const setup[] = {
    "PFADD h a b c",         "PFADD s 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
    "PFADD d x y",           "PFDEBUG TODENSE d",
    "SET other value EX 10", NULL};
static const char *const keys[] = {"h", "s", "d", "other", "new", NULL};
static const char *const lines[] = {
    "PFADD new",        "PFADD h d",          "PFADD s 21",
    "PFADD d z",        "PFADD other a",      "PFCOUNT h",
    "PFCOUNT h s d",    "PFMERGE d h",        "PFDEBUG TODENSE h",
    "PFDEBUG DECODE s", "PFDEBUG ENCODING d", "PFADD new a b c",
    "PFMERGE new h s",  "PFMERGE h s d",      NULL,
};

static bool partial(const char *line)
{
    return strcmp(line, "PFADD new a b c") == 0 || strncmp(line, "PFMERGE", 7) == 0;
}

static void test_each_allocation_fails(void **state)
{
    const struct memory_script m = {setup, keys, lines, partial, NULL};
    assert_true(memory_script_run(&m, 1) > 8);
    assert_true(memory_script_run(&m, 3) > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
