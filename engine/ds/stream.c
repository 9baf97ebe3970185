/* stream.c: nodes of a stream: entries are added, deleted and trimmed. Picture: stream.h; walking: stream_walk.c; groups: stream_group.c.
 *
 * Where in the flow: stream commands -> here -> idtree.c. Source of the format and of where a node ends: the streams of Redis 7.0, whose DUMP
 * carries the bytes. Thread: the lease holder's.
 *
 * The last node has room to grow, as much as the one before it came to; when the next one begins it is cut to what it holds. */
#include "engine/ds/stream_internal.h"

#define NODE_FIRST_BYTES 48        /* of the first node of a stream, at least */
#define ENCODED_MAX      16        /* texts that are encoded once, on the stack */
#define LEAST_NODE_BYTES (1 << 16) /* a node larger than this is not the measure of the next */

/* ---- life ---- */

struct stream *stream_create(struct mem *mem)
{
    struct stream *s = mem_alloc(mem, sizeof(*s));
    if (!s)
        return NULL;
    *s = (struct stream){.m = {mem, mem_size_class(sizeof(*s))},
                         .nodes = idtree_empty(sizeof(struct stream_node))};
    return s;
}

static void free_last_node(struct stream *s)
{
    struct stream_node *n = stream_node_at(s, idtree_last(&s->nodes));
    mem_count_free(&s->m, n->p, n->cap);
    idtree_drop_last(&s->m, &s->nodes);
}

bool stream_free_slice(struct stream *s, size_t budget, size_t *freed)
{
    if (!stream_groups_free_slice(s, budget, freed))
        return false;
    for (; s->nodes.count && *freed < budget; ++*freed)
        free_last_node(s);
    if (s->nodes.count)
        return false;
    mem_free(s->m.mem, s, sizeof(*s));
    ++*freed;
    return true;
}

size_t stream_pieces(const struct stream *s)
{
    return 1 + s->nodes.count + stream_groups_pieces(s);
}

bool stream_adopt_node(struct stream *s, struct stream_id id, const struct mem_block *lp)
{
    struct stream_node *n = idtree_append(&s->m, &s->nodes, id);
    if (!n)
        return false;
    n->p = lp->p;
    n->cap = (uint32_t)lp->cap;
    s->m.bytes += mem_size_class(lp->cap);
    return true;
}

static bool copy_nodes(struct stream *s, const struct stream *from)
{
    for (struct id_at at = idtree_first(&from->nodes); at.leaf; at = idtree_next(at)) {
        const struct stream_node *n = stream_node_at(from, at);
        struct mem_block lp = stream_node_block(n);
        lp.cap = mem_size_class(lp.len);
        lp.p = mem_alloc(s->m.mem, lp.cap);
        if (!lp.p)
            return false;
        memcpy(lp.p, n->p, lp.len);
        if (!stream_adopt_node(s, n->id, &lp)) {
            mem_free(s->m.mem, lp.p, lp.cap);
            return false;
        }
    }
    return true;
}

struct stream *stream_copy(struct mem *mem, const struct stream *from)
{
    struct stream *s = stream_create(mem);
    size_t freed;
    if (!s)
        return NULL;
    s->length = from->length;
    s->entries_added = from->entries_added;
    s->first = from->first;
    s->last = from->last;
    s->max_deleted = from->max_deleted;
    if (copy_nodes(s, from) && stream_groups_copy(s, from))
        return s;
    stream_free_slice(s, SIZE_MAX, &freed);
    return NULL;
}

/* ---- bytes of a node ---- */

static bool set_cap(struct stream *s, struct stream_node *n, size_t cap)
{
    uint8_t *p = mem_count_realloc(&s->m, n->p, n->cap, cap);
    if (!p)
        return false;
    n->p = p;
    n->cap = (uint32_t)cap;
    return true;
}

/* Room for `more` bytes, but not much more than that. */
static bool reserve(struct stream *s, struct stream_node *n, size_t more)
{
    size_t len = lp_load32(n->p) + more;
    return len <= n->cap || set_cap(s, n, mem_size_class(len));
}

static void shrink(struct stream *s, struct stream_node *n)
{
    size_t cap = mem_size_class(lp_load32(n->p));
    if (cap < n->cap)
        set_cap(s, n, cap); /* without memory it stays as it is */
}

