/* The load generator without a network: distributions, percentiles, reply skipper, templates, and whole runs against a server that is a few
 * lines of C on a clock of the test's own. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/bench/load.h"
#include "tests/unit/unit.h"

/* ---- percentiles ---- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void test_percentiles_are_within_a_thousandth(void **state)
{
    enum { N = 20000 };
    static struct percentile p;
    static uint64_t v[N];
    struct draw d;
    (void)state;
    draw_seed(&d, 7);
    percentile_reset(&p);
    for (int i = 0; i < N; i++) {
        v[i] = (uint64_t)exp(draw_unit(&d) * 20); /* 1 ns to half a second */
        percentile_add(&p, v[i]);
    }
    qsort(v, N, sizeof(v[0]), by_value);
    static const double share[] = {0.0001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    for (size_t i = 0; i < sizeof(share) / sizeof(share[0]); i++) {
        uint64_t exact = v[(size_t)ceil(share[i] * N - 1e-9) - 1],
                 got = percentile_at(&p, share[i]);
        assert_true(got >= exact && got <= exact + exact / 1000 + 1);
    }
    assert_int_equal(p.max, v[N - 1]);
    assert_int_equal(p.min, v[0]);
}

static void test_percentile_log_ends_with_all(void **state)
{
    static struct percentile p;
    char *text, *last;
    size_t n;
    (void)state;
    percentile_reset(&p);
    for (uint64_t i = 1; i <= 1000; i++)
        percentile_add(&p, i * 1000000);
    FILE *f = open_memstream(&text, &n);
    percentile_print(&p, f);
    fclose(f);
    assert_non_null(last = strstr(text, " 1.000000000000 "));
    assert_int_equal(strtoul(last + 16, NULL, 10), 1000);
    assert_non_null(strstr(text, "Total count    =         1000"));
    double before = -1; /* values never fall */
    for (char *line = strchr(text, '\n') + 2; *line != '#'; line = strchr(line, '\n') + 1) {
        double v = strtod(line, NULL);
        assert_true(v >= before);
        before = v;
    }
    assert_true(before > 999 && before <= 1000);
    free(text);
}

/* ---- distributions ---- */

static void count_keys(const char *law, uint64_t n, uint32_t draws, uint32_t *count)
{
    struct key_draw k;
    struct draw d;
    draw_seed(&d, 11);
    assert_true(key_draw_parse(&k, law));
    key_draw_init(&k, n);
    memset(count, 0, n * sizeof(*count));
    for (uint32_t i = 0; i < draws; i++) {
        uint64_t key = key_draw(&k, &d);
        assert_true(key < n);
        count[key]++;
    }
}

static int by_count(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x > y ? -1 : x < y;
}

static void test_zipf_has_its_frequencies(void **state)
{
    enum { N = 1000, DRAWS = 400000 };
    static uint32_t count[N];
    (void)state;
    count_keys("zipf:0.99", N, DRAWS, count);
    assert_true(count[0] < DRAWS / 20); /* ranks are spread: the first key is not the hottest */
    qsort(count, N, sizeof(count[0]), by_count);
    double sum = 0;
    for (int r = 1; r <= N; r++)
        sum += pow(r, -0.99);
    for (int r = 1; r <= 20; r++) {
        double expect = DRAWS * pow(r, -0.99) / sum;
        assert_true(fabs(count[r - 1] - expect) < expect * 0.1);
    }
}

static void test_other_laws(void **state)
{
    enum { N = 1000, DRAWS = 400000 };
    static uint32_t count[N];
    (void)state;
    count_keys("uniform", N, DRAWS, count);
    for (int i = 0; i < N; i++)
        assert_in_range(count[i], 280, 520);
    count_keys("sequential", N, DRAWS, count);
    for (int i = 0; i < N; i++)
        assert_int_equal(count[i], DRAWS / N);
    count_keys("gaussian", N, DRAWS, count);
    qsort(count, N, sizeof(count[0]), by_count);
    assert_true(count[0] > 1500 && count[N - 1] < 20);
    count_keys("zipf:1", 1, 10, count);
    assert_int_equal(count[0], 10);
}

