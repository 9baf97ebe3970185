/* bridge: see bridge.h. In the flow: worker ring -> bridge_turn -> door / admin -> bridge_send -> worker ring. */
#include "control/bridge.h"

#include <string.h>

#include "control/log.h"
#include "engine/base/limits.h"

/* Least and, unless open-ended, exact length of what a worker may send. */
static bool length_fits(uint32_t type, size_t n)
{
    switch (type) {
    case MSG_DOOR_REPLY: return n >= sizeof(struct msg_door);
    case MSG_DOOR_CLOSED: return n == sizeof(struct msg_door);
    case MSG_DOOR_ACK: return n == sizeof(struct msg_door_ack);
    case MSG_NEIGH_ASK: return n == sizeof(struct msg_neigh);
    case MSG_LOAD_STATE: return n == sizeof(struct msg_load_state);
    case MSG_ADMIN_REQUEST: return n >= sizeof(struct msg_admin_request);
    default: return false;
    }
}

void bridge_bad(struct bridge *b, uint32_t worker, uint32_t type, const char *why)
{
    static uint64_t last_ms;
    struct link_control *stats = link_control_stats(b->link);
    STAT_INC(stats->bad_messages);
    uint64_t now = uv_now(b->timer.loop);
    if (!last_ms || now - last_ms >= 1000) {
        last_ms = now ? now : 1;
        log_warning("Worker %u sent a message of type %u that was refused: %s (%llu so far)",
                    worker, type, why, (unsigned long long)STAT_GET(stats->bad_messages));
    }
}

/* True: there is more than one batch. */
static bool take(struct bridge *b, uint32_t worker)
{
    struct ring *r = link_from_worker(b->link, worker);
    struct ring_record rec;
    for (int n = 0; n < BRIDGE_BATCH; n++) {
        switch (ring_peek(r, &rec)) {
        case RING_EMPTY: return false;
        case RING_CORRUPT:
            bridge_bad(b, worker, 0, "the ring is damaged; what it held is given up");
            ring_resync(r);
            b->ops->damaged(b->ctx, worker);
            return false;
        case RING_RECORD:
            if (length_fits(rec.type, rec.payload.n))
                b->ops->message(b->ctx, worker, rec.type, rec.payload);
            else
                bridge_bad(b, worker, rec.type, "unknown type or wrong length");
            ring_release(r);
        }
    }
    return true;
}

static void on_idle(uv_idle_t *h)
{
    (void)h; /* its being active keeps the loop from blocking */
}

static bool turn(struct bridge *b)
{
    bool more = false;
    if (link_refresh(b->link))
        b->ops->renewed(b->ctx);
    for (uint32_t i = 0; i < b->workers; i++)
        more |= take(b, i);
    return more;
}

static bool anything_there(struct bridge *b)
{
    for (uint32_t i = 0; i < b->workers; i++)
        if (ring_backlog(link_from_worker(b->link, i)))
            return true;
    return false;
}

/* Last step before the loop blocks: take what is there, arm, look again. */
static void on_prepare(uv_prepare_t *h)
{
    struct bridge *b = h->data;
    bool more = turn(b);
    if (!more) {
        link_bell_arm(b->link);
        more = anything_there(b);
    }
    if (more)
        uv_idle_start(&b->idle, on_idle);
    else
        uv_idle_stop(&b->idle);
}

static void on_check(uv_check_t *h)
{
    struct bridge *b = h->data;
    link_bell_disarm(b->link);
}

static void on_bell(uv_async_t *h)
{
    (void)h; /* waking was all: on_prepare looks */
}

static void on_timer(uv_timer_t *h)
{
    struct bridge *b = h->data;
    if (!b->any_room_wanted)
        return;
    b->any_room_wanted = false;
    for (uint32_t i = 0; i < b->workers; i++) {
        if (!b->room_wanted[i])
            continue;
        b->room_wanted[i] = false;
        b->ops->room(b->ctx, i); /* asks again if it was not enough */
    }
    if (!b->any_room_wanted)
        uv_timer_start(&b->timer, on_timer, BRIDGE_IDLE_MS, BRIDGE_IDLE_MS);
}

void bridge_want_room(struct bridge *b, uint32_t worker)
{
    b->room_wanted[worker] = true;
    if (!b->any_room_wanted)
        uv_timer_start(&b->timer, on_timer, BRIDGE_ROOM_MS, BRIDGE_ROOM_MS);
    b->any_room_wanted = true;
}

bool bridge_send(struct bridge *b, uint32_t worker, uint32_t type, const void *head,
                 uint32_t head_len, const void *body, uint32_t body_len)
{
    struct ring *r = bridge_ring(b, worker);
    uint8_t *to = ring_reserve(r, head_len + body_len);
    if (!to)
        return false;
    if (head_len)
        memcpy(to, head, head_len);
    if (body_len)
        memcpy(to + head_len, body, body_len);
    ring_publish(r, type, head_len + body_len);
    return true;
}

static void bell_main(void *arg)
{
    struct bridge *b = arg;
    uint32_t seen = link_bell_wait(b->link, 0, 0);
    while (!__atomic_load_n(&b->stop, __ATOMIC_ACQUIRE)) {
        uint32_t now = link_bell_wait(b->link, seen, 1000);
        if (now != seen)
            uv_async_send(&b->bell);
        seen = now;
    }
}

int bridge_open(struct bridge *b, uv_loop_t *loop, struct link *link, const struct bridge_ops *ops,
                void *ctx)
{
    *b = (struct bridge){.link = link, .ops = ops, .ctx = ctx, .workers = link_workers(link)};
    int rc = uv_async_init(loop, &b->bell, on_bell); /* the only one that can fail */
    if (rc)
        return rc;
    uv_prepare_init(loop, &b->prepare);
    uv_check_init(loop, &b->check);
    uv_idle_init(loop, &b->idle);
    uv_timer_init(loop, &b->timer);
    b->prepare.data = b->check.data = b->timer.data = b;
    uv_prepare_start(&b->prepare, on_prepare);
    uv_check_start(&b->check, on_check);
    uv_timer_start(&b->timer, on_timer, BRIDGE_IDLE_MS, BRIDGE_IDLE_MS);
    rc = uv_thread_create(&b->thread, bell_main, b);
    b->thread_runs = rc == 0;
    if (rc)
        bridge_close(b);
    return rc;
}

void bridge_close(struct bridge *b)
{
    __atomic_store_n(&b->stop, true, __ATOMIC_RELEASE);
    if (b->thread_runs) {
        link_bell_arm(b->link);
        link_bell_ring(b->link);
        uv_thread_join(&b->thread);
        b->thread_runs = false;
    }
    uv_close((uv_handle_t *)&b->prepare, NULL);
    uv_close((uv_handle_t *)&b->check, NULL);
    uv_close((uv_handle_t *)&b->idle, NULL);
    uv_close((uv_handle_t *)&b->timer, NULL);
    uv_close((uv_handle_t *)&b->bell, NULL);
}
