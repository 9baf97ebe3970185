/* quicklist_edit.c: changes in the middle of a quicklist: inserting, replacing, removing by position.
 *
 *   a full block that must take one more in its middle is split there; two neighbours become one when a change left one of them
 *   nearly empty and both fit a block
 *
 * What can fail comes before what changes elements: a split without the insertion after it leaves the same list.
 * Thread: the lease holder's. */
#include "engine/ds/quicklist_internal.h"

/* ---- merging ---- */

bool qlb_join(struct quicklist *q, struct ql_block *a, struct ql_block *b)
{
    uint32_t small = a->len < b->len ? a->len : b->len;
    if (b->plain || !qlb_fits(q, a, b->len - 1, b->count) || small > q->block_bytes / 4 ||
        !qlb_open(q, a) || !qlb_open(q, b))
        return false;
    uint8_t *hole = qlb_splice(q, a, a->len - 1, 0, b->len - 1);
    if (!hole)
        return false;
    memcpy(hole, ql_block_first(b), b->len - 1);
    a->count += b->count;
    qlb_free(q, b);
    return true;
}

static bool merge(struct quicklist *q, uint32_t i)
{
    if (i + 1 >= q->n || !qlb_join(q, qlb(q, i), qlb(q, i + 1)))
        return false;
    ql_table_close(q, i + 1, 1);
    return true;
}

/* After elements were removed from block i. */
static void settle(struct quicklist *q, uint32_t i)
{
    if (i >= q->n)
        return;
    struct ql_block *b = qlb(q, i);
    if (!merge(q, i) && !(i && merge(q, i - 1)) && !b->plain && b->len * 2 <= b->cap)
        qlb_trim(q, b);
}

/* ---- inserting ---- */

/* Elements before `at`, counted from the nearer end. */
static uint32_t elements_before(const struct ql_block *b, const uint8_t *at)
{
    const uint8_t *p = ql_block_first(b);
    uint32_t n = 0;
    if ((size_t)(at - p) * 2 <= b->len) {
        for (; p < at; p = lp_skip(p))
            n++;
        return n;
    }
    for (; *at != LP_END; at = lp_skip(at))
        n++;
    return b->count - n;
}

/* Block i, packed, keeps what is before offset `off` and a new block behind it gets the rest; neither is empty. */
static bool split(struct quicklist *q, uint32_t i, size_t off)
{
    struct ql_block *b = qlb(q, i);
    uint32_t n = elements_before(b, ql_block_first(b) + off);
    uint32_t len = b->len - (uint32_t)off;
    size_t cap = mem_size_class(len);
    uint8_t *p = mem_alloc(q->mem, cap);
    if (!p)
        return false;
    if (!ql_table_open(q, i + 1, 1)) {
        mem_free(q->mem, p, cap);
        return false;
    }
    b = qlb(q, i);
    q->bytes += mem_size_class(cap);
    memcpy(p, ql_block_first(b) + off, len);
    *qlb(q, i + 1) = (struct ql_block){p, 0, len, (uint32_t)cap, b->count - n, 0, 0, 0};
    ql_block_first(b)[off] = LP_END;
    b->len = (uint32_t)off + 1;
    b->count = n;
    return true;
}

static bool put_packed(struct quicklist *q, uint32_t i, size_t off, const struct lp_encoded *e)
{
    struct ql_block *b = qlb(q, i);
    uint8_t *hole = qlb_splice(q, b, off, 0, lp_encoded_bytes(e));
    if (!hole)
        return false;
    lp_write(hole, e);
    b->count++;
    q->count++;
    return true;
}

/* A block of its own for the element, as the i-th. */
static bool put_block(struct quicklist *q, uint32_t i, struct span text, const struct lp_encoded *e)
{
    struct ql_block b;
    if (!qlb_make(q, &b, QL_INSIDE, text, e))
        return false;
    if (!ql_table_open(q, i, 1)) {
        qlb_free(q, &b);
        return false;
    }
    *qlb(q, i) = b;
    q->count++;
    return true;
}

/* Where a new element goes is the same place told in two ways: behind block i - 1, or before block i. */
static bool put_between(struct quicklist *q, uint32_t i, struct span text,
                        const struct lp_encoded *e)
{
    size_t n = lp_encoded_bytes(e);
    if (i > 0 && qlb_takes(q, qlb(q, i - 1), n, 1))
        return put_packed(q, i - 1, qlb(q, i - 1)->len - 1, e);
    if (i < q->n && qlb_takes(q, qlb(q, i), n, 1))
        return put_packed(q, i, 0, e);
    return put_block(q, i, text, e);
}

static bool insert(struct quicklist *q, struct ql_at at, bool after, struct span text)
{
    struct lp_encoded e;
    struct ql_block *b = qlb(q, at.block);
    if (text.n > UINT32_MAX - 64)
        return false;
    lp_encode_text(&e, text);
    if (b->plain)
        return put_between(q, at.block + after, text, &e);
    size_t off = (size_t)((after ? lp_skip(at.at) : at.at) - ql_block_first(b));
    if (qlb_takes(q, b, lp_encoded_bytes(&e), 1))
        return put_packed(q, at.block, off, &e);
    if (off == 0)
        return put_between(q, at.block, text, &e);
    if (off + 1 < b->len && !split(q, at.block, off))
        return false;
    bool done = put_between(q, at.block + 1, text, &e);
    settle(q, at.block);
    return done;
}

