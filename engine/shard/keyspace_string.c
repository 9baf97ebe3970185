/* keyspace_string.c: writing of string values: SET and its kin, APPEND and SETRANGE, COPY.
 *
 * One function (store) puts a value under a key, in place when the allocation that is there will do. It either succeeds
 * or leaves everything as it was: what can fail (allocations, room in the dicts) comes before what changes anything.
 * Thread: the lease holder's. */
#include "engine/base/assert.h"
#include "engine/base/num.h"
#include "engine/shard/field_timer.h"
#include "engine/shard/object.h"
#include "engine/shard/shard_internal.h"
#include "engine/shard/snapshot.h"

#define STRING_MAX \
    (1ull << 40)        /* far above what commands allow: keeps the sums below from overflow */
#define GROW_EMBED  128 /* a resized string beyond this gets a block with room to grow */
#define GROW_DOUBLE (1u << 20) /* up to here growth doubles, beyond it adds as much */

/* A new key, or NULL. */
static struct entry *store_new(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                               const struct value *v, int64_t when)
{
    struct dict *keys = db_keys(s, db), *expires = when >= 0 ? db_expires(s, db) : NULL;
    if (!keys || (when >= 0 && !expires))
        return NULL;
    struct entry *e = entry_create(&s->mem, key, v, when);
    if (!e)
        return NULL;
    if (!dict_insert(keys, hash, e))
        goto free_entry;
    if (expires && !dict_insert(expires, hash, e))
        goto unlink_key;
    clock_begin(s, db, hash, e);
    snapshot_born(s, db, hash, e);
    if (unlikely_(s->listen & LISTEN_NOTIFY))
        notify_note(s, db, key, KS_NEW, "new");
    return e;
unlink_key:
    dict_remove(keys, hash, e);
free_entry:
    entry_free_shell(&s->mem, e);
    return NULL;
}

/* Puts `e` where `old` was, in both dicts; `old` and its expiry leave. False: no memory, nothing changed. */
static inline bool relink(struct shard *s, uint32_t db, uint64_t hash, struct entry *old,
                          struct entry *e, int64_t old_when, int64_t when)
{
    if (when < 0 && old_when < 0) {
        /* nothing to do there */
    } else if (old_when < 0) {
        struct dict *expires = db_expires(s, db);
        if (!expires || !dict_insert(expires, hash, e))
            return false;
    } else if (when < 0) {
        dict_remove(s->db[db].expires, hash, old);
    } else if (e != old) {
        dict_replace(s->db[db].expires, hash, old, e);
    }
    if (e != old)
        dict_replace(s->db[db].keys, hash, old, e);
    return true;
}

static __attribute__((noinline)) struct entry *store_over(struct shard *s, uint32_t db,
                                                          struct span key, uint64_t hash,
                                                          struct entry *old, const struct value *v,
                                                          int64_t when)
{
    int64_t old_when = entry_expire_fast(old);
    bool ttl = old->flags & ENTRY_TTL;
    /* In place: as much room, and a place for the expiry if there is to be one, none if not. */
    size_t have = entry_value_bytes(old), need = value_bytes(v);
    bool watched = unlikely_(old->flags & ENTRY_BLOCK) && snapshot_watches(s);
    if (!watched && ttl == (when >= 0) &&
        (have == need ||
         entry_alloc_bytes(key.n, ttl, need) == entry_alloc_bytes(key.n, ttl, have))) {
        if (ttl && !relink(s, db, hash, old, old, old_when, when))
            return NULL;
        if (unlikely_(old->flags & ENTRY_BLOCK))
            lazy_drop_value(s, old);
        entry_put_value(old, v);
        if (ttl)
            entry_set_expire(old, when);
        clock_inherit(s, old, old);
        return old;
    }
    struct entry *e = entry_create(&s->mem, key, v, when);
    if (!e)
        return NULL;
    if (!relink(s, db, hash, old, e, old_when, when)) {
        entry_free_shell(&s->mem, e);
        return NULL;
    }
    clock_inherit(s, e, old);
    if (watched && snapshot_takes(s, db, hash, old)) {
        snapshot_born(s, db, hash, e);
        return e;
    }
    e->flags |= old->flags & ENTRY_SAVED;
    lazy_drop_entry(s, old);
    return e;
}

