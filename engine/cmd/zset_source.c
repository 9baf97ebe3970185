/* zset_source.c: see zset_source.h. Thread: the holder of the leases. */
#include "engine/cmd/zset_source.h"

bool zset_source_open(struct cmd *c, const struct keyref *k, struct zset_source *ret)
{
    struct entry *e = keyref_read(c, k);
    *ret = (struct zset_source){.weight = 1};
    if (!e)
        return true;
    if (entry_type_fast(e) == OBJ_ZSET) {
        zval_open(&ret->v, k->shard, e);
        ret->count = zval_count(&ret->v);
    } else if (entry_type_fast(e) == OBJ_SET) {
        ret->set =
            (struct set){.b = object_block(e), .mem = &k->shard->mem, .key = &k->shard->hash_key};
        ret->is_set = true;
        ret->count = set_count(&ret->set);
    } else {
        cmd_reply_wrongtype(c);
        return false;
    }
    return true;
}

bool zset_source_find(const struct zset_source *s, struct span member, double *ret)
{
    if (!s->is_set)
        return zval_score(&s->v, member, ret);
    *ret = 1;
    return set_has(&s->set, member);
}

void zset_source_begin(struct zset_source_walk *w, const struct zset_source *s)
{
    w->from = s;
    if (s->is_set)
        set_iter_init(&w->set, &s->set);
    else
        zval_walk_from(&w->zset, &s->v, 0, s->count, false);
}

bool zset_source_next(struct zset_source_walk *w, struct zset_source_item *ret)
{
    struct zval_item i;
    if (w->from->is_set) {
        if (!set_next(&w->set, &ret->set))
            return false;
        ret->member = set_member_text(&ret->set);
        ret->score = 1;
        return true;
    }
    if (!zval_walk_next(&w->zset, &i))
        return false;
    ret->member = zval_item_text(&i, ret->digits);
    ret->score = i.score;
    return true;
}
