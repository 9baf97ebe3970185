/* idtree.c: the B+tree of idtree.h.
 *
 * Where in the flow: stream.c (nodes) and stream_group.c (entries that wait). Thread: the lease holder's.
 *
 * An id beside a child is a lower bound of what is in it, not always the id of its first record: removing leaves it as it is. All blocks that
 * a split needs are allocated before anything is changed. */
#include "engine/ds/idtree.h"

#include <string.h>

#include "engine/base/assert.h"

#define LEAF_BYTES 2048
#define INNER_MAX  42 /* 1024 bytes */
#define HEIGHT_MAX \
    16 /* neighbours together hold more than a quarter of two nodes: 10 ^ 16 leaves */

struct id_child {
    struct stream_id id;
    void *p;
};
struct id_inner {
    uint64_t n;
    struct id_child v[INNER_MAX];
};

/* From the root down to the leaf: which child was taken of which node. */
struct path {
    struct id_inner *node[HEIGHT_MAX];
    uint32_t i[HEIGHT_MAX];
    struct id_leaf *leaf;
};

/* ---- memory ---- */

void *mem_count_alloc(struct mem_count *m, size_t n)
{
    void *p = mem_alloc(m->mem, n);
    if (likely_(p != NULL))
        m->bytes += mem_size_class(n);
    return p;
}

void *mem_count_realloc(struct mem_count *m, void *p, size_t old_n, size_t n)
{
    void *q = mem_realloc(m->mem, p, old_n, n);
    if (likely_(q != NULL))
        m->bytes += mem_size_class(n) - (p ? mem_size_class(old_n) : 0);
    return q;
}

void mem_count_free(struct mem_count *m, void *p, size_t n)
{
    m->bytes -= mem_size_class(n);
    mem_free(m->mem, p, n);
}

static uint32_t leaf_max(const struct idtree *t)
{
    return (uint32_t)(LEAF_BYTES - sizeof(struct id_leaf)) / t->width;
}
static size_t leaf_bytes(const struct idtree *t, uint32_t cap)
{
    return sizeof(struct id_leaf) + (size_t)cap * t->width;
}
/* As many as the size class of `want` records has room for. */
static uint32_t leaf_cap(const struct idtree *t, uint32_t want)
{
    size_t room = mem_size_class(leaf_bytes(t, want)) - sizeof(struct id_leaf);
    uint32_t cap = (uint32_t)(room / t->width), max = leaf_max(t);
    return cap < max ? cap : max;
}

static struct id_leaf *leaf_alloc(struct mem_count *m, const struct idtree *t, uint32_t want)
{
    uint32_t cap = leaf_cap(t, want);
    struct id_leaf *leaf = mem_count_alloc(m, leaf_bytes(t, cap));
    if (leaf)
        *leaf = (struct id_leaf){.cap = cap};
    return leaf;
}
static void leaf_free(struct mem_count *m, const struct idtree *t, struct id_leaf *leaf)
{
    mem_count_free(m, leaf, leaf_bytes(t, leaf->cap));
}

static uint8_t *record(const struct idtree *t, const struct id_leaf *leaf, uint32_t i)
{
    return (uint8_t *)(uintptr_t)(leaf->v + (size_t)i * t->width);
}
static struct stream_id record_id(const struct idtree *t, const struct id_leaf *leaf, uint32_t i)
{
    struct stream_id id;
    memcpy(&id, record(t, leaf, i), sizeof(id));
    return id;
}

/* ---- searching ---- */

