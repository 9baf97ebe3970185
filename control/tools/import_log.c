/* import_log.c: a log, whole, into a server that serves others: its commands cannot be given to that one as they stand, since a key whose time is over now may
 * be given a new one further on. So they run here first, in an engine of our own in which nothing expires, as at a server's start; then its keys are given.
 *
 *   files, looked at -> RDB part: values made here -> commands: run here -> every key: RESTORE
 *
 * It takes the memory of the dataset once more, in this process. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/tools/import.h"
#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/pubsub.h"
#include "engine/cmd/rdb_object.h"
#include "engine/cmd/tracking.h"

#define ARGS_FIRST 1024

struct engine {
    struct import *im;
    struct engine_config config;
    struct shard shard;
    struct session session;
    struct pubsub pubsub;
    struct tracking_table tracking;
    struct host host;
    struct span *argv;
    uint32_t cap;
    uint32_t db;
    const char *path;
};

/* ---- an engine ---- */

static int64_t publish(struct host *h, int kind, struct span channel, struct span message)
{
    (void)h, (void)kind, (void)channel, (void)message;
    return 0; /* nobody listens here */
}

static const struct host_ops host_ops = {.publish = publish};

static bool engine_begin(struct engine *e, struct import *im)
{
    static const struct siphash_key key = {1, 2};
    *e = (struct engine){.im = im, .cap = ARGS_FIRST};
    engine_config_defaults(&e->config);
    e->argv = malloc(e->cap * sizeof *e->argv);
    if (!e->argv || shard_init(&e->shard, 0, 1, &key, &e->config, 1)) {
        free(e->argv);
        return import_fail(im, "no memory");
    }
    e->shard.loading = true;
    e->shard.now_ms = im->now_ms;
    pubsub_init(&e->pubsub, &key);
    tracking_init(&e->tracking);
    session_init(&e->session, 1, SESSION_DOOR_UNIX, im->now_ms);
    e->session.authenticated = true;
    e->host = (struct host){.ops = &host_ops,
                            .pubsub = &e->pubsub,
                            .tracking = &e->tracking,
                            .config = &e->config,
                            .workers = 1};
    return true;
}

static void engine_end(struct engine *e)
{
    tracking_free(&e->tracking, &e->session);
    session_fini(&e->session);
    pubsub_fini(&e->pubsub);
    shard_fini(&e->shard);
    free(e->argv);
}

/* ---- in ---- */

static bool damaged(struct engine *e, uint64_t at, const char *what)
{
    return import_fail(e->im,
                       "%s: byte %" PRIu64 ": %s. Nothing was imported. `barewire "
                       "check-files %s --fix` keeps what is good",
                       e->path, at, what, e->path);
}

static bool put_key(struct engine *e, const struct rdb_item *item, uint32_t db, uint64_t at)
{
    struct rdb_reader r;
    struct rdb_text key;
    struct rdb_object o;
    if (!rdb_body_key(&r, item->body, &e->shard.mem, &key))
        return damaged(e, at, "a key that cannot be read");
    bool good = db < e->config.databases && rdb_load_object(&r, &e->shard, item->type, &o);
    if (good && !rdb_object_put(&r, &e->shard, db, key.s, shard_hash(&e->shard, key.s), &o,
                                item->expire_ms < 0 ? 0 : item->expire_ms)) {
        rdb_object_free(&r, &e->shard, &o);
        good = false;
    }
    rdb_text_free(&r, &key);
    return good || damaged(e, at,
                           db < e->config.databases ? "its value is damaged"
                                                    : "a key of a database that is not there");
}

static bool run_rdb(struct engine *e, struct span file)
{
    struct rdb_file f;
    rdb_file_init(&f, file.n, false); /* it was looked at */
    for (;;) {
        struct rdb_item item;
        uint64_t at = f.offset;
        enum rdb_file_status s = rdb_file_next(&f, file.p + at, file.n - at, &item);
        if (s == RDB_FILE_END)
            return true;
        if (s != RDB_FILE_ITEM)
            return damaged(e, at, f.error);
        e->im->functions += item.kind == RDB_ITEM_FUNCTION;
        e->im->modules += item.kind == RDB_ITEM_MODULE_AUX;
        if (item.kind == RDB_ITEM_KEY && !put_key(e, &item, f.db, at))
            return false;
    }
}

static void call(struct engine *e, const struct cmd_desc *d, uint32_t argc)
{
    struct shard_set set = {.count = 1};
    struct reply_heap heap = {0};
    struct reply out;
    struct cmd c = {.argv = e->argv,
                    .argc = argc,
                    .db = e->db,
                    .desc = d,
                    .session = &e->session,
                    .shards = &set,
                    .shard = &e->shard,
                    .host = &e->host,
                    .in_exec = true, /* it does not wait */
                    .now_us = e->im->now_ms * 1000};
    set.v[0] = &e->shard;
    if (d->first_key > 0 && (uint32_t)d->first_key < argc)
        c.hash = shard_hash(&e->shard, e->argv[d->first_key]);
    reply_heap_init(&out, &heap, 2);
    c.out = &out;
    e->session.db = e->db;
    cmd_call(&c);
    reply_heap_finish(&out, &heap);
    reply_heap_free(&heap);
}

