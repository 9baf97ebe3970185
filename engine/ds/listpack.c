/* listpack.c: makes, reads and changes listpacks. Picture of the bytes: listpack.h; reading in loops: listpack_inline.h.
 *
 * Where in the flow: small lists, hashes, sets and sorted sets, nodes of quicklists and streams. Source of the format: the listpack
 * of Redis 7, of which every detail counts, since DUMP and RDB carry the bytes: the shortest encoding is taken, and the backwards
 * length has the limits that lp_back_bytes names. Thread: the lease holder's.
 *
 * Every change is one call of splice: it makes a hole of the new element's size over the bytes that go. */
#include "engine/ds/listpack_inline.h"

/* ---- tables ---- */

/* clang-format off */
#define STEP4(n)  n, n, n, n
#define STEP16(n) STEP4(n), STEP4(n), STEP4(n), STEP4(n)
#define COUNT4(n)  n, (n) + 1, (n) + 2, (n) + 3
#define COUNT16(n) COUNT4(n), COUNT4((n) + 4), COUNT4((n) + 8), COUNT4((n) + 12)
const uint8_t lp_step[256] = {
    STEP16(2), STEP16(2), STEP16(2), STEP16(2), STEP16(2), STEP16(2), STEP16(2), STEP16(2),
    COUNT16(2), COUNT16(18), COUNT16(34), COUNT16(50),
    STEP16(3), STEP16(3),
    STEP16(0),
    0, 4, 5, 6, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
};
/* clang-format on */

/* ---- the header ---- */

static inline uint32_t header_count(const uint8_t *p)
{
    return lp_load16(p + 4);
}
static inline void header_set_bytes(uint8_t *p, size_t n)
{
    uint32_t v = (uint32_t)n;
    memcpy(p, &v, 4);
}
static inline void header_set_count(uint8_t *p, size_t n)
{
    uint16_t v = n < LP_UNKNOWN ? (uint16_t)n : LP_UNKNOWN;
    memcpy(p + 4, &v, 2);
}
/* Once unknown, the count stays so until somebody counts. */
static inline void header_add_count(uint8_t *p, int64_t n)
{
    uint32_t have = header_count(p);
    if (have != LP_UNKNOWN)
        header_set_count(p, (size_t)((int64_t)have + n));
}

static inline uint8_t *end_of(const struct mem_block *lp)
{
    return lp->p + lp->len - 1;
}
static inline uint8_t *or_null(uint8_t *at)
{
    return *at == LP_END ? NULL : at;
}

/* ---- elements to be written ---- */

size_t lp_element_bytes(struct span text)
{
    struct lp_encoded e;
    if (text.n > LP_BYTES_MAX)
        return text.n;
    lp_encode_text(&e, text);
    return lp_encoded_bytes(&e);
}

struct lp_needle lp_needle_of(struct span text)
{
    struct lp_needle needle = {.text = text};
    needle.is_number = lp_may_be_number(text) && num_parse_i64(text, &needle.number);
    return needle;
}

/* ---- blocks ---- */

bool lp_init(struct mem *mem, struct mem_block *lp, size_t room)
{
    if (room > LP_BYTES_MAX)
        return false;
    size_t cap = mem_size_class(LP_EMPTY_BYTES + room);
    uint8_t *p = mem_alloc(mem, cap);
    if (!p)
        return false;
    header_set_bytes(p, LP_EMPTY_BYTES);
    header_set_count(p, 0);
    p[LP_HEADER_BYTES] = LP_END;
    *lp = (struct mem_block){p, LP_EMPTY_BYTES, cap};
    return true;
}

void lp_free(struct mem *mem, struct mem_block *lp)
{
    mem_free(mem, lp->p, lp->cap);
    *lp = (struct mem_block){0};
}

static bool set_cap(struct mem *mem, struct mem_block *lp, size_t cap)
{
    uint8_t *p = mem_realloc(mem, lp->p, lp->cap, cap);
    if (!p)
        return false;
    lp->p = p;
    lp->cap = cap;
    return true;
}

