/* track: which clients have read which keys of a shard and want to be told when they change (client-side caching).
 *
 * The shard remembers key -> ids of clients, wherever they live; a key is known by its name alone, as in Redis, whatever database it is in. A change
 * takes the key out and keeps it, with its ids, until the command is over: then whoever holds the shard sends the ids to their homes
 * (dataplane/conn/tracking.c). Clients in broadcast mode are no matter of the table: of each change only the name is kept for them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"

struct shard;

/* A key that clients have read; then one that they must forget. */
struct track_key {
    struct track_key *next; /* of its chain, or of the changed ones */
    uint64_t hash;
    uint64_t at; /* notify_step, when it has changed */
    uint64_t *id;
    uint32_t n, cap; /* ids */
    uint32_t *
        index; /* of many ids: a hash of 2 * cap positions plus 1; NULL: they are searched one by one */
    uint32_t len;
    bool broadcast; /* it has changed; false: only the table was full */
    uint8_t bytes[];
};

struct track_table {
    struct track_key **bucket; /* a power of two */
    size_t cap, count;
    uint64_t items; /* ids of all keys */
    struct track_key *changed, **changed_end;
    bool flushed;
    size_t hand; /* where the next key is taken from when there are too many */
};

/* The client has read the key. */
void track_remember(struct shard *s, struct span key, uint64_t client);
/* For listen.c. */
void track_changed(struct shard *s, struct span key);
void track_flushed(struct shard *s);
/* What has changed since it was last taken, oldest first; the caller frees each with track_free. *flushed: all keys of a database are gone. */
struct track_key *track_take(struct shard *s, bool *flushed);
/* The oldest of them alone; there is one. */
struct track_key *track_take_first(struct shard *s);
void track_free(struct track_key *k);
void track_fini(struct shard *s);
