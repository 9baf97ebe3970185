/* list_value: the value of a list key: a listpack alone while it is small, a quicklist beyond.
 *
 * A handle is made from what hangs on the key, changed by the functions here, and put back by the caller when b or quick differ
 * afterwards. An element is named as in a quicklist (struct ql_at); the listpack is one block there.
 * Functions that add return false when there is no memory; the list has the same elements then, but may have become a quicklist. */
#pragma once

#include "engine/ds/quicklist.h"

/* A listpack up to here: the price of a push at its head stays that of a few lines, that of a quicklist a tenth of the bytes. */
#define LIST_FLAT_BYTES       1024
/* A quicklist that shrank to this becomes one again. */
#define LIST_FLAT_AGAIN_BYTES 256

struct list_value {
    struct mem *mem;
    struct mem_block b; /* the listpack; quick: p is the quicklist */
    bool quick;
    struct ql_limits limits;
};

static inline struct quicklist *lv_ql(const struct list_value *l)
{
    return (struct quicklist *)(void *)l->b.p;
}
static inline uint64_t lv_count(const struct list_value *l)
{
    return likely_(l->quick) ? lv_ql(l)->count : lp_count(&l->b);
}

/* An empty one that is to get n elements. False: no memory. */
bool lv_init(struct list_value *l, struct mem *mem, const struct ql_limits *limits,
             const struct span *elements, size_t n);
/* All of it, now. */
void lv_free(struct list_value *l);

bool lv_push(struct list_value *l, bool tail, struct span text);
/* Before n elements from index `start` on are removed, but by value. False: no memory; the list is what it was. */
static inline bool lv_ready(const struct list_value *l, uint64_t start, uint64_t n)
{
    return !l->quick || ql_ready(lv_ql(l), start, n);
}
static inline bool lv_ready_to_pop(const struct list_value *l, bool tail, uint64_t n)
{
    return lv_ready(l, tail ? lv_count(l) - n : 0, n);
}
/* After changes of which none is to be taken back. */
static inline void lv_shape(const struct list_value *l)
{
    if (l->quick)
        ql_shape(lv_ql(l));
}
/* Removes n elements from an end; there are as many. */
void lv_pop(struct list_value *l, bool tail, uint64_t n);
bool lv_insert(struct list_value *l, struct ql_at at, bool after, struct span text);
bool lv_replace(struct list_value *l, struct ql_at at, struct span text);
/* Removes n elements from index `start` on; there are as many. */
void lv_delete(struct list_value *l, uint64_t start, uint64_t n);
/* As ql_remove. */
bool lv_remove(struct list_value *l, struct span text, bool from_tail, uint64_t limit,
               uint64_t *ret_n, struct quicklist **ret_gone);
/* After elements were removed, and some are left: the smaller form where it pays. */
void lv_settle(struct list_value *l);

/* For reading; *w stays where it is and is good until the next change. */
void lv_view(const struct list_value *l, struct ql_view *w);
/* The first or the last element of a list that has one. */
struct lp_value lv_end(const struct list_value *l, bool tail);
