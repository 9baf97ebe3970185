/* wait.c: the table of waiters of a shard, and the list of its keys that have changed.
 *
 * Where in the flow: commands add themselves (engine/cmd/block.c); every change of a key comes by (listen.c); when the command that changed
 * it is over, the clients are served (dataplane/conn/after.c -> engine/cmd/block_serve.c). Each step costs the same however many wait: nodes
 * know their places. Memory is the shard's own. Thread: the lease holder's. */
#include "engine/shard/wait.h"

#include "engine/base/assert.h"
#include "engine/shard/shard_internal.h"

#define BUCKETS_FIRST 16

/* Keys of several shards that one command has changed are served in the order of their changes: all are made by one thread, the holder of
 * those shards, and served by it before it does anything else. */
static __thread uint64_t changes;

static struct wait_key **bucket_of(const struct wait_table *t, uint64_t hash)
{
    return &t->bucket[hash & (t->buckets - 1)];
}

static struct wait_key *find(const struct wait_table *t, uint32_t db, struct span name,
                             uint64_t hash)
{
    struct wait_key *k = *bucket_of(t, hash);
    while (k && (k->hash != hash || k->db != db || !span_eq(k->name, name)))
        k = k->next;
    return k;
}

/* ---- growing and shrinking ---- */

/* Without memory it stays as it is. */
static void resize(struct shard *s, struct wait_table *t, uint32_t n)
{
    struct wait_key **old = t->bucket, **fresh = mem_calloc(&s->mem, n * sizeof(*fresh));
    uint32_t had = t->buckets;
    if (!fresh)
        return;
    t->bucket = fresh;
    t->buckets = n;
    for (uint32_t i = 0; i < had; i++) {
        for (struct wait_key *k = old[i], *next; k; k = next) {
            struct wait_key **b = bucket_of(t, k->hash);
            next = k->next;
            k->next = *b;
            *b = k;
        }
    }
    if (old)
        mem_free(&s->mem, old, had * sizeof(*old));
}

static struct wait_table *table(struct shard *s)
{
    struct wait_table *t = s->waits;
    if (t)
        return t;
    t = mem_calloc(&s->mem, sizeof(*t));
    if (!t)
        return NULL;
    list_init(&t->ready);
    resize(s, t, BUCKETS_FIRST);
    if (!t->buckets) {
        mem_free(&s->mem, t, sizeof(*t));
        return NULL;
    }
    s->listen |= LISTEN_WAIT;
    return s->waits = t;
}

static void table_free(struct shard *s)
{
    struct wait_table *t = s->waits;
    mem_free(&s->mem, t->bucket, t->buckets * sizeof(*t->bucket));
    mem_free(&s->mem, t, sizeof(*t));
    s->waits = NULL;
    s->listen &= ~(uint32_t)LISTEN_WAIT;
}

static struct wait_key *key_make(struct shard *s, struct wait_table *t, uint32_t db,
                                 struct span name, uint64_t hash)
{
    struct wait_key *k = mem_alloc(&s->mem, sizeof(*k) + name.n);
    if (!k)
        return NULL;
    *k = (struct wait_key){.hash = hash, .db = db, .name = span_of(k + 1, name.n)};
    memcpy(k + 1, name.p, name.n);
    list_init(&k->ready);
    list_init(&k->groups);
    for (int i = 0; i < WAIT_GROUP; i++)
        list_init(&k->queue[i]);
    if (t->keys >= t->buckets)
        resize(s, t, t->buckets * 2);
    struct wait_key **b = bucket_of(t, hash);
    k->next = *b;
    *b = k;
    t->keys++;
    return k;
}

static void key_free(struct shard *s, struct wait_key *k)
{
    struct wait_table *t = s->waits;
    struct wait_key **at = bucket_of(t, k->hash);
    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
    list_remove(&k->ready);
    mem_free(&s->mem, k, sizeof(*k) + k->name.n);
    if (--t->keys == 0)
        table_free(s);
    else if (t->buckets > BUCKETS_FIRST && t->keys * 8 < t->buckets)
        resize(s, t, t->buckets / 2);
}

static void key_unused(struct shard *s, struct wait_key *k)
{
    if (!k->nodes && !k->pinned)
        key_free(s, k);
}

static struct wait_group *group_make(struct shard *s, struct wait_key *k, struct span name)
{
    list_for_each (n, &k->groups) {
        struct wait_group *g = list_entry(n, struct wait_group, node);
        if (span_eq(g->name, name))
            return g;
    }
    struct wait_group *g = mem_alloc(&s->mem, sizeof(*g) + name.n);
    if (!g)
        return NULL;
    g->name = span_of(g + 1, name.n);
    memcpy(g + 1, name.p, name.n);
    list_init(&g->queue);
    list_push_back(&k->groups, &g->node);
    return g;
}

