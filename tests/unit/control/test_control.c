/* The whole control process against a fake dataplane (fake_dataplane.c): door, routed commands, supervision, kill -9 of each side.
 * argv: barewire-control, fake dataplane. Each test has an instance and a directory of its own; the door is a unix socket in it. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/link/layout.h"
#include "engine/link/msg.h"
#include "tests/unit/unit.h"

#define DEADLINE_MS 20000

static const char *control_path, *fake_path;

struct fix {
    char dir[64], socket[96], log[96], instance[64], shm[128];
    pid_t control;
    int port;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void pause_1ms(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

static char *read_log(struct fix *f)
{
    static char text[65536];
    FILE *in = fopen(f->log, "r");
    size_t n = in ? fread(text, 1, sizeof text - 1, in) : 0;
    if (in)
        fclose(in);
    text[n] = 0;
    return text;
}

static void expect_log(struct fix *f, const char *what)
{
    int64_t end = now_ms() + DEADLINE_MS;
    while (!strstr(read_log(f), what)) {
        if (now_ms() > end)
            fail_msg("the log lacks '%s':\n%s", what, read_log(f));
        pause_1ms();
    }
}

static void start(struct fix *f, const char *dataplane)
{
    char port[16];
    snprintf(port, sizeof port, "%d", f->port);
    fflush(NULL);
    f->control = fork();
    if (f->control == 0) {
        setenv("BAREWIRE_DATAPLANE", dataplane, 1);
        execl(control_path, control_path, "--instance", f->instance, "--unixsocket", f->socket,
              "--unixsocketperm", "700", "--workers", "2", "--logfile", f->log, "--dir", f->dir,
              "--door-port", port, (char *)NULL);
        _exit(127);
    }
}

static int setup(void **state)
{
    static int n;
    struct fix *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/barewire-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->instance, sizeof f->instance, "test-control-%d-%d", (int)getpid(), n++);
    snprintf(f->shm, sizeof f->shm, "/dev/shm/barewire-%s", f->instance);
    snprintf(f->socket, sizeof f->socket, "%s/door", f->dir);
    snprintf(f->log, sizeof f->log, "%s/log", f->dir);
    *state = f;
    return 0;
}

static int wait_exit(pid_t pid)
{
    int64_t end = now_ms() + DEADLINE_MS;
    int status;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now_ms() > end) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            fail_msg("the process does not end");
        }
        pause_1ms();
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The dataplane as the link has it; 0: none alive. */
static pid_t dataplane_pid(struct fix *f)
{
    int fd = open(f->shm, O_RDWR | O_CLOEXEC);
    struct link_header h;
    struct flock fl = {.l_type = F_WRLCK, .l_start = LINK_LOCK_DATAPLANE, .l_len = 1};
    bool alive = fd >= 0 && fcntl(fd, F_OFD_GETLK, &fl) == 0 && fl.l_type != F_UNLCK &&
                 pread(fd, &h, sizeof h, 0) == sizeof h;
    if (fd >= 0)
        close(fd);
    return alive ? h.dp_pid : 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;
    if (f->control > 0) {
        kill(f->control, SIGKILL);
        waitpid(f->control, NULL, 0);
    }
    pid_t dp = dataplane_pid(f);
    if (dp > 1)
        kill(dp, SIGKILL);
    unlink(f->shm);
    unlink(f->socket);
    unlink(f->log);
    rmdir(f->dir);
    free(f);
    return 0;
}

/* Stops it and looks that nothing is left behind. */
static void stop_clean(struct fix *f)
{
    kill(f->control, SIGTERM);
    int code = wait_exit(f->control);
    f->control = 0;
    if (code)
        fail_msg("exit code %d:\n%s", code, read_log(f));
    assert_int_not_equal(access(f->socket, F_OK), 0);
    assert_int_not_equal(access(f->shm, F_OK), 0);
}

static int try_connect(struct fix *f)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(a.sun_path, f->socket, strlen(f->socket) + 1);
    if (connect(fd, (struct sockaddr *)&a, sizeof a)) {
        close(fd);
        return -1;
    }
    struct timeval tv = {DEADLINE_MS / 1000, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    return fd;
}

static int dial(struct fix *f)
{
    int64_t end = now_ms() + DEADLINE_MS;
    int fd;
    while ((fd = try_connect(f)) < 0) {
        if (now_ms() > end)
            fail_msg("no door:\n%s", read_log(f));
        pause_1ms();
    }
    return fd;
}

