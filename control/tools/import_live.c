/* import_live.c: a Redis that goes on serving, read as a replica reads it: PSYNC, its RDB, then every write it makes, as it comes.
 *
 *   REPLCONF capa eof, PSYNC ? -1 -> +FULLRESYNC id offset -> $<length> or $EOF:<mark> -> RDB -> RESTORE
 *                                    the stream of commands -> the server that takes them, as they stand;  REPLCONF ACK offset every second
 *
 * A link that breaks is taken up again where it broke (+CONTINUE) if the source still has what came since. Nothing is written to the source. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/tools/import.h"
#include "engine/base/num.h"

#define EOF_BYTES 40
#define WAIT_MS   1000
#define RETRIES   20
#define ARGS      4

struct live {
    struct import *im;
    const struct import_live *c;
    struct client from;
    char id[64];
    uint64_t offset; /* of the stream: what was given */
    uint64_t until;  /* --once */
    int64_t acked_ms;
};

static bool lost(struct live *l)
{
    return import_fail(l->im, "%s:%s: %s", l->c->from.host, l->c->from.port, l->from.err);
}

static bool over(const struct live *l)
{
    return *l->c->stop != 0;
}

/* ---- the source's first words ---- */

/* A line without its end, used up; empty ones are signs of life. */
static bool read_line(struct live *l, char *to, size_t n)
{
    for (;;) {
        const uint8_t *p = l->from.in + l->from.in_at;
        size_t have = l->from.in_n - l->from.in_at;
        const uint8_t *end = have ? memchr(p, '\n', have) : NULL;
        if (!end) {
            if (over(l))
                return import_fail(l->im, "stopped before all was there");
            if (client_fill(&l->from, WAIT_MS) < 0)
                return lost(l);
            continue;
        }
        size_t line = (size_t)(end - p);
        l->from.in_at += line + 1;
        if (line && p[line - 1] == '\r')
            line--;
        if (!line)
            continue;
        snprintf(to, n, "%.*s", (int)(line < n ? line : n - 1), (const char *)p);
        return true;
    }
}

static bool say(struct live *l, const char *a, const char *b, const char *c)
{
    char text[300];
    int n = snprintf(text, sizeof text, "*3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
                     strlen(a), a, strlen(b), b, strlen(c), c);
    return client_send(&l->from, span_of(text, (size_t)n)) || lost(l);
}

/* Connects and asks for what is behind l->offset, or for all. *ret_full: an RDB file comes first. */
static bool begin(struct live *l, bool *ret_full)
{
    static const char *const capa[] = {"REPLCONF", "capa", "eof", "capa", "psync2"};
    char line[300], at[24];
    struct span reply;
    struct client_where w = l->c->from;
    if (!*w.pass)
        w.pass = NULL;
    if (!client_open(&l->from, &w) || !client_ask(&l->from, &reply, 5, capa))
        return lost(l);
    snprintf(at, sizeof at, "%" PRIu64, l->offset + 1);
    if (!say(l, "PSYNC", *l->id ? l->id : "?", *l->id ? at : "-1") ||
        !read_line(l, line, sizeof line))
        return false;
    *ret_full = strncmp(line, "+FULLRESYNC ", 12) == 0;
    if (*ret_full && sscanf(line, "+FULLRESYNC %63s %" SCNu64, l->id, &l->offset) == 2)
        return true;
    if (!*ret_full && strncmp(line, "+CONTINUE", 9) == 0) {
        sscanf(line, "+CONTINUE %63s", l->id);
        return true;
    }
    return import_fail(l->im, "%s:%s refuses to be read as a primary: %s", w.host, w.port, line);
}

/* ---- the RDB ---- */

static bool feed(struct live *l, struct rdb_file *f)
{
    for (;;) {
        struct rdb_item item;
        struct client *c = &l->from;
        uint64_t at = f->offset;
        enum rdb_file_status s = rdb_file_next(f, c->in + c->in_at, c->in_n - c->in_at, &item);
        if (s == RDB_FILE_BAD)
            return import_fail(l->im, "the RDB of %s:%s: byte %" PRIu64 ": %s", l->c->from.host,
                               l->c->from.port, at, f->error);
        if (s == RDB_FILE_MORE) {
            if (over(l))
                return import_fail(l->im, "stopped before all was there");
            if (client_fill(c, WAIT_MS) < 0)
                return lost(l);
            continue;
        }
        if (s == RDB_FILE_ITEM && !import_item(l->im, f, &item))
            return false;
        c->in_at += item.bytes;
        tool_bar_add(&l->im->bar, item.bytes);
        if (s == RDB_FILE_END)
            return true;
    }
}

