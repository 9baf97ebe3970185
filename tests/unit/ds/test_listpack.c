/* listpack against a naive model, against bytes that redis-server 7.0 made, and against damaged bytes.
 *
 * Blocks are copied into allocations of exactly their size before they are walked, so that a sanitized build sees every byte read
 * too far. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/crc.h"
#include "engine/ds/listpack_inline.h"
#include "tests/unit/unit.h"

static struct mem mem;
static uint64_t rng_state;

static uint64_t rnd(void)
{
    uint64_t z = rng_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static int setup(void **state)
{
    rng_state = 7;
    return mem_init(&mem);
}
static int teardown(void **state)
{
    assert_int_equal(mem.used_bytes, 0);
    mem_fini(&mem);
    return 0;
}

static void assert_text(const uint8_t *at, struct span want)
{
    char scratch[NUM_I64_CHARS];
    assert_non_null(at);
    struct span have = lp_text(at, scratch);
    assert_int_equal(have.n, want.n);
    assert_memory_equal(have.p, want.p, want.n);
    assert_true(lp_equal(at, want));
}

static void add(struct mem_block *lp, struct span text)
{
    assert_true(lp_append(&mem, lp, text));
}

/* ---- the bytes of redis-server ---- */

static const char *const odd[] = {"0",
                                  "1",
                                  "127",
                                  "128",
                                  "-1",
                                  "4095",
                                  "4096",
                                  "-4096",
                                  "-4097",
                                  "32767",
                                  "32768",
                                  "-32768",
                                  "-32769",
                                  "8388607",
                                  "8388608",
                                  "-8388608",
                                  "-8388609",
                                  "2147483647",
                                  "2147483648",
                                  "-2147483648",
                                  "-2147483649",
                                  "9223372036854775807",
                                  "-9223372036854775808",
                                  "9223372036854775808",
                                  "-9223372036854775809",
                                  "-0",
                                  "01",
                                  "",
                                  " 1",
                                  "1 ",
                                  "+1",
                                  "-",
                                  "a",
                                  "18446744073709551616",
                                  "00",
                                  "1e3"};

/* What DUMP of redis-server 7.0.15 carries for a list of these. */
static const uint8_t odd_bytes[] = "\xe3\x00\x00\x00\x24\x00\x00\x01\x01\x01\x7f\x01\xc0\x80\x02"
                                   "\xdf\xff\x02\xcf\xff\x02\xf1\x00\x10\x03"
                                   "\xd0\x00\x02\xf1\xff\xef\x03\xf1\xff\x7f\x03\xf2\x00\x80\x00"
                                   "\x04\xf1\x00\x80\x03\xf2\xff\x7f\xff\x04"
                                   "\xf2\xff\xff\x7f\x04\xf3\x00\x00\x80\x00\x05\xf2\x00\x00\x80"
                                   "\x04\xf3\xff\xff\x7f\xff\x05\xf3\xff\xff"
                                   "\xff\x7f\x05\xf4\x00\x00\x00\x80\x00\x00\x00\x00\x09\xf3\x00"
                                   "\x00\x00\x80\x05\xf4\xff\xff\xff\x7f\xff"
                                   "\xff\xff\xff\x09\xf4\xff\xff\xff\xff\xff\xff\xff\x7f\x09\xf4"
                                   "\x00\x00\x00\x00\x00\x00\x00\x80\x09\x93"
                                   "\x39\x32\x32\x33\x33\x37\x32\x30\x33\x36\x38\x35\x34\x37\x37"
                                   "\x35\x38\x30\x38\x14\x94\x2d\x39\x32\x32"
                                   "\x33\x33\x37\x32\x30\x33\x36\x38\x35\x34\x37\x37\x35\x38\x30"
                                   "\x39\x15\x82\x2d\x30\x03\x82\x30\x31\x03"
                                   "\x80\x01\x82\x20\x31\x03\x82\x31\x20\x03\x82\x2b\x31\x03\x81"
                                   "\x2d\x02\x81\x61\x02\x94\x31\x38\x34\x34"
                                   "\x36\x37\x34\x34\x30\x37\x33\x37\x30\x39\x35\x35\x31\x36\x31"
                                   "\x36\x15\x82\x30\x30\x03\x83\x31\x65\x33"
                                   "\x04\xff";

