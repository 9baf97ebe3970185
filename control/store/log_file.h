/* log_file: the increment that is being written, and what is known of its bytes.
 *
 *   0 ......... synced ......... good ......... end
 *     on disk        whole groups    a group that is not finished
 *
 * After a write or an fsync that failed nothing is taken for granted. What is behind `end` is cut off before the next write. A failed fsync may have made the
 * kernel forget that pages are to be written, so that the next one succeeds for nothing: the bytes since the last good fsync are kept in memory and
 * written anew, in place, until an fsync behind that writing succeeds. Thread: the journal's writer; log_file_fsync: the one that syncs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_file {
    int fd; /* -1: none */
    char path[4096 + 300];
    uint64_t synced_bytes, good_bytes, end_bytes;
    bool owed;    /* there may be bytes behind end_bytes */
    bool suspect; /* an fsync has failed since synced_bytes */
    const char *
        unsynced_dir; /* where its name may not outlive a power cut: synced with the next fsync; NULL: it does */
    uint8_t *again; /* of a suspect file: synced_bytes to end_bytes; NULL: not read yet */
};

/* A new file that begins with those bytes, on the disk. 0 or -errno: then `f` is as it was. */
int log_file_begin(struct log_file *f, const char *path, const void *head, size_t n);
/* Bytes behind the end. 0 or -errno: then nothing of them is in the file, or it is cut off by the next call. Not while it is suspect. */
int log_file_write(struct log_file *f, const void *p, size_t n);
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
void log_file_close(struct log_file *f);
