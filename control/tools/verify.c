/* verify.c: every byte of every backup: lengths, sums, structure, and that the groups of a backup's files follow each other. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/tools/backup.h"
#include "control/tools/repository.h"

struct seen { /* a file that several backups name is read once */
    struct part part;
    bool ours, bad;
    uint64_t first_group, last_group;
    char why[400];
};

struct verify {
    struct repository repo;
    struct seen *seen;
    uint32_t n;
    struct tool_bar bar;
};

static void look(struct verify *v, struct seen *s)
{
    char path[TOOL_PATH];
    struct span file;
    struct tool_look l;
    repository_path(&v->repo, s->part.name, path, sizeof path);
    int rc = tool_map(path, &file);
    const char *why = rc ? strerror(-rc) : part_check(&s->part, file, &v->bar);
    if (why) {
        snprintf(s->why, sizeof s->why, "%s", why);
    } else if (!tool_look(file, &l, &v->bar) || l.aof.verdict != AOF_WHOLE) {
        snprintf(s->why, sizeof s->why, "%s", l.why); /* so it was when it was copied */
    } else {
        s->ours = l.aof.ours;
        s->first_group = l.aof.first_group;
        s->last_group = l.aof.last_group;
    }
    s->bad = *s->why;
    tool_unmap(file);
}

/* NULL: no memory. */
static const struct seen *see(struct verify *v, const struct part *p)
{
    for (uint32_t i = 0; i < v->n; i++)
        if (!strcmp(v->seen[i].part.name, p->name) && !strcmp(v->seen[i].part.sum, p->sum) &&
            v->seen[i].part.bytes == p->bytes)
            return &v->seen[i];
    struct seen *grown = realloc(v->seen, (v->n + 1) * sizeof *grown);
    if (!grown)
        return NULL;
    v->seen = grown;
    struct seen *s = &v->seen[v->n++];
    *s = (struct seen){.part = *p};
    look(v, s);
    return s;
}

static bool report(const struct backup *b, const char *file, const char *why)
{
    printf("backup %" PRIu64 ": DAMAGED: %s%s%s\n", b->id, file, *file ? ": " : "", why);
    return false;
}

static bool verify_one(struct verify *v, const struct backup *b)
{
    char when[TOOL_TIME_CHARS];
    uint64_t bytes = 0, group = 0;
    if (b->bad)
        return report(b, "its .backup file", b->why);
    for (uint32_t i = 0; i < b->parts; i++) {
        const struct seen *s = see(v, &b->part[i]);
        if (!s || s->bad)
            return report(b, b->part[i].name, s ? s->why : "no memory");
        if (s->ours && group && s->first_group != group + 1)
            return report(b, b->part[i].name, "its groups do not follow those before");
        group = s->ours ? s->last_group : 0;
        bytes += b->part[i].bytes;
    }
    printf("backup %" PRIu64 " of %s: OK, %s, %u files, %" PRIu64 " bytes\n", b->id,
           tool_time_text(b->time_s, when), b->kind, b->parts, bytes);
    return true;
}

static uint64_t bytes_of_all(const struct repository *r)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < r->n; i++)
        for (uint32_t k = 0; k < r->backup[i].parts; k++)
            if (r->backup[i].part[k].name[0] &&
                strtoull(r->backup[i].part[k].name, NULL, 10) == r->backup[i].id)
                sum += 2 * r->backup[i].part[k].bytes; /* its sum, its structure */
    return sum;
}

int verify_main(int argc, char **argv)
{
    static const struct tool_option none[] = {{0}};
    char err[TOOL_PATH];
    struct verify v = {0};
    bool good = true;
    if (!tool_options("verify", &argc, argv, none) || argc != 1) {
        fprintf(stderr, "barewire verify DIR\n");
        return 2;
    }
    if (repository_open(&v.repo, argv[0], false, err, sizeof err)) {
        fprintf(stderr, "barewire verify: %s\n", err);
        return 1;
    }
    tool_bar_begin(&v.bar, "verify", bytes_of_all(&v.repo));
    for (uint32_t i = 0; i < v.repo.n; i++)
        good &= verify_one(&v, &v.repo.backup[i]);
    tool_bar_end(&v.bar);
    if (!v.repo.n)
        printf("%s: no backups\n", argv[0]);
    free(v.seen);
    repository_close(&v.repo);
    return good ? 0 : 1;
}
