/* watch.c: the records of watched keys, a table of chains by the hash of the key.
 *
 * It is looked at once for each change while anybody watches anything in the shard; LISTEN_WATCH is set exactly then. Thread: the lease
 * holder's. */
#include "engine/shard/watch.h"

#include "engine/base/assert.h"
#include "engine/shard/shard_internal.h"

#define BUCKETS_FIRST 16

struct watch {
    struct watch *next;
    uint64_t hash, version;
    uint32_t db, refs;
    size_t key_len;
    uint8_t key[];
};

static struct span key_of(const struct watch *w)
{
    return span_of(w->key, w->key_len);
}

static struct watch **find(const struct watch_table *t, uint32_t db, struct span key, uint64_t hash)
{
    struct watch **at = &t->buckets[hash & (t->cap - 1)];
    while (*at && ((*at)->hash != hash || (*at)->db != db || !span_eq(key_of(*at), key)))
        at = &(*at)->next;
    return at;
}

/* Twice as many buckets. Without memory the chains grow longer; without any bucket nothing can be watched. */
static bool grow(struct shard *s)
{
    struct watch_table *t = &s->watch;
    uint32_t cap = t->cap ? t->cap * 2 : BUCKETS_FIRST;
    struct watch **fresh = mem_calloc(&s->mem, cap * sizeof(*fresh));
    if (!fresh)
        return t->cap != 0;
    for (uint32_t i = 0; i < t->cap; i++) {
        for (struct watch *w = t->buckets[i], *next; w; w = next) {
            next = w->next;
            w->next = fresh[w->hash & (cap - 1)];
            fresh[w->hash & (cap - 1)] = w;
        }
    }
    if (t->cap)
        mem_free(&s->mem, t->buckets, t->cap * sizeof(*fresh));
    t->buckets = fresh;
    t->cap = cap;
    return true;
}

bool watch_take(struct shard *s, uint32_t db, struct span key, struct watch_ref *ret)
{
    struct watch_table *t = &s->watch;
    uint64_t hash = shard_hash(s, key);
    ks_peek(s, db, key, hash);
    if (t->count >= t->cap && !grow(s))
        return false;
    struct watch **at = find(t, db, key, hash), *w = *at;
    if (!w) {
        w = mem_alloc(&s->mem, sizeof(*w) + key.n);
        if (!w)
            return false;
        *w = (struct watch){.hash = hash, .db = db, .version = ++t->clock, .key_len = key.n};
        if (key.n)
            memcpy(w->key, key.p, key.n);
        *at = w;
        t->count++;
        s->listen |= LISTEN_WATCH;
    }
    w->refs++;
    *ret = (struct watch_ref){w, w->version};
    return true;
}

bool watch_changed(struct shard *s, struct watch_ref r)
{
    ks_peek(s, r.watch->db, key_of(r.watch), r.watch->hash);
    return r.watch->version != r.version;
}

void watch_release(struct shard *s, struct watch *w)
{
    struct watch_table *t = &s->watch;
    ASSERT(w->refs > 0);
    if (--w->refs)
        return;
    struct watch **at = find(t, w->db, key_of(w), w->hash);
    CHECK(*at == w);
    *at = w->next;
    mem_free(&s->mem, w, sizeof(*w) + w->key_len);
    if (--t->count)
        return;
    mem_free(&s->mem, t->buckets, t->cap * sizeof(struct watch *));
    t->buckets = NULL;
    t->cap = 0;
    s->listen &= ~(uint32_t)LISTEN_WATCH;
}

void watch_tell(struct shard *s, uint32_t db, struct span key)
{
    struct watch *w = *find(&s->watch, db, key, shard_hash(s, key));
    if (w)
        w->version = ++s->watch.clock;
}

void watch_tell_db(struct shard *s, uint32_t a, uint32_t b)
{
    struct watch_table *t = &s->watch;
    for (uint32_t i = 0; i < t->cap; i++) {
        for (struct watch *w = t->buckets[i]; w; w = w->next) {
            if (w->db != a && w->db != b)
                continue;
            bool here = ks_peek(s, a, key_of(w), w->hash) != NULL;
            if (here || (a != b && ks_peek(s, b, key_of(w), w->hash)))
                w->version = ++t->clock;
        }
    }
}

void watch_fini(struct shard *s)
{
    struct watch_table *t = &s->watch;
    for (uint32_t i = 0; i < t->cap; i++) {
        for (struct watch *w = t->buckets[i], *next; w; w = next) {
            next = w->next;
            mem_free(&s->mem, w, sizeof(*w) + w->key_len);
        }
    }
    if (t->cap)
        mem_free(&s->mem, t->buckets, t->cap * sizeof(struct watch *));
    *t = (struct watch_table){0};
    s->listen &= ~(uint32_t)LISTEN_WATCH;
}
