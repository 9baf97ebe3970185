/* port: from configuration to queues that workers poll, and back to a machine on which nothing is left.
 *
 *   port_start: parse -> look at the host -> sizes -> EAL -> pools -> ethdevs -> facts for the banner
 *   port_stop:  the same in reverse; then the EAL's run-time directory, which the EAL itself leaves
 *
 * Threads: main starts and stops; each worker calls port_rx and port_tx on its own queue. */
#include "dataplane/port/port.h"

#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include "dataplane/port/ethdev.h"
#include "dataplane/port/port_internal.h"
#include "dataplane/port/steer.h"
#include "engine/base/assert.h"

#define HUGEPAGES_DIR "/sys/kernel/mm/hugepages"
#define NO_NETWORK    "net_null0,no-rx=1" /* never receives, swallows what is sent */

struct port {
    struct port_spec spec;
    struct port_sizes sizes;
    struct port_args args;
    uint32_t workers;
    uint16_t mtu;
    int lock_fd;
    int share_fds[PORT_SHARE_FDS], share_count; /* Linux's sockets on the TCP port that is ours */
    int group_fds[PORT_GROUP_FDS];
    int paused_fd
        [LIMIT_WORKERS]; /* sockets of queues whose frames are Linux's until all stands; -1: none */
    struct steer *steer; /* NULL: the driver's own program takes every frame */
    uint16_t ports[LIMIT_WORKERS];
    uint32_t ports_started, port_count;
    struct rte_mempool *rx_pool[LIMIT_WORKERS];
    struct port_queue queue[LIMIT_WORKERS];
};

__attribute__((format(printf, 2, 3))) static void degrade(struct port_info *info, const char *fmt,
                                                          ...)
{
    size_t n = strlen(info->degraded);
    va_list ap;

    if (n)
        n += (size_t)snprintf(info->degraded + n, sizeof(info->degraded) - n, "; ");
    if (n >= sizeof(info->degraded))
        return;
    va_start(ap, fmt);
    vsnprintf(info->degraded + n, sizeof(info->degraded) - n, fmt, ap);
    va_end(ap);
}

/* What net-mtu 0 means. */
static uint16_t choose_mtu(const struct port_spec *s, uint16_t wanted)
{
    struct host_iface h = {0};

    if (wanted)
        return wanted;
    if (s->kind != PORT_PCI && s->kind != PORT_VDEV)
        host_iface(s->name, &h);
    return h.mtu < 576 ? RTE_ETHER_MTU : (uint16_t)RTE_MIN(h.mtu, (uint32_t)port_mtu_max(s->kind));
}

static int check_counts(const struct port *p, const struct port_config *c, char *err,
                        size_t err_len)
{
    static const uint32_t most[] = {[PORT_AF_XDP] = RTE_MAX_ETHPORTS,
                                    [PORT_TAP] = PORT_TAP_QUEUES,
                                    [PORT_AF_PACKET] = PORT_PACKET_QUEUES,
                                    [PORT_PCI] = LIMIT_WORKERS,
                                    [PORT_VDEV] = LIMIT_WORKERS};
    unsigned vdevs = p->spec.kind == PORT_VDEV ? port_spec_vdevs(&p->spec) : 1;

    if (c->workers < 1 || c->workers > LIMIT_WORKERS)
        return port_fail(err, err_len, -EINVAL, "workers %u: 1 to %d", c->workers, LIMIT_WORKERS);
    if (c->workers > most[p->spec.kind])
        return port_fail(err, err_len, -EINVAL,
                         "workers %u: this kind of net-port serves at most %u: set workers %u",
                         c->workers, most[p->spec.kind], most[p->spec.kind]);
    if (vdevs > 1 && vdevs != c->workers)
        return port_fail(err, err_len, -EINVAL,
                         "net-port lists %u vdevs and there are %u workers: list one, or one for "
                         "each worker",
                         vdevs, c->workers);
    return 0;
}

