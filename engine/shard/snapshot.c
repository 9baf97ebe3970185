/* snapshot.c: see snapshot.h. Where in the flow: dataplane/conn/snapshot.c cuts and steps; keyspace*.c touches. */
#include "engine/shard/snapshot.h"

#include <errno.h>

#include "engine/shard/field_timer.h"
#include "engine/shard/object.h"
#include "engine/shard/shard_internal.h"

#define LARGE_PIECES   32         /* a value of more is written in parts */
#define LARGE_STRING   (1u << 20) /* as long a string is */
#define PART_ELEMENTS  64         /* of a part */
#define OUTPUT_KEEP    (1u << 20) /* a larger empty block is given back */
#define POSITION_SHIFT (64 - DICT_POSITION_BITS)

enum db_state { DB_AHEAD, DB_WALKING, DB_DONE };

struct snapshot_db { /* by shard_db.id */
    uint8_t number;  /* of the database at the cut */
    uint8_t state;   /* enum db_state */
    bool flushed;    /* since the cut: the walk is over what follows */
    struct dict *keys, *expires;
};

struct snapshot {
    const struct snapshot_ops *ops;
    struct rdb_writer out; /* of the walk */
    struct rdb_writer
        early; /* of entries that are about to change: follows when `out` stands between keys */
    int32_t out_db, early_db; /* database that was selected last in them; -1: none */
    size_t sent;              /* of out */
    struct snapshot_db db[LIMIT_DATABASES];
    uint32_t id; /* being walked */
    uint64_t cursor;
    struct entry **pending; /* large values that were met; the last one is being written */
    size_t pending_n, pending_cap;
    uint32_t pending_db; /* number */
    bool in_value;       /* `out` ends inside the last of pending */
    bool ended, failed, muted;
    uint64_t keys, keys_early, most_bytes;
    _Alignas(16) uint8_t state[SNAPSHOT_STATE_BYTES];
};

/* ---- writing ---- */

static void fail(struct snapshot *sn)
{
    sn->failed = sn->muted = true;
}

static void note_size(struct snapshot *sn)
{
    uint64_t waits = sn->out.out.len - sn->sent + sn->early.out.len;
    if (waits > sn->most_bytes)
        sn->most_bytes = waits;
    if (sn->out.failed || sn->early.failed || waits > LIMIT_SNAPSHOT_WAIT_BYTES)
        fail(sn);
}

/* Everything before the value. True: the value was short, and is written. */
static bool begin_entry(struct shard *s, struct snapshot *sn, struct rdb_writer *w,
                        int32_t *last_db, uint32_t number, const struct entry *e, void *state)
{
    int64_t idle = -1, freq = -1;
    uint32_t policy = s->config->maxmemory_policy;
    if (*last_db != (int32_t)number)
        rdb_put_select(w, number);
    *last_db = (int32_t)number;
    if (policy_is_lfu(s))
        freq = ks_freq(s, e);
    else if (policy == POLICY_ALLKEYS_LRU || policy == POLICY_VOLATILE_LRU)
        idle = (int64_t)ks_idle_s(s, e);
    rdb_put_key_facts(w, entry_expire_fast(e), idle, freq);
    w->key = entry_key_fast(e);
    bool done = sn->ops->begin(state, w, e);
    w->key.p = NULL;
    sn->keys++;
    return done;
}

static void write_whole(struct shard *s, struct snapshot *sn, struct rdb_writer *w,
                        int32_t *last_db, uint32_t number, const struct entry *e)
{
    _Alignas(16) uint8_t state[SNAPSHOT_STATE_BYTES];
    if (!begin_entry(s, sn, w, last_db, number, e, state))
        while (!sn->ops->some(state, w, SIZE_MAX))
            ;
}

static bool is_large(const struct entry *e)
{
    if (!(e->flags & ENTRY_BLOCK))
        return false;
    struct mem_block b = entry_get_block(e);
    const struct object_ops *ops = object_ops_of(entry_type_fast(e), entry_enc_fast(e));
    return ops ? ops->pieces(&b) > LARGE_PIECES : b.len > LARGE_STRING;
}

static bool pending_push(struct shard *s, struct snapshot *sn, struct entry *e)
{
    if (sn->pending_n == sn->pending_cap) {
        size_t cap = sn->pending_cap ? sn->pending_cap * 2 : 16;
        struct entry **grown = mem_realloc(&s->mem, sn->pending, sn->pending_cap * sizeof(*grown),
                                           cap * sizeof(*grown));
        if (!grown)
            return false;
        sn->pending = grown;
        sn->pending_cap = cap;
    }
    sn->pending[sn->pending_n++] = e;
    e->flags |= ENTRY_PENDING;
    return true;
}

