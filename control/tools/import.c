/* import.c: words, keys of RDB files, the report. */
#include "control/tools/import.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "control/store/manifest.h"
#include "engine/base/assert.h"
#include "engine/base/num.h"

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
    (void)sig;
    stopped = 1;
}

bool import_fail(struct import *im, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(im->err, sizeof im->err, fmt, ap);
    va_end(ap);
    return false;
}

static bool lost(struct import *im)
{
    return import_fail(im, "the server that takes it: %s", im->to.err);
}

/* ---- keys ---- */

bool import_select(struct import *im, uint32_t db)
{
    char text[NUM_I64_CHARS];
    struct span argv[2] = {SPAN("SELECT"), span_of(text, num_format_i64(text, db))};
    if (im->db == db)
        return true;
    im->db = db;
    return client_pipe(&im->to, argv, 2) || lost(im);
}

static bool make_payload(struct import *im, uint8_t type, struct span value, uint32_t version,
                         struct span *ret)
{
    size_t n = 1 + value.n + RDB_FOOTER_BYTES;
    if (n > im->payload_cap) {
        uint8_t *grown = realloc(im->payload, n * 3 / 2);
        if (!grown)
            return import_fail(im, "no memory for a value of %zu bytes", value.n);
        im->payload = grown;
        im->payload_cap = n * 3 / 2;
    }
    uint8_t *p = im->payload;
    *p = type;
    memcpy(p + 1, value.p, value.n);
    p += 1 + value.n;
    p[0] = (uint8_t)version;
    p[1] = (uint8_t)(version >> 8);
    uint64_t crc = crc64(0, im->payload, n - 8);
    memcpy(p + 2, &crc, 8);
    *ret = span_of(im->payload, n);
    return true;
}

bool import_key(struct import *im, struct span key, uint8_t type, struct span value,
                uint32_t version, int64_t expire_ms, int64_t idle_s, int64_t freq)
{
    char ttl[NUM_I64_CHARS], clock[NUM_I64_CHARS];
    struct span argv[8] = {SPAN("RESTORE"), key};
    uint32_t n = 4;
    if (expire_ms >= 0 && expire_ms <= im->now_ms) {
        im->expired++;
        return true;
    }
    argv[2] = span_of(ttl, num_format_i64(ttl, expire_ms < 0 ? 0 : expire_ms));
    if (!make_payload(im, type, value, version, &argv[3]))
        return false;
    argv[n++] = SPAN("REPLACE");
    if (expire_ms >= 0)
        argv[n++] = SPAN("ABSTTL");
    if (freq >= 0 || idle_s >= 0) {
        argv[n++] = freq >= 0 ? SPAN("FREQ") : SPAN("IDLETIME");
        argv[n] = span_of(clock, num_format_i64(clock, freq >= 0 ? freq : idle_s));
        n++;
    }
    im->keys++;
    return client_pipe(&im->to, argv, n) || lost(im);
}

bool import_item(struct import *im, const struct rdb_file *f, const struct rdb_item *item)
{
    struct rdb_reader r;
    struct rdb_text key;
    struct mem mem;
    im->functions += item->kind == RDB_ITEM_FUNCTION;
    im->modules += item->kind == RDB_ITEM_MODULE_AUX;
    if (item->kind != RDB_ITEM_KEY)
        return true;
    if (mem_init(&mem))
        return import_fail(im, "no memory");
    bool good = rdb_body_key(&r, item->body, &mem, &key);
    if (good) {
        good =
            import_select(im, f->db) && import_key(im, key.s, item->type, item->value, f->version,
                                                   item->expire_ms, item->idle_s, item->freq);
        rdb_text_free(&r, &key);
    } else {
        import_fail(im, "a key that cannot be read");
    }
    mem_fini(&mem);
    return good;
}

/* ---- files ---- */

static bool import_rdb(struct import *im, const char *path, struct span file)
{
    struct rdb_file f;
    rdb_file_init(&f, file.n, true);
    for (;;) {
        struct rdb_item item;
        uint64_t at = f.offset;
        switch (rdb_file_next(&f, file.p + at, file.n - at, &item)) {
        case RDB_FILE_ITEM:
            if (!import_item(im, &f, &item))
                return false;
            tool_bar_add(&im->bar, item.bytes);
            break;
        case RDB_FILE_END: return true;
        default:
            return import_fail(im,
                               "%s: byte %" PRIu64 ": %s. What stands before it is there. "
                               "`barewire check-files %s --fix` keeps what is good",
                               path, at, *f.error ? f.error : "the file ends here", path);
        }
    }
}

/* Looked at before a key of it goes anywhere. */
static bool import_file(struct import *im, const char *path)
{
    struct span file;
    struct tool_look look;
    int rc = tool_map(path, &file);
    if (rc)
        return import_fail(im, "%s: %s", path, strerror(-rc));
    tool_bar_begin(&im->bar, "looking", file.n);
    bool good = file.n && tool_look(file, &look, &im->bar) && look.aof.verdict == AOF_WHOLE;
    if (!good) {
        import_fail(im,
                    "%s: %s. Nothing was imported. `barewire check-files %s --fix` keeps what "
                    "is good",
                    path, file.n ? look.why : "empty", path);
    } else if (look.rdb && look.rdb_bytes == file.n) {
        tool_bar_end(&im->bar);
        tool_bar_begin(&im->bar, "import", file.n);
        good = import_rdb(im, path, file);
    } else {
        good = import_log(im, &path, 1);
    }
    tool_unmap(file);
    return good;
}

