/* What the suites of the conn layer share: a server of one or several workers over fake_net.h, turned by the test on a clock of its own, and clients
 * that say something and are answered. */
#pragma once

#include "dataplane/conn/conn_internal.h"
#include "tests/unit/conn/fake_net.h"

#define MAX_WORKERS 5

struct server {
    uint32_t count;
    struct worker *w[MAX_WORKERS];
    struct net *net[MAX_WORKERS];
    struct engine_config config;
    uint64_t now_ns;
    bool core_addressed;
    struct link *link,
        *control; /* server_link: the workers' side, and that of the test, which plays control */
    char instance[32];
};

/* One worker of `count` with the fake TCP, as every suite makes it; a failure fails the test. */
void fake_worker(struct worker **all, uint32_t id, uint32_t count, struct engine_config *config,
                 const struct net_config *net);
/* For a worker_config of the suite's own: always says that frames came, so that the worker calls net_input, which delivers what waits. */
uint16_t fake_rx(void *ctx, struct rte_mbuf **pkts, uint16_t n);

/* server_up is both: a configuration of defaults without protected mode, which a suite may change in between; then the workers. */
void server_config(struct server *s);
void server_link(struct server *s, uint32_t count); /* before server_start, where one is wanted */
void server_start(struct server *s, uint32_t count);
void server_up(struct server *s, uint32_t count);
/* After some turns, so that nothing is under way between workers. */
void server_down(struct server *s);

/* Of one worker; the clock moves on by a microsecond. */
void turn(struct server *s, uint32_t worker);
/* n of every worker, one after the other. */
void turns(struct server *s, int n);
/* As many as anything takes that waits for no client. */
void settle(struct server *s);

/* Connected to that worker, at that port. */
struct tcp_conn *client(struct server *s, uint32_t home, uint16_t port);
void say(struct tcp_conn *tc, const char *text);
/* All that has come, which is then taken. */
void expect_out(struct tcp_conn *tc, const char *want);
/* The three in a row. */
void expect(struct server *s, struct tcp_conn *tc, const char *text, const char *want);
/* Reset and freed. */
void leave(struct tcp_conn *tc);
