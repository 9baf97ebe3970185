/* zset_range_find.c: ranges of sorted sets: arguments to ends, ends to ranks. And scores: arguments and replies.
 *
 * Where in the flow: the sorted set commands -> here. Every range becomes a rank and a number of members, so what follows (counting,
 * walking, removing, LIMIT) is the same for all. Thread: the lease holder's. */
#include <math.h>
#include <stdlib.h>

#include "engine/base/num.h"
#include "engine/cmd/zset_value.h"
#include "engine/ds/listpack_inline.h"
#include "engine/resp/reply_inline.h"

#define DIGITS_EXACT 15 /* so many decimal digits are exact in a double */

/* Plain short integers, which most scores are. */
static bool short_integer(struct span s, double *ret)
{
    size_t minus = s.n && s.p[0] == '-', i = minus;
    int64_t v = 0;
    if (s.n - minus - 1 >= DIGITS_EXACT || s.n == minus)
        return false;
    for (; i < s.n; i++) {
        unsigned d = (unsigned)s.p[i] - '0';
        if (d > 9)
            return false;
        v = v * 10 + (int64_t)d;
    }
    *ret = minus ? -(double)v : (double)v; /* "-0" is -0 */
    return true;
}

/* The usual ends of a range. */
static bool infinity_word(struct span s, double *ret)
{
    size_t sign = s.n == 4 && (s.p[0] == '-' || s.p[0] == '+');
    if (s.n != sign + 3 || memcmp(s.p + sign, "inf", 3) != 0)
        return false;
    *ret = sign && s.p[0] == '-' ? -INFINITY : INFINITY;
    return true;
}

bool zval_arg_score(struct cmd *c, uint32_t i, double *ret)
{
    if (likely_(short_integer(c->argv[i], ret)) || num_parse_double(c->argv[i], ret))
        return true;
    reply_error(c->out, "ERR value is not a valid float");
    return false;
}

/* What the C library reads from the text up to a zero byte; blanks in front and nothing at all are fine, as in Redis. */
static bool parse_end(struct cmd *c, struct span s, double *ret, bool *out)
{
    *out = s.n && s.p[0] == '(';
    if (*out)
        s = span_of(s.p + 1, s.n - 1);
    if (short_integer(s, ret) || infinity_word(s, ret))
        return true;
    char small[256], *text = small, *end;
    size_t room = s.n + 1;
    if (room > sizeof(small) && !(text = mem_alloc(&c->shard->mem, room)))
        return false;
    if (s.n)
        memcpy(text, s.p, s.n);
    text[s.n] = 0;
    double v = strtod(text, &end);
    bool ok = *end == 0 && !isnan(v);
    if (text != small)
        mem_free(&c->shard->mem, text, room);
    *ret = v;
    return ok;
}

/* "-" and "+" may be followed by a zero byte and anything. */
static bool parse_lex_end(struct span s, struct span *ret, bool *out, int8_t *sign)
{
    *ret = (struct span){NULL, 0};
    *out = false;
    *sign = 0;
    if (!s.n)
        return false;
    switch (s.p[0]) {
    case '+':
    case '-': *sign = s.p[0] == '+' ? 1 : -1; return s.n == 1 || s.p[1] == 0;
    case '(': *out = true; break;
    case '[': break;
    default: return false;
    }
    *ret = span_of(s.p + 1, s.n - 1);
    return true;
}

bool zval_ends_parse(struct cmd *c, uint32_t min, uint32_t max, bool lex, struct zval_ends *ret)
{
    ret->lex = lex;
    if (lex) {
        if (parse_lex_end(c->argv[min], &ret->lex_min, &ret->min_out, &ret->lex_min_sign) &&
            parse_lex_end(c->argv[max], &ret->lex_max, &ret->max_out, &ret->lex_max_sign))
            return true;
        reply_error(c->out, "ERR min or max not valid string range item");
        return false;
    }
    if (parse_end(c, c->argv[min], &ret->min, &ret->min_out) &&
        parse_end(c, c->argv[max], &ret->max, &ret->max_out))
        return true;
    reply_error(c->out, "ERR min or max is not a float");
    return false;
}

/* ---- by score ---- */

static bool score_past_min(const struct zval_ends *e, double s)
{
    return e->min_out ? s > e->min : s >= e->min;
}
static bool score_within_max(const struct zval_ends *e, double s)
{
    return e->max_out ? s < e->max : s <= e->max;
}

/* ---- by member ---- */

static bool lex_past_min(const struct zval_ends *e, struct span m)
{
    if (e->lex_min_sign)
        return e->lex_min_sign < 0;
    int cmp = span_cmp(m, e->lex_min);
    return e->min_out ? cmp > 0 : cmp >= 0;
}
static bool lex_within_max(const struct zval_ends *e, struct span m)
{
    if (e->lex_max_sign)
        return e->lex_max_sign > 0;
    int cmp = span_cmp(m, e->lex_max);
    return e->max_out ? cmp < 0 : cmp <= 0;
}

/* min above max, or equal and not wanted: Redis answers nothing without looking. */
static bool lex_nothing(const struct zval_ends *e)
{
    if (e->lex_min_sign < 0 || e->lex_max_sign > 0)
        return false;
    if (e->lex_min_sign > 0 || e->lex_max_sign < 0)
        return true;
    int cmp = span_cmp(e->lex_min, e->lex_max);
    return cmp > 0 || (cmp == 0 && (e->min_out || e->max_out));
}

