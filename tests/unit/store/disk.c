/* disk.c: see disk.h. */
#include "tests/unit/store/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "control/store/file_ops.h"
#include "tests/unit/unit.h"

struct disk disk;
static struct file_ops system_ops;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint8_t *dirty;
static size_t dirty_end; /* nothing is dirty from there on */
static ino_t looked_at, watched;
static bool held;

static bool fails(int *left)
{
    int n = __atomic_load_n(left, __ATOMIC_SEQ_CST);
    while (n > 0)
        if (__atomic_compare_exchange_n(left, &n, n - 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return true;
    return false;
}

static bool is_it(int fd)
{
    struct stat st;
    return looked_at && fstat(fd, &st) == 0 && st.st_ino == looked_at;
}

static int disk_open(const char *path, int flags, mode_t mode)
{
    size_t n = strlen(path);
    struct stat st;
    if ((flags & O_ACCMODE) == O_WRONLY)
        flags = (flags & ~O_ACCMODE) | O_RDWR; /* sync_it reads it */
    int fd = system_ops.open(path, flags, mode);
    if (fd < 0 || (flags & O_ACCMODE) == O_RDONLY || n < 4 || strcmp(path + n - 4, ".aof") != 0 ||
        fstat(fd, &st))
        return fd;
    pthread_mutex_lock(&mutex);
    if (st.st_ino != looked_at && !held) {
        looked_at = st.st_ino;
        disk.image_bytes = 0;
        memset(dirty, 0, dirty_end);
        dirty_end = 0;
    }
    pthread_mutex_unlock(&mutex);
    return fd;
}

static ssize_t disk_read(int fd, void *to, size_t n)
{
    if (is_it(fd) && fails(&disk.read_fails)) {
        errno = disk.error;
        return -1;
    }
    return system_ops.read(fd, to, n);
}

static ssize_t disk_write(int fd, const void *p, size_t n)
{
    if (!is_it(fd))
        return system_ops.write(fd, p, n);
    bool bad = fails(&disk.write_fails);
    size_t full_at = __atomic_load_n(&disk.full_at, __ATOMIC_SEQ_CST);
    if (bad && disk.write_has < n)
        n = disk.write_has;
    pthread_mutex_lock(&mutex);
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (full_at && (size_t)at + n > full_at) {
        bad = true;
        n = (size_t)at < full_at ? full_at - (size_t)at : 0;
    }
    ssize_t done = n ? system_ops.write(fd, p, n) : 0;
    if (n > disk.write_longest)
        disk.write_longest = n;
    disk.write_straddles |=
        n && (size_t)at / FILE_PIECE_BYTES != ((size_t)at + n - 1) / FILE_PIECE_BYTES;
    if (done > 0 && at + done <= DISK_BYTES) {
        memset(dirty + at, 1, (size_t)done);
        if ((size_t)(at + done) > dirty_end)
            dirty_end = (size_t)(at + done);
    }
    pthread_mutex_unlock(&mutex);
    if (!bad || done > 0)
        return done; /* a short one: the caller tries the rest */
    errno = disk.error;
    return -1;
}

static int sync_it(int fd)
{
    if (!is_it(fd) || __atomic_load_n(&disk.fsync_lies, __ATOMIC_SEQ_CST))
        return 0;
    bool bad = fails(&disk.fsync_fails);
    pthread_mutex_lock(&mutex);
    struct stat st;
    fstat(fd, &st);
    size_t n = st.st_size < DISK_BYTES ? (size_t)st.st_size : DISK_BYTES;
    for (size_t i = 0; !bad && i < n; i++) {
        size_t k = i;
        while (k < n && dirty[k])
            k++;
        if (k == i)
            continue;
        assert_int_equal(pread(fd, disk.image + i, k - i, (off_t)i), k - i);
        i = k - 1;
    }
    memset(dirty, 0, dirty_end);
    dirty_end = 0;
    if (!bad)
        disk.image_bytes = n;
    pthread_mutex_unlock(&mutex);
    if (bad)
        errno = disk.error;
    return bad ? -1 : 0;
}

static int disk_fsync(int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_ino == watched)
        __atomic_add_fetch(&disk.dir_fsyncs, 1, __ATOMIC_SEQ_CST);
    return sync_it(fd);
}

static int disk_fdatasync(int fd)
{
    struct timespec ms = {0, 1000000};
    while (is_it(fd) && __atomic_load_n(&disk.fsync_waits, __ATOMIC_SEQ_CST))
        nanosleep(&ms, NULL);
    return sync_it(fd);
}

static int disk_ftruncate(int fd, off_t n)
{
    if (is_it(fd) && fails(&disk.truncate_fails)) {
        errno = disk.error;
        return -1;
    }
    return system_ops.ftruncate(fd, n);
}

void disk_begin(void)
{
    disk = (struct disk){.error = EIO, .image = calloc(1, DISK_BYTES)};
    dirty = calloc(1, DISK_BYTES);
    looked_at = watched = 0;
    dirty_end = 0;
    held = false;
    system_ops = file_ops;
    file_ops.open = disk_open;
    file_ops.read = disk_read;
    file_ops.write = disk_write;
    file_ops.fsync = disk_fsync;
    file_ops.fdatasync = disk_fdatasync;
    file_ops.ftruncate = disk_ftruncate;
}

void disk_end(void)
{
    file_ops = system_ops;
    free(disk.image);
    free(dirty);
    disk.image = dirty = NULL;
}

void disk_watch_dir(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    watched = st.st_ino;
}

void disk_hold(void)
{
    held = true;
}

bool disk_has(const void *p, size_t n)
{
    pthread_mutex_lock(&mutex);
    bool has = memmem(disk.image, disk.image_bytes, p, n) != NULL;
    pthread_mutex_unlock(&mutex);
    return has;
}
