/* special: directives with a grammar of their own, and the checks of strings that name things of the host. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "control/config/config_internal.h"
#include "control/config/cores.h"
#include "engine/base/ip.h"
#include "engine/base/num.h"
#include "engine/shard/shard.h"

static bool fail(char *why, const char *text)
{
    snprintf(why, CONFIG_WHY_BYTES, "%s", text);
    return false;
}

/* The next word of a list, blanks between them. */
static bool next_word(struct span *rest, struct span *word)
{
    while (rest->n && isspace(*rest->p)) {
        rest->p++;
        rest->n--;
    }
    size_t n = 0;
    while (n < rest->n && !isspace(rest->p[n]))
        n++;
    *word = span_of(rest->p, n);
    *rest = span_of(rest->p + n, rest->n - n);
    return n > 0;
}

/* Addresses of a prefix that are nobody's: the first (RFC 4291 2.6.1: its routers'), of IPv4 the last. */
static bool is_edge(struct ip_addr a, unsigned bits)
{
    struct ip_addr m = ip_mask(bits), host = {{a.w[0] & ~m.w[0], a.w[1] & ~m.w[1]}};
    return bits < 127 && (ip_is_unspecified(host) ||
                          (ip_is_v4(a) && ip_equal(host, (struct ip_addr){{~m.w[0], ~m.w[1]}})));
}

/* One of a net-address list, of which the IPv4 address was or was not met before, and n IPv6 ones. */
static bool check_address(struct span v, bool *v4, struct ip_addr *v6, uint32_t *n, char *why)
{
    struct ip_addr a;
    unsigned bits;
    if (!ip_parse_prefix(v, false, &a, &bits) || !ip_is_host(a) || ip_is_link_local(a) ||
        bits == (ip_is_v4(a) ? 96 : 0))
        return fail(why, "argument must be addresses with their prefix lengths, as 10.0.0.2/24 "
                         "fd00::2/64");
    if (is_edge(a, bits))
        return fail(why,
                    "argument is the network or broadcast address of its prefix, not a host's");
    if (ip_is_v4(a)) {
        bool again = *v4;
        *v4 = true;
        return again ? fail(why, "argument may have one IPv4 address") : true;
    }
    for (uint32_t i = 0; i < *n; i++)
        if (ip_equal(v6[i], a))
            return fail(why, "argument names an address twice");
    if (*n == LIMIT_NET_ADDRESSES6)
        return fail(why, "argument has too many IPv6 addresses (4 at most)");
    v6[(*n)++] = a;
    return true;
}

bool check_addresses(struct span v, char *why)
{
    struct ip_addr v6[LIMIT_NET_ADDRESSES6];
    bool v4 = false;
    uint32_t n = 0;
    struct span word;
    while (next_word(&v, &word))
        if (!check_address(word, &v4, v6, &n, why))
            return false;
    return true;
}

