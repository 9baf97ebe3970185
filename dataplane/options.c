/* See options.h. Pure but for --version and --help, which print. Thread: main. */
#include "dataplane/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/limits.h"

__attribute__((format(printf, 3, 4))) static enum options_result bad(char *err, size_t err_len,
                                                                     const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(err, err_len, fmt, ap);
    va_end(ap);
    return OPTIONS_BAD;
}

static bool parse_number(const char *s, uint64_t least, uint64_t most, uint64_t *ret)
{
    char *end;

    if (!isdigit((unsigned char)*s))
        return false;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (errno || *end || v < least || v > most)
        return false;
    *ret = v;
    return true;
}

/* The words of a list, blanks between them. */
static bool next_word(struct span *rest, struct span *word)
{
    while (rest->n && *rest->p == ' ') {
        rest->p++;
        rest->n--;
    }
    const uint8_t *end = rest->n ? memchr(rest->p, ' ', rest->n) : NULL;
    *word = span_of(rest->p, end ? (size_t)(end - rest->p) : rest->n);
    *rest = span_of(rest->p + word->n, rest->n - word->n);
    return word->n > 0;
}

static bool take_prefix4(struct options *o, struct ip_addr a, unsigned bits)
{
    uint32_t ip = ip_v4(a), mask = bits > 96 ? 0xffffffffu << (128 - bits) : 0;
    /* The first and last address of a net belong to nobody (a /31 has neither, RFC 3021). */
    if (o->ip || !mask || (bits <= 126 && ((ip & ~mask) == 0 || (ip & ~mask) == ~mask)))
        return false;
    o->ip = ip;
    o->netmask = mask;
    return true;
}

static bool take_prefix6(struct options *o, struct ip_addr a, unsigned bits)
{
    /* Host bits of zero are the subnet's routers' (RFC 4291 2.6.1); the link-local address is made of the MAC. */
    if (o->ip6_count == LIMIT_NET_ADDRESSES6 || !bits || ip_is_link_local(a) ||
        (bits < 127 && ip_equal(a, ip_and(a, ip_mask(bits)))))
        return false;
    for (uint32_t i = 0; i < o->ip6_count; i++)
        if (ip_equal(o->ip6[i].addr, a))
            return false;
    o->ip6[o->ip6_count++] = (struct net_prefix){a, bits};
    return true;
}

/* One IPv4 address at most, and IPv6 ones. */
static bool parse_addresses(const char *s, struct options *o)
{
    struct span rest = span_str(s), word;
    o->ip = o->ip6_count = 0;
    while (next_word(&rest, &word)) {
        struct ip_addr a;
        unsigned bits;
        if (!ip_parse_prefix(word, false, &a, &bits) || !ip_is_host(a) ||
            !(ip_is_v4(a) ? take_prefix4(o, a, bits) : take_prefix6(o, a, bits)))
            return false;
    }
    return o->ip || o->ip6_count;
}

/* One of each family at most. */
static bool parse_gateways(const char *s, struct options *o)
{
    struct span rest = span_str(s), word;
    o->gateway = 0;
    o->gateway6 = (struct ip_addr){{0, 0}};
    while (next_word(&rest, &word)) {
        struct ip_addr a;
        if (!ip_parse(word, &a) || !ip_is_host(a) ||
            (ip_is_v4(a) ? o->gateway != 0 : !ip_is_unspecified(o->gateway6)))
            return false;
        if (ip_is_v4(a))
            o->gateway = ip_v4(a);
        else
            o->gateway6 = a;
    }
    return o->gateway || !ip_is_unspecified(o->gateway6);
}

static bool parse_auto(const char *s, enum port_hugepages *ret)
{
    static const char *const names[] = {
        [PORT_HUGE_AUTO] = "auto", [PORT_HUGE_YES] = "yes", [PORT_HUGE_NO] = "no"};

    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(s, names[i])) {
            *ret = (enum port_hugepages)i;
            return true;
        }
    return false;
}

