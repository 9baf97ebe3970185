/* access_inline.h: GET and SET of an entry that the batch has already found, inline.
 *
 * The stage that prefetches a batch's entries (conn/batch.c) knows for each request a candidate: an entry whose hash has the same tag and
 * that is still in the dict. What remains is to compare the key. Everything that is not the common case (no candidate, another key,
 * a TTL that has passed, another type, no room) goes to ks_read and ks_set, which look up again. Thread: the lease holder's. */
#pragma once

#include "engine/shard/shard_internal.h"
#include "engine/shard/snapshot.h"

/* The LRU clock of this millisecond, worked out once for all that are touched in it. False: the policy counts accesses, or a snapshot
 * must see entries before they change. */
static inline __attribute__((always_inline)) bool access_clock(struct shard *s)
{
    if (likely_(s->touch_ms == s->now_ms))
        return true;
    s->touch_ms = policy_counts(s) || snapshot_watches(s) ? -1 : s->now_ms;
    s->touch_clock = lru_now(s);
    return s->touch_ms >= 0;
}

/* clock_touch. */
static inline __attribute__((always_inline)) void access_touch(struct shard *s, struct entry *e)
{
    if (likely_(access_clock(s)))
        clock_store(e, s->touch_clock);
    else
        clock_count(s, e);
}

/* What ks_write does beside looking up. */
static inline __attribute__((always_inline)) void access_write(struct shard *s, uint32_t db,
                                                               uint64_t hash, struct entry *e)
{
    snapshot_touch(s, db, hash, e);
    access_touch(s, e);
}

static inline uint32_t access_load32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* The candidate is the entry of the key, and nothing is odd about it: no expiry, no block, a key of 4 to 32 bytes. Its value is then the
 * value_len bytes behind the key. All here is without a call, so that commands need not save registers for the case that is not theirs. */
static inline __attribute__((always_inline)) bool access_is(const struct entry *e, struct span key)
{
    const uint8_t *k = e->body;
    if (unlikely_(e->flags != 0) || unlikely_(e->key_len != key.n))
        return false;
    if (likely_(key.n - 8 <= 8))
        return likely_(entry_load64(k) == entry_load64(key.p)) &&
               likely_(entry_load64(k + key.n - 8) == entry_load64(key.p + key.n - 8));
    if (key.n - 16 <= 16)
        return entry_load64(k) == entry_load64(key.p) &&
               entry_load64(k + 8) == entry_load64(key.p + 8) &&
               entry_load64(k + key.n - 16) == entry_load64(key.p + key.n - 16) &&
               entry_load64(k + key.n - 8) == entry_load64(key.p + key.n - 8);
    if (key.n - 4 <= 4)
        return access_load32(k) == access_load32(key.p) &&
               access_load32(k + key.n - 4) == access_load32(key.p + key.n - 4);
    return false;
}

/* Text, of both encodings. */
static inline __attribute__((always_inline)) bool access_text(const struct entry *e)
{
    _Static_assert(ENC_RAW == ENC_EMBSTR + 1 && ENC_EMBSTR > 0, "one comparison for both");
    return (uint8_t)(e->type_enc - (OBJ_STRING | ENC_EMBSTR << 4)) == 0 ||
           (uint8_t)(e->type_enc - (OBJ_STRING | ENC_RAW << 4)) == 0;
}

/* ks_read of embedded text. NULL: nothing was done, ks_read will tell. `candidate` may be NULL. */
static inline __attribute__((always_inline)) struct entry *
access_read_text(struct shard *s, struct span key, struct entry *candidate)
{
    struct entry *e = candidate;
    if (unlikely_(!e) || unlikely_(!access_is(e, key)) || unlikely_(!access_text(e)) ||
        unlikely_(!access_clock(s)))
        return NULL;
    s->stats.hits++;
    clock_store(e, s->touch_clock);
    return e;
}

/* ks_set without expiry of text over text of the same length. False: nothing was done, ks_set will do it. */
static inline __attribute__((always_inline)) bool
access_overwrite(struct shard *s, struct span key, struct entry *candidate, struct span value)
{
    struct entry *e = candidate;
    if (unlikely_(!e) || unlikely_(!access_is(e, key)) || unlikely_(!access_text(e)) ||
        unlikely_(e->value_len != value.n) || unlikely_(value.n > 64) ||
        unlikely_(string_like_number(value)) || unlikely_(!access_clock(s)))
        return false;
    e->type_enc = OBJ_STRING | (value.n <= STRING_EMBSTR_MAX ? ENC_EMBSTR << 4 : ENC_RAW << 4);
    bytes_copy_64(e->body + key.n, value.p, value.n);
    clock_store(e, s->touch_clock);
    return true;
}
