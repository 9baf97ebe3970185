/* merge.c: see merge.h. Format of records: engine/link/msg.h; of lines: engine/log/aof.h. */
#include "control/store/merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/num.h"
#include "engine/link/layout.h"
#include "engine/link/msg.h"
#include "engine/log/aof.h"

#define KEEP_BYTES (4 * MERGE_BATCH_BYTES)
#define FUTURE_NS  1000000000ull /* no clock is as far ahead as that */

void merge_init(struct merge *m)
{
    *m = (struct merge){.rest_worker = -1, .db = MERGE_NO_DB};
}

void merge_fini(struct merge *m)
{
    free(m->p);
    m->p = NULL;
    m->len = m->cap = 0;
}

int merge_attach(struct merge *m, struct link *l, const uint64_t *written)
{
    int rc = 0;
    merge_fini(m);
    *m = (struct merge){.rest_worker = -1,
                        .db = MERGE_NO_DB,
                        .workers = link_workers(l),
                        .generation = link_generation(l)};
    for (uint32_t i = 0; i < m->workers && !rc; i++) {
        rc = link_journal_ring(l, i, &m->ring[i]);
        m->next[i] = written ? written[i] + 1 : 1;
    }
    m->link = rc ? NULL : l;
    return rc;
}

/* ---- the batch ---- */

bool merge_put(struct merge *m, const void *p, size_t n)
{
    if (m->cap - m->len < n) {
        size_t cap = (m->len + n) * 2;
        uint8_t *grown = realloc(m->p, cap);
        if (!grown)
            return false;
        m->p = grown;
        m->cap = cap;
    }
    memcpy(m->p + m->len, p, n);
    m->len += n;
    return true;
}

static bool put_select(struct merge *m, uint32_t db)
{
    char text[64], number[NUM_I64_CHARS];
    if (db == m->db)
        return true;
    int digits = (int)num_format_u64(number, db);
    return merge_put(
        m, text,
        (size_t)sprintf(text, "*2\r\n$6\r\nSELECT\r\n$%d\r\n%.*s\r\n", digits, digits, number));
}

static bool put_line(struct merge *m, const char *line, size_t n)
{
    return merge_put(m, line, n) && merge_put(m, "\r\n", 2);
}

bool merge_put_shards(struct merge *m)
{
    char line[AOF_LINE_BYTES];
    size_t n = 0;
    for (uint32_t i = 0; i < m->workers; i++) {
        if (!m->taken[i])
            continue;
        if (!n)
            n = aof_write_shards(line, m->generation);
        size_t next = aof_write_shard(line, n, i, m->taken[i]);
        if (!next) {
            if (!put_line(m, line, n))
                return false;
            n = aof_write_shards(line, m->generation);
            next = aof_write_shard(line, n, i, m->taken[i]);
        }
        n = next;
    }
    return !n || put_line(m, line, n);
}

void merge_written(struct merge *m, bool ends)
{
    m->len = 0;
    m->open = !ends;
    if (ends) {
        memset(m->taken, 0, sizeof m->taken);
        m->marked = false;
    }
    if (m->cap > KEEP_BYTES)
        merge_fini(m);
}

/* ---- taking ---- */

enum turn { TURN_NOW, TURN_LATER, TURN_WRITTEN, TURN_BAD };

struct head {
    struct msg_journal m;
    struct msg_journal_shard at[LIMIT_WORKERS], after[LIMIT_WORKERS];
    size_t bytes;
};

static bool read_head(struct span p, struct head *h)
{
    if (p.n < sizeof h->m)
        return false;
    memcpy(&h->m, p.p, sizeof h->m);
    if (!h->m.shards || h->m.shards > LIMIT_WORKERS || h->m.after > LIMIT_WORKERS)
        return false;
    size_t n = h->m.shards * sizeof h->at[0], after = h->m.after * sizeof h->after[0];
    h->bytes = sizeof h->m + n + after;
    if (p.n < h->bytes || p.n - h->bytes > h->m.bytes)
        return false;
    memcpy(h->at, p.p + sizeof h->m, n);
    memcpy(h->after, p.p + sizeof h->m + n, after);
    return true;
}

struct rest {
    struct msg_journal_more m;
    struct msg_journal_shard at[LIMIT_WORKERS];
    size_t bytes;
};

