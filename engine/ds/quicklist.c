/* quicklist.c: the life of a quicklist, its two ends, and seeking. The middle: quicklist_edit.c. Picture: quicklist.h.
 *
 * Where in the flow: list_value.c, for lists that have outgrown a listpack. A block at an end of a long list is made in its full size
 * and filled from that end, so that a push writes the element and one record, and a pop moves a border. Thread: the lease holder's. */
#include "engine/ds/quicklist_internal.h"

#define LONG_LIST 4 /* from so many blocks on, one at an end is made in its full size at once */

/* ---- blocks ---- */

uint8_t *qlb_alloc(struct quicklist *q, size_t n)
{
    uint8_t *p = mem_alloc(q->mem, n);
    if (likely_(p != NULL))
        q->bytes += mem_size_class(n);
    return p;
}

void qlb_free(struct quicklist *q, struct ql_block *b)
{
    q->bytes -= mem_size_class(b->cap);
    mem_free(q->mem, b->p, b->cap);
}

void qlb_trim(struct quicklist *q, struct ql_block *b)
{
    if (b->lzf)
        return;
    size_t cap = mem_size_class(b->len);
    if (cap >= b->cap)
        return;
    uint8_t *p = qlb_alloc(q, cap);
    if (!p)
        return;
    memcpy(p, ql_block_first(b), b->len);
    qlb_free(q, b);
    b->p = p;
    b->start = 0;
    b->cap = (uint32_t)cap;
}

/* What a block that must hold `need` bytes asks for. One at an end of a long list doubles, or has its full size at once; all others are
 * as large as they must be. */
static size_t block_cap(const struct quicklist *q, bool at_end, size_t need, size_t have)
{
    size_t want = !at_end || q->n <= 1 || q->block_elements != UINT32_MAX ? need
                  : q->n >= LONG_LIST                                     ? q->block_bytes
                                                                          : have * 2 + 512;
    if (want > q->block_bytes)
        want = q->block_bytes;
    return mem_size_class(want > need ? want : need);
}

/* The elements move to `p`, where they begin at `start`, with the hole in them. From the end on, for p may be their own block and then
 * what is behind the hole goes to the right. */
static void move_around(struct ql_block *b, uint8_t *p, size_t start, size_t off, size_t gone,
                        size_t hole)
{
    const uint8_t *from = ql_block_first(b);
    memmove(p + start + off + hole, from + off + gone, b->len - off - gone);
    memmove(p + start, from, off);
}

/* Neither side has room for d more bytes. What is free then goes to the end that is being pushed to, or to both. */
static uint8_t *splice_anew(struct quicklist *q, struct ql_block *b, size_t off, size_t gone,
                            size_t hole)
{
    size_t len = b->len - gone + hole;
    bool at_tail = off + gone + 1 == b->len;
    if (len <= b->cap) {
        size_t spare = b->cap - len, start = at_tail ? spare / 2 : spare - spare / 2;
        move_around(b, b->p, start, off, gone, hole);
        b->start = (uint32_t)start;
        b->len = (uint32_t)len;
        return ql_block_first(b) + off;
    }
    bool at_end = b == qlb(q, 0) || b == qlb(q, q->n - 1);
    size_t cap = block_cap(q, at_end, len, b->cap);
    uint8_t *p = qlb_alloc(q, cap);
    if (!p)
        return NULL;
    size_t start = at_tail ? 0 : off == 0 ? cap - len : (cap - len) / 2;
    move_around(b, p, start, off, gone, hole);
    qlb_free(q, b);
    *b = (struct ql_block){p, (uint32_t)start, (uint32_t)len, (uint32_t)cap, b->count, 0, 0, 0};
    return p + start + off;
}

uint8_t *qlb_splice(struct quicklist *q, struct ql_block *b, size_t off, size_t gone, size_t hole)
{
    b->tried = 0;
    uint8_t *p = ql_block_first(b);
    size_t behind = b->len - off - gone, more = hole - gone, less = gone - hole;
    if (hole >= gone) {
        size_t back = b->cap - b->start - b->len;
        if (b->start >= more && (off < behind || back < more)) {
            memmove(p - more, p, off);
            b->start -= (uint32_t)more;
        } else if (back >= more) {
            memmove(p + off + hole, p + off + gone, behind);
        } else {
            return splice_anew(q, b, off, gone, hole);
        }
        b->len += (uint32_t)more;
    } else {
        if (off < behind) {
            memmove(p + less, p, off);
            b->start += (uint32_t)less;
        } else {
            memmove(p + off + hole, p + off + gone, behind);
        }
        b->len -= (uint32_t)less;
    }
    return ql_block_first(b) + off;
}

