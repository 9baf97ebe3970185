/* wheel: see wheel.h. Thread: the worker that owns the net. */
#include "dataplane/net/wheel.h"

#include "engine/base/assert.h"

void wheel_init(struct wheel *w, uint64_t now_ns)
{
    *w = (struct wheel){.now = now_ns >> WHEEL_TICK_SHIFT};
    for (int l = 0; l < WHEEL_LEVELS; l++) {
        for (int s = 0; s < WHEEL_SLOTS; s++)
            list_init(&w->slot[l][s]);
    }
    list_init(&w->expired);
    list_init(&w->coarse);
}

void wheel_node_init(struct wheel_node *n)
{
    list_init(&n->link);
    n->tick = 0;
}

static void place(struct wheel *w, struct wheel_node *n)
{
    uint64_t delta = n->tick - w->now;
    int level = delta < WHEEL_SLOTS ? 0 : delta < WHEEL_SLOTS * WHEEL_SLOTS ? 1 : 2;
    unsigned s = (unsigned)(n->tick >> (8 * level)) & (WHEEL_SLOTS - 1);
    list_push_back(&w->slot[level][s], &n->link);
    w->bits[level][s / 64] |= 1ull << (s % 64);
}

void wheel_set(struct wheel *w, struct wheel_node *n, uint64_t at_ns)
{
    if (list_linked(&n->link))
        list_remove(&n->link);
    else
        w->count++;
    uint64_t tick = (at_ns >> WHEEL_TICK_SHIFT) + ((at_ns & ((1u << WHEEL_TICK_SHIFT) - 1)) != 0);
    if (tick <= w->now)
        tick = w->now + 1;
    if (tick - w->now > WHEEL_MAX_TICKS)
        tick = w->now + WHEEL_MAX_TICKS;
    n->tick = tick;
    place(w, n);
}

void wheel_cancel(struct wheel *w, struct wheel_node *n)
{
    if (!list_linked(&n->link))
        return;
    list_remove(&n->link);
    w->count--;
}

/* First set bit at or after `from`, going round; -1 if none. */
static int next_bit(const uint64_t *bits, unsigned from)
{
    for (unsigned i = 0; i <= WHEEL_SLOTS / 64; i++) {
        unsigned word = (from / 64 + i) % (WHEEL_SLOTS / 64);
        uint64_t v = bits[word];
        if (i == 0)
            v &= ~0ull << (from % 64);
        else if (i == WHEEL_SLOTS / 64)
            v &= ~(~0ull << (from % 64));
        if (v)
            return (int)(word * 64 + (unsigned)__builtin_ctzll(v));
    }
    return -1;
}

/* Ticks from w->now to the next slot of the level that may hold something; UINT64_MAX: none. */
static uint64_t ticks_to_next(const struct wheel *w, int level)
{
    unsigned shift = 8 * (unsigned)level;
    uint64_t cur = w->now >> shift;
    int s = next_bit(w->bits[level], (unsigned)(cur + 1) & (WHEEL_SLOTS - 1));
    if (s < 0)
        return UINT64_MAX;
    uint64_t ahead = (((uint64_t)s - cur - 1) & (WHEEL_SLOTS - 1)) + 1;
    return ((cur + ahead) << shift) - w->now;
}

static uint64_t ticks_to_event(const struct wheel *w)
{
    uint64_t min = UINT64_MAX;
    for (int l = 0; l < WHEEL_LEVELS; l++) {
        uint64_t t = ticks_to_next(w, l);
        if (t < min)
            min = t;
    }
    return min;
}

static void cascade(struct wheel *w, int level)
{
    unsigned s = (unsigned)(w->now >> (8 * level)) & (WHEEL_SLOTS - 1);
    w->bits[level][s / 64] &= ~(1ull << (s % 64));
    /* In front of what a farther level has left: due within 134 ms, not within 34 s. */
    list_splice_before(level == 1 ? w->coarse.next : &w->coarse, &w->slot[level][s]);
}

/* Moves what was taken out of coarse slots to its place; what fell due meanwhile has expired. */
static void settle(struct wheel *w, uint32_t *budget)
{
    for (struct list *it; *budget && (it = list_pop_front(&w->coarse)) != NULL; (*budget)--) {
        struct wheel_node *n = list_entry(it, struct wheel_node, link);
        if (n->tick <= w->now)
            list_push_back(&w->expired, it);
        else
            place(w, n);
    }
}

void wheel_advance(struct wheel *w, uint64_t now_ns)
{
    uint64_t target = now_ns >> WHEEL_TICK_SHIFT;
    uint32_t budget = WHEEL_BUDGET;
    settle(w, &budget);
    while (w->now < target) {
        uint64_t step = w->count ? ticks_to_event(w) : UINT64_MAX;
        if (step > target - w->now) {
            /* Nothing falls due on the way and no occupied coarse slot is entered. */
            w->now = target;
            break;
        }
        w->now += step;
        if ((w->now & 0xffff) == 0)
            cascade(w, 2);
        if ((w->now & 0xff) == 0)
            cascade(w, 1);
        settle(w, &budget);
        unsigned s = (unsigned)w->now & (WHEEL_SLOTS - 1);
        w->bits[0][s / 64] &= ~(1ull << (s % 64));
        list_splice_before(&w->expired, &w->slot[0][s]);
    }
}

struct wheel_node *wheel_pop(struct wheel *w)
{
    struct list *it = list_pop_front(&w->expired);
    if (!it)
        return NULL;
    w->count--;
    return list_entry(it, struct wheel_node, link);
}

uint64_t wheel_next_ns(const struct wheel *w)
{
    if (!list_empty(&w->expired) || !list_empty(&w->coarse))
        return w->now << WHEEL_TICK_SHIFT;
    uint64_t t = w->count ? ticks_to_event(w) : UINT64_MAX;
    return t == UINT64_MAX ? UINT64_MAX : (w->now + t) << WHEEL_TICK_SHIFT;
}
