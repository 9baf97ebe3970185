/* evict.c: keeps a shard under its share of maxmemory: who goes, by which policy, and how many at a time.
 *
 * Where in the flow: a command that may need memory (CMD_DENYOOM) calls shard_make_room when shard_full says so; shard_tick goes on with
 * what commands left. The policies that compare entries (LRU, LFU, TTL) draw some of each database and keep the best sixteen seen so far,
 * as Redis does; the drawing is of neighbours in the dict (dict_sample), asked for before the first is read. S3-FIFO: s3fifo.c.
 *
 * A command evicts PER_COMMAND entries itself and further ones from an allowance of PER_MS that all of a millisecond share, so that no
 * turn of the loop takes long, however much there is to do; where that is not enough it runs nevertheless, as in Redis. What has been
 * written while the shard was over is a debt on top of that, paid by the commands and ticks that come next, OWED_AT_ONCE entries each, and
 * eight times as many once it is a 64th of the shard's share: large values in place of small ones do not take the shard ever further over,
 * and a maxmemory set lower (no debt) is met in small steps. A command is refused only when nothing is left that the policy may take. What
 * lazy.c frees in slices is on its way out and counts as gone.
 * Thread: the lease holder's. */
#include "engine/shard/evict.h"

#include "engine/base/assert.h"
#include "engine/shard/shard_internal.h"

#define PER_COMMAND 8
#define PER_MS      512
#define OWED_AT_ONCE \
    2048 /* half a millisecond, what Redis may take (maxmemory-eviction-tenacity) */
#define FREE_PIECES \
    32 /* of values that are freed in slices, with each command while they are what is too much */
#define POOL_ROUNDS 4
#define NOT_OVER    (-1)

struct victim {
    struct entry *e;
    uint64_t hash;
    uint32_t db;
};

static bool policy_volatile(uint32_t policy)
{
    return policy == POLICY_VOLATILE_LRU || policy == POLICY_VOLATILE_LFU ||
           policy == POLICY_VOLATILE_RANDOM || policy == POLICY_VOLATILE_TTL;
}

/* Where the policy chooses: all keys, or those with an expiry. NULL: there are none. */
static struct dict *choice(const struct shard *s, uint32_t db)
{
    struct dict *d =
        policy_volatile(s->config->maxmemory_policy) ? s->db[db].expires : s->db[db].keys;
    return d && dict_count(d) ? d : NULL;
}

/* ---- policies that compare ---- */

static uint64_t score_of(const struct shard *s, const struct entry *e)
{
    switch (s->config->maxmemory_policy) {
    case POLICY_VOLATILE_TTL: return UINT64_MAX - (uint64_t)entry_expire_fast(e);
    case POLICY_ALLKEYS_LFU:
    case POLICY_VOLATILE_LFU: return 255 - ks_freq(s, e);
    default: return ks_idle_s(s, e);
    }
}

static void pool_offer(struct shard *s, uint32_t db, const struct entry *e)
{
    struct evict *v = &s->evict;
    uint64_t score = score_of(s, e);
    uint32_t at = v->pool_n;
    if (at == EVICT_POOL && score <= v->pool[0].score)
        return;
    for (uint32_t i = 0; i < v->pool_n; i++)
        if (v->pool[i].e == e) /* or what was there before, which is found to be gone in its turn */
            return;
    if (at == EVICT_POOL)
        memmove(v->pool, v->pool + 1, (--at) * sizeof(v->pool[0]));
    else
        v->pool_n++;
    for (; at && v->pool[at - 1].score > score; at--)
        v->pool[at] = v->pool[at - 1];
    v->pool[at] = (struct evict_candidate){
        .score = score, .hash = shard_hash(s, entry_key_fast(e)), .e = e, .db = s->db[db].id};
}

