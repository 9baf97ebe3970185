/* What the files of this folder share: making and freeing entries, clocks, lazy free. */
#pragma once

#include "engine/shard/entry_inline.h"
#include "engine/shard/shard.h"

/* ---- entry.c ---- */

/* A value on its way into an entry. */
struct value {
    enum obj_type type;
    enum obj_enc enc;
    bool has_block;
    int64_t number;           /* ENC_INT */
    struct span bytes;        /* other strings, copied */
    struct entry_block block; /* has_block: taken over */
};

/* What a value takes behind the key, and whether `v` goes in as a block. */
size_t value_bytes(const struct value *v);
/* Bytes to ask of mem for such an entry: a whole size class. SIZE_MAX: impossible. */
size_t entry_alloc_bytes(size_t key_n, bool ttl, size_t value_n);
/* A new entry without clock; the block stays the caller's when NULL is returned. expire_ms -1: no expiry, and no room
 * for one. */
struct entry *entry_create(struct mem *mem, struct span key, const struct value *v,
                           int64_t expire_ms);
/* Writes type, encoding and value of `e`, whose allocation has the room. */
void entry_put_value(struct entry *e, const struct value *v);
/* A value of its own, equal to e's; *ret may borrow e's bytes. False: no memory. */
bool entry_copy_value(struct mem *mem, const struct entry *e, struct value *ret);
/* Frees what hangs on the entry (blocks), not the entry. */
void entry_free_value(struct mem *mem, struct entry *e);
/* Frees the allocation of the entry only: its block has moved elsewhere. */
void entry_free_shell(struct mem *mem, struct entry *e);
void entry_free(struct mem *mem, struct entry *e);
/* What the entry asked of mem, without blocks. */
size_t entry_alloc_bytes_of(const struct entry *e);
void entry_set_expire(struct entry *e, int64_t expire_ms);
/* Opens the 8 bytes of an expiry in an allocation that has the room. */
void entry_open_ttl(struct entry *e);

/* ---- clock.c: when and how often an entry is used ---- */

uint32_t clock_initial(const struct shard *s);
void clock_touch(struct shard *s, struct entry *e);
/* For a value that was overwritten: LFU goes on counting, LRU starts now. `e` may be `old`. */
void clock_inherit(struct shard *s, struct entry *e, const struct entry *old);

/* ---- keyspace.c ---- */

/* The dicts of a database, created on first use. NULL: no memory. */
struct dict *db_keys(struct shard *s, uint32_t db);
struct dict *db_expires(struct shard *s, uint32_t db);
/* Takes the entry out, says "expired", frees it. */
void ks_expire_now(struct shard *s, uint32_t db, struct entry *e, uint64_t hash);

/* ---- expire.c, lazy.c: slices of background work; return the entries they touched ---- */

size_t expire_tick(struct shard *s, size_t budget);
size_t lazy_tick(struct shard *s, size_t budget);
/* Takes over both dicts; frees them at once when there is no memory to remember them. */
void lazy_free_db(struct shard *s, struct dict *keys, struct dict *expires);
/* Frees them and all entries now. */
void db_free_now(struct shard *s, struct dict *keys, struct dict *expires);
