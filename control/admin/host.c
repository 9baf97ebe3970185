/* host: what INFO asks the kernel about our two processes: memory and CPU time, from /proc. A process that is gone counts as zero. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "control/admin/admin_internal.h"

static bool read_line(const char *path, char *to, size_t n)
{
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(to, (int)n, f);
    if (f)
        fclose(f);
    return ok;
}

uint64_t host_rss_bytes(int pid)
{
    char path[64], line[256];
    uint64_t size, resident;
    snprintf(path, sizeof(path), "/proc/%d/statm", pid);
    if (!read_line(path, line, sizeof(line)) ||
        sscanf(line, "%" SCNu64 " %" SCNu64, &size, &resident) != 2)
        return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t host_memory_bytes(void)
{
    struct sysinfo si;
    return sysinfo(&si) == 0 ? (uint64_t)si.totalram * si.mem_unit : 0;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

void host_cpu(int pid, bool main_thread, double *ret_user, double *ret_sys)
{
    char path[64], line[1024];
    unsigned long user, sys;
    struct rusage ru;

    *ret_user = *ret_sys = 0;
    if (pid == 0) {
        getrusage(RUSAGE_SELF, &ru);
        *ret_user = seconds(ru.ru_utime);
        *ret_sys = seconds(ru.ru_stime);
        return;
    }
    if (main_thread)
        snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, pid);
    else
        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (!read_line(path, line, sizeof(line)))
        return;
    const char *p = strrchr(line, ')'); /* the name may hold blanks and parentheses */
    if (p &&
        sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) == 2) {
        *ret_user = (double)user / (double)sysconf(_SC_CLK_TCK);
        *ret_sys = (double)sys / (double)sysconf(_SC_CLK_TCK);
    }
}