static bool take_rdb(struct live *l)
{
    char line[300];
    struct rdb_file f;
    uint64_t n = UINT64_MAX;
    if (!read_line(l, line, sizeof line))
        return false;
    bool marked = strncmp(line, "$EOF:", 5) == 0 && strlen(line) == 5 + EOF_BYTES;
    if (*line != '$' || (!marked && !num_parse_u64(span_str(line + 1), &n)))
        return import_fail(l->im, "%s:%s sends no RDB: %s", l->c->from.host, l->c->from.port, line);
    tool_bar_begin(&l->im->bar, "import", marked ? 0 : n);
    rdb_file_init(&f, n, true);
    if (!feed(l, &f))
        return false;
    while (marked && l->from.in_n - l->from.in_at < EOF_BYTES)
        if (client_fill(&l->from, WAIT_MS) < 0)
            return lost(l);
    if (marked && memcmp(l->from.in + l->from.in_at, line + 5, EOF_BYTES) != 0)
        return import_fail(l->im, "what %s:%s sends behind its RDB makes no sense", l->c->from.host,
                           l->c->from.port);
    l->from.in_at += marked ? EOF_BYTES : 0;
    tool_bar_end(&l->im->bar);
    return client_pipe_drain(&l->im->to, true) ||
           import_fail(l->im, "the server that takes it: %s", l->im->to.err);
}

/* ---- the stream ---- */

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static bool acknowledge(struct live *l)
{
    char text[24];
    l->acked_ms = now_ms();
    snprintf(text, sizeof text, "%" PRIu64, l->offset);
    return say(l, "REPLCONF", "ACK", text);
}

static void show(const struct live *l)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\rfollowing %s:%s: %" PRIu64 " commands ", l->c->from.host,
                l->c->from.port, l->im->commands);
}

/* One request of the stream. */
static bool pass_on(struct live *l, struct span request, const struct span *argv, uint32_t argc)
{
    if (span_is(argv[0], "ping"))
        return true;
    if (span_is(argv[0], "replconf"))
        return argc < 2 || !span_is(argv[1], "getack") || acknowledge(l);
    l->im->commands++;
    return client_pipe_raw(&l->im->to, request) ||
           import_fail(l->im, "the server that takes it: %s", l->im->to.err);
}

/* What is there of it. */
static bool take_stream(struct live *l)
{
    struct client *c = &l->from;
    struct span in = span_of(c->in + c->in_at, c->in_n - c->in_at), argv[ARGS];
    uint64_t at = 0;
    uint32_t argc;
    for (size_t n; (n = aof_next(in, at, argv, ARGS, &argc)) != 0; at += n) {
        if (argc && !pass_on(l, span_of(in.p + at, n), argv, argc))
            return false;
        l->offset += n;
    }
    if (at < in.n && in.p[at] != '*')
        return import_fail(l->im, "what %s:%s sends is no command", l->c->from.host,
                           l->c->from.port);
    c->in_at += at;
    return client_pipe_drain(&l->im->to, false) ||
           import_fail(l->im, "the server that takes it: %s", l->im->to.err);
}

/* 1: all that is wanted is there; 0: the link broke; -1: it failed. */
static int follow(struct live *l)
{
    l->im->db = UINT32_MAX; /* the stream selects for itself */
    for (;;) {
        if (!take_stream(l))
            return -1;
        if ((l->c->once && l->offset >= l->until) || over(l))
            return 1;
        int n = client_fill(&l->from, WAIT_MS);
        if (n < 0)
            return 0;
        if (now_ms() - l->acked_ms >= WAIT_MS) {
            show(l);
            if (!acknowledge(l))
                return 0;
        }
    }
}

/* How far the source is now, by a connection of its own. */
static bool ask_until(struct live *l)
{
    static const char *const info[] = {"INFO", "replication"};
    struct client c;
    struct span reply;
    char text[24];
    struct client_where w = l->c->from;
    if (!*w.pass)
        w.pass = NULL;
    bool good = client_open(&c, &w) && client_ask(&c, &reply, 2, info);
    if (!good)
        import_fail(l->im, "%s:%s: %s", w.host, w.port, c.err);
    else if (!client_info(reply, "master_repl_offset", text, sizeof text) ||
             !num_parse_u64(span_str(text), &l->until))
        good = import_fail(l->im, "%s:%s does not tell its master_repl_offset", w.host, w.port);
    client_close(&c);
    return good;
}

/* Up to where the link broke everything was given: the rest of a request that was cut off comes again. */
static bool take_up_again(struct live *l)
{
    for (int i = 0; i < RETRIES && !over(l); i++) {
        bool full;
        client_close(&l->from);
        if (begin(l, &full))
            return !full || import_fail(l->im,
                                        "%s:%s has no longer what came while the link was "
                                        "broken: import it anew, with --merge",
                                        l->c->from.host, l->c->from.port);
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    }
    return false;
}

bool import_live(struct import *im, const struct import_live *c)
{
    struct live l = {.im = im, .c = c, .from = {.fd = -1}};
    bool full;
    int done = 0;
    bool good = begin(&l, &full) && (full || import_fail(im, "the source sends no RDB")) &&
                take_rdb(&l) && (!c->once || ask_until(&l)) && acknowledge(&l);
    while (good && (done = follow(&l)) == 0)
        good = over(&l) || take_up_again(&l);
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\n");
    client_close(&l.from);
    if (good && done == 1)
        im->err[0] = 0; /* of a link that was taken up again */
    return good && done == 1;
}