static void expect_bytes(int fd, const char *want)
{
    char got[512];
    size_t n = 0, len = strlen(want);
    while (n < len) {
        ssize_t r = recv(fd, got + n, len - n, 0);
        if (r <= 0)
            break;
        n += (size_t)r;
    }
    got[n] = 0;
    assert_string_equal(got, want);
}

/* A reply that has no length: up to `end`. */
static const char *ask(int fd, const char *what, const char *end)
{
    static char got[65536];
    size_t n = 0;
    assert_int_equal(send(fd, what, strlen(what), MSG_NOSIGNAL), strlen(what));
    do {
        ssize_t r = recv(fd, got + n, sizeof got - 1 - n, 0);
        if (r <= 0)
            fail_msg("'%s' got '%.*s' and then %s", what, (int)n, got,
                     r ? strerror(errno) : "the end");
        n += (size_t)r;
        got[n] = 0;
    } while (!strstr(got, end));
    return got;
}

static void echo(int fd, const char *what)
{
    assert_int_equal(send(fd, what, strlen(what), MSG_NOSIGNAL), strlen(what));
    expect_bytes(fd, what);
}

static void expect_end(int fd)
{
    char b[256];
    ssize_t n;
    while ((n = recv(fd, b, sizeof b, 0)) > 0)
        ;
    assert_true(n == 0 || errno == ECONNRESET);
    close(fd);
}

/* A client that is served: waits out the time in which there is no dataplane. */
static int dial_served(struct fix *f)
{
    int64_t end = now_ms() + DEADLINE_MS;
    for (;;) {
        int fd = dial(f);
        char b[64];
        if (send(fd, "hello", 5, MSG_NOSIGNAL) == 5 && recv(fd, b, sizeof b, 0) == 5 &&
            !memcmp(b, "hello", 5))
            return fd;
        close(fd);
        if (now_ms() > end)
            fail_msg("not served:\n%s", read_log(f));
        pause_1ms();
    }
}

/* ---- tests ---- */

static void test_start_echo_stop(void **state)
{
    struct fix *f = *state;
    struct stat st;
    start(f, fake_path);
    int fd = dial_served(f);
    assert_int_equal(stat(f->socket, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    echo(fd, "*1\r\n$4\r\nPING\r\n");
    echo(fd, "again");
    expect_log(f, "2 workers");
    expect_log(f, "fake driver, no offloads");
    expect_log(f, "no hugepages: the test needs none");
    expect_log(f, f->socket);
    assert_string_equal(ask(fd, "@quit", "bye"), "bye");
    expect_end(fd);
    stop_clean(f);
    expect_log(f, "Barewire is stopped");
}

static void test_half_close(void **state)
{
    struct fix *f = *state;
    start(f, fake_path);
    int fd = dial_served(f);
    assert_int_equal(send(fd, "last words", 10, MSG_NOSIGNAL), 10);
    shutdown(fd, SHUT_WR);
    expect_bytes(fd, "last words");
    expect_end(fd);
    stop_clean(f);
}

static void test_tcp_door(void **state)
{
    struct fix *f = *state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int probe =
        socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* the kernel picks a port that is free */
    assert_int_equal(bind(probe, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(probe, (struct sockaddr *)&a, &len), 0);
    close(probe);
    f->port = ntohs(a.sin_port);
    start(f, fake_path);
    close(dial_served(f));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    echo(fd, "over tcp");
    close(fd);
    stop_clean(f);
}

#define BULK (64u << 20)

static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)((i * 2654435761u) >> 13) | 0x80; /* never '@' */
}

static void *send_bulk(void *arg)
{
    int fd = *(int *)arg;
    static uint8_t buf[65536];
    for (uint64_t at = 0; at < BULK;) {
        for (size_t i = 0; i < sizeof buf; i++)
            buf[i] = byte_at(at + i);
        for (size_t sent = 0; sent < sizeof buf;) {
            ssize_t n = send(fd, buf + sent, sizeof buf - sent, MSG_NOSIGNAL);
            if (n <= 0)
                return "send failed";
            sent += (size_t)n;
        }
        at += sizeof buf;
    }
    return NULL;
}

static void test_64_megabytes(void **state)
{
    struct fix *f = *state;
    static uint8_t buf[65536];
    pthread_t t;
    void *failed;
    start(f, fake_path);
    int fd = dial_served(f), other = dial_served(f);
    assert_int_equal(pthread_create(&t, NULL, send_bulk, &fd), 0);
    uint64_t got = 0, wrong = 0;
    while (got < BULK) {
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++)
            wrong += buf[i] != byte_at(got + (uint64_t)i);
        got += (uint64_t)n;
    }
    pthread_join(t, &failed);
    assert_null(failed);
    assert_int_equal(wrong, 0);
    unsigned max = 0;
    assert_int_equal(sscanf(ask(other, "@stats", "control="), "open=%*u max=%u", &max), 1);
    assert_in_range(max, 1, LINK_DOOR_WINDOW);
    close(fd);
    close(other);
    stop_clean(f);
}

