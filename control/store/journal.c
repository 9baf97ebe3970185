/* journal.c: see journal.h. Format of groups: engine/log/aof.h; of records: engine/link/msg.h. */
#include "control/store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/store/file_ops.h"
#include "engine/base/crc.h"
#include "engine/base/num.h"
#include "engine/link/layout.h"
#include "engine/link/msg.h"
#include "engine/log/aof.h"

#define BATCH_BYTES \
    (1024 * 1024) /* a group is not made longer than it is then, but for one record */
#define KEEP_BYTES (4 * BATCH_BYTES)
#define POLL_US    5000   /* workers ring for appendfsync always, and when a ring fills */
#define RETRY_US   200000 /* after a write that failed */
#define NO_DB      UINT32_MAX

struct journal {
    pthread_t thread;
    pthread_mutex_t mutex; /* status */
    struct journal_status status;
    bool stop, drain, drained; /* atomic */
    enum journal_fsync policy; /* atomic */
    pthread_mutex_t
        work; /* all below: the writer holds it while it is at work, not while it rests */
    uint64_t file_seq;
    bool blocked; /* a record waits for another worker's */
    struct link *link;
    uint32_t workers, generation;
    struct ring ring[LIMIT_WORKERS];
    uint64_t next[LIMIT_WORKERS];  /* number of the next record of each shard */
    uint64_t taken[LIMIT_WORKERS]; /* last number in the batch; 0: none */
    int64_t rest_worker;           /* whose record is not whole yet; -1: none */
    uint64_t rest_bytes, rest_at;  /* what is missing, and where it begins in the batch */
    bool rest_skips;               /* it is in the log already */
    int fd;
    char path[4096 + 300];
    uint64_t good_bytes, synced_bytes; /* of the file */
    uint64_t group, durable_group;
    uint64_t written[LIMIT_WORKERS]; /* numbers given to the kernel since the last fsync */
    int64_t synced_ms;
    uint32_t db; /* that the file is in */
    uint8_t *p;  /* the batch */
    size_t len, cap;
};

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* ---- taking ---- */

static bool put(struct journal *j, const void *p, size_t n)
{
    if (j->cap - j->len < n + AOF_LINE_BYTES * 8) {
        size_t cap = (j->len + n + AOF_LINE_BYTES * 8) * 2;
        uint8_t *grown = realloc(j->p, cap);
        if (!grown)
            return false;
        j->p = grown;
        j->cap = cap;
    }
    memcpy(j->p + j->len, p, n);
    j->len += n;
    return true;
}

static void put_select(struct journal *j, uint32_t db)
{
    char text[64], number[NUM_I64_CHARS];
    if (db == j->db)
        return;
    int digits = (int)num_format_u64(number, db);
    put(j, text,
        (size_t)sprintf(text, "*2\r\n$6\r\nSELECT\r\n$%d\r\n%.*s\r\n", digits, digits, number));
}

enum turn { TURN_NOW, TURN_LATER, TURN_WRITTEN, TURN_BAD };

/* Whether it is the turn of a record. */
static enum turn turn_of(const struct journal *j, const struct msg_journal *m,
                         const struct msg_journal_shard *at)
{
    enum turn t = TURN_NOW;
    for (uint32_t i = 0; i < m->shards; i++) {
        if (at[i].shard >= j->workers)
            return TURN_BAD;
        if (at[i].seq < j->next[at[i].shard])
            return TURN_WRITTEN;
        if (at[i].seq > j->next[at[i].shard])
            t = TURN_LATER;
    }
    return m->shards ? t : TURN_BAD;
}

