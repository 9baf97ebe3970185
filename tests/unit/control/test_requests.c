/* requests: the way of a routed command through bridge and link, with an admin of our own in place of control/admin, and a worker that is
 * this test. Long replies in chunks and in order while the ring is full; nothing that lies is run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/bridge.h"
#include "control/requests.h"
#include "engine/base/assert.h"
#include "engine/base/limits.h"
#include "tests/unit/unit.h"

/* ---- stands in for control/admin ---- */

static uint32_t executed, last_argc, errors_counted;
static char last_words[512], last_peer[64];
static size_t reply_bytes;

static bool no_memory; /* for replies that grow */

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_realloc(void *p, size_t n)
{
    return no_memory ? NULL : __real_realloc(p, n);
}

void admin_execute(struct admin *a, const struct msg_admin_request *req, struct span *argv,
                   uint32_t argc, struct reply *out, int64_t now_ms)
{
    executed++;
    last_argc = argc;
    snprintf(last_peer, sizeof last_peer, "%s", req->peer);
    last_words[0] = 0;
    for (uint32_t i = 0; i < argc; i++)
        snprintf(last_words + strlen(last_words), sizeof last_words - strlen(last_words), "%.*s|",
                 (int)argv[i].n, (const char *)argv[i].p);
    for (size_t i = 0; i < reply_bytes; i++)
        reply_raw(out, &(uint8_t){(uint8_t)(i * 7 + req->request)}, 1);
}

void admin_count_error(struct admin *a, const char *code)
{
    errors_counted++;
}

/* ---- the fixture: both ends of a link, a loop, a bridge ---- */

struct fix {
    char instance[64];
    struct link *c, *d;
    uv_loop_t loop;
    struct bridge bridge;
    struct requests *requests;
    uint32_t shutdowns, damaged;
    enum store_end how; /* of the last shutdown */
    bool force;
};

static void on_message(void *ctx, uint32_t worker, uint32_t type, struct span payload)
{
    struct fix *f = ctx;
    assert_int_equal(type, MSG_ADMIN_REQUEST);
    requests_message(f->requests, worker, payload);
}

static void on_room(void *ctx, uint32_t worker)
{
    requests_room(((struct fix *)ctx)->requests, worker);
}

static void on_damaged(void *ctx, uint32_t worker)
{
    ((struct fix *)ctx)->damaged++;
}

static void on_renewed(void *ctx)
{
    requests_drop_all(((struct fix *)ctx)->requests);
}

static bool on_shutdown(void *ctx, uint32_t worker, const struct msg_admin_request *req,
                        enum store_end how, bool force)
{
    struct fix *f = ctx;
    f->shutdowns++;
    f->how = how;
    f->force = force;
    return true;
}

/* A store that answers SAVE in its own time. */
static bool on_store(void *ctx, uint32_t worker, const struct msg_admin_request *req,
                     struct span *argv)
{
    struct fix *f = ctx;
    if (!span_is(argv[0], "save"))
        return false;
    requests_hold(f->requests, worker, req->request);
    requests_answer(f->requests, worker, req->request, "+OK\r\n");
    return true;
}

static const struct bridge_ops bridge_ops = {on_message, on_room, on_damaged, on_renewed};
static const struct requests_ops requests_ops = {on_shutdown, on_store};

static int setup(void **state)
{
    static int n;
    struct fix *f = calloc(1, sizeof *f);
    bool fresh;
    char err[256];
    snprintf(f->instance, sizeof f->instance, "test-requests-%d-%d", (int)getpid(), n++);
    assert_int_equal(link_open_control(&f->c, f->instance, 2, &fresh, err, sizeof err), 0);
    assert_int_equal(link_open_dataplane(&f->d, f->instance, err, sizeof err), 0);
    link_dp_begin(f->d, getpid());
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(bridge_open(&f->bridge, &f->loop, f->c, &bridge_ops, f), 0);
    f->requests = requests_new(&f->bridge, NULL, &requests_ops, f);
    uv_run(&f->loop, UV_RUN_NOWAIT); /* sees the generation */
    executed = errors_counted = 0;
    reply_bytes = 5;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;
    bridge_close(&f->bridge);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    requests_free(f->requests);
    link_close(f->d);
    link_close(f->c);
    link_unlink(f->instance);
    free(f);
    return 0;
}

