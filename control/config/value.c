/* value: one directive's value from words to its field and back to text, by kind. Error texts are Redis's, byte for byte. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "control/config/config_internal.h"
#include "engine/base/num.h"

static uint64_t field_get(const struct config *c, const struct config_row *r)
{
    const void *p = (const char *)c + r->offset;
    switch (r->size) {
    case 1: return *(const uint8_t *)p;
    case 4: return *(const uint32_t *)p;
    default: return *(const uint64_t *)p;
    }
}

static void field_set(struct config *c, const struct config_row *r, uint64_t v)
{
    void *p = (char *)c + r->offset;
    switch (r->size) {
    case 1: *(uint8_t *)p = (uint8_t)v; break;
    case 4: *(uint32_t *)p = (uint32_t)v; break;
    default: *(uint64_t *)p = v; break;
    }
}

static bool fail(char *why, const char *text)
{
    snprintf(why, CONFIG_WHY_BYTES, "%s", text);
    return false;
}

/* Digits, then a unit: k m g are powers of 1000, kb mb gb of 1024. No digits at all is 0 and too many are the largest number, as in Redis. */
bool config_parse_mem(struct span s, uint64_t *ret)
{
    static const struct {
        const char *unit;
        uint64_t factor;
    } units[] = {{"", 1},        {"b", 1},           {"k", 1000},       {"kb", 1ull << 10},
                 {"m", 1000000}, {"mb", 1ull << 20}, {"g", 1000000000}, {"gb", 1ull << 30}};
    size_t digits = 0;
    uint64_t v = 0;

    for (; digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9'; digits++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, s.p[digits] - '0', &v))
            v = UINT64_MAX;
    struct span unit = span_of(s.p + digits, s.n - digits);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (span_is(unit, units[i].unit)) {
            if (__builtin_mul_overflow(v, units[i].factor, &v))
                v = UINT64_MAX;
            *ret = v;
            return true;
        }
    return false;
}

static bool set_bool(struct config *c, const struct config_row *r, struct span v, char *why)
{
    if (!span_is(v, "yes") && !span_is(v, "no"))
        return fail(why, "argument must be 'yes' or 'no'");
    field_set(c, r, span_is(v, "yes"));
    return true;
}

static bool parse_octal(struct span s, int64_t *ret)
{
    int64_t v = 0;
    if (s.n == 0 || s.n > 8)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '7')
            return false;
        v = v * 8 + (s.p[i] - '0');
    }
    *ret = v;
    return true;
}

static bool set_int(struct config *c, const struct config_row *r, struct span s, char *why)
{
    int64_t v, hi = (int64_t)r->hi;
    bool octal = r->item.flags & CF_OCTAL;

    if (octal && !parse_octal(s, &v))
        return fail(why, "argument couldn't be parsed as an octal number");
    if (!octal && !num_parse_i64(s, &v))
        return fail(why, "argument couldn't be parsed into an integer");
    if ((r->item.flags & CF_CLAMP) && v >= 0 && v <= INT32_MAX) {
        v = v < r->lo ? r->lo : v > hi ? hi : v;
    } else if (r->item.flags & CF_CLAMP) {
        snprintf(why, CONFIG_WHY_BYTES, "argument must be between 0 and %d inclusive", INT32_MAX);
        return false;
    }
    if (v < r->lo || v > hi) {
        if (octal)
            snprintf(why, CONFIG_WHY_BYTES,
                     "argument must be between %" PRIo64 " and %" PRIo64 " inclusive",
                     (uint64_t)r->lo, r->hi);
        else
            snprintf(why, CONFIG_WHY_BYTES,
                     "argument must be between %" PRId64 " and %" PRId64 " inclusive", r->lo, hi);
        return false;
    }
    field_set(c, r, (uint64_t)v);
    return true;
}

