/* RESP requests, the slow path: a request that straddles runs of input, or that is odd in any way.
 *
 * Where in the flow: resp_parse -> resp_gather. Thread: the conn's home worker (holder of the mem's lease).
 *
 *          '*'           CR             any                 CR               any
 *   IDLE -------> COUNT -----> COUNT_END ----> LENGTH <--------+     +-> LENGTH_END ----> DATA
 *    |  other                     |              |  +--- CR ---|-----+                      |
 *    +-------> INLINE             | N <= 0       |             +---- argument complete -----+
 *                |                v              v first byte not '$', bad length           |
 *                +-- LF ------> DONE           BROKEN                      last argument: DONE
 *
 * Every byte is looked at once. Header lines are not kept: only their first bytes, enough for any valid number,
 * and their length. Arguments' bytes go into one buffer that grows as they come, never by what is announced; an
 * argument of LIMIT_BIG_ARG_BYTES or more gets a buffer of its own, which the command may take over.
 *
 * The texts, the limits and the oddities (a line ends with CR and one byte that nobody looks at; a NUL hides the
 * end of its line, because Redis looks for it with strchr) are those of networking.c of Redis 7.0.15, probed on
 * the running server. What Redis decides by how much it happened to read is decided here by position alone. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/limits.h"
#include "engine/base/num.h"
#include "engine/resp/resp_internal.h"

#define BUF_MIN_BYTES  256
#define BUF_KEEP_BYTES 16384 /* a larger buffer is not kept for the next request */
#define ARGS_MIN       8
#define BIGS_MIN       4

static void release(struct resp_parser *p, size_t keep_bytes)
{
    for (uint32_t i = 0; i < p->nbig; i++)
        mem_free(p->mem, p->big[i].p, p->big[i].cap);
    p->nbig = 0;
    if (p->big_cap * sizeof(*p->big) > keep_bytes) {
        mem_free(p->mem, p->big, p->big_cap * sizeof(*p->big));
        p->big = NULL;
        p->big_cap = 0;
    }
    if (p->args_cap * sizeof(*p->args) > keep_bytes) {
        mem_free(p->mem, p->args, p->args_cap * sizeof(*p->args));
        p->args = NULL;
        p->args_cap = 0;
    }
    if (p->buf_cap > keep_bytes) {
        mem_free(p->mem, p->buf, p->buf_cap);
        p->buf = NULL;
        p->buf_cap = 0;
    }
    p->buf_len = 0;
    p->argc = 0;
}

void resp_parser_init(struct resp_parser *p, struct mem *mem)
{
    memset(p, 0, sizeof(*p));
    p->mem = mem;
}

void resp_parser_fini(struct resp_parser *p)
{
    release(p, 0);
    resp_parser_init(p, p->mem);
}

void resp_parser_trim(struct resp_parser *p)
{
    if (p->state == RESP_IDLE)
        release(p, 0);
}

size_t resp_parser_held(const struct resp_parser *p)
{
    if (p->state == RESP_IDLE)
        return 0;
    size_t held = p->buf_cap + p->args_cap * sizeof(*p->args) + p->big_cap * sizeof(*p->big);
    /* Only the last one can still grow, but each is held. */
    for (uint32_t i = 0; i < p->nbig; i++)
        held += p->big[i].cap;
    return held;
}

/* Ends the stream: what was gathered is of no use to anybody. */
static __attribute__((format(printf, 2, 3))) enum resp_status bad(struct resp_parser *p,
                                                                  const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(p->error, sizeof(p->error), fmt, ap);
    va_end(ap);
    release(p, 0);
    p->state = RESP_BROKEN;
    return RESP_BAD;
}

static enum resp_status no_memory(struct resp_parser *p)
{
    p->out_of_memory = true;
    return bad(p, "Protocol error: out of memory for the request");
}

/* Room for n elements of `size` bytes in an array that now has *cap; *cap is untouched on failure. */
static bool grow(struct mem *mem, void **array, size_t *cap, size_t n, size_t size, size_t min,
                 size_t max)
{
    size_t to = *cap * 2 > min ? *cap * 2 : min;
    if (to < n)
        to = n;
    if (to > max)
        to = max;
    void *q = mem_realloc(mem, *array, *cap * size, to * size);
    if (!q)
        return false;
    *array = q;
    *cap = to;
    return true;
}

