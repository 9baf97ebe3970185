/* save: one snapshot on its way from the workers' rings into a file.
 *
 *   save_start   main thread: attaches the rings, makes the thread; the caller then asks worker 0 for the cut
 *   save_main    its thread: temporary file, header, keys of all workers, checksum, fsync, rename, fsync of the directory
 *   done         main thread, through uv_async
 *
 * Bytes of different workers are put behind each other only where they are whole keys. A temporary file of a save that failed is removed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "engine/link/link.h"
#include "engine/link/msg.h"

struct save;

struct save_config {
    /* On the save's thread: the file stands in its place (`good`) or it failed. False: it has failed now, for the reason written to `error`. NULL: nothing. */
    bool (*finish)(void *ctx, const struct save *s, bool good, char *error, size_t n);
    void *finish_ctx;
    struct link *link;
    uint64_t id;            /* of the snapshot, in MSG_SNAPSHOT */
    const char *dir, *name; /* copied */
    bool checksum, aof_base;
    bool incremental; /* synced as it is written, not all at the end */
    int64_t now_s;
};

enum save_status { SAVE_OK, SAVE_FAILED, SAVE_BUSY /* no cut was made: ask again */ };

struct save_result {
    enum save_status status;
    char error[300];
    uint64_t keys, bytes, early,
        most_bytes; /* most_bytes: of entries written early, in the workers' memory */
    uint64_t dirty; /* changes of all workers before the cut */
    int64_t cut_ms;
    struct msg_snapshot_begin begin[LIMIT_WORKERS];
};

/* NULL: no memory or thread. */
struct save *save_start(uv_loop_t *loop, const struct save_config *c,
                        void (*done)(void *ctx, const struct save_result *r), void *ctx);
/* The dataplane is gone, or the server ends: it fails with `why` (static) soon. */
void save_stop(struct save *s, const char *why);
/* Why it is to end; NULL: it is not. */
const char *save_stopped(const struct save *s);
uint64_t save_keys(const struct save *s); /* written so far, all of them when known */
uint64_t save_keys_total(const struct save *s);
/* After done. The handle closes in the next turns of the loop and frees it. */
void save_free(struct save *s);
