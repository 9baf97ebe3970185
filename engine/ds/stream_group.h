/* stream_group: consumer groups of a stream: what was delivered to whom and is not acknowledged yet.
 *
 *   group: last delivered id, entries read -> pel: (id, consumer, time, deliveries), ordered by id: the record of an entry that waits
 *                                          -> consumers by name: when seen -> pel: ids alone, of which the group's pel has the record
 *
 * Groups and consumers stay where they are until they are destroyed; records of a pel move (idtree.h). Names are ordered as bytes, a prefix
 * first. Functions that fail for want of memory have changed nothing. Thread: the lease holder's. */
#pragma once

#include "engine/ds/stream.h"

#define STREAM_READ_UNKNOWN (-1) /* entries_read */

struct stream_consumer {
    int64_t seen_ms;
    struct idtree pel;
    struct span name; /* behind this record */
};

struct stream_pending {
    struct stream_id id;
    struct stream_consumer *consumer;
    int64_t time_ms; /* of the last delivery */
    uint64_t deliveries;
};

struct stream_group {
    struct mem_count m; /* of all that is its own, this record as well */
    struct stream_id last;
    int64_t entries_read; /* how many of the stream's entries ever it has got */
    struct idtree pel;
    struct stream_row consumers;
    struct span name;
};

static inline struct stream_group *stream_group_at(const struct stream *s, uint32_t i)
{
    return (struct stream_group *)s->groups.v[i];
}
static inline struct stream_consumer *stream_consumer_at(const struct stream_group *g, uint32_t i)
{
    return (struct stream_consumer *)g->consumers.v[i];
}

struct stream_group *stream_group_find(const struct stream *s, struct span name);
/* There is none of that name. NULL: no memory. */
struct stream_group *stream_group_create(struct stream *s, struct span name, struct stream_id last,
                                         int64_t entries_read);
/* Takes it away from s, into a stream of its own to be freed in slices; NULL: it was freed here and now. */
struct stream *stream_group_detach(struct stream *s, struct stream_group *g);

struct stream_consumer *stream_consumer_find(const struct stream_group *g, struct span name);
/* There is none of that name. NULL: no memory. */
struct stream_consumer *stream_consumer_create(struct stream_group *g, struct span name,
                                               int64_t now_ms);
/* With all that waits for it. */
void stream_consumer_destroy(struct stream_group *g, struct stream_consumer *c);
/* The same where much waits for it: its blocks, and those of the group that became empty, into a stream of its own to be freed in slices;
 * NULL: it was done here and now. */
struct stream *stream_consumer_detach(struct stream_group *g, struct stream_consumer *c);

static inline struct stream_pending *stream_pending_find(const struct stream_group *g,
                                                         struct stream_id id)
{
    return (struct stream_pending *)idtree_find(&g->pel, id);
}
static inline struct stream_pending *stream_pending_at(const struct stream_group *g,
                                                       struct id_at at)
{
    return (struct stream_pending *)idtree_record(&g->pel, at);
}
/* The entry waits for c from now on, whether it waited for another before or for none. NULL: no memory. */
struct stream_pending *stream_pending_give(struct stream_group *g, struct stream_id id,
                                           struct stream_consumer *c);
/* False: it does not wait. */
bool stream_pending_remove(struct stream_group *g, struct stream_id id);

/* How many entries there were up to that id, as far as it can be known; STREAM_READ_UNKNOWN. */
int64_t stream_entries_until(const struct stream *s, struct stream_id id);
/* Whether entries behind that id were deleted one by one, so that they cannot be told by counting. */
bool stream_gaps_behind(const struct stream *s, struct stream_id id);
/* An entry was delivered: the group has got on to it. */
void stream_group_delivered(const struct stream *s, struct stream_group *g, struct stream_id id);
