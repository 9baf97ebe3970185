/* notify: see notify.h. Thread: the holder's of the shard.
 *
 * A command under leases changes several shards; the order of its events is that of its steps. All its notes are made on one thread, so a count
 * of that thread tells their order. */
#include "engine/shard/notify.h"

#include <stdlib.h>

#include "engine/shard/shard_internal.h"

#define NOTICES_KEEP_BYTES (64 * 1024) /* room for more is given back */

struct notice {
    uint64_t at; /* the thread's count */
    const char *event;
    uint32_t db, cls;
    size_t key_n, bytes; /* of the key; of the record */
};

static __thread uint64_t noted;

void notify_configure(struct shard *s)
{
    uint32_t flags = s->config->notify_events;
    if ((flags & (NOTIFY_KEYSPACE | NOTIFY_KEYEVENT)) && (flags & NOTIFY_CLASSES))
        s->listen |= LISTEN_NOTIFY;
    else
        s->listen &= ~(uint32_t)LISTEN_NOTIFY;
}

void notify_fini(struct shard *s)
{
    free(s->notices.p);
    s->notices = (struct notices){.lost = s->notices.lost};
}

static void *room(struct notices *l, size_t n)
{
    if (l->len + n > l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4096;
        while (cap < l->len + n)
            cap *= 2;
        uint8_t *p = realloc(l->p, cap);
        if (!p) {
            l->lost++;
            return NULL;
        }
        l->p = p;
        l->cap = cap;
    }
    void *at = l->p + l->len;
    l->len += n;
    return at;
}

void notify_note(struct shard *s, uint32_t db, struct span key, uint32_t cls, const char *event)
{
    if (!(s->config->notify_events & cls))
        return;
    size_t bytes = (sizeof(struct notice) + key.n + 7) & ~(size_t)7;
    struct notice *n = room(&s->notices, bytes);
    if (!n)
        return;
    *n = (struct notice){
        .at = noted++, .event = event, .db = db, .cls = cls, .key_n = key.n, .bytes = bytes};
    if (key.n)
        memcpy(n + 1, key.p, key.n);
    s->after |= AFTER_NOTIFY;
}

/* The shard with the oldest notice that is left; NULL: none is left. */
static struct shard *oldest(struct shard *const *held, uint32_t count)
{
    struct shard *found = NULL;
    uint64_t at = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        struct shard *s = held[i];
        if (!s || s->notices.read == s->notices.len)
            continue;
        const struct notice *n = (const void *)(s->notices.p + s->notices.read);
        if (n->at < at) {
            at = n->at;
            found = s;
        }
    }
    return found;
}

void notify_take(struct shard *const *held, uint32_t count, notify_fn *fn, void *ctx)
{
    for (struct shard *s; (s = oldest(held, count)) != NULL;) {
        struct notices *l = &s->notices;
        const struct notice *n = (const void *)(l->p + l->read);
        fn(ctx, n->db, n->cls, n->event, span_of(n + 1, n->key_n));
        l->read += n->bytes;
        if (l->read < l->len)
            continue;
        l->read = l->len = 0;
        if (l->cap > NOTICES_KEEP_BYTES)
            notify_fini(s);
    }
}
