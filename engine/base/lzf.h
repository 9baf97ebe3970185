/* lzf: what LZF compressed, expanded: strings of RDB files and of compressed lists. liblzf compresses; this reads with steps of sixteen bytes
 * where its own reads byte by byte.
 *
 *   000nnnnn  n + 1 bytes follow as they are
 *   nnnooooo oooooooo             n + 2 bytes from o + 1 bytes back, 0 < n < 7
 *   111ooooo nnnnnnnn oooooooo    n + 9 bytes from there
 *
 * Pure functions, any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The bytes written to `to`, at most `room`; 0: the input is damaged, or there is more of it. No byte beyond the room is touched. */
size_t lzf_expand(const uint8_t *from, size_t n, uint8_t *to, size_t room);
