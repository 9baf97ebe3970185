/* What Linux says about interfaces, routes, hugepages, CPUs and PCI devices, and the refusals that follow from it.
 * Reads procfs, sysfs and ethtool ioctls; changes nothing. Thread: main, before the EAL.
 * Interfaces are asked by ioctl and not by /sys/class/net, which shows another namespace's when only the network namespace changed. */
#include <dirent.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dataplane/port/port_internal.h"

static void iface_queues(int fd, struct ifreq *ifr, struct host_iface *h)
{
    struct ethtool_channels ch = {.cmd = ETHTOOL_GCHANNELS};

    h->rx_queues = h->tx_queues = 1;
    ifr->ifr_data = (void *)&ch;
    if (ioctl(fd, SIOCETHTOOL, ifr) < 0)
        return; /* no channels: one queue */
    h->combined = ch.max_combined > 0;
    h->rx_queues = ch.combined_count + ch.rx_count;
    h->tx_queues = ch.combined_count + ch.tx_count;
}

void host_iface(const char *name, struct host_iface *ret)
{
    struct ifreq ifr;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memset(ret, 0, sizeof(*ret));
    if (fd < 0)
        return;
    memset(&ifr, 0, sizeof(ifr));
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &ifr) == 0) {
        ret->exists = true;
        ret->up = ifr.ifr_flags & IFF_UP;
        if (ioctl(fd, SIOCGIFHWADDR, &ifr) == 0)
            memcpy(ret->mac, ifr.ifr_hwaddr.sa_data, 6);
        if (ioctl(fd, SIOCGIFMTU, &ifr) == 0)
            ret->mtu = (uint32_t)ifr.ifr_mtu;
        iface_queues(fd, &ifr, ret);
    }
    close(fd);
}

/* /proc/net/route: Iface Destination Gateway Flags RefCnt Use Metric Mask ...; default: destination and mask are zero. */
static bool route4_default(const char *iface, const char *path)
{
    char line[256], dev[64];
    unsigned dst, mask, flags;
    bool found = false;
    FILE *f = fopen(path, "re");

    if (!f)
        return false;
    while (!found && fgets(line, sizeof(line), f))
        found = sscanf(line, "%63s %x %*x %x %*d %*d %*d %x", dev, &dst, &flags, &mask) == 4 &&
                dst == 0 && mask == 0 && (flags & 1) && !strcmp(dev, iface);
    fclose(f);
    return found;
}

/* /proc/net/ipv6_route: destination plen source plen nexthop metric refcnt use flags device. lo carries an unreachable ::/0. */
static bool route6_default(const char *iface, const char *path)
{
    char line[256], dst[40], dev[64];
    unsigned plen, flags;
    bool found = false;
    FILE *f = fopen(path, "re");

    if (!f)
        return false;
    while (!found && fgets(line, sizeof(line), f))
        found =
            sscanf(line, "%39s %x %*s %*x %*s %*x %*x %*x %x %63s", dst, &plen, &flags, dev) == 4 &&
            plen == 0 && strspn(dst, "0") == strlen(dst) && (flags & 1) && !strcmp(dev, iface);
    fclose(f);
    return found;
}

bool host_default_route(const char *iface, const char *route_path, const char *route6_path)
{
    return route4_default(iface, route_path) || route6_default(iface, route6_path);
}

static uint64_t number_from(const char *dir, const char *sub, const char *file)
{
    char path[512];
    unsigned long long v = 0;

    snprintf(path, sizeof(path), "%s/%s/%s", dir, sub, file);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    if (fscanf(f, "%llu", &v) != 1)
        v = 0;
    fclose(f);
    return v;
}

bool host_ip6(const char *iface, const char *conf_dir)
{
    char path[512];
    int off = 1;

    snprintf(path, sizeof(path), "%s/%s/disable_ipv6", conf_dir, iface);
    FILE *f = fopen(path, "re");
    if (!f)
        return false; /* a kernel without IPv6 */
    if (fscanf(f, "%d", &off) != 1)
        off = 0;
    fclose(f);
    return !off;
}

/* Free and not promised to anyone else, over all page sizes. sysfs_dir: /sys/kernel/mm/hugepages. */
uint64_t host_free_hugepage_bytes(const char *sysfs_dir)
{
    uint64_t total = 0;
    struct dirent *e;
    DIR *d = opendir(sysfs_dir);

    if (!d)
        return 0;
    while ((e = readdir(d))) {
        unsigned long long kb;
        if (sscanf(e->d_name, "hugepages-%llukB", &kb) != 1)
            continue;
        uint64_t pages = number_from(sysfs_dir, e->d_name, "free_hugepages");
        uint64_t promised = number_from(sysfs_dir, e->d_name, "resv_hugepages");
        if (pages > promised)
            total += (pages - promised) * kb * 1024;
    }
    closedir(d);
    return total;
}

unsigned host_cpus(int *to, unsigned max)
{
    cpu_set_t set;
    unsigned n = 0;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        for (int i = 0; i < CPU_SETSIZE && n < max; i++)
            if (CPU_ISSET(i, &set))
                to[n++] = i;
    if (n == 0)
        to[n++] = 0;
    return n;
}

bool host_pci_driver(const char *address, char *to, size_t n)
{
    char path[128], link[256];

    to[0] = '\0';
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", address);
    if (access(path, F_OK) < 0)
        return false;
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", address);
    ssize_t len = readlink(path, link, sizeof(link) - 1);
    if (len > 0) {
        link[len] = '\0';
        const char *base = strrchr(link, '/');
        snprintf(to, n, "%s", base ? base + 1 : link);
    }
    return true;
}

