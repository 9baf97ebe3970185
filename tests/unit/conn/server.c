/* See server.h. */
#include "tests/unit/conn/server.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/link/link.h"
#include "tests/unit/unit.h"

#define SETTLE_TURNS 60

uint16_t fake_rx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    (void)ctx, (void)pkts, (void)n;
    return 1;
}

static void create(struct worker **all, uint32_t id, uint32_t count, struct engine_config *config,
                   const struct net_config *net, struct link *link)
{
    struct worker_config c = {.id = id,
                              .count = count,
                              .all = all,
                              .link = link,
                              .config = config,
                              .rx = fake_rx,
                              .hash_seed = {1, 2},
                              .seed = id + 7};
    if (net)
        c.net = *net;
    assert_int_equal(worker_create(&all[id], &c), 0);
}

void fake_worker(struct worker **all, uint32_t id, uint32_t count, struct engine_config *config,
                 const struct net_config *net)
{
    create(all, id, count, config, net, NULL);
}

void server_config(struct server *s)
{
    memset(s, 0, sizeof(*s));
    s->now_ns = 1000000000;
    engine_config_defaults(&s->config);
    s->config.protected_mode = 0;
}

void server_link(struct server *s, uint32_t count)
{
    char err[256];
    bool fresh;
    snprintf(s->instance, sizeof(s->instance), "test-conn-%d", (int)getpid());
    assert_int_equal(link_open_control(&s->control, s->instance, count, &fresh, err, sizeof(err)),
                     0);
    link_config_publish(s->control, &s->config);
    assert_int_equal(link_open_dataplane(&s->link, s->instance, err, sizeof(err)), 0);
    link_dp_begin(s->link, getpid());
    link_refresh(s->control);
}

void server_start(struct server *s, uint32_t count)
{
    struct net_config net = {.listen_port = 6379,
                             .listen_more = s->core_addressed ? (uint16_t)count : 0,
                             .ip = 0x0a000001};
    s->count = count;
    for (uint32_t i = 0; i < count; i++) {
        create(s->w, i, count, &s->config, &net, s->link);
        s->net[i] = fake_last_net();
        wheel_init(&s->w[i]->timers, s->now_ns); /* the test's clock is its own */
    }
}

void server_up(struct server *s, uint32_t count)
{
    server_config(s);
    server_start(s, count);
}

void turn(struct server *s, uint32_t worker)
{
    s->now_ns += 1000;
    worker_turn(s->w[worker], s->now_ns, 1700000000000000ll + (int64_t)(s->now_ns / 1000));
}

void turns(struct server *s, int n)
{
    for (int k = 0; k < n; k++)
        for (uint32_t i = 0; i < s->count; i++)
            turn(s, i);
}

void settle(struct server *s)
{
    turns(s, SETTLE_TURNS);
}

void server_down(struct server *s)
{
    settle(s);
    for (uint32_t i = 0; i < s->count; i++)
        worker_destroy(s->w[i]);
    if (!s->link)
        return;
    link_close(s->link);
    link_close(s->control);
    link_unlink(s->instance);
}

struct tcp_conn *client(struct server *s, uint32_t home, uint16_t port)
{
    fake_local_port = port;
    struct tcp_conn *tc = fake_connect(s->net[home]);
    fake_local_port = 6379;
    return tc;
}

void say(struct tcp_conn *tc, const char *text)
{
    fake_send(tc, text, strlen(text));
}

void expect_out(struct tcp_conn *tc, const char *want)
{
    if (tc->out_len != strlen(want) || (*want && memcmp(tc->out, want, tc->out_len) != 0))
        fail_msg("got \"%.*s\", wanted \"%s\"", (int)tc->out_len, (char *)tc->out, want);
    tc->out_len = 0;
}

void expect(struct server *s, struct tcp_conn *tc, const char *text, const char *want)
{
    say(tc, text);
    settle(s);
    expect_out(tc, want);
}

void leave(struct tcp_conn *tc)
{
    fake_reset(tc);
    fake_free(tc);
}
