/* The command line of barewire-dataplane. */
#include <stdio.h>
#include <string.h>

#include "dataplane/options.h"
#include "tests/unit/unit.h"

static char err[256];

/* Words end with NULL. */
static enum options_result parse(struct options *o, ...)
{
    char *argv[32] = {(char *)"barewire-dataplane"};
    int argc = 1;
    va_list ap;

    va_start(ap, o);
    for (char *s; (s = va_arg(ap, char *)) && argc < 31;)
        argv[argc++] = s;
    va_end(ap);
    err[0] = '\0';
    return options_parse(o, argc, argv, err, sizeof(err));
}

#define BAD(words, ...)                                               \
    do {                                                              \
        struct options o_;                                            \
        assert_int_equal(parse(&o_, __VA_ARGS__, NULL), OPTIONS_BAD); \
        if (!strstr(err, words))                                      \
            fail_msg("'%s' is not in: %s", words, err);               \
    } while (0)

static void test_defaults(void **state)
{
    struct options o;
    struct net_config c, d;

    assert_int_equal(parse(&o, NULL), OPTIONS_RUN);
    assert_string_equal(o.instance, "default");
    assert_string_equal(o.net_port, "");
    assert_int_equal(o.listen_port, 6379);
    assert_int_equal(o.workers, 0);
    assert_int_equal(o.hugepages, PORT_HUGE_AUTO);
    net_config_defaults(&c);
    net_config_defaults(&d);
    options_to_net(&o, &c);
    assert_int_equal(c.rto_min_ms, d.rto_min_ms);
    assert_int_equal(c.snd_buf_bytes, d.snd_buf_bytes);
    assert_int_equal(c.listen_port, 6379);
}

static void test_all(void **state)
{
    struct options o;
    struct net_config c;

    assert_int_equal(parse(&o, "--instance", "x", "--workers", "3", "--net-port", "af_xdp:v",
                           "--net-address", "10.1.2.3/24", "--net-gateway", "10.1.2.1", "--net-mtu",
                           "1400", "--net-vlan", "7", "--port", "0", "--hugepages", "no",
                           "--heap-large-pages", "1", "--eal-args=-d x", "--tcp-rto-min-ms", "5",
                           NULL),
                     OPTIONS_RUN);
    net_config_defaults(&c);
    options_to_net(&o, &c);
    assert_int_equal(c.ip, 0x0a010203);
    assert_int_equal(c.netmask, 0xffffff00);
    assert_int_equal(c.gateway, 0x0a010201);
    assert_int_equal(c.vlan, 7);
    assert_int_equal(c.listen_port, 0);
    assert_int_equal(c.rto_min_ms, 5);
    assert_int_equal(o.mtu, 1400);
    assert_int_equal(o.hugepages, PORT_HUGE_NO);
    assert_int_equal(o.heap_large_pages, 1);
    assert_string_equal(o.eal_args, "-d x");
}

static void test_refusals(void **state)
{
    BAD("unknown option", "--no-such");
    BAD("missing value", "--port");
    BAD("unexpected argument", "stray");
    BAD("--port 65536", "--port", "65536");
    BAD("--port -1", "--port", "-1");
    BAD("--port 7x", "--port", "7x");
    BAD("--port ", "--port", "");
    BAD("--workers", "--workers", "65");
    BAD("--workers", "--workers", "0");
    BAD("--mbufs", "--mbufs", "99999999999999999999999");
    BAD("--hugepages", "--hugepages", "maybe");
    BAD("--heap-large-pages", "--heap-large-pages", "2");
    BAD("--net-address", "--net-address", "10.0.0.1");
    BAD("--net-address", "--net-address", "10.0.0.1/0");
    BAD("--net-address", "--net-address", "10.0.0.1/33");
    BAD("--net-address", "--net-address", "10.0.0.0/24");
    BAD("--net-address", "--net-address", "10.0.0.255/24");
    BAD("--net-address", "--net-address", "127.0.0.1/8");
    BAD("--net-address", "--net-address", "224.0.0.1/8");
    BAD("--net-address", "--net-address", "1000.0000.0000.0001/24");
    BAD("needs net-address", "--net-port", "tap:x");
    BAD("--net-share", "--net-share", "maybe");
    BAD("--net-share", "--net-share", "");
    BAD("needs net-port af_xdp", "--net-share", "kernel");
    BAD("needs net-port af_xdp", "--net-share", "kernel", "--net-port", "tap:x", "--net-address",
        "10.0.0.1/24");
    BAD("do not go together", "--net-share", "kernel", "--net-port", "af_xdp:x", "--net-address",
        "10.0.0.1/24", "--net-vlan", "7");
    BAD("needs a port", "--net-share", "kernel", "--net-port", "af_xdp:x", "--net-address",
        "10.0.0.1/24", "--port", "0");
    BAD("outside", "--net-address", "10.0.0.1/24", "--net-gateway", "10.0.1.1");
    BAD("our own", "--net-address", "10.0.0.1/24", "--net-gateway", "10.0.0.1");
    BAD("tcp-rto-max-ms", "--tcp-rto-min-ms", "9", "--tcp-rto-max-ms", "8");
}

