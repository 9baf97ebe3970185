/* file_ops: every call of control/store that touches a file goes through this table, so that tests can make any of them fail.
 * Thread: any; the table is changed by tests only, before threads are there. */
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

struct file_ops {
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*read)(int fd, void *to, size_t n);
    ssize_t (*write)(int fd, const void *p, size_t n);
    int (*fsync)(int fd);
    int (*fdatasync)(int fd);
    int (*ftruncate)(int fd, off_t n);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int (*mkdir)(const char *path, mode_t mode);
    int (*close)(int fd);
};
extern struct file_ops file_ops;

/* The longest write: docs/performance.md, What lasts. Linux takes what a call brings into folios up to as large as the call, and copying into large ones was slow:
 * a MB took five times the processor time in one call that it took in calls of 128 KB, and one and a half times in calls of 32 KB. */
#define FILE_PIECE_BYTES (128u << 10)

/* All of it, in as many calls as it takes. 0 or -errno. */
int file_write_all(int fd, const void *p, size_t n);
/* The directory's own entries reach the disk: after a create or a rename. 0 or -errno. */
int file_sync_dir(const char *dir);
