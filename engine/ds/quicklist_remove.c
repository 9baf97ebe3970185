/* quicklist_remove.c: removing by value from a quicklist. Picture: quicklist.h.
 *
 *   open blocks        what stays moves together within the block: cannot fail
 *   compressed blocks  what is left of those that lose something is made anew beside them before anything is changed; then they are
 *                      exchanged
 *
 * Many blocks that became empty go to a list of their own, which the caller frees in slices. Thread: the lease holder's. */
#include "engine/ds/quicklist_internal.h"

#define GONE_FROM 64 /* empty blocks, from which on they are left to be freed later */

struct removal {
    struct quicklist *q;
    struct lp_needle needle;
    uint32_t block; /* where it begins, and the offset in that block's elements */
    size_t off;
    uint64_t limit;
    struct ql_block *anew; /* of a list with a depth, for each block: see prepare */
};

/* From `at` on in a packed block; what stays moves once. Returns how many were removed. */
static uint64_t remove_in_block(struct ql_block *b, uint8_t *at, const struct lp_needle *needle,
                                uint64_t limit)
{
    uint8_t *to = at, *run = at; /* run: begin of what stays and was not moved yet */
    uint64_t n = 0;
    while (n < limit && *at != LP_END) {
        uint8_t *next = lp_skip(at);
        if (lp_matches(at, needle)) {
            memmove(to, run, (size_t)(at - run));
            to += at - run;
            run = next;
            n++;
        }
        at = next;
    }
    if (n) {
        size_t rest = (size_t)(ql_block_end(b) + 1 - run);
        memmove(to, run, rest);
        b->len = (uint32_t)(to + rest - ql_block_first(b));
        b->count -= (uint32_t)n;
        b->tried = 0;
    }
    return n;
}

static bool plain_matches(const struct ql_block *b, const struct lp_needle *needle)
{
    return b->len == needle->text.n && span_eq(ql_plain_text(b), needle->text);
}

/* ---- compressed blocks ---- */

/* The matches of a packed block from offset `off` on, `limit` of them at most. */
static uint64_t matches_in_block(const struct ql_block *b, size_t off,
                                 const struct lp_needle *needle, uint64_t limit)
{
    uint64_t n = 0;
    for (uint8_t *at = ql_enter(b) + off; n < limit && *at != LP_END; at = lp_skip(at))
        n += lp_matches(at, needle);
    return n;
}

/* Compressed block `from` as it will be without n matches from `off` on, and some are left. False: no memory. */
static bool make_anew(const struct removal *r, struct ql_block *ret, const struct ql_block *from,
                      size_t off, uint64_t n)
{
    struct ql_block b = {
        .p = ql_window, .start = LP_HEADER_BYTES, .len = from->len, .count = from->count};
    ql_expand(from);
    remove_in_block(&b, ql_block_first(&b) + off, &r->needle, n);
    b.cap = (uint32_t)mem_size_class(b.len);
    uint8_t *p = qlb_alloc(r->q, b.cap);
    if (!p)
        return false;
    memcpy(p, ql_block_first(&b), b.len);
    b.p = p;
    b.start = 0;
    qlb_squeeze(r->q, &b);
    *ret = b;
    return true;
}

static void forget_anew(struct removal *r, bool with_blocks)
{
    for (uint32_t i = 0; with_blocks && i < r->q->n; i++)
        if (r->anew[i].p)
            qlb_free(r->q, &r->anew[i]);
    mem_free(r->q->mem, r->anew, r->q->n * sizeof(*r->anew));
}

/* What becomes of compressed blocks: a block, or p NULL and a count of 1 (nothing) or 0 (empty). False: no memory, nothing was done. */
static bool prepare(struct removal *r)
{
    struct quicklist *q = r->q;
    uint64_t left = r->limit;
    r->anew = mem_calloc(q->mem, q->n * sizeof(*r->anew));
    if (!r->anew)
        return false;
    for (uint32_t i = r->block; i < q->n && left; i++) {
        const struct ql_block *b = qlb(q, i);
        size_t off = i == r->block ? r->off : 0;
        uint64_t n =
            b->plain ? plain_matches(b, &r->needle) : matches_in_block(b, off, &r->needle, left);
        left -= n;
        r->anew[i].count = n != b->count;
        if (b->lzf && n && n < b->count && !make_anew(r, &r->anew[i], b, off, n)) {
            forget_anew(r, true);
            return false;
        }
    }
    return true;
}

