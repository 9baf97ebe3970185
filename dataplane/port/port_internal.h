/* Private parts of port: the grammar of net-port, what the host says of an interface, the EAL's argument vector, pools, DPDK's log.
 * All of it runs on the main thread while the dataplane starts or stops; only port_rx and port_tx are called by workers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "dataplane/port/port.h"
#include "engine/base/limits.h"

#define PORT_RX_DESC \
    2048 /* AF_XDP: entries of the rx and tx rings; others are asked and may take fewer */
#define PORT_RX_MBUFS       6144 /* fill + rx rings 2048, tx + completion rings 2048, bursts and cache */
#define PORT_DATA_MBUFS     16384
#define PORT_RESERVE_MBUFS  512
#define PORT_MBUF_CACHE     256
#define PORT_TAP_QUEUES     16 /* RTE_PMD_TAP_MAX_QUEUES */
#define PORT_PACKET_QUEUES  16 /* RTE_PMD_AF_PACKET_MAX_RINGS */
#define PORT_SPECS          LIMIT_WORKERS
#define PORT_ARGS           256
#define PORT_ARG_BYTES      16384
#define PORT_FRAME_OVERHEAD 18u /* Ethernet header and one 802.1Q tag */
#define PORT_TPACKET_HEAD \
    112 /* tpacket2_hdr, sockaddr_ll and their alignment in front of a frame */
#define PORT_XDP_HEADROOM 256 /* XDP_PACKET_HEADROOM: the kernel's own room in front of a frame */

/* ---- spec.c: net-port ---- */
enum port_kind { PORT_AF_XDP, PORT_TAP, PORT_AF_PACKET, PORT_PCI, PORT_VDEV };

struct port_spec {
    enum port_kind kind;
    char name
        [512]; /* interface, PCI address with domain, or the EAL's vdev strings separated by ';' */
};

/* 0, or -EINVAL with err in plain words. `ret` is untouched on failure. */
int port_spec_parse(struct port_spec *ret, const char *text, char *err, size_t err_len);
/* Piece i of a list of vdev strings; false: there is none. */
bool port_spec_vdev(const struct port_spec *s, unsigned i, char *to, size_t n);
unsigned port_spec_vdevs(const struct port_spec *s);

/* ---- host.c: what Linux says ---- */
struct host_iface {
    bool exists, up;
    uint8_t mac[6];
    uint32_t mtu, rx_queues,
        tx_queues; /* queues in use: ethtool channels, or the queue directories of sysfs */
    bool combined; /* the channels are combined ones: mended with `ethtool -L X combined N` */
};

void host_iface(const char *name, struct host_iface *ret);
/* Does a default route (IPv4 table text as of /proc/net/route) leave through this interface? Route and ipv6 tables are passed as
 * paths so that tests can bring their own. */
bool host_default_route(const char *iface, const char *route_path, const char *route6_path);
/* Does Linux speak IPv6 on the interface? conf_dir: /proc/sys/net/ipv6/conf. */
bool host_ip6(const char *iface, const char *conf_dir);
uint64_t host_free_hugepage_bytes(const char *sysfs_dir);
/* CPUs this process may use, ascending. Returns how many (at least 1). */
unsigned host_cpus(int *to, unsigned max);
/* "vfio-pci", "mlx5_core", ...; "" when there is none. False: no such device. */
bool host_pci_driver(const char *address, char *to, size_t n);
/* The kernel interface on a PCI device, "" when it has none. */
void host_pci_iface(const char *address, char *to, size_t n);
/* Refuses what cannot work or must not be touched, with the command that mends it. `shared`: Linux keeps the interface for all but our
 * TCP port, so it may be the one that the default route leaves by. */
int host_check(const struct port_spec *s, uint32_t workers, uint16_t mtu, bool shared, char *err,
               size_t err_len);

/* One Barewire per interface: a lock that ends with the process. Returns its descriptor, -EBUSY with err, or -1 where the kind of
 * port needs none. */
int host_lock(const struct port_spec *s, char *err, size_t err_len);

/* ---- xdp.c ---- */
/* Refuses an interface that carries somebody else's XDP program: the driver would take it off when it closes. */
int xdp_check(const char *iface, char *err, size_t err_len);
/* Silences libbpf and libxdp, which talk to stderr, and keeps libxdp's dispatcher out. */
void xdp_prepare(void);

/* ---- share.c: net-share kernel ---- */
/* The addresses must be Linux's on this interface, and the TCP port nobody's: it is taken as long as the descriptors are open, so
 * that neither a server nor an outgoing connection of Linux gets it. Returns how many descriptors; -errno with err. */
#define PORT_SHARE_FDS (1 + PORT_ADDRESSES6)
int share_take(int fds[PORT_SHARE_FDS], const char *iface, const struct port_steer *p, char *err,
               size_t err_len);
/* Does Linux have this address on the interface? */
bool share_has_address(const char *iface, uint32_t ip);

/* ---- groups.c: the multicast groups of our IPv6 addresses ---- */
#define PORT_GROUP_FDS 2
void groups_join(int fds[PORT_GROUP_FDS], const char *iface, const struct port_steer *p);
void groups_leave(int fds[PORT_GROUP_FDS]);

/* ---- eal_args.c ---- */
struct port_args {
    int argc;
    char *argv[PORT_ARGS + 1]; /* the EAL permutes it */
    char bytes[PORT_ARG_BYTES];
    size_t used;
};
struct port_args_in {
    const struct port_spec *spec;
    uint32_t workers;
    const int *cpus; /* worker i runs on cpus[i % cpu_count] */
    unsigned cpu_count;
    uint16_t mtu;
    const char *instance, *extra;
    uint64_t memory_bytes; /* used with huge == false */
    bool huge;
    uint8_t tap_mac[6]; /* of an existing TAP, so that it keeps its address; zero: DPDK's choice */
};
/* 0, or -EINVAL / -E2BIG with err. */
int port_args_build(struct port_args *ret, const struct port_args_in *in, char *err,
                    size_t err_len);

/* ---- pool.c ---- */
struct port_sizes {
    uint32_t data_room_bytes; /* with headroom */
    uint32_t object_bytes;    /* mempool header + mbuf + data room */
    uint32_t rx_mbufs, data_mbufs, reserve_mbufs;
    uint64_t memory_bytes; /* of the EAL, all workers */
};
uint16_t port_mtu_max(enum port_kind kind);
/* -EMSGSIZE with err when a frame of this MTU does not fit the driver's buffers. */
int port_sizes(struct port_sizes *ret, enum port_kind kind, uint16_t mtu, uint32_t workers,
               uint32_t data_mbufs, char *err, size_t err_len);
/* One pool of packed mbufs; `dma`: objects must not straddle pages that are apart for a device. NULL: rte_errno. */
struct rte_mempool *port_pool_create(const char *name, uint32_t n, uint32_t data_room_bytes,
                                     uint32_t cache, bool dma, int socket);

/* ---- dpdk_log.c: DPDK's own words go into memory, never to a terminal or a pipe that may be gone ---- */
int port_log_open(void);
void port_log_close(void);
/* The last error lines, joined by "; ", or "". */
const char *port_log_last(void);

int port_fail(char *err, size_t err_len, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* wait_fd.c: descriptors of this kind of port that are not among `taken` and can be polled for frames, in ascending order. */
unsigned port_wait_fds(enum port_kind kind, const int *taken, unsigned ntaken, int *ret,
                       unsigned cap);
