/* load: configuration text, files, standard input and the command line into struct config.
 *
 *   barewire run [CONF | -] [--directive value ...]
 *
 * As redis-server does it: the command line becomes lines of text that follow the file's, so that errors and precedence are the same.
 * Unknown directives are errors that name the nearest one; those of Redis that have no meaning here are accepted with one warning. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "control/config/config_internal.h"

struct report {
    char *err;
    size_t len;
};

static int load_text(struct config *c, struct span text, int depth, struct report *rep);

int config_read_file(const char *path, int fd, char **ret, size_t *ret_len)
{
    struct config_text t = {0};
    char buf[16384];
    ssize_t n;
    int err = 0;

    if (path)
        fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    while ((n = read(fd, buf, sizeof(buf))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err = -errno;
        else if (t.n + (size_t)n > CONFIG_FILE_BYTES)
            err = -EFBIG;
        if (err)
            break;
        text_add(&t, buf, (size_t)n);
    }
    if (path)
        close(fd);
    char *p = text_take(&t, ret_len);
    if (!p && !err)
        err = -ENOMEM;
    if (err)
        free(p);
    else
        *ret = p;
    return err;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    return a < b ? (a < c ? a : c) : (b < c ? b : c);
}

/* Levenshtein, one row; names are short. */
static unsigned distance(struct span a, const char *b)
{
    unsigned row[64], m = (unsigned)strlen(b);
    if (m >= 64)
        return UINT_MAX;
    for (unsigned j = 0; j <= m; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a.n; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= m; j++) {
            unsigned up = row[j];
            bool same = (a.p[i - 1] | 0x20) == ((uint8_t)b[j - 1] | 0x20);
            row[j] = min3(up + 1, row[j - 1] + 1, diagonal + !same);
            diagonal = up;
        }
    }
    return row[m];
}

/* NULL: nothing is near enough to be meant. A supported directive wins a tie. */
static const char *nearest(struct span name)
{
    const char *best = NULL;
    unsigned least = name.n < 4 ? 2 : name.n < 8 ? 3 : 5;
    if (name.n > 64)
        return NULL;
    for (uint32_t i = 0; i < config_rows_count; i++) {
        const char *n = config_rows[i].item.name;
        unsigned d = n ? distance(name, n) : UINT_MAX;
        if (d < least) {
            least = d;
            best = n;
        }
    }
    return best;
}

static int fatal(struct report *rep, unsigned line_no, struct span line, const char *why)
{
    int n = line.n > 512 ? 512 : (int)line.n;
    snprintf(rep->err, rep->len,
             "\n*** FATAL CONFIG FILE ERROR ***\nReading the configuration file, at line %u\n>>> "
             "'%.*s'\n%s\n",
             line_no, n, (const char *)line.p, why);
    return -EINVAL;
}

static int load_file(struct config *c, const char *path, int depth, struct report *rep)
{
    char *text;
    size_t n;
    int err = config_read_file(path, -1, &text, &n);
    if (err) {
        snprintf(rep->err, rep->len, "Fatal error, can't open config file '%s': %s\n", path,
                 strerror(-err));
        return -ENOENT;
    }
    err = load_text(c, span_of(text, n), depth, rep);
    free(text);
    return err;
}

/* A pattern that matches nothing is fine; a plain name must be there. */
static int load_include(struct config *c, struct span arg, int depth, struct report *rep, char *why)
{
    char *path = strndup((const char *)arg.p, arg.n);
    int err = 0;
    glob_t g;

    if (!path || depth >= CONFIG_INCLUDE_DEPTH) {
        snprintf(why, CONFIG_WHY_BYTES,
                 path ? "files include each other too deeply" : "out of memory");
        free(path);
        return -EINVAL;
    }
    if (strpbrk(path, "*?[")) {
        int rc = glob(path, 0, NULL, &g);
        if (rc && rc != GLOB_NOMATCH) {
            snprintf(why, CONFIG_WHY_BYTES, "the pattern's files cannot be listed");
            err = -EINVAL;
        }
        if (rc == 0) {
            for (size_t i = 0; i < g.gl_pathc && !err; i++)
                err = load_file(c, g.gl_pathv[i], depth + 1, rep);
            globfree(&g);
        }
    } else {
        err = load_file(c, path, depth + 1, rep);
    }
    free(path);
    return err ? err : 1;
}

