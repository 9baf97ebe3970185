/* neighbours against the kernel's own table, in a network namespace of this process: a veth whose other end answers ARP. The workers are this
 * test's ends of the link's rings. Skipped where namespaces are not permitted. */
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/bridge.h"
#include "control/neighbours.h"
#include "tests/unit/unit.h"

#define WORKERS 2

static struct rig {
    char instance[40];
    struct link *control, *dataplane;
    uv_loop_t loop;
    struct bridge bridge;
    struct neighbours *n;
    struct msg_neigh last[WORKERS]; /* about the address that was waited for */
    unsigned told[WORKERS];         /* messages of any kind */
    uint8_t about[16];
    bool seen[WORKERS];
} r;

static bool permitted;

/* ---- the host ---- */

static void sh(const char *command)
{
    if (system(command) != 0)
        fail_msg("%s", command);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int host_up(void **state)
{
    permitted = unshare(CLONE_NEWNET) == 0;
    if (!permitted)
        return 0;
    sh("ip link add bwn0 type veth peer name bwn1 && ip link add bwn2 type veth peer name bwn3");
    write_file("/proc/sys/net/ipv4/conf/bwn1/accept_local", "1");
    write_file("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
    write_file("/proc/sys/net/ipv4/neigh/bwn0/mcast_solicit", "1");
    write_file("/proc/sys/net/ipv4/neigh/bwn0/retrans_time_ms", "20");
    sh("ip addr add 10.1.0.1/24 dev bwn0 && ip addr add 10.1.0.9/32 dev bwn1");
    sh("ip link set bwn0 up && ip link set bwn1 address 02:00:00:00:01:09 up && ip link set bwn2 "
       "up");
    return 0;
}

/* ---- the link and its two ends ---- */

static void on_message(void *ctx, uint32_t worker, uint32_t type, struct span payload)
{
    assert_int_equal(type, MSG_NEIGH_ASK);
    neighbours_message(r.n, worker, payload);
}

static void on_room(void *ctx, uint32_t worker)
{
    neighbours_room(r.n, worker);
}

static void on_damaged(void *ctx, uint32_t worker)
{
    fail_msg("ring of worker %u", worker);
}

static void on_renewed(void *ctx)
{
}

static int rig_up(void **state)
{
    static const struct bridge_ops ops = {on_message, on_room, on_damaged, on_renewed};
    char err[256] = "";
    bool fresh;
    if (!permitted)
        return 0;
    memset(&r, 0, sizeof(r));
    snprintf(r.instance, sizeof(r.instance), "test-neigh-%d", (int)getpid());
    assert_int_equal(link_open_control(&r.control, r.instance, WORKERS, &fresh, err, sizeof(err)),
                     0);
    assert_int_equal(link_open_dataplane(&r.dataplane, r.instance, err, sizeof(err)), 0);
    link_dp_begin(r.dataplane, getpid());
    link_refresh(r.control);
    assert_int_equal(uv_loop_init(&r.loop), 0);
    assert_int_equal(bridge_open(&r.bridge, &r.loop, r.control, &ops, NULL), 0);
    r.n = neighbours_new(&r.loop, &r.bridge, "af_xdp:bwn0", err, sizeof(err));
    if (!r.n)
        fail_msg("%s", err);
    return 0;
}

static int rig_down(void **state)
{
    if (!permitted)
        return 0;
    neighbours_close(r.n);
    bridge_close(&r.bridge);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    neighbours_free(r.n);
    assert_int_equal(uv_loop_close(&r.loop), 0);
    link_close(r.dataplane);
    link_close(r.control);
    link_unlink(r.instance);
    sh("ip neigh flush all nud permanent; ip neigh flush all");
    return 0;
}

static void take(uint32_t w)
{
    struct ring *ring = link_to_worker(r.dataplane, w);
    struct ring_record rec;
    while (ring_peek(ring, &rec) == RING_RECORD) {
        struct msg_neigh m;
        if (rec.type == MSG_NEIGH) {
            assert_int_equal(rec.payload.n, sizeof(m));
            memcpy(&m, rec.payload.p, sizeof(m));
            r.told[w]++;
            if (memcmp(m.addr, r.about, 16) == 0) {
                r.last[w] = m;
                r.seen[w] = true;
            }
        }
        ring_release(ring);
    }
}

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void turn(void)
{
    uv_run(&r.loop, UV_RUN_NOWAIT);
    usleep(500);
}

static void about(const char *address)
{
    struct in_addr v4;
    memset(r.about, 0, sizeof(r.about));
    memset(r.seen, 0, sizeof(r.seen));
    if (inet_pton(AF_INET, address, &v4) == 1) {
        r.about[10] = r.about[11] = 0xff;
        memcpy(r.about + 12, &v4, 4);
    } else {
        assert_int_equal(inet_pton(AF_INET6, address, r.about), 1);
    }
}

/* Until every worker has heard of the address, and that it has this MAC ("": that it does not answer). */
static void expect(const char *address, const char *mac)
{
    uint64_t end = now_ms() + 10000;
    bool all = false;
    about(address);
    while (!all) {
        if (now_ms() > end)
            fail_msg("%s: not told '%s'", address, mac);
        turn();
        all = true;
        for (uint32_t w = 0; w < WORKERS; w++) {
            char text[20] = "";
            take(w);
            const uint8_t *m = r.last[w].mac;
            if (r.last[w].known)
                snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2],
                         m[3], m[4], m[5]);
            all = all && r.seen[w] && strcmp(text, mac) == 0;
        }
    }
}

