/* zset.c: members, their index, and what the tree (zset_tree.c) and the index do together. The picture is in zset.h.
 *
 * A member is allocated once and stays where it is; the index and the tree point at it. Every change that needs memory asks for all of it
 * first or undoes what it did. Thread: the lease holder's. */
#include "engine/ds/zset.h"

#include "engine/base/assert.h"
#include "engine/base/keyhash.h"
#include "engine/ds/dict_inline.h"
#include "engine/ds/zset_tree.h"

struct zset {
    struct dict *index;
    struct zset_tree tree;
    size_t member_bytes; /* size classes of the members and of this */
    struct siphash_key key;
    bool staged;               /* members are in the index only */
    struct zset_member **come; /* staged ones, in the order in which they came */
    size_t come_cap;
};

/* ---- members ---- */

static inline size_t member_alloc_bytes(size_t n)
{
    return offsetof(struct zset_member, bytes) + (n < ZSET_MEMBER_LONG ? 0 : 4) + n;
}

static struct zset_member *member_create(struct zset *z, double score, struct span text)
{
    if (text.n > UINT32_MAX)
        return NULL;
    size_t n = member_alloc_bytes(text.n);
    struct zset_member *m = mem_alloc(z->tree.mem, n);
    if (!m)
        return NULL;
    uint8_t *to = m->bytes;
    m->score = score;
    m->len = text.n < ZSET_MEMBER_LONG ? (uint8_t)text.n : ZSET_MEMBER_LONG;
    if (m->len == ZSET_MEMBER_LONG) {
        uint32_t len = (uint32_t)text.n;
        memcpy(to, &len, 4);
        to += 4;
    }
    if (text.n)
        memcpy(to, text.p, text.n);
    z->member_bytes += mem_size_class(n);
    return m;
}

static void member_free(struct zset *z, struct zset_member *m)
{
    size_t n = member_alloc_bytes(zset_member_text(m).n);
    z->member_bytes -= mem_size_class(n);
    mem_free(z->tree.mem, m, n);
}

static inline bool member_equal(const void *entry, struct span text)
{
    struct span own = zset_member_text(entry);
    return own.n == text.n && (own.n == 0 || memcmp(own.p, text.p, own.n) == 0);
}

static uint64_t member_hash(const void *entry, const void *ctx)
{
    struct span text = zset_member_text(entry);
    return key_hash(ctx, text.p, text.n);
}

static inline uint64_t text_hash(const struct zset *z, struct span text)
{
    return key_hash(&z->key, text.p, text.n);
}

/* ---- life ---- */

struct zset *zset_create(struct mem *mem, const struct siphash_key *key)
{
    struct zset *z = mem_calloc(mem, sizeof(*z));
    if (!z)
        return NULL;
    z->tree.mem = mem;
    z->key = *key;
    z->member_bytes = mem_size_class(sizeof(*z));
    const struct dict_type type = {member_hash, member_equal, &z->key};
    z->index = dict_create(mem, &type);
    if (z->index)
        return z;
    mem_free(mem, z, sizeof(*z));
    return NULL;
}

static void drop_come(struct zset *z)
{
    mem_free(z->tree.mem, z->come, z->come_cap * sizeof(struct zset_member *));
    z->come = NULL;
    z->come_cap = 0;
}

void zset_reserve(struct zset *z, size_t n)
{
    dict_reserve(z->index, n);
    z->come = n ? mem_alloc(z->tree.mem, n * sizeof(struct zset_member *)) : NULL;
    z->come_cap = z->come ? n : 0;
    z->staged = true;
}

static void free_entry(void *ctx, void *entry)
{
    member_free(ctx, entry);
}

/* The index is the only place where all members are. */
static void destroy_staged(struct zset *z)
{
    drop_come(z);
    dict_free_slice(z->index, SIZE_MAX, free_entry, z);
    mem_free(z->tree.mem, z, sizeof(*z));
}

void zset_destroy(struct zset *z)
{
    if (z && z->staged) {
        destroy_staged(z);
        return;
    }
    bool done = z == NULL;
    while (!done)
        zset_free_slice(z, SIZE_MAX, &done);
}

