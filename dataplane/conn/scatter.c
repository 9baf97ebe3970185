/* Requests over several shards: the home's side.
 *
 * MGET, MSET, DEL, UNLINK, EXISTS and TOUCH split: each shard gets its keys as a part, all at the same time.
 *
 *   scatter_start   PART_ASK to every shard -------------> part.c: granted, read | refused
 *   all granted     what only reads: reply; PART_DROP ---> let go
 *                   what writes:            PART_RUN ----> run, let go; reply
 *                   and has a journal:      PART_RUN to one, which writes the request down; then to the others
 *                   and is listened to:     what it has done is told (told.c), then PART_DROP ---> let go
 *   some refused    PART_DROP to those that were granted; then in order: PART_WAIT to one shard after the other, which waits for its turn
 *   no room         PART_DROP, then under leases
 *
 * Everything else runs under leases (lease.c). As long as a request is under way its client goes on with what does not meet its keys.
 * Why this is atomic, and nobody waits for ever: docs/threads.md. Thread: the client's home worker. */
#include "dataplane/conn/scatter.h"

#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "dataplane/conn/spread.h"
#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"

#define KEYS_HERE 64 /* more of them: in memory of their own */

static void go_on(struct worker *w, struct scatter *sc);

/* ---- parts on their way ---- */

static inline void step(struct worker *w, struct scatter *sc, struct part *p, enum part_step step)
{
    p->step = (uint8_t)step;
    p->runs = step == (sc->write ? PART_RUN : PART_ASK);
    sc->awaited++;
    part_send(w, p->shard, p);
}

/* Those parts; PART_ASK: every one. */
static void step_all(struct worker *w, struct scatter *sc, enum part_step to, enum part_step those)
{
    uint32_t n = sc->parts;
    sc->awaited++; /* my own part may be home at once: not the last one yet */
    for (uint32_t i = 0; i < n; i++)
        if (those == PART_ASK || sc->part[i].step == those)
            step(w, sc, &sc->part[i], to);
    if (--sc->awaited == 0)
        go_on(w, sc);
}

/* ---- the record ---- */

#define REPLY_ROOM 32 /* for a part's reply, and for each value in it, in the block itself */
#define VALUE_ROOM 104

static void *block_new(struct worker *w, size_t size, bool *pooled)
{
    struct scatter_pool *pool = &w->scatter_pool;
    *pooled = size <= SCATTER_BLOCK_BYTES;
    if (likely_(*pooled && pool->n))
        return pool->block[--pool->n];
    return aligned_alloc(64, *pooled ? SCATTER_BLOCK_BYTES : (size + 63) & ~(size_t)63);
}

/* What a request needs: its parts, `bytes` of arguments. */
struct need {
    uint32_t keys, parts;
    size_t bytes;
};

/* Memory for the request; its keys and arguments are to be filled in, the latter at *bytes. NULL: there is none. */
static struct scatter *scatter_new(struct worker *w, const struct staged *s,
                                   const struct need *need, uint8_t **bytes)
{
    uint32_t keys = need->keys, parts = need->parts;
    size_t args = s->argc + (parts ? s->argc + parts : 0);
    size_t room = parts * REPLY_ROOM + (s->desc->split == SPLIT_VALUES ? keys * VALUE_ROOM : 0);
    size_t head = (sizeof(struct scatter) + 63) & ~(size_t)63;
    size_t size = head + parts * sizeof(struct part) + keys * sizeof(struct cmd_key) +
                  args * sizeof(struct span) + keys + need->bytes + (parts ? room : 0);
    bool pooled;
    struct scatter *sc = block_new(w, size, &pooled);
    if (!sc)
        return NULL;
    struct conn *c = s->conn;
    *sc = (struct scatter){.desc = s->desc,
                           .argc = s->argc,
                           .keys = keys,
                           .parts = parts,
                           .home = w->id,
                           .db = c->ses.db,
                           .resp = c->ses.resp,
                           .client = c->ses.id,
                           .durability = c->ses.durability,
                           .tracks = tracking_remembers(&c->ses),
                           .write = (s->desc->flags & CMD_READONLY) == 0,
                           .pooled = pooled,
                           .born = rte_rdtsc()};
    sc->part = (struct part *)((uint8_t *)sc + head);
    sc->key = (struct cmd_key *)(sc->part + parts);
    sc->argv = (struct span *)(sc->key + keys);
    sc->part_of = (uint8_t *)(sc->argv + args);
    *bytes = sc->part_of + keys;
    list_push_back(&w->scatters, &sc->node);
    return sc;
}