static void the_bytes_are_those_of_redis(void **state)
{
    struct mem_block lp;
    assert_true(lp_init(&mem, &lp, 0));
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        add(&lp, span_str(odd[i]));
    assert_int_equal(lp.len, sizeof(odd_bytes) - 1);
    assert_memory_equal(lp.p, odd_bytes, lp.len);
    assert_true(lp_valid(lp.p, lp.len));
    uint8_t *at = lp_first(&lp);
    for (size_t i = 0; i < ARRAY_LEN(odd); i++, at = lp_next(&lp, at)) {
        assert_text(at, span_str(odd[i]));
        assert_ptr_equal(lp_seek(&lp, (int64_t)i), at);
        assert_ptr_equal(lp_find(&lp, lp_first(&lp), span_str(odd[i]), 0), at);
        assert_int_equal(lp_skip(at) - at, lp_element_bytes(span_str(odd[i])));
    }
    assert_null(at);
    lp_free(&mem, &lp);
}

/* "first", n times x, -300: length and CRC32C of what DUMP of redis-server 7.0.15 carries. */
static const struct {
    size_t n, bytes;
    uint32_t crc;
} sizes[] = {
    {63, 82, 0xe98bc98a},       {64, 84, 0xf4c62928},       {125, 145, 0x82ce7462},
    {126, 147, 0x01438821},     {127, 148, 0x41e3ffb1},     {128, 149, 0xe06a8548},
    {4094, 4115, 0x3d2587c2},   {4095, 4116, 0x10c6f9f8},   {4096, 4120, 0xa6c3af70},
    {4097, 4121, 0x4be34772},   {16377, 16401, 0x7f989dd3}, {16378, 16403, 0x3c11a9b3},
    {16379, 16404, 0x72e16f9c}, {16380, 16405, 0xae440ff5}, {16381, 16406, 0x85ef7144},
    {16382, 16407, 0xfb63e650}, {16383, 16408, 0x9094b89b}, {40000, 40025, 0x01001b59},
};

static void long_strings_are_those_of_redis(void **state)
{
    static uint8_t x[40000];
    memset(x, 'x', sizeof(x));
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct mem_block lp;
        assert_true(lp_init(&mem, &lp, 0));
        add(&lp, SPAN("first"));
        add(&lp, span_of(x, sizes[i].n));
        assert_true(lp_append_i64(&mem, &lp, -300));
        assert_int_equal(lp.len, sizes[i].bytes);
        assert_int_equal(crc32c(0, lp.p, lp.len), sizes[i].crc);
        assert_true(lp_valid(lp.p, lp.len));
        uint8_t *at = lp_last(&lp);
        assert_int_equal(lp_get(at).number, -300);
        at = lp_prev(&lp, at);
        assert_text(at, span_of(x, sizes[i].n));
        at = lp_prev(&lp, at);
        assert_text(at, SPAN("first"));
        assert_null(lp_prev(&lp, at));
        lp_free(&mem, &lp);
    }
}

/* The backwards length takes 4 and 5 bytes only from 2 MB and 256 MB on; up to 4 is tried. */
static void strings_of_megabytes(void **state)
{
    static const uint32_t limit[] = {16383 - 5, 2097151 - 5};
    uint8_t *big = calloc(1, 3u << 20);
    for (size_t i = 0; i < ARRAY_LEN(limit); i++)
        for (uint32_t n = limit[i] - 2; n <= limit[i] + 2; n++) {
            struct mem_block lp;
            assert_true(lp_init(&mem, &lp, n));
            add(&lp, SPAN("a"));
            add(&lp, span_of(big, n));
            add(&lp, SPAN("b"));
            assert_int_equal(lp.len, 7 + 3 + (5 + n + (n < limit[i] ? 2 + i : 3 + i)) + 3);
            assert_true(lp_valid(lp.p, lp.len));
            assert_text(lp_prev(&lp, lp_last(&lp)), span_of(big, n));
            assert_text(lp_seek(&lp, -3), SPAN("a"));
            lp_free(&mem, &lp);
        }
    free(big);
}

/* ---- against a model ---- */

#define MODEL_MAX 400

struct model {
    struct {
        char text[300];
        size_t n;
    } v[MODEL_MAX];
    size_t n;
};