/* ---- the walk ---- */

static void met(void *ctx, void *entry)
{
    struct shard *s = ctx;
    struct snapshot *sn = s->snapshot;
    struct entry *e = entry;
    if (e->flags & ENTRY_SAVED)
        e->flags &= (uint8_t)~ENTRY_SAVED;
    else if (!sn->muted && !(is_large(e) && pending_push(s, sn, e)))
        write_whole(s, sn, &sn->out, &sn->out_db, sn->db[sn->id].number, e);
}

/* A part of the last pending value. */
static void step_pending(struct shard *s, struct snapshot *sn)
{
    struct entry *e = sn->pending[sn->pending_n - 1];
    bool done;
    if (sn->muted)
        done = true;
    else if (!sn->in_value)
        done = begin_entry(s, sn, &sn->out, &sn->out_db, sn->pending_db, e, sn->state);
    else
        done = sn->ops->some(sn->state, &sn->out, PART_ELEMENTS);
    sn->in_value = !done;
    if (done) {
        e->flags &= (uint8_t)~ENTRY_PENDING;
        sn->pending_n--;
    }
}

static void database_done(struct shard *s, struct snapshot *sn, struct snapshot_db *d)
{
    if (d->flushed && d->keys)
        lazy_free_db(s, d->keys, d->expires);
    d->keys = d->expires = NULL;
    sn->cursor = 0;
    sn->id++;
}

static struct dict *walked(struct shard *s, const struct snapshot *sn)
{
    const struct snapshot_db *d = &sn->db[sn->id];
    return d->flushed ? d->keys : s->db[db_by_id(s, sn->id)].keys;
}

static void step_database(struct shard *s, struct snapshot *sn)
{
    struct snapshot_db *d = &sn->db[sn->id];
    if (d->state == DB_DONE) {
        database_done(s, sn, d);
        return;
    }
    struct dict *keys = walked(s, sn);
    d->state = DB_WALKING;
    sn->pending_db = d->number;
    if (keys)
        sn->cursor = dict_scan(keys, sn->cursor, met, s);
    if (!keys || sn->cursor == 0)
        d->state = DB_DONE; /* but for what is pending */
}

bool snapshot_step(struct shard *s)
{
    struct snapshot *sn = s->snapshot;
    if (sn->pending_n) {
        step_pending(s, sn);
    } else if (sn->id < LIMIT_DATABASES) {
        step_database(s, sn);
    } else {
        sn->ended = true;
    }
    note_size(sn);
    return !sn->ended;
}

/* ---- before a change ---- */

/* Is the entry one that the walk will still come to? */
static bool is_ahead(const struct snapshot *sn, uint32_t id, uint64_t hash)
{
    const struct snapshot_db *d = &sn->db[id];
    if (d->flushed || d->state == DB_DONE)
        return false;
    return d->state == DB_AHEAD || hash >> POSITION_SHIFT >= sn->cursor;
}

/* A large value that the walk has met and not written to its end. */
static void finish_pending(struct shard *s, struct snapshot *sn, struct entry *e)
{
    size_t i = sn->pending_n;
    while (i-- > 0 && sn->pending[i] != e) {
    }
    ASSERT(i < sn->pending_n);
    e->flags &= (uint8_t)~ENTRY_PENDING;
    bool current = i == sn->pending_n - 1;
    for (sn->pending_n--; i < sn->pending_n; i++)
        sn->pending[i] = sn->pending[i + 1];
    if (current && sn->in_value) {
        while (!sn->muted && !sn->ops->some(sn->state, &sn->out, SIZE_MAX)) {
        }
        sn->in_value = false;
    } else if (!sn->muted) {
        write_whole(s, sn, &sn->early, &sn->early_db, sn->pending_db, e);
    }
    sn->keys_early++;
    note_size(sn);
}

void snapshot_touch_now(struct shard *s, uint32_t db, uint64_t hash, struct entry *e)
{
    struct snapshot *sn = s->snapshot;
    uint32_t id = s->db[db].id;
    if (e->flags & ENTRY_PENDING) {
        finish_pending(s, sn, e);
        return;
    }
    if (sn->muted || (e->flags & ENTRY_SAVED) || !is_ahead(sn, id, hash))
        return;
    write_whole(s, sn, &sn->early, &sn->early_db, sn->db[id].number, e);
    e->flags |= ENTRY_SAVED;
    sn->keys_early++;
    note_size(sn);
}

