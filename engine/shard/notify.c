/* notify: see notify.h. Thread: the holder's of the shard.
 *
 * A command under leases changes several shards; the order of its events is that of its steps. All its notes are made on one thread, so a count
 * of that thread tells their order. */
#include "engine/shard/notify.h"

#include <stdlib.h>

#include "engine/shard/shard_internal.h"

#define NOTICES_KEEP_BYTES (64 * 1024) /* room for more is given back */

struct notice {
    uint64_t at; /* notify_step */
    const char *event;
    uint32_t db, cls;
    size_t key_n, bytes; /* of the key; of the record */
};

static __thread uint64_t steps;

uint64_t notify_step(void)
{
    return steps++;
}

void notify_configure(struct shard *s)
{
    uint32_t flags = s->config->notify_events;
    if ((flags & (NOTIFY_KEYSPACE | NOTIFY_KEYEVENT)) && (flags & NOTIFY_CLASSES))
        s->listen |= LISTEN_NOTIFY;
    else
        s->listen &= ~(uint32_t)LISTEN_NOTIFY;
}

void notices_fini(struct notices *l)
{
    free(l->p);
    *l = (struct notices){.lost = l->lost};
}

void notify_fini(struct shard *s)
{
    notices_fini(&s->notices);
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
        .at = notify_step(), .event = event, .db = db, .cls = cls, .key_n = key.n, .bytes = bytes};
    if (key.n)
        memcpy(n + 1, key.p, key.n);
    s->after |= AFTER_NOTIFY;
}

bool notices_first(const struct notices *l, struct notice_seen *ret)
{
    if (l->read == l->len)
        return false;
    const struct notice *n = (const void *)(l->p + l->read);
    *ret = (struct notice_seen){n->at, n->db, n->cls, n->event, span_of(n + 1, n->key_n)};
    return true;
}

void notices_pass(struct notices *l)
{
    const struct notice *n = (const void *)(l->p + l->read);
    l->read += n->bytes;
    if (l->read < l->len)
        return;
    l->read = l->len = 0;
    if (l->cap > NOTICES_KEEP_BYTES)
        notices_fini(l);
}

struct shard *notify_first(struct shard *const *held, uint32_t count, struct notice_seen *ret)
{
    struct notice_seen n;
    struct shard *found = NULL;
    for (uint32_t i = 0; i < count; i++) {
        if (!held[i] || !notices_first(&held[i]->notices, &n) || (found && n.at > ret->at))
            continue;
        *ret = n;
        found = held[i];
    }
    return found;
}
