/* sim_server: the whole server (1 or 3 workers, turned in an order by seed) and clients on stacks of
 * their own, over a bad wire. Replies must be those of the model, in order; clients that read slowly, reset,
 * vanish or stop reading must leave nothing behind.
 *
 *     sim_server [--seeds FROM..TO] [--trace] [--once]  a long run: --seeds 1..20000 --once */
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/conn/conn_internal.h"
#include "tests/sim/resp_client.h"
#include "tests/sim/tap.h"

#define SERVER_IP   0x0a000001
#define SERVER_PORT 6379
#define PORT_FIRST  20000
#define CLIENTS_MAX 12
#define STACKS      2

struct run {
    struct sim sim;
    struct worker *worker[LIMIT_WORKERS];
    struct sim_node *server, *stack[STACKS];
    uint32_t workers;
    struct client client[CLIENTS_MAX];
    unsigned clients;
    bool bad_line;
};

static struct run run;
static struct {
    uint64_t clients, commands, segments, bytes, retrans, handshakes;
} total;

static void step(void *ctx, uint64_t now)
{
    struct sim_node *n = ctx;
    for (unsigned i = 0; i < run.clients; i++) {
        struct client *c = &run.client[i];
        if (c->node != n)
            continue;
        uint64_t next = c->start_ns;
        if (!c->started && c->start_ns <= now)
            client_start(c, SERVER_IP, SERVER_PORT);
        if (c->started)
            next = client_step(c, now);
        if (next < n->step_next_ns)
            n->step_next_ns = next;
    }
}

/* The clients that vanished are heard of no more, and hear nothing. */
static bool alive(void *ctx, const struct sim_node *from, const uint8_t *p, uint32_t len)
{
    (void)ctx;
    const uint8_t *port = sim_tcp(from, p, len);
    if (!port)
        return true;
    port += from->worker ? 2 : 0;
    unsigned i = (unsigned)(port[0] << 8 | port[1]) - PORT_FIRST;
    return i >= run.clients || !run.client[i].silent;
}

static void line(struct sim_node *n)
{
    struct sim *s = &run.sim;
    sim_profile(s, &n->impair);
    run.bad_line |=
        n->impair.loss_ppm || n->impair.burst_ppm || n->impair.corrupt_ppm || n->impair.queue_ns;
    if (sim_random(s) % 4 == 0)
        n->nic_hold = (uint32_t)sim_between(s, 1, ARRAY_LEN(n->held));
    if (sim_random(s) % 4 == 0)
        n->refuse_ppm = (uint32_t)sim_between(s, 1000, 500000);
}

static void setup(uint64_t seed, bool verbose)
{
    struct sim *s = &run.sim;
    memset(&run, 0, sizeof(run));
    sim_init(s, seed);
    s->verbose = verbose;
    s->alive = alive;
    tap_new(s);
    run.workers = sim_random(s) & 1 ? 1 : 3;
    bool small = sim_random(s) % 3 == 0;
    uint32_t buf = (uint32_t)sim_between(s, 2000, 40000);
    for (uint32_t i = 0; i < run.workers; i++) {
        struct sim_node *n = sim_node(s, SERVER_IP, i ? run.server : NULL);
        run.server = i ? run.server : n;
        n->cfg.listen_port = SERVER_PORT;
        if (small)
            n->cfg.rcv_buf_bytes = n->cfg.snd_buf_bytes = buf;
        line(n);
        sim_node_card(n);
    }
    for (unsigned i = 0; i < STACKS; i++) {
        struct sim_node *n = run.stack[i] = sim_node(s, SERVER_IP + 1 + i, NULL);
        n->step = step;
        n->step_ctx = n;
        n->step_next_ns = SIM_START;
        if (sim_random(s) % 3 == 0)
            n->cfg.rcv_buf_bytes = (uint32_t)sim_between(s, 600, 50000);
        line(n);
    }
    run.clients = (unsigned)sim_between(s, 1, CLIENTS_MAX);
    for (unsigned i = 0; i < run.clients; i++)
        client_plan(&run.client[i], s, run.stack[sim_random(s) % STACKS], i,
                    (uint16_t)(PORT_FIRST + i));
    struct engine_config cfg;
    engine_config_defaults(&cfg);
    cfg.protected_mode = 0;
    sim_node_workers(run.server, run.workers, &cfg, run.worker);
    for (unsigned i = 0; i < STACKS; i++)
        sim_node_net(run.stack[i], client_app());
}

