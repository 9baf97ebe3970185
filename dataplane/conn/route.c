/* Where a staged request runs: on this worker's shard, on another's, in parts on several, under leases, or in the control process.
 *
 * With one worker everything but ROUTE_CONTROL runs in place and none of the rest costs anything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"
#include "engine/cmd/block.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/multi.h"
#include "engine/cmd/scan.h"

/* Where one reply is written: straight to the client, or into a slot behind others. */
struct target {
    struct reply *r;
    struct slot *slot;
    struct reply heap;
};

static void target_begin(struct target *t, struct conn *c, bool muted)
{
    if (list_empty(&c->slots) && !c->longer) {
        t->slot = NULL;
        t->r = out_open(c);
    } else {
        t->slot = slot_new(c);
        t->r = &t->heap;
        reply_heap_init(t->r, &t->slot->bytes, c->ses.resp);
    }
    t->r->resp = c->ses.resp;
    t->r->muted = muted;
}

static void account_errors(struct worker *w, const struct reply *r)
{
    if (r->errors) {
        STAT_ADD(w->stats->error_replies, r->errors);
        stats_count_error(w->stats, r->error_code);
    }
}

void route_errors(struct worker *w, struct reply *r, const struct cmd_desc *d)
{
    w->cmd_failed[d->index]++;
    route_refused(w, r);
}

void route_refused(struct worker *w, struct reply *r)
{
    account_errors(w, r);
    r->errors = 0;
}

static void target_end(struct target *t, struct worker *w)
{
    account_errors(w, t->r);
    t->r->muted = false;
    t->r->errors = 0;
    if (t->slot)
        reply_heap_finish(t->r, &t->slot->bytes);
}

struct cmd route_cmd(struct worker *w, const struct cmd_desc *d, struct span *argv, uint32_t argc,
                     struct reply *out)
{
    return (struct cmd){.argv = argv,
                        .argc = argc,
                        .desc = d,
                        .out = out,
                        .shards = &w->set,
                        .shard = &w->shard,
                        .host = &w->host,
                        .now_us = w->unix_us};
}

void route_after(struct conn *c)
{
    struct session *s = &c->ses;
    if (s->reply_mode == SESSION_REPLY_SKIP)
        s->reply_mode = SESSION_REPLY_ON;
    else if (s->reply_mode == SESSION_REPLY_SKIP_NEXT)
        s->reply_mode = SESSION_REPLY_SKIP;
    if (s->close_asap || s->close_after_reply)
        conn_close(c);
}

static inline void after_request(struct conn *c)
{
    const struct session *s = &c->ses;
    if (unlikely_(s->reply_mode != SESSION_REPLY_ON || s->close_asap || s->close_after_reply))
        route_after(c);
}

static bool is_muted(const struct conn *c)
{
    return c->ses.reply_mode == SESSION_REPLY_OFF || c->ses.reply_mode == SESSION_REPLY_SKIP;
}

static bool touches_shard(const struct cmd_desc *d)
{
    return d->route == ROUTE_KEY || d->route == ROUTE_KEYS || d->route == ROUTE_ALL ||
           d->route == ROUTE_CURSOR || d == &cmd_table[CMD_exec];
}

/* What it writes may be more than the journal's ring has room for. */
static bool writes_much(const struct staged *s)
{
    const struct multi *m = s->conn->ses.multi;
    if (s->desc == &cmd_table[CMD_exec])
        return m && m->bytes > LIMIT_BIG_ARG_BYTES;
    return s->big || (s->desc == &cmd_table[CMD_spop] && s->argc > 2);
}

/* The reply waits in a slot until it may be told. */
static struct slot *slot_until_durable(struct target *t, struct conn *c)
{
    out_close(c->w);
    t->slot = route_slot(c, 1);
    t->r = &t->heap;
    reply_heap_init(t->r, &t->slot->bytes, c->ses.resp);
    t->r->muted = t->slot->muted;
    return t->slot;
}

