/* dir_lock.c: see dir_lock.h. */
#include "control/store/dir_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "control/store/file_ops.h"
#include "engine/link/link.h"

#define POLL_MS 20

struct holder {
    long pid;
    char instance[64];
};

static struct holder read_holder(int fd)
{
    struct holder h = {0};
    char text[128] = "";
    if (lseek(fd, 0, SEEK_SET) == 0 && file_ops.read(fd, text, sizeof text - 1) > 0 &&
        sscanf(text, "%ld %63s", &h.pid, h.instance) < 1)
        h.pid = 0;
    return h;
}

/* 0, or -EWOULDBLOCK. */
static int lock(int fd, int patience_ms)
{
    for (int ms = 0; flock(fd, LOCK_EX | LOCK_NB); ms += POLL_MS) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        if (ms >= patience_ms)
            return -EWOULDBLOCK;
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
    }
    return 0;
}

static bool left_alone(const struct holder *h, const char *instance)
{
    struct link *l;
    if (!*h->instance || strcmp(h->instance, instance) == 0)
        return false;
    int rc = link_open_leftover(&l, h->instance);
    if (rc == 0)
        link_close(l);
    return rc == -EBUSY;
}

static void sign(int fd, const char *instance)
{
    char text[128];
    int n = snprintf(text, sizeof text, "%d %s\n", (int)getpid(), instance);
    if (file_ops.ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0)
        file_write_all(fd, text, (size_t)n); /* a full disk: the lock holds without a name */
}

static int take(const char *dir, const char *instance, int patience_ms, char *err, size_t n)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", dir, DIR_LOCK_NAME);
    int fd = file_ops.open(path, O_RDWR | O_CREAT, 0644);
    if (fd < 0) {
        int rc = -errno;
        snprintf(err, n, "%s: %s", path, strerror(-rc));
        return rc;
    }
    int rc = lock(fd, patience_ms);
    struct holder h = read_holder(fd);
    if (rc == -EWOULDBLOCK) {
        snprintf(err, n, "%s: another server (pid %ld, instance %s) works in this directory", dir,
                 h.pid, h.instance);
    } else if (rc) {
        snprintf(err, n, "%s: %s", path, strerror(-rc));
    } else if (left_alone(&h, instance)) {
        rc = -EWOULDBLOCK;
        snprintf(err, n,
                 "%s: a dataplane of instance %s, whose control (pid %ld) died, writes for this "
                 "directory: start that instance again",
                 dir, h.instance, h.pid);
    }
    if (rc) {
        file_ops.close(fd);
        return rc;
    }
    sign(fd, instance);
    return fd;
}

int dir_locks_hold(struct dir_locks *l, const char *dir, const char *instance, int patience_ms,
                   char *err, size_t n)
{
    char real[PATH_MAX];
    if (!realpath(dir, real)) {
        int rc = -errno;
        snprintf(err, n, "%s: %s", dir, strerror(-rc));
        return rc;
    }
    for (int i = 0; i < l->count; i++)
        if (strcmp(l->dir[i], real) == 0)
            return 0;
    if (l->count == DIR_LOCK_FILES) {
        snprintf(err, n, "%s: %d directories are held already", dir, DIR_LOCK_FILES);
        return -EMFILE;
    }
    int fd = take(real, instance, patience_ms, err, n);
    if (fd < 0)
        return fd;
    char *copy = strdup(real);
    if (!copy) {
        file_ops.close(fd);
        snprintf(err, n, "no memory");
        return -ENOMEM;
    }
    l->fd[l->count] = fd;
    l->dir[l->count++] = copy;
    return 1;
}

void dir_locks_free(struct dir_locks *l, bool over)
{
    while (l->count) {
        int fd = l->fd[--l->count];
        if (over && file_ops.ftruncate(fd, 0))
            over = false; /* the name of one that is gone stays in it */
        file_ops.close(fd);
        free(l->dir[l->count]);
    }
}
