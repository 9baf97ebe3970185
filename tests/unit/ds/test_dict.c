/* dict against a naive model: random operations by seed, scans under change, equal hashes, drain, random choice, and
 * every allocation failing once. Entries here are {id, hash}: the hash is whatever the test wants it to be. */
/* cmocka.h needs these before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
/* clang-format on */

#include "engine/ds/dict_inline.h"

#define IDS 20000

struct node {
    uint64_t hash;
    uint32_t id;
    bool in;
    uint32_t seen;
};

static struct mem mem;
static struct node *nodes;
static uint64_t rng_state;

static uint64_t rnd(void *ctx)
{
    uint64_t z = rng_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t node_hash(const void *entry, const void *ctx)
{
    return ((const struct node *)entry)->hash;
}
static bool node_equal(const void *entry, struct span key)
{
    uint32_t id;
    memcpy(&id, key.p, 4);
    return ((const struct node *)entry)->id == id;
}
static const struct dict_type type = {node_hash, node_equal, NULL};

static struct span key_of(const struct node *n)
{
    return span_of(&n->id, 4);
}

enum spread { EVEN, CLUSTERED, SAME, LOW_BITS_ONLY };

static void make_nodes(enum spread spread)
{
    for (uint32_t i = 0; i < IDS; i++) {
        uint64_t h = rnd(NULL);
        if (spread == CLUSTERED)
            h = (h & 0xffff) << 30 | 0xabc0000000000000;
        else if (spread == SAME)
            h = 0x123456789abcdef0;
        else if (spread == LOW_BITS_ONLY)
            h &= 0xffffff;
        nodes[i] = (struct node){.hash = h, .id = i};
    }
}

static int setup(void **state)
{
    assert_int_equal(mem_init(&mem), 0);
    nodes = calloc(IDS, sizeof(*nodes));
    rng_state = 42;
    return 0;
}
static int teardown(void **state)
{
    free(nodes);
    assert_int_equal(mem.used_bytes, 0);
    mem_fini(&mem);
    return 0;
}

static void insert(struct dict *d, struct node *n)
{
    assert_true(dict_insert(d, n->hash, n));
    n->in = true;
}
static void take(struct dict *d, struct node *n)
{
    assert_true(dict_remove(d, n->hash, n));
    n->in = false;
}

static void check_all(struct dict *d, uint32_t ids)
{
    size_t count = 0;
    for (uint32_t i = 0; i < ids; i++) {
        count += nodes[i].in;
        assert_ptr_equal(dict_find(d, nodes[i].hash, key_of(&nodes[i])),
                         nodes[i].in ? &nodes[i] : NULL);
    }
    assert_int_equal(dict_count(d), count);
}

static void drop(void *ctx, void *entry)
{
    ((struct node *)entry)->in = false;
    ++*(size_t *)ctx;
}

static void model_run(enum spread spread, uint32_t ids, uint32_t rounds)
{
    make_nodes(spread);
    struct dict *d = dict_create(&mem, &type);
    assert_non_null(d);
    /* Phases that mostly grow, then mostly shrink, so that splits and merges both happen a lot. */
    for (uint32_t r = 0; r < rounds; r++) {
        uint32_t grow_percent = r % 2 ? 15 : 85;
        for (uint32_t i = 0; i < ids * 3; i++) {
            struct node *n = &nodes[rnd(NULL) % ids];
            bool grow = rnd(NULL) % 100 < grow_percent;
            if (!n->in && grow)
                insert(d, n);
            else if (n->in && !grow)
                take(d, n);
            else if (!n->in)
                assert_false(dict_remove(d, n->hash, n));
        }
        check_all(d, ids);
    }
    size_t left = dict_count(d), dropped = 0, calls = 0;
    while (!dict_free_slice(d, 100, drop, &dropped)) {
        assert_int_equal(dict_count(d), left - dropped);
        assert_true(++calls < ids);
    }
    assert_int_equal(dropped, left);
}

static void model_even(void **state)
{
    model_run(EVEN, IDS, 6);
}
static void model_clustered(void **state)
{
    model_run(CLUSTERED, 5000, 4);
}
static void model_same_hash(void **state)
{
    model_run(SAME, 1200, 4);
}
static void model_low_bits(void **state)
{
    model_run(LOW_BITS_ONLY, 1200, 4);
}

static void note(void *ctx, void *entry)
{
    ((struct node *)entry)->seen++;
}

/* Whatever else comes and goes between the calls: who stays is seen, exactly once; who is never there is not. */
static void scan_run(enum spread spread, uint32_t ids, int bias)
{
    make_nodes(spread);
    struct dict *d = dict_create(&mem, &type);
    uint32_t stay = ids / 4; /* ids below it stay all the time, those from 3/4 on never come */
    for (uint32_t i = 0; i < ids * 3 / 4; i++)
        if (i < stay || bias < 0)
            insert(d, &nodes[i]);
    uint64_t cursor = 0;
    uint32_t calls = 0;
    do {
        cursor = dict_scan(d, cursor, note, NULL);
        assert_true(cursor < 1ull << 40);
        for (uint32_t k = 0; k < 40; k++) {
            struct node *n = &nodes[stay + rnd(NULL) % (ids / 2)];
            bool grow = (int)(rnd(NULL) % 100) < 50 + bias;
            if (!n->in && grow)
                insert(d, n);
            else if (n->in && !grow)
                take(d, n);
        }
        assert_true(++calls < 1000000);
    } while (cursor);
    for (uint32_t i = 0; i < ids; i++) {
        if (i < stay)
            assert_int_equal(nodes[i].seen, 1);
        if (i >= ids * 3 / 4)
            assert_int_equal(nodes[i].seen, 0);
    }
    dict_destroy(d);
}

static void scan_growing(void **state)
{
    for (int seed = 0; seed < 5; seed++)
        scan_run(EVEN, IDS, 40);
}
static void scan_shrinking(void **state)
{
    for (int seed = 0; seed < 5; seed++)
        scan_run(EVEN, IDS, -45);
}
static void scan_degenerate(void **state)
{
    scan_run(SAME, 1000, 40);
    scan_run(CLUSTERED, 4000, 40);
    scan_run(CLUSTERED, 4000, -45);
    scan_run(LOW_BITS_ONLY, 1000, -45);
}

static struct dict *scanned;
static void note_and_remove(void *ctx, void *entry)
{
    struct node *n = entry;
    n->seen++;
    if (n->id % 3)
        take(scanned, n);
}

static void scan_removing(void **state)
{
    for (enum spread spread = EVEN; spread <= LOW_BITS_ONLY; spread++) {
        uint32_t ids = spread == EVEN ? IDS : 1000;
        make_nodes(spread);
        scanned = dict_create(&mem, &type);
        for (uint32_t i = 0; i < ids; i++)
            insert(scanned, &nodes[i]);
        uint64_t cursor = 0;
        do
            cursor = dict_scan(scanned, cursor, note_and_remove, NULL);
        while (cursor);
        for (uint32_t i = 0; i < ids; i++)
            assert_int_equal(nodes[i].seen, 1);
        check_all(scanned, ids);
        dict_destroy(scanned);
    }
}

static void replace_moves(void **state)
{
    for (enum spread spread = EVEN; spread <= LOW_BITS_ONLY; spread++) {
        uint32_t ids = 1000;
        make_nodes(spread);
        struct dict *d = dict_create(&mem, &type);
        for (uint32_t i = 0; i < ids; i++)
            insert(d, &nodes[i]);
        for (uint32_t i = 0; i < ids; i++) {
            nodes[ids + i].hash = nodes[i].hash;
            nodes[ids + i].id = i;
            dict_replace(d, nodes[i].hash, &nodes[i], &nodes[ids + i]);
        }
        for (uint32_t i = 0; i < ids; i++)
            assert_ptr_equal(dict_find(d, nodes[i].hash, key_of(&nodes[i])), &nodes[ids + i]);
        dict_destroy(d);
    }
}

/* 64 draws per entry expected: a chi-square far from its mean (999, deviation 45) would show a bias. */
static void random_is_uniform(void **state)
{
    uint32_t ids = 1000;
    make_nodes(EVEN);
    struct dict *d = dict_create(&mem, &type);
    assert_null(dict_random(d, rnd, NULL));
    for (uint32_t i = 0; i < IDS; i++)
        insert(d, &nodes[i]);
    for (uint32_t i = ids; i < IDS; i++)
        take(d, &nodes[i]);
    for (uint32_t k = 0; k < ids * 64; k++)
        ((struct node *)dict_random(d, rnd, NULL))->seen++;
    double chi2 = 0;
    for (uint32_t i = 0; i < ids; i++)
        chi2 += ((double)nodes[i].seen - 64) * ((double)nodes[i].seen - 64) / 64;
    assert_true(chi2 > 999 - 5 * 45 && chi2 < 999 + 5 * 45);
    dict_destroy(d);
}

static void random_degenerate(void **state)
{
    make_nodes(SAME);
    struct dict *d = dict_create(&mem, &type);
    for (uint32_t i = 0; i < 2000; i++)
        insert(d, &nodes[i]);
    for (uint32_t k = 0; k < 40000; k++)
        ((struct node *)dict_random(d, rnd, NULL))->seen++;
    uint32_t never = 0;
    for (uint32_t i = 0; i < 2000; i++)
        never += nodes[i].seen == 0;
    assert_true(never < 4);
    dict_destroy(d);
}

/* The n-th allocation fails, for every n: an insert that says no has changed nothing. */
static void allocation_failures(void **state)
{
    for (enum spread spread = EVEN; spread <= LOW_BITS_ONLY; spread++)
        for (uint64_t n = 1; n < 120; n++) {
            uint32_t ids = 2000;
            make_nodes(spread);
            mem.fail_after = n;
            struct dict *d = dict_create(&mem, &type);
            if (!d) {
                assert_true(n <= 3);
                mem.fail_after = 0;
                assert_int_equal(mem.used_bytes, 0);
                continue;
            }
            for (uint32_t i = 0; i < ids; i++)
                nodes[i].in = dict_insert(d, nodes[i].hash, &nodes[i]);
            check_all(d, ids);
            mem.fail_after = 1 + n / 4;
            for (uint32_t i = 0; i < ids; i += 1 + (i % 7 == 0))
                if (nodes[i].in)
                    take(d, &nodes[i]);
            check_all(d, ids);
            mem.fail_after = 0;
            dict_destroy(d);
        }
}

/* A burst's look-up in steps: with the buckets behind the first an entry of its tag is found for all that are in; without
 * them it is not for some, or the test sees nothing. */
static void candidates_of_displaced_entries(void **state)
{
    make_nodes(EVEN);
    struct dict *d = dict_create(&mem, &type);
    uint32_t displaced = 0, own = 0;
    for (uint32_t i = 0; i < IDS; i++)
        insert(d, &nodes[i]);
    for (uint32_t i = 0; i < IDS; i++) {
        uint64_t hash = nodes[i].hash;
        const struct dict_bucket *b = dict_bucket_of(d, hash);
        const struct node *e = dict_candidate(b, hash);
        if (!e) {
            displaced++;
            assert_true(dict_state_reach(b) != 0);
            e = dict_candidate_displaced(d, hash);
        }
        assert_non_null(e);
        assert_int_equal(dict_tag_of(e->hash), dict_tag_of(hash));
        own += e == &nodes[i];
    }
    assert_true(displaced > IDS / 100);
    assert_true(own > IDS / 100 * 90);
    for (uint32_t i = 0; i < IDS; i++)
        take(d, &nodes[i]);
    for (uint32_t i = 0; i < IDS; i++)
        assert_null(dict_candidate_displaced(d, nodes[i].hash));
    dict_destroy(d);
}

/* No memory for long: inserts are refused in the end, and nothing breaks. */
static void out_of_memory_for_long(void **state)
{
    make_nodes(EVEN);
    struct dict *d = dict_create(&mem, &type);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 3000; i++) {
        mem.fail_after = i < 500 ? 0 : 1;
        nodes[i].in = dict_insert(d, nodes[i].hash, &nodes[i]);
        refused += !nodes[i].in;
    }
    mem.fail_after = 0;
    assert_true(refused > 1000);
    check_all(d, 3000);
    for (uint32_t i = 0; i < 3000; i++)
        if (!nodes[i].in)
            insert(d, &nodes[i]);
    check_all(d, 3000);
    dict_destroy(d);
}