/* A part behind the first. */
static bool read_rest(struct span p, struct rest *r)
{
    if (p.n < sizeof r->m)
        return false;
    memcpy(&r->m, p.p, sizeof r->m);
    if (!r->m.shards || r->m.shards > LIMIT_WORKERS)
        return false;
    size_t n = r->m.shards * sizeof r->at[0];
    r->bytes = sizeof r->m + n;
    if (p.n <= r->bytes || r->m.offset > r->m.bytes || p.n - r->bytes > r->m.bytes - r->m.offset)
        return false;
    memcpy(r->at, p.p + sizeof r->m, n);
    return true;
}

/* Whether it is the turn of a record. */
static enum turn turn_of(const struct merge *m, const struct head *h)
{
    enum turn t = TURN_NOW;
    for (uint32_t i = 0; i < h->m.shards; i++) {
        if (h->at[i].shard >= m->workers)
            return TURN_BAD;
        if (h->at[i].seq < m->next[h->at[i].shard])
            return TURN_WRITTEN;
        if (h->at[i].seq > m->next[h->at[i].shard])
            t = TURN_LATER;
    }
    for (uint32_t i = 0; i < h->m.after; i++) {
        if (h->after[i].shard >= m->workers)
            return TURN_BAD;
        if (h->after[i].seq >= m->next[h->after[i].shard])
            t = TURN_LATER;
    }
    return t;
}

static void note_shards(struct merge *m, const struct head *h)
{
    for (uint32_t i = 0; i < h->m.shards; i++)
        m->taken[h->at[i].shard] = h->at[i].seq;
}

/* As Redis: when the second has changed. */
static bool put_stamp(struct merge *m, int64_t time_ms)
{
    char line[40];
    if (!m->stamps || time_ms / 1000 <= m->stamp_s)
        return true;
    m->stamp_s = time_ms / 1000;
    return merge_put(m, line, (size_t)sprintf(line, "#TS:%lld\r\n", (long long)m->stamp_s));
}

static bool put_body(struct merge *m, const struct head *h, struct span body, bool parts)
{
    if (parts)
        m->db = MERGE_NO_DB; /* its group can be read by itself */
    if (!put_stamp(m, h->m.time_ms) || (parts && !merge_put_shards(m)) ||
        !put_select(m, h->m.first_db) || !merge_put(m, body.p, body.n))
        return false;
    m->db = h->m.last_db;
    return true;
}

/* The bytes of a record's first part. False: no memory; nothing has changed. */
static bool put_record(struct merge *m, const struct head *h, struct span body)
{
    size_t begin = m->len;
    uint64_t before[LIMIT_WORKERS];
    bool parts = h->m.bytes > body.n;
    memcpy(before, m->taken, sizeof before);
    note_shards(m, h);
    if (m->discards || !h->m.bytes) {
        m->marked = true;
    } else if (!put_body(m, h, body, parts)) {
        m->len = begin;
        m->stamp_s = 0;
        memcpy(m->taken, before, sizeof before);
        return false;
    }
    m->at_cut = h->m.cut && m->cut && h->m.cut == __atomic_load_n(m->cut, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < h->m.shards; i++)
        m->next[h->at[i].shard] = h->at[i].seq + 1;
    return true;
}

/* The first part of a record. False: not its turn, or there is no memory for it now. */
static bool take_record(struct merge *m, uint32_t worker, struct span p)
{
    struct head h;
    enum turn t = read_head(p, &h) ? turn_of(m, &h) : TURN_BAD;
    if (t == TURN_BAD) {
        m->corrupt = true;
        return false;
    }
    if (t == TURN_LATER) {
        m->blocked = true;
        return false;
    }
    struct span body = span_of(p.p + h.bytes, p.n - h.bytes);
    if (t == TURN_NOW && h.m.bytes > body.n && !m->discards && (m->len || m->open || m->marked)) {
        m->alone = true;
        return false;
    }
    if (t == TURN_NOW && !put_record(m, &h, body)) {
        m->starved = true;
        return false;
    }
    m->rest_skips = t == TURN_WRITTEN || m->discards;
    m->rest_at = body.n;
    m->rest_bytes = h.m.bytes - body.n;
    m->rest_worker = m->rest_bytes ? (int64_t)worker : -1;
    return true;
}

static bool take_more(struct merge *m, uint32_t worker, struct span p)
{
    struct rest more;
    bool good = read_rest(p, &more);
    size_t n = good ? p.n - more.bytes : 0;
    if (!good || m->rest_worker != (int64_t)worker || more.m.offset != m->rest_at ||
        n > m->rest_bytes) {
        m->corrupt = true;
        return false;
    }
    if (!m->rest_skips && !merge_put(m, p.p + more.bytes, n)) {
        m->starved = true;
        return false;
    }
    m->rest_at += n;
    m->rest_bytes -= n;
    if (!m->rest_bytes)
        m->rest_worker = -1;
    return true;
}

