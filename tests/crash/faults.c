/* faults: calls of barewire-control (or barewire) that fail when the test says so. Loaded by LD_PRELOAD, so no line of the server is there for it.
 *
 * BAREWIRE_FAULTS=FILE is a page that the test maps, too (tests/crash/faults writes and reads it):
 *
 *     0 kinds   which calls count, see enum kind       test writes
 *     8 at      the at-th of them fails; 0: none       test
 *    16 times   and so many from there on              test
 *    24 error   errno; 0: half of a write is made      test
 *    32 calls   counted so far                         this library
 *    40 fired   have failed                            this library
 *    48 where   return addresses, relative to the program, of the first that failed
 *
 * BAREWIRE_FAULTS_OF is the name of the program; children inherit the environment. libc's own calls of malloc (fopen, strdup, getline) come here, too,
 * its own system calls do not. */
#undef _FILE_OFFSET_BITS /* open and open64 are two names here */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind {
    KIND_MEMORY = 1,
    KIND_MAP = 2,
    KIND_OPEN = 4,
    KIND_WRITE = 8, /* to files that are no log: descriptors above 2 */
    KIND_SYNC = 16,
    KIND_NAME = 32, /* rename, link, unlink, mkdir, ftruncate */
    KIND_READ = 64,
    KIND_THREAD = 128,
};

#define FRAMES 12

struct page {
    int64_t kinds, at, times, error, calls, fired;
    uint64_t where[FRAMES];
};

static struct page *page;
static uintptr_t base, end;                                              /* of the program */
static __thread bool inside __attribute__((tls_model("initial-exec")));  /* of this file's own */
static __thread bool finding __attribute__((tls_model("initial-exec"))); /* dlsym is asked */

#define REAL(type, name, ...)         \
    static type (*real)(__VA_ARGS__); \
    if (!real && !finding)            \
    real = (type(*)(__VA_ARGS__))find(name)

static uintptr_t find(const char *name)
{
    finding = true;
    uintptr_t p = (uintptr_t)dlsym(RTLD_NEXT, name);
    finding = false;
    return p;
}

static int on_program(struct dl_phdr_info *i, size_t n, void *ctx)
{
    (void)n, (void)ctx;
    base = i->dlpi_addr;
    for (int k = 0; k < i->dlpi_phnum; k++)
        if (i->dlpi_phdr[k].p_type == PT_LOAD &&
            base + i->dlpi_phdr[k].p_vaddr + i->dlpi_phdr[k].p_memsz > end)
            end = base + i->dlpi_phdr[k].p_vaddr + i->dlpi_phdr[k].p_memsz;
    return 1; /* the first one is the program */
}

/* A death without a word is what the test looks for; these are for whoever mends it. */
static void on_crash(int sig)
{
    void *frame[32];
    backtrace_symbols_fd(frame, backtrace(frame, 32), STDERR_FILENO);
    if (getenv("BAREWIRE_FAULTS_WAIT"))
        raise(SIGSTOP);
    signal(sig, SIG_DFL);
    raise(sig);
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("BAREWIRE_FAULTS"), *of = getenv("BAREWIRE_FAULTS_OF");
    void *first[1];
    if (!path || !of || strcmp(program_invocation_short_name, of) != 0)
        return;
    inside = true;
    backtrace(first, 1); /* loads what it needs */
    dl_iterate_phdr(on_program, NULL);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *p =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
    inside = false;
    page = p == MAP_FAILED ? NULL : p;
}

static bool fails(enum kind kind)
{
    if (!page || inside || !(__atomic_load_n(&page->kinds, __ATOMIC_ACQUIRE) & kind))
        return false;
    int64_t n = __atomic_add_fetch(&page->calls, 1, __ATOMIC_SEQ_CST);
    if (!page->at || n < page->at || n >= page->at + page->times)
        return false;
    if (__atomic_fetch_add(&page->fired, 1, __ATOMIC_SEQ_CST) == 0) {
        void *frame[FRAMES + 2];
        inside = true;
        int found = backtrace(frame, FRAMES + 2);
        inside = false;
        for (int i = 2; i < found; i++)
            page->where[i - 2] = (uintptr_t)frame[i] - base;
    }
    errno = kind == KIND_MEMORY || kind == KIND_MAP ? ENOMEM
            : kind == KIND_THREAD                   ? EAGAIN
            : page->error                           ? (int)page->error
                                                    : ENOSPC;
    return true;
}

/* ---- memory, threads ---- */

void *mallocx(size_t n, int flags);
void *rallocx(void *p, size_t n, int flags);

/* Before there is a real one: dlsym asks, and can do without. */
#define REAL_MEMORY(name, ...)       \
    REAL(void *, name, __VA_ARGS__); \
    if (!real || fails(KIND_MEMORY)) \
    return NULL