/* Words of a single quoted argument: `save "900 1 300 10"`. */
static bool set_words(struct config *c, const struct config_row *r, struct config_words *w,
                      char *why)
{
    struct config_words inner;
    bool ok;
    if (!(r->item.flags & CF_MULTI) || w->n != 2)
        return config_row_set(c, r, w->v + 1, w->n - 1, why);
    if (!config_split(w->v[1], &inner)) {
        if (errno != ENOMEM)
            snprintf(why, CONFIG_WHY_BYTES, "Unbalanced quotes in configuration line");
        return false;
    }
    ok = config_row_set(c, r, inner.v, inner.n, why);
    config_words_free(&inner);
    return ok;
}

/* 0: obeyed. 1: `rep` is already written. Else -EINVAL with `why`. */
static int load_words(struct config *c, struct config_words *w, int depth, struct report *rep,
                      char *why)
{
    if (span_is(w->v[0], "include") && w->n == 2) {
        int err = load_include(c, w->v[1], depth, rep, why);
        return err == 1 ? 0 : rep->err[0] ? 1 : err;
    }
    uint32_t i = config_find(w->v[0]);
    if (i == UINT32_MAX) {
        const char *near = nearest(w->v[0]);
        int n = snprintf(why, CONFIG_WHY_BYTES, "Bad directive or wrong number of arguments");
        if (!near)
            snprintf(why + n, CONFIG_WHY_BYTES - (size_t)n, " (unknown directive)");
        else
            snprintf(why + n, CONFIG_WHY_BYTES - (size_t)n,
                     " (unknown directive; the nearest is '%s')", near);
        return -EINVAL;
    }
    const struct config_row *r = &config_rows[i];
    if (r->item.kind == CONFIG_FOREIGN)
        return config_warn(c, r->item.name, r->item.help) ? 0 : -EINVAL;
    return set_words(c, r, w, why) ? 0 : -EINVAL;
}

static struct span trim(struct span s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\r')) {
        s.p++;
        s.n--;
    }
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r'))
        s.n--;
    return s;
}

static int load_line(struct config *c, struct span line, unsigned line_no, int depth,
                     struct report *rep)
{
    char why[CONFIG_WHY_BYTES] = "out of memory";
    struct config_words w;

    if (memchr(line.p, 0, line.n))
        return fatal(rep, line_no, line, "NUL byte in configuration line");
    if (!config_split(line, &w))
        return fatal(rep, line_no, line,
                     errno == ENOMEM ? why : "Unbalanced quotes in configuration line");
    int err = w.n ? load_words(c, &w, depth, rep, why) : 0;
    uint32_t i = w.n ? config_find(w.v[0]) : UINT32_MAX;
    if (i != UINT32_MAX && (config_rows[i].item.flags & CF_SENSITIVE))
        line.n = strlen(config_rows[i].item.name); /* a password does not belong in a log */
    config_words_free(&w);
    return err == 1 ? -EINVAL : err ? fatal(rep, line_no, line, why) : 0;
}

static int load_text(struct config *c, struct span text, int depth, struct report *rep)
{
    const uint8_t *p = text.p, *end = text.p + text.n;
    for (unsigned line_no = 1; p < end; line_no++) {
        const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
        struct span line = trim(span_of(p, (size_t)((nl ? nl : end) - p)));
        p = nl ? nl + 1 : end;
        if (line.n == 0 || line.p[0] == '#')
            continue;
        int err = load_line(c, line, line_no, depth, rep);
        if (err)
            return err;
    }
    return 0;
}