static bool import_directory(struct import *im, const char *dir, const char *prefix)
{
    static struct manifest m;
    char err[TOOL_PATH + 100], (*path)[TOOL_PATH] = NULL;
    const char **paths = NULL;
    uint32_t n = 0;
    if (manifest_read(&m, dir, ".", prefix, err, sizeof err))
        return import_fail(im, "%s (--appendfilename names another log)", err);
    path = calloc(m.incrs + 1, sizeof *path);
    paths = calloc(m.incrs + 1, sizeof *paths);
    bool good = path && paths;
    for (uint32_t i = 0; good && i < m.incrs + m.has_base; i++) {
        const char *name = m.has_base ? (i ? m.incr[i - 1].name : m.base.name) : m.incr[i].name;
        manifest_path(&m, name, path[n], sizeof path[n]);
        paths[n] = path[n];
        n++;
    }
    good = good ? import_log(im, paths, n) : import_fail(im, "no memory");
    free(path);
    free(paths);
    return good;
}

/* ---- words ---- */

/* Each database in turn, as DBSIZE counts it at that moment: the figures of INFO follow it. The first that cannot be selected is behind the last. */
static bool is_empty_target(struct import *im)
{
    struct span reply;
    for (uint32_t db = 0;; db++) {
        char text[NUM_I64_CHARS + 1];
        text[num_format_i64(text, db)] = 0;
        if (!client_ask(&im->to, &reply, 2, (const char *const[]){"SELECT", text}))
            return db > 0 || lost(im);
        if (!client_ask(&im->to, &reply, 1, (const char *const[]){"DBSIZE"}))
            return lost(im);
        if (*reply.p != '0')
            return import_fail(im, "the server that takes it has keys already: --merge puts these "
                                   "beside them, and in the place of those of the same name");
    }
}

static bool split_address(char *text, struct client_where *w)
{
    char *colon = strrchr(text, ':');
    if (!colon || colon == text || !colon[1])
        return false;
    *colon = 0;
    w->host = text;
    w->port = colon + 1;
    if (*text == '[' && text[strlen(text) - 1] == ']') { /* of IPv6 */
        text[strlen(text) - 1] = 0;
        w->host = text + 1;
    }
    return true;
}

static bool import_source(struct import *im, char *source, const char *prefix,
                          struct import_live *live)
{
    struct stat st;
    if (stat(source, &st) == 0)
        return S_ISDIR(st.st_mode) ? import_directory(im, source, prefix) : import_file(im, source);
    int error = errno;
    if (!split_address(source, &live->from))
        return import_fail(im, "%s: %s, and no host:port", source, strerror(error));
    return import_live(im, live);
}

static void report(const struct import *im)
{
    printf("%" PRIu64 " keys and %" PRIu64 " commands were given, %" PRIu64
           " keys whose time was over were left out\n",
           im->keys, im->commands, im->expired);
    if (im->functions || im->modules)
        printf("left out: %u function libraries, data of %u modules\n", im->functions, im->modules);
    if (!im->to.errors)
        return;
    printf("%" PRIu64 " of them were refused:\n", im->to.errors);
    for (uint64_t i = 0; i < im->to.errors && i < ARRAY_LEN(im->to.first_errors); i++)
        printf("  %s\n", im->to.first_errors[i]);
}

static const char usage[] =
    "barewire import SOURCE [-s SOCKET | -h HOST -p PORT] [--user USER] [-a PASSWORD] [--merge]\n"
    "    SOURCE: dump.rdb | appendonlydir [--appendfilename NAME] | appendonly.aof\n"
    "            | host:port [--source-user USER] [--source-password PASSWORD] [--once]\n"
    "    of host:port what it writes is taken over too, until Ctrl-C, or with --once until all is "
    "there\n";

static bool run(struct import *im, char *source, const char *prefix, bool merge,
                struct import_live *live, const struct client_where *to)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    im->now_ms = ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
    im->db = UINT32_MAX;
    if (!client_open(&im->to, to))
        return lost(im);
    if (!merge && !is_empty_target(im))
        return false;
    bool good = import_source(im, source, prefix, live);
    if (!client_pipe_drain(&im->to, true) && good)
        good = lost(im);
    if (good)
        tool_bar_end(&im->bar);
    report(im);
    return good && !im->to.errors;
}

int import_main(int argc, char **argv)
{
    struct client_where to = {0};
    struct import_live live = {.stop = &stopped};
    struct import *im = calloc(1, sizeof *im);
    const char *prefix = "appendonly.aof", *pass = getenv("BAREWIRE_SOURCE_AUTH");
    bool merge = false;
    struct tool_option o[] = {{"-s", &to.socket, 0},
                              {"-h", &to.host, 0},
                              {"-p", &to.port, 0},
                              {"--user", &to.user, 0},
                              {"-a", &to.pass, 0},
                              {"--merge", 0, &merge},
                              {"--appendfilename", &prefix, 0},
                              {"--source-user", &live.from.user, 0},
                              {"--source-password", &pass, 0},
                              {"--once", 0, &live.once},
                              {0}};
    if (!im) {
        fputs("barewire import: no memory\n", stderr);
        return 1;
    }
    if (!tool_options("import", &argc, argv, o) || argc != 1) {
        fputs(usage, stderr);
        free(im);
        return 2;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    im->to.fd = -1;
    live.from.pass = pass ? pass : "";
    bool good = run(im, argv[0], prefix, merge, &live, &to);
    if (im->err[0])
        fprintf(stderr, "barewire import: %s\n", im->err);
    client_close(&im->to);
    free(im->payload);
    free(im);
    return good ? 0 : 1;
}
