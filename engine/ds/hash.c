/* hash.c: see hash.h. What adds prepares everything before it changes anything, conversions included. */
#include "engine/ds/hash.h"

#include "engine/base/assert.h"
#include "engine/ds/listpack_inline.h"

#define PACKED_BYTES_MAX (LP_BYTES_MAX - 32) /* two more elements have their heads as well */

static struct mem_block map_block(struct fieldmap *fm)
{
    return (struct mem_block){(uint8_t *)fm, 0, 0};
}

bool hash_init(struct hash *h, size_t room)
{
    return lp_init(h->mem, &h->b, room);
}

void hash_free(struct hash *h)
{
    if (hash_is_packed(h))
        lp_free(h->mem, &h->b);
    else
        fieldmap_destroy(hash_map(h));
    h->b = (struct mem_block){0};
}

size_t hash_count(const struct hash *h)
{
    return hash_is_packed(h) ? lp_count(&h->b) / 2 : fieldmap_count(hash_map(h));
}

bool hash_outgrows(const struct hash *h, const struct span *texts, uint32_t n)
{
    size_t sum = h->b.len;
    for (uint32_t i = 0; i < n; i++) {
        if (texts[i].n > h->max_value)
            return true;
        sum += texts[i].n;
    }
    return sum > PACKED_BYTES_MAX;
}

static uint64_t hash_of(const struct hash *h, struct span field)
{
    return key_hash(h->key, field.p, field.n);
}

/* The fields of a listpack in a fieldmap. NULL: no memory. */
static struct fieldmap *packed_as_map(const struct hash *h)
{
    struct fieldmap *fm = fieldmap_create(h->mem, h->key, true);
    uint8_t *at = lp_first(&h->b);
    while (fm && at) {
        char f[NUM_I64_CHARS], v[NUM_I64_CHARS];
        uint8_t *value = lp_next(&h->b, at);
        struct span field = lp_text(at, f), text = lp_text(value, v);
        if (fieldmap_put(fm, hash_of(h, field), field, text, FIELDMAP_NO_TTL) ==
            FIELDMAP_NO_MEMORY) {
            fieldmap_destroy(fm);
            return NULL;
        }
        at = lp_next(&h->b, value);
    }
    return fm;
}

static void become_map(struct hash *h, struct fieldmap *fm)
{
    lp_free(h->mem, &h->b);
    h->b = map_block(fm);
}

bool hash_to_map(struct hash *h)
{
    if (!hash_is_packed(h))
        return true;
    struct fieldmap *fm = packed_as_map(h);
    if (fm)
        become_map(h, fm);
    return fm != NULL;
}

/* ---- look-up ---- */

/* The field in a listpack, or NULL. */
static uint8_t *packed_find(const struct hash *h, struct span field)
{
    uint8_t *at = lp_first(&h->b);
    return at ? lp_find(&h->b, at, field, 1) : NULL;
}

bool hash_find_expire(const struct hash *h, struct span field, struct lp_value *ret,
                      int64_t *expire_ms)
{
    if (hash_is_packed(h)) {
        const uint8_t *at = packed_find(h, field);
        *expire_ms = -1;
        if (at)
            *ret = lp_read(lp_skip(at));
        return at != NULL;
    }
    struct fieldmap_item item;
    if (!fieldmap_find(hash_map(h), hash_of(h, field), field, &item))
        return false;
    *ret = (struct lp_value){.text = item.value};
    *expire_ms = item.expire_ms;
    return true;
}

bool hash_find(const struct hash *h, struct span field, struct lp_value *ret)
{
    int64_t when;
    return hash_find_expire(h, field, ret, &when);
}

/* ---- change ---- */

/* The listpack cannot take it: the fields and this one in a fieldmap. */
static enum fieldmap_put outgrow(struct hash *h, struct span field, struct span value,
                                 int64_t expire_ms)
{
    struct fieldmap *fm = packed_as_map(h);
    if (!fm)
        return FIELDMAP_NO_MEMORY;
    enum fieldmap_put put = fieldmap_put(fm, hash_of(h, field), field, value, expire_ms);
    if (put == FIELDMAP_NO_MEMORY)
        fieldmap_destroy(fm);
    else
        become_map(h, fm);
    return put;
}

