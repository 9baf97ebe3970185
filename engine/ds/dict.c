/* dict.c: the hash table of keyspaces, and of the members of large sorted sets.
 *
 * Where a hash goes. All positions are ordered as the hashes are, which is what makes the scan cursor simple:
 *
 *   63            40            24      8        0
 *   | directory ...| bucket ...  |      |  tag   |        position = hash >> 24 (40 bits) = the scan cursor
 *    <- depth bits ->< 16 bits ->
 *
 *   segment = directory[top bits];  home bucket = (next 16 bits * buckets of the segment) >> 16
 *
 *   directory word:   | count:10 | buckets:6 | address of the segment, 64-byte aligned | depth:6 |
 *   bucket, 64 bytes: | 9 tags | state | 9 pointers of 48 bits |     tag 0 = free slot
 *   state:            | displaced:4 | reach:4 |
 *
 * The word carries what a lookup needs of a segment, so that one touches the directory and one bucket, nothing else.
 * (The count is kept only in the first word of those that share a segment.) A full home bucket overflows into the
 * buckets behind it; `reach` of the home says how far a lookup must follow, 15 meaning "everywhere", and falls back
 * to 0 when the last displaced entry (`displaced`, sticky at 15) is gone.
 *
 * Growth. A segment filled to MAX_LOAD first becomes larger by half, then splits in two of the first size. The four
 * quarters of the hash space use different sizes (16, 20, 24, 28 buckets, each an exact size class of jemalloc), so
 * segments do not all split at the same count of keys and the bytes per key stay flat over the size of the dict.
 * Equal hashes cannot be split apart: the depth is bounded by the count, beyond that entries go to one spill array.
 *
 * The directory doubles when a segment of full depth wants to split, without a pause: a new one is filled beside it,
 * DIR_SLICE words with each insert or removal, and takes its place when it is complete. Look-ups know only the old one
 * until then. The split that asked waits; its segment has free slots for far more inserts than the copy takes.
 *
 *   dir   | w0 | w1 | w2 | w3 | w4 ...          below next_done a change of dir is made in both
 *   next  | w0 | w0 | w1 | w1 |    ...          it halves in the same way
 *                ^ next_done = 2
 *
 * Memory: every allocation may fail; growth that fails is postponed while the segment has a free slot.
 * Thread: the lease holder's. Does not own entries and does not know what they are. */
#include "engine/ds/dict_internal.h"

/* A place in a segment; bucket NULL: not found. */
struct slot {
    struct dict_bucket *bucket, *home;
    uint32_t i;
};

/* ---- life ---- */

struct dict *dict_create(struct mem *mem, const struct dict_type *type)
{
    struct dict *d = mem_calloc(mem, sizeof(*d));
    if (!d)
        return NULL;
    d->mem = mem;
    d->type = *type;
    d->shift = 63;
    d->bytes = mem_size_class(sizeof(*d));
    d->dir = dict_block_alloc(d, sizeof(*d->dir));
    if (!d->dir)
        goto free_dict;
    struct dict_bucket *b = dict_segment_alloc(d, 4);
    if (!b)
        goto free_dir;
    d->dir[0] = word_make(b, 0, 4, 0);
    d->at_depth[0] = 1;
    return d;
free_dir:
    mem_free(mem, d->dir, sizeof(*d->dir));
free_dict:
    mem_free(mem, d, sizeof(*d));
    return NULL;
}

void dict_destroy(struct dict *d)
{
    if (!d)
        return;
    for (size_t i = d->freed, step; i < (size_t)1 << d->depth; i += step) {
        uint64_t w = d->dir[i];
        step = dir_span(d, w);
        dict_segment_free(d, dict_word_buckets(w), dict_word_nb(w));
    }
    dict_dir_cancel(d);
    dict_block_free(d, d->spilled, d->spilled_cap * sizeof(*d->spilled));
    dict_block_free(d, d->dir, sizeof(*d->dir) << d->depth);
    mem_free(d->mem, d, sizeof(*d));
}

size_t dict_count(const struct dict *d)
{
    return d->count;
}
size_t dict_bytes(const struct dict *d)
{
    return d->bytes;
}
void dict_rehome(struct dict *d, struct mem *mem)
{
    d->mem = mem;
}

uint64_t dict_dir_words(const struct dict *d)
{
    return d->dir_words;
}

/* ---- look-ups ---- */

void *dict_candidate_displaced(const struct dict *d, uint64_t hash)
{
    uint64_t w = d->dir[dict_dir_index(d, hash)];
    const struct dict_bucket *b = dict_word_buckets(w);
    uint32_t nb = dict_word_nb(w), i = dict_home_index(w, hash);
    for (uint32_t left = probe_limit(b + i, nb); left; left--) {
        i = i + 1 == nb ? 0 : i + 1;
        uint32_t m = dict_bucket_match(b + i, dict_tag_of(hash));
        if (m)
            return dict_slot_get(b + i, (uint32_t)__builtin_ctz(m));
    }
    return NULL;
}

