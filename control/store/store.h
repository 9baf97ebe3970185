/* store: what the control process keeps on disk: snapshots, and the dataset that a new dataplane begins with.
 *
 *   dataplane up -> dump.rdb, if there is one -> load.c -> MSG_LOADED to all workers       (adopted and whole: nothing to load)
 *   SAVE, BGSAVE, save points, shutdown -> MSG_SNAPSHOT to worker 0 -> save.c -> dump.rdb
 *
 * Files are read and written on threads of save.c and load.c; here nothing waits. Thread: the main thread. Time is unix ms, an argument. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "control/bridge.h"
#include "control/config/config.h"
#include "control/store/info.h"
#include "engine/base/bytes.h"

struct store;

struct store_ops {
    /* The dataplane has a part of the dataset, and nobody knows which: store_down is to follow, and a new one. */
    void (*renew)(void *ctx);
    /* The dataset could not be loaded; why was logged. The server is to end. */
    void (*load_failed)(void *ctx);
    /* The log of a dataplane that serves cannot be gone on with; why was logged. Control is to end, and leave it alone. */
    void (*adopt_failed)(void *ctx);
    /* A reply to an admin request that store_command took; `text` is RESP. */
    void (*reply)(void *ctx, uint32_t worker, uint64_t request, const char *text);
    void (*hold)(void *ctx, uint32_t worker, uint64_t request); /* it is still at work on it */
    /* config->engine was changed: workers are to see it. */
    void (*publish)(void *ctx);
    /* After store_shutdown: false: the snapshot failed and the server must not end. */
    void (*shutdown_ready)(void *ctx, bool may_end);
};

/* NULL: no memory. */
struct store *store_open(uv_loop_t *loop, struct bridge *b, struct config *config,
                         const struct store_ops *ops, void *ctx, int64_t now_ms);
/* Before a dataplane is started. 0, or -EWOULDBLOCK (logged): another server writes into `dir`. */
int store_begin(struct store *s);
/* Ends what is going on; run the loop until its handles are closed, then store_free. Both take NULL. 0, or -errno: the link holds what is not on disk. */
int store_close(struct store *s);
void store_free(struct store *s);

/* A dataplane is there: a new one, or one that control found running. */
void store_up(struct store *s, bool adopted, int64_t now_ms);
void store_down(struct store *s);
void store_message(struct store *s, uint32_t worker, uint32_t type, struct span payload);
/* Every 100 ms. */
void store_tick(struct store *s, int64_t now_ms);
/* SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE. False: not one of these. */
bool store_command(struct store *s, uint32_t worker, const struct msg_admin_request *req,
                   struct span *argv, int64_t now_ms);
void store_config_changed(struct store *s);

enum store_end {
    STORE_END_DEFAULT /* a snapshot if there are save points */,
    STORE_END_SAVE,
    STORE_END_NOSAVE
};
/* The last snapshot, if there is to be one; shutdown_ready follows, perhaps at once. */
void store_shutdown(struct store *s, enum store_end how, int64_t now_ms);

/* Messages of the client that replays the log. False: not one of them. */
bool store_door_message(struct store *s, uint32_t worker, uint32_t type, struct span payload);
void store_room(struct store *s, uint32_t worker);
/* A new dataplane may be started: what the dead one left is on disk. */
bool store_ready(const struct store *s);
/* Before the link is opened: 0, or -errno (logged): it must not be. And before the first configuration is published in it. */
int store_before_link(const struct config *c);
void store_first_config(struct config *c, struct link *l);

void store_info(const struct store *s, struct store_info *ret, int64_t now_ms);
