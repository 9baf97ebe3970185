/* What the files of this folder share: making and freeing entries, clocks, lazy free. */
#pragma once

#include "engine/base/assert.h"
#include "engine/ds/dict_inline.h"
#include "engine/shard/entry_inline.h"
#include "engine/shard/shard.h"

/* ---- entry.c ---- */

/* A value on its way into an entry. */
struct value {
    enum obj_type type;
    enum obj_enc enc;
    bool has_block;
    int64_t number;         /* ENC_INT */
    struct span bytes;      /* other strings, copied */
    struct mem_block block; /* has_block: taken over */
};

/* What a value takes behind the key. */
static inline size_t value_bytes(const struct value *v)
{
    if (v->has_block)
        return sizeof(struct mem_block);
    return v->enc == ENC_INT ? sizeof(int64_t) : v->bytes.n;
}
/* A new entry without clock; the block stays the caller's when NULL is returned. expire_ms -1: no expiry, and no room
 * for one. */
struct entry *entry_create(struct mem *mem, struct span key, const struct value *v,
                           int64_t expire_ms);
/* Writes type, encoding and value of `e`, whose allocation has the room. */
static inline void entry_put_value(struct entry *e, const struct value *v)
{
    e->type_enc = (uint8_t)(v->type | v->enc << 4);
    e->flags = (uint8_t)(v->has_block ? e->flags | ENTRY_BLOCK : e->flags & ~ENTRY_BLOCK);
    uint8_t *to = entry_value(e);
    e->value_len = 0;
    if (v->has_block) {
        memcpy(to, &v->block, sizeof(v->block));
    } else if (v->enc == ENC_INT) {
        memcpy(to, &v->number, sizeof(v->number));
    } else {
        ASSERT(v->bytes.n <= ENTRY_EMBED_MAX);
        e->value_len = (uint16_t)v->bytes.n;
        if (v->bytes.n)
            memmove(to, v->bytes.p, v->bytes.n); /* a copy may be onto itself */
    }
}
/* A value of its own, equal to e's; *ret may borrow e's bytes. False: no memory. */
bool entry_copy_value(struct mem *mem, const struct entry *e, struct value *ret);
/* Frees a block that a value of that type and encoding hung on, whole, however large. */
void value_free_block(struct mem *mem, enum obj_type type, enum obj_enc enc, struct mem_block b);
/* Frees what hangs on the entry (blocks), not the entry. */
void entry_free_value(struct mem *mem, struct entry *e);
/* Frees the allocation of the entry only: its block has moved elsewhere. */
void entry_free_shell(struct mem *mem, struct entry *e);
void entry_free(struct mem *mem, struct entry *e);
void entry_set_expire(struct entry *e, int64_t expire_ms);
/* Opens the 8 bytes of an expiry in an allocation that has the room. */
void entry_open_ttl(struct entry *e);

/* ---- strings ---- */

#define STRING_EMBSTR_MAX 44 /* Redis: a longer string is "raw" */
#define STRING_INT_CHARS  20 /* Redis tries no longer string as a number */

/* Can these bytes be a number? Spares most values the attempt. */
static inline bool string_like_number(struct span v)
{
    return v.n - 1 < STRING_INT_CHARS && ((uint8_t)(v.p[0] - '0') <= 9 || v.p[0] == '-');
}

/* ---- clock.c: when and how often an entry is used ---- */

#define LRU_CLOCK_MAX ((1u << 24) - 1)

static inline bool policy_is_lfu(const struct shard *s)
{
    uint32_t policy = s->config->maxmemory_policy;
    return policy == POLICY_ALLKEYS_LFU || policy == POLICY_VOLATILE_LFU;
}
static inline bool policy_is_s3(const struct shard *s)
{
    return s->config->maxmemory_policy == POLICY_ALLKEYS_S3FIFO;
}
/* An access is more than a time (LFU, S3-FIFO). */
static inline bool policy_counts(const struct shard *s)
{
    return (1u << s->config->maxmemory_policy &
            (1u << POLICY_ALLKEYS_LFU | 1u << POLICY_VOLATILE_LFU | 1u << POLICY_ALLKEYS_S3FIFO)) !=
           0;
}
static inline uint32_t lru_now(const struct shard *s)
{
    return (uint32_t)((uint64_t)s->now_ms / 1000) & LRU_CLOCK_MAX;
}
/* Most touches fall into the same second: leave the line clean then. */
static inline void clock_store(struct entry *e, uint32_t clock)
{
    if (clock != entry_clock(e))
        entry_set_clock(e, clock);
}