static bool set_mem(struct config *c, const struct config_row *r, struct span s, char *why)
{
    uint64_t v;
    if (!config_parse_mem(s, &v))
        return fail(why, "argument must be a memory value");
    if (v < (uint64_t)r->lo || v > r->hi) {
        snprintf(why, CONFIG_WHY_BYTES,
                 "argument must be between %" PRId64 " and %" PRIu64 " inclusive", r->lo, r->hi);
        return false;
    }
    field_set(c, r, v);
    return true;
}

static bool set_enum(struct config *c, const struct config_row *r, struct span s, char *why)
{
    for (size_t i = 0; r->values[i]; i++)
        if (span_is(s, r->values[i])) {
            if (r->check && !r->check(s, why))
                return false;
            field_set(c, r, r->numbers[i]);
            return true;
        }
    int n = snprintf(why, CONFIG_WHY_BYTES, "argument(s) must be one of the following: ");
    for (size_t i = 0; r->values[i] && n < CONFIG_WHY_BYTES; i++)
        n += snprintf(why + n, CONFIG_WHY_BYTES - (size_t)n, "%s%s", i ? ", " : "", r->values[i]);
    return false;
}

static bool set_str(struct config *c, const struct config_row *r, struct span s, char *why)
{
    char **at = (char **)((char *)c + r->offset);
    if (memchr(s.p, 0, s.n))
        return fail(why, "argument must not hold a NUL byte");
    if (r->check && !r->check(s, why))
        return false;
    char *copy = strndup((const char *)s.p, s.n);
    if (copy && (r->item.flags & CF_PATH)) {
        char *full = realpath(copy, NULL);
        free(copy);
        copy = full;
    }
    if (!copy)
        return fail(why, "out of memory");
    free(*at);
    *at = copy;
    return true;
}

/* Accepted when it asks for the state that is true here; config files get a warning instead (load.c). */
static bool set_foreign(const struct config_row *r, struct span s, char *why)
{
    size_t n = strlen(r->item.default_text);
    if (s.n == n && strncasecmp((const char *)s.p, r->item.default_text, n) == 0)
        return true;
    snprintf(why, CONFIG_WHY_BYTES, "not supported by Barewire: %s", r->item.help);
    return false;
}

/* Words of a string that is a list: one blank between them. */
static bool set_words(struct config *c, const struct config_row *r, const struct span *argv,
                      uint32_t argc, char *why)
{
    struct config_text t = {0};
    size_t n = 0;
    bool first = true;
    for (uint32_t i = 0; i < argc; i++) {
        if (!argv[i].n)
            continue;
        if (!first)
            text_add(&t, " ", 1);
        text_add(&t, argv[i].p, argv[i].n);
        first = false;
    }
    char *joined = text_take(&t, &n);
    bool ok = joined ? set_str(c, r, span_of(joined, n), why) : fail(why, "out of memory");
    free(joined);
    return ok;
}

bool config_row_set(struct config *c, const struct config_row *r, const struct span *argv,
                    uint32_t argc, char *why)
{
    if (r->item.kind == CONFIG_SPECIAL && (r->item.flags & CF_MULTI))
        return r->ops->set(c, argv, argc, why);
    if (r->item.kind == CONFIG_STR && (r->item.flags & CF_MULTI))
        return set_words(c, r, argv, argc, why);
    if (argc != 1)
        return fail(why, "wrong number of arguments");
    switch (r->item.kind) {
    case CONFIG_BOOL: return set_bool(c, r, argv[0], why);
    case CONFIG_INT: return set_int(c, r, argv[0], why);
    case CONFIG_MEM: return set_mem(c, r, argv[0], why);
    case CONFIG_ENUM: return set_enum(c, r, argv[0], why);
    case CONFIG_STR: return set_str(c, r, argv[0], why);
    case CONFIG_SPECIAL: return r->ops->set(c, argv, argc, why);
    case CONFIG_FOREIGN: return set_foreign(r, argv[0], why);
    }
    return false;
}