/* Lines that say `save` add up while they are read. */
static int load_lines(struct config *c, struct span text, struct report *rep)
{
    c->reading = true;
    c->save_read = false;
    int rc = load_text(c, text, 0, rep);
    c->reading = false;
    return rc;
}

int config_load_text(struct config *c, struct span text, char *err, size_t err_len)
{
    struct report rep = {err, err_len};
    err[0] = 0;
    return load_lines(c, text, &rep);
}

static bool is_option(const char *arg)
{
    return arg[0] == '-' && arg[1] == '-';
}

/* True when an option's word carries its value too: "--port 6380" as one argument. */
static bool has_inner_value(const char *arg, struct config_text *t)
{
    struct config_words w;
    bool many = config_split(span_str(arg), &w);
    if (many) {
        many = w.n > 1;
        config_words_free(&w);
    } else {
        t->failed |= errno == ENOMEM;
    }
    return many;
}

/* `--a 1 2 --b 3` -> "a "1" "2"\nb "3"". The word after a bare option is its value even when it begins with "--", as in Redis; only
 * `--save` may go without one. */
static void options_text(int argc, char **argv, int from, struct config_text *t, bool *ret_stdin)
{
    bool option_may_come = true, first = true;
    for (int j = from; j < argc; j++) {
        const char *arg = argv[j];
        if (strcmp(arg, "-") == 0 && (j == 0 || j == argc - 1)) {
            *ret_stdin = true;
        } else if (option_may_come && is_option(arg)) {
            text_str(t, first ? "" : "\n");
            text_str(t, arg + 2);
            text_str(t, " ");
            first = false;
            option_may_come = has_inner_value(arg, t);
            if (!option_may_come && strcasecmp(arg, "--save") == 0 &&
                (j == argc - 1 || is_option(argv[j + 1]))) {
                text_str(t, "\"\"");
                option_may_come = true;
            }
        } else {
            text_repr(t, span_str(arg));
            text_str(t, " ");
            option_may_come = true;
        }
    }
}

/* Appends a file's bytes, or a report that it cannot be had. */
static int gather(struct config_text *t, const char *path, struct report *rep)
{
    char *bytes;
    size_t n;
    int err = config_read_file(path, STDIN_FILENO, &bytes, &n);
    if (err) {
        snprintf(rep->err, rep->len, "Fatal error, can't open config file '%s': %s\n",
                 path ? path : "-", strerror(-err));
        return -ENOENT;
    }
    text_add(t, bytes, n);
    free(bytes);
    return 0;
}

static int remember_file(struct config *c, const char *path)
{
    char *full = realpath(path, NULL);
    if (!full)
        return -errno;
    free(c->file);
    c->file = full;
    return 0;
}

int config_load_args(struct config *c, int argc, char **argv, char *err, size_t err_len)
{
    struct config_text t = {0}, options = {0};
    struct report rep = {err, err_len};
    bool from_stdin = false;
    const char *file = argc > 0 && argv[0][0] != '-' ? argv[0] : NULL;
    int ret = 0;

    err[0] = 0;
    options_text(argc, argv, file ? 1 : 0, &options, &from_stdin);
    if (file)
        ret = gather(&t, file, &rep);
    if (!ret && file && (ret = remember_file(c, file)))
        snprintf(err, err_len, "Fatal error, can't open config file '%s': %s\n", file,
                 strerror(-ret));
    if (!ret && from_stdin) {
        text_str(&t, file ? "\n" : "");
        ret = gather(&t, NULL, &rep);
    }
    if (options.n) {
        text_str(&t, "\n");
        text_add(&t, options.p, options.n);
    }
    t.failed |= options.failed; /* else it would start with what is left of them */
    free(options.p);
    size_t n = 0;
    char *text = text_take(&t, &n);
    if (!ret && !text) {
        snprintf(err, err_len, "out of memory\n");
        ret = -ENOMEM;
    }
    if (!ret)
        ret = load_lines(c, span_of(text, n), &rep);
    free(text);
    return ret;
}
