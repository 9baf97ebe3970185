/* rewrite: CONFIG REWRITE. The old file's comments, order and unsupported lines stay; a directive whose lines already say the present
 * value is left as it was written; others are replaced in place, surplus lines go, what is new and not default is appended below a
 * signature. Then: temporary file in the same directory, fsync, rename, fsync of the directory. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/config/config_internal.h"

struct line {
    struct span text;
    uint32_t row;  /* index of the directive, UINT32_MAX: comment, blank, not ours to touch */
    char *instead; /* new text; owned */
    bool gone;
};

struct file {
    struct line *v;
    uint32_t n;
    bool signature;
};

/* False: no memory. */
static bool row_of(struct span text, uint32_t *ret)
{
    struct config_words w;
    uint32_t row = *ret = UINT32_MAX;
    if (text.n == 0 || text.p[0] == '#')
        return true;
    if (!config_split(text, &w))
        return errno != ENOMEM;
    if (w.n)
        row = config_find(w.v[0]);
    if (row != UINT32_MAX && config_rows[row].item.kind == CONFIG_FOREIGN)
        row = UINT32_MAX;
    config_words_free(&w);
    *ret = row;
    return true;
}

static bool file_parse(struct file *f, struct span old)
{
    uint32_t n = 1;
    for (size_t i = 0; i < old.n; i++)
        n += old.p[i] == '\n';
    *f = (struct file){.v = calloc(n, sizeof(*f->v))};
    if (!f->v)
        return false;
    const uint8_t *p = old.p, *end = old.p + old.n;
    while (p < end) {
        const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
        struct line *l = &f->v[f->n++];
        l->text = span_of(p, (size_t)((nl ? nl : end) - p));
        struct span t = l->text;
        while (t.n && (t.p[0] == ' ' || t.p[0] == '\t')) {
            t.p++;
            t.n--;
        }
        if (!row_of(t, &l->row))
            return false;
        f->signature = f->signature || span_eq(l->text, SPAN(CONFIG_SIGNATURE));
        p = nl ? nl + 1 : end;
    }
    return true;
}

/* Do the file's lines of this directive, read in order over the defaults, give the present value? */
static bool lines_say_it(const struct config *c, const struct file *f, uint32_t row)
{
    struct config *fresh = config_new();
    char err[CONFIG_ERROR_BYTES];
    bool any = false, ok = fresh != NULL;
    size_t n = 0, m = 0;

    for (uint32_t i = 0; ok && i < f->n; i++)
        if (f->v[i].row == row) {
            any = true;
            ok = config_load_text(fresh, f->v[i].text, err, sizeof(err)) == 0;
        }
    char *a = ok ? config_get(fresh, row, &n) : NULL, *b = config_get(c, row, &m);
    ok = any && a && b && n == m && memcmp(a, b, n) == 0;
    free(a);
    free(b);
    config_free(fresh);
    return ok;
}

static struct line *next_line(struct file *f, uint32_t row, uint32_t *from)
{
    for (; *from < f->n; ++*from)
        if (f->v[*from].row == row)
            return &f->v[(*from)++];
    return NULL;
}

/* Puts the directive's present lines into its old places, in order; the rest goes to `tail`. */
static bool rewrite_row(const struct config *c, const struct config_row *r, struct file *f,
                        struct config_text *tail)
{
    uint32_t row = (uint32_t)(r - config_rows), from = 0;
    char *lines[CONFIG_SPECIAL_LINES] = {0};
    bool is_default = config_is_default(c, r), ok = true;
    struct line *l;

    if (lines_say_it(c, f, row))
        return true;
    if (r->ops && r->ops->lines)
        r->ops->lines(c, lines);
    else
        lines[0] = config_row_text(c, r);
    for (int i = 0; i < CONFIG_SPECIAL_LINES && lines[i]; i++) {
        l = next_line(f, row, &from);
        if (l && asprintf(&l->instead, "%s %s", r->item.name, lines[i]) < 0)
            ok = false;
        if (!l && !is_default)
            text_addf(tail, "%s ", r->item.name);
        if (!l && !is_default) {
            text_str(tail, lines[i]);
            text_str(tail, "\n");
        }
    }
    ok = ok && lines[0];
    for (int i = 0; i < CONFIG_SPECIAL_LINES; i++)
        free(lines[i]);
    while ((l = next_line(f, row, &from)))
        l->gone = true;
    return ok;
}

char *config_rewrite_text(const struct config *c, struct span old, size_t *ret_len)
{
    struct config_text t = {0}, tail = {0};
    struct file f;
    bool ok = file_parse(&f, old);

    for (uint32_t i = 0; ok && i < config_rows_count; i++) {
        const struct config_row *r = &config_rows[i];
        if (r->item.name && r->item.kind != CONFIG_FOREIGN)
            ok = rewrite_row(c, r, &f, &tail);
    }
    for (uint32_t i = 0; f.v && i < f.n; i++) {
        const struct line *l = &f.v[i];
        if (!l->gone) {
            if (l->instead)
                text_str(&t, l->instead);
            else
                text_add(&t, l->text.p, l->text.n);
            text_str(&t, "\n");
        }
        free(f.v[i].instead);
    }
    if (tail.n && !f.signature)
        text_str(&t, CONFIG_SIGNATURE "\n");
    if (tail.n)
        text_add(&t, tail.p, tail.n);
    ok = ok && !tail.failed;
    free(tail.p);
    free(f.v);
    char *text = text_take(&t, ret_len);
    if (!ok) {
        free(text);
        text = NULL;
    }
    return text;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno != EINTR)
            return -errno;
        if (done > 0) {
            p += done;
            n -= (size_t)done;
        }
    }
    return 0;
}

/* A crash at any point leaves the old file or the new one. Mode and owner stay: the file may hold a password. */
static int replace_file(const char *path, const char *text, size_t n)
{
    char *tmp = NULL, *for_dir = strdup(path);
    struct stat st;
    int fd = -1, dir_fd = -1, err = 0;
    bool existed = stat(path, &st) == 0;

    if (!for_dir || asprintf(&tmp, "%s.XXXXXX", path) < 0) {
        free(for_dir);
        return -ENOMEM;
    }
    fd = mkostemp(tmp, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) {
        err = -errno;
        goto out;
    }
    if (existed &&
        (fchmod(fd, st.st_mode & 07777) || (fchown(fd, st.st_uid, st.st_gid) && errno != EPERM)))
        err = -errno;
    if (!err)
        err = write_all(fd, text, n);
    if (!err && fsync(fd))
        err = -errno;
    close(fd);
    if (!err && rename(tmp, path))
        err = -errno;
    if (err) {
        unlink(tmp);
        goto out;
    }
    dir_fd = open(dirname(for_dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0 || fsync(dir_fd))
        err = -errno;
    if (dir_fd >= 0)
        close(dir_fd);
out:
    free(tmp);
    free(for_dir);
    return err;
}

int config_rewrite(struct config *c, char *err, size_t err_len)
{
    char *old = NULL, *text;
    size_t old_len = 0, n = 0;

    if (!c->file[0]) {
        snprintf(err, err_len, "ERR The server is running without a config file");
        return -ENOENT;
    }
    int ret = config_read_file(c->file, -1, &old, &old_len);
    if (ret == 0 || ret == -ENOENT) {
        text = config_rewrite_text(c, old ? span_of(old, old_len) : SPAN(""), &n);
        ret = text ? replace_file(c->file, text, n) : -ENOMEM;
        free(text);
    }
    free(old);
    if (ret)
        snprintf(err, err_len, "ERR Rewriting config file: %s", strerror(-ret));
    return ret;
}
