/* The XDP program by BPF_PROG_TEST_RUN: frames made by hand, every verdict, every length of a cut frame. Each run must move exactly one
 * counter, the one that goes with the verdict. An AF_XDP socket that is bound to nothing stands in the map, so that taken is taken.
 * Skipped where bpf() is not permitted. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_xdp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/port/port_internal.h"
#include "dataplane/port/steer.h"
#include "tests/unit/port/steer_frame.h"
#include "tests/unit/unit.h"

#define PASS     2 /* XDP_PASS */
#define DROP     1
#define REDIRECT 4

/* struct steer_counts by index */
enum { TAKEN, PASSED, MALFORMED, FRAGMENTS, EXTENSIONS, NO_SOCKET, DROP_ALLOW, DROP_SYN, COUNTS };

static char err[512];

/* ---- the program ---- */

static struct {
    struct steer *steer;
    int socket;
    bool linux_ip6; /* Linux speaks it on the interface */
    struct steer_counts before;
} t = {.socket = -1, .linux_ip6 = true};

static const uint8_t our_mac[6] = {0x02, 0x11, 0x22, 0x33, 0x44, 0x55};
static const uint8_t our_link6[16] = {0xfe, 0x80, 0,    0,    0,    0,    0,    0,
                                      0,    0x11, 0x22, 0xff, 0xfe, 0x33, 0x44, 0x55};

static struct port_steer own(void)
{
    struct port_steer p = {.ip = our_ip, .tcp_port = OUR_PORT, .ip6_count = 1};

    memcpy(p.ip6[0], our_ip6, 16);
    return p;
}

/* A socket that may be put into an XSKMAP: it has a umem. */
static int xdp_socket(void)
{
    static uint8_t *umem;
    int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

    if (!umem)
        umem = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(umem != MAP_FAILED);
    struct xdp_umem_reg reg = {
        .addr = (uintptr_t)umem, .len = 16ull * 4096, .chunk_size = 4096, .headroom = 0};
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)), 0);
    return fd;
}

static void load(const struct port_steer *p)
{
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    uint32_t zero = 0;

    (void)setrlimit(RLIMIT_MEMLOCK, &all);
    xdp_prepare();
    int r = steer_load(&t.steer, p, t.linux_ip6, our_mac, err, sizeof(err));
    if (r == -EPERM || r == -EACCES) {
        t.steer = NULL;
        skip();
    }
    if (r < 0)
        fail_msg("%s", err);
    t.socket = xdp_socket();
    assert_int_equal(bpf_map_update_elem(steer_xskmap_fd(t.steer), &zero, &t.socket, BPF_ANY), 0);
}

static int teardown(void **state)
{
    if (t.socket >= 0)
        close(t.socket);
    steer_free(t.steer);
    t.steer = NULL;
    t.socket = -1;
    t.linux_ip6 = true;
    return 0;
}

/* ---- one run ---- */

static int verdict(const uint8_t *p, size_t n)
{
    LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = p, .data_size_in = (uint32_t)n, .repeat = 1);
    int r = bpf_prog_test_run_opts(steer_program_fd(t.steer), &o);

    if (r < 0)
        fail_msg("BPF_PROG_TEST_RUN with %zu bytes: %s", n, strerror(-r));
    return (int)o.retval;
}

/* Runs it; returns which counter moved, and asserts that it was one, by one, and that it goes with the verdict. */
static int outcome(const uint8_t *p, size_t n)
{
    static const int verdicts[COUNTS] = {REDIRECT, PASS, PASS, PASS, PASS, PASS, DROP, DROP};
    struct steer_counts before, after;
    int moved = -1;

    assert_int_equal(steer_read(t.steer, &before), 0);
    int v = verdict(p, n);
    assert_int_equal(steer_read(t.steer, &after), 0);
    for (int i = 0; i < COUNTS; i++) {
        uint64_t by = ((uint64_t *)&after)[i] - ((uint64_t *)&before)[i];
        if (by == 0)
            continue;
        assert_int_equal(by, 1);
        assert_int_equal(moved, -1);
        moved = i;
    }
    assert_int_not_equal(moved, -1);
    assert_int_equal(v, verdicts[moved]);
    return moved;
}

