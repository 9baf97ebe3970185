/* special: directives with a grammar of their own, and the checks of strings that name things of the host. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "control/config/config_internal.h"
#include "engine/base/num.h"

static bool fail(char *why, const char *text)
{
    snprintf(why, CONFIG_WHY_BYTES, "%s", text);
    return false;
}

/* "a.b.c.d/len", or an address alone when `bare` allows it (then /32). Host byte order. */
static bool parse_prefix(struct span v, bool bare, uint32_t *ret_addr, uint32_t *ret_len)
{
    char buf[32];
    struct in_addr in;
    uint64_t len = 32;
    const uint8_t *slash = memchr(v.p, '/', v.n);
    size_t n = slash ? (size_t)(slash - v.p) : v.n;

    if (n >= sizeof(buf) || (!slash && !bare))
        return false;
    memcpy(buf, v.p, n);
    buf[n] = 0;
    if (strlen(buf) != n || inet_pton(AF_INET, buf, &in) != 1)
        return false;
    if (slash && (!num_parse_u64(span_of(slash + 1, v.n - n - 1), &len) || len > 32))
        return false;
    *ret_addr = ntohl(in.s_addr);
    *ret_len = (uint32_t)len;
    return true;
}

static uint32_t prefix_mask(uint32_t len)
{
    return len ? ~0u << (32 - len) : 0;
}

/* An address that a host may have: not zero, loopback, multicast or above. */
static bool is_host_address(uint32_t a)
{
    return a >> 24 != 0 && a >> 24 != 127 && a >> 28 < 14;
}

bool check_cidr(struct span v, char *why)
{
    uint32_t a, len;
    if (v.n == 0)
        return true;
    if (!parse_prefix(v, false, &a, &len) || len == 0 || !is_host_address(a))
        return fail(why, "argument must be an IPv4 address with its prefix length, as 10.0.0.2/24");
    if (len < 31 && ((a & ~prefix_mask(len)) == 0 || (a | prefix_mask(len)) == UINT32_MAX))
        return fail(why,
                    "argument is the network or broadcast address of its prefix, not a host's");
    return true;
}

bool check_ip4(struct span v, char *why)
{
    uint32_t a, len;
    if (v.n == 0 ||
        (!memchr(v.p, '/', v.n) && parse_prefix(v, true, &a, &len) && is_host_address(a)))
        return true;
    return fail(why, "argument must be an IPv4 address");
}

static bool all_of(struct span v, const char *extra)
{
    for (size_t i = 0; i < v.n; i++)
        if (!isalnum(v.p[i]) && (v.p[i] == 0 || !strchr(extra, v.p[i])))
            return false;
    return true;
}

bool check_instance(struct span v, char *why)
{
    if (v.n && v.n <= 64 && v.p[0] != '.' && all_of(v, "._-"))
        return true;
    return fail(why, "argument must be 1 to 64 letters, digits, '.', '_' or '-'");
}

bool check_net_port(struct span v, char *why)
{
    static const char *const ifaces[] = {"af_xdp:", "tap:", "af_packet:"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(ifaces[i]);
        if (v.n > n && memcmp(v.p, ifaces[i], n) == 0) {
            struct span name = span_of(v.p + n, v.n - n);
            if (name.n < 16 && all_of(name, "._-@"))
                return true;
            return fail(
                why,
                "the interface's name must have 1 to 15 letters, digits, '.', '_', '-' or '@'");
        }
    }
    if (v.n > 4 && memcmp(v.p, "pci:", 4) == 0 && all_of(span_of(v.p + 4, v.n - 4), ":."))
        return true;
    if (v.n == 0 || (v.n > 4 && memcmp(v.p, "net_", 4) == 0))
        return true;
    return fail(why, "argument must be af_xdp:IFACE, tap:NAME, af_packet:IFACE, pci:ADDRESS or an "
                     "EAL vdev (net_...)");
}

bool check_socket_path(struct span v, char *why)
{
    if (v.n < sizeof(((struct sockaddr_un *)0)->sun_path))
        return true;
    return fail(why, "the path of a unix socket has at most 107 bytes");
}

bool check_dir(struct span v, char *why)
{
    struct stat st;
    char *path = strndup((const char *)v.p, v.n);
    int err = !path ? ENOMEM : stat(path, &st) ? errno : S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
    free(path);
    return err ? fail(why, strerror(err)) : true;
}

bool check_policy(struct span v, char *why)
{
    if (span_is(v, "noeviction"))
        return true;
    return fail(why, "this version of Barewire has no eviction yet: only noeviction is accepted");
}

/* ---- net-allow ---- */

