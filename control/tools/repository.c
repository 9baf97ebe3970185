/* repository.c: see repository.h. What is read is not believed: names without a path, numbers, a sum over all. */
#include "control/tools/repository.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/store/file_ops.h"

#define MARKER      "barewire-backups"
#define MARKER_TEXT "barewire backups 1\n"
#define PARTS_MAX   100000

void repository_path(const struct repository *r, const char *name, char *to, size_t n)
{
    snprintf(to, n, "%s/%s", r->dir, name);
}

/* ---- one .backup ---- */

static char *backup_text(const struct backup *b, size_t *ret_n)
{
    char *text = NULL, sum[TOOL_SUM_CHARS];
    FILE *f = open_memstream(&text, ret_n);
    if (!f)
        return NULL;
    fprintf(f, "barewire backup 1\nid %" PRIu64 "\ntime %" PRId64 "\nkind %s\n", b->id, b->time_s,
            b->kind);
    fprintf(f, "dir %s\nlog %s\n", b->dirname, b->prefix);
    fprintf(f, "base %s\n", b->mark.base);
    fprintf(f, "mark %" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n", b->mark.group, b->mark.end,
            b->mark.inode, b->mark.file);
    fprintf(f, "line %s\n", b->mark.line);
    for (uint32_t i = 0; i < b->parts; i++)
        fprintf(f, "file %s %c %" PRIu64 " %s\n", b->part[i].name, b->part[i].kind,
                b->part[i].bytes, b->part[i].sum);
    if (fflush(f) == 0) {
        tool_sum(span_of(text, *ret_n), sum, NULL);
        fprintf(f, "sum %s\n", sum);
    }
    if (fclose(f)) {
        free(text);
        return NULL;
    }
    return text;
}

static bool room_for_part(struct backup *b)
{
    struct part *grown =
        b->parts < PARTS_MAX ? realloc(b->part, (b->parts + 1) * sizeof *b->part) : NULL;
    if (grown)
        b->part = grown;
    return grown != NULL;
}

static bool take_file(struct backup *b, const char *line)
{
    struct part p = {0};
    if (sscanf(line, "%39s %c %" SCNu64 " %64s", p.name, &p.kind, &p.bytes, p.sum) != 4 ||
        strchr(p.name, '/') || p.name[0] == '.' || !strchr("bir", p.kind) || !room_for_part(b))
        return false;
    b->part[b->parts++] = p;
    return true;
}

static bool take_line(struct backup *b, const char *l)
{
    char word[8];
    int n = 0;
    if (sscanf(l, "%7s %n", word, &n) != 1)
        return false;
    const char *rest = l + n;
    struct backup_mark *m = &b->mark;
    if (!strcmp(word, "id"))
        return sscanf(rest, "%" SCNu64, &b->id) == 1;
    if (!strcmp(word, "time"))
        return sscanf(rest, "%" SCNd64, &b->time_s) == 1;
    if (!strcmp(word, "kind"))
        return sscanf(rest, "%11s", b->kind) == 1;
    if (!strcmp(word, "dir"))
        return sscanf(rest, "%127[^\n]", b->dirname) == 1 && !strchr(b->dirname, '/');
    if (!strcmp(word, "log"))
        return sscanf(rest, "%127[^\n]", b->prefix) == 1 && !strchr(b->prefix, '/');
    if (!strcmp(word, "base"))
        return sscanf(rest, "%299[^\n]", m->base) == 1;
    if (!strcmp(word, "mark"))
        return sscanf(rest, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %299[^\n]", &m->group, &m->end,
                      &m->inode, m->file) >= 3;
    if (!strcmp(word, "line"))
        return sscanf(rest, "%127[^\n]", m->line) >= 0 || !*rest;
    return !strcmp(word, "file") && take_file(b, rest);
}

static bool spoiled(struct backup *b, const char *why)
{
    b->bad = true;
    snprintf(b->why, sizeof b->why, "%s", why);
    return false;
}

/* The sum first: behind it every byte is what was written. */
static bool parse(struct backup *b, struct span text)
{
    char sum[TOOL_SUM_CHARS], want[TOOL_SUM_CHARS + 6];
    static const char head[] = "barewire backup 1\n";
    size_t end = 4 + 64 + 1;
    if (text.n < sizeof head + end)
        return spoiled(b, "it is cut off");
    tool_sum(span_of(text.p, text.n - end), sum, NULL);
    snprintf(want, sizeof want, "sum %s\n", sum);
    if (memcmp(text.p + text.n - end, want, end) != 0)
        return spoiled(b, "its own sum is wrong: it is damaged or cut off");
    char *copy = strndup((const char *)text.p, text.n - end), *save, *line;
    bool good = copy && strncmp(copy, head, sizeof head - 1) == 0;
    line = good ? strtok_r(copy + sizeof head - 1, "\n", &save) : NULL;
    for (; good && line; line = strtok_r(NULL, "\n", &save))
        good = take_line(b, line);
    free(copy);
    return good || spoiled(b, "a line makes no sense: it is of another version");
}