#define EXPECT(made, what)                           \
    do {                                             \
        struct frame f_ = (made);                    \
        assert_int_equal(outcome(f_.b, f_.n), what); \
    } while (0)

/* A frame that is taken whole is Linux's when it is cut, at whatever length. */
static void cut_everywhere(struct frame f)
{
    assert_int_equal(outcome(f.b, f.n), TAKEN);
    for (size_t n = 14; n < f.n; n++)
        assert_int_equal(outcome(f.b, n), MALFORMED);
}

/* ---- IPv4 ---- */

static void test_tcp_to_our_port_is_taken(void **state)
{
    struct port_steer p = own();
    load(&p);
    EXPECT(tcp4(our_ip, OUR_PORT, SYN), TAKEN);
    EXPECT(tcp4(our_ip, OUR_PORT, ACK), TAKEN);
    EXPECT(tcp4(our_ip, 22, SYN), PASSED);
    EXPECT(tcp4(linux_ip, OUR_PORT, SYN), PASSED);
    EXPECT(tcp4(0xffffffff, OUR_PORT, SYN), PASSED);
    struct frame udp = ethernet(0x0800);
    add_ip4(&udp, our_ip, 17, 0, 8);
    put16(&udp, 1000);
    put16(&udp, OUR_PORT);
    zeros(&udp, 4);
    EXPECT(udp, PASSED);
    EXPECT(icmp4(our_ip, 8), TAKEN);
    EXPECT(icmp4(our_ip, 0), TAKEN);
    EXPECT(icmp4(linux_ip, 8), PASSED);
    struct frame lldp = ethernet(0x88cc);
    zeros(&lldp, 40);
    EXPECT(lldp, PASSED);
}

static void test_padding_and_payload(void **state)
{
    struct port_steer p = own();
    load(&p);
    struct frame f = tcp4(our_ip, OUR_PORT, ACK);
    zeros(&f, 6); /* a short frame is padded to 60 bytes: the IP length rules */
    EXPECT(f, TAKEN);
    f = ethernet(0x0800);
    add_ip4(&f, our_ip, 6, 0, 20 + 200);
    add_tcp(&f, OUR_PORT, ACK);
    zeros(&f, 200);
    EXPECT(f, TAKEN);
    f.n--;
    EXPECT(f, MALFORMED);
}

static void test_arp(void **state)
{
    struct port_steer p = own();
    load(&p);
    EXPECT(arp(1, their_ip, our_ip), TAKEN);
    EXPECT(arp(1, 0, our_ip), TAKEN); /* a probe, RFC 5227 */
    EXPECT(arp(2, their_ip, our_ip), TAKEN);
    EXPECT(arp(1, our_ip, our_ip), TAKEN); /* somebody announces our address */
    EXPECT(arp(1, their_ip, linux_ip), PASSED);
    EXPECT(arp(2, their_ip, linux_ip), PASSED);
    EXPECT(arp(1, their_ip, their_ip), PASSED);
    for (size_t i = 0; i < 6; i++) { /* hardware type, protocol type, lengths */
        struct frame f = arp(1, their_ip, our_ip);
        f.b[f.l3 + i] ^= 0x40;
        EXPECT(f, PASSED);
    }
    cut_everywhere(arp(1, their_ip, our_ip));
}

static void test_ip4_options(void **state)
{
    struct port_steer p = own();
    load(&p);
    for (size_t options = 0; options <= 40; options += 4) {
        struct frame f = ethernet(0x0800);
        add_ip4(&f, our_ip, 6, options, 20);
        add_tcp(&f, OUR_PORT, SYN);
        cut_everywhere(f);
    }
}

static void test_ip4_lengths_that_lie(void **state)
{
    struct port_steer p = own();
    load(&p);
    for (unsigned version = 0; version < 16; version++)
        for (unsigned ihl = 0; ihl < 16; ihl++) {
            struct frame f = tcp4(our_ip, OUR_PORT, SYN);
            f.b[f.l3] = (uint8_t)(version << 4 | ihl);
            EXPECT(f, version == 4 && ihl == 5 ? TAKEN : MALFORMED);
        }
    for (unsigned total = 0; total < 80; total++) {
        struct frame f = tcp4(our_ip, OUR_PORT, SYN);
        f.b[f.l3 + 2] = 0;
        f.b[f.l3 + 3] = (uint8_t)total;
        EXPECT(f, total == 40 ? TAKEN : MALFORMED);
    }
    struct frame f = icmp4(our_ip, 8);
    f.b[f.l3 + 3] = 27; /* an ICMP header has eight bytes */
    EXPECT(f, MALFORMED);
}

