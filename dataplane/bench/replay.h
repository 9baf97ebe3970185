/* replay: a log of commands that was captured, to be asked again: what MONITOR prints, an append-only file, or a trace of "time,key,size,op" lines
 * (ms; get, set or del). All of it is read into memory as requests. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct replay_line {
    uint64_t at_ns, off; /* since the first one; into `text` */
    uint32_t len;
};

struct replay {
    struct replay_line *line;
    size_t lines, lines_cap;
    uint8_t *text; /* requests in RESP */
    size_t text_len, text_cap;
    uint64_t length_ns; /* from the first to the last, and a mean gap more */
    uint64_t
        left_out; /* commands that belong to one connection (MULTI, SUBSCRIBE, SELECT ...) or wait (BLPOP ...) */
    bool timed;
};

/* False: err says why (file, line). replay_free in both cases. */
bool replay_load(struct replay *r, const char *path, char *err, size_t err_len);
void replay_free(struct replay *r);