/* ---- listpacks: a walk, the way Redis goes, for by member its answer to mixed scores depends on it ---- */

static bool past_min(const struct zval_ends *e, const uint8_t *at)
{
    char scratch[NUM_I64_CHARS];
    struct zval_item i = {0};
    struct lp_value m = lp_read(at);
    if (!e->lex) {
        m = lp_read(lp_skip(at));
        double s = (double)m.number;
        return m.text.p && !num_parse_double(m.text, &s) ? false : score_past_min(e, s);
    }
    i.member = m.text;
    i.number = m.number;
    return lex_past_min(e, zval_item_text(&i, scratch));
}

static bool within_max(const struct zval_ends *e, const uint8_t *at)
{
    char scratch[NUM_I64_CHARS];
    struct zval_item i = {0};
    struct lp_value m = lp_read(at);
    if (!e->lex) {
        m = lp_read(lp_skip(at));
        double s = (double)m.number;
        return m.text.p && !num_parse_double(m.text, &s) ? false : score_within_max(e, s);
    }
    i.member = m.text;
    i.number = m.number;
    return lex_within_max(e, zval_item_text(&i, scratch));
}

static uint8_t *pair_next(const struct mem_block *lp, uint8_t *at)
{
    return lp_next(lp, lp_skip(at));
}
static uint8_t *pair_prev(const struct mem_block *lp, uint8_t *at)
{
    at = lp_prev(lp, at);
    return at ? lp_prev(lp, at) : NULL;
}

static struct zval_range lp_range(const struct zval *v, const struct zval_ends *e, bool back)
{
    struct zval_range r = {0, 0};
    uint8_t *at = back ? lp_seek(&v->lp, -2) : lp_first(&v->lp);
    size_t i = back ? zval_count(v) - 1 : 0;
    /* Redis asks both ends first: the last member must be past the minimum, the first within the maximum. */
    if (!at || !past_min(e, lp_seek(&v->lp, -2)) || !within_max(e, lp_first(&v->lp)))
        return r;
    while (at && !(back ? within_max(e, at) : past_min(e, at))) {
        at = back ? pair_prev(&v->lp, at) : pair_next(&v->lp, at);
        i += back ? (size_t)-1 : 1;
    }
    if (!at)
        return r;
    r.from = i;
    while (at && (back ? past_min(e, at) : within_max(e, at))) {
        r.n++;
        at = back ? pair_prev(&v->lp, at) : pair_next(&v->lp, at);
    }
    if (back && r.n)
        r.from -= r.n - 1;
    return r;
}

/* ---- trees: two searches ---- */

static size_t lex_below(const struct zset *z, struct span s, int8_t sign, bool behind)
{
    if (sign)
        return sign < 0 ? 0 : zset_count(z);
    struct zset_bound b = {behind ? ZSET_BEHIND_MEMBER : ZSET_BEFORE_MEMBER, 0, s};
    return zset_below(z, &b);
}

static size_t score_below(const struct zset *z, double score, bool behind)
{
    if (isinf(score) && (score > 0) == behind)
        return score > 0 ? zset_count(z) : 0;
    struct zset_bound b = {.side = behind ? ZSET_BEHIND_SCORE : ZSET_BEFORE_SCORE, .score = score};
    return zset_below(z, &b);
}

struct zval_range zval_find_range(const struct zval *v, const struct zval_ends *e, bool back)
{
    struct zval_range r = {0, 0};
    size_t end;
    if (e->lex ? lex_nothing(e)
               : e->min > e->max || (e->min == e->max && (e->min_out || e->max_out)))
        return r;
    if (!v->z)
        return v->lp.p ? lp_range(v, e, back) : r;
    if (e->lex) {
        r.from = lex_below(v->z, e->lex_min, e->lex_min_sign, e->min_out);
        end = lex_below(v->z, e->lex_max, e->lex_max_sign, !e->max_out);
    } else {
        r.from = score_below(v->z, e->min, e->min_out);
        end = score_below(v->z, e->max, !e->max_out);
    }
    r.n = end > r.from ? end - r.from : 0;
    return r;
}

struct zval_range zval_rank_range(size_t count, int64_t start, int64_t end)
{
    int64_t n = (int64_t)count;
    if (start < 0)
        start += n;
    if (end < 0)
        end += n;
    if (start < 0)
        start = 0;
    if (start > end || start >= n)
        return (struct zval_range){0, 0};
    if (end >= n)
        end = n - 1;
    return (struct zval_range){(size_t)start, (size_t)(end - start) + 1};
}

/* ---- replies ---- */

void zval_reply_score(struct reply *out, double score)
{
    reply_double(out, score);
}

void zval_reply_member(struct reply *out, const struct zval_item *i)
{
    if (likely_(i->member.p != NULL))
        reply_bulk_inline(out, i->member);
    else
        reply_bulk_int(out, i->number);
}

void zval_reply_head(struct reply *out, size_t n, bool with_scores)
{
    reply_array(out, with_scores && out->resp == 2 ? n * 2 : n);
}

void zval_reply_item(struct reply *out, const struct zval_item *i, bool with_scores)
{
    if (with_scores && out->resp > 2)
        reply_array(out, 2);
    zval_reply_member(out, i);
    if (with_scores)
        zval_reply_score(out, i->score);
}
