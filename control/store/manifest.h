/* manifest: which files the append-only log consists of, as Redis 7 writes it: dir/appenddirname/<appendfilename>.manifest
 *
 *   file appendonly.aof.1.base.rdb seq 1 type b
 *   file appendonly.aof.1.incr.aof seq 1 type i        in the order they are loaded
 *
 *   file appendonly.aof.1.base.rdb seq 1 type h        no part of it any more: to be deleted
 *
 * It is replaced whole: temporary file, fsync, rename, fsync of the directory. Lines that start with '#' are skipped. Thread: any, one at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MANIFEST_INCRS 1024
#define MANIFEST_NAME  256

struct manifest_file {
    char name[MANIFEST_NAME];
    uint64_t seq;
};

struct manifest {
    char dir[4096];   /* where the files are */
    char prefix[128]; /* appendfilename */
    bool has_base;
    struct manifest_file base;
    uint64_t last_base_seq, last_incr_seq; /* that were ever named */
    uint32_t incrs;
    struct manifest_file incr[MANIFEST_INCRS];
    uint32_t histories;
    struct manifest_file history[MANIFEST_INCRS + 1];
};

/* Reads it. 0; -ENOENT: there is none; -EINVAL or another error with `err` filled. `m` keeps dir and prefix in any case. */
int manifest_read(struct manifest *m, const char *dir, const char *dirname, const char *prefix,
                  char *err, size_t err_len);
/* Makes it what the disk says. 0 or -errno; `ret_named` (or NULL): the file has its name, even where its directory could not be synced: after a power cut
 * it is there or the one before it. */
int manifest_write(const struct manifest *m, bool *ret_named);
/* The next increment, named and added. False: there are too many. */
bool manifest_add_incr(struct manifest *m);
/* The next base, named, and the increments from `first` (an index) on; what was there before is history. */
void manifest_replace(struct manifest *m, uint32_t first);
/* Name of the base that manifest_replace will name. */
void manifest_next_base(const struct manifest *m, char *to, size_t n);
/* Deletes what is history, then names it no more. 0 or -errno. */
int manifest_drop_history(struct manifest *m);
/* "<dir>/<name>" */
void manifest_path(const struct manifest *m, const char *name, char *to, size_t n);
