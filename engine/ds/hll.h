/* hll: HyperLogLog in Redis's bytes, dense and sparse, so that values carry over by GET, DUMP and RDB.
 *
 *   +0 "HYLL" | +4 encoding: 0 dense, 1 sparse | +5 three zeros | +8 cached cardinality, 8, little-endian; bit 63: stale | +16 registers
 *   dense    16384 registers of 6 bits, the first in the lowest bits of byte 0: 12288 bytes
 *   sparse   a row of runs: 00xxxxxx xxxxxx+1 zeros | 01xxxxxx yyyyyyyy 14 bits+1 zeros | 1vvvvvxx xx+1 times vvvvv+1
 *
 * Hash: MurmurHash64A. Estimate: Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017), algorithm 6. Pure functions
 * over borrowed bytes; bytes from outside are checked as they are read: a row of runs that does not make 16384 registers is corrupt. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"

#define HLL_REGISTERS    16384
#define HLL_HEADER_BYTES 16
#define HLL_DENSE_BYTES  (HLL_HEADER_BYTES + HLL_REGISTERS * 6 / 8)
#define HLL_EMPTY_BYTES  (HLL_HEADER_BYTES + 2)
/* A sparse value may grow by this with one register. */
#define HLL_GROWTH_BYTES 3

/* Registers as plain bytes, one each: what merging and counting several values work on. */
struct hll_registers {
    _Alignas(32) uint8_t v[HLL_REGISTERS];
};

/* The header and, for a dense value, the length. */
bool hll_valid(struct span hll);
static inline bool hll_is_dense(const uint8_t *hll)
{
    return hll[4] == 0;
}
/* An empty sparse value: HLL_EMPTY_BYTES. */
void hll_create(uint8_t *to);

struct hll_spot {
    uint32_t index; /* register */
    uint8_t count;  /* what it must be at least, 1..51 */
};
struct hll_spot hll_spot_of(struct span element);

/* The register's value, or -1: corrupt. */
int hll_register(struct span hll, uint32_t index);

enum hll_set { HLL_SAME, HLL_CHANGED, HLL_NEEDS_DENSE, HLL_CORRUPT };
/* Raises a register of a sparse value of *n bytes, with HLL_GROWTH_BYTES of room behind them. HLL_NEEDS_DENSE: it does not fit the sparse form or
 * max_bytes; nothing has changed. The cache is made stale with a change. */
enum hll_set hll_sparse_set(uint8_t *hll, size_t *n, struct hll_spot s, size_t max_bytes);
/* The same of a dense one. */
enum hll_set hll_dense_set(uint8_t *hll, struct hll_spot s);
/* Writes HLL_DENSE_BYTES. False: corrupt. */
bool hll_to_dense(struct span sparse, uint8_t *to);

/* The cached cardinality; false: it is stale. */
bool hll_cached(const uint8_t *hll, uint64_t *ret);
void hll_cache(uint8_t *hll, uint64_t cardinality);
void hll_make_stale(uint8_t *hll);

/* False: corrupt. */
bool hll_count(struct span hll, uint64_t *ret);
/* r = the larger of each register. False: corrupt. */
bool hll_merge(struct hll_registers *r, struct span hll);
uint64_t hll_count_registers(const struct hll_registers *r);
/* Raises the registers of a dense value to those of r. */
void hll_dense_raise(uint8_t *hll, const struct hll_registers *r);

/* Calls fn for each run of a sparse value, whatever they add up to (a run cut short ends with a zero byte, as in Redis): for PFDEBUG. */
void hll_decode(struct span sparse, void (*fn)(void *ctx, bool wide, unsigned value, unsigned len),
                void *ctx);
/* The plain versions of what is done with AVX2 where the CPU has it: for tests. */
void hll_use_scalar(bool scalar);