static void test_ip4_fragments(void **state)
{
    struct port_steer p = own();
    load(&p);
    struct frame f = tcp4(our_ip, OUR_PORT, ACK);
    f.b[f.l3 + 6] = 0x20; /* the first one shows its port: the stack counts it */
    EXPECT(f, TAKEN);
    f.b[f.l3 + 7] = 1;
    EXPECT(f, FRAGMENTS);
    f.b[f.l3 + 6] = 0x1f;
    f.b[f.l3 + 7] = 0xff;
    EXPECT(f, FRAGMENTS);
    f = tcp4(linux_ip, OUR_PORT, ACK);
    f.b[f.l3 + 7] = 1;
    EXPECT(f, PASSED);
}

static void test_cut_frames(void **state)
{
    struct port_steer p = own();
    load(&p);
    cut_everywhere(tcp4(our_ip, OUR_PORT, SYN));
    cut_everywhere(icmp4(our_ip, 8));
    cut_everywhere(tcp6(our_ip6, OUR_PORT, SYN));
    cut_everywhere(icmp6(our_ip6, 128, NULL));
    cut_everywhere(icmp6(our_group6, 135, our_ip6));
    struct frame f = tagged(0, 0x0800);
    add_ip4(&f, our_ip, 6, 0, 20);
    add_tcp(&f, OUR_PORT, SYN);
    cut_everywhere(f);
}

