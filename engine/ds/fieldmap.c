/* fieldmap.c: look-up and change of single fields. fieldmap_internal.h has the picture of the bytes. */
#include "engine/ds/fieldmap_internal.h"

struct fieldmap *fieldmap_create(struct mem *mem, const struct siphash_key *key, bool values)
{
    struct fieldmap *fm = mem_alloc(mem, sizeof(*fm));
    if (!fm)
        return NULL;
    *fm = (struct fieldmap){.mem = mem,
                            .key = key,
                            .bytes = mem_size_class(sizeof(*fm)),
                            .next_due = INT64_MAX,
                            .values = values};
    return fm;
}

void fieldmap_rehome(struct fieldmap *fm, struct mem *mem)
{
    fm->mem = mem;
}

size_t fieldmap_count(const struct fieldmap *fm)
{
    return fm->count;
}

size_t fieldmap_bytes(const struct fieldmap *fm)
{
    return fm->bytes;
}

size_t fieldmap_pieces(const struct fieldmap *fm)
{
    return 1 + fm->pages + (fm->any_big ? fm->count : 0);
}

size_t fieldmap_pages(const struct fieldmap *fm)
{
    return fm->pages;
}

uint64_t fieldmap_hash(const struct fieldmap *fm, struct span field)
{
    return key_hash(fm->key, field.p, field.n);
}

/* ---- look-up ---- */

struct place {
    uint64_t w;
    uint32_t group, slot;
    uint8_t *item;
};

static inline __attribute__((always_inline)) bool find(const struct fieldmap *fm, uint64_t hash,
                                                       struct span field, struct place *ret)
{
    uint64_t w = fm_dir_get(fm, hash);
    if (unlikely_(!w))
        return false;
    uint32_t g = fm_home(w, hash), reach = fm_group(w, g)->reach;
    uint8_t tag = fm_tag(hash);
    for (;;) {
        const struct fm_group *grp = fm_group(w, g);
        for (uint32_t m = fm_match(grp, tag); m; m &= m - 1) {
            uint32_t i = (uint32_t)__builtin_ctz(m);
            uint8_t *item = fm_page(w) + grp->off[i];
            if (likely_(fm_item_is(fm, item, field))) {
                *ret = (struct place){w, g, i, item};
                return true;
            }
        }
        if (likely_(reach-- == 0))
            return false;
        g = g + 1 == fm_groups(w) ? 0 : g + 1;
    }
}

bool fieldmap_has(const struct fieldmap *fm, uint64_t hash, struct span field)
{
    struct place p;
    return find(fm, hash, field, &p);
}

bool fieldmap_find(const struct fieldmap *fm, uint64_t hash, struct span field,
                   struct fieldmap_item *ret)
{
    struct place p;
    if (!find(fm, hash, field, &p))
        return false;
    fm_item_read(fm, p.item, ret);
    return true;
}

/* ---- change ---- */

static void note_due(struct fieldmap *fm, uint64_t w, int64_t when)
{
    if (likely_(when < 0))
        return;
    struct fm_head *h = fm_head(w);
    fm->ttl_fields++;
    if (when < h->min_due)
        h->min_due = when;
    if (when < fm->next_due)
        fm->next_due = when;
}

/* Writes the draft over the item at p. False: no memory, nothing changed. drop_block: the block of the old one goes with it. */
static bool replace(struct fieldmap *fm, uint64_t hash, struct span field, struct place *p,
                    const struct fm_draft *d, bool drop_block)
{
    size_t old = fm_item_bytes(fm, p->item);
    if (d->size > old) {
        if (!fm_page_room(fm, hash, d->size, false))
            return false;
        find(fm, hash, field, p); /* it may lie elsewhere now */
    }
    struct fm_head *h = fm_head(p->w);
    if (unlikely_(p->item[0] & FM_WIDE)) {
        if (fm_item_expire(fm, p->item) >= 0)
            fm->ttl_fields--;
        if (drop_block)
            fm_item_drop(fm, p->item);
    }
    if (d->size > old) {
        h->dead = (uint16_t)(h->dead + old);
        p->item = fm_page(p->w) + h->end;
        fm_group(p->w, p->group)->off[p->slot] = h->end;
        h->end = (uint16_t)(h->end + d->size);
    } else {
        h->dead = (uint16_t)(h->dead + old - d->size);
    }
    fm_draft_write(fm, p->item, d);
    note_due(fm, p->w, d->when);
    return true;
}

static bool insert(struct fieldmap *fm, uint64_t hash, const struct fm_draft *d)
{
    if (unlikely_(fm->count == UINT32_MAX))
        return false;
    uint64_t w = fm_dir_get(fm, hash);
    int32_t slot = likely_(w != 0) ? fm_page_slot(w, hash) : -1;
    if (unlikely_(slot < 0 || fm_head(w)->end + d->size > fm_page_bytes(w))) {
        if (!fm_page_room(fm, hash, d->size, true))
            return false;
        w = fm_dir_get(fm, hash);
        slot = fm_page_slot(w, hash);
    }
    struct fm_head *h = fm_head(w);
    uint32_t at = (uint32_t)slot, g = at / FM_SLOTS, home = fm_home(w, hash);
    struct fm_group *grp = fm_group(w, g);
    grp->tag[at % FM_SLOTS] = fm_tag(hash);
    grp->off[at % FM_SLOTS] = h->end;
    if (unlikely_(g != home)) {
        uint32_t reach = g > home ? g - home : g + fm_groups(w) - home;
        struct fm_group *from = fm_group(w, home);
        if (reach > from->reach)
            from->reach = (uint8_t)reach;
    }
    fm_draft_write(fm, fm_page(w) + h->end, d);
    h->end = (uint16_t)(h->end + d->size);
    h->live++;
    fm->count++;
    note_due(fm, w, d->when);
    return true;
}