static enum fieldmap_put packed_put(struct hash *h, struct span field, struct span value)
{
    if (field.n > h->max_value || value.n > h->max_value ||
        h->b.len + field.n + value.n > PACKED_BYTES_MAX)
        return outgrow(h, field, value, FIELDMAP_NO_TTL);
    uint8_t *at = packed_find(h, field);
    if (at)
        return lp_replace(h->mem, &h->b, lp_skip(at), value) ? FIELDMAP_REPLACED
                                                             : FIELDMAP_NO_MEMORY;
    if (hash_count(h) >= h->max_entries)
        return outgrow(h, field, value, FIELDMAP_NO_TTL);
    if (!lp_append(h->mem, &h->b, field))
        return FIELDMAP_NO_MEMORY;
    if (lp_append(h->mem, &h->b, value))
        return FIELDMAP_NEW;
    lp_delete(h->mem, &h->b, lp_last(&h->b), 1);
    return FIELDMAP_NO_MEMORY;
}

enum fieldmap_put hash_put(struct hash *h, struct span field, struct span value, int64_t expire_ms)
{
    if (hash_is_packed(h))
        return expire_ms >= 0 ? outgrow(h, field, value, expire_ms) : packed_put(h, field, value);
    return fieldmap_put(hash_map(h), hash_of(h, field), field, value, expire_ms);
}

bool hash_set_expire(struct hash *h, struct span field, int64_t expire_ms)
{
    if (!hash_is_packed(h))
        return fieldmap_set_expire(hash_map(h), hash_of(h, field), field, expire_ms);
    struct fieldmap *fm = packed_as_map(h);
    if (!fm)
        return false;
    if (fieldmap_set_expire(fm, hash_of(h, field), field, expire_ms)) {
        become_map(h, fm);
        return true;
    }
    fieldmap_destroy(fm);
    return false;
}

bool hash_remove(struct hash *h, struct span field)
{
    if (!hash_is_packed(h))
        return fieldmap_remove(hash_map(h), hash_of(h, field), field);
    uint8_t *at = packed_find(h, field);
    if (at)
        lp_delete(h->mem, &h->b, at, 2);
    return at != NULL;
}

/* ---- walks ---- */

void hash_iter_init(struct hash_iter *it, const struct hash *h)
{
    it->hash = h;
    if (hash_is_packed(h))
        it->at = lp_first(&h->b);
    else
        fieldmap_iter_init(&it->map, hash_map(h));
}

bool hash_next(struct hash_iter *it, struct hash_pair *ret)
{
    if (hash_is_packed(it->hash)) {
        const uint8_t *at = it->at;
        if (!at || *at == LP_END)
            return false;
        ret->field = lp_read(at);
        at = lp_skip(at);
        ret->value = lp_read(at);
        it->at = lp_skip(at);
        return true;
    }
    struct fieldmap_item item;
    if (!fieldmap_next(&it->map, &item))
        return false;
    ret->field = (struct lp_value){.text = item.field};
    ret->value = (struct lp_value){.text = item.value};
    return true;
}

void hash_random(const struct hash *h, uint64_t (*rnd)(void *), void *rnd_ctx,
                 struct hash_pair *ret)
{
    if (hash_is_packed(h)) {
        const uint8_t *at = lp_seek(&h->b, (int64_t)(rnd(rnd_ctx) % hash_count(h)) * 2);
        *ret = (struct hash_pair){lp_read(at), lp_read(lp_skip(at))};
        return;
    }
    struct fieldmap_item item;
    fieldmap_random(hash_map(h), rnd, rnd_ctx, &item);
    *ret = (struct hash_pair){{.text = item.field}, {.text = item.value}};
}
