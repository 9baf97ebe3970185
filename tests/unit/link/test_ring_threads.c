/* ring between two threads: ten million records, in order, unharmed. Built with -Db_sanitize=thread it also proves the ordering. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/link/layout.h"
#include "engine/link/ring.h"
#include "tests/unit/unit.h"

#define DATA    65536
#define RECORDS 10000000u

static struct ring_shm *shm;

static uint32_t length_of(uint32_t n)
{
    return n % 1021 == 0 ? 9000 : 5 + n % 29;
}

static void *produce(void *arg)
{
    struct ring *r = arg;
    for (uint32_t n = 0; n < RECORDS;) {
        uint8_t *to = ring_reserve(r, length_of(n));
        if (!to) {
            sched_yield();
            continue;
        }
        memcpy(to, &n, sizeof n);
        to[length_of(n) - 1] = (uint8_t)(n >> 8 | 1);
        ring_publish(r, n & 0xff, length_of(n));
        n++;
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    struct ring prod, cons;
    struct ring_record rec;
    pthread_t t;
    uint32_t n = 0, value, bad = 0;

    shm = aligned_alloc(64, RING_SHM_BYTES(DATA));
    ring_format(shm, DATA, 1);
    assert_int_equal(ring_attach_producer(&prod, shm, DATA), 0);
    assert_int_equal(ring_attach_consumer(&cons, shm, DATA), 0);
    assert_int_equal(pthread_create(&t, NULL, produce, &prod), 0);
    while (n < RECORDS) {
        enum ring_status s = ring_peek(&cons, &rec);
        if (s == RING_EMPTY) {
            sched_yield();
            continue;
        }
        assert_int_equal(s, RING_RECORD);
        memcpy(&value, rec.payload.p, sizeof value);
        if (value != n || rec.payload.n != length_of(n) || rec.type != (n & 0xff) ||
            rec.payload.p[length_of(n) - 1] != (uint8_t)(n >> 8 | 1))
            bad++;
        ring_release(&cons);
        n++;
    }
    pthread_join(t, NULL);
    assert_int_equal(bad, 0);
    assert_int_equal(cons.corrupt, 0);
    assert_int_equal(ring_backlog(&cons), 0);
    free(shm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_two_threads)};
    return cmocka_run_group_tests_name("ring_threads", tests, NULL, NULL);
}
