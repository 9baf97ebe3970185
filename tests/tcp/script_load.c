/* script_load: reads a .pkt file. See script.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tcp/script.h"

static void fatal(const char *path, const char *what)
{
    fprintf(stderr, "%s: %s\n", path, what);
    exit(2);
}

static void *must(void *p)
{
    if (!p)
        fatal("script", "no memory");
    return p;
}

static char *trim(char *s)
{
    char *hash = strchr(s, '#');
    if (hash)
        *hash = 0;
    s += strspn(s, " \t");
    for (size_t n = strlen(s); n && strchr(" \t\r\n", s[n - 1]); n--)
        s[n - 1] = 0;
    return s;
}

static void add_line(struct script *s, unsigned number, const char *text)
{
    s->lines = must(realloc(s->lines, (s->count + 1) * sizeof(*s->lines)));
    s->lines[s->count++] = (struct script_line){number, must(strdup(text))};
}

size_t script_load(const char *path, struct script **ret)
{
    FILE *f = fopen(path, "r");
    char buf[512];
    struct script *all = NULL;
    size_t n = 0;
    if (!f)
        fatal(path, "cannot be read");
    for (unsigned number = 1; fgets(buf, sizeof(buf), f); number++) {
        if (!strchr(buf, '\n') && !feof(f))
            fatal(path, "line too long");
        char *text = trim(buf);
        if (!*text)
            continue;
        if (strncmp(text, "script ", 7) == 0) {
            all = must(realloc(all, (n + 1) * sizeof(*all)));
            all[n++] = (struct script){.file = must(strdup(path)), .name = must(strdup(text + 7))};
        } else if (n) {
            add_line(&all[n - 1], number, text);
        } else {
            fatal(path, "begins with no script");
        }
    }
    fclose(f);
    *ret = all;
    return n;
}

void script_free(struct script *scripts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < scripts[i].count; k++)
            free(scripts[i].lines[k].text);
        free(scripts[i].lines);
        free(scripts[i].file);
        free(scripts[i].name);
    }
    free(scripts);
}
