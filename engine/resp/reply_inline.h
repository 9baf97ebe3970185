/* reply_inline.h: the replies that most requests get, inline. What does not fit at once goes the long way (reply.c). */
#pragma once

#include "engine/base/assert.h"
#include "engine/resp/reply.h"

#define REPLY_BULK_SHORT 64 /* bulks that are copied without a call */
#define REPLY_BULK_ROOM  (8 + REPLY_BULK_SHORT + 2)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "reply_bulk_head holds text as words");
/* "$n\r\n", zero-filled to eight bytes. */
extern const uint64_t reply_bulk_head[REPLY_BULK_SHORT + 1];

/* A failed reply has no room (cur == end), so that need not be asked. */
static inline __attribute__((always_inline)) bool reply_has_room(const struct reply *r, size_t n)
{
    return likely_((size_t)(r->end - r->cur) >= n) && likely_(!r->muted);
}

static inline __attribute__((always_inline)) void reply_bulk_inline(struct reply *r, struct span s)
{
    if (likely_(s.n <= REPLY_BULK_SHORT) && reply_has_room(r, REPLY_BULK_ROOM)) {
        uint8_t *to = r->cur;
        memcpy(to, &reply_bulk_head[s.n], 8);
        to += 4 + (s.n >= 10);
        bytes_copy_64(to, s.p, s.n);
        memcpy(to + s.n, "\r\n", 2);
        r->cur = to + s.n + 2;
        return;
    }
    reply_bulk(r, s);
}

static inline __attribute__((always_inline)) void reply_ok_inline(struct reply *r)
{
    if (reply_has_room(r, 8)) {
        memcpy(r->cur, "+OK\r\n\0\0", 8);
        r->cur += 5;
    } else {
        reply_ok(r);
    }
}
