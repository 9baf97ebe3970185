/* ring: records come out as they went in, over many laps; a flipped bit anywhere is found; a producer killed at any step of a publish
 * leaves only whole records, and the next one goes on. ring.c is compiled into this test with its steps named (RING_STEP). */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/link/layout.h"
#include "engine/link/ring.h"
#include "tests/unit/unit.h"

#define DATA 4096

void (*ring_step_hook)(int step);
extern void (*ring_step_hook)(int step);

struct fix {
    struct ring_shm *shm;
    struct ring prod, cons;
};

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof *f);
    f->shm =
        mmap(NULL, RING_SHM_BYTES(DATA), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(f->shm, MAP_FAILED);
    ring_format(f->shm, DATA, 7);
    assert_int_equal(ring_attach_producer(&f->prod, f->shm, DATA), 0);
    assert_int_equal(ring_attach_consumer(&f->cons, f->shm, DATA), 0);
    ring_step_hook = NULL;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;
    munmap(f->shm, RING_SHM_BYTES(DATA));
    free(f);
    return 0;
}

static void fill(uint8_t *p, uint32_t len, uint32_t n)
{
    for (uint32_t i = 0; i < len; i++)
        p[i] = (uint8_t)(n * 31 + i * 7);
}

static void expect(struct fix *f, uint32_t n, uint32_t len)
{
    struct ring_record rec;
    uint8_t want[DATA];
    assert_int_equal(ring_peek(&f->cons, &rec), RING_RECORD);
    assert_int_equal(rec.type, n);
    assert_int_equal(rec.payload.n, len);
    fill(want, len, n);
    assert_memory_equal(rec.payload.p, want, len);
    ring_release(&f->cons);
}

static bool put(struct fix *f, uint32_t n, uint32_t len)
{
    uint8_t *to = ring_reserve(&f->prod, len);
    if (!to)
        return false;
    assert_int_equal((uintptr_t)to & 7, 0);
    fill(to, len, n);
    ring_publish(&f->prod, n, len);
    return true;
}

/* Every length up to half the ring, hundreds of laps, with one to many records in flight. */
static void test_laps(void **state)
{
    struct fix *f = *state;
    struct ring_record rec;
    uint32_t in = 0, out = 0, len[64];
    for (int turn = 0; turn < 20000; turn++) {
        uint32_t l = (uint32_t)(turn * 13) % (DATA / 2 - 23);
        if (in - out < 64 && put(f, in, l)) {
            len[in % 64] = l;
            in++;
        } else {
            assert_true(in != out);
            expect(f, out, len[out % 64]);
            out++;
        }
    }
    for (; out != in; out++)
        expect(f, out, len[out % 64]);
    assert_int_equal(ring_peek(&f->cons, &rec), RING_EMPTY);
    assert_int_equal(f->cons.corrupt, 0);
    assert_int_equal(f->prod.corrupt, 0);
    assert_int_equal(ring_backlog(&f->cons), 0);
}

static void test_full_and_too_long(void **state)
{
    struct fix *f = *state;
    uint32_t n = 0;
    while (put(f, n, 100))
        n++;
    assert_int_equal(n, DATA / (24 + 104));
    assert_int_equal(f->prod.full, 1);
    expect(f, 0, 100);
    expect(f, 1, 100);
    assert_true(put(f, n++, 100));
    for (uint32_t i = 2; i < n; i++)
        expect(f, i, 100);
    assert_null(ring_reserve(&f->prod, DATA / 2));
    assert_true(put(f, 0, DATA / 2 - 24));
}

/* A record is seen again until it is released; one that is written only in part is not seen. */
static void test_peek_is_stable(void **state)
{
    struct fix *f = *state;
    struct ring_record a, b;
    assert_non_null(ring_reserve(&f->prod, 8));
    assert_int_equal(ring_peek(&f->cons, &a), RING_EMPTY);
    assert_true(put(f, 1, 8));
    assert_true(put(f, 2, 9));
    assert_int_equal(ring_peek(&f->cons, &a), RING_RECORD);
    assert_int_equal(ring_peek(&f->cons, &b), RING_RECORD);
    assert_ptr_equal(a.payload.p, b.payload.p);
    expect(f, 1, 8);
    expect(f, 2, 9);
}

