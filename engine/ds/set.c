/* set.c: see set.h. What adds prepares everything before it changes anything, conversions included. */
#include "engine/ds/set.h"

#include "engine/base/assert.h"

static struct mem_block map_block(struct fieldmap *fm)
{
    return (struct mem_block){(uint8_t *)fm, 0, 0};
}

bool set_init(struct set *s, bool ints)
{
    if (ints)
        return intset_init(s->mem, &s->b, 4);
    struct fieldmap *fm = fieldmap_create(s->mem, s->key, false);
    s->b = map_block(fm);
    return fm != NULL;
}

void set_free(struct set *s)
{
    if (set_is_ints(s))
        intset_free(s->mem, &s->b);
    else
        fieldmap_destroy(set_map(s));
    s->b = (struct mem_block){0};
}

size_t set_count(const struct set *s)
{
    return set_is_ints(s) ? intset_count(&s->b) : fieldmap_count(set_map(s));
}

static uint64_t member_hash(const struct set *s, struct set_member *m)
{
    if (!m->has_hash) {
        struct span text = set_member_text(m);
        m->hash = key_hash(s->key, text.p, text.n);
        m->has_hash = true;
    }
    return m->hash;
}

static bool as_number(const struct set_member *m, int64_t *ret)
{
    if (!m->is_number)
        return num_parse_i64(m->text, ret);
    *ret = m->number;
    return true;
}

static enum set_added map_add(struct fieldmap *fm, uint64_t hash, struct span text)
{
    switch (fieldmap_put(fm, hash, text, (struct span){0}, FIELDMAP_NO_TTL)) {
    case FIELDMAP_NEW: return SET_NEW;
    case FIELDMAP_REPLACED: return SET_THERE;
    default: return SET_NO_MEMORY;
    }
}

/* A fieldmap with the members of an intset. NULL: no memory. */
static struct fieldmap *ints_as_map(const struct set *s)
{
    struct fieldmap *fm = fieldmap_create(s->mem, s->key, false);
    for (size_t i = 0, n = intset_count(&s->b); fm && i < n; i++) {
        char text[NUM_I64_CHARS];
        struct span t = span_of(text, num_format_i64(text, intset_get(&s->b, i)));
        if (map_add(fm, fieldmap_hash(fm, t), t) != SET_NEW) {
            fieldmap_destroy(fm);
            fm = NULL;
        }
    }
    return fm;
}

static void become_map(struct set *s, struct fieldmap *fm)
{
    intset_free(s->mem, &s->b);
    s->b = map_block(fm);
}

bool set_to_map(struct set *s)
{
    if (!set_is_ints(s))
        return true;
    struct fieldmap *fm = ints_as_map(s);
    if (fm)
        become_map(s, fm);
    return fm != NULL;
}

void set_to_ints(struct set *s)
{
    struct fieldmap_iter it;
    struct fieldmap_item item;
    struct mem_block ints;
    int64_t v;
    if (set_is_ints(s) || set_count(s) > s->max_ints || !intset_init(s->mem, &ints, set_count(s)))
        return;
    fieldmap_iter_init(&it, set_map(s));
    while (fieldmap_next(&it, &item)) {
        if (!num_parse_i64(item.field, &v) || intset_add(s->mem, &ints, v) != INTSET_NEW) {
            intset_free(s->mem, &ints);
            return;
        }
    }
    fieldmap_destroy(set_map(s));
    s->b = ints;
}

/* The intset has one member too many, v, or is to get one that is no integer. */
static enum set_added outgrow(struct set *s, struct set_member *m)
{
    struct fieldmap *fm = ints_as_map(s);
    if (!fm)
        return SET_NO_MEMORY;
    enum set_added added = map_add(fm, member_hash(s, m), set_member_text(m));
    if (added == SET_NO_MEMORY)
        fieldmap_destroy(fm);
    else
        become_map(s, fm);
    return added;
}

enum set_added set_add_member(struct set *s, struct set_member *m)
{
    if (likely_(!set_is_ints(s)))
        return map_add(set_map(s), member_hash(s, m), set_member_text(m));
    int64_t v;
    if (!as_number(m, &v))
        return outgrow(s, m);
    if (intset_count(&s->b) >= s->max_ints)
        return intset_has(&s->b, v) ? SET_THERE : outgrow(s, m);
    switch (intset_add(s->mem, &s->b, v)) {
    case INTSET_NEW: return SET_NEW;
    case INTSET_THERE: return SET_THERE;
    default: return SET_NO_MEMORY;
    }
}

enum set_added set_add(struct set *s, struct span text)
{
    if (likely_(!set_is_ints(s)))
        return map_add(set_map(s), key_hash(s->key, text.p, text.n), text);
    struct set_member m = set_member_of(text);
    return set_add_member(s, &m);
}

bool set_remove_member(struct set *s, struct set_member *m)
{
    int64_t v;
    if (likely_(!set_is_ints(s)))
        return fieldmap_remove(set_map(s), member_hash(s, m), set_member_text(m));
    return as_number(m, &v) && intset_remove(s->mem, &s->b, v);
}

bool set_remove(struct set *s, struct span text)
{
    struct set_member m = set_member_of(text);
    return set_remove_member(s, &m);
}

bool set_has_member(const struct set *s, struct set_member *m)
{
    int64_t v;
    if (likely_(!set_is_ints(s)))
        return fieldmap_has(set_map(s), member_hash(s, m), set_member_text(m));
    return as_number(m, &v) && intset_has(&s->b, v);
}

bool set_has(const struct set *s, struct span text)
{
    if (likely_(!set_is_ints(s)))
        return fieldmap_has(set_map(s), key_hash(s->key, text.p, text.n), text);
    struct set_member m = set_member_of(text);
    return set_has_member(s, &m);
}

/* ---- walks ---- */

void set_iter_init(struct set_iter *it, const struct set *s)
{
    it->set = s;
    it->next = 0;
    if (!set_is_ints(s))
        fieldmap_iter_init(&it->map, set_map(s));
}

static void number_member(struct set_member *m, int64_t v)
{
    m->text = (struct span){0};
    m->number = v;
    m->is_number = true;
    m->has_hash = false;
}

static void text_member(struct set_member *m, struct span text)
{
    m->text = text;
    m->is_number = false;
    m->has_hash = false;
}

bool set_next(struct set_iter *it, struct set_member *ret)
{
    if (set_is_ints(it->set)) {
        if (it->next >= intset_count(&it->set->b))
            return false;
        number_member(ret, intset_get(&it->set->b, it->next++));
        return true;
    }
    struct fieldmap_item item;
    if (!fieldmap_next(&it->map, &item))
        return false;
    text_member(ret, item.field);
    return true;
}

void set_random(const struct set *s, uint64_t (*rnd)(void *), void *rnd_ctx, struct set_member *ret)
{
    if (set_is_ints(s)) {
        number_member(ret, intset_get(&s->b, rnd(rnd_ctx) % intset_count(&s->b)));
        return;
    }
    struct fieldmap_item item;
    fieldmap_random(set_map(s), rnd, rnd_ctx, &item);
    text_member(ret, item.field);
}