/* A worker that does not acknowledge gets one window and not a byte more; others are served meanwhile. */
static void test_credit_window(void **state)
{
    struct fix *f = *state;
    static char block[65536];
    memset(block, 'x', sizeof block);
    start(f, fake_path);
    int fd = dial_served(f), other = dial_served(f);
    ask(other, "@hold", "done");
    uint64_t sent = 0, back = 0;
    unsigned max = 0;
    int64_t end = now_ms() + DEADLINE_MS;
    while (max < LINK_DOOR_WINDOW && now_ms() < end) {
        ssize_t n = send(fd, block, sizeof block, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            sent += (uint64_t)n;
        sscanf(ask(other, "@stats", "control="), "open=%*u max=%u", &max);
    }
    for (int i = 0; i < 50; i++) { /* the socket takes what it can hold; the worker gets no more */
        ssize_t n = send(fd, block, sizeof block, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            sent += (uint64_t)n;
        sscanf(ask(other, "@stats", "control="), "open=%*u max=%u", &max);
    }
    assert_int_equal(max, LINK_DOOR_WINDOW);
    assert_true(sent > LINK_DOOR_WINDOW);
    ask(other, "@release", "done");
    while (back < sent) {
        ssize_t n = recv(fd, block, sizeof block, 0);
        assert_true(n > 0);
        back += (uint64_t)n;
    }
    assert_int_equal(back, sent);
    close(fd);
    close(other);
    stop_clean(f);
}

static void test_200_clients(void **state)
{
    struct fix *f = *state;
    int fd[200];
    char text[64];
    start(f, fake_path);
    close(dial_served(f));
    for (int i = 0; i < 200; i++)
        fd[i] = dial(f);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 200; i++) {
            int n = snprintf(text, sizeof text, "client %d round %d\n", i, round);
            assert_int_equal(send(fd[i], text, (size_t)n, MSG_NOSIGNAL), n);
        }
        for (int i = 0; i < 200; i++) {
            snprintf(text, sizeof text, "client %d round %d\n", i, round);
            expect_bytes(fd[i], text);
        }
    }
    unsigned a = 0, b = 0;
    assert_int_equal(sscanf(ask(fd[0], "@stats", "control="),
                            "open=%*u max=%*u worker=%*u opened=%u,%u", &a, &b),
                     2);
    assert_true(a >= 100 && b >= 100); /* round robin */
    for (int i = 0; i < 200; i++)
        close(fd[i]);
    int last = dial_served(f);
    unsigned open = 99;
    int64_t end = now_ms() + DEADLINE_MS;
    while (open > 1 && now_ms() < end)
        sscanf(ask(last, "@stats", "control="), "open=%u", &open);
    assert_int_equal(open, 1);
    close(last);
    stop_clean(f);
}

static void test_dataplane_killed(void **state)
{
    struct fix *f = *state;
    start(f, fake_path);
    int fd = dial_served(f);
    pid_t first = atoi(ask(fd, "@pid", ""));
    assert_int_equal(first, dataplane_pid(f));
    kill(first, SIGKILL);
    expect_end(fd);
    expect_log(f, "killed by signal 9");
    expect_log(f, "What was not saved is gone");
    fd = dial_served(f);
    pid_t second = atoi(ask(fd, "@pid", ""));
    assert_int_not_equal(first, second);
    /* Again, in the middle of a conversation. */
    assert_int_equal(send(fd, "@die", 4, MSG_NOSIGNAL), 4);
    expect_end(fd);
    fd = dial_served(f);
    echo(fd, "third life");
    close(fd);
    stop_clean(f);
}

