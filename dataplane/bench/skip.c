/* See skip.h. */
#include "dataplane/bench/skip.h"

#include <stdlib.h>
#include <string.h>

#define BULK_MOST   (1ull << 40)
#define VALUES_MOST (1ull << 40)

void skip_init(struct skip *s)
{
    memset(s, 0, sizeof(*s));
}

/* The header's line up to its LF: where it lies whole, or gathered. NULL: not whole yet. */
static const char *header(struct skip *s, const uint8_t **cur, const uint8_t *end, size_t *ret_len)
{
    const uint8_t *lf = memchr(*cur, '\n', (size_t)(end - *cur)), *to = lf ? lf + 1 : end;
    size_t n = (size_t)(to - *cur), room = sizeof(s->line) - 1 - s->line_len;
    const char *at = (const char *)*cur;
    *cur = to;
    if (lf && s->line_len == 0) {
        *ret_len = n;
        return at;
    }
    size_t take = n < room ? n : room;
    memcpy(s->line + s->line_len, at, take);
    s->line_len += (uint32_t)take;
    if (!lf)
        return NULL;
    *ret_len = s->line_len;
    s->line[s->line_len] = 0;
    return s->line;
}

static bool number(const char *p, size_t n, int64_t *ret)
{
    bool minus = n && *p == '-';
    uint64_t v = 0;
    size_t i = minus;
    for (; i < n && p[i] >= '0' && p[i] <= '9' && v < 1ull << 59; i++)
        v = v * 10 + (uint64_t)(p[i] - '0');
    *ret = minus ? -(int64_t)v : (int64_t)v;
    return i > minus && i < n && p[i] == '\r';
}

/* The text of an error stays for the caller. */
static void keep_error(struct skip *s, const char *p, size_t n)
{
    while (n && (p[n - 1] == '\n' || p[n - 1] == '\r'))
        n--;
    if (n > sizeof(s->line) - 1)
        n = sizeof(s->line) - 1;
    memmove(s->line, p, n);
    s->line[n] = 0;
}

/* One header. False: it is none. */
static bool value_begin(struct skip *s, const char *p, size_t n, bool first)
{
    int64_t v = 0;
    s->values--;
    switch (*p) {
    case '-':
        if (first) {
            s->error = true;
            keep_error(s, p + 1, n - 1);
        }
        return true;
    case '_': s->null |= first; return true;
    case ':':
        if (first)
            number(p + 1, n - 1, &s->integer);
        return true;
    case '+':
    case ',':
    case '#':
    case '(': return true;
    case '$':
    case '=':
    case '!':
        if (!number(p + 1, n - 1, &v) || v > (int64_t)BULK_MOST)
            return false;
        s->null |= first && v < 0;
        s->error |= first && *p == '!';
        s->bytes = v >= 0 ? (uint64_t)v + 2 : 0;
        s->kept_len = 0;
        return true;
    case '>': s->push |= first; break;
    case '*':
    case '~':
    case '%':
    case '|': break;
    default: return false;
    }
    if (!number(p + 1, n - 1, &v) || v > (int64_t)VALUES_MOST || s->values > VALUES_MOST)
        return false;
    s->null |= first && v < 0;
    if (v > 0)
        s->values += (uint64_t)v * (*p == '%' || *p == '|' ? 2 : 1);
    s->values += *p == '|'; /* an attribute stands before what it is of */
    return true;
}

/* The same of memcached: values until END, or one line. */
static bool memcached_begin(struct skip *s, const char *p, size_t n, bool first)
{
    int64_t v;
    if (n > 6 && memcmp(p, "VALUE ", 6) == 0) {
        const char *last = memrchr(p, ' ', n);
        if (!number(last + 1, n - (size_t)(last + 1 - p), &v) || v < 0)
            return false;
        s->bytes = (uint64_t)v + 2;
        return true;
    }
    s->values--;
    if (n >= 5 && memcmp(p, "END\r\n", 5) == 0) {
        s->null = first;
        return true;
    }
    s->error = memmem(p, n, "ERROR", 5) != NULL || memcmp(p, "NOT_", 4) == 0;
    if (s->error)
        keep_error(s, p, n);
    return s->error || *p == 'S' || *p == 'D' || *p == 'V' || *p == 'O';
}

static void keep(struct skip *s, const uint8_t *p, uint64_t n)
{
    uint64_t text = s->bytes > 2 ? s->bytes - 2 : 0, take = n < text ? n : text;
    if (take > SKIP_KEEP - s->kept_len)
        take = SKIP_KEEP - s->kept_len;
    memcpy(s->kept + s->kept_len, p, take);
    s->kept_len += (uint32_t)take;
}

enum skip_status skip_reply(struct skip *s, const uint8_t **cur, const uint8_t *end)
{
    if (!s->begun && s->line_len == 0) {
        s->push = s->error = s->null = false;
        s->values = 1;
    }
    while (s->values || s->bytes) {
        if (s->bytes) {
            uint64_t n = (uint64_t)(end - *cur);
            if (s->keep)
                keep(s, *cur, n < s->bytes ? n : s->bytes);
            if (n < s->bytes) {
                s->bytes -= n;
                *cur = end;
                return SKIP_MORE;
            }
            *cur += s->bytes;
            s->bytes = 0;
            continue;
        }
        size_t n;
        const char *line = *cur == end ? NULL : header(s, cur, end, &n);
        if (!line)
            return SKIP_MORE;
        s->line_len = 0;
        if (!(s->memcached ? memcached_begin : value_begin)(s, line, n, !s->begun))
            return SKIP_BAD;
        s->begun = true;
    }
    s->begun = false;
    return s->push ? SKIP_PUSH : SKIP_REPLY;
}
