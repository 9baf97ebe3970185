/* Bytes -> requests -> staged batch.
 *
 * Requests of all clients of a burst are parsed into one batch; then the hashes of all their keys are taken and the buckets prefetched,
 * then the entries, then all are executed in order: the cache misses of a batch overlap. argv points into the packets of the burst, so
 * a batch never outlives it (worker_turn runs it before net_input_done). */
#include <string.h>

#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"

static uint8_t how_of(const struct worker *w, const struct cmd_desc *d)
{
    bool many = w->count > 1;
    uint8_t how = 0;
    if ((d->route == ROUTE_KEY || d->route == ROUTE_KEYS) && d->first_key > 0)
        how |= HOW_KEYED;
    if (!many && d->route != ROUTE_CONTROL && !(d->flags & CMD_PROTECTED))
        how |= HOW_DIRECT;
    if (d->route == ROUTE_CONTROL ||
        (many && (d->route == ROUTE_ALL || d->route == ROUTE_WORKERS || d->route == ROUTE_KEYS)))
        how |= HOW_BARRIER;
    return how;
}

void batch_prepare(struct worker *w)
{
    w->open = !w->config.protected_mode || w->config.requirepass_len;
    for (uint32_t i = 0; i < CMD_COUNT; i++)
        w->how[cmd_table[i].index] = how_of(w, &cmd_table[i]);
    for (uint32_t i = 0; i < CMD_COUNT; i++) {
        if (cmd_table[i].flags & CMD_HIDDEN) /* several rows share one index */
            w->how[cmd_table[i].index] = HOW_ASK;
    }
}

static inline void stage_keys(struct worker *w, struct staged *s, struct span key)
{
    s->keyed = true;
    s->hash = shard_hash(&w->shard, key);
    if (w->count > 1) {
        s->owner = shard_of_key(key, w->count);
        if (s->owner != w->id || !remote_shard_free(w))
            return;
    }
    s->dict = w->shard.db[s->conn->ses.db].keys;
    if (s->dict)
        dict_prefetch_bucket(s->dict, s->hash);
}

/* Pipelines repeat a command: most look-ups are answered by the request before. */
static inline bool same_word(struct span a, struct span b)
{
    if (a.n != b.n)
        return false;
    if (a.n == 3)
        return memcmp(a.p, b.p, 2) == 0 && a.p[2] == b.p[2];
    if (a.n < 4 || a.n > 8)
        return false;
    return memcmp(a.p, b.p, 4) == 0 && memcmp(a.p + a.n - 4, b.p + a.n - 4, 4) == 0;
}

static inline const struct cmd_desc *look_up(struct worker *w, struct batch *b, struct staged *s)
{
    if (b->n) {
        const struct staged *before = s - 1;
        if (before->desc && s->argc == before->argc && before->argv && !before->desc->parent &&
            same_word(s->argv[0], before->argv[0]))
            return before->desc;
    }
    return cmd_lookup(s->argv, s->argc, &w->nowhere);
}

/* A gathered request lies in the parser's buffer, which the next one overwrites: small ones move into the batch. */
static bool adopt_gathered(struct batch *b, struct resp_cmd *cmd)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < cmd->argc; i++)
        bytes += cmd->argv[i].n;
    if (bytes > LIMIT_BATCH_SCRATCH_BYTES - b->scratch_used ||
        cmd->argc > LIMIT_BATCH_ARGS - b->nargs)
        return false;
    struct span *to = b->args + b->nargs;
    for (uint32_t i = 0; i < cmd->argc; i++) {
        uint8_t *p = b->scratch + b->scratch_used;
        memcpy(p, cmd->argv[i].p, cmd->argv[i].n);
        to[i] = span_of(p, cmd->argv[i].n);
        b->scratch_used += (uint32_t)cmd->argv[i].n;
    }
    cmd->argv = to;
    b->nargs += cmd->argc;
    return true;
}

static inline void stage(struct conn *c, struct resp_cmd *cmd)
{
    struct worker *w = c->w;
    struct batch *b = w->batch;
    struct staged *s = &b->cmd[b->n];
    bool run_now = false;
    s->big = false;
    if (unlikely_(cmd->gathered)) {
        run_now = !adopt_gathered(b, cmd);
        s->big = run_now;
    } else {
        b->nargs += cmd->argc;
    }
    s->conn = c;
    s->argv = cmd->argv;
    s->argc = cmd->argc;
    s->protocol_error = NULL;
    s->owner = w->id;
    s->keyed = false;
    s->dict = NULL;
    const struct cmd_desc *d = look_up(w, b, s);
    uint8_t how = d ? w->how[d->index] : 0;
    if (unlikely_(how & HOW_ASK))
        how = how_of(w, d);
    s->desc = d;
    s->direct = (how & HOW_DIRECT) && (w->open || c->ses.source != SESSION_NETWORK);
    b->same = b->n == 0 || b->same == d ? d : NULL;
    b->n++;
    if ((how & HOW_KEYED) && (uint32_t)d->first_key < s->argc)
        stage_keys(w, s, s->argv[d->first_key]);
    /* what may pause its client, or changes how the next requests are parsed, ends the batch */
    run_now |= (how & HOW_BARRIER) || !c->ses.authenticated;
    if (unlikely_(run_now || b->n == LIMIT_BATCH_CMDS))
        batch_run(w);
}

static void stage_error(struct conn *c, const char *text)
{
    struct batch *b = c->w->batch;
    b->same = NULL;
    b->cmd[b->n++] = (struct staged){.conn = c, .protocol_error = text};
    batch_run(c->w);
}

