/* The load generator over kernel sockets: one epoll loop. What is written in a turn leaves by one send for each client (flush). */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/bench/cluster.h"
#include "dataplane/bench/transports.h"
#include "engine/base/assert.h"

#define EVENTS        256
#define READ_BYTES    (256 * 1024)
#define CPU_EVERY_NS  1000000
#define SPIN_BELOW_NS 20000 /* a deadline so near is not slept for: a timer is later than that */

struct sock {
    struct load_client *client; /* NULL: closed, freed when this round of events is over */
    int fd;
    bool connecting, wants_out;
    uint8_t *buf; /* written, not sent */
    size_t off, len, cap;
    struct sock *next_dead;
};

struct place {
    struct sockaddr_storage addr;
    socklen_t len;
};

struct sockets {
    struct transport t;
    int epoll, places;
    struct place place[CLUSTER_NODES_MOST];
    uint8_t *in;
    struct sock *dead;
    uint64_t cpu_ns;
};

static struct sockets *of(struct transport *t)
{
    return (struct sockets *)t;
}

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static uint64_t sockets_now(struct transport *t)
{
    (void)t;
    return clock_ns(CLOCK_MONOTONIC);
}

static void interest(struct sockets *s, struct sock *k, int how)
{
    struct epoll_event ev = {.events = EPOLLIN | (k->wants_out ? EPOLLOUT : 0), .data.ptr = k};
    int r = epoll_ctl(s->epoll, how, k->fd, &ev);
    CHECK(r == 0);
}

static void sock_end(struct sockets *s, struct sock *k)
{
    close(k->fd);
    k->client = NULL;
    k->next_dead = s->dead;
    s->dead = k;
}

static void free_dead(struct sockets *s)
{
    for (struct sock *k; (k = s->dead) != NULL;) {
        s->dead = k->next_dead;
        free(k->buf);
        free(k);
    }
}

static void sockets_connect(struct transport *t, struct load_client *c)
{
    struct sockets *s = of(t);
    const struct place *to = &s->place[c->target];
    int one = 1, fd = socket(to->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        load_connected(c, -errno);
        return;
    }
    if (to->addr.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct sock *k = calloc(1, sizeof(*k));
    CHECK(k);
    k->fd = fd;
    k->client = c;
    c->tc = k;
    if (connect(fd, (const struct sockaddr *)&to->addr, to->len) == 0) {
        interest(s, k, EPOLL_CTL_ADD);
        load_connected(c, 0);
    } else if (errno == EINPROGRESS) {
        k->connecting = k->wants_out = true;
        interest(s, k, EPOLL_CTL_ADD);
    } else {
        int err = -errno;
        c->tc = NULL;
        sock_end(s, k);
        load_connected(c, err);
    }
}

static size_t sockets_write(struct transport *t, struct load_client *c, const uint8_t *p, size_t n)
{
    (void)t;
    struct sock *k = c->tc;
    if (k->off == k->len)
        k->off = k->len = 0;
    if (k->len + n > k->cap) {
        size_t cap = (k->len + n) * 2;
        uint8_t *np = realloc(k->buf, cap);
        CHECK(np);
        k->buf = np;
        k->cap = cap;
    }
    memcpy(k->buf + k->len, p, n);
    k->len += n;
    return n;
}

static void sockets_flush(struct transport *t, struct load_client *c)
{
    struct sockets *s = of(t);
    struct sock *k = c->tc;
    while (k->off < k->len && !k->wants_out) {
        ssize_t n = send(k->fd, k->buf + k->off, k->len - k->off, MSG_NOSIGNAL);
        if (n > 0) {
            k->off += (size_t)n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno == EAGAIN) {
            k->wants_out = true;
            interest(s, k, EPOLL_CTL_MOD);
        } else {
            return; /* reading tells what is wrong */
        }
    }
}

static void sockets_close(struct transport *t, struct load_client *c)
{
    sock_end(of(t), c->tc);
    c->tc = NULL;
}

static void can_write(struct sockets *s, struct sock *k)
{
    struct load_client *c = k->client;
    k->wants_out = false;
    interest(s, k, EPOLL_CTL_MOD);
    if (k->connecting) {
        int err = 0;
        socklen_t n = sizeof(err);
        getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &err, &n);
        k->connecting = false;
        if (err) {
            c->tc = NULL;
            sock_end(s, k);
        }
        load_connected(c, -err);
        return;
    }
    sockets_flush(&s->t, c);
}

