/* barewire-dataplane: N workers that poll. Set-up in order, workers on their lcores, undo in reverse.
 *
 *   options -> link (attach) -> port (EAL, pools, queues) -> keeper, ahead -> workers -> banner, RUNNING -> poll until SIGTERM or SIGINT -> STOPPED
 *
 * It outlives the control process: nothing ties it to its parent, its output may be a closed pipe, and it is silent after set-up.
 * Exit: 0 stopped, 1 set-up failed, 2 the command line is wrong. What failed stands in one line on stderr and in the link's banner. */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "dataplane/ahead.h"
#include "dataplane/keeper.h"
#include "dataplane/options.h"
#include "dataplane/port/port.h"
#include "dataplane/wire.h"
#include "dataplane/worker.h"
#include "engine/base/mem.h"
#include "engine/link/link.h"

#define CONFIG_READS \
    1000 /* a torn config page is read again: control writes it within microseconds */

static struct {
    volatile sig_atomic_t stop, running;
    struct worker *all[LIMIT_WORKERS];
    uint32_t count;
} dataplane;

static void on_stop_signal(int sig)
{
    dataplane.stop = 1;
    if (dataplane.running)
        worker_stop_all(dataplane.all, dataplane.count);
}

static void signals_setup(void)
{
    struct sigaction stop = {.sa_handler = on_stop_signal, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGHUP, &ignore, NULL); /* a terminal that closes is control's affair */
}

/* What control has published; Redis's defaults when it has not yet. */
static void first_config(struct link *link, struct engine_config *c)
{
    uint64_t version;

    engine_config_defaults(c);
    if (link_config_version(link) == 0)
        return;
    for (int i = 0; i < CONFIG_READS && !link_config_read(link, c, &version); i++)
        usleep(1000);
}

static int random_bytes(void *to, size_t n)
{
    return getrandom(to, n, 0) == (ssize_t)n ? 0 : -EIO;
}

static struct net_dad dad;

static int workers_create(const struct options *o, struct link *link, struct port *port,
                          const struct port_info *info, char *err, size_t err_len)
{
    struct engine_config engine;
    struct worker_config c = {.count = (uint32_t)o->workers,
                              .all = dataplane.all,
                              .link = link,
                              .config = &engine,
                              .loading = o->load != 0,
                              .rx = port_rx,
                              .wire = port_wire(info)};

    first_config(link, &engine);
    net_config_defaults(&c.net);
    options_to_net(o, &c.net);
    memcpy(c.net.mac, info->mac, sizeof(c.net.mac));
    c.net.mtu = info->mtu;
    c.net.shared = o->share_kernel;
    c.net.engine = &engine;
    c.net.dad = &dad;
    if (engine.tcp_backlog)
        c.net.backlog = engine.tcp_backlog;
    c.net.keepalive_s = engine.tcp_keepalive_s;
    /* One worker may get every client; half as many again for TIME_WAIT and half-open ones. */
    uint32_t conns = engine.maxclients + engine.maxclients / 2 + c.net.backlog;
    if (conns > c.net.max_conns)
        c.net.max_conns = conns;
    int r = random_bytes(c.hash_seed, sizeof(c.hash_seed));
    while (r == 0 && dataplane.count < o->workers) {
        c.id = dataplane.count;
        c.rx_ctx = c.wire.ctx = port_queue(port, c.id);
        c.wait_fd = port_queue(port, c.id)->wait_fd;
        c.net.pool = port_queue(port, c.id)->pool;
        c.net.reserve = port_queue(port, c.id)->reserve;
        r = random_bytes(&c.seed, sizeof(c.seed));
        if (r == 0)
            r = random_bytes(c.net.secret, sizeof(c.net.secret));
        if (r == 0)
            r = worker_create(&dataplane.all[c.id], &c);
        explicit_bzero(c.net.secret, sizeof(c.net.secret));
        if (r == 0)
            dataplane.count++;
    }
    if (r < 0)
        snprintf(err, err_len, "worker %u could not be set up: %s", dataplane.count, strerror(-r));
    return r;
}

static void workers_destroy(void)
{
    while (dataplane.count)
        worker_destroy(dataplane.all[--dataplane.count]);
}

static const char *offload_words(const struct port_info *i)
{
    if (i->tx_tcp_checksum && i->rx_checksum)
        return i->tx_tso ? "checksums both ways, TSO" : "checksums both ways";
    if (i->tx_tcp_checksum)
        return i->tx_tso ? "transmit checksums, TSO" : "transmit checksums";
    return i->rx_checksum ? "receive checksums" : "none";
}

/* "10.0.0.2 fd00::2 port 6379" */
static void listens(const struct options *o, char *to, size_t size)
{
    char text[IP_TEXT_BYTES];
    int n = 0;
    if (o->ip) {
        ip_format(text, ip_from_v4(o->ip));
        n = snprintf(to, size, "%s ", text);
    }
    for (uint32_t i = 0; i < o->ip6_count; i++) {
        ip_format(text, o->ip6[i].addr);
        n += snprintf(to + n, size - (size_t)n, "%s ", text);
    }
    snprintf(to + n, size - (size_t)n, "port %u", (unsigned)o->listen_port);
}