/* The element's block is open afterwards. False: no memory. */
static bool open_at(struct quicklist *q, struct ql_at *at)
{
    struct ql_block *b = qlb(q, at->block);
    size_t off = (size_t)(at->at - ql_block_first(b));
    if (likely_(!b->lzf))
        return true;
    if (!qlb_open(q, b))
        return false;
    at->at = ql_block_first(b) + off;
    return true;
}

bool ql_insert(struct quicklist *q, struct ql_at at, bool after, struct span text)
{
    bool done = (qlb(q, at.block)->plain || open_at(q, &at)) && insert(q, at, after, text);
    ql_tidy(q, at.block);
    return done;
}

static bool replace(struct quicklist *q, struct ql_at at, struct span text)
{
    struct lp_encoded e;
    struct ql_block *b = qlb(q, at.block);
    if (text.n > UINT32_MAX - 64)
        return false;
    lp_encode_text(&e, text);
    size_t n = lp_encoded_bytes(&e);
    if (b->count == 1) { /* plain or not: a block of its own */
        struct ql_block made;
        if (!qlb_make(q, &made, QL_INSIDE, text, &e))
            return false;
        qlb_free(q, b);
        *b = made;
        return true;
    }
    size_t off = (size_t)(at.at - ql_block_first(b)), gone = (size_t)(lp_skip(at.at) - at.at);
    if (ql_packs(q, n) && LP_HEADER_BYTES + b->len - gone + n <= q->block_bytes) {
        uint8_t *hole = qlb_splice(q, b, off, gone, n);
        if (!hole)
            return false;
        lp_write(hole, &e);
        return true;
    }
    /* Alone in a block, it is replaced as above. */
    if (off && !split(q, at.block, off))
        return false;
    uint32_t i = at.block + (off > 0);
    if (qlb(q, i)->count > 1 && !split(q, i, gone))
        return false;
    bool done = replace(q, (struct ql_at){i, ql_block_first(qlb(q, i))}, text);
    settle(q, i + 1);
    settle(q, i);
    if (off)
        settle(q, i - 1);
    return done;
}

bool ql_replace(struct quicklist *q, struct ql_at at, struct span text)
{
    bool done = (qlb(q, at.block)->count == 1 || open_at(q, &at)) && replace(q, at, text);
    ql_tidy(q, at.block);
    return done;
}

/* ---- removing by position ---- */

/* n elements of a block from the k-th on; others stay. */
static void delete_in_block(struct quicklist *q, struct ql_block *b, uint64_t k, uint64_t n)
{
    ASSERT(!b->lzf); /* ql_ready */
    uint8_t *from = qlb_seek(b, k), *to;
    if (n <= b->count - k - n) {
        to = from;
        for (uint64_t i = 0; i < n; i++)
            to = lp_skip(to);
    } else {
        to = ql_block_end(b);
        for (uint64_t i = k + n; i < b->count; i++)
            to = lp_skip_back(to);
    }
    b->count -= (uint32_t)n;
    qlb_splice(q, b, (size_t)(from - ql_block_first(b)), (size_t)(to - from), 0);
}

void ql_delete(struct quicklist *q, uint64_t start, uint64_t n)
{
    if (!n)
        return;
    struct ql_view w = ql_view(q);
    uint32_t i = ql_block_of(&w, &start), end;
    q->count -= n;
    if (start) {
        uint64_t here = qlb(q, i)->count - start;
        here = here < n ? here : n;
        delete_in_block(q, qlb(q, i++), start, here);
        n -= here;
    }
    for (end = i; n && qlb(q, end)->count <= n; end++) {
        n -= qlb(q, end)->count;
        qlb_free(q, qlb(q, end));
    }
    if (end > i)
        ql_table_close(q, i, end - i);
    if (n)
        delete_in_block(q, qlb(q, i), 0, n);
    settle(q, i);
    if (i)
        settle(q, i - 1);
}

struct quicklist *ql_cut(struct quicklist *q, uint64_t *start, uint64_t *n)
{
    uint64_t at = *start, left = *n, elements = 0;
    if (!left)
        return NULL;
    struct ql_view w = ql_view(q);
    uint32_t i = ql_block_of(&w, &at), end;
    if (at) {
        uint64_t here = qlb(q, i++)->count - at;
        left -= here < left ? here : left;
    }
    size_t bytes = 0;
    for (end = i; left && qlb(q, end)->count <= left; end++) {
        left -= qlb(q, end)->count;
        elements += qlb(q, end)->count;
        bytes += mem_size_class(qlb(q, end)->cap);
    }
    struct quicklist *to = end > i ? ql_alike(q->mem, q) : NULL;
    if (!to)
        return NULL;
    if (!ql_table_open(to, 0, end - i)) {
        size_t freed;
        ql_free_slice(to, 1, &freed);
        return NULL;
    }
    memcpy(qlb(to, 0), qlb(q, i), (end - i) * sizeof(*qlb(q, i)));
    to->count = elements;
    to->bytes += bytes;
    q->bytes -= bytes;
    q->count -= elements;
    *n -= elements;
    ql_table_close(q, i, end - i);
    return to;
}
