/* check: looks at the host before the server starts, and says in one line per finding what is fine, what is worse than it could be and
 * what is wrong, each with the command that mends it. Changes nothing; binding devices is dpdk-devbind.py's business.
 *
 * Reads /proc and /sys below a root directory, so that tests can build hosts out of files. */
#include "control/config/check.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/config/cores.h"

#define NAME_BYTES 64

enum verdict { OK, WARN, FAIL };

struct check {
    const char *root;
    const struct config *c;
    FILE *out;
    unsigned fails, warnings;
    char iface[NAME_BYTES]; /* Linux name of the port, "" when it has none */
    char pci[NAME_BYTES];
    long nic_node; /* NUMA node of the NIC, -1: unknown */
};

/* One line; `fix` may be NULL. Text comes from files of the host: control bytes do not reach the terminal. */
static void say(struct check *k, enum verdict v, const char *fix, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void say(struct check *k, enum verdict v, const char *fix, const char *fmt, ...)
{
    static const char *const words[] = {"OK   ", "WARN ", "FAIL "};
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++)
        if (iscntrl((unsigned char)*p))
            *p = '?';
    fprintf(k->out, "%s %s%s%s\n", words[v], text, fix ? " -> " : "", fix ? fix : "");
    k->fails += v == FAIL;
    k->warnings += v == WARN;
}

/* ---- reading below the root ---- */

static void path_of(const struct check *k, char to[PATH_MAX], const char *fmt, va_list ap)
{
    int n = snprintf(to, PATH_MAX, "%s", k->root);
    if (n >= 0 && n < PATH_MAX)
        vsnprintf(to + n, (size_t)(PATH_MAX - n), fmt, ap);
}

/* The first line of a file, without its end. False: there is none. */
static bool get_line(const struct check *k, char *to, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static bool get_line(const struct check *k, char *to, size_t size, const char *fmt, ...)
{
    char path[PATH_MAX];
    va_list ap;
    va_start(ap, fmt);
    path_of(k, path, fmt, ap);
    va_end(ap);
    to[0] = 0;
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(to, (int)size, f);
    if (f)
        fclose(f);
    to[strcspn(to, "\n")] = 0;
    return ok;
}

static long get_number(const struct check *k, long otherwise, const char *dir, const char *name)
{
    char line[64], *end;
    if (!get_line(k, line, sizeof(line), "%s/%s", dir, name))
        return otherwise;
    long v = strtol(line, &end, 0);
    return end == line ? otherwise : v;
}

static FILE *open_file(const struct check *k, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s%s", k->root, name);
    return fopen(path, "re");
}

static DIR *open_dir(const struct check *k, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s%s", k->root, name);
    return opendir(path);
}

static bool reachable(const struct check *k, const char *name, int mode)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s%s", k->root, name);
    return access(path, mode) == 0;
}

/* The last part of where a symbolic link points. */
static bool link_name(const struct check *k, const char *name, char to[NAME_BYTES])
{
    char path[PATH_MAX], target[PATH_MAX];
    snprintf(path, sizeof(path), "%s%s", k->root, name);
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    to[0] = 0;
    if (n <= 0)
        return false;
    target[n] = 0;
    snprintf(to, NAME_BYTES, "%.*s", NAME_BYTES - 1, basename(target));
    return true;
}

static void parse_cores(const char *s, cpu_set_t *ret)
{
    cores_parse(span_of(s, strlen(s)), ret);
}

/* ---- memory ---- */

static void hugepages_of(struct check *k, const char *base, const char *where, long *ret_free)
{
    static const struct {
        const char *dir, *name;
    } sizes[] = {{"hugepages-2048kB", "2M"}, {"hugepages-1048576kB", "1G"}};
    char dir[256], text[128] = "";
    size_t n = 0;

    for (int i = 0; i < 2; i++) {
        snprintf(dir, sizeof(dir), "%s/%s", base, sizes[i].dir);
        long total = get_number(k, -1, dir, "nr_hugepages"),
             unused = get_number(k, 0, dir, "free_hugepages");
        if (total < 0)
            continue;
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s: %ld free of %ld", n ? ", " : "",
                              sizes[i].name, unused, total);
        *ret_free += unused;
    }
    if (n)
        say(k, OK, NULL, "hugepages%s %s", where, text);
}

