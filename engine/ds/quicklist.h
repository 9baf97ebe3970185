/* quicklist: a long list, as a row of blocks of many elements.
 *
 *   struct quicklist -> records, one each block: [ free | b0 b1 b2 ... | free ]     both ends of a block's record table, and of a block,
 *                                                                                  have room, so that pushing and popping move nothing
 *   a packed block   [ free | element element ... 0xff | free ]   elements as in a listpack, without the six bytes of its header
 *   a plain block    [ one element's bytes ]                      too large to be packed with others
 *   a compressed one [ LZF of a listpack, or of the bytes ]       as RDB carries it; not within `depth` blocks of an end
 *
 * A block takes what list-max-listpack-size says: bytes of a listpack (4 to 64 KB), or a number of elements within 8 KB. Counts
 * are in the records, one behind the other: seeking looks at 24 bytes for each block and touches only one block.
 * Functions that add return false when there is no memory and have changed nothing then; those that remove cannot fail, of a list with
 * a depth once ql_ready has agreed. Compressed blocks are read through a window of the thread (quicklist_lzf.c): an element there is
 * good until another compressed block is read.
 * Thread: the lease holder's. Small lists are a listpack alone: list_value.h. */
#pragma once

#include "engine/ds/listpack_inline.h"

struct ql_block {
    uint8_t *p;
    uint32_t start,
        len; /* packed: len counts the 0xff; compressed: len is what it was, start the bytes of LZF */
    uint32_t cap;
    uint32_t count : 29, plain : 1, lzf : 1;
    uint32_t tried : 1; /* compressing it gains nothing */
};
_Static_assert(sizeof(struct ql_block) == 24, "a record");

struct quicklist {
    struct mem *mem;
    struct ql_block *table;
    uint32_t first, n, room; /* of the table: the n records from `first` on are in use */
    uint32_t block_bytes, block_elements;
    int32_t fill;        /* they follow from it */
    uint32_t depth : 31; /* blocks at each end that are not compressed; 0: none is */
    uint32_t moved : 1;  /* blocks came or went since ql_shape */
    uint64_t count;
    size_t bytes; /* size classes of all that it owns */
};

/* What reading needs: the records of a quicklist, or one made for a listpack. */
struct ql_view {
    const struct ql_block *v;
    uint32_t n;
    uint64_t count;
    struct ql_block one;
};
/* An element. Good until the next change. */
struct ql_at {
    uint32_t block;
    uint8_t *at;
};

/* list-max-listpack-size and list-compress-depth. */
struct ql_limits {
    int64_t fill;
    uint64_t depth;
};
/* As far as there are such sizes and counts. */
static inline int64_t ql_fill(int64_t fill)
{
    return fill < -5 ? -5 : fill > INT16_MAX ? INT16_MAX : fill;
}
static inline struct ql_limits ql_limits_of(const struct quicklist *q)
{
    return (struct ql_limits){q->fill, q->depth};
}
/* NULL: no memory. */
struct quicklist *ql_create(struct mem *mem, const struct ql_limits *limits);
/* Frees about `budget` blocks; true when nothing is left, not even q. */
bool ql_free_slice(struct quicklist *q, size_t budget, size_t *freed);
struct quicklist *ql_copy(struct mem *mem, const struct quicklist *q);

bool ql_push(struct quicklist *q, bool tail, struct span text);
/* Takes over a listpack that is not empty, or a block whose len bytes are one element, as the last block. */
bool ql_push_listpack(struct quicklist *q, const struct mem_block *lp);
bool ql_push_plain(struct quicklist *q, const struct mem_block *b);
/* Compresses blocks that are no longer within the depth of an end, and opens those that are: after changes, when none is to be taken back. */
void ql_shape_now(struct quicklist *q);
static inline void ql_shape(struct quicklist *q)
{
    if (unlikely_(q->depth != 0) && q->moved)
        ql_shape_now(q);
}
/* Before n elements from index `start` on are removed: what will be left of their blocks must not be compressed. False: no memory. */
bool ql_ready_now(struct quicklist *q, uint64_t start, uint64_t n);
static inline bool ql_ready(struct quicklist *q, uint64_t start, uint64_t n)
{
    return likely_(q->depth == 0) || ql_ready_now(q, start, n);
}
/* Removes n elements from an end; there are as many. */
void ql_pop(struct quicklist *q, bool tail, size_t n);
/* Before or after an element. */
bool ql_insert(struct quicklist *q, struct ql_at at, bool after, struct span text);
bool ql_replace(struct quicklist *q, struct ql_at at, struct span text);
/* Removes n elements from index `start` on; there are as many. What is left of the blocks at its borders stays open: they are the ends, or
 * nearly, of every list that commands leave. */