static bool allow_set(struct config *c, const struct span *argv, uint32_t argc, char *why)
{
    struct allow_prefix list[LIMIT_NET_ALLOW];
    uint32_t n = 0;

    for (uint32_t i = 0; i < argc; i++) {
        uint32_t a, len;
        if (argv[i].n == 0)
            continue;
        if (n == LIMIT_NET_ALLOW)
            return fail(why, "too many prefixes (64 at most)");
        if (!parse_prefix(argv[i], true, &a, &len))
            return fail(why, "argument must be a list of IPv4 prefixes, as 10.0.0.0/8 192.168.1.7");
        list[n++] = (struct allow_prefix){a & prefix_mask(len), prefix_mask(len)};
    }
    memset(c->engine.net_allow, 0, sizeof(c->engine.net_allow));
    memcpy(c->engine.net_allow, list, n * sizeof(list[0]));
    c->engine.net_allow_count = n;
    return true;
}

static char *allow_get(const struct config *c, size_t *ret_len)
{
    struct config_text t = {0};
    for (uint32_t i = 0; i < c->engine.net_allow_count; i++) {
        const struct allow_prefix *p = &c->engine.net_allow[i];
        text_addf(&t, "%s%u.%u.%u.%u/%d", i ? " " : "", p->addr >> 24, p->addr >> 16 & 255,
                  p->addr >> 8 & 255, p->addr & 255, __builtin_popcount(p->mask));
    }
    return text_take(&t, ret_len);
}

const struct config_special ops_net_allow = {
    .set = allow_set, .get = allow_get, .range = "up to 64 IPv4 prefixes"};

/* ---- client-output-buffer-limit CLASS HARD SOFT SECONDS ... ---- */

static const char *const class_names[] = {"normal", "slave", "pubsub"};

static int class_of(struct span s)
{
    return span_is(s, "normal")                           ? 0
           : span_is(s, "slave") || span_is(s, "replica") ? 1
           : span_is(s, "pubsub")                         ? 2
                                                          : -1;
}

static bool limit_set(struct config *c, const struct span *argv, uint32_t argc, char *why)
{
    struct output_limit to[3];
    memcpy(to, c->engine.output_limit, sizeof(to));
    if (argc % 4)
        return fail(why, "Wrong number of arguments in buffer limit configuration.");
    for (uint32_t i = 0; i < argc; i += 4) {
        int class = class_of(argv[i]);
        int64_t seconds;
        struct output_limit l = {0};
        if (class < 0)
            return fail(why, "Invalid client class specified in buffer limit configuration.");
        if (!config_parse_mem(argv[i + 1], &l.hard_bytes) ||
            !config_parse_mem(argv[i + 2], &l.soft_bytes) ||
            !num_parse_i64(argv[i + 3], &seconds) || seconds < 0 || seconds > INT32_MAX)
            return fail(
                why, "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
        l.soft_s = (uint32_t)seconds;
        to[class] = l;
    }
    memcpy(c->engine.output_limit, to, sizeof(to));
    return true;
}

static char *limit_get(const struct config *c, size_t *ret_len)
{
    struct config_text t = {0};
    for (int i = 0; i < 3; i++) {
        const struct output_limit *l = &c->engine.output_limit[i];
        text_addf(&t, "%s%s %" PRIu64 " %" PRIu64 " %u", i ? " " : "", class_names[i],
                  l->hard_bytes, l->soft_bytes, l->soft_s);
    }
    return text_take(&t, ret_len);
}

static void limit_lines(const struct config *c, char *ret[CONFIG_SPECIAL_LINES])
{
    for (int i = 0; i < 3; i++) {
        const struct output_limit *l = &c->engine.output_limit[i];
        if (asprintf(&ret[i], "%s %" PRIu64 " %" PRIu64 " %u", i == 1 ? "replica" : class_names[i],
                     l->hard_bytes, l->soft_bytes, l->soft_s) < 0)
            ret[i] = NULL;
    }
}

const struct config_special ops_output_limit = {.set = limit_set,
                                                .get = limit_get,
                                                .lines = limit_lines,
                                                .range = "CLASS HARD SOFT SECONDS ..."};

/* ---- requirepass: any bytes ---- */

static bool pass_set(struct config *c, const struct span *argv, uint32_t argc, char *why)
{
    (void)argc; /* always 1 */
    if (argv[0].n > LIMIT_PASSWORD_BYTES)
        return fail(why, "the password is longer than 512 bytes");
    memset(c->engine.requirepass, 0, sizeof(c->engine.requirepass));
    memcpy(c->engine.requirepass, argv[0].p, argv[0].n);
    c->engine.requirepass_len = (uint32_t)argv[0].n;
    return true;
}

static char *pass_get(const struct config *c, size_t *ret_len)
{
    struct config_text t = {0};
    text_add(&t, c->engine.requirepass, c->engine.requirepass_len);
    return text_take(&t, ret_len);
}

const struct config_special ops_requirepass = {
    .set = pass_set, .get = pass_get, .range = "up to 512 bytes"};
