/* steer: our XDP program on the interface of an AF_XDP port (dataplane/bpf/steer.bpf.c): load, swap, feed, read, take off.
 *
 *   driver starts its queues: it loads libxdp's default program, whose XSKMAP holds the sockets. Each is taken out of it again at once, so that
 *                 Linux gets the frames (XDP_PASS) until every queue stands, and put back at the end (steer_socket)
 *   steer_attach: find that program and that map, load ours over the same map, replace the one by the other at once
 *   steer_filter: net-allow and net-syn-limit into the maps; steer_counts: the processors' counters, summed
 *   steer_detach: ours goes, and only ours; before the driver closes, because that takes off whatever is there
 *
 * The driver can carry only one vdev per interface with a program of the user's (xdp_prog=), and we have a vdev per queue.
 * A socket leaves the XSKMAP when it is closed, also by the end of its process: what is left then is a program that passes all.
 * Threads: main, but for steer_filter and steer_read, which one other thread calls between attach and detach. */
#include "dataplane/port/steer.h"

#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/port/port_internal.h"
#include "engine/base/assert.h"

#ifdef BAREWIRE_STEER
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "dataplane/bpf/object.h"

static_assert(STEER_PREFIXES == LIMIT_NET_ALLOW, "every prefix of net-allow has room");

struct steer {
    int ifindex, mode; /* mode: enum xdp_attach_mode */
    uint32_t prog_id;
    struct bpf_object *object;
    int prog_fd, config_fd, counts_fd, allow_fd[2]; /* of IPv4 and IPv6; owned by object */
    int foreign_fd; /* somebody's program that came in our place; -1: none */
    struct steer_config config;
    struct port_filter filter; /* what is in the maps */
    struct steer_counts *per_cpu;
    int cpus;
};

static int refuse(char *err, size_t err_len, int r, const char *what)
{
    return port_fail(err, err_len, r < 0 ? r : -EIO, "%s: %s", what, strerror(r < 0 ? -r : EIO));
}

static uint32_t mode_flags(int mode)
{
    return mode == XDP_ATTACHED_SKB  ? XDP_FLAGS_SKB_MODE
           : mode == XDP_ATTACHED_HW ? XDP_FLAGS_HW_MODE
                                     : XDP_FLAGS_DRV_MODE;
}

/* The program on the interface: its descriptor, id, mode and facts. -ENOENT: there is none. */
static int on_interface(int ifindex, uint32_t *ret_id, int *ret_mode, struct bpf_prog_info *info)
{
    LIBBPF_OPTS(bpf_xdp_query_opts, q);
    uint32_t len = sizeof(*info);
    int r = bpf_xdp_query(ifindex, 0, &q);

    if (r < 0)
        return r;
    *ret_mode = q.attach_mode;
    *ret_id = q.attach_mode == XDP_ATTACHED_DRV   ? q.drv_prog_id
              : q.attach_mode == XDP_ATTACHED_SKB ? q.skb_prog_id
                                                  : q.prog_id;
    if (!*ret_id)
        return -ENOENT;
    int fd = bpf_prog_get_fd_by_id(*ret_id);
    if (fd < 0)
        return fd;
    memset(info, 0, sizeof(*info));
    r = bpf_obj_get_info_by_fd(fd, info, &len);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

/* Takes `fd`'s program off if it is the one that is there. */
static int take_off(int ifindex, int mode, int fd)
{
    LIBBPF_OPTS(bpf_xdp_attach_opts, o, .old_prog_fd = fd);

    return bpf_xdp_detach(ifindex, mode_flags(mode) | XDP_FLAGS_REPLACE, &o);
}

void steer_sweep(const char *iface)
{
    struct bpf_prog_info info;
    uint32_t id;
    int mode, ifindex = (int)if_nametoindex(iface), fd;

    if (!ifindex || (fd = on_interface(ifindex, &id, &mode, &info)) < 0)
        return;
    if (!strcmp(info.name, STEER_PROGRAM))
        take_off(ifindex, mode, fd);
    close(fd);
}

/* The map with the sockets, among those that the driver's program uses. */
static int find_xskmap(int prog_fd)
{
    uint32_t ids[64], len = sizeof(struct bpf_prog_info);
    struct bpf_prog_info info = {.nr_map_ids = ARRAY_LEN(ids), .map_ids = (uintptr_t)ids};
    int r = bpf_obj_get_info_by_fd(prog_fd, &info, &len);

    for (uint32_t i = 0; r == 0 && i < info.nr_map_ids && i < ARRAY_LEN(ids); i++) {
        struct bpf_map_info map = {0};
        int fd = bpf_map_get_fd_by_id(ids[i]);
        len = sizeof(map);
        if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &map, &len) == 0 &&
            map.type == BPF_MAP_TYPE_XSKMAP)
            return fd;
        if (fd >= 0)
            close(fd);
    }
    return r < 0 ? r : -ENOENT;
}

