/* The slow path: limits, streamed arguments, memory. */
#include "engine/base/assert.h"
#include "engine/base/limits.h"
#include "tests/unit/resp/transcript.h"
#include "tests/unit/unit.h"

static struct mem mem;
static const struct resp_limits limits = {512 << 20, 1 << 30, true};

struct feed {
    struct resp_parser p;
    struct resp_limits lim;
    struct resp_cmd cmd;
    struct span arena[LIMIT_BATCH_ARGS];
};

static void feed_open(struct feed *f)
{
    f->lim = limits;
    resp_parser_init(&f->p, &mem);
}

static void feed_close(struct feed *f)
{
    resp_parser_fini(&f->p);
    assert_int_equal(mem.used_bytes, 0);
}

/* Offers n bytes; all must be used unless a request or an error comes out. */
static enum resp_status feed(struct feed *f, const void *bytes, size_t n)
{
    const uint8_t *cur = bytes, *end = cur + n;
    enum resp_status st =
        resp_parse(&f->p, &f->lim, &cur, end, f->arena, LIMIT_BATCH_ARGS, &f->cmd);
    if (st == RESP_MORE)
        assert_ptr_equal(cur, end);
    return st;
}

static enum resp_status feed_text(struct feed *f, const char *s)
{
    return feed(f, s, strlen(s));
}

static enum resp_status feed_many(struct feed *f, uint8_t byte, size_t n)
{
    uint8_t *block = malloc(n + !n);
    assert_non_null(block);
    memset(block, byte, n);
    enum resp_status st = feed(f, block, n);
    free(block);
    return st;
}

/* `first`, then 'x' until the line has exactly `bytes`, in two pieces. */
static enum resp_status long_line(struct feed *f, const char *first, size_t bytes)
{
    size_t rest = bytes - strlen(first);
    enum resp_status st = feed_text(f, first);
    if (st == RESP_MORE)
        st = feed_many(f, 'x', rest / 2);
    return st == RESP_MORE ? feed_many(f, 'x', rest - rest / 2) : st;
}