static void group_unused(struct shard *s, struct wait_group *g)
{
    if (!list_empty(&g->queue))
        return;
    list_remove(&g->node);
    mem_free(&s->mem, g, sizeof(*g) + g->name.n);
}

void wait_fini(struct shard *s)
{
    struct wait_table *t = s->waits;
    if (!t)
        return;
    for (uint32_t i = 0; i < t->buckets; i++) {
        for (struct wait_key *k = t->bucket[i], *next; k; k = next) {
            struct list *n;
            next = k->next;
            while ((n = list_pop_front(&k->groups)) != NULL) {
                struct wait_group *g = list_entry(n, struct wait_group, node);
                mem_free(&s->mem, g, sizeof(*g) + g->name.n);
            }
            mem_free(&s->mem, k, sizeof(*k) + k->name.n);
        }
    }
    table_free(s);
}

/* ---- waiting ---- */

bool wait_add(struct shard *s, uint32_t db, struct span name, uint64_t hash, enum wait_kind kind,
              struct span group, struct wait_node *n)
{
    struct wait_table *t = table(s);
    struct wait_key *k = t ? find(t, db, name, hash) : NULL;
    list_init(&n->node);
    n->shard = s->id;
    if (t && !k)
        k = key_make(s, t, db, name, hash);
    if (!k) {
        if (t && !t->keys)
            table_free(s);
        return false;
    }
    struct list *queue = kind == WAIT_GROUP ? NULL : &k->queue[kind];
    if (!queue) {
        n->group = group_make(s, k, group);
        if (!n->group) {
            key_unused(s, k);
            return false;
        }
        queue = &n->group->queue;
    }
    n->key = k;
    if (!list_empty(queue) && list_entry(queue->prev, struct wait_node, node)->waiter == n->waiter)
        return true;
    list_push_back(queue, &n->node);
    k->nodes++;
    return true;
}

void wait_remove(struct shard *s, struct wait_node *n)
{
    if (!list_linked(&n->node))
        return;
    list_remove(&n->node);
    if (n->group)
        group_unused(s, n->group);
    n->key->nodes--;
    key_unused(s, n->key);
}

void wait_remove_held(struct shard **v, struct waiter *w, bool again)
{
    for (uint32_t i = 0; i < w->nnodes; i++) {
        struct wait_node *n = &w->nodes[i];
        struct shard *s = v[n->shard];
        if (!s || !list_linked(&n->node))
            continue;
        if (again)
            wait_mark(s, n->key);
        wait_remove(s, n);
    }
}

/* ---- changes ---- */

void wait_mark(struct shard *s, struct wait_key *k)
{
    s->after |= AFTER_WAIT;
    if (list_linked(&k->ready))
        return;
    k->order = ++changes;
    list_push_back(&s->waits->ready, &k->ready);
}

/* What changes in a stream without giving anybody anything. A group's position may have been set back: it is looked at when the next entry
 * comes. */
static bool is_nothing_new(enum ks_class cls, const char *event)
{
    return cls == KS_NONE || ((cls & KS_STREAM) && strcmp(event, "xadd") != 0 &&
                              strcmp(event, "xgroup-destroy") != 0);
}

void wait_note(struct shard *s, uint32_t db, struct span name, enum ks_class cls, const char *event)
{
    if (is_nothing_new(cls, event))
        return;
    struct wait_key *k = find(s->waits, db, name, shard_hash(s, name));
    if (k)
        wait_mark(s, k);
}

void wait_note_db(struct shard *s, uint32_t db)
{
    struct wait_table *t = s->waits;
    for (uint32_t i = 0; i < t->buckets; i++)
        for (struct wait_key *k = t->bucket[i]; k; k = k->next)
            if (k->db == db)
                wait_mark(s, k);
}

struct wait_key *wait_ready(struct shard **v, uint32_t n, struct shard **ret)
{
    struct wait_key *first = NULL;
    for (uint32_t i = 0; i < n; i++) {
        if (!v[i] || !v[i]->waits || list_empty(&v[i]->waits->ready))
            continue;
        struct wait_key *k = list_entry(v[i]->waits->ready.next, struct wait_key, ready);
        if (first && first->order <= k->order)
            continue;
        first = k;
        *ret = v[i];
    }
    return first;
}

void wait_take(struct wait_key *k)
{
    list_remove(&k->ready);
    k->pinned = true;
}

void wait_done(struct shard *s, struct wait_key *k)
{
    k->pinned = false;
    key_unused(s, k);
}
