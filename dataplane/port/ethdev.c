/* One ethdev: what it can do, configure, queues, start. Offloads are taken only where hardware does them; the capabilities that
 * come out are what net_wire tells the stack. Thread: main. */
#include "dataplane/port/ethdev.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_lcore.h>

static void choose_offloads(const struct rte_eth_dev_info *d, const struct ethdev_setup *s,
                            bool rss, struct rte_eth_conf *conf)
{
    const uint64_t cut =
        RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_MULTI_SEGS | RTE_ETH_TX_OFFLOAD_TCP_TSO;

    conf->txmode.offloads |= d->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    /* The TAP driver "offloads" checksums and cutting to software of its own, per packet and after a copy: ours is cheaper. */
    if (s->kind != PORT_TAP) {
        conf->rxmode.offloads |= d->rx_offload_capa & RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
        conf->txmode.offloads |= d->tx_offload_capa & RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
        if ((d->tx_offload_capa & cut) == cut) /* IP's sum is of use where packets are cut only */
            conf->txmode.offloads |=
                d->tx_offload_capa & (RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM);
        if (s->vlan)
            conf->rxmode.offloads |= d->rx_offload_capa & RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
    }
    if (rss) {
        conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf->rx_adv_conf.rss_conf.rss_hf =
            d->flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP);
    }
}

static void describe(const struct rte_eth_conf *conf, const struct rte_eth_dev_info *d,
                     struct port_info *info)
{
    info->tx_ip_checksum = conf->txmode.offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
    info->tx_tcp_checksum = conf->txmode.offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
    info->rx_checksum = conf->rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
    info->tx_multi_seg = conf->txmode.offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    info->tx_tso = conf->txmode.offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO;
    info->rx_vlan_strip = conf->rxmode.offloads & RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
    if (d->tx_desc_lim.nb_seg_max)
        info->tx_max_segs = RTE_MIN(info->tx_max_segs, d->tx_desc_lim.nb_seg_max);
    info->rss = conf->rxmode.mq_mode == RTE_ETH_MQ_RX_RSS;
    snprintf(info->driver, sizeof(info->driver), "%s", d->driver_name);
}

static int setup_queues(const struct ethdev_setup *s, const struct rte_eth_dev_info *d,
                        const struct rte_eth_conf *conf, struct port_info *info, char *err,
                        size_t err_len)
{
    uint16_t rx_desc = s->kind == PORT_AF_XDP ? PORT_RX_DESC : s->kind == PORT_TAP ? 256 : 1024;
    uint16_t tx_desc = rx_desc;
    int r = rte_eth_dev_adjust_nb_rx_tx_desc(s->port_id, &rx_desc, &tx_desc);

    if (r < 0)
        return port_fail(err, err_len, r, "%s: ring sizes: %s", d->driver_name, strerror(-r));
    info->tx_max_segs = tx_desc / 4; /* a packet must find room in the ring, and not be all of it */
    for (uint16_t q = 0; q < s->queues; q++) {
        unsigned socket = rte_lcore_to_socket_id(s->first_worker + q);
        struct rte_eth_rxconf rxc = d->default_rxconf;
        struct rte_eth_txconf txc = d->default_txconf;
        rxc.offloads = conf->rxmode.offloads;
        txc.offloads = conf->txmode.offloads;
        r = rte_eth_rx_queue_setup(s->port_id, q, rx_desc, socket, &rxc, s->rx_pool[q]);
        if (r == 0)
            r = rte_eth_tx_queue_setup(s->port_id, q, tx_desc, socket, &txc);
        if (r < 0)
            return port_fail(err, err_len, r, "%s: queue %u could not be set up: %s%s%s%s",
                             d->driver_name, s->first_worker + q, strerror(-r),
                             *port_log_last() ? "; DPDK says: " : "", port_log_last(),
                             s->kind == PORT_AF_XDP
                                 ? "; is another program on the interface? `ip link show` tells, "
                                   "`ip link set dev IFACE xdp off` takes a left-over one away"
                                 : "");
    }
    return 0;
}

int ethdev_start(const struct ethdev_setup *s, struct port_info *info, char *err, size_t err_len)
{
    struct rte_eth_conf conf;
    struct rte_eth_dev_info d;
    struct rte_ether_addr mac;
    int r = rte_eth_dev_info_get(s->port_id, &d);

    if (r < 0)
        return port_fail(err, err_len, r, "port %u cannot be asked: %s", s->port_id, strerror(-r));
    if (d.max_rx_queues < s->queues || d.max_tx_queues < s->queues)
        return port_fail(err, err_len, -EINVAL,
                         "%s has %u receive and %u transmit queues and %u workers need one of "
                         "each: set workers %u",
                         d.driver_name, d.max_rx_queues, d.max_tx_queues, s->queues,
                         RTE_MIN(d.max_rx_queues, d.max_tx_queues));
    if (s->kind != PORT_AF_PACKET && s->mtu > d.max_mtu)
        return port_fail(err, err_len, -EMSGSIZE, "%s carries an MTU of at most %u: set net-mtu %u",
                         d.driver_name, d.max_mtu, d.max_mtu);
    bool rss = s->queues > 1 && s->kind != PORT_TAP &&
               (d.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP));
    memset(&conf, 0, sizeof(conf));
    choose_offloads(&d, s, rss, &conf);
    /* af_packet states one frame size whatever framesz it was given; the interface's MTU was looked at by host_check. */
    conf.rxmode.mtu = s->kind == PORT_AF_PACKET ? RTE_MIN(s->mtu, RTE_ETHER_MTU) : s->mtu;
    r = rte_eth_dev_configure(s->port_id, s->queues, s->queues, &conf);
    if (r < 0)
        return port_fail(err, err_len, r, "%s could not be configured: %s%s%s", d.driver_name,
                         strerror(-r), *port_log_last() ? "; DPDK says: " : "", port_log_last());
    r = setup_queues(s, &d, &conf, info, err, err_len);
    if (r < 0)
        return r;
    /* -ENOTSUP: the device has the MTU it has; host_check has looked at it. */
    if (s->kind != PORT_AF_XDP && s->kind != PORT_AF_PACKET) {
        r = rte_eth_dev_set_mtu(s->port_id, s->mtu);
        if (r < 0 && r != -ENOTSUP)
            return port_fail(err, err_len, r, "%s: MTU %u: %s", d.driver_name, s->mtu,
                             strerror(-r));
    }
    r = rte_eth_dev_start(s->port_id);
    if (r < 0)
        return port_fail(err, err_len, r, "%s could not be started: %s%s%s", d.driver_name,
                         strerror(-r), *port_log_last() ? "; DPDK says: " : "", port_log_last());
    r = rte_eth_macaddr_get(s->port_id, &mac);
    if (r < 0) {
        rte_eth_dev_stop(s->port_id);
        return port_fail(err, err_len, r, "%s has no MAC address: %s", d.driver_name, strerror(-r));
    }
    describe(&conf, &d, info);
    memcpy(info->mac, mac.addr_bytes, sizeof(info->mac));
    /* The driver gives the Linux side of a TAP the address it reports; we are the other end of that wire and need one of our own.
     * Linux hands every frame to us, whatever its address. */
    if (s->kind == PORT_TAP)
        info->mac[5] ^= 1;
    info->mtu = s->mtu;
    return 0;
}