size_t zset_free_slice(struct zset *z, size_t budget, bool *done)
{
    struct zset_member *out[ZSET_LEAF];
    size_t work = 0;
    uint32_t n;
    *done = false;
    while (work < budget && zset_tree_free_leaf(&z->tree, out, &n)) {
        for (uint32_t i = 0; i < n; i++)
            __builtin_prefetch(out[i]);
        for (uint32_t i = 0; i < n; i++)
            member_free(z, out[i]);
        work += n + 1;
    }
    if (work >= budget)
        return work;
    /* The members are gone: the index does not look at them any more. */
    size_t left = z->index ? dict_count(z->index) : 0, slice = budget - work;
    if (z->index && !dict_free_slice(z->index, slice, NULL, NULL))
        return work + (left - dict_count(z->index)) / DICT_SLOTS + 1;
    z->index = NULL;
    mem_free(z->tree.mem, z, sizeof(*z));
    *done = true;
    return work + left / DICT_SLOTS + 1;
}

struct zset *zset_copy(struct mem *mem, const struct zset *from)
{
    struct zset *z = zset_create(mem, &from->key);
    size_t n = zset_count(from);
    if (!z || !n)
        return z;
    struct zset_at at = zset_seek(from, 0);
    for (; at.leaf; zset_next(&at)) {
        const struct zset_member *m = at.leaf->member[at.i];
        if (!zset_insert(z, m->score, zset_member_text(m))) {
            zset_destroy(z);
            return NULL;
        }
    }
    return z;
}

void zset_rehome(struct zset *z, struct mem *mem)
{
    z->tree.mem = mem;
    dict_rehome(z->index, mem);
}

size_t zset_count(const struct zset *z)
{
    return dict_count(z->index);
}

size_t zset_bytes(const struct zset *z)
{
    size_t come = z->come ? mem_size_class(z->come_cap * sizeof(struct zset_member *)) : 0;
    return z->member_bytes + z->tree.bytes + dict_bytes(z->index) + come;
}

size_t zset_pieces(const struct zset *z)
{
    return dict_count(z->index) + z->tree.nodes + dict_count(z->index) / 128 + 3;
}

/* ---- members by their bytes ---- */

struct zset_member *zset_find(const struct zset *z, struct span member)
{
    return dict_find_inline(z->index, text_hash(z, member), member, member_equal);
}

/* A new member in the index. */
static struct zset_member *index_add(struct zset *z, double score, struct span member,
                                     uint64_t hash)
{
    struct zset_member *m = member_create(z, score, member);
    if (!m || dict_insert(z->index, hash, m))
        return m;
    member_free(z, m);
    return NULL;
}

struct zset_member *zset_insert(struct zset *z, double score, struct span member)
{
    uint64_t hash = text_hash(z, member);
    struct zset_member *m = index_add(z, score, member, hash);
    if (!m || zset_tree_insert(&z->tree, score, m))
        return m;
    dict_remove(z->index, hash, m);
    member_free(z, m);
    return NULL;
}

bool zset_rescore(struct zset *z, struct zset_member *m, double score)
{
    if (score == m->score)
        return true;
    if (!zset_tree_move(&z->tree, m->score, score, m))
        return false;
    m->score = score;
    return true;
}

void zset_remove(struct zset *z, struct zset_member *m)
{
    zset_tree_remove(&z->tree, m->score, m);
    dict_remove(z->index, member_hash(m, &z->key), m);
    member_free(z, m);
}

void zset_remove_ranks(struct zset *z, size_t rank, size_t n)
{
    struct zset_member *out[ZSET_LEAF];
    while (n) {
        uint32_t cut = zset_tree_cut(&z->tree, rank, n < ZSET_LEAF ? (uint32_t)n : ZSET_LEAF, out);
        for (uint32_t i = 0; i < cut; i++)
            __builtin_prefetch(out[i]);
        for (uint32_t i = 0; i < cut; i++) {
            dict_remove(z->index, member_hash(out[i], &z->key), out[i]);
            member_free(z, out[i]);
        }
        n -= cut;
    }
}

/* ---- many at once ---- */

/* Room for one more in `come`. */
static bool may_come(struct zset *z)
{
    size_t n = dict_count(z->index), cap = z->come_cap * 2 > 64 ? z->come_cap * 2 : 64;
    if (likely_(n < z->come_cap))
        return true;
    struct zset_member **grown =
        mem_realloc(z->tree.mem, z->come, z->come_cap * sizeof(*grown), cap * sizeof(*grown));
    if (!grown)
        return false;
    z->come = grown;
    z->come_cap = cap;
    return true;
}

