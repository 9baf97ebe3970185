/* zset_tree.c: see zset_tree.h. Node sizes are whole size classes of jemalloc: a leaf takes 768 bytes, an inner node 1024.
 *
 *   descend   from the root to the leaf of a bound; the path says which child was taken at each level, lowest level first
 *   insert    a full leaf gives to a neighbour or splits, then the descent is made again: once in twenty inserts or so
 *   remove    a leaf under a third joins a neighbour when both fill seven eighths at most
 *
 * What an insert needs of memory is allocated before anything changes. Thread: the lease holder's. */
#include "engine/ds/zset_tree.h"

#include "engine/base/assert.h"

#define LEAF_LOW   (ZSET_LEAF / 3)
#define LEAF_JOIN  (ZSET_LEAF * 7 / 8)
#define LEAF_ROOM  2 /* free places that make a neighbour worth shifting to */
#define INNER_LOW  (ZSET_INNER / 4)
#define INNER_JOIN (ZSET_INNER * 3 / 4)

_Static_assert(sizeof(struct zset_leaf) <= 768 && sizeof(struct zset_leaf) > 640, "one class");
_Static_assert(sizeof(struct zset_inner) <= 1024 && sizeof(struct zset_inner) > 896, "one class");

/* The inner nodes from the root to a leaf and the child taken in each; [0] is right above the leaf. */
struct path {
    struct zset_inner *node[ZSET_LEVELS];
    uint32_t i[ZSET_LEVELS];
};

/* What an inner node knows of a child. */
struct branch {
    double score;
    struct zset_member *member;
    size_t count;
    void *child;
};

/* Nodes allocated before a split begins. */
struct spare {
    void *leaf, *inner[ZSET_LEVELS];
    uint32_t inners;
};

/* ---- nodes ---- */

static void *node_alloc(struct zset_tree *t, size_t n)
{
    void *p = mem_alloc(t->mem, n);
    if (p) {
        t->bytes += mem_size_class(n);
        t->nodes++;
    }
    return p;
}

static void node_free(struct zset_tree *t, void *p, size_t n)
{
    t->bytes -= mem_size_class(n);
    t->nodes--;
    mem_free(t->mem, p, n);
}

static size_t inner_sum(const struct zset_inner *node)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < node->n; i++)
        sum += node->count[i];
    return sum;
}

static void inner_put(struct zset_inner *node, uint32_t i, struct branch b)
{
    uint32_t tail = node->n - i;
    memmove(node->score + i + 1, node->score + i, tail * sizeof(*node->score));
    memmove(node->member + i + 1, node->member + i, tail * sizeof(*node->member));
    memmove(node->count + i + 1, node->count + i, tail * sizeof(*node->count));
    memmove(node->child + i + 1, node->child + i, tail * sizeof(*node->child));
    node->score[i] = b.score;
    node->member[i] = b.member;
    node->count[i] = b.count;
    node->child[i] = b.child;
    node->n++;
}

static void inner_cut(struct zset_inner *node, uint32_t i)
{
    uint32_t tail = --node->n - i;
    memmove(node->score + i, node->score + i + 1, tail * sizeof(*node->score));
    memmove(node->member + i, node->member + i + 1, tail * sizeof(*node->member));
    memmove(node->count + i, node->count + i + 1, tail * sizeof(*node->count));
    memmove(node->child + i, node->child + i + 1, tail * sizeof(*node->child));
}

/* n branches from `from` on go to the end of `to`. */
static void inner_move(struct zset_inner *to, struct zset_inner *from, uint32_t i, uint32_t n)
{
    memcpy(to->score + to->n, from->score + i, n * sizeof(*to->score));
    memcpy(to->member + to->n, from->member + i, n * sizeof(*to->member));
    memcpy(to->count + to->n, from->count + i, n * sizeof(*to->count));
    memcpy(to->child + to->n, from->child + i, n * sizeof(*to->child));
    to->n += n;
}

static struct branch inner_branch(struct zset_inner *node)
{
    return (struct branch){node->score[0], node->member[0], inner_sum(node), node};
}

static struct branch leaf_branch(struct zset_leaf *leaf)
{
    return (struct branch){leaf->score[0], leaf->member[0], leaf->n, leaf};
}