/* Draws some of each database. False: there is nothing to draw. */
static bool pool_fill(struct shard *s)
{
    void *drawn[EVICT_SAMPLES_MAX];
    uint32_t samples = s->config->maxmemory_samples;
    bool any = false;
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++) {
        const struct dict *d = choice(s, db);
        if (!d)
            continue;
        any = true;
        size_t n = dict_sample(d, shard_random(s), drawn,
                               samples < EVICT_SAMPLES_MAX ? samples : EVICT_SAMPLES_MAX);
        if (!n) {
            drawn[0] = dict_random(d, draw_random, s);
            n = drawn[0] != NULL;
        }
        for (size_t i = 0; i < n; i++)
            __builtin_prefetch(drawn[i]);
        for (size_t i = 0; i < n; i++)
            pool_offer(s, db, drawn[i]);
    }
    return any;
}

static bool same_address(const void *entry, const void *ctx)
{
    return entry == ctx;
}

/* Is it what was offered, and not used since? */
static bool pool_take(struct shard *s, const struct evict_candidate *c, struct victim *ret)
{
    uint32_t db = db_by_id(s, c->db);
    const struct dict *d = choice(s, db);
    struct entry *e = d ? dict_find_if(d, c->hash, same_address, c->e) : NULL;
    if (!e || shard_hash(s, entry_key_fast(e)) != c->hash || score_of(s, e) < c->score)
        return false;
    *ret = (struct victim){e, c->hash, db};
    return true;
}

/* ---- one victim ---- */

/* Databases take turns. */
static enum evict_found find_random(struct shard *s, struct victim *ret)
{
    for (uint32_t i = 0; i < LIMIT_DATABASES; i++) {
        uint32_t db = s->evict.next_db++ % LIMIT_DATABASES;
        struct dict *d = choice(s, db);
        struct entry *e = d ? dict_random(d, draw_random, s) : NULL;
        if (!e)
            continue;
        *ret = (struct victim){e, shard_hash(s, entry_key_fast(e)), db};
        return EVICT_FOUND;
    }
    return EVICT_NOTHING;
}

static enum evict_found find_best(struct shard *s, struct victim *ret)
{
    struct evict *v = &s->evict;
    for (uint32_t round = 0; round < POOL_ROUNDS; round++) {
        if (!pool_fill(s))
            return EVICT_NOTHING;
        while (v->pool_n)
            if (pool_take(s, &v->pool[--v->pool_n], ret))
                return EVICT_FOUND;
    }
    return find_random(s, ret);
}

static enum evict_found find_queued(struct shard *s, struct victim *ret)
{
    enum evict_found found = s3_victim(s, &ret->db, &ret->hash, &ret->e);
    return found == EVICT_NOTHING ? find_random(s, ret) : found;
}

static enum evict_found evict_one(struct shard *s)
{
    struct victim v;
    enum evict_found found;
    switch (s->config->maxmemory_policy) {
    case POLICY_NOEVICTION: return EVICT_NOTHING;
    case POLICY_ALLKEYS_RANDOM:
    case POLICY_VOLATILE_RANDOM: found = find_random(s, &v); break;
    case POLICY_ALLKEYS_S3FIFO: found = find_queued(s, &v); break;
    default: found = find_best(s, &v);
    }
    if (found != EVICT_FOUND)
        return found;
    if (shard_claims(s, v.hash))
        return EVICT_LATER;
    if (shard_expired(s, v.e))
        ks_expire_now(s, v.db, v.e, v.hash);
    else
        ks_evict_now(s, v.db, v.e, v.hash);
    return EVICT_FOUND;
}

/* ---- how many at a time ---- */

bool shard_over_memory(struct shard *s)
{
    uint64_t limit = s->config->maxmemory_bytes;
    return limit && s->mem.used_bytes > limit / s->count + s->lazy_bytes;
}