void snapshot_born_now(struct shard *s, uint32_t db, uint64_t hash, struct entry *e)
{
    if (!s->snapshot->muted && is_ahead(s->snapshot, s->db[db].id, hash))
        e->flags |= ENTRY_SAVED;
}

bool snapshot_keeps(struct shard *s, uint32_t db, struct dict *keys, struct dict *expires)
{
    struct snapshot *sn = s->snapshot;
    struct snapshot_db *d = &sn->db[s->db[db].id];
    if (d->flushed || !keys || s->db[db].id < sn->id)
        return false;
    d->flushed = true;
    d->keys = keys;
    d->expires = expires;
    return true;
}

/* ---- begin and end ---- */

int snapshot_begin(struct shard *s, const struct snapshot_ops *ops, bool compress,
                   struct snapshot_facts *ret)
{
    if (s->snapshot)
        return -EBUSY;
    struct snapshot *sn = mem_calloc(&s->mem, sizeof(*sn));
    if (!sn)
        return -ENOMEM;
    sn->ops = ops;
    rdb_writer_init(&sn->out, &s->mem, compress);
    rdb_writer_init(&sn->early, &s->mem, compress);
    sn->out.parts = sn->early.parts = true;
    sn->out_db = sn->early_db = -1;
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++) {
        sn->db[s->db[db].id].number = (uint8_t)db;
        ret->keys[db] = ks_count(s, db);
        ret->expires[db] = ks_count_expires(s, db);
    }
    ret->version = field_timers_count(s) ? RDB_VERSION_HASH_TTL : RDB_VERSION_WRITTEN;
    s->snapshot = sn;
    s->touch_ms = -1; /* requests that know their entry ask here first (access_inline.h) */
    return 0;
}

struct span snapshot_output(struct shard *s, bool *ret_whole)
{
    struct snapshot *sn = s->snapshot;
    *ret_whole = !sn->in_value;
    if (sn->muted)
        return span_of("", 0);
    if (sn->sent == sn->out.out.len && !sn->in_value && sn->early.out.len) {
        struct rdb_writer empty = sn->out;
        sn->out = sn->early;
        sn->out_db = sn->early_db;
        sn->early = empty;
        sn->early.out.len = sn->sent = 0;
        sn->early_db = -1;
    }
    return span_of(sn->out.out.p + sn->sent, sn->out.out.len - sn->sent);
}

static void shrink(struct rdb_writer *w)
{
    w->out.len = 0;
    if (w->out.cap > OUTPUT_KEEP)
        rdb_writer_free(w);
}

void snapshot_sent(struct shard *s, size_t n)
{
    struct snapshot *sn = s->snapshot;
    sn->sent += n;
    ASSERT(sn->sent <= sn->out.out.len);
    if (sn->sent != sn->out.out.len)
        return;
    sn->sent = 0;
    shrink(&sn->out);
    if (!sn->in_value)
        sn->out_db = -1; /* what follows may stand behind another worker's keys */
}

bool snapshot_done(const struct shard *s)
{
    const struct snapshot *sn = s->snapshot;
    return sn->ended && (sn->muted || (!sn->early.out.len && sn->sent == sn->out.out.len));
}
bool snapshot_failed(const struct shard *s)
{
    return s->snapshot->failed;
}
void snapshot_give_up(struct shard *s)
{
    s->snapshot->muted = true;
}
bool snapshot_given_up(const struct shard *s)
{
    return s->snapshot->muted;
}

void snapshot_counts(const struct shard *s, uint64_t *ret_keys, uint64_t *ret_early,
                     uint64_t *ret_most_bytes)
{
    *ret_keys = s->snapshot->keys;
    *ret_early = s->snapshot->keys_early;
    *ret_most_bytes = s->snapshot->most_bytes;
}

void snapshot_end(struct shard *s)
{
    struct snapshot *sn = s->snapshot;
    if (!sn)
        return;
    sn->muted = true;
    while (!sn->ended)
        snapshot_step(s);
    rdb_writer_free(&sn->out);
    rdb_writer_free(&sn->early);
    if (sn->pending)
        mem_free(&s->mem, sn->pending, sn->pending_cap * sizeof(*sn->pending));
    s->snapshot = NULL;
    s->touch_ms = -1;
    mem_free(&s->mem, sn, sizeof(*sn));
}