static void test_vlan(void **state)
{
    static const struct {
        int tci; /* -1: untagged */
        uint16_t vlan;
        bool ours;
    } cases[] = {{-1, 0, true},  {0, 0, true},       {0xe000, 0, true}, {5, 0, false},
                 {-1, 5, false}, {5, 5, true},       {0x6005, 5, true}, {6, 5, false},
                 {0, 5, false},  {0x0105, 5, false}, {4094, 4094, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct port_steer p = own();
        p.vlan = cases[i].vlan;
        load(&p);
        struct frame f =
            cases[i].tci < 0 ? ethernet(0x0800) : tagged((uint16_t)cases[i].tci, 0x0800);
        add_ip4(&f, our_ip, 6, 0, 20);
        add_tcp(&f, OUR_PORT, SYN);
        EXPECT(f, cases[i].ours ? TAKEN : PASSED);
        f = cases[i].tci < 0 ? ethernet(0x86dd) : tagged((uint16_t)cases[i].tci, 0x86dd);
        add_ip6(&f, our_ip6, 6, 20);
        add_tcp(&f, OUR_PORT, SYN);
        EXPECT(f, cases[i].ours ? TAKEN : PASSED);
        teardown(state);
    }
    struct port_steer p = own();
    load(&p);
    struct frame f = tagged(0, 0x8100); /* two tags */
    put16(&f, 0);
    put16(&f, 0x0800);
    add_ip4(&f, our_ip, 6, 0, 20);
    add_tcp(&f, OUR_PORT, SYN);
    EXPECT(f, PASSED);
    f.b[12] = 0x88; /* 802.1ad */
    f.b[13] = 0xa8;
    EXPECT(f, PASSED);
}

static void test_every_port_without_a_listener(void **state)
{
    struct port_steer p = own();
    p.tcp_port = 0;
    load(&p);
    EXPECT(tcp4(our_ip, 1, ACK), TAKEN);
    EXPECT(tcp4(our_ip, 65535, ACK), TAKEN);
    EXPECT(tcp6(our_ip6, 65535, ACK), TAKEN);
    EXPECT(tcp4(linux_ip, 1, ACK), PASSED);
}

/* ---- IPv6 ---- */

static void test_ip6(void **state)
{
    struct port_steer p = own();
    load(&p);
    EXPECT(tcp6(our_ip6, OUR_PORT, SYN), TAKEN);
    EXPECT(tcp6(our_ip6, 22, SYN), PASSED);
    EXPECT(tcp6(linux_ip6, OUR_PORT, SYN), PASSED);
    EXPECT(icmp6(our_ip6, 128, NULL), TAKEN);
    EXPECT(icmp6(our_ip6, 2, NULL), TAKEN);
    EXPECT(icmp6(linux_ip6, 128, NULL), PASSED);
    struct frame f = ethernet(0x86dd);
    add_ip6(&f, our_ip6, 17, 8);
    zeros(&f, 8);
    EXPECT(f, PASSED);
    for (unsigned version = 0; version < 16; version++) {
        f = tcp6(our_ip6, OUR_PORT, SYN);
        f.b[f.l3] = (uint8_t)(version << 4);
        EXPECT(f, version == 6 ? TAKEN : MALFORMED);
    }
    for (unsigned payload = 0; payload < 64; payload++) {
        f = tcp6(our_ip6, OUR_PORT, SYN);
        f.b[f.l3 + 5] = (uint8_t)payload;
        EXPECT(f, payload == 20 ? TAKEN : MALFORMED);
    }
}

static void test_ip6_of_several_addresses(void **state)
{
    struct port_steer p = own();
    p.ip6_count = PORT_ADDRESSES6;
    for (uint8_t i = 0; i < PORT_ADDRESSES6; i++) {
        memcpy(p.ip6[i], our_ip6, 16);
        p.ip6[i][7] = i;
    }
    load(&p);
    for (uint8_t i = 0; i < PORT_ADDRESSES6 + 1; i++) {
        uint8_t a[16];
        memcpy(a, our_ip6, 16);
        a[7] = i;
        EXPECT(tcp6(a, OUR_PORT, SYN), i < PORT_ADDRESSES6 ? TAKEN : PASSED);
    }
    for (unsigned bit = 0; bit < 128; bit++) { /* every bit of an address counts */
        uint8_t a[16];
        memcpy(a, our_ip6, 16);
        a[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (a[7] < PORT_ADDRESSES6 && bit / 8 == 7)
            continue; /* another one of ours */
        EXPECT(tcp6(a, OUR_PORT, SYN), PASSED);
    }
}

static void test_no_ip6_configured(void **state)
{
    struct port_steer p = own();
    p.ip6_count = 0;
    load(&p);
    EXPECT(tcp6(our_ip6, OUR_PORT, SYN), PASSED);
    EXPECT(icmp6(our_group6, 135, our_ip6), PASSED);
    uint8_t zero[16] = {0};
    EXPECT(tcp6(zero, OUR_PORT, SYN), PASSED);
    teardown(state);
    p = own();
    p.ip = 0; /* and no IPv4 */
    load(&p);
    EXPECT(tcp4(0, OUR_PORT, SYN), PASSED);
    EXPECT(arp(1, their_ip, 0), PASSED);
    EXPECT(tcp6(our_ip6, OUR_PORT, SYN), TAKEN);
}

static void test_ndp(void **state)
{
    struct port_steer p = own();
    load(&p);
    EXPECT(icmp6(our_group6, 135, our_ip6), TAKEN);
    EXPECT(icmp6(our_group6, 135, linux_ip6), PASSED);
    EXPECT(icmp6(our_ip6, 135, our_ip6), TAKEN);
    EXPECT(icmp6(our_ip6, 136, their_ip6), TAKEN); /* the answer to a question of ours */
    EXPECT(icmp6(linux_ip6, 136, their_ip6), PASSED);
    EXPECT(icmp6(all_nodes6, 136, our_ip6), TAKEN); /* somebody has our address */
    EXPECT(icmp6(all_nodes6, 136, their_ip6), PASSED);
    EXPECT(icmp6(all_nodes6, 134, NULL), PASSED);
    EXPECT(icmp6(our_ip6, 134, NULL), TAKEN);
    EXPECT(icmp6(all_nodes6, 128, NULL), PASSED);
    EXPECT(tcp6(all_nodes6, OUR_PORT, SYN), PASSED);
    teardown(state);
    t.linux_ip6 = false; /* then routers speak to us, and the link-local address is ours */
    load(&p);
    EXPECT(icmp6(all_nodes6, 134, NULL), TAKEN);
    EXPECT(icmp6(all_nodes6, 133, NULL), PASSED);
    EXPECT(query6(130), TAKEN);
    EXPECT(query6(143), PASSED);
    struct frame q = query6(130);
    for (size_t n = 14; n < q.l4 + 8; n++)
        assert_int_equal(outcome(q.b, n), MALFORMED);
    q.b[q.l3 + 40 + 1] = 1; /* a longer header */
    EXPECT(q, PASSED);
    EXPECT(icmp6(our_link6, 136, their_ip6), TAKEN);
    EXPECT(icmp6(our_group6, 135, our_link6), TAKEN);
    EXPECT(tcp6(our_link6, OUR_PORT, SYN), TAKEN);
    teardown(state);
    load(&p);
    EXPECT(query6(130), PASSED);
    EXPECT(icmp6(our_link6, 136, their_ip6), PASSED);
    EXPECT(tcp6(our_link6, OUR_PORT, SYN), PASSED);
    teardown(state);
    t.linux_ip6 = false;
    p.kernel = true;
    load(&p);
    EXPECT(icmp6(all_nodes6, 134, NULL), PASSED);
    EXPECT(tcp6(our_link6, OUR_PORT, SYN), PASSED);
    teardown(state);
    t.linux_ip6 = false; /* and no IPv6 here either */
    p = own();
    p.ip6_count = 0;
    load(&p);
    EXPECT(icmp6(all_nodes6, 134, NULL), PASSED);
    EXPECT(icmp6(our_link6, 136, their_ip6), PASSED);
}

static void test_extension_headers(void **state)
{
    static const uint8_t kinds[] = {0, 43, 60, 51};
    struct port_steer p = own();
    load(&p);
    for (size_t k = 0; k < sizeof(kinds); k++) {
        for (unsigned n = 0; n <= STEER_EXTENSIONS; n++)
            EXPECT(extended(n, kinds[k], 16), TAKEN);
        EXPECT(extended(STEER_EXTENSIONS + 1, kinds[k], 16), EXTENSIONS);
        cut_everywhere(extended(3, kinds[k], 24));
    }
    EXPECT(extended(1, 60, STEER_EXTENSION_ROOM - 40), TAKEN);
    EXPECT(extended(1, 60, STEER_EXTENSION_ROOM + 8), EXTENSIONS);
    EXPECT(extended(2, 60, STEER_EXTENSION_ROOM), EXTENSIONS);
    EXPECT(extended(1, 44, 8), TAKEN); /* an atomic fragment */
    struct frame f = extended(1, 44, 8);
    f.b[f.l3 + 40 + 3] = 1; /* the first of several: it shows its port */
    EXPECT(f, TAKEN);
    f.b[f.l3 + 40 + 3] = 9;
    EXPECT(f, FRAGMENTS);
    f = extended(1, 60, 16);
    f.b[f.l3 + 40 + 1] = 255; /* longer than the frame, and than is walked */
    EXPECT(f, EXTENSIONS);
    f.b[f.l3 + 40 + 1] = 20;
    EXPECT(f, MALFORMED);
    f = extended(1, 60, 16);
    f.b[f.l3 + 40] = 59; /* no next header */
    EXPECT(f, PASSED);
}

/* ---- Linux's address ---- */

static void test_shared_address(void **state)
{
    struct port_steer p = own();
    p.kernel = true;
    load(&p);
    EXPECT(tcp4(our_ip, OUR_PORT, SYN), TAKEN);
    EXPECT(tcp4(our_ip, 22, SYN), PASSED);
    EXPECT(tcp6(our_ip6, OUR_PORT, SYN), TAKEN);
    EXPECT(tcp6(our_ip6, 22, SYN), PASSED);
    EXPECT(arp(1, their_ip, our_ip), PASSED);
    EXPECT(arp(2, their_ip, our_ip), PASSED);
    EXPECT(icmp4(our_ip, 8), PASSED);
    EXPECT(icmp6(our_ip6, 128, NULL), PASSED);
    EXPECT(icmp6(our_group6, 135, our_ip6), PASSED);
    EXPECT(icmp6(our_ip6, 135, our_ip6), PASSED);
    EXPECT(icmp6(our_ip6, 136, their_ip6), PASSED);
}

/* Path MTU discovery lives on them. */
static void test_shared_address_errors_about_our_segments(void **state)
{
    struct port_steer p = own();
    p.kernel = true;
    load(&p);
    EXPECT(error4(our_ip, OUR_PORT, 3, 0), TAKEN);
    EXPECT(error4(our_ip, OUR_PORT, 3, 40), TAKEN);
    EXPECT(error4(our_ip, OUR_PORT, 11, 0), TAKEN);
    EXPECT(error4(our_ip, OUR_PORT, 12, 0), TAKEN);
    for (uint8_t type = 0; type < 20; type++)
        EXPECT(error4(our_ip, OUR_PORT, type, 0),
               type == 3 || type == 11 || type == 12 ? TAKEN : PASSED);
    EXPECT(error4(our_ip, 22, 3, 0), PASSED);
    EXPECT(error4(linux_ip, OUR_PORT, 3, 0), PASSED);
    struct frame f = error4(our_ip, OUR_PORT, 3, 0);
    f.b[f.l3 + 9] = 17; /* quotes UDP */
    EXPECT(f, PASSED);
    f = error4(our_ip, OUR_PORT, 3, 0);
    f.b[f.l3] = 0x44;
    EXPECT(f, PASSED);
    f = error4(our_ip, OUR_PORT, 3, 0);
    for (size_t n = 14; n < f.n; n++)
        assert_int_equal(outcome(f.b, n), MALFORMED);
    f.b[14 + 3] = 20 + 8 + 20; /* shorter than a quotation with a port, and honest */
    assert_int_equal(outcome(f.b, 14 + 48), PASSED);
    for (uint8_t type = 0; type < 8; type++)
        EXPECT(error6(our_ip6, OUR_PORT, type), type >= 1 && type <= 4 ? TAKEN : PASSED);
    EXPECT(error6(our_ip6, 22, 2), PASSED);
    EXPECT(error6(linux_ip6, OUR_PORT, 2), PASSED);
}

/* ---- what is refused ---- */

static struct port_prefix prefix4(uint32_t ip, uint8_t bits)
{
    struct port_prefix p = {.addr = {[10] = 0xff, [11] = 0xff}, .bits = (uint8_t)(96 + bits)};

    ip = htonl(ip);
    memcpy(p.addr + 12, &ip, 4);
    return p;
}

static struct port_prefix prefix6(const uint8_t ip[16], uint8_t bits)
{
    struct port_prefix p = {.bits = bits};

    memcpy(p.addr, ip, 16);
    return p;
}

static void filter(const struct port_filter *f)
{
    assert_int_equal(steer_filter(t.steer, f), 0);
}

static void test_net_allow(void **state)
{
    struct port_steer p = own();
    struct port_filter f = {.allow_count = 2};
    load(&p);
    EXPECT(from4(tcp4(our_ip, OUR_PORT, SYN), 0xc0000201), TAKEN);
    f.allow[0] = prefix4(0x0a000000, 8);
    f.allow[1] = prefix6(their_ip6, 64);
    filter(&f);
    EXPECT(tcp4(our_ip, OUR_PORT, SYN), TAKEN);
    EXPECT(tcp6(our_ip6, OUR_PORT, SYN), TAKEN);
    EXPECT(from4(tcp4(our_ip, OUR_PORT, SYN), 0x0b000001), DROP_ALLOW);
    EXPECT(from4(tcp4(our_ip, OUR_PORT, ACK), 0x0b000001), DROP_ALLOW);
    EXPECT(from4(icmp4(our_ip, 8), 0x0b000001), DROP_ALLOW);
    uint8_t far[16] = {0x20, 1, 0x0d, 0xb9};
    EXPECT(from6(tcp6(our_ip6, OUR_PORT, SYN), far), DROP_ALLOW);
    EXPECT(from6(icmp6(our_ip6, 128, NULL), far), DROP_ALLOW);
    /* Routers on the way to a client tell of errors; net-allow speaks of clients. */
    struct frame e = error4(our_ip, OUR_PORT, 3, 0);
    e.l3 = 14; /* the outer header's source */
    EXPECT(from4(e, 0x0b000001), TAKEN);
    e = error6(our_ip6, OUR_PORT, 2);
    e.l3 = 14;
    EXPECT(from6(e, far), TAKEN);
    EXPECT(from6(icmp6(our_ip6, 135, our_ip6), far), TAKEN);
    /* What is not for us is none of our business. */
    EXPECT(from4(tcp4(our_ip, 22, SYN), 0x0b000001), PASSED);
    EXPECT(from4(tcp4(linux_ip, OUR_PORT, SYN), 0x0b000001), PASSED);
    EXPECT(arp(1, 0x0b000001, our_ip), TAKEN);
    EXPECT(from6(icmp6(our_group6, 135, our_ip6), far), TAKEN);
    /* Another list, then none. */
    f.allow_count = 1;
    f.allow[0] = prefix4(0x0b000001, 32);
    filter(&f);
    EXPECT(tcp4(our_ip, OUR_PORT, SYN), DROP_ALLOW);
    EXPECT(tcp6(our_ip6, OUR_PORT, SYN), DROP_ALLOW);
    EXPECT(from4(tcp4(our_ip, OUR_PORT, SYN), 0x0b000001), TAKEN);
    EXPECT(from4(tcp4(our_ip, OUR_PORT, SYN), 0x0b000002), DROP_ALLOW);
    f.allow[0] = prefix4(0, 0);
    filter(&f);
    EXPECT(from4(tcp4(our_ip, OUR_PORT, SYN), 0x0b000002), TAKEN);
    EXPECT(tcp6(our_ip6, OUR_PORT, SYN), DROP_ALLOW);
    f.allow_count = 0;
    filter(&f);
    EXPECT(tcp6(our_ip6, OUR_PORT, SYN), TAKEN);
    EXPECT(tcp4(our_ip, OUR_PORT, SYN), TAKEN);
}

static void test_net_allow_full_lists_follow_each_other(void **state)
{
    struct port_steer p = own();
    struct port_filter f = {.allow_count = LIMIT_NET_ALLOW};
    load(&p);
    for (uint32_t round = 1; round <= 3; round++) {
        for (uint32_t i = 0; i < LIMIT_NET_ALLOW; i++)
            f.allow[i] = prefix4(round << 24 | i << 8, 24);
        filter(&f);
        for (uint32_t i = 0; i < LIMIT_NET_ALLOW; i++) {
            EXPECT(from4(tcp4(our_ip, OUR_PORT, SYN), round << 24 | i << 8 | 7), TAKEN);
            EXPECT(from4(tcp4(our_ip, OUR_PORT, SYN), (round - 1) << 24 | i << 8 | 7), DROP_ALLOW);
        }
    }
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* How many of n SYNs get through, and that no more do than the time since `start` allows. */
static unsigned flood(struct frame f, unsigned n, unsigned per_s, uint64_t start)
{
    unsigned taken = 0;

    for (unsigned i = 0; i < n; i++) {
        int what = outcome(f.b, f.n);
        assert_true(what == TAKEN || what == DROP_SYN);
        taken += what == TAKEN;
    }
    assert_true(taken <= per_s + (now_ns() - start) * per_s / 1000000000ull + 1);
    return taken;
}

static void test_syn_limit(void **state)
{
    struct port_steer p = own();
    struct port_filter f = {.syn_per_s = 4};
    struct frame syn = tcp4(our_ip, OUR_PORT, SYN), syn6 = tcp6(our_ip6, OUR_PORT, SYN);
    load(&p);
    filter(&f);
    uint64_t start = now_ns();
    assert_true(flood(syn, 50, 4, start) >= 4);
    EXPECT(tcp4(our_ip, OUR_PORT, ACK), TAKEN);
    EXPECT(tcp4(our_ip, OUR_PORT, SYN | ACK), TAKEN);
    EXPECT(tcp4(our_ip, 22, SYN), PASSED);
    EXPECT(icmp4(our_ip, 8), TAKEN);
    EXPECT(from4(syn, 0x0a000009), TAKEN); /* another source has its own tokens */
    /* A token comes back with time, not all of them. */
    start = now_ns();
    while (outcome(syn.b, syn.n) != TAKEN)
        assert_true(now_ns() - start < 5000000000ull);
    /* The addresses of one /64 are one source. */
    uint8_t a[16];
    memcpy(a, their_ip6, 16);
    start = now_ns();
    assert_true(flood(syn6, 50, 4, start) >= 4);
    unsigned taken = 0;
    for (uint8_t i = 0; i < 50; i++) {
        a[15] = i;
        struct frame one = from6(syn6, a);
        taken += outcome(one.b, one.n) == TAKEN;
    }
    assert_true(taken <= (now_ns() - start) / 250000000ull + 1);
    a[7]++;
    EXPECT(from6(syn6, a), TAKEN);
    /* Off at once. */
    f.syn_per_s = 0;
    filter(&f);
    for (int i = 0; i < 20; i++)
        EXPECT(syn, TAKEN);
}

/* Billions a second are no limit, and no division by what is not there. */
static void test_syn_limit_extremes(void **state)
{
    static const uint32_t limits[] = {1, 999999999, 1000000000, 1000000001, UINT32_MAX};
    struct port_steer p = own();
    load(&p);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct port_filter f = {.syn_per_s = limits[i]};
        filter(&f);
        struct frame syn = from4(tcp4(our_ip, OUR_PORT, SYN), 0x0a000100 + (uint32_t)i);
        EXPECT(syn, TAKEN);
        if (limits[i] > 1)
            EXPECT(syn, TAKEN);
    }
}

/* ---- the socket ---- */

static void test_no_socket_no_redirect(void **state)
{
    struct port_steer p = own();
    load(&p);
    EXPECT(tcp4(our_ip, OUR_PORT, SYN), TAKEN);
    close(t.socket); /* as the end of a process does: the entry goes with it */
    t.socket = -1;
    struct frame f = tcp4(our_ip, OUR_PORT, SYN);
    uint64_t start = now_ns();
    while (outcome(f.b, f.n) != NO_SOCKET) /* the kernel frees it a moment later */
        assert_true(now_ns() - start < 5000000000ull);
    EXPECT(arp(1, their_ip, our_ip), NO_SOCKET);
    EXPECT(tcp4(our_ip, 22, SYN), PASSED);
}

/* Whatever comes: one counter, the right verdict (outcome asserts both), and nothing taken that is not whole. */
static void test_random_damage(void **state)
{
    struct port_steer p = own();
    struct frame seeds[] = {tcp4(our_ip, OUR_PORT, SYN),       icmp4(our_ip, 8),
                            arp(1, their_ip, our_ip),          tcp6(our_ip6, OUR_PORT, SYN),
                            icmp6(our_group6, 135, our_ip6),   extended(3, 60, 16),
                            error4(our_ip, OUR_PORT, 3, 8),    error6(our_ip6, OUR_PORT, 2),
                            extended(STEER_EXTENSIONS, 51, 16)};
    uint64_t x = 88172645463325252ull;
    unsigned seen[COUNTS] = {0};
    load(&p);
    for (unsigned i = 0; i < 20000; i++) {
        struct frame f = seeds[i % (sizeof(seeds) / sizeof(seeds[0]))];
        for (unsigned k = 0; k <= (x >> 60 & 3); k++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            f.b[12 + (x >> 8) % (f.n - 12)] = (uint8_t)x;
        }
        if (x >> 56 & 1)
            f.n = 14 + (x >> 20) % (f.n - 13);
        seen[outcome(f.b, f.n)]++;
    }
    assert_true(seen[TAKEN] && seen[PASSED] && seen[MALFORMED]);
}

#define CASE(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_tcp_to_our_port_is_taken),
        CASE(test_padding_and_payload),
        CASE(test_arp),
        CASE(test_ip4_options),
        CASE(test_ip4_lengths_that_lie),
        CASE(test_ip4_fragments),
        CASE(test_cut_frames),
        CASE(test_vlan),
        CASE(test_every_port_without_a_listener),
        CASE(test_ip6),
        CASE(test_ip6_of_several_addresses),
        CASE(test_no_ip6_configured),
        CASE(test_ndp),
        CASE(test_extension_headers),
        CASE(test_shared_address),
        CASE(test_shared_address_errors_about_our_segments),
        CASE(test_net_allow),
        CASE(test_net_allow_full_lists_follow_each_other),
        CASE(test_syn_limit),
        CASE(test_syn_limit_extremes),
        CASE(test_no_socket_no_redirect),
        CASE(test_random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
