/* intset.c: see intset.h for the bytes.
 *
 * Where in the flow: small sets of integers (engine/ds/set.c). Thread: the lease holder's. */
#include "engine/ds/intset.h"

#include <string.h>

#include "engine/base/assert.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the format is little-endian, and so is this code");

static uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static void store32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
}

static int64_t load(const uint8_t *p, uint32_t width, size_t i)
{
    p += INTSET_HEADER_BYTES + i * width;
    if (width == 2) {
        int16_t v;
        memcpy(&v, p, 2);
        return v;
    }
    if (width == 4) {
        int32_t v;
        memcpy(&v, p, 4);
        return v;
    }
    int64_t v;
    memcpy(&v, p, 8);
    return v;
}

static void store(uint8_t *p, uint32_t width, size_t i, int64_t v)
{
    memcpy(p + INTSET_HEADER_BYTES + i * width, &v, width); /* the low bytes come first */
}

static uint32_t width_of(int64_t v)
{
    return v >= INT16_MIN && v <= INT16_MAX ? 2 : v >= INT32_MIN && v <= INT32_MAX ? 4 : 8;
}

static uint32_t width(const struct mem_block *is)
{
    return load32(is->p);
}

size_t intset_count(const struct mem_block *is)
{
    return load32(is->p + 4);
}

int64_t intset_get(const struct mem_block *is, size_t i)
{
    ASSERT(i < intset_count(is));
    return load(is->p, width(is), i);
}

bool intset_init(struct mem *mem, struct mem_block *is, size_t room)
{
    size_t cap = mem_size_class(INTSET_HEADER_BYTES + 2 * (room ? room : 1));
    uint8_t *p = mem_alloc(mem, cap);
    if (!p)
        return false;
    store32(p, 2);
    store32(p + 4, 0);
    *is = (struct mem_block){p, INTSET_HEADER_BYTES, cap};
    return true;
}

void intset_free(struct mem *mem, struct mem_block *is)
{
    mem_free(mem, is->p, is->cap);
    *is = (struct mem_block){0};
}

/* Where v is (true) or belongs. */
static bool search(const struct mem_block *is, int64_t v, size_t *at)
{
    uint32_t w = width(is);
    size_t lo = 0, n = intset_count(is);
    if (n && v > load(is->p, w, n - 1)) { /* ascending input is common */
        *at = n;
        return false;
    }
    while (n) { /* the answer is in [lo, lo + n] */
        size_t half = n / 2;
        int64_t m = load(is->p, w, lo + half);
        if (m == v) {
            *at = lo + half;
            return true;
        }
        if (m < v) {
            lo += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    *at = lo;
    return false;
}

bool intset_has(const struct mem_block *is, int64_t v)
{
    size_t at;
    return width_of(v) <= width(is) && search(is, v, &at);
}

static bool reserve(struct mem *mem, struct mem_block *is, size_t need)
{
    if (need <= is->cap)
        return true;
    size_t cap = mem_size_class(need + need / 8);
    uint8_t *p = mem_realloc(mem, is->p, is->cap, cap);
    if (!p)
        return false;
    is->p = p;
    is->cap = cap;
    return true;
}

/* v is wider than all that is there, so it is smaller or greater than all. */
static enum intset_added add_wider(struct mem *mem, struct mem_block *is, int64_t v)
{
    uint32_t old = width(is), w = width_of(v);
    size_t n = intset_count(is), front = v < 0;
    if (!reserve(mem, is, INTSET_HEADER_BYTES + (n + 1) * w))
        return INTSET_NO_MEMORY;
    for (size_t i = n; i-- > 0;) /* from the end: the wider one never overtakes */
        store(is->p, w, i + front, load(is->p, old, i));
    store(is->p, w, front ? 0 : n, v);
    store32(is->p, w);
    store32(is->p + 4, (uint32_t)n + 1);
    is->len = INTSET_HEADER_BYTES + (n + 1) * w;
    return INTSET_NEW;
}

enum intset_added intset_add(struct mem *mem, struct mem_block *is, int64_t v)
{
    size_t at, n = intset_count(is);
    uint32_t w = width(is);
    if (n >= INTSET_MAX)
        return intset_has(is, v) ? INTSET_THERE : INTSET_NO_MEMORY;
    if (width_of(v) > w)
        return add_wider(mem, is, v);
    if (search(is, v, &at))
        return INTSET_THERE;
    if (!reserve(mem, is, is->len + w))
        return INTSET_NO_MEMORY;
    uint8_t *p = is->p + INTSET_HEADER_BYTES + at * w;
    memmove(p + w, p, (n - at) * w);
    store(is->p, w, at, v);
    store32(is->p + 4, (uint32_t)n + 1);
    is->len += w;
    return INTSET_NEW;
}

bool intset_remove(struct mem *mem, struct mem_block *is, int64_t v)
{
    size_t at, n = intset_count(is);
    uint32_t w = width(is);
    if (width_of(v) > w || !search(is, v, &at))
        return false;
    uint8_t *p = is->p + INTSET_HEADER_BYTES + at * w;
    memmove(p, p + w, (n - at - 1) * w);
    store32(is->p + 4, (uint32_t)n - 1);
    is->len -= w;
    if (is->len * 2 < is->cap && is->cap > 32) {
        size_t cap = mem_size_class(is->len + is->len / 8);
        uint8_t *q = mem_realloc(mem, is->p, is->cap, cap);
        if (q) {
            is->p = q;
            is->cap = cap;
        }
    }
    return true;
}

bool intset_valid(const uint8_t *p, size_t n)
{
    if (n < INTSET_HEADER_BYTES)
        return false;
    uint32_t w = load32(p);
    uint64_t count = load32(p + 4);
    if ((w != 2 && w != 4 && w != 8) || count > INTSET_MAX || n != INTSET_HEADER_BYTES + count * w)
        return false;
    for (size_t i = 1; i < count; i++)
        if (load(p, w, i - 1) >= load(p, w, i))
            return false;
    return true;
}
