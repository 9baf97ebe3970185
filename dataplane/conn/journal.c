/* The journal, seen from a worker: effects become records in its ring of the link; control's writer takes them from there.
 *
 *   command -> struct effects (engine/log) -> journal_close: a record, with the next number of each shard it touched -> ring
 *
 * Everything that a turn did to the worker's own shard is one record; a round of leases is one over all its shards. A record is published before the
 * turn's replies leave: what was answered outlives this process. A ring without room: records wait on the heap, writes are not begun (their clients' windows
 * close), reads go on, and the reply of what lies on the heap waits until the writer has it. With appendfsync always a reply waits in its slot until the
 * writer has said that its shards' numbers are durable.
 * Thread: the worker's; the shards named are in its hands. */
#include "dataplane/conn/journal.h"

#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/cmd/command_table.h"
#include "engine/link/msg.h"

#define RECORD_BYTES (LIMIT_LINK_MSG_BYTES - 64) /* of a record in the ring */
#define MORE_HEAD_BYTES \
    (sizeof(struct msg_journal_more) + LIMIT_WORKERS * sizeof(struct msg_journal_shard)) /* most */
#define MORE_BYTES   (RECORD_BYTES - MORE_HEAD_BYTES) /* at least, of a part behind the first */

/* Of a gate, beside the number: what it is that must have it. Neither bit: the disk. */
#define GATE_WRITTEN (1ull << 63) /* the kernel */
#define GATE_POLICY \
    (1ull << 62) /* what appendfsync says now: who waits is let go when that changes */
#define GATE_READ   (1ull << 61) /* nothing was written: it does not wait for a disk in trouble */
#define GATE_NUMBER (GATE_READ - 1)

struct journal_wait {
    struct list node;
    struct slot *slot;
    uint32_t shard;
    uint64_t gate;
};

struct queued {
    uint32_t type, len;
};

/* Workers of this process with records on the heap. A number that one of them has is missing in the rings, and what depends on it may be in another's. */
static _Alignas(64) uint32_t heaped;

static void look_at_room(struct worker *w);

void journal_init(struct worker *w)
{
    effects_init(&w->journal.fx);
    effects_init(&w->journal.aside);
    list_init(&w->journal.waits);
    list_init(&w->journal.callers);
}

static void note_heap(struct journal_out *j)
{
    bool on = j->queue_at < j->queue_len;
    if (on != j->heaped)
        __atomic_add_fetch(&heaped, on ? 1 : UINT32_MAX, __ATOMIC_RELEASE);
    j->heaped = on;
}

void journal_fini(struct worker *w)
{
    struct list *n;
    w->journal.queue_at = w->journal.queue_len = 0;
    note_heap(&w->journal);
    while ((n = list_pop_front(&w->journal.waits)) != NULL) {
        struct journal_wait *wait = list_entry(n, struct journal_wait, node);
        if (!wait->slot->conn && --wait->slot->parts == 0)
            slot_free(wait->slot);
        free(wait);
    }
    effects_fini(&w->journal.fx);
    effects_fini(&w->journal.aside);
    free(w->journal.queue);
}

void journal_config(struct worker *w)
{
    struct journal_out *j = &w->journal;
    bool on = w->config.journal != JOURNAL_OFF;
    if (on && !j->on && link_journal_ring(w->link, w->id, &j->ring) == 0) {
        j->on = j->busy = true;
        w->shard.effects = &j->fx;
        w->shard.listen |= LISTEN_JOURNAL;
    } else if (!on && j->on) {
        journal_close(w);
        w->shard.listen &= ~(uint32_t)LISTEN_JOURNAL;
        j->on = false;
    }
    j->always = j->on && w->config.journal == JOURNAL_ALWAYS;
    j->begins = j->on && w->config.journal == JOURNAL_BEGINS;
    j->seen = 0; /* who waits may wait for something else now */
    careful_set(w, CAREFUL_DURABLE, j->always);
    STAT_SET(w->stats->journaling, j->on);
}

/* ---- records ---- */