static void scatter_free(struct worker *w, struct scatter *sc)
{
    struct scatter_pool *pool = &w->scatter_pool;
    list_remove(&sc->node);
    for (uint32_t i = 0; i < sc->parts; i++)
        if (unlikely_(!sc->part[i].reply.lent))
            free(sc->part[i].reply.p);
    if (likely_(sc->pooled && pool->n < SCATTER_BLOCKS))
        pool->block[pool->n++] = sc;
    else
        free(sc);
}

static inline struct span copy_arg(uint8_t **to, struct span arg)
{
    struct span copy = span_of(*to, arg.n);
    if (likely_(arg.n <= 64))
        bytes_copy_64(*to, arg.p, arg.n);
    else
        memcpy(*to, arg.p, arg.n);
    *to += arg.n;
    return copy;
}

/* The request as it came, of one in parts. */
static struct span *whole_argv(struct scatter *sc)
{
    uint32_t first = (uint32_t)sc->desc->first_key, each = (uint32_t)sc->desc->key_step;
    uint32_t used[LIMIT_WORKERS] = {0};
    if (!sc->parts)
        return sc->argv;
    sc->argv[0] = sc->part[0].argv[0];
    for (uint32_t i = 0; i < sc->keys; i++) {
        uint32_t k = sc->part_of[i];
        const struct span *from = sc->part[k].argv + 1 + (size_t)used[k]++ * each;
        memcpy(sc->argv + first + (size_t)i * each, from, each * sizeof(*from));
    }
    return sc->argv;
}

void scatters_free(struct worker *w)
{
    list_for_each_safe(n, next, &w->scatters)
    {
        struct scatter *sc = list_entry(n, struct scatter, node);
        if (sc->slot && !sc->slot->conn)
            slot_free(sc->slot);
        told_free(sc);
        scatter_free(w, sc);
    }
    while (w->scatter_pool.n)
        free(w->scatter_pool.block[--w->scatter_pool.n]);
}

/* ---- what its client may ask meanwhile ---- */

static void pending_begin(struct scatter *sc, struct conn *c)
{
    sc->slot->scatter = sc;
    if (sc->write)
        c->writes_pending++;
    else
        c->reads_pending++;
}

/* The reply is there. */
static void pending_end(struct scatter *sc)
{
    struct conn *c = sc->slot->conn;
    sc->slot->scatter = NULL;
    if (!c)
        return;
    if (sc->write)
        c->writes_pending--;
    else
        c->reads_pending--;
}

static bool has_key(const struct scatter *sc, uint64_t hash)
{
    for (uint32_t i = 0; i < sc->keys; i++)
        if (sc->key[i].hash == hash)
            return true;
    return false;
}

/* The youngest request of the client that meets one of these keys; n 0: the youngest. */
static struct slot *meets_pending(struct conn *c, const uint64_t *hash, uint32_t n, bool write)
{
    for (struct list *at = c->slots.prev; at != &c->slots; at = at->prev) {
        struct slot *slot = list_entry(at, struct slot, node);
        const struct scatter *sc = slot->scatter;
        if (!sc || (n && sc->keyed && !write && !sc->write))
            continue;
        if (!n || !sc->keyed)
            return slot;
        for (uint32_t i = 0; i < n; i++)
            if (has_key(sc, hash[i]))
                return slot;
    }
    return NULL;
}

