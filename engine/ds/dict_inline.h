/* dict_inline.h: the layout of a dict and the look-up, inline, for a caller that has its comparison at hand: the
 * keyspace looks up once a request, and two calls through pointers would be a third of that. The picture is in dict.c,
 * which owns these bytes; nobody else writes them. */
#pragma once

#include "engine/base/assert.h"
#include "engine/ds/dict.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define DICT_SLOTS         9
#define DICT_BUCKET_BYTES  64
#define DICT_POSITION_BITS 40
#define DICT_MAX_DEPTH     24
#define DICT_REACH_ALL     15 /* of a bucket: its entries may be anywhere in the segment */

struct dict_bucket {
    uint8_t tag[DICT_SLOTS];
    uint8_t state;
    uint8_t ptr[6 * DICT_SLOTS];
} __attribute__((aligned(DICT_BUCKET_BYTES)));
_Static_assert(sizeof(struct dict_bucket) == DICT_BUCKET_BYTES, "a bucket is a cache line");

/* An entry whose segment is full and cannot be split. */
struct dict_item {
    uint64_t hash;
    void *entry;
};

struct dict {
    uint64_t *dir;
    uint32_t depth, shift; /* shift: 63 - depth */
    struct dict_type type;
    size_t count, bytes;
    struct mem *mem;
    /* A directory of twice or half the size that is being filled, some words a call; NULL: none. */
    uint64_t *next;
    size_t next_done; /* words of dir that it has; 0 when there is none */
    uint32_t next_depth;
    struct dict_item *spilled;
    size_t spilled_n, spilled_cap;
    uint32_t paused;                       /* a scan is in a callback: no merges */
    uint32_t at_depth[DICT_MAX_DEPTH + 1]; /* segments by local depth */
    size_t freed;       /* dict_free_slice: words of dir whose segments are gone */
    uint64_t dir_words; /* written since creation */
    uint64_t departed;  /* entries taken out or replaced since creation */
};

static inline struct dict_bucket *dict_word_buckets(uint64_t w)
{
    return (struct dict_bucket *)(uintptr_t)(w & 0xffffffffffc0ull);
}
static inline uint32_t dict_word_depth(uint64_t w)
{
    return w & 63;
}
static inline uint32_t dict_word_nb(uint64_t w)
{
    return (w >> 48) & 63;
}
static inline uint8_t dict_tag_of(uint64_t hash)
{
    uint8_t t = (uint8_t)hash;
    return t + (t == 0);
}
static inline size_t dict_dir_index(const struct dict *d, uint64_t hash)
{
    return (hash >> 1) >> d->shift;
}
static inline uint32_t dict_home_index(uint64_t w, uint64_t hash)
{
    uint32_t part = (uint32_t)((hash << dict_word_depth(w)) >> 48);
    return part * dict_word_nb(w) >> 16;
}
/* Bit i: slot i has this tag. */
static inline uint32_t dict_bucket_match(const struct dict_bucket *b, uint8_t tag)
{
#if defined(__SSE2__)
    __m128i tags = _mm_load_si128((const __m128i *)(const void *)b);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag))) & 0x1ff;
#else
    uint32_t m = 0;
    for (uint32_t i = 0; i < DICT_SLOTS; i++)
        m |= (uint32_t)(b->tag[i] == tag) << i;
    return m;
#endif
}

static inline void *dict_slot_get(const struct dict_bucket *b, uint32_t i)
{
    const uint8_t *p = b->ptr + 6 * (size_t)i;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t v; /* from two bytes before, so that the last slot does not read past the bucket */
    memcpy(&v, p - 2, 8);
    return (void *)(uintptr_t)(v >> 16);
#else
    uint64_t v = 0;
    for (uint32_t k = 6; k-- > 0;)
        v = v << 8 | p[k];
    return (void *)(uintptr_t)v;
#endif
}
static inline uint32_t dict_state_reach(const struct dict_bucket *b)
{
    return b->state & 15;
}

/* ---- a look-up in steps, for bursts: the line of the bucket is asked for, then the entry, then it is compared ---- */

/* Where the look-up of `hash` begins; good until the dict changes. */
static inline const struct dict_bucket *dict_bucket_of(const struct dict *d, uint64_t hash)
{
    uint64_t w = d->dir[dict_dir_index(d, hash)];
    return dict_word_buckets(w) + dict_home_index(w, hash);
}
/* The first entry there with the tag of `hash`, or NULL. It need not be the one that is looked for, and NULL does not say that there is
 * none. As long as d->departed stays what it is the entry is in the dict. */
static inline void *dict_candidate(const struct dict_bucket *b, uint64_t hash)
{
    uint32_t m = dict_bucket_match(b, dict_tag_of(hash));
    return likely_(m != 0) ? dict_slot_get(b, (uint32_t)__builtin_ctz(m)) : NULL;
}

/* The same in the buckets behind the first, where that has none: 7 of 100 entries of a full dict stand there. */
void *dict_candidate_displaced(const struct dict *d, uint64_t hash);

/* The look-up behind the first candidate: further ones, displaced and spilled entries. */
void *dict_find_rest(const struct dict *d, uint64_t hash, struct span key);

static inline __attribute__((always_inline)) void *
dict_find_inline(const struct dict *d, uint64_t hash, struct span key,
                 bool (*equal)(const void *entry, struct span key))
{
    uint64_t w = d->dir[dict_dir_index(d, hash)];
    const struct dict_bucket *b = dict_word_buckets(w) + dict_home_index(w, hash);
    uint32_t m = dict_bucket_match(b, dict_tag_of(hash));
    if (likely_(m != 0)) {
        void *e = dict_slot_get(b, (uint32_t)__builtin_ctz(m));
        if (likely_(equal(e, key)))
            return e;
    }
    if (likely_(!(m & (m - 1)) && dict_state_reach(b) == 0))
        return NULL;
    return dict_find_rest(d, hash, key);
}