static void queue_put(struct journal_out *j, uint32_t type, const void *head, uint32_t head_n,
                      const void *body, uint32_t n)
{
    struct queued q = {type, head_n + n};
    size_t need = sizeof(q) + q.len;
    if (j->queue_at == j->queue_len)
        j->queue_at = j->queue_len = 0;
    if (j->queue_cap - j->queue_len < need) {
        j->queue_cap = (j->queue_len + need) * 2;
        j->queue = realloc(j->queue, j->queue_cap);
        CHECK(j->queue);
    }
    uint8_t *to = j->queue + j->queue_len;
    memcpy(to, &q, sizeof(q));
    if (head_n)
        memcpy(to + sizeof(q), head, head_n);
    if (n)
        memcpy(to + sizeof(q) + head_n, body, n);
    j->queue_len += need;
}

static void put(struct journal_out *j, uint32_t type, const void *head, uint32_t head_n,
                const void *body, uint32_t n)
{
    uint8_t *to = j->queue_at == j->queue_len ? ring_reserve(&j->ring, head_n + n) : NULL;
    if (!to) {
        queue_put(j, type, head, head_n, body, n);
        return;
    }
    if (head_n)
        memcpy(to, head, head_n);
    if (n) /* else it is only behind others: no body */
        memcpy(to + head_n, body, n);
    ring_publish(&j->ring, type, head_n + n);
}

static void queue_flush(struct journal_out *j)
{
    while (j->queue_at < j->queue_len) {
        struct queued q;
        memcpy(&q, j->queue + j->queue_at, sizeof(q));
        if (!ring_send(&j->ring, q.type, j->queue + j->queue_at + sizeof(q), q.len))
            return;
        j->queue_at += sizeof(q) + q.len;
    }
    note_heap(j);
    if (j->queue_cap > 4 * JOURNAL_CLOSE_BYTES) {
        free(j->queue);
        j->queue = NULL;
        j->queue_cap = 0;
    }
    j->queue_at = j->queue_len = 0;
}

/* Something has been done to my shard that is no record yet. */
static bool is_open(const struct journal_out *j)
{
    return j->fx.len || j->behind;
}

/* The parts of a record behind its first. */
static void put_rest(struct journal_out *j, const struct msg_journal *m,
                     const struct msg_journal_shard *at, size_t offset)
{
    struct {
        struct msg_journal_more m;
        struct msg_journal_shard at[LIMIT_WORKERS];
    } more = {
        .m = {.offset = offset, .bytes = m->bytes, .last_db = m->last_db, .shards = m->shards}};
    size_t at_n = m->shards * sizeof(at[0]);
    memcpy(more.at, at, at_n);
    for (uint32_t head_n = (uint32_t)(sizeof(more.m) + at_n); more.m.offset < m->bytes;) {
        size_t left = m->bytes - more.m.offset, room = RECORD_BYTES - head_n;
        size_t part = left < room ? left : room;
        put(j, MSG_JOURNAL_MORE, &more, head_n, j->fx.p + more.m.offset, (uint32_t)part);
        more.m.offset += part;
    }
}

/* The effects so far are the next record of each of those shards. */
static void make_record(struct worker *w, uint64_t shards, uint64_t cut)
{
    struct journal_out *j = &w->journal;
    struct effects *f = &j->fx;
    struct {
        struct msg_journal m;
        struct msg_journal_shard at[2 * LIMIT_WORKERS];
    } head = {.m = {.bytes = f->len,
                    .cut = cut,
                    .time_ms = w->now_ms,
                    .at_ns = link_journal_clock_ns(),
                    .first_db = f->first_db,
                    .last_db = f->db}};
    for (uint64_t m = shards; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        uint64_t seq = w->all[i]->shard.journal_seq + 1;
        __atomic_store_n(&w->all[i]->shard.journal_seq, seq, __ATOMIC_RELAXED); /* journal_note */
        head.at[head.m.shards++] = (struct msg_journal_shard){.shard = i, .seq = seq};
    }
    for (; j->behind; j->behind &= j->behind - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(j->behind);
        head.at[head.m.shards + head.m.after++] =
            (struct msg_journal_shard){.shard = i, .seq = j->behind_seq[i]};
    }
    uint32_t head_n = (uint32_t)(sizeof(head.m) +
                                 (head.m.shards + head.m.after) * sizeof(struct msg_journal_shard));
    size_t n = f->len, first = RECORD_BYTES - head_n;
    first = n < first ? n : first;
    put(j, MSG_JOURNAL, &head, head_n, f->p, (uint32_t)first);
    if (first < n)
        put_rest(j, &head.m, head.at, first);
    STAT_ADD(w->stats->journal_bytes, n);
    STAT_INC(w->stats->journal_records);
    effects_reset(f);
    if (unlikely_(j->queue_at < j->queue_len)) { /* before anybody gets a shard from me */
        note_heap(j);
        look_at_room(w);
    }
}

