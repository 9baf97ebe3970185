/* stream_info.c: XINFO STREAM, GROUPS, CONSUMERS. (HELP is made by cmd_help.)
 *
 * Where in the flow: cmd_call -> here, on the lease holder's thread. Fields and their order are those of Redis 7.0.15. The nodes of the
 * radix tree are those that Redis would have: there is none here. */
#include "engine/cmd/command_table.h"
#include "engine/cmd/stream_cmd.h"

#define FULL_COUNT 10 /* of FULL without COUNT */

static void field_int(struct reply *out, const char *name, int64_t v)
{
    reply_bulk_str(out, name);
    reply_int(out, v);
}
static void field_id(struct reply *out, const char *name, struct stream_id id)
{
    reply_bulk_str(out, name);
    stream_reply_id(out, id);
}
static void field_text(struct reply *out, const char *name, struct span text)
{
    reply_bulk_str(out, name);
    reply_bulk(out, text);
}
static void field_read(struct reply *out, int64_t entries_read)
{
    reply_bulk_str(out, "entries-read");
    if (entries_read == STREAM_READ_UNKNOWN)
        reply_null(out);
    else
        reply_int(out, entries_read);
}

/* Entries that the group has still to get, as far as it can be known. */
static void field_lag(struct reply *out, const struct stream *s, const struct stream_group *g)
{
    int64_t read = g->entries_read;
    reply_bulk_str(out, "lag");
    if (s->entries_added && (read == STREAM_READ_UNKNOWN || stream_gaps_behind(s, g->last)))
        read = stream_entries_until(s, g->last);
    if (!s->entries_added)
        reply_int(out, 0);
    else if (read == STREAM_READ_UNKNOWN)
        reply_null(out);
    else
        reply_int(out, (int64_t)(s->entries_added - (uint64_t)read));
}

/* The stream under argument 2, which must be there. */
static bool info_open(struct cmd *c, struct stream_key *sk)
{
    if (!stream_open_read(c, 2, sk))
        return false;
    if (sk->e)
        return true;
    reply_error(c->out, "ERR no such key");
    return false;
}

/* ---- XINFO CONSUMERS, GROUPS ---- */

void cmd_xinfo_consumers(struct cmd *c)
{
    struct stream_key sk;
    if (!info_open(c, &sk))
        return;
    const struct stream_group *g = stream_group_find(sk.st, c->argv[3]);
    if (!g) {
        stream_reply_named(c, "NOGROUP No such consumer group '", c->argv[3], "' for key name '",
                           c->argv[2], "'");
        return;
    }
    reply_array(c->out, g->consumers.n);
    for (uint32_t i = 0; i < g->consumers.n; i++) {
        const struct stream_consumer *consumer = stream_consumer_at(g, i);
        int64_t idle = (int64_t)((uint64_t)stream_now_ms(c) - (uint64_t)consumer->seen_ms);
        reply_map(c->out, 3);
        field_text(c->out, "name", consumer->name);
        field_int(c->out, "pending", (int64_t)consumer->pel.count);
        field_int(c->out, "idle", idle < 0 ? 0 : idle);
    }
}

void cmd_xinfo_groups(struct cmd *c)
{
    struct stream_key sk;
    if (!info_open(c, &sk))
        return;
    reply_array(c->out, sk.st->groups.n);
    for (uint32_t i = 0; i < sk.st->groups.n; i++) {
        const struct stream_group *g = stream_group_at(sk.st, i);
        reply_map(c->out, 6);
        field_text(c->out, "name", g->name);
        field_int(c->out, "consumers", g->consumers.n);
        field_int(c->out, "pending", (int64_t)g->pel.count);
        field_id(c->out, "last-delivered-id", g->last);
        field_read(c->out, g->entries_read);
        field_lag(c->out, sk.st, g);
    }
}

/* ---- XINFO STREAM key [FULL [COUNT n]] ---- */

