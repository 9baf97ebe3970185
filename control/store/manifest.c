/* manifest.c: see manifest.h. What is read is checked: names without a path, sequences that grow. */
#include "control/store/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/store/file_ops.h"

#define BYTES_MAX (MANIFEST_INCRS * 512)

void manifest_path(const struct manifest *m, const char *name, char *to, size_t n)
{
    snprintf(to, n, "%s/%s", m->dir, name);
}

static bool name_fits(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/') && strlen(name) < MANIFEST_NAME;
}

/* The next word of a line, ended in place; Redis puts names with blanks in quotes, with backslashes. NULL: there is none. */
static char *next_word(char **line)
{
    char *from = *line + strspn(*line, " \t\r"), *to, *ret;
    if (!*from)
        return NULL;
    bool quoted = *from == '"';
    from += quoted;
    for (ret = to = from; *from && (quoted ? *from != '"' : !strchr(" \t\r", *from)); from++) {
        from += quoted && *from == '\\' && from[1];
        *to++ = *from;
    }
    *line = from + (*from != 0);
    *to = 0;
    return ret;
}

/* One line. False: it makes no sense. */
static bool take_line(struct manifest *m, char *line)
{
    char *word[16], *name = NULL, *seq = NULL, *type = NULL;
    int n = 0;
    for (char *w; n < 16 && (w = next_word(&line)) != NULL;)
        word[n++] = w;
    if (n == 0 || word[0][0] == '#')
        return true;
    if (n % 2)
        return false;
    for (int i = 0; i < n; i += 2) {
        if (strcmp(word[i], "file") == 0)
            name = word[i + 1];
        else if (strcmp(word[i], "seq") == 0)
            seq = word[i + 1];
        else if (strcmp(word[i], "type") == 0)
            type = word[i + 1];
    }
    if (!name || !seq || !type || !name_fits(name) || type[1])
        return false;
    char *end;
    struct manifest_file f = {.seq = strtoull(seq, &end, 10)};
    if (*end || !f.seq)
        return false;
    snprintf(f.name, sizeof f.name, "%s", name);
    if (*type == 'b') {
        if (m->has_base)
            return false;
        m->has_base = true;
        m->base = f;
        m->last_base_seq = f.seq;
    } else if (*type == 'h') {
        if (m->histories == MANIFEST_INCRS + 1)
            return false;
        m->history[m->histories++] = f;
    } else if (*type == 'i') {
        if (m->incrs == MANIFEST_INCRS || f.seq <= m->last_incr_seq)
            return false;
        m->incr[m->incrs++] = f;
        m->last_incr_seq = f.seq;
    }
    return *type == 'b' || *type == 'i' || *type == 'h';
}

static int read_text(const char *path, char **ret)
{
    int fd = file_ops.open(path, O_RDONLY, 0);
    if (fd < 0)
        return -errno;
    char *text = malloc(BYTES_MAX + 1);
    size_t n = 0;
    ssize_t got = text ? 1 : -1;
    while (got > 0 && n < BYTES_MAX) {
        got = file_ops.read(fd, text + n, BYTES_MAX - n);
        n += got > 0 ? (size_t)got : 0;
    }
    int rc = !text ? -ENOMEM : got < 0 ? -errno : 0;
    file_ops.close(fd);
    if (rc) {
        free(text);
        return rc;
    }
    text[n] = 0;
    *ret = text;
    return 0;
}

int manifest_read(struct manifest *m, const char *dir, const char *dirname, const char *prefix,
                  char *err, size_t err_len)
{
    char path[8192], *text = NULL, *save;
    memset(m, 0, sizeof *m);
    snprintf(m->dir, sizeof m->dir, "%s/%s", dir, dirname);
    snprintf(m->prefix, sizeof m->prefix, "%s", prefix);
    snprintf(path, sizeof path, "%s/%s.manifest", m->dir, m->prefix);
    int rc = read_text(path, &text), number = 0;
    if (rc) {
        snprintf(err, err_len, "%s: %s", path, strerror(-rc));
        return rc;
    }
    for (char *line = strtok_r(text, "\n", &save); line && !rc;
         line = strtok_r(NULL, "\n", &save)) {
        number++;
        if (!take_line(m, line)) {
            snprintf(err, err_len, "%s: line %d makes no sense", path, number);
            rc = -EINVAL;
        }
    }
    free(text);
    if (!rc && !m->has_base && !m->incrs) {
        snprintf(err, err_len, "%s names no files", path);
        rc = -EINVAL;
    }
    return rc;
}

