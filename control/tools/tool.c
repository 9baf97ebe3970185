/* tool.c: see tool.h. */
#include "control/tools/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "control/store/file_ops.h"
#include "engine/base/num.h"
#include "engine/log/rdb_file.h"

#define STEP_BYTES (1u << 20)

/* ---- bars ---- */

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void show(const struct tool_bar *b)
{
    char bar[41];
    uint64_t total = b->total ? b->total : 1, done = b->done < total ? b->done : total;
    memset(bar, '.', 40);
    memset(bar, '#', (size_t)(40 * done / total));
    bar[40] = 0;
    dprintf(STDERR_FILENO, "\r%s [%s] %3d %%  %" PRIu64 " MB ", b->what, bar,
            (int)(100 * done / total), done >> 20);
}

void tool_bar_begin(struct tool_bar *b, const char *what, uint64_t total)
{
    *b = (struct tool_bar){.what = what, .total = total, .on = isatty(STDERR_FILENO)};
}

void tool_bar_add(struct tool_bar *b, uint64_t n)
{
    if (!b)
        return;
    b->done += n;
    if (!b->on || now_ms() - b->shown_ms < 100)
        return;
    b->shown_ms = now_ms();
    show(b);
}

void tool_bar_end(struct tool_bar *b)
{
    if (!b->on)
        return;
    b->done = b->total;
    show(b);
    dprintf(STDERR_FILENO, "\n");
    b->on = false;
}

/* ---- words ---- */

bool tool_options(const char *word, int *argc, char **argv, const struct tool_option *options)
{
    int left = 0;
    for (int i = 0; i < *argc; i++) {
        const struct tool_option *o = options;
        if (argv[i][0] != '-' || !argv[i][1]) {
            argv[left++] = argv[i];
            continue;
        }
        while (o->name && strcmp(o->name, argv[i]) != 0)
            o++;
        if (!o->name || (o->value && i + 1 == *argc)) {
            fprintf(stderr, "barewire %s: %s %s\n", word, argv[i],
                    o->name ? "lacks its value" : "is no option of it");
            return false;
        }
        if (o->value)
            *o->value = argv[++i];
        else
            *o->flag = true;
    }
    *argc = left;
    return true;
}

bool tool_time(const char *text, int64_t *ret_s)
{
    struct tm tm = {0};
    uint64_t unix_s;
    if (num_parse_u64(span_str(text), &unix_s) && unix_s < INT64_MAX) {
        *ret_s = (int64_t)unix_s;
        return true;
    }
    const char *rest =
        strptime(text, strchr(text, 'T') ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &tm);
    if (!rest || (*rest && strcmp(rest, "Z") != 0))
        return false;
    *ret_s = timegm(&tm);
    return true;
}

const char *tool_time_text(int64_t s, char *to)
{
    struct tm tm;
    time_t t = (time_t)s;
    if (!gmtime_r(&t, &tm) || !strftime(to, TOOL_TIME_CHARS, "%Y-%m-%dT%H:%M:%SZ", &tm))
        strcpy(to, "?");
    return to;
}

/* ---- files ---- */

int tool_map(const char *path, struct span *ret)
{
    struct stat st;
    int fd = file_ops.open(path, O_RDONLY, 0), rc = 0;
    *ret = (struct span){0};
    if (fd < 0 || fstat(fd, &st)) {
        rc = -errno;
    } else if (st.st_size) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            rc = -errno;
        else
            *ret = span_of(p, (size_t)st.st_size);
    }
    if (fd >= 0)
        file_ops.close(fd);
    return rc;
}

void tool_unmap(struct span s)
{
    if (s.n)
        munmap((void *)(uintptr_t)s.p, s.n);
}

void tool_sum(struct span s, char *to, struct tool_bar *b)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA2_CTX ctx;
    SHA256Init(&ctx);
    for (size_t at = 0; at < s.n; at += STEP_BYTES) {
        size_t n = s.n - at < STEP_BYTES ? s.n - at : STEP_BYTES;
        SHA256Update(&ctx, s.p + at, n);
        tool_bar_add(b, n);
    }
    SHA256Final(digest, &ctx);
    for (size_t i = 0; i < sizeof digest; i++)
        sprintf(to + 2 * i, "%02x", digest[i]);
}

/* ---- looks ---- */

static void note_ctime(struct tool_look *l, const struct rdb_item *item)
{
    int64_t v;
    if (item->kind == RDB_ITEM_AUX && span_eq(item->name, SPAN("ctime")) &&
        num_parse_i64(item->value, &v))
        l->ctime = v;
}

static bool look_at_rdb(struct span file, struct tool_look *l, struct tool_bar *b)
{
    struct rdb_file f;
    rdb_file_init(&f, file.n, true);
    l->rdb = true;
    for (uint64_t shown = 0;;) {
        struct rdb_item item;
        uint64_t at = f.offset;
        switch (rdb_file_next(&f, file.p + at, file.n - at, &item)) {
        case RDB_FILE_ITEM: note_ctime(l, &item); break;
        case RDB_FILE_END:
            l->rdb_bytes = at + item.bytes;
            l->keys = f.keys;
            tool_bar_add(b, l->rdb_bytes - shown);
            return true;
        case RDB_FILE_MORE:
            snprintf(l->why, sizeof l->why, "byte %" PRIu64 ": the file ends here", at);
            return false;
        case RDB_FILE_BAD:
            snprintf(l->why, sizeof l->why, "byte %" PRIu64 ": %s", at, f.error);
            return false;
        }
        if (f.offset - shown >= STEP_BYTES) {
            tool_bar_add(b, f.offset - shown);
            shown = f.offset;
        }
    }
}

bool tool_look(struct span file, struct tool_look *l, struct tool_bar *b)
{
    *l = (struct tool_look){.ctime = -1};
    if (file.n >= 5 && memcmp(file.p, "REDIS", 5) == 0 && !look_at_rdb(file, l, b))
        return false;
    aof_check(file, l->rdb_bytes, &l->aof);
    tool_bar_add(b, file.n - l->rdb_bytes);
    if (l->aof.verdict == AOF_WHOLE)
        return true;
    bool torn = l->aof.verdict == AOF_TORN;
    snprintf(l->why, sizeof l->why, "byte %" PRIu64 ", group %" PRIu64 ": %s%s",
             torn ? l->aof.good_bytes : l->aof.bad_at, l->aof.bad_group,
             torn ? "its end was never finished: " : "", l->aof.why);
    return torn;
}
