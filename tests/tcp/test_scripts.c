/* Runs every script of the .pkt files given; each is a test of its own. Prints how many there were. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/tcp/script.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/wire.h"

static void run(void **state)
{
    script_run(*state);
}

int main(int argc, char **argv)
{
    size_t total = 0;
    int failed = 0;
    if (argc < 2 || wire_eal_init())
        return 1;
    for (int i = 1; i < argc; i++) {
        struct script *scripts;
        size_t n = script_load(argv[i], &scripts);
        struct CMUnitTest *tests = calloc(n + 1, sizeof(*tests));
        if (!tests || !n)
            return 1;
        for (size_t k = 0; k < n; k++)
            tests[k] = (struct CMUnitTest){
                .name = scripts[k].name, .test_func = run, .initial_state = &scripts[k]};
        failed += _cmocka_run_group_tests(argv[i], tests, n, NULL, NULL);
        total += n;
        free(tests);
        script_free(scripts, n);
    }
    printf("%zu scripts\n", total);
    return failed != 0;
}