bool check_gateways(struct span v, char *why)
{
    bool v4 = false, v6 = false;
    struct span word;
    while (next_word(&v, &word)) {
        struct ip_addr a;
        if (!ip_parse(word, &a) || !ip_is_host(a))
            return fail(why, "argument must be an IPv4 address, an IPv6 address, or one of each");
        bool *seen = ip_is_v4(a) ? &v4 : &v6;
        if (*seen)
            return fail(why, "argument may have one address of each family");
        *seen = true;
    }
    return true;
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

bool check_core_list(struct span v, char *why)
{
    cpu_set_t cores;
    if (v.n == 0 || (cores_parse(v, &cores).n == 0 && CPU_COUNT(&cores)))
        return true;
    return fail(why, "argument must be cores, as 0-3,8 or 0-7:2");
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

/* ---- net-allow ---- */

static bool allow_set(struct config *c, const struct span *argv, uint32_t argc, char *why)
{
    struct allow_prefix list[LIMIT_NET_ALLOW] = {0};
    struct allow_prefix6 list6[LIMIT_NET_ALLOW] = {0};
    uint32_t n = 0, n6 = 0;

    for (uint32_t i = 0; i < argc; i++) {
        struct ip_addr a;
        unsigned bits;
        if (argv[i].n == 0)
            continue;
        if (n + n6 == LIMIT_NET_ALLOW)
            return fail(why, "too many prefixes (64 at most)");
        if (!ip_parse_prefix(argv[i], true, &a, &bits))
            return fail(why,
                        "argument must be a list of prefixes, as 10.0.0.0/8 192.168.1.7 fd00::/8");
        if (ip_is_v4(a)) {
            uint32_t mask = bits > 96 ? ~0u << (128 - bits) : 0;
            list[n++] = (struct allow_prefix){ip_v4(a) & mask, mask};
        } else {
            list6[n6++] = (struct allow_prefix6){ip_and(a, ip_mask(bits)), bits};
        }
    }
    memcpy(c->engine.net_allow, list, sizeof(list));
    memcpy(c->engine.net_allow6, list6, sizeof(list6));
    c->engine.net_allow_count = n;
    c->engine.net_allow6_count = n6;
    return true;
}

/* IPv4 first. */
static char *allow_get(const struct config *c, size_t *ret_len)
{
    struct config_text t = {0};
    char text[IP_TEXT_BYTES];
    for (uint32_t i = 0; i < c->engine.net_allow_count; i++) {
        const struct allow_prefix *p = &c->engine.net_allow[i];
        ip_format_prefix(text, ip_from_v4(p->addr), 96u + (unsigned)__builtin_popcount(p->mask));
        text_addf(&t, "%s%s", i ? " " : "", text);
    }
    for (uint32_t i = 0; i < c->engine.net_allow6_count; i++) {
        const struct allow_prefix6 *p = &c->engine.net_allow6[i];
        ip_format_prefix(text, p->addr, (unsigned)p->bits);
        text_addf(&t, "%s%s", i || c->engine.net_allow_count ? " " : "", text);
    }
    return text_take(&t, ret_len);
}

const struct config_special ops_net_allow = {
    .set = allow_set, .get = allow_get, .range = "up to 64 prefixes of IPv4 and IPv6"};

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

/* ---- save SECONDS CHANGES ... ---- */

static bool save_set(struct config *c, const struct span *argv, uint32_t argc, char *why)
{
    struct config_save list[CONFIG_SAVES];
    struct config_control *cc = &c->control;
    uint32_t n = c->reading && c->save_read ? cc->saves : 0;
    memcpy(list, cc->save, sizeof(list));
    if (argc == 1 && argv[0].n == 0)
        argc = n = 0;
    if (argc % 2)
        return fail(why, "Invalid save parameters");
    for (uint32_t i = 0; i < argc; i += 2, n++) {
        int64_t seconds, changes;
        if (!num_parse_i64(argv[i], &seconds) || !num_parse_i64(argv[i + 1], &changes) ||
            seconds < 1 || seconds > INT32_MAX || changes < 0 || changes > INT32_MAX)
            return fail(why, "Invalid save parameters");
        if (n == CONFIG_SAVES)
            return fail(why, "too many save points (16 at most)");
        list[n] = (struct config_save){(uint32_t)seconds, (uint32_t)changes};
    }
    memcpy(cc->save, list, sizeof(list));
    cc->saves = n;
    c->save_read = c->reading;
    return true;
}

static char *save_get(const struct config *c, size_t *ret_len)
{
    struct config_text t = {0};
    text_add(&t, "", 0);
    for (uint32_t i = 0; i < c->control.saves; i++)
        text_addf(&t, "%s%u %u", i ? " " : "", c->control.save[i].seconds,
                  c->control.save[i].changes);
    return text_take(&t, ret_len);
}

const struct config_special ops_save = {
    .set = save_set, .get = save_get, .range = "up to 16 pairs of SECONDS and CHANGES"};

bool check_dbfilename(struct span v, char *why)
{
    if (memchr(v.p, '/', v.n) || v.n > 200)
        return fail(why, "dbfilename can't be a path, just a filename");
    return v.n ? true : fail(why, "dbfilename can't be a path, just a filename");
}

/* ---- notify-keyspace-events: letters, each a class ---- */

static const struct {
    char letter;
    uint32_t bits;
} notify_letters[] = {
    {'A', NOTIFY_ALL},      {'g', KS_GENERIC},      {'$', KS_STRING},     {'l', KS_LIST},
    {'s', KS_SET},          {'h', KS_HASH},         {'z', KS_ZSET},       {'x', KS_EXPIRED},
    {'e', KS_EVICTED},      {'t', KS_STREAM},       {'d', NOTIFY_MODULE}, {'n', KS_NEW},
    {'K', NOTIFY_KEYSPACE}, {'E', NOTIFY_KEYEVENT}, {'m', KS_MISS},
};

#define NOTIFY_LETTERS (sizeof(notify_letters) / sizeof(notify_letters[0]))

static bool notify_set(struct config *c, const struct span *argv, uint32_t argc, char *why)
{
    uint32_t flags = 0;
    (void)argc; /* always 1 */
    for (size_t i = 0; i < argv[0].n; i++) {
        uint32_t bits = 0;
        for (size_t k = 0; k < NOTIFY_LETTERS; k++)
            if ((uint8_t)notify_letters[k].letter == argv[0].p[i])
                bits = notify_letters[k].bits;
        if (!bits)
            return fail(why, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
        flags |= bits;
    }
    c->engine.notify_events = flags;
    return true;
}

/* As Redis 7.0 shows it: with A, which does not stand for n, n is not shown either. */
static char *notify_get(const struct config *c, size_t *ret_len)
{
    struct config_text t = {0};
    uint32_t flags = c->engine.notify_events;
    bool all = (flags & NOTIFY_ALL) == NOTIFY_ALL;
    text_str(&t, all ? "A" : "");
    for (size_t k = 1; k < NOTIFY_LETTERS; k++) {
        char letter = notify_letters[k].letter;
        if ((flags & notify_letters[k].bits) && (!all || strchr("KEm", letter)))
            text_addf(&t, "%c", letter);
    }
    return text_take(&t, ret_len);
}

const struct config_special ops_notify = {
    .set = notify_set, .get = notify_get, .range = "letters of Ag$lshzxeKEtmdn"};

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

/* ---- latency-tracking-info-percentiles P ... ---- */

static bool percentiles_set(struct config *c, const struct span *argv, uint32_t argc, char *why)
{
    double list[CONFIG_PERCENTILES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < argc; i++) {
        char text[64], *end = text;
        if (argv[i].n == 0 && argc == 1)
            break;
        if (n == CONFIG_PERCENTILES)
            return fail(why, "too many percentiles (64 at most)");
        snprintf(text, sizeof(text), "%.*s", argv[i].n < 63 ? (int)argv[i].n : 63,
                 (const char *)argv[i].p);
        double v = strtod(text, &end);
        if (end == text || *end || argv[i].n > 63)
            return fail(why, "Invalid latency-tracking-info-percentiles parameters");
        if (!(v >= 0 && v <= 100))
            return fail(why, "latency-tracking-info-percentiles parameters should sit between "
                             "[0.0,100.0]");
        list[n++] = v;
    }
    memcpy(c->control.percentiles, list, n * sizeof(list[0]));
    c->control.percentiles_count = n;
    return true;
}

static char *percentiles_get(const struct config *c, size_t *ret_len)
{
    struct config_text t = {0};
    text_str(&t, "");
    for (uint32_t i = 0; i < c->control.percentiles_count; i++)
        text_addf(&t, "%s%.10g", i ? " " : "", c->control.percentiles[i]);
    return text_take(&t, ret_len);
}

const struct config_special ops_percentiles = {
    .set = percentiles_set, .get = percentiles_get, .range = "up to 64 numbers of 0 to 100"};

/* ---- maxmemory-clients BYTES | PERCENT% ---- */

static bool client_memory_set(struct config *c, const struct span *argv, uint32_t argc, char *why)
{
    struct span v = argv[0];
    uint64_t bytes;
    int64_t percent;
    (void)argc; /* always 1 */
    if (v.n && v.p[v.n - 1] == '%') {
        if (!num_parse_i64(span_of(v.p, v.n - 1), &percent) || percent < 0)
            return fail(why, "argument must be a memory or percent value");
        if (percent > 100)
            return fail(why, "percentage argument must be less or equal to 100");
        c->engine.client_memory_bytes = 0;
        c->engine.client_memory_percent = (uint64_t)percent;
        return true;
    }
    if (!config_parse_mem(v, &bytes))
        return fail(why, "argument must be a memory or percent value");
    c->engine.client_memory_bytes = bytes;
    c->engine.client_memory_percent = 0;
    return true;
}

static char *client_memory_get(const struct config *c, size_t *ret_len)
{
    struct config_text t = {0};
    if (c->engine.client_memory_percent)
        text_addf(&t, "%" PRIu64 "%%", c->engine.client_memory_percent);
    else
        text_addf(&t, "%" PRIu64, c->engine.client_memory_bytes);
    return text_take(&t, ret_len);
}

const struct config_special ops_client_memory = {.set = client_memory_set,
                                                 .get = client_memory_get,
                                                 .range = "bytes, or a percentage of maxmemory"};
