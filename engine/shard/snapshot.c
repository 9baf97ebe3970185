/* snapshot.c: see snapshot.h. Where in the flow: dataplane/conn/snapshot.c cuts and steps; keyspace*.c touches. */
#include "engine/shard/snapshot.h"

#include <errno.h>

#include "engine/ds/fieldmap.h"
#include "engine/shard/field_timer.h"
#include "engine/shard/object.h"
#include "engine/shard/shard_internal.h"
#include "engine/shard/snapshot_internal.h"

#define LARGE_PIECES  8           /* a value of more is written in parts (blocks of a few KB) */
#define LARGE_MEMBERS 512         /* pieces of a sorted set are its members */
#define LARGE_STRING  (64u << 10) /* as long a string is */
#define PART_ELEMENTS 64          /* of a part */

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
    if (!ops)
        return b.len > LARGE_STRING;
    return ops->pieces(&b) > (entry_enc_fast(e) == ENC_SKIPLIST ? LARGE_MEMBERS : LARGE_PIECES);
}

/* ---- large values ---- */

/* NULL: no memory. */
static struct snapshot_large *large_new(struct shard *s, uint32_t id, uint64_t hash,
                                        struct entry *e)
{
    struct snapshot_large *l = mem_alloc(&s->mem, sizeof(*l));
    if (!l)
        return NULL;
    *l = (struct snapshot_large){.e = e, .hash = hash, .id = (uint8_t)id};
    e->flags |= ENTRY_PENDING;
    return l;
}

static struct snapshot_large *large_find(struct snapshot *sn, const struct entry *e)
{
    struct list *lists[] = {&sn->wanted, &sn->met};
    if (sn->current && sn->current->e == e)
        return sn->current;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_for_each (n, lists[i]) {
            struct snapshot_large *l = list_entry(n, struct snapshot_large, node);
            if (l->e == e)
                return l;
        }
    ASSERT(false);
    return NULL;
}

/* The walk has not come to that place yet, whatever has become of the database. */
static bool place_is_ahead(const struct snapshot *sn, uint32_t id, uint64_t hash)
{
    const struct snapshot_db *d = &sn->db[id];
    return d->state == DB_AHEAD || (d->state == DB_WALKING && hash >> POSITION_SHIFT >= sn->cursor);
}

/* It is written down, or nobody wants it any more. In no list. */
static void large_done(struct shard *s, struct snapshot *sn, struct snapshot_large *l)
{
    struct entry *e = l->e;
    if (l->wanted)
        sn->answered++;
    if (l->gone) {
        s->lazy_bytes -= l->bytes;
        e->flags &= (uint8_t)~ENTRY_PENDING;
        lazy_drop_entry(s, e);
    } else {
        e->flags &= (uint8_t)~ENTRY_PENDING;
        if (place_is_ahead(sn, l->id, l->hash))
            e->flags |= ENTRY_SAVED;
    }
    mem_free(&s->mem, l, sizeof(*l));
}

/* The next one to be written: first what requests wait for, then what only keeps memory. NULL: there is none. */
static struct snapshot_large *large_next(struct snapshot *sn)
{
    struct list *lists[] = {&sn->wanted, &sn->gone, &sn->met};
    if (sn->current)
        return sn->current;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        if (!list_empty(lists[i]))
            return sn->current = list_entry(list_pop_front(lists[i]), struct snapshot_large, node);
    return NULL;
}

/* A part of it. */
static void step_large(struct shard *s, struct snapshot *sn, struct snapshot_large *l)
{
    bool done;
    if (sn->muted)
        done = true;
    else if (!sn->in_value)
        done = begin_entry(s, sn, &sn->out, &sn->out_db, sn->db[l->id].number, l->e, sn->state);
    else
        done = sn->ops->some(sn->state, &sn->out, PART_ELEMENTS);
    sn->in_value = !done;
    if (done) {
        sn->current = NULL;
        large_done(s, sn, l);
    }
}

/* ---- the walk ---- */

