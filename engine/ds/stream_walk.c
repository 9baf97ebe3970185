/* stream_walk.c: the entries of a stream in both directions, what there is of them, and nodes that come from outside. Format: stream.h.
 *
 * Where in the flow: XRANGE and its kin, RESTORE. Thread: the lease holder's.
 *
 * Ids are compared in the first and the last node of an interval only; what lies between is taken as it is, and counted by its header. */
#include "engine/ds/stream_internal.h"

/* ---- nodes of an interval ---- */

static bool at_same(struct id_at a, struct id_at b)
{
    return a.leaf == b.leaf && a.i == b.i;
}

/* The nodes that may hold ids of the interval. False: none. */
static bool nodes_between(const struct stream *s, struct stream_id from, struct stream_id to,
                          struct id_at *first, struct id_at *last)
{
    if (!s->nodes.count || stream_id_less(to, from))
        return false;
    *last = stream_id_less(to, s->last) ? idtree_seek_back(&s->nodes, to) : idtree_last(&s->nodes);
    if (!last->leaf)
        return false;
    *first = idtree_first(&s->nodes);
    if (stream_id_less(stream_node_at(s, *first)->id, from))
        *first = stream_id_less(from, stream_node_at(s, *last)->id)
                     ? idtree_seek_back(&s->nodes, from)
                     : *last;
    return true;
}

/* Whether entries of a node may lie outside. Of the last one only those behind `to` can. */
static bool must_check_from(const struct stream_node *n, struct stream_id from)
{
    return stream_id_less(n->id, from);
}
static bool must_check_to(const struct stream *s, bool is_last, struct stream_id to)
{
    return is_last && stream_id_less(to, s->last);
}

/* ---- the walk ---- */

static void open_node(struct stream_walk *w)
{
    const struct stream_node *n = stream_node_at(w->s, w->node);
    struct stream_master h = stream_master_of(n);
    w->base = n->id;
    w->begin = h.entries;
    w->end = stream_node_end(n);
    w->master = h.fields_at;
    w->master_fields = h.fields;
    w->check_from = must_check_from(n, w->from);
    w->check_to = must_check_to(w->s, w->back || at_same(w->node, w->stop), w->to);
    w->whole = !w->check_from && !w->check_to;
    w->count = h.count;
    w->given = 0;
    w->at = w->back ? w->end : w->begin;
    w->skip = 0;
}

/* Over the entries that are more than a millisecond before the first of the interval, without a look at the rest of them. */
static void pass_older(struct stream_walk *w)
{
    uint64_t least = w->from.ms - w->base.ms;
    uint8_t *at = w->at;
    while (*at != LP_END) {
        uint8_t *p = lp_skip(at);
        if ((uint64_t)lp_read(p).number >= least)
            break;
        p = lp_skip(lp_skip(p));
        uint64_t n = w->master_fields;
        if (unlikely_(!(*at & STREAM_SAME_FIELDS))) {
            n = (uint64_t)lp_read(p).number * 2;
            p = lp_skip(p);
        }
        for (; n; n--)
            p = lp_skip(p);
        at = lp_skip(p);
    }
    w->at = at;
}

void stream_walk_init(struct stream_walk *w, const struct stream *s, struct stream_id from,
                      struct stream_id to, bool back)
{
    struct id_at first, last;
    w->s = s;
    w->from = from;
    w->to = to;
    w->back = back;
    w->done = !nodes_between(s, from, to, &first, &last);
    if (w->done)
        return;
    w->node = back ? last : first;
    w->stop = back ? first : last;
    open_node(w);
    if (w->check_from && !back)
        pass_older(w);
}

/* The entry whose flags are at `at`; ret->at is where its texts begin. */
static inline void read_entry(const struct stream_walk *w, uint8_t *at, struct stream_entry *ret)
{
    ret->flags = at;
    at = lp_skip(at);
    ret->id.ms = w->base.ms + (uint64_t)lp_read(at).number;
    at = lp_skip(at);
    ret->id.seq = w->base.seq + (uint64_t)lp_read(at).number;
    at = lp_skip(at);
    ret->same = *ret->flags & STREAM_SAME_FIELDS;
    ret->fields = w->master_fields;
    ret->master = w->master;
    if (unlikely_(!ret->same)) {
        ret->fields = (uint64_t)lp_read(at).number;
        at = lp_skip(at);
    }
    ret->at = at;
}

static bool next_node(struct stream_walk *w)
{
    if (at_same(w->node, w->stop)) {
        w->done = true;
        return false;
    }
    w->node = w->back ? idtree_prev(w->node) : idtree_next(w->node);
    open_node(w);
    return true;
}

