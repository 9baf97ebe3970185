/* tracking_table: prefixes and the clients of broadcast mode; see tracking.h. Thread: the worker's. */
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/cmd/tracking_internal.h"
#include "engine/resp/reply.h"

struct broadcast_key {
    uint64_t by, at; /* who changed it; when, of this turn */
    uint32_t len;
    uint8_t bytes[];
};

static void gauge(uint64_t *to, int64_t by)
{
    if (to) /* one writer; who reads it earlier or later does the same */
        __atomic_store_n(to, *to + (uint64_t)by, __ATOMIC_SEQ_CST);
}

void tracking_init(struct tracking_table *t)
{
    *t = (struct tracking_table){0};
    list_init(&t->clients);
    list_init(&t->prefixes);
    list_init(&t->doomed);
}

/* ---- prefixes ---- */

static struct span prefix_span(const struct tracking_prefix *p)
{
    return span_of(p->bytes, p->len);
}

static void prefix_clear(struct tracking_prefix *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->changed[i]);
    free(p->changed);
    p->changed = NULL;
    p->n = p->cap = 0;
}

static struct tracking_prefix *prefix_get(struct tracking_table *t, struct span name)
{
    struct list *at = t->prefixes.next;
    for (; at != &t->prefixes; at = at->next) {
        struct tracking_prefix *p = list_entry(at, struct tracking_prefix, node);
        int c = span_cmp(prefix_span(p), name);
        if (c == 0)
            return p;
        if (c > 0)
            break;
    }
    struct tracking_prefix *p = malloc(sizeof(*p) + name.n);
    if (!p)
        return NULL;
    *p = (struct tracking_prefix){.len = (uint32_t)name.n};
    if (name.n)
        memcpy(p->bytes, name.p, name.n);
    list_init(&p->clients);
    list_push_back(at, &p->node); /* before the next one */
    gauge(t->gauge_prefixes, 1);
    return p;
}

bool tracking_add_prefix(struct tracking_table *t, struct tracking *who, struct span name)
{
    list_for_each (n, &who->prefixes) {
        if (span_eq(prefix_span(list_entry(n, struct prefix_client, by_client)->prefix), name))
            return true;
    }
    struct prefix_client *pc = malloc(sizeof(*pc));
    struct tracking_prefix *p = pc ? prefix_get(t, name) : NULL;
    if (!p) {
        free(pc);
        return false;
    }
    *pc = (struct prefix_client){.prefix = p, .who = who};
    list_push_back(&p->clients, &pc->by_prefix);
    /* by name, as they are listed */
    struct list *at = who->prefixes.next;
    while (at != &who->prefixes &&
           span_cmp(prefix_span(list_entry(at, struct prefix_client, by_client)->prefix), name) < 0)
        at = at->next;
    list_push_back(at, &pc->by_client);
    return true;
}

static void leave_prefixes(struct tracking_table *t, struct tracking *who)
{
    for (struct list *n; (n = list_pop_front(&who->prefixes)) != NULL;) {
        struct prefix_client *pc = list_entry(n, struct prefix_client, by_client);
        struct tracking_prefix *p = pc->prefix;
        list_remove(&pc->by_prefix);
        free(pc);
        if (!list_empty(&p->clients))
            continue;
        list_remove(&p->node);
        prefix_clear(p);
        free(p);
        gauge(t->gauge_prefixes, -1);
    }
}

/* ---- clients ---- */

struct tracking *tracking_of(struct session *s)
{
    if (!s->tracking && (s->tracking = calloc(1, sizeof(*s->tracking))) != NULL) {
        s->tracking->session = s;
        list_init(&s->tracking->node);
        list_init(&s->tracking->prefixes);
    }
    return s->tracking;
}

void tracking_on(struct tracking_table *t, struct session *s, uint32_t flags)
{
    struct tracking *who = s->tracking;
    if (!(s->mode & SESSION_TRACKING)) {
        list_push_back(&t->clients, &who->node);
        gauge(t->gauge_clients, 1);
        if (flags & TRACKING_BCAST)
            gauge(t->gauge_broadcast, 1);
    }
    s->mode |= SESSION_TRACKING;
    who->flags = flags | (who->flags & TRACKING_CACHING);
}

void tracking_off(struct tracking_table *t, struct session *s)
{
    struct tracking *who = s->tracking;
    if (!who || !(s->mode & SESSION_TRACKING))
        return;
    s->mode &= (uint8_t)~SESSION_TRACKING;
    gauge(t->gauge_clients, -1);
    if (who->flags & TRACKING_BCAST)
        gauge(t->gauge_broadcast, -1);
    who->flags = 0;
    if (t->walking) { /* the records of before stay until it is over; a new one serves from now on */
        s->tracking = NULL;
        who->session = NULL;
        list_push_back(&t->doomed, &who->node);
        return;
    }
    list_remove(&who->node);
    leave_prefixes(t, who);
}

