/* sockets: packetdrill's table of calls over one stack (stack.h). A blocking call waits for the stack to change; the tool makes such
 * calls from a thread of its own while it moves packets and time. What no call here offers is NULL in the table. Half-close by us does
 * not exist in the stack (RFC 9293 3.6, MAY-1): shutdown(SHUT_WR) is refused, SHUT_RDWR closes. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/net/net_internal.h"
#include "tests/tcp/packetdrill/interface.h"
#include "tests/tcp/packetdrill/stack.h"

/* <netinet/tcp.h> has a struct tcp_info of its own */
#define TCP_NODELAY   1
#define TCP_MAXSEG    2
#define TCP_KEEPIDLE  4
#define TCP_KEEPINTVL 5
#define TCP_KEEPCNT   6

#define POLLS_TO_MOVE 20 /* in vain before the clock moves: another thread may be about to write */

static int fail(int err)
{
    errno = err;
    return -1;
}

static struct pd_socket *by_fd(struct pd *pd, int fd)
{
    for (unsigned i = 0; i < PD_SOCKETS; i++)
        if (pd->socket[i].kind != PD_FREE && pd->socket[i].fd == fd)
            return &pd->socket[i];
    return NULL;
}

static struct pd_socket *socket_new(struct pd *pd, enum pd_kind kind)
{
    for (unsigned i = 0; i < PD_SOCKETS; i++) {
        if (pd->socket[i].kind != PD_FREE)
            continue;
        pd->socket[i] = (struct pd_socket){.kind = kind, .fd = -1};
        return &pd->socket[i];
    }
    return NULL;
}

static void socket_free(struct pd_socket *s)
{
    free(s->rx);
    *s = (struct pd_socket){.fd = -1};
}

/* A descriptor of its own: the tool really closes it. */
static int real_fd(void)
{
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

/* ---- the stack's callbacks ---- */

static void *on_accepted(void *ctx, struct tcp_conn *tc)
{
    struct pd_socket *s = socket_new(ctx, PD_CONN);
    if (s) {
        s->tc = tc;
        s->connected = true;
    }
    return s;
}

static void on_connected(void *cookie, struct tcp_conn *tc, int err)
{
    struct pd_socket *s = cookie;
    s->connected = !err;
    s->err = -err;
    s->closed = err != 0;
    s->tc = err ? NULL : tc;
}

static void on_received(void *cookie, const uint8_t *p, size_t n)
{
    struct pd_socket *s = cookie;
    if (s->rx_len + n > s->rx_cap) {
        size_t cap = 2 * (s->rx_len + n);
        uint8_t *rx = realloc(s->rx, cap);
        if (!rx)
            return;
        s->rx = rx;
        s->rx_cap = cap;
    }
    memcpy(s->rx + s->rx_len, p, n);
    s->rx_len += n;
    if (s->tc)
        tcp_rx_hold(s->tc, s->rx_len);
}

static void on_peer_closed(void *cookie)
{
    ((struct pd_socket *)cookie)->peer_closed = true;
}

static void on_writable(void *cookie)
{
    (void)cookie; /* who waits to write looks after each turn */
}

static void on_closed(void *cookie, int err)
{
    struct pd_socket *s = cookie;
    s->closed = true;
    s->err = -err;
    s->tc = NULL;
    if (s->kind == PD_GONE)
        socket_free(s);
}

void pd_app_init(struct pd *pd)
{
    pd->app = (struct tcp_app){.ctx = pd,
                               .accepted = on_accepted,
                               .connected = on_connected,
                               .received = on_received,
                               .peer_closed = on_peer_closed,
                               .writable = on_writable,
                               .closed = on_closed};
    for (unsigned i = 0; i < PD_SOCKETS; i++)
        pd->socket[i].fd = -1;
}

/* ---- addresses ---- */

static bool from_sockaddr(const struct sockaddr *a, socklen_t n, struct ip_addr *ip, uint16_t *port)
{
    if (a->sa_family == AF_INET && n >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *in = (const void *)a;
        *ip = in->sin_addr.s_addr ? ip_from_v4(ntohl(in->sin_addr.s_addr)) : (struct ip_addr){{0}};
        *port = ntohs(in->sin_port);
        return true;
    }
    if (a->sa_family == AF_INET6 && n >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *in = (const void *)a;
        *ip = ip_load(&in->sin6_addr);
        *port = ntohs(in->sin6_port);
        return true;
    }
    return false;
}

static void to_sockaddr(struct ip_addr ip, uint16_t port, struct sockaddr *a, socklen_t *n)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (!a || !n)
        return;
    in.sin_addr.s_addr = htonl(ip_v4(ip));
    ip_store(&in6.sin6_addr, ip);
    bool v4 = ip_is_v4(ip);
    socklen_t full = v4 ? sizeof(in) : sizeof(in6);
    memcpy(a, v4 ? (void *)&in : (void *)&in6, *n < full ? *n : full);
    *n = full;
}

