/* Replies in RESP2 and RESP3, written straight into the room that the sink gave.
 *
 * Where in the flow: commands -> reply_* -> transmit mbuf of the conn (or a heap block, mail, link ring).
 * Thread: whoever executes the command. Text of numbers as Redis 7.0 prints it.
 *
 * The common replies check the room once and then write without looking: a short bulk is a header of 4 or 5 bytes
 * and at most four overlapping copies. When the room is short they are cut up by reply_raw. A failed reply has
 * no room (cur == end), so the fast paths need not ask. */
#include "engine/resp/reply.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/base/num.h"
#include "engine/resp/reply_inline.h"

#define HEADER_BYTES    (1 + NUM_I64_CHARS + 2) /* type, number, CR LF */
#define ERROR_BYTES     2048                    /* longest formatted error */
#define HEAP_MIN_BYTES  256
#define CODE_SCAN_BYTES 31 /* an error code is looked for in so many bytes, as Redis does */

/* "$d\r\n" and "$td\r\n" as little-endian words. */
#define ONE(d)          (0x0a0d3024ull + ((d) << 8))
#define TWO(t, d)       (0x0a0d303024ull + ((t) << 8) + ((d) << 16))
#define TEN(t)                                                                              \
    TWO(t, 0), TWO(t, 1), TWO(t, 2), TWO(t, 3), TWO(t, 4), TWO(t, 5), TWO(t, 6), TWO(t, 7), \
        TWO(t, 8), TWO(t, 9)
const uint64_t reply_bulk_head[REPLY_BULK_SHORT + 1] = {
    ONE(0), ONE(1), ONE(2), ONE(3), ONE(4), ONE(5),    ONE(6),    ONE(7),    ONE(8),    ONE(9),
    TEN(1), TEN(2), TEN(3), TEN(4), TEN(5), TWO(6, 0), TWO(6, 1), TWO(6, 2), TWO(6, 3), TWO(6, 4)};

static inline size_t room(const struct reply *r)
{
    return (size_t)(r->end - r->cur);
}

