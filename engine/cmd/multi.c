/* MULTI, EXEC, DISCARD, WATCH, UNWATCH.
 *
 * Where in the flow: MULTI, DISCARD and UNWATCH are ROUTE_LOCAL. WATCH runs on the owners of its keys; a part answers references, which
 * the router keeps for the client. EXEC runs here when its worker holds all it needs; otherwise dataplane/conn/exec.c takes leases and
 * does the same steps. Texts are those of Redis 7.0.15. Thread: the client's home worker; cmd_watch of a part: the owner. */
#include "engine/cmd/multi.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/keyref.h"
#include "engine/cmd/scan.h"
#include "engine/cmd/tracking.h"

struct multi *multi_of(struct session *s)
{
    if (!s->multi)
        s->multi = calloc(1, sizeof(*s->multi));
    return s->multi;
}

bool multi_queues(const struct cmd_desc *d)
{
    switch (d - cmd_table) {
    case CMD_exec:
    case CMD_discard:
    case CMD_multi:
    case CMD_watch:
    case CMD_quit:
    case CMD_reset: return false;
    default: return true;
    }
}

bool multi_queue(struct session *s, const struct cmd_desc *d, const struct span *argv,
                 uint32_t argc)
{
    struct multi *m = multi_of(s);
    size_t bytes = sizeof(struct multi_cmd) + argc * sizeof(struct span);
    for (uint32_t i = 0; i < argc; i++)
        bytes += argv[i].n;
    struct multi_cmd *mc = m ? malloc(bytes) : NULL;
    if (!mc)
        return false;
    *mc = (struct multi_cmd){.desc = d, .argv = (struct span *)(mc + 1), .argc = argc};
    uint8_t *to = (uint8_t *)(mc->argv + argc);
    for (uint32_t i = 0; i < argc; i++) {
        if (argv[i].n)
            memcpy(to, argv[i].p, argv[i].n);
        mc->argv[i] = span_of(to, argv[i].n);
        to += argv[i].n;
    }
    if (m->last)
        m->last->next = mc;
    else
        m->first = mc;
    m->last = mc;
    m->n++;
    m->flags |= d->flags;
    m->lacks |= ~d->flags;
    m->bytes += bytes;
    return true;
}

/* Where its position stands in the index, or would. */
static uint32_t *watch_at(const struct multi *m, const struct watch *watch)
{
    uint32_t mask = 2 * m->watch_cap - 1;
    uint32_t i = (uint32_t)(((uintptr_t)watch >> 4) * 0x9e3779b97f4a7c15ull >> 32) & mask;
    while (m->watch_index[i] && m->watch[m->watch_index[i] - 1].ref.watch != watch)
        i = (i + 1) & mask;
    return &m->watch_index[i];
}

static bool watch_grow(struct multi *m)
{
    uint32_t cap = m->watch_cap ? m->watch_cap * 2 : 8;
    struct multi_watch *grown = realloc(m->watch, cap * sizeof(*grown));
    if (grown)
        m->watch = grown;
    uint32_t *index = grown ? calloc(2 * (size_t)cap, sizeof(*index)) : NULL;
    if (!index)
        return false;
    free(m->watch_index);
    m->watch_index = index;
    m->watch_cap = cap;
    for (uint32_t i = 0; i < m->watched; i++)
        *watch_at(m, m->watch[i].ref.watch) = i + 1;
    return true;
}

enum multi_watch_result multi_watch_add(struct session *s, uint32_t shard, struct watch_ref ref,
                                        uint64_t bytes)
{
    struct multi *m = multi_of(s);
    if (!m || (m->watched == m->watch_cap && !watch_grow(m)))
        return MULTI_WATCH_NO_MEMORY;
    uint32_t *at = watch_at(m, ref.watch);
    if (*at)
        return MULTI_WATCHED_BEFORE; /* what it was then counts */
    m->watch[m->watched++] = (struct multi_watch){shard, ref};
    m->watch_bytes += bytes;
    *at = m->watched;
    return MULTI_WATCHED;
}

