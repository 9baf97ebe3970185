/* zset_value.c: see zset_value.h. Both encodings of a sorted set, and when one becomes the other.
 *
 * Where in the flow: the sorted set and geo commands -> here -> engine/ds. Thread: the lease holder's. */
#include "engine/cmd/zset_value.h"

#include <math.h>

#include "engine/base/num.h"
#include "engine/ds/listpack_inline.h"

/* ---- listpacks ---- */

bool zval_score_whole(double score, int64_t *ret)
{
    const double most = (double)(INT64_MAX / 2);
    if (!(score >= -most && score <= most))
        return false;
    int64_t v = (int64_t)score;
    if ((double)v != score)
        return false;
    *ret = v;
    return true;
}

static double lp_score(const uint8_t *at)
{
    struct lp_value v = lp_read(at);
    double score = 0;
    if (likely_(!v.text.p))
        return (double)v.number;
    num_parse_double(v.text, &score);
    return score;
}

static size_t lp_pairs(const struct zval *v)
{
    return lp_count(&v->lp) / 2;
}

static uint8_t *lp_find_member(const struct zval *v, struct span member)
{
    uint8_t *first = lp_first(&v->lp);
    return first ? lp_find(&v->lp, first, member, 1) : NULL;
}

/* Before which member the pair belongs; NULL: at the end. */
static uint8_t *lp_place(const struct zval *v, double score, struct span member)
{
    for (uint8_t *at = lp_first(&v->lp); at;) {
        uint8_t *score_at = lp_next(&v->lp, at);
        double s = lp_score(score_at);
        char scratch[NUM_I64_CHARS];
        if (s > score || (s == score && span_cmp(lp_text(at, scratch), member) > 0))
            return at;
        at = lp_next(&v->lp, score_at);
    }
    return NULL;
}

static uint8_t *lp_put_score(struct zval *v, uint8_t *before, double score)
{
    int64_t whole;
    char text[128];
    if (zval_score_whole(score, &whole))
        return lp_insert_i64(&v->shard->mem, &v->lp, before, whole);
    return lp_insert(&v->shard->mem, &v->lp, before, span_of(text, num_format_double(text, score)));
}

/* Inserts the pair before `before` (NULL: at the end). */
static bool lp_put(struct zval *v, uint8_t *before, double score, struct span member)
{
    struct mem *mem = &v->shard->mem;
    uint8_t *at = lp_insert(mem, &v->lp, before, member);
    if (!at)
        return false;
    size_t offset = (size_t)(at - v->lp.p);
    if (lp_put_score(v, lp_next(&v->lp, at), score))
        return true;
    lp_delete(mem, &v->lp, v->lp.p + offset, 1);
    return false;
}

/* ---- life ---- */

void zval_open(struct zval *v, struct shard *s, struct entry *e)
{
    struct mem_block b = object_block(e);
    *v = (struct zval){.shard = s, .e = e};
    if (entry_enc_fast(e) == ENC_SKIPLIST)
        v->z = (struct zset *)(void *)b.p;
    else
        v->lp = b;
}

static bool open_entry(struct cmd *c, const struct keyref *k, struct entry *e, struct zval *v)
{
    *v = (struct zval){.shard = k->shard};
    if (!e)
        return true;
    if (unlikely_(entry_type_fast(e) != OBJ_ZSET)) {
        cmd_reply_wrongtype(c);
        return false;
    }
    zval_open(v, k->shard, e);
    return true;
}

bool zval_read(struct cmd *c, const struct keyref *k, struct zval *v)
{
    return open_entry(c, k, keyref_read(c, k), v);
}

bool zval_write(struct cmd *c, const struct keyref *k, struct zval *v)
{
    return open_entry(c, k, keyref_write(c, k), v);
}

/* The entry shall know what became of the value. */
static void zval_keep(struct zval *v)
{
    if (!v->e)
        return;
    struct mem_block b = v->z ? (struct mem_block){(uint8_t *)v->z, 0, 0} : v->lp;
    object_update(v->e, v->z ? ENC_SKIPLIST : ENC_LISTPACK, &b);
}

static bool fits_listpack(const struct zval *v, size_t members, size_t longest)
{
    const struct engine_config *cfg = v->shard->config;
    return members <= cfg->zset_max_listpack_entries && longest <= cfg->zset_max_listpack_value;
}

bool zval_create(struct zval *v, struct shard *s, size_t members, size_t longest)
{
    *v = (struct zval){.shard = s};
    if (fits_listpack(v, members, longest))
        return lp_init(&s->mem, &v->lp, 32);
    v->z = zset_create(&s->mem, &s->hash_key);
    return v->z != NULL;
}

