/* A staged batch -> replies.
 *
 * stage.c has hashed the keys and asked for their buckets; here the entries are asked for, then all requests are executed in order: the
 * cache misses of a batch overlap. What the prefetch finds is handed to the request as its candidate (engine/shard/access_inline.h).
 * Thread: the worker's. */
#include <string.h>

#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "dataplane/conn/out_inline.h"
#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/found_inline.h"
#include "engine/shard/entry_inline.h"

/* The client's output is over budget in the middle of a batch: what it asked further is written back as bytes, to be parsed again
 * when the output has drained. */
void batch_put_back(struct worker *w, struct staged *from)
{
    struct conn *c = from->conn;
    struct reply_heap h = {0};
    struct reply r;
    reply_heap_init(&r, &h, 2);
    for (struct staged *s = from; s != w->batch->end; s++) {
        if (s->conn != c || (s->way & WAY_ERROR))
            continue;
        reply_array(&r, s->argc);
        for (uint32_t k = 0; k < s->argc; k++)
            reply_bulk(&r, s->argv[k]);
        batch_uncounted(w->batch, s);
        s->conn = NULL;
        s->way = 0;
    }
    reply_heap_finish(&r, &h);
    inq_append(&c->backlog, h.p, h.len);
    reply_heap_free(&h);
    if (c->tail_len)
        inq_append(&c->backlog, c->part->tail, c->tail_len);
    c->tail_len = 0;
}

static struct dict none; /* nobody's */

/* No candidate is good any more: what ran may have emptied or swapped databases. */
static inline void candidates_forget(struct batch *b)
{
    b->dict = &none;
    b->departed = UINT64_MAX;
}

/* An entry of a dict that is not the batch's, or there is none yet: then it becomes that, and is returned. */
static __attribute__((noinline)) struct dict *prefetch_other(const struct staged *s,
                                                             const struct dict *dict)
{
    if (!s->dict)
        return NULL;
    if (dict == &none) /* those before it are other shards', or have no key */
        return s->dict;
    entry_prefetch(dict_candidate(s->bucket, s->hash));
    return NULL;
}

/* The buckets were asked for when the keys were hashed; now the entries, for the whole batch. */
static inline void prefetch_entries(struct batch *b)
{
    struct dict *dict = b->cmd[0].dict ? b->cmd[0].dict : &none;
    const struct cmd_desc *first = b->cmd[0].desc;
    struct staged *s = b->cmd, *end = b->end;
    b->mixed = false;
    do {
        struct entry *e = NULL;
        if (unlikely_(s->desc != first))
            b->mixed = true;
        if (likely_(s->dict == dict)) {
        here:
            e = dict_candidate(s->bucket, s->hash);
            if (unlikely_(!e) && unlikely_(dict_state_reach(s->bucket)))
                e = dict_candidate_displaced(dict, s->hash);
            entry_prefetch(e);
        } else {
            struct dict *other = prefetch_other(s, dict);
            if (other) {
                dict = other;
                goto here;
            }
        }
        s->candidate = e;
    } while (++s != end);
    b->dict = dict;
    b->departed = dict->departed;
}

/* ---- executing ---- */

/* after_command, which may want to know whose it was. */
static inline bool after_request(struct worker *w, const struct conn *c)
{
    if (likely_(!w->shard.after))
        return false;
    w->host.asker = c->ses.id;
    return after_command(w, &w->shard);
}

_Static_assert(offsetof(struct staged, argv) == offsetof(struct staged, desc) + 8 &&
                   offsetof(struct cmd, argv) == offsetof(struct cmd, desc) + 8 &&
                   offsetof(struct staged, candidate) == offsetof(struct staged, hash) + 8 &&
                   offsetof(struct cmd, candidate) == offsetof(struct cmd, hash) + 8,
               "two pairs, each copied as one");

/* What the session knows of its commands. No plain one asks for it, so a row is told at its end. */
static inline void account_row(struct conn *c, const struct staged *s, const struct staged *end)
{
    c->ses.last_cmd = end[-1].desc;
    c->ses.commands += (uint64_t)(end - s);
}

/* Rows of clients of nodes, at their node's worker (core-addressed). */
enum node {
    NODE_NONE,  /* they are nobody's clients */
    NODE_ALONE, /* of one worker: all slots are its own */
    NODE_MANY,
};

