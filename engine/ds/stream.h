/* stream: entries in the order of their ids, in listpacks of many; and the groups that read it.
 *
 *   struct stream -> idtree of nodes: first id, listpack      -> groups by name (stream_group.h)
 *
 *   a node's listpack   count | deleted | fields n | field 1 .. field n | 0      the master entry: fields of the first entry
 *                       flags | ms | seq | [n | field] value ... | elements      entries: ids as distance from the node's first id
 *     flags    1: deleted, and counted in `deleted`; 2: fields are those of the master entry, only values follow
 *     elements of the entry before this one, so that it can be walked backwards; 0 ends the master entry
 *
 * The bytes are those of Redis 7.0, and nodes begin where its nodes begin, so that DUMP carries them as they are and trimming by nodes gives the
 * same result. A deleted entry stays where it is until its node goes. What always holds: ids of nodes ascend, ids of entries that
 * are there ascend, lie between that of their node and that of the next, and are not greater than `last`.
 * Functions that fail for want of memory have changed nothing. Thread: the lease holder's. */
#pragma once

#include "engine/base/bytes.h"
#include "engine/ds/idtree.h"
#include "engine/ds/listpack.h"

#define STREAM_ENTRY_MAX_BYTES ((size_t)1 << 30) /* fields and values of an entry */

enum stream_flags { STREAM_DELETED = 1, STREAM_SAME_FIELDS = 2 };

/* The record of the idtree. */
struct stream_node {
    struct stream_id id;
    uint8_t *p; /* a listpack, its length in its header */
    uint32_t cap;
    uint32_t spare;
};

struct stream_group;

/* Groups, or consumers, in the order of their names. */
struct stream_row {
    void **v;
    uint32_t n, cap;
};

struct stream {
    struct mem_count m; /* of all but the groups, this record as well */
    struct idtree nodes;
    uint64_t length;        /* entries that are there */
    uint64_t entries_added; /* ever, by XADD; or what XSETID said */
    struct stream_id first; /* of the first entry that is there; 0-0: none */
    struct stream_id last;  /* the greatest id given, or what XSETID said */
    struct stream_id max_deleted;
    struct stream_row groups;
};

/* When a node is full. 0: no such limit. */
struct stream_limits {
    uint64_t node_bytes;
    int64_t node_entries;
};

/* NULL: no memory. */
struct stream *stream_create(struct mem *mem);
/* Frees about `budget` blocks; true when nothing is left, not even s. */
bool stream_free_slice(struct stream *s, size_t budget, size_t *freed);
struct stream *stream_copy(struct mem *mem, const struct stream *from);
size_t stream_bytes(const struct stream *s);
void stream_rehome(struct stream *s, struct mem *mem);
/* Blocks, as an estimate. */
size_t stream_pieces(const struct stream *s);

/* ---- changes ---- */

/* An entry of n fields, texts being field, value, field, value ...; its id is greater than s->last. False: no memory. */
bool stream_append(struct stream *s, const struct stream_limits *limits, struct stream_id id,
                   const struct span *texts, uint32_t n);
enum stream_deleted { STREAM_GONE, STREAM_NOT_THERE, STREAM_NO_MEMORY };
/* Knows nothing of first and max_deleted: stream_deleted_id. */
enum stream_deleted stream_delete(struct stream *s, struct stream_id id);
/* After entries were removed: finds the first one again. */
void stream_find_first(struct stream *s);

struct stream_trim {
    bool by_id; /* all before `least`; else all but the last `keep` */
    bool nodes; /* whole nodes only */
    uint64_t keep;
    struct stream_id least;
    int64_t limit; /* entries; 0: none */
};
/* Returns how many were removed; those that took memory to be removed, of which there is none, stay. */
uint64_t stream_trim(struct stream *s, const struct stream_trim *t);

/* Takes over a listpack that stream_node_valid has passed, as the last node. False: no memory, and it is the caller's still. */
bool stream_adopt_node(struct stream *s, struct stream_id id, const struct mem_block *lp);

/* ---- bytes from outside ---- */

/* What a node holds. */
struct stream_node_facts {
    uint64_t live;
    struct stream_id first, last; /* of those that are there */
};
/* The listpack is a node of that id through and through. */
bool stream_node_valid(struct span lp, struct stream_id id, struct stream_node_facts *ret);

/* ---- walking ---- */

/* An entry. Its elements begin at `at`: values, with `same` fields; else field, value, field, value ... */
struct stream_entry {
    struct stream_id id;
    const uint8_t *at;
    const uint8_t *master; /* the first field of the master entry */
    uint8_t *flags;
    uint64_t fields;
    bool same;
};

/* Over the entries of an interval of ids that are there, forwards or backwards. Good until the next change of the stream. */
struct stream_walk {
    const struct stream *s;
    struct stream_id from, to;
    struct id_at node, stop; /* stop: the last node to be looked at */
    bool back, check_from, check_to, done;
    /* of the node */
    bool whole; /* all its entries are of the interval: count is right */
    uint64_t count, given;
    struct stream_id base;
    uint8_t *at, *begin, *end; /* begin: the first entry; end: behind the last */
    const uint8_t *master;
    uint64_t master_fields;
    uint64_t skip; /* elements between `at` and the next entry */
};
void stream_walk_init(struct stream_walk *w, const struct stream *s, struct stream_id from,
                      struct stream_id to, bool back);
bool stream_walk_next(struct stream_walk *w, struct stream_entry *ret);
/* How many entries it will still give, `most` at most. */
uint64_t stream_walk_left(const struct stream_walk *w, uint64_t most);
uint64_t stream_count_range(const struct stream *s, struct stream_id from, struct stream_id to,
                            uint64_t most);
/* The walk has been read up to here: it need not go over the elements of the entry again. `at`: behind the last one. */
static inline void stream_walk_passed(struct stream_walk *w, const uint8_t *at)
{
    w->at = (uint8_t *)(uintptr_t)at;
    w->skip = 1;
}
bool stream_has(const struct stream *s, struct stream_id id);
/* The greatest id of an entry that is there; 0-0: there is none. */
struct stream_id stream_last_there(const struct stream *s);

/* The bytes of a node. */
static inline struct mem_block stream_node_block(const struct stream_node *n)
{
    uint32_t len;
    memcpy(&len, n->p, 4);
    return (struct mem_block){n->p, len, n->cap};
}

/* Nodes that Redis's radix tree of the same stream has: XINFO tells them. */
uint64_t stream_radix_nodes(const struct stream *s);