static size_t make(uint8_t *to, uint64_t id, uint32_t argc, const char *const *argv)
{
    struct msg_admin_request q = {.request = id, .resp = 2, .argc = argc};
    snprintf(q.peer, sizeof q.peer, "peer:1");
    memcpy(to, &q, sizeof q);
    size_t n = sizeof q;
    for (uint32_t i = 0; i < argc; i++) {
        uint32_t len = (uint32_t)strlen(argv[i]);
        memcpy(to + n, &len, 4);
        memcpy(to + n + 4, argv[i], len);
        n += 4 + len;
    }
    return n;
}

static void send_raw(struct fix *f, uint32_t worker, const void *p, size_t n)
{
    assert_true(ring_send(link_from_worker(f->d, worker), MSG_ADMIN_REQUEST, p, (uint32_t)n));
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void ask(struct fix *f, uint32_t worker, uint64_t id, uint32_t argc, const char *const *argv)
{
    uint8_t msg[1024];
    send_raw(f, worker, msg, make(msg, id, argc, argv));
}

#define WORDS(...)        \
    (const char *const[]) \
    {                     \
        __VA_ARGS__       \
    }

/* Takes one whole reply at the worker's end, running the loop for more. Its length. */
static size_t take_reply(struct fix *f, uint32_t worker, uint64_t id, uint8_t *to, size_t cap)
{
    size_t n = 0;
    for (int turns = 0; turns < 1000000; turns++) {
        struct ring *r = link_to_worker(f->d, worker);
        struct ring_record rec;
        struct msg_admin_reply a;
        if (ring_peek(r, &rec) != RING_RECORD) {
            uv_run(&f->loop, UV_RUN_ONCE);
            continue;
        }
        assert_int_equal(rec.type, MSG_ADMIN_REPLY);
        assert_in_range(rec.payload.n, sizeof a + 1, LIMIT_LINK_MSG_BYTES);
        memcpy(&a, rec.payload.p, sizeof a);
        assert_int_equal(a.request, id);
        assert_true(n + rec.payload.n - sizeof a <= cap);
        memcpy(to + n, rec.payload.p + sizeof a, rec.payload.n - sizeof a);
        n += rec.payload.n - sizeof a;
        ring_release(r);
        if (a.flags & MSG_ADMIN_LAST)
            return n;
    }
    fail_msg("the reply never ends");
    return 0;
}

static void expect_text(struct fix *f, uint32_t worker, uint64_t id, const char *want)
{
    uint8_t got[4096];
    size_t n = take_reply(f, worker, id, got, sizeof got - 1);
    got[n] = 0;
    assert_memory_equal(got, want, strlen(want));
}

/* ---- tests ---- */

static void test_arguments_arrive(void **state)
{
    struct fix *f = *state;
    uint8_t got[16];
    ask(f, 1, 77, 4, WORDS("config", "set", "", "a b"));
    assert_int_equal(executed, 1);
    assert_int_equal(last_argc, 4);
    assert_string_equal(last_words, "config|set||a b|");
    assert_string_equal(last_peer, "peer:1");
    assert_int_equal(take_reply(f, 1, 77, got, sizeof got), 5);
}

/* Six replies of 700 kB for one worker: far more than its ring holds. */
static void test_long_replies_in_order(void **state)
{
    struct fix *f = *state;
    static uint8_t got[1 << 20];
    reply_bytes = 700000;
    for (uint64_t id = 1; id <= 6; id++)
        ask(f, 0, id, 1, WORDS("info"));
    ask(f, 1, 9, 1, WORDS("info")); /* the other worker need not wait */
    assert_int_equal(take_reply(f, 1, 9, got, sizeof got), reply_bytes);
    for (uint64_t id = 1; id <= 6; id++) {
        assert_int_equal(take_reply(f, 0, id, got, sizeof got), reply_bytes);
        for (size_t i = 0; i < reply_bytes; i++)
            if (got[i] != (uint8_t)(i * 7 + id))
                fail_msg("reply %d differs at %zu", (int)id, i);
    }
}

static void test_reply_too_long(void **state)
{
    struct fix *f = *state;
    reply_bytes = LIMIT_ADMIN_REPLY_BYTES + 1;
    ask(f, 0, 3, 1, WORDS("info"));
    expect_text(f, 0, 3, "-ERR the reply does not fit");
}

/* CONFIG SET had done what was asked for, and said that it had not. */
static void test_no_memory_for_the_answer_to_what_was_done(void **state)
{
    struct fix *f = *state;
    uint8_t got[600];
    no_memory = true;
    ask(f, 0, 3, 1, WORDS("config", "set", "appendonly", "no"));
    reply_bytes = 513;
    ask(f, 0, 4, 1, WORDS("config", "get", "*"));
    no_memory = false;
    assert_int_equal(take_reply(f, 0, 3, got, sizeof got), 5);
    expect_text(f, 0, 4, "-ERR the reply does not fit");
}

/* A reply that is too short or long by its own words, cut at each byte, is never run. */
static void test_every_cut(void **state)
{
    struct fix *f = *state;
    uint8_t msg[1024];
    struct link_control *stats = link_control_stats(f->c);
    size_t len = make(msg, 1, 3, WORDS("config", "get", "maxmemory"));
    for (size_t n = 0; n < len; n++)
        send_raw(f, 0, msg, n);
    assert_int_equal(executed, 0);
    assert_int_equal(stats->bad_messages, len);
    memset(msg + len, 0, 8);
    send_raw(f, 0, msg, len + 1); /* a byte too many */
    uint32_t lies[] = {0xffffffff, 0x7fffffff, 1000, 5, 7};
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        memcpy(msg + sizeof(struct msg_admin_request), &lies[i], 4);
        send_raw(f, 0, msg, len);
    }
    assert_int_equal(executed, 0);
    assert_int_equal(stats->bad_messages, len + 1 + ARRAY_LEN(lies));
}