static void ask(uint32_t worker, const char *address)
{
    struct msg_neigh m = {.known = 0};
    about(address);
    memcpy(m.addr, r.about, 16);
    assert_true(ring_send(link_from_worker(r.dataplane, worker), MSG_NEIGH_ASK, &m, sizeof(m)));
    link_bell_ring(r.dataplane);
}

#define NEEDS_NAMESPACE() \
    do {                  \
        if (!permitted)   \
            skip();       \
    } while (0)

/* ---- what is told ---- */

static void test_the_table_when_a_dataplane_comes_up(void **state)
{
    NEEDS_NAMESPACE();
    sh("ip neigh add 10.1.0.7 lladdr 02:00:00:00:01:07 dev bwn0 nud permanent");
    sh("ip neigh add 10.1.0.8 lladdr 02:00:00:00:01:08 dev bwn0 nud stale");
    sh("ip neigh add 10.1.0.6 lladdr 02:00:00:00:01:06 dev bwn2 nud permanent");
    sh("ip -6 neigh add fd00::7 lladdr 02:00:00:00:06:07 dev bwn0 nud permanent");
    neighbours_up(r.n);
    expect("10.1.0.7", "02:00:00:00:01:07");
    neighbours_up(r.n);
    expect("10.1.0.8", "02:00:00:00:01:08");
    neighbours_up(r.n);
    expect("fd00::7", "02:00:00:00:06:07");
    about("10.1.0.6"); /* another interface's */
    neighbours_up(r.n);
    for (int i = 0; i < 20; i++) {
        turn();
        take(0);
    }
    assert_false(r.seen[0]);
}

static void test_changes_are_told(void **state)
{
    NEEDS_NAMESPACE();
    sh("ip neigh add 10.1.0.7 lladdr 02:00:00:00:01:07 dev bwn0 nud reachable");
    expect("10.1.0.7", "02:00:00:00:01:07");
    sh("ip neigh replace 10.1.0.7 lladdr 02:00:00:00:01:17 dev bwn0 nud reachable");
    expect("10.1.0.7", "02:00:00:00:01:17");
    sh("ip neigh replace 10.1.0.7 dev bwn0 nud failed");
    expect("10.1.0.7", "");
}

