/* Globs as KEYS of redis-server 7.0.15 answers, and patterns built to take for ever. */
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/base/num.h"
#include "tests/unit/unit.h"

static void as_probed(void **state)
{
    static const struct {
        struct span pattern, text;
        bool match, nocase;
    } cases[] = {
        {SPAN("*"), SPAN("x"), true, false},
        {SPAN("**"), SPAN(""), false, false},
        {SPAN(""), SPAN(""), true, false},
        {SPAN(""), SPAN("a"), false, false},
        {SPAN("a"), SPAN(""), false, false},
        {SPAN("a**"), SPAN("a"), true, false},
        {SPAN("a*b"), SPAN("a"), false, false},
        {SPAN("a*b*c"), SPAN("aXbYbZc"), true, false},
        {SPAN("a*b*c"), SPAN("aXbYbZcd"), false, false},
        {SPAN("*abc"), SPAN("ababc"), true, false},
        {SPAN("h?llo"), SPAN("hello"), true, false},
        {SPAN("h?llo"), SPAN("hllo"), false, false},
        {SPAN("?"), SPAN(""), false, false},
        {SPAN("h[ae]llo"), SPAN("hallo"), true, false},
        {SPAN("h[ae]llo"), SPAN("hillo"), false, false},
        {SPAN("h[^e]llo"), SPAN("hello"), false, false},
        {SPAN("h[^e]llo"), SPAN("hbllo"), true, false},
        {SPAN("h[a-b]llo"), SPAN("hbllo"), true, false},
        {SPAN("a\\"), SPAN("a\\"), true, false},
        {SPAN("\\a"), SPAN("a"), true, false},
        {SPAN("\\*"), SPAN("x"), false, false},
        {SPAN("\\*"), SPAN("*"), true, false},
        {SPAN("[a"), SPAN("a"), true, false},
        {SPAN("[ab"), SPAN("b"), true, false},
        {SPAN("[^"), SPAN("a"), true, false},
        {SPAN("["), SPAN("a"), false, false},
        {SPAN("[]"), SPAN("a"), false, false},
        {SPAN("[]]"), SPAN("]"), false, false},
        {SPAN("[^]"), SPAN("a"), true, false},
        {SPAN("[c-a]"), SPAN("b"), true, false},
        {SPAN("[a-]"), SPAN("-"), false, false},
        {SPAN("[-a]"), SPAN("-"), true, false},
        {SPAN("[\\a]"), SPAN("a"), true, false},
        {SPAN("[\\]]"), SPAN("]"), true, false},
        {SPAN("[a-"), SPAN("b"), false, false},
        {SPAN("[a-\\c]"), SPAN("c"), true, false},
        {SPAN("[a-\\c]"), SPAN("\\"), true, false},
        {SPAN("a\0b"), SPAN("a\0b"), true, false},
        {SPAN("HeLLo*"), SPAN("hEllO!"), true, true},
        {SPAN("HeLLo*"), SPAN("hEllO!"), false, false},
        {SPAN("[A-C]x"), SPAN("bX"), true, true},
        {SPAN("[abc]"), SPAN("B"), true, true},
        {SPAN("[\\a]"), SPAN("A"), false, true},
        {SPAN("\\A"), SPAN("a"), true, true},
        {SPAN("[Z-a]"), SPAN("b"), false, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (glob_match(cases[i].pattern, cases[i].text, cases[i].nocase) != cases[i].match)
            fail_msg("%s against %s", cases[i].pattern.p, cases[i].text.p);
    }
}

/* The definition, exponential: a star takes nothing, or one byte and itself again. */
static bool slow(const char *p, const char *t)
{
    if (!*p)
        return !*t;
    if (*p == '*')
        return slow(p + 1, t) || (*t && slow(p, t + 1));
    return *t && (*p == '?' || *p == *t) && slow(p + 1, t + 1);
}

static void every_short_pattern(void **state)
{
    static const char letters[] = "a*?b";
    unsigned matches = 0;
    for (unsigned p = 0; p < 4 * 4 * 4 * 4 * 4; p++) {
        char pattern[6] = {0};
        for (unsigned i = 0, x = p; i < 5; i++, x /= 4)
            pattern[i] = letters[x % 4];
        for (unsigned t = 0; t < 126; t++) {
            /* Every text of 1 to 6 letters a and b: the bits below the leading one. */
            char text[8] = {0};
            unsigned bits = t + 2, n = 31 - (unsigned)__builtin_clz(bits);
            for (unsigned i = 0; i < n; i++)
                text[i] = bits >> i & 1 ? 'a' : 'b';
            bool match = glob_match(span_str(pattern), span_str(text), false);
            assert_int_equal(match, slow(pattern, text));
            matches += match;
        }
    }
    assert_true(matches > 10000);
}

/* Steps are bounded by pattern times text: this ends at once or never. */
static void no_pattern_hangs(void **state)
{
    char pattern[2002], text[20001];
    for (size_t i = 0; i < 2000; i += 2)
        memcpy(pattern + i, "*a", 2);
    memcpy(pattern + 2000, "b", 2);
    memset(text, 'a', 20000);
    text[20000] = 0;
    assert_false(glob_match(span_str(pattern), span_str(text), false));
    text[19999] = 'b';
    assert_true(glob_match(span_str(pattern), span_str(text), false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_probed),
        cmocka_unit_test(every_short_pattern),
        cmocka_unit_test(no_pattern_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
