/* bits.c: counting, searching and combining bits, eight bytes at a time.
 *
 * Where in the flow: the bitmap commands -> here. POPCNT is part of the x86-64-v2 that the build asks for. */
#include "engine/ds/bits.h"

#include <string.h>

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

uint64_t bits_count(const uint8_t *p, size_t n)
{
    uint64_t a = 0, b = 0, c = 0, d = 0; /* four chains: POPCNT has a latency of three */
    for (; n >= 32; p += 32, n -= 32) {
        a += (uint64_t)__builtin_popcountll(load64(p));
        b += (uint64_t)__builtin_popcountll(load64(p + 8));
        c += (uint64_t)__builtin_popcountll(load64(p + 16));
        d += (uint64_t)__builtin_popcountll(load64(p + 24));
    }
    for (; n >= 8; p += 8, n -= 8)
        a += (uint64_t)__builtin_popcountll(load64(p));
    for (; n; p++, n--)
        b += (uint64_t)__builtin_popcount(*p);
    return a + b + c + d;
}

uint64_t bits_count_range(const uint8_t *p, uint64_t from, uint64_t to)
{
    uint64_t first = from >> 3, last = to >> 3;
    uint8_t head = (uint8_t)(0xff >> (from & 7)), tail = (uint8_t)(0xff << (7 - (to & 7)));
    if (first == last)
        return (uint64_t)__builtin_popcount(p[first] & head & tail);
    return (uint64_t)__builtin_popcount(p[first] & head) +
           (uint64_t)__builtin_popcount(p[last] & tail) +
           bits_count(p + first + 1, last - first - 1);
}

int64_t bits_find(const uint8_t *p, uint64_t from, uint64_t to, bool value)
{
    uint64_t skip = value ? 0 : UINT64_MAX;
    for (; from <= to && (from & 7); from++)
        if (bits_test(p, SIZE_MAX, from) == value)
            return (int64_t)from;
    while (from + 63 <= to && load64(p + (from >> 3)) == skip)
        from += 64;
    while (from + 7 <= to && p[from >> 3] == (uint8_t)skip)
        from += 8;
    for (; from <= to; from++)
        if (bits_test(p, SIZE_MAX, from) == value)
            return (int64_t)from;
    return -1;
}

uint64_t bits_get(const uint8_t *p, size_t n, uint64_t at, unsigned width)
{
    uint8_t nine[9] = {0};
    uint64_t first = at >> 3, word;
    if (first < n)
        memcpy(nine, p + first, n - first < 9 ? n - first : 9);
    memcpy(&word, nine, 8);
    unsigned shift = at & 7;
    word = __builtin_bswap64(word) << shift;
    if (shift)
        word |= nine[8] >> (8 - shift);
    return word >> (64 - width);
}

void bits_set(uint8_t *p, uint64_t at, unsigned width, uint64_t v)
{
    for (unsigned left = width; left;) {
        unsigned in = at & 7, room = 8 - in, take = left < room ? left : room;
        uint8_t mask = (uint8_t)((0xff >> in) & (0xff << (room - take)));
        uint8_t bits = (uint8_t)(v >> (left - take) << (room - take));
        p[at >> 3] = (uint8_t)((p[at >> 3] & ~mask) | (bits & mask));
        at += take;
        left -= take;
    }
}

/* Thirty-two bytes that lie anywhere: the compiler takes the widest registers it may use. */
typedef uint64_t wide __attribute__((vector_size(32), aligned(1), may_alias));

#define COMBINE(op)                                                               \
    do {                                                                          \
        for (; n - i >= sizeof(wide); i += sizeof(wide))                          \
            *(wide *)(void *)(to + i) op *(const wide *)(const void *)(from + i); \
        for (; i < n; i++)                                                        \
            to[i] op from[i];                                                     \
    } while (0)

void bits_combine(uint8_t *restrict to, const uint8_t *restrict from, size_t n, enum bits_op op)
{
    size_t i = 0;
    switch (op) {
    case BITS_AND: COMBINE(&=); break;
    case BITS_OR: COMBINE(|=); break;
    case BITS_XOR: COMBINE(^=); break;
    }
}

void bits_invert_in_place(uint8_t *p, size_t n)
{
    size_t i = 0;
    for (; n - i >= sizeof(wide); i += sizeof(wide))
        *(wide *)(void *)(p + i) = ~*(const wide *)(const void *)(p + i);
    for (; i < n; i++)
        p[i] = (uint8_t)~p[i];
}
