/* keyspace.c: what commands do with keys, whatever their type: look up, delete, expire, flush, swap, walk.
 *
 * Every access sees the shard's now_ms, and an entry whose time has passed is removed by whoever meets it, so expiry is
 * exact. The two dicts of a database hold the same entries: one that moves is replaced in both (entry_moved).
 * Writing of strings: keyspace_string.c. Thread: the lease holder's. */
#include "engine/base/assert.h"
#include "engine/shard/shard_internal.h"
#include "engine/shard/snapshot.h"

struct dict *db_keys(struct shard *s, uint32_t db)
{
    if (unlikely_(!s->db[db].keys))
        s->db[db].keys = dict_create(&s->mem, &s->key_type);
    return s->db[db].keys;
}

struct dict *db_expires(struct shard *s, uint32_t db)
{
    if (unlikely_(!s->db[db].expires))
        s->db[db].expires = dict_create(&s->mem, &s->key_type);
    return s->db[db].expires;
}

void ks_reserve(struct shard *s, uint32_t db, size_t keys, size_t expires)
{
    struct dict *k = db_keys(s, db), *x = expires ? db_expires(s, db) : NULL;
    if (k)
        dict_reserve(k, keys);
    if (x)
        dict_reserve(x, expires);
}

void ks_changed(struct shard *s, uint32_t db, struct span key, enum ks_class cls, const char *event)
{
    if (!(cls & (KS_EXPIRED | KS_EVICTED)))
        s->stats.dirty++;
    if (unlikely_(s->listen))
        ks_tell(s, db, key, cls, event);
}

/* ---- look-up ---- */

/* Out of both dicts; the entry itself stays. True: it is a snapshot's to free. */
static bool unlink_entry(struct shard *s, uint32_t db, struct entry *e, uint64_t hash)
{
    bool taken = snapshot_takes(s, db, hash, e);
    if (entry_expire_fast(e) >= 0)
        dict_remove(s->db[db].expires, hash, e);
    dict_remove(s->db[db].keys, hash, e);
    return taken;
}

void ks_expire_now(struct shard *s, uint32_t db, struct entry *e, uint64_t hash)
{
    bool taken = unlink_entry(s, db, e, hash);
    s->stats.expired_keys++;
    ks_changed(s, db, entry_key_fast(e), KS_EXPIRED, "expired");
    if (!taken)
        lazy_drop_entry(s, e);
}

void ks_evict_now(struct shard *s, uint32_t db, struct entry *e, uint64_t hash)
{
    bool taken = unlink_entry(s, db, e, hash);
    s->stats.evicted_keys++;
    ks_changed(s, db, entry_key_fast(e), KS_EVICTED, "evicted");
    if (!taken)
        lazy_drop_entry(s, e);
}

/* Its time has passed: nobody sees it, and unless the dataset stands still or it is claimed it goes. */
static __attribute__((noinline)) void met_expired(struct shard *s, uint32_t db, struct entry *e,
                                                  uint64_t hash)
{
    if (!shard_stands_still(s) && !shard_claims(s, hash))
        ks_expire_now(s, db, e, hash);
}

static inline __attribute__((always_inline)) struct entry *find(struct shard *s, uint32_t db,
                                                                struct span key, uint64_t hash)
{
    struct entry *e = db_find(s, db, key, hash);
    if (likely_(e != NULL) && unlikely_(shard_expired(s, e))) {
        met_expired(s, db, e, hash);
        return NULL;
    }
    return e;
}

struct entry *ks_peek(struct shard *s, uint32_t db, struct span key, uint64_t hash)
{
    return find(s, db, key, hash);
}

struct entry *ks_read(struct shard *s, uint32_t db, struct span key, uint64_t hash)
{
    struct entry *e = find(s, db, key, hash);
    if (!e) {
        ks_missed(s, db, key);
        return NULL;
    }
    s->stats.hits++;
    clock_touch(s, e);
    return e;
}

struct entry *ks_write(struct shard *s, uint32_t db, struct span key, uint64_t hash)
{
    struct entry *e = find(s, db, key, hash);
    if (e) {
        snapshot_touch(s, db, hash, e);
        clock_touch(s, e);
    }
    return e;
}

/* ---- delete and expire ---- */

bool ks_delete(struct shard *s, uint32_t db, struct entry *e, uint64_t hash, bool lazy)
{
    if (!e)
        return false;
    (void)lazy; /* a large value is freed in slices anyway, so that nobody waits for it */
    if (!unlink_entry(s, db, e, hash))
        lazy_drop_entry(s, e);
    return true;
}

/* Room for an expiry: inside the size class when it is there, else in a larger allocation. `e` is not in `expires` yet
 * and gets there with this. NULL: no memory, nothing changed. */
