/* See long_reply.h. The writers of elements stand with their commands. */
#include "engine/cmd/long_reply.h"

#include <stdlib.h>

struct long_reply *long_reply_begin(struct cmd *c, struct shard *s, const struct entry *e,
                                    uint64_t n, uint64_t count,
                                    bool (*more)(struct held *h, struct reply *out, size_t budget))
{
    if (likely_(!c->may_hold) || n == 0 || c->out->muted)
        return NULL;
    double bytes = (double)entry_bytes(e) * (double)n / (double)count;
    return long_reply_begin_bytes(c, s, e, bytes, more);
}

struct long_reply *
long_reply_begin_bytes(struct cmd *c, struct shard *s, const struct entry *e, double bytes,
                       bool (*more)(struct held *h, struct reply *out, size_t budget))
{
    if (!c->may_hold || c->out->muted || bytes < LIMIT_LONG_REPLY_BYTES)
        return NULL;
    struct long_reply *l = malloc(sizeof(*l));
    if (!l)
        return NULL;
    held_begin(&l->h, s, e, c->out->resp, more);
    l->h.session = c->session;
    s->held_new = &l->h;
    s->after |= AFTER_HELD;
    return l;
}

static bool more_text(struct held *h, struct reply *out, size_t budget)
{
    struct long_reply *l = long_reply_of(h);
    size_t n = l->text.n < budget ? l->text.n : budget;
    reply_raw(out, l->text.p, n);
    l->text = span_of(l->text.p + n, l->text.n - n);
    if (l->text.n)
        return false;
    reply_raw(out, "\r\n", 2);
    return true;
}

bool long_reply_text(struct cmd *c, struct shard *s, const struct entry *e, struct span text)
{
    struct long_reply *l = long_reply_begin(c, s, e, 1, 1, more_text);
    if (!l)
        return false;
    char head[NUM_I64_CHARS + 3];
    head[0] = '$';
    size_t n = 1 + num_format_u64(head + 1, text.n);
    head[n++] = '\r';
    head[n++] = '\n';
    reply_raw(c->out, head, n);
    l->text = text;
    return true;
}
