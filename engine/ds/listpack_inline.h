/* listpack_inline.h: elements of listpacks read and written without a call for each, for loops over many (LRANGE, HGETALL, searches) and for
 * those who keep rows of elements in blocks of their own (quicklist.c).
 *
 * What is here trusts the bytes: they were written by listpack.c or have passed lp_valid (but for lp_check_element and what is beside it). Picture: listpack.h. Thread: the lease holder's. */
#pragma once

#include "engine/base/assert.h"
#include "engine/ds/listpack.h"

#define LP_END     0xff /* behind the last element */
#define LP_STR6    0x80
#define LP_INT13   0xc0
#define LP_STR12   0xe0
#define LP_STR32   0xf0
#define LP_INT16   0xf1
#define LP_INT24   0xf2
#define LP_INT32   0xf3
#define LP_INT64   0xf4
#define LP_UNKNOWN 65535 /* in the header: count them */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "integers of a listpack are loaded as they are");

static inline uint32_t lp_load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
static inline uint32_t lp_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t lp_load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* By the first byte: what the whole element takes. 0: its length follows (strings of 64 bytes and more), or there is no such element. */
extern const uint8_t lp_step[256];

/* Bytes of the backwards readable length of an element whose encoding and data are n bytes. The odd limits are the format's. */
static inline uint32_t lp_back_bytes(uint32_t n)
{
    return n <= 127 ? 1 : n < 16383 ? 2 : n < 2097151 ? 3 : n < 268435455 ? 4 : 5;
}

/* Bytes of a long string's element without its backwards length. */
static inline uint32_t lp_long_bytes(const uint8_t *at)
{
    return *at == LP_STR32 ? 5 + lp_load32(at + 1) : 2 + ((*at & 15u) << 8 | at[1]);
}

/* What is behind the element: another one, or LP_END. */
static inline uint8_t *lp_skip(const uint8_t *at)
{
    uint32_t n = lp_step[*at];
    if (unlikely_(n == 0)) {
        n = lp_long_bytes(at);
        n += lp_back_bytes(n);
    }
    return (uint8_t *)(uintptr_t)(at + n);
}

/* What is before `at`, an element or the end, which must not be the first. */
static inline uint8_t *lp_skip_back(const uint8_t *at)
{
    uint32_t n = at[-1], bytes = 1;
    if (unlikely_(n > 127)) {
        n &= 127;
        do {
            n |= (at[-1 - (int)bytes] & 127u) << 7 * bytes;
        } while (at[-1 - (int)bytes++] > 127);
    }
    return (uint8_t *)(uintptr_t)(at - bytes - n);
}

/* lp_get, inline. */
static inline __attribute__((always_inline)) struct lp_value lp_read(const uint8_t *at)
{
    uint8_t b = *at;
    if (likely_((b & 0xc0) == LP_STR6))
        return (struct lp_value){.text = {at + 1, b & 63u}};
    if (b < LP_STR6)
        return (struct lp_value){.number = b};
    if (b < LP_STR12) /* 13 bits, the highest one the sign */
        return (struct lp_value){.number = (int16_t)((b & 31u) << 11 | (uint32_t)at[1] << 3) >> 3};
    if (b < LP_STR32)
        return (struct lp_value){.text = {at + 2, (b & 15u) << 8 | at[1]}};
    switch (b) {
    case LP_STR32: return (struct lp_value){.text = {at + 5, lp_load32(at + 1)}};
    case LP_INT16: return (struct lp_value){.number = (int16_t)lp_load16(at + 1)};
    case LP_INT24:
        return (struct lp_value){
            .number = (int32_t)(lp_load16(at + 1) << 8 | (uint32_t)at[3] << 24) >> 8};
    case LP_INT32: return (struct lp_value){.number = (int32_t)lp_load32(at + 1)};
    default: return (struct lp_value){.number = (int64_t)lp_load64(at + 1)};
    }
}

/* ---- bytes from outside ---- */

/* What is around the elements. */
static inline bool lp_frame_valid(const uint8_t *p, size_t n)
{
    return n >= LP_EMPTY_BYTES && n <= LP_BYTES_MAX && lp_load32(p) == n && p[n - 1] == LP_END;
}

/* Whether the header says that there are so many. */
static inline bool lp_counts(const uint8_t *p, size_t count)
{
    return lp_load16(p + 4) == LP_UNKNOWN || lp_load16(p + 4) == count;
}

/* lp_check_element for strings of 64 bytes and more, and for what is no element. */
size_t lp_check_long(const uint8_t *p, size_t left);