bool scatter_holds(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    const struct cmd_desc *d = s->desc;
    uint64_t hash[KEYS_HERE];
    uint32_t pos[KEYS_HERE];
    if (!d)
        return false; /* an error, in its turn */
    if (d == &cmd_table[CMD_ping] || d == &cmd_table[CMD_echo] || d == &cmd_table[CMD_select])
        return false;
    bool keys = (d->route == ROUTE_KEY || d->route == ROUTE_KEYS) && !(d->flags & CMD_BLOCKING) &&
                d != &cmd_table[CMD_watch] && !cmd_keys_open(d, s->argv, s->argc);
    bool write = !(d->flags & CMD_READONLY);
    if (keys && !write && !c->writes_pending)
        return false;
    keys &= !c->writes_pending || !w->config.notify_events; /* events in its order */
    int n = keys ? cmd_keys(d, s->argv, s->argc, pos, KEYS_HERE) : 0;
    if (n < 0 || n > KEYS_HERE)
        n = 0;
    for (int i = 0; i < n; i++)
        hash[i] = shard_hash(&w->shard, s->argv[pos[i]]);
    struct slot *slot = meets_pending(c, hash, (uint32_t)n, write);
    if (!slot)
        return false;
    slot->resumes = true;
    batch_put_back(w, s);
    c->paused = true;
    conn_mark(c); /* what waits now is not offered as window */
    return true;
}

/* ---- the reply ---- */

/* Length of the string or null at p, which is whole. */
static inline size_t value_bytes(const uint8_t *p)
{
    if (unlikely_(p[0] != '$'))
        return 3; /* _\r\n */
    size_t n = (size_t)(p[1] - '0'), i = 3;
    if (unlikely_(n > 9))
        return 5; /* $-1\r\n */
    if (p[2] == '\r')
        return 2 + 2 + n + 2;
    for (n = n * 10 + (size_t)(p[2] - '0'); unlikely_(p[i] != '\r'); i++)
        n = n * 10 + (size_t)(p[i] - '0');
    return i + 2 + n + 2;
}

/* The same as memcpy, of which most values need no call. */
static inline void copy_value(uint8_t *to, const uint8_t *value, size_t n)
{
    if (likely_(n <= 64)) {
        bytes_copy_64(to, value, n);
    } else if (likely_(n <= 96)) { /* the end over that of the beginning */
        memcpy(to, value, 64);
        memcpy(to + n - 32, value + n - 32, 32);
    } else {
        memcpy(to, value, n);
    }
}

/* The values of all parts, in the order of the keys. */
static void join_values(struct scatter *sc, struct reply *r)
{
    const uint8_t *at[LIMIT_WORKERS]; /* the rest of each part's */
    reply_array(r, sc->keys);
    size_t all = 0;
    for (uint32_t i = 0; i < sc->parts; i++) {
        at[i] = sc->part[i].reply.p;
        all += sc->part[i].reply.len;
    }
    bool fits = (size_t)(r->end - r->cur) >= all && !r->muted;
    if (unlikely_(!fits)) {
        for (uint32_t i = 0; i < sc->keys; i++) {
            const uint8_t **value = &at[sc->part_of[i]];
            size_t n = value_bytes(*value);
            reply_raw(r, *value, n);
            *value += n;
        }
        return;
    }
    uint8_t *to = r->cur;
    for (const uint8_t *k = sc->part_of, *end = k + sc->keys; k != end; k++) {
        const uint8_t *value = at[*k];
        size_t n = value_bytes(value);
        at[*k] = value + n;
        copy_value(to, value, n);
        to += n;
    }
    r->cur = to;
}

static int64_t part_number(const struct part *p)
{
    int64_t n = 0;
    for (size_t i = 1; p->reply.p[i] != '\r'; i++)
        n = n * 10 + (p->reply.p[i] - '0');
    return n;
}

static void join(struct scatter *sc, struct reply *r)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < sc->parts; i++) {
        const struct part *p = &sc->part[i];
        if (unlikely_(p->lost || p->reply.len == 0)) {
            reply_error(r, "ERR a part of the reply was lost");
            return;
        }
        if (unlikely_(p->reply.p[0] == '-')) {
            reply_raw(r, p->reply.p, p->reply.len);
            return;
        }
        if (sc->desc->split == SPLIT_SUM)
            sum += part_number(p);
    }
    if (sc->desc->split == SPLIT_SUM)
        reply_int(r, sum);
    else if (sc->desc->split == SPLIT_OK)
        reply_ok(r);
    else
        join_values(sc, r);
}