static void test_bad_laws_and_sizes_are_refused(void **state)
{
    struct key_draw k;
    struct size_draw s;
    (void)state;
    static const char *const law[] = {"",        "zip",      "zipf:",   "zipf:x",
                                      "zipf:-1", "zipf:nan", "uniform "};
    static const char *const size[] = {"", "x", "1-", "5-4", "1:0", "1,", "1:2:3", "99999999999"};
    for (size_t i = 0; i < sizeof(law) / sizeof(law[0]); i++)
        assert_false(key_draw_parse(&k, law[i]));
    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++)
        assert_false(size_draw_parse(&s, size[i]));
    assert_true(size_draw_parse(&s, "10:1,20-30:3"));
    struct draw d;
    draw_seed(&d, 3);
    int ten = 0;
    for (int i = 0; i < 10000; i++) {
        uint32_t v = size_draw(&s, &d);
        assert_true(v == 10 || (v >= 20 && v <= 30));
        ten += v == 10;
    }
    assert_in_range(ten, 2200, 2800);
}

/* ---- replies ---- */

/* All replies of the text, fed in pieces of `step` octets: one letter a reply. */
static void skip_all(const char *text, size_t n, size_t step, char *to)
{
    struct skip s;
    skip_init(&s);
    for (size_t off = 0; off < n; off += step) {
        uint8_t piece[64];
        size_t len = n - off < step ? n - off : step;
        memcpy(piece, text + off, len);
        for (const uint8_t *p = piece, *end = piece + len; p < end;) {
            enum skip_status status = skip_reply(&s, &p, end);
            if (status == SKIP_MORE)
                break;
            *to++ = status == SKIP_BAD    ? 'B'
                    : status == SKIP_PUSH ? 'P'
                    : s.error             ? 'E'
                    : s.null              ? 'N'
                                          : 'R';
            if (status == SKIP_BAD)
                goto out;
        }
    }
out:
    *to = 0;
}

static void test_replies_are_skipped_at_every_cut(void **state)
{
    static const char text[] = "+OK\r\n:1\r\n$5\r\nhe\r\nl\r\n$-1\r\n*-1\r\n_\r\n*0\r\n-ERR no\r\n"
                               "*3\r\n$1\r\na\r\n*2\r\n:1\r\n-ERR inner\r\n+x\r\n"
                               "%2\r\n+a\r\n:1\r\n+b\r\n~2\r\n:1\r\n:2\r\n"
                               ">3\r\n+message\r\n$1\r\nc\r\n$0\r\n\r\n"
                               "|1\r\n+ttl\r\n:3\r\n$2\r\nhi\r\n"
                               "#t\r\n,1.5\r\n(12345\r\n=7\r\ntxt:abc\r\n!5\r\nERR x\r\n";
    (void)state;
    for (size_t step = 1; step <= 64; step++) {
        char got[64];
        skip_all(text, sizeof(text) - 1, step, got);
        assert_string_equal(got, "RRRNNNRERRPRRRRRE");
    }
}

static void test_what_is_no_reply_is_told(void **state)
{
    static const char *const text[] = {"hello\r\n", "$x\r\n", "*1x\r\n", "$\r\n", "\r\n"};
    char got[64];
    (void)state;
    for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
        skip_all(text[i], strlen(text[i]), 1, got);
        assert_string_equal(got, "B");
    }
}

static void test_error_text_is_kept(void **state)
{
    static const uint8_t text[] = "-MOVED 1 10.0.0.1:7000\r\n";
    struct skip s;
    (void)state;
    for (size_t cut = 0; cut < sizeof(text) - 1; cut++) {
        skip_init(&s);
        const uint8_t *p = text;
        if (cut)
            assert_int_equal(skip_reply(&s, &p, text + cut), SKIP_MORE);
        assert_int_equal(skip_reply(&s, &p, text + sizeof(text) - 1), SKIP_REPLY);
        assert_true(s.error);
        assert_string_equal(s.line, "MOVED 1 10.0.0.1:7000");
    }
}

/* ---- templates ---- */