static bool make_plain(struct quicklist *q, struct ql_block *ret, struct span text)
{
    uint8_t *p = text.n <= UINT32_MAX ? qlb_alloc(q, text.n) : NULL;
    if (!p)
        return false;
    memcpy(p, text.p, text.n);
    *ret = (struct ql_block){p, 0, (uint32_t)text.n, (uint32_t)text.n, 1, 1, 0, 0};
    return true;
}

bool qlb_make(struct quicklist *q, struct ql_block *ret, enum ql_place place, struct span text,
              const struct lp_encoded *e)
{
    size_t len = lp_encoded_bytes(e) + 1;
    if (!ql_packs(q, len - 1))
        return make_plain(q, ret, text);
    size_t cap = block_cap(q, place != QL_INSIDE, len, 0), start = place == QL_HEAD ? cap - len : 0;
    uint8_t *p = qlb_alloc(q, cap);
    if (!p)
        return false;
    lp_write(p + start, e);
    p[start + len - 1] = LP_END;
    *ret = (struct ql_block){p, (uint32_t)start, (uint32_t)len, (uint32_t)cap, 1, 0, 0, 0};
    return true;
}

/* ---- the table ---- */

static bool table_resize(struct quicklist *q, uint32_t room, uint32_t first)
{
    struct ql_block *table = mem_alloc(q->mem, room * sizeof(*table));
    if (!table)
        return false;
    if (q->n)
        memcpy(table + first, qlb(q, 0), q->n * sizeof(*table));
    q->bytes += mem_size_class(room * sizeof(*table));
    if (q->table)
        q->bytes -= mem_size_class(q->room * sizeof(*table));
    mem_free(q->mem, q->table, q->room * sizeof(*table));
    q->table = table;
    q->room = room;
    q->first = first;
    return true;
}

/* Room for n more at that end. As long as a quarter is free, what is free is shared between both ends; this costs one move for each
 * eighth that was filled, growing one for each half. */
static bool table_room(struct quicklist *q, bool tail, uint32_t n)
{
    uint32_t spare = q->room - q->n;
    if (spare >= 2 * n && spare >= q->n / 4) {
        uint32_t half = (spare - n) / 2, first = tail ? half : spare - half;
        memmove(q->table + first, qlb(q, 0), q->n * sizeof(*q->table));
        q->first = first;
        return true;
    }
    if (q->n > UINT32_MAX / 4)
        return false;
    uint32_t room = q->n + q->n / 2 + n + 1;
    return table_resize(q, room, tail ? 0 : room - q->n);
}

bool ql_table_open(struct quicklist *q, uint32_t i, uint32_t n)
{
    q->moved = 1;
    bool tail = i > q->n / 2 || i == q->n;
    uint32_t spare = tail ? q->room - q->first - q->n : q->first;
    if (spare < n && !table_room(q, tail, n))
        return false;
    if (tail) {
        memmove(qlb(q, i + n), qlb(q, i), (q->n - i) * sizeof(*q->table));
    } else {
        memmove(qlb(q, 0) - n, qlb(q, 0), i * sizeof(*q->table));
        q->first -= n;
    }
    q->n += n;
    return true;
}

void ql_table_close(struct quicklist *q, uint32_t i, uint32_t n)
{
    uint32_t behind = q->n - i - n;
    q->moved = 1;
    if (i < behind) {
        memmove(qlb(q, n), qlb(q, 0), i * sizeof(*q->table));
        q->first += n;
    } else {
        memmove(qlb(q, i), qlb(q, i + n), behind * sizeof(*q->table));
    }
    q->n -= n;
    if (unlikely_(q->room > 16 && q->n < q->room / 4))
        table_resize(q, q->n * 2, q->n / 2);
}

/* ---- life ---- */

struct quicklist *ql_create(struct mem *mem, const struct ql_limits *limits)
{
    int64_t fill = ql_fill(limits->fill);
    static const uint32_t classes[] = {4096, 8192, 16384, 32768, 65536};
    struct quicklist *q = mem_alloc(mem, sizeof(*q));
    if (!q)
        return NULL;
    *q = (struct quicklist){.mem = mem, .bytes = mem_size_class(sizeof(*q))};
    q->fill = (int32_t)fill;
    q->block_bytes = fill >= 0 ? 8192 : classes[-1 - fill];
    q->block_elements = fill < 0 ? UINT32_MAX : fill == 0 ? 1 : (uint32_t)fill;
    q->depth = limits->depth < QL_DEPTH_MAX ? (uint32_t)limits->depth : QL_DEPTH_MAX;
    return q;
}

