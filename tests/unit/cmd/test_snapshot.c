/* Snapshots of a shard that goes on being changed: whatever commands run between two slices, the bytes are those of the moment of the cut. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/cmd/rdb_object.h"
#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

#define KEYS 400

static uint64_t seed;
static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((seed >> 33) % n);
}

/* ---- the state of a server as a table: database, key -> type and value, expiry ---- */

struct row {
    uint32_t db;
    int64_t expire_ms;
    size_t key_n, value_n;
    uint8_t *bytes; /* key, then type and value */
    bool met;
};
struct table {
    struct row *v;
    size_t n, cap;
};

static void table_add(struct table *t, uint32_t db, int64_t expire_ms, struct span key,
                      struct span type_value)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 256;
        t->v = realloc(t->v, t->cap * sizeof(*t->v));
    }
    struct row r = {db, expire_ms, key.n, type_value.n, malloc(key.n + type_value.n + 1), false};
    memcpy(r.bytes, key.p, key.n);
    memcpy(r.bytes + key.n, type_value.p, type_value.n);
    t->v[t->n++] = r;
}

static void table_free(struct table *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->v[i].bytes);
    free(t->v);
    *t = (struct table){0};
}

static struct row *table_find(struct table *t, uint32_t db, struct span key)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->v[i].db == db && t->v[i].key_n == key.n && !memcmp(t->v[i].bytes, key.p, key.n))
            return &t->v[i];
    return NULL;
}

struct taking {
    struct table *t;
    struct shard *s;
    uint32_t db;
};

static void take_entry(void *ctx, void *entry)
{
    struct taking *x = ctx;
    struct rdb_writer w;
    rdb_writer_init(&w, &x->s->mem, true);
    w.parts = true;
    rdb_save_object(&w, entry);
    assert_false(w.failed);
    table_add(x->t, x->db, entry_expire_fast(entry), entry_key_fast(entry),
              span_of(w.out.p, w.out.len));
    rdb_writer_free(&w);
}

static void take_table(struct harness *h, struct table *t)
{
    for (uint32_t i = 0; i < h->count; i++)
        for (uint32_t db = 0; db < LIMIT_DATABASES; db++) {
            struct taking x = {t, &h->shards[i], db};
            struct dict *keys = h->shards[i].db[db].keys;
            uint64_t cursor = 0;
            if (keys)
                do
                    cursor = dict_scan(keys, cursor, take_entry, &x);
                while (cursor);
        }
}

/* ---- a snapshot of all shards, its bytes as a file ---- */

struct shooting {
    struct harness *h;
    uint8_t *file;
    size_t n, cap;
    uint64_t keys[LIMIT_DATABASES];
    bool in_value[HARNESS_SHARDS];
};

static void append(struct shooting *x, struct span b)
{
    if (x->n + b.n > x->cap) {
        x->cap = (x->n + b.n) * 2;
        x->file = realloc(x->file, x->cap);
    }
    memcpy(x->file + x->n, b.p, b.n);
    x->n += b.n;
}

static void cut(struct shooting *x, struct harness *h)
{
    *x = (struct shooting){.h = h};
    struct rdb_writer w;
    struct mem mem;
    assert_int_equal(mem_init(&mem), 0);
    rdb_writer_init(&w, &mem, true);
    rdb_put_header(&w, &(struct rdb_file_facts){.version = RDB_VERSION_READ, .now_s = 1});
    append(x, span_of(w.out.p, w.out.len));
    rdb_writer_free(&w);
    mem_fini(&mem);
    for (uint32_t i = 0; i < h->count; i++) {
        struct snapshot_facts f;
        assert_int_equal(snapshot_begin(&h->shards[i], &rdb_snapshot_ops, true, &f), 0);
        assert_int_equal(snapshot_begin(&h->shards[i], &rdb_snapshot_ops, true, &f), -EBUSY);
        for (uint32_t db = 0; db < LIMIT_DATABASES; db++)
            x->keys[db] += f.keys[db];
    }
}

/* What waits of shard i, all of it: another shard's bytes may stand between whole keys only. */
static void send(struct shooting *x, uint32_t i)
{
    struct shard *s = &x->h->shards[i];
    bool whole;
    for (uint32_t k = 0; k < x->h->count; k++)
        if (k != i && x->in_value[k])
            return;
    for (;;) {
        struct span b = snapshot_output(s, &whole);
        if (!b.n)
            return;
        append(x, b);
        x->in_value[i] = !whole;
        snapshot_sent(s, b.n);
    }
}