static bool run_command(struct engine *e, uint64_t at, uint32_t argc)
{
    struct reply nowhere = {.muted = true, .resp = 2};
    const struct cmd_desc *d = cmd_lookup(e->argv, argc, &nowhere);
    uint64_t db;
    if (!d)
        return damaged(e, at, "a command that is not known");
    if (d == &cmd_table[CMD_multi] || d == &cmd_table[CMD_exec])
        return true;
    if (d == &cmd_table[CMD_select]) {
        if (!num_parse_u64(e->argv[1], &db) || db >= e->config.databases)
            return damaged(e, at, "a database that is not there");
        e->db = (uint32_t)db;
        return true;
    }
    if (d->route != ROUTE_KEY && d->route != ROUTE_KEYS && d->route != ROUTE_ALL)
        return true; /* PUBLISH and its like change no key */
    call(e, d, argc);
    return true;
}

static bool run_commands(struct engine *e, struct span file, uint64_t from)
{
    uint32_t argc;
    e->db = 0;
    for (uint64_t at = from; at < file.n;) {
        size_t n = aof_next(file, at, e->argv, e->cap, &argc);
        if (!n)
            return damaged(e, at, "not a command");
        if (argc > e->cap) {
            struct span *grown = realloc(e->argv, 2 * argc * sizeof *grown);
            if (!grown)
                return import_fail(e->im, "no memory");
            e->argv = grown;
            e->cap = 2 * argc;
            continue;
        }
        if (argc && !run_command(e, at, argc))
            return false;
        at += n;
        tool_bar_add(&e->im->bar, n);
        shard_tick(&e->shard, 16);
    }
    return true;
}

/* A torn end is what a server that died leaves: cut, if nothing follows. */
static bool run_file(struct engine *e, const char *path, bool last)
{
    struct span file;
    struct tool_look l;
    int rc = tool_map(path, &file);
    e->path = path;
    if (rc)
        return import_fail(e->im, "%s: %s", path, strerror(-rc));
    bool good = tool_look(file, &l, NULL);
    bool torn = good && l.aof.verdict == AOF_TORN;
    if (!good || (torn && !last && !l.aof.ours))
        good = import_fail(e->im,
                           "%s: %s. Nothing was imported. `barewire check-files %s --fix` "
                           "keeps what is good",
                           path, l.why, path);
    if (good && torn && last)
        fprintf(stderr,
                "barewire import: %s: what is behind byte %" PRIu64 " was never finished "
                "and is left out\n",
                path, l.aof.good_bytes);
    tool_bar_add(&e->im->bar, l.rdb_bytes);
    good = good && (!l.rdb || run_rdb(e, file)) &&
           run_commands(e, span_of(file.p, l.aof.good_bytes), l.rdb_bytes);
    tool_unmap(file);
    return good;
}

/* ---- out ---- */

struct out {
    struct engine *e;
    uint32_t db;
    bool failed;
};

static void give(void *ctx, void *entry)
{
    struct out *o = ctx;
    const struct entry *en = entry;
    struct engine *e = o->e;
    struct rdb_writer w;
    int64_t when = entry_expire_ms(en);
    if (o->failed)
        return;
    rdb_writer_init(&w, &e->shard.mem, true);
    rdb_save_object(&w, en);
    o->failed = w.failed ? !import_fail(e->im, "no memory")
                         : !import_key(e->im, entry_key(en), w.out.p[0],
                                       span_of(w.out.p + 1, w.out.len - 1), w.version,
                                       when ? when : -1, -1, -1);
    rdb_writer_free(&w);
}

static bool give_all(struct engine *e)
{
    struct out o = {.e = e};
    for (; o.db < e->config.databases && !o.failed; o.db++) {
        struct dict *keys = e->shard.db[o.db].keys;
        uint64_t cursor = 0;
        if (!keys || !ks_count(&e->shard, o.db))
            continue;
        if (!import_select(e->im, o.db))
            return false;
        do {
            cursor = dict_scan(keys, cursor, give, &o);
        } while (cursor && !o.failed);
    }
    return !o.failed;
}

bool import_log(struct import *im, const char *const *paths, uint32_t n)
{
    struct engine *e = malloc(sizeof *e);
    uint64_t bytes = 0;
    struct span file;
    if (!e || !engine_begin(e, im)) {
        free(e);
        return import_fail(im, "no memory");
    }
    for (uint32_t i = 0; i < n; i++)
        if (tool_map(paths[i], &file) == 0) {
            bytes += file.n;
            tool_unmap(file);
        }
    tool_bar_begin(&im->bar, "reading", bytes);
    bool good = true;
    for (uint32_t i = 0; good && i < n; i++)
        good = run_file(e, paths[i], i + 1 == n);
    if (good) {
        tool_bar_end(&im->bar);
        good = give_all(e);
    }
    engine_end(e);
    free(e);
    return good;
}
