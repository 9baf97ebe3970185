/* The relay's impairments: what each does to frames, that order is kept where it must be, that a seed decides everything. */
#include <string.h>

#include "tests/relay/impair.h"
#include "tests/unit/unit.h"

#define FRAME 100
#define MS    1000000ull

static void start(struct impair *im, const char *words, uint64_t seed)
{
    struct impair_options o;
    const char *bad;
    impair_defaults(&o);
    assert_true(impair_parse(&o, words, &bad));
    assert_int_equal(impair_init(im, &o, seed), 0);
}

/* Frame n carries its number behind an Ethernet and an IPv4 header's space. */
static void feed(struct impair *im, uint32_t n, uint16_t type, uint64_t now_ns)
{
    uint8_t f[FRAME];
    memset(f, 0, sizeof f);
    f[12] = (uint8_t)(type >> 8);
    f[13] = (uint8_t)type;
    memcpy(f + 40, &n, sizeof n);
    impair_input(im, f, sizeof f, now_ns);
}

static uint32_t number_of(const struct impair_frame *f)
{
    uint32_t n;
    memcpy(&n, f->bytes + 40, sizeof n);
    return n;
}

/* Numbers of the frames that are due, in their order. */
static uint32_t take(struct impair *im, uint64_t now_ns, uint32_t *out, uint32_t room)
{
    uint32_t count = 0;
    for (struct impair_frame *f; (f = impair_due(im, now_ns)) != NULL; impair_sent(im, true)) {
        assert_true(count < room);
        out[count++] = number_of(f);
    }
    return count;
}

static void test_words(void **state)
{
    static const char *const bad[] = {"loss",          "loss=",   "loss=101",    "loss=-1",
                                      "lost=1",        "loss=1x", "reorder=5:0", "queue=0",
                                      "loss=1,,dup=1", "dup=1:2", "delay=nan",   "loss=1 dup=1"};
    struct impair_options o;
    const char *word = NULL;
    impair_defaults(&o);
    assert_true(impair_parse(&o, "", &word));
    assert_true(impair_parse(
        &o, "loss=1.5,dup=2,corrupt=3,reorder=4:7,hold=8,delay=9,jitter=10,rate=11,queue=12",
        &word));
    assert_true(o.loss_pct > 1.4 && o.loss_pct < 1.6);
    assert_int_equal(o.reorder_gap, 7);
    assert_int_equal(o.hold_ns, 8 * MS);
    assert_int_equal(o.delay_ns, 9 * MS);
    assert_int_equal(o.jitter_ns, 10 * MS);
    assert_int_equal(o.rate_bits, 11000000);
    assert_int_equal(o.queue_frames, 12);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (impair_parse(&o, bad[i], &word))
            fail_msg("'%s' was taken", bad[i]);
}

static void test_clean_wire_changes_nothing(void **state)
{
    struct impair im;
    uint32_t got[1000];
    start(&im, "", 1);
    for (uint32_t i = 0; i < 1000; i++)
        feed(&im, i, 0x0800, 5);
    assert_int_equal(take(&im, 5, got, 1000), 1000);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(got[i], i);
    assert_true(impair_next_ns(&im) == UINT64_MAX);
    impair_free(&im);
}

static void test_loss_and_duplicates(void **state)
{
    struct impair im;
    static uint32_t got[20000];
    start(&im, "loss=10,dup=20", 7);
    for (uint32_t i = 0; i < 10000; i++)
        feed(&im, i, 0x0800, 0);
    uint32_t n = take(&im, 0, got, 20000);
    assert_in_range(im.counters.lost, 850, 1150);
    assert_in_range(im.counters.duplicated, 1600, 2000); /* 20 % of those that were not lost */
    assert_int_equal(n, 10000 - im.counters.lost + im.counters.duplicated);
    assert_int_equal(im.counters.out, n);
    impair_free(&im);
}

static uint64_t fate(uint64_t seed)
{
    struct impair im;
    static uint32_t got[4000];
    uint64_t h = 1469598103934665603ull;
    start(&im, "loss=5,dup=5,reorder=5:3,jitter=2", seed);
    for (uint32_t i = 0; i < 1000; i++) {
        feed(&im, i, 0x0800, i * 10000);
        uint32_t n = take(&im, i == 999 ? 1000 * MS : i * 10000, got, 4000);
        for (uint32_t k = 0; k < n; k++)
            h = (h ^ got[k]) * 1099511628211ull;
    }
    impair_free(&im);
    return h;
}

static void test_seed_decides(void **state)
{
    assert_true(fate(1) == fate(1));
    assert_true(fate(1) != fate(2));
}

