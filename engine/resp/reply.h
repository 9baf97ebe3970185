/* Replies: writes RESP2 or RESP3 into whatever memory the sink provides: the tail of a connection's
 * transmit mbuf, a heap block, a mail message, a link ring.
 *
 * A reply is written in pieces; `more` is called when the room is used up and must provide at least one
 * byte of new room or set `failed` (the client is then closed by its owner; later writes are ignored). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"

struct reply;
struct reply_sink {
    /* Accepts the bytes written up to r->cur, then sets r->cur/r->end to new room. `hint`: bytes still to come, at least 1. */
    void (*more)(struct reply *r, size_t hint);
};

struct reply {
    uint8_t *cur, *end;
    const struct reply_sink *sink;
    void *ctx;           /* the sink's */
    uint8_t resp;        /* 2 or 3 */
    bool failed;         /* out of room for good */
    bool muted;          /* CLIENT REPLY OFF/SKIP: everything is dropped */
    uint32_t errors;     /* error replies written since init: the caller's account */
    char error_code[16]; /* first word of the last error, for errorstats */
};

void reply_raw(struct reply *r, const void *p, size_t n);
void reply_ok(struct reply *r);
void reply_simple(struct reply *r, const char *s); /* +s */
void reply_error(
    struct reply *r,
    const char *
        msg); /* "-" msg; msg carries its code: "ERR ...", "WRONGTYPE ..."; CR and LF become blanks */
void reply_errorf(struct reply *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void reply_error_span(struct reply *r, struct span msg);
void reply_int(struct reply *r, int64_t v);
void reply_bulk(struct reply *r, struct span s);
void reply_bulk_str(struct reply *r, const char *s);
void reply_bulk_int(struct reply *r, int64_t v); /* an integer as a bulk string */
void reply_null(struct reply *r);                /* $-1 or _ */
void reply_null_array(struct reply *r);          /* *-1 or _ */
void reply_bool(struct reply *r, bool v);        /* :1/:0 or #t/#f */
void reply_double(struct reply *r, double v);    /* bulk or , */
void reply_array(struct reply *r, size_t n);     /* *n */
void reply_map(struct reply *r, size_t pairs);   /* *2n or %n */
void reply_set(struct reply *r, size_t n);       /* *n or ~n */
void reply_push(struct reply *r, size_t n);      /* *n or >n */
void reply_verbatim(struct reply *r, const char ext[3], struct span s); /* $ or = */
void reply_attr(struct reply *r, size_t pairs);                         /* RESP3 only: |n */

/* A sink on the heap, for mail, tests and control: grows by doubling. */
struct reply_heap {
    uint8_t *p;
    size_t len, cap, limit; /* limit 0: none */
    bool lent;              /* p is somebody's: what outgrows it moves to the heap */
};
/* Starts empty and without limit; set h->limit afterwards. */
void reply_heap_init(struct reply *r, struct reply_heap *h, uint8_t resp);
/* Goes on behind the h->len bytes that an earlier reply left (finished) in `h`. */
void reply_heap_append(struct reply *r, struct reply_heap *h, uint8_t resp);
/* Makes h->len what was written. */
void reply_heap_finish(struct reply *r, struct reply_heap *h);
void reply_heap_free(struct reply_heap *h);