static bool step(struct shooting *x)
{
    bool going = false;
    for (uint32_t i = 0; i < x->h->count; i++) {
        struct shard *s = &x->h->shards[i];
        if (!s->snapshot)
            continue;
        snapshot_step(s);
        if (draw(3) == 0)
            send(x, i);
        if (snapshot_done(s)) {
            assert_false(snapshot_failed(s));
            snapshot_end(s);
        }
        going |= s->snapshot != NULL;
    }
    return going;
}

static void finish(struct shooting *x)
{
    while (step(x))
        ;
    const uint8_t end = RDB_OP_END;
    append(x, span_of(&end, 1));
    uint64_t crc = crc64(0, x->file, x->n);
    append(x, span_of((uint8_t *)&crc, 8));
}

/* The file holds the rows of the table, each once, and nothing else. */
static void compare(struct shooting *x, struct table *t)
{
    struct rdb_file f;
    struct rdb_item item;
    size_t at = 0, keys = 0;
    enum rdb_file_status st;
    struct mem mem;
    assert_int_equal(mem_init(&mem), 0);
    rdb_file_init(&f, x->n, true);
    while ((st = rdb_file_next(&f, x->file + at, x->n - at, &item)) == RDB_FILE_ITEM) {
        at += item.bytes;
        if (item.kind != RDB_ITEM_KEY)
            continue;
        struct rdb_reader r;
        struct rdb_text key;
        assert_true(rdb_body_key(&r, item.body, &mem, &key));
        struct row *row = table_find(t, f.db, key.s);
        if (!row || row->met)
            fail_msg("%s: %u %.*s", row ? "twice" : "not there at the cut", f.db, (int)key.s.n,
                     (const char *)key.s.p);
        row->met = true;
        keys++;
        assert_int_equal(row->expire_ms, item.expire_ms);
        const uint8_t *want = row->bytes + row->key_n;
        if (row->value_n != item.value.n + 1 || want[0] != item.type ||
            memcmp(want + 1, item.value.p, item.value.n) != 0)
            fail_msg("another value: %u %.*s of type %u", f.db, (int)key.s.n, (const char *)key.s.p,
                     item.type);
        rdb_text_free(&r, &key);
    }
    if (st != RDB_FILE_END)
        fail_msg("status %d: %s", st, f.error);
    mem_fini(&mem);
    assert_int_equal(keys, t->n);
}

/* ---- commands ---- */

/* %k a key, %n a number, %d a database. */
static const char *const changes[] = {
    "SET %k %n",
    "SET %k %n PX 50",
    "SET %k aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%n",
    "SETRANGE %k 5 xyz",
    "APPEND %k abc",
    "INCR %k",
    "INCRBYFLOAT %k 1.5",
    "GETSET %k new",
    "GETDEL %k",
    "GETEX %k PX 60",
    "GETEX %k PERSIST",
    "SETBIT %k 70 1",
    "BITFIELD %k INCRBY u8 0 1",
    "PFADD %k a%n b%n",
    "PFCOUNT %k",
    "PFMERGE %k %k",
    "BITOP OR %k %k %k",
    "SETEX %k 1 v",
    "MSET %k 1 %k 2",
    "MSETNX %k 1 %k 2",
    "RPUSH %k a%n b c",
    "LPUSH %k z%n",
    "LPOP %k",
    "RPOPLPUSH %k %k",
    "LSET %k 0 set",
    "LINSERT %k BEFORE b x",
    "LTRIM %k 0 3",
    "LREM %k 0 a",
    "LMOVE %k %k LEFT RIGHT",
    "SADD %k 1 2 %n",
    "SADD %k m%n",
    "SREM %k 1",
    "SPOP %k",
    "SMOVE %k %k 2",
    "SUNIONSTORE %k %k %k",
    "SDIFFSTORE %k %k %k",
    "ZADD %k %n m%n",
    "ZINCRBY %k 1 m1",
    "ZREM %k m1",
    "ZPOPMIN %k",
    "ZRANGESTORE %k %k 0 3",
    "ZUNIONSTORE %k 2 %k %k",
    "ZREMRANGEBYRANK %k 0 0",
    "HSET %k f%n v",
    "HINCRBY %k n 1",
    "HDEL %k f1",
    "HSETNX %k g v",
    "HPEXPIRE %k 20 FIELDS 1 n",
    "HGET %k f1",
    "HGETALL %k",
    "HPERSIST %k FIELDS 1 f1",
    "HGETEX %k PX 30 FIELDS 1 f2",
    "XADD %k * f %n",
    "XADD %k MAXLEN 3 * f %n",
    "XTRIM %k MAXLEN 2",
    "XDEL %k 1-1",
    "XGROUP CREATE %k g $ MKSTREAM",
    "XREADGROUP GROUP g c COUNT 1 STREAMS %k >",
    "XAUTOCLAIM %k g d 0 0",
    "XACK %k g 1-1",
    "XGROUP CREATECONSUMER %k g e",
    "XREADGROUP GROUP g f STREAMS %k 0",
    "XGROUP SETID %k g 0",
    "XCLAIM %k g h 0 1-1 FORCE",
    "DEL %k",
    "UNLINK %k %k",
    "RENAME %k %k",
    "RENAMENX %k %k",
    "COPY %k %k REPLACE",
    "COPY %k %k DB %d REPLACE",
    "MOVE %k %d",
    "EXPIRE %k 1",
    "PEXPIRE %k 40",
    "PERSIST %k",
    "PEXPIREAT %k 1",
    "SORT %k ALPHA STORE %k",
    "GEOADD %k 13.3 38.1 p",
    "GEOSEARCHSTORE %k %k FROMLONLAT 13 38 BYRADIUS 900 km",
    "GET %k",
    "TYPE %k",
    "OBJECT ENCODING %k",
    "TOUCH %k",
    "RANDOMKEY",
    "SCAN 0",
    "EXISTS %k",
};
static const char *const rare[] = {"FLUSHDB", "SWAPDB %d %d", "SWAPDB 0 %d", "FLUSHALL",
                                   "FLUSHDB ASYNC"};