/* Straight to the client, where nothing has to leave before. */
static void write_reply(struct scatter *sc)
{
    struct slot *slot = sc->slot;
    struct conn *c = slot->conn;
    struct reply to_slot, *r = &to_slot;
    if (!c || slot->muted)
        return;
    if (slot->parts == 1 && c->slots.next == &slot->node && !c->longer) {
        r = out_open(c);
        r->resp = sc->resp;
        join(sc, r);
        return;
    }
    reply_heap_append(r, &slot->bytes, sc->resp);
    join(sc, r);
    reply_heap_finish(r, &slot->bytes);
    c->slot_bytes += slot->bytes.len;
    if (c->slot_bytes > LIMIT_CONN_OUT_PAUSE_BYTES)
        c->throttled = true;
}

/* What took longest of it. */
static void note_times(struct worker *w, struct scatter *sc)
{
    const struct slot *slot = sc->slot;
    uint64_t took = 0, queued = 0;
    if (likely_(!times_each(w, sc->desc)))
        return;
    for (uint32_t i = 0; i < sc->parts; i++) {
        if (sc->part[i].took > took) {
            took = sc->part[i].took;
            queued = sc->part[i].queued;
        }
    }
    if (likely_(took < w->slow_cycles))
        return;
    struct times_request r = {.desc = sc->desc,
                              .argv = whole_argv(sc),
                              .argc = sc->argc,
                              .session = slot->conn ? &slot->conn->ses : NULL};
    times_slow(w, &r, took, queued);
}

static void answer(struct worker *w, struct scatter *sc)
{
    struct slot *slot = sc->slot;
    w->cmd_calls[sc->desc->index]++;
    note_times(w, sc);
    for (uint32_t i = 0; i < sc->parts; i++) {
        const struct part *p = &sc->part[i];
        if (likely_(p->gate == 0) || !journal_pending(w, p->shard, p->gate))
            continue;
        slot->parts++;
        journal_wait(w, slot, p->shard, p->gate);
    }
    write_reply(sc);
    pending_end(sc);
    sc->slot = NULL;
    if (--slot->parts == 0)
        slot_ready(slot);
}

/* ---- under leases ---- */

static void run_leased(struct worker *w, struct lease_job *j)
{
    struct scatter *sc = (struct scatter *)j;
    struct slot *slot = sc->slot;
    uint64_t want = j->want;
    struct reply_heap h = {0};
    struct reply r;
    reply_heap_init(&r, &h, sc->resp);
    struct cmd cmd = route_cmd(w, sc->desc, sc->argv, sc->argc, &r);
    uint32_t first = (uint32_t)sc->desc->first_key;
    bool keyed = sc->desc->route != ROUTE_ALL && first > 0 && first < sc->argc;
    uint32_t at = keyed ? shard_of_key(sc->argv[first], w->count) : (uint32_t)__builtin_ctzll(want);
    cmd.shards = &w->lease_set;
    cmd.shard = w->lease_set.v[at];
    cmd.session = slot->conn ? &slot->conn->ses : NULL;
    cmd.db = sc->db;
    cmd.hash = keyed ? shard_hash(&w->shard, sc->argv[first]) : 0;
    cmd.client = sc->client;
    cmd.tracks = sc->tracks;
    uint64_t start = rte_rdtsc();
    cmd_call(&cmd);
    uint64_t took = rte_rdtsc() - start;
    times_took(w, sc->desc, took);
    if (unlikely_(took >= w->slow_cycles)) {
        struct times_request t = {
            .desc = sc->desc, .argv = sc->argv, .argc = sc->argc, .session = cmd.session};
        times_slow(w, &t, took, start - sc->born);
    }
    reply_heap_finish(&r, &h);
    if (r.errors) {
        STAT_ADD(w->stats->error_replies, r.errors);
        stats_count_error(w->stats, r.error_code);
    }
    slot_bytes(slot, span_of(h.p, h.len));
    reply_heap_free(&h);
    struct journal_need need = journal_need(sc->durability, (sc->desc->flags & CMD_WRITE) != 0);
    pending_end(sc);
    scatter_free(w, sc);
    journal_ready(w, slot, want, need);
}

