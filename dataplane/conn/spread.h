/* On which shards the keys of one request lie: what scatter_start must know before it asks for memory. Thread: the client's home worker. */
#pragma once

#include "dataplane/conn/owner_inline.h"

struct spread {
    uint32_t keys, shards;
    uint32_t count[LIMIT_WORKERS]; /* keys of each shard */
    uint8_t *owner;                /* of each key */
    size_t bytes;
};

/* All keys but the first, whose owner is known. */
static inline __attribute__((always_inline)) void
spread_keys(struct spread *at, const struct span *key, uint32_t each, uint32_t count, bool aes)
{
    uint32_t shards = at->shards, keys = at->keys;
    size_t bytes = at->bytes;
    uint8_t *to = at->owner;
    for (uint32_t i = 1; i < keys; i++) {
        key += each;
        uint32_t owner = owner_of(*key, count, aes);
        to[i] = (uint8_t)owner;
        shards += at->count[owner]++ == 0;
        bytes += key->n + (each == 2 ? key[1].n : 0);
    }
    at->shards = shards;
    at->bytes = bytes;
}

#if defined(__x86_64__)
KEY_HASH_AES static inline void spread_aes(struct spread *at, const struct span *key, uint32_t each,
                                           uint32_t count)
{
    if (each == 1)
        spread_keys(at, key, 1, count, true);
    else
        spread_keys(at, key, each, count, true);
}
#endif

/* All keys of a request but the first, from `key` on, `each` arguments apart. */
static inline void spread_rest(struct spread *at, const struct span *key, uint32_t each,
                               uint32_t count)
{
#if defined(__x86_64__)
    if (likely_(key_hash_is_aes)) {
        spread_aes(at, key, each, count);
        return;
    }
#endif
    spread_keys(at, key, each, count, false);
}