/* A text of any kind: words, integers near every limit, things that look like integers. */
static size_t any_text(char *to)
{
    static const int64_t edge[] = {0,          128,         4096,      -4096,
                                   32768,      -32768,      8388608,   -8388608,
                                   2147483648, -2147483648, INT64_MAX, INT64_MIN};
    switch (rnd() % 4) {
    case 0: return (size_t)snprintf(to, 300, "%s", odd[rnd() % ARRAY_LEN(odd)]);
    case 1:
        return num_format_i64(to,
                              (int64_t)((uint64_t)edge[rnd() % ARRAY_LEN(edge)] + rnd() % 5 - 2));
    default: {
        size_t n = rnd() % (rnd() % 8 ? 12 : 299);
        for (size_t i = 0; i < n; i++)
            to[i] = (char)rnd();
        return n;
    }
    }
}

static void model_splice(struct model *m, size_t at, size_t gone, const char *text, size_t n,
                         bool in)
{
    memmove(&m->v[at + in], &m->v[at + gone], (m->n - at - gone) * sizeof(m->v[0]));
    m->n = m->n - gone + in;
    if (in) {
        memcpy(m->v[at].text, text, n);
        m->v[at].n = n;
    }
}

static void assert_same(const struct mem_block *block, const struct model *m)
{
    assert_true(lp_valid(block->p, block->len));
    assert_true(block->cap >= block->len);
    struct mem_block lp = {malloc(block->len), block->len, block->len};
    memcpy(lp.p, block->p, block->len);
    assert_int_equal(lp_count(&lp), m->n);
    uint8_t *at = lp_first(&lp);
    for (size_t i = 0; i < m->n; i++, at = lp_next(&lp, at))
        assert_text(at, span_of(m->v[i].text, m->v[i].n));
    assert_null(at);
    at = lp_last(&lp);
    for (size_t i = m->n; i-- > 0; at = lp_prev(&lp, at))
        assert_text(at, span_of(m->v[i].text, m->v[i].n));
    assert_null(at);
    assert_null(lp_seek(&lp, (int64_t)m->n));
    assert_null(lp_seek(&lp, -(int64_t)m->n - 1));
    if (m->n) {
        size_t i = rnd() % m->n, skip = rnd() % 3, from = rnd() % m->n;
        struct span text = span_of(m->v[i].text, m->v[i].n);
        assert_text(lp_seek(&lp, (int64_t)i), text);
        assert_text(lp_seek(&lp, (int64_t)i - (int64_t)m->n), text);
        size_t want = from;
        while (want < m->n && !span_eq(span_of(m->v[want].text, m->v[want].n), text))
            want += skip + 1;
        assert_ptr_equal(lp_find(&lp, lp_seek(&lp, (int64_t)from), text, (uint32_t)skip),
                         want < m->n ? lp_seek(&lp, (int64_t)want) : NULL);
    }
    free(lp.p);
}

static void random_changes(void **state)
{
    struct model *m = calloc(1, sizeof(*m));
    for (int round = 0; round < 40; round++) {
        struct mem_block lp;
        assert_true(lp_init(&mem, &lp, rnd() % 100));
        m->n = 0;
        for (int step = 0; step < 300; step++) {
            char text[300];
            size_t n = any_text(text), i = m->n ? rnd() % m->n : 0;
            struct span t = span_of(text, n);
            unsigned what = (unsigned)(rnd() % 8);
            uint8_t *at = lp_seek(&lp, (int64_t)i), *got;
            if (what < 4 || m->n == 0) {
                if (rnd() % 3 == 0)
                    i = m->n, at = NULL;
                got = lp_insert(&mem, &lp, at, t);
                model_splice(m, i, 0, text, n, true);
                assert_ptr_equal(got, lp_seek(&lp, (int64_t)i));
            } else if (what < 6) {
                int64_t v;
                got = num_parse_i64(t, &v) ? lp_replace_i64(&mem, &lp, at, v)
                                           : lp_replace(&mem, &lp, at, t);
                model_splice(m, i, 1, text, n, true);
                assert_ptr_equal(got, lp_seek(&lp, (int64_t)i));
            } else {
                size_t gone = rnd() % 4 ? 1 : rnd() % 20, real = gone < m->n - i ? gone : m->n - i;
                got = lp_delete(&mem, &lp, at, gone);
                model_splice(m, i, real, NULL, 0, false);
                assert_ptr_equal(got, lp_seek(&lp, (int64_t)i));
            }
            assert_same(&lp, m);
        }
        while (m->n) {
            lp_delete(&mem, &lp, lp_first(&lp), 1);
            model_splice(m, 0, 1, NULL, 0, false);
        }
        assert_same(&lp, m);
        assert_true(lp.cap <= 16);
        lp_free(&mem, &lp);
    }
    free(m);
}

