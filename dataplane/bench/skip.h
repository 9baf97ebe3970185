/* skip: reads replies of RESP2 and RESP3, or of memcached's text protocol, without keeping them: where each ends, and what a client must know of
 * it. Incremental at every byte. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum skip_status { SKIP_MORE, SKIP_REPLY, SKIP_PUSH, SKIP_BAD };

#define SKIP_KEEP 20

struct skip {
    uint64_t values; /* still to come of this reply; 0: between two */
    uint64_t bytes;  /* of a bulk string, its CR LF included */
    uint32_t line_len;
    uint32_t kept_len;
    int64_t integer; /* the reply, when it was ':' */
    bool keep,
        memcached; /* asked for by who uses it: the last bulk string's beginning; the other protocol */
    bool begun;    /* the reply's first header was read */
    bool push, error, null; /* of the reply: its kind; the first byte was '-'; it was nil */
    char kept[SKIP_KEEP];   /* with `keep`: what the last bulk string of the reply begins with */
    char line[120];         /* a header that is not whole; the text of an error, cut */
};

void skip_init(struct skip *s);
/* Reads up to the end of one reply and moves *cur there. SKIP_REPLY: s->error, s->null, and s->line (NUL-terminated) when it was an error;
 * they hold until the next call. SKIP_PUSH: a message that answers no request. */
enum skip_status skip_reply(struct skip *s, const uint8_t **cur, const uint8_t *end);