/* "<type><v>\r\n" at `to`; returns the byte behind it. */
static inline uint8_t *put_header(uint8_t *to, char type, uint64_t v)
{
    *to++ = (uint8_t)type;
    if (v < 10) {
        *to++ = (uint8_t)('0' + v);
    } else if (v < 100) {
        *to++ = (uint8_t)('0' + v / 10);
        *to++ = (uint8_t)('0' + v % 10);
    } else {
        to += num_format_u64((char *)to, v);
    }
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

void reply_raw(struct reply *r, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    if (r->muted || r->failed)
        return;
    while (n) {
        size_t fit = room(r);
        if (fit == 0) {
            r->sink->more(r, n);
            /* A sink that gives no room would be asked for ever. */
            if (r->failed || r->cur == r->end) {
                r->failed = true;
                r->end = r->cur;
                return;
            }
            continue;
        }
        if (fit > n)
            fit = n;
        memcpy(r->cur, p, fit);
        r->cur += fit;
        p += fit;
        n -= fit;
    }
}

static void header(struct reply *r, char type, uint64_t v)
{
    if (likely_(room(r) >= HEADER_BYTES && !r->muted)) {
        r->cur = put_header(r->cur, type, v);
        return;
    }
    uint8_t text[HEADER_BYTES];
    reply_raw(r, text, (size_t)(put_header(text, type, v) - text));
}

void reply_ok(struct reply *r)
{
    if (likely_(room(r) >= 5 && !r->muted)) {
        memcpy(r->cur, "+OK\r\n", 5);
        r->cur += 5;
    } else {
        reply_raw(r, "+OK\r\n", 5);
    }
}

void reply_simple(struct reply *r, const char *s)
{
    reply_raw(r, "+", 1);
    reply_raw(r, s, strlen(s));
    reply_raw(r, "\r\n", 2);
}

/* Keeps the first word for errorstats; a message whose first bytes hold no blank counts as "ERR". */
static void note_error(struct reply *r, struct span msg)
{
    size_t look = msg.n < CODE_SCAN_BYTES ? msg.n : CODE_SCAN_BYTES;
    const uint8_t *blank = look ? memchr(msg.p, ' ', look) : NULL;
    struct span code = blank ? span_of(msg.p, (size_t)(blank - msg.p)) : SPAN("ERR");
    if (code.n > sizeof(r->error_code) - 1)
        code.n = sizeof(r->error_code) - 1;
    memcpy(r->error_code, code.p, code.n);
    r->error_code[code.n] = 0;
    r->errors++;
}

static inline bool is_line_end(uint8_t c)
{
    return c == '\r' || c == '\n';
}

void reply_error_span(struct reply *r, struct span msg)
{
    while (msg.n && is_line_end(msg.p[msg.n - 1]))
        msg.n--;
    note_error(r, msg);
    reply_raw(r, "-", 1);
    while (msg.n) {
        size_t clean = 0;
        while (clean < msg.n && !is_line_end(msg.p[clean]))
            clean++;
        reply_raw(r, msg.p, clean);
        if (clean < msg.n) {
            reply_raw(r, " ", 1);
            clean++;
        }
        msg.p += clean;
        msg.n -= clean;
    }
    reply_raw(r, "\r\n", 2);
}

void reply_error(struct reply *r, const char *msg)
{
    reply_error_span(r, span_str(msg));
}

void reply_errorf(struct reply *r, const char *fmt, ...)
{
    char text[ERROR_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    reply_error_span(r, span_of(text, len));
}

void reply_int(struct reply *r, int64_t v)
{
    if (likely_(v >= 0)) {
        header(r, ':', (uint64_t)v);
        return;
    }
    uint8_t text[HEADER_BYTES];
    text[0] = ':';
    size_t n = 1 + num_format_i64((char *)text + 1, v);
    text[n++] = '\r';
    text[n++] = '\n';
    reply_raw(r, text, n);
}

void reply_bulk(struct reply *r, struct span s)
{
    if (likely_(s.n <= REPLY_BULK_SHORT && room(r) >= REPLY_BULK_ROOM && !r->muted)) {
        uint8_t *to = put_header(r->cur, '$', s.n);
        bytes_copy_64(to, s.p, s.n);
        memcpy(to + s.n, "\r\n", 2);
        r->cur = to + s.n + 2;
        return;
    }
    header(r, '$', s.n);
    reply_raw(r, s.p, s.n);
    reply_raw(r, "\r\n", 2);
}

void reply_bulk_str(struct reply *r, const char *s)
{
    reply_bulk(r, span_str(s));
}

void reply_bulk_int(struct reply *r, int64_t v)
{
    char text[NUM_I64_CHARS];
    reply_bulk(r, span_of(text, num_format_i64(text, v)));
}

void reply_null(struct reply *r)
{
    if (r->resp == 3)
        reply_raw(r, "_\r\n", 3);
    else
        reply_raw(r, "$-1\r\n", 5);
}

void reply_null_array(struct reply *r)
{
    if (r->resp == 3)
        reply_raw(r, "_\r\n", 3);
    else
        reply_raw(r, "*-1\r\n", 5);
}

void reply_bool(struct reply *r, bool v)
{
    if (r->resp == 3)
        reply_raw(r, v ? "#t\r\n" : "#f\r\n", 4);
    else
        reply_raw(r, v ? ":1\r\n" : ":0\r\n", 4);
}

void reply_double(struct reply *r, double v)
{
    char text[128 + 3];
    size_t n = num_format_double(text + 1, v);
    if (r->resp != 3) {
        reply_bulk(r, span_of(text + 1, n));
        return;
    }
    text[0] = ',';
    memcpy(text + 1 + n, "\r\n", 2);
    reply_raw(r, text, n + 3);
}

void reply_array(struct reply *r, size_t n)
{
    header(r, '*', n);
}

void reply_map(struct reply *r, size_t pairs)
{
    if (r->resp == 3)
        header(r, '%', pairs);
    else
        header(r, '*', pairs * 2);
}

void reply_set(struct reply *r, size_t n)
{
    header(r, r->resp == 3 ? '~' : '*', n);
}

void reply_push(struct reply *r, size_t n)
{
    header(r, r->resp == 3 ? '>' : '*', n);
}

void reply_verbatim(struct reply *r, const char ext[3], struct span s)
{
    if (r->resp != 3) {
        reply_bulk(r, s);
        return;
    }
    header(r, '=', s.n + 4);
    reply_raw(r, ext, 3);
    reply_raw(r, ":", 1);
    reply_raw(r, s.p, s.n);
    reply_raw(r, "\r\n", 2);
}

void reply_attr(struct reply *r, size_t pairs)
{
    ASSERT(r->resp == 3);
    if (r->resp == 3)
        header(r, '|', pairs);
}

static void heap_more(struct reply *r, size_t hint)
{
    struct reply_heap *h = r->ctx;
    h->len = h->p ? (size_t)(r->cur - h->p) : 0;
    size_t cap = h->cap * 2 > HEAP_MIN_BYTES ? h->cap * 2 : HEAP_MIN_BYTES;
    if (cap < h->len + hint)
        cap = h->len + hint;
    if (h->limit && cap > h->limit)
        cap = h->limit;
    uint8_t *p = cap > h->len ? realloc(h->lent ? NULL : h->p, cap) : NULL;
    if (!p) {
        r->failed = true;
        return;
    }
    if (h->lent && h->len)
        memcpy(p, h->p, h->len);
    h->lent = false;
    h->p = p;
    h->cap = cap;
    r->cur = p + h->len;
    r->end = p + cap;
}

static const struct reply_sink heap_sink = {heap_more};

void reply_heap_init(struct reply *r, struct reply_heap *h, uint8_t resp)
{
    *h = (struct reply_heap){0};
    *r = (struct reply){.sink = &heap_sink, .ctx = h, .resp = resp};
}

void reply_heap_append(struct reply *r, struct reply_heap *h, uint8_t resp)
{
    *r = (struct reply){.sink = &heap_sink, .ctx = h, .resp = resp};
    if (h->p) {
        r->cur = h->p + h->len;
        r->end = h->p + h->cap;
    }
}

void reply_heap_finish(struct reply *r, struct reply_heap *h)
{
    h->len = h->p ? (size_t)(r->cur - h->p) : 0;
}

void reply_heap_free(struct reply_heap *h)
{
    if (!h->lent)
        free(h->p);
    *h = (struct reply_heap){0};
}
