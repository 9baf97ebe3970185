/* Streams against a naive model: random additions, deletions, trims and reads by seed, with allocations failing now and then; after each the
 * entries in any interval both ways, their counts, the bytes of every node and the account of memory are looked at. And groups: what
 * waits, and for whom. */
#include <stdlib.h>
#include <string.h>

#include "engine/ds/stream_group.h"
#include "engine/ds/stream_internal.h"
#include "tests/unit/unit.h"

#define MODEL_MAX 4000
#define TEXT_MAX  300

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
    rng_state = 17;
    return mem_init(&mem);
}
static int teardown(void **state)
{
    assert_int_equal(mem.used_bytes, 0);
    mem_fini(&mem);
    return 0;
}

/* ---- the model: an entry's texts follow from a number ---- */

struct model_entry {
    struct stream_id id;
    uint32_t what;
};
static struct model_entry model[MODEL_MAX];
static uint32_t model_n;

static uint32_t fields_of(uint32_t what)
{
    return what % 5 ? 2 : what % 7 + 1;
}

static struct span text_of(uint32_t what, uint32_t i, uint8_t *to)
{
    uint32_t kind = i % 2 ? what * 7 + i : what % 5 ? i : what + i;
    size_t n;
    if (kind % 4 == 0)
        return span_of(to, num_format_i64((char *)to, (int64_t)kind * (kind % 3 ? 1 : -99991)));
    n = kind % 37 == 1 ? 200 : kind % 11;
    memset(to, 'a' + (int)(kind % 26), n);
    return span_of(to, n);
}

static uint8_t text_store[64][TEXT_MAX];
static struct span texts[64];

static uint32_t make_texts(uint32_t what)
{
    uint32_t n = fields_of(what);
    for (uint32_t i = 0; i < n * 2; i++)
        texts[i] = text_of(what, i, text_store[i]);
    return n;
}

static void check_entry(const struct stream_entry *e, const struct model_entry *want)
{
    char scratch[NUM_I64_CHARS];
    const uint8_t *at = e->at, *field = e->master;
    uint32_t n = make_texts(want->what);
    assert_int_equal(stream_id_cmp(e->id, want->id), 0);
    assert_int_equal(e->fields, n);
    for (uint32_t i = 0; i < n * 2; i++) {
        const uint8_t **from = e->same && i % 2 == 0 ? &field : &at;
        struct span have = lp_text(*from, scratch);
        assert_true(span_eq(have, texts[i]));
        *from = lp_skip(*from);
    }
}

/* ---- looking at a stream ---- */

static size_t bytes_of_nodes(const struct stream *s)
{
    size_t n = 0;
    for (struct id_at at = idtree_first(&s->nodes); at.leaf; at = idtree_next(at))
        n += mem_size_class(stream_node_at(s, at)->cap);
    return n;
}

static void check_nodes(const struct stream *s, const struct stream_limits *limits)
{
    uint64_t live = 0;
    for (struct id_at at = idtree_first(&s->nodes); at.leaf; at = idtree_next(at)) {
        const struct stream_node *n = stream_node_at(s, at);
        struct mem_block lp = stream_node_block(n);
        struct stream_node_facts f;
        struct stream_master h = stream_master_of(n);
        assert_true(lp.len <= lp.cap);
        assert_true(stream_node_valid(span_of(lp.p, lp.len), n->id, &f));
        assert_int_equal(h.count, f.live);
        if (limits->node_entries)
            assert_true((int64_t)(h.count + h.deleted) <= limits->node_entries);
        live += f.live;
    }
    assert_int_equal(live, s->length);
    assert_int_equal(s->length, model_n);
    assert_true(bytes_of_nodes(s) < s->m.bytes);
}

static void check_interval(const struct stream *s, struct stream_id from, struct stream_id to)
{
    struct stream_walk w;
    struct stream_entry e;
    uint32_t first = 0, end;
    while (first < model_n && stream_id_less(model[first].id, from))
        first++;
    for (end = first; end < model_n && !stream_id_less(to, model[end].id);)
        end++;
    assert_int_equal(stream_count_range(s, from, to, UINT64_MAX), end - first);
    assert_int_equal(stream_count_range(s, from, to, 3), end - first < 3 ? end - first : 3);
    stream_walk_init(&w, s, from, to, false);
    for (uint32_t i = first; i < end; i++) {
        assert_true(stream_walk_next(&w, &e));
        check_entry(&e, &model[i]);
    }
    assert_false(stream_walk_next(&w, &e));
    assert_false(stream_walk_next(&w, &e));
    stream_walk_init(&w, s, from, to, true);
    for (uint32_t i = end; i-- > first;) {
        assert_true(stream_walk_next(&w, &e));
        check_entry(&e, &model[i]);
    }
    assert_false(stream_walk_next(&w, &e));
}

