/* draw: random numbers of the load generator. The same seed gives the same requests. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct draw {
    uint64_t state[2]; /* xoroshiro128+ */
};

void draw_seed(struct draw *d, uint64_t seed);
uint64_t draw_next(struct draw *d);
/* In [0, n); n > 0. */
static inline uint64_t draw_below(struct draw *d, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)draw_next(d) * n) >> 64);
}
/* In [0, 1). */
static inline double draw_unit(struct draw *d)
{
    return (double)(draw_next(d) >> 11) * 0x1p-53;
}
/* Time to the next event of a Poisson process of that mean. */
double draw_exponential(struct draw *d, double mean);

/* Which of n keys. */
enum key_law { KEYS_UNIFORM, KEYS_ZIPF, KEYS_SEQUENTIAL, KEYS_GAUSSIAN };
struct key_draw {
    enum key_law law;
    uint64_t n, next;
    double exponent; /* KEYS_ZIPF: > 0; rank r has weight r^-exponent */
    /* rejection-inversion (W. Hoermann, G. Derflinger 1996): constant time, no table */
    double h_first, h_last, shortcut;
};

/* "uniform", "zipf", "zipf:0.99", "sequential", "gaussian". False: no such law. */
bool key_draw_parse(struct key_draw *k, const char *text);
void key_draw_init(struct key_draw *k, uint64_t n);
/* Ranks of Zipf and Gauss are spread over the keys by a fixed permutation, so that hot keys are no neighbours. */
uint64_t key_draw(struct key_draw *k, struct draw *d);

/* How long a value is: "64", "64-1024" (uniform), "64:90,4096:10" (lengths with weights). */
#define SIZE_CHOICES 16
struct size_draw {
    uint32_t n, total;
    struct size_choice {
        uint32_t least, most, weight;
    } choice[SIZE_CHOICES];
};
bool size_draw_parse(struct size_draw *s, const char *text);
uint32_t size_draw(const struct size_draw *s, struct draw *d);
uint32_t size_draw_most(const struct size_draw *s);