static void test_bad_heads(void **state)
{
    struct fix *f = *state;
    uint8_t msg[1024];
    struct msg_admin_request *q = (void *)msg;
    struct link_control *stats = link_control_stats(f->c);
    size_t len = make(msg, 1, 1, WORDS("info"));
    q->argc = 0;
    send_raw(f, 0, msg, len);
    q->argc = 1;
    q->resp = 4;
    send_raw(f, 0, msg, len);
    assert_int_equal(stats->bad_messages, 2);
    q->resp = 3;
    q->argc = 0xffffffff;
    send_raw(f, 0, msg, len);
    expect_text(f, 0, 1, "-ERR too many arguments");
    assert_int_equal(executed, 0);
    q->argc = 1;
    memset(q->peer, 'x', sizeof q->peer);
    send_raw(f, 0, msg, len);
    assert_int_equal(executed, 1);
    assert_int_equal(strlen(last_peer), sizeof q->peer - 1);
}

static void test_shutdown_words(void **state)
{
    struct fix *f = *state;
    ask(f, 0, 2, 3, WORDS("SHUTDOWN", "save", "nosave"));
    expect_text(f, 0, 2, "-ERR syntax error\r\n");
    ask(f, 0, 3, 2, WORDS("shutdown", "later"));
    expect_text(f, 0, 3, "-ERR syntax error\r\n");
    ask(f, 0, 4, 2, WORDS("shutdown", "abort"));
    expect_text(f, 0, 4, "-ERR No shutdown in progress.\r\n");
    assert_int_equal(errors_counted, 3);
    assert_int_equal(f->shutdowns, 0);
    ask(f, 0, 5, 4, WORDS("shutdown", "nosave", "now", "force"));
    assert_true(f->how == STORE_END_NOSAVE && f->force);
    ask(f, 0, 6, 1, WORDS("shutdown"));
    assert_true(f->how == STORE_END_DEFAULT && !f->force);
    ask(f, 0, 7, 2, WORDS("shutdown", "SAVE"));
    assert_true(f->how == STORE_END_SAVE);
    assert_int_equal(f->shutdowns, 3);
    assert_int_equal(executed, 0);
}

