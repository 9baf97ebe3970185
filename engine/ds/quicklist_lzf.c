/* quicklist_lzf.c: the compressed blocks of a quicklist (list-compress-depth).
 *
 * Where in the flow: the ends and the middle of a list change (quicklist.c, quicklist_edit.c) -> ql_shape, ql_tidy. A block is compressed when
 * Redis 7 would: not within the depth, from 48 bytes on, when it gains 8; a packed one with the header of a listpack, so that RDB and
 * DUMP carry it as it lies there. A plain block of more than the window stays as it is: that bounds the work of a read.
 * Reading changes nothing and needs no memory: the block is expanded into a window of the thread. Changing opens the block before.
 * Thread: the lease holder's; the window is each thread's own. */
#include <liblzf/lzf.h>

#include "engine/base/lzf.h"
#include "engine/ds/quicklist_internal.h"

#define LZF_FROM_BYTES 48
#define LZF_GAIN_BYTES 8

_Thread_local uint8_t ql_window[QL_WINDOW_BYTES];

/* Bytes that were compressed. */
static inline size_t whole_bytes(const struct ql_block *b)
{
    return b->len + (b->plain ? 0 : LP_HEADER_BYTES);
}

void ql_expand(const struct ql_block *b)
{
    size_t n = lzf_expand(b->p, b->start, ql_window, sizeof(ql_window));
    CHECK(n == whole_bytes(b)); /* it was made here */
}

/* What is to be compressed. A packed block is put together in the window. */
static struct span whole(const struct ql_block *b)
{
    size_t n = whole_bytes(b);
    if (b->plain)
        return span_of(b->p, n);
    uint32_t bytes = (uint32_t)n;
    uint16_t count = b->count < LP_UNKNOWN ? (uint16_t)b->count : LP_UNKNOWN;
    memcpy(ql_window, &bytes, 4);
    memcpy(ql_window + 4, &count, 2);
    memcpy(ql_window + LP_HEADER_BYTES, b->p + b->start, b->len);
    return span_of(ql_window, n);
}

void qlb_squeeze(struct quicklist *q, struct ql_block *b)
{
    size_t n = whole_bytes(b);
    if (b->lzf || b->tried)
        return;
    b->tried = 1;
    if (n < LZF_FROM_BYTES || n > QL_WINDOW_BYTES)
        return;
    uint8_t *p = NULL, *room = mem_alloc(q->mem, n);
    if (!room)
        return;
    unsigned to = lzf_compress(whole(b).p, (unsigned)n, room, (unsigned)(n - LZF_GAIN_BYTES));
    if (to)
        p = qlb_alloc(q, to);
    if (p) {
        memcpy(p, room, to);
        qlb_free(q, b);
        *b = (struct ql_block){p, to, b->len, to, b->count, b->plain, 1, 0};
    }
    mem_free(q->mem, room, n);
}

bool qlb_open(struct quicklist *q, struct ql_block *b)
{
    if (!b->lzf)
        return true;
    size_t n = whole_bytes(b), cap = b->plain ? n : mem_size_class(n);
    uint8_t *p = qlb_alloc(q, cap);
    if (!p)
        return false;
    CHECK(lzf_expand(b->p, b->start, p, n) == n);
    qlb_free(q, b);
    *b = (struct ql_block){p, (uint32_t)(n - b->len), b->len, (uint32_t)cap, b->count, b->plain, 0,
                           0};
    return true;
}

static void stay_open(struct quicklist *q, struct ql_block *b)
{
    qlb_open(q, b); /* no memory: it is read as it is */
    b->tried = 0;
}

/* Blocks that were pushed lie open behind the depth, next to each other: what is compressed, or was tried, ends them. */
void ql_shape_now(struct quicklist *q)
{
    q->moved = 0;
    for (uint32_t i = 0; i < q->depth && i < q->n; i++) {
        stay_open(q, qlb(q, i));
        stay_open(q, qlb(q, q->n - 1 - i));
    }
    for (int tail = 0; tail < 2; tail++)
        for (uint32_t i = q->depth; i < q->n; i++) {
            uint32_t k = tail ? q->n - 1 - i : i;
            if (!ql_inside(q, k) || qlb(q, k)->lzf || qlb(q, k)->tried)
                break;
            qlb_squeeze(q, qlb(q, k));
        }
}

void ql_tidy(struct quicklist *q, uint32_t i)
{
    if (likely_(q->depth == 0))
        return;
    ql_shape(q); /* first: it goes on as long as it finds open blocks */
    for (uint32_t k = i ? i - 1 : 0; k < q->n && k < i + 3; k++)
        if (ql_inside(q, k))
            qlb_squeeze(q, qlb(q, k));
}

/* The block of the element at `index`, unless that is the first one there. */
static bool open_border(struct quicklist *q, uint64_t index)
{
    if (index >= q->count)
        return true;
    struct ql_view w = ql_view(q);
    uint32_t i = ql_block_of(&w, &index);
    return index == 0 || qlb_open(q, qlb(q, i));
}

bool ql_ready_now(struct quicklist *q, uint64_t start, uint64_t n)
{
    if (n == 0)
        return true;
    if (open_border(q, start) && open_border(q, start + n))
        return true;
    q->moved = 1; /* one may be open */
    struct ql_view w = ql_view(q);
    ql_tidy(q, ql_block_of(&w, &start));
    return false;
}
