/* What the files of hash commands share: from a key to the handle of its hash and back. */
#pragma once

#include "engine/cmd/keyref.h"
#include "engine/ds/hash.h"
#include "engine/resp/reply_inline.h"
#include "engine/shard/field_timer.h"
#include "engine/shard/object.h"

/* A hash that a command works on. e == NULL: there is no such key. */
struct hash_ref {
    struct keyref k;
    struct entry *e;
    struct hash h;
};

/* Fields that a command names: arguments first, first + step .. last. */
struct hash_fields {
    uint32_t first, last, step;
};

/* Looks the first key up as a read or a write does. False after a WRONGTYPE error. */
bool hash_read(struct cmd *c, struct hash_ref *r);
bool hash_write(struct cmd *c, struct hash_ref *r);
/* Fields that are due go: those named, or all. Afterwards nobody need think of expiry; r->e may be NULL then. */
void hash_settle(struct cmd *c, struct hash_ref *r, struct hash_fields named);
void hash_settle_all(struct cmd *c, struct hash_ref *r);
/* A handle for a hash that is to be under r's key; packed, not yet in the keyspace. False: no memory. */
bool hash_begin(struct cmd *c, struct hash_ref *r, size_t room);
/* The value changed: brings the entry up to date, or puts a new hash under the key. False: no memory, a new hash is freed. */
bool hash_commit(struct cmd *c, struct hash_ref *r);
/* What failed: a new hash is freed, an old one brought up to date. Writes the error. */
void hash_abandon(struct cmd *c, struct hash_ref *r);
/* When the last field has gone, so does the key: "del". */
void hash_drop_if_empty(struct cmd *c, struct hash_ref *r);

static inline void hash_reply(struct reply *r, const struct lp_value *v)
{
    if (v->text.p)
        reply_bulk_inline(r, v->text);
    else
        reply_bulk_int(r, v->number);
}