static struct stream_id some_id(void)
{
    if (model_n && rnd() % 2)
        return model[rnd() % model_n].id;
    uint64_t top = model_n ? model[model_n - 1].id.ms + 3 : 3;
    return (struct stream_id){rnd() % (top + 1), rnd() % 4};
}

static void check_stream(const struct stream *s, const struct stream_limits *limits)
{
    struct stream_id first = model_n ? model[0].id : STREAM_ID_MIN;
    struct stream_id last = model_n ? model[model_n - 1].id : STREAM_ID_MIN;
    check_nodes(s, limits);
    assert_int_equal(stream_id_cmp(s->first, first), 0);
    assert_int_equal(stream_id_cmp(stream_last_there(s), last), 0);
    check_interval(s, STREAM_ID_MIN, STREAM_ID_MAX);
    for (int i = 0; i < 5; i++) {
        check_interval(s, some_id(), some_id());
        struct stream_id id = some_id();
        check_interval(s, id, id);
    }
}

/* ---- changes ---- */

static void append(struct stream *s, const struct stream_limits *limits)
{
    struct stream_id id = s->last;
    uint32_t what = (uint32_t)rnd() % 100000;
    if (rnd() % 3)
        id = (struct stream_id){id.ms + 1 + (rnd() % 50 ? 0 : 1ull << 33),
                                rnd() % 50 ? rnd() % 3 : rnd()};
    else
        stream_id_incr(&id);
    uint32_t n = make_texts(what);
    if (model_n == MODEL_MAX || !stream_append(s, limits, id, texts, n))
        return;
    model[model_n++] = (struct model_entry){id, what};
}

static void drop(struct stream *s)
{
    struct stream_id id = some_id();
    uint32_t i = 0;
    while (i < model_n && stream_id_cmp(model[i].id, id) != 0)
        i++;
    enum stream_deleted did = stream_delete(s, id);
    assert_int_equal(i == model_n, did == STREAM_NOT_THERE);
    if (did != STREAM_GONE)
        return;
    memmove(&model[i], &model[i + 1], (--model_n - i) * sizeof(model[0]));
    stream_find_first(s);
}

/* Without memory entries may stay; never do others go. */
static void trim(struct stream *s, bool failing)
{
    struct stream_trim t = {.by_id = rnd() % 2, .nodes = rnd() % 2, .least = some_id()};
    t.keep = model_n - rnd() % (model_n / 8 + 2);
    if (t.keep > model_n)
        t.keep = 0;
    uint64_t most = 0, gone;
    if (t.by_id)
        while (most < model_n && stream_id_less(model[most].id, t.least))
            most++;
    else
        most = model_n - t.keep;
    gone = stream_trim(s, &t);
    assert_true(gone <= most);
    if (!t.nodes && !failing)
        assert_int_equal(gone, most);
    model_n -= (uint32_t)gone;
    memmove(model, model + gone, model_n * sizeof(model[0]));
}

static void free_in_slices(struct stream *s, size_t budget)
{
    size_t freed;
    while (!stream_free_slice(s, budget, &freed))
        assert_true(freed <= budget + 2);
}

static void run(struct stream_limits limits, uint32_t steps, bool failing)
{
    struct stream *s = stream_create(&mem);
    model_n = 0;
    for (uint32_t i = 0; i < steps; i++) {
        uint64_t kind = rnd() % 100;
        if (failing && rnd() % 3 == 0)
            mem.fail_after = rnd() % 4 + 1;
        if (kind < (i / 1000 % 2 ? 55 : 85))
            append(s, &limits);
        else if (kind < 97)
            drop(s);
        else
            trim(s, failing);
        mem.fail_after = 0;
        if (i % 20 == 0)
            check_stream(s, &limits);
        assert_int_equal(stream_bytes(s), mem.used_bytes);
    }
    check_stream(s, &limits);
    struct stream *copy = stream_copy(&mem, s);
    check_stream(copy, &limits);
    assert_int_equal(stream_bytes(s) + stream_bytes(copy), mem.used_bytes);
    free_in_slices(s, 5);
    check_stream(copy, &limits);
    free_in_slices(copy, SIZE_MAX);
}

