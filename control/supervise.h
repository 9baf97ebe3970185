/* supervise: the life of the dataplane process.
 *
 *   NONE -> STARTING -> RUNNING -> (dies) -> WAITING (back-off) -> STARTING ...
 *                                \-> STOPPING -> NONE
 *
 * It runs in a session of its own, so that neither Ctrl-C nor the death of control reaches it; a control that comes back adopts the one
 * that lives. Whether it lives is asked of the link's lock, which no reused process id can fake. A start that never
 * reached RUNNING and ended by itself, the first time, is a mistake of configuration: control ends with it (`failed`).
 * Thread: the main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "control/bridge.h"
#include "control/config/config.h"

#define SUPERVISE_START_MS       60000 /* to RUNNING */
#define SUPERVISE_STOP_MS        5000  /* from SIGTERM to SIGKILL */
#define SUPERVISE_BACKOFF_MS     100   /* first wait; doubles */
#define SUPERVISE_BACKOFF_MAX_MS 10000
#define SUPERVISE_STEADY_MS      30000 /* a life this long makes the next wait short again */

struct supervise;

struct supervise_ops {
    void (*up)(void *ctx, bool adopted);
    void (*down)(void *ctx, const char *why);   /* will be started again */
    void (*failed)(void *ctx, const char *why); /* will not */
    void (*stopped)(void *ctx);                 /* after supervise_stop */
    bool (*ready)(void *ctx);                   /* the next one may be started; NULL: always */
    void (*spawning)(void *ctx,
                     bool begins); /* around its fork: it inherits from this thread; may be NULL */
};

/* `dir`: where control's own executable is. NULL: out of memory, or no barewire-dataplane found (err). */
struct supervise *supervise_new(uv_loop_t *loop, struct bridge *b, const struct config_dataplane *c,
                                const char *dir, const struct supervise_ops *ops, void *ctx,
                                char *err, size_t err_len);
/* Adopts a living dataplane, or starts one. */
void supervise_start(struct supervise *s);
/* Asks it to end, then makes it; `stopped` follows. A second call does not wait. */
void supervise_stop(struct supervise *s);
/* Makes it end at once; `down` follows, and a new one. */
void supervise_renew(struct supervise *s);
void supervise_close(
    struct supervise *s); /* handles; then run the loop once, then supervise_free */
void supervise_free(struct supervise *s);
