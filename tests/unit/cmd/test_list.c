/* Lists: changes of form that no reply shows, events, moves over shards, large ones freed in slices, and every allocation failing. The edge
 * cases of every reply are compared with redis-server itself by tests/compat. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/ds/quicklist.h"
#include "engine/shard/object.h"
#include "tests/unit/cmd/memory_script.h"
#include "tests/unit/unit.h"

#define B10    "bbbbbbbbbb"
#define B100   B10 B10 B10 B10 B10 B10 B10 B10 B10 B10
#define B1000  B100 B100 B100 B100 B100 B100 B100 B100 B100 B100
#define B10000 B1000 B1000 B1000 B1000 B1000 B1000 B1000 B1000 B1000 B1000

static int setup(void **state, uint32_t shards)
{
    static struct harness h;
    harness_init(&h, shards);
    *state = &h;
    return 0;
}
static int setup_one(void **state)
{
    return setup(state, 1);
}
static int setup_three(void **state)
{
    return setup(state, 3);
}
static int teardown(void **state)
{
    harness_run(*state, "FLUSHALL SYNC");
    harness_fini(*state);
    return 0;
}

static struct entry *entry_of(struct harness *h, const char *key)
{
    struct shard *s = &h->shards[shard_of_key(span_str(key), h->count)];
    return ks_peek(s, 0, span_str(key), shard_hash(s, span_str(key)));
}

static void grow(struct harness *h, const char *key, int n)
{
    char line[200];
    for (int i = 0; i < n; i++) {
        snprintf(line, sizeof(line), "RPUSH %s element:%d", key, i);
        harness_run(h, line);
    }
}

/* ---- forms ---- */

static void test_a_small_list_is_a_listpack(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "RPUSH k a b c", ":3\r\n");
    assert_int_equal(entry_enc(entry_of(h, "k")), ENC_LISTPACK);
    assert_int_equal(object_block(entry_of(h, "k")).cap, mem_size_class(7 + 9));
    EXPECT(h, "OBJECT ENCODING k", "$9\r\nquicklist\r\n");
    grow(h, "k", 200);
    assert_int_equal(entry_enc(entry_of(h, "k")), ENC_QUICKLIST);
    EXPECT(h, "OBJECT ENCODING k", "$9\r\nquicklist\r\n");
    EXPECT(h, "LLEN k", ":203\r\n");
    EXPECT(h, "LTRIM k 1 3", "+OK\r\n");
    assert_int_equal(entry_enc(entry_of(h, "k")), ENC_LISTPACK);
    EXPECT(h, "LRANGE k 0 -1", "*3\r\n$1\r\nb\r\n$1\r\nc\r\n$9\r\nelement:0\r\n");
    EXPECT(h, "LSET k 0 " B1000 B100, "+OK\r\n");
    assert_int_equal(entry_enc(entry_of(h, "k")), ENC_QUICKLIST);
    EXPECT(h, "LPOP k 1", "*1\r\n$1100\r\n" B1000 B100 "\r\n");
    assert_int_equal(entry_enc(entry_of(h, "k")), ENC_LISTPACK);
    EXPECT(h, "LINSERT k AFTER c " B10000, ":3\r\n");
    assert_int_equal(entry_enc(entry_of(h, "k")), ENC_QUICKLIST);
    EXPECT(h, "LINDEX k 1", "$10000\r\n" B10000 "\r\n");
    EXPECT(h, "LREM k 0 " B10000, ":1\r\n");
    assert_int_equal(entry_enc(entry_of(h, "k")), ENC_LISTPACK);
    EXPECT(h, "LRANGE k 0 -1", "*2\r\n$1\r\nc\r\n$9\r\nelement:0\r\n");
}

/* A positive list-max-listpack-size counts elements, of small lists too. */
static void test_the_fill_counts_elements(void **state)
{
    struct harness *h = *state;
    h->config.list_max_listpack_size = 3;
    EXPECT(h, "RPUSH k a b c", ":3\r\n");
    assert_int_equal(entry_enc(entry_of(h, "k")), ENC_LISTPACK);
    EXPECT(h, "LINSERT k BEFORE b x", ":4\r\n");
    assert_int_equal(entry_enc(entry_of(h, "k")), ENC_QUICKLIST);
    const struct quicklist *q = object_ptr(entry_of(h, "k"));
    assert_int_equal(q->n, 2);
    EXPECT(h, "RPUSH k d e f g h i", ":10\r\n");
    assert_int_equal(q->n, 4);
    EXPECT(h, "LRANGE k 3 6", "*4\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n");
}

