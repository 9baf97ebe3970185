/* Frames about connections of another worker find it, wherever they come in; when nobody has it, one reset leaves. */
#include <string.h>

#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

static void up(struct server *s, uint32_t count)
{
    fake_stray = (struct fake_stray){0};
    server_up(s, count);
}

static uint64_t sum(const struct server *s, size_t field)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->count; i++)
        n += *(const uint64_t *)(const void *)((const uint8_t *)s->w[i]->stats + field);
    return n;
}
#define SUM(s, name) sum(s, offsetof(struct stats_worker, name))

static void nothing_under_way(struct server *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        assert_int_equal(s->w[i]->astray.sent, 0);
        assert_int_equal(s->w[i]->astray.asked, 0);
    }
    server_down(s);
}

static void test_found_wherever_it_is(void **state)
{
    struct server s;
    (void)state;
    for (uint32_t count = 2; count <= 5; count++) {
        for (uint32_t owner = 0; owner < count; owner++) {
            for (uint32_t from = 0; from < count; from++) {
                if (from == owner)
                    continue;
                up(&s, count);
                fake_stray.owner = s.net[owner];
                fake_stray_frame(s.net[from], 77);
                settle(&s);
                assert_int_equal(fake_stray.found, 1);
                assert_int_equal(fake_stray.reset, 0);
                /* Known now: straight to it, however many. */
                fake_stray.denied = true;
                for (int i = 0; i < 100; i++)
                    fake_stray_frame(s.net[from], 77);
                settle(&s);
                assert_int_equal(fake_stray.found, 101);
                assert_int_equal(fake_stray.reset, 0);
                assert_int_equal(SUM(&s, stray_frames), 101);
                assert_int_equal(SUM(&s, stray_found), 101);
                assert_int_equal(SUM(&s, drop_stray), 0);
                nothing_under_way(&s);
            }
        }
    }
}

static void test_nobody_has_it(void **state)
{
    struct server s;
    (void)state;
    up(&s, 4);
    for (unsigned i = 1; i <= 10; i++) {
        fake_stray_frame(s.net[i % 4], 5);
        settle(&s);
        assert_int_equal(fake_stray.reset, i); /* each asks anew, and one reset leaves for it */
    }
    fake_stray_frame(s.net[0], 0); /* an error: no flow to be remembered by */
    settle(&s);
    assert_int_equal(fake_stray.reset, 11);
    assert_int_equal(fake_stray.found, 0);
    nothing_under_way(&s);
}

/* The connection ends, or moves on: what was remembered is asked again and forgotten. */
static void test_connection_is_there_no_more(void **state)
{
    struct server s;
    (void)state;
    up(&s, 3);
    fake_stray.owner = s.net[2];
    fake_stray_frame(s.net[0], 9);
    settle(&s);
    assert_int_equal(fake_stray.found, 1);
    fake_stray.owner = s.net[1];
    fake_stray_frame(s.net[0], 9);
    settle(&s);
    assert_int_equal(fake_stray.found, 2);
    fake_stray.owner = NULL;
    fake_stray_frame(s.net[0], 9);
    settle(&s);
    assert_int_equal(fake_stray.found, 2);
    assert_int_equal(fake_stray.reset, 1);
    fake_stray.denied = true; /* forgotten: it would have to ask */
    fake_stray_frame(s.net[0], 9);
    settle(&s);
    assert_int_equal(fake_stray.reset, 2);
    nothing_under_way(&s);
}

/* Of a flow that is asked about, what comes meanwhile is lost, not reset: TCP sends it again. */
static void test_burst_of_a_flow_asks_once(void **state)
{
    struct server s;
    (void)state;
    up(&s, 3);
    fake_stray.owner = s.net[2];
    for (int i = 0; i < 40; i++)
        fake_stray_frame(s.net[0], 9);
    settle(&s);
    assert_int_equal(fake_stray.reset, 0);
    assert_int_equal(fake_stray.found, 1);
    assert_int_equal(SUM(&s, drop_stray), 39);
    nothing_under_way(&s);
}

static void test_flood_is_bounded(void **state)
{
    struct server s;
    (void)state;
    up(&s, 2);
    for (uint64_t flow = 1; flow <= 10000; flow++)
        fake_stray_frame(s.net[0], flow);
    assert_int_equal(s.w[0]->astray.asked, 64);
    settle(&s);
    assert_int_equal(SUM(&s, stray_frames), 64);
    assert_int_equal(SUM(&s, drop_stray), 10000 - 64);
    assert_int_equal(fake_stray.reset, 64);
    fake_stray.owner = s.net[1];
    fake_stray_frame(s.net[0], 3);
    settle(&s);
    for (int i = 0; i < 5000; i++)
        fake_stray_frame(s.net[0], 3);
    assert_int_equal(s.w[0]->astray.sent, 1024);
    settle(&s);
    assert_int_equal(fake_stray.found, 1025);
    nothing_under_way(&s);
}

static void test_no_memory_is_a_loss(void **state)
{
    struct server s;
    (void)state;
    up(&s, 3);
    fake_stray.owner = s.net[1];
    fake_stray.no_memory = true;
    fake_stray_frame(s.net[0], 3);
    settle(&s);
    assert_int_equal(fake_stray.found + fake_stray.reset, 0);
    fake_stray.no_memory = false;
    fake_stray_frame(s.net[0], 3);
    settle(&s);
    assert_int_equal(fake_stray.found, 1);
    nothing_under_way(&s);
}

static void test_one_worker_asks_nobody(void **state)
{
    struct server s;
    (void)state;
    up(&s, 1);
    fake_stray_frame(s.net[0], 3);
    assert_int_equal(fake_stray.reset, 1);
    nothing_under_way(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_wherever_it_is),
        cmocka_unit_test(test_nobody_has_it),
        cmocka_unit_test(test_connection_is_there_no_more),
        cmocka_unit_test(test_burst_of_a_flow_asks_once),
        cmocka_unit_test(test_flood_is_bounded),
        cmocka_unit_test(test_no_memory_is_a_loss),
        cmocka_unit_test(test_one_worker_asks_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
