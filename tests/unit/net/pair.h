/* pair: two whole stacks on a simulated wire, of which one connects to the other and both send streams of octets. */
#pragma once

#include "tests/unit/net/wire.h"

#define IP_A 0x0a000001u
#define IP_B 0x0a000002u

struct pair {
    struct wire w;
    struct stream_app *client, *server;
    struct wire_host *hc, *hs;
    struct stream *c; /* the client's, of the last connection */
};

/* `peer` and `nic`: what the ports of the client and of the server do, or NULL. `tune` changes what both would be, or NULL. */
void pair_up(struct pair *p, uint64_t seed, const struct nic *peer, const struct nic *nic,
             void (*tune)(struct net_config *c, bool server));
void pair_down(struct pair *p);
/* A connection by which the client sends `up` octets and the server `down`. */
struct stream *pair_connect(struct pair *p, uint64_t up, uint64_t down);
