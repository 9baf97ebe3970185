/* SORT and SORT_RO: the elements of a list, set or sorted set in order, by their own value or by that of other keys.
 *
 * Where in the flow: cmd_call -> here, on the lease holder's thread; with BY or GET it holds every shard, as only the data tell which keys are
 * read. The elements are borrowed from the value: nothing is changed before the last of them was read. The rules, also what SORT does to the
 * encoding of a small sorted set, are those of Redis 7.0. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/cmd/command_table.h"
#include "engine/cmd/hash.h"
#include "engine/cmd/list_cmd.h"
#include "engine/cmd/set.h"
#include "engine/cmd/zset_value.h"
#include "engine/shard/snapshot.h"

struct sort_args {
    bool readonly, desc, alpha, dont_sort;
    bool has_by;
    struct span by;
    uint32_t gets;  /* GET options */
    uint32_t store; /* argument; 0: none */
    int64_t start, count;
};

/* One element, with what it is sorted by. */
struct sort_item {
    struct span text; /* p NULL: digits, of `digits_n` */
    double score;
    struct span by; /* ALPHA; p NULL: its key is not there */
    uint8_t digits_n;
    char digits[NUM_I64_CHARS];
};

/* A compressed block of a list, expanded: its elements are borrowed from here. */
struct sort_kept {
    struct sort_kept *next;
    const struct ql_block *of;
    size_t n;
    uint8_t bytes[];
};

struct sort {
    struct cmd *c;
    struct sort_args args;
    struct mem *mem;
    struct sort_item *v;
    size_t n, cap;
    size_t first, end; /* the part that is answered: first .. end - 1 */
    bool failed;       /* no memory */
    uint8_t *texts;    /* copies of values that a listpack or an entry holds as integers */
    size_t texts_n, texts_cap;
    struct sort_kept *kept;
};

static struct span item_text(const struct sort_item *i)
{
    return i->text.p ? i->text : span_of(i->digits, i->digits_n);
}

/* ---- arguments ---- */

