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

/* One line. False: it makes no sense. */
static bool take_line(struct manifest *m, char *line)
{
    char *save, *word[16], *name = NULL, *seq = NULL, *type = NULL;
    int n = 0;
    for (char *w = strtok_r(line, " \t\r", &save); w && n < 16; w = strtok_r(NULL, " \t\r", &save))
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

int manifest_write(const struct manifest *m)
{
    char path[8192], temp[8192];
    size_t cap = (MANIFEST_NAME + 64) * (size_t)(m->incrs + 1), n = 0;
    char *text = malloc(cap);
    if (!text)
        return -ENOMEM;
    if (m->has_base)
        n += (size_t)snprintf(text, cap, "file %s seq %llu type b\n", m->base.name,
                              (unsigned long long)m->base.seq);
    for (uint32_t i = 0; i < m->incrs; i++)
        n += (size_t)snprintf(text + n, cap - n, "file %s seq %llu type i\n", m->incr[i].name,
                              (unsigned long long)m->incr[i].seq);
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
