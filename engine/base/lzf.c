/* lzf.c: see lzf.h. Copies may write some bytes more than asked for, never beyond the room; what follows overwrites them. */
#include "engine/base/lzf.h"

#include <string.h>

#include "engine/base/assert.h"

#define LITERAL_MAX 32
#define STEP        16

/* Bytes `n` from `back` bytes before `to`, which may overlap what is written. */
static void copy_back(uint8_t *to, size_t back, size_t n, size_t room)
{
    const uint8_t *from = to - back;
    if (likely_(back >= STEP && room - n >= STEP)) {
        for (size_t i = 0; i < n; i += STEP)
            memcpy(to + i, from + i, STEP);
    } else if (back >= 8 && room - n >= 8) {
        for (size_t i = 0; i < n; i += 8)
            memcpy(to + i, from + i, 8);
    } else if (back >= n) {
        memcpy(to, from, n);
    } else if (back == 1) {
        memset(to, *from, n);
    } else {
        for (size_t i = 0; i < n; i++)
            to[i] = from[i];
    }
}

size_t lzf_expand(const uint8_t *from, size_t n, uint8_t *to, size_t room)
{
    const uint8_t *end = from + n;
    uint8_t *begin = to, *limit = to + room;
    while (from < end) {
        size_t code = *from++;
        if (code < LITERAL_MAX) {
            size_t run = code + 1;
            if (likely_((size_t)(end - from) >= LITERAL_MAX &&
                        (size_t)(limit - to) >= LITERAL_MAX)) {
                memcpy(to, from, STEP);
                memcpy(to + STEP, from + STEP, STEP);
            } else {
                if ((size_t)(end - from) < run || (size_t)(limit - to) < run)
                    return 0;
                memcpy(to, from, run);
            }
            from += run;
            to += run;
            continue;
        }
        size_t more = code >> 5 == 7, run = (code >> 5) + 2;
        if ((size_t)(end - from) < 1 + more)
            return 0;
        if (more)
            run += *from++;
        size_t back = ((code & 31) << 8 | *from++) + 1;
        if (back > (size_t)(to - begin) || run > (size_t)(limit - to))
            return 0;
        copy_back(to, back, run, (size_t)(limit - to));
        to += run;
    }
    return (size_t)(to - begin);
}