/* The entry that is to be overwritten; one whose time has passed leaves first. */
static inline __attribute__((always_inline)) struct entry *find_old(struct shard *s, uint32_t db,
                                                                    struct span key, uint64_t hash)
{
    struct entry *old = db_find(s, db, key, hash);
    if (old && unlikely_(shard_expired(s, old))) {
        ks_expire_now(s, db, old, hash);
        return NULL;
    }
    if (old && !(old->flags & ENTRY_BLOCK)) /* others leave as they are, in store_over */
        snapshot_touch(s, db, hash, old);
    return old;
}

static struct entry *store_at(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                              struct entry *old, const struct value *v, int64_t expire_ms)
{
    int64_t when = expire_ms >= 0                   ? expire_ms
                   : expire_ms == KS_NO_TTL || !old ? -1
                                                    : entry_expire_fast(old);
    return old ? store_over(s, db, key, hash, old, v, when) : store_new(s, db, key, hash, v, when);
}

static struct entry *store(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                           const struct value *v, int64_t expire_ms)
{
    return store_at(s, db, key, hash, find_old(s, db, key, hash), v, expire_ms);
}

/* The common SET, without a struct value: text over embedded text, neither with an expiry, where there is as much room. False:
 * nothing was done. */
static inline bool overwrite_text(struct shard *s, struct entry *old, struct span value)
{
    if ((old->flags & (ENTRY_TTL | ENTRY_BLOCK)) || entry_enc_fast(old) == ENC_INT ||
        entry_type_fast(old) != OBJ_STRING)
        return false;
    struct span key = entry_key_fast(old);
    if (old->value_len != value.n &&
        entry_alloc_bytes(key.n, false, old->value_len) != entry_alloc_bytes(key.n, false, value.n))
        return false;
    old->type_enc = OBJ_STRING | (value.n <= STRING_EMBSTR_MAX ? ENC_EMBSTR << 4 : ENC_RAW << 4);
    old->value_len = (uint16_t)value.n;
    if (value.n)
        memcpy((uint8_t *)(uintptr_t)(key.p + key.n), value.p, value.n);
    clock_inherit(s, old, old);
    return true;
}

static struct entry *set_block_copy(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                                    struct entry *old, struct span value, int64_t expire_ms)
{
    uint8_t *p = mem_alloc(&s->mem, value.n);
    if (!p)
        return NULL;
    memcpy(p, value.p, value.n);
    struct value v = {
        .type = OBJ_STRING, .enc = ENC_RAW, .has_block = true, .block = {p, value.n, value.n}};
    struct entry *e = store_at(s, db, key, hash, old, &v, expire_ms);
    if (!e)
        mem_free(&s->mem, p, value.n);
    return e;
}

static __attribute__((noinline)) struct entry *set_text_at(struct shard *s, uint32_t db,
                                                           struct span key, uint64_t hash,
                                                           struct entry *old, struct span value,
                                                           int64_t expire_ms)
{
    struct value v = {.type = OBJ_STRING,
                      .enc = value.n <= STRING_EMBSTR_MAX ? ENC_EMBSTR : ENC_RAW,
                      .bytes = value};
    return store_at(s, db, key, hash, old, &v, expire_ms);
}

static inline __attribute__((always_inline)) struct entry *set_text(struct shard *s, uint32_t db,
                                                                    struct span key, uint64_t hash,
                                                                    struct span value,
                                                                    int64_t expire_ms)
{
    struct entry *old = find_old(s, db, key, hash);
    if (unlikely_(value.n > ENTRY_EMBED_MAX))
        return set_block_copy(s, db, key, hash, old, value, expire_ms);
    if (likely_(old != NULL) && expire_ms < 0 && overwrite_text(s, old, value))
        return old;
    return set_text_at(s, db, key, hash, old, value, expire_ms);
}

