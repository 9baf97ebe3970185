/* backup.c: one backup of a server that runs, or of the files of one that does not.
 *
 *   log on:   manifest -> all its files opened -> the manifest once more, unchanged: nothing was deleted meanwhile -> copied -> looked at -> cut at the last
 *             whole group. That is a state in which every write before it is, and none behind it: groups have one order. The server is asked for nothing but
 *             where its files are, and does not notice. What is room when a file is opened is left out: it becomes groups while what is before it is copied.
 *   log off:  BGSAVE, then its dump.rdb.
 *
 * The base of a log never changes, so while it is the same the next backup takes what the log has gained since: the increments are recognised by inode and by the
 * end line (number, checksum) of the last group that the backup before has. A rewrite of the log makes the next one full. */
#include "control/tools/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "control/store/dir_lock.h"
#include "control/store/file_ops.h"
#include "control/store/manifest.h"
#include "control/tools/client.h"
#include "control/tools/repository.h"

#define TRIES       10
#define BLOCK_BYTES (1u << 20)
#define LINE_MAX    120

struct source {
    int fd;
    char name[MANIFEST_NAME];
    struct stat st;
};

struct job {
    struct repository repo;
    struct backup b;
    struct client client;
    bool online, full;
    bool log_on;
    char dir[4096], dirname[128], prefix[128], dump[128];
    struct manifest m;
    struct source base; /* fd -1: none */
    struct source incr[MANIFEST_INCRS];
    uint32_t incrs;
    uint64_t copied;
    uint32_t files;
    struct tool_bar bar;
    char err[TOOL_PATH + 600];
};