void zval_discard(struct zval *v)
{
    if (v->z)
        zset_destroy(v->z);
    else if (v->lp.p)
        lp_free(&v->shard->mem, &v->lp);
    *v = (struct zval){.shard = v->shard};
}

bool zval_expand(struct zval *v)
{
    if (v->z)
        return true;
    struct zset *z = zset_create(&v->shard->mem, &v->shard->hash_key);
    if (!z)
        return false;
    for (uint8_t *at = lp_first(&v->lp); at;) {
        uint8_t *score_at = lp_next(&v->lp, at);
        char scratch[NUM_I64_CHARS];
        if (!zset_insert(z, lp_score(score_at), lp_text(at, scratch))) {
            zset_destroy(z);
            return false;
        }
        at = lp_next(&v->lp, score_at);
    }
    lp_free(&v->shard->mem, &v->lp);
    v->lp = (struct mem_block){0};
    v->z = z;
    zval_keep(v);
    return true;
}

bool zval_compact(struct zval *v, size_t longest)
{
    if (!v->z || !fits_listpack(v, zset_count(v->z), longest))
        return true;
    struct zval small = {.shard = v->shard};
    if (!lp_init(&v->shard->mem, &small.lp, 64))
        return false;
    for (struct zset_at at = zset_seek(v->z, 0); at.leaf; zset_next(&at)) {
        const struct zset_member *m = at.leaf->member[at.i];
        if (!lp_put(&small, NULL, m->score, zset_member_text(m))) {
            zval_discard(&small);
            return false;
        }
    }
    zset_destroy(v->z);
    *v = small;
    return true;
}

/* ---- reading ---- */

size_t zval_count(const struct zval *v)
{
    return v->z ? zset_count(v->z) : v->lp.p ? lp_pairs(v) : 0;
}

bool zval_score(const struct zval *v, struct span member, double *ret)
{
    if (v->z) {
        const struct zset_member *m = zset_find(v->z, member);
        if (m)
            *ret = m->score;
        return m != NULL;
    }
    uint8_t *at = v->lp.p ? lp_find_member(v, member) : NULL;
    if (at)
        *ret = lp_score(lp_next(&v->lp, at));
    return at != NULL;
}

bool zval_find(struct zval *v, struct span member, double *ret)
{
    if (!v->z)
        return zval_score(v, member, ret);
    v->found = zset_find(v->z, member);
    if (v->found)
        *ret = v->found->score;
    return v->found != NULL;
}

bool zval_rank(const struct zval *v, struct span member, size_t *ret)
{
    if (v->z) {
        const struct zset_member *m = zset_find(v->z, member);
        if (m)
            *ret = zset_rank(v->z, m);
        return m != NULL;
    }
    uint8_t *found = v->lp.p ? lp_find_member(v, member) : NULL;
    if (!found)
        return false;
    size_t elements = 0;
    for (uint8_t *at = lp_first(&v->lp); at != found; at = lp_skip(at))
        elements++;
    *ret = elements / 2;
    return true;
}

void zval_walk_from(struct zval_walk *w, const struct zval *v, size_t rank, size_t n, bool back)
{
    *w = (struct zval_walk){.v = v, .left = n, .back = back};
    if (!n)
        return;
    if (v->z)
        w->at = zset_seek(v->z, rank);
    else
        w->lp = v->lp.p ? lp_seek(&v->lp, (int64_t)rank * 2) : NULL;
}

bool zval_walk_next(struct zval_walk *w, struct zval_item *ret)
{
    if (!w->left)
        return false;
    w->left--;
    if (w->v->z) {
        if (!w->at.leaf)
            return false;
        ret->score = w->at.leaf->score[w->at.i];
        ret->member = zset_member_text(w->at.leaf->member[w->at.i]);
        if (w->back)
            zset_prev(&w->at);
        else
            zset_next(&w->at);
        if (w->at.leaf)
            __builtin_prefetch(w->at.leaf->member[w->at.i]);
        return true;
    }
    if (!w->lp)
        return false;
    uint8_t *score_at = lp_skip(w->lp);
    struct lp_value m = lp_read(w->lp);
    ret->member = m.text;
    ret->number = m.number;
    ret->score = lp_score(score_at);
    if (w->back) {
        w->lp = lp_prev(&w->v->lp, w->lp);
        w->lp = w->lp ? lp_prev(&w->v->lp, w->lp) : NULL;
    } else {
        w->lp = lp_next(&w->v->lp, score_at);
    }
    return true;
}