static void test_one_bit_behind_the_ethernet_header(void **state)
{
    struct impair im;
    start(&im, "corrupt=100", 3);
    const uint16_t types[3] = {0x0800, 0x86dd, 0x0806};
    for (uint32_t i = 0; i < 3000; i++) {
        uint16_t type = types[i % 3];
        feed(&im, 0, type, 0);
        struct impair_frame *f = impair_due(&im, 0);
        uint32_t bits = 0;
        for (uint32_t b = 0; b < f->len; b++) {
            uint8_t clean = b == 12 ? (uint8_t)(type >> 8) : b == 13 ? (uint8_t)type : 0;
            uint32_t wrong = (uint32_t)__builtin_popcount(f->bytes[b] ^ clean);
            assert_true(b >= 14 || !wrong);
            bits += wrong;
        }
        assert_int_equal(bits, type == 0x0806 ? 0 : 1); /* ARP has no checksum: left alone */
        impair_sent(&im, true);
    }
    assert_int_equal(im.counters.corrupted, 2000);
    impair_free(&im);
}

static void test_flow_labels(void **state)
{
    struct impair im;
    uint32_t other = 0;
    start(&im, "relabel=50", 3);
    for (uint32_t i = 0; i < 2000; i++) {
        uint16_t type = i % 2 ? 0x86dd : 0x0800;
        feed(&im, 0, type, 0);
        struct impair_frame *f = impair_due(&im, 0);
        uint32_t label = 0;
        for (uint32_t b = 0; b < f->len; b++) {
            uint8_t clean = b == 12 ? (uint8_t)(type >> 8) : b == 13 ? (uint8_t)type : 0;
            if (b >= 15 && b <= 17)
                label = label << 8 | f->bytes[b];
            else
                assert_int_equal(f->bytes[b], clean);
        }
        assert_true(label <= 0xfffff && (!label || type == 0x86dd));
        other += label != 0;
        impair_sent(&im, true);
    }
    assert_in_range(other, 450, 550);
    assert_in_range(im.counters.relabelled, other, other + 1);
    impair_free(&im);
}

static void test_held_until_others_passed_or_time(void **state)
{
    struct impair im;
    uint32_t got[8];
    start(&im, "reorder=100:2,hold=5", 1);
    feed(&im, 0, 0x0800, 0);
    im.options.reorder_pct = 0;
    feed(&im, 1, 0x0800, 0);
    assert_int_equal(take(&im, 0, got, 8), 1);
    feed(&im, 2, 0x0800, 0);
    assert_int_equal(take(&im, 0, got, 8), 2);
    assert_int_equal(got[0], 2);
    assert_int_equal(got[1], 0);
    im.options.reorder_pct = 100;
    feed(&im, 3, 0x0800, 10 * MS); /* nothing follows: time lets it go */
    assert_true(impair_next_ns(&im) == 15 * MS);
    assert_int_equal(take(&im, 15 * MS - 1, got, 8), 0);
    assert_int_equal(take(&im, 15 * MS, got, 8), 1);
    impair_free(&im);
}

static void test_delay_and_jitter_keep_the_order(void **state)
{
    struct impair im;
    uint32_t got[500], n = 0;
    start(&im, "delay=5,jitter=5", 9);
    for (uint32_t i = 0; i < 500; i++)
        feed(&im, i, 0x0800, i * 10000ull);
    assert_true(impair_next_ns(&im) >= 5 * MS && impair_next_ns(&im) <= 10 * MS);
    for (uint64_t t = 0; t <= 15 * MS; t += 100000)
        n += take(&im, t, got + n, 500 - n);
    assert_int_equal(n, 500);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(got[i], i);
    impair_free(&im);
}

static void test_rate_and_full_queue(void **state)
{
    struct impair im;
    uint32_t got[10];
    start(&im, "rate=8,queue=4", 1); /* a byte per microsecond */
    for (uint32_t i = 0; i < 6; i++)
        feed(&im, i, 0x0800, 0);
    assert_int_equal(im.counters.queue_dropped, 2);
    assert_int_equal(take(&im, FRAME * 1000 - 1, got, 10), 0);
    assert_int_equal(take(&im, FRAME * 1000, got, 10), 1);
    assert_int_equal(take(&im, FRAME * 4000, got, 10), 3);
    impair_free(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_clean_wire_changes_nothing),
        cmocka_unit_test(test_loss_and_duplicates),
        cmocka_unit_test(test_seed_decides),
        cmocka_unit_test(test_one_bit_behind_the_ethernet_header),
        cmocka_unit_test(test_flow_labels),
        cmocka_unit_test(test_held_until_others_passed_or_time),
        cmocka_unit_test(test_delay_and_jitter_keep_the_order),
        cmocka_unit_test(test_rate_and_full_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
