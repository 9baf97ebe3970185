/* zset_value: a sorted set as the commands see it, whatever it is made of: a listpack of member, score pairs in order, or a struct zset.
 *
 * A place is a rank, 0 the lowest. What only reads opens the value and walks it; what changes it goes through zval_add and its neighbours,
 * which change the encoding where Redis does and keep the entry up to date. A value without entry is being built and is put in place by
 * zval_store or given back by zval_discard. Functions that need memory return false when there is none, and the value stands as it was. */
#pragma once

#include "engine/cmd/keyref.h"
#include "engine/ds/listpack.h"
#include "engine/ds/zset.h"
#include "engine/shard/object.h"

struct zval {
    struct shard *shard;
    struct entry *e; /* NULL: no key has it yet */
    struct zset *z;  /* NULL: the listpack */
    struct mem_block lp;
    struct zset_member *found; /* by zval_find, until the next change */
};

/* A member on a walk. member.p NULL: the number (small integers of a listpack). */
struct zval_item {
    struct span member;
    int64_t number;
    double score;
};

struct zval_walk {
    const struct zval *v;
    size_t left;
    bool back;
    struct zset_at at;
    uint8_t *lp;
};

/* The value of e, which is a sorted set. */
void zval_open(struct zval *v, struct shard *s, struct entry *e);
/* The sorted set under the key, for reading or for writing. *v is empty (zval_exists says no) when there is none; false: WRONGTYPE was
 * written. */
bool zval_read(struct cmd *c, const struct keyref *k, struct zval *v);
bool zval_write(struct cmd *c, const struct keyref *k, struct zval *v);
static inline bool zval_exists(const struct zval *v)
{
    return v->z || v->lp.p;
}

size_t zval_count(const struct zval *v);
/* False: no such member. */
bool zval_score(const struct zval *v, struct span member, double *ret);
/* The same for a member that is about to change: zval_rescore needs not look for it again. */
bool zval_find(struct zval *v, struct span member, double *ret);
bool zval_rank(const struct zval *v, struct span member, size_t *ret);

/* Up to n members from this rank on, upwards or (back) downwards. */
void zval_walk_from(struct zval_walk *w, const struct zval *v, size_t rank, size_t n, bool back);
bool zval_walk_next(struct zval_walk *w, struct zval_item *ret);
/* The member's bytes; scratch: NUM_I64_CHARS. */
struct span zval_item_text(const struct zval_item *i, char *scratch);

/* Listpacks store scores that are integers as such; Redis keeps to half the range of 64 bits, and -0 becomes 0. */
bool zval_score_whole(double score, int64_t *ret);

/* ---- changes ---- */

/* An empty one, without entry: a listpack if a sorted set of that many members, the longest of that many bytes, is one. */
bool zval_create(struct zval *v, struct shard *s, size_t members, size_t longest);
/* A member that is not there. */
bool zval_add(struct zval *v, double score, struct span member);
/* The member that zval_find has just found. */
bool zval_rescore(struct zval *v, double score, struct span member);
bool zval_remove(struct zval *v, struct span member); /* false: it is not there */
void zval_remove_ranks(struct zval *v, size_t rank, size_t n);
/* Makes a struct zset of a listpack. False: no memory, and it is what it was. */
bool zval_expand(struct zval *v);
/* Makes a listpack of a struct zset without entry when it is small enough. False: no memory. */
bool zval_compact(struct zval *v, size_t longest);

/* Puts a value without entry under the key, without expiry; empty: deletes what is there. False: OOM was written, and
 * nothing changed. The value is gone in any case. */
bool zval_store(struct cmd *c, const struct keyref *k, struct zval *v, const char *event);
void zval_discard(struct zval *v);
/* Members were removed: says so, and deletes the key when none is left. */
void zval_removed(struct cmd *c, const struct keyref *k, struct zval *v, const char *event);

/* ---- ranges ---- */

/* The ends of a range by score or by member, as the arguments gave them. */
struct zval_ends {
    double min, max;
    struct span lex_min,
        lex_max; /* p NULL: no end ("-", "+"), or nothing (when the wrong one was given) */
    bool min_out, max_out; /* exclusive */
    bool lex;
    int8_t lex_min_sign, lex_max_sign; /* -1: "-", 1: "+" */
};
struct zval_range {
    size_t from, n; /* rank of the lowest, members */
};

/* "1.5" "(1.5" "-inf" / "[a" "(a" "-" "+". False: the error was written. */
bool zval_ends_parse(struct cmd *c, uint32_t min, uint32_t max, bool lex, struct zval_ends *ret);
/* back: the range is walked from its upper end (which matters where members of different scores are asked for by their bytes). */
struct zval_range zval_find_range(const struct zval *v, const struct zval_ends *ends, bool back);
/* Ranks as arguments, negative ones counted from the end. */
struct zval_range zval_rank_range(size_t count, int64_t start, int64_t end);

/* ---- replies ---- */

/* A score of arguments. False: the error was written. */
bool zval_arg_score(struct cmd *c, uint32_t i, double *ret);
void zval_reply_score(struct reply *out, double score);
void zval_reply_member(struct reply *out, const struct zval_item *i);
/* [member, score] in RESP3, two elements of a flat array in RESP2 (zval_reply_head counts accordingly); without scores the member. */
void zval_reply_head(struct reply *out, size_t n, bool with_scores);
void zval_reply_item(struct reply *out, const struct zval_item *i, bool with_scores);
