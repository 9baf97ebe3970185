/* lazy.c: what is freed in slices by shard_tick: whole databases that FLUSHALL ASYNC and its kin left behind, and large values.
 *
 * A flushed database is two dicts that nobody can reach any more, a dropped value one block of struct object_ops; the queue holds them
 * until they are empty. The memory counts as used until it is really free. A string of 64 MB is one munmap and needs no slices.
 * Thread: the lease holder's. */
#include "engine/shard/object.h"
#include "engine/shard/shard_internal.h"

struct list_lazy {
    struct list_lazy *next;
    struct dict *keys, *expires;
    enum obj_type type; /* with block.p: a value */
    enum obj_enc enc;
    struct mem_block block;
    uint64_t bytes; /* of s->lazy_bytes */
};

/* Of a database that is freed in slices: its large values become jobs of their own. */
static void drop_entry(void *ctx, void *entry)
{
    lazy_drop_entry(ctx, entry);
}

static void free_entry(void *ctx, void *entry)
{
    struct shard *s = ctx;
    entry_free(&s->mem, entry);
}

static bool push(struct shard *s, struct list_lazy job)
{
    struct list_lazy *l = mem_alloc(&s->mem, sizeof(*l));
    if (!l)
        return false;
    *l = job;
    l->next = s->lazy_head;
    s->lazy_head = l;
    s->lazy_bytes += l->bytes;
    return true;
}

void object_drop(struct shard *s, enum obj_type type, enum obj_enc enc, const struct mem_block *b)
{
    const struct object_ops *ops = object_ops_of(type, enc);
    if (ops && ops->pieces(b) > OBJECT_FREE_NOW_PIECES &&
        push(s, (struct list_lazy){.type = type, .enc = enc, .block = *b, .bytes = ops->bytes(b)}))
        s->lazy_pending++;
    else
        value_free_block(&s->mem, type, enc, *b);
}

void lazy_drop_value(struct shard *s, struct entry *e)
{
    if (!(e->flags & ENTRY_BLOCK))
        return;
    struct mem_block b = entry_get_block(e);
    object_drop(s, entry_type_fast(e), entry_enc_fast(e), &b);
}

void db_free_now(struct shard *s, struct dict *keys, struct dict *expires)
{
    dict_destroy(expires);
    if (keys)
        dict_free_slice(keys, SIZE_MAX, free_entry, s);
}

/* What a database may give back: nobody has counted it, so it has its part by the number of keys. */
static uint64_t db_bytes(const struct shard *s, const struct dict *keys)
{
    uint64_t all = s->mem.used_bytes - (s->lazy_bytes < s->mem.used_bytes ? s->lazy_bytes : 0),
             n = 0;
    for (uint32_t i = 0; i < LIMIT_DATABASES; i++)
        n += ks_count(s, i);
    return (uint64_t)((double)all * (double)dict_count(keys) / (double)(n ? n : 1));
}

void lazy_free_db(struct shard *s, struct dict *keys, struct dict *expires)
{
    if (push(s, (struct list_lazy){.keys = keys, .expires = expires, .bytes = db_bytes(s, keys)}))
        s->lazy_pending += dict_count(keys);
    else
        db_free_now(s, keys, expires);
}

/* Some of the first job; true when it is done. */
static bool lazy_step(struct shard *s, struct list_lazy *l, size_t budget, size_t *work)
{
    if (l->block.p) {
        *work += object_ops_of(l->type, l->enc)->free_slice(&s->mem, &l->block, budget);
        if (l->block.p)
            return false;
        s->lazy_pending--;
        s->stats.lazyfreed++;
    } else if (l->keys) {
        size_t before = dict_count(l->keys), left = 0;
        if (dict_free_slice(l->keys, budget, drop_entry, s))
            l->keys = NULL;
        else
            left = dict_count(l->keys);
        s->lazy_pending -= before - left;
        s->stats.lazyfreed += before - left;
        *work += before - left;
    } else if (l->expires) {
        if (dict_free_slice(l->expires, budget, NULL, NULL))
            l->expires = NULL;
    }
    return !l->keys && !l->expires;
}

size_t lazy_tick(struct shard *s, size_t budget)
{
    struct list_lazy *l = s->lazy_head;
    if (!l || !budget)
        return 0;
    size_t work = 1, used = s->mem.used_bytes;
    uint64_t bytes = s->lazy_bytes;
    s->lazy_head = l->next; /* jobs that this one makes go in front of it */
    bool done = lazy_step(s, l, budget, &work);
    /* what is freed, and what other jobs of it count from now on */
    int64_t less = (int64_t)(used - s->mem.used_bytes + s->lazy_bytes - bytes);
    uint64_t gone = done || less > (int64_t)l->bytes ? l->bytes : less > 0 ? (uint64_t)less : 0;
    l->bytes -= gone;
    s->lazy_bytes -= gone;
    if (done) {
        mem_free(&s->mem, l, sizeof(*l));
        return work;
    }
    struct list_lazy **at = &s->lazy_head;
    while (*at && (*at)->block.p && !l->block.p)
        at = &(*at)->next;
    l->next = *at;
    *at = l;
    return work;
}
