/* door: listeners, accepting, opening and closing. What a door is: door.h; its clients: door.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/door_internal.h"
#include "control/log.h"

static_assert((DOOR_SLOTS & (DOOR_SLOTS - 1)) == 0, "ids are cut by it");

static bool take_slot(struct door_conn *c)
{
    struct door *d = c->door;
    for (uint32_t i = 0; i < DOOR_SLOTS; i++) {
        uint32_t slot = d->next_slot++ % DOOR_SLOTS;
        if (d->slots[slot])
            continue;
        d->slots[slot] = c;
        c->slot = slot;
        c->id = (uint64_t)d->generation << 32 | (uint32_t)(d->serial++ * DOOR_SLOTS + slot);
        return true;
    }
    return false;
}

/* Gives the client a worker. */
static void assign(struct door_conn *c)
{
    struct door *d = c->door;
    if (c->slot == DOOR_NO_SLOT && !take_slot(c)) {
        door_refuse_now(c); /* not before the counts of clients and slots disagree */
        return;
    }
    c->worker = d->next_worker++ % d->bridge->workers;
    c->refused = c->worker_done = false;
    c->open_due = true;
    door_conn_push(c);
}

static void name_tcp(struct door_conn *c)
{
    struct sockaddr_in a = {0};
    char ip[INET_ADDRSTRLEN];
    int n = sizeof a;
    if (uv_tcp_getpeername(&c->h.tcp, (struct sockaddr *)&a, &n) == 0 &&
        uv_ip4_name(&a, ip, sizeof ip) == 0)
        snprintf(c->peer, sizeof c->peer, "%s:%u", ip, ntohs(a.sin_port));
    n = sizeof a;
    if (uv_tcp_getsockname(&c->h.tcp, (struct sockaddr *)&a, &n) == 0 &&
        uv_ip4_name(&a, ip, sizeof ip) == 0)
        snprintf(c->local, sizeof c->local, "%s:%u", ip, ntohs(a.sin_port));
}

static void on_connection(uv_stream_t *listener, int status);

static void on_turned_away(uv_handle_t *h)
{
    struct door *d = h->data;
    bool tcp = d->tcp_waits, un = d->unix_waits;
    d->turning_away = d->tcp_waits = d->unix_waits = false;
    if (tcp && !uv_is_closing((uv_handle_t *)&d->tcp_listener))
        on_connection((uv_stream_t *)&d->tcp_listener, 0);
    if (un && !uv_is_closing((uv_handle_t *)&d->unix_listener))
        on_connection((uv_stream_t *)&d->unix_listener, 0);
}

/* A connection for which there is no memory: accepted and closed, without any. libuv asks for no other before it is accepted: when one is
 * still being closed, the next waits for that. */
static void turn_away(struct door *d, uv_stream_t *listener, bool tcp)
{
    if (d->turning_away) {
        *(tcp ? &d->tcp_waits : &d->unix_waits) = true;
        return;
    }
    d->turning_away = true;
    STAT_INC(link_control_stats(d->bridge->link)->door_refused);
    if (tcp)
        uv_tcp_init(d->loop, &d->away.tcp);
    else
        uv_pipe_init(d->loop, &d->away.pipe, 0);
    d->away.handle.data = d;
    uv_accept(listener, &d->away.stream);
    uv_close(&d->away.handle, on_turned_away);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct door *d = listener->data;
    struct link_control *stats = link_control_stats(d->bridge->link);
    bool tcp = listener == (uv_stream_t *)&d->tcp_listener;
    if (status < 0) {
        STAT_INC(stats->door_refused); /* the kernel keeps it in the backlog and asks again */
        return;
    }
    struct door_conn *c = calloc(1, sizeof *c);
    if (!c) {
        turn_away(d, listener, tcp);
        return;
    }
    c->door = d;
    c->slot = DOOR_NO_SLOT;
    c->source = tcp ? SESSION_DOOR_TCP : SESSION_DOOR_UNIX;
    c->refused = c->worker_done = true;
    list_init(&c->wait);
    list_push_back(&d->conns, &c->node);
    d->clients++;
    if (tcp)
        uv_tcp_init(d->loop, &c->h.tcp);
    else
        uv_pipe_init(d->loop, &c->h.pipe, 0);
    c->h.handle.data = c;
    if (uv_accept(listener, &c->h.stream)) {
        STAT_INC(stats->door_refused);
        door_conn_close(c);
        return;
    }
    if (tcp) {
        uv_tcp_nodelay(&c->h.tcp, 1);
        name_tcp(c);
    } else {
        snprintf(c->peer, sizeof c->peer, "%.60s:0", d->path);
        memcpy(c->local, c->peer, sizeof c->local);
    }
    STAT_INC(stats->door_accepted);
    STAT_SET(stats->door_clients, d->clients);
    if (d->clients > DOOR_SLOTS) {
        c->too_many = true;
        door_refuse_now(c);
    } else if (d->up) {
        assign(c);
    } else {
        door_conn_push(c); /* its first request gets the error */
    }
}

