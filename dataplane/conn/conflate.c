/* CLIENT CONFLATE ON: a subscriber that falls behind gets, of each channel, only the newest message.
 *
 * While the client's output waits on the heap, messages are not written behind it but kept here, one for each channel (and pattern):
 *
 *     order:  prices:b 7  ->  prices:a 9  ->  prices:c 2        a newer message goes to the end, so what is
 *     bucket: found by the bytes that name the channel          delivered is in the order in which it was published
 *
 * When the output has drained they leave as far as it takes them. What was replaced is counted. Thread: the worker's. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"

#define BUCKETS_FIRST   16
#define DOOR_LAGS_BYTES LIMIT_REPLY_CHUNK_BYTES /* the door's output is on the heap in any case */

struct waiting {
    struct list node; /* conflate.order */
    struct waiting *next;
    uint64_t hash;
    size_t head, len;
    uint8_t bytes[];
};

struct conflate {
    struct list order;
    struct waiting **bucket;
    size_t cap, count;
    uint64_t bytes;
};

uint64_t conflate_bytes(const struct conn *c)
{
    return c->conflate ? c->conflate->bytes : 0;
}

static bool lags(const struct conn *c)
{
    if (c->kind == CONN_DOOR)
        return c->out_bytes > DOOR_LAGS_BYTES;
    return c->out_first != NULL || !conn_push_now(c);
}

static struct waiting **find(struct conflate *f, struct span head, uint64_t hash)
{
    struct waiting **at = &f->bucket[hash & (f->cap - 1)];
    while (*at && !((*at)->hash == hash && span_eq(span_of((*at)->bytes, (*at)->head), head)))
        at = &(*at)->next;
    return at;
}

static void take_out(struct conflate *f, struct waiting **at)
{
    struct waiting *x = *at;
    *at = x->next;
    list_remove(&x->node);
    f->count--;
    f->bytes -= x->len;
    free(x);
}

static struct conflate *conflate_make(void)
{
    struct conflate *f = calloc(1, sizeof(*f));
    if (f && (f->bucket = calloc(BUCKETS_FIRST, sizeof(struct waiting *))) != NULL) {
        f->cap = BUCKETS_FIRST;
        list_init(&f->order);
        return f;
    }
    free(f);
    return NULL;
}

void conflate_free(struct conn *c)
{
    struct conflate *f = c->conflate;
    if (!f)
        return;
    c->conflate = NULL;
    for (struct list *n; (n = list_pop_front(&f->order)) != NULL;)
        free(list_entry(n, struct waiting, node));
    free(f->bucket);
    free(f);
}

/* A table that cannot grow goes on with longer chains. */
static void grow(struct conflate *f)
{
    struct waiting **to = f->count < f->cap ? NULL : calloc(f->cap * 2, sizeof(*to));
    if (!to)
        return;
    free(f->bucket);
    f->bucket = to;
    f->cap *= 2;
    list_for_each (n, &f->order) {
        struct waiting *x = list_entry(n, struct waiting, node);
        x->next = to[x->hash & (f->cap - 1)];
        to[x->hash & (f->cap - 1)] = x;
    }
}

static void count_lost(struct conn *c)
{
    c->ses.conflated++;
    STAT_INC(c->w->stats->pubsub_conflated);
}

static void keep(struct conn *c, struct span bytes, size_t head)
{
    struct conflate *f = c->conflate;
    /* the first byte is the protocol's, not the channel's */
    uint64_t hash = key_hash(&c->w->pubsub.key, bytes.p + 1, head - 1);
    struct waiting **at = find(f, span_of(bytes.p, head), hash);
    if (*at) {
        take_out(f, at);
        count_lost(c);
    }
    struct waiting *x = malloc(sizeof(*x) + bytes.n);
    if (!x) {
        count_lost(c);
        return;
    }
    grow(f);
    at = &f->bucket[hash & (f->cap - 1)];
    *x = (struct waiting){.next = *at, .hash = hash, .head = head, .len = bytes.n};
    memcpy(x->bytes, bytes.p, bytes.n);
    *at = x;
    list_push_back(&f->order, &x->node);
    f->count++;
    f->bytes += bytes.n;
}

void conflate_push(struct conn *c, struct span bytes, size_t head)
{
    if (!c->ses.conflate)
        conflate_flush(c); /* it was switched off */
    if (c->closing || c->dead)
        return;
    if (!c->ses.conflate || (!c->conflate && !lags(c)) ||
        (!c->conflate && !(c->conflate = conflate_make()))) {
        conn_push(c, bytes);
        return;
    }
    keep(c, bytes, head);
    conn_mark(c);
}

/* The oldest that waits. */
static void send_first(struct conn *c)
{
    struct conflate *f = c->conflate;
    struct waiting *x = list_entry(f->order.next, struct waiting, node);
    struct waiting **at = &f->bucket[x->hash & (f->cap - 1)];
    while (*at != x)
        at = &(*at)->next;
    conn_push(c, span_of(x->bytes, x->len));
    take_out(f, at);
}

void conflate_flush(struct conn *c)
{
    while (c->conflate && c->conflate->count && !c->dead && !c->closing)
        send_first(c);
    conflate_free(c);
}

void conflate_drain(struct conn *c)
{
    if (!c->ses.conflate)
        conflate_flush(c);
    while (c->conflate && c->conflate->count && !lags(c) && !c->dead && !c->closing)
        send_first(c);
    if (c->conflate && !c->conflate->count)
        conflate_free(c);
}
