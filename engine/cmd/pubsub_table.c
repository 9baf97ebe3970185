/* pubsub_table: the tables of pubsub.h. Thread: the worker's. */
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/base/keyhash.h"
#include "engine/base/num.h"
#include "engine/cmd/pubsub.h"

#define FIRST_CAP 64 /* of both tables */

/* How a pattern is matched behind its literal beginning. */
enum pattern_rest { REST_NONE, REST_ANY, REST_GLOB };

struct pubsub_name {
    struct pubsub_name *next; /* of its chain */
    struct list subs;         /* subscription.by_name, oldest first */
    struct list node;         /* PUBSUB_PATTERN: pubsub.patterns */
    uint64_t hash;
    uint32_t count, len;
    uint32_t literal; /* PUBSUB_PATTERN: so many bytes stand for themselves */
    uint8_t kind, rest;
    uint8_t bytes[];
};

struct subscription {
    struct subscription *next; /* of its chain */
    struct list by_name, by_who;
    struct pubsub_name *name;
    struct subscriber *who;
};

/* What a session with subscriptions has. */
struct subscriber {
    struct session *session; /* NULL: it has left, and a walk is going on */
    struct list subs[PUBSUB_KINDS];
    uint32_t count[PUBSUB_KINDS];
    struct list doomed;
};

static struct span name_span(const struct pubsub_name *n)
{
    return span_of(n->bytes, n->len);
}

uint64_t pubsub_hash(const struct pubsub *p, enum pubsub_kind kind, struct span name)
{
    return key_hash(&p->key, name.p, name.n) + (uint64_t)kind * 0x9e3779b97f4a7c15;
}

void pubsub_init(struct pubsub *p, const struct siphash_key *key)
{
    memset(p, 0, sizeof(*p));
    p->key = *key;
    for (int i = 0; i < PUBSUB_FIRST_BYTES; i++)
        list_init(&p->patterns[i]);
    list_init(&p->doomed);
}

void pubsub_fini(struct pubsub *p)
{
    ASSERT(p->names_count == 0 && p->subs_count == 0);
    free(p->names);
    free(p->subs);
    free(p->filter_count);
}

/* ---- the filter ---- */

/* Sequentially consistent: it stands before the answer leaves. */
static void filter_change(struct pubsub *p, enum pubsub_kind kind, uint64_t hash, bool in)
{
    struct pubsub_filter *f = &p->filter;
    if (kind == PUBSUB_PATTERN) {
        __atomic_store_n(&f->patterns, p->count[kind], __ATOMIC_SEQ_CST);
        return;
    }
    uint64_t bit = hash % PUBSUB_FILTER_BITS, mask = 1ull << (bit % 64), *word = &f->bits[bit / 64];
    p->filter_count[bit] += in ? 1 : -1u;
    if (p->filter_count[bit])
        __atomic_store_n(word, *word | mask, __ATOMIC_SEQ_CST);
    else
        __atomic_store_n(word, *word & ~mask, __ATOMIC_SEQ_CST);
}

static void name_counted(struct pubsub *p, enum pubsub_kind kind, uint64_t hash, bool in)
{
    p->count[kind] += in ? 1 : -1ull;
    filter_change(p, kind, hash, in);
    if (p->gauge[kind]) /* statistics: any order will do */
        __atomic_store_n(p->gauge[kind], p->count[kind], __ATOMIC_RELAXED);
}

/* ---- names ---- */

static struct pubsub_name *name_find(const struct pubsub *p, enum pubsub_kind kind,
                                     struct span name, uint64_t hash)
{
    if (p->names_count == 0)
        return NULL;
    struct pubsub_name *n = p->names[hash & (p->names_cap - 1)];
    while (n && !(n->hash == hash && n->kind == kind && span_eq(name_span(n), name)))
        n = n->next;
    return n;
}

/* True: there is room for one more. A table that cannot grow goes on with longer chains. */
static bool names_grow(struct pubsub *p)
{
    if (p->names_count < p->names_cap)
        return true;
    size_t cap = p->names_cap ? p->names_cap * 2 : FIRST_CAP;
    struct pubsub_name **to = calloc(cap, sizeof(struct pubsub_name *));
    if (!to)
        return p->names_cap != 0;
    for (size_t i = 0; i < p->names_cap; i++) {
        for (struct pubsub_name *n = p->names[i], *next; n; n = next) {
            next = n->next;
            n->next = to[n->hash & (cap - 1)];
            to[n->hash & (cap - 1)] = n;
        }
    }
    free(p->names);
    p->names = to;
    p->names_cap = cap;
    return true;
}

static void pattern_compile(struct pubsub_name *n)
{
    while (n->literal < n->len && !memchr("*?[\\", n->bytes[n->literal], 4))
        n->literal++;
    uint32_t left = n->len - n->literal;
    n->rest = left == 0                                  ? REST_NONE
              : left == 1 && n->bytes[n->literal] == '*' ? REST_ANY
                                                         : REST_GLOB;
}

