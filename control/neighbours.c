/* neighbours: see neighbours.h. rtnetlink(7): RTM_GETNEIGH tells a neighbour's state, the group RTNLGRP_NEIGH every change of it.
 *
 * What makes Linux resolve a neighbour is a packet to it: an empty UDP datagram to the discard port (RFC 863), bound to the interface, not routed.
 * RTM_NEWNEIGH with NTF_USE would do without one, but from Linux 5.16 on it takes NUD_PERMANENT from an administrator's entry.
 *
 * Every length in a message of the kernel is walked before it is used; messages that do not come from the kernel are thrown away. */
#include "control/neighbours.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/log.h"

#define READS_PER_TURN 16 /* buffers of messages, so that others get their turn */
#define DISCARD_PORT   9
#define VALID          (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT)

struct neighbours {
    struct bridge *bridge;
    uv_poll_t poll;
    int fd, udp[2]; /* udp: IPv4 and IPv6; -1: that family is not there */
    char iface[IF_NAMESIZE];
    unsigned ifindex; /* 0: the interface is not there */
    uint32_t seq;
    bool dumping, dump_again, told_of_error;
    _Alignas(struct nlmsghdr) char buffer[32768];
};

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

/* ---- to Linux ---- */

struct request {
    struct nlmsghdr h;
    struct ndmsg nd;
    char attributes[RTA_SPACE(16)];
};

/* addr NULL: without one. The kernel has done it when this returns; what it says comes by the socket. */
static int ask_linux(struct neighbours *n, uint16_t flags, const uint8_t *addr)
{
    struct request r = {.h = {.nlmsg_len = NLMSG_LENGTH(sizeof r.nd),
                              .nlmsg_type = RTM_GETNEIGH,
                              .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
                              .nlmsg_seq = ++n->seq},
                        .nd = {.ndm_family = AF_UNSPEC, .ndm_ifindex = (int)n->ifindex}};
    if (addr) {
        bool v4 = memcmp(addr, mapped, sizeof mapped) == 0;
        struct rtattr *a = (struct rtattr *)(void *)r.attributes;
        r.nd.ndm_family = v4 ? AF_INET : AF_INET6;
        a->rta_type = NDA_DST;
        a->rta_len = RTA_LENGTH(v4 ? 4 : 16);
        memcpy(RTA_DATA(a), v4 ? addr + 12 : addr, v4 ? 4 : 16);
        r.h.nlmsg_len += RTA_ALIGN(a->rta_len);
    }
    return send(n->fd, &r, r.h.nlmsg_len, 0) < 0 ? -errno : 0;
}

/* The kernel runs one dump of a socket at a time. */
static void dump(struct neighbours *n)
{
    if (n->dumping) {
        n->dump_again = true;
        return;
    }
    n->dump_again = false;
    n->dumping = n->ifindex && ask_linux(n, NLM_F_DUMP, NULL) == 0;
}

/* Errors are of no interest: a neighbour that cannot be reached is not told. */
static void send_to(struct neighbours *n, const uint8_t *addr)
{
    bool v4 = memcmp(addr, mapped, sizeof mapped) == 0;
    int fd = n->udp[v4 ? 0 : 1];
    struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(DISCARD_PORT)};
    struct sockaddr_in6 to6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(DISCARD_PORT), .sin6_scope_id = n->ifindex};
    memcpy(&to4.sin_addr, addr + 12, sizeof to4.sin_addr);
    memcpy(&to6.sin6_addr, addr, sizeof to6.sin6_addr);
    if (fd < 0 || (v4 ? addr[12] >= 224 : addr[0] == 0xff)) /* a group is no neighbour */
        return;
    if (v4)
        (void)sendto(fd, "", 0, MSG_DONTROUTE, (struct sockaddr *)&to4, sizeof to4);
    else
        (void)sendto(fd, "", 0, MSG_DONTROUTE, (struct sockaddr *)&to6, sizeof to6);
}

/* First sent to, then asked for: a neighbour that is known answers at once, one that is not by a notification. */
void neighbours_message(struct neighbours *n, uint32_t worker, struct span payload)
{
    struct link_control *stats = link_control_stats(n->bridge->link);
    struct msg_neigh m;
    memcpy(&m, payload.p, sizeof m); /* the bridge checked the length */
    STAT_INC(stats->neighbours_asked);
    if (!n->ifindex)
        n->ifindex = if_nametoindex(n->iface);
    send_to(n, m.addr);
    if (ask_linux(n, 0, m.addr))
        bridge_bad(n->bridge, worker, MSG_NEIGH_ASK, "Linux does not take the question");
}

void neighbours_up(struct neighbours *n)
{
    n->ifindex = if_nametoindex(n->iface);
    dump(n);
}

void neighbours_room(struct neighbours *n, uint32_t worker)
{
    (void)worker;
    if (n->dump_again)
        dump(n);
}

/* ---- from Linux ---- */

static void tell(struct neighbours *n, const struct msg_neigh *m)
{
    struct link_control *stats = link_control_stats(n->bridge->link);
    STAT_INC(stats->neighbours_told);
    for (uint32_t w = 0; w < n->bridge->workers; w++)
        if (!bridge_send(n->bridge, w, MSG_NEIGH, m, sizeof *m, NULL, 0)) {
            n->dump_again = true;
            bridge_want_room(n->bridge, w);
        }
}

