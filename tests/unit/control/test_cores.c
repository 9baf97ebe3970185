/* Lists of cores: what is named, and how much of the text was one. */
#include <stdio.h>
#include <string.h>

#include "control/config/config.h"
#include "control/config/cores.h"
#include "tests/unit/unit.h"

static void names(const char *text, const char *cores, const char *rest)
{
    cpu_set_t set;
    char got[CPU_SETSIZE * 6] = "";
    size_t n = 0;
    struct span left = cores_parse(span_of(text, strlen(text)), &set);
    for (unsigned i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            n += (size_t)snprintf(got + n, sizeof got - n, "%s%u", n ? " " : "", i);
    if (strcmp(got, cores))
        fail_msg("'%s' is '%s', not '%s'", text, got, cores);
    if (left.n != strlen(rest) || memcmp(left.p, rest, left.n))
        fail_msg("of '%s' '%.*s' is left, not '%s'", text, (int)left.n, (const char *)left.p, rest);
}

static void test_lists(void **state)
{
    (void)state;
    names("0", "0", "");
    names("1,3", "1 3", "");
    names("0-3,8", "0 1 2 3 8", "");
    names("0-7:2", "0 2 4 6", "");
    names("1,10-11\n", "1 10 11", "\n");
    names("3-5:9", "3", "");
    names("0-2 --file-prefix x", "0 1 2", " --file-prefix x");
    names("1022-1030", "1022 1023", "");
    names("99999999999999999999999", "", "");
    names("", "", "");
}

static void test_what_is_none(void **state)
{
    (void)state;
    names("a", "", "a");
    names("3-1", "", "3-1");
    names("0,", "0", ",");
    names("0,x", "0", ",x");
    names("2-", "", "2-");
    names("0-3:0", "", "0-3:0");
    names("0-3:", "", "0-3:");
    names("-1", "", "-1");
}

static void test_directive(void **state)
{
    static const char *const bad[] = {"x", "0-", "1 2", "0,", "4000"};
    char err[CONFIG_ERROR_BYTES], line[64];
    struct config *c = config_new();
    (void)state;
    assert_int_equal(config_load_text(c, span_str("server_cpulist 0-7:2,9"), err, sizeof err), 0);
    assert_string_equal(c->control.server_cpulist, "0-7:2,9");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(line, sizeof line, "server_cpulist \"%s\"", bad[i]);
        assert_int_not_equal(config_load_text(c, span_str(line), err, sizeof err), 0);
        assert_non_null(strstr(err, "as 0-3,8 or 0-7:2"));
    }
    assert_string_equal(c->control.server_cpulist, "0-7:2,9");
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_directive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
