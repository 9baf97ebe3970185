/* Streams: what no comparison with redis-server shows: events, several shards, large ones freed in slices, ids by the clock, what is given when
 * memory ends, keys behind the right word STREAMS. The edge cases of every reply are compared by tests/compat. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/ds/stream_group.h"
#include "engine/log/rdb.h"
#include "engine/shard/object.h"
#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

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

static void grow(struct harness *h, const char *key, int from, int n)
{
    char line[200];
    for (int i = from; i < from + n; i++) {
        snprintf(line, sizeof(line), "XADD %s %d-0 field value:%d", key, i, i);
        harness_run(h, line);
    }
}

static struct stream *stream_of(struct harness *h, const char *key)
{
    struct shard *s = &h->shards[shard_of_key(span_str(key), h->count)];
    struct entry *e = ks_peek(s, 0, span_str(key), shard_hash(s, span_str(key)));
    return e ? object_ptr(e) : NULL;
}

/* ---- events ---- */

static char events[1000];

static void note(void *ctx, struct shard *s, uint32_t db, struct span key, enum ks_class cls,
                 const char *event)
{
    size_t n = strlen(events);
    snprintf(events + n, sizeof(events) - n, "%s%.*s:%s%s", n ? " " : "", (int)key.n, key.p, event,
             cls == KS_STREAM                 ? ""
             : cls == (KS_STREAM | KS_UNSEEN) ? "~" /* not for those who watch */
             : cls == KS_NONE                 ? "-"
             : cls == KS_GENERIC              ? "!"
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
    expect_events(h, "XADD a NOMKSTREAM * f v", "");
    expect_events(h, "XADD a 1-1 f v", "a:xadd");
    expect_events(h, "XADD a 1-1 f v", "");
    expect_events(h, "XADD a MAXLEN 5 1-2 f v", "a:xadd");
    expect_events(h, "XADD a MAXLEN 2 1-3 f v", "a:xadd a:xtrim");
    expect_events(h, "XTRIM a MAXLEN 2", "");
    expect_events(h, "XDEL a 9-9", "");
    expect_events(h, "XGROUP CREATE a g 0", "a:xgroup-create~");
    expect_events(h, "XGROUP CREATE a g 0", "");
    expect_events(h, "XGROUP CREATE b g 0 MKSTREAM", "b:xgroup-create");
    expect_events(h, "XGROUP SETID a g 0", "a:xgroup-setid~");
    expect_events(h, "XGROUP CREATECONSUMER a g c", "a:xgroup-createconsumer~");
    expect_events(h, "XGROUP CREATECONSUMER a g c", "");
    expect_events(h, "XREADGROUP GROUP g d STREAMS b >", "");
    expect_events(h, "XREADGROUP GROUP g d COUNT 1 STREAMS a >",
                  "a:xgroup-createconsumer~ a:xreadgroup-");
    expect_events(h, "XREADGROUP GROUP g d STREAMS a 0", "a:xreadgroup-");
    expect_events(h, "XCLAIM a g e 0 1-2", "a:xgroup-createconsumer~ a:xclaim-");
    expect_events(h, "XCLAIM a g f 0 1-3", "");
    expect_events(h, "XAUTOCLAIM a g c 0 0", "a:xautoclaim-");
    expect_events(h, "XACK a g 1-3", "");
    expect_events(h, "XACK a g 1-2", "a:xack-");
    expect_events(h, "XGROUP DELCONSUMER a g c", "a:xgroup-delconsumer~");
    expect_events(h, "XGROUP DELCONSUMER a g c", "");
    expect_events(h, "XGROUP DESTROY a g", "a:xgroup-destroy~");
    expect_events(h, "XGROUP DESTROY a g", "");
    expect_events(h, "XSETID a 5-0", "a:xsetid~");
    expect_events(h, "XTRIM a MAXLEN 1", "a:xtrim");
    expect_events(h, "XDEL a 1-3", "a:xdel");
    expect_events(h, "XLEN a", "");
    for (uint32_t i = 0; i < h->count; i++)
        shard_hook(&h->shards[i], NULL, NULL);
}

/* ---- ids ---- */

static void test_ids_by_the_clock(void **state)
{
    struct harness *h = *state;
    char want[64];
    h->now_us = 1234567890123456;
    EXPECT(h, "XADD k * f v", "$15\r\n1234567890123-0\r\n");
    EXPECT(h, "XADD k * f v", "$15\r\n1234567890123-1\r\n");
    harness_advance_ms(h, 1);
    snprintf(want, sizeof(want), "$15\r\n%lld-0\r\n", (long long)(h->now_us / 1000));
    harness_expect(h, "XADD k * f v", span_str(want), __FILE__, __LINE__);
    h->now_us = 1000000; /* a clock that goes back */
    EXPECT(h, "XADD k * f v", "$15\r\n1234567890124-1\r\n");
    EXPECT(h, "XADD k 2234567890124-18446744073709551615 f v",
           "$34\r\n2234567890124-18446744073709551615\r\n");
    EXPECT(h, "XADD k * f v", "$15\r\n2234567890125-0\r\n");
}

static void test_idle_times(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "XADD k 1-1 f v", "$3\r\n1-1\r\n");
    EXPECT(h, "XGROUP CREATE k g 0", "+OK\r\n");
    harness_run(h, "XREADGROUP GROUP g c STREAMS k >");
    harness_advance_ms(h, 250);
    EXPECT(h, "XPENDING k g - + 9", "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:250\r\n:1\r\n");
    EXPECT(h, "XPENDING k g IDLE 251 - + 9", "*0\r\n");
    EXPECT(h, "XPENDING k g IDLE 250 - + 9", "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:250\r\n:1\r\n");
    EXPECT(h, "XCLAIM k g d 251 1-1", "*0\r\n");
    EXPECT(h, "XAUTOCLAIM k g d 251 0", "*3\r\n$3\r\n0-0\r\n*0\r\n*0\r\n");
    EXPECT(h, "XCLAIM k g d 250 1-1 JUSTID", "*1\r\n$3\r\n1-1\r\n");
    EXPECT(h, "XPENDING k g - + 9", "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nd\r\n:0\r\n:1\r\n");
    EXPECT(h, "XINFO CONSUMERS k g",
           "*2\r\n*6\r\n$4\r\nname\r\n$1\r\nc\r\n$7\r\npending\r\n:0\r\n$4\r\nidle\r\n:250\r\n"
           "*6\r\n$4\r\nname\r\n$1\r\nd\r\n$7\r\npending\r\n:1\r\n$4\r\nidle\r\n:0\r\n");
}

