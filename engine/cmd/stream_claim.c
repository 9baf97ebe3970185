/* stream_claim.c: XCLAIM and XAUTOCLAIM: entries that wait for one consumer wait for another.
 *
 * Where in the flow: cmd_call -> here -> engine/ds/stream_group.c, on the lease holder's thread. Orders of checks and texts are those of Redis
 * 7.0.15. First everything is done, then the reply is written, for it begins with the number of entries. Without memory for the next entry a
 * command ends with those it has; without memory for the first it has changed nothing. */
#include <limits.h>

#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/stream_cmd.h"

#define CLAIM_COUNT       100 /* XAUTOCLAIM without COUNT */
#define ATTEMPTS_AN_ENTRY 10  /* entries looked at for each that may be claimed */
#define COUNT_MOST        (LONG_MAX / 16)

struct claim {
    struct stream_key sk;
    struct stream_group *g;
    struct span name;
    struct stream_consumer *consumer; /* NULL: nothing was claimed yet */
    bool made;                        /* it was not there before */
    int64_t now_ms;
    /* arguments */
    int64_t min_idle, when, retry; /* retry -1: not given */
    bool force, just_id;
    struct stream_id last;
};

static bool error(struct cmd *c, const char *text)
{
    reply_error(c->out, text);
    return false;
}

static bool arg_number(struct cmd *c, uint32_t i, int64_t *ret, const char *text)
{
    return num_parse_i64(c->argv[i], ret) || error(c, text);
}

/* Milliseconds since the last delivery; times from outside may be anything. */
static int64_t idle_ms(const struct claim *a, const struct stream_pending *p)
{
    return (int64_t)((uint64_t)a->now_ms - (uint64_t)p->time_ms);
}

static bool open_group(struct cmd *c, struct claim *a)
{
    if (!stream_open_read(c, 1, &a->sk))
        return false;
    a->g = a->sk.e ? stream_group_find(a->sk.st, c->argv[2]) : NULL;
    if (a->g)
        return true;
    stream_reply_no_group(c, c->argv[1], c->argv[2]);
    return false;
}

/* Everybody is told of what was done. */
static void settle(const struct claim *a, bool changed, const char *event)
{
    if (a->made)
        stream_group_changed(&a->sk, "xgroup-createconsumer");
    if (changed)
        stream_changed(&a->sk, KS_NONE, event);
}

/* The entry becomes the consumer's, who is made when it gets its first. NULL: no memory, nothing was changed. */
static struct stream_pending *take(struct claim *a, struct stream_id id)
{
    bool is_first = !a->consumer, made = false;
    if (is_first) {
        a->consumer = stream_consumer_find(a->g, a->name);
        made = !a->consumer;
    }
    if (made && !(a->consumer = stream_consumer_create(a->g, a->name, a->now_ms)))
        return NULL;
    struct stream_pending *p = stream_pending_give(a->g, id, a->consumer);
    if (p) {
        a->made |= made;
        if (made)
            stream_say_consumer(&a->sk, a->g->name, a->name);
        a->consumer->seen_ms = a->now_ms;
        return p;
    }
    if (made)
        stream_consumer_destroy(a->g, a->consumer);
    if (is_first)
        a->consumer = NULL;
    return NULL;
}

enum claimed { CLAIMED, CLAIM_GONE, CLAIM_NOT, CLAIM_NO_MEMORY };

/* One entry. CLAIM_GONE: it is no more in the stream, and waits no longer. */
static enum claimed claim_one(struct claim *a, struct stream_id id)
{
    struct stream_pending *p = stream_pending_find(a->g, id);
    if (!p && !a->force)
        return CLAIM_NOT;
    if (!stream_has(a->sk.st, id))
        return stream_pending_remove(a->g, id) ? CLAIM_GONE : CLAIM_NOT;
    if (p && a->min_idle && idle_ms(a, p) < a->min_idle)
        return CLAIM_NOT;
    bool is_new = !p;
    p = take(a, id);
    if (!p)
        return CLAIM_NO_MEMORY;
    p->time_ms = a->when;
    if (is_new)
        p->deliveries = 1;
    if (a->retry >= 0)
        p->deliveries = (uint64_t)a->retry;
    else if (!a->just_id)
        p->deliveries++;
    return CLAIMED;
}

