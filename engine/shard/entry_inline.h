/* entry_inline.h: the bytes of an entry, for the code that reads one on every request.
 *
 *   +0  type:4 enc:4
 *   +1  flags
 *   +2  access clock, 24 bits: LRU seconds, or LFU minutes:16 counter:8
 *   +5  key length, when it fits a byte
 *   +6  length of an embedded value
 *   +8  [expiry, unix ms, -1 when taken away again: 8 bytes, ENTRY_TTL only]
 *       [key length: 8 bytes, ENTRY_LONG_KEY only]
 *       key
 *       value: the bytes | int64 (ENC_INT) | struct mem_block (ENTRY_BLOCK); not aligned
 *
 * An allocation is always a whole size class, so that an entry may grow and shrink within it. 16 bytes of key and 64
 * of value make 88, which lives in the class of 96. Thread: the lease holder's. Source of the fields: entry.c. */
#pragma once

#include <string.h>

#include "engine/shard/entry.h"

#define ENTRY_TTL       1 /* has room for an expiry */
#define ENTRY_LONG_KEY  2
#define ENTRY_BLOCK     4 /* the value is a struct mem_block */
#define ENTRY_SAVED     8 /* snapshot.h; these two only while one is made */
#define ENTRY_PENDING   16

/* A string value beyond this hangs on a block of its own. */
#define ENTRY_EMBED_MAX 1024

struct entry {
    uint8_t type_enc;
    uint8_t flags;
    uint8_t clock[3];
    uint8_t key_len;
    uint16_t value_len;
    uint8_t body[];
};
_Static_assert(sizeof(struct entry) == 8, "the header of an entry");

/* Of what a batch will read: 16 bytes of key and 64 of value lie in two lines, and the processor asks for the second one by itself only where
 * it is the other half of 128 bytes. NULL is nothing. */
static inline __attribute__((always_inline)) void entry_prefetch(const struct entry *e)
{
    __builtin_prefetch(e);
#if defined(__x86_64__)
    /* of the builtin gcc makes two instructions */
    __asm__ volatile("prefetcht0 64(%0)" : : "r"(e));
#else
    __builtin_prefetch((const void *)((uintptr_t)e + 64));
#endif
}

static inline size_t entry_key_offset(const struct entry *e)
{
    return (e->flags & ENTRY_TTL ? 8 : 0) + (e->flags & ENTRY_LONG_KEY ? 8 : 0);
}

static inline struct span entry_key_fast(const struct entry *e)
{
    const uint8_t *p = e->body + entry_key_offset(e);
    if (__builtin_expect(e->flags & ENTRY_LONG_KEY, 0)) {
        uint64_t n;
        memcpy(&n, p - 8, 8);
        return (struct span){p, n};
    }
    return (struct span){p, e->key_len};
}

static inline uint8_t *entry_value(const struct entry *e)
{
    struct span key = entry_key_fast(e);
    return (uint8_t *)(uintptr_t)(key.p + key.n);
}

static inline enum obj_type entry_type_fast(const struct entry *e)
{
    return (enum obj_type)(e->type_enc & 15);
}
static inline enum obj_enc entry_enc_fast(const struct entry *e)
{
    return (enum obj_enc)(e->type_enc >> 4);
}

static inline struct mem_block entry_get_block(const struct entry *e)
{
    struct mem_block b;
    memcpy(&b, entry_value(e), sizeof(b));
    return b;
}

/* What the value takes in the allocation of the entry. */
static inline size_t entry_value_bytes(const struct entry *e)
{
    if (e->flags & ENTRY_BLOCK)
        return sizeof(struct mem_block);
    return entry_enc_fast(e) == ENC_INT ? sizeof(int64_t) : e->value_len;
}

static inline int64_t entry_expire_fast(const struct entry *e)
{
    int64_t when = -1;
    if (e->flags & ENTRY_TTL)
        memcpy(&when, e->body, 8);
    return when;
}

/* Redis 7.0: a key is there until the clock has passed its time, not when it reaches it. */
static inline bool entry_expired(const struct entry *e, int64_t now_ms)
{
    if (__builtin_expect(!(e->flags & ENTRY_TTL), 1))
        return false;
    int64_t when = entry_expire_fast(e);
    return when >= 0 && now_ms > when;
}

/* The bytes of a string that is not int-encoded. */
static inline struct span entry_bytes_span(const struct entry *e)
{
    if (__builtin_expect(e->flags & ENTRY_BLOCK, 0)) {
        struct mem_block b = entry_get_block(e);
        return (struct span){b.p, b.len};
    }
    return (struct span){entry_value(e), e->value_len};
}

/* The clock is the upper three bytes of the little-endian word that begins with the flags. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "entry_clock reads flags and clock as one word");
static inline uint32_t entry_flags_clock(const struct entry *e)
{
    uint32_t v;
    memcpy(&v, (const uint8_t *)e + offsetof(struct entry, flags), 4);
    return v;
}
static inline uint32_t entry_clock(const struct entry *e)
{
    return entry_flags_clock(e) >> 8;
}
static inline void entry_set_clock(struct entry *e, uint32_t clock)
{
    uint32_t v = clock << 8 | e->flags;
    memcpy((uint8_t *)e + offsetof(struct entry, flags), &v, 4);
}

/* ---- the key of a dict of entries ---- */

static inline uint64_t entry_load64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* Keys of 8 to 16 bytes are the common ones: two overlapping words instead of a call. */
static inline __attribute__((always_inline)) bool entry_equal(const void *entry, struct span key)
{
    const struct entry *e = (const struct entry *)entry;
    struct span k = entry_key_fast(e);
    if (k.n != key.n)
        return false;
    if (__builtin_expect(k.n - 8 <= 8, 1))
        return entry_load64(k.p) == entry_load64(key.p) &&
               entry_load64(k.p + k.n - 8) == entry_load64(key.p + k.n - 8);
    return k.n == 0 || memcmp(k.p, key.p, k.n) == 0;
}

/* ---- allocations ---- */

/* Bytes to ask of mem for such an entry: a whole size class. */
static inline size_t entry_alloc_bytes(size_t key_n, bool ttl, size_t value_n)
{
    size_t n = sizeof(struct entry) + (ttl ? 8 : 0) + (key_n > UINT8_MAX ? 8 : 0) + key_n + value_n;
    return n <= 128 ? (n + 15) & ~(size_t)15 : mem_size_class(n);
}

/* What the entry asked of mem, without blocks. */
static inline size_t entry_alloc_bytes_of(const struct entry *e)
{
    return entry_alloc_bytes(entry_key_fast(e).n, e->flags & ENTRY_TTL, entry_value_bytes(e));
}
