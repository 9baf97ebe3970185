/* See replay.h. */
#include "dataplane/bench/replay.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/bytes.h"

#define ARGS_MOST 65536

struct reader {
    struct replay *r;
    FILE *f;
    char *line; /* getline's */
    size_t line_cap, number;
    struct span *argv;
    uint32_t argc;
    uint8_t *words; /* what argv points into */
    size_t words_len, words_cap;
    double first_s, last_s;
};

/* Of one connection, or that wait for another: over connections of ours they would mean something else. */
static bool leave_out(struct span name)
{
    static const char *const names[] = {
        "multi",      "exec",       "discard",     "watch",        "unwatch",      "subscribe",
        "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe", "monitor",
        "select",     "auth",       "hello",       "quit",         "reset",        "client",
        "sync",       "psync",      "replconf",    "wait",         "waitaof",      "blpop",
        "brpop",      "blmove",     "brpoplpush",  "blmpop",       "bzpopmin",     "bzpopmax",
        "bzmpop",     "shutdown",   "debug",       "asking",       "readonly",     "readwrite"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == name.n && strncasecmp(names[i], (const char *)name.p, name.n) == 0)
            return true;
    return false;
}

static bool grow(void *at, size_t *cap, size_t need, size_t size)
{
    void **p = at;
    if (need <= *cap)
        return true;
    size_t want = need * 2 + 64;
    void *np = realloc(*p, want * size);
    if (!np)
        return false;
    *p = np;
    *cap = want;
    return true;
}

static bool put(struct replay *r, const void *p, size_t n)
{
    if (!grow(&r->text, &r->text_cap, r->text_len + n, 1))
        return false;
    memcpy(r->text + r->text_len, p, n);
    r->text_len += n;
    return true;
}

/* One request, at `s` seconds of the log's clock. False: no memory. */
static bool add(struct reader *d, double s)
{
    struct replay *r = d->r;
    char head[32];
    if (d->argc == 0)
        return true;
    if (leave_out(d->argv[0])) {
        r->left_out++;
        return true;
    }
    size_t off = r->text_len;
    bool ok = put(r, head, (size_t)snprintf(head, sizeof(head), "*%u\r\n", d->argc));
    for (uint32_t i = 0; ok && i < d->argc; i++)
        ok = put(r, head, (size_t)snprintf(head, sizeof(head), "$%zu\r\n", d->argv[i].n)) &&
             put(r, d->argv[i].p, d->argv[i].n) && put(r, "\r\n", 2);
    if (!ok || r->text_len - off > UINT32_MAX ||
        !grow(&r->line, &r->lines_cap, r->lines + 1, sizeof(*r->line)))
        return false;
    if (r->lines == 0)
        d->first_s = s;
    d->last_s = s > d->last_s || r->lines == 0 ? s : d->last_s; /* clocks may step back */
    r->line[r->lines++] = (struct replay_line){(uint64_t)((d->last_s - d->first_s) * 1e9), off,
                                               (uint32_t)(r->text_len - off)};
    return true;
}

/* ---- MONITOR: 1339518083.107412 [0 127.0.0.1:60866] "keys" "*" ---- */

static int hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* A quoted word at *p, without its escapes, into `to`. NULL: it is none. */
static uint8_t *unquote(const char **p, uint8_t *to)
{
    const char *c = *p;
    if (*c++ != '"')
        return NULL;
    for (; *c && *c != '"'; c++) {
        if (*c != '\\') {
            *to++ = (uint8_t)*c;
            continue;
        }
        c++;
        if (*c == 'x' && isxdigit((unsigned char)c[1]) && isxdigit((unsigned char)c[2])) {
            *to++ = (uint8_t)(hex(c[1]) * 16 + hex(c[2]));
            c += 2;
            continue;
        }
        static const char names[] = "nrtab", bytes[] = "\n\r\t\a\b";
        const char *at = *c ? strchr(names, *c) : NULL;
        if (!*c)
            return NULL;
        *to++ = (uint8_t)(at ? bytes[at - names] : *c);
    }
    if (*c != '"')
        return NULL;
    *p = c + 1;
    return to;
}

static const char *monitor_line(struct reader *d)
{
    char *end;
    double s = strtod(d->line, &end);
    const char *p = strstr(end, "] ");
    if (end == d->line || *end != ' ' || end[1] != '[' || !p)
        return "not a line of MONITOR";
    if (!grow(&d->words, &d->words_cap, strlen(p), 1))
        return "no memory";
    uint8_t *to = d->words;
    d->argc = 0;
    for (p += 2; *p == '"'; p += *p == ' ') {
        uint8_t *next = unquote(&p, to);
        if (!next || d->argc == ARGS_MOST)
            return next ? "too many words" : "a word without its end";
        d->argv[d->argc++] = (struct span){to, (size_t)(next - to)};
        to = next;
    }
    if (*p && *p != '\n' && *p != '\r')
        return "not a line of MONITOR";
    return add(d, s) ? NULL : "no memory";
}