static void check_hugepages(struct check *k)
{
    char base[128], where[32];
    long unused = 0, nodes = 0;

    for (int node = 0; node < 64; node++) {
        snprintf(base, sizeof(base), "/sys/devices/system/node/node%d/hugepages", node);
        if (!reachable(k, base, F_OK))
            continue;
        snprintf(where, sizeof(where), " node %d", node);
        hugepages_of(k, base, where, &unused);
        nodes++;
    }
    if (!nodes)
        hugepages_of(k, "/sys/kernel/mm/hugepages", "", &unused);
    if (unused)
        return;
    const char *fix =
        nodes > 1
            ? "echo 512 > /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages "
              "(each node)"
            : "echo 512 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    if (k->c->dataplane.hugepages == CONFIG_AUTO_YES)
        say(k, FAIL, fix, "no free hugepages, and hugepages is yes");
    else if (k->pci[0])
        say(k, WARN, fix, "no free hugepages: a NIC driven by DPDK wants them");
    else if (k->c->dataplane.hugepages == CONFIG_AUTO)
        say(k, WARN, fix, "no free hugepages: packet memory comes from ordinary pages");
}

static void check_thp(struct check *k)
{
    char line[128];
    if (!get_line(k, line, sizeof(line), "/sys/kernel/mm/transparent_hugepage/enabled"))
        return;
    if (strstr(line, "[always]"))
        say(k, WARN, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            "transparent huge pages are on for everything: pauses and more memory");
    else if (strstr(line, "[never]") && k->c->dataplane.heap_large_pages)
        say(k, WARN, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            "transparent huge pages are off: heap-large-pages has no effect");
    else
        say(k, OK, NULL, "transparent huge pages: %s", line);
}

static void check_memlock(struct check *k)
{
    char line[256];
    FILE *f = open_file(k, "/proc/self/limits");
    while (f && fgets(line, sizeof(line), f)) {
        char soft[64];
        if (sscanf(line, "Max locked memory %63s", soft) != 1)
            continue;
        if (strcmp(soft, "unlimited") == 0 || strtoull(soft, NULL, 10) >= 1ull << 30)
            say(k, OK, NULL, "locked memory: %s", soft);
        else
            say(k, WARN, "ulimit -l unlimited (LimitMEMLOCK=infinity in a unit)",
                "locked memory is limited to %s bytes: VFIO and older kernels' AF_XDP need more",
                soft);
    }
    if (f)
        fclose(f);
    if (!reachable(k, "/dev/shm", W_OK))
        say(k, FAIL, "mount -t tmpfs tmpfs /dev/shm",
            "/dev/shm cannot be written: control and dataplane meet there");
}

/* ---- cores ---- */

/* Cores of the workers: -l in eal-args, else the first ones online. */
static void worker_cores(const struct check *k, const cpu_set_t *online, cpu_set_t *ret)
{
    const char *l = strstr(k->c->dataplane.eal_args, "-l");
    if (l) {
        l += 2 + strspn(l + 2, " =");
        parse_cores(l, ret);
        if (CPU_COUNT(ret))
            return;
    }
    CPU_ZERO(ret);
    for (uint32_t i = 0, n = 0; i < CPU_SETSIZE && n < k->c->dataplane.workers; i++)
        if (CPU_ISSET(i, online)) {
            CPU_SET(i, ret);
            n++;
        }
}

static void check_node(struct check *k, const cpu_set_t *workers)
{
    char line[256], fix[400];
    cpu_set_t local, away;
    if (k->nic_node < 0 ||
        !get_line(k, line, sizeof(line), "/sys/devices/system/node/node%ld/cpulist", k->nic_node))
        return;
    parse_cores(line, &local);
    CPU_AND(&away, workers, &local);
    if (CPU_EQUAL(&away, workers)) {
        say(k, OK, NULL, "the NIC and the workers' cores are on node %ld", k->nic_node);
        return;
    }
    snprintf(fix, sizeof(fix), "--eal-args '-l CORES' with CORES out of %s", line);
    say(k, WARN, fix, "the NIC is on node %ld, some of the workers' cores are not", k->nic_node);
}

