/* Listpacks and intsets out of files that become values as they are, after a walk over them, instead of being put together again element by element. */
#pragma once

#include "engine/cmd/rdb_object.h"

struct rdb_packed {
    size_t max_bytes, max_elements, max_text; /* more, or longer ones: not as it is */
    bool pairs;                               /* element, value ...: no element twice */
    bool scores;                              /* pairs in the order of a sorted set */
};

/* The string that r stands on, as a block of its own. False, and r stands where it stood: it must be read element by element, or is no
 * listpack. */
bool rdb_take_packed(struct rdb_reader *r, const struct rdb_packed *want, struct mem_block *ret);
/* The same of an intset. */
bool rdb_take_intset(struct rdb_reader *r, size_t max_elements, struct mem_block *ret);
