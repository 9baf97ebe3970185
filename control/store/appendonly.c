/* appendonly.c: see appendonly.h. Layout of the files: Redis 7 (manifest.h); text: engine/log/aof.h. */
#include "control/store/appendonly.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/log.h"
#include "control/store/appendonly_internal.h"
#include "control/store/file_ops.h"
#include "control/store/merge.h"
#include "control/store/rewrite.h"
#include "control/store/upgrade.h"
#include "engine/log/aof.h"

#define POLL_MS     2
#define FULL_MS     5000
#define RESCUE_MS   10000
#define PATIENCE_MS 2000 /* a process that was killed may have an fsync to end first */
#define PATH_BYTES  8192

int appendonly_hold(struct appendonly *a, bool patient)
{
    char err[PATH_BYTES];
    const struct config *c = a->config;
    int rc = dir_locks_hold(&a->locks, c->control.dir, c->dataplane.instance,
                            patient ? PATIENCE_MS : 0, err, sizeof err);
    if (rc < 0)
        log_warning("%s", err);
    if (rc > 0)
        upgrade_tidy(c->control.dir, c->control.appenddirname, c->control.appendfilename);
    return rc < 0 ? rc : 0;
}

/* ---- replaying ---- */

static void on_replayed(void *ctx, const char *error)
{
    struct appendonly *a = ctx;
    if (error) {
        log_warning("The append-only log cannot be loaded: %s", error);
        a->ops->failed(a->ctx);
        return;
    }
    log_notice("Append-only log loaded: %u files, %llu bytes", a->nfiles,
               (unsigned long long)a->total_bytes);
    a->ops->replayed(a->ctx);
}

void appendonly_replay(struct appendonly *a)
{
    replay_free(a->replay);
    a->replay = replay_start(a->bridge, a->files, a->nfiles, on_replayed, a);
    if (!a->replay) {
        log_warning("No memory to load the append-only log");
        a->ops->failed(a->ctx);
    }
}

bool appendonly_message(struct appendonly *a, uint32_t worker, uint32_t type, struct span payload)
{
    uint64_t door = 0;
    if (a && a->replay && replay_message(a->replay, worker, type, payload))
        return true;
    if (payload.n >= sizeof door) /* the replay's last words */
        memcpy(&door, payload.p, sizeof door);
    return (uint32_t)door == UINT32_MAX;
}

void appendonly_room(struct appendonly *a, uint32_t worker)
{
    if (a)
        replay_room(a->replay, worker);
}

/* ---- writing ---- */

static enum journal_fsync policy_of(const struct config *c)
{
    return c->control.appendfsync == CONFIG_FSYNC_ALWAYS     ? FSYNC_ALWAYS
           : c->control.appendfsync == CONFIG_FSYNC_EVERYSEC ? FSYNC_EVERYSEC
                                                             : FSYNC_NO;
}

void appendonly_publish(struct appendonly *a)
{
    uint32_t mode = a->opening                             ? JOURNAL_BEGINS
                    : !a->running                          ? JOURNAL_OFF
                    : policy_of(a->config) == FSYNC_ALWAYS ? JOURNAL_ALWAYS
                                                           : JOURNAL_ON;
    a->config->engine.journal = mode;
    a->ops->publish(a->ctx);
}

/* The RDB file that was loaded is the base: the same file under another name, which a later snapshot does not touch. */
static int adopt_rdb(struct appendonly *a, const char *rdb)
{
    char path[PATH_BYTES];
    a->m.base.seq = ++a->m.last_base_seq;
    snprintf(a->m.base.name, sizeof a->m.base.name, "%s.%llu.base.rdb", a->m.prefix,
             (unsigned long long)a->m.base.seq);
    manifest_path(&a->m, a->m.base.name, path, sizeof path);
    file_ops.unlink(path);
    if (link(rdb, path))
        return -errno;
    a->m.has_base = true;
    return 0;
}

/* The next increment is there and named. 0 or -errno. */
static int next_file(struct appendonly *a, uint64_t first_group)
{
    char path[PATH_BYTES];
    if (!manifest_add_incr(&a->m))
        return -ENOSPC;
    const struct manifest_file *f = &a->m.incr[a->m.incrs - 1];
    manifest_path(&a->m, f->name, path, sizeof path);
    int rc = journal_file(a->journal, path, f->seq, first_group);
    if (!rc)
        rc = manifest_write(&a->m, NULL);
    if (rc)
        a->m.incrs--;
    a->file_open = !rc;
    return rc;
}

