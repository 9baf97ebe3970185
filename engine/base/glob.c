/* Glob patterns with the meaning of Redis 7.0's KEYS, SCAN MATCH, CONFIG GET and PSUBSCRIBE.
 *
 *   *       any run of bytes           [abc] [a-z] [^a]  one byte of a class
 *   ?       any byte                   \x                the byte x
 *
 * Iterative: when a match fails, only the last '*' takes one more byte. An earlier '*' never has to be tried
 * again, because what lay between it and the last one matched already at the leftmost place. So the cost is
 * at most pattern times text, whatever the pattern. Pure function, any thread.
 *
 * Odd corners that Redis has and clients may lean on: an empty text matches only the empty pattern (not "*");
 * a '[' without ']' ends with the pattern; a lone '\' at the end is a backslash; an escape inside a class
 * is compared with its case even when nocase; a range is ordered before it is folded. */
#include "engine/base/num.h"

static inline uint8_t fold(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* Matches c against the class that starts behind '[' at *p; moves *p behind its ']'. */
static bool class_match(const uint8_t **p, const uint8_t *pe, uint8_t c, bool nocase)
{
    const uint8_t *q = *p;
    bool negate = q < pe && *q == '^', hit = false;
    q += negate;
    for (; q < pe && *q != ']'; q++) {
        if (*q == '\\' && pe - q >= 2) {
            q++;
            hit |= *q == c;
        } else if (pe - q >= 3 && q[1] == '-') {
            uint8_t lo = q[0] < q[2] ? q[0] : q[2], hi = q[0] < q[2] ? q[2] : q[0], x = c;
            if (nocase)
                lo = fold(lo), hi = fold(hi), x = fold(x);
            hit |= x >= lo && x <= hi;
            q += 2;
        } else {
            hit |= nocase ? fold(*q) == fold(c) : *q == c;
        }
    }
    *p = q < pe ? q + 1 : pe;
    return hit != negate;
}

/* Matches one byte of text against one element (not '*') at *p; moves *p behind the element. */
static bool one_match(const uint8_t **p, const uint8_t *pe, uint8_t c, bool nocase)
{
    uint8_t e = *(*p)++;
    if (e == '?')
        return true;
    if (e == '[')
        return class_match(p, pe, c, nocase);
    if (e == '\\' && *p < pe)
        e = *(*p)++;
    return nocase ? fold(e) == fold(c) : e == c;
}

bool glob_match(struct span pattern, struct span text, bool nocase)
{
    if (text.n == 0 || pattern.n == 0)
        return text.n == 0 && pattern.n == 0;
    const uint8_t *p = pattern.p, *pe = p + pattern.n;
    const uint8_t *t = text.p, *te = t + text.n;
    const uint8_t *star = NULL, *star_text = NULL;

    while (t < te) {
        if (p < pe && *p == '*') {
            while (p < pe && *p == '*')
                p++;
            if (p == pe)
                return true;
            star = p;
            star_text = t;
        } else if (p < pe && one_match(&p, pe, *t, nocase)) {
            t++;
        } else if (star) {
            p = star;
            t = ++star_text;
        } else {
            return false;
        }
    }
    while (p < pe && *p == '*')
        p++;
    return p == pe;
}
