/* Bytes -> requests -> staged batch.
 *
 * Requests of all clients of a burst are parsed into one batch; then the hashes of all their keys are taken and the buckets prefetched,
 * then the entries, then all are executed in order: the cache misses of a batch overlap. argv points into the packets of the burst, so
 * a batch never outlives it (worker_turn runs it before net_input_done). */
#include <string.h>

#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"

/* Requests that may pause their client, or change how the next ones are parsed, end the batch. */
static inline bool is_barrier(const struct worker *w, const struct conn *c,
                              const struct cmd_desc *d)
{
    if (unlikely_(d->route == ROUTE_CONTROL || !c->ses.authenticated))
        return true;
    return w->count > 1 &&
           (d->route == ROUTE_ALL || d->route == ROUTE_WORKERS || d->route == ROUTE_KEYS);
}

static inline void stage_keys(struct worker *w, struct staged *s, const struct cmd_desc *d)
{
    if ((d->route != ROUTE_KEY && d->route != ROUTE_KEYS) || d->first_key <= 0 ||
        (uint32_t)d->first_key >= s->argc)
        return;
    struct span key = s->argv[d->first_key];
    s->keyed = true;
    if (w->count > 1)
        s->owner = shard_of_key(key, w->count);
    s->hash = shard_hash(&w->shard, key);
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
    s->desc = cmd_lookup(s->argv, s->argc, &w->nowhere);
    b->n++;
    if (likely_(s->desc != NULL)) {
        stage_keys(w, s, s->desc);
        run_now |= is_barrier(w, c, s->desc);
    }
    if (unlikely_(run_now || b->n == LIMIT_BATCH_CMDS))
        batch_run(w);
}

static void stage_error(struct conn *c, const char *text)
{
    struct batch *b = c->w->batch;
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
        switch (resp_parse(&c->parser, &lim, cur, end, b->args + b->nargs,
                           LIMIT_BATCH_ARGS - b->nargs, &cmd)) {
        case RESP_DONE:
            if (cmd.argc)
                stage(c, &cmd);
            break;
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
        if (b->nargs == LIMIT_BATCH_ARGS)
            batch_run(w);
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

static void prefetch(struct worker *w, struct batch *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        struct staged *s = &b->cmd[i];
        struct dict *d = w->shard.db[s->conn->ses.db].keys;
        if (s->keyed && s->owner == w->id && d)
            dict_prefetch_bucket(d, s->hash);
    }
    for (uint32_t i = 0; i < b->n; i++) {
        struct staged *s = &b->cmd[i];
        struct dict *d = w->shard.db[s->conn->ses.db].keys;
        if (s->keyed && s->owner == w->id && d)
            dict_prefetch_entry(d, s->hash);
    }
}

void batch_run(struct worker *w)
{
    struct batch *b = w->batch;
    if (b->n == 0 || b->running)
        return;
    b->running = true;
    uint64_t start = rte_rdtsc();
    if (b->n > 1 && remote_shard_free(w))
        prefetch(w, b);
    for (uint32_t i = 0; i < b->n; i++) {
        struct conn *c = b->cmd[i].conn;
        if (!c)
            continue;
        c->ses.last_ms = w->now_ms;
        if (c->throttled && !b->cmd[i].protocol_error)
            unstage(w, i);
        else
            route_staged(w, &b->cmd[i]);
        if (c->out_bytes > LIMIT_CONN_OUT_PAUSE_BYTES)
            c->throttled = true;
    }
    out_close(w);
    uint64_t each = (rte_rdtsc() - start) / b->n;
    uint32_t known = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct cmd_desc *d = b->cmd[i].desc;
        if (d) {
            w->cmd_usec[d->index] += each;
            known++;
        }
    }
    STAT_ADD(w->stats->commands, known);
    STAT_INC(w->stats->batches);
    b->n = b->nargs = b->scratch_used = 0;
    b->running = false;
}
