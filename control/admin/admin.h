/* admin: the commands that control answers for the workers: INFO, CONFIG. SHUTDOWN is control's own.
 *
 * A worker sends argv through the link (MSG_ADMIN_REQUEST), control calls admin_execute and sends the RESP bytes back. Statistics are
 * sums over the workers' pages, which only the workers write: RESETSTAT keeps a copy here and subtracts it.
 * Thread: the control process's main thread. Time is an argument. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "control/config/config.h"
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
    uint32_t dataplane_restarts; /* kept by control through admin_note_restart */
};

struct admin *admin_new(const struct admin_env *env, int64_t now_ms);
void admin_free(struct admin *a);

/* Every 100 ms: samples for instantaneous_*. `now_ms`: unix time. */
void admin_tick(struct admin *a, int64_t now_ms);
/* The link was opened anew or the dataplane started again: baselines of the old pages are void. */
void admin_link_changed(struct admin *a, struct link *l);
/* A dataplane that died was started again (INFO dataplane_restarts). */
void admin_note_restart(struct admin *a);
/* CONFIG RESETSTAT. */
void admin_reset_stats(struct admin *a);

/* Runs INFO or CONFIG; always writes exactly one reply. `req` tells the client's RESP version, source and address. */
void admin_execute(struct admin *a, const struct msg_admin_request *req, const struct span *argv, uint32_t argc, struct reply *out,
                   int64_t now_ms);
