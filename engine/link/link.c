/* link: opening the region that control and dataplane share, and who may. Layout and locks in layout.h; the pages in page.c.
 *
 * Control opens first (link_open_control), formats, then starts or finds a dataplane, which attaches (link_open_dataplane) and says
 * link_dp_begin. Both calls are made by the main thread of their process before workers or loops run. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/link/link_internal.h"

#define POLL_MS             10
/* A control that was killed while it started a dataplane: what it forked has its lock, too, until it is that program. */
#define CONTROL_PATIENCE_MS 1000

static int fail(char *err, size_t err_len, int rc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int fail(char *err, size_t err_len, int rc, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err, err_len, fmt, ap);
    va_end(ap);
    return rc;
}

/* The name becomes part of a path. */
static bool instance_path(char *to, size_t n, const char *instance)
{
    size_t len = strlen(instance);
    if (!len || len > LINK_INSTANCE_BYTES || instance[0] == '.')
        return false;
    for (const char *c = instance; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
              *c == '-' || *c == '_' || *c == '.'))
            return false;
    snprintf(to, n, "/dev/shm/barewire-%s", instance);
    return true;
}

static struct flock lock_byte(short type, off_t byte)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
}

static bool lock_take(int fd, off_t byte)
{
    struct flock fl = lock_byte(F_WRLCK, byte);
    return fcntl(fd, F_OFD_SETLK, &fl) == 0;
}

static void lock_give(int fd, off_t byte)
{
    struct flock fl = lock_byte(F_UNLCK, byte);
    fcntl(fd, F_OFD_SETLK, &fl);
}

bool link_lock_held_elsewhere(int fd, off_t byte)
{
    struct flock fl = lock_byte(F_WRLCK, byte);
    return fcntl(fd, F_OFD_GETLK, &fl) == 0 && fl.l_type != F_UNLCK;
}

/* Opens the region's file, if it is one of ours: a plain file, our own, nobody else's to write. */
static int open_file(const char *path, int flags, char *err, size_t err_len)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (fd < 0)
        return fail(err, err_len, -errno, "%s: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || fchmod(fd, 0600)) {
        close(fd);
        return fail(err, err_len, -EPERM, "%s is not a plain file of this user: remove it", path);
    }
    return fd;
}

static bool path_names_fd(const char *path, int fd)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_ino == b.st_ino &&
           a.st_dev == b.st_dev;
}

/* What a header must say to be of this build. */
static void identity(struct link_header *h, uint32_t workers)
{
    h->layout_version = LINK_LAYOUT_VERSION;
    h->workers = workers;
    h->total_bytes = link_total_bytes(workers);
    h->header_bytes = sizeof(struct link_header);
    h->config_bytes = sizeof(struct link_config);
    h->control_bytes = sizeof(struct link_control);
    h->stats_bytes = sizeof(struct stats_worker);
    h->cmdstats_bytes = sizeof(struct link_cmdstat) * LINK_COMMANDS;
    h->ring_bytes = LIMIT_LINK_RING_BYTES;
}

enum verdict { REGION_OURS, REGION_EMPTY, REGION_OTHER, REGION_UNREADABLE };

/* Reads the identity with pread, so that nothing is mapped before its size is known. */
static enum verdict look(int fd, struct link_header *ret)
{
    struct stat st;
    ssize_t n = pread(fd, ret, sizeof *ret, 0);
    if (n < 0)
        return REGION_UNREADABLE;
    if (n < (ssize_t)sizeof *ret || fstat(fd, &st) || ret->magic != LINK_MAGIC)
        return REGION_EMPTY;
    if (ret->workers < 1 || ret->workers > LIMIT_WORKERS)
        return REGION_OTHER;
    struct link_header want = {0};
    identity(&want, ret->workers);
    bool same = ret->layout_version == want.layout_version &&
                ret->total_bytes == want.total_bytes && (uint64_t)st.st_size == want.total_bytes &&
                memcmp(&ret->header_bytes, &want.header_bytes,
                       offsetof(struct link_header, created_pid) -
                           offsetof(struct link_header, header_bytes)) == 0;
    return same ? REGION_OURS : REGION_OTHER;
}

static int mismatch(const struct link_header *h, const char *mine, const char *other, int pid,
                    char *err, size_t err_len)
{
    struct link_header want = {0};
    uint32_t workers = h->workers >= 1 && h->workers <= LIMIT_WORKERS ? h->workers : 1;
    identity(&want, workers);
    return fail(err, err_len, -EPROTO,
                "link layout does not match: this %s has version %u (%" PRIu64
                " bytes), the running %s%s%.0d has version %u (%" PRIu64
                " bytes): stop it, or use the same version of both",
                mine, LINK_LAYOUT_VERSION, want.total_bytes, other, pid > 0 ? " with pid " : "",
                pid > 0 ? pid : 0, h->layout_version, h->total_bytes);
}