/* Appends to the common buffer. */
static bool buf_append(struct resp_parser *p, const uint8_t *from, size_t n)
{
    if (n == 0)
        return true;
    if (p->buf_cap - p->buf_len < n) {
        void *buf = p->buf;
        if (!grow(p->mem, &buf, &p->buf_cap, p->buf_len + n, 1, BUF_MIN_BYTES, SIZE_MAX))
            return false;
        p->buf = buf;
    }
    memcpy(p->buf + p->buf_len, from, n);
    p->buf_len += n;
    return true;
}

/* Appends to the buffer of the argument in progress: doubles, but never beyond what is announced. */
static bool big_append(struct resp_parser *p, struct resp_big *b, const uint8_t *from, size_t n)
{
    if (b->cap - b->len < n) {
        void *buf = b->p;
        if (!grow(p->mem, &buf, &b->cap, b->len + n, 1, LIMIT_BIG_ARG_BYTES, p->args[b->arg].n))
            return false;
        b->p = buf;
    }
    memcpy(b->p + b->len, from, n);
    b->len += n;
    return true;
}

/* A new argument of n bytes, none of which have come. */
static bool arg_begin(struct resp_parser *p, size_t n)
{
    if (p->argc == p->args_cap) {
        size_t cap = p->args_cap;
        void *args = p->args;
        if (!grow(p->mem, &args, &cap, cap + 1, sizeof(*p->args), ARGS_MIN, UINT32_MAX))
            return false;
        p->args = args;
        p->args_cap = (uint32_t)cap;
    }
    if (n >= LIMIT_BIG_ARG_BYTES) {
        if (p->nbig == p->big_cap) {
            size_t cap = p->big_cap;
            void *big = p->big;
            if (!grow(p->mem, &big, &cap, cap + 1, sizeof(*p->big), BIGS_MIN, UINT32_MAX))
                return false;
            p->big = big;
            p->big_cap = (uint32_t)cap;
        }
        p->big[p->nbig++] = (struct resp_big){.arg = p->argc};
    }
    p->args[p->argc++] = (struct span){(const uint8_t *)p->buf_len, n};
    return true;
}

/* The gathered request is complete: offsets become pointers. */
static enum resp_status done(struct resp_parser *p, struct resp_cmd *out)
{
    static const uint8_t nothing[1];
    const uint8_t *base = p->buf ? p->buf : nothing;
    uint32_t big = 0;
    for (uint32_t i = 0; i < p->argc; i++) {
        if (big < p->nbig && p->big[big].arg == i)
            p->args[i].p = p->big[big++].p;
        else
            p->args[i].p = base + (uintptr_t)p->args[i].p;
    }
    *out = (struct resp_cmd){
        .argv = p->args,
        .argc = p->argc,
        .gathered = true,
        .wire_bytes = p->wire_bytes,
    };
    p->state = RESP_IDLE;
    return RESP_DONE;
}

static inline int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One escape of a double-quoted word at *s (behind the backslash); moves *s behind it. */
static uint8_t unescape(const uint8_t **s, const uint8_t *end)
{
    const uint8_t *q = *s;
    if (*q == 'x' && end - q >= 3 && hex_digit(q[1]) >= 0 && hex_digit(q[2]) >= 0) {
        *s = q + 3;
        return (uint8_t)(hex_digit(q[1]) << 4 | hex_digit(q[2]));
    }
    *s = q + 1;
    switch (*q) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return *q;
    }
}

/* Decodes the quoted part of a word behind its opening quote; *to never overtakes *s. False: unbalanced. */
static bool unquote(const uint8_t **s, const uint8_t *end, uint8_t quote, uint8_t **to)
{
    const uint8_t *q = *s;
    while (q < end && *q != quote) {
        uint8_t c = *q++;
        if (c == '\\' && q < end) {
            if (quote == '"')
                c = unescape(&q, end);
            else if (*q == '\'')
                c = *q++;
        }
        *(*to)++ = c;
    }
    if (q == end)
        return false;
    *s = ++q;
    /* Nothing but a blank may follow a closing quote. */
    return q == end || resp_blank(*q);
}

/* The line in the buffer becomes words, decoded in place: no word is longer than its source. A word ends with
 * its first closing quote. */
