/* From a key to the handle of its hash and back; fields that are due leave here.
 *
 * Where in the flow: the hash commands -> here -> keyspace. Thread: the lease holder's. */
#include "engine/base/assert.h"
#include "engine/cmd/hash.h"

static struct hash handle(const struct cmd *c, struct shard *s)
{
    const struct engine_config *cfg = c->host->config;
    return (struct hash){.mem = &s->mem,
                         .key = &s->hash_key,
                         .max_entries = cfg->hash_max_listpack_entries,
                         .max_value = cfg->hash_max_listpack_value};
}

static inline __attribute__((always_inline)) bool open_ref(struct cmd *c, struct hash_ref *r)
{
    if (!r->e)
        return true;
    if (unlikely_(entry_type_fast(r->e) != OBJ_HASH)) {
        cmd_reply_wrongtype(c);
        return false;
    }
    r->h = handle(c, r->k.shard);
    r->h.b = object_block(r->e);
    return true;
}

bool hash_read(struct cmd *c, struct hash_ref *r)
{
    r->k = keyref_first(c, 1);
    r->e = keyref_read(c, &r->k);
    return open_ref(c, r);
}

bool hash_write(struct cmd *c, struct hash_ref *r)
{
    r->k = keyref_first(c, 1);
    r->e = keyref_write(c, &r->k);
    return open_ref(c, r);
}

/* ---- expiry ---- */

static inline bool may_be_due(const struct hash_ref *r)
{
    return r->e && !hash_is_packed(&r->h) && !r->k.shard->loading &&
           fieldmap_next_due(hash_map(&r->h)) < r->k.shard->now_ms;
}

void hash_settle(struct cmd *c, struct hash_ref *r, struct hash_fields named)
{
    if (likely_(!may_be_due(r)))
        return;
    struct fieldmap *fm = hash_map(&r->h);
    struct shard *s = r->k.shard;
    for (uint32_t i = named.first; i <= named.last; i += named.step) {
        struct fieldmap_item item;
        uint64_t hash = fieldmap_hash(fm, c->argv[i]);
        if (fieldmap_find(fm, hash, c->argv[i], &item) && item.expire_ms >= 0 &&
            item.expire_ms < s->now_ms)
            field_expire_now(s, c->db, r->k.key, fm, hash, c->argv[i]);
    }
    hash_drop_if_empty(c, r);
}

void hash_settle_all(struct cmd *c, struct hash_ref *r)
{
    if (likely_(!may_be_due(r)))
        return;
    field_timer_purge(r->k.shard, c->db, r->k.key, hash_map(&r->h));
    hash_drop_if_empty(c, r);
}

void hash_drop_if_empty(struct cmd *c, struct hash_ref *r)
{
    if (hash_count(&r->h))
        return;
    ks_delete(r->k.shard, c->db, r->e, r->k.hash, false);
    r->e = NULL;
    keyref_changed(c, &r->k, KS_GENERIC, "del");
}

/* ---- changes ---- */

bool hash_begin(struct cmd *c, struct hash_ref *r, size_t room)
{
    r->h = handle(c, r->k.shard);
    return hash_init(&r->h, room);
}

bool hash_commit(struct cmd *c, struct hash_ref *r)
{
    enum obj_enc enc = hash_is_packed(&r->h) ? ENC_LISTPACK : ENC_HASHTABLE;
    if (r->e) {
        object_update(r->e, enc, &r->h.b);
        return true;
    }
    r->e = ks_set_object(r->k.shard, c->db, r->k.key, r->k.hash, OBJ_HASH, enc, &r->h.b, KS_NO_TTL);
    if (r->e)
        return true;
    hash_free(&r->h);
    return false;
}

void hash_abandon(struct cmd *c, struct hash_ref *r)
{
    if (r->e)
        hash_commit(c, r);
    else if (r->h.b.p)
        hash_free(&r->h);
    cmd_reply_oom(c);
}