static uint8_t *put(uint8_t *to, const struct lp_encoded *e)
{
    lp_write(to, e);
    return to + lp_encoded_bytes(e);
}
static uint8_t *put_int(uint8_t *to, int64_t v)
{
    if (likely_((uint64_t)v <= 127)) {
        to[0] = (uint8_t)v;
        to[1] = 1;
        return to + 2;
    }
    struct lp_encoded e;
    lp_encode_int(&e, v);
    return put(to, &e);
}
static uint8_t *put_text(uint8_t *to, struct span text)
{
    struct lp_encoded e;
    lp_encode_text(&e, text);
    return put(to, &e);
}

static size_t int_bytes(int64_t v)
{
    struct lp_encoded e;
    if (likely_((uint64_t)v <= 127))
        return 2;
    lp_encode_int(&e, v);
    return lp_encoded_bytes(&e);
}

/* By how much a number that grows takes more bytes. */
static size_t int_growth(uint64_t from, uint64_t to)
{
    return int_bytes((int64_t)to) - int_bytes((int64_t)from);
}

static void set_header(uint8_t *p, uint32_t len, uint32_t elements)
{
    uint16_t n = elements < LP_UNKNOWN ? (uint16_t)elements : LP_UNKNOWN;
    memcpy(p, &len, 4);
    memcpy(p + 4, &n, 2);
}

/* Another number in place of the one at `at`; there is room. */
static void set_int(struct stream_node *n, uint8_t *at, uint64_t v)
{
    size_t old = (size_t)(lp_skip(at) - at), now = int_bytes((int64_t)v);
    if (unlikely_(old != now)) {
        uint32_t len = lp_load32(n->p);
        memmove(at + now, at + old, (size_t)(n->p + len - (at + old)));
        len = (uint32_t)(len + now - old);
        memcpy(n->p, &len, 4);
    }
    put_int(at, (int64_t)v);
}

/* ---- adding ---- */

/* The entry that is to be written. */
struct draft {
    struct stream_id id;
    const struct span *texts;
    uint32_t n; /* fields */
    struct lp_encoded encoded[ENCODED_MAX];
};

/* Bytes of one text; the first few stay encoded. */
static size_t text_bytes(struct draft *d, uint32_t i)
{
    if (unlikely_(i >= ENCODED_MAX))
        return lp_element_bytes(d->texts[i]);
    lp_encode_text(&d->encoded[i], d->texts[i]);
    return lp_encoded_bytes(&d->encoded[i]);
}
static uint8_t *put_draft(uint8_t *to, const struct draft *d, uint32_t i)
{
    return likely_(i < ENCODED_MAX) ? put(to, &d->encoded[i]) : put_text(to, d->texts[i]);
}

static bool same_fields(const struct stream_master *h, const struct draft *d)
{
    const uint8_t *at = h->fields_at;
    if (h->fields != d->n)
        return false;
    for (uint32_t i = 0; i < d->n; i++, at = lp_skip(at)) {
        if (likely_((*at & 0xc0) == LP_STR6)) {
            struct span t = d->texts[2 * i];
            if ((*at & 63u) != t.n || !lp_bytes_equal(at + 1, t.p, t.n))
                return false;
        } else if (!lp_equal(at, d->texts[2 * i])) {
            return false;
        }
    }
    return true;
}

/* Elements between the flags and the number of elements, which it is. */
static int64_t elements_of(const struct draft *d, bool same)
{
    return same ? (int64_t)d->n + 3 : (int64_t)d->n * 2 + 4;
}

static size_t entry_bytes(struct draft *d, struct stream_id base, bool same)
{
    size_t bytes = 2 + int_bytes((int64_t)(d->id.ms - base.ms)) +
                   int_bytes((int64_t)(d->id.seq - base.seq)) + int_bytes(elements_of(d, same));
    if (!same)
        bytes += int_bytes(d->n);
    for (uint32_t i = same; i < d->n * 2; i += same ? 2 : 1)
        bytes += text_bytes(d, i);
    return bytes;
}

static uint8_t *put_entry(uint8_t *to, const struct draft *d, struct stream_id base, bool same)
{
    to = put_int(to, same ? STREAM_SAME_FIELDS : 0);
    to = put_int(to, (int64_t)(d->id.ms - base.ms));
    to = put_int(to, (int64_t)(d->id.seq - base.seq));
    if (!same)
        to = put_int(to, d->n);
    for (uint32_t i = same; i < d->n * 2; i += same ? 2 : 1)
        to = put_draft(to, d, i);
    to = put_int(to, elements_of(d, same));
    *to++ = LP_END;
    return to;
}