static bool all_over(void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < run.clients; i++) {
        if (!run.client[i].closed)
            return false;
    }
    return true;
}

static void check_client(const struct client *c)
{
    total.clients++;
    total.commands += c->answered;
    total.bytes += c->got_total;
    if (c->how >= END_ABORT)
        return;
    if (run.bad_line && c->err && !c->answered) { /* five SYN-ACKs or the last ACK lost */
        total.handshakes++;
        return;
    }
    SIM_CHECK(&run.sim, !c->err, "client %u ends with %s", c->id, strerror(-c->err));
    SIM_CHECK(&run.sim, c->answered == c->commands && c->expect.off == c->expect.len,
              "client %u: %u of %u answers", c->id, c->answered, c->commands);
}

static void check_worker(struct worker *w)
{
    SIM_CHECK(&run.sim,
              w->clients == 0 && w->stats->clients == 0 && list_empty(&w->conns) &&
                  list_empty(&w->dirty) && list_empty(&w->dead),
              "worker %u: %llu clients are left", w->id, (unsigned long long)w->clients);
    SIM_CHECK(&run.sim, w->conn_mem.used_bytes == 0 && w->out_total == 0 && w->posted == 0,
              "worker %u: %zu bytes of queries, %llu of output, %u commands posted", w->id,
              w->conn_mem.used_bytes, (unsigned long long)w->out_total, w->posted);
    SIM_CHECK(&run.sim,
              w->lease.holder == LEASE_FREE && list_empty(&w->lease.queue) &&
                  list_empty(&w->scatters) && !intents_any(w),
              "worker %u: its shard is still leased", w->id);
}

static uint64_t one(uint64_t seed, bool verbose)
{
    struct sim *s = &run.sim;
    setup(seed, verbose);
    if (!sim_run(s, SIM_START + 6 * SIM_HOUR, all_over, NULL)) {
        for (unsigned i = 0; i < run.clients; i++) {
            const struct client *c = &run.client[i];
            if (!c->closed)
                fprintf(stderr, "client %u: asked %u, answered %u of %u, held %llu, %s\n", i,
                        c->asked, c->answered, c->commands, (unsigned long long)c->held,
                        c->tc ? tcp_state_name(c->tc->state) : "-");
        }
        sim_fail(s, "clients that never end");
    }
    for (unsigned i = 0; i < run.clients; i++)
        check_client(&run.client[i]);
    sim_run(s, s->now_ns + 2 * SIM_HOUR, NULL, NULL);
    sim_check_idle(s);
    for (uint32_t i = 0; i < run.workers; i++)
        check_worker(run.worker[i]);
    for (unsigned i = 0; i < s->nodes; i++) {
        total.retrans += s->node[i].stats->tcp_retrans_segs;
        sim_mix(s, s->node[i].stats->tcp_in_segs);
    }
    total.segments += tap_segments(s->tap);
    uint64_t hash = s->hash;
    for (unsigned i = 0; i < run.clients; i++)
        client_free(&run.client[i]);
    sim_fini(s);
    tap_free(s->tap);
    return hash;
}

static void summary(void)
{
    printf(": %llu clients, %llu commands answered, %llu bytes of replies, %llu segments, "
           "%llu sent again, %llu failed handshakes\n",
           (unsigned long long)total.clients, (unsigned long long)total.commands,
           (unsigned long long)total.bytes, (unsigned long long)total.segments,
           (unsigned long long)total.retrans, (unsigned long long)total.handshakes);
}

int main(int argc, char **argv)
{
    return sim_main(argc, argv, one, summary);
}
