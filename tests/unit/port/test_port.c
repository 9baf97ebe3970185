/* port without an EAL: the grammar of net-port, the argument vector, sizes, and what is read from the host. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/port/port_internal.h"
#include "tests/unit/unit.h"

static char err[512];

static struct port_spec parsed(const char *text)
{
    struct port_spec s;

    assert_int_equal(port_spec_parse(&s, text, err, sizeof(err)), 0);
    return s;
}

static void refused(const char *text, const char *words)
{
    struct port_spec s, before;

    memset(&s, 0xa5, sizeof(s));
    before = s;
    err[0] = '\0';
    assert_int_equal(port_spec_parse(&s, text, err, sizeof(err)), -EINVAL);
    assert_memory_equal(&s, &before, sizeof(s));
    if (!strstr(err, words))
        fail_msg("'%s' is not in: %s", words, err);
}

static void test_spec_forms(void **state)
{
    struct port_spec s = parsed("af_xdp:eth1");

    assert_int_equal(s.kind, PORT_AF_XDP);
    assert_string_equal(s.name, "eth1");
    assert_int_equal(parsed("tap:bw0").kind, PORT_TAP);
    assert_int_equal(parsed("af_packet:veth-x.7").kind, PORT_AF_PACKET);
    assert_string_equal(parsed("pci:0000:03:00.0").name, "0000:03:00.0");
    assert_string_equal(parsed("pci:3:0.1").name, "0000:03:00.1");
    assert_string_equal(parsed("pci:00AF:1f:1f.7").name, "00af:1f:1f.7");
    s = parsed("net_memif0,role=server;net_memif1,role=client");
    assert_int_equal(s.kind, PORT_VDEV);
    assert_int_equal(port_spec_vdevs(&s), 2);
    char one[64];
    assert_true(port_spec_vdev(&s, 1, one, sizeof(one)));
    assert_string_equal(one, "net_memif1,role=client");
    assert_false(port_spec_vdev(&s, 2, one, sizeof(one)));
}

static void test_spec_refusals(void **state)
{
    char text[700];

    refused(NULL, "not set");
    refused("", "not set");
    refused("eth0", "expected af_xdp:IFACE");
    refused("net_", "expected");
    refused("af_xdp:", "not an interface name");
    refused("af_xdp:sixteen-letters0", "not an interface name");
    refused("af_xdp:a,b", "not an interface name");
    refused("tap:a b", "not an interface name");
    refused("tap:..", "not an interface name");
    refused("af_packet:a/b", "not an interface name");
    refused("pci:0000:03:00", "not a PCI address");
    refused("pci:0000:03:20.0", "not a PCI address");
    refused("pci:0000:03:00.8", "not a PCI address");
    refused("pci:0000:03:00.0x", "not a PCI address");
    refused("net_tap0;", "expected");
    refused("net_tap0;eal", "expected");
    memset(text, 'x', sizeof(text));
    memcpy(text, "net_tap0,", 9);
    text[sizeof(text) - 1] = '\0';
    refused(text, "expected");
    for (size_t i = 100; i < sizeof(text) - 20; i += 100)
        memcpy(text + i, ";net_tap0,", 10);
    refused(text, "longer than");
}

static const int cpus[] = {2, 5};

static struct port_args *build(const char *net_port, uint32_t workers, const char *extra, bool huge)
{
    static struct port_args a;
    static struct port_spec s;

    s = parsed(net_port);
    struct port_args_in in = {.spec = &s,
                              .workers = workers,
                              .cpus = cpus,
                              .cpu_count = 2,
                              .mtu = 1500,
                              .instance = "test",
                              .extra = extra,
                              .memory_bytes = (100 << 20) + 1,
                              .huge = huge};
    assert_int_equal(port_args_build(&a, &in, err, sizeof(err)), 0);
    assert_null(a.argv[a.argc]);
    return &a;
}

/* Is `words` (one or two arguments in a row) in the vector? */
static bool has(const struct port_args *a, const char *first, const char *second)
{
    for (int i = 0; i < a->argc; i++)
        if (!strcmp(a->argv[i], first) &&
            (!second || (i + 1 < a->argc && !strcmp(a->argv[i + 1], second))))
            return true;
    return false;
}