void clock_count(struct shard *s, struct entry *e);
void clock_begin(struct shard *s, uint32_t db, uint64_t hash, struct entry *e);
/* The entry of another key took over the value of `old`. */
void clock_carry(struct shard *s, struct entry *e, const struct entry *old);

static inline void clock_touch(struct shard *s, struct entry *e)
{
    if (__builtin_expect(policy_counts(s), 0))
        clock_count(s, e);
    else
        clock_store(e, lru_now(s));
}
/* For a value that was overwritten: LFU keeps its count, S3-FIFO its place and counts, LRU starts now. `e` may be `old`. */
static inline void clock_inherit(struct shard *s, struct entry *e, const struct entry *old)
{
    clock_store(e, policy_counts(s) ? entry_clock(old) : lru_now(s));
    if (__builtin_expect(policy_is_s3(s), 0))
        clock_count(s, e);
}

/* Its time has passed. While the log is replayed the log says what expires. */
static inline bool shard_expired(const struct shard *s, const struct entry *e)
{
    return entry_expired(e, s->now_ms) && !s->loading;
}

/* ---- keyspace.c ---- */

/* The dicts of a database, created on first use. NULL: no memory. */
struct dict *db_keys(struct shard *s, uint32_t db);
struct dict *db_expires(struct shard *s, uint32_t db);
/* The entry, expired or not. Inline where a request passes once; it is fifty instructions. */
static inline __attribute__((always_inline)) struct entry *
db_find(const struct shard *s, uint32_t db, struct span key, uint64_t hash)
{
    const struct dict *keys = s->db[db].keys;
    return keys ? dict_find_inline(keys, hash, key, entry_equal) : NULL;
}
/* Takes the entry out, says "expired", frees it. */
/* listen.c: for ks_changed, when s->listen is set. */
void ks_tell(struct shard *s, uint32_t db, struct span key, enum ks_class cls, const char *event);
/* A whole database changed: FLUSHDB, SWAPDB. */
void ks_tell_all(struct shard *s);
/* A field of a hash has gone because its time had come: ks_changed and, in the journal, its name. */
void ks_field_expired(struct shard *s, uint32_t db, struct span key, struct span field);
/* A hash has gone with the last of them, not by a command. */
void ks_key_emptied(struct shard *s, uint32_t db, struct span key);
/* The same of a whole database: it was emptied, or changed places with another. */
void ks_tell_db(struct shard *s, uint32_t db);
void ks_expire_now(struct shard *s, uint32_t db, struct entry *e, uint64_t hash);
/* The same with "evicted". */
void ks_evict_now(struct shard *s, uint32_t db, struct entry *e, uint64_t hash);
/* shard_random, for dict_random. */
uint64_t draw_random(void *shard);
/* Where the database of that id is now. */
static inline uint32_t db_by_id(const struct shard *s, uint32_t id)
{
    uint32_t db = id;
    if (__builtin_expect(s->db[db].id != id, 0))
        for (db = 0; db < LIMIT_DATABASES - 1 && s->db[db].id != id; db++)
            ;
    return db;
}

/* ---- expire.c, lazy.c: slices of background work; return the entries they touched ---- */

size_t expire_tick(struct shard *s, size_t budget);
size_t lazy_tick(struct shard *s, size_t budget);
/* What hangs on the entry is nobody's any more: freed now when it is small, otherwise in slices. The entry itself stays. */
void lazy_drop_value(struct shard *s, struct entry *e);
/* The same, and frees the entry. It is in no dict any more. */
static inline void lazy_drop_entry(struct shard *s, struct entry *e)
{
    if (__builtin_expect(e->flags & ENTRY_BLOCK, 0))
        lazy_drop_value(s, e);
    entry_free_shell(&s->mem, e);
}
/* Takes over both dicts; frees them at once when there is no memory to remember them. */
void lazy_free_db(struct shard *s, struct dict *keys, struct dict *expires);
/* Frees them and all entries now. */
void db_free_now(struct shard *s, struct dict *keys, struct dict *expires);
