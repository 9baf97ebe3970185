/* What the stack is told of the port under it: the two know nothing of each other. For the mains. */
#pragma once

#include "dataplane/net/net.h"
#include "dataplane/port/port.h"

/* ctx is the caller's. */
static inline struct net_wire port_wire(const struct port_info *info)
{
    return (struct net_wire){.tx = info->tx_tcp_checksum ? port_tx_offloaded : port_tx,
                             .tx_ip_checksum = info->tx_ip_checksum,
                             .tx_tcp_checksum = info->tx_tcp_checksum,
                             .rx_checksum = info->rx_checksum,
                             .tx_multi_seg = info->tx_multi_seg,
                             .tx_tso = info->tx_tso,
                             .tx_max_segs = info->tx_max_segs,
                             .rx_vlan_strip = info->rx_vlan_strip};
}