static enum claimed claim(struct claim *a, struct stream_id id)
{
    enum claimed did = claim_one(a, id);
    if (did == CLAIMED || did == CLAIM_GONE)
        stream_say_pending(&a->sk, a->g->name, a->name, a->g, id);
    return did;
}

static void reply_claimed(struct cmd *c, const struct claim *a, struct stream_id id)
{
    if (a->just_id)
        stream_reply_id(c->out, id);
    else
        stream_reply_one(c->out, a->sk.st, id);
}

/* ---- XCLAIM key group consumer min-idle-time id [id ...] [options] ---- */

/* Options from argument i on. False: the error was written. */
static bool claim_options(struct cmd *c, uint32_t i, struct claim *a)
{
    for (; i < c->argc; i++) {
        struct span o = c->argv[i];
        bool more = i + 1 < c->argc;
        if (span_is(o, "force")) {
            a->force = true;
        } else if (span_is(o, "justid")) {
            a->just_id = true;
        } else if (more && span_is(o, "idle")) {
            if (!arg_number(c, ++i, &a->when, "ERR Invalid IDLE option argument for XCLAIM"))
                return false;
            a->when = (int64_t)((uint64_t)a->now_ms - (uint64_t)a->when);
        } else if (more && span_is(o, "time")) {
            if (!arg_number(c, ++i, &a->when, "ERR Invalid TIME option argument for XCLAIM"))
                return false;
        } else if (more && span_is(o, "retrycount")) {
            if (!arg_number(c, ++i, &a->retry, "ERR Invalid RETRYCOUNT option argument for XCLAIM"))
                return false;
        } else if (more && span_is(o, "lastid")) {
            if (!stream_arg_id(c, ++i, &a->last))
                return false;
        } else {
            stream_reply_named(c, "ERR Unrecognized XCLAIM option '", o, "'", SPAN(""), "");
            return false;
        }
    }
    /* A time that cannot be is taken as now. */
    if (a->when < 0 || a->when > a->now_ms)
        a->when = a->now_ms;
    return true;
}

/* Claims them; those that were move to the front. False: no memory for the first, nothing was changed. */
static bool claim_ids(struct claim *a, struct stream_ids *ids, size_t *claimed, bool *changed)
{
    *claimed = 0;
    *changed = false;
    for (size_t i = 0; i < ids->n; i++) {
        enum claimed did = claim(a, ids->v[i]);
        if (did == CLAIM_NO_MEMORY)
            return *changed;
        *changed |= did != CLAIM_NOT;
        if (did == CLAIMED)
            ids->v[(*claimed)++] = ids->v[i];
    }
    return true;
}

static void claim_and_reply(struct cmd *c, struct claim *a, struct stream_ids *ids)
{
    size_t n;
    bool changed;
    if (!claim_ids(a, ids, &n, &changed)) {
        cmd_reply_oom(c);
        return;
    }
    if (stream_id_less(a->g->last, a->last)) {
        a->g->last = a->last;
        changed = true;
        stream_say_group(&a->sk, a->g->name, a->g);
    }
    settle(a, changed, "xclaim");
    reply_array(c->out, n);
    for (size_t i = 0; i < n; i++)
        reply_claimed(c, a, ids->v[i]);
}

void cmd_xclaim(struct cmd *c)
{
    struct claim a = {.name = c->argv[3], .now_ms = stream_now_ms(c), .when = -1, .retry = -1};
    struct stream_ids ids;
    if (!open_group(c, &a) ||
        !arg_number(c, 4, &a.min_idle, "ERR Invalid min-idle-time argument for XCLAIM"))
        return;
    if (a.min_idle < 0)
        a.min_idle = 0;
    if (!stream_ids_alloc(c, &ids, c->argc - 5))
        return;
    size_t n = 0;
    while (n < ids.n && stream_id_parse(c->argv[5 + n], 0, &ids.v[n], NULL))
        n++;
    ids.n = n;
    if (claim_options(c, 5 + (uint32_t)n, &a))
        claim_and_reply(c, &a, &ids);
    stream_ids_free(c, &ids);
}

