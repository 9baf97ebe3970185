/* Numbers: what redis-server 7.0.15 accepts and how it prints (probed with INCRBY, ZADD, ZSCORE, INCRBYFLOAT). */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/base/num.h"
#include "tests/unit/unit.h"

static void integers_in(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"7", true, 7},
        {"-1", true, -1},
        {"1234567890", true, 1234567890},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"18446744073709551616", false, 0},
        {"99999999999999999999", false, 0},
        {"123456789012345678901", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+1", false, 0},
        {"-0", false, 0},
        {"00", false, 0},
        {"01", false, 0},
        {"-01", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1a", false, 0},
        {"0x1", false, 0},
        {"1/", false, 0},
        {"1:", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t v = 77;
        bool ok = num_parse_i64(span_str(cases[i].text), &v);
        if (ok != cases[i].ok || v != (ok ? cases[i].value : 77))
            fail_msg("%s: %d, %" PRId64, cases[i].text, ok, v);
    }
    uint64_t u = 77;
    assert_true(num_parse_u64(SPAN("18446744073709551615"), &u));
    assert_true(u == UINT64_MAX);
    assert_false(num_parse_u64(SPAN("18446744073709551616"), &u));
    assert_false(num_parse_u64(SPAN("20000000000000000000"), &u));
    assert_false(num_parse_u64(SPAN("-1"), &u));
    assert_true(u == UINT64_MAX);
}

static void assert_formats(uint64_t v)
{
    char want[32], got[32];
    size_t n = (size_t)snprintf(want, sizeof(want), "%" PRIu64, v);
    assert_int_equal(num_format_u64(got, v), n);
    assert_memory_equal(got, want, n);
    n = (size_t)snprintf(want, sizeof(want), "%" PRId64, (int64_t)v);
    assert_true(n <= NUM_I64_CHARS);
    assert_int_equal(num_format_i64(got, (int64_t)v), n);
    assert_memory_equal(got, want, n);
    int64_t back;
    assert_true(num_parse_i64(span_of(got, n), &back));
    assert_true(back == (int64_t)v);
}

static void integers_out(void **state)
{
    for (uint64_t v = 0; v < 20000; v++) {
        assert_formats(v);
        assert_formats(0 - v);
    }
    for (int bit = 0; bit < 64; bit++) {
        for (uint64_t d = 0; d < 3; d++)
            assert_formats((1ull << bit) + d - 1);
    }
    for (uint64_t v = 1; v <= UINT64_MAX / 10; v *= 10) {
        for (uint64_t d = 0; d < 3; d++)
            assert_formats(v * 10 + d - 1);
    }
}

static void floats_in(void **state)
{
    static const struct {
        const char *text;
        bool as_double, as_long;
    } cases[] = {
        {"1", true, true},          {"0x10", true, true},      {"0x1p-2", true, true},
        {"+1", true, true},         {".5", true, true},        {"5.", true, true},
        {"-0", true, true},         {"inf", true, true},       {"-inf", true, true},
        {"+inf", true, true},       {"Infinity", true, true},  {"1e308", true, true},
        {"1e-310", true, true},     {"5e-324", true, true},    {"2e-324", false, true},
        {"1e400", false, true},     {"-1e400", false, true},   {"1e-400", false, true},
        {"1e4932", false, true},    {"1e4933", false, false},  {"1e-4951", false, false},
        {"3.6e-4951", false, true}, {"1e-4960", false, false}, {"nan", false, false},
        {"-nan", false, false},     {"nan(1)", false, false},  {"", false, false},
        {" 1", false, false},       {"1 ", false, false},      {"\t1", false, false},
        {"\v1", false, false},      {"1e", false, false},      {"1_0", false, false},
        {"abc", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double d = 77;
        long double ld = 77;
        bool as_double = num_parse_double(span_str(cases[i].text), &d);
        bool as_long = num_parse_long_double(span_str(cases[i].text), &ld);
        if (as_double != cases[i].as_double || as_long != cases[i].as_long)
            fail_msg("'%s': %d, %d", cases[i].text, as_double, as_long);
        assert_true(as_double || d == 77);
        assert_true(as_long || ld == 77);
    }
    double d;
    assert_false(num_parse_double(SPAN("1\0"), &d));
    /* Only the span counts, not what lies behind it. */
    assert_true(num_parse_double(span_of("1234", 2), &d));
    assert_true(d == 12);
}

static void long_texts(void **state)
{
    static const struct {
        size_t digits;
        bool as_double, as_long;
    } cases[] = {
        {300, true, true},  {309, true, true},   {400, false, true},   {511, false, true},
        {512, false, true}, {4932, false, true}, {6000, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *text = malloc(cases[i].digits);
        double d;
        long double ld;
        memset(text, '1', cases[i].digits);
        struct span s = span_of(text, cases[i].digits);
        assert_int_equal(num_parse_double(s, &d), cases[i].as_double);
        assert_int_equal(num_parse_long_double(s, &ld), cases[i].as_long);
        /* Leading zeros have no limit for a double. */
        memset(text, '0', cases[i].digits - 1);
        assert_true(num_parse_double(s, &d));
        assert_true(d == 1);
        free(text);
    }
}

/* Short ones are read without strtod: the same bits, and the same refusals. */
static void short_doubles_as_strtod(void **state)
{
    static const char set[] = "0123456789012345678901234567890123456789..-e+";
    uint64_t seed = 1;
    for (int i = 0; i < 300000; i++) {
        char text[24], *end;
        size_t n = 1 + (size_t)(seed >> 40) % 18;
        for (size_t k = 0; k < n; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            text[k] = set[(seed >> 33) % (sizeof(set) - 1)];
        }
        text[n] = 0;
        errno = 0;
        double want = strtod(text, &end), got = 0;
        bool range = errno == ERANGE && (want == 0 || isinf(want));
        bool good = num_parse_double(span_of(text, n), &got);
        if (good != (*end == 0 && !range) || (good && memcmp(&got, &want, 8) != 0))
            fail_msg("%s: %d, %.17g instead of %.17g", text, good, got, want);
    }
}

static void doubles_out(void **state)
{
    static const struct {
        double v;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-0.0, "-0"},
        {3, "3"},
        {-12345, "-12345"},
        {1.5, "1.5"},
        {0.1, "0.10000000000000001"},
        {1e15, "1000000000000000"},
        {1e16, "10000000000000000"},
        {1e17, "1e+17"},
        {123456789012345680.0, "1.2345678901234568e+17"},
        {5e-324, "4.9406564584124654e-324"},
        {1e-310, "9.9999999999999694e-311"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
        {NAN, "nan"},
        {-NAN, "nan"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[128];
        size_t n = num_format_double(text, cases[i].v);
        assert_int_equal(n, strlen(cases[i].text));
        assert_memory_equal(text, cases[i].text, n);
    }
    /* The short cut for whole numbers prints what printf does. */
    for (double v = 1; v < 1e19; v *= 7) {
        char text[128], want[128];
        size_t n = num_format_double(text, -v);
        assert_int_equal(n, snprintf(want, sizeof(want), "%.17g", -v));
        assert_memory_equal(text, want, n);
    }
}

static void long_doubles_out(void **state)
{
    static const struct {
        long double v;
        const char *text;
    } cases[] = {
        {0, "0"},          {-0.0L, "0"},        {3, "3"},
        {10, "10"},        {-100, "-100"},      {0.1L, "0.1"},
        {1.5L, "1.5"},     {-1e-30L, "0"},      {1e21L, "1000000000000000000000"},
        {INFINITY, "inf"}, {-INFINITY, "-inf"}, {3.14159265358979L, "3.14159265358979"},
    };
    char text[NUM_LONG_DOUBLE_CHARS];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t n = num_format_long_double(text, cases[i].v);
        if (n != strlen(cases[i].text) || memcmp(text, cases[i].text, n) != 0)
            fail_msg("%s: %.*s", cases[i].text, (int)n, text);
    }
    long double v;
    assert_true(num_parse_long_double(SPAN("-1e4932"), &v));
    assert_int_equal(num_format_long_double(text, v), 4934);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_in),
        cmocka_unit_test(integers_out),
        cmocka_unit_test(floats_in),
        cmocka_unit_test(long_texts),
        cmocka_unit_test(short_doubles_as_strtod),
        cmocka_unit_test(doubles_out),
        cmocka_unit_test(long_doubles_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
