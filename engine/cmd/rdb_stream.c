/* rdb_stream.c: streams to RDB bytes and back. Format: rdb_stream.h.
 *
 * Where in the flow: rdb_save.c and rdb_load.c -> here -> engine/ds/stream.c. A stream that contradicts itself is refused: ids that do not ascend, a
 * length that is not that of the nodes, an entry that waits for nobody or for two. Thread: the lease holder's. */
#include "engine/cmd/rdb_stream.h"

#define ID_BYTES       16
/* The least that each takes in the input. */
#define NODE_BYTES     19
#define GROUP_BYTES    5
#define WAITING_BYTES  25
#define CONSUMER_BYTES 10

/* ---- writing ---- */

static void put_id(struct rdb_writer *w, struct stream_id id)
{
    rdb_put_len(w, id.ms);
    rdb_put_len(w, id.seq);
}

static void put_id_raw(struct rdb_writer *w, struct stream_id id)
{
    rdb_put_u64_be(w, id.ms);
    rdb_put_u64_be(w, id.seq);
}

static void begin_group(struct rdb_writer *w, const struct stream_group *g,
                        struct rdb_save_stream *at)
{
    rdb_put_string(w, g->name);
    put_id(w, g->last);
    rdb_put_len(w, (uint64_t)g->entries_read);
    rdb_put_len(w, g->pel.count);
    at->at = idtree_first(&g->pel);
}

static void begin_consumer(struct rdb_writer *w, const struct stream_consumer *c,
                           struct rdb_save_stream *at)
{
    rdb_put_string(w, c->name);
    rdb_put_u64(w, (uint64_t)c->seen_ms);
    rdb_put_len(w, c->pel.count);
    at->at = idtree_first(&c->pel);
}

/* One waiting entry. */
static void save_waiting(struct rdb_writer *w, const struct stream_group *g,
                         struct rdb_save_stream *at)
{
    if (at->in_consumer) {
        const struct stream_consumer *c = stream_consumer_at(g, at->consumer);
        put_id_raw(w, *(struct stream_id *)idtree_record(&c->pel, at->at));
    } else {
        const struct stream_pending *p = stream_pending_at(g, at->at);
        put_id_raw(w, p->id);
        rdb_put_u64(w, (uint64_t)p->time_ms);
        rdb_put_len(w, p->deliveries);
    }
    at->at = idtree_next(at->at);
}

/* A list of those that wait is at its end: what comes behind it is begun. */
static void next_list(struct rdb_writer *w, const struct stream *s, struct rdb_save_stream *at)
{
    const struct stream_group *g = stream_group_at(s, at->group);
    if (!at->in_consumer) {
        rdb_put_len(w, g->consumers.n);
        at->consumer = 0;
    } else {
        at->consumer++;
    }
    at->in_consumer = at->consumer < g->consumers.n;
    if (at->in_consumer)
        begin_consumer(w, stream_consumer_at(g, at->consumer), at);
    else if (++at->group < s->groups.n)
        begin_group(w, stream_group_at(s, at->group), at);
}

static bool save_groups(struct rdb_writer *w, const struct stream *s, struct rdb_save_stream *at,
                        size_t budget)
{
    for (; at->group < s->groups.n && budget && !w->failed; budget--) {
        if (at->at.leaf)
            save_waiting(w, stream_group_at(s, at->group), at);
        else
            next_list(w, s, at);
    }
    return at->group == s->groups.n || w->failed;
}

void rdb_save_stream_begin(struct rdb_writer *w, const struct stream *s, struct rdb_save_stream *at)
{
    rdb_put_type(w, RDB_STREAM_LISTPACKS_2);
    rdb_put_len(w, s->nodes.count);
    *at = (struct rdb_save_stream){.at = idtree_first(&s->nodes)};
}