static void expect_bytes(const char *words, const char *sizes, const char *bytes)
{
    static uint8_t to[4096];
    struct workload w;
    struct draw d;
    char err[256];
    workload_init(&w);
    draw_seed(&d, 1);
    assert_true(size_draw_parse(&w.sizes, sizes));
    assert_true(workload_add(&w, NULL, 1, words, err, sizeof(err)));
    assert_true(workload_ready(&w, 1));
    assert_true(w.longest <= sizeof(to));
    size_t n = workload_write(&w, 0, &d, to);
    assert_true(n <= w.longest);
    assert_int_equal(n, strlen(bytes));
    assert_memory_equal(to, bytes, n);
    workload_fini(&w);
}

static void test_templates(void **state)
{
    (void)state;
    expect_bytes("PING", "3", "*1\r\n$4\r\nPING\r\n");
    expect_bytes("SET __key__ __data__", "3",
                 "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$3\r\naho\r\n");
    expect_bytes("SET __key__ __data__", "0",
                 "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$0\r\n\r\n");
    expect_bytes("SET k __data__", "2-2", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nah\r\n");
    expect_bytes("SET \"a b\" 'c;d' EX 10", "3",
                 "*5\r\n$3\r\nSET\r\n$3\r\na b\r\n$3\r\nc;d\r\n$2\r\nEX\r\n$2\r\n10\r\n");
    expect_bytes("ZADD z __rand__ m:__rand_int__:x ; ZCARD z", "3",
                 "*4\r\n$4\r\nZADD\r\n$1\r\nz\r\n$1\r\n0\r\n$16\r\nm:000000000000:x\r\n"
                 "*2\r\n$5\r\nZCARD\r\n$1\r\nz\r\n");
}

static void test_bad_templates_are_refused(void **state)
{
    static const char *const words[] = {"", "SET 'k", "GET k;", "SET x__seq__ 1", ";"};
    char err[256];
    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct workload w;
        workload_init(&w);
        err[0] = 0;
        assert_false(workload_add(&w, NULL, 1, words[i], err, sizeof(err)));
        assert_true(err[0] != 0);
        workload_fini(&w);
    }
}

/* ---- runs ---- */

/* A server with one processor: each request takes service_ns; it stands still in [stall, stall_end). */
struct fake {
    struct transport t;
    uint64_t now, service_ns, free_at, stall, stall_end;
    struct fake_reply {
        struct load_client *c;
        uint64_t at;
    } * queue;
    uint32_t head, tail, cap, opened, closed;
    const char *reply;
    uint32_t refuse_after; /* connections; 0: never */
};

static void fake_connect(struct transport *t, struct load_client *c)
{
    struct fake *f = (struct fake *)t;
    f->opened++;
    if (f->refuse_after && f->opened > f->refuse_after) {
        load_connected(c, -111);
        return;
    }
    c->tc = f;
    load_connected(c, 0);
}

static size_t fake_write(struct transport *t, struct load_client *c, const uint8_t *p, size_t n)
{
    struct fake *f = (struct fake *)t;
    for (size_t i = 0; i + 1 < n; i++) {
        if (p[i] != '*')
            continue;
        uint64_t begin = f->free_at > f->now ? f->free_at : f->now;
        if (begin >= f->stall && begin < f->stall_end)
            begin = f->stall_end;
        f->free_at = begin + f->service_ns;
        assert_true(f->head - f->tail < f->cap);
        f->queue[f->head++ % f->cap] = (struct fake_reply){c, f->free_at};
    }
    return n;
}

static void fake_flush(struct transport *t, struct load_client *c)
{
    (void)t;
    (void)c;
}

static void fake_close(struct transport *t, struct load_client *c)
{
    struct fake *f = (struct fake *)t;
    f->closed++;
    for (uint32_t i = f->tail; i != f->head; i++)
        if (f->queue[i % f->cap].c == c)
            f->queue[i % f->cap].c = NULL;
}

