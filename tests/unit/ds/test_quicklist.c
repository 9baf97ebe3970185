/* quicklist against a naive model: random changes by seed under every kind of fill, with each allocation failing now and then; after
 * each the elements, the blocks (each a valid listpack within its limits) and the account of bytes are looked at. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/ds/quicklist_internal.h"
#include "tests/unit/unit.h"

#define MODEL_MAX 6000
#define TEXT_MAX  70000

static struct mem mem;
static uint64_t rng_state;

static uint64_t rnd(void)
{
    uint64_t z = rng_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static int setup(void **state)
{
    rng_state = 11;
    return mem_init(&mem);
}
static int teardown(void **state)
{
    assert_int_equal(mem.used_bytes, 0);
    mem_fini(&mem);
    return 0;
}

static struct quicklist *create(int64_t fill, uint64_t depth)
{
    return ql_create(&mem, &(struct ql_limits){fill, depth});
}

/* ---- the model: elements are numbers of texts ---- */

struct model {
    uint32_t v[MODEL_MAX];
    size_t n;
};

/* The text of number i: mostly short, some integers, some that fill a block or are larger than one. */
static struct span text_of(uint32_t i, uint8_t *to)
{
    size_t n;
    if (i % 5 == 0)
        return span_of(to, num_format_i64((char *)to, (int64_t)i * (i % 2 ? 1 : -997)));
    if (i % 101 == 1)
        n = 3000 + i % 7000;
    else if (i % 211 == 2)
        n = 60000 + i % 9000;
    else
        n = i % 40;
    for (size_t k = 0; k < n; k++)
        to[k] = (uint8_t)('a' + (i + k) % 26);
    if (n >= 4)
        memcpy(to, &i, 4);
    return span_of(to, n);
}

static uint8_t text_a[TEXT_MAX], text_b[TEXT_MAX];

static bool same_text(uint32_t a, uint32_t b)
{
    return span_eq(text_of(a, text_a), text_of(b, text_b));
}

static void model_put(struct model *m, size_t at, uint32_t what)
{
    memmove(&m->v[at + 1], &m->v[at], (m->n - at) * sizeof(m->v[0]));
    m->v[at] = what;
    m->n++;
}
static void model_cut(struct model *m, size_t at, size_t n)
{
    memmove(&m->v[at], &m->v[at + n], (m->n - at - n) * sizeof(m->v[0]));
    m->n -= n;
}

/* ---- looking at a quicklist ---- */

static void check_value(struct lp_value v, uint32_t what)
{
    char scratch[NUM_I64_CHARS];
    struct span want = text_of(what, text_a);
    struct span have = v.text.p ? v.text : span_of(scratch, num_format_i64(scratch, v.number));
    assert_int_equal(have.n, want.n);
    assert_memory_equal(have.p, want.p, want.n);
}

/* Allocations have failed: blocks may be open, or compressed, that should not be. */
static bool memory_failed;
static uint64_t compressed_seen;

/* Within the depth no block is compressed; elsewhere each is, or it gains nothing, or it is not worth it. */
static void check_form(const struct quicklist *q, uint32_t i)
{
    const struct ql_block *b = qlb(q, i);
    size_t n = b->len + (b->plain ? 0 : LP_HEADER_BYTES);
    compressed_seen += b->lzf;
    assert_true(!b->lzf || (n >= 48 && n - b->start >= 8));
    if (memory_failed || q->moved)
        return;
    assert_int_equal(b->lzf || b->tried, ql_inside(q, i) || b->tried);
}

static void check_blocks(const struct quicklist *q)
{
    static uint8_t lp[TEXT_MAX + 100];
    size_t bytes =
        mem_size_class(sizeof(*q)) + (q->table ? mem_size_class(q->room * sizeof(*q->table)) : 0);
    uint64_t count = 0;
    assert_true(q->first + q->n <= q->room);
    for (uint32_t i = 0; i < q->n; i++) {
        const struct ql_block *b = &q->table[q->first + i];
        bytes += mem_size_class(b->cap);
        count += b->count;
        assert_true(b->count > 0 && (b->lzf ? b->start : b->start + b->len) <= b->cap);
        check_form(q, i);
        if (b->plain) {
            assert_int_equal(b->count, 1);
            assert_true(LP_EMPTY_BYTES + lp_element_bytes(ql_plain_text(b)) > q->block_bytes);
            continue;
        }
        uint32_t len = LP_HEADER_BYTES + b->len;
        uint16_t n = (uint16_t)b->count;
        assert_true(len <= q->block_bytes && b->count <= q->block_elements);
        memcpy(lp, &len, 4);
        memcpy(lp + 4, &n, 2);
        memcpy(lp + LP_HEADER_BYTES, ql_enter(b), b->len);
        assert_true(lp_valid(lp, len));
    }
    assert_int_equal(count, q->count);
    assert_int_equal(bytes, q->bytes);
}