/* What the store takes is answered in its time; until then the worker hears that it is at work. */
static void test_store_answers_later(void **state)
{
    struct fix *f = *state;
    struct ring_record rec;
    struct msg_admin_reply m;
    ask(f, 0, 9, 1, WORDS("SAVE"));
    struct ring *r = link_to_worker(f->d, 0);
    assert_int_equal(ring_peek(r, &rec), RING_RECORD);
    assert_int_equal(rec.payload.n, sizeof m);
    memcpy(&m, rec.payload.p, sizeof m);
    assert_true(m.request == 9 && m.flags == 0);
    ring_release(r);
    expect_text(f, 0, 9, "+OK\r\n");
    assert_int_equal(executed, 0);
}

/* A dataplane that begins anew gets nothing of what the old one had asked. */
static void test_renewed(void **state)
{
    struct fix *f = *state;
    struct ring_record rec;
    uint8_t got[16];
    reply_bytes = 3000000;
    ask(f, 0, 1, 1, WORDS("info"));
    link_dp_begin(f->d, getpid());
    for (int i = 0; i < 100; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(ring_peek(link_to_worker(f->d, 0), &rec), RING_EMPTY);
    reply_bytes = 5;
    ask(f, 0, 2, 1, WORDS("info"));
    assert_int_equal(take_reply(f, 0, 2, got, sizeof got), 5);
}

/* A worker's ring that is damaged is told, and read on from what comes next. */
static void test_damaged(void **state)
{
    struct fix *f = *state;
    uint8_t msg[256], got[16];
    struct ring *r = link_from_worker(f->d, 0);
    size_t len = make(msg, 1, 1, WORDS("info"));
    uint64_t at = r->pos & r->mask;
    assert_true(ring_send(r, MSG_ADMIN_REQUEST, msg, (uint32_t)len));
    r->data[at + 30] ^= 1;
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->damaged, 1);
    assert_int_equal(executed, 0);
    ask(f, 0, 2, 1, WORDS("info"));
    assert_int_equal(take_reply(f, 0, 2, got, sizeof got), 5);
}

/* More messages than one turn takes: the loop does not block while there are any. */
static void test_batches(void **state)
{
    struct fix *f = *state;
    uint8_t msg[256], got[16];
    for (uint64_t id = 0; id < BRIDGE_BATCH * 3; id++)
        assert_true(ring_send(link_from_worker(f->d, 0), MSG_ADMIN_REQUEST, msg,
                              (uint32_t)make(msg, id, 1, WORDS("info"))));
    for (int i = 0; i < 4; i++)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(executed, BRIDGE_BATCH * 3);
    for (uint64_t id = 0; id < BRIDGE_BATCH * 3; id++)
        assert_int_equal(take_reply(f, 0, id, got, sizeof got), 5);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_arguments_arrive), T(test_long_replies_in_order),
        T(test_reply_too_long),   T(test_no_memory_for_the_answer_to_what_was_done),
        T(test_every_cut),        T(test_bad_heads),
        T(test_shutdown_words),   T(test_store_answers_later),
        T(test_renewed),          T(test_damaged),
        T(test_batches),
    };
    return cmocka_run_group_tests_name("requests", tests, NULL, NULL);
}
