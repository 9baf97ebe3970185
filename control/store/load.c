/* load.c: see load.h. In the flow: dump.rdb -> here -> worker's load ring -> dataplane/conn/load.c. */
#include "control/store/load.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/store/feed.h"
#include "control/store/file_ops.h"
#include "engine/base/mem.h"
#include "engine/log/rdb_file.h"
#include "engine/shard/shard.h"

#define READ_BYTES      (4u << 20)
#define KEY_BYTES_LEAST 4 /* in a file */

struct load {
    struct load_config c;
    char *path;
    uv_thread_t thread;
    uv_async_t async;
    void (*done)(void *ctx, const struct load_result *r);
    void *ctx;
    const char *stop; /* writer: main thread */
    uint32_t workers;
    bool answered[LIMIT_WORKERS]; /* main thread */
    struct feed *feed;
    struct mem mem;
    struct rdb_file file;
    int fd;
    uint8_t *buffer; /* of the file, from file.offset on */
    size_t buffer_n, buffer_at, buffer_cap;
    struct load_progress progress; /* writer: the thread */
    bool read_over, is_done;       /* main thread */
    struct load_result r;
};

/* ---- the thread ---- */

__attribute__((format(printf, 2, 3))) static bool fail(struct load *l, const char *fmt, ...)
{
    va_list ap;
    if (l->r.failed)
        return false;
    l->r.failed = true;
    va_start(ap, fmt);
    vsnprintf(l->r.error, sizeof(l->r.error), fmt, ap);
    va_end(ap);
    return false;
}

static const char *stopped(const struct load *l)
{
    return __atomic_load_n(&l->stop, __ATOMIC_RELAXED);
}

static bool given_up(struct load *l)
{
    return fail(l, "%s", stopped(l));
}

static bool on_key(struct load *l, const struct rdb_item *item, uint64_t offset)
{
    struct rdb_reader r;
    struct rdb_text key;
    if (item->expire_ms >= 0 && item->expire_ms < l->c.now_ms) {
        l->r.expired++;
        return true;
    }
    if (l->file.db >= l->c.databases)
        return fail(l, "%s: byte %" PRIu64 ": a key of database %u; there are %u (databases)",
                    l->path, offset, l->file.db, l->c.databases);
    uint32_t i = 0;
    if (l->workers > 1) {
        if (!rdb_body_key(&r, item->body, &l->mem, &key))
            return fail(l, "%s: byte %" PRIu64 ": a key that cannot be read", l->path, offset);
        i = shard_of_key(key.s, l->workers);
        rdb_text_free(&r, &key);
    }
    __atomic_store_n(&l->progress.keys, l->progress.keys + 1, __ATOMIC_RELAXED);
    return feed_key(l->feed, i, item, l->file.db, offset) || given_up(l);
}

/* No more than the rest of the file has room for: whoever wrote it need not tell the truth. */
static bool on_sizes(struct load *l, const struct rdb_item *item)
{
    uint64_t most = l->file.left / KEY_BYTES_LEAST;
    if (l->file.db >= l->c.databases)
        return true; /* on_key says it, if a key comes */
    return feed_sizes(l->feed, l->file.db, item->keys < most ? item->keys : most,
                      item->expires < most ? item->expires : most) ||
           given_up(l);
}

