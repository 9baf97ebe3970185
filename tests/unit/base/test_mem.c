/* The shard's arena: size classes, accounting, refusal. */
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/mem.h"
#include "engine/base/mem_ahead.h"
#include "tests/unit/unit.h"

#ifndef BAREWIRE_SANITIZE
#include <jemalloc/jemalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static void size_classes_are_jemallocs(void **state)
{
    for (size_t n = 1; n < 300000; n++)
        assert_int_equal(mem_size_class(n), nallocx(n, 0));
    for (unsigned bit = 18; bit < 40; bit++) {
        for (size_t q = 4; q < 8; q++) {
            size_t n = q << (bit - 2);
            assert_int_equal(mem_size_class(n - 1), nallocx(n - 1, 0));
            assert_int_equal(mem_size_class(n), nallocx(n, 0));
            assert_int_equal(mem_size_class(n + 1), nallocx(n + 1, 0));
        }
    }
}

/* A block is at least as usable as its class says, so the accounting is of real memory. */
static void blocks_are_of_their_class(void **state)
{
    struct mem m;
    assert_int_equal(mem_init(&m), 0);
    for (size_t n = 1; n < 100000; n += n / 3 + 1) {
        void *p = mem_alloc(&m, n);
        assert_int_equal(sallocx(p, 0), mem_size_class(n));
        assert_int_equal(m.used_bytes, mem_size_class(n));
        mem_free(&m, p, n);
    }
    mem_fini(&m);
}
/* A page is given back though the thread that freed it never comes near the allocator again. */
static void pages_are_purged_apart(void **state)
{
    struct mem m;
    assert_int_equal(mem_init(&m), 0);
    char name[64];
    ssize_t soon_ms = 50;
    snprintf(name, sizeof(name), "arena.%u.dirty_decay_ms", m.arena);
    assert_int_equal(mallctl(name, NULL, NULL, &soon_ms, sizeof(soon_ms)), 0);
    size_t n = 32 << 20;
    void *p = mem_alloc(&m, n);
    assert_non_null(p);
    memset(p, 1, n);
    mem_free(&m, p, n);
    /* Late, as its thread would sleep for some seconds if it were there already. */
    assert_int_equal(mem_purge_apart(), 0);
    snprintf(name, sizeof(name), "stats.arenas.%u.pdirty", m.arena);
    size_t pages = 1;
    for (time_t end = time(NULL) + 20; pages && time(NULL) < end; usleep(1000)) {
        uint64_t epoch = 1;
        size_t len = sizeof(epoch);
        assert_int_equal(mallctl("epoch", &epoch, &len, &epoch, len), 0);
        len = sizeof(pages);
        assert_int_equal(mallctl(name, &pages, &len, NULL, 0), 0);
    }
    assert_int_equal(pages, 0);
    mem_fini(&m);
    bool off = false;
    assert_int_equal(mallctl("background_thread", NULL, NULL, &off, sizeof(off)), 0);
}

#define BLOCK 1000

/* `bytes` of blocks, each written; returns the last one, which names the one before it. */
static void **fill(struct mem *m, void **last, size_t bytes, bool look)
{
    for (size_t n = 0; n < bytes; n += BLOCK) {
        void **p = mem_alloc(m, BLOCK);
        assert_non_null(p);
        memset(p, 1, BLOCK);
        *p = last;
        last = p;
        if (look && n % (1000 * BLOCK) == 0)
            mem_ahead_run();
    }
    return last;
}

static void empty(struct mem *m, void **last)
{
    while (last) {
        void **before = *last;
        mem_free(m, last, BLOCK);
        last = before;
    }
    assert_int_equal(m->used_bytes, 0);
}

static bool is_there(void *p)
{
    unsigned char there = 0;
    assert_int_equal(mincore((void *)((uintptr_t)p & ~(uintptr_t)4095), 4096, &there), 0);
    return there & 1;
}

/* What a large mem asks for next is there before it is written for the first time; of a small mem nothing is made. The first test of all: arenas
 * that were made before have no ranges. */
static void pages_are_there_before_they_are_wanted(void **state)
{
    struct mem m;
    void *page = aligned_alloc(4096, 4096);
    if (!page || madvise(page, 4096, 23 /* MADV_POPULATE_WRITE */) < 0)
        skip(); /* older than Linux 5.14 */
    free(page);
    mem_ahead_enable();
    assert_int_equal(mem_init(&m), 0);
    void **last = fill(&m, NULL, AHEAD_FROM_BYTES / 2, true);
    assert_false(mem_ahead_run());
    last = fill(&m, last, 2 * AHEAD_FROM_BYTES, true);
    while (mem_ahead_run()) {
    }
    for (int i = 0; i < 4000; i++) {
        void **p = mem_alloc(&m, BLOCK);
        assert_non_null(p);
        assert_true(is_there(p));
        *p = last;
        last = p;
        if (i % 1000 == 0)
            mem_ahead_run();
    }
    last = fill(&m, last, AHEAD_FROM_BYTES, false); /* nobody looks: it comes as it is touched */
    empty(&m, last);

    /* And so again when all of it was given back. Where one free piece ends and another begins a page comes as it is touched. */
    char name[48];
    snprintf(name, sizeof(name), "arena.%u.purge", m.arena);
    assert_int_equal(mallctl(name, NULL, NULL, NULL, 0), 0);
    last = fill(&m, NULL, 3 * AHEAD_FROM_BYTES / 2, true);
    unsigned absent = 0;
    for (int i = 0; i < 40000; i++) {
        void **p = mem_alloc(&m, BLOCK);
        assert_non_null(p);
        absent += !is_there(p);
        *p = last;
        last = p;
        if (i % 1000 == 0)
            mem_ahead_run();
    }
    assert_in_range(absent, 0, 5); /* of 20 pages of 2 MB */
    empty(&m, last);
    mem_fini(&m);
}

