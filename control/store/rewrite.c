/* rewrite.c: see rewrite.h. When one is due and how failures hold it back: Redis 7.0, aof.c and server.c. */
#include "control/store/rewrite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/log.h"
#include "control/store/appendonly_internal.h"
#include "control/store/file_ops.h"
#include "control/store/upgrade.h"

#define PATH_BYTES       8192
#define FAILURES_AT_ONCE 3 /* then it waits 1, 2, 4 ... minutes */
#define WAIT_MAX_MINUTES 60
#define MANY_INCRS       256 /* each start begins one */

/* ---- when ---- */

static uint64_t log_bytes(const struct appendonly *a)
{
    return a->rdb_bytes + a->total_bytes + journal_status(a->journal).file_bytes;
}

static bool has_grown(struct appendonly *a)
{
    const struct config_control *c = &a->config->control;
    if (!a->running || a->beginning)
        return false;
    if (a->m.incrs >= MANY_INCRS)
        return true;
    uint64_t bytes = log_bytes(a), from = a->grown_from ? a->grown_from : 1;
    if (!c->auto_aof_rewrite_percentage || bytes <= c->auto_aof_rewrite_min_size || bytes <= from)
        return false;
    double growth = (double)bytes * 100 / (double)from - 100;
    if (growth < c->auto_aof_rewrite_percentage)
        return false;
    log_notice("Starting automatic rewriting of AOF on %.0f%% growth", growth);
    return true;
}

bool rewrite_due(struct appendonly *a, int64_t now_ms)
{
    if (a->rewrite || a->closing || now_ms < a->rewrite_next_ms)
        return false;
    if (a->opening)
        return appendonly_all_journal(a);
    return a->rewrite_wanted || has_grown(a);
}

void rewrite_want(struct appendonly *a)
{
    a->rewrite_wanted = true;
    a->rewrite_failures = 0;
    a->rewrite_next_ms = 0;
}

/* ---- 1: the cut, on the journal's thread ---- */

static int open_named(struct appendonly *a, uint64_t first_group, struct journal_file *ret)
{
    struct manifest *m = &a->rewrite->m;
    char path[PATH_BYTES];
    bool named = false;
    if (!manifest_add_incr(m))
        return -ENOSPC;
    const struct manifest_file *f = &m->incr[m->incrs - 1];
    manifest_path(m, f->name, path, sizeof path);
    uint64_t before = journal_status(a->journal).file_bytes;
    int rc = journal_new_file(ret, path, f->seq, first_group);
    if (!rc) {
        rc = manifest_write(m, &named);
        if (rc && named) {
            ret->file.unsynced_dir = a->m.dir;
            rc = 0;
        } else if (rc) {
            log_file_close(&ret->file);
            file_ops.unlink(path);
        }
    }
    if (rc) {
        m->incrs--;
        m->last_incr_seq--;
        return rc;
    }
    __atomic_store_n(&a->rewrite->old_bytes, before, __ATOMIC_RELAXED);
    return 0;
}

static int open_unnamed(struct appendonly *a, uint64_t first_group, struct journal_file *ret)
{
    struct rewrite *r = a->rewrite;
    file_ops.unlink(r->temp);
    int rc = journal_new_file(ret, r->temp, 0, first_group);
    return rc ? rc : file_sync_dir(r->m.dir);
}

static int on_cut(void *ctx, uint64_t first_group, struct journal_file *ret)
{
    struct appendonly *a = ctx;
    int rc =
        a->rewrite->fresh ? open_unnamed(a, first_group, ret) : open_named(a, first_group, ret);
    a->rewrite->cut_error = -rc;
    return rc;
}

/* ---- 2 to 4: on the save's thread ---- */