static int map(struct link **ret, int fd, size_t total, bool control, char *err, size_t err_len)
{
    struct link *l = calloc(1, sizeof *l);
    if (!l)
        return fail(err, err_len, -ENOMEM, "no memory");
    void *p = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        free(l);
        return fail(err, err_len, -errno, "mapping the link: %s", strerror(errno));
    }
    l->fd = fd;
    l->control = control;
    l->total = total;
    l->h = p;
    l->workers = l->h->workers;
    *ret = l;
    return 0;
}

/* A new file of the right size, formatted, magic last. The caller holds its control lock. */
static int format(struct link **ret, int fd, uint32_t workers, char *err, size_t err_len)
{
    size_t total = link_total_bytes(workers);
    /* All pages now: running out of /dev/shm must be an error here and not a SIGBUS later. */
    int rc = posix_fallocate(fd, 0, (off_t)total);
    if (rc)
        return fail(err, err_len, -rc, "no room for the link (%zu bytes in /dev/shm): %s", total,
                    strerror(rc));
    rc = map(ret, fd, total, true, err, err_len);
    if (rc)
        return rc;
    struct link *l = *ret;
    l->workers = workers;
    identity(l->h, workers);
    l->h->created_pid = (uint64_t)getpid();
    link_rings_format(l, 0);
    __atomic_store_n(&l->h->magic, LINK_MAGIC, __ATOMIC_RELEASE);
    return 0;
}

static int check_path(char *path, size_t n, const char *instance, char *err, size_t err_len)
{
    if (instance_path(path, n, instance))
        return 0;
    return fail(err, err_len, -EINVAL,
                "instance name '%.80s': 1 to %d letters, digits, '-', '_' or '.'", instance,
                LINK_INSTANCE_BYTES);
}

static bool take_patiently(int fd, off_t lock, int patience_ms)
{
    for (int ms = 0; !lock_take(fd, lock); ms += POLL_MS) {
        if (ms >= patience_ms)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
    }
    return true;
}

/* Opens and locks whatever the path names now; the file may be empty. */
static int open_locked(const char *path, off_t lock, int flags, int patience_ms, char *err,
                       size_t err_len)
{
    for (int i = 0; i < 100; i++) {
        int fd = open_file(path, flags, err, err_len);
        if (fd < 0)
            return fd;
        if (!take_patiently(fd, lock, patience_ms)) {
            struct link_header h = {0};
            enum verdict v = look(fd, &h);
            int pid = lock == LINK_LOCK_CONTROL ? h.control_pid : h.dp_pid;
            close(fd);
            return fail(err, err_len, -EBUSY, "another %s of this instance is running (pid %d)",
                        lock == LINK_LOCK_CONTROL ? "barewire-control" : "barewire-dataplane",
                        v == REGION_OURS ? pid : 0);
        }
        if (path_names_fd(path, fd))
            return fd;
        close(fd); /* replaced between open and lock */
    }
    return fail(err, err_len, -EBUSY, "%s is being replaced again and again", path);
}

/* The file at `path` is stale: no dataplane holds it. A new one takes its place; our lock moves to it. */
static int replace(struct link **ret, int old_fd, const char *path, uint32_t workers, char *err,
                   size_t err_len)
{
    unlink(path);
    int fd = open_locked(path, LINK_LOCK_CONTROL, O_CREAT | O_EXCL, 0, err, err_len);
    close(old_fd);
    if (fd < 0)
        return fd;
    int rc = format(ret, fd, workers, err, err_len);
    if (rc) {
        unlink(path);
        close(fd);
    }
    return rc;
}

/* 1: its journal holds what clients were told of and no file has. 0, or -errno: nobody knows. */
static int has_journal(int fd, size_t total, char *err, size_t err_len)
{
    struct link *l;
    uint64_t n = 0;
    int rc = map(&l, fd, total, true, err, err_len);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < l->workers; i++) {
        struct ring r;
        n += link_journal_ring(l, i, &r) == 0 ? ring_backlog(&r) : 0;
    }
    munmap(l->h, l->total);
    free(l);
    return n != 0;
}