/* The first part of a record. False: not its turn, or there is no memory for it now. */
static bool take_record(struct journal *j, uint32_t worker, struct span p)
{
    struct msg_journal m;
    struct msg_journal_shard at[LIMIT_WORKERS];
    if (p.n < sizeof(m))
        return true;
    memcpy(&m, p.p, sizeof(m));
    size_t head = sizeof(m) + m.shards * sizeof(at[0]);
    if (m.shards > LIMIT_WORKERS || p.n < head || p.n - head > m.bytes)
        return true;
    memcpy(at, p.p + sizeof(m), m.shards * sizeof(at[0]));
    enum turn t = turn_of(j, &m, at);
    if (t == TURN_LATER) {
        j->blocked = true;
        return false;
    }
    size_t n = p.n - head, begin = j->len;
    j->rest_skips = t != TURN_NOW;
    j->rest_at = begin;
    if (t == TURN_NOW) {
        put_select(j, m.first_db);
        if (!put(j, p.p + head, n)) {
            j->len = begin;
            return false;
        }
        j->db = m.last_db;
        for (uint32_t i = 0; i < m.shards; i++)
            j->taken[at[i].shard] = j->next[at[i].shard]++;
    }
    j->rest_bytes = m.bytes - n;
    j->rest_worker = j->rest_bytes ? (int64_t)worker : -1;
    return true;
}

static bool take_more(struct journal *j, struct span p)
{
    size_t n = p.n < j->rest_bytes ? p.n : j->rest_bytes;
    if (!j->rest_skips && !put(j, p.p, n))
        return false;
    j->rest_bytes -= n;
    if (!j->rest_bytes)
        j->rest_worker = -1;
    return true;
}

/* Records of one worker, as far as it is their turn. True: there was one. */
static bool take_from(struct journal *j, uint32_t worker)
{
    struct ring *r = &j->ring[worker];
    struct ring_record rec;
    bool any = false;
    while (j->len < BATCH_BYTES || j->rest_worker == (int64_t)worker) {
        if (j->rest_worker >= 0 && j->rest_worker != (int64_t)worker)
            break;
        if (ring_peek(r, &rec) != RING_RECORD)
            break;
        bool took = rec.type == MSG_JOURNAL ? take_record(j, worker, rec.payload)
                                            : take_more(j, rec.payload);
        if (!took)
            break;
        ring_pass(r);
        any = true;
    }
    return any;
}

static void take(struct journal *j)
{
    bool any = true;
    while (any && j->link) {
        any = j->blocked = false;
        for (uint32_t i = 0; i < j->workers; i++)
            any |= take_from(j, i);
    }
}

/* ---- writing ---- */

static void set_error(struct journal *j, int error)
{
    if (j->link)
        __atomic_store_n(&link_journal(j->link)->error, (uint32_t)error, __ATOMIC_RELEASE);
    pthread_mutex_lock(&j->mutex);
    j->status.error = error;
    j->status.failures += error != 0;
    pthread_mutex_unlock(&j->mutex);
}

/* What the group holds of each shard, then its end. */
static void end_group(struct journal *j)
{
    char line[AOF_LINE_BYTES];
    size_t n = 0, next;
    for (uint32_t i = 0; i < j->workers; i++) {
        if (!j->taken[i])
            continue;
        if (!n)
            n = aof_write_shards(line, j->generation);
        next = aof_write_shard(line, n, i, j->taken[i]);
        if (!next) {
            put(j, line, n);
            put(j, "\r\n", 2);
            n = aof_write_shards(line, j->generation);
            next = aof_write_shard(line, n, i, j->taken[i]);
        }
        n = next;
    }
    if (n) {
        put(j, line, n);
        put(j, "\r\n", 2);
    }
    n = aof_write_end(line, j->group, j->len, j->durable_group, crc32c(0, j->p, j->len));
    put(j, line, n);
}

static void publish_durable(struct journal *j)
{
    if (!j->link)
        return;
    struct link_journal *page = link_journal(j->link);
    for (uint32_t i = 0; i < j->workers; i++)
        if (j->written[i])
            __atomic_store_n(&page->durable[i], j->written[i], __ATOMIC_RELEASE);
}

/* After an fsync that failed the kernel may have forgotten what it did not write: the bytes since the last good one are written anew. */
static int write_again(struct journal *j)
{
    size_t n = j->good_bytes - j->synced_bytes, got = 0;
    uint8_t *copy = malloc(n ? n : 1);
    int fd = file_ops.open(j->path, O_RDONLY, 0), rc = copy && fd >= 0 ? 0 : -EIO;
    if (!rc && lseek(fd, (off_t)j->synced_bytes, SEEK_SET) < 0)
        rc = -errno;
    while (!rc && got < n) {
        ssize_t r = file_ops.read(fd, copy + got, n - got);
        if (r <= 0)
            rc = -EIO;
        else
            got += (size_t)r;
    }
    if (fd >= 0)
        file_ops.close(fd);
    if (!rc && file_ops.ftruncate(j->fd, (off_t)j->synced_bytes))
        rc = -errno;
    if (!rc)
        rc = file_write_all(j->fd, copy, n);
    free(copy);
    return rc;
}

