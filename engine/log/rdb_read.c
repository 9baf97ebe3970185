/* rdb_read.c: the pieces of RDB values out of bytes that nobody has checked. Every length is compared with what is left before it is used.
 * Format: rdb.h. */
#include <math.h>
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/base/lzf.h"
#include "engine/log/rdb.h"

/* LZF makes at most 264 bytes of 3. */
#define LZF_GAIN_MAX 264

void rdb_reader_init(struct rdb_reader *r, struct mem *mem, struct span in)
{
    *r = (struct rdb_reader){.cur = in.p, .end = in.p + in.n, .mem = mem};
}

bool rdb_check_footer(struct rdb_reader *r)
{
    size_t n = rdb_left(r);
    if (n < RDB_FOOTER_BYTES + 1)
        return false;
    const uint8_t *footer = r->end - RDB_FOOTER_BYTES;
    unsigned version = footer[0] | (unsigned)footer[1] << 8;
    uint64_t crc;
    memcpy(&crc, footer + 2, 8);
    if (version > RDB_VERSION_READ || crc != crc64(0, r->cur, n - 8))
        return false;
    r->end = footer;
    return true;
}

const uint8_t *rdb_get(struct rdb_reader *r, size_t n)
{
    if (r->failed || rdb_left(r) < n) {
        if (!r->failed)
            r->wants = n;
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->cur;
    r->cur += n;
    return p;
}

uint8_t rdb_get_u8(struct rdb_reader *r)
{
    const uint8_t *p = rdb_get(r, 1);
    return p ? *p : 0;
}

uint64_t rdb_get_u64(struct rdb_reader *r)
{
    uint64_t v = 0;
    const uint8_t *p = rdb_get(r, 8);
    if (p)
        memcpy(&v, p, 8);
    return v;
}

uint64_t rdb_get_u64_be(struct rdb_reader *r)
{
    return __builtin_bswap64(rdb_get_u64(r));
}

double rdb_get_double(struct rdb_reader *r)
{
    uint64_t bits = rdb_get_u64(r);
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

double rdb_get_old_double(struct rdb_reader *r)
{
    char text[256];
    char *end;
    uint8_t n = rdb_get_u8(r);
    if (n >= 253)
        return n == 253 ? NAN : n == 254 ? INFINITY : -INFINITY;
    const uint8_t *p = rdb_get(r, n);
    if (!p)
        return 0;
    memcpy(text, p, n);
    text[n] = 0;
    double v = strtod(text, &end);
    if (n == 0 || end != text + n)
        r->failed = true;
    return v;
}

/* The length, or with *form the number of another form of string. */
static uint64_t get_len(struct rdb_reader *r, bool *form)
{
    uint8_t b = rdb_get_u8(r);
    *form = b >> 6 == 3;
    if (*form || b >> 6 == 0)
        return b & 63;
    if (b >> 6 == 1)
        return (b & 63u) << 8 | rdb_get_u8(r);
    if (b == 0x80) {
        uint32_t v = 0;
        const uint8_t *p = rdb_get(r, 4);
        if (p)
            memcpy(&v, p, 4);
        return __builtin_bswap32(v);
    }
    if (b == 0x81)
        return rdb_get_u64_be(r);
    r->failed = true;
    return 0;
}

uint64_t rdb_get_len(struct rdb_reader *r)
{
    bool form;
    uint64_t n = get_len(r, &form);
    if (form)
        r->failed = true;
    return r->failed ? 0 : n;
}

uint64_t rdb_get_count(struct rdb_reader *r, size_t bytes_each)
{
    uint64_t n = rdb_get_len(r);
    if (n > rdb_left(r) / bytes_each)
        r->failed = true;
    return r->failed ? 0 : n;
}

static bool get_int_form(struct rdb_reader *r, unsigned width, struct rdb_text *ret)
{
    uint32_t v = 0;
    const uint8_t *p = rdb_get(r, width);
    if (!p)
        return false;
    memcpy(&v, p, width);
    unsigned shift = 32 - width * 8;
    ret->s = span_of(ret->number, num_format_i64(ret->number, (int32_t)(v << shift) >> shift));
    return true;
}

static bool get_lzf(struct rdb_reader *r, struct rdb_text *ret)
{
    uint64_t from = rdb_get_len(r), n = rdb_get_len(r);
    const uint8_t *p = rdb_get(r, from);
    if (!p || n == 0 || n > UINT32_MAX || n / LZF_GAIN_MAX > from) {
        r->failed = true;
        return false;
    }
    uint8_t *to = r->scratch;
    if (n <= r->scratch_n) {
        ret->scratch_n = r->scratch_n;
        r->scratch_n = 0; /* until it is freed */
    } else {
        to = ret->owned = mem_alloc(r->mem, n);
        ret->owned_n = n;
    }
    if (!to) {
        r->out_of_memory = r->failed = true;
        return false;
    }
    ret->s = span_of(to, n);
    if (lzf_expand(p, from, to, n) == n)
        return true;
    rdb_text_free(r, ret);
    r->failed = true;
    return false;
}

/* A plain string of less than 64 bytes that is all there, which most are. */
static inline bool short_string(const struct rdb_reader *r)
{
    return likely_(!r->failed && r->cur < r->end && *r->cur < 64 && *r->cur < r->end - r->cur);
}

bool rdb_get_string(struct rdb_reader *r, struct rdb_text *ret)
{
    bool form;
    if (short_string(r)) {
        ret->s = span_of(r->cur + 1, *r->cur);
        ret->owned = NULL;
        ret->scratch_n = 0;
        r->cur += 1 + ret->s.n;
        return true;
    }
    uint64_t n = get_len(r, &form);
    *ret = (struct rdb_text){.s = span_of("", 0)};
    if (r->failed)
        return false;
    if (!form) {
        const uint8_t *p = rdb_get(r, n);
        if (p)
            ret->s = span_of(p, n);
        return p != NULL;
    }
    switch (n) {
    case 0: return get_int_form(r, 1, ret);
    case 1: return get_int_form(r, 2, ret);
    case 2: return get_int_form(r, 4, ret);
    case 3: return get_lzf(r, ret);
    default: r->failed = true; return false;
    }
}

bool rdb_skip_string(struct rdb_reader *r)
{
    bool form;
    if (short_string(r)) {
        r->cur += 1 + *r->cur;
        return true;
    }
    uint64_t n = get_len(r, &form);
    if (form && n == 3) {
        n = rdb_get_len(r);
        rdb_get_len(r);
    } else if (form) {
        if (n > 3)
            r->failed = true;
        n = 1u << (n & 3);
    }
    return !r->failed && rdb_get(r, n) != NULL;
}

void rdb_text_free(struct rdb_reader *r, struct rdb_text *t)
{
    if (t->owned)
        mem_free(r->mem, t->owned, t->owned_n);
    if (t->scratch_n)
        r->scratch_n = t->scratch_n;
    t->owned = NULL;
    t->scratch_n = 0;
    t->s = span_of("", 0);
}

bool rdb_get_block(struct rdb_reader *r, struct mem_block *ret)
{
    struct rdb_text t;
    size_t scratch = r->scratch_n;
    r->scratch_n = 0;
    bool good = rdb_get_string(r, &t);
    r->scratch_n = scratch;
    if (!good)
        return false;
    if (t.owned) {
        *ret = (struct mem_block){t.owned, t.owned_n, t.owned_n};
        return true;
    }
    uint8_t *p = mem_alloc(r->mem, t.s.n ? t.s.n : 1);
    if (!p) {
        r->out_of_memory = r->failed = true;
        return false;
    }
    memcpy(p, t.s.p, t.s.n);
    *ret = (struct mem_block){p, t.s.n, t.s.n ? t.s.n : 1};
    return true;
}