/* ---- calls: locked by their wrappers below ---- */

static int do_socket(struct pd *pd, int domain, int type)
{
    if ((domain != AF_INET && domain != AF_INET6) || (type & 0xf) != SOCK_STREAM)
        return fail(EAFNOSUPPORT);
    struct pd_socket *s = socket_new(pd, PD_NEW);
    if (!s)
        return fail(EMFILE);
    s->fd = real_fd();
    s->nonblocking = type & SOCK_NONBLOCK;
    return s->fd;
}

static int do_bind(struct pd *pd, struct pd_socket *s, const struct sockaddr *a, socklen_t n)
{
    struct ip_addr ip;
    if (!from_sockaddr(a, n, &ip, &s->port))
        return fail(EINVAL);
    if (!ip_is_unspecified(ip) && !pd->net)
        pd->local = ip;
    return 0;
}

static int do_listen(struct pd *pd, struct pd_socket *s, int backlog)
{
    s->kind = PD_LISTENS;
    pd->cfg.listen_port = s->port;
    pd->cfg.backlog = backlog > 0 ? (uint32_t)backlog : 1;
    if (pd->net) {
        pd->net->cfg.listen_port = s->port;
        pd->net->cfg.backlog = pd->cfg.backlog;
    }
    return 0;
}

static struct pd_socket *waiting(struct pd *pd)
{
    for (unsigned i = 0; i < PD_SOCKETS; i++)
        if (pd->socket[i].kind == PD_CONN && pd->socket[i].fd < 0)
            return &pd->socket[i];
    return NULL;
}

static int do_accept(struct pd *pd, struct pd_socket *s, struct sockaddr *a, socklen_t *n)
{
    struct pd_socket *c;
    struct tcp_addr addr = {0};
    if (s->kind != PD_LISTENS)
        return fail(EINVAL);
    while (!(c = waiting(pd))) {
        if (s->nonblocking)
            return fail(EAGAIN);
        pthread_cond_wait(&pd->changed, &pd->lock);
    }
    c->fd = real_fd();
    if (c->tc)
        tcp_addr(c->tc, &addr);
    to_sockaddr(addr.peer, addr.peer_port, a, n);
    return c->fd;
}

static int do_connect(struct pd *pd, struct pd_socket *s, const struct sockaddr *a, socklen_t n)
{
    struct ip_addr peer;
    uint16_t port;
    if (s->kind == PD_CONN)
        return s->connected ? fail(EISCONN) : s->err ? fail(s->err) : fail(EALREADY);
    if (!from_sockaddr(a, n, &peer, &port) || pd_need_net(pd, (struct ip_addr){{0}}) != 0)
        return fail(EINVAL);
    pd_know_peer(pd, peer);
    s->kind = PD_CONN;
    s->tc = tcp_connect_to(pd->net, peer, port, s->port, s, pd->now_ns);
    if (!s->tc)
        return fail(ENETUNREACH);
    pd_turn(pd);
    if (s->nonblocking)
        return fail(EINPROGRESS);
    while (!s->connected && !s->closed)
        pthread_cond_wait(&pd->changed, &pd->lock);
    return s->connected ? 0 : fail(s->err);
}