static struct zset_member *stage(struct zset *z, double score, struct span member, uint64_t hash)
{
    size_t n = dict_count(z->index);
    z->staged = true;
    struct zset_member *m = may_come(z) ? index_add(z, score, member, hash) : NULL;
    if (m)
        z->come[n] = m;
    return m;
}

struct zset_member *zset_stage(struct zset *z, double score, struct span member)
{
    return stage(z, score, member, text_hash(z, member));
}

struct zset_member *zset_stage_new(struct zset *z, double score, struct span member, bool *there)
{
    uint64_t hash = text_hash(z, member);
    *there = dict_find_inline(z->index, hash, member, member_equal) != NULL;
    return *there ? NULL : stage(z, score, member, hash);
}

static inline bool member_after(const struct zset_member *a, const struct zset_member *b)
{
    if (a->score != b->score)
        return a->score > b->score;
    return span_cmp(zset_member_text(a), zset_member_text(b)) > 0;
}

/* Merges v[from..mid) and v[mid..to) into out. */
static void merge(struct zset_member **v, size_t from, size_t mid, size_t to,
                  struct zset_member **out)
{
    size_t a = from, b = mid;
    for (size_t i = from; i < to; i++)
        out[i] = b == to || (a < mid && !member_after(v[a], v[b])) ? v[a++] : v[b++];
}

/* Sorts v[0..n) with as much scratch; returns the one of both that has the result. */
static struct zset_member **sort(struct zset_member **v, struct zset_member **scratch, size_t n)
{
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t from = 0; from < n; from += 2 * run) {
            size_t mid = from + run < n ? from + run : n, to = mid + run < n ? mid + run : n;
            merge(v, from, mid, to, scratch);
        }
        struct zset_member **done = scratch;
        scratch = v;
        v = done;
    }
    return v;
}

/* Files have them in order, and those of redis-server the last one first. */
static bool in_order(struct zset_member **v, size_t n)
{
    size_t up = 1, down = 1;
    while (up < n && member_after(v[up], v[up - 1]))
        up++;
    while (up < n && down < n && member_after(v[down - 1], v[down]))
        down++;
    if (up < n && down == n)
        for (size_t i = 0; i < n / 2; i++) {
            struct zset_member *m = v[i];
            v[i] = v[n - 1 - i];
            v[n - 1 - i] = m;
        }
    return up >= n || down == n;
}

bool zset_settle(struct zset *z)
{
    size_t n = dict_count(z->index);
    struct zset_member **sorted = z->come, **room = NULL;
    if (n && !in_order(z->come, n)) {
        room = mem_alloc(z->tree.mem, n * sizeof(*room));
        if (!room)
            return false;
        sorted = sort(z->come, room, n);
    }
    bool good = zset_tree_build(&z->tree, sorted, n);
    mem_free(z->tree.mem, room, n * sizeof(*room));
    if (good) {
        drop_come(z);
        z->staged = false;
    }
    return good;
}

struct visit {
    void (*fn)(void *ctx, const struct zset_member *m);
    void *ctx;
};

static void visit_entry(void *ctx, void *entry)
{
    const struct visit *v = ctx;
    v->fn(v->ctx, entry);
}

uint64_t zset_scan(struct zset *z, uint64_t cursor,
                   void (*fn)(void *ctx, const struct zset_member *m), void *ctx)
{
    struct visit v = {fn, ctx};
    return dict_scan(z->index, cursor, visit_entry, &v);
}

/* ---- the order ---- */

size_t zset_rank(const struct zset *z, const struct zset_member *m)
{
    struct zset_bound b = {ZSET_BEFORE_PAIR, m->score, zset_member_text(m)};
    return zset_tree_below(&z->tree, &b);
}

size_t zset_below(const struct zset *z, const struct zset_bound *b)
{
    return zset_tree_below(&z->tree, b);
}

struct zset_at zset_seek(const struct zset *z, size_t rank)
{
    if (rank >= dict_count(z->index))
        return (struct zset_at){NULL, 0};
    return zset_tree_seek(&z->tree, rank);
}

static void check_member(void *ctx, void *entry)
{
    size_t *n = ctx;
    ++*n;
}

bool zset_valid(const struct zset *z)
{
    size_t n = zset_tree_check(&z->tree), seen = 0;
    if (n != dict_count(z->index))
        return false;
    uint64_t cursor = 0;
    do
        cursor = dict_scan(z->index, cursor, check_member, &seen);
    while (cursor);
    return seen == n;
}