void ql_delete(struct quicklist *q, uint64_t start, uint64_t n);
/* Moves the blocks that hold nothing but elements of [start, start + n) to a list of their own, which the caller frees in slices;
 * *start and *n are what is left to ql_delete. NULL: nothing was moved. */
struct quicklist *ql_cut(struct quicklist *q, uint64_t *start, uint64_t *n);
/* Removes the elements that equal the text, `limit` of them at most, from the head or the tail on: *ret_n of them. The blocks that became
 * empty may be left to the caller, who frees *ret_gone (or NULL) in slices. False: no memory for what is to be compressed anew. */
bool ql_remove(struct quicklist *q, struct span text, bool from_tail, uint64_t limit,
               uint64_t *ret_n, struct quicklist **ret_gone);
/* All elements, when they fit a listpack of max_bytes. False: they do not, or no memory. */
bool ql_to_listpack(const struct quicklist *q, size_t max_bytes, struct mem_block *ret);

/* ---- reading ---- */

static inline struct ql_view ql_view(const struct quicklist *q)
{
    return (struct ql_view){.v = q->table + q->first, .n = q->n, .count = q->count};
}
/* False: there is no such element. index < 0 counts from the end. */
bool ql_seek(const struct ql_view *w, int64_t index, struct ql_at *ret);
/* The block of the element *index, which exists; *index becomes its place there. */
uint32_t ql_block_of(const struct ql_view *w, uint64_t *index);

/* What the thread sees of the compressed block that it reads. */
#define QL_WINDOW_BYTES (128u << 10)
extern _Thread_local uint8_t ql_window[QL_WINDOW_BYTES];
/* The window shows block b from now on. */
void ql_expand(const struct ql_block *b);

/* The first element. Of a compressed block: where it is while the window shows that block. */
static inline uint8_t *ql_block_first(const struct ql_block *b)
{
    return unlikely_(b->lzf) ? ql_window + (b->plain ? 0 : LP_HEADER_BYTES) : b->p + b->start;
}
static inline uint8_t *ql_block_end(const struct ql_block *b)
{
    return ql_block_first(b) + b->len - 1;
}
/* The first element of a block that is to be read from now on. A plain one is expanded when its text is asked for. */
static inline uint8_t *ql_enter(const struct ql_block *b)
{
    if (unlikely_(b->lzf) && !b->plain)
        ql_expand(b);
    return ql_block_first(b);
}
static inline struct span ql_plain_text(const struct ql_block *b)
{
    if (unlikely_(b->lzf))
        ql_expand(b);
    return span_of(ql_block_first(b), b->len);
}
static inline struct lp_value ql_get(const struct ql_view *w, struct ql_at at)
{
    const struct ql_block *b = &w->v[at.block];
    return unlikely_(b->plain) ? (struct lp_value){.text = ql_plain_text(b)} : lp_read(at.at);
}
/* False: that was the last one. */
static inline bool ql_next(const struct ql_view *w, struct ql_at *at)
{
    if (likely_(!w->v[at->block].plain)) {
        at->at = lp_skip(at->at);
        if (likely_(*at->at != LP_END))
            return true;
    }
    if (at->block + 1 >= w->n)
        return false;
    at->at = ql_enter(&w->v[++at->block]);
    return true;
}
/* False: that was the first one. */
static inline bool ql_prev(const struct ql_view *w, struct ql_at *at)
{
    const struct ql_block *b = &w->v[at->block];
    if (unlikely_(b->plain) || at->at == ql_block_first(b)) {
        if (at->block == 0)
            return false;
        b = &w->v[--at->block];
        at->at = ql_enter(b);
        if (b->plain)
            return true;
        at->at = ql_block_end(b);
    }
    at->at = lp_skip_back(at->at);
    return true;
}
static inline bool ql_matches(const struct ql_view *w, struct ql_at at,
                              const struct lp_needle *needle)
{
    const struct ql_block *b = &w->v[at.block];
    if (unlikely_(b->plain))
        return b->len == needle->text.n && span_eq(ql_plain_text(b), needle->text);
    return lp_matches(at.at, needle);
}
