/* stream_read.c: XREAD and XREADGROUP.
 *
 * Where in the flow: cmd_call -> here, on the thread that holds the leases of all streams named. With BLOCK and nothing to give the client waits
 * (block.c). Orders of checks and texts are those of Redis 7.0.15.
 *
 * A header tells how many streams follow. XREAD asks each stream first whether it has anything; what XREADGROUP gives of one stream may
 * depend on what it gave of the one before (a key named twice), so its answers are gathered when there are several. */
#include "engine/cmd/stream_read.h"

#include "engine/base/num.h"
#include "engine/cmd/block.h"
#include "engine/cmd/command_table.h"

#define SOURCES_FEW 8 /* on the stack */

/* ---- cores ---- */

bool stream_has_behind(const struct stream *s, struct stream_id id)
{
    return s->length && stream_id_less(id, s->last) && stream_id_less(id, stream_last_there(s));
}

static void reply_source(struct reply *out, const struct stream_source *src)
{
    if (out->resp == 2)
        reply_array(out, 2);
    reply_bulk(out, src->key.k.key);
}

static struct stream_id behind(struct stream_id id)
{
    stream_id_incr(&id);
    return id;
}

void stream_serve(struct reply *out, const struct stream_source *src, uint64_t most)
{
    reply_source(out, src);
    stream_reply_range(out, src->key.st, behind(src->after), STREAM_ID_MAX, most, false);
}

/* New entries become the consumer's: ret->n, which is `most`, or as many as there is memory for. */
static void deliver(struct stream_given *ret, const struct stream_reader *r)
{
    struct stream_group *g = ret->src.group;
    struct stream_walk w;
    struct stream_entry e;
    stream_walk_init(&w, ret->src.key.st, behind(g->last), STREAM_ID_MAX, false);
    for (; ret->n < r->most && stream_walk_next(&w, &e); ret->n++) {
        if (!ret->n) {
            ret->walk = w;
            ret->first = e;
        }
        if (!r->noack) {
            struct stream_pending *p = stream_pending_give(g, e.id, ret->consumer);
            if (!p)
                break;
            p->time_ms = r->now_ms;
            p->deliveries = 1;
            stream_say_pending(&ret->src.key, g->name, r->consumer, g, e.id);
        }
        stream_group_delivered(ret->src.key.st, g, e.id);
    }
    if (ret->n)
        stream_say_group(&ret->src.key, g->name, g);
}

enum stream_served stream_take(const struct stream_source *src, const struct stream_reader *r,
                               struct stream_given *ret)
{
    struct stream_group *g = src->group;
    struct stream_consumer *c = stream_consumer_find(g, r->consumer), *made = NULL;
    *ret = (struct stream_given){.src = *src};
    if (src->fresh && !stream_has_behind(src->key.st, g->last))
        return STREAM_NOTHING; /* and nobody was seen */
    if (!c)
        c = made = stream_consumer_create(g, r->consumer, r->now_ms);
    if (!c)
        return STREAM_OUT_OF_MEMORY;
    ret->consumer = c;
    if (src->fresh) {
        deliver(ret, r);
        if (!ret->n) {
            if (made)
                stream_consumer_destroy(g, made);
            return STREAM_OUT_OF_MEMORY;
        }
    }
    c->seen_ms = r->now_ms;
    if (made) {
        stream_group_changed(&src->key, "xgroup-createconsumer");
        stream_say_consumer(&src->key, g->name, r->consumer);
    }
    stream_changed(&src->key, KS_NONE, "xreadgroup");
    return STREAM_SERVED;
}

/* What waits for the consumer, behind an id; each is delivered once more. Of entries that were deleted since only the id is left. */
static void give_history(struct reply *out, const struct stream_given *g,
                         const struct stream_reader *r)
{
    uint64_t n = 0;
    struct id_at first = idtree_seek(&g->consumer->pel, behind(g->src.after));
    for (struct id_at at = first; at.leaf && n < r->most; at = idtree_next(at))
        n++;
    reply_array(out, n);
    for (struct id_at at = first; n; n--, at = idtree_next(at)) {
        struct stream_id id = *(struct stream_id *)idtree_record(&g->consumer->pel, at);
        if (stream_reply_one(out, g->src.key.st, id)) {
            struct stream_pending *p = stream_pending_find(g->src.group, id);
            p->time_ms = r->now_ms;
            p->deliveries++;
            stream_say_pending(&g->src.key, g->src.group->name, r->consumer, g->src.group, id);
        } else {
            reply_array(out, 2);
            stream_reply_id(out, id);
            reply_null_array(out);
        }
    }
}

