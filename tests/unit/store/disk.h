/* disk: files that fail as disks do. It stands behind file_ops and keeps apart what a file says and what of it would still be there after a power cut.
 *
 *   write -> the file, and its bytes are to be written back -> fsync: into `image`; an fsync that fails forgets them, as Linux does
 *
 * One file is looked at: the one opened last for writing whose name ends in ".aof". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_BYTES (32 * 1024 * 1024)

/* How many of the next calls fail (atomic; the threads under test count them down), and with what. */
struct disk {
    int fsync_fails, write_fails, truncate_fails, read_fails;
    int error;        /* errno */
    size_t write_has; /* a write that fails has written so many bytes before */
    size_t full_at;   /* no file becomes longer than that; 0: any (atomic) */
    bool fsync_waits; /* fdatasync does not end while it is set (atomic) */
    bool fsync_lies;  /* nothing happens (atomic) */
    int dir_fsyncs;   /* of the directory that is watched */
    size_t
        write_longest; /* of all writes: bytes of a call (under a lock; read it when nobody writes) */
    bool write_straddles; /* one went over a multiple of FILE_PIECE_BYTES in the file (as that) */
    uint8_t *image;       /* what a power cut would leave */
    size_t image_bytes;
};
extern struct disk disk;

void disk_begin(void);
void disk_end(void);
void disk_watch_dir(const char *path);
/* From now on no other file is looked at. */
void disk_hold(void);
/* Whether those bytes are in what a power cut would leave. */
bool disk_has(const void *p, size_t n);
