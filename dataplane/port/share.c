/* share: net-share kernel, one address for Linux and us. The address is Linux's; we take one TCP port of it, and Linux must have no use for
 * that port: not for a server, and not as the near end of an outgoing connection, whose answers the XDP program would take.
 * So a socket of ours is bound to it and never listens: while it is there Linux gives the port to nobody else, and answers with RST what reaches it
 * after all (RFC 9293 3.5.2, no such connection). Thread: main, while the dataplane starts. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/port/port_internal.h"

union address {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool same(const struct sockaddr *have, const union address *want)
{
    if (!have || have->sa_family != want->sa.sa_family)
        return false;
    if (have->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)have)->sin_addr.s_addr ==
               want->v4.sin_addr.s_addr;
    return !memcmp(&((const struct sockaddr_in6 *)(const void *)have)->sin6_addr,
                   &want->v6.sin6_addr, sizeof(want->v6.sin6_addr));
}

static bool on_interface(const char *iface, const union address *want)
{
    struct ifaddrs *all, *a;
    bool found = false;

    if (getifaddrs(&all) < 0)
        return false;
    for (a = all; a && !found; a = a->ifa_next)
        found = !strcmp(a->ifa_name, iface) && same(a->ifa_addr, want);
    freeifaddrs(all);
    return found;
}

static union address address4(uint32_t ip, uint16_t port)
{
    union address a = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};

    a.v4.sin_addr.s_addr = htonl(ip);
    return a;
}

static union address address6(const char *iface, const uint8_t ip[16], uint16_t port)
{
    union address a = {.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};

    memcpy(&a.v6.sin6_addr, ip, 16);
    if (IN6_IS_ADDR_LINKLOCAL(&a.v6.sin6_addr))
        a.v6.sin6_scope_id = if_nametoindex(iface);
    return a;
}

bool share_has_address(const char *iface, uint32_t ip)
{
    union address a = address4(ip, 0);

    return ip && on_interface(iface, &a);
}

/* Connections that have ended keep a port busy for a minute; with SO_REUSEADDR they do not, and a server that listens still does. The
 * option goes off again, so that nobody can share the port with us. */
static int bind_to(const union address *a)
{
    const int on = 1, off = 0;
    socklen_t len = a->sa.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
    int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (a->sa.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, &a->sa, len) == 0)
        return fd;
    if (errno == EADDRINUSE) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (bind(fd, &a->sa, len) == 0) {
            (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof(off));
            return fd;
        }
    }
    int r = -errno;
    close(fd);
    return r;
}

static int take_one(const char *iface, const union address *a, uint16_t port, char *err,
                    size_t err_len)
{
    char text[INET6_ADDRSTRLEN];
    const void *bytes =
        a->sa.sa_family == AF_INET ? (const void *)&a->v4.sin_addr : &a->v6.sin6_addr;

    inet_ntop(a->sa.sa_family, bytes, text, sizeof(text));
    if (!on_interface(iface, a))
        return port_fail(err, err_len, -EADDRNOTAVAIL,
                         "net-share kernel, but %s is not Linux's address on %s: name the one that "
                         "`ip address show dev %s` tells, or set net-share none",
                         text, iface, iface);
    int fd = bind_to(a);
    if (fd == -EADDRINUSE)
        return port_fail(err, err_len, fd,
                         "net-share kernel: Linux itself uses port %u of %s (`ss -tanp 'sport = "
                         ":%u'` tells who): stop that, or choose another port",
                         port, text, port);
    if (fd < 0)
        return port_fail(err, err_len, fd, "net-share kernel: port %u of %s cannot be taken: %s",
                         port, text, strerror(-fd));
    return fd;
}

int share_take(int fds[PORT_SHARE_FDS], const char *iface, const struct port_steer *p, char *err,
               size_t err_len)
{
    int n = 0, fd = 0;

    if (!p->tcp_port)
        return port_fail(err, err_len, -EINVAL,
                         "net-share kernel needs a port: with port 0 all of Linux's "
                         "connections would be ours");
    if (p->ip) {
        union address a = address4(p->ip, p->tcp_port);
        fd = take_one(iface, &a, p->tcp_port, err, err_len);
        if (fd >= 0)
            fds[n++] = fd;
    }
    for (uint32_t i = 0; fd >= 0 && i < p->ip6_count && i < PORT_ADDRESSES6; i++) {
        union address a = address6(iface, p->ip6[i], p->tcp_port);
        fd = take_one(iface, &a, p->tcp_port, err, err_len);
        if (fd >= 0)
            fds[n++] = fd;
    }
    if (fd >= 0)
        return n;
    while (n)
        close(fds[--n]);
    return fd;
}