static int open_journal(struct appendonly *a)
{
    if (!a->journal && !(a->journal = journal_open(policy_of(a->config))))
        return -ENOMEM;
    journal_stamps(a->journal, a->config->control.aof_timestamp_enabled);
    return 0;
}

static int begin_files(struct appendonly *a, const char *rdb)
{
    int rc = file_ops.mkdir(a->m.dir, 0755) && errno != EEXIST ? -errno : 0;
    if (!rc)
        rc = file_sync_dir(a->config->control.dir);
    if (rc)
        return rc;
    rc = appendonly_hold(a, false);
    if (rc)
        return rc;
    if (!a->has_manifest)
        rc = upgrade_begin(&a->m);
    if (!rc && !a->has_manifest && rdb)
        rc = adopt_rdb(a, rdb);
    if (!rc)
        rc = open_journal(a);
    if (!rc)
        rc = manifest_drop_history(&a->m);
    if (!rc && !a->file_open)
        rc = next_file(a, a->last_group + 1);
    if (!rc && !a->has_manifest)
        upgrade_begun(&a->m);
    if (!rc)
        a->has_manifest = true;
    return rc;
}

bool appendonly_all_journal(struct appendonly *a)
{
    for (uint32_t i = 0; i < link_workers(a->bridge->link); i++)
        if (!STAT_GET(link_stats(a->bridge->link, i)->journaling))
            return false;
    return true;
}

static void on_poll(uv_timer_t *t)
{
    struct appendonly *a = t->data;
    if (!a->beginning || !appendonly_all_journal(a))
        return;
    a->beginning = false;
    uv_timer_stop(&a->poll);
    a->ops->begun(a->ctx);
}

void appendonly_begin(struct appendonly *a, const char *rdb)
{
    replay_free(a->replay);
    a->replay = NULL;
    appendonly_unmap(a);
    int rc = begin_files(a, rdb);
    if (!rc)
        rc = journal_attach(a->journal, a->bridge->link, NULL, (struct span){0});
    if (rc) {
        log_warning("The append-only log cannot be written: %s", strerror(-rc));
        a->ops->failed(a->ctx);
        return;
    }
    a->grown_from = a->rdb_bytes + a->total_bytes;
    a->running = a->beginning = true;
    appendonly_publish(a);
    uv_timer_start(&a->poll, on_poll, POLL_MS, POLL_MS);
}

/* ---- what an earlier control has written ---- */

struct shard_seqs {
    uint64_t *written;
    uint32_t workers;
};

static void note_seq(void *ctx, uint32_t shard, uint64_t seq)
{
    struct shard_seqs *s = ctx;
    if (shard < s->workers && seq > s->written[shard])
        s->written[shard] = seq;
}

/* Numbers of each shard that are in the log: those the link tells, and those of the file that was being written when its writer died. */
static void find_written(struct appendonly *a, struct link *l, uint64_t *written)
{
    const struct link_journal *page = link_journal(l);
    struct shard_seqs s = {written, link_workers(l)};
    for (uint32_t i = 0; i < s.workers; i++)
        written[i] = __atomic_load_n(&page->written[i], __ATOMIC_ACQUIRE);
    for (uint32_t k = 0; k < a->nfiles; k++) {
        uint32_t argc, generation, index = a->nfiles - a->m.incrs;
        const struct replay_file *f = &a->files[k];
        if (k < index || a->m.incr[k - index].seq != page->file)
            continue;
        for (uint64_t at = 0, n; (n = aof_next(span_of(f->bytes.p, f->to), at, NULL, 0, &argc));
             at += n)
            if (!argc && f->bytes.p[at + 1] == 'B' && f->bytes.p[at + 2] == 'S') {
                struct span line = span_of(f->bytes.p + at, n);
                uint64_t none[LIMIT_WORKERS] = {0};
                struct shard_seqs probe = {none, LIMIT_WORKERS};
                if (aof_read_shards(line, &generation, note_seq, &probe) &&
                    generation == link_generation(l))
                    aof_read_shards(line, &generation, note_seq, &s);
            }
    }
}

static bool has_incr(const struct manifest *m, uint64_t seq)
{
    for (uint32_t i = 0; i < m->incrs; i++)
        if (m->incr[i].seq == seq)
            return true;
    return false;
}

