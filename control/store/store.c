/* store.c: see store.h. When a snapshot is made and what becomes of it; when the dataset is loaded. Rules and texts: Redis 7.0.15, rdb.c. */
#include "control/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/log.h"
#include "control/store/appendonly.h"
#include "control/store/load.h"
#include "control/store/progress.h"
#include "control/store/rewrite.h"
#include "control/store/save.h"

#define RETRY_MS      5000 /* after a snapshot that failed, save points wait so long */
#define BUSY_RETRY_MS 100
#define HOLD_MS       5000

struct store {
    uv_loop_t *loop;
    struct bridge *bridge;
    struct config *config;
    const struct store_ops *ops;
    void *ctx;
    uint32_t serial; /* of snapshots and loads */
    bool up;         /* there is a dataplane, and it has its data */
    bool adopting;   /* its log is looked at */
    struct appendonly *log;
    enum appendonly_plan plan;
    struct load *load;
    struct load_result loaded;
    int64_t load_start_ms;
    bool loading; /* clients wait for the dataset */
    struct progress progress;
    struct load_progress loaded_progress; /* of the file that has been read */
    struct save *save;                    /* one at a time */
    bool rewriting;                       /* it is the base of the log, not a snapshot of its own */
    uint64_t save_id;
    int64_t save_start_ms, save_retry_ms, hold_ms;
    bool save_wanted; /* by BGSAVE SCHEDULE, or again after SAVE_BUSY */
    bool save_again;  /* the latter: it was begun and told */
    bool waits;       /* SAVE: who asked */
    uint32_t wait_worker;
    uint64_t wait_request;
    bool ending, end_forced; /* store_shutdown waits for the snapshot */
    int64_t last_save_ms, last_try_ms, last_took_ms;
    bool last_ok;
    uint64_t saves, saved_dirty;
};

static uint64_t next_id(struct store *s)
{
    return (uint64_t)link_control_generation(s->bridge->link) << 32 | ++s->serial;
}

static uint64_t dirty(const struct store *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < link_workers(s->bridge->link); i++)
        n += STAT_GET(link_stats(s->bridge->link, i)->dirty);
    return n > s->saved_dirty ? n - s->saved_dirty : 0;
}

/* The log is to begin, and does so by a rewrite. That is under way from the moment on that CONFIG SET was answered: who waits for its end, as of Redis, must
 * not find it over before it has begun. A snapshot that is being made, a failure and a disk in trouble it waits for. */
static bool log_begins(const struct store *s)
{
    struct appendonly_info log;
    appendonly_info(s->log, &log);
    return s->config->control.appendonly && s->up && !log.begun && !log.rewrite_failures &&
           log.write_ok && (!s->save || s->rewriting);
}

static bool is_rewriting(const struct store *s)
{
    return (s->save && s->rewriting) || log_begins(s);
}

/* ---- snapshots ---- */

static void publish_misconf(struct store *s)
{
    const struct config_control *c = &s->config->control;
    uint32_t misconf = c->stop_writes_on_bgsave_error && c->saves && !s->last_ok;
    if (s->config->engine.misconf == misconf)
        return;
    s->config->engine.misconf = misconf;
    s->ops->publish(s->ctx);
}

static void answer_waiting(struct store *s, bool good)
{
    if (s->waits)
        s->ops->reply(s->ctx, s->wait_worker, s->wait_request, good ? "+OK\r\n" : "-ERR\r\n");
    s->waits = false;
}

static void end_if_ready(struct store *s, bool good)
{
    if (!s->ending || s->save_wanted)
        return;
    s->ending = false;
    if (!good)
        log_warning("Error trying to save the DB, can't exit.");
    s->ops->shutdown_ready(s->ctx, good);
}

/* Workers stop walking for a snapshot that is none any more. */
static void give_up(struct store *s)
{
    struct msg_snapshot m = {.id = s->save_id, .what = MSG_SNAPSHOT_GIVE_UP};
    for (uint32_t i = 0; s->up && i < link_workers(s->bridge->link); i++)
        bridge_send(s->bridge, i, MSG_SNAPSHOT, &m, sizeof(m), NULL, 0);
}