static void check_control_cores(struct check *k, const cpu_set_t *workers)
{
    cpu_set_t own, both;
    parse_cores(k->c->control.server_cpulist, &own);
    CPU_AND(&both, &own, workers);
    if (CPU_COUNT(&both))
        say(k, WARN, "server_cpulist without the workers' cores",
            "the control process may run on a worker's core");
}

static void check_cores(struct check *k)
{
    char line[1024], text[1024];
    cpu_set_t online, isolated, workers, both;
    unsigned wanted = k->c->dataplane.workers;

    if (!get_line(k, line, sizeof(line), "/sys/devices/system/cpu/online"))
        return;
    parse_cores(line, &online);
    unsigned n = (unsigned)CPU_COUNT(&online);
    if (wanted > n)
        say(k, FAIL, "--workers with at most as many as there are cores", "%u workers on %u cores",
            wanted, n);
    else
        say(k, OK, NULL, "%u worker%s on %u core%s", wanted, wanted == 1 ? "" : "s", n,
            n == 1 ? "" : "s");
    worker_cores(k, &online, &workers);
    CPU_AND(&both, &workers, &online);
    if (!CPU_EQUAL(&both, &workers))
        say(k, FAIL, "cores from /sys/devices/system/cpu/online",
            "eal-args names cores that are not online");
    check_node(k, &workers);
    check_control_cores(k, &workers);

    get_line(k, line, sizeof(line), "/sys/devices/system/cpu/isolated");
    parse_cores(line, &isolated);
    CPU_AND(&both, &workers, &isolated);
    if (!CPU_EQUAL(&both, &workers))
        say(k, WARN, "kernel command line: isolcpus=CORES nohz_full=CORES rcu_nocbs=CORES",
            "the workers' cores are not isolated: other tasks and the timer interrupt them");
    else
        say(k, OK, NULL, "isolated cores: %s", line);
    bool nohz = get_line(k, text, sizeof(text), "/sys/devices/system/cpu/nohz_full") &&
                isdigit((unsigned char)text[0]);
    if (CPU_EQUAL(&both, &workers) && !nohz)
        say(k, WARN, "kernel command line: nohz_full=CORES", "the timer ticks on isolated cores");
}

/* ---- the port ---- */

static bool holds_default_route(const struct check *k, const char *iface)
{
    char line[512], name[NAME_BYTES];
    unsigned destination, flags, mask;
    bool found = false;

    FILE *f = open_file(k, "/proc/net/route");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "%63s %x %*x %x %*d %*d %*d %x", name, &destination, &flags, &mask) == 4 &&
            destination == 0 && mask == 0 && (flags & 1) && strcmp(name, iface) == 0)
            found = true;
    if (f)
        fclose(f);
    f = open_file(k, "/proc/net/ipv6_route");
    while (f && fgets(line, sizeof(line), f)) {
        char to[40], length[4];
        if (sscanf(line, "%39s %3s %*s %*s %*s %*s %*s %*s %*s %63s", to, length, name) == 3 &&
            strspn(to, "0") == 32 && strcmp(length, "00") == 0 && strcmp(name, iface) == 0)
            found = true;
    }
    if (f)
        fclose(f);
    return found;
}

static unsigned count_entries(const struct check *k, const char *dir, const char *prefix)
{
    unsigned n = 0;
    struct dirent *e;
    DIR *d = open_dir(k, dir);
    while (d && (e = readdir(d)))
        n += e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    if (d)
        closedir(d);
    return n;
}

static bool is_shared(const struct check *k)
{
    return k->c->dataplane.net_share == CONFIG_SHARE_KERNEL;
}

