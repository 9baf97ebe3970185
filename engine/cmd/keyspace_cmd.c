/* Commands over the whole keyspace: KEYS, RANDOMKEY, DBSIZE, FLUSHDB, FLUSHALL, SWAPDB.
 *
 * Where in the flow: cmd_call -> here, on the thread that holds the lease. With several shards each runs one part (c->part) and the
 * aggregator makes the reply; under the leases of all shards, or with one shard, the whole is done and answered here. */
#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/found.h"
#include "engine/cmd/keyref.h"

void cmd_dbsize(struct cmd *c)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < cmd_shards_count(c); i++)
        n += (int64_t)ks_count(cmd_shards_nth(c, i), c->db);
    reply_int(c->out, n);
}

/* ---- KEYS ---- */

struct keys_walk {
    struct span pattern;
    bool all;
    struct found found;
};

static void keys_visit(void *ctx, struct entry *e)
{
    struct keys_walk *w = ctx;
    if (w->all || glob_match(w->pattern, entry_key(e), false))
        found_add(&w->found, e);
}

void cmd_keys_command(struct cmd *c)
{
    struct keys_walk w = {.pattern = c->argv[1], .all = span_eq(c->argv[1], SPAN("*"))};
    w.found.mem = &cmd_shards_nth(c, 0)->mem;
    for (uint32_t i = 0; i < cmd_shards_count(c); i++) {
        struct shard *s = cmd_shards_nth(c, i);
        uint64_t cursor = 0;
        do {
            cursor = ks_scan(s, c->db, cursor, keys_visit, &w);
        } while (cursor && !w.found.failed);
    }
    if (w.found.failed) {
        cmd_reply_oom(c);
    } else {
        reply_array(c->out, w.found.n);
        for (size_t i = 0; i < w.found.n; i++)
            reply_bulk(c->out, entry_key(w.found.v[i]));
    }
    found_free(&w.found);
}

/* ---- RANDOMKEY ---- */

/* A key of a shard drawn by its number of keys, or NULL. */
static struct entry *random_of_all(struct cmd *c)
{
    uint32_t shards = cmd_shards_count(c);
    size_t total = 0;
    for (uint32_t i = 0; i < shards; i++)
        total += ks_count(cmd_shards_nth(c, i), c->db);
    if (total == 0)
        return NULL;
    uint32_t first = 0;
    size_t at = shards == 1 ? 0 : shard_random(cmd_shards_nth(c, 0)) % total;
    while (at >= ks_count(cmd_shards_nth(c, first), c->db))
        at -= ks_count(cmd_shards_nth(c, first++), c->db);
    /* Where all keys of a shard have expired the next one has to answer. */
    struct entry *e = NULL;
    for (uint32_t i = 0; i < shards && !e; i++)
        e = ks_random(cmd_shards_nth(c, (first + i) % shards), c->db);
    return e;
}

void cmd_randomkey(struct cmd *c)
{
    const struct entry *e = random_of_all(c);
    if (c->part) {
        reply_array(c->out, 2);
        reply_int(c->out, e ? (int64_t)ks_count(c->shard, c->db) : 0);
    }
    if (e)
        reply_bulk(c->out, entry_key(e));
    else
        reply_null(c->out);
}

/* ---- emptying and swapping databases ---- */

/* FLUSHDB [ASYNC|SYNC]. False: the error was written. */
static bool flush_option(struct cmd *c, bool *ret_lazy)
{
    *ret_lazy = c->host->config->lazyfree_user_flush;
    if (c->argc == 1)
        return true;
    bool async = span_is(c->argv[1], "async");
    if (c->argc > 2 || !(async || span_is(c->argv[1], "sync"))) {
        cmd_reply_syntax(c);
        return false;
    }
    *ret_lazy = async;
    return true;
}

#define SAY_KEYS 64 /* in one DEL */

struct say_gone {
    struct shard *shard;
    uint32_t db, n;
    struct span argv[1 + SAY_KEYS];
};

static void say_now(struct say_gone *g)
{
    if (g->n)
        shard_say(g->shard, g->db, g->argv, 1 + g->n);
    g->n = 0;
}

static void say_visit(void *ctx, struct entry *e)
{
    struct say_gone *g = ctx;
    g->argv[1 + g->n++] = entry_key(e);
    if (g->n == SAY_KEYS)
        say_now(g);
}

/* One shard of several is emptied: FLUSHALL in a log would empty them all, so its keys are said. */
static void say_keys(struct shard *s, uint32_t db)
{
    struct say_gone g = {.shard = s, .db = db, .argv[0] = SPAN("DEL")};
    uint64_t cursor = 0;
    do
        cursor = ks_scan(s, db, cursor, say_visit, &g);
    while (cursor);
    say_now(&g);
}

static void flush_dbs(struct cmd *c, uint32_t from, uint32_t to)
{
    bool lazy, say = cmd_shards_count(c) < c->host->workers && cmd_journals(c);
    if (!flush_option(c, &lazy))
        return;
    for (uint32_t i = 0; i < cmd_shards_count(c); i++) {
        for (uint32_t db = from; db < to; db++) {
            if (unlikely_(say))
                say_keys(cmd_shards_nth(c, i), db);
            ks_flush(cmd_shards_nth(c, i), db, lazy);
        }
    }
    if (unlikely_(say))
        c->shard->effects->changed = false; /* there were no keys: nothing is to be said */
    reply_ok(c->out);
}

void cmd_flushdb(struct cmd *c)
{
    flush_dbs(c, c->db, c->db + 1);
}

void cmd_flushall(struct cmd *c)
{
    flush_dbs(c, 0, LIMIT_DATABASES);
}

void cmd_swapdb(struct cmd *c)
{
    int a, b, n = (int)cmd_databases(c);
    if (!cmd_arg_int(c, 1, &a, "ERR invalid first DB index") ||
        !cmd_arg_int(c, 2, &b, "ERR invalid second DB index"))
        return;
    if (a < 0 || b < 0 || a >= n || b >= n) {
        reply_error(c->out, "ERR DB index is out of range");
        return;
    }
    if (a != b)
        for (uint32_t i = 0; i < cmd_shards_count(c); i++)
            ks_swap(cmd_shards_nth(c, i), (uint32_t)a, (uint32_t)b);
    reply_ok(c->out);
}