static void test_default_limits(void **state)
{
    run((struct stream_limits){4096, 100}, 6000, false);
}
static void test_small_nodes(void **state)
{
    run((struct stream_limits){200, 5}, 6000, false);
    run((struct stream_limits){0, 1}, 2000, false);
}
static void test_one_node(void **state)
{
    run((struct stream_limits){0, 0}, 1500, false);
}
static void test_failing_memory(void **state)
{
    run((struct stream_limits){1000, 20}, 6000, true);
}

/* ---- nodes ---- */

static void add(struct stream *s, uint64_t ms, uint64_t seq, const char *value)
{
    static const struct stream_limits limits = {4096, 100};
    struct span t[] = {SPAN("f"), span_str(value)};
    assert_true(stream_append(s, &limits, (struct stream_id){ms, seq}, t, 1));
}

static void test_bytes_of_a_node(void **state)
{
    struct stream *s = stream_create(&mem);
    add(s, 5, 1, "v");
    add(s, 6, 0, "300");
    assert_int_equal(s->nodes.count, 1);
    struct mem_block lp = stream_node_block(stream_node_at(s, idtree_first(&s->nodes)));
    /* count 2, deleted 0, one field "f", 0; same fields, 0, 0, "v", 4; same fields, 1, -1, 300, 4 */
    static const uint8_t want[] = {41, 0, 0, 0, 15,   0,    2, 1,    0,    1,    1,   1, 0x81, 'f',
                                   2,  0, 1, 2, 1,    0,    1, 0,    1,    0x81, 'v', 2, 4,    1,
                                   2,  1, 1, 1, 0xdf, 0xff, 2, 0xc1, 0x2c, 2,    4,   1, 0xff};
    assert_int_equal(lp.len, sizeof(want));
    assert_memory_equal(lp.p, want, sizeof(want));
    free_in_slices(s, SIZE_MAX);
}

static void test_a_node_that_is_closed_takes_what_it_holds(void **state)
{
    struct stream *s = stream_create(&mem);
    for (uint64_t i = 1; i <= 1001; i++)
        add(s, i, 0, "the value of an entry");
    assert_int_equal(s->nodes.count, 11);
    for (struct id_at at = idtree_first(&s->nodes); at.leaf; at = idtree_next(at)) {
        const struct stream_node *n = stream_node_at(s, at);
        struct id_at next = idtree_next(at);
        if (next.leaf)
            assert_int_equal(n->cap, mem_size_class(stream_node_block(n).len));
    }
    free_in_slices(s, SIZE_MAX);
}

/* XSETID may lower the last id below nodes that hold deleted entries only: the next entry comes behind them all the same. */
static void test_ids_after_a_lowered_last_id_ascend(void **state)
{
    struct stream *s = stream_create(&mem);
    struct stream_trim t = {.by_id = true, .least = {5, 0}};
    add(s, 1, 0, "a");
    add(s, 9, 0, "b");
    assert_int_equal(stream_delete(s, (struct stream_id){9, 0}), STREAM_GONE);
    assert_int_equal(stream_trim(s, &t), 1);
    assert_int_equal(s->nodes.count, 1); /* its last entry, a deleted one, is not before 5-0 */
    s->last = (struct stream_id){0, 1};
    add(s, 0, 2, "c");
    add(s, 3, 0, "d");
    assert_int_equal(stream_count_range(s, STREAM_ID_MIN, STREAM_ID_MAX, 10), 2);
    assert_true(stream_has(s, (struct stream_id){0, 2}) && stream_has(s, (struct stream_id){3, 0}));
    free_in_slices(s, SIZE_MAX);
}

/* Nodes of a radix tree with the ids of these nodes as keys of 16 bytes, by making that tree. */
static uint64_t naive_radix(struct stream_id *v, uint32_t n, uint32_t depth)
{
    uint8_t key[64][16];
    assert_true(n <= 64);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t b = 0; b < 16; b++)
            key[i][b] = (uint8_t)((b < 8 ? v[i].ms : v[i].seq) >> (56 - 8 * (b % 8)));
    uint32_t d = depth;
    while (d < 16 && key[0][d] == key[n - 1][d])
        d++;
    uint64_t nodes = d > depth; /* the bytes that all have */
    if (d == 16)
        return nodes + 1;
    nodes++;
    for (uint32_t i = 0, j; i < n; i = j) {
        for (j = i; j < n && key[j][d] == key[i][d];)
            j++;
        nodes += naive_radix(v + i, j - i, d + 1);
    }
    return nodes;
}