/* The first record that is not less. */
static uint32_t lower_bound(const struct idtree *t, const struct id_leaf *leaf, struct stream_id id)
{
    uint32_t from = 0, n = leaf->n;
    while (n) {
        uint32_t half = n / 2;
        if (stream_id_less(record_id(t, leaf, from + half), id)) {
            from += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return from;
}

/* The child that an id belongs to. */
static uint32_t child_of(const struct id_inner *in, struct stream_id id)
{
    uint32_t from = 1, n = (uint32_t)in->n - 1;
    while (n) {
        uint32_t half = n / 2;
        if (!stream_id_less(id, in->v[from + half].id)) {
            from += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return from - 1;
}

static struct id_leaf *leaf_of(const struct idtree *t, struct stream_id id)
{
    void *p = t->root;
    for (uint32_t h = t->height; h; h--) {
        struct id_inner *in = p;
        p = in->v[child_of(in, id)].p;
    }
    return p;
}

static void descend(const struct idtree *t, struct stream_id id, struct path *path)
{
    void *p = t->root;
    for (uint32_t d = 0; d < t->height; d++) {
        path->node[d] = p;
        path->i[d] = child_of(p, id);
        p = path->node[d]->v[path->i[d]].p;
    }
    path->leaf = p;
}

void *idtree_find(const struct idtree *t, struct stream_id id)
{
    const struct id_leaf *leaf = leaf_of(t, id);
    if (!leaf)
        return NULL;
    uint32_t i = lower_bound(t, leaf, id);
    return i < leaf->n && stream_id_cmp(record_id(t, leaf, i), id) == 0 ? record(t, leaf, i) : NULL;
}

struct id_at idtree_seek(const struct idtree *t, struct stream_id id)
{
    struct id_leaf *leaf = leaf_of(t, id);
    if (!leaf)
        return (struct id_at){0};
    uint32_t i = lower_bound(t, leaf, id);
    return i < leaf->n ? (struct id_at){leaf, i} : (struct id_at){leaf->next, 0};
}

struct id_at idtree_seek_back(const struct idtree *t, struct stream_id id)
{
    struct id_leaf *leaf = leaf_of(t, id);
    if (!leaf)
        return (struct id_at){0};
    uint32_t i = lower_bound(t, leaf, id);
    if (i < leaf->n && stream_id_cmp(record_id(t, leaf, i), id) == 0)
        return (struct id_at){leaf, i};
    if (i > 0)
        return (struct id_at){leaf, i - 1};
    return idtree_prev((struct id_at){leaf, 0});
}

/* ---- adding ---- */

/* The leaf has moved in memory. */
static void leaf_moved(struct idtree *t, struct path *path, struct id_leaf *leaf)
{
    path->leaf = leaf;
    if (leaf->prev)
        leaf->prev->next = leaf;
    else
        t->first = leaf;
    if (leaf->next)
        leaf->next->prev = leaf;
    else
        t->last = leaf;
    if (t->height)
        path->node[t->height - 1]->v[path->i[t->height - 1]].p = leaf;
    else
        t->root = leaf;
}

static bool leaf_resize(struct mem_count *m, struct idtree *t, struct path *path, uint32_t want)
{
    struct id_leaf *leaf = path->leaf;
    uint32_t cap = leaf_cap(t, want);
    if (cap == leaf->cap)
        return true;
    leaf = mem_count_realloc(m, leaf, leaf_bytes(t, leaf->cap), leaf_bytes(t, cap));
    if (!leaf)
        return false;
    leaf->cap = cap;
    leaf_moved(t, path, leaf);
    return true;
}

static void *leaf_open(const struct idtree *t, struct id_leaf *leaf, uint32_t i,
                       struct stream_id id)
{
    uint8_t *r = record(t, leaf, i);
    memmove(r + t->width, r, (size_t)(leaf->n - i) * t->width);
    memset(r, 0, t->width);
    memcpy(r, &id, sizeof(id));
    leaf->n++;
    return r;
}

static void inner_open(struct id_inner *in, uint32_t i, struct stream_id id, void *p)
{
    memmove(&in->v[i + 1], &in->v[i], (in->n - i) * sizeof(in->v[0]));
    in->v[i] = (struct id_child){id, p};
    in->n++;
}

/* Puts a child behind the one that the path took on level d, and so on upwards while nodes are full: `spare` holds one new node for each of
 * these, and one for a new root. */
static void add_child(struct idtree *t, struct path *path, struct stream_id id, void *p,
                      struct id_inner **spare)
{
    for (uint32_t d = t->height; d-- > 0;) {
        struct id_inner *in = path->node[d], *right;
        uint32_t i = path->i[d] + 1;
        if (in->n < INNER_MAX) {
            inner_open(in, i, id, p);
            return;
        }
        right = *spare++;
        uint32_t keep = i == INNER_MAX ? INNER_MAX : INNER_MAX / 2;
        right->n = INNER_MAX - keep;
        memcpy(right->v, &in->v[keep], right->n * sizeof(in->v[0]));
        in->n = keep;
        if (i > keep || right->n == 0)
            inner_open(right, i - keep, id, p);
        else
            inner_open(in, i, id, p);
        id = right->v[0].id;
        p = right;
    }
    struct id_inner *root = *spare;
    root->n = 2;
    root->v[0] = (struct id_child){STREAM_ID_MIN, t->root};
    root->v[1] = (struct id_child){id, p};
    t->root = root;
    t->height++;
}

/* The leaf is full and cannot grow. */
static void *split(struct mem_count *m, struct idtree *t, struct path *path, uint32_t i,
                   struct stream_id id)
{
    struct id_inner *spare[HEIGHT_MAX + 1];
    uint32_t full = 0, max = leaf_max(t), have = 0;
    struct id_leaf *leaf = path->leaf, *right = leaf_alloc(m, t, max);
    while (full < t->height && path->node[t->height - 1 - full]->n == INNER_MAX)
        full++;
    uint32_t need = full == t->height ? full + 1 : full;
    while (right && have < need && (spare[have] = mem_count_alloc(m, sizeof(struct id_inner))))
        have++;
    if (!right || have < need || t->height + 1 >= HEIGHT_MAX) {
        while (have)
            mem_count_free(m, spare[--have], sizeof(struct id_inner));
        if (right)
            leaf_free(m, t, right);
        return NULL;
    }
    uint32_t keep = i == leaf->n && !leaf->next ? leaf->n : leaf->n / 2;
    right->n = leaf->n - keep;
    memcpy(right->v, record(t, leaf, keep), (size_t)right->n * t->width);
    leaf->n = keep;
    right->prev = leaf;
    right->next = leaf->next;
    if (right->next)
        right->next->prev = right;
    else
        t->last = right;
    leaf->next = right;
    void *r =
        i > keep || right->n == 0 ? leaf_open(t, right, i - keep, id) : leaf_open(t, leaf, i, id);
    add_child(t, path, record_id(t, right, 0), right, spare);
    return r;
}

static void *add(struct mem_count *m, struct idtree *t, struct path *path, uint32_t i,
                 struct stream_id id)
{
    struct id_leaf *leaf = path->leaf;
    uint32_t max = leaf_max(t);
    if (leaf->n == leaf->cap) {
        if (leaf->cap == max) {
            void *r = split(m, t, path, i, id);
            t->count += r != NULL;
            return r;
        }
        uint32_t want = t->height ? max : leaf->cap * 2 < max ? leaf->cap * 2 : max;
        if (!leaf_resize(m, t, path, want))
            return NULL;
        leaf = path->leaf;
    }
    t->count++;
    return leaf_open(t, leaf, i, id);
}

static bool first_leaf(struct mem_count *m, struct idtree *t)
{
    if (likely_(t->root != NULL))
        return true;
    struct id_leaf *leaf = leaf_alloc(m, t, 1);
    t->root = t->first = t->last = leaf;
    return leaf != NULL;
}

void *idtree_insert(struct mem_count *m, struct idtree *t, struct stream_id id, bool *is_new)
{
    struct path path;
    *is_new = false;
    if (!first_leaf(m, t))
        return NULL;
    if (likely_(t->last->n != 0) &&
        likely_(stream_id_less(record_id(t, t->last, t->last->n - 1), id))) {
        *is_new = true;
        return idtree_append(m, t, id);
    }
    descend(t, id, &path);
    uint32_t i = lower_bound(t, path.leaf, id);
    if (i < path.leaf->n && stream_id_cmp(record_id(t, path.leaf, i), id) == 0)
        return record(t, path.leaf, i);
    *is_new = true;
    return add(m, t, &path, i, id);
}

void *idtree_append(struct mem_count *m, struct idtree *t, struct stream_id id)
{
    struct path path;
    if (likely_(t->last != NULL) && likely_(t->last->n < t->last->cap)) {
        t->count++;
        return leaf_open(t, t->last, t->last->n, id);
    }
    if (!first_leaf(m, t))
        return NULL;
    descend(t, id, &path);
    return add(m, t, &path, path.leaf->n, id);
}

/* ---- removing ---- */

/* Behind the leaves that `gone` has. */
static void leaf_hand_over(struct mem_count *m, const struct idtree *t, struct id_leaf *leaf,
                           const struct id_gone *gone)
{
    size_t bytes = mem_size_class(leaf_bytes(t, leaf->cap));
    m->bytes -= bytes;
    gone->m->bytes += bytes;
    leaf->n = 0;
    leaf->prev = gone->t->last;
    leaf->next = NULL;
    if (leaf->prev)
        leaf->prev->next = leaf;
    else
        gone->t->first = leaf;
    gone->t->last = leaf;
}

/* gone NULL: it is freed. */
static void leaf_gone(struct mem_count *m, struct idtree *t, struct id_leaf *leaf,
                      const struct id_gone *gone)
{
    if (leaf->prev)
        leaf->prev->next = leaf->next;
    else
        t->first = leaf->next;
    if (leaf->next)
        leaf->next->prev = leaf->prev;
    else
        t->last = leaf->prev;
    if (gone)
        leaf_hand_over(m, t, leaf, gone);
    else
        leaf_free(m, t, leaf);
}

static void inner_close(struct id_inner *in, uint32_t i)
{
    in->n--;
    memmove(&in->v[i], &in->v[i + 1], (in->n - i) * sizeof(in->v[0]));
}

/* Joins child i + 1 of `in`, inner nodes both, with child i when both have little. */
static bool join_inner(struct mem_count *m, struct id_inner *in, uint32_t i)
{
    if (i + 1 >= in->n)
        return false;
    struct id_inner *a = in->v[i].p, *b = in->v[i + 1].p;
    if (a->n + b->n > INNER_MAX / 2)
        return false;
    memcpy(&a->v[a->n], b->v, b->n * sizeof(b->v[0]));
    a->v[a->n].id = in->v[i + 1].id;
    a->n += b->n;
    mem_count_free(m, b, sizeof(*b));
    inner_close(in, i + 1);
    return true;
}

/* The same for leaves. The left one may have to grow, and that may fail: then both stay. */
static bool join_leaves(struct mem_count *m, struct idtree *t, struct path *path, uint32_t i,
                        const struct id_gone *gone)
{
    uint32_t d = t->height - 1;
    struct id_inner *in = path->node[d];
    if (i + 1 >= in->n)
        return false;
    struct id_leaf *a = in->v[i].p, *b = in->v[i + 1].p;
    uint32_t n = a->n + b->n;
    if (n > leaf_max(t) / 2)
        return false;
    path->i[d] = i;
    path->leaf = a;
    if (a->cap < n && !leaf_resize(m, t, path, n))
        return false;
    a = path->leaf;
    memcpy(record(t, a, a->n), b->v, (size_t)b->n * t->width);
    a->n = n;
    leaf_gone(m, t, b, gone);
    inner_close(in, i + 1);
    return true;
}

/* On level d something was removed from the node of the path. */
static void settle_inner(struct mem_count *m, struct idtree *t, struct path *path)
{
    for (uint32_t d = t->height; d-- > 0;) {
        struct id_inner *in = path->node[d];
        if (d == 0)
            break;
        struct id_inner *up = path->node[d - 1];
        uint32_t i = path->i[d - 1];
        if (in->n == 0) {
            mem_count_free(m, in, sizeof(*in));
            inner_close(up, i);
        } else if (in->n > INNER_MAX / 4 ||
                   (!join_inner(m, up, i) && (i == 0 || !join_inner(m, up, i - 1)))) {
            return;
        }
    }
    while (t->height && ((struct id_inner *)t->root)->n <= 1) {
        struct id_inner *root = t->root;
        t->root = root->n ? root->v[0].p : NULL;
        t->height = root->n ? t->height - 1 : 0;
        mem_count_free(m, root, sizeof(*root));
    }
}

static void settle(struct mem_count *m, struct idtree *t, struct path *path,
                   const struct id_gone *gone)
{
    struct id_leaf *leaf = path->leaf;
    if (t->height == 0) {
        if (leaf->n == 0) {
            leaf_gone(m, t, leaf, gone);
            t->root = NULL;
        } else if (leaf->n * 4 <= leaf->cap) {
            leaf_resize(m, t, path, leaf->n * 2); /* without memory it stays as it is */
        }
        return;
    }
    struct id_inner *in = path->node[t->height - 1];
    uint32_t i = path->i[t->height - 1];
    if (leaf->n == 0) {
        leaf_gone(m, t, leaf, gone);
        inner_close(in, i);
    } else if (leaf->n > leaf_max(t) / 4 || (!join_leaves(m, t, path, i, gone) &&
                                             (i == 0 || !join_leaves(m, t, path, i - 1, gone)))) {
        return;
    }
    settle_inner(m, t, path);
}

bool idtree_remove(struct mem_count *m, struct idtree *t, struct stream_id id)
{
    struct path path;
    if (!t->root)
        return false;
    descend(t, id, &path);
    struct id_leaf *leaf = path.leaf;
    uint32_t i = lower_bound(t, leaf, id);
    if (i == leaf->n || stream_id_cmp(record_id(t, leaf, i), id) != 0)
        return false;
    leaf->n--;
    memmove(record(t, leaf, i), record(t, leaf, i + 1), (size_t)(leaf->n - i) * t->width);
    t->count--;
    if (unlikely_(leaf->n <= leaf_max(t) / 4))
        settle(m, t, &path, NULL);
    return true;
}

/* Takes out of the path's leaf what `ids` has from *at on, up to the leaf's end. */
static void leaf_subtract(const struct idtree *t, struct id_leaf *leaf, const struct idtree *ids,
                          struct id_at *at)
{
    uint32_t i = lower_bound(t, leaf, record_id(ids, at->leaf, at->i)), to = i;
    for (; i < leaf->n; i++) {
        struct stream_id id = record_id(t, leaf, i);
        while (at->leaf && stream_id_less(record_id(ids, at->leaf, at->i), id))
            *at = idtree_next(*at);
        if (at->leaf && stream_id_cmp(record_id(ids, at->leaf, at->i), id) == 0)
            *at = idtree_next(*at);
        else if (to++ != i)
            memcpy(record(t, leaf, to - 1), record(t, leaf, i), t->width);
    }
    leaf->n = to;
}

void idtree_subtract(struct mem_count *m, struct idtree *t, const struct idtree *ids,
                     const struct id_gone *gone)
{
    struct path path;
    for (struct id_at at = idtree_first(ids), was; at.leaf && t->root;) {
        was = at;
        descend(t, record_id(ids, at.leaf, at.i), &path);
        uint32_t before = path.leaf->n;
        leaf_subtract(t, path.leaf, ids, &at);
        uint32_t removed = before - path.leaf->n;
        t->count -= removed;
        if (gone)
            gone->t->count += removed;
        if (removed && path.leaf->n <= leaf_max(t) / 4)
            settle(m, t, &path, gone);
        if (at.leaf == was.leaf && at.i == was.i)
            at = idtree_next(at); /* t has no such id */
    }
}

/* The path along the last children. */
static void descend_last(const struct idtree *t, struct path *path)
{
    void *p = t->root;
    for (uint32_t d = 0; d < t->height; d++) {
        path->node[d] = p;
        path->i[d] = (uint32_t)path->node[d]->n - 1;
        p = path->node[d]->v[path->i[d]].p;
    }
    path->leaf = p;
}

static void drop_leaf(struct mem_count *m, struct idtree *t)
{
    struct path path;
    descend_last(t, &path);
    t->count -= path.leaf->n;
    path.leaf->n = 0;
    settle(m, t, &path, NULL);
}

void idtree_drop_last(struct mem_count *m, struct idtree *t)
{
    if (t->last->n == 1) {
        drop_leaf(m, t);
    } else {
        t->last->n--;
        t->count--;
    }
}

bool idtree_free_slice(struct mem_count *m, struct idtree *t, size_t budget, size_t *freed)
{
    for (*freed = 0; t->last && *freed < budget; ++*freed) {
        if (t->root)
            drop_leaf(m, t);
        else /* what idtree_subtract handed over */
            leaf_gone(m, t, t->last, NULL);
    }
    if (t->last)
        return false;
    t->count = 0;
    return true;
}

static size_t inner_bytes(const struct id_inner *in, uint32_t height)
{
    size_t n = mem_size_class(sizeof(*in));
    for (uint64_t i = 0; height > 1 && i < in->n; i++)
        n += inner_bytes(in->v[i].p, height - 1);
    return n;
}

size_t idtree_bytes(const struct idtree *t)
{
    size_t n = t->height ? inner_bytes(t->root, t->height) : 0;
    for (const struct id_leaf *leaf = t->first; leaf; leaf = leaf->next)
        n += mem_size_class(leaf_bytes(t, leaf->cap));
    return n;
}

bool idtree_copy(struct mem_count *m, struct idtree *ret, const struct idtree *from)
{
    size_t freed;
    for (const struct id_leaf *leaf = from->first; leaf; leaf = leaf->next) {
        for (uint32_t i = 0; i < leaf->n; i++) {
            void *r = idtree_append(m, ret, record_id(from, leaf, i));
            if (!r) {
                idtree_free_slice(m, ret, SIZE_MAX, &freed);
                return false;
            }
            memcpy(r, record(from, leaf, i), from->width);
        }
    }
    return true;
}
