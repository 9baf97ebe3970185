/* RESP requests, the fast path: a whole request lies in the input, so argv points there.
 *
 * Where in the flow: conn -> resp_parse -> dispatch, once for each request. Thread: the conn's home worker.
 *
 * The fast path knows only well-formed, complete requests and writes no parser state. At anything else (the
 * input ends, a length is odd, quotes, limits) it turns round and hands the request from its first byte to
 * resp_gather, which alone decides between MORE and BAD. So there is one place that says what an error is.
 *
 *   *2\r\n $3\r\nGET\r\n $16\r\nkey:000000000001\r\n
 *   ^ s    ^ q                                          nearly all lengths have one or two digits: those are read
 *                                                       without a loop, longer ones by long_number */
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/limits.h"
#include "engine/resp/resp_internal.h"

/* "$0\r\n\r\n", the shortest argument; and "*1\r\n" before it. */
#define ARG_MIN     6
#define REQUEST_MIN 10

/* A number of 3 to 18 digits without leading zero and the two bytes behind it. NULL: look closer (gather). */
static const uint8_t *long_number(const uint8_t *q, const uint8_t *end, size_t *ret)
{
    const uint8_t *start = q;
    size_t v = 0;
    if (*q == '0')
        return NULL;
    for (; end - q >= 2; q++) {
        unsigned d = (unsigned)*q - '0';
        if (d > 9) {
            *ret = v;
            return *q == '\r' ? q + 2 : NULL;
        }
        if (q - start == 18)
            return NULL;
        v = v * 10 + d;
    }
    return NULL;
}

/* Reads "<digits>\r\n" at q, where at least 5 bytes are readable. NULL: look closer. */
static inline __attribute__((always_inline)) const uint8_t *number(const uint8_t *q,
                                                                   const uint8_t *end, size_t *ret)
{
    size_t d0 = (size_t)q[0] - '0';
    if (likely_(d0 <= 9)) {
        if (q[1] == '\r') {
            *ret = d0;
            return q + 3;
        }
        size_t d1 = (size_t)q[1] - '0';
        if (q[2] == '\r' && d1 <= 9 && d0 != 0) {
            *ret = d0 * 10 + d1;
            return q + 4;
        }
        return long_number(q, end, ret);
    }
    return NULL;
}

/* True when the request goes to the slow path or back to the caller for lack of room. */
static enum resp_status no_room(struct resp_parser *p, const struct resp_limits *lim,
                                const uint8_t **cur, const uint8_t *end, size_t cap,
                                struct resp_cmd *out)
{
    return cap < LIMIT_BATCH_ARGS ? RESP_FULL : resp_gather(p, lim, cur, end, out);
}

/* An inline request without quotes, all of it in the input. */
static enum resp_status parse_inline(struct resp_parser *p, const struct resp_limits *lim,
                                     const uint8_t **cur, const uint8_t *end, struct span *arena,
                                     size_t cap, struct resp_cmd *out)
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

enum resp_status resp_parse(struct resp_parser *p, const struct resp_limits *lim,
                            const uint8_t **cur, const uint8_t *end, struct span *arena, size_t cap,
                            struct resp_cmd *out)
{
    const uint8_t *s = *cur, *q = s;
    size_t avail = (size_t)(end - s), argc;

    if (unlikely_(p->state != RESP_IDLE))
        return resp_gather(p, lim, cur, end, out);
    if (unlikely_(avail < REQUEST_MIN)) {
        if (avail == 0)
            return RESP_MORE;
        if (*s == '*')
            return resp_gather(p, lim, cur, end, out);
        return parse_inline(p, lim, cur, end, arena, cap, out);
    }
    if (unlikely_(*s != '*'))
        return parse_inline(p, lim, cur, end, arena, cap, out);

    q = number(q + 1, end, &argc);
    if (unlikely_(!q || argc - 1 >= LIMIT_MULTIBULK_ARGS))
        return resp_gather(p, lim, cur, end, out);
    size_t max_bulk = lim->max_bulk_bytes;
    if (unlikely_(!lim->authenticated)) {
        if (argc > LIMIT_UNAUTH_ARGS)
            return resp_gather(p, lim, cur, end, out);
        if (max_bulk > LIMIT_UNAUTH_BULK_BYTES)
            max_bulk = LIMIT_UNAUTH_BULK_BYTES;
    }
    if (unlikely_(argc > cap))
        return no_room(p, lim, cur, end, cap, out);

    struct span *a = arena, *last = arena + argc;
    do {
        size_t n;
        if (unlikely_(end - q < ARG_MIN || *q != '$'))
            return resp_gather(p, lim, cur, end, out);
        q = number(q + 1, end, &n);
        if (unlikely_(!q || n > max_bulk || n + 2 > (size_t)(end - q)))
            return resp_gather(p, lim, cur, end, out);
        a->p = q;
        a->n = n;
        q += n + 2;
    } while (++a != last);

    out->argv = arena;
    out->argc = (uint32_t)argc;
    out->gathered = false;
    out->wire_bytes = (size_t)(q - s);
    *cur = q;
    return RESP_DONE;
}