static void lines_have_a_longest_length(void **state)
{
    static const struct {
        const char *before, *first, *error;
    } cases[] = {
        {"", "P", "Protocol error: too big inline request"},
        {"", "*", "Protocol error: too big mbulk count string"},
        {"*1\r\n", "$", "Protocol error: too big bulk count string"},
        {"*1\r\n", "x", "Protocol error: too big bulk count string"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct feed f;
        feed_open(&f);
        assert_int_equal(feed_text(&f, cases[i].before), RESP_MORE);
        assert_int_equal(long_line(&f, cases[i].first, 65536), RESP_MORE);
        assert_int_equal(feed_text(&f, "x"), RESP_BAD);
        assert_string_equal(f.p.error, cases[i].error);
        assert_false(f.p.over_limit);
        assert_int_equal(feed_text(&f, "\r\n"), RESP_BAD);
        feed_close(&f);
    }
}

static void longest_inline_request(void **state)
{
    for (int whole = 0; whole < 2; whole++) {
        struct feed f;
        char *line = malloc(65538);
        memset(line, 'x', 65538);
        feed_open(&f);
        if (whole) {
            line[65536] = '\n';
            assert_int_equal(feed(&f, line, 65537), RESP_DONE);
            assert_false(f.cmd.gathered);
            line[65536] = 'x';
            line[65537] = '\n';
            assert_int_equal(feed(&f, line, 65538), RESP_BAD);
        } else {
            assert_int_equal(feed(&f, line, 65536), RESP_MORE);
            assert_int_equal(feed_text(&f, "\n"), RESP_DONE);
            assert_true(f.cmd.gathered);
            assert_int_equal(f.cmd.wire_bytes, 65537);
            assert_int_equal(f.cmd.argv[0].n, 65536);
        }
        free(line);
        feed_close(&f);
    }
}

static void nul_hides_the_end_of_a_line(void **state)
{
    static const struct {
        const char *before, *error;
    } cases[] = {
        {"PING", "Protocol error: too big inline request"},
        {"*1", "Protocol error: too big mbulk count string"},
        {"*1\r\n$4", "Protocol error: too big bulk count string"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct feed f;
        feed_open(&f);
        assert_int_equal(feed_text(&f, cases[i].before), RESP_MORE);
        assert_int_equal(feed(&f, "\0\r\n", 3), RESP_MORE);
        size_t fed = 0;
        while (feed_text(&f, "0123456789abcde\n") == RESP_MORE)
            fed += 16;
        assert_in_range(fed, 65536 - 32, 65536);
        assert_string_equal(f.p.error, cases[i].error);
        feed_close(&f);
    }
}

static void before_auth(void **state)
{
    static const struct {
        const char *wire, *error;
    } cases[] = {
        {"*10\r\n", NULL},
        {"*11\r\n", "Protocol error: unauthenticated multibulk length"},
        {"*2147483648\r\n", "Protocol error: invalid multibulk length"},
        {"*1\r\n$16384\r\n", NULL},
        {"*1\r\n$16385\r\n", "Protocol error: unauthenticated bulk length"},
        {"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct feed f;
        feed_open(&f);
        f.lim.authenticated = false;
        if (cases[i].error) {
            assert_int_equal(feed_text(&f, cases[i].wire), RESP_BAD);
            assert_string_equal(f.p.error, cases[i].error);
        } else {
            assert_int_equal(feed_text(&f, cases[i].wire), RESP_MORE);
        }
        feed_close(&f);
    }

    /* The same for requests that lie whole in the input. */
    struct feed f;
    feed_open(&f);
    f.lim.authenticated = false;
    assert_int_equal(feed_text(&f, "*1\r\n$4\r\nPING\r\n"), RESP_DONE);
    assert_false(f.cmd.gathered);
    char wire[20000] = "*1\r\n$16385\r\n";
    memset(wire + strlen(wire), 'x', 16390);
    assert_int_equal(feed(&f, wire, 16400), RESP_BAD);
    assert_string_equal(f.p.error, "Protocol error: unauthenticated bulk length");
    feed_close(&f);
}

static void longest_argument(void **state)
{
    struct feed f;
    feed_open(&f);
    f.lim.max_bulk_bytes = 12;
    assert_int_equal(feed_text(&f, "*1\r\n$12\r\n123456789012\r\n"), RESP_DONE);
    assert_int_equal(feed_text(&f, "*1\r\n$13\r\n1234567890123\r\n"), RESP_BAD);
    assert_string_equal(f.p.error, "Protocol error: invalid bulk length");
    feed_close(&f);
}

static void query_buffer_limit(void **state)
{
    struct feed f;
    feed_open(&f);
    f.lim.max_query_bytes = 40000;
    assert_int_equal(feed_text(&f, "*2\r\n$3\r\nGET\r\n$39977\r\n"), RESP_MORE);
    assert_int_equal(feed_many(&f, 'x', 39977), RESP_MORE);
    assert_int_equal(feed_text(&f, "\r\n"), RESP_DONE);
    assert_int_equal(f.cmd.wire_bytes, 40000);
    assert_int_equal(feed_text(&f, "*2\r\n$3\r\nGET\r\n$39978\r\n"), RESP_MORE);
    assert_int_equal(feed_many(&f, 'x', 39978), RESP_MORE);
    assert_false(f.p.over_limit);
    assert_int_equal(feed_text(&f, "\r\n"), RESP_BAD);
    assert_true(f.p.over_limit);
    assert_int_equal(mem.used_bytes, 0);
    feed_close(&f);
}

/* What is held follows what came, not what was announced. */
static void announced_lengths_cost_nothing(void **state)
{
    struct feed f;
    feed_open(&f);
    assert_int_equal(feed_text(&f, "*2147483647\r\n$536870912\r\nx"), RESP_MORE);
    assert_true(mem.used_bytes < 40000);
    assert_in_range(resp_parser_held(&f.p), 1, mem.used_bytes);
    assert_int_equal(feed_many(&f, 'x', 100000), RESP_MORE);
    assert_true(mem.used_bytes < 2 * 100000 + 70000);
    assert_int_equal(feed_text(&f, ""), RESP_MORE);
    feed_close(&f);
}

static void big_arguments_change_hands(void **state)
{
    struct feed f;
    uint8_t *p = NULL;
    size_t cap = 0;
    feed_open(&f);
    /* One byte below the limit lies in the common buffer. */
    assert_int_equal(feed_text(&f, "*3\r\n$3\r\nSET\r\n$32767\r\n"), RESP_MORE);
    assert_int_equal(feed_many(&f, 'a', 32767), RESP_MORE);
    assert_int_equal(feed_text(&f, "\r\n$32768\r\n"), RESP_MORE);
    assert_int_equal(feed_many(&f, 'b', 32768), RESP_MORE);
    assert_int_equal(feed_text(&f, "\r\n"), RESP_DONE);
    assert_true(f.cmd.gathered);
    assert_int_equal(resp_parser_held(&f.p), 0);
    assert_false(resp_take_big(&f.p, 0, &p, &cap));
    assert_false(resp_take_big(&f.p, 1, &p, &cap));
    assert_false(resp_take_big(&f.p, 3, &p, &cap));
    assert_true(resp_take_big(&f.p, 2, &p, &cap));
    assert_int_equal(cap, 32768);
    assert_ptr_equal(p, f.cmd.argv[2].p);
    assert_int_equal(p[0], 'b');
    assert_int_equal(p[32767], 'b');
    assert_int_equal(f.cmd.argv[1].p[32766], 'a');
    assert_false(resp_take_big(&f.p, 2, &p, &cap));
    resp_parser_trim(&f.p);
    assert_int_equal(mem.used_bytes, mem_size_class(cap));
    mem_free(&mem, p, cap);

    /* One that is not taken goes with the next request. */
    assert_int_equal(feed_text(&f, "*1\r\n$40000\r\n"), RESP_MORE);
    assert_int_equal(feed_many(&f, 'c', 40000), RESP_MORE);
    assert_int_equal(feed_text(&f, "\r\n"), RESP_DONE);
    assert_int_equal(feed_text(&f, "*1\r\n$4\r\nPI"), RESP_MORE);
    assert_true(mem.used_bytes < 2000);
    assert_int_equal(feed_text(&f, "NG\r\n"), RESP_DONE);
    assert_true(span_eq(f.cmd.argv[0], SPAN("PING")));
    feed_close(&f);
}

static void trim_spares_a_request_in_progress(void **state)
{
    struct feed f;
    feed_open(&f);
    assert_int_equal(feed_text(&f, "*2\r\n$4\r\nEC"), RESP_MORE);
    resp_parser_trim(&f.p);
    assert_int_equal(feed_text(&f, "HO\r\n$1\r\na\r\n"), RESP_DONE);
    assert_true(span_eq(f.cmd.argv[0], SPAN("ECHO")));
    resp_parser_trim(&f.p);
    assert_int_equal(mem.used_bytes, 0);
    feed_close(&f);
}

static uint64_t random_next(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void sixty_four_megabytes_in_random_runs(void **state)
{
    const size_t n = 64 << 20;
    uint64_t seed = 0x9e3779b97f4a7c15, fill = 7;
    uint64_t *value = malloc(n);
    assert_non_null(value);
    for (size_t i = 0; i < n / 8; i++)
        value[i] = random_next(&fill);
    struct feed f;
    feed_open(&f);
    assert_int_equal(feed_text(&f, "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$67108864\r\n"), RESP_MORE);
    for (size_t at = 0; at < n;) {
        size_t run = random_next(&seed) % 40000;
        if (run > n - at)
            run = n - at;
        assert_int_equal(feed(&f, (uint8_t *)value + at, run), RESP_MORE);
        at += run;
    }
    assert_int_equal(feed_text(&f, "\r"), RESP_MORE);
    assert_int_equal(feed_text(&f, "\n"), RESP_DONE);
    assert_int_equal(f.cmd.argv[2].n, n);
    assert_memory_equal(f.cmd.argv[2].p, value, n);
    uint8_t *p = NULL;
    size_t cap = 0;
    assert_true(resp_take_big(&f.p, 2, &p, &cap));
    assert_int_equal(cap, n);
    mem_free(&mem, p, cap);
    free(value);
    feed_close(&f);
}

/* More arguments than any arena: the parser's own memory takes them, whole or cut. */
static void many_arguments(void **state)
{
    enum { ARGS = 5000 };
    size_t n = 0, cap = 16 + ARGS * 16;
    char *wire = malloc(cap);
    n += (size_t)sprintf(wire, "*%d\r\n", ARGS);
    for (int i = 0; i < ARGS; i++) {
        char arg[16];
        int len = snprintf(arg, sizeof(arg), "%d", i);
        n += (size_t)sprintf(wire + n, "$%d\r\n%s\r\n", len, arg);
    }
    for (int cut = 0; cut < 3; cut++) {
        struct transcript t = {0};
        struct resp_parser p;
        resp_parser_init(&p, &mem);
        transcript_run(&t, &p, &limits, (uint8_t *)wire, n, (size_t[]){n / 2}, cut > 0,
                       cut == 2 ? 8 : LIMIT_BATCH_ARGS);
        assert_int_equal(t.requests, 1);
        assert_int_equal(t.gathered, 1);
        transcript_free(&t);
        resp_parser_fini(&p);
        assert_int_equal(mem.used_bytes, 0);
    }
    /* A small arena says so and uses nothing, on the wire and inline. */
    struct resp_parser p;
    struct span arena[9];
    struct resp_cmd cmd;
    resp_parser_init(&p, &mem);
    const uint8_t *cur = (uint8_t *)wire;
    assert_int_equal(resp_parse(&p, &limits, &cur, cur + n, arena, 8, &cmd), RESP_FULL);
    assert_ptr_equal(cur, wire);
    const uint8_t *line = (const uint8_t *)"a b c d e f g h i\r\n";
    cur = line;
    assert_int_equal(resp_parse(&p, &limits, &cur, cur + 19, arena, 8, &cmd), RESP_FULL);
    assert_ptr_equal(cur, line);
    assert_int_equal(resp_parse(&p, &limits, &cur, cur + 19, arena, 9, &cmd), RESP_DONE);
    resp_parser_fini(&p);
    free(wire);
}

/* Memory runs out at each allocation in turn: the stream breaks, nothing leaks, nothing crashes. */
static void allocation_failures(void **state)
{
    char *wire = malloc(80000);
    size_t n = (size_t)sprintf(wire, "*14\r\n");
    for (int i = 0; i < 12; i++)
        n += (size_t)sprintf(wire + n, "$3\r\nabc\r\n");
    n += (size_t)sprintf(wire + n, "$500\r\n");
    memset(wire + n, 'x', 502);
    n += 502;
    n += (size_t)sprintf(wire + n, "$70000\r\n");
    memset(wire + n, 'y', 70002);
    n += 70002;

    unsigned failures = 0;
    for (uint64_t fail = 1;; fail++) {
        struct resp_parser p;
        struct transcript t = {0};
        size_t cuts[] = {10, 60, 200, 600, 30000, 50000, n - 1};
        resp_parser_init(&p, &mem);
        mem.fail_after = fail;
        transcript_run(&t, &p, &limits, (uint8_t *)wire, n, cuts, ARRAY_LEN(cuts), 64);
        bool failed = mem.fail_after == 0;
        mem.fail_after = 0;
        assert_int_equal(failed, p.out_of_memory);
        assert_int_equal(t.requests, !failed);
        transcript_free(&t);
        resp_parser_fini(&p);
        assert_int_equal(mem.used_bytes, 0);
        if (!failed)
            break;
        failures++;
    }
    assert_true(failures >= 6);
    free(wire);

    for (uint64_t fail = 1; fail <= 2; fail++) {
        struct feed f;
        feed_open(&f);
        mem.fail_after = fail;
        assert_int_equal(feed_text(&f, "ECHO \"a\"\r\n"), RESP_BAD);
        assert_true(f.p.out_of_memory);
        feed_close(&f);
    }
    mem.fail_after = 0;
}

static int setup(void **state)
{
    return mem_init(&mem);
}

static int teardown(void **state)
{
    bool clean = mem.used_bytes == 0;
    mem_fini(&mem);
    return clean ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_have_a_longest_length),
        cmocka_unit_test(longest_inline_request),
        cmocka_unit_test(nul_hides_the_end_of_a_line),
        cmocka_unit_test(before_auth),
        cmocka_unit_test(longest_argument),
        cmocka_unit_test(query_buffer_limit),
        cmocka_unit_test(announced_lengths_cost_nothing),
        cmocka_unit_test(big_arguments_change_hands),
        cmocka_unit_test(trim_spares_a_request_in_progress),
        cmocka_unit_test(sixty_four_megabytes_in_random_runs),
        cmocka_unit_test(many_arguments),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
