/* save.c: see save.h. In the flow: worker's snapshot ring -> here -> temp-<pid>.rdb -> dump.rdb. */
#include "control/store/save.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/store/file_ops.h"
#include "engine/base/mem.h"
#include "engine/log/rdb_file.h"

#define BUFFER_BYTES    FILE_PIECE_BYTES
#define POLL_NS         200000
#define CUT_PATIENCE_MS 30000 /* from the start to the last worker's begin */
#define SYNC_BYTES      (4u << 20)
#define RECORDS_A_TURN  64 /* of one worker, where it is at a whole key */

struct source { /* one worker */
    struct ring ring;
    bool begun, ended, in_key;
};

struct save {
    struct save_config c;
    char *dir, *name, *temp, *path;
    uv_thread_t thread;
    uv_async_t async;
    void (*done)(void *ctx, const struct save_result *r);
    void *ctx;
    const char *stop; /* writer: main thread */
    uint32_t workers;
    struct source source[LIMIT_WORKERS];
    int fd;
    uint8_t *buffer;
    size_t buffered;
    uint64_t unsynced;
    uint64_t crc, keys, keys_total; /* the last two are read by the main thread */
    struct save_result r;
};

/* ---- the thread ---- */

__attribute__((format(printf, 2, 3))) static bool fail(struct save *s, const char *fmt, ...)
{
    va_list ap;
    if (s->r.status != SAVE_OK)
        return false;
    s->r.status = SAVE_FAILED;
    va_start(ap, fmt);
    vsnprintf(s->r.error, sizeof(s->r.error), fmt, ap);
    va_end(ap);
    return false;
}

const char *save_stopped(const struct save *s)
{
    return __atomic_load_n(&s->stop, __ATOMIC_RELAXED);
}

static bool flush(struct save *s)
{
    int rc = file_write_all(s->fd, s->buffer, s->buffered);
    s->unsynced += s->buffered;
    s->buffered = 0;
    if (rc == 0 && s->c.incremental && s->unsynced >= SYNC_BYTES) {
        rc = file_ops.fdatasync(s->fd) ? -errno : 0;
        s->unsynced = 0;
    }
    return rc == 0 || fail(s, "writing %s: %s", s->temp, strerror(-rc));
}

static bool put(struct save *s, struct span b, bool counted)
{
    if (counted)
        s->crc = crc64(s->crc, b.p, b.n);
    s->r.bytes += b.n;
    while (b.n) {
        size_t n = BUFFER_BYTES - s->buffered;
        if (n > b.n)
            n = b.n;
        memcpy(s->buffer + s->buffered, b.p, n);
        s->buffered += n;
        b = span_of(b.p + n, b.n - n);
        if (s->buffered == BUFFER_BYTES && !flush(s))
            return false;
    }
    return true;
}

static void on_begin(struct save *s, uint32_t i, const struct msg_snapshot_begin *m)
{
    s->source[i].begun = true;
    s->r.begin[i] = *m;
    s->r.dirty += m->dirty;
    s->r.cut_ms = m->cut_ms;
    uint64_t total = s->keys_total;
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++)
        total += m->keys[db];
    __atomic_store_n(&s->keys_total, total, __ATOMIC_RELAXED);
}

static bool on_end(struct save *s, uint32_t i, const struct msg_snapshot_end *m)
{
    if (m->status == MSG_SNAPSHOT_BUSY) {
        s->r.status = SAVE_BUSY;
        return false;
    }
    if (m->status != MSG_SNAPSHOT_OK)
        return fail(s, "worker %u had no memory left for the snapshot", i);
    if (!s->source[i].begun || s->source[i].in_key)
        return fail(s, "worker %u ended its snapshot in the middle", i);
    s->source[i].ended = true;
    s->r.keys += m->keys;
    s->r.early += m->early;
    s->r.most_bytes += m->most_bytes;
    __atomic_store_n(&s->keys, s->r.keys, __ATOMIC_RELAXED);
    return true;
}

