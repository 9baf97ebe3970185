/* What the files of the bitmap commands share. */
#pragma once

#include "engine/cmd/keyref.h"
#include "engine/ds/bits.h"

/* Argument i as a position of a bit within proto-max-bulk-len. hash_width: "#3" means 3 * hash_width (0: no such form). False: the error was
 * written. */
bool bitmap_offset(struct cmd *c, uint32_t i, unsigned hash_width, uint64_t *ret);
/* The bytes of the key's string, raw and long enough to hold last_bit; a missing key becomes zeros. *grown: it was missing or shorter. NULL:
 * the error was written. */
uint8_t *bitmap_for_write(struct cmd *c, const struct keyref *k, uint64_t last_bit, bool *grown);