/* Is the request one that this node answers? `e`, if it is the entry of its key, proves it, for it lies in this shard; only where there is none the
 * key's slot is asked for. */
static inline __attribute__((always_inline)) bool
of_node(const struct worker *w, const struct staged *s, const struct entry *e, enum node node)
{
    if (node == NODE_ALONE)
        return s->desc->route == ROUTE_KEY; /* several keys may be of several slots */
    return (likely_(e != NULL) && likely_(access_is(e, s->argv[1]))) ||
           shard_of_key(s->argv[1], w->count) == w->id;
}

/* The commands of a cache, without a call where their entry was found. False: nothing was done. */
static inline __attribute__((always_inline)) bool found(struct worker *w, const struct staged *s,
                                                        struct entry *e)
{
    const struct span *argv = s->argv;
    if (s->desc == &cmd_table[CMD_get])
        return likely_(found_get(&w->shard, argv[1], e, &w->out));
    return s->desc == &cmd_table[CMD_set] && s->argc == 3 && likely_(!shard_full(&w->shard)) &&
           likely_(found_set(&w->shard, argv[1], argv[2], e, &w->out));
}

/* A row of plain requests of one client: what is the same for all of them is asked once. one: there is only one. With a node the row ends where
 * something is not that node's. *after, if after is not NULL: what may have changed whose the shard is. */
static inline __attribute__((always_inline)) struct staged *
execute_row(struct worker *w, struct batch *b, struct staged *s, const struct staged *end, bool one,
            enum node node, bool *after)
{
    struct conn *c = s->conn;
    struct cmd *cmd = &w->cmd; /* what never changes was filled in by worker_create */
    if (likely_(!w->out_conn))
        out_begin(w, c);
    else if (w->out_conn != c)
        out_start(w, c);
    else
        w->out.resp = c->ses.resp;
    cmd->session = &c->ses;
    cmd->db = c->ses.db;
    c->ses.last_ms = w->now_ms;
    const struct staged *first = s;
    bool last = false;
    do {
        const struct cmd_desc *d = s->desc;
        /* Where an entry has left the dict, those that were found before may be gone. */
        struct entry *e = likely_(b->dict->departed == b->departed) ? s->candidate : NULL;
        if (found(w, s, e)) {
            w->cmd_calls[d->index]++; /* and it is of the node: it lies in its shard */
            goto done;
        }
        if (node && unlikely_(!of_node(w, s, e, node)))
            break;
        memcpy(&cmd->desc, &s->desc, 16);
        cmd->hash = s->hash;
        cmd->candidate = e;
        cmd->argc = s->argc;
        if (likely_(!(d->flags & CMD_DENYOOM) || !shard_full(&w->shard)) || cmd_has_room(cmd)) {
            d->fn(cmd);
            cmd_ended_on(cmd, &w->shard);
            w->cmd_calls[d->index]++;
            if (unlikely_(w->out.errors))
                route_errors(w, &w->out, d);
            if (unlikely_(after_request(w, c))) { /* the writer may be another's */
                account_row(c, first, s + 1);
                if (after)
                    *after = true;
                return s + 1;
            }
        } else {
            route_refused(w, &w->out);
        }
    done:
        s++;
        last = one || s == end || s->conn != c;
    } while (!last && (s->way & WAY_PLAIN) && likely_(c->out_bytes <= LIMIT_CONN_OUT_PAUSE_BYTES));
    if (node && s == first)
        return s;
    account_row(c, first, s);
    if (last && likely_(out_end(w)))
        return s;
    if (unlikely_(c->out_bytes > LIMIT_CONN_OUT_PAUSE_BYTES))
        c->throttled = true;
    return s;
}

static __attribute__((noinline)) struct staged *
execute_plain(struct worker *w, struct batch *b, struct staged *s, const struct staged *end)
{
    return execute_row(w, b, s, end, false, NODE_NONE, NULL);
}

/* Closing or throttled, of conn.state. */
#define CONN_STOPS 0x00ffff00u
_Static_assert(offsetof(struct conn, throttled) == offsetof(struct conn, state) + 1 &&
                   offsetof(struct conn, closing) == offsetof(struct conn, state) + 2,
               "little-endian bytes of a word");

static inline bool plain_client(const struct conn *c, uint8_t mode)
{
    return likely_(!(c->state & CONN_STOPS) && c->nslots == 0 && session_plain(&c->ses, mode));
}

