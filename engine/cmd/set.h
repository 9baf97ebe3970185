/* What the files of set commands share: from a key to the handle of its set and back. */
#pragma once

#include "engine/cmd/keyref.h"
#include "engine/ds/set.h"
#include "engine/resp/reply_inline.h"
#include "engine/shard/object.h"

#define SET_INTS_LIMIT (1u << 30) /* whatever set-max-intset-entries says */

/* A handle without a value, on the memory of that shard. */
static inline struct set set_on(const struct cmd *c, struct shard *s)
{
    uint64_t most = c->host->config->set_max_intset_entries;
    return (struct set){.mem = &s->mem,
                        .key = &s->hash_key,
                        .max_ints = most < SET_INTS_LIMIT ? (size_t)most : SET_INTS_LIMIT};
}

/* The set of an entry of that type. */
static inline struct set set_open(const struct cmd *c, struct shard *s, const struct entry *e)
{
    struct set set = set_on(c, s);
    set.b = object_block(e);
    return set;
}

static inline enum obj_enc set_encoding(const struct set *s)
{
    return set_is_ints(s) ? ENC_INTSET : ENC_HASHTABLE;
}

/* After a change. */
static inline void set_close(struct entry *e, const struct set *s)
{
    object_update(e, set_encoding(s), &s->b);
}

static inline void set_reply_member(struct reply *r, struct set_member *m)
{
    if (m->is_number)
        reply_bulk_int(r, m->number);
    else
        reply_bulk_inline(r, m->text);
}

/* False after a WRONGTYPE error unless e is a set; NULL is fine. */
static inline bool set_check(struct cmd *c, const struct entry *e)
{
    if (!e || entry_type_fast(e) == OBJ_SET)
        return true;
    cmd_reply_wrongtype(c);
    return false;
}

/* Puts a finished set under the key, or deletes the key when it has no members: the event is `event`, or "del" when there was
 * something. Takes the set over and replies the count, or the error when there is no memory. */
void set_store(struct cmd *c, const struct keyref *k, struct set *s, const char *event);
/* All members as a set reply. */
void set_reply_all(struct reply *r, const struct set *s, void (*header)(struct reply *r, size_t n));
/* The set has lost its last member: the key goes, "del". */
void set_drop_key(struct cmd *c, const struct keyref *k, struct entry *e);

static inline uint64_t cmd_draw(void *shard)
{
    return shard_random(shard);
}
