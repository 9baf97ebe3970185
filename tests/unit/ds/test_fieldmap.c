/* fieldmap against a naive model: for each of some thousand fields whether it is there, which value and which expiry it has. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/ds/fieldmap.h"
#include "tests/unit/unit.h"

#define FIELDS 6000

struct model {
    bool there;
    uint32_t value;
    int64_t when;
};

struct world {
    struct mem mem;
    struct siphash_key key;
    struct fieldmap *fm;
    bool values;
    uint64_t rng;
    size_t count, ttl;
    struct model model[FIELDS];
};
static struct world w;

static uint64_t draw(void *ctx)
{
    uint64_t *r = ctx;
    *r = *r * 6364136223846793005u + 1442695040888963407u;
    uint64_t x = *r;
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdu;
    return x ^ x >> 29;
}

static uint64_t below(uint64_t n)
{
    return draw(&w.rng) % n;
}

/* Lengths of all forms: empty, short, wide, big. Distinct for distinct i. */
static struct span field_text(size_t i, char *to)
{
    if (i == 0)
        return span_of(to, 0);
    size_t n = (size_t)sprintf(to, "%zu", i);
    size_t pad = i % 97 == 1 ? 140 : i % 97 == 2 ? 700 : i % 7 * 3;
    memset(to + n, 'f', pad);
    return span_of(to, n + pad);
}

static struct span value_text(uint32_t v, char *to)
{
    if (!w.values)
        return span_of(to, 0);
    size_t n = (size_t)sprintf(to, "v%u", v);
    size_t pad = v % 61 == 1 ? 300 : v % 61 == 2 ? 2000 : v % 5 * 5;
    memset(to + n, 'v', pad);
    return span_of(to, v % 11 == 0 ? 0 : n + pad);
}

static void check_item(const struct fieldmap_item *it, size_t i)
{
    char f[1024], v[4096];
    struct span field = field_text(i, f), value = value_text(w.model[i].value, v);
    assert_true(i < FIELDS && w.model[i].there);
    assert_true(span_eq(it->field, field));
    assert_true(span_eq(it->value, value));
    assert_int_equal(it->expire_ms, w.model[i].when);
}

static size_t index_of(struct span field)
{
    size_t i = 0;
    for (size_t k = 0; k < field.n && field.p[k] >= '0' && field.p[k] <= '9'; k++)
        i = i * 10 + (size_t)(field.p[k] - '0');
    return i;
}

static void check_all(const struct fieldmap *fm)
{
    struct fieldmap_iter it;
    struct fieldmap_item item;
    size_t n = 0;
    fieldmap_iter_init(&it, fm);
    while (fieldmap_next(&it, &item)) {
        check_item(&item, index_of(item.field));
        n++;
    }
    assert_int_equal(n, w.count);
    assert_int_equal(fieldmap_count(fm), w.count);
    assert_int_equal(fieldmap_ttl_fields(fm), w.ttl);
    for (size_t i = 0; i < FIELDS; i++) {
        char f[1024];
        struct span field = field_text(i, f);
        bool found = fieldmap_find(fm, fieldmap_hash(fm, field), field, &item);
        assert_int_equal(found, w.model[i].there);
        if (found)
            check_item(&item, i);
    }
}

static void model_gone(size_t i)
{
    w.count--;
    w.ttl -= w.model[i].when >= 0;
    w.model[i].there = false;
}

static void step_put(size_t i)
{
    char f[1024], v[4096];
    uint32_t version = (uint32_t)below(1000);
    struct span field = field_text(i, f), value = value_text(version, v);
    int64_t when = !w.values || below(4) ? -1 : (int64_t)below(1000);
    bool keep = w.values && below(5) == 0;
    struct model *m = &w.model[i];
    enum fieldmap_put put = fieldmap_put(w.fm, fieldmap_hash(w.fm, field), field, value,
                                         keep ? FIELDMAP_KEEP_TTL : when);
    if (put == FIELDMAP_NO_MEMORY)
        return;
    assert_int_equal(put, m->there ? FIELDMAP_REPLACED : FIELDMAP_NEW);
    if (keep)
        when = m->there ? m->when : -1;
    w.count += !m->there;
    w.ttl += (size_t)(when >= 0) - (m->there && m->when >= 0);
    *m = (struct model){true, w.values ? version : 0, when};
}

static void step_remove(size_t i)
{
    char f[1024];
    struct span field = field_text(i, f);
    assert_int_equal(fieldmap_remove(w.fm, fieldmap_hash(w.fm, field), field), w.model[i].there);
    if (w.model[i].there)
        model_gone(i);
}

static void step_expire(size_t i)
{
    char f[1024];
    struct span field = field_text(i, f);
    int64_t when = below(3) ? (int64_t)below(1000) : -1;
    if (!w.model[i].there || !fieldmap_set_expire(w.fm, fieldmap_hash(w.fm, field), field, when))
        return;
    w.ttl += (size_t)(when >= 0) - (w.model[i].when >= 0);
    w.model[i].when = when;
}

