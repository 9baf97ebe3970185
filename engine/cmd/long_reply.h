/* long_reply: the elements of a reply that would take more than LIMIT_LONG_REPLY_BYTES, left to be written in parts (engine/shard/held.h).
 *
 * The command writes the head, fills in where it stands and returns; whoever runs it takes shard->held_new (AFTER_HELD says so) and the
 * parts. Only where c->may_hold: in a transaction, a part of a split or under leases the reply is written whole. */
#pragma once

#include "engine/cmd/keyref.h"
#include "engine/cmd/zset_value.h"
#include "engine/ds/hash.h"
#include "engine/ds/quicklist.h"
#include "engine/ds/set.h"
#include "engine/ds/stream.h"
#include "engine/shard/held.h"

#define REPLY_ELEMENT_BYTES 8 /* about what an element takes beside its text */

struct long_reply {
    struct held h;
    union {
        struct { /* LRANGE */
            const struct quicklist *list;
            struct ql_at at;
            size_t at_off; /* in its block, between two parts */
            uint64_t left;
        };
        struct { /* SMEMBERS */
            struct set set;
            struct set_iter members;
        };
        struct { /* HGETALL, HKEYS, HVALS */
            struct hash hash;
            struct hash_iter fields;
            bool with_fields, with_values;
        };
        struct { /* ZRANGE and its kin */
            struct zval zval;
            struct zval_walk walk;
            bool with_scores;
        };
        struct { /* XRANGE and its kin */
            struct stream_walk entries;
            struct stream_entry entry; /* the next one */
            uint64_t entries_left;
        };
        struct span text; /* GET: what is left of it */
    };
};

/* Should the reply of n of the value's `count` elements be left to be written in parts? Then a record of it, begun; else NULL: write it. */
struct long_reply *long_reply_begin(struct cmd *c, struct shard *s, const struct entry *e,
                                    uint64_t n, uint64_t count,
                                    bool (*more)(struct held *h, struct reply *out, size_t budget));
/* The same of a reply of about so many bytes. */
struct long_reply *
long_reply_begin_bytes(struct cmd *c, struct shard *s, const struct entry *e, double bytes,
                       bool (*more)(struct held *h, struct reply *out, size_t budget));
static inline struct long_reply *long_reply_of(struct held *h)
{
    return (struct long_reply *)h;
}
/* GET of a long text. True: it will be written. */
bool long_reply_text(struct cmd *c, struct shard *s, const struct entry *e, struct span text);
