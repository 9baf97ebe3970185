/* Writes over several shards with a journal: one record of one owner, behind what all their shards had done before and before what they do afterwards, without
 * leases. Worker 0 is home and owner of a, worker 1 owner of b. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/link/msg.h"
#include "tests/unit/conn/shadow.h"
#include "tests/unit/unit.h"

struct rig {
    struct server s;
    struct shadow shadow;
    struct tcp_conn *tc, *other; /* of worker 0, of worker 1 */
    char a[16], b[16], line[256];
};

static void name_key(char to[16], uint32_t shard, int nth)
{
    for (int k = 0;; k++) {
        int n = snprintf(to, 16, "k%d", k);
        if (shard_of_key(span_of(to, (size_t)n), 2) == shard && nth-- == 0)
            return;
    }
}

static struct rig *rig_up(uint32_t mode)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    server_config(&r->s);
    r->s.config.journal = mode;
    server_link(&r->s, 2);
    server_start(&r->s, 2);
    shadow_attach(&r->shadow, 2, r->s.control);
    shadow_up(&r->shadow);
    settle(&r->s);
    r->tc = fake_connect(r->s.net[0]);
    r->other = fake_connect(r->s.net[1]);
    name_key(r->a, 0, 0);
    name_key(r->b, 1, 0);
    return r;
}

static void rig_down(struct rig *r)
{
    leave(r->tc);
    leave(r->other);
    shadow_down(&r->shadow);
    server_down(&r->s);
    free(r);
}

/* The request with a and b in it. */
static const char *with_keys(struct rig *r, const char *format)
{
    snprintf(r->line, sizeof(r->line), format, r->a, r->b);
    return r->line;
}

static uint64_t records(const struct rig *r)
{
    return r->s.w[0]->shard.journal_seq + r->s.w[1]->shard.journal_seq;
}

static void expect_shadow(struct rig *r, const char *want)
{
    shadow_follow(&r->shadow, r->s.now_ns);
    assert_string_equal(shadow_ask(&r->shadow, with_keys(r, "MGET %s %s\r\n")), want);
}