/* The log goes on behind what was written into it from these rings. What was written is on the disk by now (look_at). 0 or -errno; NOT_OURS: the log is
 * off, or what is in the rings is of none (of one that was switched off, or had no base yet). */
#define NOT_OURS 1
static int go_on(struct appendonly *a, struct link *l)
{
    uint64_t written[LIMIT_WORKERS];
    char base[PATH_BYTES];
    a->adopts = true;
    enum appendonly_plan plan = appendonly_plan(a, base, sizeof base);
    a->adopts = false;
    uint64_t seq = __atomic_load_n(&link_journal(l)->file, __ATOMIC_ACQUIRE);
    bool good = (plan == APPENDONLY_BASE_RDB || plan == APPENDONLY_LOG) && has_incr(&a->m, seq);
    if (plan == APPENDONLY_OFF || (!seq && plan != APPENDONLY_REFUSED)) {
        appendonly_unmap(a);
        return NOT_OURS;
    }
    int rc = good ? 0 : -EINVAL;
    if (!rc) {
        find_written(a, l, written);
        appendonly_unmap(a);
        rc = begin_files(a, NULL);
    }
    for (uint32_t i = 0; !rc && i < link_workers(l); i++) /* the next control looks at our file */
        __atomic_store_n(&link_journal(l)->written[i], written[i], __ATOMIC_RELEASE);
    if (!rc)
        rc = journal_attach(a->journal, l, written, span_of(a->tail, a->tail_bytes));
    for (uint32_t i = 0; !rc && i < link_workers(l); i++)
        __atomic_store_n(&link_journal(l)->durable[i], written[i], __ATOMIC_RELEASE);
    free(a->tail);
    a->tail = NULL;
    a->tail_bytes = 0;
    return rc;
}

void appendonly_adopt(struct appendonly *a)
{
    if (!appendonly_all_journal(a))
        return; /* it was switched off: what came since is in no file, so the log begins anew (follow_config) */
    int rc = go_on(a, a->bridge->link);
    if (rc == NOT_OURS)
        return;
    if (rc) {
        a->gone_on_failed = rc;
        log_warning("The append-only log of the running dataplane cannot be gone on with: %s",
                    strerror(-rc));
        a->ops->failed(a->ctx);
        return;
    }
    a->grown_from = a->rdb_bytes + a->total_bytes;
    a->running = true;
    appendonly_publish(a);
}

static uint64_t in_rings(struct link *l)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < link_workers(l); i++) {
        struct ring r;
        n += link_journal_ring(l, i, &r) == 0 ? ring_backlog(&r) : 0;
    }
    return n;
}

static void forget_rings(struct link *l)
{
    for (uint32_t i = 0; i < link_workers(l); i++) {
        struct ring r;
        if (link_journal_ring(l, i, &r) == 0)
            ring_resync(&r);
    }
}

/* All of it, or -errno. */
static int rescue(struct appendonly *a, struct link *l)
{
    int rc = go_on(a, l), end;
    if (!rc)
        journal_drain(a->journal, false);
    for (int ms = 0; !rc && ms < RESCUE_MS && !journal_status(a->journal).drained; ms++)
        usleep(1000);
    if (!rc && !journal_status(a->journal).drained)
        rc = -ETIMEDOUT;
    end = a->journal ? journal_close_file(a->journal, !rc) : 0;
    appendonly_cut_torn(a);
    return rc ? rc : end;
}

int appendonly_rescue(const struct config *config)
{
    struct link *l;
    struct config copy = *config;
    struct appendonly a = {.config = &copy};
    int rc = 0;
    rc = link_open_leftover(&l, config->dataplane.instance);
    if (rc == -ENOENT || rc == -EBUSY || rc == -EINVAL || rc == -EPERM)
        return 0; /* the last two: link_open_control says what is wrong */
    if (rc) {
        log_warning("What a server may have left in memory when it died cannot be looked at: %s",
                    strerror(-rc));
        return rc;
    }
    uint64_t waiting = in_rings(l);
    if (waiting)
        rc = config->control.appendonly ? rescue(&a, l) : NOT_OURS;
    if (rc == NOT_OURS) {
        forget_rings(l);
        waiting = 0;
        rc = 0;
    }
    if (rc)
        log_warning("A server left %llu bytes of writes in memory when it died, and they cannot be "
                    "put into its log: %s. To start without them remove /dev/shm/barewire-%s",
                    (unsigned long long)waiting, strerror(-rc), config->dataplane.instance);
    else if (waiting)
        log_notice("%llu bytes that a server left in memory when it died were put into its log",
                   (unsigned long long)waiting);
    journal_free(a.journal);
    appendonly_unmap(&a);
    dir_locks_free(&a.locks, false);
    link_close(l);
    return rc;
}

