/* RESP requests: multibulk and inline, incremental at every byte.
 *
 * Where in the flow: the conn layer feeds each run of in-order bytes that TCP delivered.
 * Two paths with one meaning:
 *   fast  nothing is pending and the whole request lies in [*cur, end): argv points into the input, no copy,
 *         no parser state is written.
 *   slow  a request straddles runs: its bytes are gathered in the parser's own buffer (only as many as
 *         complete it), resumable at any byte without looking at a byte twice; an argument of
 *         LIMIT_BIG_ARG_BYTES or more is streamed into a buffer of its own that the command may take over.
 *
 * Limits and error texts are those of Redis 7.0.15 (networking.c): the text in `error` is what follows
 * "-ERR " e.g. "Protocol error: invalid bulk length"; after RESP_BAD the connection is answered and closed, and
 * every further call answers RESP_BAD again. Like Redis, what follows the CR of a header line and what follows an
 * argument is skipped unseen, and a NUL in a line means that its end is never found.
 *
 * What is parsed is judged by `limits` at that moment: parse no further than one request at a time while an AUTH
 * may change `authenticated`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/mem.h"

enum resp_status {
    RESP_DONE, /* one request is in `out` */
    RESP_MORE, /* the input is used up; nothing complete */
    RESP_BAD,  /* protocol error, `error` says which */
    RESP_FULL, /* more arguments are announced than `cap` has room for: call again with a larger or empty arena */
};

struct resp_limits {
    uint64_t max_bulk_bytes;  /* proto-max-bulk-len */
    uint64_t max_query_bytes; /* client-query-buffer-limit: gathered bytes of one request */
    bool authenticated;       /* false: LIMIT_UNAUTH_* apply */
};

/* One request. argv is valid until the next resp_parse that gathers (see `gathered`), the release of
 * the input, or resp_parser_fini, whichever is first. argc == 0: an empty request, to be ignored. */
struct resp_cmd {
    struct span *argv;
    uint32_t argc;
    bool gathered;     /* argv points into the parser's buffer, not into the input */
    size_t wire_bytes; /* length of the request on the wire */
};

/* The first fields are all that the fast path reads. */
struct resp_parser {
    uint8_t state; /* private, gather.c */
    bool
        over_limit; /* RESP_BAD because of client-query-buffer-limit: Redis closes without a reply */
    bool out_of_memory; /* RESP_BAD because of memory */
    uint8_t line_len;   /* bytes in `line` */
    char line
        [24]; /* start of an incomplete header line: more than the longest number that is valid */
    uint32_t line_bytes; /* bytes of that line so far, those that `line` has no room for included */
    bool line_dead;      /* a NUL went by: Redis looks no further for the line's end */
    struct mem *mem;
    uint8_t *buf; /* inline: the line; multibulk: the arguments' bytes, headers left out */
    size_t buf_len, buf_cap;
    struct span *args; /* while gathering: p is an offset into buf, or into the big buffer */
    uint32_t argc, args_cap, want;
    uint64_t bulk_rest; /* bytes of the current argument that have not come, its CR LF included */
    struct resp_big {
        uint8_t *p; /* NULL: taken over */
        size_t len, cap;
        uint32_t arg;
    } * big;
    uint32_t nbig, big_cap;
    size_t wire_bytes; /* of the request that is being gathered */
    char error[128];
};

void resp_parser_init(struct resp_parser *p, struct mem *mem);
void resp_parser_fini(struct resp_parser *p);
/* Memory the parser holds for an incomplete request (counted into the client's query buffer); 0 between requests. */
size_t resp_parser_held(const struct resp_parser *p);
/* Between two requests: the next byte begins one. */
static inline bool resp_parser_idle(const struct resp_parser *p)
{
    return p->state == 0; /* RESP_IDLE */
}
/* Gives back what a gathered request left behind, its argv with it; to be called when the request has been
 * executed or the connection goes idle. Does nothing in the middle of a request. */
void resp_parser_trim(struct resp_parser *p);

/* Parses at most one request from [*cur, end) and moves *cur past the bytes it used.
 * `arena`/`cap`: where argv of a fast-path request goes; caller-owned, at least 1 span.
 * With RESP_MORE all input is used. With RESP_FULL nothing is used; when cap is LIMIT_BATCH_ARGS or more
 * the parser takes the slow path itself and never answers RESP_FULL. Out of memory answers RESP_BAD. */
enum resp_status resp_parse(struct resp_parser *p, const struct resp_limits *lim,
                            const uint8_t **cur, const uint8_t *end, struct span *arena, size_t cap,
                            struct resp_cmd *out);

/* Takes over the streamed buffer behind argument `arg` of the last gathered request, if it has one:
 * *ret_p is a mem block of *ret_cap bytes whose first argv[arg].n bytes are the argument. False: none. */
bool resp_take_big(struct resp_parser *p, uint32_t arg, uint8_t **ret_p, size_t *ret_cap);
