/* The memory of one shard: a jemalloc arena of its own and an explicit thread cache.
 *
 * Where in the flow: everything that a shard, its parsers or its replies allocate. Thread: the holder of the
 * shard's lease. The thread cache belongs to the arena, not to the thread, so it moves with the lease.
 *
 * Blocks are freed with their size (sdallocx), which spares jemalloc the look-up of the size class. The
 * accounting computes the class itself: nallocx is a call with a table behind it, this is five instructions. */
#include "engine/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/mem_ahead.h"

#ifndef BAREWIRE_SANITIZE
#include <jemalloc/jemalloc.h>
#include <pthread.h>
#endif

/* Beyond this nothing is asked for: keeps the size arithmetic free of overflow, and the sanitizers' malloc
 * aborts where jemalloc's returns NULL. */
#define MEM_MAX_BYTES ((size_t)1 << 46)

#ifdef BAREWIRE_SANITIZE

size_t mem_size_class(size_t n)
{
    return n > MEM_MAX_BYTES ? 0 : n < 16 ? 16 : (n + 15) & ~(size_t)15;
}

static inline size_t aligned_class(size_t n, size_t align)
{
    size_t class = mem_size_class(n);
    return (class + align - 1) & ~(align - 1);
}

int mem_purge_apart(void)
{
    return 0;
}

int mem_init(struct mem *m)
{
    *m = (struct mem){0};
    return 0;
}

void mem_fini(struct mem *m)
{
    *m = (struct mem){0};
}

void mem_expect(struct mem *m, bool much)
{
    (void)m;
    (void)much;
}

static inline void *raw_alloc(struct mem *m, size_t n)
{
    return n > (size_t)1 << 40 ? NULL : malloc(n);
}
static inline void *raw_calloc(struct mem *m, size_t n)
{
    return n > (size_t)1 << 40 ? NULL : calloc(1, n);
}
static inline void *raw_alloc_aligned(struct mem *m, size_t n, size_t align)
{
    void *p = NULL;
    if (n > (size_t)1 << 40 ||
        posix_memalign(&p, align < sizeof(void *) ? sizeof(void *) : align, n))
        return NULL;
    return p;
}
static inline void *raw_realloc(struct mem *m, void *p, size_t n)
{
    return n > (size_t)1 << 40 ? NULL : realloc(p, n);
}
static inline void raw_free(struct mem *m, void *p, size_t n)
{
    free(p);
}
static inline void raw_free_aligned(struct mem *m, void *p, size_t n, size_t align)
{
    free(p);
}

#else

/* Size classes of jemalloc with a quantum of 16: 8, then multiples of 16 up to 128, then four classes to
 * each power of two. */
size_t mem_size_class(size_t n)
{
    if (n <= 16)
        return n <= 8 ? 8 : 16;
    if (unlikely_(n > MEM_MAX_BYTES))
        return 0;
    unsigned lg = 63 - (unsigned)__builtin_clzl(n - 1);
    size_t delta = (size_t)1 << (lg < 6 ? 4 : lg - 2);
    return (n + delta - 1) & ~(delta - 1);
}

static inline size_t aligned_class(size_t n, size_t align)
{
    return nallocx(n, MALLOCX_ALIGN(align));
}

/* One thread is enough for all arenas: it wakes a few times a second at most. */
int mem_purge_apart(void)
{
    size_t threads = 1;
    bool on = true;
    int err = mallctl("max_background_threads", NULL, NULL, &threads, sizeof(threads));
    if (!err)
        err = mallctl("background_thread", NULL, NULL, &on, sizeof(on));
    return -err;
}

/* Arenas that no mem uses. An arena is never destroyed, because a block that changed hands (mem_adopt) and was
 * freed since may still lie in the cache of another mem, which would give it back to an arena that is gone. */
static struct {
    pthread_mutex_t lock;
    unsigned count;
    unsigned arena[4096]; /* jemalloc has room for fewer */
} unused = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void arena_release(unsigned arena)
{
    char name[48];
    snprintf(name, sizeof(name), "arena.%u.purge", arena);
    mallctl(name, NULL, NULL, NULL, 0);
    pthread_mutex_lock(&unused.lock);
    if (unused.count < ARRAY_LEN(unused.arena))
        unused.arena[unused.count++] = arena;
    pthread_mutex_unlock(&unused.lock);
}

static int arena_acquire(unsigned *ret)
{
    bool found = false;
    pthread_mutex_lock(&unused.lock);
    if (unused.count) {
        *ret = unused.arena[--unused.count];
        found = true;
    }
    pthread_mutex_unlock(&unused.lock);
    size_t len = sizeof(*ret);
    int err = found ? 0 : mallctl("arenas.create", ret, &len, NULL, 0);
    if (err || found)
        return err;
    /* A block of 8 MB and more would be purged within the call that frees it. */
    size_t never = PTRDIFF_MAX;
    char name[48];
    snprintf(name, sizeof(name), "arena.%u.oversize_threshold", *ret);
    mallctl(name, NULL, NULL, &never, sizeof(never));
    mem_ahead_arena(*ret);
    return 0;
}

