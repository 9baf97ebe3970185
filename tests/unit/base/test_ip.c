/* Addresses of both families: texts that are one and texts that are none, prefixes, what a host may have, endpoints as Redis shows them. */
#include "engine/base/assert.h"
#include "engine/base/ip.h"
#include "tests/unit/unit.h"

static struct span str(const char *s)
{
    return span_str(s);
}

static void test_parse_and_format(void **state)
{
    static const struct {
        const char *in, *out;
    } good[] = {
        {"10.0.0.1", "10.0.0.1"},
        {"255.255.255.255", "255.255.255.255"},
        {"fd00::2", "fd00::2"},
        {"FD00:0:0:0:0:0:0:2", "fd00::2"},
        {"::", "::"},
        {"::1", "::1"},
        {"2001:db8::1:0:0:1", "2001:db8::1:0:0:1"},
        {"fe80::ff:fe00:1", "fe80::ff:fe00:1"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    };
    static const char *const bad[] = {
        "",
        "10.0.0",
        "10.0.0.256",
        "10.0.0.1 ",
        "fe80::1%eth0",
        "1::2::3",
        "fd00::g",
        "[fd00::2]",
        "::ffff:10.0.0.1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"};
    char text[IP_TEXT_BYTES];
    struct ip_addr a;
    for (unsigned i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(ip_parse(str(good[i].in), &a));
        ip_format(text, a);
        assert_string_equal(text, good[i].out);
    }
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(ip_parse(str(bad[i]), &a));
    assert_false(ip_parse(span_of("10.0.0.1\0x", 10), &a));
}

static void test_v4_is_mapped(void **state)
{
    struct ip_addr a = ip_from_v4(0x0a000102);
    static const uint8_t wire[16] = {[10] = 0xff, [11] = 0xff, [12] = 10, [14] = 1, [15] = 2};
    assert_true(ip_equal(a, ip_load(wire)));
    assert_true(ip_is_v4(a));
    assert_int_equal(ip_v4(a), 0x0a000102);
    assert_int_equal(ip_byte(a, 12), 10);
    assert_int_equal(ip_byte(a, 15), 2);
    assert_int_equal(ip_byte(a, 3), 0);
}

static void test_prefixes(void **state)
{
    struct ip_addr a, p;
    unsigned bits;
    char text[IP_TEXT_BYTES];
    assert_true(ip_parse_prefix(str("10.0.0.2/24"), false, &a, &bits));
    assert_int_equal(bits, 120);
    ip_format_prefix(text, a, bits);
    assert_string_equal(text, "10.0.0.2/24");
    assert_true(ip_parse_prefix(str("fd00:1::/33"), false, &p, &bits));
    assert_int_equal(bits, 33);
    ip_format_prefix(text, p, bits);
    assert_string_equal(text, "fd00:1::/33");
    assert_true(ip_parse(str("fd00:1:7fff::1"), &a));
    assert_true(ip_in(a, p, bits));
    assert_true(ip_parse(str("fd00:1:8000::1"), &a));
    assert_false(ip_in(a, p, bits));
    assert_true(ip_in(a, p, 0));
    assert_false(ip_in(a, p, 128));
    for (unsigned n = 0; n <= 128; n++) { /* the mask against one made bit by bit */
        uint8_t m[16] = {0};
        for (unsigned i = 0; i < n; i++)
            m[i / 8] |= (uint8_t)(0x80 >> (i & 7));
        assert_true(ip_equal(ip_mask(n), ip_load(m)));
    }
    assert_false(ip_parse_prefix(str("10.0.0.2"), false, &a, &bits));
    assert_true(ip_parse_prefix(str("10.0.0.2"), true, &a, &bits));
    assert_int_equal(bits, 128);
    assert_false(ip_parse_prefix(str("10.0.0.2/33"), true, &a, &bits));
    assert_false(ip_parse_prefix(str("fd00::/129"), true, &a, &bits));
    assert_false(ip_parse_prefix(str("fd00::/"), true, &a, &bits));
    assert_false(ip_parse_prefix(str("/64"), true, &a, &bits));
    assert_false(ip_parse_prefix(str("fd00::/-1"), true, &a, &bits));
}

static void test_what_a_host_may_have(void **state)
{
    static const char *const yes[] = {"10.0.0.1", "223.255.255.255", "fd00::1", "fe80::1",
                                      "2000::"};
    static const char *const no[] = {
        "0.1.2.3", "127.0.0.1", "224.0.0.1",  "240.0.0.1", "255.255.255.255",
        "::",      "::1",       "::10.0.0.1", "ff02::1"};
    struct ip_addr a;
    for (unsigned i = 0; i < ARRAY_LEN(yes); i++) {
        assert_true(ip_parse(str(yes[i]), &a));
        assert_true(ip_is_host(a));
    }
    for (unsigned i = 0; i < ARRAY_LEN(no); i++) {
        assert_true(ip_parse(str(no[i]), &a));
        assert_false(ip_is_host(a));
    }
    assert_true(ip_parse(str("febf::1"), &a) && ip_is_link_local(a));
    assert_true(ip_parse(str("fec0::1"), &a) && !ip_is_link_local(a));
}

static void test_endpoints_as_redis_shows_them(void **state)
{
    char text[IP_ENDPOINT_BYTES];
    struct ip_addr a;
    ip_format_endpoint(text, ip_from_v4(0x7f000001), 6379);
    assert_string_equal(text, "127.0.0.1:6379");
    assert_true(ip_parse(str("::1"), &a));
    ip_format_endpoint(text, a, 65535);
    assert_string_equal(text, "[::1]:65535");
    assert_true(ip_parse(str("1111:2222:3333:4444:5555:6666:7777:8888"), &a));
    ip_format_endpoint(text, a, 65535);
    assert_string_equal(text, "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_and_format),
        cmocka_unit_test(test_v4_is_mapped),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_what_a_host_may_have),
        cmocka_unit_test(test_endpoints_as_redis_shows_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
