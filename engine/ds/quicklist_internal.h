/* quicklist_internal.h: blocks and their table, for quicklist.c (ends, life) and quicklist_edit.c (the middle). */
#pragma once

#include "engine/ds/quicklist.h"

static inline struct ql_block *qlb(const struct quicklist *q, uint32_t i)
{
    return q->table + q->first + i;
}
/* A block may get `more` bytes of elements, `n` of them. */
static inline bool qlb_takes(const struct quicklist *q, const struct ql_block *b, size_t more,
                             uint32_t n)
{
    return !b->plain && LP_HEADER_BYTES + b->len + more <= q->block_bytes &&
           b->count + n <= q->block_elements;
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
/* The i-th element of a block. */
uint8_t *qlb_seek(const struct ql_block *b, uint64_t i);
/* The block of the element *index, which exists; *index becomes its place there. */
uint32_t ql_block_of(const struct ql_view *w, uint64_t *index);
