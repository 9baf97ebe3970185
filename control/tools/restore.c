/* restore.c: a backup becomes the files of a server: those of a log in Redis 7's layout, or a snapshot. redis-server 7 loads them as well.
 *
 *   backup -> [--to: where its time is reached] -> DATADIR/appendonlydir.restoring/ -> all of it on the disk -> renamed to appendonlydir
 *
 * Nothing of DATADIR is touched before the backup's sums are right, and nothing there is ever deleted. Files of commands that follow each other become one. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/store/dir_lock.h"
#include "control/store/file_ops.h"
#include "control/store/manifest.h"
#include "control/tools/backup.h"
#include "control/tools/repository.h"
#include "engine/base/crc.h"
#include "engine/base/num.h"

struct cut { /* what is taken of the files of commands */
    bool on;
    uint32_t part;
    uint64_t at; /* in it */
};

struct restore {
    struct repository repo;
    const struct backup *b;
    struct span *file; /* of each part, mapped */
    struct tool_look *look;
    const char *into;
    char staging[4096];
    bool timed; /* --to */
    int64_t to_s;
    struct cut cut;
    struct manifest m;
    int out;
    uint64_t next_group; /* that may be appended to `out`; 0: none */
    struct tool_bar bar;
    char err[TOOL_PATH + 600];
};

__attribute__((format(printf, 2, 3))) static bool fail(struct restore *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->err, sizeof r->err, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- reading a backup ---- */

static void let_go(struct restore *r)
{
    for (uint32_t i = 0; r->b && r->file && i < r->b->parts; i++)
        tool_unmap(r->file[i]);
    free(r->file);
    free(r->look);
    r->file = NULL;
    r->look = NULL;
}

static bool read_part(struct restore *r, uint32_t i)
{
    char path[TOOL_PATH];
    const struct part *p = &r->b->part[i];
    repository_path(&r->repo, p->name, path, sizeof path);
    int rc = tool_map(path, &r->file[i]);
    const char *why = rc ? strerror(-rc) : part_check(p, r->file[i], &r->bar);
    if (why)
        return fail(r, "backup %" PRIu64 ": %s: %s", r->b->id, path, why);
    if (!tool_look(r->file[i], &r->look[i], NULL) || r->look[i].aof.verdict != AOF_WHOLE)
        return fail(r, "backup %" PRIu64 ": %s: %s", r->b->id, path, r->look[i].why);
    return true;
}

static bool read_backup(struct restore *r, const struct backup *b)
{
    uint64_t bytes = 0;
    let_go(r);
    r->b = b;
    if (b->bad)
        return fail(r, "backup %" PRIu64 ": %s", b->id, b->why);
    for (uint32_t i = 0; i < b->parts; i++)
        bytes += b->part[i].bytes;
    r->file = calloc(b->parts + 1, sizeof *r->file);
    r->look = calloc(b->parts + 1, sizeof *r->look);
    if (!r->file || !r->look)
        return fail(r, "no memory");
    tool_bar_begin(&r->bar, "checking", bytes);
    for (uint32_t i = 0; i < b->parts; i++)
        if (!read_part(r, i))
            return false;
    tool_bar_end(&r->bar);
    return true;
}

/* ---- a point in time ---- */

static bool stamp_in(struct span line, int64_t *ret_s)
{
    size_t n = line.n;
    while (n && (line.p[n - 1] == '\n' || line.p[n - 1] == '\r'))
        n--;
    return n > 4 && !memcmp(line.p, "#TS:", 4) && num_parse_i64(span_of(line.p + 4, n - 4), ret_s);
}

struct times {
    bool any, early; /* there are stamps; commands stand before the first one */
};

/* The first stamp behind to_s, in part i; of a MULTI it is in, its begin. True: the cut is there. */
static bool find_in_part(struct restore *r, uint32_t i, struct times *t)
{
    uint64_t at = r->look[i].rdb_bytes, multi_at = 0;
    bool multi = false;
    struct span name;
    uint32_t argc;
    for (size_t n; (n = aof_next(r->file[i], at, &name, 1, &argc)) != 0; at += n) {
        int64_t s;
        if (argc) {
            t->early |= !t->any;
            if (span_is(name, "multi"))
                multi_at = at;
            multi = span_is(name, "multi") || (multi && !span_is(name, "exec"));
        } else if (stamp_in(span_of(r->file[i].p + at, n), &s)) {
            t->any = true;
            if (s <= r->to_s)
                continue;
            r->cut = (struct cut){true, i, multi ? multi_at : at};
            return true;
        }
    }
    return false;
}

/* When the state that a backup begins with was made. */
static int64_t begins(const struct restore *r)
{
    return r->b->parts && r->look[0].rdb ? r->look[0].ctime : -1;
}

/* Where to_s is in the backup that was read. False: told, or it is not in it (*ret_other). */
static bool find_time(struct restore *r, bool *ret_other)
{
    char text[TOOL_TIME_CHARS];
    struct times t = {0};
    bool snapshot = !strcmp(r->b->kind, "snapshot");
    *ret_other = begins(r) > r->to_s || (snapshot && begins(r) < 0 && r->b->time_s > r->to_s);
    if (*ret_other)
        return fail(r, "no backup here begins before %s", tool_time_text(r->to_s, text));
    if (snapshot)
        return true;
    for (uint32_t i = 0; i < r->b->parts; i++)
        if (find_in_part(r, i, &t))
            break;
    if (!t.any && t.early && r->b->time_s > r->to_s)
        return fail(r,
                    "backup %" PRIu64 " has no times in it: `aof-timestamp-enabled yes` writes "
                    "them. It can be restored as a whole (--backup %" PRIu64 ")",
                    r->b->id, r->b->id);
    if (t.any && t.early)
        fprintf(stderr, "barewire restore: commands before the first time in the log are taken, "
                        "whenever they were\n");
    return true;
}

/* The first backup that was begun after that second, if what it begins with is not younger; else the one before it, whole. */
static bool choose_by_time(struct restore *r)
{
    const struct backup *after = NULL, *before = NULL;
    bool other = false;
    for (uint32_t i = 0; i < r->repo.n; i++) {
        const struct backup *b = &r->repo.backup[i];
        if (b->bad)
            continue;
        if (b->time_s > r->to_s && !after)
            after = b;
        else if (b->time_s <= r->to_s)
            before = b;
    }
    if (after && read_backup(r, after) && find_time(r, &other))
        return true;
    if (after && !other)
        return false;
    if (!before)
        return after ? false : fail(r, "%s has no backup", r->repo.dir);
    return read_backup(r, before) && find_time(r, &other);
}

static bool choose(struct restore *r, uint64_t id)
{
    if (r->timed)
        return choose_by_time(r);
    const struct backup *b = repository_find(&r->repo, id);
    if (!b)
        return fail(r, id ? "%s has no backup of that number" : "%s has no backup", r->repo.dir);
    return read_backup(r, b);
}

/* ---- writing ---- */

static bool put(struct restore *r, const void *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t k = n - at < (1u << 20) ? n - at : (1u << 20);
        int rc = file_write_all(r->out, (const uint8_t *)p + at, k);
        if (rc)
            return fail(r, "writing into %s: %s", r->into, strerror(-rc));
        tool_bar_add(&r->bar, k);
        at += k;
    }
    return true;
}