static ssize_t do_read(struct pd *pd, struct pd_socket *s, void *p, size_t n, int flags)
{
    while (!s->rx_len) {
        if (s->closed && s->err) {
            int err = s->err;
            s->err = 0;
            return fail(err);
        }
        if (s->peer_closed || s->closed)
            return 0;
        if (s->nonblocking || (flags & MSG_DONTWAIT))
            return fail(EAGAIN);
        pthread_cond_wait(&pd->changed, &pd->lock);
    }
    size_t take = n < s->rx_len ? n : s->rx_len;
    if (p)
        memcpy(p, s->rx, take);
    if (flags & MSG_PEEK)
        return (ssize_t)take;
    memmove(s->rx, s->rx + take, s->rx_len - take);
    s->rx_len -= take;
    if (s->tc) {
        tcp_rx_hold(s->tc, s->rx_len);
        pd_turn(pd);
    }
    return (ssize_t)take;
}

static ssize_t do_write(struct pd *pd, struct pd_socket *s, const void *p, size_t n, int flags)
{
    size_t done = 0;
    while (done < n) {
        size_t room = 0;
        if (!s->tc || s->closed)
            return fail(s->err ? s->err : EPIPE);
        uint8_t *to = tcp_tx_reserve(s->tc, &room);
        if (to) {
            if (room > n - done)
                room = n - done;
            memcpy(to, (const uint8_t *)p + done, room);
            tcp_tx_commit(s->tc, room);
            done += room;
            continue;
        }
        pd_turn(pd);
        if (s->nonblocking || (flags & MSG_DONTWAIT))
            return done ? (ssize_t)done : fail(EAGAIN);
        pthread_cond_wait(&pd->changed, &pd->lock);
    }
    pd_turn(pd);
    return (ssize_t)done;
}

static int do_close(struct pd *pd, struct pd_socket *s)
{
    close(s->fd);
    s->fd = -2; /* nobody's; -1 is a connection to be accepted */
    if (s->kind == PD_LISTENS && pd->net)
        pd->net->cfg.listen_port = 0;
    if (!s->tc) {
        socket_free(s);
        return 0;
    }
    s->kind = PD_GONE;
    if (s->abort_on_close) {
        struct tcp_conn *tc = s->tc;
        socket_free(s);
        tcp_abort(tc);
    } else {
        tcp_close(s->tc);
    }
    pd_turn(pd);
    return 0;
}

static int do_shutdown(struct pd *pd, struct pd_socket *s, int how)
{
    if (how == SHUT_WR)
        return fail(EOPNOTSUPP);
    if (how == SHUT_RDWR && s->tc) {
        tcp_close(s->tc);
        pd_turn(pd);
    }
    return 0;
}

static int do_getsockopt(struct pd *pd, struct pd_socket *s, int level, int name, int *value)
{
    struct tcp_info ti = {0};
    if (s->tc)
        tcp_info(s->tc, &ti);
    if (level == SOL_SOCKET && name == SO_ERROR) {
        *value = s->err;
        s->err = 0;
    } else if (level == SOL_SOCKET && name == SO_RCVBUF) {
        *value = (int)pd->cfg.rcv_buf_bytes;
    } else if (level == SOL_SOCKET && name == SO_SNDBUF) {
        *value = (int)pd->cfg.snd_buf_bytes;
    } else if (level == IPPROTO_TCP && name == TCP_MAXSEG) {
        *value = (int)ti.mss;
    } else if (level == IPPROTO_TCP && name == TCP_NODELAY) {
        *value = 1;
    } else {
        return fail(ENOPROTOOPT);
    }
    return 0;
}

