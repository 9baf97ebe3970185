/* bridge: control's end of the link's rings, inside the event loop.
 *
 * Every turn of the loop takes what the workers sent and hands each message to `message`, lengths of the fixed part checked. Before
 * the loop blocks, the bell is armed and the rings are looked at once more; a worker that publishes then wakes control through a
 * futex, on which a small thread of the bridge waits (a futex cannot be polled with epoll). So an idle control costs nothing but a
 * few timers, and a busy one is never more than a wake-up away. Should no worker ring, a timer looks every BRIDGE_IDLE_MS.
 *
 * Sending never waits: a full ring is answered with false, and bridge_want_room makes `room` be called later.
 * Thread: the main thread, but for bell_main. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "engine/base/bytes.h"
#include "engine/link/link.h"
#include "engine/link/msg.h"

#define BRIDGE_IDLE_MS 20
#define BRIDGE_ROOM_MS 1
#define BRIDGE_BATCH \
    256 /* messages of one worker in one turn, so that sockets and timers get theirs */

struct bridge_ops {
    void (*message)(void *ctx, uint32_t worker, uint32_t type, struct span payload);
    void (*room)(void *ctx, uint32_t worker);
    void (*damaged)(void *ctx, uint32_t worker); /* messages of this worker were lost */
    void (*renewed)(
        void *ctx); /* the dataplane began anew: nothing of before is answered any more */
};

struct bridge {
    struct link *link;
    const struct bridge_ops *ops;
    void *ctx;
    uint32_t workers;
    bool room_wanted[LIMIT_WORKERS], any_room_wanted;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t timer;
    uv_async_t bell;
    uv_thread_t thread;
    bool thread_runs, stop;
};

int bridge_open(struct bridge *b, uv_loop_t *loop, struct link *link, const struct bridge_ops *ops,
                void *ctx);
/* Stops the thread and closes the handles; run the loop once more before the memory goes. */
void bridge_close(struct bridge *b);

/* Header and body as one record. False: no room. */
bool bridge_send(struct bridge *b, uint32_t worker, uint32_t type, const void *head,
                 uint32_t head_len, const void *body, uint32_t body_len);
/* Room for a record to be filled in place; follow with ring_publish on bridge_ring. */
static inline struct ring *bridge_ring(struct bridge *b, uint32_t worker)
{
    return link_to_worker(b->link, worker);
}
void bridge_want_room(struct bridge *b, uint32_t worker);
/* A message that lies: counted, and told in the log at most once a second. */
void bridge_bad(struct bridge *b, uint32_t worker, uint32_t type, const char *why);