static void joining(void **state)
{
    struct mem_block a, b;
    assert_true(lp_init(&mem, &a, 0) && lp_init(&mem, &b, 1000));
    for (int64_t i = 0; i < 100; i++)
        assert_true(lp_append_i64(&mem, i < 40 ? &a : &b, i * 1000));
    assert_true(lp_join(&mem, &a, &b));
    assert_true(lp_valid(a.p, a.len));
    assert_int_equal(lp_count(&a), 100);
    for (int64_t i = 0; i < 100; i++)
        assert_int_equal(lp_get(lp_seek(&a, i)).number, i * 1000);
    lp_shrink(&mem, &b);
    assert_int_equal(b.cap, mem_size_class(b.len));
    lp_free(&mem, &a);
    lp_free(&mem, &b);
}

/* The header has no number for 65535 elements and more. */
static void more_elements_than_the_header_counts(void **state)
{
    struct mem_block lp, more;
    assert_true(lp_init(&mem, &lp, 200000) && lp_init(&mem, &more, 0));
    for (int64_t i = 0; i < 65534; i++)
        assert_true(lp_append_i64(&mem, &lp, i & 63));
    assert_int_equal(lp_load16(lp.p + 4), 65534);
    assert_true(lp_append_i64(&mem, &lp, 500));
    assert_int_equal(lp_load16(lp.p + 4), 65535);
    assert_true(lp_append_i64(&mem, &lp, 501));
    assert_int_equal(lp_load16(lp.p + 4), 65535);
    assert_int_equal(lp_count(&lp), 65536);
    assert_int_equal(lp_get(lp_seek(&lp, 65535)).number, 501);
    assert_int_equal(lp_get(lp_seek(&lp, -2)).number, 500);
    assert_int_equal(lp_get(lp_seek(&lp, -65536)).number, 0);
    assert_null(lp_seek(&lp, 65536));
    assert_null(lp_seek(&lp, -65537));
    assert_true(lp_valid(lp.p, lp.len));
    assert_true(lp_append_i64(&mem, &more, 9));
    assert_true(lp_join(&mem, &lp, &more));
    assert_int_equal(lp_count(&lp), 65537);
    lp_delete(&mem, &lp, lp_first(&lp), 7);
    assert_int_equal(lp_load16(lp.p + 4), 65535);
    assert_int_equal(lp_count(&lp), 65530);
    assert_int_equal(lp_load16(lp.p + 4), 65530);
    assert_true(lp_valid(lp.p, lp.len));
    lp_free(&mem, &lp);
    lp_free(&mem, &more);
}

static void no_memory_changes_nothing(void **state)
{
    static uint8_t big[500];
    struct mem_block lp, other;
    assert_true(lp_init(&mem, &other, 500));
    add(&other, span_of(big, 400));
    mem.fail_after = 1;
    assert_false(lp_init(&mem, &lp, 0));
    assert_true(lp_init(&mem, &lp, 0));
    add(&lp, SPAN("one"));
    add(&lp, SPAN("2"));
    uint8_t before[64];
    size_t n = lp.len;
    memcpy(before, lp.p, n);
    for (int what = 0; what < 3; what++) {
        mem.fail_after = 1;
        if (what == 0)
            assert_null(lp_insert(&mem, &lp, lp_first(&lp), span_of(big, 300)));
        else if (what == 1)
            assert_null(lp_replace(&mem, &lp, lp_first(&lp), span_of(big, 300)));
        else
            assert_false(lp_join(&mem, &lp, &other));
        assert_int_equal(lp.len, n);
        assert_memory_equal(lp.p, before, n);
    }
    mem.fail_after = 0;
    assert_null(lp_insert(&mem, &lp, NULL, span_of(big, (size_t)LP_BYTES_MAX + 1)));
    assert_false(lp_init(&mem, &(struct mem_block){0}, (size_t)LP_BYTES_MAX + 1));
    lp_free(&mem, &lp);
    lp_free(&mem, &other);
}