static void refuse_default_route(struct check *k)
{
    if (!holds_default_route(k, k->iface))
        return;
    if (is_shared(k))
        say(k, WARN, NULL,
            "%s holds the default route: it stays Linux's, but at the start frames are lost for a "
            "moment",
            k->iface);
    else
        say(k, FAIL,
            "another interface, or scripts/run without --net-port (it makes one of its own)",
            "%s holds the default route: the host would lose its network", k->iface);
}

/* Large receive offload glues segments together before an XDP program sees them; only the running kernel can tell. */
static void check_offloads(struct check *k)
{
    struct ethtool_value v = {.cmd = ETHTOOL_GFLAGS};
    struct ifreq ifr = {.ifr_data = (char *)&v};
    char fix[128];
    if (k->root[0])
        return;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.15s", k->iface);
    snprintf(fix, sizeof(fix), "ethtool -K %s lro off", k->iface);
    if (ioctl(fd, SIOCETHTOOL, &ifr) == 0 && (v.data & ETH_FLAG_LRO))
        say(k, WARN, fix,
            "%s: large receive offload is on: AF_XDP cannot use frames longer than a packet",
            k->iface);
    close(fd);
}

static void check_iface(struct check *k, bool xdp)
{
    char dir[256], path[300], driver[NAME_BYTES], fix[256];

    snprintf(dir, sizeof(dir), "/sys/class/net/%s", k->iface);
    if (!reachable(k, dir, F_OK)) {
        say(k, FAIL, "ip link", "there is no interface %s", k->iface);
        return;
    }
    refuse_default_route(k);
    snprintf(path, sizeof(path), "%s/device/driver", dir);
    link_name(k, path, driver);
    snprintf(path, sizeof(path), "%s/device", dir);
    k->nic_node = get_number(k, -1, path, "numa_node");
    long mtu = get_number(k, 0, dir, "mtu");
    say(k, OK, NULL, "%s: driver %s, MTU %ld", k->iface, driver[0] ? driver : "virtual", mtu);
    snprintf(fix, sizeof(fix), "ip link set %s up", k->iface);
    if (!(get_number(k, 0, dir, "flags") & IFF_UP))
        say(k, FAIL, fix, "%s is down", k->iface);
    snprintf(fix, sizeof(fix), "ip link set %s mtu 3498", k->iface);
    if (xdp && mtu > 3498)
        say(k, WARN, fix, "%s: MTU %ld is more than an AF_XDP frame holds (about 3.5 KB)", k->iface,
            mtu);
    snprintf(fix, sizeof(fix), "ip link set %s mtu %u", k->iface, k->c->dataplane.net_mtu);
    if (k->c->dataplane.net_mtu > (unsigned long)mtu)
        say(k, FAIL, fix, "net-mtu %u is more than the MTU %ld of %s", k->c->dataplane.net_mtu, mtu,
            k->iface);
    snprintf(path, sizeof(path), "%s/queues", dir);
    unsigned queues = count_entries(k, path, "rx-"), workers = k->c->dataplane.workers;
    snprintf(fix, sizeof(fix),
             "ethtool -L %s combined %u (a veth is made with numrxqueues %u numtxqueues %u)",
             k->iface, workers, workers, workers);
    if (xdp && queues < workers)
        say(k, FAIL, fix, "%s has %u receive queue%s for %u workers", k->iface, queues,
            queues == 1 ? "" : "s", workers);
    check_offloads(k);
}

/* Drivers of the kernel that DPDK drives beside it: nothing is bound anew. */
static bool is_bifurcated(const char *driver)
{
    return strcmp(driver, "mlx5_core") == 0 || strcmp(driver, "mlx4_core") == 0 ||
           strcmp(driver, "mana") == 0;
}

static void check_vfio(struct check *k, const char *driver)
{
    char dir[256];
    if (strcmp(driver, "vfio-pci") != 0)
        return;
    if (!reachable(k, "/dev/vfio/vfio", F_OK))
        say(k, FAIL, "modprobe vfio-pci", "/dev/vfio/vfio is missing");
    snprintf(dir, sizeof(dir), "/sys/bus/pci/devices/%s/iommu_group", k->pci);
    if (reachable(k, dir, F_OK))
        say(k, OK, NULL, "IOMMU: %u groups", count_entries(k, "/sys/kernel/iommu_groups", ""));
    else
        say(k, WARN, "kernel command line: intel_iommu=on iommu=pt (amd_iommu=on)",
            "no IOMMU guards %s: VFIO runs only in its unsafe mode", k->pci);
}

