/* What walks over hashes: HGETALL, HKEYS, HVALS, HSCAN, HRANDFIELD.
 *
 * Where in the flow: cmd_call -> here -> engine/ds/hash.c, on the lease holder's thread. */
#include "engine/cmd/command_table.h"
#include "engine/cmd/field_scan.h"
#include "engine/cmd/hash.h"
#include "engine/cmd/long_reply.h"
#include "engine/cmd/sample.h"
#include "engine/ds/listpack_inline.h"
#include "engine/resp/reply_inline.h"

/* Redis answers no more than this with WITHVALUES: twice as many elements must be countable. */
#define WITHVALUES_MAX (INT64_MAX / 2)

enum what { FIELDS = 1, VALUES = 2 };

static inline void reply_element(struct reply *r, const uint8_t *at)
{
    struct lp_value v = lp_read(at);
    if (likely_(v.text.p != NULL))
        reply_bulk_inline(r, v.text);
    else
        reply_bulk_int(r, v.number);
}

/* A listpack that is not empty. */
static void reply_packed(struct reply *r, const struct hash *h, enum what what)
{
    const uint8_t *at = lp_first(&h->b);
    while (*at != LP_END && !r->failed) {
        if (what & FIELDS)
            reply_element(r, at);
        at = lp_skip(at);
        if (what & VALUES)
            reply_element(r, at);
        at = lp_skip(at);
    }
}

static bool more_fields(struct held *h, struct reply *out, size_t budget)
{
    struct long_reply *r = long_reply_of(h);
    struct hash_pair p;
    for (size_t done = 0; done < budget;) {
        if (!hash_next(&r->fields, &p))
            return true;
        if (r->with_fields)
            hash_reply(out, &p.field);
        if (r->with_values)
            hash_reply(out, &p.value);
        done += p.field.text.n + p.value.text.n + REPLY_ELEMENT_BYTES;
    }
    return false;
}

static void reply_map_items(struct reply *out, const struct fieldmap *fm, enum what what)
{
    struct fieldmap_iter it;
    struct fieldmap_item item[FIELDMAP_SOME];
    fieldmap_iter_init(&it, fm);
    for (uint32_t n; (n = fieldmap_next_some(&it, item)) && !out->failed;)
        for (uint32_t i = 0; i < n; i++) {
            if (what & FIELDS)
                reply_bulk_inline(out, item[i].field);
            if (what & VALUES)
                reply_bulk_inline(out, item[i].value);
        }
}

static void get_all(struct cmd *c, enum what what)
{
    struct hash_ref r;
    if (!hash_read(c, &r))
        return;
    hash_settle_all(c, &r);
    size_t n = r.e ? hash_count(&r.h) : 0;
    if (what == (FIELDS | VALUES))
        reply_map(c->out, n);
    else
        reply_array(c->out, n);
    if (!n)
        return;
    if (hash_is_packed(&r.h)) {
        reply_packed(c->out, &r.h, what);
        return;
    }
    struct long_reply *l = long_reply_begin(c, r.k.shard, r.e, 1, 1, more_fields);
    if (unlikely_(l != NULL)) {
        l->hash = r.h;
        l->with_fields = what & FIELDS;
        l->with_values = what & VALUES;
        hash_iter_init(&l->fields, &l->hash);
        return;
    }
    reply_map_items(c->out, hash_map(&r.h), what);
}

void cmd_hgetall(struct cmd *c)
{
    get_all(c, FIELDS | VALUES);
}

void cmd_hkeys(struct cmd *c)
{
    get_all(c, FIELDS);
}

void cmd_hvals(struct cmd *c)
{
    get_all(c, VALUES);
}

/* ---- HSCAN ---- */

/* A listpack, all of it: numbers have no text to point at, so it is counted first and then written. */
static void scan_packed(struct cmd *c, const struct field_scan *scan, const struct hash *h)
{
    for (int pass = 0; pass < 2; pass++) {
        struct hash_iter it;
        struct hash_pair p;
        size_t n = 0;
        hash_iter_init(&it, h);
        while (hash_next(&it, &p)) {
            char text[NUM_I64_CHARS];
            struct span field = p.field.text;
            if (!field.p)
                field = span_of(text, num_format_i64(text, p.field.number));
            if (scan->has_pattern && !glob_match(scan->pattern, field, false))
                continue;
            n += 2;
            if (pass) {
                reply_bulk(c->out, field);
                hash_reply(c->out, &p.value);
            }
        }
        if (!pass) {
            reply_array(c->out, 2);
            reply_bulk_str(c->out, "0");
            reply_array(c->out, n);
        }
    }
}

