/* requests: commands that the workers route to control. MSG_ADMIN_REQUEST -> checks -> admin_execute (INFO, CONFIG) or SHUTDOWN ->
 * reply in chunks of at most LIMIT_LINK_MSG_BYTES, the last flagged, in order, waiting here while the worker's ring is full.
 * A reply is sent after the command has run, so what CONFIG SET published is in the link before its client hears of it.
 * Thread: the main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "control/admin/admin.h"
#include "control/bridge.h"

struct requests;

struct requests_ops {
    void (*shutdown)(void *ctx, const struct msg_admin_request *req); /* asked for and allowed */
};

struct requests *requests_new(struct bridge *b, struct admin *admin, const struct requests_ops *ops,
                              void *ctx); /* NULL: no memory */
void requests_free(struct requests *r);
void requests_message(struct requests *r, uint32_t worker, struct span payload);
void requests_room(struct requests *r, uint32_t worker);
/* The dataplane began anew: nobody waits for these replies any more. */
void requests_drop_all(struct requests *r);
