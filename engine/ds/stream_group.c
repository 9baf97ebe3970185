/* stream_group.c: consumer groups, consumers, and entries that wait for an acknowledgement. Picture: stream_group.h.
 *
 * Where in the flow: XGROUP, XREADGROUP, XACK, XCLAIM and their kin -> here -> idtree.c. The rules of entries_read are those of Redis 7.0.
 * Thread: the lease holder's. */
#include "engine/ds/stream_group.h"

#include <string.h>

#include "engine/ds/stream_internal.h"

#define DETACH_FROM 16 /* leaves of a consumer, from which on they are left to be freed later */

/* ---- rows of pointers in the order of names ---- */

/* Both structures end with their name; these find it. */
static struct span group_name(const void *p)
{
    return ((const struct stream_group *)p)->name;
}
static struct span consumer_name(const void *p)
{
    return ((const struct stream_consumer *)p)->name;
}

/* Where the name is, or would be. */
static uint32_t row_seek(const struct stream_row *row, struct span (*name_of)(const void *p),
                         struct span name, bool *found)
{
    uint32_t from = 0, n = row->n;
    *found = false;
    while (n) {
        uint32_t half = n / 2;
        int order = span_cmp(name_of(row->v[from + half]), name);
        if (order == 0) {
            *found = true;
            return from + half;
        }
        if (order < 0) {
            from += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return from;
}

/* Room for one more. */
static bool row_reserve(struct mem_count *m, struct stream_row *row)
{
    if (row->n < row->cap)
        return true;
    uint32_t more = row->cap ? row->cap * 2 : 2;
    void **p = mem_count_realloc(m, row->v, row->cap * sizeof(*p), more * sizeof(*p));
    if (!p)
        return false;
    row->v = p;
    row->cap = more;
    return true;
}

static void row_put(struct stream_row *row, uint32_t at, void *p)
{
    memmove(&row->v[at + 1], &row->v[at], (row->n - at) * sizeof(*row->v));
    row->v[at] = p;
    row->n++;
}
static void row_cut(struct stream_row *row, uint32_t at)
{
    row->n--;
    memmove(&row->v[at], &row->v[at + 1], (row->n - at) * sizeof(*row->v));
}
static void row_free(struct mem_count *m, struct stream_row *row)
{
    if (row->v)
        mem_count_free(m, row->v, row->cap * sizeof(*row->v));
    *row = (struct stream_row){0};
}

/* ---- groups ---- */

size_t stream_bytes(const struct stream *s)
{
    size_t n = s->m.bytes;
    for (uint32_t i = 0; i < s->groups.n; i++)
        n += stream_group_at(s, i)->m.bytes;
    return n;
}

void stream_rehome(struct stream *s, struct mem *mem)
{
    s->m.mem = mem;
    for (uint32_t i = 0; i < s->groups.n; i++)
        stream_group_at(s, i)->m.mem = mem;
}

struct stream_group *stream_group_find(const struct stream *s, struct span name)
{
    bool found;
    uint32_t i = row_seek(&s->groups, group_name, name, &found);
    return found ? stream_group_at(s, i) : NULL;
}

struct stream_group *stream_group_create(struct stream *s, struct span name, struct stream_id last,
                                         int64_t entries_read)
{
    bool found;
    uint32_t i = row_seek(&s->groups, group_name, name, &found);
    ASSERT(!found);
    if (!row_reserve(&s->m, &s->groups))
        return NULL;
    struct stream_group *g = mem_alloc(s->m.mem, sizeof(*g) + name.n);
    if (!g)
        return NULL;
    *g = (struct stream_group){.m = {s->m.mem, mem_size_class(sizeof(*g) + name.n)},
                               .last = last,
                               .entries_read = entries_read,
                               .pel = idtree_empty(sizeof(struct stream_pending)),
                               .name = span_of(g + 1, name.n)};
    if (name.n)
        memcpy(g + 1, name.p, name.n);
    row_put(&s->groups, i, g);
    return g;
}

static void consumer_free(struct stream_group *g, struct stream_consumer *c)
{
    bool found;
    uint32_t i = row_seek(&g->consumers, consumer_name, c->name, &found);
    ASSERT(found);
    row_cut(&g->consumers, i);
    mem_count_free(&g->m, c, sizeof(*c) + c->name.n);
}

/* The consumers of the group first, each after what waits for it. */
static bool group_free_slice(struct stream_group *g, size_t budget, size_t *freed)
{
    size_t n;
    while (g->consumers.n) {
        struct stream_consumer *c = stream_consumer_at(g, g->consumers.n - 1);
        bool done = idtree_free_slice(&g->m, &c->pel, budget - *freed, &n);
        *freed += n;
        if (!done || *freed >= budget)
            return false;
        consumer_free(g, c);
        ++*freed;
    }
    bool done = idtree_free_slice(&g->m, &g->pel, budget - *freed, &n);
    *freed += n;
    if (!done)
        return false;
    row_free(&g->m, &g->consumers);
    mem_free(g->m.mem, g, sizeof(*g) + g->name.n);
    ++*freed;
    return true;
}

bool stream_groups_free_slice(struct stream *s, size_t budget, size_t *freed)
{
    for (*freed = 0; s->groups.n && *freed < budget;)
        if (group_free_slice(stream_group_at(s, s->groups.n - 1), budget, freed))
            s->groups.n--;
    if (s->groups.n)
        return false;
    row_free(&s->m, &s->groups);
    return true;
}

/* Each entry waits for one consumer, in a tree about half as large as the group's. */
size_t stream_groups_pieces(const struct stream *s)
{
    size_t n = s->groups.n;
    for (uint32_t i = 0; i < s->groups.n; i++) {
        const struct stream_group *g = stream_group_at(s, i);
        n += g->consumers.n + idtree_pieces(&g->pel) * 2;
    }
    return n;
}

struct stream *stream_group_detach(struct stream *s, struct stream_group *g)
{
    bool found;
    size_t freed = 0;
    uint32_t i = row_seek(&s->groups, group_name, g->name, &found);
    ASSERT(found);
    row_cut(&s->groups, i);
    struct stream *apart = stream_create(s->m.mem);
    if (apart && row_reserve(&apart->m, &apart->groups)) {
        row_put(&apart->groups, 0, g);
        return apart;
    }
    if (apart)
        stream_free_slice(apart, SIZE_MAX, &freed);
    freed = 0;
    group_free_slice(g, SIZE_MAX, &freed);
    return NULL;
}

/* ---- consumers ---- */

struct stream_consumer *stream_consumer_find(const struct stream_group *g, struct span name)
{
    bool found;
    uint32_t i = row_seek(&g->consumers, consumer_name, name, &found);
    return found ? stream_consumer_at(g, i) : NULL;
}

struct stream_consumer *stream_consumer_create(struct stream_group *g, struct span name,
                                               int64_t now_ms)
{
    bool found;
    uint32_t i = row_seek(&g->consumers, consumer_name, name, &found);
    ASSERT(!found);
    if (!row_reserve(&g->m, &g->consumers))
        return NULL;
    struct stream_consumer *c = mem_count_alloc(&g->m, sizeof(*c) + name.n);
    if (!c)
        return NULL;
    *c = (struct stream_consumer){.seen_ms = now_ms,
                                  .pel = idtree_empty(sizeof(struct stream_id)),
                                  .name = span_of(c + 1, name.n)};
    if (name.n)
        memcpy(c + 1, name.p, name.n);
    row_put(&g->consumers, i, c);
    return c;
}

void stream_consumer_destroy(struct stream_group *g, struct stream_consumer *c)
{
    size_t freed;
    idtree_subtract(&g->m, &g->pel, &c->pel, NULL);
    idtree_free_slice(&g->m, &c->pel, SIZE_MAX, &freed);
    consumer_free(g, c);
}

/* What the trees of a group take together. */
static size_t pel_bytes(const struct stream_group *g)
{
    size_t other = mem_size_class(sizeof(*g) + g->name.n);
    if (!g->consumers.v)
        return g->m.bytes - other; /* there are no consumers */
    other += mem_size_class(g->consumers.cap * sizeof(*g->consumers.v));
    for (uint32_t i = 0; i < g->consumers.n; i++)
        other += mem_size_class(sizeof(struct stream_consumer) + stream_consumer_at(g, i)->name.n);
    return g->m.bytes - other;
}

static void take_tree(struct idtree *to, struct idtree *from)
{
    *to = *from;
    *from = idtree_empty(from->width);
}

/* All that waits for c, into h and its consumer d. */
static void detach_pending(struct stream_group *g, struct stream_consumer *c,
                           struct stream_group *h, struct stream_consumer *d)
{
    size_t bytes;
    if (c->pel.count == g->pel.count) {
        bytes = pel_bytes(g);
        take_tree(&h->pel, &g->pel);
    } else {
        bytes = idtree_bytes(&c->pel);
        idtree_subtract(&g->m, &g->pel, &c->pel, &(struct id_gone){&h->m, &h->pel});
    }
    g->m.bytes -= bytes;
    h->m.bytes += bytes;
    take_tree(&d->pel, &c->pel);
}

struct stream *stream_consumer_detach(struct stream_group *g, struct stream_consumer *c)
{
    size_t freed;
    struct stream *apart = idtree_pieces(&c->pel) > DETACH_FROM ? stream_create(g->m.mem) : NULL;
    struct stream_group *h =
        apart ? stream_group_create(apart, SPAN(""), STREAM_ID_MIN, STREAM_READ_UNKNOWN) : NULL;
    struct stream_consumer *d = h ? stream_consumer_create(h, SPAN(""), 0) : NULL;
    if (d) {
        detach_pending(g, c, h, d);
    } else if (apart) {
        stream_free_slice(apart, SIZE_MAX, &freed);
        apart = NULL;
    }
    stream_consumer_destroy(g, c);
    return apart;
}

/* ---- entries that wait ---- */

struct stream_pending *stream_pending_give(struct stream_group *g, struct stream_id id,
                                           struct stream_consumer *c)
{
    bool is_new, is_new_there;
    struct stream_pending *p = idtree_insert(&g->m, &g->pel, id, &is_new);
    if (!p || p->consumer == c)
        return p;
    if (!idtree_insert(&g->m, &c->pel, id, &is_new_there)) {
        if (is_new)
            idtree_remove(&g->m, &g->pel, id);
        return NULL;
    }
    if (p->consumer)
        idtree_remove(&g->m, &p->consumer->pel, id);
    p->consumer = c;
    return p;
}

bool stream_pending_remove(struct stream_group *g, struct stream_id id)
{
    struct stream_pending *p = stream_pending_find(g, id);
    if (!p)
        return false;
    idtree_remove(&g->m, &p->consumer->pel, id);
    idtree_remove(&g->m, &g->pel, id);
    return true;
}

/* ---- copies ---- */

static bool copy_consumers(struct stream_group *g, const struct stream_group *from)
{
    for (uint32_t i = 0; i < from->consumers.n; i++) {
        const struct stream_consumer *old = stream_consumer_at(from, i);
        struct stream_consumer *c = stream_consumer_create(g, old->name, old->seen_ms);
        if (!c || !idtree_copy(&g->m, &c->pel, &old->pel))
            return false;
        for (struct id_at at = idtree_first(&c->pel); at.leaf; at = idtree_next(at)) {
            struct stream_id id = *(struct stream_id *)idtree_record(&c->pel, at);
            stream_pending_find(g, id)->consumer = c;
        }
    }
    return true;
}

bool stream_groups_copy(struct stream *s, const struct stream *from)
{
    for (uint32_t i = 0; i < from->groups.n; i++) {
        const struct stream_group *old = stream_group_at(from, i);
        struct stream_group *g = stream_group_create(s, old->name, old->last, old->entries_read);
        if (!g || !idtree_copy(&g->m, &g->pel, &old->pel) || !copy_consumers(g, old))
            return false;
    }
    return true;
}

/* ---- counting what was read ---- */

bool stream_gaps_behind(const struct stream *s, struct stream_id id)
{
    return s->length && !stream_id_is_zero(s->max_deleted) &&
           !stream_id_less(s->max_deleted, s->first) && !stream_id_less(s->max_deleted, id);
}

int64_t stream_entries_until(const struct stream *s, struct stream_id id)
{
    if (!s->entries_added)
        return 0;
    int order = stream_id_cmp(id, s->last);
    if (order == 0 || (!s->length && order < 0))
        return (int64_t)s->entries_added;
    if (order > 0)
        return STREAM_READ_UNKNOWN;
    /* Without a gap among those that are there, the first one is the (added - length + 1)-th. */
    if (stream_id_is_zero(s->max_deleted) || stream_id_less(s->max_deleted, s->first)) {
        order = stream_id_cmp(id, s->first);
        if (order <= 0)
            return (int64_t)(s->entries_added - s->length + (order == 0));
    }
    return STREAM_READ_UNKNOWN;
}

void stream_group_delivered(const struct stream *s, struct stream_group *g, struct stream_id id)
{
    if (!stream_id_less(g->last, id))
        return;
    if (g->entries_read != STREAM_READ_UNKNOWN && !stream_gaps_behind(s, id))
        g->entries_read = (int64_t)((uint64_t)g->entries_read + 1);
    else if (s->entries_added)
        g->entries_read = stream_entries_until(s, id);
    g->last = id;
}
