/* journal.c: see journal.h. Format of groups: engine/log/aof.h; of records: merge.h. */
#include "control/store/journal.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/store/log_file.h"
#include "control/store/merge.h"
#include "control/store/sync_thread.h"
#include "engine/base/crc.h"
#include "engine/link/layout.h"
#include "engine/log/aof.h"

#define POLL_US    5000   /* workers ring for appendfsync always, and when a ring fills */
#define RETRY_US   200000 /* after a write that failed */
#define SYNC_MS    1000   /* everysec */
#define DELAYED_MS 2000   /* as Redis counts aof_delayed_fsync */

/* What an fsync makes durable. */
struct mark {
    uint64_t bytes, group, seq[LIMIT_WORKERS];
};

struct journal {
    pthread_t thread;
    pthread_mutex_t mutex; /* status */
    struct journal_status status;
    bool stop, drain, drained;            /* atomic */
    enum journal_fsync policy;            /* atomic */
    bool close_drained, stamps, no_fsync; /* atomic */
    uint32_t cut_state;                   /* enum journal_cut_state, atomic */
    struct journal_cut cut;               /* written before cut_state is CUT_ARMED */
    uint64_t cut_id;    /* atomic: of the cut that is waited for, read at its record; 0: none */
    struct link *wakes; /* atomic: whose bell the sync thread rings */
    /* All below: the writer holds it while it is at work, not while it rests. */
    pthread_mutex_t work;
    uint64_t file_seq;
    struct merge m;
    struct log_file file;
    struct sync_thread *sync;
    struct mark at, syncing; /* the whole groups; those of the fsync under way */
    uint64_t durable_group;
    uint64_t open_bytes; /* of the group, in the file already */
    uint32_t open_crc;
    int64_t sync_ms; /* when the last fsync began */
    bool delayed;    /* it was counted */
};

enum step { STEP_REST, STEP_MORE, STEP_RETRY };

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void set_error(struct journal *j, int error)
{
    if (j->m.link)
        __atomic_store_n(&link_journal(j->m.link)->error, (uint32_t)error, __ATOMIC_RELEASE);
    pthread_mutex_lock(&j->mutex);
    j->status.error = error;
    j->status.failures += error != 0;
    pthread_mutex_unlock(&j->mutex);
}

/* Something went well that had failed. A ring that makes no sense is no such thing. */
static void clear_error(struct journal *j)
{
    if (j->status.error && !j->m.corrupt)
        set_error(j, 0);
}

/* ---- fsync ---- */

static void mark_now(struct journal *j)
{
    j->sync_ms = now_ms();
    j->delayed = false;
    j->syncing = j->at;
}

/* rc: of an fsync of what `syncing` says. */
static int sync_over(struct journal *j, int rc)
{
    log_file_synced(&j->file, j->syncing.bytes, rc);
    if (rc) {
        set_error(j, -rc);
        return rc;
    }
    j->durable_group = j->syncing.group;
    if (j->m.link) {
        struct link_journal *page = link_journal(j->m.link);
        for (uint32_t i = 0; i < j->m.workers; i++)
            if (j->syncing.seq[i])
                __atomic_store_n(&page->durable[i], j->syncing.seq[i], __ATOMIC_RELEASE);
    }
    pthread_mutex_lock(&j->mutex);
    j->status.fsyncs++;
    pthread_mutex_unlock(&j->mutex);
    clear_error(j);
    return 0;
}

/* What the sync thread has done since; `wait`: also what it is doing. */
static int collect(struct journal *j, bool wait)
{
    int rc;
    return sync_thread_end(j->sync, wait, &rc) ? sync_over(j, rc) : 0;
}

static bool is_synced(const struct journal *j)
{
    return j->file.synced_bytes == j->file.good_bytes;
}

/* Here and now, whatever it takes. */
static int sync_here(struct journal *j)
{
    collect(j, true);
    if (!j->file.suspect && is_synced(j))
        return 0;
    mark_now(j);
    return sync_over(j, j->file.suspect ? log_file_mend(&j->file) : log_file_fsync(&j->file));
}

