/* Append-only files: what is written is read back, every cut is a clean prefix, every flipped bit is seen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/crc.h"
#include "engine/log/aof.h"
#include "tests/unit/unit.h"

struct text {
    uint8_t *p;
    size_t n, cap;
};

static void put(struct text *t, const void *p, size_t n)
{
    if (t->n + n > t->cap) {
        t->cap = (t->n + n) * 2;
        t->p = realloc(t->p, t->cap);
        assert_non_null(t->p);
    }
    memcpy(t->p + t->n, p, n);
    t->n += n;
}

static void put_str(struct text *t, const char *s)
{
    put(t, s, strlen(s));
}

static void put_set(struct text *t, unsigned i, size_t bytes)
{
    char head[64];
    put(t, head, (size_t)sprintf(head, "*3\r\n$3\r\nSET\r\n$6\r\nk%05u\r\n$%zu\r\n", i, bytes));
    for (size_t k = 0; k < bytes; k++)
        put(t, &"\r\n#*$BW:1a"[(i + k) % 10], 1);
    put_str(t, "\r\n");
}

struct log {
    struct text t;
    uint64_t group, durable;
    size_t ends[4096]; /* where each group ends; ends[0]: the first line */
    size_t n;
};

static void log_begin(struct log *l, uint64_t first)
{
    char line[AOF_LINE_BYTES];
    memset(l, 0, sizeof *l);
    l->group = first;
    put(&l->t, line, aof_write_head(line, first));
    l->ends[l->n++] = l->t.n;
}

static void log_group(struct log *l, unsigned commands, size_t bytes)
{
    char line[AOF_LINE_BYTES];
    size_t from = l->t.n;
    for (unsigned i = 0; i < commands; i++)
        put_set(&l->t, (unsigned)l->group * 7 + i, bytes);
    if (commands) {
        size_t n = aof_write_shards(line, 9);
        n = aof_write_shard(line, n, 3, l->group * 100);
        put(&l->t, line, n);
        put_str(&l->t, "\r\n");
    }
    put(&l->t, line,
        aof_write_end(line, l->group, l->t.n - from, l->durable,
                      crc32c(0, l->t.p + from, l->t.n - from)));
    l->group++;
    l->ends[l->n++] = l->t.n;
}

static struct span all(const struct log *l)
{
    return span_of(l->t.p, l->t.n);
}

/* In memory of exactly that length, so that the sanitizer sees a byte too many. */
static void check_exact(const uint8_t *p, size_t n, struct aof_check *ret)
{
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, p, n);
    aof_check(span_of(copy, n), 0, ret);
    free(copy);
}

static void count_pair(void *ctx, uint32_t shard, uint64_t seq)
{
    uint64_t *sum = ctx;
    *sum += shard + seq;
}

static void test_round_trip(void **state)
{
    struct log l;
    struct aof_check c;
    log_begin(&l, 17);
    for (unsigned i = 0; i < 20; i++)
        log_group(&l, i % 4 + 1, i * 13);
    aof_check(all(&l), 0, &c);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_true(c.ours && !c.closed);
    assert_int_equal(c.first_group, 17);
    assert_int_equal(c.last_group, 36);
    assert_int_equal(c.good_bytes, l.t.n);
    assert_int_equal(c.commands, 50);

    struct span argv[3];
    uint32_t argc, generation;
    uint64_t at = 0, commands = 0, pairs = 0, n;
    while ((n = aof_next(all(&l), at, argv, 3, &argc))) {
        if (argc) {
            assert_int_equal(argc, 3);
            assert_true(span_is(argv[0], "set"));
            assert_int_equal(argv[1].n, 6);
            commands++;
        } else if (aof_read_shards(span_of(l.t.p + at, n), &generation, count_pair, &pairs)) {
            assert_int_equal(generation, 9);
        }
        at += n;
    }
    assert_int_equal(at, l.t.n);
    assert_int_equal(commands, 50);
    assert_int_equal(pairs, 20 * 3 + (17 + 36) * 20 / 2 * 100);
    free(l.t.p);
}

/* Cut anywhere: torn (or whole, between groups), good up to the last whole group, and never more. */
static void cut_everywhere(struct log *l)
{
    size_t k = 0;
    for (size_t n = 1; n <= l->t.n; n++) {
        struct aof_check c;
        check_exact(l->t.p, n, &c);
        while (k + 1 < l->n && l->ends[k + 1] <= n)
            k++;
        size_t good = n < l->ends[0] ? 0 : l->ends[k];
        if (n == good) {
            assert_int_equal(c.verdict, AOF_WHOLE);
        } else if (n >= strlen("#BAREWIRE")) {
            assert_int_equal(c.verdict, AOF_TORN);
        }
        if (n >= strlen("#BAREWIRE"))
            assert_int_equal(c.good_bytes, good);
    }
}