/* Moves the members from i on by `by` places up. */
static void leaf_open(struct zset_leaf *leaf, uint32_t i, uint32_t by)
{
    memmove(leaf->score + i + by, leaf->score + i, (leaf->n - i) * sizeof(*leaf->score));
    memmove(leaf->member + i + by, leaf->member + i, (leaf->n - i) * sizeof(*leaf->member));
    leaf->n += by;
}

static void leaf_close(struct zset_leaf *leaf, uint32_t i, uint32_t by)
{
    leaf->n -= by;
    memmove(leaf->score + i, leaf->score + i + by, (leaf->n - i) * sizeof(*leaf->score));
    memmove(leaf->member + i, leaf->member + i + by, (leaf->n - i) * sizeof(*leaf->member));
}

static void leaf_copy(struct zset_leaf *to, uint32_t at, const struct zset_leaf *from, uint32_t i,
                      uint32_t n)
{
    memcpy(to->score + at, from->score + i, n * sizeof(*to->score));
    memcpy(to->member + at, from->member + i, n * sizeof(*to->member));
}

static void leaf_unlink(struct zset_leaf *leaf)
{
    if (leaf->prev)
        leaf->prev->next = leaf->next;
    if (leaf->next)
        leaf->next->prev = leaf->prev;
}

/* ---- search ---- */

/* How many of v[0..n), ascending, are below s; with `equal` also those that equal it. */
static inline uint32_t scores_below(const double *v, uint32_t n, double s, bool equal)
{
    const double *base = v;
    while (n > 1) {
        uint32_t half = n / 2;
        bool below = equal ? base[half - 1] <= s : base[half - 1] < s;
        base += below ? half : 0;
        n -= half;
    }
    return (uint32_t)(base - v) + (n && (equal ? *base <= s : *base < s));
}

