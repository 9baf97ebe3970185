/* zset_pop: taking members off an end of a sorted set; what the blocking forms do once a key has members. */
#pragma once

#include "engine/cmd/zset_value.h"

enum zset_pop_form {
    ZPOP_FLAT,  /* [member, score, member, score ...] */
    ZPOP_PAIRS, /* [[member, score] ...] */
    ZPOP_KEYED, /* [key, member, score] (BZPOPMIN) */
    ZPOP_MULTI, /* [key, [[member, score] ...]] (ZMPOP, BZMPOP) */
};

/* Takes up to `count` (at least 1) members off the sorted set of k, which is not empty, replies with them in that form, tells of the change
 * and deletes the key when it is empty then. */
void zset_pop(struct cmd *c, const struct keyref *k, struct zval *v, bool max, size_t count,
              enum zset_pop_form form);
/* The first of n keys (arguments from `first` on) that holds something. Returns 1: *k and *v are it; 0: none; -1: WRONGTYPE was written. */
int zset_pop_find(struct cmd *c, uint32_t first, uint32_t n, struct keyref *k, struct zval *v);
/* numkeys key [key ...] MIN|MAX [COUNT n], from argument `at` on. False: the error was written. */
struct zset_mpop {
    uint32_t first, keys;
    bool max;
    size_t count;
};
bool zset_mpop_parse(struct cmd *c, uint32_t at, struct zset_mpop *ret);