static int sync_now(struct journal *j)
{
    if (j->fd < 0 || j->synced_bytes == j->good_bytes)
        return 0;
    int64_t before = now_ms();
    if (file_ops.fdatasync(j->fd)) {
        int rc = -errno;
        set_error(j, -rc);
        if (write_again(j) || file_ops.fdatasync(j->fd))
            return rc;
        set_error(j, 0);
    }
    j->synced_bytes = j->good_bytes;
    j->synced_ms = now_ms();
    j->durable_group = j->group - 1;
    publish_durable(j);
    memset(j->written, 0, sizeof j->written);
    pthread_mutex_lock(&j->mutex);
    j->status.fsyncs++;
    j->status.delayed += j->synced_ms - before > 1000;
    pthread_mutex_unlock(&j->mutex);
    return 0;
}

/* The batch is a group of the file now, or nothing of it is. */
static int write_group(struct journal *j)
{
    size_t len = j->len;
    end_group(j);
    int rc = file_write_all(j->fd, j->p, j->len);
    if (rc) {
        set_error(j, -rc);
        if (file_ops.ftruncate(j->fd, (off_t)j->good_bytes))
            rc = -errno;
        j->len = len;
        return rc;
    }
    j->good_bytes += j->len;
    j->group++;
    j->len = 0;
    for (uint32_t i = 0; i < j->workers; i++) {
        if (j->taken[i])
            j->written[i] = j->taken[i];
        j->taken[i] = 0;
    }
    for (uint32_t i = 0; i < j->workers; i++) {
        if (j->written[i])
            __atomic_store_n(&link_journal(j->link)->written[i], j->written[i], __ATOMIC_RELEASE);
        ring_give_back(&j->ring[i]);
    }
    if (j->cap > KEEP_BYTES) {
        free(j->p);
        j->p = NULL;
        j->cap = 0;
    }
    pthread_mutex_lock(&j->mutex);
    j->status.file_bytes = j->good_bytes;
    j->status.groups = j->group - 1;
    pthread_mutex_unlock(&j->mutex);
    return 0;
}

/* A record whose worker died before its end is none: nobody was told of it. */
static void drop_rest(struct journal *j)
{
    if (j->rest_worker >= 0 && !j->rest_skips)
        j->len = j->rest_at;
    j->rest_worker = -1;
}

/* ---- the thread ---- */

/* Looked at after the bell is armed. A record that waits for another worker's does not keep us awake. */
static bool nothing_there(void *ctx)
{
    struct journal *j = ctx;
    for (uint32_t i = 0; i < j->workers; i++)
        if (__atomic_load_n(&j->ring[i].shm->head, __ATOMIC_SEQ_CST) != j->ring[i].pos)
            return j->blocked;
    return true;
}

/* One round. Returns how long to rest before the next; 0: not at all. */
static uint32_t round_of(struct journal *j, enum journal_fsync policy, bool draining)
{
    if (j->fd < 0 || !j->link)
        return POLL_US;
    if (!j->len || j->rest_worker >= 0)
        take(j);
    if (draining && j->rest_worker >= 0)
        drop_rest(j);
    if (j->len && j->rest_worker < 0) {
        if (write_group(j))
            return RETRY_US;
        if (j->status.error)
            set_error(j, 0);
        return policy == FSYNC_ALWAYS && sync_now(j) ? RETRY_US : 0;
    }
    bool due = policy == FSYNC_ALWAYS || now_ms() - j->synced_ms >= 1000;
    if (((policy != FSYNC_NO && due) || draining) && sync_now(j))
        return RETRY_US;
    if (draining && !j->len) {
        j->link = NULL;
        __atomic_store_n(&j->drained, true, __ATOMIC_RELEASE);
    }
    return POLL_US;
}

