/* intset: a sorted row of distinct integers in one block of bytes, in Redis's format (RDB carries it as it is).
 *
 *   +0 bytes of an integer: 2, 4 or 8 (4 bytes) | +4 how many (4 bytes) | integer ...      all little-endian, ascending
 *
 * The width is that of the widest integer that was ever added. A block (struct mem_block) is owned by whoever holds it; adding may
 * move it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/mem.h"

#define INTSET_HEADER_BYTES 8
#define INTSET_MAX          (1u << 30) /* integers in one: Redis's own limit */

enum intset_added { INTSET_NEW, INTSET_THERE, INTSET_NO_MEMORY };

/* An empty one with room for `room` integers of 16 bits. False: no memory. */
bool intset_init(struct mem *mem, struct mem_block *is, size_t room);
void intset_free(struct mem *mem, struct mem_block *is);
size_t intset_count(const struct mem_block *is);
/* The i-th smallest, i < count. */
int64_t intset_get(const struct mem_block *is, size_t i);
bool intset_has(const struct mem_block *is, int64_t v);
/* INTSET_NO_MEMORY (also beyond INTSET_MAX): nothing changed. */
enum intset_added intset_add(struct mem *mem, struct mem_block *is, int64_t v);
/* Never fails: memory is given back when half of it is free. False: it was not there. */
bool intset_remove(struct mem *mem, struct mem_block *is, int64_t v);
/* True when the n bytes are an intset through and through: width, length, order. For bytes from outside. */
bool intset_valid(const uint8_t *p, size_t n);