void journal_close(struct worker *w)
{
    if (is_open(&w->journal))
        make_record(w, 1ull << w->id, 0);
}

void journal_behind(struct worker *w, uint32_t shard, uint64_t seq)
{
    struct journal_out *j = &w->journal;
    uint64_t bit = 1ull << shard;
    if (!(j->behind & bit) || j->behind_seq[shard] < seq)
        j->behind_seq[shard] = seq;
    j->behind |= bit;
}

void journal_aside_begin(struct worker *w)
{
    w->shard.effects = &w->journal.aside;
}

void journal_aside_end(struct worker *w)
{
    effects_reset(&w->journal.aside);
    w->shard.effects = &w->journal.fx;
}

void journal_lease_begin(struct worker *w, uint64_t shards)
{
    journal_close(w); /* of my own shard, or of what came before */
    for (uint64_t m = shards; m; m &= m - 1)
        w->lease_set.v[__builtin_ctzll(m)]->effects = &w->journal.fx;
}

/* Each job is a record of its own: whether it finds room is known when it is over. */
void journal_lease_next(struct worker *w, uint64_t shards)
{
    if (w->journal.fx.len)
        make_record(w, shards, 0);
}

void journal_lease_end(struct worker *w, uint64_t shards)
{
    journal_lease_next(w, shards);
    for (uint64_t m = shards; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        w->all[i]->shard.effects = &w->all[i]->journal.fx;
    }
}

void journal_publish(struct worker *w)
{
    uint64_t leased = w->lease_asking ? w->lease_round.want : 0;
    if (leased && w->lease_set.v[__builtin_ctzll(leased)])
        journal_lease_next(w, leased);
    else
        journal_close(w);
}

void journal_cut(struct worker *w, uint64_t id)
{
    if (w->journal.fx.len)
        make_record(w, worker_all(w), 0);
    make_record(w, worker_all(w), id);
}

/* ---- room ---- */

/* EXEC may write. A loader's requests are not written down. Where the writer is in trouble nobody waits: writes are refused (MISCONF). */
bool journal_holds(struct worker *w, struct conn *c, const struct staged *s)
{
    if (!w->journal.any_full || w->journal.error || !s->desc ||
        (!(s->desc->flags & CMD_WRITE) && strcmp(s->desc->name, "exec") != 0))
        return false;
    c->paused = true;
    c->journal_waits = true;
    w->journal.held++;
    STAT_INC(w->stats->journal_stalls);
    return true;
}

static void let_go(struct worker *w)
{
    w->journal.held = 0;
    list_for_each (n, &w->conns) {
        struct conn *c = list_entry(n, struct conn, node);
        if (!c->journal_waits)
            continue;
        c->journal_waits = false;
        c->paused = false;
        conn_mark(c);
    }
}

/* Nothing expires by itself while there is no room: nobody would wait with it. */
static void stand_still(struct worker *w)
{
    struct journal_out *j = &w->journal;
    bool full = j->full;
    if (j->still == full || w->lease.holder != LEASE_FREE)
        return;
    j->still = full;
    w->shard.still_until_ms = full ? INT64_MAX : w->pause.until_ms;
}

/* Full from a half on, so that what has begun still finds room (a batch, and what was there before it); and again room below a quarter. */
static void look_at_room(struct worker *w)
{
    struct journal_out *j = &w->journal;
    uint64_t backlog = ring_backlog(&j->ring);
    bool full = j->queue_at < j->queue_len ||
                backlog > (j->full ? LIMIT_LINK_JOURNAL_BYTES / 4 : LIMIT_LINK_JOURNAL_BYTES / 2);
    if (full != j->full) {
        __atomic_store_n(&j->full, full, __ATOMIC_RELAXED);
        STAT_SET(w->stats->journal_full, full);
    }
    if (full || j->still) {
        STAT_SET(w->stats->journal_queue_bytes, j->queue_len - j->queue_at);
        stand_still(w);
    }
    bool any = full;
    for (uint32_t i = 0; i < w->count; i++)
        any |= __atomic_load_n(&w->all[i]->journal.full, __ATOMIC_RELAXED);
    if (any == j->any_full)
        return;
    j->any_full = any;
    careful_set(w, CAREFUL_JOURNAL, any || j->error);
    if (!any && j->held)
        let_go(w);
}

