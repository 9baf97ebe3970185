/* wire: a simulated Ethernet segment between whole stacks in one process, on a virtual clock.
 *
 * Hosts are stacks (wire_host_net) or scripts that see raw frames (wire_host_raw). Frames are copied
 * out of the sender's mbufs, impaired by a seeded generator, ordered by arrival time, and handed to
 * the receiver as mbufs over exact-size heap blocks, so that a sanitizer sees every overread. Same
 * seed, same calls: same trace hash.
 *
 *     wire_init(&w, seed); wire_host_net(&w, &cfg, &app); ...; wire_run(&w, until, done, ctx); */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/net/net.h"
#include "tests/nic/nic.h"

#define WIRE_HOSTS 8
#define WIRE_MS    1000000ull
#define WIRE_SEC   1000000000ull

struct wire_impair { /* on what a host sends; ppm: of a million */
    uint32_t loss_ppm, dup_ppm, corrupt_ppm, reorder_ppm;
    uint64_t delay_ns, jitter_ns; /* jitter keeps order; reorder does not */
    uint64_t bytes_per_s;         /* 0: no limit */
};

struct wire_frame {
    uint64_t at_ns, order;
    unsigned to, from;
    uint32_t len;
    uint8_t *data; /* exact-size heap block */
};

struct wire;
struct wire_host {
    struct wire *wire;
    unsigned id;
    uint8_t mac[6];
    struct net *net; /* NULL: raw */
    struct net_config cfg;
    struct stats_worker stats;
    struct rte_mempool *pool, *reserve;
    struct wire_impair impair;
    uint64_t busy_until_ns; /* bytes_per_s */
    uint64_t last_at_ns;    /* keeps order under jitter */
    /* Once per turn after input, before output: the application's own work. May be NULL. */
    void (*step)(void *ctx, struct wire_host *h);
    void *step_ctx;
    /* Raw hosts: every frame that arrives. */
    void (*on_frame)(void *ctx, struct wire_host *h, const uint8_t *p, uint32_t len);
    void *frame_ctx;
    uint16_t tx_refuse_after; /* 0: never; else the wire takes so many frames a call */
    struct nic nic;           /* what its port does; zero: nothing */
    uint32_t rx_piece;        /* frames come in buffers of so many bytes; 0: in one */
    uint32_t nic_hold;        /* sent mbufs that the "NIC" keeps before it frees them */
    struct rte_mbuf *held[256];
    uint32_t held_count;
    uint64_t sent_frames, lost_frames;
};

struct wire {
    uint64_t now_ns, order, rng, hash;
    struct wire_host host[WIRE_HOSTS];
    unsigned hosts;
    struct wire_frame *heap;
    size_t heap_len, heap_cap;
    struct rte_mempool *shells; /* rx mbufs without data */
    /* Sees each frame as sent, before impairment; false loses it. */
    bool (*filter)(void *ctx, struct wire_host *from, const uint8_t *p, uint32_t len);
    void *filter_ctx;
};

/* Scripts and pairs speak IPv6: BAREWIRE_TEST_V6 is in the environment. */
bool wire_v6(void);
/* The IPv6 address that goes with an IPv4 one in tests: fd00::a.b.c.d, on fd00::/64. */
struct ip_addr wire_ip6(uint32_t ip);

/* EAL without hugepages, root, PCI or shared configuration. Call once per process. */
int wire_eal_init(void);

void wire_init(struct wire *w, uint64_t seed);
/* Destroys the stacks; fails the test if a pool or the wire's own mbufs do not return to empty. */
void wire_fini(struct wire *w);
/* A pool of n mbufs of `room` data bytes, named for this process. */
struct rte_mempool *wire_pool(unsigned n, unsigned room);
/* cfg: ip and what differs from the defaults; MAC, pools and secret are filled in where missing. */
struct wire_host *wire_host_net(struct wire *w, const struct net_config *cfg, struct tcp_app *app);
/* The same with a port that does more. */
struct wire_host *wire_host_nic(struct wire *w, const struct net_config *cfg, struct tcp_app *app,
                                const struct nic *nic);
struct wire_host *wire_host_raw(struct wire *w, const uint8_t mac[6]);
void wire_config(struct net_config *c, uint32_t ip);
/* Puts a frame on the wire towards `to`, at now + delay. */
void wire_inject(struct wire *w, unsigned to, const void *p, uint32_t len, uint64_t delay_ns);
/* Runs events until the time, or until done() says so, or nothing is left to happen.
 * Returns whether done() was reached (true if done is NULL). */
bool wire_run(struct wire *w, uint64_t until_ns, bool (*done)(void *ctx), void *ctx);
/* One turn of every stack now (output, and what it causes at once). */
void wire_turn(struct wire *w);
uint64_t wire_random(struct wire *w);

/* ---- an application: deterministic byte streams both ways ---- */

struct stream {
    struct tcp_conn *tc;
    struct wire_host *host;
    uint64_t tx_seed, rx_seed; /* octet i is a function of seed and i */
    uint64_t tx_total, tx_done, rx_total, rx_seen;
    bool connected, accepted, closed, peer_closed, want_close, close_sent, mismatch;
    bool close_on_peer_close, hold_all;
    int err, connect_err;
    uint64_t rx_held;
    unsigned drain_every, steps; /* hold_all: every so many steps all is digested; 0: never */
    unsigned writable_calls;
};
#define STREAMS 4096
struct stream_app { /* one per host */
    struct tcp_app app;
    struct wire_host *host;
    struct stream stream[STREAMS];
    unsigned used;
    struct stream accept_as; /* template of accepted streams */
    bool refuse;
    unsigned accepted, closed;
};
void stream_app_init(struct stream_app *a);
void stream_app_attach(struct stream_app *a, struct wire_host *h);
/* Writes as much as there is room for; closes when done if want_close. Called each step. */
void stream_push(struct stream *s);
uint8_t stream_octet(uint64_t seed, uint64_t i);
