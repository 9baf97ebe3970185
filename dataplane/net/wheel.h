/* wheel: hierarchical timing wheel, O(1) add and remove, for one entry per connection.
 *
 *   level 0: 256 slots of 1 tick      level 1: 256 slots of 256 ticks      level 2: 256 of 65,536
 * A tick is 2^19 ns (0.52 ms), so the levels reach 134 ms, 34 s and 2.4 h; later deadlines are
 * clamped, fire early and are set again by their owner. Entries of a coarse slot move down when time
 * reaches its first tick, WHEEL_BUDGET of them an advance: a million keepalive timers in one slot do
 * not stop the loop, they fire a few turns late. A bitmap per level finds the next occupied slot
 * without walking. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/list.h"

#define WHEEL_TICK_SHIFT 19
#define WHEEL_SLOTS      256
#define WHEEL_LEVELS     3
#define WHEEL_MAX_TICKS  ((1u << 24) - WHEEL_SLOTS)
#define WHEEL_BUDGET     128

struct wheel_node {
    struct list link;
    uint64_t tick; /* when it fires */
};

struct wheel {
    uint64_t now; /* tick that was processed last */
    uint32_t count;
    uint64_t bits[WHEEL_LEVELS][WHEEL_SLOTS / 64]; /* may be set for a slot that became empty */
    struct list slot[WHEEL_LEVELS][WHEEL_SLOTS];
    struct list coarse; /* taken out of a coarse slot, not in their place yet */
    struct list expired;
};

void wheel_init(struct wheel *w, uint64_t now_ns);
void wheel_node_init(struct wheel_node *n);
/* Sets or moves the entry. Fires at the first tick at or after `at_ns`, never before. */
void wheel_set(struct wheel *w, struct wheel_node *n, uint64_t at_ns);
void wheel_cancel(struct wheel *w, struct wheel_node *n);
/* Would wheel_advance find time gone by or entries to move on, or wheel_pop an entry? Always true from
 * wheel_next_ns on: who waits for that time makes progress at it. */
static inline bool wheel_due(const struct wheel *w, uint64_t now_ns)
{
    return now_ns >> WHEEL_TICK_SHIFT > w->now || !list_empty(&w->expired) ||
           !list_empty(&w->coarse);
}
/* Moves time on; entries that fell due wait for wheel_pop, in order of their tick but for those that the budget kept back. */
void wheel_advance(struct wheel *w, uint64_t now_ns);
/* The next entry that fell due, removed; NULL when there is none. */
struct wheel_node *wheel_pop(struct wheel *w);
/* A time at or before the next entry's; UINT64_MAX if the wheel is empty. */
uint64_t wheel_next_ns(const struct wheel *w);