bool ql_free_slice(struct quicklist *q, size_t budget, size_t *freed)
{
    size_t n = 0;
    while (q->n && n < budget) {
        qlb_free(q, qlb(q, --q->n));
        n++;
    }
    *freed = n;
    if (q->n)
        return false;
    mem_free(q->mem, q->table, q->room * sizeof(*q->table));
    mem_free(q->mem, q, sizeof(*q));
    return true;
}

struct quicklist *ql_alike(struct mem *mem, const struct quicklist *from)
{
    struct ql_limits limits = ql_limits_of(from);
    return ql_create(mem, &limits);
}

struct quicklist *ql_copy(struct mem *mem, const struct quicklist *from)
{
    size_t freed;
    struct quicklist *q = ql_alike(mem, from);
    if (!q)
        return NULL;
    if (from->n && !table_resize(q, from->n, 0))
        goto no_memory;
    for (; q->n < from->n; q->n++) {
        const struct ql_block *b = qlb(from, q->n);
        size_t len = b->lzf ? b->start : b->len;
        size_t cap = b->plain ? len : mem_size_class(len);
        uint8_t *p = qlb_alloc(q, cap);
        if (!p)
            goto no_memory;
        memcpy(p, b->lzf ? b->p : ql_block_first(b), len);
        *qlb(q, q->n) = *b;
        qlb(q, q->n)->p = p;
        qlb(q, q->n)->start = b->lzf ? b->start : 0;
        qlb(q, q->n)->cap = (uint32_t)cap;
    }
    q->count = from->count;
    return q;
no_memory:
    ql_free_slice(q, SIZE_MAX, &freed);
    return NULL;
}

bool ql_to_listpack(const struct quicklist *q, size_t max_bytes, struct mem_block *ret)
{
    if (q->n != 1 || qlb(q, 0)->plain || LP_HEADER_BYTES + qlb(q, 0)->len > max_bytes)
        return false;
    const struct ql_block *b = qlb(q, 0);
    struct mem_block lp;
    if (!lp_init(q->mem, &lp, b->len - 1))
        return false;
    uint32_t len = LP_HEADER_BYTES + b->len;
    uint16_t count = b->count < LP_UNKNOWN ? (uint16_t)b->count : LP_UNKNOWN;
    memcpy(lp.p, &len, 4);
    memcpy(lp.p + 4, &count, 2);
    memcpy(lp.p + LP_HEADER_BYTES, ql_enter(b), b->len);
    lp.len = len;
    *ret = lp;
    return true;
}

/* ---- the ends ---- */

static __attribute__((noinline)) bool push_block(struct quicklist *q, bool tail, struct span text,
                                                 const struct lp_encoded *e)
{
    struct ql_block b;
    if (!qlb_make(q, &b, tail ? QL_TAIL : QL_HEAD, text, e))
        return false;
    if (!ql_table_open(q, tail ? q->n : 0, 1)) {
        qlb_free(q, &b);
        return false;
    }
    *qlb(q, tail ? q->n - 1 : 0) = b;
    q->count++;
    /* What was at the end may have room that nothing will come to. */
    struct ql_block *before = q->n > 1 ? qlb(q, tail ? q->n - 2 : 1) : NULL;
    if (before && !before->plain && !before->lzf && before->cap - before->len > before->cap / 4)
        qlb_trim(q, before);
    return true;
}

bool ql_push(struct quicklist *q, bool tail, struct span text)
{
    struct lp_encoded e;
    if (unlikely_(text.n > UINT32_MAX - 64))
        return false;
    lp_encode_text(&e, text);
    size_t n = lp_encoded_bytes(&e);
    struct ql_block *b = likely_(q->n) ? qlb(q, tail ? q->n - 1 : 0) : NULL;
    if (unlikely_(!b) || unlikely_(!qlb_takes(q, b, n, 1)))
        return push_block(q, tail, text, &e);
    uint8_t *to;
    if (tail && likely_(b->cap - b->start - b->len >= n)) {
        to = ql_block_end(b);
        to[n] = LP_END;
        b->len += (uint32_t)n;
    } else if (!tail && likely_(b->start >= n)) {
        b->start -= (uint32_t)n;
        b->len += (uint32_t)n;
        to = ql_block_first(b);
    } else {
        to = qlb_splice(q, b, tail ? b->len - 1 : 0, 0, n);
        if (!to)
            return false;
    }
    lp_write(to, &e);
    b->count++;
    q->count++;
    return true;
}