static void on_rewritten(struct store *s, const struct save_result *r, int64_t now)
{
    s->rewriting = false;
    if (r->status == SAVE_FAILED)
        give_up(s);
    rewrite_end(s->log, r, now);
}

static void on_saved(void *ctx, const struct save_result *r)
{
    struct store *s = ctx;
    int64_t now = (int64_t)uv_now(s->loop);
    bool good = r->status == SAVE_OK;
    save_free(s->save);
    s->save = NULL;
    appendonly_rest_fsync(s->log, false);
    if (s->rewriting) {
        on_rewritten(s, r, now);
        return;
    }
    if (r->status == SAVE_BUSY) { /* the one before has not tidied up yet */
        s->save_wanted = s->save_again = true;
        s->save_retry_ms = now + BUSY_RETRY_MS;
        return;
    }
    s->last_ok = good;
    s->last_took_ms = now - s->save_start_ms;
    if (good) {
        s->saves++;
        s->saved_dirty = r->dirty;
        s->last_save_ms = r->cut_ms;
        log_notice("DB saved on disk: %llu keys, %llu bytes in %.3f s; %llu keys written early, at "
                   "most %llu "
                   "bytes waiting",
                   (unsigned long long)r->keys, (unsigned long long)r->bytes,
                   (double)s->last_took_ms / 1000, (unsigned long long)r->early,
                   (unsigned long long)r->most_bytes);
    } else {
        give_up(s);
        log_warning("Background saving error: %s", r->error);
    }
    publish_misconf(s);
    answer_waiting(s, good);
    end_if_ready(s, good);
}

static bool start_save(struct store *s, const struct save_config *sc)
{
    struct msg_snapshot m = {.id = sc->id,
                             .what = MSG_SNAPSHOT_CUT,
                             .compress = s->config->engine.rdbcompression,
                             .log = rewrite_cuts_journal(s->log)};
    s->save_start_ms = (int64_t)uv_now(s->loop);
    s->save_id = sc->id;
    if (!s->up || !(s->save = save_start(s->loop, sc, on_saved, s)))
        return false;
    appendonly_rest_fsync(s->log, true);
    if (!bridge_send(s->bridge, 0, MSG_SNAPSHOT, &m, sizeof(m), NULL, 0))
        save_stop(s->save, "the ring to worker 0 is full");
    return true;
}

/* False: it cannot begin now. */
static bool begin_save(struct store *s, int64_t now_ms)
{
    const struct config_control *c = &s->config->control;
    struct save_config sc = {.link = s->bridge->link,
                             .id = next_id(s),
                             .dir = c->dir,
                             .name = c->dbfilename,
                             .checksum = c->rdbchecksum,
                             .incremental = c->rdb_save_incremental_fsync,
                             .now_s = now_ms / 1000};
    s->last_try_ms = now_ms;
    s->save_wanted = s->save_again = false;
    if (appendonly_hold(s->log, false)) {
        s->last_ok = false;
        publish_misconf(s);
        return false;
    }
    return start_save(s, &sc);
}

static bool begin_rewrite(struct store *s, int64_t now_ms)
{
    const struct config_control *c = &s->config->control;
    struct save_config sc = {.link = s->bridge->link,
                             .id = next_id(s),
                             .checksum = c->rdbchecksum,
                             .incremental = c->aof_rewrite_incremental_fsync,
                             .now_s = now_ms / 1000};
    int64_t now = (int64_t)uv_now(s->loop);
    if (!s->up || !rewrite_begin(s->log, sc.id, &sc, now))
        return false;
    s->rewriting = start_save(s, &sc);
    if (!s->rewriting)
        rewrite_end(s->log, NULL, now);
    return s->rewriting;
}

