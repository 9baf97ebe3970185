/* split: a configuration line to words and back, and the small growing text that the writers of this folder share.
 *
 * The rules are those of redis.conf: blanks separate; "..." knows \n \r \t \b \a \xHH and takes any other escaped byte as it is;
 * '...' knows only \'; a closing quote must end its word. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/config/config_internal.h"

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* One escape of a double-quoted run at *p (after the backslash); the byte it stands for. */
static uint8_t unescape(const uint8_t **p, const uint8_t *end)
{
    const uint8_t *s = *p;
    if (*s == 'x' && end - s >= 3 && hex_digit(s[1]) >= 0 && hex_digit(s[2]) >= 0) {
        *p = s + 3;
        return (uint8_t)(hex_digit(s[1]) << 4 | hex_digit(s[2]));
    }
    *p = s + 1;
    switch (*s) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return *s;
    }
}

/* One word from *p on into `to`; the count of bytes, or -1: quotes do not balance. */
static long split_word(const uint8_t **p, const uint8_t *end, uint8_t *to)
{
    const uint8_t *s = *p;
    uint8_t *start = to, quote = 0;

    for (;;) {
        if (s == end) {
            if (quote)
                return -1;
            break;
        }
        uint8_t c = *s++;
        if (quote == '"' && c == '\\' && s < end) {
            *to++ = unescape(&s, end);
        } else if (quote == '\'' && c == '\\' && s < end && *s == '\'') {
            *to++ = *s++;
        } else if (quote && c == quote) {
            if (s < end && !is_blank(*s))
                return -1;
            break;
        } else if (!quote && is_blank(c)) {
            break;
        } else if (!quote && (c == '"' || c == '\'')) {
            quote = c;
        } else {
            *to++ = c;
        }
    }
    *p = s;
    return to - start;
}

bool config_split(struct span line, struct config_words *ret)
{
    const uint8_t *p = line.p, *end = line.p + line.n;
    size_t most = line.n / 2 + 1;
    struct span *v = malloc(most * sizeof(*v) + line.n + 1);
    if (!v) {
        errno = ENOMEM;
        return false;
    }
    uint8_t *to = (uint8_t *)(v + most);
    uint32_t n = 0;

    for (;;) {
        while (p < end && is_blank(*p))
            p++;
        if (p == end)
            break;
        long len = split_word(&p, end, to);
        if (len < 0) {
            free(v);
            errno = EINVAL;
            return false;
        }
        v[n++] = span_of(to, (size_t)len);
        to += len;
    }
    *ret = (struct config_words){v, n};
    return true;
}

void config_words_free(struct config_words *w)
{
    free(w->v);
    *w = (struct config_words){0};
}

void text_add(struct config_text *t, const void *p, size_t n)
{
    if (t->failed)
        return;
    if (t->n + n + 1 > t->cap) {
        size_t cap = (t->n + n + 1) * 2;
        char *q = realloc(t->p, cap);
        if (!q) {
            t->failed = true;
            return;
        }
        t->p = q;
        t->cap = cap;
    }
    if (n)
        memcpy(t->p + t->n, p, n);
    t->n += n;
}

void text_str(struct config_text *t, const char *s)
{
    text_add(t, s, strlen(s));
}

void text_addf(struct config_text *t, const char *fmt, ...)
{
    char buf[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(buf, sizeof(buf), fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(buf))
        t->failed = true;
    else
        text_add(t, buf, (size_t)n);
}

void text_repr(struct config_text *t, struct span v)
{
    text_str(t, "\"");
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];
        switch (c) {
        case '\\':
        case '"': text_addf(t, "\\%c", c); break;
        case '\n': text_str(t, "\\n"); break;
        case '\r': text_str(t, "\\r"); break;
        case '\t': text_str(t, "\\t"); break;
        case '\a': text_str(t, "\\a"); break;
        case '\b': text_str(t, "\\b"); break;
        default:
            if (c >= 0x20 && c < 0x7f)
                text_add(t, &c, 1);
            else
                text_addf(t, "\\x%02x", c);
        }
    }
    text_str(t, "\"");
}

void text_word(struct config_text *t, struct span v)
{
    bool plain = v.n > 0 && v.p[0] != '#';
    for (size_t i = 0; plain && i < v.n; i++)
        plain = v.p[i] > ' ' && v.p[i] < 0x7f && v.p[i] != '"' && v.p[i] != '\'' && v.p[i] != '\\';
    if (plain)
        text_add(t, v.p, v.n);
    else
        text_repr(t, v);
}

char *text_take(struct config_text *t, size_t *ret_len)
{
    text_add(t, "", 0);
    char *p = t->p;
    if (t->failed || !p) {
        free(p);
        p = NULL;
    } else {
        p[t->n] = 0;
        if (ret_len)
            *ret_len = t->n;
    }
    *t = (struct config_text){0};
    return p;
}