static void run_template(struct harness *h, const char *t)
{
    char line[256];
    size_t n = 0;
    for (; *t; t++) {
        if (*t != '%')
            line[n++] = *t;
        else if (*++t == 'k')
            n += (size_t)sprintf(line + n, "key:%u", draw(KEYS));
        else
            n += (size_t)sprintf(line + n, "%u", *t == 'd' ? draw(4) : draw(1000));
    }
    line[n] = 0;
    harness_run(h, line);
}

/* A request that waits asks for its value, whether it then changes it or not. */
static void want_one(struct harness *h)
{
    char key[16];
    int n = sprintf(key, "key:%u", draw(2) ? draw(KEYS) : draw(7));
    struct span k = span_of(key, (size_t)n);
    struct shard *s = &h->shards[shard_of_key(k, h->count)];
    if (s->snapshot)
        snapshot_wants_key(s, draw(4), k, shard_hash(s, k), true);
}

static void change(struct harness *h, bool with_rare)
{
    if (draw(40) == 0)
        run_template(h, draw(2) ? "SELECT %d" : "SELECT 0");
    if (with_rare && draw(h->shards[0].snapshot ? 20 : 400) == 0)
        run_template(h, rare[draw(ARRAY_LEN(rare))]);
    run_template(h, changes[draw(ARRAY_LEN(changes))]);
    if (draw(6) == 0)
        want_one(h);
    if (draw(20) == 0)
        harness_advance_ms(h, draw(15));
    if (draw(4) == 0)
        shard_tick(&h->shards[draw(h->count)], 20);
}

/* Large values of every kind, so that they are written in parts, and are caught by changes in the middle. */
static void add_large(struct harness *h)
{
    char line[200];
    harness_run(h, "SELECT 0");
    for (int i = 0; i < 3000; i++) {
        sprintf(line,
                "RPUSH key:0 "
                "element-%d-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
                i);
        harness_run(h, line);
        sprintf(line, "SADD key:1 member-%d", i);
        harness_run(h, line);
        sprintf(line, "ZADD key:2 %d member-%d", i * 7 % 1000, i);
        harness_run(h, line);
        sprintf(line, "HSET key:3 field-%d value-%d", i, i);
        harness_run(h, line);
        sprintf(line, "XADD key:4 %d-1 field value-%d", i + 1, i);
        harness_run(h, line);
        sprintf(line, "HSET key:5 field-%d value-%d", i, i);
        harness_run(h, line);
    }
    harness_run(h, "HPEXPIRE key:5 100000 FIELDS 3 field-1 field-2 field-3");
    harness_run(h, "SETRANGE key:6 1500000 x");
    harness_run(h, "XGROUP CREATE key:4 g 0");
    harness_run(h, "XREADGROUP GROUP g c COUNT 100 STREAMS key:4 >");
}

