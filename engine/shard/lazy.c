/* lazy.c: whole databases that FLUSHALL ASYNC and its kin left behind, freed in slices by shard_tick.
 *
 * A flushed database is two dicts that nobody can reach any more; the queue holds them until they are empty. The memory
 * counts as used until it is really free. A value of 64 MB is one munmap and needs no slices. Thread: the lease holder's. */
#include "engine/shard/shard_internal.h"

struct list_lazy {
    struct list_lazy *next;
    struct dict *keys, *expires;
};

static void free_entry(void *ctx, void *entry)
{
    struct shard *s = ctx;
    entry_free(&s->mem, entry);
}

void db_free_now(struct shard *s, struct dict *keys, struct dict *expires)
{
    dict_destroy(expires);
    if (keys)
        dict_free_slice(keys, SIZE_MAX, free_entry, s);
}

void lazy_free_db(struct shard *s, struct dict *keys, struct dict *expires)
{
    struct list_lazy *l = mem_alloc(&s->mem, sizeof(*l));
    if (!l) {
        db_free_now(s, keys, expires);
        return;
    }
    *l = (struct list_lazy){s->lazy_head, keys, expires};
    s->lazy_head = l;
    s->lazy_pending += dict_count(keys);
}

size_t lazy_tick(struct shard *s, size_t budget)
{
    struct list_lazy *l = s->lazy_head;
    if (!l || !budget)
        return 0;
    size_t before = s->lazy_pending;
    if (l->keys) {
        s->lazy_pending -= dict_count(l->keys);
        if (dict_free_slice(l->keys, budget, free_entry, s))
            l->keys = NULL;
        else
            s->lazy_pending += dict_count(l->keys);
    } else if (l->expires) {
        if (dict_free_slice(l->expires, budget, NULL, NULL))
            l->expires = NULL;
    }
    if (!l->keys && !l->expires) {
        s->lazy_head = l->next;
        mem_free(&s->mem, l, sizeof(*l));
    }
    return before - s->lazy_pending + 1;
}
