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

bool multi_watch_add(struct session *s, uint32_t shard, struct watch_ref ref, uint64_t bytes)
{
    struct multi *m = multi_of(s);
    if (!m)
        return false;
    if (m->watched == m->watch_cap) {
        uint32_t cap = m->watch_cap ? m->watch_cap * 2 : 8;
        struct multi_watch *grown = realloc(m->watch, cap * sizeof(*grown));
        if (!grown)
            return false;
        m->watch = grown;
        m->watch_cap = cap;
    }
    m->watch[m->watched++] = (struct multi_watch){shard, ref};
    m->watch_bytes += bytes;
    return true;
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
    free(m->watch);
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
    m->watched = 0;
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

/* A part is given keys of its own shard and answers a reference for each, fewer when memory is out. */
static void watch_part(struct cmd *c)
{
    for (uint32_t i = 1; i < c->argc; i++) {
        struct watch_ref ref;
        if (!watch_take(c->shard, c->db, c->argv[i], &ref))
            return;
        reply_raw(c->out, &ref, sizeof(ref));
    }
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
        struct shard *shard = cmd_shard(c, c->argv[i]);
        struct watch_ref ref;
        if (!watch_take(shard, c->db, c->argv[i], &ref)) {
            cmd_reply_oom(c);
            return;
        }
        if (!multi_watch_add(s, shard->id, ref, watch_bytes(c->argv[i]))) {
            watch_release(shard, ref.watch);
            cmd_reply_oom(c);
            return;
        }
    }
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
