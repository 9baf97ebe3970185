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
    s->touch_word = lru_now(s) << 8;
    return s->touch_ms >= 0;
}

/* clock_touch. */
static inline __attribute__((always_inline)) void access_touch(struct shard *s, struct entry *e)
{
    if (likely_(access_clock(s)))
        clock_store(e, s->touch_word >> 8);
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

/* The candidate is the entry of the key, of 4 to 32 bytes. If access_plain says that nothing is odd about it, its value is the value_len bytes behind the key. All here is without a call, so that commands need not save registers for the case that is not theirs. */
static inline __attribute__((always_inline)) bool access_is(const struct entry *e, struct span key)
{
    const uint8_t *k = e->body;
    if (unlikely_(e->key_len != key.n))
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

/* No expiry, no block, nothing else that its flags tell; and touches it. Most touches fall into the same second: flags and clock are one
 * word (entry_clock), compared as one, and the line stays clean. */
static inline __attribute__((always_inline)) bool access_plain(const struct shard *s,
                                                               struct entry *e)
{
    if (likely_(entry_flags_clock(e) == s->touch_word))
        return true;
    if (unlikely_(e->flags))
        return false;
    entry_set_clock(e, s->touch_word >> 8);
    return true;
}

/* ks_read of embedded text. NULL: nothing was done, ks_read will tell. `candidate` may be NULL. */
static inline __attribute__((always_inline)) struct entry *
access_read_text(struct shard *s, struct span key, struct entry *candidate)
{
    struct entry *e = candidate;
    if (unlikely_(!e) || unlikely_(!access_is(e, key)) || unlikely_(!access_text(e)) ||
        unlikely_(!access_clock(s)) || unlikely_(!access_plain(s, e)))
        return NULL;
    s->stats.hits++;
    return e;
}

/* ks_set without expiry of text over text of the same length. False: nothing was done, ks_set will do it. */
static inline __attribute__((always_inline)) bool
access_overwrite(struct shard *s, struct span key, struct entry *candidate, struct span value)
{
    struct entry *e = candidate;
    if (unlikely_(!e) || unlikely_(!access_is(e, key)) || unlikely_(!access_text(e)) ||
        unlikely_(e->value_len != value.n) || unlikely_(value.n > 64) ||
        unlikely_(string_like_number(value)) || unlikely_(!access_clock(s)) ||
        unlikely_(!access_plain(s, e)))
        return false;
    e->type_enc = OBJ_STRING | (value.n <= STRING_EMBSTR_MAX ? ENC_EMBSTR << 4 : ENC_RAW << 4);
    bytes_copy_64(e->body + key.n, value.p, value.n);
    return true;
}
