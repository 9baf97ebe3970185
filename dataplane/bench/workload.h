/* workload: what is asked. A mix of operations, each a template of one or more requests with places that are filled in anew every time:
 *
 *   __key__       "key:" and twelve digits, drawn by the key law (--keys)      __rand_int__  twelve digits, the same law
 *   __rand__      a number of the same range, no leading zeros                 __seq__       counts up, never the same twice
 *   __data__      a value of the drawn size                                    __score__     a number of [0, 1) with six digits
 *   __channel__   "channel:" and twelve digits, uniform (--channels)           __stamp__     the time, 20 digits: a subscriber sees how long it took
 *
 * Or a log that was captured (replay.h), in its order. */
#pragma once

#include "dataplane/bench/draw.h"

#define OPS_MOST       16
#define REQUESTS_MOST  16 /* of one operation, written together */
#define PIECES_MOST    256

#define WORKLOAD_STAMP 20 /* digits */

enum piece_kind {
    PIECE_TEXT,
    PIECE_KEY,
    PIECE_RAND_INT,
    PIECE_RAND,
    PIECE_SEQ,
    PIECE_DATA,
    PIECE_SCORE,
    PIECE_CHANNEL,
    PIECE_STAMP
};

/* One stretch of an operation's bytes. An argument whose length is not fixed is one piece that writes its own "$n". */
struct piece {
    enum piece_kind kind;
    bool again;  /* the same key as the one before it in this operation */
    bool framed; /* it is a whole argument and its length varies: "$n\r\n" before, CR LF after */
    uint32_t off, len; /* PIECE_TEXT: of workload.text */
};

struct op {
    char name[32];
    bool publishes;
    uint32_t weight, requests; /* replies that are awaited */
    uint32_t first, pieces;
};

struct workload {
    struct op op[OPS_MOST];
    uint32_t ops, total_weight;
    struct piece piece[PIECES_MOST];
    uint32_t pieces;
    char *text;
    uint32_t text_len, text_cap;
    struct key_draw keys;
    struct size_draw sizes;
    uint8_t *data;     /* what values are made of */
    uint32_t channels; /* 1 */
    bool
        memcached; /* before anything is added: the words "SET key value" and "GET key" become memcached's */
    struct replay *replay; /* not NULL: instead of operations; the caller's */
    uint64_t seq, now_ns;  /* now: for __stamp__ */
    uint32_t longest;      /* bytes of the longest operation that may be written */
};

void workload_init(struct workload *w);
void workload_fini(struct workload *w);
/* Adds an operation of requests in redis-cli's words, ';' between two of them. The name may be NULL: its first word. False: err says why. */
bool workload_add(struct workload *w, const char *name, uint32_t weight, const char *words,
                  char *err, size_t err_len);
/* One of redis-benchmark's tests (ping, set, get, incr ...), or ycsb-a to ycsb-f. */
bool workload_add_named(struct workload *w, const char *name, uint32_t weight, char *err,
                        size_t err_len);
void workload_list(void); /* the names, on stdout */
/* After the last one: the keys' law over `keys`, values of the drawn sizes. False: no memory. */
bool workload_ready(struct workload *w, uint64_t keys);
/* The name of channel i mod channels; 32 characters are enough. */
void workload_channel(const struct workload *w, uint32_t i, char *to);
/* Draws an operation. */
uint32_t workload_draw(const struct workload *w, struct draw *d);
/* Writes it; `to` has w->longest bytes. Returns their count. */
size_t workload_write(struct workload *w, uint32_t op, struct draw *d, uint8_t *to);