void stream_give(struct reply *out, struct stream_given *g, const struct stream_reader *r)
{
    reply_source(out, &g->src);
    if (g->src.fresh)
        stream_reply_rest(out, &g->walk, &g->first, g->n);
    else
        give_history(out, g, r);
}

void stream_give_none(struct reply *out, const struct stream_source *src,
                      const struct stream_reader *r)
{
    struct stream_consumer *c = stream_consumer_find(src->group, r->consumer);
    if (!c && (c = stream_consumer_create(src->group, r->consumer, r->now_ms)) != NULL) {
        stream_group_changed(&src->key, "xgroup-createconsumer");
        stream_say_consumer(&src->key, src->group->name, r->consumer);
    }
    if (c)
        c->seen_ms = r->now_ms;
    reply_source(out, src);
    reply_array(out, 0);
}

/* ---- arguments ---- */

struct read_args {
    bool with_group, noack, block;
    int64_t timeout_ms;
    struct span group, consumer;
    int64_t count;
    uint32_t first, n; /* keys from argument `first` on, then as many ids */
};

static bool error(struct cmd *c, const char *text)
{
    reply_error(c->out, text);
    return false;
}

/* False: the error was written. */
static bool read_args(struct cmd *c, bool group, struct read_args *a)
{
    *a = (struct read_args){0};
    for (uint32_t i = 1; i < c->argc && !a->first; i++) {
        struct span o = c->argv[i];
        uint32_t more = c->argc - i - 1;
        if (more && span_is(o, "block")) {
            a->block = true;
            if (!block_arg_ms(c, ++i, &a->timeout_ms))
                return false;
        } else if (more && span_is(o, "count")) {
            if (!cmd_arg_i64(c, ++i, &a->count))
                return false;
        } else if (more && span_is(o, "streams")) {
            a->first = i + 1;
            a->n = more / 2;
            if (more % 2)
                return error(c, "ERR Unbalanced XREAD list of streams: for each stream key an ID "
                                "or '$' must be specified.");
        } else if (more >= 2 && span_is(o, "group")) {
            if (!group)
                return error(c, "ERR The GROUP option is only supported by XREADGROUP. You called "
                                "XREAD instead.");
            a->with_group = true;
            a->group = c->argv[i + 1];
            a->consumer = c->argv[i + 2];
            i += 2;
        } else if (span_is(o, "noack")) {
            if (!group)
                return error(c, "ERR The NOACK option is only supported by XREADGROUP. You called "
                                "XREAD instead.");
            a->noack = true;
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    if (!a->first) {
        cmd_reply_syntax(c);
        return false;
    }
    if (group && !a->with_group)
        return error(c, "ERR Missing GROUP option for XREADGROUP");
    return true;
}

/* The id behind a key of XREAD or XREADGROUP. */
static bool arg_after(struct cmd *c, uint32_t i, bool group, struct stream_source *src)
{
    if (stream_arg_is(c->argv[i], '$')) {
        if (group)
            return error(c, "ERR The $ ID is meaningless in the context of XREADGROUP: you want to "
                            "read the history of this consumer by specifying a proper ID, or use "
                            "the > ID to get new messages. The $ ID would just return an empty "
                            "result set.");
        src->after = src->key.st ? src->key.st->last : STREAM_ID_MIN;
        return true;
    }
    if (stream_arg_is(c->argv[i], '>')) {
        src->fresh = true;
        return group || error(c, "ERR The > ID can be specified only when calling XREADGROUP using "
                                 "the GROUP <group> <consumer> option.");
    }
    if (!stream_arg_id(c, i, &src->after))
        return false;
    src->fresh = src->after.ms == UINT64_MAX && src->after.seq == UINT64_MAX;
    return true;
}

/* All streams, before anything is done with the first. */
static bool open_sources(struct cmd *c, const struct read_args *a, struct stream_source *v)
{
    for (uint32_t i = 0; i < a->n; i++) {
        struct keyref k = keyref_at(c, a->first + i);
        v[i] = (struct stream_source){0};
        if (!stream_open(c, &v[i].key, &k, keyref_read(c, &k)))
            return false;
        if (a->with_group) {
            if (v[i].key.st)
                v[i].group = stream_group_find(v[i].key.st, a->group);
            if (!v[i].group) {
                stream_reply_named(c, "NOGROUP No such key '", k.key, "' or consumer group '",
                                   a->group, "' in XREADGROUP with GROUP option");
                return false;
            }
        }
        if (!arg_after(c, a->first + a->n + i, a->with_group, &v[i]))
            return false;
    }
    return true;
}

static void reply_header(struct reply *out, uint64_t n)
{
    if (out->resp == 2)
        reply_array(out, n);
    else
        reply_map(out, n);
}

/* ---- XREAD ---- */

static bool xread_serves(const struct stream_source *src)
{
    return src->key.st && stream_has_behind(src->key.st, src->after);
}

/* False: there was nothing. */
static bool xread(struct cmd *c, const struct read_args *a, const struct stream_source *v,
                  uint64_t most)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < a->n; i++)
        n += xread_serves(&v[i]);
    if (!n)
        return false;
    reply_header(c->out, n);
    for (uint32_t i = 0; n; i++) {
        if (!xread_serves(&v[i]))
            continue;
        if (--n) {
            stream_serve(c->out, &v[i], most);
        } else { /* the last one */
            reply_source(c->out, &v[i]);
            stream_reply_range_of(c, &v[i].key, behind(v[i].after), STREAM_ID_MAX, most, false);
        }
    }
    return true;
}

