/* Replies: the bytes of RESP2 and RESP3, and the same bytes into any room. */
#include <math.h>

#include "engine/base/assert.h"
#include "engine/resp/reply.h"
#include "tests/unit/unit.h"

/* A sink that gives `step` bytes of room at a time. */
struct drip {
    uint8_t out[8192], room[512];
    size_t len, step, calls, fail_at;
};

static void drip_take(struct reply *r)
{
    struct drip *d = r->ctx;
    if (r->cur) {
        memcpy(d->out + d->len, d->room, (size_t)(r->cur - d->room));
        d->len += (size_t)(r->cur - d->room);
    }
    r->cur = d->room;
}

static void drip_more(struct reply *r, size_t hint)
{
    struct drip *d = r->ctx;
    assert_true(hint >= 1);
    drip_take(r);
    if (++d->calls == d->fail_at) {
        r->failed = true;
        return;
    }
    r->end = d->room + d->step;
    /* What lies behind the room must not be written to. */
    memset(d->room, 0xee, sizeof(d->room));
}

static const struct reply_sink drip_sink = {drip_more};

static void everything(struct reply *r)
{
    static char text[300];
    memset(text, 'q', sizeof(text));
    reply_ok(r);
    reply_simple(r, "QUEUED");
    reply_error(r, "WRONGTYPE Operation\r\nagainst");
    reply_errorf(r, "ERR unknown command '%s'", "foo");
    for (int64_t v = 1; v < INT64_MAX / 10; v = v * 10 + 3) {
        reply_int(r, v);
        reply_int(r, -v);
        reply_bulk_int(r, -v);
    }
    reply_int(r, INT64_MIN);
    reply_int(r, INT64_MAX);
    for (size_t n = 0; n <= 70; n++)
        reply_bulk(
            r,
            span_of("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!@#$%^&*()", n));
    reply_bulk(r, span_of(text, sizeof(text)));
    reply_bulk_str(r, "str");
    reply_null(r);
    reply_null_array(r);
    reply_bool(r, true);
    reply_bool(r, false);
    reply_double(r, 0.1);
    reply_double(r, -INFINITY);
    reply_array(r, 5);
    reply_map(r, 60);
    reply_set(r, 123456);
    reply_push(r, 0);
    reply_verbatim(r, "txt", SPAN("Some string"));
    if (r->resp == 3)
        reply_attr(r, 1);
}

static void any_room_gives_the_same_bytes(void **state)
{
    for (uint8_t resp = 2; resp <= 3; resp++) {
        struct reply r;
        struct reply_heap h;
        reply_heap_init(&r, &h, resp);
        everything(&r);
        reply_heap_finish(&r, &h);
        assert_false(r.failed);
        assert_true(h.len > 3000);
        for (size_t step = 1; step <= 200; step++) {
            static struct drip d;
            d = (struct drip){.step = step};
            struct reply s = {.sink = &drip_sink, .ctx = &d, .resp = resp};
            everything(&s);
            drip_take(&s);
            assert_int_equal(d.len, h.len);
            assert_memory_equal(d.out, h.p, h.len);
            assert_int_equal(s.errors, 2);
        }
        reply_heap_free(&h);
    }
}

/* What `write` writes, in both protocols. */
static void assert_reply(void (*write)(struct reply *), const char *resp2, const char *resp3)
{
    for (uint8_t resp = 2; resp <= 3; resp++) {
        const char *want = resp == 2 ? resp2 : resp3;
        struct reply r;
        struct reply_heap h;
        reply_heap_init(&r, &h, resp);
        write(&r);
        reply_heap_finish(&r, &h);
        if (h.len != strlen(want) || memcmp(h.p, want, h.len) != 0)
            fail_msg("RESP%u: got %.*s, want %s", resp, (int)h.len, (char *)h.p, want);
        reply_heap_free(&h);
    }
}