/* One record of worker i. False: failed. */
static bool take(struct save *s, uint32_t i, const struct ring_record *rec)
{
    struct msg_snapshot_begin begin;
    struct msg_snapshot_data data;
    struct msg_snapshot_end end;
    struct span p = rec->payload;
    uint64_t id;
    if (p.n < sizeof(id))
        return fail(s, "worker %u sent a record that lies", i);
    memcpy(&id, p.p, sizeof(id));
    if (id != s->c.id)
        return true; /* of a snapshot that was given up */
    if (rec->type == MSG_SNAPSHOT_BEGIN && p.n == sizeof(begin)) {
        memcpy(&begin, p.p, sizeof(begin));
        on_begin(s, i, &begin);
        return true;
    }
    if (rec->type == MSG_SNAPSHOT_END && p.n == sizeof(end)) {
        memcpy(&end, p.p, sizeof(end));
        return on_end(s, i, &end);
    }
    if (rec->type != MSG_SNAPSHOT_DATA || p.n < sizeof(data) || !s->source[i].begun)
        return fail(s, "worker %u sent a record that lies", i);
    memcpy(&data, p.p, sizeof(data));
    s->source[i].in_key = !data.whole;
    return put(s, span_of(p.p + sizeof(data), p.n - sizeof(data)), true);
}

/* What worker i has sent, up to a whole key when others wait. The number of records; -1: failed. */
static int take_some(struct save *s, uint32_t i, bool until_begun)
{
    struct source *src = &s->source[i];
    for (int n = 0; !src->ended; n++) {
        struct ring_record rec;
        if ((until_begun && src->begun) || (n >= RECORDS_A_TURN && !src->in_key))
            return n;
        switch (ring_peek(&src->ring, &rec)) {
        case RING_EMPTY: return n;
        case RING_CORRUPT:
            ring_resync(&src->ring);
            fail(s, "the ring of worker %u is damaged", i);
            return -1;
        case RING_RECORD:
            if (!take(s, i, &rec))
                return -1;
            ring_release(&src->ring);
        }
    }
    return 0;
}

static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
}

static int64_t monotonic_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* Until every worker has told what it has at the cut. */
static bool await_cut(struct save *s)
{
    int64_t start = monotonic_ms();
    for (uint32_t i = 0; i < s->workers;) {
        int n = take_some(s, i, true);
        if (n < 0)
            return false;
        if (s->source[i].begun) {
            i++;
            continue;
        }
        if (save_stopped(s))
            return fail(s, "%s", save_stopped(s));
        if (monotonic_ms() - start > CUT_PATIENCE_MS)
            return fail(s, "worker %u did not begin", i);
        rest();
    }
    return true;
}

static bool put_written(struct save *s, struct rdb_writer *w, bool counted)
{
    bool good = !w->failed && put(s, span_of(w->out.p, w->out.len), counted);
    w->out.len = 0;
    return good || fail(s, "no memory");
}

/* Header, and how many keys each database has. */
static bool write_head(struct save *s, struct rdb_writer *w)
{
    struct rdb_file_facts f = {
        .version = RDB_VERSION_WRITTEN, .now_s = s->c.now_s, .aof_base = s->c.aof_base};
    for (uint32_t i = 0; i < s->workers; i++) {
        if (s->r.begin[i].version > f.version)
            f.version = s->r.begin[i].version;
        f.used_memory += STAT_GET(link_stats(s->c.link, i)->used_memory);
    }
    rdb_put_header(w, &f);
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++) {
        uint64_t keys = 0, expires = 0;
        for (uint32_t i = 0; i < s->workers; i++) {
            keys += s->r.begin[i].keys[db];
            expires += s->r.begin[i].expires[db];
        }
        if (!keys)
            continue;
        rdb_put_select(w, db);
        rdb_put_sizes(w, keys, expires);
    }
    return put_written(s, w, true);
}

static bool write_keys(struct save *s)
{
    for (uint32_t left = s->workers; left;) {
        int work = 0;
        left = 0;
        for (uint32_t i = 0; i < s->workers; i++) {
            do { /* nobody else's bytes come into the middle of a key */
                int n = take_some(s, i, false);
                if (n < 0)
                    return false;
                work += n;
                if (save_stopped(s))
                    return fail(s, "%s", save_stopped(s));
                if (n == 0 && s->source[i].in_key)
                    rest();
            } while (s->source[i].in_key);
            left += !s->source[i].ended;
        }
        if (!work && left)
            rest();
    }
    return true;
}

