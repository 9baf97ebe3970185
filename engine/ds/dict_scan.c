/* dict_scan.c: all entries of a dict, some at a time: the scan with a cursor, and taking a dict apart that nobody uses any more.
 *
 * Where in the flow: SCAN and KEYS, active expiry, snapshots, what makes pictures of large values; lazy.c (dict_free_slice). The layout is
 * drawn in dict.c: positions are ordered as the hashes are, and a cursor is a position. Thread: the lease holder's. */
#include "engine/ds/dict_internal.h"

/* Calls fn on what lies in [from, to) and has its home in bucket `home`. Returns how many. */
static size_t scan_bucket(struct dict *d, uint64_t w, uint32_t home, uint64_t from, uint64_t to,
                          void (*fn)(void *ctx, void *entry), void *ctx)
{
    struct dict_item found[MAX_ITEMS];
    const struct dict_bucket *b = dict_word_buckets(w);
    uint32_t nb = dict_word_nb(w), n = 0, i = home;
    for (uint32_t left = probe_limit(b + home, nb) + 1; left; left--) {
        for (uint32_t m = ~dict_bucket_match(b + i, 0) & 0x1ff; m; m &= m - 1) {
            found[n].entry = dict_slot_get(b + i, (uint32_t)__builtin_ctz(m));
            __builtin_prefetch(found[n++].entry);
        }
        i = i + 1 == nb ? 0 : i + 1;
    }
    bool all = dict_state_reach(b + home) == REACH_ALL;
    size_t called = 0;
    d->paused++;
    for (uint32_t k = 0; k < n; k++) {
        uint64_t position = d->type.hash(found[k].entry, d->type.ctx) >> (64 - DICT_POSITION_BITS);
        if (position < from || position >= to)
            continue;
        fn(ctx, found[k].entry);
        called++;
    }
    /* Backwards: a removal fills the gap with the last one, which has been seen. */
    for (size_t s = all ? d->spilled_n : 0; s-- > 0;) {
        uint64_t position = d->spilled[s].hash >> (64 - DICT_POSITION_BITS);
        if (position < from || position >= to)
            continue;
        fn(ctx, d->spilled[s].entry);
        called++;
    }
    d->paused--;
    return called;
}

uint64_t dict_scan(struct dict *d, uint64_t cursor, void (*fn)(void *ctx, void *entry), void *ctx)
{
    cursor &= (1ull << DICT_POSITION_BITS) - 1;
    for (uint32_t visited = 0; visited < 16; visited++) {
        uint64_t hash = cursor << (64 - DICT_POSITION_BITS), w = d->dir[dict_dir_index(d, hash)];
        uint32_t below = DICT_POSITION_BITS - dict_word_depth(w), nb = dict_word_nb(w),
                 home = dict_home_index(w, hash);
        uint64_t start = cursor >> below << below;
        /* The first position whose home is the next bucket. */
        uint64_t end = home + 1 == nb
                           ? start + (1ull << below)
                           : start + ((((uint64_t)(home + 1) << 16) + nb - 1) / nb << (below - 16));
        size_t before = d->count, called = scan_bucket(d, w, home, cursor, end, fn, ctx);
        if (d->count < before)
            dict_merge(d, hash);
        cursor = end & ((1ull << DICT_POSITION_BITS) - 1);
        if (called || cursor == 0)
            break;
    }
    return cursor;
}

/* Calls fn on the entries of a segment and frees it. */
static size_t segment_destroy(struct dict *d, uint64_t w, void (*fn)(void *ctx, void *entry),
                              void *ctx)
{
    struct dict_bucket *b = dict_word_buckets(w);
    for (uint32_t i = 0; fn && i < dict_word_nb(w); i++) {
        uint32_t full = ~dict_bucket_match(b + i, 0) & 0x1ff;
        for (uint32_t m = full; m; m &= m - 1)
            __builtin_prefetch(dict_slot_get(b + i, (uint32_t)__builtin_ctz(m)));
        for (uint32_t m = full; m; m &= m - 1)
            fn(ctx, dict_slot_get(b + i, (uint32_t)__builtin_ctz(m)));
    }
    dict_segment_free(d, b, dict_word_nb(w));
    return word_count(w);
}

bool dict_free_slice(struct dict *d, size_t budget, void (*fn)(void *ctx, void *entry), void *ctx)
{
    size_t done = 0, words = (size_t)1 << d->depth;
    while (d->spilled_n && done < budget) {
        d->count--;
        done++;
        d->spilled_n--;
        if (fn)
            fn(ctx, d->spilled[d->spilled_n].entry);
    }
    /* An empty segment is work too. */
    for (; d->freed < words && done < budget; done++) {
        uint64_t w = d->dir[d->freed];
        size_t n = segment_destroy(d, w, fn, ctx);
        d->count -= n;
        done += n;
        d->freed += dir_span(d, w);
    }
    if (d->freed < words)
        return false;
    dict_destroy(d);
    return true;
}