static enum resp_status inline_done(struct resp_parser *p, struct resp_cmd *out)
{
    if (p->buf_len == 0)
        return done(p, out);
    const uint8_t *s = p->buf, *end = s + p->buf_len;
    uint8_t *to = p->buf;
    if (end[-1] == '\r')
        end--;
    for (;;) {
        while (s < end && resp_blank(*s))
            s++;
        if (s == end)
            return done(p, out);
        p->buf_len = (size_t)(to - p->buf);
        if (!arg_begin(p, 0))
            return no_memory(p);
        uint8_t *word = to;
        while (s < end && !resp_word_end(*s)) {
            uint8_t c = *s++;
            if (c == '"' || c == '\'') {
                if (!unquote(&s, end, c, &to))
                    return bad(p, "Protocol error: unbalanced quotes in request");
                break;
            }
            *to++ = c;
        }
        p->args[p->argc - 1].n = (size_t)(to - word);
    }
}

/* Takes bytes of an inline request up to its LF. */
static enum resp_status take_inline(struct resp_parser *p, const uint8_t **cur, const uint8_t *end,
                                    struct resp_cmd *out)
{
    const uint8_t *s = *cur;
    size_t n = (size_t)(end - s), room = LIMIT_INLINE_BYTES + 1 - p->line_bytes;
    if (n > room)
        n = room;
    const uint8_t *newline = p->line_dead ? NULL : memchr(s, '\n', n);
    size_t text = newline ? (size_t)(newline - s) : n;
    if (!p->line_dead && memchr(s, 0, text)) {
        p->line_dead = true;
        newline = NULL;
        text = n;
    }
    p->line_bytes += (uint32_t)text;
    *cur = s + text;
    if (newline) {
        if (!buf_append(p, s, text))
            return no_memory(p);
        p->wire_bytes += text + 1;
        *cur = newline + 1;
        return inline_done(p, out);
    }
    p->wire_bytes += text;
    if (p->line_bytes > LIMIT_INLINE_BYTES)
        return bad(p, "Protocol error: too big inline request");
    /* A dead line can only become too long: its bytes need not be kept. */
    if (!p->line_dead && !buf_append(p, s, text))
        return no_memory(p);
    return RESP_MORE;
}

/* Takes bytes of a header line up to and with its CR. False: it is too long. */
static bool take_line(struct resp_parser *p, const uint8_t **cur, const uint8_t *end,
                      bool *ret_whole)
{
    const uint8_t *s = *cur, *start = s;
    *ret_whole = false;
    while (s < end && p->line_bytes <= LIMIT_INLINE_BYTES) {
        uint8_t c = *s++;
        if (c == '\r' && !p->line_dead) {
            *ret_whole = true;
            break;
        }
        p->line_dead |= c == 0;
        p->line_bytes++;
        if (p->line_len < sizeof(p->line))
            p->line[p->line_len++] = (char)c;
    }
    p->wire_bytes += (size_t)(s - start);
    *cur = s;
    return p->line_bytes <= LIMIT_INLINE_BYTES;
}

static void line_begin(struct resp_parser *p, enum resp_state state)
{
    p->state = (uint8_t)state;
    p->line_len = 0;
    p->line_bytes = 0;
    p->line_dead = false;
}

/* The number in a header line, its first byte left out. A line that did not fit `line` holds no number. */
static bool line_number(const struct resp_parser *p, int64_t *ret)
{
    return p->line_bytes == p->line_len && p->line_len > 0 &&
           num_parse_i64(span_of(p->line + 1, p->line_len - 1u), ret);
}

/* RESP_MORE: go on with the next state. */
static enum resp_status count_done(struct resp_parser *p, const struct resp_limits *lim,
                                   struct resp_cmd *out)
{
    int64_t n = 0;
    if (!line_number(p, &n) || n > LIMIT_MULTIBULK_ARGS)
        return bad(p, "Protocol error: invalid multibulk length");
    if (n > LIMIT_UNAUTH_ARGS && !lim->authenticated)
        return bad(p, "Protocol error: unauthenticated multibulk length");
    if (n <= 0)
        return done(p, out);
    p->want = (uint32_t)n;
    line_begin(p, RESP_LENGTH);
    return RESP_MORE;
}

static enum resp_status length_done(struct resp_parser *p, const struct resp_limits *lim)
{
    int64_t n = 0;
    if (p->line_len == 0 || p->line[0] != '$') {
        /* An empty line is one that begins with CR. In an error, line ends become blanks. */
        char c = '\r';
        if (p->line_len)
            c = p->line[0];
        return bad(p, "Protocol error: expected '$', got '%c'", c == '\r' || c == '\n' ? ' ' : c);
    }
    if (!line_number(p, &n) || n < 0 || (uint64_t)n > lim->max_bulk_bytes)
        return bad(p, "Protocol error: invalid bulk length");
    if (n > LIMIT_UNAUTH_BULK_BYTES && !lim->authenticated)
        return bad(p, "Protocol error: unauthenticated bulk length");
    if (!arg_begin(p, (size_t)n))
        return no_memory(p);
    p->bulk_rest = (uint64_t)n + 2;
    p->state = RESP_DATA;
    return RESP_MORE;
}