/* A new node whose first entry it is. */
static bool add_node(struct stream *s, struct draft *d, size_t want)
{
    size_t len = LP_EMPTY_BYTES + 2 + 2 + int_bytes(d->n) + 2 + entry_bytes(d, d->id, true);
    for (uint32_t i = 0; i < d->n * 2; i += 2)
        len += text_bytes(d, i);
    if (want < len)
        want = len;
    struct mem_block lp = {.cap =
                               mem_size_class(want < NODE_FIRST_BYTES ? NODE_FIRST_BYTES : want)};
    lp.p = mem_alloc(s->m.mem, lp.cap);
    if (!lp.p)
        return false;
    uint8_t *to = lp.p + LP_HEADER_BYTES;
    to = put_int(to, 1);
    to = put_int(to, 0);
    to = put_int(to, d->n);
    for (uint32_t i = 0; i < d->n * 2; i += 2)
        to = put_draft(to, d, i);
    to = put_int(to, 0);
    put_entry(to, d, d->id, true);
    set_header(lp.p, (uint32_t)len, 4 + d->n + (uint32_t)elements_of(d, true) + 1);
    if (stream_adopt_node(s, d->id, &lp))
        return true;
    mem_free(s->m.mem, lp.p, lp.cap);
    return false;
}

static bool add_to_node(struct stream *s, struct stream_node *n, const struct stream_master *h,
                        struct draft *d)
{
    bool same = same_fields(h, d);
    size_t more = entry_bytes(d, n->id, same), count_off = (size_t)(h->count_at - n->p);
    uint32_t len = lp_load32(n->p), elements = lp_load16(n->p + 4);
    size_t want = len + more + int_growth(h->count, h->count + 1);
    if (unlikely_(want > n->cap)) {
        /* Half as much again: few copies, and little that a short stream does not use. */
        size_t grow = n->cap + n->cap / 2;
        if (!set_cap(s, n,
                     mem_size_class(want > grow || grow > STREAM_ENTRY_MAX_BYTES ? want : grow)))
            return false;
    }
    put_entry(n->p + len - 1, d, n->id, same);
    if (elements != LP_UNKNOWN)
        elements += (uint32_t)elements_of(d, same) + 1;
    set_header(n->p, (uint32_t)(len + more), elements);
    set_int(n, n->p + count_off, h->count + 1);
    return true;
}

/* Redis's rule: bytes of the node so far and of the texts, and entries with the deleted ones. */
static bool is_full(const struct stream_limits *limits, const struct stream_node *n,
                    const struct stream_master *h, size_t texts)
{
    uint64_t bytes = limits->node_bytes;
    if (bytes == 0 || bytes > STREAM_ENTRY_MAX_BYTES)
        bytes = STREAM_ENTRY_MAX_BYTES;
    if (lp_load32(n->p) + texts >= bytes)
        return true;
    return limits->node_entries && (int64_t)(h->count + h->deleted) >= limits->node_entries;
}

/* Nodes of deleted entries only, at the end, whose id is not less: an XSETID that lowered the last id may have left them. */
static void drop_nodes_behind(struct stream *s, struct stream_id id)
{
    while (s->nodes.count) {
        struct stream_node *n = stream_node_at(s, idtree_last(&s->nodes));
        if (likely_(stream_id_less(n->id, id)))
            return;
        mem_count_free(&s->m, n->p, n->cap);
        idtree_remove(&s->m, &s->nodes, n->id);
    }
}

bool stream_append(struct stream *s, const struct stream_limits *limits, struct stream_id id,
                   const struct span *texts, uint32_t n)
{
    struct draft d;
    d.id = id;
    d.texts = texts;
    d.n = n;
    struct stream_node *node = NULL;
    struct stream_master h;
    size_t want = 0, bytes = 0;
    drop_nodes_behind(s, id);
    if (likely_(s->nodes.count != 0)) {
        node = stream_node_at(s, idtree_last(&s->nodes));
        h = stream_master_of(node);
        for (uint32_t i = 0; i < n * 2; i++)
            bytes += texts[i].n;
        if (unlikely_(is_full(limits, node, &h, bytes))) {
            want = lp_load32(node->p);
            if (want > LEAST_NODE_BYTES)
                want = 0;
            shrink(s, node);
            node = NULL;
        }
    }
    if (!(node ? add_to_node(s, node, &h, &d) : add_node(s, &d, want)))
        return false;
    s->entries_added++;
    s->last = id;
    if (++s->length == 1)
        s->first = id;
    return true;
}

