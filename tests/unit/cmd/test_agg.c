/* Parts of split commands become one reply, whatever their order; the first error wins; broken parts are refused. */
#include "engine/cmd/command_table.h"
#include "tests/unit/unit.h"

static void finish(struct agg *a, uint8_t resp, struct span want)
{
    struct reply out;
    struct reply_heap heap;
    reply_heap_init(&out, &heap, resp);
    agg_finish(a, &out);
    reply_heap_finish(&out, &heap);
    assert_int_equal(heap.len, want.n);
    assert_memory_equal(heap.p, want.p, want.n);
    reply_heap_free(&heap);
}
#define FINISH(a, resp, want) finish((a), (resp), SPAN(want))

static void sum(void **state)
{
    struct agg a;
    agg_init(&a, SPLIT_SUM, 2);
    agg_part(&a, SPAN(":3\r\n"), 0);
    agg_part(&a, SPAN(":0\r\n"), 0);
    agg_part(&a, SPAN(":-1\r\n"), 0);
    agg_part(&a, SPAN(":40\r\n"), 0);
    FINISH(&a, 2, ":42\r\n");
    agg_init(&a, SPLIT_SUM, 2);
    FINISH(&a, 2, ":0\r\n");
}

static void ok(void **state)
{
    struct agg a;
    agg_init(&a, SPLIT_OK, 2);
    agg_part(&a, SPAN("+OK\r\n"), 0);
    agg_part(&a, SPAN("+OK\r\n"), 0);
    FINISH(&a, 2, "+OK\r\n");
}

static void first_error_wins(void **state)
{
    for (int split = SPLIT_SUM; split <= SPLIT_RANDOM; split++) {
        struct agg a;
        agg_init(&a, (enum cmd_split)split, 2);
        agg_part(&a, SPAN("-OOM first\r\n"), 0);
        agg_part(&a, SPAN("-ERR second\r\n"), 0);
        agg_part(&a, SPAN("+OK\r\n"), 0);
        FINISH(&a, 2, "-OOM first\r\n");
    }
    struct agg a;
    agg_init(&a, SPLIT_CONCAT, 2);
    agg_part(&a, SPAN("*1\r\n$1\r\na\r\n"), 0);
    agg_part(&a, SPAN("-ERR late\r\n"), 0);
    FINISH(&a, 2, "-ERR late\r\n");
}

static void concat(void **state)
{
    struct agg a;
    agg_init(&a, SPLIT_CONCAT, 2);
    agg_part(&a, SPAN("*0\r\n"), 0);
    agg_part(&a, SPAN("*2\r\n$1\r\na\r\n$2\r\nbb\r\n"), 0);
    agg_part(&a, SPAN("*0\r\n"), 0);
    agg_part(&a, SPAN("*1\r\n$0\r\n\r\n"), 0);
    FINISH(&a, 2, "*3\r\n$1\r\na\r\n$2\r\nbb\r\n$0\r\n\r\n");
    agg_init(&a, SPLIT_CONCAT, 3);
    agg_part(&a, SPAN("*0\r\n"), 0);
    agg_part(&a, SPAN("*0\r\n"), 0);
    FINISH(&a, 3, "*0\r\n");
}

static void text(void **state)
{
    struct agg a;
    agg_init(&a, SPLIT_TEXT, 2);
    agg_part(&a, SPAN("$6\r\nid=1 \n\r\n"), 0);
    agg_part(&a, SPAN("$0\r\n\r\n"), 0);
    agg_part(&a, SPAN("$5\r\nid=2\n\r\n"), 0);
    FINISH(&a, 2, "$11\r\nid=1 \nid=2\n\r\n");
    agg_init(&a, SPLIT_TEXT, 3);
    agg_part(&a, SPAN("=9\r\ntxt:id=1\n\r\n"), 0);
    agg_part(&a, SPAN("=4\r\ntxt:\r\n"), 0);
    agg_part(&a, SPAN("=9\r\ntxt:id=2\n\r\n"), 0);
    FINISH(&a, 3, "=14\r\ntxt:id=1\nid=2\n\r\n");
}

/* Three shards with 1, 0 and 3 keys: the first is drawn a quarter of the time, in either order of the parts, though the caller draws
 * one number for all parts of a request, from a plain linear generator. */