void journal_look_at_others(struct worker *w)
{
    if (unlikely_(__atomic_load_n(&heaped, __ATOMIC_ACQUIRE)) && w->journal.on)
        look_at_room(w);
}

void journal_much_begin(struct worker *w)
{
    if (w->lease.holder == LEASE_FREE)
        journal_close(w);
}

void journal_much_end(struct worker *w)
{
    journal_much_begin(w);
    look_at_room(w);
}

static void look_at_error(struct worker *w)
{
    struct journal_out *j = &w->journal;
    uint8_t error = (uint8_t)__atomic_load_n(&link_journal(w->link)->error, __ATOMIC_RELAXED);
    if (error == j->error)
        return;
    j->error = error;
    j->seen = 0; /* who reads need not wait any more */
    careful_set(w, CAREFUL_JOURNAL, j->any_full || error);
    if (error && j->held)
        let_go(w);
}

/* ---- waiting for the disk, or for the writer ---- */

static uint64_t durable(const struct worker *w, uint32_t shard)
{
    return __atomic_load_n(&link_journal(w->link)->durable[shard], __ATOMIC_ACQUIRE);
}

static uint64_t written(const struct worker *w, uint32_t shard)
{
    return __atomic_load_n(&link_journal(w->link)->written[shard], __ATOMIC_ACQUIRE);
}

bool journal_pending(const struct worker *w, uint32_t shard, uint64_t gate)
{
    bool disk = gate & GATE_POLICY ? w->journal.always : !(gate & GATE_WRITTEN);
    if (unlikely_(w->journal.error) && (gate & GATE_READ))
        return false;
    return (gate & GATE_NUMBER) > (disk ? durable(w, shard) : written(w, shard));
}

/* What was done so far finds room in the ring, or is there already. Each part has a head, and one more may be lost to the ring's end. */
static bool fits(const struct journal_out *j)
{
    size_t parts = j->fx.len / MORE_BYTES + 2;
    size_t heads = (2 * LIMIT_WORKERS + 4) * sizeof(struct msg_journal_shard);
    return j->queue_at == j->queue_len && heads + j->fx.len + parts * (MORE_HEAD_BYTES + 128) +
                                                  RECORD_BYTES + ring_backlog(&j->ring) <
                                              LIMIT_LINK_JOURNAL_BYTES;
}

uint64_t journal_gate(struct worker *w, uint32_t shard, struct journal_need need)
{
    static const uint64_t bits[] = {
        [DURABILITY_DEFAULT] = GATE_POLICY, [DURABILITY_EVERYSEC] = GATE_WRITTEN};
    const struct journal_out *j = &w->journal;
    const struct shard *s = &w->all[shard]->shard;
    if (!j->on)
        return 0;
    bool disk =
        need.who == DURABILITY_DEFAULT ? j->always : need.who == DURABILITY_ALWAYS && !j->begins;
    if (disk ? !need.wrote && !w->config.durable_reads
             : !need.wrote || (fits(j) && !__atomic_load_n(&heaped, __ATOMIC_ACQUIRE)))
        return 0;
    bool open = s->effects->len || (shard == w->id && j->behind);
    uint64_t seq = s->journal_seq + open; /* the open record's number to be */
    uint64_t gate = seq | (disk || need.who == DURABILITY_DEFAULT ? bits[need.who] : GATE_WRITTEN);
    gate |= need.wrote ? 0 : GATE_READ;
    return journal_pending(w, shard, gate) ? gate : 0;
}

static bool asks(const struct journal_wait *wait)
{
    return !(wait->gate & (GATE_WRITTEN | GATE_POLICY));
}

