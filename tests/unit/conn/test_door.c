/* The worker's side of the link: door clients and requests for control, against a control process played by the test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/link/msg.h"
#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

struct rig {
    char instance[32];
    struct link *control, *dataplane;
    struct engine_config config;
    struct worker *w[1];
    struct net *net;
    uint64_t now_ns;
    /* what came from the worker */
    char out[1 << 20];
    size_t out_len;
    uint64_t acked;
    bool closed;
    uint64_t request; /* of the last MSG_ADMIN_REQUEST */
    char asked[256];
    uint64_t door;   /* the one in use */
    unsigned neighs; /* MSG_NEIGH_ASK */
    struct ip_addr neigh;
};

static int rig_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    char err[256];
    bool fresh;
    snprintf(r->instance, sizeof(r->instance), "test-door-%d", (int)getpid());
    assert_int_equal(link_open_control(&r->control, r->instance, 1, &fresh, err, sizeof(err)), 0);
    engine_config_defaults(&r->config);
    r->config.protected_mode = 0;
    link_config_publish(r->control, &r->config);
    assert_int_equal(link_open_dataplane(&r->dataplane, r->instance, err, sizeof(err)), 0);
    link_dp_begin(r->dataplane, getpid());
    link_refresh(r->control);
    r->door = ((uint64_t)link_control_generation(r->control) << 32) + 7;
    struct worker_config c = {.count = 1,
                              .all = r->w,
                              .link = r->dataplane,
                              .config = &r->config,
                              .rx = fake_rx,
                              .hash_seed = {1, 2},
                              .seed = 3};
    assert_int_equal(worker_create(&r->w[0], &c), 0);
    r->net = fake_last_net();
    r->now_ns = 1000000000;
    *state = r;
    return 0;
}

static int rig_down(void **state)
{
    struct rig *r = *state;
    worker_destroy(r->w[0]);
    link_close(r->dataplane);
    link_close(r->control);
    link_unlink(r->instance);
    free(r);
    return 0;
}

static void take(struct rig *r)
{
    struct ring *ring = link_from_worker(r->control, 0);
    struct ring_record rec;
    while (ring_peek(ring, &rec) == RING_RECORD) {
        struct span p = rec.payload;
        struct msg_door_ack ack;
        struct msg_admin_request req;
        switch (rec.type) {
        case MSG_DOOR_REPLY:
            memcpy(r->out + r->out_len, p.p + sizeof(struct msg_door),
                   p.n - sizeof(struct msg_door));
            r->out_len += p.n - sizeof(struct msg_door);
            break;
        case MSG_DOOR_CLOSED: r->closed = true; break;
        case MSG_DOOR_ACK:
            memcpy(&ack, p.p, sizeof(ack));
            r->acked += ack.bytes;
            break;
        case MSG_ADMIN_REQUEST:
            memcpy(&req, p.p, sizeof(req));
            r->request = req.request + 1;
            snprintf(r->asked, sizeof(r->asked), "%.*s", (int)(p.n - sizeof(req) - 4),
                     p.p + sizeof(req) + 4);
            break;
        case MSG_NEIGH_ASK:
            assert_int_equal(p.n, sizeof(struct msg_neigh));
            r->neighs++;
            r->neigh = ip_load(p.p);
            break;
        default: fail_msg("unknown message %u", rec.type);
        }
        ring_release(ring);
    }
}

static void door_turns(struct rig *r, int n)
{
    for (int i = 0; i < n; i++) {
        r->now_ns += 100000;
        worker_turn(r->w[0], r->now_ns, (int64_t)(r->now_ns / 1000));
        if (r->control)
            take(r);
    }
}

static void door_open(struct rig *r)
{
    struct msg_door_open m = {
        .door = r->door, .source = SESSION_DOOR_UNIX, .peer = "/run/x:0", .local = "/run/x:0"};
    assert_true(ring_send(link_to_worker(r->control, 0), MSG_DOOR_OPEN, &m, sizeof(m)));
}

static void door_say(struct rig *r, const char *text)
{
    size_t n = strlen(text);
    struct msg_door *m = ring_reserve(link_to_worker(r->control, 0), (uint32_t)(sizeof(*m) + n));
    assert_non_null(m);
    m->door = r->door;
    memcpy(m + 1, text, n);
    ring_publish(link_to_worker(r->control, 0), MSG_DOOR_DATA, (uint32_t)(sizeof(*m) + n));
}

