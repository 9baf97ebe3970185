/* shim: what the disk does to barewire-control in tests of crashes. Loaded by LD_PRELOAD, so no line of the server is there for it.
 *
 *   BAREWIRE_SHIM="nofsync"       fsync and fdatasync do nothing: a server that never calls them
 *   BAREWIRE_SHIM="delay MS"      they take that much longer
 *   BAREWIRE_SHIM="cut N DIR"     at the N-th call that changes files of DIR's filesystem, before it is made, the filesystem is shut down and the process ends
 *   BAREWIRE_SHIM="end N DIR"     the same, but the filesystem goes on: a process that dies between two of its steps
 *   BAREWIRE_SHIM="pause N PREFIX" before the N-th call that opens or changes a file whose path begins so, the process stands still (SIGSTOP)
 *   BAREWIRE_SHIM_FROM=PATH       such calls are counted once that file is there
 *   BAREWIRE_SHIM_LOG=PATH        a line for each fsync: inode, size of the file when it was called, CLOCK_REALTIME in ns when it was over and when it
 *                               began; and one for the cut
 *
 * Only in a process called barewire-control: children inherit the environment. */
#undef _FILE_OFFSET_BITS /* open and open64 are two names here */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FS_IOC_SHUTDOWN        _IOR('X', 125, unsigned)
#define GOING_FLAGS_NOLOGFLUSH 2u

static struct {
    char mode[16];
    long number;
    char dir[256], from[256];
    dev_t dev;
    int log;
    long calls;
} shim = {.log = -1};

#define REAL(type, name, ...)         \
    static type (*real)(__VA_ARGS__); \
    if (!real)                        \
    real = (type(*)(__VA_ARGS__))(uintptr_t)dlsym(RTLD_NEXT, name)

__attribute__((constructor)) static void begin(void)
{
    const char *what = getenv("BAREWIRE_SHIM"), *log = getenv("BAREWIRE_SHIM_LOG");
    struct stat st;
    if (!what || strcmp(program_invocation_short_name, "barewire-control") != 0)
        return;
    sscanf(what, "%15s %ld %255s", shim.mode, &shim.number, shim.dir);
    if (getenv("BAREWIRE_SHIM_FROM"))
        snprintf(shim.from, sizeof shim.from, "%s", getenv("BAREWIRE_SHIM_FROM"));
    if (*shim.dir && stat(shim.dir, &st) == 0)
        shim.dev = st.st_dev;
    if (log)
        shim.log = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static ssize_t real_write(int fd, const void *p, size_t n)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    return real(fd, p, n);
}

static int real_fsync(int fd)
{
    REAL(int, "fsync", int);
    return real(fd);
}

static void note(const char *fmt, ...)
{
    char line[200];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (shim.log >= 0 && n > 0)
        (void)!real_write(shim.log, line, (size_t)n);
}

/* A call that changes files of that filesystem is about to be made. */
static void step(const char *what, bool ours)
{
    bool pauses = strcmp(shim.mode, "pause") == 0;
    if (!ours || (!pauses && strcmp(shim.mode, "cut") != 0 && strcmp(shim.mode, "end") != 0) ||
        (*shim.from && access(shim.from, F_OK)) ||
        __atomic_add_fetch(&shim.calls, 1, __ATOMIC_SEQ_CST) != shim.number)
        return;
    note("%s %ld before %s\n", shim.mode, shim.number, what);
    if (pauses) {
        raise(SIGSTOP);
        return;
    }
    int fd = *shim.mode == 'c' ? open(shim.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0)
        ioctl(fd, FS_IOC_SHUTDOWN, &(unsigned){GOING_FLAGS_NOLOGFLUSH});
    kill(getpid(), SIGKILL);
}

static bool on_disk(int fd)
{
    struct stat st;
    return shim.dev && fstat(fd, &st) == 0 && st.st_dev == shim.dev;
}

static bool under(const char *path)
{
    return *shim.dir && strncmp(path, shim.dir, strlen(shim.dir)) == 0;
}

static long long ns_of(const struct timespec *t)
{
    return t->tv_sec * 1000000000LL + t->tv_nsec;
}

/* A file that is only read changes nothing by being fsynced, and there are as many as the log has. */
static bool only_read(int fd)
{
    struct stat st;
    return (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY && fstat(fd, &st) == 0 &&
           S_ISREG(st.st_mode);
}

static int sync_file(int fd, const char *what)
{
    struct stat st = {0};
    struct timespec ts, begun;
    int rc = 0;
    step(what, on_disk(fd) && !only_read(fd));
    clock_gettime(CLOCK_REALTIME, &begun);
    fstat(fd, &st);
    if (strcmp(shim.mode, "delay") == 0 && S_ISREG(st.st_mode))
        nanosleep(&(struct timespec){shim.number / 1000, shim.number % 1000 * 1000000}, NULL);
    if (strcmp(shim.mode, "nofsync") != 0)
        rc = real_fsync(fd);
    clock_gettime(CLOCK_REALTIME, &ts);
    if (rc == 0)
        note("fsync %llu %lld %lld %lld\n", (unsigned long long)st.st_ino, (long long)st.st_size,
             ns_of(&ts), ns_of(&begun));
    return rc;
}

int fsync(int fd)
{
    return sync_file(fd, "fsync");
}

int fdatasync(int fd)
{
    return sync_file(fd, "fdatasync");
}

ssize_t write(int fd, const void *p, size_t n)
{
    if (*shim.mode)
        step("write", on_disk(fd));
    return real_write(fd, p, n);
}

int ftruncate(int fd, off_t n)
{
    REAL(int, "ftruncate", int, off_t);
    step("ftruncate", on_disk(fd));
    return real(fd, n);
}

int ftruncate64(int fd, off_t n)
{
    return ftruncate(fd, n);
}

int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    step("rename", under(to));
    return real(from, to);
}

int link(const char *from, const char *to)
{
    REAL(int, "link", const char *, const char *);
    step("link", under(to));
    return real(from, to);
}

int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    step("unlink", under(path));
    return real(path);
}

int mkdir(const char *path, mode_t mode)
{
    REAL(int, "mkdir", const char *, mode_t);
    step("mkdir", under(path));
    return real(path, mode);
}

int open(const char *path, int flags, ...)
{
    REAL(int, "open", const char *, int, ...);
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if ((flags & O_CREAT) || strcmp(shim.mode, "pause") == 0)
        step("open", under(path));
    return real(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open(path, flags, mode);
}
