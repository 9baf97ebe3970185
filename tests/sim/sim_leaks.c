/* sim_leaks: 100,000 connections to the whole server, opened and closed under loss: closed by the
 * client, by the server (QUIT), reset, stuck, dead in the middle and before the handshake was over. After virtual
 * hours connections, timers, packet buffers and the conn layer's memory must be exactly where they were.
 *
 *     sim_leaks [--seeds FROM..TO] [--trace] [--once]   each seed is 100,000 connections */
#include <stdio.h>
#include <stdlib.h>

#include <rte_mempool.h>

#include "dataplane/conn/conn_internal.h"
#include "tests/sim/resp_client.h"

#define SERVER_IP   0x0a000001
#define SERVER_PORT 6379
#define CONNECTIONS 100000
#define SLOTS       400
#define STACKS      3 /* the last one: clients that die, each on a port of its own */
#define PORT_FIRST  1024
#define PORTS       3000 /* of the others: the same 4-tuples come again, in TIME_WAIT and after it */

struct slot_state {
    struct client client;
    bool used;
    unsigned stack;
    uint64_t dead_ns; /* the line is dead from here on, whatever the client thinks */
};

struct run {
    struct sim sim;
    struct worker *worker[2];
    struct sim_node *server, *stack[STACKS];
    struct slot_state slot[SLOTS];
    uint16_t port_next[STACKS];
    uint16_t slot_of[STACKS][UINT16_MAX + 1]; /* slot + 1 */
    uint8_t dead[UINT16_MAX + 1];             /* ports of the last stack that are dead for good */
    uint32_t started, over;
    bool rescan[STACKS];
};

static struct run run;
static struct {
    uint64_t conns, answered, errors, keepalive, timeouts, resets, recycled;
    double hours;
} total;

/* ---- clients ---- */

static struct slot_state *slot_for(const struct client *c)
{
    return (struct slot_state *)((char *)(uintptr_t)c - offsetof(struct slot_state, client));
}

static void again(void *cookie)
{
    run.rescan[slot_for(cookie)->stack] = true;
}

static void on_connected(void *cookie, struct tcp_conn *tc, int err)
{
    again(cookie);
    client_app()->connected(cookie, tc, err);
}

static void on_received(void *cookie, const uint8_t *p, size_t n)
{
    again(cookie);
    client_app()->received(cookie, p, n);
}

static void on_closed(void *cookie, int err)
{
    again(cookie);
    client_app()->closed(cookie, err);
}

/* A client with a short life; on which stack and port says how it dies. */
static void slot_open(struct slot_state *st)
{
    struct sim *s = &run.sim;
    struct client *c = &st->client;
    /* By turns: quick ones only, so many that TIME_WAIT runs out of records; and slow deaths, hours long. */
    bool quick = run.started / 10000 % 2 == 0;
    bool unborn = !quick && sim_random(s) % 30 == 0; /* dies in the handshake */
    client_plan(c, s, NULL, run.started, 0);
    c->commands = (uint32_t)sim_between(s, 0, 4);
    c->end_after = (uint32_t)sim_between(s, 0, c->commands);
    c->drain_bytes = 0;
    c->big_ppm = 2000;
    uint64_t how = sim_random(s) % (quick ? 10 : 12);
    c->how = how < 5    ? END_CLOSE
             : how < 8  ? END_QUIT
             : how < 10 ? END_ABORT
             : how < 11 ? END_VANISH
                        : END_STUCK;
    bool dies = unborn || c->how == END_VANISH;
    st->stack = dies ? STACKS - 1 : (unsigned)(sim_random(s) % (STACKS - 1));
    st->dead_ns = unborn ? s->now_ns + sim_random(s) % (200 * SIM_US) : UINT64_MAX;
    if (unborn)
        c->how = END_VANISH;
    if (dies && !unborn &&
        sim_random(s) % 2) { /* dies when nothing is under way: keepalive finds out */
        st->dead_ns = s->now_ns + SIM_SEC;
        c->end_after = c->commands + 1;
    }
    c->node = run.stack[st->stack];
    st->used = true;
    for (unsigned tries = 0; !c->tc; tries++) {
        SIM_CHECK(s, tries < PORTS, "no port is free");
        uint16_t *next = &run.port_next[st->stack];
        c->port = (uint16_t)(PORT_FIRST + (dies ? *next : *next % PORTS));
        ++*next;
        SIM_CHECK(s, !dies || *next < UINT16_MAX - PORT_FIRST, "no port is unused");
        c->tc = tcp_connect_to(c->node->net, sim_address(s, SERVER_IP), SERVER_PORT, c->port, c,
                               s->now_ns);
    }
    c->started = true;
    run.slot_of[st->stack][c->port] = (uint16_t)(st - run.slot + 1);
    run.started++;
}