static bool waits_leased(struct worker *w, struct lease_job *j)
{
    const struct scatter *sc = (const struct scatter *)j;
    return hold_keys(w, sc->db, sc->desc, sc->argv, sc->argc);
}

static void ask_leases(struct worker *w, struct scatter *sc, uint64_t want)
{
    whole_argv(sc);
    sc->state = SCATTER_LEASED;
    sc->job.want = want;
    sc->job.waits = waits_leased;
    sc->job.client = sc->client;
    sc->job.run = run_leased;
    lease_submit(w, &sc->job);
}

static void out_of_memory(struct slot *slot)
{
    slot_bytes(slot, SPAN("-OOM out of memory for a request over several shards\r\n"));
    slot->parts = 0;
    slot_ready(slot);
}

void scatter_lease(struct worker *w, struct staged *s, uint64_t want, const uint32_t *pos,
                   uint32_t n)
{
    struct conn *c = s->conn;
    struct slot *slot = route_slot(c, 1);
    struct need need = {.keys = n};
    uint8_t *bytes;
    for (uint32_t i = 0; i < s->argc; i++)
        need.bytes += s->argv[i].n;
    struct scatter *sc = scatter_new(w, s, &need, &bytes);
    if (!sc) {
        out_of_memory(slot);
        return;
    }
    for (uint32_t i = 0; i < s->argc; i++)
        sc->argv[i] = copy_arg(&bytes, s->argv[i]);
    sc->slot = slot;
    sc->keyed = n > 0;
    sc->write = true; /* the leases let nobody beside it */
    for (uint32_t i = 0; i < n; i++)
        sc->key[i].hash = shard_hash(&w->shard, s->argv[pos[i]]);
    if (!sc->keyed) {
        slot->resumes = true;
        c->paused = true;
    }
    pending_begin(sc, c);
    count_hops(w, s->desc, want);
    ask_leases(w, sc, want);
}

/* ---- parts that have come back ---- */

static void ask_in_order(struct worker *w, struct scatter *sc)
{
    sc->ordered = true;
    sc->refused = false;
    sc->state = SCATTER_ASKING;
    for (uint32_t i = 0; i < sc->parts; i++) {
        sc->part[i].step = PART_HOME;
        sc->part[i].reply.len = 0; /* of a grant that was given back */
        sc->part[i].gate = 0;
    }
    STAT_INC(w->stats->scatter_ordered);
    step(w, sc, &sc->part[0], PART_WAIT);
}

/* The next shard, or none: all are granted. False: there was one. */
static bool ask_next(struct worker *w, struct scatter *sc)
{
    for (uint32_t i = 0; sc->ordered && i < sc->parts; i++) {
        if (sc->part[i].step == PART_GRANTED)
            continue;
        step(w, sc, &sc->part[i], PART_WAIT);
        return false;
    }
    return true;
}

/* The part whose owner writes the whole request down: my own if it can, then nobody waits for it. NULL: there is nothing to write down. */
static struct part *find_teller(const struct worker *w, const struct scatter *sc)
{
    struct part *teller = NULL;
    bool changes = false;
    for (uint32_t i = 0; i < sc->parts; i++) {
        struct part *p = &sc->part[i];
        changes |= p->changes;
        if (p->journals && (!teller || p->shard == w->id))
            teller = p;
    }
    return changes ? teller : NULL;
}

/* All have been granted. */
static void write_all(struct worker *w, struct scatter *sc)
{
    sc->teller = find_teller(w, sc);
    if (likely_(!sc->teller)) {
        sc->state = SCATTER_ENDING;
        step_all(w, sc, PART_RUN, PART_ASK);
        return;
    }
    whole_argv(sc);
    sc->state = SCATTER_TELLING;
    step(w, sc, sc->teller, PART_RUN);
}