static bool parse_congestion(const char *s, enum tcp_congestion *ret)
{
    static const char *const names[TCP_CC_COUNT] = {
        [TCP_CC_CUBIC] = "cubic", [TCP_CC_NEWRENO] = "newreno", [TCP_CC_DCTCP] = "dctcp"};

    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(s, names[i])) {
            *ret = (enum tcp_congestion)i;
            return true;
        }
    return false;
}

static bool parse_trace(const char *s, enum tcp_trace_mode *ret)
{
    static const char *const names[] = {
        [TCP_TRACE_NO] = "no", [TCP_TRACE_ERRORS] = "errors", [TCP_TRACE_YES] = "yes"};

    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(s, names[i])) {
            *ret = (enum tcp_trace_mode)i;
            return true;
        }
    return false;
}

static bool parse_no(const char *s, bool *ret)
{
    *ret = !strcmp(s, "no");
    return *ret || !strcmp(s, "yes");
}

static bool parse_share(const char *s, bool *ret)
{
    *ret = !strcmp(s, "kernel");
    return *ret || !strcmp(s, "none");
}

/* One setter per type; the table names type and field. */
#define SET_TEXT(o, field, least, most)      ((o)->field = optarg, true)
#define SET_NUMBER(o, field, least, most)    parse_number(optarg, least, most, &(o)->field)
#define SET_ADDRESSES(o, field, least, most) parse_addresses(optarg, o)
#define SET_GATEWAYS(o, field, least, most)  parse_gateways(optarg, o)
#define SET_AUTO(o, field, least, most)      parse_auto(optarg, &(o)->field)
#define SET_CC(o, field, least, most)        parse_congestion(optarg, &(o)->field)
#define SET_TRACE(o, field, least, most)     parse_trace(optarg, &(o)->field)
#define SET_NO(o, field, least, most)        parse_no(optarg, &(o)->field)
#define SET_SHARE(o, field, least, most)     parse_share(optarg, &(o)->field)

enum { /* option indices, in the order of the table */
#define OPTION(name, type, field, least, most, help) INDEX_##field,
       OPTION_TABLE(OPTION)
#undef OPTION
           INDEX_VERSION,
       INDEX_HELP
};

static bool set_option(struct options *o, int index)
{
    switch (index) {
#define OPTION(name, type, field, least, most, help) \
    case INDEX_##field: return SET_##type(o, field, least, most);
        OPTION_TABLE(OPTION)
#undef OPTION
    }
    return false;
}

static void print_help(void)
{
    puts(
        "barewire-dataplane [OPTION...]\n"
        "The packet side of Barewire. `barewire run` starts it; it attaches to that one's link.\n");
#define OPTION(name, type, field, least, most, help) printf("  --%-24s %s\n", name, help);
    OPTION_TABLE(OPTION)
#undef OPTION
    printf("  --%-24s %s\n  --%-24s %s\n", "version", "Print the version", "help", "Print this");
}

/* A router speaks from its link-local address; another one must be on our link. */
static enum options_result check_gateway6(const struct options *o, char *err, size_t err_len)
{
    if (ip_is_unspecified(o->gateway6))
        return OPTIONS_RUN;
    bool reached = o->ip6_count && ip_is_link_local(o->gateway6);
    for (uint32_t i = 0; i < o->ip6_count; i++) {
        if (ip_equal(o->ip6[i].addr, o->gateway6))
            return bad(err, err_len, "net-gateway is our own address");
        reached |= ip_in(o->gateway6, o->ip6[i].addr, o->ip6[i].bits);
    }
    return reached ? OPTIONS_RUN
                   : bad(err, err_len,
                         "net-gateway is outside net-address's IPv6 prefixes and not link-local");
}

