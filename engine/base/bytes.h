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
