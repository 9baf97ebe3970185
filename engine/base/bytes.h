/* span: a borrowed run of bytes. Whoever hands it over says how long it lives. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *p;
    size_t n;
};

#define SPAN(lit) ((struct span){(const uint8_t *)(lit), sizeof(lit) - 1})

static inline struct span span_of(const void *p, size_t n)
{
    return (struct span){(const uint8_t *)p, n};
}

static inline struct span span_str(const char *s)
{
    return (struct span){(const uint8_t *)s, strlen(s)};
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

/* Orders as memcmp, a proper prefix first. */
static inline int span_cmp(struct span a, struct span b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* ASCII case-insensitive; `word` must be a lower-case literal. The way options are compared. */
static inline bool span_is(struct span a, const char *word)
{
    size_t i = 0;
    for (; i < a.n && word[i]; i++) {
        uint8_t c = a.p[i];
        if (c >= 'A' && c <= 'Z')
            c += 32;
        if (c != (uint8_t)word[i])
            return false;
    }
    return i == a.n && word[i] == 0;
}

/* Copies n <= 64 bytes that do not overlap, by loads and stores that overlap in the middle: no call, no byte beyond either end. */
static inline __attribute__((always_inline)) void bytes_copy_64(uint8_t *to, const uint8_t *from,
                                                                size_t n)
{
    if (__builtin_expect(n >= 16, 1)) {
        memcpy(to, from, 16);
        if (n > 32) {
            memcpy(to + 16, from + 16, 16);
            memcpy(to + n - 32, from + n - 32, 16);
        }
        memcpy(to + n - 16, from + n - 16, 16);
    } else if (n >= 8) {
        uint64_t a, b;
        memcpy(&a, from, 8);
        memcpy(&b, from + n - 8, 8);
        memcpy(to, &a, 8);
        memcpy(to + n - 8, &b, 8);
    } else if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, from, 4);
        memcpy(&b, from + n - 4, 4);
        memcpy(to, &a, 4);
        memcpy(to + n - 4, &b, 4);
    } else if (n) {
        uint8_t a = from[0], b = from[n / 2], c = from[n - 1];
        to[0] = a;
        to[n / 2] = b;
        to[n - 1] = c;
    }
}