static void test_one_record_without_leases(void **state)
{
    (void)state;
    struct rig *r = rig_up(JOURNAL_ON);
    expect(&r->s, r->tc, with_keys(r, "MSET %s 1 %s 2\r\n"), "+OK\r\n");
    assert_int_equal(r->s.w[0]->stats->leases_taken + r->s.w[1]->stats->leases_taken, 0);
    assert_int_equal(r->s.w[0]->stats->scatters, 1);
    expect_shadow(r, "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    expect(&r->s, r->other, with_keys(r, "DEL %s %s\r\n"), ":2\r\n");
    expect_shadow(r, "*2\r\n$-1\r\n$-1\r\n");
    uint64_t before = records(r);
    expect(&r->s, r->other, with_keys(r, "UNLINK %s %s\r\n"), ":0\r\n");
    assert_int_equal(records(r), before); /* it has changed nothing */
    rig_down(r);
}

/* The record was told before the key was written; in between it expired, and the DEL of that stood behind what was to be there. */
static void test_key_expired_under_a_write_that_was_told(void **state)
{
    static const char *const life[] = {"%s%.0s", "%.0s%s"};
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct rig *r = rig_up(JOURNAL_ON);
        char key[40], line[80];
        snprintf(key, sizeof(key), life[k], r->a, r->b);
        snprintf(line, sizeof(line), "SET %s old PX 5\r\n", key);
        expect(&r->s, r->tc, line, "+OK\r\n");
        r->s.now_ns += 20000000;
        say(r->tc, with_keys(r, "MSET %s 1 %s 2\r\n"));
        turn(&r->s, 0);
        for (int i = 0; i < 20; i++) {
            r->s.now_ns += 1000000;
            turn(&r->s, 1);
        }
        settle(&r->s);
        expect_out(r->tc, "+OK\r\n");
        assert_int_equal(r->s.w[0]->shard.claims + r->s.w[1]->shard.claims, 0);
        expect_shadow(r, "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
        rig_down(r);
    }
}

/* What the other owner had done in the turn in which it granted was not before the record. */
static void test_record_is_behind_what_was_there(void **state)
{
    (void)state;
    for (uint32_t draw = 0; draw < 20; draw++) {
        struct rig *r = rig_up(JOURNAL_ON);
        char line[64];
        r->shadow.draw = draw * 7919;
        snprintf(line, sizeof(line), "SET %s old\r\n", r->b);
        say(r->tc, with_keys(r, "MSET %s 1 %s 2\r\n"));
        say(r->other, line);
        turn(&r->s, 0); /* asks */
        turn(&r->s, 1); /* SET, and then the grant */
        settle(&r->s);
        expect_out(r->tc, "+OK\r\n");
        expect_out(r->other, "+OK\r\n");
        expect_shadow(r, "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
        snprintf(line, sizeof(line), "APPEND %s x\r\n", r->b);
        say(r->tc, with_keys(r, "MSET %s 3 %s 4\r\n"));
        turns(&r->s, 3);
        expect(&r->s, r->other, line, ":2\r\n");
        expect_out(r->tc, "+OK\r\n");
        expect_shadow(r, "*2\r\n$1\r\n3\r\n$2\r\n4x\r\n");
        rig_down(r);
    }
}

/* Always: the reply waits for the record; who reads what it wrote at the other owner waits for it too. */
static void test_always_waits_for_the_record(void **state)
{
    (void)state;
    struct rig *r = rig_up(JOURNAL_ALWAYS);
    struct link_journal *page = link_journal(r->s.control);
    char line[64];
    expect(&r->s, r->tc, with_keys(r, "MSET %s 1 %s 2\r\n"), "");
    snprintf(line, sizeof(line), "GET %s\r\n", r->b);
    expect(&r->s, r->other, line, "");
    page->durable[0] = r->s.w[0]->shard.journal_seq;
    settle(&r->s);
    expect_out(r->tc, "+OK\r\n");
    expect_out(r->other, "");
    page->durable[1] = r->s.w[1]->shard.journal_seq;
    settle(&r->s);
    expect_out(r->other, "$1\r\n2\r\n");
    rig_down(r);
}

/* A request whose record takes many messages. */
static void test_long_record(void **state)
{
    (void)state;
    struct rig *r = rig_up(JOURNAL_ON);
    size_t n = 300000;
    char *big = calloc(1, n + 1), *line = calloc(1, 2 * n + 128);
    memset(big, 'v', n);
    int len = sprintf(line, "*5\r\n$4\r\nMSET\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(r->a), r->a,
                      n, big);
    sprintf(line + len, "$%zu\r\n%s\r\n$1\r\n2\r\n", strlen(r->b), r->b);
    say(r->tc, line);
    for (int i = 0; i < 20; i++)
        settle(&r->s);
    expect_out(r->tc, "+OK\r\n");
    shadow_follow(&r->shadow, r->s.now_ns);
    snprintf(line, 128, "STRLEN %s\r\nGET %s\r\n", r->a, r->b);
    assert_string_equal(shadow_ask(&r->shadow, line), ":300000\r\n$1\r\n2\r\n");
    free(big);
    free(line);
    rig_down(r);
}

/* The log ends, or another appendfsync begins, at any moment of the request. */
static void test_turned_off_meanwhile(void **state)
{
    (void)state;
    for (int turns_before = 0; turns_before < 6; turns_before++) {
        struct rig *r = rig_up(JOURNAL_ON);
        say(r->tc, with_keys(r, "MSET %s 1 %s 2\r\n"));
        for (int i = 0; i < turns_before; i++)
            turn(&r->s, (uint32_t)i % 2);
        r->s.config.journal = turns_before % 2 ? JOURNAL_OFF : JOURNAL_ALWAYS;
        link_config_publish(r->s.control, &r->s.config);
        settle(&r->s);
        r->s.config.journal = JOURNAL_ON;
        link_config_publish(r->s.control, &r->s.config);
        for (uint32_t i = 0; i < 2; i++)
            link_journal(r->s.control)->written[i] = r->s.w[i]->shard.journal_seq;
        settle(&r->s);
        expect_out(r->tc, "+OK\r\n");
        expect(&r->s, r->other, with_keys(r, "MGET %s %s\r\n"), "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
        assert_int_equal(r->s.w[0]->shard.claims + r->s.w[1]->shard.claims, 0);
        expect(&r->s, r->tc, with_keys(r, "MSET %s 3 %s 4\r\n"), "+OK\r\n");
        expect_shadow(r, "*2\r\n$1\r\n3\r\n$1\r\n4\r\n");
        rig_down(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_record_without_leases),
        cmocka_unit_test(test_key_expired_under_a_write_that_was_told),
        cmocka_unit_test(test_record_is_behind_what_was_there),
        cmocka_unit_test(test_always_waits_for_the_record),
        cmocka_unit_test(test_long_record),
        cmocka_unit_test(test_turned_off_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