/* An fsync under way for long, and more to write: Redis would have to wait. */
static void count_delay(struct journal *j)
{
    if (!sync_thread_busy(j->sync) || j->delayed || now_ms() - j->sync_ms < DELAYED_MS)
        return;
    j->delayed = true;
    pthread_mutex_lock(&j->mutex);
    j->status.delayed++;
    pthread_mutex_unlock(&j->mutex);
}

/* 0 or -errno. */
static int sync_if_due(struct journal *j, enum journal_fsync policy, bool draining)
{
    if (is_synced(j))
        return 0;
    if (policy == FSYNC_ALWAYS || draining)
        return sync_here(j);
    struct link_journal *page = link_journal(j->m.link);
    bool due = policy == FSYNC_EVERYSEC && now_ms() - j->sync_ms >= SYNC_MS &&
               !__atomic_load_n(&j->no_fsync, __ATOMIC_RELAXED);
    due |= __atomic_load_n(&page->asked, __ATOMIC_RELAXED) != 0;
    if (!due || sync_thread_busy(j->sync))
        return 0;
    __atomic_store_n(&page->asked, 0, __ATOMIC_RELAXED); /* who still waits asks again */
    mark_now(j);
    sync_thread_begin(j->sync, &j->file);
    return 0;
}

/* ---- groups ---- */

static size_t end_line(const struct journal *j, char *to)
{
    const struct merge *m = &j->m;
    return aof_write_end(to, j->at.group + 1, j->open_bytes + m->len, j->durable_group,
                         crc32c(j->open_crc, m->p, m->len));
}

static int put_end(struct journal *j)
{
    char line[AOF_LINE_BYTES];
    struct merge *m = &j->m;
    if (!merge_put_shards(m))
        return -ENOMEM;
    size_t n = end_line(j, line);
    if (!aof_may_end(j->file.end_bytes + m->len + n)) {
        if (!merge_put(m, AOF_FILLER, strlen(AOF_FILLER)))
            return -ENOMEM;
        n = end_line(j, line);
    }
    return merge_put(m, line, n) ? 0 : -ENOMEM;
}

/* A group whose fsync is waited for goes over room: when all before it is on the disk, so that a power cut can tear no other. */
static int write_end(struct journal *j, bool over)
{
    int rc = put_end(j);
    if (rc)
        return rc;
    return over && j->file.synced_bytes == j->file.end_bytes
               ? log_file_write_over(&j->file, j->m.p, j->m.len)
               : log_file_write(&j->file, j->m.p, j->m.len);
}

static void tell_written(struct journal *j)
{
    struct link_journal *page = link_journal(j->m.link);
    for (uint32_t i = 0; i < j->m.workers; i++)
        if (j->at.seq[i])
            __atomic_store_n(&page->written[i], j->at.seq[i], __ATOMIC_RELEASE);
    pthread_mutex_lock(&j->mutex);
    j->status.file_bytes = j->at.bytes;
    j->status.groups = j->at.group;
    pthread_mutex_unlock(&j->mutex);
}

/* The batch is in the file now, or nothing of it is. `ends`: and with it a group. `over`: that one may go over room. */
static int write_batch(struct journal *j, bool ends, bool over)
{
    struct merge *m = &j->m;
    size_t len = m->len;
    int rc = 0;
    if (!m->discards)
        rc = ends ? write_end(j, over) : log_file_write(&j->file, m->p, m->len);
    if (rc) {
        m->len = len;
        set_error(j, -rc);
        return rc;
    }
    if (ends) {
        if (!m->discards) {
            log_file_whole(&j->file);
            j->at.bytes = j->file.good_bytes;
            j->at.group++;
        }
        for (uint32_t i = 0; i < m->workers; i++)
            if (m->taken[i])
                j->at.seq[i] = m->taken[i];
        j->open_bytes = j->open_crc = 0;
        tell_written(j);
    } else {
        j->open_crc = crc32c(j->open_crc, m->p, m->len);
        j->open_bytes += m->len;
    }
    merge_written(m, ends);
    merge_give_back(m);
    clear_error(j);
    count_delay(j);
    return 0;
}