static void test_args_af_xdp(void **state)
{
    struct port_args *a = build("af_xdp:v0", 3, NULL, false);

    assert_true(has(a, "--lcores", "0@2,1@5,2@2"));
    assert_true(has(a, "--main-lcore", "0"));
    assert_true(has(a, "--file-prefix", "barewire-test"));
    assert_true(has(a, "--no-pci", NULL));
    assert_true(has(a, "--no-huge", NULL));
    assert_true(has(a, "-m", "101"));
    assert_false(has(a, "--in-memory", NULL));
    for (int i = 0; i < 3; i++) {
        char vdev[128];
        snprintf(vdev, sizeof(vdev),
                 "net_af_xdp%d,iface=v0,start_queue=%d,queue_count=1,busy_budget=0", i, i);
        assert_true(has(a, "--vdev", vdev));
    }
}

static void test_args_others(void **state)
{
    struct port_args *a = build("tap:t0", 1, NULL, true);

    assert_true(has(a, "--vdev", "net_tap0,iface=t0"));
    assert_true(has(a, "--in-memory", NULL));
    assert_false(has(a, "--no-huge", NULL));
    a = build("af_packet:p0", 2, NULL, true);
    assert_true(has(a, "--vdev",
                    "net_af_packet0,iface=p0,qpairs=2,blocksz=4096,framesz=2048,framecnt=4096,"
                    "qdisc_bypass=1"));
    a = build("pci:3:0.0", 1, "--huge-dir /mnt/x", true);
    assert_true(has(a, "-a", "0000:03:00.0"));
    assert_false(has(a, "--no-pci", NULL));
    assert_false(has(a, "--in-memory", NULL));
    a = build("net_null0;net_null1,copy=1", 2, NULL, true);
    assert_true(has(a, "--vdev", "net_null0"));
    assert_true(has(a, "--vdev", "net_null1,copy=1"));
}

static void test_args_extra(void **state)
{
    struct port_args *a = build("tap:t0", 1, "  --log-level 'a b'\t-d \"x'y\" z\"q r\"s ", true);

    assert_true(has(a, "--log-level", "a b"));
    assert_true(has(a, "-d", "x'y"));
    assert_string_equal(a->argv[a->argc - 1], "zq rs");
}

static void test_args_refusals(void **state)
{
    static struct port_args a;
    struct port_spec s = parsed("tap:t0");
    struct port_args_in in = {.spec = &s, .workers = 1, .cpus = cpus, .cpu_count = 2, .mtu = 1500};
    char *many = malloc(4096);

    in.instance = "../x";
    assert_int_equal(port_args_build(&a, &in, err, sizeof(err)), -EINVAL);
    in.instance = "";
    assert_int_equal(port_args_build(&a, &in, err, sizeof(err)), -EINVAL);
    in.instance = "x";
    in.extra = "--a 'b";
    assert_int_equal(port_args_build(&a, &in, err, sizeof(err)), -EINVAL);
    memset(many, 'x', 4095);
    many[4095] = '\0';
    in.extra = many;
    assert_int_equal(port_args_build(&a, &in, err, sizeof(err)), -E2BIG);
    for (int i = 1; i < 4095; i += 2)
        many[i] = ' ';
    assert_int_equal(port_args_build(&a, &in, err, sizeof(err)), -E2BIG);
    free(many);
}

static void test_sizes(void **state)
{
    struct port_sizes one, two;

    assert_int_equal(port_sizes(&one, PORT_AF_XDP, 1500, 1, 0, err, sizeof(err)), 0);
    assert_int_equal(one.data_room_bytes, 2048 + 128);
    assert_int_equal(one.data_mbufs, PORT_DATA_MBUFS);
    assert_int_equal(port_sizes(&two, PORT_AF_XDP, 1500, 2, 1000, err, sizeof(err)), 0);
    assert_int_equal(two.data_mbufs, 1000);
    assert_true(one.memory_bytes > (uint64_t)(PORT_RX_MBUFS + PORT_DATA_MBUFS) * one.object_bytes);
    for (uint16_t mtu = 576; mtu <= 3502; mtu++) {
        assert_int_equal(port_sizes(&one, PORT_AF_XDP, mtu, 1, 0, err, sizeof(err)), 0);
        assert_true(one.object_bytes <= 4096);
        assert_true(one.data_room_bytes >= 128u + 256u + mtu + 18u);
    }
    assert_int_equal(port_sizes(&one, PORT_AF_XDP, 3503, 1, 0, err, sizeof(err)), -EMSGSIZE);
    assert_non_null(strstr(err, "3502"));
    assert_int_equal(port_sizes(&one, PORT_TAP, 1501, 1, 0, err, sizeof(err)), -EMSGSIZE);
    assert_non_null(strstr(err, "at most 1500"));
    assert_int_equal(port_sizes(&one, PORT_AF_PACKET, 9000, 1, 0, err, sizeof(err)), 0);
    assert_true(one.data_room_bytes >= 9000 + 18 + 128);
    assert_int_equal(port_sizes(&one, PORT_TAP, 575, 1, 0, err, sizeof(err)), -EMSGSIZE);
    assert_int_equal(port_sizes(&one, PORT_PCI, 9198, 1, 0, err, sizeof(err)), 0);
    assert_true(one.data_room_bytes >= 128u + 9198u + 18u);
    assert_int_equal(port_sizes(&one, PORT_PCI, 9199, 1, 0, err, sizeof(err)), -EMSGSIZE);
}

