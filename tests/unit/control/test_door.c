/* door: in one process, with this test as the worker at the other end of the link and as the client. What needs real processes is in
 * test_control.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/bridge.h"
#include "control/door.h"
#include "engine/base/limits.h"
#include "engine/cmd/session.h"
#include "tests/unit/unit.h"

static bool no_memory; /* for what is zeroed: a client's record */

void *__real_calloc(size_t n, size_t of);
void *__wrap_calloc(size_t n, size_t of);

void *__wrap_calloc(size_t n, size_t of)
{
    return no_memory ? NULL : __real_calloc(n, of);
}

struct fix {
    char instance[64], dir[64], path[96];
    struct link *c, *d;
    uv_loop_t loop;
    struct bridge bridge;
    struct door *door;
    struct msg_door_open open; /* the last one the worker saw */
    uint32_t opens, closes;
    uint64_t bytes;
    bool ack;
};

static void on_message(void *ctx, uint32_t worker, uint32_t type, struct span payload)
{
    door_message(((struct fix *)ctx)->door, worker, type, payload);
}

static void on_room(void *ctx, uint32_t worker)
{
    door_room(((struct fix *)ctx)->door, worker);
}

static void on_damaged(void *ctx, uint32_t worker)
{
    door_damaged(((struct fix *)ctx)->door, worker);
}

static void on_renewed(void *ctx)
{
    door_drop_all(((struct fix *)ctx)->door);
}

static const struct bridge_ops ops = {on_message, on_room, on_damaged, on_renewed};