static void one_run(uint32_t shards, uint64_t run, bool large, bool with_rare,
                    uint32_t changes_per_step)
{
    struct harness h;
    struct table t = {0};
    struct shooting x;
    seed = run * 7919 + shards;
    harness_init(&h, shards);
    h.config.maxmemory_policy = POLICY_NOEVICTION;
    if (large)
        add_large(&h);
    for (int i = 0; i < 3000; i++)
        change(&h, with_rare);
    take_table(&h, &t);
    cut(&x, &h);
    do
        for (uint32_t i = draw(changes_per_step + 1); i; i--)
            change(&h, with_rare);
    while (step(&x));
    finish(&x);
    compare(&x, &t);
    for (uint32_t i = 0; i < h.count; i++)
        assert_null(h.shards[i].snapshot);
    free(x.file);
    table_free(&t);
    harness_fini(&h);
}

static void test_the_file_is_the_state_of_the_cut(void **state)
{
    (void)state;
    for (uint64_t run = 1; run <= 60; run++)
        one_run(1 + run % 3, run, false, run % 2, 1 + run % 5);
}

static void test_large_values_in_parts(void **state)
{
    (void)state;
    for (uint64_t run = 1; run <= 8; run++)
        one_run(1 + run % 2, 1000 + run, true, run % 4 == 0, run % 3 ? 1 : 4);
}

/* Given up in the middle: no entry keeps a mark, and the next one is whole. */
static void test_given_up_and_taken_again(void **state)
{
    struct harness h;
    struct shooting x;
    struct table t = {0};
    (void)state;
    seed = 77;
    harness_init(&h, 1);
    add_large(&h);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 300; i++)
            change(&h, round % 3 == 0);
        cut(&x, &h);
        for (uint32_t i = draw(60); i && step(&x); i--)
            change(&h, true);
        if (h.shards[0].snapshot)
            snapshot_give_up(&h.shards[0]);
        while (h.shards[0].snapshot && step(&x))
            change(&h, true);
        free(x.file);
    }
    take_table(&h, &t);
    cut(&x, &h);
    finish(&x);
    compare(&x, &t);
    free(x.file);
    table_free(&t);
    /* and one that is in the middle when the shard ends */
    cut(&x, &h);
    for (int i = 0; i < 20; i++)
        step(&x);
    free(x.file);
    harness_fini(&h);
}

/* ---- nothing takes long ---- */

#define ELEMENTS 50000
#define STEP_BYTES \
    (40u << 10) /* a step writes no more: a key of a place or two, or a part of a large value */

static const struct {
    const char *add, *change;
} large[] = {
    {"RPUSH large:0 element-%d", "LPUSH large:0 x"},
    {"SADD large:1 member-%d", "SREM large:1 member-7"},
    {"ZADD large:2 %d member", "ZADD large:2 1.5 x"},
    {"ZADD large:2 %d.5 member-%d", "ZINCRBY large:2 1 member-7"},
    {"HSET large:3 field-%d value", "HDEL large:3 field-7"},
    {"XADD large:4 %d-1 field value", "XADD large:4 * f v"},
    {"HSET large:5 field-%d value", "HSET large:5 new value"},
};
static const char *const more[] = {"XGROUP CREATE large:4 g 0",
                                   "XREADGROUP GROUP g c STREAMS large:4 >",
                                   "XGROUP CREATE large:4 h 0",
                                   "XREADGROUP GROUP h d STREAMS large:4 >",
                                   "HPEXPIRE large:5 100000 FIELDS 3 field-1 field-2 field-3",
                                   "SETRANGE large:6 5000000 x"};

static void add_very_large(struct harness *h)
{
    char line[128];
    for (size_t k = 0; k < ARRAY_LEN(large); k++)
        for (int i = 0; i < ELEMENTS; i++) {
            snprintf(line, sizeof(line), large[k].add, i + 1, i);
            harness_run(h, line);
        }
    for (size_t k = 0; k < ARRAY_LEN(more); k++)
        harness_run(h, more[k]);
}

/* Bytes that have come since the last call. */
static size_t grown(struct shooting *x)
{
    size_t before = x->n;
    send(x, 0);
    return x->n - before;
}

static void test_no_step_writes_much(void **state)
{
    struct harness h;
    struct shooting x;
    struct table t = {0};
    (void)state;
    seed = 5;
    harness_init(&h, 1);
    add_very_large(&h);
    take_table(&h, &t);
    cut(&x, &h);
    struct shard *s = &h.shards[0];
    grown(&x);
    for (size_t k = 0; k < 7; k++) {
        char key[16];
        struct span name = span_of(key, (size_t)sprintf(key, "large:%zu", k));
        uint64_t hash = shard_hash(s, name), answered = snapshot_answered(s);
        if (!snapshot_wants_key(s, 0, name, hash, true))
            fail_msg("%s was written at once", key);
        assert_true(snapshot_wants_key(s, 0, name, hash, true));
        while (snapshot_answered(s) == answered) {
            snapshot_step(s);
            assert_in_range(grown(&x), 0, STEP_BYTES);
        }
        assert_false(snapshot_wants_key(s, 0, name, hash, true));
        harness_run(&h, k == 6 ? "APPEND large:6 x" : large[k < 3 ? k : k + 1].change);
        assert_int_equal(grown(&x), 0);
    }
    finish(&x);
    compare(&x, &t);
    free(x.file);
    table_free(&t);
    harness_fini(&h);
}

