/* cluster: which node owns a key, as CLUSTER SLOTS says at the beginning and MOVED afterwards. The load generator's cluster mode: a request goes to
 * the owner of its first key; what is answered MOVED or ASK goes where that says. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct load;
struct load_client;
struct open_op;

#define CLUSTER_NODES_MOST 256
#define CLUSTER_SLOTS      16384

struct cluster {
    uint8_t node[CLUSTER_SLOTS]; /* the transport's target */
    uint32_t nodes;              /* targets 0 .. nodes - 1 have been told of */
    uint8_t *reply;              /* to CLUSTER SLOTS, gathered */
    size_t reply_len;
};

/* Takes the reply to CLUSTER SLOTS (RESP2 or RESP3), whole. False: err. */
bool cluster_learn(struct load *l, const uint8_t *p, size_t n, char *err, size_t err_len);
/* Sends each request of `n` bytes to its owner among lead's connections, as parts of `of`. */
void cluster_spread(struct load_client *lead, struct open_op *of, const uint8_t *p, size_t n);
/* c was answered an error. True: it was MOVED or ASK, and the request is on its way elsewhere. */
bool cluster_follow(struct load_client *c);