/* count 0: not FULL was asked for, INT64_MAX: all. False: the error was written. */
static bool full_args(struct cmd *c, uint64_t *count)
{
    int64_t n = FULL_COUNT;
    *count = 0;
    if (c->argc == 3)
        return true;
    if ((c->argc != 4 && c->argc != 6) || !span_is(c->argv[3], "full") ||
        (c->argc == 6 && !span_is(c->argv[4], "count"))) {
        stream_reply_bad_sub(c);
        return false;
    }
    if (c->argc == 6 && !cmd_arg_i64(c, 5, &n))
        return false;
    *count = n < 0 ? FULL_COUNT : n == 0 ? INT64_MAX : (uint64_t)n;
    return true;
}

static void full_consumer(struct reply *out, const struct stream_group *g,
                          const struct stream_consumer *consumer, uint64_t count)
{
    uint64_t n = consumer->pel.count < count ? consumer->pel.count : count;
    reply_map(out, 4);
    field_text(out, "name", consumer->name);
    field_int(out, "seen-time", consumer->seen_ms);
    field_int(out, "pel-count", (int64_t)consumer->pel.count);
    reply_bulk_str(out, "pending");
    reply_array(out, n);
    for (struct id_at at = idtree_first(&consumer->pel); n; n--, at = idtree_next(at)) {
        struct stream_id id = *(struct stream_id *)idtree_record(&consumer->pel, at);
        const struct stream_pending *p = stream_pending_find(g, id);
        reply_array(out, 3);
        stream_reply_id(out, id);
        reply_int(out, p->time_ms);
        reply_int(out, (int64_t)p->deliveries);
    }
}

static void full_group(struct reply *out, const struct stream *s, const struct stream_group *g,
                       uint64_t count)
{
    uint64_t n = g->pel.count < count ? g->pel.count : count;
    reply_map(out, 7);
    field_text(out, "name", g->name);
    field_id(out, "last-delivered-id", g->last);
    field_read(out, g->entries_read);
    field_lag(out, s, g);
    field_int(out, "pel-count", (int64_t)g->pel.count);
    reply_bulk_str(out, "pending");
    reply_array(out, n);
    for (struct id_at at = idtree_first(&g->pel); n; n--, at = idtree_next(at)) {
        const struct stream_pending *p = stream_pending_at(g, at);
        reply_array(out, 4);
        stream_reply_id(out, p->id);
        reply_bulk(out, p->consumer->name);
        reply_int(out, p->time_ms);
        reply_int(out, (int64_t)p->deliveries);
    }
    reply_bulk_str(out, "consumers");
    reply_array(out, g->consumers.n);
    for (uint32_t i = 0; i < g->consumers.n; i++)
        full_consumer(out, g, stream_consumer_at(g, i), count);
}

/* The first or the last entry. */
static void field_edge(struct reply *out, const char *name, const struct stream *s, bool last)
{
    struct stream_walk w;
    struct stream_entry e;
    reply_bulk_str(out, name);
    stream_walk_init(&w, s, STREAM_ID_MIN, STREAM_ID_MAX, last);
    if (stream_walk_next(&w, &e))
        stream_reply_entry(out, &w, &e);
    else
        reply_null(out);
}

void cmd_xinfo_stream(struct cmd *c)
{
    struct stream_key sk;
    struct reply *out = c->out;
    uint64_t count;
    if (!info_open(c, &sk) || !full_args(c, &count))
        return;
    const struct stream *s = sk.st;
    reply_map(out, count ? 9 : 10);
    field_int(out, "length", (int64_t)s->length);
    field_int(out, "radix-tree-keys", (int64_t)s->nodes.count);
    field_int(out, "radix-tree-nodes", (int64_t)stream_radix_nodes(s));
    field_id(out, "last-generated-id", s->last);
    field_id(out, "max-deleted-entry-id", s->max_deleted);
    field_int(out, "entries-added", (int64_t)s->entries_added);
    field_id(out, "recorded-first-entry-id", s->first);
    if (!count) {
        field_int(out, "groups", s->groups.n);
        field_edge(out, "first-entry", s, false);
        field_edge(out, "last-entry", s, true);
        return;
    }
    reply_bulk_str(out, "entries");
    stream_reply_range(out, s, STREAM_ID_MIN, STREAM_ID_MAX, count, false);
    reply_bulk_str(out, "groups");
    reply_array(out, s->groups.n);
    for (uint32_t i = 0; i < s->groups.n; i++)
        full_group(out, s, stream_group_at(s, i), count);
}
