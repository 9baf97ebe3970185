/* geo_search.c: GEOSEARCH, GEOSEARCHSTORE, GEORADIUS, GEORADIUSBYMEMBER and their read-only forms.
 *
 *   arguments -> shape -> up to nine cells, each one range of scores -> members of those within the shape -> order, COUNT -> reply or key
 *
 * Where in the flow: cmd_call -> here, on the thread that holds the leases of source and destination. Members are borrowed from the source
 * until the reply is written or the destination is built. */
#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/geo.h"

enum geo_form {
    FORM_POINT,
    FORM_MEMBER,
    FORM_SEARCH
}; /* GEORADIUS, GEORADIUSBYMEMBER, GEOSEARCH */
enum geo_order { ORDER_NONE, ORDER_ASC, ORDER_DESC };

struct geo_search {
    enum geo_form form;
    bool may_store;
    uint32_t source, options; /* arguments: the key searched, the first option */
    uint32_t store;           /* the destination's argument; 0: none */
    bool store_distance;
    struct zval v;
    struct geo_shape shape;
    bool from_member, from_point, by_radius, by_box;
    bool with_distance, with_hash, with_point, any;
    enum geo_order order;
    int64_t count; /* 0: all */
    /* what was found */
    struct mem *mem;
    struct geo_found *found;
    size_t n, cap;
};

/* ---- arguments ---- */

static bool arg_measure(struct cmd *c, uint32_t i, const char *error, double *ret)
{
    if (num_parse_double(c->argv[i], ret))
        return true;
    reply_error(c->out, error);
    return false;
}

static bool arg_radius(struct cmd *c, uint32_t i, struct geo_shape *s)
{
    if (!arg_measure(c, i, "ERR need numeric radius", &s->radius))
        return false;
    if (s->radius < 0) {
        reply_error(c->out, "ERR radius cannot be negative");
        return false;
    }
    s->box = false;
    return geo_arg_unit(c, i + 1, &s->conversion);
}

static bool arg_box(struct cmd *c, uint32_t i, struct geo_shape *s)
{
    if (!arg_measure(c, i, "ERR need numeric width", &s->width) ||
        !arg_measure(c, i + 1, "ERR need numeric height", &s->height))
        return false;
    if (s->width < 0 || s->height < 0) {
        reply_error(c->out, "ERR height or width cannot be negative");
        return false;
    }
    s->box = true;
    return geo_arg_unit(c, i + 2, &s->conversion);
}

static bool arg_member(struct cmd *c, uint32_t i, struct geo_search *g)
{
    double score;
    if (!zval_score(&g->v, c->argv[i], &score)) {
        reply_error(c->out, "ERR could not decode requested zset member");
        return false;
    }
    g->shape.center = geo_decode(score);
    return true;
}

static bool arg_count(struct cmd *c, uint32_t i, struct geo_search *g)
{
    if (!cmd_arg_i64(c, i, &g->count))
        return false;
    if (g->count > 0)
        return true;
    reply_error(c->out, "ERR COUNT must be > 0");
    return false;
}

/* Words that stand alone. */
static bool option_word(struct geo_search *g, struct span o)
{
    if (span_is(o, "withdist"))
        g->with_distance = true;
    else if (span_is(o, "withhash"))
        g->with_hash = true;
    else if (span_is(o, "withcoord"))
        g->with_point = true;
    else if (span_is(o, "any"))
        g->any = true;
    else if (span_is(o, "asc"))
        g->order = ORDER_ASC;
    else if (span_is(o, "desc"))
        g->order = ORDER_DESC;
    else if (g->form == FORM_SEARCH && g->may_store && span_is(o, "storedist"))
        g->store_distance = true;
    else
        return false;
    return true;
}