int mem_init(struct mem *m)
{
    unsigned arena, tcache;
    int err = arena_acquire(&arena);
    if (err)
        return -err;
    size_t len = sizeof(tcache);
    err = mallctl("tcache.create", &tcache, &len, NULL, 0);
    if (err) {
        arena_release(arena);
        return -err;
    }
    *m = (struct mem){
        .flags = (int)(MALLOCX_ARENA(arena) | MALLOCX_TCACHE(tcache)),
        .arena = arena,
        .tcache = tcache,
    };
    return 0;
}

void mem_fini(struct mem *m)
{
    if (m->flags == 0)
        return;
    /* The cache first: it holds blocks of the arena. */
    mallctl("tcache.destroy", NULL, NULL, &m->tcache, sizeof(m->tcache));
    mem_expect(m, false);
    arena_release(m->arena);
    *m = (struct mem){0};
}

void mem_expect(struct mem *m, bool much)
{
    mem_ahead_expect(m->arena, much);
}

static inline void *raw_alloc(struct mem *m, size_t n)
{
    return mallocx(n, m->flags);
}
static inline void *raw_calloc(struct mem *m, size_t n)
{
    return mallocx(n, m->flags | MALLOCX_ZERO);
}
static inline void *raw_alloc_aligned(struct mem *m, size_t n, size_t align)
{
    return mallocx(n, m->flags | (int)MALLOCX_ALIGN(align));
}
static inline void *raw_realloc(struct mem *m, void *p, size_t n)
{
    return rallocx(p, n, m->flags);
}
static inline void raw_free(struct mem *m, void *p, size_t n)
{
    sdallocx(p, n, m->flags);
}
static inline void raw_free_aligned(struct mem *m, void *p, size_t n, size_t align)
{
    sdallocx(p, n, m->flags | (int)MALLOCX_ALIGN(align));
}

#endif

static inline void account(struct mem *m, size_t class)
{
    m->used_bytes += class;
    if (m->used_bytes > m->peak_bytes)
        m->peak_bytes = m->used_bytes;
}

/* True: this allocation has to fail, either because a test says so or because no machine has that much. */
static inline bool refused(struct mem *m, size_t n)
{
    if (unlikely_(m->fail_after != 0) && --m->fail_after == 0)
        return true;
    return n > MEM_MAX_BYTES;
}

void *mem_alloc(struct mem *m, size_t n)
{
    n += n == 0;
    void *p = refused(m, n) ? NULL : raw_alloc(m, n);
    if (likely_(p != NULL))
        account(m, mem_size_class(n));
    return p;
}

void *mem_calloc(struct mem *m, size_t n)
{
    n += n == 0;
    void *p = refused(m, n) ? NULL : raw_calloc(m, n);
    if (likely_(p != NULL))
        account(m, mem_size_class(n));
    return p;
}

void *mem_alloc_aligned(struct mem *m, size_t n, size_t align)
{
    ASSERT(align && (align & (align - 1)) == 0);
    n += n == 0;
    void *p = refused(m, n) ? NULL : raw_alloc_aligned(m, n, align);
    if (likely_(p != NULL))
        account(m, aligned_class(n, align));
    return p;
}

void *mem_realloc(struct mem *m, void *p, size_t old_n, size_t n)
{
    if (!p)
        return mem_alloc(m, n);
    n += n == 0;
    old_n += old_n == 0;
    void *q = refused(m, n) ? NULL : raw_realloc(m, p, n);
    if (likely_(q != NULL)) {
        ASSERT(m->used_bytes >= mem_size_class(old_n));
        m->used_bytes -= mem_size_class(old_n);
        account(m, mem_size_class(n));
    }
    return q;
}

void mem_free(struct mem *m, void *p, size_t n)
{
    if (!p)
        return;
    n += n == 0;
    ASSERT(m->used_bytes >= mem_size_class(n));
    m->used_bytes -= mem_size_class(n);
    raw_free(m, p, n);
}

void mem_free_aligned(struct mem *m, void *p, size_t n, size_t align)
{
    if (!p)
        return;
    n += n == 0;
    ASSERT(m->used_bytes >= aligned_class(n, align));
    m->used_bytes -= aligned_class(n, align);
    raw_free_aligned(m, p, n, align);
}

void mem_adopt(struct mem *to, struct mem *from, size_t n)
{
    mem_adopt_classes(to, from, mem_size_class(n + (n == 0)));
}

void mem_adopt_classes(struct mem *to, struct mem *from, size_t bytes)
{
    ASSERT(from->used_bytes >= bytes);
    from->used_bytes -= bytes;
    account(to, bytes);
}