static void read_backup(struct repository *r, struct backup *b, uint64_t id)
{
    char path[TOOL_PATH], name[PART_NAME];
    struct span text;
    *b = (struct backup){.id = id};
    snprintf(name, sizeof name, "%06" PRIu64 ".backup", id);
    repository_path(r, name, path, sizeof path);
    int rc = tool_map(path, &text);
    if (rc)
        spoiled(b, strerror(-rc));
    else if (parse(b, text) && b->id != id)
        spoiled(b, "it bears another number");
    b->id = id;
    tool_unmap(text);
}

/* ---- the directory ---- */

static uint64_t id_of(const char *name)
{
    char *rest;
    if (*name < '0' || *name > '9')
        return 0;
    uint64_t id = strtoull(name, &rest, 10);
    return strcmp(rest, ".backup") == 0 ? id : 0;
}

static int by_id(const void *a, const void *b)
{
    const struct backup *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int read_all(struct repository *r)
{
    DIR *d = opendir(r->dir);
    const struct dirent *e;
    int rc = d ? 0 : -errno;
    while (!rc && d && (e = readdir(d)) != NULL) {
        uint64_t id = id_of(e->d_name);
        struct backup *grown = id ? realloc(r->backup, (r->n + 1) * sizeof *r->backup) : NULL;
        if (id && !grown)
            rc = -ENOMEM;
        if (!grown)
            continue;
        r->backup = grown;
        read_backup(r, &r->backup[r->n++], id);
    }
    if (d)
        closedir(d);
    if (r->n)
        qsort(r->backup, r->n, sizeof *r->backup, by_id);
    return rc;
}

#define TEMP "temp-"

/* But for a marker that was not finished. */
static bool is_empty(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    bool empty = d != NULL;
    while (empty && (e = readdir(d)) != NULL)
        empty =
            !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !strcmp(e->d_name, TEMP MARKER);
    if (d)
        closedir(d);
    return empty;
}

static int write_text(const char *dir, const char *name, const char *text, size_t n)
{
    char path[TOOL_PATH], temp[TOOL_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(temp, sizeof temp, "%s/" TEMP "%s", dir, name);
    int fd = file_ops.open(temp, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    int rc = fd < 0 ? -errno : file_write_all(fd, text, n);
    if (!rc && file_ops.fsync(fd))
        rc = -errno;
    if (fd >= 0 && file_ops.close(fd) && !rc)
        rc = -errno;
    if (!rc && file_ops.rename(temp, path))
        rc = -errno;
    return rc ? rc : file_sync_dir(dir);
}

static int check_marker(struct repository *r, char *err, size_t n)
{
    char path[TOOL_PATH];
    struct span text;
    repository_path(r, MARKER, path, sizeof path);
    int rc = tool_map(path, &text);
    if (rc) {
        snprintf(err, n, "%s: no directory of backups (%s: %s)", r->dir, path, strerror(-rc));
        return rc;
    }
    if (!span_eq(text, span_str(MARKER_TEXT))) {
        snprintf(err, n, "%s is damaged: it is to be one line, %s", path, MARKER_TEXT);
        rc = -EINVAL;
    }
    tool_unmap(text);
    return rc;
}

static int make(struct repository *r, char *err, size_t n)
{
    int rc = file_ops.mkdir(r->dir, 0755) && errno != EEXIST ? -errno : 0;
    if (!rc && is_empty(r->dir))
        rc = write_text(r->dir, MARKER, MARKER_TEXT, strlen(MARKER_TEXT));
    if (rc)
        snprintf(err, n, "%s: %s", r->dir, strerror(-rc));
    return rc;
}

int repository_open(struct repository *r, const char *dir, bool create, char *err, size_t n)
{
    *r = (struct repository){.fd = -1};
    snprintf(r->dir, sizeof r->dir, "%s", dir);
    int rc = create ? make(r, err, n) : 0;
    if (!rc)
        rc = check_marker(r, err, n);
    if (rc)
        return rc;
    r->fd = file_ops.open(dir, O_RDONLY | O_DIRECTORY, 0);
    if (r->fd < 0 || flock(r->fd, (create ? LOCK_EX : LOCK_SH) | LOCK_NB)) {
        rc = -errno;
        snprintf(err, n, "%s: %s", dir,
                 rc == -EWOULDBLOCK ? "another backup is being made there" : strerror(-rc));
    } else if ((rc = read_all(r)) != 0) {
        snprintf(err, n, "%s: %s", dir, strerror(-rc));
    }
    if (rc)
        repository_close(r);
    return rc;
}

void repository_close(struct repository *r)
{
    for (uint32_t i = 0; i < r->n; i++)
        free(r->backup[i].part);
    free(r->backup);
    if (r->fd >= 0)
        file_ops.close(r->fd);
    *r = (struct repository){.fd = -1};
}

struct backup *repository_find(struct repository *r, uint64_t id)
{
    if (!id)
        return r->n ? &r->backup[r->n - 1] : NULL;
    for (uint32_t i = 0; i < r->n; i++)
        if (r->backup[i].id == id)
            return &r->backup[i];
    return NULL;
}

bool backup_add(const struct repository *r, struct backup *b, const char *name, char kind,
                struct tool_bar *bar, char *err, size_t n)
{
    char path[TOOL_PATH];
    struct span file;
    repository_path(r, name, path, sizeof path);
    int rc = tool_map(path, &file);
    if (rc || !room_for_part(b)) {
        snprintf(err, n, "%s: %s", path, rc ? strerror(-rc) : "no memory");
        return false;
    }
    struct part *p = &b->part[b->parts++];
    *p = (struct part){.kind = kind, .bytes = file.n};
    snprintf(p->name, sizeof p->name, "%s", name);
    tool_sum(file, p->sum, bar);
    tool_unmap(file);
    return true;
}

int repository_write(struct repository *r, const struct backup *b)
{
    char name[PART_NAME];
    size_t n;
    struct backup *grown = realloc(r->backup, (r->n + 1) * sizeof *r->backup);
    if (!grown)
        return -ENOMEM;
    r->backup = grown;
    char *text = backup_text(b, &n);
    if (!text)
        return -ENOMEM;
    snprintf(name, sizeof name, "%06" PRIu64 ".backup", b->id);
    int rc = file_sync_dir(r->dir);
    if (!rc)
        rc = write_text(r->dir, name, text, n);
    free(text);
    if (!rc)
        r->backup[r->n++] = *b;
    return rc;
}

int repository_remove(struct repository *r, uint32_t index)
{
    char path[TOOL_PATH], name[PART_NAME];
    snprintf(name, sizeof name, "%06" PRIu64 ".backup", r->backup[index].id);
    repository_path(r, name, path, sizeof path);
    if (file_ops.unlink(path))
        return -errno;
    free(r->backup[index].part);
    r->n--;
    memmove(r->backup + index, r->backup + index + 1, (r->n - index) * sizeof *r->backup);
    return file_sync_dir(r->dir);
}

static bool is_named(const struct repository *r, const char *name)
{
    if (!strcmp(name, MARKER) || id_of(name))
        return true;
    for (uint32_t i = 0; i < r->n; i++)
        for (uint32_t k = 0; k < r->backup[i].parts; k++)
            if (!strcmp(r->backup[i].part[k].name, name))
                return true;
    return false;
}

/* What repository.c and backup.c make: "temp-*", and names that begin with a backup's number. */
static bool is_ours(const char *name)
{
    return strncmp(name, "temp-", 5) == 0 || strspn(name, "0123456789") >= 6;
}

void repository_tidy(const struct repository *r)
{
    char path[TOOL_PATH];
    const struct dirent *e;
    for (uint32_t i = 0; i < r->n; i++)
        if (r->backup[i].bad)
            return;
    DIR *d = opendir(r->dir);
    while (d && (e = readdir(d)) != NULL) {
        if (!is_ours(e->d_name) || is_named(r, e->d_name))
            continue;
        repository_path(r, e->d_name, path, sizeof path);
        file_ops.unlink(path);
    }
    if (d)
        closedir(d);
}

const char *part_check(const struct part *p, struct span file, struct tool_bar *bar)
{
    char sum[TOOL_SUM_CHARS];
    if (file.n != p->bytes)
        return file.n < p->bytes ? "it is shorter than it was" : "it is longer than it was";
    tool_sum(file, sum, bar);
    return strcmp(sum, p->sum) ? "its SHA-256 is another: it is damaged" : NULL;
}
