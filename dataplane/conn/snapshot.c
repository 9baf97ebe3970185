/* Snapshots, seen from a worker: the cut under the lease of all shards, then slices between packets.
 *
 *   control: MSG_SNAPSHOT -> worker 0 -> lease of all -> snapshot_begin on every shard
 *   every worker, while its shard is its own: a slice a turn -> its snapshot ring -> control's writer of files
 *
 * A full ring ends the slice, never the turn; a value that requests wait for is written all the same, into memory: control may stand still. When control is gone or gives it up, what is left of the walk only tidies up.
 * struct snapshot_job belongs to the shard: the holder of its lease writes it. Engine: engine/shard/snapshot.h. Thread: the worker's. */
#include <errno.h>

#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/cmd/rdb_object.h"
#include "engine/link/msg.h"

#define CHUNK_BYTES (32 * 1024) /* sent at once, when there is as much */
static_assert(CHUNK_BYTES + sizeof(struct msg_snapshot_data) <= LIMIT_LINK_MSG_BYTES, "one record");

/* ---- the cut ---- */

static void refuse(struct worker *w, uint64_t id, uint32_t status)
{
    struct msg_snapshot_end m = {.id = id, .status = status};
    if (!ring_send(&w->snapshot_ring, MSG_SNAPSHOT_END, &m, sizeof(m)))
        STAT_INC(w->stats->link_full); /* control's patience ends it */
}

static int begin_shard(struct worker *to, struct shard *s, const struct msg_snapshot *ask,
                       int64_t now_ms)
{
    struct snapshot_facts f;
    int rc = snapshot_begin(s, &rdb_snapshot_ops, ask->compress, &f);
    if (rc)
        return rc;
    struct snapshot_job *job = &to->snapshot;
    *job = (struct snapshot_job){.state = SNAPSHOT_BEGUN};
    job->begin = (struct msg_snapshot_begin){.id = ask->id,
                                             .cut_ms = now_ms,
                                             .dirty = s->stats.dirty,
                                             .journal_seq = s->journal_seq,
                                             .version = f.version};
    static_assert(sizeof(job->begin.keys) == sizeof(f.keys), "a place for each database");
    memcpy(job->begin.keys, f.keys, sizeof(f.keys));
    memcpy(job->begin.expires, f.expires, sizeof(f.expires));
    return 0;
}

/* The shards of all workers are held: nothing changes anywhere until this returns. */
static void cut(struct worker *w, void *ctx)
{
    struct msg_snapshot *ask = ctx;
    bool busy = false;
    for (uint32_t i = 0; i < w->count; i++)
        busy |= w->lease_set.v[i]->snapshot != NULL;
    int rc = busy ? -EBUSY : ask->log && !w->journal.on ? -EINVAL : 0;
    if (!rc && ask->log)
        journal_cut(w, ask->id);
    for (uint32_t i = 0; i < w->count && !rc; i++)
        rc = begin_shard(w->all[i], w->lease_set.v[i], ask, w->now_ms);
    w->hold.on = true; /* the others have it from lease_on_release */
    if (rc) {
        for (uint32_t i = 0; i < w->count && rc != -EBUSY; i++)
            if (w->lease_set.v[i]->snapshot) {
                snapshot_give_up(w->lease_set.v[i]);
                w->all[i]->snapshot.state = SNAPSHOT_TIDIES;
            }
        refuse(w, ask->id, rc == -EBUSY ? MSG_SNAPSHOT_BUSY : MSG_SNAPSHOT_FAILED);
    }
    free(ask);
}

void snapshot_on_message(struct worker *w, struct span p)
{
    struct msg_snapshot *ask;
    if (p.n != sizeof(*ask)) {
        STAT_INC(w->stats->link_bad_messages);
        return;
    }
    ask = malloc(sizeof(*ask));
    CHECK(ask);
    memcpy(ask, p.p, sizeof(*ask));
    if (ask->what == MSG_SNAPSHOT_CUT && w->id == 0) {
        if (!lease_call(w, cut, ask)) {
            refuse(w, ask->id, MSG_SNAPSHOT_FAILED);
            free(ask);
        }
        return;
    }
    if (ask->what == MSG_SNAPSHOT_GIVE_UP)
        w->snapshot_unwanted = ask->id; /* the shard may be in other hands now */
    else
        STAT_INC(w->stats->link_bad_messages);
    free(ask);
}

/* ---- slices ---- */

