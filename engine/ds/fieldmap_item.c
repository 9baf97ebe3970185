/* fieldmap_item.c: the bytes of an item (fieldmap_internal.h has the picture). Offsets are not aligned. */
#include "engine/ds/fieldmap_internal.h"

#define PLAIN_FIELD_MAX 127
#define PLAIN_VALUE_MAX 255
#define BLOCK_HEAD      16

static uint16_t load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

static size_t wide_head(const struct fieldmap *fm, uint8_t kind)
{
    return 3u + (fm->values ? 2 : 0) + (kind & FM_TTL ? 8 : 0);
}

uint8_t *fm_item_block(const uint8_t *item)
{
    if ((item[0] & (FM_WIDE | FM_BIG)) != (FM_WIDE | FM_BIG))
        return NULL;
    uint8_t *block;
    memcpy(&block, item + 1, sizeof(block));
    return block;
}

size_t fm_block_bytes(const uint8_t *block)
{
    return BLOCK_HEAD + fm_load64(block) + fm_load64(block + 8);
}

size_t fm_item_bytes(const struct fieldmap *fm, const uint8_t *item)
{
    uint8_t kind = item[0];
    if (likely_(!(kind & FM_WIDE)))
        return fm->values ? 2u + kind + item[1] : 1u + kind;
    if (kind & FM_BIG)
        return kind & FM_TTL ? 17 : 9;
    return wide_head(fm, kind) + load16(item + 1) + (fm->values ? load16(item + 3) : 0);
}

static size_t expire_offset(const struct fieldmap *fm, uint8_t kind)
{
    return kind & FM_BIG ? 9 : wide_head(fm, kind) - 8;
}

int64_t fm_item_expire(const struct fieldmap *fm, const uint8_t *item)
{
    if (likely_((item[0] & (FM_WIDE | FM_TTL)) != (FM_WIDE | FM_TTL)))
        return -1;
    return (int64_t)fm_load64(item + expire_offset(fm, item[0]));
}

void fm_item_set_expire(const struct fieldmap *fm, uint8_t *item, int64_t when)
{
    memcpy(item + expire_offset(fm, item[0]), &when, 8);
}

void fm_item_read_rest(const struct fieldmap *fm, const uint8_t *item, struct fieldmap_item *ret)
{
    const uint8_t *block = fm_item_block(item);
    if (block) {
        ret->field = span_of(block + BLOCK_HEAD, fm_load64(block));
        ret->value = span_of(ret->field.p + ret->field.n, fm_load64(block + 8));
    } else {
        ret->field = span_of(item + wide_head(fm, item[0]), load16(item + 1));
        ret->value = span_of(ret->field.p + ret->field.n, fm->values ? load16(item + 3) : 0);
    }
    ret->expire_ms = fm_item_expire(fm, item);
}

bool fm_item_is_rest(const struct fieldmap *fm, const uint8_t *item, struct span field)
{
    struct fieldmap_item it;
    fm_item_read_rest(fm, item, &it);
    return span_eq(it.field, field);
}

void fm_item_drop(struct fieldmap *fm, const uint8_t *item)
{
    uint8_t *block = fm_item_block(item);
    if (!block)
        return;
    size_t n = fm_block_bytes(block);
    mem_free(fm->mem, block, n);
    fm->bytes -= mem_size_class(n);
}

bool fm_draft_make(struct fieldmap *fm, struct fm_draft *d, struct span field, struct span value,
                   int64_t when)
{
    *d = (struct fm_draft){.field = field, .value = value, .when = when};
    if (likely_(when < 0 && field.n <= PLAIN_FIELD_MAX && value.n <= PLAIN_VALUE_MAX)) {
        d->size = (uint16_t)(1 + fm->values + field.n + value.n);
        return true;
    }
    d->kind = FM_WIDE | (when >= 0 ? FM_TTL : 0);
    if (field.n <= FM_ITEM_MAX && value.n <= FM_ITEM_MAX &&
        wide_head(fm, d->kind) + field.n + value.n <= FM_ITEM_MAX) {
        d->size = (uint16_t)(wide_head(fm, d->kind) + field.n + value.n);
        return true;
    }
    d->kind |= FM_BIG;
    d->size = when >= 0 ? 17 : 9;
    size_t n = BLOCK_HEAD + field.n + value.n;
    d->block = mem_alloc(fm->mem, n);
    if (!d->block)
        return false;
    uint64_t lengths[2] = {field.n, value.n};
    memcpy(d->block, lengths, sizeof(lengths));
    if (field.n)
        memcpy(d->block + BLOCK_HEAD, field.p, field.n);
    if (value.n)
        memcpy(d->block + BLOCK_HEAD + field.n, value.p, value.n);
    fm->bytes += mem_size_class(n);
    fm->any_big = true;
    return true;
}

void fm_draft_drop(struct fieldmap *fm, struct fm_draft *d)
{
    if (!d->block)
        return;
    size_t n = fm_block_bytes(d->block);
    mem_free(fm->mem, d->block, n);
    fm->bytes -= mem_size_class(n);
    d->block = NULL;
}

static uint8_t *put_text(uint8_t *to, struct span s)
{
    if (likely_(s.n <= 64))
        bytes_copy_64(to, s.p, s.n);
    else
        memcpy(to, s.p, s.n);
    return to + s.n;
}

void fm_draft_write(const struct fieldmap *fm, uint8_t *to, const struct fm_draft *d)
{
    if (likely_(d->kind == 0)) {
        *to++ = (uint8_t)d->field.n;
        if (fm->values)
            *to++ = (uint8_t)d->value.n;
    } else if (d->kind & FM_BIG) {
        *to++ = d->kind;
        memcpy(to, &d->block, sizeof(d->block));
        if (d->kind & FM_TTL)
            memcpy(to + 8, &d->when, 8);
        return;
    } else {
        uint16_t lengths[2] = {(uint16_t)d->field.n, (uint16_t)d->value.n};
        *to++ = d->kind;
        memcpy(to, lengths, fm->values ? 4 : 2);
        to += fm->values ? 4 : 2;
        if (d->kind & FM_TTL) {
            memcpy(to, &d->when, 8);
            to += 8;
        }
    }
    put_text(put_text(to, d->field), d->value);
}
