/* rdb_row: elements of the packed forms of old files, one after the other: ziplist (Redis up to 6.2) and zipmap (up to 2.4).
 *
 *   ziplist   bytes (4) | offset of the last (4) | elements (2) | element ... | 0xff         numbers little-endian
 *             element: length of the one before (1, or 254 and 4) | 00xxxxxx, 01xxxxxx +1, 10000000 +4 string lengths, big-endian, or
 *                      c0 +2, d0 +4, e0 +8, f0 +3, fe +1 integers, little-endian, or 1111xxxx 0..12
 *   zipmap    pairs (1) | length (1, or 254 and 4), field | length, free (1), value, free bytes ... | 0xff */
#pragma once

#include "engine/ds/listpack.h"

struct rdb_row {
    const uint8_t *cur, *end;
    bool failed;
    bool zipmap, value_next;
};

/* False: not such a block. */
bool rdb_row_ziplist(struct rdb_row *r, struct span bytes);
bool rdb_row_zipmap(struct rdb_row *r, struct span bytes);
/* False: the end, or r->failed. */
bool rdb_row_next(struct rdb_row *r, struct lp_value *ret);