/* What waits, as whole chunks or all of it. False: the ring is full. */
static bool send_output(struct worker *w, bool all)
{
    struct snapshot_job *job = &w->snapshot;
    for (;;) {
        bool whole;
        struct span b = snapshot_output(&w->shard, &whole);
        if (b.n == 0 || (!all && b.n < CHUNK_BYTES))
            return true;
        uint32_t n = b.n < CHUNK_BYTES ? (uint32_t)b.n : CHUNK_BYTES;
        struct msg_snapshot_data *m = ring_reserve(&w->snapshot_ring, (uint32_t)sizeof(*m) + n);
        if (!m) {
            STAT_INC(w->stats->snapshot_ring_full);
            return false;
        }
        *m = (struct msg_snapshot_data){.id = job->begin.id, .whole = whole && n == b.n};
        memcpy(m + 1, b.p, n);
        ring_publish(&w->snapshot_ring, MSG_SNAPSHOT_DATA, (uint32_t)sizeof(*m) + n);
        snapshot_sent(&w->shard, n);
    }
}

static bool send_end(struct worker *w, uint32_t status)
{
    struct msg_snapshot_end m = {.id = w->snapshot.begin.id, .status = status};
    snapshot_counts(&w->shard, &m.keys, &m.early, &m.most_bytes);
    if (!ring_send(&w->snapshot_ring, MSG_SNAPSHOT_END, &m, sizeof(m)))
        return false;
    STAT_ADD(w->stats->snapshot_keys, m.keys);
    STAT_ADD(w->stats->snapshot_early, m.early);
    return true;
}

/* True: something was done. */
static bool advance(struct worker *w, uint64_t until_tsc)
{
    struct shard *s = &w->shard;
    struct snapshot_job *job = &w->snapshot;
    uint64_t keys, early, most;
    if (job->state == SNAPSHOT_BEGUN) {
        if (!ring_send(&w->snapshot_ring, MSG_SNAPSHOT_BEGIN, &job->begin, sizeof(job->begin)))
            return false;
        job->state = SNAPSHOT_WALKS;
    }
    bool going = true, sent = true;
    do {
        if (job->state == SNAPSHOT_WALKS && !(sent = send_output(w, !going)) &&
            !snapshot_awaited(s))
            break;
        if (going)
            going = snapshot_step(s);
        if (job->state == SNAPSHOT_WALKS && snapshot_failed(s)) {
            if (!send_end(w, MSG_SNAPSHOT_FAILED))
                break;
            job->state = SNAPSHOT_TIDIES;
        }
        if (!going && (job->state == SNAPSHOT_TIDIES || snapshot_done(s))) {
            if (job->state == SNAPSHOT_WALKS && !send_end(w, MSG_SNAPSHOT_OK))
                break;
            snapshot_end(s);
            job->state = SNAPSHOT_NONE;
            STAT_SET(w->stats->snapshot_waiting, 0);
            return true;
        }
    } while (rte_rdtsc() < until_tsc);
    snapshot_counts(s, &keys, &early, &most);
    STAT_SET(w->stats->snapshot_waiting, most);
    return sent;
}

/* Without the EAL (tests) nobody has measured it. */
static uint64_t tsc_mhz(void)
{
    uint64_t mhz = rte_get_tsc_hz() / 1000000;
    return mhz ? mhz : 1000;
}

static uint64_t slice_cycles(const struct worker *w)
{
    return tsc_mhz() * (w->config.snapshot_slice_us ? w->config.snapshot_slice_us : 5);
}

/* Changes wait for long replies. */
static void take_down(struct worker *w)
{
    uint64_t until = rte_rdtsc() + slice_cycles(w);
    do
        held_step(&w->shard);
    while (w->shard.held_wanted && rte_rdtsc() < until);
}

static bool slice(struct worker *w)
{
    struct snapshot_job *job = &w->snapshot;
    uint64_t start = rte_rdtsc();
    /* The upper half of an id is the generation of the control process that chose it. */
    if (job->state != SNAPSHOT_TIDIES &&
        (job->begin.id == w->snapshot_unwanted ||
         job->begin.id >> 32 != link_control_generation(w->link))) {
        snapshot_give_up(&w->shard);
        job->state = SNAPSHOT_TIDIES;
    }
    bool did = advance(w, start + slice_cycles(w));
    uint64_t took = rte_rdtsc() - start;
    STAT_ADD(w->stats->snapshot_slices, 1);
    uint64_t took_us = took / tsc_mhz();
    if (took_us > STAT_GET(w->stats->snapshot_longest_us))
        STAT_SET(w->stats->snapshot_longest_us, took_us);
    return did;
}

bool snapshot_turn_now(struct worker *w)
{
    struct shard *s = &w->shard;
    struct hold *h = &w->hold;
    bool did = w->snapshot.state != SNAPSHOT_NONE && slice(w);
    if (s->held_wanted) {
        take_down(w);
        did = true;
    }
    uint64_t answered = snapshot_answered(s);
    h->on = snapshot_watches(s) || w->snapshot.state != SNAPSHOT_NONE;
    if (unlikely_(answered != h->answered || s->held_answered != h->held_answered || !h->on)) {
        h->answered = answered;
        h->held_answered = s->held_answered;
        hold_written(w);
    }
    return did;
}
