/* The grammar of net-port: text from the configuration -> struct port_spec. Pure: looks at no device.
 *
 *   af_xdp:IFACE | tap:NAME | af_packet:IFACE | pci:[DDDD:]BB:DD.F | net_DRIVERn[,key=value...][;net_DRIVERm...]
 *
 * Thread: main, before the EAL. */
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/port/port_internal.h"

#define FORMS                                                                                  \
    "af_xdp:IFACE, tap:NAME, af_packet:IFACE, pci:0000:03:00.0 or an EAL vdev string such as " \
    "net_memif0,role=server"

/* Writes a message and returns `code`, so that callers can `return port_fail(...)`. */
int port_fail(char *err, size_t err_len, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (err_len)
        vsnprintf(err, err_len, fmt, ap);
    va_end(ap);
    return code;
}

/* As the kernel's dev_valid_name(), and no comma: it would end the value in a vdev string. */
static bool iface_name_valid(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n >= IFNAMSIZ || !strcmp(s, ".") || !strcmp(s, ".."))
        return false;
    for (; *s; s++)
        if (*s == '/' || *s == ':' || *s == ',' || *s == '=' || !isgraph((unsigned char)*s))
            return false;
    return true;
}

/* Normalises to DDDD:BB:DD.F. */
static bool pci_address_parse(const char *s, char *to, size_t n)
{
    unsigned domain = 0, bus, dev, fn;
    int used = 0;

    if (sscanf(s, "%4x:%2x:%2x.%1x%n", &domain, &bus, &dev, &fn, &used) != 4 || s[used]) {
        domain = 0, used = 0;
        if (sscanf(s, "%2x:%2x.%1x%n", &bus, &dev, &fn, &used) != 3 || s[used])
            return false;
    }
    if (dev > 31 || fn > 7)
        return false;
    snprintf(to, n, "%04x:%02x:%02x.%x", domain, bus, dev, fn);
    return true;
}

static bool vdev_valid(const char *s, size_t n)
{
    if (n < 6 || n >= 400 || (memcmp(s, "net_", 4) && memcmp(s, "eth_", 4)))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isgraph((unsigned char)s[i]))
            return false;
    return true;
}

static int vdevs_parse(struct port_spec *s, const char *text, char *err, size_t err_len)
{
    const char *p = text;
    unsigned count = 0;

    for (;;) {
        size_t n = strcspn(p, ";");
        if (!vdev_valid(p, n))
            return port_fail(err, err_len, -EINVAL, "net-port '%.80s': expected %s", text, FORMS);
        if (++count > PORT_SPECS)
            return port_fail(err, err_len, -EINVAL, "net-port names more than %d vdevs",
                             PORT_SPECS);
        if (!p[n])
            break;
        p += n + 1;
    }
    if (strlen(text) >= sizeof(s->name))
        return port_fail(err, err_len, -EINVAL, "net-port is longer than %zu bytes",
                         sizeof(s->name) - 1);
    s->kind = PORT_VDEV;
    strcpy(s->name, text);
    return 0;
}

int port_spec_parse(struct port_spec *ret, const char *text, char *err, size_t err_len)
{
    static const struct {
        const char *prefix;
        enum port_kind kind;
    } forms[] = {{"af_xdp:", PORT_AF_XDP},
                 {"tap:", PORT_TAP},
                 {"af_packet:", PORT_AF_PACKET},
                 {"pci:", PORT_PCI}};
    struct port_spec s = {0};

    if (!text || !*text)
        return port_fail(err, err_len, -EINVAL, "net-port is not set: expected %s", FORMS);
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        size_t n = strlen(forms[i].prefix);
        if (strncmp(text, forms[i].prefix, n))
            continue;
        s.kind = forms[i].kind;
        if (s.kind == PORT_PCI) {
            if (!pci_address_parse(text + n, s.name, sizeof(s.name)))
                return port_fail(err, err_len, -EINVAL,
                                 "net-port '%.80s': not a PCI address; `dpdk-devbind.py "
                                 "--status-dev net` lists them",
                                 text);
        } else if (!iface_name_valid(text + n)) {
            return port_fail(err, err_len, -EINVAL,
                             "net-port '%.80s': not an interface name (1 to %d characters, no "
                             "'/', ':', ',' or space); `ip -br link` lists interfaces",
                             text, IFNAMSIZ - 1);
        } else {
            strcpy(s.name, text + n);
        }
        *ret = s;
        return 0;
    }
    int r = vdevs_parse(&s, text, err, err_len);
    if (r == 0)
        *ret = s;
    return r;
}

unsigned port_spec_vdevs(const struct port_spec *s)
{
    unsigned n = 1;

    for (const char *p = s->name; (p = strchr(p, ';')); p++)
        n++;
    return n;
}

bool port_spec_vdev(const struct port_spec *s, unsigned i, char *to, size_t n)
{
    const char *p = s->name;

    for (; i; i--) {
        p = strchr(p, ';');
        if (!p)
            return false;
        p++;
    }
    snprintf(to, n, "%.*s", (int)strcspn(p, ";"), p);
    return true;
}