/* An option with arguments at *i, which moves to the last of them. False: the error was written. */
static bool option_long(struct cmd *c, struct geo_search *g, uint32_t *i)
{
    struct span o = c->argv[*i];
    uint32_t at = *i + 1, left = c->argc - at;
    bool search = g->form == FORM_SEARCH;
    if (left >= 1 && span_is(o, "count")) {
        *i += 1;
        return arg_count(c, at, g);
    }
    if (left >= 1 && g->may_store && !search && (span_is(o, "store") || span_is(o, "storedist"))) {
        *i += 1;
        g->store = at;
        g->store_distance = span_is(o, "storedist");
        return true;
    }
    if (left >= 1 && search && !g->from_point && span_is(o, "frommember")) {
        *i += 1;
        g->from_member = true;
        return !zval_exists(&g->v) || arg_member(c, at, g);
    }
    if (left >= 2 && search && !g->from_member && span_is(o, "fromlonlat")) {
        *i += 2;
        g->from_point = true;
        return geo_arg_point(c, at, &g->shape.center);
    }
    if (left >= 2 && search && !g->by_box && span_is(o, "byradius")) {
        *i += 2;
        g->by_radius = true;
        return arg_radius(c, at, &g->shape);
    }
    if (left >= 3 && search && !g->by_radius && span_is(o, "bybox")) {
        *i += 3;
        g->by_box = true;
        return arg_box(c, at, &g->shape);
    }
    cmd_reply_syntax(c);
    return false;
}

static bool options_agree(struct cmd *c, const struct geo_search *g)
{
    int name_n = (int)(c->argv[0].n < 128 ? c->argv[0].n : 128);
    const char *name = (const char *)c->argv[0].p;
    bool search = g->form == FORM_SEARCH;
    if (g->store && (g->with_distance || g->with_hash || g->with_point))
        reply_errorf(c->out,
                     "ERR %s is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
                     search ? "GEOSEARCHSTORE" : "STORE option in GEORADIUS");
    else if (search && !g->from_member && !g->from_point)
        reply_errorf(c->out,
                     "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for %.*s",
                     name_n, name);
    else if (search && !g->by_radius && !g->by_box)
        reply_errorf(c->out, "ERR exactly one of BYRADIUS and BYBOX can be specified for %.*s",
                     name_n, name);
    else if (g->any && !g->count)
        reply_error(c->out, "ERR the ANY argument requires COUNT argument");
    else
        return true;
    return false;
}

/* The arguments in front of the options. */
static bool search_center(struct cmd *c, struct geo_search *g)
{
    switch (g->form) {
    case FORM_POINT: return geo_arg_point(c, 2, &g->shape.center) && arg_radius(c, 4, &g->shape);
    case FORM_MEMBER:
        return !zval_exists(&g->v) || (arg_member(c, 2, g) && arg_radius(c, 3, &g->shape));
    default: return true;
    }
}

static bool search_options(struct cmd *c, struct geo_search *g)
{
    for (uint32_t i = g->options; i < c->argc; i++)
        if (!option_word(g, c->argv[i]) && !option_long(c, g, &i))
            return false;
    if (!options_agree(c, g))
        return false;
    if (g->count && g->order == ORDER_NONE && !g->any)
        g->order = ORDER_ASC;
    return true;
}

/* ---- the search ---- */

static struct geo_found *found_more(struct geo_search *g)
{
    if (g->n == g->cap) {
        size_t cap = g->cap ? g->cap * 2 : 16;
        void *p =
            mem_realloc(g->mem, g->found, g->cap * sizeof(*g->found), cap * sizeof(*g->found));
        if (!p)
            return NULL;
        g->found = p;
        g->cap = cap;
    }
    return &g->found[g->n++];
}

static bool enough(const struct geo_search *g)
{
    return g->any && g->n >= (uint64_t)g->count;
}

/* False: no memory. */
static bool search_cell(struct geo_search *g, struct geo_cell cell)
{
    struct zval_ends ends = {.max_out = true};
    struct zval_walk w;
    struct zval_item i;
    geo_cell_range(cell, &ends.min, &ends.max);
    struct zval_range r = zval_find_range(&g->v, &ends, false);
    zval_walk_from(&w, &g->v, r.from, r.n, false);
    while (!enough(g) && zval_walk_next(&w, &i)) {
        struct geo_point p = geo_decode(i.score);
        double distance;
        if (!geo_within(&g->shape, p, &distance))
            continue;
        struct geo_found *f = found_more(g);
        if (!f)
            return false;
        *f = (struct geo_found){distance, i.score, p, i.member, i.number};
    }
    return true;
}

