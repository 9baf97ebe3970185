/* recover.c: which files a log consists of at a start, and whether each of them is whole. Nothing is given to a worker before all of that is known, but for the RDB
 * file in front, whose end only its loading tells (appendonly_base_loaded).
 *
 *   manifest -> base, increments -> aof_check -> struct replay_file of each: what of it is to be replayed
 *
 * Thread: the main thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/log.h"
#include "control/store/appendonly_internal.h"
#include "control/store/file_ops.h"
#include "control/store/upgrade.h"
#include "engine/log/aof.h"

#define PATH_BYTES 8192

static int map_file(const char *path, struct span *ret)
{
    struct stat st;
    int fd = file_ops.open(path, O_RDONLY, 0);
    *ret = (struct span){0};
    if (fd < 0 || fstat(fd, &st)) {
        int rc = -errno;
        if (fd >= 0)
            file_ops.close(fd);
        return rc;
    }
    if (st.st_size) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            int rc = -errno;
            file_ops.close(fd);
            return rc;
        }
        *ret = span_of(p, (size_t)st.st_size);
    }
    file_ops.close(fd);
    return 0;
}

static void unmap(struct span s)
{
    if (s.n)
        munmap((void *)(uintptr_t)s.p, s.n);
}

void appendonly_unmap(struct appendonly *a)
{
    for (uint32_t i = 0; i < a->nfiles; i++)
        unmap(a->files[i].bytes);
    free(a->files);
    a->files = NULL;
    a->nfiles = 0;
}

/* Whoever reads it after a power cut reads what was read now. */
static int sync_file(const char *path)
{
    int fd = file_ops.open(path, O_RDONLY, 0);
    int rc = fd < 0 || file_ops.fsync(fd) ? -errno : 0;
    if (fd >= 0)
        file_ops.close(fd);
    return rc;
}

/* False: it could not be, and that was said. */
static bool cut_file(const char *path, uint64_t n)
{
    int fd = file_ops.open(path, O_RDWR, 0);
    int rc = fd < 0 || file_ops.ftruncate(fd, (off_t)n) || file_ops.fsync(fd) ? -errno : 0;
    if (fd >= 0)
        file_ops.close(fd);
    if (rc)
        log_warning("%s: cannot be cut at %llu: %s", path, (unsigned long long)n, strerror(-rc));
    return rc == 0;
}