/* A directory of its own per test program; files are made and removed by each test. */
static char dir[] = "/tmp/bw-port-XXXXXX";

static const char *file(const char *name, const char *text)
{
    static char path[2][128];
    static int turn;
    char *p = path[turn ^= 1];

    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    FILE *f = fopen(p, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return p;
}

static void test_default_route(void **state)
{
    const char *four =
        file("route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n"
                      "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
                      "eth1\t00000000\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
                      "eth2\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
                      "eth4\t00000000\t010200C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n");
    const char *six = file(
        "route6", "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
                  "fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth3\n"
                  "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
                  "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n"
                  "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 "
                  "00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth2\n");

    assert_true(host_default_route("eth0", four, six));
    assert_false(host_default_route("eth1", four, six));
    assert_false(host_default_route("eth2", four, six));
    assert_true(host_default_route("eth3", four, six));
    assert_false(host_default_route("eth4", four, six));
    assert_false(host_default_route("lo", four, six));
    assert_false(host_default_route("eth", four, six));
    unlink(four);
    unlink(six);
    assert_false(host_default_route("eth0", four, six));
}

static void test_free_hugepages(void **state)
{
    char sub[128];

    assert_int_equal(host_free_hugepage_bytes("/nonexistent"), 0);
    snprintf(sub, sizeof(sub), "%s/hugepages-2048kB", dir);
    assert_int_equal(mkdir(sub, 0700), 0);
    const char *nr = file("hugepages-2048kB/free_hugepages", "10\n");
    const char *resv = file("hugepages-2048kB/resv_hugepages", "4\n");
    assert_int_equal(host_free_hugepage_bytes(dir), 6ull * 2048 * 1024);
    unlink(resv);
    assert_int_equal(host_free_hugepage_bytes(dir), 10ull * 2048 * 1024);
    unlink(nr);
    rmdir(sub);
}

static void test_host(void **state)
{
    struct host_iface h;
    int list[256];

    host_iface("lo", &h);
    assert_true(h.exists);
    assert_true(h.mtu >= 576);
    assert_int_equal(h.rx_queues, 1);
    host_iface("no-such-iface", &h);
    assert_false(h.exists);
    unsigned n = host_cpus(list, 256);
    assert_in_range(n, 1, 256);
    for (unsigned i = 1; i < n; i++)
        assert_true(list[i] > list[i - 1]);
}

/* The lock is held until its descriptor is closed, by name. */
static void test_lock(void **state)
{
    char net_port[32];

    snprintf(net_port, sizeof(net_port), "tap:t%d", (int)getpid());
    struct port_spec s = parsed(net_port), pci = parsed("pci:3:0.0");
    int fd = host_lock(&s, err, sizeof(err));
    assert_true(fd >= 0);
    assert_int_equal(host_lock(&s, err, sizeof(err)), -EBUSY);
    close(fd);
    fd = host_lock(&s, err, sizeof(err));
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(host_lock(&pci, err, sizeof(err)), -1);
}

static int setup_dir(void **state)
{
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    return rmdir(dir); /* fails when a test left a file */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec_forms),     cmocka_unit_test(test_spec_refusals),
        cmocka_unit_test(test_args_af_xdp),    cmocka_unit_test(test_args_others),
        cmocka_unit_test(test_args_extra),     cmocka_unit_test(test_args_refusals),
        cmocka_unit_test(test_sizes),          cmocka_unit_test(test_default_route),
        cmocka_unit_test(test_free_hugepages), cmocka_unit_test(test_host),
        cmocka_unit_test(test_lock),
    };

    return cmocka_run_group_tests_name("port", tests, setup_dir, remove_dir);
}