static void check_same(const struct quicklist *q, const struct model *m)
{
    struct ql_view w = ql_view(q);
    struct ql_at at;
    check_blocks(q);
    assert_int_equal(q->count, m->n);
    assert_false(ql_seek(&w, (int64_t)m->n, &at));
    assert_false(ql_seek(&w, -(int64_t)m->n - 1, &at));
    if (!m->n)
        return;
    assert_true(ql_seek(&w, 0, &at));
    for (size_t i = 0; i < m->n; i++) {
        check_value(ql_get(&w, at), m->v[i]);
        assert_int_equal(ql_next(&w, &at), i + 1 < m->n);
    }
    assert_true(ql_seek(&w, -1, &at));
    for (size_t i = m->n; i-- > 0;) {
        check_value(ql_get(&w, at), m->v[i]);
        assert_int_equal(ql_prev(&w, &at), i > 0);
    }
    for (int k = 0; k < 4; k++) {
        size_t i = rnd() % m->n;
        assert_true(ql_seek(&w, (int64_t)i - (rnd() % 2 ? (int64_t)m->n : 0), &at));
        check_value(ql_get(&w, at), m->v[i]);
        struct lp_needle needle = lp_needle_of(text_of(m->v[i], text_b));
        assert_true(ql_matches(&w, at, &needle));
        needle = lp_needle_of(text_of(m->v[i] + 1, text_b));
        assert_int_equal(ql_matches(&w, at, &needle), same_text(m->v[i], m->v[i] + 1));
    }
}

static void free_all(struct quicklist *q)
{
    size_t freed, left = q->n;
    while (!ql_free_slice(q, 3, &freed)) {
        assert_int_equal(freed, 3);
        left -= freed;
    }
    assert_int_equal(freed, left);
}

/* ---- random changes ---- */

static size_t model_remove(struct model *m, uint32_t what, bool from_tail, size_t limit)
{
    size_t n = 0;
    for (size_t k = 0, i = from_tail ? m->n - 1 : 0; k < m->n && n < limit; from_tail ? i-- : i++) {
        if (i >= m->n)
            break;
        if (same_text(m->v[i], what)) {
            model_cut(m, i, 1);
            n++;
            if (!from_tail)
                i--;
        }
    }
    return n;
}

static void change_in_the_middle(struct quicklist *q, struct model *m, uint32_t what)
{
    struct ql_view w = ql_view(q);
    struct ql_at at;
    size_t i = rnd() % m->n;
    bool after = rnd() % 2;
    assert_true(ql_seek(&w, (int64_t)i, &at));
    if (rnd() % 2) {
        if (ql_insert(q, at, after, text_of(what, text_a)))
            model_put(m, i + after, what);
        else
            assert_int_equal(mem.fail_after, 0);
    } else if (ql_replace(q, at, text_of(what, text_a))) {
        m->v[i] = what;
    } else {
        assert_int_equal(mem.fail_after, 0);
    }
}

static bool ready(struct quicklist *q, uint64_t start, uint64_t n)
{
    bool done = ql_ready(q, start, n);
    assert_true(done || (q->depth && mem.fail_after == 0));
    return done;
}

/* Commands leave only ends; here the middle may go, and what was opened for it is compressed again. */
static void delete (struct quicklist *q, uint64_t start, uint64_t n)
{
    ql_delete(q, start, n);
    for (uint32_t i = 0; i < q->n; i += 2)
        ql_tidy(q, i);
}

static void remove_some(struct quicklist *q, struct model *m)
{
    size_t i = rnd() % m->n, n = rnd() % 3 ? rnd() % 4 : rnd() % 200;
    bool tail = rnd() % 2;
    n = n < m->n - i ? n : m->n - i;
    switch (rnd() % 4) {
    case 0:
        n = n < m->n ? n : m->n;
        if (!ready(q, tail ? m->n - n : 0, n))
            break;
        ql_pop(q, tail, n);
        model_cut(m, tail ? m->n - n : 0, n);
        break;
    case 1: {
        size_t limit = rnd() % 2 ? SIZE_MAX : 1 + rnd() % 5;
        uint32_t what = m->v[i];
        uint64_t removed;
        struct quicklist *gone;
        size_t freed;
        if (ql_remove(q, text_of(what, text_a), tail, limit, &removed, &gone))
            assert_int_equal(removed, model_remove(m, what, tail, limit));
        else
            assert_true(q->depth && mem.fail_after == 0);
        if (gone) {
            gone->depth = 0; /* its blocks are empty */
            ql_free_slice(gone, SIZE_MAX, &freed);
        }
        break;
    }
    case 2: {
        uint64_t start = i, left = n;
        size_t freed;
        if (!ready(q, i, n))
            break;
        struct quicklist *cut = ql_cut(q, &start, &left);
        if (cut) {
            check_blocks(cut);
            assert_int_equal(cut->count, n - left);
            ql_free_slice(cut, SIZE_MAX, &freed);
        }
        assert_int_equal(start, i);
        delete (q, start, left);
        model_cut(m, i, n);
        break;
    }
    default:
        if (!ready(q, i, n))
            break;
        delete (q, i, n);
        model_cut(m, i, n);
    }
}

