/* SCAN's cursor, for the router: which shard it goes on with.
 *
 *   one shard       the cursor of the shard's dict as it is
 *   several shards  | the dict's cursor, a hash prefix (40 bits today, room for 58) | shard: 6 bits |
 *
 * 0 is the start (the first shard, from its start) and the end (all shards done). Any 64 bits that a client makes up are a valid
 * cursor: it leads somewhere, and it ends. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"

/* Reads it as Redis does (strtoul: a sign and leading zeros are fine, the empty text is 0). False: "ERR invalid cursor". */
bool scan_cursor_parse(struct span text, uint64_t *ret);
/* The shard that SCAN with this cursor runs on. */
uint32_t scan_cursor_shard(uint64_t cursor, uint32_t count);