/* The policy may have changed: candidates of another mean nothing, and queues begin or end. */
static void follow_policy(struct shard *s)
{
    struct evict *v = &s->evict;
    uint32_t policy = s->config->maxmemory_policy;
    if (likely_(policy == v->policy))
        return;
    v->policy = policy;
    v->pool_n = 0;
    if (v->s3.on != (policy == POLICY_ALLKEYS_S3FIFO))
        s3_switch(s, policy == POLICY_ALLKEYS_S3FIFO);
}

static void note_over(struct shard *s, bool over)
{
    struct evict *v = &s->evict;
    if (over && v->over_since_ms == NOT_OVER)
        v->over_since_ms = s->now_ms;
    s->stats.over_now_ms =
        v->over_since_ms == NOT_OVER ? 0 : (uint64_t)(s->now_ms - v->over_since_ms);
    if (!over && v->over_since_ms != NOT_OVER) {
        s->stats.over_ms += s->stats.over_now_ms;
        s->stats.over_now_ms = 0;
        v->over_since_ms = NOT_OVER;
    }
}

static uint32_t *allowance(struct shard *s)
{
    struct evict *v = &s->evict;
    if (v->allowance_ms != s->now_ms) {
        v->allowance_ms = s->now_ms;
        v->allowance = PER_MS;
    }
    return &v->allowance;
}

static uint64_t bytes_that_stay(const struct shard *s)
{
    return s->mem.used_bytes > s->lazy_bytes ? s->mem.used_bytes - s->lazy_bytes : 0;
}

/* Evicts `own`, what the allowance has and what is owed, until the shard is no longer over. NOTHING: it is, and nothing is left to take. */
static enum evict_found evict_some(struct shard *s, uint32_t own, size_t *ret_done)
{
    struct evict *v = &s->evict;
    uint64_t before = bytes_that_stay(s), share = s->config->maxmemory_bytes / s->count;
    if (before > v->seen_bytes)
        v->owed_bytes += before - v->seen_bytes;
    uint64_t goal = before > v->owed_bytes ? before - v->owed_bytes : 0;
    uint32_t owed = v->owed_bytes > share / 64 ? 8 * OWED_AT_ONCE : OWED_AT_ONCE;
    uint32_t *shared = allowance(s);
    size_t done = 0;
    enum evict_found found = EVICT_FOUND;
    while (shard_over_memory(s) && found != EVICT_NOTHING) {
        if (own)
            own--;
        else if (owed && bytes_that_stay(s) > goal)
            owed--;
        else if (*shared)
            --*shared;
        else
            break;
        found = evict_one(s);
        done += found == EVICT_FOUND;
    }
    v->seen_bytes = bytes_that_stay(s);
    v->owed_bytes = shard_over_memory(s) && v->seen_bytes > goal ? v->seen_bytes - goal : 0;
    *ret_done = done;
    return found;
}

bool shard_make_room(struct shard *s)
{
    follow_policy(s);
    if (s->lazy_head)
        lazy_tick(s, FREE_PIECES);
    size_t done;
    enum evict_found found = evict_some(s, PER_COMMAND, &done);
    bool over = shard_over_memory(s);
    note_over(s, over);
    return !over || found != EVICT_NOTHING;
}

size_t evict_tick(struct shard *s, size_t budget)
{
    struct evict *v = &s->evict;
    size_t done = 0;
    follow_policy(s);
    if (unlikely_(v->s3.on || v->s3.trash))
        done = s3_tick(s, budget);
    if (likely_(!shard_over_memory(s))) {
        v->seen_bytes = bytes_that_stay(s);
        if (unlikely_(v->over_since_ms != NOT_OVER))
            note_over(s, false);
        return done;
    }
    size_t evicted = 0;
    if (v->policy != POLICY_NOEVICTION)
        evict_some(s, 0, &evicted);
    note_over(s, shard_over_memory(s));
    return done + evicted;
}

void evict_init(struct shard *s)
{
    s->evict =
        (struct evict){.policy = POLICY_NOEVICTION, .over_since_ms = NOT_OVER, .allowance_ms = -1};
}

void evict_fini(struct shard *s)
{
    s3_fini(s);
}
