/* zset_tree: the order of a sorted set: a B+tree of (score, member) with counts. Private to zset.c and its tests; the picture is in
 * zset.h. It points at members and owns none. A member is found by its score, and among equal scores by its bytes. */
#pragma once

#include "engine/ds/zset.h"

#define ZSET_INNER  31
#define ZSET_LEVELS 16

struct zset_inner {
    uint32_t n;
    double score[ZSET_INNER]; /* of the first member below each child, which is member[] */
    struct zset_member *member[ZSET_INNER];
    size_t count[ZSET_INNER]; /* members below each child */
    void *child[ZSET_INNER];
};

struct zset_tree {
    struct mem *mem;
    void *root;      /* a leaf when height is 0; NULL: empty */
    uint32_t height; /* levels of inner nodes */
    size_t bytes;    /* size classes of all nodes */
    size_t nodes;
};

/* False: no memory, nothing changed. The pair must not be there. */
bool zset_tree_insert(struct zset_tree *t, double score, struct zset_member *m);
/* Makes the whole tree, which is empty, of n members in ascending order. False: no memory, it is empty. */
bool zset_tree_build(struct zset_tree *t, struct zset_member *const *sorted, size_t n);
void zset_tree_remove(struct zset_tree *t, double score, struct zset_member *m);
/* Takes out the first members from this rank on that share a leaf, at most `most`, into `out`; returns how many. */
uint32_t zset_tree_cut(struct zset_tree *t, size_t rank, uint32_t most, struct zset_member **out);
/* Moves m from its old score to another one. False: no memory, nothing changed. */
bool zset_tree_move(struct zset_tree *t, double old_score, double score, struct zset_member *m);
size_t zset_tree_below(const struct zset_tree *t, const struct zset_bound *b);
struct zset_at zset_tree_seek(const struct zset_tree *t, size_t rank);
/* Frees the first leaf with what leads to it alone; its members come out. False: the tree is empty. The order is not kept usable. */
bool zset_tree_free_leaf(struct zset_tree *t, struct zset_member *out[ZSET_LEAF], uint32_t *ret_n);
/* Members below, or SIZE_MAX when a rule is broken. */
size_t zset_tree_check(const struct zset_tree *t);