void door_set_up(struct door *d, bool up, const char *why)
{
    d->up = up;
    d->why = why;
    if (!up)
        return;
    list_for_each_safe(n, next, &d->conns)
    {
        struct door_conn *c = list_entry(n, struct door_conn, node);
        if (c->refused && !c->answered && !c->eof && !uv_is_closing(&c->h.handle))
            assign(c); /* connected while there was no dataplane, and has asked nothing yet */
    }
}

/* ---- opening ---- */

/* Something may lie where the socket shall be: a dead server's socket is removed, a living one's or any other file is not. */
static int clear_path(const char *path, char *err, size_t err_len)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(path) >= sizeof a.sun_path) {
        snprintf(err, err_len, "unixsocket %s: longer than %zu bytes", path, sizeof a.sun_path - 1);
        return -ENAMETOOLONG;
    }
    if (lstat(path, &st))
        return 0;
    if (!S_ISSOCK(st.st_mode)) {
        snprintf(err, err_len, "unixsocket %s: a file that is no socket is in the way", path);
        return -EEXIST;
    }
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&a, sizeof a);
    bool alive = rc == 0 || errno == EAGAIN;
    if (fd >= 0)
        close(fd);
    if (alive) {
        snprintf(err, err_len, "unixsocket %s: another process listens there", path);
        return -EADDRINUSE;
    }
    unlink(path);
    return 0;
}

static int open_unix(struct door *d, const char *path, uint32_t perm, char *err, size_t err_len)
{
    int rc = clear_path(path, err, err_len);
    if (rc)
        return rc;
    uv_pipe_init(d->loop, &d->unix_listener, 0);
    d->unix_listener.data = d;
    d->has_unix = true;
    /* The mode is there from the first moment: bind makes it through the umask. */
    mode_t old = perm ? umask((mode_t)(~perm & 0777)) : 0;
    rc = uv_pipe_bind(&d->unix_listener, path);
    if (perm)
        umask(old);
    if (!rc && perm && chmod(path, (mode_t)perm))
        rc = -errno;
    if (!rc)
        rc = uv_listen((uv_stream_t *)&d->unix_listener, DOOR_BACKLOG, on_connection);
    if (rc)
        snprintf(err, err_len, "unixsocket %s: %s", path, uv_strerror(rc));
    return rc;
}

static int open_tcp(struct door *d, int port, char *err, size_t err_len)
{
    struct sockaddr_in a;
    int n = sizeof a;
    uv_ip4_addr("127.0.0.1", port, &a);
    uv_tcp_init(d->loop, &d->tcp_listener);
    d->tcp_listener.data = d;
    d->has_tcp = true;
    int rc = uv_tcp_bind(&d->tcp_listener, (struct sockaddr *)&a, 0);
    if (!rc)
        rc = uv_listen((uv_stream_t *)&d->tcp_listener, DOOR_BACKLOG, on_connection);
    if (!rc)
        rc = uv_tcp_getsockname(&d->tcp_listener, (struct sockaddr *)&a, &n);
    if (rc)
        snprintf(err, err_len, "door-port 127.0.0.1:%d: %s", port, uv_strerror(rc));
    else
        d->port = ntohs(a.sin_port);
    return rc;
}

static bool door_has_handles(const struct door *d)
{
    return d->has_unix || d->has_tcp || d->turning_away;
}

int door_open(struct door **ret, uv_loop_t *loop, struct bridge *b, const struct door_config *c,
              char *err, size_t err_len)
{
    struct door *d = calloc(1, sizeof *d);
    int rc = -ENOMEM;
    if (!d || !(d->path = strdup(c->unixsocket))) {
        free(d);
        snprintf(err, err_len, "no memory");
        return rc;
    }
    d->loop = loop;
    d->bridge = b;
    d->generation = link_control_generation(b->link);
    d->why = "starting";
    d->output_limit = c->output_bytes ? c->output_bytes : LIMIT_DOOR_OUTPUT_BYTES;
    list_init(&d->conns);
    list_init(&d->waiting);
    rc = *d->path ? open_unix(d, d->path, c->unixsocketperm, err, err_len) : 0;
    if (!rc && c->tcp_port >= 0)
        rc = open_tcp(d, c->tcp_port, err, err_len);
    if (rc) {
        door_close(d);
        while (uv_run(loop, UV_RUN_NOWAIT) && door_has_handles(d))
            ;
        door_free(d);
        return rc;
    }
    *ret = d;
    return 0;
}

/* ---- closing ---- */

static void on_unix_closed(uv_handle_t *h)
{
    ((struct door *)h->data)->has_unix = false;
}

static void on_tcp_closed(uv_handle_t *h)
{
    ((struct door *)h->data)->has_tcp = false;
}

void door_close(struct door *d)
{
    if (d->has_unix)
        uv_close((uv_handle_t *)&d->unix_listener,
                 on_unix_closed); /* libuv unlinks the path it bound */
    if (d->has_tcp)
        uv_close((uv_handle_t *)&d->tcp_listener, on_tcp_closed);
    list_for_each_safe(n, next, &d->conns) door_conn_drop(list_entry(n, struct door_conn, node));
}

void door_free(struct door *d)
{
    ASSERT(list_empty(&d->conns));
    free(d->path);
    free(d);
}

int door_tcp_port(const struct door *d)
{
    return d->port;
}