static enum options_result check_net(const struct options *o, char *err, size_t err_len)
{
    if (*o->net_port && !o->ip && !o->ip6_count)
        return bad(err, err_len, "net-port needs net-address, as --net-address 10.0.0.2/24");
    if (o->share_kernel && strncmp(o->net_port, "af_xdp:", 7) != 0)
        return bad(err, err_len, "net-share kernel needs net-port af_xdp:IFACE");
    if (o->share_kernel && o->vlan)
        return bad(err, err_len,
                   "net-share kernel and net-vlan do not go together: Linux has the "
                   "addresses of a VLAN on an interface of its own");
    if (o->core_addressed &&
        (o->share_kernel || !o->listen_port || o->listen_port + o->workers > UINT16_MAX))
        return bad(
            err, err_len,
            "--core-addressed needs an address of its own (--net-share none) and --port with "
            "as many free numbers behind it as there are workers%s",
            "");
    if (o->share_kernel && !o->listen_port)
        return bad(err, err_len,
                   "net-share kernel needs a port: the rest of the address is Linux's");
    if (o->gateway && !o->ip)
        return bad(err, err_len, "net-gateway needs a net-address of its family");
    if (o->gateway && ((o->gateway ^ o->ip) & o->netmask))
        return bad(err, err_len,
                   "net-gateway is outside net-address's prefix: nobody there can be "
                   "reached without a gateway");
    if (o->gateway && o->gateway == o->ip)
        return bad(err, err_len, "net-gateway is our own address");
    if (o->ip6_count && o->mtu && o->mtu < 1280)
        return bad(err, err_len, "net-mtu is less than IPv6 needs: 1280");
    return check_gateway6(o, err, err_len);
}

static enum options_result check(const struct options *o, char *err, size_t err_len)
{
    enum options_result r = check_net(o, err, err_len);
    if (r != OPTIONS_RUN)
        return r;
    if (o->rto_min_ms && o->rto_max_ms && o->rto_max_ms < o->rto_min_ms)
        return bad(err, err_len, "tcp-rto-max-ms is less than tcp-rto-min-ms");
    return OPTIONS_RUN;
}

enum options_result options_parse(struct options *ret, int argc, char **argv, char *err,
                                  size_t err_len)
{
    static const struct option longs[] = {
#define OPTION(name, type, field, least, most, help) {name, required_argument, NULL, INDEX_##field},
        OPTION_TABLE(OPTION)
#undef OPTION
            {"version", no_argument, NULL, INDEX_VERSION},
        {"help", no_argument, NULL, INDEX_HELP},
        {NULL, 0, NULL, 0}};
    struct options o = {.instance = "default",
                        .net_port = "",
                        .eal_args = "",
                        .listen_port = 6379,
                        .trace = TCP_TRACE_ERRORS};
    int index;

    optind = 0; /* glibc: start anew, for callers that parse twice */
    opterr = 0;
    while ((index = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (index == '?')
            return bad(err, err_len, "unknown option or missing value: %.100s; --help lists them",
                       argv[optind - 1]);
        if (index == INDEX_VERSION) {
            puts("barewire-dataplane " BAREWIRE_VERSION);
            return OPTIONS_DONE;
        }
        if (index == INDEX_HELP) {
            print_help();
            return OPTIONS_DONE;
        }
        if (!set_option(&o, index))
            return bad(err, err_len, "--%s %.100s: not a valid value", longs[index].name, optarg);
    }
    if (optind < argc)
        return bad(err, err_len, "unexpected argument %.100s; --help lists options", argv[optind]);
    enum options_result r = check(&o, err, err_len);
    if (r == OPTIONS_RUN)
        *ret = o;
    return r;
}

void options_to_net(const struct options *o, struct net_config *c)
{
    c->ip = o->ip;
    c->netmask = o->netmask;
    c->gateway = o->gateway;
    memcpy(c->ip6, o->ip6, sizeof(c->ip6));
    c->ip6_count = o->ip6_count;
    c->gateway6 = o->gateway6;
    c->vlan = (uint16_t)o->vlan;
    c->listen_port = (uint16_t)o->listen_port;
    c->listen_more = o->core_addressed ? (uint16_t)o->workers : 0;
    c->congestion = o->congestion;
    c->no_ecn = o->no_ecn;
    c->trace = o->trace;
#define OVER(field) \
    if (o->field)   \
    c->field = (uint32_t)o->field
    OVER(rto_min_ms);
    OVER(rto_max_ms);
    OVER(delayed_ack_ms);
    OVER(time_wait_ms);
    OVER(time_wait_max);
    OVER(keepalive_interval_s);
    OVER(keepalive_probes);
    OVER(initial_window_segs);
    OVER(trace_events);
    OVER(rcv_buf_bytes);
    OVER(snd_buf_bytes);
#undef OVER
}