static void random_by_weight(void **state)
{
    static const struct span parts[] = {{(const uint8_t *)"*2\r\n:1\r\n$1\r\na\r\n", 15},
                                        {(const uint8_t *)"*2\r\n:0\r\n$-1\r\n", 13},
                                        {(const uint8_t *)"*2\r\n:3\r\n$1\r\nb\r\n", 15}};
    uint64_t seed = 1;
    for (int backwards = 0; backwards < 2; backwards++) {
        int first = 0;
        for (int i = 0; i < 4000; i++) {
            struct agg a;
            agg_init(&a, SPLIT_RANDOM, 2);
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            for (int p = 0; p < 3; p++)
                agg_part(&a, parts[backwards ? 2 - p : p], seed);
            struct reply out;
            struct reply_heap heap;
            reply_heap_init(&out, &heap, 2);
            agg_finish(&a, &out);
            reply_heap_finish(&out, &heap);
            assert_int_equal(heap.len, 7);
            first += memcmp(heap.p, "$1\r\na\r\n", 7) == 0;
            reply_heap_free(&heap);
        }
        assert_in_range(first, 850, 1150);
    }
    struct agg a;
    agg_init(&a, SPLIT_RANDOM, 2);
    agg_part(&a, parts[1], 5);
    FINISH(&a, 2, "$-1\r\n");
    agg_init(&a, SPLIT_RANDOM, 3);
    agg_part(&a, SPAN("*2\r\n:0\r\n_\r\n"), 5);
    FINISH(&a, 3, "_\r\n");
}

static void kill_by_address(void **state)
{
    const struct span old_form[] = {SPAN("client"), SPAN("kill"), SPAN("10.0.0.1:1")};
    const struct span new_form[] = {SPAN("client"), SPAN("kill"), SPAN("id"), SPAN("7")};
    const struct cmd_desc *d = &cmd_table[CMD_client_kill];
    struct agg a;
    agg_begin(&a, d, old_form, 3, 2);
    agg_part(&a, SPAN(":0\r\n"), 0);
    agg_part(&a, SPAN(":1\r\n"), 0);
    FINISH(&a, 2, "+OK\r\n");
    agg_begin(&a, d, old_form, 3, 2);
    agg_part(&a, SPAN(":0\r\n"), 0);
    FINISH(&a, 2, "-ERR No such client\r\n");
    agg_begin(&a, d, new_form, 4, 2);
    agg_part(&a, SPAN(":0\r\n"), 0);
    FINISH(&a, 2, ":0\r\n");
}

/* A reply cut short at any byte never becomes an answer. */
static void broken_parts(void **state)
{
    static const struct {
        enum cmd_split split;
        const char *part;
    } cases[] = {{SPLIT_SUM, ":12\r\n"},
                 {SPLIT_OK, "+OK\r\n"},
                 {SPLIT_TEXT, "$4\r\nabcd\r\n"},
                 {SPLIT_TEXT, "=8\r\ntxt:abcd\r\n"},
                 {SPLIT_RANDOM, "*2\r\n:1\r\n$1\r\na\r\n"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t n = 0; n < strlen(cases[i].part); n++) {
            struct agg a;
            agg_init(&a, cases[i].split, 2);
            agg_part(&a, span_of(cases[i].part, n), 1);
            agg_part(&a, SPAN(":1\r\n"), 1);
            FINISH(&a, 2, "-ERR a part of the reply was lost\r\n");
        }
    }
    struct agg a;
    agg_init(&a, SPLIT_SUM, 2);
    agg_part(&a, SPAN(":9223372036854775807\r\n"), 0);
    agg_part(&a, SPAN(":1\r\n"), 0);
    FINISH(&a, 2, "-ERR a part of the reply was lost\r\n");
    agg_init(&a, SPLIT_CONCAT, 2);
    agg_part(&a, SPAN("*2\r\n$1\r\na\r\n$1\r\nb\r\n"), 0);
    agg_free(&a); /* the client went away */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sum),
        cmocka_unit_test(ok),
        cmocka_unit_test(concat),
        cmocka_unit_test(text),
        cmocka_unit_test(broken_parts),
        cmocka_unit_test(random_by_weight),
        cmocka_unit_test(kill_by_address),
        cmocka_unit_test(first_error_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
