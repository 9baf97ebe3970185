/* eal: see eal.h. */
#include "tests/sim/eal.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>

#include "engine/base/assert.h"

static void eal_gone(void)
{
    char dir[256]; /* made per process even without shared configuration */
    snprintf(dir, sizeof(dir), "%s", rte_eal_get_runtime_dir());
    rte_eal_cleanup();
    rmdir(dir);
}

/* "--lcores=0@(0,1)": one lcore that the kernel may move. */
static void lcores_option(char *to, size_t cap)
{
    cpu_set_t set;
    const char *sep = "";
    size_t n = (size_t)snprintf(to, cap, "--lcores=0@(");
    sched_getaffinity(0, sizeof(set), &set);
    for (int i = 0; i < CPU_SETSIZE && n + 16 < cap; i++) {
        if (!CPU_ISSET(i, &set))
            continue;
        n += (size_t)snprintf(to + n, cap - n, "%s%d", sep, i);
        sep = ",";
    }
    snprintf(to + n, cap - n, ")");
}

void test_eal_init(const char *name)
{
    char prefix[64], lcores[1024];
    snprintf(prefix, sizeof(prefix), "--file-prefix=bw-%s-%d", name, (int)getpid());
    lcores_option(lcores, sizeof(lcores));
    char *argv[] = {
        "test",           "--no-huge",      "--no-pci", "--no-shconf",       "-m",   "256",
        "--no-telemetry", "--iova-mode=va", prefix,     "--log-level=error", lcores, NULL};
    CHECK(rte_eal_init((int)ARRAY_LEN(argv) - 1, argv) >= 0);
    atexit(eal_gone);
}