/* What is cut off stays beside the file: another server may have written it. */
static int keep_tail(struct appendonly *a, const char *path, uint64_t from, struct span file)
{
    char aside[PATH_BYTES + 32];
    snprintf(aside, sizeof aside, "%s.cut-%llu", path, (unsigned long long)from);
    int fd = file_ops.open(aside, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    int rc = fd < 0 ? -errno : file_write_all(fd, file.p + from, file.n - from);
    if (!rc && file_ops.fsync(fd))
        rc = -errno;
    if (fd >= 0)
        file_ops.close(fd);
    return rc ? rc : file_sync_dir(a->m.dir);
}

/* The begin of a record whose end is still in a ring. */
static int remember_tail(struct appendonly *a, struct span tail)
{
    free(a->tail);
    a->tail_bytes = 0;
    a->tail = malloc(tail.n ? tail.n : 1);
    if (!a->tail)
        return -ENOMEM;
    memcpy(a->tail, tail.p, tail.n);
    a->tail_bytes = tail.n;
    return 0;
}

/* The file's end was never finished. False: it stays as it is, and the server does not start. */
static bool cut_tail(struct appendonly *a, const char *path, const struct aof_check *c,
                     struct span file)
{
    if (!a->config->control.aof_load_truncated) {
        log_warning("%s ends in the middle at offset %llu (%s), and aof-load-truncated is no: "
                    "`barewire check-files %s "
                    "--fix` cuts it there",
                    path, (unsigned long long)c->good_bytes, c->why, path);
        return false;
    }
    int rc = keep_tail(a, path, c->good_bytes, file);
    if (rc)
        log_warning("%s: cannot be cut at %llu: %s", path, (unsigned long long)c->good_bytes,
                    strerror(-rc));
    if (rc || !cut_file(path, c->good_bytes))
        return false;
    log_warning("%s was cut at offset %llu, the end of its last whole group: %llu bytes behind it "
                "were never "
                "finished (%s)",
                path, (unsigned long long)c->good_bytes,
                (unsigned long long)(file.n - c->good_bytes), c->why);
    return true;
}

/* The file ends in the middle of a record whose end is still in a ring. It keeps that until the next file has all of it, so that whoever goes on may die too. */
static bool leave_tail(struct appendonly *a, const char *path, const struct aof_check *c,
                       struct span file)
{
    if (c->last_group < c->first_group && a->tail_bytes >= file.n - c->good_bytes)
        return true; /* who went on died before it had that much again */
    snprintf(a->torn, sizeof a->torn, "%s", path);
    a->torn_at = c->good_bytes;
    a->torn_group = c->last_group + 1;
    if (remember_tail(a, span_of(file.p + c->good_bytes, file.n - c->good_bytes)) == 0)
        return true;
    log_warning("%s: no memory for its end", path);
    return false;
}

void appendonly_cut_torn(struct appendonly *a)
{
    if (!*a->torn || !a->journal || journal_status(a->journal).groups < a->torn_group)
        return;
    cut_file(a->torn, a->torn_at);
    a->torn[0] = 0;
}

/* What is at its end was never finished, or is gone on with in the next file: that its groups follow is looked at there. False: it cannot be used. */
static bool take_torn(struct appendonly *a, const char *path, const struct aof_check *c,
                      struct span file, bool last)
{
    if (a->adopts)
        return leave_tail(a, path, c, file);
    if (last)
        return cut_tail(a, path, c, file);
    return cut_file(path, c->good_bytes);
}

/* An increment of ours is never empty: its first line is on the disk before the manifest names it. One of Redis is, while nothing has been written. */
static bool is_emptied(const struct appendonly *a, struct span file)
{
    return !file.n && a->last_group;
}

static bool refuse_empty(const char *path)
{
    log_warning("%s, which the manifest names, is empty: what it held is lost. To start without it "
                "take its line out of the manifest",
                path);
    return false;
}

/* Looks at one file, which becomes the next to be replayed. `from`: where its commands begin. */
static bool look_at(struct appendonly *a, const char *name, uint64_t from, bool last)
{
    char path[PATH_BYTES];
    struct aof_check c;
    struct replay_file f = {0};
    manifest_path(&a->m, name, path, sizeof path);
    int rc = map_file(path, &f.bytes);
    if (rc) {
        log_warning("%s, which the manifest names: %s", path, strerror(-rc));
        return false;
    }
    if (is_emptied(a, f.bytes))
        return refuse_empty(path);
    aof_check(f.bytes, from, &c);
    if (c.ours && a->last_group && c.first_group && c.first_group != a->last_group + 1 &&
        c.verdict != AOF_DAMAGED) {
        c.verdict = AOF_DAMAGED;
        c.bad_group = a->last_group + 1;
        snprintf(c.why, sizeof c.why, "its first group is %llu, %llu was expected",
                 (unsigned long long)c.first_group, (unsigned long long)a->last_group + 1);
    }
    if (a->empty_before && c.ours && c.first_group > 1) {
        c.verdict = AOF_DAMAGED;
        c.bad_group = c.first_group - 1;
        snprintf(c.why, sizeof c.why, "the file before it is empty: what it held is lost");
    }
    a->empty_before = !f.bytes.n;
    if (a->torn_before && !(c.ours && c.first_group == a->last_group + 1)) {
        c.verdict = AOF_DAMAGED;
        snprintf(c.why, sizeof c.why, "the file before it ends in the middle");
    }
    if (c.verdict == AOF_DAMAGED || (c.verdict == AOF_TORN && !last && !c.ours)) {
        log_warning("%s is damaged at offset %llu, group %llu: %s. `barewire check-files %s --fix` "
                    "cuts it at the end "
                    "of the last whole group, offset %llu",
                    path, (unsigned long long)c.bad_at, (unsigned long long)c.bad_group, c.why,
                    path, (unsigned long long)c.good_bytes);
        unmap(f.bytes);
        return false;
    }
    a->torn_before = c.verdict == AOF_TORN;
    if (c.verdict == AOF_WHOLE && c.ours && c.last_group >= c.first_group) {
        a->tail_bytes = 0; /* what an earlier file lacks is here */
        a->torn[0] = 0;
    }
    struct span text = span_of(f.bytes.p, c.text_bytes);
    if ((c.verdict == AOF_TORN && !take_torn(a, path, &c, text, last)) ||
        (c.verdict == AOF_WHOLE && c.room && !cut_file(path, c.good_bytes))) {
        unmap(f.bytes);
        return false;
    }
    if ((rc = sync_file(path)) != 0) {
        log_warning("%s: %s", path, strerror(-rc));
        unmap(f.bytes);
        return false;
    }
    a->last_group = c.ours ? c.last_group : 0;
    f.name = name;
    f.from = c.ours ? 0 : from;
    f.to = c.good_bytes;
    a->total_bytes += f.to - f.from;
    a->files[a->nfiles++] = f;
    return true;
}

static bool is_rdb(const struct manifest *m, uint64_t *ret_bytes)
{
    char path[PATH_BYTES], magic[5] = "";
    struct stat st;
    manifest_path(m, m->base.name, path, sizeof path);
    int fd = file_ops.open(path, O_RDONLY, 0);
    bool rdb = fd >= 0 && file_ops.read(fd, magic, 5) == 5 && memcmp(magic, "REDIS", 5) == 0;
    *ret_bytes = fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    if (fd >= 0)
        file_ops.close(fd);
    return rdb;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);
    return n >= k && strcmp(name + n - k, end) == 0;
}