static void test_share(void **state)
{
    struct options o;

    assert_int_equal(parse(&o, "--net-port", "af_xdp:x", "--net-address", "10.0.0.1/24", NULL),
                     OPTIONS_RUN);
    assert_false(o.share_kernel);
    assert_int_equal(parse(&o, "--net-port", "af_xdp:x", "--net-address", "10.0.0.1/24",
                           "--net-share", "kernel", NULL),
                     OPTIONS_RUN);
    assert_true(o.share_kernel);
    assert_int_equal(parse(&o, "--net-share", "kernel", "--net-share", "none", NULL), OPTIONS_RUN);
    assert_false(o.share_kernel);
}

static void test_ip6(void **state)
{
    struct options o;
    struct net_config c;

    assert_int_equal(parse(&o, "--net-address", "fd00::2/64 10.1.2.3/24 2001:db8::7/127",
                           "--net-gateway", "fe80::1 10.1.2.1", NULL),
                     OPTIONS_RUN);
    net_config_defaults(&c);
    options_to_net(&o, &c);
    assert_int_equal(c.ip, 0x0a010203);
    assert_int_equal(c.gateway, 0x0a010201);
    assert_int_equal(c.ip6_count, 2);
    assert_int_equal(c.ip6[0].bits, 64);
    assert_int_equal(c.ip6[1].bits, 127);
    char text[IP_TEXT_BYTES];
    ip_format(text, c.ip6[1].addr);
    assert_string_equal(text, "2001:db8::7");
    ip_format(text, c.gateway6);
    assert_string_equal(text, "fe80::1");
    assert_int_equal(parse(&o, "--net-port", "tap:x", "--net-address", "fd00::2/64", NULL),
                     OPTIONS_RUN);
    assert_int_equal(o.ip, 0);
    BAD("--net-address", "--net-address", "fd00::2");
    BAD("--net-address", "--net-address", "fd00::2/0");
    BAD("--net-address", "--net-address", "fd00::2/129");
    BAD("--net-address", "--net-address", "fd00::/64");
    BAD("--net-address", "--net-address", "fe80::2/64");
    BAD("--net-address", "--net-address", "ff02::1/64");
    BAD("--net-address", "--net-address", "::1/128");
    BAD("--net-address", "--net-address", "::ffff:10.0.0.1/120");
    BAD("--net-address", "--net-address", "fd00::2/64 fd00::2/64");
    BAD("--net-address", "--net-address", "10.0.0.1/24 10.0.0.2/24");
    BAD("--net-address", "--net-address", "fd00::1/64 fd00::2/64 fd00::3/64 fd00::4/64 fd00::5/64");
    BAD("--net-gateway", "--net-address", "fd00::2/64", "--net-gateway", "fe80::1 fe80::2");
    BAD("outside", "--net-address", "fd00::2/64", "--net-gateway", "fd01::1");
    BAD("not link-local", "--net-address", "10.0.0.1/24", "--net-gateway", "fe80::1");
    BAD("our own", "--net-address", "fd00::2/64", "--net-gateway", "fd00::2");
    BAD("1280", "--net-address", "fd00::2/64", "--net-mtu", "1279");
}

static void test_point_to_point(void **state)
{
    struct options o;

    assert_int_equal(parse(&o, "--net-address", "10.0.0.0/31", NULL), OPTIONS_RUN);
    assert_int_equal(o.netmask, 0xfffffffe);
    assert_int_equal(parse(&o, "--net-address", "10.0.0.5/32", NULL), OPTIONS_RUN);
    assert_int_equal(o.netmask, 0xffffffff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_all),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_share),
        cmocka_unit_test(test_ip6),      cmocka_unit_test(test_point_to_point),
    };

    return cmocka_run_group_tests_name("dataplane options", tests, NULL, NULL);
}
