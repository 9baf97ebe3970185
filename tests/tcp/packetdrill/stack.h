/* stack: one Barewire stack on a virtual clock, for packetdrill: IP packets in and out, and what its sockets know.
 *
 *   tool's thread: pd_inject, pd_take, pd_sleep -> turn -> callbacks -> sockets' buffers
 *   any thread, under pd.lock: socket calls (sockets.c), which wait on pd.changed
 * Everything is guarded by one mutex. The clock moves when the tool sleeps, and when it waits for a packet and nothing else happens. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/net/net.h"

#define PD_SOCKETS 64
#define PD_PACKETS 4096

enum pd_kind { PD_FREE, PD_NEW, PD_LISTENS, PD_CONN, PD_GONE };

struct pd_socket {
    enum pd_kind kind;
    int fd; /* -1: not accepted yet, or closed by its owner */
    bool nonblocking, connected, peer_closed, closed, abort_on_close;
    int err; /* of `closed` or a failed connect, positive */
    uint16_t port;
    struct tcp_conn *tc;
    uint8_t *rx;
    size_t rx_len, rx_cap;
};

struct pd_packet {
    uint8_t *data;
    uint32_t len;
    uint64_t at_ns;
};

struct pd {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t now_ns, changes; /* changes: turns in which something happened */
    struct net_config cfg;
    struct net *net; /* NULL: our address is not known yet */
    struct stats_worker stats;
    struct tcp_app app;
    struct ip_addr local;
    struct pd_socket socket[PD_SOCKETS];
    struct pd_packet out[PD_PACKETS];
    unsigned out_head, out_count;
    unsigned idle_polls;
};

struct pd *pd_new(const char *flags);
void pd_delete(struct pd *pd);
/* The stack with this address, if there is none yet. */
int pd_need_net(struct pd *pd, struct ip_addr local);
void pd_turn(struct pd *pd);
int pd_inject(struct pd *pd, const void *packet, size_t n);
bool pd_take(struct pd *pd, void *p, size_t *n, uint64_t *at_ns);
void pd_advance(struct pd *pd, uint64_t to_ns);
void pd_know_peer(struct pd *pd, struct ip_addr peer);
/* sockets.c: the application's side. */
void pd_app_init(struct pd *pd);
