/* flow: the table from a 4-tuple to a connection record's index.
 *
 * Buckets of one cache line: 12 one-byte tags compared at once, 12 indexes, and a count of entries
 * that belong here but stand in a later bucket, so that a miss almost always ends in one line.
 *     | tag x 12 | overflow u16 | pad u16 | index x 12 |
 * Sized once from max_conns (load at most 2/3), so it never grows and never pauses. The keys stay in
 * the records: the table is given their base and stride. SipHash-1-3 with a secret key, because peers
 * choose addresses and ports. Thread: the worker. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/siphash.h"

#define FLOW_WAYS 12
#define FLOW_NONE UINT32_MAX

struct flow_key { /* host byte order; first member of the connection record */
    uint32_t peer_ip, local_ip;
    uint16_t peer_port, local_port;
};
static_assert(sizeof(struct flow_key) == 12, "hashed as 12 bytes");

struct flow_bucket {
    uint8_t tag[FLOW_WAYS]; /* 0: empty */
    uint16_t overflow; /* entries whose first bucket this is or was passed, stored further on */
    uint16_t pad;
    uint32_t index[FLOW_WAYS];
} __attribute__((aligned(64)));
static_assert(sizeof(struct flow_bucket) == 64, "one cache line");

struct flow {
    struct flow_bucket *bucket;
    uint32_t mask; /* buckets - 1 */
    uint32_t count;
    size_t bytes; /* of the mapping */
    const uint8_t *keys;
    size_t stride;
    struct siphash_key secret;
};

/* 0 or -ENOMEM. keys + i*stride is the struct flow_key of index i. */
int flow_init(struct flow *f, uint32_t max, const void *keys, size_t stride,
              const struct siphash_key *secret);
void flow_fini(struct flow *f);
void flow_insert(struct flow *f, uint64_t hash, uint32_t index);
void flow_remove(struct flow *f, uint64_t hash, uint32_t index);
/* FLOW_NONE if there is none. */
uint32_t flow_find(const struct flow *f, const struct flow_key *key, uint64_t hash);

#define FLOW_ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define FLOW_SIPROUND                \
    do {                             \
        v0 += v1;                    \
        v2 += v3;                    \
        v1 = FLOW_ROTL(v1, 13) ^ v0; \
        v3 = FLOW_ROTL(v3, 16) ^ v2; \
        v0 = FLOW_ROTL(v0, 32);      \
        v2 += v1;                    \
        v0 += v3;                    \
        v1 = FLOW_ROTL(v1, 17) ^ v2; \
        v3 = FLOW_ROTL(v3, 21) ^ v0; \
        v2 = FLOW_ROTL(v2, 32);      \
    } while (0)

/* siphash13() of the 12 bytes of the key, unrolled for that length. */
static inline uint64_t flow_hash(const struct flow *f, const struct flow_key *key)
{
    uint64_t m0;
    uint32_t m1;
    memcpy(&m0, key, 8);
    memcpy(&m1, (const uint8_t *)key + 8, 4);
    uint64_t last = (uint64_t)m1 | 12ull << 56;
    uint64_t v0 = 0x736f6d6570736575ull ^ f->secret.k0, v1 = 0x646f72616e646f6dull ^ f->secret.k1;
    uint64_t v2 = 0x6c7967656e657261ull ^ f->secret.k0, v3 = 0x7465646279746573ull ^ f->secret.k1;
    v3 ^= m0;
    FLOW_SIPROUND;
    v0 ^= m0;
    v3 ^= last;
    FLOW_SIPROUND;
    v0 ^= last;
    v2 ^= 0xff;
    FLOW_SIPROUND;
    FLOW_SIPROUND;
    FLOW_SIPROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}
static inline uint8_t flow_tag(uint64_t hash)
{
    uint8_t t = (uint8_t)(hash >> 56);
    return t ? t : 1;
}
static inline void flow_prefetch(const struct flow *f, uint64_t hash)
{
    __builtin_prefetch(&f->bucket[(uint32_t)hash & f->mask]);
}
static inline bool flow_key_equal(const struct flow_key *a, const struct flow_key *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}
/* The first index in the first bucket with the right tag: a guess to prefetch. */
uint32_t flow_guess(const struct flow *f, uint64_t hash);