static bool walk_forward(struct stream_walk *w, struct stream_entry *ret)
{
    while (!w->done) {
        uint8_t *at = w->at;
        for (; w->skip; w->skip--)
            at = lp_skip(at);
        if (*at == LP_END) {
            next_node(w);
            continue;
        }
        read_entry(w, at, ret);
        w->at = (uint8_t *)(uintptr_t)ret->at;
        w->skip = (ret->same ? ret->fields : ret->fields * 2) + 1;
        if (unlikely_(*ret->flags & STREAM_DELETED) ||
            (w->check_from && stream_id_less(ret->id, w->from)))
            continue;
        if (w->check_to && stream_id_less(w->to, ret->id)) {
            w->done = true;
            return false;
        }
        w->given++;
        return true;
    }
    return false;
}

static bool walk_back(struct stream_walk *w, struct stream_entry *ret)
{
    while (!w->done) {
        uint8_t *at = w->at;
        if (at == w->begin) {
            next_node(w);
            continue;
        }
        at = lp_skip_back(at);
        for (int64_t n = lp_read(at).number; n > 0; n--)
            at = lp_skip_back(at);
        read_entry(w, at, ret);
        w->at = at;
        if (unlikely_(*ret->flags & STREAM_DELETED) ||
            (w->check_to && stream_id_less(w->to, ret->id)))
            continue;
        w->check_to = false; /* those before it are less */
        if (w->check_from && stream_id_less(ret->id, w->from)) {
            w->done = true;
            return false;
        }
        w->given++;
        return true;
    }
    return false;
}

bool stream_walk_next(struct stream_walk *w, struct stream_entry *ret)
{
    return w->back ? walk_back(w, ret) : walk_forward(w, ret);
}

/* ---- questions ---- */

/* Of the node that the walk stands at: told by its header, or counted. */
static uint64_t left_in_node(const struct stream_walk *w, uint64_t most)
{
    struct stream_entry e;
    struct stream_walk here = *w;
    uint64_t n = 0;
    if (w->whole)
        return w->count - w->given;
    here.stop = here.node;
    while (n < most && stream_walk_next(&here, &e))
        n++;
    return n;
}

uint64_t stream_walk_left(const struct stream_walk *w, uint64_t most)
{
    if (w->done)
        return 0;
    struct stream_walk next = *w;
    uint64_t sum = left_in_node(w, most);
    while (sum < most && next_node(&next))
        sum += left_in_node(&next, most - sum);
    return sum < most ? sum : most;
}

uint64_t stream_count_range(const struct stream *s, struct stream_id from, struct stream_id to,
                            uint64_t most)
{
    struct stream_walk w;
    stream_walk_init(&w, s, from, to, false);
    return stream_walk_left(&w, most);
}

bool stream_has(const struct stream *s, struct stream_id id)
{
    struct stream_walk w;
    struct stream_entry e;
    stream_walk_init(&w, s, id, id, false);
    return stream_walk_next(&w, &e);
}

struct stream_id stream_last_there(const struct stream *s)
{
    struct stream_walk w;
    struct stream_entry e;
    stream_walk_init(&w, s, STREAM_ID_MIN, STREAM_ID_MAX, true);
    return stream_walk_next(&w, &e) ? e.id : STREAM_ID_MIN;
}

/* ---- the radix tree that Redis would have ---- */

#define KEY_BYTES 16

static void key_of(const struct stream_node *n, uint8_t key[KEY_BYTES])
{
    uint64_t ms = __builtin_bswap64(n->id.ms), seq = __builtin_bswap64(n->id.seq);
    memcpy(key, &ms, 8);
    memcpy(key + 8, &seq, 8);
}

/* Nodes below the byte that tells a key from its neighbours: a chain of bytes, unless there are none, and the end. */
static uint64_t chain(uint32_t from, uint32_t to)
{
    return to > from;
}

/* Its nodes are: one for each key's end, one for each byte where keys part, and one for each run of bytes between these. Keys come in
 * order, so the places where the last one parted from those before it are enough to know: bit d of `parts`. */
