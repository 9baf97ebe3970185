/* manifest: which files the append-only log consists of, as Redis 7 writes it: dir/appenddirname/<appendfilename>.manifest
 *
 *   file appendonly.aof.1.base.rdb seq 1 type b
 *   file appendonly.aof.1.incr.aof seq 1 type i        in the order they are loaded
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
};

/* Reads it. 0; -ENOENT: there is none; -EINVAL or another error with `err` filled. `m` keeps dir and prefix in any case. */
int manifest_read(struct manifest *m, const char *dir, const char *dirname, const char *prefix,
                  char *err, size_t err_len);
/* Makes it what the disk says. 0 or -errno. The directory is made when it is not there. */
int manifest_write(const struct manifest *m);
/* The next increment, named and added. False: there are too many. */
bool manifest_add_incr(struct manifest *m);
/* "<dir>/<name>" */
void manifest_path(const struct manifest *m, const char *name, char *to, size_t n);