void *malloc(size_t n)
{
    REAL_MEMORY("malloc", size_t);
    return real(n);
}

void *calloc(size_t n, size_t of)
{
    REAL_MEMORY("calloc", size_t, size_t);
    return real(n, of);
}

void *realloc(void *p, size_t n)
{
    REAL_MEMORY("realloc", void *, size_t);
    return real(p, n);
}

void *mallocx(size_t n, int flags) /* jemalloc, as are the next two */
{
    REAL_MEMORY("mallocx", size_t, int);
    return real(n, flags);
}

void *rallocx(void *p, size_t n, int flags)
{
    REAL_MEMORY("rallocx", void *, size_t, int);
    return real(p, n, flags);
}

int posix_memalign(void **ret, size_t align, size_t n)
{
    REAL(int, "posix_memalign", void **, size_t, size_t);
    return fails(KIND_MEMORY) ? ENOMEM : real(ret, align, n);
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    REAL(void *, "mmap", void *, size_t, int, int, int, off_t);
    uintptr_t by = (uintptr_t)__builtin_return_address(0);
    bool ours = by >= base &&
                by < end; /* jemalloc 5.3 dies where it gets none; malloc is made to fail instead */
    return ours && fails(KIND_MAP) ? MAP_FAILED : real(at, n, prot, flags, fd, offset);
}

void *mmap64(void *at, size_t n, int prot, int flags, int fd, off64_t offset)
    __attribute__((alias("mmap")));

int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg)
{
    REAL(int, "pthread_create", pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    return fails(KIND_THREAD) ? EAGAIN : real(t, a, f, arg);
}

/* ---- files ---- */

static bool is_file(int fd)
{
    struct stat st;
    return page && !inside && fd > STDERR_FILENO && fstat(fd, &st) == 0 &&
           (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
}

int open(const char *path, int flags, ...)
{
    REAL(int, "open", const char *, int, ...);
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return fails(KIND_OPEN) ? -1 : real(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open(path, flags, mode);
}

int mkostemp64(char *path, int flags)
{
    REAL(int, "mkostemp64", char *, int);
    return fails(KIND_OPEN) ? -1 : real(path, flags);
}

FILE *fopen(const char *path, const char *mode)
{
    REAL(FILE *, "fopen", const char *, const char *);
    return fails(KIND_OPEN) ? NULL : real(path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
    return fopen(path, mode);
}

DIR *opendir(const char *path)
{
    REAL(DIR *, "opendir", const char *);
    return fails(KIND_OPEN) ? NULL : real(path);
}

/* How much of n bytes is written; -1: the error. */
static ssize_t some_of(int fd, size_t n)
{
    if (!is_file(fd) || !fails(KIND_WRITE))
        return (ssize_t)n;
    return page->error || n < 2 ? -1 : (ssize_t)(n / 2);
}

ssize_t write(int fd, const void *p, size_t n)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    ssize_t some = some_of(fd, n);
    return some < 0 ? -1 : real(fd, p, (size_t)some);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    ssize_t some = some_of(fd, n);
    return some < 0 ? -1 : real(fd, p, (size_t)some, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    return pwrite(fd, p, n, at);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return is_file(fd) && fails(KIND_WRITE) ? -1 : real(fd, v, n);
}

ssize_t read(int fd, void *to, size_t n)
{
    REAL(ssize_t, "read", int, void *, size_t);
    return is_file(fd) && fails(KIND_READ) ? -1 : real(fd, to, n);
}

ssize_t pread(int fd, void *to, size_t n, off_t at)
{
    REAL(ssize_t, "pread", int, void *, size_t, off_t);
    return is_file(fd) && fails(KIND_READ) ? -1 : real(fd, to, n, at);
}

ssize_t pread64(int fd, void *to, size_t n, off64_t at)
{
    return pread(fd, to, n, at);
}

int fsync(int fd)
{
    REAL(int, "fsync", int);
    return is_file(fd) && fails(KIND_SYNC) ? -1 : real(fd);
}

int fdatasync(int fd)
{
    REAL(int, "fdatasync", int);
    return is_file(fd) && fails(KIND_SYNC) ? -1 : real(fd);
}

int ftruncate(int fd, off_t n)
{
    REAL(int, "ftruncate", int, off_t);
    return fails(KIND_NAME) ? -1 : real(fd, n);
}

int ftruncate64(int fd, off64_t n)
{
    return ftruncate(fd, n);
}

int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    return fails(KIND_NAME) ? -1 : real(from, to);
}

int link(const char *from, const char *to)
{
    REAL(int, "link", const char *, const char *);
    return fails(KIND_NAME) ? -1 : real(from, to);
}

int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    return fails(KIND_NAME) ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode)
{
    REAL(int, "mkdir", const char *, mode_t);
    return fails(KIND_NAME) ? -1 : real(path, mode);
}