uint64_t stream_radix_nodes(const struct stream *s)
{
    uint8_t last[KEY_BYTES], key[KEY_BYTES];
    uint32_t parts = 0;
    uint64_t nodes = 0;
    if (!s->nodes.count)
        return 1;
    for (struct id_at at = idtree_first(&s->nodes); at.leaf; at = idtree_next(at)) {
        key_of(stream_node_at(s, at), key);
        if (nodes == 0) {
            nodes = chain(0, KEY_BYTES) + 1;
            memcpy(last, key, KEY_BYTES);
            continue;
        }
        uint32_t d = 0;
        while (key[d] == last[d])
            d++;
        if (!(parts >> d & 1)) {
            /* The run of bytes around d becomes up to two, with the parting between them. */
            uint32_t above = parts & ((1u << d) - 1), below = parts >> d >> 1;
            uint32_t begin = above ? 32 - (uint32_t)__builtin_clz(above) : 0;
            uint32_t end = below ? d + 1 + (uint32_t)__builtin_ctz(below) : KEY_BYTES;
            nodes += chain(begin, d) + 1 + chain(d + 1, end) - chain(begin, end);
        }
        nodes += chain(d + 1, KEY_BYTES) + 1;
        parts = (parts & ((1u << d) - 1)) | 1u << d;
        memcpy(last, key, KEY_BYTES);
    }
    return nodes;
}

/* ---- nodes from outside ---- */

/* The elements of a listpack, each looked at once: whether it is one, and what it says. */
struct untrusted {
    const uint8_t *at, *end;
    size_t count; /* so far */
};

/* Behind the next element; false: there is none. What is shorter than 128 is most of a node, and where the next one begins then hangs on a guess of the
 * processor, not on a table that waits for the byte. */
static inline __attribute__((always_inline)) bool pass(struct untrusted *u)
{
    const uint8_t *at = u->at;
    size_t left = (size_t)(u->end - at), step;
    if (left >= 2 && *at < LP_STR6 && at[1] == 1)
        step = 2;
    else
        step = left ? lp_check_element(at, left) : 0;
    u->at = at + step;
    u->count++;
    return step != 0;
}

static inline __attribute__((always_inline)) bool pass_some(struct untrusted *u, int64_t n)
{
    while (n && pass(u))
        n--;
    return n == 0;
}

/* The next element is a number, within these. */
static inline __attribute__((always_inline)) bool take_int(struct untrusted *u, int64_t least,
                                                           int64_t most, int64_t *ret)
{
    const uint8_t *at = u->at;
    if (!pass(u))
        return false;
    struct lp_value v = *at < LP_STR6 ? (struct lp_value){.number = *at} : lp_read(at);
    *ret = v.number;
    return !v.text.p && v.number >= least && v.number <= most;
}

/* One entry; false: it is none. */
static inline __attribute__((always_inline)) bool take_entry(struct untrusted *u,
                                                             int64_t master_fields,
                                                             struct stream_id base,
                                                             struct stream_id *id, int64_t *flags)
{
    int64_t ms, seq, n = master_fields, elements;
    const uint8_t *first = u->at;
    /* Flags are changed in place: a byte, as everybody writes them. */
    if (!take_int(u, 0, STREAM_DELETED | STREAM_SAME_FIELDS, flags) || *first > 3 ||
        !take_int(u, INT64_MIN, INT64_MAX, &ms) || !take_int(u, INT64_MIN, INT64_MAX, &seq))
        return false;
    *id = (struct stream_id){base.ms + (uint64_t)ms, base.seq + (uint64_t)seq};
    bool same = *flags & STREAM_SAME_FIELDS;
    if (!same && !take_int(u, 1, UINT32_MAX, &n))
        return false;
    return pass_some(u, same ? n : n * 2) && take_int(u, 0, INT64_MAX, &elements) &&
           elements == (same ? n + 3 : n * 2 + 4);
}

bool stream_node_valid(struct span lp, struct stream_id id, struct stream_node_facts *ret)
{
    int64_t count, deleted, fields, flags, zero;
    struct stream_id last = STREAM_ID_MIN, here;
    *ret = (struct stream_node_facts){0};
    if (!lp_frame_valid(lp.p, lp.n))
        return false;
    struct untrusted u = {lp.p + LP_HEADER_BYTES, lp.p + lp.n - 1, 0};
    if (!take_int(&u, 0, UINT32_MAX, &count) || !take_int(&u, 0, UINT32_MAX, &deleted) ||
        !take_int(&u, 1, UINT32_MAX, &fields) || !pass_some(&u, fields) ||
        !take_int(&u, 0, 0, &zero) || count + deleted == 0)
        return false;
    for (int64_t i = count + deleted; i; i--) {
        if (!take_entry(&u, fields, id, &here, &flags))
            return false;
        if (flags & STREAM_DELETED) {
            deleted--;
            continue;
        }
        if (stream_id_less(here, ret->live ? last : id) ||
            (ret->live && stream_id_cmp(here, last) == 0))
            return false;
        if (ret->live++ == 0)
            ret->first = here;
        ret->last = last = here;
    }
    return u.at == u.end && deleted == 0 && lp_counts(lp.p, u.count);
}