/* ---- life ---- */

struct appendonly *appendonly_open(uv_loop_t *loop, struct bridge *b, struct config *config,
                                   const struct appendonly_ops *ops, void *ctx)
{
    struct appendonly *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->loop = loop;
    a->bridge = b;
    a->config = config;
    a->ops = ops;
    a->ctx = ctx;
    a->rewrite_ok = true;
    a->rewrite_took_ms = -1;
    uv_timer_init(loop, &a->poll);
    a->poll.data = a;
    return a;
}

void appendonly_down(struct appendonly *a)
{
    replay_free(a->replay);
    a->replay = NULL;
    a->beginning = a->running = a->opening = a->closing = false;
    uv_timer_stop(&a->poll);
    appendonly_publish(a);
    if (a->journal)
        journal_drain(a->journal, false);
}

/* The dataplane was alive when this control came, and died before it was attached to. */
static void take_over(struct appendonly *a)
{
    struct link *l = a->bridge->link;
    int rc = a->config->control.appendonly ? go_on(a, l) : NOT_OURS;
    if (rc == NOT_OURS) {
        forget_rings(l);
    } else if (rc) {
        a->gone_on_failed = rc;
        log_warning("What a dead dataplane has written cannot be put into the log: %s",
                    strerror(-rc));
        a->ops->failed(a->ctx);
    } else {
        journal_drain(a->journal, false);
    }
}

bool appendonly_drained(struct appendonly *a)
{
    if (!a->journal && a->config->engine.journal != JOURNAL_OFF)
        appendonly_publish(
            a); /* what the dead one was to do (store_first_config) is not for the next, which is loaded first */
    if (!a->journal && in_rings(a->bridge->link)) {
        take_over(a);
        return false;
    }
    return !a->rewrite && (!a->journal || journal_status(a->journal).drained);
}

/* `appendonly yes` while the server runs: workers journal, into nothing; the rewrite that then begins has the cut from which on it is written. */
static void open_late(struct appendonly *a)
{
    uint64_t written[LIMIT_WORKERS];
    int rc = open_journal(a);
    for (uint32_t i = 0; i < link_workers(a->bridge->link); i++)
        written[i] = __atomic_load_n(&link_journal(a->bridge->link)->written[i], __ATOMIC_ACQUIRE);
    if (!rc)
        rc = journal_attach_late(a->journal, a->bridge->link, written);
    if (rc) {
        log_warning("The append-only log cannot be begun: %s", strerror(-rc));
        return;
    }
    log_notice("appendonly yes: the log begins with a rewrite");
    a->opening = a->unfinished = true;
    a->rewrite_next_ms = 0; /* as in Redis, earlier failures do not hold it up */
    appendonly_publish(a);
}

static void go_on_closing(struct appendonly *a)
{
    for (uint32_t i = 0; i < link_workers(a->bridge->link); i++)
        if (STAT_GET(link_stats(a->bridge->link, i)->journaling))
            return;
    journal_drain(a->journal, true);
    if (!journal_status(a->journal).drained)
        return;
    a->closing = a->file_open = false;
    a->base_bytes = a->rdb_bytes = a->total_bytes = a->grown_from = 0;
}

void appendonly_rest_fsync(struct appendonly *a, bool on)
{
    if (a->journal)
        journal_rest_fsync(a->journal, on && a->config->control.no_appendfsync_on_rewrite);
}

/* As CONFIG SET has it. */
static void follow_config(struct appendonly *a)
{
    if (a->closing)
        go_on_closing(a);
    else if (a->config->control.appendonly && !a->running && !a->opening && !a->rewrite)
        open_late(a);
}

void appendonly_config_changed(struct appendonly *a)
{
    if (!a->journal)
        return;
    if (!a->config->control.appendonly && (a->running || a->opening)) {
        log_notice("appendonly no: the log ends here"); /* what comes from now on is not in it */
        a->running = a->beginning = a->opening = a->unfinished = false;
        a->closing = true;
        rewrite_drop(a);
        appendonly_publish(a);
        return;
    }
    journal_policy(a->journal, policy_of(a->config));
    journal_stamps(a->journal, a->config->control.aof_timestamp_enabled);
    if (a->running)
        appendonly_publish(a);
}