/* The stack is configured as a whole, before its first packet. */
static int do_setsockopt(struct pd *pd, struct pd_socket *s, int level, int name, const void *p,
                         socklen_t n)
{
    int value = 0;
    if (n >= sizeof(value))
        memcpy(&value, p, sizeof(value));
    if (level == SOL_SOCKET && name == SO_LINGER && n >= sizeof(struct linger)) {
        const struct linger *l = p;
        s->abort_on_close = l->l_onoff && !l->l_linger;
        return 0;
    }
    if (level == SOL_SOCKET) {
        switch (name) {
        case SO_REUSEADDR:
        case SO_REUSEPORT:
        case SO_KEEPALIVE: return 0;
        case SO_RCVBUF: pd->cfg.rcv_buf_bytes = (uint32_t)value; return 0;
        case SO_SNDBUF: pd->cfg.snd_buf_bytes = (uint32_t)value; return 0;
        default: return fail(ENOPROTOOPT);
        }
    }
    if (level != IPPROTO_TCP)
        return fail(ENOPROTOOPT);
    switch (name) {
    case TCP_NODELAY: return 0; /* there is no Nagle */
    case TCP_KEEPIDLE: pd->cfg.keepalive_s = (uint32_t)value; return 0;
    case TCP_KEEPINTVL: pd->cfg.keepalive_interval_s = (uint32_t)value; return 0;
    case TCP_KEEPCNT: pd->cfg.keepalive_probes = (uint32_t)value; return 0;
    default: return fail(ENOPROTOOPT);
    }
}

static short ready(struct pd *pd, const struct pd_socket *s)
{
    short r = 0;
    if (s->kind == PD_LISTENS)
        return waiting(pd) ? POLLIN : 0;
    if (s->rx_len || s->peer_closed || s->closed)
        r |= POLLIN;
    if (s->closed)
        r |= s->err ? POLLERR | POLLHUP : POLLHUP;
    if (s->tc && s->connected && tcp_tx_queued(s->tc) < pd->cfg.snd_buf_bytes)
        r |= POLLOUT;
    return r;
}

/* ---- the table ---- */

#define LOCKED(userdata, fd, type, call)         \
    do {                                         \
        struct pd *pd = (userdata);              \
        pthread_mutex_lock(&pd->lock);           \
        struct pd_socket *s = by_fd(pd, fd);     \
        type result_ = s ? (call) : fail(EBADF); \
        pthread_mutex_unlock(&pd->lock);         \
        return result_;                          \
    } while (0)

static int pd_socket_(void *u, int domain, int type, int protocol)
{
    struct pd *pd = u;
    (void)protocol;
    pthread_mutex_lock(&pd->lock);
    int fd = do_socket(pd, domain, type);
    pthread_mutex_unlock(&pd->lock);
    return fd;
}
static int pd_bind(void *u, int fd, const struct sockaddr *a, socklen_t n)
{
    LOCKED(u, fd, int, do_bind(pd, s, a, n));
}
static int pd_listen(void *u, int fd, int backlog)
{
    LOCKED(u, fd, int, do_listen(pd, s, backlog));
}
static int pd_accept(void *u, int fd, struct sockaddr *a, socklen_t *n)
{
    LOCKED(u, fd, int, do_accept(pd, s, a, n));
}
static int pd_connect(void *u, int fd, const struct sockaddr *a, socklen_t n)
{
    LOCKED(u, fd, int, do_connect(pd, s, a, n));
}
static ssize_t pd_recv(void *u, int fd, void *p, size_t n, int flags)
{
    LOCKED(u, fd, ssize_t, do_read(pd, s, p, n, flags));
}
static ssize_t pd_read(void *u, int fd, void *p, size_t n)
{
    return pd_recv(u, fd, p, n, 0);
}
static ssize_t pd_recvfrom(void *u, int fd, void *p, size_t n, int flags, struct sockaddr *a,
                           socklen_t *len)
{
    (void)a;
    if (len)
        *len = 0;
    return pd_recv(u, fd, p, n, flags);
}
static ssize_t pd_send(void *u, int fd, const void *p, size_t n, int flags)
{
    LOCKED(u, fd, ssize_t, do_write(pd, s, p, n, flags));
}
static ssize_t pd_write(void *u, int fd, const void *p, size_t n)
{
    return pd_send(u, fd, p, n, 0);
}
static ssize_t pd_sendto(void *u, int fd, const void *p, size_t n, int flags,
                         const struct sockaddr *a, socklen_t len)
{
    (void)a;
    (void)len;
    return pd_send(u, fd, p, n, flags);
}
/* Pieces one after the other; a piece that comes short ends it. */
static ssize_t pd_recvmsg(void *u, int fd, struct msghdr *m, int flags)
{
    ssize_t sum = 0;
    for (size_t i = 0; i < m->msg_iovlen; i++) {
        ssize_t n = pd_recv(u, fd, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len,
                            sum ? flags | MSG_DONTWAIT : flags);
        if (n <= 0)
            return sum ? sum : n;
        sum += n;
        if ((size_t)n < m->msg_iov[i].iov_len)
            break;
    }
    return sum;
}
static ssize_t pd_sendmsg(void *u, int fd, const struct msghdr *m, int flags)
{
    ssize_t sum = 0;
    for (size_t i = 0; i < m->msg_iovlen; i++) {
        ssize_t n = pd_send(u, fd, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len, flags);
        if (n < 0)
            return sum ? sum : n;
        sum += n;
        if ((size_t)n < m->msg_iov[i].iov_len)
            break;
    }
    return sum;
}
static ssize_t pd_readv(void *u, int fd, const struct iovec *v, int n)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = (size_t)n};
    return pd_recvmsg(u, fd, &m, 0);
}
static ssize_t pd_writev(void *u, int fd, const struct iovec *v, int n)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = (size_t)n};
    return pd_sendmsg(u, fd, &m, 0);
}