static void check_pci(struct check *k, const char *address)
{
    char dir[256], path[300], driver[NAME_BYTES], fix[256];
    struct dirent *e;

    snprintf(k->pci, sizeof(k->pci), "%.63s", address);
    snprintf(dir, sizeof(dir), "/sys/bus/pci/devices/%s", k->pci);
    if (!reachable(k, dir, F_OK)) {
        say(k, FAIL, "lspci -D", "there is no PCI device %s", k->pci);
        return;
    }
    k->nic_node = get_number(k, -1, dir, "numa_node");
    snprintf(path, sizeof(path), "%s/driver", dir);
    link_name(k, path, driver);
    snprintf(path, sizeof(path), "%s/net", dir);
    DIR *d = open_dir(k, path);
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.') {
            snprintf(k->iface, sizeof(k->iface), "%.63s", e->d_name);
            refuse_default_route(k);
        }
    if (d)
        closedir(d);
    snprintf(fix, sizeof(fix), "dpdk-devbind.py -b vfio-pci %s", k->pci);
    if (strcmp(driver, "vfio-pci") == 0 || strcmp(driver, "uio_pci_generic") == 0 ||
        strcmp(driver, "igb_uio") == 0 || is_bifurcated(driver))
        say(k, OK, NULL, "%s: driver %s", k->pci, driver);
    else
        say(k, FAIL, fix, "%s is driven by %s, not by DPDK", k->pci,
            driver[0] ? driver : "nothing");
    check_vfio(k, driver);
}

/* AF_XDP came with 4.18; 5.4 gave need_wakeup, 5.7 the exchange of XDP programs, 5.11 busy polling and memory accounting by control group. */
static void check_kernel(struct check *k)
{
    char line[128];
    unsigned major = 0, minor = 0;
    if (!get_line(k, line, sizeof(line), "/proc/sys/kernel/osrelease") ||
        sscanf(line, "%u.%u", &major, &minor) != 2)
        return;
    unsigned v = major * 1000 + minor;
    if (v < 4018)
        say(k, FAIL, "a kernel of 5.11 or later, or net-port af_packet:IFACE",
            "Linux %s has no AF_XDP", line);
    else if (v < 5007)
        say(k, is_shared(k) ? FAIL : WARN, "a kernel of 5.11 or later",
            "Linux %s: the interface cannot be shared with Linux, all of its frames are ours",
            line);
    else if (v < 5011)
        say(k, WARN, "a kernel of 5.11 or later", "Linux %s: AF_XDP without busy polling", line);
    else
        say(k, OK, NULL, "Linux %s: AF_XDP", line);
}

/* CAP_NET_ADMIN (12), CAP_NET_RAW (13) and CAP_SYS_ADMIN (21: without it nobody may open a program or map by its id), as the kernel's
 * bit set of this process tells. */
static void check_privileges(struct check *k, bool xdp)
{
    static const char fix[] = "sudo, or a unit with AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW "
                              "CAP_SYS_ADMIN CAP_BPF CAP_IPC_LOCK";
    char line[256];
    uint64_t caps;
    FILE *f = open_file(k, "/proc/self/status");
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "CapEff: %" SCNx64, &caps) != 1)
            continue;
        if ((caps >> 12 & 3) != 3)
            say(k, FAIL, fix,
                "not allowed to open the port: CAP_NET_ADMIN and CAP_NET_RAW are missing");
        else if (xdp && !(caps >> 21 & 1))
            say(k, is_shared(k) ? FAIL : WARN, fix,
                "CAP_SYS_ADMIN is missing: the interface cannot be shared with Linux, all of its "
                "frames are ours");
    }
    if (f)
        fclose(f);
}