static void end_nodes(struct rdb_writer *w, const struct stream *s, struct rdb_save_stream *at)
{
    rdb_put_len(w, s->length);
    put_id(w, s->last);
    put_id(w, s->first);
    put_id(w, s->max_deleted);
    rdb_put_len(w, s->entries_added);
    rdb_put_len(w, s->groups.n);
    at->in_groups = true;
    if (s->groups.n)
        begin_group(w, stream_group_at(s, 0), at);
}

bool rdb_save_stream_some(struct rdb_writer *w, const struct stream *s, struct rdb_save_stream *at,
                          size_t budget)
{
    if (at->in_groups)
        return save_groups(w, s, at, budget);
    size_t work = 0;
    for (; at->at.leaf && work < budget && !w->failed; at->at = idtree_next(at->at)) {
        const struct stream_node *n = idtree_record(&s->nodes, at->at);
        struct mem_block lp = stream_node_block(n);
        rdb_put_len(w, ID_BYTES);
        put_id_raw(w, n->id);
        rdb_put_blob(w, span_of(lp.p, lp.len));
        work += 1 + lp.len / 64;
    }
    if (at->at.leaf)
        return w->failed;
    end_nodes(w, s, at);
    return save_groups(w, s, at, budget > work ? budget - work : 0);
}

/* ---- reading ---- */

struct load {
    struct rdb_reader *r;
    struct stream *st;
    uint8_t type;
    uint64_t live; /* entries of the nodes read so far */
    struct stream_id last_live;
};

static bool bad(struct load *l)
{
    l->r->failed = true;
    return false;
}
static bool no_memory(struct load *l)
{
    l->r->out_of_memory = true;
    return bad(l);
}

static struct stream_id get_id(struct load *l)
{
    struct stream_id id;
    id.ms = rdb_get_len(l->r);
    id.seq = rdb_get_len(l->r);
    return id;
}

static struct stream_id get_id_raw(struct load *l)
{
    struct stream_id id;
    id.ms = rdb_get_u64_be(l->r);
    id.seq = rdb_get_u64_be(l->r);
    return id;
}

static bool load_node_id(struct load *l, struct stream_id *ret)
{
    struct rdb_text t;
    if (!rdb_get_string(l->r, &t))
        return false;
    bool good = t.s.n == ID_BYTES;
    if (good) {
        memcpy(&ret->ms, t.s.p, 8);
        memcpy(&ret->seq, t.s.p + 8, 8);
        *ret = (struct stream_id){__builtin_bswap64(ret->ms), __builtin_bswap64(ret->seq)};
    }
    rdb_text_free(l->r, &t);
    return good || bad(l);
}

/* Behind the node before it, and so are its entries. */
static bool load_node(struct load *l, struct stream_id *last_node)
{
    struct stream_id id;
    struct mem_block lp;
    struct stream_node_facts f;
    bool is_first = l->st->nodes.count == 0;
    if (!load_node_id(l, &id) || !rdb_get_block(l->r, &lp))
        return false;
    bool good = (is_first || stream_id_less(*last_node, id)) &&
                stream_node_valid(span_of(lp.p, lp.len), id, &f) &&
                (!f.live || !l->live || stream_id_less(l->last_live, f.first)) &&
                (!l->live || stream_id_less(l->last_live, id));
    if (!good || !stream_adopt_node(l->st, id, &lp)) {
        mem_free(l->st->m.mem, lp.p, lp.cap);
        return good ? no_memory(l) : bad(l);
    }
    if (f.live && !l->live)
        l->st->first = f.first;
    if (f.live)
        l->last_live = f.last;
    l->live += f.live;
    *last_node = id;
    return true;
}

static bool load_entries(struct load *l)
{
    struct stream *st = l->st;
    struct stream_id last_node = STREAM_ID_MIN;
    for (uint64_t n = rdb_get_count(l->r, NODE_BYTES); n; n--)
        if (!load_node(l, &last_node))
            return false;
    st->length = rdb_get_len(l->r);
    st->last = get_id(l);
    st->entries_added = st->length;
    if (l->type != RDB_STREAM_LISTPACKS) {
        get_id(l); /* of the first entry: known from the nodes */
        st->max_deleted = get_id(l);
        st->entries_added = rdb_get_len(l->r);
    }
    if (l->r->failed || st->length != l->live ||
        (l->live && stream_id_less(st->last, l->last_live)))
        return bad(l);
    return true;
}