static const char *enum_name(const struct config *c, const struct config_row *r)
{
    uint64_t v = field_get(c, r);
    for (size_t i = 0; r->values[i]; i++)
        if (r->numbers[i] == v)
            return r->values[i];
    return "unknown";
}

char *config_get(const struct config *c, uint32_t i, size_t *ret_len)
{
    const struct config_row *r = &config_rows[i];
    struct config_text t = {0};

    switch (r->item.kind) {
    case CONFIG_BOOL: text_str(&t, field_get(c, r) ? "yes" : "no"); break;
    case CONFIG_INT:
        text_addf(&t,
                  r->item.flags & CF_OCTAL ? "%" PRIo64
                  : r->lo < 0              ? "%" PRId64
                                           : "%" PRIu64,
                  field_get(c, r));
        break;
    case CONFIG_MEM: text_addf(&t, "%" PRIu64, field_get(c, r)); break;
    case CONFIG_ENUM: text_str(&t, enum_name(c, r)); break;
    case CONFIG_STR: text_str(&t, *(char *const *)((const char *)c + r->offset)); break;
    case CONFIG_SPECIAL: return r->ops->get(c, ret_len);
    case CONFIG_FOREIGN: text_str(&t, r->item.default_text); break;
    }
    return text_take(&t, ret_len);
}

/* The largest unit of 1024 that divides it, as CONFIG REWRITE of Redis writes memory. */
static void text_mem(struct config_text *t, uint64_t v)
{
    static const char *const units[] = {"", "kb", "mb", "gb"};
    unsigned u = 0;
    while (u < 3 && v && v % 1024 == 0) {
        v /= 1024;
        u++;
    }
    text_addf(t, "%" PRIu64 "%s", v, units[u]);
}

char *config_row_text(const struct config *c, const struct config_row *r)
{
    struct config_text t = {0};
    size_t n = 0;

    if (r->item.kind == CONFIG_MEM) {
        text_mem(&t, field_get(c, r));
        return text_take(&t, NULL);
    }
    char *plain = config_get(c, (uint32_t)(r - config_rows), &n);
    if (!plain)
        return NULL;
    if (r->item.flags & CF_MULTI)
        text_add(&t, plain, n);
    else
        text_word(&t, span_of(plain, n));
    free(plain);
    return text_take(&t, NULL);
}

bool config_is_default(const struct config *c, const struct config_row *r)
{
    struct config *d = config_new();
    size_t n = 0, m = 0;
    uint32_t i = (uint32_t)(r - config_rows);
    char *a = config_get(c, i, &n), *b = d ? config_get(d, i, &m) : NULL;
    bool same = a && b && n == m && memcmp(a, b, n) == 0;
    free(a);
    free(b);
    config_free(d);
    return same;
}

void config_range(uint32_t i, char *to, size_t n)
{
    const struct config_row *r = &config_rows[i];
    size_t at = 0;

    to[0] = 0;
    switch (r->item.kind) {
    case CONFIG_BOOL: snprintf(to, n, "yes, no"); break;
    case CONFIG_INT:
        snprintf(to, n,
                 r->item.flags & CF_OCTAL ? "%" PRIo64 " to %" PRIo64 " (octal)"
                                          : "%" PRId64 " to %" PRIu64,
                 (uint64_t)r->lo, r->hi);
        break;
    case CONFIG_MEM:
        if (r->hi >= INT64_MAX)
            snprintf(to, n, "memory, at least %" PRId64, r->lo);
        else
            snprintf(to, n, "memory, %" PRId64 " to %" PRIu64, r->lo, r->hi);
        break;
    case CONFIG_ENUM:
        for (size_t k = 0; r->values[k] && at < n; k++)
            at += (size_t)snprintf(to + at, n - at, "%s%s", k ? ", " : "", r->values[k]);
        break;
    case CONFIG_STR: snprintf(to, n, "text"); break;
    case CONFIG_SPECIAL: snprintf(to, n, "%s", r->ops->range); break;
    case CONFIG_FOREIGN: break;
    }
}