/* False: the error was written. */
static bool parse(struct cmd *c, struct sort_args *a)
{
    for (uint32_t i = 2; i < c->argc; i++) {
        struct span o = c->argv[i];
        uint32_t left = c->argc - i - 1;
        if (span_is(o, "asc")) {
            a->desc = false;
        } else if (span_is(o, "desc")) {
            a->desc = true;
        } else if (span_is(o, "alpha")) {
            a->alpha = true;
        } else if (span_is(o, "limit") && left >= 2) {
            if (!cmd_arg_i64(c, i + 1, &a->start) || !cmd_arg_i64(c, i + 2, &a->count))
                return false;
            i += 2;
        } else if (!a->readonly && span_is(o, "store") && left >= 1) {
            a->store = ++i;
        } else if (span_is(o, "by") && left >= 1) {
            a->by = c->argv[++i];
            a->has_by = true;
            a->dont_sort |= !memchr(a->by.p, '*', a->by.n); /* a later BY does not undo it */
        } else if (span_is(o, "get") && left >= 1) {
            a->gets++;
            i++;
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    return true;
}

/* The GET patterns one after the other: the next one behind argument *i. */
static bool next_get(const struct cmd *c, uint32_t *i, struct span *pattern)
{
    for (uint32_t k = *i + 1; k < c->argc; k++) {
        struct span o = c->argv[k];
        if (span_is(o, "limit")) {
            k += 2;
        } else if (span_is(o, "store") || span_is(o, "by")) {
            k++;
        } else if (span_is(o, "get")) {
            *i = k + 1;
            *pattern = c->argv[k + 1];
            return true;
        }
    }
    return false;
}

/* ---- the elements ---- */

static struct sort_item *add(struct sort *s)
{
    if (s->n == s->cap) {
        s->failed = true;
        return NULL;
    }
    struct sort_item *i = &s->v[s->n++];
    *i = (struct sort_item){0};
    return i;
}

static void add_value(struct sort *s, struct span text, int64_t number)
{
    struct sort_item *i = add(s);
    if (!i)
        return;
    i->text = text;
    if (!text.p)
        i->digits_n = (uint8_t)num_format_i64(i->digits, number);
}

static bool reserve(struct sort *s, size_t n)
{
    s->v = mem_alloc(s->mem, (n ? n : 1) * sizeof(*s->v));
    s->cap = n;
    s->failed = !s->v;
    return s->v != NULL;
}

/* LIMIT within n elements. */
static void bound(struct sort *s, size_t n)
{
    int64_t total = (int64_t)n, start = s->args.start, count = s->args.count;
    start = start < 0 ? 0 : start > total ? total : start;
    count = count < -1 ? -1 : count > total ? total : count;
    int64_t end = count < 0 ? total : start + count;
    s->first = (size_t)start;
    s->end = (size_t)(end > total ? total : end);
}

/* Lists and sorted sets that are not sorted are read only as far as they are answered. */
static size_t narrow(struct sort *s, size_t n)
{
    bound(s, n);
    return s->end - s->first;
}

/* The text, which lies in the window that shows b, where it stays. */
static struct span keep(struct sort *s, const struct ql_block *b, struct span text)
{
    struct sort_kept *k = s->kept;
    if (!k || k->of != b) {
        size_t n = b->len + (b->plain ? 0 : LP_HEADER_BYTES);
        k = mem_alloc(s->mem, sizeof(*k) + n);
        if (!k) {
            s->failed = true;
            return SPAN("");
        }
        *k = (struct sort_kept){s->kept, b, n};
        memcpy(k->bytes, ql_window, n);
        s->kept = k;
    }
    return span_of(k->bytes + (text.p - ql_window), text.n);
}

static void forget_kept(struct sort *s)
{
    for (struct sort_kept *k; (k = s->kept) != NULL;) {
        s->kept = k->next;
        mem_free(s->mem, k, sizeof(*k) + k->n);
    }
}

static void load_list(struct sort *s, struct entry *e, struct keyref *k)
{
    struct list_key lk;
    struct ql_view w;
    struct ql_at at;
    list_open(&lk, k, s->c->db, e);
    size_t n = lv_count(&lk.l), from = 0;
    bool back = s->args.dont_sort && s->args.desc;
    bound(s, n);
    if (s->args.dont_sort) {
        from = back ? n - s->first - 1 : s->first;
        n = narrow(s, n);
        s->end -= s->first;
        s->first = 0;
    }
    if (!reserve(s, n) || n == 0)
        return;
    lv_view(&lk.l, &w);
    if (!ql_seek(&w, (int64_t)from, &at))
        return;
    do {
        struct lp_value v = ql_get(&w, at);
        if (v.text.p && unlikely_(w.v[at.block].lzf))
            v.text = keep(s, &w.v[at.block], v.text);
        add_value(s, v.text, v.number);
    } while (!s->failed && s->n < n && (back ? ql_prev(&w, &at) : ql_next(&w, &at)));
}

static void load_set(struct sort *s, struct entry *e, struct keyref *k)
{
    struct set set = set_open(s->c, k->shard, e);
    struct set_iter it;
    struct set_member m;
    size_t n = set_count(&set);
    bound(s, n);
    if (!reserve(s, n))
        return;
    set_iter_init(&it, &set);
    while (set_next(&it, &m))
        add_value(s, m.is_number ? (struct span){0} : m.text, m.number);
}

static void load_zset(struct sort *s, struct entry *e, struct keyref *k)
{
    struct zval v;
    struct zval_walk w;
    struct zval_item item;
    if (entry_enc(e) == ENC_LISTPACK) /* it becomes a tree, as in Redis */
        snapshot_touch(k->shard, s->c->db, k->hash, e);
    zval_open(&v, k->shard, e);
    if (!zval_expand(&v)) {
        s->failed = true;
        return;
    }
    size_t n = zval_count(&v), from = 0;
    bool back = s->args.dont_sort && s->args.desc;
    bound(s, n);
    if (s->args.dont_sort) {
        from = back ? n - s->first - 1 : s->first;
        n = narrow(s, n);
        s->end -= s->first;
        s->first = 0;
    }
    if (!reserve(s, n) || n == 0)
        return;
    zval_walk_from(&w, &v, from, n, back);
    while (zval_walk_next(&w, &item))
        add_value(s, item.member, item.number);
}

/* ---- other keys: BY and GET ---- */

/* A value found by a pattern. text.p NULL: the number. */
struct found_value {
    bool there;
    struct lp_value v;
};

/* Where "->" with a field behind it begins in a pattern after its '*'; NULL: no field. */
static const uint8_t *field_mark(struct span pattern, const uint8_t *star)
{
    const uint8_t *end = pattern.p + pattern.n;
    for (const uint8_t *p = star + 1; p + 2 < end; p++)
        if (p[0] == '-' && p[1] == '>')
            return p;
    return NULL;
}

static struct found_value value_of_hash(const struct keyref *k, struct entry *e, struct span field)
{
    struct found_value r = {0};
    struct hash h = {.b = object_block(e), .mem = &k->shard->mem, .key = &k->shard->hash_key};
    int64_t expire;
    h.max_entries = SIZE_MAX;
    r.there =
        hash_find_expire(&h, field, &r.v, &expire) && (expire < 0 || expire >= k->shard->now_ms);
    return r;
}

/* The value of the key that the pattern makes with the element in place of its '*'; "#" is the element itself. */
static struct found_value lookup(struct sort *s, struct span pattern, struct span element)
{
    struct found_value r = {0};
    if (span_eq(pattern, SPAN("#"))) {
        r.there = true;
        r.v.text = element;
        return r;
    }
    const uint8_t *star = pattern.n ? memchr(pattern.p, '*', pattern.n) : NULL;
    if (!star)
        return r;
    const uint8_t *mark = field_mark(pattern, star), *end = pattern.p + pattern.n;
    size_t before = (size_t)(star - pattern.p), after = (size_t)((mark ? mark : end) - star) - 1;
    uint8_t small[256], *name = small;
    size_t n = before + element.n + after;
    if (n > sizeof(small))
        name = mem_alloc(s->mem, n);
    if (!name) {
        s->failed = true;
        return r;
    }
    memcpy(name, pattern.p, before);
    memcpy(name + before, element.p, element.n);
    memcpy(name + before + element.n, star + 1, after);
    struct keyref k = {.key = span_of(name, n)};
    k.shard = cmd_shard(s->c, k.key);
    k.hash = shard_hash(k.shard, k.key);
    struct entry *e = keyref_read(s->c, &k);
    if (e && mark && entry_type(e) == OBJ_HASH) {
        r = value_of_hash(&k, e, span_of(mark + 2, (size_t)(end - mark) - 2));
    } else if (e && !mark && entry_type(e) == OBJ_STRING) {
        r.there = true;
        if (!entry_int(e, &r.v.number))
            r.v.text = entry_bytes_span(e);
    }
    if (name != small)
        mem_free(s->mem, name, n);
    return r;
}

/* ---- order ---- */

/* As strtod reads a C string, all of it; NaN and what is too large are no numbers. */
static bool text_as_double(struct sort *s, struct span text, double *ret)
{
    char small[256], *copy = small, *stop;
    if (text.n >= sizeof(small))
        copy = mem_alloc(s->mem, text.n + 1);
    if (!copy) {
        s->failed = true;
        return false;
    }
    if (text.n)
        memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    errno = 0;
    *ret = strtod(copy, &stop);
    bool good = *stop == 0 && errno != ERANGE && !isnan(*ret);
    if (copy != small)
        mem_free(s->mem, copy, text.n + 1);
    return good;
}

/* A number's digits, kept as long as the sort. The pointer moves: an offset stands in for it until all are there. */
static struct span keep_number(struct sort *s, int64_t v)
{
    char digits[NUM_I64_CHARS];
    size_t n = num_format_i64(digits, v);
    if (s->texts_cap - s->texts_n < n) {
        size_t cap = s->texts_cap ? s->texts_cap * 2 : 1024;
        uint8_t *p = mem_alloc(s->mem, cap);
        if (!p) {
            s->failed = true;
            return SPAN("");
        }
        if (s->texts)
            memcpy(p, s->texts, s->texts_n);
        for (size_t i = 0; i < s->n; i++) /* those kept so far move with it */
            if (s->v[i].by.p && s->texts && s->v[i].by.p >= s->texts &&
                s->v[i].by.p < s->texts + s->texts_n)
                s->v[i].by.p = p + (s->v[i].by.p - s->texts);
        if (s->texts)
            mem_free(s->mem, s->texts, s->texts_cap);
        s->texts = p;
        s->texts_cap = cap;
    }
    struct span r = span_of(memcpy(s->texts + s->texts_n, digits, n), n);
    s->texts_n += n;
    return r;
}

/* What each element is sorted by. False: one is no number. */
static bool weigh(struct sort *s)
{
    bool good = true;
    for (size_t i = 0; i < s->n && !s->failed; i++) {
        struct sort_item *item = &s->v[i];
        struct found_value f = {.there = true, .v.text = item_text(item)};
        if (s->args.has_by)
            f = lookup(s, s->args.by, item_text(item));
        if (!f.there)
            continue;
        if (s->args.alpha)
            item->by = f.v.text.p ? f.v.text : keep_number(s, f.v.number);
        else if (!f.v.text.p)
            item->score = (double)f.v.number;
        else
            good &= text_as_double(s, f.v.text, &item->score);
    }
    return good;
}

/* As strcoll in the C locale sees them, then to the end: so that equal texts are a matter of bytes alone. */
static int compare_alpha(const struct sort_item *a, const struct sort_item *b, const struct sort *s)
{
    if (s->args.has_by && (!a->by.p || !b->by.p))
        return (a->by.p != NULL) - (b->by.p != NULL);
    return span_cmp(a->by, b->by);
}

static int compare(const void *x, const void *y, void *ctx)
{
    const struct sort_item *a = x, *b = y;
    const struct sort *s = ctx;
    int r;
    if (s->args.alpha)
        r = compare_alpha(a, b, s);
    else if (a->score != b->score)
        r = a->score > b->score ? 1 : -1;
    else
        r = span_cmp(item_text(a), item_text(b));
    return s->args.desc ? -r : r;
}

/* ---- answers ---- */

static void reply_found(struct reply *out, const struct found_value *f)
{
    if (!f->there)
        reply_null(out);
    else if (f->v.text.p)
        reply_bulk(out, f->v.text);
    else
        reply_bulk_int(out, f->v.number);
}

static void answer(struct sort *s)
{
    struct cmd *c = s->c;
    size_t n = s->end - s->first;
    reply_array(c->out, s->args.gets ? n * s->args.gets : n);
    for (size_t i = s->first; i < s->end; i++) {
        struct span text = item_text(&s->v[i]), pattern;
        if (!s->args.gets)
            reply_bulk(c->out, text);
        for (uint32_t at = 1; s->args.gets && next_get(c, &at, &pattern);) {
            struct found_value f = lookup(s, pattern, text);
            reply_found(c->out, &f);
        }
    }
}

static bool push_found(struct list_value *l, const struct found_value *f)
{
    char scratch[NUM_I64_CHARS];
    struct span text = SPAN("");
    if (f->there)
        text = f->v.text.p ? f->v.text : span_of(scratch, num_format_i64(scratch, f->v.number));
    return lv_push(l, true, text);
}

/* All that would be answered, as a list. False: no memory. */
static bool gather(struct sort *s, struct list_value *l)
{
    bool good = true;
    for (size_t i = s->first; i < s->end && good; i++) {
        struct span text = item_text(&s->v[i]), pattern;
        if (!s->args.gets)
            good = lv_push(l, true, text);
        for (uint32_t at = 1; good && s->args.gets && next_get(s->c, &at, &pattern);) {
            struct found_value f = lookup(s, pattern, text);
            good = !s->failed && push_found(l, &f);
        }
    }
    lv_shape(l);
    return good;
}

static void store(struct sort *s)
{
    struct cmd *c = s->c;
    struct keyref to = keyref_at(c, s->args.store);
    struct entry *old = keyref_peek(c, &to);
    struct list_value l;
    if (s->end == s->first) {
        if (old) {
            ks_delete(to.shard, c->db, old, to.hash, false);
            keyref_changed(c, &to, KS_GENERIC, "del");
        }
        reply_int(c->out, 0);
        return;
    }
    struct ql_limits limits = list_limits(to.shard);
    if (!lv_init(&l, &to.shard->mem, &limits, NULL, 0)) {
        cmd_reply_oom(c);
        return;
    }
    if (!gather(s, &l) || !ks_set_object(to.shard, c->db, to.key, to.hash, OBJ_LIST,
                                         l.quick ? ENC_QUICKLIST : ENC_LISTPACK, &l.b, KS_NO_TTL)) {
        lv_free(&l);
        cmd_reply_oom(c);
        return;
    }
    keyref_changed(c, &to, KS_LIST, "sortstore");
    size_t n = s->end - s->first;
    reply_int(c->out, (int64_t)(s->args.gets ? n * s->args.gets : n));
}

static void run(struct sort *s)
{
    bool numbers = s->args.dont_sort || weigh(s);
    if (s->n && !s->args.dont_sort && !s->failed && numbers)
        qsort_r(s->v, s->n, sizeof(*s->v), compare, s);
    if (s->failed)
        cmd_reply_oom(s->c);
    else if (!numbers)
        reply_error(s->c->out, "ERR One or more scores can't be converted into double");
    else if (s->args.store)
        store(s);
    else
        answer(s);
}

static void sort_generic(struct cmd *c, bool readonly)
{
    struct sort s = {.c = c, .args = {.readonly = readonly, .count = -1}};
    struct keyref k = keyref_first(c, 1);
    if (!parse(c, &s.args))
        return;
    struct entry *e = keyref_read(c, &k);
    enum obj_type type = e ? entry_type(e) : OBJ_LIST;
    if (type != OBJ_LIST && type != OBJ_SET && type != OBJ_ZSET) {
        cmd_reply_wrongtype(c);
        return;
    }
    /* A set has no order of its own: what is stored must not depend on ours. */
    if (s.args.dont_sort && type == OBJ_SET && s.args.store) {
        s.args.dont_sort = s.args.has_by = false;
        s.args.alpha = true;
    }
    s.mem = &k.shard->mem;
    if (!e)
        bound(&s, 0);
    else if (type == OBJ_LIST)
        load_list(&s, e, &k);
    else if (type == OBJ_SET)
        load_set(&s, e, &k);
    else
        load_zset(&s, e, &k);
    run(&s);
    if (s.v)
        mem_free(s.mem, s.v, (s.cap ? s.cap : 1) * sizeof(*s.v));
    if (s.texts)
        mem_free(s.mem, s.texts, s.texts_cap);
    forget_kept(&s);
}

void cmd_sort(struct cmd *c)
{
    sort_generic(c, false);
}

void cmd_sort_ro(struct cmd *c)
{
    sort_generic(c, true);
}