/* ---- XREADGROUP ---- */

static bool xreadgroup_one(struct cmd *c, const struct stream_source *src,
                           const struct stream_reader *r)
{
    struct stream_given given;
    switch (stream_take(src, r, &given)) {
    case STREAM_SERVED:
        reply_header(c->out, 1);
        stream_give(c->out, &given, r);
        break;
    case STREAM_NOTHING: return false;
    case STREAM_OUT_OF_MEMORY: cmd_reply_oom(c);
    }
    return true;
}

/* Without memory for more it ends with what there is so far. */
static bool xreadgroup_many(struct cmd *c, const struct stream_source *v, uint32_t n,
                            const struct stream_reader *r)
{
    struct stream_given given;
    struct reply_heap heap;
    struct reply body;
    uint64_t served = 0;
    enum stream_served did = STREAM_NOTHING;
    reply_heap_init(&body, &heap, c->out->resp);
    for (uint32_t i = 0; i < n && did != STREAM_OUT_OF_MEMORY; i++) {
        did = stream_take(&v[i], r, &given);
        if (did != STREAM_SERVED)
            continue;
        stream_give(&body, &given, r);
        served++;
    }
    reply_heap_finish(&body, &heap);
    bool failed = body.failed || (!served && did == STREAM_OUT_OF_MEMORY);
    if (failed) {
        cmd_reply_oom(c);
    } else if (served) {
        reply_header(c->out, served);
        reply_raw(c->out, heap.p, heap.len);
    }
    reply_heap_free(&heap);
    return failed || served;
}

static void wait_for_streams(struct cmd *c, const struct read_args *a,
                             const struct stream_source *v)
{
    struct block_streams s = {.after = a->with_group ? NULL : &v->after,
                              .stride = sizeof(*v),
                              .group = a->group,
                              .consumer = a->consumer,
                              .count = a->count > 0 ? (uint64_t)a->count : 0,
                              .noack = a->noack};
    block_on_streams(c, a->first, a->n, &s, a->timeout_ms);
}

static void read_streams(struct cmd *c, bool group)
{
    struct read_args a;
    struct stream_source few[SOURCES_FEW], *v = few;
    if (!read_args(c, group, &a))
        return;
    size_t bytes = a.n * sizeof(*v);
    if (a.n > SOURCES_FEW && !(v = mem_alloc(&c->shard->mem, bytes))) {
        cmd_reply_oom(c);
        return;
    }
    struct stream_reader r = {.consumer = a.consumer,
                              .most = a.count > 0 ? (uint64_t)a.count : UINT64_MAX,
                              .noack = a.noack,
                              .now_ms = stream_now_ms(c)};
    if (open_sources(c, &a, v)) {
        bool answered = !group     ? xread(c, &a, v, r.most)
                        : a.n == 1 ? xreadgroup_one(c, v, &r)
                                   : xreadgroup_many(c, v, a.n, &r);
        if (!answered && a.block)
            wait_for_streams(c, &a, v);
        else if (!answered)
            reply_null_array(c->out);
    }
    if (v != few)
        mem_free(&c->shard->mem, v, bytes);
}

void cmd_xread(struct cmd *c)
{
    read_streams(c, false);
}
void cmd_xreadgroup(struct cmd *c)
{
    read_streams(c, true);
}