/* At least `need` bytes from where the reader stands. */
static bool fill(struct load *l, size_t need)
{
    size_t left = l->buffer_n - l->buffer_at;
    rdb_file_settle(&l->file);
    memmove(l->buffer, l->buffer + l->buffer_at, left);
    l->buffer_n = left;
    l->buffer_at = 0;
    if (need + READ_BYTES > l->buffer_cap) {
        size_t cap = (need + READ_BYTES) * 3 / 2;
        uint8_t *grown = realloc(l->buffer, cap);
        if (!grown)
            return fail(l, "no memory for a value of %zu bytes", need);
        l->buffer = grown;
        l->buffer_cap = cap;
    }
    while (l->buffer_n < need) {
        ssize_t n = file_ops.read(l->fd, l->buffer + l->buffer_n, l->buffer_cap - l->buffer_n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(l, "reading %s: %s", l->path, strerror(errno));
        if (n == 0)
            return fail(l, "%s became shorter while it was read", l->path);
        l->buffer_n += (size_t)n;
    }
    return true;
}

static bool damaged(struct load *l, uint64_t offset, const char *what)
{
    return fail(l,
                "%s: byte %" PRIu64 ": %s. `barewire check-files %s` looks at the whole file, with "
                "--fix it keeps what stands before the damage",
                l->path, offset, what, l->path);
}

static void on_aux(struct load *l, const struct rdb_item *item)
{
    uint64_t v = item->number > 0 ? (uint64_t)item->number : 0;
    if (span_is(item->name, "used-mem") && (v || num_parse_u64(item->value, &v)))
        __atomic_store_n(&l->progress.used_mem, v, __ATOMIC_RELAXED);
}

static bool on_item(struct load *l, const struct rdb_item *item, uint64_t offset)
{
    switch (item->kind) {
    case RDB_ITEM_KEY: return on_key(l, item, offset);
    case RDB_ITEM_SIZES: return on_sizes(l, item);
    case RDB_ITEM_AUX: on_aux(l, item); return true;
    case RDB_ITEM_FUNCTION: l->r.functions++; return true;
    case RDB_ITEM_MODULE_AUX: l->r.modules++; return true;
    default: return true;
    }
}

static bool read_file(struct load *l)
{
    for (;;) {
        struct rdb_item item;
        uint64_t offset = l->file.offset;
        switch (
            rdb_file_next(&l->file, l->buffer + l->buffer_at, l->buffer_n - l->buffer_at, &item)) {
        case RDB_FILE_END: l->r.rdb_bytes = offset + item.bytes; return true;
        case RDB_FILE_BAD: return damaged(l, offset, l->file.error);
        case RDB_FILE_MORE:
            if (stopped(l))
                return given_up(l);
            if (!fill(l, item.need))
                return false;
            break;
        case RDB_FILE_ITEM:
            if (!on_item(l, &item, offset))
                return false;
            l->buffer_at += item.bytes;
            __atomic_store_n(&l->progress.bytes, l->file.offset, __ATOMIC_RELAXED);
        }
    }
}

static void load_main(void *arg)
{
    struct load *l = arg;
    if (!feed_begin(l->feed) || (read_file(l) && !feed_end(l->feed)))
        given_up(l);
    l->r.keys = l->progress.keys;
    l->r.bytes = l->file.offset;
    uv_async_send(&l->async);
}

/* ---- the main thread ---- */

static void finish_if_over(struct load *l)
{
    bool all = true;
    for (uint32_t i = 0; i < l->workers; i++)
        all = all && l->answered[i];
    if (!l->read_over || l->is_done || !(all || l->r.failed))
        return;
    l->is_done = true;
    l->done(l->ctx, &l->r);
}

static void on_async(uv_async_t *h)
{
    struct load *l = h->data;
    if (l->read_over)
        return finish_if_over(l);
    uv_thread_join(&l->thread);
    l->read_over = true;
    finish_if_over(l);
}

static void stop(struct load *l, const char *why)
{
    __atomic_store_n(&l->stop, why, __ATOMIC_RELAXED);
    if (!l->read_over)
        uv_thread_join(&l->thread);
    l->read_over = true;
}

void load_message(struct load *l, uint32_t worker, struct span payload)
{
    static const char *const why[] = {"", "its value is damaged", "its key is there twice",
                                      "there is no memory left for it"};
    struct msg_load_state m;
    if (payload.n != sizeof(m))
        return;
    memcpy(&m, payload.p, sizeof(m));
    if (m.id != l->c.id || worker >= l->workers)
        return;
    if (m.status != MSG_LOAD_OK && m.status < 4) {
        char text[100];
        snprintf(text, sizeof(text), "a key: %s", why[m.status]);
        /* The thread may be writing its own error: it stops first, with this one. */
        stop(l, "a value is damaged");
        l->r.failed = false;
        damaged(l, m.offset, text);
    }
    l->answered[worker] = true;
    finish_if_over(l);
}

static void release(struct load *l)
{
    feed_close(l->feed);
    if (l->fd >= 0)
        file_ops.close(l->fd);
    mem_fini(&l->mem);
    free(l->buffer);
    free(l->path);
    free(l);
}

static void on_closed(uv_handle_t *h)
{
    release(h->data);
}

static bool prepare(struct load *l, const struct load_config *c)
{
    l->c = *c;
    l->workers = link_workers(c->link);
    l->path = strdup(c->path);
    l->buffer_cap = READ_BYTES;
    l->buffer = malloc(l->buffer_cap);
    l->feed = feed_open(c->link, c->id, &l->stop);
    bool good = l->path && l->buffer && l->feed;
    struct stat st;
    l->fd = good ? file_ops.open(l->path, O_RDONLY, 0) : -1;
    if (l->fd < 0 || fstat(l->fd, &st))
        return good ? fail(l, "%s: %s", l->path, strerror(errno)), good : false;
    l->progress.bytes_total = (uint64_t)st.st_size;
    rdb_file_init(&l->file, (uint64_t)st.st_size, c->check);
    l->file.gathers = true;
    return true;
}

static void nothing(void *arg)
{
    struct load *l = arg;
    uv_async_send(&l->async);
}

struct load *load_start(uv_loop_t *loop, const struct load_config *c,
                        void (*done)(void *ctx, const struct load_result *r), void *ctx)
{
    struct load *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->done = done;
    l->ctx = ctx;
    l->fd = -1;
    if (mem_init(&l->mem)) {
        free(l);
        return NULL;
    }
    if (!prepare(l, c) || uv_async_init(loop, &l->async, on_async)) {
        release(l);
        return NULL;
    }
    l->async.data = l;
    if (uv_thread_create(&l->thread, l->r.failed ? nothing : load_main, l)) {
        uv_close((uv_handle_t *)&l->async, on_closed);
        return NULL;
    }
    return l;
}

void load_abandon(struct load *l)
{
    stop(l, "it was given up");
    l->is_done = true;
    load_free(l);
}

struct load_progress load_progress(const struct load *l)
{
    return (struct load_progress){.bytes = __atomic_load_n(&l->progress.bytes, __ATOMIC_RELAXED),
                                  .bytes_total = l->progress.bytes_total,
                                  .keys = __atomic_load_n(&l->progress.keys, __ATOMIC_RELAXED),
                                  .used_mem =
                                      __atomic_load_n(&l->progress.used_mem, __ATOMIC_RELAXED)};
}

void load_free(struct load *l)
{
    uv_close((uv_handle_t *)&l->async, on_closed);
}
