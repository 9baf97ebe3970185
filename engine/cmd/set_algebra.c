/* Intersection, union and difference of sets: SINTER, SUNION, SDIFF, their STORE forms and SINTERCARD.
 *
 *   intersection   members of the smallest set are looked for in the others
 *   union          few sets: members of the larger first, those of each further set looked for in all before it; many: collected
 *   difference     by Redis's rule the cheaper of two ways: members of the first looked for in the others, or members of the others
 *                  in the first
 *
 * All fieldmaps go by the same hash, so a walk through one is a walk through the other in the same order: look-ups of large sets are
 * sequential in memory. Replies need the count before the members, so these are collected as pointers first.
 * Where in the flow: cmd_call -> here, on the thread that holds the leases of all shards involved. */
#include <stdlib.h>

#include "engine/cmd/command_table.h"
#include "engine/cmd/set.h"

#define UNION_LOOKUP_SETS 4 /* up to so many sets are joined by looking up */

/* ---- members that are to be answered ---- */

struct picked_member {
    const uint8_t *p; /* NULL: the number */
    int64_t n;
};

/* Where results go: into `store`, or else into the list. */
struct result {
    struct mem *mem;
    struct set *store;
    struct picked_member *v;
    size_t n, cap;
    bool failed;
};

static void result_add(struct result *r, struct set_member *m)
{
    if (r->store) {
        r->failed |= set_add_member(r->store, m) == SET_NO_MEMORY;
        return;
    }
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        void *v = mem_realloc(r->mem, r->v, r->cap * sizeof(*r->v), cap * sizeof(*r->v));
        if (!v) {
            r->failed = true;
            return;
        }
        r->v = v;
        r->cap = cap;
    }
    r->v[r->n++] = m->is_number ? (struct picked_member){NULL, m->number}
                                : (struct picked_member){m->text.p, (int64_t)m->text.n};
}

static void result_free(struct result *r)
{
    if (r->v)
        mem_free(r->mem, r->v, r->cap * sizeof(*r->v));
}

static void result_reply(struct cmd *c, struct result *r)
{
    if (r->failed) {
        cmd_reply_oom(c);
        return;
    }
    reply_set(c->out, r->n);
    for (size_t i = 0; i < r->n && !c->out->failed; i++) {
        if (r->v[i].p)
            reply_bulk(c->out, span_of(r->v[i].p, (size_t)r->v[i].n));
        else
            reply_bulk_int(c->out, r->v[i].n);
    }
}

/* ---- the sets of a command ---- */

struct operands {
    struct set *v;
    size_t n, room; /* those that are there; allocated */
    size_t missing; /* keys that are not */
    bool first_there;
};

/* The sets under the keys from argument `first` on. False: the error was written. */
static bool operands_open(struct cmd *c, uint32_t first, uint32_t count, struct operands *ret)
{
    *ret = (struct operands){.room = count};
    ret->v = mem_alloc(&c->shard->mem, count * sizeof(*ret->v));
    if (!ret->v) {
        cmd_reply_oom(c);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct keyref k = keyref_at(c, first + i);
        const struct entry *e = keyref_read(c, &k);
        if (!e) {
            ret->missing++;
            continue;
        }
        if (!set_check(c, e)) {
            mem_free(&c->shard->mem, ret->v, count * sizeof(*ret->v));
            return false;
        }
        ret->first_there |= i == 0;
        ret->v[ret->n++] = set_open(c, k.shard, e);
    }
    return true;
}

static void operands_close(const struct cmd *c, struct operands *o)
{
    mem_free(&c->shard->mem, o->v, o->room * sizeof(*o->v));
}

static int by_count(const void *a, const void *b)
{
    size_t x = set_count(a), y = set_count(b);
    return (x > y) - (x < y);
}

static int by_count_down(const void *a, const void *b)
{
    return by_count(b, a);
}

/* ---- the three operations ---- */

