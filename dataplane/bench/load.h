/* load: the clients of a run. Asks by a workload over a transport, in a closed loop (a client asks again when it was answered) or an open one
 * (requests fall due at a rate, whatever the server does; latency counts from the time they were due, so a stall of the server is seen by
 * every request it delayed). One thread; the transport calls load_* back from its poll. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/bench/percentile.h"
#include "dataplane/bench/skip.h"
#include "dataplane/bench/workload.h"

struct load;
struct load_client;

/* What carries the bytes. All times are monotonic ns. */
struct transport {
    const struct transport_ops *ops;
    const char *name;
    uint64_t busy_ns; /* time in which there was something to do; counted by poll */
};
struct transport_ops {
    /* Opens c->tc to c->target; load_connected tells the outcome, perhaps before it returns. */
    void (*connect)(struct transport *t, struct load_client *c);
    /* A further place to connect to (0 is the one it was made with); the same place has the same number. <0: -errno. */
    int (*target)(struct transport *t, const char *host, uint16_t port);
    /* Takes up to n bytes to be sent, returns how many; load_writable follows when it took less. */
    size_t (*write)(struct transport *t, struct load_client *c, const uint8_t *p, size_t n);
    /* Bytes written so far may leave. */
    void (*flush)(struct transport *t, struct load_client *c);
    /* No callback follows for c->tc. */
    void (*close)(struct transport *t, struct load_client *c);
    /* Sends, receives, calls back; waits no longer than until `until_ns` when there is nothing to do. Returns the time. */
    uint64_t (*poll)(struct transport *t, uint64_t until_ns);
    uint64_t (*now)(struct transport *t);
    void (*destroy)(struct transport *t);
};

/* What the threads of one run have in common. */
struct load_tally {
    _Atomic uint64_t heard,
        told; /* messages that subscribers received; deliveries that PUBLISH announced */
    _Atomic int
        running; /* threads that still ask or are still to be answered; before the start: all */
    _Atomic int opening; /* threads whose connections are not open yet; before the start: all */
    _Atomic uint64_t start_ns; /* of all */
    _Atomic bool failed;
};

struct load_config {
    uint32_t clients, pipeline;
    uint64_t requests;        /* 0: no end but `seconds` */
    double seconds, warmup_s; /* what is asked before the warm-up is over is not counted */
    double rate;              /* operations a second of all clients, open loop; 0: closed */
    bool poisson;             /* open loop: exponential gaps; else even ones */
    bool churn;               /* each client connects anew for every batch */
    bool cluster;             /* each request goes to the node that owns its key; not with churn */
    bool memcached;           /* the text protocol of memcached: set and get only */
    uint32_t subscribers;     /* connections that listen: number i to channel i mod `channels` */
    uint32_t first_subscriber, asks_first,
        asks_step; /* this thread's share: of those, and of the log's lines (0: every one) */
    struct load_tally *tally; /* NULL: one thread */
    double replay_speed; /* open loop at the recorded times, so many times as fast; 0: closed */
    uint8_t resp;
    uint32_t db;
    const char *user, *password; /* NULL: none */
    uint64_t seed;
    double answer_timeout_s; /* at the end, and for the first connection */
    void (*progress)(void *ctx, const struct load *l, bool last); /* every second; may be NULL */
    void *progress_ctx;
};

struct load_second { /* one line of the CSV */
    double at_s;
    uint64_t operations, errors, p50_ns, p99_ns, max_ns;
};

struct load_result {
    uint64_t operations, requests, errors, unanswered, pushes;
    uint64_t connects, connect_failures, lost; /* lost: connections that the server ended */
    uint64_t bytes_in, bytes_out;
    double seconds, rate; /* of the counted part; operations a second */
    double busy_share;    /* of this process, in the counted part */
    uint64_t late;        /* open loop: operations that were due and had not been sent at the end */
    uint64_t redirected;  /* MOVED and ASK that were followed */
    uint64_t messages, published; /* that subscribers received; that PUBLISH said it delivered */
    struct percentile all, connect, delivery, op[OPS_MOST];
    char first_error[120];
    struct load_second *second;
    uint32_t seconds_used, seconds_cap;
};

enum client_state { CLIENT_CLOSED, CLIENT_CONNECTING, CLIENT_GREETING, CLIENT_READY };

/* One operation, over when all its requests were answered. */
struct open_op {
    uint64_t since_ns;
    uint32_t left; /* requests */
    uint16_t op;
    bool counted;
    struct open_op *next; /* of the free ones */
};
/* One request that waits for its reply. */
struct flight {
    struct open_op *of; /* NULL: ASKING, whose reply is nobody's */
    uint8_t *bytes;     /* cluster mode: the request, should it have to go elsewhere */
    uint32_t len;
};

/* A connection. In cluster mode a client has one for each node: `lead`, which counts what is asked, and its `peer`s. */
struct load_client {
    void *tc; /* the transport's */
    struct load *load;
    struct load_client *lead,
        **peer;             /* peer[target], in cluster mode and of a lead; peer[0] is itself */
    uint32_t id, greetings; /* replies still to come before it is READY */
    int target;
    enum client_state state;
    bool subscriber, dirty; /* dirty: something was written and not flushed */
    uint32_t head, tail;    /* of flight: [tail, head) wait */
    uint32_t open_ops;
    struct flight *flight; /* load.flights of them, a power of two */
    struct open_op *pool, *free_op;
    struct skip skip;
    uint64_t connect_ns;
    uint8_t *out; /* bytes that the transport did not take */
    uint32_t out_off, out_len, out_cap;
};

struct load {
    struct transport *t;
    struct load_config cfg;
    struct workload *work;
    struct load_result *result;
    struct load_client *client; /* cfg.clients, then cfg.subscribers */
    struct cluster *cluster;    /* cluster mode */
    struct draw draw;
    uint32_t flights, connections, ready;
    struct load_tally *tally, own_tally;
    uint8_t *scratch;
    uint64_t now_ns, start_ns, count_ns, end_ns, sent_ops, awaited;
    bool stopping, failed, over;
    char error[160];
    /* open loop */
    double next_due_ns;
    uint32_t turn;
    /* this second */
    struct percentile second;
    uint64_t second_ns, second_errors;
};

/* Runs until it is done. False: err says why (nobody to connect to, refused ...). The result is valid in both cases; load_result_free. */
bool load_run(struct transport *t, struct workload *w, const struct load_config *cfg,
              struct load_result *ret, char *err, size_t err_len);
void load_result_free(struct load_result *r);

/* For cluster.c: bytes towards a connection, kept until it is READY; a place for a request that was sent there; the run cannot go on. */
void load_say(struct load_client *c, const uint8_t *p, size_t n);
struct flight *load_flight(struct load_client *c, struct open_op *of);
void load_fail(struct load *l, const char *what, int err);
void load_client_init(struct load *l, struct load_client *c, struct load_client *lead, int target);
void load_connect(struct load_client *c);

/* Called by the transport. err: 0 or -errno. */
void load_connected(struct load_client *c, int err);
void load_received(struct load_client *c, const uint8_t *p, size_t n);
void load_writable(struct load_client *c);
void load_closed(struct load_client *c, int err); /* by the server */
