/* See held.h. */
#include "engine/shard/held.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES 65536
#define STEP_BYTES 4096
#define PASS_MS    20

struct held_text {
    struct list node; /* held->rest */
    size_t off, len, cap;
    uint8_t data[];
};

void held_begin(struct held *h, struct shard *s, const struct entry *e, uint8_t resp,
                bool (*more)(struct held *h, struct reply *out, size_t budget))
{
    h->shard = s;
    h->e = e;
    h->resp = resp;
    h->more = more;
    h->failed = h->wanted = false;
    list_init(&h->rest);
    list_push_back(&s->held_all, &h->node);
    s->held_count++;
    s->touch_ms = -1; /* the short way of a change does not ask */
}

static void let_go(struct held *h)
{
    struct shard *s = h->shard;
    if (!h->e)
        return;
    h->e = NULL;
    s->held_count--;
    if (h->wanted) {
        s->held_wanted--;
        s->held_answered++;
        s->held_pass_ms = s->now_ms + PASS_MS;
    }
}

void held_drop(struct held *h)
{
    let_go(h);
    list_remove(&h->node);
    for (struct list *n; (n = list_pop_front(&h->rest)) != NULL;)
        free(list_entry(n, struct held_text, node));
    free(h);
}

/* ---- the rest ---- */

static struct held_text *last_of(struct held *h)
{
    return list_empty(&h->rest) ? NULL : list_entry(h->rest.prev, struct held_text, node);
}

static void text_close(struct held *h, struct reply *r)
{
    struct held_text *t = last_of(h);
    if (t && r->cur)
        t->len = (size_t)(r->cur - t->data);
}

static void text_more(struct reply *r, size_t hint)
{
    struct held *h = r->ctx;
    size_t cap = hint > TEXT_BYTES ? hint : TEXT_BYTES;
    text_close(h, r);
    struct held_text *t = malloc(sizeof(*t) + cap);
    if (!t) {
        r->failed = true;
        return;
    }
    t->off = t->len = 0;
    t->cap = cap;
    list_push_back(&h->rest, &t->node);
    r->cur = t->data;
    r->end = t->data + cap;
}

static const struct reply_sink text_sink = {text_more};

static void write_down(struct held *h, size_t budget)
{
    struct held_text *t = last_of(h);
    struct reply r = {.sink = &text_sink, .ctx = h, .resp = h->resp};
    if (t) {
        r.cur = t->data + t->len;
        r.end = t->data + t->cap;
    }
    bool over = h->more(h, &r, budget);
    if (!r.failed)
        text_close(h, &r);
    h->failed = r.failed;
    if (over || r.failed)
        let_go(h);
}

/* Of what was written down, at most `budget` bytes. */
static void take_text(struct held *h, struct reply *out, size_t budget)
{
    for (struct list *n; budget && (n = list_pop_front(&h->rest)) != NULL;) {
        struct held_text *t = list_entry(n, struct held_text, node);
        size_t left = t->len - t->off, some = left < budget ? left : budget;
        reply_raw(out, t->data + t->off, some);
        t->off += some;
        budget -= some;
        if (some < left)
            list_push_front(&h->rest, &t->node);
        else
            free(t);
    }
}

bool held_take(struct held *h, struct reply *out, size_t budget)
{
    if (h->failed) {
        out->failed = true;
    } else if (!list_empty(&h->rest)) {
        take_text(h, out, budget);
        if (h->e || !list_empty(&h->rest))
            return false;
    } else if (h->e && !h->more(h, out, budget)) {
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

/* ---- changes ---- */

bool held_wants_now(struct shard *s, const struct entry *e)
{
    bool waits = false;
    if (s->now_ms < s->held_pass_ms)
        return false;
    list_for_each (n, &s->held_all) {
        struct held *h = list_entry(n, struct held, node);
        if (h->e != e)
            continue;
        s->held_wanted += !h->wanted;
        h->wanted = waits = true;
    }
    return waits;
}

void held_step(struct shard *s)
{
    list_for_each_safe(n, next, &s->held_all)
    {
        struct held *h = list_entry(n, struct held, node);
        if (!h->wanted || !h->e)
            continue;
        write_down(h, STEP_BYTES);
        return;
    }
}

void held_touch_now(struct shard *s, const struct entry *e)
{
    list_for_each_safe(n, next, &s->held_all)
    {
        struct held *h = list_entry(n, struct held, node);
        if (h->e && (!e || h->e == e))
            write_down(h, SIZE_MAX);
    }
}
