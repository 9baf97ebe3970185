/* bits: a string seen as a row of bits, as SETBIT and its kin number them: bit 0 is the highest bit of byte 0. Beyond the end
 * everything is 0. Pure functions over borrowed bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ones among n bytes. */
uint64_t bits_count(const uint8_t *p, size_t n);
/* The same among the bits from..to, both inclusive and inside the bytes. */
uint64_t bits_count_range(const uint8_t *p, uint64_t from, uint64_t to);
/* The first bit of that value in from..to, both inclusive and inside the bytes; -1: none. */
int64_t bits_find(const uint8_t *p, uint64_t from, uint64_t to, bool value);

static inline bool bits_test(const uint8_t *p, size_t n, uint64_t at)
{
    return at >> 3 < n && (p[at >> 3] >> (7 - (at & 7)) & 1);
}
static inline void bits_put(uint8_t *p, uint64_t at, bool value)
{
    uint8_t mask = (uint8_t)(0x80 >> (at & 7));
    p[at >> 3] = (uint8_t)(value ? p[at >> 3] | mask : p[at >> 3] & ~mask);
}

/* `width` (1..64) bits from `at` on as an unsigned big-endian number. */
uint64_t bits_get(const uint8_t *p, size_t n, uint64_t at, unsigned width);
/* Writes the lowest `width` bits of v; they must be inside the bytes. */
void bits_set(uint8_t *p, uint64_t at, unsigned width, uint64_t v);

enum bits_op { BITS_AND, BITS_OR, BITS_XOR };
/* to[i] = to[i] op from[i] for n bytes. They may not overlap. */
void bits_combine(uint8_t *to, const uint8_t *from, size_t n, enum bits_op op);
void bits_invert_in_place(uint8_t *p, size_t n);
