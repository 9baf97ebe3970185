/* dict: extendible hashing from 64-bit hashes to entries.
 *
 *   directory (2^depth pointers) -> segment -> 64-byte buckets
 *   bucket: one-byte tags compared with SIMD | 48-bit entry pointers (9 slots of 7 bytes + 1 byte of state)
 *
 * A full segment splits into two (bounded work: one segment); the directory doubles beside itself, a bounded number of
 * pointers with each insert. No call does more than that, however large the dict is.
 * Removal merges buddies when both are nearly empty. The scan cursor is the hash prefix, so a scan sees every
 * entry that is there from its start to its end, whatever splits or merges happen between its calls.
 * The dict holds pointers; it never frees entries. Not thread-safe: the lease holder's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/mem.h"

struct dict;

struct dict_type {
    uint64_t (*hash)(const void *entry, const void *ctx); /* for splits */
    bool (*equal)(const void *entry, struct span key);
    const void *ctx;
};

struct dict *dict_create(struct mem *mem, const struct dict_type *type); /* NULL: no memory */
void dict_destroy(struct dict *d);
size_t dict_count(const struct dict *d);
size_t dict_bytes(const struct dict *d);
/* It is `mem`'s from now on; the caller moves the bytes from one account to the other (mem_adopt_classes). */
void dict_rehome(struct dict *d, struct mem *mem);

void *dict_find(const struct dict *d, uint64_t hash, struct span key);
/* Stages for bursts: bring in the bucket's line, then the first entry whose tag matches. */
void dict_prefetch_bucket(const struct dict *d, uint64_t hash);
void dict_prefetch_entry(const struct dict *d, uint64_t hash);

/* An empty dict makes room for about n entries with random hashes, at once, so that it need not grow up to there. Much beyond LIMIT_DICT_RESERVE_SEGMENTS it
 * grows by itself. Without memory for it, or when it is not empty, it stays as it is. */
void dict_reserve(struct dict *d, size_t n);
/* The key must not be present. False: no memory, nothing changed. */
bool dict_insert(struct dict *d, uint64_t hash, void *entry);
/* The entry moved in memory (realloc): same key, same hash. */
void dict_replace(struct dict *d, uint64_t hash, void *old_entry, void *new_entry);
bool dict_remove(struct dict *d, uint64_t hash, void *entry);

/* Calls fn on the entries of at least one bucket from `cursor` on and returns the next cursor; 0 = the end.
 * fn may remove the entry it is given, nothing else. Cursors survive splits and merges. A cursor is a position in
 * hash order and below 2^40: an entry that stays from start to end is seen exactly once. */
uint64_t dict_scan(struct dict *d, uint64_t cursor, void (*fn)(void *ctx, void *entry), void *ctx);
/* A uniformly chosen entry (rejection sampling over slots), NULL when empty. `rnd` draws 64 random bits. */
void *dict_random(const struct dict *d, uint64_t (*rnd)(void *), void *rnd_ctx);
/* Up to `n` entries, neighbours from a place that `random` names; good enough to compare them, without touching one. An entry may come
 * twice where the dict is small. 0 in a dict that is nearly empty for its size says nothing: dict_random finds one. */
size_t dict_sample(const struct dict *d, uint64_t random, void **ret, size_t n);
/* The entry of that hash for which `is` says so, or NULL; it is asked of live entries with the same tag, whatever their hash. Of the
 * hash only the upper 40 bits and the lowest 8 are looked at. */
void *dict_find_if(const struct dict *d, uint64_t hash,
                   bool (*is)(const void *entry, const void *ctx), const void *ctx);
/* Takes a dict apart that nobody uses any more, in bounded slices: fn (NULL: nobody) gets about `budget` entries a call,
 * which are no longer in it. True: nothing is left and d itself is freed. Only this, dict_count and dict_destroy may be called in between. */
bool dict_free_slice(struct dict *d, size_t budget, void (*fn)(void *ctx, void *entry), void *ctx);
/* Words of the directory written since creation: what growing and shrinking cost beside the segments. For tests and benches. */
uint64_t dict_dir_words(const struct dict *d);
