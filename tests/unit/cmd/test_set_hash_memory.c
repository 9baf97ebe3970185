/* When memory fails: every command of sets and hashes, with each of its allocations failing in turn. Nobody may crash or leak, and a
 * command that answers an error has changed nothing (one with several members or fields may have done those before the one that
 * failed). */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

#define BIG "[700 bytes]"

struct step {
    const char *line;
    bool partly; /* what came before the failure may stand */
};

static const struct step script[] = {
    {"SADD new a", false},
    {"SADD new 1", false},
    {"SADD new " BIG, false},
    {"SADD i 7", false},
    {"SADD i x", false},
    {"SADD i " BIG, false},
    {"SADD s x", false},
    {"SADD s " BIG, false},
    {"SADD full 9999", false},
    {"SADD full x", false},
    {"SADD big new", false},
    {"SADD big " BIG, false},
    {"SADD s x y z", true},
    {"SADD new a b c", false},
    {"SADD new 1 2 x", false},
    {"SREM s a", false},
    {"SREM big m1 m2 m3", false},
    {"SREM i 1", false},
    {"SREM full 5", false},
    {"SMOVE s i a", false},
    {"SMOVE s new a", false},
    {"SMOVE i big 1", false},
    {"SMOVE i new 1", false},
    {"SMOVE s full a", false},
    {"SPOP s", false},
    {"SPOP i", false},
    {"SPOP big", false},
    {"SPOP big 3", false},
    {"SPOP big 190", false},
    {"SPOP s 100", false},
    {"SPOP mostly 10", false},
    {"SRANDMEMBER s 2", false},
    {"SRANDMEMBER big 5", false},
    {"SRANDMEMBER big -5", false},
    {"SRANDMEMBER i 2", false},
    {"SINTER s big", false},
    {"SINTER big big2", false},
    {"SUNION s i big", false},
    {"SUNION s i big full big2 mostly", false},
    {"SDIFF big s", false},
    {"SDIFF big s s s", false},
    {"SDIFF full i i i", false},
    {"SINTERSTORE new big big2", false},
    {"SUNIONSTORE new s i", false},
    {"SUNIONSTORE s i full", false},
    {"SUNIONSTORE new i full", false},
    {"SDIFFSTORE new big s", false},
    {"SDIFFSTORE s full i i i", false},
    {"SDIFFSTORE new mostly i i i", false},
    {"SINTERSTORE str big big2", false},
    {"SINTERCARD 2 big big2", false},
    {"SSCAN big 0 COUNT 100", false},
    {"SSCAN i 0", false},
    {"SMEMBERS big", false},
    {"SISMEMBER big m1", false},
    {"COPY big new", false},
    {"COPY i new", false},
    {"RENAME big new", false},
    {"MOVE big 5", false},
    {"COPY big s DB 5", false},
    {"HSET new f v", false},
    {"HSET new f " BIG, false},
    {"HSET h f v", false},
    {"HSET h f " BIG, false},
    {"HSET h a longervalue", false},
    {"HSET hfull new v", false},
    {"HSET hfull f1 v", false},
    {"HSET hm f1 v", false},
    {"HSET hm new v", false},
    {"HSET hm new " BIG, false},
    {"HSET hm f1 " BIG, false},
    {"HSET h x 1 y 2 z 3", true},
    {"HSET new x 1 y 2 z 3", false},
    {"HMSET new x 1 y " BIG, false},
    {"HSETNX h new v", false},
    {"HSETNX new f v", false},
    {"HSETNX hm new v", false},
    {"HDEL h a", false},
    {"HDEL hm f1 f2", false},
    {"HINCRBY h n 100000", false},
    {"HINCRBY new n 1", false},
    {"HINCRBY hm n 1", false},
    {"HINCRBYFLOAT h n 0.5", false},
    {"HINCRBYFLOAT new n 1e100", false},
    {"HRANDFIELD hm 5 WITHVALUES", false},
    {"HRANDFIELD hm 2", false},
    {"HRANDFIELD h 2", false},
    {"HSCAN hm 0 COUNT 50", false},
    {"HSCAN h 0", false},
    {"HGETALL hm", false},
    {"HMGET hm f1 f2", false},
    {"HEXPIRE h 100 FIELDS 1 a", false},
    {"HEXPIRE h 100 FIELDS 3 a b n", true},
    {"HEXPIRE ht 100 FIELDS 1 b", false},
    {"HEXPIRE hm 100 FIELDS 1 f1", false},
    {"HEXPIRE h 0 FIELDS 1 a", false},
    {"HPERSIST ht FIELDS 1 a", false},
    {"HTTL ht FIELDS 2 a b", false},
    {"HGETEX h EX 10 FIELDS 1 a", false},
    {"HGETEX ht PERSIST FIELDS 1 a", false},
    {"HGETDEL ht FIELDS 2 a b", false},
    {"HSETEX new EX 10 FIELDS 1 a 1", false},
    {"HSETEX h EX 10 FIELDS 1 a 1", false},
    {"HSETEX hm EX 10 FIELDS 1 a " BIG, false},
    {"HSETEX ht KEEPTTL FIELDS 1 a " BIG, false},
    {"COPY hm new", false},
    {"COPY ht new", false},
    {"RENAME ht new", false},
    {"MOVE ht 5", false},
    {"COPY h new", false},
    {"OBJECT ENCODING big", false},
    {"MEMORY USAGE big", false},
    {"FLUSHALL ASYNC", false},
};