/* How many members of m[lo..hi), ascending by their bytes, are below the text (or equal it). */
static uint32_t members_below(struct zset_member *const *m, uint32_t lo, uint32_t hi,
                              struct span text, bool equal)
{
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        int c = span_cmp(zset_member_text(m[mid]), text);
        if (c < 0 || (equal && c == 0))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* How many of n sorted places lie below the bound; `first`: they are the first ones below inner branches, and the pair itself counts, so
 * that the way leads to the leaf that has it. */
static inline uint32_t places_below(const double *score, struct zset_member *const *m, uint32_t n,
                                    const struct zset_bound *b, bool first)
{
    uint32_t lo, hi;
    switch (b->side) {
    case ZSET_BEFORE_SCORE: return scores_below(score, n, b->score, false);
    case ZSET_BEHIND_SCORE: return scores_below(score, n, b->score, true);
    case ZSET_BEFORE_PAIR:
        lo = scores_below(score, n, b->score, false);
        if (lo == n || score[lo] != b->score)
            return lo;
        hi = lo + scores_below(score + lo, n - lo, b->score, true);
        return members_below(m, lo, hi, b->member, first);
    case ZSET_BEFORE_MEMBER: return members_below(m, 0, n, b->member, false);
    case ZSET_BEHIND_MEMBER: return members_below(m, 0, n, b->member, true);
    }
    return 0;
}

/* The leaf in which the bound lies, how many of its members are below, and the way there. */
static struct zset_leaf *descend(const struct zset_tree *t, const struct zset_bound *b,
                                 struct path *path, uint32_t *ret_i)
{
    void *at = t->root;
    path->node[0] = NULL;
    path->i[0] = 0;
    for (uint32_t level = t->height; level-- > 0;) {
        struct zset_inner *node = at;
        /* The first child takes what is before it as well. */
        uint32_t i = places_below(node->score + 1, node->member + 1, node->n - 1, b, true);
        path->node[level] = node;
        path->i[level] = i;
        at = node->child[i];
    }
    struct zset_leaf *leaf = at;
    *ret_i = places_below(leaf->score, leaf->member, leaf->n, b, false);
    return leaf;
}

static struct zset_leaf *descend_pair(const struct zset_tree *t, double score,
                                      const struct zset_member *m, struct path *path,
                                      uint32_t *ret_i)
{
    struct zset_bound b = {ZSET_BEFORE_PAIR, score, zset_member_text(m)};
    return descend(t, &b, path, ret_i);
}

size_t zset_tree_below(const struct zset_tree *t, const struct zset_bound *b)
{
    size_t rank = 0;
    void *at = t->root;
    if (!at)
        return 0;
    for (uint32_t level = t->height; level > 0; level--) {
        const struct zset_inner *node = at;
        uint32_t i = places_below(node->score + 1, node->member + 1, node->n - 1, b, true);
        at = node->child[i];
        __builtin_prefetch(at);
        for (uint32_t k = 0; k < i; k++)
            rank += node->count[k];
    }
    const struct zset_leaf *leaf = at;
    return rank + places_below(leaf->score, leaf->member, leaf->n, b, false);
}

/* The leaf of a rank that exists. */
static struct zset_leaf *descend_rank(const struct zset_tree *t, size_t rank, struct path *path,
                                      uint32_t *ret_i)
{
    void *at = t->root;
    for (uint32_t level = t->height; level-- > 0;) {
        struct zset_inner *node = at;
        uint32_t i = 0;
        while (rank >= node->count[i])
            rank -= node->count[i++];
        path->node[level] = node;
        path->i[level] = i;
        at = node->child[i];
    }
    *ret_i = (uint32_t)rank;
    return at;
}

struct zset_at zset_tree_seek(const struct zset_tree *t, size_t rank)
{
    struct path path;
    struct zset_at at = {0};
    at.leaf = descend_rank(t, rank, &path, &at.i);
    return at;
}

/* ---- what changes on the way up ---- */

static inline void path_add(const struct zset_tree *t, const struct path *path, size_t n)
{
    for (uint32_t level = 0; level < t->height; level++)
        path->node[level]->count[path->i[level]] += n; /* n may be a negative number, wrapped */
}

/* The first member below path->node[level], at path->i[level], is another one. */
static void path_first(const struct zset_tree *t, const struct path *path, uint32_t level,
                       double score, struct zset_member *m)
{
    for (; level < t->height; level++) {
        struct zset_inner *node = path->node[level];
        node->score[path->i[level]] = score;
        node->member[path->i[level]] = m;
        if (path->i[level] > 0)
            return;
    }
}

/* ---- insert ---- */

static void spare_free(struct zset_tree *t, struct spare *s)
{
    if (s->leaf)
        node_free(t, s->leaf, sizeof(struct zset_leaf));
    while (s->inners)
        node_free(t, s->inner[--s->inners], sizeof(struct zset_inner));
}

/* Nodes for a split of the leaf and of all full nodes right above it. */
static bool spare_alloc(struct zset_tree *t, const struct path *path, struct spare *s)
{
    uint32_t level = 0;
    *s = (struct spare){0};
    while (level < t->height && path->node[level]->n == ZSET_INNER)
        level++;
    uint32_t inners = level + (level == t->height);
    ASSERT(t->height + 1 < ZSET_LEVELS);
    s->leaf = node_alloc(t, sizeof(struct zset_leaf));
    while (s->leaf && s->inners < inners) {
        s->inner[s->inners] = node_alloc(t, sizeof(struct zset_inner));
        if (!s->inner[s->inners])
            break;
        s->inners++;
    }
    if (s->leaf && s->inners == inners)
        return true;
    spare_free(t, s);
    return false;
}

/* Puts a branch, split off from its left neighbour, into the node of this level at i; splits upwards. */
static void inner_add(struct zset_tree *t, struct path *path, struct spare *s, struct branch left,
                      struct branch b, uint32_t level)
{
    if (level == t->height) { /* the root was split */
        struct zset_inner *root = s->inner[--s->inners];
        root->n = 0;
        inner_put(root, 0, left);
        inner_put(root, 1, b);
        t->root = root;
        t->height++;
        return;
    }
    struct zset_inner *node = path->node[level];
    uint32_t i = path->i[level] + 1;
    node->count[i - 1] = left.count;
    if (node->n < ZSET_INNER) {
        inner_put(node, i, b);
        return;
    }
    struct zset_inner *right = s->inner[--s->inners];
    uint32_t keep = i == ZSET_INNER ? ZSET_INNER - 1 : ZSET_INNER / 2;
    right->n = 0;
    inner_move(right, node, keep, ZSET_INNER - keep);
    node->n = keep;
    if (i > keep)
        inner_put(right, i - keep, b);
    else
        inner_put(node, i, b);
    inner_add(t, path, s, inner_branch(node), inner_branch(right), level + 1);
}

/* Half of what makes the leaf fuller than a neighbour of the same node goes there. False: there is no room. */
static bool leaf_shift(const struct zset_tree *t, struct path *path, struct zset_leaf *leaf)
{
    if (!t->height)
        return false;
    struct zset_inner *node = path->node[0];
    uint32_t i = path->i[0], n;
    if (i > 0 && leaf->prev->n + LEAF_ROOM <= ZSET_LEAF) {
        struct zset_leaf *to = leaf->prev;
        n = (leaf->n - to->n + 1) / 2;
        leaf_copy(to, to->n, leaf, 0, n);
        to->n += n;
        leaf_close(leaf, 0, n);
        node->count[i - 1] += n;
    } else if (i + 1 < node->n && leaf->next->n + LEAF_ROOM <= ZSET_LEAF) {
        struct zset_leaf *to = leaf->next;
        n = (leaf->n - to->n + 1) / 2;
        leaf_open(to, 0, n);
        leaf_copy(to, 0, leaf, leaf->n - n, n);
        leaf->n -= n;
        node->count[++i] += n;
        leaf = to;
    } else {
        return false;
    }
    /* Of the two the right one begins with another member and is not the node's first. */
    node->count[path->i[0]] -= n;
    node->score[i] = leaf->score[0];
    node->member[i] = leaf->member[0];
    return true;
}

/* Splits a full leaf; at either end of the order only the last member moves, so that what comes in order fills its leaves. */
static bool leaf_split(struct zset_tree *t, struct path *path, struct zset_leaf *leaf, uint32_t at)
{
    struct spare s;
    if (!spare_alloc(t, path, &s))
        return false;
    struct zset_leaf *right = s.leaf;
    uint32_t keep = ZSET_LEAF / 2;
    if (at == ZSET_LEAF && !leaf->next)
        keep = ZSET_LEAF - 1;
    else if (at == 0 && !leaf->prev)
        keep = 1;
    right->n = ZSET_LEAF - keep;
    leaf_copy(right, 0, leaf, keep, right->n);
    leaf->n = keep;
    right->prev = leaf;
    right->next = leaf->next;
    if (right->next)
        right->next->prev = right;
    leaf->next = right;
    inner_add(t, path, &s, leaf_branch(leaf), leaf_branch(right), 0);
    ASSERT(s.inners == 0);
    return true;
}

static void leaf_add(struct zset_tree *t, const struct path *path, struct zset_leaf *leaf,
                     uint32_t i, double score, struct zset_member *m)
{
    leaf_open(leaf, i, 1);
    leaf->score[i] = score;
    leaf->member[i] = m;
    path_add(t, path, 1);
    if (i == 0)
        path_first(t, path, 0, score, m);
}

bool zset_tree_insert(struct zset_tree *t, double score, struct zset_member *m)
{
    struct path path;
    if (unlikely_(!t->root)) {
        struct zset_leaf *leaf = node_alloc(t, sizeof(*leaf));
        if (!leaf)
            return false;
        leaf->n = 0;
        leaf->prev = leaf->next = NULL;
        t->root = leaf;
        leaf_add(t, &path, leaf, 0, score, m);
        return true;
    }
    uint32_t i;
    struct zset_leaf *leaf = descend_pair(t, score, m, &path, &i);
    if (unlikely_(leaf->n == ZSET_LEAF)) {
        if (!leaf_shift(t, &path, leaf) && !leaf_split(t, &path, leaf, i))
            return false;
        leaf = descend_pair(t, score, m, &path, &i);
    }
    ASSERT(leaf->n < ZSET_LEAF);
    leaf_add(t, &path, leaf, i, score, m);
    return true;
}

/* ---- remove ---- */

static void inner_settle(struct zset_tree *t, struct path *path, uint32_t level);

/* Takes the child at path->i[level] of path->node[level] out; it holds nothing any more, or another has it. */
static void inner_drop(struct zset_tree *t, struct path *path, uint32_t level)
{
    struct zset_inner *node = path->node[level];
    uint32_t i = path->i[level];
    inner_cut(node, i);
    if (i == 0 && node->n)
        path_first(t, path, level + 1, node->score[0], node->member[0]);
    inner_settle(t, path, level);
}

/* The inner node of this level has lost a child: perhaps it is empty, joins a neighbour, or is a root of one child. */
static void inner_settle(struct zset_tree *t, struct path *path, uint32_t level)
{
    struct zset_inner *node = path->node[level];
    if (level + 1 == t->height) {
        while (t->height && ((struct zset_inner *)t->root)->n == 1) {
            struct zset_inner *root = t->root;
            t->root = root->child[0];
            t->height--;
            node_free(t, root, sizeof(*root));
        }
        return;
    }
    struct zset_inner *above = path->node[level + 1];
    uint32_t i = path->i[level + 1];
    if (node->n == 0) {
        node_free(t, node, sizeof(*node));
        inner_drop(t, path, level + 1);
        return;
    }
    if (node->n >= INNER_LOW)
        return;
    uint32_t left = i;
    if (i > 0 && ((struct zset_inner *)above->child[i - 1])->n + node->n <= INNER_JOIN)
        left = i - 1;
    else if (i + 1 == above->n ||
             ((struct zset_inner *)above->child[i + 1])->n + node->n > INNER_JOIN)
        return;
    struct zset_inner *to = above->child[left], *from = above->child[left + 1];
    inner_move(to, from, 0, from->n);
    above->count[left] += above->count[left + 1];
    node_free(t, from, sizeof(*from));
    path->i[level + 1] = left + 1;
    inner_drop(t, path, level + 1);
}

/* The leaf has lost members. */
static void leaf_settle(struct zset_tree *t, struct path *path, struct zset_leaf *leaf)
{
    if (leaf->n == 0) {
        leaf_unlink(leaf);
        node_free(t, leaf, sizeof(*leaf));
        if (t->height)
            inner_drop(t, path, 0);
        else
            t->root = NULL;
        return;
    }
    if (leaf->n >= LEAF_LOW || !t->height)
        return;
    struct zset_inner *above = path->node[0];
    uint32_t i = path->i[0];
    struct zset_leaf *to, *from;
    if (i > 0 && leaf->prev->n + leaf->n <= LEAF_JOIN) {
        to = leaf->prev;
        from = leaf;
    } else if (i + 1 < above->n && leaf->next->n + leaf->n <= LEAF_JOIN) {
        to = leaf;
        from = leaf->next;
        path->i[0] = ++i;
    } else {
        return;
    }
    leaf_copy(to, to->n, from, 0, from->n);
    to->n += from->n;
    above->count[i - 1] += from->n;
    leaf_unlink(from);
    node_free(t, from, sizeof(*from));
    inner_drop(t, path, 0);
}

/* Members i .. i + n of the leaf leave it. */
static void leaf_remove(struct zset_tree *t, struct path *path, struct zset_leaf *leaf, uint32_t i,
                        uint32_t n)
{
    leaf_close(leaf, i, n);
    path_add(t, path, (size_t)0 - n);
    if (i == 0 && leaf->n)
        path_first(t, path, 0, leaf->score[0], leaf->member[0]);
    leaf_settle(t, path, leaf);
}

void zset_tree_remove(struct zset_tree *t, double score, struct zset_member *m)
{
    struct path path;
    uint32_t i;
    struct zset_leaf *leaf = descend_pair(t, score, m, &path, &i);
    ASSERT(i < leaf->n && leaf->member[i] == m);
    leaf_remove(t, &path, leaf, i, 1);
}

uint32_t zset_tree_cut(struct zset_tree *t, size_t rank, uint32_t most, struct zset_member **out)
{
    struct path path;
    uint32_t i;
    struct zset_leaf *leaf = descend_rank(t, rank, &path, &i);
    uint32_t n = leaf->n - i < most ? leaf->n - i : most;
    memcpy(out, leaf->member + i, n * sizeof(*out));
    leaf_remove(t, &path, leaf, i, n);
    return n;
}

/* Gives the member at `from` another score where it stays in its leaf. False: it does not, nothing was done. */
static bool leaf_reorder(const struct zset_tree *t, const struct path *path, struct zset_leaf *leaf,
                         uint32_t from, double score)
{
    struct zset_member *m = leaf->member[from];
    struct zset_bound b = {ZSET_BEFORE_PAIR, score, zset_member_text(m)};
    uint32_t to = places_below(leaf->score, leaf->member, leaf->n, &b, false);
    /* Before the first or behind the last one it may belong to a neighbour. */
    if ((to == 0 && leaf->prev) || (to == leaf->n && leaf->next))
        return false;
    if (to > from) {
        to--;
        memmove(leaf->score + from, leaf->score + from + 1, (to - from) * sizeof(*leaf->score));
        memmove(leaf->member + from, leaf->member + from + 1, (to - from) * sizeof(*leaf->member));
    } else {
        memmove(leaf->score + to + 1, leaf->score + to, (from - to) * sizeof(*leaf->score));
        memmove(leaf->member + to + 1, leaf->member + to, (from - to) * sizeof(*leaf->member));
    }
    leaf->score[to] = score;
    leaf->member[to] = m;
    if (from == 0 || to == 0)
        path_first(t, path, 0, leaf->score[0], leaf->member[0]);
    return true;
}

bool zset_tree_move(struct zset_tree *t, double old_score, double score, struct zset_member *m)
{
    struct path path, to_path;
    uint32_t i, to_i;
    struct zset_leaf *leaf = descend_pair(t, old_score, m, &path, &i);
    ASSERT(i < leaf->n && leaf->member[i] == m);
    if (leaf_reorder(t, &path, leaf, i, score))
        return true;
    struct zset_leaf *to = descend_pair(t, score, m, &to_path, &to_i);
    if (likely_(to->n < ZSET_LEAF)) {
        /* No node comes or goes with this, so the first path still leads there; in the same leaf the new place is at the end. */
        ASSERT(to != leaf || to_i == leaf->n);
        leaf_add(t, &to_path, to, to_i, score, m);
        leaf_remove(t, &path, leaf, i, 1);
        return true;
    }
    /* The new place first: only that may fail. */
    if (!zset_tree_insert(t, score, m))
        return false;
    zset_tree_remove(t, old_score, m);
    return true;
}

/* ---- a whole tree at once ---- */

/* Frees nodes of one level with all below. */
static void free_row(struct zset_tree *t, const struct branch *row, size_t n, uint32_t level)
{
    for (size_t i = 0; i < n; i++) {
        struct zset_inner *node = row[i].child;
        for (uint32_t k = 0; level && k < node->n; k++)
            free_row(t, &(struct branch){.child = node->child[k]}, 1, level - 1);
        node_free(t, node, level ? sizeof(struct zset_inner) : sizeof(struct zset_leaf));
    }
}

/* How many of `n` the i-th of `parts` equal parts takes. */
static uint32_t part_of(size_t n, size_t parts, size_t i)
{
    return (uint32_t)(n / parts + (i < n % parts));
}

/* Leaves for n members, in `row`. Returns how many; fewer than `leaves`: no memory. */
static size_t build_leaves(struct zset_tree *t, struct zset_member *const *sorted, size_t n,
                           struct branch *row, size_t leaves)
{
    struct zset_leaf *before = NULL;
    for (size_t i = 0; i < leaves; i++) {
        struct zset_leaf *leaf = node_alloc(t, sizeof(*leaf));
        if (!leaf)
            return i;
        leaf->n = part_of(n, leaves, i);
        leaf->prev = before;
        leaf->next = NULL;
        for (uint32_t k = 0; k < leaf->n; k++) {
            leaf->score[k] = sorted[k]->score;
            leaf->member[k] = sorted[k];
        }
        sorted += leaf->n;
        if (before)
            before->next = leaf;
        before = leaf;
        row[i] = leaf_branch(leaf);
    }
    return leaves;
}

/* Nodes above n nodes of a level, in the same row. False: no memory, all is freed. */
static bool build_inners(struct zset_tree *t, struct branch *row, size_t n, uint32_t level,
                         size_t inners)
{
    size_t from = 0;
    for (size_t i = 0; i < inners; i++) {
        struct zset_inner *node = node_alloc(t, sizeof(*node));
        if (!node) {
            free_row(t, row, i, level + 1);
            free_row(t, row + from, n - from, level);
            return false;
        }
        node->n = 0;
        for (uint32_t k = part_of(n, inners, i); k; k--)
            inner_put(node, node->n, row[from++]);
        row[i] = inner_branch(node);
    }
    return true;
}

bool zset_tree_build(struct zset_tree *t, struct zset_member *const *sorted, size_t n)
{
    size_t leaves = (n + ZSET_LEAF - 1) / ZSET_LEAF, nodes = leaves;
    ASSERT(!t->root && !t->height);
    struct branch *row = n ? mem_alloc(t->mem, leaves * sizeof(*row)) : NULL;
    if (!row)
        return n == 0;
    uint32_t level = 0;
    size_t made = build_leaves(t, sorted, n, row, leaves);
    bool good = made == leaves;
    if (!good)
        free_row(t, row, made, 0);
    for (; good && nodes > 1; level++) {
        size_t inners = (nodes + ZSET_INNER - 1) / ZSET_INNER;
        good = build_inners(t, row, nodes, level, inners);
        nodes = inners;
    }
    if (good) {
        t->root = row[0].child;
        t->height = level;
    }
    mem_free(t->mem, row, leaves * sizeof(*row));
    return good;
}

/* ---- the end ---- */

bool zset_tree_free_leaf(struct zset_tree *t, struct zset_member *out[ZSET_LEAF], uint32_t *ret_n)
{
    if (!t->root)
        return false;
    struct path path;
    uint32_t i;
    struct zset_leaf *leaf = descend_rank(t, 0, &path, &i);
    memcpy(out, leaf->member, leaf->n * sizeof(*out));
    *ret_n = leaf->n;
    leaf_remove(t, &path, leaf, 0, leaf->n);
    return true;
}

/* ---- check ---- */

static int pair_cmp(double a, const struct zset_member *am, double b, const struct zset_member *bm)
{
    return a < b ? -1 : a > b ? 1 : span_cmp(zset_member_text(am), zset_member_text(bm));
}

struct check {
    const struct zset_leaf *last;
    double score;
    const struct zset_member *member;
    size_t nodes;
};

static size_t check_node(struct check *c, const void *at, uint32_t level, struct branch *ret)
{
    c->nodes++;
    if (level == 0) {
        const struct zset_leaf *leaf = at;
        if (leaf->n == 0 || leaf->n > ZSET_LEAF || leaf->prev != c->last ||
            (c->last && c->last->next != leaf))
            return SIZE_MAX;
        for (uint32_t i = 0; i < leaf->n; i++) {
            if (leaf->member[i]->score != leaf->score[i] ||
                (c->member && pair_cmp(c->score, c->member, leaf->score[i], leaf->member[i]) >= 0))
                return SIZE_MAX;
            c->score = leaf->score[i];
            c->member = leaf->member[i];
        }
        c->last = leaf;
        *ret = (struct branch){leaf->score[0], leaf->member[0], leaf->n, NULL};
        return leaf->n;
    }
    const struct zset_inner *node = at;
    size_t sum = 0;
    if (node->n == 0 || node->n > ZSET_INNER)
        return SIZE_MAX;
    for (uint32_t i = 0; i < node->n; i++) {
        struct branch b;
        size_t n = check_node(c, node->child[i], level - 1, &b);
        if (n == SIZE_MAX || n != node->count[i] || b.member != node->member[i] ||
            b.score != node->score[i])
            return SIZE_MAX;
        sum += n;
        if (i == 0)
            *ret = b;
    }
    return sum;
}

size_t zset_tree_check(const struct zset_tree *t)
{
    struct check c = {0};
    struct branch first;
    if (!t->root)
        return t->height == 0 && t->nodes == 0 && t->bytes == 0 ? 0 : SIZE_MAX;
    if (t->height && ((const struct zset_inner *)t->root)->n < 2)
        return SIZE_MAX;
    size_t n = check_node(&c, t->root, t->height, &first);
    return n == SIZE_MAX || c.nodes != t->nodes || c.last->next ? SIZE_MAX : n;
}