static void check_port(struct check *k)
{
    const char *port = k->c->dataplane.net_port, *name = strchr(port, ':');
    bool xdp = strncmp(port, "af_xdp:", 7) == 0;

    if (!port[0]) {
        say(k, WARN, "--net-port af_xdp:IFACE --net-address ADDRESS/LENGTH",
            "no net-port: only the door will be open");
        return;
    }
    if (!k->c->dataplane.net_address[0])
        say(k, FAIL, "--net-address ADDRESS/LENGTH", "net-port is set, net-address is not");
    if (strchr(k->c->dataplane.net_address, ':') && k->c->dataplane.net_mtu &&
        k->c->dataplane.net_mtu < 1280)
        say(k, FAIL, "--net-mtu 1280 or more", "net-mtu is less than IPv6 needs");
    if (is_shared(k) && !xdp)
        say(k, FAIL, "--net-port af_xdp:IFACE, or --net-share none",
            "net-share kernel works on AF_XDP only");
    if (is_shared(k) && k->c->dataplane.net_vlan)
        say(k, FAIL, "--net-share none", "net-share kernel and net-vlan do not go together");
    if (is_shared(k) && !k->c->dataplane.port)
        say(k, FAIL, "--port PORT", "net-share kernel without a port");
    if (k->c->engine.net_syn_limit && !xdp)
        say(k, WARN, "--net-port af_xdp:IFACE", "net-syn-limit has no effect on this port");
    check_privileges(k, xdp);
    if (xdp)
        check_kernel(k);
    if (xdp || strncmp(port, "af_packet:", 10) == 0) {
        snprintf(k->iface, sizeof(k->iface), "%.63s", name + 1);
        check_iface(k, xdp);
    } else if (strncmp(port, "pci:", 4) == 0) {
        check_pci(k, name + 1);
    } else if (strncmp(port, "tap:", 4) == 0 && !reachable(k, "/dev/net/tun", F_OK)) {
        say(k, FAIL, "modprobe tun", "/dev/net/tun is missing");
    }
    if (k->c->engine.protected_mode && !k->c->engine.requirepass_len)
        say(k, WARN, "--requirepass PASSWORD, or --protected-mode no",
            "protected-mode without a password: data commands from the network are refused");
}

/* ---- the door and the rest ---- */

static void check_door(struct check *k)
{
    const char *path = k->c->control.unixsocket;
    if (!path[0] && !k->c->control.door_port) {
        say(k, WARN, "--unixsocket PATH or --door-port PORT",
            "no door: redis-cli on this host cannot reach the server");
        return;
    }
    if (!path[0])
        return;
    char *copy = strdup(path), fix[PATH_MAX + 32];
    if (!copy)
        return;
    const char *dir = dirname(copy);
    snprintf(fix, sizeof(fix), "mkdir -p %s", dir);
    if (!reachable(k, dir, F_OK))
        say(k, FAIL, fix, "unixsocket: there is no directory %s", dir);
    else if (!reachable(k, dir, W_OK))
        say(k, FAIL, "another directory, or its owner and mode", "unixsocket: %s cannot be written",
            dir);
    else
        say(k, OK, NULL, "door: %s", path);
    free(copy);
}

unsigned check_run(const char *root, const struct config *c, FILE *out)
{
    struct check k = {.root = root, .c = c, .out = out, .nic_node = -1};

    for (uint32_t i = 0; i < c->warnings_count; i++)
        say(&k, WARN, NULL, "%s", c->warnings[i]);
    check_port(&k);
    check_cores(&k);
    check_hugepages(&k);
    check_thp(&k);
    check_memlock(&k);
    check_door(&k);
    fprintf(out, "%u failed, %u warning%s\n", k.fails, k.warnings, k.warnings == 1 ? "" : "s");
    return k.fails;
}

int check_main(int argc, char **argv)
{
    char err[CONFIG_ERROR_BYTES];
    struct config *c = config_new();
    if (!c) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    int failed = config_load_args(c, argc, argv, err, sizeof(err));
    if (failed)
        fprintf(stderr, "%s", err);
    else
        failed = check_run("", c, stdout) != 0;
    config_free(c);
    return failed ? 1 : 0;
}
