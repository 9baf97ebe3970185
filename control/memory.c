/* memory: see memory.h. */
#include "control/memory.h"

#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "control/log.h"

void memory_out(const char *what)
{
    log_warning("Out of memory (%s): control ends. A dataplane that runs serves on with its data; "
                "start control again",
                what);
    _exit(1); /* other threads are at work: nothing is given back under their hands */
}

void *memory_need(size_t n, const char *what)
{
    void *p = calloc(1, n);
    if (!p)
        memory_out(what);
    return p;
}

static void *loop_malloc(size_t n)
{
    void *p = malloc(n);
    if (!p && n)
        memory_out("event loop");
    return p;
}

static void *loop_calloc(size_t n, size_t of)
{
    void *p = calloc(n, of);
    if (!p && n && of)
        memory_out("event loop");
    return p;
}

static void *loop_realloc(void *old, size_t n)
{
    void *p = realloc(old, n);
    if (!p && n)
        memory_out("event loop");
    return p;
}

void memory_guard_loop(void)
{
    uv_replace_allocator(loop_malloc, loop_realloc, loop_calloc, free);
}