static void test_control_killed(void **state)
{
    struct fix *f = *state;
    start(f, fake_path);
    int fd = dial_served(f);
    pid_t dp = atoi(ask(fd, "@pid", ""));
    unsigned before = 0, after = 0;
    sscanf(strstr(ask(fd, "@stats", "control="), "control="), "control=%u", &before);
    kill(f->control, SIGKILL);
    waitpid(f->control, NULL, 0);
    expect_end(fd);
    assert_int_equal(dataplane_pid(f), dp); /* goes on */
    start(f, fake_path);
    fd = dial_served(f);
    assert_int_equal(atoi(ask(fd, "@pid", "")), dp);
    sscanf(strstr(ask(fd, "@stats", "control="), "control="), "control=%u", &after);
    assert_int_equal(after, before + 1);
    assert_memory_equal(ask(fd, "@stats", "control="), "open=1 ", 7);
    expect_log(f, "attached to it");
    /* An adopted one that dies is started again too. */
    kill(dp, SIGKILL);
    expect_end(fd);
    expect_log(f, "the process is gone");
    fd = dial_served(f);
    assert_int_not_equal(atoi(ask(fd, "@pid", "")), dp);
    close(fd);
    stop_clean(f);
}

/* Adopted, then stopped: the dataplane ends although it is nobody's child. */
static void test_adopted_is_stopped(void **state)
{
    struct fix *f = *state;
    start(f, fake_path);
    close(dial_served(f));
    kill(f->control, SIGKILL);
    waitpid(f->control, NULL, 0);
    assert_true(dataplane_pid(f) > 1);
    start(f, fake_path);
    close(dial_served(f));
    stop_clean(f);
}

static void test_versions_differ(void **state)
{
    struct fix *f = *state;
    char want[80];
    start(f, fake_path);
    close(dial_served(f));
    kill(f->control, SIGKILL);
    waitpid(f->control, NULL, 0);
    uint32_t v = LINK_LAYOUT_VERSION + 7;
    int fd = open(f->shm, O_RDWR);
    assert_int_equal(pwrite(fd, &v, 4, offsetof(struct link_header, layout_version)), 4);
    close(fd);
    start(f, fake_path);
    assert_int_equal(wait_exit(f->control), 1);
    f->control = 0;
    snprintf(want, sizeof want, "this barewire-control has version %d", LINK_LAYOUT_VERSION);
    expect_log(f, want);
    snprintf(want, sizeof want, "the running barewire-dataplane with pid %d has version %u",
             (int)dataplane_pid(f), v);
    expect_log(f, want);
}

static void test_second_control_is_refused(void **state)
{
    struct fix *f = *state, g;
    start(f, fake_path);
    close(dial_served(f));
    g = *f;
    start(&g, fake_path);
    assert_int_equal(wait_exit(g.control), 1);
    expect_log(f, "another barewire-control of this instance is running");
    int fd = dial_served(f);
    echo(fd, "still here");
    close(fd);
    stop_clean(f);
}

static void test_start_fails(void **state)
{
    struct fix *f = *state;
    start(f, "/bin/false");
    assert_int_equal(wait_exit(f->control), 1);
    expect_log(f, "The dataplane did not come up: ended with exit code 1");
    assert_int_not_equal(access(f->shm, F_OK), 0);
    assert_int_not_equal(access(f->socket, F_OK), 0);
    start(f, "/nonexistent/barewire-dataplane");
    assert_int_equal(wait_exit(f->control), 1);
    f->control = 0;
    expect_log(f, "no executable barewire-dataplane");
}

static void test_loading_and_deaf(void **state)
{
    struct fix *f = *state;
    setenv("FAKE_STARTING", "1", 1);
    setenv("FAKE_DEAF", "1", 1);
    start(f, fake_path);
    unsetenv("FAKE_STARTING");
    unsetenv("FAKE_DEAF");
    int fd = dial(f);
    const char *got = ask(fd, "PING\r\n", "\r\n");
    assert_memory_equal(got, "-LOADING The dataplane is not running", 37);
    expect_end(fd);
    int64_t end = now_ms() + DEADLINE_MS;
    while (!dataplane_pid(f) && now_ms() < end)
        pause_1ms();
    kill(f->control, SIGTERM);
    expect_log(f, "SIGTERM: stopping");
    stop_clean(f); /* the second signal does not wait */
}