static bool end_file(struct restore *r)
{
    if (r->out < 0)
        return true;
    bool good = file_ops.fsync(r->out) == 0;
    good = file_ops.close(r->out) == 0 && good;
    r->out = -1;
    r->next_group = 0;
    return good || fail(r, "writing into %s: %s", r->into, strerror(errno));
}

static bool begin_file(struct restore *r, const char *dir, const char *name)
{
    char path[TOOL_PATH];
    if (!end_file(r))
        return false;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    r->out = file_ops.open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    return r->out >= 0 || fail(r, "%s: %s", path, strerror(errno));
}

/* How much of part i is taken. */
static uint64_t length_of(const struct restore *r, uint32_t i)
{
    return !r->cut.on || i < r->cut.part ? r->file[i].n : i == r->cut.part ? r->cut.at : 0;
}

static bool put_base(struct restore *r, uint32_t i)
{
    const char *end = strrchr(r->b->part[i].name, '.');
    r->m.has_base = true;
    r->m.base.seq = r->m.last_base_seq = 1;
    snprintf(r->m.base.name, sizeof r->m.base.name, "%s.1.base%s", r->m.prefix,
             end && !strcmp(end, ".rdb") ? ".rdb" : ".aof");
    return begin_file(r, r->staging, r->m.base.name) &&
           put(r, r->file[i].p, r->cut.on && r->cut.part == i ? r->cut.at : r->file[i].n);
}

