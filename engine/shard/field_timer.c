/* field_timer.c: see field_timer.h.
 *
 * A binary heap of pointers; a timer knows its place in it. A walk over a hash begins when the time of its timer has come, goes on from
 * turn to turn, and sets the time anew from the least expiry it met: at least WALK_PAGES_PER_MS apart, so that a large hash
 * with a field due in every millisecond is not walked without end. */
#include "engine/shard/field_timer.h"

#include "engine/shard/object.h"
#include "engine/shard/shard_internal.h"
#include "engine/shard/snapshot.h"

#define WALK_PAGES_PER_MS 64
#define HEAP_MIN          16

struct field_timer {
    struct shard *shard;
    struct fieldmap *fm;
    const struct dict
        *keys;    /* of the database it is in: SWAPDB moves the dict, and so the timer with it */
    size_t place; /* in the heap */
    int64_t when_ms;
    uint64_t walk_pos;     /* of a walk that has begun; 0: none has */
    int64_t walk_least_ms; /* what it has met so far */
    size_t key_n;
    uint8_t key[];
};

struct field_timers {
    size_t n, cap;
    struct field_timer *v[];
};

static size_t heap_bytes(size_t cap)
{
    return sizeof(struct field_timers) + cap * sizeof(struct field_timer *);
}

static size_t timer_bytes(const struct field_timer *t)
{
    return sizeof(*t) + t->key_n;
}

/* ---- heap ---- */

static void put_at(struct field_timers *h, size_t i, struct field_timer *t)
{
    h->v[i] = t;
    t->place = i;
}

static void sift_up(struct field_timers *h, struct field_timer *t)
{
    size_t i = t->place;
    for (; i && h->v[(i - 1) / 2]->when_ms > t->when_ms; i = (i - 1) / 2)
        put_at(h, i, h->v[(i - 1) / 2]);
    put_at(h, i, t);
}

static void sift_down(struct field_timers *h, struct field_timer *t)
{
    size_t i = t->place;
    for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && h->v[child + 1]->when_ms < h->v[child]->when_ms)
            child++;
        if (h->v[child]->when_ms >= t->when_ms)
            break;
        put_at(h, i, h->v[child]);
    }
    put_at(h, i, t);
}

static void set_when(struct field_timer *t, int64_t when_ms)
{
    struct field_timers *h = t->shard->field_timers;
    bool earlier = when_ms < t->when_ms;
    t->when_ms = when_ms;
    if (earlier)
        sift_up(h, t);
    else
        sift_down(h, t);
}

static bool heap_reserve(struct shard *s)
{
    struct field_timers *h = s->field_timers;
    if (h && h->n < h->cap)
        return true;
    size_t cap = h ? h->cap * 2 : HEAP_MIN;
    struct field_timers *grown =
        mem_realloc(&s->mem, h, h ? heap_bytes(h->cap) : 0, heap_bytes(cap));
    if (!grown)
        return false;
    if (!h)
        grown->n = 0;
    grown->cap = cap;
    s->field_timers = grown;
    return true;
}

/* Out of the heap; the hash does not know it any more. */
static void timer_unlink(struct field_timer *t)
{
    struct field_timers *h = t->shard->field_timers;
    struct field_timer *last = h->v[--h->n];
    if (last != t) {
        put_at(h, t->place, last);
        sift_up(h, last);
        sift_down(h, last);
    }
    fieldmap_set_timer(t->fm, NULL);
}

static void timer_free(struct field_timer *t)
{
    timer_unlink(t);
    mem_free(&t->shard->mem, t, timer_bytes(t));
}

/* ---- binding ---- */

void field_timer_drop(struct fieldmap *fm)
{
    struct field_timer *t = fieldmap_timer(fm);
    if (t)
        timer_free(t);
}

bool field_timer_bind(struct shard *s, uint32_t db, struct span key, struct fieldmap *fm)
{
    struct field_timer *old = fieldmap_timer(fm);
    if (!fieldmap_ttl_fields(fm)) {
        field_timer_drop(fm);
        return true;
    }
    if (old && old->shard == s && old->keys == s->db[db].keys &&
        span_eq(span_of(old->key, old->key_n), key))
        return true;
    struct field_timer *t = mem_alloc(&s->mem, sizeof(*t) + key.n);
    if (t && !heap_reserve(s)) {
        mem_free(&s->mem, t, sizeof(*t) + key.n);
        t = NULL;
    }
    field_timer_drop(fm); /* what it says is no longer so, in any case */
    if (!t)
        return false;
    *t = (struct field_timer){.shard = s,
                              .fm = fm,
                              .keys = s->db[db].keys,
                              .when_ms = fieldmap_next_due(fm),
                              .key_n = key.n};
    memcpy(t->key, key.p, key.n);
    struct field_timers *h = s->field_timers;
    put_at(h, h->n++, t);
    sift_up(h, t);
    fieldmap_set_timer(fm, t);
    return true;
}

void field_timer_earlier(struct fieldmap *fm, int64_t when_ms)
{
    struct field_timer *t = fieldmap_timer(fm);
    if (!t)
        return;
    if (when_ms < t->walk_least_ms)
        t->walk_least_ms = when_ms;
    if (when_ms < t->when_ms)
        set_when(t, when_ms);
}

