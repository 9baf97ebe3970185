/* struct port_spec + workers + memory -> the EAL's argument vector. Pure, so that tests can read the vector.
 *
 *   barewire-dataplane --lcores 0@C0,1@C1,... --main-lcore 0 --file-prefix barewire-INSTANCE --no-pci --vdev ... [--in-memory | --no-huge -m N]
 *
 * --lcores maps worker i to CPU i modulo their number, so that more workers than CPUs run. --in-memory: the kernel takes hugepages back
 * when the process dies, however it dies. The user's eal-args come last and win. Thread: main. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/port/port_internal.h"

/* Appends one formatted argument; a vector that is full stays full and is found at the end by its argc. */
__attribute__((format(printf, 2, 3))) static void add(struct port_args *a, const char *fmt, ...)
{
    va_list ap;
    size_t room = sizeof(a->bytes) - a->used;

    if (a->argc >= PORT_ARGS) {
        a->argc = PORT_ARGS + 1;
        return;
    }
    va_start(ap, fmt);
    int n = vsnprintf(a->bytes + a->used, room, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= room) {
        a->argc = PORT_ARGS + 1;
        return;
    }
    a->argv[a->argc++] = a->bytes + a->used;
    a->used += (size_t)n + 1;
}

static void add_lcores(struct port_args *a, const struct port_args_in *in)
{
    char map[LIMIT_WORKERS * 12];
    size_t n = 0;

    for (uint32_t i = 0; i < in->workers; i++)
        n += (size_t)snprintf(map + n, sizeof(map) - n, "%s%u@%d", i ? "," : "", i,
                              in->cpus[i % in->cpu_count]);
    add(a, "--lcores");
    add(a, "%s", map);
    add(a, "--main-lcore");
    add(a, "0");
}

static bool extra_has(const char *extra, const char *option)
{
    return extra && strstr(extra, option);
}

static void add_memory(struct port_args *a, const struct port_args_in *in)
{
    if (!in->huge) {
        add(a, "--no-huge");
        add(a, "-m");
        add(a, "%llu", (unsigned long long)((in->memory_bytes + (1 << 20) - 1) >> 20));
    } else if (!extra_has(in->extra, "--huge-dir") && !extra_has(in->extra, "--huge-unlink") &&
               !extra_has(in->extra, "--proc-type")) {
        add(a, "--in-memory");
    }
}

/* The driver walks the ring in steps of framesz, so frames must fill their blocks, and blocks are whole pages; a frame must not be
 * larger than an mbuf takes. 4096 frames a ring: the fanout group rolls a flow over to another queue, and so to another worker,
 * only when a ring is full. */
static void add_af_packet(struct port_args *a, const struct port_args_in *in)
{
    unsigned framesz = 2048, blocksz = 4096, framecnt = 4096;

    if (in->mtu + PORT_FRAME_OVERHEAD + PORT_TPACKET_HEAD > framesz) {
        framesz = blocksz = (in->mtu + PORT_FRAME_OVERHEAD + PORT_TPACKET_HEAD + 4095u) & ~4095u;
        framecnt = 1024;
    }
    add(a, "--vdev");
    add(a, "net_af_packet0,iface=%s,qpairs=%u,blocksz=%u,framesz=%u,framecnt=%u,qdisc_bypass=1",
        in->spec->name, in->workers, blocksz, framesz, framecnt);
}

static void add_devices(struct port_args *a, const struct port_args_in *in)
{
    const struct port_spec *s = in->spec;
    const uint8_t *m = in->tap_mac;
    char one[sizeof(s->name)];

    if (s->kind == PORT_PCI) {
        add(a, "-a");
        add(a, "%s", s->name);
        return;
    }
    add(a, "--no-pci");
    add(a, "--iova-mode=va"); /* virtual devices do no DMA: memory needs only virtual contiguity */
    switch (s->kind) {
    case PORT_AF_XDP:
        for (uint32_t i = 0; i < in->workers; i++) {
            add(a, "--vdev");
            /* busy_budget=0: polling an empty ring stays a load from memory instead of a system call. */
            add(a, "net_af_xdp%u,iface=%s,start_queue=%u,queue_count=1,busy_budget=0", i, s->name,
                i);
        }
        break;
    case PORT_TAP:
        add(a, "--vdev");
        if (m[0] | m[1] | m[2] | m[3] | m[4] | m[5])
            add(a, "net_tap0,iface=%s,mac=%02x:%02x:%02x:%02x:%02x:%02x", s->name, m[0], m[1], m[2],
                m[3], m[4], m[5]);
        else
            add(a, "net_tap0,iface=%s", s->name);
        break;
    case PORT_AF_PACKET: add_af_packet(a, in); break;
    default:
        for (unsigned i = 0; port_spec_vdev(s, i, one, sizeof(one)); i++) {
            add(a, "--vdev");
            add(a, "%s", one);
        }
    }
}

/* Splits eal-args at blanks; '...' and "..." keep blanks. */
static int add_extra(struct port_args *a, const char *p, char *err, size_t err_len)
{
    char word[1024];

    while (p && *p) {
        size_t n = 0;
        char quote = 0;
        while (isspace((unsigned char)*p))
            p++;
        if (!*p)
            break;
        for (; *p && (quote || !isspace((unsigned char)*p)); p++) {
            if (quote ? *p == quote : (*p == '\'' || *p == '"'))
                quote = (char)(quote ? 0 : *p);
            else if (n < sizeof(word) - 1)
                word[n++] = *p;
            else
                return port_fail(err, err_len, -E2BIG, "eal-args: a word is longer than %zu bytes",
                                 sizeof(word) - 1);
        }
        if (quote)
            return port_fail(err, err_len, -EINVAL, "eal-args: a quote (%c) is not closed", quote);
        word[n] = '\0';
        add(a, "%s", word);
    }
    return 0;
}

static bool instance_valid(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n > 48)
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("-_.", *s))
            return false;
    return true;
}

int port_args_build(struct port_args *ret, const struct port_args_in *in, char *err, size_t err_len)
{
    memset(ret, 0, sizeof(*ret));
    if (!instance_valid(in->instance))
        return port_fail(err, err_len, -EINVAL,
                         "instance '%.60s': 1 to 48 letters, digits, '-', '_' or '.'",
                         in->instance);
    add(ret, "barewire-dataplane");
    add_lcores(ret, in);
    add(ret, "--file-prefix");
    add(ret, "barewire-%s", in->instance);
    add(ret, "--log-level");
    add(ret, "notice");
    add_memory(ret, in);
    add_devices(ret, in);
    int r = add_extra(ret, in->extra, err, err_len);
    if (r < 0)
        return r;
    if (ret->argc > PORT_ARGS)
        return port_fail(err, err_len, -E2BIG, "eal-args and net-port are too long together");
    ret->argv[ret->argc] = NULL;
    return 0;
}