/* Memory comes back as entries leave, and dict_bytes is what mem counts. */
static void shrinks(void **state)
{
    make_nodes(EVEN);
    struct dict *d = dict_create(&mem, &type);
    for (uint32_t i = 0; i < IDS; i++)
        insert(d, &nodes[i]);
    size_t full = mem.used_bytes;
    assert_int_equal(dict_bytes(d), full);
    for (uint32_t i = 0; i < IDS - 10; i++)
        take(d, &nodes[i]);
    assert_int_equal(dict_bytes(d), mem.used_bytes);
    assert_true(mem.used_bytes < 4096);
    assert_true(full < IDS * 13);
    check_all(d, IDS);
    dict_destroy(d);
}

/* Taken apart half way, then destroyed; without a function, the entries are nobody's. */
static void freed_in_slices(void **state)
{
    for (enum spread spread = EVEN; spread <= LOW_BITS_ONLY; spread++)
        for (uint32_t slices = 0; slices < 8; slices++) {
            make_nodes(spread);
            struct dict *d = dict_create(&mem, &type);
            for (uint32_t i = 0; i < 3000; i++)
                insert(d, &nodes[i]);
            size_t dropped = 0;
            for (uint32_t i = 0; i < slices; i++) {
                size_t before = dropped;
                assert_false(dict_free_slice(d, 10, i % 2 ? NULL : drop, &dropped));
                assert_true(dropped - before <= 10 + 360); /* a segment at a time */
            }
            dict_destroy(d);
            assert_int_equal(mem.used_bytes, 0);
        }
}