static void on_neighbour(struct neighbours *n, const struct nlmsghdr *h)
{
    const struct ndmsg *nd = NLMSG_DATA(h);
    struct msg_neigh m = {.known = 0};
    bool has_addr = false, has_mac = false;
    if (h->nlmsg_len < NLMSG_LENGTH(sizeof *nd) || nd->ndm_ifindex != (int)n->ifindex ||
        nd->ndm_flags & NTF_PROXY)
        return;
    const struct rtattr *a = (const void *)((const char *)nd + NLMSG_ALIGN(sizeof *nd));
    unsigned len = (unsigned)(h->nlmsg_len - NLMSG_SPACE(sizeof *nd));
    for (; RTA_OK(a, len); a = RTA_NEXT(a, len)) {
        size_t bytes = RTA_PAYLOAD(a);
        if (a->rta_type == NDA_DST && nd->ndm_family == AF_INET && bytes == 4) {
            memcpy(m.addr, mapped, sizeof mapped);
            memcpy(m.addr + sizeof mapped, RTA_DATA(a), 4);
            has_addr = true;
        } else if (a->rta_type == NDA_DST && nd->ndm_family == AF_INET6 && bytes == 16) {
            memcpy(m.addr, RTA_DATA(a), 16);
            has_addr = true;
        } else if (a->rta_type == NDA_LLADDR && bytes == sizeof m.mac) {
            memcpy(m.mac, RTA_DATA(a), sizeof m.mac);
            has_mac = true;
        }
    }
    m.known = (nd->ndm_state & VALID) && has_mac;
    if (has_addr && (m.known || nd->ndm_state & NUD_FAILED))
        tell(n, &m);
}

static void on_error(struct neighbours *n, const struct nlmsghdr *h)
{
    const struct nlmsgerr *e = NLMSG_DATA(h);
    if (h->nlmsg_len < NLMSG_LENGTH(sizeof *e) || e->error == 0 || e->error == -ENOENT)
        return; /* not known yet */
    if (e->msg.nlmsg_flags & NLM_F_DUMP)
        n->dumping = false;
    if (!n->told_of_error)
        log_warning("net-share kernel: Linux does not tell its neighbours on %s: %s", n->iface,
                    strerror(-e->error));
    n->told_of_error = true;
}

static void on_messages(struct neighbours *n, size_t len)
{
    const struct nlmsghdr *h = (const void *)n->buffer;
    unsigned left = (unsigned)len;
    for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
        switch (h->nlmsg_type) {
        case RTM_NEWNEIGH: on_neighbour(n, h); break;
        case NLMSG_ERROR: on_error(n, h); break;
        case NLMSG_DONE: n->dumping = false; break;
        }
    }
}

static void on_readable(uv_poll_t *p, int status, int events)
{
    struct neighbours *n = p->data;
    (void)status, (void)events; /* recvfrom tells */
    for (int i = 0; i < READS_PER_TURN; i++) {
        struct sockaddr_nl from = {0};
        socklen_t from_len = sizeof from;
        ssize_t got = recvfrom(n->fd, n->buffer, sizeof n->buffer, MSG_DONTWAIT,
                               (struct sockaddr *)&from, &from_len);
        if (got < 0 && errno == ENOBUFS) { /* notifications were lost */
            n->dumping = false;
            dump(n);
            continue;
        }
        if (got <= 0)
            return;
        if (from.nl_pid == 0)
            on_messages(n, (size_t)got);
    }
}

/* ---- life ---- */

static int open_udp(const char *iface, int family)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, iface, (socklen_t)strlen(iface))) {
        close(fd);
        return -1;
    }
    return fd;
}

static void close_all(struct neighbours *n)
{
    int fds[] = {n->fd, n->udp[0], n->udp[1]};
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

struct neighbours *neighbours_new(uv_loop_t *loop, struct bridge *b, const char *port, char *err,
                                  size_t err_len)
{
    struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_NEIGH};
    const char *colon = strchr(port, ':');
    struct neighbours *n = calloc(1, sizeof *n);
    if (!n || !colon || strlen(colon + 1) >= sizeof n->iface) {
        snprintf(err, err_len, n ? "net-port %s names no interface" : "no memory", port);
        free(n);
        return NULL;
    }
    strcpy(n->iface, colon + 1);
    n->bridge = b;
    n->ifindex = if_nametoindex(n->iface);
    n->udp[0] = open_udp(n->iface, AF_INET);
    n->udp[1] = open_udp(n->iface, AF_INET6);
    n->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (n->fd < 0 || bind(n->fd, (struct sockaddr *)&a, sizeof a) < 0 ||
        uv_poll_init(loop, &n->poll, n->fd) < 0) {
        snprintf(err, err_len, "no rtnetlink socket: %s", strerror(errno));
        close_all(n);
        free(n);
        return NULL;
    }
    n->poll.data = n;
    uv_poll_start(&n->poll, UV_READABLE, on_readable);
    return n;
}

void neighbours_close(struct neighbours *n)
{
    if (n)
        uv_close((uv_handle_t *)&n->poll, NULL);
}

void neighbours_free(struct neighbours *n)
{
    if (!n)
        return;
    close_all(n);
    free(n);
}