/* Save points, and what was asked for later. */
static void save_if_due(struct store *s, int64_t now_ms)
{
    const struct config_control *c = &s->config->control;
    if (s->save || !s->up || s->load)
        return;
    bool begins = !s->ending && log_begins(s);
    if (s->save_wanted && !begins && (int64_t)uv_now(s->loop) >= s->save_retry_ms) {
        if (!begin_save(s, now_ms)) {
            s->last_ok = false;
            publish_misconf(s);
            log_warning("Background saving error: it could not begin");
            answer_waiting(s, false);
            end_if_ready(s, false);
        }
        return;
    }
    if (!s->ending && rewrite_due(s->log, (int64_t)uv_now(s->loop))) {
        begin_rewrite(s, now_ms);
        return;
    }
    if (!c->saves || s->ending || begins || (!s->last_ok && now_ms - s->last_try_ms <= RETRY_MS))
        return;
    uint64_t changes = dirty(s);
    for (uint32_t i = 0; i < c->saves; i++) {
        if (changes < c->save[i].changes ||
            now_ms - s->last_save_ms <= (int64_t)c->save[i].seconds * 1000)
            continue;
        log_notice("%u changes in %u seconds. Saving...", c->save[i].changes, c->save[i].seconds);
        begin_save(s, now_ms);
        return;
    }
}

/* ---- loading ---- */

/* Of the file that is read, then of the log behind it. */
static struct load_progress progress_now(const struct store *s)
{
    struct load_progress p = s->load ? load_progress(s->load) : s->loaded_progress;
    struct appendonly_info log;
    appendonly_info(s->log, &log);
    if (s->plan == APPENDONLY_BASE_RDB || s->plan == APPENDONLY_LOG) {
        p.bytes += log.loaded_bytes;
        p.bytes_total += log.total_bytes;
    }
    return p;
}

static void loading_over(struct store *s)
{
    struct load_progress p = progress_now(s);
    if (s->loading)
        progress_end(&s->progress, &p);
    s->loading = false;
}

static void tell_loaded(struct store *s)
{
    s->up = true;
    loading_over(s);
    for (uint32_t i = 0; i < link_workers(s->bridge->link); i++)
        if (!bridge_send(s->bridge, i, MSG_LOADED, "", 0, NULL, 0))
            log_warning("The ring to worker %u is full: its clients wait on", i);
}

static void snapshot_path(const struct store *s, char *to, size_t n)
{
    snprintf(to, n, "%s/%s", s->config->control.dir, s->config->control.dbfilename);
}

/* The RDB file is loaded, or there was none: what the log says comes next. */
static void go_on(struct store *s, bool loaded)
{
    char path[4096 + 256];
    snapshot_path(s, path, sizeof(path));
    if (s->plan == APPENDONLY_OFF)
        tell_loaded(s);
    else if (s->plan == APPENDONLY_EMPTY)
        appendonly_begin(s->log, loaded ? path : NULL);
    else
        appendonly_replay(s->log);
}

static void on_replayed(void *ctx)
{
    struct store *s = ctx;
    appendonly_begin(s->log, NULL);
}

static void on_log_begun(void *ctx)
{
    tell_loaded(ctx);
}

static void on_log_failed(void *ctx)
{
    struct store *s = ctx;
    if (s->adopting)
        s->ops->adopt_failed(s->ctx);
    else
        s->ops->load_failed(s->ctx);
}

static void on_log_publish(void *ctx)
{
    struct store *s = ctx;
    s->ops->publish(s->ctx);
}

static const struct appendonly_ops log_ops = {on_replayed, on_log_begun, on_log_failed,
                                              on_log_publish};

static void on_loaded(void *ctx, const struct load_result *r)
{
    struct store *s = ctx;
    s->loaded_progress = load_progress(s->load);
    s->loaded_progress.bytes = s->loaded_progress.bytes_total;
    load_free(s->load);
    s->load = NULL;
    s->loaded = *r;
    if (r->failed) {
        log_warning("Loading failed: %s", r->error);
        s->ops->load_failed(s->ctx);
        return;
    }
    if (r->functions)
        log_warning("%u function libraries were left out: functions are not supported",
                    r->functions);
    if (r->modules)
        log_warning("Data of %u modules was left out", r->modules);
    log_notice("DB loaded from disk: %.3f seconds, %llu keys, %llu expired ones left out",
               (double)((int64_t)uv_now(s->loop) - s->load_start_ms) / 1000,
               (unsigned long long)r->keys, (unsigned long long)r->expired);
    if (s->plan == APPENDONLY_BASE_RDB && !appendonly_base_loaded(s->log, r->rdb_bytes))
        s->ops->load_failed(s->ctx);
    else
        go_on(s, true);
}