static bool pattern_matches(const struct pubsub_name *n, struct span text)
{
    if (text.n == 0 || text.n < n->literal || memcmp(n->bytes, text.p, n->literal) != 0)
        return text.n == 0 && n->len == 0; /* nothing matches "" but "" */
    switch (n->rest) {
    case REST_NONE: return text.n == n->len;
    case REST_ANY: return true;
    default: return glob_match(name_span(n), text, false);
    }
}

static struct list *pattern_list(struct pubsub *p, const struct pubsub_name *n)
{
    return &p->patterns[n->literal ? n->bytes[0] : PUBSUB_FIRST_BYTES - 1];
}

static struct pubsub_name *name_add(struct pubsub *p, enum pubsub_kind kind, struct span name,
                                    uint64_t hash)
{
    if (!p->filter_count)
        p->filter_count = calloc(PUBSUB_FILTER_BITS, sizeof(*p->filter_count));
    struct pubsub_name *n = p->filter_count && names_grow(p) ? malloc(sizeof(*n) + name.n) : NULL;
    if (!n)
        return NULL;
    struct pubsub_name **chain = &p->names[hash & (p->names_cap - 1)];
    *n = (struct pubsub_name){
        .next = *chain, .hash = hash, .len = (uint32_t)name.n, .kind = (uint8_t)kind};
    memcpy(n->bytes, name.p, name.n);
    list_init(&n->subs);
    list_init(&n->node);
    *chain = n;
    p->names_count++;
    if (kind == PUBSUB_PATTERN) {
        pattern_compile(n);
        list_push_back(pattern_list(p, n), &n->node);
    }
    name_counted(p, kind, hash, true);
    return n;
}

static void name_remove(struct pubsub *p, struct pubsub_name *n)
{
    struct pubsub_name **at = &p->names[n->hash & (p->names_cap - 1)];
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    p->names_count--;
    list_remove(&n->node);
    name_counted(p, n->kind, n->hash, false);
    free(n);
}

/* ---- subscriptions ---- */

static uint64_t sub_hash(const struct pubsub_name *n, const struct subscriber *who)
{
    uint64_t h = ((uintptr_t)n >> 4) * 0x9e3779b97f4a7c15 ^ ((uintptr_t)who >> 4);
    h *= 0xbf58476d1ce4e5b9;
    return h ^ h >> 32;
}

static struct subscription **sub_chain(const struct pubsub *p, const struct pubsub_name *n,
                                       const struct subscriber *who)
{
    return &p->subs[sub_hash(n, who) & (p->subs_cap - 1)];
}

static struct subscription *sub_find(const struct pubsub *p, const struct pubsub_name *n,
                                     const struct subscriber *who)
{
    if (p->subs_count == 0)
        return NULL;
    struct subscription *sub = *sub_chain(p, n, who);
    while (sub && !(sub->name == n && sub->who == who))
        sub = sub->next;
    return sub;
}

static bool subs_grow(struct pubsub *p)
{
    if (p->subs_count < p->subs_cap)
        return true;
    size_t old_cap = p->subs_cap, cap = old_cap ? old_cap * 2 : FIRST_CAP;
    struct subscription **old = p->subs, **to = calloc(cap, sizeof(struct subscription *));
    if (!to)
        return old_cap != 0;
    p->subs = to;
    p->subs_cap = cap;
    for (size_t i = 0; i < old_cap; i++) {
        for (struct subscription *sub = old[i], *next; sub; sub = next) {
            next = sub->next;
            struct subscription **chain = sub_chain(p, sub->name, sub->who);
            sub->next = *chain;
            *chain = sub;
        }
    }
    free(old);
    return true;
}

static struct subscriber *subscriber_of(struct session *s)
{
    if (s->subs)
        return s->subs;
    struct subscriber *who = calloc(1, sizeof(*who));
    if (!who)
        return NULL;
    who->session = s;
    for (int k = 0; k < PUBSUB_KINDS; k++)
        list_init(&who->subs[k]);
    list_init(&who->doomed);
    s->subs = who;
    return who;
}

static void subscriber_free(struct subscriber *who)
{
    list_remove(&who->doomed);
    free(who);
}

/* Frees what a session without subscriptions needs no more. */
static void subscriber_rest(struct session *s)
{
    struct subscriber *who = s->subs;
    if (!who || who->count[PUBSUB_CHANNEL] || who->count[PUBSUB_PATTERN] ||
        who->count[PUBSUB_SHARD])
        return;
    subscriber_free(who);
    s->subs = NULL;
}

enum pubsub_status pubsub_subscribe(struct pubsub *p, struct session *s, enum pubsub_kind kind,
                                    struct span name)
{
    ASSERT(!p->walking);
    struct subscriber *who = subscriber_of(s);
    if (!who)
        return PUBSUB_NO_MEMORY;
    uint64_t hash = pubsub_hash(p, kind, name);
    struct pubsub_name *n = name_find(p, kind, name, hash);
    if (n && sub_find(p, n, who))
        return PUBSUB_KNOWN;
    struct subscription *sub = subs_grow(p) ? malloc(sizeof(*sub)) : NULL;
    if (sub && !n)
        n = name_add(p, kind, name, hash);
    if (!sub || !n) {
        free(sub);
        subscriber_rest(s);
        return PUBSUB_NO_MEMORY;
    }
    struct subscription **chain = sub_chain(p, n, who);
    *sub = (struct subscription){.next = *chain, .name = n, .who = who};
    *chain = sub;
    p->subs_count++;
    n->count++;
    who->count[kind]++;
    list_push_back(&n->subs, &sub->by_name);
    list_push_back(&who->subs[kind], &sub->by_who);
    return PUBSUB_ADDED;
}