static bool search_cells(struct geo_search *g)
{
    struct geo_cover cover;
    const struct geo_cell *last = NULL;
    geo_cover(&g->shape, &cover);
    for (int i = 0; i < GEO_CELLS && !enough(g); i++) {
        const struct geo_cell *cell = &cover.cell[i];
        /* Around a small earth the next cell may be the last one again. Redis asks so from the third on. */
        if (!cell->step || (last && last->bits == cell->bits && last->step == cell->step))
            continue;
        if (!search_cell(g, *cell))
            return false;
        last = i ? cell : NULL;
    }
    return true;
}

/* ---- results ---- */

static void reply_found(struct cmd *c, const struct geo_search *g, size_t n)
{
    size_t more = (size_t)g->with_distance + g->with_hash + g->with_point;
    reply_array(c->out, n);
    for (size_t i = 0; i < n; i++) {
        const struct geo_found *f = &g->found[i];
        if (more)
            reply_array(c->out, more + 1);
        zval_reply_member(c->out, &(struct zval_item){.member = f->member, .number = f->number});
        if (g->with_distance)
            geo_reply_distance(c->out, f->distance / g->shape.conversion);
        if (g->with_hash)
            reply_int(c->out, geo_score_int(f->score));
        if (g->with_point)
            geo_reply_point(c->out, f->point);
    }
}

static void store_found(struct cmd *c, struct geo_search *g, size_t n)
{
    struct keyref to = g->store == 1 ? keyref_first(c, 1) : keyref_at(c, g->store);
    struct zval v;
    size_t longest = 0;
    bool ok =
        zval_create(&v, to.shard, n, SIZE_MAX); /* a tree: which it stays is known at the end */
    for (size_t i = 0; ok && i < n; i++) {
        const struct geo_found *f = &g->found[i];
        char scratch[NUM_I64_CHARS];
        struct span member =
            zval_item_text(&(struct zval_item){.member = f->member, .number = f->number}, scratch);
        double there, score = g->store_distance ? f->distance / g->shape.conversion : f->score;
        longest = member.n > longest ? member.n : longest;
        /* no member twice, whatever cells there are */
        ok = zval_score(&v, member, &there) || zval_add(&v, score, member);
    }
    if (!ok || !zval_compact(&v, longest)) {
        zval_discard(&v);
        cmd_reply_oom(c);
        return;
    }
    if (zval_store(c, &to, &v, g->form == FORM_SEARCH ? "geosearchstore" : "georadiusstore"))
        reply_int(c->out, (int64_t)n);
}

static void search_results(struct cmd *c, struct geo_search *g)
{
    size_t n = g->count && (uint64_t)g->count < g->n ? (size_t)g->count : g->n;
    if (g->order != ORDER_NONE && g->n)
        geo_sort(g->found, g->n, n, g->order == ORDER_DESC);
    if (g->store)
        store_found(c, g, n);
    else
        reply_found(c, g, n);
}

static void search(struct cmd *c, struct geo_search g)
{
    struct keyref k = g.source == 1 ? keyref_first(c, 1) : keyref_at(c, g.source);
    g.mem = &c->shard->mem;
    g.shape.conversion = 1;
    if (!zval_read(c, &k, &g.v) || !search_center(c, &g) || !search_options(c, &g))
        return;
    if (zval_exists(&g.v) && !search_cells(&g))
        cmd_reply_oom(c);
    else
        search_results(c, &g);
    if (g.found)
        mem_free(g.mem, g.found, g.cap * sizeof(*g.found));
}

void cmd_georadius(struct cmd *c)
{
    search(c,
           (struct geo_search){.form = FORM_POINT, .source = 1, .options = 6, .may_store = true});
}

void cmd_georadius_ro(struct cmd *c)
{
    search(c, (struct geo_search){.form = FORM_POINT, .source = 1, .options = 6});
}

void cmd_georadiusbymember(struct cmd *c)
{
    search(c,
           (struct geo_search){.form = FORM_MEMBER, .source = 1, .options = 5, .may_store = true});
}

void cmd_georadiusbymember_ro(struct cmd *c)
{
    search(c, (struct geo_search){.form = FORM_MEMBER, .source = 1, .options = 5});
}

void cmd_geosearch(struct cmd *c)
{
    search(c, (struct geo_search){.form = FORM_SEARCH, .source = 1, .options = 2});
}

void cmd_geosearchstore(struct cmd *c)
{
    search(c, (struct geo_search){
                  .form = FORM_SEARCH, .source = 2, .options = 3, .store = 1, .may_store = true});
}