void route_here(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    struct target t;
    struct slot *durable = NULL;
    bool much = unlikely_(w->journal.on) && writes_much(s);
    if (unlikely_(much))
        journal_much_begin(w);
    size_t effects = w->journal.fx.len;
    if (unlikely_(much || w->journal.always || (c->ses.mode & SESSION_DURABLE)) &&
        touches_shard(s->desc))
        durable = slot_until_durable(&t, c);
    else
        target_begin(&t, c, is_muted(c));
    struct cmd cmd = route_cmd(w, s->desc, s->argv, s->argc, t.r);
    cmd.session = &c->ses;
    cmd.db = c->ses.db;
    cmd.hash = s->hash;
    cmd.parser = s->big ? &c->part->parser : NULL;
    cmd.may_hold = !t.slot;
    cmd.tracks = tracking_remembers(&c->ses);
    if (times_each(w, s->desc) || s->big) {
        struct times_request tr = {
            .desc = s->desc, .argv = s->argv, .argc = s->argc, .session = &c->ses};
        times_begin(w, &tr, s->big);
        cmd_call(&cmd);
        times_end(w, &tr);
    } else {
        cmd_call(&cmd);
    }
    target_end(&t, w);
    if (unlikely_(durable != NULL))
        journal_ready(w, durable, 1ull << w->id,
                      journal_need(c->ses.durability, w->journal.fx.len != effects));
    if (unlikely_(much))
        journal_much_end(w);
    if (w->lease.holder == LEASE_FREE) /* else what is left there is the holder's */
        after_command(w, &w->shard);
}

void route_answer(struct worker *w, struct conn *c, const char *text)
{
    struct target t;
    target_begin(&t, c, is_muted(c));
    if (*text == '+')
        reply_simple(t.r, text + 1);
    else
        reply_error(t.r, text);
    target_end(&t, w);
}

/* ---- several workers ---- */

struct slot *route_slot(struct conn *c, uint32_t parts)
{
    struct slot *slot = slot_new(c);
    slot->parts = parts;
    slot->muted = is_muted(c);
    return slot;
}

static void run_on_owner(struct worker *w, struct staged *s, uint32_t owner)
{
    if (owner == w->id && shard_free_for(w, s)) {
        route_here(w, s);
        return;
    }
    out_close(w);
    remote_post(w, owner, route_slot(s->conn, 1), s, s->argv, s->argc, false);
}

/* One part on my own shard, straight into the aggregate. */
static void part_here(struct worker *w, struct staged *s, struct slot *slot, struct span *argv,
                      uint32_t argc)
{
    struct reply_heap h = {0};
    struct reply r;
    reply_heap_init(&r, &h, s->conn->ses.resp);
    struct cmd cmd = route_cmd(w, s->desc, argv, argc, &r);
    cmd.session = &s->conn->ses;
    cmd.db = s->conn->ses.db;
    if (s->keyed && argc > (uint32_t)s->desc->first_key)
        cmd.hash = shard_hash(&w->shard, argv[s->desc->first_key]);
    cmd.part = true;
    cmd.tracks = tracking_remembers(&s->conn->ses);
    if (times_each(w, s->desc)) {
        uint64_t start = rte_rdtsc();
        cmd_call(&cmd);
        slot->took = rte_rdtsc() - start;
        times_took(w, s->desc, slot->took);
    } else {
        cmd_call(&cmd);
    }
    reply_heap_finish(&r, &h);
    agg_part(slot->agg, span_of(h.p, h.len), w->rng);
    reply_heap_free(&h);
    if (unlikely_(w->lease.holder != LEASE_FREE)) { /* it has touched no shard */
        slot->parts--;
        return;
    }
    uint64_t gate = journal_gate(
        w, w->id, journal_need(s->conn->ses.durability, (s->desc->flags & CMD_WRITE) != 0));
    if (unlikely_(gate != 0))
        journal_wait(w, slot, w->id, gate);
    else
        slot->parts--;
    after_command(w, &w->shard);
}

static void slot_aggregate(struct slot *slot, const struct staged *s)
{
    slot->agg = calloc(1, sizeof(*slot->agg));
    CHECK(slot->agg);
    agg_begin(slot->agg, s->desc, s->argv, s->argc, s->conn->ses.resp);
}

static struct slot *slot_split(struct worker *w, struct staged *s, uint32_t parts)
{
    struct slot *slot = route_slot(s->conn, parts);
    slot_aggregate(slot, s);
    (void)w;
    return slot;
}

/* MONITOR at home does not wait for whoever has the shard: lines of other workers may be here before it is free. */
static bool part_here_now(struct worker *w, const struct staged *s)
{
    return shard_free_for(w, s) || s->desc == &cmd_table[CMD_monitor];
}

