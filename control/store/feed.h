/* feed: keys of a file into the workers' load rings, each to its owner. In the flow: load.c cuts them out of the file -> here -> dataplane/conn/load.c.
 *
 * Keys are put together where they will be read, in the ring; a record goes when it is full, or at feed_end. Who finds no room waits by sleeping, as a worker that
 * finds nothing does: each has more than it needs for such a sleep, so neither takes the other's processor. Thread: load.c's. */
#pragma once

#include "engine/link/link.h"
#include "engine/link/msg.h"
#include "engine/log/rdb_file.h"

struct feed;

/* NULL: no memory, or no rings. `stop`: not NULL as soon as nobody wants it any more; waiting then ends. */
struct feed *feed_open(struct link *link, uint64_t id, const char *const *stop);
void feed_close(struct feed *f);

/* Each false: stopped. */
bool feed_begin(struct feed *f);
/* About so many keys come for the database. */
bool feed_sizes(struct feed *f, uint32_t db, uint64_t keys, uint64_t expires);
/* A key of shard i; offset: where it is in the file. */
bool feed_key(struct feed *f, uint32_t i, const struct rdb_item *item, uint32_t db,
              uint64_t offset);
bool feed_end(struct feed *f);