static void test_cut_at_every_byte(void **state)
{
    struct log l;
    log_begin(&l, 1);
    for (unsigned i = 0; i < 12; i++) {
        log_group(&l, i % 3 + 1, i * 7 % 40);
        l.durable = l.group - 1;
    }
    cut_everywhere(&l);
    free(l.t.p);
}

/* How many transactions the good part of a file has; -1: one is there in part. */
static int transactions(struct span f, uint64_t good)
{
    struct span name;
    uint32_t argc;
    int n = 0;
    bool open = false;
    for (uint64_t at = 0, len; at < good && (len = aof_next(f, at, &name, 1, &argc)); at += len) {
        if (!argc)
            continue;
        open |= span_is(name, "multi");
        if (span_is(name, "exec")) {
            open = false;
            n++;
        }
    }
    return open ? -1 : n;
}

/* `grouped`: a file of ours; else one of Redis, where only MULTI and EXEC tell what belongs together. */
static void cut_transactions(bool grouped)
{
    struct log l;
    struct aof_check c;
    size_t want = getenv("BAREWIRE_LONG") ? 65536 : 8192;
    int seen = 0;
    log_begin(&l, 1);
    if (!grouped)
        l.t.n = 0;
    for (unsigned i = 0; l.t.n < want; i++) {
        char line[AOF_LINE_BYTES];
        size_t from = l.t.n;
        put_str(&l.t, "*1\r\n$5\r\nMULTI\r\n");
        put_set(&l.t, i, i * 13 % 200);
        put_set(&l.t, i + 1, i * 7 % 50);
        put_str(&l.t, "*1\r\n$4\r\nEXEC\r\n");
        if (grouped && i % 3 == 2) {
            put(&l.t, line,
                aof_write_end(line, l.group++, l.t.n - from, 0,
                              crc32c(0, l.t.p + from, l.t.n - from)));
        } else if (grouped) {
            l.t.n = from;
            log_group(&l, 1, i % 40);
        }
    }
    for (size_t n = grouped ? l.ends[0] : 1; n <= l.t.n; n++) {
        aof_check(span_of(l.t.p, n), 0, &c);
        assert_int_not_equal(c.verdict, AOF_DAMAGED);
        int whole = transactions(span_of(l.t.p, n), c.good_bytes);
        assert_true(whole >= seen); /* -1: half of one */
        seen = whole;
    }
    assert_true(seen > 10);
    free(l.t.p);
}

static void test_cut_at_every_byte_never_leaves_half_a_transaction(void **state)
{
    cut_transactions(true);
    cut_transactions(false);
}

