/* Loading, seen from a worker: keys that control has cut out of a file become entries.
 *
 *   load ring: MSG_LOAD_BEGIN, MSG_LOAD_SIZES, MSG_LOAD_KEYS or MSG_LOAD_PART ..., MSG_LOAD_END -> MSG_LOAD_STATE -> MSG_LOADED (in the ordinary ring)
 *
 * Until MSG_LOADED clients get -LOADING to all that may not run meanwhile. A value that is wrong is told to control with its place in the file, and
 * the rest of the load is dropped. Nothing read from the ring is believed: lengths are checked, values as in RESTORE. Thread: the worker's. */
#include "dataplane/conn/conn_internal.h"
#include "engine/cmd/rdb_object.h"
#include "engine/link/msg.h"

#define RECORDS_A_TURN 2 /* of up to 48 KB: some hundred microseconds */
#define KEYS_AT_ONCE   16
#define SCRATCH_BYTES  4096 /* for a compressed string */

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

/* A key whose place in the dict has been asked for. It does not move: `key` may point into itself. */
struct coming {
    struct msg_load_key k;
    struct msg_load_facts facts;
    struct rdb_reader r;
    struct rdb_text key;
    uint64_t hash;
};

/* `p`: facts, key and value. False: no key. */
static bool begin_key(struct worker *w, struct coming *c, struct span p)
{
    c->facts = (struct msg_load_facts){-1, -1, -1};
    if (c->k.flags & MSG_LOAD_FACTS) {
        if (p.n < sizeof(c->facts))
            return false;
        memcpy(&c->facts, p.p, sizeof(c->facts));
        p = span_of(p.p + sizeof(c->facts), p.n - sizeof(c->facts));
    }
    if (c->k.db >= LIMIT_DATABASES || !rdb_body_key(&c->r, p, &w->shard.mem, &c->key))
        return false;
    c->hash = shard_hash(&w->shard, c->key.s);
    ks_prefetch(&w->shard, c->k.db, c->hash);
    return true;
}

static uint32_t make_value(struct worker *w, struct coming *c)
{
    struct shard *s = &w->shard;
    struct rdb_object o;
    uint8_t scratch[SCRATCH_BYTES];
    if (ks_peek(s, c->k.db, c->key.s, c->hash))
        return MSG_LOAD_TWICE;
    c->r.scratch = scratch;
    c->r.scratch_n = sizeof(scratch);
    if (!rdb_load_object(&c->r, s, c->k.type, &o))
        return c->r.out_of_memory ? MSG_LOAD_NO_MEMORY : MSG_LOAD_BAD_VALUE;
    struct entry *e = NULL;
    if (rdb_left(&c->r) == 0)
        e = rdb_object_add(&c->r, s, c->k.db, c->key.s, c->hash, &o,
                           c->facts.expire_ms >= 0 ? c->facts.expire_ms : KS_NO_TTL);
    if (!e) {
        rdb_object_free(&c->r, s, &o);
        return rdb_left(&c->r) ? MSG_LOAD_BAD_VALUE : MSG_LOAD_NO_MEMORY;
    }
    if (c->k.flags)
        ks_set_clock(s, e, c->facts.idle_s, c->facts.freq);
    return MSG_LOAD_OK;
}

static void end_key(struct worker *w, struct coming *c, uint64_t offset)
{
    uint32_t status = w->load.state.status == MSG_LOAD_OK ? make_value(w, c) : w->load.state.status;
    rdb_text_free(&c->r, &c->key);
    if (status != MSG_LOAD_OK)
        fail(w, status, offset + c->k.after);
    else
        w->load.state.keys++;
}

/* What a load needs for itself. */
static void give_back(struct worker *w)
{
    struct load_job *l = &w->load;
    free(l->part);
    l->part = NULL;
    l->part_n = l->part_cap = 0;
}

static void on_begin(struct worker *w, const struct msg_load *m)
{
    struct load_job *l = &w->load;
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++)
        ks_flush(&w->shard, db, true);
    w->shard.stats.dirty = 0;
    give_back(w);
    *l = (struct load_job){.id = m->id, .state.id = m->id};
    load_set(w, true);
}

/* Keys are read, their places in the dict asked for, then the values made: cache misses of many keys overlap. */
static bool on_keys(struct worker *w, const struct msg_load *m, struct span p)
{
    struct coming coming[KEYS_AT_ONCE];
    bool good = true;
    while (p.n && good && w->load.state.status == MSG_LOAD_OK) {
        uint32_t n = 0;
        for (; n < KEYS_AT_ONCE && p.n && good; n++) {
            struct coming *c = &coming[n];
            good = p.n >= sizeof(c->k);
            if (!good)
                break;
            memcpy(&c->k, p.p, sizeof(c->k));
            p = span_of(p.p + sizeof(c->k), p.n - sizeof(c->k));
            size_t bytes = c->k.bytes + (c->k.flags & MSG_LOAD_FACTS ? sizeof(c->facts) : 0);
            good = bytes <= p.n;
            if (!good)
                break;
            if (!begin_key(w, c, span_of(p.p, bytes))) {
                fail(w, MSG_LOAD_BAD_VALUE, m->offset + c->k.after);
                break;
            }
            p = span_of(p.p + bytes, p.n - bytes);
        }
        for (uint32_t i = 0; i < n; i++)
            end_key(w, &coming[i], m->offset);
    }
    return good;
}

/* A key that is longer than a record: its parts are put together, head first. */
static bool on_part(struct worker *w, const struct msg_load *m, struct span p)
{
    struct load_job *l = &w->load;
    struct coming c;
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
    bool good = l->part_n >= sizeof(c.k);
    if (good && l->state.status == MSG_LOAD_OK) {
        memcpy(&c.k, l->part, sizeof(c.k));
        if (begin_key(w, &c, span_of(l->part + sizeof(c.k), l->part_n - sizeof(c.k))))
            end_key(w, &c, m->offset);
        else
            fail(w, MSG_LOAD_BAD_VALUE, m->offset);
    }
    l->part_n = 0;
    return good;
}

static bool on_sizes(struct worker *w, struct span p)
{
    struct msg_load_sizes m;
    if (p.n != sizeof(m))
        return false;
    memcpy(&m, p.p, sizeof(m));
    if (m.id == w->load.id && w->load.on && m.db < LIMIT_DATABASES)
        ks_reserve(&w->shard, m.db, m.keys, m.expires);
    return true;
}

static bool take(struct worker *w, const struct ring_record *rec)
{
    struct msg_load m;
    if (rec->type == MSG_LOAD_SIZES)
        return on_sizes(w, rec->payload);
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
    case MSG_LOAD_KEYS: return on_keys(w, &m, rest);
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
    mem_expect(&w->shard.mem, on);
    if (!on)
        give_back(w);
    w->load.on = on;
    w->shard.loading = on;
    STAT_SET(w->stats->loading, on);
    careful_set(w, CAREFUL_LOADING, on);
}
