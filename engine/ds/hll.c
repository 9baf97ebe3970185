/* hll.c: sparse and dense registers, the estimate. The vector code is in hll_dense.c.
 *
 * Where in the flow: the PF commands -> here. */
#include "engine/ds/hll.h"

#include <math.h>

#include "engine/base/assert.h"
#include "engine/ds/hll_internal.h"

#define P             14 /* bits of the index */
#define Q             (64 - P)
#define STALE         0x80
#define ZERO_LEN_MAX  64
#define VALUE_MAX     32
#define VALUE_LEN_MAX 4
#define MERGE_LOOK    5 /* runs that may have become joinable by one change */

bool hll_valid(struct span h)
{
    return h.n >= HLL_HEADER_BYTES && memcmp(h.p, "HYLL", 4) == 0 && h.p[4] <= 1 &&
           (h.p[4] == 1 || h.n == HLL_DENSE_BYTES);
}

/* ---- sparse runs ---- */

struct run {
    unsigned value, len; /* value 0: zeros */
    unsigned bytes;
};

/* `p` has at least one byte before `end`; a two-byte run cut short has length 0. */
static inline struct run run_read(const uint8_t *p, const uint8_t *end)
{
    if (p[0] & 0x80)
        return (struct run){(p[0] >> 2 & 31) + 1u, (p[0] & 3) + 1u, 1};
    if (!(p[0] & 0x40))
        return (struct run){0, (p[0] & 63) + 1u, 1};
    if (end - p < 2)
        return (struct run){0, 0, 1};
    return (struct run){0, ((p[0] & 63u) << 8 | p[1]) + 1u, 2};
}

static uint8_t *put_value(uint8_t *p, unsigned value, unsigned len)
{
    *p = (uint8_t)(0x80 | (value - 1) << 2 | (len - 1));
    return p + 1;
}

static uint8_t *put_zeros(uint8_t *p, unsigned len)
{
    if (len <= ZERO_LEN_MAX) {
        *p = (uint8_t)(len - 1);
        return p + 1;
    }
    p[0] = (uint8_t)(0x40 | (len - 1) >> 8);
    p[1] = (uint8_t)(len - 1);
    return p + 2;
}

static uint8_t *put_run(uint8_t *p, unsigned value, unsigned len)
{
    return value ? put_value(p, value, len) : put_zeros(p, len);
}

void hll_create(uint8_t *to)
{
    memset(to, 0, HLL_EMPTY_BYTES);
    memcpy(to, "HYLL", 4);
    to[4] = 1;
    put_zeros(to + HLL_HEADER_BYTES, HLL_REGISTERS);
}

/* ---- one element ---- */

/* MurmurHash64A (Appleby), with the seed that Redis gives it. */
static uint64_t murmur64a(const uint8_t *p, size_t n, uint64_t seed)
{
    const uint64_t m = 0xc6a4a7935bd1e995;
    uint64_t h = seed ^ (n * m), k;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&k, p, 8);
        k *= m;
        k ^= k >> 47;
        k *= m;
        h = (h ^ k) * m;
    }
    if (n) {
        k = 0;
        memcpy(&k, p, n);
        h = (h ^ k) * m;
    }
    h ^= h >> 47;
    h *= m;
    return h ^ h >> 47;
}

struct hll_spot hll_spot_of(struct span element)
{
    uint64_t hash = murmur64a(element.p, element.n, 0xadc83b19);
    uint64_t rest = hash >> P | UINT64_C(1) << Q; /* ends the count of zeros */
    return (struct hll_spot){hash & (HLL_REGISTERS - 1), (uint8_t)(__builtin_ctzll(rest) + 1)};
}

/* Where the run lies that holds a register. */
struct place {
    uint8_t *prev, *at; /* prev NULL: at is the first */
    struct run run;
    unsigned first;
};

static bool find_run(uint8_t *hll, size_t n, uint32_t index, struct place *ret)
{
    uint8_t *p = hll + HLL_HEADER_BYTES, *end = hll + n;
    struct place at = {0};
    while (p < end) {
        at.run = run_read(p, end);
        if (at.run.len == 0)
            return false;
        if (index < at.first + at.run.len) {
            at.at = p;
            *ret = at;
            return true;
        }
        at.prev = p;
        p += at.run.bytes;
        at.first += at.run.len;
    }
    return false;
}