void cmd_hscan(struct cmd *c)
{
    struct field_scan scan;
    struct hash_ref r;
    if (!field_scan_begin(c, &scan) || !hash_read(c, &r))
        return;
    if (!r.e) {
        field_scan_nothing(c);
        return;
    }
    if (!field_scan_options(c, &scan))
        return;
    if (hash_is_packed(&r.h)) {
        scan_packed(c, &scan, &r.h);
        return;
    }
    scan.values = true;
    field_scan_map(&scan, hash_map(&r.h));
    field_scan_reply(c, &scan);
}

/* ---- HRANDFIELD key [count [WITHVALUES]] ---- */

struct draw {
    int64_t count;
    bool values;
};

static uint64_t draw_random(void *shard)
{
    return shard_random(shard);
}

static void draw_header(struct cmd *c, const struct draw *d, uint64_t n)
{
    reply_array(c->out, d->values && c->out->resp == 2 ? n * 2 : n);
}

static void draw_reply(struct cmd *c, const struct draw *d, const struct hash_pair *p)
{
    if (d->values && c->out->resp == 3)
        reply_array(c->out, 2);
    hash_reply(c->out, &p->field);
    if (d->values)
        hash_reply(c->out, &p->value);
}

/* n distinct fields by one walk. */
static void walk_fields(struct cmd *c, const struct draw *d, const struct hash_ref *r, uint64_t n)
{
    struct sample sample = {hash_count(&r->h), n};
    struct hash_iter it;
    struct hash_pair p;
    draw_header(c, d, n);
    hash_iter_init(&it, &r->h);
    while (sample.want && hash_next(&it, &p))
        if (sample_take(&sample, r->k.shard))
            draw_reply(c, d, &p);
}

/* n distinct fields of many more, by drawing. */
static void draw_fields(struct cmd *c, const struct draw *d, const struct hash_ref *r, uint64_t n)
{
    struct fieldmap *drawn = fieldmap_create(r->h.mem, r->h.key, false);
    while (drawn && fieldmap_count(drawn) < n) {
        struct hash_pair p;
        hash_random(&r->h, draw_random, r->k.shard, &p);
        if (fieldmap_put(drawn, fieldmap_hash(drawn, p.field.text), p.field.text, (struct span){0},
                         FIELDMAP_NO_TTL) == FIELDMAP_NO_MEMORY) {
            fieldmap_destroy(drawn);
            drawn = NULL;
        }
    }
    if (!drawn) {
        cmd_reply_oom(c);
        return;
    }
    struct fieldmap_iter it;
    struct fieldmap_item item;
    draw_header(c, d, n);
    fieldmap_iter_init(&it, drawn);
    while (fieldmap_next(&it, &item)) {
        struct hash_pair p = {.field.text = item.field};
        hash_find(&r->h, item.field, &p.value);
        draw_reply(c, d, &p);
    }
    fieldmap_destroy(drawn);
}

static void random_count(struct cmd *c, const struct draw *d)
{
    struct hash_ref r;
    if (!hash_read(c, &r))
        return;
    hash_settle_all(c, &r);
    if (!r.e || !d->count) {
        reply_array(c->out, 0);
        return;
    }
    uint64_t size = hash_count(&r.h);
    if (d->count < 0) {
        draw_header(c, d, (uint64_t)-d->count);
        for (int64_t i = d->count; i < 0 && !c->out->failed; i++) {
            struct hash_pair p;
            hash_random(&r.h, draw_random, r.k.shard, &p);
            draw_reply(c, d, &p);
        }
    } else if (hash_is_packed(&r.h) || (uint64_t)d->count > size / SAMPLE_DRAW_RATIO) {
        walk_fields(c, d, &r, (uint64_t)d->count < size ? (uint64_t)d->count : size);
    } else {
        draw_fields(c, d, &r, (uint64_t)d->count);
    }
}

void cmd_hrandfield(struct cmd *c)
{
    struct draw d = {0};
    if (c->argc > 2) {
        if (!cmd_arg_count(c, 2, &d.count))
            return;
        if (c->argc > 4 || (c->argc == 4 && !span_is(c->argv[3], "withvalues"))) {
            cmd_reply_syntax(c);
            return;
        }
        d.values = c->argc == 4;
        if (d.values && (d.count < -WITHVALUES_MAX || d.count > WITHVALUES_MAX)) {
            reply_error(c->out, "ERR value is out of range");
            return;
        }
        random_count(c, &d);
        return;
    }
    struct hash_ref r;
    struct hash_pair p;
    if (!hash_read(c, &r))
        return;
    hash_settle_all(c, &r);
    if (!r.e) {
        reply_null(c->out);
        return;
    }
    hash_random(&r.h, draw_random, r.k.shard, &p);
    hash_reply(c->out, &p.field);
}
