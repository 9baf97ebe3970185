/* The bytes of a fieldmap, for the files fieldmap*.c.
 *
 *   word (of a chunk, or top when there is one page)    | unused 8 | groups 8 | address of the page 42 | depth 6 |
 *   word (of the root)                                  | address of the chunk 58 | depth 6 |
 *
 *   page   group 0 .. groups - 1 | struct fm_head | items ... end | free ... cap
 *   group  tag[21], 0: the slot is free | reach: how many groups further an item lies that belongs here | offset[21]
 *
 *   item   plain  0nnnnnnn | [length of the value, 8] | field | value
 *          wide   1000000T | length of the field, 16 | [length of the value, 16] | [expiry, 64] | field | value
 *          big    1000001T | pointer, 64 | [expiry, 64]           block: length of the field, 64 | of the value, 64 | field | value
 *
 * What is removed leaves a hole (dead bytes) until the page is packed anew. Hashes are not kept: a split computes them again. */
#pragma once

#include "engine/base/assert.h"
#include "engine/ds/fieldmap.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define FM_SLOTS      21
#define FM_SLOTS_AIM  18 /* of a group, in a page that is full */
#define FM_GROUPS_MAX 64
#define FM_REACH_AIM  3 /* a new item lies at most so many groups off */
#define FM_PAGE_MAX   4096
#define FM_PAGE_LIMIT 61440 /* of one that cannot be split: 16-bit offsets */
#define FM_ITEM_MAX   512   /* a longer item gets a block of its own */
#define FM_DEPTH_MAX  32
#define FM_CHUNK_BITS 9
#define FM_CHUNK_MIN  3 /* a chunk is at least a cache line */
#define FM_ALIGN      64

#define FM_WIDE       0x80
#define FM_TTL        0x01
#define FM_BIG        0x02

struct fm_group {
    uint8_t tag[FM_SLOTS];
    uint8_t reach;
    uint16_t off[FM_SLOTS];
};
_Static_assert(sizeof(struct fm_group) == 64, "a group is a cache line");

struct fm_head {
    uint16_t cap64; /* bytes of the page / 64 */
    uint16_t end, live, dead;
    int64_t min_due; /* no item of the page is due before; INT64_MAX: none has an expiry */
};
_Static_assert(sizeof(struct fm_head) == 16, "the head of a page");

struct fieldmap {
    struct mem *mem;
    const struct siphash_key *key;
    uint64_t top; /* a page's word, or a pointer to the chunk, or to the root; 0: no page yet */
    size_t bytes;
    void *timer;
    union {
        int64_t next_due;
        uint64_t freed; /* fieldmap_free_slice: pages before this position are gone */
    };
    uint32_t count, pages, ttl_fields;
    uint8_t root_bits, chunk_bits; /* 0: there is none */
    bool values;
    bool any_big; /* there was one once */
};
_Static_assert(sizeof(struct fieldmap) == 64, "a small set has one of these");

static inline uint8_t *fm_page(uint64_t w)
{
    return (uint8_t *)(uintptr_t)(w & 0xffffffffffc0ull);
}
static inline uint32_t fm_depth(uint64_t w)
{
    return w & 63;
}
static inline uint32_t fm_groups(uint64_t w)
{
    return (uint32_t)(w >> 48) & 255;
}
static inline uint64_t fm_word(const uint8_t *page, uint32_t groups, uint32_t depth)
{
    return (uint64_t)(uintptr_t)page | (uint64_t)groups << 48 | depth;
}
static inline struct fm_group *fm_group(uint64_t w, uint32_t g)
{
    return (struct fm_group *)(void *)(fm_page(w) + (size_t)g * sizeof(struct fm_group));
}
static inline struct fm_head *fm_head(uint64_t w)
{
    return (struct fm_head *)(void *)fm_group(w, fm_groups(w));
}
static inline uint32_t fm_data(uint64_t w)
{
    return fm_groups(w) * (uint32_t)sizeof(struct fm_group) + (uint32_t)sizeof(struct fm_head);
}
static inline size_t fm_page_bytes(uint64_t w)
{
    return (size_t)fm_head(w)->cap64 * FM_ALIGN;
}
static inline uint8_t fm_tag(uint64_t hash)
{
    uint8_t t = (uint8_t)hash;
    return t + (t == 0);
}
static inline uint32_t fm_home(uint64_t w, uint64_t hash)
{
    uint32_t part = (uint32_t)((hash << fm_depth(w)) >> 48);
    return part * fm_groups(w) >> 16;
}
/* Bit i: slot i has this tag. */
static inline uint32_t fm_match(const struct fm_group *g, uint8_t tag)
{
#if defined(__SSE2__)
    __m128i t = _mm_set1_epi8((char)tag);
    __m128i a = _mm_load_si128((const __m128i *)(const void *)g);
    __m128i b = _mm_load_si128((const __m128i *)(const void *)g + 1);
    uint32_t m = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(a, t)) |
                 (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(b, t)) << 16;
    return m & ((1u << FM_SLOTS) - 1);
#else
    uint32_t m = 0;
    for (uint32_t i = 0; i < FM_SLOTS; i++)
        m |= (uint32_t)(g->tag[i] == tag) << i;
    return m;
