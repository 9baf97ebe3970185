/* mem_ahead.c: see mem_ahead.h.
 *
 *   the arena's range:   | given to jemalloc: in use, or free again | free        | not yet given ...    |
 *                        start                                    frontier      next          start + RANGE_BYTES
 *                                                                     | made by mem_ahead_run ->  |
 *
 * jemalloc asks for memory (take) a fifth of what the arena has at a time, and cuts what it needs from the front of what is free (cut): where it
 * did that last is the frontier. That may be in the middle of the range, where memory was freed and its pages given back: `limit` is then the end of
 * what is free there.
 *
 * If the holder is first he touches the page himself; he waits for the other thread only where he asks the system for addresses, some fourteen
 * times on the way to a gigabyte, and then for one page at most. A range is never given back, as arenas are not. */
#include "engine/base/mem_ahead.h"

#ifdef BAREWIRE_SANITIZE

void mem_ahead_enable(void)
{
}

bool mem_ahead_run(void)
{
    return false;
}

void mem_ahead_arena(unsigned arena)
{
    (void)arena;
}

#else

#include <jemalloc/jemalloc.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

#include "engine/base/assert.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define PAGE        ((uintptr_t)2 << 20)
#define RANGE_BYTES ((uintptr_t)16 << 30) /* of addresses; behind its end another one begins */
#define ARENAS      4096                  /* as mem.c */
#define AHEAD_SHARE 64                    /* of what an arena has */
#define AHEAD_LEAST PAGE
#define AHEAD_MOST  (16 * PAGE)

static struct arena {
    /* Of take, which jemalloc calls under its lock of the arena's growth. */
    bool refused; /* the system has no such range */
    /* The same writer, but of frontier and limit, which are of who cuts; read by mem_ahead_run. Relaxed: words that do not belong together make it
     * touch memory that is free or in use already, and touching changes nothing. */
    size_t given_bytes;          /* to jemalloc, small pages included */
    uintptr_t start, next, open; /* below open it may be touched */
    uintptr_t frontier, limit;
    bool much; /* will come: of the holder; relaxed: a block earlier or later is all the same */
    /* Of mem_ahead_run. */
    uintptr_t made; /* from the frontier on it is there so far */
} arenas[ARENAS];

static struct {
    bool on;
    unsigned arenas; /* relaxed: one more is seen in the next round */
    extent_hooks_t *jemalloc, ours;
} ahead;

static uintptr_t up(uintptr_t p, uintptr_t to)
{
    return (p + to - 1) & ~(to - 1);
}

/* ---- within jemalloc ---- */