void lp_shrink(struct mem *mem, struct mem_block *lp)
{
    size_t cap = mem_size_class(lp->len);
    if (cap < lp->cap)
        set_cap(mem, lp, cap);
}

/* Makes `hole` bytes of room at offset `at`, in place of the `gone` bytes that are there. NULL: no memory, nothing changed.
 * A block that shrank to half of what it has is given back in part: a list that breathes does not reallocate at each breath. */
static uint8_t *splice(struct mem *mem, struct mem_block *lp, size_t at, size_t gone, size_t hole)
{
    size_t len = lp->len - gone + hole;
    if (len > lp->cap) {
        if (len > LP_BYTES_MAX || !set_cap(mem, lp, mem_size_class(len)))
            return NULL;
    }
    if (gone != hole) {
        memmove(lp->p + at + hole, lp->p + at + gone, lp->len - at - gone);
        lp->len = len;
        header_set_bytes(lp->p, len);
        if (gone > hole && len * 2 <= lp->cap)
            lp_shrink(mem, lp);
    }
    return lp->p + at;
}

size_t lp_count(const struct mem_block *lp)
{
    size_t n = header_count(lp->p);
    if (likely_(n != LP_UNKNOWN))
        return n;
    n = 0;
    for (const uint8_t *at = lp->p + LP_HEADER_BYTES; *at != LP_END; at = lp_skip(at))
        n++;
    header_set_count(lp->p, n); /* when it fits again, the next one need not count */
    return n;
}

/* ---- reading ---- */

uint8_t *lp_first(const struct mem_block *lp)
{
    return or_null(lp->p + LP_HEADER_BYTES);
}
uint8_t *lp_last(const struct mem_block *lp)
{
    return lp->len > LP_EMPTY_BYTES ? lp_skip_back(end_of(lp)) : NULL;
}
uint8_t *lp_next(const struct mem_block *lp, const uint8_t *at)
{
    (void)lp;
    return or_null(lp_skip(at));
}
uint8_t *lp_prev(const struct mem_block *lp, const uint8_t *at)
{
    return at > lp->p + LP_HEADER_BYTES ? lp_skip_back(at) : NULL;
}

/* From the nearer end, when the header tells how many there are. */
uint8_t *lp_seek(const struct mem_block *lp, int64_t index)
{
    int64_t n = header_count(lp->p);
    bool back = index < 0;
    if (n != LP_UNKNOWN) {
        if (index < -n || index >= n)
            return NULL;
        if (index < 0)
            index += n;
        back = index > n / 2;
        if (back)
            index -= n;
    }
    uint8_t *at;
    if (back) {
        at = end_of(lp);
        for (; index < 0; index++) {
            if (at == lp->p + LP_HEADER_BYTES)
                return NULL;
            at = lp_skip_back(at);
        }
        return at;
    }
    for (at = lp->p + LP_HEADER_BYTES; index > 0 && *at != LP_END; index--)
        at = lp_skip(at);
    return or_null(at);
}

struct lp_value lp_get(const uint8_t *at)
{
    return lp_read(at);
}

struct span lp_text(const uint8_t *at, char *scratch)
{
    struct lp_value v = lp_read(at);
    return v.text.p ? v.text : span_of(scratch, num_format_i64(scratch, v.number));
}

bool lp_equal(const uint8_t *at, struct span text)
{
    if ((*at & 0xc0) == LP_STR6)
        return (*at & 63u) == text.n && lp_bytes_equal(at + 1, text.p, text.n);
    struct lp_needle needle = lp_needle_of(text);
    return lp_matches(at, &needle);
}

uint8_t *lp_find(const struct mem_block *lp, uint8_t *at, struct span text, uint32_t skip)
{
    struct lp_needle needle = lp_needle_of(text);
    (void)lp;
    while (at && *at != LP_END) {
        if (unlikely_(lp_matches(at, &needle)))
            return at;
        at = lp_skip(at);
        for (uint32_t i = 0; i < skip && *at != LP_END; i++)
            at = lp_skip(at);
    }
    return NULL;
}