#endif
}
static inline uint32_t fm_occupied(const struct fm_group *g)
{
    return fm_match(g, 0) ^ ((1u << FM_SLOTS) - 1);
}

/* ---- directory (fieldmap_dir.c) ---- */

/* The word of the page that the position belongs to. */
static inline uint64_t fm_dir_get(const struct fieldmap *fm, uint64_t pos)
{
    if (!fm->chunk_bits)
        return fm->top;
    const uint64_t *v = (const uint64_t *)(uintptr_t)fm->top;
    if (!fm->root_bits)
        return v[pos >> (64 - fm->chunk_bits)];
    uint64_t c = v[pos >> (64 - fm->root_bits)];
    v = (const uint64_t *)(uintptr_t)(c & ~63ull);
    return v[(pos << (c & 63)) >> (64 - FM_CHUNK_BITS)];
}
/* The first position of the page that pos belongs to, and the one behind it (0: the end). */
static inline uint64_t fm_first(uint64_t pos, uint32_t depth)
{
    return depth ? pos & ~(~0ull >> depth) : 0;
}
static inline uint64_t fm_behind(uint64_t pos, uint32_t depth)
{
    return depth ? (pos | ~0ull >> depth) + 1 : 0;
}
/* Makes the word that of all positions of its depth around pos. */
void fm_dir_set(struct fieldmap *fm, uint64_t pos, uint64_t w);
/* Room for a page of that depth at pos. False: no memory; nothing that a reader sees has changed. */
bool fm_dir_deepen(struct fieldmap *fm, uint64_t pos, uint32_t depth);
/* Gives back what a directory that is far too large for its pages takes. */
void fm_dir_trim(struct fieldmap *fm);
void fm_dir_free(struct fieldmap *fm);
/* A directory of the same shape for `to`, all words 0. False: no memory. */
bool fm_dir_clone(struct fieldmap *to, const struct fieldmap *from);

void *fm_alloc(struct fieldmap *fm, size_t n); /* n: a class, in multiples of FM_ALIGN */
void fm_free(struct fieldmap *fm, void *p, size_t n);

/* ---- items (fieldmap_item.c) ---- */

/* An item that is to be written. */
struct fm_draft {
    struct span field, value;
    int64_t when;
    uint8_t kind;  /* 0: plain; else FM_WIDE and more */
    uint16_t size; /* in the page */
    uint8_t *block;
};
/* Decides on the form; allocates the block of a big one. False: no memory. */
bool fm_draft_make(struct fieldmap *fm, struct fm_draft *d, struct span field, struct span value,
                   int64_t when);
void fm_draft_drop(struct fieldmap *fm, struct fm_draft *d);
void fm_draft_write(const struct fieldmap *fm, uint8_t *to, const struct fm_draft *d);
size_t fm_item_bytes(const struct fieldmap *fm, const uint8_t *item);
/* Of one that is not plain. */
void fm_item_read_rest(const struct fieldmap *fm, const uint8_t *item, struct fieldmap_item *ret);
static inline void fm_item_read(const struct fieldmap *fm, const uint8_t *item,
                                struct fieldmap_item *ret)
{
    size_t n = item[0];
    if (unlikely_(n & FM_WIDE)) {
        fm_item_read_rest(fm, item, ret);
        return;
    }
    ret->field = span_of(item + 1 + fm->values, n);
    ret->value = span_of(ret->field.p + n, fm->values ? item[1] : 0);
    ret->expire_ms = -1;
}
/* -1: none. */
int64_t fm_item_expire(const struct fieldmap *fm, const uint8_t *item);
void fm_item_set_expire(const struct fieldmap *fm, uint8_t *item, int64_t when);
uint8_t *fm_item_block(const uint8_t *item);
size_t fm_block_bytes(const uint8_t *block);
/* Frees the block of an item, if it has one. */
void fm_item_drop(struct fieldmap *fm, const uint8_t *item);
bool fm_item_is_rest(const struct fieldmap *fm, const uint8_t *item, struct span field);

static inline uint64_t fm_load64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline bool fm_item_is(const struct fieldmap *fm, const uint8_t *item, struct span field)
{
    size_t n = item[0];
    const uint8_t *p = item + 1 + fm->values;
    if (unlikely_(n & FM_WIDE))
        return fm_item_is_rest(fm, item, field);
    if (n != field.n)
        return false;
    if (likely_(n - 8 <= 8))
        return fm_load64(p) == fm_load64(field.p) &&
               fm_load64(p + n - 8) == fm_load64(field.p + n - 8);
    return n == 0 || memcmp(p, field.p, n) == 0;
}

/* ---- pages (fieldmap_page.c) ---- */

/* Makes room in the page of `hash` for `size` bytes and, with `slot`, for one more item. False: no memory. */
bool fm_page_room(struct fieldmap *fm, uint64_t hash, size_t size, bool slot);
/* A free slot for a new item of that hash within reach: group * FM_SLOTS + slot, or -1. */
int32_t fm_page_slot(uint64_t w, uint64_t hash);
/* The slot and the item are taken out of the page; the block of a big item is freed. */
void fm_page_remove(struct fieldmap *fm, uint64_t w, uint32_t group, uint32_t slot);
/* After removals: packs, shrinks or merges the page of `hash` when that pays. */
void fm_page_tidy(struct fieldmap *fm, uint64_t hash);
