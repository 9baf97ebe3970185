/* rdb_stream: streams as RDB bytes and back, for rdb_save.c and rdb_load.c.
 *
 *   nodes n | n * (id: string of 16 bytes, listpack: string) | length | last id | [first id | greatest deleted id | entries added]
 *   groups n | n * (name | last id | [entries read] | waiting n * (id, ms, deliveries) |
 *                   consumers n * (name | ms seen | [ms active] | waiting n * id))
 *
 * Numbers are lengths, ids in waiting lists 16 bytes big-endian, ms 8 bytes little-endian. STREAM_LISTPACKS (Redis 5) has nothing of what is in
 * brackets, STREAM_LISTPACKS_2 (7.0), which is written, all but ms active, STREAM_LISTPACKS_3 (7.2) all. */
#pragma once

#include "engine/cmd/rdb_object.h"
#include "engine/ds/stream_group.h"

/* The type byte and how many nodes there are. */
void rdb_save_stream_begin(struct rdb_writer *w, const struct stream *s,
                           struct rdb_save_stream *at);
/* What follows, for about `budget` of work. True: done, or failed. */
bool rdb_save_stream_some(struct rdb_writer *w, const struct stream *s, struct rdb_save_stream *at,
                          size_t budget);
/* As rdb_load_object: what is read is checked through and through. */
bool rdb_load_stream(struct rdb_reader *r, struct shard *s, uint8_t type, struct rdb_object *ret);
