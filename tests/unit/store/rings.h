/* rings: a link in /dev/shm with both its sides, a directory for files, and records put into the journal rings as workers do. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/link/link.h"

struct rings {
    char instance[64], dir[64], path[128];
    struct link *control, *dataplane;
    struct ring ring[LIMIT_WORKERS];
    uint64_t seq[LIMIT_WORKERS]; /* of each shard */
    uint64_t at_ns;              /* of the records that follow */
};

void rings_begin(struct rings *r, uint32_t workers);
void rings_end(struct rings *r);
/* A record of worker `w` over the shards named: SET <key> <value of n bytes of the letter c>. Each part waits until the ring has room for it. */
void rings_put(struct rings *r, uint32_t w, uint64_t shards, const char *key, char c, size_t n);
/* The same, behind number `seq` of shard `after`. */
void rings_put_behind(struct rings *r, uint32_t w, uint32_t after, uint64_t seq, const char *key);
/* An empty one that says where snapshot `id` was cut. */
void rings_put_cut(struct rings *r, uint32_t w, uint64_t shards, uint64_t id);
/* The parts of it from `from` to `to`; its numbers are given out with the first. True: more are left. */
bool rings_put_parts(struct rings *r, uint32_t w, uint64_t shards, const char *key, char c,
                     size_t n, uint32_t from, uint32_t to);
/* The request as the log has it. The caller frees. */
char *rings_text(const char *key, char c, size_t n, size_t *ret_n);
/* Waits, for a minute at most: then the test fails. */
#define RINGS_UNTIL(cond)                 \
    do {                                  \
        int ms_ = 0;                      \
        while (!(cond) && ms_++ < 60000)  \
            rings_nap();                  \
        if (!(cond))                      \
            fail_msg("never: %s", #cond); \
    } while (0)
void rings_nap(void);
uint64_t rings_backlog(struct rings *r);
