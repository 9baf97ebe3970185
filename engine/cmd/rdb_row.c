/* rdb_row.c: reads ziplists and zipmaps, which only old files and payloads hold. Formats: rdb_row.h. */
#include "engine/cmd/rdb_row.h"

#define ZIPLIST_HEADER_BYTES 10

static size_t left(const struct rdb_row *r)
{
    return (size_t)(r->end - r->cur);
}

static uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* n bytes, or NULL and failed. */
static const uint8_t *take(struct rdb_row *r, size_t n)
{
    if (r->failed || left(r) < n) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->cur;
    r->cur += n;
    return p;
}

bool rdb_row_ziplist(struct rdb_row *r, struct span b)
{
    *r = (struct rdb_row){0};
    if (b.n < ZIPLIST_HEADER_BYTES + 1 || load32(b.p) != b.n || b.p[b.n - 1] != 0xff)
        return false;
    r->cur = b.p + ZIPLIST_HEADER_BYTES;
    r->end = b.p + b.n;
    return true;
}

bool rdb_row_zipmap(struct rdb_row *r, struct span b)
{
    *r = (struct rdb_row){.zipmap = true};
    if (b.n < 2 || b.p[b.n - 1] != 0xff)
        return false;
    r->cur = b.p + 1;
    r->end = b.p + b.n;
    return true;
}

/* At the last byte, which is 0xff: the end. */
static bool at_end(struct rdb_row *r)
{
    if (r->failed || left(r) == 0) {
        r->failed = true;
        return true;
    }
    if (*r->cur != 0xff)
        return false;
    r->failed |= left(r) != 1;
    return true;
}

static bool text(struct rdb_row *r, size_t n, struct lp_value *ret)
{
    const uint8_t *p = take(r, n);
    if (p)
        *ret = (struct lp_value){.text = {p, n}};
    return p != NULL;
}

/* A little-endian integer of that many bytes. */
static bool number(struct rdb_row *r, unsigned width, struct lp_value *ret)
{
    uint64_t v = 0;
    const uint8_t *p = take(r, width);
    if (!p)
        return false;
    memcpy(&v, p, width);
    unsigned shift = 64 - width * 8;
    *ret = (struct lp_value){.number = (int64_t)(v << shift) >> shift};
    return true;
}

static bool ziplist_element(struct rdb_row *r, struct lp_value *ret)
{
    const uint8_t *prev = take(r, 1);
    if (prev && *prev == 254)
        take(r, 4);
    const uint8_t *p = take(r, 1);
    if (!p)
        return false;
    uint8_t e = *p;
    if (e >> 6 == 0)
        return text(r, e & 63, ret);
    if (e >> 6 == 1) {
        const uint8_t *low = take(r, 1);
        return low && text(r, (e & 63u) << 8 | *low, ret);
    }
    if (e >> 6 == 2) {
        const uint8_t *n = take(r, 4);
        return n && text(r, __builtin_bswap32(load32(n)), ret);
    }
    switch (e) {
    case 0xc0: return number(r, 2, ret);
    case 0xd0: return number(r, 4, ret);
    case 0xe0: return number(r, 8, ret);
    case 0xf0: return number(r, 3, ret);
    case 0xfe: return number(r, 1, ret);
    default: break;
    }
    if (e < 0xf1 || e > 0xfd) {
        r->failed = true;
        return false;
    }
    *ret = (struct lp_value){.number = (e & 15) - 1};
    return true;
}

static bool zipmap_element(struct rdb_row *r, struct lp_value *ret)
{
    const uint8_t *p = take(r, 1);
    if (!p)
        return false;
    size_t n = *p, spare = 0;
    if (n == 254) {
        p = take(r, 4);
        if (!p)
            return false;
        n = load32(p);
    }
    if (r->value_next) {
        p = take(r, 1);
        spare = p ? *p : 0;
    }
    r->value_next = !r->value_next;
    return text(r, n, ret) && take(r, spare) != NULL;
}

bool rdb_row_next(struct rdb_row *r, struct lp_value *ret)
{
    if (at_end(r))
        return false;
    return r->zipmap ? zipmap_element(r, ret) : ziplist_element(r, ret);
}
