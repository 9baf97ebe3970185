/* zset_source: an input of ZUNION, ZINTER, ZDIFF and their kin: a sorted set, a set (each member with score 1), or nothing. The one place
 * where sorted sets meet sets. */
#pragma once

#include "engine/cmd/zset_value.h"
#include "engine/ds/set.h"

struct zset_source {
    struct zval v;
    struct set set;
    bool is_set;
    size_t count;
    double weight;
};

struct zset_source_walk {
    const struct zset_source *from;
    struct zval_walk zset;
    struct set_iter set;
};

/* A member of a source; the text is good until the next step. */
struct zset_source_item {
    struct span member;
    double score;
    char digits[NUM_I64_CHARS];
    struct set_member set;
};

/* What the key holds. False: WRONGTYPE was written. */
bool zset_source_open(struct cmd *c, const struct keyref *k, struct zset_source *ret);
/* False: the member is not in it. */
bool zset_source_find(const struct zset_source *s, struct span member, double *ret);
void zset_source_begin(struct zset_source_walk *w, const struct zset_source *s);
bool zset_source_next(struct zset_source_walk *w, struct zset_source_item *ret);