/* Commands of ours: whole groups, and of the one in which the time was reached a group of its own. */
static bool put_groups(struct restore *r, uint32_t i, uint64_t n)
{
    char end[AOF_LINE_BYTES];
    struct aof_check c;
    struct span file = span_of(r->file[i].p, n);
    const uint8_t *body = memchr(file.p, '\n', n);
    aof_check(file, 0, &c);
    if (!body || c.good_bytes < (uint64_t)(body + 1 - file.p))
        return true; /* the time was reached before it */
    if (r->next_group != c.first_group) {
        if (!manifest_add_incr(&r->m))
            return fail(r, "more than %d files of commands", MANIFEST_INCRS);
        if (!begin_file(r, r->staging, r->m.incr[r->m.incrs - 1].name))
            return false;
        body = file.p - 1;
    }
    if (!put(r, body + 1, (size_t)(file.p + c.good_bytes - (body + 1))))
        return false;
    uint64_t rest = n - c.good_bytes;
    r->next_group = c.closed ? 0 : c.last_group + 1; /* behind a closed file others may write */
    if (!rest)
        return true;
    const uint8_t *p = file.p + c.good_bytes;
    size_t k = aof_write_end(end, c.last_group + 1, rest, c.last_group, crc32c(0, p, rest));
    return put(r, p, rest) && put(r, end, k);
}

static bool put_foreign(struct restore *r, uint32_t i, uint64_t n)
{
    if (!manifest_add_incr(&r->m))
        return fail(r, "more than %d files of commands", MANIFEST_INCRS);
    return begin_file(r, r->staging, r->m.incr[r->m.incrs - 1].name) && put(r, r->file[i].p, n);
}

static bool put_log(struct restore *r)
{
    bool good = true;
    for (uint32_t i = 0; good && i < r->b->parts; i++) {
        uint64_t n = length_of(r, i);
        if (r->b->part[i].kind == 'b')
            good = put_base(r, i);
        else if (n)
            good = r->look[i].aof.ours ? put_groups(r, i, n) : put_foreign(r, i, n);
    }
    if (!good || !end_file(r))
        return false;
    if (!r->m.has_base && !r->m.incrs) { /* the log was empty then */
        char head[AOF_LINE_BYTES];
        manifest_add_incr(&r->m);
        good = begin_file(r, r->staging, r->m.incr[0].name) &&
               put(r, head, aof_write_head(head, 1)) && end_file(r);
    }
    int rc = good ? manifest_write(&r->m, NULL) : 0;
    return good && (!rc || fail(r, "%s: %s", r->staging, strerror(-rc)));
}

/* ---- into place ---- */

static void remove_staging(const struct restore *r)
{
    char path[TOOL_PATH + MANIFEST_NAME];
    for (uint32_t i = 0; i < r->m.incrs; i++) {
        snprintf(path, sizeof path, "%s/%s", r->staging, r->m.incr[i].name);
        file_ops.unlink(path);
    }
    snprintf(path, sizeof path, "%s/%s", r->staging, r->m.base.name);
    file_ops.unlink(path);
    snprintf(path, sizeof path, "%s/%s.manifest", r->staging, r->m.prefix);
    file_ops.unlink(path);
    rmdir(r->staging);
}

/* What is there is not written over: refused, or moved aside. */
static bool make_room(struct restore *r, const char *name, bool force)
{
    char path[TOOL_PATH], aside[TOOL_PATH + 64];
    snprintf(path, sizeof path, "%s/%s", r->into, name);
    if (access(path, F_OK))
        return true;
    if (!force)
        return fail(r, "%s is there: --force moves it aside", path);
    snprintf(aside, sizeof aside, "%s.before-%lld", path, (long long)time(NULL));
    if (access(aside, F_OK) == 0 || file_ops.rename(path, aside))
        return fail(r, "moving %s aside to %s: %s", path, aside, strerror(errno));
    printf("%s is %s now\n", path, aside);
    return true;
}

static bool make_all_room(struct restore *r, bool force)
{
    static const char *const usual[] = {"appendonlydir", "appendonly.aof", "dump.rdb"};
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
        if (!make_room(r, usual[i], force))
            return false;
    return make_room(r, r->b->dirname, force) && make_room(r, r->b->prefix, force);
}