/* The caller's text has room for any name. */
static void put_line(char *text, size_t *n, const struct manifest_file *f, char type)
{
    *n += (size_t)sprintf(text + *n, strpbrk(f->name, " \"\\") ? "file \"" : "file ");
    bool quoted = text[*n - 1] == '"';
    for (const char *c = f->name; *c; c++) {
        if (quoted && (*c == '"' || *c == '\\'))
            text[(*n)++] = '\\';
        text[(*n)++] = *c;
    }
    *n += (size_t)sprintf(text + *n, "%s seq %llu type %c\n", quoted ? "\"" : "",
                          (unsigned long long)f->seq, type);
}

int manifest_write(const struct manifest *m, bool *ret_named)
{
    char path[8192], temp[8192];
    size_t cap = (2 * MANIFEST_NAME + 64) * (size_t)(m->incrs + m->histories + 2), n = 0;
    char *text = malloc(cap);
    if (!text)
        return -ENOMEM;
    if (m->has_base)
        put_line(text, &n, &m->base, 'b');
    for (uint32_t i = 0; i < m->histories; i++)
        put_line(text, &n, &m->history[i], 'h');
    for (uint32_t i = 0; i < m->incrs; i++)
        put_line(text, &n, &m->incr[i], 'i');
    snprintf(path, sizeof path, "%s/%s.manifest", m->dir, m->prefix);
    snprintf(temp, sizeof temp, "%s/temp-%s.manifest", m->dir, m->prefix);
    int fd = file_ops.open(temp, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    int rc = fd < 0 ? -errno : file_write_all(fd, text, n);
    if (!rc && file_ops.fsync(fd))
        rc = -errno;
    if (fd >= 0)
        file_ops.close(fd);
    if (!rc && file_ops.rename(temp, path))
        rc = -errno;
    if (ret_named)
        *ret_named = !rc;
    if (!rc)
        rc = file_sync_dir(m->dir);
    free(text);
    return rc;
}

bool manifest_add_incr(struct manifest *m)
{
    if (m->incrs == MANIFEST_INCRS)
        return false;
    struct manifest_file *f = &m->incr[m->incrs++];
    f->seq = ++m->last_incr_seq;
    snprintf(f->name, sizeof f->name, "%s.%llu.incr.aof", m->prefix, (unsigned long long)f->seq);
    return true;
}

void manifest_next_base(const struct manifest *m, char *to, size_t n)
{
    snprintf(to, n, "%s.%llu.base.rdb", m->prefix, (unsigned long long)m->last_base_seq + 1);
}

static void to_history(struct manifest *m, const struct manifest_file *f)
{
    if (m->histories < MANIFEST_INCRS + 1)
        m->history[m->histories++] = *f;
}

void manifest_replace(struct manifest *m, uint32_t first)
{
    if (m->has_base)
        to_history(m, &m->base);
    for (uint32_t i = 0; i < first; i++)
        to_history(m, &m->incr[i]);
    manifest_next_base(m, m->base.name, sizeof m->base.name);
    m->base.seq = ++m->last_base_seq;
    m->has_base = true;
    m->incrs -= first;
    memmove(m->incr, m->incr + first, m->incrs * sizeof m->incr[0]);
}

int manifest_drop_history(struct manifest *m)
{
    char path[8192];
    if (!m->histories)
        return 0;
    for (uint32_t i = 0; i < m->histories; i++) {
        manifest_path(m, m->history[i].name, path, sizeof path);
        if (file_ops.unlink(path) && errno != ENOENT)
            return -errno;
    }
    m->histories = 0;
    return manifest_write(m, NULL);
}
