/* expire.c: active expiry, a bounded slice per loop.
 *
 * A cursor walks the entries with a TTL, database by database. It looks at ENTRIES_PER_MS for each millisecond that has
 * passed, which no load notices; when a slice meets more than a tenth of stale entries, the next loop goes on with its
 * whole budget, until that is no longer so. Exactness does not depend on this: a look-up never sees an expired entry.
 * Thread: the lease holder's. */
#include "engine/shard/shard_internal.h"

#define ENTRIES_PER_MS 64
#define EMPTY_STEPS    16 /* scan calls of a slice that may find nothing */

struct slice {
    struct shard *s;
    uint32_t db;
    size_t seen, expired, left_n;
    uint64_t left_sum_ms; /* time to live of those that stay */
};

static void visit(void *ctx, void *entry)
{
    struct slice *slice = ctx;
    struct shard *s = slice->s;
    struct entry *e = entry;
    slice->seen++;
    if (shard_expired(s, e)) {
        uint64_t hash = shard_hash(s, entry_key_fast(e));
        if (shard_claims(s, hash))
            return;
        slice->expired++;
        ks_expire_now(s, slice->db, e, hash);
        return;
    }
    slice->left_n++;
    slice->left_sum_ms += (uint64_t)(entry_expire_fast(e) - s->now_ms);
}

/* To the next database that has entries with a TTL; false: there is none. */
static bool next_db(struct shard *s)
{
    for (uint32_t i = 0; i < LIMIT_DATABASES; i++) {
        s->expire_db = (s->expire_db + 1) % LIMIT_DATABASES;
        if (ks_count_expires(s, s->expire_db)) {
            s->expire_cursor = 0;
            return true;
        }
    }
    return false;
}

/* A running average over about fifty slices, as Redis's avg_ttl. */
static void note_ttl(struct shard_db *db, const struct slice *slice)
{
    if (!slice->left_n)
        return;
    uint64_t avg = slice->left_sum_ms / slice->left_n;
    db->avg_ttl_ms = db->avg_ttl_ms ? db->avg_ttl_ms / 50 * 49 + avg / 50 : avg;
}

size_t expire_tick(struct shard *s, size_t budget)
{
    if (s->expire_paused || s->loading || !s->config->active_expire)
        return 0;
    int64_t passed = s->now_ms - s->expire_last_ms;
    s->expire_last_ms = s->now_ms;
    if (!s->expire_hot) {
        if (passed <= 0)
            return 0;
        if ((uint64_t)passed < budget / ENTRIES_PER_MS)
            budget = (size_t)passed * ENTRIES_PER_MS;
    }
    size_t seen = 0, expired = 0;
    for (uint32_t steps = 0; seen < budget && steps < EMPTY_STEPS;) {
        if (!ks_count_expires(s, s->expire_db) && !next_db(s))
            break;
        struct slice slice = {.s = s, .db = s->expire_db};
        s->expire_cursor = dict_scan(s->db[s->expire_db].expires, s->expire_cursor, visit, &slice);
        note_ttl(&s->db[slice.db], &slice);
        seen += slice.seen;
        expired += slice.expired;
        steps += slice.seen == 0;
        if (s->expire_cursor == 0 && (!next_db(s) || steps++ >= EMPTY_STEPS / 2))
            break;
    }
    s->expire_hot = expired * 10 > seen;
    s->stats.expired_time_cap_reached += s->expire_hot && seen >= budget;
    return seen;
}
