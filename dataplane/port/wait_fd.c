/* The descriptor on which a worker may sleep until its queue has frames.
 *
 * DPDK's AF_XDP, af_packet and TAP drivers have one inside each queue and do not tell it, so it is found among the process's own: the
 * ones of the right kind that appeared when the port was started; the drivers open them in the order of their queues.
 * Set-up only, main thread. */
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/port/port_internal.h"

#ifndef AF_XDP
#define AF_XDP 44
#endif
#define FDS 1024

static bool is_socket_of(int fd, int domain)
{
    int got;
    socklen_t len = sizeof(got);
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &got, &len) == 0 && got == domain;
}

static bool is_tun(int fd)
{
    char path[64], target[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = 0;
    return strcmp(target, "/dev/net/tun") == 0;
}

/* A detached TAP queue reports an error for ever: nothing to sleep on. */
static bool can_wait(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) >= 0 && !(p.revents & (POLLERR | POLLHUP | POLLNVAL));
}

unsigned port_wait_fds(enum port_kind kind, const int *taken, unsigned ntaken, int *ret,
                       unsigned cap)
{
    unsigned n = 0;
    for (int fd = 3; fd < FDS && n < cap; fd++) {
        bool seen = false;
        for (unsigned i = 0; i < ntaken; i++)
            seen |= taken[i] == fd;
        if (seen)
            continue;
        if ((kind == PORT_AF_XDP && is_socket_of(fd, AF_XDP)) ||
            (kind == PORT_AF_PACKET && is_socket_of(fd, AF_PACKET)) ||
            (kind == PORT_TAP && is_tun(fd))) {
            if (can_wait(fd))
                ret[n++] = fd;
        }
    }
    return n;
}