static bool has_loading_worker(struct store *s)
{
    for (uint32_t i = 0; i < link_workers(s->bridge->link); i++)
        if (STAT_GET(link_stats(s->bridge->link, i)->loading))
            return true;
    return false;
}

/* Control died while it loaded this dataplane: what it has of the log would be there twice. Where clients were served already, their writes are in the rings,
 * which are drained when it is dead. */
static void begin_anew(struct store *s)
{
    bool journals = s->config->control.appendonly;
    for (uint32_t i = 0; i < link_workers(s->bridge->link); i++)
        journals = journals && STAT_GET(link_stats(s->bridge->link, i)->journaling);
    log_notice("The dataplane was being loaded when control died: it is started anew");
    if (journals)
        appendonly_adopt(s->log);
    s->ops->renew(s->ctx);
}

void store_up(struct store *s, bool adopted, int64_t now_ms)
{
    const struct config_control *c = &s->config->control;
    char path[4096 + 256];
    if (adopted && !has_loading_worker(s)) {
        s->up = s->adopting = true;
        appendonly_adopt(s->log);
        s->adopting = false;
        return;
    }
    if (adopted) {
        begin_anew(s);
        return;
    }
    s->saved_dirty = 0;
    s->loading = true;
    s->loaded_progress = (struct load_progress){0};
    progress_begin(&s->progress, now_ms);
    s->plan = appendonly_plan(s->log, path, sizeof(path));
    if (s->plan == APPENDONLY_REFUSED) {
        s->ops->load_failed(s->ctx);
        return;
    }
    if (s->plan != APPENDONLY_BASE_RDB)
        snapshot_path(s, path, sizeof(path));
    if (s->plan == APPENDONLY_LOG || (access(path, F_OK) != 0 && errno == ENOENT)) {
        go_on(s, false);
        return;
    }
    struct load_config lc = {
        .link = s->bridge->link,
        .id = next_id(s),
        .path = path,
        .check = c->rdbchecksum,
        .databases = s->config->engine.databases,
        /* what has expired since may be given a new life by the log: it stays for now */
        .now_ms = s->plan == APPENDONLY_BASE_RDB ? INT64_MIN : now_ms};
    log_notice("Loading %s", path);
    s->load_start_ms = (int64_t)uv_now(s->loop);
    s->load = load_start(s->loop, &lc, on_loaded, s);
    if (!s->load) {
        log_warning("Loading %s: no memory", path);
        s->ops->load_failed(s->ctx);
    }
}

void store_down(struct store *s)
{
    s->up = false;
    s->loading = false;
    appendonly_down(s->log);
    if (s->save)
        save_stop(s->save, "the dataplane died");
    if (s->load) {
        load_abandon(s->load);
        s->load = NULL;
    }
}

void store_message(struct store *s, uint32_t worker, uint32_t type, struct span payload)
{
    if (type == MSG_LOAD_STATE && s->load)
        load_message(s->load, worker, payload);
}

void store_tick(struct store *s, int64_t now_ms)
{
    if (s->loading) {
        struct load_progress p = progress_now(s);
        progress_show(&s->progress, &p, now_ms);
    }
    if (s->waits && now_ms - s->hold_ms >= HOLD_MS) {
        s->hold_ms = now_ms;
        s->ops->hold(s->ctx, s->wait_worker, s->wait_request);
    }
    appendonly_tick(s->log, s->up);
    save_if_due(s, now_ms);
}

/* ---- commands ---- */

static const char already[] = "-ERR Background save already in progress\r\n";

static const char in_the_way[] =
    "-ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in "
    "order to schedule a BGSAVE whenever possible.\r\n";

static void command_bgrewriteaof(struct store *s, uint32_t worker,
                                 const struct msg_admin_request *req, int64_t now_ms)
{
    const char *text = "+Background append only file rewriting started\r\n";
    if (is_rewriting(s)) {
        text = "-ERR Background append only file rewriting already in progress\r\n";
    } else if (s->save || s->save_wanted) {
        rewrite_want(s->log);
        text = "+Background append only file rewriting scheduled\r\n";
    } else if (!begin_rewrite(s, now_ms)) {
        text = "-ERR Can't execute an AOF background rewriting. Please check the server logs for "
               "more information.\r\n";
    }
    s->ops->reply(s->ctx, worker, req->request, text);
}

