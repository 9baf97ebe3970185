/* shard.c: birth and end of a shard, its random numbers, its share of the keys, its turn in the loop.
 *
 * Thread: the lease holder's, but for shard_of_key, which is pure. */
#include "engine/shard/shard.h"

#include "engine/base/crc.h"
#include "engine/shard/field_timer.h"
#include "engine/shard/shard_internal.h"
#include "engine/shard/snapshot.h"
#include "engine/shard/wait.h"

/* ---- what the dicts need of entries ---- */

static uint64_t hash_entry(const void *entry, const void *ctx)
{
    struct span key = entry_key_fast(entry);
    return key_hash(ctx, key.p, key.n);
}

static bool equal_entry(const void *entry, struct span key)
{
    return entry_equal(entry, key);
}

/* ---- random numbers: xoshiro256** (Blackman, Vigna 2018), seeded by splitmix64 ---- */

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t shard_random(struct shard *s)
{
    uint64_t *r = s->rng, result = rotl(r[1] * 5, 7) * 9, t = r[1] << 17;
    r[2] ^= r[0];
    r[3] ^= r[1];
    r[1] ^= r[2];
    r[0] ^= r[3];
    r[2] ^= t;
    r[3] = rotl(r[3], 45);
    return result;
}

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* ---- birth and end ---- */

/* 0 or -errno. `config` and the shard itself stay where they are until shard_fini. */
int shard_init(struct shard *s, uint32_t id, uint32_t count, const struct siphash_key *key,
               const struct engine_config *config, uint64_t seed)
{
    memset(s, 0, sizeof(*s));
    int err = mem_init(&s->mem);
    if (err)
        return err;
    s->id = id;
    s->count = count;
    s->hash_key = *key;
    s->key_type = (struct dict_type){hash_entry, equal_entry, &s->hash_key};
    s->config = config;
    for (int i = 0; i < 4; i++)
        s->rng[i] = splitmix64(&seed);
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++)
        s->db[db].id = (uint8_t)db;
    list_init(&s->held_all);
    evict_init(s);
    return 0;
}

void shard_fini(struct shard *s)
{
    snapshot_end(s);
    held_fini(s);
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++)
        ks_flush(s, db, false);
    while (s->lazy_head)
        lazy_tick(s, SIZE_MAX);
    watch_fini(s);
    wait_fini(s);
    field_timers_fini(s);
    evict_fini(s);
    notify_fini(s);
    track_fini(s);
    mem_fini(&s->mem);
}

/* ---- its share ---- */

uint32_t shard_of_key(struct span key, uint32_t count)
{
    return shard_of_slot(key_slot(key.p, key.n), count);
}

/* ---- its turn in the loop ---- */

size_t shard_tick(struct shard *s, size_t budget)
{
    size_t done = lazy_tick(s, budget);
    if (unlikely_(shard_stands_still(s)))
        return done;
    return done + expire_tick(s, budget) + field_timer_tick(s, budget) + evict_tick(s, budget);
}