static void test_the_account_is_exact(void **state)
{
    struct harness *h = *state;
    size_t base = h->shards[0].mem.used_bytes;
    grow(h, "k", 5000);
    harness_run(h, "LPUSH k " B10000);
    for (int i = 0; i < 3; i++) {
        struct entry *e = entry_of(h, "k");
        struct quicklist *q = object_ptr(e);
        assert_int_equal(entry_bytes(e), entry_alloc_bytes_of(e) + q->bytes);
        harness_run(h, i ? "LREM k 0 element:77" : "LTRIM k 100 -100");
    }
    EXPECT(h, "DEL k", ":1\r\n");
    while (shard_tick(&h->shards[0], 1000))
        ;
    /* what stays is the dict */
    assert_true(h->shards[0].mem.used_bytes <= base + 8192);
}

/* ---- freeing ---- */

static void test_large_lists_leave_in_slices(void **state)
{
    struct harness *h = *state;
    struct shard *s = &h->shards[0];
    static const char *const drops[] = {"DEL k",         "UNLINK k",     "SET k v",
                                        "LTRIM k -3 -1", "LPOP k 59990", "RENAME other k"};
    for (size_t i = 0; i < sizeof(drops) / sizeof(drops[0]); i++) {
        grow(h, "k", 60000);
        harness_run(h, "RPUSH other a");
        size_t full = s->mem.used_bytes;
        harness_run(h, drops[i]);
        assert_int_equal(h->errors, 0);
        assert_true(s->lazy_pending > 0);
        assert_true(s->mem.used_bytes > full / 2);
        while (s->lazy_pending)
            shard_tick(s, 10);
        assert_true(s->mem.used_bytes < full / 2);
        harness_run(h, "DEL k other");
    }
}

/* ---- events ---- */

static char events[1000];

static void note(void *ctx, struct shard *s, uint32_t db, struct span key, enum ks_class cls,
                 const char *event)
{
    size_t n = strlen(events);
    snprintf(events + n, sizeof(events) - n, "%s%.*s:%s%s", n ? " " : "", (int)key.n,
             (const char *)key.p, event,
             cls == KS_LIST      ? ""
             : cls == KS_GENERIC ? "!"
                                 : "?");
}

static void expect_events(struct harness *h, const char *line, const char *want)
{
    events[0] = 0;
    harness_run(h, line);
    assert_string_equal(events, want);
}

static void test_events(void **state)
{
    struct harness *h = *state;
    for (uint32_t i = 0; i < h->count; i++)
        shard_hook(&h->shards[i], note, NULL);
    expect_events(h, "LPUSH a 1 2 3", "a:lpush");
    expect_events(h, "RPUSH a 4", "a:rpush");
    expect_events(h, "RPUSHX none 4", "");
    expect_events(h, "LPOP a", "a:lpop");
    expect_events(h, "RPOP a 0", "");
    expect_events(h, "LSET a 0 x", "a:lset");
    expect_events(h, "LINSERT a AFTER x y", "a:linsert");
    expect_events(h, "LINSERT a AFTER none y", "");
    expect_events(h, "LREM a 0 none", "");
    expect_events(h, "LREM a 0 y", "a:lrem");
    expect_events(h, "LTRIM a 0 -1", "a:ltrim");
    expect_events(h, "LMOVE a b LEFT RIGHT", "b:rpush a:lpop");
    expect_events(h, "RPOPLPUSH b b", "b:lpush b:rpop");
    expect_events(h, "RPOPLPUSH b c", "c:lpush b:rpop b:del!");
    expect_events(h, "LMPOP 2 b a LEFT COUNT 9", "a:lpop a:del!");
    expect_events(h, "LPOP c 5", "c:lpop c:del!");
    expect_events(h, "LRANGE c 0 -1", "");
    for (uint32_t i = 0; i < h->count; i++)
        shard_hook(&h->shards[i], NULL, NULL);
}

/* ---- several shards ---- */

static void test_moves_over_shards(void **state)
{
    struct harness *h = *state;
    char line[100], want[100];
    for (int i = 0; i < 20; i++) {
        snprintf(line, sizeof(line), "RPUSH from:%d %d x", i, i);
        EXPECT(h, line, ":2\r\n");
        snprintf(line, sizeof(line), "LMOVE from:%d to LEFT RIGHT", i);
        harness_run(h, line);
        snprintf(line, sizeof(line), "COPY to copy:%d", i);
        EXPECT(h, line, ":1\r\n");
        snprintf(line, sizeof(line), "RENAME copy:%d other:%d", i, i + 1);
        EXPECT(h, line, "+OK\r\n");
        snprintf(line, sizeof(line), "LLEN other:%d", i + 1);
        snprintf(want, sizeof(want), ":%d\r\n", i + 1);
        harness_expect(h, line, span_str(want), __FILE__, __LINE__);
        snprintf(line, sizeof(line), "LMPOP 3 none from:%d to RIGHT COUNT 2", i);
        snprintf(want, sizeof(want), "*2\r\n$%d\r\nfrom:%d\r\n*1\r\n$1\r\nx\r\n", i < 10 ? 6 : 7,
                 i);
        harness_expect(h, line, span_str(want), __FILE__, __LINE__);
    }
    EXPECT(h, "LLEN to", ":20\r\n");
    EXPECT(h, "LRANGE to 0 2", "*3\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n");
}