static uint64_t fake_poll(struct transport *t, uint64_t until)
{
    struct fake *f = (struct fake *)t;
    if (f->head == f->tail || f->queue[f->tail % f->cap].at > until) {
        f->now = until > f->now ? until : f->now;
        return f->now;
    }
    struct fake_reply r = f->queue[f->tail++ % f->cap];
    f->now = r.at > f->now ? r.at : f->now;
    f->t.busy_ns += 10;
    if (r.c) {
        r.c->load->now_ns = f->now;
        load_received(r.c, (const uint8_t *)f->reply, strlen(f->reply));
    }
    return f->now;
}

static uint64_t fake_now(struct transport *t)
{
    return ((struct fake *)t)->now;
}

static const struct transport_ops fake_ops = {.connect = fake_connect,
                                              .write = fake_write,
                                              .flush = fake_flush,
                                              .close = fake_close,
                                              .poll = fake_poll,
                                              .now = fake_now};

static bool run(struct fake *f, const struct load_config *cfg, const char *words,
                struct load_result *r, char *err)
{
    struct workload w;
    f->t.ops = &fake_ops;
    f->now = f->now ? f->now : 1000000000;
    f->cap = 1 << 16;
    f->queue = malloc(f->cap * sizeof(*f->queue));
    f->reply = f->reply ? f->reply : "+OK\r\n";
    workload_init(&w);
    assert_true(workload_add(&w, NULL, 1, words, err, 256));
    assert_true(workload_ready(&w, 1000));
    bool ok = load_run(&f->t, &w, cfg, r, err, 256);
    workload_fini(&w);
    free(f->queue);
    return ok;
}

static void test_closed_loop_counts_all(void **state)
{
    static struct load_result r;
    struct fake f = {.service_ns = 10000};
    struct load_config cfg = {
        .clients = 4, .pipeline = 8, .requests = 10007, .resp = 2, .answer_timeout_s = 5};
    char err[256];
    (void)state;
    assert_true(run(&f, &cfg, "SET __key__ v", &r, err));
    assert_int_equal(r.operations, 10007);
    assert_int_equal(r.requests, 10007);
    assert_int_equal(r.unanswered, 0);
    assert_int_equal(f.opened, 4);
    assert_int_equal(f.closed, 4);
    assert_true(r.rate > 99000 && r.rate < 101000); /* the server's 10 us each */
    load_result_free(&r);
}

/* Coordinated omission: a server that stands still for a second delays what fell due meanwhile; a closed loop would see one slow request
 * for each client. */
static void test_open_loop_counts_what_a_stall_delays(void **state)
{
    static struct load_result r;
    struct fake f = {
        .service_ns = 10000, .now = 1000000000, .stall = 2000000000, .stall_end = 3000000000};
    struct load_config cfg = {.clients = 100,
                              .pipeline = 1,
                              .seconds = 4,
                              .rate = 1000,
                              .resp = 2,
                              .answer_timeout_s = 5};
    char err[256];
    (void)state;
    assert_true(run(&f, &cfg, "GET __key__", &r, err));
    assert_in_range(r.operations, 3990, 4001);
    /* a quarter of all fell due in the stall, half of those waited more than half a second */
    assert_in_range(percentile_at(&r.all, 0.875), 400000000, 600000000);
    assert_true(percentile_at(&r.all, 0.7) < 100000);
    assert_in_range(r.all.max, 990000000, 1010000000);
    load_result_free(&r);
    struct fake g = {
        .service_ns = 10000, .now = 1000000000, .stall = 2000000000, .stall_end = 3000000000};
    cfg.rate = 0;
    cfg.clients = 10;
    assert_true(run(&g, &cfg, "GET __key__", &r, err));
    assert_true(percentile_at(&r.all, 0.999) < 1000000);
    load_result_free(&r);
}

static void test_a_server_that_is_too_slow_leaves_late_ones(void **state)
{
    static struct load_result r;
    struct fake f = {.service_ns = 1000000};
    struct load_config cfg = {.clients = 10,
                              .pipeline = 1,
                              .seconds = 2,
                              .rate = 2000,
                              .poisson = true,
                              .resp = 2,
                              .seed = 5,
                              .answer_timeout_s = 5};
    char err[256];
    (void)state;
    assert_true(run(&f, &cfg, "GET __key__", &r, err));
    assert_in_range(r.operations, 1990, 2015);
    assert_in_range(r.late, 1700, 2200);
    load_result_free(&r);
}