/* The next record of each ring, as it was looked at: what is published later is the next batch's. */
struct heads {
    struct {
        struct span p;
        uint32_t type;
        bool there;
        uint64_t at_ns;
    } ring[LIMIT_WORKERS];
    uint64_t waits; /* those whose turn it is not, a bit each */
    uint64_t until_ns;
};

static void look(struct merge *m, struct heads *h, uint32_t i)
{
    struct ring_record rec;
    struct msg_journal first;
    enum ring_status s = ring_peek(&m->ring[i], &rec);
    m->corrupt |= s == RING_CORRUPT;
    h->ring[i].there = s == RING_RECORD;
    h->ring[i].at_ns = 0;
    if (s != RING_RECORD)
        return;
    h->ring[i].p = rec.payload;
    h->ring[i].type = rec.type;
    if (rec.type != MSG_JOURNAL || rec.payload.n < sizeof first)
        return;
    memcpy(&first, rec.payload.p, sizeof first);
    /* The clock is one of the machine's; a record that claims to be of the future is not waited for. */
    if (first.at_ns < h->until_ns + FUTURE_NS)
        h->ring[i].at_ns = first.at_ns;
}

/* The ring whose record is the oldest of those that were made until then. m->workers: none is left. */
static uint32_t oldest(const struct merge *m, const struct heads *h)
{
    uint32_t ret = m->workers;
    if (m->rest_worker >= 0)
        return h->ring[m->rest_worker].there ? (uint32_t)m->rest_worker : ret;
    uint64_t least = h->until_ns + 1;
    for (uint32_t i = 0; i < m->workers; i++) {
        if (!h->ring[i].there || (h->waits & 1ull << i) || h->ring[i].at_ns >= least)
            continue;
        least = h->ring[i].at_ns;
        ret = i;
    }
    return ret;
}

/* False: not now. */
static bool take_head(struct merge *m, struct heads *h, uint32_t i)
{
    bool first = h->ring[i].type == MSG_JOURNAL && m->rest_worker < 0;
    if (first ? take_record(m, i, h->ring[i].p) : take_more(m, i, h->ring[i].p)) {
        ring_pass(&m->ring[i]);
        look(m, h, i);
        return true;
    }
    if (m->blocked)
        h->waits |= 1ull << i;
    else
        h->ring[i].there = false;
    m->blocked = false;
    return false;
}

bool merge_take(struct merge *m)
{
    struct heads h = {.until_ns = link_journal_clock_ns()};
    bool some = false;
    m->alone = m->starved = m->blocked = false;
    for (uint32_t i = 0; m->link && i < m->workers; i++)
        look(m, &h, i);
    while (m->link && m->len < MERGE_BATCH_BYTES && !m->alone && !m->starved && !m->at_cut) {
        uint32_t i = oldest(m, &h);
        if (i == m->workers)
            break;
        if (!take_head(m, &h, i))
            continue;
        h.waits = 0;
        some = true;
    }
    m->blocked = h.waits != 0;
    return some;
}

void merge_give_back(struct merge *m)
{
    for (uint32_t i = 0; i < m->workers; i++)
        if (__atomic_load_n(&m->ring[i].shm->tail, __ATOMIC_RELAXED) != m->ring[i].pos)
            ring_give_back(&m->ring[i]);
}

uint64_t merge_backlog(const struct merge *m)
{
    uint64_t n = m->len;
    for (uint32_t i = 0; m->link && i < m->workers; i++)
        n += ring_backlog(&m->ring[i]);
    return n;
}

/* ---- after a death ---- */

void merge_drop_rest(struct merge *m)
{
    if (m->rest_worker >= 0 && !m->rest_skips) {
        m->len = 0;
        m->open = false;
        m->db = MERGE_NO_DB;
        memset(m->taken, 0, sizeof m->taken);
    }
    m->rest_worker = -1;
}

/* By shard: the lowest number that is there, UINT64_MAX: none; and the highest that a record is to be behind. */
struct bounds {
    uint64_t low[LIMIT_WORKERS], behind[LIMIT_WORKERS];
};

