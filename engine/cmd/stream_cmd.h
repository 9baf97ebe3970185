/* stream_cmd: what the stream commands share: a stream under its key, ids as arguments, entries as replies.
 *
 * What reads (stream_reply_range and the functions of stream_read.h) knows no struct cmd, so that a client that waits for a stream can be
 * served by it. */
#pragma once

#include "engine/cmd/keyref.h"
#include "engine/ds/stream_group.h"
#include "engine/resp/reply_inline.h"
#include "engine/shard/access_inline.h"
#include "engine/shard/object.h"

struct stream_key {
    struct keyref k;
    uint32_t db;
    struct entry *e; /* NULL: no such key, and st is NULL */
    struct stream *st;
};

/* What ks_read and ks_write found. False: WRONGTYPE was written. */
static inline bool stream_open(struct cmd *c, struct stream_key *sk, const struct keyref *k,
                               struct entry *e)
{
    *sk = (struct stream_key){.k = *k, .db = c->db, .e = e};
    if (!e)
        return true;
    if (unlikely_(entry_type_fast(e) != OBJ_STREAM)) {
        cmd_reply_wrongtype(c);
        return false;
    }
    sk->st = (struct stream *)object_ptr(e);
    return true;
}
static inline bool stream_is_candidate(const struct cmd *c, uint32_t i)
{
    const struct entry *e = c->candidate;
    return e && !(e->flags & ENTRY_TTL) && entry_equal(e, c->argv[i]);
}
/* The stream under argument i, the only key, for a change. False: WRONGTYPE was written. */
static inline bool stream_open_write(struct cmd *c, uint32_t i, struct stream_key *sk)
{
    struct keyref k = keyref_first(c, i);
    struct entry *e = c->candidate;
    if (likely_(stream_is_candidate(c, i)))
        access_write(k.shard, c->db, k.hash, e);
    else
        e = keyref_write(c, &k);
    return stream_open(c, sk, &k, e);
}
/* The same for reading. */
static inline bool stream_open_read(struct cmd *c, uint32_t i, struct stream_key *sk)
{
    struct keyref k = keyref_first(c, i);
    struct entry *e = c->candidate;
    if (likely_(stream_is_candidate(c, i))) {
        k.shard->stats.hits++;
        access_touch(k.shard, e);
    } else {
        e = keyref_read(c, &k);
    }
    return stream_open(c, sk, &k, e);
}
static inline void stream_changed(const struct stream_key *sk, enum ks_class cls, const char *event)
{
    ks_changed(sk->k.shard, sk->db, sk->k.key, cls, event);
}
/* Its groups, or what XSETID sets: as in Redis nobody's WATCH and nobody's cache is told. */
static inline void stream_group_changed(const struct stream_key *sk, const char *event)
{
    stream_changed(sk, KS_STREAM | KS_UNSEEN, event);
}
static inline int64_t stream_now_ms(const struct cmd *c)
{
    return c->now_us / 1000;
}
/* Puts an empty stream under the key. NULL: no memory. */
struct stream *stream_put(struct stream_key *sk, struct stream *st);

/* An id as text; `to` has STREAM_ID_CHARS. */
#define STREAM_ID_CHARS 44
struct span stream_id_text(char *to, struct stream_id id);

/* ---- arguments: false: the error was written ---- */

/* An id as Redis reads it: ms, ms-seq; without seq it is `missing`. With `auto_seq` also ms-*, which it tells of. */
bool stream_id_parse(struct span s, uint64_t missing, struct stream_id *ret, bool *auto_seq);
bool stream_arg_id(struct cmd *c, uint32_t i, struct stream_id *ret);
/* An end of an interval: "-", "+", an id, or "(" and an id that does not belong to it. */
bool stream_arg_from(struct cmd *c, uint32_t i, struct stream_id *ret);
bool stream_arg_to(struct cmd *c, uint32_t i, struct stream_id *ret);
/* The ids from argument i to the last one; on c->shard's memory if they are many. */
struct stream_ids {
    struct stream_id *v;
    size_t n, allocated;
    struct stream_id few[8];
};
bool stream_ids_alloc(struct cmd *c, struct stream_ids *ids, size_t n);
void stream_ids_free(struct cmd *c, struct stream_ids *ids);
bool stream_args_ids(struct cmd *c, uint32_t i, struct stream_ids *ids);
/* One character alone, as a C string is compared. */
static inline bool stream_arg_is(struct span s, char ch)
{
    return s.n >= 1 && s.p[0] == (uint8_t)ch && (s.n == 1 || s.p[1] == 0);
}
/* before a between b behind, where a and b are shown as C strings: errors that name a key and a group. */
void stream_reply_named(struct cmd *c, const char *before, struct span a, const char *between,
                        struct span b, const char *behind);
void stream_reply_no_group(struct cmd *c, struct span key, struct span group);
/* What a subcommand says of arguments that it does not understand. */
void stream_reply_bad_sub(struct cmd *c);

/* ---- effects (stream_effect.c) ---- */

/* The entry waits for the consumer as its record says now; where it waits for nobody any more, so does it then. */
void stream_say_pending(const struct stream_key *sk, struct span group, struct span consumer,
                        const struct stream_group *g, struct stream_id id);
/* How far the group is. */
void stream_say_group(const struct stream_key *sk, struct span group, const struct stream_group *g);
void stream_say_consumer(const struct stream_key *sk, struct span group, struct span consumer);

/* ---- replies ---- */

void stream_reply_id(struct reply *out, struct stream_id id);
/* The entry that the walk has just given. Returns about the bytes of its fields and values. */
size_t stream_reply_entry(struct reply *out, struct stream_walk *w, const struct stream_entry *e);
/* The array of n entries: the one that the walk has just given, and those behind it. */
void stream_reply_rest(struct reply *out, struct stream_walk *w, struct stream_entry *e,
                       uint64_t n);
/* The array of the first `most` (not 0) entries of an interval. */
void stream_reply_range(struct reply *out, const struct stream *s, struct stream_id from,
                        struct stream_id to, uint64_t most, bool back);
/* The same of a stream under its key: a long reply's entries are left to be written in parts (long_reply.h), when nothing comes behind them. */
void stream_reply_range_of(struct cmd *c, const struct stream_key *sk, struct stream_id from,
                           struct stream_id to, uint64_t most, bool back);
/* One entry by its id. False: it is not there, nothing was written. */
bool stream_reply_one(struct reply *out, const struct stream *s, struct stream_id id);