struct span zval_item_text(const struct zval_item *i, char *scratch)
{
    return i->member.p ? i->member : span_of(scratch, num_format_i64(scratch, i->number));
}

/* ---- changes ---- */

bool zval_add(struct zval *v, double score, struct span member)
{
    if (!v->z && (!fits_listpack(v, lp_pairs(v) + 1, member.n) ||
                  v->lp.len + member.n + 64 > LP_BYTES_MAX)) {
        if (!zval_expand(v))
            return false;
    }
    if (v->z)
        return zset_insert(v->z, score, member) != NULL;
    bool ok = lp_put(v, lp_place(v, score, member), score, member);
    zval_keep(v); /* also when the second half failed: the block may have moved */
    return ok;
}

/* Is this score between those of the neighbours of the member at `at`? */
static bool lp_stays(const struct zval *v, uint8_t *at, double score, struct span member)
{
    char scratch[NUM_I64_CHARS];
    uint8_t *before = lp_prev(&v->lp, at), *next = lp_next(&v->lp, lp_skip(at));
    if (before) {
        double s = lp_score(before);
        uint8_t *m = lp_prev(&v->lp, before);
        if (s > score || (s == score && span_cmp(lp_text(m, scratch), member) > 0))
            return false;
    }
    if (next) {
        double s = lp_score(lp_skip(next));
        return s > score || (s == score && span_cmp(lp_text(next, scratch), member) > 0);
    }
    return true;
}

static bool lp_rescore(struct zval *v, double score, struct span member)
{
    struct mem *mem = &v->shard->mem;
    uint8_t *at = lp_find_member(v, member);
    int64_t whole;
    char text[128];
    if (lp_stays(v, at, score, member)) {
        if (zval_score_whole(score, &whole))
            return lp_replace_i64(mem, &v->lp, lp_skip(at), whole) != NULL;
        return lp_replace(mem, &v->lp, lp_skip(at),
                          span_of(text, num_format_double(text, score))) != NULL;
    }
    /* The new pair first: only that may fail. */
    uint8_t *place = lp_place(v, score, member);
    size_t old = (size_t)(at - v->lp.p), len = v->lp.len;
    bool below = place && place <= at;
    if (!lp_put(v, place, score, member))
        return false;
    lp_delete(mem, &v->lp, v->lp.p + old + (below ? v->lp.len - len : 0), 2);
    return true;
}

bool zval_rescore(struct zval *v, double score, struct span member)
{
    if (v->z)
        return zset_rescore(v->z, v->found, score);
    bool ok = lp_rescore(v, score, member);
    zval_keep(v);
    return ok;
}

bool zval_remove(struct zval *v, struct span member)
{
    if (v->z) {
        struct zset_member *m = zset_find(v->z, member);
        if (m)
            zset_remove(v->z, m);
        return m != NULL;
    }
    uint8_t *at = lp_find_member(v, member);
    if (!at)
        return false;
    lp_delete(&v->shard->mem, &v->lp, at, 2);
    zval_keep(v);
    return true;
}

void zval_remove_ranks(struct zval *v, size_t rank, size_t n)
{
    if (v->z) {
        zset_remove_ranks(v->z, rank, n);
    } else if (n) {
        lp_delete(&v->shard->mem, &v->lp, lp_seek(&v->lp, (int64_t)rank * 2), n * 2);
        zval_keep(v);
    }
}

bool zval_store(struct cmd *c, const struct keyref *k, struct zval *v, const char *event)
{
    struct mem_block b = v->z ? (struct mem_block){(uint8_t *)v->z, 0, 0} : v->lp;
    if (!zval_count(v)) {
        zval_discard(v);
        if (ks_delete(k->shard, c->db, keyref_peek(c, k), k->hash,
                      c->host->config->lazyfree_user_del))
            keyref_changed(c, k, KS_GENERIC, "del");
        return true;
    }
    v->e = ks_set_object(k->shard, c->db, k->key, k->hash, OBJ_ZSET,
                         v->z ? ENC_SKIPLIST : ENC_LISTPACK, &b, KS_NO_TTL);
    if (!v->e) {
        zval_discard(v);
        cmd_reply_oom(c);
        return false;
    }
    keyref_changed(c, k, KS_ZSET, event);
    return true;
}

void zval_removed(struct cmd *c, const struct keyref *k, struct zval *v, const char *event)
{
    keyref_changed(c, k, KS_ZSET, event);
    if (zval_count(v))
        return;
    ks_delete(k->shard, c->db, v->e, k->hash, false);
    keyref_changed(c, k, KS_GENERIC, "del");
}