void host_pci_iface(const char *address, char *to, size_t n)
{
    char path[128];
    struct dirent *e;

    to[0] = '\0';
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/net", address);
    DIR *d = opendir(path);
    if (!d)
        return;
    while ((e = readdir(d)) && !to[0])
        if (e->d_name[0] != '.')
            snprintf(to, n, "%s", e->d_name);
    closedir(d);
}

/* An abstract socket is seen in its network namespace only, as the interface is, and goes away with its owner. */
int host_lock(const struct port_spec *s, char *err, size_t err_len)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    if (s->kind == PORT_PCI || s->kind == PORT_VDEV)
        return -1; /* vfio and the vdev's own sockets exclude a second user */
    int n = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "barewire-port-%.16s", s->name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return port_fail(err, err_len, -errno, "no socket for the interface's lock: %s",
                         strerror(errno));
    if (bind(fd, (struct sockaddr *)&a,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) < 0) {
        close(fd);
        return port_fail(err, err_len, -EBUSY,
                         "interface %s is already used by another barewire-dataplane in this "
                         "network namespace: stop that one, or name another port",
                         s->name);
    }
    return fd;
}

static int refuse_default_route(const char *what, const char *iface, char *err, size_t err_len)
{
    if (!host_default_route(iface, "/proc/net/route", "/proc/net/ipv6_route"))
        return 0;
    return port_fail(err, err_len, -EPERM,
                     "%s carries this machine's default route (interface %s): taking it would cut "
                     "the machine off. Name another port in net-port, or move the route first: "
                     "ip route replace default via GATEWAY dev OTHER",
                     what, iface);
}

static int check_iface(const struct port_spec *s, uint32_t workers, uint16_t mtu, bool shared,
                       char *err, size_t err_len)
{
    struct host_iface h;
    const char *x = s->name;

    host_iface(x, &h);
    if (!h.exists)
        return port_fail(err, err_len, -ENODEV,
                         "there is no interface %s in this network namespace; `ip -br link` lists "
                         "them",
                         x);
    int r = shared ? 0 : refuse_default_route(x, x, err, err_len);
    if (r < 0)
        return r;
    if (!h.up)
        return port_fail(err, err_len, -ENETDOWN, "interface %s is down: ip link set dev %s up", x,
                         x);
    if (h.mtu < mtu)
        return port_fail(err, err_len, -EMSGSIZE,
                         "net-mtu is %u but interface %s has MTU %u: ip link set dev %s mtu %u, or "
                         "set net-mtu %u",
                         mtu, x, h.mtu, x, mtu, h.mtu);
    if (s->kind != PORT_AF_XDP)
        return 0;
    r = xdp_check(x, err, err_len);
    if (r < 0)
        return r;
    /* More queues than workers: the kernel would keep those flows. Fewer: a worker would get none. */
    if (h.rx_queues != workers && h.combined)
        return port_fail(err, err_len, -EINVAL,
                         "interface %s has %u queues and there are %u workers; one queue each is "
                         "needed: ethtool -L %s combined %u",
                         x, h.rx_queues, workers, x, workers);
    if (h.rx_queues != workers || h.tx_queues < workers)
        return port_fail(err, err_len, -EINVAL,
                         "interface %s has %u receive and %u transmit queues and there are %u "
                         "workers; one of each per worker is needed: ethtool -L %s rx %u tx %u (a "
                         "veth must be created with numrxqueues %u numtxqueues %u)",
                         x, h.rx_queues, h.tx_queues, workers, x, workers, workers, workers,
                         workers);
    return 0;
}

static int check_pci(const struct port_spec *s, char *err, size_t err_len)
{
    /* Drivers that DPDK uses in place; all others must give the device to vfio. */
    static const char *const usable[] = {"vfio-pci",  "uio_pci_generic", "igb_uio",
                                         "mlx5_core", "mlx4_core",       "mana"};
    char driver[64], iface[64];

    if (!host_pci_driver(s->name, driver, sizeof(driver)))
        return port_fail(err, err_len, -ENODEV,
                         "there is no PCI device %s; `dpdk-devbind.py --status-dev net` lists "
                         "network devices",
                         s->name);
    host_pci_iface(s->name, iface, sizeof(iface));
    if (iface[0]) {
        int r = refuse_default_route(s->name, iface, err, err_len);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < sizeof(usable) / sizeof(usable[0]); i++)
        if (!strcmp(driver, usable[i]))
            return 0;
    return port_fail(err, err_len, -ENODEV,
                     "PCI device %s is bound to %s, which DPDK cannot use: dpdk-devbind.py "
                     "--bind=vfio-pci %s (or net-port af_xdp:%s to leave it to Linux)",
                     s->name, driver[0] ? driver : "no driver", s->name,
                     iface[0] ? iface : "IFACE");
}

int host_check(const struct port_spec *s, uint32_t workers, uint16_t mtu, bool shared, char *err,
               size_t err_len)
{
    switch (s->kind) {
    case PORT_AF_XDP:
    case PORT_AF_PACKET: return check_iface(s, workers, mtu, shared, err, err_len);
    case PORT_PCI: return check_pci(s, err, err_len);
    case PORT_TAP:
        if (access("/dev/net/tun", R_OK | W_OK) < 0)
            return port_fail(err, err_len, -errno,
                             "/dev/net/tun cannot be opened (%s): modprobe tun, and run as root",
                             strerror(errno));
        return refuse_default_route(s->name, s->name, err, err_len);
    case PORT_VDEV: return 0;
    }
    return -EINVAL;
}
