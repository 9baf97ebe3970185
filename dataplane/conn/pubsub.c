/* Messages to subscribers: of this worker's clients, and through events of others'.
 *
 *     PUBLISH on worker 0            worker 1 (its filter says: perhaps)     worker 2 (its filter says: no)
 *     to clients here
 *     struct publication  ---------> to clients here
 *     sum, reply          <--------- the same memory, with how many
 *
 * A message is encoded once; its bytes in RESP2 and RESP3 differ in the first. All that one worker publishes goes the same way to another,
 * one ring, first in, first out: order per publisher and channel is kept. What several workers publish to one is run there in the order in which
 * they sent it: each takes the next of its tickets, and one that comes before its turn keeps its ring closed until then. So whatever has happened before a
 * publication, on whichever worker, has been told before it. Thread: the worker's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/cmd/command_table.h"

#define MESSAGE_KEEP_BYTES (64 * 1024) /* a longer encoding is not kept for the next one */

/* ---- to clients of this worker ---- */

struct delivery {
    struct worker *w;
    struct span channel, message;
    struct span pattern; /* of what is encoded */
    enum pubsub_kind kind;
    bool encoded;
    size_t head; /* so many bytes name the channel, and the pattern */
};

/* w->message := "message" channel text, "pmessage" pattern channel text or "smessage" channel text. */
static void encode(struct delivery *d, struct span pattern)
{
    struct reply_heap *h = &d->w->message;
    struct reply r;
    h->len = 0;
    reply_heap_append(&r, h, 2);
    reply_push(&r, pattern.p ? 4 : 3);
    reply_bulk_str(&r, pattern.p ? "pmessage" : d->kind == PUBSUB_SHARD ? "smessage" : "message");
    if (pattern.p)
        reply_bulk(&r, pattern);
    reply_bulk(&r, d->channel);
    reply_heap_finish(&r, h);
    d->head = h->len;
    reply_heap_append(&r, h, 2);
    reply_bulk(&r, d->message);
    reply_heap_finish(&r, h);
    d->encoded = !r.failed;
    d->pattern = pattern;
}

static void deliver(void *ctx, struct session *s, struct span pattern)
{
    struct delivery *d = ctx;
    struct worker *w = d->w;
    struct conn *c = (struct conn *)s;
    if (!d->encoded || d->pattern.p != pattern.p)
        encode(d, pattern);
    if (!d->encoded)
        return; /* no memory */
    w->message.p[0] = s->resp == 2 ? '*' : '>';
    struct span bytes = span_of(w->message.p, w->message.len);
    STAT_INC(w->stats->pubsub_messages);
    if (unlikely_(s->conflate || c->conflate))
        conflate_push(c, bytes, d->head);
    else
        conn_push(c, bytes);
}

static int64_t publish_hashed(struct worker *w, enum pubsub_kind kind, struct span channel,
                              struct span message, uint64_t hash)
{
    struct delivery d = {.w = w, .channel = channel, .message = message, .kind = kind};
    if (!pubsub_wanted(&w->pubsub.filter, kind, hash))
        return 0;
    int64_t n = (int64_t)pubsub_deliver(&w->pubsub, kind, channel, hash, deliver, &d);
    if (w->message.cap > MESSAGE_KEEP_BYTES)
        reply_heap_free(&w->message);
    return n;
}

int64_t pubsub_publish_here(struct worker *w, enum pubsub_kind kind, struct span channel,
                            struct span message)
{
    return publish_hashed(w, kind, channel, message, pubsub_hash(&w->pubsub, kind, channel));
}

/* In the middle of a command: what it has written so far is its client's, then its writer is opened again. */
int64_t host_publish(struct host *h, int kind, struct span channel, struct span message)
{
    struct worker *w = (struct worker *)((char *)h - offsetof(struct worker, host));
    struct conn *asker = w->out_conn;
    bool muted = w->out.muted;
    out_close(w);
    int64_t n = pubsub_publish_here(w, (enum pubsub_kind)kind, channel, message);
    if (asker && !asker->dead) {
        out_open(asker);
        w->out.muted = muted;
    } else if (asker) { /* its own message was too much for it: what it is answered goes nowhere */
        w->out.cur = w->out.end = NULL;
        w->out.muted = true;
    }
    return n;
}

/* ---- to other workers ---- */

struct publication {
    struct mail_event ev; /* there, and back with the answer */
    publish_answer *answer;
    void *ctx;
    uint64_t ticket; /* at the worker that it goes to */
    uint64_t hash;
    int64_t receivers;
    enum pubsub_kind kind;
    uint32_t channel_len;
    size_t message_len;
    uint8_t bytes[];
};

uint64_t pubsub_others(struct worker *w, enum pubsub_kind kind, struct span channel)
{
    uint64_t hash = pubsub_hash(&w->pubsub, kind, channel), others = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        if (i != w->id && pubsub_wanted(&w->all[i]->pubsub.filter, kind, hash))
            others |= 1ull << i;
    }
    return others;
}

static void on_answer(struct worker *w, struct mail_event *ev)
{
    struct publication *p = (struct publication *)ev;
    p->answer(w, p->ctx, p->receivers);
    free(p);
}