void tracking_free(struct tracking_table *t, struct session *s)
{
    tracking_off(t, s);
    free(s->tracking);
    s->tracking = NULL;
}

static void walk_end(struct tracking_table *t)
{
    if (--t->walking)
        return;
    for (struct list *n; (n = list_pop_front(&t->doomed)) != NULL;) {
        struct tracking *who = list_entry(n, struct tracking, node);
        leave_prefixes(t, who);
        free(who);
    }
}

void tracking_each(struct tracking_table *t, void (*fn)(void *ctx, struct session *s), void *ctx)
{
    /* Who leaves goes to `doomed`, which would lead the walk astray: the sessions are noted first. */
    size_t n = 0, i = 0;
    list_for_each (it, &t->clients)
        n++;
    struct tracking **all = calloc(n + 1, sizeof(*all));
    if (!all)
        return;
    list_for_each (it, &t->clients)
        all[i++] = list_entry(it, struct tracking, node);
    t->walking++;
    for (i = 0; i < n && all[i]; i++)
        if (all[i]->session)
            fn(ctx, all[i]->session);
    walk_end(t);
    free(all);
}

/* ---- broadcast ---- */

static void prefix_note(struct tracking_prefix *p, struct span key, uint64_t by)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 16;
        struct broadcast_key **to = realloc(p->changed, cap * sizeof(*to));
        if (!to)
            return;
        p->changed = to;
        p->cap = cap;
    }
    struct broadcast_key *k = malloc(sizeof(*k) + key.n);
    if (!k)
        return;
    *k = (struct broadcast_key){.by = by, .at = p->n, .len = (uint32_t)key.n};
    if (key.n)
        memcpy(k->bytes, key.p, key.n);
    p->changed[p->n++] = k;
}

void tracking_note(struct tracking_table *t, struct span key, uint64_t by)
{
    list_for_each (n, &t->prefixes) {
        struct tracking_prefix *p = list_entry(n, struct tracking_prefix, node);
        if (key.n < p->len || memcmp(key.p, p->bytes, p->len) != 0)
            continue;
        prefix_note(p, key, by);
        t->changed = true;
    }
}

static int by_name(const void *a, const void *b)
{
    const struct broadcast_key *x = *(struct broadcast_key *const *)a,
                               *y = *(struct broadcast_key *const *)b;
    int c = span_cmp(span_of(x->bytes, x->len), span_of(y->bytes, y->len));
    return c ? c : (x->at > y->at) - (x->at < y->at);
}

/* Each name once, by whom it was changed last. */
static void prefix_sort(struct tracking_prefix *p)
{
    size_t n = 0;
    qsort(p->changed, p->n, sizeof(*p->changed), by_name);
    for (size_t i = 0; i < p->n; i++) {
        struct broadcast_key *k = p->changed[i], *next = i + 1 < p->n ? p->changed[i + 1] : NULL;
        if (next && k && next->len == k->len && memcmp(next->bytes, k->bytes, k->len) == 0)
            free(k);
        else
            p->changed[n++] = k;
    }
    p->n = n;
}

/* The keys but those that `without` changed itself. */
static size_t write_keys(const struct tracking_prefix *p, uint64_t without, struct reply_heap *h)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        n += !without || p->changed[i]->by != without;
    struct reply r;
    h->len = 0;
    reply_heap_append(&r, h, 2);
    reply_array(&r, n);
    for (size_t i = 0; i < p->n; i++)
        if (!without || p->changed[i]->by != without)
            reply_bulk(&r, span_of(p->changed[i]->bytes, p->changed[i]->len));
    reply_heap_finish(&r, h);
    return r.failed ? 0 : n;
}

static void prefix_send(struct tracking_prefix *p, tracking_send *send, void *ctx)
{
    struct reply_heap common = {0}, own = {0};
    prefix_sort(p);
    size_t n = write_keys(p, 0, &common);
    list_for_each (it, &p->clients) {
        struct tracking *who = list_entry(it, struct prefix_client, by_prefix)->who;
        if (!who->session)
            continue;
        if (!(who->flags & TRACKING_NOLOOP)) {
            if (n)
                send(ctx, who->session, span_of(common.p, common.len));
        } else if (write_keys(p, who->session->id, &own)) {
            send(ctx, who->session, span_of(own.p, own.len));
        }
    }
    reply_heap_free(&common);
    reply_heap_free(&own);
    prefix_clear(p);
}

void tracking_broadcast(struct tracking_table *t, tracking_send *send, void *ctx)
{
    t->changed = false;
    t->walking++;
    list_for_each (n, &t->prefixes) {
        struct tracking_prefix *p = list_entry(n, struct tracking_prefix, node);
        if (p->n)
            prefix_send(p, send, ctx);
    }
    walk_end(t);
}