static void widen(const struct merge *m, const struct head *h, struct bounds *b)
{
    for (uint32_t k = 0; k < h->m.shards; k++)
        if (h->at[k].shard < m->workers && h->at[k].seq < b->low[h->at[k].shard])
            b->low[h->at[k].shard] = h->at[k].seq;
    for (uint32_t k = 0; k < h->m.after; k++)
        if (h->after[k].shard < m->workers && h->after[k].seq > b->behind[h->after[k].shard])
            b->behind[h->after[k].shard] = h->after[k].seq;
}

uint64_t merge_skip_missing(struct merge *m)
{
    struct bounds b = {.behind = {0}};
    uint64_t missing = 0;
    struct ring_record rec;
    struct head h;
    memset(b.low, 0xff, sizeof b.low);
    for (uint32_t i = 0; i < m->workers; i++) {
        struct ring view = m->ring[i];
        while (ring_peek(&view, &rec) == RING_RECORD) {
            if (rec.type == MSG_JOURNAL && read_head(rec.payload, &h))
                widen(m, &h, &b);
            ring_pass(&view);
        }
    }
    for (uint32_t i = 0; i < m->workers; i++) {
        uint64_t next = b.low[i] == UINT64_MAX ? b.behind[i] + 1 : b.low[i];
        if (next <= m->next[i])
            continue;
        missing += next - m->next[i];
        m->next[i] = next;
    }
    return missing;
}

/* The record of which a ring holds the end. False: each begins with a begin. */
static bool find_cut(const struct ring *rings, uint32_t n, uint32_t *ret_worker, struct span *ret)
{
    struct ring_record rec;
    for (uint32_t i = 0; i < n; i++) {
        struct ring view = rings[i];
        if (ring_peek(&view, &rec) != RING_RECORD || rec.type != MSG_JOURNAL_MORE)
            continue;
        *ret = rec.payload;
        *ret_worker = i;
        return true;
    }
    return false;
}

bool merge_is_cut(struct link *l)
{
    struct ring rings[LIMIT_WORKERS];
    struct span more;
    uint32_t worker;
    for (uint32_t i = 0; i < link_workers(l); i++)
        if (link_journal_ring(l, i, &rings[i]))
            return false;
    return find_cut(rings, link_workers(l), &worker, &more);
}

static void note_taken(void *ctx, uint32_t shard, uint64_t seq)
{
    struct merge *m = ctx;
    if (shard < m->workers)
        m->taken[shard] = seq;
}

/* There is no log that the record's begin could be in: no more is wanted of it than its numbers. */
static void pass_over(struct merge *m, const struct rest *more)
{
    for (uint32_t i = 0; i < more->m.shards; i++) {
        uint32_t shard = more->at[i].shard;
        if (more->at[i].seq < m->next[shard])
            continue;
        m->next[shard] = more->at[i].seq + 1;
        m->taken[shard] = more->at[i].seq;
        m->marked = true;
    }
}

static void go_on_with(struct merge *m, uint32_t worker, const struct rest *more, bool skips)
{
    m->rest_skips = skips;
    m->rest_worker = (int64_t)worker;
    m->rest_at = more->m.offset;
    m->rest_bytes = more->m.bytes - more->m.offset;
}

bool merge_resume(struct merge *m, struct span tail)
{
    struct rest more;
    struct span part;
    uint32_t worker, generation = 0, argc = 0;
    uint64_t at = 0, n;
    if (!find_cut(m->ring, m->workers, &worker, &part))
        return true;
    if (!read_rest(part, &more))
        return false;
    for (uint32_t i = 0; i < more.m.shards; i++)
        if (more.at[i].shard >= m->workers)
            return false;
    bool written = more.at[0].seq < m->next[more.at[0].shard];
    if (m->discards)
        pass_over(m, &more);
    if (written || m->discards) {
        go_on_with(m, worker, &more, true);
        return true;
    }
    while (at + 4 < tail.n && tail.p[at] == '#' && (n = aof_next(tail, at, NULL, 0, &argc))) {
        if (!aof_read_shards(span_of(tail.p + at, n), &generation, note_taken, m) ||
            generation != m->generation)
            return false;
        at += n;
    }
    n = aof_next(tail, at, NULL, 0, &argc); /* SELECT */
    if (!generation || !n || argc != 2 || tail.n - at - n < more.m.offset ||
        !merge_put(m, tail.p, at + n + more.m.offset))
        return false;
    for (uint32_t i = 0; i < m->workers; i++)
        if (m->taken[i])
            m->next[i] = m->taken[i] + 1;
    m->db = more.m.last_db;
    go_on_with(m, worker, &more, false);
    return true;
}
