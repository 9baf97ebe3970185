/* quicklist_internal.h: blocks and their table, for quicklist.c (ends, life), quicklist_edit.c (the middle),
 * quicklist_remove.c and quicklist_lzf.c (compressed blocks). */
#pragma once

#include "engine/base/assert.h"
#include "engine/ds/quicklist.h"

#define QL_DEPTH_MAX 65535 /* as in Redis */

static inline struct ql_block *qlb(const struct quicklist *q, uint32_t i)
{
    return q->table + q->first + i;
}
/* A block may get `more` bytes of elements, `n` of them, when it is open. */
static inline bool qlb_fits(const struct quicklist *q, const struct ql_block *b, size_t more,
                            uint32_t n)
{
    return !b->plain && LP_HEADER_BYTES + b->len + more <= q->block_bytes &&
           b->count + n <= q->block_elements;
}
static inline bool qlb_takes(const struct quicklist *q, const struct ql_block *b, size_t more,
                             uint32_t n)
{
    return !b->lzf && qlb_fits(q, b, more, n);
}
/* An element of that size is packed with others. */
static inline bool ql_packs(const struct quicklist *q, size_t bytes)
{
    return LP_EMPTY_BYTES + bytes <= q->block_bytes;
}

/* A hole of `hole` bytes at offset `off` of the elements, over the `gone` that are there; the terminator is kept. NULL: no memory. */
uint8_t *qlb_splice(struct quicklist *q, struct ql_block *b, size_t off, size_t gone, size_t hole);
/* Gives back what a block has beyond its elements. */
void qlb_trim(struct quicklist *q, struct ql_block *b);
/* Opens `n` records before the i-th; the caller fills them. False: no memory. */
bool ql_table_open(struct quicklist *q, uint32_t i, uint32_t n);
/* Closes n records from the i-th on, of which the blocks are gone. */
void ql_table_close(struct quicklist *q, uint32_t i, uint32_t n);
/* A block for one element, and where it will be: at the ends more are expected. False: no memory. */
enum ql_place { QL_HEAD, QL_INSIDE, QL_TAIL };
bool qlb_make(struct quicklist *q, struct ql_block *ret, enum ql_place place, struct span text,
              const struct lp_encoded *e);
void qlb_free(struct quicklist *q, struct ql_block *b);
/* Memory for a block, counted. NULL: none. */
uint8_t *qlb_alloc(struct quicklist *q, size_t n);
/* An empty quicklist with the limits of another. NULL: no memory. */
struct quicklist *ql_alike(struct mem *mem, const struct quicklist *from);

/* ---- compressed blocks ---- */

/* Is the i-th block one of those that are? */
static inline bool ql_inside(const struct quicklist *q, uint32_t i)
{
    return q->depth && i >= q->depth && i + q->depth < q->n;
}
/* Compresses a block where that pays; else it is marked as tried, or there was no memory. */
void qlb_squeeze(struct quicklist *q, struct ql_block *b);
/* Makes a compressed block what it was; others stay. False: no memory. */
bool qlb_open(struct quicklist *q, struct ql_block *b);
/* After a change at the i-th block: what is open around it and should not be is compressed. */
void ql_tidy(struct quicklist *q, uint32_t i);
/* Joins the neighbours a and b, as changes do when one of them is small; b is gone then, but for its record. */
bool qlb_join(struct quicklist *q, struct ql_block *a, struct ql_block *b);
/* The i-th element of a block. */
uint8_t *qlb_seek(const struct ql_block *b, uint64_t i);