/* Others that were sent to w before it have not come yet: it is looked at again, and what lies behind it waits. */
static bool comes_early(struct worker *w, struct publication *p)
{
    uint64_t from = 1ull << p->ev.from;
    if (p->ticket != w->tickets_run) {
        w->rings_closed |= from;
        list_push_back(&w->events, &p->ev.node);
        return true;
    }
    w->tickets_run++;
    if (p->ev.from == w->id)
        w->told_later--;
    else
        w->rings_closed &= ~from;
    return false;
}

static void on_publication(struct worker *w, struct mail_event *ev)
{
    struct publication *p = (struct publication *)ev;
    if (comes_early(w, p))
        return;
    out_close(w);
    p->receivers = publish_hashed(w, p->kind, span_of(p->bytes, p->channel_len),
                                  span_of(p->bytes + p->channel_len, p->message_len), p->hash);
    if (!p->answer) {
        free(p);
        return;
    }
    p->ev.run = on_answer;
    event_send(w, p->ev.from, &p->ev);
}

/* The next ticket, and the message to the ring at once: nobody waits for it until the end of this turn. */
static void send(struct worker *w, uint32_t to, struct publication *p)
{
    struct worker *there = w->all[to];
    p->ticket = __atomic_fetch_add(&there->tickets, 1, __ATOMIC_RELAXED); /* the ring orders */
    event_send(w, to, &p->ev);
    if (to == w->id) {
        w->told_later++;
        return;
    }
    mail_flush(&there->in[w->id]);
    worker_wake(there);
}

void pubsub_send(struct worker *w, uint64_t workers, enum pubsub_kind kind, struct span channel,
                 struct span message, publish_answer *answer, void *ctx)
{
    uint64_t hash = pubsub_hash(&w->pubsub, kind, channel);
    for (; workers; workers &= workers - 1) {
        struct publication *p = malloc(sizeof(*p) + channel.n + message.n);
        if (!p) {
            if (answer)
                answer(w, ctx, 0);
            continue;
        }
        *p = (struct publication){.ev.run = on_publication,
                                  .answer = answer,
                                  .ctx = ctx,
                                  .hash = hash,
                                  .kind = kind,
                                  .channel_len = (uint32_t)channel.n,
                                  .message_len = message.n};
        memcpy(p->bytes, channel.p, channel.n);
        memcpy(p->bytes + channel.n, message.p, message.n);
        send(w, (uint32_t)__builtin_ctzll(workers), p);
    }
}

/* What was sent to this worker's clients before is told: by others, or with `own` only by itself. */
static bool up_to_date(const struct worker *w, bool own)
{
    return own ? w->told_later == 0
               : __atomic_load_n(&w->tickets, __ATOMIC_RELAXED) == w->tickets_run;
}

int64_t pubsub_publish_now(struct worker *w, enum pubsub_kind kind, struct span channel,
                           struct span message, uint64_t *ret_others)
{
    *ret_others = pubsub_others(w, kind, channel);
    if (likely_(up_to_date(w, true)))
        return pubsub_publish_here(w, kind, channel, message);
    *ret_others |= 1ull << w->id;
    return 0;
}

void pubsub_publish(struct worker *w, enum pubsub_kind kind, struct span channel,
                    struct span message)
{
    uint64_t others = w->count > 1 ? pubsub_others(w, kind, channel) : 0;
    if (w->count == 1 || up_to_date(w, false))
        pubsub_publish_here(w, kind, channel, message);
    else
        others |= 1ull << w->id;
    if (others)
        pubsub_send(w, others, kind, channel, message, NULL, NULL);
}

/* ---- keyspace notifications ---- */

#define EVENT_NAME_BYTES 128 /* a longer channel's name is made on the heap */

static void publish_event(struct worker *w, const char *what, uint32_t db, struct span about,
                          struct span message)
{
    char small[EVENT_NAME_BYTES];
    size_t cap = about.n + 32;
    char *name = cap <= sizeof(small) ? small : malloc(cap);
    if (!name)
        return;
    size_t n = (size_t)snprintf(name, cap, "__%s@%u__:", what, db);
    memcpy(name + n, about.p, about.n);
    pubsub_publish(w, PUBSUB_CHANNEL, span_of(name, n + about.n), message);
    if (name != small)
        free(name);
}

void notify_tell(struct worker *w, uint32_t flags, const struct notice_seen *n)
{
    if (!(flags & n->cls))
        return;
    if (flags & NOTIFY_KEYSPACE)
        publish_event(w, "keyspace", n->db, n->key, span_str(n->event));
    if (flags & NOTIFY_KEYEVENT)
        publish_event(w, "keyevent", n->db, span_str(n->event), n->key);
}

/* ---- order ---- */

/* Who sets a key and publishes that he did means: in this order. Where the key is another worker's, the message would be faster than the
 * write. So a PUBLISH waits for replies that its client awaits, but for those of other PUBLISHes: they go the same way. */
bool publish_waits(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    for (struct list *n = c->slots.prev; n != &c->slots; n = n->prev) {
        struct slot *slot = list_entry(n, struct slot, node);
        if (slot->parts == 0 || slot->publishes)
            continue;
        slot->resumes = true; /* the youngest; those before it are looked at then */
        batch_put_back(w, s);
        c->paused = true;
        return true;
    }
    return false;
}