/* A plain request runs in place now, with all that follow. */
static inline bool plain_now(struct worker *w, const struct conn *c)
{
    return plain_client(c, 0) && (w->count == 1 || (remote_shard_free(w) && !intents_any(w)));
}

static inline __attribute__((always_inline)) struct staged *
node_rows(struct worker *w, struct batch *b, struct staged *s, const struct staged *end,
          enum node node)
{
    bool after = false;
    struct staged *next;
    do {
        if (unlikely_(!plain_client(s->conn, SESSION_NODE)))
            break;
        next = s + 1 == end || s[1].conn != s->conn
                   ? execute_row(w, b, s, end, true, node, &after)
                   : execute_row(w, b, s, end, false, node, &after);
        if (unlikely_(next == s))
            break;
        s = next;
    } while (s != end && likely_(!after) && (s->way & WAY_PLAIN) && s->conn->at_node);
    return s;
}

static __attribute__((noinline)) struct staged *
node_rows_many(struct worker *w, struct batch *b, struct staged *s, const struct staged *end)
{
    return remote_shard_free(w) && !intents_any(w) ? node_rows(w, b, s, end, NODE_MANY) : s;
}

/* Plain requests of clients of nodes, at their node's worker. Returns the first that does not run so; s: not even this one. */
static __attribute__((noinline)) struct staged *node_run(struct worker *w, struct batch *b,
                                                         struct staged *s, const struct staged *end)
{
    return w->count > 1 ? node_rows_many(w, b, s, end) : node_rows(w, b, s, end, NODE_ALONE);
}

/* It runs in place, alone: others have keys of the shard in their hands, but not this one. */
static inline bool plain_beside(struct worker *w, const struct staged *s)
{
    return w->count > 1 && plain_client(s->conn, 0) && remote_shard_free(w) &&
           !intents_meet(&w->lease.intents, s->hash, !(s->desc->flags & CMD_READONLY));
}

/* With one worker nearly every request runs here and writes straight to its client: that case without a detour.
 * False: route_staged decides. */
static bool execute_here(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    struct session *ses = &c->ses;
    const struct cmd_desc *d = s->desc;
    if (unlikely_(!(s->way & WAY_DIRECT) || c->closing || !list_empty(&c->slots) ||
                  ses->reply_mode != SESSION_REPLY_ON || !ses->authenticated || ses->mode))
        return false;
    struct reply *r = w->out_conn == c ? &w->out : out_open(c);
    struct cmd *cmd = &w->cmd; /* what never changes was filled in by worker_create */
    r->resp = ses->resp;
    ses->last_cmd = d;
    ses->commands++;
    cmd->argv = s->argv;
    cmd->argc = s->argc;
    cmd->desc = d;
    cmd->session = ses;
    cmd->db = ses->db;
    cmd->hash = s->hash;
    cmd->parser = s->big ? &c->part->parser : NULL;
    cmd->candidate = NULL;
    struct times_request t = {.desc = d, .argv = s->argv, .argc = s->argc, .session = ses};
    bool timed = times_each(w, d) || s->big;
    if (likely_(!(d->flags & CMD_DENYOOM) || !shard_full(&w->shard)) || cmd_has_room(cmd)) {
        if (unlikely_(timed))
            times_begin(w, &t, s->big);
        d->fn(cmd);
        cmd_ended(cmd);
        if (unlikely_(timed))
            times_end(w, &t);
        w->cmd_calls[d->index]++;
        if (unlikely_(r->errors))
            route_errors(w, r, d);
    } else {
        route_refused(w, r);
    }
    cmd->parser = NULL;
    if (unlikely_(ses->reply_mode != SESSION_REPLY_ON || ses->close_asap || ses->close_after_reply))
        route_after(c);
    after_request(w, c);
    return true;
}

static __attribute__((noinline)) void execute_any(struct worker *w, struct batch *b,
                                                  struct staged *s)
{
    struct conn *c = s->conn;
    if (!c)
        return; /* put back */
    candidates_forget(b);
    c->ses.last_ms = w->now_ms;
    if (unlikely_((c->throttled || c->paused) && !(s->way & WAY_ERROR))) {
        batch_put_back(w, s);
        return;
    }
    if (unlikely_(c->writes_pending | c->reads_pending) && scatter_holds(w, s))
        return;
    if (unlikely_(w->careful & CAREFUL_JOURNAL) && journal_holds(w, c, s)) {
        batch_put_back(w, s);
        return;
    }
    if (!execute_here(w, s))
        route_staged(w, s);
    if (unlikely_(c->out_bytes > LIMIT_CONN_OUT_PAUSE_BYTES))
        c->throttled = true;
}

