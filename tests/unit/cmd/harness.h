/* harness: drives commands in tests as the dataplane does, without one: one or several shards, clients, a clock that stands still.
 *
 *     struct harness h;
 *     harness_init(&h, 3);                       // a server of 3 shards
 *     EXPECT(&h, "SET k \"a\\r\\n\" EX 10", "+OK\r\n");
 *     harness_advance_ms(&h, 10001);
 *     EXPECT(&h, "GET k", "$-1\r\n");
 *     harness_fini(&h);                          // fails when a shard still holds memory
 *
 * Requests are routed as the table says: a command over one key sees only the shard of that key, a split one runs once per shard and
 * is aggregated, one under leases sees the shards of its keys and no other. */
#pragma once

#include "engine/cmd/command_table.h"
#include "engine/cmd/pubsub.h"
#include "engine/cmd/tracking.h"

#define HARNESS_SHARDS   5
#define HARNESS_SESSIONS 8

struct harness {
    struct engine_config config;
    struct shard shards[HARNESS_SHARDS];
    uint32_t count;
    int64_t now_us;
    struct host host;
    struct pubsub pubsub;
    struct tracking_table tracking;
    uint64_t published; /* messages given to subscribers */
    struct session sessions[HARNESS_SESSIONS];
    bool open[HARNESS_SESSIONS]; /* the first is open from the start */
    struct session *session;     /* who speaks */
    uint64_t requests;
    bool may_hold; /* of its requests; what they leave is in shard->held_new */
    uint64_t calls[CMD_COUNT], usec[CMD_COUNT], rejected[CMD_COUNT], failed[CMD_COUNT];
    uint64_t slept_ms;
    uint32_t errors; /* error replies in the last reply */
    struct reply_heap reply;
};

void harness_init(struct harness *h, uint32_t shards);
void harness_fini(struct harness *h);
void harness_advance_ms(struct harness *h, int64_t ms);
/* Opens another client and lets it speak. */
struct session *harness_connect(struct harness *h);

/* Runs one request line (words, "quoted \x00 \n" or 'quoted' as in redis-cli) and returns the reply, NUL-terminated, valid until the
 * next run. */
const char *harness_run(struct harness *h, const char *line);
struct span harness_runv(struct harness *h, struct span *argv, uint32_t argc);

/* Fails the test, showing both, unless the reply is exactly that. */
void harness_expect(struct harness *h, const char *line, struct span want, const char *file,
                    int at);
#define EXPECT(h, line, want) harness_expect((h), (line), SPAN(want), __FILE__, __LINE__)
