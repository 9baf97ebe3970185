#include "tests/unit/cmd/memory_script.h"

#include <stdio.h>

#include "engine/base/siphash.h"
#include "tests/unit/unit.h"

static uint64_t hash_reply(const struct harness *h)
{
    struct siphash_key k = {1, 2};
    return siphash13(&k, h->reply.p, h->reply.len);
}

/* The lines of the reply in any order: sets and hashes have none. */
static uint64_t hash_lines(const struct harness *h)
{
    struct siphash_key k = {1, 2};
    const char *at = (const char *)h->reply.p, *end = at + h->reply.len;
    uint64_t sum = 0;
    while (at < end) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        size_t n = lf ? (size_t)(lf - at) + 1 : (size_t)(end - at);
        sum += siphash13(&k, (const uint8_t *)at, n);
        at += n;
    }
    return sum;
}

static uint64_t view(struct harness *h, const char *format, const char *key, bool ordered)
{
    char line[300];
    snprintf(line, sizeof(line), format, key);
    harness_run(h, line);
    return ordered ? hash_reply(h) : hash_lines(h);
}

static uint64_t key_print(struct harness *h, const char *key)
{
    static const struct {
        const char *type, *format;
        bool ordered;
    } views[] = {{"string", "GET %s", true},
                 {"list", "LRANGE %s 0 -1", true},
                 {"set", "SMEMBERS %s", false},
                 {"zset", "ZRANGE %s 0 -1 WITHSCORES", true},
                 {"hash", "HGETALL %s", false},
                 {"stream", "XRANGE %s - +", true},
                 {"stream", "XINFO STREAM %s FULL", true}};
    uint64_t sum = view(h, "PEXPIRETIME %s", key, true) * 31;
    sum += view(h, "TYPE %s", key, true);
    char type[16] = "";
    sscanf((const char *)h->reply.p, "+%15[a-z]", type);
    for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++)
        if (strcmp(type, views[i].type) == 0)
            sum = sum * 31 + view(h, views[i].format, key, views[i].ordered);
    return sum;
}

static uint64_t fingerprint(struct harness *h, const struct memory_script *m)
{
    uint64_t sum = 0;
    for (const char *const *key = m->keys; *key; key++)
        sum = sum * 1000003 + key_print(h, *key);
    return sum;
}

static void arm(struct harness *h, uint64_t n)
{
    for (uint32_t i = 0; i < h->count; i++)
        h->shards[i].mem.fail_after = n;
}

/* True when the n-th allocation of some shard did fail. */
static bool run_failing(const struct memory_script *m, const char *line, uint32_t shards,
                        uint64_t n)
{
    static struct harness h;
    harness_init(&h, shards);
    if (m->configure)
        m->configure(&h.config);
    for (const char *const *l = m->setup; *l; l++)
        harness_run(&h, *l);
    uint64_t before = fingerprint(&h, m);
    arm(&h, n);
    harness_run(&h, line);
    bool fired = false, failed = h.errors > 0;
    for (uint32_t i = 0; i < shards; i++)
        fired |= h.shards[i].mem.fail_after == 0;
    arm(&h, 0);
    if (fired && failed && !(m->partial && m->partial(line))) {
        /* LCS has a text of its own, as in Redis */
        if (!strstr((const char *)h.reply.p, "OOM command") &&
            !strstr((const char *)h.reply.p, "Insufficient memory"))
            fail_msg("%s, allocation %llu: %s", line, (unsigned long long)n, h.reply.p);
        if (fingerprint(&h, m) != before)
            fail_msg("%s, allocation %llu: an error, and the data has changed", line,
                     (unsigned long long)n);
    }
    harness_run(&h, "FLUSHALL SYNC");
    harness_fini(&h); /* fails when something leaked */
    return fired;
}

size_t memory_script_run(const struct memory_script *m, uint32_t shards)
{
    size_t failures = 0;
    for (const char *const *line = m->lines; *line; line++) {
        uint64_t n = 1;
        while (run_failing(m, *line, shards, n)) {
            n++;
            assert_true(n < 5000);
        }
        failures += n - 1;
    }
    return failures;
}
