/* resp_client: a client that speaks RESP on a simulated stack: random pipelines of string commands on
 * keys of its own, against a model of them. Every octet of every reply is compared, in order. */
#pragma once

#include "tests/sim/sim.h"

#define CLIENT_KEYS 8

enum client_end {
    END_CLOSE,  /* all replies read, then FIN */
    END_QUIT,   /* QUIT: the server closes */
    END_ABORT,  /* RST in the middle */
    END_VANISH, /* in the middle no frame passes any more, either way */
    END_STUCK,  /* reads nothing any more, then RST */
    END_KINDS
};

struct client_bytes {
    uint8_t *p;
    size_t off, len, cap; /* what is in use: [off, len) */
};

struct client {
    struct sim *sim;
    struct sim_node *node;
    uint32_t id;
    uint16_t port;
    enum client_end how;
    /* the plan */
    uint64_t start_ns;
    uint32_t commands, depth, end_after; /* end_after: replies before ABORT, VANISH, STUCK */
    uint32_t big_ppm;                    /* values of up to 200 KB */
    uint64_t drain_bytes, drain_every_ns, drain_next_ns;
    /* the state */
    struct tcp_conn *tc;
    bool started, open, closed, silent, quit_said, close_said;
    int err;
    uint32_t asked, answered;
    uint64_t out_end[64]; /* where the replies of the requests under way end, as a ring */
    uint64_t expect_total, got_total, held;
    uint64_t abort_ns;
    struct client_bytes out, expect;
    struct client_value {
        bool set;
        struct client_bytes v;
    } key[CLIENT_KEYS];
    int64_t counter;
};

/* Draws the plan. */
void client_plan(struct client *c, struct sim *s, struct sim_node *node, uint32_t id,
                 uint16_t port);
void client_start(struct client *c, uint32_t server_ip, uint16_t server_port);
/* Its own clock; returns when it wants to be called again. */
uint64_t client_step(struct client *c, uint64_t now);
void client_free(struct client *c);
/* For the stack that carries clients: cookies are struct client. */
const struct tcp_app *client_app(void);
