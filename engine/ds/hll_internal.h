/* The dense registers, for hll.c and hll_dense.c. `regs`: 12288 bytes. */
#pragma once

#include <stdint.h>

/* Registers are at most 6 bits from bit index * 6 on, lowest bits first. */
static inline int dense_get(const uint8_t *regs, uint32_t index)
{
    uint32_t bit = index * 6, shift = bit & 7;
    unsigned v = regs[bit >> 3];
    if (shift > 2)
        v |= (unsigned)regs[(bit >> 3) + 1] << 8;
    return (int)(v >> shift & 63);
}

static inline void dense_put(uint8_t *regs, uint32_t index, unsigned value)
{
    uint32_t bit = index * 6, shift = bit & 7;
    uint8_t *p = regs + (bit >> 3);
    p[0] = (uint8_t)((p[0] & ~(63u << shift)) | value << shift);
    if (shift > 2)
        p[1] = (uint8_t)((p[1] & ~(63u >> (8 - shift))) | value >> (8 - shift));
}

/* max[i] = the larger of max[i] and register i. */
void dense_merge(uint8_t *max, const uint8_t *regs);
/* Register i = v[i]. */
void dense_pack(uint8_t *regs, const uint8_t *v);