/* Bytes of the element at p, of which `left` bytes (at least 1) can be read; 0: it is none. */
static inline __attribute__((always_inline)) size_t lp_check_element(const uint8_t *p, size_t left)
{
    size_t step = likely_((*p & 0xc0) == LP_STR6) ? (*p & 63u) + 2 : lp_step[*p];
    if (unlikely_(step <= 1))
        return lp_check_long(p, left);
    return step <= left && p[step - 1] == step - 1 ? step : 0; /* its length backwards is a byte */
}

/* A text to look for, read once: as bytes and, when it is the canonical form of one, as an integer. */
struct lp_needle {
    struct span text;
    int64_t number;
    bool is_number;
};
struct lp_needle lp_needle_of(struct span text);

static inline bool lp_bytes_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (n >= 8 && n <= 16)
        return lp_load64(a) == lp_load64(b) && lp_load64(a + n - 8) == lp_load64(b + n - 8);
    return n == 0 || (*a == *b && memcmp(a, b, n) == 0);
}

/* Lengths first. A string that reads as an integer is compared as a string: bytes from outside may hold one. */
static inline __attribute__((always_inline)) bool lp_matches(const uint8_t *at,
                                                             const struct lp_needle *needle)
{
    uint8_t b = *at;
    if (likely_((b & 0xc0) == LP_STR6))
        return (b & 63u) == needle->text.n &&
               lp_bytes_equal(at + 1, needle->text.p, needle->text.n);
    struct lp_value v = lp_read(at);
    if (v.text.p)
        return v.text.n == needle->text.n && lp_bytes_equal(v.text.p, needle->text.p, v.text.n);
    return needle->is_number && v.number == needle->number;
}

/* ---- elements to be written ---- */

/* Head and data of an element. */
struct lp_encoded {
    uint8_t head[9];
    uint32_t head_n;
    struct span text; /* behind the head */
};

static inline void lp_encode_int(struct lp_encoded *e, int64_t v)
{
    uint8_t *h = e->head;
    e->text = (struct span){NULL, 0};
    if (v >= 0 && v <= 127) {
        h[0] = (uint8_t)v;
        e->head_n = 1;
    } else if (v >= -4096 && v <= 4095) {
        h[0] = (uint8_t)(LP_INT13 | ((uint64_t)v >> 8 & 31));
        h[1] = (uint8_t)v;
        e->head_n = 2;
    } else {
        uint32_t n;
        if (v >= INT16_MIN && v <= INT16_MAX)
            h[0] = LP_INT16, n = 2;
        else if (v >= -8388608 && v <= 8388607)
            h[0] = LP_INT24, n = 3;
        else if (v >= INT32_MIN && v <= INT32_MAX)
            h[0] = LP_INT32, n = 4;
        else
            h[0] = LP_INT64, n = 8;
        memcpy(h + 1, &v, 8);
        e->head_n = 1 + n;
    }
}

/* Only what begins so can be an integer. */
static inline bool lp_may_be_number(struct span text)
{
    return text.n - 1 < 20 && ((uint8_t)(text.p[0] - '0') < 10 || text.p[0] == '-');
}

static inline void lp_encode_text(struct lp_encoded *e, struct span text)
{
    int64_t v;
    if (lp_may_be_number(text) && num_parse_i64(text, &v)) {
        lp_encode_int(e, v);
        return;
    }
    uint8_t *h = e->head;
    e->text = text;
    if (text.n < 64) {
        h[0] = (uint8_t)(LP_STR6 | text.n);
        e->head_n = 1;
    } else if (text.n < 4096) {
        h[0] = (uint8_t)(LP_STR12 | text.n >> 8);
        h[1] = (uint8_t)text.n;
        e->head_n = 2;
    } else {
        uint32_t n = (uint32_t)text.n;
        h[0] = LP_STR32;
        memcpy(h + 1, &n, 4);
        e->head_n = 5;
    }
}

static inline size_t lp_encoded_bytes(const struct lp_encoded *e)
{
    uint32_t n = e->head_n + (uint32_t)e->text.n;
    return n + lp_back_bytes(n);
}

static inline void lp_write(uint8_t *to, const struct lp_encoded *e)
{
    to[0] = e->head[0];
    for (uint32_t i = 1; i < e->head_n; i++)
        to[i] = e->head[i];
    to += e->head_n;
    if (likely_(e->text.n <= 64))
        bytes_copy_64(to, e->text.p, e->text.n);
    else
        memcpy(to, e->text.p, e->text.n);
    to += e->text.n;
    uint32_t n = e->head_n + (uint32_t)e->text.n;
    if (likely_(n <= 127)) {
        *to = (uint8_t)n;
        return;
    }
    uint32_t bytes = lp_back_bytes(n);
    /* The only one without the upper bit: the last one read. */
    to[0] = (uint8_t)(n >> 7 * (bytes - 1));
    for (uint32_t i = 1; i < bytes; i++)
        to[i] = (uint8_t)(128 | (n >> 7 * (bytes - 1 - i) & 127));
}