/* However many keys there are, one insert or removal writes a bounded number of directory words. The hash of an entry is
 * its address turned around, so that millions of them need no memory. */
static uint64_t fake_hash(const void *entry, const void *ctx)
{
    uint64_t z = (uintptr_t)entry * 0x9e3779b97f4a7c15;
    z = (z ^ z >> 32) * 0xd6e8feb86659fd93;
    return z ^ z >> 32;
}
static bool fake_equal(const void *entry, struct span key)
{
    return entry == key.p;
}
static const struct dict_type fake_type = {fake_hash, fake_equal, NULL};

static void *fake_entry(size_t i)
{
    return (void *)((i + 1) << 4);
}

static void one_step_is_bounded(void **state)
{
    /* DIR_SLICE words twice (the copy of one slice, and a second when the next copy begins), and some segments' words. */
    const uint64_t most = 2 * 1024 + 256;
#ifdef BAREWIRE_SANITIZE
    const size_t keys = 400000;
#else
    const size_t keys = 3000000;
#endif
    struct dict *d = dict_create(&mem, &fake_type);
    uint64_t worst = 0, before = 0;
    for (size_t i = 0; i < keys; i++) {
        void *e = fake_entry(i);
        assert_true(dict_insert(d, fake_hash(e, NULL), e));
        uint64_t now = dict_dir_words(d);
        worst = now - before > worst ? now - before : worst;
        before = now;
    }
    assert_in_range(worst, 1024, most); /* it did double in slices, or the test sees nothing */
    assert_true(before < keys);         /* and all in all less than a word for each key */
    for (size_t i = 0; i < keys; i++)
        assert_ptr_equal(dict_find(d, fake_hash(fake_entry(i), NULL), span_of(fake_entry(i), 1)),
                         fake_entry(i));
    worst = 0;
    for (size_t i = 0; i < keys; i++) {
        void *e = fake_entry(i);
        assert_true(dict_remove(d, fake_hash(e, NULL), e));
        uint64_t now = dict_dir_words(d);
        worst = now - before > worst ? now - before : worst;
        before = now;
        if (i % 100003 == 0)
            assert_ptr_equal(dict_find(d, fake_hash(fake_entry(keys - 1), NULL),
                                       span_of(fake_entry(keys - 1), 1)),
                             fake_entry(keys - 1));
    }
    assert_in_range(worst, 1024, most);
    assert_int_equal(dict_count(d), 0);
    assert_true(mem.used_bytes < 4096);
    dict_destroy(d);
}