/* Each bit of two records and of a wrap marker, one at a time. */
static void test_every_bit(void **state)
{
    struct fix *f = *state;
    struct ring_record rec;
    uint64_t flips = 0;
    for (int wrapped = 0; wrapped < 2; wrapped++) {
        ring_format(f->shm, DATA, 7);
        assert_int_equal(ring_attach_producer(&f->prod, f->shm, DATA), 0);
        assert_int_equal(ring_attach_consumer(&f->cons, f->shm, DATA), 0);
        uint64_t start = 0, marker = 0;
        if (wrapped) { /* leave 40 bytes before the end: the next record of 24 + 48 starts a new lap */
            for (uint64_t at = 0; at < DATA - 64; at = f->prod.pos) {
                uint64_t left = DATA - 40 - at;
                uint32_t len = (uint32_t)(left > 1000 ? 500 : left - 24);
                assert_true(put(f, 9, len));
                expect(f, 9, len);
            }
            assert_int_equal(f->prod.pos, DATA - 40);
            start = f->prod.pos;
            marker = 8;
        }
        assert_true(put(f, 5, 45)); /* three bytes of padding */
        uint64_t len = 24 + 48 + marker;
        for (uint64_t i = 0; i < len * 8; i++) {
            uint64_t byte = i / 8;
            uint64_t at = marker ? (byte < 8 ? start + byte : byte - 8) : byte;
            uint8_t bit = (uint8_t)(1u << (i % 8));
            struct ring view = f->cons;
            f->prod.data[at] ^= bit;
            assert_int_equal(ring_peek(&view, &rec), RING_CORRUPT);
            assert_int_equal(view.corrupt, 1);
            f->prod.data[at] ^= bit;
            flips++;
        }
        expect(f, 5, 45);
    }
    assert_int_equal(flips, (72 + 80) * 8);
}

/* A lie in the consumer's or producer's index is never followed out of the ring, never spun on, and mended by the next publish. */
static void test_bad_indexes(void **state)
{
    struct fix *f = *state;
    struct ring_record rec;
    uint64_t lies[] = {3, 9, DATA + 8, UINT64_MAX, UINT64_MAX - 7, 1ull << 63};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint64_t head = f->shm->head, tail;
        f->shm->head = head + lies[i];
        assert_int_equal(ring_peek(&f->cons, &rec), RING_CORRUPT);
        ring_resync(&f->cons);
        assert_int_equal(ring_peek(&f->cons, &rec), RING_EMPTY);
        assert_true(put(f, 1, 10));
        expect(f, 1, 10);
        tail = f->shm->tail;
        f->shm->tail = tail + lies[i];
        f->prod.peer = f->prod.pos - DATA; /* forces a look */
        if (lies[i] != UINT64_MAX - 7)     /* 8 bytes behind: could be true */
            assert_null(ring_reserve(&f->prod, 10));
        f->shm->tail = tail;
        assert_true(put(f, 2, 10));
        expect(f, 2, 10);
    }
    /* Length that reaches beyond what is published. */
    assert_true(put(f, 3, 10));
    ((struct ring_head *)(f->prod.data + (f->cons.pos & f->cons.mask)))->len = 4000;
    assert_int_equal(ring_peek(&f->cons, &rec), RING_CORRUPT);
    ring_resync(&f->cons);
    assert_int_equal(ring_peek(&f->cons, &rec), RING_EMPTY);
    assert_true(put(f, 4, 10));
    expect(f, 4, 10);
}