static int set_flags(struct pd_socket *s, int cmd, int arg)
{
    if (cmd == F_GETFL)
        return O_RDWR | (s->nonblocking ? O_NONBLOCK : 0);
    if (cmd != F_SETFL)
        return fail(EINVAL);
    s->nonblocking = arg & O_NONBLOCK;
    return 0;
}
static int pd_fcntl(void *u, int fd, int cmd, ...)
{
    va_list ap;
    va_start(ap, cmd);
    int arg = cmd == F_SETFL ? va_arg(ap, int) : 0;
    va_end(ap);
    LOCKED(u, fd, int, set_flags(s, cmd, arg));
}
static int count_bytes(const struct pd_socket *s, unsigned long request, int *ret)
{
    if (request == FIONREAD)
        *ret = (int)s->rx_len;
    else if (request == TIOCOUTQ)
        *ret = s->tc ? (int)tcp_tx_queued(s->tc) : 0;
    else
        return fail(EINVAL);
    return 0;
}
static int pd_ioctl(void *u, int fd, unsigned long request, ...)
{
    va_list ap;
    va_start(ap, request);
    int *arg = va_arg(ap, int *);
    va_end(ap);
    LOCKED(u, fd, int, count_bytes(s, request, arg));
}
static int pd_close(void *u, int fd)
{
    LOCKED(u, fd, int, do_close(pd, s));
}
static int pd_shutdown(void *u, int fd, int how)
{
    LOCKED(u, fd, int, do_shutdown(pd, s, how));
}
static int pd_getsockopt(void *u, int fd, int level, int name, void *p, socklen_t *n)
{
    if (!p || !n || *n < sizeof(int))
        return fail(EINVAL);
    *n = sizeof(int);
    LOCKED(u, fd, int, do_getsockopt(pd, s, level, name, p));
}
static int pd_setsockopt(void *u, int fd, int level, int name, const void *p, socklen_t n)
{
    LOCKED(u, fd, int, do_setsockopt(pd, s, level, name, p, n));
}

