/* See draw.h. */
#include "dataplane/bench/draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MOST (512u * 1024 * 1024)

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

void draw_seed(struct draw *d, uint64_t seed)
{
    d->state[0] = mix(seed + 0x9e3779b97f4a7c15ull);
    d->state[1] = mix(seed + 2 * 0x9e3779b97f4a7c15ull) | 1;
}

uint64_t draw_next(struct draw *d)
{
    uint64_t a = d->state[0], b = d->state[1], sum = a + b;
    b ^= a;
    d->state[0] = ((a << 24) | (a >> 40)) ^ b ^ (b << 16);
    d->state[1] = (b << 37) | (b >> 27);
    return sum;
}

double draw_exponential(struct draw *d, double mean)
{
    return -mean * log1p(-draw_unit(d));
}

/* ---- keys ---- */

bool key_draw_parse(struct key_draw *k, const char *text)
{
    static const char *const name[] = {"uniform", "zipf", "sequential", "gaussian"};
    *k = (struct key_draw){.exponent = 0.99};
    if (strncmp(text, "zipf:", 5) == 0) {
        char *end;
        k->law = KEYS_ZIPF;
        k->exponent = strtod(text + 5, &end);
        return *end == 0 && end != text + 5 && k->exponent > 0 && k->exponent < 20;
    }
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(text, name[i]) == 0) {
            k->law = (enum key_law)i;
            return true;
        }
    }
    return false;
}

/* Integral of x^-exponent, and its inverse. */
static double h_of(const struct key_draw *k, double x)
{
    double q = 1 - k->exponent;
    return fabs(q) < 1e-9 ? log(x) : (pow(x, q) - 1) / q;
}

static double h_inverse(const struct key_draw *k, double y)
{
    double q = 1 - k->exponent;
    return fabs(q) < 1e-9 ? exp(y) : pow(1 + q * y, 1 / q);
}

void key_draw_init(struct key_draw *k, uint64_t n)
{
    k->n = n ? n : 1;
    k->next = 0;
    if (k->law != KEYS_ZIPF)
        return;
    k->h_first = h_of(k, 1.5) - 1;
    k->h_last = h_of(k, (double)k->n + 0.5);
    k->shortcut = 2 - h_inverse(k, h_of(k, 2.5) - pow(2, -k->exponent));
}

static uint64_t zipf_rank(const struct key_draw *k, struct draw *d)
{
    for (;;) {
        double u = k->h_last + draw_unit(d) * (k->h_first - k->h_last), x = h_inverse(k, u);
        double rank = floor(x + 0.5);
        if (rank < 1)
            rank = 1;
        else if (rank > (double)k->n)
            rank = (double)k->n;
        if (rank - x <= k->shortcut || u >= h_of(k, rank + 0.5) - pow(rank, -k->exponent))
            return (uint64_t)rank - 1;
    }
}

/* A permutation of [0, n): a Feistel walk of the next power of four. */
static uint64_t spread(uint64_t v, uint64_t n)
{
    uint32_t half = 1;
    while (half < 32 && (1ull << (2 * half)) < n)
        half++;
    uint64_t mask = (1ull << half) - 1;
    do {
        uint64_t left = v >> half, right = v & mask;
        for (uint64_t round = 1; round <= 3; round++) {
            uint64_t t = left ^ (mix(right + (round << 40)) & mask);
            left = right;
            right = t;
        }
        v = left << half | right;
    } while (v >= n);
    return v;
}

static uint64_t gauss_rank(const struct key_draw *k, struct draw *d)
{
    for (;;) { /* Irwin-Hall: the sum of twelve, six deviations to either side */
        double sum = 0;
        for (int i = 0; i < 12; i++)
            sum += draw_unit(d);
        double x = (sum / 12) * (double)k->n;
        if (x >= 0 && x < (double)k->n)
            return (uint64_t)x;
    }
}

uint64_t key_draw(struct key_draw *k, struct draw *d)
{
    switch (k->law) {
    case KEYS_ZIPF: return spread(zipf_rank(k, d), k->n);
    case KEYS_GAUSSIAN: return spread(gauss_rank(k, d), k->n);
    case KEYS_SEQUENTIAL: return k->next++ % k->n;
    default: return draw_below(d, k->n);
    }
}

/* ---- sizes ---- */

bool size_draw_parse(struct size_draw *s, const char *text)
{
    memset(s, 0, sizeof(*s));
    for (const char *p = text;; p++) {
        if (s->n == SIZE_CHOICES)
            return false;
        struct size_choice *c = &s->choice[s->n++];
        char *end;
        unsigned long v = strtoul(p, &end, 10);
        if (end == p || v > SIZE_MOST)
            return false;
        c->least = c->most = (uint32_t)v;
        c->weight = 1;
        if (*end == '-') {
            v = strtoul(p = end + 1, &end, 10);
            if (end == p || v > SIZE_MOST || v < c->least)
                return false;
            c->most = (uint32_t)v;
        }
        if (*end == ':') {
            v = strtoul(p = end + 1, &end, 10);
            if (end == p || v == 0 || v > 1000000)
                return false;
            c->weight = (uint32_t)v;
        }
        s->total += c->weight;
        if (*end == 0)
            return true;
        if (*end != ',')
            return false;
        p = end;
    }
}

uint32_t size_draw(const struct size_draw *s, struct draw *d)
{
    const struct size_choice *c = s->choice;
    if (s->n > 1) {
        uint64_t at = draw_below(d, s->total);
        for (; at >= c->weight; c++)
            at -= c->weight;
    }
    return c->least == c->most ? c->least
                               : c->least + (uint32_t)draw_below(d, c->most - c->least + 1ull);
}

uint32_t size_draw_most(const struct size_draw *s)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < s->n; i++)
        most = s->choice[i].most > most ? s->choice[i].most : most;
    return most;
}
