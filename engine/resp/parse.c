/* RESP requests, the fast path: a whole request lies in the input, so argv points there.
 *
 * Where in the flow: conn -> resp_parse -> dispatch, once for each request. Thread: the conn's home worker.
 *
 *   *2\r\n $3\r\nGET\r\n $16\r\nkey:000000000001\r\n
 *   ^ s    ^ q                                             a header of one digit is four bytes: one load, one
 *                                                          subtraction and one comparison check all of it
 *
 *   resp_parse       numbers of one and two digits; calls nothing, so it keeps its state in registers
 *     parse_long     the same loop with numbers of any length
 *     parse_inline   a line without quotes
 *       resp_gather  everything else (gather.c)
 *
 * All three know only well-formed, complete requests and write no parser state. At anything else (the input
 * ends, a length is odd, quotes, limits) they hand the request from its first byte to the next of the list, and
 * resp_gather alone decides between MORE and BAD. So there is one place that says what an error is. */
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/limits.h"
#include "engine/resp/resp_internal.h"

/* "$0\r\n\r\n", the shortest argument; and "*1\r\n" before it. */
#define ARG_MIN     6
#define REQUEST_MIN 10

static inline uint32_t load_le32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

/* Reads a header line of one or two digits at q; 6 bytes are readable. NULL: look closer.
 *
 * One digit: "$3\r\n" - "$0\r\n" leaves the digit in the second byte and zero elsewhere; turned right by eight
 * bits that is a number from 0 to 9, and whatever differs anywhere in the line makes it larger. */
static inline __attribute__((always_inline)) const uint8_t *short_header(const uint8_t *q,
                                                                         char type, size_t *ret)
{
    uint32_t x = load_le32(q) - ((uint32_t)type | '0' << 8 | '\r' << 16 | (uint32_t)'\n' << 24);
    x = x >> 8 | x << 24;
    if (x <= 9) {
        *ret = x;
        return q + 4;
    }
    size_t d0 = (size_t)q[1] - '1', d1 = (size_t)q[2] - '0';
    if (*q == (uint8_t)type && q[3] == '\r' && d0 <= 8 && d1 <= 9) {
        *ret = d0 * 10 + d1 + 10;
        return q + 5;
    }
    return NULL;
}

/* Reads a header line with a number of up to 18 digits, no leading zero. NULL: look closer. */
static const uint8_t *long_header(const uint8_t *q, const uint8_t *end, char type, size_t *ret)
{
    if (end - q < ARG_MIN || *q++ != (uint8_t)type)
        return NULL;
    const uint8_t *start = q, *last = end - 2 - q > 18 ? q + 18 : end - 2;
    size_t v = 0;
    for (; q <= last; q++) {
        unsigned d = (unsigned)*q - '0';
        if (d > 9) {
            *ret = v;
            return *q == '\r' && q != start && (*start != '0' || q == start + 1) ? q + 2 : NULL;
        }
        v = v * 10 + d;
    }
    return NULL;
}

/* The request has more arguments than `cap`: back to the caller, or to the parser's own memory. */
static enum resp_status no_room(struct resp_parser *p, const struct resp_limits *lim,
                                const uint8_t **cur, const uint8_t *end, size_t cap,
                                struct resp_cmd *out)
{
    return cap < LIMIT_BATCH_ARGS ? RESP_FULL : resp_gather(p, lim, cur, end, out);
}

/* An inline request without quotes, all of it in the input. */
static __attribute__((noinline)) enum resp_status
parse_inline(struct resp_parser *p, const struct resp_limits *lim, const uint8_t **cur,
             const uint8_t *end, struct span *arena, size_t cap, struct resp_cmd *out)
{
    const uint8_t *s = *cur;
    size_t argc = 0, look = (size_t)(end - s);
    if (look > LIMIT_INLINE_BYTES + 1)
        look = LIMIT_INLINE_BYTES + 1;
    const uint8_t *newline = memchr(s, '\n', look);
    if (!newline)
        return resp_gather(p, lim, cur, end, out);
    size_t n = (size_t)(newline - s);
    if (memchr(s, 0, n) || memchr(s, '"', n) || memchr(s, '\'', n))
        return resp_gather(p, lim, cur, end, out);

    for (;;) {
        while (s < newline && resp_blank(*s))
            s++;
        if (s == newline)
            break;
        if (argc == cap)
            return no_room(p, lim, cur, end, cap, out);
        const uint8_t *word = s;
        while (s < newline && !resp_word_end(*s))
            s++;
        arena[argc++] = span_of(word, (size_t)(s - word));
    }
    *out = (struct resp_cmd){
        .argv = arena,
        .argc = (uint32_t)argc,
        .wire_bytes = n + 1,
    };
    *cur = newline + 1;
    return RESP_DONE;
}