/* A quicklist that was renamed to another shard allocates and frees there. */
static void test_a_large_list_changes_shards(void **state)
{
    struct harness *h = *state;
    char line[100];
    grow(h, "k", 3000);
    for (int i = 0; i < 10; i++) {
        snprintf(line, sizeof(line), "RENAME %s%d k%d", "k", i, i + 1);
        EXPECT(h, i ? line : "RENAME k k1", "+OK\r\n");
        snprintf(line, sizeof(line), "k%d", i + 1);
        grow(h, line, 100);
    }
    EXPECT(h, "LLEN k10", ":4000\r\n");
    EXPECT(h, "LTRIM k10 10 20", "+OK\r\n");
    EXPECT(h, "LPOP k10 1", "*1\r\n$10\r\nelement:10\r\n");
}

/* ---- memory ---- */

#define E25  "eeeeeeeeeeeeeeeeeeeeeeee1 "
#define MANY E25 E25 E25 E25 E25 E25 E25 E25 E25 E25 E25 E25 E25 E25 E25 E25 E25 E25 E25 E25

static const char *const prepared[] = {
    "RPUSH small a b c 1 2 3",
    "RPUSH full " B1000 " a",
    "RPUSH quick x " MANY MANY MANY "y",
    "RPUSH long x " MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY
    "middle",
    "RPUSH long " MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY
    "y",
    "RPUSH plain a " B10000 " b",
    "RPUSH ttl a",
    "EXPIRE ttl 100",
    "SET text v",
    NULL};
static const char *const keys[] = {"small", "full", "quick", "long", "plain",
                                   "ttl",   "text", "new",   NULL};
static const char *const lines[] = {
    "LPUSH new a",
    "RPUSH new a b c d " B100 B100 " e",
    "RPUSH new " B10000,
    "RPUSH new a " B10000 " b " B1000,
    "RPUSH small 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
    "LPUSH small " B100 " a " B1000 " b " B10000,
    "LPUSHX full a b c d e f g h i j",
    "RPUSH full " B100,
    "LPUSH quick a " B10000 " b",
    "RPUSH long " MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY
        MANY,
    "LPUSH long " MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY MANY
        MANY,
    "LPUSH plain a",
    "RPUSHX plain " B10000,
    "LPUSH ttl " B10000,
    "LPUSH text a",
    "LPOP small",
    "RPOP small 3",
    "LPOP small 6",
    "LPOP long 200",
    "LPOP long 100000",
    "RPOP plain 2",
    "LSET small 0 " B100,
    "LSET small 0 " B1000 B100,
    "LSET full 1 " B100,
    "LSET quick 3 " B1000,
    "LSET long 100 " B1000 B1000,
    "LSET long 100 " B10000,
    "LSET plain 1 a",
    "LSET plain 0 " B10000,
    "LINSERT small BEFORE b " B10,
    "LINSERT small AFTER b " B1000,
    "LINSERT full AFTER a " B100,
    "LINSERT long BEFORE middle " B1000,
    "LINSERT long AFTER middle " B10000,
    "LINSERT plain BEFORE b " B10000,
    "LINSERT plain AFTER a x",
    "LTRIM small 1 2",
    "LTRIM long 100 -100",
    "LTRIM long 3 5",
    "LTRIM plain 1 1",
    "LREM small 0 a",
    "LREM long 0 eeeeeeeeeeeeeeeeeeeeeeee1",
    "LREM long -100 eeeeeeeeeeeeeeeeeeeeeeee1",
    "LREM plain 1 " B10000,
    "LRANGE long 0 -1",
    "LPOS long eeeeeeeeeeeeeeeeeeeeeeee1 COUNT 0",
    "LINDEX long 200",
    "LMOVE small new LEFT LEFT",
    "LMOVE ttl new LEFT LEFT",
    "LMOVE small full LEFT RIGHT",
    "LMOVE full full LEFT RIGHT",
    "LMOVE plain new LEFT LEFT",
    "LMOVE plain plain LEFT RIGHT",
    "LMOVE long long RIGHT LEFT",
    "RPOPLPUSH quick plain",
    "LMPOP 2 new long LEFT COUNT 300",
    "COPY long new",
    "COPY plain new",
    "COPY small new",
    "COPY plain long REPLACE",
    "RENAME long new",
    "RENAME small long",
    "MOVE quick 1",
    "SET long v",
    "DEL long plain",
    "EXPIRE long 10",
    NULL};