static int pd_poll(void *u, struct pollfd *fds, nfds_t n, int timeout)
{
    struct pd *pd = u;
    int hits;
    pthread_mutex_lock(&pd->lock);
    uint64_t end = timeout < 0 ? UINT64_MAX : pd->now_ns + (uint64_t)timeout * NSEC_PER_MS;
    for (;;) {
        hits = 0;
        for (nfds_t i = 0; i < n; i++) {
            struct pd_socket *s = by_fd(pd, fds[i].fd);
            short r = s ? ready(pd, s) : POLLNVAL;
            fds[i].revents = (short)(r & (fds[i].events | POLLERR | POLLHUP | POLLNVAL));
            hits += fds[i].revents != 0;
        }
        if (hits || pd->now_ns >= end)
            break;
        pthread_cond_wait(&pd->changed, &pd->lock);
    }
    pthread_mutex_unlock(&pd->lock);
    return hits;
}

static int pd_netdev_send(void *u, const void *packet, size_t n)
{
    struct pd *pd = u;
    pthread_mutex_lock(&pd->lock);
    int rc = pd_inject(pd, packet, n);
    pthread_mutex_unlock(&pd->lock);
    return rc;
}

/* The tool asks again and again until a packet comes. In between other threads get their chance; when nothing came of that either,
 * the clock goes to the stack's next timer. */
static int pd_netdev_receive(void *u, void *p, size_t *n, long long *time_usecs)
{
    struct pd *pd = u;
    uint64_t at_ns = 0;
    pthread_mutex_lock(&pd->lock);
    bool got = pd_take(pd, p, n, &at_ns);
    if (got) {
        pd->idle_polls = 0;
        *time_usecs = (long long)(at_ns / 1000);
    } else {
        *n = 0;
        if (++pd->idle_polls > POLLS_TO_MOVE && pd->net) {
            uint64_t next = net_next_timer_ns(pd->net);
            pd_advance(pd, next == UINT64_MAX ? pd->now_ns + NSEC_PER_MS : next);
        }
    }
    pthread_mutex_unlock(&pd->lock);
    if (!got && pd->idle_polls <= POLLS_TO_MOVE)
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    return got ? 0 : -1;
}

static int pd_usleep(void *u, useconds_t usec)
{
    struct pd *pd = u;
    pthread_mutex_lock(&pd->lock);
    pd_advance(pd, pd->now_ns + (uint64_t)usec * 1000);
    pthread_mutex_unlock(&pd->lock);
    return 0;
}

static int pd_gettimeofday(void *u, struct timeval *tv, struct timezone *tz)
{
    struct pd *pd = u;
    (void)tz;
    pthread_mutex_lock(&pd->lock);
    tv->tv_sec = (time_t)(pd->now_ns / NSEC_PER_S);
    tv->tv_usec = (suseconds_t)(pd->now_ns % NSEC_PER_S / 1000);
    pthread_mutex_unlock(&pd->lock);
    return 0;
}

static void pd_free(void *u)
{
    pd_delete(u);
}

__attribute__((visibility("default"))) void
packetdrill_interface_init(const char *flags, struct packetdrill_interface *itf)
{
    *itf = (struct packetdrill_interface){.userdata = pd_new(flags),
                                          .free = pd_free,
                                          .socket = pd_socket_,
                                          .bind = pd_bind,
                                          .listen = pd_listen,
                                          .accept = pd_accept,
                                          .connect = pd_connect,
                                          .read = pd_read,
                                          .readv = pd_readv,
                                          .recv = pd_recv,
                                          .recvfrom = pd_recvfrom,
                                          .recvmsg = pd_recvmsg,
                                          .write = pd_write,
                                          .writev = pd_writev,
                                          .send = pd_send,
                                          .sendto = pd_sendto,
                                          .sendmsg = pd_sendmsg,
                                          .fcntl = pd_fcntl,
                                          .ioctl = pd_ioctl,
                                          .close = pd_close,
                                          .shutdown = pd_shutdown,
                                          .getsockopt = pd_getsockopt,
                                          .setsockopt = pd_setsockopt,
                                          .poll = pd_poll,
                                          .netdev_send = pd_netdev_send,
                                          .netdev_receive = pd_netdev_receive,
                                          .usleep = pd_usleep,
                                          .gettimeofday = pd_gettimeofday};
}
