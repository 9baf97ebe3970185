/* zset: a large sorted set: members ordered by score, then by their bytes, each found by its bytes too.
 *
 *   index (dict)   hash of the member's bytes -> member
 *   member         score, 8 | length, 1 (255: it follows in 4) | bytes       one allocation, never moves
 *   tree           inner: up to 31 x (count below, first score, first member, child)
 *                  leaf:  up to ZSET_LEAF scores, as many pointers to members | previous and next leaf
 *
 * Scores lie in the nodes, so a search by score touches no member; the counts make rank and seek one walk down. An insert that meets a
 * full leaf first shifts to a neighbour and splits only then, so leaves stay about four fifths full; those at either end split
 * unevenly, so that members which arrive in order fill their leaves. Every call but copy and free does bounded work.
 *
 * Scores are never NaN: who calls sees to it. -0 equals 0 and is kept as it came. Functions that need memory return NULL or false when
 * there is none, and have changed nothing then. Not thread-safe: the lease holder's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/mem.h"
#include "engine/base/siphash.h"

#define ZSET_LEAF        46
#define ZSET_MEMBER_LONG 255

struct zset;

struct zset_member {
    double score; /* written by zset.c, and by zset_stage_score before there is an order */
    uint8_t len;
    uint8_t bytes[];
};

struct zset_leaf {
    uint32_t n;
    struct zset_leaf *prev, *next;
    double score[ZSET_LEAF];
    struct zset_member *member[ZSET_LEAF];
};

/* A place in the order; leaf NULL: behind an end. Good until the next change. */
struct zset_at {
    const struct zset_leaf *leaf;
    uint32_t i;
};

/* A place between members: all that come before it are "below". */
enum zset_side {
    ZSET_BEFORE_SCORE,  /* before all members of this score */
    ZSET_BEHIND_SCORE,  /* behind them */
    ZSET_BEFORE_PAIR,   /* before this score with this member */
    ZSET_BEFORE_MEMBER, /* for sets of one score: before this member, whatever the score */
    ZSET_BEHIND_MEMBER,
};
struct zset_bound {
    enum zset_side side;
    double score;
    struct span member;
};

struct zset *zset_create(struct mem *mem, const struct siphash_key *key);
void zset_destroy(struct zset *z);
/* About n members come, staged as below; it is empty and nothing is staged. */
void zset_reserve(struct zset *z, size_t n);
size_t zset_count(const struct zset *z);
/* Size classes of all its blocks. */
size_t zset_bytes(const struct zset *z);
/* Blocks, as an estimate. */
size_t zset_pieces(const struct zset *z);
/* Frees about `budget` blocks of one that nobody uses any more; only this may be called then. *done: z itself is gone. */
size_t zset_free_slice(struct zset *z, size_t budget, bool *done);
struct zset *zset_copy(struct mem *mem, const struct zset *z);
/* It is `mem`'s from now on; the caller moves the bytes from one account to the other. */
void zset_rehome(struct zset *z, struct mem *mem);

static inline struct span zset_member_text(const struct zset_member *m)
{
    if (__builtin_expect(m->len != ZSET_MEMBER_LONG, 1))
        return span_of(m->bytes, m->len);
    uint32_t n;
    memcpy(&n, m->bytes, 4);
    return span_of(m->bytes + 4, n);
}

/* NULL: no such member. */
struct zset_member *zset_find(const struct zset *z, struct span member);
/* The member must not be there. NULL: no memory. */
struct zset_member *zset_insert(struct zset *z, double score, struct span member);
/* For building a large one: members are only in the index, and their scores may be changed by zset_stage_score, until zset_settle puts them
 * in order. In between only these, zset_find, zset_count, zset_bytes and zset_destroy may be called. settle false: no memory; it can only be
 * destroyed then. */
struct zset_member *zset_stage(struct zset *z, double score, struct span member);
/* The same of one that may be there: NULL with *there. */
struct zset_member *zset_stage_new(struct zset *z, double score, struct span member, bool *there);
static inline void zset_stage_score(struct zset_member *m, double score)
{
    m->score = score;
}
bool zset_settle(struct zset *z);
/* Another score for a member of the set. False: no memory. */
bool zset_rescore(struct zset *z, struct zset_member *m, double score);
void zset_remove(struct zset *z, struct zset_member *m);
/* Removes n members from this rank on; that many must be there. */
void zset_remove_ranks(struct zset *z, size_t rank, size_t n);

/* How many members come before it. */
size_t zset_rank(const struct zset *z, const struct zset_member *m);
size_t zset_below(const struct zset *z, const struct zset_bound *b);
/* The member of this rank; rank >= count: behind the end. */
struct zset_at zset_seek(const struct zset *z, size_t rank);

static inline void zset_next(struct zset_at *at)
{
    if (++at->i < at->leaf->n)
        return;
    at->leaf = at->leaf->next;
    at->i = 0;
}
static inline void zset_prev(struct zset_at *at)
{
    if (at->i-- > 0)
        return;
    at->leaf = at->leaf->prev;
    at->i = at->leaf ? at->leaf->n - 1 : 0;
}

/* dict_scan over the members, in no order: cursor 0 begins and ends. */
uint64_t zset_scan(struct zset *z, uint64_t cursor,
                   void (*fn)(void *ctx, const struct zset_member *m), void *ctx);
/* Every rule of the tree holds. For tests. */
bool zset_valid(const struct zset *z);
