/* barewire check over hosts made of files: each finding, and the command that mends it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/config/check.h"
#include "tests/unit/unit.h"

struct host {
    char root[64];
    struct config *c;
    char *out;
    size_t out_len;
    unsigned fails;
};

static void put(struct host *h, const char *path, const char *text)
{
    char full[512], *p;
    snprintf(full, sizeof(full), "%s%s", h->root, path);
    for (p = full + strlen(h->root) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(full, 0755);
        *p = '/';
    }
    if (!text) {
        mkdir(full, 0755);
        return;
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

static void put_link(struct host *h, const char *path, const char *target)
{
    char full[512];
    snprintf(full, sizeof(full), "%s%s", h->root, path);
    unlink(full); /* an older one, which may point nowhere */
    put(h, path, "");
    assert_int_equal(unlink(full), 0);
    assert_int_equal(symlink(target, full), 0);
}

/* A host where everything is as it should be: two nodes, a NIC eth1 on node 1, isolated cores, hugepages. */
static int host_new(void **state)
{
    struct host *h = calloc(1, sizeof(*h));
    *state = h;
    strcpy(h->root, "/tmp/barewire-test-check-XXXXXX");
    if (!mkdtemp(h->root) || !(h->c = config_new()))
        return -1;
    put(h, "/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
    put(h, "/proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n");
    put(h, "/proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units\n"
        "Max locked memory         unlimited            unlimited            bytes\n");
    put(h, "/proc/net/route",
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth1\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n");
    put(h, "/proc/net/ipv6_route",
        "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
        "00000000000000000000000000000000 ffffffff "
        "00000001 00000000 00200200       lo\n");
    put(h, "/sys/devices/system/cpu/online", "0-7\n");
    put(h, "/sys/devices/system/cpu/isolated", "4-7\n");
    put(h, "/sys/devices/system/cpu/nohz_full", "4-7\n");
    put(h, "/sys/devices/system/node/node0/cpulist", "0-3\n");
    put(h, "/sys/devices/system/node/node1/cpulist", "4-7\n");
    for (int n = 0; n < 2; n++) {
        char path[128];
        snprintf(path, sizeof(path),
                 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages", n);
        put(h, path, "512\n");
        snprintf(path, sizeof(path),
                 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/free_hugepages", n);
        put(h, path, "500\n");
    }
    put(h, "/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    put(h, "/dev/shm", NULL);
    put(h, "/dev/net/tun", "");
    put(h, "/run/bw", NULL);
    put(h, "/sys/class/net/eth1/flags", "0x1003\n");
    put(h, "/sys/class/net/eth1/mtu", "1500\n");
    put(h, "/sys/class/net/eth1/device/numa_node", "1\n");
    put_link(h, "/sys/class/net/eth1/device/driver", "../../../bus/pci/drivers/ixgbe");
    put(h, "/sys/class/net/eth1/queues/rx-0/x", "");
    put(h, "/sys/class/net/eth1/queues/rx-1/x", "");
    put(h, "/sys/class/net/eth1/queues/tx-0/x", "");
    return 0;
}

static int host_gone(void **state)
{
    struct host *h = *state;
    char cmd[96];
    snprintf(cmd, sizeof(cmd), "rm -r %s", h->root);
    int failed = system(cmd);
    config_free(h->c);
    free(h->out);
    free(h);
    return failed;
}

static void run(struct host *h, const char *extra)
{
    static const char usual[] =
        "net-port af_xdp:eth1\nnet-address 10.0.0.2/24\nworkers 2\neal-args \"-l 4,5\"\n"
        "unixsocket /run/bw/door.sock\nprotected-mode no\n";
    char err[CONFIG_ERROR_BYTES];
    assert_int_equal(config_load_text(h->c, span_str(usual), err, sizeof(err)), 0);
    if (config_load_text(h->c, span_str(extra), err, sizeof(err)) != 0)
        fail_msg("%s", err);
    free(h->out);
    FILE *f = open_memstream(&h->out, &h->out_len);
    h->fails = check_run(h->root, h->c, f);
    fclose(f);
}

static void has(const struct host *h, const char *line)
{
    if (!strstr(h->out, line))
        fail_msg("no line '%s' in:\n%s", line, h->out);
}

static void test_a_good_host(void **state)
{
    struct host *h = *state;
    run(h, "");
    assert_null(strstr(h->out, "WARN"));
    assert_null(strstr(h->out, "FAIL"));
    assert_int_equal(h->fails, 0);
    has(h, "OK    Linux 6.1.0-18-amd64: AF_XDP\n");
    has(h, "OK    eth1: driver ixgbe, MTU 1500\n");
    has(h, "OK    the NIC and the workers' cores are on node 1\n");
    has(h, "OK    hugepages node 1 2M: 500 free of 512\n");
    has(h, "OK    door: /run/bw/door.sock\n");
    has(h, "0 failed, 0 warnings\n");
}

static void test_control_on_workers_cores(void **state)
{
    struct host *h = *state;
    run(h, "server_cpulist 0-3");
    assert_null(strstr(h->out, "WARN"));
    run(h, "server_cpulist 1-7:2");
    has(h, "WARN  the control process may run on a worker's core");
}

static void test_default_route(void **state)
{
    struct host *h = *state;
    put(h, "/sys/class/net/eth0/flags", "0x1003\n");
    put(h, "/sys/class/net/eth0/mtu", "1500\n");
    put(h, "/sys/class/net/eth0/queues/rx-0/x", "");
    run(h, "net-port af_xdp:eth0\nworkers 1");
    has(h, "FAIL  eth0 holds the default route");
    assert_int_equal(h->fails, 1);
    put(h, "/proc/net/route", "Iface\n");
    run(h, "net-port af_xdp:eth0\nworkers 1");
    assert_int_equal(h->fails, 0);
    put(h, "/proc/net/ipv6_route",
        "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
        "fe800000000000000000000000000001 00000400 "
        "00000001 00000000 00000003     eth0\n");
    run(h, "net-port af_xdp:eth0\nworkers 1");
    has(h, "FAIL  eth0 holds the default route");
}

static void test_sharing_with_linux(void **state)
{
    struct host *h = *state;
    put(h, "/sys/class/net/eth0/flags", "0x1003\n");
    put(h, "/sys/class/net/eth0/mtu", "1500\n");
    put(h, "/sys/class/net/eth0/queues/rx-0/x", "");
    run(h, "net-port af_xdp:eth0\nworkers 1\nnet-share kernel");
    has(h, "WARN  eth0 holds the default route: it stays Linux's");
    assert_int_equal(h->fails, 0);
    run(h, "net-port af_xdp:eth0\nworkers 1\nnet-share kernel\nport 0");
    has(h, "FAIL  net-share kernel without a port -> --port PORT\n");
    run(h, "net-port tap:x\nworkers 1\nport 6379\nnet-share kernel\nnet-syn-limit 5");
    has(h, "FAIL  net-share kernel works on AF_XDP only");
    has(h, "WARN  net-syn-limit has no effect on this port");
    run(h, "net-port af_xdp:eth0\nworkers 1\nnet-share kernel\nnet-vlan 7");
    has(h, "FAIL  net-share kernel and net-vlan do not go together");
    run(h, "net-vlan 0");
    put(h, "/proc/self/status", "Name:\tx\nCapEff:\t0000000000003000\n");
    run(h, "net-port af_xdp:eth0\nworkers 1\nnet-share kernel");
    has(h, "FAIL  CAP_SYS_ADMIN is missing");
    run(h, "net-port af_xdp:eth1\nworkers 1\nnet-share none");
    has(h, "WARN  CAP_SYS_ADMIN is missing");
    put(h, "/proc/sys/kernel/osrelease", "5.4.0\n");
    run(h, "net-port af_xdp:eth0\nworkers 1\nnet-share kernel");
    has(h, "FAIL  Linux 5.4.0: the interface cannot be shared");
    run(h, "net-port af_xdp:eth1\nworkers 1\nnet-share none");
    has(h, "WARN  Linux 5.4.0: the interface cannot be shared");
}

static void test_interface(void **state)
{
    struct host *h = *state;
    run(h, "net-port af_xdp:nope");
    has(h, "FAIL  there is no interface nope -> ip link\n");
    put(h, "/sys/class/net/eth1/flags", "0x1002\n");
    put(h, "/sys/class/net/eth1/mtu", "9000\n");
    run(h, "workers 3\neal-args \"-l 4-6\"");
    has(h, "FAIL  eth1 is down -> ip link set eth1 up\n");
    has(h, "WARN  eth1: MTU 9000 is more than an AF_XDP frame holds");
    has(h, "FAIL  eth1 has 2 receive queues for 3 workers -> ethtool -L eth1 combined 3");
    assert_int_equal(h->fails, 2);
    put(h, "/sys/class/net/eth1/flags", "0x1003\n");
    put(h, "/sys/class/net/eth1/mtu", "1400\n");
    run(h, "net-mtu 1500\nworkers 2\neal-args \"-l 4-5\"");
    has(h, "FAIL  net-mtu 1500 is more than the MTU 1400 of eth1 -> ip link set eth1 mtu 1500\n");
}

static void test_cores(void **state)
{
    struct host *h = *state;
    run(h, "eal-args \"-l 3,4\"");
    has(h, "WARN  the NIC is on node 1, some of the workers' cores are not -> --eal-args '-l "
           "CORES' with CORES out of 4-7\n");
    has(h, "WARN  the workers' cores are not isolated");
    run(h, "eal-args \"-l 12\"");
    has(h, "FAIL  eal-args names cores that are not online");
    run(h, "workers 9\nnet-port tap:bw0\neal-args \"\"");
    has(h, "FAIL  9 workers on 8 cores");
    put(h, "/sys/devices/system/cpu/nohz_full", "(null)\n");
    run(h, "workers 2");
    has(h, "WARN  the timer ticks on isolated cores -> kernel command line: nohz_full=CORES\n");
}

static void test_memory(void **state)
{
    struct host *h = *state;
    put(h, "/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
    put(h, "/proc/self/limits",
        "Max locked memory         65536            65536            bytes\n");
    put(h, "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "0\n");
    run(h, "hugepages yes");
    assert_int_equal(h->fails, 0); /* node 1 has some */
    has(h, "WARN  transparent huge pages are on for everything");
    has(h, "-> echo madvise > /sys/kernel/mm/transparent_hugepage/enabled\n");
    has(h, "WARN  locked memory is limited to 65536 bytes");
    put(h, "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "0\n");
    run(h, "hugepages yes");
    has(h, "FAIL  no free hugepages, and hugepages is yes -> echo 512 > "
           "/sys/devices/system/node/node0");
    run(h, "hugepages auto");
    has(h, "WARN  no free hugepages: packet memory comes from ordinary pages");
    run(h, "hugepages no");
    assert_null(strstr(h->out, "no free hugepages"));
    put(h, "/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    run(h, "");
    has(h, "WARN  transparent huge pages are off: heap-large-pages has no effect -> echo madvise > "
           "/sys/kernel/mm/transparent_hugepage/enabled\n");
    run(h, "heap-large-pages no");
    has(h, "OK    transparent huge pages: always madvise [never]\n");
}

static void test_kernel_and_privileges(void **state)
{
    struct host *h = *state;
    put(h, "/proc/sys/kernel/osrelease", "4.9.0\n");
    put(h, "/proc/self/status", "CapEff:\t0000000000000000\n");
    run(h, "");
    has(h, "FAIL  Linux 4.9.0 has no AF_XDP");
    has(h, "FAIL  not allowed to open the port");
    put(h, "/proc/sys/kernel/osrelease", "5.4.0\n");
    put(h, "/proc/self/status", "CapEff:\t0000000000003000\n");
    run(h, "");
    has(h, "WARN  Linux 5.4.0: the interface cannot be shared");
    assert_int_equal(h->fails, 0);
    put(h, "/proc/sys/kernel/osrelease", "5.9.0\n");
    run(h, "");
    has(h, "WARN  Linux 5.9.0: AF_XDP without busy polling");
    assert_int_equal(h->fails, 0);
    put(h, "/proc/sys/kernel/osrelease", "4.9.0\n");
    run(h, "net-port af_packet:eth1");
    assert_int_equal(h->fails, 0);
}

static void test_pci(void **state)
{
    struct host *h = *state;
    run(h, "net-port pci:0000:03:00.0");
    has(h, "FAIL  there is no PCI device 0000:03:00.0 -> lspci -D\n");
    put(h, "/sys/bus/pci/devices/0000:03:00.0/numa_node", "0\n");
    put(h, "/sys/bus/pci/devices/0000:03:00.0/net/eth0/x", "");
    put_link(h, "/sys/bus/pci/devices/0000:03:00.0/driver", "../drivers/ixgbe");
    run(h, "net-port pci:0000:03:00.0");
    has(h, "FAIL  eth0 holds the default route");
    has(h, "FAIL  0000:03:00.0 is driven by ixgbe, not by DPDK -> dpdk-devbind.py -b vfio-pci "
           "0000:03:00.0\n");
    has(h, "WARN  the NIC is on node 0");
    put_link(h, "/sys/bus/pci/devices/0000:03:00.0/driver", "../drivers/vfio-pci");
    put(h, "/proc/net/route", "");
    run(h, "net-port pci:0000:03:00.0");
    has(h, "FAIL  /dev/vfio/vfio is missing -> modprobe vfio-pci\n");
    has(h, "WARN  no IOMMU guards 0000:03:00.0");
    put(h, "/dev/vfio/vfio", "");
    put(h, "/sys/bus/pci/devices/0000:03:00.0/iommu_group/x", "");
    put(h, "/sys/kernel/iommu_groups/0/x", "");
    run(h, "net-port pci:0000:03:00.0");
    has(h, "OK    IOMMU: 1 groups\n");
    assert_int_equal(h->fails, 0);
}

static void test_ip6_needs_a_larger_mtu(void **state)
{
    struct host *h = *state;
    run(h, "net-port tap:x\nnet-address 10.0.0.2/24 fd00::2/64\nnet-mtu 1279");
    has(h, "FAIL  net-mtu is less than IPv6 needs");
    run(h, "net-mtu 1280");
    assert_null(strstr(h->out, "IPv6 needs"));
}

static void test_door_and_settings(void **state)
{
    struct host *h = *state;
    run(h, "unixsocket /run/none/x.sock");
    has(h, "FAIL  unixsocket: there is no directory /run/none -> mkdir -p /run/none\n");
    run(h, "unixsocket \"\"\nnet-port \"\"");
    has(h, "WARN  no door");
    has(h, "WARN  no net-port: only the door will be open");
    assert_int_equal(h->fails, 0);
    run(h, "door-port 7000\nnet-port tap:x\nnet-address \"\"\nprotected-mode "
           "yes\nrepl-diskless-sync yes");
    has(h, "FAIL  net-port is set, net-address is not");
    has(h, "WARN  protected-mode without a password");
    has(h, "WARN  repl-diskless-sync: accepted, without effect (no replication yet)\n");
    run(h, "net-address 10.0.0.2/24\nrequirepass x");
    assert_null(strstr(h->out, "protected-mode"));
    assert_int_equal(h->fails, 0);
}

/* Nothing is there, or files hold nonsense: findings, no crash; no control bytes on the terminal. */
static void test_strange_hosts(void **state)
{
    struct host *h = *state;
    char root[64];
    put(h, "/sys/devices/system/cpu/online", "5-3,99999999999,x\n");
    put(h, "/sys/class/net/eth1/mtu", "many\n");
    put(h, "/proc/sys/kernel/osrelease", "6.1\033[31m\n");
    put(h, "/proc/net/route", "x y z\n\n\xff\xff\n");
    run(h, "");
    assert_null(strchr(h->out, '\033'));
    has(h, "Linux 6.1?[31m");
    strcpy(root, h->root);
    strcat(h->root, "/nothing-here");
    run(h, "");
    strcpy(h->root, root);
    has(h, "FAIL  there is no interface eth1");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, host_new, host_gone)
    const struct CMUnitTest tests[] = {
        T(test_a_good_host),
        T(test_control_on_workers_cores),
        T(test_default_route),
        T(test_sharing_with_linux),
        T(test_interface),
        T(test_cores),
        T(test_memory),
        T(test_kernel_and_privileges),
        T(test_pci),
        T(test_door_and_settings),
        T(test_ip6_needs_a_larger_mtu),
        T(test_strange_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
