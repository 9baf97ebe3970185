/* Requests over several shards: the home's side.
 *
 * MGET, MSET, DEL, UNLINK, EXISTS and TOUCH split: each shard gets its keys as a part, all at the same time.
 *
 *   scatter_start   PART_ASK to every shard -------------> part.c: granted, read | refused
 *   all granted     what only reads: reply; PART_DROP ---> let go
 *                   what writes:            PART_RUN ----> run, let go; reply
 *   some refused    PART_DROP to those that were granted; then in order: PART_WAIT to one shard after the other, which waits for its turn
 *   some listen     PART_DROP, then under leases
 *
 * Everything else runs under leases (lease.c). As long as a request is under way its client goes on with what does not meet its keys.
 * Why this is atomic, and nobody waits for ever: docs/threads.md. Thread: the client's home worker. */
#include "dataplane/conn/scatter.h"

#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"

#define KEYS_HERE 64 /* more of them: in memory of their own */

static void go_on(struct worker *w, struct scatter *sc);

/* ---- parts on their way ---- */

void part_send(struct worker *w, uint32_t to, struct part *p)
{
    struct outbox *o = &w->outbox[to];
    if (to == w->id) {
        part_take(w, p);
        return;
    }
    p->next = NULL;
    if (o->last_part)
        o->last_part->next = p;
    else
        o->parts = p;
    o->last_part = p;
}

static void step(struct worker *w, struct scatter *sc, struct part *p, enum part_step step)
{
    p->step = (uint8_t)step;
    sc->awaited++;
    part_send(w, p->shard, p);
}

/* Every part has been granted, or only those (`granted`). */
static void step_all(struct worker *w, struct scatter *sc, enum part_step to, bool granted)
{
    uint32_t n = sc->parts;
    sc->awaited++; /* my own part may be home at once: not the last one yet */
    for (uint32_t i = 0; i < n; i++)
        if (!granted || sc->part[i].step == PART_GRANTED)
            step(w, sc, &sc->part[i], to);
    if (--sc->awaited == 0)
        go_on(w, sc);
}

/* ---- the record ---- */

/* Does one run of bytes have all arguments, as they came in a packet? Its length, or 0. */
static size_t one_run(const struct span *argv, uint32_t argc, size_t bytes)
{
    uintptr_t from = (uintptr_t)argv[0].p, at = from;
    for (uint32_t i = 0; i < argc; i++) {
        if ((uintptr_t)argv[i].p < at)
            return 0;
        at = (uintptr_t)argv[i].p + argv[i].n;
    }
    return at - from <= bytes + (size_t)argc * 16 ? at - from : 0;
}

static void copy_args(struct scatter *sc, const struct span *argv, uint8_t *to, size_t run)
{
    if (run) {
        memcpy(to, argv[0].p, run);
        for (uint32_t i = 0; i < sc->argc; i++)
            sc->argv[i] = span_of(to + (argv[i].p - argv[0].p), argv[i].n);
        return;
    }
    for (uint32_t i = 0; i < sc->argc; i++) {
        memcpy(to, argv[i].p, argv[i].n);
        sc->argv[i] = span_of(to, argv[i].n);
        to += argv[i].n;
    }
}

/* Memory for the request, its arguments copied. NULL: there is none. */
static struct scatter *scatter_new(struct worker *w, const struct staged *s, uint32_t keys,
                                   uint32_t parts)
{
    size_t bytes = 0, args = s->argc + (parts ? s->argc + parts : 0);
    for (uint32_t i = 0; i < s->argc; i++)
        bytes += s->argv[i].n;
    size_t run = one_run(s->argv, s->argc, bytes);
    size_t head = (sizeof(struct scatter) + 63) & ~(size_t)63, intents = parts ? keys : 0;
    size_t size = head + parts * sizeof(struct part) + intents * sizeof(struct intent) +
                  keys * sizeof(uint64_t) + args * sizeof(struct span) + keys + (run ? run : bytes);
    struct scatter *sc = aligned_alloc(64, (size + 63) & ~(size_t)63);
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
                           .born = rte_rdtsc()};
    sc->part = (struct part *)((uint8_t *)sc + head);
    struct intent *intent = (struct intent *)(sc->part + parts);
    sc->hash = (uint64_t *)(intent + intents);
    sc->argv = (struct span *)(sc->hash + keys);
    sc->part_of = (uint8_t *)(sc->argv + args);
    copy_args(sc, s->argv, sc->part_of + keys, run);
    list_push_back(&w->scatters, &sc->node);
    return sc;
}

static void scatter_free(struct scatter *sc)
{
    list_remove(&sc->node);
    for (uint32_t i = 0; i < sc->parts; i++)
        free(sc->part[i].reply.p);
    free(sc);
}

