/* mem_ahead: large pages for mems that hold much, there before they are wanted.
 *
 * A table of ten million keys takes a gigabyte, in pages of 4 KB more than the processor's translation buffers hold; and a page of 2 MB that is
 * touched first by a request keeps that request for as long as clearing it takes. So a mem that has grown over AHEAD_FROM_BYTES takes its memory
 * from a range of addresses of its own that is marked for large pages, in order, and another thread touches what comes next. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define AHEAD_FROM_BYTES \
    ((size_t)64          \
     << 20) /* a mem with less stays on small pages: a 2 MB page of its own would be much of it */

#define AHEAD_SOON_BYTES \
    ((size_t)4 << 20) /* the same of one of which it is said that much will come */

/* For the mems that are made from now on. Once, by the main thread. */
void mem_ahead_enable(void);

/* By one thread, again and again: touches what the mems will want next, 1/64 of what each has, 2 MB at least and 32 at most. True: some of it was not there. */
bool mem_ahead_run(void);

/* For mem.c: an arena that is its own from now on. Nothing happens unless enabled. */
void mem_ahead_arena(unsigned arena);
void mem_ahead_expect(unsigned arena, bool much); /* who holds the mem */