/* A part on every worker; the slot waits for as many. */
static void split_all(struct worker *w, struct staged *s, struct slot *slot)
{
    w->rng = w->rng * 6364136223846793005ull + 1442695040888963407ull;
    for (uint32_t i = 0; i < w->count; i++) {
        if (i == w->id && part_here_now(w, s))
            part_here(w, s, slot, s->argv, s->argc);
        else
            remote_post(w, i, slot, s, s->argv, s->argc, true);
    }
    if (slot->parts == 0)
        slot_ready(slot);
}

uint64_t route_shards(const struct worker *w, const struct cmd_desc *d, const struct span *argv,
                      uint32_t argc)
{
    int n = cmd_keys(d, argv, argc, NULL, 0);
    if (n <= 0 || cmd_keys_open(d, argv, argc))
        return worker_all(w);
    uint32_t few[16], *pos = n <= (int)ARRAY_LEN(few) ? few : malloc((size_t)n * sizeof(*pos));
    uint64_t mask = 0;
    CHECK(pos);
    cmd_keys(d, argv, argc, pos, (uint32_t)n);
    for (int i = 0; i < n; i++)
        mask |= 1ull << shard_of_key(argv[pos[i]], w->count);
    if (pos != few)
        free(pos);
    return mask;
}

static void run_keys(struct worker *w, struct staged *s)
{
    uint32_t shards = scatter_start(w, s);
    if (likely_(shards != 0)) {
        if (shards == 1)
            run_on_owner(w, s, s->owner);
        return;
    }
    int n = cmd_keys(s->desc, s->argv, s->argc, NULL, 0);
    if (n <= 0 || cmd_keys_open(s->desc, s->argv,
                                s->argc)) { /* no keys: the command says what is wrong with it */
        scatter_lease(w, s, worker_all(w), NULL, 0);
        return;
    }
    uint32_t *pos = malloc((size_t)n * sizeof(*pos));
    CHECK(pos);
    cmd_keys(s->desc, s->argv, s->argc, pos, (uint32_t)n);
    uint64_t mask = 0;
    for (int i = 0; i < n; i++)
        mask |= 1ull << shard_of_key(s->argv[pos[i]], w->count);
    if ((mask & (mask - 1)) == 0)
        run_on_owner(w, s, (uint32_t)__builtin_ctzll(mask));
    else
        scatter_lease(w, s, mask, pos, (uint32_t)n);
    free(pos);
}

static void run_watch(struct worker *w, struct staged *s)
{
    if (s->conn->ses.mode & SESSION_MULTI)
        route_here(w, s); /* the error */
    else
        exec_watch(w, s);
}

static uint32_t cursor_owner(const struct worker *w, const struct staged *s)
{
    uint64_t cursor;
    if (s->argc > 1 && scan_cursor_parse(s->argv[1], &cursor))
        return scan_cursor_shard(cursor, w->count);
    return w->id; /* the command refuses it */
}

static void on_received(struct worker *w, void *ctx, int64_t receivers)
{
    struct slot *slot = ctx;
    (void)w;
    slot->agg->sum += receivers;
    if (--slot->parts == 0)
        slot_ready(slot);
}

/* PUBLISH: to the clients here at once (to the asker itself before its reply, as in Redis), to workers whose clients may want it by an
 * event each; the reply is the sum. */
static void run_publish(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    enum pubsub_kind kind = s->desc == &cmd_table[CMD_spublish] ? PUBSUB_SHARD : PUBSUB_CHANNEL;
    out_close(w);
    uint64_t others;
    int64_t here = pubsub_publish_now(w, kind, s->argv[1], s->argv[2], &others);
    w->cmd_calls[s->desc->index]++;
    if (!others) {
        struct target t;
        if (c->dead)
            return; /* its own message was too much for it */
        target_begin(&t, c, is_muted(c));
        reply_int(t.r, here);
        target_end(&t, w);
        return;
    }
    struct slot *slot = c->dead ? NULL : slot_split(w, s, (uint32_t)__builtin_popcountll(others));
    if (slot) {
        slot->agg->sum = here;
        slot->publishes = true;
    }
    count_hops(w, s->desc, others);
    pubsub_send(w, others, kind, s->argv[1], s->argv[2], slot ? on_received : NULL, slot);
}

