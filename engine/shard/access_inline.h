/* access_inline.h: GET and SET of an entry that the batch has already found, inline.
 *
 * The stage that prefetches a batch's entries (conn/batch.c) knows for each request a candidate: an entry whose hash has the same tag and
 * that is still in the dict. What remains is to compare the key. Everything that is not the common case (no candidate, another key,
 * a TTL that has passed, another type, no room) goes to ks_read and ks_set, which look up again. Thread: the lease holder's. */
#pragma once

#include "engine/shard/shard_internal.h"

/* clock_touch, with the second of this millisecond worked out once. */
static inline __attribute__((always_inline)) void access_touch(struct shard *s, struct entry *e)
{
    if (likely_(s->touch_ms == s->now_ms)) {
        clock_store(e, s->touch_clock);
        return;
    }
    clock_touch(s, e);
    s->touch_ms = policy_is_lfu(s) ? -1 : s->now_ms;
    s->touch_clock = lru_now(s);
}

/* ks_read. `candidate` may be NULL. */
static inline __attribute__((always_inline)) struct entry *
access_read(struct shard *s, uint32_t db, struct span key, uint64_t hash, struct entry *candidate)
{
    if (likely_(candidate != NULL) && likely_(entry_equal(candidate, key)) &&
        likely_(!entry_expired(candidate, s->now_ms))) {
        s->stats.hits++;
        access_touch(s, candidate);
        return candidate;
    }
    return ks_read(s, db, key, hash);
}

/* ks_set without expiry, for text over embedded text of the same length, neither with an expiry. False: nothing was done, ks_set will
 * do. */
static inline __attribute__((always_inline)) bool
access_overwrite(struct shard *s, struct span key, struct entry *candidate, struct span value)
{
    struct entry *e = candidate;
    if (unlikely_(!e) || unlikely_(!entry_equal(e, key)) || unlikely_(e->flags != 0) ||
        unlikely_(e->value_len != value.n))
        return false;
    if (unlikely_(e->type_enc != (OBJ_STRING | ENC_RAW << 4) &&
                  e->type_enc != (OBJ_STRING | ENC_EMBSTR << 4)))
        return false;
    if (unlikely_(string_like_number(value) || policy_is_lfu(s)))
        return false;
    e->type_enc = OBJ_STRING | (value.n <= STRING_EMBSTR_MAX ? ENC_EMBSTR << 4 : ENC_RAW << 4);
    if (likely_(value.n <= 64))
        bytes_copy_64(e->body + key.n, value.p, value.n);
    else
        memcpy(e->body + key.n, value.p, value.n);
    access_touch(s, e);
    return true;
}

/* ks_changed for a write of a client. */
static inline __attribute__((always_inline)) void
access_changed(struct shard *s, uint32_t db, struct span key, enum ks_class cls, const char *event)
{
    if (likely_(!s->on_change))
        s->stats.dirty++;
    else
        ks_changed(s, db, key, cls, event);
}