/* RFC 4291 appendix A: fe80::/64 and the MAC with ff:fe in its middle, as the stack makes it. */
static void link_local(const uint8_t mac[6], uint8_t to[16])
{
    memcpy(to, (const uint8_t[16]){0xfe, 0x80, [11] = 0xff, [12] = 0xfe}, 16);
    to[8] = mac[0] ^ 2;
    memcpy(to + 9, mac + 1, 2);
    memcpy(to + 13, mac + 3, 3);
}

/* An address of our own on an interface where Linux speaks no IPv6: its link-local address, which is that of the MAC, and what routers advertise are
 * ours. Where Linux does, they are Linux's, and the stack does with its other addresses and a configured gateway. */
static void claim_link(struct steer_config *c, bool linux_ip6, const uint8_t mac[6])
{
    if (!c->address6_count || c->flags & STEER_KERNEL || linux_ip6)
        return;
    c->flags |= STEER_ROUTERS;
    if (c->address6_count < STEER_ADDRESSES6)
        link_local(mac, c->address6[c->address6_count++].byte);
}

int steer_socket(const char *iface, uint32_t queue, int socket)
{
    struct bpf_prog_info info;
    uint32_t id;
    int mode, ifindex = (int)if_nametoindex(iface);
    int prog = on_interface(ifindex, &id, &mode, &info);

    if (prog < 0)
        return prog;
    int map = find_xskmap(prog);
    close(prog);
    if (map < 0)
        return map;
    int r = socket < 0 ? bpf_map_delete_elem(map, &queue)
                       : bpf_map_update_elem(map, &queue, &socket, BPF_ANY);
    close(map);
    return r;
}

static void config_of(const struct port_steer *p, struct steer_config *c)
{
    static_assert(sizeof(p->ip6) == sizeof(c->address6), "the same addresses");
    memset(c, 0, sizeof(*c));
    c->flags = p->kernel ? STEER_KERNEL : 0;
    c->ip4 = htonl(p->ip);
    c->vlan = p->vlan;
    c->port_count = p->tcp_port ? 1 : 0;
    c->port[0] = p->tcp_port;
    c->address6_count = p->ip6_count <= STEER_ADDRESSES6 ? p->ip6_count : STEER_ADDRESSES6;
    memcpy(c->address6, p->ip6, sizeof(c->address6));
}

static int put_config(struct steer *s)
{
    uint32_t zero = 0;

    return bpf_map_update_elem(s->config_fd, &zero, &s->config, BPF_ANY);
}

static int map_fd(struct steer *s, const char *name)
{
    return bpf_object__find_map_fd_by_name(s->object, name);
}

/* Loads the program. xskmap < 0: with a map of its own. */
static int load(struct steer *s, int xskmap)
{
    LIBBPF_OPTS(bpf_object_open_opts, o, .object_name = "barewire");
    int r;

    s->object = bpf_object__open_mem(steer_object, steer_object_bytes, &o);
    if (!s->object)
        return -errno;
    struct bpf_map *xsks = bpf_object__find_map_by_name(s->object, STEER_XSKS);
    struct bpf_program *prog = bpf_object__find_program_by_name(s->object, STEER_PROGRAM);
    if (!xsks || !prog)
        return -EINVAL;
    if (xskmap >= 0 && (r = bpf_map__reuse_fd(xsks, xskmap)) < 0)
        return r;
    r = bpf_object__load(s->object);
    if (r < 0)
        return r;
    s->prog_fd = bpf_program__fd(prog);
    s->config_fd = map_fd(s, "config");
    s->counts_fd = map_fd(s, "counts");
    s->allow_fd[0] = map_fd(s, "allow4");
    s->allow_fd[1] = map_fd(s, "allow6");
    return put_config(s);
}

static int create(struct steer **ret, const struct port_steer *p)
{
    struct steer *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->foreign_fd = -1;
    s->cpus = libbpf_num_possible_cpus();
    if (s->cpus > 0)
        s->per_cpu = calloc((size_t)s->cpus, sizeof(*s->per_cpu));
    if (!s->per_cpu) {
        free(s);
        return -ENOMEM;
    }
    config_of(p, &s->config);
    *ret = s;
    return 0;
}