/* Stops after `limit` members (0: none). Returns their number. */
static uint64_t intersect(struct operands *o, struct result *r, uint64_t limit)
{
    struct set_iter it;
    struct set_member m;
    uint64_t n = 0;
    qsort(o->v, o->n, sizeof(*o->v), by_count);
    set_iter_init(&it, &o->v[0]);
    while (set_next(&it, &m) && !(r && r->failed)) {
        size_t i = 1;
        while (i < o->n && (o->v[i].b.p == o->v[0].b.p || set_has_member(&o->v[i], &m)))
            i++;
        if (i < o->n)
            continue;
        if (r)
            result_add(r, &m);
        if (++n == limit)
            break;
    }
    return n;
}

static bool in_any(const struct set *v, size_t n, struct set_member *m)
{
    for (size_t i = 0; i < n; i++)
        if (set_has_member(&v[i], m))
            return true;
    return false;
}

static void unite(struct operands *o, struct result *r)
{
    qsort(o->v, o->n, sizeof(*o->v), by_count_down);
    for (size_t i = 0; i < o->n; i++) {
        struct set_iter it;
        struct set_member m;
        set_iter_init(&it, &o->v[i]);
        while (set_next(&it, &m) && !r->failed)
            if (r->store || !in_any(o->v, i, &m))
                result_add(r, &m);
    }
}

static bool has_text_member(const struct set *s)
{
    struct set_iter it;
    struct set_member m;
    int64_t v;
    set_iter_init(&it, s);
    while (set_next(&it, &m))
        if (!m.is_number && !num_parse_i64(m.text, &v))
            return true;
    return false;
}

/* Members of the first that are in none of the others. */
static void subtract_by_first(struct operands *o, struct result *r)
{
    struct set_iter it;
    struct set_member m;
    qsort(o->v + 1, o->n - 1, sizeof(*o->v), by_count_down);
    set_iter_init(&it, &o->v[0]);
    while (set_next(&it, &m) && !r->failed)
        if (!in_any(o->v + 1, o->n - 1, &m))
            result_add(r, &m);
}

/* What of the others is in the first is noted, and the rest of the first is the result. Redis copies the first and removes from it,
 * so the encoding of a stored result is that of the copy. */
static void subtract_by_others(struct cmd *c, struct operands *o, struct result *r)
{
    struct set gone = set_on(c, c->shard);
    struct set_iter it;
    struct set_member m;
    if (!set_init(&gone, false)) {
        r->failed = true;
        return;
    }
    for (size_t i = 1; i < o->n; i++) {
        set_iter_init(&it, &o->v[i]);
        while (set_next(&it, &m) && !r->failed)
            if (set_has_member(&o->v[0], &m))
                r->failed |= set_add_member(&gone, &m) == SET_NO_MEMORY;
    }
    if (r->store && !r->failed &&
        (set_count(&o->v[0]) > r->store->max_ints || has_text_member(&o->v[0])))
        r->failed |= !set_to_map(r->store);
    set_iter_init(&it, &o->v[0]);
    while (set_next(&it, &m) && !r->failed)
        if (!set_has_member(&gone, &m))
            result_add(r, &m);
    set_free(&gone);
}

static void subtract(struct cmd *c, struct operands *o, struct result *r)
{
    uint64_t by_first = 0, by_others = 0;
    if (!o->first_there)
        return;
    for (size_t i = 0; i < o->n; i++) {
        if (i > 0 && o->v[i].b.p == o->v[0].b.p) /* the same key */
            return;
        by_first += set_count(&o->v[0]);
        by_others += set_count(&o->v[i]);
    }
    if (by_first / 2 <= by_others)
        subtract_by_first(o, r);
    else
        subtract_by_others(c, o, r);
}

/* ---- commands ---- */

enum operation { INTER, UNION, DIFF };

static void operate(struct cmd *c, enum operation op, struct operands *o, struct result *r)
{
    if (op == INTER && !o->missing)
        intersect(o, r, 0);
    else if (op == UNION)
        unite(o, r);
    else if (op == DIFF)
        subtract(c, o, r);
}

