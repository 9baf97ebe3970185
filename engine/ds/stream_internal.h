/* stream_internal.h: what the files of streams share. */
#pragma once

#include "engine/base/assert.h"
#include "engine/ds/listpack_inline.h"
#include "engine/ds/stream.h"
#include "engine/ds/stream_group.h"

static inline struct stream_node *stream_node_at(const struct stream *s, struct id_at at)
{
    return (struct stream_node *)idtree_record(&s->nodes, at);
}
static inline uint8_t *stream_node_end(const struct stream_node *n)
{
    return n->p + lp_load32(n->p) - 1;
}

/* The head of a node. */
struct stream_master {
    uint8_t *count_at, *deleted_at;
    uint64_t count, deleted, fields;
    uint8_t *fields_at, *entries;
};
static inline struct stream_master stream_master_of(const struct stream_node *n)
{
    struct stream_master h;
    h.count_at = n->p + LP_HEADER_BYTES;
    h.deleted_at = lp_skip(h.count_at);
    uint8_t *at = lp_skip(h.deleted_at);
    h.count = (uint64_t)lp_read(h.count_at).number;
    h.deleted = (uint64_t)lp_read(h.deleted_at).number;
    h.fields = (uint64_t)lp_read(at).number;
    h.fields_at = at = lp_skip(at);
    for (uint64_t i = 0; i < h.fields; i++)
        at = lp_skip(at);
    h.entries = lp_skip(at);
    return h;
}

/* Frees the groups; true when there is none. */
bool stream_groups_free_slice(struct stream *s, size_t budget, size_t *freed);
bool stream_groups_copy(struct stream *s, const struct stream *from);
size_t stream_groups_pieces(const struct stream *s);