void multi_watch_none(struct multi *m)
{
    free(m->watch);
    free(m->watch_index);
    m->watch = NULL;
    m->watch_index = NULL;
    m->watched = m->watch_cap = 0;
    m->watch_bytes = 0;
}

static void free_queue(struct multi *m)
{
    for (struct multi_cmd *mc = m->first, *next; mc; mc = next) {
        next = mc->next;
        free(mc);
    }
    m->first = m->last = NULL;
}

void multi_free(struct multi *m)
{
    if (!m)
        return;
    free_queue(m);
    multi_watch_none(m);
    free(m);
}

void multi_discard(struct session *s)
{
    struct multi *m = s->multi;
    s->mode &= (uint8_t)~SESSION_MULTI;
    if (!m)
        return;
    if (m->watched == 0) {
        multi_free(m);
        s->multi = NULL;
        return;
    }
    free_queue(m);
    m->bytes = m->n = m->flags = m->lacks = 0;
    m->failed = false;
}

struct multi *multi_take(struct session *s)
{
    struct multi *m = s->multi;
    s->multi = NULL;
    s->mode &= (uint8_t)~SESSION_MULTI;
    return m;
}

/* ---- running ---- */

bool multi_unwatch(struct multi *m, struct shard_set *set)
{
    bool changed = false;
    for (uint32_t i = 0; i < m->watched; i++) {
        struct shard *s = set->v[m->watch[i].shard];
        changed = changed || watch_changed(s, m->watch[i].ref);
        watch_release(s, m->watch[i].ref.watch);
    }
    multi_watch_none(m);
    return changed;
}

/* Memory is asked for once, for all of it. */
static bool has_room(struct cmd *c)
{
    bool room = true;
    for (uint32_t i = 0; i < c->shards->count; i++) {
        struct shard *s = c->shards->v[i];
        if (s && shard_full(s) && !shard_make_room(s)) {
            s->stats.oom_refused++;
            room = false;
        }
    }
    return room;
}

bool multi_refuses(struct cmd *c, const struct multi *m, bool changed)
{
    if (m && m->failed)
        reply_error(c->out, "EXECABORT Transaction discarded because of previous errors.");
    else if (changed)
        reply_null_array(c->out);
    else if (m && (m->flags & CMD_DENYOOM) && !has_room(c))
        reply_error(c->out, "EXECABORT Transaction discarded because of: OOM command not allowed "
                            "when used memory > 'maxmemory'.");
    else
        return false;
    return true;
}

void multi_unit_begin(struct cmd *c)
{
    if (cmd_journals(c))
        effects_multi_begin(c->shard->effects);
}

void multi_unit_end(struct cmd *c)
{
    if (cmd_journals(c))
        effects_multi_end(c->shard->effects);
}

/* The shard of the request's first key, and its hash; without a key, any shard that is held. `node`: see cmd_of_node. */
static void find_shard(struct cmd *one, const struct cmd *c, struct shard_set *node)
{
    uint32_t first = (uint32_t)one->desc->first_key;
    uint64_t cursor;
    struct shard_set *set = one->shards = c->shards;
    one->shard = c->shard;
    if (unlikely_(cmd_of_node(one->desc, c->session))) {
        node->count = 1;
        node->v[0] = one->shard = set->v[c->session->node - 1];
        one->shards = node;
    } else if (one->desc->first_key > 0 && first < one->argc) {
        one->shard = cmd_shard(one, one->argv[first]);
        one->hash = shard_hash(one->shard, one->argv[first]);
    } else if (one->desc->route == ROUTE_CURSOR && scan_cursor_parse(one->argv[1], &cursor)) {
        one->shard = set->v[scan_cursor_shard(cursor, set->count)];
    }
}

const struct multi_cmd *multi_run(struct cmd *c, const struct multi_cmd *from)
{
    struct cmd one = *c;
    struct shard_set node;
    one.in_exec = true;
    one.part = one.may_hold = false;
    for (; from && !multi_foreign(from, c->host->workers); from = from->next) {
        one.desc = from->desc;
        one.argv = from->argv;
        one.argc = from->argc;
        one.db = c->session->db;
        one.candidate = NULL;
        find_shard(&one, c, &node);
        one.tracks = tracking_remembers(c->session);
        if (c->host->ops->call)
            c->host->ops->call(c->host, &one);
        else
            cmd_call(&one);
    }
    return from;
}