/* Many sets: collected in a set of their own first. */
static void reply_collected(struct cmd *c, enum operation op, struct operands *o)
{
    struct set all = set_on(c, c->shard);
    struct result r = {.store = &all};
    if (!set_init(&all, true)) {
        cmd_reply_oom(c);
        return;
    }
    operate(c, op, o, &r);
    if (r.failed)
        cmd_reply_oom(c);
    else
        set_reply_all(c->out, &all, reply_set);
    set_free(&all);
}

static void answer(struct cmd *c, enum operation op)
{
    struct operands o;
    if (!operands_open(c, 1, c->argc - 1, &o))
        return;
    if (op == UNION && o.n > UNION_LOOKUP_SETS) {
        reply_collected(c, op, &o);
    } else {
        struct result r = {.mem = &c->shard->mem};
        operate(c, op, &o, &r);
        result_reply(c, &r);
        result_free(&r);
    }
    operands_close(c, &o);
}

void set_store(struct cmd *c, const struct keyref *k, struct set *s, const char *event)
{
    size_t n = set_count(s);
    if (n) {
        if (!ks_set_object(k->shard, c->db, k->key, k->hash, OBJ_SET, set_encoding(s), &s->b,
                           KS_NO_TTL)) {
            set_free(s);
            cmd_reply_oom(c);
            return;
        }
        keyref_changed(c, k, KS_SET, event);
        reply_int(c->out, (int64_t)n);
        return;
    }
    set_free(s);
    struct entry *e = keyref_peek(c, k);
    if (e)
        set_drop_key(c, k, e);
    reply_int(c->out, 0);
}

static void store(struct cmd *c, enum operation op, const char *event)
{
    struct keyref k = keyref_first(c, 1);
    struct operands o;
    if (!operands_open(c, 2, c->argc - 2, &o))
        return;
    struct set s = set_on(c, k.shard);
    struct result r = {.store = &s};
    if (set_init(&s, true)) {
        operate(c, op, &o, &r);
        if (r.failed)
            set_free(&s);
    } else {
        r.failed = true;
    }
    if (r.failed)
        cmd_reply_oom(c);
    else
        set_store(c, &k, &s, event);
    operands_close(c, &o);
}

void cmd_sinter(struct cmd *c)
{
    answer(c, INTER);
}

void cmd_sunion(struct cmd *c)
{
    answer(c, UNION);
}

void cmd_sdiff(struct cmd *c)
{
    answer(c, DIFF);
}

void cmd_sinterstore(struct cmd *c)
{
    store(c, INTER, "sinterstore");
}

void cmd_sunionstore(struct cmd *c)
{
    store(c, UNION, "sunionstore");
}

void cmd_sdiffstore(struct cmd *c)
{
    store(c, DIFF, "sdiffstore");
}

/* SINTERCARD numkeys key [key ...] [LIMIT limit] */
void cmd_sintercard(struct cmd *c)
{
    int64_t keys, limit = 0;
    if (!num_parse_i64(c->argv[1], &keys) || keys < 1) {
        reply_error(c->out, "ERR numkeys should be greater than 0");
        return;
    }
    if (keys > (int64_t)c->argc - 2) {
        reply_error(c->out, "ERR Number of keys can't be greater than number of args");
        return;
    }
    for (uint32_t i = 2 + (uint32_t)keys; i < c->argc; i += 2) {
        if (!span_is(c->argv[i], "limit") || i + 1 == c->argc) {
            cmd_reply_syntax(c);
            return;
        }
        if (!num_parse_i64(c->argv[i + 1], &limit) || limit < 0) {
            reply_error(c->out, "ERR LIMIT can't be negative");
            return;
        }
    }
    struct operands o;
    if (!operands_open(c, 2, (uint32_t)keys, &o))
        return;
    reply_int(c->out, o.missing ? 0 : (int64_t)intersect(&o, NULL, (uint64_t)limit));
    operands_close(c, &o);
}
