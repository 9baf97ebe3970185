/* field_timer: when a hash has fields that expire, something must look after it although nobody asks for it.
 *
 *   shard -> heap of timers by time -> { hash (struct fieldmap), key } <-> fieldmap_timer(hash)
 *
 * A hash with fields that have an expiry has one timer; its time is not later than its first field that is due. When it has come, a
 * bounded number of the hash's pages is looked at in each turn; what is due goes ("hexpired", each), and when nothing is left so does the
 * key ("del"). A timer knows the key by a copy: whoever puts a hash under a key binds it (keyspace_string.c does, for COPY, RENAME,
 * MOVE, RESTORE). Exactness does not depend on this: commands do not see fields that are due. Thread: the lease holder's. */
#pragma once

#include "engine/ds/fieldmap.h"
#include "engine/shard/shard.h"

struct field_timer;

/* The hash is under that key now. True when it has a timer or needs none; false: no memory, it will only expire on access. */
bool field_timer_bind(struct shard *s, uint32_t db, struct span key, struct fieldmap *fm);
/* A field got an expiry: the timer is set for it. The hash was bound before. */
void field_timer_earlier(struct fieldmap *fm, int64_t when_ms);
/* The hash is being freed. */
void field_timer_drop(struct fieldmap *fm);
/* Removes what is due in all of the hash, now. */
void field_timer_purge(struct shard *s, uint32_t db, struct span key, struct fieldmap *fm);
/* One field of it is due: takes it out, says "hexpired". */
void field_expire_now(struct shard *s, uint32_t db, struct span key, struct fieldmap *fm,
                      uint64_t field_hash, struct span field);
/* A bounded slice; returns the pages it looked at. */
size_t field_timer_tick(struct shard *s, size_t budget);
/* The heap itself, when the shard ends and all hashes are freed. */
void field_timers_fini(struct shard *s);
size_t field_timers_count(const struct shard *s);