/* ---- damaged bytes ---- */

/* Reads all of it by every way there is; the sanitizer judges. */
static size_t walk(const uint8_t *p, size_t n)
{
    struct mem_block lp = {(uint8_t *)(uintptr_t)p, n, n};
    char scratch[NUM_I64_CHARS];
    size_t sum = 0, count = 0, back = 0;
    for (uint8_t *at = lp_first(&lp); at; at = lp_next(&lp, at), count++) {
        struct span t = lp_text(at, scratch);
        for (size_t i = 0; i < t.n; i++)
            sum += t.p[i];
    }
    for (uint8_t *at = lp_last(&lp); at; at = lp_prev(&lp, at))
        back++;
    assert_int_equal(count, back);
    lp_find(&lp, lp_first(&lp), SPAN("not there"), 0);
    return sum;
}

static void check_damaged(const uint8_t *p, size_t n, size_t *valid)
{
    uint8_t *exact = malloc(n ? n : 1);
    memcpy(exact, p, n);
    if (lp_valid(exact, n)) {
        ++*valid;
        walk(exact, n);
    }
    free(exact);
}

static void every_truncation_and_bit_flip(void **state)
{
    static uint8_t x[5000];
    struct mem_block lp;
    assert_true(lp_init(&mem, &lp, 0));
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        add(&lp, span_str(odd[i]));
    add(&lp, span_of(x, 70));
    add(&lp, span_of(x, 130));
    add(&lp, span_of(x, 4100));
    assert_true(lp_valid(lp.p, lp.len));
    size_t valid = 0;
    for (size_t n = 0; n < lp.len; n++) {
        check_damaged(lp.p, n, &valid);
        uint32_t have = (uint32_t)lp.len, cut = (uint32_t)n;
        if (n >= 4) { /* and with a header that does not give it away */
            memcpy(lp.p, &cut, 4);
            check_damaged(lp.p, n, &valid);
            memcpy(lp.p, &have, 4);
        }
    }
    assert_int_equal(valid, 0);
    for (size_t bit = 0; bit < lp.len * 8; bit++) {
        lp.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        check_damaged(lp.p, lp.len, &valid);
        lp.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    /* Flips within the texts, and of integers, make other listpacks; those of the frame none. */
    assert_in_range(valid, 4300 * 8, lp.len * 8 - 6 * 8);
    lp_free(&mem, &lp);
}

static void random_damage(void **state)
{
    uint8_t bytes[64];
    size_t valid = 0;
    for (int i = 0; i < 200000; i++) {
        uint32_t n = 7 + (uint32_t)(rnd() % 40);
        for (uint32_t j = 0; j < n; j++)
            bytes[j] = rnd() % 3 ? (uint8_t)(rnd() % 4 + (rnd() % 4 ? 0 : 0x7f)) : (uint8_t)rnd();
        memcpy(bytes, &n, 4);
        memset(bytes + 4, 0xff, 2);
        bytes[n - 1] = 0xff;
        check_damaged(bytes, n, &valid);
    }
    assert_true(valid > 100);
}

/* A string that reads as an integer is never written here, but bytes from outside may hold it. */
static void a_string_that_reads_as_an_integer_is_found(void **state)
{
    uint8_t p[] = {7 + 4 + 2, 0, 0, 0, 2, 0, 0x82, '1', '2', 3, 12, 1, 0xff};
    struct mem_block lp = {p, sizeof(p), sizeof(p)};
    assert_true(lp_valid(p, sizeof(p)));
    assert_ptr_equal(lp_find(&lp, lp_first(&lp), SPAN("12"), 0), p + 6);
    assert_ptr_equal(lp_find(&lp, p + 10, SPAN("12"), 0), p + 10);
    assert_true(lp_equal(p + 6, SPAN("12")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_bytes_are_those_of_redis, setup, teardown),
        cmocka_unit_test_setup_teardown(long_strings_are_those_of_redis, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_of_megabytes, setup, teardown),
        cmocka_unit_test_setup_teardown(random_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(joining, setup, teardown),
        cmocka_unit_test_setup_teardown(more_elements_than_the_header_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(no_memory_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(every_truncation_and_bit_flip, setup, teardown),
        cmocka_unit_test_setup_teardown(random_damage, setup, teardown),
        cmocka_unit_test(a_string_that_reads_as_an_integer_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