/* The client of a node means the node's shard when it says all. */
static void run_on_node(struct worker *w, struct staged *s)
{
    uint32_t node = s->conn->ses.node - 1u;
    bool joined = s->desc->route == ROUTE_ALL;
    out_close(w);
    struct slot *slot = joined ? slot_split(w, s, 1) : route_slot(s->conn, 1);
    remote_post(w, node, slot, s, s->argv, s->argc, true);
}

/* In one step over all shards: clients that cache are told once, and nothing that they read meanwhile is from before. */
static bool flush_for_trackers(const struct worker *w, const struct cmd_desc *d)
{
    return (d == &cmd_table[CMD_flushall] || d == &cmd_table[CMD_flushdb]) && tracking_anybody(w);
}

static void run_over_workers(struct worker *w, struct staged *s)
{
    if (unlikely_(cmd_of_node(s->desc, &s->conn->ses))) {
        run_on_node(w, s);
        return;
    }
    switch (s->desc->route) {
    case ROUTE_KEY: run_on_owner(w, s, s->keyed ? s->owner : w->id); break;
    case ROUTE_KEYS:
        out_close(w);
        if (unlikely_(s->desc == &cmd_table[CMD_watch]))
            run_watch(w, s);
        else
            run_keys(w, s);
        break;
    case ROUTE_CURSOR: run_on_owner(w, s, cursor_owner(w, s)); break;
    case ROUTE_CHANNEL: run_publish(w, s); break;
    case ROUTE_ALL:
    case ROUTE_WORKERS:
        out_close(w);
        /* One shard's part of a FLUSHALL is no command that a log could hold. */
        if (s->desc->split == SPLIT_LEASE || flush_for_trackers(w, s->desc) ||
            (w->journal.on && (s->desc->flags & CMD_WRITE)))
            scatter_lease(w, s, worker_all(w), NULL, 0);
        else
            split_all(w, s, slot_split(w, s, w->count));
        break;
    default:
        if (s->desc == &cmd_table[CMD_client_tracking] && tracking_leases(s->argv, s->argc)) {
            out_close(w);
            scatter_lease(w, s, worker_all(w), NULL, 0);
            break;
        }
        route_here(w, s);
    }
}

static void run_in_control(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    out_close(w);
    struct slot *slot = route_slot(c, 1);
    slot->resumes = true;
    c->paused = true;
    if (!admin_send(w, c, slot, s)) {
        slot->parts = 0;
        slot_ready(slot);
    }
}

/* PUBLISH of a transaction. */
static void publish_into(struct worker *w, struct staged *s, struct slot *slot)
{
    enum pubsub_kind kind = s->desc == &cmd_table[CMD_spublish] ? PUBSUB_SHARD : PUBSUB_CHANNEL;
    slot_aggregate(slot, s);
    uint64_t others;
    slot->agg->sum = pubsub_publish_now(w, kind, s->argv[1], s->argv[2], &others);
    w->cmd_calls[s->desc->index]++;
    slot->parts = (uint32_t)__builtin_popcountll(others);
    count_hops(w, s->desc, others);
    if (others)
        pubsub_send(w, others, kind, s->argv[1], s->argv[2], on_received, slot);
    else
        slot_ready(slot);
}

void route_foreign(struct worker *w, struct staged *s, struct slot *slot)
{
    if (s->desc->route == ROUTE_CHANNEL) {
        publish_into(w, s, slot);
    } else if (s->desc->route != ROUTE_CONTROL) {
        slot->parts = w->count;
        slot_aggregate(slot, s);
        split_all(w, s, slot);
    } else if (!admin_send(w, s->conn, slot, s)) {
        slot->parts = 0;
        slot_ready(slot);
    }
}

/* What is wrong with a request that does not come to run. */
static void write_refusal(struct worker *w, const struct staged *s, struct reply *r)
{
    if (s->desc)
        cmd_admit(s->desc, &s->conn->ses, &w->config, r);
    else
        cmd_lookup(s->argv, s->argc, r);
}

/* An EXEC that is refused ends its transaction: "ERR why" becomes "EXECABORT ... why". */
static void abort_exec(struct conn *c, struct reply *r, struct span why)
{
    size_t skip = why.n > 4 && memcmp(why.p, "ERR ", 4) == 0 ? 4 : 0;
    reply_errorf(r, "EXECABORT Transaction discarded because of: %.*s", (int)(why.n - skip),
                 (const char *)why.p + skip);
    exec_drop(c);
}

