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

struct list {
    struct mem *mem;
    struct mem_block b; /* the listpack; quick: p is the quicklist */
    bool quick;
    int64_t fill; /* list-max-listpack-size */
};

static inline struct quicklist *list_ql(const struct list *l)
{
    return (struct quicklist *)(void *)l->b.p;
}
static inline uint64_t list_count(const struct list *l)
{
    return likely_(l->quick) ? list_ql(l)->count : lp_count(&l->b);
}

/* An empty one that is to get n elements. False: no memory. */
bool list_init(struct list *l, struct mem *mem, int64_t fill, const struct span *elements,
               size_t n);
/* All of it, now. */
void list_free(struct list *l);

bool list_push(struct list *l, bool tail, struct span text);
/* Removes n elements from an end; there are as many. */
void list_pop(struct list *l, bool tail, uint64_t n);
bool list_insert(struct list *l, struct ql_at at, bool after, struct span text);
bool list_replace(struct list *l, struct ql_at at, struct span text);
/* Removes n elements from index `start` on; there are as many. */
void list_delete(struct list *l, uint64_t start, uint64_t n);
uint64_t list_remove(struct list *l, struct span text, bool from_tail, uint64_t limit);
/* After elements were removed, and some are left: the smaller form where it pays. */
void list_settle(struct list *l);

/* For reading; *w stays where it is and is good until the next change. */
void list_view(const struct list *l, struct ql_view *w);
/* The first or the last element of a list that has one. */
struct lp_value list_end(const struct list *l, bool tail);
