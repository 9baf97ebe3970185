/* fieldmap: a hash map from fields to values, or a set of members, without an allocation for each small one.
 *
 *   top -> [root] -> chunk of 512 words -> page of up to 4 KB          (few pages: no root; one page: no chunk)
 *   page: groups of 64 bytes (21 one-byte tags, 21 offsets) | head | items, one behind the other
 *   item: length of the field | length of the value | field | value    (long ones: a pointer to a block of their own)
 *
 * Extendible hashing: the upper bits of the hash lead to the page, the next ones to a group, the lowest byte is the tag. A page that is
 * full becomes two, of halves of its range of hashes; two that are nearly empty become one. No call does more than that, however
 * large the map is. A position in the order of hashes is the cursor of a scan: it survives splits and merges.
 *
 * A field may have an expiry (unix ms, -1: none). The map only keeps it; who uses the map decides what has expired.
 * Not thread-safe: the lease holder's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/keyhash.h"
#include "engine/base/mem.h"

struct fieldmap;

/* Borrowed from the map: good until its next change. */
struct fieldmap_item {
    struct span field, value; /* value.n == 0 in a set */
    int64_t expire_ms;        /* -1: none */
};

enum fieldmap_put { FIELDMAP_NEW, FIELDMAP_REPLACED, FIELDMAP_NO_MEMORY };

#define FIELDMAP_NO_TTL   (-1)
#define FIELDMAP_KEEP_TTL (-2)

/* The key of the hash stays where it is as long as the map lives. values: a map; else a set. NULL: no memory. */
struct fieldmap *fieldmap_create(struct mem *mem, const struct siphash_key *key, bool values);
void fieldmap_destroy(struct fieldmap *fm);
/* About n fields come, of so many bytes with their values; it is empty. */
void fieldmap_reserve(struct fieldmap *fm, size_t n, size_t bytes);
/* A deep copy on `mem`. NULL: no memory. */
struct fieldmap *fieldmap_copy(struct mem *mem, const struct fieldmap *fm);
/* Frees about `budget` pages; *work grows by those. True: nothing is left, fm itself is freed. Nothing else may be called in between. */
bool fieldmap_free_slice(struct fieldmap *fm, size_t budget, size_t *work);
/* What it owns belongs to another mem now (accounting is the caller's). */
void fieldmap_rehome(struct fieldmap *fm, struct mem *mem);

size_t fieldmap_count(const struct fieldmap *fm);
/* All bytes it takes, size classes. */
size_t fieldmap_bytes(const struct fieldmap *fm);
/* Blocks it consists of, roughly. */
size_t fieldmap_pieces(const struct fieldmap *fm);
size_t fieldmap_pages(const struct fieldmap *fm);

uint64_t fieldmap_hash(const struct fieldmap *fm, struct span field);
/* `hash` is fieldmap_hash of the field in all that follows. */
bool fieldmap_has(const struct fieldmap *fm, uint64_t hash, struct span field);
bool fieldmap_find(const struct fieldmap *fm, uint64_t hash, struct span field,
                   struct fieldmap_item *ret);
/* Adds or replaces. The spans must not lie in the map. A set passes no value. On NO_MEMORY nothing has changed. */
enum fieldmap_put fieldmap_put(struct fieldmap *fm, uint64_t hash, struct span field,
                               struct span value, int64_t expire_ms);
bool fieldmap_remove(struct fieldmap *fm, uint64_t hash, struct span field);
/* The field is there. False: no memory, unchanged. */
bool fieldmap_set_expire(struct fieldmap *fm, uint64_t hash, struct span field, int64_t expire_ms);

/* ---- walks ---- */

/* All items, in the order of their hashes' prefixes. The map must not change meanwhile. */
struct fieldmap_iter {
    const struct fieldmap *fm;
    uint64_t pos, word;
    uint32_t group, mask;
    bool last;
};
void fieldmap_iter_init(struct fieldmap_iter *it, const struct fieldmap *fm);
bool fieldmap_next(struct fieldmap_iter *it, struct fieldmap_item *ret);
/* The next few in one call. 0: there are no more. */
#define FIELDMAP_SOME 21
uint32_t fieldmap_next_some(struct fieldmap_iter *it, struct fieldmap_item ret[FIELDMAP_SOME]);

#define FIELDMAP_CURSOR_BITS 48
/* Calls fn on about `count` items from `cursor` on and returns the next cursor, below 2^48; 0: the end. Any cursor is fine. An item that
 * stays from the first call to the last is met exactly once. fn must not change the map. */
uint64_t fieldmap_scan(const struct fieldmap *fm, uint64_t cursor, size_t count,
                       void (*fn)(void *ctx, const struct fieldmap_item *item), void *ctx);
/* A uniformly chosen item; the map is not empty. `rnd` draws 64 random bits. */
void fieldmap_random(const struct fieldmap *fm, uint64_t (*rnd)(void *), void *rnd_ctx,
                     struct fieldmap_item *ret);

/* ---- expiry ---- */

size_t fieldmap_ttl_fields(const struct fieldmap *fm);
/* No field is due before this time (INT64_MAX: none has an expiry). */
int64_t fieldmap_next_due(const struct fieldmap *fm);
/* Removes the items whose expiry is before now_ms, in some pages (about `budget`) from *pos on; fn, if there is one, is told of each
 * before it goes. *earliest becomes at most the least expiry left in those pages. True: the end was reached and *pos is 0. Returns
 * with the count of what was removed in *removed. */
bool fieldmap_expire(struct fieldmap *fm, int64_t now_ms, uint64_t *pos, size_t budget,
                     int64_t *earliest, size_t *removed,
                     void (*fn)(void *ctx, const struct fieldmap_item *item), void *ctx);
/* After a walk over all pages: what it found. */
void fieldmap_set_next_due(struct fieldmap *fm, int64_t when_ms);
/* A word for whoever times the expiry of the map; NULL in a new one and in a copy. */
void *fieldmap_timer(const struct fieldmap *fm);
void fieldmap_set_timer(struct fieldmap *fm, void *timer);