static void test_radix_nodes(void **state)
{
    static const struct stream_limits one = {0, 1};
    for (int round = 0; round < 300; round++) {
        struct stream *s = stream_create(&mem);
        struct stream_id v[64], id = {0, 0};
        uint32_t n = (uint32_t)(rnd() % 64);
        assert_int_equal(stream_radix_nodes(s), 1);
        for (uint32_t i = 0; i < n; i++) {
            id.ms += rnd() % 3 ? 0 : 1ull << rnd() % 40;
            id.seq += 1 + (1ull << rnd() % 30);
            v[i] = id;
            struct span t[] = {SPAN("f"), SPAN("v")};
            assert_true(stream_append(s, &one, id, t, 1));
        }
        if (n)
            assert_int_equal(stream_radix_nodes(s), naive_radix(v, n, 0));
        free_in_slices(s, SIZE_MAX);
    }
}

/* Every byte of a node changed to every other value: what passes can be walked, and holds what its header says. */
static void test_damaged_nodes(void **state)
{
    struct stream *s = stream_create(&mem);
    for (uint64_t i = 1; i <= 6; i++)
        add(s, i, i % 3, i % 2 ? "1000" : "some text");
    struct span odd[] = {SPAN("g"), SPAN("1"), SPAN("h"), SPAN("-5000000")};
    assert_true(stream_append(s, &(struct stream_limits){0, 0}, (struct stream_id){9, 9}, odd, 2));
    stream_delete(s, (struct stream_id){2, 2});
    const struct stream_node *n = stream_node_at(s, idtree_first(&s->nodes));
    struct mem_block lp = stream_node_block(n);
    uint32_t passed = 0;
    for (size_t i = 0; i < lp.len; i++) {
        for (uint32_t v = 0; v < 256; v++) {
            uint8_t *p = malloc(lp.len); /* its end is where the sanitizer looks */
            struct stream_node_facts f;
            memcpy(p, lp.p, lp.len);
            p[i] = (uint8_t)v;
            if (stream_node_valid(span_of(p, lp.len), n->id, &f)) {
                assert_true(lp_valid(p, lp.len));
                struct stream *t = stream_create(&mem);
                struct mem_block b = {mem_alloc(&mem, lp.len), lp.len, lp.len};
                memcpy(b.p, p, lp.len);
                assert_true(stream_adopt_node(t, n->id, &b));
                t->length = f.live;
                t->last = STREAM_ID_MAX;
                struct stream_walk w;
                struct stream_entry e;
                uint64_t count = 0;
                stream_walk_init(&w, t, STREAM_ID_MIN, STREAM_ID_MAX, v % 2);
                while (stream_walk_next(&w, &e))
                    count++;
                assert_int_equal(count, f.live);
                free_in_slices(t, SIZE_MAX);
                passed++;
            }
            free(p);
        }
    }
    assert_true(passed > lp.len); /* at least what stands there, and other texts */
    for (size_t cut = 0; cut < lp.len; cut++) {
        struct stream_node_facts f;
        assert_false(stream_node_valid(span_of(lp.p, cut), n->id, &f));
    }
    free_in_slices(s, SIZE_MAX);
}

/* ---- groups ---- */

#define GROUP_IDS 400
#define CONSUMERS 5

static struct span name_of(uint32_t i)
{
    static const struct span names[CONSUMERS] = {SPAN("bob"), SPAN(""), SPAN("bo"), SPAN("alice"),
                                                 SPAN("\xff\x00z")};
    return names[i];
}

static void check_group(const struct stream_group *g, const int *owner)
{
    uint64_t waiting = 0, of_consumers = 0;
    for (uint32_t i = 0; i < GROUP_IDS; i++) {
        struct stream_pending *p = stream_pending_find(g, (struct stream_id){i, 7});
        assert_int_equal(p != NULL, owner[i] >= 0);
        if (!p)
            continue;
        waiting++;
        assert_true(span_eq(p->consumer->name, name_of((uint32_t)owner[i])));
        assert_int_equal(p->deliveries, i);
        assert_non_null(idtree_find(&p->consumer->pel, p->id));
    }
    assert_int_equal(g->pel.count, waiting);
    for (uint32_t i = 0; i < g->consumers.n; i++) {
        of_consumers += stream_consumer_at(g, i)->pel.count;
        if (i)
            assert_true(
                span_cmp(stream_consumer_at(g, i - 1)->name, stream_consumer_at(g, i)->name) < 0);
    }
    assert_int_equal(of_consumers, waiting);
}