bool ql_push_listpack(struct quicklist *q, const struct mem_block *lp)
{
    size_t count = lp_count(lp);
    if (!ql_table_open(q, q->n, 1))
        return false;
    *qlb(q, q->n - 1) = (struct ql_block){lp->p,
                                          LP_HEADER_BYTES,
                                          (uint32_t)lp->len - LP_HEADER_BYTES,
                                          (uint32_t)lp->cap,
                                          (uint32_t)count,
                                          0,
                                          0,
                                          0};
    q->bytes += mem_size_class(lp->cap);
    q->count += count;
    return true;
}

bool ql_push_plain(struct quicklist *q, const struct mem_block *b)
{
    struct span text = {b->p, b->len};
    if (ql_packs(q, b->len + 16)) { /* as it would have been pushed */
        if (!ql_push(q, true, text))
            return false;
        mem_free(q->mem, b->p, b->cap);
        return true;
    }
    if (b->cap > UINT32_MAX || !ql_table_open(q, q->n, 1))
        return false;
    *qlb(q, q->n - 1) = (struct ql_block){b->p, 0, (uint32_t)b->len, (uint32_t)b->cap, 1, 1, 0, 0};
    q->bytes += mem_size_class(b->cap);
    q->count++;
    return true;
}

/* Removes all blocks of an end that n elements fill, and returns how many elements are left to be removed. */
static size_t pop_blocks(struct quicklist *q, bool tail, size_t n)
{
    uint32_t blocks = 0;
    while (blocks < q->n) {
        struct ql_block *b = qlb(q, tail ? q->n - 1 - blocks : blocks);
        if (b->count > n)
            break;
        n -= b->count;
        qlb_free(q, b);
        blocks++;
    }
    if (blocks)
        ql_table_close(q, tail ? q->n - blocks : 0, blocks);
    return n;
}

void ql_pop(struct quicklist *q, bool tail, size_t n)
{
    if (!n)
        return;
    struct ql_block *b = qlb(q, tail ? q->n - 1 : 0);
    q->count -= n;
    if (unlikely_(b->count <= n)) {
        n = pop_blocks(q, tail, n);
        if (!n)
            return;
        b = qlb(q, tail ? q->n - 1 : 0);
    }
    ASSERT(!b->lzf); /* ql_ready */
    b->count -= (uint32_t)n;
    uint8_t *first = ql_block_first(b), *at = tail ? ql_block_end(b) : first;
    if (tail) {
        for (; n; n--)
            at = lp_skip_back(at);
        *at = LP_END;
        b->len = (uint32_t)(at - first) + 1;
    } else {
        for (; n; n--)
            at = lp_skip(at);
        b->start += (uint32_t)(at - first);
        b->len -= (uint32_t)(at - first);
    }
    if (unlikely_(q->n < LONG_LIST && b->len * 2 <= b->cap && b->cap > 64))
        qlb_trim(q, b);
}

/* ---- seeking ---- */

uint8_t *qlb_seek(const struct ql_block *b, uint64_t i)
{
    if (b->plain)
        return ql_block_first(b);
    uint8_t *at;
    if (i <= b->count / 2) {
        at = ql_block_first(b);
        for (; i; i--)
            at = lp_skip(at);
    } else {
        at = ql_block_end(b);
        for (; i < b->count; i++)
            at = lp_skip_back(at);
    }
    return at;
}

static inline uint64_t four_counts(const struct ql_block *b)
{
    return (uint64_t)b[0].count + b[1].count + b[2].count + b[3].count;
}

uint32_t ql_block_of(const struct ql_view *w, uint64_t *index)
{
    uint64_t i = *index, n = w->count;
    uint32_t at;
    if (i <= n / 2) {
        for (at = 0; at + 4 <= w->n; at += 4) { /* four records a step */
            uint64_t four = four_counts(w->v + at);
            if (i < four)
                break;
            i -= four;
        }
        for (; i >= w->v[at].count; at++)
            i -= w->v[at].count;
    } else {
        uint64_t left = n - i; /* elements from it to the end */
        for (at = w->n; at >= 4; at -= 4) {
            uint64_t four = four_counts(w->v + at - 4);
            if (left <= four)
                break;
            left -= four;
        }
        for (at--; left > w->v[at].count; at--)
            left -= w->v[at].count;
        i = w->v[at].count - left;
    }
    *index = i;
    return at;
}

bool ql_seek(const struct ql_view *w, int64_t index, struct ql_at *ret)
{
    uint64_t i = (uint64_t)index;
    if (index < 0)
        i += w->count; /* wraps to something large when there is no such element */
    if (i >= w->count)
        return false;
    uint32_t at = ql_block_of(w, &i);
    ql_enter(&w->v[at]);
    *ret = (struct ql_at){at, qlb_seek(&w->v[at], i)};
    return true;
}