#define CASES(X)                                                                                 \
    X(ok, reply_ok(r), "+OK\r\n", "+OK\r\n")                                                     \
    X(simple, reply_simple(r, "PONG"), "+PONG\r\n", "+PONG\r\n")                                 \
    X(error, reply_error(r, "ERR a\r\nb\n"), "-ERR a  b\r\n", "-ERR a  b\r\n")                   \
    X(zero, reply_int(r, 0), ":0\r\n", ":0\r\n")                                                 \
    X(nine, reply_int(r, 9), ":9\r\n", ":9\r\n")                                                 \
    X(ten, reply_int(r, 10), ":10\r\n", ":10\r\n")                                               \
    X(minus, reply_int(r, -2), ":-2\r\n", ":-2\r\n")                                             \
    X(least, reply_int(r, INT64_MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n")  \
    X(empty, reply_bulk(r, SPAN("")), "$0\r\n\r\n", "$0\r\n\r\n")                                \
    X(bulk, reply_bulk(r, SPAN("hello")), "$5\r\nhello\r\n", "$5\r\nhello\r\n")                  \
    X(bulk_int, reply_bulk_int(r, -100), "$4\r\n-100\r\n", "$4\r\n-100\r\n")                     \
    X(null, reply_null(r), "$-1\r\n", "_\r\n")                                                   \
    X(null_array, reply_null_array(r), "*-1\r\n", "_\r\n")                                       \
    X(true_, reply_bool(r, true), ":1\r\n", "#t\r\n")                                            \
    X(false_, reply_bool(r, false), ":0\r\n", "#f\r\n")                                          \
    X(double_, reply_double(r, 1.5), "$3\r\n1.5\r\n", ",1.5\r\n")                                \
    X(inf, reply_double(r, INFINITY), "$3\r\ninf\r\n", ",inf\r\n")                               \
    X(minus_inf, reply_double(r, -INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n")                      \
    X(tenth, reply_double(r, 0.1), "$19\r\n0.10000000000000001\r\n", ",0.10000000000000001\r\n") \
    X(array, reply_array(r, 3), "*3\r\n", "*3\r\n")                                              \
    X(map, reply_map(r, 3), "*6\r\n", "%3\r\n")                                                  \
    X(map_big, reply_map(r, 1000000), "*2000000\r\n", "%1000000\r\n")                            \
    X(set, reply_set(r, 2), "*2\r\n", "~2\r\n")                                                  \
    X(push, reply_push(r, 3), "*3\r\n", ">3\r\n")                                                \
    X(verbatim, reply_verbatim(r, "txt", SPAN("Some string")), "$11\r\nSome string\r\n",         \
      "=15\r\ntxt:Some string\r\n")

#define DEFINE(name, call, resp2, resp3)      \
    static void write_##name(struct reply *r) \
    {                                         \
        call;                                 \
    }
CASES(DEFINE)

static void bytes_of_each_kind(void **state)
{
#define CHECK_CASE(name, call, resp2, resp3) assert_reply(write_##name, resp2, resp3);
    CASES(CHECK_CASE)
}

static void bulks_of_all_lengths(void **state)
{
    char text[130], want[160];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(33 + i % 90);
    for (size_t n = 0; n <= sizeof(text); n++) {
        struct drip d = {.step = 512};
        struct reply r = {.sink = &drip_sink, .ctx = &d, .resp = 2};
        reply_ok(&r);
        /* An exact-size copy: the short-copy paths must not read beyond it. */
        char *exact = malloc(n + !n);
        memcpy(exact, text, n);
        reply_bulk(&r, span_of(exact, n));
        free(exact);
        drip_take(&r);
        int len = snprintf(want, sizeof(want), "+OK\r\n$%zu\r\n%.*s\r\n", n, (int)n, text);
        assert_int_equal(d.len, len);
        assert_memory_equal(d.out, want, d.len);
    }
}

static void errors_are_counted_by_code(void **state)
{
    struct reply r;
    struct reply_heap h;
    reply_heap_init(&r, &h, 2);
    reply_error(&r, "NOAUTH Authentication required.");
    assert_string_equal(r.error_code, "NOAUTH");
    reply_error(&r, "nospaceatall");
    assert_string_equal(r.error_code, "ERR");
    reply_error(&r, "AVERYLONGCODETHATISCUT off");
    assert_string_equal(r.error_code, "AVERYLONGCODETH");
    r.muted = true;
    reply_errorf(&r, "ERR %d", 1);
    assert_int_equal(r.errors, 4);
    reply_heap_finish(&r, &h);
    reply_heap_free(&h);
}

static void muted_replies_vanish(void **state)
{
    struct reply r;
    struct reply_heap h;
    for (int with_room = 0; with_room < 2; with_room++) {
        reply_heap_init(&r, &h, 3);
        if (with_room)
            reply_ok(&r);
        r.muted = true;
        everything(&r);
        reply_heap_finish(&r, &h);
        assert_int_equal(h.len, with_room ? 5 : 0);
        reply_heap_free(&h);
    }
}

static void failed_sinks_are_left_alone(void **state)
{
    for (size_t at = 1; at < 100; at++) {
        static struct drip d;
        d = (struct drip){.step = 7, .fail_at = at};
        struct reply r = {.sink = &drip_sink, .ctx = &d, .resp = 2};
        everything(&r);
        assert_true(r.failed);
        assert_int_equal(d.calls, at);
        assert_int_equal(d.len, 7 * (at - 1));
    }
    /* No room and no word about it counts as failure. */
    struct drip d = {.step = 0};
    struct reply r = {.sink = &drip_sink, .ctx = &d, .resp = 2};
    reply_ok(&r);
    assert_true(r.failed);
}

static void heap_limit(void **state)
{
    struct reply r;
    struct reply_heap h;
    reply_heap_init(&r, &h, 2);
    h.limit = 1000;
    for (int i = 0; i < 199; i++)
        reply_ok(&r);
    assert_false(r.failed);
    reply_bulk(&r, SPAN("0123456789"));
    assert_true(r.failed);
    reply_heap_finish(&r, &h);
    assert_true(h.len <= 1000);
    reply_heap_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_room_gives_the_same_bytes),
        cmocka_unit_test(bytes_of_each_kind),
        cmocka_unit_test(bulks_of_all_lengths),
        cmocka_unit_test(errors_are_counted_by_code),
        cmocka_unit_test(muted_replies_vanish),
        cmocka_unit_test(failed_sinks_are_left_alone),
        cmocka_unit_test(heap_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