int link_open_control(struct link **ret, const char *instance, uint32_t workers, bool *ret_fresh,
                      char *err, size_t err_len)
{
    char path[128];
    if (workers < 1 || workers > LIMIT_WORKERS)
        return fail(err, err_len, -EINVAL, "workers must be 1 to %d", LIMIT_WORKERS);
    int rc = check_path(path, sizeof path, instance, err, err_len);
    if (rc)
        return rc;
    int fd = open_locked(path, LINK_LOCK_CONTROL, O_CREAT, CONTROL_PATIENCE_MS, err, err_len);
    if (fd < 0)
        return fd;

    struct link *l = NULL;
    struct link_header h = {0};
    enum verdict v = look(fd, &h);
    /* With the dataplane's lock in hand no dataplane can attach while the region is replaced. */
    bool fresh = lock_take(fd, LINK_LOCK_DATAPLANE);
    rc = fresh && v == REGION_OURS ? has_journal(fd, h.total_bytes, err, err_len) : 0;
    if (rc == 0 && v == REGION_UNREADABLE)
        rc = fail(err, err_len, -EIO, "%s cannot be read", path);
    if (rc) {
        close(fd);
        return rc < 0
                   ? rc
                   : fail(err, err_len, -EAGAIN, "%s holds writes that are in no file yet", path);
    }
    if (fresh) {
        rc = replace(&l, fd, path, workers, err, err_len);
        if (rc)
            return rc;
    } else if (v != REGION_OURS) {
        int pid = v == REGION_EMPTY ? 0 : h.dp_pid;
        rc = mismatch(&h, "barewire-control", "barewire-dataplane", pid, err, err_len);
        close(fd);
        return rc;
    } else {
        rc = map(&l, fd, h.total_bytes, true, err, err_len);
        if (!rc && (rc = link_views(l))) {
            fail(err, err_len, rc, "the rings of the running dataplane are damaged: stop it");
            munmap(l->h, l->total);
            free(l);
        }
        if (rc) {
            close(fd);
            return rc;
        }
    }
    snprintf(l->instance, sizeof l->instance, "%s", instance);
    if (fresh)
        CHECK(link_views(l) == 0); /* just formatted, and nobody else is there */
    l->seen_generation = link_generation(l);
    __atomic_store_n(&l->h->control_pid, getpid(), __ATOMIC_RELAXED);
    __atomic_add_fetch(&l->h->control_generation, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&l->h->control_asleep, 0, __ATOMIC_RELAXED);
    /* What was meant for the control process that died is given up with it. */
    for (uint32_t i = 0; i < l->workers; i++)
        ring_resync(&l->from[i]);
    *ret = l;
    *ret_fresh = fresh;
    return 0;
}

int link_open_leftover(struct link **ret, const char *instance)
{
    char path[128], err[256];
    struct link_header h = {0};
    struct link *l = NULL;
    if (!instance_path(path, sizeof path, instance))
        return -EINVAL;
    int fd = open_locked(path, LINK_LOCK_CONTROL, 0, 0, err, sizeof err);
    if (fd < 0)
        return fd;
    enum verdict v = look(fd, &h);
    int rc = v == REGION_OURS ? 0 : v == REGION_UNREADABLE ? -EIO : -ENOENT;
    if (!rc && !lock_take(fd, LINK_LOCK_DATAPLANE))
        rc = -EBUSY;
    if (!rc)
        rc = map(&l, fd, h.total_bytes, true, err, sizeof err);
    if (rc) {
        close(fd);
        return rc;
    }
    snprintf(l->instance, sizeof l->instance, "%s", instance);
    *ret = l;
    return 0;
}

int link_open_dataplane(struct link **ret, const char *instance, char *err, size_t err_len)
{
    char path[128];
    int rc = check_path(path, sizeof path, instance, err, err_len);
    if (rc)
        return rc;
    int fd = open_locked(path, LINK_LOCK_DATAPLANE, 0, 0, err, err_len);
    if (fd == -ENOENT)
        return fail(err, err_len, -ENOENT, "no link %s: barewire-control makes it, start that",
                    path);
    if (fd < 0)
        return fd;
    struct link_header h = {0};
    enum verdict v = look(fd, &h);
    if (v == REGION_EMPTY)
        rc = fail(err, err_len, -ENOENT, "the link %s is not made yet, or not one of ours", path);
    else if (v == REGION_OTHER)
        rc = mismatch(&h, "barewire-dataplane", "barewire-control", h.control_pid, err, err_len);
    else
        rc = map(ret, fd, h.total_bytes, false, err, err_len);
    if (!rc) {
        snprintf((*ret)->instance, sizeof(*ret)->instance, "%s", instance);
        /* Damaged rings are no reason to stay away: link_dp_begin formats them. */
        if (link_views(*ret) == 0)
            (*ret)->seen_generation = link_generation(*ret);
        return 0;
    }
    close(fd);
    return rc;
}

void link_close(struct link *l)
{
    if (!l)
        return;
    /* The process may have forked (tests do): an inherited descriptor must not keep the lock. */
    lock_give(l->fd, l->control ? LINK_LOCK_CONTROL : LINK_LOCK_DATAPLANE);
    munmap(l->h, l->total);
    close(l->fd);
    free(l);
}

void link_unlink(const char *instance)
{
    char path[128];
    if (instance_path(path, sizeof path, instance))
        unlink(path);
}