int appendonly_close(struct appendonly *a)
{
    int rc = 0;
    if (!a)
        return 0;
    uv_timer_stop(&a->poll);
    if (a->journal)
        rc = journal_close_file(a->journal, !link_dp_alive(a->bridge->link));
    appendonly_cut_torn(a);
    if (!rc && a->gone_on_failed && in_rings(a->bridge->link))
        rc = a->gone_on_failed;
    if (rc)
        log_warning("The append-only log is not whole: %s. What is missing stays in memory and is "
                    "written at the next start, if this machine stays up",
                    strerror(-rc));
    uv_close((uv_handle_t *)&a->poll, NULL);
    return rc;
}

/* Workers without room for what they have to write down; at most once in five seconds. */
static void tell_full(struct appendonly *a)
{
    uint32_t full = 0;
    int64_t now = (int64_t)uv_now(a->loop);
    for (uint32_t i = 0; i < link_workers(a->bridge->link); i++)
        full += STAT_GET(link_stats(a->bridge->link, i)->journal_full) != 0;
    if (a->told_full == (full != 0) || (full && a->full_ms && now - a->full_ms < FULL_MS))
        return;
    a->told_full = full != 0;
    if (full) {
        a->full_ms = now;
        log_warning("The disk does not keep up: the journal of %u worker%s is full, writes wait "
                    "(journal_stalls)",
                    full, full == 1 ? "" : "s");
    } else {
        log_notice("The journal has room again: writes go on");
    }
}

/* As Redis does of its own files, it goes on. */
static void tell_refused(struct appendonly *a)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < link_workers(a->bridge->link); i++)
        n += STAT_GET(link_stats(a->bridge->link, i)->load_refused);
    if (n > a->told_refused)
        log_warning("%llu commands of the append-only log were refused when it was loaded: the "
                    "dataset is not what they "
                    "were to make of it (INFO unexpected_error_replies, errorstats, commandstats)",
                    (unsigned long long)(n - a->told_refused));
    a->told_refused = n;
}

void appendonly_tick(struct appendonly *a, bool up)
{
    if (up)
        follow_config(a);
    tell_refused(a);
    tell_full(a);
    if (!a->journal)
        return;
    appendonly_cut_torn(a);
    struct journal_status s = journal_status(a->journal);
    if (s.error && s.error != a->told_error)
        log_warning("Writing the append-only log fails: %s. Writes are refused until it succeeds",
                    strerror(s.error));
    else if (!s.error && a->told_error)
        log_notice("The append-only log is written again");
    if (s.missing != a->told_missing)
        log_warning("%llu records of the append-only log were never published by the dataplane "
                    "that died",
                    (unsigned long long)(s.missing - a->told_missing));
    a->told_error = s.error;
    a->told_missing = s.missing;
}

void appendonly_free(struct appendonly *a)
{
    if (!a)
        return;
    journal_free(a->journal);
    replay_free(a->replay);
    appendonly_unmap(a);
    dir_locks_free(&a->locks, !link_dp_alive(a->bridge->link));
    free(a);
}

void appendonly_info(const struct appendonly *a, struct appendonly_info *ret)
{
    struct journal_status s = {0};
    if (a->journal)
        s = journal_status(a->journal);
    uint64_t in_rewrite =
        a->rewrite ? __atomic_load_n(&a->rewrite->old_bytes, __ATOMIC_RELAXED) : 0;
    *ret = (struct appendonly_info){
        .on = a->running || a->opening,
        .begun = a->running,
        .loading = a->replay != NULL,
        .write_ok = s.error == 0,
        .current_bytes = a->rdb_bytes + a->total_bytes + s.file_bytes + in_rewrite,
        .base_bytes = a->grown_from,
        .rewriting = (a->rewrite && !a->rewrite->dropped) || a->rewrite_again,
        .rewrite_scheduled = a->rewrite_wanted && !a->rewrite_again,
        .rewrite_ok = a->rewrite_ok,
        .rewrites = a->rewrites,
        .rewrite_failures = a->rewrite_failures,
        .rewrite_took_ms = a->rewrite_took_ms,
        .rewrite_start_ms = a->rewrite ? a->rewrite->start_ms : 0,
        .loaded_bytes = replay_bytes(a->replay),
        .total_bytes = a->total_bytes,
        .delayed_fsync = s.delayed,
        .fsyncs = s.fsyncs,
        .groups = s.groups};
}