/* One that may take long, alone and with the clock read around it. */
static __attribute__((noinline)) struct staged *execute_timed(struct worker *w, struct batch *b,
                                                              struct staged *s)
{
    struct times_request t = {
        .desc = s->desc, .argv = s->argv, .argc = s->argc, .session = &s->conn->ses};
    times_begin(w, &t, false);
    s = execute_plain(w, b, s, s + 1);
    times_end(w, &t);
    return s;
}

/* Plain requests that are not run in place just like that. Returns the first that is left. */
static inline struct staged *run_otherwise(struct worker *w, struct batch *b, struct staged *s,
                                           struct staged *end)
{
    struct staged *next = s;
    if ((s->way & WAY_PLAIN) && s->conn->at_node)
        next = node_run(w, b, s, end);
    if (next == s && (s->way & (WAY_PLAIN | WAY_HOP)) && w->count > 1)
        next = hop_run(w, b, s, end);
    return next;
}

static void execute(struct worker *w, struct batch *b)
{
    for (struct staged *s = b->cmd, *end = b->end, *next; s != end;) {
        if (likely_(s->way & WAY_PLAIN) && likely_(plain_now(w, s->conn)))
            s = s + 1 == end || s[1].conn != s->conn
                    ? execute_row(w, b, s, end, true, NODE_NONE, NULL)
                    : execute_plain(w, b, s, end);
        else if ((s->way & WAY_TIMED) && plain_now(w, s->conn))
            s = execute_timed(w, b, s);
        else if ((s->way & WAY_PLAIN) && plain_beside(w, s))
            s = execute_plain(w, b, s, s + 1);
        else if ((next = run_otherwise(w, b, s, end)) != s)
            s = next;
        else
            execute_any(w, b, s++);
    }
}

/* n commands that took so many cycles together. */
static inline void account_short(struct worker *w, const struct cmd_desc *d, uint64_t cycles,
                                 uint64_t n)
{
    w->cmd_usec[d->index] += cycles;
    if (likely_(w->tracks_times))
        time_hist_add(&w->times[d->index], times_ns(w, n == 1 ? cycles : cycles / n), n);
}

/* The cycles of a batch, but for those that were timed one by one, are divided evenly: one clock read for all. */
static void account_batch(struct worker *w, struct batch *b, uint64_t cycles)
{
    const struct cmd_desc *same = b->cmd[0].desc;
    uint64_t n = (uint64_t)(b->end - b->cmd), known = n;
    if (likely_(!b->mixed && same)) {
        if (likely_(!times_each(w, same)))
            account_short(w, same, cycles, n);
    } else {
        uint64_t left = n > w->own_timed ? n - w->own_timed : 1;
        for (struct staged *s = b->cmd; s != b->end; s++) {
            if (!s->desc)
                known--;
            else if (!times_each(w, s->desc))
                account_short(w, s->desc, cycles / left, 1);
        }
    }
    if (unlikely_(cycles >= w->look_cycles))
        times_batch(w, b, cycles);
    STAT_ADD(w->stats->commands, known);
    STAT_INC(w->stats->batches);
}

void batch_init(struct batch *b)
{
    b->end = b->cmd;
    b->full = b->cmd + LIMIT_BATCH_CMDS;
    b->args_end = b->args;
    b->args_full = b->args + LIMIT_BATCH_ARGS;
}

void batch_run_now(struct worker *w)
{
    struct batch *b = w->batch;
    if (unlikely_(b->running))
        return;
    b->running = true;
    uint64_t start = rte_rdtsc();
    w->own_timed = w->own_cycles = 0;
    w->cmd.now_us = w->unix_us;
    prefetch_entries(b);
    if (unlikely_(w->hold.on))
        hold_batch(w, b);
    execute(w, b);
    out_close(w);
    if (unlikely_(w->journal.fx.len > JOURNAL_CLOSE_BYTES))
        journal_much_end(w);
    account_batch(w, b, rte_rdtsc() - start - w->own_cycles);
    b->end = b->cmd;
    b->args_end = b->args;
    b->scratch_used = 0;
    b->running = false;
}