/* ---- several shards ---- */

static void test_reads_over_shards(void **state)
{
    struct harness *h = *state;
    char line[300];
    for (int i = 0; i < 9; i++) {
        snprintf(line, sizeof(line), "XADD s%d 1-%d f %d", i, i + 1, i);
        harness_run(h, line);
        snprintf(line, sizeof(line), "XGROUP CREATE s%d g 0", i);
        EXPECT(h, line, "+OK\r\n");
    }
    EXPECT(h, "XREAD COUNT 1 STREAMS s0 none s5 s7 0 0 1-6 0",
           "*2\r\n*2\r\n$2\r\ns0\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\n0\r\n"
           "*2\r\n$2\r\ns7\r\n*1\r\n*2\r\n$3\r\n1-8\r\n*2\r\n$1\r\nf\r\n$1\r\n7\r\n");
    EXPECT(h, "XREADGROUP GROUP g c STREAMS s1 s2 s3 > 0 >",
           "*3\r\n*2\r\n$2\r\ns1\r\n*1\r\n*2\r\n$3\r\n1-2\r\n*2\r\n$1\r\nf\r\n$1\r\n1\r\n"
           "*2\r\n$2\r\ns2\r\n*0\r\n"
           "*2\r\n$2\r\ns3\r\n*1\r\n*2\r\n$3\r\n1-4\r\n*2\r\n$1\r\nf\r\n$1\r\n3\r\n");
    EXPECT(h, "XREADGROUP GROUP g c STREAMS s1 s2 s3 s4 s5 s6 s7 s8 s0 none > > > > > > > > > >",
           "-NOGROUP No such key 'none' or consumer group 'g' in XREADGROUP with GROUP option\r\n");
    EXPECT(h, "XREAD STREAMS s0 s1 s2 s3 s4 s5 s6 s7 s8 $ $ $ $ $ $ $ $ $", "*-1\r\n");
}

