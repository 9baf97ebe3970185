/* log_file: the increment that is being written, and what is known of its bytes.
 *
 *   0 ......... synced ......... good ......... end ......... room_end
 *     on disk        whole groups    a group that       room
 *                                    is not finished
 *
 * Room (engine/log/aof.h) is made with a group that ends behind what there was, and the groups that follow are written over it: their fsync finds the file no
 * longer than it was, and there is no inode to be written. It never stands behind a part of a group. When there is no space for it the log goes on without.
 *
 * After a write or an fsync that failed nothing is taken for granted. What is behind `end` is cut off before the next write. A failed fsync may have made the
 * kernel forget that pages are to be written, so that the next one succeeds for nothing: the bytes since the last good fsync are kept in memory and
 * written anew, in place, until an fsync behind that writing succeeds; room, of which the same may be true, is cut off.
 * Thread: the journal's writer; log_file_fsync: the one that syncs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_file {
    int fd; /* -1: none */
    char path[4096 + 300];
    uint64_t synced_bytes, good_bytes, end_bytes;
    uint64_t room_end;   /* not behind end_bytes: there is none */
    uint64_t no_room_to; /* there was no space for it: not tried before the file is so long */
    bool owed;           /* there may be bytes behind end_bytes that are no room */
    bool suspect;        /* an fsync has failed since synced_bytes */
    const char *
        unsynced_dir; /* where its name may not outlive a power cut: synced with the next fsync; NULL: it does */
    uint8_t *again; /* of a suspect file: synced_bytes to end_bytes; NULL: not read yet */
};

/* A new file that begins with those bytes, on the disk. 0 or -errno: then `f` is as it was. */
int log_file_begin(struct log_file *f, const char *path, const void *head, size_t n);
/* Bytes behind the end. 0 or -errno: then nothing of them is in the file, or it is cut off by the next call. Not while it is suspect. */
int log_file_write(struct log_file *f, const void *p, size_t n);
/* The same with bytes that end a group where one may end, over room; all before them is on the disk. */
int log_file_write_over(struct log_file *f, const void *p, size_t n);
/* No room behind the end any more. 0 or -errno. */
int log_file_trim(struct log_file *f);
static inline bool log_file_has_room(const struct log_file *f)
{
    return f->room_end > f->end_bytes;
}
/* What was written so far is whole groups. */
void log_file_whole(struct log_file *f);
/* The group that is not finished was never there. */
void log_file_drop(struct log_file *f);
/* fdatasync. 0 or -errno. Changes nothing here. */
int log_file_fsync(const struct log_file *f);
/* An fsync has ended; `bytes`: good_bytes when it began. */
void log_file_synced(struct log_file *f, uint64_t bytes, int rc);
/* Writes a suspect file's bytes anew and fsyncs them. 0: it is no longer suspect. Nobody else syncs it meanwhile. */
int log_file_mend(struct log_file *f);
/* Without room, if that can be. */
void log_file_close(struct log_file *f);