void *dict_find_rest(const struct dict *d, uint64_t hash, struct span key)
{
    uint64_t w = d->dir[dict_dir_index(d, hash)];
    const struct dict_bucket *b = dict_word_buckets(w);
    uint32_t nb = dict_word_nb(w), home = dict_home_index(w, hash), i = home;
    for (uint32_t left = probe_limit(b + home, nb) + 1; left; left--) {
        for (uint32_t m = dict_bucket_match(b + i, dict_tag_of(hash)); m; m &= m - 1) {
            void *e = dict_slot_get(b + i, (uint32_t)__builtin_ctz(m));
            if (d->type.equal(e, key))
                return e;
        }
        i = i + 1 == nb ? 0 : i + 1;
    }
    if (dict_state_reach(b + home) == REACH_ALL)
        for (size_t s = 0; s < d->spilled_n; s++)
            if (d->spilled[s].hash == hash && d->type.equal(d->spilled[s].entry, key))
                return d->spilled[s].entry;
    return NULL;
}

void *dict_find(const struct dict *d, uint64_t hash, struct span key)
{
    return dict_find_inline(d, hash, key, d->type.equal);
}

void dict_prefetch_bucket(const struct dict *d, uint64_t hash)
{
    __builtin_prefetch(dict_bucket_of(d, hash));
}

void dict_prefetch_entry(const struct dict *d, uint64_t hash)
{
    uint64_t w = d->dir[dict_dir_index(d, hash)];
    const struct dict_bucket *b = dict_word_buckets(w) + dict_home_index(w, hash);
    uint32_t m = dict_bucket_match(b, dict_tag_of(hash));
    if (likely_(m))
        __builtin_prefetch(dict_slot_get(b, (uint32_t)__builtin_ctz(m)));
    else if (dict_state_reach(b))
        __builtin_prefetch(b + 1);
}

/* ---- changes ---- */

static struct slot segment_locate(uint64_t w, uint64_t hash, const void *entry)
{
    struct dict_bucket *b = dict_word_buckets(w);
    uint32_t nb = dict_word_nb(w), home = dict_home_index(w, hash), i = home;
    uint32_t left = probe_limit(b + home, nb);
    for (;;) {
        for (uint32_t m = dict_bucket_match(b + i, dict_tag_of(hash)); m; m &= m - 1) {
            uint32_t at = (uint32_t)__builtin_ctz(m);
            if (dict_slot_get(b + i, at) == entry)
                return (struct slot){b + i, b + home, at};
        }
        if (!left--)
            return (struct slot){NULL, NULL, 0};
        i = i + 1 == nb ? 0 : i + 1;
    }
}

bool dict_insert(struct dict *d, uint64_t hash, void *entry)
{
    ASSERT(((uintptr_t)entry & ~0xffffffffffffull) == 0);
    enum growth growth = GROWTH_DONE;
    if (unlikely_(d->next != NULL))
        dict_dir_slice(d);
    size_t first = first_index(d, dict_dir_index(d, hash));
    uint64_t w = d->dir[first];
    if (unlikely_(word_count(w) >= segment_limit(w))) {
        growth = dict_make_room(d, hash);
        first = first_index(d, dict_dir_index(d, hash));
        w = d->dir[first];
    }
    if (likely_(word_count(w) < segment_slots(w))) {
        segment_place(w, hash, entry);
        count_add(d, first, 1);
    } else {
        if (growth == GROWTH_NO_MEMORY || !dict_spill(d, hash, entry))
            return false;
        state_displace(dict_word_buckets(w) + dict_home_index(w, hash), REACH_ALL, true);
    }
    d->count++;
    return true;
}

void dict_replace(struct dict *d, uint64_t hash, void *old_entry, void *new_entry)
{
    d->departed++;
    struct slot at = segment_locate(d->dir[dict_dir_index(d, hash)], hash, old_entry);
    if (at.bucket) {
        slot_set(at.bucket, at.i, new_entry);
        return;
    }
    for (size_t s = 0; s < d->spilled_n; s++)
        if (d->spilled[s].entry == old_entry)
            d->spilled[s].entry = new_entry;
}

bool dict_remove(struct dict *d, uint64_t hash, void *entry)
{
    if (unlikely_(d->next != NULL))
        dict_dir_slice(d);
    d->departed++;
    size_t first = first_index(d, dict_dir_index(d, hash));
    struct slot at = segment_locate(d->dir[first], hash, entry);
    if (at.bucket) {
        at.bucket->tag[at.i] = 0;
        if (at.bucket != at.home)
            state_return(at.home);
        count_add(d, first, -1);
    } else {
        size_t s = 0;
        while (s < d->spilled_n && d->spilled[s].entry != entry)
            s++;
        if (s == d->spilled_n)
            return false;
        d->spilled[s] = d->spilled[--d->spilled_n];
    }
    d->count--;
    if (!d->paused)
        dict_merge(d, hash);
    return true;
}