static void can_read(struct sockets *s, struct sock *k)
{
    ssize_t n = recv(k->fd, s->in, READ_BYTES, 0);
    if (n > 0) {
        load_received(k->client, s->in, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        struct load_client *c = k->client;
        int err = n == 0 ? 0 : -errno;
        sock_end(s, k);
        load_closed(c, err);
    }
}

static uint64_t sockets_poll(struct transport *t, uint64_t until_ns)
{
    struct sockets *s = of(t);
    struct epoll_event ev[EVENTS];
    uint64_t now = clock_ns(CLOCK_MONOTONIC), wait = until_ns > now ? until_ns - now : 0;
    if (wait < SPIN_BELOW_NS)
        wait = 0;
    struct timespec ts = {.tv_sec = (time_t)(wait / 1000000000),
                          .tv_nsec = (long)(wait % 1000000000)};
    int n = epoll_pwait2(s->epoll, ev, EVENTS, &ts, NULL);
    now = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < n; i++) {
        struct sock *k = ev[i].data.ptr;
        if (k->client)
            k->client->load->now_ns = now;
        if (k->client && (ev[i].events & EPOLLOUT || (k->connecting && ev[i].events)))
            can_write(s, k);
        if (k->client && !k->connecting && ev[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
            can_read(s, k);
    }
    free_dead(s);
    if (now - s->cpu_ns > CPU_EVERY_NS) {
        s->cpu_ns = now;
        t->busy_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    }
    return now;
}

static void sockets_destroy(struct transport *t)
{
    struct sockets *s = of(t);
    free_dead(s);
    close(s->epoll);
    free(s->in);
    free(s);
}

static const char *resolve(struct place *to, const char *host, uint16_t port, const char *path)
{
    if (path) {
        struct sockaddr_un *un = (struct sockaddr_un *)&to->addr;
        if (strlen(path) >= sizeof(un->sun_path))
            return "the path is too long";
        un->sun_family = AF_UNIX;
        strcpy(un->sun_path, path);
        to->len = sizeof(*un);
        return NULL;
    }
    struct addrinfo *ai, hints = {.ai_socktype = SOCK_STREAM};
    char service[8];
    snprintf(service, sizeof(service), "%u", port);
    int r = getaddrinfo(host, service, &hints, &ai);
    if (r)
        return gai_strerror(r);
    memcpy(&to->addr, ai->ai_addr, ai->ai_addrlen);
    to->len = ai->ai_addrlen;
    freeaddrinfo(ai);
    return NULL;
}

static void set_port(struct place *p, uint16_t port)
{
    if (p->addr.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&p->addr)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)&p->addr)->sin_port = htons(port);
}

/* Without a host: that of the first place. */
static int sockets_target(struct transport *t, const char *host, uint16_t port)
{
    struct sockets *s = of(t);
    struct place p = s->place[0];
    if (p.addr.ss_family == AF_UNIX && !*host)
        return -EDESTADDRREQ;
    if (!*host)
        set_port(&p, port);
    else if (resolve(&p, host, port, NULL))
        return -EHOSTUNREACH;
    for (int i = 0; i < s->places; i++)
        if (s->place[i].len == p.len && memcmp(&s->place[i].addr, &p.addr, p.len) == 0)
            return i;
    if (s->places == CLUSTER_NODES_MOST)
        return -E2BIG;
    s->place[s->places] = p;
    return s->places++;
}

struct transport *transport_socket(const char *host, uint16_t port, const char *path, char *err,
                                   size_t err_len)
{
    static const struct transport_ops ops = {
        .connect = sockets_connect,
        .target = sockets_target,
        .write = sockets_write,
        .flush = sockets_flush,
        .close = sockets_close,
        .poll = sockets_poll,
        .now = sockets_now,
        .destroy = sockets_destroy,
    };
    struct sockets *s = calloc(1, sizeof(*s));
    CHECK(s);
    s->t = (struct transport){.ops = &ops, .name = "kernel sockets"};
    s->places = 1;
    const char *why = resolve(&s->place[0], host, port, path);
    s->epoll = why ? -1 : epoll_create1(EPOLL_CLOEXEC);
    s->in = malloc(READ_BYTES);
    if (s->epoll >= 0 && s->in)
        return &s->t;
    snprintf(err, err_len, "%s: %s", path ? path : host, why ? why : strerror(errno));
    free(s->in);
    free(s);
    return NULL;
}