static void random_changes(int64_t fill, uint64_t depth, uint32_t texts, int steps)
{
    static struct model m;
    m.n = 0;
    memory_failed = false;
    struct quicklist *q = create(fill, depth);
    size_t grow = 300 + rnd() % 2000;
    for (int step = 0; step < steps; step++) {
        uint32_t what = (uint32_t)(rnd() % texts);
        mem.fail_after = step < steps / 2 || rnd() % 20 ? 0 : 1 + rnd() % 3;
        memory_failed |= mem.fail_after != 0;
        unsigned op = (unsigned)(rnd() % 8);
        if (m.n == 0 || (op < 5 && m.n < grow)) {
            bool tail = rnd() % 2, many = rnd() % 4 == 0;
            for (unsigned k = many ? 1 + (unsigned)(rnd() % 40) : 1; k; k--) {
                if (ql_push(q, tail, text_of(what, text_a)))
                    model_put(&m, tail ? m.n : 0, what);
                else
                    assert_int_equal(mem.fail_after, 0);
                what = (uint32_t)(rnd() % texts);
            }
        } else if (op < 7) {
            change_in_the_middle(q, &m, what);
        } else {
            remove_some(q, &m);
        }
        ql_shape(q);
        mem.fail_after = 0;
        if (step % 37 == 0)
            check_same(q, &m);
        else if (step % 3 == 0)
            check_blocks(q);
        if (step % 100 == 99) {
            mem.fail_after = rnd() % 3 ? 0 : 1 + rnd() % 30;
            struct quicklist *copy = ql_copy(&mem, q);
            mem.fail_after = 0;
            if (copy) {
                check_same(copy, &m);
                free_all(q);
                q = copy;
            }
        }
        assert_int_equal(mem.used_bytes, q->bytes);
    }
    check_same(q, &m);
    free_all(q);
}

static void every_fill(void **state)
{
    static const int64_t fills[] = {-1, -2, -3, -5, INT64_MIN, 0, 1, 2, 7, 128, INT64_MAX};
    for (size_t i = 0; i < sizeof(fills) / sizeof(fills[0]); i++)
        random_changes(fills[i], i % 4, 400, 500);
    assert_true(compressed_seen > 1000);
}
static void few_texts(void **state)
{
    random_changes(-1, 0, 7, 1000);
    random_changes(3, 0, 9, 1000);
    random_changes(7, 1, 9, 1000);
    random_changes(40, 2, 9, 1000);
}
static void many_texts(void **state)
{
    random_changes(-1, 0, 100000, 1000);
    random_changes(-1, 3, 100000, 1000);
}

/* ---- shapes ---- */

/* Whatever the way it was filled, no block but those at the ends is half empty, and a queue does not grow. */
static void queues_stay_small(void **state)
{
    struct quicklist *q = create(-2, 0);
    size_t peak = 0;
    for (int i = 0; i < 200000; i++) {
        assert_true(ql_push(q, false, SPAN("some element")));
        if (i >= 20000)
            ql_pop(q, true, 1);
        if (i == 30000)
            peak = q->bytes;
    }
    assert_true(q->bytes <= peak + 3 * 8192);
    assert_true(q->bytes < 20000 * 14 + 5 * 8192);
    ql_pop(q, true, 19990);
    assert_true(q->bytes < 2 * 8192);
    check_blocks(q);
    free_all(q);
}

static void both_ends_in_turn(void **state)
{
    static struct model m;
    m.n = 0;
    struct quicklist *q = create(-1, 0);
    for (uint32_t i = 0; i < 4000; i++) {
        assert_true(ql_push(q, i % 2, text_of(i % 100 * 5 + 3, text_a)));
        model_put(&m, i % 2 ? m.n : 0, i % 100 * 5 + 3);
    }
    check_same(q, &m);
    while (m.n) {
        bool tail = m.n % 2;
        ql_pop(q, tail, 1);
        model_cut(&m, tail ? m.n - 1 : 0, 1);
        if (m.n % 100 == 0)
            check_same(q, &m);
    }
    assert_int_equal(q->n, 0);
    free_all(q);
}