static void told_expired(void *ctx, const struct fieldmap_item *it)
{
    size_t i = index_of(it->field);
    int64_t now = *(int64_t *)ctx;
    check_item(it, i);
    assert_true(it->expire_ms >= 0 && it->expire_ms < now);
    model_gone(i);
}

static void expire_all(int64_t now)
{
    uint64_t pos = 0;
    int64_t earliest = INT64_MAX;
    size_t removed = 0, before = w.count;
    while (!fieldmap_expire(w.fm, now, &pos, 1 + below(3), &earliest, &removed, told_expired, &now))
        ;
    assert_int_equal(removed, before - w.count);
    for (size_t i = 0; i < FIELDS; i++)
        if (w.model[i].there && w.model[i].when >= 0) {
            assert_true(w.model[i].when >= now);
            assert_true(earliest <= w.model[i].when);
        }
    fieldmap_set_next_due(w.fm, earliest);
}

static void begin(bool values, uint64_t seed)
{
    memset(&w, 0, sizeof(w));
    w.values = values;
    w.rng = seed;
    w.key = (struct siphash_key){seed, 77};
    assert_int_equal(mem_init(&w.mem), 0);
    w.fm = fieldmap_create(&w.mem, &w.key, values);
    assert_non_null(w.fm);
}

static void end(void)
{
    assert_int_equal(w.mem.used_bytes, fieldmap_bytes(w.fm));
    size_t work = 0, slices = 0;
    while (!fieldmap_free_slice(w.fm, 8, &work))
        slices++;
    assert_int_equal(w.mem.used_bytes, 0);
    mem_fini(&w.mem);
}

static void random_steps(size_t n, size_t fields, unsigned put_percent, bool failing)
{
    for (size_t s = 0; s < n; s++) {
        size_t i = below(fields);
        if (failing)
            w.mem.fail_after = below(3);
        if (below(100) < put_percent)
            step_put(i);
        else if (w.values && below(4) == 0)
            step_expire(i);
        else
            step_remove(i);
        w.mem.fail_after = 0;
        assert_int_equal(w.mem.used_bytes, fieldmap_bytes(w.fm));
    }
}

static void test_model(void **state)
{
    bool values = *state != NULL;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        begin(values, seed);
        size_t fields = seed == 1 ? 10 : seed == 2 ? 60 : seed == 3 ? 700 : FIELDS;
        bool failing = seed % 2 == 0;
        check_all(w.fm);
        for (int round = 0; round < 3; round++) {
            random_steps(12000, fields, 80, failing);
            check_all(w.fm);
            if (values)
                expire_all((int64_t)below(1000));
            random_steps(3000, fields, 50, failing);
            check_all(w.fm);
            random_steps(15000, fields, 10, failing);
            check_all(w.fm);
        }
        end();
    }
}

static void test_empties(void **state)
{
    begin(true, 3);
    random_steps(20000, FIELDS, 100, false);
    size_t full = fieldmap_bytes(w.fm);
    for (size_t i = 0; i < FIELDS; i++)
        step_remove(i);
    check_all(w.fm);
    assert_true(fieldmap_bytes(w.fm) < 2000);
    assert_true(full > 200000);
    end();
}

/* ---- scans ---- */

static uint8_t seen[FIELDS];

static void see(void *ctx, const struct fieldmap_item *it)
{
    size_t i = index_of(it->field);
    check_item(it, i);
    seen[i]++;
}

/* What is there all the time is met exactly once, whatever comes and goes in between. */
static void test_scan_survives_changes(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        begin(true, seed);
        for (size_t i = 0; i < FIELDS; i += 3)
            step_put(i);
        if (seed % 2) /* shrinks while it is scanned */
            random_steps(8000, FIELDS, 100, false);
        bool stays[FIELDS];
        for (size_t i = 0; i < FIELDS; i++)
            stays[i] = w.model[i].there && i % 3 == 0;
        memset(seen, 0, sizeof(seen));
        uint64_t cursor = 0;
        do {
            cursor = fieldmap_scan(w.fm, cursor, 1 + below(20), see, NULL);
            assert_true(cursor < 1ull << FIELDMAP_CURSOR_BITS);
            for (int k = 0; k < 60; k++) {
                size_t i = below(FIELDS);
                if (stays[i])
                    step_put(i); /* another value, another place */
                else if (seed % 2)
                    step_remove(i);
                else
                    step_put(i);
            }
        } while (cursor);
        for (size_t i = 0; i < FIELDS; i++)
            if (stays[i])
                assert_int_equal(seen[i], 1);
        for (int k = 0; k < 100; k++) /* any number is a cursor */
            fieldmap_scan(w.fm, draw(&w.rng), 10, see, NULL);
        end();
    }
}

/* ---- random ---- */

