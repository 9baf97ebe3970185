/* The timing wheel against a model: every entry fires once, at the first tick at or after its time
 * that the wheel is advanced to, in tick order, and wheel_next_ns never promises too much rest. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/wheel.h"
#include "tests/unit/net/check.h"

#define N    512
#define TICK (1ull << WHEEL_TICK_SHIFT)

static uint64_t rng = 1;
static uint64_t rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng % n;
}

struct entry {
    struct wheel_node node;
    uint64_t at_ns; /* 0: not set */
};

static uint64_t some_delay(void)
{
    static const uint64_t scale[] = {TICK, 200 * TICK, 300 * TICK, 70000 * TICK, 10000000 * TICK};
    return 1 + rnd(scale[rnd(5)]);
}

static uint64_t ceil_tick(uint64_t ns)
{
    return (ns + TICK - 1) / TICK * TICK;
}

static void model_run(uint64_t seed)
{
    struct wheel *w = malloc(sizeof(*w));
    struct entry *e = calloc(N, sizeof(*e));
    rng = seed;
    uint64_t now = rnd(1ull << 50);
    wheel_init(w, now);
    for (int i = 0; i < N; i++)
        wheel_node_init(&e[i].node);
    for (int step = 0; step < 4000; step++) {
        struct entry *x = &e[rnd(N)];
        uint64_t op = rnd(10);
        if (op < 5) {
            x->at_ns = now + some_delay();
            wheel_set(w, &x->node, x->at_ns);
        } else if (op < 6) {
            x->at_ns = 0;
            wheel_cancel(w, &x->node);
        } else {
            uint64_t first = UINT64_MAX, next = wheel_next_ns(w);
            uint32_t live = 0;
            for (int i = 0; i < N; i++) {
                live += e[i].at_ns != 0;
                if (e[i].at_ns && ceil_tick(e[i].at_ns) < first)
                    first = ceil_tick(e[i].at_ns);
            }
            assert_int_equal(w->count, live);
            if (live)
                assert_true(next <= first || first <= now + TICK);
            else
                assert_true(next == UINT64_MAX);
            now += op < 9 ? rnd(600 * TICK) : some_delay();
            wheel_advance(w, now);
            uint64_t last = 0;
            for (struct wheel_node *n; (n = wheel_pop(w)) != NULL;) {
                struct entry *f = list_entry(n, struct entry, node);
                assert_true(f->at_ns != 0);
                assert_true(f->at_ns <= now);
                assert_true(n->tick >= last);
                last = n->tick;
                f->at_ns = 0;
            }
            for (int i = 0; i < N; i++) /* nothing that is due is left */
                assert_true(!e[i].at_ns || ceil_tick(e[i].at_ns) > now / TICK * TICK);
        }
    }
    for (int i = 0; i < N; i++)
        wheel_cancel(w, &e[i].node);
    assert_int_equal(w->count, 0);
    assert_true(wheel_next_ns(w) == UINT64_MAX);
    free(e);
    free(w);
}

static void test_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        model_run(seed * 7919);
}

static void test_far_deadline_fires_early(void **state)
{
    (void)state;
    struct wheel *w = malloc(sizeof(*w));
    struct wheel_node n;
    wheel_init(w, 0);
    wheel_node_init(&n);
    wheel_set(w, &n, UINT64_MAX / 2); /* beyond the wheel: comes back early, to be set again */
    wheel_advance(w, (WHEEL_MAX_TICKS - 1) * TICK);
    assert_null(wheel_pop(w));
    wheel_advance(w, WHEEL_MAX_TICKS * TICK);
    assert_ptr_equal(wheel_pop(w), &n);
    free(w);
}

static void test_cancel_while_expired(void **state)
{
    (void)state;
    struct wheel *w = malloc(sizeof(*w));
    struct wheel_node a, b;
    wheel_init(w, 0);
    wheel_node_init(&a);
    wheel_node_init(&b);
    wheel_set(w, &a, TICK);
    wheel_set(w, &b, TICK);
    wheel_advance(w, 2 * TICK);
    assert_ptr_equal(wheel_pop(w), &a);
    wheel_cancel(w, &b); /* a's handler ended b's owner */
    assert_null(wheel_pop(w));
    assert_int_equal(w->count, 0);
    free(w);
}

/* A hundred thousand timers whose coarse slot is reached at once: no advance moves more than its budget,
 * none fires early, none is lost, and the last is late by no more advances than the budget asks for. */
static void test_crowded_slot(void **state)
{
    (void)state;
    enum { CROWD = 100000 };
    struct wheel *w = malloc(sizeof(*w));
    struct wheel_node *n = calloc(CROWD, sizeof(*n));
    uint64_t base = 300000, fired = 0, advances = 0;
    wheel_init(w, 0);
    for (unsigned i = 0; i < CROWD; i++) {
        wheel_node_init(&n[i]);
        wheel_set(w, &n[i], (base + i % 100) * TICK);
    }
    wheel_advance(w, (base - 1000) * TICK);
    assert_null(wheel_pop(w));
    for (uint64_t now = base - 1000; fired < CROWD; now++) {
        wheel_advance(w, now * TICK);
        unsigned popped = 0;
        for (struct wheel_node *e; (e = wheel_pop(w)) != NULL; popped++)
            assert_true(e->tick <= now);
        fired += popped;
        assert_true(popped <= 2 * WHEEL_BUDGET + CROWD / 100); /* and those that stood in place */
        advances++;
        assert_true(advances < 1000 + 100 + 2 * CROWD / WHEEL_BUDGET);
    }
    assert_int_equal(w->count, 0);
    assert_true(advances > CROWD / 2 / WHEEL_BUDGET); /* the budget did bound them */
    free(n);
    free(w);
}

/* A clock that does not advance: while entries wait to be moved on, wheel_next_ns names the present, so
 * wheel_due must be true and the next advance must move some. It was not, and whoever waited by the two
 * spun for ever. */
static void test_crowd_moves_on_while_time_stands(void **state)
{
    (void)state;
    enum { CROWD = 5000 };
    struct wheel *w = malloc(sizeof(*w));
    struct wheel_node *n = calloc(CROWD, sizeof(*n));
    uint64_t slot = 70000 & ~255ull, now_ns = slot * TICK;
    wheel_init(w, 0);
    for (unsigned i = 0; i < CROWD; i++) {
        wheel_node_init(&n[i]);
        wheel_set(w, &n[i], (slot + 40) * TICK);
    }
    unsigned turns = 0;
    for (; wheel_next_ns(w) <= now_ns; turns++) {
        assert_true(turns <= CROWD / WHEEL_BUDGET + 2);
        assert_true(wheel_due(w, now_ns));
        wheel_advance(w, now_ns);
        assert_null(wheel_pop(w));
    }
    assert_true(turns >= CROWD / WHEEL_BUDGET);
    assert_int_equal(wheel_next_ns(w), (slot + 40) * TICK);
    wheel_advance(w, (slot + 40) * TICK);
    unsigned popped = 0;
    for (struct wheel_node *e; (e = wheel_pop(w)) != NULL; popped++)
        assert_int_equal(e->tick, slot + 40);
    assert_int_equal(popped, CROWD);
    free(n);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_far_deadline_fires_early),
        cmocka_unit_test(test_cancel_while_expired),
        cmocka_unit_test(test_crowded_slot),
        cmocka_unit_test(test_crowd_moves_on_while_time_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