static void abort_refused_exec(struct worker *w, const struct staged *s, struct reply *r)
{
    struct reply_heap h = {0};
    struct reply text;
    reply_heap_init(&text, &h, 2);
    write_refusal(w, s, &text);
    reply_heap_finish(&text, &h);
    abort_exec(s->conn, r, span_of(h.p + 1, h.len > 3 ? h.len - 3 : 0)); /* "-" text "\r\n" */
    reply_heap_free(&h);
}

static void answer_refusal(struct worker *w, struct staged *s)
{
    struct target t;
    target_begin(&t, s->conn, is_muted(s->conn));
    if (unlikely_(span_is(s->argv[0], "exec"))) {
        abort_refused_exec(w, s, t.r);
    } else {
        write_refusal(w, s, t.r);
        exec_failed(s->conn);
    }
    if (strcmp(t.r->error_code, "DENIED") == 0)
        STAT_INC(w->stats->denied_commands);
    target_end(&t, w);
}

/* No permission. True: answered. */
static bool refused(struct worker *w, struct staged *s)
{
    if (cmd_admit(s->desc, &s->conn->ses, &w->config, &w->nowhere))
        return false;
    w->cmd_rejected[s->desc->index]++;
    answer_refusal(w, s);
    return true;
}

/* The request is not run, nor the transaction that it belongs to. */
static bool answer_text(struct worker *w, struct staged *s, const char *text)
{
    struct target t;
    w->cmd_rejected[s->desc->index]++;
    target_begin(&t, s->conn, is_muted(s->conn));
    if (unlikely_(s->desc == &cmd_table[CMD_exec])) {
        abort_exec(s->conn, t.r, span_str(text));
    } else {
        reply_error(t.r, text);
        exec_failed(s->conn);
    }
    target_end(&t, w);
    return true;
}

/* Not now: the dataset is being loaded, or the disk is in trouble. True: answered. */
static __attribute__((noinline)) bool held_back(struct worker *w, struct staged *s)
{
    const struct cmd_desc *d = s->desc;
    uint32_t flags = exec_flags(s->conn, d);
    bool needs_disk = (flags & CMD_WRITE) || d == &cmd_table[CMD_ping];
    char text[128];
    if ((w->careful & CAREFUL_MISCONF) && needs_disk)
        return answer_text(
            w, s,
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to "
            "persist to disk. Commands that may modify the data set are disabled, because this "
            "instance is configured to report errors during writes if RDB snapshotting fails "
            "(stop-writes-on-bgsave-error option). Please check the Redis logs for details about "
            "the RDB error.");
    if (w->journal.error && needs_disk) {
        snprintf(text, sizeof(text), "MISCONF Errors writing to the AOF file: %s",
                 strerror(w->journal.error));
        return answer_text(w, s, text);
    }
    return (w->careful & CAREFUL_LOADING) && !(flags & CMD_LOADING) && !s->conn->loader &&
           answer_text(w, s, "LOADING Redis is loading the dataset in memory");
}

/* In RESP2 a subscriber reads arrays that nobody asked for: only what cannot be mistaken for them is allowed. */
static bool allowed_to_subscribers(const struct cmd_desc *d)
{
    static const uint16_t allowed[] = {CMD_ping,         CMD_subscribe,  CMD_ssubscribe,
                                       CMD_unsubscribe,  CMD_psubscribe, CMD_punsubscribe,
                                       CMD_sunsubscribe, CMD_quit,       CMD_reset};
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        if (d == &cmd_table[allowed[i]])
            return true;
    return false;
}

/* May change its subscriptions or its protocol. */
static bool ends_conflation(const struct cmd_desc *d)
{
    return (d->flags & CMD_PUBSUB) || d == &cmd_table[CMD_reset] || d == &cmd_table[CMD_hello] ||
           d == &cmd_table[CMD_exec];
}

/* Its client has subscribed. True: answered. */
static bool refused_to_subscriber(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    if (ends_conflation(s->desc))
        conflate_flush(c); /* what was published before */
    if (c->ses.resp != 2 || allowed_to_subscribers(s->desc))
        return false;
    struct target t;
    w->cmd_rejected[s->desc->index]++;
    target_begin(&t, c, is_muted(c));
    reply_errorf(t.r,
                 "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                 "RESET are allowed in this context",
                 s->desc->full);
    target_end(&t, w);
    return true;
}

