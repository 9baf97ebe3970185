/* admin: the commands that control answers for the workers: INFO, CONFIG. SHUTDOWN is control's own.
 *
 * A worker sends argv through the link (MSG_ADMIN_REQUEST), control calls admin_execute and sends the RESP bytes back. Statistics are
 * sums over the workers' pages, which only the workers write: RESETSTAT keeps a copy here and subtracts it.
 * Thread: the control process's main thread. Time is an argument. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "control/config/config.h"
#include "control/store/info.h"
#include "engine/base/bytes.h"
#include "engine/link/link.h"
#include "engine/link/msg.h"
#include "engine/resp/reply.h"

struct admin;

struct admin_env {
    struct config *config; /* CONFIG SET changes it and publishes the engine part in the link */
    struct link *link;
    const char *executable, *version; /* barewire_version */
    int64_t start_ms;                 /* unix time at which control started */
    /* After a successful CONFIG SET; may be NULL. Control applies what is its own (loglevel ...). */
    void (*config_changed)(void *ctx, struct config *c);
    void *ctx;
    void (*store)(void *ctx, struct store_info *ret, int64_t now_ms); /* NULL: there is none */
};

struct admin *admin_new(const struct admin_env *env, int64_t now_ms);
void admin_free(struct admin *a);

/* Every 100 ms: samples for instantaneous_*. `now_ms`: unix time. */
void admin_tick(struct admin *a, int64_t now_ms);
/* An offload of the port that the workers have found to fail since this was asked last, in words; or NULL. */
const char *admin_offload_failed(struct admin *a);
/* The link was opened anew: baselines of the old pages are void. (A dataplane that began anew in the same link is seen by itself.) */
void admin_link_changed(struct admin *a, struct link *l);
/* CONFIG RESETSTAT. */
void admin_reset_stats(struct admin *a);

/* Runs INFO or CONFIG; always writes exactly one reply, in out->resp. Control accounts for what it runs here (commandstats,
 * errorstats, total_error_replies): workers do not count the errors in replies that they only pass on. */
void admin_execute(struct admin *a, const struct msg_admin_request *req, struct span *argv,
                   uint32_t argc, struct reply *out, int64_t now_ms);
/* An error reply that control gave by itself elsewhere (SHUTDOWN refused ...): its first word enters errorstats. */
void admin_count_error(struct admin *a, const char *code);
