/* Setting up one ethdev; private to port. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <rte_mempool.h>

#include "dataplane/port/port_internal.h"

struct ethdev_setup {
    uint16_t port_id, queues, mtu;
    uint32_t first_worker; /* the worker of queue 0 */
    enum port_kind kind;
    bool vlan;                    /* frames have a tag */
    struct rte_mempool **rx_pool; /* `queues` of them */
};

/* Configures and starts; fills driver, mac, mtu and capabilities of info. On failure nothing runs, but the device is still attached. */
int ethdev_start(const struct ethdev_setup *s, struct port_info *info, char *err, size_t err_len);