static void command_save(struct store *s, uint32_t worker, const struct msg_admin_request *req,
                         int64_t now_ms)
{
    if ((s->save && !s->rewriting) || s->waits) {
        s->ops->reply(s->ctx, worker, req->request, already);
        return;
    }
    if (s->save || s->save_wanted || log_begins(s)) {
        s->save_wanted = true; /* when the log is rewritten, or what was scheduled */
    } else if (!begin_save(s, now_ms)) {
        s->ops->reply(s->ctx, worker, req->request, "-ERR\r\n");
        return;
    }
    s->waits = true;
    s->wait_worker = worker;
    s->wait_request = req->request;
    s->hold_ms = now_ms;
}

static void command_bgsave(struct store *s, uint32_t worker, const struct msg_admin_request *req,
                           struct span *argv, int64_t now_ms)
{
    const char *text = "+Background saving started\r\n";
    if (req->argc > 2 || (req->argc == 2 && !span_is(argv[1], "schedule")))
        text = "-ERR syntax error\r\n";
    else if (is_rewriting(s)) {
        s->save_wanted |= req->argc == 2;
        text = req->argc == 2 ? "+Background saving scheduled\r\n" : in_the_way;
    } else if (s->save || s->save_wanted)
        text = already;
    else if (!begin_save(s, now_ms))
        text = "-ERR\r\n";
    s->ops->reply(s->ctx, worker, req->request, text);
}

bool store_command(struct store *s, uint32_t worker, const struct msg_admin_request *req,
                   struct span *argv, int64_t now_ms)
{
    char text[40];
    if (span_is(argv[0], "save")) {
        command_save(s, worker, req, now_ms);
    } else if (span_is(argv[0], "bgsave")) {
        command_bgsave(s, worker, req, argv, now_ms);
    } else if (span_is(argv[0], "bgrewriteaof")) {
        command_bgrewriteaof(s, worker, req, now_ms);
    } else if (span_is(argv[0], "lastsave")) {
        snprintf(text, sizeof(text), ":%lld\r\n", (long long)(s->last_save_ms / 1000));
        s->ops->reply(s->ctx, worker, req->request, text);
    } else {
        return false;
    }
    return true;
}

void store_config_changed(struct store *s)
{
    publish_misconf(s);
    if (s->rewriting && !s->config->control.appendonly && rewrite_cuts_journal(s->log))
        save_stop(s->save, "appendonly no");
    appendonly_config_changed(s->log);
}

void store_shutdown(struct store *s, enum store_end how, int64_t now_ms)
{
    bool wanted = how == STORE_END_SAVE || (how == STORE_END_DEFAULT && s->config->control.saves);
    if (s->ending)
        return;
    if (!wanted || !s->up) {
        if (s->save)
            save_stop(s->save, "the server ends");
        s->ops->shutdown_ready(s->ctx, true);
        return;
    }
    log_notice("Saving the final RDB snapshot before exiting.");
    s->ending = true;
    if (s->save && s->rewriting)
        save_stop(s->save, "the server ends");
    if (s->save) /* one is being made that does not have the last changes */
        s->save_wanted = true;
    else if (!begin_save(s, now_ms))
        end_if_ready(s, false);
}

/* ---- begin and end ---- */

struct store *store_open(uv_loop_t *loop, struct bridge *b, struct config *config,
                         const struct store_ops *ops, void *ctx, int64_t now_ms)
{
    struct store *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->loop = loop;
    s->bridge = b;
    s->config = config;
    s->ops = ops;
    s->ctx = ctx;
    s->last_save_ms = now_ms;
    s->last_took_ms = -1;
    s->last_ok = true;
    s->log = appendonly_open(loop, b, config, &log_ops, s);
    if (s->log)
        return s;
    free(s);
    return NULL;
}

