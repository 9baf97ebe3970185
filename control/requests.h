/* requests: commands that the workers route to control. MSG_ADMIN_REQUEST -> checks -> admin_execute (INFO, CONFIG) or SHUTDOWN ->
 * reply in chunks of at most LIMIT_LINK_MSG_BYTES, the last flagged, in order, waiting here while the worker's ring is full.
 * A reply is sent after the command has run, so what CONFIG SET published is in the link before its client hears of it.
 * Thread: the main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "control/admin/admin.h"
#include "control/bridge.h"
#include "control/store/store.h"

struct requests;

struct requests_ops {
    /* Asked for and allowed. False: it is under way already. */
    bool (*shutdown)(void *ctx, uint32_t worker, const struct msg_admin_request *req,
                     enum store_end how, bool force);
    /* Commands of the store (control/store/store.h). False: it is none. NULL: there is no store. */
    bool (*store)(void *ctx, uint32_t worker, const struct msg_admin_request *req,
                  struct span *argv);
};

struct requests *requests_new(struct bridge *b, struct admin *admin, const struct requests_ops *ops,
                              void *ctx); /* NULL: no memory */
void requests_free(struct requests *r);
void requests_message(struct requests *r, uint32_t worker, struct span payload);
/* The reply to a request that ops->store took, as RESP. */
void requests_answer(struct requests *r, uint32_t worker, uint64_t request, const char *text);
/* It is still at work on it: the worker need not give up. */
void requests_hold(struct requests *r, uint32_t worker, uint64_t request);
void requests_room(struct requests *r, uint32_t worker);
/* The dataplane began anew: nobody waits for these replies any more. */
void requests_drop_all(struct requests *r);