/* ---- deleting ---- */

static void remove_node(struct stream *s, struct stream_node *n)
{
    struct stream_id id = n->id;
    mem_count_free(&s->m, n->p, n->cap);
    idtree_remove(&s->m, &s->nodes, id);
}

enum stream_deleted stream_delete(struct stream *s, struct stream_id id)
{
    struct stream_walk w;
    struct stream_entry e;
    stream_walk_init(&w, s, id, id, false);
    if (!stream_walk_next(&w, &e))
        return STREAM_NOT_THERE;
    struct stream_node *n = stream_node_at(s, w.node);
    struct stream_master h = stream_master_of(n);
    if (h.count == 1) {
        remove_node(s, n);
    } else {
        size_t flags = (size_t)(e.flags - n->p);
        if (!reserve(s, n, int_growth(h.deleted, h.deleted + 1)))
            return STREAM_NO_MEMORY;
        n->p[flags] |= STREAM_DELETED;
        h = stream_master_of(n);
        set_int(n, h.deleted_at, h.deleted + 1); /* the one behind first: the other may move it */
        set_int(n, h.count_at, h.count - 1);
    }
    s->length--;
    return STREAM_GONE;
}

void stream_find_first(struct stream *s)
{
    struct stream_walk w;
    struct stream_entry e;
    stream_walk_init(&w, s, STREAM_ID_MIN, STREAM_ID_MAX, false);
    s->first = stream_walk_next(&w, &e) ? e.id : STREAM_ID_MIN;
}

/* ---- trimming ---- */

/* The id of the last entry of a node, be it deleted. */
static struct stream_id node_last_id(const struct stream_node *n)
{
    uint8_t *at = lp_skip_back(stream_node_end(n));
    for (int64_t i = lp_read(at).number; i > 0; i--)
        at = lp_skip_back(at);
    uint8_t *ms = lp_skip(at), *seq = lp_skip(ms);
    return (struct stream_id){n->id.ms + (uint64_t)lp_read(ms).number,
                              n->id.seq + (uint64_t)lp_read(seq).number};
}

static bool goes_whole(const struct stream *s, const struct stream_trim *t,
                       const struct stream_node *n, uint64_t count)
{
    if (t->by_id)
        return stream_id_less(node_last_id(n), t->least);
    return s->length - count >= t->keep;
}

/* Entries of the first node that stays. */
static uint64_t trim_inside(struct stream *s, const struct stream_trim *t, struct stream_node *n)
{
    struct stream_master h = stream_master_of(n);
    uint64_t gone = 0;
    if (!reserve(s, n, int_growth(h.deleted, h.deleted + h.count)))
        return 0;
    h = stream_master_of(n);
    for (uint8_t *at = h.entries; *at != LP_END;) {
        uint8_t *flags = at, *ms = lp_skip(flags), *seq = lp_skip(ms);
        struct stream_id id = {n->id.ms + (uint64_t)lp_read(ms).number,
                               n->id.seq + (uint64_t)lp_read(seq).number};
        if (t->by_id ? !stream_id_less(id, t->least) : s->length - gone <= t->keep)
            break;
        uint64_t skip = h.fields;
        at = lp_skip(seq);
        if (!(*flags & STREAM_SAME_FIELDS)) {
            skip = (uint64_t)lp_read(at).number * 2;
            at = lp_skip(at);
        }
        for (; skip; skip--)
            at = lp_skip(at);
        at = lp_skip(at);
        if (!(*flags & STREAM_DELETED)) {
            *flags |= STREAM_DELETED;
            gone++;
        }
    }
    set_int(n, h.deleted_at, h.deleted + gone);
    set_int(n, h.count_at, h.count - gone);
    s->length -= gone;
    return gone;
}

uint64_t stream_trim(struct stream *s, const struct stream_trim *t)
{
    uint64_t gone = 0;
    while (s->nodes.count && (t->by_id || s->length > t->keep)) {
        struct stream_node *n = stream_node_at(s, idtree_first(&s->nodes));
        uint64_t count = stream_master_of(n).count;
        if (t->limit && gone + count > (uint64_t)t->limit)
            break;
        if (!goes_whole(s, t, n, count)) {
            if (!t->nodes)
                gone += trim_inside(s, t, n);
            break;
        }
        remove_node(s, n);
        s->length -= count;
        gone += count;
    }
    if (gone)
        stream_find_first(s);
    return gone;
}