/* ---- XAUTOCLAIM key group consumer min-idle-time start [COUNT n] [JUSTID] ---- */

struct auto_claim {
    struct claim a;
    struct stream_id start;
    int64_t count;
    struct stream_ids
        ids; /* claimed ones from the front on, those that are gone from the back on */
    size_t claimed, gone;
};

static bool auto_args(struct cmd *c, struct auto_claim *x)
{
    if (!arg_number(c, 4, &x->a.min_idle, "ERR Invalid min-idle-time argument for XAUTOCLAIM"))
        return false;
    if (x->a.min_idle < 0)
        x->a.min_idle = 0;
    if (!stream_arg_from(c, 5, &x->start))
        return false;
    for (uint32_t i = 6; i < c->argc; i++) {
        if (span_is(c->argv[i], "count") && i + 1 < c->argc) {
            if (!num_parse_i64(c->argv[++i], &x->count) || x->count < 1 || x->count > COUNT_MOST)
                return error(c, "ERR COUNT must be > 0");
        } else if (span_is(c->argv[i], "justid")) {
            x->a.just_id = true;
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    return true;
}

/* From `start` on. False: no memory for the first, nothing was changed. Leaves the id to go on with in *start. */
static bool auto_claim_from(struct auto_claim *x)
{
    int64_t attempts = x->count * ATTEMPTS_AN_ENTRY;
    size_t room = x->ids.n;
    for (;; attempts--) {
        struct id_at at = idtree_seek(&x->a.g->pel, x->start);
        if (!at.leaf) {
            x->start = STREAM_ID_MIN;
            return true;
        }
        struct stream_id id = stream_pending_at(x->a.g, at)->id;
        x->start = id;
        if (attempts == 0 || x->claimed + x->gone == room)
            return true;
        switch (claim(&x->a, id)) {
        case CLAIMED: x->ids.v[x->claimed++] = id; break;
        case CLAIM_GONE: x->ids.v[room - ++x->gone] = id; break;
        case CLAIM_NOT: break;
        case CLAIM_NO_MEMORY: return x->claimed + x->gone > 0;
        }
        if (!stream_id_incr(&x->start)) {
            x->start = STREAM_ID_MIN;
            return true;
        }
    }
}

static void auto_reply(struct cmd *c, const struct auto_claim *x)
{
    reply_array(c->out, 3);
    stream_reply_id(c->out, x->start);
    reply_array(c->out, x->claimed);
    for (size_t i = 0; i < x->claimed; i++)
        reply_claimed(c, &x->a, x->ids.v[i]);
    reply_array(c->out, x->gone);
    for (size_t i = 1; i <= x->gone; i++)
        stream_reply_id(c->out, x->ids.v[x->ids.n - i]);
}

void cmd_xautoclaim(struct cmd *c)
{
    struct auto_claim x = {.a = {.name = c->argv[3], .now_ms = stream_now_ms(c), .retry = -1},
                           .count = CLAIM_COUNT};
    x.a.when = x.a.now_ms;
    if (!auto_args(c, &x) || !open_group(c, &x.a))
        return;
    uint64_t waiting = x.a.g->pel.count;
    uint64_t most = (uint64_t)x.count < waiting ? (uint64_t)x.count : waiting;
    if (!stream_ids_alloc(c, &x.ids, most))
        return;
    if (auto_claim_from(&x)) {
        settle(&x.a, x.claimed + x.gone > 0, "xautoclaim");
        auto_reply(c, &x);
    } else {
        cmd_reply_oom(c);
    }
    stream_ids_free(c, &x.ids);
}