static void test_commands_for_control(void **state)
{
    struct fix *f = *state;
    unsigned long long v1 = 0, v2 = 0, m = 0;
    start(f, fake_path);
    int fd = dial_served(f);
    const char *got = ask(fd, "@admin CONFIG GET maxmemory", "maxmemory=");
    assert_memory_equal(got, "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n", 26);
    assert_int_equal(sscanf(strstr(got, " config="), " config=%llu", &v1), 1);
    /* What was set is in the page before the reply is there. */
    for (int i = 1; i <= 20; i++) {
        char order[64];
        snprintf(order, sizeof order, "@admin CONFIG SET maxmemory %d", 1000000 + i);
        got = ask(fd, order, "maxmemory=");
        assert_memory_equal(got, "+OK\r\n", 5);
        assert_int_equal(sscanf(strstr(got, " config="), " config=%llu maxmemory=%llu", &v2, &m),
                         2);
        assert_true(v2 > v1);
        assert_int_equal(m, 1000000 + i);
        v1 = v2;
    }
    got = ask(fd, "@admin INFO server", "maxmemory=");
    assert_non_null(strstr(got, "redis_version:"));
    assert_non_null(strstr(ask(fd, "@admin NOSUCH", "maxmemory="), "-ERR"));
    assert_memory_equal(ask(fd, "@admin SHUTDOWN SAVE NOSAVE", "maxmemory="), "-ERR syntax error",
                        17);
    assert_memory_equal(ask(fd, "@admin SHUTDOWN soon", "maxmemory="), "-ERR syntax error", 17);
    assert_memory_equal(ask(fd, "@admin SHUTDOWN ABORT NOW", "maxmemory="), "-ERR syntax error",
                        17);
    assert_memory_equal(ask(fd, "@admin SHUTDOWN abort", "maxmemory="),
                        "-ERR No shutdown in progress.", 29);
    assert_int_equal(send(fd, "@admin shutdown nosave now", 26, MSG_NOSIGNAL), 26);
    assert_int_equal(wait_exit(f->control), 0);
    f->control = 0;
    expect_end(fd);
    expect_log(f, "SHUTDOWN from fake");
    assert_int_not_equal(access(f->shm, F_OK), 0);
    assert_int_equal(dataplane_pid(f), 0);
}

/* A worker that sends nonsense is counted and refused. Its ring is damaged, so its clients are closed; those of the other worker and
 * control live on, and new clients of that worker are served. */
static void test_lies(void **state)
{
    struct fix *f = *state;
    unsigned w1 = 9, w2 = 9;
    start(f, fake_path);
    int fd = dial_served(f), other = dial_served(f);
    sscanf(strstr(ask(fd, "@stats", "control="), "worker="), "worker=%u", &w1);
    sscanf(strstr(ask(other, "@stats", "control="), "worker="), "worker=%u", &w2);
    assert_true(w1 + w2 == 1);
    assert_int_equal(send(fd, "@lies", 5, MSG_NOSIGNAL), 5);
    expect_end(fd);
    expect_log(f, "was refused");
    echo(other, "unharmed");
    for (int i = 0; i < 4; i++) { /* both workers, twice */
        fd = dial_served(f);
        echo(fd, "and the next");
        close(fd);
    }
    echo(other, "unharmed still");
    close(other);
    stop_clean(f);
}

/* CPU time of an idle control over a second, printed (1 % of a core is the aim); fails only when it spins. */
static void test_idle_cost(void **state)
{
    struct fix *f = *state;
    clockid_t clock;
    struct timespec a, b;
    start(f, fake_path);
    int fd = dial_served(f);
    assert_int_equal(clock_getcpuclockid(f->control, &clock), 0);
    clock_gettime(clock, &a);
    int64_t end = now_ms() + 1000;
    while (now_ms() < end)
        pause_1ms();
    clock_gettime(clock, &b);
    double ms = (double)(b.tv_sec - a.tv_sec) * 1000 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    print_message("idle control: %.2f ms of CPU time in a second\n", ms);
#ifndef BAREWIRE_SANITIZE
    assert_true(ms < 500);
#endif
    echo(fd, "awake");
    close(fd);
    stop_clean(f);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s barewire-control fake-dataplane\n", argv[0]);
        return 2;
    }
    control_path = argv[1];
    fake_path = argv[2];
    signal(SIGPIPE, SIG_IGN);
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_start_echo_stop),
        T(test_half_close),
        T(test_tcp_door),
        T(test_64_megabytes),
        T(test_credit_window),
        T(test_200_clients),
        T(test_dataplane_killed),
        T(test_control_killed),
        T(test_adopted_is_stopped),
        T(test_versions_differ),
        T(test_second_control_is_refused),
        T(test_start_fails),
        T(test_loading_and_deaf),
        T(test_commands_for_control),
        T(test_lies),
        T(test_idle_cost),
    };
    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
