/* field_bench: sets and hashes through cmd_call: instructions and nanoseconds of a command, bytes of a member.
 *
 *   field_bench sadd|sismember|hset|hget|hgetall|sinter|hiccup [MEMBERS]      a value of so many members (1,000,000), touched at random
 *   field_bench memory [MEMBERS]                                              bytes a member, to be held against used_memory of redis-server
 *
 * hgetall works on a hash of 10 fields; sinter on two sets that share half of their members; hiccup prints the longest single SADD. The
 * instructions of one command are those of
 *
 *   valgrind --tool=callgrind --toggle-collect=run_commands field_bench sadd 100000
 *
 * divided by the number that is printed. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"

#define COMMANDS   100000
#define TEXT_CHARS 32
#define SLOW_NS    50000

static struct shard s;
static struct engine_config config;
static struct host host;
static struct session session;
static struct shard_set set = {.count = 1};
static uint8_t replies[1 << 16];
static struct span (*commands)[4];
static uint32_t argc;

/* A reply that does not fit begins anew: its bytes are nobody's. */
static void again(struct reply *r, size_t hint)
{
    (void)hint;
    r->cur = replies;
}
static const struct reply_sink sink = {again};

static void run(struct span *argv, uint32_t n)
{
    struct reply out = {.cur = replies, .end = replies + sizeof(replies), .sink = &sink, .resp = 2};
    struct cmd c = {.argv = argv,
                    .argc = n,
                    .desc = cmd_lookup(argv, n, &out),
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
__attribute__((noinline)) void run_commands(size_t n);
__attribute__((noinline)) void run_commands(size_t n)
{
    for (size_t i = 0; i < n; i++)
        run(commands[i], argc);
}

/* CPU time of this thread: what others do on the machine does not count. */
static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct span text(const char *form, size_t i)
{
    char *p = malloc(TEXT_CHARS);
    CHECK(p);
    return span_of(p, (size_t)snprintf(p, TEXT_CHARS, form, i));
}

static void fill(const char *name, const char *key, size_t from, size_t n, bool values)
{
    char field[TEXT_CHARS], value[TEXT_CHARS];
    for (size_t i = from; i < from + n; i++) {
        struct span argv[4] = {span_str(name), span_str(key),
                               span_of(field, (size_t)sprintf(field, "field:%010zu", i)),
                               span_of(value, (size_t)sprintf(value, "value:%010zu", i))};
        run(argv, values ? 4 : 3);
    }
}

static void time_commands(size_t n)
{
    double a = now_ns();
    run_commands(n);
    printf("%zu commands of %.1f ns\n", n, (now_ns() - a) / (double)n);
}

/* Random fields of so many; twice as many for writes, so that half are new. */
static void prepare(const char *name, const char *key, uint32_t n_args, size_t members)
{
    uint64_t rnd = 1;
    argc = n_args;
    commands = malloc(COMMANDS * sizeof(*commands));
    CHECK(commands);
    for (size_t i = 0; i < COMMANDS; i++) {
        rnd = rnd * 6364136223846793005 + 1442695040888963407;
        commands[i][0] = span_str(name);
        commands[i][1] = span_str(key);
        commands[i][2] = text("field:%010zu", (rnd >> 33) % members);
        commands[i][3] = text("value:%010zu", (size_t)(rnd >> 40));
    }
}

static void memory_of(const char *what, const char *name, size_t members, bool values)
{
    size_t before = s.mem.used_bytes;
    fill(name, what, 0, members, values);
    printf("%-6s %.1f bytes a member\n", what,
           (double)(s.mem.used_bytes - before) / (double)members);
}

static void hiccup(size_t members)
{
    double worst = 0, worst_at = 0, total = 0;
    size_t slow = 0;
    char field[TEXT_CHARS];
    for (size_t i = 0; i < members; i++) {
        struct span argv[3] = {SPAN("sadd"), SPAN("s"),
                               span_of(field, (size_t)sprintf(field, "field:%010zu", i))};
        double a = now_ns();
        run(argv, 3);
        double took = now_ns() - a;
        total += took;
        slow += took > SLOW_NS;
        if (took > worst) {
            worst = took;
            worst_at = (double)i;
        }
    }
    printf("worst SADD %.0f ns (member %.0f), mean %.0f ns, %zu above %d ns\n", worst, worst_at,
           total / (double)members, slow, SLOW_NS);
}

int main(int argn, char **argv)
{
    if (argn < 2) {
        fprintf(stderr,
                "usage: field_bench sadd|sismember|hset|hget|hgetall|sinter|hiccup|memory [N]\n");
        return 2;
    }
    struct span mode = span_str(argv[1]);
    size_t members = argn > 2 ? strtoul(argv[2], NULL, 10) : 1000000;
    engine_config_defaults(&config);
    config.protected_mode = false;
    host = (struct host){.config = &config, .workers = 1};
    const struct siphash_key key = {5, 6};
    CHECK(members && shard_init(&s, 0, 1, &key, &config, 1) == 0);
    s.now_ms = 1700000000000;
    set.v[0] = &s;
    session_init(&session, 1, SESSION_NETWORK, s.now_ms);
    session.authenticated = true;
    if (span_is(mode, "memory")) {
        memory_of("set", "sadd", members, false);
        memory_of("hash", "hset", members, true);
    } else if (span_is(mode, "hiccup")) {
        hiccup(members);
    } else if (span_is(mode, "sinter")) {
        fill("sadd", "a", 0, members, false);
        fill("sadd", "b", members / 2, members, false);
        prepare("sinter", "a", 3, members);
        commands[0][2] = SPAN("b");
        time_commands(1);
    } else if (span_is(mode, "hgetall")) {
        fill("hset", "h", 0, 10, true);
        prepare("hgetall", "h", 2, members);
        time_commands(COMMANDS);
    } else {
        bool values = *argv[1] == 'h', write = span_is(mode, "sadd") || span_is(mode, "hset");
        fill(values ? "hset" : "sadd", "k", 0, members, values);
        prepare(argv[1], "k", span_is(mode, "hset") ? 4 : 3, write ? 2 * members : members);
        time_commands(COMMANDS);
    }
    return 0;
}