static void test_warm_up_is_not_counted(void **state)
{
    static struct load_result r;
    struct fake f = {.service_ns = 100000};
    struct load_config cfg = {
        .clients = 1, .pipeline = 1, .seconds = 1, .warmup_s = 2, .resp = 2, .answer_timeout_s = 5};
    char err[256];
    (void)state;
    assert_true(run(&f, &cfg, "GET __key__", &r, err));
    assert_in_range(r.operations, 9900, 10001);
    assert_in_range(r.seconds_used, 3, 4);
    load_result_free(&r);
}

static void test_churn_opens_a_connection_for_each_batch(void **state)
{
    static struct load_result r;
    struct fake f = {.service_ns = 1000};
    struct load_config cfg = {.clients = 3,
                              .pipeline = 2,
                              .requests = 600,
                              .churn = true,
                              .resp = 2,
                              .answer_timeout_s = 5};
    char err[256];
    (void)state;
    assert_true(run(&f, &cfg, "PING", &r, err));
    assert_int_equal(r.operations, 600);
    assert_in_range(f.opened, 300, 303);
    assert_int_equal(f.opened, f.closed);
    load_result_free(&r);
}

static void test_errors_and_refusals_are_told(void **state)
{
    static struct load_result r;
    struct fake f = {.service_ns = 1000, .reply = "-ERR unknown command\r\n"};
    struct load_config cfg = {
        .clients = 2, .pipeline = 1, .requests = 100, .resp = 2, .answer_timeout_s = 5};
    char err[256];
    (void)state;
    assert_true(run(&f, &cfg, "NOSUCH", &r, err));
    assert_int_equal(r.errors, 100);
    assert_string_equal(r.first_error, "ERR unknown command");
    load_result_free(&r);
    struct fake g = {.service_ns = 1000, .reply = "-NOAUTH Authentication required.\r\n"};
    cfg.password = "x";
    assert_false(run(&g, &cfg, "PING", &r, err));
    assert_non_null(strstr(err, "NOAUTH"));
    load_result_free(&r);
    struct fake h = {.service_ns = 1000, .refuse_after = 1};
    cfg.password = NULL;
    assert_false(run(&h, &cfg, "PING", &r, err));
    assert_non_null(strstr(err, "refused"));
    load_result_free(&r);
    struct fake i = {.service_ns = 1000, .reply = "HTTP/1.1 400\r\n"};
    assert_false(run(&i, &cfg, "PING", &r, err));
    assert_non_null(strstr(err, "no RESP"));
    load_result_free(&r);
}

static void test_operations_of_several_requests(void **state)
{
    static struct load_result r;
    struct fake f = {.service_ns = 1000};
    struct load_config cfg = {
        .clients = 2, .pipeline = 3, .requests = 99, .resp = 2, .answer_timeout_s = 5};
    char err[256];
    (void)state;
    assert_true(run(&f, &cfg, "HSET __key__ f v; HGETALL __again__; PING", &r, err));
    assert_int_equal(r.operations, 99);
    assert_int_equal(r.requests, 297);
    load_result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percentiles_are_within_a_thousandth),
        cmocka_unit_test(test_percentile_log_ends_with_all),
        cmocka_unit_test(test_zipf_has_its_frequencies),
        cmocka_unit_test(test_other_laws),
        cmocka_unit_test(test_bad_laws_and_sizes_are_refused),
        cmocka_unit_test(test_replies_are_skipped_at_every_cut),
        cmocka_unit_test(test_what_is_no_reply_is_told),
        cmocka_unit_test(test_error_text_is_kept),
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_bad_templates_are_refused),
        cmocka_unit_test(test_closed_loop_counts_all),
        cmocka_unit_test(test_open_loop_counts_what_a_stall_delays),
        cmocka_unit_test(test_a_server_that_is_too_slow_leaves_late_ones),
        cmocka_unit_test(test_warm_up_is_not_counted),
        cmocka_unit_test(test_churn_opens_a_connection_for_each_batch),
        cmocka_unit_test(test_errors_and_refusals_are_told),
        cmocka_unit_test(test_operations_of_several_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