/* The lines that `barewire run` shows and INFO repeats. */
static void banner(const struct options *o, const struct port_info *i, char *to, size_t n)
{
    char where[40 + (1 + LIMIT_NET_ADDRESSES6) * IP_TEXT_BYTES] = "no listener";

    if (o->listen_port && (o->ip || o->ip6_count))
        listens(o, where, sizeof(where));
    snprintf(to, n,
             "workers: %u, each with a queue pair, a TCP stack and a shard\n"
             "port: %s on %s, MAC %02x:%02x:%02x:%02x:%02x:%02x, MTU %u; %s\n"
             "offloads: %s%s%s; flows to workers: %s\n"
             "frames: %s\n"
             "hugepages: %s\n"
             "degraded: %s\n",
             (unsigned)o->workers, i->driver, *o->net_port ? i->device : "no network", i->mac[0],
             i->mac[1], i->mac[2], i->mac[3], i->mac[4], i->mac[5], i->mtu, where, offload_words(i),
             i->rx_vlan_strip ? ", VLAN tags taken out" : "",
             i->tx_tcp_checksum || i->rx_checksum || i->rx_vlan_strip
                 ? ", each in trial until it is seen to work (INFO: net_offload)"
                 : "",
             i->queues == 1 ? "one queue"
             : i->rss       ? "RSS"
                            : "by the device's queues",
             *i->steering ? i->steering : "all are ours", i->hugepages ? "yes" : "no",
             *i->degraded ? i->degraded : "nothing");
}

static void run(void)
{
    /* The flag goes up before the signal's own is read: a signal in between stops the workers in one of the two places. */
    dataplane.running = 1;
    if (dataplane.stop)
        worker_stop_all(dataplane.all, dataplane.count);
    for (uint32_t i = 1; i < dataplane.count; i++)
        port_launch(i, worker_run, dataplane.all[i]);
    port_launch(0, worker_run, dataplane.all[0]);
    /* Worker 0 also returns on MSG_SHUTDOWN; the others are told in any case. */
    worker_stop_all(dataplane.all, dataplane.count);
    port_join();
    dataplane.running = 0;
}

/* What an AF_XDP port leaves to Linux is all but this. */
static struct port_steer steering(const struct options *o)
{
    struct net_config c;

    net_config_defaults(&c);
    options_to_net(o, &c);
    struct port_steer s = {.kernel = o->share_kernel,
                           .ip = c.ip,
                           .vlan = c.vlan,
                           .tcp_port = c.listen_more ? 0 : c.listen_port};
    static_assert(LIMIT_NET_ADDRESSES6 < PORT_ADDRESSES6, "all of them and the link-local one");
    for (; s.ip6_count < c.ip6_count; s.ip6_count++)
        ip_store(s.ip6[s.ip6_count], c.ip6[s.ip6_count].addr);
    return s;
}

/* Everything between an attached link and its end. */
static int serve(struct options *o, struct link *link, char *err, size_t err_len)
{
    struct port_config pc = {.net_port = o->net_port,
                             .workers = (uint32_t)o->workers,
                             .mtu = (uint16_t)o->mtu,
                             .hugepages = o->hugepages,
                             .eal_args = o->eal_args,
                             .instance = o->instance,
                             .vlan = (uint16_t)o->vlan,
                             .mbufs = (uint32_t)o->mbufs,
                             .steer = steering(o)};
    struct port_info info;
    struct keeper *keeper;
    struct ahead *ahead = NULL;
    struct port *port;
    char text[2048];

    int r = port_start(&port, &pc, &info, err, err_len);
    if (r < 0)
        return r;
    r = keeper_start(&keeper, link, port, err, err_len);
    if (r < 0)
        goto fail_keeper;
    if (o->heap_large_pages)
        ahead_start(&ahead);
    r = workers_create(o, link, port, &info, err, err_len);
    if (r < 0)
        goto fail_workers;
    banner(o, &info, text, sizeof(text));
    link_dp_set_banner(link, text);
    link_dp_set_state(link, LINK_DP_RUNNING, getpid());
    run();
fail_workers:
    workers_destroy();
    ahead_stop(ahead);
    keeper_stop(keeper);
fail_keeper:
    port_stop(port);
    return r;
}

int main(int argc, char **argv)
{
    struct options o;
    struct link *link;
    char err[1024] = "";

    switch (options_parse(&o, argc, argv, err, sizeof(err))) {
    case OPTIONS_DONE: return 0;
    case OPTIONS_BAD: fprintf(stderr, "barewire-dataplane: %s\n", err); return 2;
    case OPTIONS_RUN: break;
    }
    signals_setup();
    mem_purge_apart(); /* without it workers do it themselves, which costs time only */
    int r = link_open_dataplane(&link, o.instance, err, sizeof(err));
    if (r < 0)
        goto fail_link;
    if (o.workers == 0)
        o.workers = link_workers(link);
    r = -EINVAL;
    if (o.workers != link_workers(link)) {
        snprintf(
            err, sizeof(err),
            "--workers %u, but the link of instance %s has %u: start both with the same number",
            (unsigned)o.workers, o.instance, link_workers(link));
        goto fail_serve;
    }
    link_dp_begin(link, getpid());
    r = serve(&o, link, err, sizeof(err));
    if (r < 0)
        link_dp_set_banner(link, err);
    link_dp_set_state(link, LINK_DP_STOPPED, getpid());
fail_serve:
    link_close(link);
fail_link:
    if (r < 0)
        fprintf(stderr, "barewire-dataplane: %s\n", err);
    return r < 0;
}