/* A group and a consumer may be called STREAMS: the keys, whose shards are leased, are behind the option of that name. */
static void test_keys_behind_the_right_streams(void **state)
{
    struct harness *h = *state;
    static const char row[] =
        "*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n";
    EXPECT(h, "XADD k 1-1 f v", "$3\r\n1-1\r\n");
    EXPECT(h, "XGROUP CREATE k streams 0", "+OK\r\n");
    EXPECT(h, "XREADGROUP NOACK GROUP streams streams STREAMS k >", row);
    EXPECT(h, "XREADGROUP COUNT 5 GROUP streams c STREAMS k 0", "*1\r\n*2\r\n$1\r\nk\r\n*0\r\n");
    EXPECT(h, "XGROUP SETID k streams 0", "+OK\r\n");
    EXPECT(h, "XREADGROUP COUNT 5 GROUP streams STREAMS STREAMS k >", row);
    EXPECT(h, "COMMAND GETKEYS XREADGROUP NOACK GROUP g streams STREAMS k >", "*1\r\n$1\r\nk\r\n");
    EXPECT(h, "COMMAND GETKEYS XREAD BLOCK 0 STREAMS a b 0 0", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
}

/* One that was renamed to another shard allocates and frees there, its groups as well. */
static void test_a_large_stream_changes_shards(void **state)
{
    struct harness *h = *state;
    char line[100];
    grow(h, "k0", 1, 700);
    EXPECT(h, "XGROUP CREATE k0 g 0", "+OK\r\n");
    for (int i = 0; i < 8; i++) {
        snprintf(line, sizeof(line), "XREADGROUP GROUP g consumer%d COUNT 80 STREAMS k%d >", i % 3,
                 i);
        harness_run(h, line);
        snprintf(line, sizeof(line), "RENAME k%d k%d", i, i + 1);
        EXPECT(h, line, "+OK\r\n");
        snprintf(line, sizeof(line), "k%d", i + 1);
        grow(h, line, 701 + i * 20, 20);
        snprintf(line, sizeof(line), "COPY k%d copy%d", i + 1, i);
        EXPECT(h, line, ":1\r\n");
        snprintf(line, sizeof(line), "XGROUP DELCONSUMER copy%d g consumer0", i);
        harness_run(h, line);
    }
    EXPECT(h, "XLEN k8", ":860\r\n");
    EXPECT(h, "XPENDING k8 g 641 + 1", "*0\r\n");
    EXPECT(h, "XPENDING k8 g 640 + 1",
           "*1\r\n*4\r\n$5\r\n640-0\r\n$9\r\nconsumer1\r\n:0\r\n:1\r\n");
    EXPECT(h, "XTRIM k8 MAXLEN 1", ":859\r\n");
}

/* ---- memory ---- */

static void test_memory_usage_is_what_it_takes(void **state)
{
    struct harness *h = *state;
    struct mem *mem = &h->shards[0].mem;
    harness_run(h, "SET other x"); /* tables of the keyspace are there now */
    size_t before = mem->used_bytes;
    grow(h, "k", 1, 500);
    harness_run(h, "XGROUP CREATE k g 0");
    harness_run(h, "XREADGROUP GROUP g alice COUNT 300 STREAMS k >");
    harness_run(h, "XREADGROUP GROUP g bob COUNT 100 STREAMS k >");
    harness_run(h, "XDEL k 5-0 6-0 7-0");
    harness_run(h, "XACK k g 1-0 2-0");
    long long said = strtoll(harness_run(h, "MEMORY USAGE k SAMPLES 0") + 1, NULL, 10);
    assert_int_equal(said, mem->used_bytes - before);
    EXPECT(h, "OBJECT ENCODING k", "$6\r\nstream\r\n");
    EXPECT(h, "DEL k", ":1\r\n");
    while (h->shards[0].lazy_pending)
        shard_tick(&h->shards[0], 100);
    assert_int_equal(mem->used_bytes, before);
}

/* Nodes and what waits go in slices, whoever drops them. */
static void test_large_ones_are_freed_in_slices(void **state)
{
    struct harness *h = *state;
    struct shard *s = &h->shards[0];
    grow(h, "k", 1, 9000);
    EXPECT(h, "XGROUP CREATE k g 0", "+OK\r\n");
    harness_run(h, "XREADGROUP GROUP g c STREAMS k >");
    size_t full = s->mem.used_bytes;
    EXPECT(h, "XGROUP DELCONSUMER k g c", ":9000\r\n");
    assert_int_equal(s->lazy_pending, 1);
    EXPECT(h, "XPENDING k g", "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n");
    while (s->lazy_pending)
        shard_tick(s, 16);
    assert_true(s->mem.used_bytes < full - 9000 * 50);
    struct stream *st = object_ptr(ks_peek(s, 0, SPAN("k"), shard_hash(s, SPAN("k"))));
    assert_int_equal(entry_bytes(ks_peek(s, 0, SPAN("k"), shard_hash(s, SPAN("k")))) -
                         stream_bytes(st),
                     entry_alloc_bytes_of(ks_peek(s, 0, SPAN("k"), shard_hash(s, SPAN("k")))));
    EXPECT(h, "XGROUP SETID k g 0", "+OK\r\n");
    harness_run(h, "XREADGROUP GROUP g c STREAMS k >");
    full = s->mem.used_bytes;
    EXPECT(h, "XGROUP DESTROY k g", ":1\r\n");
    assert_int_equal(s->lazy_pending, 1);
    assert_true(s->mem.used_bytes > full - 4096);
    while (s->lazy_pending)
        shard_tick(s, 16);
    assert_true(s->mem.used_bytes < full - 9000 * 50);
    full = s->mem.used_bytes;
    EXPECT(h, "DEL k", ":1\r\n");
    assert_int_equal(s->lazy_pending, 1);
    assert_true(s->mem.used_bytes > full / 2);
    size_t ticks = 0;
    for (; s->lazy_pending; ticks++)
        shard_tick(s, 16);
    assert_true(ticks >= 90 / 16);
}

/* It freed all of it at once when entries waited for others as well. */
static void test_one_consumer_among_several_is_freed_in_slices(void **state)
{
    struct harness *h = *state;
    struct shard *s = &h->shards[0];
    size_t ticks = 0, most = 0;
    grow(h, "k", 1, 20000);
    EXPECT(h, "XGROUP CREATE k g 0", "+OK\r\n");
    harness_run(h, "XREADGROUP GROUP g other COUNT 50 STREAMS k >");
    size_t before = s->mem.used_bytes;
    for (int i = 0; i < 199; i++) /* whole leaves of the group's and single entries */
        harness_run(h, i % 2 ? "XREADGROUP GROUP g c COUNT 199 STREAMS k >"
                             : "XREADGROUP GROUP g other COUNT 1 STREAMS k >");
    const struct stream_group *g = stream_group_find(stream_of(h, "k"), SPAN("g"));
    size_t full = s->mem.used_bytes;
    EXPECT(h, "XGROUP DELCONSUMER k g c", ":19701\r\n");
    assert_int_equal(s->lazy_pending, 1);
    assert_true(s->mem.used_bytes > full - 100 * 1024); /* of more than a million */
    assert_true(s->lazy_bytes > (full - before) / 2);
    EXPECT(h, "XPENDING k g",
           "*4\r\n:150\r\n$3\r\n1-0\r\n$7\r\n19851-0\r\n*1\r\n*2\r\n$5\r\nother\r\n$3\r\n150\r\n");
    for (; s->lazy_pending; ticks++) {
        size_t now = s->mem.used_bytes;
        shard_tick(s, 16);
        most = now - s->mem.used_bytes > most ? now - s->mem.used_bytes : most;
    }
    assert_true(ticks > 30);
    assert_true(most <= 20 * 2560);
    assert_true(s->mem.used_bytes < before + 150 * 200);
    assert_int_equal(g->pel.count, 150);
    assert_int_equal(idtree_bytes(&g->pel) + idtree_bytes(&stream_consumer_at(g, 0)->pel) +
                         mem_size_class(sizeof(*g) + 1) + mem_size_class(2 * sizeof(void *)) +
                         mem_size_class(sizeof(struct stream_consumer) + strlen("other")),
                     g->m.bytes);
    EXPECT(h, "DEL k", ":1\r\n");
    while (s->lazy_pending)
        shard_tick(s, 100);
}

/* Without memory for all of them a consumer gets fewer, and the group has got as far as these. */
static void test_fewer_entries_when_memory_ends(void **state)
{
    struct harness *h = *state;
    grow(h, "k", 1, 600);
    EXPECT(h, "XGROUP CREATE k g 0", "+OK\r\n");
    EXPECT(h, "XGROUP CREATECONSUMER k g c", ":1\r\n");
    h->shards[0].mem.fail_after = 20;
    const char *reply = harness_run(h, "XREADGROUP GROUP g c STREAMS k >");
    assert_int_equal(h->shards[0].mem.fail_after, 0);
    int got = atoi(strchr(reply, '\r') + strlen("\r\n*2\r\n$1\r\nk\r\n*"));
    const struct stream_group *g = stream_group_find(stream_of(h, "k"), SPAN("g"));
    assert_true(got > 50 && got < 600);
    assert_int_equal(g->pel.count, got);
    assert_int_equal(g->last.ms, got);
    assert_int_equal(g->entries_read, got);
    harness_run(h, "XREADGROUP GROUP g c STREAMS k >");
    assert_int_equal(g->pel.count, 600);
}

/* A name in an error is as long as it is, up to a NUL, and its line ends are blanks. */
static void test_long_names_in_errors(void **state)
{
    struct harness *h = *state;
    static uint8_t name[5000];
    memset(name, 'n', sizeof(name));
    name[1000] = '\n';
    struct span argv[] = {SPAN("XPENDING"), span_of(name, sizeof(name)), SPAN("g\0x")};
    struct span r = harness_runv(h, argv, 3);
    assert_int_equal(r.n,
                     strlen("-NOGROUP No such key '' or consumer group 'g'\r\n") + sizeof(name));
    assert_null(memchr(r.p, '\n', r.n - 1));
}

/* A stream whose entries are all gone stays, and its nodes with them. */
static void test_empty_streams(void **state)
{
    struct harness *h = *state;
    grow(h, "k", 1, 150);
    EXPECT(h, "XTRIM k MAXLEN 0", ":150\r\n");
    EXPECT(h, "EXISTS k", ":1\r\n");
    EXPECT(h, "XRANGE k - +", "*0\r\n");
    EXPECT(h, "XADD k 10-0 f v",
           "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n");
    EXPECT(h, "XSETID k 5-0", "+OK\r\n");
    EXPECT(h, "XADD k 10-0 f v", "$4\r\n10-0\r\n");
    EXPECT(h, "XLEN k", ":1\r\n");
}

/* ---- payloads that contradict themselves ---- */

enum payload {
    GOOD,
    OTHER_LENGTH,
    LAST_BEFORE_ENTRIES,
    NODES_DESCEND,
    NODES_OVERLAP,
    WAITS_TWICE,
    WAITS_FOR_NOBODY,
    WAITS_FOR_TWO,
    DOES_NOT_WAIT,
    CONSUMER_TWICE,
    GROUP_TWICE,
    ID_TOO_SHORT,
    NO_NODE,
    PAYLOADS
};

static void put_raw_id(struct rdb_writer *w, uint64_t ms)
{
    rdb_put_u64_be(w, ms);
    rdb_put_u64_be(w, 1);
}
static void put_id(struct rdb_writer *w, uint64_t ms)
{
    rdb_put_len(w, ms);
    rdb_put_len(w, 1);
}

/* Two entries, one 3 ms after the other. */
static void put_node(struct rdb_writer *w, uint64_t ms, enum payload what)
{
    static const struct stream_limits limits = {4096, 100};
    size_t freed;
    struct span text[] = {SPAN("f"), SPAN("v")};
    struct stream *s = stream_create(w->mem);
    stream_append(s, &limits, (struct stream_id){ms, 1}, text, 1);
    stream_append(s, &limits, (struct stream_id){ms + 3, 1}, text, 1);
    struct mem_block lp = stream_node_block(idtree_record(&s->nodes, idtree_first(&s->nodes)));
    rdb_put_len(w, what == ID_TOO_SHORT ? 8 : 16);
    rdb_put_u64_be(w, ms);
    if (what != ID_TOO_SHORT)
        rdb_put_u64_be(w, 1);
    rdb_put_blob(w, what == NO_NODE ? SPAN("nothing") : span_of(lp.p, lp.len));
    stream_free_slice(s, SIZE_MAX, &freed);
}

static void put_consumer(struct rdb_writer *w, const char *name, uint8_t type, uint64_t waits)
{
    rdb_put_string(w, span_str(name));
    rdb_put_u64(w, 1000);
    if (type == RDB_STREAM_LISTPACKS_3)
        rdb_put_u64(w, 1000);
    rdb_put_len(w, waits != 0);
    if (waits)
        put_raw_id(w, waits);
}

static void put_group(struct rdb_writer *w, uint8_t type, enum payload what)
{
    rdb_put_string(w, SPAN("g"));
    put_id(w, 20);
    if (type != RDB_STREAM_LISTPACKS)
        rdb_put_len(w, 4);
    rdb_put_len(w, 2);
    for (int i = 0; i < 2; i++) {
        put_raw_id(w, i && what != WAITS_TWICE ? 13 : 10);
        rdb_put_u64(w, 1000);
        rdb_put_len(w, 3);
    }
    rdb_put_len(w, what == WAITS_FOR_TWO || what == CONSUMER_TWICE ? 3 : 2);
    put_consumer(w, "alice", type, 10);
    put_consumer(w, "bob", type, what == WAITS_FOR_NOBODY ? 0 : what == DOES_NOT_WAIT ? 14 : 13);
    if (what == WAITS_FOR_TWO)
        put_consumer(w, "carl", type, 13);
    if (what == CONSUMER_TWICE)
        put_consumer(w, "bob", type, 0);
}

static struct span payload(struct rdb_writer *w, uint8_t type, enum payload what)
{
    rdb_put_u8(w, type);
    rdb_put_len(w, 2);
    put_node(w, 10, what);
    put_node(w, what == NODES_DESCEND ? 5 : what == NODES_OVERLAP ? 12 : 20, what);
    rdb_put_len(w, what == OTHER_LENGTH ? 5 : 4);
    put_id(w, what == LAST_BEFORE_ENTRIES ? 22 : 23);
    if (type != RDB_STREAM_LISTPACKS) {
        put_id(w, 10);
        put_id(w, 0);
        rdb_put_len(w, 4);
    }
    rdb_put_len(w, what == GROUP_TWICE ? 2 : 1);
    for (int i = 0; i < (what == GROUP_TWICE ? 2 : 1); i++)
        put_group(w, type, what);
    rdb_put_footer(w);
    assert_false(w->failed);
    return span_of(w->out.p, w->out.len);
}

static void test_contradictions_are_refused(void **state)
{
    struct harness *h = *state;
    static const uint8_t types[] = {RDB_STREAM_LISTPACKS, RDB_STREAM_LISTPACKS_2,
                                    RDB_STREAM_LISTPACKS_3};
    for (size_t t = 0; t < sizeof(types); t++) {
        for (int what = GOOD; what < PAYLOADS; what++) {
            struct rdb_writer w;
            rdb_writer_init(&w, &h->shards[0].mem, false);
            struct span argv[] = {SPAN("RESTORE"), SPAN("k"), SPAN("0"),
                                  payload(&w, types[t], (enum payload)what), SPAN("REPLACE")};
            struct span r = harness_runv(h, argv, 5);
            rdb_writer_free(&w);
            if (!span_eq(r, what == GOOD ? SPAN("+OK\r\n") : SPAN("-ERR Bad data format\r\n")))
                fail_msg("type %d, payload %d: %.*s", types[t], what, (int)r.n, r.p);
            if (what == GOOD) {
                EXPECT(h, "XLEN k", ":4\r\n");
                EXPECT(h, "XPENDING k g",
                       "*4\r\n:2\r\n$4\r\n10-1\r\n$4\r\n13-1\r\n*2\r\n"
                       "*2\r\n$5\r\nalice\r\n$1\r\n1\r\n*2\r\n$3\r\nbob\r\n$1\r\n1\r\n");
                assert_int_equal(stream_of(h, "k")->entries_added, 4);
            }
        }
    }
}

#define IN(shards, test) cmocka_unit_test_setup_teardown(test, setup_##shards, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN(one, test_events),
        IN(three, test_events),
        IN(one, test_ids_by_the_clock),
        IN(one, test_idle_times),
        IN(three, test_reads_over_shards),
        IN(one, test_reads_over_shards),
        IN(three, test_keys_behind_the_right_streams),
        IN(three, test_a_large_stream_changes_shards),
        IN(one, test_memory_usage_is_what_it_takes),
        IN(one, test_large_ones_are_freed_in_slices),
        IN(one, test_one_consumer_among_several_is_freed_in_slices),
        IN(one, test_fewer_entries_when_memory_ends),
        IN(one, test_long_names_in_errors),
        IN(one, test_empty_streams),
        IN(one, test_contradictions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
