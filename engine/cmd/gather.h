/* gather: commands that every worker answers a part of, and whose reply is made of all parts at the client's home (SPLIT_GATHER).
 *
 *   each worker: the command -> gather_begin, gather_put_* -> gather_end: its part, a bulk string
 *   home:        agg.c -> gather_finish -> the command's finisher, with all parts in order of arrival -> the reply
 *
 * Where one worker is all, gather_end makes the reply at once. A part is bytes of our own for our own process, in its byte order; it is read
 * with bounds nevertheless. */
#pragma once

#include "engine/cmd/cmd.h"

struct gather {
    struct reply to;
    struct reply_heap heap;
};

/* A part being read. */
struct gather_part {
    const uint8_t *p, *end;
    bool bad; /* it ended too early: what was read since is 0 or empty */
};
typedef void gather_fn(struct reply *out, struct gather_part *part, uint32_t n);

void gather_begin(struct gather *g);
void gather_put(struct gather *g, const void *p, size_t n);
void gather_put_u64(struct gather *g, uint64_t v);
void gather_put_text(struct gather *g, struct span text);
/* Sends the part, or the whole reply. */
void gather_end(struct cmd *c, struct gather *g);

void gather_get(struct gather_part *p, void *to, size_t n);
uint64_t gather_get_u64(struct gather_part *p);
struct span gather_get_text(struct gather_part *p);

/* `parts`: one behind the other, each { u64 length, bytes }. False: one of them is not whole, or d is no such command. */
bool gather_finish(const struct cmd_desc *d, struct span parts, struct reply *out);
