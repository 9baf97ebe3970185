/* A stand-in for dataplane/net: connections that are plain memory. Tests put bytes in and read bytes out, and decide how much the
 * peer takes, so that the conn layer is seen alone and several workers can be turned in any order. */
#pragma once

#include "dataplane/net/net.h"
#include "engine/base/list.h"

struct tcp_conn {
    uint8_t
        record[128]; /* of the real one, closed: whoever looks into it finds nothing to write to */
    struct list node;
    struct net *net;
    void *cookie;
    uint8_t *in; /* bytes to deliver at the next turn */
    size_t in_len;
    uint8_t *out; /* bytes the server has sent */
    size_t out_len, out_cap;
    size_t window; /* bytes the peer takes in all; SIZE_MAX: everything */
    size_t hold;
    bool want_writable, closed_by_app, aborted, gone, fin_in, deliver_fin;
    uint8_t chunk[1448];
};

/* A new client of the worker that created `net`. NULL: refused. */
struct tcp_conn *fake_connect(struct net *net);
/* Bytes for the next net_input. */
void fake_send(struct tcp_conn *tc, const void *p, size_t n);
void fake_fin(struct tcp_conn *tc);
void fake_reset(struct tcp_conn *tc);
void fake_open_window(struct tcp_conn *tc, size_t total);
/* What a worker's rx calls: delivers everything that waits to the application, at most `max` bytes a connection. */
bool fake_deliver(struct net *net, size_t max);
/* The net the last net_create made. */
struct net *fake_last_net(void);
void fake_free(struct tcp_conn *tc);
/* The port that the next fake_connect is to. */
extern uint16_t fake_local_port;

/* Frames about connections that are elsewhere: the flow's number is the frame. */
extern struct fake_stray {
    struct net *owner; /* has the connection; NULL: nobody */
    unsigned found, reset;
    bool denied, no_memory;
} fake_stray;
/* One comes in; what the stack would do: ask the taker, or answer by a reset. */
void fake_stray_frame(struct net *net, uint64_t flow);

/* What was said of neighbours. */
extern struct fake_neigh {
    unsigned learned, lost;
    struct ip_addr ip;
    uint8_t mac[6];
    void (*resolve)(void *ctx, struct ip_addr ip); /* NULL: ARP is the stack's own */
    void *resolve_ctx;
} fake_neigh;
