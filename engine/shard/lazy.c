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
static void forget_entry(void *ctx, void *entry)
{
}

void db_free_now(struct shard *s, struct dict *keys, struct dict *expires)
{
    dict_destroy(expires);
    if (keys)
        dict_drain(keys, SIZE_MAX, free_entry, s);
    dict_destroy(keys);
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
    if (!l)
        return 0;
    size_t before = dict_count(l->keys);
    if (before) {
        dict_drain(l->keys, budget, free_entry, s);
        size_t done = before - dict_count(l->keys);
        s->lazy_pending -= done;
        return done;
    }
    size_t expires = l->expires ? dict_count(l->expires) : 0;
    if (expires && !dict_drain(l->expires, budget, forget_entry, NULL))
        return expires - dict_count(l->expires);
    s->lazy_head = l->next;
    dict_destroy(l->keys);
    dict_destroy(l->expires);
    mem_free(&s->mem, l, sizeof(*l));
    return expires + 1;
}