int store_begin(struct store *s)
{
    const struct config_control *c = &s->config->control;
    int rc = c->appendonly || c->saves ? appendonly_hold(s->log, true) : 0;
    return rc == -EWOULDBLOCK ? rc : 0; /* what cannot be written into is told when it is to be */
}

int store_close(struct store *s)
{
    if (!s)
        return 0;
    s->up = false;
    if (s->save)
        save_stop(s->save, "the server ends");
    int rc = appendonly_close(s->log);
    if (s->load) {
        load_abandon(s->load);
        s->load = NULL;
    }
    return rc;
}

void store_free(struct store *s)
{
    if (s)
        appendonly_free(s->log);
    free(s);
}

/* ---- the log's messages ---- */

bool store_door_message(struct store *s, uint32_t worker, uint32_t type, struct span payload)
{
    return appendonly_message(s->log, worker, type, payload);
}

void store_room(struct store *s, uint32_t worker)
{
    appendonly_room(s->log, worker);
}

bool store_ready(const struct store *s)
{
    return appendonly_drained(s->log);
}

int store_before_link(const struct config *c)
{
    return appendonly_rescue(c);
}

void store_first_config(struct config *c, struct link *l)
{
    bool journals = c->control.appendonly && link_dp_alive(l);
    for (uint32_t i = 0; i < link_workers(l); i++)
        journals &= STAT_GET(link_stats(l, i)->journaling) != 0;
    c->engine.journal = !journals                                       ? JOURNAL_OFF
                        : c->control.appendfsync == CONFIG_FSYNC_ALWAYS ? JOURNAL_ALWAYS
                                                                        : JOURNAL_ON;
}

void store_info(const struct store *s, struct store_info *ret, int64_t now_ms)
{
    *ret =
        (struct store_info){.loading = s->loading,
                            .load_keys_loaded = s->loaded.keys,
                            .load_keys_expired = s->loaded.expired,
                            .saving = (s->save && !s->rewriting) || s->save_again,
                            .save_scheduled = s->save_wanted,
                            .last_save_s = s->last_save_ms / 1000,
                            .last_save_took_s = s->last_took_ms < 0 ? -1 : s->last_took_ms / 1000,
                            .current_save_took_s = -1,
                            .last_save_ok = s->last_ok,
                            .saves = s->saves,
                            .saved_dirty = s->saved_dirty};
    int64_t now = (int64_t)uv_now(s->loop);
    struct appendonly_info log;
    appendonly_info(s->log, &log);
    ret->aof_on = s->config->control.appendonly;
    ret->aof_rewriting = log.rewriting || log_begins(s);
    ret->aof_rewrite_scheduled =
        log.rewrite_scheduled || (ret->aof_on && s->up && !log.begun && !ret->aof_rewriting);
    ret->aof_failing = !log.write_ok;
    ret->aof_current_bytes = log.current_bytes;
    ret->aof_base_bytes = log.base_bytes;
    ret->aof_delayed_fsync = log.delayed_fsync;
    ret->aof_fsyncs = log.fsyncs;
    ret->aof_groups = log.groups;
    ret->aof_rewrite_ok = log.rewrite_ok;
    ret->aof_rewrites = log.rewrites;
    ret->aof_rewrite_failures = log.rewrite_failures;
    ret->aof_rewrite_took_s = log.rewrite_took_ms < 0 ? -1 : log.rewrite_took_ms / 1000;
    ret->aof_current_rewrite_took_s = log.rewrite_start_ms ? (now - log.rewrite_start_ms) / 1000
                                      : ret->aof_rewriting ? 0
                                                           : -1;
    if (s->loading) {
        struct load_progress p = progress_now(s);
        ret->loading_start_s = s->progress.start_ms / 1000;
        ret->loading_total_bytes = p.bytes_total;
        ret->loading_loaded_bytes = p.bytes;
        ret->loading_rdb_used_mem = p.used_mem;
    }
    if (s->save) {
        ret->current_save_took_s = s->rewriting ? -1 : (now - s->save_start_ms) / 1000;
        ret->save_keys = save_keys(s->save);
        ret->save_keys_total = save_keys_total(s->save);
    }
}