/* What waits, for whom is told later. */
static bool load_waiting(struct load *l, struct stream_group *g)
{
    for (uint64_t n = rdb_get_count(l->r, WAITING_BYTES); n; n--) {
        bool is_new;
        struct stream_id id = get_id_raw(l);
        uint64_t ms = rdb_get_u64(l->r), deliveries = rdb_get_len(l->r);
        if (l->r->failed)
            return false;
        struct stream_pending *p = idtree_insert(&g->m, &g->pel, id, &is_new);
        if (!p)
            return no_memory(l);
        if (!is_new)
            return bad(l);
        p->time_ms = (int64_t)ms;
        p->deliveries = deliveries;
    }
    return !l->r->failed;
}

static bool load_consumer(struct load *l, struct stream_group *g)
{
    struct rdb_text name;
    if (!rdb_get_string(l->r, &name))
        return false;
    int64_t seen = (int64_t)rdb_get_u64(l->r);
    if (l->type == RDB_STREAM_LISTPACKS_3)
        rdb_get_u64(l->r);
    struct stream_consumer *c = NULL;
    bool good = !l->r->failed && !stream_consumer_find(g, name.s);
    if (good)
        c = stream_consumer_create(g, name.s, seen);
    rdb_text_free(l->r, &name);
    if (!c)
        return good ? no_memory(l) : bad(l);
    for (uint64_t n = rdb_get_count(l->r, ID_BYTES); n; n--) {
        struct stream_id id = get_id_raw(l);
        struct stream_pending *p = stream_pending_find(g, id);
        if (l->r->failed || !p || p->consumer)
            return bad(l);
        if (!stream_pending_give(g, id, c))
            return no_memory(l);
    }
    return !l->r->failed;
}

static bool everything_is_someones(const struct stream_group *g)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < g->consumers.n; i++)
        n += stream_consumer_at(g, i)->pel.count;
    return n == g->pel.count; /* nothing is two consumers' */
}

static bool load_group(struct load *l)
{
    struct rdb_text name;
    if (!rdb_get_string(l->r, &name))
        return false;
    struct stream_id last = get_id(l);
    int64_t read = l->type == RDB_STREAM_LISTPACKS ? stream_entries_until(l->st, last)
                                                   : (int64_t)rdb_get_len(l->r);
    struct stream_group *g = NULL;
    bool good = !l->r->failed && !stream_group_find(l->st, name.s);
    if (good)
        g = stream_group_create(l->st, name.s, last, read);
    rdb_text_free(l->r, &name);
    if (!g)
        return good ? no_memory(l) : bad(l);
    if (!load_waiting(l, g))
        return false;
    for (uint64_t n = rdb_get_count(l->r, CONSUMER_BYTES); n; n--)
        if (!load_consumer(l, g))
            return false;
    return !l->r->failed && (everything_is_someones(g) || bad(l));
}

bool rdb_load_stream(struct rdb_reader *r, struct shard *s, uint8_t type, struct rdb_object *ret)
{
    size_t freed;
    struct load l = {.r = r, .type = type, .st = stream_create(&s->mem)};
    if (!l.st)
        return no_memory(&l);
    bool good = load_entries(&l);
    if (good) {
        uint64_t n = rdb_get_count(r, GROUP_BYTES);
        for (; n && good; n--)
            good = load_group(&l);
    }
    if (!good || r->failed) {
        stream_free_slice(l.st, SIZE_MAX, &freed);
        return bad(&l);
    }
    ret->enc = ENC_STREAM;
    ret->block = (struct mem_block){.p = (uint8_t *)l.st};
    return true;
}