void scatters_free(struct worker *w)
{
    list_for_each_safe(n, next, &w->scatters)
    {
        struct scatter *sc = list_entry(n, struct scatter, node);
        if (sc->slot && !sc->slot->conn)
            slot_free(sc->slot);
        scatter_free(sc);
    }
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
        if (sc->hash[i] == hash)
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
static size_t value_bytes(const uint8_t *p)
{
    size_t n = 0, i = 1;
    if (p[0] != '$')
        return 3; /* _\r\n */
    if (p[1] == '-')
        return 5; /* $-1\r\n */
    for (; p[i] != '\r'; i++)
        n = n * 10 + (size_t)(p[i] - '0');
    return i + 2 + n + 2;
}

static size_t line_bytes(const uint8_t *p)
{
    size_t i = 0;
    while (p[i] != '\n')
        i++;
    return i + 1;
}

/* Arrays of values -> one, in the order of the keys. */
static void join_values(struct scatter *sc, struct reply *r)
{
    reply_array(r, sc->keys);
    for (uint32_t i = 0; i < sc->parts; i++)
        sc->part[i].at = line_bytes(sc->part[i].reply.p);
    for (uint32_t i = 0; i < sc->keys; i++) {
        struct part *p = &sc->part[sc->part_of[i]];
        const uint8_t *value = p->reply.p + p->at;
        size_t n = value_bytes(value);
        reply_raw(r, value, n);
        p->at += n;
    }
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
    for (uint32_t i = 0; i < sc->parts; i++) {
        if (sc->part[i].took > took) {
            took = sc->part[i].took;
            queued = sc->part[i].queued;
        }
    }
    if (likely_(took < w->slow_cycles))
        return;
    struct times_request r = {.desc = sc->desc,
                              .argv = sc->argv,
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
    scatter_free(sc);
    journal_ready(w, slot, want, need);
}

static void ask_leases(struct worker *w, struct scatter *sc, uint64_t want)
{
    sc->state = SCATTER_LEASED;
    sc->job.want = want;
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
    struct scatter *sc = scatter_new(w, s, n, 0);
    if (!sc) {
        out_of_memory(slot);
        return;
    }
    sc->slot = slot;
    sc->keyed = n > 0;
    sc->write = true; /* the leases let nobody beside it */
    for (uint32_t i = 0; i < n; i++)
        sc->hash[i] = shard_hash(&w->shard, s->argv[pos[i]]);
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
        if (sc->refused || sc->listens) {
            sc->state = SCATTER_UNDOING;
            step_all(w, sc, PART_DROP, true);
        } else if (ask_next(w, sc)) {
            sc->state = SCATTER_ENDING;
            if (!sc->write)
                answer(w, sc);
            step_all(w, sc, sc->write ? PART_RUN : PART_DROP, false);
        }
        break;
    case SCATTER_UNDOING:
        if (sc->listens)
            ask_leases(w, sc, shards_of(sc));
        else
            ask_in_order(w, sc);
        break;
    case SCATTER_ENDING:
        if (sc->slot)
            answer(w, sc);
        scatter_free(sc);
        break;
    case SCATTER_LEASED: break;
    }
}

void scatter_take(struct worker *w, struct part *p)
{
    struct scatter *sc = p->of;
    sc->refused |= p->step == PART_REFUSED;
    sc->listens |= p->step == PART_LEASE;
    if (--sc->awaited == 0)
        go_on(w, sc);
}

/* ---- a request ---- */

/* Fills the parts: each has the name, and its keys with what belongs to them, in their order. */
static void fill_parts(struct worker *w, struct scatter *sc, const uint8_t *owner,
                       const uint32_t count[LIMIT_WORKERS])
{
    uint32_t first = (uint32_t)sc->desc->first_key, each = (uint32_t)sc->desc->key_step;
    uint8_t index[LIMIT_WORKERS];
    struct span *argv = sc->argv + sc->argc;
    struct intent *intent = (struct intent *)(sc->part + sc->parts);
    struct part *p = sc->part;
    for (uint32_t shard = 0; shard < w->count; shard++) {
        if (!count[shard])
            continue;
        *p = (struct part){.of = sc, .argv = argv, .intent = intent, .shard = shard, .argc = 1};
        p->q.kind = LINE_PART;
        argv[0] = sc->argv[0];
        argv += 1 + (size_t)count[shard] * each;
        intent += count[shard];
        index[shard] = (uint8_t)(p++ - sc->part);
    }
    for (uint32_t i = 0; i < sc->keys; i++) {
        const struct span *from = sc->argv + first + (size_t)i * each;
        uint8_t k = sc->part_of[i] = index[owner[i]];
        p = &sc->part[k];
        p->intent[p->keys++].hash = sc->hash[i] = shard_hash(&w->shard, *from);
        for (uint32_t a = 0; a < each; a++)
            p->argv[p->argc++] = from[a];
    }
}

/* Its keys lie on so many shards, `count` of them on each. */
static void start(struct worker *w, struct staged *s, uint32_t keys, const uint8_t *owner,
                  const uint32_t count[LIMIT_WORKERS], uint32_t shards)
{
    struct slot *slot = route_slot(s->conn, 1);
    struct scatter *sc = scatter_new(w, s, keys, shards);
    if (!sc) {
        out_of_memory(slot);
        return;
    }
    sc->slot = slot;
    sc->keyed = true;
    fill_parts(w, sc, owner, count);
    pending_begin(sc, s->conn);
    STAT_INC(w->stats->scatters);
    count_hops(w, s->desc, shards_of(sc));
    STAT_ADD(w->stats->mail_sent, shards);
    for (uint32_t i = 0; i < shards; i++)
        sc->part[i].step = PART_ASK;
    step_all(w, sc, PART_ASK, false);
}

uint32_t scatter_start(struct worker *w, struct staged *s)
{
    const struct cmd_desc *d = s->desc;
    uint32_t first = (uint32_t)d->first_key, each = (uint32_t)d->key_step;
    uint8_t here[KEYS_HERE], *owner = here;
    uint32_t count[LIMIT_WORKERS] = {0}, shards = 0, keys = (s->argc - first) / each;
    if (d->split == SPLIT_LEASE || (s->argc - first) % each != 0)
        return 0;
    if (keys > KEYS_HERE && !(owner = malloc(keys)))
        return 0;
    for (uint32_t i = 0; i < keys; i++) {
        owner[i] = (uint8_t)shard_of_key(s->argv[first + (size_t)i * each], w->count);
        shards += count[owner[i]]++ == 0;
    }
    if (shards > 1)
        start(w, s, keys, owner, count, shards);
    if (owner != here)
        free(owner);
    return shards;
}