int hll_register(struct span hll, uint32_t index)
{
    struct place at;
    if (hll_is_dense(hll.p))
        return dense_get(hll.p + HLL_HEADER_BYTES, index);
    if (!find_run((uint8_t *)(uintptr_t)hll.p, hll.n, index, &at))
        return -1;
    return (int)at.run.value;
}

/* Joins neighbours of the same value from p on; returns the new end. */
static uint8_t *join_runs(uint8_t *p, uint8_t *end)
{
    for (int look = MERGE_LOOK; p < end && look; look--) {
        struct run a = run_read(p, end);
        if (a.value && p + 1 < end) {
            struct run b = run_read(p + 1, end);
            if (b.value == a.value && a.len + b.len <= VALUE_LEN_MAX) {
                put_value(p + 1, a.value, a.len + b.len);
                memmove(p, p + 1, (size_t)(end - p - 1));
                end--;
                continue; /* the joined run may join the next */
            }
        }
        p += a.bytes;
    }
    return end;
}

enum hll_set hll_sparse_set(uint8_t *hll, size_t *n, struct hll_spot s, size_t max_bytes)
{
    struct place at;
    if (s.count > VALUE_MAX)
        return HLL_NEEDS_DENSE;
    if (!find_run(hll, *n, s.index, &at))
        return HLL_CORRUPT;
    if (at.run.value >= s.count)
        return HLL_SAME;
    uint8_t *end = hll + *n, seq[5], *to = seq;
    unsigned last = at.first + at.run.len - 1;
    if (s.index != at.first)
        to = put_run(to, at.run.value, s.index - at.first);
    to = put_value(to, s.count, 1);
    if (s.index != last)
        to = put_run(to, at.run.value, last - s.index);
    size_t now = (size_t)(to - seq), old = at.run.bytes;
    if (now > old && *n + now - old > max_bytes)
        return HLL_NEEDS_DENSE;
    memmove(at.at + now, at.at + old, (size_t)(end - at.at) - old);
    memcpy(at.at, seq, now);
    end = end + now - old;
    end = join_runs(at.prev ? at.prev : hll + HLL_HEADER_BYTES, end);
    *n = (size_t)(end - hll);
    hll_make_stale(hll);
    return HLL_CHANGED;
}

enum hll_set hll_dense_set(uint8_t *hll, struct hll_spot s)
{
    uint8_t *regs = hll + HLL_HEADER_BYTES;
    if (dense_get(regs, s.index) >= s.count)
        return HLL_SAME;
    dense_put(regs, s.index, s.count);
    hll_make_stale(hll);
    return HLL_CHANGED;
}

/* ---- whole values ---- */

void hll_decode(struct span sparse, void (*fn)(void *ctx, bool wide, unsigned value, unsigned len),
                void *ctx)
{
    const uint8_t *p = sparse.p + HLL_HEADER_BYTES, *end = sparse.p + sparse.n;
    while (p < end) {
        struct run r = run_read(p, end);
        if (r.len == 0)
            r = (struct run){0, ((p[0] & 63u) << 8) + 1u, 2};
        fn(ctx, r.bytes == 2, r.value, r.len);
        p += r.bytes;
    }
}

/* False: corrupt, and fn may have seen the first runs. */
static bool hll_runs(struct span sparse,
                     void (*fn)(void *ctx, bool wide, unsigned value, unsigned len), void *ctx)
{
    const uint8_t *p = sparse.p + HLL_HEADER_BYTES, *end = sparse.p + sparse.n;
    unsigned at = 0;
    while (p < end) {
        struct run r = run_read(p, end);
        if (r.len == 0 || r.len > HLL_REGISTERS - at)
            return false;
        fn(ctx, r.bytes == 2, r.value, r.len);
        at += r.len;
        p += r.bytes;
    }
    return at == HLL_REGISTERS;
}