/* True: hugepages will be used. Negative: wanted but not there. */
static int choose_memory(const struct port *p, const struct port_config *c, struct port_info *info,
                         char *err, size_t err_len)
{
    uint64_t need_mb = (p->sizes.memory_bytes + (1 << 20) - 1) >> 20;
    uint64_t free_mb = host_free_hugepage_bytes(HUGEPAGES_DIR) >> 20;

    if (c->hugepages != PORT_HUGE_NO && free_mb >= need_mb)
        return true;
    if (c->hugepages == PORT_HUGE_YES)
        return port_fail(err, err_len, -ENOMEM,
                         "hugepages yes, but %llu MB of them are free and %llu MB are needed: echo "
                         "%llu > /proc/sys/vm/nr_hugepages",
                         (unsigned long long)free_mb, (unsigned long long)need_mb,
                         (unsigned long long)(need_mb / 2 + 8));
    if (c->hugepages == PORT_HUGE_AUTO)
        degrade(info,
                "no hugepages (%llu MB wanted, %llu MB free; mend: echo %llu > "
                "/proc/sys/vm/nr_hugepages)",
                (unsigned long long)need_mb, (unsigned long long)free_mb,
                (unsigned long long)(need_mb / 2 + 8));
    else
        degrade(info, "no hugepages, as configured");
    return false;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)remove(path);
    return 0;
}

