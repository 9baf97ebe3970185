/* stream_pending.c: XPENDING.
 *
 * Where in the flow: cmd_call -> here, on the lease holder's thread. Orders of checks and texts are those of Redis 7.0.15. */
#include "engine/cmd/command_table.h"
#include "engine/cmd/stream_cmd.h"

/* XPENDING key group */
static void reply_sum(struct reply *out, const struct stream_group *g)
{
    uint64_t n = 0;
    reply_array(out, 4);
    reply_int(out, (int64_t)g->pel.count);
    if (!g->pel.count) {
        reply_null(out);
        reply_null(out);
        reply_null_array(out);
        return;
    }
    stream_reply_id(out, stream_pending_at(g, idtree_first(&g->pel))->id);
    stream_reply_id(out, stream_pending_at(g, idtree_last(&g->pel))->id);
    for (uint32_t i = 0; i < g->consumers.n; i++)
        n += stream_consumer_at(g, i)->pel.count != 0;
    reply_array(out, n);
    for (uint32_t i = 0; i < g->consumers.n; i++) {
        const struct stream_consumer *c = stream_consumer_at(g, i);
        if (!c->pel.count)
            continue;
        reply_array(out, 2);
        reply_bulk(out, c->name);
        reply_bulk_int(out, (int64_t)c->pel.count);
    }
}

struct pending_args {
    struct stream_id from, to;
    int64_t min_idle, count, now_ms;
    uint32_t consumer; /* its argument; 0: of all consumers */
};

/* XPENDING key group [IDLE ms] start end count [consumer]. False: the error was written. */
static bool pending_args(struct cmd *c, struct pending_args *a)
{
    uint32_t i = 3;
    *a = (struct pending_args){.now_ms = stream_now_ms(c)};
    if (span_is(c->argv[3], "idle")) {
        if (!cmd_arg_i64(c, 4, &a->min_idle))
            return false;
        if (c->argc < 8) {
            cmd_reply_syntax(c);
            return false;
        }
        i = 5;
    }
    if (!cmd_arg_i64(c, i + 2, &a->count))
        return false;
    if (a->count < 0)
        a->count = 0;
    if (!stream_arg_from(c, i, &a->from) || !stream_arg_to(c, i + 1, &a->to))
        return false;
    a->consumer = i + 3 < c->argc ? i + 3 : 0;
    return true;
}

/* Where the walk over what waits stands. */
struct pending_walk {
    const struct pending_args *a;
    const struct stream_group *g;
    const struct idtree *pel; /* the group's, or a consumer's, which has ids alone */
    struct id_at at;
};

static void pending_start(struct pending_walk *w)
{
    w->at = idtree_seek(w->pel, w->a->from);
}

static int64_t idle_ms(const struct pending_walk *w, const struct stream_pending *p)
{
    return (int64_t)((uint64_t)w->a->now_ms - (uint64_t)p->time_ms);
}

/* NULL: there are no more. */
static const struct stream_pending *pending_next(struct pending_walk *w)
{
    while (w->at.leaf) {
        struct stream_id id = *(struct stream_id *)idtree_record(w->pel, w->at);
        if (stream_id_less(w->a->to, id))
            return NULL;
        const struct stream_pending *p =
            w->pel == &w->g->pel ? stream_pending_at(w->g, w->at) : stream_pending_find(w->g, id);
        w->at = idtree_next(w->at);
        if (!w->a->min_idle || idle_ms(w, p) >= w->a->min_idle)
            return p;
    }
    return NULL;
}

static void reply_each(struct reply *out, struct pending_walk *w)
{
    int64_t n = 0;
    pending_start(w);
    while (n < w->a->count && pending_next(w))
        n++;
    reply_array(out, (size_t)n);
    pending_start(w);
    for (; n; n--) {
        const struct stream_pending *p = pending_next(w);
        int64_t idle = idle_ms(w, p);
        reply_array(out, 4);
        stream_reply_id(out, p->id);
        reply_bulk(out, p->consumer->name);
        reply_int(out, idle < 0 ? 0 : idle);
        reply_int(out, (int64_t)p->deliveries);
    }
}

void cmd_xpending(struct cmd *c)
{
    struct pending_args a = {0};
    struct stream_key sk;
    if (c->argc != 3 && (c->argc < 6 || c->argc > 9)) {
        cmd_reply_syntax(c);
        return;
    }
    if (c->argc > 3 && !pending_args(c, &a))
        return;
    if (!stream_open_read(c, 1, &sk))
        return;
    const struct stream_group *g = sk.e ? stream_group_find(sk.st, c->argv[2]) : NULL;
    if (!g) {
        stream_reply_no_group(c, c->argv[1], c->argv[2]);
        return;
    }
    if (c->argc == 3) {
        reply_sum(c->out, g);
        return;
    }
    struct pending_walk w = {.a = &a, .g = g, .pel = &g->pel};
    if (a.consumer) {
        const struct stream_consumer *consumer = stream_consumer_find(g, c->argv[a.consumer]);
        if (!consumer) {
            reply_array(c->out, 0);
            return;
        }
        w.pel = &consumer->pel;
    }
    reply_each(c->out, &w);
}