__attribute__((format(printf, 2, 3))) static bool fail(struct job *j, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(j->err, sizeof j->err, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- where the files are ---- */

static bool ask_config(struct job *j, const char *name, char *to, size_t n)
{
    const char *argv[] = {"CONFIG", "GET", name};
    struct span reply;
    if (!client_ask(&j->client, &reply, 3, argv))
        return fail(j, "CONFIG GET %s: %s", name, j->client.err);
    const uint8_t *p = reply.n ? memchr(reply.p, '\n', reply.n) : NULL;
    if (!p)
        return fail(j, "CONFIG GET %s: the server does not know it", name);
    snprintf(to, n, "%.*s", (int)(reply.n - (size_t)(p + 1 - reply.p) - 1), (const char *)p + 1);
    return true;
}

static bool ask_info(struct job *j, const char *section, const char *name, char *to, size_t n)
{
    const char *argv[] = {"INFO", section};
    struct span reply;
    if (!client_ask(&j->client, &reply, 2, argv))
        return fail(j, "INFO: %s", j->client.err);
    return client_info(reply, name, to, n) ? true : fail(j, "INFO has no %s", name);
}

/* A path as its process has it. */
static bool find_dir(struct job *j)
{
    char dir[2048], pid[32], link[64], cwd[2048];
    if (!ask_config(j, "dir", dir, sizeof dir) ||
        !ask_info(j, "server", "process_id", pid, sizeof pid))
        return false;
    if (*dir == '/') {
        snprintf(j->dir, sizeof j->dir, "%s", dir);
        return true;
    }
    snprintf(link, sizeof link, "/proc/%.20s/cwd", pid);
    ssize_t n = readlink(link, cwd, sizeof cwd - 1);
    if (n < 0)
        return fail(j, "the server's dir is %s, and %s: %s", dir, link, strerror(errno));
    cwd[n] = 0;
    snprintf(j->dir, sizeof j->dir, "%s/%s", cwd, dir);
    return true;
}

static bool find_files(struct job *j, const struct client_where *w)
{
    char on[8];
    if (!client_open(&j->client, w))
        return fail(j, "%s: %s",
                    w->socket ? w->socket
                    : w->port ? w->port
                              : "127.0.0.1:6379",
                    j->client.err);
    if (!find_dir(j) || !ask_config(j, "appendonly", on, sizeof on) ||
        !ask_config(j, "appenddirname", j->dirname, sizeof j->dirname) ||
        !ask_config(j, "appendfilename", j->prefix, sizeof j->prefix) ||
        !ask_config(j, "dbfilename", j->dump, sizeof j->dump))
        return false;
    j->log_on = strcmp(on, "yes") == 0;
    if (access(j->dir, R_OK | X_OK))
        return fail(j, "%s, where the server's files are: %s (the backup is made on its machine)",
                    j->dir, strerror(errno));
    return true;
}

/* ---- opening the log ---- */

static void close_all(struct job *j)
{
    if (j->base.fd >= 0)
        file_ops.close(j->base.fd);
    for (uint32_t i = 0; i < j->incrs; i++)
        file_ops.close(j->incr[i].fd);
    j->base.fd = -1;
    j->incrs = 0;
}

/* How long a log of ours is without room at its end. What stands before that is written and stays as it is: a writer goes upwards. 0 or -errno. */
static int find_text(int fd, uint64_t bytes, uint64_t *ret)
{
    static uint8_t block[128 * AOF_SECTOR_BYTES];
    static const char word[] = AOF_HEAD_WORD;
    size_t left = 0;
    *ret = bytes;
    if (pread(fd, block, sizeof word - 1, 0) != sizeof word - 1 ||
        memcmp(block, word, sizeof word - 1) != 0)
        return 0;
    for (uint64_t end = bytes, at; end && !left; end = at) {
        at = (end - 1) / sizeof block * sizeof block;
        ssize_t n = pread(fd, block, (size_t)(end - at), (off_t)at);
        if (n < 0)
            return -errno;
        left = aof_before_room(span_of(block, (size_t)n), at);
        *ret = at + left;
    }
    return 0;
}

static int open_source(const struct manifest *m, const struct manifest_file *f, struct source *s)
{
    char path[TOOL_PATH];
    manifest_path(m, f->name, path, sizeof path);
    snprintf(s->name, sizeof s->name, "%s", f->name);
    s->fd = file_ops.open(path, O_RDONLY, 0);
    if (s->fd < 0)
        return -errno;
    uint64_t bytes = 0;
    int rc = fstat(s->fd, &s->st) ? -errno : find_text(s->fd, (uint64_t)s->st.st_size, &bytes);
    s->st.st_size = (off_t)bytes;
    if (!rc)
        return 0;
    file_ops.close(s->fd);
    s->fd = -1;
    return rc;
}

static int open_all(struct job *j)
{
    int rc = j->m.has_base ? open_source(&j->m, &j->m.base, &j->base) : 0;
    for (uint32_t i = 0; !rc && i < j->m.incrs; i++) {
        rc = open_source(&j->m, &j->m.incr[i], &j->incr[i]);
        j->incrs += !rc;
    }
    return rc;
}

static bool same_files(const struct manifest *a, const struct manifest *b)
{
    if (a->has_base != b->has_base || strcmp(a->base.name, b->base.name) || a->incrs != b->incrs)
        return false;
    for (uint32_t i = 0; i < a->incrs; i++)
        if (strcmp(a->incr[i].name, b->incr[i].name))
            return false;
    return true;
}

/* All files of one manifest, open: what a rewrite deletes now stays readable. */
static bool open_log(struct job *j)
{
    static struct manifest again;
    char why[TOOL_PATH + 100] = "";
    int rc = 0;
    for (int i = 0; i < TRIES; i++) {
        rc = manifest_read(&j->m, j->dir, j->dirname, j->prefix, why, sizeof why);
        if (rc == -ENOENT && j->online)
            return fail(j, "%s: the log has no manifest yet: appendonly was just switched on?",
                        j->m.dir);
        if (rc)
            return fail(j, "%s", why);
        rc = open_all(j);
        if (!rc && manifest_read(&again, j->dir, j->dirname, j->prefix, why, sizeof why) == 0 &&
            same_files(&j->m, &again))
            return true;
        close_all(j);
    }
    return fail(j, "%s: %s", j->m.dir,
                rc ? strerror(-rc) : "its files change faster than they can be opened");
}

/* ---- copying ---- */

static void part_name(const struct job *j, const char *what, char *to)
{
    snprintf(to, PART_NAME, "%06" PRIu64 ".%s", j->b.id, what);
}

/* [from, to) of fd behind what is in `out`. */
static int copy(struct job *j, int out, int fd, uint64_t from, uint64_t to)
{
    static uint8_t block[BLOCK_BYTES];
    while (from < to) {
        size_t want = to - from < BLOCK_BYTES ? (size_t)(to - from) : BLOCK_BYTES;
        ssize_t n = pread(fd, block, want, (off_t)from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0) /* a group that failed was cut off meanwhile */
            return 0;
        int rc = file_write_all(out, block, (size_t)n);
        if (rc)
            return rc;
        from += (uint64_t)n;
        tool_bar_add(&j->bar, (uint64_t)n);
    }
    return 0;
}

/* A file of the backup: `head` (or none), then the rest of the source from `from` on; looked at and cut at its last whole group. `ret`: its end. */
static bool take_file(struct job *j, const struct source *s, uint64_t from, const char *head,
                      const char *name, char kind, bool last, struct tool_look *look)
{
    char path[TOOL_PATH];
    struct span file;
    repository_path(&j->repo, name, path, sizeof path);
    int out = file_ops.open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    int rc = out < 0 ? -errno : file_write_all(out, head, strlen(head));
    if (!rc)
        rc = copy(j, out, s->fd, from, (uint64_t)s->st.st_size);
    if (!rc)
        rc = tool_map(path, &file);
    if (rc) {
        if (out >= 0)
            file_ops.close(out);
        return fail(j, "copying %s to %s: %s", s->name, path, strerror(-rc));
    }
    bool good = tool_look(file, look, NULL);
    if (good && look->aof.verdict == AOF_TORN && !last && !look->aof.ours)
        good = false;
    if (!good)
        fail(j, "%s/%s is damaged: %s. `barewire check-files` tells what can be kept", j->m.dir,
             s->name, look->why);
    tool_unmap(file);
    uint64_t bytes = look->rdb && kind == 'r' ? look->rdb_bytes : look->aof.good_bytes;
    if (good && (file_ops.ftruncate(out, (off_t)bytes) || file_ops.fsync(out)))
        good = fail(j, "%s: %s", path, strerror(errno));
    if (file_ops.close(out) && good)
        good = fail(j, "%s: %s", path, strerror(errno));
    j->copied += bytes;
    j->files++;
    return good && backup_add(&j->repo, &j->b, name, kind, NULL, j->err, sizeof j->err);
}

/* ---- marks ---- */

static void base_mark(const struct job *j, char *to, size_t n)
{
    const struct stat *st = &j->base.st;
    if (j->base.fd < 0)
        snprintf(to, n, "-");
    else
        snprintf(to, n, "%s %llu %llu %lld.%09ld", j->base.name, (unsigned long long)st->st_ino,
                 (unsigned long long)st->st_size, (long long)st->st_mtim.tv_sec,
                 st->st_mtim.tv_nsec);
}

/* The line of a log of ours that ends at `end` of fd, without its \r\n. False: there is none. */
static bool line_before(int fd, uint64_t end, char *to)
{
    char text[LINE_MAX + 1] = "";
    size_t n = end < LINE_MAX ? (size_t)end : LINE_MAX;
    ssize_t got = pread(fd, text, n, (off_t)(end - n));
    if (got != (ssize_t)n || n < 3 || memcmp(text + n - 2, "\r\n", 2) != 0)
        return false;
    text[n - 2] = 0;
    char *from = memrchr(text, '\n', n - 2);
    from = from ? from + 1 : text;
    strcpy(to, from);
    return strncmp(from, "#BW:", 4) == 0;
}

static void set_mark(struct job *j, const struct source *s, uint64_t end, uint64_t group)
{
    struct backup_mark *m = &j->b.mark;
    m->line[0] = 0;
    snprintf(m->file, sizeof m->file, "%s", s->name);
    m->inode = s->st.st_ino;
    m->end = end;
    m->group = group;
    if (!line_before(s->fd, end, m->line))
        m->line[0] = 0;
}

/* The increment in which the backup before ended, when it is still there and says the same; -1: not. */
static int find_mark(const struct job *j, const struct backup *before)
{
    char base[sizeof before->mark.base], line[LINE_MAX + 1];
    const struct backup_mark *m = &before->mark;
    base_mark(j, base, sizeof base);
    if (before->bad || !strcmp(before->kind, "snapshot") || !*m->line || strcmp(base, m->base))
        return -1;
    for (uint32_t i = 0; i < j->incrs; i++)
        if (!strcmp(j->incr[i].name, m->file) && j->incr[i].st.st_ino == m->inode &&
            (uint64_t)j->incr[i].st.st_size >= m->end && line_before(j->incr[i].fd, m->end, line) &&
            !strcmp(line, m->line))
            return (int)i;
    return -1;
}

/* ---- a backup ---- */

static bool keep_parts(struct job *j, const struct backup *before)
{
    j->b.part = calloc(before->parts + 1, sizeof *j->b.part);
    if (!j->b.part)
        return fail(j, "no memory");
    memcpy(j->b.part, before->part, before->parts * sizeof *j->b.part);
    j->b.parts = before->parts;
    return true;
}

static bool take_base(struct job *j)
{
    char name[PART_NAME];
    struct tool_look look;
    const char *end = strrchr(j->base.name, '.');
    bool rdb = end && !strcmp(end, ".rdb");
    part_name(j, rdb ? "base.rdb" : "base.aof", name);
    return take_file(j, &j->base, 0, "", name, 'b', !j->incrs, &look);
}

/* Whole groups of all increments, from `from` of the one with `index` on. `group`: the last one before that; 0: all are new. */
static bool take_increments(struct job *j, uint32_t index, uint64_t from, uint64_t group)
{
    char name[PART_NAME], what[24], head[AOF_LINE_BYTES];
    struct tool_look look;
    for (uint32_t i = index; i < j->incrs; i++, from = 0) {
        const struct source *s = &j->incr[i];
        head[0] = 0;
        if (from && (uint64_t)s->st.st_size == from)
            continue; /* nothing new in it */
        if (from)
            head[aof_write_head(head, group + 1)] = 0;
        snprintf(what, sizeof what, "%u.aof", i - index + 1);
        part_name(j, what, name);
        if (!take_file(j, s, from, head, name, 'i', i + 1 == j->incrs, &look))
            return false;
        const struct aof_check *c = &look.aof;
        if (group && c->ours && c->first_group != group + 1)
            return fail(j, "%s/%s begins with group %" PRIu64 ", %" PRIu64 " was expected",
                        j->m.dir, s->name, c->first_group, group + 1);
        group = c->ours ? c->last_group : 0;
        set_mark(j, s, from + c->good_bytes - strlen(head), group);
    }
    return true;
}

static bool back_up_log(struct job *j)
{
    const struct backup *before = j->full ? NULL : repository_find(&j->repo, 0);
    j->base.fd = -1;
    if (!open_log(j))
        return false;
    int at = before ? find_mark(j, before) : -1;
    uint64_t total = at < 0 && j->base.fd >= 0 ? (uint64_t)j->base.st.st_size : 0;
    for (uint32_t i = at < 0 ? 0 : (uint32_t)at; i < j->incrs; i++)
        total += (uint64_t)j->incr[i].st.st_size;
    if (at >= 0)
        total -= before->mark.end;
    tool_bar_begin(&j->bar, "backup", total);
    strcpy(j->b.kind, at < 0 ? "full" : "incremental");
    bool good;
    if (at >= 0) {
        j->b.mark = before->mark;
        good = keep_parts(j, before) &&
               take_increments(j, (uint32_t)at, before->mark.end, before->mark.group);
    } else {
        good = (j->base.fd < 0 || take_base(j)) && take_increments(j, 0, 0, 0);
    }
    base_mark(j, j->b.mark.base, sizeof j->b.mark.base);
    if (good)
        tool_bar_end(&j->bar);
    close_all(j);
    return good;
}

static bool wait_saved(struct job *j, char *saves, size_t n)
{
    char busy[8];
    for (;;) {
        if (!ask_info(j, "persistence", "rdb_bgsave_in_progress", busy, sizeof busy))
            return false;
        if (*busy == '0')
            return ask_info(j, "persistence", "rdb_saves", saves, n);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

static bool save_now(struct job *j)
{
    static const char *const argv[] = {"BGSAVE", "SCHEDULE"};
    char before[32], after[32], status[16];
    struct span reply;
    if (!wait_saved(j, before, sizeof before))
        return false;
    if (!client_ask(&j->client, &reply, 2, argv))
        return fail(j, "BGSAVE: %s", j->client.err);
    do {
        if (!wait_saved(j, after, sizeof after) ||
            !ask_info(j, "persistence", "rdb_last_bgsave_status", status, sizeof status))
            return false;
        if (strcmp(status, "ok") != 0)
            return fail(j, "BGSAVE failed: the server's log tells why");
    } while (strcmp(before, after) == 0);
    return true;
}

static bool back_up_snapshot(struct job *j)
{
    char name[PART_NAME], path[TOOL_PATH];
    struct source s = {.fd = -1};
    struct tool_look look;
    if (j->online && !save_now(j))
        return false;
    snprintf(path, sizeof path, "%s/%s", j->dir, j->dump);
    snprintf(s.name, sizeof s.name, "%s", j->dump);
    snprintf(j->m.dir, sizeof j->m.dir, "%s", j->dir);
    s.fd = file_ops.open(path, O_RDONLY, 0);
    if (s.fd < 0 || fstat(s.fd, &s.st))
        return fail(j, "%s: %s", path, strerror(errno));
    tool_bar_begin(&j->bar, "backup", (uint64_t)s.st.st_size);
    part_name(j, "dump.rdb", name);
    bool good = take_file(j, &s, 0, "", name, 'r', true, &look);
    if (good && !look.rdb)
        good = fail(j, "%s is no RDB file", path);
    if (good)
        tool_bar_end(&j->bar);
    strcpy(j->b.kind, "snapshot");
    strcpy(j->b.mark.base, "-");
    file_ops.close(s.fd);
    return good;
}

/* ---- retention ---- */

/* The newest always stays; a damaged one is not counted and stays until somebody has looked at it. */
static bool forget(struct job *j, uint64_t keep, uint64_t days)
{
    uint64_t later = 0;
    int64_t now = time(NULL);
    for (uint32_t i = j->repo.n; i-- > 0;) {
        struct backup *b = &j->repo.backup[i];
        if (b->bad || later++ == 0)
            continue;
        if (!(keep && later > keep) && !(days && now - b->time_s > (int64_t)days * 86400))
            continue;
        uint64_t id = b->id;
        int rc = repository_remove(&j->repo, i);
        if (rc)
            return fail(j, "removing backup %" PRIu64 ": %s", id, strerror(-rc));
        printf("backup %" PRIu64 " removed\n", id);
    }
    repository_tidy(&j->repo);
    return true;
}

/* ---- words ---- */

static bool number(const char *text, uint64_t *ret)
{
    char *rest;
    errno = 0;
    *ret = text ? strtoull(text, &rest, 10) : 0;
    return !text || (*text >= '0' && *text <= '9' && !*rest && !errno && *ret);
}

static const char usage[] =
    "barewire backup DIR [-s SOCKET | -h HOST -p PORT] [--user USER] [-a PASSWORD]\n"
    "                    [--from DATADIR [--appenddirname NAME] [--appendfilename NAME] "
    "[--dbfilename NAME]]\n"
    "                    [--full] [--keep N] [--keep-days DAYS]\n";

/* The files of a server that does not run: it does not begin to while we read. */
static bool hold_files(struct job *j, struct dir_locks *locks, const char *from)
{
    char path[TOOL_PATH];
    snprintf(j->dir, sizeof j->dir, "%s", from);
    int rc = dir_locks_hold(locks, from, "backup", 0, j->err, sizeof j->err);
    snprintf(path, sizeof path, "%s/%s/%s.manifest", j->dir, j->dirname, j->prefix);
    j->log_on = access(path, F_OK) == 0;
    return rc >= 0 || rc == -EACCES || rc == -EROFS;
}

static bool run(struct job *j, const char *dir, uint64_t keep, uint64_t days)
{
    char when[TOOL_TIME_CHARS];
    if (repository_open(&j->repo, dir, true, j->err, sizeof j->err))
        return false;
    repository_tidy(&j->repo);
    const struct backup *before = repository_find(&j->repo, 0);
    j->b.id = before ? before->id + 1 : 1;
    j->b.time_s = time(NULL);
    snprintf(j->b.dirname, sizeof j->b.dirname, "%s", j->dirname);
    snprintf(j->b.prefix, sizeof j->b.prefix, "%s", j->log_on ? j->prefix : j->dump);
    if (!(j->log_on ? back_up_log(j) : back_up_snapshot(j)))
        return false;
    int rc = repository_write(&j->repo, &j->b);
    if (rc)
        return fail(j, "%s: %s", dir, strerror(-rc));
    printf("backup %" PRIu64 " of %s: %s, %" PRIu64 " bytes in %u new files, %u in all\n", j->b.id,
           tool_time_text(j->b.time_s, when), j->b.kind, j->copied, j->files, j->b.parts);
    j->b.part = NULL; /* the repository's now */
    return forget(j, keep, days);
}

int backup_main(int argc, char **argv)
{
    struct client_where w = {0};
    const char *from = NULL, *keep_text = NULL, *days_text = NULL;
    const char *dirname = "appendonlydir", *prefix = "appendonly.aof", *dump = "dump.rdb";
    uint64_t keep, days;
    struct dir_locks locks = {0};
    struct job *j = calloc(1, sizeof *j);
    if (!j) {
        fputs("barewire backup: no memory\n", stderr);
        return 1;
    }
    j->client.fd = j->base.fd = j->repo.fd = -1;
    struct tool_option o[] = {{"-s", &w.socket, 0},
                              {"-h", &w.host, 0},
                              {"-p", &w.port, 0},
                              {"--user", &w.user, 0},
                              {"-a", &w.pass, 0},
                              {"--from", &from, 0},
                              {"--appenddirname", &dirname, 0},
                              {"--appendfilename", &prefix, 0},
                              {"--dbfilename", &dump, 0},
                              {"--keep", &keep_text, 0},
                              {"--keep-days", &days_text, 0},
                              {"--full", 0, &j->full},
                              {0}};
    if (!tool_options("backup", &argc, argv, o) || argc != 1 || !number(keep_text, &keep) ||
        !number(days_text, &days)) {
        fputs(usage, stderr);
        free(j);
        return 2;
    }
    j->online = !from;
    snprintf(j->dirname, sizeof j->dirname, "%s", dirname);
    snprintf(j->prefix, sizeof j->prefix, "%s", prefix);
    snprintf(j->dump, sizeof j->dump, "%s", dump);
    bool good =
        (from ? hold_files(j, &locks, from) : find_files(j, &w)) && run(j, argv[0], keep, days);
    if (!good)
        fprintf(stderr, "barewire backup: %s\n", j->err);
    client_close(&j->client);
    repository_close(&j->repo);
    free(j->b.part);
    dir_locks_free(&locks, true);
    free(j);
    return good ? 0 : 1;
}
