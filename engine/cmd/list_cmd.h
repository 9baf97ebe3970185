/* list_cmd: what the list commands share: a list under its key, opened, changed and put back, and the cores of popping and moving.
 *
 * The cores know no struct cmd: a client that waits for a list (BLPOP and its kin) is served by the same functions, with the reply
 * of that client. */
#pragma once

#include "engine/cmd/keyref.h"
#include "engine/ds/list_value.h"
#include "engine/resp/reply_inline.h"
#include "engine/shard/access_inline.h"
#include "engine/shard/object.h"

struct list_key {
    struct shard *s;
    uint32_t db;
    struct span key;
    uint64_t hash;
    struct entry *e; /* NULL: no such key, and l is not set */
    struct list_value l;
};

static inline struct ql_limits list_limits(const struct shard *s)
{
    return (struct ql_limits){s->config->list_max_listpack_size, s->config->list_compress_depth};
}
/* What ks_read and ks_write found. False: it is no list. */
static inline bool list_open(struct list_key *lk, const struct keyref *k, uint32_t db,
                             struct entry *e)
{
    lk->s = k->shard;
    lk->db = db;
    lk->key = k->key;
    lk->hash = k->hash;
    lk->e = e;
    if (!e)
        return true;
    if (unlikely_(entry_type_fast(e) != OBJ_LIST))
        return false;
    lk->l = (struct list_value){.mem = &k->shard->mem,
                                .b = object_block(e),
                                .quick = entry_enc_fast(e) == ENC_QUICKLIST,
                                .limits = list_limits(k->shard)};
    return true;
}

/* The entry that the batch has found, when it is that of the key and has no expiry. */
static inline bool list_is_candidate(const struct cmd *c)
{
    const struct entry *e = c->candidate;
    return e && !(e->flags & ENTRY_TTL) && entry_equal(e, c->argv[1]);
}
/* The list under argument 1, for a change. False: WRONGTYPE was written. */
static inline bool list_open_write(struct cmd *c, struct list_key *lk)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = c->candidate;
    if (likely_(list_is_candidate(c)))
        access_write(k.shard, c->db, k.hash, e);
    else
        e = keyref_write(c, &k);
    if (likely_(list_open(lk, &k, c->db, e)))
        return true;
    cmd_reply_wrongtype(c);
    return false;
}
/* The same for reading. */
static inline bool list_open_read(struct cmd *c, struct list_key *lk)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = c->candidate;
    if (likely_(list_is_candidate(c))) {
        k.shard->stats.hits++;
        access_touch(k.shard, e);
    } else {
        e = keyref_read(c, &k);
    }
    if (likely_(list_open(lk, &k, c->db, e)))
        return true;
    cmd_reply_wrongtype(c);
    return false;
}
/* Any other key, for a change. */
static inline bool list_open_at(struct cmd *c, uint32_t i, struct list_key *lk)
{
    struct keyref k = keyref_at(c, i);
    if (list_open(lk, &k, c->db, keyref_write(c, &k)))
        return true;
    cmd_reply_wrongtype(c);
    return false;
}

/* The list was changed: the entry learns where it is now. */
static inline void list_store(struct list_key *lk)
{
    bool was = entry_enc_fast(lk->e) == ENC_QUICKLIST;
    lv_shape(&lk->l);
    if (unlikely_(was != lk->l.quick))
        object_update(lk->e, lk->l.quick ? ENC_QUICKLIST : ENC_LISTPACK, &lk->l.b);
    else if (!was)
        object_set_block(lk->e, &lk->l.b);
}
/* Elements were removed: stores what is left, tells of `event`, and an empty list leaves with its key. */
void list_removed(struct list_key *lk, const char *event);
/* The direction that an argument names. False: a syntax error was written. */
bool list_arg_where(struct cmd *c, uint32_t i, bool *tail);
/* numkeys key ... LEFT|RIGHT [COUNT n] from argument `first` on. False: the error was written. */
bool list_mpop_args(struct cmd *c, uint32_t first, uint32_t *keys, bool *tail, int64_t *count);

static inline void list_reply_value(struct reply *out, struct lp_value v)
{
    if (likely_(v.text.p != NULL))
        reply_bulk_inline(out, v.text);
    else
        reply_bulk_int(out, v.number);
}
/* The elements from index `start` on, n of them, which are there; `back`: towards the head. No array header. */
void list_reply_range(struct reply *out, const struct list_value *l, uint64_t start, uint64_t n,
                      bool back);

/* ---- cores ---- */

/* Adds n elements, one after the other, at an end; makes the key if there is none. False: no memory, the list is what it was. */
bool list_push_all(struct list_key *lk, bool tail, const struct span *elements, uint32_t n);
/* Removes an element that is there, or n of them, and writes it or their array, behind `head` (NULL: nothing): an array of two, of which that
 * is the first. False: no memory, nothing was done. */
bool list_pop_one(struct list_key *lk, bool tail, const struct span *head, struct reply *out);
bool list_pop_many(struct list_key *lk, bool tail, uint64_t n, const struct span *head,
                   struct reply *out);
/* Moves an element of `from`, which has one, to an end of `to`, which may be the same list, and writes it. False: no memory, nothing was
 * moved or written. */
bool list_move(struct list_key *from, bool from_tail, struct list_key *to, bool to_tail,
               struct reply *out);