/* config, telemetry sockets, fbarray files: the EAL leaves them for secondaries that may be attached. We have none. */
static void runtime_dir_remove(void)
{
    const char *dir = rte_eal_get_runtime_dir();

    if (strstr(dir, "/barewire-"))
        nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void eal_stop(void)
{
    rte_eal_cleanup();
    port_log_close();
    runtime_dir_remove();
}

static int eal_start(struct port *p, const struct port_config *c, struct port_info *info, char *err,
                     size_t err_len)
{
    int cpus[256];
    struct port_args_in in = {.spec = &p->spec,
                              .workers = c->workers,
                              .cpus = cpus,
                              .cpu_count = host_cpus(cpus, 256),
                              .mtu = p->mtu,
                              .instance = c->instance,
                              .extra = c->eal_args,
                              .memory_bytes = p->sizes.memory_bytes};
    int r = choose_memory(p, c, info, err, err_len);

    if (r < 0)
        return r;
    in.huge = info->hugepages = r;
    if (c->workers > in.cpu_count)
        degrade(info, "%u workers share %u CPUs", c->workers, in.cpu_count);
    if (p->spec.kind == PORT_TAP) {
        struct host_iface h;
        host_iface(p->spec.name, &h); /* a TAP made beforehand keeps its address */
        memcpy(in.tap_mac, h.mac, sizeof(in.tap_mac));
    }
    r = port_args_build(&p->args, &in, err, err_len);
    if (r < 0)
        return r;
    /* The umem is locked memory. Root is not bound by the limit; others may have a hard limit that is enough. */
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    (void)setrlimit(RLIMIT_MEMLOCK, &all);
    if (port_log_open() < 0)
        return port_fail(err, err_len, -ENOMEM, "no memory for DPDK's log");
    if (rte_eal_init(p->args.argc, p->args.argv) < 0) {
        r = -rte_errno;
        port_fail(err, err_len, r, "DPDK could not start: %s%s%s", rte_strerror(rte_errno),
                  *port_log_last() ? "; it says: " : "", port_log_last());
        port_log_close();
        runtime_dir_remove();
        return r ? r : -EIO;
    }
    return 0;
}

static void pools_free(struct port *p)
{
    for (uint32_t i = 0; i < p->workers; i++) {
        rte_mempool_free(p->queue[i].pool);
        rte_mempool_free(p->queue[i].reserve);
        rte_mempool_free(p->rx_pool[i]);
    }
}

static int pools_create(struct port *p, char *err, size_t err_len)
{
    const struct port_sizes *s = &p->sizes;
    /* Without hugepages there are no physical addresses; port_sizes does not count the waste of one object a page. */
    const bool dma =
        (p->spec.kind == PORT_PCI || p->spec.kind == PORT_VDEV) && rte_eal_has_hugepages();
    char name[RTE_MEMPOOL_NAMESIZE];

    for (uint32_t i = 0; i < p->workers; i++) {
        int socket = (int)rte_lcore_to_socket_id(i);
        struct {
            const char *what;
            struct rte_mempool **to;
            uint32_t n, cache;
        } pools[] = {{"rx", &p->rx_pool[i], s->rx_mbufs, PORT_MBUF_CACHE},
                     {"data", &p->queue[i].pool, s->data_mbufs, PORT_MBUF_CACHE},
                     {"reserve", &p->queue[i].reserve, s->reserve_mbufs, 32}};
        for (size_t k = 0; k < ARRAY_LEN(pools); k++) {
            uint32_t cache = pools[k].cache * 2 > pools[k].n ? 0 : pools[k].cache;
            snprintf(name, sizeof(name), "%s-%u", pools[k].what, i);
            *pools[k].to =
                port_pool_create(name, pools[k].n, s->data_room_bytes, cache, dma, socket);
            if (!*pools[k].to)
                return port_fail(err, err_len, -rte_errno,
                                 "no memory for worker %u's packet buffers (%u of %u bytes): %s; "
                                 "lower mbufs, or give more hugepages",
                                 i, pools[k].n, s->object_bytes, rte_strerror(rte_errno));
        }
        /* The umem is one range of memory; objects in a second chunk would lie outside. */
        if (p->spec.kind == PORT_AF_XDP && p->rx_pool[i]->nb_mem_chunks != 1)
            return port_fail(err, err_len, -ENOMEM,
                             "no contiguous memory for worker %u's AF_XDP buffers: set hugepages "
                             "no, or give more of them",
                             i);
    }
    return 0;
}

static void share_give_back(struct port *p)
{
    while (p->share_count)
        close(p->share_fds[--p->share_count]);
}

static bool wants_steering(const struct port *p, const struct port_config *c)
{
    return p->spec.kind == PORT_AF_XDP && (c->steer.ip || c->steer.ip6_count);
}

/* Until all queues stand and our program is there, which takes a tenth of a second and more, the frames of this one stay Linux's. */
static void queue_pause(struct port *p, uint32_t i, const int *fds, unsigned nfds)
{
    if (nfds == 1 && steer_socket(p->spec.name, i, -1) == 0)
        p->paused_fd[i] = fds[0];
}

static int queues_go_on(struct port *p, char *err, size_t err_len)
{
    for (uint32_t i = 0; i < p->workers; i++) {
        int fd = p->paused_fd[i];
        int r = fd < 0 ? 0 : steer_socket(p->spec.name, i, fd);
        if (r < 0)
            return port_fail(err, err_len, r, "queue %u of %s does not get its frames: %s", i,
                             p->spec.name, strerror(-r));
    }
    return 0;
}

/* Frames that the driver's own program took in the moments before ours stood: Linux's among them, and nobody's now. */
static void drop_received(struct port *p)
{
    struct rte_mbuf *pkts[LIMIT_BURST_PKTS];
    uint16_t n;

    for (uint32_t i = 0; i < p->workers; i++)
        for (uint32_t k = 0;
             k < PORT_RX_MBUFS && (n = port_rx(&p->queue[i], pkts, LIMIT_BURST_PKTS)); k += n)
            rte_pktmbuf_free_bulk(pkts, n);
}

static int steering_start(struct port *p, const struct port_config *c, struct port_info *info,
                          char *err, size_t err_len)
{
    char why[256];

    if (!wants_steering(p, c))
        return 0;
    int r = steer_attach(&p->steer, p->spec.name, &c->steer, why, sizeof(why));
    if (r < 0 && c->steer.kernel)
        return port_fail(err, err_len, r, "net-share kernel needs the XDP program: %s", why);
    if (r < 0) {
        degrade(info, "Linux gets no frames of the interface: %s", why);
        return queues_go_on(p, err, err_len);
    }
    drop_received(p);
    groups_join(p->group_fds, p->spec.name, &c->steer);
    snprintf(info->steering, sizeof(info->steering), "XDP, %s; %s", steer_mode(p->steer),
             c->steer.kernel ? "address shared with Linux" : "address of our own");
    return queues_go_on(p, err, err_len);
}

/* Our program goes first: closing, the driver takes off whatever it finds. */
static void devices_stop(struct port *p)
{
    groups_leave(p->group_fds);
    if (p->steer)
        steer_detach(p->steer);
    while (p->ports_started) {
        uint16_t id = p->ports[--p->ports_started];
        rte_eth_dev_stop(id);
    }
    while (p->port_count)
        rte_eth_dev_close(p->ports[--p->port_count]);
    steer_free(p->steer);
    p->steer = NULL;
}

/* A TAP has one descriptor that keeps it alive, then two a queue (of the same file). -1: not what is known, so none. */
static int wait_fd_of(const int *fds, unsigned nfds, uint32_t worker, uint32_t workers)
{
    if (nfds == workers)
        return fds[worker];
    return nfds == 2 * workers + 1 ? fds[1 + 2 * worker] : -1;
}

static int devices_start(struct port *p, const struct port_config *c, struct port_info *info,
                         char *err, size_t err_len)
{
    uint16_t id;
    uint32_t found = 0;

    RTE_ETH_FOREACH_DEV (id)
        if (found++ < LIMIT_WORKERS)
            p->ports[p->port_count++] = id;
    if (found == 0)
        return port_fail(err, err_len, -ENODEV, "DPDK found no port for net-port '%s'%s%s",
                         c->net_port, *port_log_last() ? "; it says: " : "", port_log_last());
    bool each = found > 1; /* a port per worker; else one port with a queue per worker */
    if (each && found != p->workers)
        return port_fail(err, err_len, -EINVAL,
                         "DPDK found %u ports and there are %u workers: one port, or one for each "
                         "worker (look at eal-args)",
                         found, p->workers);
    int fds[2 * LIMIT_WORKERS + 1];
    unsigned nfds = 0;
    for (uint32_t i = 0; i < found; i++) {
        struct ethdev_setup s = {.port_id = p->ports[i],
                                 .queues = each ? 1 : (uint16_t)p->workers,
                                 .mtu = p->mtu,
                                 .first_worker = i,
                                 .kind = p->spec.kind,
                                 .vlan = c->vlan != 0,
                                 .rx_pool = &p->rx_pool[i]};
        int r = ethdev_start(&s, info, err, err_len);
        if (r < 0)
            return r;
        p->ports_started++;
        unsigned more =
            port_wait_fds(p->spec.kind, fds, nfds, fds + nfds, (unsigned)ARRAY_LEN(fds) - nfds);
        if (wants_steering(p, c))
            queue_pause(p, i, fds + nfds, more);
        nfds += more;
    }
    for (uint32_t i = 0; i < p->workers; i++) {
        p->queue[i].port_id = p->ports[each ? i : 0];
        p->queue[i].queue_id = each ? 0 : (uint16_t)i;
        p->queue[i].wait_fd = wait_fd_of(fds, nfds, i, p->workers);
    }
    return 0;
}

static void describe(const struct port *p, struct port_info *info)
{
    snprintf(info->device, sizeof(info->device), "%.63s", p->spec.name);
    info->queues = p->workers;
    info->promiscuous = rte_eth_promiscuous_get(p->ports[0]) == 1;
    if (!strcmp(p->spec.name, NO_NETWORK))
        return;
    if (!info->tx_tcp_checksum || !info->rx_checksum)
        degrade(info, "%s in software (%s has no offload)",
                info->tx_tcp_checksum ? "receive checksums"
                : info->rx_checksum   ? "transmit checksums"
                                      : "checksums",
                info->driver);
    if (p->workers == 1)
        return;
    if (p->spec.kind == PORT_AF_PACKET)
        degrade(info, "af_packet may move a flow to another worker when a ring overflows");
    else if (!info->rss && (p->spec.kind == PORT_PCI || p->port_count == 1) &&
             p->spec.kind != PORT_TAP)
        degrade(info, "no RSS: the device decides which worker a flow reaches");
}

int port_start(struct port **ret, const struct port_config *c, struct port_info *info, char *err,
               size_t err_len)
{
    struct port *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return port_fail(err, err_len, -ENOMEM, "out of memory");
    memset(info, 0, sizeof(*info));
    memset(p->group_fds, 0xff, sizeof(p->group_fds)); /* -1 */
    memset(p->paused_fd, 0xff, sizeof(p->paused_fd));
    p->workers = c->workers;
    bool none = !c->net_port || !*c->net_port;
    r = port_spec_parse(&p->spec, none ? NO_NETWORK : c->net_port, err, err_len);
    if (r < 0)
        goto fail_spec;
    if (none)
        degrade(info, "no net-port: no network, clients reach the door only");
    p->mtu = choose_mtu(&p->spec, c->mtu);
    r = check_counts(p, c, err, err_len);
    if (r < 0)
        goto fail_spec;
    r = port_sizes(&p->sizes, p->spec.kind, p->mtu, c->workers, c->mbufs, err, err_len);
    if (r < 0)
        goto fail_spec;
    if (c->steer.kernel && p->spec.kind != PORT_AF_XDP) {
        r = port_fail(err, err_len, -EINVAL, "net-share kernel works on af_xdp:IFACE only");
        goto fail_spec;
    }
    r = host_check(&p->spec, c->workers, p->mtu, c->steer.kernel, err, err_len);
    if (r < 0)
        goto fail_spec;
    p->lock_fd = host_lock(&p->spec, err, err_len);
    if (p->lock_fd < -1) {
        r = p->lock_fd;
        goto fail_spec;
    }
    xdp_prepare();
    if (p->spec.kind == PORT_AF_XDP)
        steer_sweep(p->spec.name);
    if (c->steer.kernel)
        r = share_take(p->share_fds, p->spec.name, &c->steer, err, err_len);
    else if (wants_steering(p, c) && share_has_address(p->spec.name, c->steer.ip))
        degrade(info,
                "net-address is also Linux's on %s, which no longer gets its frames (net-share "
                "kernel shares it)",
                p->spec.name);
    if (r < 0)
        goto fail_eal;
    p->share_count = r;
    r = eal_start(p, c, info, err, err_len);
    if (r < 0)
        goto fail_eal;
    r = pools_create(p, err, err_len);
    if (r < 0)
        goto fail_pools;
    r = devices_start(p, c, info, err, err_len);
    if (r == 0)
        r = steering_start(p, c, info, err, err_len);
    if (r < 0)
        goto fail_devices;
    describe(p, info);
    *ret = p;
    return 0;

fail_devices:
    devices_stop(p);
fail_pools:
    pools_free(p);
    eal_stop();
fail_eal:
    share_give_back(p);
    if (p->lock_fd >= 0)
        close(p->lock_fd);
fail_spec:
    free(p);
    return r;
}

void port_stop(struct port *p)
{
    if (!p)
        return;
    devices_stop(p);
    pools_free(p);
    eal_stop();
    share_give_back(p);
    if (p->lock_fd >= 0)
        close(p->lock_fd);
    free(p);
}

struct port_queue *port_queue(struct port *p, uint32_t worker)
{
    CHECK(worker < p->workers);
    return &p->queue[worker];
}

uint16_t port_rx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    struct port_queue *q = ctx;

    return rte_eth_rx_burst(q->port_id, q->queue_id, pkts, n);
}