/* Takes bytes of an argument, and the two behind it. False: out of memory. */
static bool take_data(struct resp_parser *p, const uint8_t **cur, const uint8_t *end)
{
    size_t n = (size_t)(end - *cur);
    if (n > p->bulk_rest)
        n = p->bulk_rest;
    size_t text = p->bulk_rest > 2 ? p->bulk_rest - 2 : 0;
    if (text > n)
        text = n;
    if (text) {
        struct resp_big *b = p->nbig ? &p->big[p->nbig - 1] : NULL;
        bool ok =
            b && b->arg == p->argc - 1 ? big_append(p, b, *cur, text) : buf_append(p, *cur, text);
        if (!ok)
            return false;
    }
    p->bulk_rest -= n;
    p->wire_bytes += n;
    *cur += n;
    return true;
}

/* One step of a multibulk request; there is input. RESP_MORE: call again if there is still some. */
static enum resp_status step(struct resp_parser *p, const struct resp_limits *lim,
                             const uint8_t **cur, const uint8_t *end, struct resp_cmd *out)
{
    bool whole;
    switch ((enum resp_state)p->state) {
    case RESP_INLINE: return take_inline(p, cur, end, out);
    case RESP_COUNT:
        if (!take_line(p, cur, end, &whole))
            return bad(p, "Protocol error: too big mbulk count string");
        if (whole)
            p->state = RESP_COUNT_END;
        return RESP_MORE;
    case RESP_COUNT_END:
        ++*cur;
        p->wire_bytes++;
        return count_done(p, lim, out);
    case RESP_LENGTH:
        if (!take_line(p, cur, end, &whole))
            return bad(p, "Protocol error: too big bulk count string");
        if (whole)
            p->state = RESP_LENGTH_END;
        return RESP_MORE;
    case RESP_LENGTH_END:
        ++*cur;
        p->wire_bytes++;
        return length_done(p, lim);
    case RESP_DATA:
        if (!take_data(p, cur, end))
            return no_memory(p);
        if (p->bulk_rest)
            return RESP_MORE;
        if (p->argc == p->want)
            return done(p, out);
        line_begin(p, RESP_LENGTH);
        return RESP_MORE;
    case RESP_IDLE:
    case RESP_BROKEN: break;
    }
    return RESP_BAD;
}

enum resp_status resp_gather(struct resp_parser *p, const struct resp_limits *lim,
                             const uint8_t **cur, const uint8_t *end, struct resp_cmd *out)
{
    if (p->state == RESP_BROKEN)
        return RESP_BAD;
    if (*cur == end)
        return RESP_MORE;
    if (p->state == RESP_IDLE) {
        release(p, BUF_KEEP_BYTES);
        p->wire_bytes = 0;
        p->want = 0;
        line_begin(p, **cur == '*' ? RESP_COUNT : RESP_INLINE);
    }
    enum resp_status st;
    do {
        /* No further than the limit, so that where the runs were cut changes nothing. */
        size_t room =
            p->wire_bytes < lim->max_query_bytes ? lim->max_query_bytes - p->wire_bytes : 0;
        const uint8_t *stop = (size_t)(end - *cur) > room ? *cur + room : end;
        if (stop == *cur) {
            p->over_limit = true;
            return bad(p, "Protocol error: request larger than client-query-buffer-limit");
        }
        st = step(p, lim, cur, stop, out);
    } while (st == RESP_MORE && *cur < end);
    return st;
}

bool resp_take_big(struct resp_parser *p, uint32_t arg, uint8_t **ret_p, size_t *ret_cap)
{
    /* In order of `arg`: a command may ask for thousands. */
    uint32_t lo = 0, hi = p->nbig;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (p->big[mid].arg < arg)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == p->nbig || p->big[lo].arg != arg || !p->big[lo].p)
        return false;
    *ret_p = p->big[lo].p;
    *ret_cap = p->big[lo].cap;
    p->big[lo].p = NULL;
    p->big[lo].len = p->big[lo].cap = 0;
    return true;
}
