/* XDP programs on an interface, as far as AF_XDP ports care. Thread: main.
 * The AF_XDP driver loads libxdp's default program (xsk_def_prog) with the first socket and detaches whatever is there when it closes.
 * A dataplane that was killed before it attached its own (steer.c) leaves that program behind; the next one takes it over. */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/bpf/steer.h"
#include "dataplane/port/port_internal.h"

#ifdef BAREWIRE_XDP
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#ifdef BAREWIRE_SANITIZE
/* libxdp 1.3 does not free a umem's record when the driver closes its socket: 80 bytes a queue, once, at the end. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:xsk_umem__create\n";
}
#endif

static int bpf_print_none(enum libbpf_print_level level, const char *fmt, va_list ap)
{
    return 0;
}

static int xdp_print_none(enum libxdp_print_level level, const char *fmt, va_list ap)
{
    return 0;
}

/* Without the dispatcher, libxdp attaches the default program itself: one program less in the packet's way, and no pins in a bpffs
 * that a killed dataplane would leave. */
void xdp_prepare(void)
{
    setenv("LIBXDP_SKIP_DISPATCHER", "1", 0);
    libbpf_set_print(bpf_print_none);
    libxdp_set_print(xdp_print_none);
}

int xdp_check(const char *iface, char *err, size_t err_len)
{
    struct bpf_prog_info info = {0};
    uint32_t id = 0, len = sizeof(info);
    unsigned ifindex = if_nametoindex(iface);

    if (!ifindex || bpf_xdp_query_id((int)ifindex, 0, &id) < 0 || id == 0)
        return 0;
    int fd = bpf_prog_get_fd_by_id(id);
    if (fd < 0)
        return 0; /* went away meanwhile, or may not be asked: the driver will say */
    int r = bpf_obj_get_info_by_fd(fd, &info, &len);
    close(fd);
    if (r < 0 || !strcmp(info.name, "xsk_def_prog") || !strcmp(info.name, "xdp_dispatcher") ||
        !strcmp(info.name, STEER_PROGRAM))
        return 0;
    return port_fail(err, err_len, -EBUSY,
                     "interface %s already carries an XDP program (%s, id %u) that is not ours; "
                     "take it off first: ip link set dev %s xdp off",
                     iface, info.name, id, iface);
}
#else
void xdp_prepare(void)
{
}

int xdp_check(const char *iface, char *err, size_t err_len)
{
    return 0;
}
#endif
