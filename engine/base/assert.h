/* ASSERT: debug, sanitizer and fuzz builds. CHECK: always, in cold code only. Nothing that comes
 * from the wire, the disk, a user or the other process may reach either: count it and refuse it. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define CHECK(cond)                                                                  \
    do {                                                                             \
        if (__builtin_expect(!(cond), 0)) {                                          \
            fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #cond); \
            abort();                                                                 \
        }                                                                            \
    } while (0)

#ifdef BAREWIRE_ASSERT
#define ASSERT(cond) CHECK(cond)
#else
#define ASSERT(cond) \
    do {             \
    } while (0)
#endif

#define likely_(x)   __builtin_expect(!!(x), 1)
#define unlikely_(x) __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