/* Addresses alone: no memory is promised for them, whatever vm.overcommit_memory says. */
static bool new_range(struct arena *a)
{
    void *p = mmap(NULL, RANGE_BYTES + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return false;
    uintptr_t start = up((uintptr_t)p, PAGE);
    if (madvise((void *)start, RANGE_BYTES, MADV_HUGEPAGE) < 0) { /* a kernel without */
        munmap(p, RANGE_BYTES + PAGE);
        return false;
    }
    __atomic_store_n(&a->next, start, __ATOMIC_RELAXED);
    __atomic_store_n(&a->open, start, __ATOMIC_RELAXED);
    __atomic_store_n(&a->frontier, start, __ATOMIC_RELAXED);
    __atomic_store_n(&a->limit, start, __ATOMIC_RELAXED);
    __atomic_store_n(&a->start, start, __ATOMIC_RELAXED);
    return true;
}

/* So that addresses below `to`, and some behind it, may be touched. */
static bool open_to(struct arena *a, uintptr_t to)
{
    uintptr_t open = up(to, PAGE) + AHEAD_MOST;
    if (open > a->start + RANGE_BYTES)
        open = a->start + RANGE_BYTES;
    if (open <= a->open)
        return true;
    if (mprotect((void *)a->open, open - a->open, PROT_READ | PROT_WRITE) < 0)
        return false;
    __atomic_store_n(&a->open, open, __ATOMIC_RELAXED);
    return true;
}

/* NULL: small pages, as if there were no ranges. */
static void *from_range(struct arena *a, size_t n, size_t align)
{
    if (n > RANGE_BYTES / 2 || align > PAGE || a->refused)
        return NULL;
    if (a->start == 0 || up(a->next, align) + n > a->start + RANGE_BYTES - AHEAD_MOST) {
        a->refused = !new_range(a);
        if (a->refused)
            return NULL;
    }
    uintptr_t p = up(a->next, align);
    if (!open_to(a, p + n))
        return NULL;
    __atomic_store_n(&a->next, p + n, __ATOMIC_RELAXED);
    return (void *)p;
}

/* The range is there, and its first page made, before it is wanted. */
static void prepare(struct arena *a)
{
    a->refused = !new_range(a);
    if (!a->refused)
        open_to(a, a->start);
}

static void *take(extent_hooks_t *hooks, void *at, size_t n, size_t align, bool *zero, bool *commit,
                  unsigned arena)
{
    struct arena *a = &arenas[arena];
    size_t given = a->given_bytes + n;
    size_t from = __atomic_load_n(&a->much, __ATOMIC_RELAXED) ? AHEAD_SOON_BYTES : AHEAD_FROM_BYTES;
    void *p = !at && given > from ? from_range(a, n, align) : NULL;
    if (p)
        *zero = *commit = true; /* nobody has written there yet */
    else
        p = ahead.jemalloc->alloc(hooks, at, n, align, zero, commit, arena);
    if (p)
        __atomic_store_n(&a->given_bytes, given, __ATOMIC_RELAXED);
    if (given > from * 3 / 4 && a->start == 0 && !a->refused)
        prepare(a);
    return p;
}

/* Of what is free in small pieces the pages are there, or small. */
static bool cut(extent_hooks_t *hooks, void *at, size_t n, size_t front, size_t back,
                bool committed, unsigned arena)
{
    struct arena *a = &arenas[arena];
    uintptr_t edge = (uintptr_t)at + front;
    if (back >= PAGE && edge - __atomic_load_n(&a->start, __ATOMIC_RELAXED) <= RANGE_BYTES) {
        __atomic_store_n(&a->limit, edge + back, __ATOMIC_RELAXED);
        __atomic_store_n(&a->frontier, edge, __ATOMIC_RELAXED);
    }
    return ahead.jemalloc->split(hooks, at, n, front, back, committed, arena);
}

void mem_ahead_arena(unsigned arena)
{
    if (!ahead.on || arena >= ARENAS)
        return;
    extent_hooks_t *ours = &ahead.ours, *before;
    size_t len = sizeof(before);
    char name[48];
    snprintf(name, sizeof(name), "arena.%u.extent_hooks", arena);
    if (!ahead.jemalloc) {
        if (mallctl(name, &before, &len, NULL, 0))
            return;
        ahead.ours = *before;
        ahead.ours.alloc = take;
        ahead.ours.split = cut;
        ahead.ours.dalloc =
            NULL; /* what is not used is kept, and its pages given back, as by default */
        ahead.ours.destroy = NULL;
        ahead.jemalloc = before;
    }
    if (mallctl(name, NULL, NULL, &ours, sizeof(ours)))
        return;
    if (arena >= ahead.arenas)
        __atomic_store_n(&ahead.arenas, arena + 1, __ATOMIC_RELAXED);
}

void mem_ahead_expect(unsigned arena, bool much)
{
    if (arena < ARENAS)
        __atomic_store_n(&arenas[arena].much, much, __ATOMIC_RELAXED);
}

void mem_ahead_enable(void)
{
    ahead.on = true;
}

/* ---- the other thread ---- */

static bool look_ahead(struct arena *a)
{
    uintptr_t start = __atomic_load_n(&a->start, __ATOMIC_RELAXED),
              frontier = __atomic_load_n(&a->frontier, __ATOMIC_RELAXED),
              limit = __atomic_load_n(&a->limit, __ATOMIC_RELAXED),
              open = __atomic_load_n(&a->open, __ATOMIC_RELAXED);
    /* Of two ranges: the next look sees one. */
    if (start == 0 || frontier - start > RANGE_BYTES || open - start > RANGE_BYTES)
        return false;
    uintptr_t far = __atomic_load_n(&a->given_bytes, __ATOMIC_RELAXED) / AHEAD_SHARE;
    far = far < AHEAD_LEAST ? AHEAD_LEAST : far > AHEAD_MOST ? AHEAD_MOST : far;
    uintptr_t from = up(frontier, PAGE), to = up(frontier + far, PAGE);
    if (limit == __atomic_load_n(&a->next, __ATOMIC_RELAXED) || limit > open)
        limit = open; /* the last that was given: what follows it is wanted next */
    if (to > limit)
        to = limit & ~(PAGE - 1);
    if (a->made < from || a->made > to)
        a->made = from;
    bool some = false;
    for (; a->made < to; a->made += PAGE, some = true)
        if (madvise((void *)a->made, PAGE, MADV_POPULATE_WRITE) < 0)
            break; /* no memory, or an old kernel: the holder touches it himself */
    return some;
}

bool mem_ahead_run(void)
{
    unsigned n = __atomic_load_n(&ahead.arenas, __ATOMIC_RELAXED);
    bool some = false;
    for (unsigned i = 0; i < n; i++)
        some |= look_ahead(&arenas[i]);
    return some;
}

#endif