/* ---- time,key,size,op ---- */

static const char *trace_line(struct reader *d)
{
    char *end = d->line, *save, *at = strtok_r(d->line, ",", &save),
         *key = strtok_r(NULL, ",", &save);
    char *size = strtok_r(NULL, ",", &save), *op = strtok_r(NULL, ", \r\n", &save);
    double ms = at ? strtod(at, &end) : 0;
    if (!op || end == at)
        return "not time,key,size,op";
    unsigned long n = strtoul(size, &end, 10);
    if (*end || n > 512ul << 20)
        return "no size";
    d->argv[1] = span_str(key);
    if (strcasecmp(op, "set") == 0) {
        if (!grow(&d->words, &d->words_cap, n + 1, 1))
            return "no memory";
        memset(d->words, 'x', n);
        d->argv[0] = span_str("SET");
        d->argv[2] = (struct span){d->words, n};
        d->argc = 3;
    } else if (strcasecmp(op, "get") == 0 || strcasecmp(op, "del") == 0) {
        d->argv[0] = span_str(strcasecmp(op, "get") == 0 ? "GET" : "DEL");
        d->argc = 2;
    } else {
        return "the operation is none of get, set, del";
    }
    return add(d, ms / 1000) ? NULL : "no memory";
}

/* ---- an append-only file ---- */

/* Reads n bytes and the CR LF behind them. */
static bool take(struct reader *d, size_t n)
{
    if (!grow(&d->words, &d->words_cap, d->words_len + n + 2, 1) ||
        fread(d->words + d->words_len, 1, n + 2, d->f) != n + 2)
        return false;
    d->words_len += n;
    return true;
}

static const char *aof_request(struct reader *d, double s)
{
    char *end;
    unsigned long argc = strtoul(d->line + 1, &end, 10);
    if (argc == 0 || argc > ARGS_MOST)
        return "not a request";
    d->words_len = 0;
    d->argc = 0;
    for (unsigned long i = 0; i < argc; i++) {
        ssize_t n = getline(&d->line, &d->line_cap, d->f);
        unsigned long len = n > 0 && *d->line == '$' ? strtoul(d->line + 1, &end, 10) : ULONG_MAX;
        if (len > 512ul << 20 || !take(d, len))
            return "the request is cut off";
        d->argv[d->argc++] = (struct span){NULL, len};
    }
    const uint8_t *p = d->words;
    for (uint32_t i = 0; i < d->argc; i++) {
        d->argv[i].p = p;
        p += d->argv[i].n;
    }
    return add(d, s) ? NULL : "no memory";
}

static const char *read_all(struct reader *d)
{
    const char *why = NULL;
    double stamp_s = 0;
    while (!why && getline(&d->line, &d->line_cap, d->f) > 0) {
        const char *l = d->line;
        d->number++;
        if (strncmp(l, "#TS:", 4) == 0) {
            d->r->timed = true;
            stamp_s = strtod(l + 4, NULL);
        } else if (*l == '*') {
            why = aof_request(d, stamp_s);
        } else if (isdigit((unsigned char)*l)) {
            d->r->timed = true;
            why = strstr(l, " [") ? monitor_line(d) : trace_line(d);
        } else if (*l != '#' && *l != '\n' && *l != '\r' && strncmp(l, "OK", 2) != 0) {
            why = "neither MONITOR's output, nor an append-only file, nor a trace";
        }
    }
    return why ? why : ferror(d->f) ? strerror(errno) : NULL;
}

bool replay_load(struct replay *r, const char *path, char *err, size_t err_len)
{
    struct reader d = {.r = r, .f = fopen(path, "r")};
    memset(r, 0, sizeof(*r));
    if (!d.f) {
        snprintf(err, err_len, "%s: %s", path, strerror(errno));
        return false;
    }
    d.argv = malloc(ARGS_MOST * sizeof(*d.argv));
    const char *why = d.argv ? read_all(&d) : "no memory";
    if (why)
        snprintf(err, err_len, "%s, line %zu: %s", path, d.number, why);
    else if (r->lines == 0)
        snprintf(err, err_len, "%s: no commands that could be asked again", path);
    else
        r->length_ns = r->line[r->lines - 1].at_ns + r->line[r->lines - 1].at_ns / r->lines + 1;
    fclose(d.f);
    free(d.line);
    free(d.words);
    free(d.argv);
    return !why && r->lines;
}

void replay_free(struct replay *r)
{
    free(r->line);
    free(r->text);
    memset(r, 0, sizeof(*r));
}
