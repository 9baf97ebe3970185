/* clock.c: the 24 bits that say when (LRU) or how often (LFU) an entry was used, as Redis 7.0 keeps them.
 *
 *   LRU: unix seconds, modulo 2^24.     LFU: unix minutes modulo 2^16 << 8 | logarithmic counter
 *   S3-FIFO: number and queue of its record, uses in the lowest two bits (s3fifo.c)
 *
 * Which of them is a matter of maxmemory-policy; after the policy changes, old values are nonsense until the next
 * access, in Redis too. Thread: the lease holder's. */
#include "engine/base/assert.h"
#include "engine/shard/shard_internal.h"

#define LFU_INITIAL 5
#define S3_USES     3u /* mask and most */

static uint32_t minutes_now(const struct shard *s)
{
    return (uint32_t)((uint64_t)s->now_ms / 60000) & 0xffff;
}

void clock_begin(struct shard *s, uint32_t db, uint64_t hash, struct entry *e)
{
    if (unlikely_(policy_is_s3(s)))
        s3_insert(s, db, hash, e);
    else
        entry_set_clock(e, policy_is_lfu(s) ? minutes_now(s) << 8 | LFU_INITIAL : lru_now(s));
}

/* The counter less one for each decay time that has passed since the last access. */
static uint32_t lfu_decayed(const struct shard *s, const struct entry *e)
{
    uint32_t last = entry_clock(e) >> 8, counter = entry_clock(e) & 255, now = minutes_now(s);
    uint32_t elapsed = now >= last ? now - last : 65535 - last + now;
    uint32_t periods = s->config->lfu_decay_time_min ? elapsed / s->config->lfu_decay_time_min : 0;
    return periods > counter ? 0 : counter - periods;
}

/* Counts up with a chance that falls as the counter rises. */
static uint32_t lfu_incremented(struct shard *s, uint32_t counter)
{
    if (counter == 255)
        return 255;
    double above = counter > LFU_INITIAL ? counter - LFU_INITIAL : 0;
    double draw = (double)(shard_random(s) >> 11) * 0x1p-53;
    return counter + (draw < 1.0 / (above * s->config->lfu_log_factor + 1));
}

void clock_count(struct shard *s, struct entry *e)
{
    uint32_t clock = entry_clock(e);
    if (!policy_is_s3(s))
        clock_store(e, minutes_now(s) << 8 | lfu_incremented(s, lfu_decayed(s, e)));
    else if ((clock & S3_USES) != S3_USES)
        entry_set_clock(e, clock + 1);
}

void clock_carry(struct shard *s, struct entry *e, const struct entry *old)
{
    if (policy_is_s3(s))
        clock_store(e, (entry_clock(e) & ~S3_USES) | (entry_clock(old) & S3_USES));
    else
        clock_inherit(s, e, old);
}

void ks_touch(struct shard *s, struct entry *e)
{
    clock_touch(s, e);
}

void ks_set_clock(struct shard *s, struct entry *e, int64_t idle_s, int64_t freq)
{
    if (policy_is_s3(s)) {
        /* its place in the queues is all there is */
    } else if (policy_is_lfu(s)) {
        if (freq >= 0)
            clock_store(e, minutes_now(s) << 8 | (uint32_t)freq);
    } else if (idle_s >= 0) {
        /* What lies before the clock's start is as old as the clock can tell. */
        int64_t then = (int64_t)lru_now(s) - (idle_s < LRU_CLOCK_MAX ? idle_s : LRU_CLOCK_MAX);
        clock_store(e,
                    then >= 0 ? (uint32_t)then : (lru_now(s) + LRU_CLOCK_MAX / 2) % LRU_CLOCK_MAX);
    }
}

uint64_t ks_idle_s(const struct shard *s, const struct entry *e)
{
    uint32_t now = lru_now(s), last = entry_clock(e);
    if (policy_is_s3(s))
        return 0;
    return now >= last ? now - last : now + (LRU_CLOCK_MAX - last);
}

uint32_t ks_freq(const struct shard *s, const struct entry *e)
{
    return policy_is_s3(s) ? entry_clock(e) & S3_USES : lfu_decayed(s, e);
}
