/* zset_add: ZADD behind its arguments; GEOADD makes scores of coordinates and goes the same way. */
#pragma once

#include "engine/cmd/zset_value.h"

struct zset_add {
    bool nx, xx, ch, incr, gt, lt;
    /* The i-th pair; asked for once each, in order, and the first one once before. */
    struct span (*pair)(struct cmd *c, struct zset_add *a, uint32_t i, double *ret_score);
    /* what happened */
    size_t added, updated;
    bool processed; /* the pair was not passed over */
    double score;   /* of the last pair */
};

/* Adds the pairs to the sorted set under argument 1, tells of it and replies. */
void zset_add_pairs(struct cmd *c, struct zset_add *a, uint32_t pairs);