/* The cut was told behind the last record of before, and the snapshot may be whole first. */
static bool await_cut(struct appendonly *a, const struct save *s, char *error, size_t n)
{
    for (;;) {
        enum journal_cut_state state = journal_cut_state(a->journal);
        if (state == CUT_DONE)
            return true;
        if (state == CUT_FAILED) {
            snprintf(error, n, "the next increment: %s", strerror(a->rewrite->cut_error));
            return false;
        }
        if (save_stopped(s)) {
            journal_cut_disarm(a->journal);
            snprintf(error, n, "%s", save_stopped(s));
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* The increment gets its name; the temporary one stays until the manifest is there, so that a start that finds no manifest knows why. */
static int name_increment(struct manifest *m, const char *temp)
{
    char path[PATH_BYTES];
    if (!manifest_add_incr(m))
        return -ENOSPC;
    manifest_path(m, m->incr[m->incrs - 1].name, path, sizeof path);
    file_ops.unlink(path);
    if (link(temp, path))
        return -errno;
    return file_sync_dir(m->dir);
}

static int replace_files(struct appendonly *a)
{
    struct rewrite *r = a->rewrite;
    struct manifest *m = malloc(sizeof *m);
    if (!m)
        return -ENOMEM;
    *m = r->m;
    int rc = r->fresh ? name_increment(m, r->temp) : 0;
    if (!rc) {
        manifest_replace(m, r->alone ? m->incrs : m->incrs - 1);
        rc = manifest_write(m, &r->named);
    }
    if (r->named)
        r->m = *m;
    free(m);
    if (!r->named)
        return rc;
    m = &r->m;
    upgrade_begun(m);
    if (r->fresh) {
        char path[PATH_BYTES];
        manifest_path(m, m->incr[0].name, path, sizeof path);
        journal_named(a->journal, m->incr[0].seq, path, rc ? a->m.dir : NULL);
        file_ops.unlink(r->temp);
    }
    if (!rc)
        rc = manifest_drop_history(m);
    if (rc) /* it is named as history, and goes with the next rewrite or start */
        log_warning("Old files of the log in %s stay for now: %s", m->dir, strerror(-rc));
    return 0;
}

static bool finish(void *ctx, const struct save *s, bool good, char *error, size_t n)
{
    struct appendonly *a = ctx;
    char base[MANIFEST_NAME], path[PATH_BYTES];
    manifest_next_base(&a->rewrite->m, base, sizeof base);
    manifest_path(&a->rewrite->m, base, path, sizeof path);
    if (!good) {
        if (!a->rewrite->alone)
            journal_cut_disarm(a->journal);
        if (a->rewrite->fresh)
            file_ops.unlink(a->rewrite->temp);
        return false;
    }
    good = a->rewrite->alone || await_cut(a, s, error, n);
    if (good) {
        int rc = replace_files(a);
        good = rc == 0;
        if (!good)
            snprintf(error, n, "the manifest: %s", strerror(-rc));
    }
    if (!good)
        file_ops.unlink(path);
    if (!good && a->rewrite->fresh)
        file_ops.unlink(a->rewrite->temp);
    return good;
}

/* ---- the main thread ---- */

/* What the disk says, when no log is written. False: it makes no sense, and nothing is touched. */
static bool read_manifest(struct appendonly *a)
{
    const struct config_control *c = &a->config->control;
    char err[PATH_BYTES + 100];
    int rc = manifest_read(&a->m, c->dir, c->appenddirname, c->appendfilename, err, sizeof err);
    if (rc && rc != -ENOENT) {
        log_warning("The log cannot be rewritten: %s", err);
        return false;
    }
    if (file_ops.mkdir(a->m.dir, 0755) && errno != EEXIST) {
        log_warning("The log cannot be rewritten: %s: %s", a->m.dir, strerror(errno));
        return false;
    }
    return true;
}

static bool prepare(struct appendonly *a, struct rewrite *r, uint64_t id)
{
    if (!a->running && !read_manifest(a))
        return false;
    if (appendonly_hold(a, false))
        return false;
    r->m = a->m;
    r->fresh = a->opening;
    r->alone = !a->running && !a->opening;
    int rc = r->m.has_base || r->m.incrs ? 0 : upgrade_begin(&r->m);
    if (rc) {
        log_warning("The log cannot be rewritten: %s: %s", r->m.dir, strerror(-rc));
        return false;
    }
    snprintf(r->temp, sizeof r->temp, "%s/temp-%s.incr", a->m.dir, a->m.prefix);
    a->rewrite = r;
    if (!r->alone)
        journal_cut_arm(a->journal, &(struct journal_cut){.id = id, .open = on_cut, .ctx = a});
    return true;
}

bool rewrite_begin(struct appendonly *a, uint64_t id, struct save_config *ret, int64_t now_ms)
{
    static char base[MANIFEST_NAME]; /* copied by save_start */
    struct rewrite *r = calloc(1, sizeof *r);
    a->rewrite_wanted = a->rewrite_again = false;
    if (!r || !prepare(a, r, id)) {
        free(r);
        rewrite_end(a, NULL, now_ms);
        return false;
    }
    r->start_ms = now_ms;
    manifest_next_base(&r->m, base, sizeof base);
    ret->dir = a->m.dir;
    ret->name = base;
    ret->aof_base = true;
    ret->finish = finish;
    ret->finish_ctx = a;
    a->rewrites++;
    log_notice("Background append only file rewriting started");
    return true;
}

bool rewrite_cuts_journal(const struct appendonly *a)
{
    return a->rewrite && !a->rewrite->alone;
}

static void on_failure(struct appendonly *a, const char *why, int64_t now_ms)
{
    a->rewrite_ok = false;
    a->rewrite_failures++;
    if (a->rewrite_failures >= FAILURES_AT_ONCE) {
        uint32_t n = a->rewrite_failures - FAILURES_AT_ONCE;
        int64_t minutes = n < 6 ? 1ll << n : WAIT_MAX_MINUTES;
        a->rewrite_next_ms =
            now_ms + (minutes < WAIT_MAX_MINUTES ? minutes : WAIT_MAX_MINUTES) * 60000;
    }
    log_warning("Background AOF rewrite failed: %s", why);
}

static void take_over(struct appendonly *a, struct rewrite *r, uint64_t base_bytes)
{
    a->m = r->m;
    a->has_manifest = true;
    a->base_bytes = a->rdb_bytes = base_bytes;
    a->total_bytes = 0;
    a->torn[0] = 0; /* deleted */
    a->rewrite_ok = true;
    a->rewrite_failures = 0;
    a->unfinished = false;
    if (a->opening) {
        a->opening = false;
        a->running = a->file_open = true;
        appendonly_publish(a);
    }
    if (a->journal)
        a->grown_from = log_bytes(a);
    log_notice("Background AOF rewrite finished successfully");
}

void rewrite_drop(struct appendonly *a)
{
    a->rewrite_failures = 0;
    a->rewrite_wanted &= !a->rewrite_again;
    a->rewrite_again = false;
    if (rewrite_cuts_journal(a))
        a->rewrite->dropped = true;
}

void rewrite_end(struct appendonly *a, const struct save_result *result, int64_t now_ms)
{
    struct rewrite *r = a->rewrite;
    bool dropped = r && r->dropped;
    a->rewrite = NULL;
    if (r && !result && !r->alone) /* there was no cut to be made */
        journal_cut_disarm(a->journal);
    if (r)
        a->rewrite_took_ms = now_ms - r->start_ms;
    if (result && result->status == SAVE_BUSY) {
        a->rewrites--;
        a->rewrite_wanted = a->rewrite_again = !dropped;
    } else if (result && result->status == SAVE_OK) {
        take_over(a, r, result->bytes);
    } else {
        if (r && a->running) { /* the next increment may be there nevertheless */
            a->m = r->m;
            a->total_bytes += r->old_bytes;
        }
        if (dropped)
            log_notice("Background AOF rewrite ended: %s",
                       result ? result->error : "appendonly no");
        else
            on_failure(a, result ? result->error : "it could not begin", now_ms);
    }
    free(r);
}