struct entry *ks_set_text(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                          struct span value, int64_t expire_ms)
{
    return set_text(s, db, key, hash, value, expire_ms);
}

static __attribute__((noinline)) struct entry *set_like_number(struct shard *s, uint32_t db,
                                                               struct span key, uint64_t hash,
                                                               struct span value, int64_t expire_ms)
{
    int64_t number;
    if (num_parse_i64(value, &number))
        return ks_set_int(s, db, key, hash, number, expire_ms);
    return ks_set_text(s, db, key, hash, value, expire_ms);
}

struct entry *ks_set(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                     struct span value, int64_t expire_ms)
{
    if (string_like_number(value))
        return set_like_number(s, db, key, hash, value, expire_ms);
    return set_text(s, db, key, hash, value, expire_ms);
}

struct entry *ks_set_int(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                         int64_t value, int64_t expire_ms)
{
    struct value v = {.type = OBJ_STRING, .enc = ENC_INT, .number = value};
    return store(s, db, key, hash, &v, expire_ms);
}

struct entry *ks_set_block(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                           uint8_t *block, size_t len, size_t cap, int64_t expire_ms)
{
    struct value v = {
        .type = OBJ_STRING, .enc = ENC_RAW, .has_block = true, .block = {block, len, cap}};
    return store(s, db, key, hash, &v, expire_ms);
}

/* A hash whose fields expire is under another key now. */
static inline void bind_fields(struct shard *s, uint32_t db, struct span key, const struct value *v)
{
    if (v->type == OBJ_HASH && v->enc == ENC_HASHTABLE)
        field_timer_bind(s, db, key, (struct fieldmap *)(void *)v->block.p);
}

struct entry *ks_set_object(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                            enum obj_type type, enum obj_enc enc, const struct mem_block *b,
                            int64_t expire_ms)
{
    struct value v = {.type = type, .enc = enc, .has_block = true, .block = *b};
    struct entry *e = store(s, db, key, hash, &v, expire_ms);
    if (e)
        bind_fields(s, db, key, &v);
    return e;
}

struct entry *ks_add_object(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                            enum obj_type type, enum obj_enc enc, const struct mem_block *b,
                            int64_t expire_ms)
{
    struct value v = {.type = type, .enc = enc, .has_block = true, .block = *b};
    struct entry *e = store_new(s, db, key, hash, &v, expire_ms);
    if (e)
        bind_fields(s, db, key, &v);
    return e;
}

struct entry *ks_add(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                     struct span value, int64_t expire_ms)
{
    struct value v = {.type = OBJ_STRING, .enc = ENC_INT};
    if (string_like_number(value) && num_parse_i64(value, &v.number))
        return store_new(s, db, key, hash, &v, expire_ms);
    v.enc = value.n <= STRING_EMBSTR_MAX ? ENC_EMBSTR : ENC_RAW;
    v.bytes = value;
    if (value.n > ENTRY_EMBED_MAX)
        return set_block_copy(s, db, key, hash, NULL, value, expire_ms);
    return store_new(s, db, key, hash, &v, expire_ms);
}

struct entry *ks_copy(struct shard *to, uint32_t db, struct span key, uint64_t hash,
                      const struct entry *e, int64_t expire_ms)
{
    struct value v;
    if (!entry_copy_value(&to->mem, e, &v))
        return NULL;
    struct entry *copy = store(to, db, key, hash, &v, expire_ms);
    if (!copy && v.has_block)
        value_free_block(&to->mem, v.type, v.enc, v.block);
    if (copy)
        bind_fields(to, db, key, &v);
    return copy;
}

/* The block of e, which is in `to` already, is on the account of `from`. */
static void change_hands(struct shard *from, struct shard *to, struct entry *e)
{
    struct mem_block b = entry_get_block(e);
    const struct object_ops *ops = object_ops_of(entry_type_fast(e), entry_enc_fast(e));
    if (!ops) {
        mem_adopt(&to->mem, &from->mem, b.cap);
    } else {
        mem_adopt_classes(&to->mem, &from->mem, ops->bytes(&b));
        ops->rehome(&b, &to->mem);
        object_update(e, entry_enc_fast(e), &b);
    }
}