/* Every bit. None is missed, and what was durable is never taken for a torn tail. */
static void flip_everywhere(struct log *l)
{
    struct aof_check c;
    size_t missed = 0, torn_but_durable = 0;
    /* First group is 1: ends[g] is the end of group g. The last line was made before `durable` moved on. */
    size_t durable_end = l->ends[l->durable - 1];
    for (size_t i = 0; i < l->t.n * 8; i++) {
        l->t.p[i / 8] ^= (uint8_t)(1 << i % 8);
        aof_check(all(l), 0, &c);
        missed += c.verdict == AOF_WHOLE;
        torn_but_durable += c.verdict == AOF_TORN && i / 8 < durable_end;
        l->t.p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    assert_int_equal(missed, 0);
    assert_int_equal(torn_but_durable, 0);
}

static void test_flip_every_bit(void **state)
{
    struct log l;
    const char *longer = getenv("BAREWIRE_LONG");
    size_t want = longer ? 65536 : 4096;
    log_begin(&l, 1);
    while (l.t.n < want) {
        log_group(&l, (unsigned)l.group % 3 + 1, l.group * 31 % (want / 64));
        l.durable = l.group - 2;
    }
    flip_everywhere(&l);
    free(l.t.p);
}

static void test_damage_of_what_was_not_durable_is_a_torn_tail(void **state)
{
    struct log l;
    struct aof_check c;
    log_begin(&l, 1);
    l.durable = 0;
    for (int i = 0; i < 5; i++)
        log_group(&l, 2, 10);
    l.t.p[l.ends[2] + 20] ^= 1; /* in the third group: pages reach the disk in any order */
    aof_check(all(&l), 0, &c);
    assert_int_equal(c.verdict, AOF_TORN);
    assert_int_equal(c.good_bytes, l.ends[2]);
    assert_int_equal(c.bad_group, 3);
    free(l.t.p);

    log_begin(&l, 1);
    for (int i = 0; i < 5; i++) {
        log_group(&l, 2, 10);
        l.durable = l.group - 1;
    }
    l.t.p[l.ends[2] + 20] ^= 1;
    aof_check(all(&l), 0, &c);
    assert_int_equal(c.verdict, AOF_DAMAGED);
    assert_int_equal(c.bad_group, 3);
    free(l.t.p);
}

static void test_missing_and_repeated_groups(void **state)
{
    struct log l;
    struct aof_check c;
    log_begin(&l, 1);
    for (int i = 0; i < 4; i++) {
        log_group(&l, 1, 5);
        l.durable = l.group - 1;
    }
    size_t len = l.ends[2] - l.ends[1];
    memmove(l.t.p + l.ends[1], l.t.p + l.ends[2], l.t.n - l.ends[2]); /* group 2 is gone */
    aof_check(span_of(l.t.p, l.t.n - len), 0, &c);
    assert_int_equal(c.verdict, AOF_DAMAGED);
    assert_int_equal(c.bad_group, 2);
    free(l.t.p);
}

static void test_closed_file_and_what_redis_wrote_behind(void **state)
{
    struct log l;
    struct aof_check c;
    log_begin(&l, 1);
    log_group(&l, 2, 10);
    log_group(&l, 0, 0);
    aof_check(all(&l), 0, &c);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_true(c.closed);
    put_set(&l.t, 5, 5);
    aof_check(all(&l), 0, &c);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_int_equal(c.commands, 3);
    assert_int_equal(c.good_bytes, l.t.n);
    put_str(&l.t, "*3\r\n$3\r\nSE");
    aof_check(all(&l), 0, &c);
    assert_int_equal(c.verdict, AOF_TORN);
    assert_int_equal(c.good_bytes, l.t.n - 10);
    free(l.t.p);
}

static void test_files_of_redis(void **state)
{
    struct aof_check c;
    struct text t = {0};
    put_str(&t, "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n#TS:1234\r\n");
    put_set(&t, 1, 10);
    size_t before = t.n;
    put_str(&t, "*1\r\n$5\r\nMULTI\r\n");
    put_set(&t, 2, 10);
    aof_check(span_of(t.p, t.n), 0, &c);
    assert_int_equal(c.verdict, AOF_TORN);
    assert_int_equal(c.good_bytes, before);
    assert_int_equal(c.commands, 2);
    put_str(&t, "*1\r\n$4\r\nEXEC\r\n");
    for (size_t n = before + 1; n < t.n; n++) {
        check_exact(t.p, n, &c);
        assert_int_equal(c.verdict, AOF_TORN);
        assert_int_equal(c.good_bytes, before);
    }
    aof_check(span_of(t.p, t.n), 0, &c);
    assert_int_equal(c.verdict, AOF_WHOLE);
    assert_false(c.ours);
    assert_int_equal(c.commands, 5);
    put_str(&t, "SET a b\r\n");
    aof_check(span_of(t.p, t.n), 0, &c);
    assert_int_equal(c.verdict, AOF_DAMAGED);
    assert_int_equal(c.bad_at, t.n - 9);
    free(t.p);
}

static void test_a_line_of_shards_has_an_end(void **state)
{
    char line[AOF_LINE_BYTES + 100];
    size_t n = aof_write_shards(line, 4000000000u), next;
    unsigned pairs = 0;
    while ((next = aof_write_shard(line, n, 63, UINT64_MAX)) != 0) {
        n = next;
        pairs++;
    }
    assert_true(pairs > 30 && n + 2 < AOF_LINE_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_cut_at_every_byte_never_leaves_half_a_transaction),
        cmocka_unit_test(test_flip_every_bit),
        cmocka_unit_test(test_damage_of_what_was_not_durable_is_a_torn_tail),
        cmocka_unit_test(test_missing_and_repeated_groups),
        cmocka_unit_test(test_closed_file_and_what_redis_wrote_behind),
        cmocka_unit_test(test_files_of_redis),
        cmocka_unit_test(test_a_line_of_shards_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