enum fieldmap_put fieldmap_put(struct fieldmap *fm, uint64_t hash, struct span field,
                               struct span value, int64_t expire_ms)
{
    struct place p;
    struct fm_draft d;
    bool found = find(fm, hash, field, &p);
    if (found && !fm->values && expire_ms < 0)
        return FIELDMAP_REPLACED;
    if (unlikely_(expire_ms == FIELDMAP_KEEP_TTL))
        expire_ms = found ? fm_item_expire(fm, p.item) : -1;
    if (!fm_draft_make(fm, &d, field, value, expire_ms))
        return FIELDMAP_NO_MEMORY;
    if (found ? replace(fm, hash, field, &p, &d, true) : insert(fm, hash, &d))
        return found ? FIELDMAP_REPLACED : FIELDMAP_NEW;
    fm_draft_drop(fm, &d);
    return FIELDMAP_NO_MEMORY;
}

bool fieldmap_remove(struct fieldmap *fm, uint64_t hash, struct span field)
{
    struct place p;
    if (!find(fm, hash, field, &p))
        return false;
    fm_page_remove(fm, p.w, p.group, p.slot);
    fm_page_tidy(fm, hash);
    return true;
}

bool fieldmap_set_expire(struct fieldmap *fm, uint64_t hash, struct span field, int64_t expire_ms)
{
    struct place p;
    if (!find(fm, hash, field, &p))
        return false;
    int64_t old = fm_item_expire(fm, p.item);
    if (old < 0 && expire_ms < 0)
        return true;
    if (old >= 0 && expire_ms >= 0) {
        fm_item_set_expire(fm, p.item, expire_ms);
        fm->ttl_fields--;
        note_due(fm, p.w, expire_ms);
        return true;
    }
    struct fm_draft d;
    uint8_t *block = fm_item_block(p.item), text[FM_ITEM_MAX];
    if (block) { /* it changes hands from one item to the other */
        d = (struct fm_draft){
            .when = expire_ms, .kind = FM_WIDE | FM_BIG, .size = 9, .block = block};
        if (expire_ms >= 0) {
            d.kind |= FM_TTL;
            d.size = 17;
        }
        return replace(fm, hash, field, &p, &d, false);
    }
    struct fieldmap_item it;
    fm_item_read(fm, p.item, &it);
    memcpy(text, it.field.p, it.field.n + it.value.n); /* they lie side by side, in the page */
    if (!fm_draft_make(fm, &d, span_of(text, it.field.n), span_of(text + it.field.n, it.value.n),
                       expire_ms))
        return false;
    if (replace(fm, hash, field, &p, &d, true))
        return true;
    fm_draft_drop(fm, &d);
    return false;
}

/* ---- expiry ---- */

size_t fieldmap_ttl_fields(const struct fieldmap *fm)
{
    return fm->ttl_fields;
}

int64_t fieldmap_next_due(const struct fieldmap *fm)
{
    return fm->ttl_fields ? fm->next_due : INT64_MAX;
}

void fieldmap_set_next_due(struct fieldmap *fm, int64_t when_ms)
{
    fm->next_due = when_ms;
}

void *fieldmap_timer(const struct fieldmap *fm)
{
    return fm->timer;
}

void fieldmap_set_timer(struct fieldmap *fm, void *timer)
{
    fm->timer = timer;
}

/* Removes what is due in one page and finds the least expiry that stays. Returns the count. */
static size_t expire_page(struct fieldmap *fm, uint64_t w, int64_t now_ms,
                          void (*fn)(void *ctx, const struct fieldmap_item *item), void *ctx)
{
    int64_t least = INT64_MAX;
    size_t removed = 0;
    for (uint32_t g = 0; g < fm_groups(w); g++) {
        struct fm_group *grp = fm_group(w, g);
        for (uint32_t m = fm_occupied(grp); m; m &= m - 1) {
            uint32_t i = (uint32_t)__builtin_ctz(m);
            struct fieldmap_item it;
            fm_item_read(fm, fm_page(w) + grp->off[i], &it);
            if (it.expire_ms < 0)
                continue;
            if (it.expire_ms >= now_ms) {
                least = it.expire_ms < least ? it.expire_ms : least;
                continue;
            }
            if (fn)
                fn(ctx, &it);
            fm_page_remove(fm, w, g, i);
            removed++;
        }
    }
    fm_head(w)->min_due = least;
    return removed;
}

bool fieldmap_expire(struct fieldmap *fm, int64_t now_ms, uint64_t *pos, size_t budget,
                     int64_t *earliest, size_t *removed,
                     void (*fn)(void *ctx, const struct fieldmap_item *item), void *ctx)
{
    do {
        uint64_t w = fm_dir_get(fm, *pos);
        if (!w)
            return true;
        size_t n = fm_head(w)->min_due < now_ms ? expire_page(fm, w, now_ms, fn, ctx) : 0;
        if (fm_head(w)->min_due < *earliest)
            *earliest = fm_head(w)->min_due;
        uint64_t at = *pos;
        *pos = fm_behind(at, fm_depth(w));
        *removed += n;
        if (n) {
            /* A merge with the page before takes nothing from what is still to come; one with the page behind makes the next look at
             * the whole of it. */
            fm_page_tidy(fm, at);
            w = fm_dir_get(fm, at);
            if (fm_head(w)->min_due < *earliest)
                *earliest = fm_head(w)->min_due;
        }
    } while (*pos && budget-- > 1);
    return *pos == 0;
}