static void met(void *ctx, void *entry)
{
    struct shard *s = ctx;
    struct snapshot *sn = s->snapshot;
    struct entry *e = entry;
    struct snapshot_large *l;
    if (e->flags & ENTRY_SAVED) {
        e->flags &= (uint8_t)~ENTRY_SAVED;
    } else if (!sn->muted) {
        if (is_large(e) && (l = large_new(s, sn->id, shard_hash(s, entry_key_fast(e)), e)) != NULL)
            list_push_back(&sn->met, &l->node);
        else
            write_whole(s, sn, &sn->out, &sn->out_db, sn->db[sn->id].number, e);
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
    if (keys)
        sn->cursor = dict_scan(keys, sn->cursor, met, s);
    if (!keys || sn->cursor == 0)
        d->state = DB_DONE; /* but for the large ones */
}

bool snapshot_step(struct shard *s)
{
    struct snapshot *sn = s->snapshot;
    struct snapshot_large *l = large_next(sn);
    if (l) {
        step_large(s, sn, l);
    } else if (sn->id < LIMIT_DATABASES) {
        step_database(s, sn);
    } else {
        sn->ended = true;
    }
    snapshot_note_size(sn);
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

/* It is large, and not written yet. */
static bool is_held(const struct snapshot *sn, uint32_t id, uint64_t hash, const struct entry *e)
{
    if (sn->muted)
        return false;
    return (e->flags & ENTRY_PENDING) ||
           (!(e->flags & ENTRY_SAVED) && is_ahead(sn, id, hash) && is_large(e));
}

/* A large value that changes although nobody waited: the rest of it at once. */
static void finish_large(struct shard *s, struct snapshot *sn, struct entry *e)
{
    struct snapshot_large *l = large_find(sn, e);
    if (l == sn->current) {
        while (sn->in_value && !sn->muted && !sn->ops->some(sn->state, &sn->out, SIZE_MAX)) {
        }
        if (!sn->in_value && !sn->muted)
            write_whole(s, sn, &sn->early, &sn->early_db, sn->db[l->id].number, e);
        sn->in_value = false;
        sn->current = NULL;
    } else {
        list_remove(&l->node);
        if (!sn->muted)
            write_whole(s, sn, &sn->early, &sn->early_db, sn->db[l->id].number, e);
    }
    large_done(s, sn, l);
    sn->keys_early++;
    snapshot_early_end(sn);
}

void snapshot_touch_now(struct shard *s, uint32_t db, uint64_t hash, struct entry *e)
{
    struct snapshot *sn = s->snapshot;
    uint32_t id = s->db[db].id;
    if (e->flags & ENTRY_PENDING) {
        finish_large(s, sn, e);
        return;
    }
    if (sn->muted || (e->flags & ENTRY_SAVED) || !is_ahead(sn, id, hash))
        return;
    write_whole(s, sn, &sn->early, &sn->early_db, sn->db[id].number, e);
    e->flags |= ENTRY_SAVED;
    sn->keys_early++;
    snapshot_early_end(sn);
}

bool snapshot_takes_now(struct shard *s, uint32_t db, uint64_t hash, struct entry *e)
{
    struct snapshot *sn = s->snapshot;
    uint32_t id = s->db[db].id;
    struct snapshot_large *l = NULL;
    if (is_held(sn, id, hash, e)) {
        if (e->flags & ENTRY_PENDING) {
            l = large_find(sn, e);
        } else if ((l = large_new(s, id, hash, e)) != NULL) {
            list_push_back(&sn->gone, &l->node);
        }
    }
    if (!l) {
        snapshot_touch_now(s, db, hash, e);
        return false;
    }
    l->gone = true;
    l->bytes = entry_bytes(e);
    s->lazy_bytes += l->bytes;
    sn->keys_early++;
    return true;
}

bool snapshot_wants_now(struct shard *s, uint32_t db, uint64_t hash, struct entry *e)
{
    struct snapshot *sn = s->snapshot;
    uint32_t id = s->db[db].id;
    struct snapshot_large *l;
    if (!is_held(sn, id, hash, e))
        return false;
    if (!(e->flags & ENTRY_PENDING)) {
        l = large_new(s, id, hash, e);
        if (!l)
            return false;
        list_push_back(&sn->wanted, &l->node);
    } else if ((l = large_find(sn, e)) != sn->current && !l->wanted) {
        list_remove(&l->node);
        list_push_back(&sn->wanted, &l->node);
    }
    l->wanted = true;
    return true;
}

bool snapshot_wants_key(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                        enum snapshot_change change)
{
    struct entry *e = db_find(s, db, key, hash);
    if (!e || shard_expired(s, e))
        return false;
    if (change == CHANGE_READS) {
        if (entry_type_fast(e) != OBJ_HASH || entry_enc_fast(e) != ENC_HASHTABLE ||
            fieldmap_next_due((const struct fieldmap *)object_ptr(e)) >= s->now_ms)
            return false;
    }
    bool waits = change != CHANGE_REPLACES && snapshot_wants(s, db, hash, e);
    return held_wants(s, e) || waits;
}

bool snapshot_awaited(const struct shard *s)
{
    const struct snapshot *sn = s->snapshot;
    return (sn->current && sn->current->wanted) || !list_empty(&sn->wanted);
}

uint64_t snapshot_answered(const struct shard *s)
{
    return s->snapshot ? s->snapshot->answered : 0;
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
    sn->mem = &s->mem;
    rdb_writer_init(&sn->out, &s->mem, compress);
    rdb_writer_init(&sn->early, &s->mem, compress);
    sn->out.parts = sn->early.parts = true;
    sn->out_db = sn->early_db = -1;
    list_init(&sn->wanted);
    list_init(&sn->gone);
    list_init(&sn->met);
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

bool snapshot_done(const struct shard *s)
{
    const struct snapshot *sn = s->snapshot;
    return sn->ended &&
           (sn->muted || (!sn->early.out.len && !sn->blocks && sn->sent == sn->out.out.len));
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
    snapshot_output_free(s);
    s->snapshot = NULL;
    s->touch_ms = -1;
    mem_free(&s->mem, sn, sizeof(*sn));
}
