/* listpack: a row of strings and integers in one block of bytes, in Redis's format (RDB carries it as it is).
 *
 *   +0 total bytes, 4, little-endian | +4 number of elements, 2 (65535: count them) | element ... | 0xff
 *   element: encoding and data | length of both, backwards readable, 1 to 5 bytes
 *
 *   0xxxxxxx            7-bit unsigned integer          1110xxxx +1       string up to 4095 bytes
 *   10xxxxxx            string up to 63 bytes           11110000 +4       string, 32-bit length
 *   110xxxxx +1         13-bit signed integer           11110001 +2, f2 +3, f3 +4, f4 +8: signed integers
 *
 * A block (struct mem_block) is owned by whoever holds it; functions that grow it may move it. An element is named by a pointer to
 * it, good until the next change. Text that is the canonical form of a 64-bit integer is stored as one, as Redis does.
 * Functions that add return NULL or false when there is no memory or the block would pass LP_BYTES_MAX, and change nothing then. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#define LP_HEADER_BYTES 6
#define LP_EMPTY_BYTES  7
#define LP_BYTES_MAX    (1u << 30)

/* What an element holds. text.p NULL: the number. */
struct lp_value {
    struct span text;
    int64_t number;
};

/* An empty one with room for `room` bytes of elements. False: no memory. */
bool lp_init(struct mem *mem, struct mem_block *lp, size_t room);
void lp_free(struct mem *mem, struct mem_block *lp);
size_t lp_count(const struct mem_block *lp);
/* Gives back what is allocated beyond the bytes in use. */
void lp_shrink(struct mem *mem, struct mem_block *lp);

/* NULL: no such element. */
uint8_t *lp_first(const struct mem_block *lp);
uint8_t *lp_last(const struct mem_block *lp);
uint8_t *lp_next(const struct mem_block *lp, const uint8_t *at);
uint8_t *lp_prev(const struct mem_block *lp, const uint8_t *at);
/* index < 0 counts from the end: -1 is the last. */
uint8_t *lp_seek(const struct mem_block *lp, int64_t index);

struct lp_value lp_get(const uint8_t *at);
/* The element as text; an integer is formatted into scratch (NUM_I64_CHARS bytes). */
struct span lp_text(const uint8_t *at, char *scratch);
bool lp_equal(const uint8_t *at, struct span text);
/* The first element from `at` on that equals text, looking at every (skip + 1)-th. NULL: none. */
uint8_t *lp_find(const struct mem_block *lp, uint8_t *at, struct span text, uint32_t skip);

/* Bytes that an element of this text would take: before a change that must not pass a limit. */
size_t lp_element_bytes(struct span text);

/* Before `at` (NULL: at the end). The text must not lie in the block. Returns the new element. */
uint8_t *lp_insert(struct mem *mem, struct mem_block *lp, uint8_t *at, struct span text);
uint8_t *lp_insert_i64(struct mem *mem, struct mem_block *lp, uint8_t *at, int64_t v);
static inline bool lp_append(struct mem *mem, struct mem_block *lp, struct span text)
{
    return lp_insert(mem, lp, NULL, text) != NULL;
}
static inline bool lp_append_i64(struct mem *mem, struct mem_block *lp, int64_t v)
{
    return lp_insert_i64(mem, lp, NULL, v) != NULL;
}
/* In place of the element; returns it. */
uint8_t *lp_replace(struct mem *mem, struct mem_block *lp, uint8_t *at, struct span text);
uint8_t *lp_replace_i64(struct mem *mem, struct mem_block *lp, uint8_t *at, int64_t v);
/* Removes n elements from `at` on; returns what is at their place then (NULL: the end). Never fails; memory is given back when much is free. */
uint8_t *lp_delete(struct mem *mem, struct mem_block *lp, uint8_t *at, size_t n);
/* Appends all elements of `from`. */
bool lp_join(struct mem *mem, struct mem_block *to, const struct mem_block *from);

/* True when the n bytes are a listpack through and through: every length, the count, the end. For bytes from outside (RESTORE, RDB). */
bool lp_valid(const uint8_t *p, size_t n);
