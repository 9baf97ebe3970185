/* The parser's meaning does not depend on where the stream was cut, nor on which path took a request. */
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/assert.h"
#include "engine/base/limits.h"
#include "tests/unit/resp/corpus.h"
#include "tests/unit/resp/transcript.h"
#include "tests/unit/unit.h"

static struct mem mem;
static const struct resp_limits limits = {512 << 20, 1 << 30, true};

/* Parses with a parser of its own and finds every block returned. */
static struct transcript transcribe(const struct resp_limits *lim, struct span w,
                                    const size_t *cuts, size_t ncuts, size_t cap)
{
    struct transcript t = {0};
    struct resp_parser p;
    resp_parser_init(&p, &mem);
    transcript_run(&t, &p, lim, w.p, w.n, cuts, ncuts, cap);
    resp_parser_fini(&p);
    assert_int_equal(mem.used_bytes, 0);
    return t;
}

static void assert_same(struct transcript a, struct transcript b)
{
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.p, b.p, a.len);
}

static bool ends_with(struct transcript t, const char *s)
{
    size_t n = strlen(s);
    return t.len >= n && memcmp(t.p + t.len - n, s, n) == 0;
}

static void corpus_is_as_probed(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(corpus); i++) {
        const struct corpus_entry *e = &corpus[i];
        struct transcript t = transcribe(&limits, e->wire, NULL, 0, 64);
        if (t.requests != e->requests || !ends_with(t, *e->error ? e->error : "\nmore"))
            fail_msg("entry %zu: %zu requests, %.*s", i, t.requests, (int)t.len, (char *)t.p);
        transcript_free(&t);
    }
}

static void cut_at_every_byte(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(corpus); i++) {
        struct span w = corpus[i].wire;
        struct transcript whole = transcribe(&limits, w, NULL, 0, 64);
        for (size_t cut = 0; cut <= w.n; cut++) {
            struct transcript t = transcribe(&limits, w, &cut, 1, 64);
            assert_same(whole, t);
            transcript_free(&t);
        }
        transcript_free(&whole);
    }
}

static void cut_at_every_pair(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(corpus); i++) {
        struct span w = corpus[i].wire;
        struct transcript whole = transcribe(&limits, w, NULL, 0, 3);
        for (size_t a = 0; w.n <= 60 && a <= w.n; a++) {
            for (size_t b = a; b <= w.n; b++) {
                struct transcript t = transcribe(&limits, w, (size_t[]){a, b}, 2, 3);
                assert_same(whole, t);
                transcript_free(&t);
            }
        }
        transcript_free(&whole);
    }
}

static void one_byte_at_a_time(void **state)
{
    size_t cuts[512];
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++)
        cuts[i] = i + 1;
    for (size_t i = 0; i < ARRAY_LEN(corpus); i++) {
        struct span w = corpus[i].wire;
        assert_true(w.n < ARRAY_LEN(cuts));
        struct transcript whole = transcribe(&limits, w, NULL, 0, 64);
        struct transcript t = transcribe(&limits, w, cuts, w.n, 1);
        assert_same(whole, t);
        transcript_free(&t);
        transcript_free(&whole);
    }
}

/* A page that cannot be read on either side: whatever looks beyond the input dies. */
static void beside_unreadable_pages(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *m = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(m, MAP_FAILED);
    assert_int_equal(mprotect(m + page, page, PROT_READ | PROT_WRITE), 0);

    for (size_t i = 0; i < ARRAY_LEN(corpus); i++) {
        struct span w = corpus[i].wire;
        for (size_t n = 0; n <= w.n; n++) {
            for (int at_end = 0; at_end < 2; at_end++) {
                uint8_t *data = at_end ? m + 2 * page - n : m + page;
                const uint8_t *cur = data;
                memcpy(data, w.p, n);
                struct resp_parser p;
                resp_parser_init(&p, &mem);
                struct span arena[64];
                struct resp_cmd cmd;
                while (resp_parse(&p, &limits, &cur, data + n, arena, 64, &cmd) == RESP_DONE)
                    assert_true(cur > data && cur <= data + n);
                resp_parser_fini(&p);
                assert_int_equal(mem.used_bytes, 0);
            }
        }
    }
    munmap(m, 3 * page);
}

