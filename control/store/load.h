/* load: an RDB file into the workers' shards.
 *
 *   load_start   main thread: attaches the rings, makes the thread
 *   load_main    its thread: reads the file, cuts it into keys, gives each to its owner; expired ones are left out
 *   workers      make the values, all at once; each answers MSG_LOAD_STATE at its end, or at the first key that is wrong
 *   done         main thread: the file is read and every worker has answered
 *
 * The main thread then sends MSG_LOADED, or stops the server: half a dataset is served to nobody. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "engine/base/bytes.h"
#include "engine/link/link.h"
#include "engine/link/msg.h"

struct load;

struct load_config {
    struct link *link;
    uint64_t id;
    const char *path; /* copied */
    bool check;       /* the checksum */
    uint32_t databases;
    int64_t now_ms; /* keys that expired before it are left out */
};

struct load_result {
    bool failed;
    char error[500]; /* with the place in the file, and what mends it */
    uint64_t keys, expired, empty_skipped, bytes;
    uint64_t rdb_bytes; /* the file's length, as its own end has it: something may follow */
    uint32_t functions, modules; /* that were left out */
};

struct load_progress {
    uint64_t bytes, bytes_total, keys;
    uint64_t used_mem; /* of whoever wrote the file, as it says; 0: it does not */
};

/* NULL: no memory or thread. */
struct load *load_start(uv_loop_t *loop, const struct load_config *c,
                        void (*done)(void *ctx, const struct load_result *r), void *ctx);
/* MSG_LOAD_STATE of a worker. */
void load_message(struct load *l, uint32_t worker, struct span payload);
/* Ends it; `done` is not called, and it is freed by itself. */
void load_abandon(struct load *l);
struct load_progress load_progress(const struct load *l);
void load_free(struct load *l); /* after done; the handle's closing frees it */