static void answer_protocol_error(struct worker *w, struct staged *s)
{
    struct target t;
    STAT_INC(w->stats->protocol_errors);
    target_begin(&t, s->conn, false);
    reply_errorf(t.r, "ERR %s", s->protocol_error);
    target_end(&t, w);
    conn_close(s->conn);
}

/* Nothing can refuse the command at home: the common case, decided without a call. */
static inline bool is_open(const struct worker *w, const struct conn *c, const struct cmd_desc *d)
{
    return c->ses.authenticated && !(d->flags & CMD_PROTECTED) &&
           (!w->config.protected_mode || w->config.requirepass_len ||
            c->ses.source != SESSION_NETWORK);
}

/* A watcher, or the client of a node. True: answered. */
static __attribute__((noinline)) bool refused_by_mode(struct worker *w, struct staged *s)
{
    const struct conn *c = s->conn;
    char text[CLUSTER_TEXT_BYTES];
    if ((c->ses.mode & SESSION_MONITOR) &&
        (s->desc->flags & (CMD_WRITE | CMD_READONLY | CMD_MAY_REPLICATE)))
        return answer_text(w, s, "ERR Replica can't interact with the keyspace");
    return c->ses.node && cluster_refuses(w, s, text) && answer_text(w, s, text);
}

/* Its client tracks: it is found by its id from now on; CLIENT CACHING was for this request, unless it is that itself. */
static void after_tracked(struct conn *c, const struct cmd_desc *d)
{
    conn_name(c);
    if (!(c->ses.mode & SESSION_MULTI) && (!d || d->parent != &cmd_table[CMD_client]))
        c->ses.tracking->flags &= ~(uint32_t)TRACKING_CACHING;
}

/* Something else must be over first: it was put back, and comes again. */
static bool comes_again(struct worker *w, struct staged *s)
{
    if (w->count == 1)
        return false;
    if (s->desc->route == ROUTE_CHANNEL)
        return publish_waits(w, s);
    if (s->desc == &cmd_table[CMD_waitaof])
        return publish_waits(w, s);
    return s->desc == &cmd_table[CMD_client_tracking] && tracking_asks(w, s, s->argv, s->argc);
}

void route_staged(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    const struct cmd_desc *d = s->desc;
    if (unlikely_(c->closing))
        return;
    if (unlikely_(!d)) {
        if (s->way & WAY_ERROR) {
            answer_protocol_error(w, s);
            return;
        }
        answer_refusal(w, s);
        after_request(c);
        return;
    }
    c->ses.last_cmd = d;
    c->ses.commands++;
    if ((likely_(is_open(w, c, d)) || !refused(w, s)) &&
        (likely_(!w->careful) || !held_back(w, s)) &&
        (likely_(!(c->ses.mode & SESSION_SUBSCRIBED)) || !refused_to_subscriber(w, s)) &&
        (likely_(!(c->ses.mode & SESSION_MONITOR) && !c->ses.node) || !refused_by_mode(w, s)) &&
        (likely_(!(w->careful & CAREFUL_PAUSE)) || !pause_holds(w, s)) &&
        (likely_(!w->hold.on) || !hold_staged(w, s)) &&
        (likely_(!(c->ses.mode & SESSION_MULTI)) || !exec_staged(w, s)) &&
        (likely_(d->route != ROUTE_CHANNEL && d->route != ROUTE_LOCAL) || !comes_again(w, s))) {
        if (unlikely_(w->careful & CAREFUL_MONITOR) && !(c->ses.mode & SESSION_MULTI))
            monitor_note(w, &c->ses, d, s->argv, s->argc);
        if (unlikely_(cmd_may_wait(d, s->argv, s->argc)))
            block_staged(w, s);
        else if (unlikely_(d->route == ROUTE_CONTROL))
            run_in_control(w, s);
        else if (likely_(w->count == 1))
            route_here(w, s);
        else
            run_over_workers(w, s);
    }
    if (unlikely_(!s->conn)) { /* put back */
        c->ses.commands--;
        return;
    }
    if (unlikely_(c->ses.mode & SESSION_TRACKING) && !c->dead)
        after_tracked(c, d);
    after_request(c);
}
