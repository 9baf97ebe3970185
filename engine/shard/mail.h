/* mail: single-producer single-consumer ring of pointers between two workers of one process.
 *
 * Writer of `head`: the sending worker; writer of `tail`: the receiving one; each on its own cache line, each side caching the other's
 * index. One release-store publishes everything pushed since the last flush, so a burst costs one shared store. What a pointer means
 * is the dataplane's affair (dataplane/conn/remote.c). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAIL_SLOTS 1024 /* power of two */

struct mail_ring {
    _Alignas(64) uint64_t head;        /* published; writer: producer */
    uint64_t prod_pos, prod_seen_tail; /* producer's own */
    _Alignas(64) uint64_t tail;        /* writer: consumer */
    uint64_t cons_seen_head;           /* consumer's own */
    _Alignas(64) void *slot[MAIL_SLOTS];
};

/* False: full. Not visible before mail_flush. */
static inline bool mail_push(struct mail_ring *r, void *msg)
{
    if (r->prod_pos - r->prod_seen_tail == MAIL_SLOTS) {
        r->prod_seen_tail = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
        if (r->prod_pos - r->prod_seen_tail == MAIL_SLOTS)
            return false;
    }
    r->slot[r->prod_pos++ & (MAIL_SLOTS - 1)] = msg;
    return true;
}

static inline void mail_flush(struct mail_ring *r)
{
    __atomic_store_n(&r->head, r->prod_pos, __ATOMIC_RELEASE);
}

/* NULL: empty. */
static inline void *mail_pop(struct mail_ring *r)
{
    uint64_t t = r->tail; /* own field: no order needed */
    if (t == r->cons_seen_head) {
        r->cons_seen_head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
        if (t == r->cons_seen_head)
            return NULL;
    }
    void *msg = r->slot[t & (MAIL_SLOTS - 1)];
    __atomic_store_n(&r->tail, t + 1, __ATOMIC_RELEASE);
    return msg;
}