/* ---- commands ---- */

void cmd_multi(struct cmd *c)
{
    struct session *s = c->session;
    if (s->mode & SESSION_MULTI) {
        reply_error(c->out, "ERR MULTI calls can not be nested");
    } else if (!multi_of(s)) {
        cmd_reply_oom(c);
    } else {
        s->mode |= SESSION_MULTI;
        reply_ok(c->out);
    }
}

/* The watches of a session whose shards are not all held; the host knows how. */
static void give_back_watches(struct cmd *c)
{
    if (c->session->multi && c->session->multi->watched)
        c->host->ops->unwatch(c->host, c->session);
}

void cmd_multi_reset(struct cmd *c)
{
    give_back_watches(c);
    multi_discard(c->session);
}

void cmd_discard(struct cmd *c)
{
    if (!(c->session->mode & SESSION_MULTI)) {
        reply_error(c->out, "ERR DISCARD without MULTI");
        return;
    }
    give_back_watches(c);
    multi_discard(c->session);
    reply_ok(c->out);
}

/* A part is given references of its own shard, packed: those of a client that has no use for them any more. */
void cmd_unwatch(struct cmd *c)
{
    if (c->part) {
        struct watch *w;
        for (size_t at = 0; at < c->argv[1].n; at += sizeof(w)) {
            memcpy(&w, c->argv[1].p + at, sizeof(w));
            watch_release(c->shard, w);
        }
        return;
    }
    give_back_watches(c);
    reply_ok(c->out);
}

/* A part is given keys of its own shard and answers a reference for each. Without the last answer memory was out. */
static void watch_part(struct cmd *c)
{
    struct multi_watch_answer a = {0};
    for (uint32_t i = 1; i < c->argc; i++) {
        if (!watch_take(c->shard, c->db, c->argv[i], &a.ref))
            return;
        a.bytes = watch_bytes(c->argv[i]);
        reply_raw(c->out, &a, sizeof(a));
    }
    a = (struct multi_watch_answer){0};
    reply_raw(c->out, &a, sizeof(a));
}

/* False: no memory. */
static bool watch_key(struct cmd *c, struct span key)
{
    struct shard *shard = cmd_shard(c, key);
    struct watch_ref ref;
    if (!watch_take(shard, c->db, key, &ref))
        return false;
    enum multi_watch_result r = multi_watch_add(c->session, shard->id, ref, watch_bytes(key));
    if (r != MULTI_WATCHED)
        watch_release(shard, ref.watch);
    return r != MULTI_WATCH_NO_MEMORY;
}

void cmd_watch(struct cmd *c)
{
    struct session *s = c->session;
    if (c->part) {
        watch_part(c);
        return;
    }
    if (s->mode & SESSION_MULTI) {
        reply_error(c->out, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    for (uint32_t i = 1; i < c->argc; i++) {
        if (!watch_key(c, c->argv[i])) {
            cmd_reply_oom(c);
            return;
        }
    }
    if (c->host->ops->watched)
        c->host->ops->watched(c->host, s);
    reply_ok(c->out);
}

/* All shards of the queue and of the watches are held, and nothing queued is foreign; or there is nothing to run at all. */
void cmd_exec(struct cmd *c)
{
    struct session *s = c->session;
    if (!(s->mode & SESSION_MULTI)) {
        reply_error(c->out, "ERR EXEC without MULTI");
        return;
    }
    if (s->multi && s->multi->failed)
        give_back_watches(c);
    struct multi *m = multi_take(s);
    bool changed = m && multi_unwatch(m, c->shards);
    if (!multi_refuses(c, m, changed)) {
        reply_array(c->out, m ? m->n : 0);
        multi_unit_begin(c);
        if (m)
            multi_run(c, m->first);
        multi_unit_end(c);
    }
    multi_free(m);
}
