/* stream_read: what XREAD and XREADGROUP give of one stream: the cores that a waiting client is served by, too. */
#pragma once

#include "engine/cmd/stream_cmd.h"

/* One stream of a request. */
struct stream_source {
    struct stream_key key;
    struct stream_group *group; /* XREADGROUP */
    struct stream_id after;
    bool fresh; /* ">": what no consumer of the group was given yet */
};

/* Whether there are entries behind that id. */
bool stream_has_behind(const struct stream *s, struct stream_id id);
/* The key and its entries behind src->after, `most` at most: a pair in RESP2, a key and its value in RESP3. */
void stream_serve(struct reply *out, const struct stream_source *src, uint64_t most);

struct stream_reader {
    struct span consumer;
    uint64_t most;
    bool noack;
    int64_t now_ms;
};
/* What a consumer was given of one stream. */
struct stream_given {
    struct stream_source src;
    struct stream_consumer *consumer;
    /* Fresh ones: n of them, from the first on. */
    struct stream_walk walk;
    struct stream_entry first;
    uint64_t n;
};
enum stream_served { STREAM_SERVED, STREAM_NOTHING, STREAM_OUT_OF_MEMORY };
/* New entries, which wait for the consumer from now on (fewer than there are when memory ends), or those that wait for it already. A consumer is made if
 * there is none of that name. STREAM_OUT_OF_MEMORY: nothing was changed. STREAM_SERVED: stream_give comes next. */
enum stream_served stream_take(const struct stream_source *src, const struct stream_reader *r,
                               struct stream_given *ret);
/* Writes it, as stream_serve does. */
void stream_give(struct reply *out, struct stream_given *g, const struct stream_reader *r);
/* The same of no entry: what a client that waited is told when those that came are gone already. */
void stream_give_none(struct reply *out, const struct stream_source *src,
                      const struct stream_reader *r);