struct entry *ks_move(struct shard *from, uint32_t from_db, struct entry *e, uint64_t from_hash,
                      struct shard *to, uint32_t db, struct span key, uint64_t hash)
{
    int64_t when = entry_expire_fast(e);
    snapshot_touch(from, from_db, from_hash, e);
    if (!(e->flags & ENTRY_BLOCK)) {
        struct entry *copy = ks_copy(to, db, key, hash, e, when);
        if (copy) {
            clock_carry(to, copy, e);
            ks_delete(from, from_db, e, from_hash, false);
        }
        return copy;
    }
    struct value v = {.type = entry_type(e),
                      .enc = entry_enc_fast(e),
                      .has_block = true,
                      .block = entry_get_block(e)};
    struct entry *moved = store(to, db, key, hash, &v, when);
    if (!moved)
        return NULL;
    clock_carry(to, moved, e);
    if (to != from)
        change_hands(from, to, moved);
    bind_fields(to, db, key, &v);
    if (when >= 0)
        dict_remove(from->db[from_db].expires, from_hash, e);
    dict_remove(from->db[from_db].keys, from_hash, e);
    entry_free_shell(&from->mem, e);
    return moved;
}

/* ---- resizing ---- */

/* Greedy, as appends come in rows; exact when there is no memory for that. */
static uint8_t *grow_block(struct shard *s, struct mem_block *b, size_t new_len)
{
    if (new_len > STRING_MAX)
        return NULL;
    size_t cap = mem_size_class(new_len + (new_len < GROW_DOUBLE ? new_len : GROW_DOUBLE));
    uint8_t *p = mem_realloc(&s->mem, b->p, b->cap, cap);
    if (!p)
        p = mem_realloc(&s->mem, b->p, b->cap, cap = new_len);
    if (p) {
        b->p = p;
        b->cap = cap;
    }
    return p;
}

static uint8_t *resize_block(struct shard *s, struct entry *e, size_t new_len)
{
    struct mem_block b = entry_get_block(e);
    if (new_len > b.cap && !grow_block(s, &b, new_len))
        return NULL;
    if (new_len > b.len)
        memset(b.p + b.len, 0, new_len - b.len);
    b.len = new_len;
    struct value v = {.type = OBJ_STRING, .enc = ENC_RAW, .has_block = true, .block = b};
    entry_put_value(e, &v);
    return b.p;
}

uint8_t *ks_string_resize(struct shard *s, uint32_t db, struct entry **entry, uint64_t hash,
                          size_t new_len)
{
    struct entry *e = *entry;
    snapshot_touch(s, db, hash, e);
    if (e->flags & ENTRY_BLOCK)
        return resize_block(s, e, new_len);
    char scratch[NUM_I64_CHARS];
    struct span now = entry_string(e, scratch);
    size_t kept = now.n < new_len ? now.n : new_len;
    uint8_t small[GROW_EMBED];
    struct value v = {.type = OBJ_STRING, .enc = ENC_RAW};
    if (new_len <= GROW_EMBED) {
        v.bytes = span_of(small, new_len);
    } else {
        v.has_block = true;
        v.block.len = new_len;
        if (!grow_block(s, &v.block, new_len))
            return NULL;
    }
    uint8_t *to = v.has_block ? v.block.p : small;
    memcpy(to, now.p, kept);
    memset(to + kept, 0, new_len - kept);
    struct entry *stored = store_over(s, db, entry_key_fast(e), hash, e, &v, entry_expire_fast(e));
    if (!stored) {
        if (v.has_block)
            mem_free(&s->mem, v.block.p, v.block.cap);
        return NULL;
    }
    *entry = stored;
    return v.has_block ? v.block.p : entry_value(stored);
}
