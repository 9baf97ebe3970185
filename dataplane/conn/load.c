/* Loading, seen from a worker: keys that control has cut out of a file become entries.
 *
 *   load ring: MSG_LOAD_BEGIN, MSG_LOAD_KEYS or MSG_LOAD_PART ..., MSG_LOAD_END -> MSG_LOAD_STATE -> MSG_LOADED (in the ordinary ring)
 *
 * Until MSG_LOADED clients get -LOADING to all that may not run meanwhile. A value that is wrong is told to control with its place in the file, and
 * the rest of the load is dropped. Nothing read from the ring is believed: lengths are checked, values as in RESTORE. Thread: the worker's. */
#include "dataplane/conn/conn_internal.h"
#include "engine/cmd/rdb_object.h"
#include "engine/link/msg.h"

#define RECORDS_A_TURN 8 /* of up to 64 KB: some hundred microseconds */

static void tell(struct worker *w)
{
    struct load_job *l = &w->load;
    if (l->tell_due &&
        ring_send(link_from_worker(w->link, w->id), MSG_LOAD_STATE, &l->state, sizeof(l->state)))
        l->tell_due = false;
}

static void fail(struct worker *w, uint32_t status, uint64_t offset)
{
    struct load_job *l = &w->load;
    if (l->state.status != MSG_LOAD_OK)
        return;
    l->state.status = status;
    l->state.offset = offset;
    l->tell_due = true;
    tell(w);
}

/* `body`: key and value, as in the file. */
static void load_key(struct worker *w, const struct msg_load_key *k, struct span body)
{
    struct shard *s = &w->shard;
    struct rdb_reader r;
    struct rdb_text key;
    struct rdb_object o;
    uint32_t status = MSG_LOAD_OK;
    if (k->db >= LIMIT_DATABASES || !rdb_body_key(&r, body, &s->mem, &key)) {
        fail(w, MSG_LOAD_BAD_VALUE, k->offset);
        return;
    }
    uint64_t hash = shard_hash(s, key.s);
    if (ks_peek(s, k->db, key.s, hash)) {
        status = MSG_LOAD_TWICE;
    } else if (!rdb_load_object(&r, s, k->type, &o)) {
        status = r.out_of_memory ? MSG_LOAD_NO_MEMORY : MSG_LOAD_BAD_VALUE;
    } else {
        struct entry *e = NULL;
        status = MSG_LOAD_BAD_VALUE;
        if (rdb_left(&r) == 0) {
            e = rdb_object_put(&r, s, k->db, key.s, hash, &o,
                               k->expire_ms >= 0 ? k->expire_ms : KS_NO_TTL);
            status = e ? MSG_LOAD_OK : MSG_LOAD_NO_MEMORY;
        }
        if (e)
            ks_set_clock(s, e, k->idle_s, k->freq);
        else
            rdb_object_free(&r, s, &o);
    }
    rdb_text_free(&r, &key);
    if (status != MSG_LOAD_OK)
        fail(w, status, k->offset);
    else
        w->load.state.keys++;
}

static void on_begin(struct worker *w, const struct msg_load *m)
{
    struct load_job *l = &w->load;
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++)
        ks_flush(&w->shard, db, true);
    w->shard.stats.dirty = 0;
    free(l->part);
    *l = (struct load_job){.id = m->id, .state.id = m->id};
    load_set(w, true);
}

static bool on_keys(struct worker *w, struct span p)
{
    struct msg_load_key k;
    while (p.n) {
        if (p.n < sizeof(k))
            return false;
        memcpy(&k, p.p, sizeof(k));
        p = span_of(p.p + sizeof(k), p.n - sizeof(k));
        if (k.bytes > p.n)
            return false;
        if (w->load.state.status == MSG_LOAD_OK)
            load_key(w, &k, span_of(p.p, k.bytes));
        p = span_of(p.p + k.bytes, p.n - k.bytes);
    }
    return true;
}

/* A key that is longer than a record: its parts are put together, head first. */
static bool on_part(struct worker *w, const struct msg_load *m, struct span p)
{
    struct load_job *l = &w->load;
    struct msg_load_key k;
    if (l->part_n + p.n > l->part_cap) {
        size_t cap = (l->part_n + p.n) * 2;
        uint8_t *grown = realloc(l->part, cap);
        if (!grown) {
            fail(w, MSG_LOAD_NO_MEMORY, 0);
            return true;
        }
        l->part = grown;
        l->part_cap = cap;
    }
    memcpy(l->part + l->part_n, p.p, p.n);
    l->part_n += p.n;
    if (!(m->flags & MSG_LOAD_LAST))
        return true;
    bool good = l->part_n >= sizeof(k);
    if (good && l->state.status == MSG_LOAD_OK) {
        memcpy(&k, l->part, sizeof(k));
        load_key(w, &k, span_of(l->part + sizeof(k), l->part_n - sizeof(k)));
    }
    free(l->part);
    l->part = NULL;
    l->part_n = l->part_cap = 0;
    return good;
}

static bool take(struct worker *w, const struct ring_record *rec)
{
    struct msg_load m;
    if (rec->payload.n < sizeof(m))
        return false;
    memcpy(&m, rec->payload.p, sizeof(m));
    struct span rest = span_of(rec->payload.p + sizeof(m), rec->payload.n - sizeof(m));
    if (rec->type == MSG_LOAD_BEGIN) {
        on_begin(w, &m);
        return true;
    }
    if (m.id != w->load.id || !w->load.on)
        return true; /* of a load that was given up */
    switch (rec->type) {
    case MSG_LOAD_KEYS: return on_keys(w, rest);
    case MSG_LOAD_PART: return on_part(w, &m, rest);
    case MSG_LOAD_END:
        w->load.tell_due = true;
        tell(w);
        return true;
    default: return false;
    }
}

bool load_receive(struct worker *w)
{
    if (unlikely_(w->load.tell_due))
        tell(w);
    for (int i = 0; i < RECORDS_A_TURN; i++) {
        struct ring_record rec;
        if (w->lease.holder != LEASE_FREE)
            return i > 0;
        switch (ring_peek(&w->load_ring, &rec)) {
        case RING_EMPTY: return i > 0;
        case RING_CORRUPT:
            STAT_INC(w->stats->link_bad_messages);
            ring_resync(&w->load_ring);
            fail(w, MSG_LOAD_BAD_VALUE, 0);
            return true;
        case RING_RECORD:
            if (!take(w, &rec)) {
                STAT_INC(w->stats->link_bad_messages);
                fail(w, MSG_LOAD_BAD_VALUE, 0);
            }
            ring_release(&w->load_ring);
        }
    }
    return true;
}

void load_set(struct worker *w, bool on)
{
    w->load.on = on;
    w->shard.loading = on;
    STAT_SET(w->stats->loading, on);
    careful_set(w, CAREFUL_LOADING, on);
}
