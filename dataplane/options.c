/* See options.h. Pure but for --version and --help, which print. Thread: main. */
#include "dataplane/options.h"

#include <arpa/inet.h>
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

/* A unicast address: not 0, not loopback, not multicast or above. */
static bool parse_ip4(const char *s, uint32_t *ret)
{
    struct in_addr a;

    if (inet_pton(AF_INET, s, &a) != 1)
        return false;
    uint32_t ip = ntohl(a.s_addr);
    if (ip >> 24 == 0 || ip >> 24 == 127 || ip >= 0xe0000000u)
        return false;
    *ret = ip;
    return true;
}

static bool parse_cidr(const char *s, uint32_t *ret_ip, uint32_t *ret_mask)
{
    char text[INET_ADDRSTRLEN];
    const char *slash = strchr(s, '/');
    uint64_t bits;

    if (!slash || (size_t)(slash - s) >= sizeof(text))
        return false;
    memcpy(text, s, (size_t)(slash - s));
    text[slash - s] = '\0';
    uint32_t ip;
    if (!parse_ip4(text, &ip) || !parse_number(slash + 1, 1, 32, &bits))
        return false;
    uint32_t mask = 0xffffffffu << (32 - bits);
    /* The first and last address of a net belong to nobody (a /31 has neither, RFC 3021). */
    if (bits <= 30 && ((ip & ~mask) == 0 || (ip & ~mask) == ~mask))
        return false;
    *ret_ip = ip;
    *ret_mask = mask;
    return true;
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
#define SET_TEXT(o, field, least, most)   ((o)->field = optarg, true)
#define SET_NUMBER(o, field, least, most) parse_number(optarg, least, most, &(o)->field)
#define SET_CIDR(o, field, least, most)   parse_cidr(optarg, &(o)->ip, &(o)->netmask)
#define SET_IP4(o, field, least, most)    parse_ip4(optarg, &(o)->gateway)
#define SET_AUTO(o, field, least, most)   parse_auto(optarg, &(o)->field)
#define SET_CC(o, field, least, most)     parse_congestion(optarg, &(o)->field)
#define SET_NO(o, field, least, most)     parse_no(optarg, &(o)->field)
#define SET_SHARE(o, field, least, most)  parse_share(optarg, &(o)->field)

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

static enum options_result check(const struct options *o, char *err, size_t err_len)
{
    if (*o->net_port && !o->ip)
        return bad(err, err_len, "net-port needs net-address, as --net-address 10.0.0.2/24");
    if (o->share_kernel && strncmp(o->net_port, "af_xdp:", 7) != 0)
        return bad(err, err_len, "net-share kernel needs net-port af_xdp:IFACE");
    if (o->share_kernel && !o->listen_port)
        return bad(err, err_len,
                   "net-share kernel needs a port: the rest of the address is Linux's");
    if (o->gateway && !o->ip)
        return bad(err, err_len, "net-gateway needs net-address");
    if (o->gateway && ((o->gateway ^ o->ip) & o->netmask))
        return bad(err, err_len,
                   "net-gateway is outside net-address's prefix: nobody there can be "
                   "reached without a gateway");
    if (o->gateway && o->gateway == o->ip)
        return bad(err, err_len, "net-gateway is our own address");
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
    struct options o = {.instance = "default", .net_port = "", .eal_args = "", .listen_port = 6379};
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
    c->vlan = (uint16_t)o->vlan;
    c->listen_port = (uint16_t)o->listen_port;
    c->congestion = o->congestion;
    c->no_ecn = o->no_ecn;
#define OVER(field) \
    if (o->field)   \
    c->field = (uint32_t)o->field
    OVER(rto_min_ms);
    OVER(rto_max_ms);
    OVER(delayed_ack_ms);
    OVER(time_wait_ms);
    OVER(keepalive_interval_s);
    OVER(keepalive_probes);
    OVER(initial_window_segs);
    OVER(rcv_buf_bytes);
    OVER(snd_buf_bytes);
#undef OVER
}
