/* What parse.c (fast path) and gather.c (slow path) share. */
#pragma once

#include "engine/resp/parse.h"

enum resp_state {
    RESP_IDLE, /* between requests: the fast path may look at the input */
    RESP_INLINE,
    RESP_COUNT,     /* in "*N\r" */
    RESP_COUNT_END, /* the byte behind its CR */
    RESP_LENGTH,    /* in "$N\r" */
    RESP_LENGTH_END,
    RESP_DATA, /* in an argument and the two bytes behind it */
    RESP_BROKEN,
};

/* The reference semantics: takes the input byte by byte if need be, from any state. */
enum resp_status resp_gather(struct resp_parser *p, const struct resp_limits *lim,
                             const uint8_t **cur, const uint8_t *end, struct resp_cmd *out);

/* isspace of the "C" locale. */
static inline bool resp_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* What ends an unquoted word of an inline request: fewer than the blanks that may stand before one. */
static inline bool resp_word_end(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}