/* A multibulk request, all of it in the input, with numbers of any length. */
static __attribute__((noinline)) enum resp_status
parse_long(struct resp_parser *p, const struct resp_limits *lim, const uint8_t **cur,
           const uint8_t *end, struct span *arena, size_t cap, struct resp_cmd *out)
{
    const uint8_t *s = *cur;
    size_t argc, max_bulk = lim->max_bulk_bytes, max_args = LIMIT_MULTIBULK_ARGS;
    if (!lim->authenticated) {
        max_args = LIMIT_UNAUTH_ARGS;
        if (max_bulk > LIMIT_UNAUTH_BULK_BYTES)
            max_bulk = LIMIT_UNAUTH_BULK_BYTES;
    }
    const uint8_t *q = end - s < ARG_MIN ? NULL : short_header(s, '*', &argc);
    if (!q)
        q = long_header(s, end, '*', &argc);
    if (!q || argc == 0 || argc > max_args)
        return resp_gather(p, lim, cur, end, out);
    if (argc > cap)
        return no_room(p, lim, cur, end, cap, out);
    for (size_t i = 0; i < argc; i++) {
        size_t n;
        const uint8_t *text = end - q < ARG_MIN ? NULL : short_header(q, '$', &n);
        if (!text)
            text = long_header(q, end, '$', &n);
        if (!text || n > max_bulk || n + 2 > (size_t)(end - text))
            return resp_gather(p, lim, cur, end, out);
        arena[i] = span_of(text, n);
        q = text + n + 2;
    }
    *out = (struct resp_cmd){
        .argv = arena,
        .argc = (uint32_t)argc,
        .wire_bytes = (size_t)(q - s),
    };
    *cur = q;
    return RESP_DONE;
}

enum resp_status resp_parse(struct resp_parser *p, const struct resp_limits *lim,
                            const uint8_t **cur, const uint8_t *end, struct span *arena, size_t cap,
                            struct resp_cmd *out)
{
    const uint8_t *s = *cur;

    if (unlikely_(p->state != RESP_IDLE))
        return resp_gather(p, lim, cur, end, out);
    if (unlikely_(s == end))
        return RESP_MORE;
    if (unlikely_(*s != '*'))
        return parse_inline(p, lim, cur, end, arena, cap, out);
    /* Two digits are below every limit but odd ones; a client that has yet to log in is not worth a fast path. */
    if (unlikely_(end - s < REQUEST_MIN || !lim->authenticated || lim->max_bulk_bytes < 99))
        return parse_long(p, lim, cur, end, arena, cap, out);

    size_t argc;
    const uint8_t *q = short_header(s, '*', &argc);
    if (unlikely_(!q || argc == 0 || argc > cap))
        return parse_long(p, lim, cur, end, arena, cap, out);
    struct span *a = arena, *a_end = arena + argc;
    do {
        size_t n;
        const uint8_t *text;
        if (unlikely_(end - q < ARG_MIN || !(text = short_header(q, '$', &n))))
            return parse_long(p, lim, cur, end, arena, cap, out);
        *a++ = span_of(text, n);
        /* n is below 100: nothing wraps. Beyond the end: the next turn or the last line sees it. */
        q = text + n + 2;
    } while (a != a_end);
    if (unlikely_(q > end))
        return parse_long(p, lim, cur, end, arena, cap, out);

    out->argv = arena;
    out->argc = (uint32_t)argc;
    out->gathered = false;
    out->wire_bytes = (size_t)(q - s);
    *cur = q;
    return RESP_DONE;
}