static void destroy(struct steer *s)
{
    bpf_object__close(s->object);
    free(s->per_cpu);
    free(s);
}

int steer_load(struct steer **ret, const struct port_steer *p, bool linux_ip6, const uint8_t mac[6],
               char *err, size_t err_len)
{
    struct steer *s;
    int r = create(&s, p);

    if (r == 0)
        claim_link(&s->config, linux_ip6, mac);
    if (r == 0 && (r = load(s, -1)) < 0)
        destroy(s);
    if (r < 0)
        return refuse(err, err_len, r, "the XDP program could not be loaded");
    *ret = s;
    return 0;
}

/* Ours in the place of the driver's, which `old` is. */
static int swap(struct steer *s, int old)
{
    LIBBPF_OPTS(bpf_xdp_attach_opts, o, .old_prog_fd = old);
    struct bpf_prog_info info = {0};
    uint32_t len = sizeof(info);
    int r = bpf_obj_get_info_by_fd(s->prog_fd, &info, &len);

    if (r < 0)
        return r;
    s->prog_id = info.id;
    return bpf_xdp_attach(s->ifindex, s->prog_fd, mode_flags(s->mode) | XDP_FLAGS_REPLACE, &o);
}

int steer_attach(struct steer **ret, const char *iface, const struct port_steer *p, char *err,
                 size_t err_len)
{
    struct bpf_prog_info info;
    struct steer *s;
    uint32_t id;
    int xskmap = -1, r = create(&s, p);

    if (r < 0)
        return refuse(err, err_len, r, "no memory for the XDP program");
    struct host_iface h;
    host_iface(iface, &h);
    claim_link(&s->config, host_ip6(iface, "/proc/sys/net/ipv6/conf"), h.mac);
    s->ifindex = (int)if_nametoindex(iface);
    int old = on_interface(s->ifindex, &id, &s->mode, &info);
    if (old < 0) {
        r = refuse(err, err_len, old, "the driver's XDP program is not found");
        goto fail;
    }
    if (strcmp(info.name, "xsk_def_prog")) {
        r = port_fail(err, err_len, -EBUSY, "the interface carries the XDP program %s", info.name);
        goto fail_old;
    }
    xskmap = find_xskmap(old);
    if (xskmap < 0) {
        r = refuse(err, err_len, xskmap, "the driver's XSKMAP is not found");
        goto fail_old;
    }
    if ((r = load(s, xskmap)) < 0)
        refuse(err, err_len, r, "the kernel refuses the XDP program");
    else if ((r = swap(s, old)) < 0)
        refuse(err, err_len, r, "the driver's XDP program could not be replaced");
    close(xskmap);
fail_old:
    close(old);
fail:
    if (r < 0)
        destroy(s);
    else
        *ret = s;
    return r;
}

void steer_detach(struct steer *s)
{
    struct bpf_prog_info info;
    uint32_t id;
    int mode, fd = on_interface(s->ifindex, &id, &mode, &info);

    if (fd < 0)
        return;
    if (id == s->prog_id) {
        take_off(s->ifindex, mode, s->prog_fd);
        close(fd);
    } else {
        s->foreign_fd = fd;
        s->mode = mode;
    }
}

/* The driver took the other's program off when it closed: it goes back, unless there is one again. */
void steer_free(struct steer *s)
{
    if (!s)
        return;
    if (s->foreign_fd >= 0) {
        bpf_xdp_attach(s->ifindex, s->foreign_fd, mode_flags(s->mode) | XDP_FLAGS_UPDATE_IF_NOEXIST,
                       NULL);
        close(s->foreign_fd);
    }
    destroy(s);
}

int steer_program_fd(const struct steer *s)
{
    return s->prog_fd;
}

int steer_xskmap_fd(struct steer *s)
{
    return map_fd(s, STEER_XSKS);
}

const char *steer_mode(const struct steer *s)
{
    return s->mode == XDP_ATTACHED_SKB  ? "generic"
           : s->mode == XDP_ATTACHED_HW ? "in the NIC"
                                        : "native";
}

/* ---- net-allow and net-syn-limit ---- */

union prefix_key {
    struct steer_prefix4 v4;
    struct steer_prefix6 v6;
};

