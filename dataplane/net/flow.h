/* flow: the table from a 4-tuple to a connection record's index.
 *
 * Buckets of one cache line: 12 one-byte tags compared at once, 12 indexes, and a count of entries
 * that belong here but stand in a later bucket, so that a miss almost always ends in one line.
 *     | tag x 12 | overflow u16 | pad u16 | index x 12 |
 * Sized once from max_conns (load at most 2/3), so it never grows and never pauses. The keys stay in
 * the records: the table is given their base and stride. The hash has a secret key, because peers
 * choose addresses and ports. Thread: the worker. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "engine/base/ip.h"
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
    /* Full addresses of IPv6 peers, of which a key has only a hash: peers6 + i*stride6 is that of index i. */
    const uint8_t *peers6;
    size_t stride6;
};

/* 0 or -ENOMEM. keys + i*stride is the struct flow_key of index i. */
int flow_init(struct flow *f, uint32_t max, const void *keys, size_t stride,
              const struct siphash_key *secret);
void flow_fini(struct flow *f);
void flow_insert(struct flow *f, uint64_t hash, uint32_t index);
void flow_remove(struct flow *f, uint64_t hash, uint32_t index);
/* FLOW_NONE if there is none. */
uint32_t flow_find(const struct flow *f, const struct flow_key *key, uint64_t hash);
/* The same for an IPv6 key: the full address counts. */
uint32_t flow_find6(const struct flow *f, const struct flow_key *key, uint64_t hash,
                    struct ip_addr peer);
/* What stands for an IPv6 peer in its key; keyed as flow_hash is, because peers choose addresses. */
static inline uint32_t flow_peer6(const struct flow *f, struct ip_addr peer)
{
    unsigned __int128 p =
        (unsigned __int128)(peer.w[0] ^ f->secret.k1) * (peer.w[1] ^ f->secret.k0);
    uint64_t h = (uint64_t)p ^ (uint64_t)(p >> 64);
    return (uint32_t)(h ^ h >> 32);
}
/* An IPv6 key names our address by its index (0.0.0.x), see struct ip6_local. */
static inline bool flow_key_is6(const struct flow_key *k)
{
    return k->local_ip < 256;
}

/* Keyed by 128 secret bits: the 128-bit product of both halves of the key, each masked by a secret
 * word, folded twice. Nobody outside sees a hash, so collisions cannot be searched for; SipHash would
 * cost 75 instructions more for each segment (docs/tcp.md). */
static inline uint64_t flow_hash(const struct flow *f, const struct flow_key *key)
{
    uint64_t a;
    uint32_t b;
    memcpy(&a, key, 8);
    memcpy(&b, (const uint8_t *)key + 8, 4);
    unsigned __int128 p = (unsigned __int128)(a ^ f->secret.k0) * (b ^ f->secret.k1);
    uint64_t h = (uint64_t)p ^ (uint64_t)(p >> 64);
    p = (unsigned __int128)(h ^ f->secret.k1) * 0x9e3779b97f4a7c15ull;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}
static inline uint8_t flow_tag(uint64_t hash)
{
    uint8_t t = (uint8_t)(hash >> 56);
    return t ? t : 1;
}
/* The entry's first bucket. */
static inline const struct flow_bucket *flow_bucket(const struct flow *f, uint64_t hash)
{
    return &f->bucket[(uint32_t)hash & f->mask];
}
static inline bool flow_key_equal(const struct flow_key *a, const struct flow_key *b)
{
    uint64_t x, y;
    uint32_t v, w;
    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    memcpy(&v, (const uint8_t *)a + 8, 4);
    memcpy(&w, (const uint8_t *)b + 8, 4);
    return ((x ^ y) | (v ^ w)) == 0;
}
/* Bit i is set where tag[i] == tag. */
static inline unsigned flow_match(const struct flow_bucket *b, uint8_t tag)
{
#if defined(__SSE2__)
    __m128i v = _mm_load_si128((const __m128i *)(const void *)b);
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8((char)tag))) & 0xfff;
#else
    unsigned m = 0;
    for (int i = 0; i < FLOW_WAYS; i++)
        m |= (unsigned)(b->tag[i] == tag) << i;
    return m;
#endif
}
/* The first index in an entry's first bucket with its tag: a guess to prefetch. */
static inline uint32_t flow_guess(const struct flow_bucket *b, uint8_t tag)
{
    unsigned m = flow_match(b, tag);
    return m ? b->index[__builtin_ctz(m)] : FLOW_NONE;
}