uint16_t port_tx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    struct port_queue *q = ctx;

    return rte_eth_tx_burst(q->port_id, q->queue_id, pkts, n);
}

uint16_t port_tx_offloaded(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    struct port_queue *q = ctx;
    uint16_t ready = rte_eth_tx_prepare(q->port_id, q->queue_id, pkts, n);

    if (unlikely_(
            ready ==
            0)) { /* the driver wants none of it: as if it were lost, and the stack's trust goes with it */
        rte_pktmbuf_free(pkts[0]);
        return 1;
    }
    return rte_eth_tx_burst(q->port_id, q->queue_id, pkts, ready);
}

bool port_steers(const struct port *p)
{
    return p->steer;
}

int port_filter(struct port *p, const struct port_filter *f)
{
    return p->steer ? steer_filter(p->steer, f) : -ENOTSUP;
}

int port_steer_counts(struct port *p, struct steer_counts *ret)
{
    return p->steer ? steer_read(p->steer, ret) : -ENOTSUP;
}

int port_thread(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg)
{
    return rte_ctrl_thread_create(ret, name, NULL, fn, arg);
}

bool port_link_up(struct port *p)
{
    struct rte_eth_link link;

    return rte_eth_link_get_nowait(p->ports[0], &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

int port_launch(uint32_t worker, int (*fn)(void *), void *arg)
{
    if (worker == 0)
        return fn(arg);
    return rte_eal_remote_launch(fn, arg, worker);
}

void port_join(void)
{
    rte_eal_mp_wait_lcore();
}