static uint64_t exchange(struct quicklist *q, struct ql_block *b, const struct ql_block *anew)
{
    uint64_t n = 0;
    if (anew->p) {
        n = b->count - anew->count;
        qlb_free(q, b);
        *b = *anew;
    } else if (anew->count == 0) {
        n = b->count;
        b->count = 0;
    }
    return n;
}

/* ---- empty blocks ---- */

/* The list that takes the empty blocks. NULL: they are few, or there is no memory. */
static struct quicklist *gone_list(struct quicklist *q)
{
    uint32_t n = 0;
    size_t freed;
    for (uint32_t i = 0; i < q->n; i++)
        n += qlb(q, i)->count == 0;
    struct quicklist *gone = n >= GONE_FROM ? ql_alike(q->mem, q) : NULL;
    if (gone && !ql_table_open(gone, 0, n)) {
        ql_free_slice(gone, 1, &freed);
        gone = NULL;
    }
    if (gone)
        gone->n = 0; /* there is room for n */
    return gone;
}

static void let_go(struct quicklist *q, struct quicklist *gone, struct ql_block *b)
{
    if (!gone) {
        qlb_free(q, b);
        return;
    }
    size_t bytes = mem_size_class(b->cap);
    *qlb(gone, gone->n++) = *b;
    gone->bytes += bytes;
    q->bytes -= bytes;
}

/* Drops the records of blocks that became empty, and joins what fits, in one pass over the table. */
static struct quicklist *gather(struct quicklist *q)
{
    struct quicklist *gone = gone_list(q);
    uint32_t out = 0;
    for (uint32_t i = 0; i < q->n; i++) {
        struct ql_block *b = qlb(q, i), *a = out ? qlb(q, out - 1) : NULL;
        if (b->count == 0) {
            let_go(q, gone, b);
            continue;
        }
        if (a && qlb_join(q, a, b))
            continue;
        if (!b->plain && !b->lzf && b->len * 2 <= b->cap)
            qlb_trim(q, b);
        if (q->depth && out > q->depth) /* nothing more will join that one */
            qlb_squeeze(q, a);
        *qlb(q, out++) = *b;
    }
    if (out < q->n)
        ql_table_close(q, out, q->n - out);
    q->moved = 1;
    ql_shape(q);
    return gone;
}

/* ---- the walk ---- */

/* Where to begin: at the limit-th match from the tail, or at the head. */
static void begin(struct removal *r, bool from_tail)
{
    struct ql_view w = ql_view(r->q);
    struct ql_at at;
    uint64_t left = r->limit;
    if (!from_tail || left >= r->q->count)
        return;
    ql_seek(&w, -1, &at);
    do {
        if (ql_matches(&w, at, &r->needle) && --left == 0)
            break;
    } while (ql_prev(&w, &at));
    r->block = at.block;
    r->off = (size_t)(at.at - ql_block_first(&w.v[at.block]));
}

static uint64_t remove_all(struct removal *r)
{
    struct quicklist *q = r->q;
    uint64_t n = 0;
    for (uint32_t i = r->block; i < q->n && n < r->limit; i++) {
        struct ql_block *b = qlb(q, i);
        if (b->lzf) {
            n += exchange(q, b, &r->anew[i]);
        } else if (b->plain) {
            bool gone = plain_matches(b, &r->needle);
            b->count -= gone;
            n += gone;
        } else {
            uint8_t *at = ql_block_first(b) + (i == r->block ? r->off : 0);
            n += remove_in_block(b, at, &r->needle, r->limit - n);
        }
    }
    return n;
}

bool ql_remove(struct quicklist *q, struct span text, bool from_tail, uint64_t limit,
               uint64_t *ret_n, struct quicklist **ret_gone)
{
    struct removal r = {.q = q, .needle = lp_needle_of(text), .limit = limit};
    *ret_n = 0;
    *ret_gone = NULL;
    if (!q->count || !limit)
        return true;
    begin(&r, from_tail);
    if (q->depth && !prepare(&r))
        return false;
    *ret_n = remove_all(&r);
    if (q->depth)
        forget_anew(&r, false);
    q->count -= *ret_n;
    if (*ret_n)
        *ret_gone = gather(q);
    return true;
}