/* Deleting all but a few leaves them in a few blocks. */
static void sparse_blocks_are_joined(void **state)
{
    struct quicklist *q = create(-2, 0);
    char text[32];
    for (int i = 0; i < 100000; i++) {
        size_t n = (size_t)snprintf(text, sizeof(text), "%s%d", i % 100 ? "drop" : "keep",
                                    i % 100 ? 0 : i);
        assert_true(ql_push(q, true, span_of(text, n)));
    }
    uint64_t n;
    struct quicklist *gone;
    assert_true(ql_remove(q, SPAN("drop0"), true, SIZE_MAX, &n, &gone));
    assert_int_equal(n, 99000);
    assert_null(gone); /* a few blocks */
    check_blocks(q);
    assert_true(q->n <= 4);
    assert_true(ql_remove(q, SPAN("drop0"), false, 5, &n, &gone));
    assert_int_equal(n, 0);
    free_all(q);
}

/* A block that is not at an end has no room that nothing will come to. */
static void small_ones_between_large_ones_take_little(void **state)
{
    static uint8_t large[20000];
    struct quicklist *q = create(-2, 0);
    for (int i = 0; i < 400; i++) {
        assert_true(ql_push(q, i / 2 % 2, i % 2 ? SPAN("small") : span_of(large, sizeof(large))));
        struct ql_view w = ql_view(q);
        struct ql_at at;
        if (i % 20 == 19) {
            assert_true(ql_seek(&w, i / 2, &at));
            assert_true(ql_insert(q, at, true, SPAN("inserted")));
        }
    }
    assert_true(q->bytes < 200 * (mem_size_class(sizeof(large)) + 100) + 20000);
    check_blocks(q);
    free_all(q);
}

/* It once wrote the terminator of a packed block over the last byte of a plain one. */
static void popping_nothing_leaves_a_plain_block_alone(void **state)
{
    static uint8_t large[20000];
    memset(large, 'x', sizeof(large));
    struct quicklist *q = create(-2, 0);
    assert_true(ql_push(q, true, span_of(large, sizeof(large))));
    ql_pop(q, true, 0);
    ql_pop(q, false, 0);
    struct ql_view w = ql_view(q);
    struct ql_at at;
    assert_true(ql_seek(&w, 0, &at));
    assert_true(span_eq(ql_get(&w, at).text, span_of(large, sizeof(large))));
    free_all(q);
}

static void listpacks_and_blocks_are_taken_over(void **state)
{
    struct quicklist *q = create(-2, 0);
    struct mem_block lp, small = {mem_alloc(&mem, 5), 5, 5},
                         large = {mem_alloc(&mem, 20000), 10000, 20000};
    assert_true(lp_init(&mem, &lp, 0));
    assert_true(lp_append(&mem, &lp, SPAN("a")) && lp_append(&mem, &lp, SPAN("7")));
    memcpy(small.p, "small", 5);
    memset(large.p, 'x', 10000);
    mem.fail_after = 1;
    assert_false(ql_push_listpack(q, &lp));
    assert_true(ql_push_listpack(q, &lp));
    assert_true(ql_push_plain(q, &small));
    assert_true(ql_push_plain(q, &large));
    check_blocks(q);
    assert_int_equal(q->count, 4);
    struct ql_view w = ql_view(q);
    struct ql_at at;
    assert_true(ql_seek(&w, 1, &at));
    assert_int_equal(ql_get(&w, at).number, 7);
    assert_true(ql_seek(&w, 2, &at));
    assert_true(span_eq(ql_get(&w, at).text, SPAN("small")));
    assert_true(ql_seek(&w, 3, &at));
    assert_int_equal(ql_get(&w, at).text.n, 10000);
    assert_false(ql_to_listpack(q, 1000, &lp));
    ql_pop(q, true, 1);
    assert_false(ql_to_listpack(q, 18, &lp));
    assert_true(ql_to_listpack(q, 100, &lp));
    assert_true(lp_valid(lp.p, lp.len));
    assert_int_equal(lp_count(&lp), 3);
    lp_free(&mem, &lp);
    free_all(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_fill, setup, teardown),
        cmocka_unit_test_setup_teardown(few_texts, setup, teardown),
        cmocka_unit_test_setup_teardown(many_texts, setup, teardown),
        cmocka_unit_test_setup_teardown(queues_stay_small, setup, teardown),
        cmocka_unit_test_setup_teardown(both_ends_in_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(sparse_blocks_are_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(small_ones_between_large_ones_take_little, setup, teardown),
        cmocka_unit_test_setup_teardown(popping_nothing_leaves_a_plain_block_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(listpacks_and_blocks_are_taken_over, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