static void slot_close(struct slot_state *st)
{
    struct client *c = &st->client;
    total.answered += c->answered;
    total.errors += c->err != 0;
    run.slot_of[st->stack][c->port] = 0;
    if (st->stack == STACKS - 1)
        run.dead[c->port] = 1;
    if (c->how < END_ABORT)
        SIM_CHECK(&run.sim, c->err || c->answered == c->commands, "client %u: %u of %u answers",
                  c->id, c->answered, c->commands);
    client_free(c);
    st->used = false;
    run.over++;
}

/* One stack's turn. Slots are walked only when something happened to one or a time came. */
static void step(void *ctx, uint64_t now)
{
    struct sim_node *n = ctx;
    unsigned stack = (unsigned)(n - run.stack[0]);
    static uint64_t wake[STACKS];
    if (now == SIM_START)
        wake[stack] = 0;
    n->step_next_ns = wake[stack];
    if (!run.rescan[stack] && now < wake[stack])
        return;
    run.rescan[stack] = false;
    wake[stack] = UINT64_MAX;
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot_state *st = &run.slot[i];
        if (st->used && st->stack != stack)
            continue;
        if (st->used && st->client.closed)
            slot_close(st);
        if (!st->used && run.started < CONNECTIONS) {
            slot_open(st);
            run.rescan[st->stack] = true;
            continue;
        }
        if (!st->used)
            continue;
        uint64_t next = client_step(&st->client, now);
        run.rescan[stack] |= st->client.closed;
        wake[stack] = next < wake[stack] ? next : wake[stack];
    }
    if (run.rescan[stack])
        wake[stack] = now + SIM_US;
    n->step_next_ns = wake[stack];
}

static bool alive(void *ctx, const struct sim_node *from, const uint8_t *p, uint32_t len)
{
    (void)ctx;
    const uint8_t *tcp = sim_tcp(from, p, len), *port_at = tcp + (from->worker ? 2 : 0);
    if (!tcp)
        return true;
    unsigned port = (unsigned)(port_at[0] << 8 | port_at[1]);
    unsigned stack = sim_last_octet(tcp, p + 14, from->worker) - (SERVER_IP & 0xff) - 1u;
    if (stack != STACKS - 1)
        return true;
    if (run.dead[port])
        return false;
    const struct slot_state *st =
        run.slot_of[stack][port] ? &run.slot[run.slot_of[stack][port] - 1] : NULL;
    return !st || (!st->client.silent && run.sim.now_ns < st->dead_ns);
}

/* ---- the run ---- */