static void *writer_main(void *arg)
{
    struct journal *j = arg;
    while (!__atomic_load_n(&j->stop, __ATOMIC_ACQUIRE)) {
        pthread_mutex_lock(&j->work);
        uint32_t us = round_of(j, __atomic_load_n(&j->policy, __ATOMIC_RELAXED),
                               __atomic_load_n(&j->drain, __ATOMIC_ACQUIRE));
        struct link *l = us == POLL_US ? j->link : NULL;
        pthread_mutex_unlock(&j->work);
        struct timespec ts = {0, (long)us * 1000};
        if (l)
            link_journal_sleep(l, us, nothing_there, j);
        else if (us)
            nanosleep(&ts, NULL);
    }
    return NULL;
}

/* ---- the main thread ---- */

struct journal *journal_open(enum journal_fsync policy)
{
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->fd = -1;
    j->rest_worker = -1;
    j->policy = policy;
    j->db = NO_DB;
    pthread_mutex_init(&j->mutex, NULL);
    pthread_mutex_init(&j->work, NULL);
    if (pthread_create(&j->thread, NULL, writer_main, j)) {
        free(j);
        return NULL;
    }
    return j;
}

int journal_file(struct journal *j, const char *path, uint64_t seq, uint64_t first_group)
{
    char head[AOF_LINE_BYTES];
    size_t n = aof_write_head(head, first_group);
    int fd = file_ops.open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644), rc;
    rc = fd < 0 ? -errno : file_write_all(fd, head, n);
    if (!rc && file_ops.fsync(fd))
        rc = -errno;
    if (rc) {
        if (fd >= 0)
            file_ops.close(fd);
        return rc;
    }
    pthread_mutex_lock(&j->work);
    if (j->fd >= 0)
        file_ops.close(j->fd);
    j->fd = fd;
    snprintf(j->path, sizeof j->path, "%s", path);
    j->file_seq = seq;
    j->good_bytes = j->synced_bytes = n;
    j->group = first_group;
    j->durable_group = first_group - 1;
    j->db = NO_DB;
    j->synced_ms = now_ms();
    if (j->link)
        __atomic_store_n(&link_journal(j->link)->file, seq, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&j->work);
    pthread_mutex_lock(&j->mutex);
    j->status.file_bytes = n;
    j->status.groups = first_group - 1;
    pthread_mutex_unlock(&j->mutex);
    return 0;
}

int journal_attach(struct journal *j, struct link *l, const uint64_t *written)
{
    int rc = 0;
    pthread_mutex_lock(&j->work);
    j->workers = link_workers(l);
    j->generation = link_generation(l);
    j->rest_worker = -1;
    j->len = 0;
    memset(j->taken, 0, sizeof j->taken);
    memset(j->written, 0, sizeof j->written);
    for (uint32_t i = 0; i < j->workers && !rc; i++) {
        rc = link_journal_ring(l, i, &j->ring[i]);
        j->next[i] = written ? written[i] + 1 : 1;
    }
    if (!rc) {
        j->link = l;
        __atomic_store_n(&link_journal(l)->file, j->file_seq, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&j->drained, false, __ATOMIC_RELAXED);
    __atomic_store_n(&j->drain, false, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&j->work);
    return rc;
}

void journal_drain(struct journal *j)
{
    __atomic_store_n(&j->drain, true, __ATOMIC_RELEASE);
    if (!j->link)
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

void journal_close_file(struct journal *j, bool clean)
{
    pthread_mutex_lock(&j->work);
    if (j->fd >= 0) {
        char line[AOF_LINE_BYTES];
        int rc = j->link ? (take(j), j->len && j->rest_worker < 0 ? write_group(j) : 0) : 0;
        if (!rc && clean && !sync_now(j)) {
            size_t n = aof_write_end(line, j->group, 0, j->group - 1, 0);
            if (file_write_all(j->fd, line, n) == 0)
                file_ops.fdatasync(j->fd);
        }
        file_ops.close(j->fd);
        j->fd = -1;
    }
    pthread_mutex_unlock(&j->work);
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    __atomic_store_n(&j->stop, true, __ATOMIC_RELEASE);
    pthread_join(j->thread, NULL);
    if (j->fd >= 0)
        file_ops.close(j->fd);
    free(j->p);
    free(j);
}