static void read_all(struct worker *w, struct scatter *sc)
{
    sc->state = SCATTER_ENDING;
    if (unlikely_(sc->told != 0))
        told_all(w, sc, whole_argv(sc));
    answer(w, sc);
    step_all(w, sc, PART_DROP, PART_ASK);
}

static void undo(struct worker *w, struct scatter *sc)
{
    if (unlikely_(sc->told != 0))
        told_undone(w, sc);
    sc->state = SCATTER_UNDOING;
    step_all(w, sc, PART_DROP, PART_GRANTED);
}

/* All have run; those to which somebody listens have their keys until it is told. */
static void tell(struct worker *w, struct scatter *sc)
{
    sc->state = SCATTER_TOLD;
    told_all(w, sc, whole_argv(sc));
    answer(w, sc);
    step_all(w, sc, PART_DROP, PART_RAN);
}

static uint64_t shards_of(const struct scatter *sc)
{
    uint64_t want = 0;
    for (uint32_t i = 0; i < sc->parts; i++)
        want |= 1ull << sc->part[i].shard;
    return want;
}

/* Nothing of it is away. */
static void go_on(struct worker *w, struct scatter *sc)
{
    switch ((enum scatter_state)sc->state) {
    case SCATTER_ASKING:
        if (sc->refused || sc->leased)
            undo(w, sc);
        else if (!ask_next(w, sc))
            break;
        else if (sc->write)
            write_all(w, sc);
        else
            read_all(w, sc);
        break;
    case SCATTER_TELLING:
        sc->state = SCATTER_ENDING;
        step_all(w, sc, PART_RUN, PART_GRANTED);
        break;
    case SCATTER_UNDOING:
        if (sc->leased)
            ask_leases(w, sc, shards_of(sc));
        else
            ask_in_order(w, sc);
        break;
    case SCATTER_ENDING:
        if (unlikely_(sc->told != 0)) {
            tell(w, sc);
            break;
        }
        if (sc->slot)
            answer(w, sc);
        scatter_free(w, sc);
        break;
    case SCATTER_TOLD: scatter_free(w, sc); break;
    case SCATTER_LEASED: break;
    }
}

/* It is not as it mostly is. */
static void take_odd(struct scatter *sc, struct part *p)
{
    if (p->step == PART_REFUSED)
        sc->refused = true;
    else if (p->step == PART_LEASE)
        sc->leased = true;
    else
        sc->told |= 1ull << (p - sc->part);
    if (p->step == PART_NOTED)
        p->step = PART_GRANTED;
}

void scatter_take(struct worker *w, struct part *p)
{
    struct scatter *sc = p->of;
    if (unlikely_(p->step > PART_HOME))
        take_odd(sc, p);
    if (--sc->awaited == 0)
        go_on(w, sc);
}

/* ---- a request ---- */

/* Its parts, empty. Each has the name, and room for its keys with what belongs to them. */
static void make_parts(struct worker *w, struct scatter *sc, const struct spread *at,
                       uint8_t index[LIMIT_WORKERS], uint8_t *room)
{
    uint32_t each = (uint32_t)sc->desc->key_step;
    size_t value = sc->desc->split == SPLIT_VALUES ? VALUE_ROOM : 0;
    struct span *argv = sc->argv + sc->argc;
    struct cmd_key *key = sc->key;
    struct part *p = sc->part;
    for (uint32_t shard = 0; shard < w->count; shard++) {
        uint32_t n = at->count[shard];
        if (!n)
            continue;
        size_t cap = REPLY_ROOM + n * value;
        p->q.kind = LINE_PART;
        p->of = sc;
        p->argv = argv;
        p->key = key;
        p->argc = 1 + n * each;
        p->keys = n;
        p->shard = shard;
        p->lost = p->journals = p->changes = p->claims = false;
        p->reply = (struct reply_heap){.p = room, .cap = cap, .lent = true};
        p->took = p->gate = 0;
        p->served = UINT64_MAX;
        room += cap;
        argv += p->argc;
        key += n;
        index[shard] = (uint8_t)(p++ - sc->part);
    }
}