void journal_wait(struct worker *w, struct slot *slot, uint32_t shard, uint64_t gate)
{
    struct journal_wait *wait = malloc(sizeof(*wait));
    CHECK(wait);
    *wait = (struct journal_wait){.slot = slot, .shard = shard, .gate = gate};
    list_push_back(&w->journal.waits, &wait->node);
    w->journal.asks += asks(wait);
    w->journal.seen = 0;
    w->journal.busy = true;
    STAT_INC(w->stats->journal_waits);
}

static void wait_over(struct worker *w, struct journal_wait *wait)
{
    struct slot *slot = wait->slot;
    w->journal.asks -= asks(wait);
    list_remove(&wait->node);
    free(wait);
    if (--slot->parts == 0)
        slot_ready(slot);
}

void journal_ready(struct worker *w, struct slot *slot, uint64_t shards, struct journal_need need)
{
    slot->parts = 1;
    for (uint64_t m = w->journal.on ? shards : 0; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        uint64_t gate = journal_gate(w, i, need);
        if (gate) {
            slot->parts++;
            journal_wait(w, slot, i, gate);
        }
    }
    if (--slot->parts == 0)
        slot_ready(slot);
}

/* What another worker does at the same time may be in it or not. */
void journal_note(const struct worker *w, uint64_t seq[])
{
    for (uint32_t i = 0; i < w->count; i++)
        seq[i] = __atomic_load_n(&w->all[i]->shard.journal_seq, __ATOMIC_RELAXED);
    seq[w->id] += is_open(&w->journal);
}

bool journal_on_disk(const struct worker *w, const uint64_t seq[])
{
    if (!w->journal.on || w->journal.begins)
        return false;
    for (uint32_t i = 0; i < w->count; i++)
        if (seq[i] > durable(w, i))
            return false;
    return true;
}

static void look_at_waits(struct worker *w)
{
    uint64_t sum = 1;
    for (uint32_t i = 0; i < w->count; i++)
        sum += durable(w, i) + written(w, i);
    if (sum == w->journal.seen)
        return;
    w->journal.seen = sum;
    list_for_each_safe(n, next, &w->journal.waits)
    {
        struct journal_wait *wait = list_entry(n, struct journal_wait, node);
        if (!journal_pending(w, wait->shard, wait->gate))
            wait_over(w, wait);
    }
    block_disk(w);
    out_close(w);
}

/* Clients wait for the disk, and appendfsync would let them: the writer is told, once for all of them. */
static void ask_for_disk(struct worker *w)
{
    struct link_journal *page = link_journal(w->link);
    if (__atomic_load_n(&page->asked, __ATOMIC_RELAXED))
        return;
    __atomic_store_n(&page->asked, 1, __ATOMIC_RELAXED);
    link_journal_wake(w->link);
}

/* The log was turned off: nobody waits for it any more; what was done before still goes into the ring. */
static void wind_up(struct worker *w)
{
    struct journal_out *j = &w->journal;
    queue_flush(j);
    list_for_each_safe(n, next, &j->waits)
    {
        wait_over(w, list_entry(n, struct journal_wait, node));
    }
    block_disk(w);
    out_close(w);
    __atomic_store_n(&j->full, false, __ATOMIC_RELAXED);
    STAT_SET(w->stats->journal_full, 0);
    STAT_SET(w->stats->journal_queue_bytes, 0);
    stand_still(w);
    j->any_full = false;
    j->error = 0;
    careful_set(w, CAREFUL_JOURNAL, false);
    if (j->held)
        let_go(w);
    j->busy = j->queue_at < j->queue_len || j->still;
}

void journal_turn_end_now(struct worker *w)
{
    struct journal_out *j = &w->journal;
    uint64_t before = j->ring.pos;
    if (!j->on) {
        wind_up(w);
        return;
    }
    if (w->lease.holder == LEASE_FREE)
        journal_close(w);
    if (j->queue_at < j->queue_len)
        queue_flush(j);
    if (j->ring.pos != before || j->any_full || j->still || w->count > 1)
        look_at_room(w);
    look_at_error(w);
    if (j->ring.pos != before && (j->always || j->asks || !list_empty(&j->waits) ||
                                  ring_backlog(&j->ring) > LIMIT_LINK_JOURNAL_BYTES / 8))
        link_journal_wake(w->link);
    if (!list_empty(&j->waits) || !list_empty(&j->callers))
        look_at_waits(w);
    if (j->asks && !j->always)
        ask_for_disk(w);
}