static bool is_mapped(const struct port_prefix *p)
{
    static const uint8_t head[12] = {[10] = 0xff, [11] = 0xff};

    return p->bits >= 96 && !memcmp(p->addr, head, sizeof(head));
}

/* Returns which of the two tries. */
static int key_of(const struct port_prefix *p, union prefix_key *key)
{
    memset(key, 0, sizeof(*key));
    if (is_mapped(p)) {
        key->v4.bits = p->bits - 96u;
        memcpy(key->v4.byte, p->addr + 12, 4);
        return 0;
    }
    key->v6.bits = p->bits;
    memcpy(key->v6.byte, p->addr, 16);
    return 1;
}

static bool has(const struct port_filter *f, const struct port_prefix *p)
{
    for (uint32_t i = 0; i < f->allow_count; i++)
        if (f->allow[i].bits == p->bits && !memcmp(f->allow[i].addr, p->addr, sizeof(p->addr)))
            return true;
    return false;
}

/* In the order in which nobody is refused who is allowed before and after: what goes off first, prefixes in, what goes on, prefixes out.
 * A trie may be full of prefixes that are on their way out: then those go first. */
static int replace_prefixes(struct steer *s, const struct port_filter *f, bool remove)
{
    const struct port_filter *from = remove ? &s->filter : f, *other = remove ? f : &s->filter;
    const uint8_t one = 1;
    union prefix_key key;
    int worst = 0;

    for (uint32_t i = 0; i < from->allow_count; i++) {
        if (has(other, &from->allow[i]))
            continue;
        int fd = s->allow_fd[key_of(&from->allow[i], &key)];
        int r =
            remove ? bpf_map_delete_elem(fd, &key) : bpf_map_update_elem(fd, &key, &one, BPF_ANY);
        if (r < 0 && r != -ENOENT)
            worst = r;
    }
    return worst;
}

int steer_filter(struct steer *s, const struct port_filter *f)
{
    struct steer_config *c = &s->config;
    int r = 0;

    c->syn_step_ns = f->syn_per_s ? 1000000000ull / f->syn_per_s : 0;
    c->syn_burst_ns = c->syn_step_ns * f->syn_per_s;
    if (!f->allow_count)
        c->flags &= ~(uint32_t)STEER_ALLOW;
    if ((r = put_config(s)) < 0)
        return r;
    r = replace_prefixes(s, f, false);
    if (r == -ENOSPC) {
        replace_prefixes(s, f, true);
        r = replace_prefixes(s, f, false);
    }
    if (r < 0)
        return r;
    if (f->allow_count)
        c->flags |= STEER_ALLOW;
    if ((r = put_config(s)) < 0)
        return r;
    r = replace_prefixes(s, f, true);
    s->filter = *f;
    return r;
}

/* ---- counters ---- */

int steer_read(struct steer *s, struct steer_counts *ret)
{
    uint32_t zero = 0;
    int r = bpf_map_lookup_elem(s->counts_fd, &zero, s->per_cpu);

    if (r < 0)
        return r;
    memset(ret, 0, sizeof(*ret));
    for (int i = 0; i < s->cpus; i++) {
        const uint64_t *from = (const uint64_t *)&s->per_cpu[i];
        uint64_t *to = (uint64_t *)ret;
        for (size_t k = 0; k < sizeof(*ret) / sizeof(*to); k++)
            to[k] += from[k];
    }
    return 0;
}
#else
int steer_attach(struct steer **ret, const char *iface, const struct port_steer *p, char *err,
                 size_t err_len)
{
    return port_fail(err, err_len, -ENOTSUP,
                     "this build has no XDP program (meson setup tells why: XDP steering)");
}

int steer_load(struct steer **ret, const struct port_steer *p, bool linux_ip6, const uint8_t mac[6],
               char *err, size_t err_len)
{
    return steer_attach(ret, "", p, err, err_len);
}

void steer_sweep(const char *iface)
{
}
int steer_socket(const char *iface, uint32_t queue, int socket)
{
    return -ENOTSUP;
}
void steer_detach(struct steer *s)
{
}
void steer_free(struct steer *s)
{
}
const char *steer_mode(const struct steer *s)
{
    return "";
}
int steer_program_fd(const struct steer *s)
{
    return -1;
}
int steer_xskmap_fd(struct steer *s)
{
    return -1;
}
int steer_filter(struct steer *s, const struct port_filter *f)
{
    return -ENOTSUP;
}
int steer_read(struct steer *s, struct steer_counts *ret)
{
    return -ENOTSUP;
}
#endif