/* A part's next key and argument. */
struct dealt {
    struct span *argv;
    struct cmd_key *key;
};

static inline __attribute__((always_inline)) void
deal_one(struct dealt *to, uint64_t hash, const struct span *from, uint8_t **bytes, uint32_t each)
{
    (to->key++)->hash = hash;
    *to->argv++ = copy_arg(bytes, from[0]);
    if (each == 2)
        *to->argv++ = copy_arg(bytes, from[1]);
}

/* Gives the parts their keys, `each` arguments a key, in their order. */
static inline __attribute__((always_inline)) void deal(struct worker *w, struct scatter *sc,
                                                       const struct staged *s, const uint8_t *owner,
                                                       const uint8_t *index, uint8_t *bytes,
                                                       uint32_t each)
{
    struct dealt to[LIMIT_WORKERS];
    uint8_t *part_of = sc->part_of;
    const struct span *from = s->argv + sc->desc->first_key;
    for (uint32_t i = 0; i < sc->parts; i++) {
        to[i].argv = sc->part[i].argv + 1;
        to[i].key = sc->part[i].key;
    }
    part_of[0] = index[owner[0]];
    deal_one(&to[part_of[0]], s->hash, from, &bytes, each);
    for (uint32_t i = 1, n = sc->keys; i < n; i++) {
        from += each;
        part_of[i] = index[owner[i]];
        deal_one(&to[part_of[i]], shard_hash(&w->shard, *from), from, &bytes, each);
    }
}

static void fill_parts(struct worker *w, struct scatter *sc, const struct staged *s,
                       const struct spread *at, uint8_t *bytes)
{
    uint8_t index[LIMIT_WORKERS];
    make_parts(w, sc, at, index, bytes + at->bytes);
    struct span name = copy_arg(&bytes, s->argv[0]);
    for (uint32_t i = 0; i < sc->parts; i++)
        sc->part[i].argv[0] = name;
    if (sc->desc->key_step == 1)
        deal(w, sc, s, at->owner, index, bytes, 1);
    else
        deal(w, sc, s, at->owner, index, bytes, 2);
}

static void start(struct worker *w, struct staged *s, const struct spread *at)
{
    struct need need = {.keys = at->keys, .parts = at->shards, .bytes = at->bytes};
    struct slot *slot = route_slot(s->conn, 1);
    uint8_t *bytes;
    struct scatter *sc = scatter_new(w, s, &need, &bytes);
    if (!sc) {
        out_of_memory(slot);
        return;
    }
    sc->slot = slot;
    sc->keyed = true;
    fill_parts(w, sc, s, at, bytes);
    pending_begin(sc, s->conn);
    STAT_INC(w->stats->scatters);
    count_hops(w, s->desc, shards_of(sc));
    STAT_ADD(w->stats->mail_sent, sc->parts);
    step_all(w, sc, PART_ASK, PART_ASK);
}

uint32_t scatter_start(struct worker *w, struct staged *s)
{
    const struct cmd_desc *d = s->desc;
    uint32_t first = (uint32_t)d->first_key, each = (uint32_t)d->key_step;
    uint8_t here[KEYS_HERE];
    if (d->split == SPLIT_LEASE || !s->keyed || (each == 2 && (s->argc - first) % 2 != 0))
        return 0;
    struct spread at;
    at.keys = each == 2 ? (s->argc - first) / 2 : s->argc - first;
    memset(at.count, 0, w->count * sizeof(at.count[0]));
    at.owner = here;
    at.bytes = s->argv[0].n;
    if (at.keys > KEYS_HERE && !(at.owner = malloc(at.keys)))
        return 0;
    const struct span *key = s->argv + first;
    at.owner[0] = s->owner;
    at.count[s->owner] = at.shards = 1;
    at.bytes += key->n + (each == 2 ? key[1].n : 0);
    spread_rest(&at, key, each, w->count);
    if (at.shards > 1)
        start(w, s, &at);
    if (at.owner != here)
        free(at.owner);
    return at.shards;
}