static bool write_file(struct save *s, struct rdb_writer *w)
{
    if (!await_cut(s) || !write_head(s, w) || !write_keys(s))
        return false;
    rdb_put_end(w, s->crc, s->c.checksum);
    if (!put_written(s, w, false) || !flush(s))
        return false;
    if (file_ops.fsync(s->fd))
        return fail(s, "fsync of %s: %s", s->temp, strerror(errno));
    return true;
}

static void put_in_place(struct save *s)
{
    int rc = file_ops.rename(s->temp, s->path) ? -errno : file_sync_dir(s->dir);
    if (rc)
        fail(s, "renaming %s to %s: %s", s->temp, s->path, strerror(-rc));
}

static void make_file(struct save *s)
{
    struct mem mem;
    struct rdb_writer w;
    if (mem_init(&mem)) {
        fail(s, "no memory");
        return;
    }
    rdb_writer_init(&w, &mem, false);
    s->fd = file_ops.open(s->temp, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (s->fd < 0) {
        fail(s, "%s: %s", s->temp, strerror(errno));
    } else {
        bool good = write_file(s, &w);
        if (file_ops.close(s->fd) && good)
            good = fail(s, "closing %s: %s", s->temp, strerror(errno));
        if (good)
            put_in_place(s);
        if (s->r.status != SAVE_OK)
            file_ops.unlink(s->temp);
    }
    rdb_writer_free(&w);
    mem_fini(&mem);
}

static void save_main(void *arg)
{
    struct save *s = arg;
    char error[sizeof(s->r.error)];
    make_file(s);
    bool good = s->r.status == SAVE_OK;
    if (s->c.finish && !s->c.finish(s->c.finish_ctx, s, good, error, sizeof(error)) && good)
        fail(s, "%s", error);
    uv_async_send(&s->async);
}

/* ---- the main thread ---- */

static void on_async(uv_async_t *h)
{
    struct save *s = h->data;
    uv_thread_join(&s->thread);
    s->done(s->ctx, &s->r);
}

static void release(struct save *s)
{
    free(s->dir);
    free(s->name);
    free(s->temp);
    free(s->path);
    free(s->buffer);
    free(s);
}

static void on_closed(uv_handle_t *h)
{
    release(h->data);
}

static bool prepare(struct save *s, const struct save_config *c)
{
    s->c = *c;
    s->workers = link_workers(c->link);
    s->dir = strdup(c->dir);
    s->name = strdup(c->name);
    s->buffer = malloc(BUFFER_BYTES);
    bool good = s->dir && s->name && s->buffer;
    if (asprintf(&s->temp, "%s/temp-%d.rdb", c->dir, (int)getpid()) < 0)
        s->temp = NULL;
    if (asprintf(&s->path, "%s/%s", c->dir, c->name) < 0)
        s->path = NULL;
    for (uint32_t i = 0; i < s->workers; i++)
        good = good && link_snapshot_ring(c->link, i, &s->source[i].ring) == 0;
    return good && s->temp && s->path;
}

struct save *save_start(uv_loop_t *loop, const struct save_config *c,
                        void (*done)(void *ctx, const struct save_result *r), void *ctx)
{
    struct save *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->done = done;
    s->ctx = ctx;
    if (!prepare(s, c) || uv_async_init(loop, &s->async, on_async)) {
        release(s);
        return NULL;
    }
    s->async.data = s;
    if (uv_thread_create(&s->thread, save_main, s)) {
        uv_close((uv_handle_t *)&s->async, on_closed);
        return NULL;
    }
    return s;
}

void save_stop(struct save *s, const char *why)
{
    __atomic_store_n(&s->stop, why, __ATOMIC_RELAXED);
}

uint64_t save_keys(const struct save *s)
{
    return __atomic_load_n(&s->keys, __ATOMIC_RELAXED);
}
uint64_t save_keys_total(const struct save *s)
{
    return __atomic_load_n(&s->keys_total, __ATOMIC_RELAXED);
}

void save_free(struct save *s)
{
    uv_close((uv_handle_t *)&s->async, on_closed);
}