static void setup(uint64_t seed, bool verbose, const struct tcp_app *app)
{
    struct sim *s = &run.sim;
    memset(&run, 0, sizeof(run));
    sim_init(s, seed);
    s->verbose = verbose;
    s->alive = alive;
    struct sim_impair im = {.loss_ppm = 15000,
                            .dup_ppm = 5000,
                            .corrupt_ppm = 5000,
                            .reorder_ppm = 10000,
                            .delay_ns = 30 * SIM_US,
                            .jitter_ns = 20 * SIM_US};
    run.server = sim_node(s, SERVER_IP, NULL);
    run.server->cfg.listen_port = SERVER_PORT;
    run.server->cfg.max_conns = 8192;
    run.server->impair = im;
    for (unsigned i = 0; i < STACKS; i++) {
        struct sim_node *n = run.stack[i] = sim_node(s, SERVER_IP + 1 + i, NULL);
        n->cfg.max_conns = PORTS / 2;
        n->impair = im;
        n->step = step;
        n->step_ctx = n;
        n->step_next_ns = SIM_START;
    }
    struct engine_config cfg;
    engine_config_defaults(&cfg);
    cfg.protected_mode = 0;
    sim_node_workers(run.server, 1, &cfg, run.worker);
    for (unsigned i = 0; i < STACKS; i++)
        sim_node_net(run.stack[i], app);
}

static bool all_over(void *ctx)
{
    (void)ctx;
    return run.over == CONNECTIONS;
}

static uint64_t one(uint64_t seed, bool verbose)
{
    struct tcp_app app = *client_app();
    app.connected = on_connected;
    app.received = on_received;
    app.closed = on_closed;
    setup(seed, verbose, &app);
    struct sim *s = &run.sim;
    struct worker *w = run.worker[0];
    if (!sim_run(s, SIM_START + 1000 * SIM_HOUR, all_over, NULL)) {
        for (unsigned i = 0; i < SLOTS; i++) {
            const struct client *c = &run.slot[i].client;
            if (run.slot[i].used)
                fprintf(stderr, "port %u of stack %u: end %d, closed %d, %u of %u answered, %s\n",
                        c->port, run.slot[i].stack, c->how, c->closed, c->answered, c->commands,
                        c->tc ? tcp_state_name(c->tc->state) : "-");
        }
        sim_fail(s, "%u of %u connections are over", run.over, CONNECTIONS);
    }
    sim_run(s, s->now_ns + 2 * SIM_HOUR, NULL, NULL);
    sim_check_idle(s);
    SIM_CHECK(s,
              w->clients == 0 && w->stats->clients == 0 && list_empty(&w->conns) &&
                  list_empty(&w->dead) && list_empty(&w->dirty),
              "%llu clients are left", (unsigned long long)w->clients);
    SIM_CHECK(s, w->conn_mem.used_bytes == 0 && w->out_total == 0 && w->posted == 0,
              "%zu bytes of queries, %llu of output, %u posted", w->conn_mem.used_bytes,
              (unsigned long long)w->out_total, w->posted);
    const struct stats_worker *st = w->stats;
    SIM_CHECK(s,
              st->tcp_keepalive_drops > 500 && st->tcp_abort_timeout &&
                  st->tcp_time_wait_recycled + run.stack[0]->stats->tcp_time_wait_recycled,
              "the run was too gentle");
    total.conns += run.over;
    total.keepalive += st->tcp_keepalive_drops;
    total.timeouts += st->tcp_abort_timeout;
    total.resets += st->tcp_in_rsts;
    total.recycled += run.stack[0]->stats->tcp_time_wait_recycled;
    total.hours += (double)(s->now_ns - SIM_START) / (double)SIM_HOUR;
    sim_mix(s, st->tcp_in_segs);
    uint64_t hash = s->hash;
    sim_fini(s);
    return hash;
}

static void summary(void)
{
    printf(
        ": %llu connections, %llu commands, %llu ended with an error; the server dropped %llu by "
        "keepalive, %llu by timeout, heard %llu resets; %llu TIME_WAIT recycled; %.1f virtual "
        "hours\n",
        (unsigned long long)total.conns, (unsigned long long)total.answered,
        (unsigned long long)total.errors, (unsigned long long)total.keepalive,
        (unsigned long long)total.timeouts, (unsigned long long)total.resets,
        (unsigned long long)total.recycled, total.hours);
}

int main(int argc, char **argv)
{
    return sim_main(argc, argv, one, summary);
}