void batch_feed(struct conn *c, const uint8_t **cur, const uint8_t *end)
{
    struct worker *w = c->w;
    struct batch *b = w->batch;
    struct resp_limits lim = {.max_bulk_bytes = w->config.proto_max_bulk_bytes,
                              .max_query_bytes = w->config.client_query_buffer_bytes};
    while (*cur < end && !c->closing && !c->paused && !c->throttled) {
        if (c->nslots >= LIMIT_CONN_SLOTS) {
            batch_run(w);
            c->throttled = true;
            return;
        }
        lim.authenticated = c->ses.authenticated;
        struct resp_cmd cmd;
        ASSERT(b->n < LIMIT_BATCH_CMDS);
        enum resp_status status = resp_parse(&c->parser, &lim, cur, end, b->args + b->nargs,
                                             LIMIT_BATCH_ARGS - b->nargs, &cmd);
        if (likely_(status == RESP_DONE)) {
            if (likely_(cmd.argc != 0))
                stage(c, &cmd);
            if (unlikely_(b->nargs == LIMIT_BATCH_ARGS))
                batch_run(w);
            continue;
        }
        switch (status) {
        case RESP_DONE:
        case RESP_MORE: return;
        case RESP_FULL: batch_run(w); break;
        case RESP_BAD:
            if (c->parser.over_limit) {
                batch_run(w);
                STAT_INC(w->stats->query_buffer_limit_closed);
                conn_kill(c);
                return;
            }
            stage_error(c, c->parser.error);
            return;
        }
    }
}

/* The client's output is over budget in the middle of a batch: what it asked further is written back as bytes, to be parsed again
 * when the output has drained. */
static void unstage(struct worker *w, uint32_t from)
{
    struct conn *c = w->batch->cmd[from].conn;
    struct reply_heap h = {0};
    struct reply r;
    reply_heap_init(&r, &h, 2);
    for (uint32_t i = from; i < w->batch->n; i++) {
        struct staged *s = &w->batch->cmd[i];
        if (s->conn != c || s->protocol_error)
            continue;
        reply_array(&r, s->argc);
        for (uint32_t k = 0; k < s->argc; k++)
            reply_bulk(&r, s->argv[k]);
        s->conn = NULL;
    }
    reply_heap_finish(&r, &h);
    inq_append(&c->backlog, h.p, h.len);
    reply_heap_free(&h);
}

/* The buckets were asked for when the keys were hashed; now the entries, for the whole batch. */
static void prefetch_entries(struct worker *w, struct batch *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        struct staged *s = &b->cmd[i];
        if (s->dict)
            dict_prefetch_entry(s->dict, s->hash);
    }
    (void)w;
}

/* With one worker nearly every request runs here and writes straight to its client: that case without a detour.
 * False: route_staged decides. */
static inline bool execute_here(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    struct session *ses = &c->ses;
    const struct cmd_desc *d = s->desc;
    if (unlikely_(!s->direct || c->closing || !list_empty(&c->slots) ||
                  ses->reply_mode != SESSION_REPLY_ON || !ses->authenticated))
        return false;
    struct reply *r = w->out_conn == c ? &w->out : out_open(c);
    struct cmd *cmd = &w->cmd; /* what never changes was filled in by worker_create */
    r->resp = ses->resp;
    ses->last_cmd = d;
    ses->commands++;
    cmd->argv = s->argv;
    cmd->argc = s->argc;
    cmd->desc = d;
    cmd->out = r;
    cmd->session = ses;
    cmd->db = ses->db;
    cmd->hash = s->hash;
    cmd->parser = s->big ? &c->parser : NULL;
    if ((d->flags & CMD_DENYOOM) && w->config.maxmemory_bytes) {
        cmd_call(cmd);
    } else {
        d->fn(cmd);
        w->cmd_calls[d->index]++;
    }
    if (unlikely_(r->errors))
        route_errors(w, r, d);
    if (unlikely_(ses->reply_mode != SESSION_REPLY_ON || ses->close_asap || ses->close_after_reply))
        route_after(c);
    return true;
}

static void execute(struct worker *w, struct batch *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        struct staged *s = &b->cmd[i];
        struct conn *c = s->conn;
        if (!c)
            continue; /* put back */
        c->ses.last_ms = w->now_ms;
        if (unlikely_(c->throttled && !s->protocol_error)) {
            unstage(w, i);
            continue;
        }
        if (!execute_here(w, s))
            route_staged(w, s);
        if (unlikely_(c->out_bytes > LIMIT_CONN_OUT_PAUSE_BYTES))
            c->throttled = true;
    }
}

/* The cycles of a batch are divided evenly: one clock read for all. */
static void account_batch(struct worker *w, struct batch *b, uint64_t cycles)
{
    uint32_t known = b->n;
    if (b->same) {
        w->cmd_usec[b->same->index] += cycles;
    } else {
        uint64_t each = cycles / b->n;
        for (uint32_t i = 0; i < b->n; i++) {
            const struct cmd_desc *d = b->cmd[i].desc;
            if (d)
                w->cmd_usec[d->index] += each;
            else
                known--;
        }
    }
    STAT_ADD(w->stats->commands, known);
    STAT_INC(w->stats->batches);
}

void batch_run(struct worker *w)
{
    struct batch *b = w->batch;
    if (b->n == 0 || b->running)
        return;
    b->running = true;
    uint64_t start = rte_rdtsc();
    w->cmd.now_us = w->unix_us;
    if (b->n > 1)
        prefetch_entries(w, b);
    execute(w, b);
    out_close(w);
    account_batch(w, b, rte_rdtsc() - start);
    b->n = b->nargs = b->scratch_used = 0;
    b->running = false;
}
