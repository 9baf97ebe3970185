/* Packet buffers: how large, how many, how much memory that makes, and the pools themselves.
 *
 *   object = mempool header 64 | struct rte_mbuf 128 | headroom 128 | frame (+ 256 of XDP's own headroom on AF_XDP)
 *
 * On AF_XDP an object is a chunk of the umem, which the kernel limits to one page: that bounds the MTU near 3.5 KB.
 * Thread: main; the pools' users are their worker alone. */
#include <errno.h>
#include <unistd.h>

#include <rte_errno.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

#include "dataplane/port/port_internal.h"

#define OBJECT_HEADER_BYTES RTE_CACHE_LINE_ROUNDUP(sizeof(struct rte_mempool_objhdr))
#define EAL_BASE_BYTES      (24ull << 20) /* ethdev, memzones, heap bookkeeping, telemetry */
#define EAL_WORKER_BYTES \
    (8ull                \
     << 20) /* per-lcore mempool caches of three pools (RTE_MAX_LCORE of them), rings, driver queues */

/* The largest IP packet that a driver's buffers carry. */
uint16_t port_mtu_max(enum port_kind kind)
{
    const uint32_t head = OBJECT_HEADER_BYTES + sizeof(struct rte_mbuf) + RTE_PKTMBUF_HEADROOM;

    if (kind == PORT_AF_XDP)
        return (uint16_t)((uint32_t)sysconf(_SC_PAGESIZE) - head - PORT_XDP_HEADROOM -
                          PORT_FRAME_OVERHEAD);
    if (kind == PORT_TAP) /* the driver's: one VLAN frame */
        return RTE_ETHER_MTU;
    return (uint16_t)(LIMIT_FRAME_BYTES - PORT_FRAME_OVERHEAD);
}

/* The MTU is that of the IP packet; room for one VLAN tag is always there. */
int port_sizes(struct port_sizes *ret, enum port_kind kind, uint16_t mtu, uint32_t workers,
               uint32_t data_mbufs, char *err, size_t err_len)
{
    const uint32_t head = OBJECT_HEADER_BYTES + sizeof(struct rte_mbuf);
    uint32_t frame = (uint32_t)mtu + PORT_FRAME_OVERHEAD;
    uint32_t room = frame <= 1600 ? 2048 : RTE_ALIGN_CEIL(frame, 1024);

    if (kind == PORT_AF_XDP && mtu > port_mtu_max(kind))
        return port_fail(err, err_len, -EMSGSIZE,
                         "net-mtu %u: AF_XDP carries at most %u bytes with pages of %ld: set "
                         "net-mtu %u or less",
                         mtu, port_mtu_max(kind), sysconf(_SC_PAGESIZE), port_mtu_max(kind));
    if (kind == PORT_TAP && mtu > port_mtu_max(kind))
        return port_fail(err, err_len, -EMSGSIZE,
                         "net-mtu %u: DPDK's TAP driver carries at most %u: set net-mtu %u or less",
                         mtu, port_mtu_max(kind), port_mtu_max(kind));
    if (mtu < 576 || mtu > port_mtu_max(kind))
        return port_fail(err, err_len, -EMSGSIZE, "net-mtu %u: 576 to %u", mtu, port_mtu_max(kind));
    if (kind == PORT_AF_XDP) {
        uint32_t most = (uint32_t)sysconf(_SC_PAGESIZE) - head - RTE_PKTMBUF_HEADROOM;
        if (room < frame + PORT_XDP_HEADROOM)
            room = RTE_ALIGN_CEIL(frame + PORT_XDP_HEADROOM, 64);
        if (room > most)
            room = most;
    }
    if (kind == PORT_AF_PACKET && frame + PORT_TPACKET_HEAD > 2048) /* as add_af_packet */
        room = RTE_ALIGN_CEIL(frame + PORT_TPACKET_HEAD, 4096);
    ret->data_room_bytes = room + RTE_PKTMBUF_HEADROOM;
    ret->object_bytes = head + ret->data_room_bytes;
    ret->rx_mbufs = PORT_RX_MBUFS;
    ret->data_mbufs = data_mbufs ? data_mbufs : PORT_DATA_MBUFS;
    ret->reserve_mbufs = PORT_RESERVE_MBUFS;
    uint64_t per_worker =
        (uint64_t)(ret->rx_mbufs + ret->data_mbufs + ret->reserve_mbufs) * (ret->object_bytes + 8);
    ret->memory_bytes = EAL_BASE_BYTES + workers * (per_worker + EAL_WORKER_BYTES);
    return 0;
}

struct rte_mempool *port_pool_create(const char *name, uint32_t n, uint32_t data_room_bytes,
                                     uint32_t cache, bool dma, int socket)
{
    struct rte_pktmbuf_pool_private priv = {.mbuf_data_room_size = (uint16_t)data_room_bytes};
    struct rte_mempool *mp;

    if (dma)
        return rte_pktmbuf_pool_create(name, n, cache, 0, (uint16_t)data_room_bytes, socket);
    /* rte_pktmbuf_pool_create would keep objects from crossing 4 KB pages, one mbuf a page with --no-huge; nothing here does DMA.
     * No spreading over memory channels either: it would push a large object over the page that AF_XDP allows. */
    mp = rte_mempool_create_empty(name, n, (unsigned)(sizeof(struct rte_mbuf) + data_room_bytes),
                                  cache, sizeof(priv), socket,
                                  RTE_MEMPOOL_F_NO_IOVA_CONTIG | RTE_MEMPOOL_F_NO_SPREAD);
    if (!mp)
        return NULL;
    if (rte_mempool_set_ops_byname(mp, rte_mbuf_best_mempool_ops(), NULL) < 0)
        goto fail;
    rte_pktmbuf_pool_init(mp, &priv);
    if (rte_mempool_populate_default(mp) < (int)n)
        goto fail;
    rte_mempool_obj_iter(mp, rte_pktmbuf_init, NULL);
    return mp;
fail:
    rte_mempool_free(mp);
    rte_errno = ENOMEM;
    return NULL;
}