/* A dict that was told how many come: it need not grow for random hashes, holds any others too, and gives all back. */
static void room_for_many(void **state)
{
    static const uint32_t room[] = {0, 100, 3000, 5000, 9000, 14000, IDS, IDS * 4};
    for (size_t i = 0; i < sizeof(room) / sizeof(room[0]); i++) {
        for (int spread = EVEN; spread <= LOW_BITS_ONLY; spread++) {
            make_nodes((enum spread)spread);
            uint32_t ids = spread == EVEN ? IDS : 2000;
            struct dict *d = dict_create(&mem, &type);
            dict_reserve(d, room[i]);
            size_t empty = dict_bytes(d);
            for (uint32_t k = 0; k < ids; k++) {
                insert(d, &nodes[k]);
                if (spread == EVEN && k < room[i] / 2 && room[i] >= 5000)
                    assert_int_equal(dict_bytes(d), empty);
            }
            dict_reserve(d, IDS * 10); /* not empty: nothing */
            check_all(d, ids);
            assert_int_equal(dict_bytes(d), mem.used_bytes);
            for (uint32_t k = 0; k < ids; k++)
                take(d, &nodes[k]);
            check_all(d, ids);
            dict_destroy(d);
            assert_int_equal(mem.used_bytes, 0);
        }
    }
}