/* ---- the next file ---- */

int journal_new_file(struct journal_file *ret, const char *path, uint64_t seq, uint64_t first_group)
{
    char head[AOF_LINE_BYTES];
    size_t n = aof_write_head(head, first_group);
    *ret = (struct journal_file){.file = {.fd = -1}, .seq = seq, .group = first_group};
    return log_file_begin(&ret->file, path, head, n);
}

/* No fsync is under way. */
static void use_file(struct journal *j, const struct journal_file *f)
{
    log_file_close(&j->file);
    j->file = f->file;
    j->file_seq = f->seq;
    j->at.bytes = f->file.good_bytes;
    j->at.group = j->durable_group = f->group - 1;
    j->open_bytes = j->open_crc = 0;
    j->m.db = MERGE_NO_DB;
    j->m.stamp_s = 0;
    j->m.discards = false;
    j->sync_ms = now_ms();
    if (j->m.link)
        __atomic_store_n(&link_journal(j->m.link)->file, f->seq, __ATOMIC_RELEASE);
    pthread_mutex_lock(&j->mutex);
    j->status.file_bytes = j->at.bytes;
    j->status.groups = j->at.group;
    pthread_mutex_unlock(&j->mutex);
}

static bool cut_moves(struct journal *j, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(&j->cut_state, &from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

/* The file's room is gone, on the disk too. */
static int end_room(struct journal *j)
{
    if (!log_file_has_room(&j->file))
        return 0;
    int rc = log_file_trim(&j->file);
    return rc ? rc : log_file_fsync(&j->file);
}

/* All before the cut is in the file. It reaches the disk before anything of the next file can. */
static int cut_now(struct journal *j)
{
    struct journal_file next;
    int rc = sync_here(j);
    if (rc)
        return rc;
    rc = end_room(j);
    if (rc) {
        set_error(j, -rc);
        return rc;
    }
    clear_error(j);
    j->m.at_cut = false;
    if (!cut_moves(j, CUT_PENDING, CUT_OPENING))
        return 0;
    rc = j->cut.open(j->cut.ctx, j->at.group + 1, &next);
    if (!rc)
        use_file(j, &next);
    /* Of a log that begins here nothing comes before it. */
    for (uint32_t i = 0; !rc && i < j->m.workers; i++)
        __atomic_store_n(&link_journal(j->m.link)->durable[i], j->at.seq[i], __ATOMIC_RELEASE);
    __atomic_store_n(&j->cut_state, rc ? CUT_FAILED : CUT_DONE, __ATOMIC_RELEASE);
    return 0;
}

/* The cut is one only while it is waited for. */
static bool take(struct journal *j)
{
    struct merge *m = &j->m;
    m->stamps = __atomic_load_n(&j->stamps, __ATOMIC_RELAXED);
    bool had = m->at_cut, took = merge_take(m);
    if (m->at_cut && !had && !cut_moves(j, CUT_ARMED, CUT_PENDING))
        m->at_cut = false;
    return took;
}

static int write_closed(struct journal *j)
{
    char line[AOF_LINE_BYTES];
    size_t n = aof_write_end(line, j->at.group + 1, 0, j->at.group, 0);
    int rc = end_room(j);
    if (!rc)
        rc = log_file_write(&j->file, line, n);
    return rc ? rc : log_file_fsync(&j->file);
}

/* The log has ended. */
static int close_drained(struct journal *j)
{
    if (!__atomic_load_n(&j->close_drained, __ATOMIC_RELAXED) || j->file.fd < 0)
        return 0;
    int rc = write_closed(j);
    if (rc) {
        log_file_drop(&j->file);
        set_error(j, -rc);
        return rc;
    }
    log_file_close(&j->file);
    j->file = (struct log_file){.fd = -1};
    __atomic_store_n(&link_journal(j->m.link)->file, 0, __ATOMIC_RELEASE);
    return 0;
}

/* ---- a step of the writer ---- */

static void drop_rest(struct journal *j)
{
    merge_drop_rest(&j->m);
    log_file_drop(&j->file);
    j->open_bytes = j->open_crc = 0;
}

/* All is written and on the disk, but for what nobody can write. True: there is more, which was waiting for numbers that are missing. */
static bool drain_ends(struct journal *j)
{
    uint64_t missing = j->m.corrupt ? 0 : merge_skip_missing(&j->m);
    pthread_mutex_lock(&j->mutex);
    j->status.missing += missing;
    j->status.error = j->m.corrupt ? EBADMSG : 0;
    pthread_mutex_unlock(&j->mutex);
    if (missing)
        return true;
    j->m.link = NULL;
    __atomic_store_n(&j->wakes, NULL, __ATOMIC_RELEASE);
    __atomic_store_n(&j->drained, true, __ATOMIC_RELEASE);
    return false;
}

static enum step step(struct journal *j, enum journal_fsync policy, bool draining)
{
    struct merge *m = &j->m;
    if ((j->file.fd < 0 && !m->discards) || !m->link)
        return STEP_REST;
    collect(j, false);
    if (j->file.suspect && sync_here(j))
        return STEP_RETRY;
    if (policy != FSYNC_ALWAYS && log_file_has_room(&j->file))
        log_file_trim(&j->file); /* if it cannot be now, before the next group */
    if (m->at_cut && !m->len && !m->open && !m->marked)
        return cut_now(j) ? STEP_RETRY : STEP_MORE;
    bool took = take(j);
    if (m->corrupt && j->status.error != EBADMSG)
        set_error(j, EBADMSG);
    if (draining && m->rest_worker >= 0 && !took && !m->starved && m->len < MERGE_BATCH_BYTES)
        drop_rest(j);
    bool ends = m->rest_worker < 0 || m->rest_skips;
    bool writes = ends ? m->len || m->open || m->marked : m->len >= MERGE_BATCH_BYTES;
    bool much = m->len >= MERGE_BATCH_BYTES / 2 || m->alone || m->at_cut;
    if (writes && write_batch(j, ends, policy == FSYNC_ALWAYS && !draining))
        return STEP_RETRY;
    if (!m->len)
        merge_give_back(m); /* what was in the log already */
    if (sync_if_due(j, policy, draining))
        return STEP_RETRY;
    if (draining && m->starved && !took && !writes) {
        set_error(j, ENOMEM); /* not all of it is taken */
        return STEP_RETRY;
    }
    if (draining && !took && !writes && close_drained(j))
        return STEP_RETRY;
    if (draining)
        return took || writes || drain_ends(j) ? STEP_MORE : STEP_REST;
    return writes && (much || policy == FSYNC_ALWAYS) ? STEP_MORE : STEP_REST;
}

/* ---- the thread ---- */

/* Looked at after the bell is armed. With always whatever is there is to be done now; otherwise only what fills a ring. A record that waits for another
 * worker's does not keep us awake. */
static bool nothing_to_do(void *ctx)
{
    struct journal *j = ctx;
    bool always = __atomic_load_n(&j->policy, __ATOMIC_RELAXED) == FSYNC_ALWAYS, idle = true;
    if (pthread_mutex_trylock(&j->work))
        return false;
    if (j->m.link) /* who asks has put its records there before */
        always |= __atomic_load_n(&link_journal(j->m.link)->asked, __ATOMIC_RELAXED) != 0;
    for (uint32_t i = 0; i < j->m.workers && j->m.link; i++) {
        const struct ring *r = &j->m.ring[i];
        uint64_t n = __atomic_load_n(&r->shm->head, __ATOMIC_SEQ_CST) - r->pos;
        idle &= !n || j->m.blocked || (!always && n < LIMIT_LINK_JOURNAL_BYTES / 8);
    }
    if (j->m.link && !sync_thread_busy(j->sync))
        idle &= !__atomic_load_n(&link_journal(j->m.link)->asked, __ATOMIC_RELAXED) || is_synced(j);
    pthread_mutex_unlock(&j->work);
    return idle;
}

static void *writer_main(void *arg)
{
    struct journal *j = arg;
    while (!__atomic_load_n(&j->stop, __ATOMIC_ACQUIRE)) {
        pthread_mutex_lock(&j->work);
        enum step s = step(j, __atomic_load_n(&j->policy, __ATOMIC_RELAXED),
                           __atomic_load_n(&j->drain, __ATOMIC_ACQUIRE));
        struct link *l = j->file.fd >= 0 || j->m.discards ? j->m.link : NULL;
        pthread_mutex_unlock(&j->work);
        struct timespec ts = {0, (s == STEP_RETRY ? RETRY_US : POLL_US) * 1000L};
        if (s == STEP_REST && l)
            link_journal_sleep(l, POLL_US, nothing_to_do, j);
        else if (s != STEP_MORE)
            nanosleep(&ts, NULL);
    }
    return NULL;
}

/* On the sync thread. */
static void on_synced(void *ctx)
{
    struct journal *j = ctx;
    struct link *l = __atomic_load_n(&j->wakes, __ATOMIC_ACQUIRE);
    if (l)
        link_journal_wake(l);
}

/* ---- the main thread ---- */

struct journal *journal_open(enum journal_fsync policy)
{
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->file.fd = -1;
    merge_init(&j->m);
    j->policy = policy;
    pthread_mutex_init(&j->mutex, NULL);
    pthread_mutex_init(&j->work, NULL);
    j->sync = sync_thread_new(on_synced, j);
    if (j->sync && pthread_create(&j->thread, NULL, writer_main, j) == 0)
        return j;
    sync_thread_free(j->sync);
    free(j);
    return NULL;
}

int journal_file(struct journal *j, const char *path, uint64_t seq, uint64_t first_group)
{
    struct journal_file f;
    pthread_mutex_lock(&j->work);
    collect(j, true);
    bool begun = j->m.link && (j->m.len || j->m.open); /* it belongs into the old file */
    int rc = begun ? -EBUSY : journal_new_file(&f, path, seq, first_group);
    if (!rc)
        use_file(j, &f);
    pthread_mutex_unlock(&j->work);
    return rc;
}

void journal_named(struct journal *j, uint64_t seq, const char *path, const char *unsynced_dir)
{
    pthread_mutex_lock(&j->work);
    collect(j, true); /* the sync thread has no other name of it */
    j->file_seq = seq;
    snprintf(j->file.path, sizeof j->file.path, "%s", path);
    if (unsynced_dir) {
        j->file.unsynced_dir = unsynced_dir;
        j->file.suspect = true; /* whether or not more is written */
    }
    if (j->m.link)
        __atomic_store_n(&link_journal(j->m.link)->file, seq, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&j->work);
}

void journal_cut_arm(struct journal *j, const struct journal_cut *c)
{
    j->cut = *c;
    __atomic_store_n(&j->cut_state, CUT_ARMED, __ATOMIC_RELEASE);
    __atomic_store_n(&j->cut_id, c->id, __ATOMIC_RELEASE);
}

enum journal_cut_state journal_cut_state(const struct journal *j)
{
    return __atomic_load_n(&j->cut_state, __ATOMIC_ACQUIRE);
}

void journal_cut_disarm(struct journal *j)
{
    __atomic_store_n(&j->cut_id, 0, __ATOMIC_RELEASE);
    while (!cut_moves(j, CUT_ARMED, CUT_NONE) && !cut_moves(j, CUT_PENDING, CUT_NONE) &&
           journal_cut_state(j) == CUT_OPENING)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

void journal_stamps(struct journal *j, bool on)
{
    __atomic_store_n(&j->stamps, on, __ATOMIC_RELAXED);
}

void journal_rest_fsync(struct journal *j, bool on)
{
    __atomic_store_n(&j->no_fsync, on, __ATOMIC_RELAXED);
}

static int attach(struct journal *j, struct link *l, const uint64_t *written, struct span tail,
                  bool discards)
{
    collect(j, true);
    int rc = merge_attach(&j->m, l, written);
    j->m.discards = discards;
    j->m.cut = &j->cut_id;
    if (!rc && !merge_resume(&j->m, tail))
        rc = -ENODATA;
    memset(j->at.seq, 0, sizeof j->at.seq);
    memset(j->syncing.seq, 0, sizeof j->syncing.seq);
    if (rc)
        j->m.link = NULL;
    else
        __atomic_store_n(&link_journal(l)->file, j->file_seq, __ATOMIC_RELEASE);
    __atomic_store_n(&j->wakes, j->m.link, __ATOMIC_RELEASE);
    __atomic_store_n(&j->drained, false, __ATOMIC_RELAXED);
    __atomic_store_n(&j->drain, false, __ATOMIC_RELEASE);
    return rc;
}

int journal_attach(struct journal *j, struct link *l, const uint64_t *written, struct span tail)
{
    pthread_mutex_lock(&j->work);
    int rc = attach(j, l, written, tail, false);
    pthread_mutex_unlock(&j->work);
    return rc;
}

int journal_attach_late(struct journal *j, struct link *l, const uint64_t *written)
{
    pthread_mutex_lock(&j->work);
    collect(j, true);
    log_file_close(&j->file);
    j->file = (struct log_file){.fd = -1};
    j->file_seq = 0;
    int rc = attach(j, l, written, (struct span){0}, true);
    pthread_mutex_unlock(&j->work);
    return rc;
}

void journal_drain(struct journal *j, bool close)
{
    __atomic_store_n(&j->close_drained, close, __ATOMIC_RELAXED);
    __atomic_store_n(&j->drain, true, __ATOMIC_RELEASE);
    if (!__atomic_load_n(&j->wakes, __ATOMIC_ACQUIRE)) /* no rings */
        __atomic_store_n(&j->drained, true, __ATOMIC_RELEASE);
}

void journal_policy(struct journal *j, enum journal_fsync policy)
{
    __atomic_store_n(&j->policy, policy, __ATOMIC_RELAXED);
}

struct journal_status journal_status(struct journal *j)
{
    pthread_mutex_lock(&j->mutex);
    struct journal_status s = j->status;
    pthread_mutex_unlock(&j->mutex);
    s.drained = __atomic_load_n(&j->drained, __ATOMIC_ACQUIRE);
    return s;
}

int journal_close_file(struct journal *j, bool clean)
{
    int rc = 0;
    pthread_mutex_lock(&j->work);
    if (j->file.fd >= 0) {
        enum step s;
        cut_moves(j, CUT_ARMED, CUT_NONE); /* no rewrite goes on */
        cut_moves(j, CUT_PENDING, CUT_NONE);
        while ((s = step(j, FSYNC_ALWAYS, clean)) == STEP_MORE)
            ;
        if (s == STEP_RETRY || j->status.error)
            rc = -j->status.error;
        if (!rc)
            rc = sync_here(j);
        if (!rc && clean)
            rc = write_closed(j);
        collect(j, true);
        log_file_close(&j->file);
    }
    pthread_mutex_unlock(&j->work);
    return rc;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    __atomic_store_n(&j->stop, true, __ATOMIC_RELEASE);
    pthread_join(j->thread, NULL);
    sync_thread_free(j->sync);
    log_file_close(&j->file);
    merge_fini(&j->m);
    pthread_mutex_destroy(&j->mutex);
    pthread_mutex_destroy(&j->work);
    free(j);
}
