/* memory: what the control process needs and cannot do without. What a client asked for, or a file, and there is no memory for it, is refused; the few bytes that are there to
 * answer him, or to go on at all, are not: then the process ends with a word about it and exit status 1. Its death loses nothing at any moment (docs/persistence.md): the
 * dataplane serves on, and the next control finds it.
 *
 * Thread: any. */
#pragma once

#include <stddef.h>

/* Zeroed; never NULL. `what` stands in the log when there is none. */
void *memory_need(size_t n, const char *what);
/* Ends the process. */
void memory_out(const char *what) __attribute__((noreturn));
/* libuv calls abort() where it has no memory: from now on it ends as above. Before its first use. */
void memory_guard_loop(void);