static void arguments_point_into_the_input(void **state)
{
    static const uint8_t w[] =
        "*3\r\n$3\r\nSET\r\n$10\r\n0123456789\r\n$100\r\n"
        "0123456789012345678901234567890123456789012345678901234567890123456789"
        "012345678901234567890123456789\r\nGET key\r\n";
    const uint8_t *cur = w, *end = w + sizeof(w) - 1;
    struct resp_parser p;
    struct span arena[8];
    struct resp_cmd cmd;
    resp_parser_init(&p, &mem);
    assert_int_equal(resp_parse(&p, &limits, &cur, end, arena, 8, &cmd), RESP_DONE);
    assert_false(cmd.gathered);
    assert_int_equal(cmd.argc, 3);
    assert_ptr_equal(cmd.argv, arena);
    assert_true(span_eq(cmd.argv[0], SPAN("SET")));
    assert_ptr_equal(cmd.argv[1].p, w + 18);
    assert_int_equal(cmd.argv[2].n, 100);
    assert_int_equal(cmd.wire_bytes, cur - w);
    size_t first = cmd.wire_bytes;
    assert_int_equal(resp_parse(&p, &limits, &cur, end, arena, 8, &cmd), RESP_DONE);
    assert_false(cmd.gathered);
    assert_int_equal(cmd.wire_bytes, 9);
    assert_ptr_equal(cmd.argv[1].p, w + first + 4);
    assert_int_equal(resp_parse(&p, &limits, &cur, end, arena, 8, &cmd), RESP_MORE);
    assert_int_equal(mem.used_bytes, 0);
    resp_parser_fini(&p);
}

static void words_of_inline_requests(void **state)
{
    static const struct {
        struct span wire, word;
    } cases[] = {
        {SPAN("ECHO \"\\x41\\n\\r\\t\\b\\a\\q\\\\\"\r\n"), SPAN("A\n\r\t\b\aq\\")},
        {SPAN("ECHO \"\\x4\"\n"), SPAN("x4")},
        {SPAN("ECHO \"\\xzz\"\n"), SPAN("xzz")},
        {SPAN("ECHO \"\\xfF\"\n"), SPAN("\xff")},
        {SPAN("ECHO 'a\\'b\\n'\r\n"), SPAN("a'b\\n")},
        {SPAN("ECHO a\"b c\"\r\n"), SPAN("ab c")},
        {SPAN("ECHO a\vb\r\n"), SPAN("a\vb")},
        {SPAN("\vECHO \f a\r\n"), SPAN("a")},
        {SPAN("ECHO a\rb\r\n"), SPAN("a")},
        {SPAN("ECHO ''\n"), SPAN("")},
        {SPAN("ECHO \"it's\"\n"), SPAN("it's")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const uint8_t *cur = cases[i].wire.p;
        struct resp_parser p;
        struct span arena[8];
        struct resp_cmd cmd;
        resp_parser_init(&p, &mem);
        assert_int_equal(resp_parse(&p, &limits, &cur, cur + cases[i].wire.n, arena, 8, &cmd),
                         RESP_DONE);
        assert_true(cmd.argc >= 2);
        if (!span_eq(cmd.argv[1], cases[i].word))
            fail_msg("case %zu: %.*s", i, (int)cmd.argv[1].n, (const char *)cmd.argv[1].p);
        resp_parser_fini(&p);
    }
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
        cmocka_unit_test(corpus_is_as_probed),
        cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(cut_at_every_pair),
        cmocka_unit_test(one_byte_at_a_time),
        cmocka_unit_test(beside_unreadable_pages),
        cmocka_unit_test(arguments_point_into_the_input),
        cmocka_unit_test(words_of_inline_requests),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
