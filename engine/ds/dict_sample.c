/* dict_sample.c: looks into a dict that are no look-up of a key: an entry, or some, from a random place, and an entry by its hash alone.
 *
 * Where in the flow: eviction (engine/shard/evict.c, s3fifo.c) remembers entries by hash and asks later whether they are still there; an
 * address that is remembered is only compared, never followed. The layout is drawn in dict.c. Thread: the lease holder's. */
#include "engine/ds/dict_internal.h"

/* What a look-up uses of a hash: its position and its tag. */
#define HASH_USED (~0ull << (64 - DICT_POSITION_BITS) | 0xff)

void *dict_find_if(const struct dict *d, uint64_t hash,
                   bool (*is)(const void *entry, const void *ctx), const void *ctx)
{
    uint64_t w = d->dir[dict_dir_index(d, hash)];
    const struct dict_bucket *b = dict_word_buckets(w);
    uint32_t nb = dict_word_nb(w), i = dict_home_index(w, hash), left = dict_state_reach(b + i);
    if (left == DICT_REACH_ALL || left >= nb)
        left = nb - 1;
    for (;;) {
        for (uint32_t m = dict_bucket_match(b + i, dict_tag_of(hash)); m; m &= m - 1) {
            void *e = dict_slot_get(b + i, (uint32_t)__builtin_ctz(m));
            if (is(e, ctx))
                return e;
        }
        if (!left--)
            break;
        i = i + 1 == nb ? 0 : i + 1;
    }
    for (size_t k = 0; k < d->spilled_n; k++)
        if (!((d->spilled[k].hash ^ hash) & HASH_USED) && is(d->spilled[k].entry, ctx))
            return d->spilled[k].entry;
    return NULL;
}

/* Up to n entries of a segment from slot `at` on, round to where it began. */
static size_t sample_segment(uint64_t w, uint32_t at, void **ret, size_t n)
{
    const struct dict_bucket *b = dict_word_buckets(w);
    uint32_t slots = dict_word_nb(w) * DICT_SLOTS;
    size_t found = 0;
    for (uint32_t k = 0; k < slots && found < n; k++, at = at + 1 == slots ? 0 : at + 1)
        if (b[at / DICT_SLOTS].tag[at % DICT_SLOTS])
            ret[found++] = dict_slot_get(b + at / DICT_SLOTS, at % DICT_SLOTS);
    return found;
}

size_t dict_sample(const struct dict *d, uint64_t random, void **ret, size_t n)
{
    if (!d->count || !n)
        return 0;
    size_t found = 0, spilled = d->spilled_n;
    uint32_t low = (uint32_t)random;
    if (spilled && random % d->count < spilled)
        for (size_t k = low % spilled; k < spilled && found < n; k++)
            ret[found++] = d->spilled[k].entry;
    /* A word of the directory is a part of the hash space, and so is a slot of its segment: crowded and thin segments give their
     * entries the same chance but for how full they are. */
    size_t words = (size_t)1 << d->depth, index = dict_dir_index(d, random);
    for (uint32_t segments = 0; found < n && segments < 16; segments++) {
        uint64_t w = d->dir[index];
        uint32_t slots = dict_word_nb(w) * DICT_SLOTS;
        found += sample_segment(w, (uint32_t)((uint64_t)low * slots >> 32), ret + found, n - found);
        size_t shared = (size_t)1 << (d->depth - dict_word_depth(w));
        if (shared == words)
            break; /* there is no other segment */
        index = ((index & ~(shared - 1)) + shared) & (words - 1);
    }
    return found;
}

void *dict_random(const struct dict *d, uint64_t (*rnd)(void *), void *rnd_ctx)
{
    if (!d->count)
        return NULL;
    if (d->spilled_n) {
        uint64_t k = rnd(rnd_ctx) % d->count;
        if (k < d->spilled_n)
            return d->spilled[k].entry;
    }
    /* Every segment is hit with the same chance (at its first word only), and every slot of MAX_BUCKETS buckets,
     * whether the segment has it or not: so every entry has the same chance. */
    for (uint32_t tries = 0; tries < 4096; tries++) {
        uint64_t r = rnd(rnd_ctx);
        size_t index = (size_t)(r >> 1 >> d->shift);
        uint64_t w = d->dir[index];
        uint32_t slot = (uint32_t)((r & 0xffffffff) * (MAX_BUCKETS * DICT_SLOTS) >> 32);
        const struct dict_bucket *b = dict_word_buckets(w) + slot / DICT_SLOTS;
        if (slot >= segment_slots(w) || index != first_index(d, index) ||
            !b->tag[slot % DICT_SLOTS])
            continue;
        return dict_slot_get(b, slot % DICT_SLOTS);
    }
    /* Nearly empty, or degenerate: the next entry after a random place. */
    size_t mask = ((size_t)1 << d->depth) - 1, index = rnd(rnd_ctx) & mask;
    for (size_t k = 0; k <= mask; k++, index = (index + 1) & mask) {
        uint64_t w = d->dir[index];
        for (uint32_t i = 0; i < dict_word_nb(w); i++) {
            uint32_t m = ~dict_bucket_match(dict_word_buckets(w) + i, 0) & 0x1ff;
            if (m)
                return dict_slot_get(dict_word_buckets(w) + i, (uint32_t)__builtin_ctz(m));
        }
    }
    return d->spilled_n ? d->spilled[0].entry : NULL;
}
