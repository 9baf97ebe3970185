/* file_ops.c: the calls of the system, and what is always done with several of them. */
#include "control/store/file_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static int open_cloexec(const char *path, int flags, mode_t mode)
{
    return open(path, flags | O_CLOEXEC, mode);
}

struct file_ops file_ops = {
    .open = open_cloexec,
    .read = read,
    .write = write,
    .fsync = fsync,
    .fdatasync = fdatasync,
    .ftruncate = ftruncate,
    .rename = rename,
    .unlink = unlink,
    .mkdir = mkdir,
    .close = close,
};

int file_write_all(int fd, const void *p, size_t n)
{
    const uint8_t *at = p;
    while (n) {
        ssize_t done = file_ops.write(fd, at, n < FILE_PIECE_BYTES ? n : FILE_PIECE_BYTES);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -ENOSPC;
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

int file_sync_dir(const char *dir)
{
    int fd = file_ops.open(dir, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return -errno;
    int rc = file_ops.fsync(fd) ? -errno : 0;
    file_ops.close(fd);
    return rc;
}
