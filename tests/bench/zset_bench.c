/* zset_bench: instructions and nanoseconds of sorted set commands through cmd_call, over a set of a million members of 13 bytes with
 * random scores, and bytes per member.
 *
 *   zset_bench OPERATION [REQUESTS] [MEMBERS]      each request names a random member or score
 *
 *   zadd (another score), zadd_new, zincrby, zscore, zrank, zrange_10, zrangebyscore_10, zcount, zrem, zpopmin, memory, all
 *
 * The instructions of one request are those of
 *
 *   valgrind --tool=callgrind --toggle-collect=run_requests zset_bench zscore 100000
 *
 * divided by the number of requests. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"

#define WORDS_MAX  8
#define WORD_CHARS 40
#define SCORES     (1u << 30)

static struct shard s;
static struct engine_config config;
static struct host host;
static struct session session;
static struct shard_set set = {.count = 1};
static uint8_t replies[1 << 16];
static size_t members = 1000000;

struct request {
    char text[WORDS_MAX][WORD_CHARS];
    uint8_t n[WORDS_MAX];
    uint32_t argc;
};

/* %m: a member that is there, %n: a new one, %s: a score, %r: a rank. */
static const struct {
    const char *name, *words;
} operations[] = {
    {"zadd", "ZADD z %s %m"},        {"zincrby", "ZINCRBY z 1 %m"},
    {"zscore", "ZSCORE z %m"},       {"zrank", "ZRANK z %m"},
    {"zrange_10", "ZRANGE z %r +9"}, {"zrangebyscore_10", "ZRANGEBYSCORE z %s +inf LIMIT 0 10"},
    {"zcount", "ZCOUNT z %s +inf"},  {"zadd_new", "ZADD z %s %n"},
    {"zrem", "ZREM z %m"},           {"zpopmin", "ZPOPMIN z"},
};

static uint64_t rnd_state = 1;
static uint64_t rnd(uint64_t below)
{
    uint64_t z = rnd_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % below;
}

static void no_more(struct reply *r, size_t hint)
{
    r->failed = true;
}
static const struct reply_sink sink = {no_more};

static void run(const struct request *q)
{
    struct span argv[WORDS_MAX];
    struct reply out = {.cur = replies, .end = replies + sizeof(replies), .sink = &sink, .resp = 2};
    for (uint32_t i = 0; i < q->argc; i++)
        argv[i] = span_of(q->text[i], q->n[i]);
    struct cmd c = {.argv = argv,
                    .argc = q->argc,
                    .desc = cmd_lookup(argv, q->argc, &out),
                    .session = &session,
                    .out = &out,
                    .shards = &set,
                    .shard = &s,
                    .hash = shard_hash(&s, argv[1]),
                    .host = &host,
                    .now_us = 1};
    cmd_call(&c);
    CHECK(!out.failed && out.errors == 0);
}

/* What callgrind counts. */
__attribute__((noinline)) void run_requests(const struct request *q, size_t n);
__attribute__((noinline)) void run_requests(const struct request *q, size_t n)
{
    for (size_t i = 0; i < n; i++)
        run(&q[i]);
}

static void make(struct request *q, const char *words)
{
    static size_t fresh;
    size_t rank = 0;
    *q = (struct request){0};
    for (const char *p = words; *p; q->argc++) {
        char *to = q->text[q->argc];
        size_t n = strcspn(p, " ");
        if (strncmp(p, "%m", 2) == 0)
            q->n[q->argc] = (uint8_t)sprintf(to, "member:%06zu", (size_t)rnd(members));
        else if (strncmp(p, "%n", 2) == 0)
            q->n[q->argc] = (uint8_t)sprintf(to, "fresh:%07zu", fresh++);
        else if (strncmp(p, "%s", 2) == 0)
            q->n[q->argc] = (uint8_t)sprintf(to, "%u", (unsigned)rnd(SCORES));
        else if (strncmp(p, "%r", 2) == 0)
            q->n[q->argc] = (uint8_t)sprintf(to, "%zu", rank = (size_t)rnd(members));
        else if (strncmp(p, "+9", 2) == 0)
            q->n[q->argc] = (uint8_t)sprintf(to, "%zu", rank + 9);
        else
            q->n[q->argc] = (uint8_t)sprintf(to, "%.*s", (int)n, p);
        p += n + (p[n] == ' ');
    }
}

static void fill(void)
{
    for (size_t i = 0; i < members; i++) {
        struct request q = {.argc = 4, .text = {"ZADD", "z"}, .n = {4, 1}};
        q.n[2] = (uint8_t)sprintf(q.text[2], "%u", (unsigned)rnd(SCORES));
        q.n[3] = (uint8_t)sprintf(q.text[3], "member:%06zu", i);
        run(&q);
    }
}

static void measure(const char *name, const char *words, size_t n)
{
    struct timespec a, b;
    struct request *q = malloc(n * sizeof(*q));
    CHECK(q);
    for (size_t i = 0; i < n; i++)
        make(&q[i], words);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    run_requests(q, n);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    double ns = (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
    printf("%-18s %8.0f ns\n", name, ns / (double)n);
    free(q);
}

int main(int argc, char **argv)
{
    size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 200000, done = 0;
    if (argc < 2 || n == 0) {
        fprintf(stderr, "usage: zset_bench OPERATION|memory|all [REQUESTS] [MEMBERS]\n");
        return 2;
    }
    if (argc > 3)
        members = strtoul(argv[3], NULL, 10);
    engine_config_defaults(&config);
    config.protected_mode = false;
    host = (struct host){.config = &config, .workers = 1};
    const struct siphash_key key = {5, 6};
    CHECK(shard_init(&s, 0, 1, &key, &config, 1) == 0);
    s.now_ms = 1700000000000;
    set.v[0] = &s;
    session_init(&session, 1, SESSION_NETWORK, s.now_ms);
    session.authenticated = true;
    size_t before = s.mem.used_bytes;
    fill();
    printf("%zu members, %.1f bytes each\n", members,
           (double)(s.mem.used_bytes - before) / (double)members);
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        if (strcmp(argv[1], operations[i].name) != 0 && strcmp(argv[1], "all") != 0)
            continue;
        measure(operations[i].name, operations[i].words, n);
        done++;
    }
    CHECK(done || strcmp(argv[1], "memory") == 0);
    session_fini(&session);
    shard_fini(&s);
    return 0;
}