/* Every allocation of it fails once: it stays small, and good. */
static void no_memory_for_room(void **state)
{
    make_nodes(EVEN);
    for (uint64_t n = 1;; n++) {
        struct dict *d = dict_create(&mem, &type);
        size_t bytes = dict_bytes(d);
        mem.fail_after = n;
        dict_reserve(d, IDS);
        bool failed = dict_bytes(d) == bytes;
        mem.fail_after = 0;
        assert_int_equal(dict_bytes(d), mem.used_bytes);
        for (uint32_t k = 0; k < 1000; k++)
            insert(d, &nodes[k]);
        check_all(d, 1000);
        for (uint32_t k = 0; k < 1000; k++)
            take(d, &nodes[k]);
        dict_destroy(d);
        if (!failed)
            break;
        assert_true(n < 10000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(model_even, setup, teardown),
        cmocka_unit_test_setup_teardown(model_clustered, setup, teardown),
        cmocka_unit_test_setup_teardown(model_same_hash, setup, teardown),
        cmocka_unit_test_setup_teardown(model_low_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(scan_growing, setup, teardown),
        cmocka_unit_test_setup_teardown(scan_shrinking, setup, teardown),
        cmocka_unit_test_setup_teardown(scan_degenerate, setup, teardown),
        cmocka_unit_test_setup_teardown(scan_removing, setup, teardown),
        cmocka_unit_test_setup_teardown(replace_moves, setup, teardown),
        cmocka_unit_test_setup_teardown(random_is_uniform, setup, teardown),
        cmocka_unit_test_setup_teardown(random_degenerate, setup, teardown),
        cmocka_unit_test_setup_teardown(allocation_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(out_of_memory_for_long, setup, teardown),
        cmocka_unit_test_setup_teardown(candidates_of_displaced_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(shrinks, setup, teardown),
        cmocka_unit_test_setup_teardown(freed_in_slices, setup, teardown),
        cmocka_unit_test_setup_teardown(one_step_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(room_for_many, setup, teardown),
        cmocka_unit_test_setup_teardown(no_memory_for_room, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
