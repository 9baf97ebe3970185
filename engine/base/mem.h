/* mem: the memory of one shard: a jemalloc arena of its own with an explicit tcache.
 *
 * Thread: the holder of the shard's lease, one at a time. Every function returns NULL when memory is
 * out and changes nothing; nothing here aborts. Sizes are what the caller asked for; accounting
 * (`mem_used`) counts the allocator's size class, as Redis's used_memory does.
 * In sanitized builds the system allocator stands in, so that the sanitizer sees every block. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mem {
    int flags; /* MALLOCX_ARENA | MALLOCX_TCACHE */
    unsigned arena, tcache;
    size_t used_bytes; /* size classes of live blocks; writer: the lease holder */
    size_t peak_bytes;
    uint64_t fail_after; /* tests: allocations until one fails; 0 = never */
};

/* Bytes on the heap of a mem: `len` in use of `cap` asked for. Listpacks, intsets and long strings are such. */
struct mem_block {
    uint8_t *p;
    size_t len, cap;
};

/* Pages of freed blocks go back to the system on a thread of the allocator's own, for all mems, instead of within mem_free: a purge is
 * a system call for each run of pages. Once, before the first mem and before the caller is bound to a core. 0 or -errno, and then
 * mem_free purges as before. */
int mem_purge_apart(void);

int mem_init(struct mem *m); /* 0 or -errno */
void mem_fini(
    struct mem
        *m); /* all blocks must be free; the arena is purged and waits for the next mem_init */

/* That much will come, or that it is over: where large pages are used, they are from 4 MB on in place of 64. */
void mem_expect(struct mem *m, bool much);

void *mem_alloc(struct mem *m, size_t n);
void *mem_calloc(struct mem *m, size_t n);
void *mem_alloc_aligned(struct mem *m, size_t n, size_t align);
/* `old_n` as asked for last time. On failure the old block stands. */
void *mem_realloc(struct mem *m, void *p, size_t old_n, size_t n);
void mem_free(struct mem *m, void *p, size_t n);
void mem_free_aligned(struct mem *m, void *p, size_t n, size_t align);
/* What a block of n bytes really takes (size class). */
size_t mem_size_class(size_t n);
/* A block allocated on another mem changes hands: accounting only, jemalloc frees to the right arena. */
void mem_adopt(struct mem *to, struct mem *from, size_t n);
/* The same for many blocks at once: `bytes` is the sum of their size classes. */
void mem_adopt_classes(struct mem *to, struct mem *from, size_t bytes);