static bool partial(const char *line)
{
    return strncmp(line, "DEL", 3) == 0;
}

static void test_each_allocation_fails(void **state)
{
    const struct memory_script m = {prepared, keys, lines, partial, NULL};
    size_t one = memory_script_run(&m, 1), three = memory_script_run(&m, 3);
    print_message("%zu and %zu failed allocations\n", one, three);
    assert_true(one > 60 && three > 60);
}

static void compress(struct engine_config *c)
{
    c->list_compress_depth = 1;
    c->list_max_listpack_size = 20;
}

static void test_each_allocation_fails_of_compressed_lists(void **state)
{
    const struct memory_script m = {prepared, keys, lines, partial, compress};
    size_t one = memory_script_run(&m, 1), three = memory_script_run(&m, 3);
    print_message("%zu and %zu failed allocations\n", one, three);
    assert_true(one > 300 && three > 300);
}

/* ---- compressed ---- */

static uint32_t compressed_of(struct harness *h, const char *key)
{
    struct ql_view w = ql_view(object_ptr(entry_of(h, key)));
    uint32_t n = 0;
    for (uint32_t i = 0; i < w.n; i++)
        n += w.v[i].lzf;
    return n;
}

/* What only reads leaves each block as it is, and DUMP carries them. */
static void test_compressed_lists_are_read(void **state)
{
    struct harness *h = *state;
    h->config.list_max_listpack_size = 50;
    grow(h, "open", 3000);
    h->config.list_compress_depth = 2;
    grow(h, "k", 3000);
    size_t open = ((struct quicklist *)object_ptr(entry_of(h, "open")))->bytes;
    struct quicklist *q = object_ptr(entry_of(h, "k"));
    assert_int_equal(compressed_of(h, "open"), 0);
    assert_int_equal(compressed_of(h, "k"), q->n - 4);
    assert_true(q->bytes < open * 2 / 3);
    EXPECT(h, "LINDEX k 1500", "$12\r\nelement:1500\r\n");
    EXPECT(h, "LPOS k element:2000", ":2000\r\n");
    EXPECT(h, "SORT k BY none LIMIT 700 1", "*1\r\n$11\r\nelement:700\r\n");
    EXPECT(h, "SORT k ALPHA DESC LIMIT 0 2", "*2\r\n$11\r\nelement:999\r\n$11\r\nelement:998\r\n");
    static const char *const same[] = {"LRANGE %s 0 -1", "SORT %s ALPHA", "SORT %s BY none DESC",
                                       "LRANGE %s 77 -77"};
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        char line[100], *want;
        snprintf(line, sizeof(line), same[i], "open");
        want = strdup(harness_run(h, line));
        snprintf(line, sizeof(line), same[i], "k");
        assert_string_equal(harness_run(h, line), want);
        free(want);
    }
    assert_int_equal(compressed_of(h, "k"), q->n - 4);
    struct span dump = harness_runv(h, (struct span[]){SPAN("DUMP"), SPAN("k")}, 2);
    size_t head = (size_t)((const uint8_t *)memchr(dump.p, '\n', dump.n) + 1 - dump.p);
    size_t n = dump.n - head - 2;
    uint8_t *copy = malloc(n);
    memcpy(copy, dump.p + head, n);
    struct span restore[] = {SPAN("RESTORE"), SPAN("other"), SPAN("0"), span_of(copy, n)};
    harness_runv(h, restore, 4);
    free(copy);
    assert_int_equal(h->errors, 0);
    assert_true(compressed_of(h, "other") > 50);
    char *want = strdup(harness_run(h, "LRANGE open 0 -1"));
    assert_string_equal(harness_run(h, "LRANGE other 0 -1"), want);
    free(want);
}

/* It once freed a million blocks at once. */
static void test_what_lrem_empties_is_freed_in_slices(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 300; i++)
        harness_run(h, "RPUSH k " B10000 " " B10000);
    harness_run(h, "RPUSH k a");
    EXPECT(h, "LREM k 0 " B10000, ":600\r\n");
    assert_true(h->shards[0].lazy_pending > 0);
    EXPECT(h, "LRANGE k 0 -1", "*1\r\n$1\r\na\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_small_list_is_a_listpack, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_the_fill_counts_elements, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_the_account_is_exact, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_large_lists_leave_in_slices, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup_three, teardown),
        cmocka_unit_test_setup_teardown(test_moves_over_shards, setup_three, teardown),
        cmocka_unit_test_setup_teardown(test_a_large_list_changes_shards, setup_three, teardown),
        cmocka_unit_test(test_each_allocation_fails),
        cmocka_unit_test(test_each_allocation_fails_of_compressed_lists),
        cmocka_unit_test_setup_teardown(test_compressed_lists_are_read, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_what_lrem_empties_is_freed_in_slices, setup_one,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