static void sub_remove(struct pubsub *p, struct subscription *sub)
{
    struct pubsub_name *n = sub->name;
    struct subscription **at = sub_chain(p, n, sub->who);
    while (*at != sub)
        at = &(*at)->next;
    *at = sub->next;
    p->subs_count--;
    sub->who->count[n->kind]--;
    list_remove(&sub->by_name);
    list_remove(&sub->by_who);
    free(sub);
    if (--n->count == 0)
        name_remove(p, n);
}

bool pubsub_unsubscribe(struct pubsub *p, struct session *s, enum pubsub_kind kind,
                        struct span name)
{
    ASSERT(!p->walking);
    struct pubsub_name *n = s->subs ? name_find(p, kind, name, pubsub_hash(p, kind, name)) : NULL;
    struct subscription *sub = n ? sub_find(p, n, s->subs) : NULL;
    if (!sub)
        return false;
    sub_remove(p, sub);
    subscriber_rest(s);
    return true;
}

static struct subscription *first_of(const struct subscriber *who, enum pubsub_kind kind)
{
    return list_entry(who->subs[kind].next, struct subscription, by_who);
}

bool pubsub_first(const struct session *s, enum pubsub_kind kind, struct span *ret)
{
    if (!s->subs || list_empty(&s->subs->subs[kind]))
        return false;
    *ret = name_span(first_of(s->subs, kind)->name);
    return true;
}

static void subscriber_remove(struct pubsub *p, struct subscriber *who)
{
    for (int k = 0; k < PUBSUB_KINDS; k++)
        while (!list_empty(&who->subs[k]))
            sub_remove(p, first_of(who, (enum pubsub_kind)k));
    subscriber_free(who);
}

void pubsub_leave(struct pubsub *p, struct session *s)
{
    struct subscriber *who = s->subs;
    if (!who)
        return;
    s->subs = NULL;
    who->session = NULL;
    if (p->walking)
        list_push_back(&p->doomed, &who->doomed);
    else
        subscriber_remove(p, who);
}

uint32_t pubsub_count(const struct session *s, enum pubsub_kind kind)
{
    return s->subs ? s->subs->count[kind] : 0;
}

/* ---- publishing ---- */

static uint64_t name_deliver(const struct pubsub_name *n, struct span pattern, pubsub_fn *fn,
                             void *ctx)
{
    uint64_t sent = 0;
    list_for_each (it, &n->subs) {
        const struct subscription *sub = list_entry(it, struct subscription, by_name);
        if (!sub->who->session)
            continue; /* it left during this walk */
        fn(ctx, sub->who->session, pattern);
        sent++;
    }
    return sent;
}

static uint64_t patterns_deliver(const struct list *patterns, struct span channel, pubsub_fn *fn,
                                 void *ctx)
{
    uint64_t sent = 0;
    list_for_each (it, patterns) {
        const struct pubsub_name *n = list_entry(it, struct pubsub_name, node);
        if (pattern_matches(n, channel))
            sent += name_deliver(n, name_span(n), fn, ctx);
    }
    return sent;
}

uint64_t pubsub_deliver(struct pubsub *p, enum pubsub_kind kind, struct span channel, uint64_t hash,
                        pubsub_fn *fn, void *ctx)
{
    uint64_t sent = 0;
    struct pubsub_name *n = name_find(p, kind, channel, hash);
    p->walking++;
    if (n)
        sent = name_deliver(n, span_of(NULL, 0), fn, ctx);
    if (kind == PUBSUB_CHANNEL && p->count[PUBSUB_PATTERN]) {
        if (channel.n)
            sent += patterns_deliver(&p->patterns[channel.p[0]], channel, fn, ctx);
        sent += patterns_deliver(&p->patterns[PUBSUB_FIRST_BYTES - 1], channel, fn, ctx);
    }
    if (--p->walking == 0) {
        for (struct list *d; (d = list_pop_front(&p->doomed)) != NULL;)
            subscriber_remove(p, list_entry(d, struct subscriber, doomed));
    }
    return sent;
}

/* ---- what is asked ---- */

void pubsub_each(const struct pubsub *p, enum pubsub_kind kind,
                 void (*fn)(void *ctx, struct span name), void *ctx)
{
    for (size_t i = 0; i < p->names_cap; i++)
        for (const struct pubsub_name *n = p->names[i]; n; n = n->next)
            if (n->kind == kind)
                fn(ctx, name_span(n));
}

uint64_t pubsub_subscribers(const struct pubsub *p, enum pubsub_kind kind, struct span name)
{
    const struct pubsub_name *n = name_find(p, kind, name, pubsub_hash(p, kind, name));
    return n ? n->count : 0;
}