static void test_what_waits(void **state)
{
    struct stream *s = stream_create(&mem);
    struct stream_group *g = stream_group_create(s, SPAN("g"), STREAM_ID_MIN, 0);
    int owner[GROUP_IDS];
    memset(owner, -1, sizeof(owner));
    assert_true(stream_group_find(s, SPAN("g")) == g && !stream_group_find(s, SPAN("gg")));
    for (uint32_t step = 0; step < 20000; step++) {
        uint32_t who = (uint32_t)(rnd() % CONSUMERS), i = (uint32_t)(rnd() % GROUP_IDS);
        struct stream_consumer *c = stream_consumer_find(g, name_of(who));
        if (rnd() % 4 == 0)
            mem.fail_after = rnd() % 3 + 1;
        if (rnd() % 500 == 0 && c) {
            stream_consumer_destroy(g, c);
            for (uint32_t k = 0; k < GROUP_IDS; k++)
                if (owner[k] == (int)who)
                    owner[k] = -1;
        } else if (rnd() % 5 < 2) {
            assert_int_equal(stream_pending_remove(g, (struct stream_id){i, 7}), owner[i] >= 0);
            owner[i] = -1;
        } else {
            if (!c)
                c = stream_consumer_create(g, name_of(who), step);
            struct stream_pending *p =
                c ? stream_pending_give(g, (struct stream_id){i, 7}, c) : NULL;
            if (p) {
                p->deliveries = i;
                owner[i] = (int)who;
            }
        }
        mem.fail_after = 0;
        assert_int_equal(stream_bytes(s), mem.used_bytes);
        if (step % 100 == 0)
            check_group(g, owner);
    }
    struct stream *copy = stream_copy(&mem, s);
    check_group(stream_group_find(copy, SPAN("g")), owner);
    assert_int_equal(stream_bytes(s) + stream_bytes(copy), mem.used_bytes);
    free_in_slices(s, 2);
    check_group(stream_group_find(copy, SPAN("g")), owner);
    struct stream *apart = stream_group_detach(copy, stream_group_find(copy, SPAN("g")));
    assert_int_equal(copy->groups.n, 0);
    assert_int_equal(stream_bytes(apart) + stream_bytes(copy), mem.used_bytes);
    free_in_slices(apart, 1);
    free_in_slices(copy, SIZE_MAX);
}

static void test_group_detached_without_memory_is_freed(void **state)
{
    struct stream *s = stream_create(&mem);
    for (uint64_t fail = 1; fail <= 2; fail++) {
        struct stream_group *g = stream_group_create(s, SPAN("g"), STREAM_ID_MIN, 0);
        struct stream_consumer *c = stream_consumer_create(g, SPAN("c"), 0);
        stream_pending_give(g, (struct stream_id){1, 1}, c);
        mem.fail_after = fail;
        assert_null(stream_group_detach(s, g));
        mem.fail_after = 0;
        assert_int_equal(stream_bytes(s), mem.used_bytes);
    }
    free_in_slices(s, SIZE_MAX);
}

static void test_entries_read(void **state)
{
    struct stream *s = stream_create(&mem);
    assert_int_equal(stream_entries_until(s, (struct stream_id){5, 5}), 0);
    for (uint64_t i = 1; i <= 10; i++)
        add(s, i, 0, "v");
    assert_int_equal(stream_entries_until(s, (struct stream_id){0, 5}), 0);
    assert_int_equal(stream_entries_until(s, (struct stream_id){1, 0}), 1);
    assert_int_equal(stream_entries_until(s, (struct stream_id){5, 0}), STREAM_READ_UNKNOWN);
    assert_int_equal(stream_entries_until(s, (struct stream_id){10, 0}), 10);
    assert_int_equal(stream_entries_until(s, (struct stream_id){11, 0}), STREAM_READ_UNKNOWN);
    struct stream_group *g = stream_group_create(s, SPAN("g"), (struct stream_id){2, 0}, 2);
    stream_group_delivered(s, g, (struct stream_id){3, 0});
    assert_int_equal(g->entries_read, 3);
    stream_group_delivered(s, g, (struct stream_id){1, 0}); /* it is behind */
    assert_int_equal(g->entries_read, 3);
    s->max_deleted = (struct stream_id){7, 0};
    assert_int_equal(stream_delete(s, s->max_deleted), STREAM_GONE);
    stream_group_delivered(s, g, (struct stream_id){4, 0});
    assert_int_equal(g->entries_read, STREAM_READ_UNKNOWN);
    stream_group_delivered(s, g, (struct stream_id){10, 0});
    assert_int_equal(g->entries_read, 10);
    free_in_slices(s, SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_default_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_small_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_node, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failing_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes_of_a_node, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_node_that_is_closed_takes_what_it_holds, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_ids_after_a_lowered_last_id_ascend, setup, teardown),
        cmocka_unit_test_setup_teardown(test_radix_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group_detached_without_memory_is_freed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_entries_read, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
