/* zset against a naive model: random operations by seed over few and many scores, in order and against it; ranges cut out; every
 * allocation failing once; copies, freeing in slices, another mem. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/ds/zset.h"
#include "tests/unit/unit.h"

#define IDS 4000

static struct mem mem;
static const struct siphash_key key = {1, 2};
static uint64_t rng_state;

static uint64_t rnd(uint64_t below)
{
    uint64_t z = rng_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % below;
}

/* ---- the model: who is in, and an array that is sorted when it is looked at ---- */

struct model {
    bool in[IDS];
    double score[IDS];
    uint32_t order[IDS];
    size_t n;
};
static struct model model;

/* Members of all lengths, also empty and longer than a length byte tells. */
static struct span text_of(uint32_t id)
{
    static char text[8][1024];
    static uint32_t turn;
    char *to = text[turn++ % 8];
    size_t n = (size_t)sprintf(to, "%x", id);
    if (id == 0)
        n = 0;
    if (id % 50 == 1) {
        memset(to + n, 'x', 600);
        n += 250 + id % 13;
    }
    return span_of(to, n);
}

static int model_cmp(const void *pa, const void *pb)
{
    uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;
    if (model.score[a] != model.score[b])
        return model.score[a] < model.score[b] ? -1 : 1;
    struct span ta = text_of(a), tb = text_of(b);
    return span_cmp(ta, tb);
}

static void model_sort(void)
{
    model.n = 0;
    for (uint32_t i = 0; i < IDS; i++)
        if (model.in[i])
            model.order[model.n++] = i;
    qsort(model.order, model.n, sizeof(*model.order), model_cmp);
}

static void compare(const struct zset *z)
{
    model_sort();
    assert_true(zset_valid(z));
    assert_int_equal(zset_count(z), model.n);
    struct zset_at at = zset_seek(z, 0);
    for (size_t i = 0; i < model.n; i++) {
        assert_non_null(at.leaf);
        const struct zset_member *m = at.leaf->member[at.i];
        assert_true(span_eq(zset_member_text(m), text_of(model.order[i])));
        assert_true(m->score == model.score[model.order[i]] && at.leaf->score[at.i] == m->score);
        if (i % 7 == 0) {
            assert_int_equal(zset_rank(z, m), i);
            struct zset_at by_rank = zset_seek(z, i);
            assert_true(by_rank.leaf == at.leaf && by_rank.i == at.i);
        }
        zset_next(&at);
    }
    assert_null(at.leaf);
    if (!model.n)
        return;
    at = zset_seek(z, model.n - 1);
    for (size_t i = model.n; i-- > 0; zset_prev(&at))
        assert_true(span_eq(zset_member_text(at.leaf->member[at.i]), text_of(model.order[i])));
    assert_null(at.leaf);
    assert_null(zset_seek(z, model.n).leaf);
}

static void compare_bounds(const struct zset *z, double s)
{
    size_t below = 0, upto = 0;
    for (size_t i = 0; i < model.n; i++) {
        below += model.score[model.order[i]] < s;
        upto += model.score[model.order[i]] <= s;
    }
    struct zset_bound b = {.side = ZSET_BEFORE_SCORE, .score = s};
    assert_int_equal(zset_below(z, &b), below);
    b.side = ZSET_BEHIND_SCORE;
    assert_int_equal(zset_below(z, &b), upto);
}

static void compare_lex(const struct zset *z, struct span bound)
{
    char own[1024];
    struct span t = span_of(memcpy(own, bound.p, bound.n), bound.n);
    size_t below = 0, upto = 0;
    for (size_t i = 0; i < model.n; i++) {
        struct span m = text_of(model.order[i]);
        below += span_cmp(m, t) < 0;
        upto += span_cmp(m, t) <= 0;
    }
    struct zset_bound b = {.side = ZSET_BEFORE_MEMBER, .member = t};
    assert_int_equal(zset_below(z, &b), below);
    b.side = ZSET_BEHIND_MEMBER;
    assert_int_equal(zset_below(z, &b), upto);
}

static double any_score(uint64_t scores)
{
    if (scores > 100 && rnd(200) == 0)
        return rnd(2) ? 1.0 / 0.0 : -1.0 / 0.0;
    double s = (double)rnd(scores) - (double)(scores / 2);
    return scores > 1 && s == 0 && rnd(2) ? -0.0 : s;
}

static void put(struct zset *z, uint32_t id, double score)
{
    struct zset_member *m = zset_find(z, text_of(id));
    assert_int_equal(m != NULL, model.in[id]);
    if (m)
        assert_true(zset_rescore(z, m, score));
    else
        assert_non_null(zset_insert(z, score, text_of(id)));
    model.in[id] = true;
    model.score[id] = score;
}

static void drop(struct zset *z, uint32_t id)
{
    struct zset_member *m = zset_find(z, text_of(id));
    assert_int_equal(m != NULL, model.in[id]);
    if (m)
        zset_remove(z, m);
    model.in[id] = false;
}

