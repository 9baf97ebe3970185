/* list_value.c: one list in two forms (list_value.h): the listpack's functions or the quicklist's, and the change between them.
 *
 * Where in the flow: the list commands, SORT STORE, RESTORE. Thread: the lease holder's. */
#include "engine/ds/list_value.h"

/* An element of n bytes takes no more than this. */
#define ELEMENT_MAX(n) ((n) + 11)

/* May the listpack, without `gone` bytes, get an element of n bytes? */
static inline bool stays_flat(const struct list_value *l, size_t n, size_t gone)
{
    return n <= LIST_FLAT_BYTES && l->b.len + ELEMENT_MAX(n) - gone <= LIST_FLAT_BYTES &&
           (l->limits.fill < 0 || gone || (int64_t)lp_count(&l->b) < l->limits.fill);
}

/* The listpack becomes the first block; elements stay where they are. */
static __attribute__((noinline)) bool make_quick(struct list_value *l)
{
    struct quicklist *q = ql_create(l->mem, &l->limits);
    size_t freed;
    if (!q)
        return false;
    if (lp_count(&l->b) == 0) {
        lp_free(l->mem, &l->b);
    } else if (!ql_push_listpack(q, &l->b)) {
        ql_free_slice(q, SIZE_MAX, &freed);
        return false;
    }
    l->b = (struct mem_block){.p = (uint8_t *)q};
    l->quick = true;
    return true;
}

bool lv_init(struct list_value *l, struct mem *mem, const struct ql_limits *limits,
             const struct span *elements, size_t n)
{
    size_t room = 0;
    for (size_t i = 0; i < n && room <= LIST_FLAT_BYTES; i++)
        room += lp_element_bytes(elements[i]);
    *l = (struct list_value){.mem = mem, .limits = *limits};
    return lp_init(mem, &l->b, room <= LIST_FLAT_BYTES ? room : 0);
}

void lv_free(struct list_value *l)
{
    size_t freed;
    if (l->quick)
        ql_free_slice(lv_ql(l), SIZE_MAX, &freed);
    else
        lp_free(l->mem, &l->b);
}

bool lv_push(struct list_value *l, bool tail, struct span text)
{
    if (!l->quick) {
        if (likely_(stays_flat(l, text.n, 0)))
            return lp_insert(l->mem, &l->b, tail ? NULL : l->b.p + LP_HEADER_BYTES, text) != NULL;
        if (!make_quick(l))
            return false;
    }
    return ql_push(lv_ql(l), tail, text);
}

void lv_pop(struct list_value *l, bool tail, uint64_t n)
{
    if (l->quick)
        ql_pop(lv_ql(l), tail, n);
    else if (n)
        lp_delete(l->mem, &l->b, tail ? lp_seek(&l->b, -(int64_t)n) : lp_first(&l->b), n);
}

bool lv_insert(struct list_value *l, struct ql_at at, bool after, struct span text)
{
    if (!l->quick) {
        if (stays_flat(l, text.n, 0))
            return lp_insert(l->mem, &l->b, after ? lp_skip(at.at) : at.at, text) != NULL;
        if (!make_quick(l))
            return false;
    }
    return ql_insert(lv_ql(l), at, after, text);
}

bool lv_replace(struct list_value *l, struct ql_at at, struct span text)
{
    if (!l->quick) {
        if (stays_flat(l, text.n, (size_t)(lp_skip(at.at) - at.at)))
            return lp_replace(l->mem, &l->b, at.at, text) != NULL;
        if (!make_quick(l))
            return false;
    }
    return ql_replace(lv_ql(l), at, text);
}

void lv_delete(struct list_value *l, uint64_t start, uint64_t n)
{
    if (l->quick)
        ql_delete(lv_ql(l), start, n);
    else if (n)
        lp_delete(l->mem, &l->b, lp_seek(&l->b, (int64_t)start), n);
}

static uint64_t remove_flat(struct list_value *l, struct span text, bool from_tail, uint64_t limit)
{
    struct lp_needle needle = lp_needle_of(text);
    uint64_t n = 0;
    uint8_t *at = from_tail ? lp_last(&l->b) : lp_first(&l->b);
    while (at && n < limit) {
        bool gone = lp_matches(at, &needle);
        size_t offset = (size_t)(at - l->b.p);
        n += gone;
        if (gone)
            lp_delete(l->mem, &l->b, at, 1);
        at = l->b.p + offset; /* the block may have moved, what is behind the element came nearer */
        if (from_tail)
            at = lp_prev(&l->b, at);
        else if (!gone)
            at = lp_next(&l->b, at);
        else if (*at == LP_END)
            at = NULL;
    }
    return n;
}

bool lv_remove(struct list_value *l, struct span text, bool from_tail, uint64_t limit,
               uint64_t *ret_n, struct quicklist **ret_gone)
{
    if (l->quick)
        return ql_remove(lv_ql(l), text, from_tail, limit, ret_n, ret_gone);
    *ret_n = remove_flat(l, text, from_tail, limit);
    *ret_gone = NULL;
    return true;
}

void lv_settle(struct list_value *l)
{
    struct mem_block lp;
    size_t freed;
    if (!l->quick || likely_(lv_ql(l)->n != 1) ||
        !ql_to_listpack(lv_ql(l), LIST_FLAT_AGAIN_BYTES, &lp))
        return;
    ql_free_slice(lv_ql(l), SIZE_MAX, &freed);
    l->b = lp;
    l->quick = false;
}

void lv_view(const struct list_value *l, struct ql_view *w)
{
    if (l->quick) {
        *w = ql_view(lv_ql(l));
        return;
    }
    w->one = (struct ql_block){.p = l->b.p,
                               .start = LP_HEADER_BYTES,
                               .len = (uint32_t)l->b.len - LP_HEADER_BYTES,
                               .count = (uint32_t)lp_count(&l->b)};
    w->v = &w->one;
    w->n = 1;
    w->count = w->one.count;
}

struct lp_value lv_end(const struct list_value *l, bool tail)
{
    if (!l->quick)
        return lp_read(tail ? lp_last(&l->b) : lp_first(&l->b));
    const struct quicklist *q = lv_ql(l);
    const struct ql_block *b = &q->table[q->first + (tail ? q->n - 1 : 0)];
    if (unlikely_(b->plain))
        return (struct lp_value){.text = ql_plain_text(b)};
    ql_enter(b);
    return lp_read(tail ? lp_skip_back(ql_block_end(b)) : ql_block_first(b));
}