static void test_a_known_neighbour_is_told_at_once(void **state)
{
    NEEDS_NAMESPACE();
    sh("ip neigh add 10.1.0.7 lladdr 02:00:00:00:01:07 dev bwn0 nud permanent");
    expect("10.1.0.7", "02:00:00:00:01:07");
    for (uint32_t w = 0; w < WORKERS; w++) {
        ask(w, "10.1.0.7");
        expect("10.1.0.7", "02:00:00:00:01:07");
    }
}

/* NTF_USE made such an entry an ordinary one. */
static void test_a_permanent_entry_stays_permanent(void **state)
{
    NEEDS_NAMESPACE();
    sh("ip neigh add 10.1.0.7 lladdr 02:00:00:00:01:07 dev bwn0 nud permanent");
    ask(0, "10.1.0.7");
    expect("10.1.0.7", "02:00:00:00:01:07");
    sh("ip neigh show 10.1.0.7 dev bwn0 nud permanent | grep -q 02:00:00:00:01:07");
}

static void test_an_unknown_neighbour_is_resolved(void **state)
{
    NEEDS_NAMESPACE();
    ask(0, "10.1.0.9");
    expect("10.1.0.9", "02:00:00:00:01:09");
    assert_int_equal(link_control_stats(r.control)->neighbours_asked, 1);
    assert_true(link_control_stats(r.control)->neighbours_told >= 1);
}

static void test_one_that_does_not_answer_is_told_lost(void **state)
{
    NEEDS_NAMESPACE();
    ask(1, "10.1.0.77");
    expect("10.1.0.77", "");
    ask(1, "10.1.0.77"); /* again, from the failed state */
    expect("10.1.0.77", "");
}

/* A message for which a ring had no room is not lost: the table is read again. */
static void test_full_ring(void **state)
{
    static uint8_t filler[60000];
    NEEDS_NAMESPACE();
    while (bridge_send(&r.bridge, 0, MSG_DOOR_DATA, filler, sizeof(filler), NULL, 0)) {
    }
    while (bridge_send(&r.bridge, 0, MSG_DOOR_DATA, filler, 8, NULL, 0)) {
    }
    sh("ip neigh add 10.1.0.7 lladdr 02:00:00:00:01:07 dev bwn0 nud permanent");
    about("10.1.0.7");
    uint64_t end = now_ms() + 10000;
    while (!r.seen[1]) { /* the other worker has room */
        assert_true(now_ms() < end);
        turn();
        take(1);
    }
    memset(r.seen, 0, sizeof(r.seen));
    expect("10.1.0.7", "02:00:00:00:01:07");
}

/* Nobody's address, and one that no neighbour can have: counted, and the next question works. */
static void test_odd_questions(void **state)
{
    static const char *const odd[] = {"0.0.0.0", "255.255.255.255", "224.0.0.1", "10.1.0.1",
                                      "::",      "ff02::1",         "8.8.8.8"};
    NEEDS_NAMESPACE();
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        ask(0, odd[i]);
    ask(0, "10.1.0.9");
    expect("10.1.0.9", "02:00:00:00:01:09");
}

static void test_ports_without_an_interface(void **state)
{
    static const char *const bad[] = {"", "af_xdp", "af_xdp:interface-name-too-long"};
    char err[256];
    NEEDS_NAMESPACE();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err[0] = 0;
        assert_null(neighbours_new(&r.loop, &r.bridge, bad[i], err, sizeof(err)));
        assert_true(err[0]);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, rig_up, rig_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_the_table_when_a_dataplane_comes_up),
        CASE(test_changes_are_told),
        CASE(test_a_known_neighbour_is_told_at_once),
        CASE(test_a_permanent_entry_stays_permanent),
        CASE(test_an_unknown_neighbour_is_resolved),
        CASE(test_one_that_does_not_answer_is_told_lost),
        CASE(test_full_ring),
        CASE(test_odd_questions),
        CASE(test_ports_without_an_interface),
    };
    return cmocka_run_group_tests(tests, host_up, NULL);
}