/* As a worker sends it, in chunks, so that something always waits: what waits did grow, by being copied, with all that had been sent before. */
static void test_what_was_sent_takes_no_memory(void **state)
{
    struct harness h;
    struct shooting x;
    char line[64];
    size_t sent = 0;
    (void)state;
    harness_init(&h, 1);
    for (int i = 0; i < 100000; i++) {
        snprintf(line, sizeof(line), "SET key:%d value-%d-xxxxxxxxxxxxxx", i, i);
        harness_run(&h, line);
    }
    cut(&x, &h);
    struct shard *s = &h.shards[0];
    size_t used = s->mem.used_bytes;
    while (snapshot_step(s)) {
        bool whole;
        struct span b = snapshot_output(s, &whole);
        for (; b.n >= 4096; b = snapshot_output(s, &whole)) {
            snapshot_sent(s, 4096);
            sent += 4096;
        }
        assert_true(s->mem.used_bytes < used + (64u << 10));
    }
    assert_true(sent > 1u << 20);
    snapshot_give_up(s);
    snapshot_end(s);
    free(x.file);
    harness_fini(&h);
}

/* What leaves is not written at once either: the snapshot keeps it until it is. */
static void test_what_leaves_is_kept(void **state)
{
    static const char *const leave[] = {
        "DEL large:0",  "UNLINK large:1", "SET large:2 v",          "RENAME tiny large:3",
        "GETDEL tiny2", "PEXPIREAT x 1",  "COPY x large:5 REPLACE", "SET large:6 y"};
    struct harness h;
    struct shooting x;
    struct table t = {0};
    (void)state;
    seed = 5;
    harness_init(&h, 1);
    add_very_large(&h);
    harness_run(&h, "PEXPIRE large:4 1000");
    harness_run(&h, "SET tiny v");
    harness_run(&h, "SET tiny2 v");
    harness_run(&h, "SET x v");
    take_table(&h, &t);
    cut(&x, &h);
    struct shard *s = &h.shards[0];
    size_t used = s->mem.used_bytes;
    for (size_t i = 0; i < ARRAY_LEN(leave); i++) {
        harness_run(&h, leave[i]);
        assert_in_range(grown(&x), 0, 100);
    }
    harness_advance_ms(&h, 2000);
    harness_run(&h, "XLEN large:4"); /* its time is over */
    assert_in_range(grown(&x), 0, 100);
    assert_true(s->mem.used_bytes > used / 2);
    assert_true(s->lazy_bytes > used / 2); /* for eviction it is gone */
    for (bool going = true; going;) {
        going = snapshot_step(s);
        assert_in_range(grown(&x), 0, STEP_BYTES);
    }
    finish(&x);
    compare(&x, &t);
    for (int i = 0; i < 100000; i++)
        shard_tick(s, 100);
    assert_int_equal(s->lazy_bytes, 0);
    assert_true(s->mem.used_bytes < used / 2);
    free(x.file);
    table_free(&t);
    harness_fini(&h);
}

/* SORT made a tree of a packed sorted set, as Redis does, and told nobody: the snapshot wrote the tree. */
static void test_sort_tells_of_the_tree_that_it_makes(void **state)
{
    struct harness h;
    struct shooting x;
    struct table t = {0};
    (void)state;
    harness_init(&h, 1);
    harness_run(&h, "ZADD key:1 1 a 2 b");
    take_table(&h, &t);
    cut(&x, &h);
    harness_run(&h, "SORT key:1 ALPHA");
    finish(&x);
    compare(&x, &t);
    free(x.file);
    table_free(&t);
    harness_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_file_is_the_state_of_the_cut),
        cmocka_unit_test(test_large_values_in_parts),
        cmocka_unit_test(test_given_up_and_taken_again),
        cmocka_unit_test(test_sort_tells_of_the_tree_that_it_makes),
        cmocka_unit_test(test_no_step_writes_much),
        cmocka_unit_test(test_what_leaves_is_kept),
        cmocka_unit_test(test_what_was_sent_takes_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