static void test_random_is_uniform(void **state)
{
    static uint32_t hits[1000];
    begin(false, 5);
    size_t n = 1000;
    char f[1024];
    for (size_t i = 1; i <= n; i++) {
        struct span field = span_of(f, (size_t)sprintf(f, "%zu", i));
        assert_int_equal(fieldmap_put(w.fm, fieldmap_hash(w.fm, field), field, SPAN(""), -1),
                         FIELDMAP_NEW);
    }
    memset(hits, 0, sizeof(hits));
    for (size_t i = 0; i < n * 200; i++) {
        struct fieldmap_item it;
        fieldmap_random(w.fm, draw, &w.rng, &it);
        char text[8] = {0};
        memcpy(text, it.field.p, it.field.n);
        hits[strtoul(text, NULL, 10) - 1]++;
    }
    double chi = 0;
    for (size_t i = 0; i < n; i++)
        chi += ((double)hits[i] - 200) * ((double)hits[i] - 200) / 200;
    assert_true(chi < 1000 + 5 * 45); /* 999 degrees of freedom: mean 999, deviation 44.7 */
    end();
}

/* ---- copies ---- */

static void test_copy(void **state)
{
    begin(true, 9);
    random_steps(9000, FIELDS, 90, false);
    struct mem other;
    assert_int_equal(mem_init(&other), 0);
    uint64_t n = 1;
    struct fieldmap *copy;
    for (;; n += n < 50 ? 1 : 37) {
        other.fail_after = n;
        copy = fieldmap_copy(&other, w.fm);
        if (copy)
            break;
        assert_int_equal(other.used_bytes, 0);
    }
    other.fail_after = 0;
    assert_true(n > 100);
    assert_int_equal(other.used_bytes, fieldmap_bytes(copy));
    check_all(copy);
    check_all(w.fm);
    fieldmap_destroy(copy);
    assert_int_equal(other.used_bytes, 0);
    mem_fini(&other);
    end();
}

/* 300,000 members: a directory of several chunks, which goes again. */
static void test_large(void **state)
{
    begin(false, 11);
    char f[32];
    const size_t n = 300000;
    for (size_t i = 0; i < n; i++) {
        struct span field = span_of(f, (size_t)sprintf(f, "member:%09zu", i));
        assert_int_equal(fieldmap_put(w.fm, fieldmap_hash(w.fm, field), field, SPAN(""), -1),
                         FIELDMAP_NEW);
    }
    double each = (double)fieldmap_bytes(w.fm) / (double)n;
    print_message("%.1f bytes a member of 16\n", each);
    assert_true(each < 28);
    struct fieldmap *copy = fieldmap_copy(&w.mem, w.fm);
    assert_non_null(copy);
    for (size_t i = 0; i < n; i++) {
        struct span field = span_of(f, (size_t)sprintf(f, "member:%09zu", i));
        uint64_t hash = fieldmap_hash(w.fm, field);
        assert_true(fieldmap_has(copy, hash, field));
        assert_true(fieldmap_remove(w.fm, hash, field));
        assert_false(fieldmap_has(w.fm, hash, field));
    }
    assert_int_equal(fieldmap_count(copy), n);
    assert_true(fieldmap_bytes(w.fm) < 10000);
    fieldmap_destroy(copy);
    end();
}

/* Room for what comes, for far less, for far more; without memory at each allocation there is none, and nothing is lost. */
static void test_reserve(void **state)
{
    static const struct {
        size_t n, bytes;
    } claims[] = {{1, 10},          {12, 200},    {25, 300},        {700, 9000},
                  {FIELDS, 100000}, {FIELDS, 10}, {200000, 2000000}};
    for (size_t i = 0; i < 2 * ARRAY_LEN(claims); i++) {
        for (uint64_t fail = 0; fail < 40; fail++) {
            begin(i % 2, i + 1);
            w.mem.fail_after = fail;
            fieldmap_reserve(w.fm, claims[i / 2].n, claims[i / 2].bytes);
            w.mem.fail_after = 0;
            if (fail == 0) {
                size_t before = fieldmap_bytes(w.fm);
                assert_true(before > claims[i / 2].bytes);
                assert_true(before < claims[i / 2].bytes * 2 + claims[i / 2].n * 8 + 20000);
                fieldmap_reserve(w.fm, 1000, 20000); /* there is room already */
                assert_int_equal(fieldmap_bytes(w.fm), before);
            }
            check_all(w.fm);
            random_steps(fail ? 20 : 12000, FIELDS, 90, false);
            check_all(w.fm);
            random_steps(fail ? 20 : 12000, FIELDS, 0, false);
            check_all(w.fm);
            end();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_model, NULL),
        cmocka_unit_test_prestate(test_model, (void *)1),
        cmocka_unit_test(test_empties),
        cmocka_unit_test(test_scan_survives_changes),
        cmocka_unit_test(test_random_is_uniform),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_reserve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