/* ---- changes ---- */

static uint8_t *put(struct mem *mem, struct mem_block *lp, uint8_t *at, size_t gone,
                    const struct lp_encoded *e)
{
    uint8_t *hole = splice(mem, lp, (size_t)(at - lp->p), gone, lp_encoded_bytes(e));
    if (!hole)
        return NULL;
    lp_write(hole, e);
    if (!gone)
        header_add_count(lp->p, 1);
    return hole;
}

uint8_t *lp_insert(struct mem *mem, struct mem_block *lp, uint8_t *at, struct span text)
{
    struct lp_encoded e;
    if (text.n > LP_BYTES_MAX)
        return NULL;
    lp_encode_text(&e, text);
    return put(mem, lp, at ? at : end_of(lp), 0, &e);
}

uint8_t *lp_insert_i64(struct mem *mem, struct mem_block *lp, uint8_t *at, int64_t v)
{
    struct lp_encoded e;
    lp_encode_int(&e, v);
    return put(mem, lp, at ? at : end_of(lp), 0, &e);
}

uint8_t *lp_replace(struct mem *mem, struct mem_block *lp, uint8_t *at, struct span text)
{
    struct lp_encoded e;
    if (text.n > LP_BYTES_MAX)
        return NULL;
    lp_encode_text(&e, text);
    return put(mem, lp, at, (size_t)(lp_skip(at) - at), &e);
}

uint8_t *lp_replace_i64(struct mem *mem, struct mem_block *lp, uint8_t *at, int64_t v)
{
    struct lp_encoded e;
    lp_encode_int(&e, v);
    return put(mem, lp, at, (size_t)(lp_skip(at) - at), &e);
}

uint8_t *lp_delete(struct mem *mem, struct mem_block *lp, uint8_t *at, size_t n)
{
    uint8_t *to = at;
    size_t gone = 0;
    for (; gone < n && *to != LP_END; gone++)
        to = lp_skip(to);
    header_add_count(lp->p, -(int64_t)gone);
    return or_null(splice(mem, lp, (size_t)(at - lp->p), (size_t)(to - at), 0));
}

bool lp_join(struct mem *mem, struct mem_block *to, const struct mem_block *from)
{
    size_t more = from->len - LP_EMPTY_BYTES;
    size_t n =
        (size_t)header_count(to->p) + header_count(from->p); /* unknown ones make it unknown */
    uint8_t *hole = splice(mem, to, to->len - 1, 0, more);
    if (!hole)
        return false;
    memcpy(hole, from->p + LP_HEADER_BYTES, more);
    header_set_count(to->p, n);
    return true;
}

/* ---- bytes from outside ---- */

size_t lp_check_long(const uint8_t *p, size_t left)
{
    size_t head = *p == LP_STR32 ? 5 : *p >= LP_STR12 && *p < LP_STR32 ? 2 : 1;
    if (head > left || *p > LP_INT64)
        return 0;
    size_t n = *p == LP_STR32 ? 5 + (size_t)lp_load32(p + 1) : lp_long_bytes(p);
    if (n >= left || n > LP_BYTES_MAX)
        return 0;
    size_t all = n + lp_back_bytes((uint32_t)n);
    if (all > left)
        return 0;
    /* The way back must lead here. */
    size_t back = 0, bytes = 0;
    do {
        back |= (size_t)(p[all - 1 - bytes] & 127) << 7 * bytes;
    } while (p[all - 1 - bytes++] > 127 && bytes < all - n);
    return back == n && bytes == all - n && p[n] < 128 ? all : 0;
}

bool lp_valid(const uint8_t *p, size_t n)
{
    if (!lp_frame_valid(p, n))
        return false;
    size_t count = 0;
    const uint8_t *at = p + LP_HEADER_BYTES, *end = p + n - 1;
    while (at < end) {
        size_t step = lp_check_element(at, (size_t)(end - at));
        if (!step)
            return false;
        at += step;
        count++;
    }
    return lp_counts(p, count);
}
