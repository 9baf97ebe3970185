/* appendonly: the append-only log of a server: its files, what is recovered from them, and when it is written.
 *
 *   new dataplane:  appendonly_plan -> (base RDB: by load.c) -> appendonly_replay -> appendonly_begin -> clients are served
 *   adopted one:    appendonly_adopt: goes on behind the last record that the control before has written
 *   death:          appendonly_down -> the rings are drained -> appendonly_drained -> a new dataplane
 *
 * Workers begin to journal before the first client is served: appendonly_begin waits until all of them say so. Thread: the main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "control/bridge.h"
#include "control/config/config.h"

struct appendonly;

struct appendonly_ops {
    void (*replayed)(void *ctx);
    void (*begun)(void *ctx);  /* every worker journals */
    void (*failed)(void *ctx); /* why was logged; the server is to end */
    void (*publish)(void *ctx);
};

enum appendonly_plan {
    APPENDONLY_OFF,
    APPENDONLY_EMPTY,    /* on, and there is no log yet */
    APPENDONLY_BASE_RDB, /* load that, then appendonly_replay */
    APPENDONLY_LOG,      /* appendonly_replay */
    APPENDONLY_REFUSED
};

/* Before the link is replaced: what a server whose both processes died has left in its rings goes into its log. 0, or -errno (logged): it does not, and
 * would be lost by going on. */
int appendonly_rescue(const struct config *config);

struct appendonly *appendonly_open(uv_loop_t *loop, struct bridge *b, struct config *config,
                                   const struct appendonly_ops *ops, void *ctx);
/* Handles; then run the loop, then appendonly_free. Both take NULL. 0, or -errno (logged): something is left in the link's rings. */
int appendonly_close(struct appendonly *a);
void appendonly_free(struct appendonly *a);

/* `dir` is ours to write into (dir_lock.h). 0 or -errno, logged; -EWOULDBLOCK: another server has it. */
int appendonly_hold(struct appendonly *a, bool patient);

/* Reads the manifest and looks at all files. `base`: path of the base RDB. */
enum appendonly_plan appendonly_plan(struct appendonly *a, char *base, size_t n);
/* Its RDB part is loaded, and was so long: what stands behind it in the same file (Redis 4 to 6, aof-use-rdb-preamble) are commands, the first to be replayed.
 * False: they are damaged; logged. */
bool appendonly_base_loaded(struct appendonly *a, uint64_t rdb_bytes);
void appendonly_replay(struct appendonly *a);
/* A new increment; the dataset is what the log says, or what `rdb` says, which becomes its base (NULL: it is empty). */
void appendonly_begin(struct appendonly *a, const char *rdb);
void appendonly_adopt(struct appendonly *a);
void appendonly_down(struct appendonly *a);
/* A snapshot is written: no-appendfsync-on-rewrite. */
void appendonly_rest_fsync(struct appendonly *a, bool on);
bool appendonly_drained(struct appendonly *a);
void appendonly_config_changed(struct appendonly *a);
/* Every 100 ms: what has become of the disk is logged; `up`: a dataplane has its data, and the log begins or ends as CONFIG SET has it. */
void appendonly_tick(struct appendonly *a, bool up);

bool appendonly_message(struct appendonly *a, uint32_t worker, uint32_t type, struct span payload);
void appendonly_room(struct appendonly *a, uint32_t worker);

struct appendonly_info {
    bool on, loading, write_ok;
    bool begun; /* what comes next is in it, and what was before is on the disk */
    uint64_t current_bytes, base_bytes, loaded_bytes, total_bytes, delayed_fsync, fsyncs;
    uint64_t groups;
    bool rewriting, rewrite_scheduled, rewrite_ok;
    uint64_t rewrites, rewrite_failures;
    int64_t rewrite_took_ms, rewrite_start_ms; /* took: -1: none yet */
};
void appendonly_info(const struct appendonly *a, struct appendonly_info *ret);