static int setup(void **state)
{
    static int n;
    struct fix *f = calloc(1, sizeof *f);
    bool fresh;
    char err[256];
    snprintf(f->instance, sizeof f->instance, "test-door-%d-%d", (int)getpid(), n++);
    strcpy(f->dir, "/tmp/barewire-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/door", f->dir);
    assert_int_equal(link_open_control(&f->c, f->instance, 1, &fresh, err, sizeof err), 0);
    assert_int_equal(link_open_dataplane(&f->d, f->instance, err, sizeof err), 0);
    link_dp_begin(f->d, getpid());
    link_refresh(f->c);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(bridge_open(&f->bridge, &f->loop, f->c, &ops, f), 0);
    f->ack = true;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;
    if (f->door)
        door_close(f->door);
    bridge_close(&f->bridge);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    if (f->door)
        door_free(f->door);
    link_close(f->d);
    link_close(f->c);
    link_unlink(f->instance);
    unlink(f->path);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static int open_door(struct fix *f, uint64_t limit, int tcp, char *err, size_t n)
{
    struct door_config c = {
        .unixsocket = f->path, .unixsocketperm = 0600, .tcp_port = tcp, .output_bytes = limit};
    return door_open(&f->door, &f->loop, &f->bridge, &c, err, n);
}

static void open_up(struct fix *f, uint64_t limit)
{
    char err[256] = "";
    if (open_door(f, limit, 0, err, sizeof err))
        fail_msg("%s", err);
    door_set_up(f->door, true, "");
}

static int dial(struct fix *f)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    strcpy(a.sun_path, f->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* One turn of control, then of the worker: takes everything, acknowledges data when asked to. */
static void turn(struct fix *f)
{
    struct ring *in = link_to_worker(f->d, 0), *out = link_from_worker(f->d, 0);
    struct ring_record rec;
    uv_run(&f->loop, UV_RUN_NOWAIT);
    while (ring_peek(in, &rec) == RING_RECORD) {
        if (rec.type == MSG_DOOR_OPEN) {
            memcpy(&f->open, rec.payload.p, sizeof f->open);
            f->opens++;
        } else if (rec.type == MSG_DOOR_DATA) {
            struct msg_door_ack a = {.bytes = (uint32_t)(rec.payload.n - 8)};
            memcpy(&a.door, rec.payload.p, 8);
            f->bytes += a.bytes;
            if (f->ack)
                assert_true(ring_send(out, MSG_DOOR_ACK, &a, sizeof a));
        } else if (rec.type == MSG_DOOR_CLOSE) {
            f->closes++;
        }
        ring_release(in);
    }
}

static void reply(struct fix *f, uint64_t door, const void *p, size_t n)
{
    uint8_t msg[65536];
    memcpy(msg, &door, 8);
    memcpy(msg + 8, p, n);
    while (!ring_send(link_from_worker(f->d, 0), MSG_DOOR_REPLY, msg, (uint32_t)(8 + n)))
        turn(f);
}

static void closed(struct fix *f, uint64_t door)
{
    struct msg_door m = {door};
    assert_true(ring_send(link_from_worker(f->d, 0), MSG_DOOR_CLOSED, &m, sizeof m));
}

#define UNTIL(f, cond)                        \
    do {                                      \
        int turns_ = 0;                       \
        while (!(cond)) {                     \
            if (turns_++ > 1000000)           \
                fail_msg("never: %s", #cond); \
            turn(f);                          \
        }                                     \
    } while (0)

/* ---- tests ---- */

static void test_paths(void **state)
{
    struct fix *f = *state;
    char err[256];
    struct stat st;
    /* A plain file is not removed. */
    int fd = open(f->path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(open_door(f, 0, -1, err, sizeof err), -EEXIST);
    assert_non_null(strstr(err, f->path));
    unlink(f->path);
    /* A dead server's socket is. */
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, f->path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(open_door(f, 0, -1, err, sizeof err), -EADDRINUSE); /* it lives */
    close(fd);
    assert_int_equal(open_door(f, 0, 0, err, sizeof err), 0);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(door_tcp_port(f->door) > 0);
    /* The TCP port is taken: the error names it, and the unix socket of the second door is gone again. */
    struct door *second;
    char other[128];
    snprintf(other, sizeof other, "%s/other", f->dir);
    struct door_config c = {.unixsocket = other, .tcp_port = door_tcp_port(f->door)};
    assert_int_equal(door_open(&second, &f->loop, &f->bridge, &c, err, sizeof err), -EADDRINUSE);
    assert_non_null(strstr(err, "door-port 127.0.0.1:"));
    assert_int_not_equal(access(other, F_OK), 0);
}

static void test_open_message(void **state)
{
    struct fix *f = *state;
    char want[128];
    open_up(f, 0);
    int fd = dial(f);
    UNTIL(f, f->opens == 1);
    assert_int_equal(f->open.source, SESSION_DOOR_UNIX);
    snprintf(want, sizeof want, "%s:0", f->path);
    assert_string_equal(f->open.peer, want);
    assert_int_equal(f->open.door >> 32, link_control_generation(f->c));
    close(fd);
    UNTIL(f, f->closes == 1);
    assert_int_equal(door_clients(f->door), 1); /* until the worker has said so too */
    closed(f, f->open.door);
    UNTIL(f, door_clients(f->door) == 0);

    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)door_tcp_port(f->door))};
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint64_t first = f->open.door;
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    UNTIL(f, f->opens == 2);
    assert_int_equal(f->open.source, SESSION_DOOR_TCP);
    assert_memory_equal(f->open.peer, "127.0.0.1:", 10);
    assert_int_not_equal(f->open.door, first);
    close(fd);
}

/* A client that does not read is closed at the limit, and only it. */
static void test_output_limit(void **state)
{
    struct fix *f = *state;
    static char block[60000], got[60000];
    open_up(f, 4 << 20);
    int slow = dial(f);
    UNTIL(f, f->opens == 1);
    uint64_t slow_id = f->open.door;
    int other = dial(f);
    UNTIL(f, f->opens == 2);
    for (int i = 0; i < 200 && !f->closes; i++) {
        reply(f, slow_id, block, sizeof block);
        turn(f);
    }
    UNTIL(f, f->closes == 1);
    closed(f, slow_id);
    UNTIL(f, door_clients(f->door) == 1);
    reply(f, f->open.door, "fine", 4);
    UNTIL(f, recv(other, got, sizeof got, 0) == 4);
    ssize_t n;
    uint64_t total = 0;
    while ((n = recv(slow, got, sizeof got, 0)) > 0)
        total += (uint64_t)n;
    assert_true(n == 0 || errno == ECONNRESET);
    assert_true(total < 4 << 20);
    close(slow);
    close(other);
}

/* Replies that were under way when the worker closed still leave. */
static void test_closed_after_replies(void **state)
{
    struct fix *f = *state;
    static char block[60000], got[60000];
    open_up(f, 0);
    int fd = dial(f);
    UNTIL(f, f->opens == 1);
    for (int i = 0; i < 50; i++)
        reply(f, f->open.door, block, sizeof block);
    closed(f, f->open.door);
    uint64_t total = 0;
    ssize_t n;
    for (int turns = 0; turns < 1000000; turns++) {
        turn(f);
        n = recv(fd, got, sizeof got, 0);
        if (n == 0)
            break;
        total += n > 0 ? (uint64_t)n : 0;
    }
    assert_int_equal(total, 50 * sizeof block);
    UNTIL(f, door_clients(f->door) == 0);
    close(fd);
}

/* The worker stops reading its ring: control stops reading sockets, loses nothing, and goes on when there is room. */
static void test_ring_full(void **state)
{
    struct fix *f = *state;
    static char block[65536];
    int fd[8];
    uint64_t sent = 0;
    open_up(f, 0);
    for (int i = 0; i < 8; i++)
        fd[i] = dial(f);
    UNTIL(f, f->opens == 8);
    for (int quiet = 0; quiet < 20;) { /* 8 windows of 256 kB into 1 MB */
        uint64_t before = sent;
        for (int i = 0; i < 8; i++) {
            ssize_t n = send(fd[i], block, sizeof block, MSG_NOSIGNAL);
            sent += n > 0 ? (uint64_t)n : 0;
        }
        uv_run(&f->loop, UV_RUN_NOWAIT);
        quiet = sent == before ? quiet + 1 : 0;
    }
    assert_true(ring_backlog(link_to_worker(f->d, 0)) > LIMIT_LINK_RING_BYTES / 2);
    int late = dial(f); /* its MSG_DOOR_OPEN has to wait */
    UNTIL(f, f->bytes == sent && f->opens == 9);
    for (int i = 0; i < 8; i++)
        close(fd[i]);
    close(late);
    UNTIL(f, f->closes == 9);
}

/* Connected while there was no dataplane and silent: served when there is one. Those who asked got their error. */
static void test_waits_for_dataplane(void **state)
{
    struct fix *f = *state;
    char err[256], got[256];
    assert_int_equal(open_door(f, 0, -1, err, sizeof err), 0);
    door_set_up(f->door, false, "it died (test) and is started again");
    int silent = dial(f), asks = dial(f);
    assert_int_equal(send(asks, "PING\r\n", 6, MSG_NOSIGNAL), 6);
    ssize_t n = -1;
    UNTIL(f, (n = recv(asks, got, sizeof got - 1, 0)) > 0);
    got[n] = 0;
    assert_string_equal(
        got, "-LOADING The dataplane is not running: it died (test) and is started again\r\n");
    UNTIL(f, recv(asks, got, sizeof got, 0) == 0);
    UNTIL(f, door_clients(f->door) == 1);
    assert_int_equal(f->opens, 0);
    door_set_up(f->door, true, "");
    UNTIL(f, f->opens == 1);
    assert_int_equal(send(silent, "PING\r\n", 6, MSG_NOSIGNAL), 6);
    UNTIL(f, f->bytes == 6);
    close(silent);
    close(asks);
}

/* Answers to ids that are not theirs, or too large, harm nobody. */
static void test_strangers(void **state)
{
    struct fix *f = *state;
    char got[16];
    open_up(f, 0);
    int fd = dial(f);
    UNTIL(f, f->opens == 1);
    struct link_control *stats = link_control_stats(f->c);
    uint64_t id = f->open.door;
    reply(f, id + (1ull << 32), "no", 2); /* another control's: leftovers, not counted */
    reply(f, id + LIMIT_DOOR_CLIENTS * 5, "no", 2);
    reply(f, id + 1, "no", 2);
    struct msg_door_ack a = {.door = id, .bytes = 1};
    ring_send(link_from_worker(f->d, 0), MSG_DOOR_ACK, &a, sizeof a);
    closed(f, id + 1);
    reply(f, id, "yes", 3);
    UNTIL(f, recv(fd, got, sizeof got, 0) == 3);
    assert_memory_equal(got, "yes", 3);
    assert_true(stats->bad_messages >= 2);
    assert_int_equal(door_clients(f->door), 1);
    close(fd);
}

/* libuv asks for no other connection before the last is accepted: the door was shut for good by one malloc that failed. */
static void test_no_memory_shut_the_door(void **state)
{
    struct fix *f = *state;
    enum { CLIENTS = 5 };
    int fds[CLIENTS];
    char got[4];
    open_up(f, 0);
    struct link_control *stats = link_control_stats(f->c);
    no_memory = true;
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = dial(f);
    UNTIL(f, stats->door_refused == CLIENTS);
    no_memory = false;
    for (int i = 0; i < CLIENTS; i++) {
        UNTIL(f, recv(fds[i], got, sizeof got, 0) == 0); /* closed, not left waiting */
        close(fds[i]);
    }
    assert_int_equal(door_clients(f->door), 0);
    int fd = dial(f);
    UNTIL(f, f->opens == 1);
    close(fd);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_paths),        T(test_open_message),
        T(test_output_limit), T(test_closed_after_replies),
        T(test_ring_full),    T(test_waits_for_dataplane),
        T(test_strangers),    T(test_no_memory_shut_the_door),
    };
    return cmocka_run_group_tests_name("door", tests, NULL, NULL);
}
