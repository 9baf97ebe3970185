/* idtree against a sorted array: random changes by seed over every width of record that streams have, in ascending and in any order, with
 * allocations failing now and then; after each the order both ways, every kind of search and the account of bytes are looked at. */
#include <stdlib.h>
#include <string.h>

#include "engine/ds/idtree.h"
#include "tests/unit/unit.h"

#define MODEL_MAX 20000

static struct mem mem;
static struct mem_count account;
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
    rng_state = 3;
    int err = mem_init(&mem);
    account = (struct mem_count){.mem = &mem};
    return err;
}
static int teardown(void **state)
{
    assert_int_equal(mem.used_bytes, 0);
    assert_int_equal(account.bytes, 0);
    mem_fini(&mem);
    return 0;
}

struct model {
    struct stream_id v[MODEL_MAX];
    uint32_t n;
};
static struct model m;

/* The first that is not less. */
static uint32_t model_seek(struct stream_id id)
{
    uint32_t from = 0, to = m.n;
    while (from < to) {
        uint32_t mid = (from + to) / 2;
        if (stream_id_less(m.v[mid], id))
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}
static bool model_has(uint32_t i, struct stream_id id)
{
    return i < m.n && stream_id_cmp(m.v[i], id) == 0;
}

/* The bytes behind an id tell whose they are. */
static void mark(const struct idtree *t, uint8_t *record, struct stream_id id)
{
    memset(record + sizeof(id), (int)(id.ms * 31 + id.seq), t->width - sizeof(id));
}
static void check_record(const struct idtree *t, const uint8_t *record, struct stream_id id)
{
    assert_memory_equal(record, &id, sizeof(id));
    for (uint32_t i = sizeof(id); i < t->width; i++)
        assert_int_equal(record[i], (uint8_t)(id.ms * 31 + id.seq));
}

static void check_at(const struct idtree *t, struct id_at at, uint32_t i)
{
    if (i >= m.n) {
        assert_null(at.leaf);
        return;
    }
    assert_non_null(at.leaf);
    check_record(t, idtree_record(t, at), m.v[i]);
}

static void check_all(const struct idtree *t)
{
    struct id_at at = idtree_first(t);
    assert_int_equal(t->count, m.n);
    for (uint32_t i = 0; i < m.n; i++, at = idtree_next(at))
        check_at(t, at, i);
    assert_null(at.leaf);
    at = idtree_last(t);
    for (uint32_t i = m.n; i-- > 0; at = idtree_prev(at))
        check_at(t, at, i);
    assert_null(at.leaf);
    assert_int_equal(account.bytes, mem.used_bytes);
}

static void check_search(const struct idtree *t, struct stream_id id)
{
    uint32_t i = model_seek(id);
    bool there = model_has(i, id);
    check_at(t, idtree_seek(t, id), i);
    check_at(t, idtree_seek_back(t, id), there ? i : i ? i - 1 : m.n);
    assert_int_equal(idtree_find(t, id) != NULL, there);
    if (there)
        check_record(t, idtree_find(t, id), id);
}

static struct stream_id any_id(uint32_t range)
{
    return (struct stream_id){rnd() % range, rnd() % 3};
}

static void add(struct idtree *t, struct stream_id id)
{
    uint32_t i = model_seek(id);
    bool there = model_has(i, id), is_new;
    if (m.n == MODEL_MAX)
        return;
    uint8_t *r = i == m.n && rnd() % 2 ? idtree_append(&account, t, id)
                                       : idtree_insert(&account, t, id, &is_new);
    if (!r)
        return; /* no memory: the model stays as it is, and so must the tree */
    if (!there) {
        mark(t, r, id);
        memmove(&m.v[i + 1], &m.v[i], (m.n - i) * sizeof(m.v[0]));
        m.v[i] = id;
        m.n++;
    }
}

static void remove_one(struct idtree *t, struct stream_id id)
{
    uint32_t i = model_seek(id);
    bool there = model_has(i, id);
    assert_int_equal(idtree_remove(&account, t, id), there);
    if (there)
        memmove(&m.v[i], &m.v[i + 1], (--m.n - i) * sizeof(m.v[0]));
}

static void free_all(struct idtree *t)
{
    size_t freed, sum = 0, slices = 0;
    while (!idtree_free_slice(&account, t, 3, &freed)) {
        assert_true(freed == 3);
        sum += freed;
        slices++;
    }
    assert_true(sum + freed <= idtree_pieces(&(struct idtree){.count = m.n}) * 32 + 1);
    assert_int_equal(t->count, 0);
    m.n = 0;
}

/* Grows, wanders and shrinks; ids are random, or ascend as those of a stream do. */
static void run(uint32_t width, bool ascending, bool failing)
{
    struct idtree t = idtree_empty(width);
    uint64_t next = 0;
    m.n = 0;
    for (uint32_t step = 0; step < 12000; step++) {
        uint32_t phase = step / 3000; /* grow, wander, shrink, wander */
        bool adding = rnd() % 10 < (phase == 0 ? 9u : phase == 2 ? 2u : 5u);
        struct stream_id id = any_id(8000);
        if (failing)
            mem.fail_after = rnd() % 3 + 1;
        if (adding)
            add(&t, ascending ? (struct stream_id){next++, 0} : id);
        else if (m.n && rnd() % 3)
            remove_one(&t, m.v[ascending ? rnd() % (m.n / 4 + 1) : rnd() % m.n]);
        else
            remove_one(&t, id);
        mem.fail_after = 0;
        check_search(&t, any_id(8000));
        if (m.n)
            check_search(&t, m.v[rnd() % m.n]);
        if (step % 250 == 0)
            check_all(&t);
    }
    check_all(&t);
    while (m.n > 5)
        remove_one(&t, m.v[rnd() % m.n]);
    check_all(&t);
    while (m.n)
        remove_one(&t, m.v[0]);
    check_all(&t);
    assert_null(t.root);
    assert_int_equal(mem.used_bytes, 0);
}

static void test_random_ids(void **state)
{
    run(16, false, false);
    run(32, false, false);
    run(40, false, false);
}
static void test_ascending_ids(void **state)
{
    run(16, true, false);
    run(40, true, false);
}
static void test_failing_memory(void **state)
{
    run(16, false, true);
    run(40, true, true);
}

static void test_appended_leaves_are_full(void **state)
{
    struct idtree t = idtree_empty(16);
    m.n = 0;
    for (uint32_t i = 0; i < MODEL_MAX; i++)
        add(&t, (struct stream_id){i, 0});
    check_all(&t);
    assert_true(account.bytes < MODEL_MAX * 17.5);
    struct idtree copy = idtree_empty(16);
    assert_true(idtree_copy(&account, &copy, &t));
    for (uint32_t i = 0; i < MODEL_MAX; i += 7)
        check_search(&copy, m.v[i]);
    size_t freed;
    assert_true(idtree_free_slice(&account, &copy, SIZE_MAX, &freed));
    free_all(&t);
}

/* What is left of a large tree takes no more than a few times what it needs. */
static void test_thinned_out_tree_gives_memory_back(void **state)
{
    struct idtree t = idtree_empty(40);
    m.n = 0;
    for (uint32_t i = 0; i < MODEL_MAX; i++)
        add(&t, (struct stream_id){i, 0});
    size_t full = account.bytes;
    for (uint32_t i = 0; i < MODEL_MAX; i++)
        if (i % 50)
            assert_true(idtree_remove(&account, &t, (struct stream_id){i, 0}));
    assert_int_equal(t.count, MODEL_MAX / 50);
    assert_true(account.bytes < full / 12);
    for (uint32_t i = 0; i < MODEL_MAX; i++)
        assert_int_equal(idtree_find(&t, (struct stream_id){i, 0}) != NULL, i % 50 == 0);
    m.n = MODEL_MAX / 50;
    free_all(&t);
}

/* Takes the records that `take` says of the model, and some ids that are not there, out of t in one go. */
static void subtract(struct idtree *t, bool (*take)(uint32_t i), bool apart)
{
    struct mem_count ids_account = {.mem = &mem}, gone_account = {.mem = &mem};
    struct idtree ids = idtree_empty(16), gone = idtree_empty(t->width);
    struct id_gone to = {&gone_account, &gone};
    uint32_t left = 0, n = m.n;
    size_t freed, before;
    for (uint32_t i = 0; i < n; i++) {
        struct stream_id odd = {m.v[i].ms, m.v[i].seq + 100};
        if (take(i))
            idtree_append(&ids_account, &ids, m.v[i]);
        else
            m.v[left++] = m.v[i];
        if (i % 37 == 0 && (i + 1 == n || stream_id_less(odd, m.v[i + 1])))
            idtree_append(&ids_account, &ids, odd);
    }
    m.n = left;
    before = mem.used_bytes;
    idtree_subtract(&account, t, &ids, apart ? &to : NULL);
    assert_int_equal(apart ? gone.count : n - left, n - left);
    assert_int_equal(idtree_bytes(&ids), ids_account.bytes);
    assert_int_equal(idtree_bytes(t), account.bytes);
    assert_int_equal(idtree_bytes(&gone), gone_account.bytes);
    if (apart &&
        before - mem.used_bytes > 100 * 1024) /* inner nodes, and what one leaf shrank by */
        fail_msg("%zu bytes were freed at once", before - mem.used_bytes);
    while (!idtree_free_slice(&gone_account, &gone, 3, &freed))
        assert_int_equal(freed, 3);
    assert_int_equal(gone_account.bytes, 0);
    assert_int_equal(gone.count, 0);
    while (!idtree_free_slice(&ids_account, &ids, SIZE_MAX, &freed))
        ;
    check_all(t);
    for (uint32_t i = 0; i < 100 && m.n; i++) /* the tree works as before */
        check_search(t, m.v[rnd() % m.n]);
}

static bool take_all(uint32_t i)
{
    return true;
}
static bool take_most(uint32_t i)
{
    return i % 50 != 0;
}
static bool take_runs(uint32_t i)
{
    return i / 500 % 3 != 1;
}
static bool take_some(uint32_t i)
{
    return rnd() % 5 == 0;
}

static void test_many_are_removed_at_once(void **state)
{
    bool (*const take[])(uint32_t i) = {take_all, take_most, take_runs, take_some};
    for (uint32_t k = 0; k < 4 * 4; k++) {
        struct idtree t = idtree_empty(k & 1 ? 40 : 16);
        m.n = 0;
        for (uint32_t i = 0; i < 15000; i++)
            add(&t, k & 2 ? any_id(9000) : (struct stream_id){i, 0});
        subtract(&t, take[k / 4], k & 1);
        for (uint32_t i = 0; i < 3000; i++)
            add(&t, any_id(30000));
        check_all(&t);
        subtract(&t, take_some, !(k & 1));
        subtract(&t, take_all, true);
        assert_null(t.root);
        assert_int_equal(mem.used_bytes, 0);
    }
}

static void test_copy_without_memory_leaves_nothing(void **state)
{
    struct idtree t = idtree_empty(16), copy = idtree_empty(16);
    m.n = 0;
    for (uint32_t i = 0; i < 2000; i++)
        add(&t, (struct stream_id){i, 0});
    size_t before = mem.used_bytes;
    for (uint64_t n = 1;; n++) {
        mem.fail_after = n;
        bool done = idtree_copy(&account, &copy, &t);
        bool fired = mem.fail_after == 0;
        mem.fail_after = 0;
        if (done && !fired)
            break;
        assert_false(done);
        assert_null(copy.root);
        assert_int_equal(mem.used_bytes, before);
    }
    size_t freed;
    assert_true(idtree_free_slice(&account, &copy, SIZE_MAX, &freed));
    free_all(&t);
}

static void test_ids(void **state)
{
    struct stream_id id = {5, UINT64_MAX};
    assert_true(stream_id_incr(&id) && id.ms == 6 && id.seq == 0);
    assert_true(stream_id_decr(&id) && id.ms == 5 && id.seq == UINT64_MAX);
    id = STREAM_ID_MAX;
    assert_true(!stream_id_incr(&id) && stream_id_is_zero(id));
    assert_true(!stream_id_decr(&id) && stream_id_cmp(id, STREAM_ID_MAX) == 0);
    id = (struct stream_id){0, 1};
    assert_true(stream_id_decr(&id) && stream_id_is_zero(id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ascending_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failing_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_appended_leaves_are_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_thinned_out_tree_gives_memory_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_are_removed_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy_without_memory_leaves_nothing, setup, teardown),
        cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