/* As those of a shard that is loaded. */
static void pages_are_there_soon_where_much_is_expected(void **state)
{
    struct mem used, m;
    bool some = false;
    mem_ahead_enable();
    assert_int_equal(mem_init(&used), 0); /* whose arena may have a range of before */
    assert_int_equal(mem_init(&m), 0);
    while (mem_ahead_run()) {
    }
    mem_expect(&m, true);
    void **last = NULL;
    for (size_t n = 0; n < AHEAD_FROM_BYTES / 4; n += AHEAD_SOON_BYTES) {
        last = fill(&m, last, AHEAD_SOON_BYTES, false);
        some |= mem_ahead_run();
    }
    assert_true(some);
    empty(&m, last);
    mem_fini(&m);
    mem_fini(&used);
}
#endif

static void accounting_returns_to_zero(void **state)
{
    struct mem m, other;
    assert_int_equal(mem_init(&m), 0);
    assert_int_equal(mem_init(&other), 0);
    uint8_t *a = mem_alloc(&m, 100), *b = mem_calloc(&m, 5000);
    uint8_t *c = mem_alloc_aligned(&m, 1000, 64), *d = mem_alloc(&m, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_non_null(d);
    assert_int_equal((uintptr_t)c % 64, 0);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(b[i], 0);
    assert_true(m.used_bytes >= 6101);

    memset(a, 'x', 100);
    a = mem_realloc(&m, a, 100, 200000);
    assert_non_null(a);
    assert_int_equal(a[99], 'x');
    a = mem_realloc(&m, a, 200000, 10);
    assert_int_equal(a[9], 'x');
    uint8_t *e = mem_realloc(&m, NULL, 0, 30);
    assert_non_null(e);

    size_t before = m.used_bytes;
    mem_adopt(&other, &m, 30);
    assert_int_equal(m.used_bytes, before - mem_size_class(30));
    assert_int_equal(other.used_bytes, mem_size_class(30));
    mem_free(&other, e, 30);

    mem_free(&m, a, 10);
    mem_free(&m, b, 5000);
    mem_free_aligned(&m, c, 1000, 64);
    mem_free(&m, d, 0);
    mem_free(&m, NULL, 100);
    assert_int_equal(m.used_bytes, 0);
    assert_int_equal(other.used_bytes, 0);
    assert_true(m.peak_bytes >= 200000);
    mem_fini(&m);
    mem_fini(&other);
}

static void refusals_change_nothing(void **state)
{
    struct mem m;
    assert_int_equal(mem_init(&m), 0);
    uint8_t *p = mem_alloc(&m, 50);
    memset(p, 'y', 50);
    size_t used = m.used_bytes;
    assert_null(mem_alloc(&m, SIZE_MAX));
    assert_null(mem_calloc(&m, SIZE_MAX / 2));
    assert_null(mem_alloc_aligned(&m, SIZE_MAX - 100, 64));
    assert_null(mem_realloc(&m, p, 50, SIZE_MAX - 5000));
    assert_int_equal(m.used_bytes, used);

    m.fail_after = 3;
    uint8_t *a = mem_alloc(&m, 10), *b = mem_calloc(&m, 10);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(mem_realloc(&m, p, 50, 5000));
    assert_int_equal(p[49], 'y');
    assert_int_equal(m.fail_after, 0);
    p = mem_realloc(&m, p, 50, 5000);
    assert_non_null(p);
    m.fail_after = 1;
    assert_null(mem_alloc_aligned(&m, 10, 16));
    mem_free(&m, a, 10);
    mem_free(&m, b, 10);
    mem_free(&m, p, 5000);
    assert_int_equal(m.used_bytes, 0);
    mem_fini(&m);
}

/* Arenas and caches are given back: more rounds than there can be caches (4094). */
static void arenas_come_and_go(void **state)
{
    for (int i = 0; i < 5000; i++) {
        struct mem m;
        assert_int_equal(mem_init(&m), 0);
        void *p = mem_alloc(&m, 64);
        assert_non_null(p);
        mem_free(&m, p, 64);
        mem_fini(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifndef BAREWIRE_SANITIZE
        cmocka_unit_test(pages_are_there_before_they_are_wanted),
        cmocka_unit_test(pages_are_there_soon_where_much_is_expected),
        cmocka_unit_test(size_classes_are_jemallocs),
        cmocka_unit_test(blocks_are_of_their_class),
        cmocka_unit_test(pages_are_purged_apart),
#endif
        cmocka_unit_test(accounting_returns_to_zero),
        cmocka_unit_test(refusals_change_nothing),
        cmocka_unit_test(arenas_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