static void cut(struct zset *z)
{
    model_sort();
    size_t from = rnd(model.n + 1), n = rnd(model.n - from + 1);
    if (rnd(3))
        n = n > 100 ? rnd(100) : n;
    zset_remove_ranks(z, from, n);
    for (size_t i = 0; i < n; i++)
        model.in[model.order[from + i]] = false;
}

static struct zset *start(void)
{
    memset(&model, 0, sizeof(model));
    struct zset *z = zset_create(&mem, &key);
    assert_non_null(z);
    return z;
}

static void finish(struct zset *z)
{
    assert_int_equal(zset_bytes(z), mem.used_bytes);
    zset_destroy(z);
    assert_int_equal(mem.used_bytes, 0);
}

static void random_operations(uint64_t seed, uint64_t scores)
{
    rng_state = seed;
    struct zset *z = start();
    for (uint32_t phase = 0; phase < 12; phase++) {
        uint32_t drops = (phase % 4) * 25 + 5; /* grows, shrinks */
        for (uint32_t i = 0; i < 3000; i++) {
            uint32_t id = (uint32_t)rnd(IDS);
            if (rnd(100) < drops)
                drop(z, id);
            else if (model.in[id] && rnd(2))
                put(z, id, model.score[id] + (double)rnd(3) - 1); /* a small step */
            else
                put(z, id, any_score(scores));
        }
        compare(z);
        for (uint32_t i = 0; i < 20; i++)
            compare_bounds(z, any_score(scores));
        compare_bounds(z, 1.0 / 0.0);
        compare_bounds(z, -1.0 / 0.0);
        if (rnd(2)) {
            cut(z);
            compare(z);
        }
        assert_int_equal(zset_bytes(z), mem.used_bytes);
    }
    finish(z);
}

static void test_random(void **state)
{
    static const uint64_t scores[] = {1, 2, 40, 3000, 1u << 30};
    for (size_t i = 0; i < sizeof(scores) / sizeof(scores[0]); i++)
        for (uint64_t seed = 1; seed <= 4; seed++)
            random_operations(seed * 1000 + i, scores[i]);
}

static void test_lex(void **state)
{
    rng_state = 5;
    struct zset *z = start();
    for (uint32_t i = 0; i < 3000; i++)
        put(z, (uint32_t)rnd(IDS), 7);
    compare(z);
    for (uint32_t i = 0; i < 300; i++)
        compare_lex(z, text_of((uint32_t)rnd(IDS)));
    compare_lex(z, SPAN(""));
    compare_lex(z, SPAN("\xff"));
    finish(z);
}

/* In order and against it leaves are full; at random they are four fifths full. */
static void test_fill(void **state)
{
    for (uint32_t kind = 0; kind < 3; kind++) {
        struct zset *z = start();
        size_t empty = zset_bytes(z), members = 0;
        rng_state = 3;
        for (uint32_t i = 0; i < IDS; i++) {
            put(z, i, kind == 0 ? i : kind == 1 ? -(double)i : any_score(1u << 30));
            members += mem_size_class(9 + (text_of(i).n < 255 ? 0 : 4) + text_of(i).n);
        }
        compare(z);
        /* 768 bytes for 46 members, and 9 bytes for a full slot of the index */
        size_t most = IDS * 768 / (kind < 2 ? 45 : 35) + IDS * 10 + 4096;
        assert_true(zset_bytes(z) - empty - members <= most);
        /* Taken out from the front, from the back, at random. */
        for (uint32_t i = 0; i < IDS; i++) {
            drop(z, kind == 2 ? (i * 1237) % IDS : kind ? IDS - 1 - i : i);
            if (i % 512 == 0)
                compare(z);
        }
        compare(z);
        finish(z);
    }
}

static void test_each_allocation_fails(void **state)
{
    rng_state = 9;
    struct zset *z = start();
    size_t failures = 0;
    for (uint32_t i = 0; i < 12000; i++) {
        uint32_t id = (uint32_t)rnd(IDS);
        double score = any_score(500);
        struct zset_member *m = zset_find(z, text_of(id));
        for (uint64_t n = 1;; n++) {
            size_t before = mem.used_bytes;
            mem.fail_after = n;
            bool ok = m ? zset_rescore(z, m, score) : zset_insert(z, score, text_of(id)) != NULL;
            mem.fail_after = 0;
            if (ok)
                break;
            failures++;
            assert_int_equal(zset_bytes(z), mem.used_bytes);
            assert_true(mem.used_bytes >= before || m == NULL);
            assert_int_equal(zset_find(z, text_of(id)) != NULL, model.in[id]);
        }
        model.in[id] = true;
        model.score[id] = score;
        if (i % 1000 == 0)
            compare(z);
    }
    compare(z);
    assert_true(failures > 3500);
    for (uint64_t n = 1; n < 9000; n += 97) {
        mem.fail_after = n;
        struct zset *copy = zset_copy(&mem, z);
        mem.fail_after = 0;
        zset_destroy(copy);
        assert_int_equal(zset_bytes(z), mem.used_bytes);
    }
    finish(z);
}

