/* Control's admin code alone behind a unix socket, over a link of its own: lets info_fields.py and config_replies.py compare INFO and CONFIG
 * with redis-server without workers, DPDK or privileges.
 *
 *     admin_server SOCKET       one client at a time; ends when its standard input is closed
 *
 * It is a test's tool: requests are whole arrays of bulk strings; HELLO only sets the RESP version. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "control/admin/admin.h"
#include "engine/base/assert.h"

#define IN_BYTES 65536
#define ARGS     64

struct server {
    struct admin *admin;
    uint8_t resp;
    int client;
    char in[IN_BYTES];
    size_t len;
};

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* One request at the start of the buffer; the bytes it took, 0: not whole yet. */
static size_t parse(struct server *s, struct span argv[ARGS], uint32_t *argc)
{
    char *p = s->in, *end = s->in + s->len, *line = memchr(p, '\n', s->len);
    if (!line)
        return 0;
    *argc = (uint32_t)strtoul(p + 1, NULL, 10);
    CHECK(*p == '*' && *argc > 0 && *argc <= ARGS);
    p = line + 1;
    for (uint32_t i = 0; i < *argc; i++) {
        line = memchr(p, '\n', (size_t)(end - p));
        if (!line)
            return 0;
        size_t n = strtoul(p + 1, NULL, 10);
        p = line + 1;
        if ((size_t)(end - p) < n + 2)
            return 0;
        argv[i] = span_of(p, n);
        p += n + 2;
    }
    return (size_t)(p - s->in);
}

static void answer(struct server *s, struct span *argv, uint32_t argc)
{
    struct msg_admin_request req = {.resp = s->resp, .argc = argc};
    struct reply_heap h;
    struct reply out;

    if (span_is(argv[0], "hello") && argc == 2)
        s->resp = argv[1].p[0] == '3' ? 3 : 2;
    reply_heap_init(&out, &h, s->resp);
    if (span_is(argv[0], "hello"))
        reply_ok(&out);
    else
        admin_execute(s->admin, &req, argv, argc, &out, now_ms());
    reply_heap_finish(&out, &h);
    for (size_t at = 0; at < h.len;) {
        ssize_t n = send(s->client, h.p + at, h.len - at, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    reply_heap_free(&h);
}

static void client_readable(struct server *s)
{
    struct span argv[ARGS];
    uint32_t argc;
    size_t used;
    ssize_t n = recv(s->client, s->in + s->len, sizeof(s->in) - s->len, 0);
    if (n <= 0) {
        close(s->client);
        s->client = -1;
        s->len = 0;
        s->resp = 2;
        return;
    }
    s->len += (size_t)n;
    while (s->len && (used = parse(s, argv, &argc))) {
        answer(s, argv, argc);
        memmove(s->in, s->in + used, s->len - used);
        s->len -= used;
    }
}

static void serve(struct server *s, int listener)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                {.fd = s->client >= 0 ? s->client : listener, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 || fds[0].revents)
            return;
        if (!fds[1].revents)
            continue;
        if (s->client < 0)
            s->client = accept(listener, NULL, NULL);
        else
            client_readable(s);
    }
}

int main(int argc, char **argv)
{
    static struct server s = {.resp = 2, .client = -1};
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct link *l;
    char err[256], instance[64];
    bool fresh;

    CHECK(argc == 2 && strlen(argv[1]) < sizeof(to.sun_path));
    strcpy(to.sun_path, argv[1]);
    snprintf(instance, sizeof(instance), "admin-server-%d", getpid());
    CHECK(link_open_control(&l, instance, 1, &fresh, err, sizeof(err)) == 0);
    struct config *c = config_new();
    CHECK(c);
    struct admin_env env = {
        .config = c, .link = l, .executable = argv[0], .version = "test", .start_ms = now_ms()};
    s.admin = admin_new(&env, env.start_ms);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(s.admin && listener >= 0 && bind(listener, (struct sockaddr *)&to, sizeof(to)) == 0 &&
          listen(listener, 8) == 0);
    printf("ready\n");
    fflush(stdout);
    serve(&s, listener);
    close(listener);
    if (s.client >= 0)
        close(s.client);
    admin_free(s.admin);
    config_free(c);
    link_close(l);
    link_unlink(instance);
    return 0;
}