/* ---- expiry ---- */

struct expiring {
    struct shard *s;
    uint32_t db;
    struct span key;
};

static void told_expired(void *ctx, const struct fieldmap_item *item)
{
    const struct expiring *x = ctx;
    ks_field_expired(x->s, x->db, x->key, item->field);
}

/* Before fields leave that nobody but their own time removes. */
static void touch_key(struct shard *s, uint32_t db, struct span key)
{
    uint64_t hash = shard_hash(s, key);
    struct entry *e = db_find(s, db, key, hash);
    if (e)
        snapshot_touch(s, db, hash, e);
}

void field_expire_now(struct shard *s, uint32_t db, struct span key, struct fieldmap *fm,
                      uint64_t field_hash, struct span field)
{
    if (unlikely_(snapshot_watches(s)))
        touch_key(s, db, key);
    fieldmap_remove(fm, field_hash, field);
    ks_field_expired(s, db, key, field);
}

void field_timer_purge(struct shard *s, uint32_t db, struct span key, struct fieldmap *fm)
{
    struct expiring x = {s, db, key};
    uint64_t pos = 0;
    int64_t least = INT64_MAX;
    size_t removed = 0;
    if (unlikely_(snapshot_watches(s)))
        touch_key(s, db, key);
    while (!fieldmap_expire(fm, s->now_ms, &pos, SIZE_MAX, &least, &removed, told_expired, &x))
        ;
    fieldmap_set_next_due(fm, least);
}

static bool find_db(const struct shard *s, const struct field_timer *t, uint32_t *ret)
{
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++) {
        if (t->keys && s->db[db].keys == t->keys) {
            *ret = db;
            return true;
        }
    }
    return false;
}

/* The entry of the hash; NULL: it is under no key any more (it waits to be freed), or the key itself has expired, which is seen to. */
static struct entry *find_entry(struct shard *s, uint32_t db, struct fieldmap *fm, struct span key)
{
    uint64_t hash = shard_hash(s, key);
    struct entry *e = db_find(s, db, key, hash);
    if (!e || entry_type_fast(e) != OBJ_HASH || entry_enc_fast(e) != ENC_HASHTABLE ||
        object_ptr(e) != fm)
        return NULL;
    if (!shard_expired(s, e))
        return e;
    field_timer_drop(fm);
    ks_expire_now(s, db, e, hash);
    return NULL;
}

/* The walk has come to the end: when is the next one? */
static void walk_ends(struct field_timer *t, int64_t now_ms, size_t pages)
{
    int64_t least = t->walk_least_ms, apart = now_ms + (int64_t)(pages / WALK_PAGES_PER_MS);
    fieldmap_set_next_due(t->fm, least);
    if (least == INT64_MAX)
        timer_free(t);
    else
        set_when(t, least > apart ? least : apart);
}

/* A slice of the walk over the hash of the first timer. Returns the pages looked at. */
static size_t walk_slice(struct shard *s, struct field_timer *t, size_t budget)
{
    struct fieldmap *fm = t->fm;
    struct span key = span_of(t->key, t->key_n);
    uint32_t db;
    struct entry *e = find_db(s, t, &db) ? find_entry(s, db, fm, key) : NULL;
    if (!e) {
        if (s->field_timers->n && s->field_timers->v[0] == t)
            timer_free(t);
        return 1;
    }
    uint64_t hash = shard_hash(s, key);
    if (shard_claims(s, hash)) {
        set_when(t, s->now_ms);
        return 1;
    }
    if (unlikely_(snapshot_watches(s))) {
        if (snapshot_wants(s, db, hash, e)) { /* it is large: later, when that is written */
            set_when(t, s->now_ms + 1);
            return 1;
        }
        snapshot_touch(s, db, hash, e);
    }
    struct expiring x = {s, db, key};
    size_t removed = 0, pages = fieldmap_pages(fm);
    if (!t->walk_pos)
        t->walk_least_ms = INT64_MAX;
    bool done = fieldmap_expire(fm, s->now_ms, &t->walk_pos, budget, &t->walk_least_ms, &removed,
                                told_expired, &x);
    if (!fieldmap_count(fm)) {
        timer_unlink(t);
        ks_delete(s, db, e, shard_hash(s, key), false);
        ks_key_emptied(s, db, key);
        mem_free(&s->mem, t, timer_bytes(t));
    } else if (done) {
        walk_ends(t, s->now_ms, pages);
    }
    return 1 + (done && pages < budget ? pages : budget) + removed / 16;
}

size_t field_timer_tick(struct shard *s, size_t budget)
{
    struct field_timers *h = s->field_timers;
    size_t work = 0;
    if (likely_(!h) || s->expire_paused || s->loading || !s->config->active_expire)
        return 0;
    while (h->n && h->v[0]->when_ms < s->now_ms && work < budget)
        work += walk_slice(s, h->v[0], budget - work);
    return work;
}

void field_timers_fini(struct shard *s)
{
    struct field_timers *h = s->field_timers;
    if (!h)
        return;
    ASSERT(h->n == 0);
    mem_free(&s->mem, h, heap_bytes(h->cap));
    s->field_timers = NULL;
}

size_t field_timers_count(const struct shard *s)
{
    return s->field_timers ? s->field_timers->n : 0;
}