struct fill {
    uint8_t *dense;
    struct hll_registers *max;
    unsigned at;
    uint32_t *histogram;
};

static void fill_dense(void *ctx, bool wide, unsigned value, unsigned len)
{
    struct fill *f = ctx;
    for (unsigned i = 0; value && i < len; i++)
        dense_put(f->dense, f->at + i, value);
    f->at += len;
}

bool hll_to_dense(struct span sparse, uint8_t *to)
{
    memset(to, 0, HLL_DENSE_BYTES);
    memcpy(to, sparse.p, HLL_HEADER_BYTES);
    to[4] = 0;
    struct fill f = {.dense = to + HLL_HEADER_BYTES};
    return hll_runs(sparse, fill_dense, &f);
}

static void fill_max(void *ctx, bool wide, unsigned value, unsigned len)
{
    struct fill *f = ctx;
    for (unsigned i = 0; value && i < len; i++)
        if (f->max->v[f->at + i] < value)
            f->max->v[f->at + i] = (uint8_t)value;
    f->at += len;
}

bool hll_merge(struct hll_registers *r, struct span hll)
{
    if (!hll_is_dense(hll.p)) {
        struct fill f = {.max = r};
        return hll_runs(hll, fill_max, &f);
    }
    dense_merge(r->v, hll.p + HLL_HEADER_BYTES);
    return true;
}

void hll_dense_raise(uint8_t *hll, const struct hll_registers *r)
{
    struct hll_registers max = *r;
    dense_merge(max.v, hll + HLL_HEADER_BYTES);
    dense_pack(hll + HLL_HEADER_BYTES, max.v);
    hll_make_stale(hll);
}

/* ---- the cache ---- */

bool hll_cached(const uint8_t *hll, uint64_t *ret)
{
    if (hll[15] & STALE)
        return false;
    memcpy(ret, hll + 8, 8);
    return true;
}
void hll_cache(uint8_t *hll, uint64_t cardinality)
{
    memcpy(hll + 8, &cardinality, 8);
}
void hll_make_stale(uint8_t *hll)
{
    hll[15] |= STALE;
}

/* ---- the estimate ---- */

static double sigma(double x)
{
    if (x == 1.)
        return INFINITY;
    double y = 1, z = x, before;
    do {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    } while (before != z);
    return z;
}

static double tau(double x)
{
    if (x == 0. || x == 1.)
        return 0.;
    double y = 1.0, z = 1 - x, before;
    do {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    } while (before != z);
    return z / 3;
}

/* From how many registers hold each value. */
static uint64_t estimate(const uint32_t histogram[64])
{
    double m = HLL_REGISTERS;
    double z = m * tau((m - histogram[Q + 1]) / m);
    for (int j = Q; j >= 1; j--) {
        z += histogram[j];
        z *= 0.5;
    }
    z += m * sigma(histogram[0] / m);
    return (uint64_t)llroundl((long double)(0.721347520444481703680 * m * m / z));
}

static void fill_histogram(void *ctx, bool wide, unsigned value, unsigned len)
{
    struct fill *f = ctx;
    f->histogram[value] += len;
}

uint64_t hll_count_registers(const struct hll_registers *r)
{
    uint32_t h[4][64] = {0}; /* several: the same register value often comes in a row */
    for (unsigned i = 0; i < HLL_REGISTERS; i += 4)
        for (unsigned k = 0; k < 4; k++)
            h[k][r->v[i + k] & 63]++;
    for (unsigned i = 0; i < 64; i++)
        h[0][i] += h[1][i] + h[2][i] + h[3][i];
    return estimate(h[0]);
}

bool hll_count(struct span hll, uint64_t *ret)
{
    if (hll_is_dense(hll.p)) {
        struct hll_registers r = {{0}};
        dense_merge(r.v, hll.p + HLL_HEADER_BYTES);
        *ret = hll_count_registers(&r);
        return true;
    }
    uint32_t histogram[64] = {0};
    struct fill f = {.histogram = histogram};
    if (!hll_runs(hll, fill_histogram, &f))
        return false;
    *ret = estimate(histogram);
    return true;
}