static struct entry *add_expiry(struct shard *s, uint32_t db, struct entry *e, uint64_t hash)
{
    struct dict *expires = db_expires(s, db);
    if (!expires)
        return NULL;
    if (e->flags & ENTRY_TTL)
        return dict_insert(expires, hash, e) ? e : NULL;
    size_t have = entry_alloc_bytes_of(e);
    size_t used = (size_t)(entry_value(e) - (uint8_t *)e) + entry_value_bytes(e);
    if (used + 8 <= have) {
        if (!dict_insert(expires, hash, e))
            return NULL;
        entry_open_ttl(e);
        return e;
    }
    struct entry *moved =
        mem_alloc(&s->mem, entry_alloc_bytes(entry_key_fast(e).n, true, entry_value_bytes(e)));
    if (!moved)
        return NULL;
    memcpy(moved, e, used);
    entry_open_ttl(moved);
    if (!dict_insert(expires, hash, moved)) {
        entry_free_shell(&s->mem, moved);
        return NULL;
    }
    dict_replace(s->db[db].keys, hash, e, moved);
    entry_free_shell(&s->mem, e);
    return moved;
}

bool ks_set_expire(struct shard *s, uint32_t db, struct entry **e, uint64_t hash, int64_t expire_ms)
{
    bool has = entry_expire_fast(*e) >= 0;
    if (expire_ms == KS_KEEP_TTL)
        return true;
    snapshot_touch(s, db, hash, *e);
    if (expire_ms == KS_NO_TTL) {
        if (has) {
            dict_remove(s->db[db].expires, hash, *e);
            entry_set_expire(*e, -1);
        }
        return true;
    }
    if (!has) {
        struct entry *with = add_expiry(s, db, *e, hash);
        if (!with)
            return false;
        *e = with;
    }
    entry_set_expire(*e, expire_ms > 0 ? expire_ms : 0);
    return true;
}

/* ---- whole databases ---- */

size_t ks_count(const struct shard *s, uint32_t db)
{
    return s->db[db].keys ? dict_count(s->db[db].keys) : 0;
}

size_t ks_count_expires(const struct shard *s, uint32_t db)
{
    return s->db[db].expires ? dict_count(s->db[db].expires) : 0;
}

void ks_flush(struct shard *s, uint32_t db, bool lazy)
{
    struct shard_db *d = &s->db[db];
    track_flushed(s);
    s->stats.dirty += ks_count(s, db);
    held_touch(s, NULL);
    if (unlikely_(s->listen & LISTEN_WATCH))
        watch_tell_db(s, db, db);
    if (unlikely_(s->listen))
        ks_tell_all(s);
    if (unlikely_(s->snapshot != NULL) && snapshot_keeps(s, db, d->keys, d->expires))
        ; /* it frees them when it has written them down */
    else if (lazy && ks_count(s, db))
        lazy_free_db(s, d->keys, d->expires);
    else
        db_free_now(s, d->keys, d->expires);
    *d = (struct shard_db){.id = d->id};
    if (unlikely_(s->listen))
        ks_tell_db(s, db);
}

void ks_swap(struct shard *s, uint32_t a, uint32_t b)
{
    if (unlikely_(s->listen & LISTEN_WATCH))
        watch_tell_db(s, a, b);
    if (unlikely_(s->listen))
        ks_tell_all(s);
    struct shard_db d = s->db[a];
    s->db[a] = s->db[b];
    s->db[b] = d;
    if (unlikely_(s->listen)) {
        ks_tell_db(s, a);
        ks_tell_db(s, b);
    }
}

uint64_t draw_random(void *shard)
{
    return shard_random(shard);
}

#define RANDOM_TRIES 100

struct entry *ks_random(struct shard *s, uint32_t db)
{
    for (int tries = 0; ks_count(s, db); tries++) {
        struct entry *e = dict_random(s->db[db].keys, draw_random, s);
        if (!shard_expired(s, e))
            return e;
        uint64_t hash = shard_hash(s, entry_key_fast(e));
        if (tries >= RANDOM_TRIES && (shard_stands_still(s) || shard_claims(s, hash)))
            return e; /* as in Redis: perhaps all have expired */
        met_expired(s, db, e, hash);
    }
    return NULL;
}

struct scan {
    struct shard *s;
    uint32_t db;
    void (*fn)(void *ctx, struct entry *e);
    void *ctx;
};

static void scan_entry(void *ctx, void *entry)
{
    struct scan *scan = ctx;
    struct entry *e = entry;
    if (shard_expired(scan->s, e))
        met_expired(scan->s, scan->db, e, shard_hash(scan->s, entry_key_fast(e)));
    else
        scan->fn(scan->ctx, e);
}

uint64_t ks_scan(struct shard *s, uint32_t db, uint64_t cursor,
                 void (*fn)(void *ctx, struct entry *e), void *ctx)
{
    struct scan scan = {s, db, fn, ctx};
    return s->db[db].keys ? dict_scan(s->db[db].keys, cursor, scan_entry, &scan) : 0;
}
