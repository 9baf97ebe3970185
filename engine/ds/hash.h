/* hash: a map from fields to values as the commands see it: a listpack of field, value, field, value ... while it is small, else a
 * fieldmap.
 *
 * A struct hash is a handle that lives as long as a command: where the value is (b), and what changing it needs. A value of 0 bytes of
 * cap is a fieldmap, otherwise a listpack. After a change b is what belongs on the entry. Fields with an expiry live in a fieldmap only;
 * what is due is there until somebody removes it. */
#pragma once

#include "engine/ds/fieldmap.h"
#include "engine/ds/listpack.h"

struct hash {
    struct mem_block b;
    struct mem *mem;
    const struct siphash_key *key;
    size_t max_entries, max_value; /* a listpack has at most so many fields and no longer text */
};

static inline bool hash_is_packed(const struct hash *h)
{
    return h->b.cap != 0;
}
static inline struct fieldmap *hash_map(const struct hash *h)
{
    return (struct fieldmap *)(void *)h->b.p;
}

/* An empty listpack with room for some bytes of elements. False: no memory. */
bool hash_init(struct hash *h, size_t room);
void hash_free(struct hash *h);
size_t hash_count(const struct hash *h);
/* Makes it a fieldmap. False: no memory, unchanged. */
bool hash_to_map(struct hash *h);
/* True when a listpack must not hold one of these texts, or all of them together. */
bool hash_outgrows(const struct hash *h, const struct span *texts, uint32_t n);

/* A value is text, or a number when text.p is NULL (listpacks). */
bool hash_find(const struct hash *h, struct span field, struct lp_value *ret);
/* As hash_find, with the expiry (-1: none). */
bool hash_find_expire(const struct hash *h, struct span field, struct lp_value *ret,
                      int64_t *expire_ms);
/* expire_ms: FIELDMAP_NO_TTL, FIELDMAP_KEEP_TTL, or unix ms, which makes it a fieldmap. On NO_MEMORY nothing has changed. */
enum fieldmap_put hash_put(struct hash *h, struct span field, struct span value, int64_t expire_ms);
/* Of a field that is there; a time makes the hash a fieldmap. False: no memory, unchanged. */
bool hash_set_expire(struct hash *h, struct span field, int64_t expire_ms);
bool hash_remove(struct hash *h, struct span field);

struct hash_pair {
    struct lp_value field, value;
};
/* All fields; a listpack in its order. The hash must not change meanwhile. */
struct hash_iter {
    const struct hash *hash;
    const uint8_t *at; /* in a listpack */
    struct fieldmap_iter map;
};
void hash_iter_init(struct hash_iter *it, const struct hash *h);
bool hash_next(struct hash_iter *it, struct hash_pair *ret);
/* A uniformly chosen field; the hash is not empty. */
void hash_random(const struct hash *h, uint64_t (*rnd)(void *), void *rnd_ctx,
                 struct hash_pair *ret);