static void admin_reply(struct rig *r, const char *text, uint32_t flags)
{
    char buf[256];
    struct msg_admin_reply m = {.request = r->request - 1, .flags = flags};
    memcpy(buf, &m, sizeof(m));
    memcpy(buf + sizeof(m), text, strlen(text));
    assert_true(ring_send(link_to_worker(r->control, 0), MSG_ADMIN_REPLY, buf,
                          (uint32_t)(sizeof(m) + strlen(text))));
}

static void expect_reply(struct rig *r, const char *want)
{
    r->out[r->out_len] = 0;
    assert_string_equal(r->out, want);
    r->out_len = 0;
}

static void test_door_client_is_a_client(void **state)
{
    struct rig *r = *state;
    door_open(r);
    door_say(r, "SET a 1\r\nGET ");
    door_turns(r, 3);
    expect_reply(r, "+OK\r\n");
    door_say(r, "a\r\n");
    door_turns(r, 3);
    expect_reply(r, "$1\r\n1\r\n");
    assert_int_equal(r->acked, 16);
    door_say(r, "QUIT\r\nGET a\r\n");
    door_turns(r, 5);
    expect_reply(r, "+OK\r\n");
    assert_true(r->closed);
    assert_int_equal(r->w[0]->clients, 0);
}

/* INFO crashed the worker: the writer that flushed the reply still stood in a block that had been sent and freed. */
static void test_bug_admin_reply_closes_the_writer_before_blocks_are_freed(void **state)
{
    struct rig *r = *state;
    door_open(r);
    for (int i = 0; i < 50; i++) {
        r->request = 0;
        door_say(r, "PING\r\nINFO\r\nGET a\r\n");
        door_turns(r, 3);
        assert_true(r->request != 0);
        assert_memory_equal(r->asked, "INFO", 4);
        expect_reply(r, "+PONG\r\n");
        admin_reply(r, "$4\r\nab", 0);
        door_turns(r, 3);
        admin_reply(r, "cd\r\n", MSG_ADMIN_LAST);
        door_turns(r, 3);
        expect_reply(r, "$4\r\nabcd\r\n$-1\r\n");
    }
    assert_int_equal(r->acked, 50 * 19);
}

static void test_big_values_through_a_full_ring(void **state)
{
    struct rig *r = *state;
    door_open(r);
    door_say(r, "SETRANGE big 699999 x\r\nGET big\r\nPING\r\n");
    door_turns(r, 40);
    assert_int_equal(r->out_len, 9 + 9 + 700002 + 7);
    assert_memory_equal(r->out + r->out_len - 7, "+PONG\r\n", 7);
}

static void test_dead_control_is_answered_for(void **state)
{
    struct rig *r = *state;
    struct tcp_conn *tc = fake_connect(r->net);
    char err[256];
    bool fresh;
    fake_send(tc, "INFO\r\nPING\r\n", 12);
    door_open(r);
    door_turns(r, 5);
    assert_int_equal(r->w[0]->clients, 2);
    assert_true(r->request != 0);
    assert_int_equal(tc->out_len, 0);
    link_close(r->control);
    r->control = NULL;
    door_turns(r, 300);
    assert_true(tc->out_len > 7);
    assert_memory_equal(tc->out, "-ERR the control process does not answer", 40);
    assert_memory_equal(tc->out + tc->out_len - 7, "+PONG\r\n", 7);
    assert_int_equal(link_open_control(&r->control, r->instance, 1, &fresh, err, sizeof(err)), 0);
    assert_false(fresh);
    door_turns(r, 300);
    assert_int_equal(r->w[0]->clients, 1); /* the door client of the old control is gone */
    fake_reset(tc);
    fake_free(tc);
}

