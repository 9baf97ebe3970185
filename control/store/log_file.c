/* log_file.c: see log_file.h. */
#include "control/store/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/store/file_ops.h"
#include "engine/log/aof.h"

#define ROOM_PIECES      2 /* room ends where a piece of the file does, and has no more of them */
#define ROOM_RETRY_BYTES (1u << 20)

/* What lies before the next whole piece of the file by itself, so that the pieces that follow are whole ones. */
static int write_at(int fd, uint64_t at, const void *p, size_t n)
{
    size_t first = FILE_PIECE_BYTES - at % FILE_PIECE_BYTES;
    if (first > n)
        first = n;
    if (lseek(fd, (off_t)at, SEEK_SET) < 0)
        return -errno;
    int rc = file_write_all(fd, p, first);
    return rc ? rc : file_write_all(fd, (const uint8_t *)p + first, n - first);
}

int log_file_begin(struct log_file *f, const char *path, const void *head, size_t n)
{
    int fd = file_ops.open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    int rc = fd < 0 ? -errno : write_at(fd, 0, head, n);
    if (!rc && file_ops.fsync(fd))
        rc = -errno;
    if (rc) {
        if (fd >= 0)
            file_ops.close(fd);
        return rc;
    }
    log_file_close(f);
    *f = (struct log_file){.fd = fd, .synced_bytes = n, .good_bytes = n, .end_bytes = n};
    snprintf(f->path, sizeof f->path, "%s", path);
    return 0;
}

static int cut(struct log_file *f)
{
    if (f->owed && file_ops.ftruncate(f->fd, (off_t)f->end_bytes))
        return -errno;
    if (f->owed)
        f->room_end = f->end_bytes;
    f->owed = false;
    return 0;
}

int log_file_trim(struct log_file *f)
{
    f->owed |= log_file_has_room(f);
    return cut(f);
}

static int write_more(struct log_file *f, const void *p, size_t n)
{
    int rc = write_at(f->fd, f->end_bytes, p, n);
    if (rc) {
        f->owed = true;
        cut(f); /* at once if it can be: whoever reads the file finds no half group */
        return rc;
    }
    f->end_bytes += n;
    return 0;
}

int log_file_write(struct log_file *f, const void *p, size_t n)
{
    int rc = log_file_trim(f);
    return rc ? rc : write_more(f, p, n);
}

/* What was written of room that there is no space for goes again: other files may need it. */
static void make_room(struct log_file *f)
{
    uint64_t at = f->end_bytes, end = (at / FILE_PIECE_BYTES + ROOM_PIECES) * FILE_PIECE_BYTES;
    uint8_t *room = malloc(FILE_PIECE_BYTES); /* as it is from any multiple of that on */
    int rc = room ? 0 : -ENOMEM;
    if (room)
        aof_write_room(room, 0, FILE_PIECE_BYTES);
    for (size_t n; !rc && at < end; at += n) {
        size_t from = at % FILE_PIECE_BYTES;
        n = FILE_PIECE_BYTES - from;
        rc = file_write_all(f->fd, room + from, n);
    }
    free(room);
    f->room_end = end;
    if (!rc)
        return;
    f->no_room_to = f->end_bytes + ROOM_RETRY_BYTES;
    log_file_trim(f);
}

int log_file_write_over(struct log_file *f, const void *p, size_t n)
{
    int rc = cut(f);
    if (!rc)
        rc = write_more(f, p, n);
    if (!rc && f->end_bytes > f->room_end && f->end_bytes >= f->no_room_to)
        make_room(f);
    return rc;
}

void log_file_whole(struct log_file *f)
{
    f->good_bytes = f->end_bytes;
}

void log_file_drop(struct log_file *f)
{
    f->owed |= f->end_bytes != f->good_bytes;
    f->end_bytes = f->good_bytes;
    cut(f);
}

int log_file_fsync(const struct log_file *f)
{
    int rc = f->unsynced_dir ? file_sync_dir(f->unsynced_dir) : 0;
    return rc ? rc : file_ops.fdatasync(f->fd) ? -errno : 0;
}

void log_file_synced(struct log_file *f, uint64_t bytes, int rc)
{
    if (!rc)
        f->unsynced_dir = NULL;
    if (rc)
        f->suspect = true;
    else if (!f->suspect)
        f->synced_bytes = bytes;
}

/* What the kernel still has of them. */
static int read_again(struct log_file *f)
{
    size_t n = f->end_bytes - f->synced_bytes, got = 0;
    uint8_t *copy = malloc(n ? n : 1);
    int fd = copy ? file_ops.open(f->path, O_RDONLY, 0) : -1;
    int rc = !copy ? -ENOMEM : fd < 0 ? -errno : 0;
    if (!rc && lseek(fd, (off_t)f->synced_bytes, SEEK_SET) < 0)
        rc = -errno;
    while (!rc && got < n) {
        ssize_t r = file_ops.read(fd, copy + got, n - got);
        if (r > 0)
            got += (size_t)r;
        else if (r == 0 || errno != EINTR)
            rc = r < 0 ? -errno : -EIO;
    }
    if (fd >= 0)
        file_ops.close(fd);
    if (rc)
        free(copy);
    else
        f->again = copy;
    return rc;
}

int log_file_mend(struct log_file *f)
{
    int rc = log_file_trim(f);
    if (!rc && !f->again)
        rc = read_again(f);
    if (!rc)
        rc = write_at(f->fd, f->synced_bytes, f->again, f->end_bytes - f->synced_bytes);
    if (!rc)
        rc = log_file_fsync(f);
    if (rc)
        return rc;
    free(f->again);
    f->again = NULL;
    f->unsynced_dir = NULL;
    f->suspect = false;
    f->synced_bytes = f->good_bytes;
    return 0;
}

void log_file_close(struct log_file *f)
{
    if (f->fd >= 0) {
        log_file_trim(f);
        file_ops.close(f->fd);
    }
    free(f->again);
    f->again = NULL;
    f->fd = -1;
}
