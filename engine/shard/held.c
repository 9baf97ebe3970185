/* See held.h. */
#include "engine/shard/held.h"

#include <stdlib.h>
#include <string.h>

void held_begin(struct held *h, struct shard *s, const struct entry *e, uint8_t resp,
                bool (*more)(struct held *h, struct reply *out, size_t budget))
{
    h->shard = s;
    h->e = e;
    h->resp = resp;
    h->more = more;
    h->rest = (struct reply_heap){0};
    h->rest_off = 0;
    h->failed = false;
    list_push_back(&s->held_all, &h->node);
    s->held_count++;
    s->touch_ms = -1; /* the short way of a change does not ask */
}

static void let_go(struct held *h)
{
    if (!h->e)
        return;
    h->e = NULL;
    h->shard->held_count--;
}

void held_drop(struct held *h)
{
    let_go(h);
    list_remove(&h->node);
    reply_heap_free(&h->rest);
    free(h);
}

bool held_take(struct held *h, struct reply *out, size_t budget)
{
    if (h->e) {
        if (!h->more(h, out, budget))
            return false;
    } else if (h->failed) {
        out->failed = true;
    } else {
        size_t left = h->rest.len - h->rest_off, n = left < budget ? left : budget;
        reply_raw(out, h->rest.p + h->rest_off, n);
        h->rest_off += n;
        if (n < left)
            return false;
    }
    held_drop(h);
    return true;
}

void held_fini(struct shard *s)
{
    list_for_each_safe(n, next, &s->held_all)
    {
        held_drop(list_entry(n, struct held, node));
    }
}

size_t held_bytes(const struct held *h)
{
    return h->rest.cap;
}

void held_touch_now(struct shard *s, const struct entry *e)
{
    list_for_each_safe(n, next, &s->held_all)
    {
        struct held *h = list_entry(n, struct held, node);
        struct reply r;
        if (!h->e || (e && h->e != e))
            continue;
        reply_heap_init(&r, &h->rest, h->resp);
        h->more(h, &r, SIZE_MAX);
        reply_heap_finish(&r, &h->rest);
        h->failed = r.failed;
        let_go(h);
    }
}