static void test_copy_slices_rehome(void **state)
{
    struct mem other;
    assert_int_equal(mem_init(&other), 0);
    rng_state = 11;
    struct zset *z = start();
    for (uint32_t i = 0; i < IDS; i++)
        put(z, i, any_score(100000));
    struct zset *copy = zset_copy(&other, z);
    assert_non_null(copy);
    compare(copy);
    assert_int_equal(zset_bytes(copy), other.used_bytes);
    /* the original moves over */
    mem_adopt_classes(&other, &mem, zset_bytes(z));
    zset_rehome(z, &other);
    assert_int_equal(mem.used_bytes, 0);
    put(z, 17, 3);
    drop(z, 18);
    compare(z);
    assert_int_equal(zset_bytes(z) + zset_bytes(copy), other.used_bytes);
    for (uint32_t k = 0; k < 2; k++) {
        bool done = false;
        size_t pieces = zset_pieces(k ? copy : z), work = 0, calls = 0;
        for (; !done; calls++) {
            size_t n = zset_free_slice(k ? copy : z, 100, &done);
            assert_true(n > 0 && n < 100 + 3 * ZSET_LEAF);
            work += n;
        }
        assert_true(calls > IDS / 200 && work > pieces / 2 && work < pieces * 2);
    }
    assert_int_equal(other.used_bytes, 0);
    mem_fini(&other);
}

static void test_stage(void **state)
{
    for (uint64_t fail = 0; fail < 200; fail++) {
        rng_state = 13;
        struct zset *z = start();
        bool ok = true;
        mem.fail_after = fail ? fail * 53 : 0; /* 0: never */
        for (uint32_t i = 0; ok && i < IDS; i++) {
            double score = any_score(500);
            struct zset_member *m = zset_stage(z, score, text_of(i));
            ok = m != NULL;
            if (ok && i % 3 == 0)
                zset_stage_score(m, score = -score);
            model.in[i] = true;
            model.score[i] = score;
        }
        ok = ok && zset_settle(z);
        bool fired = fail && mem.fail_after == 0;
        mem.fail_after = 0;
        assert_true(ok || fired);
        assert_int_equal(zset_bytes(z), mem.used_bytes);
        if (!fail)
            compare(z);
        zset_destroy(z);
        assert_int_equal(mem.used_bytes, 0);
    }
    struct zset *z = start();
    assert_true(zset_settle(z));
    compare(z);
    finish(z);
}

/* In order, the other way round and in none; each size of the tree's top; what is there already is told. */
static void test_stage_in_order(void **state)
{
    for (uint32_t n = 0; n < IDS; n += n < 3000 ? 1 + n / 16 : 997)
        for (int order = 0; order < 3; order++) {
            struct zset *z = start();
            bool there = false;
            if (order != 1)
                zset_reserve(z, n / 2);
            for (uint32_t i = 0; i < n; i++) {
                uint32_t id = order == 0   ? i
                              : order == 1 ? n - 1 - i
                                           : (uint32_t)((i * 7919ull) % n);
                model.in[id] |= zset_stage_new(z, n % 2 ? id : id / 3, text_of(id), &there) != NULL;
                model.score[id] = n % 2 ? id : id / 3;
                if (i % 64 == 0) {
                    assert_true(!zset_stage_new(z, 1, text_of(id), &there) && there);
                }
            }
            assert_true(zset_settle(z));
            compare(z);
            finish(z);
        }
}

/* The tree has some hundred nodes: each of them in turn finds no memory. */
static void test_settle_without_memory(void **state)
{
    bool good = false;
    uint64_t fails = 0;
    for (; !good; fails++) {
        struct zset *z = start();
        for (uint32_t i = 0; i < IDS; i++) {
            assert_non_null(zset_stage(z, i % 1000, text_of(i)));
            model.in[i] = true;
            model.score[i] = i % 1000;
        }
        mem.fail_after = fails + 1;
        good = zset_settle(z);
        mem.fail_after = 0;
        if (good)
            compare(z);
        finish(z);
    }
    assert_true(fails > 80);
}

static size_t scanned;
static void count_scanned(void *ctx, const struct zset_member *m)
{
    scanned++;
    *(double *)ctx += m->score;
}

static void test_scan(void **state)
{
    struct zset *z = start();
    double sum = 0;
    for (uint32_t i = 0; i < IDS; i++)
        put(z, i, i);
    scanned = 0;
    uint64_t cursor = 0;
    do
        cursor = zset_scan(z, cursor, count_scanned, &sum);
    while (cursor);
    assert_int_equal(scanned, IDS);
    assert_true(sum == (double)IDS * (IDS - 1) / 2);
    finish(z);
}

static int setup(void **state)
{
    return mem_init(&mem);
}
static int teardown(void **state)
{
    mem_fini(&mem);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_lex),
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_each_allocation_fails),
        cmocka_unit_test(test_copy_slices_rehome),
        cmocka_unit_test(test_stage),
        cmocka_unit_test(test_stage_in_order),
        cmocka_unit_test(test_settle_without_memory),
        cmocka_unit_test(test_scan),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
