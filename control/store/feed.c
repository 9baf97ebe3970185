/* feed.c: see feed.h. */
#include "control/store/feed.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RECORD_BYTES (48u * 1024)
#define WAIT_NS      200000
static_assert(RECORD_BYTES < LIMIT_LINK_MSG_BYTES, "one record");

struct target { /* one worker */
    struct ring ring;
    uint8_t *record; /* in the ring, struct msg_load first; NULL: none is begun */
    uint64_t offset; /* of its first key */
    size_t n;
};

struct feed {
    uint64_t id;
    const char *const *stop;
    uint32_t workers;
    struct target target[];
};

struct feed *feed_open(struct link *link, uint64_t id, const char *const *stop)
{
    uint32_t workers = link_workers(link);
    struct feed *f = calloc(1, sizeof *f + workers * sizeof f->target[0]);
    if (!f)
        return NULL;
    f->id = id;
    f->stop = stop;
    f->workers = workers;
    for (uint32_t i = 0; i < workers; i++)
        if (link_load_ring(link, i, &f->target[i].ring)) {
            free(f);
            return NULL;
        }
    return f;
}

void feed_close(struct feed *f)
{
    free(f);
}

/* NULL: stopped. */
static uint8_t *reserve(struct feed *f, struct target *t, size_t n)
{
    uint8_t *p;
    while (!(p = ring_reserve(&t->ring, (uint32_t)n))) {
        if (__atomic_load_n(f->stop, __ATOMIC_RELAXED))
            return NULL;
        nanosleep(&(struct timespec){.tv_nsec = WAIT_NS}, NULL);
    }
    return p;
}

static void publish(struct feed *f, struct target *t, uint32_t type, uint32_t flags)
{
    struct msg_load m = {.id = f->id, .offset = t->offset, .flags = flags};
    memcpy(t->record, &m, sizeof m);
    ring_publish(&t->ring, type, (uint32_t)t->n);
    t->record = NULL;
}

static bool begin_record(struct feed *f, struct target *t, uint64_t offset)
{
    t->record = reserve(f, t, RECORD_BYTES);
    t->offset = offset;
    t->n = sizeof(struct msg_load);
    return t->record != NULL;
}

static void flush(struct feed *f, struct target *t)
{
    if (t->record)
        publish(f, t, MSG_LOAD_KEYS, 0);
}

static void put(struct target *t, const void *p, size_t n)
{
    memcpy(t->record + t->n, p, n);
    t->n += n;
}

static bool send_plain(struct feed *f, uint32_t type)
{
    for (uint32_t i = 0; i < f->workers; i++) {
        flush(f, &f->target[i]);
        if (!begin_record(f, &f->target[i], 0))
            return false;
        publish(f, &f->target[i], type, 0);
    }
    return true;
}

bool feed_begin(struct feed *f)
{
    return send_plain(f, MSG_LOAD_BEGIN);
}

bool feed_end(struct feed *f)
{
    return send_plain(f, MSG_LOAD_END);
}

bool feed_sizes(struct feed *f, uint32_t db, uint64_t keys, uint64_t expires)
{
    struct msg_load_sizes m = {
        .id = f->id, .keys = keys / f->workers, .expires = expires / f->workers, .db = db};
    for (uint32_t i = 0; i < f->workers; i++) {
        struct target *t = &f->target[i];
        flush(f, t);
        uint8_t *p = reserve(f, t, sizeof m);
        if (!p)
            return false;
        memcpy(p, &m, sizeof m);
        ring_publish(&t->ring, MSG_LOAD_SIZES, sizeof m);
    }
    return true;
}

/* A key longer than a record, in parts. */
static bool send_long(struct feed *f, struct target *t, const struct msg_load_key *k,
                      const struct msg_load_facts *facts, struct span body, uint64_t offset)
{
    bool first = true;
    flush(f, t);
    while (first || body.n) {
        if (!begin_record(f, t, offset))
            return false;
        if (first)
            put(t, k, sizeof *k);
        if (first && k->flags & MSG_LOAD_FACTS)
            put(t, facts, sizeof *facts);
        size_t n = body.n < RECORD_BYTES - t->n ? body.n : RECORD_BYTES - t->n;
        put(t, body.p, n);
        body = span_of(body.p + n, body.n - n);
        publish(f, t, MSG_LOAD_PART, body.n ? 0 : MSG_LOAD_LAST);
        first = false;
    }
    return true;
}

bool feed_key(struct feed *f, uint32_t i, const struct rdb_item *item, uint32_t db, uint64_t offset)
{
    struct target *t = &f->target[i];
    struct msg_load_facts facts = {item->expire_ms, item->idle_s, item->freq};
    struct msg_load_key k = {.db = (uint8_t)db, .type = item->type};
    size_t head = sizeof k;
    if ((facts.expire_ms & facts.idle_s & facts.freq) != -1) {
        k.flags = MSG_LOAD_FACTS;
        head += sizeof facts;
    }
    if (item->body.n > RECORD_BYTES - sizeof(struct msg_load) - sizeof k - sizeof facts) {
        k.bytes = UINT32_MAX;
        return send_long(f, t, &k, &facts, item->body, offset);
    }
    if (t->record && (t->n + head + item->body.n > RECORD_BYTES || offset - t->offset > UINT32_MAX))
        flush(f, t);
    if (!t->record && !begin_record(f, t, offset))
        return false;
    k.bytes = (uint32_t)item->body.n;
    k.after = (uint32_t)(offset - t->offset);
    put(t, &k, sizeof k);
    if (k.flags)
        put(t, &facts, sizeof facts);
    put(t, item->body.p, item->body.n);
    return true;
}