enum appendonly_plan appendonly_plan(struct appendonly *a, char *base, size_t n)
{
    const struct config_control *c = &a->config->control;
    char err[PATH_BYTES + 100];
    if (!c->appendonly || a->unfinished)
        return APPENDONLY_OFF;
    if (appendonly_hold(a, true))
        return APPENDONLY_REFUSED;
    int rc = manifest_read(&a->m, c->dir, c->appenddirname, c->appendfilename, err, sizeof err);
    if (!rc || rc == -ENOENT)
        rc = upgrade_finish(&a->m, c->dir, rc == 0, err, sizeof err);
    if (rc == -ENOENT) {
        a->has_manifest = false;
        return APPENDONLY_EMPTY;
    }
    if (rc) {
        log_warning("%s", err);
        return APPENDONLY_REFUSED;
    }
    a->has_manifest = true;
    appendonly_unmap(a);
    a->files = calloc(a->m.incrs + 1, sizeof *a->files);
    a->total_bytes = a->last_group = a->tail_bytes = 0;
    a->torn_before = a->empty_before = false;
    if (!a->files) {
        log_warning("No memory to load the append-only log");
        return APPENDONLY_REFUSED;
    }
    bool rdb = a->m.has_base && is_rdb(&a->m, &a->base_bytes);
    a->rdb_bytes = rdb ? a->base_bytes : 0;
    manifest_path(&a->m, a->m.base.name, base, n);
    if (a->m.has_base && !rdb && ends_with(a->m.base.name, ".base.rdb")) {
        log_warning("%s, which the manifest names: %s", base,
                    access(base, F_OK) ? strerror(errno)
                    : a->base_bytes    ? "this is no RDB file"
                                       : "it is empty: what it held is lost");
        return APPENDONLY_REFUSED;
    }
    if (a->m.has_base && !rdb && !look_at(a, a->m.base.name, 0, !a->m.incrs))
        return APPENDONLY_REFUSED;
    for (uint32_t i = 0; i < a->m.incrs; i++)
        if (!look_at(a, a->m.incr[i].name, 0, i + 1 == a->m.incrs))
            return APPENDONLY_REFUSED;
    return rdb ? APPENDONLY_BASE_RDB : APPENDONLY_LOG;
}

bool appendonly_base_loaded(struct appendonly *a, uint64_t rdb_bytes)
{
    uint64_t group = a->last_group, total = a->total_bytes;
    uint32_t n = a->nfiles;
    if (rdb_bytes >= a->base_bytes)
        return true;
    a->last_group = 0;
    a->torn_before = false;
    if (!look_at(a, a->m.base.name, rdb_bytes, !a->m.incrs))
        return false;
    struct replay_file tail = a->files[n];
    memmove(a->files + 1, a->files, n * sizeof *a->files);
    a->files[0] = tail;
    a->rdb_bytes = rdb_bytes;
    log_notice("%s: an RDB file of %llu bytes with %llu bytes of commands behind it",
               a->m.base.name, (unsigned long long)rdb_bytes,
               (unsigned long long)(a->total_bytes - total));
    if (a->m.incrs)
        a->last_group = group;
    return true;
}
