/* rdb_packed.c: see rdb_packed.h. In the flow: rdb_load.c, for RESTORE and for files. Everything that our own listpacks promise is checked: texts that
 * read as integers are stored as such, in the shortest form; fields are there once; members lie in order. Thread: the lease holder's. */
#include "engine/cmd/rdb_packed.h"

#include "engine/ds/intset.h"
#include "engine/ds/listpack_inline.h"

#define PAIRS_MAX 512 /* as many are looked through for one that is there twice */
#define MIX       0x9e3779b97f4a7c15ull

struct walk {
    const uint8_t *base;
    uint32_t mask;
    uint32_t field[PAIRS_MAX];    /* where they lie */
    uint16_t slot[2 * PAIRS_MAX]; /* 0: free; otherwise 1 + the number of a field */
    double score;                 /* of the pair before */
    struct span member;
    char number[2][NUM_I64_CHARS];
};

static bool shortest(const uint8_t *at, const struct lp_value *v)
{
    int64_t n = v->number;
    if (v->text.p) {
        bool short_form =
            (*at & 0xc0) == LP_STR6 || (*at < LP_STR32 ? v->text.n > 63 : v->text.n > 4095);
        return short_form && !(lp_may_be_number(v->text) && num_parse_i64(v->text, &n));
    }
    switch (*at) {
    case LP_INT64: return n != (int32_t)n;
    case LP_INT32: return n < -(1 << 23) || n >= 1 << 23;
    case LP_INT24: return n != (int16_t)n;
    case LP_INT16: return n < -4096 || n > 4095;
    default: return *at < LP_STR6 || n < 0 || n > 127;
    }
}

static bool same(const struct lp_value *a, const struct lp_value *b)
{
    if (!a->text.p || !b->text.p)
        return !a->text.p && !b->text.p && a->number == b->number;
    return span_eq(a->text, b->text);
}

/* Of length, beginning and end. */
static uint32_t hash_of(const struct lp_value *v)
{
    uint64_t a = 0, b = 0;
    size_t n = v->text.n;
    if (!v->text.p) {
        a = (uint64_t)v->number;
    } else if (n >= 8) {
        a = lp_load64(v->text.p);
        b = lp_load64(v->text.p + n - 8);
    } else {
        for (size_t i = 0; i < n; i++)
            a = a << 8 | v->text.p[i];
    }
    a = (a ^ n) * MIX;
    return (uint32_t)(((a ^ a >> 32 ^ b) * MIX) >> 32);
}

/* False: a field of that text was there. */
static bool note_field(struct walk *w, const uint8_t *at, const struct lp_value *v, uint32_t n)
{
    w->field[n] = (uint32_t)(at - w->base);
    for (uint32_t i = hash_of(v) & w->mask;; i = (i + 1) & w->mask) {
        if (!w->slot[i]) {
            w->slot[i] = (uint16_t)(n + 1);
            return true;
        }
        struct lp_value other = lp_read(w->base + w->field[w->slot[i] - 1]);
        if (same(&other, v))
            return false;
    }
}

static bool in_order(struct walk *w, const struct lp_value *member, const struct lp_value *score,
                     uint32_t n)
{
    double s = (double)score->number;
    char *scratch = w->number[n & 1];
    if (score->text.p && !num_parse_double(score->text, &s))
        return false;
    struct span m =
        member->text.p ? member->text : span_of(scratch, num_format_i64(scratch, member->number));
    bool good = n == 0 || s > w->score || (s == w->score && span_cmp(w->member, m) < 0);
    w->score = s;
    w->member = m;
    return good;
}

static bool fits_pairs(const struct rdb_packed *want, const uint8_t *p, size_t elements)
{
    struct walk w;
    const uint8_t *at = p + LP_HEADER_BYTES;
    size_t pairs = elements / 2;
    if (elements % 2 || pairs > PAIRS_MAX)
        return false;
    w.base = p;
    w.mask = 15;
    while (w.mask < pairs * 2 - 1)
        w.mask = w.mask * 2 + 1;
    memset(w.slot, 0, (w.mask + 1) * sizeof(w.slot[0]));
    for (uint32_t i = 0; i < pairs; i++) {
        const uint8_t *second_at = lp_skip(at);
        struct lp_value first = lp_read(at), second = lp_read(second_at);
        if (first.text.n > want->max_text || second.text.n > want->max_text ||
            !shortest(at, &first) || !shortest(second_at, &second) ||
            !note_field(&w, at, &first, i) || (want->scores && !in_order(&w, &first, &second, i)))
            return false;
        at = lp_skip(second_at);
    }
    return true;
}

/* Over a run of short strings of one length, none of which can be a number: most lists are such. Where the next one begins then hangs on a guess of the
 * processor, not on the byte that it waits for. */
static const uint8_t *pass_alike(const uint8_t *at, const uint8_t *end, size_t max_text, size_t *n)
{
    uint8_t kind = *at;
    size_t text = kind & 63u, step = text + 2, left = (size_t)(end - at);
    bool may_be_number = text - 1 < 20;
    if ((kind & 0xc0) != LP_STR6 || text > max_text)
        return at;
    for (; left >= step && *at == kind && at[step - 1] == step - 1; at += step, left -= step) {
        if (may_be_number && ((uint8_t)(at[1] - '0') < 10 || at[1] == '-'))
            break;
        ++*n;
    }
    return at;
}

/* The listpack is sound and its elements are as we store them: one walk for both. */
static bool fits_row(const struct rdb_packed *want, const uint8_t *p, size_t bytes)
{
    const uint8_t *at = p + LP_HEADER_BYTES, *end = p + bytes - 1;
    size_t n = 0;
    if (!lp_frame_valid(p, bytes))
        return false;
    while ((at = pass_alike(at, end, want->max_text, &n)) < end) {
        size_t step = lp_check_element(at, (size_t)(end - at));
        if (!step)
            return false;
        struct lp_value v = lp_read(at);
        if (v.text.n > want->max_text || !shortest(at, &v))
            return false;
        at += step;
        n++;
    }
    return n && n <= want->max_elements && lp_counts(p, n);
}

static bool fits(const struct rdb_packed *want, const struct mem_block *lp)
{
    if (lp->len > want->max_bytes || want->max_text < NUM_I64_CHARS)
        return false;
    if (!want->pairs)
        return fits_row(want, lp->p, lp->len);
    if (!lp_valid(lp->p, lp->len))
        return false;
    size_t n = lp_count(lp);
    return n && n <= want->max_elements && fits_pairs(want, lp->p, n);
}

static bool refuse(struct rdb_reader *r, const struct rdb_reader *before, struct mem_block *b)
{
    if (b->p)
        mem_free(r->mem, b->p, b->cap);
    *b = (struct mem_block){0};
    *r = *before;
    return false;
}

bool rdb_take_packed(struct rdb_reader *r, const struct rdb_packed *want, struct mem_block *ret)
{
    struct rdb_reader before = *r;
    *ret = (struct mem_block){0};
    return (rdb_get_block(r, ret) && fits(want, ret)) || refuse(r, &before, ret);
}

bool rdb_take_intset(struct rdb_reader *r, size_t max_elements, struct mem_block *ret)
{
    struct rdb_reader before = *r;
    *ret = (struct mem_block){0};
    if (rdb_get_block(r, ret) && intset_valid(ret->p, ret->len)) {
        size_t n = intset_count(ret);
        if (n && n <= max_elements)
            return true;
    }
    return refuse(r, &before, ret);
}