static void test_attach_refuses(void **state)
{
    struct fix *f = *state;
    struct ring r;
    assert_int_equal(ring_attach_consumer(&r, f->shm, DATA * 2), -EINVAL);
    f->shm->head = DATA + 8;
    assert_int_equal(ring_attach_consumer(&r, f->shm, DATA), -EINVAL);
    f->shm->head = 4;
    assert_int_equal(ring_attach_producer(&r, f->shm, DATA), -EINVAL);
    f->shm->head = 0;
    f->shm->magic ^= 1;
    assert_int_equal(ring_attach_producer(&r, f->shm, DATA), -EINVAL);
}

/* After a format the views of before see nothing and write nothing. */
static void test_old_generation(void **state)
{
    struct fix *f = *state;
    struct ring_record rec;
    assert_true(put(f, 1, 10));
    ring_format(f->shm, DATA, 8);
    assert_int_equal(ring_peek(&f->cons, &rec), RING_EMPTY);
    assert_null(ring_reserve(&f->prod, 10));
    assert_int_equal(ring_attach_producer(&f->prod, f->shm, DATA), 0);
    assert_int_equal(ring_attach_consumer(&f->cons, f->shm, DATA), 0);
    assert_true(put(f, 2, 10));
    expect(f, 2, 10);
}

static int die_at;

static void die_here(int step)
{
    if (step == die_at)
        kill(getpid(), SIGKILL);
}

/* Fork a producer, kill it at each step (with and without a wrap); the reader sees whole records only, and a new producer goes on. */
static void test_kill_at_each_step(void **state)
{
    struct fix *f = *state;
    struct ring_record rec;
    int killed = 0;
    for (int wrap = 0; wrap < 2; wrap++) {
        for (int step = 0; step <= 7; step++) {
            ring_format(f->shm, DATA, 7);
            assert_int_equal(ring_attach_producer(&f->prod, f->shm, DATA), 0);
            assert_int_equal(ring_attach_consumer(&f->cons, f->shm, DATA), 0);
            memset(f->prod.data, 0xa5, DATA);
            uint32_t before = 0;
            for (; wrap && before < 30;
                 before++) { /* 30 of 128 bytes: 256 left, the next needs 324 */
                assert_true(put(f, before, 104));
                if (before < 20)
                    expect(f, before, 104);
            }
            fflush(NULL);
            pid_t pid = fork();
            if (pid == 0) {
                uint8_t body[300];
                fill(body, sizeof body, 99);
                die_at = step;
                ring_step_hook = die_here;
                ring_send(&f->prod, 99, body, sizeof body);
                _exit(0);
            }
            int status;
            assert_int_equal(waitpid(pid, &status, 0), pid);
            bool died = WIFSIGNALED(status);
            assert_true(died == (wrap || step > 1)); /* steps 0 and 1 are the wrap marker's */
            killed += died;
            for (uint32_t i = wrap ? 20 : 0; i < before; i++)
                expect(f, i, 104);
            if (!died || step == 6) /* published */
                expect(f, 99, 300);
            assert_int_equal(ring_peek(&f->cons, &rec), RING_EMPTY);
            assert_int_equal(f->cons.corrupt, 0);
            assert_int_equal(ring_attach_producer(&f->prod, f->shm, DATA), 0);
            assert_true(put(f, 100, 300));
            assert_true(put(f, 101, 33));
            expect(f, 100, 300);
            expect(f, 101, 33);
            assert_int_equal(ring_peek(&f->cons, &rec), RING_EMPTY);
        }
    }
    assert_int_equal(killed, 14);
}

/* A consumer that dies before it released reads the record again. */
static void test_consumer_takes_over(void **state)
{
    struct fix *f = *state;
    struct ring_record rec;
    assert_true(put(f, 1, 10));
    assert_true(put(f, 2, 20));
    expect(f, 1, 10);
    assert_int_equal(ring_peek(&f->cons, &rec), RING_RECORD);
    assert_int_equal(ring_attach_consumer(&f->cons, f->shm, DATA), 0);
    expect(f, 2, 20);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_laps),           T(test_full_and_too_long), T(test_peek_is_stable),
        T(test_every_bit),      T(test_bad_indexes),       T(test_attach_refuses),
        T(test_old_generation), T(test_kill_at_each_step), T(test_consumer_takes_over),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
