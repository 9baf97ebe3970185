/* upgrade.c: see upgrade.h. Steps and names of an upgrade: Redis 7.0, aof.c. */
#include "control/store/upgrade.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/log.h"
#include "control/store/file_ops.h"

#define PATH_BYTES 8192

/* ---- names ---- */

/* "<pid>" of `name`, which begins and ends so; 0: it does not. */
static long pid_in(const char *name, const char *begin, const char *end)
{
    size_t n = strlen(begin);
    char *rest;
    if (strncmp(name, begin, n) != 0 || name[n] < '0' || name[n] > '9')
        return 0;
    long pid = strtol(name + n, &rest, 10);
    return strcmp(rest, end) == 0 ? pid : 0;
}

/* PREFIX.N.base.rdb, PREFIX.N.base.aof, PREFIX.N.incr.aof: what a manifest of that prefix names. */
static bool is_part(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    char *rest;
    if (strncmp(name, prefix, n) != 0 || name[n] != '.' || name[n + 1] < '0' || name[n + 1] > '9')
        return false;
    strtoull(name + n + 1, &rest, 10);
    return !strcmp(rest, ".base.rdb") || !strcmp(rest, ".base.aof") || !strcmp(rest, ".incr.aof");
}

static void marker_path(const struct manifest *m, char *to, size_t n)
{
    snprintf(to, n, "%s/temp-%s.begun", m->dir, m->prefix);
}

/* Calls fn for each name in `dir` until it is false. */
static void each_name(const char *dir, bool (*fn)(void *ctx, const char *name), void *ctx)
{
    DIR *d = opendir(dir);
    bool more = d != NULL;
    while (more) {
        const struct dirent *e = readdir(d);
        more = e && fn(ctx, e->d_name);
    }
    if (d)
        closedir(d);
}

/* ---- temporary files ---- */

struct tidy {
    const char *dir, *prefix; /* prefix NULL: not where the log is */
};

/* One of ours that bears a process's number is of one before us: we hold the lock. A redis-server may be at work beside us. */
static bool is_nobodys(const char *name)
{
    static const char *const begins[][2] = {
        {"temp-", ".rdb"}, {"temp-rewriteaof-", ".aof"}, {"temp-rewriteaof-bg-", ".aof"}};
    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++) {
        long pid = pid_in(name, begins[i][0], begins[i][1]);
        if (pid > 0)
            return pid == getpid() || (kill((pid_t)pid, 0) && errno == ESRCH);
    }
    return false;
}

static bool tidy_one(void *ctx, const char *name)
{
    const struct tidy *t = ctx;
    char path[PATH_BYTES], own[300] = "";
    bool dead = is_nobodys(name);
    if (t->prefix && strncmp(name, "temp-", 5) == 0) {
        snprintf(own, sizeof own, "temp-%s.manifest", t->prefix);
        dead |= !strcmp(name, own);
        snprintf(own, sizeof own, "temp-%s.incr", t->prefix);
        dead |= !strcmp(name, own);
    }
    if (!dead)
        return true;
    snprintf(path, sizeof path, "%s/%s", t->dir, name);
    if (file_ops.unlink(path) == 0)
        log_notice("%s, which was never finished, is removed", path);
    return true;
}

void upgrade_tidy(const char *dir, const char *dirname, const char *prefix)
{
    char log[PATH_BYTES];
    snprintf(log, sizeof log, "%s/%s", dir, dirname);
    each_name(dir, tidy_one, &(struct tidy){dir, NULL});
    each_name(log, tidy_one, &(struct tidy){log, prefix});
}

/* ---- a log that was only begun ---- */

int upgrade_begin(const struct manifest *m)
{
    char path[PATH_BYTES];
    marker_path(m, path, sizeof path);
    int fd = file_ops.open(path, O_WRONLY | O_CREAT, 0644);
    if (fd < 0)
        return -errno;
    file_ops.close(fd);
    return file_sync_dir(m->dir);
}

void upgrade_begun(const struct manifest *m)
{
    char path[PATH_BYTES];
    marker_path(m, path, sizeof path);
    file_ops.unlink(path);
}

struct parts {
    const struct manifest *m;
    bool remove;
    int rc;
    char first[300];
};

static bool on_part(void *ctx, const char *name)
{
    struct parts *p = ctx;
    char path[PATH_BYTES];
    if (!is_part(name, p->m->prefix))
        return true;
    snprintf(p->first, sizeof p->first, "%s", name);
    if (!p->remove)
        return false;
    manifest_path(p->m, name, path, sizeof path);
    if (file_ops.unlink(path) && errno != ENOENT)
        p->rc = -errno;
    return p->rc == 0;
}

/* No manifest: -ENOENT when nothing else is there, or what was there was never a log. */
static int without_manifest(struct manifest *m, char *err, size_t n)
{
    char marker[PATH_BYTES];
    marker_path(m, marker, sizeof marker);
    struct parts p = {.m = m, .remove = access(marker, F_OK) == 0};
    each_name(m->dir, on_part, &p);
    if (p.rc) {
        snprintf(err, n, "%s/%s, of a log that was never finished: %s", m->dir, p.first,
                 strerror(-p.rc));
        return p.rc;
    }
    if (p.remove) {
        if (*p.first)
            log_notice("%s: a log that was never finished is removed", m->dir);
        upgrade_begun(m);
        return -ENOENT;
    }
    if (!*p.first)
        return -ENOENT;
    snprintf(err, n,
             "%s has %s and no manifest (%s.manifest): without it nobody knows what the log is. "
             "Bring it back from a backup, or move the files away to start without them",
             m->dir, p.first, m->prefix);
    return -EINVAL;
}

/* ---- a single file of before Redis 7 ---- */

static int write_down(struct manifest *m)
{
    int rc = file_ops.mkdir(m->dir, 0755) && errno != EEXIST ? -errno : 0;
    m->has_base = true;
    m->base.seq = m->last_base_seq = 1;
    snprintf(m->base.name, sizeof m->base.name, "%s", m->prefix);
    return rc ? rc : manifest_write(m, NULL);
}

static int move_in(const struct manifest *m, const char *dir, const char *old)
{
    char path[PATH_BYTES];
    manifest_path(m, m->base.name, path, sizeof path);
    int rc = file_sync_dir(dir); /* the directory the manifest is in */
    if (!rc && file_ops.rename(old, path))
        rc = -errno;
    if (!rc)
        rc = file_sync_dir(m->dir);
    return rc ? rc : file_sync_dir(dir);
}

int upgrade_finish(struct manifest *m, const char *dir, bool named, char *err, size_t n)
{
    char old[PATH_BYTES], inside[PATH_BYTES];
    snprintf(old, sizeof old, "%s/%s", dir, m->prefix);
    manifest_path(m, m->prefix, inside, sizeof inside);
    bool half = named && m->has_base && !m->incrs && !strcmp(m->base.name, m->prefix) &&
                access(inside, F_OK) != 0;
    int rc = 0;
    if (named)
        upgrade_begun(m);
    if (access(old, F_OK) != 0 || (named && !half))
        return named ? 0 : without_manifest(m, err, n);
    if (!named && (rc = without_manifest(m, err, n)) != -ENOENT)
        return rc;
    rc = named ? 0 : write_down(m);
    if (!rc)
        rc = move_in(m, dir, old);
    if (rc)
        snprintf(err, n, "moving %s into %s: %s", old, m->dir, strerror(-rc));
    else
        log_notice("%s is the base of the log in %s now", old, m->dir);
    return rc;
}
