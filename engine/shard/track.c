/* track: see track.h. Thread: the holder's of the shard. Memory is the process's, not the shard's: it is clients' state, and maxmemory is no reason
 * to evict data for it. */
#include "engine/shard/track.h"

#include <stdlib.h>

#include "engine/shard/shard_internal.h"

#define FIRST_CAP 64
#define FEW_IDS   16

static struct track_key **find(const struct track_table *t, struct span key, uint64_t hash)
{
    struct track_key **at = &t->bucket[hash & (t->cap - 1)];
    while (*at && !((*at)->hash == hash && span_eq(span_of((*at)->bytes, (*at)->len), key)))
        at = &(*at)->next;
    return at;
}

/* False: no memory for a first table; one that cannot grow goes on with longer chains. */
static bool grow(struct track_table *t)
{
    if (t->count < t->cap)
        return true;
    size_t cap = t->cap ? t->cap * 2 : FIRST_CAP;
    struct track_key **to = calloc(cap, sizeof(struct track_key *));
    if (!to)
        return t->cap != 0;
    for (size_t i = 0; i < t->cap; i++) {
        for (struct track_key *k = t->bucket[i], *next; k; k = next) {
            next = k->next;
            k->next = to[k->hash & (cap - 1)];
            to[k->hash & (cap - 1)] = k;
        }
    }
    free(t->bucket);
    t->bucket = to;
    t->cap = cap;
    return true;
}

/* Out of the table, to those that are told. */
static void take_out(struct shard *s, struct track_key **at, bool broadcast)
{
    struct track_table *t = &s->track;
    struct track_key *k = *at;
    *at = k->next;
    t->count--;
    t->items -= k->n;
    k->next = NULL;
    k->broadcast = broadcast;
    k->at = notify_step();
    if (!t->changed)
        t->changed_end = &t->changed;
    *t->changed_end = k;
    t->changed_end = &k->next;
    s->after |= AFTER_TRACK;
}

/* Over tracking-table-max-keys: a key that is as good as any other is given up, its clients told. */
static void keep_to_limit(struct shard *s)
{
    struct track_table *t = &s->track;
    uint64_t max = s->config->tracking_max_keys;
    uint64_t share = (max + s->count - 1) / s->count;
    while (max && t->count > share) {
        t->hand = (t->hand + shard_random(s) % 16) & (t->cap - 1);
        while (!t->bucket[t->hand])
            t->hand = (t->hand + 1) & (t->cap - 1);
        take_out(s, &t->bucket[t->hand], false);
    }
}

static struct track_key *key_make(struct span key, uint64_t hash)
{
    struct track_key *k = malloc(sizeof(*k) + key.n);
    if (!k)
        return NULL;
    *k = (struct track_key){.hash = hash, .len = (uint32_t)key.n};
    if (key.n)
        memcpy(k->bytes, key.p, key.n);
    return k;
}

/* Where the position of an id stands in the index, or would. */
static uint32_t *index_at(const struct track_key *k, uint64_t client)
{
    uint32_t mask = 2 * k->cap - 1;
    uint32_t i = (uint32_t)(client * 0x9e3779b97f4a7c15 >> 32) & mask;
    while (k->index[i] && k->id[k->index[i] - 1] != client)
        i = (i + 1) & mask;
    return &k->index[i];
}

static bool has_id(const struct track_key *k, uint64_t client)
{
    if (k->index)
        return *index_at(k, client) != 0;
    for (uint32_t i = k->n; i > 0; i--) /* who reads it again has read it lately */
        if (k->id[i - 1] == client)
            return true;
    return false;
}

/* Twice as many ids. Without memory for an index there is none. */
static bool more_ids(struct track_key *k)
{
    uint32_t cap = k->cap ? k->cap * 2 : 2;
    uint64_t *id = realloc(k->id, cap * sizeof(*id));
    if (!id)
        return false;
    k->id = id;
    k->cap = cap;
    free(k->index);
    k->index = cap > FEW_IDS ? calloc(2 * (size_t)cap, sizeof(*k->index)) : NULL;
    for (uint32_t i = 0; k->index && i < k->n; i++)
        *index_at(k, id[i]) = i + 1;
    return true;
}

static bool add_id(struct track_key *k, uint64_t client)
{
    if (k->n == k->cap && !more_ids(k))
        return false;
    k->id[k->n++] = client;
    if (k->index)
        *index_at(k, client) = k->n;
    return true;
}

void track_remember(struct shard *s, struct span key, uint64_t client)
{
    struct track_table *t = &s->track;
    uint64_t hash = shard_hash(s, key);
    if (!grow(t))
        return;
    struct track_key **at = find(t, key, hash), *k = *at;
    if (!k) {
        k = key_make(key, hash);
        if (!k)
            return;
        *at = k;
        t->count++;
        s->listen |= LISTEN_TRACK;
    }
    if (has_id(k, client) || !add_id(k, client))
        return;
    t->items++;
    keep_to_limit(s);
}

void track_changed(struct shard *s, struct span key)
{
    struct track_table *t = &s->track;
    uint64_t hash = shard_hash(s, key);
    bool broadcast = s->listen & LISTEN_BROADCAST;
    struct track_key **at = t->count ? find(t, key, hash) : NULL;
    if (at && *at) {
        take_out(s, at, broadcast);
    } else if (broadcast) {
        struct track_key *k = key_make(key, hash);
        if (!k)
            return;
        t->count++; /* as if it had been there */
        take_out(s, &k, true);
    }
}

void track_flushed(struct shard *s)
{
    struct track_table *t = &s->track;
    for (size_t i = 0; i < t->cap; i++) {
        for (struct track_key *k = t->bucket[i], *next; k; k = next) {
            next = k->next;
            track_free(k);
        }
        t->bucket[i] = NULL;
    }
    t->count = 0;
    t->items = 0;
    t->flushed = true;
    s->after |= AFTER_TRACK;
}

struct track_key *track_take(struct shard *s, bool *flushed)
{
    struct track_table *t = &s->track;
    struct track_key *all = t->changed;
    *flushed = t->flushed;
    t->changed = NULL;
    t->flushed = false;
    if (t->count == 0)
        s->listen &= ~(uint32_t)LISTEN_TRACK;
    return all;
}

struct track_key *track_take_first(struct shard *s)
{
    struct track_key *k = s->track.changed;
    s->track.changed = k->next;
    return k;
}

void track_free(struct track_key *k)
{
    free(k->id);
    free(k->index);
    free(k);
}

void track_fini(struct shard *s)
{
    bool flushed;
    track_flushed(s);
    for (struct track_key *k = track_take(s, &flushed), *next; k; k = next) {
        next = k->next;
        track_free(k);
    }
    free(s->track.bucket);
    s->track = (struct track_table){0};
}
