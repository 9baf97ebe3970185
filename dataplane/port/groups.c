/* groups: the multicast groups of our IPv6 addresses, so that what neighbours ask of them reaches the XDP program. Two doors stand before it:
 *
 *   the NIC's filter of multicast MACs   opened by a packet socket's membership, which needs no IPv6 in Linux
 *   switches that watch group membership (RFC 4541)   opened by MLD reports: Linux's, where it speaks IPv6 on the interface, because it is Linux that
 *                                                     hears the queries there; the stack's own elsewhere
 *
 * Both last as long as the two sockets. What the kernel refuses is left: a switch or NIC that filters nothing works without. With net-share kernel
 * Linux has joined by itself. Thread: main, while the dataplane starts. */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/port/port_internal.h"

/* RFC 2464 7: 33:33 and the last four bytes of the group. */
static void filter_mac(int fd, int ifindex, const uint8_t group[16])
{
    struct packet_mreq m = {.mr_ifindex = ifindex,
                            .mr_type = PACKET_MR_MULTICAST,
                            .mr_alen = 6,
                            .mr_address = {0x33, 0x33}};

    memcpy(m.mr_address + 2, group + 12, 4);
    (void)setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m));
}

static void join(int fd, int ifindex, const uint8_t group[16])
{
    struct ipv6_mreq m = {.ipv6mr_interface = (unsigned)ifindex};

    memcpy(&m.ipv6mr_multiaddr, group, 16);
    (void)setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m));
}

void groups_join(int fds[PORT_GROUP_FDS], const char *iface, const struct port_steer *p)
{
    static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1};
    uint8_t group[16] = {0xff, 0x02, [11] = 1, 0xff}; /* RFC 4291 2.7.1: solicited node */
    int ifindex = (int)if_nametoindex(iface);

    fds[0] = fds[1] = -1;
    if (!p->ip6_count || p->kernel)
        return;
    /* Protocol 0: the socket receives nothing. */
    fds[0] = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    fds[1] = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    filter_mac(fds[0], ifindex, all_nodes);
    for (uint32_t i = 0; i < p->ip6_count && i < PORT_ADDRESSES6; i++) {
        memcpy(group + 13, p->ip6[i] + 13, 3);
        filter_mac(fds[0], ifindex, group);
        join(fds[1], ifindex, group);
    }
}

void groups_leave(int fds[PORT_GROUP_FDS])
{
    for (int i = 0; i < PORT_GROUP_FDS; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}