/* A worker that noticed a new control late dropped the doors that this one had opened already: their clients hung. */
static void test_bug_new_control_opens_a_door_before_it_is_noticed(void **state)
{
    struct rig *r = *state;
    char err[256];
    bool fresh;
    door_open(r);
    door_turns(r, 3);
    link_close(r->control);
    assert_int_equal(link_open_control(&r->control, r->instance, 1, &fresh, err, sizeof(err)), 0);
    r->door = ((uint64_t)link_control_generation(r->control) << 32) + 1;
    door_open(r);
    door_say(r, "PING\r\nINFO\r\n");
    door_turns(r, 300);
    expect_reply(r, "+PONG\r\n");
    assert_true(r->request != 0);
    admin_reply(r, "$0\r\n\r\n", MSG_ADMIN_LAST);
    door_turns(r, 3);
    expect_reply(r, "$0\r\n\r\n");
    assert_int_equal(r->w[0]->clients, 1);
}

static void test_lies_are_counted(void **state)
{
    struct rig *r = *state;
    struct ring *to = link_to_worker(r->control, 0);
    struct msg_door_open m = {.door = r->door, .source = 99};
    assert_true(ring_send(to, MSG_DOOR_OPEN, &m, sizeof(m)));
    assert_true(ring_send(to, MSG_DOOR_OPEN, &m, 5));
    assert_true(ring_send(to, MSG_DOOR_DATA, &m, 3));
    assert_true(ring_send(to, MSG_DOOR_CLOSE, &m, 3));
    assert_true(ring_send(to, MSG_ADMIN_REPLY, &m, 3));
    assert_true(ring_send(to, MSG_ADMIN_REPLY, &m, sizeof(m)));
    assert_true(ring_send(to, 77, &m, sizeof(m)));
    door_turns(r, 5);
    assert_int_equal(r->w[0]->stats->link_bad_messages, 7);
    assert_int_equal(r->w[0]->clients, 0);
    door_open(r);
    door_say(r, "PING\r\n");
    door_turns(r, 5);
    expect_reply(r, "+PONG\r\n");
}

/* ---- neighbours of an address that is Linux's ---- */

static void tell_neigh(struct rig *r, const void *p, uint32_t n)
{
    assert_true(ring_send(link_to_worker(r->control, 0), MSG_NEIGH, p, n));
    door_turns(r, 1);
}

static void test_neighbours_from_control(void **state)
{
    struct rig *r = *state;
    struct msg_neigh m = {.mac = {2, 0, 0, 0, 0, 9}, .known = 1};
    memset(&fake_neigh, 0, sizeof(fake_neigh));
    ip_store(m.addr, ip_from_v4(0x0a000009));
    tell_neigh(r, &m, sizeof(m));
    assert_int_equal(fake_neigh.learned, 1);
    assert_true(ip_equal(fake_neigh.ip, ip_from_v4(0x0a000009)));
    assert_memory_equal(fake_neigh.mac, m.mac, 6);
    m.known = 0;
    tell_neigh(r, &m, sizeof(m));
    assert_int_equal(fake_neigh.lost, 1);
    uint64_t bad = worker_stats(r->w[0])->link_bad_messages;
    for (uint32_t n = 0; n < sizeof(m); n++)
        tell_neigh(r, &m, n);
    assert_int_equal(worker_stats(r->w[0])->link_bad_messages, bad + sizeof(m));
    assert_int_equal(fake_neigh.learned + fake_neigh.lost, 2);
}

static void test_neighbours_are_asked_of_control(void **state)
{
    struct rig *r = *state;
    door_ask_neigh(r->w[0], ip_from_v4(0x0a000007));
    door_turns(r, 1);
    assert_int_equal(r->neighs, 1);
    assert_true(ip_equal(r->neigh, ip_from_v4(0x0a000007)));
    uint64_t full = worker_stats(r->w[0])->link_full;
    unsigned sent = 0;
    while (worker_stats(r->w[0])->link_full == full) {
        door_ask_neigh(r->w[0], ip_from_v4(0x0a000008));
        assert_true(++sent < 1000000);
    }
    door_turns(r, 1); /* control reads; nothing was broken */
    assert_int_equal(r->neighs, sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_door_client_is_a_client, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(
            test_bug_admin_reply_closes_the_writer_before_blocks_are_freed, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_big_values_through_a_full_ring, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_dead_control_is_answered_for, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_bug_new_control_opens_a_door_before_it_is_noticed,
                                        rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_lies_are_counted, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_neighbours_from_control, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_neighbours_are_asked_of_control, rig_up, rig_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