static bool in_place(struct restore *r, const char *from, const char *name)
{
    char path[TOOL_PATH];
    snprintf(path, sizeof path, "%s/%s", r->into, name);
    if (file_ops.rename(from, path))
        return fail(r, "%s: %s", path, strerror(errno));
    int rc = file_sync_dir(r->into);
    return !rc || fail(r, "%s is whole, but a power cut may still take it away: fsync of %s: %s",
                       path, r->into, strerror(-rc));
}

static bool write_all(struct restore *r, bool force)
{
    bool snapshot = !strcmp(r->b->kind, "snapshot");
    uint64_t total = 0;
    for (uint32_t i = 0; i < r->b->parts; i++)
        total += r->b->part[i].kind == 'i' ? length_of(r, i) : r->file[i].n;
    tool_bar_begin(&r->bar, "restore", total);
    int k = snprintf(r->staging, sizeof r->staging, "%s/%s.restoring", r->into,
                     snapshot ? r->b->prefix : r->b->dirname);
    if (k < 0 || (size_t)k >= sizeof r->staging)
        return fail(r, "%s: %s", r->into, strerror(ENAMETOOLONG));
    if (snapshot) {
        char *name = strrchr(r->staging, '/') + 1;
        return begin_file(r, r->into, name) && put(r, r->file[0].p, r->file[0].n) && end_file(r) &&
               make_all_room(r, force) && in_place(r, r->staging, r->b->prefix);
    }
    snprintf(r->m.dir, sizeof r->m.dir, "%s", r->staging);
    snprintf(r->m.prefix, sizeof r->m.prefix, "%s", r->b->prefix);
    if (file_ops.mkdir(r->staging, 0755) && errno != EEXIST)
        return fail(r, "%s: %s", r->staging, strerror(errno));
    if (put_log(r) && make_all_room(r, force) && in_place(r, r->staging, r->b->dirname))
        return true;
    if (r->out >= 0)
        file_ops.close(r->out);
    r->out = -1;
    remove_staging(r);
    return false;
}

static void tell(const struct restore *r)
{
    char when[TOOL_TIME_CHARS], to[TOOL_TIME_CHARS];
    bool snapshot = !strcmp(r->b->kind, "snapshot");
    printf("backup %" PRIu64 " of %s is restored in %s", r->b->id,
           tool_time_text(r->b->time_s, when), r->into);
    if (r->cut.on)
        printf(", as it was at %s", tool_time_text(r->to_s, to));
    else if (r->timed && r->b->time_s <= r->to_s)
        printf(": the last one before that time, whole");
    printf("\nstart it with: barewire run --dir %s%s\n", r->into,
           snapshot ? "" : " --appendonly yes");
}

static const char usage[] =
    "barewire restore DIR [--into DATADIR] [--backup NUMBER | --to TIME] [--force]\n"
    "    TIME: 2026-11-23T02:01:02 (UTC), or unix seconds. DATADIR: . unless it is given\n";

int restore_main(int argc, char **argv)
{
    const char *to = NULL, *id_text = NULL;
    uint64_t id = 0;
    bool force = false, good = false;
    struct dir_locks locks = {0};
    struct restore *r = calloc(1, sizeof *r);
    if (!r) {
        fputs("barewire restore: no memory\n", stderr);
        return 1;
    }
    r->out = r->repo.fd = -1;
    r->into = ".";
    const struct tool_option o[] = {{"--into", &r->into, 0},
                                    {"--to", &to, 0},
                                    {"--backup", &id_text, 0},
                                    {"--force", 0, &force},
                                    {0}};
    r->timed = false;
    if (!tool_options("restore", &argc, argv, o) || argc != 1 || (to && id_text) ||
        (to && !tool_time(to, &r->to_s)) ||
        (id_text && (!num_parse_u64(span_str(id_text), &id) || !id))) {
        fputs(usage, stderr);
        free(r);
        return 2;
    }
    r->timed = to != NULL;
    if (file_ops.mkdir(r->into, 0755) && errno != EEXIST)
        fail(r, "%s: %s", r->into, strerror(errno));
    else if (dir_locks_hold(&locks, r->into, "restore", 0, r->err, sizeof r->err) >= 0)
        good = repository_open(&r->repo, argv[0], false, r->err, sizeof r->err) == 0 &&
               choose(r, id) && write_all(r, force);
    if (good) {
        tool_bar_end(&r->bar);
        tell(r);
    } else {
        fprintf(stderr, "barewire restore: %s\n", r->err);
    }
    let_go(r);
    repository_close(&r->repo);
    dir_locks_free(&locks, true);
    free(r);
    return good ? 0 : 1;
}