static const char *const keys[] = {"s",   "i",   "big", "big2", "full",  "mostly",
                                   "str", "new", "h",   "hm",   "hfull", "ht"};

static char *expand(const char *line)
{
    static char text[8192];
    char big[701];
    memset(big, 'b', 700);
    big[700] = 0;
    const char *at = strstr(line, BIG);
    if (at)
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - line), line, big, at + strlen(BIG));
    else
        snprintf(text, sizeof(text), "%s", line);
    return text;
}

static void run_row(struct harness *h, const char *head, const char *form, int from, int n)
{
    static char line[65536];
    size_t at = (size_t)snprintf(line, sizeof(line), "%s", head);
    for (int i = from; i < from + n; i++) {
        line[at++] = ' ';
        at += (size_t)snprintf(line + at, sizeof(line) - at, form, i, i);
    }
    harness_run(h, line);
}

static void prepare(struct harness *h, uint32_t shards)
{
    harness_init(h, shards);
    h->config.set_max_intset_entries = 32;
    h->config.hash_max_listpack_entries = 16;
    harness_run(h, "SADD s a b c");
    harness_run(h, "SADD i 1 2 3");
    run_row(h, "SADD big", "m%d", 0, 200);
    run_row(h, "SADD big2", "m%d", 100, 200);
    run_row(h, "SADD full", "%d", 0, 32);
    run_row(h, "SADD mostly x", "%d", 0, 12);
    harness_run(h, "SREM mostly x");
    harness_run(h, "SET str v");
    harness_run(h, "HSET h a 1 b text n 5");
    run_row(h, "HSET hm", "f%d value%d", 0, 200);
    run_row(h, "HSET hfull", "f%d %d", 0, 16);
    harness_run(h, "HSETEX ht EX 100 FIELDS 1 a 1");
    harness_run(h, "HSET ht b 2");
}

static uint64_t mix(uint64_t sum, const struct harness *h)
{
    struct siphash_key k = {1, 2};
    uint64_t part[2] = {sum, siphash13(&k, h->reply.p, h->reply.len)};
    return siphash13(&k, part, sizeof(part));
}

/* All that a client can see of the keys, as one number. Equal values are walked in the same order. */
static uint64_t fingerprint(struct harness *h)
{
    static const char *const views[] = {"TYPE", "SCARD", "HLEN", "PEXPIRETIME", "OBJECT ENCODING"};
    static const uint32_t dbs[] = {0, 5};
    uint64_t sum = 0;
    for (size_t d = 0; d < 2; d++) {
        h->session->db = dbs[d];
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
            char line[64];
            for (size_t v = 0; v < sizeof(views) / sizeof(views[0]); v++) {
                snprintf(line, sizeof(line), "%s %s", views[v], keys[i]);
                harness_run(h, line);
                sum = mix(sum, h);
            }
            for (int m = 0; m < 210; m += 23) {
                snprintf(line, sizeof(line), "SISMEMBER %s m%d", keys[i], m);
                harness_run(h, line);
                sum = mix(sum, h);
                snprintf(line, sizeof(line), "HGET %s f%d", keys[i], m);
                harness_run(h, line);
                sum = mix(sum, h);
            }
            snprintf(line, sizeof(line), "SMISMEMBER %s a b c 1 2 3 31 x", keys[i]);
            harness_run(h, line);
            sum = mix(sum, h);
            snprintf(line, sizeof(line), "HMGET %s a b n x", keys[i]);
            harness_run(h, line);
            sum = mix(sum, h);
            snprintf(line, sizeof(line), "HPTTL %s FIELDS 4 a b n f1", keys[i]);
            harness_run(h, line);
            sum = mix(sum, h);
        }
    }
    h->session->db = 0;
    return sum;
}

/* Returns true when the n-th allocation of some shard did fail. */
static bool run_failing(const struct step *step, uint32_t shards, uint64_t n)
{
    static struct harness h;
    prepare(&h, shards);
    uint64_t before = fingerprint(&h);
    for (uint32_t i = 0; i < shards; i++)
        h.shards[i].mem.fail_after = n;
    harness_run(&h, expand(step->line));
    bool fired = false;
    for (uint32_t i = 0; i < shards; i++) {
        fired |= h.shards[i].mem.fail_after == 0;
        h.shards[i].mem.fail_after = 0;
    }
    if (h.errors) {
        if (!fired)
            fail_msg("%s: %s", step->line, (const char *)h.reply.p);
        assert_non_null(strstr((const char *)h.reply.p, "OOM command"));
        if (!step->partly && fingerprint(&h) != before)
            fail_msg("changed after an error: %s, allocation %d", step->line, (int)n);
    }
    harness_run(&h, "FLUSHALL SYNC");
    harness_fini(&h); /* fails when something leaked */
    return fired;
}

static void test_each_allocation_fails(void **state)
{
    uint32_t shards = (uint32_t)(uintptr_t)*state;
    size_t failures = 0, commands = sizeof(script) / sizeof(script[0]);
    for (size_t i = 0; i < commands; i++) {
        uint64_t n = 1;
        while (run_failing(&script[i], shards, n))
            n++;
        failures += n - 1;
        assert_true(n < 400);
    }
    print_message("%zu failed allocations in %zu commands\n", failures, commands);
    assert_true(failures > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_each_allocation_fails, (void *)1),
        cmocka_unit_test_prestate(test_each_allocation_fails, (void *)3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
