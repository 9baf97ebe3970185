/* sim: whole stacks and whole workers in one process, on a virtual clock, over a simulated wire.
 *
 *     node (struct net or struct worker) -> tx -> tap (invariants) -> impairments -> frames in flight
 *       -> due -> burst of mbufs over exact-size blocks -> the node's turn
 * A node turns when a frame is due for it, when its stack's timer is, or when its application asked
 * to be woken. Nodes with one MAC are one host with several queues: TCP is steered by a hash of the
 * 4-tuple, everything else goes to the first, as RSS does. Everything is decided by one seed: the same seed gives the same
 * trace hash. A broken rule prints the seed, the time and the last frames, and ends the program. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/net/tcp_internal.h"
#include "dataplane/worker.h"
#include "tests/nic/nic.h"

#define SIM_NODES 8
#define SIM_US    1000ull
#define SIM_MS    1000000ull
#define SIM_SEC   1000000000ull
#define SIM_HOUR  (3600 * SIM_SEC)
#define SIM_START (1ull << 58) /* beyond any uptime: worker_create looks at the real clock */
#define SIM_PPM   1000000u

struct sim_impair { /* on what a node sends; ppm: of a million frames */
    uint32_t loss_ppm, dup_ppm, corrupt_ppm, reorder_ppm;
    uint32_t mark_ppm;            /* ECN-capable frames get a congestion mark */
    uint32_t split_ppm;           /* a segment becomes two, as a box in between may do */
    uint32_t burst_ppm;           /* starts of a time in which all is lost */
    uint64_t burst_ns;            /* and how long that is at most */
    uint64_t delay_ns, jitter_ns; /* jitter keeps order; reorder does not */
    uint64_t bytes_per_s;         /* 0: no limit */
    uint64_t queue_ns;            /* bytes_per_s: what would wait longer is dropped */
};

struct sim;
struct sim_node {
    struct sim *sim;
    unsigned id;
    uint8_t mac[6];
    struct net *net;       /* the stack; a worker's own one */
    struct worker *worker; /* NULL: a plain stack */
    struct stats_worker *stats;
    struct net_config cfg;
    struct sim_impair impair;
    struct net_wire wire; /* what this node's port can do */
    uint32_t refuse_ppm;  /* a transmit call takes only a part */
    uint32_t nic_hold;    /* sent mbufs that the "NIC" keeps for a while, at most ARRAY_LEN(held) */
    struct rte_mbuf *held[64];
    uint32_t held_count;
    uint32_t stale; /* frames of an earlier pass that the stack is offering again */
    uint64_t busy_until_ns, last_at_ns;
    uint64_t burst_until_ns;
    /* The application: called in each turn, after input and timers, before output. */
    void (*step)(void *ctx, uint64_t now_ns);
    void *step_ctx;
    uint64_t step_next_ns;      /* UINT64_MAX: only with frames */
    struct rte_mbuf *inbox[32]; /* a worker's receive queue */
    uint16_t inbox_len;
    struct nic nic; /* set by sim_node_card */
    uint64_t sent, lost, corrupted, duplicated, marked;
};

struct sim_frame {
    uint64_t at_ns, order;
    uint8_t *block; /* rte_mbuf_ext_shared_info, then the frame: an overread leaves the block */
    uint32_t len;
    uint8_t to;
    bool bad; /* corrupted: must not count as heard */
};

struct sim {
    uint64_t seed, rng, now_ns, order, hash;
    struct sim_node node[SIM_NODES];
    unsigned nodes;
    struct sim_frame *heap;
    size_t heap_len, heap_cap;
    struct tap *tap; /* NULL: no invariants (see tap.h) */
    /* False: the frame vanishes (a dead link). May be NULL. */
    bool (*alive)(void *ctx, const struct sim_node *from, const uint8_t *frame, uint32_t len);
    void *alive_ctx;
    bool verbose;
    uint64_t frames;
    struct sim_log { /* last frames, for the report of a failure */
        uint64_t at_ns;
        const struct sim_node *from;
        uint32_t len;
        uint8_t head[96];
    } log[40];
    unsigned log_at;
};

/* Every fourth seed speaks IPv6: fd00::a.b.c.d for a.b.c.d. */
struct ip_addr sim_address(const struct sim *s, uint32_t ip);
static inline uint32_t sim_ip_bytes(const uint8_t *ip)
{
    return ip[0] >> 4 == 6 ? 40 : 20;
}

/* The TCP header of a frame of that node's; NULL: it is none. */
const uint8_t *sim_tcp(const struct sim_node *n, const uint8_t *p, uint32_t len);
/* Of an address in front of it. */
static inline uint8_t sim_last_octet(const uint8_t *tcp, const uint8_t *ip, bool dst)
{
    return dst ? tcp[-1] : ip[sim_ip_bytes(ip) == 40 ? 23 : 15];
}

/* EAL without hugepages, PCI, or files that others could see; pools that all runs of this process share.
 * Pools: sim_pool(i) for node i's data, sim_reserve(i) for its control frames. */
void sim_eal_init(void);
struct rte_mempool *sim_pool(unsigned node);
struct rte_mempool *sim_reserve(unsigned node);

void sim_init(struct sim *s, uint64_t seed);
/* Destroys the nodes; every mbuf of every pool must have come back. */
void sim_fini(struct sim *s);
/* Defaults for a node: address, secret, pools. mac_of: the node whose host it shares, or NULL. */
struct sim_node *sim_node(struct sim *s, uint32_t ip, const struct sim_node *mac_of);
/* Gives the node a network card that does something for it, by seed; before its stack is made. */
void sim_node_card(struct sim_node *n);
/* Makes the node's stack of node->cfg and node->wire. */
void sim_node_net(struct sim_node *n, const struct tcp_app *app);
/* Makes `count` nodes from `first` on the workers of one server. cfg: of the server. */
void sim_node_workers(struct sim_node *first, uint32_t count, const struct engine_config *cfg,
                      struct worker **all);
/* Until done() says so or the time has come. False: the time came, or nothing is left to happen. */
bool sim_run(struct sim *s, uint64_t until_ns, bool (*done)(void *ctx), void *ctx);
/* The stack of a node holds no connection, timer, block or frame any more. */
void sim_check_idle(struct sim *s);

uint64_t sim_random(struct sim *s);
uint64_t sim_between(struct sim *s, uint64_t from, uint64_t to); /* both included */
bool sim_chance(struct sim *s, uint32_t ppm);
void sim_mix(struct sim *s, uint64_t v); /* into the trace hash */
_Noreturn void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define SIM_CHECK(s, cond, ...)           \
    do {                                  \
        if (__builtin_expect(!(cond), 0)) \
            sim_fail(s, __VA_ARGS__);     \
    } while (0)

/* One of the profiles of a bad line, with numbers by seed. */
void sim_profile(struct sim *s, struct sim_impair *im);

/* The main of a simulation: --seeds FROM..TO, --trace, --once. run(seed, verbose) returns the trace hash;
 * every seed is run twice unless --once. */
int sim_main(int argc, char **argv, uint64_t (*run)(uint64_t seed, bool verbose),
             void (*summary)(void));
