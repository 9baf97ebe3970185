/* Text to number and back with Redis's rules.
 *
 * Where in the flow: arguments of commands, and replies. Pure functions, any thread. The C library's strtod
 * and strtold do the floating point (locale "C" is never changed), so that hexadecimal, exponents and
 * rounding agree with Redis to the last digit; the checks around them are Redis 7.0's. */
#include "engine/base/num.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Digits only, no leading zero unless "0". At most 20 of them, so that the sum cannot wrap twice. */
static bool parse_digits(const uint8_t *p, size_t n, uint64_t *ret)
{
    if (n == 0 || n > 20 || (p[0] == '0' && n > 1))
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned d = (unsigned)p[i] - '0';
        if (d > 9)
            return false;
        /* Only the twentieth digit can go over. */
        if (i == 19 && (v > UINT64_MAX / 10 || (v == UINT64_MAX / 10 && d > UINT64_MAX % 10)))
            return false;
        v = v * 10 + d;
    }
    *ret = v;
    return true;
}

bool num_parse_u64(struct span s, uint64_t *ret)
{
    return parse_digits(s.p, s.n, ret);
}

bool num_parse_i64(struct span s, int64_t *ret)
{
    if (s.n == 0)
        return false;
    bool minus = s.p[0] == '-';
    uint64_t v;
    if (!parse_digits(s.p + minus, s.n - minus, &v))
        return false;
    if (minus) {
        if (v == 0 || v > (uint64_t)INT64_MAX + 1)
            return false;
        *ret = (int64_t)(0 - v);
    } else {
        if (v > INT64_MAX)
            return false;
        *ret = (int64_t)v;
    }
    return true;
}

static inline bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* [-]digits[.digits] of at most 15 digits: the quotient of two numbers that a double holds exactly is rounded once, so it is what strtod makes of it.
 * False: another form, or more of them. */
static bool parse_short_double(struct span s, double *ret)
{
    static const double power[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    bool minus = s.n && s.p[0] == '-';
    size_t i = minus, point = 0, digits;
    uint64_t v = 0;
    for (; i < s.n && i < 17; i++) {
        uint32_t d = s.p[i] - (uint32_t)'0';
        if (d <= 9)
            v = v * 10 + d;
        else if (s.p[i] == '.' && !point && i > minus)
            point = i;
        else
            return false;
    }
    digits = s.n - minus - (point != 0);
    if (i < s.n || digits == 0 || digits > 15 || (point && point == s.n - 1))
        return false;
    double whole = (double)v;
    if (point)
        whole /= power[s.n - 1 - point];
    *ret = minus ? -whole : whole;
    return true;
}

bool num_parse_double(struct span s, double *ret)
{
    if (parse_short_double(s, ret))
        return true;
    char small[512], *text = small, *end;
    if (s.n == 0 || is_blank(s.p[0]))
        return false;
    /* Redis puts no limit on the digits of a double; a long one is rare enough for a block of its own. */
    if (s.n >= sizeof(small) && !(text = malloc(s.n + 1)))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    errno = 0;
    double v = strtod(text, &end);
    bool whole = (size_t)(end - text) == s.n;
    bool range = errno == ERANGE && (isinf(v) || v == 0);
    if (text != small)
        free(text);
    if (!whole || range || isnan(v))
        return false;
    *ret = v;
    return true;
}

bool num_parse_long_double(struct span s, long double *ret)
{
    char text[NUM_LONG_DOUBLE_CHARS], *end;
    if (s.n == 0 || s.n >= sizeof(text) || is_blank(s.p[0]))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    errno = 0;
    long double v = strtold(text, &end);
    bool range = errno == ERANGE && (isinf(v) || v == 0);
    if ((size_t)(end - text) != s.n || range || isnan(v))
        return false;
    *ret = v;
    return true;
}

static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324"
                                  "25262728293031323334353637383940414243444546474849"
                                  "50515253545556575859606162636465666768697071727374"
                                  "75767778798081828384858687888990919293949596979899";

static inline size_t count_digits(uint64_t v)
{
    static const uint64_t power[] = {
        0,
        10,
        100,
        1000,
        10000,
        100000,
        1000000,
        10000000,
        100000000,
        1000000000,
        10000000000,
        100000000000,
        1000000000000,
        10000000000000,
        100000000000000,
        1000000000000000,
        10000000000000000,
        100000000000000000,
        1000000000000000000,
        10000000000000000000ULL,
    };
    /* log10(v) is about log2(v) * 1233 / 4096; the table settles the last step. */
    unsigned bits = 64 - (unsigned)__builtin_clzll(v | 1);
    unsigned guess = bits * 1233 >> 12;
    return guess + (guess == 0 || v >= power[guess]);
}

size_t num_format_u64(char *to, uint64_t v)
{
    if (v < 10) {
        to[0] = (char)('0' + v);
        return 1;
    }
    size_t n = count_digits(v);
    char *p = to + n;
    while (v >= 100) {
        p -= 2;
        memcpy(p, digit_pairs + v % 100 * 2, 2);
        v /= 100;
    }
    if (v >= 10)
        memcpy(p - 2, digit_pairs + v * 2, 2);
    else
        p[-1] = (char)('0' + v);
    return n;
}

size_t num_format_i64(char *to, int64_t v)
{
    if (v >= 0)
        return num_format_u64(to, (uint64_t)v);
    to[0] = '-';
    return 1 + num_format_u64(to + 1, 0 - (uint64_t)v);
}

size_t num_format_double(char *to, double v)
{
    if (isnan(v))
        return memcpy(to, "nan", 3), 3;
    if (isinf(v))
        return v > 0 ? (memcpy(to, "inf", 3), 3) : (memcpy(to, "-inf", 4), 4);
    /* Whole numbers of up to fifteen digits have the same text as integers, but "-0" keeps its sign. */
    if (v > -1e15 && v < 1e15 && v == (double)(int64_t)v && !(v == 0 && signbit(v)))
        return num_format_i64(to, (int64_t)v);
    return (size_t)snprintf(to, 128, "%.17g", v);
}

size_t num_format_long_double(char *to, long double v)
{
    if (isnan(v))
        return memcpy(to, "nan", 3), 3;
    if (isinf(v))
        return v > 0 ? (memcpy(to, "inf", 3), 3) : (memcpy(to, "-inf", 4), 4);
    size_t n = (size_t)snprintf(to, NUM_LONG_DOUBLE_CHARS, "%.17Lf", v);
    while (n && to[n - 1] == '0')
        n--;
    if (n && to[n - 1] == '.')
        n--;
    if (n == 2 && to[0] == '-' && to[1] == '0') {
        to[0] = '0';
        n = 1;
    }
    return n;
}
