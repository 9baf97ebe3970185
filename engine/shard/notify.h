/* notify: keyspace notifications (notify-keyspace-events). While a command runs, what it does to keys is noted here; when it is over, whoever
 * holds the shards publishes the notices (dataplane/conn/after.c), in the order in which they were noted, over all shards of a lease. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"

struct shard;

/* Bits of notify-keyspace-events beside the classes of enum ks_class (shard.h). */
enum notify_flags {
    NOTIFY_KEYSPACE = 1 << 0,
    NOTIFY_KEYEVENT = 1 << 1,
    NOTIFY_MODULE = 1 << 13, /* a letter that is understood; there are no modules */
};

struct notices {
    uint8_t *p; /* records of notify.c, one behind the other */
    size_t len, cap, read;
    uint64_t lost; /* for want of memory */
};

/* Listens or not, as the configuration says. */
void notify_configure(struct shard *s);
void notify_fini(struct shard *s);
void notices_fini(struct notices *l);
void notify_note(struct shard *s, uint32_t db, struct span key, uint32_t cls, const char *event);

/* The next step of this thread: what commands do to keys, and what clients must forget, is told in this order. */
uint64_t notify_step(void);

/* The oldest of them; false: none is left. notices_pass: on to the next one. */
struct notice_seen {
    uint64_t at; /* its step */
    uint32_t db, cls;
    const char *event;
    struct span key;
};
bool notices_first(const struct notices *l, struct notice_seen *ret);
void notices_pass(struct notices *l);

/* The oldest notice of the shards held (NULL: not held), as notices_first; whose it is, NULL: none is left. */
struct shard *notify_first(struct shard *const *held, uint32_t count, struct notice_seen *ret);
